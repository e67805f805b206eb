"""Faults around the grader: one clear line, an exit code, the state intact, and the way on."""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from books import snapshot, submitted_files
from quick import QuickEngine, beside
from tiny import LAB, RIGHT, answered, as_bytes, make_classroom

from autograder.classroom import Classroom
from autograder.grading import collect_class, grade_and_record, to_grade
from autograder.limits import Limits
from autograder.sheet import read_sheet

STUDENTS = 8
ODD = (
    "O'Brien; DROP TABLE grade;--",
    "..",
    "-rf",
    "50% [a-z]* ?",
    "Ω\u200b𝒳 \U0001f600",
    "tab\tnew\nline",
    "a" * 300,
    "…",
)


def make_class(root: Path, names: list[str]) -> Classroom:
    classroom = make_classroom(root / "class")
    released = nbformat.read(classroom.release(LAB), as_version=4)
    handed = {
        f"{name}_{number}_assignsubmission_file_/{LAB}.ipynb": as_bytes(
            answered(released, {**RIGHT, "ex-1-2-think": f"Because {number}. " + "x" * 5000})
        )
        for number, name in enumerate(names, 1)
    }
    with zipfile.ZipFile(root / "c.zip", "w") as archive:
        for name, data in handed.items():
            archive.writestr(name, data)
    collect_class(classroom, LAB, root / "c.zip")
    return classroom


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Classroom, Classroom]:
    """A class that nobody graded, and the same one graded."""
    root = tmp_path_factory.mktemp("faults")
    fresh = make_class(root, [f"student {number}" for number in range(STUDENTS)])
    shutil.copytree(fresh.root, root / "whole")
    whole = Classroom((root / "whole").resolve())
    template = whole.template(LAB)
    work, _ = to_grade(whole, LAB, template, Limits(), engine="quick")
    grade_and_record(whole, template, QuickEngine(), work, Limits(), jobs=2)
    return fresh, whole


@pytest.fixture
def fresh(classes: tuple[Classroom, Classroom], tmp_path: Path) -> Classroom:
    shutil.copytree(classes[0].root, tmp_path / "class")
    return Classroom((tmp_path / "class").resolve())


def same(one: Classroom, other: Classroom) -> None:
    assert snapshot(one.directory().db_url) == snapshot(other.directory().db_url)
    assert submitted_files(one) == submitted_files(other)


def run(
    classroom: Path, *words: str, before: Callable[[], None] | None = None, within: tuple = ()
) -> tuple[int, str]:
    """`autograder grade` in a process of its own; exit status and the error line, or ""."""
    code = "import quick; quick.register(); from autograder.cli import main; main()"
    command = [*within, sys.executable, "-c", code, "grade", str(classroom), LAB]
    found = subprocess.run(
        [*command, "--engine", "quick", *words],
        env=beside(COLUMNS="300"),
        preexec_fn=before,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = found.stdout + found.stderr
    assert "Traceback" not in said, said
    lines = [line for line in said.splitlines() if line.startswith("error:")]
    assert len(lines) == (found.returncode != 0), said
    return found.returncode, lines[0] if lines else ""


def test_a_file_that_may_not_grow(fresh: Classroom, classes: tuple[Classroom, Classroom]) -> None:
    size = (fresh.root / "gradebook.db").stat().st_size

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, resource.RLIM_INFINITY))

    code, line = run(fresh.root, before=limit)
    assert code == 1
    assert "the disk is full or a quota is reached" in line
    assert "make room, then the same command goes on" in line
    assert run(fresh.root) == (0, "")
    same(fresh, classes[1])


_IN_A_SMALL_PLACE = """
import shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from test_schedule_faults import run
source, place = Path(sys.argv[1]), Path(sys.argv[2])
shutil.copytree(source, place / "class")
# Room for some of them: what the gradebook's journal, notebooks and records need runs out midway.
filler, room = place / "filler", int(sys.argv[4])
with filler.open("wb") as file:
    file.write(b"x" * (shutil.disk_usage(place).free - room))
print(*run(place / "class"), flush=True)
recorded = len(list(place.glob("class/.autograder/*/results/*.json")))
filler.unlink()
print(*run(place / "class"), flush=True)
print(recorded, "recorded at first")
shutil.copytree(place / "class", sys.argv[5])
"""


@pytest.mark.parametrize("room", [40_000, 150_000, 260_000])
def test_a_full_disk(classes: tuple[Classroom, Classroom], tmp_path: Path, room: int) -> None:
    bwrap = shutil.which("bwrap")
    place = tmp_path / "small"
    place.mkdir()
    box = [bwrap or "", "--dev-bind", "/", "/", "--size", "6000000", "--tmpfs", str(place)]
    if not bwrap or subprocess.run([*box, "true"], capture_output=True).returncode:
        pytest.skip("no bubblewrap that may mount here: no small disk to fill")
    words = [str(classes[0].root), str(place), str(Path(__file__).parent), str(room)]
    command = [*box, sys.executable, "-c", _IN_A_SMALL_PLACE, *words, str(tmp_path / "out")]
    found = subprocess.run(command, env=beside(), capture_output=True, text=True, timeout=120)
    assert found.returncode == 0, found.stdout + found.stderr
    first, second, third = found.stdout.splitlines()
    assert first.startswith("1 error: cannot write to"), first
    assert "the disk is full" in first
    assert second == "0 "
    assert int(third.split()[0]) < STUDENTS
    same(Classroom((tmp_path / "out").resolve()), classes[1])


def test_a_locked_gradebook(fresh: Classroom, classes: tuple[Classroom, Classroom]) -> None:
    lock = sqlite3.connect(fresh.root / "gradebook.db")
    lock.execute("BEGIN EXCLUSIVE")
    code, line = run(fresh.root)
    assert code == 1
    assert "is locked by another program" in line
    assert "then the same command goes on" in line
    lock.rollback()
    lock.close()
    assert run(fresh.root) == (0, "")
    same(fresh, classes[1])


def test_a_class_that_may_not_be_written(fresh: Classroom, tmp_path: Path) -> None:
    bwrap = shutil.which("bwrap")
    box = (bwrap or "", "--dev-bind", "/", "/", "--ro-bind", str(fresh.root), str(fresh.root))
    if not bwrap or subprocess.run([*box, "true"], capture_output=True).returncode:
        pytest.skip("no bubblewrap that may mount here")
    code, line = run(fresh.root, within=box)
    assert code == 1
    assert "Read-only file system" in line or "cannot write" in line


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--engine", "none"), "no engine 'none'; there is kernel, "),
        (("--limit", "memory=2G"), "no limit 'memory=2G'; there is cell_seconds=60"),
        (("--limit", "memory_bytes=lots"), "no limit 'memory_bytes=lots'"),
        (("--limit", "output_bytes=0"), "output_bytes must be positive"),
        (("--only", "nobody"), "no student 'nobody' among 8 collected"),
    ],
)
def test_options_that_cannot_be(fresh: Classroom, words: tuple[str, ...], said: str) -> None:
    from test_cluster import line_of

    code, line = line_of("grade", fresh.root, LAB, *words)
    assert code == 2
    assert said in line
    assert not (fresh.state(LAB) / "results").exists()


def test_students_with_odd_names(tmp_path: Path) -> None:
    classroom = make_class(tmp_path, list(ODD))
    outside = sorted(path for path in tmp_path.rglob("*") if classroom.root not in path.parents)
    assert run(classroom.root) == (0, "")
    sheet = read_sheet(classroom, LAB)
    assert [row.status for row in sheet.rows] == ["graded"] * len(ODD)
    assert {row.total for row in sheet.rows} == {10}
    assert len(list(classroom.root.glob("autograded/*/*/*.ipynb"))) == len(ODD)
    names = {row.name for row in sheet.rows}
    assert {"O'Brien; DROP TABLE grade;--", "-rf", "Ω\u200b𝒳 \U0001f600", "…"} <= names
    assert outside == sorted(p for p in tmp_path.rglob("*") if classroom.root not in p.parents)
    assert run(classroom.root) == (0, "")


def test_a_machine_that_cannot_lock_students_in(
    fresh: Classroom, monkeypatch: pytest.MonkeyPatch
) -> None:
    from test_cluster import line_of

    from autograder.sandbox import SandboxError, ladder

    def no_box() -> None:
        raise SandboxError("no box of this machine holds:\n  level 3\n  level 2")

    monkeypatch.setattr(ladder, "best", no_box)
    code, line = line_of("grade", fresh.root, LAB)
    assert code == 1
    assert "this machine cannot lock students' code in; to mend it: " in line
    assert line.endswith("students' code runs with your rights: --engine kernel")
    code, line = line_of("grade", fresh.root, LAB, "--sandbox", "L9")
    assert code == 2
    assert "no sandbox level 'L9'; there is L3: namespaces" in line
    assert not (fresh.state(LAB) / "results").exists()
