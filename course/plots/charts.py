"""Numbers as charts: bars for claims and the ladder, curves for training, heat for maps.

Every bar carries its number, and every curve its own dashes and markers, so that no chart needs
colour to be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.plots.arrays import describe, number, to_array, to_image
from course.plots.panels import lead
from course.plots.picture import Picture, Table, render
from course.plots.style import DASHES, HATCHES, MARKERS, canvas, color_of

__all__ = ["bars", "curves", "heat", "table"]


def bars(
    names: Sequence[str],
    values: Sequence[float] | Mapping[str, Sequence[float]],
    errors: Sequence[float] | Mapping[str, Sequence[float]] | None = None,
    *,
    title: str = "",
    xlabel: str = "",
    ylabel: str = "",
    limits: tuple[float, float] | None = None,
) -> Picture:
    """Draw one bar a name, or a group of bars where `values` holds several series.

    Args:
        names: what stands under the bars.
        values: one number a name, or a dictionary from the name of a series to its numbers.
        errors: half the length of an error bar for each value, in the form of `values`.
        title: heading, and the first sentence of the description.
        xlabel, ylabel: axis labels with units.
        limits: least and greatest value of the axis.

    Raises:
        ValueError: there is no bar, or not one value or error for each name.

    Example:
        >>> print(bars(["w0 = 0", "w0 = 10"], [0.02, 0.9], [0.01, 0.05], title="Exact").alt)
        Exact. Bar chart of 2 values: w0 = 0 0.02 ± 0.01, w0 = 10 0.9 ± 0.05.
    """
    series = _series(values, len(names), "values")
    spread = {} if errors is None else _series(errors, len(names), "errors")
    if spread and spread.keys() != series.keys():
        raise ValueError(f"expected errors for {list(series)}; got {list(spread)}")
    step = 0.8 / len(series)
    long = max(map(len, names)) * len(names) > 60
    with canvas(
        width=max(6.0, min(11.0, 1.1 * len(names) * max(1, 0.6 * len(series)))),
        height=4.2,
        title=title,
    ) as (figure, (axis,)):
        for s, (label, heights) in enumerate(series.items()):
            at = np.arange(len(names)) + (s - (len(series) - 1) / 2) * step
            drawn = axis.bar(
                at,
                heights,
                0.92 * step,
                yerr=spread.get(label),
                capsize=4,
                label=label,
                color=color_of(s),
                hatch=HATCHES[s] if len(series) > 1 else None,
                edgecolor="white",
                error_kw={"lw": 1.8},
            )
            axis.bar_label(drawn, [number(v) for v in heights], padding=3, fontsize=12)
        axis.set_xticks(
            range(len(names)), names, rotation=20 if long else 0, ha="right" if long else "center"
        )
        axis.set_xlabel(xlabel)
        axis.set_ylabel(ylabel)
        axis.set_ylim(limits)
        if limits is None:
            axis.margins(y=0.14)
        if len(series) > 1:
            figure.legend(loc="outside lower center", ncols=4)
        return render(figure, f"{lead(title)}Bar chart of {_spoken(names, series, spread)}.")


def curves(
    history: Mapping[str, Any],
    *,
    title: str = "",
    xlabel: str = "step",
    ylabel: str = "",
    log: bool = False,
) -> Picture:
    """Draw one curve a name.

    Args:
        history: from the name of a curve to its values (N,), or to a pair of positions and values.
        title: heading, and the first sentence of the description.
        xlabel, ylabel: axis labels with units.
        log: logarithmic value axis.

    Raises:
        ValueError: there is no curve, a curve is empty, or positions and values differ in number.

    Example:
        >>> print(curves({"loss": [2.0, 1.0, 0.5]}, title="Training").alt)
        Training. Curve of loss: 3 points, from 2 to 0.5, least 0.5 at step 2.
    """
    lines = {name: _points(name, values) for name, values in history.items()}
    if not lines:
        raise ValueError("expected at least one curve; got none")
    with canvas(width=7.5, height=4.2, title=title) as (figure, (axis,)):
        for k, (name, (x, y)) in enumerate(lines.items()):
            axis.plot(
                x,
                y,
                DASHES[k % len(DASHES)],
                color=color_of(k),
                label=name,
                marker=MARKERS[k % len(MARKERS)],
                markevery=max(1, len(x) // 8),
                ms=7,
            )
        axis.set_xlabel(xlabel)
        axis.set_ylabel(ylabel or (next(iter(lines)) if len(lines) == 1 else "value"))
        if log:
            axis.set_yscale("log")
        if len(lines) > 1:
            axis.legend()
        texts = [
            f"{name}: {len(y)} points, from {number(y[0])} to {number(y[-1])}, "
            f"least {number(y[y.argmin()])} at {xlabel} {number(x[y.argmin()])}"
            for name, (x, y) in lines.items()
        ]
        kind = "Curve" if len(lines) == 1 else "Curves"
        return render(figure, f"{lead(title)}{kind} of {'; '.join(texts)}.")


def heat(
    values: Any, *, title: str = "", xlabel: str = "column", ylabel: str = "row", label: str = ""
) -> Picture:
    """Draw a map of numbers with its scale; a small map shows the numbers themselves.

    Args:
        values: (H, W) or (1, H, W).
        title: heading, and the first sentence of the description.
        xlabel, ylabel: axis labels.
        label: what the numbers are, with their unit, at the scale.

    Raises:
        ValueError: it is not a map.

    Example:
        >>> print(heat([[0.0, 1.5]], title="Weights").alt)
        Weights. Map of 1 x 2 values, 0 to 1.5, largest at row 0, column 1.
    """
    from matplotlib.ticker import MaxNLocator

    array = to_image(values).astype(np.float64)
    if array.ndim != 2:
        raise ValueError(f"expected a map (H, W); got shape {to_array(values).shape}")
    height, width = array.shape
    tall = float(np.clip(5.6 * height / width, 1.6, 6.0))
    with canvas(width=7.0, height=tall + 0.9, title=title) as (figure, (axis,)):
        drawn = axis.imshow(array, cmap="cividis")
        axis.grid(False)
        axis.set_xlabel(xlabel)
        axis.set_ylabel(ylabel)
        for side in (axis.xaxis, axis.yaxis):
            side.set_major_locator(MaxNLocator(integer=True))  # there is no row 0.5
        figure.colorbar(drawn, ax=axis, label=label)
        if max(height, width) <= 12:
            low, high = drawn.get_clim()
            for (row, column), value in np.ndenumerate(array):
                dark = value < (low + high) / 2
                axis.text(
                    column,
                    row,
                    number(value) if value.is_integer() else f"{value:.2g}",
                    ha="center",
                    va="center",
                    fontsize=12,
                    color="white" if dark else "black",
                )
        text = f"{lead(title)}Map of {height} x {width} values, {describe(array)}"
        if np.isfinite(array).any():
            row, column = np.unravel_index(np.nanargmax(array), array.shape)
            text += f", largest at row {row}, column {column}"
        return render(figure, f"{text}.")


def table(headers: Sequence[object], rows: Sequence[Sequence[object]], *, title: str = "") -> Table:
    """Set rows under a header.

    Example:
        >>> table(["net", "IoU"], [["FCN-8s", 0.67]])
        net    | IoU
        FCN-8s | 0.67
    """
    return Table(headers, rows, title)


def _series(
    values: Sequence[float] | Mapping[str, Sequence[float]], n: int, what: str
) -> dict[str, NDArray[np.float64]]:
    series = dict(values) if isinstance(values, Mapping) else {"": values}
    arrays = {name: to_array(numbers).astype(np.float64) for name, numbers in series.items()}
    for numbers in arrays.values():
        if numbers.shape != (n,) or n == 0:
            raise ValueError(f"expected {what} for {n} bars, at least 1; got {numbers.shape}")
    return arrays


def _spoken(
    names: Sequence[str],
    series: dict[str, NDArray[np.float64]],
    spread: dict[str, NDArray[np.float64]],
) -> str:
    """All bars in words."""
    texts = []
    for label, heights in series.items():
        around = spread.get(label, [None] * len(names))
        bits = [
            f"{name} {number(v)}" + ("" if e is None else f" ± {number(e)}")
            for name, v, e in zip(names, heights, around, strict=True)
        ]
        texts.append((f"{label}: " if label else "") + ", ".join(bits))
    return f"{len(names) * len(series)} values: " + "; ".join(texts)


def _points(name: str, values: Any) -> tuple[NDArray[Any], NDArray[Any]]:
    pair = isinstance(values, tuple) and len(values) == 2 and np.ndim(to_array(values[0])) == 1
    y = to_array(values[1] if pair else values).astype(np.float64).ravel()
    x = to_array(values[0]) if pair else np.arange(len(y))
    if not len(y) or len(x) != len(y):
        raise ValueError(
            f"expected a curve {name!r} with as many positions as values, at least 1; "
            f"got {len(x)} and {len(y)}"
        )
    return x, y
