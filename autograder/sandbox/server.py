"""The fork server: import once, then fork a worker in milliseconds. Runs inside the outer box.

`python -m autograder.sandbox.server FD` where FD is its end of a `wire.pair`. It imports and never
computes: after one multi-threaded operation, a forked child would wait for threads that it does
not have. It has no event loop, no message library and no CUDA context for the same reason.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import sys
import time

from autograder.sandbox import box, kernel, landlock, warden
from autograder.sandbox.hugepages import LargePages
from autograder.sandbox.order import Order
from autograder.sandbox.tree import children
from autograder.sandbox.wire import Message, receive, send

__all__ = ["Server"]

_HEALTH_SECONDS = 20.0
_ROUNDS, _ROUND_SECONDS = 100, 0.01


class Server:
    """Waits for orders; one warden for each worker.

    Args:
        control: where orders come from; when it closes, everything ends.
        forks: False when a fork of this process cannot be trusted to compute; workers then start
            a fresh interpreter.
        preload: names of modules, for workers that start a fresh interpreter.
    """

    def __init__(self, control: socket.socket, *, forks: bool, preload: tuple[str, ...]) -> None:
        self.control, self.forks, self.preload = control, forks, preload
        self.pages = LargePages()
        self.wardens: dict[int, tuple[int, socket.socket]] = {}  # pidfd -> process, its line
        self.poll = select.poll()
        self.poll.register(control, select.POLLIN)
        with contextlib.suppress(FileNotFoundError):  # no /proc at level 1 on an odd machine
            self.own_pids = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)

    def serve(self) -> None:
        """Until the control line closes."""
        while True:
            for fd, _ in self.poll.poll():
                if fd != self.control.fileno():
                    self._reap(fd)
                elif message := receive(self.control):
                    self._start(message)
                else:
                    self._end()
                    return

    def _start(self, message: Message) -> None:
        channel, output, arguments, line_fd = message.files
        line = socket.socket(fileno=line_fd)
        order = Order.from_json(message.data)
        self.pages.step()
        try:
            pid = self._fork(order, (channel, output, arguments), line)
        except OSError as error:
            send(line, {"error": f"cannot fork: {error}"})
            line.close()
        else:
            pidfd = os.pidfd_open(pid)
            self.wardens[pidfd] = (pid, line)
            self.poll.register(pidfd, select.POLLIN)
        finally:
            for fd in (channel, output, arguments):
                os.close(fd)

    def _fork(self, order: Order, files: tuple[int, int, int], line: socket.socket) -> int:
        if order.level == 3:
            kernel.unshare(kernel.NEWPID)  # the next child is the first process of a new family
        try:
            pid = os.fork()
            if pid == 0:
                warden.main(order, files, line, spawn=None if self.forks else self.preload)
        finally:
            if order.level == 3:
                kernel.setns(self.own_pids, kernel.NEWPID)
        return pid

    def _reap(self, pidfd: int) -> None:
        pid, line = self.wardens.pop(pidfd)
        self.poll.unregister(pidfd)
        os.close(pidfd)
        # At level 3 this returns only when the whole family is gone: the kernel sees to it.
        _, status = os.waitpid(pid, 0)
        if status:  # it was killed itself, before it could end its family
            self._end_strays()
        send(line, {"gone": os.waitstatus_to_exitcode(status)})
        line.close()

    def _end_strays(self) -> None:
        """Below level 3, what a dead warden leaves comes to this process."""
        for _ in range(_ROUNDS):
            family = set(children(os.getpid()))
            for pid, _ in self.wardens.values():
                family -= {pid, *children(pid)}
            for pid in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            if not family:
                return
            time.sleep(_ROUND_SECONDS)

    def _end(self) -> None:
        """Wardens see their lines close, kill their own, and end."""
        for _, line in self.wardens.values():
            line.shutdown(socket.SHUT_RDWR)
        for pid, _ in self.wardens.values():
            os.waitpid(pid, 0)


def threads() -> int:
    """How many threads this process has."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


def shared_memory() -> list[str]:
    """Mappings through which one submission could leave something for the next one."""
    with contextlib.suppress(OSError), open("/proc/self/maps") as file:
        return [row.strip() for row in file if row.split()[1][1:4:2] == "ws"]
    return []


def load(names: tuple[str, ...]) -> dict[str, str]:
    """Import modules; what could not be imported, and why."""
    failed = {}
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            failed[name] = f"{type(error).__name__}: {error}"
    return failed


def healthy() -> bool:
    """Whether forks of this process can compute, and share nothing that they could write to."""
    if threads() > 1 or shared_memory():
        return False
    pid = os.fork()
    if pid == 0:
        code = 1
        with contextlib.suppress(BaseException):
            if torch := sys.modules.get("torch"):
                ones = torch.ones(64, 64)
                code = int(float((ones @ ones).sum()) != 64**3)
            else:
                code = 0
        os._exit(code)
    pidfd = os.pidfd_open(pid)
    if not select.select([pidfd], [], [], _HEALTH_SECONDS)[0]:
        os.kill(pid, signal.SIGKILL)
    os.close(pidfd)
    return os.waitpid(pid, 0)[1] == 0


def main() -> None:
    """Import, freeze, answer, serve."""
    control = socket.socket(fileno=int(sys.argv[1]))
    first = receive(control)
    if first is None:
        return
    if confine := first.data["confine"]:
        landlock.confine(**confine)
    preload = tuple(first.data["preload"])
    start = time.monotonic()
    failed = load(preload)
    box.reseed(b"")  # the first time costs a thousand page copies: here once, not in every child
    gc.collect()
    gc.freeze()  # the collector would touch, and so copy, every shared page in every child
    kernel.adopt_orphans()
    forks = healthy()
    seconds = round(time.monotonic() - start, 3)
    send(control, {"ready": seconds, "forks": forks, "failed": failed})
    Server(control, forks=forks, preload=preload).serve()


if __name__ == "__main__":
    main()
