"""Code worth a look: attacks are noticed, and nothing that our labs and their zoo contain."""

from pathlib import Path

import pytest

from autograder.regions import CODE_STUB, visible
from autograder.source import read_lab
from autograder.suspicion import suspicions
from autograder.zoo import load_zoo

SOLUTIONS = Path(__file__).parents[2] / "solutions"


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import gc as g, math", ["imports gc"]),
        ("from urllib.request import urlopen", ["imports urllib.request"]),
        ("import torch\ntorch.nn.functional.relu = max", ["replaces torch.nn.functional.relu"]),
        ("import numpy as xp\nsetattr(xp, 'abs', 1)", ["replaces parts of xp"]),
        ("import sys\nsys.modules['a'] = 1", ["uses modules"]),
        ("get_ipython().ast_transformers", ["uses ast_transformers"]),
        ("class A:\n    def __eq__(self, o): return True", ["equal to everything"]),
        ("class T:\n    def __torch_function__(self): ...", ["defines __torch_function__"]),
        ("class Exercise: ...", ["replaces Exercise"]),
        ("def f():\n    Exercise = 1", ["replaces Exercise"]),
        ("open('/etc/passwd')", ["opens /etc/passwd"]),
        ("x = 'gradebook.db'", ["names gradebook"]),
        ("eval('1')", ["calls eval"]),
        ("import os\nos.write(5, b'x')", ["calls os.write"]),
        ("%matplotlib inline\nimport socket", ["imports socket"]),
    ],
)
def test_what_is_noticed(source: str, found: list[str]) -> None:
    said = suspicions(source, {"Exercise"})
    assert len(said) == len(found)
    assert all(words in line for words, line in zip(found, said))


@pytest.mark.parametrize(
    "source",
    [
        "",
        "def f(:",
        "import numpy as np\nx = np.eye(3)\nx[0] = 1\nx.shape = 9",
        "import torch\ntorch.backends.cudnn.benchmark = True\ntorch.manual_seed(0)",
        "import sys, os\nprint('x', file=sys.stderr)\nos.write(2, b'x')",
        "class A:\n    def __init__(self): self.torch = 1",
        "class A:\n    def __eq__(self, other): return other is self",
        "with open('data.txt') as file: file.read()",
        "from course.checks import Exercise",
        "x = " + "-" * 3000 + "1",
    ],
)
def test_what_is_not(source: str) -> None:
    assert suspicions(source, {"Exercise"}) == []


@pytest.mark.parametrize("path", sorted(SOLUTIONS.glob("[0-9][0-9]_*.py")), ids=lambda p: p.stem)
def test_no_lab_and_no_animal_is_suspicious(path: Path) -> None:
    tests = {"Exercise", "attempt", "build", "gradients", "spy"}
    gaps = [e.cell("gap") for e in read_lab(path).exercises]
    sources = [gap.source for gap in gaps if gap] + [
        visible(g.source, CODE_STUB) for g in gaps if g
    ]
    zoo = SOLUTIONS / "wrong" / path.name
    sources += [animal.source for animal in load_zoo(zoo)] if zoo.is_file() else []
    assert len(sources) > 10
    assert {source: found for source in sources if (found := suspicions(source, tests))} == {}
