"""Image pyramid: one window size finds objects of every size.

The window stays, the image shrinks. Level i of an image of L pixels has round(L * scale^i) pixels,
always counted and resampled from the image itself: rounding a rounded size again would drift. A
point moves between the two by the sizes that were really used:

    x_image = x_level * L_image / L_level.

References: Rowley, Baluja and Kanade 1998; Dalal and Triggs 2005.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from course.boxes.overlap import check_boxes

__all__ = ["PyramidLevel", "image_pyramid", "to_image_coords"]


class PyramidLevel(NamedTuple):
    """One level: its `image` `(C, h, w)`, and `image_size`, the (H, W) of the whole image.

    >>> import torch
    >>> PyramidLevel(torch.zeros(3, 20, 30), (40, 61)).factors
    (2.0, 2.033...)
    """

    image: Tensor
    image_size: tuple[int, int]

    @property
    def factors(self) -> tuple[float, float]:
        """Image pixels per level pixel, down and to the right."""
        height, width = self.image.shape[-2:]
        return self.image_size[0] / height, self.image_size[1] / width


def image_pyramid(image: Tensor, scale: float, min_size: int) -> list[PyramidLevel]:
    """Shrink an image step by step until its shorter side would fall below `min_size`.

    Args:
        image: `(C, H, W)` float.
        scale: size of a level relative to the one before, in (0, 1).
        min_size: smallest height and width in pixels, normally the window's.

    Returns:
        Levels from large to small; the first is the image, so there is none if it is too small.
        Resampling is bilinear with anti-aliasing, of 16-bit floats in single precision.

    Raises:
        TypeError: an integer image.
        ValueError: an image that is not `(C, H, W)`, a scale outside (0, 1), a min_size below 1.

    >>> import torch
    >>> [tuple(level.image.shape) for level in image_pyramid(torch.zeros(3, 50, 77), 0.5, 12)]
    [(3, 50, 77), (3, 25, 38), (3, 12, 19)]
    """
    if image.ndim != 3:
        raise ValueError(f"image must have the shape (C, H, W), got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise TypeError(f"image must be floating, got {image.dtype}: divide by 255")
    if not 0 < scale < 1:
        raise ValueError(f"scale must be between 0 and 1, both excluded, got {scale}")
    if min_size < 1:
        raise ValueError(f"min_size must be at least 1 pixel, got {min_size}")
    height, width = image.shape[1:]
    # torch has no anti-aliasing of 16-bit floats on a CPU
    source = image.float() if image.dtype in (torch.float16, torch.bfloat16) else image
    levels = []
    size = (height, width)
    while min(size) >= min_size:
        resampled = image
        if levels:
            resampled = F.interpolate(source[None], size, mode="bilinear", antialias=True)[0]
            resampled = resampled.to(image.dtype)
        levels.append(PyramidLevel(resampled, (height, width)))
        factor = scale ** len(levels)
        size = (round(height * factor), round(width * factor))
    return levels


def to_image_coords(boxes: Tensor, level: PyramidLevel) -> Tensor:
    """Boxes found on a pyramid level, in pixels of the image.

    Args:
        boxes: `(..., 4)` float corners in pixels of the level.
        level: the level they were found on.

    Returns:
        `(..., 4)` corners in pixels of the image; the whole level becomes the whole image.

    Raises:
        TypeError: integer boxes.
        ValueError: the last axis does not have four entries.

    >>> import torch
    >>> level = image_pyramid(torch.zeros(3, 50, 77), 0.5, 12)[1]
    >>> to_image_coords(torch.tensor([[0.0, 5.0, 38.0, 25.0]]), level)
    tensor([[ 0., 10., 77., 50.]])
    """
    check_boxes(boxes, flat=False)
    down, right = level.factors
    return boxes * boxes.new_tensor([right, down, right, down])
