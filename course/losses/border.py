"""U-Net's weight map: background squeezed between two cells counts up to eleven times.

Two cells that touch differ by a line of background one or two pixels wide. Plain cross-entropy
loses almost nothing when it merges them, so the map raises the price of exactly those pixels:

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))

with d1 and d2 the distances to the nearest and to the second-nearest cell (not their squares).
Reference: Ronneberger, Fischer, Brox, MICCAI 2015, section 3, eq. 2: w0 = 10, sigma about 5 pixels.
"""

import math

import torch
from torch import Tensor

__all__ = ["border_weights"]

_NEGLIGIBLE = 1e-5  # cells whose border term would fall below this are not looked for
_CACHED = 2**16  # pixels at a time: the seven arrays of `_spread` fit into the second cache


def border_weights(
    labels: Tensor, w0: float = 10.0, sigma: float = 5.0, *, class_balance: bool = True
) -> Tensor:
    """Weigh every pixel of an instance label map for U-Net's cross-entropy.

    The border term is on background pixels only; with fewer than two cells in reach it is 0. Where
    it exceeds 1e-5 it is exact; cells further off than that (at w0 = 10, sigma = 5: d1 + d2 beyond
    26.3 pixels) are not looked for. The cost depends on the image and on sigma, not on the number
    of cells.

    The paper leaves w_c open. Here it is the balance of background and foreground in each map,
    w_c = pixels / (classes present * pixels of this class), so its mean over a map is 1.

    Args:
        labels: (H, W) or (B, H, W) integer; 0 is background, every other number is one cell (255
            too: an instance map has no ignored pixels).
        w0: height of the border term.
        sigma: width of the border term in pixels.
        class_balance: use w_c as above; False sets w_c = 1.

    Returns:
        float32 weights of the shape and on the device of `labels`. Distances run from pixel centre
        to pixel centre: a gap one pixel wide has d1 = d2 = 1.

    Raises:
        TypeError: `labels` is not an integer tensor.
        ValueError: wrong shape, a negative label, `w0` negative or `sigma` not positive.

    Example:
        >>> border_weights(torch.tensor([[1, 0, 2]]), class_balance=False)  # d1 + d2 = 2
        tensor([[ 1.0000, 10.2312,  1.0000]])
    """
    if isinstance(labels, Tensor) and labels.dtype in (torch.uint16, torch.uint32, torch.uint64):
        labels = labels.long()  # torch has hardly any kernels for these
    _check(labels, w0, sigma)
    maps = labels if labels.ndim == 3 else labels[None]  # (B, H, W)
    weights = _class_balance(maps) if class_balance else torch.ones(maps.shape, device=maps.device)
    if w0 > _NEGLIGIBLE:
        reach = sigma * math.sqrt(2 * math.log(w0 / _NEGLIGIBLE))  # largest d1 + d2 that counts
        nearest, second = _two_nearest(maps, reach)
        both = nearest + second
        border = w0 * torch.exp(-both.square() / (2 * sigma**2))
        weights += border.masked_fill_(maps > 0, 0.0)
    return weights.view(labels.shape)


def _class_balance(maps: Tensor) -> Tensor:
    cell = maps > 0
    cells = cell.sum((1, 2), keepdim=True)  # (B, 1, 1)
    pixels = cell[0].numel()
    mean_share = pixels / ((cells > 0).float() + (cells < pixels).float())
    return torch.where(cell, mean_share / cells, mean_share / (pixels - cells))  # (B, H, W)


def _two_nearest(maps: Tensor, reach: float) -> tuple[Tensor, Tensor]:
    """Distances (B, H, W) to the two nearest cells, right wherever their sum is within `reach`.

    Distance and label share one integer, `squared distance << label bits | label`, so that the
    smaller integer is the nearer cell and `minimum` carries the label along. A squared distance is
    a sum over the axes, so a pass along the columns and one along the rows suffice. Two cells per
    pixel are enough: the third-nearest in a column is third at best for any pixel of the row.
    """
    first_reach, second_reach = int(reach / 2), max(int(reach - 1), 0)  # d1 <= d2, d1 >= 1
    label_bits = int(maps.max()).bit_length()
    largest = 2 * second_reach**2 + 1 << label_bits
    dtype, far = (torch.int32, 2**30) if largest <= 2**30 else (torch.int64, 2**62)
    if largest > far:
        raise ValueError(
            f"labels up to {int(maps.max())} with a reach of {reach:.0f} pixels overflow 64 bits: "
            "renumber the cells with torch.unique(labels, return_inverse=True)"
        )
    first = maps.to(dtype).masked_fill(maps == 0, far)
    second = torch.full_like(first, far)
    for axis, reaches in ((1, (second_reach, second_reach)), (2, (first_reach, second_reach))):
        # Lines along the axis do not meet: those that fit into the cache take their turns.
        line = first.numel() // first.shape[3 - axis]
        band = max(32, _CACHED // line) if maps.device.type == "cpu" else first.shape[3 - axis]
        bands = zip(first.split(band, 3 - axis), second.split(band, 3 - axis))
        done = [_spread(*candidates, axis, reaches, label_bits, far) for candidates in bands]
        first, second = (torch.cat(parts, 3 - axis) for parts in zip(*done))
    return (first >> label_bits).float().sqrt_(), (second >> label_bits).float().sqrt_()


def _spread(
    first: Tensor, second: Tensor, axis: int, reach: tuple[int, int], label_bits: int, far: int
) -> tuple[Tensor, Tensor]:
    """Give every pixel the nearest two cells among the candidates of its neighbours on `axis`."""
    size, margin, mask = first.shape[axis], max(reach), (1 << label_bits) - 1
    first, second = (_pad(x, axis, margin, far) for x in (first, second))

    nearest = first.narrow(axis, margin, size).clone()
    other = torch.empty_like(nearest)  # one scratch tensor: fresh ones cost a third more time
    for step in range(-reach[0], reach[0] + 1):
        torch.add(first.narrow(axis, margin + step, size), step * step << label_bits, out=other)
        torch.minimum(nearest, other, out=nearest)

    # Of a neighbour's two candidates take the first, or the second where the first is the cell that
    # this pixel already has. Comparisons and `where` are ten times slower than arithmetic in torch
    # on a CPU, so this is `second - gap * differs` with differs = 0 if the labels agree, else 1.
    label, wanted, gap = first & mask, nearest & mask, second - first
    next_nearest = torch.full_like(nearest, far)
    for step in range(-reach[1], reach[1] + 1):
        there = axis, margin + step, size
        torch.bitwise_xor(label.narrow(*there), wanted, out=other).clamp_(max=1)
        torch.addcmul(second.narrow(*there), gap.narrow(*there), other, value=-1, out=other)
        torch.minimum(next_nearest, other.add_(step * step << label_bits), out=next_nearest)
    return nearest, next_nearest


def _pad(candidates: Tensor, axis: int, margin: int, far: int) -> Tensor:
    sides = (0, 0, margin, margin) if axis == 1 else (margin, margin)
    return torch.nn.functional.pad(candidates, sides, value=far)


def _check(labels: Tensor, w0: float, sigma: float) -> None:
    if not isinstance(labels, Tensor) or labels.is_floating_point() or labels.is_complex():
        kind = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(f"labels must be an integer tensor of cell numbers, got {kind}")
    if labels.ndim not in (2, 3) or labels.numel() == 0:
        raise ValueError(
            f"labels must be (H, W) or (B, H, W) and not empty, got {tuple(labels.shape)}"
        )
    if labels.dtype != torch.bool and int(labels.min()) < 0:
        raise ValueError(
            f"labels must be 0 for background and positive for cells, got {int(labels.min())}"
        )
    if not (w0 >= 0 and sigma > 0):
        raise ValueError(f"expected w0 >= 0 and sigma > 0 pixels, got w0={w0}, sigma={sigma}")
