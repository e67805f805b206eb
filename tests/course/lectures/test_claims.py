"""What a lecture says of our miniatures is what the page of claims measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

from course.lectures.catalogue import lectures

CLAIMS = Path(__file__).parents[3] / "docs" / "claims.md"
VERDICT = re.compile(r"(not )?reproduced|cannot tell")
NUMBER = re.compile(r"[+−-]?\d+\.\d+")


def measured(lab: int) -> list[str]:
    """The numbers on the page of claims in the rows of a lab: of measurement and interval."""
    rows = [line for line in CLAIMS.read_text(encoding="utf-8").splitlines() if "| " in line]
    cells = [line.split(" | ")[3] for line in rows if line.startswith(f"| {lab} |")]
    return re.findall(r"-?\d+(?:\.\d+)?(?:e-?\d+)?", " ".join(cells))


def statements(number: int) -> list[str]:
    """Lines of a lecture that give a verdict together with numbers of ours, which are bold."""
    (lecture,) = [each for each in lectures() if each.number == number]
    lines = [line for line in lecture.source.splitlines() if line.startswith("# ")]
    return [line for line in lines if VERDICT.search(line.lower()) and "**" in line]


@pytest.mark.parametrize("number", [4, 5, 7, 8, 9, 10])
def test_bold_numbers_are_those_of_the_claims(number: int) -> None:
    found = statements(number)
    assert found
    values = [abs(float(value)) for value in measured(number)]
    for line in found:
        bold = " ".join(re.findall(r"\*\*([^*]+)\*\*(?: \(([^)]*)\))?", line)[0])
        for text in NUMBER.findall(bold):
            digits = len(text.split(".")[1])
            stated = abs(float(text.replace("−", "-")))
            assert any(abs(value - stated) <= 0.51 * 10**-digits for value in values), (text, line)


@pytest.mark.parametrize("number", [4, 5, 8, 9, 10])
def test_verdicts_are_those_of_the_claims(number: int) -> None:
    page = CLAIMS.read_text(encoding="utf-8").splitlines()
    verdicts = [line.split("**")[-2] for line in page if line.startswith(f"| {number} |")]
    for line in statements(number):
        said = VERDICT.search(line.split("**")[-1])
        assert said is not None
        assert said[0] in verdicts, line


def means(lab: int) -> list[float]:
    """What each claim of a lab measured: the first number after the colon."""
    rows = CLAIMS.read_text(encoding="utf-8").splitlines()
    cells = [row.split(" | ")[3] for row in rows if row.startswith(f"| {lab} |")]
    return [float(re.findall(r": (-?\d+(?:\.\d+)?)(?:,| in the mean)", cell)[-1]) for cell in cells]


def spoken(value: float) -> set[str]:
    """How a slide may write a number: two digits or more, as it is or in hundredths.

    A number that begins with zeros, such as 0.001, may have one: two are more than it is worth.
    """
    found = set[str]()
    for v in (abs(value), abs(100 * value)):
        for text in (f"{v:.{digits}f}" for digits in range(4)):
            digits = text.replace(".", "").lstrip("0")
            if abs(float(text) - v) <= 0.05 * v and (len(digits) > 1 or text.startswith("0.0")):
                found.add(text)
    return found


@pytest.mark.parametrize("number", range(1, 15))
def test_every_claim_is_on_a_slide_with_what_it_measured(number: int) -> None:
    (lecture,) = [each for each in lectures() if each.number == number]
    numbers = set(re.findall(r"\d+(?:\.\d+)?", lecture.source))
    seeds = set(map(float, measured(number)))
    for values in map(json.loads, re.findall(r"\bvalues=(\[[^\]]+\])", lecture.source)):
        assert set(values) <= seeds, f"a card shows {values}"
    for text in re.findall(r"\[-?\d[-\d., ]*\]", lecture.source):  # drawn from the seeds' values
        values = [float(part) for part in text.strip("[]").split(",") if part.strip()]
        if set(values) <= seeds:
            numbers |= spoken(fmean(values))
    found = means(number)
    assert found
    for value in found:
        assert spoken(value) & numbers, f"no slide says {value}"
