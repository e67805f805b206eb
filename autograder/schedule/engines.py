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

DEFAULT = "sandbox"


@dataclass(frozen=True)
class Recipe:
    """What an engine is made from.

    Attributes:
        engine: its name in `ENGINES`.
        level: the level of the sandbox that is asked for, L3 to L1; "" for the best that the
            machine has.
        jobs: submissions at a time; threads: arithmetic threads for each.
    """

    engine: str = DEFAULT
    level: str = ""
    jobs: int = 1
    threads: int = 1


def _kernel(recipe: Recipe, files: Path | None, cache: Path) -> Engine:
    from autograder.kernels import KernelEngine

    return KernelEngine(files=files, cache=cache / "matplotlib", threads=recipe.threads)


def _sandbox(recipe: Recipe, files: Path | None, cache: Path) -> Engine:
    from autograder.judge.engine import SandboxEngine

    level = _level(recipe.level)
    engine = SandboxEngine(level=level, files=files, cache=cache / "sandbox", jobs=recipe.jobs)
    engine.level = f"L{level}"  # type: ignore[attr-defined]
    return engine


def _level(wanted: str) -> int:
    """The number of a level, the best that holds here for "".

    Raises:
        AutograderError: there is no such level, or none that holds here.
    """
    from autograder.sandbox import ladder

    if not wanted:
        try:
            return ladder.best().level
        except ladder.SandboxError as error:
            raise AutograderError(
                f"this machine cannot lock students' code in; to mend it: {ladder.cure(3)} "
                "(`autograder doctor` tells more). To grade without a sandbox, where students' "
                "code runs with your rights: --engine kernel"
            ) from error
    number = wanted.strip().upper().removeprefix("L")
    if number not in {str(level) for level in ladder.LEVELS}:
        known = "; ".join(f"L{level}: {what}" for level, what in ladder.LEVELS.items())
        raise AutograderError(f"no sandbox level {wanted!r}; there is {known}", code=2)
    return int(number)


ENGINES: dict[str, Callable[[Recipe, Path | None, Path], Engine]] = {
    "sandbox": _sandbox,
    "kernel": _kernel,
}
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
