"""Pairwise kernels of the fully connected CRF, entry by entry.

Every pixel is joined to every other. The bond is strong between pixels that are near and have the
same colour (appearance) and, more briefly, between near pixels of any colour (smoothness):

    k_appearance(i, j) = exp(-|p_i - p_j|^2 / (2 theta_a^2) - |I_i - I_j|^2 / (2 theta_b^2))
    k_smoothness(i, j) = exp(-|p_i - p_j|^2 / (2 theta_g^2)),

p in pixels, I in colour levels 0 to 255. Exact, so N^2 entries for N pixels: for small images and
for checking the lattice. Reference: Kraehenbuehl and Koltun 2011, *Efficient inference in fully
connected CRFs with Gaussian edge potentials*, section 2, equation 3.
"""

import torch
from torch import Tensor

__all__ = ["normalize_symmetric", "pairwise_kernel"]

MAX_PIXELS = 8192  # 2 kernels of 8192 x 8192 float32: 0.5 GB


def pairwise_kernel(image: Tensor, theta_a: float, theta_b: float, theta_g: float) -> Tensor:
    """Appearance and smoothness kernel of all pairs of pixels, zero for a pixel with itself.

    Args:
        image: `(C, H, W)`, floats in [0, 1] or uint8; colours are compared on the scale 0 to 255.
        theta_a: reach of the appearance kernel in pixels (sigma_alpha).
        theta_b: reach of the appearance kernel in colour levels (sigma_beta).
        theta_g: reach of the smoothness kernel in pixels (sigma_gamma).

    Returns:
        `(2, N, N)` for N = H * W pixels in reading order: appearance, smoothness. Symmetric.

    Raises:
        TypeError: an image that is neither floating nor uint8.
        ValueError: a wrong shape or scale of the image, a theta that is not positive, more than
            8192 pixels.

    Source: Kraehenbuehl and Koltun 2011, equation 3.

    >>> image = torch.tensor([[[0.0, 0.0, 3 / 255]]])
    >>> pairwise_kernel(image, 1.0, 3.0, 1.0)
    tensor([[[0.0000, 0.6065, 0.0821],
             [0.6065, 0.0000, 0.3679],
             [0.0821, 0.3679, 0.0000]],
    <BLANKLINE>
            [[0.0000, 0.6065, 0.1353],
             [0.6065, 0.0000, 0.6065],
             [0.1353, 0.6065, 0.0000]]])
    """
    if image.ndim != 3:
        raise ValueError(f"image must have the shape (C, H, W), got {tuple(image.shape)}")
    pixels = image.shape[1] * image.shape[2]
    if pixels > MAX_PIXELS:
        raise ValueError(
            f"{pixels} pixels have {pixels**2:,} pairs; up to {MAX_PIXELS} pixels fit here, larger "
            'images need mean_field(..., method="lattice")'
        )
    appearance = appearance_features(image, theta_a, theta_b)
    smoothness = smoothness_features(image, theta_g)
    # Differences, not |a|^2 + |b|^2 - 2 ab, which rounds close pairs away.
    kernels = [
        torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
        for features in (appearance, smoothness)
    ]
    return torch.stack(kernels).square_().mul_(-0.5).exp_() - torch.eye(pixels).to(appearance)


def normalize_symmetric(kernels: Tensor) -> Tensor:
    """Kernels as the released code uses them: with the pixel itself, and normalised.

        K~ = D^-1/2 (K + I) D^-1/2,    D = diagonal of row sums of K + I.

    Args:
        kernels: `(M, N, N)` with zero diagonals, from `pairwise_kernel`.

    Returns:
        `(M, N, N)`.

    Raises:
        ValueError: kernels that are not square.

    Source: released code of Kraehenbuehl and Koltun; the paper leaves it out.

    >>> normalize_symmetric(torch.tensor([[[0.0, 0.6065], [0.6065, 0.0]]]))
    tensor([[[0.6225, 0.3775],
             [0.3775, 0.6225]]])
    """
    if kernels.ndim != 3 or kernels.shape[1] != kernels.shape[2]:
        raise ValueError(f"kernels must have the shape (M, N, N), got {tuple(kernels.shape)}")
    kernels = kernels + torch.eye(kernels.shape[1]).to(kernels)
    scale = kernels.sum(dim=2).rsqrt()  # (M, N)
    return kernels * scale[:, :, None] * scale[:, None, :]


def appearance_features(image: Tensor, theta_a: float, theta_b: float) -> Tensor:
    """Positions and colours in units of their reach: `(N, 2 + C)` of an image `(C, H, W)`.

    >>> appearance_features(torch.tensor([[[0.0, 1.0]]]), 2.0, 10.0)
    tensor([[ 0.0000,  0.0000,  0.0000],
            [ 0.5000,  0.0000, 25.5000]])
    """
    _check_positive(theta_a=theta_a, theta_b=theta_b)
    colours = colour_levels(image).flatten(1).t() / theta_b  # (N, C)
    return torch.cat([smoothness_features(image, theta_a), colours], dim=1)


def smoothness_features(image: Tensor, theta_g: float) -> Tensor:
    """Positions (x, y) in units of their reach: `(N, 2)` of an image `(C, H, W)`.

    >>> smoothness_features(torch.zeros(3, 2, 2), 0.5).tolist()
    [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]]
    """
    _check_positive(theta_g=theta_g)
    dtype = torch.float64 if image.dtype == torch.float64 else torch.float32
    y, x = torch.meshgrid(
        *(torch.arange(n, dtype=dtype, device=image.device) for n in image.shape[1:]),
        indexing="ij",
    )
    return torch.stack([x.flatten(), y.flatten()], dim=1) / theta_g


def colour_levels(image: Tensor) -> Tensor:
    """An image in [0, 1] or uint8 as floats from 0 to 255, or a reason why it is neither.

    theta_b counts colour levels, so an image on another scale would switch colour off or make
    every pixel an island, silently.

    >>> colour_levels(torch.tensor([0.0, 0.2]))
    tensor([ 0., 51.])
    """
    if image.dtype == torch.uint8:
        if image.numel() and image.max() == 1:
            raise ValueError(
                "the uint8 image holds only 0 and 1: it looks like a [0, 1] image that lost its "
                "fractions; pass the floats themselves"
            )
        return image.float()
    if not image.is_floating_point():
        raise TypeError(f"image must be floats in [0, 1] or uint8, got {image.dtype}")
    if image.numel():
        low, high = image.min().item(), image.max().item()
        if not (low >= -1e-3 and high <= 1 + 1e-3):
            hint = "divide by 255, or pass uint8" if low >= 0 else "undo the normalisation first"
            raise ValueError(
                f"a float image must lie in [0, 1], got values from {low:.4g} to {high:.4g}: {hint}"
            )
    return (image if image.dtype == torch.float64 else image.float()) * 255


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
