"""Two witnesses that the tests are right on this machine, heard before the first student is graded.

The reference solution must earn all its points, and the notebook as it was released none.
"""

from __future__ import annotations

import json
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
        data = _without_tests(solution.read_bytes(), template)
        found.append(Submission(_REFERENCE, "the reference solution", data))
    if template.text:
        data = _without_tests(template.text, template)
        found.append(Submission(_UNTOUCHED, "the untouched notebook", data))
    return found


def _without_tests(notebook: bytes, template: Template) -> bytes:
    """A witness as a student would hand it in; the tests that count are the template's anyway.

    So it stays the same when a test changes, and only that test is heard again.
    """
    tests = {cell.grade_id for cell in template.cells if cell.is_check}
    try:
        found = json.loads(notebook)
        for cell in found["cells"]:
            cell.update({"outputs": [], "execution_count": None} if "outputs" in cell else {})
            if cell["metadata"].get("nbgrader", {}).get("grade_id") in tests:
                cell["source"] = ""
    except (ValueError, KeyError, TypeError, AttributeError):
        return notebook  # the engine will say what is wrong with it
    return json.dumps(found, sort_keys=True).encode()


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
