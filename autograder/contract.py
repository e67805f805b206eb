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
    allowed: set[int] = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id in names:
            allowed.add(id(node.func))
            yield from _callables_in(node, node.func.id)
        elif _called(node) in HELPERS:
            for argument in node.args:
                if isinstance(argument, ast.Name) and argument.id in names:
                    allowed.add(id(argument))
                    yield from _callables_in(node, argument.id)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in names and id(node) not in allowed:
            verb = "assigned" if isinstance(node.ctx, ast.Store) else "used"
            yield (
                node.lineno - 1,
                f"`{node.id}` is {verb} as an object: call it with data, or hand it to one of "
                f"{', '.join(sorted(HELPERS))}",
            )


def _callables_in(call: ast.Call, name: str) -> Iterator[tuple[int, str]]:
    for value in [*call.args, *(keyword.value for keyword in call.keywords)]:
        if isinstance(value, ast.Lambda):
            message = f"a lambda goes into `{name}`: wrap it, spy(lambda …), so that it can cross"
            yield value.lineno - 1, message


def _called(node: ast.Call) -> str:
    return getattr(node.func, "id", getattr(node.func, "attr", ""))
