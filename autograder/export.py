"""Points per question as CSV, for a spreadsheet or a learning platform.

Text is always quoted and never a formula; numbers are never quoted. The byte order mark is what
makes a spreadsheet read UTF-8.
"""

from __future__ import annotations

import csv
import io
from collections import Counter

from autograder.sheet import Row, Sheet

__all__ = ["csv_text", "safe_text"]

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
Value = str | float | int | None


def safe_text(text: str) -> str:
    """Text that a spreadsheet will not run.

    >>> safe_text("=cmd|' /C calc'!A0"), safe_text("O'Brien"), safe_text("007")
    ("'=cmd|' /C calc'!A0", "O'Brien", '007')
    """
    return f"'{text}" if text.lstrip(" ").startswith(_FORMULA) else text


def csv_text(sheet: Sheet, *, bom: bool = False) -> str:
    """One line per student: id, name, status, points per question, total, what needs a look.

    Args:
        bom: start with the byte order mark.
    """
    head: list[Value] = ["student", "name", "status", *_labels(sheet)]
    head += ["late penalty", "total", "possible", "to grade by hand", "flags", "reason"]
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(head)
    for row in sheet.rows:
        writer.writerow([safe_text(v) if isinstance(v, str) else v for v in _values(sheet, row)])
    return ("\ufeff" if bom else "") + buffer.getvalue()


def _labels(sheet: Sheet) -> list[str]:
    """Exercise numbers; the grade id too where two columns would look the same."""
    count = Counter(column.label for column in sheet.columns)
    return [c.label if count[c.label] == 1 else f"{c.label} {c.cell}" for c in sheet.columns]


def _values(sheet: Sheet, row: Row) -> list[Value]:
    cells = row.grades.cells if row.grades else {}
    scores: list[Value] = []
    for column in sheet.columns:
        grade = cells.get(column.cell)
        waits = grade is None or (column.written and grade.waiting and grade.manual is None)
        scores.append("" if grade is None or waits else _number(grade.score))
    flags = sorted({flag.code for flag in row.result.flags}) if row.result else []
    return [
        row.student,
        row.name,
        row.status,
        *scores,
        _number(row.grades.penalty) if row.grades else "",
        "" if row.total is None else _number(row.total),
        _number(sheet.points),
        row.waiting,
        " ".join(flags),
        row.reason,
    ]


def _number(value: float) -> float | int:
    return int(value) if value == int(value) else round(value, 4)
