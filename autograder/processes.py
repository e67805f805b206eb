"""End what a submission started: by its family tree, and by a mark in the environment."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys

import psutil

__all__ = ["JOB_MARK", "adopt_orphans", "kill_marked", "kill_tree"]

JOB_MARK = "AUTOGRADER_JOB"
_PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of what its children leave behind, where the system can.

    A daemon leaves its parent on purpose; on Linux it then comes here and is found by `kill_tree`.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_tree(pid: int, *, itself: bool = True) -> int:
    """Kill a process and all it started, until none is left; returns how many there were.

    Helpers that are about to end by themselves are given half a second and do not count.
    """
    killed = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        root = psutil.Process(pid)
        psutil.wait_procs(root.children(recursive=True), timeout=0.5)
        for _ in range(100):
            tree = root.children(recursive=True)
            for process in tree:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
                    killed += 1
            psutil.wait_procs(tree, timeout=0.5)
            if not tree:
                break
        if itself:
            root.kill()
    return killed


def kill_marked(mark: str) -> int:
    """Kill what carries a job's mark but left its tree; returns how many there were.

    Only where the system shows the environment of a process (Linux, macOS).
    """
    killed = 0
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(JOB_MARK) == mark and process.pid != os.getpid():
                process.kill()
                killed += 1
    return killed
