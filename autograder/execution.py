"""The one narrow door between a submission and its result.

Everything before the door is text, everything behind it is a record. An engine takes the one and
gives the other; it alone decides where and how the student's code runs, and may be replaced by
another one without a change elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from autograder.limits import Limits
from autograder.rebuild import Rebuilt
from autograder.records import Flag, Result
from autograder.template import Template

__all__ = ["Engine", "Outcome", "Submission", "grade_class", "result_key", "ungraded"]


@dataclass(frozen=True)
class Submission:
    """What a student handed in.

    Attributes:
        data: bytes of the notebook.
        flags: what intake noticed.
    """

    student: str
    name: str
    data: bytes
    flags: tuple[Flag, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """What came back through the door: the record, and the executed notebook for the gradebook."""

    result: Result
    rebuilt: Rebuilt | None = None
    notebook: Any = None


class Engine(Protocol):
    """Where students' code runs. Must be usable from several threads at once."""

    name: str

    def grade(self, submission: Submission, template: Template, limits: Limits) -> Outcome:
        """Grade one submission; never raises for anything that the student did."""
        ...

    def close(self) -> None:
        """Stop whatever still runs."""
        ...


def grade_class(
    engine: Engine,
    submissions: Sequence[Submission],
    template: Template,
    limits: Limits,
    *,
    jobs: int = 1,
) -> Generator[Outcome, None, None]:
    """Grade several submissions at once; outcomes come as they finish.

    Raises:
        ValueError: jobs is not positive.
    """
    if jobs < 1:
        raise ValueError(f"jobs must be positive, got {jobs}")
    pool = ThreadPoolExecutor(max_workers=jobs)
    futures = {pool.submit(engine.grade, s, template, limits): s for s in submissions}
    try:
        for future in as_completed(futures):
            submission = futures[future]
            try:
                yield future.result()
            except Exception as error:
                # Our own defect must not cost the rest of the class its grades.
                reason = f"{type(error).__name__}: {error}"
                yield ungraded(submission, template, engine.name, "failed", reason)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        engine.close()
        pool.shutdown(wait=True)


def result_key(submission: Submission, template: Template, limits: Limits, engine: str) -> str:
    """Hash of everything that the scores depend on, but for the environment."""
    from importlib.metadata import version

    parts = [c.source for c in template.cells] + [json.dumps(vars(limits)), engine]
    parts += [version("segmentation-course"), sys.version]
    digest = hashlib.sha256(submission.data)
    for part in parts:
        digest.update(hashlib.sha256(part.encode("utf-8", "replace")).digest())
    return digest.hexdigest()


def ungraded(
    submission: Submission,
    template: Template,
    engine: str,
    status: Literal["rejected", "failed"],
    reason: str,
) -> Outcome:
    """The outcome where there are no points to give, and why."""
    student, name, flags = submission.student, submission.name, submission.flags
    return Outcome(
        Result(student, name, template.lab, status, flags=flags, reason=reason, engine=engine)
    )
