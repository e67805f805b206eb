"""A claim card: what a paper says, what a lab measured over several seeds, and whether they agree.

A single training run proves little: another seed gives another number. A card therefore holds one
value a seed, the 95 % interval of their mean from Student's t distribution,

    mean ± t(0.975, n − 1) · s / √n,

and one of three words. *Reproduced*: the whole interval lies above the effect that was named
beforehand. *Not reproduced*: the whole interval lies below it. *Cannot tell*: it lies on both
sides, so more seeds are needed. Counted quantities (multiply-accumulates, calls) have no seeds and
no interval.

Reference: Student, *The Probable Error of a Mean*, Biometrika 1908; for the practice in machine
learning, Bouthillier et al., *Accounting for Variance in Machine Learning Benchmarks*, MLSys 2021.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from html import escape
from typing import Any, Literal

__all__ = ["MIME", "Claim", "claim"]

MIME = "application/vnd.segmentation-course.claim+json"
Verdict = Literal["reproduced", "not reproduced", "cannot tell"]


@dataclass(frozen=True)
class Claim:
    """One claim of a lab, ready to be shown; made by `claim`.

    Attributes:
        lab: number of the lab.
        statement: the claim in one sentence.
        quantity: what was measured, with its unit.
        paper: what the paper says, and where.
        values: one value a seed, or a single counted one.
        at_least: the effect from which the claim counts as reproduced.
        counted: the value is a count: it has no seeds and no interval.
    """

    lab: int
    statement: str
    quantity: str
    paper: str
    values: tuple[float, ...]
    at_least: float
    counted: bool = False

    @property
    def mean(self) -> float:
        """Mean over the seeds."""
        return sum(self.values) / len(self.values)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean; both ends are the value where it was counted.

        >>> card = claim(9, "s", quantity="q", paper="p", values=[1.0, 2.0, 3.0], at_least=0)
        >>> [round(end, 3) for end in card.interval]
        [-0.484, 4.484]
        """
        if self.counted:
            return self.mean, self.mean
        from scipy.stats import t

        n = len(self.values)
        variance = sum((value - self.mean) ** 2 for value in self.values) / (n - 1)
        half = float(t.ppf(0.975, n - 1)) * math.sqrt(variance / n)
        return self.mean - half, self.mean + half

    @property
    def verdict(self) -> Verdict:
        """The word that the interval allows."""
        low, high = self.interval
        if low >= self.at_least:
            return "reproduced"
        return "not reproduced" if high < self.at_least else "cannot tell"

    @property
    def measured(self) -> str:
        """The measurement in words.

        >>> Claim(5, "s", "q", "p", (11.2,), at_least=10, counted=True).measured
        '11.2, counted'
        """
        if self.counted:
            return f"{_short(self.mean)}, counted"
        low, high = self.interval
        each = ", ".join(map(_short, self.values))
        return (
            f"{_short(self.mean)} in the mean of {len(self.values)} seeds ({each}), "
            f"95 % interval {_short(low)} to {_short(high)}"
        )

    @property
    def alt(self) -> str:
        """The card as text."""
        return (
            f"Claim of lab {self.lab}: {self.statement} Paper: {self.paper}. Here, "
            f"{self.quantity}: {self.measured}; expected at least {_short(self.at_least)}. "
            f"Verdict: {self.verdict}."
        )

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        rows = (
            ("claim", self.statement),
            ("the paper", self.paper),
            ("measured here", f"{self.quantity}: {self.measured}"),
            ("expected", f"at least {_short(self.at_least)}"),
            ("verdict", self.verdict),
        )
        body = "".join(
            f'<tr><th scope="row" style="text-align: left">{escape(name)}</th>'
            f'<td style="text-align: left">{escape(text)}</td></tr>'
            for name, text in rows
        )
        caption = f"<caption>Claim of lab {self.lab}</caption>"
        data = asdict(self) | {"values": list(self.values), "verdict": self.verdict}
        return {
            "text/html": f"<table>{caption}<tbody>{body}</tbody></table>",
            "text/plain": self.alt,
            MIME: data,
        }

    def __repr__(self) -> str:
        return self.alt

    def show(self) -> None:
        """Display inside an `if` or a loop, where a bare last line is not shown."""
        from IPython.display import display

        display(self)


def claim(
    lab: int,
    statement: str,
    *,
    quantity: str,
    paper: str,
    values: Sequence[float],
    at_least: float,
    counted: bool = False,
) -> Claim:
    """Make the claim card of a lab.

    Args:
        lab: number of the lab, 1 to 14.
        statement: the claim in one sentence.
        quantity: what `values` are, with their unit; differences paired by seed say more than two
            means.
        paper: what the paper says, with the place.
        values: finite numbers, one a seed and at least three, or a single counted one.
        at_least: the effect, named beforehand, from which the claim counts as reproduced.
        counted: `values` is one counted number.

    Raises:
        ValueError: too few values, or one that is not finite.

    >>> card = claim(8, "Border weights separate touching cells.",
    ...              quantity="share of cells found, with weights less without",
    ...              paper="Ronneberger 2015, section 3: no figure printed",
    ...              values=[0.76, 0.69, 0.79], at_least=0.3)
    >>> card.verdict
    'reproduced'
    """
    numbers = tuple(float(value) for value in values)
    if counted and len(numbers) != 1:
        raise ValueError(f"a counted claim has one value; got {len(numbers)}")
    if not counted and len(numbers) < 3:
        raise ValueError(f"a claim needs values of at least 3 seeds; got {len(numbers)}")
    if not all(math.isfinite(number) for number in (*numbers, at_least)):
        raise ValueError(f"expected finite numbers; got {numbers} and at_least={at_least}")
    if not 1 <= lab <= 14:
        raise ValueError(f"expected a lab from 1 to 14; got {lab}")
    return Claim(lab, statement, quantity, paper, numbers, float(at_least), counted)


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1e5 else f"{value:,.0f}"
