"""Rules for code cells, read from their syntax trees: the gap's stub and the check's points."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from autograder.contract import defined_names, uses_that_do_not_cross
from autograder.regions import (
    CODE_STUB,
    HIDDEN_TESTS,
    SOLUTION,
    RegionError,
    hidden_lines,
    visible,
)
from autograder.source import Cell, Exercise, exercise_call, literal

Remark = tuple[int, str, str]
"""Line in the file, "error" or "warning", message: what every rule yields."""

_LOOPS = (ast.For, ast.While, ast.comprehension, ast.FunctionDef)


def code_cell(cell: Cell) -> Iterator[Remark]:
    """A code cell must be Python, IPython's magic lines aside, with and without what is hidden."""
    for text in dict.fromkeys((cell.source, visible(cell.source, CODE_STUB))):
        try:
            ast.parse(_without_magics(text))
        except SyntaxError as error:
            where = "" if text == cell.source else " in the students' version"
            line = cell.file_line((error.lineno or 1) - 1) if not where else cell.line
            yield line, "error", f"syntax error{where}: {error.msg}"
            return


def _without_magics(text: str) -> str:
    return re.sub(r"^(\s*)[%!].*$", r"\1pass", text, flags=re.M)


def gap_cell(cell: Cell, exercise: Exercise) -> Iterator[Remark]:
    """A gap keeps its signature and docstring and hides 3 to 12 lines between markers."""
    try:
        hidden = hidden_lines(cell.source, SOLUTION)
        stub = ast.parse(visible(cell.source, CODE_STUB))
    except (RegionError, SyntaxError):
        return  # reported with the cell
    if not hidden:
        text = "the gap has no `### BEGIN SOLUTION` region: nbgrader would clear the whole cell"
        yield cell.line, "error", text
        return
    defined = [n for n in stub.body if isinstance(n, ast.FunctionDef | ast.ClassDef)]
    if not defined:
        text = "the gap shows no signature: a `def` or `class` must stand outside the markers"
        yield cell.line, "error", text
    for node in defined:
        line = cell.file_line(node.lineno - 1)
        if not ast.get_docstring(node):
            yield line, "warning", f"`{node.name}` has no docstring (shapes, one worked number)"
        for function in ast.walk(node):
            if isinstance(function, ast.FunctionDef) and not _typed(function):
                text = f"`{function.name}` lacks type annotations"
                yield cell.file_line(function.lineno - 1), "warning", text
    used = _names(exercise.cell("check"))
    names = [node.name for node in defined]
    if names and used and not used & set(names):
        text = f"the check of {exercise.number} never uses {' or '.join(f'`{n}`' for n in names)}"
        yield cell.line, "error", text
    if not 3 <= len(hidden) <= 12:
        text = f"the solution has {len(hidden)} lines; 3 to 12 make one exercise"
        yield cell.line, "warning", text


def _typed(function: ast.FunctionDef) -> bool:
    given = function.args
    arguments = [*given.posonlyargs, *given.args, *given.kwonlyargs]
    open_ends = [a.arg for a in arguments if a.annotation is None and a.arg not in ("self", "cls")]
    return not open_ends and (function.returns is not None or function.name == "__init__")


def _names(cell: Cell | None) -> set[str]:
    try:
        tree = ast.parse(cell.source if cell else "")
    except SyntaxError:
        return set()
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}


def check_cell(cell: Cell, exercise: Exercise) -> Iterator[Remark]:
    """A check states its points once, hides some tests, and ends with the score."""
    try:
        tree = ast.parse(cell.source)
        hidden = {number for number, _ in hidden_lines(cell.source, HIDDEN_TESTS)}
        gap = exercise.cell("gap")
        names = defined_names(gap.source) if gap else set()
    except (SyntaxError, RegionError):
        return  # reported with the cell
    number, points, offset = exercise_call(cell)
    line = cell.file_line(offset)
    if number is None or points is None:
        text = f'write `check = Exercise("{exercise.number}", points=…)` with literal values'
        yield cell.line, "error", text
        return
    if number != exercise.number:
        yield line, "error", f'Exercise("{number}") in a cell of exercise {exercise.number}'
    if offset in hidden:
        yield line, "error", "`Exercise(…)` must stand outside the hidden tests"
    name = next((_target(node) for node in tree.body if _target(node)), "check")
    checks = list(_checks(tree, name))
    total = sum(worth for _, _, worth, _ in checks)
    if not any(looped for *_, looped in checks) and total != points:
        text = f"points mismatch: Exercise says {points:g}, its checks add up to {total:g}"
        yield line, "error", text
    for row, is_hidden, _, _ in checks:
        if is_hidden and row not in hidden:
            text = f"`{name}.hidden(…)` must stand between the hidden-test markers"
            yield cell.file_line(row), "error", text
        elif row in hidden and not is_hidden:
            text = f"write `{name}.hidden(…)` for a check between the hidden-test markers"
            yield cell.file_line(row), "error", text
    for row, text in uses_that_do_not_cross(cell.source, names):
        yield cell.file_line(row), "error", text
    if all(is_hidden for _, is_hidden, _, _ in checks):
        yield cell.line, "error", "no visible check: students would meet an empty test cell"
    if not hidden:
        yield cell.line, "warning", "no hidden tests: every answer can be fitted to what is shown"
    yield from _ends_with_score(cell, tree, name, hidden)


def _target(node: ast.stmt) -> str:
    """`check` in `check = Exercise(…)`."""
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        function = node.value.func
        target = node.targets[0]
        if getattr(function, "id", getattr(function, "attr", "")) == "Exercise":
            return target.id if isinstance(target, ast.Name) else ""
    return ""


def _checks(tree: ast.AST, name: str) -> Iterator[tuple[int, bool, float, bool]]:
    """`with check(…)` and `with check.hidden(…)`: line, hidden, points, whether in a loop."""
    looped = {
        id(inner) for node in ast.walk(tree) if isinstance(node, _LOOPS) for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.With):
            continue
        for item in node.items:
            call = item.context_expr
            if not isinstance(call, ast.Call):
                continue
            function, is_hidden = call.func, False
            if isinstance(function, ast.Attribute) and function.attr == "hidden":
                function, is_hidden = function.value, True
            if not (isinstance(function, ast.Name) and function.id == name):
                continue
            worth = next((literal(k.value) for k in call.keywords if k.arg == "points"), None)
            known = isinstance(worth, int | float)
            yield node.lineno - 1, is_hidden, worth if known else 0, id(node) in looped or not known


def _ends_with_score(cell: Cell, tree: ast.Module, name: str, hidden: set[int]) -> Iterator[Remark]:
    last = tree.body[-1]
    call = last.value if isinstance(last, ast.Expr) else None
    ends = (
        isinstance(call, ast.Call)
        and ast.unparse(call.func) == f"{name}.score"
        and last.lineno - 1 not in hidden
        and not cell.source.rstrip().endswith(";")
    )
    if not ends:
        text = f"end with `{name}.score()`: without its value nbgrader gives full marks"
        yield cell.file_line(last.lineno - 1), "error", text
