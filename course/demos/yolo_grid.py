"""The YOLO grid: drag objects over the cells; see who answers for them and what the loss asks.

The image is cut into S × S cells. The cell in which an object's centre lies answers for it: it
holds the centre inside the cell, the roots of width and height relative to the image, and one
class. The loss is a sum of squares over cells and their B = 2 boxes,

    L = 5 (centre + size) + object + 0.5 no object + class,

where the wanted confidence is the IoU of the responsible box and 0 for all others. A cell holds one
object: the second one whose centre falls into it is lost, and no term of the loss misses it.
Source: Redmon et al., You Only Look Once, CVPR 2016, arXiv:1506.02640, §2, §2.2 and §2.4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from course.demos.charts import bars
from course.demos.controls import Area, Boxes, Slider
from course.demos.demo import Demo, Still
from course.demos.grid_loss import (
    IMAGE,
    B,
    Loss,
    answer_of,
    cell_of,
    in_cell,
    loss_of,
    overlaps,
    reaching,
    write_grid,
)
from course.demos.picture import Picture

NAMES = ("A", "B", "C")
COLORS = ("blue", "vermilion", "green")
TERMS = ("centre × 5", "size × 5", "object", "no object × ½", "class")
TERM_COLORS = ("sky", "pink", "green", "orange", "wine")
AREA = Area(left=24, top=56, width=IMAGE, height=IMAGE, scale=400 / IMAGE)
Box = Sequence[float]


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The image with its cells and boxes, what the cells hold, and the five terms."""
    boxes, S = state["objects"], state["cells"]
    target, kept = write_grid(boxes, S)
    answer = answer_of(boxes, S, state["miss"], state["sure"], state["noise"])
    loss = loss_of(answer, target)
    _draw_image(sheet, boxes, S, kept, state["miss"])
    _draw_table(sheet, boxes, S, kept, state["miss"])
    _draw_loss(sheet, loss)
    lost = [name for name, keeps in zip(NAMES, kept) if not keeps]
    places = ", ".join(
        f"{name} in row {cell_of(box, S)[0]} column {cell_of(box, S)[1]}"
        for name, box, keeps in zip(NAMES, boxes, kept)
        if keeps
    )
    terms = ", ".join(f"{name} {value:.2f}" for name, value in zip(TERMS, loss))
    return (
        f"{S * S} cells, {S * S * B} boxes: {places}. "
        + (
            f"{' and '.join(lost)} lost: the cell is taken, and the loss does not ask. "
            * bool(lost)
        )
        + f"Loss {sum(loss):.2f}: {terms}."
    )


def _draw_image(
    sheet: Picture, boxes: Sequence[Box], S: int, kept: Sequence[bool], miss: float
) -> None:
    sheet.text((24, 28), f"{S} × {S} cells, {S * S * B} boxes", size=20, bold=True)
    if miss:
        sheet.text((424, 29), "dashed: predicted", size=16, color="muted", anchor="rm")
    sheet.rect(AREA.box, fill="panel")
    side = IMAGE / S
    cells = [cell_of(box, S) for box in boxes]
    for i, (row, column) in enumerate(cells):
        if kept[i]:
            place = (column * side, row * side, (column + 1) * side, (row + 1) * side)
            hatch = "x" if cells.count((row, column)) > 1 else "/"
            look = {"fill": COLORS[i], "alpha": 0.22, "outline": COLORS[i], "hatch": hatch}
            sheet.rect(AREA.place_box(place), **look)
    sheet.grid(AREA.box, S, S, "muted")
    for i, box in enumerate(boxes):
        color = COLORS[i] if kept[i] else "muted"
        sheet.polygon(_outline(i, AREA.place_box(box)), fill=color, alpha=0.35)
        sheet.rect(AREA.place_box(box), outline=color, width=4, dash=0 if kept[i] else 7)
    for i, box in enumerate(boxes):
        if kept[i] and miss:
            reach = [min(v, IMAGE) for v in reaching(box, miss)]
            sheet.rect(AREA.place_box(reach), outline="ink", width=2, dash=5)
    for i, box in enumerate(boxes):
        x, y = AREA.place((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        sheet.circle((x, y), 8, fill="paper")
        sheet.circle((x, y), 5.5, fill="ink" if kept[i] else "muted")
        left, top = AREA.place(box[0], box[1])
        name = NAMES[i] if kept[i] else f"{NAMES[i]} lost"
        color = COLORS[i] if kept[i] else "ink"
        left = min(left + 7, AREA.box[2] - sheet.text_width(name, size=20, bold=True) - 4)
        sheet.text((left, top + 16), name, size=20, color=color, bold=True, halo=True)


def _outline(kind: int, box: Box) -> list[tuple[float, float]]:
    """Disc, triangle, square: what the three objects look like."""
    x0, y0, x1, y1 = box
    if kind == 0:
        turn = np.linspace(0, 2 * np.pi, 33)[:-1]
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        ring = np.stack([x + (x1 - x0) / 2 * np.cos(turn), y + (y1 - y0) / 2 * np.sin(turn)], 1)
        return [(float(a), float(b)) for a, b in ring]
    if kind == 1:
        return [((x0 + x1) / 2, y0), (x1, y1), (x0, y1)]
    return [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]


def _draw_table(
    sheet: Picture, boxes: Sequence[Box], S: int, kept: Sequence[bool], miss: float
) -> None:
    sheet.text((456, 28), "What the cells should say", size=20, bold=True)
    ends = (586, 650, 714, 778, 842, 932)
    for end, word in zip(ends, ("row, col", "x", "y", "√w", "√h", "conf.")):
        sheet.text((end, 62), word, size=16, color="muted", anchor="rm")
    for i, (name, box) in enumerate(zip(NAMES, boxes)):
        y, cell = 92 + 29 * i, cell_of(box, S)
        sheet.text((456, y), name, size=18, color=COLORS[i] if kept[i] else "muted", bold=True)
        sheet.text((ends[0], y), f"{cell[0]}, {cell[1]}", size=17, anchor="rm")
        if not kept[i]:
            sheet.text((ends[0] + 22, y), "nothing: the cell is taken", size=17, color="muted")
            continue
        truth, said = in_cell(box, cell, S), in_cell(reaching(box, miss), cell, S)
        values = (*truth, float(overlaps(said[None], truth[None], S)[0]))
        for end, value in zip(ends[1:], values):
            sheet.text((end, y), f"{value:.2f}", size=17, anchor="rm", bold=end == ends[-1])


def _draw_loss(sheet: Picture, loss: Loss) -> None:
    total = sum(loss)
    high = next(step for step in (0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if step >= total)
    sheet.text((456, 208), "What the loss asks", size=20, bold=True)
    sheet.text((936, 208), f"full bar = {high:g}", size=16, color="muted", anchor="rm")
    box = (456, 226, 936, 456)
    bars(
        sheet, box, (*TERMS, "sum"), (*loss, total), high=high,
        colors=(*TERM_COLORS, "panel"), name_width=148,
    )  # fmt: skip
    slot, left, right = (box[3] - box[1]) / 6, box[0] + 148, box[2] - 70
    at, middle = left, box[1] + 5.5 * slot
    for value, color in zip(loss, TERM_COLORS):  # the sum is the five bars end to end
        end = at + (right - left) * value / high
        if end > at + 1:  # wider than a pixel
            top, bottom = middle - slot * 0.34, middle + slot * 0.34
            sheet.rect((at, top, end, bottom), fill=color)
            sheet.line([(end, top), (end, bottom)], "paper", 2)
        at = end


START = ((40, 56, 168, 184), (168, 96, 232, 224), (264, 256, 424, 384))
TWINS = ((152, 120, 264, 248), (184, 144, 248, 208), (264, 256, 424, 384))
DEMO = Demo(
    name="yolo_grid",
    title="The YOLO grid",
    lab=4,
    idea=(
        "Drag the objects: the cell under the centre answers. Move two centres into one cell and "
        "watch one object disappear."
    ),
    predict=(
        "Two centres lie in one cell, and each cell has two boxes. Are both objects found?",
        "No. The second box is for another shape, not for another object: a cell has one class, "
        "and only one object is written into it.",
    ),
    controls=(
        Boxes("objects", "Objects", START, AREA, NAMES, snap=8, smallest=24),
        Slider("cells", "Cells a side, S", 7, 2, 7),
        Slider("miss", "Boxes reach too far by", 24, 0, 64, 8, "px"),
        Slider("sure", "They are sure by", 0.6, 0.0, 1.0, 0.1),
        Slider("noise", "All others are sure by", 0.1, 0.0, 1.0, 0.1),
    ),
    draw=draw,
    stills=(
        Still("Each centre has its own cell", {}),
        Still("Two centres in one cell: B is lost", {"objects": TWINS}),
        Still("A coarse grid: fewer cells, more losses", {"cells": 2}),
        Still(
            "Boxes 64 pixels too long: the centre costs most",
            {"miss": 64, "sure": 0.5, "noise": 0.0},
        ),
        Still("Confidence without an object", {"miss": 0, "sure": 1.0, "noise": 0.5}),
    ),
    source="Redmon et al. 2016, §2, arXiv:1506.02640; module course.models.yolo",
)
