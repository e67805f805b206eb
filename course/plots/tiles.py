"""Where the tiles of a large image lie: what each labels, and the larger window it must see.

Ronneberger et al. 2015, Fig. 2: the window reaches over the edge of the image, where it is filled
by mirroring.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from course.plots.panels import counted, lead
from course.plots.picture import Picture, render
from course.plots.style import PALETTE, canvas

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_tiles"]

Rectangle = Sequence[float]


def draw_tiles(
    image_hw: tuple[int, int],
    plan: Sequence[Rectangle],
    *,
    margin: int = 0,
    windows: Sequence[Rectangle] | None = None,
    title: str = "",
) -> Picture:
    """Draw an image's frame, the tiles that cover it, and the windows of the first and last tile.

    Args:
        image_hw: height and width of the image in pixels.
        plan: the part that each tile labels, (x0, y0, x1, y1), half-open pixels, in reading order.
        margin: pixels that a tile sees beyond its part on every side.
        windows: what each tile sees, where that is more than its part and `margin`.
        title: heading of the picture.

    Raises:
        ValueError: there is no tile, or not one window for each.

    Example:
        >>> halves = [(0, 0, 50, 80), (50, 0, 100, 80)]
        >>> print(draw_tiles((80, 100), halves, margin=20, title="Two tiles").alt)
        Two tiles. Image of 80 x 100 pixels in 2 tiles, the largest 80 x 50. Their windows reach \
20 pixels over the left, 20 over the top, 20 over the right and 20 over the bottom edge.
    """
    parts = _rectangles(plan)
    seen = parts + margin * np.array([-1, -1, 1, 1]) if windows is None else _rectangles(windows)
    if len(seen) != len(parts) or not len(parts):
        raise ValueError(
            f"expected at least one tile and one window a tile; got {len(parts)} and {len(seen)}"
        )
    height, width = image_hw
    x0, y0 = np.minimum(seen[:, :2].min(0), 0)
    x1, y1 = np.maximum(seen[:, 2:].max(0), (width, height))
    ratio = (y1 - y0) / (x1 - x0)
    wide = min(8.0, 6.0 / ratio)
    with canvas(width=max(wide, 5.5), height=wide * ratio + 1.6, title=title) as (figure, (axis,)):
        if (x0, y0, x1, y1) != (0, 0, width, height):
            _box(axis, (x0, y0, x1, y1), fc="#F0F0F0", ec="#999999", hatch="..", label="mirrored")
        _box(axis, (0, 0, width, height), fc="white", label="image", lw=3.0)
        for i, part in enumerate(parts):
            _box(axis, part, fc=PALETTE[4] if i in (0, len(parts) - 1) else "white", lw=1.2)
            middle = (part[:2] + part[2:]) / 2
            axis.annotate(str(i + 1), tuple(middle), ha="center", va="center")
        for i, dashes in zip(dict.fromkeys((0, len(parts) - 1)), ("--", "-."), strict=False):
            name = f"window of tile {i + 1}"
            _box(axis, seen[i], fill=False, ec=PALETTE[5], lw=2.4, ls=dashes, label=name)
        slack = 0.01 * max(x1 - x0, y1 - y0)
        axis.set(xlim=(x0 - slack, x1 + slack), ylim=(y1 + slack, y0 - slack), aspect="equal")
        axis.set(xlabel="x, pixels", ylabel="y, pixels")
        axis.grid(False)
        figure.legend(loc="outside lower center", ncols=2)
        tall, broad = (parts[:, 3] - parts[:, 1]).max(), (parts[:, 2] - parts[:, 0]).max()
        return render(
            figure,
            f"{lead(title)}Image of {height} x {width} pixels in {counted(len(parts), 'tile')}, "
            f"the largest {tall:g} x {broad:g}. Their windows reach {-x0:g} pixels over the left, "
            f"{-y0:g} over the top, {x1 - width:g} over the right and {y1 - height:g} over the "
            "bottom edge.",
        )


def _rectangles(rows: Sequence[Rectangle]) -> NDArray[np.float64]:
    return np.asarray([tuple(row) for row in rows], dtype=np.float64).reshape(-1, 4)


def _box(axis: Axes, rectangle: Rectangle, **look: Any) -> None:
    from matplotlib.patches import Rectangle as Patch

    x0, y0, x1, y1 = rectangle
    axis.add_patch(Patch((x0, y0), x1 - x0, y1 - y0, **{"ec": "black", **look}))
