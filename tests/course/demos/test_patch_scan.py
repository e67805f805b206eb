"""The patch scan demo: visits by brute force, costs by the library's counter, equal numbers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn

from course import demos, geometry, windows
from course.demos.patch_scan import SIDE, channels, cost, macs, scene, visits

WINDOWS = [3, 5, 9, 15]


def network(k: int) -> nn.Sequential:
    """The chain of 3 × 3 convolutions that the demo counts."""
    maps = channels(k)
    layers: list[nn.Module] = []
    for before, after in pairwise(maps):
        layers += [nn.Conv2d(before, after, 3), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


@pytest.mark.parametrize("k", WINDOWS)
def test_the_window_is_the_receptive_field(k):
    assert geometry.receptive_field(geometry.layers_of(network(k))).size == k


@pytest.mark.parametrize("k", WINDOWS)
@pytest.mark.parametrize("size", [15, 24, 33])
def test_costs_are_the_librarys(k, size):
    assert macs(size, k) == geometry.count_macs(network(k), (1, 1, size, size))


@pytest.mark.parametrize("k", [3, 9])
def test_one_pass_gives_the_numbers_of_the_scan(k):
    net = network(k).double()
    image = torch.tensor(scene())[None]
    patched = windows.scan(image, net, k)
    dense = net(windows.mirror_border(image, k)[None])[0]
    assert dense.shape == (2, SIDE, SIDE)
    torch.testing.assert_close(patched, dense.detach(), atol=1e-12, rtol=0)


@pytest.mark.parametrize(
    ("k", "stride", "done"), [(3, 1, 1), (5, 1, 100), (9, 2, 144), (7, 5, 13), (15, 6, 16)]
)
def test_visits_by_brute_force(k, stride, done):
    expected = np.zeros((SIDE + k - 1, SIDE + k - 1), int)
    places = [(y, x) for y in range(0, SIDE, stride) for x in range(0, SIDE, stride)]
    for y, x in places[:done]:
        expected[y : y + k, x : x + k] += 1
    np.testing.assert_array_equal(visits(k, stride, done), expected)
    assert expected.sum() == done * k * k


def test_every_patch_of_the_library_is_counted():
    patches = windows.extract_patches(torch.tensor(scene())[None], 7, stride=5)
    assert len(patches) == cost(7, 5, (23, 23)).patches == 25


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_the_clicked_pixel_is_the_progress_in_reading_order(stride):
    grid = [(y, x) for y in range(0, SIDE, stride) for x in range(0, SIDE, stride)]
    for pixel in ((0, 0), (23, 0), (11, 7), (23, 23)):
        at = (pixel[1] // stride * stride, pixel[0] // stride * stride)
        assert cost(9, stride, pixel).done == grid.index(at) + 1
    assert cost(9, stride, (23, 23)).done == cost(9, stride, (23, 23)).patches


def test_inside_the_image_a_pixel_is_read_by_every_window_that_can_reach_it():
    assert visits(9, 1, SIDE * SIDE).max() == 81
    assert demos.frame("patch_scan", pixel=(23, 23), window=15).caption.count("up to 225 times")


def test_the_answer_to_the_question_is_right():
    bill = cost(15, 1, (0, 0))
    assert round(bill.dense / bill.patch) == 16
    assert "After 16" in demos.get("patch_scan").predict[1]


def test_wide_steps_make_one_pass_the_dearer_way():
    bill = cost(7, 6, (23, 23))
    assert bill.dense > bill.patches * bill.patch
    caption = demos.frame("patch_scan", pixel=(23, 23), window=7, stride=6).caption
    assert f"{bill.dense / (bill.patches * bill.patch):.1f} times more" in caption
    assert "13.40 for the whole scan, 0.99 for one pass, 13.5 times less" in (
        demos.frame("patch_scan").caption
    )


@pytest.mark.parametrize("change", [{"pixel": (3, 20)}, {"window": 5}, {"stride": 3}])
def test_every_control_changes_picture_and_caption(change):
    before, after = demos.frame("patch_scan"), demos.frame("patch_scan", **change)
    assert (before.image != after.image).any()
    assert before.caption != after.caption


@pytest.mark.parametrize(
    "change", [{"pixel": (24, 0)}, {"window": 1}, {"window": 17}, {"stride": 0}, {"k": 3}]
)
def test_impossible_states_are_refused(change):
    with pytest.raises(ValueError, match=r"expected|no control"):
        demos.frame("patch_scan", **change)
