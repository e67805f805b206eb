"""An IPython shell without a kernel that keeps what cells show, as notebook outputs.

Magics, `display`, rich results and figures work as in a notebook; a forked process needs a
millisecond for it. The traceback of an error is plain: the coloured one costs 70 ms a cell.
"""

from __future__ import annotations

import builtins
import contextlib
import io
import json
import linecache
import sys
import traceback
from collections.abc import Iterator
from typing import Any

from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import StdinNotImplementedError
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

__all__ = ["Capture", "CellShell", "TimeLimit"]

_CUT = "\n… cut off: too much output …\n"
_MOST_OUTPUTS = 1000
_LONGEST_MESSAGE = 2000


class TimeLimit(BaseException):
    """A cell or a check took too long. No `Exception`: student code shall not catch it by habit."""


class Capture:
    """Outputs of one cell, in nbformat's form, cut at a number of bytes."""

    def __init__(self, most_bytes: int) -> None:
        self.outputs: list[dict[str, Any]] = []
        self._left = most_bytes
        self._cut = False

    def stream(self, name: str, text: str) -> None:
        """Text that was printed."""
        if not text or self._cut:
            return
        if len(text) > self._left:
            text, self._cut = text[: max(0, self._left)] + _CUT, True
        self._left -= len(text)
        last = self.outputs[-1] if self.outputs else {}
        if last.get("output_type") == "stream" and last["name"] == name:
            last["text"] += text
        else:
            self.outputs.append({"output_type": "stream", "name": name, "text": text})

    def show(self, kind: str, data: Any, metadata: Any, **more: Any) -> None:
        """A bundle of MIME data; one that is too large or no JSON is left out."""
        try:
            size = len(json.dumps([data, metadata]))
        except (TypeError, ValueError, RecursionError):
            return
        if size > self._left or len(self.outputs) >= _MOST_OUTPUTS:
            self.stream("stdout", _CUT if not self._cut else "")
            self._cut = True
            return
        self._left -= size
        self.outputs.append({"output_type": kind, "data": data, "metadata": metadata, **more})

    def error(self, name: str, message: str, lines: list[str]) -> None:
        """An exception; always kept."""
        self.outputs.append(
            {
                "output_type": "error",
                "ename": name,
                "evalue": message[:_LONGEST_MESSAGE],
                "traceback": [line[:_LONGEST_MESSAGE] for line in lines[-50:]],
            }
        )


class _Stream(io.TextIOBase):
    def __init__(self, shell: CellShell, name: str) -> None:
        self._shell, self._name = shell, name

    def write(self, text: str) -> int:
        self._shell.capture.stream(self._name, text)
        return len(text)

    def writable(self) -> bool:
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"


class _Hook(DisplayHook):
    def __call__(self, result: Any = None) -> None:
        if result is None or self.quiet():
            return
        shell: Any = self.shell
        data, metadata = shell.display_formatter.format(result)
        if data:  # an object may show itself instead
            count = shell.execution_count
            shell.capture.show("execute_result", data, metadata, execution_count=count)
        shell.user_ns["_"] = result


class _Publisher(DisplayPublisher):
    def publish(self, data: Any, metadata: Any = None, **_: Any) -> None:  # type: ignore[override]
        self.shell.capture.show("display_data", data, metadata or {})  # type: ignore[union-attr]

    def clear_output(self, wait: bool = False) -> None:
        self.shell.capture.outputs.clear()  # type: ignore[union-attr]


class CellShell(InteractiveShell):
    """Runs cells and keeps their outputs in `capture`.

    >>> shell = CellShell.make()
    >>> shell.run("print('one')\\n1 + 1", most_bytes=1000)[-1]["data"]["text/plain"]
    '2'
    """

    capture: Capture = Capture(0)

    @classmethod
    def make(cls) -> CellShell:
        """The shell of this process."""
        if cls.initialized():
            return cls.instance()
        config = Config()
        config.HistoryManager.enabled = False
        config.HistoryManager.hist_file = ":memory:"  # never made: history is off
        config.InteractiveShell.colors = "nocolor"
        config.InteractiveShell.autocall = 0
        return cls.instance(config=config, displayhook_class=_Hook, display_pub_class=_Publisher)

    def run(self, source: str, most_bytes: int) -> list[dict[str, Any]]:
        """Run one cell as a notebook does; returns its outputs."""
        with self.capturing(most_bytes) as capture:
            try:
                self.run_cell(source, store_history=True)
            except BaseException as error:  # IPython's own defences were broken by the cell
                self._show(type(error), error)
        return capture.outputs

    @contextlib.contextmanager
    def capturing(self, most_bytes: int) -> Iterator[Capture]:
        """Keep what is printed and shown meanwhile; nobody answers `input`."""
        self.capture = capture = Capture(most_bytes)
        before = sys.stdout, sys.stderr, builtins.input
        sys.stdout, sys.stderr = _Stream(self, "stdout"), _Stream(self, "stderr")
        builtins.input = _no_input
        try:
            yield capture
        finally:
            sys.stdout, sys.stderr, builtins.input = before

    def showtraceback(self, *args: Any, **_: Any) -> None:
        """Keep the error as an output."""
        kind, error, _tb = sys.exc_info()
        if kind is not None:
            self._show(kind, error)

    def showsyntaxerror(self, *args: Any, **_: Any) -> None:
        """The same for what could not be read."""
        self.showtraceback()

    def _show(self, kind: type[BaseException], error: BaseException | None) -> None:
        try:
            message = str(error)
            lines = traceback.format_exception(kind, error, error and error.__traceback__)
        except BaseException:  # an exception whose text raises one
            message, lines = "", []
        own = [line for line in lines if "/IPython/" not in line.split("\n")[0]]
        self.capture.error(kind.__name__, message, [line.rstrip("\n") for line in own])

    def init_ipython_dir(self, ipython_dir: str) -> None:
        """None: where the fork server makes the shell, nothing can be written."""

    def init_profile_dir(self, profile_dir: Any) -> None:
        """None, see `init_ipython_dir`; history is off, and there are no start-up files."""

    def init_io(self) -> None:
        """Streams are set for each cell."""

    def ask_exit(self) -> None:
        """`exit` ends nothing here: the cells below it still run."""

    def enable_gui(self, gui: str | None = None) -> None:
        """`%matplotlib inline` asks for it; there are no windows here."""

    def remember(self, source: str, number: int) -> str:
        """Register a cell's text for tracebacks; returns the name of its file."""
        name = self.compile.cache(source, number)
        linecache.checkcache(name)
        return name


def _no_input(prompt: str = "") -> str:
    raise StdinNotImplementedError("input() waits for a person, and nobody is there when graded")
