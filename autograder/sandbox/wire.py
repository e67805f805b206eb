"""Messages between the grader, the fork server and the wardens: JSON, with descriptors beside it.

The sockets are `SOCK_SEQPACKET`: a message arrives whole or not at all, so several threads may
write to one. Who sent it is told by the kernel, not by the message: a process number means
something else in every process namespace, and the kernel translates it for the receiver.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Message", "pair", "receive", "send"]

_LONGEST = 1 << 16
_CREDENTIALS = struct.Struct("=iii")
_MOST_DESCRIPTORS = 8


@dataclass(frozen=True)
class Message:
    """What came: `data` from JSON, `files` open descriptors, `pid` of the sender as seen here."""

    data: dict[str, Any]
    files: list[int] = field(default_factory=list)
    pid: int = 0


def pair() -> tuple[socket.socket, socket.socket]:
    """Two connected ends; the first one learns the process number of who writes to the second."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    return ours, theirs


def send(sock: socket.socket, data: dict[str, Any], files: Sequence[int] = ()) -> bool:
    """Send one message; False when nobody listens any more."""
    rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))] if files else []
    with contextlib.suppress(BrokenPipeError, ConnectionError):
        sock.sendmsg([json.dumps(data).encode()], rights)
        return True
    return False


def receive(sock: socket.socket) -> Message | None:
    """The next message, or None when the other side is gone.

    Raises:
        BlockingIOError: nothing is there yet and the socket does not block.
    """
    space = socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS) + socket.CMSG_SPACE(_CREDENTIALS.size)
    try:
        data, ancillary, _, _ = sock.recvmsg(_LONGEST, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionError:
        return None
    files, pid = array.array("i"), 0
    for level, kind, value in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            files.frombytes(value[: len(value) - len(value) % files.itemsize])
        elif level == socket.SOL_SOCKET and kind == getattr(socket, "SCM_CREDENTIALS", -1):
            pid = _CREDENTIALS.unpack(value[: _CREDENTIALS.size])[0]
    if not data:
        for fd in files:
            os.close(fd)
        return None
    return Message(json.loads(data), list(files), pid)
