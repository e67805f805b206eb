"""The outer box of level 3: how to start the fork server where it sees nothing but Python.

bubblewrap where it is installed (some systems allow namespaces to it and to nothing else),
otherwise `enter`, which makes the same box with system calls. Inside, the server holds all rights
over its own namespaces, and none outside, unless it is the real root: then it is root in there, and
its workers become users of their own.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import asdict, dataclass

__all__ = ["Plan", "builders", "command"]

_TMP_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Plan:
    """What the box shows.

    Attributes:
        readable: paths bound read-only at their own place; links stay links.
        writable: the same, for the server itself; workers see it read-only.
        at: more read-only paths: place inside -> path outside.
        empty: folders that exist and hold nothing else.
        root: an empty folder outside, for building the new root on.
    """

    readable: tuple[str, ...]
    writable: tuple[str, ...]
    at: dict[str, str]
    empty: tuple[str, ...]
    root: str


def builders() -> list[str]:
    """Ways to make the box, the preferred one first."""
    return [*(["bwrap"] if shutil.which("bwrap") else []), "unshare"]


def command(builder: str, plan: Plan, server: list[str]) -> list[str]:
    """The command that starts `server` in the box."""
    if builder == "bwrap":
        return [*_bubblewrap(plan), "--", *server]
    return [sys.executable, "-m", "autograder.sandbox.enter", json.dumps(asdict(plan)), *server]


def parents(paths: list[str]) -> list[str]:
    """Folders that must be made before the paths can be bound, outermost first."""
    made: dict[str, None] = {}
    for path in paths:
        steps = []
        while (path := os.path.dirname(path)) not in ("/", ""):
            steps.append(path)
        made.update(dict.fromkeys(reversed(steps)))
    return list(made)


def _bubblewrap(plan: Plan) -> list[str]:
    words = [
        *("bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *("--unshare-cgroup-try", "--hostname", "lab"),
    ]
    if os.geteuid() != 0:
        # As anybody but its root, bubblewrap would put the server into a second user namespace
        # that does not own its process namespace.
        words += ["--unshare-user", "--uid", "0", "--gid", "0"]
    words += ["--cap-add", "ALL", "--dev", "/dev", "--proc", "/proc"]
    words += ["--perms", "1777", "--size", str(_TMP_BYTES), "--tmpfs", "/tmp"]
    bound = [*plan.readable, *plan.writable, *plan.at, *plan.empty]
    done: set[str] = {"/dev", "/proc", "/tmp"}
    for path in [*parents(bound), *plan.empty]:
        inside = any(path == top or path.startswith(f"{top}/") for top in plan.readable)
        if path not in done and not inside:  # without this they would be closed to all but root
            words += ["--perms", "0755", "--dir", path]
            done.add(path)
    for path in plan.readable:
        if os.path.islink(path):
            words += ["--symlink", os.readlink(path), path]
        else:
            words += ["--ro-bind", path, path]
    for path in plan.writable:
        words += ["--bind", path, path]
    for inside, outside in plan.at.items():
        words += ["--ro-bind", outside, inside]
    return [*words, "--remount-ro", "/", "--remount-ro", "/dev", "--chdir", "/"]
