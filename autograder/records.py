"""The result of one submission: what was earned, by which named check, and what was odd about it.

One record per student and lab, written as JSON and validated against a schema on the way in and on
the way out. Everything after the execution (gradebook, feedback, exports, reports) reads this
record, never the kernel's raw output, so another engine can take the place of the first one.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

__all__ = ["SCHEMA", "Check", "Flag", "Question", "Result", "read_result", "write_result"]

SCHEMA = Path(__file__).with_name("result.schema.json")
Status = Literal["graded", "rejected", "failed"]


@dataclass(frozen=True)
class Flag:
    """Something an instructor may want to look at.

    Attributes:
        code: a fixed word such as "answer-missing".
        detail: one sentence in plain words.
        cell: grade id of the cell it is about, or "".
    """

    code: str
    detail: str
    cell: str = ""


@dataclass(frozen=True)
class Check:
    """The outcome of one named check of a question.

    Attributes:
        name: as the exercise states it; message: the hint for a known mistake, or "".
        detail: what was expected and what came; empty for hidden checks.
    """

    name: str
    points: float
    earned: float
    passed: bool
    hidden: bool = False
    message: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Question:
    """One graded cell.

    Attributes:
        cell: its grade id; exercise: the number students know it by, or the grade id.
        points: what it is worth; earned: the automatic score, None where a person decides.
        answered: whether the student changed the answer cell that belongs to it.
        error: why there is no score from the checks themselves, or "".
    """

    cell: str
    exercise: str
    points: float
    earned: float | None
    answered: bool = True
    checks: tuple[Check, ...] = ()
    error: str = ""


@dataclass(frozen=True)
class Result:
    """All that is known about one graded, rejected or failed submission.

    Attributes:
        status: "graded"; "rejected" when there was nothing to grade; "failed" when we broke.
        reason: for the last two, one sentence to the student or the instructor.
        limits: limits that were hit, in words.
        key: hash of everything that the scores depend on; equal key, equal scores.
        seconds: wall-clock time of the execution.
    """

    student: str
    name: str
    lab: str
    status: Status
    questions: tuple[Question, ...] = ()
    flags: tuple[Flag, ...] = ()
    limits: tuple[str, ...] = ()
    reason: str = ""
    engine: str = ""
    key: str = ""
    seconds: float = 0.0

    @property
    def earned(self) -> float:
        """Automatic points so far.

        >>> q = Question("ex-1-1-check", "1.1", 4, 2.5)
        >>> r = Result("ann", "Ann", "01_lab", "graded", (q, Question("t", "1.1", 2, None)))
        >>> r.earned, r.points, r.waiting
        (2.5, 6, 1)
        """
        return math.fsum(q.earned or 0.0 for q in self.questions)

    @property
    def points(self) -> float:
        """What the lab is worth."""
        return sum(q.points for q in self.questions)

    @property
    def waiting(self) -> int:
        """Questions that a person still has to grade."""
        return sum(q.earned is None for q in self.questions)


@cache
def _accepts() -> Callable[[Any], Any]:
    """The schema as code, thirty times as fast as `jsonschema`, which alone explains a refusal."""
    import fastjsonschema

    return fastjsonschema.compile(json.loads(SCHEMA.read_text(encoding="utf-8")))


def _problems(record: Any) -> list[Any]:
    from fastjsonschema import JsonSchemaException
    from jsonschema import Draft202012Validator

    try:
        _accepts()(record)
        return []
    except JsonSchemaException:
        validator = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
        return sorted(validator.iter_errors(record), key=lambda e: list(map(str, e.path)))


def to_json(result: Result) -> dict[str, Any]:
    """The record as plain data, checked against the schema.

    Raises:
        ValueError: a field has the wrong type or lies outside its range.
    """
    # Through JSON once, so that tuples are lists as a reader will see them.
    record = json.loads(json.dumps(asdict(result), allow_nan=False))
    _validate(record, result.student)
    return record


def from_json(record: dict[str, Any]) -> Result:
    """The inverse of `to_json`.

    Raises:
        ValueError: the record does not follow the schema.
    """
    _validate(record, record.get("student", "?") if isinstance(record, dict) else "?")
    questions = tuple(
        Question(**{**q, "checks": tuple(Check(**c) for c in q["checks"])})
        for q in record["questions"]
    )
    flags = tuple(Flag(**f) for f in record["flags"])
    limits = tuple(record["limits"])
    return Result(**{**record, "questions": questions, "flags": flags, "limits": limits})


def _validate(record: Any, student: str) -> None:
    for problem in _problems(record):
        where = "/".join(map(str, problem.path)) or "the record"
        raise ValueError(f"result of {student}: {where}: {problem.message}")
    for question in record["questions"]:
        earned = question["earned"]
        if earned is not None and earned > question["points"] + 1e-9:
            raise ValueError(
                f"result of {student}: {question['cell']} earned {earned} of {question['points']}"
            )


def write_result(result: Result, path: Path) -> None:
    """Write one record, whole or not at all.

    Raises:
        ValueError: the record does not follow the schema.
    """
    write_whole(path, json.dumps(to_json(result), indent=1, ensure_ascii=False) + "\n")


def read_result(path: Path) -> Result:
    """Read one record.

    Raises:
        ValueError: the file is not JSON or does not follow the schema.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a result record: {error}") from error
    return from_json(record)


def write_whole(path: Path, text: str | bytes, *, sync: bool = False) -> None:
    """Write a file beside its place and move it there, so that no reader sees half of it.

    Args:
        sync: return only when it is on the disk, as far as the system knows.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.part")
    data = text.encode("utf-8") if isinstance(text, str) else text
    try:
        with partial.open("wb") as file:
            file.write(data)
            if sync:
                file.flush()
                os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
