"""Keys, store, journal, events, partial regrades, and the order in which a run ends."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
from books import snapshot, submitted_files
from quick import SECONDS, QuickEngine, beside
from tiny import (
    LAB,
    RIGHT,
    answered,
    as_bytes,
    cell_of,
    make_classroom,
    make_template,
    moodle_zip,
    source_notebook,
)

from autograder.classroom import Classroom
from autograder.errors import AutograderError
from autograder.execution import Outcome, Submission
from autograder.grading import collect_class, grade_and_record, to_grade
from autograder.limits import Limits
from autograder.records import Flag, Result, read_result
from autograder.schedule.events import EventLog
from autograder.schedule.jobs import Done, Job, LocalPool
from autograder.schedule.journal import Journal
from autograder.schedule.keys import Keyring
from autograder.schedule.store import Store, in_bytes, out_of_bytes
from autograder.template import Template

WRONG = {**RIGHT, "ex-1-1-answer": "def double(x):\n    return x + 2"}


def work_of(number: int, released: Any) -> bytes:
    """A notebook of its own for every number: right, half right, or with another answer."""
    answers = {**(RIGHT if number % 3 else WRONG), "ex-1-2-think": f"Because {number}."}
    return as_bytes(answered(released, answers))


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    return make_classroom(tmp_path_factory.mktemp("class") / "empty")


@pytest.fixture
def classroom(empty: Classroom, tmp_path: Path) -> Classroom:
    """A class of six, collected."""
    shutil.copytree(empty.root, tmp_path / "class")
    found = Classroom((tmp_path / "class").resolve())
    released = nbformat.read(found.release(LAB), as_version=4)
    files = {f"student {n}": work_of(n, released) for n in range(6)}
    collect_class(found, LAB, moodle_zip(tmp_path / "c.zip", files))
    return found


def grade(classroom: Classroom, engine: QuickEngine, **options: Any) -> list[Outcome]:
    template = classroom.template(LAB)
    again = options.pop("again", False)
    work, _ = to_grade(classroom, LAB, template, Limits(), engine="quick", again=again, **options)
    return grade_and_record(classroom, template, engine, work, Limits(), jobs=2, again=again)


def asked(engine: QuickEngine) -> dict[str, frozenset[str] | None]:
    """Who was judged, witnesses aside, and for which questions."""
    return {who: what for who, what in engine.calls if not who.startswith("/")}


def change_test(classroom: Classroom, old: str, new: str) -> None:
    """Change the lab in the class as an instructor does: in source/, and release it again."""
    text = classroom.source(LAB).read_text()
    assert old in text
    classroom.add_lab(LAB, text.replace(old, new).encode())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("template"))


def test_a_key_covers_everything_that_a_result_depends_on(template: Template) -> None:
    one = Keyring(template, Limits(), "kernel").of(b"{}")
    assert Keyring(template, Limits(), "kernel").of(b"{}") == one
    for ring, data in (
        (Keyring(template, Limits(), "kernel"), b"{ }"),
        (Keyring(template, Limits(cell_seconds=5), "kernel"), b"{}"),
        (Keyring(template, Limits(), "sandbox L3"), b"{}"),
        (Keyring(template, Limits(), "kernel", {"data.csv": b"1"}), b"{}"),
        (Keyring(replace(template, kernel="other"), Limits(), "kernel"), b"{}"),
        (Keyring(_with_source(template, "setup", "import math"), Limits(), "kernel"), b"{}"),
    ):
        other = ring.of(data)
        assert other.base != one.base
        assert other.whole != one.whole


def _with_source(template: Template, grade_id: str, source: str) -> Template:
    cells = [replace(c, source=source) if c.grade_id == grade_id else c for c in template.cells]
    return replace(template, cells=tuple(cells))


def test_a_changed_test_changes_its_own_key_only(template: Template) -> None:
    one = Keyring(template, Limits(), "kernel").of(b"{}")
    changed = _with_source(template, "ex-1-2-check", "assert square(2) == 4")
    other = Keyring(changed, Limits(), "kernel").of(b"{}")
    assert other.base == one.base
    assert other.whole != one.whole
    assert other.changed(one) == {"ex-1-2-check"}


def test_the_environment_is_part_of_the_key(
    template: Template, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autograder.schedule import keys

    one = Keyring(template, Limits(), "kernel").of(b"{}")
    found = keys.environment()
    assert {"python", "torch", "numpy", "course", "autograder"} <= set(found)
    monkeypatch.setattr(keys, "environment_key", lambda: keys.digest_of({**found, "torch": "0"}))
    assert keys.Keyring(template, Limits(), "kernel").of(b"{}").base != one.base


def test_a_stored_result_has_no_name_and_is_whole_or_absent(
    template: Template, tmp_path: Path
) -> None:
    data = as_bytes(answered(nbformat.reads(template.text.decode(), 4), RIGHT))
    submission = Submission("ann", "Ann", data, (Flag("renamed", "was a.ipynb"),))
    outcome = QuickEngine().grade(replace(submission, flags=()), template, Limits())
    keys, store = Keyring(template, Limits(), "quick").of(data), Store(tmp_path / "store")
    assert store.get(keys) is None
    blob = in_bytes(keys, outcome)
    assert b"ann" not in json.dumps(out_of_bytes(blob).result.__dict__, default=str).encode()
    store.put(blob)
    found = store.get(keys)
    assert found is not None
    named = found.named(submission)
    assert (named.result.student, named.result.key) == ("ann", keys.whole)
    assert named.result.questions == outcome.result.questions
    assert named.result.flags[0].code == "renamed"
    assert named.notebook == outcome.notebook
    (path,) = (tmp_path / "store").rglob("*.z")
    for damage in (blob[: len(blob) // 2], b"", b"nonsense"):
        path.write_bytes(damage)
        assert store.get(keys) is None
        assert store.nearest(keys) is None
    store.put(blob)
    os.utime(path, (0, 0))
    assert store.prune() == 1
    assert store.get(keys) is None


def test_a_journal_knows_what_was_half_written(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.begin("ann", "1")
        journal.end("ann")
        journal.begin("Пётр\n\ud800", "2")
        journal.prove("k")
    assert Journal(path).half_written == {"Пётр\n\ud800"}
    assert Journal(path).is_proved("k")
    whole = path.read_bytes()
    for size in range(len(whole)):  # torn at any byte, then written on
        path.write_bytes(whole[:size])
        with Journal(path) as journal:
            journal.begin("bob", "3")
        assert "bob" in Journal(path).half_written
        with Journal(path) as journal:
            journal.end("bob")
        torn = Journal(path)
        assert torn.half_written <= {"ann", "Пётр\n\ud800"}
    path.write_bytes(b"\x00" * 100 + b"\n" + whole)
    assert Journal(path).half_written == {"Пётр\n\ud800"}


def test_a_long_journal_is_made_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from autograder.schedule import journal as module

    monkeypatch.setattr(module, "_MANY_LINES", 20)
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.prove("k")
        for number in range(50):
            journal.begin(f"s{number}", "1")
            journal.end(f"s{number}")
        journal.begin("last", "1")
    assert len(path.read_bytes().splitlines()) < 30
    assert Journal(path).half_written == {"last"}
    assert Journal(path).is_proved("k")


def test_an_event_log_takes_every_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "torn')
    events = EventLog(path)
    events("started", student="Ann\nBob")
    events.recorded(Outcome(Result("ann", "Ann", LAB, "rejected", reason="empty")), "run")
    events.close()
    lines = path.read_text().splitlines()[1:]
    first, second = (json.loads(line) for line in lines)
    assert (first["event"], first["student"]) == ("started", "Ann\nBob")
    assert (second["status"], second["reason"], second["source"]) == ("rejected", "empty", "run")
    assert first["run"] == second["run"]
    EventLog(path / "below a file")("started")  # a log that cannot be written costs no grades


def test_nothing_is_judged_twice(classroom: Classroom) -> None:
    engine = QuickEngine()
    assert len(grade(classroom, engine)) == 6
    assert [who for who, _ in engine.calls][:2] != []
    assert {who for who, _ in engine.calls[:2]} == {"/reference", "/untouched"}
    assert len(engine.calls) == 8
    book = snapshot(classroom.directory().db_url)
    engine = QuickEngine()
    assert grade(classroom, engine) == []
    assert engine.calls == []
    # Records, notebooks and the gradebook's rows are gone: the store still knows.
    shutil.rmtree(classroom.root / "autograded")
    shutil.rmtree(classroom.state(LAB) / "results")
    with classroom.gradebook() as gradebook:
        for number in range(6):
            gradebook.remove_submission(LAB, f"student {number}")
    assert len(grade(classroom, engine)) == 6
    assert engine.calls == []
    assert snapshot(classroom.directory().db_url) == book
    assert len(grade(classroom, engine, again=True)) == 6
    assert len(engine.calls) == 8


def test_a_moved_class_keeps_its_results(classroom: Classroom, tmp_path: Path) -> None:
    grade(classroom, QuickEngine())
    classroom.root.rename(tmp_path / "elsewhere")
    moved, engine = Classroom((tmp_path / "elsewhere").resolve()), QuickEngine()
    assert grade(moved, engine) == []
    assert engine.calls == []


def test_two_who_hand_in_the_same_are_judged_once(classroom: Classroom, tmp_path: Path) -> None:
    data = classroom.submitted("student 1", LAB).read_bytes()
    collect_class(classroom, LAB, moodle_zip(tmp_path / "d.zip", {"twin": data, "third": data}))
    engine = QuickEngine()
    done = {o.result.student: o.result for o in grade(classroom, engine)}
    assert len(done) == 8
    assert len(engine.calls) == 8
    assert done["twin"].questions == done["student 1"].questions
    assert done["twin"].name == "twin"


def test_a_changed_test_is_judged_alone(classroom: Classroom) -> None:
    grade(classroom, QuickEngine())
    change_test(classroom, "x * x", "x * x")
    assert grade(classroom, QuickEngine()) == []
    change_test(classroom, "assert double(-17) == -34", "assert double(-17) < 0, 'harder'")
    engine = QuickEngine()
    done = grade(classroom, engine)
    assert set(asked(engine).values()) == {frozenset({"ex-1-1-check"})}
    assert len(done) == len(asked(engine)) == 6
    partly = snapshot(classroom.directory().db_url), submitted_files(classroom)
    results = {o.result.student: o.result for o in done}
    # The same as judging everything again, notebook bytes included.
    engine = QuickEngine()
    full = grade(classroom, engine, again=True)
    assert set(asked(engine).values()) == {None}
    assert (snapshot(classroom.directory().db_url), submitted_files(classroom)) == partly
    for outcome in full:
        assert results[outcome.result.student] == outcome.result
    assert results["student 0"].questions[0].earned == 3
    # And back again: both versions of the test are in the store.
    change_test(classroom, "assert double(-17) < 0, 'harder'", "assert double(-17) == -34")
    engine = QuickEngine()
    assert len(grade(classroom, engine)) == 6
    assert engine.calls == []


def test_a_changed_setup_judges_everything(classroom: Classroom) -> None:
    grade(classroom, QuickEngine())
    change_test(classroom, "import math", "import math, cmath")
    engine = QuickEngine()
    grade(classroom, engine)
    assert set(asked(engine).values()) == {None}
    assert len(asked(engine)) == 6


def test_a_visible_change_that_is_taken_back_judges_nobody_again(classroom: Classroom) -> None:
    grade(classroom, QuickEngine())
    change_test(classroom, "Multiply, do not add.", "Multiply.")
    grade(classroom, QuickEngine())
    change_test(classroom, "Multiply.", "Multiply, do not add.")
    engine = QuickEngine()
    grade(classroom, engine)
    assert asked(engine) == {}


def test_who_took_the_lab_before_it_was_mended_edited_nothing(
    classroom: Classroom, tmp_path: Path
) -> None:
    released = nbformat.read(classroom.release(LAB), as_version=4)
    cell_of(released, "ex-1-2-check").source += "\n# mine"
    files = {"editor": as_bytes(answered(released, RIGHT))}
    collect_class(classroom, LAB, moodle_zip(tmp_path / "e.zip", files))
    change_test(classroom, "Multiply, do not add.", "Multiply.")
    change_test(classroom, "raise RuntimeError('an experiment')", "print('an experiment')")
    change_test(classroom, "Multiply.", "Multiply x by itself.")
    for _ in range(2):
        outcomes = {o.result.student: o for o in grade(classroom, QuickEngine(), again=True)}
        flags = {who: [flag.code for flag in o.result.flags] for who, o in outcomes.items()}
        assert flags.pop("editor") == ["locked-edited"]
        assert set(map(tuple, flags.values())) == {()}
        shown = nbformat.read(classroom.autograded("student 1", LAB), as_version=4)
        assert shown.cells[-1].source == "print('an experiment')"
    classroom.state(LAB).joinpath("released.json").write_text("[")
    assert grade(classroom, QuickEngine(), again=True)[0].result.status == "graded"


def test_a_run_that_was_killed_between_two_writes_is_mended(classroom: Classroom) -> None:
    grade(classroom, QuickEngine())
    book = snapshot(classroom.directory().db_url)
    with Journal(classroom.journal(LAB)) as journal:
        journal.begin("student 3", "whatever")
    with classroom.gradebook() as gradebook:
        gradebook.find_grade("ex-1-1-check", LAB, LAB, "student 3").auto_score = 1
        gradebook.db.commit()
    assert [o.result.student for o in grade(classroom, QuickEngine())] == ["student 3"]
    assert snapshot(classroom.directory().db_url) == book


def test_the_untouched_notebook_must_earn_nothing(classroom: Classroom) -> None:
    change_test(classroom, "assert square(3) == 9", "square")
    before = snapshot(classroom.directory().db_url)
    for _ in range(2):  # a refusal is not remembered as a proof
        with pytest.raises(AutograderError) as caught:
            grade(classroom, QuickEngine())
        assert "the untouched notebook of 01_tiny earns 2 of 6 points" in str(caught.value)
        assert "exercise 1.2: it passes three" in str(caught.value)
    assert snapshot(classroom.directory().db_url) == before
    assert not (classroom.state(LAB) / "results").exists()
    assert json.loads(_events(classroom)[-1])["event"] == "run-failed"


def _events(classroom: Classroom) -> list[str]:
    return classroom.events(LAB).read_text().splitlines()


def test_the_event_log_tells_the_run(classroom: Classroom) -> None:
    grade(classroom, QuickEngine())
    found = [json.loads(line) for line in _events(classroom)]
    names = [entry["event"] for entry in found]
    assert (names[0], names[-1]) == ("run-started", "run-finished")
    assert names.count("recorded") == 6
    assert names.count("started") == 8
    assert names.index("proved") < names.index("recorded")
    row = next(e for e in found if e.get("student") == "student 0" and e["event"] == "recorded")
    assert (row["earned"], row["points"], row["waiting"], row["source"]) == (6.0, 12, 1, "run")


class _Broken:
    """An engine with defects of its own."""

    name = "broken"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def grade(
        self,
        submission: Submission,
        template: Any,
        limits: Limits,
        *,
        questions: frozenset[str] | None = None,
    ) -> Outcome:
        if submission.student == "bad":
            raise self.error
        return Outcome(Result(submission.student, "", LAB, "rejected", reason="a test"))

    def close(self) -> None:
        """Nothing runs."""


def run_pool(engine: Any, template: Template, count: int = 1, **options: Any) -> Iterator[Done]:
    ring = Keyring(template, Limits(), "x")
    names = [("a", "bad", "c")[n % 3] for n in range(3 * count)]
    jobs = [Job(Submission(n, n, n.encode()), ring.of(n.encode())) for n in names]
    return LocalPool(engine, options.pop("jobs", 1)).run(jobs, template, Limits(), **options)


def test_a_defect_of_ours_costs_one_student_only(template: Template) -> None:
    engine = _Broken(RuntimeError("no room left"))
    done = {d.job.submission.student: d for d in run_pool(engine, template)}
    assert done["bad"].error == "RuntimeError: no room left"
    assert not done["bad"].data
    assert out_of_bytes(done["a"].data).result.status == "rejected"
    assert out_of_bytes(done["c"].data).result.reason == "a test"
    with pytest.raises(ValueError, match="jobs must be positive, got 0"):
        LocalPool(engine, 0)


def test_a_full_disk_is_no_defect_of_one_student(template: Template) -> None:
    engine = _Broken(OSError(28, "No space left on device"))
    with pytest.raises(AutograderError, match="the disk is full"):
        list(run_pool(engine, template))


def test_after_a_stop_only_what_is_at_work_comes(template: Template) -> None:
    began: list[str] = []
    pool = run_pool(
        _Broken(RuntimeError()),
        template,
        4,
        jobs=2,
        stopped=lambda: len(began) >= 3,
        started=lambda job: began.append(job.submission.student),
    )
    assert 3 <= len(list(pool)) <= 4


def test_a_defect_is_recorded_and_tried_again(classroom: Classroom) -> None:
    class Defect(QuickEngine):
        def grade(self, submission: Submission, *given: Any, **named: Any) -> Outcome:
            if submission.student == "student 2":
                raise RuntimeError("a defect")
            return super().grade(submission, *given, **named)

    grade(classroom, Defect())
    result = read_result(classroom.result("student 2", LAB))
    assert (result.status, result.reason) == ("failed", "RuntimeError: a defect")
    engine = QuickEngine()
    assert [o.result.student for o in grade(classroom, engine)] == ["student 2"]
    assert read_result(classroom.result("student 2", LAB)).status == "graded"


def start(classroom: Classroom, seconds: float) -> subprocess.Popen[str]:
    """`autograder grade` in a process of its own, each submission taking so long."""
    code = "import quick; quick.register(); from autograder.cli import main; main()"
    words = ["grade", str(classroom.root), LAB, "--engine", "quick", "-j", "2"]
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        env=beside(**{SECONDS: str(seconds)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(classroom: Classroom, event: str, times: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        log = classroom.events(LAB)
        found = [e for e in (_events(classroom) if log.exists() else []) if f'"{event}"' in e]
        if len(found) >= times:
            return
        time.sleep(0.05)
    pytest.fail(f"no {event} in a minute")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_ends_in_order(classroom: Classroom, number: int, code: int) -> None:
    process = start(classroom, 0.7)
    wait_for(classroom, "started", 4)  # the witnesses and the first two
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == code, output
    assert "stopping: those at work come to their end" in output
    stopped = json.loads(_events(classroom)[-1])
    assert stopped["event"] == "run-stopped"
    assert 2 <= stopped["done"] < 6
    assert f"stopped: {stopped['done']} of 6 are in the gradebook" in output
    assert Journal(classroom.journal(LAB)).half_written == frozenset()
    assert len(list((classroom.state(LAB) / "results").iterdir())) == stopped["done"]
    engine = QuickEngine()
    assert len(grade(classroom, engine)) == stopped["left"]
    assert len(engine.calls) == stopped["left"]


def test_the_second_signal_ends_at_once(classroom: Classroom) -> None:
    process = start(classroom, 30)
    wait_for(classroom, "started", 2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=25)
    assert time.monotonic() - began < 20
    assert process.returncode == 130, output
    assert "stopped: 0 of 6 are in the gradebook; the same command goes on" in output
    assert "Traceback" not in output
    assert len(grade(classroom, QuickEngine())) == 6


def test_new_tests_come_from_the_course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_demo import write_course
    from typer.testing import CliRunner

    from autograder.cli import app
    from autograder.schedule import engines

    engine = QuickEngine()
    monkeypatch.setitem(engines.ENGINES, "quick", lambda *recipe: engine)
    monkeypatch.chdir(write_course(tmp_path / "course"))
    released = answered(source_notebook(), {})
    moodle_zip(tmp_path / "c.zip", {"ann": work_of(1, released), "bob": work_of(0, released)})

    def command(*words: str) -> str:
        outcome = CliRunner().invoke(app, list(words))
        assert outcome.exit_code == 0, outcome.output
        return outcome.output

    command("collect", "../class", "1", "../c.zip")
    command("grade", "../class", "1", "--engine", "quick")
    first = read_result(Classroom(tmp_path / "class").result("bob", LAB))
    path = Path("solutions") / f"{LAB}.py"
    path.write_text(path.read_text().replace("double(-17) == -34", "double(-17) < 0"))
    engine.calls.clear()
    assert "2 unchanged" in command("grade", "../class", "1", "--engine", "quick")
    assert engine.calls == []
    assert f"released {LAB} again" in command(
        "grade", "../class", "1", "--engine", "quick", "--new-tests"
    )
    assert asked(engine) == dict.fromkeys(("ann", "bob"), frozenset({"ex-1-1-check"}))
    second = read_result(Classroom(tmp_path / "class").result("bob", LAB))
    assert (first.questions[0].earned, second.questions[0].earned) == (0, 3)
    assert first.questions[1:] == second.questions[1:]
