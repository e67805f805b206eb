"""Boundary F: is the outline in its place, to within a few pixels?

IoU is a matter of areas, and an outline three pixels off costs a large object almost nothing. Here
only outlines count. Precision is the share of predicted boundary pixels with a boundary pixel of
the label within `tolerance`, recall the share of the label's with a predicted one as near, and

    F = 2 P R / (P + R)      for every class of every image

References: Martin, Fowlkes, Malik, PAMI 2004 (the measure); Csurka, Larlus, Perronnin, BMVC 2013
(per class and image).
"""

import math

import torch
from torch import Tensor

__all__ = ["boundary_f"]


def boundary_f(
    pred: Tensor,
    target: Tensor,
    tolerance: float,
    *,
    num_classes: int | None = None,
    ignore_index: int = 255,
) -> Tensor:
    """Harmonic mean of boundary precision and recall.

    A boundary pixel of a class is a pixel of it with a 4-neighbour of another class. The frame of
    the image bounds nothing, and neither does the edge of an ignored region, where the truth is
    unknown: labels with a void band around every object (PASCAL VOC) leave little to compare.

    Without any boundary on one side F is 0. Without any on both, F is 1 if the class occurs in both
    (it fills them), 0 if it occurs in one, and nan if it occurs in neither, as for IoU: average
    with `nanmean`.

    Args:
        pred: (H, W) or (B, H, W) bool masks, or integer classes with `num_classes`.
        target: labels likewise; `ignore_index` marks integer labels that do not count.
        tolerance: largest distance of a match in pixels, Euclidean (a disc, not a square). Csurka
            takes 0.75 % of the image diagonal.
        num_classes: K; leave it out for bool masks.
        ignore_index: ignored label.

    Returns:
        float64 (K,) or (B, K); for masks a scalar or (B,).

    Raises:
        TypeError: masks without bool type and without `num_classes`.
        ValueError: shapes that do not belong together, values outside the classes, or a negative
            tolerance.

    Example:
        >>> target = torch.zeros(5, 9, dtype=torch.bool)
        >>> target[:, 4:] = True                       # boundary in column 4
        >>> pred = target.roll(1, 1).logical_and(target)  # boundary in column 5
        >>> boundary_f(pred, target, 0), boundary_f(pred, target, 1)
        (tensor(0., dtype=torch.float64), tensor(1., dtype=torch.float64))
    """
    pred, target, classes = _as_labels(pred, target, tolerance, num_classes, ignore_index)
    maps = [x if x.ndim == 3 else x[None] for x in (pred, target)]  # (B, H, W)
    outlines = [_outline(x) for x in maps]  # (B, H, W), -1 off the boundary
    near_target, near_pred = (
        _count_near(a, b, tolerance, classes) for a, b in (outlines, outlines[::-1])
    )  # (B, K)
    pred_length, target_length = (_count(outline, classes) for outline in outlines)
    p, r = near_target / pred_length, near_pred / target_length  # 0 / 0 = nan
    f = torch.where((p > 0) & (r > 0), 2 * p * r / (p + r), 0.0)

    neither = (pred_length == 0) & (target_length == 0)
    in_pred, in_target = (_count(x, classes) > 0 for x in maps)
    f = torch.where(neither, (in_pred & in_target).double(), f)
    f = f.masked_fill(~(in_pred | in_target), torch.nan)
    if num_classes is None:
        f = f[:, 1]  # the mask; its complement has a boundary of its own
    return f if pred.ndim == 3 else f[0]


def _outline(labels: Tensor) -> Tensor:
    """The label of every boundary pixel, -1 of every other; negative labels are unknown ground."""
    edge = torch.zeros_like(labels, dtype=torch.bool)
    for axis in (1, 2):
        n = labels.shape[axis] - 1
        a, b = labels.narrow(axis, 0, n), labels.narrow(axis, 1, n)
        differ = (a != b) & (a >= 0) & (b >= 0)
        edge.narrow(axis, 0, n).logical_or_(differ)
        edge.narrow(axis, 1, n).logical_or_(differ)
    return labels.masked_fill(~edge, -1)


def _count_near(outline: Tensor, other: Tensor, tolerance: float, classes: int) -> Tensor:
    """How many pixels of `outline` have one of `other` of their class in the disc, (B, K)."""
    reach = int(tolerance)
    width = other.shape[2] + 2 * reach
    ground = torch.nn.functional.pad(other, (reach,) * 4, value=-1).flatten()
    image, y, x = (outline >= 0).nonzero(as_tuple=True)  # each (N,), N = boundary pixels
    at = (image * (other.shape[1] + 2 * reach) + y + reach) * width + x + reach
    label = outline[image, y, x]
    found = torch.zeros_like(label, dtype=torch.bool)
    # Boundaries are thin: looking up a disc around each of their pixels touches far fewer pixels
    # than a dilation or a distance transform of every class of every image.
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            if dy * dy + dx * dx <= tolerance * tolerance:
                found |= ground[at + (dy * width + dx)] == label
    return _histogram(image[found], label[found], outline.shape[0], classes)


def _count(labels: Tensor, classes: int) -> Tensor:
    image, y, x = (labels >= 0).nonzero(as_tuple=True)
    return _histogram(image, labels[image, y, x], labels.shape[0], classes)


def _histogram(image: Tensor, label: Tensor, images: int, classes: int) -> Tensor:
    counts = torch.bincount(image * classes + label, minlength=images * classes)
    return counts.view(images, classes).double()


def _as_labels(
    pred: Tensor, target: Tensor, tolerance: float, num_classes: int | None, ignore_index: int
) -> tuple[Tensor, Tensor, int]:
    """Both as int64 classes, -1 where the target is ignored, and the number of classes."""
    if pred.shape != target.shape or pred.ndim not in (2, 3) or pred.numel() == 0:
        raise ValueError(
            "expected pred and target (H, W) or (B, H, W) of one shape, got "
            f"{tuple(pred.shape)} and {tuple(target.shape)}"
        )
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"expected a tolerance >= 0 pixels, got {tolerance}")
    if num_classes is None:
        if pred.dtype != torch.bool or target.dtype != torch.bool:
            raise TypeError(
                "expected bool masks, or num_classes= with label maps; got "
                f"{pred.dtype} and {target.dtype}"
            )
        return pred.long(), target.long(), 2
    if pred.is_floating_point() or target.is_floating_point():
        raise TypeError(f"expected integer classes, got {pred.dtype} and {target.dtype}")
    pred, target = pred.long(), target.long()
    ignored = target == ignore_index
    pred, target = pred.masked_fill(ignored, -1), target.masked_fill(ignored, -1)
    for name, labels in (("predictions", pred), ("labels", target)):
        wrong = labels[((labels < 0) & ~ignored) | (labels >= num_classes)]
        if wrong.numel():
            raise ValueError(f"expected {name} 0 … {num_classes - 1}, got {int(wrong[0])}")
    return pred, target, num_classes
