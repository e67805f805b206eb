"""A class of lab 8 to grade: right, wrong and untouched notebooks, no two of them the same."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

import nbformat

from autograder.classroom import Classroom, create_classroom
from autograder.grading import collect_class
from autograder.layout import find_layout
from autograder.regions import SOLUTION, regions
from autograder.setup import set_up_lab
from autograder.zoo import load_zoo

LAB = "08_unet"
_SHOWS = ("look", "picture")


def make_class(root: Path) -> Classroom:
    """A class to which the lab is released, without what it trains at its end."""
    layout = find_layout()
    classroom = create_classroom(root)
    set_up_lab(classroom, layout, LAB)
    path = classroom.source(LAB)
    notebook: Any = nbformat.read(path, as_version=4)
    last = max(n for n, c in enumerate(notebook.cells) if c.id.endswith("-check"))
    kept = [c for n, c in enumerate(notebook.cells) if n <= last or c.cell_type != "code"]
    notebook.cells = kept
    classroom.add_lab(LAB, nbformat.writes(notebook).encode())
    return classroom


def fill(classroom: Classroom, count: int, folder: Path, *, shows: bool = True) -> None:
    """Let so many students hand in.

    A tenth hands in the untouched notebook; of the others, each answer is wrong with probability
    1/6, one of the zoo's. A word in a written answer makes every notebook its own.

    Args:
        shows: keep the cells that only show something (looks and pictures), as students do.
    """
    layout, choose = find_layout(), random.Random(8)
    released: Any = nbformat.read(classroom.release(LAB), as_version=4)
    right = _answers(nbformat.read(classroom.source(LAB), as_version=4))
    zoo = [a for a in load_zoo(layout.solutions / "wrong" / f"{LAB}.py") if not a.right]
    wrong: dict[str, list[str]] = {}
    for animal in zoo:
        wrong.setdefault(f"ex-{animal.exercise.replace('.', '-')}-answer", []).append(animal.source)
    for number in range(count):
        notebook = copy.deepcopy(released)
        for cell in notebook.cells:
            name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
            if number % 10 != 9 and name in right:
                bad = choose.random() < 1 / 6 and wrong.get(name)
                cell.source = choose.choice(bad) if bad else right[name]
            if name.endswith("-think"):
                cell.source += f"\n\nStudent {number} thinks so."
        if not shows:
            notebook.cells = [c for c in notebook.cells if not c.id.endswith(_SHOWS)]
        path = folder / f"student {number:04}" / LAB / f"{LAB}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(notebook), encoding="utf-8")
    collect_class(classroom, LAB, folder)


def _answers(source: Any) -> dict[str, str]:
    found = {}
    for cell in source.cells:
        course = cell.metadata.get("nbgrader", {})
        if course.get("solution") and cell.cell_type == "code":
            marks = {n for region in regions(cell.source, SOLUTION) for n in region}
            lines = cell.source.split("\n")
            found[course["grade_id"]] = "\n".join(t for n, t in enumerate(lines) if n not in marks)
    return found
