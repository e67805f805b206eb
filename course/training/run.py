"""A run in progress: its history, and the checkpoint that it goes on from."""

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from course.modes import evaluation_mode
from course.training.checkpoint import (
    REMEDY,
    check_same_model,
    check_same_run,
    read_checkpoint,
    write_checkpoint,
)
from course.training.history import History
from course.training.job import Job

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["Run"]

_LOOK_EVERY = 10  # steps between reading losses back from an accelerator, which stalls it


class Run:
    """What has happened so far in the training of `model`, which Fabric has set up already."""

    def __init__(self, fabric: "Fabric", job: Job, model: nn.Module, optimizer: Optimizer) -> None:
        self.fabric, self.job, self.model, self.optimizer = fabric, job, model, optimizer
        self.history = History()
        self._began = time.perf_counter()
        self._unread: list[tuple[int, float, Tensor]] = []

    def restore(self) -> int:
        """Load the checkpoint if there is one to go on from; return the number of steps done.

        Raises:
            ValueError: the file is no checkpoint, or one of another model or other settings.
        """
        job, path = self.job, self.job.checkpoint
        if path is None or not job.resume or not path.exists():
            return 0
        state = read_checkpoint(path)
        check_same_model(path, state["model"], self.model)
        check_same_run(path, state["settings"], job.settings())
        if state["step"] > job.steps:
            raise ValueError(
                f"{path} has {state['step']} steps behind it already, this run wants {job.steps}: "
                f"{REMEDY}"
            )
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.history = History(**state["history"])
        self._began -= self.history.seconds[-1]
        return state["step"]

    def after(self, step: int, loss: Tensor) -> bool:
        """Take note of a step and do what is due; return whether the history has reached it.

        Raises:
            FloatingPointError: a loss since the last look is infinite or nan.
        """
        self._unread.append((step, time.perf_counter() - self._began, loss))
        job, last = self.job, step == self.job.steps
        evaluate = job.evaluate is not None and (last or _every(job.evaluate_every, step))
        save = job.checkpoint is not None and (last or _every(job.checkpoint_every, step))
        look = last or self.fabric.device.type == "cpu" or _every(_LOOK_EVERY, step)
        if not (evaluate or save or look):
            return False
        self._read_losses()  # before saving: a checkpoint never holds the weights after a nan
        if self.fabric.is_global_zero:
            if evaluate:
                self._evaluate(step)
            if save:
                self._save(step)
        if evaluate or save:
            self.fabric.barrier()
        return True

    def _read_losses(self) -> None:
        steps, seconds, losses = zip(*self._unread)
        self._unread.clear()
        mean = self.fabric.all_reduce(torch.stack(losses).float(), reduce_op="mean")
        assert isinstance(mean, Tensor)
        for step, second, loss in zip(steps, seconds, mean.tolist()):
            if not math.isfinite(loss):
                before = f" after {self.history.loss[-1]:.4g}" if self.history.loss else ""
                raise FloatingPointError(
                    f"the loss is {loss} at step {step}{before}: lower lr ({self.job.lr:g}), or "
                    "look for log(0), a division by 0 or nan in the data"
                )
            self.history.step.append(step)
            self.history.seconds.append(second)
            self.history.loss.append(loss)

    def _evaluate(self, step: int) -> None:
        assert self.job.evaluate is not None
        with evaluation_mode(self.model), torch.no_grad(), self.fabric.autocast():
            metrics = self.job.evaluate(self.model)
        row = {name: float(value) for name, value in metrics.items()}
        self.history.metrics.append({"step": step, **row})

    def _save(self, step: int) -> None:
        state = {
            "step": step,
            "settings": self.job.settings(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "history": asdict(self.history),
        }
        assert isinstance(self.job.checkpoint, Path)
        write_checkpoint(self.job.checkpoint, state)


def _every(period: int | None, step: int) -> bool:
    return period is not None and step % period == 0
