"""Lines between the pixels of a label map that differ: where one object or class ends."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from course.demos.picture import Box, Picture

__all__ = ["contours"]


def contours(
    sheet: Picture,
    box: Box,
    labels: ArrayLike,
    color: str | Sequence[int] = "ink",
    width: float = 2,
) -> None:
    """Draw the borders in an (h, w) map of whole numbers that fills `box`; a run is one line.

    Example:
        >>> sheet = Picture(40, 20)
        >>> contours(sheet, (0, 0, 40, 20), [[0, 1]], (255, 0, 0))
        >>> sheet.pixels()[10, 20].tolist()
        [255, 0, 0]
    """
    array = np.asarray(labels).astype(int)
    x0, y0, x1, y1 = (float(v) for v in box)
    step = ((x1 - x0) / array.shape[1], (y1 - y0) / array.shape[0])
    for turned in (False, True):
        edge = np.diff(array.T if turned else array, axis=0) != 0  # between row r and r + 1
        for row in np.flatnonzero(edge.any(1)):
            ends = np.flatnonzero(np.diff(np.r_[0, edge[row].astype(int), 0]))
            for a, b in zip(ends[::2], ends[1::2]):
                line = np.array([[a, row + 1], [b, row + 1]])
                line = line[:, ::-1] if turned else line
                sheet.line(line * step + (x0, y0), color, width)
