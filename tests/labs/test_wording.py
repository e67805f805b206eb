"""What a lab says about its checks: bans stand in the contract, and every hint can appear."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from itertools import combinations
from typing import Any

import pytest

from autograder.trial import Trial
from course.checks import exercise as exercises
from course.checks.compare import difference

from .conftest import labs


def cell(lab: str, exercise: str, role: str) -> str:
    found = next(e for e in labs()[lab].exercises if e.number == exercise).cell(role)
    assert found is not None
    return found.source


def bans(check: str) -> list[str]:
    """The texts of `forbid=[…]` in the source of a check cell."""
    calls = [node for node in ast.walk(ast.parse(check)) if isinstance(node, ast.Call)]
    given = [keyword for call in calls for keyword in call.keywords if keyword.arg == "forbid"]
    return [name for keyword in given for name in ast.literal_eval(keyword.value)]


def names_of(ban: str) -> Iterator[str]:
    """Words that tell a student of a ban: its last part, or a package that holds it."""
    parts = ban.split(".")
    yield parts[-1]
    yield from (".".join(parts[:n]) for n in range(1, len(parts)) if parts[:n] != ["torch"])


def test_the_contract_names_every_ban(lab: str, exercise: str):
    code = " ".join(re.findall("`[^`]+`", cell(lab, exercise, "contract")))
    silent = [
        ban
        for ban in bans(cell(lab, exercise, "check"))
        if not ban.startswith("course.")  # the library's own answer is no honest way
        and not any(re.search(rf"\b{re.escape(name)}\b", code) for name in names_of(ban))
    ]
    assert not silent, "a right answer that calls these gets 0 points, and nobody said so"


def test_every_hint_can_appear(lab: str, exercise: str, monkeypatch: pytest.MonkeyPatch):
    hidden: list[str] = []

    def watch(actual: Any, expected: Any, **how: Any):
        for (text, value), (later, other) in combinations((how["mistakes"] or {}).items(), 2):
            same = difference(other, value, tolerance=how["tolerance"]) is None
            if same and text.strip() != later.strip():
                hidden.append(f"{text!r} is said instead of {later!r}")
        return difference(actual, expected, **how)

    monkeypatch.setattr(exercises, "difference", watch)
    Trial(labs()[lab]).reference(exercise)
    assert not hidden, "\n".join(dict.fromkeys(hidden))
