"""Box forms, areas and overlaps.

A box is `(x0, y0, x1, y1)` in pixels and half-open: it holds the points with `x0 <= x < x1` and
`y0 <= y < y1`, so its width is `x1 - x0` with no `+ 1`. A box whose right side lies left of its
left side is empty: area 0, overlap 0. Overlaps compare all boxes of one set with all of another.

    IoU(a, b) = |a n b| / |a u b|,   GIoU = IoU - |hull \\ (a u b)| / |hull|

References: Everingham et al. 2010 (PASCAL VOC), section 4.2; Rezatofighi et al. 2019 (GIoU),
algorithm 1.
"""

from collections.abc import Callable

import torch
from torch import Tensor

_CACHED = 2**16  # pairs at a time: six arrays of them fit into the second cache

__all__ = ["box_area", "box_iou", "clip_boxes", "giou", "to_cxcywh", "to_xyxy"]


def check_boxes(boxes: Tensor, name: str = "boxes", *, flat: bool = True) -> None:
    """Raise if `boxes` is not a floating tensor `(N, 4)` (`(..., 4)` where `flat` is False).

    >>> check_boxes(torch.zeros(3, 4))
    """
    if not isinstance(boxes, Tensor):
        raise TypeError(
            f"{name} must be a tensor of (x0, y0, x1, y1) rows, got {type(boxes).__name__}: "
            "wrap it in torch.tensor(...)"
        )
    if not boxes.is_floating_point():
        raise TypeError(f"{name} must be floating, got {boxes.dtype}: call .float() on it")
    if boxes.ndim < 1 or boxes.shape[-1] != 4 or (flat and boxes.ndim != 2):
        wanted = "(N, 4)" if flat else "(..., 4)"
        raise ValueError(
            f"{name} must have the shape {wanted}, got {tuple(boxes.shape)}: "
            "one row is (x0, y0, x1, y1), no boxes are torch.zeros(0, 4)"
        )


def to_cxcywh(boxes: Tensor) -> Tensor:
    """Corner form `(x0, y0, x1, y1)` to centre form `(cx, cy, w, h)`.

    Args:
        boxes: `(..., 4)` float corners.

    Returns:
        `(..., 4)` centre x, centre y, width, height, in the units of the corners.

    Raises:
        TypeError: integer boxes.
        ValueError: the last axis does not have four entries.

    >>> to_cxcywh(torch.tensor([[10.0, 20.0, 30.0, 60.0]]))
    tensor([[20., 40., 20., 40.]])
    """
    check_boxes(boxes, flat=False)
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def to_xyxy(boxes: Tensor) -> Tensor:
    """Centre form `(cx, cy, w, h)` to corner form `(x0, y0, x1, y1)`.

    Args:
        boxes: `(..., 4)` float centres and sizes.

    Returns:
        `(..., 4)` corners, in the units of the centres.

    Raises:
        TypeError: integer boxes.
        ValueError: the last axis does not have four entries.

    >>> to_xyxy(torch.tensor([[20.0, 40.0, 20.0, 40.0]]))
    tensor([[10., 20., 30., 60.]])
    """
    check_boxes(boxes, flat=False)
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], dim=-1)


def clip_boxes(boxes: Tensor, hw: tuple[int, int]) -> Tensor:
    """Boxes cut at the border of an image.

    Args:
        boxes: `(..., 4)` float corners.
        hw: height and width of the image in pixels.

    Returns:
        `(..., 4)` corners with x in `[0, W]` and y in `[0, H]`; a box outside the image is empty.

    Raises:
        TypeError: integer boxes.
        ValueError: wrong shape, or a negative image size.

    >>> clip_boxes(torch.tensor([[-5.0, 2.0, 30.0, 99.0]]), (40, 20))
    tensor([[ 0.,  2., 20., 40.]])
    """
    check_boxes(boxes, flat=False)
    height, width = hw
    if height < 0 or width < 0:
        raise ValueError(f"hw must be the (height, width) of an image, got {tuple(hw)}")
    limit = boxes.new_tensor([width, height, width, height])
    return boxes.clamp(min=0).minimum(limit)


def box_area(boxes: Tensor) -> Tensor:
    """Areas of boxes.

    Args:
        boxes: `(N, 4)` float corners.

    Returns:
        `(N,)` areas in square pixels; an empty or inside-out box has area 0. Half precision
        comes back as float32, because a product of two sides overflows it.

    Raises:
        TypeError: integer boxes.
        ValueError: wrong shape.

    >>> box_area(torch.tensor([[0.0, 0.0, 4.0, 3.0], [5.0, 5.0, 2.0, 9.0]]))
    tensor([12.,  0.])
    """
    check_boxes(boxes)
    boxes = boxes if boxes.dtype == torch.float64 else boxes.float()
    sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0)
    return sides[:, 0] * sides[:, 1]


def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of every box of `a` with every box of `b`.

    Args:
        a: `(N, 4)` float corners.
        b: `(M, 4)` float corners on the same device; of two precisions the higher one counts.

    Returns:
        `(N, M)` values in [0, 1], float32 for half-precision boxes. Two boxes that only touch, and
        pairs with an empty box, score 0 with a finite gradient.

    Raises:
        TypeError: integer boxes.
        ValueError: wrong shapes, two devices.

    Source: Everingham et al. 2010, section 4.2.

    >>> box_iou(torch.tensor([[0.0, 0.0, 4.0, 2.0]]), torch.tensor([[2.0, 0.0, 6.0, 2.0]]))
    tensor([[0.3333]])
    """
    return _by_rows(_iou, *_checked_pair(a, b))


def _iou(a: Tensor, b: Tensor) -> Tensor:
    intersection, area_a, area_b = _intersections(a, b)
    # An empty box meets nothing, so any positive area gives 0 / union = 0 and no 0 / 0.
    area_a = torch.where(area_a > 0, area_a, 1)
    return intersection.div_((area_a[:, None] + area_b).sub_(intersection))


def giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalised IoU of every box of `a` with every box of `b`.

    Unlike IoU it still changes, and has a gradient, where two boxes do not overlap.

    Args:
        a: `(N, 4)` float corners.
        b: `(M, 4)` float corners on the same device; of two precisions the higher one counts.

    Returns:
        `(N, M)` values in [-1, 1], at most the IoU; 1 for equal boxes.

    Raises:
        TypeError: integer boxes.
        ValueError: wrong shapes, two devices.

    Source: Rezatofighi et al. 2019, algorithm 1.

    >>> giou(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.tensor([[2.0, 0.0, 3.0, 1.0]]))
    tensor([[-0.3333]])
    """
    return _by_rows(_giou, *_checked_pair(a, b))


def _giou(a: Tensor, b: Tensor) -> Tensor:
    intersection, area_a, area_b = _intersections(a, b)
    union = area_a[:, None] + area_b - intersection
    ax0, ay0, ax1, ay1 = _columns(a)
    bx0, by0, bx1, by1 = _columns(b)
    width = torch.maximum(ax1[:, None], bx1).sub_(torch.minimum(ax0[:, None], bx0))  # (N, M)
    height = torch.maximum(ay1[:, None], by1).sub_(torch.minimum(ay0[:, None], by0))
    hull = width.clamp_(min=0).mul_(height.clamp_(min=0))
    # Empty boxes may leave a union or a hull without area: 0 / 1 stands for 0 / 0.
    overlap = intersection / torch.where(union > 0, union, 1)
    return overlap - (hull - union) / torch.where(hull > 0, hull, 1)


def _checked_pair(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Both sets in one precision, at least float32, after checking that they can be compared."""
    check_boxes(a, "a")
    check_boxes(b, "b")
    if a.device != b.device:
        raise ValueError(f"a is on {a.device}, b on {b.device}: move one of them with .to(...)")
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def _intersections(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas of the pairwise intersections `(N, M)`, of the boxes `a` `(N,)` and `b` `(M,)`."""
    ax0, ay0, ax1, ay1 = _columns(a)
    bx0, by0, bx1, by1 = _columns(b)
    # By columns and in place: each pass reads contiguous memory and allocates nothing, which is
    # several times faster than (N, M, 2) corner tensors.
    width = torch.minimum(ax1[:, None], bx1).sub_(torch.maximum(ax0[:, None], bx0)).clamp_(min=0)
    height = torch.minimum(ay1[:, None], by1).sub_(torch.maximum(ay0[:, None], by0)).clamp_(min=0)
    return width.mul_(height), box_area(a), box_area(b)


def _by_rows(score: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor) -> Tensor:
    """`score(a, b)`, on a CPU some rows at a time: what stays in the cache is several times faster.

    Autograd keeps every intermediate anyway, so there the whole is computed at once.
    """
    rows = max(1, _CACHED // max(len(b), 1))
    graded = torch.is_grad_enabled() and (a.requires_grad or b.requires_grad)
    if graded or len(a) <= rows or not a.is_cpu:
        return score(a, b)
    result = a.new_empty(len(a), len(b))
    for start in range(0, len(a), rows):
        result[start : start + rows] = score(a[start : start + rows], b)
    return result


def _columns(boxes: Tensor) -> tuple[Tensor, ...]:
    """Contiguous `x0, y0, x1, y1`, each `(N,)`."""
    return boxes.t().contiguous().unbind(0)
