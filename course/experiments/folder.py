"""The folder of a run: what was asked, what came out, and whether a new run may go on in it.

Files are written whole or not at all, so a kill leaves either the old or the new one. A run that
replaces another takes the old one's files away first, so a kill never leaves a mixture.
"""

import csv
import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

__all__ = [
    "check_folder",
    "clear",
    "draw",
    "fixed",
    "is_first_process",
    "versions",
    "write_config",
    "write_metrics",
]

_MAY_DIFFER = {"device", "workers", "parameters", "versions"}  # between the parts of one run
_WRITTEN = (  # the configuration last: while anything of a run is left, it says what that is
    *("*.ckpt", "weights.pt", "history.csv", "metrics.csv", "curves.png", "curves.txt"),
    "config.json",
)


def versions() -> dict[str, str]:
    """Versions of Python and torch, which belong to the description of a run."""
    from importlib.metadata import version

    return {"python": platform.python_version(), "torch": version("torch")}


def is_first_process() -> bool:
    """Whether this process writes: the only one, or the first of those that torchrun started."""
    return int(os.environ.get("RANK", 0)) == 0


def fixed(described: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a description that stays the same between the parts of one run.

    >>> fixed({"system": "UNet", "seed": 0, "workers": 2})
    {'system': 'UNet', 'seed': 0}
    """
    return {name: value for name, value in described.items() if name not in _MAY_DIFFER}


def check_folder(folder: Path, described: Mapping[str, Any], *, resume: bool = True) -> None:
    """Refuse a folder that cannot be made, or that holds anything but the beginning of this run.

    Args:
        folder: where the run goes.
        described: what its `config.json` will hold.
        resume: False allows what is there, because `clear` will take it away.

    Raises:
        ValueError: it is a file, or has files that this run would overwrite.
    """
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    if there.exists() and not there.is_dir():
        raise ValueError(f"expected a folder, {there} is a file: choose another --out")
    found = _found(folder)
    if not resume or not found:
        return
    saved = _read_config(folder / "config.json")
    if "versions" not in saved:  # no run of this course has described what lies here
        names = ", ".join(sorted(path.name for path in found))
        raise ValueError(
            f"{folder} already holds {names} of something else: choose another --out, or "
            "--no-resume to replace it"
        )
    for name, value in fixed(json.loads(json.dumps(described))).items():
        if saved.get(name) != value:
            raise ValueError(
                f"{folder} holds a run with {name} = {saved.get(name)!r}, this one has {value!r}: "
                "choose another --out, or --no-resume to replace it"
            )


def clear(folder: Path) -> None:
    """Remove what a run has written, checkpoints first and its configuration last."""
    for path in _found(folder):
        path.unlink()


def _found(folder: Path) -> list[Path]:
    """Files of the names that a run writes, half-written ones included."""
    names = (name for written in _WRITTEN for name in (written, f"{written}.partial"))
    return [path for name in names for path in sorted(folder.glob(name)) if path.is_file()]


def _read_config(path: Path) -> dict[str, Any]:
    """The description of a run, empty where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # absent, or text of another kind
        return {}
    return content if isinstance(content, dict) else {}


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
    from course.experiments.drawing import picture_of

    picture = picture_of(history, metric, title=title)
    picture.save(folder / "curves.png")
    _write(folder / "curves.txt", picture.alt + "\n")


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    partial_path = path.with_name(path.name + ".partial")
    partial_path.write_text(text, encoding="utf-8")
    os.replace(partial_path, path)
