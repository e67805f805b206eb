"""Run `autograder grade` again and again, and kill it -9 at random moments.

In a process of its own: it imports everything once and forks each run, so a run costs what a run
costs, not the second that Python needs to import nbgrader.

    python killer.py CLASS LAB KILLS SEED
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import quick

quick.register()


def run(root: str, lab: str) -> int:
    """One `autograder grade` in a fork; returns its process id."""
    pid = os.fork()
    if pid == 0:
        from autograder.cli import app

        log = os.open(f"{root}/run.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        try:
            app(["grade", root, lab, "--engine", "quick", "-j", "2"], standalone_mode=False)
        except BaseException as error:
            print("ended by", repr(error), flush=True)
            os._exit(getattr(error, "exit_code", 1))
        os._exit(0)
    return pid


def moment(pid: int, root: str, lab: str, events: int, seconds: float) -> int | None:
    """Wait for so many events of this run and a little more; the exit status if it ended first."""
    log = Path(root, ".autograder", lab, "events.jsonl")
    start, kill_at = lines(log), 0.0
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if not kill_at and lines(log) - start >= events:
            kill_at = time.monotonic() + seconds
        if kill_at and time.monotonic() >= kill_at:
            return None
        time.sleep(0.002)


def lines(path: Path) -> int:
    """How many lines a file has."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def recorded(root: str, lab: str) -> int:
    """How many submissions have a record."""
    return len(list(Path(root, ".autograder", lab).glob("results/*.json")))


def main(root: str, lab: str, kills: int, seed: int) -> None:
    """Kill that many runs, each at a moment of its own, then let one come to its end.

    When a run ends before its kill, its results are forgotten, so that the next has work to do.
    """
    import autograder.commands.progress
    import autograder.grading
    import autograder.report  # noqa: F401

    choose, done = random.Random(seed), 0
    while done < kills:
        # A run tells of its start, its witnesses, and twice of every submission.
        events = choose.randint(0, 16)
        pid = run(root, lab)
        status = moment(pid, root, lab, events, choose.uniform(0, 0.08))
        if status is None:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            done += 1
            print(f"kill {done}: {recorded(root, lab)} records", flush=True)
        elif status == 0:
            state = Path(root, ".autograder", lab)
            shutil.rmtree(state / "outcomes")
            shutil.rmtree(state / "results")
            (state / "journal.jsonl").unlink()
            print("again from the start", flush=True)
        else:
            sys.exit(f"run ended with {status}; see {root}/run.log")
    status = moment(run(root, lab), root, lab, 10**9, 0)
    print(f"{done} kills, then {status}", flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
