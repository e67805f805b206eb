"""What every data set here hands out: dictionaries of tensors under the same five names.

A sample holds `image` (C, H, W) float32 in [0, 1] and, where the set has them, `mask` (H, W) int64
with 255 = ignore, `instances` (H, W) int64 with 0 = background, `boxes` (M, 4) float32
(x0, y0, x1, y1) in half-open pixels, and `labels` (M,) int64, the class of each box.
`Scenes` keeps a whole small set in memory and is a `torch.utils.data.Dataset` as well.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

IGNORE = 255
"""The label that no loss and no metric counts."""

Sample = dict[str, Tensor]

_KEYS = {
    "images": "image",
    "masks": "mask",
    "instances": "instances",
    "boxes": "boxes",
    "labels": "labels",
}


@dataclass(frozen=True, eq=False, repr=False)
class Scenes(Dataset):
    """A small labelled set in memory; index it with a number, a slice, a list or an array.

    Args:
        images: (N, C, H, W) float32 in [0, 1].
        masks: (N, H, W) int64 class of every pixel, 255 = ignore.
        instances: (N, H, W) int64 object number of every pixel, 0 = background, or `None`.
        boxes: N tensors (M, 4) float32, (x0, y0, x1, y1) half-open pixels, or `None`.
        labels: N tensors (M,) int64, the class of each box, or `None`.
        class_names: name of every class of `masks` (or of `labels` where there are boxes).

    Raises:
        ValueError: the shapes or lengths do not belong together.

    Example:
        >>> from course.data import cells
        >>> train, test = cells(6, size=32).split(4, 2)
        >>> len(train), test[0]["image"].shape
        (4, torch.Size([1, 32, 32]))
    """

    images: Tensor
    masks: Tensor
    instances: Tensor | None = None
    boxes: tuple[Tensor, ...] | None = None
    labels: tuple[Tensor, ...] | None = None
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        n, *_, h, w = self.images.shape
        if self.images.ndim != 4 or tuple(self.masks.shape) != (n, h, w):
            raise ValueError(
                "expected images (N, C, H, W) and masks (N, H, W) of the same N, H and W; got "
                f"{tuple(self.images.shape)} and {tuple(self.masks.shape)}"
            )
        if self.instances is not None and self.instances.shape != self.masks.shape:
            raise ValueError(
                f"expected instances of shape {tuple(self.masks.shape)} like the masks; "
                f"got {tuple(self.instances.shape)}"
            )
        for name in ("boxes", "labels"):
            rows = getattr(self, name)
            if rows is not None and len(rows) != n:
                raise ValueError(
                    f"expected {name} for {n} images, one tensor each; got {len(rows)}"
                )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: Any) -> Any:
        """One sample for a whole number; a smaller `Scenes` for a slice or for several numbers.

        Several are a list, a tensor or an array (M,) of whole numbers, or of N truth values.

        Raises:
            IndexError: there is no such scene, or another number of truth values than scenes.
            TypeError: it is none of these.
        """
        if isinstance(index, slice):
            return self._pick(range(len(self))[index])
        several = isinstance(index, (list, tuple, range)) or getattr(index, "ndim", 0)
        if several:
            return self._pick([self._number(i) for i in self._listed(index)])
        number = self._number(index)
        return {_KEYS[name]: rows[number] for name, rows in self._columns()}

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        n, c, h, w = self.images.shape
        return f"Scenes({n} images of {c}x{h}x{w}, classes: {', '.join(self.class_names)})"

    def split(self, *sizes: int) -> tuple[Scenes, ...]:
        """Cut the set into consecutive parts of the given sizes; what is left over is dropped.

        Raises:
            ValueError: the parts ask for more scenes than there are.
        """
        if sum(sizes) > len(self) or min(sizes, default=0) < 0:
            raise ValueError(f"expected sizes that sum to at most {len(self)}; got {sizes}")
        ends = torch.tensor((0, *sizes)).cumsum(0).tolist()
        return tuple(self[a:b] for a, b in pairwise(ends))

    def to(self, device: torch.device | str) -> Scenes:
        """The same set with every tensor on `device`."""
        moved = {
            name: rows.to(device) if isinstance(rows, Tensor) else tuple(r.to(device) for r in rows)
            for name, rows in self._columns()
        }
        return replace(self, **moved)

    def _columns(self) -> Iterator[tuple[str, Tensor | tuple[Tensor, ...]]]:
        return ((name, rows) for name in _KEYS if (rows := getattr(self, name)) is not None)

    def _listed(self, index: Any) -> Sequence[Any]:
        """The numbers that a list, a tensor, an array or a mask names."""
        chosen = index.tolist() if hasattr(index, "tolist") else list(index)
        if not chosen or not all(isinstance(i, (bool, np.bool_)) for i in chosen):
            return chosen
        if len(chosen) != len(self):
            raise IndexError(
                f"expected a mask of {len(self)} truth values, one a scene; got {len(chosen)}"
            )
        return [i for i, wanted in enumerate(chosen) if wanted]

    def _number(self, index: Any) -> int:
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                "expected a whole number, a slice, or a list, tensor or array of whole numbers or "
                f"truth values; got {index!r}"
            ) from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"expected {-len(self)} to {len(self) - 1}; got {number}")
        return number

    def _pick(self, index: Sequence[int]) -> Scenes:
        picked = {
            name: rows[list(index)] if isinstance(rows, Tensor) else tuple(rows[i] for i in index)
            for name, rows in self._columns()
        }
        return replace(self, **picked)


def collate(samples: Sequence[Sample]) -> dict[str, Tensor | list[Tensor]]:
    """Batch samples for a `DataLoader`: stack what has one shape, list `boxes` and `labels`.

    Args:
        samples: dictionaries with the same names, as any data set of this package returns.

    Raises:
        ValueError: there is no sample, or images of different sizes meet.

    Example:
        >>> from course.data import cells
        >>> collate(list(cells(3, size=32)))["image"].shape
        torch.Size([3, 1, 32, 32])
    """
    if not samples:
        raise ValueError("expected at least one sample to batch; got none")
    batch: dict[str, Tensor | list[Tensor]] = {}
    for name in samples[0]:
        rows = [sample[name] for sample in samples]
        if name in ("boxes", "labels"):
            batch[name] = rows
            continue
        shapes = sorted({tuple(row.shape) for row in rows})
        if len(shapes) > 1:
            raise ValueError(
                f"expected one size of {name} in a batch; got {shapes}; crop or resize them in "
                "the data set's transform="
            )
        batch[name] = torch.stack(rows)
    return batch
