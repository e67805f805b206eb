"""One piece of work, and the pool of this machine that does many."""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from autograder.errors import AutograderError
from autograder.execution import Engine, Submission
from autograder.limits import Limits
from autograder.schedule.engines import label_of
from autograder.schedule.keys import Keys
from autograder.schedule.merge import only_cells
from autograder.schedule.store import in_bytes
from autograder.template import Template

__all__ = ["Done", "Job", "LocalPool", "Pool", "grade_job", "is_full"]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)


@dataclass(frozen=True)
class Job:
    """One submission to judge.

    Attributes:
        questions: grade ids of the test cells to judge, None for all.
        talks: grade id → what the student's code answered when it was judged before.
    """

    submission: Submission
    keys: Keys
    questions: frozenset[str] | None = None
    talks: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Done:
    """A job that came back.

    Attributes:
        data: the result, see `autograder.schedule.store.in_bytes`; b"" where `error` says why not.
    """

    job: Job
    data: bytes = b""
    error: str = ""


class Pool(Protocol):
    """Where jobs are done.

    Attributes:
        size: submissions at a time.
        label: name and level of its engine, see `autograder.schedule.engines.label_of`.
    """

    size: int
    label: str

    def run(
        self,
        jobs: Sequence[Job],
        template: Template,
        limits: Limits,
        *,
        stopped: Callable[[], bool],
        started: Callable[[Job], None],
    ) -> Generator[Done, None, None]:
        """Do the jobs and yield each once, as they end; after `stopped()`, begin no other.

        Raises:
            AutograderError: the pool itself has failed; what was not yielded is not done.
        """
        ...

    def close(self) -> None:
        """End what still runs, and give back what was held."""
        ...


def grade_job(engine: Engine, job: Job, template: Template, limits: Limits) -> bytes:
    """Judge one submission in this process, and return what is stored of it.

    The record is stamped with the engine's level, so that nobody takes one for another later.
    """
    nameless = replace(job.submission, flags=())
    if job.questions is None:
        outcome = engine.grade(nameless, template, limits)
    else:
        known: dict[str, Any] = {"talks": job.talks} if job.talks else {}
        outcome = engine.grade(nameless, template, limits, questions=job.questions, **known)
    stamped = replace(outcome.result, engine=label_of(engine))
    if job.questions is not None and outcome.notebook is not None:
        outcome = replace(outcome, notebook=only_cells(outcome.notebook, job.questions))
    return in_bytes(job.keys, replace(outcome, result=stamped))


def is_full(error: BaseException | None) -> bool:
    """Whether a failure comes from a disk that takes no more."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


class LocalPool:
    """Threads of this process, each of which waits for the engine.

    Args:
        size: submissions at a time.
    """

    def __init__(self, engine: Engine, size: int) -> None:
        if size < 1:
            raise ValueError(f"jobs must be positive, got {size}")
        self.size = size
        self.label = label_of(engine)
        self._engine = engine

    def run(
        self,
        jobs: Sequence[Job],
        template: Template,
        limits: Limits,
        *,
        stopped: Callable[[], bool] = lambda: False,
        started: Callable[[Job], None] = lambda job: None,
    ) -> Generator[Done, None, None]:
        """See `Pool.run`."""

        def work(job: Job) -> bytes:
            started(job)
            return grade_job(self._engine, job, template, limits)

        threads = ThreadPoolExecutor(self.size, thread_name_prefix="grading")
        left, running = list(reversed(jobs)), dict[Future[bytes], Job]()
        try:
            while left or running:
                # No job waits inside the pool: one that has not begun can still be left undone.
                while left and len(running) < self.size and not stopped():
                    job = left.pop()
                    running[threads.submit(work, job)] = job
                if not running:
                    return
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield _done(running.pop(future), future)
        finally:
            if running:
                # We leave in the middle: what still runs would be lost, so it need not end.
                self.close()
            threads.shutdown(wait=True, cancel_futures=True)

    def close(self) -> None:
        """See `Pool.close`."""
        self._engine.close()


def _done(job: Job, future: Future[bytes]) -> Done:
    error = future.exception()
    if error is None:
        return Done(job, future.result())
    if is_full(error):
        raise AutograderError(f"the disk is full or takes no more: {error}") from error
    # Our own defect must not cost the rest of the class its grades.
    return Done(job, error=f"{type(error).__name__}: {error}")
