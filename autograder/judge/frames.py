"""Frames over a socket: a JSON header and raw buffers. Needs no torch, so the grader needs none.

One frame is the length of its header and of its buffers, the header, the buffers. `wire` tells how
values become such data.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

__all__ = ["MOST_BYTES", "Channel", "ChannelClosed", "WireError"]

MOST_BYTES = 256 << 20
MOST_HEADER = 2 * MOST_BYTES
_FRAME = struct.Struct("!IQ")
_PIECE = 1 << 18


class WireError(Exception):
    """What came over the wire is not what the protocol allows."""


class ChannelClosed(Exception):
    """The other side is gone."""


class Channel:
    """Frames over a connected stream socket.

    Args:
        stream: a connected `AF_UNIX` stream socket; the channel owns it.
        ahead: read as much as is there. Not where descriptors may come behind a frame.

    Attributes:
        last_size: bytes of the frame that was read last.

    >>> here, there = (Channel(end) for end in socket.socketpair())
    >>> here.send(["call", "f"], [b"raw"])
    >>> there.receive(1.0)
    (['call', 'f'], [b'raw'])
    """

    def __init__(self, stream: socket.socket, *, ahead: bool = False) -> None:
        self.stream = stream
        self._ahead, self._kept = ahead, b""
        self.last_size = 0

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
        self.last_size = header_size + total
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
