"""`autograder demo`: an invented class from zip to report: the instructor's day in a minute."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from autograder.commands.options import Course, Engine, Jobs, Level
from autograder.errors import AutograderError

if TYPE_CHECKING:
    from autograder.classroom import Classroom
    from autograder.invent import Student
    from autograder.layout import Layout
    from autograder.schedule.engines import Recipe

MARKER = ".autograder/demo"
_LIMIT = 10.0  # processor seconds for a cell; the invented endless loop takes that long


def demo(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Where the invented class goes.")
    ] = Path("demo-class"),
    lab: Annotated[str, typer.Option("--lab", help="The lab by name or number.")] = "8",
    force: Annotated[
        bool, typer.Option("--force", help="Replace FOLDER even if it is no demo.")
    ] = False,
    jobs: Jobs = None,
    engine: Engine = "",
    sandbox: Level = "",
    course: Course = None,
) -> None:
    """Grade an invented class of twelve, from the learning platform's zip to the class report.

    It writes one folder and nothing else. An earlier demo there is replaced.
    """
    started = time.monotonic()
    console = Console()
    from autograder.layout import find_layout
    from autograder.schedule.engines import DEFAULT, Recipe

    layout = find_layout(course)
    name = layout.select([lab])[0]
    _clear(folder, force)
    with console.status(f"nbgrader releases {name}"):
        classroom = _release(folder, layout, name)
    console.print(f"[green]✓[/] released {name} into {escape(str(folder))}", soft_wrap=True)
    students = _hand_in(classroom, layout, name)
    console.print(f"[green]✓[/] {len(students)} students handed in: {_zip(classroom)}")
    run_class(console, classroom, name, Recipe(engine or DEFAULT, sandbox), jobs=jobs)
    _explain(console, folder, name, students, time.monotonic() - started)


def run_class(
    console: Console, classroom: Classroom, lab: str, recipe: Recipe, *, jobs: int | None = None
) -> None:
    """Collect, grade, write feedback and reports of the class."""
    from autograder.commands.grade import print_tables, write_reports
    from autograder.commands.progress import run_grading
    from autograder.feedback import write_feedback
    from autograder.grading import collect_class
    from autograder.limits import Limits
    from autograder.sheet import read_sheet

    entries = collect_class(classroom, lab, _zip(classroom))
    good = sum(not entry.rejected for entry in entries)
    console.print(f"[green]✓[/] collected {good} notebooks, refused {len(entries) - good}")
    limits = Limits(cell_seconds=_LIMIT, total_seconds=300)
    template = classroom.template(lab)
    run_grading(console, classroom, template, limits, recipe, jobs=jobs)
    sheet = read_sheet(classroom, lab)
    write_feedback(sheet)
    write_reports(sheet, bom=True)
    print_tables(console, sheet)


def _clear(folder: Path, force: bool) -> None:
    """Make room, but never in a folder that holds somebody's work."""
    if not folder.exists():
        return
    if folder.is_symlink() or not folder.is_dir():
        raise AutograderError(f"{folder} is no folder: name another one", code=2)
    if (folder / MARKER).is_file() or not any(folder.iterdir()):
        shutil.rmtree(folder)
        return
    place = folder.resolve()
    if not force:
        raise AutograderError(
            f"{folder} holds something else: name another folder, or replace it with --force",
            code=2,
        )
    if (place / ".git").exists() or place in (Path.home(), *Path.cwd().parents, Path.cwd()):
        raise AutograderError(f"{folder} is too much to delete, even with --force", code=2)
    shutil.rmtree(folder)


def _release(folder: Path, layout: Layout, lab: str) -> Classroom:
    from autograder.classroom import create_classroom
    from autograder.setup import set_up_lab

    classroom = create_classroom(folder)
    marker = classroom.root / MARKER
    marker.parent.mkdir(parents=True, exist_ok=True)
    marker.write_text("This folder was made by `autograder demo`, which may replace it.\n")
    set_up_lab(classroom, layout, lab)
    return classroom


def _zip(classroom: Classroom) -> Path:
    return classroom.root / "moodle-submissions.zip"


def _hand_in(classroom: Classroom, layout: Layout, lab: str) -> list[Student]:
    import nbformat

    from autograder.invent import invent, write_moodle_zip
    from autograder.zoo import load_zoo

    released: Any = nbformat.read(classroom.release(lab), as_version=4)
    source: Any = nbformat.read(classroom.source(lab), as_version=4)
    path = layout.solutions / "wrong" / f"{lab}.py"
    students = invent(lab, released, source, load_zoo(path) if path.is_file() else [])
    write_moodle_zip(students, _zip(classroom))
    return students


def _explain(
    console: Console, folder: Path, lab: str, students: list[Student], seconds: float
) -> None:
    console.print("What the invented students did:", style="bold")
    for student in students:
        console.print(f"  {escape(student.name)}: {escape(student.note)}", style="dim")
    console.print(f"\n[bold]Done in {seconds:.0f} s.[/] Open next:")
    rows = {
        "class report": f"{folder}/reports/{lab}.html",
        "points": f"{folder}/reports/{lab}.csv",
        "a student's feedback": f"{folder}/feedback/Liam O'Brien/{lab}/{lab}.html",
        "grade written answers": f"cd {folder} && jupyter lab  (menu Nbgrader → Formgrader)",
        "grade again": f"autograder grade {folder} {lab} --again",
    }
    for what, where in rows.items():
        console.print(f"  {what:<22} {escape(where)}", soft_wrap=True, highlight=False)
