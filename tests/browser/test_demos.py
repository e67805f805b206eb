"""Every demo in a real JupyterLab: moved by mouse and by keys, picture and words follow at once."""

from __future__ import annotations

import io
import os
import statistics
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from course import demos
from course.demos.gallery import notebook, write
from tests.browser.accessibility import findings
from tests.browser.conftest import ARTEFACTS, LabServer
from tests.browser.demo_page import DemoPage
from tests.browser.notebook import Notebook

ERROR_BOX = ".jupyter-widgets-error-widget"
THEME = "theme => jupyterapp.commands.execute('apputils:change-theme', {theme})"
QUICK = 150  # milliseconds from the hand to the picture


def open_demo(lab: LabServer, page: Any, name: str, *, run: bool = True) -> Notebook:
    """A notebook with one demo, open and run."""
    import nbformat

    nbformat.write(notebook([name]), lab.folder / f"{name}.ipynb")
    opened = Notebook(page, lab.open(f"{name}.ipynb", f"demo-{name}"))
    if run:
        opened.run_all()
        assert not opened.errors()
        assert page.locator(ERROR_BOX).count() == 0
    return opened


def change_theme(page: Any, name: str) -> None:
    """Choose a theme of JupyterLab and wait until a demo has drawn itself for it."""
    page.evaluate(THEME, f"JupyterLab {name}")
    light = "true" if name == "Light" else "false"
    page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg=light)
    page.wait_for_timeout(700)


@pytest.mark.parametrize("name", demos.names())
def test_each_control_moves_the_picture(lab_server: LabServer, page: Any, name: str) -> None:
    complaints: list[str] = []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    demo = demos.get(name)
    open_demo(lab_server, page, name)
    change_theme(page, "Light")  # Lab remembers that of the test before
    live = DemoPage(page, demo.title)
    start = live.caption
    assert start == demo.frame().caption
    times: list[float] = []
    for control in demo.controls:
        spec = control.spec()
        words = set()
        for way, actions in (("mouse", live.by_mouse(spec)), ("keys", live.by_keys(spec))):
            answers = live.first_answer(actions)
            assert any(a.changed > 0.0002 for a in answers), f"{control.name} by {way}"
            words |= {answer.caption for answer in answers}
            times.append(min(answer.milliseconds for answer in answers))
            live.reset()  # a slider at its end has nowhere to go
        assert words - {start}, f"the caption says nothing about {control.name}"
    assert live.caption == start
    assert page.locator(".course-demo .problem:not(:empty)").count() == 0
    assert findings(page, ".course-demo") == []
    page.screenshot(path=str(_picture(f"{name}-light")))
    change_theme(page, "Dark")
    assert findings(page, ".course-demo") == []
    page.screenshot(path=str(_picture(f"{name}-dark")))
    unexpected = [text for text in complaints if "404" not in text]
    assert not unexpected, unexpected
    print(f"{name}: {statistics.median(times):.0f} ms from hand to picture")
    busy = max(1.0, os.getloadavg()[0] / (os.cpu_count() or 1))  # others want the cores too
    assert statistics.median(times) < QUICK * busy, times


def test_a_stopped_kernel_is_said_in_place(lab_server: LabServer, page: Any) -> None:
    open_demo(lab_server, page, "iou")
    live = DemoPage(page, demos.get("iou").title)
    page.evaluate("window.jupyterapp.shell.currentWidget.sessionContext.shutdown()")
    live.root.locator(".grip").first.press("ArrowRight")
    message = live.root.locator(".problem")
    message.get_by_text("Python does not answer").wait_for(timeout=10_000)
    assert "run this cell again" in message.inner_text()


def test_without_the_front_end_extension_the_still_says_what_to_do(
    lab_server: LabServer, page: Any
) -> None:
    page.context.route("**/extensions/anywidget/**", lambda route: route.abort())
    open_demo(lab_server, page, "iou", run=False).run_all()
    hint = page.locator(".course-still-hint").last
    hint.wait_for(timeout=10_000)
    assert "pip install anywidget" in hint.inner_text()
    assert page.locator(".course-still img").first.get_attribute("alt")


def test_the_gallery_shows_every_demo_before_and_after_it_runs(
    lab_server: LabServer, page: Any
) -> None:
    path = write(lab_server.folder / "gallery")
    opened = Notebook(page, lab_server.open(f"gallery/{path.name}", "gallery"))
    count = len(demos.names())
    page.wait_for_function(
        "count => document.querySelectorAll('.course-still img').length === count", arg=count
    )
    page.screenshot(path=str(_picture("gallery")))
    assert findings(page, ".jp-RenderedMarkdown table") == []
    opened.run_all()
    page.wait_for_function(
        "count => document.querySelectorAll('.course-demo').length === count", arg=count
    )
    assert page.locator(".course-still").count() == 0
    assert page.locator(ERROR_BOX).count() == 0
    assert not opened.errors()


def test_the_moving_picture_of_the_readme(
    lab_server: LabServer, page: Any, request: pytest.FixtureRequest
) -> None:
    """A window scans, a pyramid finds the rest, suppression leaves one box each."""
    film = Path(__file__).parents[2] / "docs" / "scanner.gif"
    open_demo(lab_server, page, "sliding_window")
    change_theme(page, "Light")
    live = DemoPage(page, demos.get("sliding_window").title)
    frames = []

    def take(milliseconds: int) -> None:
        stage = live.root.locator(".stage")
        frames.append((Image.open(io.BytesIO(stage.screenshot())).convert("RGB"), milliseconds))

    slider = live.root.locator('input[name="progress"]')
    for percent in (1, *range(6, 100, 6), 100):
        live.move(slider.fill, str(percent))
        take(160)
    take(1200)
    live.move(live.root.locator('select[name="scale"]').select_option, "0.7")
    take(1600)
    live.move(live.root.locator('select[name="boxes"]').select_option, "after suppression")
    take(2600)
    assert len({image.tobytes() for image, _ in frames}) >= 12
    assert "of 2,207" in live.caption
    if request.config.getoption("--write-docs"):
        _write_film(film, frames)
    with Image.open(film) as shown:
        assert shown.n_frames >= 15  # equal neighbours are stored once
        assert shown.size[0] >= 720
    assert film.stat().st_size < 1_000_000


def _write_film(path: Path, frames: list[tuple[Image.Image, int]]) -> None:
    """An endless GIF of one palette, so that nothing flickers."""
    size = (760, round(frames[0][0].height * 760 / frames[0][0].width))
    small = [image.resize(size, Image.Resampling.LANCZOS) for image, _ in frames]
    palette = small[-1].quantize(160, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    images = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in small]
    times = [time for _, time in frames]
    images[0].save(path, save_all=True, append_images=images[1:], duration=times, loop=0)


def _picture(name: str) -> Path:
    folder = ARTEFACTS / "demos"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.png"
