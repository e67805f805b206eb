"""Objects in images: the outlines of instances, and boxes.

A box (x0, y0, x1, y1) holds the pixels from x0 to x1 - 1; it is drawn around exactly these, from
x0 - 0.5 to x1 - 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from course.plots.arrays import image_list, number, to_array, to_image, to_labels
from course.plots.panels import captions, check_pairs, counted, lead, map_list, panels, trace
from course.plots.picture import Picture, render
from course.plots.style import DASHES, PALETTE, color_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from course.data import Scenes

__all__ = ["outlines", "show_boxes", "show_instances"]


def outlines(
    instances: Any,
    images: Any = None,
    *,
    titles: Sequence[str] | None = None,
    title: str = "",
    columns: int = 4,
) -> Picture:
    """Draw the outline of every instance, over the images where they are given.

    Args:
        instances: (N, H, W) of whole numbers, a list of (H, W), or one; 0 = background.
        images: as many images of the same size, or `None` for plain tints.
        titles: one caption an image.
        title: heading of the picture.
        columns: images in a row, at most.

    Raises:
        ValueError: the numbers or sizes of images and maps differ.

    Example:
        >>> print(outlines([[0, 1, 0], [2, 2, 0]], title="Two cells").alt)
        Two cells. Outlines of instances in 1 image: 2.
    """
    labels = [to_labels(m) for m in map_list(instances)]
    given = image_list(images) if images is not None else []
    arrays = [to_image(image) for image in given] or [_tints(m) for m in labels]
    check_pairs(arrays, labels, "instance maps")
    counts = [int(np.unique(m[m > 0]).size) for m in labels]
    names = captions(titles, len(arrays))
    with panels(arrays, title=title, columns=columns) as (figure, axes):
        for axis, array, labelled, count, name in zip(
            axes, arrays, labels, counts, names, strict=False
        ):
            axis.imshow(array)
            trace(axis, labelled, PALETTE[1] if images is not None else "#333333", 2.0)
            axis.set_title(name or counted(count, "instance"))
        texts = [f"{name}: {n}" if name else str(n) for name, n in zip(names, counts, strict=True)]
        where = counted(len(arrays), "image")
        said = f"Outlines of instances in {where}: {', '.join(texts)}."
        return render(figure, f"{lead(title)}{said}")


def show_instances(scenes: Scenes, *, title: str = "", columns: int = 4) -> Picture:
    """Draw the images of a data set that knows its instances, with their outlines.

    Raises:
        ValueError: the set has no instance maps.

    Example:
        >>> from course.data import cells
        >>> print(show_instances(cells(3), title="Cells").alt)
        Cells. Outlines of instances in 3 images: 10, 10, 8.
    """
    if scenes.instances is None:
        raise ValueError(f"expected a set with instance maps; got {scenes!r}")
    return outlines(scenes.instances, scenes.images, title=title, columns=columns)


def show_boxes(
    image: Any,
    boxes: Any,
    *,
    labels: Any = None,
    scores: Any = None,
    class_names: Sequence[str] = (),
    title: str = "",
) -> Picture:
    """Draw boxes on an image, with class and score where they are given.

    Args:
        image: (C, H, W) or (H, W).
        boxes: (M, 4) as (x0, y0, x1, y1), half-open pixels; or a dictionary from the name of a
            group, such as "truth", to its boxes: each group has its own colour and dashes.
        labels: (M,) class numbers, only without groups.
        scores: (M,), only without groups.
        class_names: name of every class.
        title: heading of the picture.

    Raises:
        ValueError: the boxes are not (M, 4), or there is not one label or score for each.

    Example:
        >>> import torch
        >>> print(show_boxes(torch.zeros(8, 9), [[1, 2, 5, 6]], scores=[0.9], title="Found").alt)
        Found. Image of 8 x 9 pixels with 1 box: (1, 2, 5, 6) 0.9.
    """
    groups = boxes if isinstance(boxes, dict) else {"": boxes}
    rows = {name: to_array(given).reshape(-1, 4) for name, given in groups.items() if len(given)}
    array = to_image(image)
    texts = _box_texts(sum(map(len, rows.values())), labels, scores, class_names)
    spoken: list[str] = []
    with panels([array], title=title, columns=1, legend=True) as (figure, (axis,)):
        axis.imshow(array)
        for g, (name, group) in enumerate(rows.items()):
            for k, (x0, y0, x1, y1) in enumerate(group):
                text = texts[k] if texts and len(rows) == 1 else ""
                _frame(axis, (x0, y0, x1, y1), g, name if k == 0 else "", text)
                place = ", ".join(number(v) for v in (x0, y0, x1, y1))
                spoken.append(f"{name} ({place}) {text}".strip())
        if any(rows):
            figure.legend(loc="outside lower center", ncols=len(rows))
        size = f"Image of {array.shape[0]} x {array.shape[1]} pixels"
        many = counted(len(spoken), "box", "boxes")
        said = ": " + "; ".join(spoken[:12]) + ("; …" if len(spoken) > 12 else "") if spoken else ""
        return render(figure, f"{lead(title)}{size} with {many}{said}.")


def _tints(labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """A pale colour (H, W, 3) for every instance, white for the background."""
    from matplotlib.colors import to_rgb

    pale = 0.55 + 0.45 * np.array([to_rgb(color) for color in PALETTE])
    return np.where(labels[..., None] > 0, pale[labels % len(PALETTE)], 1.0)


def _box_texts(n: int, labels: Any, scores: Any, class_names: Sequence[str]) -> list[str]:
    """What to write at each of n boxes; nothing where neither labels nor scores are given."""
    parts: list[list[str]] = [[] for _ in range(n)]
    for what, values in (("labels", labels), ("scores", scores)):
        if values is None:
            continue
        values = to_array(values).ravel()
        if len(values) != n:
            raise ValueError(f"expected {n} {what}, one a box; got {len(values)}")
        for part, value in zip(parts, values, strict=True):
            named = what == "labels" and 0 <= value < len(class_names)
            part.append(class_names[int(value)] if named else number(value))
    return [" ".join(part) for part in parts]


def _frame(axis: Axes, box: Sequence[float], group: int, name: str, text: str) -> None:
    """One box, its text above it, in the colour and the dashes of its group."""
    from matplotlib.patches import Rectangle

    x0, y0, x1, y1 = box
    color = color_of(group + 1)
    axis.add_patch(
        Rectangle(
            (x0 - 0.5, y0 - 0.5),
            x1 - x0,
            y1 - y0,
            fill=False,
            edgecolor=color,
            linewidth=2.2,
            linestyle=DASHES[group % len(DASHES)],
            label=name or None,
        )
    )
    if text:
        axis.annotate(
            text,
            (x0 - 0.5, y0 - 0.5),
            fontsize=12,
            color="black",
            va="bottom",
            bbox={"facecolor": color, "edgecolor": "none", "pad": 1.5},
        )
