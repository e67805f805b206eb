"""The ladder as pictures and as a table, drawn from stored scores."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from course.ladder.rungs import RUNGS, Scores, load_scores
from course.plots import PALETTE, Picture, Table, canvas, render

__all__ = ["cost_picture", "picture", "score_table"]


def picture(lab: int | None = None, scores: Mapping[str, Scores] | None = None) -> Picture:
    """Draw the IoU of thin lines for every system, the rungs of one lab marked.

    Args:
        lab: 1 to 14; None marks none, 14 marks all.
        scores: by name of the rung; the stored ones if not given.

    Raises:
        ValueError: no such lab, or no scores.

    >>> picture(lab=8).alt.startswith("The ladder: IoU of lines two pixels wide")
    True
    """
    if lab is not None and not 1 <= lab <= 14:
        raise ValueError(f"expected a lab from 1 to 14, got {lab}")
    rungs, chosen = _present(scores)
    marked = [rung.lab == lab or lab == 14 for rung in rungs]
    values = [chosen[rung.name].mean for rung in rungs]
    spread = [chosen[rung.name].half_range for rung in rungs]
    title = "The ladder: IoU of lines two pixels wide"
    with canvas(width=8.6, height=0.36 * len(rungs) + 1.2, title=title) as (figure, (axis,)):
        at = np.arange(len(rungs))
        drawn = axis.barh(
            at,
            values,
            0.74,
            xerr=spread,
            capsize=3,
            color=[PALETTE[1] if mark else PALETTE[0] for mark in marked],
            edgecolor="white",
            error_kw={"lw": 1.4},
        )
        for bar, mark in zip(drawn, marked, strict=True):
            bar.set_hatch("//" if mark and lab != 14 else "")
        axis.bar_label(drawn, [f"{value:.2f}" for value in values], padding=4, fontsize=12)
        names = [f"lab {rung.lab} · {rung.name}" for rung in rungs]
        axis.set_yticks(at, names)
        for text, mark in zip(axis.get_yticklabels(), marked, strict=True):
            text.set_fontweight("bold" if mark and lab != 14 else "normal")
        axis.invert_yaxis()
        axis.grid(axis="y", visible=False)
        axis.grid(axis="x", visible=True)
        axis.set_xlim(0, 1)
        seeds = len(next(iter(chosen.values())).iou)
        axis.set_xlabel(f"IoU of the class “line”, mean and range of {seeds} seeds")
        told = ", ".join(
            f"{'this lab: ' if mark and lab != 14 else ''}{rung.name} {value:.2f}"
            for rung, value, mark in zip(rungs, values, marked, strict=True)
        )
        return render(figure, f"{title}, mean of {seeds} seeds, by lab: {told}.")


def cost_picture(scores: Mapping[str, Scores] | None = None) -> Picture:
    """Draw the IoU against what an answer costs: parameters, multiply-accumulates, activations.

    Raises:
        ValueError: no scores.

    >>> "parameters" in cost_picture().alt
    True
    """
    from matplotlib.ticker import NullFormatter

    rungs, chosen = _present(scores)
    columns = {
        "parameters": [chosen[rung.name].parameters for rung in rungs],
        "multiply-accumulates": [chosen[rung.name].macs for rung in rungs],
        "activations": [chosen[rung.name].activations for rung in rungs],
    }
    values = [chosen[rung.name].mean for rung in rungs]
    title = "What a rung costs: the number is that of the lab"
    with canvas(1, 3, width=11.5, height=4.4, title=title) as (figure, axes):
        for axis, (what, costs) in zip(axes, columns.items(), strict=True):
            axis.scatter(costs, values, s=30, color=PALETTE[0])
            _label_apart(axis, costs, values, [str(rung.lab) for rung in rungs])
            axis.set_xscale("log")
            axis.xaxis.set_minor_formatter(NullFormatter())  # or its labels run into one another
            low, high = min(costs), max(costs)
            axis.set_xlim(10 ** np.floor(np.log10(low)), 10 ** np.ceil(np.log10(high)))
            axis.set_ylim(-0.1, 1)  # room for the labels of the lowest rungs
            axis.set_xlabel(what)
        axes[0].set_ylabel("IoU of the class “line”")
        told = "; ".join(
            f"{rung.name}: IoU {chosen[rung.name].mean:.2f}, {chosen[rung.name].parameters:,} "
            f"parameters, {chosen[rung.name].macs:,} multiply-accumulates, "
            f"{chosen[rung.name].activations:,} activations"
            for rung in rungs
        )
        return render(figure, f"{title}. {told}.")


def _label_apart(axis: object, xs: list[int], ys: list[float], texts: list[str]) -> None:
    """Write each label beside its point, right of it or left where another stands near."""
    logs = np.log10(np.array(xs, float))
    width = max(float(np.ptp(logs)), 1e-9)
    for i, text in enumerate(texts):
        near = [
            j
            for j in range(i)
            if abs(logs[i] - logs[j]) < 0.09 * width and abs(ys[i] - ys[j]) < 0.06
        ]
        offsets = ((6, 3), (-14, 3), (6, -13), (-14, -13))
        axis.annotate(  # type: ignore[attr-defined]
            text,
            (xs[i], ys[i]),
            xytext=offsets[len(near) % len(offsets)],
            textcoords="offset points",
            fontsize=12,
        )


def score_table(scores: Mapping[str, Scores] | None = None) -> Table:
    """Set all scores in a table.

    >>> score_table().headers[0]
    'lab'
    """
    rungs, chosen = _present(scores)
    rows = []
    for rung in rungs:
        row = chosen[rung.name]
        iou = f"{row.mean:.3f} ± {row.half_range:.3f}"
        costs = [f"{n:,}" for n in (row.parameters, row.macs, row.activations)]
        rows.append([rung.lab, rung.name, iou, *costs])
    head = ["lab", "system", "IoU of lines", "parameters", "multiply-accumulates", "activations"]
    return Table(head, rows)


def _present(scores: Mapping[str, Scores] | None) -> tuple[list, Mapping[str, Scores]]:
    chosen = load_scores()[1] if scores is None else scores
    rungs = [rung for rung in RUNGS if rung.name in chosen]
    if not rungs:
        raise ValueError("no scores to draw: run `course ladder` first")
    return rungs, chosen
