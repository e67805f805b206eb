"""A small lecture to build in tests: one of each thing that a deck can hold."""

from __future__ import annotations

from pathlib import Path

from course.lectures.build import Site
from course.lectures.catalogue import Lecture

# The decks of docs/collect.py: where these are asked for, too, a lecture runs once for all tests.
AS_ON_THE_SITE = Site(labs="../labs/{name}.html", demos="../demos/{name}.html")
TEXT = """# %% tags=["skip"]
import os

from course import lectures, plots

# %% [markdown] tags=["slide"]
# # A small lecture
#
# You will be able to build it.

# %%
lectures.links(11)

# %% [markdown] tags=["notes"]
# Say *hello* first.

# %% [markdown] tags=["slide"]
# ## Three bars and a formula
#
# The mean is $\\bar{x} = \\frac{1}{n}\\sum_i x_i$, and `code` stays code.

# %%
plots.bars(["a", "b"], [1, 3], title="Two bars")

# %% [markdown] tags=["fragment"]
# Appears later.

# %%
print("with its fragment")

# %% [markdown] tags=["notes"]
# What comes later is said later.

# %% [markdown] tags=["slide"]
# ## Code is shown where it is worth it

# %% tags=["code"]
total = 6 * 7
total
"""


def lecture(folder: Path, text: str = TEXT, name: str = "11_small") -> Lecture:
    """The lecture as a file."""
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return Lecture(path)
