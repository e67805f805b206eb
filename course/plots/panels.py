"""Rows of images and the marks on them, shared by every function that draws on pixels.

Pixel centres are at whole coordinates, so the pixel (row, column) covers the square from
(row - 0.5, column - 0.5) to (row + 0.5, column + 0.5), and an outline runs between pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from course.plots.arrays import to_array
from course.plots.style import HATCHES, canvas, color_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["IGNORE", "captions", "check_pairs", "counted", "edges", "lead", "map_list", "paint"]
__all__ += ["panels", "swatch", "trace"]

IGNORE = 255
_GREY = "#888888"


@contextmanager
def panels(
    arrays: Sequence[NDArray[Any]], *, title: str, columns: int, legend: bool = False
) -> Iterator[tuple[Figure, list[Axes]]]:
    """A figure with one axis without ticks for every image, sized after their shapes."""
    if not arrays:
        raise ValueError("expected at least one image; got none")
    if columns < 1:
        raise ValueError(f"expected at least 1 column; got {columns}")
    across = min(columns, len(arrays))
    down = -(-len(arrays) // across)
    ratio = max(a.shape[0] / a.shape[1] for a in arrays)
    each = max(2.4, min(4.2, 10.0 / across, 5.0 / ratio))
    height = down * (each * ratio + 0.3) + 0.35 * bool(title) + 0.35 * legend
    with canvas(down, across, width=max(each * across, 4.0), height=height, title=title) as (
        figure,
        axes,
    ):
        for axis in axes:
            axis.set_axis_off()
        yield figure, axes


def captions(titles: Sequence[str] | None, n: int) -> list[str]:
    """The given captions, or empty ones."""
    if titles is not None and len(titles) != n:
        raise ValueError(f"expected {n} titles, one an image; got {len(titles)}")
    return list(titles) if titles is not None else [""] * n


def map_list(values: Any) -> list[Any]:
    """The members of a batch (N, H, W) or of a list of maps; a single map gives itself.

    Example:
        >>> len(map_list(np.zeros((3, 4, 5)))), len(map_list([[0, 1], [1, 0]]))
        (3, 1)
    """
    if isinstance(values, (list, tuple)) and values and np.ndim(to_array(values[0])) >= 2:
        return list(values)
    array = to_array(values)
    return list(array) if array.ndim > 2 else [array]


def check_pairs(images: Sequence[NDArray[Any]], maps: Sequence[NDArray[Any]], what: str) -> None:
    """Raise a `ValueError` unless there is one map of the same size for every image."""
    if len(images) != len(maps):
        raise ValueError(f"expected {len(images)} {what}, one an image; got {len(maps)}")
    for i, (image, m) in enumerate(zip(images, maps, strict=True)):
        if image.shape[:2] != m.shape:
            raise ValueError(
                f"expected {what} of the images' size; image {i} is {image.shape[:2]}, "
                f"its map {m.shape}"
            )


def lead(title: str) -> str:
    """The heading as the first sentence of a description."""
    return f"{title}. " if title else ""


def counted(n: int, one: str, many: str = "") -> str:
    """A number with its noun.

    Example:
        >>> counted(1, "box", "boxes"), counted(2, "image")
        ('1 box', '2 images')
    """
    return f"{n} {one if n == 1 else many or one + 's'}"


def edges(labels: NDArray[Any]) -> NDArray[Any]:
    """The pixel sides (S, 2, 2), as (x, y) of both ends, between unequal neighbours in (H, W).

    Example:
        >>> edges(np.array([[0, 1]])).tolist()
        [[[0.5, -0.5], [0.5, 0.5]]]
    """
    y, x = np.nonzero(labels[:, 1:] != labels[:, :-1])
    upright = np.stack([x + 0.5, y - 0.5, x + 0.5, y + 0.5], axis=1)
    y, x = np.nonzero(labels[1:] != labels[:-1])
    level = np.stack([x - 0.5, y + 0.5, x + 0.5, y + 0.5], axis=1)
    return np.concatenate([upright, level]).reshape(-1, 2, 2)


def trace(axis: Axes, labels: NDArray[Any], color: str, width: float) -> None:
    """Draw the border of every region of a label map."""
    from matplotlib.collections import LineCollection

    axis.add_collection(
        LineCollection(list(edges(labels)), colors=color, linewidths=width, capstyle="round")
    )


def paint(axis: Axes, region: NDArray[np.bool_], label: int) -> None:
    """Tint, hatch and outline a region in the look of its class."""
    from matplotlib.colors import to_rgba

    color = _GREY if label == IGNORE else color_of(label)
    tint = np.zeros((*region.shape, 4))
    tint[region] = to_rgba(color, 0.45)
    axis.imshow(tint)
    if min(region.shape) > 1 and region.any() and not region.all():
        axis.contourf(region, levels=[0.5, 1.5], colors="none", hatches=[_hatch(label)])
    trace(axis, region, color, 1.6)


def swatch(label: int, text: str) -> Any:
    """The legend entry of a class."""
    from matplotlib.patches import Patch

    color = _GREY if label == IGNORE else color_of(label)
    return Patch(facecolor=color, alpha=0.6, hatch=_hatch(label), edgecolor="black", label=text)


def _hatch(label: int) -> str:
    # the second eight classes have the colours of the first, so they get other hatches
    again = label // len(HATCHES)
    return "xxx" if label == IGNORE else HATCHES[(label + 3 * again) % len(HATCHES)]
