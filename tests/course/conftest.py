"""Every test of the library starts from the same random numbers."""

import sys

import pytest


@pytest.fixture(autouse=True)
def seeded():
    """Seed torch, where the test module has loaded it at all."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
