"""The site builds without a warning, shows the whole course, and is read without a network."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from course import demos, models
from course.lectures.catalogue import lectures
from tests.browser.accessibility import findings

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as the README says: every warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def pages(site: Path) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}


def test_every_system_has_its_signature_and_text(site: Path) -> None:
    text = "".join(page for path, page in pages(site).items() if "models" in path.parts)
    for name in models.__all__:
        module = models._MODULES[name]
        assert f'id="course.models.{module}.{name}"' in text, name


def test_every_lab_lecture_and_demo_has_a_page_that_leads_to_the_others(site: Path) -> None:
    labs = sorted(path.stem for path in (ROOT / "labs").glob("*/*.ipynb"))
    assert len(labs) == 14
    sections = lectures()
    assert [section.number for section in sections] == list(range(15))
    for name in labs:
        page = (site / "labs" / f"{name}.html").read_text(encoding="utf-8")
        for demo in demos.names(int(name[:2])):
            assert f'href="../demos/{demo}.html"' in page, (name, demo)
        assert f'href="../slides/{name}.html"' in page, name
        assert f'href="../lectures/{name}.html"' in page, name
        assert "BEGIN HIDDEN TESTS" not in page
        assert "BEGIN SOLUTION" not in page
    for section in sections:
        page = (site / "lectures" / f"{section.name}.html").read_text(encoding="utf-8")
        assert f'href="../slides/{section.name}.html"' in page
        deck = (site / "slides" / f"{section.name}.html").read_text(encoding="utf-8")
        if section.number:
            assert f"../labs/{section.name}.html" in deck
            assert "source/course/" in deck, "no link to the library"
    for demo in demos.names():
        page = (site / "demos" / f"{demo}.html").read_text(encoding="utf-8")
        assert f'href="../labs/{labs[demos.get(demo).lab - 1]}.html"' in page


def test_reading_it_needs_no_other_host(site: Path) -> None:
    loaded = r'<(?:script|img|iframe)[^>]* src="([^"]+)"|<link[^>]* href="([^"]+)"'
    for path, page in pages(site).items():
        for found in re.findall(loaded, page):
            address = next(filter(None, found))
            assert not urlsplit(address).netloc, f"{path.name} loads {address}"


def test_no_link_within_the_site_is_broken(site: Path) -> None:
    everything = pages(site)
    anchors = {path: set(re.findall(r'\bid="([^"]+)"', page)) for path, page in everything.items()}
    for path, page in everything.items():
        if {"_modules", "source"} & set(path.parts):
            continue  # Sphinx links source lines back to one of several pages
        for address in re.findall(r'<a [^>]*href="([^"]+)"', page):
            place = urlsplit(unescape(address))
            if place.scheme or place.netloc:
                continue
            target = (path.parent / unquote(place.path)).resolve() if place.path else path
            assert target.exists(), f"{path.relative_to(site)} links to {address}"
            fragment = unquote(place.fragment)
            if fragment and target in anchors:
                assert fragment in anchors[target], f"{path.relative_to(site)} links to {address}"


def read_pages(site: Path) -> list[Path]:
    """What visitors read: everything but listings of source, and the decks, tested elsewhere."""
    aside = {"_modules", "slides", "_sources"}
    return [path for path in pages(site) if not aside & set(path.relative_to(site).parts)]


@pytest.mark.slow  # axe reads some ninety pages, twice: minutes
def test_every_page_can_be_read_without_eyes_or_mouse(site: Path, page: Any) -> None:
    faults = []
    for path in read_pages(site):
        page.goto(path.as_uri())
        for theme in ("light", "dark"):
            page.evaluate("theme => { document.body.dataset.theme = theme; }", theme)
            found = findings(page)
            faults += [f"{path.relative_to(site)}, {theme}: {fault}" for fault in found]
    assert not faults, "\n".join(faults[:20])


def test_mathematics_and_demos_work_without_a_network(site: Path, page: Any) -> None:
    page.goto((site / "labs" / "08_unet.html").as_uri())
    page.locator("mjx-container").first.wait_for(timeout=20_000)
    page.goto((site / "demos" / "iou.html").as_uri())
    before = (
        page.locator("figcaption").inner_text(),
        page.locator("figure img").get_attribute("src"),
    )
    page.locator("figure input").press("ArrowRight")
    after = page.locator("figcaption").inner_text(), page.locator("figure img").get_attribute("src")
    assert before[0] != after[0]
    assert before[1] != after[1]
    page.evaluate("() => { document.body.dataset.theme = 'dark'; }")
    page.wait_for_function(
        "src => document.querySelector('figure img').src !== src", arg=after[1], timeout=5000
    )


def test_the_search_finds_labs_lectures_and_functions(site: Path, page: Any) -> None:
    for words, expected in (
        ("unpooling", "labs/06_upsampling"),
        ("border weights", "lectures/08_unet"),
        ("box_iou", "api/boxes"),
    ):
        page.goto((site / "search.html").as_uri() + "?q=" + words.replace(" ", "+"))
        # Results appear one after the other: reading the list too early would miss the later ones.
        hit = page.locator(f'#search-results li a[href*="{expected}"]').first
        hit.wait_for(state="attached", timeout=20_000)
