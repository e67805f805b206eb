"""Level 2: Landlock, by which a process without any rights gives up most of what it could reach.

Of the kernel's interface, the third version (Linux 6.2) is the first in which a file cannot be
emptied behind its back, and the sixth (Linux 6.12) the first that keeps signals inside. With less
than the third there is no level 2; with less than the sixth only a real root has one, for it can
give every worker a user of its own.

Source: https://docs.kernel.org/userspace-api/landlock.html
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable

from autograder.sandbox import kernel

__all__ = ["SIGNALS", "TRUNCATE", "close_family", "confine", "version"]

TRUNCATE, SIGNALS = 3, 6
_CREATE, _ADD, _RESTRICT = 444, 445, 446
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read a file, list a folder
_OF_FILES = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14 | 1 << 15
_RIGHTS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL = (1 << 16) - 1  # from version 5, which adds ioctl on devices


def version() -> int:
    """The interface that this kernel offers; 0 when it has none or it is switched off."""
    try:
        return kernel.syscall(_CREATE, None, 0, 1)
    except OSError:
        return 0


def confine(
    readable: Iterable[str],
    writable: Iterable[str],
    *,
    devices: Iterable[str] = (),
    listed: Iterable[str] = (),
) -> None:
    """From here on, this process and all it starts reach only these files, and no network.

    It can neither trace nor (from the sixth version) signal what is outside. Rules of a second call
    can only take away.

    Args:
        readable: files and folders to read and to execute from; what is not there is skipped.
        writable: folders in which everything is allowed, except making devices.
        devices: files to read and write.
        listed: folders whose names (and those of all folders below) may be seen.

    Raises:
        OSError: the kernel refuses.
    """
    found = version()
    handled = _RIGHTS.get(found, _ALL)
    network = 3 if found >= 4 else 0  # binding and connecting of TCP
    scoped = 3 if found >= SIGNALS else 0  # abstract sockets and signals
    attributes = struct.pack("=QQQ", handled, network, scoped)
    size = 8 if found < 4 else 16 if found < SIGNALS else 24
    rules = kernel.syscall(_CREATE, attributes, size, 0)
    made = _ALL & ~(1 << 6 | 1 << 11)  # no character or block devices
    device = 1 << 1 | 1 << 2 | 1 << 15
    for paths, rights in (
        (readable, _READ),
        (writable, made),
        (devices, device),
        (listed, 1 << 3),
    ):
        for path in paths:
            _allow(rules, path, rights & handled)
    kernel.gain_no_privileges()
    kernel.syscall(_RESTRICT, rules, 0)
    os.close(rules)


def close_family() -> None:
    """From here on, this process and its descendants signal only each other (from version 6)."""
    rules = kernel.syscall(_CREATE, struct.pack("=QQQ", 0, 0, 2), 24, 0)
    kernel.gain_no_privileges()
    kernel.syscall(_RESTRICT, rules, 0)
    os.close(rules)


def _allow(rules: int, path: str, rights: int) -> None:
    if os.path.islink(path):
        return  # links may be followed without a right; a rule would open what they lead to
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    try:
        if not os.path.isdir(f"/proc/self/fd/{fd}") and not os.path.isdir(path):
            rights &= _OF_FILES
        kernel.syscall(_ADD, rules, 1, struct.pack("=QI", rights, fd), 0)
    finally:
        os.close(fd)
