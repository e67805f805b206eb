"""Every lecture runs from top to bottom without a screen, and says something on every slide."""

from __future__ import annotations

import pytest

from course.lectures.catalogue import Lecture, lectures
from course.lectures.export import arrange, deck_html
from course.lectures.kept import executed
from course.lectures.topics import TOPICS
from tests.course.lectures.small import AS_ON_THE_SITE

QUICK = 15  # seconds of processor time


@pytest.mark.parametrize("lecture", lectures(), ids=lambda each: each.name)
def test_it_runs_headless(lecture: Lecture) -> None:
    notebook = executed(lecture, AS_ON_THE_SITE.variables())
    shown = arrange(notebook).cells
    for cell in shown:
        errors = [o.text for o in cell.get("outputs", []) if o.get("name") == "stderr"]
        assert not errors, f"a cell warns: {errors[0][:300]}"
    page = deck_html(lecture, notebook)
    assert "No description has been provided" not in page
    assert notebook.metadata["processor_seconds"] < QUICK


@pytest.mark.parametrize("lecture", lectures(), ids=lambda each: each.name)
def test_it_is_built_as_lectures_are(lecture: Lecture) -> None:
    assert lecture.name == TOPICS[lecture.number].name
    slides: list[list[tuple[str, str]]] = []
    for cell in lecture.notebook().cells:
        kind = cell.metadata.slideshow.slide_type
        if kind == "slide":
            slides.append([])
        if slides and kind != "skip":
            slides[-1].append((kind, cell.source))
    assert len(slides) >= 5
    for slide in slides:
        head = slide[0][1].lstrip().splitlines()[0]
        assert head.startswith("#"), f"a slide begins with a heading, not with {head!r}"
        assert any(kind == "notes" for kind, _ in slide), f"no notes on {head!r}"
    assert slides[0][0][1].startswith("# ")
    called = f"lectures.links({lecture.number})"
    assert any(called in source for slide in slides for _, source in slide), f"nowhere {called}"
