"""What a check and the box said to each other, kept to judge a changed check without the box.

A student's process is a function of what it was asked: it starts from one state, with one seed. So
a mended check that asks the same questions in the same order gets the same answers, and they are
on record. `Recorded` writes a conversation down while it happens; `Replayed` gives the answers
again as long as every question is, byte for byte, the one that was asked then, and raises
`Diverged` at the first that is not. Such a check is then judged against the box as ever.

Questions are kept as hashes, answers as they came. A long conversation is not kept at all.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import Any

from autograder.judge.frames import Channel

__all__ = ["Diverged", "Recorded", "Replayed"]

_MOST_BYTES, _MOST_PACKED = 1 << 21, 1 << 18  # a class of 300: below half a gigabyte
_MOST_FRAMES = 20_000
_DIGEST = 16


class Diverged(BaseException):
    """The check asks what it did not ask then. No `Exception`: a check must not catch it."""


def _digest(message: Any, buffers: Sequence[Any]) -> str:
    found = hashlib.blake2b(digest_size=_DIGEST)
    sizes = [len(part) for part in buffers]
    found.update(json.dumps([message, sizes], separators=(",", ":")).encode())
    for part in buffers:
        found.update(part)
    return found.hexdigest()


class Recorded(Channel):
    """A channel that remembers what went over it."""

    _frames: list[Any]
    _buffers: list[bytes]
    _size = 0

    def send(self, message: Any, buffers: Sequence[Any] = (), timeout: float | None = None) -> None:
        """See `Channel.send`."""
        self._keep(_digest(message, buffers), _DIGEST)
        super().send(message, buffers, timeout)

    def receive(self, timeout: float | None = None) -> tuple[Any, list[bytes]]:
        """See `Channel.receive`."""
        message, buffers = super().receive(timeout)
        sizes = [len(part) for part in buffers]
        if self._keep([message, sizes], self.last_size):
            self._buffers += buffers
        return message, buffers

    def _keep(self, frame: Any, size: int) -> bool:
        if self._size == 0:
            self._frames, self._buffers = [], []
        self._size += size
        if self._size > _MOST_BYTES or len(self._frames) >= _MOST_FRAMES:
            self._size, self._frames, self._buffers = _MOST_BYTES + 1, [], []
            return False
        self._frames.append(frame)
        return True

    def in_bytes(self, block: Sequence[str]) -> bytes:
        """The conversation, or b"" where it was too long to keep.

        Args:
            block: what was forbidden in the box meanwhile.
        """
        if not 0 < self._size <= _MOST_BYTES:
            return b""
        try:
            head = json.dumps([list(block), self._frames]).encode()
        except (ValueError, RecursionError):  # an answer may nest as deep as a reader bears
            return b""
        raw = b"".join([len(head).to_bytes(8, "big"), head, *self._buffers])
        packed = zlib.compress(raw, 1)
        return packed if len(packed) <= _MOST_PACKED else b""


class Replayed:
    """Stands for a channel, and answers as it was answered then.

    Args:
        data: from `Recorded.in_bytes`.
        block: what is forbidden in the box now.

    Attributes:
        diverged: whether it could not answer; what the check made of it counts for nothing.
    """

    def __init__(self, data: bytes, block: Sequence[str]) -> None:
        raw = memoryview(zlib.decompress(data))
        start = 8 + int.from_bytes(raw[:8], "big")
        known, self._frames = json.loads(bytes(raw[8:start]))
        self._raw, self._next, self._at = raw, 0, start
        self.diverged = known != list(block)

    def send(self, message: Any, buffers: Sequence[Any] = (), timeout: float | None = None) -> None:
        """Take a question, if it is the one that was asked then.

        Raises:
            Diverged: it is another one.
        """
        if self._frame() != _digest(message, buffers):
            self._leave()

    def receive(self, timeout: float | None = None) -> tuple[Any, list[bytes]]:
        """The answer that came then.

        Raises:
            Diverged: none came.
        """
        frame = self._frame()
        if type(frame) is not list:
            self._leave()
        message, sizes = frame
        buffers = []
        for size in sizes:
            buffers.append(bytes(self._raw[self._at : self._at + size]))
            self._at += size
        return message, buffers

    def close(self) -> None:
        """Nothing is open."""

    def _frame(self) -> Any:
        if self.diverged or self._next >= len(self._frames):
            self._leave()
        self._next += 1
        return self._frames[self._next - 1]

    def _leave(self) -> None:
        self.diverged = True
        raise Diverged
