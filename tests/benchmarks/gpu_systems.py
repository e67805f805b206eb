"""Every system of `course.models` as published, and the nearest ones of other libraries.

On a CPU the networks are narrow and the images small: that tries the code and measures nothing.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torchvision
from gpu_timing import CUDA, DEVICE, size
from test_ground_speed import corner_boxes
from torch import Tensor, nn
from torch.nn import functional as F

from course import models
from course.models.fast_rcnn import FastRCNN, fast_rcnn_loss
from course.models.pspnet import auxiliary_loss
from course.models.reverse_attention import ReverseAttentionOutput, reverse_attention_loss
from course.models.yolo_grid import yolo_loss


def pixel_loss(output: Any) -> Tensor:
    """The loss of a segmentation network, whatever it returns, on random labels."""
    output = output["out"] if isinstance(output, dict) else output
    scores = output if isinstance(output, Tensor) else output[0]
    labels = torch.randint(scores.shape[1], (len(scores), *scores.shape[2:]), device=scores.device)
    if isinstance(output, ReverseAttentionOutput):
        return reverse_attention_loss(output, labels)
    return auxiliary_loss(output, labels)


class System(NamedTuple):
    """How to build a network, the shape of its images, and its loss."""

    build: Callable[[], nn.Module]
    shape: tuple[int, ...]
    loss: Callable[[Any], Tensor] = pixel_loss


def systems() -> dict[str, System]:
    """By name; 21 classes where the paper's set is VOC, 11 where it is CamVid."""
    width = {} if CUDA else {"width": 4}
    depth = {} if CUDA else {"layers": (1, 1, 1, 1), "width": 4}
    side, valid = size(224, 64), size(572, 188)
    voc = size(4, 2), 3, size(512, 64), size(512, 80)
    camvid = size(4, 2), 3, size(360, 64), size(480, 80)
    grey, wide = (size(4, 1), 1, 512, 512), (size(4, 1), 3, 512, 512)
    every = size(128, 4)
    regions = [corner_boxes(every, size(450, 30), size(150, 30), seed) for seed in (0, 1)]
    return {
        "PixelClassifier": System(partial(models.PixelClassifier, **width), grey),
        "OverFeat accurate": System(partial(models.OverFeat, "accurate", width=size(96, 6)), wide),
        "UNet": System(partial(models.UNet, **width), (size(4, 1), 1, valid, valid)),
        "FCN32s": System(partial(models.FCN32s, **width), voc),
        "FCN16s": System(partial(models.FCN16s, **width), voc),
        "FCN8s": System(partial(models.FCN8s, **width), voc),
        "DeconvNet": System(
            partial(models.DeconvNet, window=size(7, 2), **width), (size(8, 2), 3, side, side)
        ),
        "SegNet": System(partial(models.SegNet, **width), camvid),
        "SegNetBasic": System(partial(models.SegNetBasic, **width), camvid),
        "FCDenseNet56": System(models.FCDenseNet56, camvid),
        "FCDenseNet67": System(models.FCDenseNet67, camvid),
        "FCDenseNet103": System(models.FCDenseNet103, camvid),
        "DeepLabLargeFOV": System(partial(models.DeepLabLargeFOV, **width), voc),
        "DeepLabV2": System(partial(models.DeepLabV2, **depth), voc),
        "PSPNet50": System(partial(models.PSPNet50, **width), voc),
        "PSPNet101": System(partial(models.PSPNet101, **width), voc),
        "FastFCN": System(partial(models.FastFCN, **depth), voc),
        "ReverseAttentionNet": System(partial(models.ReverseAttentionNet, **depth), voc),
        "YOLO": System(
            partial(models.YOLO, hidden=size(4096, 64), **width),
            (size(8, 2), 3, 448, 448),
            grid_loss,
        ),
        f"FastRCNN, 2 x {every} regions": System(
            partial(WithRegions, regions, **width), (2, 3, size(600, 60), size(800, 80)), rois_loss
        ),
        f"RCNN, {every} regions": System(
            partial(models.RCNN, width=size(96, 6)), (every, 3, 227, 227), class_loss
        ),
    }


def peers() -> dict[str, System]:
    """What users would pick instead; those of segmentation_models_pytorch where it is installed."""
    zoo = torchvision.models.segmentation
    plain = {"weights": None, "weights_backbone": None, "num_classes": 21}
    voc = size(4, 2), 3, size(512, 64), size(512, 96)
    found = {
        f"torchvision {build.__name__}": System(partial(build, **plain), voc)
        for build in (zoo.fcn_resnet50, zoo.deeplabv3_resnet101)
    }
    try:
        import segmentation_models_pytorch as smp
    except ImportError:
        return found
    for build, encoder in (
        (smp.Unet, "vgg16_bn"),
        (smp.Unet, "resnet34"),
        (smp.PSPNet, "resnet50"),  # of which it takes the first three stages only
        (smp.DeepLabV3Plus, "resnet101"),
    ):
        found[f"smp {build.__name__} {encoder}"] = System(
            partial(build, encoder_name=encoder, encoder_weights=None, classes=21), voc
        )
    return found


class WithRegions(nn.Module):
    """Fast R-CNN of images alone: the regions are always the same."""

    def __init__(self, regions: Sequence[Tensor], **options: int) -> None:
        super().__init__()
        self.net, self.regions = FastRCNN(**options), [boxes.to(DEVICE) for boxes in regions]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.net(images, self.regions)


def grid_loss(prediction: Tensor) -> Tensor:
    """One object of the first class in the middle of every image."""
    target = torch.zeros(*prediction.shape[:-1], 25, device=prediction.device)
    target[:, 3, 3, :6] = torch.tensor([0.5, 0.5, 0.5, 0.6, 1, 1], device=prediction.device)
    return yolo_loss(prediction.float(), target).total


def rois_loss(output: tuple[Tensor, Tensor]) -> Tensor:
    """Every region is an object of class 1 in its place."""
    labels = torch.ones(len(output[0]), dtype=torch.int64, device=output[0].device)
    return sum(fast_rcnn_loss(*output, labels, torch.zeros(len(labels), 4, device=labels.device)))


def class_loss(logits: Tensor) -> Tensor:
    """Every region is an object of class 1."""
    return F.cross_entropy(logits, torch.ones(len(logits), dtype=torch.int64, device=logits.device))
