"""The dense equivalent of a patch network: all windows of an image in one pass.

Neighbouring patches share almost all of their convolutions. Without padding inside the network, a
convolution of the whole image holds every patch's convolution, and a fully connected layer on
C x h x w features is a convolution with an h x w kernel. Only striding is in the way: a pooling
with stride s keeps one patch position in s. So every stride becomes 1, and what it skipped is put
into the later layers, whose taps move apart (an algorithm "a trous", with holes):

    dilation of a layer = product of the strides before it.

The numbers are the same; the network N4 on a 512 x 512 image costs 475 times less. References:
Giusti et al. 2013, *Fast image scanning with deep max-pooling convolutional neural networks* (the
same with fragments); Sermanet et al. 2014 (OverFeat), section 3.5; Masci et al. 2013.
"""

import copy
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["dense_equivalent"]

# Modules that treat every position alike, whatever surrounds it.
POINTWISE = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU,
    nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.BatchNorm2d, nn.Dropout, nn.Dropout2d,
)  # fmt: skip


def dense_equivalent(
    net: nn.Sequential,
    *,
    in_channels: int | None = None,
    pointwise: tuple[type[nn.Module], ...] = (),
) -> nn.Sequential:
    """Network with the same numbers as `net`, for every window of an image at once.

    Args:
        net: a chain, possibly nested, of convolutions and poolings without padding, pointwise
            layers, `Flatten` and `Linear`, that maps windows `(N, C, k, k)` to `(N, K)` or
            `(N, K, 1, 1)`.
        in_channels: C, needed only if no convolution comes before `Flatten`.
        pointwise: further module types that act on every position alone.

    Returns:
        A module, in evaluation mode and with its own copy of the weights, that maps
        `(B, C, H, W)` to `(B, K, H - k + 1, W - k + 1)`; entry (i, j) is `net` on the window with
        the corner (i, j). Here k counts the pixels that `net` reads: strides may skip the last
        ones of a window. Pad with `mirror_border` first to label every pixel.

    Raises:
        TypeError: a layer that has no dense form.
        ValueError: padding inside (a window then sees zeros where the image goes on), ceil mode,
            or a `Linear` that does not fit square features.

    Source: Giusti et al. 2013, section 2; Long et al. 2015, section 3.1.

    >>> conv, full = nn.Conv2d(1, 4, 3), nn.Linear(4 * 3 * 3, 2)
    >>> net = nn.Sequential(conv, nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), full)
    >>> image = torch.rand(1, 1, 10, 12)
    >>> maps = dense_equivalent(net)(image)
    >>> maps.shape, torch.allclose(maps[..., 1, 3], net(image[..., 1:9, 3:11]), atol=1e-6)
    (torch.Size([1, 2, 3, 5]), True)
    """
    if not isinstance(net, nn.Sequential):
        raise TypeError(f"net must be an nn.Sequential, got {type(net).__name__}")
    layers: list[nn.Module] = []
    channels, flat, dilation = in_channels, False, (1, 1)
    for layer in _leaves(net):
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            layers.append(_with_holes(layer, dilation))
            down, right = _pair(layer.stride)
            dilation = (dilation[0] * down, dilation[1] * right)
            channels = layer.out_channels if isinstance(layer, nn.Conv2d) else channels
        elif isinstance(layer, nn.Flatten):
            flat = True
        elif isinstance(layer, nn.Linear):
            layers.append(_linear_as_conv(layer, channels if flat else None, dilation))
            channels = layer.out_features
        elif isinstance(layer, nn.Softmax | nn.LogSoftmax):
            layers.append(type(layer)(dim=1))  # over the classes, whose axis does not move
        elif isinstance(layer, nn.BatchNorm1d):
            layers.append(_batch_norm_2d(layer))
        elif isinstance(layer, POINTWISE + pointwise):
            layers.append(copy.deepcopy(layer))
        else:
            raise TypeError(
                f"{type(layer).__name__} has no dense form here; if it treats every position "
                "alone, name its type in pointwise=(...)"
            )
    return nn.Sequential(*layers).eval()


class SlidingPool(nn.Module):
    """Pooling with stride 1 and holes: `reduce` over k shifted views, one axis after the other.

    >>> pool = SlidingPool((2, 2), (3, 1), _maximum)
    >>> pool(torch.arange(20.0).view(1, 1, 5, 4))  # rows 0 and 3, 1 and 4
    tensor([[[[13., 14., 15.],
              [17., 18., 19.]]]])
    """

    def __init__(
        self,
        kernel: tuple[int, int],
        dilation: tuple[int, int],
        reduce: Callable[[list[Tensor]], Tensor],
    ) -> None:
        super().__init__()
        self.kernel, self.dilation, self.reduce = kernel, dilation, reduce

    def forward(self, x: Tensor) -> Tensor:
        for axis, taps, step in zip((-2, -1), self.kernel, self.dilation):
            length = x.shape[axis] - (taps - 1) * step
            if length < 1:
                raise ValueError("the image is smaller than the window of the network")
            x = self.reduce([x.narrow(axis, tap * step, length) for tap in range(taps)])
        return x

    def extra_repr(self) -> str:
        return f"{self.kernel}, dilation={self.dilation}, {self.reduce.__name__.lstrip('_')}"


def _maximum(views: list[Tensor]) -> Tensor:
    return functools.reduce(torch.maximum, views)


def _mean(views: list[Tensor]) -> Tensor:
    return sum(views[1:], views[0]) / len(views)


def _leaves(net: nn.Sequential) -> Iterator[nn.Module]:
    for layer in net:
        if isinstance(layer, nn.Sequential):
            yield from _leaves(layer)
        else:
            yield layer


def _with_holes(
    layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, dilation: tuple[int, int]
) -> nn.Module:
    """The layer with stride 1 and its taps `dilation` apart (times its own dilation)."""
    if _pair(layer.padding) != (0, 0):
        raise ValueError(
            f"{layer} pads: a window would see zeros where the image goes on, so no dense pass "
            "can repeat it"
        )
    if isinstance(layer, nn.Conv2d):
        holes = copy.deepcopy(layer)
        own = _pair(layer.dilation)
        holes.stride, holes.dilation = (1, 1), (own[0] * dilation[0], own[1] * dilation[1])
        return holes
    if layer.ceil_mode:
        raise ValueError(f"{layer} rounds up: its last window would hang over the patch")
    if isinstance(layer, nn.AvgPool2d):
        if layer.divisor_override is not None:
            raise ValueError(f"{layer} does not divide by its own area")
        return SlidingPool(_pair(layer.kernel_size), dilation, _mean)
    own = _pair(layer.dilation)
    spread = (own[0] * dilation[0], own[1] * dilation[1])
    return SlidingPool(_pair(layer.kernel_size), spread, _maximum)


def _linear_as_conv(layer: nn.Linear, channels: int | None, dilation: tuple[int, int]) -> nn.Conv2d:
    """The fully connected layer as a convolution over the features it was flattened from."""
    if channels is None:
        raise ValueError(
            f"{layer} needs a Flatten before it, and in_channels if no convolution comes first"
        )
    side = math.isqrt(layer.in_features // channels)
    if channels * side**2 != layer.in_features:
        raise ValueError(
            f"{layer.in_features} inputs of {layer} are no square map of {channels} channels"
        )
    bias = layer.bias is not None
    conv = nn.Conv2d(channels, layer.out_features, side, dilation=dilation, bias=bias)
    conv = conv.to(layer.weight)  # device and precision
    with torch.no_grad():
        conv.weight.copy_(layer.weight.view_as(conv.weight))  # torch flattens (C, h, w) in order
        if conv.bias is not None:
            conv.bias.copy_(layer.bias)
    return conv


def _batch_norm_2d(layer: nn.BatchNorm1d) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(
        layer.num_features,
        layer.eps,
        affine=layer.affine,
        track_running_stats=layer.track_running_stats,
    )
    state = layer.state_dict()
    for value in state.values():
        if value.is_floating_point():
            norm.to(value)  # device and precision
    norm.load_state_dict(state)
    return norm


def _pair(value: Any) -> tuple[int, int]:
    """One number or two as two; "valid" padding is none, "same" padding is some."""
    if isinstance(value, str):
        return (0, 0) if value == "valid" else (1, 1)
    return (value, value) if isinstance(value, int) else (value[0], value[1])
