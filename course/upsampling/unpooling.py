"""Unpooling: undo the size of a pooling, with or without knowing where the maxima were.

Max pooling forgets which pixel of its window won. If it stores that, the switches, unpooling can
put each value back where it came from and leave zeros elsewhere; the convolutions that follow fill
them in. Without switches the value goes to all pixels of the window (nearest) or to its first (bed
of nails).

    y, idx = max_pool_with_switches(x),    unpool(y, idx)[idx] = y.

A switch costs log2(k^2) bits, 2 for a 2 x 2 window, against 4 x 32 for the features that a skip
connection stores. References: Zeiler and Fergus 2014, section 2.1; Noh et al. 2015 (DeconvNet),
section 3.2; Badrinarayanan et al. 2017 (SegNet), section 3.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "SwitchMemory",
    "bed_of_nails",
    "max_pool_with_switches",
    "nearest",
    "switch_memory",
    "unpool",
]


def max_pool_with_switches(
    x: Tensor, size: int = 2, stride: int | None = None, *, ceil_mode: bool = False
) -> tuple[Tensor, Tensor]:
    """Max pooling that also says where the maxima were.

    Args:
        x: `(B, C, H, W)` float.
        size: side of the window.
        stride: step of the window, `size` where None.
        ceil_mode: let a last window hang over the border (Caffe, so SegNet: 45 -> 23), instead of
            leaving out what does not fill a window (45 -> 22).

    Returns:
        The maxima `(B, C, H', W')`, and int64 indices of the same shape: the place of each in its
        own flat H x W plane, the first in reading order among equal ones.

    Raises:
        TypeError: an integer tensor.
        ValueError: not four axes, a size or stride below 1, a window larger than the image (with
            `ceil_mode`, one that hangs over by a stride or more).

    Source: Zeiler and Fergus 2014, section 2.1.

    >>> import torch
    >>> x = torch.tensor([[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]])
    >>> y, idx = max_pool_with_switches(x[None, None])
    >>> y[0, 0].tolist(), idx[0, 0].tolist()
    ([[5.0, 6.0], [7.0, 8.0]], [[5, 2], [12, 15]])
    """
    _check_maps("x", x)
    if not x.is_floating_point():
        raise TypeError(f"x must be floating, got {x.dtype}")
    step = size if stride is None else stride
    if size < 1 or step < 1:
        raise ValueError(f"size and stride must be at least 1, got {size} and {step}")
    if min(x.shape[2:]) < (max(size - step + 1, 1) if ceil_mode else size):
        raise ValueError(f"no window of {size} x {size} fits into {tuple(x.shape[2:])}")
    return F.max_pool2d(x, size, step, ceil_mode=ceil_mode, return_indices=True)


def unpool(y: Tensor, idx: Tensor, output_size: tuple[int, int]) -> Tensor:
    """Values back at their switches, zeros elsewhere.

    Args:
        y: `(B, C, H', W')` values.
        idx: `(B, C, H', W')` int64 places in the flat `output_size` plane. Overlapping windows may
            name one place twice: the value is then set, not added, but its gradient goes to each
            of them. Windows that do not overlap, as in both papers, have the exact gradient.
        output_size: height and width before the pooling; two sizes may have pooled to the same.

    Returns:
        `(B, C, *output_size)`.

    Raises:
        TypeError: `idx` is not int64 (or int32).
        ValueError: shapes that do not match; on a CPU also a place outside `output_size` (the
            switches of another level).

    Source: Noh et al. 2015, section 3.2.1.

    >>> import torch
    >>> y, idx = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[5, 2], [12, 15]])
    >>> unpool(y[None, None], idx[None, None], (4, 4))[0, 0]
    tensor([[0., 0., 2., 0.],
            [0., 1., 0., 0.],
            [0., 0., 0., 0.],
            [3., 0., 0., 4.]])
    """
    _check_maps("y", y)
    h, w = output_size
    if y.shape != idx.shape:
        raise ValueError(
            f"y and idx must have one shape, got {tuple(y.shape)} and {tuple(idx.shape)}: "
            "are these the switches of another level?"
        )
    if idx.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"idx must be int64, as max_pool_with_switches gives it, got {idx.dtype}")
    # A GPU would have to be waited for; there the scatter itself asserts.
    if idx.device.type == "cpu" and idx.numel() and not 0 <= idx.min() <= idx.max() < h * w:
        raise ValueError(
            f"idx must lie in [0, {h * w}) for an output of {h} x {w}, got {int(idx.min())} to "
            f"{int(idx.max())}: are these the switches of another level?"
        )
    plane = y.new_zeros(*y.shape[:2], h * w)
    return plane.scatter(2, idx.flatten(2), y.flatten(2)).view(*y.shape[:2], h, w)


def nearest(x: Tensor, factor: int = 2) -> Tensor:
    """Every value on all pixels of its window.

    Args:
        x: `(B, C, H, W)`.
        factor: side of the windows.

    Returns:
        `(B, C, factor H, factor W)`.

    Raises:
        ValueError: not four axes, a factor below 1.

    >>> import torch
    >>> nearest(torch.tensor([[[[1.0, 2.0]]]]))[0, 0]
    tensor([[1., 1., 2., 2.],
            [1., 1., 2., 2.]])
    """
    _check_maps("x", x)
    _check_factor(factor)
    return x.repeat_interleave(factor, dim=2).repeat_interleave(factor, dim=3)


def bed_of_nails(x: Tensor, factor: int = 2) -> Tensor:
    """Every value on the first pixel of its window, zeros elsewhere.

    Args:
        x: `(B, C, H, W)`.
        factor: side of the windows.

    Returns:
        `(B, C, factor H, factor W)`.

    Raises:
        ValueError: not four axes, a factor below 1.

    >>> import torch
    >>> bed_of_nails(torch.tensor([[[[1.0, 2.0]]]]))[0, 0]
    tensor([[1., 0., 2., 0.],
            [0., 0., 0., 0.]])
    """
    _check_maps("x", x)
    _check_factor(factor)
    spread = x.new_zeros(*x.shape[:2], factor * x.shape[2], factor * x.shape[3])
    spread[..., ::factor, ::factor] = x
    return spread


class SwitchMemory(NamedTuple):
    """Bits to store for one pooling: its switches, or the features before it.

    >>> SwitchMemory(2, 128).ratio
    64.0
    """

    switch_bits: int
    feature_bits: int

    @property
    def ratio(self) -> float:
        """How many times less the switches take."""
        return self.feature_bits / self.switch_bits


def switch_memory(shape: tuple[int, ...], size: int = 2, *, value_bits: int = 32) -> SwitchMemory:
    """Memory of switches against memory of the features that they replace.

    Args:
        shape: `(..., H, W)` of the features before a pooling with windows of size x size.
        size: side of the windows; the windows do not overlap.
        value_bits: bits of one feature, 32 in single precision.

    Returns:
        `SwitchMemory(switch_bits, feature_bits)`. A switch takes ceil(log2(size^2)) bits.

    Raises:
        ValueError: a shape without height and width, a size below 2, no whole window.

    Source: Badrinarayanan et al. 2017, section 3.

    >>> switch_memory((1, 64, 360, 480))
    SwitchMemory(switch_bits=5529600, feature_bits=353894400)
    """
    if len(shape) < 2 or size < 2 or min(shape[-2:]) < size:
        raise ValueError(f"no window of {size} x {size} to remember in features of shape {shape}")
    windows = math.prod(shape[:-2]) * (shape[-2] // size) * (shape[-1] // size)
    return SwitchMemory(windows * math.ceil(2 * math.log2(size)), math.prod(shape) * value_bits)


def _check_maps(name: str, maps: Tensor) -> None:
    if maps.ndim != 4:
        raise ValueError(f"{name} must have the shape (B, C, H, W), got {tuple(maps.shape)}")


def _check_factor(factor: int) -> None:
    if factor < 1:
        raise ValueError(f"factor must be at least 1, got {factor}")
