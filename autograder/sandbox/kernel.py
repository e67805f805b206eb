"""The system calls that Python has no name for, through ctypes."""

from __future__ import annotations

import ctypes
import os
import platform
import struct

__all__ = [
    "ATTR_NODEV",
    "DAC_READ_SEARCH",
    "NEWCGROUP",
    "NEWIPC",
    "NEWNET",
    "NEWNS",
    "NEWPID",
    "NEWUSER",
    "NEWUTS",
    "adopt_orphans",
    "die_with_parent",
    "drop_bounding",
    "drop_capabilities",
    "gain_no_privileges",
    "hide_memory",
    "keep_capabilities",
    "make_read_only",
    "make_writable",
    "mount",
    "pivot_root",
    "prctl",
    "setns",
    "syscall",
    "umount",
    "unshare",
]

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
_PDEATHSIG, _SET_DUMPABLE, _KEEPCAPS, _CAPBSET_DROP, _SUBREAPER, _NO_NEW_PRIVS, _AMBIENT = (
    1,
    4,
    8,
    24,
    36,
    38,
    47,
)
_MOUNT_SETATTR, _AT_FDCWD, _AT_RECURSIVE = 442, -100, 0x8000
_ATTR_RDONLY, _ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
_CAPABILITY_VERSION = 0x20080522
DAC_READ_SEARCH = 2

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else os.fsencode(text)


def syscall(number: int, *arguments: int | bytes | ctypes.Array | None) -> int:
    """A system call by its number. Raises `OSError`."""
    wide = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(_libc.syscall(ctypes.c_long(number), *wide), f"system call {number}")


def prctl(option: int, *arguments: int) -> int:
    """`prctl(2)`; raises `OSError`."""
    wide = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(_libc.prctl(option, *wide), f"prctl {option}")


def unshare(flags: int) -> None:
    """Leave the namespaces in `flags` for fresh ones."""
    _checked(_libc.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Enter the namespace behind a descriptor of /proc/PID/ns."""
    _checked(_libc.setns(fd, kind), "setns")


def mount(
    source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str = ""
) -> None:
    """`mount(2)`."""
    result = _libc.mount(
        _bytes(source), _bytes(target), _bytes(kind), ctypes.c_ulong(flags), _bytes(data)
    )
    _checked(result, f"mount {kind or source or ''} on {target}")


def umount(target: str, flags: int = 2) -> None:
    """Take a mount away, lazily."""
    _checked(_libc.umount2(_bytes(target), flags), f"umount {target}")


def make_read_only(target: str, more: int = 0) -> None:
    """Everything mounted at and below `target` becomes read-only and gives no set-user-id rights.

    Raises:
        OSError: the kernel is older than 5.12.
    """
    attributes = struct.pack("=QQQQ", _ATTR_RDONLY | _ATTR_NOSUID | more, 0, 0, 0)
    arguments = (_AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, attributes, len(attributes))
    syscall(_MOUNT_SETATTR, *arguments)


def make_writable(target: str) -> None:
    """One mount, without those below it, may be written to again."""
    attributes = struct.pack("=QQQQ", 0, _ATTR_RDONLY, 0, 0)
    syscall(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), 0, attributes, len(attributes))


def pivot_root(new: str, old: str) -> None:
    """Make `new` the root; the old one appears at `old`, which lies below `new`."""
    number = 155 if platform.machine() == "x86_64" else 41
    syscall(number, os.fsencode(new), os.fsencode(old))


def adopt_orphans() -> None:
    """What a child leaves behind comes here, not to the system's first process."""
    prctl(_SUBREAPER, 1)


def die_with_parent(signal: int) -> None:
    """Be killed when the process (more exactly the thread) that forked this one ends."""
    prctl(_PDEATHSIG, signal)


def gain_no_privileges() -> None:
    """No program started from here on gives more rights than this process has."""
    prctl(_NO_NEW_PRIVS, 1)


def hide_memory(hidden: bool) -> None:
    """Whether /proc lets others of the same user into this process; forks are like it."""
    prctl(_SET_DUMPABLE, 0 if hidden else 1)


def keep_capabilities() -> None:
    """The next change of user leaves the permitted capabilities."""
    prctl(_KEEPCAPS, 1)


def drop_bounding(keep: tuple[int, ...] = ()) -> None:
    """No program started from here on can gain a capability, but for `keep`."""
    for number in range(64):
        if number not in keep and _libc.prctl(_CAPBSET_DROP, ctypes.c_ulong(number), 0, 0, 0) < 0:
            break  # the last one of this kernel, or there is no right to drop, nor one to gain


def drop_capabilities(keep: tuple[int, ...] = ()) -> None:
    """Give up all capabilities for good; `keep` ones stay, for this process and its children."""
    _libc.prctl(_AMBIENT, ctypes.c_ulong(4), 0, 0, 0)
    mask = sum(1 << number for number in keep)
    header = ctypes.create_string_buffer(struct.pack("=Ii", _CAPABILITY_VERSION, 0))
    sets = ctypes.create_string_buffer(struct.pack("=6I", mask, mask, mask, 0, 0, 0))
    _checked(_libc.capset(header, sets), "capset")
    for number in keep:
        prctl(_AMBIENT, 2, number)
