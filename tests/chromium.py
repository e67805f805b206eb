"""One Chromium for every test that reads a page; requests to other machines and script errors fail.

A failing test leaves a screenshot in `test-artefacts/`. `tests/conftest.py` makes these fixtures
known everywhere, once: two drivers cannot live in one process.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

ROOT = Path(__file__).parents[1]
ARTEFACTS = ROOT / "test-artefacts"
_HERE = ("127.0.0.1", "localhost")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything that drives a browser; say by name what is missing where it cannot run."""
    missing = chromium_missing()
    for item in items:
        if "browser" not in getattr(item, "fixturenames", ()):
            continue
        item.add_marker(pytest.mark.browser)
        if missing and not os.environ.get("CI"):
            item.add_marker(pytest.mark.skip(reason=missing))


def chromium_missing() -> str | None:
    """What to install, or None where there is a Chromium."""
    return None if _chromium() else "chromium is not installed: apt-get install chromium"


def _chromium() -> str | None:
    names = ("chromium", "chromium-browser", "google-chrome")
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, as Debian ships it."""
    from playwright.sync_api import sync_playwright

    path = _chromium()
    if path is None:
        pytest.fail("chromium is not installed: apt-get install chromium")
    quiet = ["--disable-gpu", "--disable-quic", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync"]
    quiet += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost"]
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fresh page; requests to other machines and script errors fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    outside: list[str] = []

    def note(request: Any) -> None:
        place = urlsplit(request.url)
        if place.scheme in ("http", "https") and place.hostname not in _HERE:
            outside.append(request.url)

    context.on("request", note)
    sheet = context.new_page()
    crashes: list[str] = []
    sheet.on("pageerror", lambda error: crashes.append(str(error)))
    yield sheet
    failed = getattr(request.node, "outcome_of_call", None)
    if failed is None or failed.failed:
        ARTEFACTS.mkdir(exist_ok=True)
        sheet.screenshot(path=str(ARTEFACTS / f"failed-{request.node.name}.png"))
    context.close()
    assert not outside, f"requests left this machine: {outside}"
    assert not crashes, f"scripts failed in the page: {crashes}"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Any:
    """Keep the outcome of the call, so that `page` knows whether to take a picture."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.outcome_of_call = report  # type: ignore[attr-defined]
