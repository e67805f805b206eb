"""A filter of system calls, as the kernel's own small programs (classic BPF), through ctypes.

What a notebook never needs and what an attack on the kernel, on other processes or on the network
begins with is refused. Written by hand rather than with a library: the bindings of libseccomp need
a compiler or a package of the system, and the program is a list of comparisons.

Numbers: the kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and
`include/uapi/asm-generic/unistd.h`; calls newer than Linux 5.0 have one number everywhere.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import socket
import struct

from autograder.sandbox import kernel

__all__ = ["install", "no_programs", "number", "program"]

_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_LOAD, _JEQ, _JGE, _JSET, _AND, _RET = 0x20, 0x15, 0x35, 0x45, 0x54, 0x06
_NR, _ARCH = 0, 4
_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SET_DUMPABLE, _SET_SECCOMP, _FILTER = 4, 22, 2
_NEW_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag of clone(2)

# name: (x86_64, aarch64); None where the call does not exist.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "socket": (41, 198),
    "connect": (42, 203),
    "bind": (49, 200),
    "socketpair": (53, 199),
    "clone": (56, 220),
    "clone3": (435, 435),
    "prlimit64": (302, 261),
    "prctl": (157, 167),
    "ioctl": (16, 29),
    "fcntl": (72, 25),
    "memfd_create": (319, 279),
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # the kernel itself
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "query_module": (178, None),
    "get_kernel_syms": (177, None),
    "syslog": (103, 116),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "_sysctl": (156, None),
    "nfsservctl": (180, 42),
    "lookup_dcookie": (212, 18),
    "personality": (135, 92),
    "vhangup": (153, 58),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    # keys, which no namespace confines
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "open_tree_attr": (467, 467),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "mknod": (133, None),
    "mknodat": (259, 33),
    # memory that no limit counts: it lives outside of processes
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
    # metadata and other processes of one's own user: only where no namespace hides them
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "setxattrat": (463, 463),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setaffinity": (203, 122),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
}
_SPECIAL = (
    *("socket", "connect", "bind", "socketpair", "clone", "clone3", "prlimit64", "prctl", "ioctl"),
    *("fcntl", "memfd_create"),
)
_HIDDEN_BY_NAMESPACES = set(list(_NUMBERS)[list(_NUMBERS).index("chmod") :])
_PRETENDED = {
    name
    for name in _HIDDEN_BY_NAMESPACES
    if not name.startswith(("sched_", "setpriority", "ioprio"))
}
_PROGRAMS = ((59, 221), (322, 281))  # execve, execveat
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_F_SETOWN, _F_SETSIG, _F_SETOWN_EX = 8, 10, 15


def program(machine: str, *, namespaces: bool) -> bytes:
    """The filter for a machine.

    Args:
        machine: "x86_64" or "aarch64".
        namespaces: True where namespaces already hide other people's files, processes and sockets.
            Without them, local sockets are refused too (any service of the same user could be
            asked to act), and changes of modes, owners and times succeed without effect.

    Raises:
        ValueError: an architecture that this table does not know.
    """
    if machine not in _ARCHITECTURES:
        raise ValueError(f"no table of system calls for {machine}: {', '.join(_ARCHITECTURES)}")
    column = list(_ARCHITECTURES).index(machine)
    rows: list[tuple[int, int, int, int]] = [
        (_LOAD, 0, 0, _ARCH),
        (_JEQ, 1, 0, _ARCHITECTURES[machine]),
        (_RET, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
    ]
    if machine == "x86_64":  # the second set of numbers that this kernel offers
        rows += [(_JGE, 0, 1, 0x40000000), (_RET, 0, 0, _ERRNO | errno.ENOSYS)]
    for name, numbers in _NUMBERS.items():
        number = numbers[column]
        if number is None or (namespaces and name in _HIDDEN_BY_NAMESPACES):
            continue
        body = _special(name, namespaces) if name in _SPECIAL else None
        if body is None and name in _SPECIAL:
            continue
        if body is None:
            answer = 0 if name in _PRETENDED else errno.EPERM
            body = [(_RET, 0, 0, _ERRNO | answer)]
        rows += [(_JEQ, 0, len(body), number), *body]
    rows.append((_RET, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *row) for row in rows)


def number(name: str) -> int:
    """The number of a call that the filter knows, on this machine; -1 where it does not exist."""
    found = _NUMBERS[name][list(_ARCHITECTURES).index(platform.machine())]
    return -1 if found is None else found


def _argument(index: int) -> tuple[int, int, int, int]:
    """Load the low half of an argument (both machines are little-endian)."""
    return (_LOAD, 0, 0, 16 + 8 * index)


def _special(name: str, namespaces: bool) -> list[tuple[int, int, int, int]] | None:
    """What depends on arguments; the last row of each decides."""
    allow, deny = (_RET, 0, 0, _ALLOW), (_RET, 0, 0, _ERRNO | errno.EPERM)
    nothing = (_RET, 0, 0, _ERRNO | errno.ENOSYS)
    unreachable = (_RET, 0, 0, _ERRNO | errno.ENETUNREACH)
    match name:
        case "socket" if namespaces:
            return [_argument(0), (_JEQ, 0, 1, socket.AF_UNIX), allow, unreachable]
        case "socket":
            return [unreachable]
        case "connect" | "bind":
            return None if namespaces else [deny]
        case "socketpair" if namespaces:
            return None
        case "socketpair":  # a datagram socket could be turned to any address afterwards
            datagram = (_JEQ, 0, 1, socket.SOCK_DGRAM)
            return [_argument(1), (_AND, 0, 0, 0xF), datagram, deny, allow]
        case "clone":
            return [_argument(0), (_JSET, 0, 1, _NEW_NAMESPACES), deny, allow]
        case "clone3" | "memfd_create":  # the flags lie in memory, where no filter can look:
            return [nothing]  # the C library then uses clone
        case "prlimit64":  # others of the same user could be starved
            return [_argument(0), (_JEQ, 0, 1, 0), allow, deny]
        case "prctl":  # a process that hides its maps could not be measured
            return [_argument(0), (_JEQ, 0, 1, _SET_DUMPABLE), deny, allow]
        case "ioctl":  # keys typed into the teacher's terminal
            typed = (_JEQ, 1, 0, _TIOCSTI)
            return [_argument(1), typed, (_JEQ, 0, 1, _TIOCLINUX), deny, allow]
        case "fcntl" if namespaces:
            return None
        case "fcntl":  # signals to others, sent by the kernel
            return [
                _argument(1),
                (_JEQ, 2, 0, _F_SETOWN),
                (_JEQ, 1, 0, _F_SETSIG),
                (_JEQ, 0, 1, _F_SETOWN_EX),
                deny,
                allow,
            ]
    raise AssertionError(name)


def install(*, namespaces: bool) -> None:
    """Put the filter on this process and all it starts, for good. Needs no rights.

    Raises:
        OSError: the kernel has no seccomp filters.
    """
    _put(program(platform.machine(), namespaces=namespaces))


def no_programs() -> None:
    """Let neither this process nor any that it forks start another program, for good.

    Raises:
        OSError: the kernel has no seccomp filters, or this process may still gain rights.
        ValueError: see `program`.
    """
    machine = platform.machine()
    if machine not in _ARCHITECTURES:
        raise ValueError(f"no table of system calls for {machine}: {', '.join(_ARCHITECTURES)}")
    column = list(_ARCHITECTURES).index(machine)
    rows = [
        (_LOAD, 0, 0, _ARCH),
        (_JEQ, 1, 0, _ARCHITECTURES[machine]),
        (_RET, 0, 0, _KILL),
        (_LOAD, 0, 0, _NR),
    ]
    if machine == "x86_64":  # the second set of numbers
        rows += [(_JGE, 0, 1, 0x40000000), (_RET, 0, 0, _ERRNO | errno.ENOSYS)]
    for numbers in _PROGRAMS:
        rows += [(_JEQ, 0, 1, numbers[column]), (_RET, 0, 0, _ERRNO | errno.EPERM)]
    rows.append((_RET, 0, 0, _ALLOW))
    _put(b"".join(struct.pack("=HBBI", *row) for row in rows))


def _put(text: bytes) -> None:
    buffer = ctypes.create_string_buffer(text, len(text))
    header = ctypes.create_string_buffer(
        struct.pack("@HxxxxxxP", len(text) // 8, ctypes.addressof(buffer))
    )
    kernel.prctl(_SET_SECCOMP, _FILTER, ctypes.addressof(header))
