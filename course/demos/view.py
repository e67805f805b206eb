"""A demo on a page: a live widget where Python answers, pictures to page through where it does not.

The widget is one anywidget whose controls are the browser's own (`view.js`), so that each has a
name and works from the keyboard; plain ipywidgets sliders and images have neither name nor text.
Before it, a still picture with a line that says what to do: the widget takes it away when it
starts, so it stays in sight exactly where the front-end extension is missing, where the notebook
was opened without running it, and in exports.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from course.demos.demo import Demo
from course.demos.still import pages, waiting

__all__ = ["show"]

_HERE = Path(__file__).parent
_WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def show(demo: Demo, changes: Mapping[str, Any]) -> Live | Stills:
    """What a notebook displays for a demo.

    With the environment variable COURSE_DEMOS=still (set while slides and pages are built) these
    are its stills; elsewhere it is the widget.

    Raises:
        ValueError: an impossible state.
    """
    demo.state(changes)
    return Stills(demo) if os.environ.get("COURSE_DEMOS") == "still" else Live(demo, changes)


class Stills:
    """The stills of a demo as one HTML figure, needing no kernel and no network."""

    def __init__(self, demo: Demo) -> None:
        self.demo = demo

    def _repr_html_(self) -> str:
        return pages(self.demo)

    def __repr__(self) -> str:
        return f"{self.demo.title}. {self.demo.frame().caption}"


class Live:
    """The widget of a demo; made when it is displayed, so that headless runs pay nothing for it."""

    def __init__(self, demo: Demo, changes: Mapping[str, Any]) -> None:
        self.demo, self.changes = demo, dict(changes)
        self._widget: Any = None

    @property
    def widget(self) -> Any:
        """The anywidget itself."""
        if self._widget is None:
            self._widget = _widget_class()(self.demo, self.changes)
        return self._widget

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        mark = f"demo-{uuid4().hex[:12]}"
        display(HTML(waiting(self.demo, self.changes, mark)))
        try:
            widget = self.widget
        except ImportError:
            return  # the still picture above says what to install
        widget.placeholder = mark
        text = f"{self.demo.title}. {widget.caption}"
        view = {"version_major": 2, "version_minor": 0, "model_id": widget.model_id}
        display({_WIDGET_VIEW: view, "text/plain": text}, raw=True)

    def __repr__(self) -> str:
        return f"{self.demo.title}. {self.demo.frame(self.changes).caption}"


def _widget_class() -> Any:
    import anywidget
    import traitlets

    class DemoView(anywidget.AnyWidget):
        """State from the browser, picture and caption back."""

        _esm = _HERE / "view.js"
        _css = _HERE / "view.css"
        spec = traitlets.Dict().tag(sync=True)
        state = traitlets.Dict().tag(sync=True)
        dark = traitlets.Bool(False).tag(sync=True)
        turn = traitlets.Int(0).tag(sync=True)  # raised by the browser with each change
        answered = traitlets.Int(0).tag(sync=True)
        picture = traitlets.Bytes(b"").tag(sync=True)
        caption = traitlets.Unicode("").tag(sync=True)
        problem = traitlets.Unicode("").tag(sync=True)
        placeholder = traitlets.Unicode("").tag(sync=True)

        def __init__(self, demo: Demo, changes: Mapping[str, Any]) -> None:
            self._demo = demo
            width, height = demo.size
            spec = {
                "title": demo.title,
                "idea": demo.idea,
                "predict": list(demo.predict or ()),
                "source": demo.source,
                "width": width,
                "height": height,
                "controls": [control.spec() for control in demo.controls],
                "default": _plain(demo.default),
            }
            super().__init__(spec=spec, state=_plain(demo.state(changes)))
            self._answer()
            self.observe(self._answer, names=["turn", "dark"])

        def _answer(self, _: object = None) -> None:
            try:
                frame = self._demo.frame(self.state, dark=self.dark)
            except Exception as error:  # a message in place is worth more than a lost demo
                with self.hold_sync():
                    self.problem = f"This cannot be drawn: {error}. Reset goes back to the start."
                    self.answered = self.turn
                return
            with self.hold_sync():
                self.picture, self.caption = frame.png(), frame.caption
                self.problem = ""
                self.answered = self.turn

    return DemoView


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """Tuples as lists: what JSON keeps."""

    def lists(value: Any) -> Any:
        return [lists(v) for v in value] if isinstance(value, (tuple, list)) else value

    return {name: lists(value) for name, value in state.items()}
