"""What belongs to a section: its lab, its demos, and the lines of the library that it explains.

In JupyterLab the links open notebooks and source files. In decks they lead to pages of highlighted
source beside them, and to the lab's page where the builder says that there is one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from html import escape
from pathlib import Path

from course import demos
from course.lectures.find import Place, find, reach
from course.lectures.topics import TOPICS, Topic, topic

__all__ = ["DEMOS_AT", "LABS_AT", "SOURCE_AT", "Links", "source_page"]

# Set while decks are built: addresses as seen from a deck. The last two hold `{name}`.
SOURCE_AT = "COURSE_LECTURES_SOURCE"
LABS_AT = "COURSE_LECTURES_LABS"
DEMOS_AT = "COURSE_LECTURES_DEMOS"


def source_page(short: str) -> str:
    """Name of the page that shows a source file.

    >>> source_page("course/models/unet.py")
    'course/models/unet.html'
    """
    return Path(short).with_suffix(".html").as_posix()


class Links:
    """The links of one section, as a notebook, a slide and a terminal show them.

    Args:
        number: number of the section; 0, the introduction, lists all labs.

    Raises:
        ValueError: there is no such section.

    Example:
        >>> print(str(Links(12)).splitlines()[-1].split(",")[0])
        macs_by_layer: course/geometry/cost.py
    """

    def __init__(self, number: int) -> None:
        self.topic = topic(number)

    @property
    def labs(self) -> tuple[Topic, ...]:
        """The lab of this section, or all of them for the introduction."""
        return (self.topic,) if self.topic.number else TOPICS[1:]

    @property
    def demos(self) -> dict[str, str]:
        """Names and titles of the demos of this section."""
        chosen = demos.names(self.topic.number) if self.topic.number else []
        return {name: demos.get(name).title for name in chosen}

    @property
    def places(self) -> list[Place]:
        """Where the names that the section explains are defined."""
        return [find(m, name) for m, names in self.topic.library.items() for name in names]

    def __repr__(self) -> str:
        lines = [f"Lab {lab.number} · {lab.title}: {lab.notebook}" for lab in self.labs]
        lines += [f'Demo · {title}: demos.show("{name}")' for name, title in self.demos.items()]
        lines += [f"{place.name}: {place.short}, line {place.line}" for place in self.places]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        return f'<nav class="course-links" aria-label="Lab, demos, library">{self._parts()}</nav>'

    def _parts(self) -> str:
        parts = _list("Labs" if len(self.labs) > 1 else "Lab", map(_lab, self.labs))
        if self.demos:
            parts += _list("Demos", (_demo(name, title) for name, title in self.demos.items()))
        if self.places:
            parts += _list("Library", map(_place, self.places))
        return parts


def _list(head: str, items: Iterator[str]) -> str:
    rows = "".join(f"<li>{item}</li>" for item in items)
    return f'<div class="{head.lower()}"><strong>{head}</strong><ul>{rows}</ul></div>'


def _link(text: str, address: str | None) -> str:
    return f'<a href="{escape(address)}">{text}</a>' if address else text


def _lab(lab: Topic) -> str:
    pattern = os.environ.get(LABS_AT)
    if pattern:
        address = pattern.format(name=lab.name)
    else:
        address = None if SOURCE_AT in os.environ else _in_reach(lab.notebook)
    shown = _link(f"{lab.number} · {escape(lab.title)}", address)
    return f"{shown} <code>{escape(lab.notebook)}</code>"


def _in_reach(notebook: str) -> str | None:
    """Address of a lab's notebook if a folder that holds the current one is the course's."""
    here = Path.cwd()
    found = (up / notebook for up in (here, *here.parents) if (up / notebook).is_file())
    return next((reach(path) for path in found), None)


def _demo(name: str, title: str) -> str:
    pattern = os.environ.get(DEMOS_AT)
    place = find(f"course.demos.{name}", "DEMO")
    address = pattern.format(name=name) if pattern else _address(place)
    return f'{_link(escape(title), address)} <code>demos.show("{name}")</code>'


def _place(place: Place) -> str:
    shown = _link(f"<code>{escape(place.name)}</code>", _address(place))
    return f"{shown} <span>{escape(place.short)}, line {place.line}</span>"


def _address(place: Place) -> str | None:
    pages = os.environ.get(SOURCE_AT)
    if pages:
        return f"{pages}/{source_page(place.short)}#line-{place.line}"
    file = reach(place.path)
    return f"{file}#line={place.line - 1}" if file else None  # JupyterLab counts lines from 0
