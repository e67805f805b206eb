"""`autograder collect`, `grade`, `feedback`, `export`: the instructor's day, in this order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from autograder.commands.options import (
    Cluster,
    Database,
    Engine,
    Jobs,
    Level,
    LimitList,
    read_limits,
)
from autograder.errors import AutograderError

if TYPE_CHECKING:
    from autograder.classroom import Classroom
    from autograder.sheet import Sheet

ClassFolder = Annotated[
    Path, typer.Argument(metavar="CLASS", help="The class: a folder as nbgrader lays it out.")
]
LabName = Annotated[str, typer.Argument(metavar="LAB", help="The lab by name or number.")]
Student = Annotated[str, typer.Option("--only", help="One student, by id or name.")]


def collect(
    folder: ClassFolder,
    lab: LabName,
    source: Annotated[
        Path, typer.Argument(metavar="FROM", help="A learning platform's zip, or a folder.")
    ],
    database: Database = "",
) -> None:
    """Take in what students handed in, one notebook per student.

    A new CLASS is set up, and a LAB that it does not have yet is released into it from solutions/.
    The database that a new class is given stays in its configuration.
    Zips from Moodle and Canvas, nbgrader's folders and plain folders are understood.
    """
    from autograder.grading import collect_class

    console = Console()
    if not source.exists():
        raise AutograderError(f"nothing to collect: {source} does not exist", code=2)
    classroom, name = _with_lab(console, folder, lab, database)
    with classroom.only_one():
        entries = collect_class(classroom, name, source)
    good = [entry for entry in entries if not entry.rejected]
    console.print(f"[green]✓[/] {len(good)} of {len(entries)} students: {classroom.root}/submitted")
    for entry in entries:
        if entry.rejected:
            line = f"[red]✗[/] {escape(entry.name)}: {escape(entry.rejected)}"
            console.print(line, soft_wrap=True)
        for flag in entry.flags:
            line = f"[yellow]![/] {escape(entry.name)}: {escape(flag.detail)}"
            console.print(line, soft_wrap=True)
    if not good:
        raise AutograderError("nothing that can be graded")
    console.print(f"next: autograder grade {escape(str(folder))} {name}", soft_wrap=True)


def grade(
    folder: ClassFolder,
    lab: LabName,
    jobs: Jobs = None,
    only: Student = "",
    again: Annotated[
        bool, typer.Option("--again", help="Judge unchanged submissions too.")
    ] = False,
    new_tests: Annotated[
        bool, typer.Option("--new-tests", help="First take the lab's tests from solutions/ again.")
    ] = False,
    cell_seconds: Annotated[float, typer.Option(min=1, help="Limit for one cell.")] = 60,
    total_seconds: Annotated[float, typer.Option(min=1, help="Limit for one notebook.")] = 600,
    limit: LimitList = None,
    engine: Engine = "",
    sandbox: Level = "",
    cluster: Cluster = "",
    database: Database = "",
) -> None:
    """Run the collected notebooks and write the gradebook.

    Only what changed is judged: a run that was stopped goes on where it was, and a changed test
    costs its own question. docs/grading.md tells about limits, clusters and databases.
    """
    from autograder.commands.progress import run_grading
    from autograder.schedule.engines import DEFAULT, Recipe
    from autograder.sheet import read_sheet

    console = Console()
    limits = read_limits(limit, cell_seconds=cell_seconds, total_seconds=total_seconds)
    classroom, name = _open(folder, lab, database)
    if new_tests:
        _release_again(console, classroom, name)
    recipe = Recipe(engine or DEFAULT, sandbox)
    run_grading(
        console,
        classroom,
        classroom.template(name),
        limits,
        recipe,
        jobs=jobs,
        only=only,
        again=again,
        cluster=cluster,
    )
    sheet = read_sheet(classroom, name)
    print_tables(console, sheet)
    failed = [row for row in sheet.rows if row.status == "failed"]
    if failed:
        raise AutograderError(f"{len(failed)} of {len(sheet.rows)} could not be graded")
    console.print(f"next: autograder feedback {escape(str(folder))} {name}", soft_wrap=True)


def feedback(
    folder: ClassFolder, lab: LabName, only: Student = "", database: Database = ""
) -> None:
    """Write a page for every student, with the points and comments that count now."""
    from autograder.feedback import write_feedback

    console = Console()
    sheet = _sheet(folder, lab, database)
    if only and all(only not in (row.student, row.name) for row in sheet.rows):
        raise AutograderError(f"no student {only!r} in this lab", code=2)
    chosen = next((row.student for row in sheet.rows if only in (row.student, row.name)), "")
    paths = write_feedback(sheet, only=chosen)
    if not paths:
        raise AutograderError("no graded notebook: run `autograder grade` first")
    console.print(
        f"[green]✓[/] {len(paths)} page{'s' * (len(paths) > 1)} in {sheet.classroom.root}/feedback"
    )
    console.print(f"next: autograder export {escape(str(folder))} {sheet.lab}", soft_wrap=True)


def export(
    folder: ClassFolder,
    lab: LabName,
    out: Annotated[
        Path | None, typer.Option("--out", help="The CSV file; else reports/LAB.csv of the class.")
    ] = None,
    bom: Annotated[
        bool, typer.Option("--bom", help="Start with the mark by which Excel knows UTF-8.")
    ] = False,
    database: Database = "",
) -> None:
    """Write points per question as CSV, and the class report as a page."""
    console = Console()
    sheet = _sheet(folder, lab, database)
    table, page = write_reports(sheet, out=out, bom=bom)
    console.print(f"[green]✓[/] points: {table}", soft_wrap=True)
    console.print(f"[green]✓[/] class report: {page}", soft_wrap=True)


def write_reports(sheet: Sheet, *, out: Path | None = None, bom: bool = False) -> tuple[Path, Path]:
    """Write the CSV and the report page; returns their paths."""
    from autograder.export import csv_text
    from autograder.records import write_whole
    from autograder.report import report_page, summarise

    folder = sheet.classroom.root / "reports"
    table, page = out or folder / f"{sheet.lab}.csv", folder / f"{sheet.lab}.html"
    try:
        write_whole(table, csv_text(sheet, bom=bom).encode("utf-8"))
        write_whole(page, report_page(summarise(sheet)))
    except OSError as error:
        raise AutograderError(f"cannot write the reports: {error.strerror}: {table}") from error
    return table, page


def print_tables(console: Console, sheet: Sheet) -> None:
    """The students of a lab, what is odd about their work, and the questions."""
    from autograder.report import question_table, remark_lines, student_table, summarise

    report = summarise(sheet)
    console.print(student_table(report))
    for line in remark_lines(report):
        console.print(line, soft_wrap=True)
    console.print(question_table(report))


def _sheet(folder: Path, lab: str, database: str) -> Sheet:
    from autograder.sheet import read_sheet

    return read_sheet(*_open(folder, lab, database))


def _open(folder: Path, lab: str, database: str) -> tuple[Classroom, str]:
    from autograder.classroom import open_classroom

    classroom = open_classroom(folder, database)
    return classroom, _lab_name(classroom.labs, lab) or lab


def _lab_name(names: list[str], wanted: str) -> str:
    """The lab meant by "8", "08", "unet" or its name, "" if none."""
    number = f"{int(wanted):02}_" if wanted.isdecimal() else "/"
    fits = [n for n in names if wanted in (n, n[3:]) or n.startswith(number)]
    return fits[0] if len(fits) == 1 else ""


def _release_again(console: Console, classroom: Classroom, name: str) -> None:
    """Release the lab into its class as solutions/ has it now; what was handed in stays."""
    from autograder.layout import find_layout
    from autograder.setup import set_up_lab

    layout = find_layout()
    layout.select([name])
    with classroom.only_one(), console.status(f"releasing {name} into {classroom.root}"):
        set_up_lab(classroom, layout, name)
    console.print(f"[green]✓[/] released {name} again", soft_wrap=True)


def _with_lab(console: Console, folder: Path, lab: str, database: str) -> tuple[Classroom, str]:
    """A class that has the lab; it is released into the class where it is missing."""
    from autograder.classroom import create_classroom, open_classroom
    from autograder.layout import find_layout
    from autograder.setup import set_up_lab

    if folder.is_dir() and any(folder.iterdir()):
        classroom = open_classroom(folder, database)
        if name := _lab_name(classroom.labs, lab):
            return classroom, name
    layout = find_layout()
    name = layout.select([lab])[0]
    classroom = create_classroom(folder, database)
    with console.status(f"releasing {name} into {folder}"):
        set_up_lab(classroom, layout, name)
    console.print(f"[green]✓[/] released {name} into {classroom.root}", soft_wrap=True)
    return classroom, name
