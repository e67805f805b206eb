"""How the fork server is started at each level, and what its workers are told."""

from __future__ import annotations

import itertools
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from autograder.limits import Limits
from autograder.sandbox import namespaces, outer, visible
from autograder.sandbox.order import Order

__all__ = ["Setup", "environment", "prepare", "readable_by_all", "worker_user"]

_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_USERS, _USERS_EACH = 1_400_000_000, 128  # far from any account and any container's range
_USERS_SMALL = 61_184  # a container may have 65,536 users in all; systemd lends out these, too
_counter = itertools.count()


@dataclass(frozen=True)
class Setup:
    """What stays the same for all workers of one server.

    Attributes:
        level: the rung.
        folder: private to the server; below level 3 the workers' folders lie in it.
        files: what every worker gets a copy of, or None.
        readable: paths that it sees.
        listed: folders whose names it sees at level 2.
        fonts: where matplotlib keeps its list of fonts.
        private: Python cannot be read by an ordinary user.
        room_bytes, room_files: size and number of `files`.
    """

    level: int
    folder: Path
    files: Path | None
    readable: tuple[str, ...]
    listed: tuple[str, ...]
    fonts: Path
    private: bool
    room_bytes: int
    room_files: int

    def command(self, builder: str, fd: int) -> list[str]:
        """The command that starts the server with its line at descriptor `fd`."""
        server = [sys.executable, "-m", "autograder.sandbox.server", str(fd)]
        if self.level < 3:
            return server
        root = self.folder / "root"
        root.mkdir(exist_ok=True)
        plan = outer.Plan(
            readable=self.readable,
            writable=(str(self.fonts),),
            at={namespaces.FILES: str(self.files)} if self.files else {},
            empty=tuple(visible.search_path()),
            root=str(root),
        )
        return outer.command(builder, plan, server)

    def order(
        self, target: str, limits: Limits, work: str, uid: int | None, slots: int, forks: bool
    ) -> Order:
        """One worker; where the server cannot be forked, it has to find its packages by itself."""
        own_count = uid is not None or (self.level == 3 and _counts_in_namespaces())
        return Order(
            target=target,
            level=self.level,
            work=namespaces.WORK if self.level == 3 else work,
            files=str(self.files or ""),
            uid=uid,
            processes=limits.processes if own_count else _running() + slots * limits.processes,
            private=self.private,
            visible=(*self.readable, str(self.fonts)),
            listed=() if forks else self.listed,
            keep=(*self.readable, str(self.fonts)),
            room_bytes=self.room_bytes,
            room_files=self.room_files,
            limits=limits,
        )


def prepare(
    level: int, *, folder: Path, files: Path | None, cache: Path, readable: tuple[Path, ...]
) -> Setup:
    """Look at what a server of this level needs."""
    fonts = cache.absolute() / "matplotlib"
    fonts.mkdir(parents=True, exist_ok=True)
    seen = tuple(visible.folders(readable))
    sizes = [path.lstat().st_size for path in files.rglob("*")] if files else []
    return Setup(
        level=level,
        folder=folder,
        files=files.absolute() if files else None,
        readable=seen,
        listed=tuple(visible.search_path()),
        fonts=fonts,
        private=os.geteuid() == 0 and not all(map(readable_by_all, seen)),
        room_bytes=sum(-(-size // 4096) * 4096 for size in sizes),
        room_files=len(sizes),
    )


def environment(fonts: Path) -> dict[str, str]:
    """The server's environment, and so its workers': nothing of ours gets in."""
    return {
        "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin",
        "PYTHONPATH": os.pathsep.join(visible.search_path()),
        "HOME": "/tmp",
        "USER": "student",
        "LOGNAME": "student",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "agg",
        "MPLCONFIGDIR": str(fonts),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",  # the order of a set is the same in every run
        "PYTHONSAFEPATH": "1",
        **dict.fromkeys(_THREADS, "1"),  # read at import
    }


def worker_user() -> int | None:
    """A user that nobody else has, for one worker; None when we may not become others.

    Only a real root may. Without this, `RLIMIT_NPROC` would not bind: it never binds root.
    """
    if os.geteuid() != 0:
        return None
    number = next(_counter)
    with open("/proc/self/uid_map") as file:
        most = max(int(row.split()[0]) + int(row.split()[2]) for row in file)
    if most > _USERS + (_USERS_EACH << 22):
        return _USERS + os.getpid() * _USERS_EACH + number % _USERS_EACH
    return _USERS_SMALL + (os.getpid() * 31 + number) % 4000


def readable_by_all(path: str) -> bool:
    """Whether an ordinary user may go down to a path and read it."""
    place = Path(path).resolve()
    if not all(folder.stat().st_mode & stat.S_IXOTH for folder in place.parents):
        return False
    return bool(place.stat().st_mode & stat.S_IROTH)


def _counts_in_namespaces() -> bool:
    """Whether processes are counted for each user namespace (Linux 5.14), or for the user."""
    version = os.uname().release.split(".")
    return (int(version[0]), int(version[1].partition("-")[0])) >= (5, 14)


def _running() -> int:
    """How many processes and threads the user of this process has."""
    count, own = 0, os.geteuid()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.stat(f"/proc/{name}").st_uid == own:
                    count += len(os.listdir(f"/proc/{name}/task"))
            except OSError:
                continue
    return count
