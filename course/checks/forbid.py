"""Notice calls that an exercise rules out: the library's own answer, a one-call torch function.

While a check runs, a profile hook looks at every call. A forbidden call counts when the nearest
frame that is not library code belongs to the student: calls made by the check itself, or inside a
network that the check passed in through `spy`, do not count. Another name for the same function
does not help, since functions are compared by identity. A student's own thread or a copied source
is out of reach here; the grader looks after those.
"""

from __future__ import annotations

import importlib
import linecache
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from types import BuiltinFunctionType, CodeType, FrameType
from typing import Any

from course.checks.student import Spy

__all__ = ["Guard", "Violation"]

_SPY = Spy.__call__.__code__


@dataclass(frozen=True)
class Violation:
    """A forbidden call: the name as the exercise states it, and the student's line."""

    name: str
    line: int
    text: str

    def __str__(self) -> str:
        where = f" (line {self.line}: `{self.text}`)" if self.text else ""
        return f"This exercise asks you to write it yourself: `{self.name}` may not be used{where}."


class Guard:
    """Context manager that records forbidden calls made by one namespace.

    Args:
        names: dotted names of functions, classes or whole modules (with everything in them).
        namespace: globals of the student's notebook.
        own_file: code file of the check itself, whose calls are allowed.

    Raises:
        ValueError: a name cannot be imported.
    """

    def __init__(self, names: Iterable[str], namespace: dict[str, Any], own_file: str) -> None:
        self.violations: list[Violation] = []
        self._namespace = namespace
        self._own_file = own_file
        self._modules: dict[str, str] = {}
        self._codes: dict[CodeType, str] = {}
        self._builtins: dict[int, tuple[Any, str]] = {}
        for name in names:
            self._add(name)

    def __enter__(self) -> Guard:
        self._before = sys.getprofile()
        if self._modules or self._codes or self._builtins:
            sys.setprofile(self._notice)
        return self

    def __exit__(self, *_: object) -> None:
        if self._modules or self._codes or self._builtins:
            sys.setprofile(self._before)

    def _add(self, name: str) -> None:
        target = _find(name)
        if hasattr(target, "__path__") or type(target).__name__ == "module":
            self._modules[target.__name__] = name
            return
        if isinstance(target, type):
            target = target.__init__
        target = getattr(target, "_implementation", target)
        code = getattr(target, "__code__", None)
        if code is not None:
            self._codes[code] = name
        else:
            self._builtins[id(target)] = (target, name)

    def _notice(self, frame: FrameType, event: str, arg: Any) -> None:
        if event == "call":
            name = self._codes.get(frame.f_code)
            if name is None and self._modules:
                name = self._module_name(frame)
            if name is not None:
                self._blame(name, frame.f_back)
        elif event == "c_call" and isinstance(arg, BuiltinFunctionType):
            found = self._builtins.get(id(arg))
            if found is not None:
                self._blame(found[1], frame)

    def _module_name(self, frame: FrameType) -> str | None:
        owner = frame.f_globals.get("__name__", "")
        for module, stated in self._modules.items():
            if owner == module or owner.startswith(module + "."):
                return f"{stated}.{frame.f_code.co_name}"
        return None

    def _blame(self, name: str, frame: FrameType | None) -> None:
        while frame is not None:
            code = frame.f_code
            if code is _SPY or code.co_filename == self._own_file:
                return
            if frame.f_globals is self._namespace:
                text = linecache.getline(code.co_filename, frame.f_lineno).strip()
                if not any(v.name == name for v in self.violations):
                    self.violations.append(Violation(name, frame.f_lineno, text))
                return
            if code.co_name == "<module>":
                return  # the call happens while a library is imported
            module = frame.f_globals.get("__name__", "")
            if (inner := self._module_name(frame)) is not None:
                name = inner  # inside a forbidden module: blame the function that was entered
            elif module.startswith("course."):
                return  # another part of the library may use what the student may not
            frame = frame.f_back


def _find(name: str) -> Any:
    """The object behind a dotted name: the longest importable module, then attributes."""
    parts = name.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            target: Any = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        try:
            for part in parts[cut:]:
                target = getattr(target, part)
        except AttributeError:
            break
        return target
    raise ValueError(f"forbid={name!r}: there is no such module, function or class to import")
