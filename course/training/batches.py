"""Which samples make up the batch of a step: a function of the seed and the step, without a state.

Epoch after epoch, each a fresh permutation, makes one endless stream of samples, and step s takes
its positions s B … (s + 1) B - 1. So no batch is ever short, a data set may be smaller than a
batch, and a run resumes at step s by starting there. Python's, NumPy's and torch's generators are
seeded anew for every position before the sample is read: random augmentation comes out the same
with any number of workers, devices and interruptions.
"""

import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from course.data import collate

__all__ = ["Samples", "callers_generators", "load_batches", "positions_of_step", "seed_generators"]

_EPOCH, _SAMPLE = 0, 1  # name the streams of random numbers that are derived from one seed


class Samples(Protocol):
    """A sized data set of dictionaries with at least an `image` (C, H, W)."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Mapping[str, Tensor]: ...


def positions_of_step(step: int, batch_size: int, rank: int = 0, world: int = 1) -> range:
    """Positions in the stream of samples that device `rank` of `world` takes for `step` (from 0).

    >>> list(positions_of_step(2, batch_size=4)), list(positions_of_step(2, 4, rank=1, world=2))
    ([8, 9, 10, 11], [9, 11])
    """
    return range(step * batch_size + rank, (step + 1) * batch_size, world)


def load_batches(
    data: Samples,
    *,
    steps: range,
    batch_size: int,
    seed: int,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[dict[str, Any]]:
    """Yield the batch of every step in `steps`, as `course.data.collate` makes it.

    >>> from course.data import cells
    >>> batches = load_batches(cells(3, size=32), steps=range(2), batch_size=5, seed=0)
    >>> [len(batch["image"]) for batch in batches]
    [5, 5]
    """
    plan = _Plan(steps, batch_size, rank, world)
    return iter(
        DataLoader(
            _Stream(data, seed),
            batch_sampler=plan,
            num_workers=workers,
            collate_fn=collate,
            pin_memory=pin_memory,
        )
    )


class _Plan(Sampler[list[int]]):
    """The positions of every step, made when their turn comes: a run may have millions."""

    def __init__(self, steps: range, batch_size: int, rank: int, world: int) -> None:
        self.steps, self.share = steps, (batch_size, rank, world)

    def __iter__(self) -> Iterator[list[int]]:
        return (list(positions_of_step(step, *self.share)) for step in self.steps)

    def __len__(self) -> int:
        return len(self.steps)


class _Stream(Dataset):
    """The endless stream of samples, by position."""

    def __init__(self, data: Samples, seed: int) -> None:
        self.data, self.seed = data, seed

    def __getitem__(self, position: int) -> Mapping[str, Tensor]:
        epoch, place = divmod(position, len(self.data))
        index = _permutation(len(self.data), self.seed, epoch)[place]
        seed_generators(self.seed, _SAMPLE, position)
        return self.data[index]


@lru_cache(maxsize=2)  # a batch may straddle two epochs
def _permutation(n: int, seed: int, epoch: int) -> list[int]:
    generator = torch.Generator().manual_seed(_derive(seed, _EPOCH, epoch))
    return torch.randperm(n, generator=generator).tolist()


def seed_generators(seed: int, *path: int) -> None:
    """Seed Python's, NumPy's and torch's global generators from `seed` and the place of use.

    >>> seed_generators(0, 7)
    >>> first = torch.rand(1), random.random()
    >>> seed_generators(0, 7)
    >>> first == (torch.rand(1), random.random())
    True
    """
    derived = _derive(seed, *path)
    random.seed(derived)
    np.random.seed(derived % 2**32)  # noqa: NPY002 - data sets use the global generator
    torch.default_generator.manual_seed(derived)
    # Not torch.manual_seed: before CUDA has started, it queues a call with a traceback every time,
    # which takes milliseconds.
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(derived)
    elif torch.backends.mps.is_available():
        torch.mps.manual_seed(derived)


def _derive(seed: int, *path: int) -> int:
    return int(np.random.SeedSequence((seed, *path)).generate_state(1, np.uint64)[0])


@contextmanager
def callers_generators() -> Iterator[None]:
    """Put the global generators back as they were found."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
