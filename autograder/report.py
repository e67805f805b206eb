"""The class at a glance: where it struggles, which hints it met, whose file needs a look."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from statistics import mean, median
from typing import Any
from urllib.parse import quote

from autograder.pages import points, render
from autograder.records import Result
from autograder.sheet import Column, Row, Sheet

__all__ = ["ClassReport", "HintCount", "QuestionCount", "report_page", "summarise"]

_MOST_HINTS = 12
_WHERE = {
    "sandbox L3": "in a sandbox of level 3",
    "sandbox L2": "in a sandbox of level 2",
    "sandbox L1": "at level 1: limited, with nothing hidden from students' code",
    "kernel": "in plain kernels, without a sandbox",
}


@dataclass(frozen=True)
class QuestionCount:
    """How a question went.

    Attributes:
        share: mean of the points earned, as a part of the possible ones; None while
            somebody waits for a score.
        full, partly, none, unanswered, waiting: numbers of students.
        hardest: the check that most students failed, and how many did.
    """

    column: Column
    share: float | None
    full: int
    partly: int
    none: int
    unanswered: int
    waiting: int
    hardest: tuple[str, int] | None


@dataclass(frozen=True)
class HintCount:
    """A hint and how many students met it."""

    exercise: str
    check: str
    message: str
    students: int


@dataclass(frozen=True)
class ClassReport:
    """Numbers about a class.

    Attributes:
        questions: in the lab's order; hints: most frequent first.
        where: how students' code was locked in, in words, with numbers where it differs.
    """

    sheet: Sheet
    handed_in: int
    graded: int
    mean: float | None
    median: float | None
    questions: tuple[QuestionCount, ...]
    hints: tuple[HintCount, ...]
    where: str = ""


def summarise(sheet: Sheet) -> ClassReport:
    """Count what happened in a class."""
    totals = [row.total for row in sheet.rows if row.total is not None]
    results = [row.result for row in sheet.rows if row.result and row.status == "graded"]
    return ClassReport(
        sheet,
        len(sheet.rows),
        len(results),
        mean(totals) if totals else None,
        median(totals) if totals else None,
        tuple(_count(sheet, column, results) for column in sheet.columns),
        _hints(results),
        _where(results),
    )


def _where(results: list[Result]) -> str:
    """Where the code of these results ran.

    >>> from types import SimpleNamespace as Made
    >>> _where([Made(engine="sandbox L3"), Made(engine="sandbox L3"), Made(engine="kernel")])
    '2 in a sandbox of level 3, 1 in plain kernels, without a sandbox'
    """
    engines = Counter(result.engine for result in results).most_common()
    if len(engines) == 1:
        return _WHERE.get(engines[0][0], engines[0][0])
    return ", ".join(f"{number} {_WHERE.get(engine, engine)}" for engine, number in engines)


def _count(sheet: Sheet, column: Column, results: list[Result]) -> QuestionCount:
    questions = {r.student: q for r in results for q in r.questions if q.cell == column.cell}
    scores, waiting = {}, 0
    for row in sheet.rows:
        grade = row.grades.cells.get(column.cell) if row.grades else None
        if grade and column.written and grade.waiting and grade.manual is None:
            waiting += 1
        elif grade:
            scores[row.student] = grade.score
    unanswered = {s for s in scores if s in questions and not questions[s].answered}
    failed = Counter(
        c.name for q in questions.values() if q.answered for c in q.checks if not c.passed
    )
    top = column.points
    return QuestionCount(
        column,
        mean(scores.values()) / top if scores and top and not waiting else None,
        sum(score >= top for score in scores.values()),
        sum(0 < score < top for score in scores.values()),
        sum(score <= 0 for s, score in scores.items() if s not in unanswered),
        len(unanswered),
        waiting,
        min(failed.items(), key=lambda item: (-item[1], item[0])) if failed else None,
    )


def _hints(results: list[Result]) -> tuple[HintCount, ...]:
    met = Counter(
        hint
        for result in results
        for hint in {
            (question.exercise, check.name, check.message)
            for question in result.questions
            for check in question.checks
            if question.answered and not check.passed and check.message
        }
    )
    order = sorted(met.items(), key=lambda item: (-item[1], item[0]))
    return tuple(HintCount(*hint, count) for hint, count in order[:_MOST_HINTS])


def report_page(report: ClassReport) -> str:
    """The report as a page, with links to the feedback pages beside it."""
    sheet = report.sheet
    links = {
        row.student: "../feedback/" + "/".join(map(quote, (row.student, sheet.lab, sheet.lab)))
        for row in sheet.rows
        if sheet.classroom.feedback(row.student, sheet.lab).is_file()
    }
    return render("report.html.j2", report=report, sheet=sheet, links=links)


def student_table(report: ClassReport) -> Any:
    """The students of a class for the terminal, narrow enough for 80 columns."""
    from rich.markup import escape
    from rich.table import Table

    sheet = report.sheet
    table = Table(title=escape(sheet.title), title_justify="left", caption_justify="left")
    table.caption = "✎ graded by a person   … waits for one   ! see below"
    table.add_column("student", overflow="fold", min_width=14)
    for column in sheet.columns:
        label = f"{column.exercise}✎" if column.written else column.exercise
        table.add_column(f"{label}\n/{points(column.points)}", justify="right")
    table.add_column(f"total\n/{points(sheet.points)}", justify="right")
    table.add_column("")
    for row in sheet.rows:
        cells = row.grades.cells if row.grades else {}
        scores = []
        for column in sheet.columns:
            grade = cells.get(column.cell)
            wait = grade is not None and column.written and grade.waiting and grade.manual is None
            scores.append("[yellow]…[/]" if wait else _coloured(grade, column.points))
        mark = "[red]![/]" if row.reason else "[yellow]![/]" if _remarks(row) else ""
        table.add_row(escape(row.name), *scores, f"[b]{points(row.total)}[/]", mark)
    return table


def remark_lines(report: ClassReport) -> list[str]:
    """A line for everything that somebody should look at, for the terminal."""
    from rich.markup import escape

    return [
        f"[{'red' if row.reason else 'yellow'}]![/] {escape(row.name)}: {escape(remark)}"
        for row in report.sheet.rows
        for remark in _remarks(row)
    ]


def _remarks(row: Row) -> list[str]:
    if row.reason:
        return [f"{row.status}: {row.reason}"]
    if row.result is None:
        return ["not graded yet"]
    return [*row.result.limits, *(flag.detail for flag in row.result.flags)]


def _coloured(grade: Any, possible: float) -> str:
    if grade is None:
        return "–"
    colour = "green" if grade.score >= possible else "red" if grade.score <= 0 else "yellow"
    return f"[{colour}]{points(grade.score)}[/]"


def question_table(report: ClassReport) -> Any:
    """The questions of a lab for the terminal, with the check that most students failed."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Where the class struggles", title_justify="left")
    for name in ("exercise", "mean", "full", "partly", "none", "unanswered"):
        table.add_column(name, justify="left" if name == "exercise" else "right")
    table.add_column("most often failed", overflow="fold")
    for count in report.questions:
        share = "–" if count.share is None else f"{count.share:.0%}"
        numbers = [str(n) for n in (count.full, count.partly, count.none, count.unanswered)]
        hardest = f"{count.hardest[0]} ({count.hardest[1]})" if count.hardest else ""
        table.add_row(escape(count.column.label), share, *numbers, escape(hardest))
    return table
