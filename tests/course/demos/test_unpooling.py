"""The unpooling demo: its numbers are those of torch and of `course.upsampling`."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course import demos, upsampling
from course.demos import unpooling as demo

RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 10, (4, 4)).astype(float) for _ in range(5)]
IMAGES += [RNG.integers(0, 3, (6, 8)).astype(float), np.zeros((4, 4)), np.full((2, 6), 7.0)]


def as_maps(x):
    return torch.from_numpy(np.asarray(x, float))[None, None]


@pytest.mark.parametrize("x", IMAGES)
def test_pooling_and_unpooling_are_those_of_the_library(x):
    y, place = demo.pool(x)
    wanted, idx = upsampling.max_pool_with_switches(as_maps(x))
    np.testing.assert_array_equal(y, wanted[0, 0])
    i, j = np.indices(place.shape)
    flat = (2 * i + place // 2) * x.shape[1] + 2 * j + place % 2
    np.testing.assert_array_equal(flat, idx[0, 0])  # ties too: the first in reading order
    np.testing.assert_array_equal(
        demo.unpool(y, place), upsampling.unpool(wanted, idx, x.shape)[0, 0]
    )


@pytest.mark.parametrize("x", IMAGES)
def test_nearest_and_bilinear_are_those_of_torch(x):
    y, _ = demo.pool(x)
    np.testing.assert_array_equal(demo.nearest(y), upsampling.nearest(as_maps(y))[0, 0])
    wanted = F.interpolate(as_maps(y), scale_factor=2, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(demo.bilinear(y), wanted[0, 0])


@pytest.mark.parametrize("x", IMAGES[:6])
def test_the_shared_kernel_is_the_best_one(x):
    y, _ = demo.pool(x)
    kernel = demo.best_kernel(x, y)
    found = demo.transposed(y, kernel)
    weight = torch.from_numpy(kernel).view(1, 1, 2, 2)
    np.testing.assert_allclose(found, F.conv_transpose2d(as_maps(y), weight, stride=2)[0, 0])
    solved = np.linalg.lstsq(y.reshape(-1, 1), demo.windows(x).reshape(-1, 4), rcond=None)[0]
    np.testing.assert_allclose(kernel, solved[0])
    error = ((found - x) ** 2).sum()
    for shift in np.eye(4) * 0.05:
        assert ((demo.transposed(y, kernel + shift) - x) ** 2).sum() > error


def test_the_lecture_example():
    x = [[1, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]]
    y, place = demo.pool(x)
    assert y.tolist() == [[5, 6], [7, 8]]
    back = demo.unpool(np.array([[1.0, 2.0], [3.0, 4.0]]), place)
    assert back.tolist() == [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]


@pytest.mark.parametrize("x", IMAGES[:6])
def test_conservation(x):
    y, place = demo.pool(x)
    assert demo.unpool(y, place).sum() == y.sum()  # moved, not multiplied
    assert demo.nearest(y).sum() == 4 * y.sum()
    np.testing.assert_array_equal(demo.tile(demo.windows(x)), x)
    np.testing.assert_array_equal(demo.pool(demo.unpool(y, place))[0], y)
    assert demo.share_in_place(demo.unpool(y, place), place) == 1
    assert demo.share_in_place(demo.nearest(y), place) == 0.25


def test_only_switches_follow_a_maximum_that_moves_inside_its_window():
    here = np.array(demo.DEMO.default["input"], float)
    there = here.copy()
    there[3, 2], there[3, 3] = here[3, 3], here[3, 2]
    none = np.zeros((2, 2))
    a, b = demo.enlarge(here, none), demo.enlarge(there, none)
    np.testing.assert_array_equal(a["nearest"], b["nearest"])
    np.testing.assert_array_equal(a["bilinear"], b["bilinear"])
    assert (a["switches"] != b["switches"]).sum() == 2
    assert b["switches"][3, 2] == 8
    assert (a["transposed"] != b["transposed"]).sum() == 8  # two entries in each of four windows


def test_a_raised_value_goes_to_the_switch():
    added = np.array([[0, 0], [0, 4]])
    found = demo.enlarge(demo.DEMO.default["input"], added)
    assert found["switches"][3, 3] == 12
    assert (found["nearest"][2:, 2:] == 12).all()
    caption = demos.frame("unpooling", added=added.tolist()).caption
    assert "raised to 5, 6, 7, 12" in caption


def test_caption_has_the_numbers_of_the_state():
    caption = demos.frame("unpooling").caption
    assert "Pooled 5, 6, 7, 8; switches (row, column) (1, 1), (0, 2), (3, 0), (3, 3)" in caption
    assert "switches 100 %, nearest 25 %" in caption
    assert "order: 1.56, 3.31" in caption  # 25 / 16 and 53 / 16


def test_an_empty_image_can_be_drawn():
    caption = demos.frame("unpooling", input=((0,) * 4,) * 4).caption
    assert "Pooled 0, 0, 0, 0" in caption
    assert "0.00, 0.00, 0.00, 0.00" in caption


@pytest.mark.parametrize(
    "changes",
    [{"input": ((10,) * 4,) * 4}, {"input": ((1, 2), (3, 4))}, {"added": ((0, 0), (0, 6))}],
)
def test_impossible_states_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        demos.frame("unpooling", **changes)
