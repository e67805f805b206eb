"""What a result depends on, as hashes: equal key, equal result.

A key has two floors. The base covers all that every question depends on: the bytes that were handed
in, our cells except the tests, the files beside the lab, the limits, the engine with its level, the
grader and the library as they are on disk, and the packages that compute. On it stands one key per
test cell. So a changed test leaves the base as it is, and costs its own question only.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from autograder.limits import Limits
from autograder.template import Template, TemplateCell

__all__ = ["Keyring", "Keys", "digest_of", "environment", "environment_key"]

_COMPUTES = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-image", "matplotlib", "lightning-fabric"),
    *("ipython", "ipykernel", "nbclient", "pooch"),
)
_PACKAGES = ("course", "autograder")


@dataclass(frozen=True)
class Keys:
    """The keys of one submission.

    Attributes:
        base: what all its questions depend on.
        questions: grade id of each test cell → what that test adds to it.
    """

    base: str
    questions: Mapping[str, str]

    @property
    def whole(self) -> str:
        """The key of the complete result.

        >>> a, b = Keys("0", {"q": "1"}), Keys("0", {"q": "2"})
        >>> a.whole == b.whole, a.changed(b)
        (False, frozenset({'q'}))
        """
        return digest_of([self.base, dict(self.questions)])

    def changed(self, other: Keys) -> frozenset[str]:
        """The test cells that differ from another key of the same base."""
        ours, theirs = dict(self.questions), dict(other.questions)
        return frozenset(cell for cell in ours if ours[cell] != theirs.get(cell))


class Keyring:
    """Makes the keys of a class.

    Args:
        engine: name and level of the engine, see `autograder.schedule.engines.label_of`.
        files: path → content of the files that lie beside the lab.
    """

    def __init__(
        self,
        template: Template,
        limits: Limits,
        engine: str,
        files: Mapping[str, bytes] | None = None,
    ) -> None:
        beside = {name: _bytes_digest(data) for name, data in sorted((files or {}).items())}
        cells = [_skeleton(cell) for cell in template.cells]
        self._base = digest_of(
            [
                template.lab,
                template.kernel,
                cells,
                asdict(limits),
                engine,
                beside,
                environment_key(),
            ]
        )
        self._questions = {
            cell.grade_id: digest_of(_today(cell)) for cell in template.cells if cell.is_check
        }

    def of(self, notebook: bytes) -> Keys:
        """The keys of one submission, from its bytes."""
        return Keys(digest_of([self._base, _bytes_digest(notebook)]), self._questions)


def _skeleton(cell: TemplateCell) -> Any:
    """A cell as the base sees it: of a test, only that it is there."""
    return ["test", cell.grade_id] if cell.is_check else _today(cell)


def _today(cell: TemplateCell) -> dict[str, Any]:
    """A cell without its past, so that results hold again when a change is taken back."""
    return asdict(replace(cell, earlier=()))


def digest_of(value: Any) -> str:
    """SHA-256 of plain data, the same in every process.

    >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, default=str, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _bytes_digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@cache
def environment() -> dict[str, str]:
    """What computes here, by name: Python, packages with versions, our own sources as a hash."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    found["system"] = sys.platform
    for package in _COMPUTES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "none"
    for package in _PACKAGES:
        found[package] = _source_digest(package)[:16]
    return found


def _source_digest(package: str) -> str:
    """A package's sources as they are on disk: two checkouts may have the same version number."""
    spec = find_spec(package)
    folders = (spec.submodule_search_locations if spec else None) or []
    digest = hashlib.sha256()
    for folder, path in [(f, path) for f in folders for path in sorted(Path(f).rglob("*.py"))]:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


@cache
def environment_key() -> str:
    """One hash of `environment()`."""
    return digest_of(environment())
