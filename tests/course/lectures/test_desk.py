"""The lecturer's notebooks: written, brought up to date, and never overwritten once changed."""

from __future__ import annotations

import os
from pathlib import Path

import nbformat
import pytest

from course import jupyterlab
from course.cli import main
from course.lectures import commands
from course.lectures.desk import write_notebooks
from tests.course.lectures.small import TEXT, lecture


def change(path: Path) -> bytes:
    notebook = nbformat.read(path, 4)
    notebook.cells[1].source += "\n\nMy own words."
    nbformat.write(notebook, path)
    return path.read_bytes()


def test_notebooks_are_whole(tmp_path: Path) -> None:
    written = write_notebooks([lecture(tmp_path)], tmp_path / "mine")
    path = written.paths["11_small"]
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    assert path == tmp_path / "mine" / "11_small.ipynb"
    assert written.notes == []
    assert "Say *hello* first." in notebook.cells[3].source
    assert notebook.cells[5].metadata.jupyter.source_hidden
    assert "jupyter" not in notebook.cells[-1].metadata
    assert all(cell.get("outputs", []) == [] for cell in notebook.cells)


def test_an_unchanged_one_follows_the_course(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    path = write_notebooks([lecture(tmp_path)], mine).paths["11_small"]
    notebook = nbformat.read(path, 4)  # running it changes outputs and counts, not the lecture
    notebook.cells[-1].execution_count = 7
    nbformat.write(notebook, path)
    kept = path.read_bytes()
    assert write_notebooks([lecture(tmp_path)], mine).notes == []
    assert path.read_bytes() == kept, "what it has shown stays while the lecture is the same"
    newer = lecture(tmp_path, TEXT.replace("Two bars", "Three bars"))
    assert write_notebooks([newer], mine).notes == []
    assert "Three bars" in path.read_text(encoding="utf-8")


def test_a_changed_one_is_kept_and_a_new_copy_put_aside(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    path = write_notebooks([lecture(tmp_path)], mine).paths["11_small"]
    kept = change(path)
    for _ in range(2):
        written = write_notebooks([lecture(tmp_path)], mine)
        assert written.paths["11_small"] == path
        assert "has changes of yours" in written.notes[0]
        assert "11_small-new.ipynb" in written.notes[0]
        assert path.read_bytes() == kept
        assert sorted(p.name for p in mine.iterdir()) == ["11_small-new.ipynb", "11_small.ipynb"]
    both = change(mine / "11_small-new.ipynb")
    written = write_notebooks([lecture(tmp_path)], mine)
    assert "11_small-new-2.ipynb" in written.notes[0]
    assert (mine / "11_small-new.ipynb").read_bytes() == both
    assert path.read_bytes() == kept


@pytest.mark.parametrize("content", ["", "not a notebook", "[]", '{"cells": []}'])
def test_a_strange_file_is_the_lecturers(tmp_path: Path, content: str) -> None:
    path = tmp_path / "11_small.ipynb"
    path.write_text(content)
    written = write_notebooks([lecture(tmp_path)], tmp_path)
    assert path.read_text() == content
    assert (tmp_path / "11_small-new.ipynb").exists()
    assert len(written.notes) == 1


def test_the_command_opens_jupyterlab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    source.mkdir()
    small = lecture(source)
    lecture(source, TEXT.replace("A small", "Another"), "12_other")
    calls = []
    monkeypatch.setattr(commands, "lectures", lambda: [small])
    choose = commands.choose
    monkeypatch.setattr(commands, "choose", lambda numbers: choose(numbers, source))
    monkeypatch.setattr(jupyterlab, "open_notebook", lambda *a, **k: calls.append((a, k)) or 0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as leaving:
        main(["lectures", "open", "11", "--no-browser"])
    assert leaving.value.code == 0
    assert calls == [
        ((tmp_path / "lectures" / "11_small.ipynb",), {"browser": False, "root": tmp_path})
    ]
    elsewhere = tmp_path.parent / f"{tmp_path.name}-elsewhere"
    with pytest.raises(SystemExit):
        main(["lectures", "open", "--folder", os.fspath(elsewhere)])
    assert calls[1] == ((elsewhere / "11_small.ipynb",), {"browser": True, "root": elsewhere})


def test_an_absent_lecture_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main(["lectures", "open", "77"])
    assert leaving.value.code == 1
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
