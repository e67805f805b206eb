"""On honest hand-ins our gradebook says what stock `nbgrader autograde` writes.

The class: the solution, the untouched notebook, half of it, and notebooks that carry one animal of
the lab's zoo per exercise until all of them are used. Labs are found in solutions/. Pictures and
experiments are left out: they earn nothing and take longest. What trains before is cut short.

The table in DIFFERENTIAL.md is what the slow test found, lab by lab; this writes it again:

    uv run pytest -m slow -n 0 tests/hostile/test_differential.py --write-docs
"""

from __future__ import annotations

import ast
import copy
import resource
import shutil
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest

from autograder.classroom import Classroom, create_classroom
from autograder.current import present_figures
from autograder.expand import expand
from autograder.grading import collect_class, grade_and_record, to_grade
from autograder.layout import Layout, find_layout, read_folder
from autograder.limits import Limits
from autograder.recorder import Grades, read_grades
from autograder.schedule.engines import label_of
from autograder.source import read_lab
from autograder.zoo import load_zoo

from .case import bare
from .levels import LEVELS, missing

LAYOUT: Layout = find_layout(Path(__file__).parent)
LABS = LAYOUT.lab_names()
SHORT = {"steps": "1", "seeds": "[0]", "epochs": "1", "iterations": "1", "repeats": "1"}
TABLE = Path(__file__).with_name("DIFFERENTIAL.md")
HEAD = """# Our points beside those of nbgrader

One class per lab, graded twice: by our engine and by stock `nbgrader autograde`. Its hand-ins are
the solution, the untouched notebook, half of the solution, and notebooks that carry one animal of
the zoo per exercise, wrong answers and other right ones, until all of them are used. A hand-in
agrees when score, waiting mark and comment of every graded cell are the same. *Checks* counts
the graded checks of all hand-ins, *below* those that did not earn full points. Seconds are of a
processor, of both programs on one machine, without pictures and experiments. Written by

    uv run pytest -m slow -n 0 tests/hostile/test_differential.py --write-docs

| lab | hand-ins | agreed | checks | below | our s | nbgrader s |
|:--|--:|--:|--:|--:|--:|--:|
"""
UNGRADED = ("look", "picture", "experiment")
BEST = next((level for level in LEVELS if not missing(level)), "")
pytestmark = pytest.mark.skipif(not BEST, reason="this machine has no box")


def release(root: Path, lab: str) -> Classroom:
    """A class with the lab, without its pictures and experiments."""
    figures = present_figures(LAYOUT.notebook(lab))
    notebook = expand(read_lab(LAYOUT.source(lab)), figures=figures, answers=False)
    role = [cell.metadata.get("course", {}).get("role") for cell in notebook.cells]
    notebook.cells = [c for c, r in zip(notebook.cells, role) if r not in UNGRADED]
    for cell in notebook.cells:
        if "parameters" in cell.metadata.get("tags", []):
            known = {t.id for n in ast.parse(cell.source).body if isinstance(n, ast.Assign)
                     for t in n.targets if isinstance(t, ast.Name)}  # fmt: skip
            cell.source += "".join(f"\n{k} = {v}" for k, v in SHORT.items() if k in known)
    classroom = create_classroom(root)
    text = nbformat.writes(notebook).encode()
    classroom.add_lab(lab, text, read_folder(LAYOUT.files(lab)))
    return classroom


def honest_class(classroom: Classroom, lab: str) -> dict[str, bytes]:
    """Student → notebook."""
    released = nbformat.read(classroom.release(lab), as_version=4)
    source = nbformat.read(classroom.source(lab), as_version=4)
    right = {
        cell.metadata["nbgrader"]["grade_id"]: bare(cell.source)
        for cell in source.cells
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution")
    }
    path = LAYOUT.solutions / "wrong" / f"{lab}.py"
    animals: dict[str, list[str]] = defaultdict(list)
    for animal in load_zoo(path) if path.is_file() else []:
        animals[f"ex-{animal.exercise.replace('.', '-')}-answer"].append(animal.source)
    half = list(right)[: len(right) // 2]
    answers = {"solution": right, "untouched": {}, "half": {k: right[k] for k in half}}
    for number in range(max(map(len, animals.values()), default=0)):
        # An exercise whose animals are used up is answered right.
        mixed = {k: found[number] for k, found in animals.items() if number < len(found)}
        answers[f"zoo {number}"] = right | mixed
    return {student: filled(released, texts) for student, texts in answers.items()}


def filled(released: Any, answers: dict[str, str]) -> bytes:
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        cell.source = answers.get(cell.id, cell.source)
    return nbformat.writes(notebook).encode()


def ours(classroom: Classroom, lab: str) -> dict[str, Grades]:
    collect_class(classroom, lab, classroom.root / "submitted")
    limits = Limits()
    engine, template = LEVELS[BEST](classroom, lab), classroom.template(lab)
    work, _ = to_grade(classroom, lab, template, limits, engine=label_of(engine))
    grade_and_record(classroom, template, engine, work, limits, jobs=2)
    return read_grades(classroom, lab)


def stock(classroom: Classroom, lab: str) -> dict[str, Grades]:
    words = [sys.executable, "-m", "nbgrader", "autograde", lab]
    options = [f"--CourseDirectory.root={classroom.root}", "--ExecutePreprocessor.timeout=600"]
    done = subprocess.run([*words, *options], cwd=classroom.root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return read_grades(classroom, lab)


@dataclass(frozen=True)
class Compared:
    """What came of a class: whose grades differ and where, and processor seconds of both."""

    students: int
    grades: int
    below: int
    differ: tuple[str, ...]
    seconds: tuple[float, float]

    def row(self, lab: str) -> str:
        agreed = self.students - len({line.split(",")[0] for line in self.differ})
        ours, theirs = self.seconds
        found = (self.students, agreed, self.grades, self.below, round(ours), round(theirs))
        return f"| {lab} | {' | '.join(map(str, found))} |"


def spent() -> float:
    """Processor seconds of this process and of all its children that have ended."""
    used = [resource.getrusage(w) for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


def compare(root: Path, lab: str, chosen: slice) -> Compared:
    """Grade a class both ways; every cell whose points, comment or waiting differ is named."""
    classroom = release(root / "ours", lab)
    found = dict(list(honest_class(classroom, lab).items())[chosen])
    for student, data in found.items():
        path = classroom.submitted(student, lab)
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    shutil.copytree(classroom.root, root / "stock")
    start = spent()
    mine = ours(classroom, lab)
    middle = spent()
    theirs = stock(Classroom(root / "stock"), lab)
    end = spent()
    assert set(mine) == set(theirs) == set(found)
    differ = [
        f"{student}, {cell}: ours {mine[student].cells.get(cell)}, "
        f"nbgrader {theirs[student].cells.get(cell)}"
        for student in found
        for cell in mine[student].cells.keys() | theirs[student].cells.keys()
        if mine[student].cells.get(cell) != theirs[student].cells.get(cell)
    ]
    differ += [
        f"{student}, penalty: ours {mine[student].penalty}, nbgrader {theirs[student].penalty}"
        for student in found
        if mine[student].penalty != theirs[student].penalty
    ]
    right = [grade for cell, grade in mine["solution"].cells.items() if cell.endswith("-check")]
    assert all(grade.score == grade.points > 0 for grade in right)
    checks = [g for s in found for c, g in mine[s].cells.items() if c.endswith("-check")]
    below = sum(grade.score < grade.points for grade in checks)
    return Compared(len(found), len(checks), below, tuple(differ), (middle - start, end - middle))


def keep(lab: str, row: str) -> None:
    """Put the row of a lab into the table."""
    old = TABLE.read_text("utf-8").splitlines() if TABLE.is_file() else []
    rows = {line.split("|")[1].strip(): line for line in old if line.startswith("| ")}
    rows = {name: rows[name] for name in LABS if name in rows} | {lab: row}
    text = HEAD + "".join(f"{rows[name]}\n" for name in LABS if name in rows)
    if missing_labs := [name for name in LABS if name not in rows]:
        text += f"\nNot run yet: {', '.join(missing_labs)}.\n"
    TABLE.write_text(text, "utf-8")


@pytest.mark.parametrize("lab", LABS[:1])
def test_some_of_one_lab(tmp_path: Path, lab: str) -> None:
    differ = compare(tmp_path, lab, slice(0, 4, 3)).differ
    assert not differ, "\n".join(differ)


@pytest.mark.slow
@pytest.mark.parametrize("lab", LABS)
def test_all_of_every_lab(tmp_path: Path, lab: str, request: pytest.FixtureRequest) -> None:
    found = compare(tmp_path, lab, slice(None))
    if request.config.getoption("--write-docs"):
        keep(lab, found.row(lab))
    assert not found.differ, "\n".join(found.differ)
