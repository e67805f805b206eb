"""A small picture of a boat for the demo `dense_crf`, and what a coarse network would say of it."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["HEIGHT", "WIDTH", "scene"]

HEIGHT, WIDTH = 32, 40


@lru_cache(maxsize=1)
def scene() -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]]:
    """The image (32, 40, 3) uint8, its true labels (32, 40), and the network's P (1280, 3).

    The "network" is the truth as seen by one with an output stride of 8: averaged over cells of
    8 x 8 pixels, mixed with noise and enlarged bilinearly. A mast of two pixels does not survive.

    >>> image, labels, p = scene()
    >>> image.shape, p.shape, bool(np.allclose(p.sum(1), 1))
    ((32, 40, 3), (1280, 3), True)
    """
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(float)
    labels = (y >= 20).astype(np.int64)
    hull = (y >= 20) & (y <= 24) & (x >= 6 + (y - 20) * 1.2) & (x <= 34 - (y - 20) * 1.2)
    sail = (x >= 22) & (x <= 23 + (y - 3) * 0.62) & (y >= 3) & (y <= 17)
    jib = (x <= 18) & (x >= 19 - (y - 6) * 0.8) & (y >= 6) & (y <= 17)
    mast = (x >= 19) & (x <= 20) & (y >= 1) & (y <= 19)
    labels[hull | sail | jib | mast] = 2
    colors = np.empty((HEIGHT, WIDTH, 3))
    colors[:] = np.array([150, 190, 226]) + (y / HEIGHT)[..., None] * [60, 34, 10]
    water = np.array([36, 84, 120]) + 10 * np.sin(y * 1.9 + np.sin(x / 5) * 1.5)[..., None]
    colors = np.where((y >= 20)[..., None], water, colors)
    for part, color in ((hull, (112, 52, 30)), (mast, (96, 60, 40))):
        colors[part] = color
    colors[sail | jib] = (236, 112, 48)
    colors += rng.normal(0, 5, colors.shape)
    one_hot = np.eye(3)[labels]
    cells = one_hot.reshape(HEIGHT // 8, 8, WIDTH // 8, 8, 3).mean((1, 3))
    cells = 0.62 * cells + 0.38 * rng.dirichlet((2, 2, 2), cells.shape[:2])
    coarse = np.einsum("yr,rcl,xc->yxl", _bilinear(HEIGHT), cells, _bilinear(WIDTH))
    p = coarse.reshape(-1, 3) / coarse.sum(-1).reshape(-1, 1)
    return np.clip(np.rint(colors), 0, 255).astype(np.uint8), labels, p.astype(np.float32)


def _bilinear(size: int) -> NDArray[np.float64]:
    """Rows that interpolate `size` pixels from cells of 8, level beyond the outer centres."""
    at = np.clip((np.arange(size) + 0.5) / 8 - 0.5, 0, size // 8 - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(size // 8)))
