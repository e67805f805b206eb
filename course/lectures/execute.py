"""Run a lecture from top to bottom without a screen, and hold it to what a deck needs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from course.lectures.catalogue import Lecture, LectureError

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["execute"]

SECONDS = 300  # per cell; a lecture that needs as long would not be shown by anybody
_HEADLESS = {"MPLBACKEND": "Agg", "COURSE_DEMOS": "still"}
# A deck is projected: its pictures need more pixels than those that notebooks keep.
_SHARPER = "__import__('course.lectures.sharpness', fromlist=['sharpen']).sharpen()"
_LINE = re.compile(r"Cell In\[\d+\], line (\d+)|<ipython-input-[^>]+>.*?line (\d+)")
_ADDRESS = re.compile(r" at 0x[0-9a-f]{6,}>|^<Figure size")
_COLORS = re.compile(r"\x1b\[[0-9;]*m")


def execute(
    lecture: Lecture,
    environment: Mapping[str, str] | None = None,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> NotebookNode:
    """The lecture with what its cells show.

    Args:
        lecture: which one.
        environment: variables for its kernel beside those of this process.
        threads: of the arithmetic inside of the kernel.
        progress: called with the number of cells that are done, and of all.

    Raises:
        LectureError: a cell failed or took longer than five minutes, a picture has no
            description, or a cell shows a widget; names lecture, cell and line.
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook = lecture.notebook()
    at = -1

    def begun(cell: Any, cell_index: int) -> None:
        nonlocal at
        at = cell_index
        if progress:
            progress(cell_index, len(notebook.cells))

    with TemporaryDirectory(prefix="lecture-") as folder:
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            km=_kernel(),
            resources={"metadata": {"path": folder}},
            on_cell_start=begun,
            coalesce_streams=True,
            store_widget_state=False,
            shutdown_kernel="immediate",
        )
        variables = {**os.environ, **_HEADLESS, **dict(environment or {})}
        variables |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        try:
            # A kernel of ours is left running unless it is asked to go: half a gigabyte each.
            with client.setup_kernel(cleanup_kc=True, env=variables, stderr=subprocess.DEVNULL):
                for index, cell in enumerate(notebook.cells):
                    client.execute_cell(cell, index)
                notebook.metadata["processor_seconds"] = _seconds_of(client.km)
        except CellExecutionError as error:
            raise LectureError(_failure(lecture, at, error)) from error
        except CellTimeoutError as error:
            raise LectureError(f"{lecture.where(at)}: not done after {SECONDS} s") from error
        except DeadKernelError as error:
            raise LectureError(f"{lecture.where(at)}: the kernel died; is memory short?") from error
    for index, cell in enumerate(notebook.cells):
        _check(lecture, index, cell)
    return notebook


def _kernel() -> Any:
    """A kernel of this very Python, whatever the kernels that are installed for the user."""
    from jupyter_client.manager import AsyncKernelManager

    manager = AsyncKernelManager(kernel_name="python3")
    spec = manager.kernel_spec
    assert spec is not None
    spec.argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec.argv.append(f"--IPKernelApp.exec_lines={_SHARPER}")
    return manager


def _seconds_of(manager: Any) -> float:
    import psutil

    used = psutil.Process(manager.provisioner.pid).cpu_times()
    return used.user + used.system


def _failure(lecture: Lecture, cell: int, error: Any) -> str:
    traceback = _COLORS.sub("", str(error.traceback))
    # The first line is the one of the cell; later ones may be those of functions in older cells.
    found = _LINE.search(traceback)
    line = int(found[1] or found[2]) if found else None
    said = f"{error.ename}: {_COLORS.sub('', error.evalue)}"
    if error.ename == "NoneType":  # what failed is the drawing of the result: read its last words
        said = traceback.strip().splitlines()[-1]
    said = re.sub(r" \(\d+\.py, line \d+\)$", "", said)
    return f"{lecture.where(cell, line)}: {said}"


def _check(lecture: Lecture, index: int, cell: NotebookNode) -> None:
    if cell.cell_type != "code" or cell.metadata.slideshow.slide_type == "skip":
        return
    for output in cell.outputs:
        data = output.get("data", {})
        if "application/vnd.jupyter.widget-view+json" in data:
            raise LectureError(
                f"{lecture.where(index)}: shows a widget, which no deck can; show a demo"
            )
        html, text = data.get("text/html", ""), data.get("text/plain", "")
        if not html and _ADDRESS.search(text):
            raise LectureError(
                f"{lecture.where(index)}: would show {text[:60]!r}; end the line with a semicolon, "
                "or show a picture of course.plots"
            )
        bare = any(not re.search(r'alt="[^"]+"', tag) for tag in re.findall(r"<img\b[^>]*>", html))
        if bare or (not html and any(kind.startswith("image/") for kind in data)):
            raise LectureError(
                f"{lecture.where(index)}: a picture without a description; "
                "draw it with course.plots, or wrap it in plots.render(figure, alt)"
            )
