"""What the doctor's probes run inside a box: attacks that must fail.

Each is called in a fresh worker with a dictionary of what is outside, tries in earnest, and returns
what it got hold of: an empty list when the box held.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["ATTACKS", "run"]

_SECONDS = 0.5
_PTRACE_SEIZE = 0x4206
_NETWORK_WAIT = 0.5


def run(channel: socket.socket, arguments: bytes) -> None:
    """Run the attack named in the arguments and send what it got, as JSON."""
    outside = json.loads(arguments)
    found = ATTACKS[outside["attack"]](outside)
    channel.sendall(json.dumps(found).encode())


def write(outside: dict[str, Any]) -> list[str]:
    """Change, create, rename, delete or close off a file outside."""
    got = []
    victim, folders = outside["victim"], outside["folders"]
    tries: list[tuple[str, Callable[[], object]]] = [
        ("appended to", lambda: _write(victim, "a")),
        ("overwrote", lambda: _write(victim, "r+")),
        ("truncated", lambda: os.truncate(victim, 0)),
        ("renamed", lambda: os.rename(victim, victim + ".old")),
        ("deleted", lambda: os.unlink(victim)),
        ("linked", lambda: os.link(victim, "stolen")),
    ]
    for what, action in tries:
        with contextlib.suppress(OSError):
            action()
            got.append(f"{what} {victim}")
    for folder in folders:
        with contextlib.suppress(OSError):
            _write(f"{folder}/probe-was-here", "w")
            got.append(f"created a file in {folder}")
    return got


def _write(path: str, mode: str) -> None:
    with open(path, mode) as file:
        file.write("x")


def read(outside: dict[str, Any]) -> list[str]:
    """Read a secret by its path and round several corners."""
    secret = outside["secret"]
    os.symlink(secret, "link")
    roots = ["", "/proc/1/root", "/proc/self/root", f"/proc/{os.getppid()}/root", "/proc/1/cwd"]
    roots += [f"/proc/{pid}/root" for pid in outside["pids"]]
    got = []
    for path in (*(root + secret for root in roots), "link", "../" * 12 + secret[1:]):
        with contextlib.suppress(OSError), open(path) as file:
            got.append(f"read {path}: {file.read()[:8]}…")
    for pid in outside["pids"]:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            file.read(1)
            got.append(f"read the environment of process {pid}")
    return got


def connect(outside: dict[str, Any]) -> list[str]:
    """Reach a listener on this machine, by network and by local socket."""
    got = []
    families = [(socket.AF_INET, ("127.0.0.1", outside["port"]))]
    families += [(socket.AF_UNIX, path) for path in outside["local"]]
    for family, address in families:
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
            with contextlib.suppress(OSError), socket.socket(family, kind) as sock:
                sock.settimeout(_NETWORK_WAIT)
                sock.connect(address)
                got.append(f"connected to {address}")
    for family in (socket.AF_INET6, socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_RAW):
            got.append(f"opened a socket of {socket.AddressFamily(family).name}")
    return got


def interfere(outside: dict[str, Any]) -> list[str]:
    """Signal, trace or starve the grader and the server."""
    libc = ctypes.CDLL(None, use_errno=True)
    got = []
    groups = []
    for pid in outside["pids"]:
        with contextlib.suppress(OSError):
            groups.append(-os.getpgid(pid))
    for pid in (*outside["pids"], os.getppid(), *groups):
        with contextlib.suppress(OSError):
            os.kill(pid, 0)
            if pid != 1:  # the first process of a family of our own is deaf to signals from inside
                got.append(f"could signal {pid}")
        if pid > 0 and libc.ptrace(_PTRACE_SEIZE, pid, 0, 0) == 0:
            got.append(f"traced {pid}")
        with contextlib.suppress(OSError):
            os.close(os.open(f"/proc/{pid}/mem", os.O_RDWR))
            got.append(f"opened the memory of {pid}")
        with contextlib.suppress(OSError, ValueError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE)
            got.append(f"read the limits of {pid}")
    return got


def fork(outside: dict[str, Any]) -> list[str]:
    """Start more processes than allowed."""
    born: list[int] = []
    with contextlib.suppress(OSError):
        while len(born) < 4 * outside["processes"]:
            pid = os.fork()
            if pid == 0:
                time.sleep(60)
                os._exit(0)
            born.append(pid)
    time.sleep(_SECONDS)  # where all share a user, it is the watch that ends this
    for pid in born:
        os.kill(pid, signal.SIGKILL)
    most = outside["processes"]
    return [f"had {len(born) + 1} processes, {most} allowed"] if len(born) >= most else []


def allocate(outside: dict[str, Any]) -> list[str]:
    """Hold more memory than allowed, in one process and then in several."""
    try:
        block = bytearray(2 * outside["memory"])
    except MemoryError:
        block = None
    if block is not None:
        return ["allocated twice the limit in one process"]
    for _ in range(4):
        if os.fork() == 0:
            hoard = bytearray(outside["memory"] // 2)
            hoard[::4096] = b"x" * len(hoard[::4096])
            time.sleep(60)
            os._exit(0)
    time.sleep(60)  # the watch kills us long before
    return ["held twice the limit in four processes"]


def look(outside: dict[str, Any]) -> list[str]:
    """See processes that are not one's own."""
    return [f"saw {line}" for line in _strangers(outside["pids"])]


def _strangers(pids: list[int]) -> Iterator[str]:
    listed: list[str] = []
    with contextlib.suppress(OSError):
        listed = [name for name in os.listdir("/proc") if name.isdigit()]
    for pid in {*map(int, listed), *pids} - {1, os.getpid()}:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
            yield f"process {pid}: {file.read(40).decode(errors='replace')}"


ATTACKS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "write": write,
    "read": read,
    "connect": connect,
    "interfere": interfere,
    "fork": fork,
    "allocate": allocate,
    "look": look,
}
