"""Execute solutions with papermill, several at once, and keep the result until something changes.

An execution is reused when its key is the same: a hash of the expanded notebook, the files beside
it, the whole library `course` and the versions of what computes and draws. Each notebook runs in a
folder of its own with one thread per kernel, so that its numbers do not depend on its neighbours.
"""

from __future__ import annotations

import ast
import hashlib
import json
import multiprocessing
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat

from autograder.errors import AutograderError
from autograder.executed import first_error, lost_points
from autograder.expand import expand
from autograder.layout import Layout
from autograder.source import Lab, read_lab

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_COMPUTES = ("torch", "torchvision", "numpy", "scipy", "scikit-image", "matplotlib", "ipykernel")
# papermill writes this into a cell's metadata when the cell is done.
_DONE = re.compile(r'"status": "completed"')
_UNSAFE = re.compile(r"[^\w.=-]")


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
    jobs: int | None = None,
    reuse: bool = True,
    timeout: float = 900,
    watch: Watch = lambda name, done, total: None,
) -> list[Execution]:
    """Run the solutions of some labs and write them to executed/.

    Args:
        parameters: values for the cell tagged `parameters`; such runs have files of their own.
        jobs: notebooks at a time; by default one per processor core.
        reuse: take an earlier execution where nothing has changed since.
        timeout: seconds that one cell may take.
        watch: told about progress from this process.

    Returns:
        One entry per name, in the same order.

    Raises:
        AutograderError: a parameter has no place in a lab.
    """
    plans = [_plan(layout, name, parameters or {}) for name in names]
    done = {p.lab.name: p.earlier() for p in plans if reuse}
    waiting = [p for p in plans if done.get(p.lab.name) is None]
    if waiting:
        done.update(_run(waiting, jobs or os.cpu_count() or 1, timeout, watch))
    return [execution for p in plans if (execution := done[p.lab.name])]


@dataclass(frozen=True)
class _Plan:
    """What to run, where the result goes, and the key under which it may be reused."""

    lab: Lab
    text: str
    files: Path
    target: Path
    parameters: dict[str, Any]
    key: str

    @property
    def cells(self) -> int:
        return len(self.lab.cells)

    def earlier(self) -> Execution | None:
        try:
            stamp = json.loads(self.target.read_text(encoding="utf-8"))["metadata"]["autograder"]
        except (OSError, ValueError, KeyError):
            return None
        if stamp.get("key") != self.key:
            return None
        return Execution(self.lab.name, self.target, stamp["seconds"], reused=True)


def _plan(layout: Layout, name: str, parameters: Mapping[str, Any]) -> _Plan:
    lab = read_lab(layout.source(name))
    known = parameter_names(lab)
    for unknown in [key for key in parameters if key not in known]:
        raise AutograderError(
            f"{name} has no parameter {unknown!r}; it has {', '.join(known) or 'none'}", code=2
        )
    text = nbformat.writes(expand(lab)) + "\n"
    suffix = "".join(f"-{key}={value}" for key, value in sorted(parameters.items()))
    target = layout.executed / f"{name}{re.sub(_UNSAFE, '_', suffix)}.ipynb"
    key = _key(text, layout.files(name), parameters)
    return _Plan(lab, text, layout.files(name), target, dict(parameters), key)


def parameter_names(lab: Lab) -> list[str]:
    """Names assigned in the cells tagged `parameters`."""
    cells = [cell for cell in lab.cells if "parameters" in cell.metadata.get("tags", [])]
    nodes = [node for cell in cells for node in ast.parse(cell.source).body]
    targets = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _key(text: str, files: Path, parameters: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(text.encode())
    digest.update(json.dumps(parameters, sort_keys=True, default=repr).encode())
    digest.update(f"{sys.version_info[:2]}".encode())
    for package in _COMPUTES:
        try:
            digest.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:
            digest.update(f"no {package}".encode())
    for folder, pattern in ((library_folder(), "*.py"), (files, "*")):
        for path in sorted(p for p in folder.rglob(pattern) if p.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def library_folder() -> Path:
    """Where `course` is installed; a change there makes every execution stale."""
    spec = find_spec("course")
    return Path((spec.submodule_search_locations or [""])[0]) if spec else Path()


def _run(plans: list[_Plan], jobs: int, timeout: float, watch: Watch) -> dict[str, Execution]:
    """Run the plans in a pool; a notebook on disk shows how far its kernel has come."""
    results: dict[str, Execution] = {}
    spawn = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="autograder-run-") as temporary,
        ProcessPoolExecutor(min(jobs, len(plans)), mp_context=spawn) as pool,
    ):
        running: dict[Future[tuple[str, float]], tuple[_Plan, Path]] = {}
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
            execution_timeout=timeout,
        )
    except Exception as problem:
        error = f"{type(problem).__name__}: {problem}"
    return error, time.monotonic() - start


def _cells_done(path: Path) -> int:
    try:
        return len(_DONE.findall(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return 0


def _keep(plan: _Plan, output: Path, error: str, seconds: float) -> Execution:
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
