"""What this machine lacks, why it matters, and the command that mends it.

Each check is a function that returns one `Finding`. Only what `release`, `run`, `grade` or `demo`
cannot do without is "broken"; what narrows them (no browser, a lower level of the sandbox) is
"weak".
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from autograder.errors import AutograderError
from autograder.layout import find_layout

if TYPE_CHECKING:
    from autograder.sandbox.probes import Report

OK, WEAK, BROKEN = "ok", "weak", "broken"
_PYTHON = (3, 11)
_FREE_NEEDED, _FREE_WISHED = 0.5, 5.0  # GB: a class of notebooks; an environment and data sets
_SYNC = "uv sync, or: pip install -e ."


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Attributes:
        what: the thing that was looked at.
        state: "ok", "weak" or "broken".
        found: what is there.
        cure: the command that mends it, or "".
    """

    what: str
    state: str
    found: str
    cure: str = ""


def python() -> Finding:
    """The interpreter is new enough."""
    found = sys.version.split()[0]
    if sys.version_info[:2] >= _PYTHON:
        return Finding("Python", OK, found)
    needed = ".".join(map(str, _PYTHON))
    return Finding("Python", BROKEN, f"{found}, {needed} is needed", f"uv python install {needed}")


_PROBE = """
import json, torch, torchvision
from torchvision.ops import nms
nms(torch.tensor([[0., 0., 1., 1.]]), torch.ones(1), 0.5)
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print(json.dumps([torch.__version__, torchvision.__version__, gpus]))
"""


def torch() -> Iterator[Finding]:
    """torch and torchvision come from matching builds; a mismatch shows only in a compiled op."""
    result = _output([sys.executable, "-c", _PROBE], timeout=180)
    try:
        versions = json.loads(result.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        last = (result.stderr.strip().splitlines() or ["no answer"])[-1]
        cure = "uv pip install --reinstall torch torchvision (both from the same index)"
        yield Finding("torch + torchvision", BROKEN, last, cure)
        return
    yield Finding("torch + torchvision", OK, f"{versions[0]} + {versions[1]}")
    gpus = ", ".join(versions[2])
    yield Finding("CUDA", OK, gpus or "no device; every lab runs on the processor")


def nbgrader() -> Finding:
    """nbgrader is of the series that the grader is tested with, and can make a database."""
    try:
        found = version("nbgrader")
    except PackageNotFoundError:
        return Finding("nbgrader", BROKEN, "not installed", _SYNC)
    if not found.startswith("0.9."):
        cure = 'uv pip install "nbgrader>=0.9.5,<0.10"'
        return Finding("nbgrader", BROKEN, f"{found}, 0.9 is needed", cure)
    own = Path(sysconfig.get_path("scripts")) / "alembic"
    if shutil.which("alembic"):
        return Finding("nbgrader", OK, f"{found}, alembic on PATH")
    if own.exists() or own.with_suffix(".exe").exists():
        return Finding("nbgrader", OK, f"{found}, alembic beside this Python")
    return Finding("nbgrader", BROKEN, f"{found}, but no program alembic", "uv pip install alembic")


def kernel() -> Finding:
    """The kernel named python3 is this Python, not the one of an older environment."""
    install = f"{sys.executable} -m ipykernel install --sys-prefix"
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return Finding("kernel python3", BROKEN, "jupyter_client is not installed", _SYNC)
    try:
        command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    except NoSuchKernel:
        return Finding("kernel python3", BROKEN, "not found", install)
    # Jupyter starts this very Python for a bare name. Folders are compared, for python3 is a link.
    if command in ("python", "python3") or Path(command).parent == Path(sys.executable).parent:
        return Finding("kernel python3", OK, sys.executable)
    return Finding("kernel python3", BROKEN, f"starts {command}, not {sys.executable}", install)


@functools.cache
def boxes() -> tuple[Report, ...]:
    """Every level of the sandbox, attacked from inside; none where there can be none."""
    if sys.platform != "linux":
        return ()
    from autograder.sandbox.ladder import reports

    return tuple(reports())


def sandbox() -> Finding:
    """Students' code can be confined: the best level that stood every attack."""
    tried = boxes()
    if not tried:
        cure = "WSL 2 on Windows, or a Linux container or machine"
        return Finding("sandbox", WEAK, f"none on {sys.platform}: grading needs Linux", cure)
    from autograder.sandbox import ladder

    best = next((report for report in tried if report.held), None)
    if best is None or best.level < 2:
        found = f"no level holds: {ladder.reason(tried[0])}"
        return Finding("sandbox", BROKEN, found, ladder.cure(3))
    how = f" by {best.builder}" if best.builder else ""
    found = f"level {best.level} ({ladder.LEVELS[best.level]}){how}"
    if best.level < max(ladder.LEVELS):
        return Finding("sandbox", WEAK, f"{found}; level 3: {tried[0].error}", ladder.cure(3))
    return Finding("sandbox", OK, found)


def chromium() -> Finding:
    """A browser for the tests that drive JupyterLab and for PDF reports."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next((path for name in names if (path := shutil.which(name))), None)
    bundled = Path.home() / ".cache" / "ms-playwright"
    if not found and bundled.is_dir():
        found = next((str(path) for path in bundled.glob("chromium*")), None)
    if found:
        return Finding("Chromium", OK, found)
    cure = "apt-get install chromium, or: playwright install chromium"
    return Finding("Chromium", WEAK, "missing: browser tests are skipped", cure)


def fonts() -> Finding:
    """Fonts of the system; matplotlib brings its own, a browser does not."""
    program = shutil.which("fc-list")
    if not program:
        return Finding("fonts", OK, "matplotlib's own (no fontconfig here)")
    families = set(_output([program, ":", "family"], timeout=20).stdout.splitlines())
    if families:
        return Finding("fonts", OK, f"{len(families)} families")
    return Finding("fonts", WEAK, "none: a browser shows boxes", "apt-get install fonts-dejavu")


def bytecode() -> Finding:
    """Compiled modules: without them the first import of torch takes several times as long."""
    spec = importlib.util.find_spec("torch")
    if not spec or not spec.origin:
        return Finding("bytecode", WEAK, "torch is not installed", _SYNC)
    if Path(importlib.util.cache_from_source(spec.origin)).exists():
        return Finding("bytecode", OK, "compiled")
    folder = Path(spec.origin).parents[1]
    cure = f"{sys.executable} -m compileall -q -j 0 {folder}"
    return Finding("bytecode", WEAK, "not compiled: first imports are slow", cure)


def folders(course: Path | None = None) -> Iterator[Finding]:
    """The course can be written to, and there is room."""
    try:
        root = find_layout(course).root
    except AutograderError as error:
        yield Finding("course folder", BROKEN, str(error), "change to the repository, or --course")
        return
    # Tried, not asked: permission bits do not tell about quotas and read-only mounts.
    for what, folder in (
        ("course folder", root),
        ("temporary folder", Path(tempfile.gettempdir())),
    ):
        try:
            with tempfile.TemporaryFile(dir=folder) as file:
                file.write(b"x")
            yield Finding(what, OK, str(folder))
        except OSError as error:
            cure = f"chmod u+w {folder}" if what == "course folder" else "set TMPDIR"
            yield Finding(what, BROKEN, f"{folder}: {error.strerror}", cure)
    free = shutil.disk_usage(root).free / 1e9
    state = BROKEN if free < _FREE_NEEDED else WEAK if free < _FREE_WISHED else OK
    cure = "" if state == OK else f"free some space: du -xh {root} | sort -h | tail"
    yield Finding("free disk", state, f"{free:.1f} GB", cure)


def data() -> Finding:
    """The optional real data sets."""
    folder = os.environ.get("COURSE_DATA")
    if not folder:
        return Finding("COURSE_DATA", OK, "not set; synthetic scenes need no data")
    if Path(folder).is_dir():
        return Finding("COURSE_DATA", OK, f"{folder}: {len(os.listdir(folder))} entries")
    cure = f"mkdir -p {folder}, or: unset COURSE_DATA"
    return Finding("COURSE_DATA", WEAK, f"{folder} is no folder", cure)


def diagnose(course: Path | None = None) -> Iterator[Finding]:
    """All checks, the quick ones first."""
    for check in (python, nbgrader, kernel, chromium, fonts, bytecode, data, sandbox):
        yield check()
    yield from folders(course)
    yield from torch()


def _output(command: list[str], *, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run a program; one that hangs or cannot start counts as failed with its reason."""
    try:
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout, check=False, errors="replace"
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return subprocess.CompletedProcess(command, 1, "", str(error))
