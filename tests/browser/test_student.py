"""A student's day with lab 8: run the stubs, read the hints, write answers, validate, hand in."""

from __future__ import annotations

import shutil
from typing import Any

from autograder.layout import find_layout
from autograder.regions import SOLUTION, hidden_lines
from autograder.source import read_lab

from .conftest import ARTEFACTS, ROOT, LabServer
from .notebook import Notebook

LAB = "08_unet"
FAST = {"steps": "4", "seeds": "[0]"}


def test_a_student_solves_lab_8(lab_server: LabServer, page: Any):
    layout = find_layout(ROOT)
    shutil.copytree(layout.labs / LAB, lab_server.folder / LAB)
    lab = read_lab(layout.source(LAB))
    notebook = Notebook(page, lab_server.open(f"{LAB}/{LAB}.ipynb", "student"))

    # The untouched notebook runs to its end and says what is not written yet.
    shorten(notebook)
    notebook.run_all(180)
    assert notebook.errors() == []
    for exercise in lab.exercises:
        said = notebook.texts(f"{exercise.slug}-check")
        assert f"Exercise {exercise.number}: not written yet" in said
        assert said.rstrip().endswith("\n0")
    assert page.locator(".jupyter-widgets-error-widget").count() == 0
    notebook.focus("ex-8-1-check")
    notebook.picture(ARTEFACTS / "student-1-stubs.png")

    # A wrong answer is recognised and named.
    write(notebook, "ex-8-2-answer", "return out + 12 * 2**depth - 8 + 2**depth")
    write(notebook, "ex-8-1-answer", *solution(lab, "8.1"))
    notebook.run_all(180)
    assert "not the smallest one that is large enough" in notebook.texts("ex-8-2-check")
    notebook.focus("ex-8-2-check")
    notebook.picture(ARTEFACTS / "student-2-wrong.png")

    # Right answers: every visible check passes, the figures appear.
    for exercise in lab.exercises:
        gap = exercise.cell("gap")
        assert gap is not None
        notebook.type_into(f"{exercise.slug}-answer", without_markers(gap.source))
        if exercise.written_points:
            notebook.type_into(f"{exercise.slug}-think", "Because 388 is not a multiple of 16.")
    notebook.run_all(240)
    assert notebook.errors() == []
    for exercise in lab.exercises:
        said = notebook.texts(f"{exercise.slug}-check")
        visible = said.count("✓")
        assert f"Exercise {exercise.number}: {visible} of {visible} visible checks pass" in said
        assert said.rstrip().endswith(f"\n{exercise.test_points:g}")
    pictures = page.locator(".jp-OutputArea img[alt]")
    assert pictures.count() >= 12
    alts = [picture.get_attribute("alt") or "" for picture in pictures.all()]
    assert all(len(alt) > 20 and "No description" not in alt for alt in alts)
    notebook.focus("ex-8-5-picture")
    page.wait_for_timeout(500)
    notebook.picture(ARTEFACTS / "student-3-solved.png")

    # nbgrader's own button agrees.
    notebook.save()
    page.get_by_text("Validate", exact=True).click()
    dialog = page.locator(".jp-Dialog")
    dialog.wait_for(timeout=240_000)
    notebook.picture(ARTEFACTS / "student-4-validated.png")
    assert "Success" in dialog.inner_text()


def shorten(notebook: Notebook) -> None:
    """Turn the experiment down in the parameter cell, as a student in a hurry would."""
    cell = next(c for c in notebook.cells() if c["source"].startswith("dataset ="))
    lines = cell["source"].splitlines()
    for name, value in FAST.items():
        lines = [f"{name} = {value}" if row.startswith(f"{name} =") else row for row in lines]
    notebook.type_into(cell["id"], "\n".join(lines))


def write(notebook: Notebook, name: str, *lines: str) -> None:
    """Replace the stub of a gap by lines of an answer."""
    source = notebook.cell(name)["source"]
    stub = "    # YOUR CODE HERE\n    raise NotImplementedError()"
    assert stub in source
    notebook.type_into(name, source.replace(stub, "\n".join(f"    {line}" for line in lines)))


def solution(lab: Any, number: str) -> list[str]:
    """Lines of the reference answer, without their indentation of four."""
    gap = next(e for e in lab.exercises if e.number == number).cell("gap")
    return [line.removeprefix("    ") for _, line in hidden_lines(gap.source, SOLUTION)]


def without_markers(source: str) -> str:
    """A gap cell as a student would have written it."""
    return "\n".join(row for row in source.splitlines() if "### " not in row)
