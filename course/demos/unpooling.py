"""Unpooling: a value goes back to the pixel it came from, if the pooling remembered which.

Max pooling keeps the largest value of every 2 × 2 window. Its place inside the window, the switch,
costs two bits; with it, unpooling puts the value back and leaves zeros elsewhere:

    y = x[s],    unpool(y, s)[s] = y.

Without switches a value can only be spread in the same way in every window: over all four pixels
(nearest), mixed with its neighbours (bilinear), or by one kernel that all windows share
(transposed convolution). Sources: Noh, Hong, Han, ICCV 2015, arXiv:1505.04366, §3.2.1;
Badrinarayanan, Kendall, Cipolla, PAMI 2017, arXiv:1511.00561, §3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course.demos.controls import Area, Paint
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

INPUT = Area(left=30, top=62, width=4, height=4, scale=56)
POOLED = Area(left=330, top=92, width=2, height=2, scale=66)
METHODS = ("switches", "nearest", "bilinear", "transposed")
_PLACES = ((570, 54), (770, 54), (570, 288), (770, 288))
_CELL = 36
_INK = ("blue", "vermilion", "green", "pink")
_HATCH = ("/", "\\", "-", "|")

Map = NDArray[np.float64]


def windows(x: ArrayLike) -> Map:
    """The 2 × 2 windows of (2h, 2w): (h, w, 4), each in reading order.

    >>> windows([[1, 2, 6, 3], [3, 5, 2, 1]])[0, 0].tolist()
    [1.0, 2.0, 3.0, 5.0]
    """
    x = np.asarray(x, float)
    h, w = x.shape[0] // 2, x.shape[1] // 2
    return x.reshape(h, 2, w, 2).transpose(0, 2, 1, 3).reshape(h, w, 4)


def tile(cells: Map) -> Map:
    """The map (2h, 2w) whose windows are (h, w, 4); undoes `windows`.

    >>> tile(windows([[1, 2, 6, 3], [3, 5, 2, 1]])).tolist()
    [[1.0, 2.0, 6.0, 3.0], [3.0, 5.0, 2.0, 1.0]]
    """
    h, w = cells.shape[:2]
    return cells.reshape(h, w, 2, 2).transpose(0, 2, 1, 3).reshape(2 * h, 2 * w)


def pool(x: ArrayLike) -> tuple[Map, NDArray[np.int64]]:
    """Maxima of the 2 × 2 windows, and the place of each in its window, 0 to 3 (first of equals).

    >>> y, place = pool([[1, 2, 6, 3], [3, 5, 2, 1]])
    >>> y.tolist(), place.tolist()
    ([[5.0, 6.0]], [[3, 0]])
    """
    cells = windows(x)
    return cells.max(-1), cells.argmax(-1)


def unpool(y: Map, place: NDArray[np.int64]) -> Map:
    """Values at their switches, zeros elsewhere.

    >>> unpool(np.array([[5.0]]), np.array([[3]])).tolist()
    [[0.0, 0.0], [0.0, 5.0]]
    """
    return tile(y[..., None] * np.eye(4)[place])


def nearest(y: Map) -> Map:
    """Every value on all four pixels of its window."""
    return tile(np.repeat(y[..., None], 4, -1))


def bilinear(y: Map) -> Map:
    """Linear interpolation between the centres of the windows, edge values continued.

    >>> bilinear(np.array([[0.0, 4.0]]))[0].tolist()
    [0.0, 1.0, 3.0, 4.0]
    """

    def along(n: int) -> Map:
        at = np.clip((np.arange(2 * n) - 0.5) / 2, 0, n - 1)
        return np.clip(1 - np.abs(at[:, None] - np.arange(n)), 0, 1)

    return along(y.shape[0]) @ y @ along(y.shape[1]).T


def best_kernel(x: ArrayLike, y: Map) -> NDArray[np.float64]:
    """The 2 × 2 kernel that makes of `y`, with stride 2, the least squared error to `x`: (4,).

    It is the regression of the windows on their values, Σ y x / Σ y².

    >>> best_kernel([[0, 2], [0, 0]], np.array([[2.0]])).tolist()
    [0.0, 1.0, 0.0, 0.0]
    """
    power = float((y**2).sum())
    return (windows(x) * y[..., None]).sum((0, 1)) / (power or 1.0)


def transposed(y: Map, kernel: NDArray[Any]) -> Map:
    """A transposed convolution with a 2 × 2 kernel (4,) and stride 2."""
    return tile(y[..., None] * kernel)


def enlarge(x: ArrayLike, added: ArrayLike) -> dict[str, Map]:
    """What the four methods make of the pooled values of `x`, each raised by `added`."""
    y, place = pool(x)
    raised = y + np.asarray(added, float)
    return {
        "switches": unpool(raised, place),
        "nearest": nearest(raised),
        "bilinear": bilinear(raised),
        "transposed": transposed(raised, best_kernel(x, y)),
    }


def share_in_place(values: Map, place: NDArray[np.int64]) -> float:
    """Which part of a map's sum lies on the switches; 0 for an empty map.

    >>> share_in_place(nearest(np.array([[5.0]])), np.array([[3]]))
    0.25
    """
    return float((values * unpool(np.ones(place.shape), place)).sum() / (values.sum() or 1.0))


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """Input with its maxima, pooled values, and four ways back."""
    x, added = np.array(state["input"], float), np.array(state["added"], float)
    y, place = pool(x)
    found = enlarge(x, added)
    wanted = x + unpool(added, place)
    misses = {name: float(np.abs(found[name] - wanted).mean()) for name in METHODS}
    own = {name: share_in_place(found[name], place) for name in METHODS}
    _draw_input(sheet, x, place)
    _draw_pooled(sheet, y, added, place)
    for name, corner in zip(METHODS, _PLACES):
        words = (f"in place {100 * own[name]:.0f} %", f"mean error {misses[name]:.2f}")
        _draw_result(sheet, name, found[name], place, words, corner)
    changed = f", raised to {_values(y + added)}" if added.any() else ""
    where = ", ".join(map(str, _switches(place)))
    shares = ", ".join(f"{name} {100 * own[name]:.0f} %" for name in METHODS)
    errors = ", ".join(f"{misses[name]:.2f}" for name in METHODS)
    return (
        f"Pooled {_values(y)}{changed}; switches (row, column) {where}. Share of the result that "
        f"lies there: {shares}. Mean error to the image, in this order: {errors}."
    )


def _switches(place: NDArray[Any]) -> list[tuple[int, int]]:
    """Row and column in the image of each switch."""
    i, j = np.indices(place.shape)
    return list(zip((2 * i + place // 2).ravel().tolist(), (2 * j + place % 2).ravel().tolist()))


def _values(y: Map) -> str:
    return ", ".join(f"{v:g}" for v in y.ravel())


def _draw_input(sheet: Picture, x: Map, place: NDArray[Any]) -> None:
    sheet.text((30, 30), "Image (paint)", size=20, bold=True)
    sheet.rect(INPUT.box, fill="panel")
    sheet.grid(INPUT.box, 4, 4)
    for n, (row, column) in enumerate(_switches(place)):
        box = INPUT.place_box((column, row, column + 1, row + 1))
        sheet.rect(box, fill=_INK[n], alpha=0.3, outline=_INK[n], width=4, hatch=_HATCH[n])
    _numbers(sheet, INPUT.box, x, 24, bold=True)
    sheet.grid(INPUT.box, 2, 2, "ink", 3)
    kernel = best_kernel(x, pool(x)[0]).reshape(2, 2)
    box = (30, 396, 150, 466)
    sheet.text((30, 306), "Frames: the maxima.", size=18, color="muted")
    sheet.text((30, 350), "Transposed: one kernel", size=18, color="muted")
    sheet.text((30, 376), "for all, fitted here", size=18, color="muted")
    sheet.rect(box, fill="panel")
    sheet.grid(box, 2, 2, "muted")
    sheet.numbers(box, kernel, "{:.2f}", size=18)


def _draw_pooled(sheet: Picture, y: Map, added: Map, place: NDArray[Any]) -> None:
    left, _, right, bottom = POOLED.box
    sheet.text((left, 30), "Pooled 2 × 2", size=20, bold=True)
    sheet.text((left, 72), "click to add 1", size=17, color="muted")
    sheet.arrow((264, 174), (left - 10, 174), "muted", 3)
    sheet.arrow((right + 10, 174), (546, 174), "muted", 3)
    for n, (i, j) in enumerate(np.ndindex(2, 2)):
        box = POOLED.place_box((j, i, j + 1, i + 1))
        sheet.rect(box, fill=_INK[n], alpha=0.3, outline=_INK[n], width=3)
        middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
        value = f"{y[i, j] + added[i, j]:g}"
        up = 10 if added[i, j] else 0
        sheet.text((middle[0], middle[1] - up), value, size=26, bold=True, anchor="mm")
        if up:
            words = f"{y[i, j]:g} + {added[i, j]:g}"
            sheet.text((middle[0], middle[1] + 18), words, size=16, anchor="mm", color="muted")
    sheet.text((left, bottom + 32), "Switches", size=20, bold=True)
    sheet.text((left, bottom + 56), "2 bits a window", size=17, color="muted")
    for n, (i, j) in enumerate(np.ndindex(2, 2)):
        x0, y0 = left + j * 74, bottom + 76 + i * 74
        row, column = divmod(int(place[i, j]), 2)
        at = (x0 + 31 * column, y0 + 31 * row, x0 + 31 * (column + 1), y0 + 31 * (row + 1))
        sheet.rect(at, fill=_INK[n], alpha=0.3, outline=_INK[n], width=3, hatch=_HATCH[n])
        sheet.grid((x0, y0, x0 + 62, y0 + 62), 2, 2, "muted")


def _draw_result(
    sheet: Picture,
    name: str,
    values: Map,
    place: NDArray[Any],
    words: tuple[str, str],
    corner: tuple[int, int],
) -> None:
    left, top = corner
    box = (left, top, left + 4 * _CELL, top + 4 * _CELL)
    sheet.text((left, top - 24), name, size=20, bold=True)
    sheet.rect(box, fill="panel")
    most = max(float(values.max()), 1.0)
    for i, j in np.ndindex(4, 4):
        at = (left + j * _CELL, top + i * _CELL, left + (j + 1) * _CELL, top + (i + 1) * _CELL)
        if values[i, j] > 0:
            sheet.rect(at, fill="sky", alpha=0.1 + 0.55 * float(values[i, j]) / most)
    sheet.grid(box, 4, 4)
    for n, (row, column) in enumerate(_switches(place)):
        x0, y0 = left + column * _CELL, top + row * _CELL
        sheet.rect((x0, y0, x0 + _CELL, y0 + _CELL), outline=_INK[n], width=3)
    _numbers(sheet, box, values, 15)
    sheet.text((left, top + 4 * _CELL + 16), words[0], size=17, bold=True)
    sheet.text((left, top + 4 * _CELL + 38), words[1], size=17, color="muted")


def _numbers(sheet: Picture, box: Any, values: Map, size: int, bold: bool = False) -> None:
    cell = (box[2] - box[0]) / values.shape[1]
    for (i, j), value in np.ndenumerate(values):
        words = f"{round(float(value), 1):g}"
        place = (box[0] + (j + 0.5) * cell, box[1] + (i + 0.5) * cell)
        color = "ink" if value else "muted"
        sheet.text(place, words, size=size, anchor="mm", color=color, bold=bold and bool(value))


_START = ((1, 2, 6, 3), (3, 5, 2, 1), (1, 2, 2, 1), (7, 3, 4, 8))
_LINE = ((0, 0, 0, 9), (0, 0, 9, 0), (0, 9, 0, 0), (9, 0, 0, 0))
_FLAT = ((7, 7, 0, 0), (7, 7, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))
_EDGE = ((0, 9, 0, 0), (0, 9, 0, 0), (0, 9, 0, 0), (0, 9, 0, 0))

DEMO = Demo(
    name="unpooling",
    title="Unpooling with switches",
    lab=6,
    idea="Paint the image and watch where each maximum returns. Click a pooled value to raise it, "
    "as a decoder would.",
    predict=(
        "Move the 8 of the last window one pixel to the left. Which results follow it?",
        "The switches follow exactly. Nearest and bilinear see the same pooled values and cannot "
        "change. The transposed kernel, fitted to the whole image, changes a little, in all four "
        "windows at once.",
    ),
    controls=(
        Paint("input", "Image", _START, INPUT, levels=10),
        Paint("added", "Added to the pooled values", ((0, 0), (0, 0)), POOLED, levels=6),
    ),
    draw=draw,
    size=(960, 484),
    stills=(
        Still("Pool, remember, put back", {}),
        Still("The decoder raises one value", {"added": ((0, 0), (0, 4))}),
        Still("A thin diagonal line", {"input": _LINE}),
        Still("An upright line: here one shared kernel does better", {"input": _EDGE}),
        Still("A flat corner: switches leave holes to fill", {"input": _FLAT}),
    ),
    source="Noh et al. 2015, §3.2.1; Badrinarayanan et al. 2017, §3; course.upsampling.unpooling",
)
