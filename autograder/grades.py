"""What the gradebook says now, people's scores and comments included."""

from __future__ import annotations

from dataclasses import dataclass

from autograder.classroom import Classroom

__all__ = ["Grade", "Grades", "read_grades"]


@dataclass(frozen=True)
class Grade:
    """One graded cell in the gradebook.

    Attributes:
        score: what counts now; manual: a person's score, None where there is none.
        waiting: whether a person still has to look at it.
        comment: a person's words to the student, or "".
    """

    score: float
    points: float
    manual: float | None = None
    extra: float = 0.0
    waiting: bool = False
    comment: str = ""


@dataclass(frozen=True)
class Grades:
    """What the gradebook says about one submission.

    Attributes:
        cells: grade id → grade.
        penalty: points taken off for being late.
    """

    cells: dict[str, Grade]
    penalty: float = 0.0


def read_grades(classroom: Classroom, lab: str) -> dict[str, Grades]:
    """Everything the gradebook says about a lab now, by student.

    Raises:
        AutograderError: no gradebook.
    """
    from nbgrader.api import Comment, MissingEntry, SubmittedAssignment, SubmittedNotebook
    from nbgrader.api import Grade as Row
    from sqlalchemy import select

    part, handed = SubmittedNotebook, SubmittedAssignment
    with classroom.gradebook() as gradebook:
        try:
            ours = gradebook.find_notebook(lab, lab)
        except MissingEntry:
            return {}
        graded = {cell.id: cell for cell in (*ours.grade_cells, *ours.task_cells)}
        names = {cell.id: cell.name for cell in (*ours.solution_cells, *ours.task_cells)}
        # Rows, not objects: nbgrader's objects add up the points of the class when they are loaded.
        whose = select(part.id, handed.student_id, part.late_submission_penalty).join(
            handed, handed.id == part.assignment_id
        )
        mine = whose.where(part.notebook_id == ours.id)
        parts = {row[0]: row for row in gradebook.db.execute(mine)}
        words = select(Comment.notebook_id, Comment.cell_id, Comment.comment)
        said = {
            (row[0], names[row[1]]): row[2] or ""
            for row in gradebook.db.execute(words.where(Comment.cell_id.in_(names)))
        }
        columns = select(
            *(Row.notebook_id, Row.cell_id, Row.score, Row.manual_score, Row.extra_credit),
            Row.needs_manual_grade,
        )
        grades = {row[1]: Grades({}, row[2] or 0.0) for row in parts.values()}
        for found in gradebook.db.execute(columns.where(Row.cell_id.in_(graded))):
            cell, student = graded[found[1]], parts[found[0]][1]
            comment = said.get((found[0], cell.name), "")
            grade = Grade(
                *(found[2], cell.max_score, found[3], found[4] or 0.0, bool(found[5]), comment)
            )
            grades[student].cells[cell.name] = grade
    return grades
