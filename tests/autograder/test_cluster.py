"""The same jobs on dask.distributed: a real scheduler, real workers, one of them killed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from pathlib import Path
from typing import Any

import nbformat
import pytest
from books import snapshot, submitted_files
from distributed.comm import CommClosedError
from quick import SECONDS, QuickEngine, beside
from tiny import LAB, RIGHT, answered, as_bytes, make_classroom, moodle_zip
from typer.testing import CliRunner

from autograder.classroom import Classroom
from autograder.cli import app
from autograder.errors import AutograderError
from autograder.grading import collect_class, grade_and_record, grade_in, to_grade
from autograder.limits import Limits
from autograder.recorder import read_grades
from autograder.schedule import cluster
from autograder.schedule.engines import Recipe
from autograder.schedule.jobs import LocalPool

STUDENTS = 12
WRONG = {**RIGHT, "ex-1-1-answer": "def double(x):\n    return x + 2"}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    """A class of twelve that nobody graded."""
    root = tmp_path_factory.mktemp("cluster")
    classroom = make_classroom(root / "class")
    released = nbformat.read(classroom.release(LAB), as_version=4)
    files = {
        f"student {n}": as_bytes(
            answered(released, {**(RIGHT if n % 3 else WRONG), "ex-1-2-think": f"Because {n}."})
        )
        for n in range(STUDENTS)
    }
    collect_class(classroom, LAB, moodle_zip(root / "c.zip", files))
    return classroom


def copy_of(classroom: Classroom, root: Path) -> Classroom:
    shutil.copytree(classroom.root, root)
    return Classroom(root.resolve())


class Cluster:
    """A scheduler and its workers, each a process of its own, as `dask` starts them."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.folder = folder
        self.file = folder / "scheduler.json"
        settings = {SECONDS: str(seconds), "OMP_NUM_THREADS": "1"}
        self._environment = beside(**settings)
        words = ["scheduler", "--port", "0", "--no-dashboard", "--host", "127.0.0.1"]
        self.scheduler = self._start("scheduler", [*words, "--scheduler-file", str(self.file)])
        self.workers: list[subprocess.Popen[bytes]] = []

    def _start(self, name: str, words: list[str]) -> subprocess.Popen[bytes]:
        log = (self.folder / f"{name}.log").open("wb")
        return subprocess.Popen(
            [sys.executable, "-m", "dask", *words],
            env=self._environment,
            cwd=self.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
        )

    def add_worker(self) -> subprocess.Popen[bytes]:
        """Start a worker with one thread that knows the quick engine."""
        plugin = self.folder / "preload.py"
        plugin.write_text("import quick\nquick.register()\n")
        words = ["worker", "--scheduler-file", str(self.file), "--nthreads", "1", "--no-nanny"]
        words += ["--no-dashboard", "--preload", str(plugin), "--host", "127.0.0.1"]
        worker = self._start(f"worker{len(self.workers)}", words)
        self.workers.append(worker)
        return worker

    def close(self) -> None:
        """Kill what still runs."""
        for process in (*self.workers, self.scheduler):
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Two workers that take a quarter of a second per submission."""
    found = Cluster(tmp_path_factory.mktemp("dask"), 0.25)
    try:
        found.add_worker()
        found.add_worker()
        yield found
    finally:
        found.close()


def wait_for_file(path: Path) -> str:
    deadline = time.monotonic() + 60
    while not path.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    return str(path)


def grade(
    classroom: Classroom, where: Cluster, workers: int, watch: Any = lambda outcome: None
) -> list[str]:
    """Grade the class on the cluster; returns the students in the order of recording."""
    template = classroom.template(LAB)
    files = classroom.release(LAB).parent
    pool = cluster.connect(wait_for_file(where.file), Recipe("quick"), files)
    pool._client.wait_for_workers(workers, timeout=60)
    work, _ = to_grade(classroom, LAB, template, Limits(), engine=pool.label)
    done = grade_in(pool, classroom, template, work, Limits(), watch=watch)
    return [outcome.result.student for outcome in done]


@pytest.fixture(scope="module")
def whole(empty: Classroom, tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    """The class graded on this machine."""
    classroom = copy_of(empty, tmp_path_factory.mktemp("whole") / "class")
    template = classroom.template(LAB)
    work, _ = to_grade(classroom, LAB, template, Limits(), engine="quick")
    grade_and_record(classroom, template, QuickEngine(), work, Limits(), jobs=2)
    return classroom


def same(one: Classroom, other: Classroom) -> None:
    assert snapshot(one.directory().db_url) == snapshot(other.directory().db_url)
    assert submitted_files(one) == submitted_files(other)


def test_one_worker_killed_in_the_middle(
    empty: Classroom, whole: Classroom, quick: Cluster, tmp_path: Path
) -> None:
    classroom, seen = copy_of(empty, tmp_path / "class"), []

    def kill(outcome: Any) -> None:
        seen.append(outcome.result.student)
        if len(seen) == 3:
            quick.workers[0].send_signal(signal.SIGKILL)
            quick.workers[0].wait()

    done = grade(classroom, quick, 2, kill)
    assert sorted(done) == sorted(f"student {n}" for n in range(STUDENTS))
    same(classroom, whole)
    # The results are the same as this machine's, so they are in its store, too.
    engine = QuickEngine()
    template = classroom.template(LAB)
    work, unchanged = to_grade(classroom, LAB, template, Limits(), engine="quick")
    assert (work, unchanged) == ([], STUDENTS)
    assert engine.calls == []
    quick.add_worker()


def test_a_worker_that_comes_later_is_used(
    empty: Classroom, whole: Classroom, tmp_path: Path
) -> None:
    found = Cluster(tmp_path, 0.3)
    try:
        found.add_worker()
        classroom = copy_of(empty, tmp_path / "class")
        came: list[int] = []

        def add(outcome: Any) -> None:
            if not came:
                came.append(found.add_worker().pid)

        grade(classroom, found, 1, add)
        same(classroom, whole)
    finally:
        found.close()


@pytest.mark.parametrize("moment", ["while it works", "while we record"])
def test_the_scheduler_dies(
    moment: str,
    empty: Classroom,
    whole: Classroom,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One line that says so, whatever was being asked; nothing is lost or laid at a student."""
    found = Cluster(tmp_path, 0.3)
    killer, seen = threading.Timer(0.4, found.close), []

    def die(outcome: Any) -> None:
        seen.append(outcome)
        if len(seen) > 1:
            return
        if moment == "while it works":
            killer.start()
        else:
            found.close()  # what is asked next waits ten seconds for an answer

    try:
        found.add_worker()
        classroom = copy_of(empty, tmp_path / "class")
        with pytest.raises(AutograderError, match=r"the cluster at .* went away.*goes on"):
            grade(classroom, found, 1, die)
    finally:
        killer.cancel()
        found.close()
    assert "Traceback" not in caplog.text
    assert 0 < len(seen) < STUDENTS
    assert {outcome.result.status for outcome in seen} == {"graded"}
    template = classroom.template(LAB)
    work, unchanged = to_grade(classroom, LAB, template, Limits(), engine="quick")
    assert unchanged == len(seen)
    grade_in(LocalPool(QuickEngine(), 2), classroom, template, work, Limits())
    same(classroom, whole)


@pytest.mark.parametrize("moment", ["before a worker comes", "before they introduce themselves"])
def test_the_scheduler_dies_before_the_work(
    moment: str, empty: Classroom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Cluster(tmp_path, 0)
    killer = threading.Timer(1.0, found.close)

    def die() -> dict[str, str]:
        found.close()
        return {}

    try:
        address = wait_for_file(found.file)
        if moment == "before a worker comes":
            killer.start()
        else:
            found.add_worker()
            monkeypatch.setattr(cluster, "environment", die)
        with pytest.raises(AutograderError, match=r"the cluster at .* went away"):
            cluster.connect(address, Recipe("quick"), empty.release(LAB).parent)
    finally:
        killer.cancel()
        found.close()


def test_a_job_given_up_with_its_scheduler_is_no_students_fault(
    quick: Cluster, empty: Classroom
) -> None:
    """The connection may be lost between any two questions about one job."""
    files = empty.release(LAB).parent
    pool = cluster.connect(wait_for_file(quick.file), Recipe("quick"), files)

    class Lost:
        """A future whose connection goes in the middle of what it is asked."""

        def __init__(self, kept: BaseException | None, raised: BaseException) -> None:
            self.kept, self.raised = kept, raised

        def exception(self) -> BaseException | None:
            return self.kept

        def result(self) -> bytes:
            raise self.raised

    given_up = CancelledError("the connection to the scheduler was lost")
    job: Any = None
    try:
        for future in (
            Lost(given_up, AssertionError()),
            Lost(None, given_up),
            Lost(None, CommClosedError("closed")),
            Lost(None, TimeoutError("no answer")),
        ):
            with pytest.raises(AutograderError, match="went away"):
                pool._result(future, job)
        own = Lost(OSError("the job's own"), AssertionError())
        assert pool._result(own, job).error == "OSError: the job's own"
    finally:
        pool.close()


def line_of(*words: str | Path) -> tuple[int, str]:
    """Exit status and the one line that the command line says."""
    result = CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "300"})
    lines = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.output
    assert "Traceback" not in result.output
    return result.exit_code, lines[0]


def test_a_cluster_that_is_not_there(
    empty: Classroom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_ANSWER", 1.0)
    classroom = copy_of(empty, tmp_path / "class")
    before = snapshot(classroom.directory().db_url)
    for address, words in (
        ("tcp://127.0.0.1:9", "no dask scheduler answers at tcp://127.0.0.1:9"),
        ("nonsense://x", "no dask scheduler answers at nonsense://x"),
        (str(tmp_path / "none.json"), "no scheduler file"),
    ):
        code, line = line_of("grade", classroom.root, LAB, "--cluster", address)
        assert code == 1
        assert words in line
    assert snapshot(classroom.directory().db_url) == before
    assert not (classroom.state(LAB) / "results").exists()


def test_a_cluster_without_workers_or_with_others(
    quick: Cluster, empty: Classroom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = empty.release(LAB).parent
    address = wait_for_file(quick.file)
    with pytest.raises(AutograderError, match=r"the worker at .* cannot grade: no engine 'other'"):
        cluster.connect(address, Recipe("other"), files)
    monkeypatch.setattr(cluster, "environment", lambda: {"python": "2.7", "torch": "0.1"})
    with pytest.raises(AutograderError, match=r"it has python 3.*, here 2\.7"):
        cluster.connect(address, Recipe("quick"), files)
    monkeypatch.undo()
    monkeypatch.setattr(cluster, "_WORKERS", 1.0)
    lonely = Cluster(tmp_path, 0)
    try:
        with pytest.raises(AutograderError, match="has no workers: start some with `dask worker"):
            cluster.connect(wait_for_file(lonely.file), Recipe("quick"), files)
    finally:
        lonely.close()


@pytest.mark.slow
def test_the_sandbox_on_a_cluster(empty: Classroom, whole: Classroom, tmp_path: Path) -> None:
    """The real engine in a real worker, under dask's nanny as `dask worker` starts it."""
    found = Cluster(tmp_path, 0)
    try:
        found.add_worker()
        classroom = copy_of(empty, tmp_path / "class")
        address = wait_for_file(found.file)
        pool = cluster.connect(address, Recipe("sandbox"), classroom.release(LAB).parent)
        assert pool.label.startswith("sandbox L")
        template = classroom.template(LAB)
        work, _ = to_grade(classroom, LAB, template, Limits(), engine=pool.label)
        done = grade_in(pool, classroom, template, work, Limits())
        assert {o.result.engine for o in done} == {pool.label}
    finally:
        found.close()
    points = {
        student: {cell: grade.score for cell, grade in grades.cells.items()}
        for student, grades in read_grades(classroom, LAB).items()
    }
    assert points == {
        student: {cell: grade.score for cell, grade in grades.cells.items()}
        for student, grades in read_grades(whole, LAB).items()
    }
