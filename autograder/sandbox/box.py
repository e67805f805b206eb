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
import tempfile
import traceback
from typing import NoReturn

from autograder.limits import Limits
from autograder.sandbox import kernel, landlock, namespaces, seccomp
from autograder.sandbox.order import Order
from autograder.sandbox.tree import alive, children, memory
from autograder.sandbox.wire import send

__all__ = ["DEVICES", "call", "close_all_but", "full", "kill_all", "main", "prepare"]

_OPEN_FILES = 256
_FIRST_TO_GO = 800
_SPARE_SECONDS = 5
DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_PROC = tuple(f"/proc/{name}" for name in ("cpuinfo", "meminfo", "stat", "version", "sys"))


def prepare(order: Order) -> None:
    """What the warden does before the fork, while it has rights."""
    if order.level == 3:
        namespaces.prepare(order)
    elif order.level == 2 and landlock.version() >= landlock.SIGNALS:
        landlock.close_family()


def full(order: Order) -> str:
    """Which limit of its file systems a worker ran into, in words, or ""."""
    return namespaces.full(order) if order.level == 3 else ""


def kill_all(order: Order) -> int:
    """Kill every descendant of this warden; how many lived.

    Where possible in one step, which a family that forks faster than it is killed cannot outrun.
    """
    if order.level == 3:
        if os.getpid() == 1:  # all that this namespace holds, but for its first process: this one
            os.kill(-1, signal.SIGKILL)
        return 0
    family = [pid for pid in children(os.getpid()) if alive(pid)]
    if family and order.uid is not None:
        helper = os.fork()
        if helper == 0:
            with contextlib.suppress(BaseException):
                os.setresuid(order.uid, order.uid, order.uid)
                if os.getresuid() == (order.uid,) * 3 and order.uid > 0:
                    os.kill(-1, signal.SIGKILL)  # all that this user may reach: the worker's own
            os._exit(0)
        os.waitpid(helper, 0)
    elif family and order.level == 2 and _closed():
        os.kill(-1, signal.SIGKILL)  # all that this Landlock domain may reach
    for pid in family:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(family)


def _closed() -> bool:
    """Whether this process can signal nobody outside its family: its parent is outside."""
    try:
        os.kill(os.getppid(), 0)
    except PermissionError:
        return os.getppid() > 1
    return False


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
    try:
        channel, output, arguments = files
        close_all_but((*files, line.fileno()))
        kernel.hide_memory(False)
        os.setsid()  # a signal to its own group must not reach the warden
        _streams(output)
        _signals()
        _homes(order)
        text = _read(arguments)
        _lock(order)
        kernel.die_with_parent(signal.SIGKILL)  # a change of user forgets it
        data, resident = memory(os.getpid())
        send(line, {"ready": True, "resident": resident, "data": data})
    except BaseException as error:
        send(line, {"error": f"{type(error).__name__}: {error}"})
        os._exit(70)
    line.close()
    if spawn is not None:
        os.lseek(arguments, 0, os.SEEK_SET)
        for fd in (channel, arguments):
            os.set_inheritable(fd, True)
        fresh = [order.target, str(channel), str(arguments), *spawn]
        os.execv(sys.executable, [sys.executable, "-m", "autograder.sandbox.fresh", *fresh])
    os.close(arguments)
    call(order.target, channel, text)


def call(name: str, channel: int, text: bytes) -> NoReturn:
    """Call a target with its end of the channel and its arguments, and end with what it says."""
    code = 1
    try:
        reseed(text)
        module, _, function = name.partition(":")
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


def close_all_but(keep: tuple[int, ...]) -> None:
    """Descriptors of the server, of the warden and of other workers end here."""
    start = 3
    for fd in sorted(keep):
        os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _lock(order: Order) -> None:
    """Each step is possible only before the next one."""
    if order.level == 3 and order.uid is None:
        namespaces.become_nobody()
    limit(order.limits, order.processes)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(_FIRST_TO_GO))  # when the machine runs out of memory
    keep = (kernel.DAC_READ_SEARCH,) if order.private and order.level < 3 else ()
    kernel.drop_bounding(keep)
    if order.uid is not None:
        if keep:
            kernel.keep_capabilities()
        os.setgroups([])
        os.setresgid(order.uid, order.uid, order.uid)
        os.setresuid(order.uid, order.uid, order.uid)
    kernel.drop_capabilities(keep)
    kernel.hide_memory(False)  # a change of user hid it
    kernel.gain_no_privileges()
    if order.level == 2:
        own = (*_PROC, f"/proc/{os.getpid()}")
        landlock.confine((*order.visible, *own), [order.work], devices=DEVICES, listed=order.listed)
    if order.level >= 2:
        seccomp.install(namespaces=order.level == 3)


def limit(limits: Limits, processes: int) -> None:
    """What the kernel itself enforces for one process.

    Memory is limited by `RLIMIT_DATA`, above what the libraries hold: with `RLIMIT_AS` torch's 3 GB
    of reserved addresses would count. Processor time is only the last line; the grader's own watch
    is exact. The number of processes does not bind a real root: it needs a user of its own.
    """
    data, _ = memory(os.getpid())
    seconds = int(limits.total_seconds) + _SPARE_SECONDS
    for name, value in (
        ("CORE", 1),  # with 0, a core is still fed to a program of the system's root; with 1, none
        ("MEMLOCK", 2**16),
        ("MSGQUEUE", 0),
        ("NOFILE", _OPEN_FILES),
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
        torch.default_generator.manual_seed(seed)  # manual_seed prepares for devices: 3 ms


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


def _homes(order: Order) -> None:
    """Below level 3 the worker's folder is also its home and where temporary files go."""
    os.chdir(order.work)
    if order.level < 3:
        os.environ.update(HOME=order.work, TMPDIR=order.work)
    tempfile.tempdir = None  # the server may have looked for one already


def _signals() -> None:
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        with contextlib.suppress(OSError, ValueError):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # as in every Python: an exception instead
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _read(fd: int) -> bytes:
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        return file.read()
