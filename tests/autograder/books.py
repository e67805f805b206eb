"""Whole gradebooks to compare, and nbgrader's own Autograde as the oracle that writes one."""

from __future__ import annotations

import glob
import json
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import ClearMetadataPreprocessor
from nbgrader.converters import Autograde
from nbgrader.preprocessors import (
    AssignLatePenalties,
    CheckCellMetadata,
    IgnorePattern,
    LimitOutput,
    NbGraderPreprocessor,
    SaveAutoGrades,
)
from sqlalchemy import MetaData, create_engine, select
from traitlets import Unicode

from autograder.classroom import Classroom
from autograder.database import quiet
from autograder.execution import Outcome
from autograder.rebuild import Rebuilt
from autograder.records import write_whole

_NAMED_BY = {
    "course": ("id",),
    "student": ("id",),
    "assignment": ("name",),
    "notebook": ("assignment_id", "name"),
    "base_cell": ("notebook_id", "name", "type"),
    "source_cell": ("notebook_id", "name"),
    "submitted_assignment": ("assignment_id", "student_id"),
    "submitted_notebook": ("assignment_id", "notebook_id"),
    "grade": ("notebook_id", "cell_id"),
    "comment": ("notebook_id", "cell_id"),
}


def snapshot(url: str) -> dict[str, list[str]]:
    """Every row of every table, sorted, with speaking names in the place of random ids."""
    engine, metadata, names = create_engine(url), MetaData(), dict[str, str]()
    try:
        metadata.reflect(engine)
        found = {}
        with engine.connect() as connection:
            for name, table in metadata.tables.items():
                rows = connection.execute(select(table)).mappings()
                found[name] = [dict(row) for row in rows]
        for table, columns in _NAMED_BY.items():
            for row in found[table]:
                label = "/".join(names.get(str(row[c]), str(row[c])) for c in columns)
                names.setdefault(str(row["id"]), f"{table}:{label}")
    finally:
        engine.dispose()
    return {table: sorted(_line(row, names) for row in rows) for table, rows in found.items()}


def _line(row: dict[str, Any], names: dict[str, str]) -> str:
    spoken = {k: names.get(v, v) if isinstance(v, str) else v for k, v in row.items()}
    return json.dumps(spoken, sort_keys=True, default=str)


def submitted_files(classroom: Classroom) -> dict[str, tuple[bytes, int]]:
    """Content and mode of every file in autograded/."""
    folder = classroom.root / "autograded"
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


class TakeOutputs(NbGraderPreprocessor):
    """Stands where nbgrader executes: takes the outputs from a file."""

    executed = Unicode(help="The executed notebook").tag(config=True)

    def preprocess(self, nb: Any, resources: Any) -> tuple[Any, Any]:
        executed = nbformat.read(self.executed, as_version=4)
        for cell, done in zip(nb.cells, executed.cells, strict=True):
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = done.outputs, done.execution_count
        return nb, resources


def autograde(
    classroom: Classroom, lab: str, rebuilt: Rebuilt, outcome: Outcome, when: str, folder: Path
) -> None:
    """Let nbgrader itself record an outcome: all of Autograde, but for the execution."""
    student, executed = outcome.result.student, folder / "executed.ipynb"
    staged = folder / "submitted" / student / lab
    write_whole(staged / f"{lab}.ipynb", nbformat.writes(rebuilt.notebook()) + "\n")
    if when:
        write_whole(staged / "timestamp.txt", f"{when} UTC")
    write_whole(executed, json.dumps(outcome.notebook))
    config = classroom.config.copy()
    config.TakeOutputs.executed = str(executed)
    directory = classroom.directory()
    directory.assignment_id = lab
    directory.student_id = glob.escape(student)
    directory.submitted_directory = str(folder / "submitted")
    converter = Autograde(coursedir=directory, config=config, log=classroom.log(lab), force=True)
    converter.autograde_preprocessors = [
        TakeOutputs,
        IgnorePattern,
        ClearMetadataPreprocessor,
        LimitOutput,
        SaveAutoGrades,
        AssignLatePenalties,
        CheckCellMetadata,
    ]
    with quiet():
        converter.start()
