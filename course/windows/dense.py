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
import math
from collections.abc import Iterator

import torch
from torch import nn

from course.windows.holes import DenseChain, SlidingPool, maximum, mean, pair

__all__ = ["dense_equivalent"]

# Modules that treat every position alike, whatever surrounds it.
POINTWISE = (
    nn.Identity, nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.PReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU,
    nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh, nn.BatchNorm2d, nn.Dropout, nn.Dropout2d,
)  # fmt: skip
WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


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
        TypeError: a layer that has no dense form, such as a `Flatten` without a `Linear` after it,
            a softmax that is not over the classes, a batch norm without running statistics.
        ValueError: padding inside (a window then sees zeros where the image goes on), ceil mode,
            or a `Linear` that does not fit square features. The network returned raises it for an
            image that is smaller than the window.

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
    channels, dilation = in_channels, (1, 1)
    form = "maps"  # (N, C, h, w); then "flat" (N, C h w), or "vectors" (N, K) after a Linear
    for layer in _leaves(net):
        _check_form(layer, form)
        if isinstance(layer, WINDOWED):
            layers.append(_with_holes(layer, dilation))
            down, right = pair(layer.stride)
            dilation = (dilation[0] * down, dilation[1] * right)
            channels = layer.out_channels if isinstance(layer, nn.Conv2d) else channels
        elif isinstance(layer, nn.Flatten):
            form = "flat" if form == "maps" else form
        elif isinstance(layer, nn.Linear):
            layers.append(_linear_as_conv(layer, None if form == "maps" else channels, dilation))
            channels, form = layer.out_features, "vectors"
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
    if form == "flat":
        raise TypeError(
            "the last Flatten has no Linear after it; leave it out where the net ends in "
            "(N, K, 1, 1)"
        )
    return DenseChain(*layers).eval()


def _leaves(net: nn.Sequential) -> Iterator[nn.Module]:
    for layer in net:
        if isinstance(layer, nn.Sequential):
            yield from _leaves(layer)
        else:
            yield layer


def _check_form(layer: nn.Module, form: str) -> None:
    """Refuse a layer that mixes positions or windows, given the form of its input."""
    reason = ""
    if isinstance(layer, WINDOWED) and form != "maps":
        reason = "follows a Flatten"
    elif isinstance(layer, nn.Flatten) and (layer.start_dim != 1 or layer.end_dim not in (-1, 3)):
        reason = "does not make vectors of whole maps"
    elif isinstance(layer, nn.Softmax | nn.LogSoftmax):
        last = {"maps": -3, "vectors": -1}.get(form)
        if form == "flat" or layer.dim not in (None, 1, last):
            reason = "is not over the classes of one position"
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d) and layer.running_mean is None:
        reason = "has no running statistics, so it normalises over all windows of its input"
    elif isinstance(layer, nn.BatchNorm1d) and form != "vectors":
        reason = "stands before the Linear, with a scale of its own for every position"
    elif isinstance(layer, nn.PReLU) and layer.num_parameters > 1 and form == "flat":
        reason = "has a slope of its own for every position"
    if reason:
        raise TypeError(f"{layer} has no dense form here: it {reason}")


def _with_holes(
    layer: nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d, dilation: tuple[int, int]
) -> nn.Module:
    """The layer with stride 1 and its taps `dilation` apart (times its own dilation)."""
    if pair(layer.padding) != (0, 0):
        raise ValueError(
            f"{layer} pads: a window would see zeros where the image goes on, so no dense pass "
            "can repeat it"
        )
    if isinstance(layer, nn.Conv2d):
        holes = copy.deepcopy(layer)
        own = pair(layer.dilation)
        holes.stride, holes.dilation = (1, 1), (own[0] * dilation[0], own[1] * dilation[1])
        return holes
    if layer.ceil_mode:
        raise ValueError(f"{layer} rounds up: its last window would hang over the patch")
    if isinstance(layer, nn.AvgPool2d):
        if layer.divisor_override is not None:
            raise ValueError(f"{layer} does not divide by its own area")
        return SlidingPool(pair(layer.kernel_size), dilation, mean)
    own = pair(layer.dilation)
    spread = (own[0] * dilation[0], own[1] * dilation[1])
    return SlidingPool(pair(layer.kernel_size), spread, maximum)


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
