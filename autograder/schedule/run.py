"""From submissions to outcomes: what the store knows, what must be judged in part, what in full."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import closing

from autograder.errors import AutograderError
from autograder.execution import Outcome, Submission, ungraded
from autograder.limits import Limits
from autograder.schedule.events import EventLog
from autograder.schedule.jobs import Done, Job, Pool, is_full
from autograder.schedule.keys import Keyring, Keys
from autograder.schedule.merge import merge
from autograder.schedule.stopping import Stopping
from autograder.schedule.store import Store, Stored, in_bytes, out_of_bytes
from autograder.template import Template

__all__ = ["Run"]

_ROOM_FOR_TALKS = 1 << 28  # bytes held for jobs that wait; without its talks a job costs more time


class Run:
    """One command's way through a class.

    Args:
        again: judge what the store knows, too.
    """

    def __init__(
        self,
        pool: Pool,
        template: Template,
        limits: Limits,
        ring: Keyring,
        store: Store,
        events: EventLog,
        stopping: Stopping,
        *,
        again: bool = False,
    ) -> None:
        self._pool = pool
        self._template = template
        self._limits = limits
        self._ring = ring
        self._store = store
        self._events = events
        self._stopping = stopping
        self._again = again

    def outcomes(
        self, submissions: Sequence[Submission]
    ) -> Generator[tuple[Outcome, str], None, None]:
        """Each submission's outcome once, as it comes, with where it is from (see `events`).

        After `stopping`, what was at work still comes, and the rest does not.

        Raises:
            AutograderError: the pool or the disk has failed.
        """
        groups: dict[str, list[Submission]] = defaultdict(list)
        for submission in submissions:
            groups[self._ring.of(submission.data).whole].append(submission)
        jobs: list[Job] = []
        earlier: dict[str, Keys] = {}
        room = _ROOM_FOR_TALKS
        for whole, same in groups.items():  # two who hand in the same bytes are judged once
            keys = self._ring.of(same[0].data)
            known = None if self._again else self._store.get(keys)
            if known:
                yield from self._deliver(known, same, "store")
                continue
            near = None if self._again else self._store.nearest(keys)
            if near:
                earlier[whole] = near.keys
            changed = keys.changed(near.keys) if near else None
            talks = near.talks if near else {}
            talks = {cell: talk for cell, talk in talks.items() if cell in (changed or ())}
            room -= sum(map(len, talks.values()))
            talks = talks if room > 0 else {}
            jobs.append(Job(same[0], keys, changed, talks))
        working = self._pool.run(
            jobs,
            self._template,
            self._limits,
            stopped=lambda: self._stopping.requested,
            started=lambda job: self._events("started", student=job.submission.student),
        )
        with closing(working) as finished:
            for done in finished:
                whole = done.job.keys.whole
                yield from self._finish(done, groups[whole], earlier.get(whole))

    def _deliver(
        self, stored: Stored, same: Sequence[Submission], source: str
    ) -> Generator[tuple[Outcome, str], None, None]:
        for submission in same:
            if source == "store" and self._stopping.requested:
                return
            yield stored.named(submission), source

    def _finish(
        self, done: Done, same: Sequence[Submission], earlier: Keys | None
    ) -> Generator[tuple[Outcome, str], None, None]:
        """Keep what came back, and give it to everyone who handed in these bytes."""
        if done.error:
            for submission in same:
                label = self._pool.label
                yield ungraded(submission, self._template, label, "failed", done.error), "run"
            return
        data, merged = done.data, None
        if earlier and done.job.questions is not None:
            old, new = self._store.get(earlier), out_of_bytes(data)
            if old is None:
                raise AutograderError(
                    "an earlier result has vanished from the class folder while it was needed: "
                    "the same command goes on"
                )
            outcome = merge(old, new.outcome(), done.job.questions)
            data = in_bytes(done.job.keys, outcome)
            merged = Stored(done.job.keys, outcome.result, outcome.notebook, outcome.talks)
        try:
            stored = self._store.put(data, merged)
        except OSError as error:
            if is_full(error):
                raise AutograderError(f"the disk takes no more: {error}") from error
            raise
        yield from self._deliver(stored, same, "part" if earlier else "run")
