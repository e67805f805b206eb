"""Precision and recall: walk down a ranked list of detections and watch the curve grow.

A detection is right (a true positive) if the object that it overlaps most reaches the threshold of
overlap and nobody higher in the list took that object; a second detection of it is wrong. Down to
any rank, precision = TP / (TP + FP) and recall = TP / objects. The area under the curve, with every
precision replaced by the best one at this recall or above, is the average precision:

    AP = sum over the true positives of (best precision from here on) / objects.

Source: Everingham et al., The PASCAL Visual Object Classes Challenge, IJCV 2010, §4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from course.demos.charts import Axes
from course.demos.controls import Area, Slider, Toggle
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

Box = Sequence[float]
Verdict = Literal["right", "duplicate", "wrong", "removed"]

OBJECTS = (
    (8, 10, 34, 36), (44, 8, 62, 30), (70, 12, 94, 40),
    (10, 52, 38, 78), (50, 50, 70, 74), (74, 60, 94, 92),
)  # fmt: skip
DETECTIONS = (  # score, box: by falling score
    (0.97, (9, 10, 35, 36)), (0.93, (69, 13, 93, 41)), (0.88, (5, 12, 32, 38)),
    (0.81, (14, 54, 42, 82)), (0.74, (38, 33, 52, 47)), (0.66, (50, 48, 70, 73)),
    (0.58, (8, 48, 34, 76)), (0.47, (48, 14, 68, 34)), (0.39, (72, 62, 92, 94)),
    (0.28, (72, 8, 98, 38)), (0.17, (2, 84, 18, 98)), (0.12, (45, 9, 63, 29)),
)  # fmt: skip
NMS = 0.5  # overlap above which the lower of two detections is removed
AREA = Area(left=24, top=56, width=100, height=100, scale=3.24)
CHART = (684, 96, 930, 364)
LOOK = {
    "right": ("blue", "✓ right"),
    "duplicate": ("vermilion", "✗ again"),
    "wrong": ("vermilion", "✗ wrong"),
    "removed": ("muted", "removed"),
}


class Judged(NamedTuple):
    """What became of one detection: its best overlap, with which object, and the verdict."""

    iou: float
    owner: int
    verdict: Verdict


def iou(a: Box, b: Box) -> float:
    """Overlap of two boxes (x0, y0, x1, y1): common area over covered area.

    >>> iou((0, 0, 4, 4), (2, 0, 6, 4))
    0.333...
    """
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def suppress(boxes: Sequence[Box], threshold: float) -> list[bool]:
    """Which boxes, listed by falling score, non-maximum suppression keeps.

    >>> suppress([(0, 0, 4, 4), (1, 0, 5, 4), (9, 9, 12, 12)], 0.5)
    [True, False, True]
    """
    kept: list[int] = []
    for i, box in enumerate(boxes):
        if all(iou(boxes[k], box) <= threshold for k in kept):
            kept.append(i)
    return [i in kept for i in range(len(boxes))]


def judge(
    boxes: Sequence[Box], objects: Sequence[Box], threshold: float, *, nms: bool = False
) -> list[Judged]:
    """The verdict on every box, listed by falling score; `nms` removes boxes first.

    >>> boxes = [(0, 0, 4, 4), (0, 0, 4, 4), (9, 9, 12, 12)]
    >>> [found.verdict for found in judge(boxes, [(0, 0, 4, 4)], 0.5)]
    ['right', 'duplicate', 'wrong']
    """
    kept = suppress(boxes, NMS) if nms else [True] * len(boxes)
    taken: set[int] = set()
    found = []
    for box, stays in zip(boxes, kept):
        overlaps = [iou(box, thing) for thing in objects]
        owner = int(np.argmax(overlaps))
        verdict: Verdict = "removed"
        if stays:
            verdict = "wrong" if overlaps[owner] < threshold else "right"
            verdict = "duplicate" if verdict == "right" and owner in taken else verdict
            if verdict == "right":
                taken.add(owner)
        found.append(Judged(overlaps[owner], owner, verdict))
    return found


def walk(right: Sequence[bool], objects: int) -> tuple[list[float], list[float]]:
    """Precision and recall down to every rank of a list.

    >>> walk([True, False, True], 4)
    ([1.0, 0.5, 0.666...], [0.25, 0.25, 0.5])
    """
    hits = np.cumsum(right)
    return (hits / np.arange(1, len(right) + 1)).tolist(), (hits / objects).tolist()


def envelope(precision: Sequence[float]) -> list[float]:
    """The best precision at each rank or below it in the list.

    >>> envelope([1.0, 0.5, 0.6, 0.4])
    [1.0, 0.6, 0.6, 0.4]
    """
    return np.maximum.accumulate(np.asarray(precision)[::-1])[::-1].tolist()


def average_precision(right: Sequence[bool], objects: int) -> float:
    """Area under the envelope of the precision-recall curve.

    >>> average_precision([True, False, True], 2)
    0.833...
    """
    best = envelope(walk(right, objects)[0])
    return sum(p for p, hit in zip(best, right) if hit) / objects


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The scene, the list and the curve."""
    threshold = state["score"]
    found = judge([box for _, box in DETECTIONS], OBJECTS, state["iou"], nms=state["nms"])
    shown = [score >= threshold for score, _ in DETECTIONS]
    stays = [f.verdict != "removed" for f in found]
    right = [f.verdict == "right" for f, stay in zip(found, stays) if stay]
    count = sum(show and stay for show, stay in zip(shown, stays))
    hits = sum(right[:count])
    ap = average_precision(right, len(OBJECTS))
    _draw_scene(sheet, found, shown)
    _draw_list(sheet, found, shown)
    _draw_curve(sheet, right, count, ap)
    precision = f"{hits / count:.2f}" if count else "undefined"
    again = sum(f.verdict == "duplicate" and show for f, show in zip(found, shown))
    return (
        f"Down to the score {threshold:.2f}: {count} detections, {hits} right and {count - hits} "
        f"wrong{f', {again} of them duplicates' if again else ''}; {len(OBJECTS) - hits} of "
        f"{len(OBJECTS)} objects missed. Precision {precision}, recall {hits / len(OBJECTS):.2f}. "
        f"AP at IoU {state['iou']:.2f} = {ap:.3f}, over all ranks."
    )


def _draw_scene(sheet: Picture, found: Sequence[Judged], shown: Sequence[bool]) -> None:
    sheet.text((24, 28), "Objects and detections", size=20, bold=True)
    sheet.rect(AREA.box, fill="panel", outline="faint", width=1)
    turn = np.linspace(0, 2 * np.pi, 33)[:-1]
    for x0, y0, x1, y1 in (AREA.place_box(box) for box in OBJECTS):
        ring = np.stack([np.cos(turn) * (x1 - x0) / 2, np.sin(turn) * (y1 - y0) / 2], 1)
        ring += ((x0 + x1) / 2, (y0 + y1) / 2)
        sheet.polygon(ring, fill="muted", alpha=0.4, outline="muted", width=1.5)
    marks = []
    for rank, ((_, box), judged, show) in enumerate(zip(DETECTIONS, found, shown), 1):
        place, color = AREA.place_box(box), LOOK[judged.verdict][0]
        if judged.verdict == "removed" or not show:
            sheet.rect(place, outline="faint", width=1.5, dash=4)
            continue
        bad = judged.verdict != "right"
        sheet.rect(place, outline=color, width=3, dash=7 * bad, hatch="/" * bad)
        marks.append((rank, place, color))
    for rank, (x0, _, x1, y1), color in marks:  # last, so that no box hides a number
        x = x1 - 12 if rank in (3, 8, 10) else x0 + 12  # beside the box that they repeat
        sheet.circle((x, y1 - 12), 12, fill="paper", outline=color)
        sheet.text((x, y1 - 12), rank, size=16, color=color, anchor="mm", bold=True)
    sheet.text((24, 404), "grey: the 6 objects", size=17, color="muted")
    sheet.text((24, 430), "solid blue: right", size=17, color="blue", bold=True)
    sheet.text((24, 456), "dashed: wrong, or found before", size=17, color="vermilion", bold=True)


def _draw_list(sheet: Picture, found: Sequence[Judged], shown: Sequence[bool]) -> None:
    sheet.text((368, 28), "Ranked list", size=20, bold=True)
    for x, word in ((396, "rank"), (462, "score"), (520, "IoU")):
        sheet.text((x, 66), word, size=16, color="muted", anchor="rm")
    for i, ((score, _), judged, show) in enumerate(zip(DETECTIONS, found, shown)):
        y = 94 + 31 * i
        color, word = LOOK[judged.verdict]
        if show and judged.verdict != "removed":
            sheet.rect((360, y - 14, 624, y + 14), fill=color, alpha=0.14, radius=5)
        ink = "ink" if show else "muted"
        sheet.text((396, y), i + 1, size=17, color=ink, anchor="rm")
        sheet.text((462, y), f"{score:.2f}", size=17, color=ink, anchor="rm")
        sheet.text((520, y), f"{judged.iou:.2f}", size=17, color=ink, anchor="rm")
        sheet.text((536, y), word, size=17, color=color if show else "muted", bold=show)
    cut = 94 + 31 * sum(shown) - 15.5
    sheet.line([(352, cut), (632, cut)], "ink", 3)


def _draw_curve(sheet: Picture, right: Sequence[bool], count: int, ap: float) -> None:
    sheet.text((654, 28), f"AP = area = {ap:.3f}", size=20, bold=True)
    axes = Axes(sheet, CHART, (0, 1), (0, 1), ("recall", "precision"))
    precision, recall = walk(right, len(OBJECTS))
    best, before = envelope(precision), 0.0
    for level, reached, hit in zip(best, recall, right):
        if hit:
            (x0, y0), (x1, y1) = axes.place(before, level), axes.place(reached, 0)
            sheet.rect((x0, y0, x1, y1), fill="sky", alpha=0.35)
            before = reached
    axes.draw((5, 5), form="{:.1f}")
    axes.curve([0, *recall], [precision[0], *precision], "muted", dash=5, width=2)
    if count:
        axes.curve([0, *recall[:count]], [precision[0], *precision[:count]], "blue")
        for p, r, hit in zip(precision[:count], recall, right):
            axes.dot(r, p, "blue" if hit else "vermilion", 4)
        axes.dot(recall[count - 1], precision[count - 1], "ink", 8)
    hits = sum(right[:count])
    said = f"{hits}/{count} = {hits / count:.2f}" if count else "undefined"
    sheet.text((654, 430), f"precision {said}", size=18, bold=True)
    sheet.text((654, 458), f"recall {hits}/6 = {hits / 6:.2f}", size=18, bold=True)


DEMO = Demo(
    name="precision_recall",
    title="Precision and recall",
    lab=4,
    idea=(
        "Lower the score threshold: the list grows and the dot walks along the curve. Then raise "
        "the overlap that counts as right."
    ),
    predict=(
        "Detection 3 covers object 1 well, but detection 1 found it before. Does it help?",
        "No: it counts as wrong. It lowers the precision of every rank from there on and adds no "
        "recall.",
    ),
    controls=(
        Slider("score", "Score threshold", 0.5, 0.0, 1.0, 0.05),
        Slider("iou", "IoU that counts as right", 0.5, 0.3, 0.9, 0.05),
        Toggle("nms", "Remove duplicates first (NMS 0.5)", False),
    ),
    draw=draw,
    stills=(
        Still("Only the sure ones: precise, but half is missed", {"score": 0.9}),
        Still("Half way down: a duplicate counts as wrong", {}),
        Still("The whole list: all found, half of it wrong", {"score": 0.0}),
        Still("Duplicates removed first", {"score": 0.0, "nms": True}),
        Still("Stricter overlap: good boxes turn wrong", {"score": 0.0, "iou": 0.75}),
    ),
    source="Everingham et al. 2010, §4.2; module course.boxes.evaluation",
)
