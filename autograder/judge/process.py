"""One process in the box: runs the cells of a submission and lends itself to its checks.

A limit that is hit, a process that dies and an answer of wrong form are blamed on the cell that was
running; whoever drives the submission then starts a fresh process without that cell.
"""

from __future__ import annotations

import contextlib
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

from autograder.judge.frames import Channel, ChannelClosed, WireError
from autograder.judge.program import Step
from autograder.judge.tidy import tidy

if TYPE_CHECKING:
    from autograder.judge.drive import Drive

__all__ = ["Pass", "Worker", "error_output"]

_GRACE = 3.0
_FORK_SECONDS = 30.0
_SLOW = 1.0


class Worker(Protocol):
    """A process in the box; see `autograder.sandbox.Worker`."""

    channel: socket.socket

    def within(
        self, what: str, *, processor_seconds: float | None = None, seconds: float | None = None
    ) -> contextlib.AbstractContextManager[None]: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> Any: ...


class Pass:
    """One process in the box, from its start to its end.

    Args:
        drive: the submission; gets what the cells show and how they ended.
        worker: the process.
        forbid: names that the exercise forbids, blocked before the first cell.
    """

    def __init__(self, drive: Drive, worker: Worker, forbid: tuple[str, ...]) -> None:
        self.drive, self.worker, self.forbid = drive, worker, forbid
        self.channel = Channel(worker.channel)
        self.limits = drive.limits

    def through(self, steps: list[Step]) -> bool:
        """Run the steps that are left; False where a fresh process must go on."""
        try:
            if self.forbid:
                self._ask(["block", list(self.forbid)], _FORK_SECONDS)
            for step in steps:
                if step.index in self.drive.guilty:
                    continue
                if not step.check:
                    going = self._run(step)
                elif step.index in self.drive.shown or not self.drive.is_wanted(step):
                    continue
                else:
                    going = self._check(step)
                if not going:
                    return False
            return True
        except (ChannelClosed, TimeoutError, WireError):
            return False
        finally:
            self._end()

    def _run(self, step: Step) -> bool:
        limits = self.limits
        seconds = min(limits.longest_cell, max(1.0, self.drive.stop_at - time.monotonic()))
        # Interrupted in time by itself, a cell keeps what it has defined; the box only kills.
        what = [limits.cell_seconds, seconds, limits.output_bytes, bool(self.forbid)]
        command = ["run", step.source, *what]
        started = time.monotonic()
        try:
            with self.worker.within(
                "a cell",
                processor_seconds=limits.cell_seconds + _GRACE,
                seconds=seconds + _GRACE,
            ):
                answer = self._ask(command, seconds + 2 * _GRACE)
        except (ChannelClosed, TimeoutError):
            self.drive.blame(step, *self._death())
            return False
        except WireError as error:
            self._odd(step, error)
            return False
        if time.monotonic() - started > _SLOW:
            self.drive.slow.add(step.index)
        try:
            _, outputs, _, overran = answer
            outputs = tidy(outputs, limits.output_bytes)
        except (ValueError, TypeError, WireError) as error:
            self._odd(step, error)
            return False
        if overran is True and step.index not in self.drive.shown:
            self.drive.hit.append((step.index, f"stopped after {limits.cell_seconds:g} s"))
        again = step.index in self.drive.shown or bool(self.forbid)
        self.drive.keep(step, outputs, again=again)
        return True

    def _check(self, step: Step) -> bool:
        limits, drive = self.limits, self.drive
        left = max(1.0, drive.stop_at - time.monotonic())
        seconds = min(limits.check_seconds, limits.longest_cell, left)
        here, there = socket.socketpair()
        pid = None
        try:
            with here, self.worker.within("a check", seconds=seconds + 2 * _GRACE):
                self.channel.send(["check", list(step.block), limits.cell_seconds])
                socket.send_fds(self.channel.stream, [b"F"], [there.fileno()])
                there.close()
                _, pid = self._receive("forked", _FORK_SECONDS)
                verdict = drive.judge(drive.job(step, seconds), here)
            self._ask(["end", pid], _FORK_SECONDS)
            alive = True
        except (ChannelClosed, TimeoutError, WireError, ValueError, OSError):
            alive = False
            if pid is None:
                drive.blame(step, *self._death())
                return False
        errors = [o for o in verdict["outputs"] if o["output_type"] == "error"]
        if errors and errors[-1]["ename"] in ("TimeLimit", "KernelDied"):
            words = errors[-1]["evalue"]
            if errors[-1]["ename"] == "TimeLimit":
                longest = min(limits.cell_seconds, seconds)
                words = errors[-1]["evalue"] = f"stopped after {longest:.3g} s"
            drive.hit.append((step.index, words))
        drive.settle(step, verdict)
        return alive

    def _ask(self, command: list[Any], seconds: float) -> list[Any]:
        self.channel.send(command, timeout=seconds)
        answer, _ = self.channel.receive(seconds)
        if type(answer) is not list:
            raise WireError("an answer of wrong form")
        return answer

    def _receive(self, verb: str, seconds: float) -> list[Any]:
        answer, _ = self.channel.receive(seconds)
        if type(answer) is not list or len(answer) != 2 or answer[0] != verb:
            raise WireError("an answer of wrong form")
        if type(answer[1]) is not int:
            raise WireError("an answer of wrong form")
        return answer

    def _odd(self, step: Step, error: Exception) -> None:
        self.drive.blame(step, "BadReply", "the process gave an answer of wrong form")
        self.drive.flags.append((step.index, "protocol-broken", f"an answer was no data: {error}"))

    def _death(self) -> tuple[str, str]:
        """Name and words for how the process ended."""
        ended = self.worker.wait(_GRACE)
        limit = getattr(ended, "limit", "") or ""
        if ended is None or limit.startswith("time"):
            return "TimeLimit", f"stopped after {self.limits.cell_seconds:g} s"
        return "KernelDied", limit or "the Python process ended in this cell"

    def _end(self) -> None:
        self.channel.close()
        ended = self.worker.wait(_GRACE)
        if ended is None:
            self.worker.kill()
            ended = self.worker.wait(_GRACE)
        self.drive.left_behind += getattr(ended, "left_behind", 0) or 0


def error_output(name: str, words: str) -> dict[str, Any]:
    """An error as a notebook shows it, without a traceback."""
    return {"output_type": "error", "ename": name, "evalue": words, "traceback": []}
