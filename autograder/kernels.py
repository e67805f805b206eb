"""The first engine: a stock Jupyter kernel in a child process per submission, as nbgrader has it.

Several run at a time, each with its limits, a folder of its own that is deleted afterwards, and an
environment that names none of the instructor's files. Nothing that a submission starts survives.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

from autograder.execution import Outcome, Submission, result_key, ungraded
from autograder.limits import Limits
from autograder.notebooks import read_cells
from autograder.processes import kill_marked, kill_tree
from autograder.rebuild import Rebuilt, rebuild
from autograder.records import Flag, Result
from autograder.scoring import score
from autograder.template import Template

__all__ = ["KernelEngine"]

_KILL_GRACE = 30.0
_PASSED_ON = (
    *("PATH", "LANG", "LC_ALL", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("VIRTUAL_ENV", "CONDA_PREFIX", "JUPYTER_PATH", "CUDA_VISIBLE_DEVICES", "COURSE_DATA"),
)


class KernelEngine:
    """Grades in a stock Jupyter kernel, one child process per submission.

    Args:
        files: folder with the files that belong to the lab; copied for every submission.
        cache: folder for what may be shared between submissions (matplotlib's font list).
        threads: arithmetic threads per submission.
    """

    name = "kernel"

    def __init__(self, *, files: Path | None = None, cache: Path, threads: int = 1) -> None:
        self._files = files
        self._cache = cache
        self._threads = threads
        self._running: dict[str, Any] = {}
        self._closed = False
        # A fresh process that has imported the worker forks each child in a few milliseconds.
        # nbclient alone takes seconds to import, and this process has threads, so it cannot fork.
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["autograder.worker"])

    def grade(
        self,
        submission: Submission,
        template: Template,
        limits: Limits,
        *,
        questions: frozenset[str] | None = None,
    ) -> Outcome:
        """See `Engine.grade`. Tests share a kernel here, so all of them run, whatever is asked."""
        started = time.monotonic()
        try:
            cells = read_cells(submission.data)
        except ValueError as error:
            reason = f"the notebook {error}"
            return ungraded(submission, template, self.name, "rejected", reason)
        rebuilt = rebuild(template, cells)
        notebook = rebuilt.notebook()
        with tempfile.TemporaryDirectory(prefix="ag-", ignore_cleanup_errors=True) as folder:
            reply = self._run(rebuilt, notebook, limits, Path(folder))
        flags, hit = [], [_in_words(rebuilt, *pair) for pair in reply.get("hit", [])]
        if "crashed" in reply:
            flags.append(Flag("grader-killed", reply["crashed"]))
            hit.append(reply["crashed"])
        for index, cell in reply.get("cells", {}).items():
            node = notebook.cells[int(index)]
            node.execution_count, node.outputs = cell["count"], _nodes(cell["outputs"])
        judged, odd = score(rebuilt, notebook)
        if reply.get("left_behind"):
            flags.append(Flag("process-left", "a process was still running and was killed"))
        result = Result(
            submission.student,
            submission.name,
            template.lab,
            "graded",
            tuple(judged),
            (*submission.flags, *rebuilt.flags, *flags, *odd),
            tuple(hit),
            engine=self.name,
            key=result_key(submission, template, limits, self.name),
            seconds=round(time.monotonic() - started, 2),
        )
        return Outcome(result, rebuilt, notebook)

    def close(self) -> None:
        """See `Engine.close`."""
        self._closed = True
        for mark in list(self._running):
            self._end(mark)

    def _run(self, rebuilt: Rebuilt, notebook: Any, limits: Limits, folder: Path) -> dict[str, Any]:
        import nbformat

        # Only the fork server needs these; here they would cost seconds at every start.
        from autograder.worker import Order, run_order

        work, reply = folder / "work", folder / "reply.json"
        _lay_out(work, self._files)
        mark = uuid.uuid4().hex
        order = Order(
            nbformat.writes(notebook),
            tuple(i for i, c in enumerate(rebuilt.cells) if c.runs and c.source.strip()),
            frozenset(i for i, c in enumerate(rebuilt.cells) if c.ours and c.ours.is_check),
            work,
            reply,
            mark,
            limits,
            self._threads,
            self._environment(folder),
        )
        if self._closed:
            return {"crashed": "grading was stopped"}
        child = self._context.Process(target=run_order, args=(order,))
        self._running[mark] = child
        child.start()
        child.join(limits.total_seconds + limits.cell_seconds + _KILL_GRACE)
        overran = child.is_alive()
        escaped = self._end(mark)
        if reply.is_file():
            record = json.loads(reply.read_text(encoding="utf-8"))
            return {**record, "left_behind": record["left_behind"] + escaped}
        if overran:
            return {"crashed": f"the whole run was stopped after {limits.total_seconds:g} s"}
        return {"crashed": f"the grading process ended early ({child.exitcode})"}

    def _end(self, mark: str) -> int:
        """Kill what is left of a child; returns how many had escaped from its tree."""
        child = self._running.pop(mark, None)
        if child is None:
            return 0
        if child.pid and child.is_alive():
            kill_tree(child.pid)
            child.join(10)
        return kill_marked(mark)

    def _environment(self, folder: Path) -> dict[str, str]:
        """Only what a notebook needs; nothing that names the instructor's files."""
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        threads = str(self._threads)
        self._cache.mkdir(parents=True, exist_ok=True)
        return {
            "LANG": "C.UTF-8",
            **passed,
            "HOME": str(folder / "work"),
            "TMPDIR": str(_made(folder / "tmp")),
            "IPYTHONDIR": str(_made(folder / "ipython")),
            "MPLCONFIGDIR": str(self._cache),
            "NBGRADER_EXECUTION": "autograde",
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "PYTHONHASHSEED": "0",
        }


def _in_words(rebuilt: Rebuilt, index: int, words: str) -> str:
    """A limit that was hit, and where.

    The place is an exercise where the cell is ours, as students and instructors number them so.
    """
    if index < 0:
        return f"the whole notebook: {words}"
    ours = rebuilt.cells[index].ours
    if ours is None:
        return f"a cell that the student added: {words}"
    what = "exercise" if ours.grade_id else "cell"
    return f"{what} {rebuilt.template.exercise_of(ours) or ours.id}: {words}"


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _lay_out(work: Path, files: Path | None) -> None:
    work.mkdir(parents=True)
    if files is None or not files.is_dir():
        return
    for path in files.iterdir():
        if path.suffix == ".ipynb" or path.name.startswith("."):
            continue
        if path.is_dir():
            shutil.copytree(path, work / path.name)
        else:
            shutil.copy2(path, work / path.name)


def _nodes(outputs: list[dict[str, Any]]) -> list[Any]:
    import nbformat

    return [nbformat.from_dict(output) for output in outputs]
