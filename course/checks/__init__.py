"""What a check cell calls: named checks with points, helpful failures, and no access to the answer.

A check cell is ordinary Python that runs in three places unchanged: in the student's kernel, under
`nbgrader autograde`, and in a separate checker process that exchanges only data with the student's
process. Three rules make that possible:

1. A student's name is only *called*, with plain data, arrays, tensors or `spy(...)` objects, or
   *handed to a helper* (`observe`, `gradients`, `build`, `check.raises`, `check.unchanged`).
2. What comes back is data. Modules stay where they live and are used through `build`'s handle.
3. A callable that goes *into* student code is wrapped in `spy`, which counts and limits its calls.

>>> def double(x):                      # what a student wrote
...     return x + 2
>>> check = Exercise("0.1", points=4)
>>> with check("two and seven", points=1):
...     check.equal(double(2), 4)
...     check.equal(double(7), 14, mistakes={"Did you add 2 instead of doubling?": 9})
>>> check.report.lines[0].message
'Did you add 2 instead of doubling?'
>>> float(check.score(show=False))
0.0
"""

from course.checks.attempt import attempt
from course.checks.exercise import Exercise, Score
from course.checks.student import Observation, Spy, build, gradients, observe, spy

__all__ = [
    "Exercise",
    "Observation",
    "Score",
    "Spy",
    "attempt",
    "build",
    "gradients",
    "observe",
    "spy",
]
