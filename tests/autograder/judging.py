"""A real lab as a template, and notebooks that students make of it, for the tests of the judge."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from typing import Any

import nbformat

from autograder.execution import Submission
from autograder.expand import expand
from autograder.source import Lab, read_lab
from autograder.template import Template, read_template

ROOT = Path(__file__).parents[2]


@cache
def lab(name: str) -> Lab:
    """A parsed lab source."""
    return read_lab(ROOT / "solutions" / f"{name}.py")


@cache
def template(name: str) -> Template:
    """The template of a released lab, without a gradebook."""
    full = expand(lab(name))
    locked = {
        c.metadata.nbgrader.grade_id: c.source for c in full.cells if "nbgrader" in c.metadata
    }
    return read_template(ROOT / "labs" / name / f"{name}.ipynb", name, locked)


@cache
def _released(name: str) -> Any:
    return nbformat.read(ROOT / "labs" / name / f"{name}.ipynb", as_version=4)


def solution(name: str) -> dict[str, str]:
    """Exercise → the lab's own answer."""
    gaps = ((e.number, e.cell("gap")) for e in lab(name).exercises)
    return {number: gap.source for number, gap in gaps if gap is not None}


def notebook(name: str, answers: dict[str, str], extra: dict[str, str] | None = None) -> Any:
    """The released notebook with answers by exercise.

    Args:
        extra: exercise → text of a cell that the student added in front of its answer.
    """
    made = copy.deepcopy(_released(name))
    places = {f"ex-{number.replace('.', '-')}-answer": number for number in solution(name)}
    for cell in list(made.cells):
        number = places.get(cell.id, "")
        if number in answers:
            cell.source = answers[number]
        if number in (extra or {}):
            new = nbformat.v4.new_code_cell((extra or {})[number], id=f"added-{number[-1]}")
            made.cells.insert(made.cells.index(cell), new)
    return made


def submission(made: Any, student: str = "ann") -> Submission:
    """The notebook as somebody handed it in."""
    return Submission(student, student.title(), json.dumps(made).encode())
