"""Which cells run where, what a check stands on, and what text is harmless."""

from __future__ import annotations

import json

import pytest
import tiny
from judging import notebook, solution, template

from autograder.judge.plain import is_plain
from autograder.judge.program import Program, forbidden_by, make_program
from autograder.notebooks import read_cells
from autograder.rebuild import rebuild

LAB = "08_unet"


def program(extra: dict[str, str] | None = None, **answers: str) -> Program:
    made = notebook(LAB, {**solution(LAB), **answers}, extra)
    return make_program(rebuild(template(LAB), read_cells(json.dumps(made).encode())))


def texts(made: Program) -> str:
    return "\n".join(step.source for step in made.steps if not step.check)


def test_data_and_pictures_that_no_answer_needs_do_not_run():
    found = texts(program())
    assert "import torch" in found
    assert "def mirror_pad" in found
    assert "cell_images" not in found
    assert "class SmallUNet" not in found
    assert "plots." not in found


def test_a_cell_of_ours_runs_where_the_student_uses_what_it_binds():
    found = texts(program({"8.3": "print(test.images.shape, crop)"}))
    assert "cell_images" in found
    assert "crop = 64" in found
    assert "print(test.images.shape" in found


def test_checks_get_our_cells_whose_names_they_read():
    made = program()
    steps = {step.grade_id: step for step in made.steps if step.check}
    assert list(steps) == [f"ex-8-{n}-check" for n in range(1, 7)]
    for step in steps.values():
        assert any("import torch" in text for text in step.before)
        assert not any("cell_images" in text for text in step.before)
    assert steps["ex-8-4-check"].forbid == ("course.tiling",)
    assert {"unet_sizes", "UpStep"} <= set(made.theirs)


def test_only_what_the_text_can_reach_must_be_blocked():
    def blocked(**answers):
        made = program(**answers)
        return {s.grade_id[5:6]: s.block for s in made.steps if s.check}

    plain = blocked()
    assert plain["1"] == ()
    assert plain["3"] == ("numpy.pad", "torch.nn.functional.pad")
    reached = blocked(**{"8.1": "def unet_sizes(n, d=4):\n    return geometry.unet_sizes(n, d)"})
    assert reached["1"] == ("course.geometry", "course.models")
    imported = blocked(**{"8.2": "from course.tiling import tile_plan"})
    assert imported["4"] == ("course.tiling",)
    looks = blocked(**{"8.2": "import sys"})
    assert looks["6"] == ("course.models", "torchvision.transforms")


def test_the_tiny_lab_stands_on_its_locked_cell(tmp_path):
    made = tiny.make_template(tmp_path)
    theirs = read_cells(json.dumps(tiny.answered(tiny.released())).encode())
    steps = [s for s in make_program(rebuild(made, theirs)).steps if s.check]
    assert all("class Exercise" in step.before[0] for step in steps)


def test_what_a_check_forbids_is_read_from_its_text():
    assert forbidden_by("x = 1") == frozenset()
    assert forbidden_by('Exercise("1", points=1, forbid=("a.b", "c"))') == {"a.b", "c"}
    assert forbidden_by('Exercise("1", points=1, forbid="a.b")') == {"a.b"}


@pytest.mark.parametrize("number", [f"8.{n}" for n in range(1, 7)])
def test_real_answers_are_plain(number):
    assert is_plain([solution(LAB)[number]])


@pytest.mark.parametrize(
    "text",
    [
        "import sys",
        "import os.path",
        "from os import path",
        "from torch import sys",
        "import torch.utils.cpp_extension",
        "torch.sys.modules",
        "f.__code__",
        "f.__globals__['x']",
        "f.__class__.__subclasses__()",
        "g.gi_frame",
        "e.tb_frame.f_back",
        "eval('1')",
        "getattr(f, 'x')",
        "open('x')",
        "__import__('os')",
        "__builtins__",
        "globals()",
        "np.load('x')",
        "torch._C._nn.pad",
        "torch.ops.aten.pad",
        "from course.checks import exercise",
        "match f:\n    case object(__code__=c): pass",
        "%reset -f",
        "!ls",
        "def f(:",
        "from . import x",
        "from numpy import ctypeslib",
        "import importlib as math",
        "functools.update_wrapper(f, g, ('__code__',))",
        "functools.partial(x, '__code__')",
        "enum.bltns.getattr",
        "typing.get_type_hints(f)",
        "import string",
    ],
)
def test_what_looks_into_the_interpreter_is_not_plain(text):
    assert not is_plain(["x = 1", text])


@pytest.mark.parametrize(
    "text",
    [
        "import torch, numpy as np\nfrom torch.nn import functional as F",
        "class A(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self._x = 1",
        "from course import geometry\ngeometry.unet_sizes(18, 1)",
        "import matplotlib.pyplot as plt\nplt.plot([1])",
        "f'{x:.3f}'",
        "@functools.lru_cache\ndef f(n): return f(n - 1)",
        "import random, time, re\nrandom.random()",
    ],
)
def test_what_students_write_is_plain(text):
    assert is_plain([text])
