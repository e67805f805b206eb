"""`autograder doctor`: a table of what is there, and the command for what is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autograder.commands.options import Course
from autograder.diagnosis import BROKEN, OK, WEAK, boxes, diagnose

if TYPE_CHECKING:
    from autograder.sandbox.probes import Report

_MARKS = {OK: ("✓", "green"), WEAK: ("!", "yellow"), BROKEN: ("✗", "red")}


def doctor(course: Course = None) -> None:
    """Say what this machine lacks and the command that mends it.

    Exits with 1 only for what the main commands cannot do without.
    """
    console = Console()
    with console.status("looking around, and attacking the sandbox from inside"):
        findings = list(diagnose(course))
        tried = boxes()
    table = Table(title="autograder doctor", show_lines=False)
    table.add_column("")
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding in findings:
        mark, colour = _MARKS[finding.state]
        table.add_row(Text(mark, colour), finding.what, Text(finding.found))
    console.print(table)
    if tried:
        console.print(_attacks(tried))
    ill = [finding for finding in findings if finding.state != OK]
    for finding in ill:
        mark, colour = _MARKS[finding.state]
        console.print(Text(f"{mark} {finding.what}: ", colour).append(finding.cure, "bold"))
    broken = sum(finding.state == BROKEN for finding in ill)
    if broken:
        console.print(f"[red]{broken} to mend before the main commands work[/]")
        raise typer.Exit(1)
    console.print("[green]Ready.[/]" + (" What is marked ! is optional." if ill else ""))


def _attacks(reports: tuple[Report, ...]) -> Table:
    """What a submission tried to do at each level, and whether it was stopped."""
    from autograder.sandbox.ladder import LEVELS
    from autograder.sandbox.probes import PROBES

    table = Table(title="attacks on the sandbox, tried just now", title_justify="left")
    table.add_column("a submission tries to")
    for report in reports:
        level = f"level {report.level}" + (f"\n{report.builder}" if report.builder else "\n")
        table.add_column(level, justify="center")
    for position, name in enumerate(PROBES.values()):
        row = [_verdict(report, position) for report in reports]
        table.add_row(name, *row)
    table.caption = "\n".join(f"level {level}: {what}" for level, what in LEVELS.items())
    table.caption_justify = "left"
    return table


def _verdict(report: Report, position: int) -> Text:
    if report.error:
        return Text("–", "dim")
    held = report.probes[position].held
    return Text("stopped", "green") if held else Text("DONE", "bold red")
