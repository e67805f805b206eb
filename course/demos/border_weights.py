"""U-Net's border weights: pixels between two cells cost more, and touching cells come apart.

Plain cross-entropy loses almost nothing when a line of background one pixel wide is missed. U-Net
weighs pixel x by w(x) = 1 + w0 exp(-(d1 + d2)^2 / (2 sigma^2)), with the distances d1, d2 to the
nearest two cells. The masks come from networks trained with each pair of values (see `stored`).
Source: Ronneberger, Fischer, Brox, U-Net, MICCAI 2015, arXiv:1505.04597, §3, equation 2, Figure 3.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from course.demos.charts import Axes
from course.demos.contours import contours
from course.demos.controls import Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

W0S, SIGMAS = (0, 2, 4, 6, 8, 10, 12), (1, 3, 5, 7, 9)
MAP, MASK, SIDE = (24, 92), (338, 92), 288
CHART = (706, 92, 936, 380)


class Stored(NamedTuple):
    """What the networks said; N of them, one for each pair of `w0` and `sigma`.

    Attributes:
        images, instances: (4, 64, 64) uint8, test images and their true cells.
        objects: (N, 4, 64, 64) uint8 connected objects that each network finds.
        scores: (N, 2) mean IoU and share of cells found on 40 test images.
    """

    images: NDArray[np.uint8]
    instances: NDArray[np.uint8]
    objects: NDArray[np.uint8]
    scores: NDArray[np.float32]


@lru_cache(maxsize=1)
def stored() -> Stored:
    """The content of `stored/border_weights.npz`."""
    with np.load(Path(__file__).with_name("stored") / "border_weights.npz") as file:
        return Stored(*(file[name] for name in Stored._fields))


def network(w0: int, sigma: int) -> int:
    """Place of a network in the file; without border weights sigma makes no difference.

    >>> network(0, 9), network(2, 1), network(12, 9)
    (0, 1, 30)
    """
    if w0 == 0:
        return 0
    return 1 + (W0S.index(w0) - 1) * len(SIGMAS) + SIGMAS.index(sigma)


def two_distances(labels: ArrayLike) -> NDArray[np.float64]:
    """d1 + d2 of every pixel: distances to its nearest two cells, (H, W); inf inside a cell.

    >>> two_distances([[1, 0, 0, 2]]).tolist()
    [[inf, 3.0, 3.0, inf]]
    """
    cells = np.asarray(labels)
    height, width = cells.shape
    y, x = np.mgrid[:height, :width]
    each = []
    for label in np.unique(cells[cells > 0]):
        rows, columns = np.nonzero(cells == label)
        square = (y[..., None] - rows) ** 2 + (x[..., None] - columns) ** 2
        each.append(np.sqrt(square.min(-1)))
    if len(each) < 2:
        return np.full(cells.shape, np.inf)
    nearest = np.partition(np.stack(each), 1, axis=0)[:2].sum(0)
    return np.where(cells > 0, np.inf, nearest)


def weights(both: ArrayLike, w0: float, sigma: float) -> NDArray[np.float64]:
    """Weight of every pixel, from its d1 + d2.

    >>> weights([2.0, np.inf], 10, 5).round(2).tolist()
    [10.23, 1.0]
    """
    return 1 + w0 * np.exp(-(np.asarray(both) ** 2) / (2 * sigma**2))


def found(objects: NDArray[Any], instances: NDArray[Any]) -> list[int]:
    """Objects that cover one true cell each: IoU of at least one half.

    >>> found(np.array([[1, 1, 1, 0, 2]]), np.array([[1, 0, 2, 0, 3]]))
    [2]
    """
    joint = np.zeros((int(objects.max()) + 1, int(instances.max()) + 1))
    np.add.at(joint, (objects, instances), 1)
    union = joint.sum(1, keepdims=True) + joint.sum(0) - joint
    best = (joint[1:, 1:] / np.maximum(union[1:, 1:], 1)).max(1, initial=0)
    return [i + 1 for i, iou in enumerate(best) if iou >= 0.5]


@lru_cache(maxsize=8)
def _distances(image: int) -> NDArray[np.float64]:
    return two_distances(stored().instances[image])


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """The weight map, the objects of the network trained with it, and what all networks find."""
    w0, sigma, image = state["w0"], state["sigma"], state["image"] - 1
    data, place = stored(), network(w0, sigma)
    cells, objects = data.instances[image], data.objects[place, image]
    heat = weights(_distances(image), w0, sigma)
    good = found(objects, cells)
    _draw_map(sheet, heat, cells)
    _draw_objects(sheet, data.images[image], objects, good)
    _draw_scores(sheet, data.scores, w0, sigma)
    truth, count = int(cells.max()), int(objects.max())
    sheet.text((24, 414), f"largest weight {heat.max():.1f}", size=17)
    sheet.text((338, 414), f"{len(good)} of {truth} cells found", size=20, bold=True)
    mean_iou, share = data.scores[place]
    return (
        f"The network trained with w0 = {w0} and sigma = {sigma} sees {count} objects where there "
        f"are {truth} cells and finds {len(good)}. On 40 test images it finds {share:.0%} of the "
        f"cells at a mean IoU of {mean_iou:.3f}. The largest weight of this map is "
        f"{heat.max():.1f}."
    )


def _draw_map(sheet: Picture, heat: NDArray[np.float64], cells: NDArray[Any]) -> None:
    x, y = MAP
    sheet.text((x, 30), "Weight of each pixel", size=20, bold=True)
    sheet.text((x, 62), "true cells outlined", size=17, color="muted")
    box = (x, y, x + SIDE, y + SIDE)
    sheet.image(box, heat, low=1, high=13, map="heat")
    contours(sheet, box, cells, (255, 255, 255), 1.5)
    ramp = (x + 20, 436, x + 200, 452)
    sheet.image(ramp, np.linspace(0, 1, 64)[None], map="heat")
    sheet.text((x, 444), "1", size=16, color="muted")
    sheet.text((ramp[2] + 8, 444), "13", size=16, color="muted")


def _draw_objects(
    sheet: Picture, image: NDArray[Any], objects: NDArray[Any], good: list[int]
) -> None:
    x, y = MASK
    sheet.text((x, 30), "What the network finds", size=20, bold=True)
    sheet.text((x, 62), "blue: one cell", size=17, color="blue")
    sheet.text((x + 130, 62), "hatched: not one", size=17, color="vermilion")
    box = (x, y, x + SIDE, y + SIDE)
    sheet.image(box, image / 255)
    right = np.isin(objects, good)
    wrong = (objects > 0) & ~right
    sheet.overlay(box, right, "blue", alpha=0.45)
    rows, columns = np.indices((256, 256))
    stripes = (rows + columns) % 12 < 4
    sheet.overlay(box, wrong, "vermilion", alpha=0.35)
    sheet.overlay(box, wrong.repeat(4, 0).repeat(4, 1) & stripes, "vermilion", alpha=0.75)
    contours(sheet, box, objects, (255, 255, 255), 2.5)


def _draw_scores(sheet: Picture, scores: NDArray[Any], w0: int, sigma: int) -> None:
    sheet.text((662, 30), "40 test images", size=20, bold=True)
    axes = Axes(sheet, CHART, (0, 12), (0, 1), ("w0", ""))
    axes.draw((6, 5))
    rows = scores[[network(height, sigma) for height in W0S]]
    for column, color, dash in ((0, "orange", 7), (1, "blue", 0)):
        axes.curve(W0S, rows[:, column], color, dash=dash)
        axes.dot(w0, float(rows[W0S.index(w0), column]), color)
    mean_iou, share = rows[W0S.index(w0)]
    sheet.text((662, 62), f"at σ = {sigma} pixels", size=17, color="muted")
    sheet.text((706, 438), f"cells found {share:.0%}", size=17, color="blue", bold=True)
    sheet.text((706, 462), f"mean IoU {mean_iou:.3f}, dashed", size=17, color="orange", bold=True)


DEMO = Demo(
    name="border_weights",
    title="Border weights",
    lab=8,
    idea="Raise w0: the lines between cells grow expensive. The picture beside it shows a network "
    "that was really trained with these weights.",
    predict=(
        "With w0 = 10 nearly five times as many cells come apart as without border weights. How "
        "much does the mean IoU rise?",
        "It falls a little. The lines are thin, the network draws them slightly too wide, and IoU "
        "counts pixels, not cells.",
    ),
    controls=(
        Slider("w0", "Height w0", 0, 0, 12, 2),
        Slider("sigma", "Width σ", 5, 1, 9, 2, "px"),
        Slider("image", "Test image", 2, 1, 4),
    ),
    draw=draw,
    stills=(
        Still("Without border weights cells hang together", {}),
        Still("A little weight cuts some of them", {"w0": 2}),
        Still("The paper's values: w0 = 10, σ = 5", {"w0": 10}),
        Still("Too narrow, it misses the lines", {"w0": 10, "sigma": 1}),
        Still("Too wide, the cells shrink", {"w0": 12, "sigma": 9}),
    ),
    source="Ronneberger et al. 2015, §3, arXiv:1505.04597; modules course.losses, course.metrics",
)
