"""The same jobs on many machines: any dask.distributed cluster whose workers have this package.

The client, which is the `autograder grade` that somebody started, keeps everything that must not be
lost: it sends notebooks, takes back results as bytes and writes them. A worker holds an engine and
nothing else, so one that dies costs the jobs it had at work, which dask gives to another.
"""

from __future__ import annotations

import atexit
import hashlib
import logging
import multiprocessing
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.errors import AutograderError
from autograder.execution import Engine
from autograder.limits import Limits
from autograder.schedule.engines import Recipe, files_beside, label_of, make_engine
from autograder.schedule.jobs import Done, Job, grade_job
from autograder.schedule.keys import environment
from autograder.template import Template

__all__ = ["ClusterPool", "connect"]

_ANSWER = 10.0  # seconds that a scheduler may take to answer
_WORKERS = 60.0  # seconds that the first worker may take to come


@dataclass(frozen=True)
class Setup:
    """What a worker makes its engine from.

    Attributes:
        files: path → content of what lies beside the lab.
        digest: the same for the same recipe and files.
    """

    recipe: Recipe
    files: dict[str, bytes]
    digest: str


def connect(address: str, recipe: Recipe, files: Path, *, most: int | None = None) -> ClusterPool:
    """Connect to a cluster and see that it can do the work.

    Args:
        address: of the scheduler, tcp://host:8786, or the scheduler file that it wrote.
        files: folder with the files that lie beside the lab.
        most: submissions at a time, the workers' threads by default.

    Raises:
        AutograderError: dask is not installed, no scheduler answers, it has no workers, or they
            have other versions of what computes.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise AutograderError(
            "grading on a cluster needs dask: pip install 'segmentation-course[cluster]'"
        ) from error
    # A lost connection is told in one line, by us; dask would print a traceback above it.
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    where: Any = {"scheduler_file": address} if address.endswith(".json") else {"address": address}
    if "scheduler_file" in where and not Path(address).is_file():
        raise AutograderError(f"no scheduler file {address}: has `dask scheduler` been started?")
    try:
        client = Client(**where, timeout=_ANSWER, set_as_default=False, name="autograder")
    except (OSError, TimeoutError, ValueError) as error:
        raise AutograderError(
            f"no dask scheduler answers at {address}: start one with `dask scheduler`, or leave "
            "--cluster out to grade on this machine. Nothing was changed"
        ) from error
    beside = files_beside(files)
    text = repr((recipe, sorted((n, hashlib.sha256(d).hexdigest()) for n, d in beside.items())))
    setup = Setup(recipe, beside, hashlib.sha256(text.encode()).hexdigest())
    try:
        return ClusterPool(client, address, setup, most=most)
    except BaseException:
        client.close()
        raise


class ClusterPool:
    """The workers of a cluster; see `connect`."""

    def __init__(self, client: Any, address: str, setup: Setup, *, most: int | None = None) -> None:
        self._client = client
        self._address = address
        self._setup = setup
        self._most = most
        self._wait_for_workers()
        self.label = self._agreed_label()
        self.size = self._room()

    def run(
        self,
        jobs: Sequence[Job],
        template: Template,
        limits: Limits,
        *,
        stopped: Callable[[], bool] = lambda: False,
        started: Callable[[Job], None] = lambda job: None,
    ) -> Generator[Done, None, None]:
        """See `Pool.run`. Workers that come later are used, those that go are done without."""
        from distributed import as_completed

        if not jobs:
            return
        # A task and no plain data: where every machine that holds it dies, it is made again.
        with self._connected():
            common = self._client.submit(_Common, self._setup, template, limits, pure=False)
        running: dict[Any, Job] = {}
        left = list(reversed(jobs))

        def feed(queue: Any) -> None:
            while left and not stopped() and len(running) < self._room():
                job = left.pop()
                key = f"autograder-{job.keys.whole}-{time.time_ns()}"
                with self._connected():
                    future = self._client.submit(_work, common, job, key=key, pure=False)
                running[future] = job
                started(job)
                queue.add(future)

        queue = as_completed(loop=self._client.loop)
        try:
            feed(queue)
            while running:
                future = next(queue)
                job = running.pop(future)
                yield self._result(future, job)
                feed(queue)
        finally:
            self._client.cancel(list(running), force=True)

    def close(self) -> None:
        """See `Pool.close`."""
        self._client.close()

    @contextmanager
    def _connected(self) -> Generator[None, None, None]:
        """Around each question to the scheduler, which may go away before, in or after any."""
        try:
            yield
        except (CancelledError, OSError) as error:
            raise AutograderError(
                f"the cluster at {self._address} went away. What was recorded stays; the same "
                "command goes on"
            ) from error

    def _result(self, future: Any, job: Job) -> Done:
        from distributed import KilledWorker

        with self._connected():
            error = future.exception()  # the job's own error, or that it was given up
            if isinstance(error, CancelledError):
                raise error
            if error is None:
                return Done(job, future.result())
        if isinstance(error, KilledWorker):
            return Done(job, error="one worker after another died while it graded this")
        return Done(job, error=f"{type(error).__name__}: {error}")

    def _room(self) -> int:
        """Submissions at a time: as many as the workers that are there now have threads."""
        with self._connected():
            threads = sum(self._client.nthreads().values())
        return max(1, min(threads, self._most or threads))

    def _wait_for_workers(self) -> None:
        with self._connected():
            try:
                self._client.wait_for_workers(1, timeout=_WORKERS)
            except TimeoutError as error:
                raise AutograderError(
                    f"the scheduler at {self._address} has no workers: start some with "
                    f"`dask worker {self._address} --nthreads 1`. Nothing was changed"
                ) from error

    def _agreed_label(self) -> str:
        """The engine's name and level, which must be one everywhere, as must what computes."""
        ours = environment()
        with self._connected():
            answers = self._client.run(_introduce, self._setup, on_error="return")
        labels = set()
        for worker, answer in sorted(answers.items()):
            if isinstance(answer, BaseException):
                ours_to_say = isinstance(answer, AutograderError)
                reason = str(answer) if ours_to_say else f"{type(answer).__name__}: {answer}"
                if isinstance(answer, ModuleNotFoundError):
                    reason = "this package is not installed there"
                raise AutograderError(f"the worker at {worker} cannot grade: {reason}")
            label, theirs = answer
            labels.add(label)
            other = [
                f"{k} {theirs.get(k)}, here {v}" for k, v in ours.items() if theirs.get(k) != v
            ]
            if other:
                raise AutograderError(
                    f"the worker at {worker} would give other results: it has {other[0]}. "
                    "Install the same environment there"
                )
        if len(labels) != 1:
            raise AutograderError(
                f"the workers lock students in differently ({', '.join(sorted(labels))}): ask for "
                "one level with --sandbox"
            )
        return labels.pop()


class _Common:
    """What all jobs of a run share, on the worker."""

    def __init__(self, setup: Setup, template: Template, limits: Limits) -> None:
        self.setup, self.template, self.limits = setup, template, limits


_ENGINES: dict[str, Engine] = {}
_LOCK = threading.Lock()


def _engine(setup: Setup) -> Engine:
    """This worker's engine: made once, with the lab's files in a folder of its own."""
    with _LOCK:
        if setup.digest not in _ENGINES:
            for old in list(_ENGINES):
                _ENGINES.pop(old).close()
            folder = Path(tempfile.mkdtemp(prefix="autograder-worker-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            for name, data in setup.files.items():
                path = folder / "files" / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
            (folder / "files").mkdir(exist_ok=True)
            engine = make_engine(setup.recipe, folder / "files", folder / "cache")
            atexit.register(engine.close)
            _ENGINES[setup.digest] = engine
        return _ENGINES[setup.digest]


def _introduce(setup: Setup) -> tuple[str, dict[str, str]]:
    """On a worker: the engine that it has, and what computes there.

    Raises:
        AutograderError: it cannot have this engine.
    """
    if setup.recipe.engine == "kernel" and multiprocessing.current_process().daemon:
        raise AutograderError(
            "dask's nanny forbids it to start processes, which the kernel engine must; start it "
            "with DASK_DISTRIBUTED__WORKER__DAEMON=False or --no-nanny"
        )
    return label_of(_engine(setup)), environment()


def _work(common: _Common, job: Job) -> bytes:
    """On a worker: judge one submission."""
    return grade_job(_engine(common.setup), job, common.template, common.limits)
