"""Pyramid pooling: what lies around a blob, averaged in bins, says whether it is a boat or a car.

Fog hides the ground near the object, so its own features say nothing. Each level of the pyramid
averages the whole map in b × b adaptive bins and is spread back bilinearly; read at the object it
is evidence for water (+) or road (-). The answer here is the sign of the mean over the levels that
are on, with equal weights: a trained network learns its weights, and the pooling is the same,

    bin i of b covers the positions floor(i n / b) ... ceil((i + 1) n / b) - 1 of n.

Source: Zhao et al., Pyramid Scene Parsing Network, CVPR 2017, arXiv:1612.01105, §3.1-3.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.demos.controls import Area, Boxes, Choice, Slider, Toggle
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

Array = NDArray[np.float64]
AREA = Area(left=24, top=56, width=36, height=24, scale=12)
LEVELS = (1, 2, 3, 6)
DOUBT = 0.05  # evidence below it names nothing
SCENES = ("shore", "lake", "sea and pier")
_PANELS = {1: (500, 56), 2: (732, 56), 3: (500, 246), 6: (732, 246)}
_PANEL = (204, 136)


def bin_edges(n: int, bins: int) -> list[tuple[int, int]]:
    """Start and end (exclusive) of the adaptive bins along an axis of `n` positions.

    >>> bin_edges(7, 3)  # where 3 does not divide 7, neighbours share a position
    [(0, 3), (2, 5), (4, 7)]
    """
    return [(i * n // bins, -(-(i + 1) * n // bins)) for i in range(bins)]


def pool(values: Array, bins: int) -> Array:
    """Averages of an (H, W) map in `bins` × `bins` adaptive bins.

    >>> pool(np.arange(12.0).reshape(2, 6), 2).tolist()
    [[1.0, 4.0], [7.0, 10.0]]
    """
    rows, columns = (bin_edges(n, bins) for n in values.shape)
    return np.array([[values[a:b, c:d].mean() for c, d in columns] for a, b in rows])


def spread(level: Array, shape: Sequence[int]) -> Array:
    """A level brought back to the (H, W) of the map, bilinear, corner on corner as in PSPNet.

    >>> spread(np.array([[0.0, 1.0]]), (1, 3)).tolist()
    [[0.0, 0.5, 1.0]]
    """
    down, across = (_taps(n, size) for n, size in zip(level.shape, shape))
    return down @ level @ across.T


def _taps(n: int, size: int) -> Array:
    """Weights (size, n) of linear interpolation with the ends kept in place."""
    at = np.linspace(0, n - 1, size)[:, None]
    return np.clip(1 - np.abs(at - np.arange(n)), 0, 1)


@lru_cache
def water(scene: str) -> NDArray[np.bool_]:
    """Where the ground of a scene is water: (24, 36); the rest is road."""
    y, x = np.mgrid[0 : AREA.height, 0 : AREA.width] + 0.5
    if scene == "shore":
        return x + 0.5 * (y - 12) < 18
    if scene == "lake":
        return ((x - 11) / 9.5) ** 2 + ((y - 13.5) / 8.5) ** 2 < 1
    return ~((x > 23) & (y < 9))


def features(scene: str, box: Sequence[float], fog: int) -> Array:
    """What the network gets: +1 on water, -1 on road, 0 in the fog around the object: (24, 36)."""
    x0, y0, x1, y1 = box
    y, x = np.mgrid[0 : AREA.height, 0 : AREA.width] + 0.5
    away = np.hypot(
        np.maximum(np.maximum(x0 - x, x - x1), 0), np.maximum(np.maximum(y0 - y, y - y1), 0)
    )
    hidden = (away < fog) | (away == 0)
    return np.where(hidden, 0.0, np.where(water(scene), 1.0, -1.0))


def readings(values: Array, box: Sequence[float]) -> dict[int, float]:
    """Evidence of every level at the object: the spread level's mean over the cells of `box`."""
    x0, y0, x1, y1 = (int(v) for v in box)
    levels = {b: spread(pool(values, b), values.shape) for b in LEVELS}
    return {b: float(level[y0:y1, x0:x1].mean()) for b, level in levels.items()}


def name_of(evidence: float) -> str:
    """The answer for a mean evidence.

    >>> [name_of(v) for v in (0.4, -0.4, 0.0)]
    ['boat', 'car', '?']
    """
    return "?" if abs(evidence) < DOUBT else "boat" if evidence > 0 else "car"


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The scene in fog, the four pooled maps, and what each of them says about the object."""
    box, scene = state["object"][0], state["scene"]
    values = features(scene, box, state["fog"])
    found = readings(values, box)
    active = [b for b in LEVELS if state[f"bin{b}"]]
    evidence = float(np.mean([found[b] for b in active])) if active else 0.0
    x0, y0, x1, y1 = (int(v) for v in box)
    truth = "boat" if water(scene)[y0:y1, x0:x1].mean() >= 0.5 else "car"
    answer = name_of(evidence)
    _draw_scene(sheet, scene, box, values, truth)
    for b in LEVELS:
        _draw_level(sheet, b, pool(values, b), box, b in active)
    _draw_votes(sheet, found, active, evidence)
    good = answer == truth
    color = {"boat": "blue", "car": "vermilion", "?": "ink"}[answer]
    sheet.text((500, 418), "answer", size=18, color="muted")
    sheet.text((500, 452), answer, size=34, bold=True, color=color)
    word = "right" if good else "cannot tell" if answer == "?" else "wrong"
    mark = {"right": "✓ right", "wrong": "✗ wrong"}.get(word, word)
    sheet.text((636, 452), f"{mark}: it is a {truth}", size=22, bold=not good)
    told = ", ".join(f"{b}×{b} {found[b]:+.2f}" for b in active)
    if not active:
        return f"0 levels: the network sees the object and fog and cannot tell. It is a {truth}."
    return f"Evidence at the object: {told}; mean {evidence:+.2f}. Answer {answer}, {word}." + (
        f" It is a {truth}." if not good else ""
    )


def _draw_scene(
    sheet: Picture, scene: str, box: Sequence[float], values: Array, truth: str
) -> None:
    sheet.text((24, 28), "Scene: waves are water, dots are road", size=20, bold=True)
    sheet.rect(AREA.box, fill="panel")
    sheet.overlay(AREA.box, values > 0, "blue", alpha=0.34)
    sheet.overlay(AREA.box, values < 0, "vermilion", alpha=0.34)
    blocks = values.reshape(len(values) // 2, 2, -1, 2)
    whole = np.where(np.ptp(blocks, axis=(1, 3)) == 0, blocks[:, 0, :, 0], 0)
    for (y, x), value in np.ndenumerate(whole):
        cx, cy = AREA.place(2 * x + 1, 2 * y + 1)
        if value > 0:
            wave = [(cx - 8, cy + 2), (cx - 4, cy - 2), (cx, cy + 2), (cx + 4, cy - 2)]
            sheet.line([*wave, (cx + 8, cy + 2)], "blue", 1.5)
        elif value < 0:
            sheet.circle((cx, cy), 2, fill="vermilion")
    sheet.rect(AREA.box, outline="muted", width=2)
    left, top, right, bottom = AREA.place_box(box)
    hull = [(0.0, 0.5), (0.22, 0.42), (0.34, 0.06), (0.66, 0.06), (0.78, 0.42), (1.0, 0.5)]
    hull += [(0.86, 0.94), (0.14, 0.94)]
    corners = [(left + u * (right - left), top + v * (bottom - top)) for u, v in hull]
    sheet.polygon(corners, fill="muted", outline="ink", width=2)
    sheet.text(((left + right) / 2, top + 32), truth, size=18, color="paper", anchor="mm")


def _draw_level(sheet: Picture, b: int, level: Array, box: Sequence[float], on: bool) -> None:
    x, y = _PANELS[b]
    place = (x, y, x + _PANEL[0], y + _PANEL[1])
    heading = f"{b} × {b} bin" + "s" * (b > 1) + ("" if on else ": off")
    sheet.text((x, y - 18), heading, size=18, bold=on, color="ink" if on else "muted")
    sheet.rect(place, fill="panel")
    if on:
        sheet.overlay(place, np.maximum(level, 0), "blue", alpha=0.7)
        sheet.overlay(place, np.maximum(-level, 0), "vermilion", alpha=0.7)
    sheet.grid(place, b, b, "muted" if on else "faint", 1)
    share = _PANEL[0] / AREA.width
    spot = [p + v * share for p, v in zip((x, y, x, y), box)]
    sheet.rect(spot, outline="ink" if on else "muted", width=3)
    width, height = _PANEL[0] / b, _PANEL[1] / b
    for (row, column), value in np.ndenumerate(level if on else np.zeros((0, 0))):
        middle = (x + (column + 0.5) * width, y + (row + 0.5) * height)
        short = "0" if abs(value) < DOUBT else "+" if value > 0 else "−"
        text = f"{value:+.2f}" if b < 6 else short
        sheet.text(middle, text, size=17, anchor="mm", halo=b < 6)


def _draw_votes(
    sheet: Picture, found: dict[int, float], active: list[int], evidence: float
) -> None:
    middle, reach = 262, 124
    rows = [(f"{b} × {b}", found[b] if b in active else None) for b in LEVELS]
    for i, (name, value) in enumerate([*rows, ("mean", evidence if active else None)]):
        y = 376 + 22 * i
        last = i == len(rows)
        sheet.text((112, y), name, size=17, anchor="rm", bold=last)
        sheet.rect((middle - reach, y - 8, middle + reach, y + 8), fill="panel")
        if value is None:
            sheet.text((456, y), "off", size=17, color="muted", anchor="rm")
            continue
        end = middle + reach * value
        side = (min(end, middle - 1), y - 8, max(end, middle + 1), y + 8)  # zero shows as a line
        hatch = "-" if value > 0 else ""
        color = "blue" if value > 0 else "vermilion"
        sheet.rect(side, fill=color, hatch=hatch)
        sheet.text((456, y), f"{value:+.2f}", size=17, anchor="rm", bold=last)
    sheet.line([(middle, 362), (middle, 476)], "muted", 2)


def _boat(x: int, y: int) -> tuple[tuple[float, ...], ...]:
    return ((x, y, x + 6, y + 4),)


DEMO = Demo(
    name="pyramid_pooling",
    title="Pyramid pooling: boat or car?",
    lab=11,
    idea="Drag the object between water and road and switch levels. Its own features are fog; only "
    "averages over wider bins can name it. This classifier weighs the levels equally.",
    predict=(
        "Half the scene is water, half is road. Can the 1 × 1 bin alone tell a boat from a car?",
        "No. It says what the scene is, not where the object lies; it even leans to the wrong "
        "side, since fog hides the ground near the object. Finer bins can, until fog fills them.",
    ),
    controls=(
        Boxes("object", "Object", _boat(25, 8), AREA, ("Object",), movable_only=True),
        Choice("scene", "Scene", "shore", SCENES),
        Slider("fog", "Fog around the object", 2, 0, 6, unit="cells"),
        *(Toggle(f"bin{b}", f"{b} × {b} bin" + "s" * (b > 1), True) for b in LEVELS),
    ),
    draw=draw,
    stills=(
        Still("No pyramid: only fog", {f"bin{b}": False for b in LEVELS}),
        Still(
            "The global bin names the scene",
            {
                "scene": "sea and pier",
                "object": _boat(8, 12),
                **{f"bin{b}": False for b in LEVELS[1:]},
            },
        ),
        Still(
            "The global bin does not know where",
            {"scene": "lake", "object": _boat(8, 11), **{f"bin{b}": False for b in LEVELS[1:]}},
        ),
        Still(
            "Finer bins do",
            {"scene": "lake", "object": _boat(8, 11), "bin1": False, "bin2": False},
        ),
        Still("On the shore the same blob is a car", {}),
        Still("and a boat", {"object": _boat(6, 8)}),
    ),
    source="Zhao et al. 2017, §3.1-3.2, arXiv:1612.01105; module course.models.pspnet",
)
