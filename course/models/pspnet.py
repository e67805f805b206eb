"""PSPNet: ask the whole scene before naming a pixel.

A boat-shaped car on the road is a car; on water it is a boat. The pyramid pooling module averages
the features over the image in 1 x 1, 2 x 2, 3 x 3 and 6 x 6 bins, compresses each level to a
quarter of the maps, spreads it back over the image and concatenates all of it with the features:

    out = [x, up(conv(pool_1(x))), up(conv(pool_2(x))), up(conv(pool_3(x))), up(conv(pool_6(x)))].

Bins are adaptive: bin i of b covers rows floor(i n / b) ... ceil((i + 1) n / b) - 1, so they
overlap when b does not divide n. The backbone is a ResNet at output stride 8 with all blocks of a
dilated stage at its rate (2, 4) and three 3 x 3 convolutions as stem. An auxiliary head on stage 3
helps to train: its loss counts 0.4 and the head is dropped afterwards.

Reference: Zhao, Shi, Qi, Wang, Jia, *Pyramid Scene Parsing Network*, CVPR 2017, arXiv:1612.01105,
sections 3.2-3.3 and 4, figure 3; layout of the authors' PyTorch release. Published inputs have
8 k + 1 pixels (473, 713): there features and pixels align exactly.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.losses import cross_entropy
from course.losses.pixelwise import wrong_output
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
from course.models.resnet import RESNET50, RESNET101, ResNet, Stem


class WithAuxiliary(NamedTuple):
    """What a network with an auxiliary head returns in training mode: two logits (B, K, H, W)."""

    logits: Tensor
    auxiliary: Tensor

    trained_by = "course.models.pspnet.auxiliary_loss"


class PyramidPooling(nn.Module):
    """Concatenate features with their averages over a pyramid: (B, C, H, W) to (B, 2 C, H, W).

    Every one of the `bins` levels gets C / len(bins) maps. Raises ValueError in training mode for a
    batch of one image if one level pools to a single bin and its norm is not frozen.

    >>> sum(p.numel() for p in PyramidPooling(2048).parameters())
    4198400
    >>> PyramidPooling(8)(torch.zeros(2, 8, 7, 5)).shape
    torch.Size([2, 16, 7, 5])

    Source: section 3.2, figure 3c.
    """

    def __init__(self, in_channels: int, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        super().__init__()
        check_positive(in_channels=in_channels)
        check_counts(bins=bins)
        if in_channels % len(bins):
            raise ValueError(
                f"{len(bins)} pyramid levels cannot share {in_channels} channels equally"
            )
        self.bins = tuple(bins)
        maps = in_channels // len(bins)
        self.levels = nn.ModuleList(conv_bn_relu(in_channels, maps, 1) for _ in bins)

    def forward(self, x: Tensor) -> Tensor:
        stack = [x]
        for bins, level in zip(self.bins, self.levels):
            norm = level[1]  # pyright: ignore[reportIndexIssue]
            check_normalised(norm, x.shape[0] * bins**2, f"PyramidPooling: level {bins} x {bins}")
            pooled = level(F.adaptive_avg_pool2d(x, bins))  # (B, C / 4, bins, bins)
            stack.append(
                F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=True)
            )
        return torch.cat(stack, dim=1)  # (B, C + 4 * C / 4, H, W)


class PSPNet(nn.Module):
    """Map images (B, C, H, W) of any size to logits (B, K, H, W); subclasses fix `layers`.

    `width` is the number of maps of the stem (64), all others scale with it. `auxiliary=True` adds
    the auxiliary head: in training mode the network then returns `WithAuxiliary`, which is for
    `auxiliary_loss`, in evaluation mode plain logits as ever. `weights=` loads torchvision's
    ImageNet weights, which need `stem="7x7"`. Training takes at least 2 images or frozen norms: a
    single one has one value per channel in the 1 x 1 bin.

    >>> net = PSPNet((1, 1, 1, 1), 3, width=8, auxiliary=True)
    >>> [logits.shape[1:] for logits in net(torch.zeros(2, 3, 41, 33))]
    [torch.Size([3, 41, 33]), torch.Size([3, 41, 33])]

    Source: sections 3.3 and 4.1.
    """

    def __init__(
        self,
        layers: Sequence[int],
        num_classes: int = 21,
        *,
        in_channels: int = 3,
        width: int = 64,
        bins: Sequence[int] = (1, 2, 3, 6),
        auxiliary: bool = False,
        stem: Stem = "deep",
        dropout: float = 0.1,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes)
        self.in_channels = in_channels
        self.backbone = ResNet(
            layers,
            in_channels=in_channels,
            width=width,
            output_stride=8,
            stem=stem,
            first_block="stage",
            weights=weights,
        )
        _, _, c4, c5 = self.backbone.channels
        self.pyramid = PyramidPooling(c5, bins)
        self.head = scoring_head(2 * c5, c5 // 4, num_classes, dropout)
        self.auxiliary = scoring_head(c4, c4 // 4, num_classes, dropout) if auxiliary else None
        use_channels_last(self)

    def forward(self, images: Tensor) -> Tensor | WithAuxiliary:
        check_images(images, self.in_channels, "PSPNet", net=self)
        size = images.shape[-2:]
        _, _, c4, c5 = self.backbone(images)  # (B, 1024, H/8, W/8), (B, 2048, H/8, W/8)
        logits = upsample_aligned(self.head(self.pyramid(c5)), size)
        if self.auxiliary is None or not self.training:
            return logits
        return WithAuxiliary(logits, upsample_aligned(self.auxiliary(c4), size))


class PSPNet50(PSPNet):
    """PSPNet on ResNet-50; options as in `PSPNet`.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in PSPNet50().parameters())
    46716373
    """

    def __init__(self, num_classes: int = 21, **options: Any) -> None:
        super().__init__(RESNET50, num_classes, **options)


class PSPNet101(PSPNet):
    """PSPNet on ResNet-101; options as in `PSPNet`.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in PSPNet101().parameters())
    65708501
    """

    def __init__(self, num_classes: int = 21, **options: Any) -> None:
        super().__init__(RESNET101, num_classes, **options)


def scoring_head(in_channels: int, maps: int, num_classes: int, dropout: float) -> nn.Sequential:
    """Build 3 x 3 convolution + BN + ReLU, dropout, 1 x 1 classifier: (B, C, H, W) to (B, K, H, W).

    The dropout takes whole maps, as in the authors' release: neighbours in a map are so alike that
    they would give away a single value.

    >>> sum(p.numel() for p in scoring_head(1024, 256, 21, dropout=0.1).parameters())
    2365205
    """
    return nn.Sequential(
        conv_bn_relu(in_channels, maps, 3), nn.Dropout2d(dropout), nn.Conv2d(maps, num_classes, 1)
    )


def auxiliary_loss(output: Tensor | WithAuxiliary, labels: Tensor, weight: float = 0.4) -> Tensor:
    """Return cross-entropy of the logits plus `weight` times that of the auxiliary logits.

    `labels` is (B, H, W) int64 with 255 = ignore. Plain logits (evaluation mode, or no auxiliary
    head) count alone, so the same loss serves training and validation. Raises TypeError for the
    output of other heads, and names their loss.

    >>> labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    >>> flat = torch.zeros(1, 2, 2, 2)
    >>> round(auxiliary_loss(WithAuxiliary(flat, flat), labels).item(), 4)  # 1.4 ln 2
    0.9704

    Source: section 3.3, figure 4.
    """
    if isinstance(output, Tensor):
        return cross_entropy(output, labels)
    if not isinstance(output, WithAuxiliary):
        raise wrong_output("auxiliary_loss", output)
    return cross_entropy(output.logits, labels) + weight * cross_entropy(output.auxiliary, labels)
