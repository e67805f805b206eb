"""The precision-recall demo: verdicts, curve and area are those of course.boxes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from course import boxes as library
from course import demos
from course.demos.precision_recall import (
    DETECTIONS,
    NMS,
    OBJECTS,
    average_precision,
    envelope,
    judge,
    suppress,
    walk,
)

SCORES = torch.tensor([score for score, _ in DETECTIONS])
BOXES = torch.tensor([box for _, box in DETECTIONS]).double()
THRESHOLDS = [0.3, 0.5, 0.6, 0.65, 0.75, 0.9]


def verdicts(threshold: float, nms: bool = False) -> list[str]:
    return [
        found.verdict for found in judge([b for _, b in DETECTIONS], OBJECTS, threshold, nms=nms)
    ]


@settings(max_examples=80, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(0, 5))
def test_the_area_is_the_librarys(right, missed):
    objects = max(sum(right) + missed, 1)
    scores = torch.linspace(1, 0, len(right))
    expected = library.average_precision(scores, torch.tensor(right), objects)
    assert average_precision(right, objects) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("threshold", THRESHOLDS)
@pytest.mark.parametrize("nms", [False, True])
def test_the_verdicts_give_the_librarys_mean_average_precision(threshold, nms):
    keep = library.nms(BOXES, SCORES, NMS) if nms else torch.arange(len(BOXES))
    one = torch.ones(len(BOXES), dtype=torch.int64)
    found = {"boxes": BOXES[keep], "scores": SCORES[keep], "labels": one[keep]}
    truth = {"boxes": torch.tensor(OBJECTS).double(), "labels": one[: len(OBJECTS)]}
    expected = library.mean_average_precision([found], [truth], iou=threshold).mean
    right = [v == "right" for v in verdicts(threshold, nms) if v != "removed"]
    assert average_precision(right, len(OBJECTS)) == pytest.approx(expected, abs=1e-12)
    caption = demos.frame("precision_recall", iou=threshold, nms=nms).caption
    assert f"AP at IoU {threshold:.2f} = {expected:.3f}" in caption


def test_suppression_is_the_librarys():
    kept = suppress([box for _, box in DETECTIONS], NMS)
    assert np.flatnonzero(kept).tolist() == sorted(library.nms(BOXES, SCORES, NMS).tolist())
    assert kept.count(False) == 2


def test_the_list_is_ranked_and_the_boxes_lie_in_the_image():
    assert (SCORES.diff() < 0).all()
    for box in (*OBJECTS, *(box for _, box in DETECTIONS)):
        assert 0 <= box[0] < box[2] <= 100
        assert 0 <= box[1] < box[3] <= 100


def test_every_object_is_taken_once():
    found = judge([box for _, box in DETECTIONS], OBJECTS, 0.3)
    owners = [f.owner for f in found if f.verdict == "right"]
    assert len(owners) == len(set(owners))
    assert {f.owner for f in found if f.verdict == "duplicate"} <= set(owners)


def test_a_duplicate_becomes_right_where_the_first_box_is_too_loose():
    assert verdicts(0.5)[3] == "right"
    assert verdicts(0.5)[6] == "duplicate"
    assert verdicts(0.65)[3] == "wrong"
    assert verdicts(0.65)[6] == "right"


def test_precision_and_recall_by_hand():
    precision, recall = walk([True, True, False, True], 5)
    assert precision == pytest.approx([1, 1, 2 / 3, 3 / 4])
    assert recall == pytest.approx([0.2, 0.4, 0.4, 0.6])
    assert envelope(precision) == pytest.approx([1, 1, 3 / 4, 3 / 4])


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (1.0, "0 detections, 0 right and 0 wrong; 6 of 6 objects missed. Precision undefined"),
        (0.9, "2 detections, 2 right and 0 wrong; 4 of 6 objects missed. Precision 1.00"),
        (0.5, "7 detections, 4 right and 3 wrong, 2 of them duplicates; 2 of 6"),
        (0.0, "12 detections, 6 right and 6 wrong, 3 of them duplicates; 0 of 6 objects missed"),
    ],
)
def test_the_caption_counts(score, said):
    assert said in demos.frame("precision_recall", score=score).caption


def test_the_area_does_not_depend_on_the_threshold_of_scores():
    areas = {
        demos.frame("precision_recall", score=s).caption.split("AP")[1] for s in (0.0, 0.4, 1.0)
    }
    assert len(areas) == 1


@pytest.mark.parametrize("change", [{"score": 0.3}, {"iou": 0.7}, {"nms": True}])
def test_every_control_changes_picture_and_caption(change):
    before, after = demos.frame("precision_recall"), demos.frame("precision_recall", **change)
    assert (before.image != after.image).any()
    assert before.caption != after.caption


@pytest.mark.parametrize("change", [{"score": -0.1}, {"iou": 0.2}, {"nms": 1}, {"rank": 3}])
def test_impossible_states_are_refused(change):
    with pytest.raises(ValueError, match=r"expected|no control"):
        demos.frame("precision_recall", **change)
