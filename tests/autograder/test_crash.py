"""kill -9 at random moments, then the same command: the gradebook is as if nothing had happened."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from books import snapshot, submitted_files
from quick import SECONDS, QuickEngine, beside
from tiny import LAB, RIGHT, answered, as_bytes, make_classroom, moodle_zip

from autograder.classroom import Classroom
from autograder.grading import collect_class, grade_and_record, to_grade
from autograder.limits import Limits
from autograder.schedule.journal import Journal

HERE = Path(__file__).parent
STUDENTS = 30
ANSWERS = (
    "def double(x):\n    return x + x",
    "def double(x):\n    return x + 2",
    "def double(x):\n    return 2 * abs(x)",
    "def double(x:\n    return",
)


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classroom, Classroom]:
    """A class of thirty that nobody graded, and the same class graded without interruption."""
    root = tmp_path_factory.mktemp("crash")
    fresh = make_classroom(root / "fresh")
    with fresh.gradebook() as gradebook:
        gradebook.update_or_create_assignment(LAB, duedate="2030-05-01 00:00:00 UTC")
    released = nbformat.read(fresh.release(LAB), as_version=4)
    files = {}
    for number in range(STUDENTS):
        thought = f"Because of {number}."
        answers = {**RIGHT, "ex-1-1-answer": ANSWERS[number % 4], "ex-1-2-think": thought}
        files[f"Student No {number}"] = as_bytes(answered(released, answers))
    files["torn"] = b'{"cells"'
    collect_class(fresh, LAB, moodle_zip(root / "c.zip", files))
    shutil.copytree(fresh.root, root / "whole")
    whole = Classroom(root / "whole")
    template = whole.template(LAB)
    work, _ = to_grade(whole, LAB, template, Limits(), engine="quick")
    grade_and_record(whole, template, QuickEngine(), work, Limits(), jobs=2)
    return fresh, whole


def records(classroom: Classroom) -> dict[str, dict[str, object]]:
    """Every record, but for how long it took."""
    folder = classroom.state(LAB) / "results"
    found = {path.name: json.loads(path.read_text()) for path in sorted(folder.iterdir())}
    return {name: {**record, "seconds": 0} for name, record in found.items()}


def kill_and_resume(fresh: Classroom, whole: Classroom, root: Path, kills: int, seed: int) -> None:
    shutil.copytree(fresh.root, root)
    classroom = Classroom(root.resolve())
    words = [str(HERE / "killer.py"), str(root), LAB, str(kills), str(seed)]
    # Slow enough that kills hit every stage, and mostly asleep.
    settings = beside(**{SECONDS: "0.03"})
    found = subprocess.run(
        [sys.executable, *words], env=settings, capture_output=True, text=True, timeout=1200
    )
    log = (root / "run.log").read_text() if (root / "run.log").exists() else ""
    print(found.stdout)
    assert found.returncode == 0, found.stdout + found.stderr + log[-3000:]
    assert f"{kills} kills, then 0" in found.stdout
    assert "Traceback" not in log
    assert snapshot(classroom.directory().db_url) == snapshot(whole.directory().db_url)
    assert submitted_files(classroom) == submitted_files(whole)
    assert records(classroom) == records(whole)
    assert Journal(classroom.journal(LAB)).half_written == frozenset()
    assert not list(classroom.root.rglob("*.part"))
    for line in classroom.events(LAB).read_text().splitlines():
        assert line.startswith('{"at"') or not line.endswith("}")


def test_ten_kills_change_nothing(classes: tuple[Classroom, Classroom], tmp_path: Path) -> None:
    kill_and_resume(*classes, tmp_path / "class", 10, seed=int(time.time()))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_a_hundred_kills_change_nothing(
    classes: tuple[Classroom, Classroom], tmp_path: Path, seed: int
) -> None:
    kill_and_resume(*classes, tmp_path / "class", 30, seed=seed)
