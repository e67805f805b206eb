"""The thread on the grader's side that listens to wardens and holds their workers to the limits."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable

from autograder.sandbox.wire import receive
from autograder.sandbox.worker import Worker

__all__ = ["Watch"]

_TICK = 0.1
_READ = 1 << 16


class Watch:
    """One thread for all workers of a server."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._woken)
        self._workers: dict[Worker, tuple[socket.socket, int, Callable[[], None]]] = {}
        self._new: list[tuple[Worker, socket.socket, int, Callable[[], None]]] = []
        self._lock = threading.Lock()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="sandbox watch", daemon=True)
        self._thread.start()

    def add(
        self, worker: Worker, line: socket.socket, output: int, gone: Callable[[], None]
    ) -> None:
        """Watch one more; `gone` is called when nothing of it is left."""
        with self._lock:
            self._new.append((worker, line, output, gone))
        self._wake()

    def close(self) -> None:
        """Stop; workers that are still there are reported gone."""
        self._stopping = True
        self._wake()
        self._thread.join()
        os.close(self._wake_write)

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.write(self._wake_write, b"x")

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wake_read, _READ)

    def _run(self) -> None:
        checked = 0.0
        while not self._stopping:
            for key, _ in self._selector.select(_TICK if self._workers else None):
                key.data()
            self._admit()
            if time.monotonic() - checked >= _TICK:
                for worker in list(self._workers):
                    try:
                        worker._check()
                    except Exception as error:  # no limit holds without the watch: end it
                        worker._stop(f"the watch failed: {error!r}")
                checked = time.monotonic()
        self._admit()
        for worker in list(self._workers):
            self._hear(worker)
            if worker in self._workers:  # it said nothing of its end
                self._bury(worker)
        self._selector.close()
        os.close(self._wake_read)

    def _admit(self) -> None:
        with self._lock:
            new, self._new = self._new, []
        for worker, line, output, gone in new:
            self._workers[worker] = (line, output, gone)
            os.set_blocking(output, False)
            self._selector.register(line, selectors.EVENT_READ, lambda w=worker: self._hear(w))
            self._selector.register(output, selectors.EVENT_READ, lambda w=worker: self._drain(w))

    def _hear(self, worker: Worker) -> None:
        if worker not in self._workers:
            return
        line = self._workers[worker][0]
        while True:
            try:
                message = receive(line)
            except BlockingIOError:
                return
            if message is None or "gone" in message.data:
                self._bury(worker)
                return
            worker._heard(message)

    def _drain(self, worker: Worker) -> None:
        """A flood on the standard streams must neither block the worker nor fill our memory.

        Once it is over the limit nobody reads on: a cell that still ran through while its process
        is being killed would leave the blame to the next one.
        """
        if worker not in self._workers:
            return
        output = self._workers[worker][1]
        try:
            data = os.read(output, _READ)
        except BlockingIOError:
            return
        if not data or not worker._print(data):
            self._selector.unregister(output)

    def _bury(self, worker: Worker) -> None:
        line, output, gone = self._workers.pop(worker)
        self._selector.unregister(line)
        if output in self._selector.get_map():
            for _ in range(64):  # what it said last
                try:
                    data = os.read(output, _READ)
                except BlockingIOError:
                    break
                if not data:
                    break
                worker._print(data)
            self._selector.unregister(output)
        os.close(output)
        gone()
        worker._heard(None)
