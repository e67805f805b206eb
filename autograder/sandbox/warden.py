"""The parent of one worker inside the box: it waits, counts what is left, and ends all of it.

It is forked from the server and never runs a line of the submission. At level 3 it is the first
process of the submission's own process namespace: when it ends, the kernel kills every process in
there, whatever they did to get away. Below level 3 it adopts all orphans and kills until none is
left.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
from typing import NoReturn

from autograder.sandbox import box, kernel
from autograder.sandbox.order import Order
from autograder.sandbox.tree import alive, children
from autograder.sandbox.wire import send

__all__ = ["main"]

_REAP_MILLISECONDS = 500
_ROUNDS = 1000


def main(
    order: Order,
    files: tuple[int, int, int],
    line: socket.socket,
    spawn: tuple[str, ...] | None,
) -> NoReturn:
    """Fork the worker, see it through, leave nothing behind; never returns.

    Args:
        order: what to start.
        files: descriptors of the worker's channel, its output and its arguments.
        line: to the grader; when it closes, the worker is killed.
        spawn: modules to import in a fresh interpreter, or None to go on in a fork.
    """
    try:
        box.close_all_but((*files, line.fileno()))
        os.setsid()
        kernel.adopt_orphans()
        kernel.hide_memory(True)
        server = 0 if order.level == 3 else os.pidfd_open(os.getppid())
        if order.level == 3:
            kernel.die_with_parent(signal.SIGKILL)  # and the family with its first process
        box.prepare(order)
        worker = os.fork()
        if worker == 0:
            box.main(order, files, line, spawn)
        for fd in files:
            os.close(fd)
        send(line, {"warden": True})
        _see_through(order, worker, line, server)
    except BaseException as error:
        send(line, {"error": f"{type(error).__name__}: {error}"})
    os._exit(0)


def _see_through(order: Order, worker: int, line: socket.socket, server: int) -> None:
    pidfd = os.pidfd_open(worker)
    poll = select.poll()
    for fd in (pidfd, line.fileno(), *([server] if server else [])):
        poll.register(fd, select.POLLIN)
    left, status = 0, None
    while status is None:
        ready = {fd for fd, _ in poll.poll(_REAP_MILLISECONDS)} - {pidfd}
        if ready:  # the grader speaks or is gone, or the server is: the end
            left = max(left, _left(worker))
            box.kill_all(order)  # all at once: in a crowd, one after the other takes long
            for fd in ready:  # said once is enough, and the dying need the processor
                poll.unregister(fd)
        status = _reap(worker)
    left = max(left, _left(worker))
    if order.level < 3:
        _kill_children(order)
    send(line, {"exit": os.waitstatus_to_exitcode(status), "left": left, "full": box.full(order)})


def _reap(worker: int) -> int | None:
    """Bury the dead; the worker's status if it is among them."""
    found = None
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if pid == 0:
            return found
        if pid == worker:
            found = status


def _left(worker: int) -> int:
    """How many others of the worker's family live, the dead not counted."""
    return sum(alive(pid) for pid in children(os.getpid()) if pid != worker)


def _kill_children(order: Order) -> None:
    """Kill all descendants; orphans come to this process, so in the end all are children."""
    for _ in range(_ROUNDS):
        if not box.kill_all(order):
            return
        _reap(-1)
    print("processes that cannot be killed are left", file=sys.stderr)
