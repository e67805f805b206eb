import pytest
import torch
from model_checks import (
    check_gradients,
    freeze_norms,
    parameters,
    randomise,
    receptive_field,
)

from course.models.resnet import RESNET50, RESNET101, Bottleneck, ResNet


@pytest.mark.parametrize(
    ("layers", "stem", "count"),
    [
        (RESNET50, "7x7", 23_508_032),  # torchvision's resnet50 without its classifier
        (RESNET101, "7x7", 42_500_160),
        (RESNET50, "deep", 46_716_373 - 23_084_565),  # PSPNet50 without its head
    ],
)
def test_published_parameters(layers, stem, count):
    assert parameters(lambda: ResNet(layers, stem=stem)) == count


@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_equals_torchvision_with_the_same_weights(output_stride):
    torchvision = pytest.importorskip("torchvision")
    layers = [1, 1, 2, 2]
    dilate = [False, output_stride == 8, output_stride <= 16]
    theirs = torchvision.models.ResNet(
        torchvision.models.resnet.Bottleneck, layers, replace_stride_with_dilation=dilate
    )
    randomise(theirs).eval()
    ours = ResNet(layers, output_stride=output_stride, first_block="previous").eval()
    state = {k: v for k, v in theirs.state_dict().items() if not k.startswith("fc.")}
    ours.load_state_dict(state)
    x = images = torch.rand(2, 3, 65, 49)
    with torch.no_grad():
        for name in ("conv1", "bn1", "relu", "maxpool"):
            x = getattr(theirs, name)(x)
        for i, feature in enumerate(ours(images), 1):
            x = getattr(theirs, f"layer{i}")(x)
            torch.testing.assert_close(feature, x, rtol=1e-4, atol=1e-4 * x.abs().max().item())


def _rates(net: ResNet) -> list[list[int]]:
    return [
        [m.conv2.dilation[0] for m in getattr(net, f"layer{i}") if isinstance(m, Bottleneck)]
        for i in (3, 4)
    ]


@pytest.mark.parametrize(
    ("output_stride", "first_block", "rates"),
    [
        (32, "stage", [[1, 1, 1], [1, 1]]),
        (16, "stage", [[1, 1, 1], [2, 2]]),
        (16, "previous", [[1, 1, 1], [1, 2]]),
        (8, "stage", [[2, 2, 2], [4, 4]]),
        (8, "previous", [[1, 2, 2], [2, 4]]),
    ],
)
def test_rule_of_the_first_block(output_stride, first_block, rates):
    net = ResNet((1, 1, 3, 2), width=1, output_stride=output_stride, first_block=first_block)
    assert _rates(net) == rates


@pytest.mark.parametrize(
    ("layers", "output_stride", "first_block", "field"),
    [
        (RESNET50, 32, "stage", 427),
        (RESNET50, 16, "stage", 459),
        (RESNET50, 8, "stage", 475),
        (RESNET101, 32, "stage", 971),
        (RESNET101, 16, "stage", 1003),
        (RESNET101, 8, "stage", 1019),
        (RESNET50, 8, "previous", 427),
        (RESNET101, 8, "previous", 971),
    ],
)
def test_receptive_field_and_alignment(monkeypatch, layers, output_stride, first_block, field):
    net = ResNet(layers, width=1, output_stride=output_stride, first_block=first_block).eval()
    height = 1281
    extent, centre = receptive_field(monkeypatch, net, height, lambda x: net(x)[-1])
    assert extent == field
    rows = -(-height // output_stride)
    assert centre == output_stride * (rows // 2)  # feature i sits on pixel stride * i


def test_dilated_network_repeats_the_strided_one_on_the_coarse_grid():
    coarse = randomise(ResNet((1, 1, 2, 2), width=4, output_stride=32)).double().eval()
    fine = ResNet((1, 1, 2, 2), width=4, output_stride=8).double().eval()
    fine.load_state_dict(coarse.state_dict())
    images = torch.rand(1, 3, 97, 129, dtype=torch.float64)
    torch.testing.assert_close(fine(images)[-1][..., ::4, ::4], coarse(images)[-1])


@pytest.mark.parametrize("size", [(1, 1), (30, 47), (33, 65)])
def test_sizes_round_up(size):
    features = ResNet((1, 1, 1, 1), width=2).eval()(torch.rand(1, 3, *size))
    for feature, stride in zip(features, (4, 8, 16, 32)):
        assert feature.shape[-2:] == tuple(-(-n // stride) for n in size)


@pytest.mark.parametrize(("output_stride", "size"), [(32, (32, 20)), (8, (8, 8))])
def test_one_image_that_leaves_one_value_is_refused_in_training(output_stride, size):
    net = ResNet((1, 1, 1, 1), width=2, output_stride=output_stride).train()
    images = torch.rand(1, 3, *size)
    with pytest.raises(ValueError, match="ResNet: its last stage has one value per channel"):
        net(images)
    assert len(net(torch.rand(2, 3, *size))) == 4
    assert len(net(torch.rand(1, 3, size[0] + 1, size[1]))) == 4
    assert len(freeze_norms(net)(images)) == 4


def test_gradients_reach_every_parameter():
    net = ResNet((1, 1, 2, 1), width=4, stem="deep", output_stride=8).eval()
    check_gradients(net, torch.rand(2, 3, 33, 41), lambda features: (features[-1] ** 2).sum())


def test_pretrained_weights_load_from_a_state_dict():
    source = ResNet(RESNET50)
    state = {**source.state_dict(), "fc.weight": torch.zeros(1), "fc.bias": torch.zeros(1)}
    net = ResNet(RESNET50, output_stride=8, weights=state)
    for name, value in net.state_dict().items():
        assert torch.equal(value, state[name]), name


def test_weights_of_another_depth_are_refused():
    with torch.device("meta"):
        state = ResNet(RESNET50).state_dict()
        with pytest.raises(ValueError, match=r"do not fit resnet101: \d+ missing \(layer3\.6\."):
            ResNet(RESNET101, weights=state)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output_stride": 4}, "output_stride must be 8, 16 or 32, got 4"),
        ({"stem": "5x5"}, "stem is '7x7' or 'deep'"),
        ({"first_block": "next"}, "got '7x7' and 'next'"),
        ({"layers": (1, 2, 3)}, r"layers must be 4 whole numbers of at least 1, got \(1, 2, 3\)"),
        ({"layers": 50}, "layers must be 4 whole numbers of at least 1, got 50"),
        ({"width": 0}, "width must be at least 1"),
        ({"width": 8, "weights": {}}, "width=64, the 7x7 stem and in_channels=3, got .*width=8"),
        ({"stem": "deep", "weights": {}}, "stem='deep'"),
        ({"layers": (1, 1, 1, 1), "weights": {}}, "layers of ResNet-50, 101 or 152"),
        ({"in_channels": 1, "weights": {}}, "in_channels=3, got .*in_channels=1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**options)
