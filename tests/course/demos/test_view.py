"""How a demo comes to the page: the still, the widget and its answers, pages of pictures."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from course import demos
from course.demos import view as module
from course.demos.view import Live, Stills

APART = [[0, 0, 10, 10], [20, 20, 30, 30]]


def decode(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)))


def ask(widget, **changes) -> None:
    """What the browser sends when something is moved."""
    widget.set_state({"state": {**widget.state, **changes}, "turn": widget.turn + 1})


def test_the_widget_answers_a_change_with_picture_and_caption() -> None:
    widget = demos.show("iou").widget
    assert np.array_equal(decode(widget.picture), demos.frame("iou").image)
    ask(widget, boxes=APART)
    expected = demos.frame("iou", boxes=APART)
    assert np.array_equal(decode(widget.picture), expected.image)
    assert widget.caption == expected.caption
    assert widget.answered == widget.turn == 1


def test_an_impossible_state_is_said_in_place_and_the_next_one_is_drawn() -> None:
    widget = demos.show("iou").widget
    before = widget.picture
    ask(widget, boxes=[[0, 0, 900, 10], [0, 0, 1, 1]])
    assert widget.problem.startswith("This cannot be drawn: boxes: expected 2 boxes")
    assert "Reset" in widget.problem
    assert widget.picture == before
    assert widget.answered == 1
    ask(widget, boxes=APART)
    assert widget.problem == ""
    assert widget.answered == 2


def test_dark_pages_get_dark_pictures() -> None:
    widget = demos.show("iou").widget
    widget.set_state({"dark": True})
    assert np.array_equal(decode(widget.picture), demos.frame("iou", dark=True).image)


def test_what_the_browser_gets_is_plain_data() -> None:
    for name in demos.names():
        widget = demos.show(name).widget
        json.dumps([widget.spec, widget.state])
        assert len(widget.spec["controls"]) == len(demos.get(name).controls)


def test_a_start_state_of_ones_own() -> None:
    assert demos.show("iou", boxes=APART).widget.caption == demos.frame("iou", boxes=APART).caption
    with pytest.raises(ValueError, match="iou has no control 'box'"):
        demos.show("iou", box=APART)


def displayed(monkeypatch: pytest.MonkeyPatch, shown: Live) -> list:
    outputs: list = []
    monkeypatch.setattr("IPython.display.display", lambda data, raw=False: outputs.append(data))
    shown._ipython_display_()
    return outputs


def test_a_still_with_instructions_comes_before_the_widget(monkeypatch) -> None:
    shown = demos.show("iou")
    still, view = displayed(monkeypatch, shown)
    mark = re.search(r'id="(demo-\w+)"', still.data)
    assert mark is not None
    assert shown.widget.placeholder == mark[1]
    assert "pip install anywidget" in still.data
    assert f'alt="{demos.frame("iou").caption}"' in still.data
    assert view["application/vnd.jupyter.widget-view+json"]["model_id"] == shown.widget.model_id


def test_without_anywidget_the_still_stays_and_says_what_to_install(monkeypatch) -> None:
    def missing() -> None:
        raise ImportError("No module named 'anywidget'")

    monkeypatch.setattr(module, "_widget_class", missing)
    (still,) = displayed(monkeypatch, demos.show("iou"))
    assert "pip install anywidget" in still.data


def test_slides_and_pages_get_pictures_to_page_through(monkeypatch) -> None:
    monkeypatch.setenv("COURSE_DEMOS", "still")
    shown = demos.show("iou")
    assert isinstance(shown, Stills)
    html = shown._repr_html_()
    assert html.count("data:image/png;base64,") == 1 + 2 * len(demos.get("iou").stills)
    assert 'aria-live="polite"' in html
    assert not re.search(r'(?:src|href)="https?:', html)


def test_captions_cannot_close_the_script(monkeypatch) -> None:
    from dataclasses import replace

    from course.demos.still import pages

    demo = replace(demos.get("iou"), draw=lambda state, sheet: "</script><b>1 & 2</b>")
    html = pages(demo)
    assert "</script><b>" not in html
    assert "&lt;/script&gt;" in html
