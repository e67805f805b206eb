"""The folder of a run: what was asked, what came out, and whether a new run may go on in it.

Files are written whole or not at all, so a kill leaves either the old or the new one.
"""

import csv
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = ["check_same_run", "draw", "versions", "write_config", "write_metrics"]

_MAY_DIFFER = {"device", "workers", "parameters", "versions"}  # between the parts of one run


def versions() -> dict[str, str]:
    """Versions of Python and torch, which belong to the description of a run."""
    from importlib.metadata import version

    return {"python": platform.python_version(), "torch": version("torch")}


def check_same_run(folder: Path, described: Mapping[str, Any]) -> None:
    """Refuse to go on with a folder that holds another run.

    Raises:
        ValueError: it does, or has a checkpoint that nothing describes.
    """
    if not any(folder.glob("*.ckpt")):
        return  # nothing to go on with, whatever else lies there
    path = folder / "config.json"
    if not path.exists():
        raise ValueError(f"{folder} has a checkpoint but no config.json: choose another --out")
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is no configuration of a run: {error}") from error
    for name, value in json.loads(json.dumps(described)).items():
        if name not in _MAY_DIFFER and saved.get(name) != value:
            raise ValueError(
                f"{folder} holds a run with {name} = {saved.get(name)!r}, this one has {value!r}: "
                "choose another --out, or --no-resume to replace it"
            )


def write_config(folder: Path, described: Mapping[str, Any]) -> None:
    """Make the folder and write `config.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "config.json", json.dumps(described, indent=1) + "\n")


def write_metrics(folder: Path, metrics: Mapping[str, float]) -> None:
    """Write `metrics.csv`, a line for each."""
    with (folder / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["metric", "value"])
        writer.writerows((name, f"{value:.6g}") for name, value in metrics.items())


def draw(folder: Path, history: Any, metric: str, *, title: str) -> None:
    """Draw the loss and one metric over the steps into `curves.png`, described in `curves.txt`."""
    from course.plots import curves

    lines = {"loss": (history.step, history.loss)}
    measured = [(row["step"], row[metric]) for row in history.metrics if metric in row]
    if measured:
        lines[metric] = tuple(map(list, zip(*measured)))
    picture = curves(lines, title=title)
    picture.save(folder / "curves.png")
    _write(folder / "curves.txt", picture.alt + "\n")


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial_path = path.with_name(path.name + ".partial")
    partial_path.write_text(text, encoding="utf-8")
    os.replace(partial_path, path)
