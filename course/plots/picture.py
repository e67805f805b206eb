"""Pictures that carry their own description.

A figure shown by matplotlib's inline backend reaches a screen reader as "No description has been
provided for this image". A `Picture` is a PNG and the sentence that says what it shows, with the
numbers; a notebook, its HTML export and a slide show the one and carry the other. `Note` and
`Table` are shown the same way and take part in the same cells.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Note", "Picture", "Table", "render"]

_LARGEST = 99_000  # bytes of a PNG: notebooks keep every picture, and a repository every notebook
_DPI = (90, 70, 55)


class _Shown:
    """Something a notebook shows as HTML, and a terminal or a screen reader as plain text."""

    alt: str

    def _html(self) -> str:
        raise NotImplementedError

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {"text/html": self._html(), "text/plain": self.alt}

    def __repr__(self) -> str:
        return self.alt

    def show(self) -> None:
        """Display from inside a loop or a `with` block, where a bare last line is not shown."""
        from IPython.display import display

        display(self)


@dataclass(frozen=True, repr=False)
class Picture(_Shown):
    """A finished drawing and its description.

    Args:
        png: the bytes of the image file.
        alt: what the picture shows, in sentences, with the numbers.
        width: how wide to show it, in CSS pixels; `None` is as wide as the PNG.
        figure: the matplotlib figure it was made from, to change or to save in another format.

    Example:
        >>> from course.plots import bars
        >>> picture = bars(["FCN-32s", "FCN-8s"], [0.32, 0.67], title="IoU of thin lines")
        >>> print(picture.alt)
        IoU of thin lines. Bar chart of 2 values: FCN-32s 0.32, FCN-8s 0.67.
        >>> picture.png[1:4]
        b'PNG'
    """

    png: bytes = field(repr=False)
    alt: str
    width: int | None = field(default=None, repr=False)
    figure: Figure | None = field(default=None, repr=False, compare=False)

    def _html(self) -> str:
        data = base64.b64encode(self.png).decode("ascii")
        width = f'width="{self.width}" ' if self.width else ""
        return (
            f'<img alt="{escape(self.alt)}" {width}style="max-width: 100%; height: auto" '
            f'src="data:image/png;base64,{data}">'
        )

    def save(self, path: str | Path) -> Path:
        """Write the PNG and return its path."""
        path = Path(path)
        path.write_bytes(self.png)
        return path


@dataclass(frozen=True, repr=False)
class Note(_Shown):
    """One line in the place of a picture that cannot be drawn yet.

    Example:
        >>> Note("Write exercise 8.5 first.")
        Write exercise 8.5 first.
    """

    alt: str

    def _html(self) -> str:
        return f"<p><em>{escape(self.alt)}</em></p>"


@dataclass(frozen=True, repr=False)
class Table(_Shown):
    """Rows under a header, with a caption; every cell is shown as text.

    Example:
        >>> Table(["w0", "cells found"], [[0, 116], [10, 279]], title="Counting")
        Counting
        w0 | cells found
        0  | 116
        10 | 279
    """

    headers: Sequence[object]
    rows: Sequence[Sequence[object]]
    title: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.headers):
                raise ValueError(
                    f"expected {len(self.headers)} entries in every row; got {len(row)}: {row!r}"
                )

    @property
    def alt(self) -> str:
        lines = [[str(cell) for cell in row] for row in (self.headers, *self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        texts = [
            " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
            for line in lines
        ]
        return "\n".join(([self.title] if self.title else []) + texts)

    def _html(self) -> str:
        caption = f"<caption>{escape(self.title)}</caption>" if self.title else ""
        head = "".join(f'<th scope="col">{escape(str(cell))}</th>' for cell in self.headers)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(str(cell))}</td>" for cell in row) + "</tr>"
            for row in self.rows
        )
        return f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def render(figure: Figure, alt: str) -> Picture:
    """Turn a matplotlib figure into a `Picture`; the same drawing gives the same bytes.

    Args:
        figure: any matplotlib figure.
        alt: the description, with the numbers.

    Raises:
        ValueError: the description is empty.

    Example:
        >>> from matplotlib.figure import Figure
        >>> render(Figure(figsize=(2, 1)), "An empty picture.").alt
        'An empty picture.'
    """
    if not alt.strip():
        raise ValueError("expected a description with the numbers of the picture; got empty text")
    png, width = b"", None
    for dpi in _DPI:
        png = _drawn(figure, dpi)
        width = width or int.from_bytes(png[16:20], "big")  # shown as wide whatever the resolution
        if len(png) > _LARGEST:
            png = _fewer_colors(png)
        if len(png) <= _LARGEST:
            break
    return Picture(png, alt, width, figure)


def _drawn(figure: Figure, dpi: int) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(
        buffer,
        format="png",
        dpi=dpi,
        bbox_inches="tight",  # also keeps a title or a legend that is wider than the figure
        pad_inches=0.08,
        metadata={"Software": None},
    )
    return buffer.getvalue()


def _fewer_colors(png: bytes) -> bytes:
    """The same picture with 256 colours, a third of the bytes or less."""
    from PIL import Image

    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        # Maximum coverage keeps rare colours, such as those of a legend, which the default method
        # merges. `kmeans` stops the refinement when fewer pixels than that change their colour.
        few = image.convert("RGB").quantize(
            256, method=Image.Quantize.MAXCOVERAGE, kmeans=20_000, dither=Image.Dither.NONE
        )
        few.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
