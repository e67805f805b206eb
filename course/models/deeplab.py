"""DeepLab: keep the resolution with atrous convolution, then sharpen with a dense CRF.

Two of VGG16's five poolings lose their stride, so features stay at stride 8 instead of 32; the
convolutions after them get "holes", taps `rate` apart, so that the pretrained kernels see what they
saw before:

    y[i] = sum over k of x[i + rate * k] w[k].

*LargeFOV* turns fc6 into a 3 x 3 convolution with rate 12 and 1024 maps: the same field of view as
a 7 x 7 kernel at rate 4, (k - 1) * rate * 8 + 32 = 224 pixels, 6.5 times fewer parameters. v2 takes
ResNet-101 and several rates in parallel (`ASPP`). The coarse logits, upsampled 8 times, are the
unary term of a fully connected CRF that recovers the borders.

References: Chen, Papandreou, Kokkinos, Murphy, Yuille, *Semantic Image Segmentation with Deep
Convolutional Nets and Fully Connected CRFs*, ICLR 2015, arXiv:1412.7062, section 3 and table 2
(v1); PAMI 2018, arXiv:1606.00915 (v2). Both networks want images of 8 k + 1 pixels (321, 513). The
published systems are `predict_with_crf`, for v2 with `scales=(0.5, 0.75, 1.0)`.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from course.models.aspp import ASPP, ASPPv3
from course.models.layers import (
    check_images,
    check_positive,
    he_init,
    scaled,
    upsample_aligned,
    use_channels_last,
)
from course.models.multi_scale import multi_scale_max
from course.models.pretrained import Weights
from course.models.resnet import RESNET101, ResNet
from course.models.vgg import load_vgg16, vgg_stages
from course.modes import evaluation_mode

__all__ = [
    "ASPP",
    "ASPPv3",
    "DeepLabLargeFOV",
    "DeepLabV2",
    "atrous_vgg16",
    "multi_scale_max",
    "predict_with_crf",
]


def atrous_vgg16(
    in_channels: int = 3, *, width: int = 64, weights: Weights | None = None
) -> nn.Sequential:
    """Build VGG16 at stride 8: (B, C, H, W) to (B, 512, H/8, W/8), sizes rounded up.

    All poolings are 3 x 3 with padding 1; the last two have stride 1, and the convolutions between
    them rate 2.

    >>> atrous_vgg16(width=4)(torch.zeros(1, 3, 33, 41)).shape
    torch.Size([1, 32, 5, 6])

    Source: v1, section 3.1; layout of the released net.
    """
    stages = vgg_stages(in_channels, width=width, dilations=(1, 1, 1, 1, 2))
    if weights is not None:
        load_vgg16(stages, weights)
    layers: list[nn.Module] = []
    for stage, stride in zip(stages, (2, 2, 2, 1, 1)):
        layers += [stage, nn.MaxPool2d(3, stride, padding=1)]
    return nn.Sequential(*layers)


class DeepLabLargeFOV(nn.Module):
    """Map images (B, C, H, W) of any size to logits (B, K, H, W): DeepLab v1 on VGG16.

    `kernel`, `rate` and `hidden` describe fc6; table 2 compares (7, 4, 4096), (4, 4, 4096),
    (4, 8, 4096) and the default. `width` scales all maps except `hidden`, which defaults to
    16 * `width`. `scores` returns the logits at stride 8, to train on subsampled labels as the
    authors do. `weights=` loads torchvision's VGG16 convolutions.

    >>> with torch.device("meta"):
    ...     net = DeepLabLargeFOV()
    ...     sum(p.numel() for p in net.parameters())
    ...     net.scores(torch.empty(1, 3, 321, 321)).shape
    20505429
    torch.Size([1, 21, 41, 41])

    Source: v1, sections 3.1-3.2, table 2; released net `DeepLab-LargeFOV`.
    """

    def __init__(
        self,
        num_classes: int = 21,
        *,
        in_channels: int = 3,
        width: int = 64,
        kernel: int = 3,
        rate: int = 12,
        hidden: int | None = None,
        dropout: float = 0.5,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        hidden = scaled(1024, width) if hidden is None else hidden
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        check_positive(kernel=kernel, rate=rate, hidden=hidden)
        if (kernel - 1) * rate % 2:
            raise ValueError(
                f"(kernel - 1) * rate must be even to pad both sides alike, got {kernel}, {rate}"
            )
        self.in_channels = in_channels
        self.backbone = atrous_vgg16(in_channels, width=width, weights=weights)
        maps = scaled(512, width)
        self.head = nn.Sequential(
            nn.AvgPool2d(3, stride=1, padding=1),  # pool5a of the released net
            nn.Conv2d(maps, hidden, kernel, padding=(kernel - 1) * rate // 2, dilation=rate),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(hidden, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
        )
        self.classifier = nn.Conv2d(hidden, num_classes, 1)
        he_init(self.head)
        nn.init.normal_(self.classifier.weight, std=0.01)  # released net
        use_channels_last(self)

    def scores(self, images: Tensor) -> Tensor:
        """Return logits (B, K, ceil(H / 8), ceil(W / 8)); feature (i, j) sits at pixel (8i, 8j)."""
        check_images(images, self.in_channels, "DeepLabLargeFOV", net=self)
        return self.classifier(self.head(self.backbone(images)))

    def forward(self, images: Tensor) -> Tensor:
        return upsample_aligned(self.scores(images), images.shape[-2:])


class DeepLabV2(nn.Module):
    """Map images (B, C, H, W) of any size to logits (B, K, H, W): atrous backbone and ASPP.

    `backbone` is `"resnet101"` (published best; all blocks of a dilated stage at its rate, see
    `course.models.resnet`) or `"vgg16"`; `rates=(12,)` gives the LargeFOV variant. `width` scales
    all maps, `layers` the blocks of the ResNet. `scores` returns the logits at stride 8. `weights=`
    loads torchvision's ImageNet weights into the backbone. To train the ResNet on a single image it
    must have more than 8 pixels in height or width.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in DeepLabV2().parameters())
    ...     sum(p.numel() for p in DeepLabV2(backbone="vgg16").parameters())
    44048532
    37877652

    Source: v2, sections 3.1-3.2 and 4.1.
    """

    def __init__(
        self,
        num_classes: int = 21,
        *,
        backbone: Literal["resnet101", "vgg16"] = "resnet101",
        rates: Sequence[int] = (6, 12, 18, 24),
        in_channels: int = 3,
        width: int = 64,
        layers: Sequence[int] = RESNET101,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        self.in_channels = in_channels
        if backbone == "resnet101":
            self.backbone = ResNet(
                layers,
                in_channels=in_channels,
                width=width,
                output_stride=8,
                first_block="stage",
                weights=weights,
            )
            self.head = ASPP(32 * width, num_classes, rates=rates)
        elif backbone == "vgg16":
            self.backbone = atrous_vgg16(in_channels, width=width, weights=weights)
            maps, hidden = scaled(512, width), scaled(1024, width)
            self.head = ASPP(maps, num_classes, rates=rates, hidden=hidden)
        else:
            raise ValueError(f"backbone must be 'resnet101' or 'vgg16', got {backbone!r}")
        use_channels_last(self)

    def scores(self, images: Tensor) -> Tensor:
        """Return logits (B, K, ceil(H / 8), ceil(W / 8)); feature (i, j) sits at pixel (8i, 8j)."""
        check_images(images, self.in_channels, "DeepLabV2", net=self)
        features = self.backbone(images)
        if isinstance(features, tuple):
            features = features[-1]  # c5, (B, 2048, H/8, W/8)
        return self.head(features)

    def forward(self, images: Tensor) -> Tensor:
        return upsample_aligned(self.scores(images), images.shape[-2:])


def predict_with_crf(
    network: nn.Module,
    images: Tensor,
    *,
    scales: Sequence[float] = (1.0,),
    normalise: Callable[[Tensor], Tensor] | None = None,
    **crf: Any,
) -> Tensor:
    """Run the whole published system: logits at full size, then the dense CRF.

    `scales` are those of `multi_scale_max`: one for v1, (0.5, 0.75, 1.0) for v2.
    `images` is (B, 3, H, W) in [0, 1]: the CRF compares their colours, so a network that wants
    standardised images gets them through `normalise`. `crf` holds options of
    `course.crf.mean_field`, such as `iterations`. Returns beliefs (B, K, H, W) that sum to 1 over
    the classes; `argmax(1)` labels the pixels. No gradient; the network keeps its mode.

    >>> net = DeepLabLargeFOV(3, width=2)
    >>> predict_with_crf(net, torch.rand(1, 3, 17, 25), iterations=2).shape
    torch.Size([1, 3, 17, 25])

    Source: v1, section 4 and figure 3; v2, section 4.1.
    """
    from course.crf import mean_field  # only this function needs it

    with torch.no_grad(), evaluation_mode(network):
        given = images if normalise is None else normalise(images)
        logits = multi_scale_max(network, given, scales=scales)
        return mean_field(logits, images, **crf)
