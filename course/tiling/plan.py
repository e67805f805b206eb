"""Where the tiles of an image lie, and what lies outside the image.

The published network turns 572 pixels into 388, so a 512×512 image takes 2×2 tiles, whose inputs
reach 92 pixels over its left edge and 92 + 264 over its right one [U-Net, §2 and Fig. 2].

Tiles repeat one pass over the whole image *exactly* only if they start at multiples of 2^d (d
poolings): otherwise the pooling grid shifts, and a pixel meets other partners under the max. The
published pair breaks this rule, 388 mod 16 = 4. Tiles 384 apart keep it, and each computes 4
pixels of its neighbour once more:

    stride = multiple·⌊tile_out / multiple⌋        input of a tile = tile_out + 2·border
"""

from itertools import product
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

Box = tuple[int, int, int, int]
Image = TypeVar("Image", Tensor, np.ndarray)


def mirror_pad(image: Image, margin: int | Box) -> Image:
    """Pad the last two axes by mirroring; the edge sample is the mirror and does not repeat.

    `image` is a tensor or array `(..., H, W)` of any dtype; `margin` is in pixels, one number for
    all sides or `(left, top, right, bottom)`. A margin beyond the image mirrors again and again,
    as `numpy.pad(mode="reflect")` does and `torch.nn.functional.pad` refuses to. The paper (§2)
    says "mirroring" and leaves open whether the edge repeats. Raises `ValueError` for a negative
    margin or an empty image.

    >>> mirror_pad(torch.tensor([[1, 2, 3]]), (5, 0, 2, 0))
    tensor([[2, 1, 2, 3, 2, 1, 2, 3, 2, 1]])
    """
    left, top, right, bottom = (margin,) * 4 if isinstance(margin, int) else margin
    if min(left, top, right, bottom) < 0:
        raise ValueError(f"margins must be at least 0 pixels, got {margin}")
    _check_image(image)
    height, width = image.shape[-2:]
    return mirrored_window(image, (-left, -top, width + right, height + bottom))


def mirrored_window(image: Image, box: Box) -> Image:
    """Part of the plane that an image covers when it is mirrored at its edges without end.

    `image` is a tensor or array `(..., H, W)`, `box` is `(x0, y0, x1, y1)` in pixels of the image,
    half-open, and may lie outside. Only pixels near the box are read, so a memory-mapped image
    stays on disk; a box inside the image gives a view. Raises `ValueError` for an empty image or
    box.

    >>> mirrored_window(torch.arange(6).view(2, 3), (2, 0, 5, 2))
    tensor([[2, 1, 0],
            [5, 4, 3]])
    """
    x0, y0, x1, y1 = box
    _check_image(image)
    if x1 <= x0 or y1 <= y0:
        raise ValueError(f"the box (x0, y0, x1, y1) = {box} is empty")
    rows, ys = _mirrored(y0, y1, image.shape[-2])
    columns, xs = _mirrored(x0, x1, image.shape[-1])
    window = image[..., rows, columns]
    if ys is not None:
        window = window[..., _index_like(ys, window), :]
    return window if xs is None else window[..., _index_like(xs, window)]


class TilePlan(NamedTuple):
    """Equal tiles that cover an image of `height`×`width` output pixels, in reading order.

    Tiles of `size` (height, width) start `stride` pixels apart, the first at 0. `boxes` are their
    kept parts: they touch, do not overlap, and end at the edge of the image.
    """

    height: int
    width: int
    size: tuple[int, int]
    stride: tuple[int, int]

    @property
    def boxes(self) -> list[Box]:
        """Kept part of each tile, `(x0, y0, x1, y1)` in pixels, half-open."""
        rows = _intervals(self.height, self.size[0], self.stride[0])
        columns = _intervals(self.width, self.size[1], self.stride[1])
        return [(x0, y0, x1, y1) for (y0, y1), (x0, x1) in product(rows, columns)]


def tile_plan(
    height: int,
    width: int,
    tile_out: int | tuple[int, int],
    *,
    multiple: int = 1,
    balance: bool = True,
) -> TilePlan:
    """Plan the fewest tiles of at most `tile_out` output pixels a side that cover an image.

    All arguments are in pixels; `tile_out` is one number or (height, width). Tiles start at
    multiples of `multiple`, which keeps the phase of the pooling grid. `balance` shrinks the
    tiles, by whole multiples, as far as their number allows: a ragged last tile would cost as
    much as a full one. Without it they have the size that you gave. Raises `ValueError` for
    numbers below 1, or a tile below `multiple` where more than one is needed.

    >>> tile_plan(512, 512, 388, balance=False).boxes[:2]  # the paper's tiles
    [(0, 0, 388, 388), (388, 0, 512, 388)]
    >>> plan = tile_plan(512, 1000, 388, multiple=16)  # smaller tiles, in phase
    >>> plan.size, plan.stride, len(plan.boxes)
    ((260, 340), (256, 336), 6)
    """
    tile_h, tile_w = (tile_out, tile_out) if isinstance(tile_out, int) else tile_out
    if min(height, width, tile_h, tile_w, multiple) < 1:
        raise ValueError(
            "height, width, tile_out and multiple must be at least 1 pixel, got "
            f"{height}, {width}, {tile_out} and {multiple}"
        )
    tile_h, stride_h = _tile_and_stride(height, tile_h, multiple, balance)
    tile_w, stride_w = _tile_and_stride(width, tile_w, multiple, balance)
    return TilePlan(height, width, (tile_h, tile_w), (stride_h, stride_w))


def _check_image(image: Tensor | np.ndarray) -> None:
    if image.ndim < 2 or 0 in image.shape[-2:]:
        raise ValueError(
            f"expected an image (..., H, W) of at least one pixel, got shape {tuple(image.shape)}"
        )


def _tile_and_stride(length: int, tile: int, multiple: int, balance: bool) -> tuple[int, int]:
    steps, rest = divmod(tile, multiple)
    if steps == 0 and tile < length:
        raise ValueError(
            f"tiles of {tile} output pixels cannot cover {length} pixels at multiples of "
            f"{multiple}: use tiles of at least {multiple}"
        )
    if balance:
        count = _count(length, tile, steps * multiple)
        steps = max(-(-(length - rest) // (count * multiple)), 0 if rest else 1)
    return steps * multiple + rest, max(steps, 1) * multiple


def _count(length: int, tile: int, stride: int) -> int:
    return 1 if tile >= length else -(-(length - tile) // stride) + 1


def _intervals(length: int, tile: int, stride: int) -> list[tuple[int, int]]:
    starts = [number * stride for number in range(_count(length, tile, stride))]
    return list(zip(starts, [*starts[1:], length]))


def _mirrored(start: int, stop: int, length: int) -> tuple[slice, np.ndarray | None]:
    """Samples to read for an interval, and their order where it leaves `[0, length)`."""
    if start >= 0 and stop <= length:
        return slice(start, stop), None
    period = max(2 * length - 2, 1)
    places = np.arange(start, stop) % period
    places = np.minimum(places, period - places)
    first = int(places.min())
    return slice(first, int(places.max()) + 1), places - first


def _index_like(places: np.ndarray, image: Tensor | np.ndarray) -> Any:
    return torch.from_numpy(places).to(image.device) if isinstance(image, Tensor) else places
