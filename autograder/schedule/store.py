"""Results under their keys, in the class folder: what was computed once is not computed again.

    .autograder/LAB/outcomes/BASE/WHOLE.z

A file holds the record and the executed notebook, as compressed JSON, then what the student's code
answered to the tests (see `autograder.judge.talk`). It names no student: two who hand in the same
bytes share it. It is written whole or not at all; one that cannot be read counts
as absent. Files that no run has used for a quarter of a year are deleted.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from autograder.execution import Outcome, Submission
from autograder.records import Result, from_json, to_json, write_whole
from autograder.schedule.keys import Keys

__all__ = ["Store", "Stored", "in_bytes", "out_of_bytes"]

_NOBODY = "-"
_DAYS = 90
_LENGTH = 8


@dataclass(frozen=True)
class Stored:
    """One result without a name.

    Attributes:
        keys: what it is the result of.
        notebook: the executed notebook as plain data, None where nothing was executed.
        talks: see `autograder.execution.Outcome`.
    """

    keys: Keys
    result: Result
    notebook: Any = None
    talks: Mapping[str, bytes] = field(default_factory=dict)

    def outcome(self) -> Outcome:
        """The outcome of nobody."""
        return Outcome(self.result, notebook=self.notebook, talks=self.talks)

    def named(self, submission: Submission) -> Outcome:
        """The outcome of one student: with the name, and what intake noticed."""
        import nbformat

        result = replace(
            self.result,
            student=submission.student,
            name=submission.name,
            flags=(*submission.flags, *self.result.flags),
            key=self.keys.whole,
        )
        notebook = None if self.notebook is None else nbformat.from_dict(self.notebook)
        return Outcome(result, notebook=notebook)


def in_bytes(keys: Keys, outcome: Outcome) -> bytes:
    """A result as it is stored and as it travels.

    Args:
        outcome: of a submission without flags of its own.

    Raises:
        ValueError: the record does not follow its schema.
    """
    record = {
        "base": keys.base,
        "questions": dict(keys.questions),
        "result": to_json(replace(outcome.result, student=_NOBODY, name="", key="")),
        "notebook": outcome.notebook,
        "talks": {cell: len(talk) for cell, talk in outcome.talks.items()},
    }
    packed = zlib.compress(json.dumps(record).encode(), 1)
    return b"".join([len(packed).to_bytes(_LENGTH, "big"), packed, *outcome.talks.values()])


def out_of_bytes(data: bytes) -> Stored:
    """The inverse of `in_bytes`.

    Raises:
        ValueError: damaged, or written by another version.
    """
    try:
        at = _LENGTH + int.from_bytes(data[:_LENGTH], "big")
        record = json.loads(zlib.decompress(data[_LENGTH:at]))
        keys = Keys(record["base"], record["questions"])
        if len(data) != at + sum(record["talks"].values()):
            raise ValueError("not a stored result: it is cut off")
        talks = {}
        for cell, size in record["talks"].items():
            talks[cell] = data[at : at + size]
            at += size
        return Stored(keys, from_json(record["result"]), record["notebook"], talks)
    except (zlib.error, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"not a stored result: {error}") from error


class Store:
    """The results of one lab.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _path(self, keys: Keys) -> Path:
        return self._folder / keys.base / f"{keys.whole}.z"

    def get(self, keys: Keys) -> Stored | None:
        """The result with these keys."""
        return self._read(self._path(keys))

    def nearest(self, keys: Keys) -> Stored | None:
        """Among results of the same base, the one with the fewest changed tests."""
        found = [self._read(path) for path in sorted((self._folder / keys.base).glob("*.z"))]
        useful = [s for s in found if s and len(keys.changed(s.keys)) < len(keys.questions)]
        useful = [s for s in useful if s.result.status == "graded" and s.notebook is not None]
        return min(useful, key=lambda s: len(keys.changed(s.keys)), default=None)

    def put(self, data: bytes, stored: Stored | None = None) -> Stored:
        """Keep one result; it is on the disk when this returns.

        Args:
            data: see `in_bytes`.
            stored: what is in there, if that is known.
        """
        stored = stored or out_of_bytes(data)
        write_whole(self._path(stored.keys), data, sync=True)
        return stored

    def _read(self, path: Path) -> Stored | None:
        try:
            data = path.read_bytes()
            stored = out_of_bytes(data)
        except (OSError, ValueError):
            return None
        os.utime(path)
        return stored if self._path(stored.keys) == path else None

    def prune(self, days: float = _DAYS) -> int:
        """Delete what no run has used for so long, and what killed runs left unfinished.

        Call it when nothing is being stored. Returns how many results were deleted.
        """
        deleted, oldest = 0, time.time() - days * 86400
        for path in self._folder.glob("*/.*.part"):
            path.unlink(missing_ok=True)
        for path in self._folder.glob("*/*.z"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
                deleted += 1
        return deleted
