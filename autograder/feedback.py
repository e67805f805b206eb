"""One page per student: points, what each check said, the answer, and no hidden test.

A page shows named checks with their hints. It never shows text that came out of a test cell as
output, nor details of hidden checks; a line of a hidden test that got into a message is withheld.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from markupsafe import Markup

from autograder.pages import highlighted, render
from autograder.records import Check, Flag, Question, write_whole
from autograder.regions import HIDDEN_TESTS
from autograder.sheet import Column, Row, Sheet
from autograder.template import Template

__all__ = ["Part", "feedback_page", "write_feedback"]

WITHHELD = "[withheld: it quotes a hidden test]"
_SHORTEST_SECRET = 12  # characters; shorter lines are in every program
_FOR_STUDENTS = {
    *("answer-duplicated", "answer-elsewhere", "answer-joined", "answer-missing"),
    *("cell-duplicated", "kind-changed", "locked-edited", "metadata-lost", "test-restored"),
    *("bad-timestamp", "extra-files", "file-skipped", "renamed", "several-files", "stranger"),
    "install-skipped",
}


@dataclass(frozen=True)
class Part:
    """One graded cell on the page.

    Attributes:
        verdict: one or two words; tone: "good", "bad" or "wait".
        code: the answer with its words marked, "" for a written one; open: whether it is unfolded.
    """

    label: str
    title: str
    numbered: bool
    points: float
    earned: float | None
    verdict: str
    tone: str
    error: str
    checks: tuple[Check, ...]
    comment: str
    answer: str
    code: Markup
    open: bool


def write_feedback(sheet: Sheet, *, only: str = "") -> list[Path]:
    """Write the pages of a lab into nbgrader's feedback folder.

    Args:
        only: one student's id; "" for everyone who was graded or rejected.
    """
    paths = []
    for row in sheet.rows:
        if row.status in ("graded", "rejected") and only in ("", row.student):
            path = sheet.classroom.feedback(row.student, sheet.lab)
            write_whole(path, feedback_page(sheet, row))
            paths.append(path)
    return paths


def feedback_page(sheet: Sheet, row: Row) -> str:
    """The page of one student, the same bytes for the same results."""
    parts = _parts(sheet, row)
    return render(
        "feedback.html.j2",
        title=sheet.title,
        lab=sheet.lab,
        name=row.name,
        rejected=row.reason if row.status == "rejected" else "",
        total=row.total,
        possible=sheet.points,
        waiting=row.waiting,
        penalty=row.grades.penalty if row.grades else 0,
        parts=parts,
        notes=_notes(sheet.template, row),
    )


def _notes(template: Template, row: Row) -> list[str]:
    if row.result is None:
        return []
    ids = {cell.grade_id: template.exercise_of(cell) for cell in template.cells}
    notes = [_note(flag, ids) for flag in row.result.flags if flag.code in _FOR_STUDENTS]
    notes += [f"{text[:1].upper()}{text[1:]}." for text in row.result.limits]
    return list(dict.fromkeys(notes))


def _note(flag: Flag, exercises: dict[str, str]) -> str:
    where = exercises.get(flag.cell, "")
    text = flag.detail[:1].upper() + flag.detail[1:]
    return f"Exercise {where}: {flag.detail}." if where[:1].isdigit() else f"{text}."


def _parts(sheet: Sheet, row: Row) -> list[Part]:
    if row.result is None or row.grades is None:
        return []
    answers = _answers(sheet.classroom.autograded(row.student, sheet.lab))
    questions = {question.cell: question for question in row.result.questions}
    secrets = _secrets(sheet.template)
    parts = []
    for column in sheet.columns:
        question = questions.get(column.cell)
        if question is not None:
            parts.append(_part(sheet, row, column, _guarded(question, secrets), answers))
    return parts


def _part(
    sheet: Sheet, row: Row, column: Column, question: Question, answers: dict[str, str]
) -> Part:
    grade = row.grades.cells.get(column.cell) if row.grades else None
    graded = next(cell for cell in sheet.template.graded if cell.grade_id == column.cell)
    cell = sheet.template.answer_of(graded)
    answer = answers.get(cell.grade_id, "") if cell and question.answered else ""
    earned = question.earned if grade is None else grade.score
    waiting = grade is not None and grade.waiting and grade.manual is None
    verdict, tone = _verdict(question, None if waiting and column.written else earned)
    return Part(
        column.label,
        column.title,
        column.exercise[:1].isdigit(),
        column.points,
        None if waiting and column.written else earned,
        verdict,
        tone,
        question.error if question.answered else "",
        question.checks if question.answered else (),
        grade.comment if grade else "",
        answer,
        highlighted(answer) if answer and cell and cell.kind == "code" else Markup(""),
        tone == "bad",
    )


def _verdict(question: Question, earned: float | None) -> tuple[str, str]:
    if earned is None:
        return "waits for a person", "wait"
    if earned >= question.points:
        return "complete", "good"
    if not question.answered and not earned:
        return "not answered", "wait"
    return ("partly right", "bad") if earned else ("not yet", "bad")


def _answers(path: Path) -> dict[str, str]:
    """The student's cells in the recorded notebook, by grade id."""
    import nbformat

    if not path.is_file():
        return {}
    notebook: Any = nbformat.read(path, as_version=4)
    cells = [(c.metadata.get("nbgrader", {}).get("grade_id"), c.source) for c in notebook.cells]
    return {grade_id: source for grade_id, source in cells if grade_id}


def _secrets(template: Template) -> set[str]:
    """Lines of hidden tests, without white space."""
    found = set()
    for cell in template.cells:
        inside = False
        for line in cell.source.split("\n"):
            if HIDDEN_TESTS in line:
                inside = "BEGIN" in line
            elif inside and len(bare := re.sub(r"\s", "", line)) >= _SHORTEST_SECRET:
                found.add(bare)
    return found


def _guarded(question: Question, secrets: set[str]) -> Question:
    checks = tuple(
        replace(
            check,
            name=_guard(check.name, secrets),
            message=_guard(check.message, secrets),
            detail=_guard(check.detail, secrets),
        )
        for check in question.checks
    )
    return replace(question, checks=checks, error=_guard(question.error, secrets))


def _guard(text: str, secrets: set[str]) -> str:
    """Messages come from where student code runs, so they may carry anything it could read."""
    bare = re.sub(r"\s", "", text)
    return WITHHELD if any(secret in bare for secret in secrets) else text
