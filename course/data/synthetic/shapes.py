"""Shapes on a plain ground: thin lines that a coarse net loses, and objects to put boxes around.

`lines` holds discs and lines of two pixels. Both have the same brightness, so only the shape tells
them apart, and a score map at an eighth of the resolution cannot draw the lines: the scene for skip
connections [Long et al. 2015, §4.2], for unpooling and for atrous convolution. `boxes` holds one to
three objects, each with its box: the scene for detectors [Redmon et al. 2016, §2].
"""

from __future__ import annotations

import numpy as np
import torch

from course.data.container import Scenes
from course.data.synthetic._canvas import (
    Mask,
    Size,
    blur,
    check_range,
    check_size,
    check_unit,
    generators,
    grid,
    to_images,
)

_SQRT3 = 3.0**0.5


def lines(
    n: int,
    size: Size = 64,
    *,
    seed: int = 0,
    count: tuple[int, int] = (2, 4),
    discs: tuple[int, int] = (1, 3),
    thickness: float = 2.0,
    contrast: float = 0.5,
    noise: float = 0.06,
) -> Scenes:
    """Grey images of bright discs and thin straight lines; a disc hides the lines behind it.

    Args:
        n: number of images.
        size: side of a square image or (H, W), at least 24 pixels.
        seed: same seed, same bytes.
        count: least and greatest number of lines in an image.
        discs: least and greatest number of discs in an image.
        thickness: width of a line in pixels.
        contrast: brightness of the shapes above the ground.
        noise: standard deviation of the noise.

    Returns:
        `Scenes` with images (N, 1, H, W) and masks (0 background, 1 disc, 2 line).

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> scenes = lines(3, (32, 48), seed=1)
        >>> scenes.images.shape, scenes.masks.unique().tolist()
        (torch.Size([3, 1, 32, 48]), [0, 1, 2])
    """
    height, width = check_size(n, size, least=24)
    check_unit(contrast=contrast, noise=noise)
    check_range(count=count, discs=discs)
    if not 1.0 <= thickness <= min(height, width) / 4:
        raise ValueError(f"expected thickness between 1 and a quarter image; got {thickness}")
    masks = np.zeros((n, height, width), np.int64)
    light, shot = np.zeros((2, n, height, width))
    for i, rng in enumerate(generators(n, seed)):
        light[i] = 0.25
        drawn = [(2, _line(rng, height, width, thickness)) for _ in range(_draw(rng, count))]
        drawn += [(1, _disc(rng, height, width)) for _ in range(_draw(rng, discs))]
        for label, shape in drawn:
            masks[i][shape] = label
            light[i][shape] = 0.25 + contrast * rng.uniform(0.8, 1.2)
        shot[i] = rng.standard_normal((height, width))
    images = blur(light, 0.5) + noise * shot
    return Scenes(
        images=to_images(images[:, None]),
        masks=torch.from_numpy(masks),
        class_names=("background", "disc", "line"),
    )


def boxes(
    n: int,
    size: Size = 48,
    *,
    seed: int = 0,
    count: tuple[int, int] = (1, 3),
    radius: tuple[float, float] = (5.0, 9.0),
    noise: float = 0.05,
) -> Scenes:
    """Colour images of discs, squares and triangles that do not overlap, each with its tight box.

    Args:
        n: number of images.
        size: side of a square image or (H, W), at least 24 pixels.
        seed: same seed, same bytes.
        count: least and greatest number of objects in an image; fewer where no room is left.
        radius: least and greatest half extent of an object in pixels.
        noise: standard deviation of the noise.

    Returns:
        `Scenes` with images (N, 3, H, W), masks, instances, boxes and labels; labels and masks
        count the classes alike: 0 background, 1 disc, 2 square, 3 triangle.

    Raises:
        ValueError: an argument is out of its range.

    Example:
        >>> scenes = boxes(2, (32, 48), seed=4)
        >>> [len(rows) for rows in scenes.boxes], scenes.labels[0].tolist()
        ([3, 2], [1, 3, 3])
    """
    height, width = check_size(n, size, least=24)
    check_unit(noise=noise)
    check_range(count=count)
    if not 3.0 <= radius[0] <= radius[1] <= min(height, width) / 2 - 1:
        raise ValueError(
            "expected radius (least, greatest) between 3 and half the image less a pixel; "
            f"got {radius}"
        )
    masks, instances = np.zeros((2, n, height, width), np.int64)
    images, shot = np.zeros((2, n, 3, height, width))
    corners, labels = [], []
    for i, rng in enumerate(generators(n, seed)):
        images[i] = rng.uniform(0.1, 0.35, (3, 1, 1))
        kinds: list[int] = []
        for y, x, r in _apart(rng, height, width, _draw(rng, count), radius):
            kinds.append(int(rng.integers(1, 4)))
            shape = _solid(kinds[-1], height, width, y, x, r)
            masks[i][shape], instances[i][shape] = kinds[-1], len(kinds)
            images[i][:, shape] = rng.uniform(0.45, 0.95, (3, 1))
        tight = [_extent(instances[i] == k + 1) for k in range(len(kinds))]
        corners.append(torch.tensor(tight, dtype=torch.float32).reshape(-1, 4))
        labels.append(torch.tensor(kinds, dtype=torch.int64))
        shot[i] = rng.standard_normal((3, height, width))
    return Scenes(
        images=to_images(blur(images, 0.5) + noise * shot),
        masks=torch.from_numpy(masks),
        instances=torch.from_numpy(instances),
        boxes=tuple(corners),
        labels=tuple(labels),
        class_names=("background", "disc", "square", "triangle"),
    )


def _draw(rng: np.random.Generator, least_and_greatest: tuple[int, int]) -> int:
    return int(rng.integers(*least_and_greatest, endpoint=True))


def _disc(rng: np.random.Generator, height: int, width: int) -> Mask:
    """A disc anywhere in the image, a tenth to a sixth of it in radius."""
    y, x = grid(height, width)
    radius = rng.uniform(0.1, 0.17) * min(height, width)
    cy, cx = rng.uniform(radius, (height - radius, width - radius))
    return np.hypot(y - cy, x - cx) < radius


def _line(rng: np.random.Generator, height: int, width: int, thickness: float) -> Mask:
    """A straight segment, half to one and a half image sides long."""
    y, x = grid(height, width)
    side = min(height, width)
    cy, cx = rng.uniform(0.2, 0.8, 2) * (height, width)
    angle, half = rng.uniform(0.0, np.pi), rng.uniform(0.25, 0.75) * side
    along = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
    across = (y - cy) * np.cos(angle) - (x - cx) * np.sin(angle)
    return (np.abs(along) < half) & (np.abs(across) < thickness / 2)


def _apart(
    rng: np.random.Generator, height: int, width: int, count: int, radius: tuple[float, float]
) -> list[tuple[float, float, float]]:
    """Up to `count` circles (y, x, r) inside the image that do not touch one another."""
    placed: list[tuple[float, float, float]] = []
    for _ in range(30 * count):
        r = rng.uniform(*radius)
        y, x = rng.uniform(r, (height - r, width - r))
        if all(max(abs(y - v), abs(x - u)) > r + q + 1 for v, u, q in placed):
            placed.append((y, x, r))
        if len(placed) == count:
            break
    return placed


def _solid(kind: int, height: int, width: int, cy: float, cx: float, r: float) -> Mask:
    """A disc (1), a square (2) or a triangle (3) inside the square of half side r at (cy, cx)."""
    y, x = grid(height, width)
    dy, dx = y - cy, np.abs(x - cx)
    if kind == 1:
        return np.hypot(dy, dx) < r
    if kind == 2:
        return (np.abs(dy) < 0.9 * r) & (dx < 0.9 * r)
    return (dy < 0.75 * r) & (dx * _SQRT3 < dy + r)


def _extent(shape: Mask) -> list[float]:
    """The tight box (x0, y0, x1, y1) of a mask, half-open."""
    rows, columns = np.flatnonzero(shape.any(1)), np.flatnonzero(shape.any(0))
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]
