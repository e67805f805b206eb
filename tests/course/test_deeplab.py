from typing import Any

import pytest
import torch
from model_checks import (
    check_contract,
    check_gradients,
    meta_shape,
    overfit,
    parameters,
    randomise,
    receptive_field,
    two_scenes,
    uneven,
)
from torch import nn
from torch.nn import functional as F

from course.geometry import count_macs
from course.models import DeepLabLargeFOV, DeepLabV2
from course.models.deeplab import atrous_vgg16, multi_scale_max, predict_with_crf


def small_v2(**options) -> DeepLabV2:
    return DeepLabV2(
        **{"num_classes": 3, "width": 4, "layers": (1, 1, 1, 1), "rates": (1, 2), **options}
    )


@pytest.mark.parametrize(
    ("kernel", "rate", "hidden", "count"),
    [
        (3, 12, 1024, 20_505_429),
        (7, 4, 4096, 134_346_581),
        (4, 4, 4096, 65_140_565),
        (4, 8, 4096, 65_140_565),
    ],
)
def test_variants_of_table_2(kernel, rate, hidden, count):
    def build():
        return DeepLabLargeFOV(kernel=kernel, rate=rate, hidden=hidden)

    assert parameters(build) == count
    assert meta_shape(build, 1, 3, 321, 321) == (1, 21, 321, 321)


def test_field_of_view_and_receptive_field(monkeypatch):
    assert (3 - 1) * 12 * 8 + 32 == 224
    net = DeepLabLargeFOV(1, width=1).eval()
    extent, centre = receptive_field(monkeypatch, net, 801, net.scores)
    assert extent == 435
    assert centre == 400  # unit 50 of 101 sits on pixel 8 * 50


@pytest.mark.parametrize(("size", "scores"), [(321, 41), (513, 65), (505, 64)])
def test_output_stride_8(size, scores):
    with torch.device("meta"):
        net, images = DeepLabLargeFOV(), torch.empty(1, 3, size, 321)
    assert net.scores(images).shape == (1, 21, scores, 41)


def test_cost():
    # The published figures end at the scores; upsampling has no multiply-accumulates.
    for options, macs in (({}, 50.93e9), ({"kernel": 7, "rate": 4, "hidden": 4096}, 242.28e9)):
        with torch.device("meta"):
            net = DeepLabLargeFOV(**options)
        assert count_macs(net, (1, 3, 321, 321)) == pytest.approx(macs, abs=5.1e6)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 44_048_532),
        ({"rates": (12,)}, 42_887_253),
        ({"backbone": "vgg16"}, 37_877_652),
    ],
)
def test_published_parameters_of_v2(options, count):
    assert parameters(lambda: DeepLabV2(**options)) == count
    assert meta_shape(lambda: DeepLabV2(**options), 1, 3, 65, 97) == (1, 21, 65, 97)


def test_v2_dilates_whole_stages():
    net = DeepLabV2(3, width=1)
    backbone: Any = net.backbone
    stages = backbone.layer3, backbone.layer4
    rates = [[block.conv2.dilation[0] for block in stage] for stage in stages]
    assert rates == [[2] * 23, [4] * 3]


def test_large_fov_equals_a_recomputation_from_the_weights():
    net = randomise(DeepLabLargeFOV(3, width=2, rate=3)).double().eval()
    images = torch.rand(2, 3, 41, 57, dtype=torch.float64)
    weights = list(net.state_dict().values())
    x = images
    for stage, (convolutions, stride) in enumerate(((2, 2), (2, 2), (3, 2), (3, 1), (3, 1))):
        rate = 2 if stage == 4 else 1
        for _ in range(convolutions):
            weight, bias = weights.pop(0), weights.pop(0)
            x = F.conv2d(x, weight, bias, padding=rate, dilation=rate).clamp(min=0)
        low = torch.full((), -torch.inf, dtype=x.dtype)
        windows = F.pad(x, (1,) * 4, value=low.item()).unfold(2, 3, stride).unfold(3, 3, stride)
        x = windows.amax((-1, -2))
    x = F.conv2d(x, torch.full((x.shape[1], 1, 3, 3), 1 / 9).to(x), padding=1, groups=x.shape[1])
    x = F.conv2d(x, weights.pop(0), weights.pop(0), padding=3, dilation=3).clamp(min=0)
    x = F.conv2d(x, weights.pop(0), weights.pop(0)).clamp(min=0)
    x = F.conv2d(x, weights.pop(0), weights.pop(0))
    assert not weights
    torch.testing.assert_close(net.scores(images), x)
    full = F.interpolate(x, size=(41, 57), mode="bilinear", align_corners=True)
    torch.testing.assert_close(net(images), full)


def test_pretrained_vgg_weights_reach_the_backbone():
    source = atrous_vgg16()
    order = [m for m in source.modules() if isinstance(m, torch.nn.Conv2d)]
    state = {}
    for i, layer in enumerate(order):
        state[f"features.{i}.weight"], state[f"features.{i}.bias"] = layer.weight, layer.bias
    net = DeepLabLargeFOV(2, weights=state)
    x = torch.rand(1, 3, 17, 25)
    with torch.no_grad():
        torch.testing.assert_close(net.backbone(x), source(x))


@pytest.mark.parametrize(
    "build", [lambda: DeepLabLargeFOV(4, width=4, rate=2), lambda: small_v2(num_classes=4)]
)
def test_contract(build):
    check_contract(build(), torch.rand(2, 3, 33, 44), 4)


nets = pytest.mark.parametrize(
    "build",
    [
        lambda: DeepLabLargeFOV(3, width=4, rate=2),
        small_v2,
        lambda: small_v2(backbone="vgg16"),
    ],
    ids=["v1", "v2", "v2-vgg16"],
)


@nets
def test_gradients_reach_every_parameter(build):
    check_gradients(build().eval(), torch.rand(2, 3, 33, 44), uneven)


def test_v2_overfits_two_scenes():
    torch.manual_seed(0)
    assert overfit(small_v2(width=8), *two_scenes((57, 49)), steps=30) > 0.93


@pytest.mark.slow
def test_large_fov_overfits_two_scenes():
    torch.manual_seed(0)
    images, labels = two_scenes((57, 49))
    net = DeepLabLargeFOV(3, width=8, rate=2)
    assert overfit(net, images * 4 - 2, labels, steps=80, lr=1e-3) > 0.9


def test_multi_scale_keeps_the_largest_logits():
    seen = []

    def network(x):
        seen.append(tuple(x.shape[-2:]))
        return x * x.shape[-1]

    images = torch.rand(1, 2, 33, 65) - 0.5
    out = multi_scale_max(network, images)
    assert seen == [(17, 33), (25, 49), (33, 65)]
    parts = []
    for height, width in seen:
        x = F.interpolate(images, (height, width), mode="bilinear", align_corners=True) * width
        parts.append(F.interpolate(x, (33, 65), mode="bilinear", align_corners=True))
    torch.testing.assert_close(out, torch.stack(parts).amax(0))


def test_crf_sees_the_images_and_the_network_their_standardised_form():
    crf = pytest.importorskip("course.crf")
    seen = []

    class Network(nn.Module):
        def forward(self, x):
            seen.append((x, self.training, torch.is_grad_enabled()))
            return torch.cat([x, -x], 1)

    net, images = Network().train(), torch.rand(2, 3, 9, 12)
    options = {"iterations": 3, "sigma_alpha": 5.0}
    beliefs = predict_with_crf(net, images, normalise=lambda x: x * 4 - 2, **options)
    ((given, training, grad),) = seen
    torch.testing.assert_close(given, images * 4 - 2)
    assert not training
    assert not grad
    assert net.training
    expected = crf.mean_field(torch.cat([given, -given], 1), images, **options)
    torch.testing.assert_close(beliefs, expected)
    torch.testing.assert_close(beliefs.sum(1), torch.ones(2, 9, 12))


def test_crf_takes_the_largest_logits_over_the_scales():
    crf = pytest.importorskip("course.crf")
    net, images = small_v2().train(), torch.rand(1, 3, 33, 65)
    scales = (0.5, 0.75, 1.0)
    beliefs = predict_with_crf(net, images, scales=scales, normalise=lambda x: x * 4 - 2)
    assert net.training
    with torch.no_grad():
        logits = multi_scale_max(net.eval(), images * 4 - 2, scales=scales)
        assert (logits > net(images * 4 - 2)).any()  # the other scales have a say
    torch.testing.assert_close(beliefs, crf.mean_field(logits, images))


def test_crf_clears_specks_of_a_uniform_region():
    images = torch.full((1, 3, 24, 24), 0.2)
    images[..., 12:] = 0.9
    logits = torch.zeros(1, 2, 24, 24)
    logits[:, 1, :, 12:], logits[:, 0, :, :12] = 2.0, 2.0
    logits[:, :, 5, 5], logits[:, :, 17, 20] = torch.tensor([0.0, 2.0]), torch.tensor([2.0, 0.0])

    class Network(nn.Module):
        def forward(self, x):
            return logits

    labels = predict_with_crf(Network(), images).argmax(1)
    assert torch.equal(labels[0], (torch.arange(24) >= 12).long().expand(24, 24))


def test_bad_input():
    for scales in ((), (1.0, 0.0), (-1.0,), (float("nan"),)):
        with pytest.raises(ValueError, match=r"scales must be positive, .*; got \("):
            multi_scale_max(lambda x: x, torch.zeros(1, 1, 9, 9), scales=scales)
    with pytest.raises(ValueError, match=r"got shape \(1, 9, 9\): .*images\[None\]"):
        multi_scale_max(lambda x: x, torch.zeros(1, 9, 9))
    with pytest.raises(TypeError, match=r"returned tuple, expected logits .* \.eval\(\)"):
        multi_scale_max(lambda x: (x, x), torch.zeros(1, 1, 9, 9))  # pyright: ignore
    with pytest.raises(ValueError, match="backbone must be 'resnet101' or 'vgg16', got 'vgg19'"):
        DeepLabV2(backbone="vgg19")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="layers must be 4 whole numbers of at least 1, got 50"):
        small_v2(layers=50)
    for options in ({"kernel": 0}, {"rate": -2}, {"hidden": -3}):
        ((name, value),) = options.items()
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got {value}"):
            DeepLabLargeFOV(width=1, **options)
    with pytest.raises(ValueError, match="must be even to pad both sides alike, got 4, 5"):
        DeepLabLargeFOV(width=1, kernel=4, rate=5)
    for net in (DeepLabLargeFOV(2, width=1), small_v2(width=1)):
        with pytest.raises(ValueError, match=r"\(B, 3, H, W\), got shape \(1, 2, 9, 9\)"):
            net(torch.zeros(1, 2, 9, 9))
