"""Is labs/ what would be built? Text byte for byte, pictures and their words within tolerance."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.figures import Figure, picture_difference, words_difference
from autograder.layout import Files, Layout, read_folder

# As `autograder.expand` writes it at the end of a see cell.
_PICTURE = re.compile(r"\n\n!\[(?P<alt>[^\]]*)\]\(attachment:[^)]*\)$")


def stale(layout: Layout, built: Mapping[str, Files], *, every: bool = True) -> list[str]:
    """Where labs/ differs from what was built, one line per difference.

    Args:
        every: `built` holds all labs, so that a folder without a source is a difference too.
    """
    found = []
    for name, files in built.items():
        present = read_folder(layout.labs / name)
        if not present:
            found.append(f"labs/{name} is missing")
            continue
        for file in sorted(files.keys() | present.keys()):
            place = f"labs/{name}/{file}"
            if file not in present:
                found.append(f"{place} is missing")
            elif file not in files:
                found.append(f"{place} has no source")
            elif present[file] != files[file]:
                reason = notebook_difference(files[file], present[file])
                found += [f"{place}: {reason}"] if reason else []
    if every and layout.labs.is_dir():
        folders = sorted(path.name for path in layout.labs.iterdir() if path.is_dir())
        found += [f"labs/{name} has no source" for name in folders if name not in built]
    return found


def notebook_difference(ours: bytes, theirs: bytes) -> str:
    """How two notebooks differ: text exactly, pictures and their words within tolerance, or ""."""
    try:
        new, old = (nbformat.reads(text.decode(), as_version=4) for text in (ours, theirs))
    except (ValueError, nbformat.reader.NotJSONError):
        return "the content differs"
    pictures = [_take_pictures(notebook) for notebook in (new, old)]
    if nbformat.writes(new) != nbformat.writes(old):
        return _first_difference(new, old)
    for identity, figure in pictures[0].items():
        reason = picture_difference(figure.png, pictures[1][identity].png)
        reason = reason or words_difference(figure.alt, pictures[1][identity].alt)
        if reason:
            return f"the picture of cell {identity}: {reason}"
    return ""


def _take_pictures(notebook: NotebookNode) -> dict[str, Figure]:
    """Remove embedded pictures from a notebook, leave the mark that they were there."""
    taken = {}
    for cell in notebook.cells:
        match = _PICTURE.search(cell.source)
        if match and cell.get("attachments"):
            name, data = next(iter(cell.attachments.items()))
            taken[cell.id] = Figure(base64.b64decode(data["image/png"]), match["alt"])
            cell.attachments = {name: {}}
            cell.source = cell.source[: match.start()] + "\n\n![]"
    return taken


def _first_difference(new: NotebookNode, old: NotebookNode) -> str:
    cells = [cell.get("id") for cell in new.cells], [cell.get("id") for cell in old.cells]
    if cells[0] != cells[1]:
        odd = sorted(set(map(str, cells[0])) ^ set(map(str, cells[1])))
        return f"other cells: {', '.join(odd[:5])}" if odd else "the cells stand in another order"
    for ours, theirs in zip(new.cells, old.cells, strict=True):
        if ours.source != theirs.source:
            pairs = zip(ours.source.split("\n"), theirs.source.split("\n"), strict=False)
            line = next((a for a, b in pairs if a != b), "its length")
            return f"cell {ours.id} differs at: {line.strip()}"
        if ours != theirs:
            return f"the metadata of cell {ours.id} differs"
    return "the notebook's metadata differs"


def present_figures(notebook: Path) -> dict[str, Figure]:
    """The pictures embedded in an existing student notebook, by exercise number."""
    if not notebook.exists():
        return {}
    figures = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        match = re.fullmatch(r"ex-(\d+)-(\d+)-see", cell.get("id", ""))
        picture = _PICTURE.search(cell.source)
        if match and picture and cell.get("attachments"):
            data = next(iter(cell.attachments.values()))["image/png"]
            number = f"{match.group(1)}.{match.group(2)}"
            figures[number] = Figure(base64.b64decode(data), picture["alt"])
    return figures
