"""Mutated notebooks and zips: none crashes the grader, each is graded or refused with a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from random import Random
from typing import Any

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat import v4

from autograder.errors import AutograderError
from autograder.intake import collect, kin_of
from autograder.notebooks import read_cells
from autograder.rebuild import rebuild
from autograder.records import Result, to_json
from autograder.scoring import MIME, score
from autograder.template import Template

from .case import Case, Place, Work
from .harness import run_corpus
from .labs import TINY
from .levels import LEVELS, missing
from .mutations import mutated_notebook, mutated_zip

QUICK = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LONG = settings(QUICK, max_examples=1100)
BEST = next((level for level in LEVELS if not missing(level)), "")


class Class:
    """What a submission meets, made once."""

    def __init__(self, folder: Path) -> None:
        self.classroom = TINY.make_classroom(folder)
        self.template: Template = self.classroom.template(TINY.name)
        self.released = nbformat.read(self.classroom.release(TINY.name), as_version=4)
        source = nbformat.read(self.classroom.source(TINY.name), as_version=4)
        place = Place(self.classroom.root, "fuzz", 9, 2**22)
        self.work = Work.of(TINY, self.released, source, place)
        self.kin = kin_of(self.classroom.release(TINY.name).read_bytes())
        self.inbox = folder / "in"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Class:
    return Class(tmp_path_factory.mktemp("fuzz"))


def hand_in(tiny: Class, files: dict[str, bytes]) -> tuple[str, bytes]:
    """Collect one student among honest ones; returns why it was refused and the notebook."""
    shutil.rmtree(tiny.inbox, ignore_errors=True)
    for student, content in {"anna": {f"{TINY.name}.ipynb": tiny.work.bytes()}, "x": files}.items():
        for name, data in content.items():
            path = tiny.inbox / student / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    entries, taken = collect(tiny.inbox, TINY.name, tiny.kin)
    assert taken["anna"] == tiny.work.bytes()
    (entry,) = [e for e in entries if e.student == "x"]
    assert bool(entry.rejected) != ("x" in taken)
    assert "\n" not in entry.rejected
    return entry.rejected, taken.get("x", b"")


def execute(rng: Random, rebuilt: Any, notebook: Any) -> float:
    """Put outputs into a notebook as if it had run; returns the points that it earned."""
    earned = 0.0
    for cell, node in zip(rebuilt.cells, notebook.cells, strict=True):
        if cell.kind != "code" or not cell.runs:
            continue
        node.execution_count = 1
        node.outputs = [nbformat.from_dict(_output(rng)) for _ in range(rng.randint(0, 3))]
        if cell.ours and cell.ours.is_check and rng.random() < 0.5:
            report = {"earned": cell.ours.points, "checks": []}
            shown = v4.new_output("display_data", {MIME: report})
            value = v4.new_output(
                "execute_result", {"text/plain": f"{cell.ours.points:g}"}, execution_count=1
            )
            node.outputs = [shown, value]
            earned += cell.ours.points
    return earned


def _output(rng: Random) -> dict[str, Any]:
    """Any output but one that is worth points."""
    text = rng.choice(("", "None", "nan", "inf", "-1", "1e999", "x" * 3000, "<b>", "\x1b[0m"))
    bundle = {"text/plain": text, MIME: rng.choice((None, 1, [], {"checks": {}}, {"earned": "4"}))}
    return rng.choice(
        (
            {"output_type": "stream", "name": "stderr", "text": text},
            {"output_type": "error", "ename": text, "evalue": text, "traceback": [text]},
            {"output_type": "display_data", "data": bundle, "metadata": {}},
        )
    )


def grade(tiny: Class, data: bytes, rng: Random) -> None:
    """Everything between intake and recorder, but for the execution itself."""
    rebuilt = rebuild(tiny.template, read_cells(data))
    assert [c.ours for c in rebuilt.cells if c.ours] == list(tiny.template.cells)
    notebook = rebuilt.notebook()
    nbformat.validate(notebook)
    assert all(c.ours is not None or "nbgrader" not in n.metadata
               for c, n in zip(rebuilt.cells, notebook.cells))  # fmt: skip
    earned = execute(rng, rebuilt, notebook)
    questions, odd = score(rebuilt, notebook)
    nbformat.validate(notebook)
    json.dumps(notebook).encode()
    flags = (*rebuilt.flags, *odd)
    result = Result("x", "X", TINY.name, "graded", tuple(questions), flags)
    to_json(result)
    assert result.earned == pytest.approx(earned)


def try_notebook(tiny: Class, rng: Random) -> None:
    refused, data = hand_in(tiny, {f"{TINY.name}.ipynb": mutated_notebook(rng, tiny.work.nb)})
    if not refused:
        grade(tiny, data, rng)


def try_zip(tiny: Class, rng: Random) -> None:
    archive = mutated_zip(rng, f"{TINY.name}.ipynb", mutated_notebook(rng, tiny.work.nb))
    refused, data = hand_in(tiny, {"work.zip": archive})
    if not refused:
        grade(tiny, data, rng)
    # The same bytes as what a learning platform gave: one line, or entries, never a crash.
    path = tiny.inbox / "x" / "work.zip"
    try:
        entries, taken = collect(path, TINY.name, tiny.kin)
    except AutograderError as problem:
        words = str(problem)
    else:
        words = ""
        assert {e.student for e in entries if not e.rejected} == set(taken)
        assert len({e.student for e in entries}) == len(entries)
    assert "\n" not in words


@QUICK
@given(st.randoms(use_true_random=False))
def test_notebooks(tiny: Class, rng: Random) -> None:
    try_notebook(tiny, rng)


@QUICK
@given(st.randoms(use_true_random=False))
def test_zips(tiny: Class, rng: Random) -> None:
    try_zip(tiny, rng)


@pytest.mark.slow
@LONG
@given(st.randoms(use_true_random=False))
def test_many_notebooks(tiny: Class, rng: Random) -> None:
    try_notebook(tiny, rng)


@pytest.mark.slow
@LONG
@given(st.randoms(use_true_random=False))
def test_many_zips(tiny: Class, rng: Random) -> None:
    try_zip(tiny, rng)


@pytest.mark.parametrize("count", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_some_for_real(tmp_path: Path, count: int) -> None:
    """A sample through everything: boxes, gradebook, feedback, among honest students."""
    if not BEST:
        pytest.skip("this machine has no box")

    def make(seed: int) -> Any:
        return lambda work: mutated_notebook(Random(seed), work.nb)

    cases = [
        Case("fuzz", f"seed {seed}", make(seed), guilty=None, others=None, more_flags=True,
             limits=".*", reason=".")
        for seed in range(count)
    ]  # fmt: skip
    verdicts, damage, _ = run_corpus(TINY, cases, LEVELS[BEST], tmp_path)
    assert damage == []
    statuses = {v.status for v in verdicts.values()}
    assert statuses <= {"graded", "rejected"}
    assert count < 100 or len(statuses) == 2
    assert all(v.reason for v in verdicts.values() if v.status == "rejected")
