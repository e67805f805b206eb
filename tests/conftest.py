"""Settings of the whole suite."""

import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.chromium import browser, page, pytest_collection_modifyitems, pytest_runtest_makereport

__all__ = ["browser", "page", "pytest_collection_modifyitems", "pytest_runtest_makereport"]

# Workers share the cores: one thread each, or they wait for one another in every torch operation.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# No time limit: a first example draws what later ones find drawn, on a machine with other work.
settings.register_profile("course", deadline=None)
settings.load_profile("course")


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder where lectures that ran are kept for all workers of this run of the suite."""
    if not hasattr(config, "workerinput"):
        os.environ["COURSE_CACHE"] = tempfile.mkdtemp(prefix="course-cache-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """Remove it."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["COURSE_CACHE"], ignore_errors=True)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the suite's own."""
    parser.addoption(
        "--write-docs", action="store_true", help="write what docs/ shows of measured results"
    )


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Iterator[None]:
    """Name what failed once more, a line each, below all reports: a cut log keeps its end."""
    yield
    failed = [
        report.nodeid
        for kind in ("failed", "error")
        for report in terminalreporter.stats.get(kind, [])
        if hasattr(report, "nodeid")
    ]
    if failed:
        terminalreporter.section("what failed")
        for name in dict.fromkeys(failed):
            terminalreporter.line(name)
