"""What a family of processes uses, read from /proc."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

__all__ = ["Usage", "alive", "children", "measure", "memory", "stored"]

_TABLES = b"VmPTE"
_RESIDENT = (b"RssAnon", b"RssShmem", b"VmSwap", _TABLES)
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Usage:
    """What all processes of one worker have used or hold.

    Attributes:
        processor_seconds: used so far, by the dead ones too.
        resident_bytes: private and shared memory held above the imported libraries; pages that
            several of them share count once for each unless `exact` was asked for.
        processes: processes and threads alive.
        written_bytes: sent to a disk so far (a memory file system does not count).
    """

    processor_seconds: float
    resident_bytes: int
    processes: int
    written_bytes: int


def children(pid: int) -> list[int]:
    """All descendants of a process, nearest first."""
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):  # an option of the kernel
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(pid).children(recursive=True)]
        return []
    found, at = [pid], 0
    while at < len(found):
        folder = f"/proc/{found[at]}/task"
        at += 1
        try:
            for task in os.listdir(folder):
                with open(f"{folder}/{task}/children", "rb") as file:
                    found.extend(map(int, file.read().split()))
        except OSError:
            continue  # it ended while we looked
    return found[1:]


def alive(pid: int) -> bool:
    """Whether a process is there and is not just waiting to be buried."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False


def memory(pid: int) -> tuple[int, int]:
    """Writable data (as `RLIMIT_DATA` counts), and resident bytes that no file is behind.

    The tables of pages count, too: reading here and there in terabytes of nothing fills them.
    """
    data = resident = 0
    with open(f"/proc/{pid}/status", "rb") as file:
        for row in file:
            name, _, value = row.partition(b":")
            if name == b"VmData":
                data = int(value.split()[0]) << 10
            elif name in _RESIDENT:
                resident += int(value.split()[0]) << 10
    return data, resident


def _shared_fairly(pid: int) -> int:
    """Resident bytes, a page that n processes share counted as 1/n; slow (milliseconds).

    A process that hides its maps is charged for all it shares.
    """
    total = 0
    try:
        for path, names in (
            (f"/proc/{pid}/smaps_rollup", (b"Pss_Anon", b"Pss_Shmem", b"SwapPss")),
            (f"/proc/{pid}/status", (_TABLES,)),
        ):
            with open(path, "rb") as file:
                for row in file:
                    name, _, value = row.partition(b":")
                    if name in names:
                        total += int(value.split()[0]) << 10
    except PermissionError:
        return memory(pid)[1]
    return total


def _written(pid: int) -> int:
    with contextlib.suppress(PermissionError), open(f"/proc/{pid}/io", "rb") as file:
        return next((int(row.split()[1]) for row in file if row.startswith(b"write_bytes")), 0)
    return 0


def stored(folder: str, most: int) -> tuple[int, int]:
    """Bytes and number of all files and folders below a folder; counting ends above `most`.

    Raises:
        PermissionError: a folder in it cannot be looked into.
    """
    size = count = 0
    folders = [folder]
    while folders and count <= most:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    count += 1
                    if count > most:
                        break
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        size += entry.stat(follow_symlinks=False).st_blocks * 512
        except (FileNotFoundError, NotADirectoryError):
            continue  # deleted while we looked
    return size, count


def measure(warden: int, baseline: int, *, exact: bool = False) -> Usage:
    """The usage of all descendants of `warden`; its own time counts, for it buries the orphans.

    Args:
        warden: process number as seen here.
        baseline: resident bytes of a worker before its first line ran.
        exact: count shared pages once.
    """
    ticks = resident = tasks = written = 0
    for position, pid in enumerate([warden, *children(warden)]):
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            ticks += sum(map(int, fields[11:15]))
            if position == 0 or fields[0] in (b"Z", b"X"):
                continue
            tasks += int(fields[17])
            resident += _shared_fairly(pid) if exact else memory(pid)[1]
            written += _written(pid)
        except OSError:
            continue
    return Usage(ticks / _TICKS, max(0, resident - baseline), tasks, written)
