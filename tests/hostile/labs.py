"""The two labs that the corpus is applied to: a tiny one made for it, and lab 8 of the course.

A case speaks of the *guilty* exercise, which it damages or attacks, and of the *others*, which are
answered right. So one case fits both labs.
"""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from pathlib import Path

from autograder.classroom import Classroom, create_classroom
from autograder.layout import Layout, find_layout
from autograder.limits import Limits
from autograder.setup import set_up_lab

__all__ = ["LAB8", "TINY", "Lab"]

TINY_SOURCE = '''\
# %% [markdown]
# # Lab 1 · Tiny
#
# [[exercises]]

# %% tags=["parameters"]
steps = 3

# %% role="setup"
import torch
from torch import Tensor, nn

from course.checks import Exercise, build

# %% [markdown] exercise="1.1" role="contract" title="Brighten" minutes=5
# - Adds `by` to every pixel and keeps the result in [0, 1].

# %% exercise="1.1" role="gap"
def brighten(image: Tensor, by: float) -> Tensor:
    """Add to every pixel; `brighten(torch.tensor([0.5]), 1.0)` is `tensor([1.])`."""
    ### BEGIN SOLUTION
    return (image + by).clamp(0.0, 1.0)
    ### END SOLUTION


# %% exercise="1.1" role="check"
check = Exercise("1.1", points=4)

with check("too bright", points=1, hint="Cut off at one."):
    check.equal(brighten(torch.tensor([0.25, 0.75]), 0.5), torch.tensor([0.75, 1.0]))
### BEGIN HIDDEN TESTS
with check.hidden("too dark", points=2, hint="Cut off at zero."):
    check.equal(brighten(torch.tensor([[0.125, 0.875]]), -0.25), torch.tensor([[0.0, 0.625]]))
with check.hidden("nothing to do", points=1):
    check.equal(brighten(torch.tensor([0.3125]), 0), torch.tensor([0.3125]))
### END HIDDEN TESTS
check.score()

# %% [markdown] exercise="1.2" role="contract" title="Squares" minutes=5
# - The square of every value.
# - Forbidden: `torch.square`.

# %% exercise="1.2" role="gap"
def squared(values: Tensor) -> Tensor:
    """Every value times itself; `squared(torch.tensor([3]))` is `tensor([9])`."""
    ### BEGIN SOLUTION
    return values * values
    ### END SOLUTION


# %% exercise="1.2" role="check"
check = Exercise("1.2", points=6, forbid=["torch.square"])

with check("three", points=2):
    check.equal(squared(torch.tensor([3])), torch.tensor([9]))
### BEGIN HIDDEN TESTS
with check.hidden("negative numbers", points=4):
    check.equal(squared(torch.tensor([[-7.5], [41.0]])), torch.tensor([[56.25], [1681.0]]))
### END HIDDEN TESTS
check.score()

# %% [markdown] exercise="1.2" role="think" points=2
# **Think.** Why is the sky blue?
#
# ### BEGIN SOLUTION
# Scattering.
# ### END SOLUTION

# %% [markdown] exercise="1.3" role="contract" title="A layer" minutes=5
# - A module with one weight that scales its input.

# %% exercise="1.3" role="gap"
class Scale(nn.Module):
    """Multiplies by its only parameter, `weight`, which starts at `start`."""

    ### BEGIN SOLUTION
    def __init__(self, start: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(start))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight

    ### END SOLUTION


# %% exercise="1.3" role="check"
check = Exercise("1.3", points=4)

with check("twice", points=1):
    check.equal(build(Scale, 2.0)(torch.ones(3)), torch.full((3,), 2.0))
### BEGIN HIDDEN TESTS
with check.hidden("the weight learns", points=3):
    check.true(float(build(Scale, 3.0).gradients(torch.ones(5))["weight"]) != 0, "No gradient.")
### END HIDDEN TESTS
check.score()
'''


@dataclass(frozen=True)
class Lab:
    """One lab under attack.

    Attributes:
        guilty: how the ids of the guilty exercise's cells begin.
        signature: first line of its function; right, wrong: bodies that earn all and nothing.
        seen: body that is right for the visible checks only; seen_share: what it earns, of 1.
        ruled: ids of an exercise that rules something out; ruled_signature: its function's.
        forbidden: module, name and arguments of the call that it rules out, and that is right.
    """

    name: str
    guilty: str
    signature: str
    right: str
    wrong: str
    seen: str
    seen_share: float
    ruled: str
    ruled_signature: str
    forbidden: tuple[str, str, str]
    limits: Limits
    source: str = ""

    @property
    def answer(self) -> str:
        """Id of the guilty answer."""
        return f"{self.guilty}-answer"

    @property
    def check(self) -> str:
        """Id of the guilty check."""
        return f"{self.guilty}-check"

    @property
    def function(self) -> str:
        """Name of the guilty function."""
        return self.signature.removeprefix("def ").split("(")[0]

    def code(self, body: str, before: str = "") -> str:
        """The text of a guilty answer with the given body."""
        inside = textwrap.indent(textwrap.dedent(body).strip("\n"), "    ")
        head = textwrap.dedent(before).strip("\n")
        return (
            f"{head}\n\n{self.signature}\n{inside}\n" if head else f"{self.signature}\n{inside}\n"
        )

    def make_classroom(self, root: Path) -> Classroom:
        """A class to which the lab was released."""
        classroom = create_classroom(root / "class")
        layout = find_layout(Path(__file__).parent)
        if self.source:
            path = root / "course" / "solutions" / f"{self.name}.py"
            path.parent.mkdir(parents=True)
            path.write_text(self.source, encoding="utf-8")
            layout = Layout(root / "course")
        set_up_lab(classroom, layout, self.name)
        return classroom


TINY = Lab(
    "01_tiny",
    "ex-1-1",
    "def brighten(image, by):",
    "return torch.minimum(torch.maximum(image + by, torch.tensor(0.0)), torch.tensor(1.0))",
    "return image - 9",
    "return torch.tensor([0.75, 1.0])",
    0.25,
    "ex-1-2",
    "def squared(values):",
    ("torch", "square", "(values)"),
    Limits(
        cell_seconds=2,
        check_seconds=6,
        total_seconds=60,
        memory_bytes=2**30,
        processes=32,
        file_bytes=8 * 2**20,
        disk_bytes=64 * 2**20,
        files=1000,
    ),
    TINY_SOURCE,
)
LAB8 = Lab(
    "08_unet",
    "ex-8-2",
    "def valid_input_for(out, depth=4):",
    """\
    if out < 1:
        raise ValueError(f"nothing to label: {out}")
    grid = 2**depth
    return -(-(out + 12 * grid - 4) // grid) * grid - 4
    """,
    "return 0",
    "return {388: 572, 101: 144}.get(out)",
    0.25,
    "ex-8-2",
    "def valid_input_for(out, depth=4):",
    ("course.geometry", "valid_input_for", "(out, depth)"),
    Limits(cell_seconds=10, check_seconds=30, total_seconds=120, memory_bytes=2 * 2**30),
)
