"""Make what an exercise forbids unusable in this process, whatever name it is reached by.

Four layers, because a student's code lives in the same process:

1. *Python functions* lose their code. All that shares the function object (another import name, a
   default argument, a partial, a class attribute, `sys.modules`) meets the stub.
2. *Operations of torch* are overridden in its dispatcher, below every Python name they have.
3. An *audit hook*, which Python offers no way to remove, refuses to load or read the forbidden
   files again, to give a function other code (its own under another name passes: decorators of
   torch do that), and to list the interpreter's objects.
4. The kernel starts no other program for this process or its forks, which all carry the block.

A stub notes the student's line and raises `Forbidden`. Whoever blocks before any line of a student
has run leaves nothing that could have been kept; see `autograder.judge.plain` for when that is due.
"""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import linecache
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import CodeType, FunctionType, ModuleType
from typing import Any, NoReturn

from autograder.judge.hook import Forbidden, close_ways
from autograder.judge.native import block_operations

__all__ = ["Block", "Forbidden"]


class Block:
    """What may not be called in this process.

    Args:
        namespace: globals of the student's notebook, to find the line that called.

    Attributes:
        calls: what was called all the same: `[name, line, text]`, each name once.
    """

    def __init__(self, namespace: dict[str, Any]) -> None:
        self.calls: list[list[Any]] = []
        self._namespace = namespace
        self._names: set[str] = set()

    def add(self, names: Iterable[str]) -> None:
        """Block dotted names: functions, classes, or modules with all they contain.

        Raises:
            RuntimeError: other names are blocked already; the hook cannot be taken back.
        """
        new = [name for name in names if name not in self._names]
        if new and self._names:
            raise RuntimeError(f"{sorted(self._names)} are blocked, {new} come too late")
        self._names.update(new)
        files: list[str] = []
        builtins: list[tuple[Any, str]] = []
        for name in new:
            place = _module_file(name)
            if place:
                files.append(place)
                self._block_module(name, place)
            elif (target := _attribute(name)) is not None:
                for function in _functions(target, lambda _: True):
                    self._strip(function, name)
                if not block_operations(name, lambda name=name: self._refuse(name)):
                    target = getattr(target, "__func__", target)
                    if type(target).__name__ == "builtin_function_or_method":
                        builtins.append((target, name))
        if builtins:
            self._watch(builtins)
        if new:
            close_ways(tuple(files))

    def take(self) -> list[list[Any]]:
        """The calls since the last time."""
        calls, self.calls = self.calls, []
        return calls

    def _block_module(self, name: str, place: str) -> None:
        if name.partition(".")[0] in sys.modules:
            try:
                importlib.import_module(name)
            except ImportError:
                return
        inside = (name, f"{name}.")

        def own(function: FunctionType) -> bool:
            owner = function.__globals__.get("__name__", "")
            return owner == inside[0] or owner.startswith(inside[1])

        for key, module in list(sys.modules.items()):
            if key != inside[0] and not key.startswith(inside[1]):
                continue
            if isinstance(module, ModuleType):
                for value in list(vars(module).values()):
                    for function in _functions(value, own):
                        self._strip(function, f"{name}.{function.__name__}")

    def _strip(self, function: FunctionType, name: str) -> None:
        """Give a function code that refuses; the old code is gone from this process."""
        code = _stub(len(function.__code__.co_freevars))
        refuse = functools.partial(self._refuse, name)
        consts = tuple(refuse if c == "refuse" else c for c in code.co_consts)
        function.__code__ = code.replace(co_consts=consts)
        if hasattr(function, "__wrapped__"):
            del function.__wrapped__

    def _refuse(self, name: str) -> NoReturn:
        line, text = 0, ""
        frame = sys._getframe(1)
        while frame is not None:
            if frame.f_globals is self._namespace:
                line = frame.f_lineno
                text = linecache.getline(frame.f_code.co_filename, line).strip()
                break
            frame = frame.f_back
        if not any(name == known for known, _, _ in self.calls):
            self.calls.append([name, line, text])
        raise Forbidden(f"`{name}` may not be used in this exercise")

    def _watch(self, builtins: list[tuple[Any, str]]) -> None:
        """Functions written in C outside torch: seen by a profile hook, which cannot be unset."""

        def notice(frame: Any, event: str, arg: Any) -> None:
            if event == "c_call":
                for target, name in builtins:
                    if arg is target:
                        self._refuse(name)

        sys.setprofile(notice)


def _module_file(name: str) -> str:
    """The folder or file of a module, found without importing it; "" where it is no module."""
    top, *parts = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return ""
    if spec is None or not spec.origin:
        return ""
    if not spec.submodule_search_locations:
        return "" if parts else spec.origin
    place = Path(next(iter(spec.submodule_search_locations)))
    for part in parts:
        if (place / part / "__init__.py").is_file():
            place = place / part
        elif (place / f"{part}.py").is_file() and part == parts[-1]:
            return os.path.realpath(place / f"{part}.py")
        else:
            return ""
    return os.path.realpath(place)


def _attribute(name: str) -> Any:
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            target: Any = importlib.import_module(".".join(parts[:cut]))
            for part in parts[cut:]:
                target = getattr(target, part)
        except (ImportError, AttributeError):
            continue
        return target
    return getattr(importlib.import_module("builtins"), name, None)


def _functions(
    value: Any, wanted: Callable[[FunctionType], bool], depth: int = 0
) -> Iterator[FunctionType]:
    """Python functions behind an object: its own, its wrapped one, a class's methods."""
    if depth > 6:
        return
    if isinstance(value, FunctionType):
        if wanted(value):
            inner = [c.cell_contents for c in value.__closure__ or () if _filled(c)]
            inner += [getattr(value, "__wrapped__", None)]
            for part in inner:
                if isinstance(part, FunctionType):
                    yield from _functions(part, wanted, depth + 1)
            yield value
    elif isinstance(value, type):
        for part in list(vars(value).values()):
            yield from _functions(part, wanted, depth + 1)
    elif isinstance(value, property):
        for part in (value.fget, value.fset, value.fdel):
            yield from _functions(part, wanted, depth + 1)
    else:
        for key in ("__func__", "__wrapped__", "_implementation", "func"):
            part = getattr(value, key, None) if not isinstance(value, ModuleType) else None
            if isinstance(part, FunctionType):
                yield from _functions(part, wanted, depth + 1)


def _filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return False
    return True


@functools.cache
def _stub(free: int) -> CodeType:
    """Code that refuses, for a function with so many free variables."""
    names = [f"_{i}" for i in range(free)]
    lines = ["def outer():", *(f"    {n} = 0" for n in names)]
    lines += ["    def stub(*args, **kwargs):", *(f"        {n}" for n in names)]
    lines += ["        return 'refuse'()", "    return stub"]
    space: dict[str, Any] = {}
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile("\n".join(lines), "<forbidden>", "exec"), space)
    return space["outer"]().__code__
