"""One state of all random generators, wherever a fork begins."""

from __future__ import annotations

import random

import numpy as np
import torch

__all__ = ["SEED", "seed_all"]

SEED = 0


def seed_all(seed: int = SEED) -> None:
    """Seed Python's, numpy's and torch's generators.

    Every fork has inherited the same generators; what they give must not depend on the past of the
    process that was forked, and is the same on both sides of the wire.
    """
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - what students use
    torch.manual_seed(seed)
