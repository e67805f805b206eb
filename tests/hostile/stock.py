"""Some cases through stock `nbgrader autograde`, each alone in a class, for comparison."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nbformat

from autograder.classroom import Classroom
from autograder.recorder import read_grades

from .case import Case, Place, Work
from .labs import TINY

__all__ = ["STOCK", "run_stock"]

STOCK = frozenset(
    {
        "everything right",
        "the test cell was deleted",
        "the test cell was pasted twice",
        "another editor stripped all metadata",
        "warnings and errors on stderr",
        "%reset -f at the end",
        "the kernel is another one",
        "truncated",
        "an endless loop",
        "os._exit",
        "a segfault",
        "tags that skip the test",
        "flipped flags and a hundred points",
        "points through the display hook",
        "a patched run_cell",
        "patched checks",
        "hidden tests from the gradebook",
    }
)
_SECONDS = 400


def run_stock(cases: Sequence[Case]) -> dict[str, str]:
    """Case → "" where nbgrader gave what the case deserves, else what it did.

    nbgrader has no flags, limits or reasons, so only points count here, and that it came to an end.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        empty = TINY.make_classroom(Path(folder) / "made")

        def one(numbered: tuple[int, Case]) -> str:
            classroom = Classroom(Path(folder) / f"class{numbered[0]}")
            shutil.copytree(empty.root, classroom.root)
            return _one(numbered[1], classroom)

        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(one, enumerate(cases)))
    return {case.name: wrong for case, wrong in zip(cases, found)}


def _one(case: Case, classroom: Classroom) -> str:
    lab = TINY
    released = nbformat.read(classroom.release(lab.name), as_version=4)
    source = nbformat.read(classroom.source(lab.name), as_version=4)
    work = Work.of(lab, released, source, Place(classroom.root, "none", 9, os.getpid()))
    made = case.make(work)
    path = classroom.submitted("ann", lab.name)
    path.parent.mkdir(parents=True)
    path.write_bytes(made if isinstance(made, bytes) else work.bytes())
    words = [sys.executable, "-m", "nbgrader", "autograde", lab.name, "--student", "ann"]
    options = [f"--CourseDirectory.root={classroom.root}", "--ExecutePreprocessor.timeout=60"]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    try:
        done = subprocess.run(
            [*words, *options], cwd=classroom.root, env=environment, capture_output=True,
            text=True, timeout=_SECONDS, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"did not come to an end in {_SECONDS} s"
    grades = read_grades(classroom, lab.name).get("ann")
    if case.status == "rejected":
        return "" if done.returncode else "said nothing"
    if grades is None:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
        return f"no points at all ({lines[-1][-70:] if lines else 'no message'})"
    cells = {k: v for k, v in grades.cells.items() if k.endswith("-check")}
    guilty = cells[lab.check].score / cells[lab.check].points
    rest = [cell for name, cell in cells.items() if name != lab.check]
    others = sum(cell.score for cell in rest) / sum(cell.points for cell in rest)
    wrong = []
    for what, got, wanted in (("", guilty, case.guilty), ("others ", others, case.others)):
        if wanted is not None and abs(got - wanted) > 1e-6:
            word = "undeserved" if got > wanted else "lost"
            wrong.append(f"{what}{100 * got:.0f} % ({word})")
    return ", ".join(wrong)
