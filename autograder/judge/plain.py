"""Whether a student's text could have kept, copied or hidden what an exercise will forbid later.

A submission's cells run once, with everything in reach; what an exercise forbids is blocked in the
snapshot that serves its check. Plain code cannot get round that: functions lose their code whatever
name they go by. Code that looks into the interpreter can (a copy of a code object made beforehand,
a patched grader, another process that answers). So text with anything of the kind in it runs again,
in a box where the block stands before its first line.

The rule errs on the safe side: what is not known to be harmless is not plain.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable

from autograder.syntax import tree_of

__all__ = ["is_plain"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MODULES = _words("""
    __future__ abc bisect cmath collections copy course dataclasses decimal enum fractions
    functools heapq itertools math matplotlib numbers numpy random re scipy skimage statistics
    time torch torchvision typing warnings textwrap
""")
_BUILTINS = _words("""
    eval exec compile open globals locals vars getattr setattr delattr dir breakpoint input help
    memoryview get_ipython exit quit
""")
_ATTRIBUTES = _words("""
    sys os gc io inspect importlib types ctypes builtins subprocess pickle marshal shutil
    pathlib linecache traceback threading modules multiprocessing socket signal runpy pkgutil
    code ast dis tempfile load loads save dump dumps open fromfile tofile memmap hub from_file
    jit compile ops library fx distributed testing checks attrgetter methodcaller operator f2py
    ctypeslib cpp_extension package export getsource savefig set_trace weakref contextvars
    bltns distutils use switch_backend savetxt load_library Formatter get_field vformat
    get_type_hints ForwardRef singledispatch singledispatchmethod make_dataclass update_wrapper
    wraps benchmark Timer timeit copyreg keyword
""")
_DUNDERS = _words("""
    __init__ __call__ __len__ __getitem__ __iter__ __next__ __name__ __repr__ __eq__
    __post_init__ __doc__ __enter__ __exit__
""")
_INNER = ("co_", "cr_", "ag_", "gi_", "f_", "tb_")


def is_plain(sources: Iterable[str]) -> bool:
    """Whether all texts are free of anything that looks into the interpreter or at files.

    >>> is_plain(["import torch\\ndef f(x):\\n    return torch.relu(x)"])
    True
    >>> is_plain(["import sys"]), is_plain(["f.__code__"]), is_plain(["%reset -f"])
    (False, False, False)
    """
    for source in sources:
        try:
            tree = tree_of(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return False  # magic lines too
        if not all(map(_plain_node, ast.walk(tree))):
            return False
    return True


def _plain_node(node: ast.AST) -> bool:
    if isinstance(node, ast.Import):
        return all(_plain_module(alias.name) for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        names = (alias.name for alias in node.names)
        return not node.level and _plain_module(node.module or "") and all(map(_plain_name, names))
    if isinstance(node, ast.Attribute):
        own = isinstance(node.value, ast.Name) and node.value.id == "self"
        return _plain_name(node.attr, own)
    if isinstance(node, ast.Name):
        return node.id not in _BUILTINS and not node.id.startswith("__")
    if isinstance(node, ast.Constant):
        return not (isinstance(node.value, str) and "__" in node.value)  # names for `getattr`
    if isinstance(node, ast.MatchClass):
        return all(map(_plain_name, node.kwd_attrs))
    return True


def _plain_module(name: str) -> bool:
    top, *parts = name.split(".")
    return top in _MODULES and all(map(_plain_name, parts))


def _plain_name(name: str, own: bool = False) -> bool:
    if name.startswith("__"):
        return name in _DUNDERS
    if name in _ATTRIBUTES or name in _BUILTINS or name.startswith(_INNER):
        return False
    return own or not name.startswith("_")
