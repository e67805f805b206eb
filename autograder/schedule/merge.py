"""One question judged again, the others as they were."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from autograder.execution import Outcome
from autograder.records import Flag
from autograder.schedule.store import Stored

__all__ = ["merge", "only_cells"]


def merge(old: Stored, new: Outcome, changed: frozenset[str]) -> Outcome:
    """The old result, with some questions of a new one.

    Args:
        new: of the same submission; at least the changed questions were judged.
        changed: grade ids of the test cells that changed.

    Returns:
        What judging everything again would give, where the submission behaves as it did.
    """
    if new.result.status != "graded" or old.notebook is None or new.notebook is None:
        return new
    judged = {q.cell: q for q in new.result.questions if q.cell in changed}
    questions = tuple(judged.get(q.cell, q) for q in old.result.questions)
    exercises = {q.exercise for q in judged.values()}
    result = replace(
        new.result,
        questions=questions,
        flags=_flags(old.result.flags, new.result.flags, changed),
        limits=_limits(old.result.limits, new.result.limits, exercises),
    )
    kept = {cell: talk for cell, talk in old.talks.items() if cell not in changed}
    fresh = {cell: talk for cell, talk in new.talks.items() if cell in changed}
    notebook = _notebook(old.notebook, new.notebook, changed)
    return Outcome(result, new.rebuilt, notebook, {**kept, **fresh})


def _flags(
    old: tuple[Flag, ...], new: tuple[Flag, ...], changed: frozenset[str]
) -> tuple[Flag, ...]:
    """New flags for what was judged again or concerns the whole; old ones for the rest."""
    kept = [flag for flag in old if flag.cell not in changed]
    fresh = [flag for flag in new if flag.cell in changed or not flag.cell]
    return tuple(dict.fromkeys((*kept, *fresh)))


def _limits(old: tuple[str, ...], new: tuple[str, ...], exercises: set[str]) -> tuple[str, ...]:
    """Limits are written "exercise 8.1: …"; those of what was judged again are taken from there."""
    about = tuple(f"exercise {number}:" for number in exercises)
    kept = [line for line in old if not line.startswith(about)]
    return tuple(dict.fromkeys((*kept, *new)))


def only_cells(notebook: Any, wanted: frozenset[str]) -> Any:
    """What `merge` needs of a new notebook: the cells with these grade ids, without the pictures
    of all the others."""
    return {**notebook, "cells": [c for c in notebook["cells"] if _grade_id(c) in wanted]}


def _notebook(old: Any, new: Any, changed: frozenset[str]) -> Any:
    """The old notebook with the test cells that were judged again."""
    fresh = {_grade_id(cell): cell for cell in new["cells"]}
    cells = [
        fresh.get(_grade_id(cell), cell) if _grade_id(cell) in changed else cell
        for cell in old["cells"]
    ]
    return {**old, "cells": cells}


def _grade_id(cell: Any) -> str:
    return cell["metadata"].get("nbgrader", {}).get("grade_id", "")
