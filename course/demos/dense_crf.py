"""The fully connected CRF of DeepLab: pixels of one colour talk, and the labels find the edges.

A coarse network is sure of places and blind for edges. Mean field lets every pixel i hear every
pixel j: Q_i(l) <- softmax(log P_i(l) + sum_j (w1 k1(i, j) + w2 k2(i, j)) Q_j(l)), where k1 joins
pixels that are near and of like colour, k1 = exp(-|p|^2 / 2 theta_a^2 - |I|^2 / 2 theta_b^2), and
k2 those that are near. Both are normalised as in the released code. All pairs are summed exactly.
Source: Kraehenbuehl and Koltun, NIPS 2011, arXiv:1210.5644, §2 and §3; Chen et al. (DeepLab), ICLR
2015, arXiv:1412.7062, §4.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from course.demos.boat_scene import HEIGHT, WIDTH, scene
from course.demos.charts import Axes
from course.demos.contours import contours
from course.demos.controls import Area, Point, Slider
from course.demos.demo import Demo, Still
from course.demos.picture import Picture

SCALE, THETA_GAMMA, ROUNDS = 6.5, 1.0, 10
CLASSES = ("sky", "water", "boat")
COLORS = ("sky", "blue", "vermilion")
AREA = Area(left=24, top=58, width=WIDTH, height=HEIGHT, scale=SCALE)
PANELS = ((24, 58), (316, 58), (24, 312), (316, 312))
CHART = (690, 84, 926, 244)
Floats = NDArray[np.float32]


@lru_cache(maxsize=1)
def _squares() -> tuple[Floats, Floats, Floats, Floats]:
    """Squared distances of all pairs, (N, N), in pixels and in colour levels; two to work in."""
    image = scene()[0].reshape(-1, 3).astype(np.float32)
    y, x = np.divmod(np.arange(HEIGHT * WIDTH, dtype=np.float32), WIDTH)
    far = (y[:, None] - y) ** 2 + (x[:, None] - x) ** 2
    unlike = sum((image[:, None, c] - image[:, c]) ** 2 for c in range(3))
    return far, np.asarray(unlike, np.float32), np.empty_like(far), np.empty_like(far)


def appearance(theta_a: float, theta_b: float, row: int | None = None) -> Floats:
    """The kernel k1 of all pairs, (N, N), good until the next call; or one row of it, (N,)."""
    far, unlike, kernel, scratch = (a if row is None else a[row] for a in _squares())
    np.multiply(far, np.float32(-0.5 / theta_a**2), out=kernel)
    kernel += np.multiply(unlike, np.float32(-0.5 / theta_b**2), out=scratch)
    np.maximum(kernel, -40, out=kernel)  # below, floats lose their full speed, and nothing counts
    return np.exp(kernel, out=kernel)


@lru_cache(maxsize=1)
def smoothness() -> tuple[Floats, Floats, Floats]:
    """The kernel k2 as its factors along y and x, and its normalising scale (N,)."""
    at = np.arange(max(HEIGHT, WIDTH), dtype=np.float32)
    factor = np.exp((at[:, None] - at) ** 2 * np.float32(-0.5 / THETA_GAMMA**2))
    along_y, along_x = factor[:HEIGHT, :HEIGHT], factor[:WIDTH, :WIDTH]
    scale = np.outer(along_y.sum(1), along_x.sum(1)).ravel() ** np.float32(-0.5)
    return along_y, along_x, scale


@lru_cache(maxsize=32)
def beliefs(theta_a: float, theta_b: float, w1: float, w2: float) -> tuple[Floats, Floats]:
    """Q after 0 to 10 iterations, (11, N, 3), and what normalises rows and columns of k1, (N,).

    >>> q, _ = beliefs(12, 20, 0, 0)
    >>> bool(np.allclose(q[10], q[0], atol=1e-6))  # nobody talks, nothing moves
    True
    """
    log_p = np.log(scene()[2])
    rounds = [np.exp(log_p)]
    kernel = appearance(theta_a, theta_b)
    scale = (kernel @ np.ones(len(kernel), np.float32)) ** np.float32(-0.5)
    along_y, along_x, smooth = smoothness()
    for _ in range(ROUNDS):
        exponent = log_p.copy()
        if w1:
            exponent += w1 * scale[:, None] * (kernel @ (scale[:, None] * rounds[-1]))
        if w2:
            grid = (smooth[:, None] * rounds[-1]).reshape(HEIGHT, WIDTH * 3)
            grid = (along_y @ grid).reshape(HEIGHT, WIDTH, 3).transpose(0, 2, 1)
            heard = (grid.reshape(-1, WIDTH) @ along_x).reshape(HEIGHT, 3, WIDTH)
            exponent += w2 * smooth[:, None] * heard.transpose(0, 2, 1).reshape(-1, 3)
        exponent = np.exp(exponent - exponent.max(1, keepdims=True))
        rounds.append(exponent / exponent.sum(1, keepdims=True))
    return np.stack(rounds), scale


def message_weights(
    x: int, y: int, theta_a: float, theta_b: float, w1: float, w2: float
) -> NDArray[np.float64]:
    """How much pixel (x, y) hears from every pixel, (32, 40); its own share is left in."""
    _, scale = beliefs(theta_a, theta_b, w1, w2)
    along_y, along_x, smooth = smoothness()
    at = y * WIDTH + x
    near = np.outer(along_y[y], along_x[x]).ravel() * smooth * smooth[at]
    like = appearance(theta_a, theta_b, at) * scale * scale[at]
    return (w1 * like + w2 * near).reshape(HEIGHT, WIDTH).astype(float)


def right_pixels(rounds: Floats) -> NDArray[np.float64]:
    """Share of pixels labelled rightly after each iteration."""
    return (rounds.argmax(-1) == scene()[1].ravel()).mean(1)


def draw(state: dict[str, Any], sheet: Picture) -> str:
    """Image, the network's labels, the labels now, and what the clicked pixel hears."""
    settings = tuple(state[k] for k in ("theta_a", "theta_b", "w1", "w2"))
    now, (x, y) = state["iteration"], state["pixel"]
    image, truth, _ = scene()
    rounds, _ = beliefs(*settings)
    heard = message_weights(x, y, *settings)
    heard[y, x] = 0  # what it tells itself is no news
    shares = right_pixels(rounds)
    for place, title in zip(
        PANELS,
        (
            "Image: click a pixel",
            "Network alone",
            "What the pixel hears",
            f"After {now} round" + "s" * (now != 1),
        ),
    ):
        sheet.text((place[0], place[1] - 28), title, size=20, bold=True)
    boxes = [(a, b, a + WIDTH * SCALE, b + HEIGHT * SCALE) for a, b in PANELS]
    sheet.image(boxes[0], image)
    for box, q in ((boxes[1], rounds[0]), (boxes[3], rounds[now])):
        _draw_labels(sheet, box, image, q.argmax(1).reshape(HEIGHT, WIDTH))
    root = np.sqrt(heard)  # else only the nearest pixels would be seen
    sheet.image(boxes[2], root, high=max(float(root.max()), 1e-6), map="heat")
    contours(sheet, boxes[2], truth, (255, 255, 255), 1)
    for box in (boxes[0], boxes[2], boxes[3]):
        _mark(sheet, box, x, y)
    _draw_words(sheet, shares, now)
    q0, q = rounds[0][y * WIDTH + x], rounds[now][y * WIDTH + x]
    _draw_beliefs(sheet, q0, q)
    total = float(heard.sum())
    own = truth[y, x]
    share = float(heard[truth == own].sum()) / total if total else 0.0
    return (
        f"After {now} round{'s' * (now != 1)} {shares[now]:.1%} of the pixels are right, of the "
        f"network alone {shares[0]:.1%}. Pixel ({x}, {y}) is {CLASSES[own]}: its belief in that "
        f"goes from {q0[own]:.2f} to {q[own]:.2f}; {share:.0%} of what it hears comes from "
        f"{CLASSES[own]}."
    )


def _draw_labels(
    sheet: Picture, box: tuple[float, ...], image: NDArray[Any], labels: NDArray[Any]
) -> None:
    sheet.image(box, image.mean(-1) / 255)
    for label, color in enumerate(COLORS):
        sheet.overlay(box, labels == label, color, alpha=0.6)
    contours(sheet, box, labels, (255, 255, 255), 2.5)


def _mark(sheet: Picture, box: tuple[float, ...], x: int, y: int) -> None:
    center = (box[0] + (x + 0.5) * SCALE, box[1] + (y + 0.5) * SCALE)
    sheet.circle(center, 10, outline=(255, 255, 255), width=5)
    sheet.circle(center, 9, outline=(20, 20, 20), width=2.5)


def _draw_words(sheet: Picture, shares: NDArray[Any], now: int) -> None:
    sheet.text((634, 30), f"Pixels right: {shares[now]:.1%}", size=20, bold=True)
    axes = Axes(sheet, CHART, (0, ROUNDS), (70, 100), ("rounds", "%"))
    axes.draw((5, 3))
    axes.curve(range(ROUNDS + 1), np.maximum(shares * 100, 70), "blue")
    axes.dot(now, max(float(shares[now]) * 100, 70), "vermilion")


def _draw_beliefs(sheet: Picture, before: Floats, now: Floats) -> None:
    sheet.text((634, 324), "Beliefs of the pixel", size=20, bold=True)
    for i, (name, color) in enumerate(zip(CLASSES, COLORS)):
        y = 366 + 46 * i
        sheet.text((634, y), name, size=18)
        sheet.rect((704, y - 14, 872, y + 14), fill="panel")
        sheet.rect((704, y - 14, 704 + max(168 * float(now[i]), 2), y + 14), fill=color)
        at = 704 + 168 * float(before[i])
        sheet.line([(at, y - 18), (at, y + 18)], "ink", 3)
        sheet.text((888, y), f"{now[i]:.2f}", size=18, bold=True)
    sheet.text((634, 506), "line: network alone", size=16, color="muted")


DEMO = Demo(
    name="dense_crf",
    title="The fully connected CRF",
    lab=10,
    idea="Step through the rounds and watch the labels find the edges. Click a pixel to see whom "
    "it listens to (brightness is a square root).",
    predict=(
        "The mast is two pixels wide and the network does not see its tip. Can the CRF find it?",
        "Yes, if it hears far enough: the hull is brown too, and its belief climbs the mast in a "
        "few rounds. With a reach θα of 5 pixels the tip stays sky.",
    ),
    controls=(
        Slider("iteration", "Rounds", 10, 0, ROUNDS),
        Slider("theta_a", "θα, reach", 12, 1, 30, 1, "px"),
        Slider("theta_b", "θβ, colours", 20, 2, 80, 2, "levels"),
        Slider("w1", "Weight w1, appearance", 4.0, 0.0, 10.0, 0.5),
        Slider("w2", "Weight w2, smoothness", 1.0, 0.0, 6.0, 0.5),
        Point("pixel", "Pixel", (27, 12), AREA),
    ),
    draw=draw,
    stills=(
        Still("The network alone", {"iteration": 0}),
        Still("One round", {"iteration": 1}),
        Still("Ten rounds", {}),
        Still("Too short a reach: the tip of the mast stays sky", {"theta_a": 5}),
        Still("Smoothness alone knows no edges", {"w1": 0.0, "w2": 4.0}),
        Still("Colours too coarse: everything talks to everything", {"theta_b": 80, "theta_a": 30}),
    ),
    size=(960, 536),
    source="Chen et al. 2015, §4, arXiv:1412.7062; module course.crf",
)
