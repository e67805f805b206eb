"""RoI pooling under the microscope: how a box of any size becomes a grid, and what rounding costs.

The feature map has one cell for 16 × 16 pixels of the image. RoI pooling rounds the box to whole
cells, both corners included, divides these n cells into P bins per axis and takes each maximum:

    bin i = cells floor(i * n / P) ... ceil((i + 1) * n / P) - 1.

RoIAlign rounds nothing: each bin averages 2 × 2 points that are read between the cells.
Source: Girshick 2015, §2.1, arXiv:1504.08083; He et al. 2017, §3, arXiv:1703.06870.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import ceil, floor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.demos.charts import Axes
from course.demos.controls import Area, Boxes, Slider, Toggle
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

Array = NDArray[Any]
CELLS, STRIDE, PIXELS = 8, 16, 128  # cells a side of the map, pixels a cell, pixels a side
AREA = Area(left=24, top=60, width=PIXELS, height=PIXELS, scale=3)
POOLED = (474, 60)  # corner of the pooled grid
CHART = (530, 310, 930, 420)
# On the map, whose cells are pale on any ground: numbers, and bins by parity of row and column.
INK: Any = (24, 28, 33)
BINS = ((0, 114, 178), (213, 94, 0), (0, 135, 98), (186, 90, 148))


@lru_cache(maxsize=1)
def feature_map() -> Array:
    """The map (8, 8): whole numbers from 0 to 99, smooth enough to have hills."""
    y, x = np.mgrid[:CELLS, :CELLS]
    hills = np.zeros((CELLS, CELLS))
    for cx, cy, height, width in ((2, 2, 1, 1.6), (5.6, 4.4, 1.2, 1.5), (1, 6.5, 0.7, 1.2)):
        hills += height * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
    hills += 0.22 * np.random.default_rng(3).standard_normal(hills.shape)
    return np.rint(99 * (hills - hills.min()) / np.ptp(hills)).astype(int)


def whole_cells(low: float, high: float) -> tuple[int, int]:
    """First and last cell, both included, of a side from `low` to `high` pixels.

    Halves are rounded away from zero, as in the released layer.

    >>> whole_cells(20, 75), whole_cells(8, 24)
    ((1, 5), (1, 2))
    """
    first, last = (floor(v / STRIDE + 0.5) for v in (low, high))
    return first, max(first, last)


def bin_edges(low: float, high: float, bins: int) -> list[tuple[int, int]]:
    """First and past-the-last cell of each bin along one side, cut at the map.

    >>> bin_edges(16, 48, 2)  # three cells in two bins: they overlap
    [(1, 3), (2, 4)]
    """
    first, last = whole_cells(low, high)
    count = last - first + 1
    edges = [(i * count // bins, ceil((i + 1) * count / bins)) for i in range(bins)]
    return [(min(first + a, CELLS), min(first + b, CELLS)) for a, b in edges]


def roi_pool(box: Sequence[float], bins: int) -> tuple[Array, list[tuple[int, int]]]:
    """Maximum of every bin (bins, bins), 0 where it holds no cell, and the cells (x, y) picked.

    >>> roi_pool((0, 0, 16, 16), 1)[1]  # two by two cells, the largest lies at (1, 1)
    [(1, 1)]
    """
    values, picked = np.zeros((bins, bins)), []
    for row, (top, bottom) in enumerate(bin_edges(box[1], box[3], bins)):
        for column, (left, right) in enumerate(bin_edges(box[0], box[2], bins)):
            part = feature_map()[top:bottom, left:right]
            if part.size:
                y, x = np.unravel_index(int(part.argmax()), part.shape)
                values[row, column] = part[y, x]
                picked.append((left + int(x), top + int(y)))
    return values, picked


def sample_points(low: float, high: float, bins: int) -> Array:
    """Pixels at which RoIAlign reads along one side, two a bin: (2 * bins,).

    >>> sample_points(0, 64, 2).tolist()
    [8.0, 24.0, 40.0, 56.0]
    """
    return low + (high - low) * (np.arange(2 * bins) + 0.5) / (2 * bins)


def roi_align(box: Sequence[float], bins: int) -> Array:
    """Mean of 2 × 2 interpolated points in every bin: (bins, bins).

    >>> (roi_align((16, 16, 48, 48), 1) == feature_map()[1:3, 1:3].mean()).tolist()
    [[True]]
    """
    columns, rows = (sample_points(box[k], box[k + 2], bins) / STRIDE - 0.5 for k in (0, 1))
    values = _between(_between(feature_map(), rows).T, columns).T
    return values.reshape(bins, 2, bins, 2).mean((1, 3))


def _between(array: Array, rows: Array) -> Array:
    """Rows of (h, w) read at fractional places, linearly; beyond the first or last, these."""
    rows = rows.clip(0, CELLS - 1)
    below = np.minimum(np.floor(rows).astype(int), CELLS - 2)
    part = (rows - below)[:, None]
    return array[below] * (1 - part) + array[below + 1] * part


def edge_shifts(box: Sequence[float]) -> list[float]:
    """Pixels by which rounding moves the sides left, top, right and bottom.

    >>> edge_shifts((20, 20, 75, 80))
    [-4, -4, 21, 16]
    """
    ends = np.transpose([bin_edges(box[k], box[k + 2], 1)[0] for k in (0, 1)]).ravel()
    return [int(cell) * STRIDE - side for cell, side in zip(ends, box)]


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The map with the box and its bins, the pooled grid, and the first bin while the box moves."""
    (box,) = state["box"]
    bins, align = state["bins"], state["align"]
    sheet.text((24, 32), "Feature map, 16 pixels a cell", size=20, bold=True)
    sheet.image(AREA.box, feature_map(), low=-10, high=240, map="blues")
    sheet.grid(AREA.box, CELLS, CELLS)
    (_draw_points if align else _draw_cells)(sheet, box, bins)
    sheet.rect(AREA.place_box(box), outline=INK, width=6)
    sheet.rect(AREA.place_box(box), outline=(240, 228, 66), width=4)
    sheet.numbers(AREA.box, feature_map(), size=17, color=INK)
    values = roi_align(box, bins) if align else roi_pool(box, bins)[0]
    shifts = [0.0] * 4 if align else edge_shifts(box)
    name = "RoIAlign" if align else "RoI pooling"
    _draw_result(sheet, values, name)
    _draw_shifts(sheet, shifts)
    _draw_chart(sheet, box, bins, align)
    moves = (
        f"edges move by up to {max(map(abs, shifts)):g} pixels" if any(shifts) else "no edge moves"
    )
    rule = "mean of four points between the cells" if align else "maximum of its cells"
    return (
        f"{name} of a box of {box[2] - box[0]:g} × {box[3] - box[1]:g} pixels to {bins} × {bins} "
        f"bins: {moves}; the first bin is {values[0, 0]:.3g}, the {rule}."
    )


def _color(row: int, column: int) -> tuple[int, int, int]:
    return BINS[2 * (row % 2) + column % 2]


def _draw_cells(sheet: Picture, box: Sequence[float], bins: int) -> None:
    """Bins of whole cells and the cells that win; frames of overlapping bins are kept apart."""
    for row, (top, bottom) in enumerate(bin_edges(box[1], box[3], bins)):
        for column, (left, right) in enumerate(bin_edges(box[0], box[2], bins)):
            x0, y0, x1, y1 = AREA.place_box([v * STRIDE for v in (left, top, right, bottom)])
            color, gap = _color(row, column), 3 + 3 * BINS.index(_color(row, column))
            place = (x0 + gap, y0 + gap, x1 - gap, y1 - gap)
            sheet.rect(place, fill=color, alpha=0.2, outline=color, width=2.5)
    for x, y in roi_pool(box, bins)[1]:
        sheet.circle(AREA.place((x + 0.5) * STRIDE, (y + 0.5) * STRIDE), 18, outline=INK, width=3)


def _draw_points(sheet: Picture, box: Sequence[float], bins: int) -> None:
    """Bins that divide the box itself, with the points that are read."""
    (x, y), w, h = box[:2], (box[2] - box[0]) / bins, (box[3] - box[1]) / bins
    for i, j in np.ndindex(bins, bins):
        place = AREA.place_box((x + j * w, y + i * h, x + j * w + w, y + i * h + h))
        sheet.rect(place, fill=_color(i, j), alpha=0.25, outline=_color(i, j))
    for y in sample_points(box[1], box[3], bins):
        for x in sample_points(box[0], box[2], bins):
            sheet.circle(AREA.place(x, y), 6, fill=BINS[1], outline=(255, 255, 255), width=1.5)


def _draw_result(sheet: Picture, values: Array, name: str) -> None:
    bins, (x, y) = len(values), POOLED
    sheet.text((x, 32), f"{name}: {bins} × {bins}", size=20, bold=True)
    box, unit = (x, y, x + 180, y + 180), 180 / bins
    sheet.image(box, values, low=-10, high=240, map="blues")
    sheet.grid(box, bins, bins)
    for row, column in np.ndindex(bins, bins):
        left, top = x + column * unit + 3, y + row * unit + 3
        place = (left, top, left + unit - 6, top + unit - 6)
        sheet.rect(place, outline=_color(row, column), width=3)
    sheet.numbers(box, values, "{:.0f}", size=20, color=INK)


def _draw_shifts(sheet: Picture, shifts: Sequence[float]) -> None:
    sheet.text((710, 32), "Edges move, pixels", size=20, bold=True)
    zero = 868
    for k, (name, shift) in enumerate(zip(("left", "top", "right", "bottom"), shifts)):
        y = 82 + 45 * k
        sheet.text((710, y), name, size=18)
        sheet.text((826, y), f"{shift:+g}" if shift else "0", size=18, bold=True, anchor="rm")
        left, right = sorted((zero, zero + 2 * shift))
        sheet.rect((left, y - 11, right, y + 11), fill="vermilion", hatch="/", outline="ink")
        sheet.line([(zero, y - 16), (zero, y + 16)], "muted", 2)


def _draw_chart(sheet: Picture, box: Sequence[float], bins: int, align: bool) -> None:
    """Value of the first bin while the box moves sideways, pooled and aligned."""
    shifts = [s for s in range(-STRIDE, STRIDE + 1) if box[0] + s >= 0 and box[2] + s <= PIXELS]
    moved = [(box[0] + s, box[1], box[2] + s, box[3]) for s in shifts]
    pooled = [roi_pool(b, bins)[0][0, 0] for b in moved]
    aligned = [roi_align(b, bins)[0, 0] for b in moved]
    sheet.text((474, 280), "First bin", size=18, bold=True)
    sheet.text((580, 280), "pooled", size=18, color="vermilion", bold=True)
    sheet.text((664, 280), "aligned, dashed", size=18, color="blue", bold=True)
    axes = Axes(sheet, CHART, (-STRIDE, STRIDE), (0, 100), ("shift of the box, pixels", ""))
    axes.draw((4, 2))
    axes.curve(shifts, aligned, "blue", dash=7)
    steps = np.add.outer(shifts, (-0.5, 0.5)).ravel().clip(-STRIDE, STRIDE)
    axes.curve(steps, np.repeat(pooled, 2), "vermilion")
    axes.dot(0, (aligned if align else pooled)[shifts.index(0)], "blue" if align else "vermilion")


DEMO = Demo(
    name="roi_pooling",
    title="RoI pooling and RoIAlign",
    lab=3,
    idea="Drag the box. Watch which cells it is rounded to, and which of them win.",
    predict=(
        "You move the box by one pixel of the image. What happens to the pooled numbers?",
        "Mostly nothing, and now and then a jump: sixteen pixels are one cell. RoIAlign follows "
        "every pixel.",
    ),
    controls=(
        Boxes("box", "Box", ((26, 22, 87, 101),), AREA, ("Box",), snap=1, smallest=8),
        Slider("bins", "Bins per side", 2, 1, 4),
        Toggle("align", "RoIAlign: no rounding", False),
    ),
    draw=draw,
    stills=(
        Still("A box, rounded to cells", {}),
        Still("Three bins a side: neighbours overlap", {"bins": 3}),
        Still("One pixel further: a jump", {"box": ((26, 22, 88, 101),)}),
        Still("A small box loses the most", {"box": ((57, 55, 72, 70),)}),
        Still("RoIAlign reads between the cells", {"align": True}),
    ),
    source="Girshick 2015, §2.1; He et al. 2017, §3; module course.boxes",
)
