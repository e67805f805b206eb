"""IoU and GIoU: drag two boxes and see what is shared, what is covered, and what a metre costs.

The overlap of two boxes is the area that both cover over the area that either covers; GIoU takes
away the share of the smallest enclosing box that neither covers, so that boxes apart still differ.
Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019, arXiv:1902.09630, §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from course.demos.charts import Axes
from course.demos.controls import Area, Boxes
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

AREA = Area(left=24, top=60, width=48, height=36, scale=11)
CHART = (640, 90, 930, 380)


class Overlap(NamedTuple):
    """Areas and scores of two boxes, in squared units.

    Attributes:
        intersection, union: areas.
        hull: area of the smallest box that encloses both.
        iou, giou: the scores, from 0 to 1 and from -1 to 1.
    """

    intersection: float
    union: float
    hull: float
    iou: float
    giou: float


def overlap(a: Sequence[float], b: Sequence[float]) -> Overlap:
    """Areas and scores of two boxes (x0, y0, x1, y1).

    >>> overlap((0, 0, 4, 4), (2, 0, 6, 4))[:3]
    (8.0, 24.0, 24.0)
    >>> round(overlap((0, 0, 2, 2), (4, 0, 6, 2)).giou, 3)
    -0.333
    """
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    iou = shared / union
    return Overlap(float(shared), float(union), float(hull), iou, iou - (hull - union) / hull)


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """Both boxes, their common part, and both scores while B slides sideways."""
    a, b = state["boxes"]
    found = overlap(a, b)
    _draw_boxes(sheet, a, b)
    _draw_costs(sheet, a, b)
    return (
        f"Intersection {found.intersection:g}, union {found.union:g} square cells: IoU = "
        f"{found.iou:.2f}. The enclosing box has {found.hull:g}: GIoU = {found.giou:.2f}."
        + (" Apart, IoU says nothing about the distance; GIoU does." if found.iou == 0 else "")
    )


def _draw_boxes(sheet: Picture, a: Sequence[float], b: Sequence[float]) -> None:
    sheet.text((24, 30), "Two boxes on a grid", size=20, bold=True)
    sheet.rect(AREA.box, fill="panel")
    sheet.grid(AREA.box, 9, 12)
    hull = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
    sheet.rect(AREA.place_box(hull), outline="muted", dash=6)
    for box, color, hatch in ((a, "blue", "/"), (b, "vermilion", "\\")):
        sheet.rect(AREA.place_box(box), fill=color, alpha=0.25, outline=color, hatch=hatch, width=3)
    common = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    sheet.rect(AREA.place_box(common), fill="green", alpha=0.8)
    for box, color, name in ((a, "blue", "A"), (b, "vermilion", "B")):
        x, y = AREA.place(box[0], box[1])
        sheet.text((x + 8, y + 16), name, size=20, color=color, bold=True, halo=True)


def _draw_costs(sheet: Picture, a: Sequence[float], b: Sequence[float]) -> None:
    sheet.text((600, 30), "B slides left and right", size=20, bold=True)
    shifts = np.linspace(-AREA.width / 2, AREA.width / 2, 97)
    scores = [overlap(a, (b[0] + s, b[1], b[2] + s, b[3])) for s in shifts]
    reach = (-AREA.width / 2, AREA.width / 2)
    axes = Axes(sheet, CHART, reach, (-1, 1), ("shift of B, cells", "score"))
    axes.draw((4, 4))
    axes.curve(shifts, [s.giou for s in scores], "orange", dash=7)
    axes.curve(shifts, [s.iou for s in scores], "blue")
    now = overlap(a, b)
    axes.dot(0, now.giou, "orange")
    axes.dot(0, now.iou, "blue")
    sheet.text((640, 450), "IoU", color="blue", bold=True)
    sheet.text((700, 450), "GIoU, dashed", color="orange", bold=True)


DEMO = Demo(
    name="iou",
    title="IoU and GIoU",
    lab=2,
    idea="Drag the boxes. IoU compares what both cover with what either covers.",
    predict=(
        "Two boxes of equal size overlap by half of each. Is their IoU one half?",
        "No, one third: the half is counted once in the intersection, and the union is one and a "
        "half boxes.",
    ),
    controls=(
        Boxes("boxes", "Boxes", ((6, 8, 26, 28), (16, 8, 36, 28)), AREA, ("Box A", "Box B")),
    ),
    draw=draw,
    stills=(
        Still("Half of each is shared", {}),
        Still("Nearly the same", {"boxes": ((6, 8, 26, 28), (7, 9, 27, 29))}),
        Still("They touch", {"boxes": ((6, 8, 26, 28), (26, 8, 46, 28))}),
        Still("Apart", {"boxes": ((2, 4, 14, 16), (34, 20, 46, 32))}),
    ),
    source="Rezatofighi et al. 2019, §3, arXiv:1902.09630; module course.boxes",
)
