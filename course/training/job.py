"""The arguments of `fit` in one parcel that can be sent to another process, and their checks."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from course.training.batches import Samples

__all__ = ["Job", "check_numbers"]

_LARGEST_SEED = 2**63 - 1  # of torch's generators


@dataclass(frozen=True)
class Job:
    """One run of `fit`; the fields are its arguments (`further` is its `settings`).

    >>> from torch.optim import Adam
    >>> Job(nn.Linear(1, 1), [], print, steps=1, batch_size=1, lr=1e-3, optimizer=Adam).check(1)
    Traceback (most recent call last):
    ValueError: expected a data set with a length of at least 1
    """

    model: nn.Module
    data: Samples
    loss: Callable[[Any, dict[str, Any]], Tensor]
    steps: int
    batch_size: int
    lr: float
    optimizer: Callable[..., Optimizer]
    schedule: Callable[[int, int], float] | None = None
    seed: int = 0
    precision: str = "32-true"
    channels_last: bool = False
    workers: int = 0
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None
    evaluate_every: int | None = None
    checkpoint: Path | None = None
    checkpoint_every: int = 100
    resume: bool = True
    progress: bool = True
    further: Mapping[str, Any] = field(default_factory=dict)

    def settings(self) -> dict[str, Any]:
        """What must not change between the parts of one run, because it changes the weights."""
        settings = {
            "model": type(self.model).__qualname__,
            "samples": len(self.data),
            "batch_size": self.batch_size,
            "lr": self.lr,
            "optimizer": _name(self.optimizer),
            "schedule": _name(self.schedule),
            "seed": self.seed,
            "precision": self.precision,
            "channels_last": self.channels_last,
        }
        if self.schedule is not None:  # without one, a finished run may be made longer
            settings["steps"] = self.steps
        return {**self.further, **settings}

    def check(self, devices: int) -> None:
        """Refuse what would fail later, or in another process.

        Raises:
            TypeError: samples are no dictionaries with an image.
            ValueError: a number out of range, nothing to train, or no data.
        """
        check_numbers(
            steps=self.steps,
            batch_size=self.batch_size,
            lr=self.lr,
            seed=self.seed,
            devices=devices,
            workers=self.workers,
            evaluate_every=self.evaluate_every,
            checkpoint_every=self.checkpoint_every,
        )
        if not any(parameter.requires_grad for parameter in self.model.parameters()):
            raise ValueError("expected a model with parameters that need gradients, got none")
        if not hasattr(self.data, "__len__") or len(self.data) == 0:
            raise ValueError("expected a data set with a length of at least 1")
        sample = self.data[0]
        if not isinstance(sample, Mapping) or "image" not in sample:
            got = list(sample) if isinstance(sample, Mapping) else type(sample).__name__
            raise TypeError(
                f"expected samples that are dictionaries with an 'image', got {got}: a list of "
                "{'image': …, 'mask': …} will do"
            )


def check_numbers(
    *,
    steps: int,
    batch_size: int,
    lr: float,
    seed: int,
    devices: int = 1,
    workers: int = 0,
    evaluate_every: int | None = None,
    checkpoint_every: int = 1,
) -> None:
    """Refuse numbers that `fit` cannot use, before anything is read, built or replaced.

    Raises:
        ValueError: names the first one that is out of range.

    >>> check_numbers(steps=0, batch_size=8, lr=0.1, seed=0)
    Traceback (most recent call last):
    ValueError: expected steps to be a whole number >= 1, got 0
    """
    numbers = {
        "steps": (steps, 1),
        "batch_size": (batch_size, 1),
        "devices": (devices, 1),
        "seed": (seed, 0),
        "workers": (workers, 0),
        "evaluate_every": (1 if evaluate_every is None else evaluate_every, 1),
        "checkpoint_every": (checkpoint_every, 1),
    }
    for name, (value, least) in numbers.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"expected {name} to be a whole number >= {least}, got {value!r}")
    if seed > _LARGEST_SEED:
        raise ValueError(f"expected a seed of at most {_LARGEST_SEED} (2^63 - 1), got {seed}")
    if not 0 <= lr < math.inf:
        raise ValueError(f"expected lr to be a finite number >= 0, got {lr!r}")
    if batch_size % devices:
        raise ValueError(
            f"expected a batch_size that {devices} devices can share, got {batch_size}"
        )


def _name(function: Any) -> str | None:
    """A function's name and, for a `partial`, its arguments."""
    if function is None:
        return None
    if hasattr(function, "func"):
        return f"{_name(function.func)} with {function.args} {function.keywords}"
    return getattr(function, "__qualname__", type(function).__qualname__)
