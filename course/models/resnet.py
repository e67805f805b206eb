"""ResNet with bottleneck blocks, whose last stages may dilate instead of striding.

A block adds its input to a residual, `y = relu(x + F(x))`, with F = 1 x 1, 3 x 3, 1 x 1
convolutions, so that a hundred layers train. For classification the features end at stride 32. For
segmentation the last one or two stages give up their stride and multiply the rate (dilation) of
their 3 x 3 convolutions instead: the same weights see the same context at output stride 16 or 8.

**The first block of a dilated stage.** Its 3 x 3 convolution is the one that lost the stride. Two
rules exist, with equal parameters and different outputs. `"previous"` (torchvision, FastFCN): the
first block keeps the rate of the stage before, so stage rates at output stride 8 are 1,2,2,... and
2,4,4. This reproduces the strided network exactly on the coarse grid, with its receptive field
(971 pixels for ResNet-101). `"stage"` (PSPNet, DeepLab): all blocks of the stage use its rate,
which widens the receptive field to 1019. The stride sits in the 3 x 3 convolution, as in
torchvision; the Caffe models of DeepLab have it in the first 1 x 1.

References: He, Zhang, Ren, Sun, *Deep Residual Learning for Image Recognition*, CVPR 2016,
arXiv:1512.03385, table 1; Yu, Koltun, Funkhouser, *Dilated Residual Networks*, CVPR 2017.
"""

from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from course.models.layers import (
    check_counts,
    check_images,
    check_normalised,
    check_positive,
    conv_bn_relu,
    use_channels_last,
)
from course.models.pretrained import Weights, load_fitting, pretrained_state

RESNET50 = (3, 4, 6, 3)
RESNET101 = (3, 4, 23, 3)
RESNET152 = (3, 8, 36, 3)
_ARCHITECTURES = {RESNET50: "resnet50", RESNET101: "resnet101", RESNET152: "resnet152"}

Stem = Literal["7x7", "deep"]
FirstBlock = Literal["previous", "stage"]


class Bottleneck(nn.Module):
    """Add a 1 x 1, 3 x 3, 1 x 1 residual to the input: (B, C, H, W) to (B, 4 `maps`, H', W').

    >>> import torch
    >>> Bottleneck(16, 8, stride=2)(torch.zeros(1, 16, 5, 8)).shape
    torch.Size([1, 32, 3, 4])

    Source: figure 5, right.
    """

    def __init__(self, in_channels: int, maps: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        out = 4 * maps
        self.conv1 = nn.Conv2d(in_channels, maps, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(maps)
        self.conv2 = nn.Conv2d(maps, maps, 3, stride, dilation, dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(maps)
        self.conv3 = nn.Conv2d(maps, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = None  # the identity, where shapes allow it
        if stride != 1 or in_channels != out:
            self.downsample = nn.Sequential(
                nn.Conv2d(in_channels, out, 1, stride, bias=False), nn.BatchNorm2d(out)
            )

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)), inplace=True)
        x = F.relu(self.bn2(self.conv2(x)), inplace=True)
        return F.relu(self.bn3(self.conv3(x)) + shortcut, inplace=True)


class ResNet(nn.Module):
    """Map images (B, C, H, W) to the features of the four stages, at strides 4, 8, 16, 32.

    `layers` counts the blocks of each stage, `width` the maps of the stem (64), `output_stride`
    (32, 16 or 8) says where striding ends and dilation begins, `first_block` which rule of the
    module docstring holds, and `stem` chooses one 7 x 7 or three 3 x 3 convolutions (`"deep"`,
    PSPNet). Stage maps are 4, 8, 16 and 32 times `width`. Sizes follow ceil(H / stride).
    Parameter names are torchvision's, so `weights=` (see `pretrained_state`) loads its ImageNet
    models. Raises ValueError for an unknown stride, stem, rule, or weights that do not fit, and in
    training mode for a single image of which one value per channel is left.

    >>> import torch
    >>> net = ResNet((1, 1, 1, 1), width=8, output_stride=8)
    >>> [tuple(stage.shape[1:]) for stage in net(torch.zeros(1, 3, 33, 65))]
    [(32, 9, 17), (64, 5, 9), (128, 5, 9), (256, 5, 9)]

    Source: table 1.
    """

    def __init__(
        self,
        layers: Sequence[int] = RESNET50,
        *,
        in_channels: int = 3,
        width: int = 64,
        output_stride: int = 32,
        stem: Stem = "7x7",
        first_block: FirstBlock = "previous",
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, width=width)
        if output_stride not in (8, 16, 32):
            raise ValueError(f"output_stride must be 8, 16 or 32, got {output_stride}")
        if stem not in ("7x7", "deep") or first_block not in ("previous", "stage"):
            raise ValueError(
                "stem is '7x7' or 'deep' and first_block is 'previous' or 'stage', "
                f"got {stem!r} and {first_block!r}"
            )
        check_counts(4, layers=layers)
        self.in_channels, self.output_stride = in_channels, output_stride
        self.channels = tuple(width * 4 * 2**i for i in range(4))  # maps of the four stages
        if stem == "7x7":
            self.conv1 = nn.Conv2d(in_channels, width, 7, 2, 3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
            channels = width
        else:
            self.conv1 = nn.Sequential(
                *conv_bn_relu(in_channels, width, 3, stride=2),
                *conv_bn_relu(width, width, 3),
                nn.Conv2d(width, 2 * width, 3, padding=1, bias=False),
            )
            self.bn1 = nn.BatchNorm2d(2 * width)
            channels = 2 * width
        total_stride, rate, stages = 4, 1, []
        for i, blocks in enumerate(layers):
            stride = 1 if i == 0 else 2
            previous = rate
            if total_stride * stride > output_stride:
                rate, stride = rate * stride, 1
            total_stride *= stride
            first = rate if first_block == "stage" else previous
            maps = width * 2**i
            stage = [Bottleneck(channels, maps, stride=stride, dilation=first)]
            channels = 4 * maps
            stage += [Bottleneck(channels, maps, dilation=rate) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(*stage))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        use_channels_last(self)
        if weights is not None:
            self._load(tuple(layers), stem, weights)

    def _load(self, layers: tuple[int, ...], stem: str, weights: Weights) -> None:
        width = self.channels[0] // 4
        published = layers in _ARCHITECTURES and stem == "7x7" and width == 64
        if not published or self.in_channels != 3:
            raise ValueError(
                "pretrained weights need layers of ResNet-50, 101 or 152, width=64, the 7x7 stem "
                f"and in_channels=3, got layers={layers}, width={width}, stem={stem!r} and "
                f"in_channels={self.in_channels}"
            )
        architecture = _ARCHITECTURES[layers]
        state = pretrained_state(architecture, weights)
        own = {key: value for key, value in state.items() if not key.startswith("fc.")}
        load_fitting(self, own, architecture)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        check_images(images, self.in_channels, "ResNet", net=self)
        cells = [-(-n // self.output_stride) for n in images.shape[-2:]]
        values = images.shape[0] * cells[0] * cells[1]
        check_normalised(self.layer4[-1].bn3, values, "ResNet: its last stage")
        x = F.relu(self.bn1(self.conv1(images)), inplace=True)  # (B, w, H/2, W/2)
        x = F.max_pool2d(x, 3, stride=2, padding=1)  # (B, w, H/4, W/4)
        c2 = self.layer1(x)  # (B, 4w, H/4, W/4)
        c3 = self.layer2(c2)  # (B, 8w, H/8, W/8)
        c4 = self.layer3(c3)  # (B, 16w, H/16, W/16), or H/8 at output stride 8
        c5 = self.layer4(c4)  # (B, 32w, H/32, W/32), or the output stride
        return c2, c3, c4, c5
