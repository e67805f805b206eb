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
        "net = spy(models.UNet(3).eval())\nscale(net, 3)",
        "x = torch.rand(3, generator=torch.Generator().manual_seed(1))\nscale(x)",
        "scale(x)\ncheck.equal(scale(x), 3)",
        'check = Exercise("1.1", points=3, forbid=["numpy.pad", "course.tiling"])',
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
        ("def g(x):\n    return x\n\nscale(g)", 3, "`g` goes into `scale`"),
        ("g = lambda x: x\nscale(1, k=g)", 1, "wrap it, spy(g)"),
        ("net = models.UNet(3).eval()\nscale(net)", 1, "`net` goes into `scale`"),
        ("g = torch.Generator().manual_seed(1)\nscale(g)", 1, "is no data"),
        ("scale(3)(4)", 0, "the result of `scale` is called"),
        ("scale(x)\ncheck.equal(x, 3)", 1, "as a copy"),
        ('no = ["os"]\nExercise("1.1", points=3, forbid=no)', 1, "written out"),
        ('Exercise("1.1", points=3, forbid=["os", name])', 0, "written out"),
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
