"""Settings of the whole suite."""

import os

import pytest

from tests.chromium import browser, page, pytest_collection_modifyitems, pytest_runtest_makereport

__all__ = ["browser", "page", "pytest_collection_modifyitems", "pytest_runtest_makereport"]

# Workers share the cores: one thread each, or they wait for one another in every torch operation.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of the suite's own."""
    parser.addoption(
        "--write-docs", action="store_true", help="write what docs/ shows of measured results"
    )
