"""Write results where nbgrader keeps them: gradebook.db and autograded/.

nbgrader's own Autograde does it, with all of its steps but one: instead of executing the notebook,
it takes over the outputs that an engine computed. So formgrader, late penalties and manual grading
work as ever. One process writes, one submission at a time.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbgrader.api import MissingEntry
from nbgrader.converters import Autograde
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    ClearHiddenTests,
    IgnorePattern,
    LimitOutput,
    NbGraderPreprocessor,
    SaveAutoGrades,
)
from traitlets import Unicode

from autograder.classroom import Classroom
from autograder.database import quiet
from autograder.errors import AutograderError
from autograder.execution import Outcome
from autograder.records import write_result, write_whole

__all__ = ["Grade", "Grades", "Recorder", "WithoutHiddenTests", "read_grades"]

_TRIES = 4


class TakeOutputs(NbGraderPreprocessor):
    """Stands where nbgrader executes: takes the outputs from a file."""

    executed = Unicode(help="The executed notebook").tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        import nbformat

        executed = nbformat.read(self.executed, as_version=4)
        for cell, done in zip(nb.cells, executed.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = done.outputs, done.execution_count
        return nb, resources


class WithoutHiddenTests(ClearHiddenTests):
    """For feedback: take hidden tests and the tracebacks that quote them out of a notebook."""

    enforce_metadata = False

    def preprocess_cell(self, cell: Any, resources: Any, cell_index: int) -> tuple[Any, Any]:
        hidden = self._remove_hidden_test_region(cell)
        for output in cell.get("outputs", []):
            if output.output_type == "error" and (hidden or _is_test(cell)):
                output.traceback = [f"{output.ename}: {output.evalue}"]
        return cell, resources


def _is_test(cell: Any) -> bool:
    course = cell.metadata.get("nbgrader", {})
    return bool(course.get("grade")) and not course.get("solution")


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


class Recorder:
    """The single writer of a class; hold `Classroom.only_one` while you use it.

    Args:
        handed_in: student → time in UTC as `intake` gives it.
    """

    def __init__(
        self, classroom: Classroom, lab: str, *, handed_in: Mapping[str, str] | None = None
    ) -> None:
        self._classroom = classroom
        self._lab = lab
        self._handed_in = handed_in or {}

    def record(self, outcome: Outcome) -> None:
        """Write one outcome; its record comes last, so a killed run does it again.

        Raises:
            AutograderError: nbgrader could not write it.
        """
        result = outcome.result
        place = self._classroom.result(result.student, self._lab)
        if outcome.notebook is not None:
            place.unlink(missing_ok=True)
            self._name_student(result.student, result.name)
            with tempfile.TemporaryDirectory(prefix="ag-record-") as folder:
                self._autograde(outcome, Path(folder))
        else:
            self.forget(result.student)
        write_result(result, place)

    def forget(self, student: str) -> None:
        """Take back what an earlier run wrote about a submission that is no longer there."""
        shutil.rmtree(self._classroom.autograded(student, self._lab).parent, ignore_errors=True)
        with self._classroom.gradebook() as gradebook:
            try:
                gradebook.remove_submission(self._lab, student)
            except MissingEntry:
                return

    def _name_student(self, student: str, name: str) -> None:
        first, _, last = name.strip().rpartition(" ")
        if "," in name:
            last, _, first = name.partition(",")
        with self._classroom.gradebook() as gradebook:
            gradebook.update_or_create_student(
                student, first_name=first.strip() or None, last_name=last.strip() or None
            )

    def _autograde(self, outcome: Outcome, folder: Path) -> None:
        import nbformat

        assert outcome.rebuilt is not None
        student = outcome.result.student
        staged = folder / "submitted" / student / self._lab
        executed = folder / "executed.ipynb"
        write_whole(
            staged / f"{self._lab}.ipynb", nbformat.writes(outcome.rebuilt.notebook()) + "\n"
        )
        if when := self._handed_in.get(student):
            write_whole(staged / "timestamp.txt", f"{when} UTC")
        write_whole(executed, json.dumps(outcome.notebook))
        for attempt in range(_TRIES):
            try:
                with quiet():
                    self._converter(student, folder, executed).start()
                return
            except Exception as error:
                # nbgrader hides the cause in its log; most often another program holds the
                # gradebook for a moment.
                if attempt == _TRIES - 1:
                    log = self._classroom.state(self._lab) / "nbgrader.log"
                    raise AutograderError(
                        f"nbgrader could not record {student}: {error} (see {log})"
                    ) from error
                time.sleep(0.5 * 2**attempt)

    def _converter(self, student: str, folder: Path, executed: Path) -> Autograde:
        import glob

        config = self._classroom.config.copy()
        config.TakeOutputs.executed = str(executed)
        directory = self._classroom.directory()
        directory.assignment_id = self._lab
        directory.student_id = glob.escape(student)
        # An absolute path, so that it replaces the course folder where nbgrader joins the two.
        directory.submitted_directory = str(folder / "submitted")
        converter = Autograde(
            coursedir=directory,
            config=config,
            log=self._classroom.log(self._lab),
            force=True,
        )
        converter.autograde_preprocessors = [
            TakeOutputs,
            IgnorePattern,
            ClearMetadataPreprocessor,
            LimitOutput,
            SaveAutoGrades,
            AssignLatePenalties,
            CheckCellMetadata,
        ]
        return converter


def read_grades(classroom: Classroom, lab: str) -> dict[str, Grades]:
    """Everything the gradebook says about a lab now, by student.

    Raises:
        AutograderError: no gradebook.
    """
    with classroom.gradebook() as gradebook:
        try:
            submissions = gradebook.assignment_submissions(lab)
        except MissingEntry:
            return {}
        return {s.student.id: _grades(n) for s in submissions for n in s.notebooks if n.name == lab}


def _grades(notebook: Any) -> Grades:
    comments = {comment.name: comment.comment or "" for comment in notebook.comments}
    cells = {
        grade.name: Grade(
            grade.score,
            grade.max_score,
            grade.manual_score,
            grade.extra_credit or 0.0,
            bool(grade.needs_manual_grade),
            comments.get(grade.name, ""),
        )
        for grade in notebook.grades
    }
    return Grades(cells, notebook.late_submission_penalty or 0.0)
