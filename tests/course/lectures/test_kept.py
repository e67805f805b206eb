"""A lecture runs again when its text, its variables or the library changed, and only then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from nbformat import NotebookNode, v4

from course.lectures import kept
from course.lectures.catalogue import Lecture
from tests.course.lectures.small import lecture as small_lecture


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Texts of the lectures that ran, with a cache and a library of the test's own."""
    done: list[str] = []

    def execute(lecture: Lecture, *_: Any, **__: Any) -> NotebookNode:
        done.append(lecture.source)
        return v4.new_notebook(cells=[v4.new_markdown_cell(f"run {len(done)}")])

    library = tmp_path / "library"
    library.mkdir()
    (library / "unet.py").write_text("depth = 4")
    monkeypatch.setattr(kept, "execute", execute)
    monkeypatch.setattr(kept, "_LIBRARY", library)
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "cache"))
    return done


def said(lecture: Lecture, **variables: str) -> str:
    return kept.executed(lecture, variables).cells[0].source


def test_it_runs_once_until_something_changes(runs: list[str], tmp_path: Path) -> None:
    lecture = small_lecture(tmp_path)
    assert [said(lecture), said(lecture)] == ["run 1", "run 1"]
    assert [said(lecture, LABS="x"), said(lecture)] == ["run 2", "run 1"]
    (tmp_path / "library" / "unet.py").write_text("depth = 5")
    assert [said(lecture), said(lecture)] == ["run 3", "run 3"]
    (tmp_path / "library" / "lectures").mkdir()
    (tmp_path / "library" / "lectures" / "12_other.py").write_text("# another lecture")
    assert said(lecture) == "run 3"
    lecture.path.write_text(lecture.source + "\n# more")
    assert said(Lecture(lecture.path)) == "run 4"
    places = list((tmp_path / "cache" / "lectures").iterdir())
    assert len(places) == 2, "one run a set of variables is kept"


@pytest.mark.parametrize("text", ["", "{}", '{"key": 1}', "[1]", "\x00"])
def test_what_is_torn_is_run_again(runs: list[str], tmp_path: Path, text: str) -> None:
    lecture = small_lecture(tmp_path)
    said(lecture)
    (place,) = (tmp_path / "cache" / "lectures").iterdir()
    place.write_text(text)
    assert [said(lecture), said(lecture)] == ["run 2", "run 2"]


def test_a_folder_that_cannot_be_written_costs_nothing(runs, tmp_path, monkeypatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("COURSE_CACHE", str(tmp_path / "file"))
    lecture = small_lecture(tmp_path)
    assert [said(lecture), said(lecture)] == ["run 1", "run 2"]
