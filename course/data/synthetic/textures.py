"""Four textures, two of them nearly equal: the scene for confusable classes.

The image is cut into regions (the Voronoi cells of random points), and every region is filled with
stripes of its class: rows, columns, a slant, and a slant a few degrees steeper. The last two are
what a net confuses, and what reverse attention is meant to repair [Huang et al. 2017, §1 and §3].
"""

from __future__ import annotations

import numpy as np
import torch

from course.data.container import Scenes
from course.data.synthetic._canvas import (
    Size,
    blur,
    check_size,
    check_unit,
    generators,
    grid,
    to_images,
)

_PERIOD = 6.0


def textures(
    n: int,
    size: Size = 64,
    *,
    seed: int = 0,
    difference: float = 15.0,
    regions: int = 6,
    noise: float = 0.12,
) -> Scenes:
    """Grey images cut into regions of four striped textures, two of which are nearly equal.

    Args:
        n: number of images.
        size: side of a square image or (H, W), at least 24 pixels.
        seed: same seed, same bytes.
        difference: degrees between the two slants, in (0, 45]; fewer are harder to tell apart.
        regions: number of regions in an image.
        noise: standard deviation of the noise.

    Returns:
        `Scenes` with images (N, 1, H, W) and masks (0 rows, 1 columns, 2 slant, 3 steeper slant).

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> scenes = textures(2, (48, 64), seed=1)
        >>> scenes.masks.shape, scenes.class_names
        (torch.Size([2, 48, 64]), ('rows', 'columns', 'slant', 'steeper slant'))
    """
    height, width = check_size(n, size, least=24)
    check_unit(noise=noise)
    if not 0.0 < difference <= 45.0:
        raise ValueError(f"expected difference in (0, 45] degrees; got {difference}")
    if regions < 1:
        raise ValueError(f"expected regions of at least 1; got {regions}")
    angles = np.deg2rad([90.0, 0.0, 35.0, 35.0 + difference])
    y, x = grid(height, width)
    masks = np.zeros((n, height, width), np.int64)
    images, shot = np.zeros((2, n, height, width))
    for i, rng in enumerate(generators(n, seed)):
        kinds = rng.permutation((np.arange(regions) + rng.integers(4)) % 4)
        cy, cx = rng.uniform(0.0, 1.0, (2, regions, 1, 1)) * np.reshape(
            (height, width), (2, 1, 1, 1)
        )
        region = np.hypot(y - cy, x - cx).argmin(0)
        angle = angles[kinds][:, None, None] + rng.normal(0.0, 0.03, (regions, 1, 1))
        period = _PERIOD * rng.uniform(0.85, 1.15, (regions, 1, 1))
        phase = rng.uniform(0.0, 2 * np.pi, (regions, 1, 1))
        stripes = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + phase)
        masks[i] = kinds[region]
        images[i] = 0.5 + 0.25 * np.take_along_axis(stripes, region[None], 0)[0]
        shot[i] = rng.standard_normal((height, width))
    return Scenes(
        images=to_images((blur(images, 0.5) + noise * shot)[:, None]),
        masks=torch.from_numpy(masks),
        class_names=("rows", "columns", "slant", "steeper slant"),
    )
