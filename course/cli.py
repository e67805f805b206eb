"""The `course` command: train systems, list them, and open the demos and lectures.

`course --help` and `course systems` load no torch. Bad input ends with one line that says what to
do and exit code 2; a run whose loss diverges ends with exit code 1.
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from course.console import (
    fail,
    print_error,
    print_metrics,
    print_recipes,
    print_rows,
    print_settings,
)
from course.experiments.systems import SYSTEMS
from course.lectures import commands as lectures
from course.lectures.catalogue import LectureError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)
app.add_typer(lectures.app, name="lectures")


@app.callback()
def root() -> None:
    """Train and compare the systems of the segmentation course; open its demos and lectures."""


@app.command()
def systems() -> None:
    """List all systems with their papers and the parameters of the published configuration."""
    from rich.console import Console
    from rich.table import Table

    table = Table("system", "paper", "task", "published parameters", box=None)
    table.columns[3].justify = "right"
    for system in SYSTEMS:
        table.add_row(system.name, system.paper, system.task, f"{system.parameters:,}")
    Console().print(table)


@app.command()
def train(
    system: Annotated[str, typer.Argument(help="A name of `course systems`, in any case.")],
    data: Annotated[
        str,
        typer.Option(
            help="lines, cells, scenes, textures, boxes (made on the spot); bccd, camvid, dsb2018, "
            "isbi2012, pennfudan, pets, voc2007, voc2012 or coco:IMAGES:ANNOTATIONS (read from "
            "the folder in COURSE_DATA)."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run.")],
    steps: Annotated[int, typer.Option(help="Updates.")] = 500,
    seed: Annotated[int, typer.Option(help="Of weights, order, sampling, synthetic images.")] = 0,
    batch_size: Annotated[int, typer.Option(help="Images per update.")] = 8,
    lr: Annotated[float | None, typer.Option(help="Learning rate; default: the system's.")] = None,
    width: Annotated[int | None, typer.Option(help="Scale of the network.")] = None,
    size: Annotated[int, typer.Option(help="Side of the images in pixels.")] = 64,
    train: Annotated[int | None, typer.Option(help="Training images at most.")] = None,
    test: Annotated[int | None, typer.Option(help="Test images at most.")] = None,
    evaluate_every: Annotated[int | None, typer.Option(help="Steps between measurements.")] = None,
    checkpoint_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 50,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    devices: Annotated[int, typer.Option(help="How many devices share a batch.")] = 1,
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed, 16-mixed, ...")] = "32-true",
    workers: Annotated[int, typer.Option(help="Processes that read data.")] = 0,
    resume: Annotated[
        bool, typer.Option(help="Go on with the run in --out, or start it again.")
    ] = True,
) -> None:
    """Train the small version of a system; a killed run goes on where it was, to the same end."""
    from course.experiments.run import Config, run

    config = Config(
        system=system,
        data=data,
        steps=steps,
        seed=seed,
        batch_size=batch_size,
        lr=lr,
        width=width,
        size=size,
        train=train,
        test=test,
        evaluate_every=evaluate_every,
        checkpoint_every=checkpoint_every,
        device=device,
        devices=devices,
        precision=precision,
        workers=workers,
    )
    try:
        result = run(config, out, resume=resume, announce=print_settings)
    except (ValueError, TypeError, OSError) as error:
        fail(error, 2)
    except FloatingPointError as error:
        fail(error, 1)
    if result.metrics:
        print_metrics(result.metrics)
        typer.echo(f"weights, history, metrics and curves: {result.folder}")


@app.command()
def reproduce(
    recipe: Annotated[str | None, typer.Argument(help="A name; without one, all of them.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the run.")] = None,
    steps: Annotated[
        int | None, typer.Option(help="Updates in all, in place of the published number.")
    ] = None,
    width: Annotated[int | None, typer.Option(help="Scale of the network, likewise.")] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order and augmentation.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    precision: Annotated[str, typer.Option(help="32-true, bf16-mixed, 16-mixed, ...")] = "32-true",
    workers: Annotated[int, typer.Option(help="Processes that read data.")] = 0,
    resume: Annotated[
        bool, typer.Option(help="Go on with the run in --out, or start it again.")
    ] = True,
) -> None:
    """Train a published network as its paper did, and put its figures beside ours (wants a GPU)."""
    from course.experiments.recipes import RECIPES, find_recipe

    if recipe is None:
        print_recipes(RECIPES)
        return
    try:
        chosen = find_recipe(recipe)
        if out is None:
            raise ValueError("expected a folder for the run: --out FOLDER")
        from course.experiments.reproduce import reproduce as run

        result = run(
            recipe,
            out,
            steps=steps,
            width=width,
            seed=seed,
            device=device,
            precision=precision,
            workers=workers,
            resume=resume,
            announce=print_settings,
        )
    except (ValueError, TypeError, OSError) as error:
        fail(error, 2)
    except FloatingPointError as error:
        fail(error, 1)
    rows = {
        name: (f"{value:.4f}", f"{chosen.published[name]:.4f}" if name in chosen.published else "")
        for name, value in result.metrics.items()
    }
    print_rows(("metric", "here", "published"), rows)
    typer.echo(chosen.remarks)
    typer.echo(f"weights, history, metrics and curves: {result.folder}")


@app.command()
def ladder(
    only: Annotated[
        list[str] | None, typer.Option(help="Name of a rung to climb again; may be repeated.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each rung.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Updates of each run.")] = 300,
    out: Annotated[
        Path | None, typer.Option(help="File of the scores; default: the course's own.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Drop scores in it of other seeds or steps.")
    ] = False,
) -> None:
    """Train every system of the course on the same thin lines and store what each one reached."""
    from course.ladder.command import climb_all

    try:
        table = climb_all(
            only or [], seeds=seeds, steps=steps, out=out, replace=replace, say=typer.echo
        )
    except (ValueError, OSError) as error:
        fail(error, 2)
    typer.echo(table)


@app.command()
def demos(
    names: Annotated[
        list[str] | None, typer.Argument(help="Demos to show; default: all of them.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(help="Where the notebook goes; default: a temporary folder.")
    ] = None,
    browser: Annotated[bool, typer.Option(help="Open a window of the browser.")] = True,
) -> None:
    """Open the interactive demos on one page in JupyterLab."""
    import tempfile

    from course.demos.gallery import write
    from course.jupyterlab import open_notebook

    try:
        path = write(folder or Path(tempfile.mkdtemp(prefix="course-demos-")), names)
        typer.echo(f"{path}: choose Run, Run All Cells; stop with Ctrl-C.")
        code = open_notebook(path.resolve(), browser=browser)
    except (OSError, ImportError, ValueError) as error:
        fail(error, 2)
    raise typer.Exit(code)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line (the `course` script of the package); leaves by SystemExit."""
    command = typer.main.get_command(app)
    try:
        code = command(arguments, prog_name="course", standalone_mode=False)
    except typer.Abort:
        code = 130
    except LectureError as error:
        for line in str(error).splitlines():
            print_error(line)
        code = 1
    except Exception as error:
        explain = getattr(error, "format_message", None)  # of a wrong option or argument
        if explain is None:
            raise
        message = explain()
        if "Usage:" in message:  # no argument at all: the message is the help
            typer.echo(message)
        elif message:  # or the help has been printed already
            print_error(f"{message.rstrip('.')}; see course --help")
        code = 2
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
