"""The grader's side of the fork server."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from autograder.limits import Limits
from autograder.sandbox import ladder, wire
from autograder.sandbox.box import DEVICES
from autograder.sandbox.failure import SandboxError
from autograder.sandbox.folders import make_folder, make_work, remove
from autograder.sandbox.launch import environment, prepare, worker_user
from autograder.sandbox.watch import Watch
from autograder.sandbox.worker import Worker

__all__ = ["DEFAULT_PRELOAD", "ForkServer", "SandboxError"]

DEFAULT_PRELOAD = (
    "torch",
    "numpy",
    "matplotlib.pyplot",
    "matplotlib.font_manager",
    "course",
    "course.checks",
)
_START_SECONDS = 180.0
_WORKER_SECONDS = 60.0
_END_SECONDS = 10.0


class ForkServer:
    """A process that has everything imported and forks a confined worker in milliseconds.

    A context manager; its methods may be called from several threads at once.

    Args:
        level: rung of the ladder, 1 to 3; None takes the best that this machine proves, never 1.
        files: folder that every worker gets a copy of (data files that a lab reads), or None.
        cache: folder for what is kept between runs (matplotlib's list of fonts).
        preload: modules imported before the first fork. Import only: they must start no thread.
        slots: how many workers may live at once.
        readable: more folders that workers may read, at their own paths. Each is seen by every
            submission: never one that holds solutions, hidden tests or a gradebook.
        builder: "bwrap" or "unshare", how the box of level 3 is made; None takes what is there.

    Attributes:
        level: the rung in use.
        forks: False when a fork of this server cannot be trusted (a preloaded module started a
            thread); workers then import everything themselves, which takes seconds.
        seconds: how long its imports took.

    Raises:
        SandboxError: this is not Linux, or the level cannot be had here.
    """

    level: int
    forks: bool
    seconds: float

    def __init__(
        self,
        *,
        level: int | None = None,
        files: Path | None = None,
        cache: Path,
        preload: Sequence[str] = DEFAULT_PRELOAD,
        slots: int = 1,
        readable: Sequence[Path] = (),
        builder: str | None = None,
    ) -> None:
        if sys.platform != "linux":
            raise SandboxError(
                f"grading needs Linux, this is {sys.platform}: use WSL 2 on Windows, "
                "or a Linux container or machine"
            )
        if level is None:
            best = ladder.best()
            level, builder = best.level, best.builder or None
        if level not in ladder.LEVELS:
            raise SandboxError(f"no sandbox level {level}: there are 3, 2 and 1", code=2)
        if level == 2:
            ladder.require_landlock()
        self.level = level
        self.slots, self.preload = slots, tuple(preload)
        self._busy: set[int] = set()
        self._janitors: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._closed = False
        cache.mkdir(parents=True, exist_ok=True)
        self._folder = make_folder()
        self._log = open(self._folder / "server.log", "w+b")  # noqa: SIM115
        try:
            self._setup = prepare(
                self.level,
                folder=self._folder,
                files=files,
                cache=cache,
                readable=tuple(readable),
            )
            self._launch_any([builder] if builder else ladder.builders(level))
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        """The process that was started: the server, or what holds its box."""
        return self._process.pid

    def start(self, target: str, *, limits: Limits, arguments: bytes = b"") -> Worker:
        """Fork a worker and return when it is confined and about to call its target.

        Args:
            target: "package.module:function", called in the fresh process as
                function(channel, arguments), where channel is a stream socket to
                `Worker.channel`. Its working folder is private, writable and holds a copy of
                `files`. A returned number is the exit code.
            limits: what it may use.
            arguments: handed to the function; generators of random numbers are seeded from it.

        Raises:
            SandboxError: all slots are busy, or the box could not be made.
        """
        slot = self._take_slot()
        try:
            worker, alive = self._send(slot, target, limits, arguments)
        except BaseException:
            self._free(slot, None)
            raise
        if not alive:
            raise SandboxError(f"the fork server has ended: {self._said()}")
        if error := worker._until_ready(_WORKER_SECONDS):
            with contextlib.suppress(TimeoutError):
                worker.kill()
            raise SandboxError(f"no worker: {error}")
        return worker

    def _send(
        self, slot: int, target: str, limits: Limits, arguments: bytes
    ) -> tuple[Worker, bool]:
        """Ask the server for a worker; whether it was there to hear it."""
        uid = worker_user()
        work = None if self.level == 3 else make_work(self._folder, slot, self._setup.files, uid)
        order = self._setup.order(target, limits, str(work or ""), uid, self.slots, self.forks)
        with contextlib.ExitStack() as theirs:
            ours, channel = socket.socketpair()
            line, far = wire.pair()
            line.setblocking(False)
            output, printing = os.pipe2(os.O_CLOEXEC)
            text = theirs.enter_context(os.fdopen(os.memfd_create("arguments"), "wb"))
            text.write(arguments)
            text.flush()
            for end in (channel, far, os.fdopen(printing, "wb", buffering=0)):
                theirs.enter_context(end)
            worker = Worker(ours, line, limits, order.work if self.level < 3 else "")
            self._watch.add(worker, line, output, lambda: self._free(slot, work))
            files = (channel.fileno(), printing, text.fileno(), far.fileno())
            with self._lock:
                alive = not self._closed and wire.send(self._control, order.as_json(), files)
        return worker, alive

    def close(self) -> None:
        """End all workers and the server."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        if hasattr(self, "_process"):
            self._stop_process()
        if hasattr(self, "_watch"):
            self._watch.close()
        for janitor in self._janitors:
            janitor.join()
        self._log.close()
        remove(self._folder)

    def __enter__(self) -> ForkServer:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _launch_any(self, builders: list[str]) -> None:
        """The first way that works; the reason of the last one if none does."""
        for builder in builders:
            try:
                return self._launch(builder)
            except SandboxError:
                self._stop_process()
                if self.level < 3 or builder == builders[-1]:
                    raise
        return None

    def _stop_process(self) -> None:
        self._control.close()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _launch(self, builder: str) -> None:
        self._control, far = wire.pair()
        with far:
            self._process = subprocess.Popen(
                self._setup.command(builder, far.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(far.fileno(),),
                env=environment(self._setup.fonts),
                cwd="/",
                start_new_session=True,
            )
        confine = {
            "readable": [*self._setup.readable, "/proc", "/dev"],
            "writable": [str(self._folder), str(self._setup.fonts)],
            "devices": DEVICES,
            "listed": self._setup.listed,
        }
        first = {"preload": self.preload, "confine": confine if self.level == 2 else None}
        wire.send(self._control, first)
        self._control.settimeout(_START_SECONDS)
        try:
            answer = wire.receive(self._control)
        except TimeoutError:
            answer = None
        if answer is None:
            raise SandboxError(f"the fork server did not start: {self._said()}")
        self._control.setblocking(True)
        self.seconds, self.forks = answer.data["ready"], answer.data["forks"]
        if failed := answer.data["failed"]:
            name, reason = next(iter(failed.items()))
            raise SandboxError(f"the fork server cannot import {name}: {reason}")
        self._watch = Watch()

    def _said(self) -> str:
        """The last line that the server printed."""
        with contextlib.suppress(ValueError, OSError):
            self._log.flush()
            lines = Path(self._log.name).read_text(errors="replace").strip().splitlines()
            return lines[-1] if lines else "it said nothing"
        return "it said nothing"

    def _take_slot(self) -> int:
        with self._lock:
            if self._closed:
                raise SandboxError("the fork server is closed")
            free = set(range(self.slots)) - self._busy
            if not free:
                raise SandboxError(
                    f"all {self.slots} slots are busy: wait for a worker, or ask for more slots"
                )
            slot = min(free)
            self._busy.add(slot)
            return slot

    def _free(self, slot: int, work: Path | None) -> None:
        if work is not None:  # a million files take long, and this is the thread of the watch
            janitor = threading.Thread(target=remove, args=(work,), daemon=True)
            janitor.start()
            self._janitors = [one for one in self._janitors if one.is_alive()] + [janitor]
        with self._lock:
            self._busy.discard(slot)
