"""A drawn picture with every answer known: three sheep on grass beside a road, under a sky.

The first example of the lecture needs a picture whose classes, objects and boxes are all exact.
Photographs have annotations only by hand, so this one is drawn: each thing is an inequality, and
what is painted later stands in front.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["CLASSES", "Flock", "flock"]

CLASSES = ("sky", "grass", "road", "sheep")
SKY, GRASS, ROAD, SHEEP = range(4)

_FINE = 3  # samples per pixel and side: edges come out smooth

# Middle (x, y) and half width of each sheep, in parts of the picture's height; the first is behind.
_FLOCK = ((0.93, 0.44, 0.17), (0.3, 0.66, 0.25), (0.69, 0.71, 0.25))


class Flock(NamedTuple):
    """The picture and its answers.

    Attributes:
        image: (3, H, W) float in [0, 1].
        labels: (H, W) int64, numbers of `CLASSES`.
        instances: (H, W) int64, 0 where no sheep is, else 1, 2 or 3.
        boxes: (3, 4) float corners, one row for each sheep.
    """

    image: Tensor
    labels: Tensor
    instances: Tensor
    boxes: Tensor


def flock(height: int = 180, width: int = 240, *, shift: float = 0.0) -> Flock:
    """Draw the picture.

    Args:
        height, width: its size, pixels.
        shift: moves all sheep to the right, in parts of the height.

    Raises:
        ValueError: a size below 24 pixels.

    Example:
        >>> picture = flock(60, 80)
        >>> picture.image.shape, picture.instances.unique().tolist()
        (torch.Size([3, 60, 80]), [0, 1, 2, 3])
    """
    if min(height, width) < 24:
        raise ValueError(f"expected at least 24 x 24 pixels; got {height} x {width}")
    y, x = (np.mgrid[: height * _FINE, : width * _FINE] + 0.5) / (height * _FINE)
    colors, labels, instances = _ground(x, y)
    for number, (cx, cy, half) in enumerate(_FLOCK, 1):
        for part, color in _sheep((x - cx - shift) / half, (y - cy) / half):
            colors[part] = color
            labels[part], instances[part] = SHEEP, number
    noise = np.random.default_rng(0).standard_normal((height, width, 1))
    small = colors.reshape(height, _FINE, width, _FINE, 3).mean((1, 3)) + 0.02 * noise
    middle = slice(_FINE // 2, None, _FINE)
    instances = instances[middle, middle]
    return Flock(
        torch.from_numpy(small.clip(0, 1)).permute(2, 0, 1).float(),
        torch.from_numpy(labels[middle, middle].copy()),
        torch.from_numpy(instances.copy()),
        torch.tensor([_extent(instances == n) for n in (1, 2, 3)], dtype=torch.float32),
    )


def _ground(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """Colours, labels and instances of sky, meadow and road."""
    hill = 0.33 + 0.03 * np.sin(4 * x)
    labels = np.where(y < hill, SKY, GRASS)
    labels[(y > 0.86 + 0.02 * np.sin(3 * x))] = ROAD
    palette = np.array([[0.72, 0.85, 0.95], [0.47, 0.66, 0.36], [0.58, 0.56, 0.55], [0, 0, 0]])
    light = np.where(labels == SKY, 0.08 * y, 0.12 * (y - 0.5))
    return palette[labels] - light[..., None], labels, np.zeros_like(labels)


def _sheep(u: NDArray, v: NDArray) -> list[tuple[NDArray, tuple[float, float, float]]]:
    """Parts of a sheep and their colours; (u, v) are 1 at its right and lower end."""
    legs = np.zeros(u.shape, bool)
    for at in (-0.55, -0.28, 0.2, 0.42):
        legs |= (np.abs(u - at) < 0.06) & (v > 0) & (v < 0.78)
    wool = (u / 0.66) ** 2 + (v / 0.42) ** 2 < 1
    for angle in np.linspace(0, 2 * np.pi, 11)[:-1]:
        curl = (u - 0.62 * np.cos(angle)) ** 2 + (v - 0.38 * np.sin(angle)) ** 2 < 0.045
        wool |= curl
    head = ((u - 0.8) / 0.2) ** 2 + ((v + 0.22) / 0.25) ** 2 < 1
    ear = ((u - 0.66) / 0.12) ** 2 + ((v + 0.38) / 0.06) ** 2 < 1
    eye = (u - 0.86) ** 2 + (v + 0.28) ** 2 < 0.0012
    dark = (0.24, 0.21, 0.2)
    return [(legs, dark), (wool, (0.95, 0.93, 0.88)), (head | ear, dark), (eye, (1.0, 1.0, 1.0))]


def _extent(mask: NDArray) -> tuple[float, float, float, float]:
    """Box of the pixels of a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
