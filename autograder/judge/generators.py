"""Notice when a check moves a random generator, and say where it stands.

A check may set a seed and expect a student's function to draw from there, as it would in a
notebook, where both share one process.
"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch

__all__ = ["Generators"]


class Generators:
    """States of the random generators, to send when the check has moved them."""

    def __init__(self) -> None:
        self._last: tuple[Any, ...] = self._now()

    def changed(self, buffers: list[Any]) -> dict[str, Any]:
        """What must be set on the other side before the next call."""
        state: dict[str, Any] = {}
        before, now = self._last, self._now()
        self._last = now
        if now[0] != before[0]:
            buffers.append(now[0])
            state["torch"] = len(buffers) - 1
        if now[1] != before[1]:
            buffers.append(now[1][0])
            state["numpy"] = [len(buffers) - 1, *now[1][1:]]
        if now[2] != before[2]:
            state["python"] = [now[2][0], list(now[2][1]), now[2][2]]
        return state

    def draw(self) -> None:
        """Move on, as the student's code has done over there: a seed set again is then noticed."""
        torch.rand(())
        np.random.random()  # noqa: NPY002
        random.random()
        self._last = self._now()

    def _now(self) -> tuple[Any, ...]:
        state: Any = np.random.get_state()  # noqa: NPY002 - what students use
        _, key, *position = state
        return (
            torch.get_rng_state().numpy().tobytes(),
            (key.tobytes(), *position),
            random.getstate(),
        )
