"""The demo: an invented class goes through every step, in a folder of its own."""

import csv
import json
import shutil
from pathlib import Path

import pytest
from tiny import (
    DOUBLE,
    DOUBLE_CHECK,
    LAB,
    SETUP,
    SQUARE,
    SQUARE_CHECK,
    answered,
    as_bytes,
    moodle_zip,
    released,
)
from typer.testing import CliRunner

from autograder.cli import app
from autograder.commands import demo
from autograder.errors import AutograderError
from autograder.layout import find_layout
from autograder.zoo import load_zoo

ZOO = """\
# %% exercise="1.1" name="adds two" caught="visible" hint="adding 2"
def double(x):
    return x + 2


# %% exercise="1.1" name="forgets the sign" caught="hidden"
def double(x):
    return 2 * abs(x)


# %% exercise="1.2" name="doubles" caught="visible" hint="do not add"
def square(x):
    return x + x


# %% exercise="1.2" name="by power" right=True
def square(x):
    return x**2
"""


def _cell(marker: str, source: str) -> str:
    return f"# %% {marker}\n{source.rstrip()}\n\n"


def write_course(root: Path) -> Path:
    """A course with the tiny lab and its zoo."""
    text = "# %% [markdown]\n# # A tiny lab\n\n" + _cell('role="setup"', SETUP)
    for number, gap, check in (("1.1", DOUBLE, DOUBLE_CHECK), ("1.2", SQUARE, SQUARE_CHECK)):
        text += f'# %% [markdown] exercise="{number}" role="contract" title="T{number}" minutes=5\n'
        text += "# - `x`: a number.\n\n"
        text += _cell(f'exercise="{number}" role="gap"', gap)
        text += _cell(f'exercise="{number}" role="check"', check)
    (root / "solutions" / "wrong").mkdir(parents=True)
    (root / "solutions" / f"{LAB}.py").write_text(text)
    (root / "solutions" / "wrong" / f"{LAB}.py").write_text(ZOO)
    return root


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo's folder and what it printed."""
    root = tmp_path_factory.mktemp("demo")
    write_course(root / "course")
    folder = root / "demo-class"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "_LIMIT", 2.0)
        words = ["demo", str(folder), "--lab", "1", "--course", str(root / "course"), "-j", "2"]
        outcome = CliRunner().invoke(app, words, env={"COLUMNS": "160"})
    assert outcome.exit_code == 0, outcome.output
    return folder, outcome.output


def rows_of(folder: Path, lab: str) -> dict[str, dict[str, str]]:
    text = (folder / "reports" / f"{lab}.csv").read_text(encoding="utf-8-sig")
    return {row["name"]: row for row in csv.DictReader(text.splitlines())}


def test_every_student_gets_the_points_that_were_invented(shown: tuple[Path, str]) -> None:
    rows = rows_of(shown[0], LAB)
    assert len(rows) == 12
    assert (rows["Anna Ivanova"]["1.1"], rows["Anna Ivanova"]["1.2"]) == ("4", "6")
    assert rows["Мария Петрова"]["total"] == "10"
    assert rows["Liam O'Brien"]["1.1"] == "0"
    assert rows["Noah Schmidt"]["1.1"] == "1"
    assert rows["Jonas Weber"]["total"] == "4"
    assert rows["Tom Baker"]["total"] == "0"
    assert (rows["Olga Smirnova"]["1.1"], rows["Olga Smirnova"]["1.2"]) == ("4", "0")
    assert rows["Yuki Tanaka"]["status"] == "rejected"
    assert "cut off" in rows["Yuki Tanaka"]["reason"]
    assert rows["Chen, Wei"]["flags"] == "renamed"


def test_everything_lies_where_the_last_lines_say(shown: tuple[Path, str]) -> None:
    folder, printed = shown
    for place in (f"reports/{LAB}.html", f"reports/{LAB}.csv"):
        assert (folder / place).is_file()
        assert place in printed
    assert len(list(folder.glob(f"feedback/*/{LAB}/{LAB}.html"))) == 12
    assert len(list(folder.glob(f"autograded/*/{LAB}/{LAB}.ipynb"))) == 11
    assert "Formgrader" in printed
    assert "exercise 1.2: stopped after 2 s" in printed
    page = (folder / "feedback" / "Liam O'Brien" / LAB / f"{LAB}.html").read_text()
    assert "Did you add 2 instead of doubling?" in page
    assert "-34" not in page


def test_formgrader_finds_the_class(
    shown: tuple[Path, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """nbgrader's own objects, configured by the file in the folder as JupyterLab would."""
    from nbgrader.apps import NbGraderAPI
    from traitlets.config.loader import PyFileConfigLoader

    folder = shown[0]
    monkeypatch.chdir(folder)
    api = NbGraderAPI(config=PyFileConfigLoader("nbgrader_config.py").load_config())
    assignment = api.get_assignment(LAB)
    assert assignment is not None
    assert assignment["num_submissions"] == 11
    assert assignment["max_score"] == 10
    assert {"Мария Петрова", "Chen, Wei"} <= {s["id"] for s in api.get_students()}
    students = {s["student"]: s for s in api.get_submissions(LAB)}
    assert students["Anna Ivanova"]["score"] == 10
    assert students["Anna Ivanova"]["autograded"]


def test_a_demo_is_replaced_and_nothing_else_is(
    shown: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "thesis"
    foreign.mkdir()
    (foreign / "chapter.txt").write_text("years of work")
    with pytest.raises(AutograderError, match="holds something else"):
        demo._clear(foreign, force=False)
    (foreign / ".git").mkdir()
    with pytest.raises(AutograderError, match="too much to delete"):
        demo._clear(foreign, force=True)
    monkeypatch.chdir(foreign)
    shutil.rmtree(foreign / ".git")
    with pytest.raises(AutograderError, match="too much to delete"):
        demo._clear(Path(), force=True)
    assert (foreign / "chapter.txt").read_text() == "years of work"
    monkeypatch.chdir(tmp_path)
    demo._clear(foreign, force=True)
    assert not foreign.exists()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(AutograderError, match="no folder"):
        demo._clear(tmp_path / "link", force=True)
    copy = tmp_path / "old-demo"
    shutil.copytree(shown[0], copy)
    demo._clear(copy, force=False)
    assert not copy.exists()


def test_an_unknown_lab_leaves_nothing_behind(tmp_path: Path) -> None:
    write_course(tmp_path / "course")
    words = ["demo", str(tmp_path / "new"), "--lab", "77", "--course", str(tmp_path / "course")]
    outcome = CliRunner().invoke(app, words)
    assert outcome.exit_code == 2
    assert "error: no such lab: 77" in outcome.output
    assert not (tmp_path / "new").exists()


def test_collecting_into_a_new_class_releases_the_lab(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_course(tmp_path / "course"))
    outcome = CliRunner().invoke(app, ["collect", "../class", "9", "../none.zip"])
    assert outcome.exit_code == 2
    moodle_zip(tmp_path / "c.zip", {"Ann": b"", "Bob": as_bytes(answered(released()))})
    outcome = CliRunner().invoke(app, ["collect", "../class", "9", "../c.zip"])
    assert outcome.exit_code == 2
    assert "no such lab: 9" in outcome.output
    assert not (tmp_path / "class").exists()
    outcome = CliRunner().invoke(app, ["collect", "../class", "1", "../c.zip"])
    assert outcome.exit_code == 0, outcome.output
    assert f"released {LAB} into" in outcome.output
    assert "1 of 2 students" in outcome.output
    assert f"Ann: {LAB}.ipynb is empty" in outcome.output
    assert (tmp_path / "class" / "submitted" / "Bob" / LAB / f"{LAB}.ipynb").is_file()
    again = CliRunner().invoke(app, ["collect", "../class", "1", "../c.zip"])
    assert again.exit_code == 0
    assert "released" not in again.output


@pytest.mark.slow
def test_the_demo_with_the_real_lab(tmp_path: Path) -> None:
    layout = find_layout()
    lab = layout.select(["8"])[0]
    folder = tmp_path / "demo-class"
    outcome = CliRunner().invoke(app, ["demo", str(folder), "--course", str(layout.root)])
    assert outcome.exit_code == 0, outcome.output
    rows = rows_of(folder, lab)
    wrong = {a.name: a.exercise for a in load_zoo(layout.solutions / "wrong" / f"{lab}.py")}
    full = {k: float(v) for k, v in rows["Anna Ivanova"].items() if k[:1].isdigit() and v}
    results = folder / ".autograder" / lab / "results"
    written = json.loads((results / "Tom Baker.json").read_text())["questions"]
    by_hand = sum(q["points"] for q in written if q["cell"].endswith("think"))
    assert sum(full.values()) + by_hand == float(rows["Anna Ivanova"]["possible"])
    assert rows["Мария Петрова"]["total"] == rows["Anna Ivanova"]["total"]
    notes = dict(
        line.strip().split(": ", 1) for line in outcome.output.splitlines() if ": " in line
    )
    for name in ("Liam O'Brien", "Chen, Wei", "Sofia Rossi", "Noah Schmidt", "Aisha Khan"):
        exercise, _, animal = notes[name].partition(" ")
        assert wrong[animal] == exercise
        assert float(rows[name][exercise]) < full[exercise]
    assert all(json.loads(p.read_text())["status"] == "graded" for p in results.glob("*.json"))
