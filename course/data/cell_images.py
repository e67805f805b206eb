"""Training and test images of cells at one size, made on the spot or cut from a real set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from course.data.container import Sample, Scenes
from course.data.readers.microscopy import DSB2018, ISBI2012
from course.data.synthetic import cells

__all__ = ["cell_images", "crops"]


def cell_images(
    name: str = "cells", *, train: int, test: int, size: int = 64, seed: int = 0
) -> tuple[Scenes, Scenes]:
    """Square images of touching cells in two sets that share no original image.

    Args:
        name: "cells" (synthetic, no file), "dsb2018" or "isbi2012" (random crops of the sets under
            `COURSE_DATA`; training crops from their training split, test crops from "val").
        train, test: number of images in each set.
        size: side of an image in pixels.
        seed: same seed, same bytes.

    Returns:
        Training and test set with grey images (N, 1, size, size), masks and instances.

    Raises:
        ValueError: the name is unknown, or a number is out of range.
        FileNotFoundError: the real set is not there.

    Example:
        >>> train, test = cell_images(train=4, test=2, size=48)
        >>> train.images.shape, len(test)
        (torch.Size([4, 1, 48, 48]), 2)
    """
    if min(train, test) < 1:
        raise ValueError(f"expected at least 1 image in both sets; got {train} and {test}")
    if name == "cells":
        first, second = cells(train + test, size, seed=seed).split(train, test)
        return first, second
    if name not in ("dsb2018", "isbi2012"):
        raise ValueError(f"expected cells, dsb2018 or isbi2012; got {name!r}")
    reader = DSB2018 if name == "dsb2018" else ISBI2012
    return (
        crops(reader(split="train"), train, size, seed=seed),
        crops(reader(split="val"), test, size, seed=seed),
    )


def crops(images: Sequence[Sample] | DSB2018 | ISBI2012, n: int, size: int, *, seed: int) -> Scenes:
    """Random square crops of images with instances, each with at least two objects where it can be.

    An object that the crop cuts in two is counted as two, so that counting the pieces of a perfect
    prediction gives the number of instances.

    Args:
        images: samples with image, mask and instances, at least `size` pixels a side.
        n: number of crops; the images take turns.
        size: side of a crop in pixels.
        seed: same seed, same crops.

    Raises:
        ValueError: there is no image, or one is smaller than the crop.

    Example:
        >>> from course.data import cells
        >>> crops(list(cells(2)), 3, 40, seed=0).masks.shape
        torch.Size([3, 40, 40])
    """
    from skimage.measure import label

    if not len(images):
        raise ValueError("expected at least one image to cut from; got none")
    chosen: list[Sample] = []
    for i in range(n):
        sample = images[i % len(images)]
        height, width = sample["mask"].shape
        if min(height, width) < size:
            raise ValueError(f"expected images of at least {size} pixels; got {height} x {width}")
        rng = np.random.default_rng([seed, i])
        for _ in range(20):
            top, left = rng.integers((height - size + 1, width - size + 1)).tolist()
            cut = {
                name: value[..., top : top + size, left : left + size]
                for name, value in sample.items()
            }
            if cut["instances"].unique().numel() > 2:  # background and two objects
                break
        chosen.append(cut)
    numbers = torch.stack([c["instances"] for c in chosen])
    pieces = [np.asarray(label(one, background=0, connectivity=1)) for one in numbers.cpu().numpy()]
    return Scenes(
        images=torch.stack([c["image"] for c in chosen]),
        masks=torch.stack([c["mask"] for c in chosen]),
        instances=torch.from_numpy(np.stack(pieces).astype(np.int64)).to(numbers.device),
        class_names=getattr(images, "class_names", ("background", "cell")),
    )
