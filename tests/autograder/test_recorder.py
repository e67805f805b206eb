"""The recorder against nbgrader's own Autograde: every row, every file; and what people changed."""

from __future__ import annotations

import copy
import re
import shutil
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from books import autograde, snapshot, submitted_files
from nbformat import v4
from quick import QuickEngine
from tiny import LAB, RIGHT, answered, as_bytes, cell_of, make_classroom

from autograder.classroom import Classroom
from autograder.errors import AutograderError
from autograder.execution import Outcome, Submission
from autograder.finish import NotTaken
from autograder.limits import Limits
from autograder.recorder import Recorder, read_grades
from autograder.records import Result

WRONG = {**RIGHT, "ex-1-1-answer": "def double(x):\n    return x + 2"}
LATE = "2030-05-02 12:00:00"
PENALTY = """
c.LateSubmissionPlugin.penalty_method = "zero"
c.IgnorePattern.pattern = "harmless"
c.IgnorePattern.enabled = True
c.LimitOutput.max_lines = 50
"""


def _loud(released: Any) -> Any:
    notebook = answered(released, RIGHT)
    cell_of(notebook, "ex-1-1-answer").source += "\nimport sys"
    notebook.cells.append(v4.new_code_cell("1 / 0"))
    notebook.cells.append(v4.new_markdown_cell("a picture: é, 中文, \u2028"))
    return notebook


WORKS = {
    "ann": lambda released: answered(released, RIGHT),
    "bob O'Brien": lambda released: answered(released, WRONG),
    "Пётр, 100% (0)": lambda released: answered(released, {}),
    "loud": _loud,
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    """A class with a due date, a penalty and files beside the lab."""
    classroom = make_classroom(tmp_path_factory.mktemp("class") / "empty")
    with (classroom.root / "nbgrader_config.py").open("a") as config:
        config.write(PENALTY)
    data = classroom.source(LAB).parent / "data"
    data.mkdir()
    (data / "points.csv").write_text("1,2\n")
    with classroom.gradebook() as gradebook:
        gradebook.update_or_create_assignment(LAB, duedate="2030-05-01 00:00:00 UTC")
    return classroom


def copy_of(classroom: Classroom, root: Path) -> Classroom:
    shutil.copytree(classroom.root, root)
    return Classroom(root.resolve())


def outcomes(classroom: Classroom, works: dict[str, Any] = WORKS) -> list[Outcome]:
    """What an engine makes of the works, with outputs of all the kinds that nbgrader treats."""
    released = nbformat.read(classroom.release(LAB), as_version=4)
    template, found = classroom.template(LAB), []
    for student, work in works.items():
        submission = Submission(student, f"Name of {student}", as_bytes(work(released)))
        outcome = QuickEngine().grade(submission, template, Limits())
        outputs = cell_of(outcome.notebook, "ex-1-1-answer").outputs
        outputs.append(v4.new_output("stream", name="stdout", text="line\n" * 200))
        outputs.append(v4.new_output("stream", name="stderr", text="harmless warning\n"))
        outputs.append(v4.new_output("stream", name="stderr", text="another\n"))
        lines = [f"frame {n}" for n in range(150)]
        error = v4.new_output("error", ename="E", evalue="e", traceback=lines)
        cell_of(outcome.notebook, "ex-1-2-answer").outputs.append(error)
        found.append(outcome)
    return found


def by_both(
    ours: Classroom, theirs: Classroom, found: list[Outcome], times: dict[str, str], folder: Path
) -> None:
    """Record in one class with the recorder, in the other with nbgrader's Autograde."""
    with Recorder(ours, LAB, handed_in=times) as recorder:
        for outcome in copy.deepcopy(found):
            recorder.record(outcome)
    for number, outcome in enumerate(found):
        assert outcome.rebuilt is not None
        with theirs.gradebook() as gradebook:
            name = outcome.result.name
            first, _, last = name.rpartition(" ")
            if "," in name:
                last, _, first = name.partition(",")
            names = {"first_name": first.strip() or None, "last_name": last.strip() or None}
            gradebook.update_or_create_student(outcome.result.student, **names)
        when = times.get(outcome.result.student, "")
        autograde(theirs, LAB, outcome.rebuilt, outcome, when, folder / str(number))


def same(ours: Classroom, theirs: Classroom) -> None:
    one, other = (snapshot(c.directory().db_url) for c in (ours, theirs))
    for table in other:
        assert one[table] == other[table], table
    assert submitted_files(ours) == submitted_files(theirs)


def test_rows_and_files_are_those_of_autograde(empty: Classroom, tmp_path: Path) -> None:
    ours, theirs = (copy_of(empty, tmp_path / name) for name in ("ours", "theirs"))
    times = {"ann": "2030-04-30 10:00:00", "bob O'Brien": LATE, "loud": LATE}
    by_both(ours, theirs, outcomes(empty), times, tmp_path / "first")
    same(ours, theirs)
    grades = read_grades(ours, LAB)
    assert grades["bob O'Brien"].penalty == 6
    assert grades["ann"].penalty == 0
    assert "Output truncated" in ours.autograded("ann", LAB).read_text()
    # A person grades; then everybody hands in something else, some later than before.
    for classroom in (ours, theirs):
        with classroom.gradebook() as gradebook:
            for student, points in (("ann", 1.5), ("loud", 0.5)):
                grade = gradebook.find_grade("ex-1-2-think", LAB, LAB, student)
                grade.manual_score, grade.needs_manual_grade = points, False
                grade.extra_credit = 0.25
                comment = gradebook.find_comment("ex-1-2-think", LAB, LAB, student)
                comment.manual_comment = "well seen"
            grade = gradebook.find_grade("ex-1-1-check", LAB, LAB, "ann")
            grade.manual_score, grade.needs_manual_grade = 2, False
            gradebook.db.commit()
    turned = dict(zip(WORKS, [*list(WORKS.values())[1:], WORKS["ann"]], strict=True))
    times = {"ann": LATE, "loud": "2030-04-01 10:00:00"}
    by_both(ours, theirs, outcomes(empty, turned), times, tmp_path / "second")
    same(ours, theirs)
    kept = read_grades(ours, LAB)["ann"].cells
    assert kept["ex-1-2-think"].manual == 1.5
    assert kept["ex-1-2-think"].comment == "well seen"
    assert kept["ex-1-1-check"].score == 2
    assert kept["ex-1-1-check"].waiting


def test_formgrader_opens_what_was_written(
    empty: Classroom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbgrader.apps import NbGraderAPI
    from nbgrader.server_extensions.formgrader import apihandlers

    assert apihandlers.default_handlers
    classroom = copy_of(empty, tmp_path / "class")
    with Recorder(classroom, LAB) as recorder:
        for outcome in outcomes(empty):
            recorder.record(outcome)
    monkeypatch.chdir(classroom.root)
    api = NbGraderAPI(config=classroom.config)
    rows = {row["student"]: row for row in api.get_submissions(LAB)}
    assert set(rows) == set(WORKS)
    assert (rows["ann"]["score"], rows["bob O'Brien"]["score"]) == (10, 6)
    assert rows["ann"]["autograded"]
    notebooks = api.get_notebook_submissions(LAB, LAB)
    assert {n["student"]: n["failed_tests"] for n in notebooks}["bob O'Brien"]
    assert api.get_student_notebook_submissions("ann", LAB)[0]["needs_manual_grade"]


def test_generated_feedback_shows_no_hidden_test(empty: Classroom, tmp_path: Path) -> None:
    from nbgrader.converters import GenerateFeedback

    classroom = copy_of(empty, tmp_path / "class")
    with Recorder(classroom, LAB) as recorder:
        for outcome in outcomes(empty):
            recorder.record(outcome)
    assert "seventeen secrets" in classroom.autograded("ann", LAB).read_text()
    directory = classroom.directory()
    directory.assignment_id = LAB
    log = classroom.log(LAB)
    GenerateFeedback(coursedir=directory, config=classroom.config, log=log).start()
    for student in WORKS:
        page = re.sub("<[^>]+>", "", classroom.feedback(student, LAB).read_text())
        assert "def double" in page
        assert "-34" not in page
        assert "HIDDEN" not in page
        assert "seventeen secrets" not in page


def test_rows_that_are_missing_are_added(empty: Classroom, tmp_path: Path) -> None:
    classroom = copy_of(empty, tmp_path / "class")
    outcome = outcomes(empty)[0]
    with Recorder(classroom, LAB) as recorder:
        recorder.record(copy.deepcopy(outcome))
        before = snapshot(classroom.directory().db_url)
        with sqlite3.connect(classroom.root / "gradebook.db") as connection:
            connection.execute("DELETE FROM grade WHERE auto_score = 4")
            connection.execute("DELETE FROM comment")
        connection.close()
        assert snapshot(classroom.directory().db_url) != before
        recorder.record(outcome)
    assert snapshot(classroom.directory().db_url) == before


def test_one_bad_notebook_is_not_taken_and_changes_nothing(
    empty: Classroom, tmp_path: Path
) -> None:
    classroom = copy_of(empty, tmp_path / "class")
    first, second, *_ = outcomes(empty)
    with Recorder(classroom, LAB) as recorder:
        recorder.record(first)
        before = snapshot(classroom.directory().db_url)
        cell_of(second.notebook, "ex-1-1-check").metadata.nbgrader["points"] = "many"
        with pytest.raises(NotTaken, match="nbgrader does not take this notebook"):
            recorder.record(second)
    assert snapshot(classroom.directory().db_url) == before
    assert not classroom.autograded("bob O'Brien", LAB).exists()


def test_a_failure_of_ours_keeps_what_was_graded(empty: Classroom, tmp_path: Path) -> None:
    classroom = copy_of(empty, tmp_path / "class")
    outcome = outcomes(empty)[0]
    with Recorder(classroom, LAB) as recorder:
        recorder.record(outcome)
        before = snapshot(classroom.directory().db_url), submitted_files(classroom)
        result = replace(outcome.result, status="failed", reason="a defect", questions=())
        recorder.record(Outcome(result))
        assert (snapshot(classroom.directory().db_url), submitted_files(classroom)) == before
        rejected = Result("ann", "", LAB, "rejected", reason="empty")
        recorder.record(Outcome(rejected))
        recorder.record(Outcome(rejected))
    assert read_grades(classroom, LAB) == {}
    assert submitted_files(classroom) == {}


def test_a_transaction_is_whole_or_not_at_all(
    empty: Classroom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autograder import book

    classroom = copy_of(empty, tmp_path / "class")
    first, second, *_ = outcomes(empty)
    with Recorder(classroom, LAB) as recorder:
        recorder.record(first)
        before = snapshot(classroom.directory().db_url)
        monkeypatch.setattr(book.Book, "_write_penalty", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            recorder.record(second)
        monkeypatch.undo()
        assert snapshot(classroom.directory().db_url) == before
        recorder.record(second)
    assert set(read_grades(classroom, LAB)) == {"ann", "bob O'Brien"}


def test_a_locked_gradebook_is_waited_for(empty: Classroom, tmp_path: Path) -> None:
    classroom = copy_of(empty, tmp_path / "class")
    lock = sqlite3.connect(classroom.root / "gradebook.db", check_same_thread=False)
    with Recorder(classroom, LAB) as recorder:
        lock.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(1.0, lock.rollback)
        timer.start()
        recorder.record(outcomes(empty)[0])
        timer.join()
    assert read_grades(classroom, LAB)["ann"].cells["ex-1-1-check"].score == 4
    lock.close()


def test_a_gradebook_that_stays_locked_is_named_and_left(
    empty: Classroom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nbgrader import api

    make = api.create_engine
    fast = {"connect_args": {"timeout": 0.1}}
    monkeypatch.setattr(api, "create_engine", lambda url, **o: make(url, **o, **fast))
    classroom = copy_of(empty, tmp_path / "class")
    lock = sqlite3.connect(classroom.root / "gradebook.db")
    outcome = outcomes(empty)[0]
    with Recorder(classroom, LAB, patience=0.5) as recorder:
        lock.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(AutograderError, match=r"database is locked.*the same command goes on"):
            recorder.record(outcome)
        assert time.monotonic() - began < 5
        lock.rollback()
        assert read_grades(classroom, LAB) == {}
        recorder.record(outcome)
    lock.close()
    assert set(read_grades(classroom, LAB)) == {"ann"}


@pytest.mark.bench
def test_recording_costs_milliseconds(empty: Classroom, tmp_path: Path) -> None:
    classroom = copy_of(empty, tmp_path / "class")
    outcome = outcomes(empty)[0]
    with Recorder(classroom, LAB) as recorder:
        recorder.record(outcome)
        began = time.process_time()
        for number in range(200):
            result = replace(outcome.result, student=f"student {number}")
            recorder.record(Outcome(result, notebook=copy.deepcopy(outcome.notebook)))
        each = (time.process_time() - began) / 200
    print(f"{each * 1e3:.1f} ms of processor time per submission")
    assert each < 0.05
