"""`course lectures list | build | open`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from course.lectures.catalogue import LectureError, choose, lectures

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, help="Slides of the lecture: list, build decks, open live.")


@app.command("list")
def list_lectures() -> None:
    """List the sections with their slides and demos."""
    from rich.console import Console
    from rich.table import Table

    from course import demos

    table = Table("section", "title", "slides", "demos", box=None)
    table.columns[2].justify = "right"
    for lecture in lectures():
        shown = [name for name in demos.names() if f'demos.show("{name}"' in lecture.source]
        table.add_row(lecture.name, lecture.title, str(lecture.slides), ", ".join(shown))
    Console().print(table)


@app.command("build")
def build_decks(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Numbers of sections; default: all.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the decks.")] = Path("decks"),
    jobs: Annotated[int, typer.Option(min=1, help="Lectures at once.")] = min(
        os.cpu_count() or 1, 4
    ),
    pdf: Annotated[bool, typer.Option("--pdf", help="Also print PDFs, with Chromium.")] = False,
    labs_at: Annotated[
        str | None, typer.Option(help="Address of a lab's page from a deck: ../labs/{name}.html")
    ] = None,
    demos_at: Annotated[
        str | None, typer.Option(help="Address of a demo's page from a deck, with {name}.")
    ] = None,
) -> None:
    """Make offline decks with reveal.js; open index.html in the folder, no server is needed."""
    from course.lectures.build import Site, build
    from course.lectures.display import Display

    chosen = choose(numbers or [])
    with Display(chosen) as display:
        results = build(
            chosen,
            out,
            jobs=jobs,
            site=Site(labs_at, demos_at),
            pdf=pdf,
            begun=display.begun,
            done=display.done,
        )
    problems = [result.problem for result in results if result.deck is None]
    if len(problems) < len(results):
        typer.echo(f"open {out / 'index.html'}")
    if problems:
        raise LectureError("\n".join(problems))


@app.command("open")
def open_notebooks(
    number: Annotated[int | None, typer.Argument(help="Section to open first.")] = None,
    folder: Annotated[Path, typer.Option(help="Folder of the notebooks.")] = Path("lectures"),
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Start JupyterLab without a browser.")
    ] = False,
) -> None:
    """Write the lectures as notebooks and start JupyterLab on them; your own changes are kept."""
    from course.lectures.desk import start_lab, write_notebooks

    first = choose([number])[0] if number is not None else None
    written = write_notebooks(lectures(), folder)
    for note in written.notes:
        typer.echo(note)
    target = written.paths[first.name] if first else folder
    raise typer.Exit(start_lab(target, no_browser=no_browser))
