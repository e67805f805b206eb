"""Outside the box: run the text of one check cell, with the student's names behind a wire.

This process is forked for one submission and ends with it. The student's code never enters it; the
tests, the reference answers they use and the points they give never leave it.
"""

from __future__ import annotations

import ast
import contextlib
import os
import signal
import sys
import traceback
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, NoReturn

import torch

from autograder.judge.asking import Broken, Snapshot
from autograder.judge.job import Job
from autograder.judge.names import Names
from autograder.judge.seeds import seed_all
from autograder.judge.shell import CellShell, TimeLimit
from autograder.judge.talk import Diverged, Replayed
from autograder.judge.wire import Channel
from course.checks import exercise
from course.checks.forbid import Violation

__all__ = ["Verdict", "run_check"]


@dataclass
class Verdict:
    """What a check cell showed, as notebook outputs, and what was odd: `[code, sentence]`.

    Attributes:
        whole: the check came to its end by itself, and everything that it asked was answered.
    """

    outputs: list[dict[str, Any]] = field(default_factory=list)
    flags: list[list[str]] = field(default_factory=list)
    whole: bool = False


class _Guard:
    """Takes the place of `course.checks.forbid.Guard`: the box refuses, this one only reports."""

    def __init__(self, snapshot: Snapshot, forbid: tuple[str, ...], verdict: Verdict) -> None:
        self._snapshot, self._known, self._verdict = snapshot, set(forbid), verdict
        self.violations: list[Violation] = []

    def __call__(self, names: Any, namespace: Any, own_file: str) -> _Guard:
        if unknown := set(names) - self._known:
            raise ValueError(
                f"forbid= must be a list of texts in the call: {sorted(unknown)} is not"
            )
        return _Guard(self._snapshot, tuple(self._known), self._verdict)

    def __enter__(self) -> _Guard:
        return self

    def __exit__(self, *_: object) -> None:
        self.violations, self._snapshot.forbidden = self._snapshot.forbidden, []
        for call in self.violations:
            flag = ["forbidden-call", f"`{call.name}` was called although the exercise forbids it"]
            if flag not in self._verdict.flags:
                self._verdict.flags.append(flag)


def run_check(job: Job, channel: Channel | Replayed) -> Verdict:
    """Run a check cell; whatever the other side does, this returns.

    Args:
        channel: to the snapshot that has the student's names, or what it said before.
    """
    verdict = Verdict()
    seeds = any("seed" in text for text in (job.text, *job.before))
    snapshot = Snapshot(channel, seeds=seeds)
    names = Names(snapshot, frozenset(job.theirs))
    shell = CellShell.make()
    shell.user_ns, shell.execution_count = names, job.count
    exercise.Guard = _Guard(snapshot, job.forbid, verdict)  # type: ignore[assignment]
    seed_all()
    torch.set_grad_enabled(True)
    if job.folder:
        os.chdir(job.folder)
    signal.signal(signal.SIGALRM, _ring)
    signal.setitimer(signal.ITIMER_REAL, job.seconds, 1.0)  # again, where the first is lost
    with shell.capturing(job.most_bytes) as capture:
        try:
            for source in job.before:
                with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
                    exec(compile(shell.transform_cell(source), "<lab>", "exec"), names)
            seed_all()
            _run(job.text, names, shell)
            verdict.whole = True
        except Broken as problem:
            capture.error(problem.name, str(problem), [])
            if problem.name == "BadReply":
                verdict.flags.append(["protocol-broken", f"an answer was no data: {problem}"])
        except Diverged:
            pass
        except BaseException as problem:
            verdict.whole = not isinstance(problem, TimeLimit)
            # Without its traceback: that would quote the test.
            capture.error(type(problem).__name__, _text(problem), [])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    if isinstance(channel, Replayed) and channel.diverged:
        verdict.whole = False
    verdict.outputs = capture.outputs
    return verdict


def _run(text: str, names: Names, shell: CellShell) -> None:
    """As a notebook does: the value of a last expression is the cell's result."""
    tree = ast.parse(shell.transform_cell(text))
    last = tree.body[-1] if tree.body else None
    if not isinstance(last, ast.Expr):
        exec(compile(tree, "<check>", "exec"), names)
        return
    exec(compile(ast.Module(tree.body[:-1], []), "<check>", "exec"), names)
    value = eval(compile(ast.Expression(last.value), "<check>", "eval"), names)
    shell.displayhook(value)


def _ring(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeLimit("the check was stopped")


def _text(problem: BaseException) -> str:
    try:
        return str(problem)
    except Exception:
        return traceback.format_exception_only(type(problem), None)[0]


if sys.flags.optimize:  # pragma: no cover - `python -O` would drop every assert of a lab
    raise ImportError("checks need their asserts: run the grader without -O")
