"""Code that no exercise asks for: reaching for the tests, the grader or other people's files.

The sandbox and the trusted checker keep such code from doing anything; this only tells the
instructor that somebody tried. It reads the text, never runs it, takes no points, and can be
wrong in both directions, so its flag says "worth a look".
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator

from autograder.matching import Match
from autograder.notebooks import StudentCell
from autograder.records import Flag
from autograder.syntax import parse
from autograder.template import Template

__all__ = ["look_odd", "suspicions"]

_MODULES = {
    *("atexit", "builtins", "ctypes", "faulthandler", "gc", "http", "importlib", "inspect"),
    *("linecache", "marshal", "mmap", "multiprocessing", "pickle", "pty", "requests", "site"),
    *("socket", "sqlite3", "subprocess", "telnetlib", "urllib"),
}
_ATTRIBUTES = {
    # of Python's frames, functions and classes
    *("f_back", "f_builtins", "f_globals", "f_locals", "gi_frame", "tb_frame", "__builtins__"),
    *("__closure__", "__code__", "__file__", "__globals__", "__subclasses__", "_getframe"),
    # of sys
    *("displayhook", "meta_path", "modules", "path_hooks", "setprofile", "settrace"),
    # of os and shutil
    *("_exit", "abort", "closerange", "execv", "execve", "fork", "getppid", "kill", "popen"),
    *("readlink", "rmtree", "setgid", "setuid", "system", "unshare", "walk"),
    # of IPython
    *("ast_transformers", "display_pub", "events", "input_transformers_cleanup"),
    *("input_transformers_post", "kernel", "run_cell", "run_cell_async", "user_ns"),
}
_METHODS = {
    *("__array_function__", "__array_ufunc__", "__class__", "__reduce__", "__reduce_ex__"),
    "__torch_function__",
}
_CALLS = {"__import__", "compile", "eval", "exec"}
_OPENERS = {"Path", "connect", "glob", "iglob", "listdir", "open", "read_bytes", "read_text"}
_WORDS = re.compile(
    r"autograded|BEGIN HIDDEN|gradebook|\.ipython\b|/proc\b|segmentation-course\.check"
    r"|sitecustomize"
)
_FREE = ("torch.backends", "sys.stdout", "sys.stderr")  # honest students set these


def look_odd(match: Match, template: Template, theirs: list[StudentCell]) -> None:
    """Add flags about what has no effect here, and that an instructor may want to talk about."""
    home = {s: template.cells[t] for t, found in match.of.items() for s in found}
    tests = _test_names(template)
    for s, cell in enumerate(theirs):
        ours = home.get(s)
        if ours and cell.grade_id == ours.grade_id:
            edited = [word for word, said in cell.claims.items() if said != ours.metadata.get(word)]
            if edited:
                match.note("metadata-edited", f"its {', '.join(edited)} had been edited", ours)
        if cell.kind != "code" or (ours and ours.gave(cell.source)):
            continue
        if odd := suspicions(cell.source, tests):
            words = f"worth a look: it {', '.join(odd[:6])}"
            match.flags.append(Flag("suspicious-code", words, ours.grade_id if ours else ""))


def _test_names(template: Template) -> frozenset[str]:
    """Names that our locked cells import for the tests, such as "Exercise"."""
    locked = (cell.source for cell in template.cells if cell.metadata.get("locked"))
    return frozenset().union(*map(_names_for_tests, locked))


@functools.lru_cache(maxsize=512)  # the same cells of ours for every student
def _names_for_tests(source: str) -> frozenset[str]:
    tree = parse(source)
    return frozenset(
        alias.asname or alias.name
        for node in (tree.body if tree else ())
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("course.checks")
        for alias in node.names
    )


def suspicions(source: str, ours: Iterable[str] = ()) -> list[str]:
    """What in a cell is worth a look, in a few words each, without repeats.

    Args:
        ours: names that belong to the tests, such as "Exercise".

    >>> suspicions("import gc, numpy\\nnumpy.allclose = max")
    ['imports gc', 'replaces numpy.allclose']
    >>> suspicions("def double(x):\\n    return 2 * x")
    []
    """
    tree = parse(source)
    if tree is None:
        return []
    try:
        return list(dict.fromkeys(_look(tree, set(ours))))
    except RecursionError:
        return ["nests deeper than Python can read"]


def _look(tree: ast.Module, ours: set[str]) -> Iterator[str]:
    imported = {
        (alias.asname or alias.name).split(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    } | {"torch", "np", "sys", "course"}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _imports(node)
        elif isinstance(node, ast.Attribute):
            if node.attr in _ATTRIBUTES:
                yield f"uses {node.attr}"
            if isinstance(node.ctx, ast.Store | ast.Del):
                yield from _patch(node, imported)
        elif isinstance(node, ast.Call):
            yield from _call(node, imported)
        elif isinstance(node, ast.FunctionDef) and node.name in _METHODS:
            yield f"defines {node.name}"
        elif isinstance(node, ast.FunctionDef) and node.name == "__eq__" and _always_true(node):
            yield "defines an object that is equal to everything"
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield from (f"names {found}" for found in _WORDS.findall(node.value)[:3])
        yield from (f"replaces {name}" for name in sorted(_bound_here(node) & ours))


def _imports(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    names = [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        names = [node.module or ""]
    for name in names:
        if name.split(".")[0] in _MODULES:
            yield f"imports {name}"


def _patch(node: ast.Attribute, imported: set[str]) -> Iterator[str]:
    """An assignment to what a module holds."""
    path = _dotted(node)
    if path.split(".")[0] in imported and not path.startswith(_FREE):
        yield f"replaces {path}"


def _call(node: ast.Call, imported: set[str]) -> Iterator[str]:
    name = _dotted(node.func)
    last = name.rpartition(".")[2]
    first = node.args[0] if node.args else None
    if name in _CALLS:
        yield f"calls {name}"
    if name in ("setattr", "delattr") and _dotted(first).split(".")[0] in imported:
        yield f"replaces parts of {_dotted(first)}"
    text = first.value if isinstance(first, ast.Constant) else None
    if last in _OPENERS and isinstance(text, str) and text.startswith(("/", "..", "~")):
        yield f"opens {text[:80]}"
    if name in ("os.read", "os.write") and text not in (1, 2):
        yield f"calls {name} on a descriptor"


def _always_true(node: ast.FunctionDef) -> bool:
    last = node.body[-1]
    value = last.value if isinstance(last, ast.Return) else None
    return isinstance(value, ast.Constant) and value.value is True


def _bound_here(node: ast.AST) -> set[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return {node.name}
    if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
        return {node.id}
    return set()


def _dotted(node: ast.AST | None) -> str:
    """The dotted path of a name such as `torch.nn.Module`, "" for anything else."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *parts[::-1]]) if isinstance(node, ast.Name) else ""
