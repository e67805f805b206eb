"""Images side by side, and the classes of their pixels laid over them.

Classes are shown by colour, hatching and outline together, so that they survive colour blindness
and a grey print.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from course.plots.arrays import describe, image_list, to_image, to_labels
from course.plots.panels import (
    IGNORE,
    captions,
    check_pairs,
    counted,
    lead,
    map_list,
    paint,
    panels,
    swatch,
)
from course.plots.picture import Picture, render

__all__ = ["show_images", "show_masks"]


def show_images(
    images: Any, titles: Sequence[str] | None = None, *, title: str = "", columns: int = 4
) -> Picture:
    """Draw images or maps side by side, all grey ones with one scale.

    Args:
        images: (N, C, H, W), or a list of (H, W), (1, H, W) or (3, H, W).
        titles: one caption an image.
        title: heading of the picture.
        columns: images in a row, at most.

    Raises:
        ValueError: there is no image, or not one caption for each.

    Example:
        >>> print(show_images([[[0, 1, 2]], [[5]]], ["wide", "small"], title="Two maps").alt)
        Two maps. 2 images: wide (1 x 3 pixels, 0 to 2), small (1 x 1 pixels, 5 to 5).
    """
    arrays = [to_image(image) for image in image_list(images)]
    names = captions(titles, len(arrays))
    grey = [a[np.isfinite(a)] for a in arrays if a.ndim == 2]
    values = np.concatenate([g for g in grey if g.size] or [np.array([0.0, 1.0])])
    low, high = float(values.min()), float(values.max())
    with panels(arrays, title=title, columns=columns) as (figure, axes):
        for axis, array, name in zip(axes, arrays, names, strict=False):
            axis.imshow(array, vmin=low, vmax=high if high > low else low + 1.0)
            axis.set_title(name)
        texts = [
            f"{name or f'image {i}'} ({a.shape[0]} x {a.shape[1]} pixels, {describe(a)})"
            for i, (a, name) in enumerate(zip(arrays, names, strict=True))
        ]
        return render(figure, f"{lead(title)}{counted(len(arrays), 'image')}: {', '.join(texts)}.")


def show_masks(
    images: Any,
    masks: Any,
    *,
    class_names: Sequence[str] = (),
    titles: Sequence[str] | None = None,
    title: str = "",
    columns: int = 4,
) -> Picture:
    """Draw class masks over images, by colour, hatching and outline, with a legend.

    Args:
        images: (N, C, H, W), a list of images, or one image.
        masks: (N, H, W) of whole numbers, a list of (H, W), or one; 255 = ignore.
        class_names: name of every class; a first class "background" is not painted, nor is class 0
            where there are no names.
        titles: one caption an image.
        title: heading of the picture.
        columns: images in a row, at most.

    Raises:
        ValueError: the numbers or sizes of images and masks differ.

    Example:
        >>> from course.data import lines
        >>> few = lines(2, seed=1)
        >>> print(show_masks(few.images, few.masks, class_names=few.class_names).alt)
        2 images with class masks. Share of the pixels: background 85 %, disc 8 %, line 7 %.
    """
    arrays = [to_image(image) for image in image_list(images)]
    labels = [to_labels(mask) for mask in map_list(masks)]
    check_pairs(arrays, labels, "masks")
    values, counts = np.unique(np.concatenate([m.ravel() for m in labels]), return_counts=True)
    shares = {int(v): c / counts.sum() for v, c in zip(values, counts, strict=True)}
    plain = 0 if not class_names or class_names[0] == "background" else None
    painted = [k for k in shares if k != plain]
    with panels(arrays, title=title, columns=columns, legend=True) as (figure, axes):
        for axis, array, mask, name in zip(
            axes, arrays, labels, captions(titles, len(arrays)), strict=False
        ):
            axis.imshow(array)
            axis.set_title(name)
            for k in painted:
                paint(axis, mask == k, k)
        handles = [swatch(k, f"{_name(k, class_names)} {_percent(shares[k])}") for k in painted]
        if handles:
            figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
        text = ", ".join(f"{_name(k, class_names)} {_percent(s)}" for k, s in shares.items())
        what = f"{counted(len(arrays), 'image')} with class masks"
        return render(figure, f"{lead(title)}{what}. Share of the pixels: {text}.")


def _name(label: int, class_names: Sequence[str]) -> str:
    if label == IGNORE:
        return "ignored"
    return class_names[label] if 0 <= label < len(class_names) else f"class {label}"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.005 else "below 1 %"
