"""What a run trains and measures: pixels, objects, or one answer for a whole image.

A task wraps a network so that `course.training.fit` can train it, gives it a loss, and measures it
on the test part. Everything here can be sent to other processes, for several devices.

* `course.experiments.tasks.base`: what all share;
* `course.experiments.tasks.pixels`: segmentation;
* `course.experiments.tasks.objects`: detection, localization, classification;
* `course.experiments.tasks.papers`: what the recipes of whole papers take in their place.
"""

from collections.abc import Sequence

from course.experiments.sets import Prepared
from course.experiments.systems import System
from course.experiments.tasks.base import Task
from course.experiments.tasks.objects import Classification, Detection, Localization
from course.experiments.tasks.pixels import Segmentation

__all__ = ["make_task"]


def make_task(system: System, train: Prepared, test: Prepared, names: Sequence[str]) -> Task:
    """Build the task of a system on two parts of a data set."""
    kinds = {
        "segmentation": Segmentation,
        "detection": Detection,
        "localization": Localization,
        "classification": Classification,
    }
    return kinds[system.task](train, test, names)
