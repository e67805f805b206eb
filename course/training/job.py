"""The arguments of `fit` in one parcel that can be sent to another process, and their checks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from course.training.batches import Samples

__all__ = ["Job"]


@dataclass(frozen=True)
class Job:
    """One run of `fit`; the fields are its arguments.

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
        # Without a schedule a finished run may be made longer.
        return settings if self.schedule is None else settings | {"steps": self.steps}

    def check(self, devices: int) -> None:
        """Refuse what would fail later, or in another process.

        Raises:
            TypeError: samples are no dictionaries with an image.
            ValueError: a number out of range, nothing to train, or no data.
        """
        numbers = {
            "steps": (self.steps, 1),
            "batch_size": (self.batch_size, 1),
            "devices": (devices, 1),
            "seed": (self.seed, 0),
            "workers": (self.workers, 0),
            "evaluate_every": (self.evaluate_every or 1, 1),
            "checkpoint_every": (self.checkpoint_every, 1),
        }
        for name, (value, least) in numbers.items():
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"expected {name} to be a whole number >= {least}, got {value!r}")
        if self.batch_size % devices:
            raise ValueError(
                f"expected a batch_size that {devices} devices can share, got {self.batch_size}"
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


def _name(function: Any) -> str | None:
    """A function's name and, for a `partial`, its arguments."""
    if function is None:
        return None
    if hasattr(function, "func"):
        return f"{_name(function.func)} with {function.args} {function.keywords}"
    return getattr(function, "__qualname__", type(function).__qualname__)
