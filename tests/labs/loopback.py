"""A check cell and the student's code on two sides of a wall that only data crosses.

Everything that passes is turned into JSON and raw bytes and read again on the other side, as it
would be between two processes. What cannot be turned into data does not pass.
"""

from __future__ import annotations

import builtins
import json
from typing import Any

import numpy as np
import torch

from course.checks import Spy, build, gradients, observe
from course.checks.student import ModuleHandle

HELPERS = {"observe": observe, "gradients": gradients}


def crossed(value: Any) -> Any:
    """The value as it arrives on the other side."""
    buffers: list[Any] = []
    text = json.dumps(_pack(value, buffers))
    return _unpack(json.loads(text), buffers)


def _pack(value: Any, buffers: list[Any]) -> Any:
    kind = type(value)
    if value is None or kind in (bool, int, str):
        return ["value", value]
    if kind is float:
        return ["float", value.hex()]
    if kind in (list, tuple, torch.Size):
        return ["list" if kind is list else "tuple", [_pack(v, buffers) for v in value]]
    if kind is dict:
        return ["dict", [[_pack(k, buffers), _pack(v, buffers)] for k, v in value.items()]]
    if kind in (torch.Tensor, torch.nn.Parameter):
        data = value.detach().cpu().contiguous()
        buffers.append(data.reshape(-1).view(torch.uint8).numpy().tobytes())
        name = str(data.dtype).removeprefix("torch.")
        return ["tensor", name, list(data.shape), len(buffers) - 1]
    if kind is np.ndarray and value.dtype.kind in "biufc":
        buffers.append(value.tobytes())
        return ["array", value.dtype.str, list(value.shape), len(buffers) - 1]
    if isinstance(value, np.generic):
        return _pack(value.item(), buffers)
    if kind is Spy:
        buffers.append(value)  # a reference: calls come back over the wall
        return ["callback", len(buffers) - 1]
    raise TypeError(f"{kind.__name__} is no data: it cannot leave its process")


def _unpack(packed: Any, buffers: list[Any]) -> Any:
    kind, *rest = packed
    if kind == "value":
        return rest[0]
    if kind == "float":
        return float.fromhex(rest[0])
    if kind in ("list", "tuple"):
        items = [_unpack(v, buffers) for v in rest[0]]
        return items if kind == "list" else tuple(items)
    if kind == "dict":
        return {_unpack(k, buffers): _unpack(v, buffers) for k, v in rest[0]}
    if kind == "tensor":
        raw = torch.frombuffer(bytearray(buffers[rest[2]]) or bytearray(1), dtype=torch.uint8)
        dtype = getattr(torch, rest[0])
        size = int(np.prod(rest[1])) * dtype.itemsize
        return raw[:size].view(dtype).reshape(rest[1])
    if kind == "array":
        return np.frombuffer(buffers[rest[2]], np.dtype(rest[0])).reshape(rest[1]).copy()
    spy = buffers[rest[0]]
    return lambda *args: crossed(spy(*crossed(args)))


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
