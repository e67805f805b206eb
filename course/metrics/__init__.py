"""How good a segmentation is, counted over a data set.

* `course.metrics.confusion`: the confusion matrix of labels and predictions, once or streaming;
* `course.metrics.scores`: accuracy, IoU, Dice and their means, all read off a confusion matrix;
* `course.metrics.boundary`: how much of the outline is in its place;
* `course.metrics.instances`: objects instead of pixels: counted, found, matched.

`soft_dice`, the differentiable one, is the loss `course.losses.soft_dice`.

>>> import torch
>>> from course.metrics import confusion_matrix, iou
>>> iou(confusion_matrix(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1]), 2))
tensor([0.5000, 0.6667], dtype=torch.float64)
"""

from course.losses import soft_dice
from course.metrics.boundary import boundary_f
from course.metrics.confusion import ConfusionMatrix, confusion_matrix
from course.metrics.instances import Matches, count_error, instance_labels, match_instances
from course.metrics.scores import (
    dice,
    dice_from_iou,
    frequency_weighted_iou,
    iou,
    iou_from_dice,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
    precision,
    recall,
)

__all__ = [
    "ConfusionMatrix",
    "Matches",
    "boundary_f",
    "confusion_matrix",
    "count_error",
    "dice",
    "dice_from_iou",
    "frequency_weighted_iou",
    "instance_labels",
    "iou",
    "iou_from_dice",
    "match_instances",
    "mean_accuracy",
    "mean_iou",
    "pixel_accuracy",
    "precision",
    "recall",
    "soft_dice",
]
