"""What a detector learns from: regression targets, labels and samples of proposals.

R-CNN moves a proposal onto its object by four numbers that do not depend on the image's scale. With
a proposal's centre and size (Px, Py, Pw, Ph) and its object's (Gx, Gy, Gw, Gh):

    t = ((Gx - Px) / Pw, (Gy - Py) / Ph, ln(Gw / Pw), ln(Gh / Ph)).

Proposals with a high IoU are foreground, those with a low one background, those between train
nothing; a batch holds a fixed share of foreground. References: Girshick et al. 2014 (R-CNN),
appendix C; Girshick 2015 (Fast R-CNN), section 2.3; Ren et al. 2015 (Faster R-CNN), section 3.1.2.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from course.boxes.overlap import box_iou, check_boxes, to_cxcywh, to_xyxy

__all__ = ["assign", "decode", "encode", "sample_rois"]

MAX_LOG_SCALE = math.log(1000 / 16)  # a 16-pixel stride never has to grow beyond a 1000-pixel image


def encode(
    boxes: Tensor,
    anchors: Tensor,
    *,
    means: Sequence[float] | None = None,
    stds: Sequence[float] | None = None,
) -> Tensor:
    """Regression targets that move `anchors` onto `boxes`.

    Args:
        boxes: `(..., 4)` float corners of the objects.
        anchors: `(..., 4)` float corners of the proposals; the shapes broadcast.
        means: four numbers subtracted from the targets (Fast R-CNN normalises per data set).
        stds: four positive numbers that the targets are then divided by.

    Returns:
        `(..., 4)` targets (tx, ty, tw, th), without unit.

    Raises:
        TypeError: integer boxes.
        ValueError: wrong shapes, or a box without positive width and height.

    Source: Girshick et al. 2014, appendix C, equations 6 to 9.

    >>> encode(torch.tensor([[40.0, 36, 70, 56]]), torch.tensor([[40.0, 30, 60, 70]]))
    tensor([[ 0.2500, -0.1000,  0.4055, -0.6931]])
    """
    _check_sizes(boxes, "boxes")
    _check_sizes(anchors, "anchors")
    goal, start = to_cxcywh(boxes), to_cxcywh(anchors)
    shift = (goal[..., :2] - start[..., :2]) / start[..., 2:]
    log_scale = (goal[..., 2:] / start[..., 2:]).log()
    targets = torch.cat([shift, log_scale], dim=-1)
    mean, std = _statistics(targets, means, stds)
    return (targets - mean) / std


def decode(
    t: Tensor,
    anchors: Tensor,
    *,
    means: Sequence[float] | None = None,
    stds: Sequence[float] | None = None,
) -> Tensor:
    """Boxes that regression outputs `t` make of `anchors`; the inverse of `encode`.

    Args:
        t: `(..., 4)` float outputs (tx, ty, tw, th). For `(N, K, 4)`, one box per class, pass
            `anchors[:, None]`.
        anchors: `(..., 4)` float corners of the proposals; the shapes broadcast.
        means: the `means` of `encode`.
        stds: the `stds` of `encode`.

    Returns:
        `(..., 4)` corners. A size grows at most 62.5-fold, so an untrained net gives no infinity.

    Raises:
        TypeError: integer tensors.
        ValueError: wrong shapes, or an anchor without positive width and height.

    Source: Girshick et al. 2014, appendix C, equations 1 to 4.

    >>> decode(torch.tensor([[0.5, 0.0, 0.0, 0.0]]), torch.tensor([[40.0, 30, 60, 70]]))
    tensor([[50., 30., 70., 70.]])
    """
    check_boxes(t, "t", flat=False)
    _check_sizes(anchors, "anchors")
    mean, std = _statistics(t, means, stds)
    t = t * std + mean
    start = to_cxcywh(anchors)
    centre = start[..., :2] + t[..., :2] * start[..., 2:]
    size = start[..., 2:] * t[..., 2:].clamp(max=MAX_LOG_SCALE).exp()
    return to_xyxy(torch.cat([centre, size], dim=-1))


def assign(proposals: Tensor, gt: Tensor, hi: float, lo: float) -> tuple[Tensor, Tensor]:
    """Label every proposal foreground, background or ignored by its IoU with the ground truth.

    Foreground: IoU of at least `hi` with some object, or the best proposal of an object (all of
    them, if several are equally good), so that no object that any proposal touches goes untrained.
    Background: best IoU below `lo`. The rest is ignored.

    Args:
        proposals: `(N, 4)` float corners.
        gt: `(M, 4)` float corners of the objects of the same image; M may be 0.
        hi: foreground threshold.
        lo: background threshold, at most `hi`.

    Returns:
        labels `(N,)` int64: 1 foreground, 0 background, -1 ignored;
        matches `(N,)` int64: index of the object with the highest IoU, -1 where not foreground.

    Raises:
        TypeError: integer boxes.
        ValueError: wrong shapes, or not 0 <= lo <= hi <= 1.

    Source: Ren et al. 2015, section 3.1.2.

    >>> proposals = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 6], [50, 50, 60, 60]])
    >>> assign(proposals, torch.tensor([[0.0, 0, 10, 9]]), 0.7, 0.3)
    (tensor([ 1, -1,  0]), tensor([ 0, -1, -1]))
    """
    if not 0 <= lo <= hi <= 1:
        raise ValueError(f"thresholds must satisfy 0 <= lo <= hi <= 1, got hi={hi}, lo={lo}")
    overlaps = box_iou(proposals, gt)  # (N, M)
    labels = overlaps.new_full((len(proposals),), -1, dtype=torch.int64)
    if len(proposals) == 0 or len(gt) == 0:
        return labels.zero_(), torch.full_like(labels, -1)
    best, matches = overlaps.max(dim=1)
    labels[best < lo] = 0
    labels[best >= hi] = 1
    best_of_object = overlaps.max(dim=0).values
    # An object that no proposal touches has its "best" everywhere, at 0: it may not claim them.
    rescued = ((overlaps == best_of_object) & (best_of_object > 0)).any(dim=1)
    labels[rescued] = 1
    return labels, torch.where(labels == 1, matches, -1)


def sample_rois(
    labels: Tensor, n: int, fg_fraction: float, generator: torch.Generator | None = None
) -> Tensor:
    """Draw a batch of proposals with a fixed share of foreground, without replacement.

    If there is too little foreground, background fills the batch; foreground never goes above its
    share. Too few proposals in all give a smaller batch.

    Args:
        labels: `(N,)` integers, 1 foreground, 0 background, others never drawn (see `assign`).
        n: size of the batch (Fast R-CNN: 64 per image).
        fg_fraction: share of foreground in [0, 1] (Fast R-CNN: 0.25).
        generator: makes the draw repeatable; the global generator where None.

    Returns:
        `(n,)` or fewer int64 indices into `labels`, foreground first.

    Raises:
        ValueError: labels that are not flat, a negative n, a share outside [0, 1].

    Source: Girshick 2015, section 2.3.

    >>> labels = torch.tensor([1, 0, 0, -1, 0, 1])
    >>> sample_rois(labels, 4, 0.25, torch.Generator().manual_seed(0)).shape
    torch.Size([4])
    """
    if labels.ndim != 1:
        raise ValueError(f"labels must have the shape (N,), got {tuple(labels.shape)}")
    if n < 0 or not 0 <= fg_fraction <= 1:
        raise ValueError(f"need n >= 0 and fg_fraction in [0, 1], got {n} and {fg_fraction}")
    foreground = (labels == 1).nonzero().flatten()
    background = (labels == 0).nonzero().flatten()
    n_foreground = min(round(n * fg_fraction), len(foreground))
    n_background = min(n - n_foreground, len(background))
    return torch.cat(
        [_draw(foreground, n_foreground, generator), _draw(background, n_background, generator)]
    )


def _draw(indices: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    # The draw happens where the generator lives, so one CPU seed serves every device.
    device = generator.device if generator else indices.device
    order = torch.randperm(len(indices), generator=generator, device=device)
    return indices[order[:n].to(indices.device)]


def _statistics(
    t: Tensor, means: Sequence[float] | None, stds: Sequence[float] | None
) -> tuple[Tensor, Tensor]:
    """Means and standard deviations as tensors `(4,)` beside `t`."""
    mean = t.new_tensor([0.0] * 4 if means is None else list(means))
    std = t.new_tensor([1.0] * 4 if stds is None else list(stds))
    if mean.shape != (4,) or std.shape != (4,):
        raise ValueError(f"means and stds must be four numbers each, got {means} and {stds}")
    if not (std > 0).all():
        raise ValueError(f"stds must be positive, got {stds}")
    return mean, std


def _check_sizes(boxes: Tensor, name: str) -> None:
    check_boxes(boxes, name, flat=False)
    wrong = ~(boxes[..., 2:] > boxes[..., :2]).all(dim=-1)  # catches NaN as well
    if wrong.any():
        raise ValueError(
            f"{name} must have positive width and height, got {boxes[wrong][0].tolist()}: "
            "remove empty boxes before you take their logarithm"
        )
