"""The layers of a dense network: stride 1, and taps that stand apart.

A pooling with stride s keeps one window in s. With stride 1 it keeps them all, and every later
layer finds its own inputs s apart. torch's convolutions have holes (`dilation`), its average
pooling has none, so pooling is written here as a reduction over shifted views.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class DenseChain(nn.Sequential):
    """Layers with stride 1 that refuse an image smaller than their window, and name both.

    >>> chain = DenseChain(nn.Conv2d(1, 1, 3), SlidingPool((2, 2), (3, 1), maximum))
    >>> chain.window
    (6, 4)
    """

    @property
    def window(self) -> tuple[int, int]:
        """Height and width of the window that one output sees, in pixels."""
        height, width = 1, 1
        for layer in self:
            if isinstance(layer, (nn.Conv2d, SlidingPool)):  # torch 2.5 compiles no union of types
                down, right = pair(layer.dilation)
                height += (layer.kernel_size[0] - 1) * down
                width += (layer.kernel_size[1] - 1) * right
        return height, width

    def forward(self, input: Tensor) -> Tensor:
        (height, width), (high, wide) = input.shape[-2:], self.window
        if height < high or width < wide:
            raise ValueError(
                f"an image of {height} x {width} pixels is smaller than the window of the network, "
                f"{high} x {wide}: pad it, for example with mirror_border"
            )
        return super().forward(input)


class SlidingPool(nn.Module):
    """Pooling with stride 1 and holes: `reduce` over k shifted views, one axis after the other.

    >>> pool = SlidingPool((2, 2), (3, 1), maximum)
    >>> pool(torch.arange(20.0).view(1, 1, 5, 4))  # rows 0 and 3, 1 and 4
    tensor([[[[13., 14., 15.],
              [17., 18., 19.]]]])
    """

    def __init__(
        self,
        kernel_size: tuple[int, int],
        dilation: tuple[int, int],
        reduce: Callable[[list[Tensor]], Tensor],
    ) -> None:
        super().__init__()
        self.kernel_size, self.dilation, self.reduce = kernel_size, dilation, reduce

    def forward(self, x: Tensor) -> Tensor:
        for axis, taps, step in zip((-2, -1), self.kernel_size, self.dilation):
            length = x.shape[axis] - (taps - 1) * step
            x = self.reduce([x.narrow(axis, tap * step, length) for tap in range(taps)])
        return x

    def extra_repr(self) -> str:
        return f"{self.kernel_size}, dilation={self.dilation}, {self.reduce.__name__}"


def maximum(views: list[Tensor]) -> Tensor:
    return functools.reduce(torch.maximum, views)


def mean(views: list[Tensor]) -> Tensor:
    return sum(views[1:], views[0]) / len(views)


def pair(value: Any) -> tuple[int, int]:
    """One number or two as two; "valid" padding is none, "same" padding is some."""
    if isinstance(value, str):
        return (0, 0) if value == "valid" else (1, 1)
    return (value, value) if isinstance(value, int) else (value[0], value[1])
