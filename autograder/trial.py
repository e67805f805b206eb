"""Try answers on an exercise's checks, in this process: the zoo, the reference, the stub.

An instructor wants proof that the tests catch wrong answers before a class meets them. A trial runs
the imports of a lab, the reference answers of the other exercises, one answer, and the check cell,
once as students see it and once with the hidden tests. Only answers written by instructors are run
here; a student's notebook is graded elsewhere.
"""

from __future__ import annotations

import ast
import contextlib
import io
import itertools
import linecache
from dataclasses import dataclass
from typing import Any

from autograder.errors import AutograderError
from autograder.regions import CODE_STUB, visible
from autograder.source import SETUP, Cell, Exercise, Lab
from autograder.zoo import Answer

__all__ = ["Outcome", "Trial", "judge"]

_numbers = itertools.count()


@dataclass(frozen=True)
class Outcome:
    """What the checks of one exercise said about one answer.

    Attributes:
        visible: the report's record of the visible checks.
        graded: the record with hidden tests.
        text: the visible report as a student reads it.
    """

    visible: dict[str, Any]
    graded: dict[str, Any]
    text: str

    @property
    def passes_visible(self) -> bool:
        """Whether a student would see no failure."""
        return all(check["passed"] for check in self.visible["checks"])

    @property
    def points(self) -> float:
        """Points after grading."""
        return self.graded["earned"]

    def says(self, hint: str) -> bool:
        """Whether the visible report contains these words."""
        return " ".join(hint.split()) in " ".join(self.text.split())


class Trial:
    """The exercises of a lab, ready to be answered.

    Args:
        lab: a parsed lab source.
    """

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def reference(self, number: str) -> Outcome:
        """The outcome of the lab's own answer."""
        return self.answer(number, _cell(self._exercise(number), "gap").source)

    def stub(self, number: str) -> Outcome:
        """The outcome of the untouched gap."""
        return self.answer(number, visible(_cell(self._exercise(number), "gap").source, CODE_STUB))

    def answer(self, number: str, source: str) -> Outcome:
        """The outcome of a gap cell with the given text.

        Raises:
            AutograderError: no such exercise, or the check cell itself is broken.
        """
        exercise = self._exercise(number)
        check = _cell(exercise, "check").source
        seen, text = self._run(exercise, source, visible(check))
        graded, _ = self._run(exercise, source, check)
        return Outcome(seen, graded, text)

    def _run(self, exercise: Exercise, source: str, check: str) -> tuple[dict[str, Any], str]:
        import torch

        names: dict[str, Any] = {"__name__": "__main__"}
        for cell in self.lab.cells:
            if cell.role == SETUP and _only_imports(cell.source):
                _execute(cell.source, names, "imports")
        for other in self.lab.exercises:
            if other.number == exercise.number:
                break
            if gap := other.cell("gap"):
                _execute(gap.source, names, other.number)
        torch.manual_seed(0)
        with contextlib.redirect_stdout(io.StringIO()):
            _execute(source, names, f"answer {exercise.number}")
            try:
                _execute(check, names, f"check {exercise.number}")
            except Exception as error:
                where = f"{self.lab.path}: check of exercise {exercise.number}"
                raise AutograderError(f"{where} raised {type(error).__name__}: {error}") from error
        report = names["check"].report
        return report.record(), report.text()

    def _exercise(self, number: str) -> Exercise:
        for exercise in self.lab.exercises:
            if exercise.number == number:
                return exercise
        known = ", ".join(e.number for e in self.lab.exercises)
        raise AutograderError(f"{self.lab.path}: no exercise {number}; there are {known}")


def judge(answer: Answer, outcome: Outcome, full: float) -> str:
    """What is wrong with the verdict on a zoo answer; "" where it is as its author says.

    Args:
        full: points of the whole exercise.
    """
    if answer.right:
        return "" if outcome.points == full else f"right answer gets {outcome.points:g} of {full:g}"
    if outcome.points >= full:
        return "wrong answer gets full points"
    if answer.caught == "hidden":
        return ""
    if outcome.passes_visible:
        return "the visible check does not notice it"
    if answer.hint and not outcome.says(answer.hint):
        return f"the visible check does not say {answer.hint!r}"
    return ""


def _cell(exercise: Exercise, role: str) -> Cell:
    cell = exercise.cell(role)
    if cell is None:
        raise AutograderError(f"exercise {exercise.number} has no {role} cell")
    return cell


def _only_imports(source: str) -> bool:
    body = ast.parse(source).body
    return bool(body) and all(isinstance(node, ast.Import | ast.ImportFrom) for node in body)


def _execute(source: str, names: dict[str, Any], label: str) -> None:
    """Run text as a cell; its lines can be found again in tracebacks."""
    file = f"<{label} {next(_numbers)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), names)
