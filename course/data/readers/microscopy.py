"""The two sets of U-Net's lab: membranes under the electron microscope, and nuclei in many stains.

ISBI 2012: 30 neighbouring slices of a fly's nerve cord, 512 x 512 pixels of 4 nm, 50 nm apart
[Cardona et al. 2010; Ronneberger et al. 2015, §4]. Its label files hold 0 for *membrane* and 255
for the *inside* of a cell, so "white is foreground" is not the membrane.
Data Science Bowl 2018: images of very different size, stain and brightness, each nucleus in a mask
file of its own [Caicedo et al. 2019].
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from course.data.container import Sample
from course.data.readers.base import Reader, Transform, to_tensor

__all__ = ["DSB2018", "ISBI2012"]


class ISBI2012(Reader):
    """Slices of the stack with membrane labels: image (1, 512, 512), mask and instances.

    The mask is 1 inside a cell and 0 on a membrane. `instances` numbers the connected insides; a
    cell that leaves the slice and comes back counts twice.

    Args:
        root: the folder of all data sets, with `isbi2012/train-volume.tif` and `train-labels.tif`.
        split: "train" (the first four fifths of the stack), "val" (the rest) or "all". Neighbouring
            slices are nearly equal, so a random split would test on what was trained.
        transform: gets every sample; see `Reader`.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: the split is unknown, or images and labels do not match.

    Example:
        >>> ISBI2012.class_names
        ('membrane', 'cell')
        >>> ISBI2012()[0]["mask"].shape  # doctest: +SKIP
        torch.Size([512, 512])
    """

    source = "isbi2012"
    class_names = ("membrane", "cell")

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        split: str = "train",
        transform: Transform | None = None,
    ) -> None:
        super().__init__(root, transform=transform)
        volume, labels = self._stack("train-volume.tif"), self._stack("train-labels.tif")
        if volume.shape != labels.shape:
            raise ValueError(
                f"expected as many labels as slices in {self.folder}; "
                f"got {labels.shape} and {volume.shape}"
            )
        cut = len(volume) - len(volume) // 5
        parts = {"train": slice(0, cut), "val": slice(cut, None), "all": slice(None)}
        if split not in parts:
            raise ValueError(f"expected a split of {', '.join(parts)}; got {split!r}")
        self.volume, self.labels = volume[parts[split]], labels[parts[split]]

    def __len__(self) -> int:
        return len(self.volume)

    def _load(self, index: int) -> Sample:
        from scipy.ndimage import label

        inside = self.labels[index] > 127
        instances, _ = label(inside, output=np.int64)  # type: ignore[misc]
        return {
            "image": to_tensor(self.volume[index]),
            "mask": torch.from_numpy(inside.astype(np.int64)),
            "instances": torch.from_numpy(instances),
        }

    def _stack(self, name: str) -> NDArray[np.uint8]:
        """All pages (D, H, W) of a TIFF; the official archive keeps it in a folder of its own."""
        path = next(iter(sorted(self.folder.rglob(name))), self.folder / name)
        with self._guard(path):
            from PIL import Image, ImageSequence

            with Image.open(path) as pages:
                return np.stack(
                    [np.asarray(page.convert("L")) for page in ImageSequence.Iterator(pages)]
                )


class DSB2018(Reader):
    """Nuclei: image (1, H, W) or (3, H, W), mask (0 background, 1 nucleus) and instances.

    Args:
        root: the folder of all data sets, with `dsb2018/stage1_train/ID/images` and `masks`.
        split: "train", "val", "test" or "all". The ids come from `dsb2018/splits/SPLIT.txt` where
            there is one; otherwise every tenth image is for testing and the one after it for
            validation, in the order of the ids, which are random.
        kind: "fluorescence" (bright nuclei on dark), "histology" (dark on light) or `None` for
            both; from `dsb2018/kinds.csv` where there is one, otherwise from the brightness.
        gray: one channel in which nuclei are bright, stretched to [0, 1], because many images use
            less than a tenth of the range; `False` keeps the colours as they are stored.
        transform: gets every sample; see `Reader`.

    Raises:
        FileNotFoundError: a folder or file is missing.
        ValueError: split or kind is unknown.

    Example:
        >>> DSB2018.class_names
        ('background', 'nucleus')
        >>> sorted(DSB2018(split="test")[0])  # doctest: +SKIP
        ['image', 'instances', 'mask']
    """

    source = "dsb2018"
    class_names = ("background", "nucleus")

    def __init__(
        self,
        root: str | Path | None = None,
        *,
        split: str = "train",
        kind: str | None = None,
        gray: bool = True,
        transform: Transform | None = None,
    ) -> None:
        super().__init__(root, transform=transform)
        if split not in ("train", "val", "test", "all"):
            raise ValueError(f"expected a split of train, val, test or all; got {split!r}")
        if kind not in (None, "fluorescence", "histology"):
            raise ValueError(f"expected kind fluorescence, histology or None; got {kind!r}")
        self.gray = gray
        self._kinds = self._table()
        self.ids = self._ids(split)
        if kind is not None:
            self.ids = [i for i in self.ids if self.kind_of(i) == kind]

    def __len__(self) -> int:
        return len(self.ids)

    def kind_of(self, image_id: str) -> str:
        """ "fluorescence" or "histology"."""
        if image_id not in self._kinds:
            light = float(np.median(self._picture(image_id))) > 127.0
            self._kinds[image_id] = "histology" if light else "fluorescence"
        return self._kinds[image_id]

    def _load(self, index: int) -> Sample:
        image_id = self.ids[index]
        picture = self._picture(image_id)
        instances = np.zeros(picture.shape[:2], np.int64)
        files = sorted((self.folder / "stage1_train" / image_id / "masks").glob("*.png"))
        if not files:
            raise self._missing(self.folder / "stage1_train" / image_id / "masks")
        for number, file in enumerate(files, start=1):
            nucleus = self._read_labels(file, instances.shape, mode="L") > 127
            instances[nucleus & (instances == 0)] = number
        if self.gray:
            picture = _bright_nuclei(picture, dark_on_light=self.kind_of(image_id) == "histology")
        return {
            "image": to_tensor(picture),
            "mask": torch.from_numpy((instances > 0).astype(np.int64)),
            "instances": torch.from_numpy(instances),
        }

    def _picture(self, image_id: str) -> NDArray[Any]:
        """(H, W, 3) of 0..255; the files also hold an opaque alpha channel."""
        return self._read_image(
            self.folder / "stage1_train" / image_id / "images" / f"{image_id}.png", "RGB"
        )

    def _ids(self, split: str) -> list[str]:
        given = self.folder / "splits" / f"{split}.txt"
        if split != "all" and given.is_file():
            return given.read_text().split()
        train = self.folder / "stage1_train"
        ids = sorted(path.name for path in train.glob("*") if path.is_dir())
        if not ids:
            raise self._missing(train)
        turn = {"test": (0,), "val": (1,), "train": tuple(range(2, 10)), "all": tuple(range(10))}
        return [image_id for i, image_id in enumerate(ids) if i % 10 in turn[split]]

    def _table(self) -> dict[str, str]:
        path = self.folder / "kinds.csv"
        if not path.is_file():
            return {}
        with path.open(newline="") as rows:
            return {row["id"]: row["kind"] for row in csv.DictReader(rows)}


def _bright_nuclei(picture: NDArray[Any], *, dark_on_light: bool) -> NDArray[Any]:
    """Brightness (H, W) on 0..255, inverted where nuclei are dark, stretched to the full range."""
    light = picture.astype(np.float64) @ (0.299, 0.587, 0.114)  # ITU-R BT.601 luma
    light = -light if dark_on_light else light
    low, high = np.percentile(light, (0.1, 99.9))
    return 255.0 * ((light - low) / max(high - low, 1e-9)).clip(0.0, 1.0)
