"""Training: one function, on Lightning Fabric, that can be killed and goes on where it was.

* `course.training.loop`: `fit`, the loop itself; `job` and `run` are its arguments and its state;
* `course.training.batches`: which samples make up the batch of a step, and their random numbers;
* `course.training.checkpoint`: the file a run goes on from;
* `course.training.devices`: Fabric, one device or several;
* `course.training.history`, `progress`, `schedules`: what `fit` returns, shows, and may take.

Everything random is a function of the seed and the step, not of what was drawn before. So a run
continued from a checkpoint, or fed by other numbers of workers, ends with the same weights.
"""

from course.training.history import History
from course.training.loop import fit
from course.training.schedules import poly_lr

__all__ = ["History", "fit", "poly_lr"]
