"""A gradebook on a real PostgreSQL server, which this file starts and stops."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from books import snapshot, submitted_files
from quick import QuickEngine
from sqlalchemy import make_url
from test_cluster import line_of
from tiny import LAB, RIGHT, answered, as_bytes, moodle_zip, source_notebook

from autograder.classroom import Classroom, create_classroom, open_classroom
from autograder.database import hold_database, shown_url
from autograder.errors import AutograderError
from autograder.grading import collect_class, grade_and_record, to_grade
from autograder.limits import Limits
from autograder.recorder import read_grades
from autograder.sheet import read_sheet

WRONG = {**RIGHT, "ex-1-1-answer": "def double(x):\n    return x + 2"}


def _binaries() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    on_path = shutil.which("pg_ctl")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Server:
    """A server on a socket in a folder of its own, run by `postgres` where we are root."""

    def __init__(self, binaries: Path, folder: Path) -> None:
        self._binaries = binaries
        self._folder = folder
        if os.geteuid() == 0:
            shutil.chown(folder, "postgres")
            folder.chmod(0o755)
        # Nothing waits for the disk: the server lives for these tests only.
        self._options = f"-c listen_addresses= -c fsync=off -k {folder}"
        self.run("initdb", "-D", str(folder / "data"), "-A", "trust", "-U", "postgres")
        self.start()

    def run(self, program: str, *words: str) -> None:
        """Run one of the server's programs."""
        command = [str(self._binaries / program), *words]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        log = (self._folder.parent / "postgres.log").open("ab")
        subprocess.run(command, check=True, cwd="/", stdout=log, stderr=log, timeout=60)

    def start(self) -> None:
        data, log = str(self._folder / "data"), str(self._folder / "log")
        self.run("pg_ctl", "-D", data, "-w", "-l", log, "-o", self._options, "start")

    def stop(self) -> None:
        self.run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")

    def database(self, name: str) -> str:
        """A new, empty database; returns its URL as an instructor would write it."""
        self.run("createdb", "-h", str(self._folder), "-U", "postgres", name)
        return f"postgresql://postgres@/{name}?host={self._folder}"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL here: apt-get install postgresql")
    # A short path: a socket's name has 107 characters at most. Readable for another user.
    folder = Path("/tmp") / f"ag-pg-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "server").mkdir(parents=True)
    folder.chmod(0o755)
    found = Server(binaries, folder / "server")
    try:
        yield found
    finally:
        found.stop()
        shutil.rmtree(folder, ignore_errors=True)


def collect(classroom: Classroom, folder: Path) -> None:
    with (classroom.root / "nbgrader_config.py").open("a") as config:
        config.write('c.LateSubmissionPlugin.penalty_method = "zero"\n')
    classroom.add_lab(LAB, nbformat.writes(source_notebook()).encode())
    released = nbformat.read(classroom.release(LAB), as_version=4)
    files = {
        "Ann Ω": as_bytes(answered(released, RIGHT)),
        "O'Brien; DROP TABLE grade": as_bytes(answered(released, WRONG)),
        "stub": as_bytes(answered(released, {})),
    }
    with classroom.gradebook() as gradebook:
        gradebook.update_or_create_assignment(LAB, duedate="2000-01-01 00:00:00 UTC")
    if not folder.exists():  # the times in the zip are those of the submissions
        folder.mkdir()
        moodle_zip(folder / "c.zip", files)
    collect_class(classroom, LAB, folder / "c.zip")


def grade(classroom: Classroom, *, again: bool = False) -> int:
    template = classroom.template(LAB)
    work, _ = to_grade(classroom, LAB, template, Limits(), engine="quick", again=again)
    return len(grade_and_record(classroom, template, QuickEngine(), work, Limits(), jobs=2))


def test_a_class_on_a_server_is_as_one_in_a_file(server: Server, tmp_path: Path) -> None:
    url = server.database("grades")
    here = create_classroom(tmp_path / "file")
    there = create_classroom(tmp_path / "server", url)
    collect(here, tmp_path / "zip")
    collect(there, tmp_path / "zip")
    assert grade(here) == grade(there) == 3
    normal = there.directory().db_url
    assert normal.startswith("postgresql+psycopg://")
    assert snapshot(normal) == snapshot(here.directory().db_url)
    assert submitted_files(here) == submitted_files(there)
    assert not (there.root / "gradebook.db").exists()
    # The configuration remembers the server, so formgrader and the next command find it.
    again = open_classroom(there.root)
    assert make_url(again.directory().db_url) == make_url(normal)
    grades = read_grades(again, LAB)
    assert grades["Ann Ω"].penalty == 10
    assert {row.status for row in read_sheet(again, LAB).rows} == {"graded"}
    with again.gradebook() as gradebook:
        mark = gradebook.find_grade("ex-1-2-think", LAB, LAB, "Ann Ω")
        mark.manual_score, mark.needs_manual_grade = 1.5, False
        gradebook.db.commit()
    assert grade(again, again=True) == 3
    assert read_grades(again, LAB)["Ann Ω"].cells["ex-1-2-think"].manual == 1.5


def test_two_machines_do_not_write_at_once(server: Server, tmp_path: Path) -> None:
    url = server.database("shared")
    one = create_classroom(tmp_path / "one", url)
    collect(one, tmp_path / "zip")
    shutil.copytree(one.root, tmp_path / "other")
    other = open_classroom(tmp_path / "other")
    refused = pytest.raises(AutograderError, match="or on another machine with its gradebook")
    with one.only_one(), refused, other.only_one():
        pytest.fail("two held the gradebook")
    with other.only_one(), hold_database(other.directory().db_url, "another class") as held:
        assert held


def test_a_server_that_goes_away_loses_nothing(server: Server, tmp_path: Path) -> None:
    classroom = create_classroom(tmp_path / "class", server.database("fragile"))
    collect(classroom, tmp_path / "zip")
    template = classroom.template(LAB)
    work, _ = to_grade(classroom, LAB, template, Limits(), engine="quick")
    seen: list[str] = []

    def stop(outcome: object) -> None:
        seen.append("one")
        server.stop()

    try:
        with pytest.raises(
            AutograderError, match=r"cannot write the gradebook: .*see that it runs"
        ):
            grade_and_record(classroom, template, QuickEngine(), work, Limits(), jobs=1, watch=stop)
        code, line = line_of("grade", classroom.root, LAB)
        assert code == 1
        assert "cannot open the gradebook postgresql+psycopg://postgres@/fragile" in line
    finally:
        server.start()
    assert grade(classroom) == 2
    assert len(read_grades(classroom, LAB)) == 3


def test_one_clear_line_for_a_wrong_url(server: Server, tmp_path: Path) -> None:
    classroom = create_classroom(tmp_path / "class")
    collect(classroom, tmp_path / "zip")
    for url, code, words in (
        (f"{server.database('empty')}", 1, "has no tables of nbgrader's"),
        ("postgresql://ann:secret@127.0.0.1:9/grades", 1, "cannot open the gradebook"),
        ("mysql://host/grades", 2, "no URL of a gradebook"),
        ("grades.db", 2, "no URL of a gradebook"),
        (f"sqlite:///{tmp_path}/none.db", 1, "there is no gradebook at"),
    ):
        found, line = line_of("grade", classroom.root, LAB, "--db", url)
        assert (found, words in line) == (code, True), line
        assert "secret" not in line


def test_a_password_does_not_go_into_the_class(tmp_path: Path) -> None:
    create_classroom(tmp_path / "class", "postgresql://ann:secret@host/grades")
    text = (tmp_path / "class" / "nbgrader_config.py").read_text()
    assert 'db_url = "postgresql+psycopg://ann@host/grades"' in text
    assert "secret" not in text
    assert "secret" not in shown_url("postgresql+psycopg://ann:secret@host/grades")
