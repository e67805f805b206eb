"""The site builds without a warning, names every system, and is read without a network."""

from __future__ import annotations

import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from course import models

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as the README says: every warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "docs", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def pages(site: Path) -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in sorted(site.rglob("*.html"))}


def test_every_system_has_its_signature_and_text(site: Path) -> None:
    text = "".join(page for path, page in pages(site).items() if "models" in path.parts)
    for name in models.__all__:
        module = models._MODULES[name]
        assert f'id="course.models.{module}.{name}"' in text, name


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
        if "_modules" in path.parts:
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
