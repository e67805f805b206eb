"""The only thing that passes between the box and us: a JSON header and raw buffers, never pickle.

`frames` brings header and buffers over. What is read is built by this side from exact types:
numbers, text, lists, tuples, sets, dictionaries, arrays, tensors. Anything else arrives as an
`Opaque` object that equals nothing and can do nothing. A frame that is too large, too deep, of
wrong form or that contradicts itself raises `WireError`; nothing in it is believed, so nothing in
it can do harm.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

from autograder.judge.frames import Channel, ChannelClosed, WireError
from autograder.judge.kinds import Opaque
from autograder.judge.packing import Packer
from autograder.judge.unpacking import Unpacker

__all__ = ["Channel", "ChannelClosed", "Opaque", "WireError", "crossed", "pack", "unpack"]

_RAW = (bytes, bytearray, memoryview)


def pack(
    value: Any,
    buffers: list[Any],
    *,
    other: Callable[[Any], Any] | None = None,
    strides: bool = False,
) -> Any:
    """A value as JSON data; arrays and tensors go to `buffers`.

    Args:
        other: gives the packed form of what is no data; without it such a value is refused.
        strides: keep how arrays and tensors lie in memory, and which require gradients.

    Raises:
        TypeError: the value is no data.
        WireError: it is nested too deeply or too large.
    """
    return Packer(buffers, other, strides).pack(value)


def unpack(
    packed: Any,
    buffers: Sequence[bytes],
    *,
    callback: Callable[[int, str], Any] | None = None,
    strides: bool = False,
) -> Any:
    """The inverse of `pack`: exact types only, whatever was sent.

    Args:
        callback: makes the stand-in of a callable from its number and name.
        strides: believe the memory layout and the wish for gradients.

    Raises:
        WireError: it is no packed value.

    >>> unpack(pack([1, 2.5, ("a", None)], []), [])
    [1, 2.5, ('a', None)]
    """
    return Unpacker(buffers, callback, strides).unpack(packed)


def crossed(value: Any, *, other: Callable[[Any], Any] | None = None) -> Any:
    """The value as it arrives on the other side, through the text of a real frame.

    Raises:
        TypeError: the value is no data.
    """
    buffers: list[Any] = []
    text = json.dumps(pack(value, buffers, other=other))
    return unpack(json.loads(text), [bytes(part) for part in buffers])
