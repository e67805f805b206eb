"""The child process that runs one notebook: a kernel, a limit per cell, and a way on after a crash.

A cell that overruns is interrupted. A kernel that ignores the interrupt, or dies, is replaced: the
new one runs the cells before the guilty one again (not the tests, whose points are kept), and goes
on behind it. So an endless loop or `os._exit` costs its own question and no other.

This module is imported once by the fork server, so it names only what every submission needs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import multiprocessing
import os
import resource
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from autograder.limits import Limits
from autograder.processes import JOB_MARK, adopt_orphans, kill_tree

__all__ = ["Order", "run_order"]

_INTERRUPT_GRACE = 5
_START_SECONDS = 120
_MOST_RESTARTS = 3
_CUT = "\n… cut off: too much output …\n"
_ALWAYS = ("execute_result", "error", "status", "execute_input")


@dataclass(frozen=True)
class Order:
    """What one child has to do.

    Attributes:
        notebook: the notebook as JSON.
        run: positions of the cells to run; tests: those whose outputs are kept after a restart.
        folder: working directory; the kernel may write there.
        reply: where the outcome goes, as JSON.
        mark: stands in the environment of everything that the child starts.
        threads: arithmetic threads that the kernel may use; environment: the kernel's.
    """

    notebook: str
    run: tuple[int, ...]
    tests: frozenset[int]
    folder: Path
    reply: Path
    mark: str
    limits: Limits
    threads: int
    environment: dict[str, str]


@dataclass
class _State:
    done: set[int] = field(default_factory=set)
    guilty: set[int] = field(default_factory=set)
    hit: list[tuple[int, str]] = field(default_factory=list)
    restarts: int = 0


class _Client(NotebookClient):
    """nbclient, with a cap on what one cell may print and a limit that shrinks with the total."""

    most_bytes: int = 0
    printed: int = 0
    overran: bool = False
    stop_at: float = 0.0
    cpu_at: float = 0.0

    def begin(self, limits: Limits, threads: int, left: float) -> None:
        """Set the limits of the next cell."""
        self.printed, self.overran = 0, False
        self.stop_at = time.monotonic() + min(limits.longest_cell, left)
        self.cpu_at = self.cpu_seconds() + limits.cell_seconds * threads

    def cpu_seconds(self) -> float:
        """Processor time of the kernel and of what it started."""
        total = 0.0
        with contextlib.suppress(psutil.Error, AttributeError):
            kernel = psutil.Process(self.km.provisioner.pid)  # type: ignore[union-attr]
            for process in (kernel, *kernel.children(recursive=True)):
                used = process.cpu_times()
                total += used.user + used.system
        return total

    async def _async_handle_timeout(self, timeout: int, cell: Any = None) -> Any:
        if time.monotonic() < self.stop_at and self.cpu_seconds() < self.cpu_at:
            return None  # nbclient goes on waiting
        self.overran = True
        return await super()._async_handle_timeout(timeout, cell)

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] not in _ALWAYS:
            size = len(json.dumps(msg["content"], default=str))
            left, self.printed = self.most_bytes - self.printed, self.printed + size
            if size > left:
                if left <= 0:
                    return None
                if msg["msg_type"] != "stream":
                    return None
                msg["content"]["text"] = msg["content"]["text"][:left] + _CUT
        return super().process_message(msg, cell, cell_index)


def run_order(order: Order) -> None:
    """Run a notebook and write the outcome: outputs by cell, limits hit (-1: no one cell)."""
    _settle_in(order)
    notebook = nbformat.reads(order.notebook, as_version=4)
    state, left_behind = _State(), 0
    try:
        asyncio.run(_run_all(notebook, order, state))
    finally:
        left_behind = kill_tree(os.getpid(), itself=False)
    record = {
        "cells": {i: _outputs(notebook.cells[i]) for i in sorted(state.done | state.guilty)},
        "hit": state.hit,
        "left_behind": left_behind,
    }
    partial = order.reply.with_suffix(".part")
    partial.write_text(json.dumps(record), encoding="utf-8")
    partial.replace(order.reply)


def _outputs(cell: Any) -> dict[str, Any]:
    return {"count": cell.get("execution_count"), "outputs": cell.outputs}


def _settle_in(order: Order) -> None:
    """Own session, own limits, quiet streams; orphans of the kernel come back to this process."""
    os.setsid()
    log = os.open(order.reply.with_suffix(".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.environ.clear()
    os.environ.update(order.environment)
    os.environ[JOB_MARK] = order.mark
    logging.getLogger("traitlets").setLevel(logging.CRITICAL)
    adopt_orphans()
    wanted = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: order.limits.file_bytes,
        resource.RLIMIT_DATA: order.limits.memory_bytes,
    }
    for limit, value in wanted.items():
        hard = resource.getrlimit(limit)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(limit, (value, value))


async def _run_all(notebook: Any, order: Order, state: _State) -> None:
    deadline = time.monotonic() + order.limits.total_seconds
    watch = asyncio.ensure_future(_die_with_parent(order.reply.parent))
    try:
        await _run_until_done(notebook, order, state, deadline)
    finally:
        watch.cancel()


async def _die_with_parent(folder: Path) -> None:
    """End with everything that was started, when the command that started this is killed."""
    parent = multiprocessing.parent_process()
    while parent is None or parent.is_alive():
        await asyncio.sleep(1)
    kill_tree(os.getpid(), itself=False)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


async def _run_until_done(notebook: Any, order: Order, state: _State, deadline: float) -> None:
    while True:
        client = _client(notebook, order, state.restarts)
        try:
            async with client.async_setup_kernel(cwd=str(order.folder)):
                finished = await _run_cells(client, notebook, order, state, deadline)
        except DeadKernelError:
            finished = False  # the kernel died between two cells
        if finished:
            return
        state.restarts += 1
        if state.restarts > _MOST_RESTARTS:
            state.hit.append((-1, f"Python had to be started again {_MOST_RESTARTS} times"))
            return


def _client(notebook: Any, order: Order, number: int) -> _Client:
    kernel = notebook.metadata.get("kernelspec", {}).get("name") or "python3"
    manager = AsyncKernelManager(kernel_name=kernel)
    # Files in the job's folder, not ports: two graders on one machine cannot collide.
    manager.transport = "ipc"
    manager.ip = str(order.reply.with_name(f"kernel{number}"))
    manager.connection_file = f"{manager.ip}.json"
    client = _Client(
        notebook,
        km=manager,
        timeout=1,  # how often it asks whether the limit is reached
        startup_timeout=_START_SECONDS,
        allow_errors=True,
        interrupt_on_timeout=True,
        error_on_timeout={"ename": "CellTimeoutError", "evalue": "", "traceback": []},
        iopub_timeout=_INTERRUPT_GRACE,
        raise_on_iopub_timeout=True,
        shutdown_kernel="immediate",
        store_widget_state=False,
        skip_cells_with_tag="",
        resources={"metadata": {"path": str(order.folder)}},
    )
    client.owns_km = True
    client.most_bytes = order.limits.output_bytes
    return client


async def _run_cells(
    client: _Client, notebook: Any, order: Order, state: _State, deadline: float
) -> bool:
    """Run what is left; False where the kernel must be replaced first."""
    for index in order.run:
        if index in state.guilty or (index in state.done and index in order.tests):
            continue
        left = deadline - time.monotonic()
        if left < 1:
            state.hit.append((-1, f"stopped after {order.limits.total_seconds:g} s"))
            return True
        cell = notebook.cells[index]
        again, kept = index in state.done, list(cell.outputs)
        client.begin(order.limits, order.threads, left)
        stopped = f"stopped after {min(order.limits.cell_seconds, left):.3g} s"
        try:
            await client.async_execute_cell(cell, index)
            if client.overran:
                _blame(cell, state, index, "TimeLimit", stopped)
            if again:
                cell.outputs = kept
            state.done.add(index)
        except CellTimeoutError:
            _blame(cell, state, index, "TimeLimit", stopped)
            return False
        except DeadKernelError:
            _blame(cell, state, index, "KernelDied", "the Python process ended in this cell")
            return False
    return True


def _blame(cell: Any, state: _State, index: int, name: str, words: str) -> None:
    error = nbformat.v4.new_output("error", ename=name, evalue=words, traceback=[])
    cell.outputs = [*cell.get("outputs", []), error]
    state.guilty.add(index)
    state.hit.append((index, words))
