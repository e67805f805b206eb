"""Cross-entropy of every pixel, and class weights that keep large classes from drowning small ones.

A segmentation network is a classifier at every pixel. Three things set its loss apart from that of
an image classifier: pixels without a label (255) count neither in the sum nor in the mean, pixels
may carry weights (U-Net's map), and so may classes (road fills CamVid, bicyclists do not):

    L = 1/|V| sum over x in V of w(x) c_y(x) (-log p_y(x)(x)),   V = pixels with a label

References: Long et al. 2015, section 4.3 (the loss per pixel); Ronneberger et al. 2015, eq. 1 (w);
Eigen & Fergus 2015, section 6.2, and Badrinarayanan et al. 2017, section 3 (median frequency, c).
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["class_frequencies", "cross_entropy", "median_frequency_weights"]


def cross_entropy(
    logits: Tensor,
    target: Tensor,
    *,
    weight_map: Tensor | None = None,
    class_weights: Tensor | None = None,
    ignore_index: int = 255,
) -> Tensor:
    """Mean cross-entropy over the pixels that have a label; 0 with a zero gradient if none has.

    The mean divides by the number of labelled pixels, whatever the weights, so weights of 2 double
    the loss. (`torch.nn.functional.cross_entropy` divides by the sum of the class weights instead
    and returns nan where every pixel is ignored.)

    Args:
        logits: (B, K, H, W) floating scores before softmax; 16-bit ones are computed in float32.
        target: (B, H, W) integer classes 0 … K-1 or `ignore_index`.
        weight_map: (B, H, W) weight of every pixel, such as `border_weights`.
        class_weights: (K,) weight of every class, such as `median_frequency_weights`.
        ignore_index: label of pixels that do not count.

    Returns:
        A scalar, float32 or float64.

    Raises:
        TypeError: logits are not a floating tensor or target is not an integer one; of the outputs
            of networks with several heads the message names the right loss.
        ValueError: shapes that do not belong together, or a label that is not a class (on a CPU; on
            CUDA the check would stall the stream, and torch asserts on the device).

    Example:
        >>> logits = torch.zeros(1, 2, 1, 3)  # p = 1/2 everywhere, -log p = 0.6931
        >>> cross_entropy(logits, torch.tensor([[[0, 1, 255]]]))
        tensor(0.6931)
    """
    _check_logits(logits, target)
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    _check_weights("weight_map", weight_map, tuple(target.shape))
    _check_weights("class_weights", class_weights, (logits.shape[1],))
    if class_weights is not None:
        class_weights = class_weights.to(logits)
    try:
        per_pixel = F.cross_entropy(
            logits, target.long(), class_weights, ignore_index=ignore_index, reduction="none"
        )  # (B, H, W), 0 where ignored
    except IndexError as error:
        wrong = target[(target != ignore_index) & ((target < 0) | (target >= logits.shape[1]))]
        raise ValueError(
            f"expected labels 0 … {logits.shape[1] - 1} or {ignore_index} (ignored) for logits of "
            f"{logits.shape[1]} classes; the target holds {wrong[0].item()}"
        ) from error
    if weight_map is not None:
        per_pixel = per_pixel * weight_map
    return per_pixel.sum() / (target != ignore_index).sum().clamp(min=1)


def class_frequencies(
    label_maps: Tensor | Iterable[Tensor],
    num_classes: int,
    *,
    where_present: bool = True,
    ignore_index: int = 255,
) -> Tensor:
    """How often each class occurs in a data set, as a share of labelled pixels.

    Args:
        label_maps: (N, H, W) integer, or any iterable of (H, W) or (B, H, W) maps, read once.
        num_classes: K.
        where_present: True divides the pixels of a class by the pixels of the *images that hold it*
            (Eigen & Fergus 2015); False divides by the pixels of the whole set (the words of the
            SegNet paper, which cites the former).
        ignore_index: label of pixels that do not count.

    Returns:
        (K,) float64, 0 for a class that never occurs; sums to 1 only with `where_present=False`.

    Raises:
        ValueError: no maps, or a label that is neither a class nor `ignore_index`.

    Example:
        >>> maps = torch.tensor([[[0, 0, 0, 1]], [[0, 0, 255, 0]]])
        >>> class_frequencies(maps, 2)  # class 0: 6 of 7 pixels; class 1: 1 of the 4 of its image
        tensor([0.8571, 0.2500], dtype=torch.float64)
    """
    rows = [row for batch in label_maps for row in _counts(batch, num_classes, ignore_index)]
    if not rows:
        raise ValueError("expected at least one label map to count classes in, got none")
    counts = torch.stack(rows)  # (N, K)
    pixels = counts.sum(1, keepdim=True)  # (N, 1)
    seen_in = pixels * (counts > 0) if where_present else pixels
    return counts.sum(0) / seen_in.sum(0).clamp(min=1).double()


def median_frequency_weights(frequencies: Tensor) -> Tensor:
    """SegNet's class weights: the median frequency over each class's own.

    A class of median frequency weighs 1, a rarer class more. The median is over the classes that
    occur (of an even number, the mean of the middle two); a class that never occurs weighs 1.

    Args:
        frequencies: (K,) from `class_frequencies`.

    Returns:
        (K,) float32, for `class_weights` of `cross_entropy`.

    Raises:
        ValueError: not one row of finite numbers >= 0, or all of them 0.

    Example:
        >>> median_frequency_weights(torch.tensor([0.6, 0.3, 0.1, 0.0]))
        tensor([0.5000, 1.0000, 3.0000, 1.0000])
    """
    if frequencies.ndim != 1 or not bool((frequencies >= 0).all() & frequencies.isfinite().all()):
        raise ValueError(f"expected (K,) finite frequencies >= 0, got {frequencies.tolist()}")
    occurs = frequencies > 0
    if not occurs.any():
        raise ValueError("expected at least one class with a frequency above 0, got only zeros")
    frequencies = frequencies.double()
    weights = frequencies[occurs].quantile(0.5) / frequencies
    return torch.where(occurs, weights, 1.0).float()


def _counts(labels: Tensor, num_classes: int, ignore_index: int) -> list[Tensor]:
    """Pixels of every class in each map of a batch, B rows (K,)."""
    if labels.ndim not in (2, 3) or labels.is_floating_point():
        raise ValueError(
            "expected integer label maps (H, W) or (B, H, W), got "
            f"{tuple(labels.shape)} of {labels.dtype}"
        )
    maps = labels if labels.ndim == 3 else labels[None]
    rows = []
    for one in maps:
        valid = one[one != ignore_index].long()
        if valid.numel() and (int(valid.min()) < 0 or int(valid.max()) >= num_classes):
            wrong = valid[(valid < 0) | (valid >= num_classes)][0].item()
            raise ValueError(
                f"expected labels 0 … {num_classes - 1} or {ignore_index} (ignored), got {wrong}"
            )
        rows.append(torch.bincount(valid, minlength=num_classes))
    return rows


def wrong_output(loss: str, output: object) -> TypeError:
    """Build the error of a `loss` that does not take this `output` of a network.

    An output of several heads names the loss that does in its attribute `trained_by`.
    """
    kind = type(output).__name__
    right = getattr(output, "trained_by", None)
    cure = f"train with {right}" if right else "give the tensor of logits (B, K, H, W)"
    return TypeError(f"{loss} does not take {kind}: {cure}")


def _check_logits(logits: Tensor, target: Tensor) -> None:
    if not isinstance(logits, Tensor):
        raise wrong_output("cross_entropy", logits)
    if not isinstance(target, Tensor):
        kind = type(target).__name__
        raise TypeError(f"target must be a tensor, got {kind}: call torch.as_tensor on it")
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating, got {logits.dtype}")
    if target.is_floating_point() or target.is_complex():
        raise TypeError(f"target must hold integer classes, got {target.dtype}: call .long() on it")
    if logits.ndim != 4 or target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            "expected logits (B, K, H, W) and target (B, H, W) of the same B, H and W; got "
            f"{tuple(logits.shape)} and {tuple(target.shape)}"
        )


def _check_weights(name: str, weights: Tensor | None, shape: tuple[int, ...]) -> None:
    if weights is not None and tuple(weights.shape) != shape:
        raise ValueError(f"expected {name} of shape {shape}, got {tuple(weights.shape)}")
