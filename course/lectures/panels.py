"""What the first lectures draw over and over: a picture without ticks, and a box on it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from course.lectures.flock import flock

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["frame", "panel"]


@cache
def _flock_pixels() -> np.ndarray:
    return flock().image.permute(1, 2, 0).numpy()


def panel(axis: Axes, title: str, picture: Any = None, **style: Any) -> None:
    """A picture on an axis without ticks, the flock where none is given.

    Args:
        axis: where to draw.
        title: heading.
        picture: (H, W) or (H, W, 3) values.
        style: passed on to `imshow`.
    """
    axis.imshow(_flock_pixels() if picture is None else picture, **style)
    axis.set_axis_off()
    axis.set_title(title, fontsize=15)


def frame(axis: Axes, box: Sequence[float] | Any, color: str, text: str = "", **style: Any) -> None:
    """The outline of a box (x0, y0, x1, y1), half-open and in pixels, with a word above it.

    A thick line has a white rim, so that it is seen on every ground.

    Example:
        >>> from course import plots
        >>> with plots.canvas(width=3, height=2) as (figure, (axis,)):
        ...     frame(axis, (10, 20, 30, 60), "red", "sheep")
        ...     axis.lines[-1].get_xydata()[0].tolist(), axis.texts[0].get_text()
        ([9.5, 19.5], 'sheep')
    """
    x0, y0, x1, y1 = (float(v) - 0.5 for v in box)
    xs, ys = [x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0]
    if style.get("lw", 3) > 1:
        axis.plot(xs, ys, color="white", lw=5)
    axis.plot(xs, ys, color=color, **{"lw": 3, **style})
    if text:
        label = {"facecolor": "white", "edgecolor": color, "pad": 2}
        axis.text(x0, y0 - 6, text, fontsize=14, va="bottom", bbox=label)
