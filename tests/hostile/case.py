"""One case of the corpus: how the hand-in is made, and the verdict that it deserves.

    @case("honest", "the test cell was deleted", flags="test-restored")
    def _(work: Work) -> None:
        work.cut(work.check)

    cheat("torch.allclose always agrees", cell="torch.allclose = lambda *a, **k: True")

`make` gets the notebook with every exercise answered right and changes it, or returns the files
that are handed in instead: bytes for the lab's notebook, or a dict of names. In code, `@ROOT@` is
the class folder, `@TOKEN@` a word that marks files and processes, `@PORT@` a listening port,
`@VICTIM@` a process of the grader's user, `@FUNCTION@` the guilty function. An attack that succeeds
calls `tell(what)`: the word it raises must turn up nowhere.
"""

from __future__ import annotations

import copy
import io
import json
import textwrap
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nbformat import v4

from autograder.regions import SOLUTION, regions

from .labs import Lab

__all__ = [
    "CASES",
    "LEAK",
    "Case",
    "Place",
    "Work",
    "abuse",
    "bare",
    "broken",
    "case",
    "cheat",
    "zipped",
]

LEAK = "LEAKED"
_TELL = 'def tell(what):\n    raise RuntimeError("LEA" + "KED " + str(what)[:300])\n'

Special = Callable[[Path], None]
"""Makes what is no plain file (a pipe, a link, a folder) at a path."""
Files = dict[str, "bytes | Special"]


@dataclass(frozen=True)
class Place:
    """What an attacker may know: the words that stand for it in code are replaced."""

    root: Path
    token: str
    port: int
    victim: int


@dataclass(frozen=True)
class Case:
    """A hand-in and its verdict record.

    Attributes:
        status: "graded" or "rejected".
        guilty, others: share of the points that the guilty and the other exercises earn; None where
            anything from 0 to all is right.
        flags: codes that must be there; others_flags: whether more may be.
        limits: pattern that a limit hit must match; "" where none may be hit.
        reason: pattern of the sentence with which a file is rejected.
        never: words that must not be in anything that the student receives.
        student: name where it matters.
        lethal: harms the machine where nothing holds it back: only in a sandbox.
        ruled: the guilty exercise is the one that rules a call out.
        real: belongs to the small selection that is always applied to lab 8 too.
        source: writes what the whole class handed in, where one folder will not do.
    """

    family: str
    name: str
    make: Callable[[Work], bytes | Files | None]
    status: str = "graded"
    guilty: float | None = 1.0
    others: float | None = 1.0
    flags: frozenset[str] = frozenset()
    more_flags: bool = False
    limits: str = ""
    reason: str = ""
    never: tuple[str, ...] = ()
    student: str = ""
    lethal: bool = False
    ruled: bool = False
    real: bool = False
    source: Callable[[Path, str, bytes], Path] | None = field(default=None, repr=False)

    @property
    def display_name(self) -> str:
        """The student's name as the learning platform shows it."""
        return self.student or self.name


CASES: list[Case] = []


@dataclass
class Work:
    """A notebook in a student's hands.

    Attributes:
        nb: the released notebook with every exercise answered right.
    """

    lab: Lab
    nb: Any
    place: Place
    released: Any = field(repr=False)

    @classmethod
    def of(cls, lab: Lab, released: Any, source: Any, place: Place) -> Work:
        """All exercises answered with the solutions, the guilty one in other words."""
        notebook = copy.deepcopy(released)
        solved = {cell.id: bare(cell.source) for cell in source.cells if cell.id}
        for cell in notebook.cells:
            course = cell.metadata.get("nbgrader", {})
            if cell.id == lab.answer:
                cell.source = lab.code(lab.right)
            elif course.get("solution") and cell.cell_type == "code":
                cell.source = solved[cell.id]
            elif course.get("solution"):
                cell.source += "\n\nThe grid, the cost and the step."
        return cls(lab, notebook, place, released)

    def cell(self, cell_id: str) -> Any:
        """One cell by its id."""
        return next(cell for cell in self.nb.cells if cell.get("id") == cell_id)

    @property
    def answer(self) -> Any:
        """The guilty answer."""
        return self.cell(self.lab.answer)

    @property
    def check(self) -> Any:
        """The guilty check."""
        return self.cell(self.lab.check)

    @property
    def written(self) -> Any:
        """The first written answer that carries points."""
        return next(
            cell
            for cell in self.nb.cells
            if cell.cell_type == "markdown" and cell.metadata.get("nbgrader", {}).get("points")
        )

    @property
    def other_answers(self) -> list[Any]:
        """The answers in code that are not guilty."""
        return [
            cell
            for cell in self.nb.cells
            if cell.cell_type == "code"
            and cell.metadata.get("nbgrader", {}).get("solution")
            and cell is not self.answer
        ]

    def write(self, body: str, before: str = "") -> None:
        """Give the guilty function a body, and lines before it."""
        self.answer.source = self.fill(self.lab.code(body, before))

    def fill(self, code: str) -> str:
        """Code with the words of `Place` put in."""
        words = {**vars(self.place), "function": self.lab.function, "lab": self.lab.name}
        for name, value in words.items():
            code = code.replace(f"@{name.upper()}@", str(value))
        return code

    def cut(self, cell: Any) -> None:
        """Delete a cell."""
        self.nb.cells.remove(cell)

    def paste(self, cell: Any, source: str | None = None) -> Any:
        """A copy behind a cell, with its metadata, as the notebook editor makes it."""
        again = copy.deepcopy(cell)
        again.id = f"{cell.id}-pasted"
        again.source = cell.source if source is None else source
        self.nb.cells.insert(self.nb.cells.index(cell) + 1, again)
        return again

    def add(self, code: str, *, before: Any = None, after: Any = None) -> Any:
        """A new code cell, at the end unless told otherwise."""
        cell = v4.new_code_cell(self.fill(textwrap.dedent(code).strip("\n")), id="added")
        cell.id = f"added-{len(self.nb.cells)}"
        at = len(self.nb.cells)
        if before is not None:
            at = self.nb.cells.index(before)
        if after is not None:
            at = self.nb.cells.index(after) + 1
        self.nb.cells.insert(at, cell)
        return cell

    def stub(self, cell: Any) -> None:
        """Take an answer back to what was released."""
        cell.source = next(c.source for c in self.released.cells if c.id == cell.id)

    def bytes(self) -> bytes:
        """The notebook as a file, whatever is wrong with it."""
        return _file(self.nb)

    def untouched(self) -> bytes:
        """The notebook as it was released."""
        return _file(self.released)


def _file(notebook: Any) -> bytes:
    return json.dumps(notebook, ensure_ascii=False).encode("utf-8")


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip archive in memory."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def bare(solution: str) -> str:
    """A solution without its markers."""
    marks = {line for region in regions(solution, SOLUTION) for line in region}
    lines = solution.split("\n")
    return "\n".join(line for number, line in enumerate(lines) if number not in marks).rstrip()


def case(family: str, name: str, *, flags: str = "", **verdict: Any) -> Callable[[Any], Any]:
    """Register a case whose hand-in a function makes; flags are separated by spaces."""

    def register(make: Callable[[Work], bytes | Files | None]) -> Callable[[Work], Any]:
        CASES.append(Case(family, name, make, flags=frozenset(flags.split()), **verdict))
        return make

    return register


def broken(
    name: str, data: bytes | Files | Callable[[Work], Any], reason: str, **more: Any
) -> None:
    """A file that is refused with a clear sentence."""
    make = data if callable(data) else lambda work: data
    case("broken", name, status="rejected", reason=reason, **more)(make)


def abuse(name: str, limits: str, *, body: str = "", cell: str = "", **verdict: Any) -> None:
    """Code that eats the machine, in the guilty function or in its cell: 0 points for that one."""
    verdict = {"guilty": 0.0, "more_flags": True, **verdict}

    def make(work: Work) -> None:
        work.write(body or work.lab.right, cell)

    case("resources", name, limits=limits, **verdict)(make)


def cheat(
    name: str,
    *,
    cell: str = "",
    body: str = "",
    flags: str = "suspicious-code",
    right: bool = False,
    where: str = "cell",
    **verdict: Any,
) -> None:
    """An attack: the guilty answer is wrong, and code tries to get its points all the same.

    Args:
        cell: code before the function; body: code inside it, before its wrong result.
        right: the answer is right for once, and keeps its points: the attack aims elsewhere.
        where: "cell" (the answer's own), "first" or "last" (a cell of its own).
    """
    verdict = {"guilty": 1.0 if right else 0.0, "more_flags": True, "limits": ".*", **verdict}

    def make(work: Work) -> None:
        result = work.lab.right if right else work.lab.wrong
        inside = textwrap.dedent(body).strip("\n").replace("return WRONG", work.lab.wrong)
        inside = f"{inside}\n{textwrap.dedent(result)}"
        code = textwrap.dedent(cell).strip("\n")
        tell = _TELL if "tell(" in code + inside else ""
        if where == "cell":
            work.write(inside, tell + code)
            return
        work.write(inside, tell)
        added = work.add(tell + code)
        if where == "first":
            work.nb.cells.remove(added)
            work.nb.cells.insert(0, added)

    case("cheating", name, flags=flags, **verdict)(make)


def with_name(index: int, found: Case) -> Case:
    """The case as the n-th student of a class, so that the order in which they run is fixed."""
    return (
        found
        if found.student
        else replace(found, student=f"{index:03} {found.name.replace('/', ' ')}")
    )
