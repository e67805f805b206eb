"""Rebuild: honest but damaged notebooks keep their answers, and nothing foreign gets in."""

import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat import v4
from tiny import RIGHT, answered, as_bytes, cell_of, make_template, released

from autograder.errors import AutograderError
from autograder.notebooks import read_cells
from autograder.rebuild import Rebuilt, rebuild
from autograder.template import Template, read_template

RELEASED = released()
STUB = cell_of(RELEASED, "ex-1-1-answer").source


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("release"))


def done(template: Template, notebook: Any) -> Rebuilt:
    return rebuild(template, read_cells(as_bytes(notebook)))


def codes(rebuilt: Rebuilt) -> set[str]:
    return {flag.code for flag in rebuilt.flags}


def runnable(rebuilt: Rebuilt) -> str:
    return "\n".join(cell.source for cell in rebuilt.cells if cell.runs)


def results(rebuilt: Rebuilt) -> tuple[Any, Any]:
    """What the functions give after running everything but the checks, errors ignored."""
    names: dict[str, Any] = {}
    for cell in rebuilt.cells:
        if cell.runs and cell.ours and cell.ours.is_check:
            continue
        if cell.runs and (cell.ours is None or cell.ours.id != "setup"):
            try:
                exec(cell.source, names)
            except Exception:
                continue
    outcome = []
    for name, value in (("double", 7), ("square", 5)):
        try:
            outcome.append(names[name](value))
        except Exception as error:
            outcome.append(type(error).__name__)
    return tuple(outcome)


def test_untouched_release_comes_out_as_ours(template: Template) -> None:
    rebuilt = done(template, RELEASED)
    assert [c.source for c in rebuilt.cells] == [c.source for c in template.cells]
    assert not rebuilt.flags
    assert not any(rebuilt.answered(c) for c in template.graded)
    nbformat.validate(rebuilt.notebook())


def test_an_honest_answer_changes_only_its_cells(template: Template) -> None:
    rebuilt = done(template, answered(RELEASED))
    assert not rebuilt.flags
    assert results(rebuilt) == (14, 25)
    changed = [c.ours.id for c in rebuilt.cells if c.ours and c.source != c.ours.source]
    assert changed == list(RIGHT)
    assert all(rebuilt.answered(c) for c in template.graded)
    assert "seventeen secrets" in runnable(rebuilt)
    assert "seventeen secrets" not in as_bytes(RELEASED).decode()


def test_shows_and_experiments_do_not_run(template: Template) -> None:
    rebuilt = done(template, RELEASED)
    still = {c.ours.id for c in rebuilt.cells if c.ours and c.kind == "code" and not c.runs}
    assert still == {"ex-1-1-look", "ex-1-2-experiment"}


def test_a_show_that_a_later_answer_needs_does_run(template: Template) -> None:
    notebook = answered(RELEASED)
    cell_of(notebook, "ex-1-1-look").source = "table = {7: 14}\nhelper = 1"
    cell_of(notebook, "ex-1-1-answer").source = "def double(x):\n    return table[x]"
    assert results(done(template, notebook))[0] == 14


def _cut(cell_id: str) -> Callable[[Any], None]:
    def change(notebook: Any) -> None:
        notebook.cells = [c for c in notebook.cells if c.id != cell_id]

    return change


def _twice(cell_id: str, source: str | None = None) -> Callable[[Any], None]:
    def change(notebook: Any) -> None:
        cell = cell_of(notebook, cell_id)
        again = copy.deepcopy(cell)
        again.id = "pasted"
        again.source = again.source if source is None else source
        notebook.cells.insert(notebook.cells.index(cell) + 1, again)

    return change


def _split(notebook: Any) -> None:
    cell = cell_of(notebook, "ex-1-1-answer")
    rest = copy.deepcopy(cell)
    rest.id = "rest"
    cell.source, rest.source = "def double(x):", "    return x + x"
    notebook.cells.insert(notebook.cells.index(cell) + 1, rest)


def _helper(notebook: Any) -> None:
    cell = cell_of(notebook, "ex-1-1-answer")
    cell.source = "def double(x):\n    return helper(x)"
    at = notebook.cells.index(cell)
    notebook.cells.insert(at, v4.new_code_cell("def helper(x):\n    return 2 * x"))


def _merged(notebook: Any) -> None:
    first, second = cell_of(notebook, "ex-1-1-answer"), cell_of(notebook, "ex-1-2-answer")
    first.source += "\n\n" + second.source
    notebook.cells.remove(second)


def _stripped(notebook: Any) -> None:
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell.id = {}, f"x{number}"


def _no_metadata(notebook: Any) -> None:
    for cell in notebook.cells:
        cell.metadata = {}


def _renamed_id(notebook: Any) -> None:
    cell = cell_of(notebook, "ex-1-1-answer")
    cell.metadata["nbgrader"]["grade_id"], cell.id = "something", "else"


def _kind(kind: str) -> Callable[[Any], None]:
    def change(notebook: Any) -> None:
        cell_of(notebook, "ex-1-1-answer").cell_type = kind

    return change


def _old_format(notebook: Any) -> None:
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell["input"] = cell.pop("source")
    notebook["worksheets"] = [{"cells": notebook.pop("cells")}]


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        (_cut("ex-1-1-check"), {"test-restored"}),
        (_cut("cell-title"), set()),
        (_twice("ex-1-1-check"), {"cell-duplicated"}),
        (_twice("ex-1-1-answer"), {"answer-duplicated"}),
        (_twice("ex-1-1-answer", STUB), {"cell-duplicated"}),
        (_twice("ex-1-1-answer", f"{STUB}  # still"), {"cell-duplicated"}),
        (_split, {"answer-joined"}),
        (_helper, set()),
        (_merged, {"answer-elsewhere"}),
        (lambda nb: nb.cells.reverse(), set()),
        (_kind("markdown"), {"kind-changed"}),
        (_kind("raw"), {"kind-changed"}),
        (_stripped, {"metadata-lost"}),
        (_no_metadata, {"metadata-lost"}),
        (_renamed_id, {"metadata-lost"}),
        (_old_format, set()),
        (lambda nb: nb.metadata.update(kernelspec={"name": "julia"}), set()),
        (lambda nb: nb.cells.insert(0, v4.new_code_cell("this is not python")), set()),
        (lambda nb: nb.cells.append(v4.new_code_cell("%reset -f")), set()),
        (lambda nb: nb.cells.append(v4.new_code_cell("!pip install x")), {"install-skipped"}),
        (lambda nb: cell_of(nb, "ex-1-2-check").update(source="5.0"), {"locked-edited"}),
        (lambda nb: cell_of(nb, "cell-parameters").update(source="steps = 9"), {"locked-edited"}),
    ],
)
def test_damage_is_repaired_and_flagged(
    template: Template, change: Callable[[Any], None], flags: set[str] | None
) -> None:
    notebook = answered(RELEASED)
    change(notebook)
    rebuilt = done(template, notebook)
    assert results(rebuilt) == (14, 25)
    assert codes(rebuilt) == flags
    ours = [c.ours for c in rebuilt.cells if c.ours]
    assert ours == list(template.cells)
    assert rebuilt.notebook().metadata.kernelspec.name == "python3"
    nbformat.validate(rebuilt.notebook())


def test_a_deleted_answer_is_missing_and_nothing_else(template: Template) -> None:
    notebook = answered(RELEASED)
    _cut("ex-1-1-answer")(notebook)
    rebuilt = done(template, notebook)
    assert results(rebuilt) == ("NotImplementedError", 25)
    assert codes(rebuilt) == {"answer-missing"}
    assert [rebuilt.answered(c) for c in template.graded] == [False, True, True]


def test_an_install_command_is_left_out_but_not_its_cell(template: Template) -> None:
    notebook = answered(RELEASED)
    cell_of(notebook, "ex-1-1-answer").source = "!pip install nothing\n" + RIGHT["ex-1-1-answer"]
    rebuilt = done(template, notebook)
    assert results(rebuilt) == (14, 25)
    assert "pip install" not in runnable(rebuilt)


def test_nothing_of_the_students_metadata_survives(template: Template) -> None:
    notebook = answered(RELEASED)
    for cell in notebook.cells:
        cell.metadata["tags"] = ["skip-execution", "raises-exception"]
        if "nbgrader" in cell.metadata:
            cell.metadata["nbgrader"] |= {"points": 100, "solution": True, "grade": False}
    check = cell_of(notebook, "ex-1-1-check")
    check.outputs = [v4.new_output("execute_result", {"text/plain": "4.0"}, execution_count=1)]
    rebuilt = done(template, notebook)
    made = rebuilt.notebook()
    for cell in made.cells:
        assert "tags" not in cell.metadata
        assert cell.cell_type != "code" or (not cell.outputs and cell.execution_count is None)
        if "nbgrader" in cell.metadata:
            original = cell_of(RELEASED, cell.id).metadata["nbgrader"]
            assert cell.metadata["nbgrader"] == original
    assert codes(rebuilt) == {"tags-ignored", "metadata-edited"}


def test_a_free_cell_that_was_edited_runs_after_ours(template: Template) -> None:
    notebook = answered(RELEASED)
    notebook.cells[0] = v4.new_markdown_cell("# My title", id="cell-title")
    rebuilt = done(template, notebook)
    assert [c.source for c in rebuilt.cells[:2]] == ["# A tiny lab", "# My title"]
    assert rebuilt.cells[1].ours is None


def test_an_answer_in_a_cell_below_its_check_comes_in_time(template: Template) -> None:
    notebook = answered(RELEASED)
    first, second = cell_of(notebook, "ex-1-1-answer"), cell_of(notebook, "ex-1-2-answer")
    second.source = f"{first.source}\n\n{second.source}"
    notebook.cells.remove(first)
    rebuilt = done(template, notebook)
    ids = [c.ours.id for c in rebuilt.cells if c.runs and "def double" in c.source and c.ours]
    assert ids == ["ex-1-1-answer", "ex-1-2-answer"]
    assert results(rebuilt) == (14, 25)
    assert codes(rebuilt) == {"answer-elsewhere"}


def test_a_helper_below_its_use_is_moved_up(template: Template) -> None:
    notebook = answered(RELEASED)
    cell_of(notebook, "ex-1-1-answer").source = "def double(x):\n    return helper(x)"
    notebook.cells.append(v4.new_code_cell("def helper(x):\n    return twice(x)"))
    notebook.cells.append(v4.new_code_cell("def twice(x):\n    return 2 * x"))
    notebook.cells.append(v4.new_code_cell("def unused(x):\n    return x"))
    rebuilt = done(template, notebook)
    assert results(rebuilt) == (14, 25)
    assert codes(rebuilt) == {"helper-moved"}
    assert "unused" not in runnable(rebuilt)


def test_a_helper_that_stands_right_stays(template: Template) -> None:
    notebook = answered(RELEASED)
    cell_of(notebook, "ex-1-1-answer").source = "def double(x):\n    return helper(x)"
    at = notebook.cells.index(cell_of(notebook, "ex-1-1-answer"))
    notebook.cells.insert(at, v4.new_code_cell("def helper(x):\n    return 2 * x"))
    notebook.cells.append(v4.new_code_cell("def helper(x):\n    return 0"))
    rebuilt = done(template, notebook)
    assert results(rebuilt) == (14, 25)
    assert codes(rebuilt) == set()


@pytest.mark.parametrize(
    "text",
    ["\n" * 200_000 + "x", "x" + " " * 200_000 + "y", "x = " + "lambda: " * 900 + "1",
     "x = " + "-" * 2000 + "1", "(" * 100_000, "x = " + "+".join(["1"] * 5000)],
    ids=["blank lines", "blanks", "lambdas", "signs", "brackets", "terms"],
)  # fmt: skip
def test_hostile_text_is_read_in_linear_time(template: Template, text: str) -> None:
    notebook = answered(RELEASED)
    notebook.cells.insert(4, v4.new_code_cell(text))
    started = time.process_time()
    assert results_of_answers(done(template, notebook)) == list(RIGHT)[:2]
    assert time.process_time() - started < 3


def results_of_answers(rebuilt: Rebuilt) -> list[str]:
    found = [c.ours.id for c in rebuilt.cells if c.ours and c.ours.id in RIGHT and c.answered]
    return [name for name in found if name.endswith("answer")]


def test_pictures_in_a_written_answer_are_kept(template: Template) -> None:
    notebook = answered(RELEASED)
    cell = cell_of(notebook, "ex-1-2-think")
    cell["attachments"] = {"a.png": {"image/png": "QUJD"}, "b": {"text/html": "<script>"}}
    kept = [c.attachments for c in done(template, notebook).cells if c.ours is template.cells[8]]
    assert kept == [{"a.png": {"image/png": "QUJD"}}]


@settings(max_examples=40)
@given(st.data())
def test_shuffled_lossy_notebooks_never_lose_an_unambiguous_answer(
    template: Template, data: st.DataObject
) -> None:
    """Whatever is reordered, stripped or dropped: the two answers survive."""
    notebook = answered(RELEASED)
    keep = [
        c for c in notebook.cells if c.id.endswith("answer") or data.draw(st.booleans(), label=c.id)
    ]
    notebook.cells = data.draw(st.permutations(keep))
    for number, cell in enumerate(notebook.cells):
        if data.draw(st.booleans()):
            cell.metadata = {}
        if data.draw(st.booleans()):
            cell.id = f"new{number}"
    rebuilt = done(template, notebook)
    assert results(rebuilt) == (14, 25)
    assert [c.ours for c in rebuilt.cells if c.ours] == list(template.cells)


def test_a_release_without_graded_cells_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    nbformat.write(v4.new_notebook(cells=[v4.new_code_cell("1")]), path)
    with pytest.raises(AutograderError, match="no graded cells"):
        read_template(path, "a", {})
    nbformat.write(RELEASED, path)
    with pytest.raises(AutograderError, match="does not know cell ex-1-1-check"):
        read_template(path, "a", {})
    with pytest.raises(AutograderError, match="never released"):
        read_template(tmp_path / "b.ipynb", "b", {})
    path.write_text("no")
    with pytest.raises(AutograderError, match="is not a notebook"):
        read_template(path, "a", {})
