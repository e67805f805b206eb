"""The browser of `tests/browser`, for reading the site as a visitor does."""

from tests.browser.conftest import browser, chromium_missing, page, pytest_runtest_makereport

__all__ = ["browser", "chromium_missing", "page", "pytest_runtest_makereport"]
