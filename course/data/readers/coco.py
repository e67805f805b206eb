"""A folder of images with one annotation file in COCO's JSON format.

COCO draws objects as polygons, counts boxes as (x, y, width, height) from 0, numbers its 80
categories with gaps from 1 to 90, and marks crowds by `iscrowd` [Lin et al. 2014, §4]. Here the
categories count from 1 without gaps, boxes are (x0, y0, x1, y1), and crowds are ignored pixels
without a box.
"""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from course.data.container import IGNORE, Sample
from course.data.readers.base import Reader, Transform, to_tensor

__all__ = ["CocoFolder"]


class CocoFolder(Reader):
    """Images with mask, instances, boxes and labels from a COCO annotation file.

    Where objects overlap, the smaller one is in front. Crowds, and boxes of objects that are not
    drawn, are 255 in the mask. A file that draws no object gives neither mask nor instances.

    Args:
        root: the folder of all data sets; `None` takes `COURSE_DATA`.
        images: folder of the images, below the root.
        annotations: the JSON file, below the root.
        transform: gets every sample; see `Reader`.

    Raises:
        FileNotFoundError: a file is missing.
        DamagedFileError: the annotation file is no COCO file, or an annotation in it is wrong.

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
        self.annotations = self.folder / annotations
        self._objects: dict[int, list[dict[str, Any]]] = defaultdict(list)
        with self._guard(self.annotations):
            content = json.loads(self.annotations.read_text())
            if not isinstance(content, dict):
                raise ValueError(f"expected a dictionary; got a {type(content).__name__}")
            categories = sorted(content["categories"], key=lambda category: category["id"])
            self.class_names = ("background", *(category["name"] for category in categories))
            self._label = {category["id"]: k for k, category in enumerate(categories, start=1)}
            self.entries = sorted(content["images"], key=itemgetter("id", "file_name"))
            for found in content["annotations"]:
                _check(found, self._label)
                self._objects[found["image_id"]].append(found)
        self.has_masks = any(o.get("segmentation") for o in content["annotations"])

    def __len__(self) -> int:
        return len(self.entries)

    def _load(self, index: int) -> Sample:
        entry = self.entries[index]
        picture = self._read_image(self.images / entry["file_name"], "RGB")
        height, width = picture.shape[:2]
        found = self._objects.get(entry["id"], [])
        kept = [o for o in found if not o.get("iscrowd") and min(o["bbox"][2:]) > 0]
        corners = [(x, y, x + w, y + h) for x, y, w, h in (o["bbox"] for o in kept)]
        return {
            "image": to_tensor(picture),
            **self._maps(found, kept, height, width),
            "boxes": torch.tensor(corners, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(
                [self._label[o["category_id"]] for o in kept], dtype=torch.int64
            ),
        }

    def _maps(
        self,
        found: list[dict[str, Any]],
        kept: list[dict[str, Any]],
        height: int,
        width: int,
    ) -> dict[str, Tensor]:
        """Mask and instances (H, W), where the file draws objects at all."""
        if not self.has_masks:
            return {}
        mask, instances = np.zeros((2, height, width), np.int64)
        unknown = np.zeros((height, width), bool)
        with self._guard(self.annotations):
            for number, shape in sorted(enumerate(kept, start=1), key=lambda e: -_area(e[1])):
                if shape.get("segmentation"):
                    region = _region(shape, height, width)
                    instances[region], mask[region] = number, self._label[shape["category_id"]]
                else:
                    unknown |= _inside(shape["bbox"], height, width)
            for crowd in (o for o in found if o.get("iscrowd")):
                if crowd.get("segmentation"):
                    unknown |= _region(crowd, height, width)
                else:
                    unknown |= _inside(crowd["bbox"], height, width)
        mask[unknown & (instances == 0)] = IGNORE
        return {"mask": torch.from_numpy(mask), "instances": torch.from_numpy(instances)}


def _check(found: Any, known: Mapping[Any, int]) -> None:
    """Refuse an annotation that cannot be used, by its id."""
    name = f"annotation {found.get('id', '?')}" if isinstance(found, dict) else "an annotation"
    if not isinstance(found, dict) or "image_id" not in found:
        raise ValueError(f"{name} has no image_id")
    if found.get("category_id") not in known:
        raise ValueError(
            f"{name} has the category {found.get('category_id')!r}, which is not listed"
        )
    box = found.get("bbox")
    if not isinstance(box, list) or len(box) != 4 or not all(_is_number(v) for v in box):
        raise ValueError(f"{name} has the bbox {box!r}; expected [x, y, width, height]")
    drawn = found.get("segmentation") or []
    if isinstance(drawn, dict):
        if not isinstance(drawn.get("counts"), list):
            raise ValueError(
                f"{name} has no list of run lengths; a compressed string is what only pycocotools "
                "decodes"
            )
    elif not isinstance(drawn, list) or not all(_is_polygon(corners) for corners in drawn):
        raise ValueError(f"{name} has polygons that are no lists [x, y, x, y, ...]")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _is_polygon(corners: Any) -> bool:
    return isinstance(corners, list) and len(corners) % 2 == 0 and all(map(_is_number, corners[:2]))


def _inside(box: list[float], height: int, width: int) -> NDArray[np.bool_]:
    """The pixels (H, W) whose centre lies in a box (x, y, width, height)."""
    x, y, w, h = box
    columns, rows = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    return (x <= columns) & (columns < x + w) & (y <= rows) & (rows < y + h)


def _area(shape: dict[str, Any]) -> float:
    return shape.get("area") or shape["bbox"][2] * shape["bbox"][3]


def _region(found: dict[str, Any], height: int, width: int) -> NDArray[np.bool_]:
    """The pixels (H, W) of polygons, or of COCO's run lengths, which count down the columns."""
    segmentation = found["segmentation"]
    if isinstance(segmentation, dict):
        counts = segmentation["counts"]
        if sum(counts) != height * width:
            raise ValueError(
                f"annotation {found.get('id', '?')} has run lengths for {sum(counts)} pixels; its "
                f"image has {height} x {width}"
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
