"""From source to student notebook: real papermill, real nbgrader, a lab of two exercises."""

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import ANY

import nbformat
import pytest
from nbgrader.nbgraderformat import MetadataValidator
from PIL import Image, ImageDraw
from tiny_course import LAB, SOURCE, make_course
from typer.testing import CliRunner, Result

from autograder import execute, plan
from autograder.cli import app
from autograder.current import notebook_difference, present_figures
from autograder.errors import AutograderError
from autograder.executed import check_score, solution_figures
from autograder.expand import expand, heading
from autograder.figures import Figure, picture_difference, shrink, words_difference
from autograder.layout import Layout
from autograder.release import build, generate, prove_nothing_leaked, read_labs, write
from autograder.source import parse_lab
from course.plots.picture import Picture

SECRETS = (
    *("last_start = length - size", "return last_start // stride + 1", "value * factor"),
    *("a window longer than the line", "the argument is not modified", "never classified"),
    *("scaling is linear", "BEGIN ", "END "),
)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A library of one file in the place of `course`, so that work on it does not end the cache."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "boxes.py").write_text("x = 1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "library_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory, library: Path) -> Path:
    """A released course; tests leave its labs/ as they found it."""
    root = tmp_path_factory.mktemp("course")
    make_course(root)
    (root / "solutions/files" / LAB).mkdir(parents=True)
    (root / "solutions/files" / LAB / "numbers.csv").write_text("1,2\n")
    result = autograder(root, "release")
    assert result.exit_code == 0, result.output
    return root


def autograder(root: Path, command: str, *arguments: str) -> Result:
    return CliRunner().invoke(app, [command, *arguments, "--course", str(root)])


def student_notebook(root: Path) -> nbformat.NotebookNode:
    return nbformat.read(root / "labs" / LAB / f"{LAB}.ipynb", as_version=4)


class TestStudentNotebook:
    def test_holds_no_secret_and_no_output(self, course: Path) -> None:
        text = (course / "labs" / LAB / f"{LAB}.ipynb").read_text(encoding="utf-8")
        assert [secret for secret in SECRETS if secret in text] == []
        assert all(not c.outputs for c in student_notebook(course).cells if c.cell_type == "code")

    def test_every_secret_is_in_the_source(self) -> None:
        assert [secret for secret in SECRETS if secret not in SOURCE] == []

    def test_nbgrader_accepts_its_metadata(self, course: Path) -> None:
        notebook = student_notebook(course)
        MetadataValidator().validate_nb(notebook)
        cells = {c.id: c.metadata.nbgrader for c in notebook.cells if "nbgrader" in c.metadata}
        kinds = {k: (v.grade, v.solution, v.locked, v.get("points")) for k, v in cells.items()}
        assert kinds == {
            "setup": (False, False, True, None),
            "ex-9-1-answer": (False, True, False, None),
            "ex-9-1-check": (True, False, True, 6),
            "ex-9-1-think": (True, True, False, 2),
            "ex-9-2-answer": (False, True, False, None),
            "ex-9-2-check": (True, False, True, 4),
        }
        assert all(v.grade_id == k and v.schema_version == 3 for k, v in cells.items())

    def test_cells_say_their_role(self, course: Path) -> None:
        cells = {c.id: c.metadata.get("course") for c in student_notebook(course).cells}
        assert cells["ex-9-1-look"] == {"role": "look", "exercise": "9.1"}
        assert cells["experiment"] == {"role": "experiment"}
        assert [identity for identity, role in cells.items() if role is None] == [
            identity for identity in cells if identity.startswith("cell-")
        ]

    def test_names_a_kernel_that_every_machine_has(self, course: Path) -> None:
        metadata = student_notebook(course).metadata
        assert set(metadata) == {"kernelspec", "language_info"}
        assert metadata.kernelspec.name == "python3"
        assert metadata.language_info == {"name": "python"}

    def test_builder_writes_headings_table_hints_and_questions(self, course: Path) -> None:
        cells = {cell.id: cell.source for cell in student_notebook(course).cells}
        first = cells["ex-9-1-contract"].split("\n")[0]
        assert first == "### Exercise 9.1 · Windows on a line · 6 + 2 points · about 5 min"
        assert "| 9.1 Windows on a line | 8 | 5 |" in next(iter(cells.values()))
        assert "| **Total** | **12** | **15** |" in next(iter(cells.values()))
        assert cells["ex-9-1-hints"].count("<details>") == 3
        assert "\nCount its predecessors." in cells["ex-9-1-hints"]
        assert cells["ex-9-1-think"].startswith("**Think (2 points).** What happens")
        assert cells["ex-9-1-think"].endswith("YOUR ANSWER HERE")
        assert cells["ex-9-2-think"] == "**Think.** Why is one number enough?"

    def test_stub_lines_are_lines_of_the_solution(self, course: Path) -> None:
        cells = {cell.id: cell.source for cell in student_notebook(course).cells}
        lines = set(cells["ex-9-2-answer"].split("\n"))
        lines -= {"    # YOUR CODE HERE", "    raise NotImplementedError()"}
        assert lines <= set(SOURCE.split("\n"))
        assert "    return result" in lines

    def test_shows_the_picture_of_the_solution_with_its_words(self, course: Path) -> None:
        figures = present_figures(course / "labs" / LAB / f"{LAB}.ipynb")
        assert figures["9.1"].alt == "Number of windows against stride: 5, 3, 2."
        picture = Image.open(io.BytesIO(figures["9.1"].png))
        assert picture.width > 100
        assert len(figures["9.1"].png) < 40_000

    def test_files_of_the_lab_come_along(self, course: Path) -> None:
        assert (course / "labs" / LAB / "numbers.csv").read_text() == "1,2\n"

    def test_the_same_source_gives_the_same_bytes(self, course: Path) -> None:
        before = (course / "labs" / LAB / f"{LAB}.ipynb").read_bytes()
        result = autograder(course, "release", "9")
        assert result.exit_code == 0, result.output
        assert "unchanged" in result.output
        assert (course / "labs" / LAB / f"{LAB}.ipynb").read_bytes() == before


class TestCheck:
    def test_passes_on_what_was_released(self, course: Path) -> None:
        for arguments in (("--check",), ("--check", "--text"), ("09", "--check")):
            result = autograder(course, "release", *arguments)
            assert result.exit_code == 0, result.output
            assert "labs/ is current" in result.output

    def test_names_the_cell_that_was_edited(self, course: Path) -> None:
        path = course / "labs" / LAB / f"{LAB}.ipynb"
        before = path.read_bytes()
        path.write_bytes(before.replace(b"The bars fall", b"The bars rise"))
        try:
            result = autograder(course, "release", "--check", "--text")
        finally:
            path.write_bytes(before)
        assert result.exit_code == 1
        assert "cell ex-9-1-see differs at: The bars fall from 5 to 2." in result.output
        assert "run `autograder release` and commit" in result.output

    def test_names_folders_that_are_missing_or_have_no_source(self, course: Path) -> None:
        (course / "labs" / "10_gone").mkdir()
        renamed = (course / "labs" / LAB).rename(course / "labs" / "kept")
        try:
            result = autograder(course, "release", "--check", "--text")
        finally:
            renamed.rename(course / "labs" / LAB)
            (course / "labs" / "10_gone").rmdir()
        assert result.exit_code == 1
        assert f"labs/{LAB} is missing" in result.output
        assert "labs/10_gone has no source" in result.output

    def test_accepts_another_machines_rendering_but_no_other_picture(self, course: Path) -> None:
        ours = (course / "labs" / LAB / f"{LAB}.ipynb").read_bytes()

        def with_picture(png: bytes) -> bytes:
            notebook = json.loads(ours)
            cell = next(c for c in notebook["cells"] if c["id"] == "ex-9-1-see")
            data = {"image/png": base64.b64encode(png).decode()}
            cell["attachments"] = {"ex-9-1-see.png": data}
            return json.dumps(notebook).encode()

        png = present_figures(course / "labs" / LAB / f"{LAB}.ipynb")["9.1"].png
        picture = Image.open(io.BytesIO(png)).convert("RGB")
        wider = picture.resize((picture.width + 2, picture.height))
        assert notebook_difference(ours, with_picture(_png(wider))) == ""
        ImageDraw.Draw(picture).rectangle((60, 40, 180, 120), fill="black")
        assert "the picture of cell ex-9-1-see: pixels differ" in notebook_difference(
            ours, with_picture(_png(picture))
        )

    def test_other_metadata_is_a_difference(self, course: Path) -> None:
        ours = (course / "labs" / LAB / f"{LAB}.ipynb").read_bytes()
        more = ours.replace(b'"points": 6', b'"points": 7')
        assert notebook_difference(ours, more) == "the metadata of cell ex-9-1-check differs"


class TestNothingHalfWritten:
    def test_a_broken_source_leaves_labs_as_they_were(self, course: Path) -> None:
        before = {p: p.read_bytes() for p in (course / "labs").rglob("*") if p.is_file()}
        make_course(course, SOURCE.replace("### END SOLUTION", "", 1))
        try:
            result = autograder(course, "release")
        finally:
            make_course(course)
        assert result.exit_code == 1
        line = SOURCE[: SOURCE.index("### BEGIN SOLUTION")].count("\n") + 1
        assert f"solutions/09_tiny.py:{line}: error: `### BEGIN SOLUTION` without" in result.output
        assert "labs/ is as it was" in result.output
        assert before == {p: p.read_bytes() for p in (course / "labs").rglob("*") if p.is_file()}

    def test_an_unknown_lab_is_one_line(self, course: Path) -> None:
        result = autograder(course, "release", "42")
        assert result.exit_code == 2
        assert result.output.strip() == f"error: no such lab: 42. There are {LAB}"

    def test_strict_takes_advice_as_error(self, course: Path) -> None:
        result = autograder(course, "release", "--strict", "--text")
        assert result.exit_code == 1
        assert "error: 3 to put right" in result.output

    def test_write_replaces_a_folder_and_drops_files_without_source(self, tmp_path: Path) -> None:
        layout = Layout(tmp_path)
        assert write(layout, {"01_a": {"01_a.ipynb": b"{}", "data/x.csv": b"1"}}) == ["01_a"]
        assert write(layout, {"01_a": {"01_a.ipynb": b"{}", "data/x.csv": b"1"}}) == []
        assert write(layout, {"01_a": {"01_a.ipynb": b"{ }"}}) == ["01_a"]
        found = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")}
        assert found == {"labs", "labs/01_a", "labs/01_a/01_a.ipynb"}


class TestProof:
    """The last look before a notebook goes out does not trust nbgrader."""

    def test_a_line_of_the_solution_is_caught(self) -> None:
        lab = parse_lab(SOURCE, Path(f"{LAB}.py"))
        ((_, student),) = generate({LAB: expand(lab, answers=False)}).values()
        prove_nothing_leaked(lab, student)
        gap = next(cell for cell in student.cells if cell.id == "ex-9-1-answer")
        gap.source += "\n    last_start = length - size"
        with pytest.raises(AutograderError, match="would show students: last_start"):
            prove_nothing_leaked(lab, student)

    def test_an_untouched_source_notebook_is_caught(self) -> None:
        lab = parse_lab(SOURCE, Path(f"{LAB}.py"))
        with pytest.raises(AutograderError, match="would show students"):
            prove_nothing_leaked(lab, expand(lab))

    def test_nbgraders_reason_is_passed_on(self) -> None:
        notebook = expand(parse_lab(SOURCE, Path(f"{LAB}.py")))
        for cell in notebook.cells:
            if "nbgrader" in cell.metadata:
                cell.metadata.nbgrader.grade_id = "same"
        with pytest.raises(AutograderError, match="Duplicate grade id: same"):
            generate({LAB: notebook})


class TestReuse:
    def test_any_change_that_could_matter_makes_a_new_key(
        self, course: Path, library: Path
    ) -> None:
        layout, source = Layout(course), course / "solutions" / f"{LAB}.py"

        def key(**parameters: object) -> str:
            return plan.make_plan(layout, LAB, parameters).key

        first = key()
        assert key() == first
        assert key(scale=3) != first
        changes = [
            (library / "boxes.py", "x = 2\n"),
            (course / "solutions/files" / LAB / "numbers.csv", "3\n"),
            (source, SOURCE.replace("scale = 2", "scale = 3")),
        ]
        for path, text in changes:
            before = path.read_text(encoding="utf-8")
            path.write_text(text, encoding="utf-8")
            assert key() != first, path.name
            path.write_text(before, encoding="utf-8")
        assert key() == first

    def test_a_release_leaves_the_experiments_of_the_lab_to_run(self, course: Path) -> None:
        layout = Layout(course)
        short = plan.make_plan(layout, LAB, experiments=False)
        assert short.earlier() == (course / "executed" / f"{LAB}-exercises.ipynb", ANY)
        complete = plan.make_plan(layout, LAB)
        assert complete.earlier() is None
        assert complete.cells == short.cells + 1
        stamp = {"metadata": {"autograder": {"key": complete.key, "seconds": 2.5}}}
        complete.target.write_text(json.dumps(stamp))
        try:
            assert plan.make_plan(layout, LAB, experiments=False).target == complete.target
        finally:
            complete.target.unlink()

    def test_a_note_to_authors_changes_nothing(self, course: Path) -> None:
        lab = parse_lab(SOURCE.replace("Authors read this line", "Other words"), Path(f"{LAB}.py"))
        assert expand(lab) == expand(parse_lab(SOURCE, Path(f"{LAB}.py")))

    def test_the_second_time_nothing_runs(self, course: Path) -> None:
        (execution,) = execute.execute_labs(Layout(course), [LAB], experiments=False)
        assert execution.reused
        assert not execution.error
        notebook = nbformat.read(execution.path, as_version=4)
        scores = {c.id: check_score(c) for c in notebook.cells if c.id.endswith("-check")}
        assert scores == {"ex-9-1-check": 6.0, "ex-9-2-check": 4.0}


class TestPictures:
    def test_a_picture_without_words_is_refused(self, course: Path) -> None:
        lab = parse_lab(SOURCE.replace(' alt="Number', ' alt="" title="'), Path(f"s/{LAB}.py"))
        executed = nbformat.read(course / "executed" / f"{LAB}-exercises.ipynb", as_version=4)
        with pytest.raises(AutograderError, match=r"s/09_tiny.py:\d+: the picture of 9.1 has no"):
            solution_figures(executed, lab)

    def test_a_picture_describes_itself(self, course: Path) -> None:
        lab = parse_lab(SOURCE, Path(f"{LAB}.py"))
        executed = nbformat.read(course / "executed" / f"{LAB}-exercises.ipynb", as_version=4)
        cell = next(c for c in executed.cells if c.id == "ex-9-1-picture")
        cell.outputs[0].metadata = {"image/png": {"alt": "three bars"}}
        assert solution_figures(executed, lab)["9.1"].alt == "three bars"
        drawn = Picture(_png(Image.new("RGB", (30, 20), "red")), 'A "red" field, <1')
        cell.outputs.append(nbformat.v4.new_output("execute_result", drawn._repr_mimebundle_()))
        figure = solution_figures(executed, lab)["9.1"]
        assert figure.alt == 'A "red" field, <1'
        assert Image.open(io.BytesIO(figure.png)).size == (30, 20)
        cell.outputs = []
        with pytest.raises(AutograderError, match="drew no picture"):
            solution_figures(executed, lab)

    def test_brackets_in_the_words_do_not_end_the_link(self) -> None:
        lab = parse_lab(SOURCE, Path(f"{LAB}.py"))
        figure = Figure(_png(Image.new("RGB", (4, 4))), "range [0, 1]\nthen")
        cell = next(c for c in expand(lab, figures={"9.1": figure}).cells if "see" in c.id)
        assert cell.source.endswith("![range (0, 1) then](attachment:ex-9-1-see.png)")

    def test_shrinking_keeps_flat_colours_and_drops_transparency(self) -> None:
        picture = Image.new("RGBA", (1200, 300), (0, 0, 0, 0))
        ImageDraw.Draw(picture).rectangle((0, 0, 600, 300), fill=(213, 94, 0, 255))
        small = Image.open(io.BytesIO(shrink(_png(picture)))).convert("RGB")
        assert small.size == (900, 225)
        assert small.getpixel((100, 100)) == (213, 94, 0)
        assert small.getpixel((800, 100)) == (255, 255, 255)

    def test_size_pixels_and_words_are_compared(self) -> None:
        white, tall = Image.new("RGB", (100, 50), "white"), Image.new("RGB", (100, 80), "white")
        assert picture_difference(_png(white), _png(white)) == ""
        assert picture_difference(_png(white), _png(tall)) == "the height is 80 pixels, expected 50"
        assert words_difference("A 0.50", "B 0.50") == "the text is 'B 0.50', expected 'A 0.50'"
        assert words_difference("572 to 388", "572 to 390") == ""
        assert words_difference("572 to 388", "572 to 88") == "a number is 88, expected 388"


def test_points_are_written_as_people_say_them() -> None:
    one = SOURCE.replace('"9.2", points=4', '"9.2", points=1').replace("points=3)", "points=0)")
    lab = parse_lab(one, Path(f"{LAB}.py"))
    assert heading(lab.exercises[1]) == "Exercise 9.2 · Scaling · 1 point · about 10 min"


def test_a_lab_without_execution_keeps_the_pictures_there_are(course: Path) -> None:
    layout = Layout(course)
    labs, _ = read_labs(layout, [LAB])
    files = build(layout, labs, [])[LAB]
    assert files[f"{LAB}.ipynb"] == (course / "labs" / LAB / f"{LAB}.ipynb").read_bytes()


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
