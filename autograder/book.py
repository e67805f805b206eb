"""nbgrader's gradebook, written in one session and one transaction per submission.

nbgrader's own Autograde opens the gradebook nine times per submission, commits after every cell,
and loads objects that add up the points of the whole class each time. This writes the same rows,
into nbgrader's own tables, by nbgrader's own scoring rule, output limits and late penalty;
tests/autograder/test_recorder.py holds every row and the notebook against what Autograde writes.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from autograder.errors import AutograderError
from autograder.finish import Finish, remarks_in, scores_in

if TYPE_CHECKING:
    from autograder.classroom import Classroom

__all__ = ["Book"]


@dataclass(frozen=True)
class _Cells:
    """The cells of one notebook of the lab: grade id → id of the row, or checksum."""

    grades: dict[str, str]
    comments: dict[str, str]
    checksums: dict[str, str]


class Book:
    """One lab of the gradebook, open for writing.

    Raises:
        AutograderError: the gradebook is missing or another version's; the lab is not in it.
    """

    def __init__(self, classroom: Classroom, lab: str) -> None:
        from nbgrader.api import MissingEntry
        from nbgrader.preprocessors import AssignLatePenalties

        self._gradebook = classroom.gradebook()
        try:
            assignment = self._gradebook.find_assignment(lab)
            ours = self._gradebook.find_notebook(lab, lab)
        except MissingEntry:
            self._gradebook.close()
            raise AutograderError(
                f"the gradebook does not know {lab}: release the lab again"
            ) from None
        self._assignment, self._ours = assignment.id, ours.id
        self._due = assignment.duedate
        kernelspec = json.loads(ours.kernelspec) if ours.kernelspec else None
        self._cells = {notebook.id: _cells_of(notebook) for notebook in assignment.notebooks}
        self._gradebook.db.rollback()
        self._gradebook.db.expunge_all()
        config, log = classroom.config, classroom.log(lab)
        self._finish = Finish(config, log, kernelspec, self._cells[self._ours].checksums)
        self._late = AssignLatePenalties(config=config, log=log)
        self._late.init_plugin()

    def close(self) -> None:
        """Close the session."""
        self._gradebook.close()

    def finished(self, notebook: Any) -> Any:
        """The notebook as nbgrader would keep it, see `autograder.finish`."""
        return self._finish(notebook)

    def write(self, student: str, name: str, when: str, notebook: Any) -> None:
        """Write one submission, whole or not at all.

        Args:
            name: as people call the student.
            when: handed in, "YYYY-MM-DD HH:MM:SS" in UTC, or "" where it is not known.
            notebook: see `finished`.
        """
        scores, remarks = scores_in(notebook), remarks_in(notebook)
        with self._transaction():
            self._write_student(student, name)
            submission = self._write_submission(student, when)
            for notebook_id, cells in self._cells.items():
                part = self._write_part(submission, notebook_id)
                if notebook_id == self._ours:
                    self._write_grades(part, cells, scores)
                    self._write_comments(part, cells, remarks)
                    self._write_penalty(student, submission, part)
                else:
                    # A notebook of the lab that nobody handed in earns nothing.
                    self._write_grades(part, cells, dict.fromkeys(cells.grades, 0.0), judge=False)
                    self._write_comments(part, cells, {})

    def remove(self, student: str) -> None:
        """Take a submission out, if it is there."""
        from nbgrader.api import Comment, Grade, SubmittedAssignment, SubmittedNotebook
        from sqlalchemy import delete, select

        mine = (
            SubmittedAssignment.assignment_id == self._assignment,
            SubmittedAssignment.student_id == student,
        )
        of_submission = SubmittedNotebook.assignment_id.in_(
            select(SubmittedAssignment.id).where(*mine)
        )
        parts = select(SubmittedNotebook.id).where(of_submission)
        with self._transaction():
            self._run(delete(Grade).where(Grade.notebook_id.in_(parts)))
            self._run(delete(Comment).where(Comment.notebook_id.in_(parts)))
            self._run(delete(SubmittedNotebook).where(of_submission))
            self._run(delete(SubmittedAssignment).where(*mine))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            yield
            self._gradebook.db.commit()
        except BaseException:
            self._gradebook.db.rollback()
            raise

    def _run(self, statement: Any) -> Any:
        return self._gradebook.db.execute(
            statement.execution_options(synchronize_session=False)
            if statement.is_dml
            else statement
        )

    def _write_student(self, student: str, name: str) -> None:
        from nbgrader.api import Student
        from sqlalchemy import insert, select, update

        first, _, last = name.strip().rpartition(" ")
        if "," in name:
            last, _, first = name.partition(",")
        names = {"first_name": first.strip() or None, "last_name": last.strip() or None}
        if self._run(select(Student.id).where(Student.id == student)).first():
            self._run(update(Student).where(Student.id == student).values(**names))
        else:
            self._run(insert(Student).values(id=student, **names))

    def _write_submission(self, student: str, when: str) -> str:
        from nbgrader.api import SubmittedAssignment, new_uuid
        from nbgrader.utils import parse_utc
        from sqlalchemy import insert, select, update

        key = {"assignment_id": self._assignment, "student_id": student}
        stamp = {"timestamp": parse_utc(f"{when} UTC")} if when else {}
        found = self._run(select(SubmittedAssignment.id).filter_by(**key)).scalar()
        if not found:
            found = new_uuid()
            self._run(insert(SubmittedAssignment).values(id=found, **key, **stamp))
        elif stamp:
            table = SubmittedAssignment
            self._run(update(table).where(table.id == found).values(**stamp))
        return found

    def _write_part(self, submission: str, notebook_id: str) -> str:
        from nbgrader.api import SubmittedNotebook, new_uuid
        from sqlalchemy import insert, select

        key = {"notebook_id": notebook_id, "assignment_id": submission}
        found = self._run(select(SubmittedNotebook.id).filter_by(**key)).scalar()
        if not found:
            found = new_uuid()
            self._run(insert(SubmittedNotebook).values(id=found, **key))
        return found

    def _write_grades(
        self, part: str, cells: _Cells, scores: Mapping[str, float | None], *, judge: bool = True
    ) -> None:
        """Scores, as nbgrader's SaveAutoGrades writes them: a person's score stays, and is to be
        looked at again. Rows that are missing (all, or those of a later release) are added."""
        from nbgrader.api import Grade, new_uuid
        from sqlalchemy import insert, select, update

        wanted = Grade.cell_id.in_(cells.grades.values())
        columns = select(Grade.cell_id, Grade.id, Grade.manual_score)
        found = {r[0]: r for r in self._run(columns.where(wanted, Grade.notebook_id == part))}
        new, changed = [], []
        for name, cell_id in cells.grades.items():
            row = found.get(cell_id)
            values: dict[str, Any] = {"id": row[1] if row else new_uuid()}
            if name in scores:
                decided = scores[name] is not None and (row is None or row[2] is None or not judge)
                values |= {"auto_score": scores[name], "needs_manual_grade": not decided}
            if row is None:
                plain = {"auto_score": None, "needs_manual_grade": True}
                new.append({**plain, **values, "cell_id": cell_id, "notebook_id": part})
            elif name in scores:
                changed.append(values)
        if new:
            self._gradebook.db.execute(insert(Grade), new)
        if changed:
            self._gradebook.db.execute(update(Grade), changed)

    def _write_comments(self, part: str, cells: _Cells, remarks: Mapping[str, str | None]) -> None:
        from nbgrader.api import Comment, new_uuid
        from sqlalchemy import insert, select, update

        wanted = Comment.cell_id.in_(cells.comments.values())
        columns = select(Comment.cell_id, Comment.id)
        rows = self._run(columns.where(wanted, Comment.notebook_id == part))
        found = {row[0]: row[1] for row in rows}
        new, changed = [], []
        for name, cell_id in cells.comments.items():
            remark = {"auto_comment": remarks.get(name)}
            if cell_id not in found:
                new.append({"id": new_uuid(), "cell_id": cell_id, "notebook_id": part, **remark})
            elif name in remarks:
                changed.append({"id": found[cell_id], **remark})
        if new:
            self._gradebook.db.execute(insert(Comment), new)
        if changed:
            self._gradebook.db.execute(update(Comment), changed)

    def _write_penalty(self, student: str, submission: str, part: str) -> None:
        """The late penalty by the plugin that the class configures, see AssignLatePenalties."""
        from nbgrader.api import Grade, SubmittedAssignment, SubmittedNotebook
        from sqlalchemy import func, select, update

        columns = select(SubmittedAssignment.timestamp, SubmittedAssignment.extension)
        stamp, extension = self._run(columns.filter_by(id=submission)).one()
        due = self._due + extension if self._due and extension else self._due
        late = max(0.0, (stamp - due).total_seconds()) if stamp and due else 0.0
        penalty = None
        if late > 0:
            total = select(func.coalesce(func.sum(Grade.score), 0.0))
            score = float(self._run(total.where(Grade.notebook_id == part)).scalar_one())
            plugin: Any = self._late.plugin_inst
            penalty = plugin.late_submission_penalty(student, score, late)
            if penalty is not None:
                penalty = _within(penalty, score)
        table = SubmittedNotebook
        self._run(update(table).where(table.id == part).values(late_submission_penalty=penalty))


def _within(penalty: float, score: float) -> float:
    """A penalty takes away what there is at most, and never gives."""
    return min(max(0.0, penalty), score)


def _cells_of(notebook: Any) -> _Cells:
    graded = [*notebook.grade_cells, *notebook.task_cells]
    commented = [*notebook.solution_cells, *notebook.task_cells]
    return _Cells(
        {cell.name: cell.id for cell in graded},
        {cell.name: cell.id for cell in commented},
        {cell.name: cell.checksum for cell in notebook.source_cells},
    )
