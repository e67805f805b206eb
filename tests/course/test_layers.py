"""The shared pieces of `course.models.layers`."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from course.models import layers

sizes = st.integers(1, 40)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.sampled_from([2, 8, 16]))
def test_a_picture_of_positions_lands_on_its_pixels(height, width, stride):
    rows = torch.arange(0, height, stride, dtype=torch.float64)
    columns = torch.arange(0, width, stride, dtype=torch.float64)
    ramp = (rows[:, None] + 100 * columns)[None, None]  # feature i knows its pixel, stride * i
    full = layers.upsample_aligned(ramp, (height, width), stride)
    expected_rows = torch.arange(height, dtype=torch.float64).clamp(max=rows[-1].item())
    expected_columns = torch.arange(width, dtype=torch.float64).clamp(max=columns[-1].item())
    torch.testing.assert_close(full[0, 0], expected_rows[:, None] + 100 * expected_columns)


def test_sizes_8k_plus_1_are_aligned_corner_interpolation():
    logits = torch.randn(2, 3, 5, 8)
    expected = F.interpolate(logits, size=(33, 57), mode="bilinear", align_corners=True)
    torch.testing.assert_close(layers.upsample_aligned(logits, (33, 57)), expected)


def test_upsampling_has_the_right_gradient():
    logits = torch.randn(1, 2, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: layers.upsample_aligned(x, (11, 7), 4), logits)


def test_an_exported_upsampling_takes_every_size():
    class Net(torch.nn.Module):
        def forward(self, logits, images):
            return layers.upsample_aligned(logits, images.shape[-2:])

    def example(height, width):
        return torch.rand(2, 3, -(-height // 8), -(-width // 8)), torch.rand(2, 3, height, width)

    sizes = {2: torch.export.Dim.AUTO, 3: torch.export.Dim.AUTO}
    program = torch.export.export(Net(), example(41, 50), dynamic_shapes=(sizes, sizes)).module()
    for size in ((41, 50), (66, 83), (33, 57)):  # the last row on the last pixel, and before it
        inputs = example(*size)
        torch.testing.assert_close(program(*inputs), Net()(*inputs))


class Scores(torch.nn.Module):
    """A network that asks everything at the door."""

    def __init__(self):
        super().__init__()
        self.score = torch.nn.Conv2d(3, 2, 1)

    def forward(self, images):
        layers.check_images(images, 3, "Scores", net=self)
        return self.score(images)


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (np.zeros((1, 3, 4, 5), "f"), TypeError, r"got ndarray: convert with torch\.as_tensor"),
        (torch.zeros(1, 3, 4, 5).byte(), TypeError, r"got torch\.uint8: .*/ 255"),
        (
            torch.zeros(1, 3, 4, 5).double(),
            TypeError,
            r"float32, got .*float64: .*to\(torch\.float32",
        ),
        (torch.zeros(1, 3, 4, 5, device="meta"), ValueError, "weights on cpu, got images on meta"),
    ],
)
def test_images_must_fit_the_weights(images, error, message):
    with pytest.raises(error, match=message):
        Scores()(images)


def test_the_door_is_open_to_autocast_to_compilers_and_to_replicas_without_parameters():
    net, images = Scores(), torch.rand(2, 3, 4, 5)
    with torch.autocast("cpu", torch.bfloat16):
        expected = net(images.bfloat16())
        compiled = torch.compile(net, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(images.bfloat16()), expected)
    exported = torch.export.export(net, (images,)).module()
    torch.testing.assert_close(exported(images), net(images))
    layers.check_images(images.double(), 3, "Net", net=torch.nn.ReLU())


def test_norms_that_see_more_or_learn_nothing_are_left_alone():
    norm = torch.nn.BatchNorm2d(3)
    with pytest.raises(ValueError, match="Net: c5 has one value per channel"):
        layers.check_normalised(norm, 1, "Net: c5")
    layers.check_normalised(norm, 2, "Net: c5")
    for other in (
        torch.nn.BatchNorm2d(3).eval(),
        torch.nn.SyncBatchNorm(3),
        torch.nn.GroupNorm(1, 3),
    ):
        layers.check_normalised(other, 1, "Net: c5")


def test_upsampling_refuses_other_sizes():
    with pytest.raises(ValueError, match="33 x 34 image are 5 x 5, got 5 x 4"):
        layers.upsample_aligned(torch.zeros(1, 1, 5, 4), (33, 34))


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3), st.integers(0, 2)), min_size=1),
    st.integers(1, 300),
)
def test_check_levels_refuses_exactly_what_a_layer_cannot_take(chain, n):
    levels = [(f"level{i}", k, s, min(p, k // 2)) for i, (k, s, p) in enumerate(chain)]
    left, dead = n, None
    for name, kernel, stride, padding in levels:
        left = len(range(0, left + 2 * padding - kernel + 1, stride))
        if left == 0:
            dead = name
            break
    image = torch.empty(1, 1, n, 10**6, device="meta")
    if dead is None:
        layers.check_levels(image, levels, 2, "Net")
    else:
        with pytest.raises(ValueError, match=f"left at {dead};"):
            layers.check_levels(image, levels, 2, "Net")


@pytest.mark.parametrize("transposed", [False, True])
def test_he_init_keeps_the_variance(transposed):
    torch.manual_seed(0)
    kind = torch.nn.ConvTranspose2d if transposed else torch.nn.Conv2d
    layer = kind(64, 64, 4, stride=2)
    layers.he_init(layer)
    y = layer(torch.randn(4, 64, 40, 40))[..., 4:-4, 4:-4]
    assert y.var().item() == pytest.approx(2, rel=0.1)
