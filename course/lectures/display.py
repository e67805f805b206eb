"""How a build shows that it goes on: a bar per lecture, or a line each without a terminal."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from course.lectures.build import Built
from course.lectures.catalogue import Lecture

__all__ = ["Display"]


class Display:
    """Progress of several lectures; its methods may be called from several threads.

    Args:
        chosen: the lectures that are built.
    """

    def __init__(self, chosen: list[Lecture]) -> None:
        self._console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._progress = Progress(
            *columns, console=self._console, disable=not self._console.is_terminal, transient=True
        )
        self._tasks = {
            each.name: self._progress.add_task(each.name, total=None, start=False)
            for each in chosen
        }

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def begun(self, lecture: Lecture, cell: int, cells: int) -> None:
        """A cell begins."""
        task = self._tasks[lecture.name]
        self._progress.start_task(task)
        self._progress.update(task, completed=cell, total=cells)

    def done(self, result: Built) -> None:
        """A lecture has a deck, or has failed."""
        self._progress.remove_task(self._tasks[result.lecture.name])
        if result.deck:
            said = f"{result.lecture.slides} slides, {result.seconds:.1f} s of processor time"
        else:
            said = "failed"
        self._console.print(f"{result.lecture.name}: {said}", highlight=False)
