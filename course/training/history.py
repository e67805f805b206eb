"""What a training run leaves behind beside the weights: its loss, its clock and its metrics."""

import csv
import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

__all__ = ["History"]


@dataclass(repr=False)
class History:
    """The course of one run, over all the times it was continued.

    Attributes:
        step: 1, 2, … one entry per update.
        loss: loss of that step's batch, before the update.
        seconds: wall-clock time since the run began, without the time between kill and resume.
        metrics: what `evaluate` returned, with its step: `[{"step": 100, "mean_iou": 0.61}, …]`.

    Example:
        >>> History([1, 2], [0.7, 0.5], [0.1, 0.2], [{"step": 2, "mean_iou": 0.4}])
        History(2 steps, loss 0.7 to 0.5, mean_iou 0.4)
    """

    step: list[int] = field(default_factory=list)
    loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    metrics: list[dict[str, float]] = field(default_factory=list)

    def followed_by(self, other: "History") -> "History":
        """One history out of two runs, the second counted on from the end of the first.

        >>> History([1, 2], [0.7, 0.5], [0.1, 0.2]).followed_by(History([1], [0.4], [0.1])).step
        [1, 2, 3]
        """
        steps, clock = (self.step[-1], self.seconds[-1]) if self.step else (0, 0.0)
        return History(
            self.step + [step + steps for step in other.step],
            self.loss + other.loss,
            self.seconds + [seconds + clock for seconds in other.seconds],
            self.metrics + [row | {"step": row["step"] + steps} for row in other.metrics],
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the history as CSV (a row per step, metrics in columns) or JSON, by file name.

        Raises:
            ValueError: the name ends neither in .csv nor in .json.
        """
        path = Path(path)
        if path.suffix == ".json":
            path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")
        elif path.suffix == ".csv":
            self._write_csv(path)
        else:
            raise ValueError(f"expected a file name ending in .csv or .json, got {path.name!r}")

    def _write_csv(self, path: Path) -> None:
        names = list(dict.fromkeys(name for row in self.metrics for name in row if name != "step"))
        measured = {row["step"]: row for row in self.metrics}
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "loss", "seconds", *names])
            for step, loss, seconds in zip(self.step, self.loss, self.seconds):
                row = measured.get(step, {})
                writer.writerow([step, loss, round(seconds, 3), *(row.get(n, "") for n in names)])

    def __repr__(self) -> str:
        loss = f", loss {self.loss[0]:.4g} to {self.loss[-1]:.4g}" if self.loss else ""
        last = self.metrics[-1] if self.metrics else {}
        metrics = "".join(f", {name} {last[name]:.4g}" for name in last if name != "step")
        return f"History({len(self.step)} steps{loss}{metrics})"
