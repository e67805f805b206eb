"""The page with all demos and the command that opens it."""

from __future__ import annotations

from html import unescape
from pathlib import Path

import nbformat
import pytest

from course import demos, jupyterlab
from course.cli import main
from course.demos import gallery


def course(*arguments: str) -> int | str | None:
    with pytest.raises(SystemExit) as leaving:
        main([*arguments])
    return leaving.value.code


def test_the_gallery_is_a_valid_notebook_with_every_demo_at_rest(tmp_path: Path) -> None:
    page = nbformat.read(gallery.write(tmp_path / "new"), as_version=4)
    nbformat.validate(page)
    shown = [cell for cell in page.cells if cell.source.startswith("demos.show")]
    assert [cell.source for cell in shown] == [f'demos.show("{name}")' for name in demos.names()]
    for cell, name in zip(shown, demos.names()):
        (output,) = cell.outputs
        assert demos.get(name).title in unescape(output["data"]["text/html"])
    headings = [cell.source[3:] for cell in page.cells if cell.source.startswith("## ")]
    for heading in headings:
        assert f'href="#{heading.replace(" ", "-")}"' in page.cells[0].source.replace("&#x27;", "'")


def test_the_command_writes_some_demos_and_starts_jupyterlab(tmp_path, monkeypatch, capsys) -> None:
    started = []
    monkeypatch.setattr(
        jupyterlab, "open_notebook", lambda path, browser: started.append((path, browser)) or 0
    )
    assert course("demos", "iou", "--folder", str(tmp_path), "--no-browser") == 0
    assert started == [(tmp_path / "demos.ipynb", False)]
    assert "Run All Cells" in capsys.readouterr().out


def test_a_wrong_name_or_folder_is_one_clear_line(tmp_path: Path, capsys) -> None:
    assert course("demos", "iuo", "--folder", str(tmp_path)) == 2
    assert "no demo is called 'iuo'; there are" in capsys.readouterr().err
    file = tmp_path / "file"
    file.write_text("")
    assert course("demos", "iou", "--folder", str(file)) == 2
    assert str(file) in capsys.readouterr().err


def test_jupyterlab_is_started_where_the_notebook_lies(tmp_path: Path, monkeypatch) -> None:
    notebook = gallery.write(tmp_path, ["iou"])
    commands = []

    class Done:
        returncode = 3

    monkeypatch.setattr(
        jupyterlab.subprocess, "run", lambda command, check: commands.append(command) or Done
    )
    assert jupyterlab.open_notebook(notebook, browser=False) == 3
    assert f"--ServerApp.root_dir={tmp_path}" in commands[0]
    assert "--LabApp.default_url=/lab/tree/demos.ipynb" in commands[0]
    assert "--no-browser" in commands[0]


def test_jupyterlab_without_a_notebook_or_uninstalled(tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(FileNotFoundError, match="there is no notebook"):
        jupyterlab.open_notebook(tmp_path / "none.ipynb")
    notebook = gallery.write(tmp_path, ["iou"])
    monkeypatch.setattr(jupyterlab, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install jupyterlab"):
        jupyterlab.open_notebook(notebook)
