"""Soft Dice: overlap of two masks, made differentiable by letting one of them be probabilities.

Dice is twice the shared area over the sum of both areas. With probabilities p in place of a
predicted mask it has a gradient, and the size of a class cancels: a class of ten pixels weighs as
much as one of ten thousand. V-Net squares the terms below the line, which flattens the loss near
its goal.

    D = (2 sum p t + eps) / (sum p + sum t + eps)        linear
    D = (2 sum p t + eps) / (sum p^2 + sum t^2 + eps)    squared

References: Dice 1945; Milletari, Navab, Ahmadi, 3DV 2016 (V-Net), section 3 (squared).
"""

import torch
from torch import Tensor

__all__ = ["soft_dice", "soft_dice_loss"]


def soft_dice(
    probabilities: Tensor,
    target: Tensor,
    *,
    squared: bool = False,
    over_batch: bool = False,
    eps: float = 1e-6,
    ignore_index: int | None = 255,
) -> Tensor:
    """Dice of every class between probabilities and a target, 1 where both are empty.

    `eps` stands above and below the line; below alone it would make empty against empty 0. One Dice
    per image and class is not the Dice over the batch: `over_batch` adds up the areas first, which
    suits small crops where most classes are absent.

    Args:
        probabilities: (B, K, H, W) in [0, 1] after softmax or sigmoid; or (..., H, W) with masks.
        target: (B, H, W) integer classes; or masks (..., H, W) of the shape of `probabilities`
            with values in [0, 1] (nothing is ignored then: ignored pixels need integer classes).
        squared: V-Net's form instead of the linear one.
        over_batch: sum over the batch before dividing.
        eps: added to numerator and denominator, in pixels.
        ignore_index: label of pixels that count on neither side; `None` if there are none, which
            spares CUDA a look for them.

    Returns:
        (B, K), or (...) for masks; with `over_batch` (K,), or (...) without its first axis.

    Raises:
        TypeError: `probabilities` is not floating.
        ValueError: shapes that do not belong together; on a CPU also a label that is no class, a
            mask that leaves [0, 1], or probabilities with a class whose mean leaves [0, 1] (logits:
            forgot the softmax?).

    Example:
        The numbers of the lecture (Jordan 2018): overlap 7.41, areas 7.82 and 8.

        >>> p = torch.tensor([[.01, .03, .02, .02], [.05, .12, .09, .07],
        ...                   [.89, .85, .88, .91], [.99, .97, .95, .97]])
        >>> t = torch.tensor([[0.], [0.], [1.], [1.]]).expand(4, 4)
        >>> print(f"{soft_dice(p, t):.6f} {soft_dice(p, t, squared=True):.6f}")
        0.936789 0.993751
    """
    if not probabilities.is_floating_point():
        raise TypeError(f"probabilities must be floating, got {probabilities.dtype}")
    if probabilities.dtype in (torch.float16, torch.bfloat16):
        probabilities = probabilities.float()
    if target.shape == probabilities.shape:
        areas = _areas_of_masks(probabilities, target, squared)
    else:
        areas = _areas_of_labels(probabilities, target, squared, ignore_index)
    shared, predicted, wanted = (area.sum(0) if over_batch else area for area in areas)
    return (2 * shared + eps) / (predicted + wanted + eps)


def soft_dice_loss(
    probabilities: Tensor,
    target: Tensor,
    *,
    squared: bool = False,
    over_batch: bool = False,
    eps: float = 1e-6,
    ignore_index: int | None = 255,
) -> Tensor:
    """One minus the mean of `soft_dice` over images and classes; arguments and errors as there.

    Returns:
        A scalar in [0, 1]; 0 with a zero gradient for a batch without images.

    Example:
        >>> logits = torch.tensor([[9.0, -9.0], [-9.0, 9.0]])[None, :, None]  # (1, 2, 1, 2)
        >>> round(soft_dice_loss(logits.softmax(1), torch.tensor([[[0, 1]]])).item(), 4)
        0.0
    """
    dice = soft_dice(
        probabilities,
        target,
        squared=squared,
        over_batch=over_batch,
        eps=eps,
        ignore_index=ignore_index,
    )
    return 1 - dice.mean() if dice.numel() else dice.sum()  # the mean of nothing is nan


def _areas_of_masks(p: Tensor, t: Tensor, squared: bool) -> tuple[Tensor, Tensor, Tensor]:
    if p.ndim < 2:
        raise ValueError(f"expected masks (..., H, W), got {tuple(p.shape)}")
    of_bool, t = t.dtype == torch.bool, t.to(p.dtype)
    if not of_bool:
        _check_masks(t)
    wanted = (t.square() if squared else t).sum((-2, -1))
    return (p * t).sum((-2, -1)), _area(p, squared), wanted


def _areas_of_labels(
    p: Tensor, target: Tensor, squared: bool, ignore_index: int | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The three sums, each (B, K), without ever writing the labels out as K masks."""
    if p.ndim != 4 or target.shape != p.shape[:1] + p.shape[2:] or target.is_floating_point():
        raise ValueError(
            "expected probabilities (B, K, H, W) with integer target (B, H, W), or masks of one "
            f"shape; got {tuple(p.shape)} and {tuple(target.shape)} of {target.dtype}"
        )
    b, k = p.shape[:2]
    labels, valid = target.long(), None
    if ignore_index is not None:
        valid = labels != ignore_index
        if valid.all():
            valid = None  # the mask below costs as much as all the rest
        else:
            p = p * valid[:, None]
            labels = labels.masked_fill(~valid, 0)
    _check_labels(labels, k)
    of_label = p.gather(1, labels[:, None]).flatten()  # (B*H*W,) probability of the right class
    row = torch.arange(b, device=p.device)[:, None] * k + labels.flatten(1)  # (B, H*W) into B*K
    shared = p.new_zeros(b * k).index_add(0, row.flatten(), of_label).view(b, k)
    wanted = torch.bincount(row.flatten(), minlength=b * k).view(b, k)
    if valid is not None:
        wanted[:, 0] -= (~valid).sum((1, 2))  # ignored pixels were written as class 0 above
    return shared, _area(p, squared), wanted


def _check_labels(labels: Tensor, num_classes: int) -> None:
    if labels.is_cuda or labels.numel() == 0:
        return
    low, high = (int(bound) for bound in torch.aminmax(labels))
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"expected labels 0 … {num_classes - 1} for {num_classes} classes of probabilities, "
            f"got {low if low < 0 else high}"
        )


def _check_masks(masks: Tensor) -> None:
    if masks.is_cuda or masks.numel() == 0:
        return
    low, high = (bound.item() for bound in torch.aminmax(masks.detach()))
    if not (low >= -1e-3 and high <= 1.001):  # resampled masks overshoot by rounding
        raise ValueError(
            f"expected masks in [0, 1], got values from {low:g} to {high:g}: divide masks of bytes "
            "by 255; to ignore pixels, give integer labels (B, H, W) with probabilities "
            "(B, K, H, W)"
        )


def _area(p: Tensor, squared: bool) -> Tensor:
    """Sum p or p^2 over each map; refuse logits, except on CUDA, which would have to wait."""
    area = p.square().sum((-2, -1)) if squared else p.sum((-2, -1))
    if not p.is_cuda:
        linear = p.detach().sum((-2, -1)) if squared else area.detach()
        pixels = p.shape[-2] * p.shape[-1]
        if bool(((linear < 0) | (linear > pixels * 1.001)).any()):
            raise ValueError(
                "expected probabilities in [0, 1]; a class has a mean of size "
                f"{float(linear.abs().max()) / pixels:.3g}: apply softmax or sigmoid first"
            )
    return area
