"""An empty sheet to draw a demo on: shapes, text, arrays as pixels; light or dark.

Coordinates are pixels of the finished picture, floats allowed, (0, 0) at the top left. Everything
is drawn at twice the size and halved at the end, which smooths every edge. Colours go by name, so
that one drawing function serves light and dark ground; they are those of `course.plots`, the
palette of Okabe and Ito (2008), lightened where the ground is dark. Colour never stands alone:
areas are hatched or outlined, and numbers stand beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Picture"]

Box = Sequence[float]

_LIGHT = {
    "paper": (255, 255, 255),
    "panel": (243, 245, 247),
    "faint": (205, 211, 217),
    "muted": (84, 94, 105),
    "ink": (24, 28, 33),
    "blue": (0, 114, 178),
    "orange": (216, 138, 0),
    "green": (0, 135, 98),
    "pink": (186, 90, 148),
    "sky": (64, 160, 214),
    "vermilion": (213, 94, 0),
    "yellow": (240, 228, 66),
    "wine": (136, 34, 85),
}
_DARK = {
    "paper": (24, 27, 31),
    "panel": (38, 43, 49),
    "faint": (72, 80, 89),
    "muted": (168, 178, 189),
    "ink": (240, 243, 246),
    "blue": (86, 170, 230),
    "orange": (245, 179, 66),
    "green": (60, 196, 150),
    "pink": (226, 148, 196),
    "sky": (126, 205, 245),
    "vermilion": (255, 132, 61),
    "yellow": (240, 228, 66),
    "wine": (232, 120, 170),
}
_SCALE = 2

# Anchors of the colour maps; in between, colours are mixed. "heat" grows lighter, "blues" darker
# from white; "signed" goes from vermilion over white to blue.
_MAPS = {
    "gray": ((0, 0, 0), (255, 255, 255)),
    "heat": ((14, 30, 66), (38, 80, 120), (92, 120, 122), (160, 158, 100), (232, 206, 72)),
    "blues": ((247, 251, 255), (158, 202, 225), (49, 130, 189), (8, 48, 107)),
    "signed": ((178, 70, 0), (244, 170, 110), (250, 250, 250), (120, 180, 222), (0, 84, 140)),
}


class Picture:
    """A sheet of `width` × `height` pixels.

    Args:
        width, height: size in pixels.
        dark: light drawing on dark ground.

    Example:
        >>> sheet = Picture(60, 40)
        >>> sheet.rect((10, 10, 50, 30), fill="blue")
        >>> sheet.pixels().shape, sheet.pixels()[20, 30].tolist()
        ((40, 60, 3), [0, 114, 178])
    """

    def __init__(self, width: int, height: int, *, dark: bool = False) -> None:
        self.width, self.height, self.dark = width, height, dark
        self._colors = _DARK if dark else _LIGHT
        size = (width * _SCALE, height * _SCALE)
        self._sheet = Image.new("RGB", size, self._colors["paper"])
        self._pen = ImageDraw.Draw(self._sheet, "RGBA")

    def pixels(self) -> NDArray[np.uint8]:
        """The picture so far: (height, width, 3) uint8."""
        return np.asarray(self._sheet.reduce(_SCALE))

    def color(self, name: str | Sequence[int], alpha: float = 1.0) -> tuple[int, ...]:
        """(R, G, B, A) of a colour by name; three numbers from 0 to 255 pass as they are.

        Raises:
            ValueError: no colour has this name.
        """
        if isinstance(name, str):
            if name not in self._colors:
                raise ValueError(f"no colour {name!r}; there are {', '.join(self._colors)}")
            name = self._colors[name]
        return (*(int(v) for v in name), round(255 * alpha))

    # -- shapes ------------------------------------------------------------------------------------

    def line(
        self,
        points: Sequence[Sequence[float]] | NDArray[Any],
        color: str | Sequence[int] = "ink",
        width: float = 2,
        *,
        dash: float = 0,
        alpha: float = 1.0,
    ) -> None:
        """A line through (x, y) points, dashed every `dash` pixels."""
        path = [(float(x), float(y)) for x, y in points]
        pieces = _dashes(path, dash) if dash else [path]
        for piece in pieces:
            scaled = [(x * _SCALE, y * _SCALE) for x, y in piece]
            pen = max(1, round(width * _SCALE))
            self._pen.line(scaled, self.color(color, alpha), pen, joint="curve")

    def arrow(
        self,
        start: Sequence[float],
        end: Sequence[float],
        color: str | Sequence[int] = "ink",
        width: float = 2,
        *,
        head: float = 10,
        dash: float = 0,
    ) -> None:
        """A line from `start` to `end` with a head of `head` pixels."""
        a, b = np.asarray(start, float), np.asarray(end, float)
        length = float(np.hypot(*(b - a)))
        if length < 1e-6:
            return
        along = (b - a) / length
        across = np.array([-along[1], along[0]])
        neck = b - along * min(head, length)
        self.line([a.tolist(), neck.tolist()], color, width, dash=dash)
        wings = np.stack([b, neck + across * head * 0.45, neck - across * head * 0.45])
        self.polygon(wings, fill=color)

    def rect(
        self,
        box: Box,
        *,
        fill: str | Sequence[int] | None = None,
        outline: str | Sequence[int] | None = None,
        width: float = 2,
        alpha: float = 1.0,
        hatch: str = "",
        dash: float = 0,
        radius: float = 0,
    ) -> None:
        """A rectangle (x0, y0, x1, y1); `hatch` is "/", "\\", "-", "|" or "x".

        `alpha` is that of the filling; the hatch takes the outline's colour.
        """
        x0, y0, x1, y1 = (float(v) * _SCALE for v in box)
        if x1 <= x0 or y1 <= y0:
            return
        corners = (x0, y0, max(x1 - 1, x0), max(y1 - 1, y0))
        if fill is not None:
            paint = self.color(fill, alpha)
            self._pen.rounded_rectangle(corners, radius * _SCALE, fill=paint)
        if hatch:
            self._hatch((x0, y0, x1, y1), hatch, self.color(outline or "ink", 0.65))
        if outline is not None and dash:
            a, b, c, d = (float(v) for v in box)
            self.line([(a, b), (c, b), (c, d), (a, d), (a, b)], outline, width, dash=dash)
        elif outline is not None:
            pen = max(1, round(width * _SCALE))
            ink = self.color(outline)
            self._pen.rounded_rectangle(corners, radius * _SCALE, outline=ink, width=pen)

    def circle(
        self,
        center: Sequence[float],
        radius: float,
        *,
        fill: str | Sequence[int] | None = None,
        outline: str | Sequence[int] | None = None,
        width: float = 2,
        alpha: float = 1.0,
    ) -> None:
        """A circle around (x, y)."""
        x, y = float(center[0]) * _SCALE, float(center[1]) * _SCALE
        r = radius * _SCALE
        self._pen.ellipse(
            (x - r, y - r, x + r, y + r),
            fill=None if fill is None else self.color(fill, alpha),
            outline=None if outline is None else self.color(outline),
            width=max(1, round(width * _SCALE)),
        )

    def polygon(
        self,
        points: Sequence[Sequence[float]] | NDArray[Any],
        *,
        fill: str | Sequence[int] | None = None,
        outline: str | Sequence[int] | None = None,
        width: float = 2,
        alpha: float = 1.0,
    ) -> None:
        """A closed shape through (x, y) points."""
        path = [(float(x), float(y)) for x, y in points]
        scaled = [(x * _SCALE, y * _SCALE) for x, y in path]
        if fill is not None:
            self._pen.polygon(scaled, fill=self.color(fill, alpha))
        if outline is not None:
            self.line([*path, path[0]], outline, width)

    # -- text --------------------------------------------------------------------------------------

    def text(
        self,
        place: Sequence[float],
        words: object,
        *,
        size: float = 18,
        color: str | Sequence[int] = "ink",
        anchor: str = "lm",
        bold: bool = False,
        mono: bool = False,
        halo: bool = False,
    ) -> None:
        """One line of text.

        Args:
            place: (x, y) of the anchor.
            words: what to write; `str` makes text of it.
            size: height of the letters in pixels; 16 and more is read from the back of a room.
            color: by name.
            anchor: as in Pillow: l, m or r for left, middle, right; then a, m, s or d for the top,
                the middle, the baseline or the bottom of the letters.
            bold, mono: kind of letters.
            halo: surrounds the letters with the ground's colour, for text on images.
        """
        x, y = float(place[0]) * _SCALE, float(place[1]) * _SCALE
        font = _font(round(size * _SCALE), bold, mono)
        edge: dict[str, Any] = {}
        if halo:
            edge = {"stroke_width": 3 * _SCALE // 2, "stroke_fill": self.color("paper")}
        self._pen.text((x, y), str(words), self.color(color), font, anchor=anchor, **edge)

    def text_width(self, words: object, *, size: float = 18, bold: bool = False) -> float:
        """Pixels that a line of text takes."""
        return _font(round(size * _SCALE), bold, False).getlength(str(words)) / _SCALE

    # -- arrays ------------------------------------------------------------------------------------

    def image(
        self, box: Box, values: ArrayLike, *, low: float = 0.0, high: float = 1.0, map: str = "gray"
    ) -> None:
        """An array as pixels that fill `box`, none smoothed.

        Args:
            box: (x0, y0, x1, y1).
            values: (h, w) numbers, or (h, w, 3) colours: floats in [0, 1] or uint8.
            low, high: numbers of the first and the last colour of the map.
            map: "gray", "heat", "blues" or "signed" (choose `low` = -`high`).
        """
        array = np.asarray(values)
        if array.ndim == 2:
            span = (high - low) or 1.0
            array = colors_of(np.clip((array.astype(float) - low) / span, 0, 1), map)
        elif array.dtype != np.uint8:
            array = np.clip(np.rint(array * 255.0), 0, 255).astype(np.uint8)
        x0, y0, x1, y1 = (round(float(v) * _SCALE) for v in box)
        tile = Image.fromarray(np.ascontiguousarray(array))
        size = (max(1, x1 - x0), max(1, y1 - y0))
        self._sheet.paste(tile.resize(size, Image.Resampling.NEAREST), (x0, y0))

    def overlay(
        self, box: Box, mask: ArrayLike, color: str | Sequence[int], *, alpha: float = 0.5
    ) -> None:
        """A colour over `box`, as strong as `mask` says: (h, w), booleans or floats in [0, 1]."""
        x0, y0, x1, y1 = (round(float(v) * _SCALE) for v in box)
        strength = np.clip(np.asarray(mask, float) * alpha * 255, 0, 255).astype(np.uint8)
        size = (max(1, x1 - x0), max(1, y1 - y0))
        stencil = Image.fromarray(strength).resize(size, Image.Resampling.NEAREST)
        self._sheet.paste(self.color(color)[:3], (x0, y0), stencil)

    def grid(
        self, box: Box, rows: int, columns: int, color: str = "faint", width: float = 1
    ) -> None:
        """Lines that divide `box` into cells, with its frame."""
        x0, y0, x1, y1 = (float(v) for v in box)
        for x in np.linspace(x0, x1, columns + 1):
            self.line([(x, y0), (x, y1)], color, width)
        for y in np.linspace(y0, y1, rows + 1):
            self.line([(x0, y), (x1, y)], color, width)

    def numbers(
        self,
        box: Box,
        values: ArrayLike,
        form: str = "{:g}",
        *,
        size: float = 18,
        color: str = "ink",
    ) -> None:
        """Each number of an (h, w) array in the middle of its cell of `box`."""
        array = np.asarray(values)
        x0, y0, x1, y1 = (float(v) for v in box)
        height, width = (y1 - y0) / array.shape[0], (x1 - x0) / array.shape[1]
        for (row, column), value in np.ndenumerate(array):
            place = (x0 + (column + 0.5) * width, y0 + (row + 0.5) * height)
            self.text(place, form.format(value), size=size, color=color, anchor="mm")

    def _hatch(self, box: Box, kind: str, ink: tuple[int, ...]) -> None:
        x0, y0, x1, y1 = (round(v) for v in box)
        gap, pen = 7 * _SCALE, _SCALE
        layer = Image.new("L", (x1 - x0, y1 - y0), 0)
        draw = ImageDraw.Draw(layer)
        width, height = layer.size
        for offset in range(-height, width + height, gap):
            if kind in "/x":
                draw.line((offset, height, offset + height, 0), fill=ink[3], width=pen)
            if kind in "\\x":
                draw.line((offset, 0, offset + height, height), fill=ink[3], width=pen)
            if kind == "|":
                draw.line((offset, 0, offset, height), fill=ink[3], width=pen)
            if kind == "-":
                draw.line((0, offset, width, offset), fill=ink[3], width=pen)
        self._sheet.paste(ink[:3], (x0, y0), layer)


def colors_of(values: NDArray[np.floating], map: str = "heat") -> NDArray[np.uint8]:
    """Colours of numbers in [0, 1]: (...,) to (..., 3) uint8.

    >>> colors_of(np.array([0.0, 1.0]), "gray").tolist()
    [[0, 0, 0], [255, 255, 255]]
    """
    return _table(map)[np.rint(values * 255).astype(int)]


@lru_cache
def _table(map: str) -> NDArray[np.uint8]:
    if map not in _MAPS:
        raise ValueError(f"no colour map {map!r}; there are {', '.join(_MAPS)}")
    anchors = np.array(_MAPS[map], float)
    at = np.linspace(0, 1, 256)
    places = np.linspace(0, 1, len(anchors))
    channels = [np.interp(at, places, anchors[:, channel]) for channel in range(3)]
    return np.rint(np.stack(channels, -1)).astype(np.uint8)


def _dashes(path: list[tuple[float, float]], dash: float) -> list[list[tuple[float, float]]]:
    """The pieces of a path that are drawn, by its length from the start: `dash` on, `dash` off."""
    corners = np.asarray(path)
    lengths = np.hypot(*np.diff(corners, axis=0).T)
    at = np.concatenate([[0.0], np.cumsum(lengths)])
    pieces = []
    for start in np.arange(0, at[-1], 2 * dash):
        end = min(start + dash, at[-1])
        marks = np.concatenate([[start], at[(at > start) & (at < end)], [end]])
        xs, ys = np.interp(marks, at, corners[:, 0]), np.interp(marks, at, corners[:, 1])
        pieces.append(list(zip(xs.tolist(), ys.tolist())))
    return pieces


@lru_cache(maxsize=64)
def _font(size: int, bold: bool, mono: bool) -> ImageFont.FreeTypeFont:
    """DejaVu from matplotlib's own files: Greek and Cyrillic, the same bytes on every machine."""
    spec = find_spec("matplotlib")
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "demos take their letters from matplotlib: pip install matplotlib"
        )
    folder = Path(spec.submodule_search_locations[0]) / "mpl-data" / "fonts" / "ttf"
    name = "DejaVuSans" + "Mono" * mono + "-Bold" * bold + ".ttf"
    return ImageFont.truetype(str(folder / name), size)
