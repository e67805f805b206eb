"""U-Net's tiles: which sizes a tile may have, what is left of it, and what a wrong margin costs.

Without padding each 3 x 3 convolution loses two pixels, so a tile of T pixels is labelled in its
middle only: T - 2 m pixels with m = 6 * 2^d - 4 for d poolings, 572 -> 388 for d = 4. Neighbouring
tiles overlap by 2 m, and beyond the edge of the image the margin is filled by mirroring.
Source: Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, arXiv:1505.04597, §2, Figures 1 and 2.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.demos.controls import Choice, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Box, Picture
from course.demos.unet_sizes import Path, Plan, border, legal_tiles, mirrored, path, plan

PLANE = (24.0, 62.0, 432.0, 470.0)
LEFT, RIGHT, CELL = 496, 776, 164


@lru_cache(maxsize=1)
def texture() -> NDArray[np.float64]:
    """A made-up slice of tissue, (192, 192) in [0, 1]: bright cells, dark membranes."""
    rng = np.random.default_rng(11)
    points = rng.uniform(0, 192, (46, 2))
    y, x = np.mgrid[:192, :192]
    x, y = x + 4 * np.sin(y / 15), y + 4 * np.sin(x / 13)
    distance = np.sort(np.hypot(x[..., None] - points[:, 0], y[..., None] - points[:, 1]), -1)
    membrane = 1 - np.exp(-((distance[..., 1] - distance[..., 0]) ** 2) / 12)
    return 0.2 + 0.62 * membrane + 0.05 * rng.standard_normal((192, 192))


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The image with its margin and tiles, and the sizes along the U."""
    image, tile, depth, margin = (state[k] for k in ("image", "tile", "depth", "margin"))
    route = path(tile, depth)
    _draw_path(sheet, route, depth)
    lost = border(depth)
    if route.stop is not None:
        _draw_plane(sheet, image, state["fill"], None, lost)
        below, above = legal_tiles(tile, depth)
        size = route.down[-1][-1]
        why = f"odd size {size}" if size % 2 and size > 2 else f"size {size}: nothing is left"
        sheet.rect((LEFT, 408, 940, 470), fill="vermilion", alpha=0.14, outline="vermilion")
        sheet.text((LEFT + 16, 428), f"Stops at level {route.stop}: {why}.", bold=True)
        sheet.text((LEFT + 16, 452), f"Legal nearby: {below} and {above}", size=17)
        return (
            f"A tile of {tile} is not legal: level {route.stop} gets to the {why}. "
            f"The nearest legal tiles are {below} and {above}."
        )
    out = route.up[-1][-1]
    step = tile - 2 * margin
    sheet.text((LEFT, 424), f"{tile} − 2 × {lost} = {out} pixels are labelled", bold=True)
    if step <= 0:
        _draw_plane(sheet, image, state["fill"], None, margin)
        sheet.text((LEFT, 454), f"but margins of {margin} leave no step", color="vermilion")
        return f"A tile of {tile} labels {out}; with margins of {margin} there is no step left."
    tiles = plan(image, tile, depth, margin)
    _draw_plane(sheet, image, state["fill"], tiles, margin)
    count = len(tiles.windows)
    cost = (count * tile / image) ** 2
    sheet.text((LEFT, 454), f"{count} × {count} tiles, {cost:.2f} × the pixels", size=17)
    words = (
        f"A tile of {tile} comes out as {out}; {count} x {count} of them label an image of {image} "
        f"and compute {cost:.2f} times its pixels. "
    )
    if tiles.missing:
        share = 1 - (1 - tiles.missing / image) ** 2
        sheet.text((940, 454), f"{share:.0%} unlabelled", color="vermilion", bold=True, anchor="rm")
        return words + (
            f"Margins of {margin} instead of {lost} leave {share:.0%} of the image without a label."
        )
    if margin > lost:
        return words + f"Margins of {margin} instead of {lost} label strips twice."
    beyond = "mirrored pixels" if state["fill"] == "mirror" else "zeros it never saw in training"
    words += f"Beyond the edge it sees {beyond}."
    rest = step % 2**depth
    if rest and count > 1:
        words += f" Steps of {step} shift the pooling grid: {step} = {rest} modulo {2**depth}."
    return words


def _draw_path(sheet: Picture, route: Path, depth: int) -> None:
    sheet.text((LEFT, 30), "Sizes through the network", size=20, bold=True)
    tall = 34
    gap = min(110.0, 296 / depth)
    for level in range(depth + 1):
        y = 64 + level * gap
        bottom = level == depth
        left = (LEFT + RIGHT) / 2 if bottom else LEFT
        known = level < len(route.down)
        stopped = route.stop == level
        _sizes(sheet, (left, y), route.down[level] if known else None, stopped)
        if bottom:
            break
        if level == depth - 1:  # around the corner to the bottom and back
            middle, inner = y + gap + tall / 2, (LEFT + RIGHT) / 2
            sheet.line([(LEFT + 40, y + tall + 2), (LEFT + 40, middle)], "muted")
            sheet.arrow((LEFT + 39, middle), (inner - 4, middle), "muted", head=8)
            sheet.line([(inner + CELL + 3, middle), (RIGHT + 125, middle)], "muted")
        else:
            sheet.arrow((LEFT + 40, y + tall + 2), (LEFT + 40, y + gap - 3), "muted", head=8)
        sheet.text((LEFT + 52, y + tall + (gap - tall) / 2), "÷ 2", size=16, color="muted")
        up = route.up[depth - 1 - level] if route.up else None
        _sizes(sheet, (RIGHT, y), up, False)
        foot = y + gap + (tall / 2 if level == depth - 1 else -3)
        sheet.arrow((RIGHT + 124, foot), (RIGHT + 124, y + tall + 2), "muted", head=8)
        sheet.text((RIGHT + 112, y + tall + (gap - tall) / 2), "× 2", size=16, color="muted",
                   anchor="rm")  # fmt: skip
        middle = y + tall / 2
        sheet.arrow((LEFT + CELL + 6, middle + 8), (RIGHT - 6, middle + 8), "green", head=9)
        if up is not None:
            crop = (route.down[level][-1] - up[0]) // 2
            sheet.text(((LEFT + CELL + RIGHT) / 2, middle - 5), f"crop {crop}", size=16,
                       color="green", anchor="mm")  # fmt: skip


def _sizes(
    sheet: Picture, corner: tuple[float, float], sizes: tuple[int, ...] | None, stopped: bool
) -> None:
    x, y = corner
    box = (x, y, x + CELL, y + 34)
    color = "vermilion" if stopped else "blue" if sizes else "faint"
    sheet.rect(box, fill=color if sizes else "panel", alpha=0.16 if sizes else 1, outline=color)
    for i, size in enumerate(sizes or ("–", "–", "–")):
        last = stopped and i == 2
        sheet.text(
            (x + CELL * (i + 0.5) / 3, y + 17), size, size=18, anchor="mm", bold=last,
            color="vermilion" if last else "ink" if sizes else "muted",
        )  # fmt: skip


def _draw_plane(sheet: Picture, image: int, fill: str, tiles: Plan | None, margin: int) -> None:
    low = min(-margin, tiles.windows[0][0] if tiles else 0)
    high = max(image + margin, tiles.windows[-1][1] if tiles else 0)
    scale = (PLANE[2] - PLANE[0]) / (high - low)

    def place(box: Box) -> tuple[float, ...]:
        return tuple(PLANE[i % 2] + (v - low) * scale for i, v in enumerate(box))

    sheet.text((24, 30), f"Image of {image} × {image} and its margin", size=20, bold=True)
    index = mirrored(low, high, image, 408)
    cells = texture()[np.ix_(*[index * 192 // image] * 2)]
    where = low + (np.arange(408) + 0.5) / scale
    inside = (where >= 0) & (where < image)
    outside = ~(inside[:, None] & inside)
    sheet.image(PLANE, cells if fill == "mirror" else np.where(outside, 0, cells))
    sheet.overlay(PLANE, outside, "paper", alpha=0.5)
    whole = place((0, 0, image, image))
    if tiles is not None:
        _draw_tiles(sheet, image, tiles, place, scale)
    sheet.rect(whole, outline="paper", width=6)
    sheet.rect(whole, outline="ink", width=3)


def _draw_tiles(sheet: Picture, image: int, tiles: Plan, place: Any, scale: float) -> None:
    seen = np.zeros(image, bool)
    for a, b in tiles.labelled:
        seen[max(a, 0) : max(b, 0)] = True
    if tiles.missing:
        gaps = np.flatnonzero(np.diff(np.r_[False, ~seen, False].astype(int)))
        for a, b in zip(gaps[::2], gaps[1::2]):
            for box in ((a, 0, b, image), (0, a, image, b)):
                sheet.rect(place(box), fill="vermilion", alpha=0.85)
    ends = [(max(a, 0), min(b, image)) for a, b in tiles.labelled]
    if (ends[0][1] - ends[0][0]) * scale >= 6:
        for a, b in ends:
            for c, d in ends:
                sheet.rect(place((a, c, b, d)), outline="yellow", width=1.5)
    colors = (("orange", 0), ("sky", 7))
    for i, ((window, kept), (color, dash)) in enumerate(zip(zip(tiles.windows, ends), colors)):
        first = tiles.windows[0], ends[0]
        part = place((kept[0], first[1][0], kept[1], first[1][1]))
        sheet.rect(part, fill=color, alpha=0.42)
        if min(part[2] - part[0], part[3] - part[1]) > 20:
            middle = ((part[0] + part[2]) / 2, (part[1] + part[3]) / 2)
            sheet.text(middle, i + 1, size=24, bold=True, anchor="mm", halo=True)
        corners = (window[0], first[0][0], window[1], first[0][1])
        sheet.rect(place(corners), outline="paper", width=5)
        sheet.rect(place(corners), outline=color, width=3.5, dash=dash)


DEMO = Demo(
    name="unet_tiles",
    title="U-Net's tiles",
    lab=8,
    idea="Change the tile, the margin and the number of poolings. Full colour is what a tile "
    "labels, the frame is what it has to see.",
    predict=(
        "The published tile of 572 pixels labels 388. Does a tile of 570 label 386?",
        "It labels nothing: 570 becomes 283 after the first pooling, 279 after two convolutions, "
        "and an odd size cannot be halved. Only one size in sixteen is legal.",
    ),
    controls=(
        Slider("image", "Image, pixels a side", 512, 128, 1408, 4),
        Slider("tile", "Tile, pixels a side", 572, 92, 956, 2),
        Slider("margin", "Planned margin, pixels", 92, 0, 120, 4),
        Slider("depth", "Poolings", 4, 1, 4),
        Choice("fill", "Beyond the edge", "mirror", ("mirror", "zeros")),
    ),
    draw=draw,
    stills=(
        Still("The published tile: 572 becomes 388", {}),
        Still("Tiles of 570 stop half way", {"tile": 570}),
        Still("Margins planned too small leave strips", {"margin": 60, "image": 1000}),
        Still("Small tiles pay mostly for margin", {"tile": 252}),
        Still("Two poolings need less margin", {"depth": 2, "tile": 236, "margin": 20}),
    ),
    source="Ronneberger et al. 2015, §2, arXiv:1505.04597; module course.geometry, course.tiling",
)
