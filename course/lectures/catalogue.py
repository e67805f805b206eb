"""The lectures: one percent file per section, read as a notebook whose cells know their slides.

A cell carries at most one of these tags:

    slide      begins a slide                      fragment   appears on the next key press
    notes      what the lecturer says; markdown    skip       runs, but is on no slide
    code       shows its code, not only what the code shows

A cell without a tag goes on, on the same slide; of code it shows only what comes out. The tags are
mapped to the `slideshow` metadata that Jupyter and nbconvert know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["Lecture", "LectureError", "choose", "lectures"]

TAGS = ("slide", "fragment", "notes", "skip", "code")
_FILE = re.compile(r"(\d{2})_[a-z0-9_]+\.py")
_CELL = re.compile(r"# %%(?: |$)")


class LectureError(Exception):
    """A lecture cannot be read, run or shown; the text names it, the cell and the line."""


@dataclass(frozen=True)
class Lecture:
    """One section of the lecture.

    Attributes:
        path: its percent file, `NN_name.py`.
    """

    path: Path

    @property
    def name(self) -> str:
        """`08_unet`."""
        return self.path.stem

    @property
    def number(self) -> int:
        """8."""
        return int(self.path.stem[:2])

    @cached_property
    def source(self) -> str:
        """The text of the file."""
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def lines(self) -> list[int]:
        """For each cell the number of its first line, from 1: the one with its marker."""
        rows = enumerate(self.source.splitlines(), 1)
        return [number for number, row in rows if _CELL.match(row)]

    @cached_property
    def title(self) -> str:
        """The first heading."""
        found = re.search(r"^# # (.+)$", self.source, re.MULTILINE)
        if not found:
            raise LectureError(f"{self.where()}: expected a first slide with a heading `# Title`")
        return found[1].strip()

    @cached_property
    def slides(self) -> int:
        """How many slides it has."""
        kinds = [cell.metadata.slideshow.slide_type for cell in self.notebook().cells]
        return kinds.count("slide")

    def where(self, cell: int | None = None, line: int | None = None) -> str:
        """How an error names a place: the file, the cell from 1, and the line of the file.

        Args:
            cell: index of a cell, from 0.
            line: line within that cell, from 1; without it the line of the marker.
        """
        text = f"lecture {self.name}"
        if cell is None:
            return f"{text} ({self.path.name})"
        row = self.lines[cell] + (line or 0) if cell < len(self.lines) else "?"
        return f"{text}, cell {cell + 1}, {self.path.name} line {row}"

    def notebook(self) -> NotebookNode:
        """The lecture as a notebook that has not run, with `slideshow` metadata on every cell.

        Raises:
            LectureError: a tag that does not exist or does not fit its cell, text outside cells, a
                lecture that does not begin with a slide.
        """
        import jupytext
        from nbformat import from_dict

        if not self.source.strip() or not _CELL.match(self.source.lstrip()):
            raise LectureError(f'{self.where()}: expected a first line like # %% tags=["skip"]')
        notebook = jupytext.reads(self.source, fmt="py:percent")
        if len(notebook.cells) != len(self.lines):
            raise LectureError(
                f"{self.where()}: found {len(self.lines)} markers `# %%` but {len(notebook.cells)} "
                "cells; is there a line `# %%` inside of a string?"
            )
        begun = False
        for index, cell in enumerate(notebook.cells):
            cell.id = f"{self.name.replace('_', '-')}-{index + 1}"
            self._mark(cell, index)
            kind = cell.metadata.slideshow.slide_type
            begun = begun or kind == "slide"
            if not begun and kind != "skip":
                raise LectureError(
                    f"{self.where(index)}: stands before the first slide; "
                    'tag it "slide", or "skip" if it is on none'
                )
        if not begun:
            raise LectureError(f'{self.where()}: has no cell tagged "slide"')
        kernel = {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"}
        notebook.metadata = from_dict({"kernelspec": kernel, "title": self.title})
        return notebook

    def _mark(self, cell: NotebookNode, index: int) -> None:
        from nbformat import from_dict

        tags = list(cell.metadata.get("tags", []))
        unknown = [tag for tag in tags if tag not in TAGS]
        if unknown:
            known = ", ".join(TAGS)
            raise LectureError(f"{self.where(index)}: no tag {unknown[0]!r}; there are {known}")
        kinds = [tag for tag in tags if tag != "code"]
        if len(kinds) > 1:
            raise LectureError(f"{self.where(index)}: {kinds} exclude each other; keep one")
        kind = kinds[0] if kinds else "-"
        if kind == "notes" and cell.cell_type != "markdown":
            raise LectureError(f"{self.where(index)}: notes are a markdown cell")
        if "code" in tags and (cell.cell_type != "code" or kind == "skip"):
            raise LectureError(f'{self.where(index)}: "code" belongs to code that is on a slide')
        metadata: dict[str, object] = {"slideshow": {"slide_type": kind}}
        if tags:
            metadata["tags"] = tags
        if cell.cell_type == "code" and "code" not in tags:
            metadata["jupyter"] = {"source_hidden": True}
        cell.metadata = from_dict(metadata)


def lectures(folder: Path | None = None) -> list[Lecture]:
    """All lectures in order.

    Args:
        folder: where their files lie; default: this package.
    """
    files = sorted((folder or Path(__file__).parent).glob("*.py"))
    return [Lecture(path) for path in files if _FILE.fullmatch(path.name)]


def choose(numbers: list[int], folder: Path | None = None) -> list[Lecture]:
    """The lectures with these numbers, or all of them where none is given.

    Raises:
        LectureError: there is no lecture of that number, or none at all.
    """
    found = {lecture.number: lecture for lecture in lectures(folder)}
    if not found:
        raise LectureError(f"no lecture lies in {folder or Path(__file__).parent}")
    absent = [number for number in numbers if number not in found]
    if absent:
        known = ", ".join(map(str, found))
        raise LectureError(f"there is no lecture {absent[0]}; there are {known}")
    return [found[number] for number in sorted(set(numbers) or found)]
