"""The stamping demo: its numbers are those of torch and of `course.upsampling`."""

from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course import demos
from course.demos import transposed_convolution as demo
from course.upsampling import bilinear_kernel, conv_as_matrix, overlap_count, transposed_conv

CORNERS = [
    (k, s, p)
    for k, s, p in product(range(1, 6), range(1, 4), range(3))
    if (2 - 1) * s - 2 * p + k > 0
]


@pytest.mark.parametrize(("k", "s", "p"), CORNERS)
def test_stamping_is_the_transposed_convolution(k, s, p):
    x = np.array([[3.0, 0.0], [1.0, 4.0]])
    for kind in demo.KERNELS:
        kernel = demo.kernel_of(kind, k)
        found = demo.crop(demo.stamp(x, kernel, s, 4), p)
        pair = torch.from_numpy(x), torch.from_numpy(kernel)
        np.testing.assert_allclose(found, transposed_conv(*pair, s, p))
        wanted = F.conv_transpose2d(pair[0][None, None], pair[1][None, None], stride=s, padding=p)
        np.testing.assert_allclose(found, wanted[0, 0])
        np.testing.assert_allclose(demo.matrix(kernel, s, p) @ x.ravel(), found.ravel())


@pytest.mark.parametrize(("k", "s", "p"), [(3, 1, 0), (2, 2, 0), (3, 2, 1), (4, 2, 1), (1, 3, 0)])
def test_the_matrix_is_that_of_the_convolution_transposed(k, s, p):
    kernel = demo.kernel_of("1, 2, 3, ...", k)
    side = s - 2 * p + k
    w = conv_as_matrix(torch.from_numpy(kernel), (side, side), s, p)
    np.testing.assert_array_equal(demo.matrix(kernel, s, p), w.T)


def test_the_lecture_example():
    x = [[1, 2], [3, 4]]
    found = demo.stamp(x, demo.kernel_of("1, 2, 3, ...", 3), 1, 4)
    assert found.tolist() == [[1, 4, 7, 6], [7, 23, 33, 24], [19, 53, 63, 42], [21, 52, 59, 36]]
    first = demo.stamp(x, demo.kernel_of("1, 2, 3, ...", 3), 1, 1)
    assert first.tolist() == [[1, 2, 3, 0], [4, 5, 6, 0], [7, 8, 9, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("k", range(1, 6))
def test_bilinear_is_the_library_kernel(k):
    np.testing.assert_allclose(demo.kernel_of("bilinear", k), bilinear_kernel(size=k), rtol=1e-6)


@pytest.mark.parametrize(("k", "s", "p"), CORNERS)
def test_counts_are_the_overlaps_and_even_exactly_if_the_stride_divides(k, s, p):
    counts = demo.stamps_per_pixel(k, s, p)
    np.testing.assert_array_equal(counts, overlap_count(demo.ROW, k, s, p))
    inside = counts[k : len(counts) - k]  # whole periods, far from both ends
    if len(inside) >= s:
        assert (len(set(inside.tolist())) == 1) == (k % s == 0)


@pytest.mark.parametrize("count", range(5))
def test_a_stamp_conserves_the_sum(count):
    x, kernel = np.array([[2, 1], [0, 4]]), demo.kernel_of("bilinear", 4)
    total = demo.stamp(x, kernel, 3, count).sum()
    assert total == pytest.approx(x.ravel()[:count].sum() * kernel.sum())


def test_caption_has_the_numbers_of_the_state():
    caption = demos.frame("transposed_convolution", values="ones", stride=2).caption
    assert "(2 - 1) · 2 - 2 · 0 + 3 = 5" in caption
    assert "canvas 90 = sum of those inputs 10 × sum of the kernel 9" in caption
    assert "2 does not divide 3: uneven" in caption
    caption = demos.frame("transposed_convolution", kernel=4, stride=2, padding=1).caption
    assert "= 4 pixels" in caption
    assert "4 is a multiple of 2: even" in caption
    # Ones, cropped by 1: of the 4 x 4 ones of each corner's stamp, 3 x 3 are left.
    caption = demos.frame(
        "transposed_convolution", values="ones", kernel=4, stride=2, padding=1
    ).caption
    assert "canvas 160" in caption
    assert "leaves 90" in caption


def test_nothing_left_is_said():
    image, caption = demos.frame("transposed_convolution", kernel=1, stride=2, padding=2)
    assert caption.startswith("With padding 2 nothing is left of the canvas of 3 pixels")
    assert image.std() > 0


@pytest.mark.parametrize(
    "changes",
    [
        {"stamps": 3},
        {"values": "ones"},
        {"kernel": 4},
        {"stride": 2},
        {"padding": 1},
        {"input": ((1, 2), (3, 0))},
    ],
)
def test_every_control_changes_the_picture(changes):
    here = demos.frame("transposed_convolution")
    there = demos.frame("transposed_convolution", **changes)
    assert (here.image != there.image).any()
    assert here.caption != there.caption


@pytest.mark.parametrize(
    "changes",
    [{"stride": 0}, {"kernel": 6}, {"padding": -1}, {"values": "gauss"}, {"input": ((1, 2),)}],
)
def test_impossible_states_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        demos.frame("transposed_convolution", **changes)
