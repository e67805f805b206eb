"""The `autograder` command: a table of subcommands, each imported only when it is called.

`autograder --help` must answer at once, so nothing here imports torch, nbgrader or even a
subcommand. The table carries the one-line help; the function carries the options. A new command
is a function of that name in `autograder/commands/` and one line in `COMMANDS`.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from autograder.errors import AutograderError


class Entry(NamedTuple):
    """Where a subcommand lives, and the line that `autograder --help` prints for it."""

    module: str
    help: str


COMMANDS: dict[str, Entry] = {
    "release": Entry("autograder.commands.release", "Build the student notebooks in labs/."),
    "run": Entry("autograder.commands.run", "Execute the solutions, as papermill does."),
    "zoo": Entry("autograder.commands.zoo", "Try the known wrong answers on the checks."),
    "doctor": Entry("autograder.commands.doctor", "Say what this machine lacks and the cure."),
    "collect": Entry("autograder.commands.grade", "Take in a class from a folder or an LMS zip."),
    "grade": Entry("autograder.commands.grade", "Grade a class, several notebooks at a time."),
    "feedback": Entry("autograder.commands.grade", "Write the feedback pages of a class again."),
    "export": Entry("autograder.commands.grade", "Write the points per question as a table."),
    "demo": Entry("autograder.commands.demo", "Grade an invented class and open the report."),
}


class LazyGroup(TyperGroup):
    """A group that lists its commands from the table and imports one only to run it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.commands = {name: TyperCommand(name, help=COMMANDS[name].help) for name in COMMANDS}

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] in COMMANDS:
            return args[0], load_command(args[0]), args[1:]
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except AutograderError as error:
            typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
            raise typer.Exit(error.code) from error


def load_command(name: str) -> Any:
    """Import the module of one subcommand and build its parser.

    >>> load_command("doctor").name
    'doctor'
    """
    entry = COMMANDS[name]
    function = getattr(importlib.import_module(entry.module), name)
    single = typer.Typer(add_completion=False)
    single.command(name, help=function.__doc__ or entry.help)(function)
    return typer.main.get_command(single)


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_show_locals=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"autograder {version('segmentation-course')}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Show the version."
    ),
) -> None:
    """Build the labs, grade a class, return feedback. Each command has its own --help."""


def main() -> None:
    """Run the command line (the `autograder` script of the package)."""
    app(prog_name="autograder")
