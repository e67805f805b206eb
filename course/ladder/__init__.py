"""The ladder: every architecture of the course on the same thin lines, one rung a system.

A line two pixels wide is the hardest thing for a network that looks through poolings, and the first
thing that a box cannot say. So one number, the intersection over union (IoU) of the class "line",
shows what each step of the lecture bought. What it cost stands beside it: parameters,
multiply-accumulates and activations.

`picture(lab=7)` draws the ladder with the rungs of a lab marked; `course ladder` trains all of them
again (`course.ladder.climb`) and writes `scores.json`, from which the pictures are drawn.
"""

from course.ladder.chart import cost_picture, picture, score_table
from course.ladder.rungs import RUNGS, Rung, Scores, load_scores, save_scores

__all__ = [
    "RUNGS",
    "Rung",
    "Scores",
    "cost_picture",
    "load_scores",
    "picture",
    "save_scores",
    "score_table",
]
