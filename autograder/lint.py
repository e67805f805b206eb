"""Judge a lab source: everything that nbgrader would pass in silence and a student would suffer.

`lint(lab)` returns findings with file and line. An error stops a release; a warning is advice on
teaching (length of the idea, lines of the answer) that an author may have a reason not to take.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from autograder.lint_code import Remark, check_cell, code_cell, gap_cell
from autograder.lint_names import taken_names
from autograder.regions import HIDDEN_TESTS, KINDS, SOLUTION, RegionError, hidden_lines, regions
from autograder.source import LAB_ROLES, ROLES, SETUP, Cell, Exercise, Lab

EXERCISES_MARK = "[[exercises]]"
_KINDS = {
    **dict.fromkeys(("idea", "contract", "hints", "see", "think"), ("markdown",)),
    **dict.fromkeys(("gap", "check", "picture", SETUP), ("code",)),
}
_NOTEBOOK_KEYS = {"tags", "slideshow", "jupyter", "editable", "deletable", "collapsed", "scrolled"}
_ONCE = ("idea", "contract", "hints", "gap", "check", "think")
_REQUIRED = ("contract", "gap", "check")
_ADVISED = ("idea", "look", "hints", "picture", "see", "think")
_REGION_HOME = {SOLUTION: ("gap", "think"), HIDDEN_TESTS: ("check",)}
# Shorter lines (`return x`) stand in many places without giving anything away.
_TELLING_LENGTH = 24


@dataclass(frozen=True)
class Finding:
    """One remark on a lab source.

    Attributes:
        place: "solutions/08_unet.py:120".
        level: "error" or "warning".
        message: what is wrong and what to write instead.
    """

    place: str
    level: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.level}: {self.message}"


def lint(lab: Lab) -> list[Finding]:
    """All findings on a lab, in order of line."""
    remarks: list[Remark] = [*_lab_rules(lab), *taken_names(lab)]
    for cell in lab.cells:
        remarks += _cell_rules(cell, lab)
    for exercise in lab.exercises:
        remarks += _exercise_rules(exercise)
    # A broken marker makes everything said about hidden text unreliable.
    if not any(level == "error" for _, level, _ in remarks):
        remarks += _leaks(lab)
    folder = lab.path.parent.name
    place = f"{folder}/{lab.path.name}" if folder else lab.path.name
    return [Finding(f"{place}:{line}", level, text) for line, level, text in sorted(remarks)]


def _lab_rules(lab: Lab) -> Iterator[Remark]:
    first = lab.cells[0]
    if first.kind != "markdown" or not first.source.startswith("# "):
        yield first.line, "error", "the first cell must be markdown and start with the `# ` title"
    if not lab.exercises:
        yield first.line, "error", "no exercises: give cells `exercise` and `role`"
    marks = sum(cell.source.split("\n").count(EXERCISES_MARK) for cell in lab.cells)
    if marks != 1:
        text = f"expected one line `{EXERCISES_MARK}` (the table of exercises), found {marks}"
        yield first.line, "warning", text
    order = [cell.exercise for cell in lab.cells if cell.exercise]
    runs = [number for i, number in enumerate(order) if i == 0 or order[i - 1] != number]
    for number, count in Counter(runs).items():
        if count > 1:
            again = [c for c in lab.cells if c.exercise == number][-1]
            yield again.line, "error", f"exercise {number} is interrupted by another exercise"


def _cell_rules(cell: Cell, lab: Lab) -> Iterator[Remark]:
    role, number = cell.role, cell.exercise
    known = _NOTEBOOK_KEYS | {"title"}
    for key in sorted(set(cell.metadata) - known):
        yield cell.line, "error", f"unknown cell metadata `{key}`: is it misspelt?"
    if role and role not in (*ROLES, SETUP):
        yield cell.line, "error", f"unknown role {role!r}: one of {', '.join((*ROLES, SETUP))}"
    if number and not role:
        yield cell.line, "error", f"a cell of exercise {number} needs a role"
    if role in ROLES and role not in LAB_ROLES and not number:
        yield cell.line, "error", f'a cell with role {role!r} needs exercise="…"'
    if number and not isinstance(number, str):
        yield cell.line, "error", f'quote the exercise number: exercise="{number}"'
    elif number and not re.fullmatch(rf"{int(lab.name[:2])}\.[1-9]\d*", number):
        text = f"exercise {number!r} in lab {lab.name}: expected {int(lab.name[:2])}.1, …"
        yield cell.line, "error", text
    if role in _KINDS and cell.kind not in _KINDS[role]:
        yield cell.line, "error", f"a {role} cell is {_KINDS[role][0]}, this one is {cell.kind}"
    for kind in KINDS:
        try:
            found = regions(cell.source, kind)
        except RegionError as error:
            yield cell.file_line(error.offset), "error", str(error)
            return
        homes = _REGION_HOME[kind]
        for begin, end in found:
            if role not in homes:
                text = f"a {kind.lower()} region belongs into a {' or '.join(homes)} cell"
                yield cell.file_line(begin), "error", text
            if not any(line.strip() for line in cell.source.split("\n")[begin + 1 : end]):
                yield cell.file_line(begin), "error", f"the {kind.lower()} region is empty"
    if "BEGIN MARK SCHEME" in cell.source:
        yield cell.line, "error", "mark schemes need nbgrader task cells; answer in the think cell"
    if cell.kind == "code":
        yield from code_cell(cell)


def _exercise_rules(exercise: Exercise) -> Iterator[Remark]:
    start, counts = exercise.cells[0].line, Counter(cell.role for cell in exercise.cells)
    for role in _ONCE:
        if counts[role] > 1:
            extra = [cell for cell in exercise.cells if cell.role == role][-1]
            text = f"exercise {exercise.number} has {counts[role]} {role} cells, one is allowed"
            yield extra.line, "error", text
    for role in _REQUIRED:
        if not counts[role]:
            yield start, "error", f"exercise {exercise.number} has no {role} cell"
    if lacking := [role for role in _ADVISED if not counts[role]]:
        yield start, "warning", f"exercise {exercise.number} lacks {', '.join(lacking)}"
    yield from _order(exercise)
    for role, rule in _RULES.items():
        if cell := exercise.cell(role):
            yield from rule(cell, exercise)


def _order(exercise: Exercise) -> Iterator[Remark]:
    latest = ""
    for cell in exercise.cells:
        if cell.role not in ROLES:
            continue
        if latest and ROLES.index(cell.role) < ROLES.index(latest):
            if not (cell.role == "hints" and latest == "gap"):
                yield cell.line, "error", f"{cell.role} stands after {latest}: {', '.join(ROLES)}"
            continue
        latest = cell.role


def _idea(cell: Cell, exercise: Exercise) -> Iterator[Remark]:
    words = len(re.findall(r"\w+", re.sub(r"\$[^$]*\$", "formula", cell.source)))
    if not 60 <= words <= 120:
        yield cell.line, "warning", f"the idea has {words} words; 60 to 120 are read"


def _contract(cell: Cell, exercise: Exercise) -> Iterator[Remark]:
    title, minutes = cell.options.get("title"), cell.options.get("minutes")
    if not isinstance(title, str) or not title:
        yield cell.line, "error", 'the contract cell needs title="…"'
    if not isinstance(minutes, int) or minutes <= 0:
        yield cell.line, "error", "the contract cell needs minutes=… (a whole number)"
    if cell.source.startswith("#"):
        yield cell.line, "error", "the builder writes the heading of the contract; leave it out"
    bullets = len(re.findall(r"^[-*] ", cell.source, re.M))
    if not 3 <= bullets <= 5:
        yield cell.line, "warning", f"the contract has {bullets} bullet lines; 3 to 5 are kept"


def _hints(cell: Cell, exercise: Exercise) -> Iterator[Remark]:
    items = re.findall(r"^(\d)\. ", cell.source, re.M)
    if items != ["1", "2", "3"] or not cell.source.startswith("1. "):
        text = "hints are a list `1. … 2. … 3. …`: the idea, a step on the way, the first line"
        yield cell.line, "error", text


def _see(cell: Cell, exercise: Exercise) -> Iterator[Remark]:
    if not exercise.cell("picture"):
        text = "nothing to see without a picture cell: the builder embeds its picture here"
        yield cell.line, "warning", text


def _think(cell: Cell, exercise: Exercise) -> Iterator[Remark]:
    points = cell.options.get("points", 0)
    if isinstance(points, bool) or not isinstance(points, int | float) or points < 0:
        yield cell.line, "error", f"points of a think cell are a number, got {points!r}"
    try:
        if not regions(cell.source, SOLUTION):
            yield cell.line, "error", "the think cell has no answer between solution markers"
    except RegionError:
        pass  # reported with the cell


_RULES: dict[str, Callable[[Cell, Exercise], Iterator[Remark]]] = {
    "idea": _idea,
    "contract": _contract,
    "hints": _hints,
    "gap": gap_cell,
    "check": check_cell,
    "see": _see,
    "think": _think,
}


def _leaks(lab: Lab) -> Iterator[Remark]:
    """Lines of a solution or a hidden test that students can read somewhere else in the lab."""
    shown = {}
    for cell in lab.cells:
        hidden = {number for kind in KINDS for number, _ in hidden_lines(cell.source, kind)}
        if cell.role != "hints":
            for number, line in enumerate(cell.source.split("\n")):
                if number not in hidden:
                    shown.setdefault(line.strip(), cell.file_line(number))
    for cell in lab.cells:
        for kind in KINDS:
            for number, line in hidden_lines(cell.source, kind):
                text = line.strip()
                if len(text) >= _TELLING_LENGTH and text in shown:
                    message = f"this hidden line is readable in line {shown[text]}: {text}"
                    yield cell.file_line(number), "warning", message
