"""What the readers of real sets share: where files lie, how they are opened, joint transforms.

A reader returns the same dictionaries of tensors as the synthetic scenes. A missing or damaged file
is an error that names the file, the archive it belongs to and how to get it.
"""

from __future__ import annotations

import operator
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from course.data.container import Sample
from course.data.readers.sources import SOURCES, data_root

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["DamagedFileError", "Reader", "Transform", "to_tensor"]

Transform = Callable[[dict[str, Any]], dict[str, Any]]


class DamagedFileError(OSError):
    """A file of a data set is there but cannot be read, or does not fit the others."""


class Reader(Dataset, ABC):
    """A data set in a folder.

    Args:
        root: the folder of all data sets; `None` takes the environment's `COURSE_DATA`.
        transform: gets every sample, its entries wrapped as torchvision's `tv_tensors`, and returns
            the changed one; the transforms of `torchvision.transforms.v2` do so.

    Raises:
        FileNotFoundError: the set, or a file of it, is not there.
        DamagedFileError: a file cannot be read, or a label map does not fit its image.
    """

    source: ClassVar[str]
    class_names: tuple[str, ...]

    def __init__(self, root: str | Path | None = None, *, transform: Transform | None = None):
        self.transform = transform
        self.folder = data_root(root) / SOURCES[self.source].folder
        if not self.folder.is_dir():
            raise self._missing(self.folder)

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def _load(self, index: int) -> Sample:
        """The sample number `index`, as plain tensors."""

    def __getitem__(self, index: int) -> Sample:
        try:
            number = operator.index(index)
        except TypeError:
            raise TypeError(
                f"readers take one whole number; got {index!r}; for several samples use "
                "torch.utils.data.Subset"
            ) from None
        if not -len(self) <= number < len(self):
            raise IndexError(f"expected {-len(self)} to {len(self) - 1}; got {number}")
        sample = self._load(number % len(self))
        return sample if self.transform is None else _plain(self.transform(_wrapped(sample)))

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        title = SOURCES[self.source].title
        return f"{title}: {len(self)} images, classes: {', '.join(self.class_names)}"

    def _missing(self, path: Path) -> FileNotFoundError:
        return FileNotFoundError(f"expected {path}; it is missing. {self._help()}")

    def _help(self) -> str:
        return SOURCES[self.source].help(self.source)

    def _read_text(self, path: Path) -> str:
        try:
            return path.read_text()
        except FileNotFoundError:
            raise self._missing(path) from None

    def _read_image(self, path: Path, mode: str | None = None) -> NDArray[Any]:
        """The pixels of an image file, (H, W) or (H, W, C), in PIL's `mode` where it is given."""
        with self._guard(path):
            from PIL import Image

            with Image.open(path) as image:
                return _pixels(image, mode)

    def _read_labels(
        self,
        path: Path,
        size: tuple[int, ...],
        *,
        mode: str | None = None,
        known: Collection[int] | None = None,
        hint: str = "",
    ) -> NDArray[np.int64]:
        """A label map (H, W) from an image file.

        Args:
            path: the file.
            size: height and width of the image that it labels.
            mode: of PIL, where the file's own is not to be trusted.
            known: the labels that may occur; `None` allows all.
            hint: what else the file may be, for the error.

        Raises:
            DamagedFileError: it is no map of this size with these labels.
        """
        labels = self._read_image(path, mode)
        if labels.shape != tuple(size):
            wrong = f"labels of shape {tuple(size)} like the image in {path}; got {labels.shape}"
            raise DamagedFileError(f"expected {wrong}. {hint}{self._help()}")
        if known is not None and (other := {*np.unique(labels).tolist()} - {*known}):
            wrong = f"the labels {_listed(known)} in {path}; got {_listed(other)}"
            raise DamagedFileError(f"expected {wrong}. {hint}{self._help()}")
        return labels.astype(np.int64)

    def _guard(self, path: Path) -> _Guard:
        return _Guard(self, path)


_OF_DECODERS = (
    *(OSError, SyntaxError, ValueError, KeyError, EOFError, TypeError, IndexError),
    *(struct.error, zlib.error),
)


class _Guard:
    """Turns what a decoder says about a file into an error that names the file and its source."""

    def __init__(self, reader: Reader, path: Path) -> None:
        self.reader, self.path = reader, path

    def __enter__(self) -> None:
        if not self.path.is_file():
            raise self.reader._missing(self.path)

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, _OF_DECODERS):
            raise DamagedFileError(
                f"{self.path} cannot be read ({type(error).__name__}: {error}); it is damaged or "
                f"another file. {self.reader._help()}"
            ) from error


def _listed(labels: Collection[int]) -> str:
    """Labels as text, neighbours joined.

    >>> _listed({0, 1, 2, 255})
    '0 to 2, 255'
    """
    runs: list[list[int]] = []
    for label in sorted(labels):
        if runs and label == runs[-1][-1] + 1:
            runs[-1].append(label)
        else:
            runs.append([label])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)


def _pixels(image: Image, mode: str | None) -> NDArray[Any]:
    return np.asarray(image if mode is None or image.mode == mode else image.convert(mode))


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels (H, W) or (H, W, C) of 0..255 as an image (C, H, W) float32 in [0, 1].

    Example:
        >>> to_tensor(np.full((2, 3), 255, np.uint8)).shape
        torch.Size([1, 2, 3])
    """
    image = torch.from_numpy(np.array(pixels)).float().div_(255.0)
    return image[None] if image.ndim == 2 else image.permute(2, 0, 1).contiguous()


def _wrapped(sample: Sample) -> dict[str, Any]:
    """The sample as torchvision's v2 transforms expect it: they treat each kind in its own way."""
    from torchvision import tv_tensors

    size = tuple(sample["image"].shape[-2:])
    wrapped: dict[str, Any] = dict(sample)
    for name, value in sample.items():
        if name == "image":
            wrapped[name] = tv_tensors.Image(value)
        elif name in ("mask", "instances"):
            wrapped[name] = tv_tensors.Mask(value)
        elif name == "boxes":
            wrapped[name] = tv_tensors.BoundingBoxes(value, format="XYXY", canvas_size=size)  # type: ignore[call-overload]
    return wrapped


def _plain(sample: dict[str, Any]) -> Sample:
    return {
        name: value.as_subclass(Tensor) if isinstance(value, Tensor) else value
        for name, value in sample.items()
    }
