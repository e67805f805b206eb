"""The file from which a run goes on: complete, whole or absent, and never of another run.

It is written beside its final name, flushed to the disk and renamed, so a kill at any moment
leaves the previous checkpoint. It is read without executing anything (`weights_only`), and refused
with the first difference named if it belongs to another model or to a run with other settings.
"""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["REMEDY", "check_same_model", "check_same_run", "read_checkpoint", "write_checkpoint"]

_FORMAT = 1
REMEDY = "choose another file, or resume=False (--no-resume) to start again and replace it"


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write `state` (tensors, numbers, strings, lists, dictionaries) to `path`, atomically.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_checkpoint(Path(folder) / "run.ckpt", {"step": 3})
    ...     read_checkpoint(Path(folder) / "run.ckpt")["step"]
    3
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        torch.save({"format": _FORMAT, **state}, file)
        file.flush()
        os.fsync(file.fileno())  # the name must not reach the disk before the bytes
    os.replace(partial, path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read what `write_checkpoint` wrote, with all tensors on the CPU.

    Raises:
        ValueError: the file is something else.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is no checkpoint of course.training: {error}") from error
    if not isinstance(state, dict) or state.get("format") != _FORMAT:
        raise ValueError(
            f"{path} is no checkpoint of course.training (format {_FORMAT}): delete it or pass "
            "another path"
        )
    return state


def check_same_run(path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse a checkpoint of a run with other settings.

    Raises:
        ValueError: names the first setting that differs.
    """
    for name, value in wanted.items():
        if saved.get(name) != value:
            raise ValueError(
                f"{path} belongs to a run with {name} = {saved.get(name)!r}; this one has "
                f"{value!r}: {REMEDY}"
            )


def check_same_model(path: Path, saved: dict[str, Tensor], model: nn.Module) -> None:
    """Refuse a checkpoint whose weights do not fit the model, name by name and shape by shape.

    Raises:
        ValueError: names the first weight that differs.
    """
    wanted = model.state_dict()
    for name in [*wanted, *saved]:
        shapes = [_shape(weights.get(name)) for weights in (saved, wanted)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"{path} belongs to another model: its {name!r} is {shapes[0]}, this model's is "
                f"{shapes[1]}: {REMEDY}"
            )


def _shape(weight: Tensor | None) -> str:
    return "absent" if weight is None else f"of shape {tuple(weight.shape)}"
