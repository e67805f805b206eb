"""Every student notebook, as released, opens in JupyterLab and runs to its end on its stubs."""

from __future__ import annotations

import shutil
from typing import Any

import pytest

from autograder.layout import find_layout
from autograder.source import read_lab

from .conftest import ARTEFACTS, ROOT, LabServer
from .notebook import Notebook

LAYOUT = find_layout(ROOT)
LABS = LAYOUT.select([])


@pytest.mark.parametrize("name", LABS)
def test_it_opens_and_runs(name: str, lab_server: LabServer, page: Any) -> None:
    shutil.copytree(LAYOUT.labs / name, lab_server.folder / "all" / name)
    lab = read_lab(LAYOUT.source(name))
    notebook = Notebook(page, lab_server.open(f"all/{name}/{name}.ipynb", f"all-{name}"))
    notebook.run_all(240)
    notebook.picture(ARTEFACTS / f"lab-{name}.png")
    assert notebook.errors() == []
    for exercise in lab.exercises:
        said = notebook.texts(f"{exercise.slug}-check")
        assert f"Exercise {exercise.number}: not written yet" in said
    pictures = page.locator(".jp-OutputArea img")
    alts = [picture.get_attribute("alt") or "" for picture in pictures.all()]
    assert alts, "a lab shows pictures before anything is written"
    assert all(len(alt) > 20 and "No description" not in alt for alt in alts)
    assert page.locator(".jupyter-widgets-error-widget").count() == 0
    # A kernel that stays up holds half a gigabyte: fourteen of them are too many.
    page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
