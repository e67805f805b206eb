"""The IoU playground: areas, scores and arrows against `course.boxes` and its gradients."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from course import boxes as library
from course import demos
from course.demos.iou import overlap, slope

DEMO = demos.get("iou")

side = st.integers(1, 24)
corner = st.integers(0, 24)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


def tensor(row: tuple, *, grad: bool = False) -> torch.Tensor:
    return torch.tensor([row], dtype=torch.float64, requires_grad=grad)


@given(box, box)
def test_scores_are_those_of_the_library(a: tuple, b: tuple) -> None:
    found = overlap(a, b)
    assert found.iou == pytest.approx(library.box_iou(tensor(a), tensor(b)).item())
    assert found.giou == pytest.approx(library.giou(tensor(a), tensor(b)).item())
    assert overlap(b, a) == pytest.approx(found)
    assert found.hull >= found.union >= found.intersection


@given(box, box)
def test_areas_are_those_of_painted_cells(a: tuple, b: tuple) -> None:
    masks = np.zeros((2, 48, 48), bool)
    for mask, (x0, y0, x1, y1) in zip(masks, (a, b), strict=True):
        mask[y0:y1, x0:x1] = True
    found = overlap(a, b)
    assert found.intersection == (masks[0] & masks[1]).sum()
    assert found.union == (masks[0] | masks[1]).sum()


@given(box, box)
def test_arrows_are_the_gradients_of_the_library(a: tuple, b: tuple) -> None:
    """For a shift of B: the gradients of its two sides added; not on the kinks."""
    touching = {a[0], a[2]} & {b[0], b[2]} or {a[1], a[3]} & {b[1], b[3]}
    assume(not touching)
    for score, mine in ((library.box_iou, slope(a, b).iou), (library.giou, slope(a, b).giou)):
        moved = tensor(b, grad=True)
        (grad,) = torch.autograd.grad(score(tensor(a), moved).sum(), moved)
        expected = (grad[0, :2] + grad[0, 2:]).tolist()
        assert mine == pytest.approx(expected, abs=1e-12)


def test_half_of_each_shared_is_one_third() -> None:
    """The answer to the question that the demo asks."""
    assert overlap((6, 8, 26, 28), (16, 8, 36, 28)).iou == pytest.approx(1 / 3)
    assert DEMO.frame().caption == (
        "Intersection 200, union 600 square cells: IoU = 0.33. "
        "The enclosing box has 600: GIoU = 0.33."
    )


def test_the_same_box_scores_one_and_wants_no_move() -> None:
    same = (3, 4, 10, 20)
    assert overlap(same, same)[3:] == (1, 1)
    assert slope(same, same) == ((0, 0), (0, 0))


def test_apart_only_giou_has_an_arrow_and_it_points_back() -> None:
    rise = slope((2, 4, 14, 16), (34, 20, 46, 32))
    assert rise.iou == (0, 0)
    assert max(rise.giou) < 0  # left and up
    caption = DEMO.frame(DEMO.stills[-1].changes).caption
    assert "union 288 square cells: IoU = 0.00" in caption
    assert caption.endswith("Without overlap IoU is 0 wherever B lies; GIoU is not.")


def test_every_control_changes_the_picture() -> None:
    start = DEMO.frame().image
    assert (DEMO.frame({"arrows": True}).image != start).any()
    assert (DEMO.frame({"boxes": ((6, 8, 26, 28), (17, 8, 37, 28))}).image != start).any()


@pytest.mark.parametrize("place", [(0, 0, 1, 1), (47, 35, 48, 36), (0, 0, 48, 36)])
def test_boxes_in_the_corners_can_be_drawn(place: tuple) -> None:
    frame = DEMO.frame({"boxes": (place, (20, 10, 30, 20)), "arrows": True})
    assert "nan" not in frame.caption


@pytest.mark.parametrize(
    "state",
    [
        {"boxes": ((0, 0, 10, 10),)},
        {"boxes": ((0, 0, 10, 10), (40, 30, 50, 36))},
        {"boxes": ((0, 0, 0, 10), (1, 1, 5, 5))},
        {"arrows": "yes"},
    ],
)
def test_impossible_states_are_refused(state: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(state))):
        DEMO.frame(state)


def test_the_caption_says_what_the_arrows_show() -> None:
    boxes = ((2, 4, 14, 16), (34, 20, 46, 32))
    step = float(np.hypot(*slope(*boxes).giou))
    caption = DEMO.frame({"boxes": boxes, "arrows": True}).caption
    assert f"raises IoU by 0.000 and GIoU by {step:.3f}." in caption
    assert "The best step" not in DEMO.frame({"boxes": boxes}).caption
