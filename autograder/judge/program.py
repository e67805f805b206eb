"""What runs where: cells of a rebuilt notebook in the box, check cells outside.

Every cell that a student wrote runs, in the notebook's order. A cell of ours runs in the box only
if a later cell that runs reads a name that it binds, or if it binds none, such as one that sets a
seed. So pictures, experiments, and the data they need cost nothing while grading. (Stock nbgrader
runs every cell.) Beside a check run those cells of ours that bind what its text reads.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from functools import lru_cache

from autograder import syntax
from autograder.judge.plain import is_plain
from autograder.rebuild import Cell, Rebuilt

__all__ = ["Program", "Step", "forbidden_by", "make_program"]

_ALWAYS = ("builtins", "numpy", "torch")


@lru_cache(maxsize=2000)  # of a class's notebooks, all but the answers are the same texts
def bound_names(source: str) -> frozenset[str] | None:
    """See `autograder.syntax.bound_names`."""
    names = syntax.bound_names(source)
    return None if names is None else frozenset(names)


@lru_cache(maxsize=2000)
def used_names(source: str) -> frozenset[str]:
    """See `autograder.syntax.used_names`."""
    return frozenset(syntax.used_names([source]))


@lru_cache(maxsize=2000)
def _imports(source: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Top packages that a text imports, and the names that it gives to what it takes from there."""
    found = []
    for node in ast.walk(syntax.parse(source) or ast.Module([], [])):
        if isinstance(node, ast.ImportFrom):
            bound = tuple(alias.asname or alias.name for alias in node.names)
            found.append(((node.module or "").partition(".")[0], bound))
        elif isinstance(node, ast.Import):
            tops = ((a.name.partition(".")[0], a.asname) for a in node.names)
            found += [(top, (name or top,)) for top, name in tops]
    return tuple(found)


@dataclass(frozen=True)
class Step:
    """One cell that runs.

    Attributes:
        index: its place in the rebuilt notebook.
        check: whether it is a check, and runs outside the box.
        needed: whether an answer may stand on it; False for what a student only tried out.
        before: for a check: our cells whose names it reads.
        forbid: for a check: what the answer may not call.
        block: of that, what the student's text could reach at all.
    """

    index: int
    source: str
    grade_id: str = ""
    check: bool = False
    needed: bool = True
    before: tuple[str, ...] = ()
    forbid: tuple[str, ...] = ()
    block: tuple[str, ...] = ()


@dataclass(frozen=True)
class Program:
    """The steps in order; the names that gaps define; whether the student's text is plain."""

    steps: tuple[Step, ...]
    theirs: tuple[str, ...]
    plain: bool


def make_program(rebuilt: Rebuilt) -> Program:
    """Decide what runs of a rebuilt notebook."""
    cells = [(i, c) for i, c in enumerate(rebuilt.cells) if c.runs and c.source.strip()]
    runs = _in_the_box(cells)
    needed = _needed(cells)
    gaps = [cell for cell in rebuilt.template.cells if cell.is_answer and cell.kind == "code"]
    theirs = sorted({name for gap in gaps for name in bound_names(gap.released) or ()})
    students = [c.source for _, c in cells if c.ours is None or c.ours.is_answer]
    plain = is_plain(students)
    reached = _reached(students, [c.source for _, c in cells if _is_ours(c)])
    steps = []
    for index, cell in cells:
        if _is_check(cell):
            step = _check_step(index, cell, rebuilt, frozenset(theirs))
            roots = reached if plain else None
            block = (n for n in step.forbid if roots is None or n.partition(".")[0] in roots)
            steps.append(replace(step, block=tuple(block)))
        elif index in runs:
            steps.append(Step(index, cell.source, needed=index in needed))
    return Program(tuple(steps), tuple(theirs), plain)


def _reached(students: list[str], ours: list[str]) -> set[str]:
    """Packages that plain text of a student can get at, beside torch and numpy.

    It imports one, or it reads a name that one of our cells imports from there.
    """
    names = {name for source in students for name in used_names(source)}
    for source in reversed(ours):
        if (bound_names(source) or frozenset()) & names:
            names |= used_names(source)
    roots = {top for source in students for top, _ in _imports(source)}
    for top, bound in (pair for source in ours for pair in _imports(source)):
        if "*" in bound or names.intersection(bound):
            roots.add(top)
    return roots | set(_ALWAYS)


def _is_check(cell: Cell) -> bool:
    return cell.ours is not None and cell.ours.is_check


def _is_ours(cell: Cell) -> bool:
    return cell.ours is not None and not cell.ours.is_answer


def _in_the_box(cells: list[tuple[int, Cell]]) -> set[int]:
    runs: set[int] = set()
    wanted: set[str] = set()
    for index, cell in reversed(cells):
        if _is_check(cell):
            continue
        names = bound_names(cell.source)
        if not _is_ours(cell) or names is None or not names or names & wanted:
            runs.add(index)
            wanted |= used_names(cell.source)
    return runs


def _needed(cells: list[tuple[int, Cell]]) -> set[int]:
    """Cells that an answer may stand on, read from the names alone."""
    found: set[int] = set()
    wanted: set[str] = set()
    for index, cell in reversed(cells):
        names = bound_names(cell.source)
        answer = cell.ours is not None and cell.ours.is_answer
        if answer or _is_ours(cell) or names is None or names & wanted:
            found.add(index)
            wanted |= used_names(cell.source)
    return found


def _check_step(index: int, cell: Cell, rebuilt: Rebuilt, theirs: frozenset[str]) -> Step:
    assert cell.ours is not None
    above = [c for c in rebuilt.cells[:index] if _is_ours(c) and not _is_check(c)]
    wanted = used_names(cell.source) - theirs
    before: list[str] = []
    for ours in reversed([c for c in above if c.kind == "code"]):
        if (bound_names(ours.source) or frozenset()) & wanted:
            before.insert(0, ours.source)
            wanted |= used_names(ours.source) - theirs
    forbid = tuple(sorted(forbidden_by(cell.source)))
    return Step(
        index,
        cell.source,
        cell.ours.grade_id,
        check=True,
        before=tuple(before),
        forbid=forbid,
    )


@lru_cache(maxsize=2000)
def forbidden_by(check: str) -> frozenset[str]:
    """What the text of a check forbids.

    >>> sorted(forbidden_by('check = Exercise("8.1", points=3, forbid=["numpy.pad", "os"])'))
    ['numpy.pad', 'os']
    """
    found: set[str] = set()
    for node in ast.walk(syntax.parse(check) or ast.Module([], [])):
        if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Exercise"):
            continue
        for keyword in node.keywords:
            if keyword.arg == "forbid":
                parts = ast.walk(keyword.value)
                found |= {p.value for p in parts if isinstance(p, ast.Constant)}  # type: ignore
    return frozenset(name for name in found if isinstance(name, str))
