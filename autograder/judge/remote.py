"""In the box: a snapshot of the student's process answers what one check asks.

It knows no test. It looks names up in the student's namespace, calls them with data, and runs the
helpers of `course.checks` where the functions live. Requests and answers (`value` stands for the
form that `autograder.judge.wire.pack` gives):

| request | answer |
|---|---|
| `["get", name]` | `["missing"]`, `["callable"]`, or `["value", value]` |
| `["call", name, args, kwargs, state]` | `["value", value, seen]` or `["error", what, seen]` |
| `["observe", …]` | the same; `seen["after"]` has the arguments as the call left them |
| `["gradients", …]`, `["build", …]` | the same; `build` answers with the number of a module |
| `["module", number, method, args, kwargs, state]` | the same |

Before its answer a request may be interrupted by `["callback", number, args, kwargs]`: the
student's code calls something that the check passed in. It goes on with `["value", value]` or
`["error", what]`, or with another request first.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import linecache
import os
import random
import threading
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import Any

import numpy as np
import torch

from autograder.judge.block import Block
from autograder.judge.generators import Generators
from autograder.judge.shell import TimeLimit
from autograder.judge.wire import Channel, ChannelClosed, WireError, pack, unpack
from course.checks.student import ModuleHandle, build, gradients

__all__ = ["Snapshot"]

_MOST_PRINTED = 2000
_DEEPEST = 30


class Snapshot:
    """Serves one check.

    Args:
        channel: to the process that runs the check.
        namespace: the student's names.
        block: what may not be called.
        seconds: processor time for the whole check.
    """

    def __init__(
        self, channel: Channel, namespace: dict[str, Any], block: Block, seconds: float
    ) -> None:
        self._channel = channel
        self._namespace = namespace
        self._block = block
        self._seconds = seconds
        self._modules: list[ModuleHandle] = []
        self._depth = 0
        self._lock = threading.RLock()

    def serve(self) -> None:
        """Answer until the check is over."""
        from autograder.judge.worker import Alarm

        with contextlib.suppress(ChannelClosed), Alarm(self._seconds):
            while True:
                request, buffers = self._channel.receive()
                self._answer(request, buffers)

    def _answer(self, request: list[Any], buffers: list[bytes]) -> None:
        verb, *rest = request
        out: list[Any] = []
        if verb == "get":
            self._channel.send(self._get(rest[0], out), out)
            return
        printed, itself = io.StringIO(), os.getpid()
        seen: dict[str, Any] = {"after": None}
        self._depth += 1
        try:
            if self._depth > _DEEPEST:
                raise RecursionError("calls between the check and your code are nested too deeply")
            with (
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(printed),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                value = self._do(verb, rest, buffers, seen, out)
            answer = ["value", _packed(value, out)]
        except ChannelClosed:
            raise
        except BaseException as error:
            answer = ["error", self._described(error)]
            if seen["after"] is None:
                out.clear()
        finally:
            self._depth -= 1
            if os.getpid() != itself:
                os._exit(1)  # a copy that the student's code has forked; the first one answers
        seen["printed"] = printed.getvalue()[:_MOST_PRINTED]
        seen["forbidden"] = self._block.take()
        self._channel.send([*answer, seen], out)

    def _get(self, name: str, out: list[Any]) -> list[Any]:
        missing = object()
        value = self._namespace.get(name, missing)
        if value is missing:
            return ["missing"]
        if callable(value):
            return ["callable"]
        return ["value", pack(value, out, other=_other)]

    def _do(
        self, verb: str, rest: list[Any], buffers: list[bytes], seen: dict[str, Any], out: list[Any]
    ) -> Any:
        target, *method, packed_args, packed_kwargs, state = rest
        read = {"callback": self._stand_in, "strides": True}
        try:
            args = unpack(packed_args, buffers, **read)
            kwargs = unpack(packed_kwargs, buffers, **read)
            _restore(state, buffers)
        except Exception as error:  # ours: no check that expects an error shall take it for one
            raise WireError(f"the question did not arrive ({type(error).__name__})") from error
        before = Generators() if state.get("watch") else None
        try:
            return self._call(verb, target, method, args, kwargs, state, seen, out)
        finally:
            seen["drew"] = before is not None and bool(before.changed([]))

    def _call(
        self,
        verb: str,
        target: Any,
        method: list[str],
        args: Any,
        kwargs: Any,
        state: dict[str, Any],
        seen: dict[str, Any],
        out: list[Any],
    ) -> Any:
        with torch.set_grad_enabled(bool(state.get("grad", True))):
            if verb == "module":
                return getattr(self._modules[target], method[0])(*args, **kwargs)
            function = self._namespace[target]
            if verb == "call":
                return function(*args, **kwargs)
            if verb == "observe":
                try:
                    return function(*args, **kwargs)
                finally:
                    after = [args, kwargs]
                    seen["after"] = _packed(after, out)
            if verb == "gradients":
                return gradients(function, *args, **kwargs)
            self._modules.append(build(function, *args, **kwargs))
            return len(self._modules) - 1

    def _stand_in(self, number: int, name: str) -> Callable[..., Any]:
        """What student code gets for a callable of the check: it can be called, and no more."""

        def call(*args: Any, **kwargs: Any) -> Any:
            with self._lock:
                return self._call_back(number, args, kwargs)

        call.__name__ = call.__qualname__ = name
        return call

    def _call_back(self, number: int, args: Any, kwargs: Any) -> Any:
        out: list[Any] = []
        packed = [pack(list(args), out, other=_other), pack(kwargs, out, other=_other)]
        self._channel.send(["callback", number, *packed], out)
        while True:
            answer, buffers = self._channel.receive()
            if answer[0] == "value":
                return unpack(answer[1], buffers, callback=self._stand_in, strides=True)
            if answer[0] == "error":
                kind = getattr(builtins, answer[1], RuntimeError)
                raise kind(answer[2])
            self._answer(answer, buffers)

    def _described(self, error: BaseException) -> dict[str, Any]:
        """An exception as data: its class, bases and text, and the student's line."""
        bases = type(error).__mro__
        kind = next(b for b in bases if getattr(builtins, b.__name__, None) is b)
        try:
            text = str(error)
        except BaseException:
            text = ""
        return {
            "name": type(error).__name__,
            "bases": [base.__name__ for base in bases],
            "kind": kind.__name__,
            "text": text[:_MOST_PRINTED],
            "missing": getattr(error, "name", None) if isinstance(error, NameError) else None,
            "limit": isinstance(error, TimeLimit),
            "refused": isinstance(error, WireError),
            "line": self._own_line(error.__traceback__),
        }

    def _own_line(self, trace: TracebackType | None) -> list[Any]:
        """Number and text of the last line of the student's own code, [0, ""] if there is none."""
        found: list[Any] = [0, ""]
        while trace is not None:
            if trace.tb_frame.f_globals is self._namespace:
                line = trace.tb_lineno
                text = linecache.getline(trace.tb_frame.f_code.co_filename, line)
                found = [line, text.strip()[:500]]
            trace = trace.tb_next
        return found


def _packed(value: Any, out: list[Any]) -> Any:
    """A result as data. What fails here is no error that the student's function raised."""
    try:
        return pack(value, out, other=_other)
    except WireError:
        raise
    except Exception as error:
        raise WireError(f"the result is no data ({type(error).__name__})") from error


def _other(value: Any) -> list[Any]:
    return ["other", type(value).__name__]


def _restore(state: dict[str, Any], buffers: list[bytes]) -> None:
    """Put the generators where the check's stand, so that a seed set by the check counts here."""
    if (number := state.get("torch")) is not None:
        torch.set_rng_state(torch.frombuffer(bytearray(buffers[number]), dtype=torch.uint8))
    if (numpy_state := state.get("numpy")) is not None:
        number, *position = numpy_state
        key = np.frombuffer(buffers[number], np.uint32)
        np.random.set_state(("MT19937", key, *position))  # noqa: NPY002
    if (python_state := state.get("python")) is not None:
        version, key, gauss = python_state
        random.setstate((version, tuple(key), gauss))
