"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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
