"""The brushes that every synthetic family shares: seeds, sizes, grids, blur.

Scene number i draws from its own generator, made from (seed, i). So the same seed gives the same
bytes, and the first ten scenes of a hundred are the ten scenes of a set of ten.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]
Size = int | tuple[int, int]


def check_size(n: int, size: Size, *, least: int) -> tuple[int, int]:
    """Validate the number of scenes and the image size, and return the size as (H, W)."""
    height, width = (size, size) if isinstance(size, int) else size
    if n < 1:
        raise ValueError(f"expected n of at least 1 scene; got {n}")
    if min(height, width) < least:
        raise ValueError(
            f"expected size of at least {least} pixels a side, an int or (H, W); got {size}"
        )
    return height, width


def check_unit(**values: float) -> None:
    """Raise a `ValueError` that names the first of `values` outside [0, 1]."""
    for name, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise ValueError(f"expected {name} in [0, 1]; got {value}")


def check_range(**ranges: tuple[int, int]) -> None:
    """Raise a `ValueError` that names the first of `ranges` that is not 0 <= least <= greatest."""
    for name, (least, greatest) in ranges.items():
        if not 0 <= least <= greatest:
            raise ValueError(
                f"expected {name} (least, greatest) with 0 <= least <= greatest; "
                f"got ({least}, {greatest})"
            )


def generators(n: int, seed: int) -> Iterator[np.random.Generator]:
    """One independent generator per scene."""
    if seed < 0:
        raise ValueError(f"expected a seed of at least 0; got {seed}")
    return (np.random.default_rng([seed, i]) for i in range(n))


def grid(height: int, width: int) -> tuple[Array, Array]:
    """The (y, x) coordinates of all pixel centres, each (H, W)."""
    y, x = np.mgrid[:height, :width]
    return y + 0.5, x + 0.5


def blur(images: Array, sigma: float) -> Array:
    """Gaussian blur of (..., H, W) along both axes, the edge mirrored."""
    return gaussian_filter(images, sigma, axes=(-2, -1), truncate=3.0)


def to_images(images: Array) -> torch.Tensor:
    """Clip (N, C, H, W) to [0, 1] and turn it into a float32 tensor."""
    return torch.from_numpy(images.clip(0.0, 1.0).astype(np.float32))
