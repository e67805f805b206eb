"""What a run shows: a bar in a terminal, one line in a notebook, next to nothing in a log.

All of it goes to stdout: under nbgrader a single line on stderr costs a student the points of a
cell. The notebook's line is plain text without a clock, so that executing a notebook twice gives
the same output. A log gets a line a minute, hence nothing from a short run.
"""

import math
import sys
import time
from types import TracebackType
from typing import Any, Protocol

__all__ = ["Progress"]

_LOG_EVERY = 60.0  # seconds
_REDRAW_EVERY = 0.2


class Progress:
    """A context in which `update` shows how far a run has come.

    Args:
        steps: length of the whole run.
        done: steps done before, when a run is continued.
        show: False shows nothing.

    Example:
        >>> with Progress(2) as progress:  # neither terminal nor notebook, and short
        ...     progress.update(1, 0.5)
    """

    def __init__(self, steps: int, done: int = 0, *, show: bool = True) -> None:
        self.steps = steps
        self.done = done
        self.loss = float("nan")
        self._display = _choose_display(self) if show else None
        self._drawn = 0.0

    def update(self, step: int, loss: float) -> None:
        """Report that `step` updates are done and the loss of the last one."""
        self.done, self.loss = step, loss
        if self._display and time.monotonic() - self._drawn >= self._display.every:
            self._display.draw()
            self._drawn = time.monotonic()

    def __enter__(self) -> "Progress":
        self._drawn = time.monotonic()
        if self._display:
            self._display.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._display:
            self._display.close()

    def __str__(self) -> str:
        loss = "" if math.isnan(self.loss) else f", loss {self.loss:.4f}"
        return f"{self.done} of {self.steps} steps{loss}"


class _Display(Protocol):
    every: float

    def open(self) -> None: ...

    def draw(self) -> None: ...

    def close(self) -> None: ...


def _choose_display(progress: Progress) -> _Display:
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    if shell is not None and hasattr(shell, "kernel"):
        return _NotebookLine(progress)
    return _TerminalBar(progress) if sys.stdout.isatty() else _LogLines(progress)


class _LogLines:
    every = _LOG_EVERY

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def open(self) -> None:
        pass

    def draw(self) -> None:
        print(self.progress, flush=True)

    def close(self) -> None:
        pass


class _NotebookLine:
    """One output that is replaced in place: no widget, so it survives saving and exporting."""

    every = _REDRAW_EVERY

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.handle: Any = None

    def open(self) -> None:
        from IPython.display import display

        self.handle = display(self._content(), raw=True, display_id=True)

    def draw(self) -> None:
        self.handle.update(self._content(), raw=True)

    close = draw

    def _content(self) -> dict[str, str]:
        return {"text/plain": str(self.progress)}


class _TerminalBar:
    every = _REDRAW_EVERY

    def __init__(self, progress: Progress) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        self.progress = progress
        text = TextColumn("{task.description}")
        self.bar = RichProgress(text, BarColumn(), TimeRemainingColumn(), console=Console())
        self.task = self.bar.add_task(str(progress), total=progress.steps, completed=progress.done)

    def open(self) -> None:
        self.bar.start()

    def draw(self) -> None:
        self.bar.update(self.task, completed=self.progress.done, description=str(self.progress))

    def close(self) -> None:
        self.draw()
        self.bar.stop()
