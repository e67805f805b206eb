"""The stepper of non-maximum suppression: fates against the library, and what the picture says."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from course import boxes as library
from course import demos
from course.demos.nms import DETECTIONS, detections, found, overlaps, suppress

DEMO = demos.get("nms")
DISTANCES = (20, 24, 34, 62, 100, 130)
THRESHOLDS = (0.1, 0.3, 0.5, 0.55, 0.7, 0.9)


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_it_keeps_what_the_library_keeps(distance: int, threshold: float) -> None:
    boxes, scores = detections(distance)
    fates = suppress(boxes, scores, threshold)
    rows = torch.tensor(boxes)
    kept = library.nms(rows, torch.tensor(scores, dtype=torch.float64), threshold)
    assert [i for i, fate in fates.items() if fate.kept] == kept.tolist()
    assert np.allclose(overlaps(boxes), library.box_iou(rows, rows).numpy())


corner = st.integers(0, 30)
side = st.integers(1, 20)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))


@given(st.lists(st.tuples(box, st.integers(0, 5)), max_size=12), st.sampled_from(THRESHOLDS))
def test_every_fate_has_its_reason(rows: list, threshold: float) -> None:
    boxes = np.array([box for box, _ in rows], float).reshape(-1, 4)
    scores = np.array([score for _, score in rows], float)
    fates = suppress(boxes, scores, threshold)
    kept = library.nms(torch.tensor(boxes), torch.tensor(scores), threshold)
    assert [i for i, fate in fates.items() if fate.kept] == kept.tolist()
    iou, order = overlaps(boxes), list(fates)
    for i, fate in fates.items():
        if fate.kept:
            assert fate.by == -1
            assert fate.overlap <= threshold
        else:
            assert fates[fate.by].kept
            assert order.index(fate.by) < order.index(i)
            assert fate.overlap == iou[i, fate.by] > threshold


def test_a_removed_box_removes_nothing() -> None:
    fates = suppress([(0, 0, 10, 10), (6, 0, 16, 10), (12, 0, 22, 10)], [0.9, 0.8, 0.7], 0.2)
    assert [fate.by for fate in fates.values()] == [-1, 0, -1]


def test_the_story_of_the_stills() -> None:
    assert found(suppress(*detections(100), 0.5)) == [1, 1, 1]
    assert found(suppress(*detections(24), 0.5)) == [1, 0, 1]
    counts = found(suppress(*detections(24), 0.7))
    assert min(counts) >= 1
    assert sum(counts) > 3


def test_when_they_stand_close_no_threshold_is_right() -> None:
    """The answer to the question that the demo asks."""
    assert overlaps(detections(24)[0])[0, 1] > 0.5
    for threshold in np.arange(0.1, 0.901, 0.05):
        assert found(suppress(*detections(24), float(threshold))) != [1, 1, 1]


def test_detections_lie_best_first_and_inside_the_picture() -> None:
    for distance in DISTANCES:
        boxes, scores = detections(distance)
        assert scores == sorted(scores, reverse=True)
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= 300).all()
        assert (boxes[:, 3] <= 190).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()


def test_captions_say_who_removes_whom() -> None:
    assert "nothing kept yet. 0 of 9 decided" in DEMO.frame({"step": 0}).caption
    caption = DEMO.frame({"step": 4}).caption
    assert "A, B, C kept, A removes D (IoU 0.79). 4 of 9 decided" in caption
    assert DEMO.frame({"distance": 24}).caption.endswith("1 sheep lost.")
    assert DEMO.frame().caption.endswith("One box for each sheep.")
    assert DEMO.frame({"threshold": 0.6}).caption.endswith("1 box too many.")


def test_every_step_changes_the_picture() -> None:
    frames = [DEMO.frame({"step": step}).image for step in range(len(DETECTIONS) + 1)]
    assert all((a != b).any() for a, b in itertools.pairwise(frames))
    assert (DEMO.frame({"distance": 40}).image != DEMO.frame().image).any()
    assert (DEMO.frame({"threshold": 0.8}).image != DEMO.frame().image).any()


@pytest.mark.parametrize("state", [{"step": 10}, {"threshold": 1.5}, {"distance": "far"}])
def test_impossible_states_are_refused(state: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(state))):
        DEMO.frame(state)
