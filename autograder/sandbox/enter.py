"""Make the outer box with system calls, then become the given program inside it.

`python -m autograder.sandbox.enter PLAN PROGRAM ARGUMENT...`, where PLAN is an `outer.Plan` as
JSON. This process stays outside and ends when the program does; the program is the first process of
its own namespace, so that all it started ends with it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys

from autograder.sandbox import kernel
from autograder.sandbox.outer import Plan, parents

__all__ = ["main"]

_NOSUID, _NODEV, _NOEXEC, _BIND, _REC, _PRIVATE = 2, 4, 8, 4096, 16384, 1 << 18
_DEVICES = ("null", "zero", "full", "random", "urandom")


def main() -> None:
    """Unshare, map, fork, build, exec."""
    plan = Plan(**json.loads(sys.argv[1]))
    uid, gid = os.geteuid(), os.getegid()
    kinds = kernel.NEWNS | kernel.NEWPID | kernel.NEWNET | kernel.NEWIPC | kernel.NEWUTS
    kernel.unshare(kinds if uid == 0 else kinds | kernel.NEWUSER)
    if uid != 0:
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)
    child = os.fork()
    if child == 0:
        kernel.die_with_parent(signal.SIGKILL)
        socket.sethostname("lab")
        _build(plan)
        kernel.gain_no_privileges()
        os.execv(sys.argv[2], sys.argv[2:])
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the line to the grader is the child's alone
    _, status = os.waitpid(child, 0)
    sys.exit(os.waitstatus_to_exitcode(status) & 0xFF)


def _build(plan: Plan) -> None:
    root = plan.root
    kernel.mount(None, "/", None, _REC | _PRIVATE)
    kernel.mount("tmpfs", root, "tmpfs", _NOSUID | _NODEV, "size=1m,mode=0755")
    os.makedirs(f"{root}/tmp")
    kernel.mount("tmpfs", f"{root}/tmp", "tmpfs", _NOSUID | _NODEV, "size=64m,mode=1777")
    bound = [*plan.readable, *plan.writable, *plan.at, *plan.empty]
    for path in (*parents(bound), *plan.empty, *plan.writable, "/dev", "/proc", "/.old"):
        if not any(path == top or path.startswith(f"{top}/") for top in plan.readable):
            os.makedirs(root + path, mode=0o755, exist_ok=True)
    for path in plan.readable:
        if os.path.islink(path):
            os.symlink(os.readlink(path), root + path)
        else:
            _bind(path, root + path)
    for inside, outside in plan.at.items():
        _bind(outside, root + inside)
    kernel.make_read_only(root, kernel.ATTR_NODEV)
    kernel.make_writable(f"{root}/tmp")
    for path in plan.writable:
        _bind(path, root + path)
    _devices(f"{root}/dev")
    kernel.mount("proc", f"{root}/proc", "proc", _NOSUID | _NODEV | _NOEXEC)
    os.chdir(root)
    kernel.pivot_root(".", ".old")
    kernel.umount("/.old")
    os.chdir("/")


def _bind(path: str, where: str) -> None:
    if not os.path.isdir(path) and not os.path.exists(where):
        with open(where, "w"):
            pass
    elif not os.path.exists(where):
        os.makedirs(where)
    kernel.mount(path, where, None, _BIND | _REC)


def _devices(folder: str) -> None:
    kernel.mount("tmpfs", folder, "tmpfs", _NOSUID, "size=64k,mode=0755")
    for name in _DEVICES:
        with open(f"{folder}/{name}", "w"):
            pass
        kernel.mount(f"/dev/{name}", f"{folder}/{name}", None, _BIND)
    for name in ("shm", "pts"):
        os.mkdir(f"{folder}/{name}", 0o755)
    os.symlink("pts/ptmx", f"{folder}/ptmx")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"{folder}/{name}")
    os.symlink("/proc/self/fd", f"{folder}/fd")
    kernel.make_read_only(folder)


if __name__ == "__main__":
    main()
