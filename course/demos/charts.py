"""Curves and bars on a demo's sheet, without matplotlib: a frame must take a few milliseconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from course.demos.picture import Box, Picture

__all__ = ["Axes", "bars"]


@dataclass(frozen=True)
class Axes:
    """A coordinate system in a box of the picture.

    Attributes:
        sheet: what to draw on.
        box: (x0, y0, x1, y1) in pixels, without the numbers and names around it: leave about 60
            pixels on the left and 50 below.
        x, y: (low, high) of both axes.
        labels: names of the axes, with units.

    Example:
        >>> axes = Axes(Picture(400, 300), (60, 20, 380, 250), (0, 10), (0, 1), ("step", "IoU"))
        >>> axes.place(5, 0.5)
        (220.0, 135.0)
    """

    sheet: Picture
    box: Box
    x: tuple[float, float]
    y: tuple[float, float]
    labels: tuple[str, str] = ("", "")

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of the point (x, y)."""
        x0, y0, x1, y1 = self.box
        across = (x - self.x[0]) / ((self.x[1] - self.x[0]) or 1)
        up = (y - self.y[0]) / ((self.y[1] - self.y[0]) or 1)
        return (float(x0 + across * (x1 - x0)), float(y1 - up * (y1 - y0)))

    def draw(self, ticks: tuple[int, int] = (4, 4), *, form: str = "{:g}", size: int = 15) -> None:
        """Grid, numbers and names of the axes; `ticks` intervals on each."""
        x0, y0, x1, y1 = self.box
        for value in np.linspace(*self.y, ticks[1] + 1):
            y = self.place(self.x[0], value)[1]
            self.sheet.line([(x0, y), (x1, y)], "faint", 1)
            label = form.format(round(float(value), 3))
            self.sheet.text((x0 - 8, y), label, size=size, color="muted", anchor="rm")
        for value in np.linspace(*self.x, ticks[0] + 1):
            x = self.place(value, self.y[0])[0]
            label = form.format(round(float(value), 3))
            self.sheet.text((x, y1 + 8), label, size=size, color="muted", anchor="ma")
        self.sheet.line([(x0, y1), (x1, y1)], "muted", 1.5)
        middle = ((x0 + x1) / 2, y1 + 12 + size)
        self.sheet.text(middle, self.labels[0], size=size, color="muted", anchor="ma")
        self.sheet.text((x0, y0 - 8), self.labels[1], size=size, color="muted", anchor="ld")

    def curve(self, xs: ArrayLike, ys: ArrayLike, color: str = "blue", **style: Any) -> None:
        """A line through points, with the style of `Picture.line`."""
        points = [self.place(x, y) for x, y in zip(np.asarray(xs), np.asarray(ys))]
        if len(points) > 1:
            self.sheet.line(points, color, **{"width": 3, **style})

    def dot(self, x: float, y: float, color: str = "vermilion", radius: float = 6) -> None:
        """A point with a rim in the colour of the ground."""
        self.sheet.circle(self.place(x, y), radius + 2, fill="paper")
        self.sheet.circle(self.place(x, y), radius, fill=color)


def bars(
    sheet: Picture,
    box: Box,
    names: Sequence[str],
    values: Sequence[float],
    *,
    high: float = 1.0,
    colors: Sequence[str] = ("blue",),
    form: str = "{:.2f}",
    size: int = 17,
    name_width: float = 120,
) -> None:
    """Horizontal bars that fill `box`, each with its name before and its number behind it.

    Args:
        sheet: what to draw on.
        box: (x0, y0, x1, y1) of all bars with names and numbers.
        names, values: one each per bar; values from 0.
        high: the value of a full bar.
        colors: used in turn.
        form: of the numbers.
        size: of the letters.
        name_width: pixels that are kept for the names.
    """
    x0, y0, x1, y1 = (float(v) for v in box)
    slot = (y1 - y0) / max(len(values), 1)
    left, right = x0 + name_width, x1 - 70
    for i, (name, value) in enumerate(zip(names, values)):
        middle = y0 + (i + 0.5) * slot
        top, bottom = middle - min(slot * 0.34, 16), middle + min(slot * 0.34, 16)
        end = left + (right - left) * min(max(value / (high or 1), 0), 1)
        sheet.text((left - 10, middle), name, size=size, anchor="rm")
        sheet.rect((left, top, right, bottom), fill="panel")
        sheet.rect((left, top, max(end, left + 2), bottom), fill=colors[i % len(colors)])
        sheet.text((right + 8, middle), form.format(value), size=size, anchor="lm", bold=True)
