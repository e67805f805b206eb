"""`autograder grade` and `nbgrader autograde`, side by side on a class of a torch lab.

    uv run pytest -m bench -n 0 -s tests/benchmarks/test_grading_speed.py

Both sides run as commands, in fresh processes, end to end: start-up, execution, gradebook,
autograded notebooks. The class is that of `torch_class`: lab 8 without what it trains at its end.
Its looks and pictures stay in the notebooks as students hand them in: nbgrader runs them, this
grader leaves out what earns nothing; a second row for nbgrader has them taken out. nbgrader's cost
is measured on a few submissions and extrapolated along its own straight line. Processor time
(user + system, children included) stands beside the clock, which other programs on the machine
disturb; "2 cores" is the processor time divided by the cores that a side can use.

Sizes come from the environment: GRADING_STOCK=1,3 and GRADING_OURS=12,60 (300 and 1000 for the
curve); the rows for larger classes are then extrapolated and say so.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch_class import LAB, fill, make_class

from autograder.classroom import Classroom
from autograder.sandbox import kernel

pytestmark = pytest.mark.bench
STOCK = [int(n) for n in os.environ.get("GRADING_STOCK", "1,3").split(",")]
OURS = [int(n) for n in os.environ.get("GRADING_OURS", "12,60").split(",")]
JOBS = [int(n) for n in os.environ.get("GRADING_JOBS", "1,2,4").split(",")]
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


@dataclass(frozen=True)
class Cost:
    """Seconds of one command."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Line:
    """Seconds against submissions: fixed + each * n."""

    fixed: float
    each: float

    def at(self, count: int) -> float:
        return self.fixed + self.each * count


def line(points: dict[int, float]) -> Line:
    """The straight line through the smallest and the largest class."""
    few, many = min(points), max(points)
    each = (points[many] - points[few]) / (many - few)
    return Line(points[few] - each * few, each)


def cost(words: list[str], folder: Path) -> Cost:
    """Run a command; its time by the clock, and what it and all its descendants used.

    Orphans come to this process and are counted too: bubblewrap ends without waiting for what it
    held, which is where the students' code runs.
    """
    kernel.adopt_orphans()
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with (folder / "command.log").open("wb") as log:
        process = subprocess.Popen(
            words, cwd=folder, env={**os.environ, **THREADS}, stdout=log, stderr=log
        )
        process.wait()
    took, until = time.monotonic() - began, time.monotonic() + 10
    assert process.returncode == 0, (folder / "command.log").read_text()[-2000:]
    with contextlib.suppress(ChildProcessError):
        while time.monotonic() < until:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.1)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Cost(took, used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime)


def autograder(classroom: Classroom, jobs: int) -> Cost:
    words = ["-m", "autograder", "grade", str(classroom.root), LAB, "-j", str(jobs)]
    return cost([sys.executable, *words], classroom.root)


def nbgrader(classroom: Classroom) -> Cost:
    return cost([sys.executable, "-m", "nbgrader", "autograde", LAB], classroom.root)


class Classes:
    """Classes of any size, made from one release."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._empty = make_class(folder / "empty")
        self._number = 0

    def of(self, count: int, *, shows: bool = True) -> Classroom:
        self._number += 1
        root = self._folder / f"class{self._number}"
        shutil.copytree(self._empty.root, root)
        classroom = Classroom(root.resolve())
        fill(classroom, count, self._folder / f"in{self._number}", shows=shows)
        return classroom


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Classes:
    return Classes(tmp_path_factory.mktemp("speed"))


EXPECTS = ("n - (12 * 2**d - 8))", "12 * 2**d - 8 and n - (12 * 2**d - 8))")
ASKS = ("for b in range(5, 12):", "for b in range(5, 13):")


def regrade(classroom: Classroom, change: tuple[str, str]) -> Cost:
    """Change one hidden test, release the lab again, and grade the class once more."""
    text = classroom.source(LAB).read_text()
    assert text.count(change[0]) == 1
    classroom.add_lab(LAB, text.replace(*change).encode())
    return autograder(classroom, 2)


def test_side_by_side(classes: Classes, capsys: pytest.CaptureFixture[str]) -> None:
    autograder(classes.of(2), 2)  # compiles modules and finds fonts, once on a machine
    stock = {n: nbgrader(classes.of(n)) for n in STOCK}
    bare = {n: nbgrader(classes.of(n, shows=False)) for n in STOCK}
    ours, graded = {}, None
    for count in OURS:
        graded = classes.of(count)
        ours[count] = autograder(graded, 2)
    assert graded is not None
    again = autograder(graded, 2)
    mended, extended = regrade(graded, EXPECTS), regrade(graded, ASKS)
    curve = {jobs: autograder(classes.of(min(OURS)), jobs) for jobs in JOBS}
    with capsys.disabled():
        print()
        for row in table(stock, bare, ours, (again, mended, extended), curve):
            print(row)
    them, us = line({n: c.cpu for n, c in stock.items()}), line({n: c.cpu for n, c in ours.items()})
    assert them.each > 5 * us.each
    assert mended.cpu < ours[max(OURS)].cpu


def table(
    stock: dict[int, Cost],
    bare: dict[int, Cost],
    ours: dict[int, Cost],
    later: tuple[Cost, Cost, Cost],
    curve: dict[int, Cost],
) -> list[str]:
    """What was measured, as Markdown."""
    rows = ["| command | submissions | clock (s) | processor (s) |", "|:--|--:|--:|--:|"]
    for name, found in (("nbgrader", stock), ("nbgrader, no pictures", bare), ("autograder", ours)):
        rows += [f"| {name} | {n} | {c.wall:.1f} | {c.cpu:.1f} |" for n, c in found.items()]
    most = max(ours)
    names = ("unchanged", "one test expects something else", "one test asks something else")
    for name, c in zip(names, later, strict=True):
        rows.append(f"| autograder, {name} | {most} | {c.wall:.1f} | {c.cpu:.1f} |")
    small = min(ours)
    for jobs, c in curve.items():
        rows.append(f"| autograder --jobs {jobs} | {small} | {c.wall:.1f} | {c.cpu:.1f} |")
    rows += ["", "| | nbgrader | nbgrader, no pictures | autograder, 2 jobs | ratio |"]
    rows.append("|:--|--:|--:|--:|--:|")
    clock = [line({n: c.wall for n, c in found.items()}) for found in (stock, bare, ours)]
    used = [line({n: c.cpu for n, c in found.items()}) for found in (stock, bare, ours)]
    for what, lines, cores in (("clock", clock, 1), ("processor", used, 1), ("2 cores", used, 2)):
        a, b, c = (found.each for found in lines)
        c /= cores
        rows.append(f"| each, {what} (s) | {a:.2f} | {b:.2f} | {c:.3f} | {a / c:.1f} |")
    for count in (10, 60, 300, 1000):
        a, b = clock[0].at(count), clock[1].at(count)
        c = ours[count].wall if count in ours else clock[2].at(count)
        how = "" if count in ours else ", extrapolated"
        rows.append(
            f"| {count} end to end, clock{how} (s) | {a:.0f} | {b:.0f} | {c:.0f} | {a / c:.1f} |"
        )
        rows.append(
            f"| {count}: each (s) | {a / count:.2f} | {b / count:.2f} | {c / count:.3f} | |"
        )
    whole = ours[most]
    for name, c in zip(names[1:], later[1:], strict=True):
        rows.append(
            f"| {most} again, {name}, against all again | | | {c.wall:.1f} | "
            f"{whole.wall / c.wall:.1f} (processor {whole.cpu / c.cpu:.1f}) |"
        )
    return rows
