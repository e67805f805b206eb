"""Pictures for a projector: the same drawings as in a notebook, with twice the pixels."""

from __future__ import annotations

__all__ = ["sharpen"]

_DPI = (180, 140)
_LARGEST = 600_000  # bytes of a PNG; a deck keeps about fifteen


def sharpen() -> None:
    """From now on `course.plots` draws at 180 dots per inch in this process.

    Notebooks keep their pictures small because repositories keep the notebooks; a deck is built,
    projected and built again.

    Example:
        >>> sharpen.__name__  # called in the kernel of a lecture that becomes a deck
        'sharpen'
    """
    from course.plots import picture

    picture._DPI, picture._LARGEST = _DPI, _LARGEST
