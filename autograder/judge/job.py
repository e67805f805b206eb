"""What the grader tells the process outside the box about one check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """One check cell to run.

    Attributes:
        text: the cell, hidden tests included.
        before: our own cells that define names which it uses.
        theirs: names that the lab's gaps define.
        forbid: what the exercise forbids; block: of that, what is blocked in the snapshot.
        seconds: by the clock.
        most_bytes: of output.
        count: number of the cell, as the notebook shows it.
        folder: where files of the lab are, or "".
    """

    text: str
    before: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    block: tuple[str, ...] = ()
    seconds: float = 60.0
    most_bytes: int = 1 << 20
    count: int = 1
    folder: str = ""

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Job:
        """From the wire."""
        lists = {key: tuple(data[key]) for key in ("before", "theirs", "forbid", "block")}
        return cls(**{**data, **lists})
