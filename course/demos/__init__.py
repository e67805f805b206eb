"""Interactive pictures for the lectures: move something, see what follows, read it in a sentence.

    from course import demos
    demos.show("iou")

Each module is one demo: the arithmetic as plain functions, a drawing function, and `DEMO`, which
joins them with the controls. `frame(state)` is pure, so the same demo serves a live notebook, the
slides and the gallery (`course demos`), and a test can hold its numbers. Nothing needs a network.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from course.demos.demo import Demo, Frame

__all__ = ["frame", "get", "names", "show"]

_LABS = {
    "sliding_window": 1,
    "iou": 2,
    "nms": 1,
    "roi_pooling": 3,
    "yolo_grid": 4,
    "precision_recall": 4,
    "patch_scan": 5,
    "receptive_field": 5,
    "transposed_convolution": 6,
    "unpooling": 6,
    "fcn_skips": 7,
    "unet_tiles": 8,
    "border_weights": 8,
    "dense_block": 9,
    "dense_crf": 10,
    "pyramid_pooling": 11,
    "joint_upsampling": 12,
    "reverse_attention": 13,
    "metric_duel": 14,
}


def names(lab: int | None = None) -> list[str]:
    """Names of all demos in the order of the lecture, or of those that belong to one lab.

    >>> names(8)
    ['unet_tiles', 'border_weights']
    """
    ordered = sorted(_LABS, key=_LABS.__getitem__)
    return [name for name in ordered if lab is None or _LABS[name] == lab]


def get(name: str) -> Demo:
    """The demo of that name.

    Raises:
        ValueError: there is none; the text lists all names.
    """
    if name not in _LABS:
        raise ValueError(f"no demo is called {name!r}; there are {', '.join(names())}")
    return import_module(f"course.demos.{name}").DEMO


def frame(name: str, *, dark: bool = False, **changes: Any) -> Frame:
    """Picture and caption of a demo in one state.

    Example:
        >>> frame("iou").image.shape
        (480, 960, 3)
    """
    return get(name).frame(changes, dark=dark)


def show(name: str, **changes: Any) -> Any:
    """The demo as a widget, or as pictures to page through where there is no kernel to answer.

    Args:
        name: one of `names()`.
        changes: values that differ from the demo's default at the start.

    Returns:
        An object that a notebook displays where it stands last in a cell.
    """
    from course.demos.view import show as build

    return build(get(name), changes)
