"""Metric duel: one prediction, five scores, and they do not agree.

With the object as the positive class every pixel is a true or false, positive or negative one:

    accuracy (TP + TN) / all     IoU  TP / (TP + FP + FN)     Dice  2 TP / (2 TP + FP + FN)
    boundary F  2 P R / (P + R): P and R are the shares of both outlines that have a pixel of the
    other one within a few pixels.

Accuracy counts the background, IoU and Dice areas, boundary F only the outline.
Source: Csurka et al., What is a good evaluation measure for semantic segmentation?, BMVC 2013.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from course.demos.charts import bars
from course.demos.controls import Area, Choice, Paint, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

Mask = NDArray[np.bool_]
SIDE = 15
AREA = Area(left=24, top=60, width=SIDE, height=SIDE, scale=24)
SCENES = ("road, 3 × 3 blocks", "large object", "small object", "thin line")
FAULTS = ("part missing", "none", "all missing", "one pixel right", "too fat", "speckle")
_BLANK = ((0,) * SIDE,) * SIDE


class Counts(NamedTuple):
    """Pixels of the object found, invented and missed, and of the background found."""

    tp: int
    fp: int
    fn: int
    tn: int


class Scores(NamedTuple):
    """The five scores, from 0 to 1; nan where there is no object on either side."""

    accuracy: float
    mean_iou: float
    iou: float
    dice: float
    boundary_f: float


def count(pred: Mask, target: Mask) -> Counts:
    """Count pixels of two masks (H, W) by both.

    >>> truth = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0]], bool)
    >>> count(np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0]], bool), truth)  # the lecture's road
    Counts(tp=3, fp=0, fn=2, tn=4)
    """
    pairs = ((pred, target), (pred, ~target), (~pred, target), (~pred, ~target))
    return Counts(*(int((a & b).sum()) for a, b in pairs))


def scores(pred: Mask, target: Mask, tolerance: float = 1) -> Scores:
    """All scores of a predicted mask (H, W); `tolerance` of the outline in pixels.

    >>> truth = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0]], bool)
    >>> found = scores(np.array([[0, 1, 0], [1, 1, 0], [0, 0, 0]], bool), truth)
    >>> [round(value, 3) for value in found[:4]]  # 7/9, 19/30, 3/5, 6/8
    [0.778, 0.633, 0.6, 0.75]
    """
    tp, fp, fn, tn = count(pred, target)
    iou, other = _ratio(tp, tp + fp + fn), _ratio(tn, tn + fp + fn)
    present = [v for v in (iou, other) if not np.isnan(v)]
    return Scores(
        (tp + tn) / (tp + fp + fn + tn),
        float(np.mean(present)),
        iou,
        _ratio(2 * tp, 2 * tp + fp + fn),
        boundary_f(pred, target, tolerance),
    )


def outline(mask: Mask) -> Mask:
    """Pixels of the object with a 4-neighbour outside it; the frame of the image bounds nothing.

    >>> outline(np.array([[1, 1, 1, 0]], bool)).astype(int).tolist()
    [[0, 0, 1, 0]]
    """
    wide = np.pad(mask, 1, mode="edge")
    inner = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inner


def boundary_f(pred: Mask, target: Mask, tolerance: float) -> float:
    """Harmonic mean of boundary precision and recall, as `course.metrics.boundary_f`."""
    a, b = (np.argwhere(outline(mask)) for mask in (pred, target))
    if not len(a) and not len(b):
        both, either = pred.any() and target.any(), pred.any() or target.any()
        return 1.0 if both else 0.0 if either else float("nan")
    if not len(a) or not len(b):
        return 0.0
    near = ((a[:, None] - b[None]) ** 2).sum(-1) <= tolerance**2
    p, r = float(near.any(1).mean()), float(near.any(0).mean())
    return 2 * p * r / (p + r) if p and r else 0.0


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


@lru_cache
def truth(scene: str) -> Mask:
    """The object of a scene, (15, 15); the first is the lecture's 3 × 3 example in 5 × 5 blocks."""
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    if scene == "large object":
        return (x - 7) ** 2 + (y - 7) ** 2 <= 30
    if scene == "small object":
        return (abs(x - 10) <= 1) & (abs(y - 4) <= 1)
    if scene == "thin line":
        return abs(x - (y + 4) // 2 - 2) == 0
    return _blocks("RRR RRS SSS")


def _blocks(rows: str) -> Mask:
    """Road of the lecture's 3 × 3 labels, every label 5 × 5 pixels."""
    return np.kron([[c == "R" for c in row] for row in rows.split()], np.ones((5, 5))) > 0


@lru_cache
def with_fault(scene: str, fault: str) -> Mask:
    """What is predicted before anything is painted: the truth with one fault, (15, 15)."""
    mask = truth(scene)
    wide = np.pad(mask, 1)
    if fault == "part missing":
        if scene == SCENES[0]:
            return _blocks("SRS RRS SSS")
        half = np.cumsum(mask).reshape(mask.shape) > mask.sum() // 2
        return mask & half
    if fault == "all missing":
        return np.zeros_like(mask)
    if fault == "one pixel right":
        return wide[1:-1, :-2]
    if fault == "too fat":
        return (
            wide[1:-1, 1:-1] | wide[:-2, 1:-1] | wide[2:, 1:-1] | wide[1:-1, :-2] | wide[1:-1, 2:]
        )
    if fault == "speckle":
        return mask ^ (np.random.default_rng(3).random(mask.shape) < 0.06)
    return mask


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """Truth and prediction pixel by pixel, the four counts, and the five scores as bars."""
    target = truth(state["scene"])
    pred = with_fault(state["scene"], state["fault"]) ^ (np.array(state["flips"]) > 0)
    counts, found = count(pred, target), scores(pred, target, state["tolerance"])
    _draw_pixels(sheet, pred, target)
    _draw_counts(sheet, counts)
    _draw_scores(sheet, found, state["tolerance"])
    tp, fp, fn, tn = counts
    told = f"TP {tp}, FP {fp}, FN {fn}, TN {tn}: accuracy {_said(found.accuracy)}, mean IoU "
    told += f"{_said(found.mean_iou)}; object: IoU {_said(found.iou)}, Dice {_said(found.dice)}, "
    return told + f"boundary F {_said(found.boundary_f)} within {state['tolerance']} px."


def _said(value: float) -> str:
    return "undefined" if np.isnan(value) else f"{value:.3f}"


def _draw_pixels(sheet: Picture, pred: Mask, target: Mask) -> None:
    sheet.text((24, 30), "Prediction; thick line: truth", size=20, bold=True)
    sheet.rect(AREA.box, fill="panel")
    for (y, x), guessed in np.ndenumerate(pred):
        box = AREA.place_box((x, y, x + 1, y + 1))
        middle = AREA.place(x + 0.5, y + 0.5)
        if guessed:
            right = bool(target[y, x])
            sheet.rect(box, fill="blue" if right else "vermilion", alpha=0.5 if right else 0.75)
        if guessed != target[y, x]:
            sheet.text(middle, "+" if guessed else "−", size=20, bold=True, anchor="mm")
    sheet.grid(AREA.box, SIDE, SIDE)
    wide = np.pad(target, 1)
    for axis in (0, 1):
        for y, x in np.argwhere(np.diff(wide.astype(int), axis=axis)):
            start = AREA.place(x - 1, y) if axis == 0 else AREA.place(x, y - 1)
            sheet.line([start, AREA.place(x, y)], "ink", 4)


def _draw_counts(sheet: Picture, counts: Counts) -> None:
    tp, fp, fn, tn = counts
    words = (f"TP found {tp}", f"FP invented {fp}", f"FN missed {fn}", f"TN background {tn}")
    for i, (color, sign) in enumerate(zip(("blue", "vermilion", "panel", "panel"), " +− ")):
        x, y = 24 + 190 * (i % 2), 448 + 28 * (i // 2)
        sheet.rect((x, y - 10, x + 20, y + 10), fill=color, alpha=0.6, outline="muted")
        sheet.text((x + 10, y), sign, size=18, bold=True, anchor="mm")
        sheet.text((x + 28, y), words[i], size=17)


def _draw_scores(sheet: Picture, found: Scores, tolerance: int) -> None:
    sheet.text((440, 30), "Five judges", size=20, bold=True)
    names = ("accuracy", "mean IoU", "IoU", "Dice", f"boundary F, {tolerance} px")
    bars(
        sheet,
        (430, 60, 940, 360),
        names,
        [0.0 if np.isnan(v) else v for v in found],
        colors=("muted", "sky", "blue", "green", "orange"),
        form="{:.2f}",
        size=19,
        name_width=176,
    )
    known = {name: value for name, value in zip(names, found) if not np.isnan(value)}
    best, worst = (pick(known, key=known.__getitem__) for pick in (max, min))
    verdicts = [f"Kindest: {best} {known[best]:.2f}", f"Harshest: {worst} {known[worst]:.2f}"]
    if known[best] - known[worst] < 0.005:
        verdicts = ["All agree"]
    for i, verdict in enumerate(verdicts):
        sheet.text((440, 386 + 30 * i), verdict, size=20, bold=True)
    sheet.text((440, 452), "IoU, Dice and boundary F are those of the object;", size=17)
    sheet.text((440, 478), "mean IoU is over object and background.", size=17)


DEMO = Demo(
    name="metric_duel",
    title="Metric duel: who sees the fault?",
    lab=14,
    idea="Choose an object and a fault, and paint to flip pixels of the prediction. Watch which "
    "score moves and which does not.",
    predict=(
        "An object of 9 pixels in 225 is missed completely. How many pixels are right?",
        "216 of 225, 96 %: the accuracy is excellent, and IoU, Dice and boundary F are 0.",
    ),
    controls=(
        Choice("scene", "Truth", SCENES[0], SCENES),
        Choice("fault", "Fault", FAULTS[0], FAULTS),
        Slider("tolerance", "Tolerance of the outline", 1, 0, 3, unit="px"),
        Paint("flips", "Flipped pixels", _BLANK, AREA),
    ),
    draw=draw,
    size=(960, 500),
    stills=(
        Still("The lecture's example: 7 of 9 pixels", {}),
        Still("A small object missed", {"scene": "small object", "fault": "all missing"}),
        Still(
            "A large object one pixel off", {"scene": "large object", "fault": "one pixel right"}
        ),
        Still("A thin line one pixel off", {"scene": "thin line", "fault": "one pixel right"}),
        Still("Speckle", {"scene": "large object", "fault": "speckle"}),
        Still("No tolerance", {"scene": "large object", "fault": "too fat", "tolerance": 0}),
    ),
    source="Csurka et al. 2013; Long et al. 2015, §5, arXiv:1411.4038; module course.metrics",
)
