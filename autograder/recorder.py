"""The single writer of a class: gradebook, autograded notebook and record of each result.

What nbgrader's own programs would find after `nbgrader autograde` is what they find after this, so
formgrader, late penalties, manual grading and feedback work as ever. One process writes, one
submission at a time; the journal makes the three places one.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from nbgrader.preprocessors import ClearHiddenTests

from autograder.book import Book
from autograder.classroom import Classroom
from autograder.database import quiet
from autograder.errors import AutograderError
from autograder.execution import Outcome
from autograder.finish import NotTaken
from autograder.grades import Grade, Grades, read_grades
from autograder.records import write_result, write_whole
from autograder.schedule.jobs import is_full
from autograder.schedule.journal import Journal

__all__ = ["Grade", "Grades", "NotTaken", "Recorder", "WithoutHiddenTests", "read_grades"]

_PATIENCE = 30.0  # seconds that another program may hold the gradebook, on top of SQLite's own 5


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


class Recorder:
    """Writes results; use it in a `with`, and hold `Classroom.only_one` while you do.

    Args:
        handed_in: student → time in UTC as `intake` gives it.
        journal: where each write is announced; the lab's own by default.
        patience: seconds to wait while another program holds the gradebook.

    Raises:
        AutograderError: the gradebook is missing or another version's; the lab is not in it.
    """

    def __init__(
        self,
        classroom: Classroom,
        lab: str,
        *,
        handed_in: Mapping[str, str] | None = None,
        journal: Journal | None = None,
        patience: float = _PATIENCE,
    ) -> None:
        self._classroom = classroom
        self._lab = lab
        self._handed_in = handed_in or {}
        self._journal = journal or Journal(classroom.journal(lab))
        self._patience = patience
        with quiet():
            self._book: Book = self._patiently(lambda: Book(classroom, lab))
        self._beside, self._mode = self._what_lies_beside()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the gradebook and the journal."""
        self._book.close()
        self._journal.__exit__(None, None, None)

    def record(self, outcome: Outcome) -> None:
        """Write one outcome; what was there about this student and lab is replaced.

        A failure of ours leaves the gradebook and the notebook of an earlier run as they are.

        Raises:
            NotTaken: nbgrader's metadata in the notebook is not valid; nothing was written.
            AutograderError: the gradebook is locked or the disk is full. The write was announced,
                so the next run does it again.
        """
        result, notebook = outcome.result, outcome.notebook
        if notebook is not None:
            notebook = self._book.finished(notebook)
        self._patiently(lambda: self._journal.begin(result.student, result.key))
        if notebook is not None:
            self._patiently(lambda: self._write_folder(result.student, notebook))
            when = self._handed_in.get(result.student, "")
            self._patiently(lambda: self._book.write(result.student, result.name, when, notebook))
        elif result.status != "failed":
            self.forget(result.student)
        place = self._classroom.result(result.student, self._lab)
        self._patiently(lambda: write_result(result, place))
        self._patiently(lambda: self._journal.end(result.student))

    def forget(self, student: str) -> None:
        """Take back what an earlier run wrote about a submission that is no longer there.

        Raises:
            AutograderError: see `record`.
        """
        shutil.rmtree(self._classroom.autograded(student, self._lab).parent, ignore_errors=True)
        self._patiently(lambda: self._book.remove(student))

    def _write_folder(self, student: str, notebook: Any) -> None:
        """The autograded folder as nbgrader leaves it: notebook, time stamp, the lab's files."""
        from nbformat.v4 import writes_json

        place = self._classroom.autograded(student, self._lab)
        text = writes_json(notebook)  # `nbformat.writes` checks it against its schema first: 10 ms
        files = {place.name: text.encode("utf-8", "replace") + b"\n", **self._beside}
        if when := self._handed_in.get(student):
            files["timestamp.txt"] = f"{when} UTC".encode()
        for path in place.parent.rglob("*") if place.parent.is_dir() else ():
            if path.is_file() and path.relative_to(place.parent).as_posix() not in files:
                path.unlink()
        for name, data in files.items():
            path = place.parent / name
            if name == place.name or not path.is_file() or path.read_bytes() != data:
                write_whole(path, data)
                path.chmod(self._mode)

    def _what_lies_beside(self) -> tuple[dict[str, bytes], int]:
        """The lab's own files, which nbgrader copies beside every notebook, and their mode."""
        from nbgrader.converters import Autograde
        from nbgrader.utils import find_all_files

        directory = self._classroom.directory()
        converter = Autograde(coursedir=directory, config=self._classroom.config)
        folder = self._classroom.source(self._lab).parent
        kept = {str(folder / name) for name in converter.exclude_overwriting.get(self._lab, [])}
        found = set(find_all_files(str(folder), [*directory.ignore, "*.ipynb"])) - kept
        beside = {
            Path(name).relative_to(folder).as_posix(): Path(name).read_bytes()
            for name in sorted(found)
        }
        return beside, int(str(converter.permissions), 8)

    def _patiently(self, write: Callable[[], Any]) -> Any:
        """Write, and where another program holds the gradebook for a moment, wait for it.

        Raises:
            AutograderError: it holds it for too long; or the disk is full.
        """
        from sqlalchemy.exc import DBAPIError

        deadline, pause = time.monotonic() + self._patience, 0.1
        while True:
            try:
                return write()
            except DBAPIError as error:
                if "disk is full" in str(error.orig) or "disk I/O" in str(error.orig):
                    raise _full(self._classroom.root) from error
                busy = "locked" in str(error.orig) or "busy" in str(error.orig)
                if not busy or time.monotonic() > deadline:
                    raise _unreachable(error, busy) from error
            except OSError as error:
                raise (
                    _full(self._classroom.root) if is_full(error) else _refused(error)
                ) from error
            time.sleep(pause)
            pause = min(2.0, pause * 1.5)


def _full(folder: Path) -> AutograderError:
    free = shutil.disk_usage(folder).free // 2**20
    return AutograderError(
        f"cannot write to {folder}: the disk is full or a quota is reached ({free} MiB free). What "
        "was recorded stays; make room, then the same command goes on"
    )


def _refused(error: OSError) -> AutograderError:
    reason = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        reason += ": does the class belong to somebody else?"
    return AutograderError(f"cannot write {error.filename}: {reason}")


def _unreachable(error: Any, busy: bool) -> AutograderError:
    reason = str(error.orig).strip().splitlines()[0]
    cure = "close the program that holds it (formgrader?)" if busy else "see that it runs"
    return AutograderError(
        f"cannot write the gradebook: {reason}. What was recorded stays; {cure}, then the same "
        "command goes on"
    )
