"""YOLO v1: one convolutional pass predicts every box of the image at once.

Detection becomes one regression, from pixels to S x S cells of 5 B + C numbers. The published
network has 24 convolutions, two fully connected layers and a linear last layer:

    448 x 448 x 3  ->  features 7 x 7 x 1024  ->  4096  ->  7 x 7 x 30,   98 boxes.

What the numbers of a cell mean, the five-term loss and the decoding are in `yolo_grid`.

Reference: Redmon, Divvala, Girshick, Farhadi, *You Only Look Once: Unified, Real-Time Object
Detection*, CVPR 2016, arXiv:1506.02640, section 2.1 and figure 3 (network), 2.2 (training).
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from course.models.detection import (
    Detections,
    Target,
    check_side,
    check_targets,
    resize_images,
    select_detections,
)
from course.models.layers import check_images, check_positive, scaled, use_channels_last
from course.models.yolo_grid import (
    YOLOLoss,
    decode_grid,
    make_targets,
    responsible,
    yolo_loss,
)
from course.modes import evaluation_mode

__all__ = ["YOLO", "YOLOLoss", "decode_grid", "make_targets", "responsible", "yolo_loss"]

Layer = tuple[int, int, int] | Literal["pool"]  # (kernel, maps, stride), or a 2 x 2 max pool

PAPER_LAYERS: tuple[Layer, ...] = (  # figure 3: 24 convolutions, total stride 64
    *((7, 64, 2), "pool"),
    *((3, 192, 1), "pool"),
    *((1, 128, 1), (3, 256, 1), (1, 256, 1), (3, 512, 1), "pool"),
    *((1, 256, 1), (3, 512, 1)) * 4,
    *((1, 512, 1), (3, 1024, 1), "pool"),
    *((1, 512, 1), (3, 1024, 1)) * 2,
    *((3, 1024, 1), (3, 1024, 2)),
    *((3, 1024, 1), (3, 1024, 1)),
)
MINIATURE_LAYERS: tuple[Layer, ...] = (  # for labs: 4 convolutions, total stride 8
    *((3, 64, 1), "pool"),
    *((3, 128, 1), "pool"),
    *((3, 256, 1), "pool"),
    (3, 256, 1),
)


class YOLO(nn.Module):
    """Map images (N, 3, H, W), H = W = `image_size`, to predictions (N, S, S, 5 B + C).

    A cell holds B times (x, y, sqrt w, sqrt h, confidence), then C class scores; nothing is
    squashed. `width` is the number of maps of the first convolution, all others scale with it.
    `layers` lists the convolutions as (kernel, maps, stride) at width 64, and `"pool"`. `hidden`
    counts the units of the first fully connected layer; None puts a 1 x 1 convolution in place of
    both, so the last feature map must be S x S. `batch_norm` normalises every convolution instead
    of a bias: the paper pre-trains on ImageNet without, training from scratch needs it. Raises
    ValueError for sizes that do not fit together.

    >>> net = YOLO.miniature()
    >>> net(torch.zeros(2, 3, 48, 48)).shape  # 5 * 2 + 3 numbers a cell
    torch.Size([2, 6, 6, 13])
    >>> sorted(net.detect(torch.zeros(1, 3, 30, 50))[0])  # any size: stretched inside
    ['boxes', 'labels', 'scores']

    Source: section 2.1 and figure 3.
    """

    def __init__(
        self,
        num_classes: int = 20,
        *,
        S: int = 7,
        B: int = 2,
        image_size: int = 448,
        width: int = 64,
        layers: Sequence[Layer] = PAPER_LAYERS,
        hidden: int | None = 4096,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, S=S, B=B, image_size=image_size, width=width)
        self.num_classes, self.S, self.B, self.image_size = num_classes, S, B, image_size
        blocks: list[nn.Module] = []
        maps, size = 3, image_size
        for layer in layers:
            if layer == "pool":
                blocks.append(nn.MaxPool2d(2))
                size //= 2
            else:
                kernel, out, stride = layer[0], scaled(layer[1], width), layer[2]
                blocks.append(_convolution(maps, out, kernel, stride, batch_norm))
                maps, size = out, (size - 1) // stride + 1
        if size < 1 or (hidden is None and size != S):
            raise ValueError(
                f"an image of {image_size} pixels gives a last feature map of {size} x {size}; "
                f"it must be at least 1 x 1, and {S} x {S} where hidden is None"
            )
        self.features = nn.Sequential(*blocks)
        self.head = _head(maps, size, hidden, S, 5 * B + num_classes)
        use_channels_last(self.features)

    @classmethod
    def miniature(cls, num_classes: int = 3, *, width: int = 16, S: int = 6, B: int = 2) -> "YOLO":
        """Build a small YOLO for a CPU: stride 8, batch normalisation, images of 8 S pixels.

        >>> sum(p.numel() for p in YOLO.miniature().parameters())
        61533
        """
        return cls(
            num_classes,
            S=S,
            B=B,
            image_size=8 * S,
            width=width,
            layers=MINIATURE_LAYERS,
            hidden=None,
            batch_norm=True,
        )

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, 3, "YOLO", net=self)
        check_side(images, self.image_size, "YOLO")
        out = self.head(self.features(images))
        if out.ndim == 4:
            return out.permute(0, 2, 3, 1)  # (N, S, S, 5B+C)
        return out.reshape(len(out), self.S, self.S, -1)

    def loss(
        self,
        images: Tensor,
        targets: Sequence[Target],
        *,
        confidence: Literal["iou", "one"] = "iou",
    ) -> dict[str, Tensor]:
        """Compute the five weighted terms of the loss; training minimises their sum.

        `images` (N, 3, H, W) may have any size; each of the N targets holds `boxes` (M, 4) in
        pixels of its image and `labels` (M,) from 1. For `confidence` see `yolo_loss`. Raises
        ValueError for malformed images or targets.
        """
        check_images(images, 3, "YOLO", net=self)
        check_targets(images, targets, self.num_classes)
        size = (images.shape[-2], images.shape[-1])
        grids = [
            make_targets(t["boxes"], t["labels"], size, S=self.S, num_classes=self.num_classes)
            for t in targets
        ]
        grid = torch.stack(grids)  # (N, S, S, 5+C)
        prediction = self(self._stretch(images))
        # Under mixed precision the loss stays in float32: targets in half precision are too coarse.
        prediction = prediction.to(torch.promote_types(prediction.dtype, grid.dtype))
        return yolo_loss(prediction, grid.to(prediction), B=self.B, confidence=confidence)._asdict()

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        *,
        score_threshold: float = 0.2,
        nms_threshold: float = 0.5,
        max_detections: int = 100,
    ) -> list[Detections]:
        """Find the objects in images (N, 3, H, W) of any size, in evaluation mode.

        Images are stretched to the square that the network needs; boxes come back in pixels of the
        images given, clipped, and thinned by non-maximum suppression within each class. Use
        `score_threshold=0` for a precision-recall curve.

        Source: section 2.3; the thresholds are those of the darknet demo.
        """
        check_images(images, 3, "YOLO", net=self)
        size = (images.shape[-2], images.shape[-1])
        with evaluation_mode(self):
            prediction = self(self._stretch(images))
        # Half precision has too few digits for pixels: bfloat16 is 8 pixels coarse at 1920.
        prediction = prediction.to(torch.promote_types(prediction.dtype, torch.float32))
        return [
            select_detections(
                *decoded,
                size,
                score_threshold=score_threshold,
                nms_threshold=nms_threshold,
                max_detections=max_detections,
            )
            for decoded in zip(*decode_grid(prediction, size, B=self.B))
        ]

    def _stretch(self, images: Tensor) -> Tensor:
        return resize_images(images, (self.image_size, self.image_size))


def _convolution(maps: int, out: int, kernel: int, stride: int, batch_norm: bool) -> nn.Module:
    conv = nn.Conv2d(maps, out, kernel, stride, kernel // 2, bias=not batch_norm)
    nn.init.kaiming_normal_(conv.weight, a=0.1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    norm = [nn.BatchNorm2d(out)] if batch_norm else []
    return nn.Sequential(conv, *norm, nn.LeakyReLU(0.1, inplace=True))


def _head(maps: int, size: int, hidden: int | None, S: int, outputs: int) -> nn.Module:
    if hidden is None:
        return nn.Conv2d(maps, outputs, 1)  # (N, 5B+C, S, S)
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(maps * size * size, hidden),
        nn.LeakyReLU(0.1),
        nn.Dropout(0.5),  # section 2.2
        nn.Linear(hidden, S * S * outputs),
    )
