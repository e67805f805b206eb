"""What is in the gradebook, also after the process was killed or the power went.

One result goes to three places (gradebook, autograded notebook, record), which no file system
writes at once. So a line is added before the first place is touched, and one after the last. A
student with the first line only is written again on the next run: every one of the three writes
replaces what was there, so writing twice is writing once. A torn last line counts as absent.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from autograder.records import write_whole

__all__ = ["Journal"]

_MANY_LINES = 20_000


class Journal:
    """The journal of one lab; use it in a `with`, while you hold the class.

    Args:
        path: the file; it is made when the first line is written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None
        self._open: dict[str, str] = {}
        self._proved: set[str] = set()
        self._lines = 0
        self._torn = False
        self._read()

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()
            self._file = None

    @property
    def half_written(self) -> frozenset[str]:
        """Students whose last write was begun and not ended."""
        return frozenset(self._open)

    def is_proved(self, key: str) -> bool:
        """Whether the reference solution has passed with this key."""
        return key in self._proved

    def begin(self, student: str, key: str) -> None:
        """Say that a student's result is about to be written; on the disk when this returns."""
        self._add({"do": "begin", "student": student, "key": key}, sync=True)

    def end(self, student: str) -> None:
        """Say that it is written everywhere."""
        self._add({"do": "end", "student": student})

    def prove(self, key: str) -> None:
        """Say that the reference solution has passed with this key."""
        self._add({"do": "prove", "key": key})

    def _read(self) -> None:
        try:
            data = self._path.read_bytes()
        except FileNotFoundError:
            return
        self._torn = bool(data) and not data.endswith(b"\n")
        for line in data.splitlines():
            try:
                self._take(json.loads(line))
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # torn by a kill; what it said was not yet relied upon
            self._lines += 1

    def _take(self, entry: dict[str, Any]) -> None:
        if entry["do"] == "begin":
            self._open[entry["student"]] = entry["key"]
        elif entry["do"] == "end":
            self._open.pop(entry["student"], None)
        elif entry["do"] == "prove":
            self._proved.add(entry["key"])

    def _add(self, entry: dict[str, Any], *, sync: bool = False) -> None:
        if self._lines > _MANY_LINES and not self._open:
            self._compact()
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab", buffering=0)
            if self._torn:
                self._file.write(b"\n")
                self._torn = False
        self._file.write(json.dumps(entry).encode() + b"\n")
        if sync:
            os.fsync(self._file.fileno())
        self._take(entry)
        self._lines += 1

    def _compact(self) -> None:
        if self._file:
            self._file.close()
            self._file = None
        lines = [json.dumps({"do": "prove", "key": key}) + "\n" for key in sorted(self._proved)]
        write_whole(self._path, "".join(lines[-100:]), sync=True)
        self._lines, self._torn = len(lines[-100:]), False
