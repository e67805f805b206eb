"""Arithmetic of the demo `unet_tiles`: sizes along a U-Net without padding, tiles along one axis.

The same numbers as `course.geometry` and `course.tiling` give, in numpy alone, and without an error
where a size is not legal: the demo shows how far it comes.
Source: Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, arXiv:1505.04597, §2, Figures 1 and 2.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Path", "Plan", "border", "legal_tiles", "mirrored", "path", "plan"]


class Path(NamedTuple):
    """Sizes of a tile on its way through the network, in pixels.

    Attributes:
        down: (arrival, after one, after two convolutions) of each level, the bottom last.
        up: the same of the way up, the finest level last; empty where the way down ends early.
        stop: level that cannot go on, or None.
    """

    down: list[tuple[int, int, int]]
    up: list[tuple[int, int, int]]
    stop: int | None


class Plan(NamedTuple):
    """Tiles along one axis, in pixels of the image.

    Attributes:
        windows: (first, last + 1) that each tile sees, as far as the margin beyond the image.
        labelled: the part of each that comes out labelled.
        missing: pixels of the image that no tile labels.
    """

    windows: list[tuple[int, int]]
    labelled: list[tuple[int, int]]
    missing: int


def border(depth: int) -> int:
    """Pixels that a network of `depth` poolings loses on each side.

    >>> [border(depth) for depth in (1, 2, 3, 4)]
    [8, 20, 44, 92]
    """
    return 6 * 2**depth - 4


def path(tile: int, depth: int) -> Path:
    """All sizes of a tile; the way ends at a level that is odd or has nothing left.

    >>> path(572, 4).down[-1], path(572, 4).up[-1]
    ((32, 30, 28), (392, 390, 388))
    >>> path(570, 4).stop, path(570, 4).down[-1]
    (1, (283, 281, 279))
    """
    down: list[tuple[int, int, int]] = []
    size = tile
    for level in range(depth + 1):
        down.append((size, size - 2, size - 4))
        size -= 4
        last = level == depth
        nothing_left = 2**depth * (size - 4) + 4 < 1 if last else size < 2
        if nothing_left or (size % 2 and not last):
            return Path(down, [], level)
        size //= 1 if last else 2
    up: list[tuple[int, int, int]] = []
    for _ in range(depth):
        up.append((2 * size, 2 * size - 2, 2 * size - 4))
        size = 2 * size - 4
    return Path(down, up, None)


def legal_tiles(near: int, depth: int) -> tuple[int, int]:
    """The nearest legal tile sizes below and above a size (the smallest two where it is small).

    >>> legal_tiles(570, 4), legal_tiles(20, 1)
    ((556, 572), (18, 20))
    """
    step = 2**depth
    smallest = step * (12 - 3 // step) - 4
    below = smallest + max(near - 1 - smallest, 0) // step * step
    return below, below + step


def plan(image: int, tile: int, depth: int, margin: int) -> Plan:
    """Tiles that cover an image whose author expects to lose `margin` pixels on each side.

    >>> plan(512, 572, 4, 92).windows, plan(512, 572, 4, 92).missing
    ([(-92, 480), (296, 868)], 0)
    >>> plan(512, 572, 4, 84).labelled, plan(512, 572, 4, 84).missing  # strips of 8, 16 between
    ([(8, 396), (412, 800)], 24)
    """
    step, lost = tile - 2 * margin, border(depth)
    starts = [i * step - margin for i in range(-(-image // step))]
    windows = [(start, start + tile) for start in starts]
    labelled = [(a + lost, b - lost) for a, b in windows]
    seen = np.zeros(image, bool)
    for a, b in labelled:
        seen[max(a, 0) : max(b, 0)] = True
    return Plan(windows, labelled, int((~seen).sum()))


def mirrored(low: int, high: int, image: int, count: int) -> NDArray[np.intp]:
    """`count` samples of the pixels from `low` to `high`, mirrored where they leave the image.

    >>> mirrored(-2, 6, 4, 8).tolist()
    [2, 1, 0, 1, 2, 3, 2, 1]
    """
    places = low + ((np.arange(count) + 0.5) * (high - low) / count).astype(np.intp)
    period = max(2 * image - 2, 1)
    places = places % period
    return np.minimum(places, period - places)
