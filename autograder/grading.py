"""Collect, grade and record a class: what the commands and the demo have in common."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from autograder.classroom import Classroom
from autograder.errors import AutograderError
from autograder.execution import Engine, Outcome, Submission, grade_class, result_key
from autograder.intake import Entry, collect, kin_of, read_manifest, write_manifest
from autograder.kernels import KernelEngine
from autograder.limits import Limits
from autograder.recorder import Recorder
from autograder.records import Flag, read_result, write_whole
from autograder.template import Template

_REFERENCE = "/reference"  # no student can be called so

__all__ = ["collect_class", "default_jobs", "grade_and_record", "kernel_engine", "to_grade"]


def default_jobs() -> int:
    """Submissions at a time: one per core that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return max(1, len(affinity(0)) if affinity else os.cpu_count() or 1)


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
        again: grade the unchanged ones too.

    Raises:
        AutograderError: nothing was collected, no such student, or a file that has vanished.
    """
    path = classroom.manifest(lab)
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
        if not again and _is_done(classroom, submission, template, limits, engine):
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


def _is_done(
    classroom: Classroom, submission: Submission, template: Template, limits: Limits, engine: str
) -> bool:
    try:
        result = read_result(classroom.result(submission.student, template.lab))
    except (OSError, ValueError):
        return False
    return (
        result.status == "graded"
        and result.key == result_key(submission, template, limits, engine)
        and classroom.autograded(submission.student, template.lab).is_file()
    )


def kernel_engine(classroom: Classroom, lab: str, *, jobs: int) -> KernelEngine:
    """The engine that the commands use, with the machine's cores shared between the jobs."""
    return KernelEngine(
        files=classroom.release(lab).parent,
        cache=classroom.root / ".autograder" / "cache" / "matplotlib",
        threads=max(1, default_jobs() // jobs),
    )


def grade_and_record(
    classroom: Classroom,
    template: Template,
    engine: Engine,
    submissions: Sequence[Submission],
    limits: Limits,
    *,
    jobs: int,
    watch: Callable[[Outcome], None] = lambda outcome: None,
) -> list[Outcome]:
    """Grade submissions and write each into the gradebook as it comes; none stops the others.

    The reference solution is graded beside them, and nothing is written unless it earns all its
    points: where the tests or this machine are broken, no student shall pay for it.

    Args:
        watch: told about each outcome after it was written.

    Raises:
        AutograderError: the reference solution fails here, or another command is at work.
    """
    lab = template.lab
    times = {entry.student: entry.handed_in for entry in read_manifest(classroom.manifest(lab))}
    recorder = Recorder(classroom, lab, handed_in=times)
    done: list[Outcome] = []
    early: list[Outcome] = []
    reference = _reference(classroom, lab)
    proved = reference is None
    work = [*([reference] if reference else []), *submissions]
    with (
        classroom.only_one(),
        closing(grade_class(engine, work, template, limits, jobs=jobs)) as outcomes,
    ):
        for outcome in outcomes:
            if outcome.result.student == _REFERENCE:
                _prove(outcome, template)
                proved = True
            else:
                early.append(outcome)
            while proved and early:
                done.append(_record(recorder, early.pop(0)))
                watch(done[-1])
    return done


def _record(recorder: Recorder, outcome: Outcome) -> Outcome:
    try:
        recorder.record(outcome)
    except AutograderError as error:
        reason = str(error)
        outcome = Outcome(replace(outcome.result, status="failed", reason=reason, questions=()))
        recorder.record(outcome)
    return outcome


def _reference(classroom: Classroom, lab: str) -> Submission | None:
    path = classroom.source(lab)
    return Submission(_REFERENCE, "the solution", path.read_bytes()) if path.is_file() else None


def _prove(outcome: Outcome, template: Template) -> None:
    """Refuse to grade where the reference solution does not earn its points.

    Raises:
        AutograderError: with the exercise, and the first error that may have caused it.
    """
    if outcome.result.status != "graded":
        raise AutograderError(f"the reference solution cannot be graded: {outcome.result.reason}")
    for question in outcome.result.questions:
        if question.earned is None or question.earned >= question.points - 1e-9:
            continue
        failed = [check.name for check in question.checks if not check.passed]
        cause = question.error or ", ".join(failed) or _first_error(outcome)
        first = _first_error(outcome)
        raise AutograderError(
            f"nothing was graded: here the reference solution of {template.lab} earns "
            f"{question.earned:g} of {question.points:g} points in exercise {question.exercise} "
            f"({cause})" + (f". The first error: {first}" if first and first != cause else "")
        )


def _first_error(outcome: Outcome) -> str:
    cells = outcome.notebook.cells if outcome.notebook else []
    for cell in cells:
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                return f"{output.ename}: {output.evalue}"
    return ""
