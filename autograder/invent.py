"""Invent a class: right answers, animals of the zoo, and files as they come from real students.

Every student is made from the released notebook, so the class can be graded like a real one, and
carries a note that says what to expect.
"""

from __future__ import annotations

import copy
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.regions import SOLUTION, regions
from autograder.zoo import Answer

__all__ = ["Student", "invent", "write_moodle_zip"]

_ENDLESS = "    while True:\n        pass\n"
_WRITTEN = "I would look at the boundary first, because that is where the two results differ."


@dataclass(frozen=True)
class Student:
    """One invented student.

    Attributes:
        file: name of the file that is handed in.
        note: what the student did.
    """

    name: str
    file: str
    data: bytes
    note: str


def invent(lab: str, released: Any, source: Any, zoo: Sequence[Answer]) -> list[Student]:
    """Twelve students.

    Args:
        released: the notebook that students receive; source: the one with solutions.
        zoo: wrong and alternative answers; may be empty.
    """
    solutions = _solutions(source)
    answers = {name: _bare(text) for name, text in solutions.items()}
    last = list(answers)[-1]
    others = {_cell(a): a.source for a in zoo if a.right}
    wrong = [a for a in zoo if not a.right and _cell(a) in answers]
    visible = [a for a in wrong if a.caught == "visible"]
    hidden = [a for a in wrong if a.caught == "hidden"]

    def work(*changes: dict[str, str], only: Sequence[str] | None = None) -> bytes:
        chosen = {k: v for k, v in answers.items() if only is None or k in only}
        for change in changes:
            chosen |= change
        return _file(released, chosen)

    def animal(kind: Sequence[Answer], number: int) -> tuple[dict[str, str], str]:
        if not kind:
            return {last: _stub_like(answers[last])}, "one answer returns nothing"
        # Spread over the exercises: the list is in their order.
        found = kind[(number * len(kind)) // 4 % len(kind)]
        return {_cell(found): found.source}, f"{found.exercise} {found.name}"

    plain = f"{lab}.ipynb"
    one, two, three = (animal(visible, n) for n in (0, 1, 3))
    secret, deep = animal(hidden, 0), animal(hidden, 3)
    half = list(answers)[: max(1, len(answers) // 2)]
    mixed = [{_cell(a): a.source} for a in wrong[:: max(1, len(wrong) // 5)]]
    return [
        Student("Anna Ivanova", plain, work(), "everything right"),
        Student("Мария Петрова", plain, work(others), "everything right, written another way"),
        Student("Liam O'Brien", plain, work(one[0]), one[1]),
        Student("Chen, Wei", f"{lab} (1).ipynb", work(two[0]), two[1]),
        Student("Sofia Rossi", plain, work(three[0]), three[1]),
        Student("Noah Schmidt", plain, work(secret[0]), secret[1]),
        Student("Aisha Khan", plain, work(deep[0]), deep[1]),
        Student("Jonas Weber", plain, work(only=half), "only the first half is done"),
        Student("Lucía Gómez", plain, work(*mixed), "a mistake in nearly every exercise"),
        Student("Tom Baker", plain, _file(released, {}), "handed in untouched"),
        Student("Yuki Tanaka", plain, work()[: len(work()) // 2], "the upload broke off"),
        Student(
            "Olga Smirnova",
            f"{lab}-Copy1.ipynb",
            work({last: _endless(answers[last])}),
            f"an endless loop in {last.removeprefix('ex-').removesuffix('-answer')}",
        ),
    ]


def write_moodle_zip(students: Sequence[Student], path: Path) -> None:
    """Write the class as Moodle's "download all submissions" does."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, student in enumerate(students, start=410_071):
            folder = f"{student.name}_{number}_assignsubmission_file_"
            archive.writestr(f"{folder}/{student.file}", student.data)


def _cell(answer: Answer) -> str:
    return f"ex-{answer.exercise.replace('.', '-')}-answer"


def _solutions(source: Any) -> dict[str, str]:
    """The text of the code gaps, by cell id."""
    cells = [c for c in source.cells if c.metadata.get("nbgrader", {}).get("solution")]
    return {c.metadata["nbgrader"]["grade_id"]: c.source for c in cells if c.cell_type == "code"}


def _bare(solution: str) -> str:
    """A solution without its markers."""
    marks = {line for region in regions(solution, SOLUTION) for line in region}
    lines = solution.split("\n")
    return "\n".join(line for number, line in enumerate(lines) if number not in marks).rstrip()


def _endless(answer: str) -> str:
    """The same functions, each with an endless loop as its body."""
    import ast

    heads = []
    for node in ast.parse(answer).body:
        if isinstance(node, ast.FunctionDef):
            heads.append(f"def {node.name}(*args, **kwargs):\n{_ENDLESS}")
        elif isinstance(node, ast.ClassDef):
            bases = ", ".join(map(ast.unparse, node.bases))
            heads.append(
                f"class {node.name}({bases}):\n    def __init__(self, *args, **kwargs):\n"
                f"        while True:\n            pass\n"
            )
    return "\n\n".join(heads) or "while True:\n    pass\n"


def _stub_like(answer: str) -> str:
    return _endless(answer).replace("while True:", "if True:")


def _file(released: Any, answers: dict[str, str]) -> bytes:
    notebook = copy.deepcopy(released)
    for cell in notebook.cells:
        course = cell.metadata.get("nbgrader", {})
        text = answers.get(course.get("grade_id", ""))
        if text is not None:
            cell.source = text
        elif answers and course.get("solution") and cell.cell_type == "markdown":
            cell.source = f"{cell.source}\n\n{_WRITTEN}"
    return json.dumps(notebook, ensure_ascii=False, indent=1).encode("utf-8")
