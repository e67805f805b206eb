"""A folder of images with one annotation file in COCO's JSON format.

COCO draws objects as polygons, counts boxes as (x, y, width, height) from 0, numbers its 80
categories with gaps from 1 to 90, and marks crowds by `iscrowd` [Lin et al. 2014, §4]. Here the
categories count from 1 without gaps, boxes are (x0, y0, x1, y1), and crowds are ignored pixels
without a box.
"""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from course.data.container import IGNORE, Sample
from course.data.readers.base import Reader, Transform, to_tensor

__all__ = ["CocoFolder"]


class CocoFolder(Reader):
    """Images with mask, instances, boxes and labels from a COCO annotation file.

    Where objects overlap, the smaller one is in front. Crowds are 255 in the mask.

    Args:
        root: the folder of all data sets; `None` takes `COURSE_DATA`.
        images: folder of the images, below the root.
        annotations: the JSON file, below the root.
        transform: gets every sample; see `Reader`.

    Raises:
        FileNotFoundError: a file is missing.
        DamagedFileError: the annotation file is no COCO file.

    Example:
        >>> CocoFolder(
        ...     images="coco128/images/train2017",
        ...     annotations="coco128/annotations/instances_train2017.json",
        ... )[0]["boxes"].shape  # doctest: +SKIP
        torch.Size([8, 4])
    """

    source = "coco"

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        images: str | Path,
        annotations: str | Path,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(root, transform=transform)
        self.images = self.folder / images
        path = self.folder / annotations
        with self._guard(path):
            content = json.loads(path.read_text())
            categories = sorted(content["categories"], key=lambda category: category["id"])
            self.entries = sorted(content["images"], key=lambda entry: entry["id"])
            objects = content["annotations"]
        self.class_names = ("background", *(category["name"] for category in categories))
        self._label = {category["id"]: k for k, category in enumerate(categories, start=1)}
        self._objects: dict[int, list[dict[str, Any]]] = defaultdict(list)
        for found in objects:
            self._objects[found["image_id"]].append(found)

    def __len__(self) -> int:
        return len(self.entries)

    def _load(self, index: int) -> Sample:
        entry = self.entries[index]
        picture = self._read_image(self.images / entry["file_name"], "RGB")
        height, width = picture.shape[:2]
        mask, instances = np.zeros((2, height, width), np.int64)
        found = self._objects.get(entry["id"], [])
        kept = [o for o in found if not o.get("iscrowd") and min(o["bbox"][2:]) > 0]
        for number, shape in sorted(enumerate(kept, start=1), key=lambda e: -_area(e[1])):
            region = _region(shape["segmentation"], height, width)
            instances[region], mask[region] = number, self._label[shape["category_id"]]
        for crowd in (o for o in found if o.get("iscrowd")):
            region = _region(crowd["segmentation"], height, width)
            mask[region & (instances == 0)] = IGNORE
        corners = [(x, y, x + w, y + h) for x, y, w, h in (o["bbox"] for o in kept)]
        return {
            "image": to_tensor(picture),
            "mask": torch.from_numpy(mask),
            "instances": torch.from_numpy(instances),
            "boxes": torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(
                [self._label[o["category_id"]] for o in kept], dtype=torch.int64
            ),
        }


def _area(shape: dict[str, Any]) -> float:
    return shape.get("area") or shape["bbox"][2] * shape["bbox"][3]


def _region(segmentation: Any, height: int, width: int) -> NDArray[np.bool_]:
    """The pixels (H, W) of polygons, or of COCO's run lengths, which count down the columns."""
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        if not isinstance(counts, list):
            raise ValueError(
                "expected polygons or a list of run lengths; got a compressed string, which only "
                "pycocotools decodes"
            )
        values = np.arange(len(counts)) % 2 == 1
        return np.repeat(values, counts).reshape(width, height).T
    from skimage.draw import polygon

    region = np.zeros((height, width), bool)
    for corners in segmentation:
        x, y = np.reshape(corners, (-1, 2)).T
        # a pixel belongs to the polygon that holds its centre, at +0.5 in COCO's coordinates
        region[polygon(y - 0.5, x - 0.5, (height, width))] = True
    return region
