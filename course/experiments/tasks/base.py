"""What all tasks share: two parts of a data set, and how a network is wrapped and measured."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course.experiments.sets import Prepared

__all__ = ["Task"]

_BATCH = 16  # images evaluated at once


class Task:
    """The part that all tasks share; subclasses give `wrap`, `loss` and `evaluate`."""

    main_metric: str

    def __init__(self, train: Prepared, test: Prepared, class_names: Sequence[str]) -> None:
        self.train, self.test, self.class_names = train, test, tuple(class_names)

    def wrap(self, net: nn.Module) -> nn.Module:
        """Give the network the form in which it is trained."""
        return net

    def loss(self, output: Any, batch: dict[str, Any]) -> Tensor:
        raise NotImplementedError

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        raise NotImplementedError

    def finish(self, model: nn.Module) -> Mapping[str, float]:
        """Do what follows the last step, and measure it; most systems have nothing."""
        return {}

    def batches(self, model: nn.Module) -> Iterator[tuple[Tensor, list[dict[str, Tensor]]]]:
        """Yield the test samples in batches, the images as the model wants them."""
        like = next(model.parameters())
        for start in range(0, len(self.test), _BATCH):
            samples = [self.test[i] for i in range(start, min(start + _BATCH, len(self.test)))]
            yield torch.stack([s["image"] for s in samples]).to(like), samples
