"""A lecture that has run, as one HTML file that reveal.js shows without any network."""

from __future__ import annotations

import base64
import copy
import io
import re
from typing import TYPE_CHECKING

from course.lectures.assets import DECK
from course.lectures.catalogue import Lecture

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["arrange", "deck_html", "thumbnail"]

_IMAGE = re.compile(r'<img\b[^>]*?src="data:image/png;base64,([^"]+)"')
_THUMBNAIL = (480, 270)


def arrange(notebook: NotebookNode) -> NotebookNode:
    """A copy with the cells of the deck: none that are skipped, and the notes of each slide before
    what appears later, since reveal.js shows those inside of a fragment only with it."""
    slides: list[list[NotebookNode]] = []
    for cell in copy.deepcopy(notebook.cells):
        kind = cell.metadata.slideshow.slide_type
        if kind == "slide":
            slides.append([])
        if kind != "skip":
            slides[-1].append(cell)
    arranged = copy.copy(notebook)
    arranged.cells = [cell for slide in slides for cell in _notes_early(slide)]
    return arranged


def _notes_early(slide: list[NotebookNode]) -> list[NotebookNode]:
    kinds = [cell.metadata.slideshow.slide_type for cell in slide]
    notes = [cell for cell, kind in zip(slide, kinds) if kind == "notes"]
    rest = [cell for cell, kind in zip(slide, kinds) if kind != "notes"]
    later = [index for index, kind in enumerate(kinds) if kind == "fragment"]
    first = later[0] - kinds[: later[0]].count("notes") if later else len(rest)
    return rest[:first] + notes + rest[first:]


def deck_html(lecture: Lecture, notebook: NotebookNode) -> str:
    """The page of a lecture whose cells have run.

    Args:
        lecture: which one.
        notebook: from `execute`.
    """
    from nbconvert import SlidesExporter

    exporter = SlidesExporter(
        extra_template_basedirs=[str(DECK.parent)],
        template_name=DECK.name,
        exclude_anchor_links=True,
    )
    resources = {"deck_number": lecture.number, "metadata": {"name": lecture.name}}
    page, _ = exporter.from_notebook_node(arrange(notebook), resources)
    return page


def thumbnail(notebook: NotebookNode) -> bytes | None:
    """The first picture of a lecture that has run, as a PNG of at most 480 × 270 pixels."""
    from PIL import Image

    outputs = (output for cell in notebook.cells for output in cell.get("outputs", ()))
    shown = (output.get("data", {}).get("text/html", "") for output in outputs)
    found = next(filter(None, map(_IMAGE.search, shown)), None)
    if found is None:
        return None
    with Image.open(io.BytesIO(base64.b64decode(found[1]))) as picture:
        small = picture.convert("RGB")
    small.thumbnail(_THUMBNAIL, Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.quantize(128, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()
