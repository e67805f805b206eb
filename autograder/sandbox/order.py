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
        private: Python lies where only root may go: a worker that becomes another user keeps the
            right to read (below level 3, where the box itself shows it).
        visible: paths that it may read, for level 2.
        listed: folders that it may list, for level 2.
        keep: folders below /tmp that stay visible at level 3.
        room_bytes: what `files` take, on top of the limits; room_files: how many they are.
        limits: see `Limits`.
    """

    target: str
    level: int
    work: str
    files: str
    uid: int | None
    processes: int
    private: bool
    visible: tuple[str, ...]
    listed: tuple[str, ...]
    keep: tuple[str, ...]
    room_bytes: int
    room_files: int
    limits: Limits

    def as_json(self) -> dict[str, Any]:
        """For the wire."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Order:
        """From the wire."""
        limits = Limits(**data["limits"])
        lists = {name: tuple(data[name]) for name in ("visible", "listed", "keep")}
        return cls(**{**data, **lists, "limits": limits})
