"""The one narrow door between a submission and its result.

Everything before the door is text, everything behind it is a record. An engine takes the one and
gives the other; it alone decides where and how the student's code runs, and may be replaced by
another one without a change elsewhere. `autograder.schedule` brings a class through the door.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from autograder.limits import Limits
from autograder.rebuild import Rebuilt
from autograder.records import Flag, Result
from autograder.template import Template

__all__ = ["Engine", "Outcome", "Submission", "result_key", "ungraded"]


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
    """What came back through the door.

    Attributes:
        rebuilt: what was run, where the engine that ran it still knows.
        notebook: the executed notebook for the gradebook, None where nothing was executed.
        talks: grade id of a test cell → what the student's code answered to it, for an engine that
            can judge a changed test from that.
    """

    result: Result
    rebuilt: Rebuilt | None = None
    notebook: Any = None
    talks: Mapping[str, bytes] = field(default_factory=dict)


class Engine(Protocol):
    """Where students' code runs. Must be usable from several threads at once.

    `grade` is given `talks` only by an engine whose outcomes have some.

    Attributes:
        name: under which results and the command line know it. An engine whose results also depend
            on how well it could lock students in has `level`, a word for that, beside it.
    """

    name: str

    def grade(
        self,
        submission: Submission,
        template: Template,
        limits: Limits,
        *,
        questions: frozenset[str] | None = None,
    ) -> Outcome:
        """Grade one submission; never raises for anything that the student did.

        Args:
            questions: grade ids of the test cells that must be judged, None for all. More may be
                judged; the caller takes what it asked for.
        """
        ...

    def close(self) -> None:
        """Stop whatever still runs."""
        ...


def result_key(submission: Submission, template: Template, limits: Limits, engine: str) -> str:
    """Hash of everything that the scores depend on, but for files that lie beside the lab."""
    from autograder.schedule.keys import Keyring

    return Keyring(template, limits, engine).of(submission.data).whole


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
