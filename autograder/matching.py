"""Which of the student's cells is which of ours: by what it claims, its text, its code, its place.

A claim is only a hint for finding the answer; it never decides what a cell may do. Each step looks
at what the steps before it left over:

1. nbgrader's grade id, 2. nbformat's cell id, 3. the same text, 4. a function or class of the same
name, 5. the most similar cell between the same neighbours.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from autograder.notebooks import StudentCell
from autograder.records import Flag
from autograder.syntax import defined_names, is_python
from autograder.template import TemplateCell, plain_text

__all__ = ["Match", "match_cells"]

_ALIKE = 60.0  # of 100; two unrelated short functions reach about 45
_COPY = 85.0
_STUB = "raise NotImplementedError"


@dataclass
class Match:
    """How the student's cells were placed.

    Attributes:
        ours: our cells.
        of: position of our cell → positions of the student's cells that make it up, in order.
        dropped: positions of the student's cells that are copies and do not run.
        flags: what had to be guessed or repaired.
    """

    ours: Sequence[TemplateCell]
    of: dict[int, list[int]] = field(default_factory=dict)
    dropped: set[int] = field(default_factory=set)
    flags: list[Flag] = field(default_factory=list)

    @property
    def taken(self) -> set[int]:
        """All positions that have found a place."""
        return self.dropped | {s for found in self.of.values() for s in found}

    def note(self, code: str, detail: str, cell: TemplateCell) -> None:
        """Add a flag about one of our cells."""
        self.flags.append(Flag(code, detail, cell.grade_id))


def match_cells(ours: Sequence[TemplateCell], theirs: Sequence[StudentCell]) -> Match:
    """Place the student's cells.

    Returns:
        One student cell for most of our cells; several where an answer was split.
    """
    match = Match(ours)
    known = {cell.grade_id for cell in ours if cell.grade_id}
    claims = _positions({s: c.grade_id for s, c in enumerate(theirs) if c.grade_id in known})
    for t, cell in enumerate(ours):
        if cell.grade_id in claims:
            _settle(match, t, cell, claims[cell.grade_id], theirs)
    rest = {s: c.id for s, c in enumerate(theirs) if c.id and c.grade_id not in known}
    ids = _positions({s: key for s, key in rest.items() if s not in match.taken})
    for t, cell in enumerate(ours):
        if t not in match.of and cell.id in ids:
            _settle(match, t, cell, ids[cell.id], theirs)
            if cell.grade_id:
                match.note("metadata-lost", "the cell had lost its id; found by other marks", cell)
    _by_text(match, ours, theirs)
    _by_definition(match, ours, theirs)
    _by_place(match, ours, theirs)
    return match


def _positions(keys: Mapping[int, str]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = defaultdict(list)
    for s, key in keys.items():
        found[key].append(s)
    return found


def _settle(
    match: Match, t: int, cell: TemplateCell, found: list[int], theirs: Sequence[StudentCell]
) -> None:
    """Choose among cells that claim to be the same one of ours."""
    changed = [s for s in found if not cell.gave(theirs[s].source)]
    # Where there is an answer, a copy that still has the stub's last line is none.
    changed = [s for s in changed if _STUB not in theirs[s].source] or changed
    if not cell.is_answer or len(changed) <= 1:
        match.of[t] = [(changed if cell.is_answer and changed else found)[0]]
        match.dropped |= set(found) - set(match.of[t])
        if len(found) > 1:
            match.note("cell-duplicated", "there was a copy of this cell; it does not run", cell)
    elif cell.kind != "code" or _one_piece([theirs[s].source for s in changed]):
        match.of[t] = changed
        match.dropped |= set(found) - set(changed)
        match.note("answer-joined", f"the answer was split over {len(changed)} cells", cell)
    else:
        # As in the student's own notebook: all of them run, and the last one counts.
        match.of[t] = changed[-1:]
        match.dropped |= set(found) - set(changed)
        match.note("answer-duplicated", f"{len(changed)} answers; the last one counts", cell)


def _one_piece(parts: list[str]) -> bool:
    """Whether the parts are Python only when put together."""
    return not all(map(is_python, parts)) and is_python("\n".join(parts))


def _by_text(match: Match, ours: Sequence[TemplateCell], theirs: Sequence[StudentCell]) -> None:
    left = _positions(
        {s: plain_text(c.source) for s, c in enumerate(theirs) if s not in match.taken and c.source}
    )
    for t, cell in enumerate(ours):
        texts = map(plain_text, (cell.released, *cell.earlier))
        if t not in match.of and (found := next(filter(None, map(left.get, texts)), None)):
            match.of[t] = [found.pop(0)]
            if cell.grade_id:
                match.note("metadata-lost", "the cell had lost its id; found by its text", cell)


def _by_definition(
    match: Match, ours: Sequence[TemplateCell], theirs: Sequence[StudentCell]
) -> None:
    for t, cell in enumerate(ours):
        names = defined_names(cell.released) if cell.is_answer and cell.kind == "code" else None
        if t in match.of or not names:
            continue
        found = [
            s
            for s, other in enumerate(theirs)
            if s not in match.taken and names & defined_names(other.source)
        ]
        if found:
            match.of[t] = found[-1:]
            detail = f"the cell had lost its id; found by {', '.join(sorted(names))}"
            match.note("metadata-lost", detail, cell)


def _by_place(match: Match, ours: Sequence[TemplateCell], theirs: Sequence[StudentCell]) -> None:
    from rapidfuzz import fuzz

    for t, cell in enumerate(ours):
        if t in match.of or not cell.released.strip():
            continue
        before = [s for place, found in match.of.items() if place < t for s in found]
        after = [s for place, found in match.of.items() if place > t for s in found]
        window = range(max(before, default=-1) + 1, min(after, default=len(theirs)))
        near = [
            # With a cutoff, a text of another length costs nothing.
            (fuzz.ratio(cell.released, theirs[s].source, score_cutoff=_ALIKE / 2), s)
            for s in window
            if s not in match.taken and theirs[s].source.strip() and _fits(cell, theirs[s])
        ]
        if not near:
            continue
        score, best = max(near, key=lambda pair: (pair[0], -pair[1]))
        only = cell.is_answer and cell.kind == "markdown" and len(near) == 1
        if score >= (_ALIKE if cell.is_answer else _COPY) or only:
            match.of[t] = [best]
            if cell.is_answer:
                match.note("metadata-lost", "the cell had lost its id; found by its place", cell)


def _fits(cell: TemplateCell, other: StudentCell) -> bool:
    return other.kind in (cell.kind, "raw")
