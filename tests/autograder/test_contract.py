"""A check cell may call a student's name or hand it to a helper, and nothing else."""

from __future__ import annotations

import pytest

from autograder.contract import defined_names, uses_that_do_not_cross

NAMES = {"scale", "Net"}


@pytest.mark.parametrize(
    "text",
    [
        "check.equal(scale(3, k=[1, 2]), 6)",
        "for n in range(3):\n    check.equal(scale(n), n)",
        "net = build(Net, 3)\nnet.fill(seed=1)",
        "check.raises(ValueError, scale, -1)",
        "check.unchanged(scale, x)",
        "gradients(scale, x)",
        "scale(spy(lambda x: x))",
        "scale(spy(other))",
    ],
)
def test_data_crosses(text):
    assert list(uses_that_do_not_cross(text, NAMES)) == []


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("x = 1\nscale.cache", 1, "used as an object"),
        ("map(scale, [1])", 0, "used as an object"),
        ("f = scale", 0, "used as an object"),
        ("scale = 3", 0, "assigned as an object"),
        ("isinstance(x, Net)", 0, "used as an object"),
        ("Net(3).weight; Net.weight", 0, "used as an object"),
        ("x = 2\n\nscale(lambda x: x)", 2, "a lambda goes into `scale`"),
        ("check.raises(ValueError, scale, f=lambda x: x)", 0, "a lambda goes into `scale`"),
    ],
)
def test_objects_do_not_cross(text, line, words):
    found = list(uses_that_do_not_cross(text, NAMES))
    assert [place for place, _ in found] == [line]
    assert words in found[0][1]


def test_names_of_a_gap():
    assert defined_names(
        "import torch\nclass Net: pass\n\ndef scale(x):\n    def inner(): ...\n"
    ) == ({"Net", "scale"})
