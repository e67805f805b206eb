"""From whatever a student has, tensor or array, with or without a batch axis, to pictures.

Images come out as float arrays (H, W) or (H, W, 3), label maps as integer arrays (H, W).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["describe", "image_list", "number", "to_array", "to_image", "to_labels"]


def to_array(values: Any) -> NDArray[Any]:
    """A tensor on any device, an array or nested lists, as a numpy array.

    Raises:
        TypeError: `values` holds something other than numbers.

    Example:
        >>> import torch
        >>> to_array(torch.ones(2, dtype=torch.bfloat16, requires_grad=True))
        array([1., 1.], dtype=float32)
    """
    import torch

    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"expected numbers; got {type(values).__name__} of dtype {array.dtype}")
    return array


def to_image(values: Any) -> NDArray[Any]:
    """An image or a map as (H, W), or (H, W, 3) in [0, 1] where it has three channels.

    Raises:
        ValueError: it is not (H, W), (1, H, W), (3, H, W) or one of these in a batch of one.

    Example:
        >>> to_image(np.zeros((1, 3, 4, 5))).shape, to_image(np.zeros((1, 4, 5))).shape
        ((4, 5, 3), (4, 5))
    """
    array = to_array(values)
    shape = array.shape
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim == 3 and array.shape[0] == 3:
        array = array.transpose(1, 2, 0)
    if array.size == 0 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ValueError(f"expected an image (H, W), (1, H, W) or (3, H, W); got shape {shape}")
    if array.ndim == 3:
        array = array / 255.0 if array.dtype == np.uint8 else array
        array = np.nan_to_num(array.astype(np.float64)).clip(0.0, 1.0)
    return array


def to_labels(values: Any) -> NDArray[np.int64]:
    """A label map as (H, W) int64.

    Raises:
        ValueError: it is not (H, W), nor a batch of one.
        TypeError: it is not of whole numbers.

    Example:
        >>> to_labels(np.ones((1, 2, 3), bool)).shape
        (2, 3)
    """
    array = to_array(values)
    shape = array.shape
    while array.ndim > 2 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2 or array.size == 0:
        raise ValueError(f"expected a label map (H, W); got shape {shape}")
    if array.dtype.kind == "f":
        raise TypeError(f"expected a label map of whole numbers; got dtype {array.dtype}")
    return array.astype(np.int64)


def image_list(values: Any) -> list[Any]:
    """The members of a batch (N, C, H, W), of a list, or of a single image.

    Example:
        >>> len(image_list(np.zeros((4, 3, 8, 8)))), len(image_list(np.zeros((8, 8))))
        (4, 1)
    """
    if isinstance(values, Sequence):
        return list(values)
    array = to_array(values)
    return list(array) if array.ndim == 4 else [array]


def number(value: float) -> str:
    """A number for a label: four significant digits, no more than needed.

    Example:
        >>> number(0.96774), number(12.0), number(3e-8), number(254279)
        ('0.9677', '12', '3e-08', '254279')
    """
    value = float(value)
    return str(int(value)) if value.is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def describe(values: NDArray[Any]) -> str:
    """Least and greatest value, and what is not a number.

    Example:
        >>> describe(np.array([0.5, 2.0, np.nan]))
        '0.5 to 2, 1 not finite'
    """
    finite = values[np.isfinite(values)]
    if not finite.size:
        return "no finite value"
    wrong = values.size - finite.size
    text = f"{number(finite.min())} to {number(finite.max())}"
    return f"{text}, {wrong} not finite" if wrong else text
