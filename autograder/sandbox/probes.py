"""Try each level of the sandbox in earnest: what it promises is what attacks on it fail to do."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autograder.errors import AutograderError
from autograder.limits import Limits
from autograder.sandbox import visible

if TYPE_CHECKING:
    from autograder.sandbox.forkserver import ForkServer
    from autograder.sandbox.worker import Worker

__all__ = ["PROBES", "Probe", "Report", "try_level"]

PROBES = {
    "write": "write outside",
    "read": "read a secret",
    "connect": "connect",
    "interfere": "signal or trace the grader",
    "fork": "fork beyond the limit",
    "allocate": "memory beyond the limit",
    "look": "see other processes",
}
_KILLED = {"fork": "processes", "allocate": "memory"}
_SECONDS = 20.0
_LIMITS = Limits(total_seconds=_SECONDS, memory_bytes=128 * 2**20, processes=16)


@dataclass(frozen=True)
class Probe:
    """The outcome of one attack: `held`, and if not, what it got."""

    name: str
    held: bool
    found: str = ""


@dataclass(frozen=True)
class Report:
    """What one level of the ladder did on this machine.

    Attributes:
        level: the rung; builder: how its box was made.
        error: why it cannot be had, or "".
        probes: every attack, if it can.
    """

    level: int
    builder: str
    error: str
    probes: tuple[Probe, ...] = ()

    @property
    def held(self) -> bool:
        """Whether every attack failed."""
        return not self.error and all(probe.held for probe in self.probes)


def try_level(level: int, builder: str | None = None) -> Report:
    """Make a box of one level and attack it from inside."""
    from autograder.sandbox.forkserver import ForkServer

    with tempfile.TemporaryDirectory(prefix="autograder-probe-") as temporary:
        try:
            with ForkServer(
                level=level,
                cache=Path(temporary) / "cache",
                preload=(),
                slots=len(PROBES),
                builder=builder,
            ) as server:
                probes = tuple(_attack(server, Path(temporary)))
        except AutograderError as error:
            return Report(level, builder or "", str(error))
    return Report(level, builder or "", "", probes)


def _attack(server: ForkServer, folder: Path) -> Iterator[Probe]:
    """All at once: most of them wait for something that must not happen."""
    with _outside(server, folder) as (outside, untouched):
        workers = {
            name: server.start(
                "autograder.sandbox.attacks:run",
                limits=_LIMITS,
                arguments=json.dumps(outside | {"attack": name}).encode(),
            )
            for name in PROBES
        }
        for name, worker in workers.items():
            found = _outcome(name, worker)
            if name == "write":  # it may have written to files of that name in its own box
                found = untouched()
            yield Probe(PROBES[name], not found, "; ".join(found))


def _outcome(name: str, worker: Worker) -> list[str]:
    """What an attack says that it got; one that was killed for it got nothing."""
    worker.channel.settimeout(_SECONDS)
    answer = b""
    with contextlib.suppress(OSError):
        while piece := worker.channel.recv(1 << 16):
            answer += piece
    ended = worker.wait(_SECONDS)
    worker.kill()
    worker.channel.close()
    if ended and ended.limit.startswith(_KILLED.get(name, "nothing")):
        return []
    try:
        return json.loads(answer)
    except ValueError:
        said = worker.output.decode(errors="replace").strip().splitlines()
        return [f"no answer ({ended}): {said[-1] if said else 'nothing said'}"]


@contextlib.contextmanager
def _outside(server: ForkServer, folder: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """What lies outside the box for attacks to reach for, and a check that it is as it was."""
    token = secrets.token_hex(16)
    secret, victim, local = folder / "secret", folder / "victim", folder / "socket"
    for path in (secret, victim):
        path.write_text(token)
    abstract = f"\0autograder-probe-{token}"
    places = [folder, Path.home(), Path.cwd(), Path(sys.prefix), *visible.package_folders()]

    def untouched() -> list[str]:
        changed = not victim.exists() or victim.read_text() != token or victim.stat().st_nlink > 1
        left = [place / "probe-was-here" for place in places]
        found = [f"{victim} was changed"] if changed else []
        for path in left:
            if os.path.exists(path):  # False, too, where we may not look
                path.unlink()
                found.append(f"{path} was made")
        return found

    with contextlib.ExitStack() as stack:
        network = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        for address in (str(local), abstract):
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen()
        local.chmod(0o777)
        yield (
            {
                "secret": str(secret),
                "victim": str(victim),
                "folders": [str(place) for place in places],
                "port": network.getsockname()[1],
                "local": [str(local), abstract],
                "pids": [os.getpid(), server.pid],
                "processes": _LIMITS.processes,
                "memory": _LIMITS.memory_bytes,
            },
            untouched,
        )
