"""Turn a lab source into notebooks: nbgrader's metadata, headings, hints, the table of exercises.

The short `exercise` and `role` of a cell become nbgrader schema 3, and ids that depend on nothing
but the source, so that the same source gives the same bytes:

    gap    solution cell "ex-8-1-answer"     check  locked test cell "ex-8-1-check" with its points
    think  written answer "ex-8-1-think"     setup  locked code "setup"

Every cell with a role also says so in its metadata, under `course`, for graders and slides.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from autograder.figures import Figure
from autograder.lint import EXERCISES_MARK
from autograder.regions import SOLUTION, regions, visible
from autograder.source import LAB_ROLES, SETUP, Cell, Exercise, Lab

_HINTS = ("the idea", "a step on the way", "the first line")
_NEW = {"markdown": new_markdown_cell, "code": new_code_cell, "raw": new_raw_cell}


def expand(
    lab: Lab, *, figures: Mapping[str, Figure] | None = None, answers: bool = True
) -> NotebookNode:
    """The notebook of a lab with solutions and hidden tests, as nbgrader's source/ wants it.

    Args:
        figures: exercise number → the solution's picture, for the see cells.
        answers: keep the folded answers of ungraded questions, which nbgrader would not clear.
    """
    exercises = {exercise.number: exercise for exercise in lab.exercises}
    seen: Counter[str] = Counter()
    cells = []
    for cell in lab.cells:
        exercise = exercises.get(str(cell.exercise))
        identity = _identity(cell, exercise)
        seen[identity] += 1
        if seen[identity] > 1:
            identity = f"{identity}-{seen[identity]}"
        text, figure = _text(cell, exercise, lab, answers), None
        if exercise and cell is exercise.cell("see") and figures:
            figure = figures.get(exercise.number)
        cells.append(_notebook_cell(cell, exercise, identity, text, figure))
    kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    notebook = new_notebook(cells=cells, metadata=metadata)
    notebook.nbformat_minor = 5
    nbformat.validate(notebook)
    return notebook


def _identity(cell: Cell, exercise: Exercise | None) -> str:
    if exercise:
        return f"{exercise.slug}-{'answer' if cell.role == 'gap' else cell.role}"
    if cell.role in LAB_ROLES:
        return cell.role
    return f"cell-{hashlib.sha1(cell.source.encode()).hexdigest()[:10]}"


def _notebook_cell(
    cell: Cell, exercise: Exercise | None, identity: str, text: str, figure: Figure | None
) -> NotebookNode:
    result = _NEW[cell.kind](text, id=identity, metadata=dict(cell.metadata))
    if cell.role:
        number = {"exercise": exercise.number} if exercise else {}
        result.metadata["course"] = {"role": cell.role, **number}
    if cell.role == "check":
        # The report is what students read; JupyterLab opens the text of the check on a click.
        result.metadata["jupyter"] = {"source_hidden": True}
    graded = _nbgrader(cell, exercise)
    if graded:
        result.metadata["nbgrader"] = {
            "grade": False,
            "grade_id": identity,
            "locked": False,
            "schema_version": 3,
            "solution": False,
            "task": False,
            **graded,
        }
    if figure:
        name = f"{identity}.png"
        result["attachments"] = {name: {"image/png": base64.b64encode(figure.png).decode()}}
        alt = re.sub(r"\s+", " ", figure.alt).translate(str.maketrans("[]", "()")).strip()
        result.source += f"\n\n![{alt}](attachment:{name})"
    return result


def _nbgrader(cell: Cell, exercise: Exercise | None) -> dict[str, Any]:
    if cell.role == SETUP:
        return {"locked": True}
    if not exercise:
        return {}
    if cell.role == "gap":
        return {"solution": True}
    if cell.role == "check":
        return {"grade": True, "locked": True, "points": exercise.test_points}
    if cell.role == "think" and exercise.written_points:
        return {"grade": True, "solution": True, "points": exercise.written_points}
    return {}


def _text(cell: Cell, exercise: Exercise | None, lab: Lab, answers: bool) -> str:
    if exercise and cell.role == "contract":
        return f"### {heading(exercise)}\n\n{cell.source}"
    if exercise and cell.role == "hints":
        return folded_hints(cell.source)
    if exercise and cell.role == "think":
        return _question(cell, exercise, answers)
    if cell.kind == "markdown" and EXERCISES_MARK in cell.source.split("\n"):
        return cell.source.replace(EXERCISES_MARK, exercise_table(lab))
    return cell.source


def heading(exercise: Exercise) -> str:
    """The line above the contract: "Exercise 8.1 · Sizes · 10 points · about 15 min"."""
    points = f"{exercise.test_points:g}"
    if exercise.written_points:
        points += f" + {exercise.written_points:g}"
    unit = "point" if points == "1" else "points"
    number, title, minutes = exercise.number, exercise.title, exercise.minutes
    return f"Exercise {number} · {title} · {points} {unit} · about {minutes} min"


def exercise_table(lab: Lab) -> str:
    """The exercises with points and minutes, in the place of the line `[[exercises]]`."""
    rows = ["| Exercise | Points | Minutes |", "|:--|--:|--:|"]
    for exercise in lab.exercises:
        label = f"{exercise.number} {exercise.title}"
        rows.append(f"| {label} | {exercise.points:g} | {exercise.minutes} |")
    points = sum(exercise.points for exercise in lab.exercises)
    minutes = sum(exercise.minutes for exercise in lab.exercises)
    return "\n".join([*rows, f"| **Total** | **{points:g}** | **{minutes}** |"])


def folded_hints(source: str) -> str:
    """A list of three hints as three folds.

    >>> print(folded_hints("1. Draw it.\\n2. Count.\\n3. `n = 0`").splitlines()[0])
    <details><summary>Hint 1: the idea</summary>
    """
    items = re.split(r"^\d\. ", source, flags=re.M)[1:]
    folds = []
    for number, (item, name) in enumerate(zip(items, _HINTS, strict=False), start=1):
        text = re.sub(r"^ {3}", "", item, flags=re.M).strip()
        folds.append(f"<details><summary>Hint {number}: {name}</summary>\n\n{text}\n\n</details>")
    return "\n".join(folds)


def _question(cell: Cell, exercise: Exercise, answers: bool) -> str:
    """A graded answer stays between markers for nbgrader; an ungraded one is folded or left out."""
    text = re.sub(r"^\*\*Think(?: \([^)]*\))?\.?\*\*\s*", "", cell.source)
    if points := exercise.written_points:
        return f"**Think ({points:g} {'point' if points == 1 else 'points'}).** {text}"
    text = f"**Think.** {text}"
    if not answers:
        return visible(text).rstrip()
    lines = text.split("\n")
    for begin, end in regions(text, SOLUTION):
        lines[begin] = "<details><summary>Answer</summary>\n"
        lines[end] = "\n</details>"
    return "\n".join(lines)
