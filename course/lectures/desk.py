"""The lecturer's own copies of the notebooks, and JupyterLab on them.

A notebook remembers a digest of the cells that were written into it. One whose cells still have
that digest may be replaced by a newer one; one that the lecturer has changed is never touched, and
what would have replaced it is kept beside it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.lectures.catalogue import Lecture

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["Written", "start_lab", "write_notebooks"]

_MARK = "course_lecture"


@dataclass
class Written:
    """What `write_notebooks` did.

    Attributes:
        paths: for each lecture the notebook to open: the lecturer's own where there is one.
        notes: what the lecturer should know, a line each.
    """

    paths: dict[str, Path] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def write_notebooks(chosen: list[Lecture], folder: Path) -> Written:
    """Write lectures as notebooks that have not run.

    Code is folded away where the slide shows only its output; the notes stay.

    Args:
        chosen: which lectures.
        folder: where to; made where it is missing.

    Raises:
        LectureError: a lecture cannot be read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = Written()
    for lecture in chosen:
        notebook = lecture.notebook()
        digest = _digest(notebook.cells)
        notebook.metadata[_MARK] = {"digest": digest}
        path = written.paths[lecture.name] = folder / f"{lecture.name}.ipynb"
        state = _state(path)
        if state == digest:
            continue  # the same cells: what they have shown stays
        if state is not None:
            _write(notebook, path)
            continue
        for number in count(1):
            aside = folder / f"{lecture.name}-new{'' if number == 1 else f'-{number}'}.ipynb"
            state = _state(aside)
            if state is not None:
                break
        if state != digest:
            _write(notebook, aside)
        written.notes.append(
            f"{path} has changes of yours and stays as it is; the course's own is {aside.name}"
        )
    return written


def _state(path: Path) -> str | None:
    """The digest of an unchanged notebook, "" where there is none, None if it was changed."""
    if not path.exists():
        return ""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
        kept = notebook["metadata"][_MARK]["digest"]
        return kept if kept and kept == _digest(notebook["cells"]) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # not a notebook of ours: then it is the lecturer's


def _digest(cells: list[Any]) -> str:
    def text(source: str | list[str]) -> str:
        return source if isinstance(source, str) else "".join(source)

    parts = [[cell["cell_type"], text(cell["source"]), _tags(cell)] for cell in cells]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _tags(cell: Any) -> list[Any]:
    metadata = cell["metadata"]
    return [metadata.get("tags", []), metadata.get("slideshow", {})]


def _write(notebook: NotebookNode, path: Path) -> None:
    import nbformat

    part = path.with_name(f".{path.name}.part")
    nbformat.write(notebook, part)
    os.replace(part, path)


def start_lab(target: Path, *, no_browser: bool = False) -> int:
    """Start JupyterLab and wait until it ends.

    Args:
        target: notebook or folder to open. The server shows the current folder if that holds it,
            so that links from a lecture to labs and library lead somewhere.
        no_browser: start the server only.

    Returns:
        The exit code.
    """
    target, here = target.resolve(), Path.cwd()
    root = here if target.is_relative_to(here) else (target if target.is_dir() else target.parent)
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={root}"]
    if target.is_file():
        command.append(str(target))
    else:
        command.append(f"--LabApp.default_url=/lab/tree/{target.relative_to(root).as_posix()}")
    if no_browser:
        command.append("--no-browser")
    environment = {k: v for k, v in os.environ.items() if k != "COURSE_DEMOS"}
    try:
        return subprocess.run(command, env=environment).returncode
    except KeyboardInterrupt:  # Control-C has reached the server too
        return 130
