"""Training and test images of cells at one size, made on the spot or cut from a real set."""

from __future__ import annotations

import torch

from course.data.container import Scenes
from course.data.synthetic import cells

__all__ = ["cell_images"]


def cell_images(name: str = "cells", *, train: int, test: int, size: int = 64, seed: int = 0):
    return cells(train + test, size=size, seed=seed).split(train, test)
