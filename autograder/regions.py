"""The text that students do not get: between nbgrader's markers for solutions and hidden tests.

nbgrader looks for its words anywhere in a line, so a misspelt marker is no error to it: the text
simply stays. Here a line that holds the words must be the marker and nothing else.
"""

from __future__ import annotations

import re

SOLUTION = "SOLUTION"
HIDDEN_TESTS = "HIDDEN TESTS"
KINDS = (SOLUTION, HIDDEN_TESTS)
CODE_STUB = ("# YOUR CODE HERE", "raise NotImplementedError()")
"""What nbgrader writes in the place of a solution in code."""


class RegionError(ValueError):
    """A marker that is misspelt, nested or without its partner.

    Attributes:
        offset: the line in the cell, counted from 0.
    """

    def __init__(self, message: str, offset: int) -> None:
        super().__init__(message)
        self.offset = offset


def regions(source: str, kind: str) -> list[tuple[int, int]]:
    """Line numbers, from 0, of the markers of each region of a kind.

    Raises:
        RegionError: markers are misspelt or do not pair up.

    >>> regions("a\\n### BEGIN SOLUTION\\nb\\n### END SOLUTION", SOLUTION)
    [(1, 3)]
    """
    found: list[tuple[int, int]] = []
    begin = None
    for number, line in enumerate(source.split("\n")):
        match = re.search(rf"(BEGIN|END)\s+{kind.replace(' ', '[ _]')}", line, re.IGNORECASE)
        if not match:
            continue
        word = match.group(1).upper()
        if line.strip() != f"### {word} {kind}":
            message = f"write the marker as `### {word} {kind}`, alone on its line: {line.strip()}"
            raise RegionError(message, number)
        if (word == "BEGIN") != (begin is None):
            missing = "END" if word == "BEGIN" else "BEGIN"
            raise RegionError(f"`### {word} {kind}` without `### {missing} {kind}`", number)
        if begin is None:
            begin = number
        else:
            found.append((begin, number))
            begin = None
    if begin is not None:
        raise RegionError(f"`### BEGIN {kind}` without `### END {kind}`", begin)
    return found


def hidden_lines(source: str, kind: str) -> list[tuple[int, str]]:
    """The lines inside regions of a kind, with their numbers from 0, blank ones left out."""
    lines = source.split("\n")
    inside = (number for a, b in regions(source, kind) for number in range(a + 1, b))
    return [(number, lines[number]) for number in inside if lines[number].strip()]


def visible(source: str, stub: tuple[str, ...] = ()) -> str:
    """The text without its regions; a stub stands for each solution, indented like its marker.

    >>> print(visible("def f():\\n    ### BEGIN SOLUTION\\n    return 1\\n    ### END SOLUTION",
    ...               CODE_STUB))
    def f():
        # YOUR CODE HERE
        raise NotImplementedError()
    """
    lines: list[str | None] = list(source.split("\n"))
    for kind in KINDS:
        for begin, end in regions(source, kind):
            marker = lines[begin] or ""
            indent = marker[: len(marker) - len(marker.lstrip())]
            lines[begin : end + 1] = [None] * (end + 1 - begin)
            if kind == SOLUTION and stub:
                lines[begin] = "\n".join(indent + line for line in stub)
    return "\n".join(line for line in lines if line is not None)
