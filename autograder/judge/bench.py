"""Outside the box: a server that has everything imported and forks one process per check.

The grader has threads, so it cannot fork; this process has none. It starts once, takes jobs over a
socket, and kills a check that is over its time. `Bench` is the grader's side of it.
"""

from __future__ import annotations

import array
import contextlib
import gc
import importlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from autograder.errors import AutograderError
from autograder.judge.wire import Channel, ChannelClosed, WireError

__all__ = ["Bench"]

_START_SECONDS = 180.0
_SPARE_SECONDS = 5.0
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


class Bench:
    """The grader's side: a running server.

    Args:
        preload: modules that the labs' cells import; import them once, not once per check.
        cache: folder for matplotlib's list of fonts.

    Raises:
        AutograderError: it does not start.
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
        try:
            self._channel.receive(_START_SECONDS)
        except (ChannelClosed, TimeoutError, WireError) as error:
            self.close()
            raise AutograderError(f"the process for checks does not start: {error}") from error

    def run(self, job: dict[str, Any], snapshot: socket.socket) -> dict[str, Any]:
        """Run one check; returns the verdict, which is an error if the process died.

        Args:
            job: see `autograder.judge.check.Job`.
            snapshot: our end of the socket to the snapshot.
        """
        here, there = socket.socketpair()
        with here:
            try:
                with there, self._lock:
                    self._channel.send(job)
                    files = array.array("i", (snapshot.fileno(), there.fileno()))
                    rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, files)
                    self._channel.stream.sendmsg([b"F"], [rights])
                answer, _ = Channel(here).receive(job["seconds"] + 2 * _SPARE_SECONDS)
                return answer
            except (ChannelClosed, TimeoutError, WireError, OSError):
                return _ended("TimeLimit", "the check was stopped")

    def close(self) -> None:
        """End the server and what it runs."""
        with contextlib.suppress(OSError):
            self._channel.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_SPARE_SECONDS)
            return
        self._process.kill()
        self._process.wait()


def _ended(name: str, text: str) -> dict[str, Any]:
    error = {"output_type": "error", "ename": name, "evalue": text, "traceback": []}
    return {"outputs": [error], "flags": []}


class _Server:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._running: dict[int, float] = {}

    def serve(self) -> None:
        while True:
            ready, _, _ = select.select([self._channel.stream], [], [], self._patience())
            self._reap()
            if not ready:
                continue
            try:
                job, _ = self._channel.receive()
            except ChannelClosed:
                break
            _, files, _, _ = socket.recv_fds(self._channel.stream, 1, 2)
            self._start(job, *files)
        for pid in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _patience(self) -> float | None:
        if not self._running:
            return None
        return max(0.05, min(self._running.values()) - time.monotonic())

    def _reap(self) -> None:
        for pid, stop_at in list(self._running.items()):
            if time.monotonic() > stop_at:
                os.kill(pid, signal.SIGKILL)
            done, _ = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._running[pid]

    def _start(self, job: dict[str, Any], snapshot: int, answer: int) -> None:
        pid = os.fork()
        if pid == 0:
            _run(self._channel, job, snapshot, answer)
        os.close(snapshot)
        os.close(answer)
        self._running[pid] = time.monotonic() + job["seconds"] + _SPARE_SECONDS


def _run(control: Channel, data: dict[str, Any], snapshot: int, answer: int) -> None:
    from autograder.judge.check import Job, run_check

    try:
        control.close()
        with socket.socket(fileno=snapshot) as stream, socket.socket(fileno=answer) as reply:
            verdict = run_check(Job.from_json(data), Channel(stream))
            Channel(reply).send(vars(verdict))
    finally:
        os._exit(0)


def main() -> None:
    """Import, freeze, serve."""
    import autograder.judge.check
    from autograder.judge.shell import CellShell

    for name in sys.argv[2:]:
        with contextlib.suppress(Exception):  # the lab's own cell will say what is wrong
            importlib.import_module(name)
    CellShell.make()
    gc.collect()
    gc.freeze()
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    channel.send(["ready"])
    _Server(channel).serve()


if __name__ == "__main__":
    main()
