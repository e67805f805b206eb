"""`autograder release`: build labs/ from solutions/, or check that it is current."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from autograder.commands.options import Course, Jobs, Labs
from autograder.commands.run import execute_with_progress, report_failures
from autograder.errors import AutograderError
from autograder.layout import Files, Layout, find_layout
from autograder.source import Lab


def release(
    labs: Labs = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail where labs/ is not current.")
    ] = False,
    text: Annotated[
        bool, typer.Option("--text", help="Execute nothing; keep the pictures there are.")
    ] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Take warnings as errors.")] = False,
    jobs: Jobs = None,
    course: Course = None,
) -> None:
    """Build the student notebooks in labs/ from solutions/.

    Each source is checked, its solution is executed once per change and must earn all its points,
    nbgrader clears solutions and hidden tests, and every line of the result is proved to be one
    that students may see. Nothing is written unless all labs succeed. Long experiments at the end
    of a lab are left to `autograder run`.
    """
    layout = find_layout(course)
    names = layout.select(labs or [])
    console = Console()
    sources = _lint(console, layout, names, strict)
    executions = []
    if not text:
        executions = execute_with_progress(console, layout, names, experiments=False, jobs=jobs)
        if any(execution.error for execution in executions):
            report_failures(console, executions)
    from autograder.current import stale
    from autograder.release import build, write

    with console.status("nbgrader generates the student notebooks"):
        built = build(layout, sources, executions)
    every = len(names) == len(layout.lab_names())
    differences = stale(layout, built, every=every)
    if check:
        for line in differences:
            console.print(f"[red]✗[/] {escape(line)}", soft_wrap=True)
        if differences:
            raise AutograderError("labs/ is not current: run `autograder release` and commit")
        console.print(f"[green]✓[/] labs/ is current: {', '.join(names)}")
        return
    changed = write(layout, built)
    console.print(_summary(sources, built, changed))
    for line in differences if every else []:
        if line.endswith("has no source") and line.count("/") == 1:
            console.print(f"[yellow]![/] {line}: remove it if the lab is gone")


def _lint(console: Console, layout: Layout, names: list[str], strict: bool) -> list[Lab]:
    from autograder.release import read_labs

    sources, findings = read_labs(layout, names)
    bad = [finding for finding in findings if strict or finding.level == "error"]
    for finding in findings:
        colour = "red" if finding in bad else "yellow"
        text = f"{finding.place}: [{colour}]{finding.level}[/]: {escape(finding.message)}"
        console.print(text, soft_wrap=True)
    if bad:
        raise AutograderError(f"{len(bad)} to put right in solutions/; labs/ is as it was")
    return sources


def _summary(sources: list[Lab], built: dict[str, Files], changed: list[str]) -> Table:
    table = Table(title="Released labs")
    for column in ("lab", "exercises", "points", "minutes", "size"):
        table.add_column(column, justify="left" if column == "lab" else "right")
    table.add_column("labs/")
    for lab in sources:
        points = sum(exercise.points for exercise in lab.exercises)
        minutes = sum(exercise.minutes for exercise in lab.exercises)
        size = sum(map(len, built[lab.name].values())) / 1024
        table.add_row(
            lab.name,
            str(len(lab.exercises)),
            f"{points:g}",
            str(minutes),
            f"{size:.0f} KiB",
            "[green]written[/]" if lab.name in changed else "unchanged",
        )
    return table
