"""One submission from its first cell to its last check, whatever happens in between.

A cell that kills the process is left out of the next one, which runs the cells again; checks that
were judged stay judged. A check has a snapshot of its own, so a crash in it costs nothing else.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from autograder.judge.bench import Session
from autograder.judge.frames import Channel, ChannelClosed, WireError
from autograder.judge.job import Job
from autograder.judge.program import Program, Step
from autograder.judge.tidy import tidy
from autograder.limits import Limits

__all__ = ["Drive", "Worker"]

_GRACE = 3.0
_FORK_SECONDS = 30.0
_MOST_RESTARTS = 8
_SLOW = 1.0


class Worker(Protocol):
    """A process in the box; see `autograder.sandbox.Worker`."""

    channel: socket.socket

    def within(
        self, what: str, *, processor_seconds: float | None = None, seconds: float | None = None
    ) -> contextlib.AbstractContextManager[None]: ...

    def kill(self) -> None: ...

    def wait(self, timeout: float | None = None) -> Any: ...


@dataclass
class Drive:
    """Runs the program of one submission.

    Args:
        start: starts a fresh process in the box.
        session: starts a fresh process for checks.
        wanted: grade ids of the checks to judge, None for all.
        folder: where the files of the lab are, for checks that read them.
        known: grade id → what the box said when it was judged before; see `autograder.judge.talk`.

    Attributes:
        talks: grade id → what the box said this time, where that is kept.
        shown: place of a cell → its outputs and its number.
        hit: limits that were hit: place (-1: no one cell) and words.
        flags: place, code, sentence.
        left_behind: processes that had to be killed afterwards.
    """

    program: Program
    limits: Limits
    start: Callable[[Limits], Worker]
    session: Callable[[], Session]
    wanted: frozenset[str] | None = None
    folder: str = ""
    known: Mapping[str, bytes] = field(default_factory=dict)
    talks: dict[str, bytes] = field(default_factory=dict)
    shown: dict[int, dict[str, Any]] = field(default_factory=dict)
    hit: list[tuple[int, str]] = field(default_factory=list)
    flags: list[tuple[int, str, str]] = field(default_factory=list)
    left_behind: int = 0
    _guilty: set[int] = field(default_factory=set)
    _slow: set[int] = field(default_factory=set)
    _restarts: int = 0
    _stop_at: float = 0.0
    _session: Session | None = None

    def run(self) -> None:
        """Run everything; afterwards the attributes say what happened."""
        try:
            self._run()
        finally:
            if self._session is not None:
                self._session.close()

    def judge(self, job: Job, snapshot: socket.socket | bytes) -> dict[str, Any]:
        """Run one check outside the box; a new process takes the place of one that died."""
        self._session = self._session or self.session()
        verdict = self._session.run(job, snapshot)
        if verdict is None:
            self._session = None
            stopped = [_error("TimeLimit", "the check was stopped")]
            return {"outputs": stopped, "flags": [], "whole": False, "talk": b""}
        return verdict

    def job(self, step: Step, seconds: float) -> Job:
        """What the process outside is told about a check."""
        return Job(
            text=step.source,
            before=step.before,
            theirs=self.program.theirs,
            forbid=step.forbid,
            block=step.block,
            seconds=seconds,
            most_bytes=self.limits.output_bytes,
            count=self.number(step),
            folder=self.folder,
        )

    def number(self, step: Step) -> int:
        """The number of a cell as the notebook shows it: the same whatever ran again, or not."""
        return 1 + self.program.steps.index(step)

    def settle(self, step: Step, verdict: dict[str, Any]) -> None:
        """Take the verdict of a check."""
        self.keep(step, verdict["outputs"], again=False)
        self.flags += [(step.index, code, detail) for code, detail in verdict["flags"]]
        if verdict["talk"]:
            self.talks[step.grade_id] = verdict["talk"]

    def _run(self) -> None:
        self._stop_at = time.monotonic() + self.limits.total_seconds
        checks = [s for s in self.program.steps if s.check and self._is_wanted(s)]
        self._judge_from_record(checks)
        checks = [s for s in checks if s.index not in self.shown]
        if self.wanted is not None and not checks:
            return
        end = len(self.program.steps)
        if self.wanted is not None:  # what stands below the last check cannot change it
            end = 1 + self.program.steps.index(checks[-1])
        later = [] if self.program.plain else [s for s in checks if s.block]
        self._until_done([s for s in self.program.steps[:end] if s not in later], ())
        for forbid in dict.fromkeys(step.block for step in later):
            mine = [s for s in later if s.block == forbid]
            last = self.program.steps.index(mine[-1])
            above = [s for s in self.program.steps[:last] if not s.check and s not in self._idle()]
            steps = sorted([*above, *mine], key=lambda step: step.index)
            self._until_done(steps, forbid)

    def _judge_from_record(self, checks: list[Step]) -> None:
        """Judge the checks that ask what was asked before; the others are left for the box."""
        for step in checks:
            if talk := self.known.get(step.grade_id):
                seconds = min(self.limits.check_seconds, self.limits.longest_cell)
                verdict = self.judge(self.job(step, seconds), talk)
                if verdict["whole"]:
                    self.settle(step, verdict)

    def _idle(self) -> list[Step]:
        """Cells that take long and that no answer stands on: not worth a second run."""
        return [s for s in self.program.steps if s.index in self._slow and not s.needed]

    def _is_wanted(self, step: Step) -> bool:
        return self.wanted is None or step.grade_id in self.wanted

    def _until_done(self, steps: list[Step], forbid: tuple[str, ...]) -> None:
        while True:
            left = self._stop_at - time.monotonic()
            if left < 1:
                self.hit.append((-1, f"stopped after {self.limits.total_seconds:g} s"))
                return
            run = _Pass(self, self.start(replace(self.limits, total_seconds=left)), forbid)
            if run.through(steps):
                return
            self._restarts += 1
            if self._restarts > _MOST_RESTARTS:
                self.hit.append((-1, f"Python had to be started again {_MOST_RESTARTS} times"))
                return

    def keep(self, step: Step, outputs: list[dict[str, Any]], *, again: bool) -> None:
        """Remember what a cell showed, the first time."""
        if again:
            return
        number = self.number(step)
        for output in outputs:
            if output["output_type"] == "execute_result":
                output["execution_count"] = number
        self.shown[step.index] = {"count": number, "outputs": outputs}

    def blame(self, step: Step, name: str, words: str) -> None:
        """A cell or check that ended badly; it is not run again."""
        self._guilty.add(step.index)
        self.hit.append((step.index, words))
        self.keep(step, [_error(name, words)], again=step.index in self.shown)


class _Pass:
    """One process in the box, from its start to its end."""

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
                if step.index in self.drive._guilty:
                    continue
                if not step.check:
                    going = self._run(step)
                elif step.index in self.drive.shown or not self.drive._is_wanted(step):
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
        seconds = min(limits.longest_cell, max(1.0, self.drive._stop_at - time.monotonic()))
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
            self.drive._slow.add(step.index)
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
        left = max(1.0, drive._stop_at - time.monotonic())
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


def _error(name: str, words: str) -> dict[str, Any]:
    return {"output_type": "error", "ename": name, "evalue": words, "traceback": []}
