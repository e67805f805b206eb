"""The zoo: named wrong answers, and right ones written another way, for the gaps of a lab.

`solutions/wrong/NN_name.py` is a percent-format file. Each cell is the full text of one gap:

    # %% exercise="8.1" name="forgets the second convolution" caught="visible" hint="two convol"
    # Students write this when ...
    def double_conv(...):
        ...

`right=True` marks an alternative right answer. The comment lines at the top of the cell say why
students write it; `why="…"` on the marker does the same. `caught` is where the lab must notice:
"visible" (with its own hint, of which `hint` is a part) or "hidden".
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.errors import AutograderError

__all__ = ["Answer", "load_zoo", "parse_zoo"]

_KEYS = {"exercise", "name", "why", "hint", "caught", "right"}


@dataclass(frozen=True)
class Answer:
    """One animal of the zoo.

    Attributes:
        exercise: number such as "8.1".
        name: what is wrong with it, in a few words; unique within the exercise.
        why: why students write it, or "".
        hint: words that the visible check must print, or "".
        right: whether it deserves full points.
        source: the code that replaces the gap cell.
        caught: "visible", "hidden" or "" for right answers.
    """

    exercise: str
    name: str
    why: str
    hint: str
    right: bool
    source: str
    caught: str = ""


def load_zoo(path: Path) -> list[Answer]:
    """Read a zoo file.

    Raises:
        AutograderError: no such file, a cell without exercise or name, an unknown word on the
            marker, a name that stands twice, or code that is not Python.
    """
    if not path.is_file():
        raise AutograderError(f"no zoo of wrong answers at {path}")
    return parse_zoo(path.read_text(encoding="utf-8"), path)


def parse_zoo(text: str, path: Path) -> list[Answer]:
    """Read the text of a zoo file; `path` is for messages.

    >>> text = '# %% exercise="1.1" name="one short"\\n# Counts from 0.\\nx = 1\\n'
    >>> zoo = parse_zoo(text, Path("zoo.py"))
    >>> zoo[0].name, zoo[0].why, zoo[0].source
    ('one short', 'Counts from 0.', 'x = 1')
    """
    import jupytext

    answers: list[Answer] = []
    for number, cell in enumerate(jupytext.reads(text, fmt="py:percent").cells, start=1):
        if cell.cell_type == "code" and ("exercise" in cell.metadata or "name" in cell.metadata):
            answers.append(_answer(cell, f"{path}: cell {number}"))
        elif cell.cell_type == "code" and answers:
            raise AutograderError(
                f'{path}: cell {number}: expected `# %% exercise="8.1" name="…"` on its marker'
            )
    seen: set[tuple[str, str]] = set()
    for answer in answers:
        if (answer.exercise, answer.name) in seen:
            raise AutograderError(
                f"{path}: exercise {answer.exercise} has two answers named {answer.name!r}"
            )
        seen.add((answer.exercise, answer.name))
    return answers


def _answer(cell: Any, where: str) -> Answer:
    words = {k: v for k, v in cell.metadata.items() if k not in ("lines_to_next_cell",)}
    if unknown := sorted(set(words) - _KEYS):
        known = ", ".join(sorted(_KEYS))
        raise AutograderError(f"{where}: unknown word {unknown[0]!r}; there are {known}")
    exercise, name = str(words.get("exercise", "")), str(words.get("name", "")).strip()
    if not re.fullmatch(r"\d+\.\d+", exercise) or not name:
        raise AutograderError(f'{where}: expected exercise="8.1" and name="…", got {words}')
    right = words.get("right", False) is True
    caught = str(words.get("caught", "" if right else "visible"))
    if caught not in (("",) if right else ("visible", "hidden")):
        raise AutograderError(f"{where}: caught={caught!r}; expected visible or hidden")
    comment, source = _split_comment(cell.source)
    try:
        ast.parse(source)
    except SyntaxError as error:
        raise AutograderError(f"{where} ({name}): line {error.lineno}: {error.msg}") from error
    why = str(words.get("why", "")) or comment
    return Answer(exercise, name, why, str(words.get("hint", "")), right, source, caught)


def _split_comment(source: str) -> tuple[str, str]:
    lines = source.strip("\n").split("\n")
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    comment = " ".join(line.lstrip("# ").strip() for line in lines[:count])
    return comment, "\n".join(lines[count:]).strip("\n")
