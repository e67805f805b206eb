"""HTML that opens anywhere without a network: one style, no script, everything escaped."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

__all__ = ["highlighted", "points", "render"]

_FOLDER = Path(__file__).with_name("templates")
_LONGEST_CODE = 20_000


@cache
def _environment() -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"points": points, "ticks": _ticks}
    style = (_FOLDER / "style.css").read_text(encoding="utf-8")
    environment.globals["style"] = Markup(style)
    return environment


def render(template: str, **values: Any) -> str:
    """Fill a page; text is escaped unless it is `Markup`."""
    return _environment().get_template(template).render(**values)


def points(value: float | None) -> str:
    """Points as people write them.

    >>> points(2.0), points(2.5), points(1 / 3), points(None)
    ('2', '2.5', '0.33', '–')
    """
    return "–" if value is None else f"{value:.2f}".rstrip("0").rstrip(".")


def _ticks(text: str) -> Markup:
    """Text between back-ticks as code, the rest escaped."""
    parts = re.split(r"`([^`\n]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )


def highlighted(code: str) -> Markup:
    """Python with its words marked; escaped.

    >>> highlighted("if x < 1: pass  # <b>")
    Markup('<span class="k">if</span> x &lt; <span class="m">1</span>: ...
    """
    from pygments.lexers import PythonLexer
    from pygments.token import Comment, Keyword, Number, Operator, String

    kinds = ((Keyword, "k"), (Operator.Word, "k"), (String, "s"), (Number, "m"), (Comment, "c"))
    code = code if len(code) <= _LONGEST_CODE else code[:_LONGEST_CODE] + "\n…"
    pieces = []
    for token, text in PythonLexer(stripnl=False, ensurenl=False).get_tokens(code):
        name = next((short for kind, short in kinds if token in kind), "")
        pieces.append(
            Markup('<span class="{}">{}</span>').format(name, text) if name else escape(text)
        )
    return Markup("").join(pieces)
