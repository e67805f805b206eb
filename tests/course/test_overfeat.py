import pytest
import torch
from model_checks import (
    check_gradients,
    meta_shape,
    parameters,
    randomise,
    receptive_field,
    uneven,
)
from torch import nn
from torch.nn import functional as F

from course.models import OverFeat

WINDOW = {"fast": 231, "accurate": 221}
STRIDE = {"fast": 32, "accurate": 36}
both = pytest.mark.parametrize("variant", ["fast", "accurate"])


def small(variant, **options) -> OverFeat:
    net = randomise(OverFeat(variant, 5, width=3, **options)).double()
    return net.eval()  # pyright: ignore[reportReturnType]


def test_published_parameters():
    assert parameters(lambda: OverFeat("fast")) == 145_920_872
    assert parameters(OverFeat) == 144_656_488


@pytest.mark.parametrize(
    ("variant", "sizes"),
    [
        ("fast", [56, 28, 24, 12, 12, 12, 12]),
        ("accurate", [108, 36, 30, 15, 15, 15, 15, 15]),
    ],
)
def test_sizes_of_the_tables(variant, sizes):
    with torch.device("meta"):
        net, seen = OverFeat(variant), []
    for layer in net.features:
        if not isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda _, __, y: seen.append(y.shape[-1]))
    n = WINDOW[variant]
    assert net(torch.empty(1, 3, n, n, device="meta")).shape == (1, 1000, 1, 1)
    assert seen == sizes


def test_papers_example_of_281_by_317():
    assert meta_shape(OverFeat, 1, 3, 281, 317) == (1, 1000, 2, 3)
    with torch.device("meta"):
        net = OverFeat().eval()
    images = torch.empty(1, 3, 281, 317, device="meta")
    assert net.features(images).shape[-2:] == (20, 23)
    assert net.forward_offsets(images).shape == (1, 1000, 6, 9)  # 54 class vectors


@both
def test_one_more_stride_gives_one_more_window(variant):
    net, n = small(variant), WINDOW[variant]
    assert net.stride == STRIDE[variant]
    grow = n + STRIDE[variant]
    shapes = [net(torch.zeros(1, 3, h, n).double()).shape[-2] for h in (n, grow - 1, grow)]
    assert shapes == [1, 1, 2]


@both
def test_offsets_equal_an_atrous_pass(variant):
    net, s = small(variant), {"fast": 2, "accurate": 3}[variant]
    n = WINDOW[variant]
    images = torch.randn(2, 3, n + 41, n + 70, dtype=torch.float64)
    offsets = net.forward_offsets(images)
    x = F.max_pool2d(net.features(images), s, stride=1)
    layers = [layer for layer in net.classifier if isinstance(layer, nn.Conv2d)]
    x = F.relu(F.conv2d(x, layers[0].weight, layers[0].bias, dilation=s))
    x = layers[2](F.relu(layers[1](x)))
    torch.testing.assert_close(offsets, x)
    torch.testing.assert_close(offsets[..., ::s, ::s], net(images))
    assert offsets.shape[-2] % s  # this size keeps a rest that whole offsets would lose


@both
def test_receptive_field(monkeypatch, variant):
    net = OverFeat(variant, 1, width=1)
    unit = lambda image: net(image.expand(-1, -1, -1, WINDOW[variant]))  # noqa: E731
    extent, _ = receptive_field(monkeypatch, net, 800, unit)
    assert extent == {"fast": 327, "accurate": 317}[variant]


@both
def test_gradients_reach_every_parameter(variant):
    n = WINDOW[variant]
    check_gradients(
        OverFeat(variant, 5, width=3, dropout=0.0), torch.randn(2, 3, n, n + 40), uneven
    )


def test_offsets_carry_gradients():
    net, images = OverFeat("fast", 4, width=3).eval(), torch.rand(1, 3, 231, 265)
    uneven(net.forward_offsets(images)).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_eval_is_deterministic_and_bfloat16_works():
    net, images = small("accurate").float(), torch.rand(2, 3, 221, 260)
    with torch.no_grad():
        logits = net(images)
        torch.testing.assert_close(net(images), logits, rtol=0, atol=0)
        low = net.bfloat16()(images.bfloat16())
    assert low.dtype == torch.bfloat16
    assert F.cosine_similarity(low.float().flatten(), logits.flatten(), dim=0) > 0.99


def test_overfits_two_images():
    torch.manual_seed(0)
    net = OverFeat("fast", 4, width=6, dropout=0.0)
    images, labels = torch.rand(2, 3, 231, 231), torch.tensor([3, 1])
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(20):
        loss = F.cross_entropy(net(images)[..., 0, 0], labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.05


@pytest.mark.parametrize(
    ("variant", "shape", "message"),
    [
        (
            "accurate",
            (1, 3, 220, 300),
            r"220 x 300 .* left at full1.*least 221 \(221, 257, 293",
        ),
        ("fast", (1, 3, 240, 230), r"least 231 \(231, 263, 295"),
        ("fast", (1, 3, 10, 10), r"left at conv1"),
        ("fast", (1, 1, 231, 231), r"expects images \(B, 3, H, W\)"),
    ],
)
def test_bad_images(variant, shape, message):
    with pytest.raises(ValueError, match=message):
        OverFeat(variant, 2, width=3)(torch.zeros(shape))


def test_unknown_variant():
    with pytest.raises(ValueError, match="'fast' or 'accurate', got 'slow'"):
        OverFeat("slow")  # pyright: ignore[reportArgumentType]
