"""Yours, expected, and where they differ: the feedback is a picture of the student's own run.

Nothing here raises. A picture cell stands behind a graded one; whatever a half-written answer does,
the notebook runs on and the cell says what is missing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.plots.arrays import describe, number, to_array, to_image
from course.plots.picture import Note, Picture, render
from course.plots.style import PALETTE, canvas

__all__ = ["compare", "compare_values"]


def compare(
    yours: Any | Callable[[], Any],
    expected: Any | Callable[[], Any],
    *,
    title: str,
    exercise: str = "",
    tolerance: float = 1e-4,
) -> Picture | Note:
    """Draw a map or an image beside the expected one, and the size of their difference.

    Args:
        yours: (H, W), (1, H, W) or (3, H, W), tensor, array or lists; or a function without
            arguments that returns it, so that an unwritten exercise can be told from a wrong one.
        expected: the same shape.
        title: heading, and the first sentence of the description.
        exercise: what to write first, such as "8.5", for the note about an unwritten exercise.
        tolerance: differences up to this are called equal.

    Returns:
        A `Picture` of three panels, or a `Note` that says why there is none. Never raises.

    Example:
        >>> result = compare([[0, 1], [2, 5]], [[0, 1], [2, 3]], title="Counts")
        >>> print(result.alt)
        Counts. Yours: 0 to 5. Expected: 0 to 3. Largest difference 2 at row 1, column 1; \
1 of 4 pixels differ by more than 0.0001.
        >>> def unwritten():
        ...     raise NotImplementedError
        >>> compare(unwritten, [[0.0]], title="Weights", exercise="8.5")
        Write exercise 8.5 first, then run this cell again.
    """
    return _guarded(
        lambda: _three_panels(to_array(_call(yours)), to_array(_call(expected)), title, tolerance),
        exercise,
    )


def compare_values(
    yours: Any | Callable[[], Any],
    expected: Any | Callable[[], Any],
    *,
    title: str,
    xlabel: str = "index",
    ylabel: str = "value",
    exercise: str = "",
    tolerance: float = 1e-4,
) -> Picture | Note:
    """Draw a row of numbers over the expected one and mark the first that differs.

    Args:
        yours: (N,), or a function without arguments that returns it.
        expected: (N,).
        title: heading, and the first sentence of the description.
        xlabel, ylabel: axis labels with units.
        exercise: what to write first, for the note about an unwritten exercise.
        tolerance: differences up to this are called equal.

    Returns:
        A `Picture`, or a `Note` that says why there is none. Never raises.

    Example:
        >>> print(compare_values([5, 3], [5, 4], title="Sides").alt)
        Sides. Yours: 3 to 5. Expected: 4 to 5. First difference at index 1: 3 instead of 4.
    """
    return _guarded(
        lambda: _two_curves(
            to_array(_call(yours)), to_array(_call(expected)), title, xlabel, ylabel, tolerance
        ),
        exercise,
    )


def _call(values: Any | Callable[[], Any]) -> Any:
    return values() if callable(values) else values


def _guarded(draw: Callable[[], Picture | Note], exercise: str) -> Picture | Note:
    try:
        return draw()
    except NotImplementedError as gap:
        what = f"exercise {exercise}" if exercise else str(gap) or "the exercise above"
        return Note(f"Write {what} first, then run this cell again.")
    except Exception as error:  # a student's code may fail in any way; the notebook goes on
        return Note(f"No picture: {type(error).__name__}: {error}")


def _three_panels(
    yours: NDArray[Any], expected: NDArray[Any], title: str, tolerance: float
) -> Picture | Note:
    if yours.shape != expected.shape:
        return Note(f"No picture: your result has shape {yours.shape}, expected {expected.shape}.")
    if expected.ndim < 2:
        return _two_curves(yours, expected, title, "index", "value", tolerance)
    mine, right = to_image(yours), to_image(expected)
    difference = _difference(mine, right)
    finite = np.concatenate([m[np.isfinite(m)] for m in (mine.ravel(), right.ravel())])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    text, where = _verdict(difference, tolerance, "pixels")
    height, width = right.shape[:2]
    tall = min(5.0, 2.75 * height / width) + 1.1
    with canvas(1, 3, width=10.5, height=tall, title=title) as (figure, axes):
        for axis, image, name in zip(axes, (mine, right), ("yours", "expected"), strict=False):
            drawn = axis.imshow(image, cmap=_colors("gray"), vmin=low, vmax=max(high, low + 1e-9))
            axis.set_title(name)
            if image.ndim == 2 and name == "expected":
                figure.colorbar(drawn, ax=axes[:2], shrink=0.85, pad=0.02)
        top = float(difference.max())
        # Rounding differs from machine to machine; below the tolerance it is not worth a picture.
        shown = np.where(difference > tolerance, difference, 0.0)
        shown = np.where(np.isinf(shown), np.nan, shown)
        scale = np.nanmax(shown, initial=0.0) or 1.0
        drawn = axes[2].imshow(shown, cmap=_colors("magma"), vmin=0.0, vmax=scale)
        figure.colorbar(drawn, ax=axes[2], shrink=0.85, pad=0.02)
        largest = f"max {number(top)}" if top > tolerance else f"below {number(tolerance)}"
        largest = "not finite" if np.isinf(top) else largest
        axes[2].set_title(f"|difference|, {largest}")
        if where is not None:
            axes[2].plot(where[1], where[0], "o", ms=16, mfc="none", mec=PALETTE[4], mew=2.5)
        for axis in axes:
            axis.grid(False)
            axis.set_xticks([0, width - 1] if width > 1 else [0])
            axis.set_yticks([0, height - 1] if height > 1 else [0])
        return render(
            figure,
            f"{title}. Yours: {describe(mine)}. Expected: {describe(right)}. {text}",
        )


def _colors(name: str) -> Any:
    """A colour map that paints what is not a number in a colour of its own."""
    from matplotlib import colormaps

    return colormaps[name].with_extremes(bad=PALETTE[5])


def _difference(mine: NDArray[Any], right: NDArray[Any]) -> NDArray[np.float64]:
    """|mine - right| (H, W), the largest channel; infinite where only one is a finite number."""
    a, b = mine.astype(np.float64), right.astype(np.float64)
    with np.errstate(invalid="ignore"):
        gap = np.abs(a - b)
    gap = np.where((a == b) | (np.isnan(a) & np.isnan(b)), 0.0, gap)
    gap = np.where(np.isnan(gap), np.inf, gap)
    return gap.max(axis=2) if gap.ndim == 3 else gap


def _verdict(
    difference: NDArray[np.float64], tolerance: float, unit: str
) -> tuple[str, tuple[int, int] | None]:
    """A sentence about the largest difference, and its (row, column) where it matters."""
    off = int((difference > tolerance).sum())
    top = float(difference.max())
    if not off:
        return f"No difference above {number(tolerance)}.", None
    row, column = (int(i) for i in np.unravel_index(difference.argmax(), difference.shape))
    size = "not a finite number" if np.isinf(top) else number(top)
    return (
        f"Largest difference {size} at row {row}, column {column}; "
        f"{off} of {difference.size} {unit} differ by more than {number(tolerance)}.",
        (row, column),
    )


def _two_curves(
    yours: NDArray[Any],
    expected: NDArray[Any],
    title: str,
    xlabel: str,
    ylabel: str,
    tolerance: float,
) -> Picture | Note:
    mine, right = yours.ravel(), expected.ravel()
    if not mine.size or not right.size:
        return Note("No picture: your result is empty." if right.size else "Nothing to compare.")
    common = min(mine.size, right.size)
    off = np.flatnonzero(_difference(mine[:common, None], right[:common, None])[:, 0] > tolerance)
    first = int(off[0]) if off.size else (common if mine.size != right.size else None)
    if first is None:
        text = f"No difference above {number(tolerance)}."
    elif first < common:
        text = (
            f"First difference at index {first}: "
            f"{number(mine[first])} instead of {number(right[first])}."
        )
    else:
        text = f"Yours has {mine.size} numbers, expected {right.size}."
    from matplotlib.ticker import MaxNLocator

    with canvas(width=7.5, height=4.0, title=title) as (figure, (axis,)):
        axis.plot(right, "-", color=PALETTE[0], marker="o", ms=5, label="expected")
        axis.plot(mine, "--", color=PALETTE[5], marker="x", ms=7, label="yours")
        if first is not None:
            axis.axvline(first, color="#666666", ls=":", lw=1.5)
            axis.text(
                first, 1.0, " first difference", transform=axis.get_xaxis_transform(), va="top"
            )
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))  # there is no index of a half
        axis.set_xlabel(xlabel)
        axis.set_ylabel(ylabel)
        axis.legend()
        return render(
            figure, f"{title}. Yours: {describe(mine)}. Expected: {describe(right)}. {text}"
        )
