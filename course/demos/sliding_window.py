"""A window slides over a scene: one call of a classifier per position and scale.

A window of k pixels that moves by s pixels fits floor((L - k) / s) + 1 times along L pixels. The
window keeps its size; larger objects are found because the image shrinks, level i to
round(L * scale^i) pixels. The classifier here is arithmetic: the correlation of the window, brought
to mean 0 and deviation 1, with a bright disc.
Source: Rowley, Baluja and Kanade 1998, §2.1; Viola and Jones 2001.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image

from course.demos.controls import Area, Choice, Slider
from course.demos.demo import Demo, Still
from course.demos.nms import overlaps, suppress
from course.demos.picture import Picture

Array = NDArray[Any]
WIDTH, HEIGHT = 96, 72  # of the scene, pixels
AREA = Area(left=24, top=60, width=WIDTH, height=HEIGHT, scale=5)
MAPS = (540, 60)  # corner of the score maps
THRESHOLD, OVERLAP = 0.7, 0.3
PHOTO = (768, 1024)  # height and width of the photograph that the count is also made for
NO_PYRAMID, BOTH = "one size", "all"

# Discs (x, y, radius) and squares (x, y, half side) of the scene, pixels.
DISCS = ((12, 13, 5), (73, 12, 5), (34, 22, 7), (78, 43, 10), (24, 52, 14.5))
SQUARES = ((54, 16, 5), (54, 56, 8))


@lru_cache(maxsize=1)
def scene() -> NDArray[np.float32]:
    """The image (72, 96) in [0, 1]: discs to find, squares that look alike, and noise.

    >>> scene().shape, bool(scene()[52, 24] > scene()[52, 6])
    ((72, 96), True)
    """
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    image = 0.25 + 0.1 * x / WIDTH
    for cx, cy, r in DISCS:
        image += 0.5 * np.clip(r - np.hypot(x - cx, y - cy) + 0.5, 0, 1)
    for cx, cy, r in SQUARES:
        far = np.maximum(np.abs(x - cx), np.abs(y - cy))
        image += 0.45 * np.clip(r - far + 0.5, 0, 1)
    image += 0.05 * np.random.default_rng(5).standard_normal(image.shape)
    return np.clip(image, 0, 1).astype(np.float32)


def level_sizes(height: int, width: int, size: int, scale: float | None) -> list[tuple[int, int]]:
    """(height, width) of every pyramid level that still holds a window; None is no pyramid.

    >>> level_sizes(72, 96, 12, 0.5)
    [(72, 96), (36, 48), (18, 24)]
    """
    sizes, this = [], (height, width)
    while min(this) >= size:
        sizes.append(this)
        if scale is None:
            break
        this = (round(height * scale ** len(sizes)), round(width * scale ** len(sizes)))
    return sizes


def grid_shape(height: int, width: int, size: int, stride: int) -> tuple[int, int]:
    """Rows and columns of windows.

    >>> grid_shape(72, 96, 12, 2)
    (31, 43)
    """
    return (max(height - size, -1) // stride + 1, max(width - size, -1) // stride + 1)


def calls(height: int, width: int, size: int, stride: int, scale: float | None) -> int:
    """Windows of an image on all levels: so often the classifier is asked.

    >>> calls(72, 96, 12, 2, None), calls(768, 1024, 12, 1, None)
    (1333, 766841)
    """
    shapes = [grid_shape(h, w, size, stride) for h, w in level_sizes(height, width, size, scale)]
    return sum(rows * columns for rows, columns in shapes)


def disc_pattern(size: int) -> Array:
    """A disc of 5/6 of the window's side, with mean 0 and deviation 1: (size, size).

    >>> pattern = disc_pattern(12)
    >>> abs(float(pattern.mean())) < 1e-12, round(float(pattern.std()), 6)
    (True, 1.0)
    """
    middle = np.arange(size) - (size - 1) / 2
    disc = np.clip(size * 5 / 12 - np.hypot(middle[:, None], middle) + 0.5, 0, 1)
    return (disc - disc.mean()) / disc.std()


def score_map(image: Array, size: int, stride: int) -> Array:
    """Correlation in [-1, 1] of every normalised window of (h, w) with the disc: (rows, columns).

    >>> score_map(np.zeros((6, 9)), 4, 2).shape
    (2, 3)
    """
    windows = sliding_window_view(np.asarray(image, float), (size, size))[::stride, ::stride]
    match = np.einsum("abij,ij->ab", windows, disc_pattern(size)) / size**2
    mean = np.einsum("abij->ab", windows) / size**2
    square = np.einsum("abij,abij->ab", windows, windows) / size**2
    return match / np.sqrt(np.maximum(square - mean**2, 1e-12))


@lru_cache(maxsize=64)
def scan(size: int, stride: int, scale: float | None) -> tuple[Array, ...]:
    """Score maps of the scene, one per level, from large to small."""
    whole = Image.fromarray(scene())
    sizes = level_sizes(HEIGHT, WIDTH, size, scale)
    levels = [whole.resize((w, h), Image.Resampling.BILINEAR) for h, w in sizes]  # anti-aliased
    return tuple(score_map(np.asarray(level), size, stride) for level in levels)


def window(size: int, stride: int, scale: float | None, level: int, cell: int) -> list[float]:
    """The window of a cell (counted row by row on its level) as a box in pixels of the scene.

    >>> window(12, 2, 0.5, 1, 0)
    [0.0, 0.0, 24.0, 24.0]
    """
    h, w = level_sizes(HEIGHT, WIDTH, size, scale)[level]
    row, column = divmod(cell, grid_shape(h, w, size, stride)[1])
    x, y, across, down = column * stride, row * stride, WIDTH / w, HEIGHT / h
    return [x * across, y * down, (x + size) * across, (y + size) * down]


def detect(size: int, stride: int, scale: float | None, done: int) -> tuple[Array, Array]:
    """Boxes (N, 4) and scores (N,) of the windows above the threshold among the first `done`."""
    boxes, scores = [], []
    for level, level_scores in enumerate(scan(size, stride, scale)):
        flat = level_scores.ravel()[: max(done, 0)]
        done -= level_scores.size
        for cell in np.flatnonzero(flat > THRESHOLD).tolist():
            boxes.append(window(size, stride, scale, level, cell))
            scores.append(float(flat[cell]))
    return np.array(boxes, float).reshape(-1, 4), np.array(scores, float)


def judge(boxes: Array) -> tuple[int, int]:
    """How many discs have a box of IoU 0.5 or more, and how many boxes have no such disc.

    >>> judge(np.array([[7, 8, 17, 18], [40, 40, 50, 50]]))
    (1, 1)
    """
    truth = [(x - r, y - r, x + r, y + r) for x, y, r in DISCS]
    met = overlaps([*truth, *np.asarray(boxes).tolist()])[: len(DISCS), len(DISCS) :] >= 0.5
    return int(met.any(1).sum()), int((~met.any(0)).sum())


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The scene with the window and the boxes so far, the score maps, and the bill."""
    size, stride = state["size"], state["stride"]
    scale = None if state["scale"] == NO_PYRAMID else float(state["scale"])
    maps, sizes = scan(size, stride, scale), level_sizes(HEIGHT, WIDTH, size, scale)
    total, photo = sum(m.size for m in maps), calls(*PHOTO, size, stride, scale)
    done = max(1, round(total * state["progress"] / 100))
    boxes, scores = detect(size, stride, scale, done)
    kept = boxes[[i for i, fate in suppress(boxes, scores, OVERLAP).items() if fate.kept]]
    hits, alarms = judge(kept)
    before = np.cumsum([0, *(m.size for m in maps)])
    level = int(np.searchsorted(before, done)) - 1
    now = window(size, stride, scale, level, done - 1 - int(before[level]))
    _draw_scene(sheet, boxes if state["boxes"] == BOTH else kept, now if done < total else None)
    verdict = f"{hits} of {len(DISCS)} discs, {_many(alarms, 'false alarm')}"
    summary = f"{len(boxes)} → {_many(len(kept), 'box')}: {verdict}"
    sheet.text((24, 446), summary, size=19, bold=True)
    _draw_maps(sheet, maps, sizes, done)
    sheet.text((MAPS[0], 392), f"{done:,}", size=34, bold=True, color="blue")
    beside = MAPS[0] + sheet.text_width(f"{done:,}", size=34, bold=True) + 12
    sheet.text((beside, 396), f"of {total:,} calls", size=20)
    sheet.text((MAPS[0], 446), f"A photo of 1024 × 768: {photo:,}", size=20)
    only = "" if state["boxes"] == BOTH else ", drawn alone"
    return (
        f"{done:,} of {total:,} classifier calls: windows of {size} pixels, {stride} apart, on "
        f"{_many(len(maps), 'scale')}. {_many(len(boxes), 'window')} above {THRESHOLD}, "
        f"{len(kept)} after suppression{only}: {verdict}. "
        f"A photograph of 1024 × 768 would need {photo:,} calls."
    )


def _draw_scene(sheet: Picture, boxes: Array, now: list[float] | None) -> None:
    sheet.text((24, 32), "Where are the discs?", size=20, bold=True)
    sheet.image(AREA.box, scene())
    for box in boxes:
        sheet.rect(AREA.place_box(box), outline=(255, 255, 255), width=3.5)
        sheet.rect(AREA.place_box(box), outline=(213, 94, 0), width=2)
    if now:
        place = AREA.place_box(now)
        sheet.rect(place, fill=(240, 228, 66), alpha=0.35, outline=(0, 0, 0), width=5)
        sheet.rect(place, outline=(240, 228, 66), width=3)


def _draw_maps(
    sheet: Picture, maps: tuple[Array, ...], sizes: list[tuple[int, int]], done: int
) -> None:
    """Every level's map, as wide as its image: from left to right, in rows."""
    sheet.text((MAPS[0], 32), "Scores, one cell a window", size=20, bold=True)
    unit = 4.0 if len(maps) == 1 else 2.2
    x, y = MAPS
    shelf = 0.0
    for scores, (h, w) in zip(maps, sizes):
        if x + w * unit > 944:
            x, y, shelf = MAPS[0], y + shelf + 10, 0.0
        box = (x, y, x + w * unit, y + h * unit)
        known = np.arange(scores.size).reshape(scores.shape) < done
        sheet.image(box, scores, low=-0.4, high=1.0, map="heat")
        sheet.overlay(box, ~known, "panel", alpha=1.0)
        sheet.rect(box, outline="faint", width=1.5)
        done -= scores.size
        x, shelf = box[2] + 10, max(shelf, h * unit)


def _many(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 'es' if what == 'box' else 's'}"


DEMO = Demo(
    name="sliding_window",
    title="Sliding window",
    lab=1,
    idea="Scan the scene. Then halve the step, add smaller scales, and read the bill.",
    predict=(
        "The step goes from 2 pixels to 1. How many more calls does the classifier get?",
        "About four times as many: twice the rows, and twice the columns.",
    ),
    controls=(
        Slider("progress", "Scanned", 60, 0, 100, 1, "%"),
        Slider("size", "Window", 12, 8, 24, 2, "pixels"),
        Slider("stride", "Step", 2, 1, 12, 1, "pixels"),
        Choice("scale", "Pyramid", NO_PYRAMID, (NO_PYRAMID, "0.7", "0.5")),
        Choice("boxes", "Boxes", BOTH, (BOTH, "after suppression")),
    ),
    draw=draw,
    stills=(
        Still("One window, one call", {"progress": 4}),
        Still("One size finds the small discs", {"progress": 100}),
        Still("A pyramid finds the others", {"progress": 100, "scale": "0.7"}),
        Still("One box each", {"progress": 100, "scale": "0.7", "boxes": "after suppression"}),
        Still("Half the step, four times as many", {"progress": 100, "scale": "0.7", "stride": 1}),
    ),
    source="Rowley et al. 1998, §2.1; Viola and Jones 2001; module course.windows",
)
