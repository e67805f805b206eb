"""Scores of a confusion matrix h (rows = label, columns = prediction).

    pixel accuracy  sum_c h_cc / sum h           recall_c     h_cc / row_c   ("class accuracy")
    IoU_c   h_cc / (row_c + col_c - h_cc)        precision_c  h_cc / col_c
    Dice_c  2 h_cc / (row_c + col_c) = 2 IoU_c / (1 + IoU_c)

A class that occurs neither in labels nor in predictions has no IoU: it is nan, and means leave it
out; predicted but never a label, it has IoU 0 and counts. That is the rule of FCN's own evaluation.
Other codes count an absent class as 0 (`iou(h).nan_to_num(0).mean()`; SegNet, PSPNet) or average
over the classes among the labels only (`iou(h)[h.sum(1) > 0].mean()`); published figures differ
by it. References: Long et al. 2015, section 5; Dice 1945; Jaccard 1912.
"""

from typing import TypeVar

import torch
from torch import Tensor

__all__ = [
    "dice",
    "dice_from_iou",
    "frequency_weighted_iou",
    "iou",
    "iou_from_dice",
    "mean_accuracy",
    "mean_iou",
    "pixel_accuracy",
    "precision",
    "recall",
]

Score = TypeVar("Score", float, Tensor)


def pixel_accuracy(matrix: Tensor) -> Tensor:
    """Share of the pixels with the right class.

    Args:
        matrix: (K, K) counts, rows = label, columns = prediction.

    Returns:
        A float64 scalar; nan if nothing was counted.

    Raises:
        ValueError: the matrix is not square (all scores below raise it too).

    Example:
        >>> pixel_accuracy(torch.tensor([[3, 2], [0, 4]]))  # (3 + 4) / 9
        tensor(0.7778, dtype=torch.float64)
    """
    hits, rows, _ = _sums(matrix)
    return hits.sum() / rows.sum()


def recall(matrix: Tensor) -> Tensor:
    """Share of each class's own pixels that were found; (K,) float64, nan for a class without any.

    Example:
        >>> recall(torch.tensor([[3, 2], [0, 4]]))
        tensor([0.6000, 1.0000], dtype=torch.float64)
    """
    hits, rows, _ = _sums(matrix)
    return hits / rows


def precision(matrix: Tensor) -> Tensor:
    """Share of the pixels given to a class that belong to it; (K,), nan for a class never given.

    Example:
        >>> precision(torch.tensor([[3, 2], [0, 4]]))
        tensor([1.0000, 0.6667], dtype=torch.float64)
    """
    hits, _, columns = _sums(matrix)
    return hits / columns


def mean_accuracy(matrix: Tensor) -> Tensor:
    """Mean recall over the classes that occur among the labels ("class accuracy").

    Example:
        >>> mean_accuracy(torch.tensor([[3, 2], [0, 4]]))  # (3/5 + 4/4) / 2
        tensor(0.8000, dtype=torch.float64)
    """
    return recall(matrix).nanmean()


def iou(matrix: Tensor) -> Tensor:
    """Intersection over union of every class; (K,) float64, nan for an absent class.

    Example:
        >>> iou(torch.tensor([[3, 2], [0, 4]]))
        tensor([0.6000, 0.6667], dtype=torch.float64)
    """
    hits, rows, columns = _sums(matrix)
    return hits / (rows + columns - hits)


def mean_iou(matrix: Tensor) -> Tensor:
    """Mean IoU over the classes that occur among labels or predictions.

    Example:
        >>> mean_iou(torch.tensor([[3, 2], [0, 4]]))  # 19 / 30
        tensor(0.6333, dtype=torch.float64)
    """
    return iou(matrix).nanmean()


def frequency_weighted_iou(matrix: Tensor) -> Tensor:
    """IoU averaged with each class's share of the labelled pixels as its weight.

    Example:
        >>> frequency_weighted_iou(torch.tensor([[3, 2], [0, 4]]))  # 5/9 * 3/5 + 4/9 * 4/6
        tensor(0.6296, dtype=torch.float64)
    """
    _, rows, _ = _sums(matrix)
    return (rows / rows.sum() * iou(matrix)).nansum() / (rows.sum() > 0)


def dice(matrix: Tensor) -> Tensor:
    """Dice index of every class, which is its F1 too; (K,) float64, nan for an absent class.

    Example:
        >>> dice(torch.tensor([[3, 2], [0, 4]]))
        tensor([0.7500, 0.8000], dtype=torch.float64)
    """
    hits, rows, columns = _sums(matrix)
    return 2 * hits / (rows + columns)


def dice_from_iou(iou: Score) -> Score:
    """Dice index of an IoU J of one class: 2 J / (1 + J), never below J.

    It does not hold for means over classes.

    Example:
        >>> dice_from_iou(1 / 3)
        0.5
    """
    return 2 * iou / (1 + iou)


def iou_from_dice(dice: Score) -> Score:
    """IoU of a Dice index D of one class: D / (2 - D).

    Example:
        >>> iou_from_dice(0.75)
        0.6
    """
    return dice / (2 - dice)


def _sums(matrix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Diagonal, row sums and column sums in float64, where counts below 2^53 are exact."""
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(
            f"expected a confusion matrix (K, K), got {tuple(matrix.shape)}; "
            "count one with confusion_matrix(pred, target, num_classes)"
        )
    counts = matrix.to(torch.float64)
    return counts.diagonal(), counts.sum(1), counts.sum(0)
