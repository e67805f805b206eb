"""Read Python that somebody else wrote, without running it: what it defines, binds and needs."""

from __future__ import annotations

import ast
import functools
import re
import threading
from collections.abc import Iterable

__all__ = ["bound_names", "defined_names", "is_python", "parse", "tree_of", "used_names"]

_MAGIC = re.compile(r"^[ \t]*[%!].*$", re.M)
_DEEPEST = 200
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
_SCOPES = (*_FUNCTIONS, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_one_at_a_time = threading.Lock()


def tree_of(source: str) -> ast.Module:
    """`ast.parse`, one thread at a time.

    Before CPython 3.12, two threads that parse at once can end in "AST constructor recursion depth
    mismatch": the interpreter counts the depth once for all threads.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `ast.parse`.
    """
    with _one_at_a_time:
        return ast.parse(source)


@functools.lru_cache(maxsize=512)
def parse(source: str) -> ast.Module | None:
    """The tree of a cell, its magic lines left out; to read, for everybody gets the same one.

    Returns:
        None where it is not Python, or nests too deep for anybody to read.
    """
    for text in (source, _MAGIC.sub("", source)):
        try:
            tree = tree_of(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return tree if _is_shallow(tree) else None
    return None


def _is_shallow(tree: ast.AST) -> bool:
    """Whether functions that call themselves for every level may walk the tree."""
    level, depth = [tree], 0
    while level:
        level = [child for node in level for child in ast.iter_child_nodes(node)]
        depth += 1
        if depth > _DEEPEST:
            return False
    return True


def is_python(source: str) -> bool:
    """Whether a text is Python as it stands.

    >>> is_python("x = 1"), is_python("def f(:")
    (True, False)
    """
    try:
        tree_of(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


@functools.lru_cache(maxsize=256)
def defined_names(source: str) -> frozenset[str]:
    """Functions and classes that a cell defines at the top.

    >>> sorted(defined_names("def f(): ...\\nclass G: ...\\nx = 1"))
    ['G', 'f']
    """
    tree = parse(source)
    wanted = (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)
    body = tree.body if tree else []
    return frozenset(node.name for node in body if isinstance(node, wanted))


@functools.lru_cache(maxsize=256)
def bound_names(source: str) -> frozenset[str] | None:
    """Every global name that a cell gives a value, or None where it cannot be read.

    >>> sorted(bound_names("import numpy as np\\nfor i in a: b = [j for j in i]"))
    ['b', 'i', 'np']
    """
    tree = parse(source)
    return None if tree is None else frozenset(_bound(tree))


def _bound(scope: ast.AST) -> set[str]:
    names: set[str] = set()
    for node in ast.iter_child_nodes(scope):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            names.add(node.id)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        if not isinstance(node, (*_SCOPES, ast.ClassDef)):
            names |= _bound(node)
        else:
            names |= {
                n for inner in ast.walk(node) if isinstance(inner, ast.Global) for n in inner.names
            }
    return names


def used_names(sources: Iterable[str]) -> set[str]:
    """Every global name that some cells read, also inside their functions.

    >>> sorted(used_names(["def f(x):\\n    y = a\\n    return x + y + g"]))
    ['a', 'g']
    """
    return {name for source in sources for name in _used(source)}


@functools.lru_cache(maxsize=256)
def _used(source: str) -> frozenset[str]:
    tree = parse(source)
    return frozenset(_free(tree)) if tree else frozenset()


def _free(node: ast.AST) -> set[str]:
    """Names that a piece of code reads and does not bind itself."""
    if isinstance(node, ast.Name):
        return {node.id} if isinstance(node.ctx, ast.Load) else set()
    if isinstance(node, ast.AugAssign) and isinstance(node.target, ast.Name):
        return {node.target.id} | _free(node.value)
    inside = {name for child in ast.iter_child_nodes(node) for name in _free(child)}
    if not isinstance(node, _SCOPES):
        return inside
    own = _bound(node)
    if isinstance(node, _FUNCTIONS):
        arguments = ast.walk(node.args)
        own |= {a.arg for a in arguments if isinstance(a, ast.arg)}
        # Default values are read outside.
        outside = {n for d in (*node.args.defaults, *node.args.kw_defaults) if d for n in _free(d)}
        return (inside - own) | outside
    return inside - own
