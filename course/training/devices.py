"""Fabric, quiet and tidy: where a run computes, and what it leaves behind there."""

import logging
import pickle
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from course.training.checkpoint import read_checkpoint
from course.training.history import History
from course.training.job import Job

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["launch", "left_as_found", "quiet_fabric"]

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
    """Train in new processes and bring weights and history back, through a file.

    They cannot come through a queue: tensors in it live only as long as the process that sent them.
    """
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
        fabric.launch(partial(_in_new_process, train, job))
        assert job.checkpoint is not None
        state = read_checkpoint(job.checkpoint)
    job.model.load_state_dict(state["model"])
    return History(**state["history"])


def _in_new_process(train: Train, job: Job, fabric: "Fabric") -> None:
    # Weights arrive in memory that all the processes share: without a copy of its own, each would
    # add its updates to everybody's model.
    job = replace(job, model=deepcopy(job.model))
    with quiet_fabric():
        train(job, fabric)


@contextmanager
def quiet_fabric() -> Iterator[None]:
    """Keep Fabric's remarks off stderr, where nbgrader takes them for errors."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import lightning_fabric
    logger = logging.getLogger(lightning_fabric.__name__)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning_(fabric|utilities)")
            yield
    finally:
        logger.setLevel(level)


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
