"""A notebook has one set of names: no cell may take one that later cells still need."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from autograder.lint_code import Remark
from autograder.source import SETUP, Cell, Lab

__all__ = ["taken_names"]

_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
_COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)


def taken_names(lab: Lab) -> Iterator[Remark]:
    """Cells that overwrite a parameter of the lab or a name of its import cell.

    A loop `for width in …` in the check of one exercise changes the `width` with which the
    experiment at the end trains, and nothing says so.
    """
    kept: dict[str, str] = {}
    for cell in lab.cells:
        if cell.kind != "code":
            continue
        try:
            tree = ast.parse(cell.source)
        except SyntaxError:
            continue  # reported with the cell
        if _is_parameters(cell):
            kept |= dict.fromkeys((name for name, _ in _assigned(tree)), "a parameter of the lab")
            continue
        for name, line in _assigned(tree):
            if name in kept:
                text = f"`{name}` is {kept[name]}, and later cells need it: choose another name"
                yield cell.file_line(line - 1), "error", text
        if cell.role == SETUP:
            kept |= dict.fromkeys(_imported(tree), "imported for the whole lab")


def _is_parameters(cell: Cell) -> bool:
    return "parameters" in cell.metadata.get("tags", [])


def _imported(tree: ast.Module) -> Iterator[str]:
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                yield alias.asname or alias.name.partition(".")[0]


def _assigned(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Names that a cell binds at its top level, with their lines; inner scopes are left out."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, _SCOPES):
            if not isinstance(node, ast.Lambda):
                yield node.name, node.lineno
            continue
        if isinstance(node, _COMPREHENSIONS):
            continue
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.id, node.lineno
        yield from _assigned(node)
