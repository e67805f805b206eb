"""The solution's pictures: taken from an executed notebook, made small, compared with tolerance.

A picture never comes out byte for byte the same on another machine: fonts, anti-aliasing and the
last digits of a training run differ. Two pictures count as the same when, averaged down to a
thumbnail, they differ little on average and almost nowhere a lot.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from html.parser import HTMLParser
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nbformat import NotebookNode
    from PIL.Image import Image

_WIDTH = 900
_COLOURS = 256
_THUMBNAIL = 48
_MEAN_LIMIT = 0.04
_TAIL_LIMIT = 0.20
_SIZE_LIMIT = 0.05
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Figure:
    """A picture and the words for those who do not see it.

    Attributes:
        png: the file.
        alt: one sentence with the numbers; empty where the picture does not describe itself.
    """

    png: bytes
    alt: str


def figure_in(cell: NotebookNode) -> Figure | None:
    """The last picture among the outputs of an executed cell, with its alternative text.

    `course.plots` shows a picture as HTML, an `<img>` with its words. A bare PNG, as matplotlib
    shows it, may carry them as output metadata: `{"image/png": {"alt": …}}`.
    """
    found = None
    for output in cell.get("outputs", []):
        data, metadata = output.get("data", {}), output.get("metadata", {})
        if "image/png" in data:
            alt = metadata.get("image/png", {}).get("alt") or metadata.get("alt") or ""
            found = Figure(base64.b64decode(data["image/png"]), alt)
        elif "text/html" in data:
            pictures = _Pictures()
            pictures.feed(data["text/html"])
            found = pictures.last or found
    return found


class _Pictures(HTMLParser):
    """The last `<img>` with a PNG inside a piece of HTML."""

    last: Figure | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        kind, _, data = (given.get("src") or "").partition(",")
        if tag == "img" and kind == "data:image/png;base64":
            self.last = Figure(base64.b64decode(data), given.get("alt") or "")


def shrink(png: bytes) -> bytes:
    """The picture at most 900 pixels wide and with at most 256 colours: a few tens of kilobytes.

    >>> from PIL import Image
    >>> buffer = io.BytesIO(); Image.new("RGB", (1800, 20)).save(buffer, "PNG")
    >>> Image.open(io.BytesIO(shrink(buffer.getvalue()))).size
    (900, 10)
    """
    from PIL import Image

    picture = _flat(png)
    if picture.width > _WIDTH:
        height = max(1, round(picture.height * _WIDTH / picture.width))
        picture = picture.resize((_WIDTH, height), Image.Resampling.LANCZOS)
    # Without dithering, flat areas stay flat: smaller, and label colours stay exact.
    small = picture.quantize(_COLOURS, dither=Image.Dither.NONE)
    buffer = io.BytesIO()
    small.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _flat(png: bytes) -> Image:
    """RGB on white."""
    from PIL import Image

    picture = Image.open(io.BytesIO(png)).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    return Image.alpha_composite(white, picture).convert("RGB")


def picture_difference(ours: bytes, theirs: bytes) -> str:
    """How two PNG files differ beyond what another machine explains, or ""."""
    import numpy as np
    from PIL import Image

    a, b = _flat(ours), _flat(theirs)
    for name, x, y in (("width", a.width, b.width), ("height", a.height, b.height)):
        if abs(x - y) > _SIZE_LIMIT * max(x, y):
            return f"the {name} is {y} pixels, expected {x}"
    size = (_THUMBNAIL, _THUMBNAIL)
    small = [np.asarray(p.resize(size, Image.Resampling.BOX), float) / 255 for p in (a, b)]
    gap = np.abs(small[0] - small[1]).max(axis=2)
    mean, tail = float(gap.mean()), float(np.percentile(gap, 99))
    if mean > _MEAN_LIMIT or tail > _TAIL_LIMIT:
        return f"pixels differ by {mean:.1%} on average and {tail:.1%} in the worst hundredth"
    return ""


def words_difference(ours: str, theirs: str) -> str:
    """How two alternative texts differ: in words, or in a number by more than a tenth, or "".

    >>> words_difference("IoU 0.67 after 300 steps", "IoU 0.68 after 300 steps")
    ''
    >>> words_difference("IoU 0.67", "IoU 0.32")
    'a number is 0.32, expected 0.67'
    """
    if _NUMBER.sub("#", ours) != _NUMBER.sub("#", theirs):
        return f"the text is {theirs!r}, expected {ours!r}"
    for x, y in zip(_NUMBER.findall(ours), _NUMBER.findall(theirs), strict=True):
        if abs(float(x) - float(y)) > 0.02 + 0.1 * max(abs(float(x)), abs(float(y))):
            return f"a number is {y}, expected {x}"
    return ""
