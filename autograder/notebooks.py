"""Read a notebook that somebody else wrote: only text and ids, never its word on anything else.

nbformat's own reader is for honest files. Here a file may be anything, so the reader takes a
cell's kind, text, id, grade id and pasted pictures, each checked, and forgets the rest: metadata,
tags, points, kernel and outputs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

__all__ = ["StudentCell", "StudentNotebook", "read_cells", "read_notebook"]

_PICTURES = ("image/png", "image/jpeg", "image/gif")
_MOST_CELLS = 5000
_LONGEST_CELL = 2**18
_MOST_TEXT = 2**21  # an honest notebook stays below a tenth of that, its outputs aside


@dataclass(frozen=True)
class StudentCell:
    """One cell as it was handed in.

    Attributes:
        kind: "code", "markdown" or "raw"; anything else reads as "raw".
        source: its text.
        grade_id: what its metadata claims to be, or "".
        id: nbformat's cell id, or "".
        pictures: attachments of a markdown cell, name → mime type → base64.
        tags, claims: its tags and what nbgrader's metadata says about points and kind; only to
            tell the instructor where somebody edited them.
    """

    kind: str
    source: str
    grade_id: str = ""
    id: str = ""
    pictures: dict[str, dict[str, str]] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    claims: dict[str, bool | float] = field(default_factory=dict)


@dataclass(frozen=True)
class StudentNotebook:
    """A notebook as it was handed in.

    Attributes:
        version: nbformat's major version, 0 where the file names none.
        language: of its kernel, "" where it names none.
    """

    cells: list[StudentCell]
    version: int = 0
    language: str = ""


def read_notebook(data: bytes) -> StudentNotebook:
    """A notebook of any version.

    Raises:
        ValueError: the bytes are not a notebook; the message says what they are.
    """
    found = _parse(data)
    version = found.get("nbformat")
    version = version if type(version) is int and 0 < version < 100 else 0
    cells = [_cell(raw) for raw in _raw_cells(found)]
    if (size := sum(len(cell.source) for cell in cells)) > _MOST_TEXT:
        raise ValueError(f"holds {size / 2**20:.0f} MB of text, at most {_MOST_TEXT // 2**20} MB")
    return StudentNotebook(cells, version, _language(found))


def read_cells(data: bytes) -> list[StudentCell]:
    """The cells of a notebook of any version.

    Raises:
        ValueError: the bytes are not a notebook; the message says what they are.
    """
    return read_notebook(data).cells


def _parse(data: bytes) -> dict[str, Any]:
    if not data.strip():
        raise ValueError("is empty")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not a notebook: its bytes are not text") from None
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("is not a notebook: brackets nested without end") from None
    except ValueError as error:
        raise ValueError(_not_json(text, error)) from None
    if not isinstance(found, dict):
        raise ValueError(f"is not a notebook: it holds a {type(found).__name__}")
    return found


def _not_json(text: str, error: ValueError) -> str:
    start = text.lstrip()[:200]
    if start.lower().startswith(("<!doctype", "<html")):
        return "is a saved web page, not the notebook: use File → Download in JupyterLab"
    if not start.startswith("{"):
        return f"is not a notebook: it starts with {start[:20]!r}"
    if "<<<<<<<" in text and ">>>>>>>" in text:
        return "holds the marks of an unfinished git merge (<<<<<<<)"
    if not text.rstrip().endswith("}"):
        return "is cut off: the file ends in the middle of the notebook"
    return f"is damaged: {error}"


def _raw_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    cells = notebook.get("cells")
    if cells is None and isinstance(sheets := notebook.get("worksheets"), list):  # nbformat 3
        found = [s.get("cells") for s in sheets if isinstance(s, dict)]
        cells = [cell for part in found if isinstance(part, list) for cell in part]
    if not isinstance(cells, list):
        raise ValueError("is not a notebook: it has no list of cells")
    if len(cells) > _MOST_CELLS:
        raise ValueError(f"has {len(cells)} cells, at most {_MOST_CELLS} are read")
    return [cell for cell in cells if isinstance(cell, dict)]


def _language(notebook: dict[str, Any]) -> str:
    metadata = notebook.get("metadata")
    kernel = metadata.get("kernelspec") if isinstance(metadata, dict) else None
    kernel = kernel if isinstance(kernel, dict) else {}
    found = kernel.get("language") or kernel.get("name")
    return found.lower()[:80] if isinstance(found, str) else ""


def _cell(raw: dict[str, Any]) -> StudentCell:
    kind = raw.get("cell_type")
    source = raw.get("source", raw.get("input", ""))  # nbformat 3 calls it input
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    if not isinstance(source, str):
        source = ""
    metadata = raw.get("metadata")
    course = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    grade_id = course.get("grade_id") if isinstance(course, dict) else ""
    return StudentCell(
        kind if kind in ("code", "markdown") else "raw",
        source[:_LONGEST_CELL].replace("\r\n", "\n").encode("utf-8", "replace").decode("utf-8"),
        grade_id if isinstance(grade_id, str) else "",
        raw["id"] if isinstance(raw.get("id"), str) else "",
        _pictures(raw.get("attachments")) if kind == "markdown" else {},
        _tags(metadata),
        _claims(course),
    )


def _tags(metadata: Any) -> tuple[str, ...]:
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    return tuple(t for t in tags if isinstance(t, str)) if isinstance(tags, list) else ()


def _claims(course: Any) -> dict[str, bool | float]:
    if not isinstance(course, dict):
        return {}
    words = ("grade", "solution", "locked", "task", "points")
    return {w: course[w] for w in words if isinstance(course.get(w), bool | int | float)}


def _pictures(attachments: Any) -> dict[str, dict[str, str]]:
    if not isinstance(attachments, dict):
        return {}
    kept = {
        name: {mime: data for mime, data in bundle.items() if mime in _PICTURES}
        for name, bundle in attachments.items()
        if isinstance(bundle, dict) and all(isinstance(v, str) for v in bundle.values())
    }
    return {name: bundle for name, bundle in kept.items() if bundle}
