"""The notebook that runs when nobody has answered: the release, with the hidden tests put back.

Texts of locked cells come from the gradebook, where `generate_assignment` stored them, so what is
graded is what was released. A cell that only shows something (a look, a picture, an experiment)
need not run, unless a later cell uses a name that it binds.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from autograder.errors import AutograderError

__all__ = ["Template", "TemplateCell", "plain_text", "read_template"]

_SHOWN = {"look", "picture", "experiment"}
_SHOWN_ID = re.compile(r"ex-\d+-\d+-(look|picture|experiment)(-\d+)?")


def plain_text(text: str) -> str:
    """A text without white space at the ends of its lines and around it."""
    return "\n".join(line.rstrip(" \t") for line in text.split("\n")).strip()


@dataclass(frozen=True)
class TemplateCell:
    """One cell of ours.

    Attributes:
        kind: "code", "markdown" or "raw".
        source: text that runs where the student has no say; for answers the stub.
        released: the text that students received.
        id: nbformat's cell id; grade_id: nbgrader's, "" for free cells.
        metadata: nbgrader's metadata, {} for free cells.
        shown_only: the cell only shows something.
        fixed: it is ours alone although students may edit it: the lab's parameters.
        earlier: texts that earlier releases gave in its place.
    """

    kind: str
    source: str
    released: str
    id: str
    grade_id: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)
    shown_only: bool = False
    fixed: bool = False
    attachments: dict[str, Any] = field(default_factory=dict)
    earlier: tuple[str, ...] = ()

    def gave(self, text: str) -> bool:
        """Whether a text is what students received, but for white space at ends of lines.

        >>> TemplateCell("code", "x = 1", "x = 1", "", earlier=("x = 2",)).gave("x = 2 ")
        True
        """
        return plain_text(text) in map(plain_text, (self.released, *self.earlier))

    @property
    def is_answer(self) -> bool:
        """Whether the student writes this cell."""
        return bool(self.metadata.get("solution"))

    @property
    def is_graded(self) -> bool:
        """Whether it carries points."""
        return bool(self.metadata.get("grade") or self.metadata.get("task"))

    @property
    def is_check(self) -> bool:
        """Whether it is a test cell that computes points."""
        return self.is_graded and not self.is_answer and self.kind == "code"

    @property
    def points(self) -> float:
        """What it is worth."""
        return float(self.metadata.get("points") or 0)


@dataclass(frozen=True)
class Template:
    """All cells of ours, in order.

    Attributes:
        lab: name of the lab.
        kernel: the kernel's name, such as "python3".
        text: the released notebook as bytes, to recognise copies of it.
    """

    lab: str
    cells: tuple[TemplateCell, ...]
    kernel: str = "python3"
    text: bytes = field(default=b"", repr=False)

    @property
    def graded(self) -> list[TemplateCell]:
        """The cells with points."""
        return [cell for cell in self.cells if cell.is_graded]

    def answer_of(self, check: TemplateCell) -> TemplateCell | None:
        """The answer that a graded cell is about: itself, or the nearest one above."""
        if check.is_answer:
            return check
        above = self.cells[: self.cells.index(check)]
        return next((cell for cell in reversed(above) if cell.is_answer), None)

    def exercise_of(self, cell: TemplateCell) -> str:
        """The number that students know it by: "8.1" for "ex-8-1-check"."""
        match = re.fullmatch(r"ex-(\d+)-(\d+)-[a-z]+(?:-\d+)?", cell.grade_id)
        return f"{match[1]}.{match[2]}" if match else cell.grade_id

    def name_of(self, grade_id: str) -> str:
        """What people call a cell, from its grade id: the exercise, or the id itself."""
        found = (self.exercise_of(cell) for cell in self.cells if cell.grade_id == grade_id)
        return next(found, grade_id)


def read_template(release: Path, lab: str, locked: Mapping[str, str]) -> Template:
    """Put the hidden tests back into the notebook that students received.

    Args:
        release: the released notebook.
        locked: grade id → full text, from the gradebook.

    Raises:
        AutograderError: no such notebook, not one of nbgrader's, or without graded cells.
    """
    import nbformat

    if not release.is_file():
        raise AutograderError(f"{lab} was never released: there is no {release}")
    try:
        text = release.read_bytes()
        notebook = nbformat.reads(text.decode("utf-8"), as_version=4)
    except (ValueError, nbformat.ValidationError) as error:
        raise AutograderError(f"{release} is not a notebook: {error}") from error
    cells = tuple(_cell(cell, locked) for cell in notebook.cells)
    template = Template(lab, cells, notebook.metadata.get("kernelspec", {}).get("name", ""), text)
    if not template.graded:
        raise AutograderError(f"{release} has no graded cells")
    if missing := [c.grade_id for c in template.graded if c.grade_id not in locked]:
        raise AutograderError(
            f"the gradebook does not know cell {missing[0]} of {lab}: release the lab again"
        )
    return template


def _cell(cell: Any, locked: Mapping[str, str]) -> TemplateCell:
    course = dict(cell.metadata.get("nbgrader", {}))
    grade_id = str(course.get("grade_id", ""))
    role = cell.metadata.get("course", {}).get("role", "")
    shown = role in _SHOWN or _SHOWN_ID.fullmatch(cell.get("id", "")) is not None
    source = locked.get(grade_id, cell.source) if not course.get("solution") else cell.source
    return TemplateCell(
        cell.cell_type,
        source,
        cell.source,
        cell.get("id", ""),
        grade_id,
        course,
        shown and cell.cell_type == "code" and not course,
        "parameters" in cell.metadata.get("tags", []),
        dict(cell.get("attachments", {})),
    )
