"""Objects instead of pixels: label them, count them, match them.

Two cells merged by a bridge of three pixels keep their IoU and lose a cell. So a method that is
meant to separate objects is judged on objects: an object is found if a predicted one overlaps it
with an IoU of at least a threshold, and each predicted object may find one object only.

Connected components and the assignment are scipy's and run on the CPU; results come back to the
device of the input. References: Ronneberger et al. 2015, section 4; Caicedo et al. 2019 (DSB-2018),
which counts matches in this way.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Matches", "count_error", "instance_labels", "match_instances"]


def instance_labels(mask: Tensor, connectivity: int = 4) -> Tensor:
    """Number the connected components of a mask.

    Args:
        mask: (H, W) or (B, H, W) bool or integer; every value but 0 is foreground.
        connectivity: 4 joins pixels that share a side, 8 also those that share a corner.

    Returns:
        int64 of the shape of `mask`: 0 = background, components 1, 2, … in each image.

    Raises:
        TypeError: a floating mask (threshold it first).
        ValueError: another shape, or a connectivity other than 4 and 8.

    Example:
        >>> mask = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
        >>> instance_labels(mask).max().item(), instance_labels(mask, connectivity=8).max().item()
        (3, 1)
    """
    from scipy import ndimage

    if mask.is_floating_point():
        raise TypeError(f"mask must be bool or integer, got {mask.dtype}: compare with a threshold")
    if mask.ndim not in (2, 3):
        raise ValueError(f"expected a mask (H, W) or (B, H, W), got {tuple(mask.shape)}")
    if connectivity not in (4, 8):
        raise ValueError(f"expected connectivity 4 or 8, got {connectivity}")
    maps = mask if mask.ndim == 3 else mask[None]
    structure = ndimage.generate_binary_structure(2, 1 if connectivity == 4 else 2)
    labels = torch.zeros(maps.shape, dtype=torch.int64)
    for one, out in zip(maps.cpu().numpy(), labels):
        numbered, _ = ndimage.label(one != 0, structure)  # type: ignore[misc]
        out.copy_(torch.from_numpy(numbered))
    return labels.view(mask.shape).to(mask.device)


def count_error(pred: Tensor, target: Tensor) -> Tensor:
    """Predicted minus true number of objects in every image; 0 is an exact count.

    Args:
        pred: (H, W) or (B, H, W) integer instance map, 0 = background.
        target: likewise.

    Returns:
        int64 scalar or (B,).

    Raises:
        TypeError: floating maps.
        ValueError: different shapes or negative labels.

    Example:
        >>> one, two = torch.tensor([[1, 1, 1]]), torch.tensor([[1, 0, 9]])
        >>> count_error(one, two)
        tensor(-1)
    """
    pred, target = _check(pred, target)
    difference = [
        _count_objects(a) - _count_objects(b)
        for a, b in zip(pred.view(-1, *pred.shape[-2:]), target.view(-1, *target.shape[-2:]))
    ]
    return torch.tensor(difference, device=target.device).view(target.shape[:-2])


@dataclass(frozen=True)
class Matches:
    """Which predicted objects found which true ones in one image.

    Attributes:
        pairs: (M, 2) int64 labels of matched objects (predicted, true), in order of the predicted.
        ious: (M,) float64 IoU of every pair.
        missed: labels of true objects that nothing found (false negatives).
        spurious: labels of predicted objects that found nothing (false positives).
    """

    pairs: Tensor
    ious: Tensor
    missed: Tensor
    spurious: Tensor

    @property
    def found(self) -> int:
        """Number of true objects that were found."""
        return len(self.pairs)

    @property
    def recall(self) -> float:
        """Share of true objects that were found; nan if there are none."""
        return _ratio(self.found, self.found + len(self.missed))

    @property
    def precision(self) -> float:
        """Share of predicted objects that found one; nan if there are none."""
        return _ratio(self.found, self.found + len(self.spurious))

    @property
    def f1(self) -> float:
        """Harmonic mean of both, 2 TP / (2 TP + FP + FN); nan if there are no objects at all."""
        return _ratio(2 * self.found, 2 * self.found + len(self.missed) + len(self.spurious))


def match_instances(pred: Tensor, target: Tensor, iou: float = 0.5) -> Matches:
    """Match predicted to true objects one to one, with as many matches as possible.

    Above an IoU of 0.5 no two objects can claim the same partner; below, the assignment with the
    most matches is taken, and of those the one with the largest sum of IoU.

    Args:
        pred: (H, W) integer instance map, 0 = background; labels need not be consecutive.
        target: likewise.
        iou: smallest IoU of a match, in (0, 1].

    Raises:
        TypeError: floating maps.
        ValueError: different shapes, a batch, negative labels, or a threshold outside (0, 1].

    Example:
        >>> target = torch.tensor([[1, 1, 0, 2, 2, 2]])
        >>> pred = torch.tensor([[0, 5, 0, 7, 7, 0]])
        >>> matches = match_instances(pred, target, iou=0.6)
        >>> matches.pairs.tolist(), matches.missed.tolist(), round(matches.f1, 2)
        ([[7, 2]], [1], 0.5)
    """
    from scipy.optimize import linear_sum_assignment

    pred, target = _check(pred, target)
    if pred.ndim != 2:
        raise ValueError(f"expected one instance map (H, W) on each side, got {tuple(pred.shape)}")
    if not 0 < iou <= 1:
        raise ValueError(f"expected an IoU threshold in (0, 1], got {iou}")
    pred_ids, target_ids, overlap = _pairwise_iou(pred, target)
    good = overlap >= iou
    # One more match is worth more than any gain in IoU: the gains of one image sum to less than n.
    value = torch.where(good, 1 + overlap / (min(overlap.shape) + 1), 0.0)
    rows, columns = (torch.from_numpy(i) for i in linear_sum_assignment(-value.cpu().numpy()))
    kept = good.cpu()[rows, columns]
    rows, columns = rows[kept].to(pred.device), columns[kept].to(pred.device)
    return Matches(
        pairs=torch.stack([pred_ids[rows], target_ids[columns]], 1),
        ious=overlap[rows, columns],
        missed=_without(target_ids, columns),
        spurious=_without(pred_ids, rows),
    )


def _pairwise_iou(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Labels of both sides and the IoU of every pair, (N, M), from one joint histogram."""
    pred_ids, p = pred.unique(return_inverse=True)
    target_ids, t = target.unique(return_inverse=True)
    shape = len(pred_ids), len(target_ids)
    shared = torch.bincount((p * shape[1] + t).flatten(), minlength=shape[0] * shape[1])
    shared = shared.view(shape).double()
    union = shared.sum(1, keepdim=True) + shared.sum(0, keepdim=True) - shared
    rows, columns = pred_ids > 0, target_ids > 0  # leave the background out
    return pred_ids[rows], target_ids[columns], (shared / union)[rows][:, columns]


def _count_objects(labels: Tensor) -> int:
    return len(labels[labels > 0].unique())


def _without(ids: Tensor, matched: Tensor) -> Tensor:
    left = torch.ones_like(ids, dtype=torch.bool)
    left[matched] = False
    return ids[left]


def _ratio(part: int, whole: int) -> float:
    return part / whole if whole else float("nan")


def _check(pred: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    for name, labels in (("pred", pred), ("target", target)):
        if labels.is_floating_point():
            raise TypeError(f"{name} must be an integer instance map, got {labels.dtype}")
    if pred.shape != target.shape or pred.ndim not in (2, 3) or pred.numel() == 0:
        raise ValueError(
            "expected instance maps (H, W) or (B, H, W) of one shape, got "
            f"{tuple(pred.shape)} and {tuple(target.shape)}"
        )
    pred, target = pred.long().contiguous(), target.long().contiguous()
    if int(pred.min()) < 0 or int(target.min()) < 0:
        raise ValueError("expected instance labels >= 0, got a negative one")
    return pred, target
