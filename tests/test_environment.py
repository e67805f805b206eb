"""environment.yml is pyproject.toml for conda users: the same packages, the same ranges."""

import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
CONDA_NAMES = {"torch": "pytorch"}


def required() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    lines = [*project["project"]["dependencies"], *project["dependency-groups"]["dev"]]
    found = [Requirement(line) for line in lines]
    return {canonicalize_name(CONDA_NAMES.get(r.name, r.name)): r for r in found}


def offered() -> tuple[dict[str, Requirement], list[str]]:
    """Packages of environment.yml by name, from conda and pip alike, and pip's own options."""
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    lines = [line for line in environment["dependencies"] if isinstance(line, str)]
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    options = [line for line in pip if line.startswith("-")]
    found = [Requirement(line) for line in lines + pip if line not in options]
    return {canonicalize_name(r.name): r for r in found}, options


def test_no_package_is_missing_and_none_is_extra() -> None:
    packages, _ = offered()
    assert set(packages) - {"python", "pip"} == set(required())


@pytest.mark.parametrize("name", sorted(required()))
def test_ranges_agree(name: str) -> None:
    packages, _ = offered()
    assert packages[name].specifier == required()[name].specifier


def test_python_and_the_course_itself() -> None:
    packages, options = offered()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert str(packages["python"].specifier) == project["requires-python"]
    assert options == ["--editable ."]


def test_the_citation_names_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert citation["version"] == project["version"]
    assert f"## {project['version']}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
