"""A real JupyterLab for the tests that live a student's and a lecturer's day; one for all."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.chromium import ARTEFACTS, ROOT

__all__ = ["ARTEFACTS", "ROOT", "TOKEN", "LabServer"]

TOKEN = "a-token-for-tests"
_OFF = ("jupyter_lsp", "jupyter_server_terminals", "notebook_shim")


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
