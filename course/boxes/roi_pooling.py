"""RoI max pooling: any box of a feature map becomes a grid of one size.

Fast R-CNN runs the convolutions once per image and cuts every proposal out of the result. A box is
scaled to the map and rounded to whole cells, both corners included; with n = end - start + 1 cells
and P bins along an axis,

    bin i = cells floor(i * n / P) ... ceil((i + 1) * n / P) - 1, moved by start, cut at the map.

Neighbouring bins overlap where P does not divide n; an empty bin gives 0. Reference: Girshick 2015
(Fast R-CNN), section 2.1, and the released layer, whose rounding (half away from zero) and single
precision this module keeps.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from course.boxes.overlap import check_boxes

__all__ = ["roi_max_pool"]

MARGIN = 4  # cells around the map: boxes that overhang by less need no special case


def roi_max_pool(
    feature: Tensor,
    boxes: Tensor | Sequence[Tensor],
    size: int | tuple[int, int],
    scale: float = 1.0,
) -> Tensor:
    """Maximum of every bin of every box; the gradient goes to the cell that was the maximum.

    Args:
        feature: `(B, C, H, W)` float map.
        boxes: one `(N, 4)` tensor of corners in image pixels for B = 1, or one tensor per image.
        size: bins (height, width) of the result, or one number for both.
        scale: map cells per image pixel, 1/16 for VGG's conv5.

    Returns:
        `(N, C, *size)` for all boxes, image after image, equal to `torchvision.ops.roi_pool`.
        The host reads the boxes, so a GPU is waited for once.

    Raises:
        TypeError: integer tensors.
        ValueError: wrong shapes, a size or scale that is not positive, boxes that are not finite.

    Source: Girshick 2015, section 2.1.

    >>> feature = torch.arange(16.0).view(1, 1, 4, 4)
    >>> roi_max_pool(feature, torch.tensor([[0.0, 0, 2, 2]]), 2)  # 3 x 3 cells, bins overlap
    tensor([[[[ 5.,  6.],
              [ 9., 10.]]]])
    """
    bins = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    per_image = [boxes] if isinstance(boxes, Tensor) else list(boxes)
    _check(feature, per_image, bins, scale)
    image = [i for i, rows in enumerate(per_image) for _ in range(len(rows))]
    # The released layer computes in the map's precision; half has too few digits for pixels.
    precision = torch.float64 if feature.dtype == torch.float64 else torch.float32
    corners = torch.cat(per_image).detach().to("cpu", precision) * scale
    if not (corners.abs() < 2**24).all():
        raise ValueError("boxes must be finite and within 2**24 cells of the map: clip them first")
    return _RoIMaxPool.apply(feature, image, _round_half_away(corners), bins)


class _RoIMaxPool(torch.autograd.Function):
    """One node for all boxes: slices would each cost a gradient as large as the whole map."""

    @staticmethod
    def forward(
        ctx: Any, feature: Tensor, image: list[int], corners: Tensor, bins: tuple[int, int]
    ) -> Tensor:
        # A frame of -inf never wins a maximum, so overhanging bins need no cutting. Channels last,
        # because pooling then reads whole vectors of channels.
        height, width = (n + 2 * MARGIN for n in feature.shape[2:])
        padded = feature.new_full((len(feature), height, width, feature.shape[1]), -torch.inf)
        padded = padded.permute(0, 3, 1, 2)  # (B, C, H + 8, W + 8)
        padded[..., MARGIN:-MARGIN, MARGIN:-MARGIN] = feature
        rows, rows_plain = _bin_edges(corners[:, 1::2] + MARGIN, bins[0], height)
        cols, cols_plain = _bin_edges(corners[:, 0::2] + MARGIN, bins[1], width)

        pooled = feature.new_empty(len(image), *bins, feature.shape[1]).permute(0, 3, 1, 2)
        crops, winners = [], []
        for n, plain in enumerate((rows_plain & cols_plain).tolist()):
            if plain:
                crop = (rows[n][0][0], rows[n][-1][1], cols[n][0][0], cols[n][-1][1])
            else:
                crop = (0, height, 0, width)
            top, bottom, left, right = crop
            source = padded[image[n] : image[n] + 1, :, top:bottom, left:right]
            if plain:
                best, cell = F.adaptive_max_pool2d(source, bins, return_indices=True)
            else:
                best, cell = _pool_bin_by_bin(source, rows[n], cols[n])
            if min(top, left, height - bottom, width - right) < MARGIN:
                best.masked_fill_(best == -torch.inf, 0)  # bins that hold no cell of the map
            pooled[n] = best[0]
            if ctx.needs_input_grad[0]:  # twice the memory of the result, in 64 bits
                crops.append((image[n], *crop))
                winners.append(cell[0].int())  # counted row by row inside the crop
        ctx.save_for_backward(*winners)
        ctx.crops, ctx.shape = crops, padded.shape
        return pooled

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:  # pyright: ignore
        batch, channels, height, width = ctx.shape
        # Many boxes share a cell, and half precision stops counting at 256: sum in float32.
        wide = torch.promote_types(grad.dtype, torch.float32)
        total = grad.new_zeros(batch, height, width, channels, dtype=wide)
        for rows, cell, (b, top, bottom, left, right) in zip(grad, ctx.saved_tensors, ctx.crops):
            crop = total.new_zeros((bottom - top) * (right - left), channels)
            crop.scatter_add_(0, cell.flatten(1).t().long(), rows.flatten(1).t().to(wide))
            total[b, top:bottom, left:right] += crop.view(bottom - top, right - left, channels)
        inner = slice(MARGIN, -MARGIN)
        return total[:, inner, inner].permute(0, 3, 1, 2).to(grad.dtype), None, None, None


def _bin_edges(ends: Tensor, bins: int, length: int) -> tuple[list[list[list[int]]], Tensor]:
    """First and past-the-last cell of every bin along one axis.

    Args:
        ends: `(N, 2)` first and last cell of every box, whole numbers in floating point.
        bins: number of bins.
        length: number of cells of the map, frame included.

    Returns:
        `N x bins x 2` cells cut at the map, and a bool `(N,)`: True where adaptive pooling would
        take exactly these bins. Rounding may push ceil(bins * (n / bins)) to n + 1 (n = 57, 7
        bins, single precision); the released layer pools that extra cell, and so does this one.
    """
    count = (ends[:, 1:] - ends[:, :1] + 1).clamp(min=1)  # (N, 1)
    i = torch.arange(bins + 1, dtype=ends.dtype)
    edges = torch.stack(
        [(i[:-1] * (count / bins)).floor(), (i[1:] * (count / bins)).ceil()], dim=2
    ).long()  # (N, bins, 2)
    whole, i = count.long(), i.long()
    exact = torch.stack([i[:-1] * whole // bins, -(-i[1:] * whole // bins)], dim=2)
    shifted = edges + ends[:, :1, None].long()
    cut = shifted.clamp(0, length)
    return cut.tolist(), ((edges == exact) & (cut == shifted)).flatten(1).all(dim=1)


def _pool_bin_by_bin(
    source: Tensor, rows: list[list[int]], cols: list[list[int]]
) -> tuple[Tensor, Tensor]:
    """The rule as it is written: maxima and their cells `(1, C, *bins)` of `(1, C, H, W)`.

    For the rare boxes whose bins adaptive pooling does not produce.
    """
    best = source.new_zeros(*source.shape[:2], len(rows), len(cols))
    winner = torch.zeros_like(best, dtype=torch.int64)
    for i, (top, bottom) in enumerate(rows):
        for j, (left, right) in enumerate(cols):
            if top < bottom and left < right:
                best[..., i, j], cell = source[..., top:bottom, left:right].flatten(2).max(dim=2)
                row, col = cell // (right - left), cell % (right - left)
                winner[..., i, j] = (top + row) * source.shape[3] + left + col
    return best, winner


def _round_half_away(x: Tensor) -> Tensor:
    """Nearest whole number, halves away from zero (`torch.round` takes halves to even)."""
    return x.sign() * (x.abs().double() + 0.5).floor().to(x.dtype)


def _check(feature: Tensor, per_image: list[Tensor], bins: tuple[int, int], scale: float) -> None:
    if feature.ndim != 4:
        raise ValueError(f"feature must have the shape (B, C, H, W), got {tuple(feature.shape)}")
    if not feature.is_floating_point():
        raise TypeError(f"feature must be floating, got {feature.dtype}")
    if len(per_image) != len(feature):
        raise ValueError(
            f"boxes must be one (N, 4) tensor per image, {len(feature)} in all, "
            f"got {len(per_image)}: pass a list of tensors"
        )
    for rows in per_image:
        check_boxes(rows)
    if min(bins) < 1 or not scale > 0:
        raise ValueError(f"size and scale must be positive, got {bins} and {scale}")
