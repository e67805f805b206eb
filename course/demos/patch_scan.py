"""Patch by patch or all at once: click a pixel to see how far the scan has come and what it cost.

Patch-by-patch scanning labels a pixel by running a network on the k × k window around it. Windows
of neighbours share almost everything, so the same convolutions are done again and again: a pixel
inside the image lies in (k / s)² windows where every s-th pixel is labelled. One pass over the
whole image computes each of them once and gives the same numbers, because nothing inside the
network pads. Here it is a chain of n = (k - 1) / 2 convolutions 3 × 3; on m × m samples layer l
needs

    9 · C(l-1) · C(l) · (m - 2 l)²   multiply-accumulates.

Source: Cireşan et al. 2012, §2 (scanning); Giusti et al. 2013, §2, and Long et al. 2015, §3.1.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from course.demos.charts import bars
from course.demos.controls import Area, Point, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

SIDE = 24  # side of the image, pixels
WIDEST = 15
MAPS, CLASSES = 8, 2
MARGIN = WIDEST // 2  # mirrored pixels around the image that the widest window reads
SCALE = 9
AREA = Area(left=24 + MARGIN * SCALE, top=56 + MARGIN * SCALE, width=SIDE, height=SIDE, scale=SCALE)
SHIFT = 376  # from the image to the map of counts
PANEL = (24, 56, 24 + (SIDE + 2 * MARGIN) * SCALE, 56 + (SIDE + 2 * MARGIN) * SCALE)


class Cost(NamedTuple):
    """What a scan needs.

    Attributes:
        done, patches: windows up to the clicked pixel, and of the whole image.
        patch: multiply-accumulates of one window.
        dense: of one pass over the mirrored image, which labels every pixel.
    """

    done: int
    patches: int
    patch: int
    dense: int


def channels(k: int) -> list[int]:
    """Maps before the first and after every 3 × 3 convolution of a network with window k.

    >>> channels(7)
    [1, 8, 8, 2]
    """
    return [1, *[MAPS] * ((k - 1) // 2 - 1), CLASSES]


def macs(size: int, k: int) -> int:
    """Multiply-accumulates of the network with window k on an image of size × size, unpadded.

    >>> macs(3, 3), macs(5, 5)  # 9 taps to 2 maps; 9 positions of 9 taps to 8 maps, then 8 to 2
    (18, 792)
    """
    maps = channels(k)
    sides = [size - 2 * layer for layer in range(1, len(maps))]
    return sum(9 * a * b * side**2 for a, b, side in zip(maps, maps[1:], sides))


def cost(k: int, stride: int, pixel: tuple[int, int]) -> Cost:
    """Windows and multiply-accumulates of the scan in reading order up to `pixel` = (x, y).

    >>> cost(5, 4, (8, 4))
    Cost(done=9, patches=36, patch=792, dense=131616)
    """
    per_row = -(-SIDE // stride)
    column, row = pixel[0] // stride, pixel[1] // stride
    return Cost(row * per_row + column + 1, per_row**2, macs(k, k), macs(SIDE + k - 1, k))


def visits(k: int, stride: int, done: int) -> NDArray[np.int64]:
    """How many of the first `done` windows hold each pixel of the mirrored image.

    Returns (SIDE + k - 1, SIDE + k - 1): the pixel (y, x) of the image is at (y + k // 2, ...).

    >>> int(visits(3, 3, 64).max()), int(visits(3, 1, 576)[5, 5])
    (1, 9)
    """
    per_row = -(-SIDE // stride)
    full, rest = divmod(done, per_row)
    axis = sum((_window(i * stride, k) for i in range(per_row)), np.zeros(SIDE + k - 1, np.int64))
    part = sum((_window(i * stride, k) for i in range(rest)), np.zeros(SIDE + k - 1, np.int64))
    rows = sum((_window(i * stride, k) for i in range(full)), np.zeros(SIDE + k - 1, np.int64))
    return np.outer(rows, axis) + np.outer(_window(full * stride, k), part) * bool(rest)


def _window(start: int, k: int) -> NDArray[np.int64]:
    """Which samples of the mirrored axis a window at `start` holds: 0 or 1 for each."""
    at = np.arange(SIDE + k - 1)
    return ((start <= at) & (at < start + k)).astype(np.int64)


@lru_cache
def scene() -> NDArray[np.float64]:
    """The image (SIDE, SIDE) in [0, 1]: a disc and a line of the same grey, as in lab 5."""
    y, x = np.mgrid[:SIDE, :SIDE] + 0.5
    disc = np.clip(5.5 - np.hypot(x - 8, y - 9), 0, 1)
    line = np.clip(1.6 - np.abs((x - 12) * 0.55 - (y - 15) * 0.83), 0, 1)
    ripple = 0.05 * np.sin(1.7 * x + 0.6 * y) * np.cos(0.9 * y)
    return np.clip(0.28 + 0.5 * np.maximum(disc, line) + ripple, 0, 1)


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The image with the window at hand, the visits so far, and both bills."""
    k, stride, pixel = state["window"], state["stride"], state["pixel"]
    bill = cost(k, stride, pixel)
    counts = visits(k, stride, bill.done)
    spent, whole = bill.done * bill.patch, bill.patches * bill.patch
    at = (pixel[0] // stride * stride, pixel[1] // stride * stride)
    _draw_image(sheet, k, stride, at)
    _draw_visits(sheet, k, counts, at)
    _draw_bill(sheet, bill, counts)
    often = f"up to {counts.max()} times" if counts.max() > 1 else "at most once"
    ratio = whole / bill.dense
    saved = f"{ratio:.1f} times less" if ratio >= 1 else f"{1 / ratio:.1f} times more"
    every = f" around every {_ordinal(stride)} pixel" if stride > 1 else ""
    return (
        f"{bill.done} of {bill.patches} windows of {k} × {k} pixels{every} done; a pixel is read "
        f"{often}. Million multiply-accumulates: {spent / 1e6:.2f} so far, {whole / 1e6:.2f} for "
        f"the whole scan, {bill.dense / 1e6:.2f} for one pass, {saved}."
    )


def _ordinal(stride: int) -> str:
    return ("second", "third", "fourth", "fifth", "sixth")[stride - 2]


def _draw_image(sheet: Picture, k: int, stride: int, at: tuple[int, int]) -> None:
    sheet.text((24, 28), f"The window of pixel ({at[0]}, {at[1]})", size=20, bold=True)
    half = k // 2
    sheet.rect(PANEL, fill="panel")
    inside = AREA.place_box((-half, -half, SIDE + half, SIDE + half))
    sheet.image(inside, np.pad(scene(), half, mode="reflect"), low=0, high=1)
    for edge in (  # the mirrored frame, paler than the image
        (-half, -half, SIDE + half, 0),
        (-half, SIDE, SIDE + half, SIDE + half),
        (-half, 0, 0, SIDE),
        (SIDE, 0, SIDE + half, SIDE),
    ):
        sheet.rect(AREA.place_box(edge), fill="paper", alpha=0.45)
    sheet.rect(AREA.box, outline="sky", width=2)
    if stride > 1:
        for y in range(0, SIDE, stride):
            for x in range(0, SIDE, stride):
                sheet.circle(AREA.place(x + 0.5, y + 0.5), 2, fill="yellow")
    box = (at[0] - half, at[1] - half, at[0] + half + 1, at[1] + half + 1)
    sheet.rect(AREA.place_box(box), fill="orange", alpha=0.3, outline="orange", width=4)
    sheet.rect(AREA.place_box((*at, at[0] + 1, at[1] + 1)), fill="vermilion", outline="paper")


def _draw_visits(sheet: Picture, k: int, counts: NDArray[np.int64], at: tuple[int, int]) -> None:
    sheet.text((24 + SHIFT, 28), "Times that each pixel was read", size=20, bold=True)
    half, place = k // 2, Area(AREA.left + SHIFT, AREA.top, SIDE, SIDE, SCALE)
    sheet.rect((PANEL[0] + SHIFT, PANEL[1], PANEL[2] + SHIFT, PANEL[3]), fill="panel")
    box = place.place_box((-half, -half, SIDE + half, SIDE + half))
    sheet.image(box, counts, low=0, high=max(int(counts.max()), 2), map="heat")
    sheet.rect(place.box, outline="sky", width=2)
    window = (at[0] - half, at[1] - half, at[0] + half + 1, at[1] + half + 1)
    sheet.rect(place.place_box(window), outline="orange", width=4)
    for share in (0.25, 0.55, 0.85):  # three numbers down the middle, so that colour is not alone
        row = round(share * (len(counts) - 1))
        x, y = place.place(SIDE / 2, row - half + 0.5)
        value = int(counts[row, len(counts) // 2])
        sheet.text((x, y), value, size=18, anchor="mm", bold=True, halo=True)


def _draw_bill(sheet: Picture, bill: Cost, counts: NDArray[np.int64]) -> None:
    x, saved = 24 + 2 * SHIFT - 6, bill.patches * bill.patch / bill.dense
    outcome = (f"{saved:.1f} ×", "cheaper: one pass,", "the same numbers")
    if saved < 1:
        outcome = (f"{1 / saved:.1f} ×", "dearer: one pass,", "but for all pixels")
    for y, number, *words in (
        (56, f"{bill.done}", f"of {bill.patches} windows"),
        (134, f"{counts.max()} ×", "read at most"),
        (212, f"{bill.dense / bill.patch:.1f}", "windows cost as", "much as one pass"),
        (310, *outcome),
    ):
        sheet.text((x, y + 16), number, size=30, bold=True)
        for line, word in enumerate(words):
            sheet.text((x, y + 44 + 21 * line), word, size=17, color="muted")
    values = (bill.done * bill.patch, bill.patches * bill.patch, bill.dense)
    sheet.text((24, 422), "Million multiply-accumulates", size=18, bold=True)
    bars(
        sheet,
        (24, 438, 940, 548),
        ("scan so far", "whole scan", "one pass"),
        [value / 1e6 for value in values],
        high=max(values) / 1e6,
        colors=("orange", "vermilion", "blue"),
    )


DEMO = Demo(
    name="patch_scan",
    title="Patch by patch, or one pass",
    lab=5,
    idea=(
        "Click a pixel: the scan has come so far, in reading order. Watch how often each pixel is "
        "read, and where the bill of one pass over the whole image is overtaken."
    ),
    predict=(
        "Windows of 15 × 15 pixels, 576 of them. After how many windows has the scan cost as much "
        "as one pass that labels all 576 pixels?",
        "After 16: nearly all that the other 560 windows compute has been computed before.",
    ),
    controls=(
        Point("pixel", "Pixel that the scan has reached", (10, 9), AREA),
        Slider("window", "Window", 9, 3, WIDEST, 2, "px"),
        Slider("stride", "Label every n-th pixel, n", 1, 1, 6),
    ),
    draw=draw,
    stills=(
        Still("One window: nothing is done twice", {"pixel": (0, 0)}),
        Still("Row by row, each pixel is read again and again", {}),
        Still("The whole image", {"pixel": (23, 23)}),
        Still("Wider windows see more and repeat more", {"pixel": (23, 23), "window": 15}),
        Still("Every sixth pixel: little overlap", {"pixel": (23, 23), "window": 7, "stride": 6}),
    ),
    size=(960, 556),
    source="Cireşan et al. 2012, §2; Giusti et al. 2013, §2; module course.windows",
)
