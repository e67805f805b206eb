"""Feedback pages, exports and the class report: complete, escaped, offline, and no hidden test."""

import csv
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
from tiny import LAB, answered, as_bytes, make_template, released

from autograder.classroom import Classroom
from autograder.export import csv_text
from autograder.feedback import WITHHELD, feedback_page, write_feedback
from autograder.notebooks import read_cells
from autograder.rebuild import rebuild
from autograder.recorder import Grade, Grades, WithoutHiddenTests
from autograder.records import Check, Flag, Question, Result
from autograder.report import report_page, student_table, summarise
from autograder.sheet import Row, Sheet, columns_of
from autograder.template import Template

RELEASED = released()
EVIL = "<script>alert(1)</script>"
SECRET = "assert double(-17) == -34"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Template:
    return make_template(tmp_path_factory.mktemp("release"))


def result(student: str, earned: float, *checks: Check, **more: Any) -> Result:
    questions = (
        Question("ex-1-1-check", "1.1", 4, earned, True, checks),
        Question("ex-1-2-check", "1.2", 6, 6, True),
        Question("ex-1-2-think", "1.2", 2, None),
    )
    return Result(student, student.title(), LAB, "graded", **{"questions": questions, **more})


def grades(first: float, **written: Any) -> Grades:
    think = Grade(0, 2, waiting=True) if not written else Grade(**written)
    cells = {"ex-1-1-check": Grade(first, 4), "ex-1-2-check": Grade(6, 6), "ex-1-2-think": think}
    return Grades(cells)


def sheet_of(root: Path, template: Template, *rows: Row) -> Sheet:
    return Sheet(Classroom(root), template, "A tiny lab", columns_of(template), rows)


def row_of(found: Result, first: float, **written: Any) -> Row:
    return Row(found.student, found.name, "graded", "", found, grades(first, **written))


def record_answers(sheet: Sheet, student: str, answers: dict[str, str]) -> None:
    rebuilt = rebuild(sheet.template, read_cells(as_bytes(answered(RELEASED, answers))))
    path = sheet.classroom.autograded(student, LAB)
    path.parent.mkdir(parents=True)
    nbformat.write(rebuilt.notebook(), path)


class Page(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += data


SEEN = Check("two", 1, 0, False, False, "Did you `add` 2?", "expected 14, got 9")
HIDDEN = Check("seventeen secrets", 3, 0, False, True, "Think of negative numbers.")


def test_a_page_says_what_failed_and_why(tmp_path: Path, template: Template) -> None:
    found = result("ann", 0, SEEN, HIDDEN, limits=("exercise 1.2: stopped after 3 s",))
    sheet = sheet_of(tmp_path, template, row_of(found, 0))
    record_answers(sheet, "ann", {"ex-1-1-answer": "def double(x):\n    return x + 2"})
    page = Page(feedback_page(sheet, sheet.rows[0]))
    words = re.sub(r"\s+", " ", page.text)
    for expected in (
        "Feedback for Ann",
        "6 of 12 points",
        "1 written answer waits for a person",
        "two 0 / 1",
        "→ Did you add 2?",
        "expected 14, got 9",
        "seventeen secrets 0 / 3, hidden check",
        "Think of negative numbers.",
        "return x + 2",
        "Exercise 1.2: stopped after 3 s.",
    ):
        assert expected in words, expected
    assert ("code", {}) in page.tags


def test_points_and_words_of_a_person_count(tmp_path: Path, template: Template) -> None:
    person = {"score": 1.5, "points": 2, "manual": 1.5, "comment": f"Nearly. {EVIL}"}
    row = row_of(result("ann", 4), 4, **person)
    assert row.grades is not None
    row = replace(row, grades=replace(row.grades, penalty=2.0))
    page = Page(feedback_page(sheet_of(tmp_path, template, row), row))
    assert "9.5 of 12 points" in re.sub(r"\s+", " ", page.text)
    assert "2 points were taken off" in page.text
    assert f"Nearly. {EVIL}" in page.text
    assert "waits" not in page.text


def test_whatever_students_write_is_only_text(tmp_path: Path, template: Template) -> None:
    evil = Check(EVIL, 1, 0, False, False, f"{EVIL} `{EVIL}`", EVIL)
    found = replace(
        result("ann", 0, evil, flags=(Flag("renamed", f"the file was called {EVIL}"),)),
        name=f'"{EVIL}',
    )
    sheet = sheet_of(tmp_path, template, row_of(found, 0))
    record_answers(sheet, "ann", {"ex-1-1-answer": EVIL, "ex-1-2-think": f"</pre>{EVIL}"})
    for text in (feedback_page(sheet, sheet.rows[0]), report_page(summarise(sheet))):
        page = Page(text)
        assert "script" not in {tag for tag, _ in page.tags}
        assert "alert(1)" in page.text


def test_no_hidden_test_gets_out(tmp_path: Path, template: Template) -> None:
    leaks = [
        Check("leak", 1, 0, False, False, SECRET, f"In[3]: {SECRET.replace(' ', '  ')}"),
        Check(f"name {SECRET}", 1, 0, False),
    ]
    found = result("ann", 0, *leaks)
    broken = replace(found.questions[1], earned=0.0, error=f"AssertionError: {SECRET}")
    found = replace(found, questions=(found.questions[0], broken, found.questions[2]))
    sheet = sheet_of(tmp_path, template, row_of(found, 0))
    record_answers(sheet, "ann", {})
    text = feedback_page(sheet, sheet.rows[0])
    assert any(SECRET in cell.source for cell in template.cells)
    assert "-34" not in text
    assert text.count(WITHHELD) == 4


def test_formgraders_own_feedback_keeps_the_secret_too(template: Template) -> None:
    rebuilt = rebuild(template, read_cells(as_bytes(RELEASED)))
    notebook = rebuilt.notebook()
    check = next(c for c in notebook.cells if c.id == "ex-1-1-check")
    error = nbformat.v4.new_output("error", ename="E", evalue="v", traceback=[f"--> {SECRET}"])
    check.outputs = [error]
    for index, cell in enumerate(notebook.cells):
        WithoutHiddenTests().preprocess_cell(cell, {}, index)
    assert SECRET not in nbformat.writes(notebook)
    assert check.outputs[0].traceback == ["E: v"]


def test_pages_stand_alone_and_are_accessible(tmp_path: Path, template: Template) -> None:
    sheet = sheet_of(tmp_path, template, row_of(result("ann", 0, SEEN, HIDDEN), 0))
    record_answers(sheet, "ann", {})
    for text in (feedback_page(sheet, sheet.rows[0]), report_page(summarise(sheet))):
        tags = Page(text).tags
        assert ("html", {"lang": "en"}) in tags
        assert [tag for tag, _ in tags].count("h1") == 1
        levels = [int(tag[1]) for tag, _ in tags if re.fullmatch("h[1-6]", tag)]
        assert all(b - a <= 1 for a, b in pairwise(levels))
        assert not re.search(r"""(?:src|href|url)\s*[=(]\s*["']?(?:https?:)?//""", text)
        assert not {"script", "link", "iframe", "img"} & {tag for tag, _ in tags}
        assert all("scope" in a for tag, a in tags if tag == "th")
        assert "prefers-color-scheme: dark" in text
        policy = next(a["content"] for _, a in tags if a.get("http-equiv"))
        assert policy is not None
        assert policy.startswith("default-src 'none'")


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_are_readable_in_both_themes() -> None:
    """WCAG 2.2 §1.4.3: text needs a contrast of 4.5 with what lies behind it."""
    import autograder

    style = (Path(autograder.__file__).parent / "templates" / "style.css").read_text()
    themes = [dict(re.findall(r"--(\w+): (#\w{6})", part)) for part in style.split("@media")[:2]]
    for theme in themes:
        for ground in ("page", "card"):
            for ink in set(theme) - {"page", "card", "line", "bar"}:
                bright, dark = sorted(
                    (_luminance(theme[ink]), _luminance(theme[ground])), reverse=True
                )
                assert (bright + 0.05) / (dark + 0.05) >= 4.5, (ink, ground, theme[ink])


def test_the_same_results_give_the_same_bytes(tmp_path: Path, template: Template) -> None:
    found = result("ann", 0, SEEN, HIDDEN, seconds=1.0)
    sheet = sheet_of(tmp_path, template, row_of(found, 0))
    later = sheet_of(tmp_path, template, row_of(replace(found, seconds=9.0), 0))
    assert feedback_page(sheet, sheet.rows[0]) == feedback_page(later, later.rows[0])


def test_everyone_gets_a_page_also_who_was_refused(
    tmp_path: Path,
    template: Template,
) -> None:
    rows = (
        row_of(result("ann", 4), 4),
        Row("bob", "Bob", "rejected", f"{LAB}.ipynb is empty"),
        Row("cid", "Cid", "waiting"),
    )
    sheet = sheet_of(tmp_path, template, *rows)
    assert [p.parents[1].name for p in write_feedback(sheet)] == ["ann", "bob"]
    text = sheet.classroom.feedback("bob", LAB).read_text()
    assert f"{LAB}.ipynb is empty" in text
    assert "hand in the file" in text
    assert write_feedback(sheet, only="ann") == [sheet.classroom.feedback("ann", LAB)]


def _table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_csv_is_complete_and_quoted(tmp_path: Path, template: Template) -> None:
    person = {"score": 2, "points": 2, "manual": 2.0}
    rows = (
        row_of(replace(result("007", 4), name='Ann, "Bee"\nIvanova'), 4, **person),
        row_of(replace(result("bob", 1), name="Иван"), 1.25),
        Row("cid", "Cid", "rejected", "is empty"),
    )
    text = csv_text(sheet_of(tmp_path, template, *rows))
    ann, bob, cid = _table(text)
    assert (ann["student"], ann["name"]) == ("007", 'Ann, "Bee"\nIvanova')
    assert (ann["1.1"], ann["1.2"], ann["1.2 written"], ann["total"]) == ("4", "6", "2", "12")
    assert (bob["1.1"], bob["1.2 written"], bob["total"]) == ("1.25", "", "7.25")
    assert (bob["to grade by hand"], bob["possible"]) == ("1", "12")
    assert (cid["status"], cid["total"], cid["reason"]) == ("rejected", "", "is empty")
    assert csv_text(sheet_of(tmp_path, template), bom=True).encode().startswith(b"\xef\xbb\xbf")


@pytest.mark.parametrize(
    "name", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "＝1", "\r=1", '=HYPERLINK("x")']
)
def test_csv_holds_no_formula(tmp_path: Path, template: Template, name: str) -> None:
    row = Row(name, name, "rejected", name)
    line = next(iter(_table(csv_text(sheet_of(tmp_path, template, row)))))
    for field in ("student", "name", "reason"):
        assert line[field] == f"'{name}"


def test_the_class_report_counts(tmp_path: Path, template: Template) -> None:
    rows = (
        row_of(result("ann", 0, SEEN, HIDDEN), 0),
        row_of(result("bob", 1, replace(SEEN, passed=True, earned=1), HIDDEN), 1),
        row_of(result("cid", 4), 4),
        Row("dan", "Dan", "rejected", "is empty"),
    )
    sheet = sheet_of(tmp_path, template, *rows)
    write_feedback(sheet)
    report = summarise(sheet)
    assert (report.handed_in, report.graded) == (4, 3)
    assert report.mean == pytest.approx((6 + 7 + 10) / 3)
    assert report.median == 7
    first, second, written = report.questions
    assert first.share == pytest.approx(5 / 12)
    assert (first.full, first.partly, first.none) == (1, 1, 1)
    assert first.hardest == ("seventeen secrets", 2)
    assert (second.full, second.hardest) == (3, None)
    assert (written.share, written.waiting) == (None, 3)
    assert [(h.message, h.students) for h in report.hints] == [
        ("Think of negative numbers.", 2),
        ("Did you `add` 2?", 1),
    ]
    links = [a["href"] for tag, a in Page(report_page(report)).tags if tag == "a"]
    pages = [(tmp_path / "reports" / str(link)).resolve() for link in links]
    assert len(pages) == 4
    assert all(page.is_file() for page in pages)
    assert student_table(report).row_count == 4
