"""What the `course` command shows: tables on stdout, and an error as one line on stderr."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import typer

__all__ = [
    "fail",
    "print_error",
    "print_metrics",
    "print_recipes",
    "print_rows",
    "print_settings",
]


def print_settings(settings: Mapping[str, Any]) -> None:
    """Show what defines a run, and the versions that it ran with."""
    versions = settings["versions"]
    shown = {k: v for k, v in settings.items() if v is not None and k != "versions"}
    _print_table("setting", {**shown, **versions})


def print_metrics(metrics: Mapping[str, float]) -> None:
    """Show what a run reached."""
    _print_table("metric", {name: f"{value:.4f}" for name, value in metrics.items()})


def print_recipes(recipes: Sequence[Any]) -> None:
    """Show the names of recipes with their steps and published figures."""
    rows = {
        recipe.name: (
            f"{sum(stage.steps for stage in recipe.stages):,}",
            ", ".join(f"{name} {value:g}" for name, value in recipe.published.items()),
            recipe.source.split(", arXiv")[0],
        )
        for recipe in recipes
    }
    print_rows(("recipe", "steps", "published", "paper"), rows)


def _print_table(title: str, rows: Mapping[str, Any]) -> None:
    shown = {k: (f"{v:,}" if k == "parameters" else str(v),) for k, v in rows.items()}
    print_rows((title, "value"), shown)


def print_rows(headers: Sequence[str], rows: Mapping[str, Sequence[str]]) -> None:
    """Show a table whose first column holds the names of `rows`."""
    from rich.console import Console
    from rich.table import Table

    table = Table(*headers, box=None)
    for name, cells in rows.items():
        table.add_row(name, *cells)
    Console().print(table)


def fail(error: Exception, code: int) -> NoReturn:
    """Say what went wrong, and leave with an exit code."""
    print_error(_plain(str(error)))
    raise typer.Exit(code) from error


def _plain(text: str) -> str:
    """What an error says; those of processes that read data come with a traceback around it."""
    before, _, after = text.rpartition("Traceback (most recent call last):\n")
    if not before:
        return text
    lines = after.splitlines()
    start = next((i for i, line in enumerate(lines) if not line.startswith(" ")), 0)
    return "\n".join(lines[start:]).partition(": ")[2]


def print_error(message: str) -> None:
    """Say on stderr, in one line, what went wrong; in red where colours are welcome."""
    color = False if os.environ.get("NO_COLOR") else None  # see no-color.org
    text = "error: " + " ".join(message.split())
    typer.secho(text, fg=typer.colors.RED, err=True, color=color)
