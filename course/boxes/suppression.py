"""Non-maximum suppression: one box per object.

A detector fires several times on one object. Going down the scores, greedy suppression keeps a box
and removes every later box that overlaps it too much:

    keep i  <=>  no kept j with a higher score has IoU(i, j) > threshold.

A removed box removes nothing, so the outcome depends on the order; a box exactly at the threshold
stays. References: Felzenszwalb et al. 2010, section 7; Girshick et al. 2014 (R-CNN), section 2.2.
"""

import math

import torch
from torch import Tensor

from course.boxes.overlap import box_iou, check_boxes

__all__ = ["batched_nms", "greedy_nms", "nms"]

BLOCK, CHUNK = 256, 1024  # boxes compared at once: their overlaps stay in a CPU's cache


def nms(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Indices of the boxes that greedy suppression keeps, best score first (torchvision's kernel).

    Args:
        boxes: `(N, 4)` float corners.
        scores: `(N,)` float, one per box; among equal scores the earlier box wins.
        iou: threshold in [0, 1]; a box goes if it overlaps a kept one by *more* than this.

    Returns:
        `(n,)` int64 indices into `boxes`.

    Raises:
        TypeError: integer boxes or scores.
        ValueError: shapes that do not match, NaN, or a threshold outside [0, 1].

    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]])
    >>> nms(boxes, torch.tensor([0.8, 0.9, 0.7]), 0.5)
    tensor([1, 2])
    """
    boxes, scores = _checked(boxes, scores, iou)
    from torchvision.ops import nms as compiled_nms  # here: torchvision doubles the import time

    return compiled_nms(boxes, scores, iou)


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Suppression within each class: a dog never removes a cat.

    Args:
        boxes: `(N, 4)` float corners.
        scores: `(N,)` float.
        labels: `(N,)` int64 classes.
        iou: threshold in [0, 1], as in `nms`.

    Returns:
        `(n,)` int64 indices into `boxes`, best score first over all classes.

    Raises:
        TypeError: integer boxes or scores, floating labels.
        ValueError: shapes that do not match, NaN, or a threshold outside [0, 1].

    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [1, 0, 11, 10], [1, 0, 11, 10]])
    >>> batched_nms(boxes, torch.tensor([0.8, 0.9, 0.7]), torch.tensor([0, 0, 1]), 0.5)
    tensor([1, 2])
    """
    boxes, scores = _checked(boxes, scores, iou)
    if labels.shape != scores.shape:
        raise ValueError(f"labels must be {tuple(scores.shape)}, got {tuple(labels.shape)}")
    if labels.is_floating_point():
        raise TypeError(f"labels must be integers, got {labels.dtype}")
    kept = torch.zeros_like(labels, dtype=torch.bool)
    # Class by class, because shifting each class to its own corner of the plane, the usual trick,
    # rounds the coordinates.
    for label in labels.unique():
        members = (labels == label).nonzero().flatten()
        kept[members[nms(boxes[members], scores[members], iou)]] = True
    kept_indices = kept.nonzero().flatten()
    return kept_indices[scores[kept_indices].argsort(descending=True, stable=True)]


def greedy_nms(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """`nms` written out in torch: the same indices, on any device.

    The sorted boxes go through in blocks. Within a block, the rule at the top of this module is
    applied until nothing changes; then the kept boxes remove from all later blocks at once.

    Args:
        boxes: `(N, 4)` float corners.
        scores: `(N,)` float.
        iou: threshold in [0, 1].

    Returns:
        `(n,)` int64 indices into `boxes`, best score first.

    Raises:
        TypeError: integer boxes or scores.
        ValueError: shapes that do not match, NaN, or a threshold outside [0, 1].

    >>> boxes = torch.tensor([[0.0, 0, 10, 10], [6, 0, 16, 10], [12, 0, 22, 10]])
    >>> greedy_nms(boxes, torch.tensor([0.9, 0.8, 0.7]), 0.2)  # the removed box 1 spares box 2
    tensor([0, 2])
    """
    boxes, scores = _checked(boxes, scores, iou)
    threshold = _round_down(iou, boxes.dtype)
    order = scores.argsort(descending=True, stable=True)
    waiting, kept = boxes[order], []
    while len(order):
        block, later = waiting[:BLOCK], waiting[BLOCK:]
        keep = _resolve(box_iou(block, block), threshold)
        kept.append(order[:BLOCK][keep])
        worst = [box_iou(block[keep], part).amax(dim=0) for part in later.split(CHUNK)]
        spared = torch.cat(worst) <= threshold
        order, waiting = order[BLOCK:][spared], later[spared]
    return torch.cat(kept) if kept else order


def _resolve(overlaps: Tensor, threshold: float) -> Tensor:
    """The greedy rule on one block, from its overlaps `(N, N)`: bool `(N,)`, True where kept."""
    removes = overlaps.gt_(threshold).triu_(diagonal=1)  # row j may only remove columns after j
    keep = torch.ones_like(removes[0])
    while True:
        # The first k boxes are final after k rounds, so this ends; usually after three or four.
        settled = (keep @ removes).eq_(0)
        if torch.equal(settled, keep):
            return keep.bool()
        keep = settled


def _round_down(threshold: float, dtype: torch.dtype) -> float:
    """The largest number of `dtype` that is not above `threshold`.

    torch rounds a Python number to the tensor's precision before it compares, the compiled kernels
    do not: 0.3 rounds up to 0.30000001 and would then spare a box with exactly that overlap.
    """
    limit = torch.tensor(threshold, dtype=dtype)
    if limit.item() > threshold:
        limit = torch.nextafter(limit, limit.new_tensor(-math.inf))
    return limit.item()


def _checked(boxes: Tensor, scores: Tensor, iou: float) -> tuple[Tensor, Tensor]:
    """Boxes and scores after the checks, without gradient, in one type, at least float32."""
    check_boxes(boxes)
    if scores.shape != boxes.shape[:1]:
        raise ValueError(f"scores must be one per box, ({len(boxes)},), got {tuple(scores.shape)}")
    if not scores.is_floating_point():
        raise TypeError(f"scores must be floating, got {scores.dtype}: call .float() on them")
    if not 0 <= iou <= 1:
        raise ValueError(f"iou must be a threshold in [0, 1], got {iou}")
    if boxes.isnan().any() or scores.isnan().any():
        raise ValueError("boxes and scores must not hold NaN: they have no order")
    dtype = torch.promote_types(torch.promote_types(boxes.dtype, scores.dtype), torch.float32)
    return boxes.detach().to(dtype), scores.detach().to(dtype)
