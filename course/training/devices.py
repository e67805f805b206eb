"""Fabric, quiet and tidy: where a run computes, and what it leaves behind there."""

import logging
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from course.training.checkpoint import read_checkpoint
from course.training.history import History
from course.training.job import Job

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["launch", "left_as_found", "quiet_fabric"]

_ERROR = ".error"  # ends the name of a file with an error

Train = Callable[[Job, "Fabric"], History]


def launch(train: Train, job: Job, *, device: str, devices: int) -> History:
    """Run `train(job, fabric)` here, in the processes of torchrun, or in new processes.

    Raises:
        TypeError: new processes are needed and an argument of `fit` cannot be sent there.
        ValueError: Fabric does not know the device or the precision, or has too few devices.
    """
    from lightning_fabric import Fabric  # seconds of imports that no lab should pay for early

    strategy = _strategy(devices)
    fabric = Fabric(
        accelerator=device,
        devices=devices,
        strategy=strategy,
        precision=job.precision,  # type: ignore[arg-type]
    )
    if strategy in ("auto", "ddp"):
        return fabric.launch(partial(train, job))
    return _launch_processes(fabric, train, job)


def _strategy(devices: int) -> str:
    if torch.distributed.is_available() and torch.distributed.is_torchelastic_launched():
        return "ddp"
    if devices == 1:
        return "auto"
    return "ddp_notebook" if hasattr(sys, "ps1") else "ddp_spawn"


def _launch_processes(fabric: "Fabric", train: Train, job: Job) -> History:
    """Train in new processes and bring weights and history, or the error, back through files.

    They cannot come through a queue: tensors in it live only as long as the process that sent them.
    """
    from torch.multiprocessing.spawn import ProcessRaisedException

    for name in ("loss", "optimizer", "schedule", "evaluate"):
        try:
            pickle.dumps(getattr(job, name))
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise TypeError(
                f"several devices run in processes of their own, and {name} cannot be sent there "
                f"({error}): define it with `def` at the top level of a module"
            ) from error
    with tempfile.TemporaryDirectory() as folder:
        if job.checkpoint is None:
            path = Path(folder) / "run.ckpt"
            job = replace(job, checkpoint=path, checkpoint_every=job.steps)
        try:
            fabric.launch(_Child(train, job, Path(folder)))
        except ProcessRaisedException as error:
            raise _brought_back(Path(folder)) or error from error
        assert job.checkpoint is not None
        state = read_checkpoint(job.checkpoint)
    job.model.load_state_dict(state["model"])
    return History(**state["history"])


@dataclass
class _Child:
    """What a new process does; `folder` takes the error that it may end with."""

    train: Train
    job: Job
    folder: Path

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        _silence()  # on arrival in a new process, before Fabric joins it to the others

    def __call__(self, fabric: "Fabric") -> None:
        # Weights arrive in memory that all the processes share: without a copy of its own, each
        # would add its updates to everybody's model.
        job = replace(self.job, model=deepcopy(self.job.model))
        try:
            with quiet_fabric():
                self.train(job, fabric)
        except Exception as error:
            _send_back(error, self.folder / f"{fabric.global_rank}{_ERROR}")
            raise


def _send_back(error: Exception, path: Path) -> None:
    try:
        content = pickle.dumps(error)
        pickle.loads(content)  # an error with arguments of its own may be written but not read
    except Exception:
        return
    path.write_bytes(content)


def _brought_back(folder: Path) -> Exception | None:
    """The error of the first process that could tell it."""
    for path in sorted(folder.glob(f"*{_ERROR}")):
        return pickle.loads(path.read_bytes())
    return None


@contextmanager
def quiet_fabric() -> Iterator[None]:
    """Keep remarks of Fabric and its processes off stderr, where nbgrader takes them for errors."""
    levels = _silence()
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning_(fabric|utilities)")
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


def _silence() -> dict[str, int]:
    """Let Fabric and the end of a process log errors only; return the levels before."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning_fabric  # sets the level of its logger
    loggers = (lightning_fabric.__name__, "torch.multiprocessing.spawn")
    levels = {name: logging.getLogger(name).level for name in loggers}
    for name in loggers:
        logging.getLogger(name).setLevel(logging.ERROR)
    return levels


@contextmanager
def left_as_found(model: nn.Module) -> Iterator[None]:
    """Bring a model back to its device, and each of its parts to its mode."""
    device = next(model.parameters()).device
    modes = [(part, part.training) for part in model.modules()]
    try:
        yield
    finally:
        model.to(device)
        for part, training in modes:
            part.training = training
