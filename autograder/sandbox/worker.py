"""One worker, seen from the grader."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

from autograder.limits import Limits
from autograder.sandbox.tree import Usage, measure, stored
from autograder.sandbox.wire import Message, send

__all__ = ["Ended", "Worker"]

_PATIENCE, _LAST_PATIENCE = 2.0, 30.0  # a fork bomb takes 3 s to clear away at a load of 30
_OUTPUT_FACTOR = 16
_REWRITES = 4  # a file may be written anew this often before it counts as too much
_LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class Ended:
    """How a worker ended.

    Attributes:
        code: exit code, or None when a signal ended it.
        signal: the signal's number, or 0.
        limit: the limit that was hit, in words, or "".
        left_behind: processes it had started that were still alive and were killed.
    """

    code: int | None
    signal: int = 0
    limit: str = ""
    left_behind: int = 0


class Worker:
    """A process that runs one target in its box; made by `ForkServer.start`.

    Attributes:
        channel: our end of a stream socket; the target has the other one. Yours to close.
        pid: its process number as seen from outside.
    """

    channel: socket.socket
    pid: int

    def __init__(
        self, channel: socket.socket, line: socket.socket, limits: Limits, folder: str
    ) -> None:
        self.channel, self.limits = channel, limits
        self.pid = self._warden = self._baseline = 0
        self._line = line
        self._changed = threading.Condition()
        self._error = self._limit = ""
        self._exit: int | None = None
        self._left = 0
        self._gone = False
        self._output = bytearray()
        self._printed = 0
        self._started = time.monotonic()
        self._stop_at = self._started + limits.total_seconds
        self._spans: list[_Span] = []
        self._folder, self._look_at = folder, 0.0

    def usage(self) -> Usage:
        """What the whole family has used so far; all zero when it is gone."""
        return Usage(0.0, 0, 0, 0) if self._gone else measure(self._warden, self._baseline)

    @property
    def output(self) -> bytes:
        """What came on its standard streams, cut at `Limits.output_bytes`."""
        return bytes(self._output)

    @contextlib.contextmanager
    def within(
        self, what: str, *, processor_seconds: float | None = None, seconds: float | None = None
    ) -> Iterator[None]:
        """Limit a span of the worker's life; it is killed, whole, when it takes longer.

        Args:
            what: named in `Ended.limit`, such as "cell 3".
            processor_seconds: of the whole family, from now on.
            seconds: by the clock, from now on.
        """
        now, used = time.monotonic(), 0.0
        if processor_seconds is not None:
            used = self.usage().processor_seconds
        span = _Span(
            what,
            None if seconds is None else now + seconds,
            None if processor_seconds is None else used + processor_seconds,
        )
        self._spans.append(span)
        try:
            yield
        finally:
            self._spans.remove(span)

    def kill(self) -> None:
        """Kill the whole family; returns when it is gone."""
        self._stop("")
        if self.wait(_PATIENCE) is None:
            # The warden does not answer: its end takes the family along at level 3.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._warden, signal.SIGKILL)
            if self.wait(_LAST_PATIENCE) is None:
                raise TimeoutError(f"process {self._warden} cannot be killed")

    def wait(self, timeout: float | None = None) -> Ended | None:
        """How it ended; None when it still runs after `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._gone, timeout):
                return None
        code = self._exit
        if code is None:
            return Ended(None, signal.SIGKILL, self._limit, self._left)
        if code < 0:
            return Ended(None, -code, self._limit, self._left)
        return Ended(code, 0, self._limit, self._left)

    # The rest is for the watch, which runs in a thread of its own.

    def _until_ready(self, timeout: float) -> str:
        with self._changed:
            done = self._changed.wait_for(
                lambda: (self.pid and self._warden) or self._error or self._gone, timeout
            )
        if self._error:
            return self._error
        if done and self.pid:  # it may have ended already: that is the submission's business
            return ""
        return "it ended before it was ready" if done else "it did not come up in time"

    def _heard(self, message: Message | None) -> None:
        with self._changed:
            if message is None:
                self._gone = True
                self._line.close()
            elif "ready" in message.data:
                self._baseline = message.data["resident"]
                self.pid = message.pid
            elif "warden" in message.data:
                self._warden = message.pid
            elif "error" in message.data:
                self._error = self._error or message.data["error"]
            elif "exit" in message.data:
                self._exit, self._left = message.data["exit"], message.data["left"]
                self._limit = self._limit or message.data["full"]
            self._changed.notify_all()

    def _print(self, data: bytes) -> bool:
        """Keep what it said; False once that is over the limit, and it is being killed."""
        left = self.limits.output_bytes - len(self._output)
        self._output += data[:left]
        self._printed += len(data)
        if self._printed > _OUTPUT_FACTOR * self.limits.output_bytes:
            self._stop(f"output: over {_bytes(_OUTPUT_FACTOR * self.limits.output_bytes)}")
            return False
        return True

    def _check(self) -> None:
        """Kill it if it is over a limit."""
        if self._limit or not self._warden or self._gone:
            return None
        now, used, limits = time.monotonic(), self.usage(), self.limits
        for span in list(self._spans):
            if span.stop_at is not None and now > span.stop_at:
                return self._stop(f"time: {span.what} took too long by the clock")
            if span.processor_at is not None and used.processor_seconds > span.processor_at:
                return self._stop(f"time: {span.what} took too much processor time")
        if now > self._stop_at:
            return self._stop(f"time: the whole took over {limits.total_seconds:g} s")
        if used.processes > limits.processes:
            return self._stop(f"processes: over {limits.processes} at once")
        if used.resident_bytes > limits.memory_bytes:
            exact = measure(self._warden, self._baseline, exact=True)
            if exact.resident_bytes > limits.memory_bytes:
                return self._stop(f"memory: over {_bytes(limits.memory_bytes)} in all processes")
        if self._folder and now >= self._look_at:
            return self._check_files(now, used.written_bytes)
        return None

    def _check_files(self, now: float, written: int) -> None:
        """Below level 3 its files lie among ours: look how many there are, now and then."""
        limits = self.limits
        try:
            size, count = stored(self._folder, limits.files)
        except PermissionError:
            return self._stop("files: it closed a folder to the grader")
        took = time.monotonic() - now
        self._look_at = now + max(_LOOK_SECONDS, 5 * took)
        if count > limits.files:
            return self._stop(f"files: over {limits.files}")
        if size > limits.disk_bytes or written > _REWRITES * limits.disk_bytes:
            return self._stop(f"files: over {_bytes(limits.disk_bytes)}")
        return None

    def _stop(self, limit: str) -> None:
        with self._changed:
            if self._gone:
                return
            self._limit = self._limit or limit
            with contextlib.suppress(BlockingIOError):  # it has been told often enough
                send(self._line, {"kill": True})


@dataclass(eq=False)
class _Span:
    what: str
    stop_at: float | None
    processor_at: float | None


def _bytes(count: int) -> str:
    return f"{count / 2**20:g} MB"
