"""What one submission may cost."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True)
class Limits:
    """Limits of one submission; what hits one loses its question, not the others.

    Processor time is what counts for a cell, so that a busy machine costs nobody points; the clock
    has a limit of its own (three times as long) because a sleeping cell uses no processor.

    Attributes:
        cell_seconds: processor seconds of one cell.
        check_seconds: seconds by the clock for one check cell, with all that it calls; three times
            `cell_seconds` at most.
        total_seconds: seconds by the clock for the whole notebook.
        memory_bytes: what all processes of the submission may hold above the imported libraries.
            One process alone is refused more with a clean `MemoryError`.
        processes: processes and threads alive at once.
        file_bytes: the largest file that it may write.
        disk_bytes: all that it may keep in files.
        files: how many files and folders it may create.
        output_bytes: what one cell may print or show.
    """

    cell_seconds: float = 60.0
    check_seconds: float = 60.0
    total_seconds: float = 600.0
    memory_bytes: int = 4 * 2**30
    processes: int = 32
    file_bytes: int = 64 * 2**20
    disk_bytes: int = 256 * 2**20
    files: int = 10_000
    output_bytes: int = 2**20

    @property
    def longest_cell(self) -> float:
        """How long one cell may take by the clock."""
        return 3 * self.cell_seconds

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"{name} must be positive, got {value}")
