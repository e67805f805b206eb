"""Helpers of the sandbox's tests: one server for each kind of box, and Python text to run in it."""

import contextlib
import functools
import json
import os
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autograder.limits import Limits
from autograder.sandbox import Ended, ForkServer, SandboxError, Worker

BOXES = ((3, "bwrap"), (3, "unshare"), (2, None), (1, None))
SAFE = BOXES[:3]
QUICK = Limits(
    cell_seconds=5,
    total_seconds=20,
    memory_bytes=128 * 2**20,
    processes=16,
    file_bytes=2**20,
    disk_bytes=4 * 2**20,
    files=100,
    output_bytes=10_000,
)
_FIRST = """
import contextlib, ctypes, json, os, resource, signal, socket, sys, threading, time
def tell(value): channel.sendall(json.dumps(value).encode() + b"\\n")
def tried(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return 0
"""


def name(box: tuple[int, str | None]) -> str:
    level, builder = box
    return f"level{level}-{builder}" if builder else f"level{level}"


@contextlib.contextmanager
def open_box(box: tuple[int, str | None], cache: Path, **options: Any) -> Iterator[ForkServer]:
    """A server for a kind of box, or a skipped test with the reason."""
    level, builder = box
    if reason := _missing(box, cache):
        pytest.skip(reason)
    with ForkServer(
        level=level, builder=builder, cache=cache, **({"preload": (), "slots": 4} | options)
    ) as server:
        yield server


@functools.cache
def _missing(box: tuple[int, str | None], cache: Path) -> str:
    level, builder = box
    try:
        ForkServer(level=level, builder=builder, cache=cache, preload=()).close()
    except (SandboxError, FileNotFoundError) as error:
        return f"this machine has no {name(box)}: {error}"
    return ""


def start(server: ForkServer, text: str, **limits: Any) -> Worker:
    """Start a worker that runs Python text with `channel`, `tell` and `tried` in reach."""
    code = _FIRST + textwrap.dedent(text)
    worker = server.start(
        "autograder.sandbox.trial:run", limits=replace(QUICK, **limits), arguments=code.encode()
    )
    worker.channel.settimeout(20)
    return worker


def told(worker: Worker) -> Any:
    """The next thing that it told."""
    line = b""
    while not line.endswith(b"\n"):
        piece = worker.channel.recv(1)
        assert piece, f"it ended: {worker.wait(5)} {worker.output.decode(errors='replace')}"
        line += piece
    return json.loads(line)


def run(server: ForkServer, text: str, **limits: Any) -> tuple[Any, Ended, bytes]:
    """Run text to its end: the last thing that it told, how it ended, and what it printed."""
    worker = start(server, text, **limits)
    answer = b""
    with contextlib.suppress(ConnectionError):
        while piece := worker.channel.recv(1 << 16):
            answer += piece
    ended = worker.wait(20)
    assert ended is not None
    worker.channel.close()
    lines = answer.splitlines()
    return json.loads(lines[-1]) if lines else None, ended, worker.output


def processes_of(mark: str) -> list[int]:
    """Processes of this machine that have the mark in their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            if mark.encode() in file.read():
                found.append(int(pid))
    return found
