"""Scenes in which an object's name depends on what lies far away from it.

A boat and a car are the same blob. It is a boat where the far ground is water and a car where it is
road, and a wide ring of fog around the blob hides the ground near it. A net whose receptive field
ends in the fog can only guess; a net that pools over the whole image can know: "confusion" by
missing context, the first failure that PSPNet names [Zhao et al. 2017, §3.1 and Fig. 2].
"""

from __future__ import annotations

import numpy as np
import torch

from course.data.container import Scenes
from course.data.synthetic._canvas import (
    Array,
    Mask,
    Size,
    blur,
    check_size,
    check_unit,
    generators,
    grid,
    to_images,
)

_WATER, _ROAD, _FOG = (0.15, 0.35, 0.6), (0.45, 0.4, 0.35), 0.6
_BLUR_REACH = 3.0  # pixels, over a corner


def scenes(
    n: int,
    size: Size = 64,
    *,
    seed: int = 0,
    distance: float | None = None,
    swap: bool = False,
    noise: float = 0.04,
) -> Scenes:
    """Colour images of one blob in fog that is a boat on far water and a car on a far road.

    Args:
        n: number of images.
        size: side of a square image or (H, W), at least 40 pixels.
        seed: same seed, same bytes.
        distance: pixels of fog between the blob and the first ground that shows; `None` is 22 % of
            the shorter side, 14 pixels of 64.
        swap: keep blob, fog and noise but exchange water and road, and with them the class. An
            image and its swapped twin are equal up to `distance` pixels around the blob.
        noise: standard deviation of the noise.

    Returns:
        `Scenes` with images (N, 3, H, W) and masks (0 background, 1 boat, 2 car).

    Raises:
        ValueError: an argument is out of its range, or the fog would fill the image.

    Example:
        >>> as_drawn, twin = scenes(4, seed=2), scenes(4, seed=2, swap=True)
        >>> as_drawn.masks.amax((1, 2)).tolist(), twin.masks.amax((1, 2)).tolist()
        ([1, 2, 1, 2], [2, 1, 2, 1])
    """
    height, width = check_size(n, size, least=40)
    check_unit(noise=noise)
    distance = 0.22 * min(height, width) if distance is None else distance
    if not 0.0 <= distance <= 0.3 * min(height, width):
        raise ValueError(
            f"expected distance between 0 and {0.3 * min(height, width):.1f}, or fog fills the "
            f"{height}x{width} image; got {distance}"
        )
    masks = np.zeros((n, height, width), np.int64)
    images, shot = np.zeros((2, n, 3, height, width))
    for i, rng in enumerate(generators(n, seed)):
        kind = 1 + (i + seed + swap) % 2  # as many boats as cars: guessing gives exactly one half
        blob, far = _blob(rng, height, width)
        ground = _grounds(rng, height, width)[kind - 1]
        clear = np.clip((far - distance - _BLUR_REACH) / 4.0, 0.0, 1.0)
        images[i] = clear * ground + (1.0 - clear) * _FOG
        images[i][:, blob] = rng.uniform(0.1, 0.9, (3, 1))
        masks[i][blob] = kind
        shot[i] = rng.standard_normal((3, height, width))
    return Scenes(
        images=to_images(blur(images, 0.5) + noise * shot),
        masks=torch.from_numpy(masks),
        class_names=("background", "boat", "car"),
    )


def _blob(rng: np.random.Generator, height: int, width: int) -> tuple[Mask, Array]:
    """A hull with a cabin on top (H, W), and how many pixels away from it every pixel lies."""
    y, x = grid(height, width)
    half = rng.uniform(0.07, 0.1) * min(height, width)
    cy, cx = rng.uniform(0.25, 0.75, 2) * (height, width)
    from_keel = np.hypot(np.maximum(np.abs(x - cx) - half, 0.0), y - cy) - 0.5 * half
    cabin = cy - 0.6 * half, cx + rng.uniform(-0.4, 0.4) * half
    from_cabin = np.hypot(y - cabin[0], x - cabin[1]) - 0.5 * half
    far = np.minimum(from_keel, from_cabin)
    return far < 0.0, far


def _grounds(rng: np.random.Generator, height: int, width: int) -> Array:
    """Water with waves and a road with gravel, (2, 3, H, W)."""
    y, x = grid(height, width)
    bend, phase = rng.uniform(0.15, 0.3), rng.uniform(0.0, 2 * np.pi)
    waves = np.sin(y * 0.9 + 2.0 * np.sin(bend * x + phase))
    gravel = blur(rng.standard_normal((height, width)), 0.7)
    grounds = np.reshape((_WATER, _ROAD), (2, 3, 1, 1)) * rng.uniform(0.85, 1.15, (2, 1, 1, 1))
    return grounds + np.stack((0.07 * waves, 0.25 * gravel))[:, None]
