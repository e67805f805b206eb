"""Ctrl-C: the first one ends the run in order, the second at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

__all__ = ["Stopping"]

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopping:
    """While it is entered, SIGINT and SIGTERM ask for an end instead of making one.

    Args:
        tell: called once, when the first signal comes.

    Outside the main thread, where Python takes no signals, it does nothing.
    """

    def __init__(self, tell: Callable[[], None] = lambda: None) -> None:
        self._tell = tell
        self._before: dict[int, Any] = {}
        self.number = 0

    @property
    def requested(self) -> bool:
        """Whether no new work is to be begun."""
        return self.number != 0

    @property
    def code(self) -> int:
        """The exit code that the signal stands for: 130 for SIGINT, 143 for SIGTERM."""
        return 128 + (self.number or signal.SIGINT)

    def __enter__(self) -> Stopping:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.number:
            raise KeyboardInterrupt
        self.number = number
        self._tell()
