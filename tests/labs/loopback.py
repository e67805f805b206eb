"""A check cell and the student's code on two sides of a wall that only data crosses.

Everything that passes is packed and unpacked as between the grader's two processes; what cannot be
turned into data does not pass. Here both sides share one process, so that a lab's author gets an
answer at once, with a traceback that shows both sides.
"""

from __future__ import annotations

import builtins
import json
from typing import Any

from autograder.judge.wire import pack, unpack
from course.checks import Spy, build, gradients, observe
from course.checks.student import ModuleHandle

HELPERS = {"observe": observe, "gradients": gradients}


def crossed(value: Any) -> Any:
    """The value as it arrives on the other side; a spy arrives as something that calls back."""
    buffers: list[Any] = []
    spies: list[Spy] = []

    def passed(what: Any) -> list[Any]:
        if type(what) is not Spy:
            raise TypeError(f"{type(what).__name__} is no data: it cannot leave its process")
        spies.append(what)
        return ["callback", len(spies) - 1, "spy"]

    text = json.dumps(pack(value, buffers, other=passed, strides=True))
    return unpack(
        json.loads(text),
        [bytes(part) for part in buffers],
        callback=lambda number, name: lambda *args: crossed(spies[number](*crossed(args))),
        strides=True,
    )


class StandIn:
    """What a check cell gets in the place of a student's function or class."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return crossed(self._function(*crossed(args), **crossed(kwargs)))

    def __remote__(self, helper: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        args, kwargs = crossed(args), crossed(kwargs)
        if helper == "build":
            return _Handle(build(self._function, *args, **kwargs))
        result = HELPERS[helper](self._function, *args, **kwargs)
        return crossed(tuple(vars(result).values()) if helper == "observe" else result)


class _Handle:
    def __init__(self, handle: ModuleHandle) -> None:
        self._handle = handle

    def __call__(self, *args: Any) -> Any:
        return crossed(self._handle(*crossed(args)))

    def __getattr__(self, name: str) -> Any:
        method = getattr(ModuleHandle, name)
        return lambda *args, **kwargs: crossed(
            method(self._handle, *crossed(args), **crossed(kwargs))
        )


class Beyond(dict[str, Any]):
    """Names of a check cell; those it does not know are looked up on the student's side."""

    def __init__(self, student: dict[str, Any]) -> None:
        super().__init__(__builtins__=builtins, __name__="__checker__")
        self._student = student

    def __missing__(self, name: str) -> Any:
        if hasattr(builtins, name) or name not in self._student:
            raise KeyError(name)
        value = self._student[name]
        return StandIn(value) if callable(value) else crossed(value)
