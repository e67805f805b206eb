"""Build the student notebooks: expand the sources, let nbgrader clear them, prove nothing leaked.

`build` gives the files of each lab as bytes and `write` puts them into labs/, a folder at a time.
`autograder.current` says whether labs/ is what would be built.
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from autograder.current import present_figures
from autograder.errors import AutograderError
from autograder.execute import Execution
from autograder.executed import solution_figures
from autograder.expand import expand
from autograder.layout import Files, Layout, read_folder
from autograder.lint import Finding, lint
from autograder.regions import CODE_STUB, KINDS, hidden_lines, visible
from autograder.source import Lab, read_lab

_TEXT_STUB = "YOUR ANSWER HERE"


def read_labs(layout: Layout, names: Iterable[str]) -> tuple[list[Lab], list[Finding]]:
    """Parse and lint some labs."""
    labs = [read_lab(layout.source(name)) for name in names]
    return labs, [finding for lab in labs for finding in lint(lab)]


def build(layout: Layout, labs: Iterable[Lab], executions: Iterable[Execution]) -> dict[str, Files]:
    """The student files of some labs, from their sources and executed solutions.

    Args:
        executions: one per lab, for the pictures; a lab without one keeps the pictures that its
            present student notebook has.

    Raises:
        AutograderError: nbgrader refused a lab, a picture is missing, or hidden text came through.
    """
    executed = {execution.lab: execution.path for execution in executions}
    labs = list(labs)
    sources = {}
    for lab in labs:
        if lab.name in executed:
            figures = solution_figures(nbformat.read(executed[lab.name], as_version=4), lab)
        else:
            figures = present_figures(layout.notebook(lab.name))
        sources[lab.name] = expand(lab, figures=figures, answers=False)
    built = {}
    for lab, (text, notebook) in zip(labs, generate(sources).values(), strict=True):
        prove_nothing_leaked(lab, notebook)
        built[lab.name] = {f"{lab.name}.ipynb": text.encode()} | read_folder(layout.files(lab.name))
    return built


def generate(sources: Mapping[str, NotebookNode]) -> dict[str, tuple[str, NotebookNode]]:
    """Run nbgrader's own `generate_assignment` in a course of its own.

    Returns:
        name → the student notebook as text and parsed.

    Raises:
        AutograderError: with nbgrader's reason.
    """
    from nbgrader.converters import GenerateAssignment
    from nbgrader.coursedir import CourseDirectory
    from nbgrader.utils import capture_log
    from traitlets.config import Config

    results = {}
    with tempfile.TemporaryDirectory(prefix="autograder-release-") as folder:
        config = Config()
        config.CourseDirectory.root = folder
        # The gradebook of a class is written when it is graded; without one here, nothing needs
        # the `alembic` program that nbgrader starts for every new database.
        config.GenerateAssignment.no_database = True
        config.SaveCells.enabled = False
        for name, notebook in sources.items():
            path = Path(folder) / "source" / name / f"{name}.ipynb"
            path.parent.mkdir(parents=True)
            nbformat.write(notebook, path)
            course = CourseDirectory(config=config, assignment_id=name)
            outcome: dict[str, Any] = capture_log(GenerateAssignment(course, config=config))
            if not outcome["success"]:
                raise AutograderError(f"nbgrader refuses {name}: {_reason(outcome)}")
            made = Path(folder) / "release" / name / f"{name}.ipynb"
            student = nbformat.read(made, as_version=4)
            results[name] = (nbformat.writes(student) + "\n", student)
    return results


def _reason(outcome: Mapping[str, Any]) -> str:
    """The first exception in nbgrader's log; the one it raises only points at the log."""
    log = f"{outcome.get('log', '')}\n{outcome.get('error', '')}"
    found = re.search(r"^\s*\S*(?:Error|Exception): (.+)$", log, re.M)
    return found.group(1) if found else log.strip()


def prove_nothing_leaked(lab: Lab, student: NotebookNode) -> None:
    """Every line that a student gets stands outside the markers of the source or is a stub.

    Raises:
        AutograderError: a line of a solution or of a hidden test is readable, or a marker is.
    """
    stub = {*CODE_STUB, _TEXT_STUB}
    for cell, whole, made in zip(lab.cells, expand(lab).cells, student.cells, strict=True):
        if not any(hidden_lines(cell.source, kind) for kind in KINDS):
            continue
        own = {line.strip() for line in visible(whole.source).split("\n")}
        foreign = {line.strip() for line in made.source.split("\n")} - own - stub
        if foreign or made.get("outputs"):
            shown = min(foreign, default="an output")
            raise AutograderError(f"{lab.name}: cell {made.id} would show students: {shown}")


def write(layout: Layout, built: Mapping[str, Files]) -> list[str]:
    """Put built labs into labs/, each folder replaced at once; unchanged labs are not touched.

    Returns:
        The names of the labs that changed.
    """
    changed = []
    layout.labs.mkdir(parents=True, exist_ok=True)
    for name, files in built.items():
        target = layout.labs / name
        if read_folder(target) == files:
            continue
        changed.append(name)
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=layout.labs) as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            for file, content in files.items():
                (new / file).parent.mkdir(parents=True, exist_ok=True)
                (new / file).write_bytes(content)
            if target.exists():
                os.replace(target, old)
            os.replace(new, target)
    return changed
