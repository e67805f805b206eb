"""Read an executed solution: what failed, which points were earned, which pictures were drawn."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from autograder.errors import AutograderError
from autograder.expand import expand
from autograder.figures import Figure, figure_in, shrink
from autograder.source import Lab

if TYPE_CHECKING:
    from nbformat import NotebookNode

_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def first_error(notebook: NotebookNode, lab: Lab) -> str:
    """The first exception in an executed notebook: place, message and where it came from, or ""."""
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                lines = _ANSI.sub("", "\n".join(output.traceback)).strip().splitlines()
                shown = "\n".join(f"    {line}" for line in lines[-8:-1])
                return f"{_place(cell, lab)}: {output.ename}: {output.evalue}\n{shown}".rstrip()
    return ""


def lost_points(notebook: NotebookNode, lab: Lab) -> str:
    """The first exercise whose solution misses points of its own checks, with its report, or ""."""
    worth = {f"{e.slug}-check": e.test_points for e in lab.exercises}
    for cell in notebook.cells:
        if cell.get("id") in worth:
            points = check_score(cell)
            if points != worth[cell.id]:
                said = "nothing" if points is None else f"{points:g}"
                return (
                    f"{_place(cell, lab)}: the solution earns {said} of {worth[cell.id]:g} points"
                    + _report(cell)
                )
    return ""


def _report(cell: NotebookNode) -> str:
    texts = [o.data.get("text/plain", "") for o in cell.outputs if o.output_type == "display_data"]
    return "".join(f"\n    {line}" for text in texts for line in text.splitlines())


def check_score(cell: NotebookNode) -> float | None:
    """The number that an executed check cell ends with, as nbgrader reads it, or None."""
    for output in cell.get("outputs", []):
        if output.output_type == "execute_result":
            try:
                return float(output.data.get("text/plain", ""))
            except ValueError:
                return None
    return None


def _place(cell: NotebookNode, lab: Lab) -> str:
    """Where a cell of the notebook stands in the source."""
    for own, made in zip(lab.cells, expand(lab).cells, strict=True):
        if made.id == cell.get("id"):
            return f"{lab.path.parent.name}/{lab.path.name}:{own.line}: cell {made.id}"
    return f"{lab.name}: cell {cell.get('id', '?')}"


def solution_figures(notebook: NotebookNode, lab: Lab) -> dict[str, Figure]:
    """The picture of each exercise that has a see cell, small enough to embed.

    Raises:
        AutograderError: a picture cell drew nothing, or its picture has no words.
    """
    cells = {cell.get("id"): cell for cell in notebook.cells}
    figures = {}
    for exercise in lab.exercises:
        picture, see = exercise.cell("picture"), exercise.cell("see")
        if not (picture and see):
            continue
        place = f"{lab.path.parent.name}/{lab.path.name}:{picture.line}"
        found = figure_in(cells[f"{exercise.slug}-picture"])
        if found is None:
            raise AutograderError(f"{place}: the picture cell of {exercise.number} drew no picture")
        alt = found.alt or str(picture.options.get("alt", see.options.get("alt", "")))
        if not alt:
            raise AutograderError(
                f"{place}: the picture of {exercise.number} has no alternative text; draw it with "
                'course.plots or write alt="…" on the cell'
            )
        figures[exercise.number] = Figure(shrink(found.png), alt)
    return figures
