"""A tiny lab with two exercises and a written question, and notebooks that students make of it.

It needs no torch, so its kernel starts fast. The check cells have the form of the real ones.
"""

from __future__ import annotations

import copy
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
from nbformat import v4

from autograder.classroom import Classroom, create_classroom
from autograder.naming import owner_of
from autograder.template import Template, read_template

LAB = "01_tiny"

SETUP = """\
import math
from IPython.display import display


class Exercise:
    def __init__(self, number, points):
        self.number, self.points, self.lines = number, points, []

    def __call__(self, name, points, hint=""):
        self.line = {"name": name, "points": points, "earned": 0, "passed": False}
        self.line |= {"message": hint, "detail": "", "hidden": False}
        self.lines.append(self.line)
        return self

    def hidden(self, name, points, hint=""):
        self(name, points, hint)
        self.line["hidden"] = True
        return self

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        if kind is None:
            self.line |= {"earned": self.line["points"], "passed": True, "message": ""}
        else:
            self.line["detail"] = f"{kind.__name__}: {error}"
        return kind is None or issubclass(kind, Exception)

    def score(self):
        earned = float(sum(line["earned"] for line in self.lines))
        record = {"exercise": self.number, "points": self.points, "earned": earned}
        mime = "application/vnd.segmentation-course.check+json"
        display({mime: {**record, "checks": self.lines}, "text/plain": "report"}, raw=True)
        return earned
"""
DOUBLE = '''\
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION
'''
DOUBLE_CHECK = """\
check = Exercise("1.1", points=4)
with check("two", points=1, hint="Did you add 2 instead of doubling?"):
    assert double(7) == 14, double(7)
### BEGIN HIDDEN TESTS
with check.hidden("seventeen secrets", points=3, hint="Think of negative numbers."):
    assert double(-17) == -34
### END HIDDEN TESTS
check.score()
"""
SQUARE = '''\
def square(x):
    """x times x."""
    ### BEGIN SOLUTION
    return x * x
    ### END SOLUTION
'''
SQUARE_CHECK = """\
check = Exercise("1.2", points=6)
with check("three", points=2, hint="Multiply, do not add."):
    assert square(3) == 9
### BEGIN HIDDEN TESTS
with check.hidden("a root", points=4):
    assert square(math.sqrt(2)) - 2 < 1e-9
### END HIDDEN TESTS
check.score()
"""
THINK = "**Think.** Why is the sky blue?\n\n### BEGIN SOLUTION\nScattering.\n### END SOLUTION\n"


def source_notebook() -> Any:
    """The notebook with solutions, as `autograder release` would make it for source/."""
    cells = [
        v4.new_markdown_cell("# A tiny lab", id="cell-title"),
        v4.new_code_cell("steps = 3", id="cell-parameters", metadata={"tags": ["parameters"]}),
        _code("setup", SETUP, locked=True),
        v4.new_code_cell("table = 1 / 0  # a look", id="ex-1-1-look"),
        _code("ex-1-1-answer", DOUBLE, solution=True),
        _code("ex-1-1-check", DOUBLE_CHECK, grade=True, locked=True, points=4),
        _code("ex-1-2-answer", SQUARE, solution=True),
        _code("ex-1-2-check", SQUARE_CHECK, grade=True, locked=True, points=6),
        v4.new_markdown_cell(THINK, id="ex-1-2-think"),
        v4.new_code_cell("raise RuntimeError('an experiment')", id="ex-1-2-experiment"),
    ]
    cells[-2].metadata["nbgrader"] = _course("ex-1-2-think", grade=True, solution=True, points=2)
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def _code(grade_id: str, source: str, **course: Any) -> Any:
    metadata = {"nbgrader": _course(grade_id, **course)}
    return v4.new_code_cell(source, id=grade_id, metadata=metadata)


def _course(grade_id: str, **given: Any) -> dict[str, Any]:
    plain = {"grade": False, "solution": False, "locked": False, "task": False}
    return {**plain, "schema_version": 3, "grade_id": grade_id, **given}


def released() -> Any:
    """The notebook that students receive, as nbgrader would make it, but at once."""
    notebook = source_notebook()
    for cell in notebook.cells:
        lines, keep = cell.source.split("\n"), True
        out = []
        for line in lines:
            if "### BEGIN" in line:
                keep = False
                if "SOLUTION" in line:
                    out.append("    raise NotImplementedError()")
            if keep:
                out.append(line)
            keep = keep or "### END" in line
        cell.source = "\n".join(out)
    return notebook


def make_template(folder: Path) -> Template:
    """The template of the tiny lab, without a gradebook."""
    path = folder / f"{LAB}.ipynb"
    nbformat.write(released(), path)
    cells = [c for c in source_notebook().cells if "nbgrader" in c.metadata]
    return read_template(path, LAB, {c.metadata["nbgrader"]["grade_id"]: c.source for c in cells})


def make_classroom(root: Path) -> Classroom:
    """A class to which the tiny lab was released."""
    classroom = create_classroom(root)
    classroom.add_lab(LAB, nbformat.writes(source_notebook()).encode())
    return classroom


RIGHT = {
    "ex-1-1-answer": "def double(x):\n    return x + x",
    "ex-1-2-answer": "def square(x):\n    return x**2",
    "ex-1-2-think": "**Think.** Why is the sky blue?\n\nBlue light scatters more.",
}


def answered(released: Any, answers: dict[str, str] | None = None) -> Any:
    """A copy of the released notebook with answers filled in, by cell id."""
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        cell.source = (RIGHT if answers is None else answers).get(cell.id, cell.source)
    return notebook


def cell_of(notebook: Any, cell_id: str) -> Any:
    """One cell by its id."""
    return next(cell for cell in notebook.cells if cell.id == cell_id)


def changed(notebook: Any, change: Callable[[Any], Any]) -> Any:
    """The notebook after a change in place."""
    change(notebook)
    return notebook


def as_bytes(notebook: Any) -> bytes:
    """The notebook as a file, whatever is wrong with it."""
    return json.dumps(notebook).encode()


def moodle_zip(path: Path, files: dict[str, bytes]) -> Path:
    """A zip such as Moodle makes: student name → content of the lab's notebook."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, (name, data) in enumerate(files.items(), start=4711):
            folder = f"{name}_{number}_assignsubmission_file_"
            assert owner_of((folder, "x"), LAB).name == name
            archive.writestr(f"{folder}/{LAB}.ipynb", data)
    return path


def zip_bytes(files: dict[str, bytes]) -> bytes:
    """A zip in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()
