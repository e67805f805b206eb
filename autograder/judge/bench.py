"""Outside the box: a server that has everything imported and forks a process per submission.

The grader has threads, so it cannot fork; this process has none. It starts once. `Bench` is the
grader's side of it, `Session` the grader's side of one fork, which runs the checks.
"""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

from autograder.errors import AutograderError
from autograder.judge.frames import Channel, ChannelClosed, WireError
from autograder.judge.job import Job
from autograder.judge.talk import Recorded, Replayed

__all__ = ["Bench", "Session"]

_START_SECONDS = 180.0
_SPARE_SECONDS = 5.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Bench:
    """The grader's side: a running server.

    Args:
        preload: modules that the labs' cells import; import them once, not once per check.
        cache: folder for matplotlib's list of fonts.

    It imports while the grader goes on; see `wait`.
    """

    def __init__(self, *, preload: Iterable[str] = (), cache: Path) -> None:
        cache.mkdir(parents=True, exist_ok=True)
        here, there = socket.socketpair()
        command = [sys.executable, "-m", "autograder.judge.bench", str(there.fileno()), *preload]
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("JPY_", "IPY"))},
            **dict.fromkeys(_THREADS, "1"),
            "MPLBACKEND": "agg",
            "MPLCONFIGDIR": str(cache),
            "PYTHONHASHSEED": "0",
        }
        with there:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(there.fileno(),),
                env=environment,
                start_new_session=True,
            )
        self._channel = Channel(here)
        self._lock = threading.Lock()
        self._ready = False

    def wait(self) -> None:
        """Until it has imported everything.

        Raises:
            AutograderError: it does not start.
        """
        with self._lock:
            if self._ready:
                return
            try:
                self._channel.receive(_START_SECONDS)
            except (ChannelClosed, TimeoutError, WireError, OSError) as error:
                raise AutograderError(f"the process for checks does not start: {error}") from error
            self._ready = True

    def session(self) -> Session:
        """A fresh process for the checks of one submission.

        Raises:
            AutograderError: the server does not start, or has ended.
        """
        self.wait()
        here, there = socket.socketpair()
        try:
            with there, self._lock:
                socket.send_fds(self._channel.stream, [b"S"], [there.fileno()])
        except OSError as error:
            here.close()
            raise AutograderError(f"the process for checks has ended: {error}") from error
        return Session(Channel(here))

    def close(self) -> None:
        """End the server and what it runs."""
        with contextlib.suppress(OSError):
            self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SPARE_SECONDS)
            return
        self._process.kill()
        self._process.wait()


class Session:
    """One process that runs checks, one after the other; it ends with the context."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def run(self, job: Job, snapshot: socket.socket | bytes) -> dict[str, Any] | None:
        """Run one check; returns the verdict, or None when the process died or had to be ended.

        Args:
            snapshot: our end of the socket to the snapshot, or what it said before (see
                `autograder.judge.talk`).

        Returns:
            The fields of a `Verdict`, and "talk": what was said this time, b"" if it is not kept.
        """
        known = snapshot if isinstance(snapshot, bytes) else b""
        try:
            self._channel.send(asdict(job), [known] if known else [])
            if not isinstance(snapshot, bytes):
                socket.send_fds(self._channel.stream, [b"J"], [snapshot.fileno()])
            answer, talk = self._channel.receive(job.seconds + 2 * _SPARE_SECONDS)
        except (ChannelClosed, TimeoutError, WireError, OSError):
            self.close()
            return None
        return {**answer, "talk": talk[0] if talk else b""}

    def close(self) -> None:
        """End the process."""
        self._channel.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _serve(control: socket.socket) -> None:
    """In the server: a fork per session, until the grader closes the line."""
    running: set[int] = set()
    while True:
        ready, _, _ = select.select([control], [], [], 1.0 if running else None)
        running -= {pid for pid in running if os.waitpid(pid, os.WNOHANG)[0]}
        if not ready:
            continue
        word, files, _, _ = socket.recv_fds(control, 1, 1)
        if not word:
            break
        pid = os.fork()
        if pid == 0:
            control.close()
            _work(files[0])
        os.close(files[0])
        running.add(pid)
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _work(fd: int) -> NoReturn:
    """In a fork: run the checks of one submission."""
    from autograder.judge.check import run_check

    channel = Channel(socket.socket(fileno=fd))
    try:
        while True:
            data, known = channel.receive()
            job = Job.from_json(data)
            if known:
                other = Replayed(known[0], job.block)
            else:
                _, files, _, _ = socket.recv_fds(channel.stream, 1, 1)
                other = Recorded(socket.socket(fileno=files[0]), ahead=True)
            # A C function that hangs hears no signal; this thread ends the process all the same.
            faulthandler.dump_traceback_later(job.seconds + _SPARE_SECONDS, exit=True)
            with contextlib.closing(other):
                verdict = run_check(job, other)
            faulthandler.cancel_dump_traceback_later()
            if isinstance(other, Recorded) and verdict.whole:
                known = [other.in_bytes(job.block)]
            channel.send(vars(verdict), known)
    finally:
        os._exit(0)


def main() -> None:
    """Import, freeze, serve."""
    importlib.import_module("autograder.judge.check")
    from autograder.judge.shell import CellShell

    for name in sys.argv[2:]:
        with contextlib.suppress(Exception):  # the lab's own cell will say what is wrong
            importlib.import_module(name)
    CellShell.make()
    gc.collect()
    gc.freeze()
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    channel.send(["ready"])
    _serve(channel.stream)


if __name__ == "__main__":
    main()
