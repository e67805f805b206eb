"""A demo without Python: pictures and captions as HTML, for slides, pages, notebooks at rest."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

from course.demos.demo import Demo, Frame

__all__ = ["pages", "waiting"]

_HERE = Path(__file__).parent


def pages(demo: Demo) -> str:
    """The stills of a demo as one figure: a slider and two buttons page through them.

    Light and dark pictures are both inside; the script shows those that fit the page. Where no
    script runs, the first still and its caption stand there.
    """
    frames = [(still.title, demo.frame(still.changes)) for still in demo.stills]
    data = [
        {
            "title": title,
            "caption": frame.caption,
            "light": _data_url(frame),
            "dark": _data_url(demo.frame(still.changes, dark=True)),
        }
        for still, (title, frame) in zip(demo.stills, frames)
    ]
    width, height = demo.size
    first, count = data[0], len(data)
    inside = json.dumps(data).replace("</", "<\\/")  # so that no caption ends the script
    script = (_HERE / "still.js").read_text(encoding="utf-8")
    return f"""
<figure class="course-still" data-demo="{demo.name}" aria-label="{escape(demo.title)}">
<style>{_style()}</style>
<img src="{first["light"]}" alt="{escape(first["caption"])}" width="{width}" height="{height}">
<div class="course-still-bar">
<button type="button" class="back" aria-label="Previous picture of {escape(demo.title)}">◀</button>
<input type="range" min="0" max="{count - 1}" value="0"
 aria-label="Pictures of {escape(demo.title)}"
 aria-valuetext="1 of {count}: {escape(first["title"])}">
<button type="button" class="on" aria-label="Next picture of {escape(demo.title)}">▶</button>
<b class="course-still-title">{escape(first["title"])}</b>
<span class="course-still-count">1 of {count}</span>
</div>
<figcaption aria-live="polite">{escape(first["caption"])}</figcaption>
<script type="application/json">{inside}</script>
<script>{script}</script>
</figure>"""


def waiting(demo: Demo, changes: Mapping[str, Any], mark: str) -> str:
    """The still that stands where the widget will be, with what to do if it does not come."""
    frame = demo.frame(changes)
    width, height = demo.size
    return f"""
<figure id="{mark}" class="course-still" aria-label="{escape(demo.title)}">
<style>{_style()}</style>
<img src="{_data_url(frame)}" alt="{escape(frame.caption)}" width="{width}" height="{height}">
<figcaption>{escape(frame.caption)}</figcaption>
<p class="course-still-hint">This is a still picture of <b>{escape(demo.title)}</b>. The controls
need a running kernel: run this cell. If they do not come, the front-end extension is missing:
<code>pip install anywidget</code> where JupyterLab runs, then reload the page.</p>
</figure>"""


def _data_url(frame: Frame) -> str:
    from PIL import Image

    file = io.BytesIO()
    image = Image.fromarray(frame.image)
    image.quantize(255, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


@lru_cache
def _style() -> str:
    return " ".join((_HERE / "still.css").read_text(encoding="utf-8").split())
