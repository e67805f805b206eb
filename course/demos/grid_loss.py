"""The arithmetic of the YOLO grid: what cells hold, what a pretended network says, five terms.

A cell (row, column) writes a box as x, y of its centre inside the cell and the roots of width and
height relative to the image. `course.models.yolo` holds the same for networks; this is numpy, for
one image, so that a demo needs no torch. Source: Redmon et al. 2016, arXiv:1506.02640, §2 and §2.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLASSES", "IMAGE", "B", "Loss", "answer_of", "cell_of", "in_cell", "loss_of", "overlaps",
    "reaching", "write_grid",
]  # fmt: skip

IMAGE = 448  # side of the input, pixels: that of the paper
B, CLASSES = 2, 3  # boxes per cell, and classes: one for each object of the demo
RIGHT, WRONG = 0.8, 0.1  # class scores of the pretended network: for the right class, for others
Box = Sequence[float]


class Loss(NamedTuple):
    """The five weighted terms of the loss of one image."""

    centre: float
    size: float
    object: float
    no_object: float
    classes: float


def cell_of(box: Box, S: int) -> tuple[int, int]:
    """Row and column of the cell in which the centre of a box (x0, y0, x1, y1) in pixels lies.

    >>> cell_of((0, 64, 128, 192), 7)
    (2, 1)
    """
    x, y = (box[0] + box[2]) / 2 / IMAGE * S, (box[1] + box[3]) / 2 / IMAGE * S
    return min(int(y), S - 1), min(int(x), S - 1)


def in_cell(box: Box, cell: tuple[int, int], S: int) -> NDArray[np.float64]:
    """What a cell (row, column) writes for a box: x, y of the centre, root of width and height.

    >>> in_cell((0, 64, 128, 192), (2, 1), 7).round(3).tolist()
    [0.0, 0.0, 0.535, 0.535]
    """
    x, y = (box[0] + box[2]) / 2 / IMAGE * S, (box[1] + box[3]) / 2 / IMAGE * S
    size = ((box[2] - box[0]) / IMAGE, (box[3] - box[1]) / IMAGE)
    return np.array([x - cell[1], y - cell[0], *np.sqrt(size)])


def write_grid(boxes: Sequence[Box], S: int) -> tuple[NDArray[np.float64], tuple[bool, ...]]:
    """The grid (S, S, 5 + C) that the loss compares with, and which objects found a place in it.

    Object i has class i. The first in the list keeps its cell.

    >>> grid, kept = write_grid([(0, 0, 64, 64), (8, 8, 72, 72)], 2)
    >>> kept, grid[..., 4].tolist()
    ((True, False), [[1.0, 0.0], [0.0, 0.0]])
    """
    grid = np.zeros((S, S, 5 + CLASSES))
    kept = []
    for i, box in enumerate(boxes):
        cell = cell_of(box, S)
        kept.append(grid[cell][4] == 0)
        if kept[-1]:
            grid[cell] = (*in_cell(box, cell, S), 1, *np.eye(CLASSES)[i])
    return grid, tuple(bool(k) for k in kept)


def answer_of(
    boxes: Sequence[Box], S: int, miss: float, sure: float, noise: float
) -> NDArray[np.float64]:
    """What a pretended network says: (S, S, 5 B + C), rows first.

    The first box of a cell with an object reaches `miss` pixels too far right and down and is sure
    by `sure`; all other boxes have no size and are sure by `noise`.
    """
    answer = np.zeros((S, S, 5 * B + CLASSES))
    answer[..., 4 : 5 * B : 5] = noise
    for i, (box, kept) in enumerate(zip(boxes, write_grid(boxes, S)[1])):
        if kept:
            cell = cell_of(box, S)
            answer[cell][:5] = (*in_cell(reaching(box, miss), cell, S), sure)
            answer[cell][5 * B :] = np.where(np.arange(CLASSES) == i, RIGHT, WRONG)
    return answer


def reaching(box: Box, miss: float) -> tuple[float, ...]:
    """The box, `miss` pixels longer to the right and down."""
    return (box[0], box[1], box[2] + miss, box[3] + miss)


def overlaps(boxes: NDArray[np.float64], truth: NDArray[np.float64], S: int) -> NDArray[np.float64]:
    """IoU of boxes (S, S, B, 4) as cells write them with the truth (S, S, 1, 4); 0 without area."""
    low_a, low_b = (b[..., :2] / S - b[..., 2:] ** 2 / 2 for b in (boxes, truth))
    high_a, high_b = (b[..., :2] / S + b[..., 2:] ** 2 / 2 for b in (boxes, truth))
    shared = np.clip(np.minimum(high_a, high_b) - np.maximum(low_a, low_b), 0, None).prod(-1)
    union = (boxes[..., 2:] ** 2).prod(-1) + (truth[..., 2:] ** 2).prod(-1) - shared
    return shared / np.maximum(union, 1e-300)


def loss_of(answer: NDArray[np.float64], target: NDArray[np.float64]) -> Loss:
    """The five terms of equation 3, weighted: `answer` (S, S, 5 B + C), `target` (S, S, 5 + C).

    All silent, one object of a quarter of the width and 0.36 of the height in the middle:

    >>> target = np.array([[[0.5, 0.5, 0.5, 0.6, 1, 1, 0, 0]]])
    >>> round(sum(loss_of(np.zeros((1, 1, 13)), target)), 4)
    6.55
    """
    S = len(target)
    boxes, classes = answer[..., : 5 * B].reshape(S, S, B, 5), answer[..., 5 * B :]
    truth, present = target[..., None, :4], target[..., 4]
    iou = overlaps(boxes[..., :4], truth, S)
    away = ((boxes[..., :4] - truth) / np.array([S, S, 1, 1])) ** 2
    rank = np.where(iou.max(-1, keepdims=True) > 0, iou, -away.sum(-1))
    chosen = np.eye(B)[rank.argmax(-1)] * present[..., None]
    error = (boxes[..., :4] - truth) ** 2 * chosen[..., None]
    doubt = (boxes[..., 4] - chosen * iou) ** 2
    wrong = ((classes - target[..., 5:]) ** 2).sum(-1) * present
    terms = (
        5 * error[..., :2].sum(),
        5 * error[..., 2:].sum(),
        (doubt * chosen).sum(),
        0.5 * (doubt * (1 - chosen)).sum(),
        wrong.sum(),
    )
    return Loss(*(float(term) for term in terms))
