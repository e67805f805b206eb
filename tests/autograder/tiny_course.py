"""A course of one lab and two exercises, small enough to execute in a test."""

from pathlib import Path

LAB = "09_tiny"

SOURCE = '''\
# Authors read this line, students do not.

# %% [markdown]
# # Lab 9 · Tiny
#
# You will count and scale.
#
# [[exercises]]

# %% tags=["parameters"]
scale = 2

# %% role="setup"
from course.checks import Exercise

# %% [markdown]
# ## Counting

# %% [markdown] exercise="9.1" role="idea"
# Windows slide over a line of cells. Fifty words stand here in a real lab.

# %% exercise="9.1" role="look"
print(list(range(5)))

# %% [markdown] exercise="9.1" role="contract" title="Windows on a line" minutes=5
# - `length`, `size`, `stride`: positive integers.
# - Returns the number of windows that fit.
# - Forbidden: loops.

# %% [markdown] exercise="9.1" role="hints"
# 1. Draw seven cells and windows of three.
# 2. The last window starts at `length - size`.
#
#    Count its predecessors.
# 3. `last = length - size`

# %% exercise="9.1" role="gap"
def window_count(length: int, size: int, stride: int) -> int:
    """The number of windows; `window_count(7, 3, 2)` is 3."""
    ### BEGIN SOLUTION
    last_start = length - size
    if last_start < 0:
        return 0
    return last_start // stride + 1
    ### END SOLUTION


# %% exercise="9.1" role="check"
check = Exercise("9.1", points=6)

with check("seven cells, windows of three", points=2):
    check.equal(window_count(7, 3, 2), 3, mistakes={"Did you forget the first window?": 2})
### BEGIN HIDDEN TESTS
with check.hidden("a window longer than the line", points=4):
    check.equal(window_count(2, 5, 1), 0)
### END HIDDEN TESTS
check.score()

# %% exercise="9.1" role="picture" alt="Number of windows against stride: 5, 3, 2."
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(3, 2))
axes.bar([1, 2, 3], [window_count(7, 3, stride) for stride in (1, 2, 3)])
plt.show()

# %% [markdown] exercise="9.1" role="see"
# The bars fall from 5 to 2.

# %% [markdown] exercise="9.1" role="think" points=2
# **Think.** What happens to the cells that no window covers?
#
# ### BEGIN SOLUTION
# They are never classified.
# ### END SOLUTION

# %% [markdown]
# ## Scaling

# %% [markdown] exercise="9.2" role="contract" title="Scaling" minutes=10
# - `values`: a list of numbers.
# - Returns a new list.
# - The argument stays as it is.

# %% exercise="9.2" role="gap"
def scaled(values: list[float], factor: float) -> list[float]:
    """Every value times the factor; `scaled([1, 2], 3)` is `[3, 6]`."""
    result = []
    ### BEGIN SOLUTION
    for value in values:
        result.append(value * factor)
    ### END SOLUTION
    return result


# %% exercise="9.2" role="check"
check = Exercise("9.2", points=4)

with check("three values", points=1):
    check.equal(scaled([1, 2, 5], scale), [scale, 2 * scale, 5 * scale])
### BEGIN HIDDEN TESTS
with check.hidden("the argument is not modified", points=3):
    check.unchanged(scaled, [1, 2], 3)
### END HIDDEN TESTS
check.score()

# %% [markdown] exercise="9.2" role="think"
# Why is one number enough?
#
# ### BEGIN SOLUTION
# Because scaling is linear.
# ### END SOLUTION

# %% role="experiment"
scaled([1, 2, 3], scale)
'''


def make_course(root: Path, source: str = SOURCE) -> Path:
    """Write the course; returns the lab's source file."""
    path = root / "solutions" / f"{LAB}.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source, encoding="utf-8")
    return path
