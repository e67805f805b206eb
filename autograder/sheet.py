"""The state of a lab in a class: who handed in, what it earned, what a person changed since.

It joins the manifest (who handed in), the result records (which checks passed, what was odd) and
the gradebook (what counts now). Feedback, exports and reports are made of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from autograder.classroom import Classroom
from autograder.errors import AutograderError
from autograder.intake import Entry, read_manifest
from autograder.recorder import Grades, read_grades
from autograder.records import Result, read_result
from autograder.template import Template

__all__ = ["Column", "Row", "Sheet", "columns_of", "read_sheet"]

_HEADING = re.compile(r"^#+ (?:Exercise \d+\.\d+ · )([^·\n]+)", re.M)
_TITLE = re.compile(r"^# (.+)", re.M)


@dataclass(frozen=True)
class Column:
    """One graded cell.

    Attributes:
        cell: its grade id; exercise: the number students know; title: the exercise's, or "".
        written: whether a person grades it.
    """

    cell: str
    exercise: str
    title: str
    points: float
    written: bool

    @property
    def label(self) -> str:
        """Short and unique within a lab, but for labs with several tests per exercise."""
        return f"{self.exercise} written" if self.written else self.exercise


@dataclass(frozen=True)
class Row:
    """One student.

    Attributes:
        status: "graded", "rejected", "failed", or "waiting" where nothing was run yet.
        reason: for "rejected" and "failed".
        result, grades: None where there are none.
    """

    student: str
    name: str
    status: Literal["graded", "rejected", "failed", "waiting"]
    reason: str = ""
    result: Result | None = None
    grades: Grades | None = None

    @property
    def total(self) -> float | None:
        """Points that count now, late penalty included."""
        if self.grades is None:
            return None
        return max(0.0, sum(g.score for g in self.grades.cells.values()) - self.grades.penalty)

    @property
    def waiting(self) -> int:
        """Answers that a person still has to look at."""
        return sum(g.waiting for g in self.grades.cells.values()) if self.grades else 0


@dataclass(frozen=True)
class Sheet:
    """A lab of a class.

    Attributes:
        title: the lab's heading.
        rows: sorted by name.
    """

    classroom: Classroom
    template: Template
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def lab(self) -> str:
        """The lab's name."""
        return self.template.lab

    @property
    def points(self) -> float:
        """What the lab is worth."""
        return sum(column.points for column in self.columns)


def read_sheet(classroom: Classroom, lab: str) -> Sheet:
    """Read everything there is about a lab.

    Raises:
        AutograderError: no such lab, nothing collected, or a damaged file.
    """
    template = classroom.template(lab)
    grades = read_grades(classroom, lab)
    rows = [_row(classroom, lab, e, grades.get(e.student)) for e in _entries(classroom, lab)]
    found = (_TITLE.search(c.released) for c in template.cells if c.kind == "markdown")
    title = next((match[1].strip() for match in found if match), lab)
    order = sorted(rows, key=lambda row: (row.name.casefold(), row.student))
    return Sheet(classroom, template, title, columns_of(template), tuple(order))


def _entries(classroom: Classroom, lab: str) -> list[Entry]:
    return read_manifest(classroom.manifest(lab))


def _row(classroom: Classroom, lab: str, entry: Entry, grades: Grades | None) -> Row:
    if entry.rejected:
        return Row(entry.student, entry.name, "rejected", entry.rejected)
    path = classroom.result(entry.student, lab)
    if not path.is_file():
        return Row(entry.student, entry.name, "waiting")
    try:
        result = read_result(path)
    except ValueError as error:
        raise AutograderError(f"{error}: grade {entry.student} again") from error
    if result.status != "graded":
        return Row(entry.student, entry.name, result.status, result.reason, result)
    return Row(entry.student, entry.name, "graded", "", result, grades)


def columns_of(template: Template) -> tuple[Column, ...]:
    """The graded cells of a lab, with the titles of their exercises."""
    headings = {
        cell.id: match[1].strip()
        for cell in template.cells
        if cell.id.endswith("-contract") and (match := _HEADING.search(cell.released))
    }
    columns = []
    for cell in template.graded:
        exercise = template.exercise_of(cell)
        title = headings.get(f"ex-{exercise.replace('.', '-')}-contract", "")
        columns.append(Column(cell.grade_id, exercise, title, cell.points, not cell.is_check))
    return tuple(columns)
