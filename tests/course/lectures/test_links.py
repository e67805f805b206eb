"""Links of a section lead to what they name: labs, demos, and the very lines of the library."""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from course import demos, lectures
from course.lectures.find import LIBRARY, find, reach
from course.lectures.link_list import DEMOS_AT, LABS_AT, SOURCE_AT
from course.lectures.pages import shown_sources, source_html
from course.lectures.topics import TOPICS

ROOT = Path(__file__).parents[3]
NUMBERS = range(15)


@pytest.fixture(autouse=True)
def live(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (SOURCE_AT, LABS_AT, DEMOS_AT):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("number", NUMBERS[1:])
def test_each_name_is_public_and_stands_in_its_line(number: int) -> None:
    places = lectures.links(number).places
    assert 3 <= len(places) <= 8
    for place in places:
        row = place.path.read_text(encoding="utf-8").splitlines()[place.line - 1]
        assert re.match(rf"(class|def) {place.name}\b|{place.name} = ", row), row
        assert hasattr(importlib.import_module(place.module), place.name)


def test_the_table_knows_the_labs() -> None:
    folders = sorted(path.name for path in (ROOT / "labs").iterdir() if path.is_dir())
    assert [topic.name for topic in TOPICS[1:]] == folders
    assert [topic.number for topic in TOPICS] == list(NUMBERS)
    for topic in TOPICS[1:]:
        lab = json.loads((ROOT / topic.notebook).read_text(encoding="utf-8"))
        assert "".join(lab["cells"][0]["source"]).startswith(f"# Lab {topic.number} · ")


@pytest.mark.parametrize("number", NUMBERS[1:])
def test_text_names_lab_demos_and_lines(number: int) -> None:
    links = lectures.links(number)
    text = str(links)
    assert TOPICS[number].notebook in text
    for name in links.demos:
        assert f'demos.show("{name}")' in text
        assert demos.get(name).lab == number
    for place in links.places:
        assert f"{place.name}: {place.short}, line {place.line}" in text


def test_the_introduction_lists_every_lab() -> None:
    rows = str(lectures.links(0)).splitlines()
    assert [row.split(": ")[1] for row in rows] == [topic.notebook for topic in TOPICS[1:]]


@pytest.mark.parametrize("number", [-1, 15, 100])
def test_there_is_no_other_section(number: int) -> None:
    with pytest.raises(ValueError, match="0 to 14"):
        lectures.links(number)


def test_in_a_notebook_links_lead_to_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    lab = tmp_path / TOPICS[8].notebook
    lab.parent.mkdir(parents=True)
    lab.write_text("{}")
    (tmp_path / "lectures").mkdir()
    monkeypatch.chdir(tmp_path / "lectures")
    html = lectures.links(8)._repr_html_()
    assert f'href="../{TOPICS[8].notebook}"' in html
    monkeypatch.chdir(ROOT / "docs")
    addresses = re.findall(r'href="([^"]+)"', lectures.links(8)._repr_html_())
    lines = [address for address in addresses if "#line=" in address]
    assert len(lines) == len(lectures.links(8).places) + len(lectures.links(8).demos)
    for address in lines:
        file, line = address.split("#line=")
        rows = (Path.cwd() / file).read_text(encoding="utf-8").splitlines()
        assert re.match(r"class |def |\w+ = ", rows[int(line)]), "JupyterLab counts lines from 0"


def test_out_of_reach_a_link_is_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    html = lectures.links(8)._repr_html_()
    assert "href" not in html
    assert "course/models/unet.py, line" in html
    assert TOPICS[8].notebook in html
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "a.py").write_text("")
    assert reach(tmp_path / ".venv" / "a.py") is None, "JupyterLab shows no hidden files"


def test_in_a_build_links_lead_to_pages(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pages = dict(map(source_html, shown_sources()))
    monkeypatch.setenv(SOURCE_AT, "source")
    for number in NUMBERS:
        for address in re.findall(r'href="([^"]+)"', lectures.links(number)._repr_html_()):
            page, mark = address.removeprefix("source/").split("#")
            assert f'id="{mark}"' in pages[page], address
    monkeypatch.setenv(LABS_AT, "../labs/{name}.html")
    monkeypatch.setenv(DEMOS_AT, "../demos/{name}.html")
    html = lectures.links(8)._repr_html_()
    assert 'href="../labs/08_unet.html"' in html
    assert 'href="../demos/unet_tiles.html"' in html
    assert lectures.links(0)._repr_html_().count("href") == 14


def test_a_wrong_table_says_so() -> None:
    with pytest.raises(ValueError, match=r"course\.models\.nothing has no file"):
        find("course.models.nothing", "UNet")
    with pytest.raises(ValueError, match=r"course\.models\.unet defines no 'VNet'; it defines"):
        find("course.models.unet", "VNet")


def test_links_load_no_torch() -> None:
    code = "import sys; from course import lectures; [str(lectures.links(n)) for n in range(15)];"
    code += "assert 'torch' not in sys.modules and 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=LIBRARY.parent)
