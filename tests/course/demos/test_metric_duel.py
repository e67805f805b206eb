"""The five scores against `course.metrics`, and what each of them sees."""

import math

import numpy as np
import pytest
import torch

from course import demos, metrics
from course.demos import metric_duel as demo


def masks(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(1, 12, 2))
    kinds = [np.zeros(shape, bool), np.ones(shape, bool), rng.random(shape) < 0.5]
    kinds.append(np.add.outer(np.arange(shape[0]), np.arange(shape[1])) < shape[0])
    pred, target = (kinds[k] for k in rng.integers(0, 4, 2))
    return pred, target


@pytest.mark.parametrize("seed", range(40))
def test_scores_are_those_of_the_library(seed):
    pred, target = masks(seed)
    a, b = torch.from_numpy(pred), torch.from_numpy(target)
    h = metrics.confusion_matrix(a.long(), b.long(), 2)
    for tolerance in (0, 1, 1.5, 3):
        found = demo.scores(pred, target, tolerance)
        expected = [
            metrics.pixel_accuracy(h).item(),
            metrics.mean_iou(h).item(),
            metrics.iou(h)[1].item(),
            metrics.dice(h)[1].item(),
            metrics.boundary_f(a, b, tolerance).item(),
        ]
        np.testing.assert_allclose(found, expected, atol=1e-12)
    assert sum(demo.count(pred, target)) == pred.size
    tn, fp, fn, tp = h.flatten().tolist()
    assert demo.count(pred, target) == (tp, fp, fn, tn)


def test_the_lectures_example_keeps_its_scores_when_every_label_is_a_block():
    found = demo.scores(demo.with_fault(demo.SCENES[0], "part missing"), demo.truth(demo.SCENES[0]))
    np.testing.assert_allclose(found[:4], [7 / 9, 19 / 30, 3 / 5, 6 / 8], atol=1e-12)


@pytest.mark.parametrize("scene", demo.SCENES)
def test_dice_follows_from_iou_and_faults_are_what_they_say(scene):
    truth = demo.truth(scene)
    assert truth.shape == (15, 15)
    for fault in demo.FAULTS:
        pred = demo.with_fault(scene, fault)
        found = demo.scores(pred, truth)
        assert found.dice == pytest.approx(metrics.dice_from_iou(found.iou))
        assert found.dice >= found.iou
    assert demo.scores(demo.with_fault(scene, "none"), truth) == (1, 1, 1, 1, 1)
    assert not demo.with_fault(scene, "all missing").any()
    fat = demo.with_fault(scene, "too fat")
    assert (fat >= truth).all()
    assert fat.sum() > truth.sum()
    part = demo.with_fault(scene, "part missing")
    assert (part <= truth).all()
    assert 0 < part.sum() < truth.sum()


def test_who_sees_what():
    small, line = demo.truth("small object"), demo.truth("thin line")
    missed = demo.scores(np.zeros_like(small), small)
    assert missed.accuracy == pytest.approx(216 / 225)  # excellent, and nothing was found
    assert missed[2:] == (0, 0, 0)
    off = demo.scores(demo.with_fault("thin line", "one pixel right"), line)
    assert off.iou == 0
    assert off.boundary_f == 1
    strict = demo.scores(demo.with_fault("thin line", "one pixel right"), line, 0)
    assert strict.boundary_f < 0.5


def test_an_absent_object_has_no_iou():
    empty = np.zeros((3, 4), bool)
    found = demo.scores(empty, empty)
    assert found.accuracy == found.mean_iou == 1
    assert all(math.isnan(v) for v in found[2:])


def test_paint_flips_the_prediction():
    flips = np.zeros((15, 15), int)
    flips[14, 14] = 1
    before, after = demos.frame("metric_duel"), demos.frame("metric_duel", flips=flips.tolist())
    assert "TP 75, FP 0, FN 50, TN 100: accuracy 0.778" in before.caption
    assert "TP 75, FP 1, FN 50, TN 99" in after.caption
    nothing = demos.frame(  # every pixel of the small object painted away, and nothing predicted
        "metric_duel",
        scene="small object",
        fault="none",
        flips=demo.truth("small object").astype(int).tolist(),
    )
    assert "object: IoU 0.000" in nothing.caption


@pytest.mark.parametrize(
    "wrong", [{"scene": "sky"}, {"fault": "late"}, {"tolerance": 4}, {"flips": [[0]]}]
)
def test_refuses_what_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        demos.frame("metric_duel", **wrong)
