"""Label every pixel by classifying the patch around it.

The patch of pixel (y, x) is centred on it: an odd size p leaves p // 2 pixels on every side. An
even size has no middle; here the pixel is the one at index p // 2, so p // 2 pixels lie above and
to the left, p // 2 - 1 below and to the right. What lies outside the image is filled by mirroring;
the edge pixel is the mirror and does not repeat. Every pixel costs one run of the network.

Reference: Ciresan et al. 2012, *Deep neural networks segment neuronal membranes in electron
microscopy images*, section 2.
"""

from collections.abc import Callable
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from course.modes import evaluation_mode
from course.tiling.plan import mirror_pad
from course.windows.grid import cut_windows

__all__ = ["extract_patches", "mirror_border", "scan"]


def mirror_border(image: Tensor, size: int) -> Tensor:
    """Pad an image so that the windows of the result are the patches of all pixels.

    Args:
        image: `(..., H, W)`.
        size: side of the patches in pixels.

    Returns:
        `(..., H + size - 1, W + size - 1)`: size // 2 pixels before, (size - 1) // 2 after.

    Raises:
        ValueError: a size below 1, an empty image.

    >>> mirror_border(torch.arange(6.0).view(2, 3), 4)[0]  # two rows up: row 0 again, of period 2
    tensor([2., 1., 0., 1., 2., 1.])
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel, got {size}")
    before, after = size // 2, (size - 1) // 2
    return mirror_pad(image, (before, before, after, after))


def extract_patches(image: Tensor, size: int, *, stride: int = 1) -> Tensor:
    """Patches centred on the pixels of an image, mirrored at the border.

    Args:
        image: `(C, H, W)`.
        size: side of a patch in pixels, odd for a true centre (see the module).
        stride: take every stride-th pixel down and to the right, from pixel (0, 0).

    Returns:
        `(N, C, size, size)`, row by row; N = ceil(H / stride) * ceil(W / stride). The patch of a
        pixel holds it at `[size // 2, size // 2]`.

    Raises:
        ValueError: an image that is not `(C, H, W)`, a size or stride below 1.

    Source: Ciresan et al. 2012, section 2.

    >>> patches = extract_patches(torch.arange(6.0).view(1, 2, 3), 3)
    >>> patches.shape, patches[0, 0]
    (torch.Size([6, 1, 3, 3]), tensor([[4., 3., 4.],
            [1., 0., 1.],
            [4., 3., 4.]]))
    """
    return _patch_grid(image, size, stride).flatten(0, 1)


@torch.no_grad()
def scan(
    image: Tensor,
    net: Callable[[Tensor], Tensor],
    size: int,
    stride: int = 1,
    *,
    batch: int = 256,
) -> Tensor:
    """Run a patch classifier around every stride-th pixel, patch by patch, without gradient.

    Args:
        image: `(C, H, W)` float.
        net: maps patches `(N, C, size, size)` to `(N, K)` or `(N, K, 1, 1)`. A module runs in
            evaluation mode and gets its own modes back.
        size: side of a patch in pixels.
        stride: distance of the labelled pixels.
        batch: patches per call of `net`, at most one row of them; 1 is the loop of the textbooks.

    Returns:
        `(K, rows, cols)`; entry (i, j) belongs to pixel (i * stride, j * stride).

    Raises:
        ValueError: an image that is not `(C, H, W)`, a size, stride or batch below 1, a net that
            does not return one vector per patch.

    Source: Ciresan et al. 2012, section 2.

    >>> scan(torch.arange(6.0).view(1, 2, 3), lambda patches: patches[:, :, 1, 1], 3)
    tensor([[[0., 1., 2.],
             [3., 4., 5.]]])
    """
    if batch < 1:
        raise ValueError(f"batch must be at least 1 patch, got {batch}")
    rows = []
    with evaluation_mode(net) if isinstance(net, nn.Module) else nullcontext():
        for row in _patch_grid(image, size, stride):  # (cols, C, size, size)
            outputs = torch.cat([net(part.contiguous()) for part in row.split(batch)])
            if outputs.ndim < 2 or outputs.shape[0] != len(row) or outputs.shape[2:].numel() != 1:
                raise ValueError(
                    f"net must map {tuple(row.shape)} to ({len(row)}, K) or ({len(row)}, K, 1, 1), "
                    f"got {tuple(outputs.shape)}: does it expect patches of another size?"
                )
            rows.append(outputs.flatten(1))
    return torch.stack(rows).permute(2, 0, 1)  # (rows, cols, K) -> (K, rows, cols)


def _patch_grid(image: Tensor, size: int, stride: int) -> Tensor:
    """View `(rows, cols, C, size, size)` of the mirrored image."""
    if stride < 1:
        raise ValueError(f"stride must be at least 1 pixel, got {stride}")
    if image.ndim != 3:
        raise ValueError(
            f"image must have the shape (C, H, W), got {tuple(image.shape)}: pass one image"
        )
    return cut_windows(mirror_border(image, size), (size, size), (stride, stride))
