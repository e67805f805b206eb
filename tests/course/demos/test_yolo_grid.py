"""The YOLO grid demo: its numbers are those of the library, and its captions tell the state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course import demos
from course.demos.grid_loss import IMAGE, answer_of, cell_of, loss_of, write_grid
from course.demos.yolo_grid import START, TWINS
from course.models import yolo

corner = st.integers(0, 40).map(lambda v: 8.0 * v)
side = st.integers(3, 15).map(lambda v: 8.0 * v)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
objects = st.tuples(box, box, box)


@settings(max_examples=60, deadline=None)
@given(objects, st.integers(1, 7))
def test_the_grid_is_the_librarys(boxes, S):
    grid, kept = write_grid(boxes, S)
    labels = torch.tensor([1, 2, 3])
    expected = yolo.make_targets(
        torch.tensor(boxes).double(), labels, (IMAGE, IMAGE), S=S, num_classes=3
    ).numpy()
    np.testing.assert_allclose(grid, expected, atol=1e-5)
    assert sum(kept) == expected[..., 4].sum()


@settings(max_examples=60, deadline=None)
@given(objects, st.integers(2, 7), st.integers(0, 8), st.floats(0, 1), st.floats(0, 1))
def test_the_five_terms_are_the_librarys(boxes, S, steps, sure, noise):
    target = write_grid(boxes, S)[0]
    answer = answer_of(boxes, S, 8.0 * steps, sure, noise)
    expected = yolo.yolo_loss(torch.tensor(answer)[None], torch.tensor(target)[None])
    np.testing.assert_allclose(loss_of(answer, target), torch.stack(list(expected)), atol=1e-9)


def test_a_better_second_box_becomes_responsible_and_the_first_must_be_silent():
    target = np.zeros((2, 2, 8))
    target[1, 0] = [0.5, 0.5, 0.6, 0.4, 1, 0, 0, 1]
    answer = np.zeros((2, 2, 13))
    answer[1, 0, :10] = [0.9, 0.9, 0.2, 0.2, 0.7, 0.5, 0.5, 0.6, 0.3, 0.4]
    loss = loss_of(answer, target)
    expected = yolo.yolo_loss(torch.tensor(answer)[None], torch.tensor(target)[None])
    np.testing.assert_allclose(loss, torch.stack(list(expected)), atol=1e-9)
    assert loss.centre == 0
    assert loss.size == pytest.approx(5 * 0.1**2)  # one root is wrong by 0.1
    assert loss.object == pytest.approx((0.4 - 0.75**2) ** 2)  # it covers 9/16
    assert loss.no_object == pytest.approx(0.5 * 0.7**2)
    assert loss.classes == 1


@pytest.mark.parametrize("S", [2, 5, 7])
def test_a_perfect_network_pays_for_its_classes_only(S):
    boxes = START
    target, kept = write_grid(boxes, S)
    loss = loss_of(answer_of(boxes, S, 0.0, 1.0, 0.0), target)
    np.testing.assert_allclose(loss[:4], 0, atol=1e-12)
    assert loss.classes == pytest.approx(sum(kept) * (0.2**2 + 2 * 0.1**2))


def test_silence_of_the_others_costs_by_their_number():
    target, kept = write_grid(START, 7)
    loss = loss_of(answer_of(START, 7, 0.0, 1.0, 0.4), target)
    assert loss.no_object == pytest.approx(0.5 * (98 - sum(kept)) * 0.4**2)


def test_two_centres_in_one_cell_lose_the_second_and_the_loss_falls():
    apart, together = demos.frame("yolo_grid"), demos.frame("yolo_grid", objects=TWINS)
    assert "lost" not in apart.caption
    assert "B lost" in together.caption
    assert cell_of(TWINS[0], 7) == cell_of(TWINS[1], 7)
    assert write_grid(TWINS, 7)[1] == (True, False, True)
    assert total(together.caption) < total(apart.caption)
    assert (apart.image != together.image).any()


def total(caption: str) -> float:
    return float(caption.split("Loss ")[1].split(":")[0])


def test_the_caption_counts_cells_and_boxes():
    assert demos.frame("yolo_grid").caption.startswith("49 cells, 98 boxes: A in row 1 column 1")
    assert demos.frame("yolo_grid", cells=2).caption.startswith("4 cells, 8 boxes")


@pytest.mark.parametrize(
    "change", [{"cells": 3}, {"miss": 8}, {"sure": 0.9}, {"noise": 0.0}, {"objects": TWINS}]
)
def test_every_control_changes_picture_and_caption(change):
    before, after = demos.frame("yolo_grid"), demos.frame("yolo_grid", **change)
    assert (before.image != after.image).any()
    assert before.caption != after.caption


@pytest.mark.parametrize(
    "change",
    [{"cells": 1}, {"cells": 8}, {"miss": -1}, {"sure": 1.5}, {"objects": START[:2]}, {"S": 3}],
)
def test_impossible_states_are_refused(change):
    with pytest.raises(ValueError, match=r"expected|no control"):
        demos.frame("yolo_grid", **change)


def test_boxes_at_the_edges_stay_drawable():
    corners = ((424, 424, 448, 448), (0, 0, 24, 24), (0, 0, 448, 448))
    for cells in (2, 7):
        caption = demos.frame("yolo_grid", objects=corners, cells=cells, miss=64, noise=1.0).caption
        assert f"A in row {cells - 1} column {cells - 1}" in caption
