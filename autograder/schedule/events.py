"""What happened when: one JSON object per line, for people, plots and other programs.

    .autograder/LAB/events.jsonl, which only grows; docs/grading.md lists the events

Nothing reads it back: grading depends on the journal, never on this.
"""

from __future__ import annotations

import contextlib
import json
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

from autograder.execution import Outcome

__all__ = ["EventLog"]


class EventLog:
    """The event log of one lab. A full disk costs events, never grades.

    Args:
        path: the file; it is made when the first event is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._run = uuid.uuid4().hex[:8]
        self._file: IO[bytes] | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the file; a later event opens it again."""
        if self._file:
            self._file.close()
            self._file = None

    def __call__(self, event: str, **fields: Any) -> None:
        """Add one event; may be called from any thread."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = json.dumps({"at": now, "run": self._run, "event": event, **fields}, default=str)
        with self._lock, contextlib.suppress(OSError):
            if self._file is None:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._file = self._path.open("ab", buffering=0)
                if self._file.tell():
                    self._end_torn_line(self._file)
            self._file.write(line.encode() + b"\n")

    def _end_torn_line(self, file: IO[bytes]) -> None:
        with self._path.open("rb") as reader:
            reader.seek(-1, 2)
            if reader.read(1) != b"\n":
                file.write(b"\n")

    def recorded(self, outcome: Outcome, source: str) -> None:
        """One submission is in the gradebook.

        Args:
            source: "run", "part" (only changed questions were judged) or "store".
        """
        result = outcome.result
        self(
            "recorded",
            student=result.student,
            status=result.status,
            source=source,
            earned=result.earned,
            points=result.points,
            waiting=result.waiting,
            seconds=result.seconds,
            flags=sorted({flag.code for flag in result.flags}),
            limits=list(result.limits),
            reason=result.reason,
        )
