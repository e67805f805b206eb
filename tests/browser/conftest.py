"""A real JupyterLab and a real Chromium for the tests that live a student's and a lecturer's day.

One server and one browser serve the whole session. Every request that leaves this machine fails the
test that made it; a failing test leaves a screenshot in `test-artefacts/`.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ARTEFACTS = ROOT / "test-artefacts"
TOKEN = "a-token-for-tests"
_OFF = ("jupyter_lsp", "jupyter_server_terminals", "notebook_shim")


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


@dataclass(frozen=True)
class LabServer:
    """A running JupyterLab.

    Attributes:
        url: its address, without a slash at the end.
        folder: the folder that it serves.
    """

    url: str
    folder: Path

    def open(self, notebook: str, workspace: str) -> str:
        """The address that opens a notebook in a workspace of its own."""
        return f"{self.url}/lab/workspaces/{workspace}/tree/{notebook}?token={TOKEN}"


@pytest.fixture(scope="session")
def lab_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabServer]:
    """JupyterLab on a free port, with settings and home of its own."""
    home = tmp_path_factory.mktemp("jupyter")
    folder = home / "work"
    config = home / "config"
    for name in (folder, config / "labconfig"):
        name.mkdir(parents=True)
    settings = {
        "@jupyterlab/apputils-extension:notification": {
            "fetchNews": "false",
            "checkForUpdates": False,
        },
        "@jupyterlab/notebook-extension:tracker": {"windowingMode": "none"},
    }
    (config / "labconfig" / "default_setting_overrides.json").write_text(json.dumps(settings))
    off = {"ServerApp": {"jpserver_extensions": dict.fromkeys(_OFF, False)}}
    (config / "jupyter_server_config.json").write_text(json.dumps(off))
    port = _free_port()
    environment = {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "IPYTHONDIR": str(home / "ipython"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
    }
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root"]
    command += [f"--ServerApp.root_dir={folder}", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--ServerApp.port_retries=0"]
    command += [f"--IdentityProvider.token={TOKEN}", "--LabApp.expose_app_in_browser=True"]
    ARTEFACTS.mkdir(exist_ok=True)
    log = (ARTEFACTS / "jupyterlab.log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
    server = LabServer(f"http://127.0.0.1:{port}", folder)
    try:
        _wait_for(f"{server.url}/api/status?token={TOKEN}", process)
        yield server
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
        log.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _wait_for(url: str, process: subprocess.Popen[bytes], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"JupyterLab ended with code {process.returncode}: see its log")
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            time.sleep(0.3)
    raise RuntimeError(f"JupyterLab did not answer within {seconds:g} s")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium, as Debian ships it."""
    from playwright.sync_api import sync_playwright

    path = _chromium()
    if path is None:
        pytest.fail("chromium is not installed: apt-get install chromium")
    quiet = ["--disable-gpu", "--disable-quic", "--disable-background-networking"]
    quiet += ["--disable-component-update", "--disable-sync"]
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=quiet)
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """A fresh page; requests to other machines and script errors fail the test."""
    context = browser.new_context(viewport={"width": 1280, "height": 1000})
    outside: list[str] = []

    def guard(route: Any) -> None:
        url = route.request.url
        if url.startswith(("http://127.0.0.1", "http://localhost", "data:", "blob:", "file:")):
            route.continue_()
        else:
            outside.append(url)
            route.abort()

    context.route("**/*", guard)
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
