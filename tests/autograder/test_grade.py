"""Grading for real: nbgrader, kernels and a gradebook; honest, broken and hostile notebooks."""

import shutil
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat import v4
from tiny import LAB, RIGHT, answered, as_bytes, cell_of, make_classroom, moodle_zip
from typer.testing import CliRunner

from autograder.classroom import Classroom, create_classroom, open_classroom
from autograder.cli import app
from autograder.errors import AutograderError
from autograder.execution import Outcome
from autograder.grading import collect_class, grade_and_record, kernel_engine, to_grade
from autograder.limits import Limits
from autograder.recorder import read_grades
from autograder.records import Question, Result, from_json, read_result, to_json
from autograder.sheet import Sheet, read_sheet

LIMITS = Limits(cell_seconds=3, total_seconds=60)
WRONG = {**RIGHT, "ex-1-1-answer": "def double(x):\n    return x + 2"}
SLEEPER = "autograder-test-sleeper"


def _double(body: str) -> dict[str, str]:
    return {**RIGHT, "ex-1-1-answer": f"def double(x):\n{body}"}


def _noisy(notebook: Any) -> None:
    cell = cell_of(notebook, "ex-1-1-answer")
    cell.source = (
        "import sys, warnings\ndef double(x):\n    warnings.warn('careful')\n"
        "    print('noise', file=sys.stderr)\n    print('y' * 3_000_000)\n    return 2 * x"
    )


def _pasted(notebook: Any) -> None:
    notebook.cells.append(notebook.cells[5].copy())
    notebook.cells.append(v4.new_code_cell("%reset -f"))


def _escaped(notebook: Any) -> None:
    code = (
        "import subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600) # {SLEEPER}'],"
        " start_new_session=True)"
    )
    notebook.cells.insert(4, v4.new_code_cell(code))


CLASS: dict[str, Callable[[Any], Any] | dict[str, str]] = {
    "ann": RIGHT,
    "bob": WRONG,
    "stub": {},
    "loop": _double("    while True: pass"),
    "exit": _double("    import os; os._exit(3)"),
    "forge": _double("    import sys; sys.displayhook(4.0); return x"),
    "killer": _double("    import os, signal; os.kill(os.getppid(), signal.SIGKILL)"),
    "noisy": _noisy,
    "pasted": _pasted,
    "escaped": _escaped,
}


def _notebook(released: Any, work: Callable[[Any], Any] | dict[str, str]) -> bytes:
    notebook = answered(released, work if isinstance(work, dict) else RIGHT)
    if not isinstance(work, dict):
        work(notebook)
    return as_bytes(notebook)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Classroom:
    """A class to which the lab was released, before anybody handed in."""
    return make_classroom(tmp_path_factory.mktemp("class") / "empty")


@pytest.fixture(scope="module")
def released(empty: Classroom) -> Any:
    return nbformat.read(empty.release(LAB), as_version=4)


def copy_of(classroom: Classroom, root: Path) -> Classroom:
    shutil.copytree(classroom.root, root)
    return Classroom(root.resolve())


def grade_all(classroom: Classroom, **options: Any) -> list[Outcome]:
    template = classroom.template(LAB)
    work, _ = to_grade(classroom, LAB, template, LIMITS, engine="kernel", **options)
    engine = kernel_engine(classroom, LAB, jobs=2)
    return grade_and_record(classroom, template, engine, work, LIMITS, jobs=2)


@pytest.fixture(scope="module")
def graded(
    empty: Classroom, released: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Classroom, Sheet]:
    folder = tmp_path_factory.mktemp("graded")
    classroom = copy_of(empty, folder / "class")
    files = {name: _notebook(released, work) for name, work in CLASS.items()}
    collect_class(classroom, LAB, moodle_zip(folder / "c.zip", {**files, "torn": b'{"cells"'}))
    grade_all(classroom)
    return classroom, read_sheet(classroom, LAB)


def result_of(sheet: Sheet, student: str) -> Result:
    row = next(row for row in sheet.rows if row.student == student)
    assert row.result is not None
    return row.result


def question(result: Result, cell: str) -> Question:
    return next(q for q in result.questions if q.cell == cell)


@pytest.mark.parametrize(
    ("student", "first", "second"),
    [
        ("ann", 4, 6),
        ("bob", 0, 6),
        ("stub", 0, 0),
        ("loop", 0, 6),
        ("exit", 0, 6),
        ("forge", 0, 6),
        ("killer", 0, 0),
        ("noisy", 4, 6),
        ("pasted", 4, 6),
        ("escaped", 4, 6),
    ],
)
def test_only_the_guilty_question_loses_points(
    graded: tuple[Classroom, Sheet], student: str, first: float, second: float
) -> None:
    result = result_of(graded[1], student)
    assert result.status == "graded"
    assert question(result, "ex-1-1-check").earned == first
    assert question(result, "ex-1-2-check").earned == second


def test_the_gradebook_says_the_same(graded: tuple[Classroom, Sheet]) -> None:
    classroom, sheet = graded
    grades = read_grades(classroom, LAB)
    assert set(grades) == set(CLASS)
    for student in CLASS:
        for q in result_of(sheet, student).questions:
            cell = grades[student].cells[q.cell]
            assert cell.score == (q.earned or 0)
            assert cell.waiting == (q.earned is None)


def test_written_answers_wait_for_a_person_unless_untouched(
    graded: tuple[Classroom, Sheet],
) -> None:
    assert question(result_of(graded[1], "ann"), "ex-1-2-think").earned is None
    untouched = question(result_of(graded[1], "stub"), "ex-1-2-think")
    assert untouched.earned == 0
    assert not untouched.answered


def test_named_checks_and_limits_are_recorded(graded: tuple[Classroom, Sheet]) -> None:
    seen, hidden = question(result_of(graded[1], "bob"), "ex-1-1-check").checks
    assert (seen.name, seen.passed, seen.message) == (
        "two",
        False,
        "Did you add 2 instead of doubling?",
    )
    assert seen.detail == "AssertionError: 9"
    assert (hidden.hidden, hidden.detail) == (True, "")
    assert result_of(graded[1], "loop").limits == ("exercise 1.1: stopped after 3 s",)
    ended = "exercise 1.1: the Python process ended in this cell"
    assert result_of(graded[1], "exit").limits == (ended,)


@pytest.mark.parametrize(
    ("student", "code"),
    [
        ("forge", "score-odd"),
        ("killer", "grader-killed"),
        ("pasted", "cell-duplicated"),
        ("escaped", "process-left"),
    ],
)
def test_what_is_odd_is_flagged(graded: tuple[Classroom, Sheet], student: str, code: str) -> None:
    assert code in {flag.code for flag in result_of(graded[1], student).flags}


def test_honest_students_have_no_flags(graded: tuple[Classroom, Sheet]) -> None:
    for student in ("ann", "bob", "stub", "noisy"):
        assert result_of(graded[1], student).flags == ()


def test_no_process_survives(graded: tuple[Classroom, Sheet]) -> None:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        lines = [" ".join(p.info["cmdline"] or []) for p in psutil.process_iter(["cmdline"])]
        left = [line for line in lines if SLEEPER in line or str(graded[0].root) in line]
        if not left:
            return
        time.sleep(0.2)
    pytest.fail(f"still running: {left}")


def test_a_broken_file_is_in_the_list_but_not_in_the_gradebook(
    graded: tuple[Classroom, Sheet],
) -> None:
    classroom, sheet = graded
    row = next(row for row in sheet.rows if row.student == "torn")
    assert row.status == "rejected"
    assert "cut off" in row.reason
    assert not classroom.autograded("torn", LAB).exists()


def test_printing_is_cut_but_points_are_not(graded: tuple[Classroom, Sheet]) -> None:
    assert graded[0].autograded("noisy", LAB).stat().st_size < 3_000_000


def test_honest_points_equal_those_of_stock_nbgrader(
    empty: Classroom, released: Any, graded: tuple[Classroom, Sheet], tmp_path: Path
) -> None:
    from nbgrader.converters import Autograde

    classroom = copy_of(empty, tmp_path / "stock")
    for student in ("ann", "bob", "stub"):
        path = classroom.submitted(student, LAB)
        path.parent.mkdir(parents=True)
        path.write_bytes(_notebook(released, CLASS[student]))
    directory = classroom.directory()
    directory.assignment_id = LAB
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log = classroom.log(LAB)
        Autograde(coursedir=directory, config=classroom.config, log=log).start()
    ours = read_grades(graded[0], LAB)
    for student, stock in read_grades(classroom, LAB).items():
        assert ours[student] == stock


def test_a_second_run_grades_only_what_changed(
    graded: tuple[Classroom, Sheet], released: Any, tmp_path: Path
) -> None:
    classroom = copy_of(graded[0], tmp_path / "again")
    before = read_grades(classroom, LAB)
    assert grade_all(classroom) == []
    # As after a kill between the gradebook and the record.
    classroom.result("bob", LAB).unlink()
    late = tmp_path / "late" / "ann" / LAB / f"{LAB}.ipynb"
    late.parent.mkdir(parents=True)
    late.write_bytes(_notebook(released, WRONG))
    with classroom.gradebook() as gradebook:
        grade = gradebook.find_grade("ex-1-2-think", LAB, LAB, "ann")
        grade.manual_score, grade.needs_manual_grade = 1.5, False
        gradebook.db.commit()
    collect_class(classroom, LAB, tmp_path / "late")
    done = grade_all(classroom)
    assert {o.result.student for o in done} == {"ann", "bob"}
    after = read_grades(classroom, LAB)
    assert after["ann"].cells["ex-1-1-check"].score == 0
    assert after["ann"].cells["ex-1-2-think"].manual == 1.5
    assert {s: g for s, g in after.items() if s != "ann"} == {
        s: g for s, g in before.items() if s != "ann"
    }
    bad = tmp_path / "bad" / "ann"
    bad.mkdir(parents=True)
    (bad / f"{LAB}.ipynb").write_bytes(b"")
    entry = collect_class(classroom, LAB, tmp_path / "bad")[0]
    assert not entry.rejected
    assert "a later file was refused" in entry.flags[-1].detail


def test_nothing_is_graded_where_the_solution_itself_fails(
    empty: Classroom, released: Any, tmp_path: Path
) -> None:
    classroom = copy_of(empty, tmp_path / "class")
    source = classroom.source(LAB)
    source.write_text(source.read_text().replace("return 2 * x", "return 3 * x"))
    moodle = moodle_zip(tmp_path / "c.zip", {"ann": _notebook(released, RIGHT)})
    collect_class(classroom, LAB, moodle)
    with pytest.raises(AutograderError, match=r"earns 0 of 4 points in exercise 1\.1"):
        grade_all(classroom)
    assert read_grades(classroom, LAB) == {}
    assert not classroom.result("ann", LAB).exists()


def test_two_commands_at_once_are_refused(empty: Classroom) -> None:
    refused = pytest.raises(AutograderError, match="another autograder command")
    with empty.only_one(), refused, empty.only_one():
        pytest.fail("two held the class")


def test_records_are_checked(graded: tuple[Classroom, Sheet]) -> None:
    result = result_of(graded[1], "bob")
    assert from_json(to_json(result)) == result
    path = graded[0].result("bob", LAB)
    assert read_result(path) == result
    for broken, words in [
        (replace(result, student=""), "student: '' "),
        (replace(result, seconds=-1.0), "seconds"),
        (replace(result, status="failed"), "bob"),
        (replace(result, questions=(Question("a", "1", 2, 3.0),)), "a earned 3.0 of 2"),
    ]:
        with pytest.raises(ValueError, match=words):
            to_json(broken)
    with pytest.raises(ValueError, match="cell_seconds must be positive"):
        Limits(cell_seconds=0)


def line_of(*arguments: str | Path) -> tuple[int, str]:
    """Exit status and what the command line says in one line."""
    from autograder.cli import COMMANDS

    if arguments[0] not in COMMANDS:
        pytest.skip(f"the command {arguments[0]} is not in the table yet")
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    lines = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert len(lines) == 1, result.output
    assert "Traceback" not in result.output
    return result.exit_code, lines[0]


@pytest.mark.parametrize("command", ["grade", "feedback", "export"])
def test_one_clear_line_for_what_is_missing(empty: Classroom, tmp_path: Path, command: str) -> None:
    code, line = line_of(command, tmp_path / "nowhere", LAB)
    assert code == 2
    assert "does not exist" in line
    (tmp_path / "x").write_text("")
    code, line = line_of(command, tmp_path, LAB)
    assert code == 2
    assert "no class at" in line
    code, line = line_of(command, empty.root, "99_none")
    assert code == 2
    assert f"there is {LAB}" in line
    code, line = line_of(command, empty.root, LAB)
    assert code == 1
    assert "autograder collect" in line


def test_collect_says_what_is_missing(empty: Classroom, tmp_path: Path) -> None:
    code, line = line_of("collect", empty.root, LAB, tmp_path / "none.zip")
    assert code == 2
    assert "does not exist" in line
    (tmp_path / "in").mkdir()
    code, line = line_of("collect", empty.root, LAB, tmp_path / "in")
    assert code == 1
    assert "holds no files" in line
    assert not empty.manifest(LAB).exists()


def test_only_one_student_who_exists(graded: tuple[Classroom, Sheet]) -> None:
    code, line = line_of("grade", graded[0].root, LAB, "--only", "an")
    assert code == 2
    assert "did you mean ann?" in line


def test_foreign_gradebooks_are_refused(empty: Classroom, tmp_path: Path) -> None:
    import sqlite3

    classroom = copy_of(empty, tmp_path / "old")
    book = classroom.root / "gradebook.db"
    with sqlite3.connect(book) as connection:
        connection.execute("UPDATE alembic_version SET version_num = 'abc'")
    connection.close()
    code, line = line_of("grade", classroom.root, LAB)
    assert code == 1
    assert "another version of nbgrader" in line
    book.write_bytes(b"no database at all" * 100)
    assert "is not a gradebook" in line_of("grade", classroom.root, LAB)[1]
    book.unlink()
    assert "there is no gradebook" in line_of("grade", classroom.root, LAB)[1]
    assert not book.exists()


def test_a_class_folder_is_not_made_of_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("")
    with pytest.raises(AutograderError, match="no class at"):
        create_classroom(tmp_path)
    with pytest.raises(AutograderError, match="is a file"):
        create_classroom(tmp_path / "thesis.txt")
    with pytest.raises(AutograderError, match="does not exist"):
        open_classroom(tmp_path / "none")
