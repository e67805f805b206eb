"""Read a lab source: `solutions/NN_name.py`, jupytext percent format with two words per cell.

    # %% [markdown] exercise="8.1" role="contract" title="Sizes" minutes=15
    # %% exercise="8.1" role="gap"

An exercise is a run of cells in the order of `ROLES`. Its points stand once, in the check cell's
`Exercise("8.1", points=10)`, and are read from there without running it. Cells without a role are
free text and code; `role="setup"` marks code of the lab that students do not edit, and an
`experiment` may belong to the whole lab.

The title of an exercise and its minutes stand on the contract cell, points of a written answer on
the think cell, and the text for a picture that does not describe itself as `alt="…"` on its cell.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from autograder.errors import AutograderError

ROLES = (
    "idea",  # 60-120 words, one formula, one reference
    "look",  # a demo on the picture that is used later
    "contract",  # shapes and conventions; the builder writes the heading line
    "hints",  # a numbered list of three, folded by the builder; may also follow the gap
    "gap",  # typed stub, docstring, the solution between markers
    "check",  # named checks with points, the hidden ones between markers
    "picture",  # yours, expected, difference
    "see",  # what you should see; the builder embeds the solution's picture
    "think",  # one question, its answer between markers; graded by a person if it has points
    "experiment",  # free play
)
"""What a cell of an exercise can be, in the order in which they stand."""

SETUP = "setup"
LAB_ROLES = (SETUP, "experiment")
"""What a cell without an exercise can be."""

_OWN_KEYS = {"exercise", "role", "title", "minutes", "points", "alt"}
_JUPYTEXT_KEYS = {"lines_to_next_cell", "lines_to_end_of_cell_marker", "cell_marker", "region_name"}


@dataclass(frozen=True)
class Cell:
    """One cell of a lab source.

    Attributes:
        kind: "markdown", "code" or "raw".
        source: the text of the cell, markdown without its comment signs.
        line: line of the cell's `# %%` in the file, counted from 1.
        exercise: number such as "8.1", or "".
        role: one of `ROLES`, "setup" or "".
        options: title, minutes, points, alt, as far as given.
        metadata: everything else, such as tags; it goes into the notebook unchanged.
    """

    kind: str
    source: str
    line: int
    exercise: Any = ""
    role: str = ""
    options: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    def file_line(self, offset: int) -> int:
        """The line in the file of the cell's line `offset`, counted from 0."""
        return self.line + 1 + offset


@dataclass(frozen=True)
class Exercise:
    """The cells that share one exercise number."""

    number: str
    cells: tuple[Cell, ...]

    def cell(self, role: str) -> Cell | None:
        """The first cell of a role, or None."""
        return next((cell for cell in self.cells if cell.role == role), None)

    @property
    def slug(self) -> str:
        """The start of its cells' ids: "ex-8-1"."""
        return f"ex-{self.number.replace('.', '-')}"

    @property
    def title(self) -> str:
        """As the contract cell states it."""
        contract = self.cell("contract")
        return str(contract.options.get("title", "")) if contract else ""

    @property
    def minutes(self) -> int:
        """About how long it takes, as the contract cell states it."""
        contract = self.cell("contract")
        return int(contract.options.get("minutes", 0)) if contract else 0

    @property
    def test_points(self) -> float:
        """Points of the automatic tests, read from the check cell."""
        check = self.cell("check")
        return (check and exercise_call(check)[1]) or 0

    @property
    def written_points(self) -> float:
        """Points that a person gives for the think cell."""
        think = self.cell("think")
        return think.options.get("points", 0) if think else 0

    @property
    def points(self) -> float:
        """All points of the exercise."""
        return self.test_points + self.written_points


@dataclass(frozen=True)
class Lab:
    """A parsed lab source.

    Attributes:
        name: such as "08_unet".
        path: the source file.
        cells: all cells in order.
    """

    name: str
    path: Path
    cells: tuple[Cell, ...]

    @cached_property
    def exercises(self) -> tuple[Exercise, ...]:
        """The exercises in order of appearance."""
        numbers = dict.fromkeys(cell.exercise for cell in self.cells if cell.exercise)
        return tuple(
            Exercise(str(n), tuple(c for c in self.cells if c.exercise == n)) for n in numbers
        )

    @property
    def title(self) -> str:
        """The first heading."""
        found = (re.search(r"^# (.+)", c.source, re.M) for c in self.cells if c.kind == "markdown")
        return next((match.group(1).strip() for match in found if match), self.name)


def read_lab(path: Path) -> Lab:
    """Parse a lab source without judging it; `autograder.lint.lint` does that.

    Raises:
        AutograderError: the file is not Python text in percent format.
    """
    return parse_lab(path.read_text(encoding="utf-8"), path)


def parse_lab(text: str, path: Path) -> Lab:
    """Parse the text of a lab source; `path` gives its name and the place in messages.

    >>> lab = parse_lab('# %% [markdown]\\n# # Lab 8\\n\\n# %%\\nx = 1\\n', Path("08_unet.py"))
    >>> lab.title, [(cell.kind, cell.line) for cell in lab.cells]
    ('Lab 8', [('markdown', 1), ('code', 4)])
    """
    import jupytext

    starts = _cell_lines(text, path)
    if not starts:
        raise AutograderError(f"{path}:1: no cells: a cell starts with `# %%`")
    # What stands above the first cell is for authors; it does not enter the notebook.
    body = "\n".join(text.split("\n")[starts[0] - 1 :])
    found = jupytext.reads(body, fmt="py:percent").cells
    if len(found) != len(starts):
        raise AutograderError(
            f"{path}:{starts[0]}: jupytext reads {len(found)} cells where {len(starts)} lines "
            "start with `# %%`; keep that sign for the start of a cell"
        )
    return Lab(path.stem, path, tuple(_cell(c, n) for c, n in zip(found, starts, strict=True)))


def _cell(cell: Any, line: int) -> Cell:
    metadata = {k: v for k, v in cell.metadata.items() if k not in _JUPYTEXT_KEYS}
    own = {key: metadata.pop(key) for key in _OWN_KEYS & set(metadata)}
    exercise, role = own.pop("exercise", ""), str(own.pop("role", ""))
    return Cell(cell.cell_type, cell.source, line, exercise, role, own, metadata)


def _cell_lines(text: str, path: Path) -> list[int]:
    """The lines with a cell marker; one inside a string is no marker."""
    try:
        tokens = list(tokenize.generate_tokens(io.StringIO(text).readline))
    except (tokenize.TokenError, SyntaxError) as error:
        place = getattr(error, "lineno", None) or error.args[1][0]
        raise AutograderError(f"{path}:{place}: not Python: {error.args[0]}") from error
    return [
        token.start[0]
        for token in tokens
        if token.type == tokenize.COMMENT and not token.start[1] and token.string.startswith("# %%")
    ]


def exercise_call(check: Cell) -> tuple[Any, float | None, int]:
    """The number and points in a check cell's `Exercise("8.1", points=10)`, and its line there.

    Returns:
        `(number, points, offset)`; None where one is missing or not written as a literal.

    >>> exercise_call(Cell("code", 'check = Exercise("8.1", points=10)', 1))
    ('8.1', 10, 0)
    """
    try:
        tree = ast.parse(check.source)
    except SyntaxError:
        return None, None, 0
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called_name(node) == "Exercise":
            number = literal(node.args[0]) if node.args else None
            points = next((literal(k.value) for k in node.keywords if k.arg == "points"), None)
            good = isinstance(points, int | float) and not isinstance(points, bool)
            return number, points if good else None, node.lineno - 1
    return None, None, 0


def _called_name(node: ast.Call) -> str:
    function = node.func
    return getattr(function, "id", getattr(function, "attr", ""))


def literal(node: ast.AST) -> Any:
    """The value of a constant in the source, None for anything else."""
    return node.value if isinstance(node, ast.Constant) else None
