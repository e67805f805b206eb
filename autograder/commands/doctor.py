"""`autograder doctor`: a table of what is there, and the command for what is not."""

from __future__ import annotations

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from autograder.commands.options import Course
from autograder.diagnosis import BROKEN, OK, WEAK, diagnose

_MARKS = {OK: ("✓", "green"), WEAK: ("!", "yellow"), BROKEN: ("✗", "red")}


def doctor(course: Course = None) -> None:
    """Say what this machine lacks and the command that mends it.

    Exits with 1 only for what the main commands cannot do without.
    """
    console = Console()
    with console.status("looking around"):
        findings = list(diagnose(course))
    table = Table(title="autograder doctor", show_lines=False)
    table.add_column("")
    table.add_column("what", no_wrap=True)
    table.add_column("found", overflow="fold")
    for finding in findings:
        mark, colour = _MARKS[finding.state]
        table.add_row(Text(mark, colour), finding.what, Text(finding.found))
    console.print(table)
    ill = [finding for finding in findings if finding.state != OK]
    for finding in ill:
        mark, colour = _MARKS[finding.state]
        console.print(Text(f"{mark} {finding.what}: ", colour).append(finding.cure, "bold"))
    broken = sum(finding.state == BROKEN for finding in ill)
    if broken:
        console.print(f"[red]{broken} to mend before the main commands work[/]")
        raise typer.Exit(1)
    console.print("[green]Ready.[/]" + (" What is marked ! is optional." if ill else ""))
