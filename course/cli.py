"""The `course` command: train any system of the course on any data set, and list the systems.

`course --help` and `course systems` load no torch. Bad input ends with one line that says what to
do and exit code 2; a run whose loss diverges ends with exit code 1.
"""

from pathlib import Path
from typing import Annotated

import typer

from course.experiments.systems import SYSTEMS, find_system

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False)


@app.callback()
def root() -> None:
    """Train and compare the systems of the segmentation course."""


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
        found = find_system(system)
        typer.echo(f"{found.name} ({found.paper}) on {data}, {steps} steps, seed {seed}, in {out}")
        result = run(config, out, resume=resume)
    except (ValueError, TypeError, OSError) as error:
        _fail(error, 2)
    except FloatingPointError as error:
        _fail(error, 1)
    _print_metrics(result.metrics)
    typer.echo(f"weights, history, metrics and curves: {result.folder}")


def _print_metrics(metrics) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", box=None)
    for name, value in metrics.items():
        table.add_row(name, f"{value:.4f}")
    Console().print(table)


def _fail(error: Exception, code: int) -> None:
    typer.secho("error: " + " ".join(str(error).split()), fg=typer.colors.RED, err=True)
    raise typer.Exit(code) from error


def main() -> None:
    """Run the command line (the `course` script of the package)."""
    app(prog_name="course")


if __name__ == "__main__":
    main()
