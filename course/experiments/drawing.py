"""The picture of a run: its loss above, its metric below, over the same steps.

The two have nothing in common but the steps: a loss may fall by orders of magnitude, a metric stays
between 0 and 1. So each has an axis of its own.
"""

from collections.abc import Sequence

from course.plots import PALETTE, Picture, canvas, render
from course.plots.arrays import number
from course.training import History

__all__ = ["picture_of"]

_WIDE = 20.0  # a loss whose largest value is so many times its least gets a logarithmic axis


def picture_of(history: History, metric: str, *, title: str) -> Picture:
    """Draw the loss of every step and a metric in [0, 1] wherever it was measured.

    Args:
        history: of a run of at least one step.
        metric: a name in `history.metrics`; without a value of it, only the loss is drawn.
        title: heading, and the first sentence of the description.

    >>> history = History([1, 2], [50.0, 1.0], [0.1, 0.2], [{"step": 2, "mean IoU": 0.5}])
    >>> print(picture_of(history, "mean IoU", title="UNet on cells").alt)
    UNet on cells. Loss (logarithmic axis): 2 points, from 50 to 1, least 1 at step 2. \
mean IoU: 1 point, 0.5 at step 2.
    """
    from matplotlib.ticker import MaxNLocator

    measured = [(int(row["step"]), row[metric]) for row in history.metrics if metric in row]
    rows = 2 if measured else 1
    wide = min(history.loss) > 0 and max(history.loss) / min(history.loss) > _WIDE
    with canvas(rows, width=7.5, height=1.0 + 2.4 * rows, title=title) as (figure, axes):
        few = "o" if len(history.loss) < 10 else ""
        axes[0].plot(history.step, history.loss, color=PALETTE[0], marker=few, lw=1.4)
        axes[0].set_yscale("log" if wide else "linear")
        axes[0].set_ylabel("loss")
        said = f"Loss{' (logarithmic axis)' if wide else ''}: {_told(history.step, history.loss)}."
        if measured:
            steps, values = zip(*measured)
            axes[0].sharex(axes[1])
            axes[0].tick_params(labelbottom=False)
            axes[1].plot(steps, values, "--", color=PALETTE[5], marker="s", ms=7)
            axes[1].set_ylim(-0.03, 1.03)  # a marker on the border stays whole
            axes[1].set_ylabel(metric)
            said += f" {metric}: {_told(steps, values)}."
        axes[-1].set_xlabel("step")
        axes[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        return render(figure, f"{title}. {said}")


def _told(steps: Sequence[int], values: Sequence[float]) -> str:
    if len(values) == 1:
        return f"1 point, {number(values[0])} at step {steps[0]}"
    least = min(values)
    return (
        f"{len(values)} points, from {number(values[0])} to {number(values[-1])}, "
        f"least {number(least)} at step {steps[values.index(least)]}"
    )
