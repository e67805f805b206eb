"""Atrous spatial pyramid pooling: the same features seen at several rates at once.

A 3 x 3 convolution with rate r has its taps r apart: nine weights, a field of 2 r + 1 features.
Objects come in all sizes, so ASPP looks with several rates in parallel. DeepLab v2 (`ASPP`)
classifies in every branch and *sums the scores*,

    scores(x) = sum over r of branch_r(x),   r = 6, 12, 18, 24.

DeepLab v3 (`ASPPv3`) *concatenates features*: at rate 24 only 6.8 % of the positions of a 65 x 65
map keep all nine taps inside, so the largest rate gives way to a pooling of the whole image, a
1 x 1 branch joins, and every branch has batch normalisation.

References: Chen et al., *DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs*, PAMI 2018, arXiv:1606.00915, section 3.2, figure 7; Chen,
Papandreou, Schroff, Adam, *Rethinking Atrous Convolution*, 2017, arXiv:1706.05587, section 3.3.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from course.models.layers import (
    check_counts,
    check_normalised,
    check_positive,
    conv_bn_relu,
    he_init,
)


class ASPP(nn.Module):
    """Sum the class scores of parallel atrous branches: (B, C, H, W) to (B, K, H, W).

    A branch is one 3 x 3 convolution with bias (ResNet). With `hidden`, it is the fc6-fc7-fc8 of
    VGG16: 3 x 3 to `hidden` maps, 1 x 1, 1 x 1 (1024 in the paper).

    >>> head = ASPP(2048, 21)
    >>> sum(p.numel() for p in head.parameters())
    1548372
    >>> ASPP(16, 3)(torch.zeros(1, 16, 5, 7)).shape
    torch.Size([1, 3, 5, 7])

    Source: v2, section 3.2; rates 6, 12, 18, 24 are ASPP-L, and 2, 4, 8, 12 ASPP-S.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        rates: Sequence[int] = (6, 12, 18, 24),
        hidden: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, num_classes=num_classes)
        check_counts(rates=rates)
        if hidden is not None:
            check_positive(hidden=hidden)
        self.branches = nn.ModuleList()
        for rate in rates:
            atrous = nn.Conv2d(in_channels, hidden or num_classes, 3, padding=rate, dilation=rate)
            last, layers = atrous, [atrous]
            if hidden:
                last = nn.Conv2d(hidden, num_classes, 1)
                layers += [nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Conv2d(hidden, hidden, 1)]
                layers += [nn.ReLU(inplace=True), nn.Dropout(dropout), last]
            branch = nn.Sequential(*layers)
            he_init(branch)
            nn.init.normal_(last.weight, std=0.01)  # released nets, new layers
            self.branches.append(branch)

    def forward(self, x: Tensor) -> Tensor:
        return sum(branch(x) for branch in self.branches)  # pyright: ignore[reportReturnType]


class ASPPv3(nn.Module):
    """Concatenate a 1 x 1, three atrous and an image-level branch: (B, C, H, W) to (B, 256, H, W).

    Use rates 6, 12, 18 on features at output stride 16 and 12, 24, 36 at output stride 8. `dropout`
    is the share of whole maps dropped at the end (0.5 in FastFCN; the paper names none). Raises
    ValueError in training mode for a batch of one image, whose pooled value has no variance, unless
    its norm is frozen.

    >>> sum(p.numel() for p in ASPPv3(2048).parameters())
    15535104
    >>> ASPPv3(16, 8)(torch.zeros(2, 16, 5, 7)).shape
    torch.Size([2, 8, 5, 7])

    Source: v3, section 3.3, figure 5.
    """

    def __init__(
        self,
        in_channels: int,
        maps: int = 256,
        *,
        rates: Sequence[int] = (6, 12, 18),
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, maps=maps)
        check_counts(rates=rates)
        self.pointwise = conv_bn_relu(in_channels, maps, 1)
        self.atrous = nn.ModuleList(conv_bn_relu(in_channels, maps, 3, dilation=r) for r in rates)
        self.image = conv_bn_relu(in_channels, maps, 1)
        self.project = conv_bn_relu((2 + len(rates)) * maps, maps, 1)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: Tensor) -> Tensor:
        check_normalised(self.image[1], x.shape[0], "ASPPv3: the pooled image")
        image = self.image(x.mean((2, 3), keepdim=True))  # (B, 256, 1, 1)
        branches = [self.pointwise(x), *(branch(x) for branch in self.atrous)]
        branches.append(image.expand(-1, -1, *x.shape[-2:]))
        joint = self.project(torch.cat(branches, dim=1))  # (B, 5 * 256, H, W) -> (B, 256, H, W)
        return self.dropout(joint)
