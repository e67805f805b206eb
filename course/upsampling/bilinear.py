"""Bilinear upsampling: as a transposed convolution's first weights, and as a fast fixed layer.

A transposed convolution with stride f interpolates linearly if its kernel is a triangle of size
k = 2 f - (f mod 2) around its own centre:

    v(i) = 1 - |i - c| / ceil(k / 2),    c = (k - 1) / 2,    kernel = v v^T.

Its entries sum to f^2, not to 1: every output takes part of several stamps. Inside, the result is
`interpolate(align_corners=False)`. Outside its input the convolution sees zeros, so the outermost
half step of the result is dimmed. References: Long et al. 2015, section 3.3; released code of FCN.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["bilinear_kernel", "bilinear_upsample", "bilinear_weight", "upsampled_argmax"]

Border = Literal["zeros", "replicate"]


def bilinear_kernel(factor: int | None = None, *, size: int | None = None) -> Tensor:
    """Kernel of bilinear interpolation, for a factor or of a size.

    Args:
        factor: upsampling factor f; the size is then 2 f - (f mod 2).
        size: size k, instead of a factor.

    Returns:
        `(k, k)` float32.

    Raises:
        ValueError: not exactly one of both, or below 1.

    Source: Long et al. 2015, section 3.3.

    >>> bilinear_kernel(2)[1]
    tensor([0.1875, 0.5625, 0.5625, 0.1875])
    >>> bilinear_kernel(size=3)
    tensor([[0.2500, 0.5000, 0.2500],
            [0.5000, 1.0000, 0.5000],
            [0.2500, 0.5000, 0.2500]])
    """
    if (factor is None) == (size is None):
        raise ValueError(f"give a factor or a size, got factor={factor}, size={size}")
    k = size if factor is None else 2 * factor - factor % 2
    if k is None or k < 1:
        raise ValueError(f"factor and size must be at least 1, got {factor=}, {size=}")
    centre = (k - 1) / 2
    taps = 1 - (torch.arange(k) - centre).abs() / ((k + 1) // 2)
    return taps[:, None] * taps


def bilinear_weight(channels: int, factor: int | None = None, *, size: int | None = None) -> Tensor:
    """Weight of a `ConvTranspose2d` that starts as bilinear interpolation of every channel.

    Args:
        channels: input and output channels C.
        factor: upsampling factor; use stride f and padding (k - f) // 2 with it.
        size: size of the kernel, instead of a factor.

    Returns:
        `(C, C, k, k)` float32. Only the diagonal is filled: entries off it would add the channels
        up, and every class would get the sum of all scores.

    Raises:
        ValueError: channels below 1, and as `bilinear_kernel`.

    Source: Long et al. 2015, section 3.3 and released code.

    >>> bilinear_weight(2, size=1).tolist()
    [[[[1.0]], [[0.0]]], [[[0.0]], [[1.0]]]]
    """
    if channels < 1:
        raise ValueError(f"channels must be at least 1, got {channels}")
    kernel = bilinear_kernel(factor, size=size)
    weight = torch.zeros(channels, channels, *kernel.shape)
    diagonal = range(channels)
    weight[diagonal, diagonal] = kernel
    return weight


def bilinear_upsample(
    x: Tensor,
    factor: int,
    crop: int | None = None,
    *,
    border: Border = "zeros",
) -> Tensor:
    """What a transposed convolution with a fixed bilinear kernel returns, ten times faster.

    Args:
        x: `(B, C, H, W)` float.
        factor: upsampling factor f.
        crop: pixels cut off on every side of the raw result, the `padding` of the transposed
            convolution. None takes f // 2, which gives f H x f W; 0 gives all (H - 1) f + k
            rows; FCN-32s takes 19.
        border: what lies around `x`. "zeros" equals the transposed convolution: values fade over
            the outermost half step (f / 2 pixels of f H). "replicate" continues the edge values, as
            `interpolate` does.

    Returns:
        `(B, C, H', W')` in channels-last memory, H' = (H - 1) f + k - 2 crop. There interpolation
        is several times faster, and so is an argmax over the channels.

    Raises:
        TypeError: an integer tensor.
        ValueError: not four axes, a factor below 1, a crop that is negative or leaves nothing.

    Source: Long et al. 2015, section 3.3.

    >>> bilinear_upsample(torch.ones(1, 1, 1, 2), 2)[0, 0]
    tensor([[0.5625, 0.7500, 0.7500, 0.5625],
            [0.5625, 0.7500, 0.7500, 0.5625]])
    >>> bilinear_upsample(torch.ones(1, 1, 1, 2), 2, border="replicate")[0, 0, 0]
    tensor([1., 1., 1., 1.])
    """
    rows, h = _upsampled_rows(x, factor, crop, border)
    wide = _interpolate(rows, factor, 1)[:, h]  # (B, H', W', C)
    return wide.permute(0, 3, 1, 2).to(x.dtype)


def upsampled_argmax(
    scores: Tensor, factor: int, crop: int | None = None, *, border: Border = "replicate"
) -> Tensor:
    """Best class of every pixel from coarse scores, a few rows of pixels at a time.

    It is `bilinear_upsample(...).argmax(1)` without the scores of all pixels, which for 1024 x 2048
    pixels and 19 classes would fill 159 MB; half precision is not rounded before the comparison.

    Args:
        scores: `(B, C, H, W)` float, one score per class.
        factor, crop, border: as in `bilinear_upsample`.

    Returns:
        `(B, H', W')` int64; of equal scores the class of the smaller number.

    Raises:
        TypeError, ValueError: as `bilinear_upsample`; no class at all.

    Source: Long et al. 2015, section 3.3.

    >>> upsampled_argmax(torch.tensor([[[[2.0, 0.0]], [[0.0, 1.0]]]]), 4)
    tensor([[[0, 0, 0, 0, 0, 1, 1, 1],
             [0, 0, 0, 0, 0, 1, 1, 1],
             [0, 0, 0, 0, 0, 1, 1, 1],
             [0, 0, 0, 0, 0, 1, 1, 1]]])
    """
    if scores.ndim == 4 and scores.shape[1] == 0:
        raise ValueError(f"scores must have at least one class, got {tuple(scores.shape)}")
    rows, h = _upsampled_rows(scores, factor, crop, border)  # (B, H + 2, W', C)
    steps = rows.shape[1] - 1
    together = max(1, _BAND // max(1, rows[:, 0].numel() * factor))  # steps from row to row
    bands = (rows[:, i : i + together + 1] for i in range(0, steps, together))
    # `max` finds the place as `argmax` does, in two thirds of the time.
    return torch.cat([_interpolate(band, factor, 1).max(3)[1] for band in bands], 1)[:, h]


_BAND = 1 << 18  # numbers in a band: 1 MiB of float32


def _upsampled_rows(
    x: Tensor, factor: int, crop: int | None, border: Border
) -> tuple[Tensor, slice]:
    """Check what the caller was given, pad it, and interpolate along its rows.

    Returns `(B, H + 2, W', C)`, float32 or wider, and which rows are left of the
    `(H + 1) * factor` that interpolating along the columns will give.
    """
    if x.ndim != 4 or 0 in x.shape[2:]:
        raise ValueError(f"x must have the shape (B, C, H, W), got {tuple(x.shape)}")
    if not x.is_floating_point():
        raise TypeError(f"x must be floating, got {x.dtype}")
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
    if border not in ("zeros", "replicate"):
        raise ValueError(f'border must be "zeros" or "replicate", got {border!r}')
    crop = factor // 2 if crop is None else crop
    h, w = ((n + 1) * factor - factor % 2 - 2 * crop for n in x.shape[2:])
    if crop < 0 or min(h, w) < 1:
        raise ValueError(f"crop {crop} of {tuple(x.shape[2:])} times {factor} leaves {(h, w)}")
    mode = "constant" if border == "zeros" else "replicate"
    padded = F.pad(x.contiguous(memory_format=torch.channels_last), (1, 1, 1, 1), mode=mode)
    padded = padded.to(torch.promote_types(x.dtype, torch.float32))  # half would be rounded twice
    largest = torch.finfo(padded.dtype).max / 2  # between two infinite scores lies nan for `lerp`
    rows = padded.clamp(-largest, largest).permute(0, 2, 3, 1)  # (B, H + 2, W + 2, C)
    start = crop + factor % 2  # the first tap of an odd kernel is 0, and not part of it
    return _interpolate(rows, factor, 2)[:, :, start : start + w], slice(start, start + h)


def _interpolate(x: Tensor, factor: int, axis: int) -> Tensor:
    """Divide each of the N - 1 steps between neighbours on `axis` into `factor` linear ones.

    The kernel is a product of two triangles, so one axis after the other will do. A row of the
    result then mixes two rows, one number after the other in memory; `F.interpolate` gathers four
    neighbours for every pixel.
    """
    place = torch.arange(factor, device=x.device, dtype=x.dtype) + (1 - factor % 2) / 2
    share = (place / factor).view(factor, *[1] * (x.ndim - axis - 1))
    before, after = (x.narrow(axis, i, x.shape[axis] - 1).unsqueeze(axis + 1) for i in (0, 1))
    return torch.lerp(before, after, share).flatten(axis, axis + 1)
