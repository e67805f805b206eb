"""The notebook that runs: our cells, with the student's answers in their places.

Kinds, ids, points, tags, kernel and hidden tests are always ours. What the student wrote besides
(helper cells, an edited set-up) runs where the student had it. Every repair is a flag.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Any

from autograder.matching import Match, match_cells
from autograder.notebooks import StudentCell
from autograder.records import Flag
from autograder.suspicion import look_odd
from autograder.syntax import bound_names, defined_names, used_names
from autograder.template import Template, TemplateCell

__all__ = ["Cell", "Rebuilt", "rebuild"]

_INSTALL = re.compile(r"^([ \t]*)[%!]+[ \t]*(?:pip|conda|mamba|uv|apt|apt-get)\d?\b.*$", re.M)
_ELSEWHERE = "# The answer stands in another cell of this notebook."


@dataclass(frozen=True)
class Cell:
    """One cell of the rebuilt notebook.

    Attributes:
        ours: the cell of the template, None for what the student added.
        answered: whether the student changed an answer cell.
        shows: whether it only shows something, or is the student's version of such a cell.
        runs: False for text and for what earns nothing.
    """

    kind: str
    source: str
    ours: TemplateCell | None
    answered: bool = False
    shows: bool = False
    runs: bool = True
    attachments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rebuilt:
    """The rebuilt notebook of one student."""

    template: Template
    cells: tuple[Cell, ...]
    flags: tuple[Flag, ...]

    def answered(self, graded: TemplateCell) -> bool:
        """Whether there is any answer to what a graded cell asks."""
        answer = self.template.answer_of(graded)
        return answer is None or any(c.answered for c in self.cells if c.ours is answer)

    def answer(self, graded: TemplateCell) -> str:
        """The student's text for a graded cell, "" where there is none."""
        answer = self.template.answer_of(graded)
        return next((c.source for c in self.cells if answer and c.ours is answer), "")

    def notebook(self) -> Any:
        """The same as an nbformat notebook, with our metadata."""
        from nbformat import NotebookNode, from_dict, v4

        cells, seen = [], set()
        for number, cell in enumerate(self.cells):
            identity = cell.ours.id if cell.ours and cell.ours.id else ""
            if not identity or identity in seen:
                identity = f"added-{number}"
            seen.add(identity)
            # By hand: nbformat's own makers check each cell against its schema, 20 ms a notebook.
            node = NotebookNode(
                id=identity, cell_type=cell.kind, source=cell.source, metadata=NotebookNode()
            )
            if cell.kind == "code":
                node.execution_count, node.outputs = None, []
            if cell.ours and cell.ours.metadata:
                node.metadata["nbgrader"] = from_dict(cell.ours.metadata)
            if cell.attachments:
                node["attachments"] = from_dict(cell.attachments)
            cells.append(node)
        kernel = {"name": self.template.kernel, "display_name": self.template.kernel}
        metadata = {"kernelspec": kernel} if self.template.kernel else {}
        notebook = v4.new_notebook(cells=cells, metadata=metadata)
        notebook.nbformat_minor = 5
        return notebook


def rebuild(template: Template, theirs: list[StudentCell]) -> Rebuilt:
    """Put the student's answers into our notebook.

    Args:
        template: our cells.
        theirs: the student's, see `autograder.notebooks.read_cells`.
    """
    match = match_cells(template.cells, theirs)
    added = _added(match, template, theirs)
    cells = [_student_cell(theirs[s], False, match) for s in added.get(-1, [])]
    for t, ours in enumerate(template.cells):
        cells.append(_our_cell(t, ours, match, theirs))
        for s in added.get(t, []):
            edited_show = ours.shown_only and s in match.of.get(t, [])
            cells.append(_student_cell(theirs[s], edited_show, match))
    odd = sorted({tag for cell in theirs for tag in cell.tags} & {"skip-execution"})
    if odd:
        match.flags.append(Flag("tags-ignored", f"cells carried the tag {odd[0]}"))
    cells = _helpers_first(cells, template, match)
    look_odd(match, template, theirs)
    return Rebuilt(template, tuple(_skip_shows(cells)), tuple(match.flags))


def _helpers_first(cells: list[Cell], template: Template, match: Match) -> list[Cell]:
    """Move up helpers that an answer needs and that stand below its check.

    In the student's own kernel they had run first. Nothing moves in a notebook that works in order.
    """
    done: list[Cell] = []
    moved: set[int] = set()
    for position, cell in enumerate(cells):
        if id(cell) in moved:
            continue
        if cell.ours and cell.ours.is_check and (answer := template.answer_of(cell.ours)):
            at = next((i for i, c in enumerate(done) if c.ours is answer), len(done))
            later = [
                c for c in cells[position:] if c.ours is None and c.runs and id(c) not in moved
            ]
            helpers = _missing_helpers(done, at, later)
            if helpers:
                names = sorted({name for c in helpers for name in defined_names(c.source)})
                words = f"{', '.join(names)} stood below where it is needed; it was moved up"
                match.note("helper-moved", words, answer)
                done[at:at] = helpers
                moved |= set(map(id, helpers))
        done.append(cell)
    return done


def _missing_helpers(done: list[Cell], at: int, later: list[Cell]) -> list[Cell]:
    if at == len(done):
        return []
    wanted = used_names([done[at].source])
    if not any(defined_names(c.source) & wanted for c in later):
        return []
    bound = {name for c in done if c.runs for name in bound_names(c.source) or ()}
    found: list[Cell] = []
    wanted -= bound
    for _ in later:
        seen = set(map(id, found))
        more = [c for c in later if id(c) not in seen and defined_names(c.source) & wanted]
        if not more:
            break
        found += more
        wanted |= used_names(c.source for c in more) - bound
    return sorted(found, key=later.index)


def _added(match: Match, template: Template, theirs: list[StudentCell]) -> dict[int, list[int]]:
    """What the student added or edited, by the position of our cell after which it stood."""
    home = {s: t for t, found in match.of.items() for s in found}
    added: dict[int, list[int]] = {}
    last = -1
    for s, cell in enumerate(theirs):
        if s in home:
            last = home[s]
            ours = template.cells[last]
            if ours.is_answer or ours.gave(cell.source):
                continue
            if ours.metadata or ours.fixed:
                what = "the parameters were" if ours.fixed else "a locked cell was"
                match.note("locked-edited", f"{what} edited; the lab's own text is used", ours)
                continue
        if s not in match.dropped and cell.source.strip():
            added.setdefault(last, []).append(s)
    return added


def _our_cell(t: int, ours: TemplateCell, match: Match, theirs: list[StudentCell]) -> Cell:
    runs = ours.kind == "code"
    if not ours.is_answer:
        if t not in match.of and ours.is_graded:
            match.note("test-restored", "a test cell was missing; it was put back", ours)
        shows, pictures = ours.shown_only, ours.attachments
        return Cell(ours.kind, ours.source, ours, shows=shows, runs=runs, attachments=pictures)
    found = [theirs[s] for s in match.of.get(t, [])]
    if not found:
        return _missing(t, ours, match, theirs)
    if any(cell.kind != ours.kind for cell in found):
        match.note("kind-changed", f"the cell had become {found[0].kind}; it is {ours.kind}", ours)
    source = "\n".join(cell.source for cell in found)
    pictures = {k: v for cell in found for k, v in cell.pictures.items()}
    answered = not ours.gave(source)
    source = _without_installs(source, match, ours.grade_id) if runs else source
    pictures = {**ours.attachments, **pictures}
    return Cell(ours.kind, source, ours, answered, runs=runs, attachments=pictures)


def _missing(t: int, ours: TemplateCell, match: Match, theirs: list[StudentCell]) -> Cell:
    """Nobody's cell fits: the code stands in another cell that runs, or there is no answer."""
    names = defined_names(ours.released) if ours.kind == "code" else frozenset()
    home = {s: place for place, found in match.of.items() for s in found}
    still = match.dropped | {
        s for s, p in home.items() if match.ours[p].metadata and not match.ours[p].is_answer
    }
    holds = (
        s
        for s, cell in enumerate(theirs)
        if s not in still and cell.kind == "code" and names <= defined_names(cell.source)
    )
    if names and (s := next(holds, None)) is not None:
        match.note("answer-elsewhere", f"{', '.join(sorted(names))} stands in another cell", ours)
        above = max((s for s, place in home.items() if place < t), default=-1)
        late = home[s] > t if s in home else s > above
        # A cell below the check comes too late for it, so its text runs here too.
        source = _without_installs(theirs[s].source, match, ours.grade_id) if late else _ELSEWHERE
        return Cell(ours.kind, source, ours, answered=True)
    match.note("answer-missing", "the answer cell is not in the notebook", ours)
    return Cell(ours.kind, ours.released, ours, runs=ours.kind == "code")


def _student_cell(cell: StudentCell, shows: bool, match: Match) -> Cell:
    runs = cell.kind == "code"
    source = _without_installs(cell.source, match, "") if runs else cell.source
    return Cell(cell.kind, source, None, shows=shows, runs=runs, attachments=cell.pictures)


def _without_installs(source: str, match: Match, grade_id: str) -> str:
    kept = _INSTALL.sub(r"\1pass  # installing is left out while grading", source)
    if kept != source:
        match.flags.append(Flag("install-skipped", "an install command was left out", grade_id))
    return kept


def _skip_shows(cells: list[Cell]) -> list[Cell]:
    """Leave out what earns nothing: cells that only show something, unless a later one needs them,
    and everything behind the last test.
    """
    result: list[Cell] = []
    needed: set[str] = set()
    tested = False
    for cell in reversed(cells):
        tested = tested or (cell.ours is not None and cell.ours.is_check)
        names = bound_names(cell.source) if cell.runs and cell.shows else None
        if not tested or (names is not None and not names & needed):
            cell = replace(cell, runs=False)
        if cell.runs:
            needed |= used_names([cell.source])
        result.append(cell)
    return result[::-1]
