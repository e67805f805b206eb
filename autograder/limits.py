"""What one submission may cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Limits of one submission; what hits one loses its question, not the others.

    Attributes:
        cell_seconds: processor time of one cell, and a third of its time by the clock, so that a
            busy machine costs nobody points.
        total_seconds: the whole notebook, by the clock.
        memory_bytes: data of one process, as `RLIMIT_DATA` counts it.
        file_bytes: the largest file it may write.
        output_bytes: what one cell may print or show.
    """

    cell_seconds: float = 60.0
    total_seconds: float = 600.0
    memory_bytes: int = 4 * 2**30
    file_bytes: int = 2**30
    output_bytes: int = 2**20

    @property
    def longest_cell(self) -> float:
        """How long one cell may take by the clock."""
        return 3 * self.cell_seconds

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
