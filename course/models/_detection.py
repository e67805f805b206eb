"""What all detectors share: the form of targets and results, checks, and the last step.

Every detector ends the same way: a table of boxes and class scores is cut at a score threshold,
clipped to the image, and thinned by non-maximum suppression within each class, never across
classes. Labels count object classes from 0; background has no label outside a network.
"""

from collections.abc import Sequence
from typing import TypedDict

import torch
from torch import Tensor


class Target(TypedDict):
    """The objects of one image: boxes (M, 4) in pixels and labels (M,) int64 from 0."""

    boxes: Tensor
    labels: Tensor


class Detections(TypedDict):
    """What a detector found in one image, best score first, in pixels of that image."""

    boxes: Tensor  # (D, 4) float (x0, y0, x1, y1)
    scores: Tensor  # (D,) float
    labels: Tensor  # (D,) int64 from 0


def check_boxes(boxes: Tensor, *, name: str = "boxes") -> None:
    """Raise ValueError unless boxes are finite (N, 4) with x1 >= x0 and y1 >= y0.

    >>> check_boxes(torch.tensor([[4.0, 0.0, 1.0, 2.0]]), name="proposals")
    Traceback (most recent call last):
    ValueError: proposals must be finite with x1 >= x0 and y1 >= y0, got [4.0, 0.0, 1.0, 2.0] ...
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4 or not boxes.is_floating_point():
        raise ValueError(
            f"{name} must be floats (N, 4), got {boxes.dtype} of shape {tuple(boxes.shape)}"
        )
    wrong = ~torch.isfinite(boxes).all(1) | (boxes[:, 2:] < boxes[:, :2]).any(1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name} must be finite with x1 >= x0 and y1 >= y0, got {boxes[row].tolist()} "
            f"in row {row}; the order is (x0, y0, x1, y1)"
        )


def check_targets(images: Tensor, targets: Sequence[Target], num_classes: int) -> None:
    """Raise ValueError unless each image has one target with good boxes and labels in range."""
    if len(targets) != len(images):
        raise ValueError(f"{len(images)} images need as many targets, got {len(targets)}")
    for i, target in enumerate(targets):
        boxes, labels = target["boxes"], target["labels"]
        check_boxes(boxes, name=f"boxes of image {i}")
        if labels.shape != boxes.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"labels of image {i} must be {len(boxes)} integers, one a box, "
                f"got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < num_classes:
            raise ValueError(
                f"labels of image {i} must lie in [0, {num_classes}), got {labels.tolist()}; "
                "object classes count from 0, without background"
            )


def select_detections(
    boxes: Tensor,
    scores: Tensor,
    image_size: tuple[int, int],
    *,
    score_threshold: float,
    nms_threshold: float,
    max_detections: int,
) -> Detections:
    """Keep the good boxes of one image: threshold, clip, suppress within each class, sort.

    `boxes` is (N, 4), or (N, C, 4) where each class has its own; `scores` is (N, C); `image_size`
    is (height, width). A box may be kept for several classes. Scores equal to the threshold go.

    >>> boxes = torch.tensor([[0., 0., 10., 10.], [0., 0., 10., 9.]])
    >>> scores = torch.tensor([[.9, .0], [.8, .7]])  # both boxes show class 0, one also class 1
    >>> found = select_detections(boxes, scores, (8, 20), score_threshold=0.5, nms_threshold=0.5,
    ...                           max_detections=10)
    >>> found["boxes"].tolist(), found["labels"].tolist()
    ([[0.0, 0.0, 10.0, 8.0], [0.0, 0.0, 10.0, 8.0]], [0, 1])
    """
    from torchvision.ops import batched_nms

    height, width = image_size
    row, label = (scores > score_threshold).nonzero(as_tuple=True)
    scores = scores[row, label].float()  # suppression has no half precision on every device
    boxes = (boxes[row, label] if boxes.ndim == 3 else boxes[row]).float()
    limit = boxes.new_tensor([width, height, width, height])
    boxes = torch.minimum(boxes.clamp(min=0), limit)
    keep = batched_nms(boxes, scores, label, nms_threshold)[:max_detections]
    return Detections(boxes=boxes[keep], scores=scores[keep], labels=label[keep])
