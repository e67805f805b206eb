"""The text of every check runs unchanged where only data passes between it and the student."""

from __future__ import annotations

import ast

import torch

from autograder.regions import CODE_STUB, visible
from autograder.source import SETUP

from .conftest import labs
from .loopback import Beyond


def imports(lab: str) -> str:
    """The first setup cell: nothing but imports, run on both sides."""
    source = next(cell.source for cell in labs()[lab].cells if cell.role == SETUP)
    assert all(isinstance(n, ast.Import | ast.ImportFrom) for n in ast.parse(source).body)
    return source


def graded_from_outside(lab: str, exercise: str, gap: str) -> float:
    parsed = labs()[lab]
    student: dict[str, object] = {"__name__": "__main__"}
    exec(imports(lab), student)
    for other in parsed.exercises:
        cell = other.cell("gap")
        assert cell is not None
        exec(cell.source if other.number != exercise else gap, student)
        if other.number == exercise:
            check = other.cell("check")
            break
    assert check is not None
    checker = Beyond(student)
    exec(imports(lab), checker)
    torch.manual_seed(0)
    exec(compile(check.source, "<check>", "exec"), checker)
    return float(checker["check"].report.earned)


def test_checks_need_only_data_from_the_student(lab: str, exercise: str, capsys):
    number = next(e for e in labs()[lab].exercises if e.number == exercise)
    gap = number.cell("gap")
    assert gap is not None
    assert graded_from_outside(lab, exercise, gap.source) == number.test_points
    assert graded_from_outside(lab, exercise, visible(gap.source, CODE_STUB)) == 0
