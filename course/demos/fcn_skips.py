"""FCN's skips: three score maps of one image, weighed, enlarged and added.

Deep layers know what there is, shallow ones where. The network scores its maps at strides 32, 16
and 8 and adds the scores on the way up to pixels, u_f being bilinear enlargement:

    scores = u8( a8 · s8 + u2( a16 · s16 + u2( a32 · s32 ))).

Weights 1, 0, 0 are FCN-32s, 1, 1, 0 FCN-16s and 1, 1, 1 FCN-8s. Errors gather within a few pixels
of a border: that band is what skips mend. The score maps are those of a small FCN-8s, trained so
that each of the three sums is a segmentation (`stored/make_fcn_skips.py`).
Source: Long, Shelhamer, Darrell, CVPR 2015, arXiv:1411.4038, §4.2, figures 3 and 4, table 2.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from course.demos.charts import bars
from course.demos.controls import Choice, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

STORED = Path(__file__).parent / "stored" / "fcn_skips.npz"
STRIDES = (32, 16, 8)
REACH = 4  # pixels from a border that belong to the band
_CLASSES = ("ground", "disc", "bar")
_INK = ("panel", "blue", "orange")


class Scene(NamedTuple):
    """One test image, its labels and the score maps of the trained network.

    Attributes:
        image: (H, W) floats in [0, 1].
        truth: (H, W) classes 0 to 2.
        scores: (3, h, w) floats at the strides 32, 16 and 8.
        band: (H, W) booleans, pixels within `REACH` of another class.
    """

    image: NDArray[np.float64]
    truth: NDArray[np.int64]
    scores: tuple[NDArray[np.float64], ...]
    band: NDArray[np.bool_]


@lru_cache(maxsize=4)
def scene(name: str) -> Scene:
    """A stored scene, "A" or "B"."""
    with np.load(STORED) as stored:
        image, truth, *scores = (stored[f"{name}_{part}"] for part in ("image", "truth", *STRIDES))
    truth = truth.astype(np.int64)
    found = tuple(s.astype(np.float64) for s in scores)
    return Scene(image / 255.0, truth, found, border_band(truth))


def border_band(truth: NDArray[Any], reach: int = REACH) -> NDArray[np.bool_]:
    """Pixels with another class within `reach` pixels, in a square.

    >>> border_band(np.array([[0, 0, 0, 1, 1]]), 1).tolist()
    [[False, False, True, True, False]]
    """
    wide = np.pad(truth, reach, mode="edge")
    h, w = truth.shape
    steps = range(2 * reach + 1)
    rows = [wide[i : i + h] for i in steps]
    low, high = np.minimum.reduce(rows), np.maximum.reduce(rows)
    low = np.minimum.reduce([low[:, j : j + w] for j in steps])
    high = np.maximum.reduce([high[:, j : j + w] for j in steps])
    return low != high


def enlarge(scores: NDArray[np.float64], factor: int) -> NDArray[np.float64]:
    """Bilinear enlargement (K, h, w) to (K, h f, w f), zeros around the map.

    It is the transposed convolution with a fixed bilinear kernel that FCN starts from.

    >>> enlarge(np.array([[[0.0, 4.0]]]), 2)[0, 1].tolist()
    [0.0, 0.75, 2.25, 2.25]
    """

    def along(n: int) -> NDArray[np.float64]:
        centres = factor * np.arange(n) + (factor - 1) / 2
        away = np.abs(np.arange(n * factor)[:, None] - centres)
        return np.clip(1 - away / factor, 0, None)

    return along(scores.shape[1]) @ scores @ along(scores.shape[2]).T


@lru_cache(maxsize=4)
def _shares(name: str) -> tuple[NDArray[np.float64], ...]:
    """What each score map with weight 1 adds to the pixels: the sum is linear in the weights."""
    s32, s16, s8 = scene(name).scores
    return enlarge(enlarge(enlarge(s32, 2), 2), 8), enlarge(enlarge(s16, 2), 8), enlarge(s8, 8)


def segment(name: str, weights: tuple[float, float, float]) -> NDArray[np.int64]:
    """Classes (H, W) of the weighted sum; all ground where all weights are 0."""
    total = sum(a * share for a, share in zip(weights, _shares(name)))
    return np.asarray(total).argmax(0)


class Result(NamedTuple):
    """Quality of one segmentation: mean IoU, share of wrong pixels in the band and outside."""

    mean_iou: float
    near: float
    far: float


def judge(found: NDArray[np.int64], truth: NDArray[np.int64], band: NDArray[np.bool_]) -> Result:
    """Mean IoU over the three classes, and errors near and far from a border.

    >>> truth = np.array([[0, 0, 1, 1], [2, 2, 2, 2]])
    >>> judge(truth, truth, border_band(truth, 1))
    Result(mean_iou=1.0, near=0.0, far=0.0)
    """
    counts = np.bincount((3 * truth + found).ravel(), minlength=9).reshape(3, 3)
    both = np.diag(counts)
    union = counts.sum(0) + counts.sum(1) - both
    wrong = found != truth
    far = float(wrong[~band].mean()) if (~band).any() else 0.0
    return Result(
        float((both[union > 0] / union[union > 0]).mean()), float(wrong[band].mean()), far
    )


_TOP = tuple((x, 58, x + 192, 186) for x in (24, 264, 504, 744))
_FOUND = (24, 252, 312, 444)
_WRONG = (336, 252, 624, 444)
_NETS = {"FCN-32s": (1.0, 0.0, 0.0), "FCN-16s": (1.0, 1.0, 0.0), "FCN-8s": (1.0, 1.0, 1.0)}


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """Image and weighed score maps above; the sum, its errors and its quality below."""
    name = state["scene"]
    weights = (state["w32"], state["w16"], state["w8"])
    shown = scene(name)
    found = segment(name, weights)
    result = judge(found, shown.truth, shown.band)
    _draw_maps(sheet, shown, weights)
    sheet.text((24, 224), "Segmentation", size=19, bold=True)
    _classes(sheet, _FOUND, found)
    sheet.overlay(_FOUND, _edges(shown.truth), "ink", alpha=1.0)
    sheet.text((336, 224), "Wrong pixels", size=19, bold=True)
    _draw_errors(sheet, found != shown.truth, shown.band)
    _draw_quality(sheet, name, result)
    words = ", ".join(f"stride {s} × {w:g}" for s, w in zip(STRIDES, weights))
    net = next((f" ({n})" for n, w in _NETS.items() if w == weights), "")
    return (
        f"Scores of {words}{net}: mean IoU {result.mean_iou:.2f}. Wrong are "
        f"{100 * result.near:.0f} % of the pixels within {REACH} of a border and "
        f"{100 * result.far:.1f} % of all others."
    )


def _edges(truth: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels of which the right or the lower neighbour has another class."""
    edge = np.zeros(truth.shape, bool)
    edge[:, :-1] |= truth[:, :-1] != truth[:, 1:]
    edge[:-1] |= truth[:-1] != truth[1:]
    return edge


def _classes(sheet: Picture, box: Any, labels: NDArray[np.int64], alpha: float = 1.0) -> None:
    """Classes by colour and stripes."""
    sheet.rect(box, fill="panel")
    zoom = max(1, round(96 / labels.shape[0]))
    fine = labels.repeat(zoom, 0).repeat(zoom, 1)
    y, x = np.indices(fine.shape)
    for k, stripes in ((1, (x + y) % 8 < 2), (2, (x - y) % 8 < 2)):
        sheet.overlay(box, fine == k, _INK[k], alpha=0.55 * alpha)
        sheet.overlay(box, (fine == k) & stripes, _INK[k], alpha=alpha)
    sheet.rect(box, outline="muted", width=1)


def _draw_maps(sheet: Picture, shown: Scene, weights: tuple[float, ...]) -> None:
    sheet.text((24, 34), "Image", size=19, bold=True)
    sheet.image(_TOP[0], shown.image)
    for box, stride, weight, scores in zip(_TOP[1:], STRIDES, weights, shown.scores):
        sheet.text((box[0], 34), f"Stride {stride} × {weight:g}", size=19, bold=True)
        _classes(sheet, box, scores.argmax(0), min(weight, 1.0))
        sheet.grid(box, *scores.shape[1:])
    for box, sign in zip(_TOP[1:], ("→", "+", "+")):
        sheet.text((box[0] - 24, 122), sign, size=28, color="muted", anchor="mm")


def _draw_errors(sheet: Picture, wrong: NDArray[np.bool_], band: NDArray[np.bool_]) -> None:
    sheet.rect(_WRONG, fill="panel")
    sheet.overlay(_WRONG, band, "muted", alpha=0.25)
    y, x = np.indices(wrong.shape)
    sheet.overlay(_WRONG, wrong & band, "vermilion", alpha=1.0)
    sheet.overlay(_WRONG, wrong & ~band & ((x + y) % 4 < 2), "wine", alpha=1.0)
    sheet.rect(_WRONG, outline="muted", width=1)
    for left, ink, words in ((24, "blue", "disc"), (112, "orange", "bar")):
        sheet.rect((left, 460, left + 22, 480), fill=ink, alpha=0.7)
        sheet.text((left + 30, 470), words, size=17)
    sheet.text((180, 470), "lines: truth", size=17, color="muted")
    sheet.rect((336, 460, 358, 480), fill="vermilion")
    sheet.text((366, 470), "near a border", size=17)
    sheet.rect((506, 460, 528, 480), outline="wine", hatch="/")
    sheet.text((536, 470), "elsewhere", size=17)


def _draw_quality(sheet: Picture, name: str, now: Result) -> None:
    shown = scene(name)
    nets = [judge(segment(name, w), shown.truth, shown.band).mean_iou for w in _NETS.values()]
    sheet.text((652, 224), "Mean IoU", size=19, bold=True)
    ink = ("faint", "faint", "faint", "blue")
    bars(
        sheet, (652, 246, 950, 374), [*_NETS, "now"], [*nets, now.mean_iou], colors=ink,
        name_width=84,
    )  # fmt: skip
    sheet.text((652, 394), f"Wrong within {REACH} pixels of a border", size=16, color="muted")
    sheet.text((652, 420), f"{100 * now.near:.0f} %", size=22, bold=True)
    sheet.text((652, 446), "Wrong elsewhere", size=16, color="muted")
    sheet.text((652, 470), f"{100 * now.far:.1f} %", size=22, bold=True)


DEMO = Demo(
    name="fcn_skips",
    title="FCN: what the skips add",
    lab=7,
    idea="Weigh the score maps of the three strides. Watch the borders while you raise the finer "
    "ones, and try the finest alone.",
    predict=(
        "The finest map has sixteen times as many scores. Is it enough on its own?",
        "No. It knows where edges are but sees too little to know of what: bars and discs of the "
        "same brightness are mixed up. What comes from stride 32, where from stride 8.",
    ),
    controls=(
        Slider("w32", "Weight of stride 32", 1.0, 0.0, 2.0, 0.25),
        Slider("w16", "Weight of stride 16", 0.0, 0.0, 2.0, 0.25),
        Slider("w8", "Weight of stride 8", 0.0, 0.0, 2.0, 0.25),
        Choice("scene", "Scene", "A", ("A", "B")),
    ),
    draw=draw,
    size=(960, 496),
    stills=(
        Still("Stride 32 alone: FCN-32s", {}),
        Still("With stride 16: FCN-16s", {"w16": 1.0}),
        Still("With stride 8 too: FCN-8s", {"w16": 1.0, "w8": 1.0}),
        Still("The finest map alone", {"w32": 0.0, "w8": 1.0}),
    ),
    source="Long et al. 2015, §4.2 and Table 2, arXiv:1411.4038; module course.models.fcn",
)
