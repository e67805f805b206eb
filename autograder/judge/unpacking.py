"""How a value is built again, from exact types, whatever was sent."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from autograder.judge.kinds import (
    DEEPEST,
    INNER,
    LEAF,
    MOST_VALUES,
    NUMPY,
    TORCH,
    WireError,
    opaque,
)

__all__ = ["Unpacker"]

_MOST_DIMENSIONS = 24
_LONGEST_DIMENSION = 1 << 40
_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
_PLAIN = (type(None), bool, int, str)


class Unpacker:
    """See `autograder.judge.wire.unpack`."""

    def __init__(
        self,
        buffers: Sequence[bytes],
        callback: Callable[[int, str], Any] | None,
        strides: bool,
    ) -> None:
        self._buffers = buffers
        self._callback = callback
        self._strides = strides
        self._left = MOST_VALUES

    def unpack(self, packed: Any) -> Any:
        """One value, and what is in it."""
        try:
            return self._value(packed, 0)
        except WireError:
            raise
        except Exception as error:
            # Numbers of wrong type, lists of wrong length, unhashable keys: one answer to all.
            raise WireError(f"a value of wrong form came ({type(error).__name__})") from error

    def _value(self, packed: Any, depth: int) -> Any:
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            raise WireError("the value is nested too deeply or has too many parts")
        if type(packed) is not list or not packed or type(packed[0]) is not str:
            raise WireError("a value without a kind came")
        kind, *rest = packed
        if kind == "v":
            return self._plain(*rest)
        if kind == "f":
            return float.fromhex(*rest)
        if kind == "c":
            return complex(float.fromhex(rest[0]), float.fromhex(rest[1]))
        if kind in _SEQUENCES:
            (items,) = rest
            return _SEQUENCES[kind]([self._value(item, depth + 1) for item in _list(items)])
        if kind == "dict":
            (pairs,) = rest
            return {self._value(k, depth + 1): self._value(v, depth + 1) for k, v in _list(pairs)}
        if kind == "bytes":
            return bytes(self._raw(*rest))
        if kind == "dtype":
            return TORCH[rest[0]]
        if kind == "tensor":
            return self._tensor(*rest)
        if kind == "array":
            return self._array(*rest)
        if kind == "callback" and self._callback is not None:
            number, name = rest
            return self._callback(number, name)
        if kind == "other":
            return opaque(*rest)
        raise WireError(f"a value of unknown kind came: {kind[:40]!r}")

    def _plain(self, value: Any) -> Any:
        if type(value) not in _PLAIN:
            raise WireError("a plain value of wrong type came")
        if type(value) is str:
            return value.encode("utf-8", "replace").decode()  # half a surrogate cannot be printed
        return value

    def _raw(self, number: Any) -> bytes:
        if type(number) is not int or not 0 <= number < len(self._buffers):
            raise WireError("a value points to no buffer")
        return self._buffers[number]

    def _tensor(self, name: str, shape: Any, number: Any, strides: Any, grad: Any) -> torch.Tensor:
        dtype = TORCH[name]
        if not self._strides:
            strides, grad = None, 0
        raw = bytearray(self._raw(number))
        count = _count(shape)
        if strides is not None:
            if any(type(s) is not int or s < 0 for s in strides) or len(strides) != len(shape):
                raise WireError("a tensor of wrong strides came")
            count = 1 + sum((n - 1) * s for n, s in zip(shape, strides)) if count else 0
        if len(raw) != count * dtype.itemsize:
            raise WireError(f"a tensor of {count} values came in {len(raw)} bytes")
        bits = torch.frombuffer(raw, dtype=torch.uint8) if raw else torch.empty(0).byte()
        flat = bits != 0 if dtype is torch.bool else bits.view(dtype)
        value = flat.reshape(shape) if strides is None else flat.as_strided(shape, strides)
        if grad == LEAF:
            value.requires_grad_(True)
        elif grad == INNER:
            value = value.requires_grad_(True).clone()
        return value

    def _array(self, name: str, shape: Any, number: Any, layout: Any) -> np.ndarray:
        dtype, raw = NUMPY[name], self._raw(number)
        if len(raw) != _count(shape) * dtype.itemsize:
            raise WireError(f"an array of shape {shape} came in {len(raw)} bytes")
        flat = np.frombuffer(raw, np.uint8) != 0 if name == "bool" else np.frombuffer(raw, dtype)
        value = flat.reshape(shape).copy()
        if layout is None or not self._strides:
            return value
        steps, writeable = layout
        if steps is not None:
            value = _laid_out(value, steps)
        value.flags.writeable = bool(writeable)
        return value


def _laid_out(value: np.ndarray, steps: list[int]) -> np.ndarray:
    """The same array with the given steps between its elements, negative or repeated ones too."""
    reach = [(n - 1) * s for n, s in zip(value.shape, steps, strict=True)]
    if not value.size or sum(map(abs, reach)) > 64 * value.size + 4096:
        return value
    start = -sum(r for r in reach if r < 0)
    flat = np.zeros(1 + sum(map(abs, reach)), value.dtype)
    size = value.itemsize
    view = np.ndarray(value.shape, value.dtype, flat, start * size, [s * size for s in steps])
    view[...] = value
    return view


def _list(value: Any) -> list[Any]:
    if type(value) is not list:
        raise WireError("a list was expected")
    return value


def _count(shape: Any) -> int:
    good = type(shape) is list and len(shape) <= _MOST_DIMENSIONS
    if not good or any(type(n) is not int or not 0 <= n <= _LONGEST_DIMENSION for n in shape):
        raise WireError("a tensor or array of impossible shape came")
    return math.prod(shape)
