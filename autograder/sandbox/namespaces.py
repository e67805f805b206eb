"""Level 3: what a warden does to the world before its worker is forked.

The server already lives in a box that shows nothing but Python (see `outer`). Each worker gets, on
top, file systems of its own that are as large as its limits, an empty network, its own System V
objects and (from the server's fork) its own processes.
"""

from __future__ import annotations

import contextlib
import os
import shutil

from autograder.sandbox import kernel
from autograder.sandbox.order import Order

__all__ = ["FILES", "WORK", "become_nobody", "full", "prepare"]

FILES, WORK = "/files", "/tmp/work"
_RDONLY, _NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
_NOBODY = 65534
_SPARE_INODES = 16
_TERMINALS = "newinstance,ptmxmode=0666,mode=0620,max=16"


def prepare(order: Order) -> None:
    """Private mounts for one worker."""
    kernel.unshare(kernel.NEWNS | kernel.NEWIPC | kernel.NEWNET | kernel.NEWUTS)
    kernel.mount(None, "/", None, _REC | _PRIVATE)
    kernel.make_read_only("/")
    limits = order.limits
    room = order.room_bytes + limits.disk_bytes
    nodes = order.room_files + limits.files + _SPARE_INODES
    _fresh("/tmp", room, nodes, order.keep)
    _fresh("/dev/shm", min(limits.memory_bytes, limits.disk_bytes), limits.files, ())
    # Terminals of the server's own file system would be seen by all workers at once.
    kernel.mount("devpts", "/dev/pts", "devpts", _NOSUID | _NOEXEC, _TERMINALS)
    kernel.mount("proc", "/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    if order.files:
        shutil.copytree(FILES, WORK, symlinks=True)
    else:
        os.mkdir(WORK)
    os.chmod(WORK, 0o700)  # the copy of a folder that was closed to writing must be open
    if order.uid is not None:
        for folder, _, names in os.walk(WORK):
            for path in (folder, *(f"{folder}/{name}" for name in names)):
                os.chown(path, order.uid, order.uid, follow_symlinks=False)


def _fresh(target: str, size: int, nodes: int, keep: tuple[str, ...]) -> None:
    """A new memory file system over `target`; the folders `keep` below it stay visible."""
    kept = [path for path in keep if path.startswith(f"{target}/") and os.path.isdir(path)]
    opened = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in kept]
    options = f"size={size},nr_inodes={nodes + len(kept) * 8},mode=1777"
    kernel.mount("tmpfs", target, "tmpfs", _NOSUID | _NODEV, options)
    for path, fd in zip(kept, opened):
        os.makedirs(path, mode=0o755, exist_ok=True)
        kernel.mount(f"/proc/self/fd/{fd}", path, None, _BIND | _REC)
        os.close(fd)


def become_nobody() -> None:
    """A user namespace of the worker's own, in which it is nobody.

    It has its own count for `RLIMIT_NPROC`, which is why that limit is set afterwards: set before,
    it would count all that the teacher runs.
    """
    uid, gid = os.geteuid(), os.getegid()
    kernel.unshare(kernel.NEWUSER)
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{_NOBODY} {uid} 1"),
        ("gid_map", f"{_NOBODY} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def full(order: Order) -> str:
    """The limit of its file systems that a worker ran into, in words, or ""."""
    for place in ("/tmp", "/dev/shm"):
        with contextlib.suppress(OSError):
            state = os.statvfs(place)
            if state.f_bfree == 0:
                return f"files: {place} is full, over {order.limits.disk_bytes / 2**20:g} MB"
            if state.f_ffree == 0:
                return f"files: over {order.limits.files} in {place}"
    return ""
