"""The measures of localisation: relative boxes, the loss of two heads, and when an answer counts.

    L = cross-entropy(logits, label) + lambda [object present] distance(box, true box)

Only images with an object have a true box. Boxes are relative to the image, so both terms have the
same order of magnitude.

References: Sermanet et al., *OverFeat*, ICLR 2014, arXiv:1312.6229, section 4 (regression on the
features of a classifier); Russakovsky et al., *ImageNet Large Scale Visual Recognition Challenge*,
IJCV 2015, arXiv:1409.0575, section 4.2 (the measure).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from course.models.detection import check_boxes

Distance = Literal["smooth_l1", "l2"]


class LocalizationLoss(NamedTuple):
    """Cross-entropy, and the weighted box distance."""

    classes: Tensor
    boxes: Tensor


def relative_boxes(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Divide boxes (N, 4) in pixels by the image's width and height: corners in [0, 1].

    >>> relative_boxes(torch.tensor([[10.0, 10.0, 30.0, 40.0]]), (40, 100))
    tensor([[0.1000, 0.2500, 0.3000, 1.0000]])
    """
    height, width = image_size
    return boxes / boxes.new_tensor([width, height, width, height])


def boxes_of(boxes: Tensor, labels: Tensor) -> Tensor:
    """Pick the boxes of `labels` (N, G): (N, G, 4) from agnostic (N, 4) or specific (N, K, 4)."""
    if boxes.ndim == 2:
        return boxes.unsqueeze(1).expand(-1, labels.shape[1], -1)
    return boxes.gather(1, labels.unsqueeze(2).expand(-1, -1, 4))


def localization_loss(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    truth: Tensor,
    has_object: Tensor | None = None,
    *,
    lam: float = 1.0,
    distance: Distance = "smooth_l1",
    beta: float = 0.1,
) -> LocalizationLoss:
    """Cross-entropy of all images, and `lam` times the box distance of those with an object.

    `logits` (N, K), `boxes` (N, 4) or (N, K, 4), `labels` (N,) integers in 0 ... K - 1, `truth`
    (N, 4) in the units of `boxes`, `has_object` (N,) bool (default: all). The distance of an image
    is the sum over its 4 coordinates of d^2, or of smooth L1 with `beta`; it is averaged over the
    images with an object, and 0 where there is none. Relative errors stay below 1, so `beta=1`
    would make both distances the same but for a factor. Raises ValueError where shapes do not
    belong together and for labels out of range, TypeError for a `has_object` of numbers, which
    would index rows.

    >>> logits, boxes = torch.zeros(2, 2), torch.zeros(2, 4)
    >>> truth = torch.tensor([[0.0, 0.0, 0.5, 0.5], [9.0, 9.0, 9.0, 9.0]])
    >>> has_object = torch.tensor([True, False])
    >>> terms = localization_loss(logits, boxes, torch.tensor([0, 1]), truth, has_object,
    ...                           distance="l2")
    >>> [round(term.item(), 4) for term in terms]
    [0.6931, 0.5]
    """
    n = len(logits)
    if labels.shape != (n,) or truth.shape != (n, 4) or len(boxes) != n:
        raise ValueError(
            f"{n} rows of logits need labels ({n},), truth ({n}, 4) and {n} boxes, got "
            f"{tuple(labels.shape)}, {tuple(truth.shape)} and {tuple(boxes.shape)}"
        )
    if distance not in ("smooth_l1", "l2"):
        raise ValueError(f"distance must be 'smooth_l1' or 'l2', got {distance!r}")
    classes = logits.shape[1]
    if n and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"labels number the logits, 0 ... {classes - 1}, got {labels.tolist()}: build the "
            "network with more classes, or renumber the labels"
        )
    if has_object is None:
        has_object = torch.ones_like(labels, dtype=torch.bool)
    if has_object.dtype != torch.bool:
        raise TypeError(f"has_object must be bool, got {has_object.dtype}: pass labels > 0")
    if has_object.shape != (n,):
        raise ValueError(f"has_object must be ({n},), got {tuple(has_object.shape)}")
    chosen = boxes_of(boxes, labels.unsqueeze(1)).squeeze(1)[has_object]  # (P, 4)
    wanted = truth[has_object].to(chosen)
    check_boxes(wanted, name="truth")
    if distance == "l2":
        error = F.mse_loss(chosen, wanted, reduction="sum")
    else:
        error = F.smooth_l1_loss(chosen, wanted, reduction="sum", beta=beta)
    return LocalizationLoss(F.cross_entropy(logits, labels), lam * error / max(len(chosen), 1))


def localization_accuracy(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    truth: Tensor,
    *,
    guesses: int = 1,
    threshold: float = 0.5,
) -> float:
    """Share of images with one guess among the best `guesses` that has the right label and box.

    A box is right if its IoU with `truth` is at least `threshold`. Shapes and units as in
    `localization_loss`; 1 guess is the everyday measure, the ImageNet challenge allows 5. An empty
    batch gives nan.

    >>> logits = torch.tensor([[2.0, 1.0], [2.0, 1.0]])  # class 0 twice
    >>> boxes = torch.tensor([[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0]])
    >>> truth = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    >>> localization_accuracy(logits, boxes, torch.tensor([0, 1]), truth)  # IoU 0.5 is enough
    0.5

    Source: Russakovsky et al. 2015, section 4.2.
    """
    best = logits.topk(min(guesses, logits.shape[1]), dim=1).indices  # (N, G)
    chosen = boxes_of(boxes, best)  # (N, G, 4)
    wanted = truth.unsqueeze(1).to(chosen)
    low = torch.maximum(chosen[..., :2], wanted[..., :2])
    high = torch.minimum(chosen[..., 2:], wanted[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)  # (N, G)
    areas = [(b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1) for b in (chosen, wanted)]
    # Divided, not compared with threshold * union: 0.5 must count as 0.5.
    iou = shared / (areas[0] + areas[1] - shared)
    right = (best == labels.unsqueeze(1)) & (iou >= threshold)
    return right.any(1).float().mean().item()
