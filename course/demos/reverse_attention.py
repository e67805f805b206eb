"""Reverse attention: subtract what a pixel is not, but only where the first answer is unsure.

Along a row of pixels a cat stands before a dog. Branch O answers "what is it?", branch R "what is
it not?"; a mask without weights says where R may speak:

    Y = O - A R,   A = sigmoid(-O)   or   A = sigmoid(1 / (relu(O) + 0.125) - 4).

Both branches are drawn by hand, each with one fault: where the animals blend, O leans the wrong
way; in the middle of the dog, R does. Subtracting R everywhere (A = 1) mends the first and spoils
the second; the mask keeps R out where O is sure, right or wrong.
Source: Huang et al., Semantic Segmentation with Reverse Attention, BMVC 2017, arXiv:1707.06426, §3.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course.demos.charts import Axes
from course.demos.controls import Choice, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

Array = NDArray[np.float64]
PIXELS, BORDER = 40, 20  # the dog begins at pixel 20
BLEND, SLIP = slice(13, 20), slice(28, 33)  # where O errs, and where R errs
CLASSES, COLORS, DASHES = ("cat", "dog"), ("blue", "orange"), (0, 8)
SIMPLE, NORMALISED, NONE = MASKS = ("σ(−O)", "normalised", "none: A = 1")
_LEFT, _RIGHT, _CELL = 76, 76 + 13 * PIXELS, 13
_TABLE = (632, 770, 890)


def mask(original: ArrayLike, kind: str) -> Array:
    """A of the paper, between 0 and 1, for logits of any shape.

    >>> mask([-3.0, 0.0, 0.125, 1.0], "normalised").round(4).tolist()
    [0.982, 0.982, 0.5, 0.0427]
    >>> mask([0.0, 1.0], "σ(−O)").round(4).tolist()
    [0.5, 0.2689]
    """
    o = np.asarray(original, float)
    if kind == NONE:
        return np.ones_like(o)
    x = -o if kind == SIMPLE else 1 / (np.maximum(o, 0) + 0.125) - 4
    return 1 / (1 + np.exp(-x))


def combine(original: ArrayLike, reverse: ArrayLike, kind: str) -> Array:
    """Y = O - A R, element by element.

    >>> combine([1.0, 1.2], [-2.0, 2.0], "σ(−O)").round(4).tolist()  # the dog led, the cat wins
    [1.5379, 0.737]
    """
    return np.asarray(original, float) - mask(original, kind) * np.asarray(reverse, float)


class Branches(NamedTuple):
    """What both branches answer along the row: logits (2, 40), rows cat and dog."""

    original: Array
    reverse: Array


def branches(confidence: float, strength: float) -> Branches:
    """The drawn example: O is `confidence` where the animals blend, R responds by ± `strength`.

    >>> o, r = branches(1.0, 2.0)
    >>> o[:, 16].tolist(), r[:, 16].tolist()
    ([1.0, 1.2], [-2.0, 2.0])
    """
    at = np.arange(PIXELS)
    cat = at < BORDER
    original = np.where([cat, ~cat], 4.0, -2.0)
    original[:, BLEND] = [[confidence], [confidence + 0.2]]
    reverse = np.where([cat, ~cat], -strength, strength) + 0.0
    reverse[:, SLIP] *= -2
    return Branches(original, reverse)


def labels(logits: Array) -> NDArray[np.int64]:
    """The larger of two logits: (2, N) to (N,)."""
    return np.argmax(logits, 0)


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """Logits, subtracted part and result along the row, the labels, and one pixel in numbers."""
    o, r = branches(state["confidence"], state["strength"])
    kind, x = state["mask"], state["pixel"]
    a, y = mask(o, kind), combine(o, r, kind)
    truth = (np.arange(PIXELS) >= BORDER).astype(int)
    before, after = (int((labels(v) != truth).sum()) for v in (o, y))
    _draw_curves(sheet, x, o, a, r, y)
    for name, value, top in (("truth", truth, 448), ("O", labels(o), 477), ("Y", labels(y), 506)):
        _draw_strip(sheet, name, value, value != truth, top)
    mark = _LEFT + (x + 0.5) * _CELL
    sheet.polygon([(mark, 446), (mark - 7, 436), (mark + 7, 436)], fill="ink")
    _draw_table(sheet, x, o, r, a, y, truth)
    sheet.text((632, 466), "wrong pixels of 40", size=18, color="muted")
    sheet.text((632, 504), f"O {before}", size=26, bold=True)
    sheet.text((760, 504), f"Y {after}", size=26, bold=True)
    names = [CLASSES[int(labels(v)[x])] for v in (o, y)]
    return (
        f"Wrong pixels: {before} of 40 before, {after} after. Pixel {x}, a {CLASSES[truth[x]]}: "
        f"O = ({o[0, x]:.2f}, {o[1, x]:.2f}) says {names[0]}, "
        f"Y = ({y[0, x]:.2f}, {y[1, x]:.2f}) says {names[1]}."
    )


def _draw_curves(sheet: Picture, x: int, o: Array, a: Array, r: Array, y: Array) -> None:
    parts = (
        ("O: what is it?", o, (-8.0, 8.0)),
        ("A: where R may speak", a, (0.0, 1.0)),
        ("A R: what is taken away", a * r, (-8.0, 8.0)),
        ("Y = O − A R", y, (-8.0, 8.0)),
    )
    column = _LEFT + (x + 0.5) * _CELL
    for i, (name, values, reach) in enumerate(parts):
        top = 72 + 93 * i
        axes = Axes(sheet, (_LEFT, top, _RIGHT, top + 62), (0, PIXELS), reach)
        sheet.rect(axes.box, fill="panel")
        sheet.text((_LEFT, top - 14), name, size=17, bold=True)
        for value in (reach[0], sum(reach) / 2, reach[1]):
            level = axes.place(0, value)[1]
            sheet.line([(_LEFT, level), (_RIGHT, level)], "faint", 1)
            sheet.text((_LEFT - 8, level), f"{value:g}", size=15, color="muted", anchor="rm")
        for row, color, dash in zip(values, COLORS, DASHES):
            axes.curve(
                np.arange(2 * PIXELS + 1) / 2,
                np.interp(np.arange(2 * PIXELS + 1) / 2, np.arange(PIXELS) + 0.5, row),
                color,
                dash=dash,
            )
        sheet.line([(column, top), (column, top + 62)], "ink", 1.5, dash=4)
    sheet.text((_LEFT, 28), "cat ━", size=18, bold=True, color=COLORS[0])
    sheet.text((_LEFT + 76, 28), "dog ╍", size=18, bold=True, color=COLORS[1])


def _draw_strip(
    sheet: Picture, name: str, value: NDArray[np.int64], wrong: NDArray[np.bool_], top: int
) -> None:
    sheet.text((_LEFT - 8, top + 11), name, size=17, anchor="rm")
    changes = np.flatnonzero(np.diff(2 * value + wrong)) + 1
    edges = [0, *changes.tolist(), PIXELS]
    for start, end in pairwise(edges):
        k = int(value[start])
        box = (_LEFT + start * _CELL, top, _LEFT + end * _CELL, top + 22)
        bad = bool(wrong[start])
        sheet.rect(box, fill=COLORS[k], alpha=0.35, outline=COLORS[k], hatch="x" * bad)
        if end - start > 3:
            middle = ((box[0] + box[2]) / 2, top + 11)
            sheet.text(middle, CLASSES[k] + " ✗" * bad, size=16, anchor="mm", halo=bad)


def _draw_table(
    sheet: Picture, x: int, o: Array, r: Array, a: Array, y: Array, truth: NDArray[np.int64]
) -> None:
    left, *columns = _TABLE
    sheet.text((left, 28), f"Pixel {x}: a {CLASSES[truth[x]]}", size=20, bold=True)
    for at, name, color in zip(columns, CLASSES, COLORS):
        sheet.text((at, 76), name, size=20, bold=True, color=color, anchor="rm")
    rows = (("O", o), ("R", r), ("A", a), ("A R", a * r), ("Y", y))
    for i, (name, values) in enumerate(rows):
        level = 124 + 46 * i + 14 * (i == 4)
        if i == 4:
            sheet.line([(left, level - 28), (columns[1], level - 28)], "muted", 2)
        sheet.text((left, level), name, size=20, bold=name in ("O", "Y"))
        best = int(np.argmax(values[:, x])) if name in ("O", "Y") else -1
        for k, at in enumerate(columns):
            number = f"{values[k, x] + 0.0:.2f}"
            sheet.text((at, level), number, size=20, anchor="rm", bold=k == best)
            if k == best:
                sheet.rect((at - 76, level - 18, at + 10, level + 18), outline=COLORS[k], width=3)
    for name, values, level in (("O", o, 374), ("Y", y, 404)):
        k = int(labels(values)[x])
        verdict = "✓" if k == truth[x] else "✗"
        sheet.text((left, level), f"{name} says {CLASSES[k]} {verdict}", size=20)


DEMO = Demo(
    name="reverse_attention",
    title="Reverse attention: what a pixel is not",
    lab=13,
    idea="Choose a pixel. R is subtracted from O through the mask A, which opens where O responds "
    "weakly. Compare the masks, and make O more confident where it is wrong.",
    predict=(
        "O is wrong where the animals blend. What happens there when O grows more confident?",
        "The mask closes. From some response on, R cannot change the answer any more: reverse "
        "attention mends doubt, not confident mistakes.",
    ),
    controls=(
        Choice("mask", "Mask A", SIMPLE, MASKS),
        Slider("confidence", "Response of O where they blend", 1.0, -1.0, 5.0, 0.25),
        Slider("strength", "Response of R", 2.0, 0.0, 3.0, 0.25),
        Slider("pixel", "Pixel", 16, 0, PIXELS - 1),
    ),
    draw=draw,
    size=(960, 540),
    stills=(
        Still("Without the reverse branch", {"strength": 0.0}),
        Still("R mends what O was unsure of", {}),
        Still("Subtracted everywhere, R spoils more", {"mask": NONE, "pixel": 30}),
        Still("The mask keeps R out where O is sure", {"pixel": 30}),
        Still("A confident mistake stays", {"confidence": 4.0}),
        Still("The normalised mask closes earlier", {"mask": NORMALISED}),
    ),
    source="Huang et al. 2017, §3, arXiv:1707.06426; module course.models.reverse_attention",
)
