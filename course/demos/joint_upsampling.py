"""Joint upsampling: which positions a dilated stage computes, and how to have them for less.

A dilated convolution of rate r is an ordinary one on each of r × r subgrids of its input x, so it
computes every position. With stride r only the first subgrid is computed. Joint upsampling learns
the relation h where both sides are known and applies it where only x is:

    h = argmin || h(x on the subgrid) - y on the subgrid ||,   y elsewhere = h(x), taps r apart.

Here h is one 3 × 3 convolution with a bias, fitted by least squares; JPU trains four, of rates 1,
2, 4, 8. Multiply-accumulates are counted for the published sizes on 512 × 512 pixels.
Source: Wu et al., FastFCN, 2019, arXiv:1903.11816, §3.2-3.3, Figures 3 and 4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from course.demos.charts import Axes, bars
from course.demos.controls import Area, Choice, Point, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

Array = NDArray[np.floating[Any]]
AREA = Area(left=24, top=60, width=16, height=16, scale=21)
CHART = (470, 72, 930, 236)
DILATED, STRIDE, JOINT = MODES = ("dilated", "stride", "stride + joint upsampling")
DEPTHS = {"ResNet-50": (3, 4, 6, 3), "ResNet-101": (3, 4, 23, 3)}


def convolve(x: Array, kernel: Array, rate: int = 1) -> Array:
    """A 3 × 3 convolution of an (H, W) map with zero padding; taps `rate` apart, (H, W).

    >>> convolve(np.eye(3), np.ones((3, 3)), 2).tolist()
    [[2.0, 0.0, 2.0], [0.0, 1.0, 0.0], [2.0, 0.0, 2.0]]
    """
    return np.tensordot(kernel.ravel(), _taps(x, rate), 1)


def _taps(x: Array, rate: int) -> Array:
    """The nine shifted copies (9, H, W) that a 3 × 3 convolution weighs."""
    height, width = x.shape
    wide = np.pad(x, rate)
    places = [(i * rate, j * rate) for i in range(3) for j in range(3)]
    return np.stack([wide[i : i + height, j : j + width] for i, j in places])


def stage(x: Array, kernels: Array, rate: int) -> Array:
    """Convolutions one after the other, ReLU in between: (H, W)."""
    for number, kernel in enumerate(kernels):
        x = convolve(np.maximum(x, 0) if number else x, kernel, rate)
    return x


def interpolate(small: Array, rate: int) -> Array:
    """Bilinear interpolation of the first subgrid back to all positions; constant past its end.

    >>> interpolate(np.array([[0.0, 2.0]]), 2).tolist()
    [[0.0, 1.0, 2.0, 2.0], [0.0, 1.0, 2.0, 2.0]]
    """
    for axis in (0, 1):
        n = small.shape[axis]
        at = np.minimum(np.arange(n * rate) / rate, n - 1)[:, None]
        weights = np.clip(1 - np.abs(at - np.arange(n)), 0, 1)
        small = weights @ small if axis == 0 else small @ weights.T
    return small


def joint_upsample(x: Array, small: Array, rate: int) -> Array:
    """Fit h on the first subgrid of `x` and `small`, apply it to all of `x`: (H, W)."""
    known = _taps(x[::rate, ::rate], 1).reshape(9, -1)
    known = np.vstack([known, np.ones(known.shape[1])])
    weights = np.linalg.lstsq(known.T, small.ravel(), rcond=None)[0]
    return convolve(x, weights[:9], rate) + weights[9]


def backbone_macs(blocks: tuple[int, ...], output_stride: int, size: int = 512) -> int:
    """Multiply-accumulates of a bottleneck ResNet whose strides end at `output_stride`.

    >>> round(backbone_macs(DEPTHS["ResNet-101"], 8) / 1e9, 1)
    177.2
    """
    total, channels, before = 3 * 64 * 49 * (size // 2) ** 2, 64, 4
    for count, width, stride in zip(blocks, (64, 128, 256, 512), (4, 8, 16, 32)):
        stride = min(stride, output_stride)
        here, wide = (size // stride) ** 2, 4 * width
        first = channels * width * (size // before) ** 2 + channels * wide * here
        rest = (count - 1) * wide * width * here
        total += first + rest + count * (9 * width**2 + width * wide) * here
        channels, before = wide, stride
    return total


def jpu_macs(size: int = 512, width: int = 512) -> int:
    """Multiply-accumulates of JPU on maps of 512, 1024 and 2048 channels at strides 8, 16, 32.

    >>> round(jpu_macs() / 1e9, 1)
    30.0
    """
    inputs = sum(9 * c * width * (size // s) ** 2 for c, s in ((512, 8), (1024, 16), (2048, 32)))
    return inputs + 4 * (9 * 3 * width + 3 * width * width) * (size // 8) ** 2


class Maps(NamedTuple):
    """What the stage gets and what comes out three ways, all (16, 16)."""

    x: Array
    dilated: Array
    interpolated: Array
    joint: Array

    def error(self, guess: Array) -> float:
        """Root mean square distance from the dilated result, as a share of its spread."""
        return float(np.sqrt(np.mean((guess - self.dilated) ** 2)) / self.dilated.std())


@lru_cache
def maps(rate: int, layers: int) -> Maps:
    """The example: seeded noise, smoothed, through `layers` seeded convolutions."""
    rng = np.random.default_rng(5)
    blur = np.outer([1, 2, 1], [1, 2, 1]) / 16.0
    x = convolve(rng.normal(size=(16, 16)), blur)
    x = np.asarray((x - x.mean()) / x.std(), np.float64)
    kernels = rng.normal(size=(2, 3, 3))[:layers] / 3
    dilated, small = stage(x, kernels, rate), stage(x[::rate, ::rate], kernels, 1)
    return Maps(x, dilated, interpolate(small, rate), joint_upsample(x, small, rate))


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The map with its subgrids and taps, a row of the results, and what encoders cost."""
    mode, rate, layers = state["mode"], int(state["rate"]), state["layers"]
    pixel, found = state["pixel"], maps(rate, layers)
    _draw_map(sheet, mode, rate, pixel)
    _draw_row(sheet, mode, rate, pixel[1], pixel[0], found)
    _draw_costs(sheet, mode, state["net"])
    part = (16 // rate) ** 2
    count = 256 if mode == DILATED else part
    told = f"Rate {rate}: {count} of 256 positions computed, {9 * count * layers} multiply-"
    told += "accumulates per pair of channels" + ", and 2304 for h. " * (mode == JOINT)
    cost = f" {state['net']}: {encoder_costs(state['net'])[MODES.index(mode)]:.1f} billion."
    here = _told_of(pixel, mode, rate, found)
    if mode == DILATED:
        return told + f" on {rate * rate} subgrids that never mix." + here + cost
    if mode == STRIDE:
        error = found.error(found.interpolated)
        told += f". Interpolated, the result is off by {error:.2f} of its spread."
        return told + here + cost
    exact = f"{part} known values give the ten numbers of h"
    why = exact if layers == 1 else "one convolution cannot be two with a ReLU between"
    return told + f"It is off by {found.error(found.joint):.2f} of the spread: {why}." + here + cost


def _told_of(pixel: tuple[int, int], mode: str, rate: int, found: Maps) -> str:
    """What the chosen pixel is made from, and its value."""
    (x, y), read = pixel, len(_sources(mode, rate, pixel))
    told = f" Column {x}, row {y} reads {read} position{'s' * (read > 1)}"
    right = found.dilated[y, x]
    if mode == DILATED:
        return f"{told}: {right:.2f}."
    guess = (found.interpolated if mode == STRIDE else found.joint)[y, x]
    return f"{told}: {guess:.2f}, dilated {right:.2f}."


def _draw_map(sheet: Picture, mode: str, rate: int, pixel: tuple[int, int]) -> None:
    sheet.text((24, 30), "Positions of the deep map", size=20, bold=True)
    sheet.rect(AREA.box, fill="panel")
    (px, py), size = pixel, AREA.scale
    for y in range(16):
        for x in range(16):
            same = (x - px) % rate == 0 and (y - py) % rate == 0
            known = mode == DILATED or (x % rate == 0 and y % rate == 0)
            left, top = AREA.place(x, y)
            box = (left + 1, top + 1, left + size - 1, top + size - 1)
            if known:
                sheet.rect(box, fill="blue", alpha=0.85 if same or mode != DILATED else 0.3)
            elif mode == JOINT:
                sheet.circle((left + size / 2, top + size / 2), 5, outline="green", width=2.5)
    sheet.grid(AREA.box, 16, 16)
    for x, y in _sources(mode, rate, pixel):
        sheet.line([AREA.place(px + 0.5, py + 0.5), AREA.place(x + 0.5, y + 0.5)], "orange", 2)
        sheet.rect(AREA.place_box((x, y, x + 1, y + 1)), outline="orange", width=4)
    sheet.rect(AREA.place_box((px, py, px + 1, py + 1)), outline="ink", width=4)
    legend = (
        "; dark: the pixel's own subgrid",
        "; the rest is interpolated",
        "   ○ h applied to x",
    )
    sheet.text((24, 420), "■ computed" + legend[MODES.index(mode)], size=17)
    what = "what the interpolation reads" if mode == STRIDE else "the taps of the chosen pixel"
    sheet.text((24, 450), f"orange: {what}", size=17, color="muted")


def _sources(mode: str, rate: int, pixel: tuple[int, int]) -> list[tuple[int, int]]:
    """Positions that the value at a pixel is made from, within the map."""
    px, py = pixel
    if mode == STRIDE and (px % rate or py % rate):
        xs, ys = ({v // rate * rate, min(-(-v // rate) * rate, 16 - rate)} for v in pixel)
        return [(x, y) for y in sorted(ys) for x in sorted(xs)]
    steps = (-rate, 0, rate)
    near = [(px + dx, py + dy) for dy in steps for dx in steps]
    return [(x, y) for x, y in near if 0 <= x < 16 and 0 <= y < 16]


def _draw_row(sheet: Picture, mode: str, rate: int, row: int, column: int, found: Maps) -> None:
    sheet.text((410, 30), f"Row {row} of the result", size=20, bold=True)
    reach = float(np.ceil(np.abs([found.dilated, found.interpolated, found.joint]).max()))
    axes = Axes(sheet, CHART, (0, 15), (-reach, reach), ("column", ""))
    axes.draw((5, 2))
    at = np.arange(16)
    sheet.line([axes.place(column, -reach), axes.place(column, reach)], "ink", 1.5, dash=4)
    axes.curve(at, found.dilated[row], "blue", width=5, alpha=0.55)
    names = [("━ dilated", "blue")]
    if mode != DILATED:
        guess = found.interpolated if mode == STRIDE else found.joint
        color = "vermilion" if mode == STRIDE else "green"
        axes.curve(at, guess[row], color, dash=8)
        names.append(("╍ interpolated" if mode == STRIDE else "╍ joint upsampling", color))
        for x in at[::rate] if row % rate == 0 else ():
            axes.dot(x, found.dilated[row, x], "ink", 5)
        if row % rate == 0:
            names.append(("● computed", "ink"))
    x = 470.0
    for name, color in names:
        sheet.text((x, 296), name, size=17, color=color, bold=True)
        x += sheet.text_width(name, size=17, bold=True) + 22


def encoder_costs(net: str) -> tuple[float, float, float]:
    """Billion multiply-accumulates: dilated, with stride 32, with stride 32 and JPU."""
    dilated, plain = (backbone_macs(DEPTHS[net], stride) / 1e9 for stride in (8, 32))
    return dilated, plain, plain + jpu_macs() / 1e9


def _draw_costs(sheet: Picture, mode: str, net: str) -> None:
    sheet.text((410, 340), f"{net}, 512 × 512: billion MACs", size=20, bold=True)
    names, box = ("dilated", "stride 32", "stride 32 + JPU"), (400, 358, 950, 470)
    colors = ["blue" if m == mode else "faint" for m in MODES]
    look = {"high": 180, "colors": colors, "form": "{:.1f}", "name_width": 160}
    bars(sheet, box, names, encoder_costs(net), **look)


DEMO = Demo(
    name="joint_upsampling",
    title="Dilation, stride, and joint upsampling",
    lab=12,
    idea="Click a position and choose how the last stages are computed. Dilation pays for every "
    "position; a stride computes one subgrid; joint upsampling learns there what to do elsewhere.",
    predict=(
        "Rate 4 in place of stride 4: how many times more positions does a stage compute?",
        "Sixteen times: every 4th position along both axes becomes all of them. Rate 2: four.",
    ),
    controls=(
        Choice("mode", "Last stages", DILATED, MODES),
        Choice("rate", "Rate or stride", "2", ("2", "4")),
        Point("pixel", "Pixel", (7, 6), AREA),
        Slider("layers", "Convolutions in the stage", 1, 1, 2),
        Choice("net", "Encoder", "ResNet-101", tuple(DEPTHS)),
    ),
    draw=draw,
    stills=(
        Still("Dilated: every position, on four subgrids", {}),
        Still("Rate 4: sixteen subgrids", {"rate": "4"}),
        Still("Stride: one subgrid, the rest interpolated", {"mode": STRIDE}),
        Still("Joint upsampling: learn here, apply there", {"mode": JOINT}),
        Still("Two layers: this h is too simple", {"mode": JOINT, "layers": 2}),
        Still("ResNet-50: less depth, less to save", {"mode": JOINT, "net": "ResNet-50"}),
    ),
    source="Wu et al. 2019, §3.2-3.3, arXiv:1903.11816; module course.models.fastfcn",
)
