"""Run submissions in boxes: a fork server, and a ladder of ways to confine what it forks.

    with ForkServer(files=folder, cache=cache, slots=2) as server:
        worker = server.start("package.module:function", limits=Limits(), arguments=b"...")
        worker.channel.sendall(...)     # the function has the other end
        ended = worker.wait(60)
        worker.kill()

| level | confined by |
|---|---|
| 3 | namespaces (files, processes, network, users), seccomp, limits |
| 2 | Landlock, seccomp, limits; for machines that forbid namespaces |
| 1 | limits only: nothing is hidden from a submission; only when asked for by name |

`docs/security.md` tells what each level promises, and `autograder doctor` tries it.
"""

from autograder.sandbox.failure import SandboxError
from autograder.sandbox.forkserver import DEFAULT_PRELOAD, ForkServer
from autograder.sandbox.tree import Usage
from autograder.sandbox.worker import Ended, Worker

__all__ = ["DEFAULT_PRELOAD", "Ended", "ForkServer", "SandboxError", "Usage", "Worker"]
