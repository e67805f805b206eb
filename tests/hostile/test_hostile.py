"""Every verdict of the corpus, in every kind of box that this machine has.

The default run takes the tiny lab in the best box, and small selections elsewhere; `-m slow` takes
everything everywhere. `python -m tests.hostile` runs single cases.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from .case import Case
from .corpus import CASES, FAMILIES
from .harness import Verdict, run_corpus
from .labs import LAB8, TINY, Lab
from .levels import LEVELS, as_nobody, missing, python_for_all
from .stock import STOCK, run_stock
from .table import TABLE, read_columns, render

Run = tuple[dict[str, Verdict], list[str], float]
REAL = [case for case in CASES if case.real]
BEST = next((level for level in LEVELS if not missing(level)), "")

pytestmark = pytest.mark.skipif(not BEST, reason="this machine has no box")


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Lab, str, str], Run]:
    """Grades a selection once, however many tests ask for it."""

    @cache
    def run(lab: Lab, level: str, which: str) -> Run:
        if reason := missing(level):
            pytest.skip(f"no level {level}: {reason}")
        cases = CASES if which == "all" else REAL
        return run_corpus(lab, cases, LEVELS[level], tmp_path_factory.mktemp("hostile"))

    return run


def by_name(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[f"{c.family}: {c.name}" for c in cases])


@by_name(CASES)
def test_tiny_lab(graded: Callable[[Lab, str, str], Run], case: Case) -> None:
    assert graded(TINY, BEST, "all")[0][case.name].wrong == ()


@by_name(REAL)
def test_tiny_lab_in_the_next_box(graded: Callable[[Lab, str, str], Run], case: Case) -> None:
    if BEST == "L2":
        pytest.skip("there is no other box")
    assert graded(TINY, "L2", "real")[0][case.name].wrong == ()


@by_name(REAL)
def test_real_lab(graded: Callable[[Lab, str, str], Run], case: Case) -> None:
    assert graded(LAB8, BEST, "real")[0][case.name].wrong == ()


@pytest.mark.parametrize(
    ("lab", "level", "which"),
    [(TINY, "L3", "all"), (TINY, "L2", "real"), (LAB8, "L3", "real")],
    ids=["tiny", "tiny in the next box", "lab 8"],
)
def test_nothing_outside_changed(
    graded: Callable[[Lab, str, str], Run], lab: Lab, level: str, which: str
) -> None:
    """No process, file or row, and not a byte of what is recorded for the honest students."""
    level = BEST if level == "L3" else level
    assert graded(lab, level, which)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize("lab", [TINY, LAB8], ids=lambda lab: lab.name)
@pytest.mark.parametrize("level", list(LEVELS))
def test_everything_everywhere(
    graded: Callable[[Lab, str, str], Run], lab: Lab, level: str
) -> None:
    verdicts, damage, _ = graded(lab, level, "all")
    assert {name: v.wrong for name, v in verdicts.items() if v.wrong} == {}
    assert damage == []


@pytest.mark.slow
@pytest.mark.parametrize("level", list(LEVELS))
def test_everything_as_a_user_without_rights(level: str) -> None:
    if os.geteuid() != 0 or not python_for_all():
        pytest.skip("only root can become nobody, with a Python that nobody may run")
    done = as_nobody(["--level", level, "--json"])
    assert done.stdout.startswith("{"), done.stdout + done.stderr[-3000:]
    assert {name: wrong for name, wrong in json.loads(done.stdout).items() if wrong} == {}


@pytest.mark.slow
def test_what_nbgrader_makes_of_some() -> None:
    """The baseline: it must do better on none than the table says, or the table is old."""
    chosen = [case for case in CASES if case.name in STOCK]
    assert len(chosen) == len(STOCK)
    right = {name for name, wrong in run_stock(chosen).items() if not wrong}
    known = {name for name, wrong in read_columns()["nbgrader"].items() if not wrong}
    assert right == known


def test_the_corpus_is_whole() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 90
    assert {case.family for case in CASES} == set(FAMILIES)
    assert {case.family for case in REAL} == set(FAMILIES)


def test_the_table_is_made_of_all_cases() -> None:
    columns = read_columns()
    assert TABLE.read_text(encoding="utf-8") == render(CASES, columns)
    assert set(columns["tiny L3"]) == {case.name for case in CASES}
    assert Path(TABLE).name == "VERDICTS.md"
