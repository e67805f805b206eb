"""Lectures that have run are kept: one whose text, library and settings stayed the same runs once.

They lie in the user's cache folder, or where `COURSE_CACHE` says; each section keeps one run per
set of variables, so the folder does not grow. Whoever wants a fresh run deletes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from course.lectures.catalogue import Lecture
from course.lectures.execute import execute

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["executed"]

CACHE_AT = "COURSE_CACHE"
_LIBRARY = Path(__file__).parents[1]
_PACKAGES = (
    *("torch", "torchvision", "numpy", "scipy", "scikit-image", "matplotlib", "pillow"),
    *("ipython", "ipykernel"),
)


def executed(
    lecture: Lecture,
    variables: Mapping[str, str] | None = None,
    *,
    threads: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> NotebookNode:
    """The lecture with what its cells show: as it is kept, or run now and then kept.

    Args and errors are those of `course.lectures.execute.execute`.
    """
    told = json.dumps(sorted((variables or {}).items()))
    kind = hashlib.sha256(told.encode()).hexdigest()[:8]
    place, key = _folder() / f"{lecture.name}-{kind}.json", _digest(lecture, told)
    notebook = _read(place, key)
    if notebook is None:
        notebook = execute(lecture, variables, threads=threads, progress=progress)
        _write(place, key, notebook)
    return notebook


def _read(place: Path, key: str) -> NotebookNode | None:
    """What is kept, or None where it is missing, older than the library, or torn."""
    import nbformat

    try:
        kept = json.loads(place.read_text(encoding="utf-8"))
        notebook: Any = nbformat.from_dict(kept["notebook"])
        return notebook if kept["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write(place: Path, key: str, notebook: NotebookNode) -> None:
    part = place.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    with contextlib.suppress(OSError):  # a full disk, or one that is not ours, costs no lecture
        place.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(json.dumps({"key": key, "notebook": notebook}), encoding="utf-8")
        os.replace(part, place)


def _folder() -> Path:
    if named := os.environ.get(CACHE_AT):
        return Path(named) / "lectures"
    import pooch

    return Path(pooch.os_cache("segmentation-course")) / "lectures"


def _digest(lecture: Lecture, told: str) -> str:
    """Of all that an output can come from: the text, the library, and what it stands on."""
    versions = [platform.python_version(), *(f"{name} {version(name)}" for name in _PACKAGES)]
    digest = hashlib.sha256("\n".join([lecture.source, told, *versions]).encode())
    for path in sorted(_LIBRARY.rglob("*")):
        other = path.parent.name == "lectures" and path.name[:2].isdigit()
        if path.is_file() and path.suffix != ".pyc" and not other:
            digest.update(f"\n{path.relative_to(_LIBRARY).as_posix()}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
