"""Work a demo in a page as a hand does: move a control by mouse or by keys, wait for the answer.

The view writes the number of the answered change to `data-answered` once its picture is in sight;
the time from the key or click to that moment is what a lecturer feels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_FINGERPRINT = """(root) => {
  const image = root.querySelector('.stage img');
  const sheet = document.createElement('canvas');
  [sheet.width, sheet.height] = [image.naturalWidth, image.naturalHeight];
  const pen = sheet.getContext('2d');
  pen.drawImage(image, 0, 0);
  window.__last = window.__pixels;
  window.__pixels = pen.getImageData(0, 0, sheet.width, sheet.height).data;
}"""
_DIFFERENCE = """() => {
  const [a, b] = [window.__last, window.__pixels];
  let changed = 0;
  for (let i = 0; i < a.length; i += 4)
    changed += a[i] !== b[i] || a[i + 1] !== b[i + 1] || a[i + 2] !== b[i + 2];
  return changed / (a.length / 4);
}"""
_WATCH = """(root) => {
  const before = root.dataset.answered, asked = root.dataset.asked;
  window.__moved = null;
  window.__asked = () => root.dataset.asked !== asked;
  const mark = () => { window.__start ??= performance.now(); };
  window.__start = null;
  for (const name of ['keydown', 'input', 'change', 'pointerdown', 'pointermove'])
    root.addEventListener(name, mark, { capture: true, once: true });
  const look = () => {
    if (root.dataset.answered !== before) window.__moved = performance.now() - window.__start;
    else requestAnimationFrame(look);
  };
  look();
}"""


@dataclass(frozen=True)
class Answer:
    """What followed a move.

    Attributes:
        milliseconds: from the event to the new picture in sight.
        changed: share of the picture's pixels that differ.
        caption: the new caption.
    """

    milliseconds: float
    changed: float
    caption: str


class DemoPage:
    """A demo that is live in a page.

    Args:
        page: a Playwright page.
        title: heading of the demo.
    """

    def __init__(self, page: Any, title: str) -> None:
        self.page = page
        self.root = page.get_by_role("region", name=title, exact=True)
        self.root.locator(".stage img[src^=blob]").wait_for(timeout=30_000)
        self.root.scroll_into_view_if_needed()
        self.root.evaluate(_FINGERPRINT)

    @property
    def caption(self) -> str:
        """The live text."""
        return self.root.locator(".caption").inner_text()

    def move(self, action: Any, *arguments: Any) -> Answer | None:
        """Do something to the demo; None where it asked nothing."""
        self.root.evaluate(_WATCH)
        action(*arguments)
        self.page.wait_for_timeout(60)
        if not self.page.evaluate("() => window.__asked()"):
            return None
        self.page.wait_for_function("() => window.__moved !== null", timeout=20_000)
        self.page.wait_for_timeout(60)  # a move may ask more than once
        self.root.evaluate(_FINGERPRINT)
        time = self.page.evaluate("() => window.__moved")
        return Answer(time, self.page.evaluate(_DIFFERENCE), self.caption)

    def first_answer(self, actions: list[Any]) -> list[Answer]:
        """Try actions until one changes picture and caption; every answer on the way.

        One of the first two, the arrows where there are keys, must be answered at all.
        """
        answers, before = [], self.caption
        for number, action in enumerate(actions, 1):
            if answer := self.move(action):
                answers.append(answer)
            assert answers or number < 2, "no answer"
            if answer and answer.changed > 0.0002 and answer.caption != before:
                break
        return answers

    def reset(self) -> None:
        """Press the button; it may change nothing."""
        self.move(self.root.get_by_role("button", name="Reset").click)

    def by_mouse(self, control: dict[str, Any]) -> list[Any]:
        """Actions that a mouse can do to a control, the likeliest to change something first."""
        kind, name = control["kind"], control["name"]
        if kind == "slider":
            slider = self.root.locator(f'input[name="{name}"]')
            return [lambda at=at: _click_at(slider, at, 0.5) for at in (0.75, 0.25, 0.95, 0.05)]
        if kind == "choice":
            options = self.root.locator(f'select[name="{name}"]')
            return [lambda v=v: options.select_option(v) for v in reversed(control["options"])]
        if kind == "toggle":
            return [self.root.locator(f'input[name="{name}"]').click] * 2
        if kind == "boxes":
            places = ((30, 0), (-30, 0), (0, 40), (0, -40))
            boxes = self._layer(control)
            return [lambda by=by: _drag(self.page, boxes.first, by) for by in places]
        cells = self._layer(control)
        return [lambda x=x, y=y: _click_at(cells, x, y) for x in (0.3, 0.8) for y in (0.3, 0.8)]

    def by_keys(self, control: dict[str, Any]) -> list[Any]:
        """Actions that the keyboard can do to a control."""
        kind, name = control["kind"], control["name"]
        if kind in ("slider", "choice"):
            tag = "input" if kind == "slider" else "select"
            node = self.root.locator(f'{tag}[name="{name}"]')
            up, down = ("ArrowRight", "ArrowLeft") if kind == "slider" else ("ArrowDown", "ArrowUp")
            far = ("PageUp", "PageDown", "End", "Home")
            return [lambda key=key: node.press(key) for key in (up, down, down, *far)]
        if kind == "toggle":
            return [lambda: self.root.locator(f'input[name="{name}"]').press("Space")] * 2
        node = self._layer(control).first
        keys = ["ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp"]
        keys += ["+", "-"] if kind == "boxes" else []
        keys = ["Space", "Enter"] if kind == "paint" else keys
        return [lambda key=key: node.press(key) for key in keys]

    def _layer(self, control: dict[str, Any]) -> Any:
        """The parts of the picture that move a control."""
        if control["kind"] == "boxes":
            names = ", ".join(f'.grip[data-name="{name}"]' for name in control["names"])
            return self.root.locator(names)
        return self.root.locator(f'.cells[aria-label^="{control["label"]}:"]')


def _click_at(node: Any, x: float, y: float) -> None:
    box = node.bounding_box()
    node.click(position={"x": box["width"] * x, "y": box["height"] * y}, force=True)


def _drag(page: Any, node: Any, by: tuple[int, int]) -> None:
    node.scroll_into_view_if_needed()
    box = node.bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by[0], y + by[1], steps=4)
    page.mouse.up()
