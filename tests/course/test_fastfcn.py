import pytest
import torch
from model_checks import (
    check_contract,
    check_gradients,
    freeze_norms,
    meta_shape,
    overfit,
    parameters,
    randomise,
    two_scenes,
    uneven,
)
from torch.nn import functional as F

from course.geometry import count_macs
from course.models import JPU, FastFCN
from course.models.encnet import WithContext, context_loss
from course.models.pspnet import WithAuxiliary, auxiliary_loss
from course.models.resnet import RESNET50, RESNET101, ResNet

heads = pytest.mark.parametrize("head", ["encnet", "psp", "aspp", "fcn"])


def small(**options) -> FastFCN:
    return FastFCN(3, **{"layers": (1, 1, 1, 1), "width": 2, **options})


def test_published_parameters():
    assert parameters(JPU) == 19_735_552
    assert parameters(FastFCN) == 66_328_149
    assert parameters(lambda: FastFCN(stem="deep")) == 66_451_925


def test_c5_is_laid_corner_on_corner():
    """How far off, in pixels, the docstring says it is: by a picture of positions."""
    for side, most, mean in ((480, 24, 12), (481, 0, 0), (513, 0, 0)):
        rows, coarse = -(-side // 8), -(-side // 32)
        net = JPU((1, 1, 1), width=1, rates=(1,)).eval()
        net.conv5 = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Identity())
        net.branches = torch.nn.ModuleList([torch.nn.Identity()])
        c5 = 32.0 * torch.arange(coarse)[:, None].expand(1, 1, coarse, coarse)
        seen = net(torch.zeros(1, 1, rows, rows), torch.zeros(1, 1, *2 * [-(-rows // 2)]), c5)
        off = (seen[0, 0, :, 0] - 8 * torch.arange(rows)).abs()
        assert (off.max().item(), off.mean().item()) == pytest.approx((most, mean), abs=1e-3)


@pytest.mark.parametrize(
    ("options", "drops"),
    [
        ({"head": "psp", "auxiliary": True}, [0.1, 0.1]),
        ({"head": "aspp"}, [0.5, 0.1]),
        ({"head": "aspp", "dropout": 0.0}, [0.0, 0.0]),
        ({"head": "encnet"}, [0.1]),
    ],
)
def test_dropout_takes_whole_maps_as_released(options, drops):
    found = [m for m in small(**options).modules() if "Dropout" in type(m).__name__]
    assert [type(m) for m in found] == [torch.nn.Dropout2d] * len(drops)
    assert [m.p for m in found] == drops


@pytest.mark.parametrize(
    ("layers", "dilated", "ordinary"), [(RESNET101, 177.2e9, 40.7e9), (RESNET50, 99.7e9, 21.4e9)]
)
def test_cost_of_the_backbones(layers, dilated, ordinary):
    with torch.device("meta"):
        nets = [ResNet(layers, output_stride=stride) for stride in (8, 32)]
        jpu = JPU()
    costs = [count_macs(net, (1, 3, 512, 512)) for net in nets]
    assert costs == pytest.approx([dilated, ordinary], abs=5.1e7)
    shapes = ((1, 512, 64, 64), (1, 1024, 32, 32), (1, 2048, 16, 16))
    joint = count_macs(jpu, *shapes)
    assert joint == pytest.approx(30.0e9, abs=5.1e7)
    saved = costs[0] / (costs[1] + joint)
    assert saved == pytest.approx(2.5 if layers == RESNET101 else 1.94, abs=0.01)


def test_cost_with_the_encoding_head():
    """EncNet on a dilated ResNet-101 ends in a 3 x 3 convolution, FastFCN's in a 1 x 1."""
    with torch.device("meta"):
        net = FastFCN(layers=RESNET101, head="encnet")
        dilated = ResNet(RESNET101, output_stride=8)
    shape = (1, 3, 512, 512)
    thick = count_macs(dilated, shape) + 9 * 2048 * 512 * 64 * 64
    assert thick / count_macs(net, shape) == pytest.approx(2.88, abs=0.06)


def test_jpu_equals_a_recomputation_from_the_weights():
    net = randomise(JPU((2, 3, 4), width=5)).double().eval()
    c3, c4, c5 = (
        torch.randn(2, c, h, w, dtype=torch.float64)
        for c, h, w in ((2, 9, 14), (3, 5, 7), (4, 3, 4))
    )
    state = net.state_dict()

    def block(x, conv, norm, *, rate=1, groups=1, relu=True):
        weight = state[f"{conv}.weight"]
        pad = rate * (weight.shape[-1] // 2)
        x = F.conv2d(x, weight, padding=pad, dilation=rate, groups=groups)
        keys = ("running_mean", "running_var", "weight", "bias")
        x = F.batch_norm(x, *(state[f"{norm}.{key}"] for key in keys))
        return x.clamp(min=0) if relu else x

    def up(x):
        return F.interpolate(x, (9, 14), mode="bilinear", align_corners=True)

    low5, low4 = up(block(c5, "conv5.0", "conv5.1")), up(block(c4, "conv4.0", "conv4.1"))
    y = torch.cat([low5, low4, block(c3, "conv3.0", "conv3.1")], 1)
    parts = []
    for i, rate in enumerate((1, 2, 4, 8)):
        # Depthwise, batch normalisation without ReLU, pointwise, batch normalisation, ReLU.
        name = f"branches.{i}"
        z = block(y, f"{name}.0", f"{name}.1", rate=rate, groups=15, relu=False)
        parts.append(block(z, f"{name}.2.0", f"{name}.2.1"))
    torch.testing.assert_close(net(c3, c4, c5), torch.cat(parts, 1))


def test_backbone_does_not_dilate():
    net = FastFCN(width=2)
    assert all(
        m.dilation == (1, 1)
        for m in net.backbone.modules()
        if hasattr(m, "dilation") and isinstance(m, torch.nn.Conv2d)
    )
    assert [f.shape[-1] for f in net.eval().backbone(torch.zeros(1, 3, 64, 64))] == [16, 8, 4, 2]


@heads
def test_published_network_keeps_the_size(head):
    assert meta_shape(lambda: FastFCN(head=head), 1, 3, 480, 473) == (1, 21, 480, 473)


@heads
@pytest.mark.parametrize("size", [(32, 32), (45, 70)])
def test_any_size_works(head, size):
    assert small(head=head).eval()(torch.rand(1, 3, *size)).shape == (1, 3, *size)


@heads
def test_contract(head):
    check_contract(small(head=head), torch.rand(2, 3, 45, 34), 3)


@heads
def test_gradients_reach_every_parameter(head):
    net = small(head=head, auxiliary=True, dropout=0.0)
    returned = WithContext if head == "encnet" else WithAuxiliary
    assert isinstance(net(torch.rand(2, 3, 45, 70)), returned)
    check_gradients(net, torch.rand(2, 3, 45, 70), lambda y: sum(uneven(part) for part in y))


def test_presence_is_trained_without_an_auxiliary_head():
    net, labels = small(head="encnet", dropout=0.0), torch.randint(0, 3, (2, 45, 70))
    images = torch.rand(2, 3, 45, 70)
    assert net(images).auxiliary is None
    check_gradients(net, images, lambda y: context_loss(y, labels))
    net.eval()
    torch.testing.assert_close(
        context_loss(net(images), labels), F.cross_entropy(net(images), labels)
    )


def test_overfits_two_scenes():
    torch.manual_seed(0)
    net = small(width=4, head="fcn", auxiliary=True)
    assert overfit(net, *two_scenes((57, 49)), steps=30, loss=auxiliary_loss) > 0.93


def test_one_small_image_needs_frozen_norms_in_training():
    net = small(head="fcn").train()
    with pytest.raises(ValueError, match="ResNet: its last stage has one value per channel"):
        net(torch.rand(1, 3, 32, 32))
    freeze_norms(net.backbone)
    with pytest.raises(ValueError, match="JPU: c5 has one value per channel"):
        net(torch.rand(1, 3, 32, 32))
    assert net(torch.rand(1, 3, 33, 32)).shape == (1, 3, 33, 32)


def test_bad_input():
    with pytest.raises(ValueError, match=r"in_channels must be 3 whole numbers .* got \(2, 4\)"):
        JPU((2, 4))
    with pytest.raises(ValueError, match=r"rates must be one or more whole numbers .* got \(\)"):
        JPU(rates=())
    with pytest.raises(
        ValueError, match="head must be 'encnet', 'psp', 'aspp' or 'fcn', got 'enc'"
    ):
        small(head="enc")
    sizes = (torch.zeros(1, 2, 9, 6), torch.zeros(1, 4, 9, 6), torch.zeros(1, 8, 3, 2))
    with pytest.raises(ValueError, match=r"\(5, 3\)\] after c3 \(9, 6\), got \[\(9, 6\)"):
        JPU((2, 4, 8), width=4)(*sizes)
    with pytest.raises(ValueError, match=r"FastFCN expects images \(B, 3, H, W\)"):
        small()(torch.zeros(2, 4, 33, 33))
