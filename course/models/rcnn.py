"""R-CNN: regions with CNN features. Classify every proposed region with a network of its own.

A proposer suggests some 2000 boxes (here `course.proposals.propose`). Each is cut out with a little
context, warped to 227 x 227 pixels whatever its shape, and passed through CaffeNet; greedy
non-maximum suppression within each class removes duplicates. Boxes that fit badly are moved by a
linear regression on the features phi of the last pooling layer, in coordinates relative to the
proposal P:

    t = ((Gx - Px) / Pw, (Gy - Py) / Ph, ln(Gw / Pw), ln(Gh / Ph)),   t ~ w phi(P).

Training has three stages: fine-tune the network with a softmax (`RCNN.loss`), then solve one linear
SVM for each class and the box regressions on frozen features (`course.models.rcnn_stages`).

Reference: Girshick, Donahue, Darrell, Malik, *Rich Feature Hierarchies for Accurate Object
Detection and Semantic Segmentation*, CVPR 2014, arXiv:1311.2524, sections 2 and 3.5, appendix A
(warping) and C (box regression); layer sizes as in the released Caffe model.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.boxes import decode
from course.models.detection import (
    Detections,
    Target,
    check_proposals,
    check_targets,
    sample_regions,
    select_detections,
)
from course.models.layers import check_images, check_positive, he_init, use_channels_last
from course.models.rcnn_warping import CONTEXT, IMAGENET_MEAN, warp_regions
from course.modes import evaluation_mode

__all__ = ["RCNN", "warp_regions"]


class RCNN(nn.Module):
    """Map warped regions (R, 3, `crop`, `crop`) to logits (R, K) of K - 1 classes and background.

    Column 0 is background, column c the class with label c. `width` is the number of maps of the
    first convolution, a multiple of 6 because others are 8/3 of it in two groups. `mean` is
    subtracted from the pixels and fills what lies outside the image. The solved SVMs and box
    regressions are buffers, zero at first, and no parameters. Raises ValueError for sizes that do
    not fit.

    >>> sum(p.numel() for p in RCNN().parameters())
    56954261
    >>> net = RCNN.miniature(4)
    >>> proposals = [torch.tensor([[2.0, 2.0, 20.0, 30.0]]), torch.zeros(0, 4)]
    >>> [len(found["boxes"]) for found in net.detect(torch.zeros(2, 3, 40, 50), proposals)]
    [3, 0]

    Source: section 2.1; 1000 classes give 60,965,224 parameters.
    """

    mean: Tensor
    svm_weight: Tensor
    svm_bias: Tensor
    box_weight: Tensor
    box_bias: Tensor

    def __init__(
        self,
        num_classes: int = 21,
        *,
        width: int = 96,
        crop: int = 227,
        mean: Sequence[float] = IMAGENET_MEAN,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes - 1, width=width, crop=crop - 2 * CONTEXT)
        if width % 6:
            raise ValueError(f"width must be a multiple of 6, got {width}")
        cells = crop
        for kernel, stride in ((11, 4), (3, 2), (3, 2), (3, 2)):  # conv1 and the three poolings
            cells = (cells - kernel) // stride + 1
        if cells < 1:
            raise ValueError(f"crop must be at least 67 pixels, got {crop}")
        wide, wider, hidden = width * 8 // 3, width * 4, width * 128 // 3
        self.num_classes, self.crop = num_classes, crop
        self.features = nn.Sequential(
            *(nn.Conv2d(3, width, 11, 4), nn.ReLU(inplace=True)),
            *(nn.MaxPool2d(3, 2), _Normalisation()),
            *(nn.Conv2d(width, wide, 5, padding=2, groups=2), nn.ReLU(inplace=True)),
            *(nn.MaxPool2d(3, 2), _Normalisation()),
            *(nn.Conv2d(wide, wider, 3, padding=1), nn.ReLU(inplace=True)),
            *(nn.Conv2d(wider, wider, 3, padding=1, groups=2), nn.ReLU(inplace=True)),
            *(nn.Conv2d(wider, wide, 3, padding=1, groups=2), nn.ReLU(inplace=True)),
            *(nn.MaxPool2d(3, 2), nn.Flatten()),
        )
        pooled = wide * cells * cells
        self.fc6, self.fc7 = nn.Linear(pooled, hidden), nn.Linear(hidden, hidden)
        self.score = nn.Linear(hidden, num_classes)
        he_init(self.features)  # the paper starts from ImageNet; this lets it start from scratch
        use_channels_last(self.features)
        objects = num_classes - 1
        self.register_buffer("mean", torch.tensor(mean), persistent=False)
        self.register_buffer("svm_weight", torch.zeros(objects, hidden))
        self.register_buffer("svm_bias", torch.zeros(objects))
        self.register_buffer("box_weight", torch.zeros(objects, 4, pooled))
        self.register_buffer("box_bias", torch.zeros(objects, 4))

    @classmethod
    def miniature(cls, num_classes: int = 4, *, width: int = 12) -> "RCNN":
        """Build a small R-CNN for a CPU: regions of 99 pixels, 2 x 2 cells before fc6.

        >>> sum(p.numel() for p in RCNN.miniature().parameters())
        371188
        """
        return cls(num_classes, width=width, crop=99)

    def describe(self, crops: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of pool5 (R, 9216) and of fc7 (R, 4096) for regions (R, 3, H, W)."""
        check_images(crops, 3, "RCNN", net=self)
        pooled = self.features(crops - self.mean.view(3, 1, 1))
        x = F.dropout(F.relu(self.fc6(pooled)), training=self.training)
        return pooled, F.dropout(F.relu(self.fc7(x)), training=self.training)

    def forward(self, crops: Tensor) -> Tensor:
        return self.score(self.describe(crops)[1])

    def warp(self, image: Tensor, boxes: Tensor) -> Tensor:
        """Cut `boxes` out of one image (3, H, W): see `warp_regions`."""
        return warp_regions(image, boxes, size=self.crop, fill=self.mean)

    def loss(
        self,
        images: Tensor,
        targets: Sequence[Target],
        proposals: Sequence[Tensor],
        *,
        regions: int = 128,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Compute the softmax loss of stage one on `regions` sampled regions of the batch.

        A quarter of them are foreground: proposals (or true boxes) that overlap a true box by an
        IoU of at least 0.5. All others are background. Both numbers are quotas of the batch and
        dealt out evenly over its images. `targets` and `proposals` hold one entry for each image,
        in its pixels. Raises ValueError for malformed arguments.

        Source: section 2.3, 32 foreground and 96 background regions.
        """
        check_positive(regions=regions)
        check_images(images, 3, "RCNN", net=self)
        check_targets(images, targets, self.num_classes - 1)
        check_proposals(images, proposals)
        crops, labels = [], []
        for i, (image, target, boxes) in enumerate(zip(images, targets, proposals)):
            # A share of its own for each image would round small quotas of foreground to nothing.
            start, end = (regions * j // len(images) for j in (i, i + 1))
            sample = sample_regions(
                boxes.to(image.device, torch.float32),  # whatever precision the images have
                target,
                end - start,
                foreground=(end + 3) // 4 - (start + 3) // 4,
                generator=generator,
            )
            crops.append(self.warp(image, sample.boxes))
            labels.append(sample.labels)
        if not sum(map(len, labels)):
            raise ValueError("the batch has neither proposals nor objects: nothing to train on")
        return {"classes": F.cross_entropy(self(torch.cat(crops)), torch.cat(labels))}

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        proposals: Sequence[Tensor],
        *,
        scorer: Literal["softmax", "svm"] = "softmax",
        score_threshold: float = 0.05,
        nms_threshold: float = 0.3,
        max_detections: int = 100,
        batch: int = 128,
    ) -> list[Detections]:
        """Score the proposals of images (N, 3, H, W) and return what survives, per image.

        `proposals` holds (M, 4) boxes for each image, M may be 0. `scorer` takes the softmax of
        stage one or the SVMs, whose scores are signed distances: use a threshold around 0 there.
        Regions pass through the network `batch` at a time. Raises ValueError for malformed
        arguments, and for SVMs that `fit_stages` has not solved.

        Source: sections 2.2 and 3.5; threshold 0.3 of the released code.
        """
        if scorer not in ("softmax", "svm"):
            raise ValueError(f"scorer must be 'softmax' or 'svm', got {scorer!r}")
        if scorer == "svm" and not self.svm_weight.any():
            raise ValueError(
                "the SVMs of this network are not solved yet: call "
                "course.models.rcnn_stages.fit_stages first, or use scorer='softmax'"
            )
        check_images(images, 3, "RCNN", net=self)
        check_proposals(images, proposals)
        results = []
        for image, boxes in zip(images, proposals):
            boxes = boxes.to(image.device, torch.float32)  # whatever precision the images have
            scores = boxes.new_zeros(0, self.num_classes - 1)  # (M, K-1)
            moved = boxes.new_zeros(0, self.num_classes - 1, 4)  # (M, K-1, 4)
            with evaluation_mode(self):
                for part in boxes.split(batch) if len(boxes) else ():
                    pooled, top = self.describe(self.warp(image, part))
                    if scorer == "svm":
                        found = F.linear(top, self.svm_weight, self.svm_bias)
                    else:
                        found = self.score(top).float().softmax(1)[:, 1:]
                    deltas = torch.einsum("rf,ckf->rck", pooled, self.box_weight) + self.box_bias
                    scores = torch.cat([scores, found.float()])
                    moved = torch.cat([moved, decode(deltas.float(), part.unsqueeze(1))])
            size = (image.shape[-2], image.shape[-1])
            results.append(
                select_detections(
                    moved,
                    scores,
                    size,
                    score_threshold=score_threshold,
                    nms_threshold=nms_threshold,
                    max_detections=max_detections,
                )
            )
        return results


class _Normalisation(nn.Module):
    """Caffe's local response normalisation over 5 neighbouring maps, for pixels in [0, 1].

    Caffe's alpha of 1e-4 belongs to maps computed from pixels in 0 ... 255. Ours are 255 times
    smaller and would pass unchanged, so alpha is scaled: the result is norm(255 x) / 255.
    """

    def forward(self, x: Tensor) -> Tensor:
        # In float32: CPU torch has no bfloat16 kernel for this normalisation.
        return F.local_response_norm(x.float(), 5, alpha=1e-4 * 255**2, beta=0.75).to(x.dtype)
