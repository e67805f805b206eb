"""Every deck in a real browser, from a folder and without a network: read, operated, looked at.

Each deck is built once and its slides are visited one by one, light and dark. Pictures of all
slides are kept in `test-artefacts/slides/`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest

from course import lectures as library
from course.lectures.build import build
from course.lectures.catalogue import Lecture, lectures
from course.lectures.pdf import find_chromium
from tests.browser.accessibility import findings
from tests.browser.conftest import ARTEFACTS, ROOT, LabServer
from tests.browser.notebook import Notebook
from tests.course.lectures.small import AS_ON_THE_SITE
from tests.course.lectures.small import lecture as small_lecture

# What sticks out of the place of the words, in pixels of the slide: below is the foot.
_OVERFLOW = """() => {
  const slide = Reveal.getCurrentSlide();
  const scale = Reveal.getScale();
  const frame = slide.getBoundingClientRect();
  const seen = e => e.getClientRects().length && !e.closest('aside, mjx-assistive-mml, script');
  const out = [...slide.querySelectorAll('*')].filter(seen).filter(e => {
    const box = e.getBoundingClientRect();
    return box.bottom > frame.top + (720 - 44) * scale || box.top < frame.top
      || box.right > frame.left + 1280 * scale || box.left < frame.left;
  });
  return {
    height: slide.scrollHeight, width: slide.scrollWidth,
    out: out.map(e => `${e.tagName} ${e.className} ${e.textContent.slice(0, 60)}`),
  };
}"""
_SMALL_TEXT = """() => {
  const slide = Reveal.getCurrentSlide();
  const nodes = document.createTreeWalker(slide, NodeFilter.SHOW_TEXT);
  const small = [];
  while (nodes.nextNode()) {
    const e = nodes.currentNode.parentElement;
    if (e.closest('aside, script, style, mjx-container') || !nodes.currentNode.data.trim()) {
      continue;
    }
    if (parseFloat(getComputedStyle(e).fontSize) < 17) small.push(e.textContent.slice(0, 60));
  }
  return small;
}"""
_PICTURE = "() => Reveal.getCurrentSlide().querySelector('.course-still img').src"


class Deck:
    """A deck in a page.

    Args:
        page: a Playwright page.
        path: the file.
    """

    def __init__(self, page: Any, path: Path) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("console", lambda m: self._complain(m.type, m.text))
        page.on("requestfailed", lambda r: self.complaints.append(f"failed: {r.url[:200]}"))
        page.set_viewport_size({"width": 1280, "height": 720})
        page.goto(path.as_uri())
        page.wait_for_function("document.documentElement.dataset.ready === 'true'", timeout=60_000)

    def _complain(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    @property
    def place(self) -> int:
        """Index of the slide in sight."""
        return self.page.evaluate("Reveal.getIndices().h")

    def slides(self) -> Iterator[int]:
        """Go through all slides from the keyboard, to the last fragment of each."""
        for index in range(self.page.evaluate("Reveal.getTotalSlides()")):
            assert self.place == index
            while self.page.evaluate("Reveal.availableFragments().next"):
                self.page.keyboard.press("ArrowRight")
            yield index
            self.page.keyboard.press("ArrowRight")


@pytest.fixture(scope="module")
def decks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Built decks by name; each is built when it is first asked for."""
    return {"folder": tmp_path_factory.mktemp("decks")}


@pytest.fixture
def deck(decks: dict[str, Path], page: Any, request: pytest.FixtureRequest) -> Deck:
    """The deck of the lecture that the test names."""
    lecture: Lecture = request.param
    if lecture.name not in decks:
        with pytest.MonkeyPatch.context() as patch:  # pages of source are tried with the small deck
            patch.setattr("course.lectures.build.shown_sources", list)
            folder = decks["folder"]
            (result,) = build([lecture], folder, site=AS_ON_THE_SITE, catalogue=[lecture])
        assert result.deck is not None, result.problem
        decks[lecture.name] = result.deck
    return Deck(page, decks[lecture.name])


def each_lecture(test: Any) -> Any:
    """Run a test for every lecture of the course."""
    return pytest.mark.parametrize(
        "deck", lectures(), ids=lambda lecture: lecture.name, indirect=True
    )(test)


@each_lecture
def test_every_slide_reads_well(deck: Deck, request: pytest.FixtureRequest) -> None:
    folder = ARTEFACTS / "slides"
    folder.mkdir(parents=True, exist_ok=True)
    faults: list[str] = []
    name = request.node.callspec.id
    for theme in ("light", "dark"):
        deck.page.emulate_media(color_scheme=theme)
        deck.page.evaluate("Reveal.slide(0)")
        followed = "theme => document.documentElement.dataset.theme === theme"
        deck.page.wait_for_function(followed, arg=theme, timeout=10_000)
        for index in deck.slides():
            here = f"slide {index + 1}, {theme}"
            part = None if index == 0 else "section.present"  # what is around stays the same
            faults += [f"{here}: {found}" for found in findings(deck.page, part)]
            size = deck.page.evaluate(_OVERFLOW)
            if size["out"] or size["height"] > 720 or size["width"] > 1280:
                faults.append(f"{here} overflows: {size}")
            small = deck.page.evaluate(_SMALL_TEXT)
            faults += [f"{here}: letters too small to project: {text!r}" for text in small]
            deck.page.screenshot(path=str(folder / f"{name}-{index + 1:02}-{theme}.png"))
    text = deck.page.evaluate("document.documentElement.outerHTML")
    assert "No description has been provided" not in text
    assert "Math input error" not in text
    assert deck.page.locator("mjx-merror, [data-mjx-error]").count() == 0, "a formula is wrong"
    assert deck.complaints == []
    assert faults == []


@each_lecture
def test_demos_obey_keys_and_do_not_turn_the_slide(deck: Deck) -> None:
    page = deck.page
    for index in deck.slides():
        figure = page.locator("section.present figure.course-still")
        if figure.count() == 0:
            continue
        caption = figure.locator("figcaption")
        seen = {(page.evaluate(_PICTURE), caption.inner_text())}
        figure.locator("input[type=range]").focus()
        page.keyboard.press("ArrowRight")
        seen.add((page.evaluate(_PICTURE), caption.inner_text()))
        assert len(seen) == 2, "the arrow changes picture and words"
        figure.locator("button.on").focus()
        for key in ("Enter", "ArrowRight", "ArrowLeft", "Space"):
            page.keyboard.press(key)
            assert deck.place == index, f"{key} turned the slide"
        assert figure.locator(".course-still-count").inner_text().startswith("4 of") or (
            figure.locator("input").get_attribute("max") == "2"
        )
        light = page.evaluate(_PICTURE)
        page.keyboard.press("d")
        page.keyboard.press("Escape")
        page.keyboard.press("d")
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        assert page.evaluate(_PICTURE) != light, "the picture follows the theme"
        page.keyboard.press("d")
        figure.locator("button.on").focus()
        page.keyboard.press("PageDown")
        assert deck.place == min(index + 1, page.evaluate("Reveal.getTotalSlides()") - 1)
        page.keyboard.press("PageUp")
        page.evaluate(f"Reveal.slide({index}, 0, 99)")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The deck of a small lecture with a PDF, its index and source pages beside it."""
    folder = tmp_path_factory.mktemp("small")
    lecture = small_lecture(folder)
    (result,) = build([lecture], folder / "out", pdf=True, catalogue=[lecture])
    assert result.deck is not None, result.problem
    return result.deck


def test_the_speaker_sees_notes(small: Path, page: Any) -> None:
    deck = Deck(page, small)
    with page.context.expect_page() as opening:
        page.keyboard.press("s")
    speaker = opening.value
    notes = speaker.locator(".speaker-controls-notes:not(.hidden)")
    notes.get_by_text("Say hello first.").wait_for(timeout=30_000)
    page.bring_to_front()
    page.keyboard.press("ArrowRight")
    notes.get_by_text("What comes later is said later.").wait_for(timeout=30_000)
    assert deck.complaints == []


def test_the_theme_is_chosen_once_for_all_pages(small: Path, page: Any) -> None:
    theme = "document.documentElement.dataset.theme"
    deck = Deck(page, small)
    assert page.evaluate(theme) == "light"
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(theme) == "dark"
    page.keyboard.press("ArrowRight")
    assert deck.place == 1, "the button gives the keys back"
    page.goto((small.parent / "index.html").as_uri())
    assert page.evaluate(theme) == "dark"
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate(theme) == "light"


def test_links_lead_to_the_line(small: Path, page: Any) -> None:
    Deck(page, small)
    page.get_by_role("link", name="PyramidPooling").click()
    page.wait_for_url("**/source/course/models/pspnet.html#line-*")
    line = page.locator(":target")
    assert "class PyramidPooling" in line.inner_text()
    box = line.bounding_box()
    assert box is not None
    assert 0 < box["y"] < 720
    assert findings(page) == []
    page.emulate_media(color_scheme="dark")
    assert findings(page) == []
    page.get_by_role("link", name="All sections").click()
    page.wait_for_url("**/index.html")
    assert findings(page) == []
    page.get_by_role("link", name="A small lecture").click()
    page.wait_for_url("**/11_small.html")


def test_the_pdf_has_a_page_per_slide(small: Path) -> None:
    find_chromium()
    pdf = small.with_suffix(".pdf").read_bytes()
    assert pdf.startswith(b"%PDF-")
    assert len(pdf) > 30_000, "letters and a picture"
    assert "11_small.pdf" in (small.parent / "index.html").read_text(encoding="utf-8")


def test_in_jupyterlab_links_open_the_lab_and_the_line(lab_server: LabServer, page: Any) -> None:
    root = lab_server.folder / "checkout"
    shutil.copytree(ROOT / "course", root / "course", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "labs" / "11_pspnet", root / "labs" / "11_pspnet")
    (root / "lectures").mkdir()
    cell = f"import sys\nsys.path.insert(0, {str(root)!r})\n"
    cell += "from course import lectures\nlectures.links(11)"
    notebook = small_lecture(root).notebook()  # with the name of its kernel
    notebook.cells = [nbformat.v4.new_code_cell(cell)]
    nbformat.write(notebook, root / "lectures" / "links.ipynb")
    opened = Notebook(page, lab_server.open("checkout/lectures/links.ipynb", "links"))
    opened.run_all()
    assert opened.errors() == []
    page.screenshot(path=str(ARTEFACTS / "lecture-links.png"))
    links = page.locator(".course-links")
    links.get_by_role("link", name="PyramidPooling").click()
    place = next(p for p in library.links(11).places if p.name == "PyramidPooling")
    page.wait_for_function(
        """line => {
          const widget = window.jupyterapp.shell.currentWidget;
          return widget?.context?.path.endsWith('pspnet.py')
            && widget.content.editor?.getCursorPosition().line === line;
        }""",
        arg=place.line - 1,
        timeout=60_000,
    )
    page.get_by_role("tab", name="links.ipynb").click()
    links.get_by_role("link", name="11 · PSPNet").click()
    page.wait_for_function(
        "name => jupyterapp.shell.currentWidget?.context?.path.endsWith(name)",
        arg="labs/11_pspnet/11_pspnet.ipynb",
        timeout=60_000,
    )
