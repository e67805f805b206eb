"""A demo: a pure function from a state to a picture and a sentence, and what can be moved in it."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from course.demos.controls import Control
from course.demos.picture import Picture

__all__ = ["Demo", "Frame", "Still"]

State = Mapping[str, Any]


class Frame(NamedTuple):
    """What a demo shows in one state.

    Attributes:
        image: (H, W, 3) uint8, always of the demo's own size.
        caption: the same in words, with its numbers: live text on screen and for screen readers.
    """

    image: NDArray[np.uint8]
    caption: str

    def png(self) -> bytes:
        """The image as the bytes of a PNG file, packed for speed rather than for size."""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(self.image).save(file, "PNG", compress_level=1)
        return file.getvalue()


class Still(NamedTuple):
    """A state worth a picture of its own where nothing can be moved: on slides and pages.

    Attributes:
        title: what this state shows, a few words.
        changes: the values that differ from the demo's default.
    """

    title: str
    changes: State


@dataclass(frozen=True)
class Demo:
    """One interactive picture.

    Attributes:
        name: name of the module in `course.demos`.
        title: heading.
        lab: number of the lab that it belongs to, 1 to 14.
        idea: one or two sentences: what to move and what to watch.
        controls: what can be moved.
        draw: draws a complete state on an empty picture and returns the caption.
        size: width and height of the picture, pixels.
        stills: three to six states for slides.
        predict: a question to ask before anything is moved, and its answer.
        source: the paper and section that the idea comes from.

    Example:
        >>> from course import demos
        >>> demo = demos.get("iou")
        >>> image, caption = demo.frame()
        >>> image.shape == (demo.size[1], demo.size[0], 3)
        True
    """

    name: str
    title: str
    lab: int
    idea: str
    controls: tuple[Control, ...]
    draw: Callable[[dict[str, Any], Picture], str]
    stills: tuple[Still, ...]
    size: tuple[int, int] = (960, 480)
    predict: tuple[str, str] | None = None
    source: str = ""

    @property
    def default(self) -> dict[str, Any]:
        """The state at the start and after a reset."""
        return {control.name: control.default for control in self.controls}

    def state(self, changes: State | None = None) -> dict[str, Any]:
        """A complete state: the default with some values changed.

        Raises:
            ValueError: a name that no control has, or a value that its control cannot take.
        """
        changes = dict(changes or {})
        known = {control.name: control for control in self.controls}
        unknown = [name for name in changes if name not in known]
        if unknown:
            raise ValueError(
                f"{self.name} has no control {unknown[0]!r}; it has {', '.join(known)}"
            )
        state = self.default
        state.update({name: known[name].accept(value) for name, value in changes.items()})
        return state

    def frame(self, changes: State | None = None, *, dark: bool = False) -> Frame:
        """Picture and caption of a state, always the same for the same state.

        Args:
            changes: values that differ from the default.
            dark: light drawing on dark ground.

        Raises:
            ValueError: an impossible state.
        """
        state = self.state(changes)
        picture = Picture(*self.size, dark=dark)
        caption = self.draw(state, picture)
        return Frame(picture.pixels(), caption)
