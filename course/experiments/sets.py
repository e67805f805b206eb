"""Data sets by name, brought to one size and to what a task needs.

Synthetic sets are made on the spot from a seed; real ones are read from the folder that the
environment's `COURSE_DATA` names. Every image becomes `size` x `size` pixels, masks and boxes with
it. A set without boxes gets them from its instances, or from the connected parts of each class in
its masks; a set without masks cannot be segmented.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from course.experiments.objects import objects_of

__all__ = ["NAMES", "Prepared", "TrainAndTest", "load_set", "objects_of"]

SYNTHETIC = ("lines", "cells", "scenes", "textures", "boxes")
REAL: dict[str, tuple[str, dict[str, Any], str, str]] = {  # class, options, training and test split
    "bccd": ("BCCD", {}, "train", "val"),
    "camvid": ("CamVid", {}, "train", "val"),
    "dsb2018": ("DSB2018", {}, "train", "val"),
    "isbi2012": ("ISBI2012", {}, "train", "val"),
    "pennfudan": ("PennFudan", {}, "train", "val"),
    "pets": ("Pets", {}, "trainval", "test"),
    "voc2007": ("VOC", {"year": "2007"}, "train", "val"),
    "voc2012": ("VOC", {"year": "2012"}, "train", "val"),
}
NAMES = (*SYNTHETIC, *REAL)

STUFF = ("camvid", "textures")  # whose class 0 is a class like the others, not background

_REMEMBERED = 4096  # prepared samples kept in memory


class TrainAndTest(NamedTuple):
    """Two parts of a data set, the names of its classes (0 first), and its channels."""

    train: "Prepared"
    test: "Prepared"
    class_names: tuple[str, ...]
    channels: int


def load_set(
    name: str,
    *,
    task: str,
    size: int = 64,
    train: int | None = None,
    test: int | None = None,
    seed: int = 0,
) -> TrainAndTest:
    """Load a data set for a task.

    Args:
        name: one of `NAMES`, or "coco:IMAGES:ANNOTATIONS" for a folder and a file below the root.
        task: "segmentation", or another, which needs boxes.
        size: side of the images in pixels.
        train, test: images at most; None takes 400 and 100 synthetic ones, or all of a real set.
        seed: of the synthetic images.

    Raises:
        ValueError: the name is unknown, the set lacks what the task needs, or a part has no object.
        FileNotFoundError: a real set is not there.

    >>> train, test, names, channels = load_set("boxes", task="detection", train=3, test=2)
    >>> len(train), names, sorted(test[0])
    (3, ('background', 'disc', 'square', 'triangle'), ['boxes', 'image', 'index', 'labels'])
    """
    if size < 1:
        raise ValueError(f"expected images of at least 1 pixel, got {size}")
    for label, count in (("train", train), ("test", test)):
        if count is not None and count < 1:
            raise ValueError(f"expected at least 1 image to {label}, got {count}")
    if name in STUFF and task != "segmentation":
        raise ValueError(f"{name} labels stuff, not objects: choose a segmentation system for it")
    if name in SYNTHETIC:
        from course import data

        wanted = (train or 400, test or 100)
        # One answer for a whole image presumes one object in it.
        alone = name == "boxes" and task in ("localization", "classification")
        options: dict[str, Any] = {"count": (1, 1)} if alone else {}
        parts = getattr(data, name)(sum(wanted), size, seed=seed, **options).split(*wanted)
        class_names = parts[0].class_names
    else:
        parts = _read(name, task)
        class_names = parts[0].class_names
    prepared = [
        Prepared(part, task=task, size=size, class_names=class_names, limit=limit)
        for part, limit in zip(parts, (train, test))
    ]
    if task != "segmentation":
        for kind, part in zip(("training", "test"), prepared):
            if not any(len(part[i]["boxes"]) for i in range(len(part))):
                raise ValueError(
                    f"the {kind} part of {name} has no object in {len(part)} images: take more "
                    "images, or another set"
                )
    channels = 3 if task in ("detection", "localization") else prepared[0][0]["image"].shape[0]
    return TrainAndTest(prepared[0], prepared[1], class_names, channels)


def _read(name: str, task: str) -> tuple[Any, Any]:
    from course import data

    if name.startswith("coco:"):
        try:
            _, images, annotations = name.split(":")
        except ValueError:
            raise ValueError(f"expected coco:IMAGES:ANNOTATIONS, got {name!r}") from None
        everything = data.CocoFolder(images=images, annotations=annotations)
        cut = len(everything) - max(1, len(everything) // 5)
        return _Part(everything, range(cut)), _Part(everything, range(cut, len(everything)))
    if name not in REAL:
        near = get_close_matches(name, NAMES, 3, 0.5)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"no data set {name!r}{hint} Known: {', '.join(NAMES)}")
    if name == "pets" and task != "segmentation":  # its test images have no boxes
        pets = data.Pets()
        boxed = pets.with_heads()
        held_out = boxed[4::5]  # in the order of the breeds
        return _Part(pets, sorted({*boxed} - {*held_out})), _Part(pets, held_out)
    reader, options, train, test = REAL[name]
    if reader == "VOC" and task != "segmentation":
        options = options | {"task": "detection"}
    make = getattr(data, reader)
    return make(split=train, **options), make(split=test, **options)


@dataclass(frozen=True)
class _Part:
    """Some samples of a data set."""

    whole: Any
    indices: Sequence[int]

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.whole.class_names

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.whole[self.indices[index]]


class Prepared(Dataset):
    """Samples of one size with `image`, `index`, and `mask` or `boxes` and `labels`.

    >>> from course.data import cells
    >>> part = Prepared(cells(2, 40), task="detection", size=32, class_names=("background", "cell"))
    >>> part[1]["image"].shape, part[1]["index"].item()
    (torch.Size([3, 32, 32]), 1)
    """

    def __init__(
        self,
        samples: Any,
        *,
        task: str,
        size: int,
        class_names: tuple[str, ...],
        limit: int | None = None,
    ) -> None:
        self.samples, self.task, self.size = samples, task, size
        self.class_names = class_names
        self.length = len(samples) if limit is None else min(limit, len(samples))
        self._ready: dict[int, dict[str, Tensor]] = {}
        if not self.length:
            raise ValueError("the data set has no images in this split")

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index in self._ready:
            return self._ready[index]
        sample = dict(self.samples[index])
        if self.task == "segmentation":
            if "mask" not in sample:
                raise ValueError("this data set has boxes but no masks: choose a detector for it")
            kept = {"image": sample["image"], "mask": sample["mask"]}
        else:
            boxes, labels = objects_of(sample, len(self.class_names))
            kept = {"image": sample["image"], "boxes": boxes, "labels": labels}
            if self.task != "classification":  # detectors see colour
                kept["image"] = kept["image"].expand(3, -1, -1)
        kept = {**resized(kept, self.size), "index": torch.tensor(index)}
        if len(self._ready) < _REMEMBERED:
            self._ready[index] = kept
        return kept


def resized(sample: dict[str, Tensor], size: int) -> dict[str, Tensor]:
    """Stretch a sample to `size` x `size` pixels: image smoothly, mask by nearest, boxes exactly.

    >>> box = torch.tensor([[0.0, 2.0, 4.0, 6.0]])
    >>> resized({"image": torch.zeros(3, 8, 16), "boxes": box}, 4)["boxes"]
    tensor([[0., 1., 1., 3.]])
    """
    height, width = sample["image"].shape[-2:]
    if height == width == size:
        return sample
    out = dict(sample)
    scale: Callable[..., Tensor] = torch.nn.functional.interpolate
    out["image"] = scale(sample["image"][None], (size, size), mode="bilinear", antialias=True)[0]
    if "mask" in sample:
        mask = sample["mask"][None, None].double()  # exact for every label
        out["mask"] = scale(mask, (size, size), mode="nearest-exact")[0, 0].long()
    if "boxes" in sample:
        factors = torch.tensor([size / width, size / height] * 2)
        out["boxes"] = (sample["boxes"] * factors).clamp(max=size)  # rounding may pass the border
    return out
