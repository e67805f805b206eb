"""A class being graded, as the person at the keyboard sees it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from autograder.classroom import Classroom
    from autograder.execution import Outcome
    from autograder.limits import Limits
    from autograder.schedule.engines import Recipe
    from autograder.schedule.jobs import Pool
    from autograder.template import Template

__all__ = ["run_grading"]

_EVERY = 30.0  # seconds between two lines where there is no terminal to draw a bar on


def run_grading(
    console: Console,
    classroom: Classroom,
    template: Template,
    limits: Limits,
    recipe: Recipe,
    *,
    jobs: int | None = None,
    only: str = "",
    again: bool = False,
    cluster: str = "",
) -> None:
    """Grade what is new or changed, with a bar, the time that is left, and an orderly Ctrl-C.

    Args:
        only: one student's id or name, "" for all.
        again: judge what is unchanged, too.
        cluster: address of a dask scheduler, "" for this machine.

    Raises:
        AutograderError: see `autograder.grading.grade_in` and `to_grade`.
    """
    from autograder.grading import grade_in, to_grade
    from autograder.schedule.stopping import Stopping

    pool = _pool(classroom, template.lab, recipe, jobs, cluster)
    try:
        submissions, unchanged = to_grade(
            classroom, template.lab, template, limits, engine=pool.label, only=only, again=again
        )
        if unchanged:
            console.print(f"{unchanged} unchanged since they were graded (--again grades them too)")
        if not submissions:
            return
        with _Bar(console, len(submissions)) as bar, Stopping(bar.stopping) as stopping:
            grade_in(
                pool,
                classroom,
                template,
                submissions,
                limits,
                watch=bar.advance,
                stopping=stopping,
                again=again,
            )
    finally:
        pool.close()


def _pool(classroom: Classroom, lab: str, recipe: Recipe, jobs: int | None, cluster: str) -> Pool:
    from autograder.grading import engine_for
    from autograder.schedule.engines import default_jobs
    from autograder.schedule.jobs import LocalPool

    if cluster:
        from autograder.schedule.cluster import connect

        return connect(cluster, recipe, classroom.release(lab).parent, most=jobs)
    size = jobs or default_jobs()
    here = replace(recipe, jobs=size, threads=max(1, default_jobs() // size))
    return LocalPool(engine_for(classroom, lab, here), size)


class _Bar:
    """A progress bar on a terminal, a line now and then in a file."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._done = 0
        self._first = self._told = time.monotonic()
        self._progress = Progress(
            TextColumn("grading"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("[dim]{task.fields[last]}"),
            console=console,
        )
        self._task: TaskID = self._progress.add_task("grading", total=total, last="")

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def advance(self, outcome: Outcome) -> None:
        """One more is in the gradebook."""
        self._done += 1
        self._progress.update(self._task, advance=1, last=escape(outcome.result.name))
        now = time.monotonic()
        if self._done == 1:
            self._first = now  # what came before it was start-up and the two witnesses
        elif not self._console.is_terminal and now - self._told > _EVERY:
            left = (now - self._first) / (self._done - 1) * (self._total - self._done)
            self._told = now
            self._console.print(f"graded {self._done} of {self._total}, about {_spell(left)} left")

    def stopping(self) -> None:
        """Ctrl-C was pressed."""
        self._progress.console.print(
            "stopping: those at work come to their end; Ctrl-C once more drops them"
        )


def _spell(seconds: float) -> str:
    """A time as people say it.

    >>> _spell(42), _spell(200), _spell(8000)
    ('42 s', '3 min', '2.2 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
