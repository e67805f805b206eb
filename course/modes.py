"""Run a network as at test time, and leave it as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


@contextmanager
def evaluation_mode(net: "nn.Module") -> "Iterator[nn.Module]":
    """Put every part of `net` into evaluation mode for a while, then restore each part's own mode.

    `net.eval()` and `net.train()` set all parts alike, so a pair of them would wake frozen batch
    norms. The modes come back after an error too.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8).eval(), nn.Dropout())
    >>> with evaluation_mode(net):
    ...     [part.training for part in net]
    [False, False, False]
    >>> [part.training for part in net]
    [True, False, True]
    """
    modes = [(part, part.training) for part in net.modules()]
    net.eval()
    try:
        yield net
    finally:
        for part, training in modes:
            part.training = training
