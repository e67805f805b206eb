"""The command line: quick help, commands found in the table, `run` with its failures."""

import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from typer.testing import CliRunner, Result

from autograder.cli import COMMANDS, app, load_command
from autograder.commands.run import parse_parameter
from autograder.errors import AutograderError
from autograder.layout import Layout, find_layout

# A stand-in for course.checks: these labs need no torch, so their kernels start fast.
LIGHT = '''\
# %% [markdown]
# # Lab {number} · Light

# %% tags=["parameters"]
steps = 2
rate: float = 0.5


# %% role="setup"
class Exercise:
    def __init__(self, number, points):
        self.points = points

    def score(self):
        return {earned}


# %% [markdown] exercise="{number}.1" role="contract" title="Light" minutes=1
# - One.

# %% exercise="{number}.1" role="gap"
def light() -> int:
    """One."""
    ### BEGIN SOLUTION
    return {value}
    ### END SOLUTION


# %% exercise="{number}.1" role="check"
check = Exercise("{number}.1", points=3)
light()
print(steps, rate)
check.score()
'''


def lab(root: Path, number: int, *, value: str = "1", earned: str = "self.points") -> None:
    folder = root / "solutions"
    folder.mkdir(exist_ok=True)
    text = LIGHT.format(number=number, value=value, earned=earned)
    (folder / f"{number:02}_light.py").write_text(text, encoding="utf-8")


def autograder(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


class TestTable:
    @pytest.mark.parametrize("name", COMMANDS)
    def test_every_command_of_the_table_exists(self, name: str) -> None:
        assert load_command(name).name == name

    def test_help_lists_the_table_and_imports_nothing_heavy(self) -> None:
        code = (
            "import sys; from autograder.cli import app\n"
            "try: app(['--help'])\n"
            "except SystemExit: pass\n"
            "heavy = {'torch', 'nbgrader', 'nbformat', 'numpy', 'papermill'} & set(sys.modules)\n"
            "print('heavy:', sorted(heavy))"
        )
        start = time.perf_counter()
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        seconds = time.perf_counter() - start
        assert "heavy: []" in out.stdout, out.stderr
        assert all(name in out.stdout for name in COMMANDS)
        # Half a second is the aim; ten leave room for a machine that does other work meanwhile.
        assert seconds < 10

    def test_a_misspelt_command_is_corrected(self) -> None:
        result = autograder("relase")
        assert result.exit_code == 2
        assert "release" in result.output

    def test_version(self) -> None:
        result = autograder("--version")
        assert result.exit_code == 0
        assert result.output.startswith("autograder ")

    def test_no_command_shows_the_help(self) -> None:
        assert "Usage" in autograder().output

    def test_an_error_of_the_user_is_one_line_without_traceback(self, tmp_path: Path) -> None:
        (tmp_path / "solutions").mkdir()
        result = autograder("run", "--course", tmp_path)
        assert result.exit_code == 1
        assert result.output.startswith("error: no labs in ")
        assert result.output.count("\n") == 1


class TestLayout:
    @pytest.mark.parametrize(
        "text", ["8", "08", "08_unet", "unet", "08_unet.py", "solutions/08_unet.py", "labs/08_unet"]
    )
    def test_a_lab_has_many_names(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "solutions").mkdir()
        for name in ("08_unet.py", "10_deeplab.py", "notes.py"):
            (tmp_path / "solutions" / name).touch()
        layout = Layout(tmp_path)
        assert layout.select([text]) == ["08_unet"]
        assert layout.select() == ["08_unet", "10_deeplab"]
        assert layout.select(["10", text, "08"]) == ["08_unet", "10_deeplab"]

    def test_an_unknown_lab_says_which_exist(self, tmp_path: Path) -> None:
        (tmp_path / "solutions").mkdir()
        (tmp_path / "solutions" / "08_unet.py").touch()
        with pytest.raises(AutograderError, match=r"no such lab: 80\. There are 08_unet"):
            Layout(tmp_path).select(["8", "80"])

    def test_the_course_is_found_from_below(self, tmp_path: Path) -> None:
        (tmp_path / "solutions").mkdir()
        (tmp_path / "labs" / "08_unet").mkdir(parents=True)
        assert find_layout(tmp_path / "labs" / "08_unet").root == tmp_path
        with pytest.raises(AutograderError, match="expected a folder that holds solutions/"):
            find_layout(Path("/"))


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """One good lab, one that raises, one that misses points; all in one run."""
    root = tmp_path_factory.mktemp("course")
    lab(root, 1)
    lab(root, 2, value="1 / 0")
    lab(root, 3, earned="2.5")
    return root, autograder("run", "--course", root, "-p", "steps=7")


class TestRun:
    def test_reports_each_lab_and_fails(self, ran: tuple[Path, Result]) -> None:
        _, outcome = ran
        assert outcome.exit_code == 1
        assert "✓ 01_light" in outcome.output
        assert "error: 2 of 3 labs failed" in outcome.output

    def test_shows_the_failing_cell_shortly(self, ran: tuple[Path, Result]) -> None:
        _, outcome = ran
        text = outcome.output.replace("\n", "")
        line = LIGHT.split("\n").index('# %% exercise="{number}.1" role="check"') + 1
        assert f"solutions/02_light.py:{line}: cell ex-2-1-check: ZeroDivisionError" in text
        assert "return 1 / 0" in outcome.output
        assert len(outcome.output.splitlines()) < 40

    def test_a_solution_must_earn_its_points(self, ran: tuple[Path, Result]) -> None:
        _, outcome = ran
        assert "the solution earns 2.5 of 3 points" in " ".join(outcome.output.split())

    def test_writes_executed_notebooks_with_the_parameter(self, ran: tuple[Path, Result]) -> None:
        root, _ = ran
        notebook = nbformat.read(root / "executed" / "01_light-steps=7.ipynb", as_version=4)
        check = next(cell for cell in notebook.cells if cell.id == "ex-1-1-check")
        assert check.outputs[0].text == "7 0.5\n"
        assert notebook.metadata.autograder.key
        failed = nbformat.read(root / "executed" / "02_light-steps=7.ipynb", as_version=4)
        assert "key" not in failed.metadata.autograder

    def test_a_good_run_is_reused_on_demand(self, ran: tuple[Path, Result]) -> None:
        root, _ = ran
        outcome = autograder("run", "1", "--reuse", "--course", root, "-p", "steps=7")
        assert outcome.exit_code == 0
        assert "✓ 01_light (unchanged)" in outcome.output

    def test_an_unknown_parameter_is_refused_before_anything_runs(
        self, ran: tuple[Path, Result]
    ) -> None:
        root, _ = ran
        outcome = autograder("run", "1", "--course", root, "-p", "stps=7")
        assert outcome.exit_code == 2
        assert "01_light has no parameter 'stps'; it has steps, rate" in outcome.output


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("n=3", 3),
        ("n=0.5", 0.5),
        ("n=true", True),
        ("n=None", None),
        ("n=[1, 2]", [1, 2]),
        ("n=fast", "fast"),
        ("n=a=b", "a=b"),
    ],
)
def test_parameters_are_python_values_or_text(text: str, value: object) -> None:
    assert parse_parameter(text) == ("n", value)


def test_a_parameter_needs_a_name_and_a_sign() -> None:
    for text in ("steps", "=3", "two words=3"):
        with pytest.raises(AutograderError, match="NAME=VALUE"):
            parse_parameter(text)
