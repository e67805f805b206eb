"""The pages beside the decks: the list of all sections, and the library's source by line."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from pathlib import Path

from course import demos
from course.lectures.catalogue import Lecture
from course.lectures.find import LIBRARY
from course.lectures.link_list import source_page
from course.lectures.topics import TOPICS

__all__ = ["index_page", "shown_sources", "source_html"]


def shown_sources() -> list[Path]:
    """The files that `links` points to: those of the topics and of the demos."""
    modules = {module for topic in TOPICS for module in topic.library}
    modules |= {f"course.demos.{name}" for name in demos.names()}
    files = [LIBRARY.parent.joinpath(*m.split(".")).with_suffix(".py") for m in sorted(modules)]
    return [path for path in files if path.is_file()]


def source_html(path: Path) -> tuple[str, str]:
    """A source file as a page: its name under `source/`, and the HTML, where line 41 is #line-41.

    Example:
        >>> name, page = source_html(LIBRARY / "modes.py")
        >>> name, 'id="line-1"' in page
        ('course/modes.html', True)
    """
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    short = path.relative_to(LIBRARY.parent).as_posix()
    name = source_page(short)
    up = "../" * (name.count("/") + 1)
    formatter = HtmlFormatter(linespans="line", linenos="inline", wrapcode=True)
    code = highlight(path.read_text(encoding="utf-8"), PythonLexer(stripnl=False), formatter)
    body = f"<h1>{escape(short)}</h1>\n{code}"
    return name, _page(short, body, up, f'<a href="{up}index.html">☰ All sections</a>')


def index_page(sections: Iterable[tuple[Lecture, bool, bool, bool]]) -> str:
    """The page that lists all sections.

    Args:
        sections: lectures; whether the deck, its thumbnail and its PDF lie beside this page.
    """
    cards = "\n".join(_card(*section) for section in sections)
    keys = (
        "<p>Keys in a deck: <kbd>→</kbd> on, <kbd>S</kbd> speaker view with notes, <kbd>D</kbd> "
        "light or dark, <kbd>O</kbd> all slides, <kbd>F</kbd> full screen, <kbd>?</kbd> more.</p>"
    )
    body = f"<h1>Image segmentation: the lecture</h1>\n{keys}\n<ol>\n{cards}\n</ol>"
    return _page("Image segmentation: the lecture", body, "", "")


def _card(lecture: Lecture, built: bool, pictured: bool, printed: bool) -> str:
    picture = f'<img src="thumbnails/{lecture.name}.png" alt="">' if pictured else ""
    title = escape(lecture.title)
    face = f'<span class="face">{picture}</span><b>{lecture.number} · {title}</b>'
    if built:
        face = f'<a class="deck" href="{lecture.name}.html">{face}</a>'
        more = f"{lecture.slides} slides"
        more += f' · <a href="{lecture.name}.pdf">PDF</a>' if printed else ""
    else:
        more = f"not built: course lectures build {lecture.number}"
    return f"<li>{face}<span>{more}</span></li>"


def _page(title: str, body: str, up: str, back: str) -> str:
    return f"""<!DOCTYPE html>
<html lang="en" data-theme="light">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<script src="{up}assets/theme.js"></script>
<link rel="stylesheet" href="{up}assets/base.css">
<link rel="stylesheet" href="{up}assets/pages.css">
</head>
<body>
<header>{back}
<button type="button" onclick="courseTheme()" aria-label="Light or dark">◐</button></header>
<main>
{body}
</main>
</body>
</html>
"""
