"""The lecture as notebooks: one percent file per section, shown live or as an offline deck.

    course lectures list
    course lectures build 8 --out decks
    course lectures open 8

Each `NN_name.py` here is a notebook whose cells carry tags that say where slides start; `links(N)`
is what a slide shows of lab N, its demos and the lines of the library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from course.lectures.link_list import Links

__all__ = ["links"]


def links(number: int) -> Links:
    """The lab of a section, its demos, and where the library defines what the section explains.

    Args:
        number: number of the section, 0 to 14.

    Returns:
        An object that a notebook displays where it stands last in a cell.

    Raises:
        ValueError: there is no such section.

    Example:
        >>> print(repr(links(8)).splitlines()[0])
        Lab 8 · U-Net: labs/08_unet/08_unet.ipynb
    """
    from course.lectures.link_list import Links

    return Links(number)
