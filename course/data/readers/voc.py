"""PASCAL VOC and BCCD: one XML per image, boxes counted from 1.

VOC writes boxes with the first and the last pixel, both from 1; here they become half-open and
count from 0: (xmin - 1, ymin - 1, xmax, ymax). Its masks are palette images whose 255 marks the
unlabelled border of every object [Everingham et al. 2010, §3]. torchvision knows the file lists and
layouts of VOC, so its reader stands on torchvision's classes.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
from torch import Tensor

from course.data.container import IGNORE, Sample
from course.data.readers.base import Reader, Transform, to_tensor

__all__ = ["BCCD", "VOC", "WithBoxes"]

_CLASSES = (
    "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse "
    "motorbike person pottedplant sheep sofa train tvmonitor"
)
_IDS = {*range(21), IGNORE}


class WithBoxes(Reader):
    """A reader of XML files in the manner of VOC."""

    def _objects(self, path: Path) -> list[dict[str, Any]]:
        """The objects of one XML file: `name`, `difficult` and `box` in half-open pixels."""
        with self._guard(path):
            found = []
            for entry in ElementTree.parse(path).iter("object"):
                place = entry.find("bndbox")
                if place is None:
                    raise ValueError(f"no box for the object {entry.findtext('name')!r}")
                # VOC 2011 writes some corners as decimal numbers
                x0, y0, x1, y1 = (
                    float(place.findtext(k, "")) for k in ("xmin", "ymin", "xmax", "ymax")
                )
                found.append(
                    {
                        "name": entry.findtext("name", ""),
                        "difficult": entry.findtext("difficult", "0").strip() == "1",
                        "box": (x0 - 1, y0 - 1, x1, y1),
                    }
                )
            return found

    def _targets(self, objects: list[dict[str, Any]], path: Path) -> dict[str, Tensor]:
        try:
            labels = [self.class_names.index(found["name"]) for found in objects]
        except ValueError as error:
            raise ValueError(
                f"unknown class in {path}: {error}; known: {self.class_names}"
            ) from error
        boxes = torch.tensor([found["box"] for found in objects], dtype=torch.float32)
        return {
            "boxes": boxes.reshape(-1, 4),
            "labels": torch.tensor(labels, dtype=torch.int64),
        }


class VOC(WithBoxes):
    """PASCAL VOC: images (3, H, W) with class masks, or with boxes and labels.

    Args:
        root: the folder of all data sets, with `VOCdevkit/VOC2012`.
        year: "2007" or "2012".
        split: "train", "val" or "trainval".
        task: "segmentation" (image and mask: 0 background, 1 to 20, 255 void) or "detection"
            (image, boxes and labels 1 to 20).
        difficult: keep the objects marked as difficult, which VOC's own evaluation does not count.
        transform: gets every sample; see `Reader`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an argument is unknown.

    Example:
        >>> len(VOC.class_names), VOC.class_names[15]
        (21, 'person')
        >>> sorted(VOC(split="val", task="detection")[0])  # doctest: +SKIP
        ['boxes', 'image', 'labels']
    """

    class_names = tuple(_CLASSES.split())

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        year: str = "2012",
        split: str = "train",
        task: str = "segmentation",
        difficult: bool = False,
        transform: Transform | None = None,
    ) -> None:
        if year not in ("2007", "2012"):
            raise ValueError(f"expected the year 2007 or 2012; got {year!r}")
        if split not in ("train", "val", "trainval"):
            raise ValueError(f"expected a split of train, val or trainval; got {split!r}")
        if task not in ("segmentation", "detection"):
            raise ValueError(f"expected the task segmentation or detection; got {task!r}")
        self.source = f"voc{year}"  # type: ignore[misc]
        super().__init__(root, transform=transform)
        from torchvision import datasets

        kind = datasets.VOCSegmentation if task == "segmentation" else datasets.VOCDetection
        try:
            self._files = kind(str(self.folder.parent.parent), year=year, image_set=split)
        except (FileNotFoundError, RuntimeError) as error:
            raise self._missing(self.folder / "ImageSets") from error
        self.task, self.difficult = task, difficult

    def __len__(self) -> int:
        return len(self._files)

    def _load(self, index: int) -> Sample:
        image = to_tensor(self._read_image(Path(self._files.images[index]), "RGB"))
        target = Path(self._files.targets[index])
        if self.task == "segmentation":
            ids = self._read_labels(target, image.shape[1:], known=_IDS)
            return {"image": image, "mask": torch.from_numpy(ids)}
        objects = [o for o in self._objects(target) if self.difficult or not o["difficult"]]
        return {"image": image, **self._targets(objects, target)}


class BCCD(WithBoxes):
    """Blood cells: images (3, 480, 640) with boxes of red cells, white cells and platelets.

    Two boxes of the set have no area (BloodImage_00338 and 00343); they are left out, and `notes`
    and a warning say so. Red cells that are crowded or cut are often not annotated.

    Args:
        root: the folder of all data sets, with `BCCD/JPEGImages`, `Annotations` and `ImageSets`.
        split: "train", "val", "test" or "trainval".
        transform: gets every sample; see `Reader`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the split is unknown.

    Example:
        >>> BCCD.class_names
        ('background', 'RBC', 'WBC', 'Platelets')
        >>> sorted(BCCD()[0])  # doctest: +SKIP
        ['boxes', 'image', 'labels']
    """

    source = "bccd"
    class_names = ("background", "RBC", "WBC", "Platelets")

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        split: str = "train",
        transform: Transform | None = None,
    ) -> None:
        super().__init__(root, transform=transform)
        if split not in ("train", "val", "test", "trainval"):
            raise ValueError(f"expected a split of train, val, test or trainval; got {split!r}")
        names = self._read_text(self.folder / "ImageSets" / "Main" / f"{split}.txt").split()
        self._annotated = [(name, *self._with_area(name)) for name in names]
        self.notes = tuple(
            f"{name}.xml: {dropped} box without area left out"
            for name, _, dropped in self._annotated
            if dropped
        )
        if self.notes:
            warnings.warn("; ".join(self.notes), stacklevel=2)

    def __len__(self) -> int:
        return len(self._annotated)

    def _load(self, index: int) -> Sample:
        name, objects, _ = self._annotated[index]
        image = self._read_image(self.folder / "JPEGImages" / f"{name}.jpg", "RGB")
        return {
            "image": to_tensor(image),
            **self._targets(objects, self.folder / "Annotations" / f"{name}.xml"),
        }

    def _with_area(self, name: str) -> tuple[list[dict[str, Any]], int]:
        objects = self._objects(self.folder / "Annotations" / f"{name}.xml")
        # One pixel is what is left of a box whose first and last corner are written equal.
        kept = [
            o for o in objects if o["box"][2] - o["box"][0] > 1 and o["box"][3] - o["box"][1] > 1
        ]
        return kept, len(objects) - len(kept)
