"""Which level of the sandbox this machine has, proved by attacks, and what mends a missing one."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from autograder.sandbox import landlock, outer
from autograder.sandbox.failure import SandboxError
from autograder.sandbox.probes import Report, try_level

__all__ = ["LEVELS", "best", "builders", "cure", "reports", "require_landlock"]

LEVELS = {
    3: "namespaces, seccomp and limits",
    2: "Landlock, seccomp and limits",
    1: "limits only",
}
_SYSCTL = Path("/proc/sys")
_proved: dict[int, str] = {}


def best() -> Report:
    """The best level that stands all attacks here; tried once in a process.

    Raises:
        SandboxError: neither level 3 nor level 2 does; with the reasons and the commands.
    """
    found = _best()
    if isinstance(found, Report):
        return found
    raise SandboxError(found)


@functools.cache
def _best() -> Report | str:
    failed = []
    for level in (3, 2):
        for report in _tried(level):
            if report.held:
                _proved[level] = report.builder
                return report
            failed.append(report)
    rows = ["no box of this machine can hold a hostile submission:"]
    rows += [f"  level {report.level}{_by(report)}: {reason(report)}" for report in failed]
    rows += [
        f"to mend it: {cure(3)}",
        "to grade without protection, because you trust every student: sandbox level 1",
    ]
    return "\n".join(rows)


def builders(level: int) -> list[str]:
    """Ways to make the box of a level, the one that stood the attacks first, if they were tried."""
    ways = outer.builders() if level == 3 else [""]
    return sorted(ways, key=lambda way: way != _proved.get(level))


def reports() -> Iterator[Report]:
    """Try every level, the best first; level 1 shows what protection is missing."""
    for level in LEVELS:
        yield from _tried(level)


def reason(report: Report) -> str:
    """Why a level did not hold, in a line."""
    failed = [f"{probe.name}: {probe.found}" for probe in report.probes if not probe.held]
    return report.error or "; ".join(failed) or "held"


def _tried(level: int) -> Iterator[Report]:
    for builder in outer.builders() if level == 3 else [None]:
        yield try_level(level, builder)


def _by(report: Report) -> str:
    return f" ({report.builder})" if report.builder else ""


def require_landlock() -> None:
    """Raise what is missing for level 2."""
    version = landlock.version()
    if version == 0:
        raise SandboxError("level 2 needs Landlock, which this kernel has not, or not switched on")
    if version < landlock.TRUNCATE:
        raise SandboxError(f"level 2 needs Linux 6.2: Landlock {version} lets files be emptied")
    if version < landlock.SIGNALS and os.geteuid() != 0:
        raise SandboxError(
            f"level 2 needs Linux 6.12, or root: Landlock {version} lets submissions signal "
            "all processes of your user"
        )


def cure(level: int) -> str:
    """The command that is likely to bring a level, from what this machine says about itself."""
    if level == 2:
        return "a kernel from Linux 6.12 on, started with landlock in lsm="
    if _setting("kernel/unprivileged_userns_clone") == 0:
        return "sysctl -w kernel.unprivileged_userns_clone=1"
    if _setting("user/max_user_namespaces") == 0:
        return "sysctl -w user.max_user_namespaces=15000"
    if _setting("kernel/apparmor_restrict_unprivileged_userns") == 1:
        return "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if any(os.path.exists(path) for path in ("/.dockerenv", "/run/.containerenv")):
        return (
            "start the container with --cap-add SYS_ADMIN --security-opt seccomp=unconfined "
            "--security-opt apparmor=unconfined --security-opt systempaths=unconfined"
        )
    if not shutil.which("bwrap"):
        return "apt-get install bubblewrap"
    return "grade on a machine (or in a virtual machine) where `unshare -Ur true` works"


def _setting(name: str) -> int | None:
    try:
        return int((_SYSCTL / name).read_text())
    except (OSError, ValueError):
        return None
