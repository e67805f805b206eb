"""Segmentation: every pixel gets a class."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from course.experiments.tasks.base import Task
from course.geometry import valid_input_for
from course.losses import cross_entropy
from course.metrics import ConfusionMatrix
from course.models.encnet import WithContext, context_loss
from course.models.pspnet import WithAuxiliary, auxiliary_loss
from course.models.reverse_attention import ReverseAttentionOutput, reverse_attention_loss
from course.tiling import mirror_pad

__all__ = ["Dense", "Mirrored", "Segmentation"]


class Segmentation(Task):
    """Every pixel gets a class; measured by mean IoU."""

    main_metric = "mean IoU"

    def wrap(self, net: nn.Module) -> nn.Module:
        if hasattr(net, "forward_dense"):
            return Dense(net)
        return Mirrored(net) if getattr(net, "padding", None) == "valid" else net

    def loss(self, output: Any, batch: dict[str, Any]) -> Tensor:
        if isinstance(output, ReverseAttentionOutput):
            return reverse_attention_loss(output, batch["mask"])
        if isinstance(output, WithAuxiliary):
            return auxiliary_loss(output, batch["mask"])
        if isinstance(output, WithContext):
            return context_loss(output, batch["mask"])
        return cross_entropy(output, batch["mask"])

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        matrix = ConfusionMatrix(len(self.class_names))
        for images, samples in self.batches(model):
            masks = torch.stack([s["mask"] for s in samples]).to(images.device)
            matrix.update(model(images).argmax(1), masks)
        scores = {
            "mean IoU": matrix.mean_iou().item(),
            "pixel accuracy": matrix.pixel_accuracy().item(),
        }
        return scores | {
            f"IoU {n}": v for n, v in zip(self.class_names, matrix.iou().tolist()) if v == v
        }


class Dense(nn.Module):
    """A window classifier that labels every pixel in one pass."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net.forward_dense(images)  # type: ignore[operator]


class Mirrored(nn.Module):
    """A U-Net with valid convolutions whose output covers the image: the border is mirrored.

    >>> from course.models import UNet
    >>> Mirrored(UNet(1, 2, width=2, depth=1))(torch.zeros(1, 1, 21, 30)).shape
    torch.Size([1, 2, 21, 30])
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        border: int = self.net.border  # type: ignore[assignment]
        margins = []
        for side in (width, height):
            total = valid_input_for(side, self.net.depth) - side  # type: ignore[arg-type]
            margins.append((total // 2, total - total // 2))
        (left, right), (top, bottom) = margins
        logits = self.net(mirror_pad(images, (left, top, right, bottom)))
        top, left = top - border, left - border
        return logits[..., top : top + height, left : left + width]
