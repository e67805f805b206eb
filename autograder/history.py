"""What earlier releases of a lab gave, so that whoever took the lab then has edited nothing.

An instructor who mends a visible test in the middle of a term releases the lab again; notebooks
that were taken before still carry the old text.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from autograder.records import write_whole
from autograder.template import TemplateCell

__all__ = ["with_history"]

_MOST = 20  # texts a cell: of an instructor who tries things out, the last ones are enough


def with_history(cells: Iterable[TemplateCell], path: Path) -> tuple[TemplateCell, ...]:
    """Our cells, each with the texts that it had before; those of today are noted for later.

    Args:
        path: file that remembers, cell id → texts, oldest first. A folder that cannot be written,
            or a file that cannot be read, costs the memory and nothing else.
    """
    known, found, new = _read(path), [], False
    for cell in cells:
        name = cell.grade_id or cell.id
        texts = known.setdefault(name, [])
        found.append(replace(cell, earlier=tuple(t for t in texts if t != cell.released)))
        if name and cell.released not in texts:
            texts.append(cell.released)
            del texts[:-_MOST]
            new = True
    if new:
        with contextlib.suppress(OSError):
            write_whole(path, json.dumps(known, indent=1).encode())
    return tuple(found)


def _read(path: Path) -> dict[str, list[str]]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): [str(text) for text in texts] for name, texts in known.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
