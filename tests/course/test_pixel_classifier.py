import pytest
import torch
from model_checks import (
    check_gradients,
    overfit,
    parameters,
    randomise,
    receptive_field,
    two_scenes,
    uneven,
)
from torch import Tensor, nn
from torch.nn import functional as F

from course.geometry import count_macs
from course.models import PixelClassifier
from course.models.pixel_classifier import ScaledTanh


class Dense(nn.Module):
    def __init__(self, net: PixelClassifier) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net.forward_dense(images)


def small(**options) -> PixelClassifier:
    net = randomise(PixelClassifier(3, in_channels=2, width=4, **options)).double()
    return net.eval()  # pyright: ignore[reportReturnType]


def test_published_network():
    assert parameters(PixelClassifier) == 219_290
    x, sizes = torch.empty(1, 1, 95, 95, device="meta"), []
    for layer in PixelClassifier().to("meta").layers:
        x = layer(x)
        if not isinstance(layer, ScaledTanh):
            sizes.append(tuple(x.shape[1:]))
    maps = ((48, 92), (48, 46), (48, 42), (48, 21), (48, 18), (48, 9), (48, 6), (48, 3), (200, 1))
    assert sizes == [(c, n, n) for c, n in (*maps, (2, 1))]


def test_window_is_the_receptive_field(monkeypatch):
    net = PixelClassifier(1, in_channels=3, width=1)
    for i, layer in enumerate(net.layers):
        if isinstance(layer, ScaledTanh):
            net.layers[i] = nn.Identity()  # saturation would hide the border of the field
    # A column of windows: the network does not pad, so the image is one window wide.
    unit = lambda image: net(image.expand(-1, -1, -1, 95))  # noqa: E731
    assert receptive_field(monkeypatch, net, 95 + 64, unit) == (95, 47 + 32)


def test_activation_is_lecuns():
    x = torch.linspace(-3, 3, 7)
    expected = 1.7159 * (1 - 2 / (torch.exp(4 * x / 3) + 1))
    torch.testing.assert_close(ScaledTanh()(x), expected)


def test_strided_pass_equals_window_by_window():
    net, images = small(), torch.randn(2, 2, 95 + 21, 95 + 35, dtype=torch.float64)
    logits = net(images)
    assert logits.shape == (2, 3, 2, 3)
    for i in range(2):
        for j in range(3):
            window = images[..., 16 * i : 16 * i + 95, 16 * j : 16 * j + 95]
            torch.testing.assert_close(logits[..., i, j], net(window)[..., 0, 0])


def test_dense_pass_equals_window_by_window_values_and_gradients():
    net = small()
    images = torch.randn(2, 2, 99, 96, dtype=torch.float64, requires_grad=True)
    dense = net.forward_dense(images, mirror=False)
    assert dense.shape == (2, 3, 5, 2)
    windows = torch.stack(
        [images[..., i : i + 95, j : j + 95] for i in range(5) for j in range(2)], dim=1
    )
    scanned = net(windows.flatten(0, 1)).view(2, 10, 3).transpose(1, 2).view(2, 3, 5, 2)
    torch.testing.assert_close(dense, scanned)
    grads = [torch.autograd.grad(uneven(y), images, retain_graph=True)[0] for y in (dense, scanned)]
    torch.testing.assert_close(*grads)


def test_mirrored_border_centres_the_window_on_every_pixel():
    net, images = small(), torch.randn(1, 2, 48, 53, dtype=torch.float64)
    dense = net.forward_dense(images)
    assert dense.shape == (1, 3, 48, 53)
    for row, column in ((0, 0), (47, 52), (13, 30)):
        rows = [_mirror(row + d, 48) for d in range(-47, 48)]
        columns = [_mirror(column + d, 53) for d in range(-47, 48)]
        window = images[:, :, rows][..., columns]
        torch.testing.assert_close(dense[..., row, column], net(window)[..., 0, 0])


def _mirror(i: int, n: int) -> int:
    return n - 1 - abs(n - 1 - abs(i))  # the edge pixel is not repeated


def test_cost_of_scanning():
    net = PixelClassifier()
    assert count_macs(net, (1, 1, 95, 95)) == 121_464_592
    dense = count_macs(Dense(net), (1, 1, 512, 512))
    assert dense == pytest.approx(6.699e10, rel=1e-3)
    assert 121_464_592 * 512**2 / dense == pytest.approx(475, abs=0.5)


def test_gradients_reach_every_parameter():
    check_gradients(PixelClassifier(3, in_channels=2, width=4), torch.randn(2, 2, 111, 95), uneven)


def test_bfloat16_and_eval_determinism():
    net, images = small().float(), torch.rand(2, 2, 111, 127)
    with torch.no_grad():
        logits = net(images)
        torch.testing.assert_close(net(images), logits, rtol=0, atol=0)
        low = net.bfloat16()(images.bfloat16())
    assert low.dtype == torch.bfloat16
    assert F.cosine_similarity(low.float().flatten(), logits.flatten(), dim=0) > 0.99


def test_overfits_two_scenes_window_by_window():
    torch.manual_seed(0)
    images, labels = two_scenes((159, 143), channels=2)
    net = PixelClassifier(3, in_channels=2, width=12)
    centres = labels[:, 47:-47:16, 47:-47:16]
    assert overfit(net, images, centres, steps=40, lr=3e-3) == 1


@pytest.mark.slow
def test_overfits_two_scenes_pixel_by_pixel():
    torch.manual_seed(0)
    images, labels = two_scenes((50, 58), channels=2)
    net = Dense(PixelClassifier(3, in_channels=2, width=6))
    assert overfit(net, images * 4 - 2, labels, steps=60) > 0.95


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(1, 1, 95, 94), ValueError, r"95 x 94 image is left at full1.*\(95, 111, 127"),
        (torch.zeros(1, 1, 3, 95), ValueError, r"left at conv1"),
        (torch.zeros(1, 3, 95, 95), ValueError, r"\(B, 1, H, W\), got shape \(1, 3, 95, 95\)"),
        (torch.zeros(1, 95, 95), ValueError, r"images\[None\]"),
        (torch.zeros(0, 1, 95, 95), ValueError, r"no axis may be 0"),
        (torch.zeros(1, 1, 95, 95, dtype=torch.uint8), TypeError, r"float\(\) / 255"),
    ],
)
def test_bad_images(images, error, message):
    with pytest.raises(error, match=message):
        PixelClassifier()(images)


def test_bad_options_and_small_mirrors():
    with pytest.raises(ValueError, match="width must be at least 1, got 0"):
        PixelClassifier(width=0)
    with pytest.raises(ValueError, match="at least 48, got 47 x 60"):
        PixelClassifier().forward_dense(torch.zeros(1, 1, 47, 60))
