"""Options that several commands share."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autograder.errors import AutograderError

if TYPE_CHECKING:
    from autograder.limits import Limits

Labs = Annotated[
    list[str] | None,
    typer.Argument(help="Labs by number or name (8, 08, 08_unet); all of them if none is named."),
]
Course = Annotated[
    Path | None,
    typer.Option("--course", help="Folder that holds solutions/ and labs/.", file_okay=False),
]
Jobs = Annotated[
    int | None,
    typer.Option("--jobs", "-j", min=1, help="Notebooks at a time; one per core by default."),
]
Engine = Annotated[
    str,
    typer.Option("--engine", help="Where students' code runs: sandbox, or kernel without one."),
]
Level = Annotated[
    str,
    typer.Option("--sandbox", help="Level of the sandbox, L3 to L1; the best here by default."),
]
Database = Annotated[
    str,
    typer.Option(
        "--db",
        envvar="AUTOGRADER_DB",
        help="The gradebook, as postgresql://user@host/name; else what the class says.",
    ),
]
Cluster = Annotated[
    str,
    typer.Option("--cluster", help="Grade on the workers of this dask scheduler, tcp://host:8786."),
]
LimitList = Annotated[
    list[str] | None,
    typer.Option("--limit", help="Another limit, such as memory_bytes=2G; may be repeated."),
]

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def read_limits(pairs: list[str] | None, **given: float) -> Limits:
    """Limits from the command line.

    Args:
        pairs: NAME=VALUE, a number with K, M, G or T behind it for powers of 1024.
        given: limits that have an option of their own.

    Raises:
        AutograderError: no such limit, or no positive number.

    >>> read_limits(["memory_bytes=2G"], cell_seconds=5).memory_bytes
    2147483648
    """
    from autograder.limits import Limits

    known = {field.name: field.default for field in fields(Limits)}
    found: dict[str, float | int] = dict(given)
    for pair in pairs or []:
        name, _, text = pair.partition("=")
        number = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)", text.strip().upper())
        if name not in known or number is None:
            choices = ", ".join(f"{key}={value:g}" for key, value in known.items())
            raise AutograderError(f"no limit {pair!r}; there is {choices}", code=2)
        value = float(number[1]) * _UNITS[number[2]]
        found[name] = int(value) if isinstance(known[name], int) else value
    try:
        return Limits(**found)  # type: ignore[arg-type]
    except ValueError as error:
        raise AutograderError(str(error), code=2) from None
