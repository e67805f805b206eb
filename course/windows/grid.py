"""Sliding windows: turn a classifier into a detector by asking it everywhere.

A window of k pixels that moves by s pixels fits

    n = floor((L - k) / s) + 1   times along L pixels, and not at all if L < k.

The last window ends at the border or before it, never beyond. The cost is one classifier call per
window and scale, which is what every later chapter of the course saves. References: Viola and
Jones 2001; Dalal and Triggs 2005 (hard negatives: section 4).
"""

from collections.abc import Callable, Iterable
from operator import index

import torch
from torch import Tensor

__all__ = ["hard_negatives", "score_map", "window_grid"]

Pair = int | tuple[int, int]


def window_grid(h: int, w: int, size: Pair, stride: Pair, *, cover_border: bool = False) -> Tensor:
    """Boxes of all windows of an image, row by row.

    Args:
        h: height of the image in pixels.
        w: width of the image in pixels.
        size: height and width of a window, or one number for both.
        stride: step down and to the right, or one number for both.
        cover_border: where the steps leave a strip at the lower or right border uncovered, add a
            last window that ends flush with the border. The grid is then not regular.

    Returns:
        `(N, 4)` float32 corners (x0, y0, x1, y1), all inside the image; `(0, 4)` if none fits.

    Raises:
        ValueError: a size or stride below 1, or a negative image size.

    >>> window_grid(4, 5, 3, 2)
    tensor([[0., 0., 3., 3.],
            [2., 0., 5., 3.]])
    >>> len(window_grid(4, 5, 3, 2, cover_border=True))  # one row of windows more, from y0 = 1
    4
    """
    (kh, kw), (sh, sw) = _pair("size", size), _pair("stride", stride)
    if h < 0 or w < 0:
        raise ValueError(f"h and w must be at least 0, got {h} and {w}")
    tops = torch.tensor(_starts(h, kh, sh, cover_border), dtype=torch.float32)
    lefts = torch.tensor(_starts(w, kw, sw, cover_border), dtype=torch.float32)
    y0, x0 = (axis.flatten() for axis in torch.meshgrid(tops, lefts, indexing="ij"))
    return torch.stack([x0, y0, x0 + kw, y0 + kh], dim=1)


def score_map(
    image: Tensor,
    classify: Callable[[Tensor], Tensor],
    size: Pair,
    stride: Pair,
    *,
    normalize: bool = False,
) -> Tensor:
    """Scores of one classifier at every window of an image.

    Args:
        image: `(C, H, W)` float.
        classify: maps windows `(N, C, kh, kw)` to one score each, `(N,)` or `(N, 1)`; it is called
            once, with all windows.
        size: height and width of a window, or one number for both.
        stride: step down and to the right, or one number for both.
        normalize: give every window mean 0 and standard deviation 1 first, over its own pixels and
            channels, so that a dark corner of a bright image is not just dark.

    Returns:
        `(rows, cols)` scores; entry (i, j) is the window with the corner (i * sh, j * sw).

    Raises:
        ValueError: an image that is not `(C, H, W)` or smaller than the window, a size or stride
            below 1, a classifier that does not return one score per window.

    >>> score_map(torch.arange(12.0).view(1, 3, 4), lambda v: v.amax((1, 2, 3)), 2, (1, 2))
    tensor([[ 5.,  7.],
            [ 9., 11.]])
    """
    kh, kw = _pair("size", size)
    windows = cut_windows(image, (kh, kw), _pair("stride", stride))  # (rows, cols, C, kh, kw)
    rows, cols = windows.shape[:2]
    batch = windows.reshape(rows * cols, -1, kh, kw)
    if normalize:
        deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)
        batch = (batch - mean) / deviation.clamp(min=1e-6)
    scores = classify(batch)
    if scores.numel() != len(batch):
        raise ValueError(
            f"classify must return one score per window, {len(batch)}, got the shape "
            f"{tuple(scores.shape)}"
        )
    return scores.reshape(rows, cols)


def hard_negatives(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """The background windows that the classifier likes most: what it should learn from next.

    Args:
        scores: `(N,)` float, high where the classifier sees an object.
        labels: `(N,)` integers or bool, 0 for background.
        k: how many to return, fewer if there is less background.

    Returns:
        `(k,)` int64 indices of background windows, highest score first; ties in order.

    Raises:
        ValueError: shapes that do not match, NaN scores, a negative k.

    Source: Dalal and Triggs 2005, section 4; Felzenszwalb et al. 2010, section 4.4.

    >>> hard_negatives(torch.tensor([0.9, 0.2, 0.7, 0.4]), torch.tensor([1, 0, 0, 0]), 2)
    tensor([2, 3])
    """
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"scores and labels must both be (N,), got {tuple(scores.shape)} and "
            f"{tuple(labels.shape)}"
        )
    if scores.isnan().any():
        raise ValueError("scores must not hold NaN: it has no rank")
    if k < 0:
        raise ValueError(f"k must be at least 0, got {k}")
    background = (labels == 0).nonzero().flatten()
    order = scores[background].argsort(descending=True, stable=True)
    return background[order[:k]]


def cut_windows(image: Tensor, size: tuple[int, int], stride: tuple[int, int]) -> Tensor:
    """All windows of `(C, H, W)` as a view `(rows, cols, C, kh, kw)`: no pixel is copied.

    >>> cut_windows(torch.zeros(3, 10, 8), (4, 2), (3, 2)).shape
    torch.Size([3, 4, 3, 4, 2])
    """
    if image.ndim != 3:
        raise ValueError(
            f"image must have the shape (C, H, W), got {tuple(image.shape)}: pass one image"
        )
    if image.shape[1] < size[0] or image.shape[2] < size[1]:
        raise ValueError(
            f"no window of {size[0]} x {size[1]} fits into an image of {image.shape[1]} x "
            f"{image.shape[2]} pixels"
        )
    windows = image.unfold(1, size[0], stride[0]).unfold(2, size[1], stride[1])
    return windows.permute(1, 2, 0, 3, 4)


def _starts(length: int, size: int, stride: int, cover_border: bool) -> list[int]:
    starts = list(range(0, length - size + 1, stride))
    if cover_border and starts and starts[-1] < length - size:
        starts.append(length - size)
    return starts


def _pair(name: str, value: Pair) -> tuple[int, int]:
    # index() also takes the integers of numpy
    pair = tuple(value) if isinstance(value, Iterable) else (index(value), index(value))
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name} must be one or two numbers of at least 1, got {value}")
    return pair
