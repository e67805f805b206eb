"""The engines and sandbox levels that this machine has, best first."""

from __future__ import annotations

from autograder.classroom import Classroom
from autograder.execution import Engine
from autograder.grading import kernel_engine
from autograder.judge.engine import SandboxEngine

from .harness import EngineOf

__all__ = ["ENGINES", "best"]


def _kernel(classroom: Classroom, lab: str) -> Engine:
    return kernel_engine(classroom, lab, jobs=2)


def _box(level: int) -> EngineOf:
    def engine(classroom: Classroom, lab: str) -> Engine:
        files, cache = classroom.release(lab).parent, classroom.root / ".autograder" / "cache"
        return SandboxEngine(level=level, files=files, cache=cache, jobs=2)

    return engine


ENGINES: dict[str, EngineOf] = {"L3": _box(3), "L2": _box(2), "kernel": _kernel}


def best() -> str:
    """Name of the safest one."""
    return next(iter(ENGINES))
