"""IoU and GIoU: drag two boxes and see what is shared, what is covered, and which way is better.

The overlap of two boxes is the area that both cover over the area that either covers; GIoU takes
away the share of the smallest enclosing box that neither covers,

    IoU = |A n B| / |A u B|,   GIoU = IoU - (|hull| - |A u B|) / |hull|,

so that boxes apart still differ, and a gradient still says which way they should move.
Source: Rezatofighi et al., Generalized Intersection over Union, CVPR 2019, arXiv:1902.09630, §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from course.demos.charts import Axes
from course.demos.controls import Area, Boxes, Toggle
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

AREA = Area(left=24, top=60, width=48, height=36, scale=11)
CHART = (650, 86, 940, 370)


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


class Slope(NamedTuple):
    """By how much the scores rise per cell that B moves right and down: two (dx, dy)."""

    iou: tuple[float, float]
    giou: tuple[float, float]


def slope(a: Sequence[float], b: Sequence[float]) -> Slope:
    """Gradients of both scores with respect to a shift of B; sides that agree do not count.

    >>> slope((0, 0, 4, 4), (2, 0, 6, 4)).iou  # the union shrinks while the intersection grows
    (-0.2222..., 0.0)
    >>> slope((0, 0, 2, 2), (4, 0, 6, 2)).iou, slope((0, 0, 2, 2), (4, 0, 6, 2)).giou[0] < 0
    ((0.0, 0.0), True)
    """
    found = overlap(a, b)
    sides = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1])
    iou, giou = [], []
    for k, other in ((0, 1), (1, 0)):
        across = min(a[other + 2], b[other + 2]) - max(a[other], b[other])
        along = min(a[k + 2], b[k + 2]) - max(a[k], b[k])
        shared = 0.0
        if across > 0 and along > 0:
            shared = across * (int(b[k + 2] < a[k + 2]) - int(b[k] > a[k]))
        depth = max(a[other + 2], b[other + 2]) - min(a[other], b[other])
        hull = depth * (int(b[k + 2] > a[k + 2]) - int(b[k] < a[k]))
        iou.append(shared * sides / found.union**2)
        # The union shrinks by what the intersection gains; union / hull by the quotient rule.
        giou.append(iou[-1] - (shared * found.hull + found.union * hull) / found.hull**2)
    return Slope((iou[0], iou[1]), (giou[0], giou[1]))


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """Both boxes, their common part, and both scores while B slides sideways."""
    a, b = state["boxes"]
    found = overlap(a, b)
    _draw_boxes(sheet, a, b)
    if state["arrows"]:
        _draw_arrows(sheet, a, b)
    _draw_chart(sheet, a, b)
    sheet.text((600, 434), "IoU, solid:", size=19, color="blue", bold=True)
    fraction = f"{found.intersection:g} / {found.union:g} = {found.iou:.2f}"
    sheet.text((944, 434), fraction, size=19, color="blue", bold=True, anchor="rm")
    sheet.text((600, 460), "GIoU, dashed:", size=19, color="orange", bold=True)
    sheet.text((944, 460), f"{found.giou:.2f}", size=19, color="orange", bold=True, anchor="rm")
    return (
        f"Intersection {found.intersection:g}, union {found.union:g} square cells: IoU = "
        f"{found.iou:.2f}. The enclosing box has {found.hull:g}: GIoU = {found.giou:.2f}."
        + (_rise_in_words(a, b) if state["arrows"] else "")
        + (" Without overlap IoU is 0 wherever B lies; GIoU is not." if found.iou == 0 else "")
    )


def _rise_in_words(a: Sequence[float], b: Sequence[float]) -> str:
    """By how much each score rises for a cell in its best direction: the lengths of the slopes."""
    iou, giou = (float(np.hypot(*way)) for way in slope(a, b))
    return f" The best step of one cell raises IoU by {iou:.3f} and GIoU by {giou:.3f}."


def _draw_boxes(sheet: Picture, a: Sequence[float], b: Sequence[float]) -> None:
    sheet.text((24, 32), "Two boxes on a grid", size=20, bold=True)
    sheet.rect(AREA.box, fill="panel")
    sheet.grid(AREA.box, 9, 12)
    hull = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
    for box, color, hatch in ((a, "blue", "/"), (b, "vermilion", "\\")):
        sheet.rect(AREA.place_box(box), fill=color, alpha=0.25, outline=color, hatch=hatch, width=3)
    common = (max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    sheet.rect(AREA.place_box(common), fill="green", alpha=0.8)
    sheet.rect(AREA.place_box(hull), outline="ink", dash=6, width=2)
    # A is named at its upper left corner, B at its lower right: they never meet.
    x, y = AREA.place(a[0], a[1])
    sheet.text((x + 8, y + 17), "A", size=20, color="blue", bold=True, halo=True)
    x, y = AREA.place(b[2], b[3])
    sheet.text((x - 8, y - 17), "B", size=20, color="vermilion", bold=True, halo=True, anchor="rm")


def _draw_arrows(sheet: Picture, a: Sequence[float], b: Sequence[float]) -> None:
    """From the middle of B, the way in which each score rises fastest; no arrow on a plateau."""
    rise = slope(a, b)
    x, y = AREA.place((b[0] + b[2]) / 2, (b[1] + b[3]) / 2)
    for name, (dx, dy), side in (("IoU", rise.iou, -1), ("GIoU", rise.giou, 1)):
        length = (dx**2 + dy**2) ** 0.5
        if length < 1e-9:
            continue
        across = (-dy / length * 9 * side, dx / length * 9 * side)  # beside each other
        start = (x + across[0], y + across[1])
        end = (start[0] + 70 * dx / length, start[1] + 70 * dy / length)
        sheet.arrow(start, end, "paper", 9, head=24)
        color, dash = ("blue", 0) if name == "IoU" else ("orange", 8)
        sheet.arrow(start, end, color, 5, head=18, dash=dash)


def _draw_chart(sheet: Picture, a: Sequence[float], b: Sequence[float]) -> None:
    sheet.text((600, 32), "B slides left and right", size=20, bold=True)
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
        Toggle("arrows", "Arrows: where B gains most", False),
    ),
    draw=draw,
    stills=(
        Still("Half of each is shared: one third", {}),
        Still("Nearly the same", {"boxes": ((6, 8, 26, 28), (7, 9, 27, 29))}),
        Still(
            "Both scores say: up and left",
            {"boxes": ((6, 4, 26, 22), (18, 12, 42, 32)), "arrows": True},
        ),
        Still("They touch", {"boxes": ((6, 8, 26, 28), (26, 8, 46, 28))}),
        Still(
            "Apart: only GIoU knows the way",
            {"boxes": ((2, 4, 14, 16), (34, 20, 46, 32)), "arrows": True},
        ),
    ),
    source="Rezatofighi et al. 2019, §3, arXiv:1902.09630; module course.boxes",
)
