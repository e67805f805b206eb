"""Where pretrained weights come from, and what happens if they do not fit."""

import pytest
import torch
from torch import nn

from course.models.pretrained import load_fitting, pretrained_state


def test_pretrained_state_names_what_exists():
    pytest.importorskip("torchvision")
    with pytest.raises(ValueError, match=r"resnet50 has weights \['IMAGENET1K_V1'.*got 'best'"):
        pretrained_state("resnet50", "best")


def test_pretrained_state_takes_members_of_its_own_network_only(monkeypatch):
    models = pytest.importorskip("torchvision.models")
    asked = []

    def get(self, **options):
        asked.append((self, options))
        return {"a": torch.ones(1)}

    monkeypatch.setattr(models.WeightsEnum, "get_state_dict", get)
    member = models.VGG16_Weights.IMAGENET1K_V1
    assert pretrained_state("vgg16", "IMAGENET1K_V1") == {"a": torch.ones(1)}
    pretrained_state("vgg16", member)
    assert [who for who, _ in asked] == [member, member]
    assert all(options["check_hash"] for _, options in asked)
    with pytest.raises(ValueError, match=r"vgg16 has weights .*got ResNet50_Weights\.IMAGENET1K"):
        pretrained_state("vgg16", models.ResNet50_Weights.IMAGENET1K_V1)
    assert len(asked) == 2  # refused before the download


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (True, "resnet50 has weights .*, got True"),
        ({}, "weights of resnet50 must be a state dict.*but it is empty"),
        ({"state_dict": {}, "epoch": 3}, r"holds state_dict, epoch: .*checkpoint\['state_dict'\]"),
        ({"module.conv1.weight": torch.zeros(1)}, r"begin with 'module\.'.*removeprefix"),
    ],
)
def test_what_is_no_state_dict_is_refused(weights, message):
    pytest.importorskip("torchvision")
    with pytest.raises(ValueError, match=message):
        pretrained_state("resnet50", weights)


def test_weights_that_do_not_fit_are_listed_in_one_error():
    net = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    state = {**before, "0.weight": torch.zeros(2, 1, 1, 1), "2.bias": torch.zeros(2)}
    del state["1.bias"]
    with pytest.raises(ValueError, match="weights do not fit the stem") as error:
        load_fitting(net, state, "the stem")
    for fault in (
        "1 missing (1.bias)",
        "1 unknown (2.bias)",
        "1 of another shape (0.weight is (2, 1, 1, 1), expected (2, 3, 1, 1))",
    ):
        assert fault in str(error.value)
    for key, value in net.state_dict().items():
        assert torch.equal(value, before[key]), key  # nothing was copied


def test_files_without_counters_of_batches_load():
    net, source = nn.BatchNorm2d(2), nn.BatchNorm2d(2)
    nn.init.uniform_(source.weight)
    state = source.state_dict()
    del state["num_batches_tracked"]
    load_fitting(net, state, "the norm")
    assert torch.equal(net.weight, source.weight)
