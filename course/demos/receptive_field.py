"""Receptive fields: click a pixel and follow its cone through the layers down to the input.

A chain of convolutions widens what one output sample sees. Layer l with kernel k and dilation d
adds (k - 1) · d steps of its own input, and one such step is the product of all strides before it:

    window = 1 + sum over layers of  (k - 1) · d · (product of the strides before).

The window is the outer bound. Inside it, some pixels are reached over many paths and some over
none: equal dilations leave a grid of holes, mixed ones do not.
Source: Yu and Koltun, ICLR 2016, arXiv:1511.07122, §2; Luo et al., NIPS 2016 (paths); Wang et al.,
arXiv:1702.08502, §3.2 (gridding).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from course.demos.controls import Area, Choice, Point, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

SIDE, PITCH = 39, 10  # pixels of the image along a side, and of the picture for each
AREA = Area(left=546, top=60, width=SIDE, height=SIDE, scale=PITCH)
CONE = (92, 76, 92 + SIDE * PITCH, 404)
RATES = ("1, 1, 1, 1", "2, 2, 2, 2", "1, 2, 3, 4", "1, 2, 4, 8")


class Layer(NamedTuple):
    """A convolution along one axis; it pads dilation · (kernel - 1) / 2 zeros on both sides."""

    kernel: int
    stride: int
    dilation: int


def chain(kernel: int, stride: int, rates: str, depth: int) -> list[Layer]:
    """The layers, input first.

    >>> chain(3, 1, "1, 2, 4, 8", 2)
    [Layer(kernel=3, stride=1, dilation=1), Layer(kernel=3, stride=1, dilation=2)]
    """
    return [Layer(kernel, stride, int(rate)) for rate in rates.split(", ")[:depth]]


def additions(layers: Sequence[Layer]) -> list[int]:
    """Pixels that each layer adds to the window; the window is 1 more than their sum.

    >>> additions([Layer(3, 2, 1), Layer(3, 2, 1), Layer(3, 1, 2)])
    [2, 4, 16]
    """
    steps = np.cumprod([1, *(layer.stride for layer in layers)])
    return [(a.kernel - 1) * a.dilation * int(step) for a, step in zip(layers, steps)]


def sizes(layers: Sequence[Layer], size: int = SIDE) -> list[int]:
    """Samples of the input and after every layer.

    >>> sizes([Layer(3, 2, 1), Layer(5, 2, 1)])
    [39, 20, 10]
    """
    found = [size]
    for layer in layers:
        found.append((found[-1] - 1) // layer.stride + 1)
    return found


def paths(layers: Sequence[Layer], at: int, size: int = SIDE) -> list[NDArray[np.int64]]:
    """Over how many paths one output sample reaches each sample of every level, input first.

    The output sample is the one whose centre lies nearest to pixel `at` of the input.

    >>> [level.tolist() for level in paths([Layer(3, 1, 1), Layer(3, 1, 1)], 2, size=5)]
    [[1, 2, 3, 2, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]]
    """
    counts, step = sizes(layers, size), int(np.prod([layer.stride for layer in layers]))
    top = np.zeros(counts[-1], np.int64)
    top[min((at + step // 2) // step, counts[-1] - 1)] = 1
    levels = [top]
    for layer, count in zip(reversed(layers), reversed(counts[:-1])):
        below = np.zeros(count, np.int64)
        for i in np.flatnonzero(levels[0]):
            for place in taps(layer, int(i), count):
                below[place] += levels[0][i]
        levels.insert(0, below)
    return levels


def taps(layer: Layer, i: int, count: int) -> list[int]:
    """Samples, of `count` below, that sample `i` of a layer reads; those in the padding left out.

    >>> taps(Layer(3, 2, 2), 1, 39), taps(Layer(3, 1, 1), 0, 39)
    ([0, 2, 4], [0, 1])
    """
    places = [
        i * layer.stride + (t - layer.kernel // 2) * layer.dilation for t in range(layer.kernel)
    ]
    return [place for place in places if 0 <= place < count]


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The cone of one output sample along a row, and its footprint in the image."""
    layers = chain(state["kernel"], state["stride"], state["rates"], state["depth"])
    across, down = (paths(layers, at) for at in state["pixel"])
    footprint = np.outer(down[0], across[0])
    window = 1 + sum(additions(layers))
    step = state["stride"] ** len(layers)
    center = (int(across[-1].argmax()) * step, int(down[-1].argmax()) * step)
    frame = tuple(c - window // 2 + end for end in (0, window) for c in center)
    cut = min(frame[:2]) < 0 or max(frame[2:]) > SIDE
    used = int((footprint > 0).sum())
    _draw_cone(sheet, layers, across)
    _draw_footprint(sheet, footprint, center, frame, step)
    terms = " + ".join(str(v) for v in (1, *additions(layers)))
    sheet.text((24, 452), f"window = {terms} = {window}", size=20, bold=True)
    weights = len(layers) * state["kernel"] ** 2
    sheet.text(
        (24, 482), f"{weights} weights; one kernel as wide: {window**2}", size=17, color="muted"
    )
    inside = f"{used} of {window**2} pixels used ({used / window**2:.0%})"
    if cut:
        inside = f"{used} of {window**2} used, part lies outside"
    sheet.text((AREA.left, 482), inside, size=20, bold=True)
    return (
        f"{len(layers)} layers {state['kernel']} × {state['kernel']}, stride {state['stride']}, "
        f"dilation {', '.join(str(layer.dilation) for layer in layers)}: an output sees a window "
        f"of {window} × {window} pixels around pixel {center}"
        f"{', which reaches over the edge,' if cut else ''} and uses {used} of {window**2} "
        f"({used / window**2:.0%})." + f" Outputs lie {step} pixels apart." * (step > 1)
    )


def _draw_cone(
    sheet: Picture, layers: Sequence[Layer], levels: Sequence[NDArray[np.int64]]
) -> None:
    sheet.text((24, 28), "Along the row of the pixel", size=20, bold=True)
    steps = np.cumprod([1, *(layer.stride for layer in layers)])
    rise = (CONE[3] - CONE[1]) / len(layers)

    def place(level: int, i: int) -> tuple[float, float]:
        return CONE[0] + (i * int(steps[level]) + 0.5) * PITCH, CONE[3] - level * rise

    for level in range(len(layers), 0, -1):
        layer, below = layers[level - 1], len(levels[level - 1])
        for i in np.flatnonzero(levels[level]):
            for tap in taps(layer, int(i), below):
                sheet.line([place(level, int(i)), place(level - 1, tap)], "sky", 1.5, alpha=0.8)
    for level, counts in enumerate(levels):
        name = "input" if level == 0 else f"layer {level}"
        sheet.text((CONE[0] - 14, place(level, 0)[1]), name, size=16, color="muted", anchor="rm")
        for i, count in enumerate(counts):
            if count:
                color = "vermilion" if level == len(layers) else "blue"
                sheet.circle(place(level, i), 5, fill=color)
            else:
                sheet.circle(place(level, i), 4, fill="paper", outline="faint", width=1.5)


def _draw_footprint(
    sheet: Picture,
    footprint: NDArray[np.int64],
    center: tuple[int, int],
    frame: Sequence[int],
    step: int,
) -> None:
    sheet.text((AREA.left, 28), "The pixels that it uses", size=20, bold=True)
    sheet.rect(AREA.box, fill="panel")
    seen = AREA.place_box([min(max(v, 0), SIDE) for v in frame])
    sheet.rect(seen, hatch="/", outline="muted", width=1)
    share = footprint / footprint.max()
    sheet.overlay(AREA.box, footprint > 0, "paper", alpha=1.0)
    sheet.overlay(AREA.box, np.where(footprint > 0, 0.3 + 0.7 * share, 0), "blue", alpha=1.0)
    sheet.grid(AREA.box, SIDE, SIDE, "faint", 1)
    if step > 1:  # the centres of all output samples
        for y in range(0, SIDE, step):
            for x in range(0, SIDE, step):
                sheet.circle(AREA.place(x + 0.5, y + 0.5), 2, fill="muted")
    sheet.rect(seen, outline="ink", width=3, dash=8)
    box = AREA.place_box((*center, center[0] + 1, center[1] + 1))
    sheet.rect(box, fill="vermilion", outline="paper", width=1)


DEMO = Demo(
    name="receptive_field",
    title="Receptive field and gridding",
    lab=5,
    idea=(
        "Click a pixel to see what the output at its place is made of. Then add layers, stride and "
        "dilation: hatched pixels lie in the window but are never read."
    ),
    predict=(
        "Four layers 3 × 3 with dilation 2 see a window of 17 × 17 pixels. How many of them does "
        "an output use?",
        "Only every second one in each direction: 81 of 289. The output next to it uses others: "
        "neighbours share no pixel, so nothing makes their labels agree.",
    ),
    controls=(
        Point("pixel", "Pixel", (19, 19), AREA),
        Slider("kernel", "Kernel", 3, 1, 7, 2, "px"),
        Slider("stride", "Stride of each layer", 1, 1, 2),
        Choice("rates", "Dilation of the layers", RATES[0], RATES),
        Slider("depth", "Layers", 3, 1, 4),
    ),
    draw=draw,
    stills=(
        Still("Three layers, each adds 2 pixels", {}),
        Still("Stride 2: later layers reach further", {"stride": 2}),
        Still("Dilation 2 everywhere: holes", {"rates": RATES[1], "depth": 4}),
        Still("Dilation 1, 2, 4, 8: wide and without holes", {"rates": RATES[3], "depth": 4}),
        Still("At the edge, the window reaches into padding", {"pixel": (4, 30), "kernel": 5}),
    ),
    size=(960, 508),
    source="Yu and Koltun 2016, §2, arXiv:1511.07122; module course.geometry",
)
