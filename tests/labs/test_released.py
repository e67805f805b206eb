"""Every solution runs through papermill, proves its claim, and labs/ is what it would give."""

from __future__ import annotations

import re
import subprocess
import sys

import nbformat
import pytest

from autograder.layout import find_layout

from .claims_page import claims_in, claims_page, without_numbers
from .conftest import SOLUTIONS, labs

CLAIMS = SOLUTIONS.parent / "docs" / "claims.md"


def autograder(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the command as an instructor would, in this checkout."""
    command = [sys.executable, "-m", "autograder", *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=SOLUTIONS.parent)


@pytest.fixture(scope="module")
def executed() -> dict[str, nbformat.NotebookNode]:
    """The executed solutions, long experiments included."""
    done = autograder("run")
    assert done.returncode == 0, done.stdout + done.stderr
    layout = find_layout(SOLUTIONS.parent)
    return {lab: nbformat.read(layout.executed / f"{lab}.ipynb", 4) for lab in labs()}


def test_solutions_earn_every_point(executed, lab: str):
    scores = {}
    for cell in executed[lab].cells:
        if cell.metadata.get("course", {}).get("role") == "check":
            results = [o for o in cell.outputs if o.output_type == "execute_result"]
            assert len(results) == 1
            scores[cell.metadata.course.exercise] = float(results[0].data["text/plain"])
    assert scores == {e.number: e.test_points for e in labs()[lab].exercises}


def test_nothing_goes_to_the_error_stream(executed, lab: str):
    outputs = [(c.source[:60], o) for c in executed[lab].cells for o in c.get("outputs", [])]
    assert [(s, o.text) for s, o in outputs if o.get("name") == "stderr"] == []
    assert [(s, o.evalue) for s, o in outputs if o.output_type == "error"] == []


def test_every_picture_says_what_it_shows(executed, lab: str):
    pages = [
        output.data["text/html"]
        for cell in executed[lab].cells
        for output in cell.get("outputs", [])
        if "text/html" in output.get("data", {})
    ]
    pictures = [tag for page in pages for tag in re.findall(r"<img [^>]*>", page)]
    assert len(pictures) >= len(labs()[lab].exercises)
    for tag in pictures:
        alt = re.search(r'alt="([^"]*)"', tag)
        assert alt, tag[:80]
        assert len(alt.group(1)) > 20
        assert "No description" not in alt.group(1)


def test_every_lab_puts_a_claim_to_the_test(executed, lab: str):
    cards = claims_in(executed[lab])
    assert cards, "the experiment of a lab ends in a claim card: course.claims.claim(...).show()"
    assert {card.lab for card in cards} == {int(lab[:2])}


def test_the_page_of_claims_is_current(executed, request: pytest.FixtureRequest):
    page = claims_page(executed)
    if request.config.getoption("--write-docs"):
        CLAIMS.write_text(page, encoding="utf-8")
    # Words and verdicts to the letter, numbers as far as machines agree on them.
    assert without_numbers(CLAIMS.read_text(encoding="utf-8")) == without_numbers(page)


def test_labs_are_current(executed):
    done = autograder("release", "--check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_students_get_no_solution_and_no_hidden_test(lab: str):
    text = find_layout(SOLUTIONS.parent).notebook(lab).read_text(encoding="utf-8")
    for word in ("BEGIN SOLUTION", "BEGIN HIDDEN", "check.hidden", "END HIDDEN"):
        assert word not in text
