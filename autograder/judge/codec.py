"""How one value becomes JSON data and buffers, and how it is built again from exact types."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

__all__ = ["Opaque", "Packer", "Unpacker", "WireError", "opaque"]

DEEPEST = 60
MOST_VALUES = 2_000_000
MOST_DIGITS = 4000
_MOST_DIMENSIONS = 24
_LONGEST_DIMENSION = 1 << 40
_FLOATS = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
_TORCH = {name: getattr(torch, name) for name in (*_FLOATS, *_INTEGERS)}
_NUMPY = {name: np.dtype(name) for name in (*_FLOATS, *_INTEGERS) if name != "bfloat16"}
_SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
_PLAIN = (type(None), bool, int, str)
_LEAF, _INNER = 1, 2  # a tensor that requires gradients: made by hand, or the result of something


class WireError(Exception):
    """What came over the wire is not what the protocol allows."""


class Opaque:
    """An object that stayed on the other side: it equals nothing and does nothing."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<an object of type {type(self).__name__}>"


def opaque(name: Any) -> Opaque:
    """An opaque object whose type has this name, as messages show it."""
    clean = re.sub(r"\W", "_", name[:80]) if isinstance(name, str) else ""
    return type(clean or "object", (Opaque,), {"__slots__": ()})()


class Packer:
    """See `autograder.judge.wire.pack`."""

    def __init__(
        self, buffers: list[Any], other: Callable[[Any], Any] | None, strides: bool
    ) -> None:
        self._buffers = buffers
        self._other = other
        self._strides = strides
        self._left = MOST_VALUES

    def pack(self, value: Any, depth: int = 0) -> Any:
        """One value, and what is in it."""
        self._left -= 1
        if depth > DEEPEST or self._left < 0:
            raise WireError("the value is nested too deeply or has too many parts")
        kind = type(value)
        if value is None or kind is bool or kind is str:
            return ["v", value]
        if kind is int:
            small = value.bit_length() < MOST_DIGITS * 3
            return ["v", value] if small else self._no_data(value)
        if kind is float:
            return ["f", value.hex()]
        if kind is complex:
            return ["c", value.real.hex(), value.imag.hex()]
        if kind in (list, tuple, set, frozenset, torch.Size):
            name = "tuple" if kind is torch.Size else kind.__name__
            return [name, [self.pack(item, depth + 1) for item in value]]
        if kind is dict:
            pairs = value.items()
            return ["dict", [[self.pack(k, depth + 1), self.pack(v, depth + 1)] for k, v in pairs]]
        if kind is bytes:
            return ["bytes", self._buffer(value)]
        if kind is torch.dtype and str(value)[6:] in _TORCH:
            return ["dtype", str(value)[6:]]
        if kind in (torch.Tensor, torch.nn.Parameter) and _is_plain(value):
            return self._tensor(value)
        if kind is np.ndarray and value.dtype.name in _NUMPY:
            return self._array(value)
        if isinstance(value, np.generic) and value.dtype.name in _NUMPY:
            return self.pack(value.item(), depth)
        return self._no_data(value)

    def _no_data(self, value: Any) -> Any:
        if self._other is None:
            raise TypeError(f"{type(value).__name__} is no data: it cannot leave its process")
        return self._other(value)

    def _buffer(self, data: Any) -> int:
        self._buffers.append(data)
        return len(self._buffers) - 1

    def _tensor(self, value: torch.Tensor) -> Any:
        grad = 0
        if self._strides and value.requires_grad:
            grad = _LEAF if value.is_leaf else _INNER
        data = value.detach().cpu().resolve_conj().resolve_neg()
        strides = None
        if self._strides and not data.is_contiguous():
            strides = list(data.stride())
            data = _span(data)
        raw = data.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        name = str(data.dtype).removeprefix("torch.")
        return ["tensor", name, list(value.shape), self._buffer(raw), strides, grad]

    def _array(self, value: np.ndarray) -> Any:
        value = value.astype(value.dtype.newbyteorder("="), copy=False)
        layout = None
        if self._strides and not (value.flags.c_contiguous and value.flags.writeable):
            # A negative or repeated stride is part of what a student's code meets.
            steps = [s // value.itemsize if value.size else 0 for s in value.strides]
            whole = all(s % value.itemsize == 0 for s in value.strides)
            layout = [steps if whole else None, value.flags.writeable]
        raw = np.ascontiguousarray(value).tobytes()
        return ["array", value.dtype.name, list(value.shape), self._buffer(raw), layout]


def _is_plain(value: torch.Tensor) -> bool:
    return (
        value.layout is torch.strided
        and not value.is_quantized
        and value.device.type != "meta"
        and str(value.dtype).removeprefix("torch.") in _TORCH
    )


def _span(data: torch.Tensor) -> torch.Tensor:
    """The memory under a view, from its first to its last element; gaps are zero."""
    pairs = list(zip(data.shape, data.stride(), strict=True))
    flat = data.new_zeros(1 + sum((n - 1) * s for n, s in pairs) if data.numel() else 0)
    once = data[tuple(slice(0, 1) if s == 0 else slice(None) for _, s in pairs)]
    shape = [1 if s == 0 else n for n, s in pairs]
    flat.as_strided(shape, data.stride()).copy_(once)
    return flat


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
            return _TORCH[rest[0]]
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
        dtype = _TORCH[name]
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
        if grad == _LEAF:
            value.requires_grad_(True)
        elif grad == _INNER:
            value = value.requires_grad_(True).clone()
        return value

    def _array(self, name: str, shape: Any, number: Any, layout: Any) -> np.ndarray:
        dtype, raw = _NUMPY[name], self._raw(number)
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
