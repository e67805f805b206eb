"""Losses of the papers, and the weights that go into them.

* `course.losses.pixelwise`: cross-entropy with weights of pixels and classes, SegNet's weights;
* `course.losses.overlap`: soft Dice in its linear and squared forms;
* `course.losses.border`: U-Net's weight map, which presses touching cells apart.

Smooth L1 (Fast R-CNN, eq. 3) is `torch.nn.functional.smooth_l1_loss`.
"""

from course.losses.border import border_weights
from course.losses.overlap import soft_dice, soft_dice_loss
from course.losses.pixelwise import class_frequencies, cross_entropy, median_frequency_weights

__all__ = [
    "border_weights",
    "class_frequencies",
    "cross_entropy",
    "median_frequency_weights",
    "soft_dice",
    "soft_dice_loss",
]
