"""What all detectors share: the form of targets and results, sampling of regions, the last step.

Every detector ends the same way: a table of boxes and class scores is cut at a score threshold,
clipped to the image, and thinned by non-maximum suppression within each class, never across
classes. Labels are those of `course.data`: object classes count from 1, and 0 is background, which
no target and no detection carries.

References: Girshick et al. 2014 (R-CNN), section 2.3; Girshick 2015 (Fast R-CNN), section 2.3.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypedDict

import torch
from torch import Tensor
from torch.nn import functional as F

from course.boxes import assign, batched_nms, box_iou, clip_boxes, sample_rois
from course.boxes.overlap import check_boxes as check_shape


class Target(TypedDict):
    """The objects of one image: boxes (M, 4) in pixels and labels (M,) int64 from 1."""

    boxes: Tensor
    labels: Tensor


class Detections(TypedDict):
    """What a detector found in one image, best score first, in pixels of that image."""

    boxes: Tensor  # (D, 4) float (x0, y0, x1, y1)
    scores: Tensor  # (D,) float
    labels: Tensor  # (D,) int64 from 1


class Regions(NamedTuple):
    """Sampled regions of one image: boxes (R, 4), labels (R,) with 0 = background, objects (R, 4).

    `objects` holds the true box of each foreground region; a background region repeats itself.
    """

    boxes: Tensor
    labels: Tensor
    objects: Tensor


def check_boxes(boxes: Tensor, *, name: str = "boxes") -> None:
    """Raise unless boxes are a tensor of finite floats (N, 4) with x1 >= x0 and y1 >= y0.

    TypeError for what is no floating tensor, ValueError for all else.

    >>> check_boxes(torch.tensor([[4.0, 0.0, 1.0, 2.0]]), name="proposals")
    Traceback (most recent call last):
    ValueError: proposals must be finite with x1 >= x0 and y1 >= y0, got [4.0, 0.0, 1.0, 2.0] ...
    """
    check_shape(boxes, name)
    wrong = ~torch.isfinite(boxes).all(1) | (boxes[:, 2:] < boxes[:, :2]).any(1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"{name} must be finite with x1 >= x0 and y1 >= y0, got {boxes[row].tolist()} "
            f"in row {row}; the order is (x0, y0, x1, y1)"
        )


def has_area(boxes: Tensor) -> Tensor:
    """Say which boxes (..., 4) have a positive width and height: bool (...).

    >>> has_area(torch.tensor([[0.0, 0.0, 2.0, 1.0], [5.0, 0.0, 5.0, 9.0]]))
    tensor([ True, False])
    """
    return (boxes[..., 2:] > boxes[..., :2]).all(-1)


def check_side(images: Tensor, side: int, network: str) -> None:
    """Raise ValueError unless images (N, C, H, W) are squares of `side` pixels.

    >>> check_side(torch.zeros(1, 3, 40, 48), 48, "YOLO")
    Traceback (most recent call last):
    ValueError: this YOLO needs images of 48 x 48 pixels, got 40 x 48: resize images and boxes ...
    """
    height, width = images.shape[-2:]
    if not height == width == side:
        raise ValueError(
            f"this {network} needs images of {side} x {side} pixels, got {height} x {width}: "
            "resize images and boxes together, or call detect, which takes any size"
        )


def check_proposals(images: Tensor | Sequence[Tensor], proposals: Sequence[Tensor]) -> None:
    """Raise unless each image has proposals (M, 4) of positive size, M may be 0.

    TypeError for lists and arrays in place of tensors, ValueError for all else.
    """
    if isinstance(proposals, Tensor) or len(proposals) != len(images):
        raise ValueError(
            f"proposals must be a list of {len(images)} tensors (M, 4), one an image, got "
            f"{type(proposals).__name__} of length {len(proposals)}"
        )
    for i, boxes in enumerate(proposals):
        check_boxes(boxes, name=f"proposals of image {i}")
        if not has_area(boxes).all():
            raise ValueError(f"proposals of image {i} must not be empty boxes: remove those")


def check_targets(
    images: Tensor | Sequence[Tensor], targets: Sequence[Target], num_classes: int
) -> None:
    """Raise unless each image has one target with good boxes and labels in range.

    TypeError for a single target in place of a list and for what is no tensor, ValueError for all
    else.
    """
    if isinstance(targets, Mapping):
        raise TypeError(f"targets must be a list of {len(images)} dicts, one an image, got a dict")
    if len(targets) != len(images):
        raise ValueError(f"{len(images)} images need as many targets, got {len(targets)}")
    for i, target in enumerate(targets):
        if not {"boxes", "labels"} <= set(target):
            raise ValueError(
                f"target of image {i} must be a dict with 'boxes' (M, 4) and 'labels' (M,), got "
                f"{list(target)}"
            )
        boxes, labels = target["boxes"], target["labels"]
        check_boxes(boxes, name=f"boxes of image {i}")
        if not isinstance(labels, Tensor):
            raise TypeError(f"labels of image {i} must be a tensor, got {type(labels).__name__}")
        if labels.shape != boxes.shape[:1] or labels.is_floating_point():
            raise ValueError(
                f"labels of image {i} must be {len(boxes)} integers, one a box, "
                f"got {labels.dtype} of shape {tuple(labels.shape)}"
            )
        check_labels(labels, num_classes, name=f"labels of image {i}")


def check_labels(labels: Tensor, num_classes: int, *, name: str = "labels") -> None:
    """Raise ValueError unless all labels lie in 1 ... `num_classes`.

    >>> check_labels(torch.tensor([0, 2]), 2)
    Traceback (most recent call last):
    ValueError: labels must lie in 1 ... 2, got [0, 2]; object classes count from 1, 0 is ...
    """
    if len(labels) and not 1 <= int(labels.min()) <= int(labels.max()) <= num_classes:
        raise ValueError(
            f"{name} must lie in 1 ... {num_classes}, got {labels.tolist()}; "
            "object classes count from 1, 0 is background"
        )


def sample_regions(
    proposals: Tensor,
    target: Target,
    n: int,
    *,
    lowest: float = 0.0,
    foreground: int | None = None,
    generator: torch.Generator | None = None,
) -> Regions:
    """Draw at most `n` regions of one image to train on, at most `foreground` of them foreground.

    None stands for a quarter of `n`, rounded. The true boxes join the proposals. A region whose
    best IoU is at least 0.5 is foreground and takes the class of that object; one with `lowest` <=
    IoU < 0.5 is background. In an image without objects every proposal is background.

    >>> target = Target(boxes=torch.tensor([[0., 0., 10., 10.]]), labels=torch.tensor([6]))
    >>> sample = sample_regions(torch.tensor([[0., 0., 10., 4.]]), target, 4)
    >>> sample.labels.tolist(), sample.boxes[:, 3].tolist()
    ([6, 0], [10.0, 4.0])
    """
    objects = target["boxes"].to(proposals)
    candidates = torch.cat([objects[has_area(objects)], proposals])  # (M, 4)
    kind, match = assign(candidates, objects, 0.5, 0.5)
    if len(objects):
        kind[box_iou(candidates, objects).amax(1) < lowest] = -1
    share = 0.25 if foreground is None else min(foreground, n) / max(n, 1)
    chosen = sample_rois(kind, n, share, generator)
    boxes, match = candidates[chosen], match[chosen]
    found = match >= 0
    labels = torch.zeros_like(match)
    labels[found] = target["labels"].to(match)[match[found]]
    truth = boxes.clone()
    truth[found] = objects[match[found]]
    return Regions(boxes, labels, truth)


def resize_images(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize images (N, C, H, W) to `size` (height, width), bilinearly and against aliasing.

    Half precision is resized in float32 and cast back: CPU torch has no such kernel for it.

    >>> resize_images(torch.ones(1, 3, 40, 30, dtype=torch.bfloat16), (48, 64)).shape
    torch.Size([1, 3, 48, 64])
    """
    if tuple(images.shape[-2:]) == size:
        return images
    wide = images.to(torch.promote_types(images.dtype, torch.float32))
    return F.interpolate(wide, size, mode="bilinear", antialias=True).to(images.dtype)


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

    `boxes` is (N, 4), or (N, C, 4) where each class has its own; `scores` is (N, C) without
    background, so column c has the label c + 1; `image_size` is (height, width). A box may be kept
    for several classes. Scores equal to the threshold go, and so do boxes outside the image, of
    which clipping leaves no area.

    >>> boxes = torch.tensor([[0., 0., 10., 10.], [0., 0., 10., 9.]])
    >>> scores = torch.tensor([[.9, .0], [.8, .7]])  # both boxes show class 1, one also class 2
    >>> found = select_detections(boxes, scores, (8, 20), score_threshold=0.5, nms_threshold=0.5,
    ...                           max_detections=10)
    >>> found["boxes"].tolist(), found["labels"].tolist()
    ([[0.0, 0.0, 10.0, 8.0], [0.0, 0.0, 10.0, 8.0]], [1, 2])
    """
    row, column = (scores > score_threshold).nonzero(as_tuple=True)
    scores = scores[row, column].float()  # suppression has no half precision on every device
    boxes = (boxes[row, column] if boxes.ndim == 3 else boxes[row]).float()
    boxes = clip_boxes(boxes, image_size)
    inside = has_area(boxes)
    boxes, scores, column = boxes[inside], scores[inside], column[inside]
    keep = batched_nms(boxes, scores, column, nms_threshold)[:max_detections]
    return Detections(boxes=boxes[keep], scores=scores[keep], labels=column[keep] + 1)
