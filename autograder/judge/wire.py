"""The only thing that passes between the box and us: a JSON header and raw buffers, never pickle.

One frame is the length of its header and of its buffers, the header, the buffers. What is read is
built by this side from exact types: numbers, text, lists, tuples, sets, dictionaries, arrays,
tensors. Anything else arrives as an `Opaque` object that equals nothing and can do nothing. A frame
that is too large, too deep, of wrong form or that contradicts itself raises `WireError`; nothing in
it is believed, so nothing in it can do harm.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable, Sequence
from typing import Any

from autograder.judge.kinds import MOST_BYTES, Opaque, WireError
from autograder.judge.packing import Packer
from autograder.judge.unpacking import Unpacker

__all__ = ["Channel", "ChannelClosed", "Opaque", "WireError", "crossed", "pack", "unpack"]

MOST_HEADER = 2 * MOST_BYTES
_FRAME = struct.Struct("!IQ")
_PIECE = 1 << 18
_RAW = (bytes, bytearray, memoryview)


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """Frames over a connected stream socket.

    Args:
        stream: a connected `AF_UNIX` stream socket; the channel owns it.
        ahead: read as much as is there. Not where descriptors may come behind a frame.

    >>> here, there = (Channel(end) for end in socket.socketpair())
    >>> here.send(["call", "f"], [b"raw"])
    >>> there.receive(1.0)
    (['call', 'f'], [b'raw'])
    """

    def __init__(self, stream: socket.socket, *, ahead: bool = False) -> None:
        self.stream = stream
        self._ahead, self._kept = ahead, b""

    def send(self, message: Any, buffers: Sequence[Any] = (), timeout: float | None = None) -> None:
        """Send one frame.

        Args:
            message: JSON data.
            buffers: bytes-like objects.
            timeout: seconds until the other side must have taken it.

        Raises:
            ChannelClosed: nobody reads any more.
            TimeoutError: the other side does not read.
        """
        sizes = [len(part) for part in buffers]
        header = json.dumps([message, sizes], separators=(",", ":")).encode()
        self._wait_at_most(timeout)
        try:
            self.stream.sendall(_FRAME.pack(len(header), sum(sizes)) + header)
            for part in buffers:
                self.stream.sendall(part)
        except TimeoutError:
            raise
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def receive(self, timeout: float | None = None) -> tuple[Any, list[bytes]]:
        """Read one frame.

        Raises:
            ChannelClosed: the other side ended.
            TimeoutError: no whole frame within `timeout` seconds.
            WireError: what came is no frame.
        """
        end = None if timeout is None else time.monotonic() + timeout
        header_size, total = _FRAME.unpack(self._read(_FRAME.size, end))
        if header_size > MOST_HEADER or total > MOST_BYTES:
            raise WireError(f"a reply of {header_size + total:,} bytes is too large")
        header = _parsed(self._read(header_size, end))
        if type(header) is not list or len(header) != 2 or type(header[1]) is not list:
            raise WireError("the reply has no message and sizes")
        message, sizes = header
        if any(type(size) is not int or size < 0 for size in sizes) or sum(sizes) != total:
            raise WireError("the sizes of the buffers contradict each other")
        return message, [self._read(size, end) for size in sizes]

    def _read(self, size: int, end: float | None) -> bytes:
        """Exactly `size` bytes; memory grows with what arrives, not with what was promised."""
        if len(self._kept) >= size:
            part, self._kept = self._kept[:size], self._kept[size:]
            return part
        parts, missing, self._kept = [self._kept], size - len(self._kept), b""
        while missing:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                raise TimeoutError("no whole reply in time")
            self._wait_at_most(left)
            try:
                part = self.stream.recv(_PIECE if self._ahead else min(missing, _PIECE))
            except TimeoutError:
                raise
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not part:
                raise ChannelClosed("the other side ended")
            if len(part) > missing:
                part, self._kept = part[:missing], part[missing:]
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)

    def _wait_at_most(self, seconds: float | None) -> None:
        if seconds is not None or self.stream.gettimeout() is not None:
            self.stream.settimeout(seconds)  # a system call even where nothing changes

    def close(self) -> None:
        """Close the socket."""
        self.stream.close()


def _refuse(word: str) -> Any:
    raise WireError(f"{word} is no JSON")


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError, MemoryError) as error:
        raise WireError("the header is no JSON") from error


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
