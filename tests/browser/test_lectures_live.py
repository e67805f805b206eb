"""Every lecture as a lecturer opens it: in a real JupyterLab it runs, and its demos answer."""

from __future__ import annotations

import re
from typing import Any

import pytest

from course import demos
from course.lectures.catalogue import Lecture, lectures
from course.lectures.desk import write_notebooks
from tests.browser.conftest import ARTEFACTS, LabServer
from tests.browser.demo_page import DemoPage
from tests.browser.notebook import Notebook


@pytest.mark.parametrize("lecture", lectures(), ids=lambda lecture: lecture.name)
def test_it_runs_and_its_demos_answer(lab_server: LabServer, page: Any, lecture: Lecture) -> None:
    write_notebooks([lecture], lab_server.folder / "lectures")
    address = lab_server.open(f"lectures/{lecture.name}.ipynb", f"lecture-{lecture.number}")
    opened = Notebook(page, address)
    opened.run_all(240)
    assert not opened.errors()
    assert page.locator(".jupyter-widgets-error-widget").count() == 0
    shown = re.findall(r'^demos\.show\("(\w+)"', lecture.source, re.MULTILINE)
    assert set(shown) == set(demos.names(lecture.number) if lecture.number else shown)
    for name in shown:
        live = DemoPage(page, demos.get(name).title)
        control = demos.get(name).controls[0].spec()
        answers = [live.move(action) for action in live.by_keys(control)]
        assert any(answer and answer.changed > 0 for answer in answers), name
    (ARTEFACTS / "lectures").mkdir(parents=True, exist_ok=True)
    page.screenshot(path=str(ARTEFACTS / "lectures" / f"{lecture.name}-live.png"))
