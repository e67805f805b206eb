"""Collect, grade and record a class: what the commands and the demo have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from autograder.classroom import Classroom
from autograder.errors import AutograderError
from autograder.execution import Engine, Outcome, Submission
from autograder.intake import Entry, collect, kin_of, read_manifest, write_manifest
from autograder.limits import Limits
from autograder.proof import prove, witnesses
from autograder.recorder import NotTaken, Recorder
from autograder.records import Flag, read_result, write_whole
from autograder.schedule.engines import Recipe, default_jobs, files_beside, make_engine
from autograder.schedule.events import EventLog
from autograder.schedule.jobs import LocalPool, Pool
from autograder.schedule.journal import Journal
from autograder.schedule.keys import Keyring, Keys, digest_of
from autograder.schedule.run import Run
from autograder.schedule.stopping import Stopping
from autograder.schedule.store import Store
from autograder.template import Template

__all__ = [
    "collect_class",
    "default_jobs",
    "engine_for",
    "grade_and_record",
    "grade_in",
    "kernel_engine",
    "keyring_of",
    "to_grade",
]


def collect_class(classroom: Classroom, lab: str, source: Path) -> list[Entry]:
    """Put submissions into submitted/ and write the manifest; who is not in `source` stays.

    Returns:
        The entries of this source.

    Raises:
        AutograderError: no such lab, or a source that cannot be read.
    """
    release = classroom.release(lab)
    if not release.is_file():
        known = ", ".join(classroom.labs) or "none"
        raise AutograderError(f"no lab {lab} in {classroom.root}; there is {known}", code=2)
    entries, taken = collect(source, lab, kin_of(release.read_bytes()))
    path = classroom.manifest(lab)
    before = {e.student: e for e in read_manifest(path)} if path.is_file() else {}
    kept = []
    for entry in entries:
        old = before.get(entry.student)
        if entry.rejected and old and not old.rejected:
            # What was handed in first can still be graded.
            flag = Flag("file-skipped", f"a later file was refused: {entry.rejected}")
            entry = replace(old, flags=(*old.flags, flag))
        elif not entry.rejected:
            write_whole(classroom.submitted(entry.student, lab), taken[entry.student])
            stamp = classroom.submitted(entry.student, lab).with_name("timestamp.txt")
            if entry.handed_in:
                write_whole(stamp, f"{entry.handed_in} UTC\n")
        kept.append(entry)
    write_manifest(path, lab, (before | {e.student: e for e in kept}).values())
    return kept


def to_grade(
    classroom: Classroom,
    lab: str,
    template: Template,
    limits: Limits,
    *,
    engine: str,
    only: str = "",
    again: bool = False,
) -> tuple[list[Submission], int]:
    """The submissions that need grading, and how many are graded and unchanged.

    Args:
        only: one student's id; "" for all.
        engine: name and level, see `autograder.schedule.engines.label_of`.
        again: grade the unchanged ones too.

    Raises:
        AutograderError: nothing was collected, no such student, or a file that has vanished.
    """
    path, ring = classroom.manifest(lab), keyring_of(classroom, template, limits, engine)
    half_written = Journal(classroom.journal(lab)).half_written
    if not path.is_file() and any((classroom.root / "submitted").glob(f"*/{lab}/*.ipynb")):
        collect_class(classroom, lab, classroom.root / "submitted")
    entries = read_manifest(path)
    if only:
        entries = [_find(entries, only)]
    found, unchanged = [], 0
    for entry in entries:
        if entry.rejected:
            continue
        place = classroom.submitted(entry.student, lab)
        if not place.is_file():
            raise AutograderError(f"{place} has vanished: collect again")
        submission = Submission(entry.student, entry.name, place.read_bytes(), entry.flags)
        keys = ring.of(submission.data)
        done = entry.student not in half_written and _is_done(classroom, submission, lab, keys)
        if done and not again:
            unchanged += 1
        else:
            found.append(submission)
    return found, unchanged


def _find(entries: list[Entry], wanted: str) -> Entry:
    for entry in entries:
        if wanted in (entry.student, entry.name):
            return entry
    near = get_close_matches(wanted, [e.student for e in entries], n=3)
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    raise AutograderError(f"no student {wanted!r} among {len(entries)} collected{hint}", code=2)


def _is_done(classroom: Classroom, submission: Submission, lab: str, keys: Keys) -> bool:
    try:
        result = read_result(classroom.result(submission.student, lab))
    except (OSError, ValueError):
        return False
    if result.key != keys.whole or result.flags[: len(submission.flags)] != submission.flags:
        return False
    if result.status == "graded":
        return classroom.autograded(submission.student, lab).is_file()
    return result.status == "rejected"


def keyring_of(classroom: Classroom, template: Template, limits: Limits, engine: str) -> Keyring:
    """What makes the keys of a class, see `autograder.schedule.keys`."""
    files = files_beside(classroom.release(template.lab).parent)
    return Keyring(template, limits, engine, files)


def engine_for(classroom: Classroom, lab: str, recipe: Recipe) -> Engine:
    """An engine on this machine.

    Raises:
        AutograderError: there is no such engine, or this machine cannot have it.
    """
    cache = classroom.root / ".autograder" / "cache"
    return make_engine(recipe, classroom.release(lab).parent, cache)


def kernel_engine(classroom: Classroom, lab: str, *, jobs: int) -> Engine:
    """The engine without a sandbox, with the machine's cores shared between the jobs."""
    return engine_for(classroom, lab, Recipe("kernel", threads=max(1, default_jobs() // jobs)))


def grade_and_record(
    classroom: Classroom,
    template: Template,
    engine: Engine,
    submissions: Sequence[Submission],
    limits: Limits,
    *,
    jobs: int,
    watch: Callable[[Outcome], None] = lambda outcome: None,
    again: bool = False,
) -> list[Outcome]:
    """Grade submissions on this machine, see `grade_in`."""
    pool = LocalPool(engine, jobs)
    return grade_in(pool, classroom, template, submissions, limits, watch=watch, again=again)


def grade_in(
    pool: Pool,
    classroom: Classroom,
    template: Template,
    submissions: Sequence[Submission],
    limits: Limits,
    *,
    watch: Callable[[Outcome], None] = lambda outcome: None,
    stopping: Stopping | None = None,
    again: bool = False,
) -> list[Outcome]:
    """Grade submissions and write each into the gradebook as it comes; none stops the others.

    First the reference solution must earn all its points and the untouched notebook none: where
    the tests or this machine are broken, no student shall pay for it.

    Args:
        pool: where the work is done; it is closed at the end.
        watch: told about each outcome after it was written.
        stopping: asked before new work is begun.
        again: judge what was judged before, too.

    Returns:
        What was recorded, in this order, without the notebooks.

    Raises:
        AutograderError: the tests are broken, another command is at work, the gradebook or the
            disk takes no more, or the run was stopped. What was recorded stays.
    """
    lab, stopping = template.lab, stopping or Stopping()
    times = {entry.student: entry.handed_in for entry in read_manifest(classroom.manifest(lab))}
    ring = keyring_of(classroom, template, limits, pool.label)
    store = Store(classroom.outcomes(lab))
    done: list[Outcome] = []
    with (
        closing(pool),
        classroom.only_one(),
        closing(EventLog(classroom.events(lab))) as events,
        Journal(classroom.journal(lab)) as journal,
        Recorder(classroom, lab, handed_in=times, journal=journal) as recorder,
    ):
        run = Run(pool, template, limits, ring, store, events, stopping, again=again)
        events("run-started", lab=lab, engine=pool.label, jobs=pool.size, todo=len(submissions))
        try:
            _prove(run, classroom, template, ring, journal, events, again=again)
            with closing(run.outcomes(submissions)) as outcomes:
                for outcome, source in outcomes:
                    # A class's notebooks, pictures and all, are too much to hold in memory.
                    done.append(replace(_record(recorder, outcome), rebuilt=None, notebook=None))
                    events.recorded(done[-1], source)
                    watch(done[-1])
        except KeyboardInterrupt:
            raise _stopped(events, stopping, len(done), len(submissions)) from None
        except AutograderError as error:
            events("run-failed", reason=str(error), done=len(done))
            raise
        if len(done) < len(submissions):
            raise _stopped(events, stopping, len(done), len(submissions))
        events("run-finished", done=len(done))
        store.prune()
    return done


def _prove(
    run: Run,
    classroom: Classroom,
    template: Template,
    ring: Keyring,
    journal: Journal,
    events: EventLog,
    *,
    again: bool,
) -> None:
    """See that the tests are right here, unless they were seen to be."""
    found = witnesses(classroom, template)
    key = digest_of([ring.of(witness.data).whole for witness in found])
    if journal.is_proved(key) and not again:
        return
    with closing(run.outcomes(found)) as outcomes:
        seen: Iterator[Outcome] = (outcome for outcome, _ in outcomes)
        proved = prove(template, list(seen))
    if proved == len(found):
        journal.prove(key)
        events("proved", witnesses=[witness.name for witness in found])


def _record(recorder: Recorder, outcome: Outcome) -> Outcome:
    try:
        recorder.record(outcome)
    except NotTaken as error:
        outcome = Outcome(replace(outcome.result, status="failed", reason=str(error), questions=()))
        recorder.record(outcome)
    return outcome


def _stopped(events: EventLog, stopping: Stopping, done: int, todo: int) -> AutograderError:
    events("run-stopped", signal=stopping.number, done=done, left=todo - done)
    return AutograderError(
        f"stopped: {done} of {todo} are in the gradebook; the same command goes on with the others",
        code=stopping.code,
    )
