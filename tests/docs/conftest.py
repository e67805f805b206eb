"""The browser of `tests/browser`, for reading the site as a visitor does."""

from tests.browser.conftest import (
    browser,
    page,
    pytest_collection_modifyitems,
    pytest_runtest_makereport,
)

__all__ = ["browser", "page", "pytest_collection_modifyitems", "pytest_runtest_makereport"]
