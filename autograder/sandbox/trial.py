"""A target that runs Python text: for the doctor's probes and for tests."""

from __future__ import annotations

import socket

__all__ = ["run"]


def run(channel: socket.socket, arguments: bytes) -> int:
    """Run the text in `arguments` with `channel` in reach; its `code` is the exit code."""
    names = {"__name__": "__main__", "channel": channel, "code": 0}
    exec(compile(arguments, "<trial>", "exec"), names)
    return names["code"]
