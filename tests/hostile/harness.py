"""Hand a class of cases in, grade it as an instructor would, and say what became of each.

Honest students sit among the others. The same honest students are also graded alone: what the two
runs record for them must be the same bytes.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import nbformat
import psutil

from autograder.classroom import Classroom
from autograder.errors import AutograderError
from autograder.execution import Engine
from autograder.export import csv_text
from autograder.feedback import write_feedback
from autograder.grading import collect_class, grade_and_record, to_grade
from autograder.records import Result
from autograder.schedule.engines import label_of
from autograder.sheet import Row, read_sheet

from .case import LEAK, Case, Place, Work, with_name
from .labs import Lab

__all__ = ["EngineOf", "Graded", "Verdict", "grade_cases", "judge", "run_corpus"]

EngineOf = Callable[[Classroom, str], Engine]
HONEST = ("000 Anna", "120 Мария", "zz Last")
_SETTLE = 3.0  # seconds for a killed process to vanish from the list


@dataclass(frozen=True)
class Verdict:
    """What became of one case.

    Attributes:
        guilty, others: shares of their points; None where nothing was graded.
        received: everything that the student gets to read.
        kept: everything that is recorded.
        wrong: what is not as the case wants it, in words.
    """

    status: str
    reason: str = ""
    guilty: float | None = None
    others: float | None = None
    flags: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    received: str = field(default="", repr=False)
    kept: str = field(default="", repr=False)
    wrong: tuple[str, ...] = ()


@dataclass(frozen=True)
class Graded:
    """A graded class.

    Attributes:
        verdicts: case → what became of it.
        damage: what was changed outside of a hand-in's own results, in words.
        cpu: processor seconds of the run, children included.
    """

    verdicts: dict[str, Verdict]
    honest: dict[str, Any] = field(repr=False)
    damage: tuple[str, ...]
    cpu: float


def run_corpus(
    lab: Lab, cases: Sequence[Case], engine_of: EngineOf, root: Path, *, compare: bool = True
) -> tuple[dict[str, Verdict], list[str], float]:
    """Grade cases among honest students, and the honest students alone, and judge all of it.

    Args:
        root: an empty folder.
        compare: grade the honest students alone too, to see that nothing changed for them.

    Returns:
        Case → verdict; damage outside of the cases' own results; processor seconds.
    """
    graded = grade_cases(lab, cases, engine_of, root / "all")
    secrets = secrets_of(Classroom(root / "all" / "class"), lab)
    verdicts = {case.name: judge(case, graded.verdicts[case.name], secrets) for case in cases}
    damage, cpu = list(graded.damage), graded.cpu
    if compare:
        alone = grade_cases(lab, [], engine_of, root / "alone")
        cpu += alone.cpu
        names = [name for name in HONEST if alone.honest[name] != graded.honest[name]]
        damage += [f"what is recorded for {name} changed" for name in names]
        damage += alone.damage
    return verdicts, damage, cpu


def grade_cases(
    lab: Lab, cases: Sequence[Case], engine_of: EngineOf, root: Path, *, jobs: int = 2
) -> Graded:
    """Grade cases and the honest students in one class.

    Args:
        root: an empty folder; the class and everything temporary go there.
    """
    before = _cpu()
    (root / "tmp").mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    with _bait() as (port, victim, connections), _temporary(root / "tmp"):
        classroom = lab.make_classroom(root)
        place = Place(classroom.root, f"hostile{uuid.uuid4().hex[:12]}", port, victim.pid)
        named = [with_name(number, found) for number, found in enumerate(cases, start=1)]
        kept = _contents(classroom.root)
        refused = _hand_in(lab, named, classroom, root, place)
        _grade(lab, classroom, engine_of, jobs)
        verdicts = _read(lab, classroom, named, refused)
        damage = [*_left_behind(place, root), *_changed(classroom, kept)]
        damage += ["somebody reached the network"] * bool(connections)
        damage += ["a process of the grader's user was killed"] * (victim.poll() is not None)
        honest = _honest(lab, classroom)
    return Graded(verdicts, honest, tuple(damage), _cpu() - before)


def judge(case: Case, found: Verdict, secrets: Sequence[str]) -> Verdict:
    """The verdict with everything that is wrong about it."""
    wrong = []
    if found.status != case.status:
        wrong.append(f"{found.status} ({found.reason}) instead of {case.status}")
    elif case.status == "rejected":
        if not re.search(case.reason, found.reason):
            wrong.append(f"the reason says {found.reason!r}")
    else:
        for what in ("guilty", "others"):
            wanted, got = getattr(case, what), getattr(found, what)
            if wanted is not None and (got is None or abs(got - wanted) > 1e-6):
                share = "nothing" if got is None else f"{got:.0%}"
                wrong.append(f"{what} {share} instead of {wanted:.0%}")
        missing, more = case.flags - set(found.flags), set(found.flags) - case.flags
        wrong += [f"no flag {flag}" for flag in sorted(missing)]
        wrong += [f"flag {flag}" for flag in sorted(more)] if not case.more_flags else []
        hit = [text for text in found.limits if case.limits and re.search(case.limits, text)]
        if case.limits not in ("", ".*") and not hit:
            wrong.append(f"no limit like {case.limits}, only {found.limits}")
        if not case.limits and found.limits:
            wrong.append(f"limit {found.limits}")
    for words in (*case.never, LEAK, *secrets):
        if words in found.received or (words == LEAK and words in found.kept):
            wrong.append(f"the student gets to read {words!r}")
    return Verdict(**{**vars(found), "wrong": tuple(wrong)})


def secrets_of(classroom: Classroom, lab: Lab) -> list[str]:
    """Lines that stand only in hidden tests."""
    from autograder.regions import HIDDEN_TESTS, hidden_lines

    template = classroom.template(lab.name)
    seen = "\n".join(cell.released for cell in template.cells)
    lines = [line for cell in template.cells for _, line in hidden_lines(cell.source, HIDDEN_TESTS)]
    bare = {line.strip() for line in lines}
    return sorted(line for line in bare if len(line) > 20 and line not in seen)


def _hand_in(
    lab: Lab, cases: Sequence[Case], classroom: Classroom, root: Path, place: Place
) -> dict[str, str]:
    """Write and collect what everybody handed in; returns why a source was refused as a whole."""
    released = nbformat.read(classroom.release(lab.name), as_version=4)
    source = nbformat.read(classroom.source(lab.name), as_version=4)
    folder, refused = root / "in", {}
    for number, name in enumerate(HONEST, start=900):
        work = Work.of(lab, released, source, place)
        if number == 901:
            work.stub(work.answer)
        _put(folder, name, number, {f"{lab.name}.ipynb": work.bytes()}, work)
    sources = [folder]
    for number, found in enumerate(cases, start=1000):
        work = Work.of(lab, released, source, place)
        made = found.make(work)
        data = work.bytes() if made is None else made
        files = data if isinstance(data, dict) else {f"{lab.name}.ipynb": data}
        if found.source is not None:
            away = root / f"in-{number}"
            away.mkdir()
            sources.append(found.source(away, found.display_name, work.bytes()))
        else:
            _put(folder, found.display_name, number, files, work)
    for path in sources:
        try:
            collect_class(classroom, lab.name, path)
        except AutograderError as error:
            refused[str(path)] = str(error)
    return refused


def _put(folder: Path, name: str, number: int, files: dict[str, Any], work: Work) -> None:
    place = folder / f"{name}_{number}_assignsubmission_file_"
    place.mkdir(parents=True)
    for file, content in files.items():
        path = place / work.fill(file.replace("{lab}", work.lab.name))
        path.write_bytes(content) if isinstance(content, bytes) else content(path)


def _grade(lab: Lab, classroom: Classroom, engine_of: EngineOf, jobs: int) -> None:
    engine = engine_of(classroom, lab.name)
    template = classroom.template(lab.name)
    limits, label = lab.limits, label_of(engine)
    work, _ = to_grade(classroom, lab.name, template, limits, engine=label)
    grade_and_record(classroom, template, engine, work, limits, jobs=jobs)
    write_feedback(read_sheet(classroom, lab.name))


def _read(
    lab: Lab, classroom: Classroom, cases: Sequence[Case], refused: dict[str, str]
) -> dict[str, Verdict]:
    sheet = read_sheet(classroom, lab.name)
    rows = {row.name: row for row in sheet.rows}
    verdicts = {}
    for found in cases:
        row = rows.get(found.display_name)
        if row is None:
            verdicts[found.name] = Verdict("lost", "; ".join(refused.values()))
        else:
            check = f"{lab.ruled if found.ruled else lab.guilty}-check"
            verdicts[found.name] = _verdict(lab, classroom, row, check)
    for cell in itertools.chain.from_iterable(csv.reader(io.StringIO(csv_text(sheet)))):
        assert not cell.lstrip().startswith(("=", "+", "@")), f"a formula in the CSV: {cell}"
    return verdicts


def _verdict(lab: Lab, classroom: Classroom, row: Row, check: str) -> Verdict:
    page = classroom.feedback(row.student, lab.name)
    received = page.read_text(encoding="utf-8") if page.is_file() else ""
    if row.result is None or row.status != "graded":
        return Verdict(row.status, row.reason, received=received)
    notebook = classroom.autograded(row.student, lab.name)
    # Outputs and record: what the code said. Its text is the student's own.
    outputs = [c.get("outputs") for c in json.loads(notebook.read_text(encoding="utf-8"))["cells"]]
    said = [asdict(question) for question in row.result.questions]
    kept = json.dumps([outputs, said, row.result.limits])
    guilty = _share(row.result, lambda cell: cell == check)
    others = _share(row.result, lambda cell: cell != check)
    flags = tuple(sorted({flag.code for flag in row.result.flags}))
    _agrees(row)
    return Verdict("graded", "", guilty, others, flags, row.result.limits, received, kept)


def _share(result: Result, wanted: Callable[[str], bool]) -> float:
    chosen = [q for q in result.questions if wanted(q.cell) and q.earned is not None]
    chosen = [q for q in chosen if not q.cell.endswith("-think")]
    return sum(q.earned or 0.0 for q in chosen) / (sum(q.points for q in chosen) or 1.0)


def _agrees(row: Row) -> None:
    """The gradebook says what the record says."""
    assert row.grades is not None
    assert row.result is not None
    for question in row.result.questions:
        grade = row.grades.cells[question.cell]
        assert grade.score == (question.earned or 0.0), (row.name, question.cell)
        assert grade.manual is None, (row.name, question.cell)


def _honest(lab: Lab, classroom: Classroom) -> dict[str, Any]:
    """All that is recorded about the honest students, but for times."""
    rows = {row.name: row for row in read_sheet(classroom, lab.name).rows}
    found = {}
    for name in HONEST:
        row = rows[name]
        assert row.result is not None
        result = {**asdict(row.result), "seconds": 0}
        page = classroom.feedback(row.student, lab.name).read_bytes()
        notebook = json.loads(classroom.autograded(row.student, lab.name).read_text("utf-8"))
        found[name] = (result, row.grades, page, notebook["cells"])
    return found


@contextlib.contextmanager
def _bait() -> Iterator[tuple[int, subprocess.Popen[bytes], list[Any]]]:
    """A port that nobody may reach, and a process that nobody may harm."""
    connections: list[Any] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connections.append(listener.accept()[1])

    threading.Thread(target=accept, daemon=True).start()
    victim = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3000)"])
    try:
        yield listener.getsockname()[1], victim, connections
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        victim.kill()
        victim.wait()


@contextlib.contextmanager
def _temporary(folder: Path) -> Iterator[None]:
    """Temporary files of the grader go to one folder, so that what is left there can be seen."""
    from multiprocessing.util import get_temp_dir

    get_temp_dir()  # it lives as long as this process, so it stays where it was
    before, os.environ["TMPDIR"] = os.environ.get("TMPDIR"), str(folder)
    tempfile.tempdir = None
    try:
        yield
    finally:
        tempfile.tempdir = None
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before


def _contents(root: Path) -> dict[str, bytes]:
    """Files of a class that grading must leave alone."""
    mine = ("gradebook.db", ".autograder", "submitted", "autograded", "feedback")
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] not in mine
    }


def _changed(classroom: Classroom, before: dict[str, bytes]) -> list[str]:
    after = _contents(classroom.root)
    names = sorted(set(before) ^ set(after))
    names += [name for name in before if name in after and before[name] != after[name]]
    return [f"{name} of the class was changed" for name in names]


def _left_behind(place: Place, root: Path) -> list[str]:
    """Processes and files that carry the token of this run."""
    deadline = time.monotonic() + _SETTLE
    while alive := _processes(place.token):
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    found = [f"still running: {line}" for line in alive]
    for pid in alive.values():
        with contextlib.suppress(psutil.Error):
            psutil.Process(pid).kill()
    home = Path.home()
    site = Path(psutil.__file__).parents[1]
    shallow = [Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"), home, Path.cwd(), site, Path("/")]
    shallow += [home / ".ipython" / "profile_default" / "startup", home / ".config" / "matplotlib"]
    shallow += [Path("/etc"), Path("/usr/local/bin")]
    for folder in shallow:
        if folder.is_dir():
            found += [f"left behind: {p}" for p in folder.iterdir() if place.token in p.name]
    found += [f"left behind: {p}" for p in root.rglob(f"*{place.token}*")]
    return found + [f"left behind: {p}" for p in (root / "tmp").iterdir()]


def _processes(token: str) -> dict[str, int]:
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        line = " ".join(process.info["cmdline"] or [])
        if token in line and process.pid != os.getpid():
            found[line[:200]] = process.pid
    return found


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
