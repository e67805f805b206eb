"""Photographs for lectures, from the scikit-image package: no download, no licence to ask for."""

from __future__ import annotations

from torch import Tensor

from course.data.readers.base import to_tensor

__all__ = ["PHOTOGRAPHS", "photographs"]

PHOTOGRAPHS = (
    "astronaut",
    "camera",
    "cell",
    "chelsea",
    "coffee",
    "coins",
    "immunohistochemistry",
    "rocket",
)
"""The images that every installation of scikit-image holds."""


def photographs(*names: str) -> dict[str, Tensor]:
    """Photographs as images (C, H, W) float32 in [0, 1]: three channels, or one where it is grey.

    Args:
        names: some of `PHOTOGRAPHS`; none means all.

    Raises:
        ValueError: a name is unknown.

    Example:
        >>> photographs("chelsea", "coins")["chelsea"].shape
        torch.Size([3, 300, 451])
    """
    unknown = sorted(set(names) - set(PHOTOGRAPHS))
    if unknown:
        raise ValueError(f"expected names of {', '.join(PHOTOGRAPHS)}; got {', '.join(unknown)}")
    from skimage import data

    return {name: to_tensor(getattr(data, name)()) for name in names or PHOTOGRAPHS}
