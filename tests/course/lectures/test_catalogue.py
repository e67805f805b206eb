"""Tags become slides, and what does not fit is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from course.lectures.catalogue import LectureError, choose, lectures
from tests.course.lectures.small import lecture

START = '# %% [markdown] tags=["slide"]\n# # T\n\n'


def test_tags_become_slideshow_metadata(tmp_path: Path) -> None:
    small = lecture(tmp_path)
    notebook = small.notebook()
    kinds = [cell.metadata.slideshow.slide_type for cell in notebook.cells]
    assert kinds == [
        *("skip", "slide", "-", "notes", "slide", "-"),
        *("fragment", "-", "notes", "slide", "-"),
    ]
    hidden = [bool(c.metadata.get("jupyter")) for c in notebook.cells if c.cell_type == "code"]
    assert hidden == [True, True, True, True, False], "only code that a slide shows is unfolded"
    assert (small.number, small.title, small.slides) == (11, "A small lecture", 3)
    assert len({cell.id for cell in notebook.cells}) == len(notebook.cells)


def test_places_are_lines_of_the_file(tmp_path: Path) -> None:
    small = lecture(tmp_path)
    rows = small.source.splitlines()
    assert [rows[line - 1][:4] for line in small.lines] == ["# %%"] * 11
    line = 1 + next(i for i, row in enumerate(rows) if row.startswith("plots.bars"))
    assert small.where(5, 1) == f"lecture 11_small, cell 6, 11_small.py line {line}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (START + '# %% tags=["slides"]\nx = 1\n', "cell 2, 11_small.py line 4: no tag 'slides'"),
        (START + '# %% tags=["notes"]\nx = 1\n', "line 4: notes are a markdown cell"),
        (START + '# %% [markdown] tags=["slide", "notes"]\n# x\n', "exclude each other"),
        (START + '# %% tags=["skip", "code"]\nx = 1\n', "belongs to code that is on a slide"),
        ("# %%\nx = 1\n\n" + START, "cell 1, 11_small.py line 1: stands before the first slide"),
        ("import os\n\n" + START, "expected a first line like"),
        ("", "expected a first line like"),
        ('# %% tags=["skip"]\nx = 1\n', 'no cell tagged "slide"'),
        ('# %% [markdown] tags=["slide"]\n# no heading\n', "a heading `# Title`"),
        (START + '# %%\nx = """\n# %%\n"""\n', "inside of a string"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(LectureError) as refusal:
        lecture(tmp_path, text).notebook()
    assert says in str(refusal.value)
    assert "11_small" in str(refusal.value)


def test_lectures_are_chosen_by_number(tmp_path: Path) -> None:
    for name in ("03_c", "01_a", "02_b"):
        lecture(tmp_path, name=name)
    (tmp_path / "helper.py").write_text("")
    assert [each.name for each in lectures(tmp_path)] == ["01_a", "02_b", "03_c"]
    assert [each.number for each in choose([3, 1, 3], tmp_path)] == [1, 3]
    assert len(choose([], tmp_path)) == 3
    with pytest.raises(LectureError, match="there is no lecture 9; there are 1, 2, 3"):
        choose([9], tmp_path)
    with pytest.raises(LectureError, match="no lecture lies in"):
        choose([], tmp_path / "empty")
