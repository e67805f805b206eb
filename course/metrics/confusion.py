"""The confusion matrix: every pixel counted once, in the row of its label, the column of its guess.

All the scores of `course.metrics.scores` are quotients of its sums. Add it up over the whole data
set and divide at the end: the mean of the IoU of each image is another number, and one that a class
of few pixels can throw about.

    h[t, p] = number of pixels with label t and prediction p

An ignored pixel is dropped from both sides; dropped from the label alone, it would turn into a
false positive of the class predicted there. Reference: Long et al. 2015, section 5.
"""

import torch
from torch import Tensor

from course.metrics import scores

__all__ = ["ConfusionMatrix", "confusion_matrix"]


def confusion_matrix(
    pred: Tensor, target: Tensor, num_classes: int, ignore_index: int | None = 255
) -> Tensor:
    """Count pixels by label and prediction.

    Args:
        pred: integer (or bool) classes 0 … K-1 of any shape, such as `logits.argmax(1)`.
        target: integer labels of the same shape, 0 … K-1 or `ignore_index`. uint8 is fastest.
        num_classes: K.
        ignore_index: label of pixels that count nowhere; `None` if there are none.

    Returns:
        (K, K) int64 on the device of `target`, rows = label, columns = prediction.

    Raises:
        TypeError: something other than integers (logits: take `argmax(1)` first).
        ValueError: different shapes, or a value that is neither a class nor `ignore_index`.

    Example:
        The lecture's 3 × 3 pixels of road (0) and sidewalk (1):

        >>> target = torch.tensor([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
        >>> pred = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1]])
        >>> confusion_matrix(pred, target, 2)
        tensor([[3, 2],
                [0, 4]])
    """
    _check(pred, target, num_classes)
    if target.numel() == 0:
        return torch.zeros(num_classes, num_classes, dtype=torch.int64, device=target.device)
    pred, target = _as_integers(pred), _as_integers(target)
    low, high = _bounds(pred)
    if low < 0 or high >= num_classes:
        wrong = low if low < 0 else high
        raise ValueError(f"expected predictions 0 … {num_classes - 1}, got {wrong}")

    low, high = _bounds(target)
    if low < 0 or high > max(255, num_classes):  # far-off labels would need a matrix of their size
        target = _ignored_as_next_class(target, num_classes, ignore_index)
        ignore_index = high = num_classes

    # One integer per pixel, row * stride + column, in the narrowest type: the time goes into
    # memory traffic. Rows above K hold the ignored pixels, and any label that should not be there.
    rows, stride = max(high + 1, num_classes), 1 << (num_classes - 1).bit_length()
    narrow = (torch.int16, torch.int32, torch.int64)
    dtype = next(dtype for dtype in narrow if rows * stride - 1 <= torch.iinfo(dtype).max)
    cell = target.to(dtype, copy=True).mul_(stride).add_(pred.to(dtype))
    counts = torch.bincount(cell.flatten(), minlength=rows * stride).view(rows, stride)
    if ignore_index is not None and 0 <= ignore_index < rows:
        counts[ignore_index] = 0
    stray = counts[num_classes:].sum(1).nonzero()
    if len(stray):
        raise _wrong_label(num_classes + int(stray[0]), num_classes, ignore_index)
    return counts[:num_classes, :num_classes].contiguous()


class ConfusionMatrix:
    """A confusion matrix that grows batch by batch, and the scores of what it has seen so far.

    Args:
        num_classes: K.
        ignore_index: label of pixels that count nowhere; `None` if there are none.

    Example:
        >>> seen = ConfusionMatrix(2)
        >>> for label in ([0, 0, 255], [1, 1, 0]):
        ...     seen.update(pred=torch.tensor([0, 1, 1]), target=torch.tensor(label))
        >>> seen.matrix
        tensor([[1, 2],
                [1, 1]])
        >>> round(seen.mean_iou().item(), 4)
        0.25
    """

    def __init__(self, num_classes: int, ignore_index: int | None = 255) -> None:
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.matrix = torch.zeros(self.num_classes, self.num_classes, dtype=torch.int64)

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Count one batch; shapes, types and errors as in `confusion_matrix`.

        The counts stay on the device of the batches.
        """
        counts = confusion_matrix(pred, target, self.num_classes, self.ignore_index)
        self.matrix = self.matrix.to(counts.device) + counts

    def merge(self, other: "ConfusionMatrix") -> None:
        """Add what another one has seen, such as that of another process.

        Raises:
            ValueError: the other counts another number of classes.
        """
        if other.num_classes != self.num_classes:
            raise ValueError(
                f"expected a matrix of {self.num_classes} classes to merge, got one of "
                f"{other.num_classes}"
            )
        self.matrix = self.matrix + other.matrix.to(self.matrix.device)

    def pixel_accuracy(self) -> Tensor:
        """See `course.metrics.pixel_accuracy`; likewise for the other scores."""
        return scores.pixel_accuracy(self.matrix)

    def mean_accuracy(self) -> Tensor:
        return scores.mean_accuracy(self.matrix)

    def recall(self) -> Tensor:
        return scores.recall(self.matrix)

    def precision(self) -> Tensor:
        return scores.precision(self.matrix)

    def iou(self) -> Tensor:
        return scores.iou(self.matrix)

    def mean_iou(self) -> Tensor:
        return scores.mean_iou(self.matrix)

    def dice(self) -> Tensor:
        return scores.dice(self.matrix)

    def frequency_weighted_iou(self) -> Tensor:
        return scores.frequency_weighted_iou(self.matrix)

    def __repr__(self) -> str:
        return f"ConfusionMatrix({self.num_classes} classes, {int(self.matrix.sum())} pixels)"


def _bounds(values: Tensor) -> tuple[int, int]:
    if values.dtype == torch.uint8:
        return 0, int(values.max())
    low, high = torch.aminmax(values)
    return int(low), int(high)


def _as_integers(values: Tensor) -> Tensor:
    if values.dtype == torch.bool:
        return values.to(torch.uint8)
    # torch has hardly any kernels for uint16, uint32 and uint64
    return values if values.dtype.is_signed or values.dtype == torch.uint8 else values.long()


def _ignored_as_next_class(target: Tensor, num_classes: int, ignore_index: int | None) -> Tensor:
    """Rename an ignored label such as -100 to K; refuse every other label that is no class."""
    if ignore_index is None:
        ignored = torch.zeros_like(target, dtype=torch.bool)
    else:
        ignored = target == ignore_index
    low, high = _bounds(target.masked_fill(ignored, 0))
    if low < 0 or high >= num_classes:
        raise _wrong_label(low if low < 0 else high, num_classes, ignore_index)
    return target.masked_fill(ignored, num_classes)


def _wrong_label(label: int, num_classes: int, ignore_index: int | None) -> ValueError:
    ignored = "" if ignore_index is None else f" or {ignore_index} (ignored)"
    return ValueError(f"expected labels 0 … {num_classes - 1}{ignored}, got {label}")


def _check(pred: Tensor, target: Tensor, num_classes: int) -> None:
    if num_classes < 1:
        raise ValueError(f"expected num_classes >= 1, got {num_classes}")
    for name, values in (("pred", pred), ("target", target)):
        if not isinstance(values, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(values).__name__}")
        if values.is_floating_point() or values.is_complex():
            raise TypeError(
                f"{name} must hold integer classes, got {values.dtype} of shape "
                f"{tuple(values.shape)}; turn scores (B, K, H, W) into classes with .argmax(1)"
            )
    if pred.shape != target.shape:
        raise ValueError(
            "expected pred and target of one shape, got "
            f"{tuple(pred.shape)} and {tuple(target.shape)}"
        )
