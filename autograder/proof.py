"""Two witnesses that the tests are right on this machine, heard before the first student is graded.

The reference solution must earn all its points, and the notebook as it was released none.
"""

from __future__ import annotations

from collections.abc import Sequence

from autograder.classroom import Classroom
from autograder.errors import AutograderError
from autograder.execution import Outcome, Submission
from autograder.template import Template

__all__ = ["prove", "witnesses"]

_REFERENCE = "/reference"  # no student can be called so
_UNTOUCHED = "/untouched"


def witnesses(classroom: Classroom, template: Template) -> list[Submission]:
    """The reference solution, where the class has one, and the untouched notebook."""
    found = []
    solution = classroom.source(template.lab)
    if solution.is_file():
        found.append(Submission(_REFERENCE, "the reference solution", solution.read_bytes()))
    if template.text:
        found.append(Submission(_UNTOUCHED, "the untouched notebook", template.text))
    return found


def prove(template: Template, outcomes: Sequence[Outcome]) -> int:
    """Refuse to grade where a witness does not earn what it should; returns how many were heard.

    Raises:
        AutograderError: with the exercise, and the first error that may have caused it.
    """
    for outcome in outcomes:
        if outcome.result.status != "graded":
            raise AutograderError(
                f"nothing was graded: {outcome.result.name} of {template.lab} cannot be graded "
                f"here: {outcome.result.reason}"
            )
        if outcome.result.student == _REFERENCE:
            _earns_all(template, outcome)
        else:
            _earns_nothing(template, outcome)
    return len(outcomes)


def _earns_all(template: Template, outcome: Outcome) -> None:
    for question in outcome.result.questions:
        if question.earned is None or question.earned >= question.points - 1e-9:
            continue
        failed = [check.name for check in question.checks if not check.passed]
        cause = question.error or ", ".join(failed) or _first_error(outcome)
        first = _first_error(outcome)
        raise AutograderError(
            f"nothing was graded: here the reference solution of {template.lab} earns "
            f"{question.earned:g} of {question.points:g} points in exercise {question.exercise} "
            f"({cause})" + (f". The first error: {first}" if first and first != cause else "")
        )


def _earns_nothing(template: Template, outcome: Outcome) -> None:
    for question in outcome.result.questions:
        if not question.earned:
            continue
        passed = [check.name for check in question.checks if check.passed]
        what = f": it passes {', '.join(passed)}" if passed else ""
        raise AutograderError(
            f"nothing was graded: the untouched notebook of {template.lab} earns "
            f"{question.earned:g} of {question.points:g} points in exercise "
            f"{question.exercise}{what}. Mend the test, release the lab again, then grade"
        )


def _first_error(outcome: Outcome) -> str:
    cells = outcome.notebook.cells if outcome.notebook else []
    for cell in cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"{output.ename}: {output.evalue}"
    return ""
