"""Engines by name, and the recipe from which one is made here or on another machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from autograder.errors import AutograderError
from autograder.execution import Engine

__all__ = [
    "DEFAULT",
    "ENGINES",
    "Recipe",
    "default_jobs",
    "files_beside",
    "label_of",
    "make_engine",
]

DEFAULT = "kernel"


@dataclass(frozen=True)
class Recipe:
    """What an engine is made from.

    Attributes:
        engine: its name in `ENGINES`.
        level: the level of the sandbox that is asked for, "" for the best that the machine has.
        threads: arithmetic threads per submission.
    """

    engine: str = DEFAULT
    level: str = ""
    threads: int = 1


def _kernel(recipe: Recipe, files: Path | None, cache: Path) -> Engine:
    from autograder.kernels import KernelEngine

    return KernelEngine(files=files, cache=cache / "matplotlib", threads=recipe.threads)


ENGINES: dict[str, Callable[[Recipe, Path | None, Path], Engine]] = {"kernel": _kernel}
"""Name → how to make it from a recipe, the folder with the lab's files and a folder for caches."""


def make_engine(recipe: Recipe, files: Path | None, cache: Path) -> Engine:
    """An engine as the recipe says.

    Raises:
        AutograderError: there is no such engine, or this machine cannot have it.
    """
    if recipe.engine not in ENGINES:
        known = ", ".join(sorted(ENGINES))
        raise AutograderError(f"no engine {recipe.engine!r}; there is {known}", code=2)
    return ENGINES[recipe.engine](recipe, files, cache)


def label_of(engine: Engine) -> str:
    """Name and level of an engine: what its results depend on.

    >>> class Fake:
    ...     name, level = "sandbox", "L3"
    >>> label_of(Fake())
    'sandbox L3'
    """
    level = getattr(engine, "level", "")
    return f"{engine.name} {level}" if level else engine.name


def default_jobs() -> int:
    """Submissions at a time: one per core that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, len(affinity(0)) if affinity else os.cpu_count() or 1)


def files_beside(folder: Path) -> dict[str, bytes]:
    """The files that belong to a lab: path relative to its folder → content, no notebooks."""
    if not folder.is_dir():
        return {}
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if path.suffix != ".ipynb"
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    }
