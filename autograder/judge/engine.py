"""The engine that the commands use: students' code in boxes, their tests outside.

A fork server has everything imported and forks a confined process per submission; a second one,
which no student's code ever enters, forks a process per check.
"""

from __future__ import annotations

import ast
import threading
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.errors import AutograderError
from autograder.execution import Outcome, Submission, result_key, ungraded
from autograder.judge.bench import Bench
from autograder.judge.drive import Drive
from autograder.judge.program import Program, make_program
from autograder.limits import Limits
from autograder.notebooks import read_cells
from autograder.rebuild import Rebuilt, rebuild
from autograder.records import Flag, Question, Result
from autograder.scoring import score
from autograder.syntax import parse
from autograder.template import Template

if TYPE_CHECKING:
    from autograder.sandbox import ForkServer, Worker

__all__ = ["SandboxEngine", "imports_of"]

_TARGET = "autograder.judge.worker:main"
_IN_THE_BOX = ("torch", "numpy", "matplotlib.pyplot", "matplotlib_inline.backend_inline")
_READY = ("autograder.judge.worker", "course.checks", "autograder.judge.ready")


class SandboxEngine:
    """Grades in boxes; see `autograder.sandbox` for what confines them.

    Args:
        level: rung of the sandbox's ladder; None for the best that this machine has.
        files: folder with the files that belong to the lab.
        cache: folder for what may be kept between runs.
        jobs: how many submissions are graded at a time.
        server: a fork server to use instead of an own one.

    Attributes:
        level: the rung as a word, such as "L3", once it is known.

    Raises:
        AutograderError: by `grade`, where no box can be made here.
    """

    name = "sandbox"
    level = ""

    def __init__(
        self,
        *,
        level: int | None = None,
        files: Path | None = None,
        cache: Path,
        jobs: int = 1,
        server: ForkServer | None = None,
    ) -> None:
        self.level = f"L{level}" if level else ""
        self._level, self._files, self._cache, self._jobs = level, files, cache, jobs
        self._server, self._bench = server, None
        self._lock = threading.Lock()
        self._closed = False

    def grade(
        self,
        submission: Submission,
        template: Template,
        limits: Limits,
        *,
        questions: frozenset[str] | None = None,
        talks: Mapping[str, bytes] | None = None,
    ) -> Outcome:
        """See `Engine.grade`.

        Args:
            talks: what an earlier outcome of this submission has as `talks`.
        """
        started = time.monotonic()
        try:
            cells = read_cells(submission.data)
        except ValueError as error:
            reason = f"the notebook {error}"
            return ungraded(submission, template, self.name, "rejected", reason)
        rebuilt = rebuild(template, cells)
        notebook = rebuilt.notebook()
        program = make_program(rebuilt)
        bench = self._bench_for(template)
        files = "" if self._files is None else str(self._files)

        def start(limits: Limits) -> Worker:
            server = self._box_for(template)
            bench.wait()  # before any limit begins to count
            return server.start(_TARGET, limits=limits)

        drive = Drive(
            program,
            limits,
            start,
            bench.session,
            questions,
            files,
            talks or {},
        )
        drive.run()
        for index, shown in drive.shown.items():
            node = notebook.cells[index]
            node.execution_count, node.outputs = shown["count"], _nodes(shown["outputs"])
        judged, odd = score(rebuilt, notebook)
        flags = [Flag(code, text, _cell(rebuilt, index)) for index, code, text in drive.flags]
        if drive.left_behind:
            flags.append(Flag("process-left", "a process was still running and was killed"))
        result = Result(
            submission.student,
            submission.name,
            template.lab,
            "graded",
            tuple(_only(judged, program, questions)),
            (*submission.flags, *rebuilt.flags, *flags, *odd),
            tuple(_in_words(rebuilt, *pair) for pair in drive.hit),
            engine=self.name,
            key=result_key(submission, template, limits, self.name),
            seconds=round(time.monotonic() - started, 2),
        )
        return Outcome(result, rebuilt, notebook, drive.talks)

    def close(self) -> None:
        """See `Engine.close`."""
        with self._lock:
            self._closed = True
            for server in (self._server, self._bench):
                if server is not None:
                    server.close()

    def _bench_for(self, template: Template) -> Bench:
        """The server for checks; it imports while the box does."""
        with self._lock:
            if self._closed:
                raise AutograderError("grading was stopped")
            if self._bench is None:
                self._bench = Bench(preload=imports_of(template), cache=self._cache)
            return self._bench

    def _box_for(self, template: Template) -> ForkServer:
        """The server for students' code, made when the first of it must run."""
        from autograder.sandbox import ForkServer

        with self._lock:
            if self._closed:
                raise AutograderError("grading was stopped")
            if self._server is None:
                self._server = ForkServer(
                    level=self._level,
                    files=self._files,
                    cache=self._cache,
                    preload=(*_IN_THE_BOX, *imports_of(template), *_READY),
                    slots=2 * self._jobs,
                )
                self.level = f"L{self._server.level}"
            return self._server


def imports_of(template: Template) -> tuple[str, ...]:
    """Modules that our own cells import, so that they can be imported before the first fork."""
    names: dict[str, None] = {}
    for cell in template.cells:
        tree = parse(cell.source) if cell.kind == "code" and not cell.is_answer else None
        for node in tree.body if tree else ():
            if isinstance(node, ast.Import):
                names |= dict.fromkeys(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names[node.module] = None
                if node.module == "course":
                    names |= {f"course.{alias.name}": None for alias in node.names}
    return tuple(name for name in names if find_spec(name.partition(".")[0]))


def _only(
    judged: list[Question], program: Program, questions: frozenset[str] | None
) -> list[Question]:
    """Leave out the checks that were not asked for; written answers cost nothing and stay."""
    checks = {step.grade_id for step in program.steps if step.check}
    return [q for q in judged if questions is None or q.cell in questions or q.cell not in checks]


def _cell(rebuilt: Rebuilt, index: int) -> str:
    ours = rebuilt.cells[index].ours if index >= 0 else None
    return ours.grade_id if ours else ""


def _in_words(rebuilt: Rebuilt, index: int, words: str) -> str:
    """A limit that was hit, and where, as students and instructors name the place."""
    if index < 0:
        return f"the whole notebook: {words}"
    ours = rebuilt.cells[index].ours
    if ours is None:
        return f"a cell that the student added: {words}"
    what = "exercise" if ours.grade_id else "cell"
    return f"{what} {rebuilt.template.exercise_of(ours) or ours.id}: {words}"


def _nodes(outputs: list[dict[str, Any]]) -> list[Any]:
    import nbformat

    return [nbformat.from_dict(output) for output in outputs]
