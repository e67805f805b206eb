"""Outside the box: the names that a check cell sees, and what stands for the student's objects.

A name that the check does not define itself is asked for in the snapshot. Plain data arrives as
data; a function or class becomes a `StandIn`, which can be called with data and handed to the
helpers of `course.checks`. What comes back is believed to be nothing but data; see `wire`.
"""

from __future__ import annotations

import builtins
import time
from collections.abc import Callable
from typing import Any

from autograder.judge.asking import Broken, Snapshot
from autograder.judge.wire import crossed
from course.checks.student import ModuleHandle, _same

__all__ = ["Names", "StandIn"]

_MODULE_METHODS = frozenset(n for n in vars(ModuleHandle) if not n.startswith("_"))


class StandIn:
    """A student's function or class: call it with data, or hand it to a helper."""

    def __init__(self, snapshot: Snapshot, name: str) -> None:
        self.__name__ = self.__qualname__ = name
        self._snapshot = snapshot

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._snapshot.ask(["call", self.__name__], args, kwargs)

    def __remote__(self, helper: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        snapshot, request = self._snapshot, [helper, self.__name__]
        if helper == "observe":
            return self._observe(args, kwargs)
        value = snapshot.ask(request, args, kwargs)
        if helper == "gradients":
            return value
        if type(value) is not int:
            raise Broken("BadReply", "a module without a number")
        return _Module(snapshot, value)

    def _observe(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
        start = time.perf_counter()
        value, error, after = self._snapshot.attempt(["observe", self.__name__], args, kwargs)
        seconds = time.perf_counter() - start
        name, bases, text = "", (), ""
        if error is not None:
            if issubclass(error["kind"], NotImplementedError) or not issubclass(
                error["kind"], Exception
            ):
                self._snapshot.raise_(error)
            name, bases, text = error["name"], error["bases"], error["text"]
        # Compared here, with our own copies: what the box says about changes counts for nothing.
        given = {**dict(enumerate(args)), **kwargs}
        left: dict[Any, Any] = {}
        if after is not None:
            if type(after) is not list or [type(part) for part in after] != [list, dict]:
                raise Broken("BadReply", "arguments of wrong form")
            left = {**dict(enumerate(after[0])), **after[1]}
        changed = tuple(key for key in given if not _unchanged(given[key], left.get(key)))
        return value, name, bases, text, changed, seconds

    def __repr__(self) -> str:
        return f"<the student's {self.__name__}>"


class _Module:
    """A module that `build` made in the box; the methods of `ModuleHandle`."""

    def __init__(self, snapshot: Snapshot, number: int) -> None:
        self._snapshot, self._number = snapshot, number

    def __call__(self, *args: Any) -> Any:
        return self._snapshot.ask(["module", self._number, "__call__"], args, {})

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name not in _MODULE_METHODS:
            raise AttributeError(f"a module's handle has no {name!r}")
        request = ["module", self._number, name]
        return lambda *args, **kwargs: self._snapshot.ask(request, args, kwargs)


class Names(dict[str, Any]):
    """Globals of a check cell; what it does not define is looked up in the snapshot.

    Args:
        snapshot: the student's process.
        theirs: names that the lab's gaps define, which are the student's even where Python has a
            name like it.
    """

    def __init__(self, snapshot: Snapshot, theirs: frozenset[str]) -> None:
        super().__init__(__builtins__=builtins, __name__="__main__")
        self._snapshot, self._theirs = snapshot, theirs
        self._known: dict[str, StandIn] = {}
        snapshot.namespace = self

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) and name not in self._theirs:
            raise KeyError(name)
        if name in self._known:
            return self._known[name]
        kind, *value = self._snapshot.get(name)
        if kind == "missing":
            raise KeyError(name)
        if kind == "value":
            return value[0]
        # Kept beside the dictionary: what a report calls undefined must not be in it.
        stand_in = self._known[name] = StandIn(self._snapshot, name)
        return stand_in


def _unchanged(before: Any, after: Any) -> bool:
    if callable(before):
        return True
    before = crossed(before)
    return type(before) is type(after) and _same(before, after)
