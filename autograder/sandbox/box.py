"""Inside a worker: give up every right, step by step, then run the target."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import random
import resource
import signal
import socket
import sys
import traceback
from typing import NoReturn

from autograder.limits import Limits
from autograder.sandbox import kernel
from autograder.sandbox.order import Order
from autograder.sandbox.tree import children, memory
from autograder.sandbox.wire import send

__all__ = ["full", "kill_all", "main", "prepare"]

_DESCRIPTORS = 256
_SPARE_SECONDS = 5


def prepare(order: Order) -> None:
    """What must be done by the warden, which still has rights: the file systems of level 3."""
    if order.level == 3:
        from autograder.sandbox import namespaces

        namespaces.prepare(order)


def full(order: Order) -> str:
    """Which limit of its file system a worker ran into, in words, or ""."""
    return ""


def kill_all(order: Order) -> int:
    """Kill every descendant of this warden; how many there were."""
    family = children(os.getpid())
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(family)


def main(
    order: Order,
    files: tuple[int, int, int],
    line: socket.socket,
    spawn: tuple[str, ...] | None,
) -> NoReturn:
    """Lock this process down and call the target; never returns.

    The target's exit code: what it returned if that is a number, 0 otherwise, 1 after an exception,
    whose traceback goes to the error stream.
    """
    code = 1
    try:
        channel, output, arguments = files
        _streams(output)
        _signals()
        os.chdir(order.work)
        text = _read(arguments)
        limit(order.limits, order.processes)
        data, resident = memory(os.getpid())
        send(line, {"ready": True, "resident": resident, "data": data})
    except BaseException as error:
        send(line, {"error": f"{type(error).__name__}: {error}"})
        os._exit(70)
    try:
        line.close()
        reseed(text)
        module, _, function = order.target.partition(":")
        target = getattr(importlib.import_module(module), function)
        with socket.socket(fileno=channel) as connection:
            answer = target(connection, text)
        code = answer if isinstance(answer, int) else 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code & 0xFF)


def limit(limits: Limits, processes: int) -> None:
    """What the kernel itself enforces for one process.

    Memory is limited by `RLIMIT_DATA`, above what the libraries hold: with `RLIMIT_AS` torch's 3 GB
    of reserved addresses would count. Processor time is only the last line; the grader's own watch
    is exact. The number of processes does not bind a real root: it needs a user of its own.
    """
    data, _ = memory(os.getpid())
    seconds = int(limits.total_seconds) + _SPARE_SECONDS
    for name, value in (
        ("CORE", 0),
        ("MEMLOCK", 2**16),
        ("MSGQUEUE", 0),
        ("NOFILE", _DESCRIPTORS),
        ("FSIZE", limits.file_bytes),
        ("CPU", seconds),
        ("NPROC", processes),
        ("DATA", data + limits.memory_bytes),
    ):
        number = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(number)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(number, (value, value))


def reseed(text: bytes) -> None:
    """Seed the generators from the worker's own arguments.

    Every fork would otherwise draw the numbers that the server would have drawn; seeded like this,
    two submissions differ and one submission gives the same result whenever it is graded.
    """
    seed = int.from_bytes(hashlib.sha256(text).digest()[:4], "little")
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


def _streams(output: int) -> None:
    null = os.open("/dev/null", os.O_RDONLY)
    for fd, at in ((null, 0), (output, 1), (output, 2)):
        os.dup2(fd, at)
    os.close(null)
    os.close(output)
    sys.stdin = sys.__stdin__ = open(0, closefd=False)  # noqa: SIM115
    for name, fd in (("stdout", 1), ("stderr", 2)):
        stream = open(fd, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as in every Python: an exception instead
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    kernel.die_with_parent(signal.SIGKILL)


def _read(fd: int) -> bytes:
    with open(fd, "rb") as file:
        file.seek(0)
        return file.read()
