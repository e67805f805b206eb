"""Which uses of a student's name a check cell may make, so that it can run in another process.

A student's name may be called, with data or `spy(...)` objects, or handed to a helper of
`course.checks`. Anything else (an attribute, a comparison, a lambda passed in) would need the
student's objects themselves. The rule is read from the text of the cell; see `course.checks`.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

__all__ = ["defined_names", "uses_that_do_not_cross"]

HELPERS = {"observe", "gradients", "build", "raises", "unchanged"}


def defined_names(gap: str) -> set[str]:
    """Functions and classes that a gap cell defines at its top level.

    >>> sorted(defined_names("def f(): ...\\nclass G: ...\\nx = 1"))
    ['G', 'f']
    """
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name for node in ast.parse(gap).body if isinstance(node, kinds)}


def uses_that_do_not_cross(check: str, names: set[str]) -> Iterator[tuple[int, str]]:
    """Uses of student names that need more than data: line from 0 and what to do.

    Args:
        check: text of a check cell.
        names: names that students define.

    >>> list(uses_that_do_not_cross("check.equal(f(3), 4)", {"f"}))
    []
    >>> list(uses_that_do_not_cross("f.calls == 3", {"f"}))[0][0]
    0
    """
    tree = ast.parse(check)
    callables = _callables(tree)
    allowed: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in names:
            allowed.add(id(node.func))
            yield from _callables_in(node, node.func.id, callables)
        elif isinstance(node.func, ast.Call) and _called(node.func) in names:
            message = f"the result of `{_called(node.func)}` is called: results are data"
            yield node.lineno - 1, message
        elif _called(node) in HELPERS:
            for argument in node.args:
                if isinstance(argument, ast.Name) and argument.id in names:
                    allowed.add(id(argument))
                    yield from _callables_in(node, argument.id, callables)
        elif _called(node) == "Exercise":
            yield from _unread(node)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names and id(node) not in allowed:
            verb = "assigned" if isinstance(node.ctx, ast.Store) else "used"
            yield (
                node.lineno - 1,
                f"`{node.id}` is {verb} as an object: call it with data, or hand it to one of "
                f"{', '.join(sorted(HELPERS))}",
            )
    yield from _expected_in_place(tree, names)


def _callables_in(call: ast.Call, name: str, callables: set[str]) -> Iterator[tuple[int, str]]:
    for value in [*call.args, *(keyword.value for keyword in call.keywords)]:
        if isinstance(value, ast.Lambda):
            message = f"a lambda goes into `{name}`: wrap it, spy(lambda …), so that it can cross"
            yield value.lineno - 1, message
        elif isinstance(value, ast.Name) and value.id in callables:
            message = f"`{value.id}` goes into `{name}` and is no data: wrap it, spy({value.id})"
            yield value.lineno - 1, message


def _expected_in_place(tree: ast.AST, names: set[str]) -> Iterator[tuple[int, str]]:
    """`f(x)` and then `check.equal(x, …)`: arguments cross as copies, so x is what it was."""
    given: dict[str, str] = {}
    for node in ast.walk(tree):
        call = node.value if isinstance(node, ast.Expr) else None
        if isinstance(call, ast.Call) and _called(call) in names:
            given |= {a.id: _called(call) for a in call.args if isinstance(a, ast.Name)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) in ("equal", "true") and node.args:
            first = node.args[0]
            if isinstance(first, ast.Name) and first.id in given:
                message = (
                    f"`{first.id}` went into `{given[first.id]}` as a copy and is what it was: "
                    "use observe(…).changed or check.unchanged"
                )
                yield first.lineno - 1, message


def _unread(call: ast.Call) -> Iterator[tuple[int, str]]:
    """The grader reads what is forbidden from the text, before anything runs."""
    for keyword in call.keywords:
        if keyword.arg != "forbid":
            continue
        parts = getattr(keyword.value, "elts", [None])
        if not all(isinstance(p, ast.Constant) and isinstance(p.value, str) for p in parts):
            yield keyword.value.lineno - 1, "forbid= must be a list of texts, written out here"


def _callables(tree: ast.AST) -> set[str]:
    """Names of the check's own functions, and of objects that it makes from a class."""
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for name, value in _assigned(tree):
        if isinstance(value, ast.Lambda) or _is_object(value):
            found.add(name)
    return found - _spies(tree)


def _is_object(value: ast.expr) -> bool:
    """Whether it reads `Name(…)`, `module.Name(…)`, or a chain of methods that begins so."""
    while isinstance(value, ast.Call):
        called = _called(value)
        if called[:1].isupper():
            return True
        value = value.func.value if isinstance(value.func, ast.Attribute) else value.func
    return False


def _spies(tree: ast.AST) -> set[str]:
    pairs = _assigned(tree)
    return {n for n, value in pairs if isinstance(value, ast.Call) and _called(value) == "spy"}


def _assigned(tree: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    yield target.id, node.value


def _called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))
