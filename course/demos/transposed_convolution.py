"""Transposed convolution: every input pixel stamps the kernel, and the stamps add up.

Input pixel (i, j) prints the kernel, times its value, at row i·s and column j·s of a canvas; the
canvas less p pixels on every side is the output, (n - 1) s - 2p + k pixels long. As a matrix that
is y = Wᵀx, one column a stamp, with the W of the convolution that leads the other way. Where s
does not divide k, neighbours get different numbers of stamps: a checkerboard.
Sources: Dumoulin and Visin, arXiv:1603.07285, §4; Odena, Dumoulin, Olah, Distill 2016.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course.demos.controls import Area, Choice, Paint, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

INPUT = Area(left=30, top=62, width=2, height=2, scale=64)
KERNELS = ("1, 2, 3, ...", "ones", "bilinear")
ROW = 6  # inputs along a side of the map that counts the stamps
_INK = ("blue", "vermilion", "green", "pink")
_HATCH = ("/", "\\", "-", "|")
_CANVAS = (262, 62, 586, 386)
_MATRIX = (650, 88, 770, 390)
_COUNTS = (812, 62, 932, 182)


def kernel_of(kind: str, k: int) -> NDArray[np.float64]:
    """A kernel (k, k): 1 to k² in reading order, ones, or that of bilinear interpolation.

    >>> kernel_of("bilinear", 3).tolist()
    [[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]]
    """
    if kind == "bilinear":
        taps = 1 - np.abs(np.arange(k) - (k - 1) / 2) / ((k + 1) // 2)
        return np.outer(taps, taps)
    return np.ones((k, k)) if kind == "ones" else np.arange(1.0, k * k + 1).reshape(k, k)


def stamp(x: ArrayLike, kernel: NDArray[Any], s: int, count: int) -> NDArray[np.float64]:
    """The canvas ((h - 1) s + k, (w - 1) s + k) after the first `count` inputs in reading order.

    >>> stamp([[1, 2], [3, 4]], kernel_of("ones", 3), 1, 4)[1].tolist()
    [4.0, 10.0, 10.0, 6.0]
    """
    x, k = np.asarray(x, float), len(kernel)
    canvas = np.zeros(((x.shape[0] - 1) * s + k, (x.shape[1] - 1) * s + k))
    for i, j in list(np.ndindex(*x.shape))[:count]:
        canvas[i * s : i * s + k, j * s : j * s + k] += x[i, j] * kernel
    return canvas


def crop(canvas: NDArray[Any], p: int) -> NDArray[Any]:
    """The canvas without `p` pixels on every side; empty if nothing is left."""
    return canvas[p : max(p, canvas.shape[0] - p), p : max(p, canvas.shape[1] - p)]


def matrix(kernel: NDArray[Any], s: int, p: int, n: int = 2) -> NDArray[np.float64]:
    """Wᵀ: one row an output pixel, one column each of the n × n inputs, both in reading order.

    >>> matrix(np.array([[5.0]]), 2, 0).shape, matrix(np.ones((3, 3)), 1, 0).sum(0).tolist()
    ((9, 4), [9.0, 9.0, 9.0, 9.0])
    """
    one_hot = np.eye(n * n).reshape(n * n, n, n)
    return np.stack([crop(stamp(x, kernel, s, n * n), p).ravel() for x in one_hot], axis=1)


def stamps_per_pixel(k: int, s: int, p: int, n: int = ROW) -> NDArray[np.int64]:
    """How many of n stamps in a row reach each output pixel of that row.

    >>> stamps_per_pixel(3, 2, 0, 3).tolist()
    [1, 1, 2, 1, 2, 1, 1]
    """
    place = np.arange(p, (n - 1) * s + k - p)[:, None]
    start = np.arange(n) * s
    return ((place >= start) & (place < start + k)).sum(1)


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """Input and kernel, the canvas with its stamps, the matrix, and the count of stamps."""
    k, s, p, count = (state[name] for name in ("kernel", "stride", "padding", "stamps"))
    x, kernel = np.array(state["input"]), kernel_of(state["values"], k)
    canvas = stamp(x, kernel, s, count)
    side = len(crop(canvas, p))
    _draw_input(sheet, x, kernel, count)
    _draw_canvas(sheet, canvas, k, s, p, count)
    _draw_matrix(sheet, matrix(kernel, s, p), max(side, 1), count)
    _draw_counts(sheet, k, s, p)
    if side == 0:
        return f"With padding {p} nothing is left of the canvas of {len(canvas)} pixels: take less."
    size = f"(2 - 1) · {s} - 2 · {p} + {k} = {side}"
    kept, whole = crop(canvas, p).sum(), canvas.sum()
    cut = f", of which the padding leaves {kept:g}" if p else ""
    even = f"{k} is a multiple of {s}: even" if k % s == 0 else f"{s} does not divide {k}: uneven"
    inputs = x.ravel()[:count].sum()
    return (
        f"{count} of 4 inputs stamped, output {size} pixels long. Sum of the canvas {whole:g} = "
        f"sum of those inputs {inputs:g} × sum of the kernel {kernel.sum():g}{cut}. "
        f"Stamps per pixel inside: {even}."
    )


def _draw_input(sheet: Picture, x: NDArray[Any], kernel: NDArray[Any], count: int) -> None:
    sheet.text((30, 30), "Input", size=20, bold=True)
    for n, (i, j) in enumerate(np.ndindex(2, 2)):
        box = INPUT.place_box((j, i, j + 1, i + 1))
        done = n < count
        sheet.rect(box, fill=_INK[n] if done else "panel", alpha=0.3 if done else 1)
        sheet.rect(box, outline=_INK[n], width=5 if n == count - 1 else 2)
        sheet.text((box[0] + 8, box[1] + 14), "abcd"[n], size=16, color="muted")
        middle = ((box[0] + box[2]) / 2 + 4, (box[1] + box[3]) / 2 + 4)
        sheet.text(middle, x[i, j], size=26, bold=True, anchor="mm")
    k = len(kernel)
    cell = min(44, 180 / k)
    box = (30, 250, 30 + k * cell, 250 + k * cell)
    sheet.text((30, 226), "Kernel", size=20, bold=True)
    sheet.rect(box, fill="panel")
    sheet.grid(box, k, k, "muted")
    _numbers(sheet, box, kernel)


def _draw_canvas(sheet: Picture, canvas: NDArray[Any], k: int, s: int, p: int, count: int) -> None:
    n = len(canvas)
    x0, y0 = _CANVAS[:2]
    cell = min(80.0, (_CANVAS[2] - x0) / n)
    box = (x0, y0, x0 + n * cell, y0 + n * cell)
    sheet.text((x0, 30), f"Canvas: stamps, {s} apart", size=20, bold=True)
    top = max(float(canvas.max()), 1e-9)
    for i, j in np.ndindex(n, n):
        at = (x0 + j * cell, y0 + i * cell, x0 + (j + 1) * cell, y0 + (i + 1) * cell)
        sheet.rect(at, fill="sky", alpha=0.5 * float(canvas[i, j]) / top)
        if not (p <= i < n - p and p <= j < n - p):
            sheet.rect(at, fill="panel", alpha=0.8, hatch="x", outline="faint", width=0.5)
    sheet.grid(box, n, n)
    for m in range(count):
        left, up = x0 + (m % 2) * s * cell, y0 + (m // 2) * s * cell
        inset = 2 + 2.5 * m
        frame = (left + inset, up + inset, left + k * cell - inset, up + k * cell - inset)
        last = m == count - 1
        if k * cell > 2 * inset + 8:
            hatch = _HATCH[m] if last and count < 4 else ""
            sheet.rect(frame, outline=_INK[m], width=4 if last else 2, hatch=hatch)
    if 2 * p < n:
        sheet.rect(
            (x0 + p * cell, y0 + p * cell, box[2] - p * cell, box[3] - p * cell),
            outline="ink",
            width=3,
        )
    _numbers(sheet, box, canvas, halo=True)
    size = f"(2 − 1)·{s} − 2·{p} + {k} = {max(n - 2 * p, 0)}"
    sheet.text((x0, 416), "Output side", size=17, color="muted")
    sheet.text((x0 + 110, 416), size, size=18, bold=True)


def _draw_matrix(sheet: Picture, wt: NDArray[Any], side: int, count: int) -> None:
    x0, y0, x1, y1 = _MATRIX
    rows = max(len(wt), 1)
    high, wide = min(26.0, (y1 - y0) / rows), (x1 - x0) / 4
    sheet.text((x0 - 20, 30), f"Wᵀ: {len(wt)} × 4", size=20, bold=True)
    for n in range(4):
        sheet.text((x0 + (n + 0.5) * wide, 76), "abcd"[n], size=16, color="muted", anchor="mm")
    for r, c in zip(*np.nonzero(wt)):
        at = (x0 + c * wide, y0 + r * high, x0 + (c + 1) * wide, y0 + (r + 1) * high)
        sheet.rect(at, fill=_INK[c] if c < count else "muted", alpha=0.75 if c < count else 0.25)
        if high >= 18:
            middle = ((at[0] + at[2]) / 2, (at[1] + at[3]) / 2)
            sheet.text(middle, _form(float(wt[r, c])), size=15, anchor="mm")
    for r in range(0, len(wt) + 1, side):
        sheet.line([(x0 - 6, y0 + r * high), (x1 + 6, y0 + r * high)], "muted", 1)
    for n in range(5):
        sheet.line([(x0 + n * wide, y0), (x0 + n * wide, y0 + len(wt) * high)], "faint", 1)
    sheet.text((x0 - 20, 416), "a column: a stamp", size=17, color="muted")


def _draw_counts(sheet: Picture, k: int, s: int, p: int) -> None:
    counts = stamps_per_pixel(k, s, p)
    sheet.text((812, 30), "6 × 6 ones", size=20, bold=True)
    x0, y1, n, even = _COUNTS[0], _COUNTS[3], len(counts), k % s == 0
    if n:
        most = max(int(counts.max()) ** 2, 1)
        sheet.image(_COUNTS, np.outer(counts, counts), low=0, high=most, map="heat")
    sheet.rect(_COUNTS, outline="muted", width=1)
    word, color = ("even", "green") if even else ("uneven", "vermilion")
    sheet.text((x0, y1 + 24), "stamps on a", size=17, color="muted")
    sheet.text((x0, y1 + 46), "pixel inside:", size=17, color="muted")
    sheet.text((x0, y1 + 74), word, size=22, bold=True, color=color)
    sheet.text((x0, y1 + 100), f"{k} = {k // s}·{s}" + (f" + {k % s}" if k % s else ""), size=18)
    sheet.text((30, 462), "Stamps on six ones:", size=18, bold=True)
    cell = min(34.0, 670 / max(n, 1))
    for i, c in enumerate(counts):
        at = (262 + i * cell, 446, 262 + (i + 1) * cell, 478)
        sheet.rect(at, fill="orange", alpha=0.2 * float(c), outline="faint", width=1)
        sheet.text(((at[0] + at[2]) / 2, 462), c, size=18, anchor="mm")


def _form(value: float) -> str:
    """At most four characters: 12, 2.25, .06."""
    value = round(float(value), 2)
    return f"{value:.0f}" if value.is_integer() else f"{value:.2f}".strip("0")


def _numbers(sheet: Picture, box: Any, values: NDArray[Any], *, halo: bool = False) -> None:
    cell = (box[2] - box[0]) / len(values)
    size = 24 if cell > 60 else 20 if cell > 50 else 16
    for (i, j), value in np.ndenumerate(values):
        place = (box[0] + (j + 0.5) * cell, box[1] + (i + 0.5) * cell)
        sheet.text(place, _form(value), size=size, anchor="mm", halo=halo)


DEMO = Demo(
    name="transposed_convolution",
    title="Transposed convolution as stamping",
    lab=6,
    idea="Paint the input and stamp it pixel by pixel. Then change stride and kernel size: watch "
    "the gaps, the sums and the pattern of a constant image.",
    predict=(
        "A kernel of 3 × 3 ones, stride 2, on an image of ones. Is the result constant?",
        "No. Along a row the pixels get 1, 1, 2, 1, 2, 1, ... stamps, because 2 does not divide 3. "
        "In two dimensions that is a checkerboard of 1, 2 and 4. With 4 × 4 it is even inside.",
    ),
    controls=(
        Paint("input", "Input", ((1, 2), (3, 4)), INPUT, levels=5),
        Slider("stamps", "Inputs stamped", 4, 0, 4),
        Choice("values", "Kernel", KERNELS[0], KERNELS),
        Slider("kernel", "Kernel size k", 3, 1, 5),
        Slider("stride", "Stride s", 1, 1, 3),
        Slider("padding", "Padding p", 0, 0, 2),
    ),
    draw=draw,
    stills=(
        Still("One input stamps the kernel", {"stamps": 1}),
        Still("The next stamp overlaps and adds", {"stamps": 2}),
        Still("All four: 2 × 2 has become 4 × 4", {}),
        Still("Stride 3: no overlap", {"stride": 3}),
        Still("Ones, 3 × 3, stride 2: a checkerboard", {"values": "ones", "stride": 2}),
        Still(
            "4 × 4, stride 2, padding 1: even, twice the size",
            {"values": "bilinear", "kernel": 4, "stride": 2, "padding": 1},
        ),
    ),
    source="Dumoulin and Visin 2016, §4; Odena et al. 2016; module course.upsampling.transposed",
)
