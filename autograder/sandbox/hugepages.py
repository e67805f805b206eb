"""Make forks of a large process cheap: hold its memory in pages of 2 MB.

A fork copies one entry for each page of private memory, and the end of the child visits each again:
80,000 pages of 4 kB after `import torch`, 18 ms of processor time for a fork and its end. In large
pages the same takes 7 ms. What a child writes to is still copied in pages of 4 kB. Collapsing costs
as much as some thirty forks save, so it is done piece by piece, from the eighth worker on: a class
gains, a single notebook does not wait.
"""

from __future__ import annotations

import ctypes

__all__ = ["LargePages"]

_HUGE = 1 << 21
_PIECE = 16 * _HUGE
_MADV_COLLAPSE = 25  # from Linux 6.1 on
_WORKERS_BEFORE = 8


class LargePages:
    """Turns this process's private memory into large pages, a piece at every call of `step`."""

    def __init__(self) -> None:
        self._asked = 0
        self._pieces: list[tuple[int, int]] | None = None
        self._madvise = ctypes.CDLL(None, use_errno=True).madvise
        self.collapsed = 0

    def step(self) -> None:
        """Called before each fork; does nothing at first, and nothing any more at the end."""
        self._asked += 1
        if self._asked <= _WORKERS_BEFORE or self._pieces == []:
            return
        if self._pieces is None:
            self._pieces = list(_private_memory())
        if not self._pieces:
            return
        start, size = self._pieces.pop()
        address, length = ctypes.c_void_p(start), ctypes.c_size_t(size)
        if self._madvise(address, length, _MADV_COLLAPSE) == 0:
            self.collapsed += size
        # A piece that cannot be collapsed stays as it is: nothing but speed depends on it.


def _private_memory() -> list[tuple[int, int]]:
    """Address and size of pieces of the heap and of other memory that no file is behind."""
    pieces = []
    with open("/proc/self/maps") as file:
        for row in file:
            place, rights, *rest = row.split()
            name = rest[3] if len(rest) > 3 else ""
            if name not in ("", "[heap]") or not rights.startswith("rw") or rights[3] != "p":
                continue
            start, end = (int(text, 16) for text in place.split("-"))
            start, end = -(-start // _HUGE) * _HUGE, end // _HUGE * _HUGE
            pieces += [(at, min(_PIECE, end - at)) for at in range(start, end, _PIECE)]
    return pieces
