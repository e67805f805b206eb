"""Non-maximum suppression, step by step: who is kept, who removes whom, and who is lost.

Down the scores, a box is kept unless a box that is already kept overlaps it by more than the
threshold, IoU(i, j) > t. A removed box removes nothing. Duplicates and close neighbours look alike
to this rule, so that with two objects side by side no threshold may be right.
Source: Felzenszwalb et al. 2010, §7; Girshick et al. 2014 (R-CNN), §2.2, arXiv:1311.2524.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course.demos.controls import Area, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

AREA = Area(left=24, top=64, width=300, height=190, scale=1.9)
LIST = (640, 64)  # corner of the sorted list
ROW = 38  # pixels from row to row

# Detections: which animal, how far the box lies off it (x0, y0, x1, y1) in pixels, the score.
SHEEP = ((14, 70, 124, 170), (0, 62, 110, 162), (186, 12, 276, 92))
DETECTIONS = (
    (0, (0, 0, 0, 0), 0.98),
    (1, (2, 1, 0, 0), 0.95),
    (2, (0, 0, 0, 0), 0.91),
    (0, (-10, 4, 4, 8), 0.86),
    (1, (-12, -6, -8, 2), 0.78),
    (0, (14, -10, -8, -8), 0.72),
    (2, (-20, 6, -16, 8), 0.64),
    (1, (-4, 8, -24, 6), 0.55),
    (2, (14, -6, 12, -10), 0.41),
)
NAMES = "ABCDEFGHI"


class Fate(NamedTuple):
    """What suppression decided about one box.

    Attributes:
        kept: True if the box stays.
        by: index of the kept box that removed it, -1 for a kept box.
        overlap: its IoU with the kept box that it overlaps most among those before it, 0 if none.
    """

    kept: bool
    by: int
    overlap: float


def overlaps(boxes: ArrayLike) -> NDArray[np.float64]:
    """IoU of every box (N, 4) with every other: (N, N).

    >>> overlaps([(0, 0, 4, 2), (2, 0, 6, 2)]).round(3).tolist()
    [[1.0, 0.333], [0.333, 1.0]]
    """
    rows = np.asarray(boxes, float).reshape(-1, 4)
    low, high = rows[:, :2], rows[:, 2:]
    sides = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    shared = sides.clip(0).prod(-1)
    area = (high - low).prod(-1)
    return shared / (area[:, None] + area - shared)


def suppress(boxes: ArrayLike, scores: ArrayLike, threshold: float) -> dict[int, Fate]:
    """Greedy suppression, with its reasons.

    Args:
        boxes: (N, 4) corners.
        scores: (N,); among equal scores the earlier box comes first.
        threshold: a box goes if its IoU with a kept one is above this.

    Returns:
        Index of the box to its fate, in the order of decision.

    >>> fates = suppress([(0, 0, 10, 10), (1, 0, 11, 10), (20, 0, 30, 10)], [0.8, 0.9, 0.7], 0.5)
    >>> [(i, fate.kept, fate.by) for i, fate in fates.items()]
    [(1, True, -1), (0, False, 1), (2, True, -1)]
    """
    iou = overlaps(boxes)
    kept: list[int] = []
    fates: dict[int, Fate] = {}
    for i in np.argsort(-np.asarray(scores, float), kind="stable").tolist():
        most = max(kept, key=lambda j: iou[i, j], default=-1)
        overlap = float(iou[i, most]) if kept else 0.0
        removed = overlap > threshold
        # The first kept box above the threshold did it; `most` may come later in the list.
        by = next(j for j in kept if iou[i, j] > threshold) if removed else -1
        fates[i] = Fate(not removed, by, float(iou[i, by]) if removed else overlap)
        if not removed:
            kept.append(i)
    return fates


def detections(distance: float) -> tuple[NDArray[np.float64], list[float]]:
    """Boxes (9, 4) in pixels, best first, and scores; the second animal stands `distance` right.

    >>> boxes, scores = detections(40)
    >>> boxes[:2].tolist(), scores[:2]
    ([[14.0, 70.0, 124.0, 170.0], [56.0, 63.0, 164.0, 162.0]], [0.98, 0.95])
    """
    rows = [np.add(_animal(animal, distance), shift) for animal, shift, _ in DETECTIONS]
    return np.array(rows, float), [score for _, _, score in DETECTIONS]


def found(fates: dict[int, Fate]) -> list[int]:
    """How many kept boxes each of the three animals has.

    >>> found(suppress(*detections(160), 0.5))
    [1, 1, 1]
    """
    seen = [DETECTIONS[i][0] for i, fate in fates.items() if fate.kept]
    return [seen.count(animal) for animal in range(3)]


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The animals with their boxes, and the list with arrows from remover to removed."""
    boxes, scores = detections(state["distance"])
    fates = suppress(boxes, scores, state["threshold"])
    done = {i: fates[i] for i in list(fates)[: state["step"]]}
    latest = list(done)[-1] if done else -1
    _draw_scene(sheet, boxes, done, latest, state["distance"])
    _draw_list(sheet, scores, done, latest)
    sheet.text((24, 450), "Kept: solid, blue.", color="blue", bold=True)
    sheet.text((214, 450), "Removed: dashed, orange.", color="vermilion", bold=True)
    sheet.text((LIST[0], 450), _summary(done), size=20, bold=True)
    return _caption(done, state["threshold"])


def _animal(animal: int, distance: float) -> tuple[float, ...]:
    x0, y0, x1, y1 = SHEEP[animal]
    move = SHEEP[0][0] + distance if animal == 1 else 0
    return (x0 + move, y0, x1 + move, y1)


def _draw_scene(
    sheet: Picture, boxes: NDArray[Any], done: dict[int, Fate], latest: int, distance: float
) -> None:
    sheet.text((24, 32), "Three sheep, nine boxes", size=20, bold=True)
    sheet.rect(AREA.box, fill="panel")
    for animal in (2, 1, 0):
        _draw_sheep(sheet, AREA.place_box(_animal(animal, distance)))
    for i in sorted(range(len(boxes)), key=lambda i: (i in done and done[i].kept, i == latest)):
        place = AREA.place_box(boxes[i])
        color, width, dash = _look(i, done)
        sheet.rect(place, outline=color, width=width + 1.5 * (i == latest), dash=dash)
    for i in (i for i in done if done[i].kept or i == latest):
        x, y = AREA.place(boxes[i][0], boxes[i][1])
        sheet.rect((x, y, x + 24, y + 24), fill=_look(i, done)[0])
        sheet.text((x + 12, y + 12), NAMES[i], size=17, color="paper", anchor="mm", bold=True)


def _look(i: int, done: dict[int, Fate]) -> tuple[str, float, float]:
    """Colour, width and dash of a box: waiting, kept or removed."""
    if i not in done:
        return "muted", 1.5, 0
    return ("blue", 4, 0) if done[i].kept else ("vermilion", 1.5, 5)


def _draw_sheep(sheet: Picture, box: Sequence[float]) -> None:
    x0, y0, w, h = box[0], box[1], box[2] - box[0], box[3] - box[1]

    def at(x: float, y: float) -> tuple[float, float]:
        return (x0 + x * w, y0 + y * h)

    for x in (0.2, 0.34, 0.62, 0.74):
        sheet.line([at(x, 0.65), at(x, 0.97)], "muted", 0.05 * w)
    wool = [(0.18, 0.5), (0.3, 0.36), (0.46, 0.3), (0.62, 0.36), (0.74, 0.5), (0.3, 0.64)]
    wool += [(0.46, 0.66), (0.62, 0.64), (0.46, 0.48)]
    for edge in (1, 0):
        for x, y in wool:
            radius = 0.16 * w + 2 * edge
            sheet.circle(at(x, y), radius, fill="muted" if edge else "paper")
    sheet.circle(at(0.87, 0.4), 0.11 * w, fill="muted")
    sheet.circle(at(0.91, 0.36), 0.018 * w, fill="paper")


def _draw_list(sheet: Picture, scores: list[float], done: dict[int, Fate], latest: int) -> None:
    left, top = LIST
    sheet.text((left, 32), "Best score first", size=20, bold=True)
    lanes = {by: n for n, by in enumerate(sorted({f.by for f in done.values() if f.by >= 0}))}
    for i, score in enumerate(scores):
        y = top + (i + 0.5) * ROW
        color, fate = _look(i, done)[0], done.get(i)
        if i == latest:
            sheet.rect((left - 8, y - ROW / 2, 944, y + ROW / 2), fill="panel", radius=6)
        sheet.text((left, y), NAMES[i], size=18, bold=True, color=color)
        sheet.text((left + 28, y), f"{score:.2f}", size=18)
        words = "waits" if fate is None else "kept" if fate.kept else f"IoU {fate.overlap:.2f}"
        sheet.text((left + 88, y), words, size=18, color=color, bold=bool(fate and fate.kept))
    for i, fate in done.items():
        if fate.by >= 0:
            x = left + 206 + 24 * lanes[fate.by]
            from_y, to_y = (top + (k + 0.5) * ROW for k in (fate.by, i))
            sheet.line([(left + 140, from_y), (x, from_y), (x, to_y)], "vermilion", 2)
            sheet.arrow((x, to_y), (left + 172, to_y), "vermilion", 2)


def _summary(done: dict[int, Fate]) -> str:
    """How far it is, or what came of it."""
    if len(done) < len(DETECTIONS):
        return f"{len(done)} of {len(DETECTIONS)} decided"
    counts = found(done)
    lost, spare = counts.count(0), sum(count - 1 for count in counts if count)
    parts = [f"{lost} sheep lost"] if lost else []
    parts += [f"{spare} {'box' if spare == 1 else 'boxes'} too many"] if spare else []
    return ", ".join(parts) or "One box for each sheep"


def _caption(done: dict[int, Fate], threshold: float) -> str:
    kept = [NAMES[i] for i, fate in done.items() if fate.kept]
    parts = [f"{', '.join(kept)} kept" if kept else "nothing kept yet"]
    parts += [
        f"{NAMES[fate.by]} removes {NAMES[i]} (IoU {fate.overlap:.2f})"
        for i, fate in done.items()
        if not fate.kept
    ]
    return f"Threshold {threshold:g}: {', '.join(parts)}. {_summary(done)}."


DEMO = Demo(
    name="nms",
    title="Non-maximum suppression",
    lab=1,
    idea="Decide the boxes one by one. Then move the sheep together and look for a threshold.",
    predict=(
        "Two sheep stand so close that their boxes overlap by more than half. Can suppression with "
        "a threshold of 0.5 find both?",
        "No: it takes the second sheep for a copy of the first. A higher threshold finds both, but "
        "leaves boxes that really are copies.",
    ),
    controls=(
        Slider("step", "Boxes decided", 9, 0, 9),
        Slider("threshold", "IoU threshold", 0.5, 0.1, 0.9, 0.05),
        Slider("distance", "Distance of the sheep", 100, 20, 130, 2, "pixels"),
    ),
    draw=draw,
    stills=(
        Still("Nine boxes, best first", {"step": 0}),
        Still("The first copy goes", {"step": 4}),
        Still("One box for each", {}),
        Still("Close together: one is lost", {"distance": 24}),
        Still("A higher threshold keeps copies", {"distance": 24, "threshold": 0.7}),
    ),
    source="Felzenszwalb et al. 2010, §7; Girshick et al. 2014, §2.2; module course.boxes",
)
