"""Outside the box: the student's process, as a check sees it.

Everything that comes from there is taken apart and checked here; `Broken` ends the check where the
other side does not keep to the protocol or died.
"""

from __future__ import annotations

import builtins
import linecache
from typing import Any

import torch

from autograder.judge.generators import Generators
from autograder.judge.talk import Replayed
from autograder.judge.wire import Channel, ChannelClosed, WireError, pack, unpack
from course.checks.forbid import Violation
from course.checks.student import Spy

__all__ = ["Broken", "Snapshot"]

_DEEPEST = 30
_LONGEST = 2000
_LAST_LINE = 100_000


class Broken(BaseException):
    """The snapshot died, ran out of time, or said what the protocol does not know.

    No `Exception`, so that it ends the whole check cell, as a dead kernel would.

    Attributes:
        name: "KernelDied", "TimeLimit" or "BadReply".
    """

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


class Snapshot:
    """The student's process, as the check sees it.

    Args:
        channel: to the snapshot, or what stands for it. Whoever runs the check interrupts it when
            its time is over.
        seeds: whether the check may seed the generators, which must then count there too.

    Attributes:
        forbidden: calls that the block refused, since they were last taken.
    """

    def __init__(self, channel: Channel | Replayed, *, seeds: bool = True) -> None:
        self.forbidden: list[Violation] = []
        self._channel = channel
        self._callables: list[Spy] = []
        self._state = Generators() if seeds else None
        self._depth = 0
        self.namespace: dict[str, Any] = {}

    def get(self, name: str) -> list[Any]:
        """`["missing"]`, `["callable"]`, or `["value", its value]`."""
        self._send(["get", name], [])
        answer, buffers = self._receive()
        if answer in (["missing"], ["callable"]):
            return answer
        if len(answer) != 2 or answer[0] != "value":
            raise self._bad("an answer of wrong form")
        return ["value", self._unpack(answer[1], buffers)]

    def ask(self, request: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Have something called there; returns what it returned, raises what it raised."""
        value, error, _ = self.attempt(request, args, kwargs)
        if error is not None:
            self.raise_(error)
        return value

    def attempt(
        self, request: list[Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Any, dict[str, Any] | None, Any]:
        """The same, as value, error, and the arguments as the call left them."""
        self._depth += 1
        if self._depth > _DEEPEST:
            raise RecursionError("calls between the check and the answer are nested too deeply")
        try:
            buffers: list[Any] = []
            parts = [self._pack(list(args), buffers), self._pack(dict(kwargs), buffers)]
            state: dict[str, Any] = {"grad": torch.is_grad_enabled()}
            if self._state is not None:
                state |= {"watch": True, **self._state.changed(buffers)}
            self._send([*request, *parts, state], buffers)
            while True:
                answer, found = self._receive()
                if answer[0] != "callback":
                    return self._read(answer, found)
                self._call(answer, found)
        finally:
            self._depth -= 1

    def _read(self, answer: list[Any], buffers: list[bytes]) -> tuple[Any, Any, Any]:
        if len(answer) != 3 or answer[0] not in ("value", "error") or type(answer[2]) is not dict:
            raise self._bad("an answer of wrong form")
        kind, what, seen = answer
        self._note(seen.get("printed"), seen.get("forbidden"))
        if seen.get("drew") is True and self._state is not None:
            self._state.draw()
        after = None
        if seen.get("after") is not None:
            after = self._unpack(seen["after"], buffers)
        if kind == "value":
            return self._unpack(what, buffers), None, after
        return None, self._error(what), after

    def _note(self, printed: Any, forbidden: Any) -> None:
        if type(printed) is str and printed:
            print(_clean(printed), end="")
        for call in forbidden if type(forbidden) is list else ():
            if [type(part) for part in call] == [str, int, str]:
                self.forbidden.append(Violation(_clean(call[0]), call[1], _clean(call[2])))

    def _error(self, what: Any) -> dict[str, Any]:
        good = (
            type(what) is dict
            and all(type(what.get(key)) is str for key in ("name", "kind", "text"))
            and type(what.get("bases")) is list
            and all(type(base) is str for base in what["bases"])
            and type(what.get("line")) is list
            and [type(part) for part in what["line"]] == [int, str]
        )
        if not good:
            raise self._bad("an error of wrong form")
        if what.get("limit") is True:
            raise Broken("TimeLimit", _clean(what["text"]))
        kind = getattr(builtins, what["kind"], None)
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            kind = RuntimeError
        missing = what.get("missing")
        return {
            "name": _clean(what["name"])[:100] or "Error",
            "bases": tuple(_clean(base)[:100] for base in what["bases"][:50]),
            "kind": kind,
            "text": _clean(what["text"]),
            "missing": missing if type(missing) is str else None,
            "line": (min(max(what["line"][0], 0), _LAST_LINE), _clean(what["line"][1])),
        }

    def raise_(self, error: dict[str, Any]) -> None:
        """Raise the exception here, from a line that reports the student's own."""
        text, kind = error["text"], error["kind"]
        made = type(
            error["name"], (kind,), {"__str__": lambda self: text, "__module__": "builtins"}
        )
        problem = made.__new__(made)
        if issubclass(kind, NameError):
            problem.name = error["missing"]
        number, line = error["line"]
        if not number:
            raise problem
        file = f"<answer {id(self)}>"
        lines = [*[""] * (number - 1), line]
        linecache.cache[file] = (0, None, [f"{part}\n" for part in lines], file)
        code = compile("\n" * (number - 1) + "raise problem", file, "exec")
        exec(code, self.namespace, {"problem": problem})

    def _call(self, request: list[Any], buffers: list[bytes]) -> None:
        """The student's code calls what the check passed in."""
        if len(request) != 4 or type(request[1]) is not int:
            raise self._bad("a call of wrong form")
        if not 0 <= request[1] < len(self._callables):
            raise self._bad("a call of something that was never passed")
        args, kwargs = (self._unpack(part, buffers) for part in request[2:])
        if type(args) is not list or type(kwargs) is not dict or not all(map(_is_text, kwargs)):
            raise self._bad("a call with wrong arguments")
        out: list[Any] = []
        try:
            value = self._callables[request[1]](*args, **kwargs)
            answer = ["value", self._pack(value, out)]
        except Exception as error:
            out.clear()
            kind = type(error).__name__
            kind = kind if hasattr(builtins, kind) else "RuntimeError"
            answer = ["error", kind, str(error)[:_LONGEST]]
        self._send(answer, out)

    def _pack(self, value: Any, buffers: list[Any]) -> Any:
        return pack(value, buffers, other=self._passed, strides=True)

    def _passed(self, value: Any) -> list[Any]:
        if type(value) is not Spy:
            what = f"{type(value).__name__} is no data: it cannot go to the student's process"
            raise TypeError(f"{what}; wrap a callable in spy(...)")
        if not any(value is known for known in self._callables):
            self._callables.append(value)
        number = next(i for i, known in enumerate(self._callables) if known is value)
        return ["callback", number, "network"]

    def _unpack(self, packed: Any, buffers: list[bytes]) -> Any:
        try:
            return unpack(packed, buffers)
        except WireError as error:
            raise self._bad(str(error)) from error

    def _send(self, message: Any, buffers: list[Any]) -> None:
        try:
            self._channel.send(message, buffers)
        except ChannelClosed as error:
            raise self._gone() from error

    def _receive(self) -> tuple[list[Any], list[bytes]]:
        try:
            answer, buffers = self._channel.receive()
        except ChannelClosed as error:
            raise self._gone() from error
        except WireError as error:
            raise self._bad(str(error)) from error
        if type(answer) is not list or not answer:
            raise self._bad("an answer of wrong form")
        return answer, buffers

    def _gone(self) -> Broken:
        return Broken("KernelDied", "the Python process ended in this check")

    def _bad(self, text: str) -> Broken:
        return Broken("BadReply", text)


def _is_text(value: Any) -> bool:
    return type(value) is str


def _clean(text: str) -> str:
    return text[:_LONGEST].encode("utf-8", "replace").decode()
