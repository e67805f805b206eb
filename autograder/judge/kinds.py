"""What both directions of the wire agree on: exact types, and how much of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch

from autograder.judge.frames import MOST_BYTES, WireError

__all__ = ["MOST_BYTES", "Opaque", "WireError", "opaque"]

DEEPEST = 60
MOST_VALUES = 2_000_000
LEAF, INNER = 1, 2  # a tensor that requires gradients: made by hand, or the result of something
_FLOATS = ("float32", "float64", "float16", "bfloat16", "complex64", "complex128")
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "bool")
TORCH = {name: getattr(torch, name) for name in (*_FLOATS, *_INTEGERS)}
NUMPY = {name: np.dtype(name) for name in (*_FLOATS, *_INTEGERS) if name != "bfloat16"}


class Opaque:
    """An object that stayed on the other side: it equals nothing and does nothing."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<an object of type {type(self).__name__}>"


def opaque(name: Any) -> Opaque:
    """An opaque object whose type has this name, as messages show it."""
    clean = re.sub(r"\W", "_", name[:80]) if isinstance(name, str) else ""
    return type(clean or "object", (Opaque,), {"__slots__": ()})()
