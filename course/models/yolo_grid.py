"""The S x S grid of YOLO v1: writing objects into cells, the loss over cells, reading boxes back.

The cell that holds an object's centre must detect it. Each cell predicts B boxes (offset of the
centre inside the cell, square roots of the size relative to the image, confidence) and one class
distribution (label c is number c - 1). One box of a cell is responsible for its object, all others
should stay silent:

    L = 5 (centre + size) + object + 0.5 no_object + classes,   every term a sum of squares.

Reference: Redmon, Divvala, Girshick, Farhadi, *You Only Look Once*, CVPR 2016, arXiv:1506.02640,
section 2 (the grid), 2.2 (loss, equation 3), 2.3 (scores, equation 1).

Two choices that the paper leaves open follow the authors' darknet code: the network predicts the
square roots of width and height directly (no root of a negative number, no gradient blow-up at
zero), and where all IoUs of a cell are zero the nearest box is responsible.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course.models.detection import check_boxes, check_labels


class YOLOLoss(NamedTuple):
    """The five weighted terms of the loss, each a mean over images of sums over cells."""

    centre: Tensor
    size: Tensor
    object: Tensor
    no_object: Tensor
    classes: Tensor

    @property
    def total(self) -> Tensor:
        """The sum of the five terms: what training minimises."""
        return self.centre + self.size + self.object + self.no_object + self.classes


def make_targets(
    boxes: Tensor,
    labels: Tensor,
    image_size: tuple[int, int],
    *,
    S: int = 7,
    num_classes: int = 20,
) -> Tensor:
    """Write the objects of one image into a grid (S, S, 5 + C), rows first.

    `boxes` (M, 4) are (x0, y0, x1, y1) in pixels, `labels` (M,) integers in 1 ... C, `image_size`
    is (height, width). The cell of an object's centre gets (x, y, sqrt w, sqrt h, 1, one-hot
    class): x and y in [0, 1) of the cell, w and h relative to the image. All other cells are zero.
    A cell holds one object only: the first in the list keeps it. Raises ValueError for malformed
    boxes and labels, for a centre outside the image, and for boxes that lie within the first pixel,
    as relative coordinates do.

    >>> box = torch.tensor([[10.0, 20.0, 30.0, 70.0]])  # centre (20, 45)
    >>> grid = make_targets(box, torch.tensor([2]), (90, 60), S=3, num_classes=2)
    >>> grid[1, 1]  # left edge of the middle cell, half way down
    tensor([0.0000, 0.5000, 0.5774, 0.7454, 1.0000, 0.0000, 1.0000])

    Source: section 2.
    """
    check_boxes(boxes)
    if labels.shape != boxes.shape[:1]:
        raise ValueError(f"labels must be ({len(boxes)},), got {tuple(labels.shape)}")
    grid = boxes.new_zeros(S, S, 5 + num_classes)
    if not len(boxes):
        return grid
    check_labels(labels, num_classes)
    height, width = image_size
    if max(image_size) > 1 and boxes.max() <= 1 and (boxes[:, 2:] - boxes[:, :2]).min() < 1:
        raise ValueError(
            f"boxes must be in pixels of the {height} x {width} image, got {boxes.tolist()}: "
            "multiply relative boxes by its width and height"
        )
    relative = boxes / boxes.new_tensor([width, height, width, height])
    centre = (relative[:, :2] + relative[:, 2:]) / 2 * S  # (N, 2), in cells
    size = relative[:, 2:] - relative[:, :2]  # (N, 2)
    outside = ((centre < 0) | (centre > S)).any(1)
    if outside.any():
        raise ValueError(
            f"the centre of box {boxes[outside][0].tolist()} lies outside the {height} x {width} "
            "image, so no cell can hold it: clip boxes to the image, and drop those outside"
        )
    cell = centre.floor().clamp(0, S - 1)
    column, row = cell.long().unbind(1)
    same_cell = (row * S + column).unsqueeze(1) == row * S + column  # (N, N)
    first = ~same_cell.tril(-1).any(1)
    classes = F.one_hot(labels.long() - 1, num_classes).to(boxes)
    values = torch.cat([centre - cell, size.sqrt(), boxes.new_ones(len(boxes), 1), classes], 1)
    grid[row[first], column[first]] = values[first]
    return grid


def responsible(boxes: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """Choose the responsible box of each cell: the highest IoU, or the nearest if all are zero.

    `boxes` (..., B, 4) and `truth` (..., 4) are (x, y, sqrt w, sqrt h), all relative to the image.
    Returns the index (...) int64 and the IoU (..., B) of every box.

    >>> boxes = torch.tensor([[0.5, 0.5, 0.1, 0.1], [0.5, 0.5, 0.7, 0.7]])
    >>> index, iou = responsible(boxes, torch.tensor([0.5, 0.5, 0.7, 0.7]))
    >>> index.item(), round(iou[1].item(), 4)
    (1, 1.0)

    Source: section 2; the rule for zero IoU is darknet's.
    """
    truth = truth.unsqueeze(-2)  # (..., 1, 4)
    found, wanted = _corners(boxes), _corners(truth)
    low = torch.maximum(found[..., :2], wanted[..., :2])
    high = torch.minimum(found[..., 2:], wanted[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)  # (..., B)
    areas = boxes[..., 2:].square().prod(-1) + truth[..., 2:].square().prod(-1)
    iou = shared / (areas - shared).clamp(min=torch.finfo(boxes.dtype).tiny)
    nearness = -(boxes - truth).square().sum(-1)
    rank = torch.where(iou.amax(-1, keepdim=True) > 0, iou, nearness)
    return rank.argmax(-1), iou


def yolo_loss(
    prediction: Tensor,
    target: Tensor,
    *,
    B: int = 2,
    coord: float = 5.0,
    no_object: float = 0.5,
    confidence: Literal["iou", "one"] = "iou",
) -> YOLOLoss:
    """Compute the five terms of the sum-of-squares loss, already weighted.

    `prediction` (N, S, S, 5 B + C) comes from the network, `target` (N, S, S, 5 + C) from
    `make_targets`. The confidence of the responsible box should become its current `"iou"` with
    the object (the paper) or `"one"` (many ports); that of every other box 0, also of the second
    box of a cell with an object. The class term counts once for a cell with an object. Raises
    ValueError where the shapes do not belong together.

    >>> target = torch.zeros(1, 1, 1, 25)
    >>> target[..., :6] = torch.tensor([0.5, 0.5, 0.5, 0.6, 1, 1])  # w = .25, h = .36, class 0
    >>> silent = torch.zeros(1, 1, 1, 30)
    >>> round(yolo_loss(silent, target).total.item(), 4)
    6.55
    >>> round(yolo_loss(silent, target, confidence="one").total.item(), 4)
    7.55

    Source: section 2.2, equation 3.
    """
    expected = (*target.shape[:-1], 5 * B + target.shape[-1] - 5)
    if target.ndim != 4 or tuple(prediction.shape) != expected:
        raise ValueError(
            f"a target (N, S, S, 5 + C) of shape {tuple(target.shape)} and B = {B} need a "
            f"prediction of shape {expected}, got {tuple(prediction.shape)}"
        )
    if confidence not in ("iou", "one"):
        raise ValueError(f"confidence must be 'iou' or 'one', got {confidence!r}")
    boxes, classes = split_prediction(prediction, B)  # (N, S, S, B, 5), (N, S, S, C)
    truth, present = target[..., :4], target[..., 4]
    with torch.no_grad():  # who is responsible, and how well it fits, are targets
        S = target.shape[1]
        scale = prediction.new_tensor([1 / S, 1 / S, 1, 1])
        index, iou = responsible(boxes[..., :4] * scale, truth * scale)
        chosen = F.one_hot(index, B) * present.unsqueeze(-1)  # (N, S, S, B)
        goal = chosen * iou if confidence == "iou" else chosen
    error = (boxes[..., :4] - truth.unsqueeze(-2)).square() * chosen.unsqueeze(-1)
    doubt = (boxes[..., 4] - goal).square()
    wrong = (classes - target[..., 5:]).square().sum(-1) * present
    images = len(prediction)
    return YOLOLoss(
        centre=coord * error[..., :2].sum() / images,
        size=coord * error[..., 2:].sum() / images,
        object=(doubt * chosen).sum() / images,
        no_object=no_object * (doubt * (1 - chosen)).sum() / images,
        classes=wrong.sum() / images,
    )


def decode_grid(
    prediction: Tensor, image_size: tuple[int, int], *, B: int = 2
) -> tuple[Tensor, Tensor]:
    """Turn predictions (..., S, S, 5 B + C) into boxes (..., S S B, 4) and scores (..., S S B, C).

    Boxes are (x0, y0, x1, y1) in pixels of an image of `image_size` = (height, width), unclipped.
    A score is Pr(class | object) times the confidence of the box. Both are linear outputs, so each
    is clamped at zero first: two negative factors must not make a confident detection. No box is
    dropped. Raises ValueError for a prediction of another shape.

    >>> cell = torch.tensor([0.5, 0.5, 0.5, 0.6, 0.8, 0.0, 1.0])  # B = 1, C = 2
    >>> decode_grid(cell.expand(1, 1, 7), (100, 200), B=1)
    (tensor([[ 75.,  32., 125.,  68.]]), tensor([[0.0000, 0.8000]]))

    Source: section 2.3, equation 1.
    """
    if prediction.ndim < 3 or prediction.shape[-1] <= 5 * B:
        raise ValueError(
            f"prediction must be (..., S, S, {5 * B} + C), got {tuple(prediction.shape)}"
        )
    S = prediction.shape[-2]
    if prediction.shape[-3] != S:
        raise ValueError(f"the grid must be square, got {tuple(prediction.shape)}")
    boxes, classes = split_prediction(prediction, B)
    steps = torch.arange(S, dtype=prediction.dtype, device=prediction.device)
    cells = torch.stack(torch.meshgrid(steps, steps, indexing="xy"), -1)  # (S, S, 2) column, row
    pixels = prediction.new_tensor([image_size[1], image_size[0]])
    centre = (boxes[..., :2] + cells.unsqueeze(2)) * (pixels / S)
    half = boxes[..., 2:4].square() * (pixels / 2)
    corners = torch.cat([centre - half, centre + half], -1)  # (..., S, S, B, 4)
    scores = boxes[..., 4:].clamp(min=0) * classes.clamp(min=0).unsqueeze(-2)  # (..., S, S, B, C)
    return corners.flatten(-4, -2), scores.flatten(-4, -2)


def split_prediction(prediction: Tensor, B: int) -> tuple[Tensor, Tensor]:
    """View predictions (..., 5 B + C) as boxes (..., B, 5) and class scores (..., C)."""
    return prediction[..., : 5 * B].unflatten(-1, (B, 5)), prediction[..., 5 * B :]


def _corners(boxes: Tensor) -> Tensor:
    half = boxes[..., 2:].square() / 2
    return torch.cat([boxes[..., :2] - half, boxes[..., :2] + half], -1)
