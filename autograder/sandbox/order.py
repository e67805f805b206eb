"""What the grader tells the fork server about one worker."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from autograder.limits import Limits

__all__ = ["Order"]


@dataclass(frozen=True)
class Order:
    """One worker to start.

    Attributes:
        target: "package.module:function".
        level: the rung of the ladder.
        work: its folder, as the fork server sees it; at level 3 a fresh file system of its own.
        files: what is copied there at level 3, or "".
        uid: the user it becomes, or None to stay who the server is.
        processes: the number for `RLIMIT_NPROC`: at level 3 its own, below it the user's.
        hidden: folders of the server that the worker must not see.
        limits: see `Limits`.
    """

    target: str
    level: int
    work: str
    files: str
    uid: int | None
    processes: int
    hidden: tuple[str, ...]
    limits: Limits

    def as_json(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Order:
        """From the wire."""
        limits = Limits(**data["limits"])
        return cls(**{**data, "limits": limits, "hidden": tuple(data["hidden"])})
