"""All cases, by family."""

from __future__ import annotations

from . import broken_files, cheating, honest_damaged, resources
from .case import CASES

__all__ = ["CASES", "FAMILIES"]

FAMILIES = ("honest", "broken", "resources", "cheating")
assert {case.family for case in CASES} == set(FAMILIES)
assert all((honest_damaged, broken_files, resources, cheating))
