"""In the box: run a student's cells, and fork a snapshot of the process for each check.

The student's code runs in this very process, so nothing that it says is believed on the other side.
Commands come as frames, one at a time:

| command | answer |
|---|---|
| `["block", names]` | `["blocked"]`; those may not be called from now on |
| `["run", source, processor, clock, bytes, alone]` | `["ran", outputs, count, overran]` |
| `["check", names, seconds]`, then a descriptor | `["forked", pid]`; a copy serves that check |
| `["end", pid]` | `["ended"]`; the copy and what it started are killed |
"""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import socket
import sys
import warnings
from typing import Any, NoReturn

import torch

from autograder.judge.block import Block, Forbidden
from autograder.judge.remote import Snapshot
from autograder.judge.seeds import seed_all
from autograder.judge.shell import Capture, CellShell, TimeLimit
from autograder.judge.wire import Channel, ChannelClosed

__all__ = ["Alarm", "main"]

_set_threads = torch.set_num_threads
_INLINE = "module://matplotlib_inline.backend_inline"


def main(stream: socket.socket, arguments: bytes = b"") -> int:
    """Serve commands until the other side closes the channel."""
    channel, worker = Channel(stream), _Worker()
    try:
        while True:
            command, _ = channel.receive()
            channel.send(worker.answer(channel, command))
    except ChannelClosed:
        return 0


class _Worker:
    def __init__(self) -> None:
        self.shell = CellShell.make()
        self.block = Block(self.shell.user_ns)
        seed_all()
        warnings.resetwarnings()
        # Students raise this to the number of their own cores; here it would only hit a limit.
        torch.set_num_threads = torch.set_num_interop_threads = lambda number: None
        # A lab's own files can be imported, as in Jupyter; last, so that none hides a library.
        sys.path.append(os.getcwd())
        self._draws = False

    def answer(self, channel: Channel, command: list[Any]) -> list[Any]:
        """Do one command."""
        verb, *rest = command
        if verb == "block":
            self.block.add(rest[0])
            return ["blocked"]
        if verb == "run":
            return self._run(*rest)
        if verb == "check":
            _, fds, _, _ = socket.recv_fds(channel.stream, 1, 1)
            return self._fork(fds[0], channel, *rest)
        if verb == "end":
            with contextlib.suppress(OSError):
                os.killpg(rest[0], signal.SIGKILL)
            with contextlib.suppress(OSError):
                os.waitpid(rest[0], 0)
            return ["ended"]
        raise ValueError(f"unknown command {verb!r}")

    def _run(
        self, source: str, processor: float, clock: float, most_bytes: int, alone: bool
    ) -> list[Any]:
        watch = Alarm(processor, clock)
        if not self._draws and "pl" in source:  # plt, pylab, plots: figures cost 0.1 s to set up
            self._draws = True
            with contextlib.suppress(Exception):
                import matplotlib

                matplotlib.use(_INLINE)
        itself = os.getpid()
        with watch:
            if alone:
                self._run_one_by_one(source)
                outputs = []
            else:
                outputs = self.shell.run(source, most_bytes)
        if os.getpid() != itself:
            os._exit(1)  # a copy that the cell has forked; only the first one answers
        return ["ran", outputs, self.shell.execution_count - 1, watch.rang]

    def _run_one_by_one(self, source: str) -> None:
        """Run a cell for what it defines; a statement that meets a forbidden call is left out.

        A student may compare with the library's answer between two functions of one cell. That is
        no cheating as long as the functions do without it.
        """
        shell = self.shell
        shell.capture = Capture(0)
        text = shell.transform_cell(source)
        name = shell.remember(text, shell.execution_count)
        shell.execution_count += 1
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            try:
                for node in ast.parse(text, name).body:
                    with contextlib.suppress(Forbidden):
                        exec(compile(ast.Module([node], []), name, "exec"), shell.user_ns)
            except BaseException:
                return  # as in a notebook: the rest of the cell does not run

    def _fork(self, fd: int, channel: Channel, names: list[str], seconds: float) -> list[Any]:
        pid = os.fork()
        if pid:
            os.close(fd)
            return ["forked", pid]
        try:
            os.setpgid(0, 0)
            channel.close()
            _set_threads(1)  # threads of the parent do not exist here
            self.block.add(names)
            self.block.take()  # what cells of the student compared with is no cheating
            seed_all()
            stream = socket.socket(fileno=fd)
            Snapshot(Channel(stream, ahead=True), self.shell.user_ns, self.block, seconds).serve()
        finally:
            os._exit(0)


class Alarm:
    """Interrupt what runs after some seconds of processor time, or by the clock.

    The signal becomes an exception, so that the process and its variables survive. Code that
    swallows it, or a C function that never comes back, is killed with its process by the grader.
    """

    def __init__(self, processor: float, clock: float = 0.0) -> None:
        self.processor, self.clock, self.rang = processor, clock, False

    def __enter__(self) -> Alarm:
        for number in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(number, self._ring)
        signal.setitimer(signal.ITIMER_PROF, self.processor)
        signal.setitimer(signal.ITIMER_REAL, self.clock)
        return self

    def __exit__(self, *_: object) -> None:
        for timer in (signal.ITIMER_PROF, signal.ITIMER_REAL):
            signal.setitimer(timer, 0)

    def _ring(self, number: int, frame: Any) -> NoReturn:
        self.rang = True
        raise TimeLimit(f"stopped after {self.processor:g} s")
