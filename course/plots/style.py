"""One look for every figure: colours that survive colour blindness, text that survives a projector.

The colours are those of Okabe and Ito (2008), in an order in which neighbours also differ in
lightness. Colour never stands alone: areas are hatched and outlined, lines have their own dashes
and markers, bars carry their numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["DASHES", "HATCHES", "MARKERS", "PALETTE", "canvas", "color_of"]

PALETTE = (
    "#0072B2",  # blue
    "#E69F00",  # orange
    "#009E73",  # green
    "#CC79A7",  # pink
    "#56B4E9",  # sky
    "#D55E00",  # vermilion
    "#F0E442",  # yellow
    "#882255",  # wine, where Okabe and Ito have black: black is lost on dark images
)
HATCHES = ("//", "..", "\\\\", "xx", "||", "oo", "--", "++")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = ("-", "--", "-.", ":")

_STYLE: dict[str, Any] = {
    "font.size": 13,
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same bytes on every machine
    "axes.titlesize": 13,
    "axes.labelsize": 13,
    "figure.titlesize": 14,
    "xtick.labelsize": 12,
    "ytick.labelsize": 12,
    "legend.fontsize": 12,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 2.2,
    "hatch.linewidth": 0.8,
    "hatch.color": "#000000A0",
    "image.cmap": "gray",
    "image.interpolation": "nearest",  # pixels are the subject: show them, do not smooth them
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


@contextmanager
def canvas(
    rows: int = 1, columns: int = 1, *, width: float = 7.0, height: float = 4.0, title: str = ""
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure in the course's style and its axes in reading order; draw and render inside `with`.

    Args:
        rows, columns: number of axes.
        width, height: size of the whole figure in inches.
        title: heading of the figure.

    Example:
        >>> with canvas(1, 2, title="Two empty axes") as (figure, axes):
        ...     len(axes)
        2
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    # No pyplot: its global list of figures would show every picture a second time.
    with style.context(["default", _STYLE]):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        if title:
            figure.suptitle(title)
        yield figure, list(np.ravel(axes))


def color_of(index: int) -> str:
    """The palette's colour number `index`, from the start again after the last.

    Example:
        >>> color_of(8) == PALETTE[0]
        True
    """
    return PALETTE[index % len(PALETTE)]
