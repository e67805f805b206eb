"""A trial runs one answer on one exercise's checks and says whether its author was right."""

from __future__ import annotations

from pathlib import Path

import pytest

from autograder.errors import AutograderError
from autograder.source import parse_lab
from autograder.trial import Outcome, Trial, judge
from autograder.zoo import Answer

LAB = """
# %% [markdown]
# # Lab 1

# %% role="setup"
from course.checks import Exercise

# %% exercise="1.1" role="gap"
def double(x):
    ### BEGIN SOLUTION
    return 2 * x
    ### END SOLUTION

# %% exercise="1.1" role="check"
check = Exercise("1.1", points=4)
with check("two", points=1):
    check.equal(double(2), 4, mistakes={"Did you square?": 4.0001})
with check("three", points=1, hint="Three doubled is six."):
    check.equal(double(3), 6)
### BEGIN HIDDEN TESTS
with check.hidden("negative", points=2):
    check.equal(double(-1), -2)
### END HIDDEN TESTS
check.score()

# %% exercise="1.2" role="gap"
def quadruple(x):
    ### BEGIN SOLUTION
    return double(double(x))
    ### END SOLUTION

# %% exercise="1.2" role="check"
check = Exercise("1.2", points=2)
with check("one", points=2):
    check.equal(quadruple(1), 4)
check.score()
"""


@pytest.fixture(scope="module")
def trial() -> Trial:
    return Trial(parse_lab(LAB, Path("01_tiny.py")))


def test_reference_and_stub(trial: Trial):
    assert trial.reference("1.1").points == 4
    assert trial.reference("1.2").points == 2  # stands on the reference answer of 1.1
    stub = trial.stub("1.1")
    assert stub.points == 0
    assert [check["status"] for check in stub.graded["checks"]] == ["todo"] * 3


def test_a_wrong_answer_is_seen_with_and_without_hidden_tests(trial: Trial):
    square = trial.answer("1.1", "def double(x):\n    return x * x")
    assert not square.passes_visible
    assert square.says("Three  doubled\nis six")
    assert square.points == 1
    assert len(square.visible["checks"]) == 2
    shifted = trial.answer("1.1", "def double(x):\n    return abs(2 * x)")
    assert shifted.passes_visible
    assert shifted.points == 2


def outcome(points: float, *, passes: bool, text: str = "") -> Outcome:
    return Outcome({"checks": [{"passed": passes}]}, {"earned": points}, text)


@pytest.mark.parametrize(
    ("answer", "result", "verdict"),
    [
        ({"right": True}, outcome(4, passes=True), ""),
        ({"right": True}, outcome(3, passes=True), "right answer gets 3 of 4"),
        ({"caught": "visible"}, outcome(4, passes=True), "wrong answer gets full points"),
        ({"caught": "visible"}, outcome(1, passes=True), "the visible check does not notice it"),
        (
            {"caught": "visible", "hint": "square"},
            outcome(1, passes=False),
            "does not say 'square'",
        ),
        ({"caught": "visible", "hint": "b c"}, outcome(1, passes=False, text="a b\n c"), ""),
        ({"caught": "hidden"}, outcome(1, passes=True), ""),
    ],
)
def test_judgement(answer: dict[str, object], result: Outcome, verdict: str):
    fields = {"exercise": "1.1", "name": "x", "why": "y", "hint": "", "right": False, "source": ""}
    said = judge(Answer(**{**fields, **answer}), result, 4)  # type: ignore[arg-type]
    assert said.endswith(verdict)
    assert bool(said) == bool(verdict)


def test_broken_checks_and_unknown_exercises_are_named(trial: Trial):
    with pytest.raises(AutograderError, match=r"no exercise 9\.9; there are 1\.1, 1\.2"):
        trial.reference("9.9")
    broken = Trial(parse_lab(LAB.replace("check.score()", "1 / 0", 1), Path("01_tiny.py")))
    with pytest.raises(AutograderError, match=r"check of exercise 1\.1 raised ZeroDivisionError"):
        broken.reference("1.1")
