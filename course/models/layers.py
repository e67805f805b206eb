"""Pieces that several papers share: checks at the door, initialisation, blocks, alignment.

The one idea here is *where a feature sits*. In a network whose layers have odd kernels `k`, padding
`k // 2` (times the dilation) and total stride `s`, feature `i` is centred on input pixel `s * i`
exactly, so `ceil(H / s)` features span the pixels `0 ... s * (ceil(H / s) - 1)`. DeepLab and PSPNet
choose sizes `s * k + 1` (321, 513; 473, 713) because there the last feature sits on the last pixel,
and bilinear interpolation with aligned corners puts every logit back where it came from.

References: He et al. 2015, arXiv:1502.01852 (initialisation); Chen et al. 2015, arXiv:1412.7062,
and Zhao et al. 2017, arXiv:1612.01105 (sizes 8 k + 1).
"""

import math
from collections.abc import Iterable, Sequence
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.models.pretrained import Weights as Weights
from course.models.pretrained import pretrained_state as pretrained_state

Level = tuple[str, int, int, int]  # name, kernel, stride, padding of one layer


def check_images(
    images: Tensor, channels: int, network: str, *, net: nn.Module | None = None
) -> None:
    """Accept float images (B, `channels`, H, W) without empty axes; refuse everything else.

    With the network itself as `net`, images on another device or (outside autocast) of another
    precision than its weights are refused too. Raises TypeError for what is no tensor, integer
    images and another precision, ValueError for wrong axes and another device, each with the cure.

    >>> check_images(Tensor(3, 8, 8), 3, "SegNet")
    Traceback (most recent call last):
    ...
    ValueError: SegNet expects images (B, 3, H, W), got shape (3, 8, 8): ...add...images[None]
    """
    if not isinstance(images, Tensor):
        raise TypeError(
            f"{network} expects a torch.Tensor of images (B, {channels}, H, W), got "
            f"{type(images).__name__}: convert with torch.as_tensor(images)"
        )
    shape = tuple(images.shape)
    if not images.is_floating_point():
        raise TypeError(
            f"{network} expects float images in [0, 1], got {images.dtype}: "
            "convert with images.float() / 255"
        )
    if len(shape) != 4 or shape[1] != channels:
        cure = "add the batch axis with images[None]" if len(shape) == 3 else "check the axes"
        raise ValueError(
            f"{network} expects images (B, {channels}, H, W), got shape {shape}: {cure}"
        )
    if 0 in shape:
        raise ValueError(f"{network} got images without pixels, shape {shape}: no axis may be 0")
    if net is None or torch.compiler.is_compiling():  # torch 2.5 cannot trace `next` with a default
        return
    like = next(net.parameters(), None)
    if like is None:
        return
    if images.device != like.device:
        raise ValueError(
            f"{network} has its weights on {like.device}, got images on {images.device}: "
            "move one of them with .to(device)"
        )
    if images.dtype != like.dtype and not torch.is_autocast_enabled(images.device.type):
        raise TypeError(
            f"{network} has weights of {like.dtype}, got images of {images.dtype}: convert with "
            f"images.to({like.dtype}), or run under torch.autocast for mixed precision"
        )


def check_levels(images: Tensor, levels: Sequence[Level], step: int, network: str) -> None:
    """Refuse images of which nothing is left at one of the `levels`, and name that level.

    `step` is the total stride: the smallest legal size plus a multiple of it loses no border pixel.

    >>> check_levels(Tensor(1, 1, 9, 4), [("conv1", 3, 1, 0), ("conv2", 3, 2, 0)], 2, "Net")
    Traceback (most recent call last):
    ...
    ValueError: Net: nothing of a 9 x 4 image is left at conv2; ...at least 5...(5, 7, 9, ...
    """
    smallest = 1
    for _, kernel, stride, padding in reversed(levels):
        smallest = max((smallest - 1) * stride + kernel - 2 * padding, 1)
    height, width = images.shape[-2:]
    left = min(height, width)
    for name, kernel, stride, padding in levels:
        left = (left + 2 * padding - kernel) // stride + 1
        if left < 1:
            legal = ", ".join(str(smallest + i * step) for i in range(3))
            raise ValueError(
                f"{network}: nothing of a {height} x {width} image is left at {name}; "
                f"height and width must be at least {smallest} ({legal}, ... lose no border pixel)"
            )


def check_normalised(norm: nn.Module, values: int, features: str) -> None:
    """Refuse to train batch normalisation on one value per channel.

    `values` is the product B H W of what reaches `norm`. Frozen (evaluation mode) it normalises by
    running statistics, and synchronised it sees the values of other devices: both pass.

    >>> check_normalised(nn.BatchNorm2d(8).eval(), 1, "PSPNet: the image-level bin")
    >>> check_normalised(nn.BatchNorm2d(8), 1, "PSPNet: the image-level bin")
    Traceback (most recent call last):
    ...
    ValueError: PSPNet: the image-level bin has one value per channel, which batch normalisation ...
    """
    if isinstance(norm, nn.BatchNorm2d) and norm.training and values == 1:
        raise ValueError(
            f"{features} has one value per channel, which batch normalisation cannot normalise in "
            "training: train with at least 2 images, freeze the norms, or call .eval()"
        )


def check_positive(**values: int) -> None:
    """Refuse constructor arguments below 1.

    >>> check_positive(num_classes=21, width=0)
    Traceback (most recent call last):
    ...
    ValueError: width must be at least 1, got 0
    """
    for name, value in values.items():
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")


def check_counts(length: int | None = None, **options: Sequence[int]) -> None:
    """Refuse options that are not one or more (or `length`) whole numbers of at least 1.

    >>> check_counts(rates=(6, 12))
    >>> check_counts(4, layers=(3, 4, 6))
    Traceback (most recent call last):
    ...
    ValueError: layers must be 4 whole numbers of at least 1, got (3, 4, 6)
    """
    for name, given in options.items():
        values = tuple(given) if isinstance(given, Iterable) else ()
        whole = all(isinstance(value, Integral) and value >= 1 for value in values)
        if not (values and whole and len(values) == (length or len(values))):
            raise ValueError(
                f"{name} must be {length or 'one or more'} whole numbers of at least 1, "
                f"got {given!r}"
            )


def scaled(maps: int, width: int, base: int = 64) -> int:
    """Scale a published number of maps to a network whose first layer has `width`, not `base`.

    >>> scaled(512, width=8), scaled(4096, width=64)
    (64, 4096)
    """
    return max(1, maps * width // base)


def he_init(network: nn.Module) -> None:
    """Draw convolution weights from N(0, 2 / n), biases 0 (He et al. 2015, equation 10).

    n counts the inputs of one output sample: of a transposed convolution with stride s, only one in
    s * s taps meets an input. The deep networks without batch normalisation do not train from
    scratch with torch's default.

    >>> layer = nn.ConvTranspose2d(50, 500, 4, stride=2)
    >>> he_init(layer)
    >>> round(layer.weight.std().item(), 3)  # sqrt(2 / (50 * 4 * 4 / 4))
    0.1
    """
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            inputs = layer.in_channels // layer.groups * math.prod(layer.kernel_size)
            if isinstance(layer, nn.ConvTranspose2d):
                inputs /= math.prod(layer.stride)
            nn.init.normal_(layer.weight, std=math.sqrt(2 / inputs))
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def use_channels_last(network: nn.Module) -> None:
    """Store the weights as NHWC; activations follow, and pooling on a CPU is many times faster.

    >>> net = nn.Conv2d(3, 8, 3)
    >>> use_channels_last(net)
    >>> net(torch.zeros(1, 3, 5, 5)).is_contiguous(memory_format=torch.channels_last)
    True
    """
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


def conv_bn_relu(
    in_channels: int, maps: int, kernel: int, *, stride: int = 1, dilation: int = 1
) -> nn.Sequential:
    """Build convolution (no bias, size kept at stride 1), batch normalisation, ReLU.

    >>> conv_bn_relu(3, 8, 3, dilation=4)(torch.zeros(1, 3, 5, 7)).shape
    torch.Size([1, 8, 5, 7])
    """
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, maps, kernel, stride, padding, dilation, bias=False),
        nn.BatchNorm2d(maps),
        nn.ReLU(inplace=True),
    )


def upsample_aligned(logits: Tensor, size: Sequence[int], stride: int = 8) -> Tensor:
    """Bring logits (B, K, ceil(H / stride), ceil(W / stride)) to `size` (H, W), each in its place.

    Feature `i` lands on pixel `stride * i`, bilinear in between. For sizes `stride * k + 1` this is
    interpolation with aligned corners, as in the papers; for all others the pixels beyond the last
    feature repeat it, where stretching would shift the picture by up to `stride - 1` pixels.
    Raises ValueError if the logits do not have `ceil(size / stride)` rows and columns.

    >>> upsample_aligned(torch.tensor([[[[0.0, 4.0]]]]), (1, 6), stride=4)
    tensor([[[[0., 1., 2., 3., 4., 4.]]]])
    """
    height, width = size
    expected = (-(-height // stride), -(-width // stride))
    if tuple(logits.shape[-2:]) != expected:
        raise ValueError(
            f"logits at stride {stride} of a {height} x {width} image are {expected[0]} x "
            f"{expected[1]}, got {logits.shape[-2]} x {logits.shape[-1]}"
        )
    # Repeat the last row and column even where they are cropped off again: a branch on the size
    # would tie an exported graph to sizes of one kind.
    logits = F.pad(logits, (0, 1, 0, 1), mode="replicate")
    rows, columns = logits.shape[-2:]
    aligned = ((rows - 1) * stride + 1, (columns - 1) * stride + 1)
    full = F.interpolate(logits, size=aligned, mode="bilinear", align_corners=True)
    return full[..., :height, :width]  # (B, K, H, W)
