"""How one value becomes JSON data and buffers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from autograder.judge.kinds import (
    DEEPEST,
    INNER,
    LEAF,
    MOST_BYTES,
    MOST_VALUES,
    NUMPY,
    TORCH,
    WireError,
)

__all__ = ["Packer"]

_MOST_BITS = 13_000  # Python reads no longer numbers from text
_CONTAINERS = (list, tuple, set, frozenset, torch.Size, dict)


class Packer:
    """See `autograder.judge.wire.pack`."""

    def __init__(
        self, buffers: list[Any], other: Callable[[Any], Any] | None, strides: bool
    ) -> None:
        self._buffers = buffers
        self._other = other
        self._strides = strides
        self._left, self._room = MOST_VALUES, MOST_BYTES

    def pack(self, value: Any, depth: int = 0) -> Any:
        """One value, and what is in it."""
        self._left -= 1
        kind = type(value)
        kind = dict if kind is OrderedDict else kind  # as `nn.Module.state_dict` returns it
        inside = len(value) if kind in _CONTAINERS else 0
        if depth > DEEPEST or self._left < inside:
            raise WireError("the value is nested too deeply or has too many parts")
        if value is None or kind is bool:
            return ["v", value]
        if kind is str:
            self._room_for(len(value))
            return ["v", value]
        if kind is int:
            small = value.bit_length() < _MOST_BITS
            return ["v", value] if small else self._no_data(value)
        if kind is float:
            return ["f", value.hex()]
        if kind is complex:
            return ["c", value.real.hex(), value.imag.hex()]
        if kind is not dict and kind in _CONTAINERS:
            name = "tuple" if kind is torch.Size else kind.__name__
            return [name, [self.pack(item, depth + 1) for item in value]]
        if kind is dict:
            pairs = value.items()
            return ["dict", [[self.pack(k, depth + 1), self.pack(v, depth + 1)] for k, v in pairs]]
        if kind is bytes:
            self._room_for(len(value))
            return ["bytes", self._buffer(value)]
        if kind is torch.dtype and str(value)[6:] in TORCH:
            return ["dtype", str(value)[6:]]
        if kind in (torch.Tensor, torch.nn.Parameter) and _is_plain(value):
            return self._tensor(value)
        if kind is np.ndarray and value.dtype.name in NUMPY:
            return self._array(value)
        if isinstance(value, np.generic) and value.dtype.name in NUMPY:
            return self.pack(value.item(), depth)
        return self._no_data(value)

    def _no_data(self, value: Any) -> Any:
        if self._other is None:
            raise TypeError(f"{type(value).__name__} is no data: it cannot leave its process")
        return self._other(value)

    def _room_for(self, size: int) -> None:
        self._room -= size
        if self._room < 0:
            raise WireError(f"a value of more than {MOST_BYTES >> 20} MB cannot leave its process")

    def _buffer(self, data: Any) -> int:
        self._buffers.append(data)
        return len(self._buffers) - 1

    def _tensor(self, value: torch.Tensor) -> Any:
        self._room_for(value.numel() * value.itemsize)
        grad = 0
        if self._strides and value.requires_grad:
            grad = LEAF if value.is_leaf else INNER
        data = value.detach().cpu().resolve_conj().resolve_neg()
        strides = None
        if self._strides and not data.is_contiguous():
            strides = list(data.stride())
            data = _span(data)
        # A single number cut from a larger tensor counts as contiguous with any stride.
        row = data.contiguous().as_strided((data.numel(),), (1,))
        raw = row.view(torch.uint8).numpy().tobytes()
        name = str(data.dtype).removeprefix("torch.")
        return ["tensor", name, list(value.shape), self._buffer(raw), strides, grad]

    def _array(self, value: np.ndarray) -> Any:
        self._room_for(value.nbytes)
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
        and str(value.dtype).removeprefix("torch.") in TORCH
    )


def _span(data: torch.Tensor) -> torch.Tensor:
    """The memory under a view, from its first to its last element; gaps are zero."""
    pairs = list(zip(data.shape, data.stride(), strict=True))
    flat = data.new_zeros(1 + sum((n - 1) * s for n, s in pairs) if data.numel() else 0)
    once = data[tuple(slice(0, 1) if s == 0 else slice(None) for _, s in pairs)]
    shape = [1 if s == 0 else n for n, s in pairs]
    flat.as_strided(shape, data.stride()).copy_(once)
    return flat
