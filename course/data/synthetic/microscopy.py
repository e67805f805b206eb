"""Touching cells under a microscope: the scene for which U-Net weighs its loss.

Round cells lie in clusters. Where two of them meet, a dark gap of one or two pixels stays between
them, too thin to matter for the IoU and all that keeps the cells apart when they are counted
[Ronneberger et al. 2015, §3 and Fig. 3]. A cell i with centre c_i and radius r_i(θ) owns the
pixels x with ρ_i(x) = |x - c_i| / r_i(θ) < 1 that no other cell claims with a smaller ρ.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from course.data.container import Scenes
from course.data.synthetic._canvas import (
    Array,
    Size,
    blur,
    check_size,
    check_unit,
    generators,
    grid,
    to_images,
)

_PIXELS_PER_CELL = 440
_TRIES = 64
_GRAIN, _LENS = 0.5, 0.6


def cells(
    n: int,
    size: Size = 64,
    *,
    seed: int = 0,
    radius: tuple[float, float] = (7.5, 9.5),
    gap: float = 1.0,
    seam: float = 0.25,
    touching: float = 0.85,
    contrast: float = 0.6,
    noise: float = 0.04,
) -> Scenes:
    """Grey microscopy images of bright cells in clusters, with class masks and instance maps.

    Args:
        n: number of images.
        size: side of a square image or (H, W), at least 24 pixels.
        seed: same seed, same bytes.
        radius: least and greatest cell radius in pixels.
        gap: width in pixels of the background between touching cells, rounded up; 0 = none.
        seam: how dark that gap is before the lens blurs it, from 0 (as bright as the cells beside
            it) to 1 (as dark as the background).
        touching: share of the cells that are laid against another one.
        contrast: brightness of a cell above the background.
        noise: strength of the camera noise.

    Returns:
        `Scenes` with images (N, 1, H, W), masks (0 background, 1 cell) and instances.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> scenes = cells(4, (48, 64), seed=1)
        >>> scenes.images.shape, scenes.masks.unique().tolist()
        (torch.Size([4, 1, 48, 64]), [0, 1])
        >>> scenes.instances.amax((1, 2)).tolist()  # cells an image
        [7, 7, 7, 6]
    """
    height, width = check_size(n, size, least=24)
    check_unit(seam=seam, touching=touching, contrast=contrast, noise=noise)
    if not 2.0 <= radius[0] <= radius[1] <= min(height, width) / 3:
        raise ValueError(
            f"expected radius (least, greatest) between 2 and a third of the image; got {radius}"
        )
    if gap < 0:
        raise ValueError(f"expected a gap of at least 0 pixels; got {gap}")
    shape = (n, height, width)
    instances, light, grain, shot = np.zeros(shape, np.int64), *np.zeros((3, *shape))
    for i, rng in enumerate(generators(n, seed)):
        centers, radii = _place(rng, height, width, radius, touching)
        owner, rho = _territories(rng, height, width, centers, radii)
        instances[i] = _part(owner, rho, radii, gap)
        brightness = rng.uniform(0.7, 1.0, len(radii))
        light[i] = _stain(owner, rho, brightness, instances[i], seam)
        grain[i], shot[i] = rng.standard_normal((2, height, width))
    light = blur(0.1 + contrast * light * (1.0 + _GRAIN * blur(grain, 1.0)), _LENS)
    images = light + noise * np.sqrt(0.4 + light) * shot
    labels = torch.from_numpy(instances)
    return Scenes(
        images=to_images(images[:, None]),
        masks=(labels > 0).long(),
        instances=labels,
        class_names=("background", "cell"),
    )


def _place(
    rng: np.random.Generator,
    height: int,
    width: int,
    radius: tuple[float, float],
    touching: float,
) -> tuple[Array, Array]:
    """Centres (M, 2) and radii (M,): most cells are laid against one that is already there."""
    wanted = max(2, round(height * width / _PIXELS_PER_CELL + rng.uniform(-1.2, 1.2)))
    centers, radii = np.empty((0, 2)), np.empty(0)
    for r in rng.uniform(*radius, size=wanted):
        low, high = 0.75 * r, np.subtract((height, width), 0.75 * r)
        spots = rng.uniform(low, high, (_TRIES, 2))
        if len(radii):
            hosts, angle = rng.integers(len(radii), size=_TRIES), 2 * np.pi * rng.random(_TRIES)
            reach = 0.9 * (radii[hosts] + r)
            beside = centers[hosts] + reach[:, None] * np.stack((np.sin(angle), np.cos(angle)), 1)
            spots = np.where(rng.random((_TRIES, 1)) < touching, beside, spots)
        distance = np.linalg.norm(spots[:, None] - centers, axis=2)  # (tries, cells so far)
        free = (distance >= 0.88 * (radii + r)).all(1) & ((spots >= low) & (spots <= high)).all(1)
        if free.any():
            centers = np.vstack((centers, spots[free.argmax()]))
            radii = np.append(radii, r)
    return centers, radii


def _territories(
    rng: np.random.Generator, height: int, width: int, centers: Array, radii: Array
) -> tuple[NDArray[np.int64], Array]:
    """Owner (H, W), the cell with the smallest ρ, and the smallest two ρ (2, H, W); 1 = outside."""
    owner, rho = np.zeros((height, width), np.int64), np.ones((2, height, width))
    waves = rng.uniform(0.0, 0.07, (2, len(radii))) * np.exp(2j * np.pi * rng.random(len(radii)))
    for i, ((cy, cx), radius) in enumerate(zip(centers, radii, strict=True)):
        reach = 1.15 * radius + 1.0  # the waves lift the rim by at most 14 %
        top, left = max(0, int(cy - reach)), max(0, int(cx - reach))
        window = slice(top, int(cy + reach) + 1), slice(left, int(cx + reach) + 1)
        near = rho[:, *window]
        y, x = grid(*near.shape[1:])
        offset = (x + left - cx) + 1j * (y + top - cy)
        distance = np.abs(offset)
        turn = offset / np.maximum(distance, 1e-9)
        oval, pear = waves[:, i]
        mine = distance / (radius * (1.0 + (turn**2 * (oval + turn * pear)).real))
        closer = mine < near[0]
        near[1] = np.where(closer, near[0], np.minimum(mine, near[1]))
        near[0][closer] = mine[closer]
        owner[window][closer] = i
    return owner, rho


def _part(owner: NDArray[np.int64], rho: Array, radii: Array, gap: float) -> NDArray[np.int64]:
    """Instance map (H, W): the owners inside their rims, a gap between any two of them."""
    height, width = owner.shape
    # One pixel towards the rival raises the own ρ by about 1/r and lowers the other's as much.
    to_rival = (rho[1] - rho[0]) * radii[owner] / 2
    inside = (rho[0] < 1.0) & ((rho[1] >= 1.0) | (to_rival >= gap / 2))
    labels = np.where(inside, owner + 1, 0)
    if gap == 0:
        return labels
    padded = np.pad(labels, 1)  # cells must not meet over a corner either, or counting merges them
    around = [padded[a : a + height, b : b + width] for a in range(3) for b in range(3)]
    return np.where(np.max(around, axis=0) > labels, 0, labels)


def _stain(
    owner: NDArray[np.int64],
    rho: Array,
    brightness: Array,
    labels: NDArray[np.int64],
    seam: float,
) -> Array:
    """Light (H, W) of the cells: brightest in the middle, dimmed by `seam` in the gaps."""
    body = brightness[owner] * (1.0 - 0.35 * rho[0] ** 2) * (rho[0] < 1.0)
    return np.where(labels > 0, body, (1.0 - seam) * body)
