"""`autograder run`: execute the solutions and say what fails, in a line a lab."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from autograder.commands.options import Course, Jobs, Labs
from autograder.errors import AutograderError
from autograder.execute import Execution, execute_labs
from autograder.layout import Layout, find_layout


def run(
    labs: Labs = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("-p", "--parameter", metavar="NAME=VALUE", help="Set a parameter; repeat."),
    ] = None,
    jobs: Jobs = None,
    reuse: Annotated[
        bool, typer.Option("--reuse", help="Skip labs that are unchanged since their last run.")
    ] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that one cell may take.")] = 900,
    course: Course = None,
) -> None:
    """Execute the solutions by papermill, into executed/.

    Fails where a cell raises or where a solution misses points of its own checks.
    """
    layout = find_layout(course)
    names = layout.select(labs or [])
    values = dict(parse_parameter(text) for text in parameter or [])
    console = Console()
    executions = execute_with_progress(
        console, layout, names, parameters=values, jobs=jobs, reuse=reuse, timeout=timeout
    )
    report_failures(console, executions)


def parse_parameter(text: str) -> tuple[str, Any]:
    """A name and a Python value from `name=value`; text that is no literal stays text.

    >>> parse_parameter("steps=20"), parse_parameter("mode=fast"), parse_parameter("mode='1'")
    (('steps', 20), ('mode', 'fast'), ('mode', '1'))
    """
    name, sign, value = text.partition("=")
    if not sign or not name.isidentifier():
        raise AutograderError(f"write a parameter as NAME=VALUE, such as -p steps=20: {text}")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, {"true": True, "false": False}.get(value, value)


def execute_with_progress(
    console: Console,
    layout: Layout,
    names: list[str],
    *,
    parameters: Mapping[str, Any] | None = None,
    experiments: bool = True,
    jobs: int | None = None,
    reuse: bool = True,
    timeout: float = 900,
) -> list[Execution]:
    """`execute_labs` with one progress bar per lab that runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("cells"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks = {}

        def watch(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=total)
            progress.update(tasks[name], completed=done)

        return execute_labs(
            layout,
            names,
            parameters=parameters,
            experiments=experiments,
            jobs=jobs,
            reuse=reuse,
            timeout=timeout,
            watch=watch,
        )


def report_failures(console: Console, executions: list[Execution]) -> None:
    """Print what failed and exit with 1, or say that everything ran."""
    failed = [execution for execution in executions if execution.error]
    for execution in executions:
        if execution.error:
            console.print(f"[red]✗[/] [bold]{execution.lab}[/] {escape(execution.error)}")
            console.print(f"  executed up to there: {execution.path}", style="dim", soft_wrap=True)
        else:
            how = "unchanged" if execution.reused else f"{execution.seconds:.1f} s"
            console.print(f"[green]✓[/] {execution.lab} ({how})")
    if failed:
        raise AutograderError(f"{len(failed)} of {len(executions)} labs failed")
