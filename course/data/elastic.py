"""Elastic deformation: new training images from few, warped as tissue could have been.

U-Net learns from 30 annotated slices because every one of them comes back in a new shape at every
step. A 3 x 3 grid of random displacements with a standard deviation of 10 pixels is laid over the
image; bicubic interpolation between them gives every pixel its own displacement v(x), and the
warped image reads

    image'(x) = image(x + v(x)).

Reference: Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, section 3.1.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["displacements", "elastic"]


def displacements(
    hw: tuple[int, int],
    *,
    sigma: float = 10.0,
    grid: int = 3,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw a smooth random displacement for every pixel.

    Args:
        hw: height and width in pixels.
        sigma: standard deviation of the displacements of the grid's nodes, in pixels.
        grid: nodes per axis; the outer ones lie on the corners of the image.
        generator: source of the random numbers, on `device`; None takes torch's global one.
        device: where the result lies; None takes torch's default.

    Returns:
        (2, H, W) float32: how far to the right and how far down each pixel looks.

    Raises:
        ValueError: a side below 1, fewer than 2 nodes, or a negative sigma.

    Source: Ronneberger et al. 2015, section 3.1.

    >>> displacements((40, 60), generator=torch.Generator().manual_seed(0)).shape
    torch.Size([2, 40, 60])
    """
    if min(hw) < 1 or grid < 2 or not sigma >= 0:
        raise ValueError(
            f"expected sides >= 1, grid >= 2 and sigma >= 0, got {tuple(hw)}, {grid} and {sigma}"
        )
    nodes = sigma * torch.randn(1, 2, grid, grid, generator=generator, device=device)
    return F.interpolate(nodes, hw, mode="bicubic", align_corners=True)[0]  # (2, H, W)


def elastic(sample: dict[str, Any], field: Tensor) -> dict[str, Any]:
    """Warp all maps of a sample alike; what lies outside comes from the mirrored image.

    Floating maps (image, weights) are read between pixels, integer ones (mask, instances) at the
    nearest, so no label is invented. Everything that is no map of the image's size stays.

    Args:
        sample: dictionary with an `image` (C, H, W) and maps (H, W) or (C, H, W).
        field: (2, H, W) from `displacements`.

    Returns:
        A new dictionary.

    Raises:
        ValueError: the field is of another size, or the sample has boxes, which would no longer
            fit: take them from the warped instances.

    >>> sample = {"image": torch.arange(4.0).view(1, 1, 4), "mask": torch.tensor([[0, 0, 1, 1]])}
    >>> warped = elastic(sample, torch.tensor([[[1.0] * 4], [[0.0] * 4]]))  # one to the right
    >>> warped["image"], warped["mask"]
    (tensor([[[1., 2., 3., 3.]]]), tensor([[0, 1, 1, 1]]))
    """
    size = tuple(sample["image"].shape[-2:])
    if tuple(field.shape) != (2, *size):
        raise ValueError(f"expected a field of shape {(2, *size)}, got {tuple(field.shape)}")
    if "boxes" in sample:
        raise ValueError("boxes cannot be warped: remove them, and read them off the instances")
    where = _positions(field)
    return {
        name: _read(value, where) if _is_map(value, size) else value
        for name, value in sample.items()
    }


def _positions(field: Tensor) -> Tensor:
    """Where every pixel looks, (1, H, W, 2), in units of `grid_sample`: -1 … 1 edge to edge."""
    height, width = field.shape[-2:]
    x = torch.arange(width, device=field.device) + field[0]
    y = torch.arange(height, device=field.device)[:, None] + field[1]
    return torch.stack([(2 * x + 1) / width - 1, (2 * y + 1) / height - 1], dim=-1)[None]


def _is_map(value: Any, size: tuple[int, ...]) -> bool:
    return isinstance(value, Tensor) and value.ndim in (2, 3) and tuple(value.shape[-2:]) == size


def _read(value: Tensor, where: Tensor) -> Tensor:
    planes = value.reshape(1, -1, *value.shape[-2:])  # (1, C, H, W)
    exact = planes.to(torch.float64 if not value.is_floating_point() else value.dtype)
    mode = "bilinear" if value.is_floating_point() else "nearest"
    read = F.grid_sample(
        exact, where.to(exact.dtype), mode, padding_mode="reflection", align_corners=False
    )
    return read.reshape(value.shape).to(value.dtype)
