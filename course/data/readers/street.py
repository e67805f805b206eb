"""Street scenes: CamVid for SegNet and FC-DenseNet, Penn-Fudan's pedestrians for small detectors.

CamVid in the form of the SegNet paper: 367/101/233 frames of 480 x 360 pixels, 11 classes and
"unlabelled" [Brostow et al. 2009; Badrinarayanan et al. 2017, §4.1].
Penn-Fudan: 170 photographs, 345 pedestrians, each with a mask [Wang et al. 2007].
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from course.data.container import IGNORE, Sample
from course.data.readers.base import Reader, Transform, to_tensor

__all__ = ["CamVid", "PennFudan"]

_UNLABELLED = 11


class CamVid(Reader):
    """Frames with 11 classes: image (3, 360, 480) and mask, 255 where the frame is unlabelled.

    The frames of one split are neighbours in time, "val" is a single street, and "train" and
    "test" share a sequence at dusk: scores on them say little about other streets.

    Args:
        root: the folder of all data sets, with `CamVid/train.txt`, `train/`, `trainannot/` …
        split: "train", "val" or "test".
        transform: gets every sample; see `Reader`.

    Raises:
        FileNotFoundError: a file is missing.
        DamagedFileError: a label file is no map of ids 0 to 11 like its image.
        ValueError: the split is unknown.

    Example:
        >>> CamVid.class_names.index("bicyclist")
        10
        >>> CamVid()[0]["mask"].shape  # doctest: +SKIP
        torch.Size([360, 480])
    """

    source = "camvid"
    class_names = (
        "sky",
        "building",
        "pole",
        "road",
        "pavement",
        "tree",
        "sign",
        "fence",
        "car",
        "pedestrian",
        "bicyclist",
    )

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        split: str = "train",
        transform: Transform | None = None,
    ) -> None:
        super().__init__(root, transform=transform)
        if split not in ("train", "val", "test"):
            raise ValueError(f"expected a split of train, val or test; got {split!r}")
        self.split = split
        # The lists hold paths of their author's machine, "/SegNet/CamVid/train/NAME": names count.
        lines = self._read_text(self.folder / f"{split}.txt").splitlines()
        self.names = [Path(line.split()[0]).name for line in lines if line.strip()]

    def __len__(self) -> int:
        return len(self.names)

    def _load(self, index: int) -> Sample:
        name = self.names[index]
        image = to_tensor(self._read_image(self.folder / self.split / name, "RGB"))
        ids = self._read_labels(
            self.folder / f"{self.split}annot" / name,
            image.shape[1:],
            known=range(_UNLABELLED + 1),
            hint="The original 960 x 720 release with 32 colours is another form of the set. ",
        )
        return {
            "image": image,
            "mask": torch.from_numpy(np.where(ids == _UNLABELLED, IGNORE, ids)),
        }


class PennFudan(Reader):
    """Photographs of pedestrians: image, mask, instances, boxes and labels.

    The boxes are the extents of the instance masks. Small and hidden people are not annotated, and
    some photographs are near-duplicates of their neighbours.

    Args:
        root: the folder of all data sets, with `PennFudanPed/PNGImages` and `PedMasks`.
        split: "train", "val", "test" or "all"; from `PennFudanPed/splits/SPLIT.txt` where there is
            one, otherwise the last tenth is for testing and the one before it for validation.
        transform: gets every sample; see `Reader`.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: the split is unknown.

    Example:
        >>> PennFudan.class_names
        ('background', 'pedestrian')
        >>> PennFudan()[0]["boxes"]  # doctest: +SKIP
        tensor([[ 67.,  92., 191., 380.]])
    """

    source = "pennfudan"
    class_names = ("background", "pedestrian")

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        split: str = "train",
        transform: Transform | None = None,
    ) -> None:
        super().__init__(root, transform=transform)
        self.names = self._names(split)

    def __len__(self) -> int:
        return len(self.names)

    def _load(self, index: int) -> Sample:
        name = self.names[index]
        image = to_tensor(self._read_image(self.folder / "PNGImages" / f"{name}.png", "RGB"))
        masks = self._read_labels(self.folder / "PedMasks" / f"{name}_mask.png", image.shape[1:])
        instances = torch.from_numpy(masks)
        boxes = extents(masks)
        return {
            "image": image,
            "mask": (instances > 0).long(),
            "instances": instances,
            "boxes": boxes,
            "labels": torch.ones(len(boxes), dtype=torch.int64),
        }

    def _names(self, split: str) -> list[str]:
        if split not in ("train", "val", "test", "all"):
            raise ValueError(f"expected a split of train, val, test or all; got {split!r}")
        given = self.folder / "splits" / f"{split}.txt"
        if split != "all" and given.is_file():
            return given.read_text().split()
        names = sorted(path.stem for path in (self.folder / "PNGImages").glob("*.png"))
        if not names:
            raise self._missing(self.folder / "PNGImages")
        tenth = len(names) // 10
        ends = {
            "train": (0, len(names) - 2 * tenth),
            "val": (len(names) - 2 * tenth, len(names) - tenth),
            "test": (len(names) - tenth, len(names)),
            "all": (0, len(names)),
        }
        return names[slice(*ends[split])]


def extents(instances: NDArray[np.integer]) -> Tensor:
    """Tight boxes (M, 4) of the instances 1 … M of a map (H, W), half-open, in their order.

    Example:
        >>> extents(np.array([[0, 1, 1], [2, 0, 0]]))
        tensor([[1., 0., 3., 1.],
                [0., 1., 1., 2.]])
    """
    from scipy.ndimage import find_objects

    found = (place for place in find_objects(instances) if place is not None)
    boxes = [(x.start, y.start, x.stop, y.stop) for y, x in found]
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
