import pytest
import torch
from model_checks import parameters, receptive_field
from torch import nn
from torch.nn import functional as F

from course.models.vgg import load_vgg16, vgg_stages


def _forward(stages: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    for stage in stages:
        x = F.max_pool2d(stage(x), 2)
    return x


def test_published_parameters():
    assert parameters(vgg_stages) == 14_714_688
    convolutions = [m for m in vgg_stages(width=2).modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [2] * 2 + [4] * 2 + [8] * 3 + [16] * 6


@pytest.mark.parametrize(("pools", "field", "stride"), [(3, 44, 8), (4, 100, 16), (5, 212, 32)])
def test_receptive_fields(monkeypatch, pools, field, stride):
    stages = vgg_stages(width=1)[:pools]
    extent, _ = receptive_field(monkeypatch, stages, 640, lambda x: _forward(stages, _wide(x)))
    assert extent == field
    image = torch.zeros(1, 3, 320, 64, dtype=torch.float64)
    assert _forward(stages, image).shape[-2] == 320 // stride


def _wide(column: torch.Tensor) -> torch.Tensor:
    return column.expand(-1, -1, -1, 32)  # five floor poolings need 32 columns


@pytest.mark.parametrize("batch_norm", [False, True])
def test_equals_torchvision_with_its_weights(batch_norm):
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):  # the classifier's 124 million parameters stay away
        theirs = (models.vgg16_bn if batch_norm else models.vgg16)().features
    theirs = theirs.to_empty(device="cpu").eval()
    for value in theirs.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) / value[0].numel() ** 0.5)
    stages = vgg_stages(batch_norm=batch_norm).eval()
    load_vgg16(stages, {f"features.{k}": v for k, v in theirs.state_dict().items()})
    images = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(_forward(stages, images), theirs(images))


def test_he_initialisation_keeps_the_signal_alive():
    torch.manual_seed(0)
    stages = vgg_stages(width=16)
    x = torch.randn(2, 3, 64, 64)
    assert 0.1 < _forward(stages, x).square().mean() < 100
    biases = [p for name, p in stages.named_parameters() if name.endswith("bias")]
    assert all((b == 0).all() for b in biases)


def test_dilations_and_first_padding():
    stages = vgg_stages(width=1, dilations=(1, 1, 1, 1, 2), first_padding=100)
    convolutions = [m for m in stages.modules() if isinstance(m, nn.Conv2d)]
    assert [m.padding[0] for m in convolutions] == [100] + [1] * 9 + [2] * 3
    assert [m.dilation[0] for m in convolutions] == [1] * 10 + [2] * 3
    assert stages[4](torch.zeros(1, 8, 5, 6)).shape[-2:] == (5, 6)


def test_weights_need_the_published_width():
    with pytest.raises(ValueError, match="in_channels=3 and width=64, got 1 and 64"):
        load_vgg16(vgg_stages(1), {})
