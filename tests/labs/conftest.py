"""Every lab that has a source, for the tests that hold for all of them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from autograder.source import Lab, read_lab
from autograder.zoo import Answer, load_zoo

SOLUTIONS = Path(__file__).parents[2] / "solutions"


@cache
def labs() -> dict[str, Lab]:
    """Name → parsed source."""
    return {path.stem: read_lab(path) for path in sorted(SOLUTIONS.glob("[0-9][0-9]_*.py"))}


@cache
def zoo(lab: str) -> tuple[Answer, ...]:
    """The wrong and the alternative right answers of a lab."""
    return tuple(load_zoo(SOLUTIONS / "wrong" / f"{lab}.py"))


def pytest_generate_tests(metafunc) -> None:
    """Run a test with a `lab` argument for each lab, one with `exercise` for each exercise."""
    if "exercise" in metafunc.fixturenames:
        pairs = [(lab, e.number) for lab, parsed in labs().items() for e in parsed.exercises]
        metafunc.parametrize(("lab", "exercise"), pairs, ids=[f"{a}-{b}" for a, b in pairs])
    elif "lab" in metafunc.fixturenames:
        metafunc.parametrize("lab", list(labs()))
