"""Block diagrams for slides: boxes, operators and the arrows between them, drawn as demos are.

    plan = Blocks(1100, 300)
    image = plan.box((0, 100, 160, 200), "image")
    net = plan.box((260, 100, 460, 200), "ResNet", "stride 8", color="orange")
    plan.link(image, net)
    plan.show("An image goes into a ResNet of stride 8.")

Coordinates are pixels of the picture; letters are large enough for the last row of a room.
"""

from __future__ import annotations

import io
from typing import Any, NamedTuple

from PIL import Image

from course import plots
from course.demos.picture import Picture

__all__ = ["Block", "Blocks"]


class Block(NamedTuple):
    """The corners of something that arrows start or end at."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def middle(self) -> tuple[float, float]:
        return ((self.x0 + self.x1) / 2, (self.y0 + self.y1) / 2)


class Blocks:
    """An empty diagram of `width` × `height` pixels.

    Example:
        >>> plan = Blocks(500, 100)
        >>> a, b = plan.box((0, 20, 150, 80), "conv"), plan.sign((300, 50), "+")
        >>> plan.link(a, b)
        >>> plan.show("A convolution, then a sum.").alt
        'A convolution, then a sum.'
    """

    def __init__(self, width: int, height: int) -> None:
        self.sheet = Picture(width, height)

    def box(
        self,
        corners: tuple[float, float, float, float],
        *words: str,
        color: str = "blue",
        hatch: str = "",
        dash: float = 0,
        size: float = 20,
    ) -> Block:
        """A rectangle (x0, y0, x1, y1) with lines of words in it, the first of them bold."""
        look: dict[str, Any] = {"hatch": hatch} if hatch else {"radius": 0 if dash else 8}
        self.sheet.rect(
            corners, fill=color, alpha=0.16, outline=color, width=2.5, dash=dash, **look
        )
        block = Block(*corners)
        x, y = block.middle
        for i, line in enumerate(words):
            at = (x, y + (i - (len(words) - 1) / 2) * size * 1.35)
            scale = size if i == 0 else size - 2
            self.sheet.text(at, line, size=scale, bold=i == 0, anchor="mm", halo=bool(hatch))
        return block

    def sign(self, center: tuple[float, float], sign: str, radius: float = 21) -> Block:
        """An operator in a circle, such as + or ×."""
        self.sheet.circle(center, radius, fill="panel", outline="ink", width=2.5)
        self.sheet.text(center, sign, size=radius * 1.2, bold=True, anchor="mm")
        x, y = center
        return Block(x - radius, y - radius, x + radius, y + radius)

    def text(
        self,
        place: tuple[float, float],
        words: str,
        *,
        size: float = 19,
        color: str = "muted",
        anchor: str = "mm",
        bold: bool = False,
    ) -> None:
        """A line of text on its own."""
        self.sheet.text(place, words, size=size, color=color, anchor=anchor, bold=bold)

    def link(
        self, a: Block, b: Block, *, color: str = "muted", at: float = 0.5, dash: float = 0
    ) -> None:
        """An arrow from a block to one that lies right, below or above; `at` is its bend's place.

        Raises:
            ValueError: the second block lies in none of these directions.
        """
        (ax, ay), (bx, by) = a.middle, b.middle
        if b.x0 >= a.x1:
            bend = a.x1 + at * (b.x0 - a.x1)
            path = [(a.x1, ay), (bend, ay), (bend, by), (b.x0 - 3, by)]
        elif b.y0 >= a.y1 or b.y1 <= a.y0:
            start, end = (a.y1, b.y0 - 3) if b.y0 >= a.y1 else (a.y0, b.y1 + 3)
            bend = start + at * (end - start)
            path = [(ax, start), (ax, bend), (bx, bend), (bx, end)]
        else:
            raise ValueError(f"no arrow goes from {a} to {b}: the second must lie right or outside")
        self.sheet.line(path[:-1], color, 2.5, dash=dash)
        self.sheet.arrow(path[-2], path[-1], color, 2.5, head=13, dash=dash)

    def show(self, alt: str) -> plots.Picture:
        """The diagram with its description, to stand last in a cell."""
        file = io.BytesIO()
        image = Image.fromarray(self.sheet.pixels())
        image.quantize(128, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
        return plots.Picture(file.getvalue(), alt)
