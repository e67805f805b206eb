"""Zoo files: what a cell may say, and what is refused."""

from pathlib import Path

import pytest

from autograder.errors import AutograderError
from autograder.zoo import load_zoo, parse_zoo

ZOO = """\
# %% [markdown]
# Wrong answers for lab 8.

# %% exercise="8.1" name="one convolution" caught="visible" hint="forget the second"
# Students count levels, not convolutions.
# They draw one box per level.
def sizes(n):
    return [n, n - 2]


# %% exercise="8.1" name="by recursion" right=True
def sizes(n):
    # a comment inside stays
    return [n, *sizes(n - 2)]


# %% exercise="8.2" name="floor" caught="hidden" why="Integer division by habit."
x = 7 // 2
"""
HERE = Path("zoo.py")


def test_reads_every_field() -> None:
    one, other, floor = parse_zoo(ZOO, HERE)
    assert (one.exercise, one.name, one.caught) == ("8.1", "one convolution", "visible")
    assert one.hint == "forget the second"
    assert one.why == "Students count levels, not convolutions. They draw one box per level."
    assert one.source == "def sizes(n):\n    return [n, n - 2]"
    assert not one.right
    assert other.right
    assert other.caught == ""
    assert "# a comment inside stays" in other.source
    assert floor.why == "Integer division by habit."
    assert floor.caught == "hidden"


@pytest.mark.parametrize(
    ("marker", "words"),
    [
        ('name="a"', "expected exercise="),
        ('exercise="8.1"', "expected exercise="),
        ('exercise="8" name="a"', "expected exercise="),
        ('exercise="8.1" name="a" colour="red"', "unknown word 'colour'"),
        ('exercise="8.1" name="a" caught="maybe"', "expected visible or hidden"),
        ('exercise="8.1" name="a" right=True caught="hidden"', "expected visible or hidden"),
        ('exercise="8.1" name="one convolution"', "two answers named 'one convolution'"),
    ],
)
def test_refuses_bad_markers(marker: str, words: str) -> None:
    with pytest.raises(AutograderError, match=words):
        parse_zoo(f"{ZOO}\n\n# %% {marker}\ny = 1\n", HERE)


def test_refuses_what_is_not_python() -> None:
    with pytest.raises(AutograderError, match=r"cell 5 \(broken\): line 1"):
        parse_zoo(f'{ZOO}\n\n# %% exercise="8.3" name="broken"\ndef f(:\n', HERE)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AutograderError, match=r"no zoo of wrong answers at .*08_none"):
        load_zoo(tmp_path / "08_none.py")
