"""One submission from its first cell to its last check, whatever happens in between.

A cell that kills the process is left out of the next one, which runs the cells again; checks that
were judged stay judged. A check has a snapshot of its own, so a crash in it costs nothing else.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from autograder.judge.bench import Session
from autograder.judge.job import Job
from autograder.judge.process import Pass, Worker, error_output
from autograder.judge.program import Program, Step
from autograder.limits import Limits

__all__ = ["Drive"]

_MOST_RESTARTS = 8


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
        guilty: places of cells and checks that ended badly and do not run again.
        slow: places of cells that took long.
        stop_at: when the whole submission's time is up, by the monotonic clock.
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
    guilty: set[int] = field(default_factory=set)
    slow: set[int] = field(default_factory=set)
    stop_at: float = 0.0
    _restarts: int = 0
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
            stopped = [error_output("TimeLimit", "the check was stopped")]
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
        self.stop_at = time.monotonic() + self.limits.total_seconds
        checks = [s for s in self.program.steps if s.check and self.is_wanted(s)]
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
        return [s for s in self.program.steps if s.index in self.slow and not s.needed]

    def is_wanted(self, step: Step) -> bool:
        return self.wanted is None or step.grade_id in self.wanted

    def _until_done(self, steps: list[Step], forbid: tuple[str, ...]) -> None:
        while True:
            left = self.stop_at - time.monotonic()
            if left < 1:
                self.hit.append((-1, f"stopped after {self.limits.total_seconds:g} s"))
                return
            run = Pass(self, self.start(replace(self.limits, total_seconds=left)), forbid)
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
        self.guilty.add(step.index)
        self.hit.append((step.index, words))
        self.keep(step, [error_output(name, words)], again=step.index in self.shown)
