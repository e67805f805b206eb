"""Oxford-IIIT Pet: a trimap for every image, and a box of the head for some, in VOC's XML.

Trimaps hold 1 for the pet, 2 for the background and 3 for the rim between them, which nobody has
classified [Parkhi et al. 2012, §2]. torchvision knows the file lists and the layout, so the reader
stands on its class.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from course.data.container import IGNORE, Sample
from course.data.readers.base import Transform, to_tensor
from course.data.readers.voc import WithBoxes

__all__ = ["Pets"]


class Pets(WithBoxes):
    """Oxford-IIIT Pet: cats and dogs with masks; "trainval" also with boxes of the heads.

    A sample holds image, mask (0 background, 1 pet) and `breed`, the index into `breeds`. Where the
    set has a box of the head, it also holds `boxes` and `labels` (all 1, pet); test images and a
    few others have none, and their boxes are empty.

    Args:
        root: the folder of all data sets, with `oxford-iiit-pet/images` and `annotations`.
        split: "trainval" or "test".
        border: what to make of the unclassified rim of the trimaps: "ignore" (255) or "pet".
        transform: gets every sample; see `Reader`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: an argument is unknown.

    Example:
        >>> Pets.class_names
        ('background', 'pet')
        >>> Pets()[0]["mask"].unique()  # doctest: +SKIP
        tensor([  0,   1, 255])
    """

    source = "pets"
    class_names = ("background", "pet")

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        split: str = "trainval",
        border: str = "ignore",
        transform: Transform | None = None,
    ) -> None:
        if split not in ("trainval", "test"):
            raise ValueError(f"expected a split of trainval or test; got {split!r}")
        if border not in ("ignore", "pet"):
            raise ValueError(f'expected border "ignore" or "pet"; got {border!r}')
        super().__init__(root, transform=transform)
        from torchvision.datasets import OxfordIIITPet

        try:
            self._files = OxfordIIITPet(str(self.folder.parent), split=split)
        except (FileNotFoundError, RuntimeError) as error:
            raise self._missing(self.folder / "annotations" / f"{split}.txt") from error
        # torchvision's labels keep the gaps of an incomplete set, its list of classes does not.
        present = sorted(set(self._files._labels))
        self._breed = {label: i for i, label in enumerate(present)}
        self.breeds = tuple(self._files.classes)
        self.border = border

    def __len__(self) -> int:
        return len(self._files)

    def with_heads(self) -> list[int]:
        """Numbers of the images whose head has a box; none in "test"."""
        return [index for index in range(len(self)) if self._head(index).is_file()]

    def _head(self, index: int) -> Path:
        name = Path(self._files._images[index]).stem
        return self.folder / "annotations" / "xmls" / f"{name}.xml"

    def _load(self, index: int) -> Sample:
        path = Path(self._files._images[index])
        # some files named .jpg are PNG with an alpha channel
        image = to_tensor(self._read_image(path, "RGB"))
        trimap = self._read_labels(
            Path(self._files._segs[index]), image.shape[1:], mode="L", known=(1, 2, 3)
        )
        rim = IGNORE if self.border == "ignore" else 1
        head = self._head(index)
        boxes = [found["box"] for found in self._objects(head)] if head.is_file() else []
        return {
            "image": image,
            "mask": torch.from_numpy(np.array((0, 1, 0, rim))[trimap]),
            "breed": torch.tensor(self._breed[self._files._labels[index]]),
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.ones(len(boxes), dtype=torch.int64),
        }
