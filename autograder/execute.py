"""Execute solutions with papermill, several at once, and keep the result until something changes.

Each notebook runs in a folder of its own with one thread per kernel, so that its numbers do not
depend on its neighbours. `autograder.plan` says what runs and when an earlier run is good enough.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat

from autograder.executed import first_error, lost_points
from autograder.layout import Layout
from autograder.plan import Plan, make_plan

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
# papermill writes this into a cell's metadata when the cell is done.
_DONE = re.compile(r'"status": "completed"')


@dataclass(frozen=True)
class Execution:
    """One executed lab.

    Attributes:
        lab: its name.
        path: the executed notebook, also after a failure.
        seconds: wall time of the run, the original one where it was reused.
        error: what failed and where, in a few lines, or "".
        reused: whether an earlier run was good enough.
    """

    lab: str
    path: Path
    seconds: float
    error: str = ""
    reused: bool = False


Watch = Callable[[str, int, int], None]
"""Called with a lab's name, the cells done and the cells in all."""


def execute_labs(
    layout: Layout,
    names: Iterable[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    experiments: bool = True,
    jobs: int | None = None,
    reuse: bool = True,
    timeout: float = 900,
    watch: Watch = lambda name, done, total: None,
) -> list[Execution]:
    """Run the solutions of some labs and write them to executed/.

    Args:
        parameters: values for the cell tagged `parameters`; such runs have files of their own.
        experiments: also run the experiments of a whole lab, which often train for a while; without
            them, a complete earlier run is as good.
        jobs: notebooks at a time; by default one per processor core.
        reuse: take an earlier execution where nothing has changed since.
        timeout: seconds that one cell may take.
        watch: told about progress from this process.

    Returns:
        One entry per name, in the same order.

    Raises:
        AutograderError: a parameter has no place in a lab.
    """
    plans = [make_plan(layout, name, parameters, experiments=experiments) for name in names]
    done = {p.lab.name: _earlier(p) for p in plans if reuse}
    waiting = [p for p in plans if done.get(p.lab.name) is None]
    if waiting:
        done.update(_run(waiting, jobs or os.cpu_count() or 1, timeout, watch))
    return [execution for p in plans if (execution := done[p.lab.name])]


def _earlier(plan: Plan) -> Execution | None:
    found = plan.earlier()
    return found and Execution(plan.lab.name, *found, reused=True)


def _run(plans: list[Plan], jobs: int, timeout: float, watch: Watch) -> dict[str, Execution]:
    """Run the plans in a pool; a notebook on disk shows how far its kernel has come."""
    results: dict[str, Execution] = {}
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="autograder-run-") as temporary,
        ProcessPoolExecutor(min(jobs, len(plans)), mp_context=spawn) as pool,
    ):
        running: dict[Future[tuple[str, float]], tuple[Plan, Path]] = {}
        for plan in plans:
            folder = Path(temporary) / plan.lab.name
            if plan.files.is_dir():
                shutil.copytree(plan.files, folder / "work")
            (folder / "work").mkdir(parents=True, exist_ok=True)
            (folder / "in.ipynb").write_text(plan.text, encoding="utf-8")
            future = pool.submit(_papermill, str(folder), plan.parameters, timeout)
            running[future] = (plan, folder / "out.ipynb")
        while running:
            finished, _ = wait(running, timeout=0.5)
            for future, (plan, output) in list(running.items()):
                watch(plan.lab.name, _cells_done(output), plan.cells)
                if future in finished:
                    del running[future]
                    try:
                        error, seconds = future.result()
                    except BrokenExecutor:
                        error, seconds = "its process was killed: is memory short?", 0.0
                    results[plan.lab.name] = _keep(plan, output, error, seconds)
    return results


def _papermill(folder: str, parameters: dict[str, Any], timeout: float) -> tuple[str, float]:
    """In a process of its own, because papermill changes the working folder."""
    # The kernel inherits the error stream; its start-up chatter would tear the progress bars.
    with open(f"{folder}/stderr.txt", "wb") as stderr:
        os.dup2(stderr.fileno(), 2)
    import papermill

    os.environ.update(dict.fromkeys(_THREADS, "1"), IPYTHONDIR=f"{folder}/ipython")
    # A student's notebook draws inline; a backend chosen for this process must not change that.
    os.environ.pop("MPLBACKEND", None)
    start, error = time.monotonic(), ""
    try:
        papermill.execute_notebook(
            f"{folder}/in.ipynb",
            f"{folder}/out.ipynb",
            parameters=parameters,
            kernel_name="python3",
            progress_bar=False,
            cwd=f"{folder}/work",
            execution_timeout=max(1, round(timeout)),  # older clients take whole seconds only
        )
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    return error, time.monotonic() - start


def _cells_done(path: Path) -> int:
    try:
        return len(_DONE.findall(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return 0


def _keep(plan: Plan, output: Path, error: str, seconds: float) -> Execution:
    """Put the executed notebook in its place; only one that may be reused carries the key."""
    if not output.exists():
        return Execution(plan.lab.name, plan.target, seconds, error or "nothing was executed")
    notebook = nbformat.read(output, as_version=4)
    error = first_error(notebook, plan.lab) or error or lost_points(notebook, plan.lab)
    stamp = {"seconds": round(seconds, 2)} | ({} if error else {"key": plan.key})
    notebook.metadata["autograder"] = stamp
    plan.target.parent.mkdir(parents=True, exist_ok=True)
    temporary = plan.target.with_suffix(".part")
    nbformat.write(notebook, temporary)
    os.replace(temporary, plan.target)
    return Execution(plan.lab.name, plan.target, seconds, error)
