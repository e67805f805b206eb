"""FastFCN: recover the features of a dilated network from an ordinary one, by joint upsampling.

Dilating the last two stages of a ResNet keeps stride 8, but the deepest stages then run on maps 4
to 16 times larger. FastFCN leaves the backbone alone (stride 32) and appends joint pyramid
upsampling: a dilated convolution with rate r is split, regular convolution, merge, so the high
resolution map can be approximated from the low resolution ones,

    JPU(c3, c4, c5) = [separable conv_r(y) for r in (1, 2, 4, 8)],   y = [up(c5), up(c4), c3],

each 3 x 3 convolved to `width` maps first. Any head follows.

Counted, not timed: at 512 x 512 with ResNet-101 the dilated backbone needs 177.2 G
multiply-accumulates, the ordinary one 40.7 G and JPU 30.0 G, so 2.5 times less. The paper's "more
than three times" is the measured speed of one head (EncNet) on ResNet-101.

Reference: Wu, Zhang, Huang, Liang, Yu, *FastFCN: Rethinking Dilated Convolution in the Backbone for
Semantic Segmentation*, 2019, arXiv:1903.11816, section 3, figures 2 and 4.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.models.aspp import ASPPv3
from course.models.encnet import EncodingHead, WithContext
from course.models.layers import (
    check_counts,
    check_images,
    check_normalised,
    check_positive,
    conv_bn_relu,
    upsample_aligned,
    use_channels_last,
)
from course.models.pretrained import Weights
from course.models.pspnet import PyramidPooling, WithAuxiliary, scoring_head
from course.models.resnet import RESNET50, ResNet, Stem


class JPU(nn.Module):
    """Join features at strides 8, 16, 32 into (B, 4 * `width`, H/8, W/8).

    `in_channels` are the maps of c3, c4, c5. Raises ValueError if their sizes do not shrink by two.

    As released, c4 and c5 are stretched from corner to corner of c3. All three meet in place only
    where c3 has 4 k + 1 rows and columns, as for images of 32 k + 1 pixels (481, 513). At the
    published crop of 480 the last feature of c5 belongs on pixel 448 and is laid on 472: c5 is up
    to 24 pixels off, 12 on average, and c4 up to 8. The network learns around it.

    >>> sum(p.numel() for p in JPU().parameters())
    19735552
    >>> c3, c4, c5 = torch.zeros(1, 2, 9, 6), torch.zeros(1, 4, 5, 3), torch.zeros(1, 8, 3, 2)
    >>> JPU((2, 4, 8), width=4)(c3, c4, c5).shape
    torch.Size([1, 16, 9, 6])

    Source: section 3.3, figure 4.
    """

    def __init__(
        self,
        in_channels: Sequence[int] = (512, 1024, 2048),
        *,
        width: int = 512,
        rates: Sequence[int] = (1, 2, 4, 8),
    ) -> None:
        super().__init__()
        check_positive(width=width)
        check_counts(3, in_channels=in_channels)
        check_counts(rates=rates)
        c3, c4, c5 = in_channels
        self.conv3 = conv_bn_relu(c3, width, 3)
        self.conv4 = conv_bn_relu(c4, width, 3)
        self.conv5 = conv_bn_relu(c5, width, 3)
        self.branches = nn.ModuleList(_separable(3 * width, width, rate) for rate in rates)

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor) -> Tensor:
        sizes = [tuple(c.shape[-2:]) for c in (c3, c4, c5)]
        halves = [tuple(-(-n // 2) for n in size) for size in sizes]
        if sizes[1:] != halves[:-1]:
            raise ValueError(
                "JPU expects c4 and c5 of half the size before, rounded up: "
                f"{halves[:-1]} after c3 {sizes[0]}, got {sizes[1:]}"
            )
        check_normalised(self.conv5[1], c5.shape[0] * c5.shape[-2] * c5.shape[-1], "JPU: c5")

        def up(x: Tensor) -> Tensor:
            return F.interpolate(x, size=sizes[0], mode="bilinear", align_corners=True)

        y = [up(self.conv5(c5)), up(self.conv4(c4)), self.conv3(c3)]
        y = torch.cat(y, dim=1)  # (B, 3 * 512, H/8, W/8)
        return torch.cat([branch(y) for branch in self.branches], dim=1)  # (B, 4 * 512, ...)


class FastFCN(nn.Module):
    """Map images (B, C, H, W) of any size to logits (B, K, H, W): ResNet at stride 32, JPU, head.

    `head` is `"encnet"` (context encoding, the paper's best), `"psp"` (pyramid pooling), `"aspp"`
    (DeepLab v3, rates 12, 24, 36) or `"fcn"` (one 3 x 3 convolution). `width` is the number of maps
    of the stem (64); JPU has 8 times as many. `stem="7x7"` fits torchvision's ImageNet weights,
    which `weights=` loads; the authors' release has the `"deep"` one, three 3 x 3 convolutions.
    `auxiliary=True` adds a head on c4. In training mode the network then returns `WithAuxiliary`,
    for `course.models.pspnet.auxiliary_loss`; with `"encnet"` it always returns `WithContext`, for
    `course.models.encnet.context_loss`. `dropout` takes whole maps before the classifier; with
    `"aspp"` half of the maps are dropped before that, unless `dropout` is 0.

    To train on a single image, c5 must keep more than one value per channel: more than 32 pixels in
    height or width, or frozen norms; `"psp"` and `"aspp"`, which pool the whole image, take at
    least 2 images or frozen norms.

    >>> with torch.device("meta"):
    ...     for stem in ("7x7", "deep"):
    ...         sum(p.numel() for p in FastFCN(stem=stem).parameters())
    66328149
    66451925
    >>> FastFCN(3, layers=(1, 1, 1, 1), width=8)(torch.zeros(2, 3, 45, 33)).shape
    torch.Size([2, 3, 45, 33])

    Source: section 3.1, figure 2; sections 4.1-4.2 (heads, auxiliary loss).
    """

    def __init__(
        self,
        num_classes: int = 21,
        *,
        head: Literal["encnet", "psp", "aspp", "fcn"] = "psp",
        layers: Sequence[int] = RESNET50,
        in_channels: int = 3,
        width: int = 64,
        stem: Stem = "7x7",
        auxiliary: bool = False,
        dropout: float = 0.1,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes)
        self.in_channels = in_channels
        self.backbone = ResNet(
            layers, in_channels=in_channels, width=width, stem=stem, weights=weights
        )
        _, c3, c4, c5 = self.backbone.channels
        self.jpu = JPU((c3, c4, c5), width=8 * width)
        maps = 4 * 8 * width  # 2048, as many as c5
        self.encodes = head == "encnet"
        if head == "encnet":
            self.head = EncodingHead(maps, maps // 4, num_classes, dropout=dropout)
        elif head == "psp":
            tail = scoring_head(2 * maps, maps // 4, num_classes, dropout)
            self.head = nn.Sequential(PyramidPooling(maps), tail)
        elif head == "aspp":
            drop = 0.5 if dropout else 0.0  # as released, and off together with the other
            aspp = ASPPv3(maps, maps // 8, rates=(12, 24, 36), dropout=drop)
            tail = scoring_head(maps // 8, maps // 8, num_classes, dropout)
            self.head = nn.Sequential(aspp, tail)
        elif head == "fcn":
            self.head = scoring_head(maps, maps // 4, num_classes, dropout)
        else:
            raise ValueError(f"head must be 'encnet', 'psp', 'aspp' or 'fcn', got {head!r}")
        self.auxiliary = scoring_head(c4, c4 // 4, num_classes, dropout) if auxiliary else None
        use_channels_last(self)

    def forward(self, images: Tensor) -> Tensor | WithAuxiliary | WithContext:
        check_images(images, self.in_channels, "FastFCN", net=self)
        size = images.shape[-2:]
        _, c3, c4, c5 = self.backbone(images)  # strides 8, 16, 32
        features = self.jpu(c3, c4, c5)  # (B, 2048, H/8, W/8)
        scores, presence = self.head(features) if self.encodes else (self.head(features), None)
        logits = upsample_aligned(scores, size)
        if not self.training:
            return logits
        auxiliary = None
        if self.auxiliary is not None:
            auxiliary = upsample_aligned(self.auxiliary(c4), size, stride=16)
        if presence is not None:
            return WithContext(logits, auxiliary, presence)
        return logits if auxiliary is None else WithAuxiliary(logits, auxiliary)


def _separable(in_channels: int, maps: int, rate: int) -> nn.Sequential:
    depthwise = nn.Conv2d(
        in_channels, in_channels, 3, 1, rate, rate, groups=in_channels, bias=False
    )
    return nn.Sequential(depthwise, nn.BatchNorm2d(in_channels), conv_bn_relu(in_channels, maps, 1))
