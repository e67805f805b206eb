"""Fast R-CNN: the convolutions run once per image, and every region is cut out of their result.

The last feature map of VGG16 (stride 16, without its last pooling) is shared by all proposals.
These come from outside (here from `course.proposals.propose`); RoI max pooling turns each into
7 x 7 cells, two fully connected layers follow, and two heads predict a class and, for every class,
a correction t of the box. Both are trained at once, with class u (0 = background) and the true
correction v, normalised to mean 0 and variance 1 per class:

    L = -log p_u + lambda [u >= 1] sum smooth_L1(t_u - v),   smooth_L1(x) = x^2 / 2, or |x| - 1/2.

At test time half of the time goes into fc6 and fc7; `FastRCNN.compress` replaces each by the best
two thinner layers, W ~ U S V^T, with t (u + v) instead of u v weights.

Reference: Girshick, *Fast R-CNN*, ICCV 2015, arXiv:1504.08083, sections 2.1 (RoI pooling), 2.3
(loss, sampling, scale), 3.1 (truncated SVD); constants as in the released code.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.boxes import decode, encode, roi_max_pool
from course.models.detection import (
    Detections,
    Target,
    check_proposals,
    check_targets,
    resize_images,
    sample_regions,
    select_detections,
)
from course.models.fast_rcnn_parts import FastRCNNLoss, fast_rcnn_loss, truncated_svd
from course.models.layers import Weights, check_images, check_positive, scaled, use_channels_last
from course.models.vgg import load_vgg16, load_vgg16_classifier, vgg_stages
from course.modes import evaluation_mode

__all__ = ["FastRCNN", "FastRCNNLoss", "fast_rcnn_loss", "truncated_svd"]


class FastRCNN(nn.Module):
    """Map images (N, 3, H, W) and N tensors of regions to logits (R, K) and corrections (R, K, 4).

    The R regions come image after image. Column 0 is background, column c the class with label c.
    `width` is the number of maps of the first convolution and scales all
    others; `stages` of VGG16 are kept (5), without the last pooling, for stride 2^(stages - 1).
    `sides` are the shorter side and the longest allowed longer side to which `loss` and `detect`
    scale images; None leaves them as they are. `weights=` loads torchvision's VGG16, with its
    fully connected layers: normalise images with torchvision's ImageNet mean and deviation then.
    The host reads the regions to check them and to cut them out, where `torch.compile` breaks the
    graph: all convolutions are one, fc6, fc7 and the heads another. Raises ValueError for sizes
    below 1.

    >>> net = FastRCNN.miniature(4)
    >>> regions = torch.tensor([[0.0, 0.0, 20.0, 12.0], [8.0, 8.0, 40.0, 30.0]])
    >>> logits, corrections = net(torch.zeros(2, 3, 48, 64), [regions, torch.zeros(0, 4)])
    >>> logits.shape, corrections.shape
    (torch.Size([2, 4]), torch.Size([2, 4, 4]))

    Source: section 2; parameters with biases, 21 classes: 134,690,729.
    """

    target_mean: Tensor
    target_std: Tensor

    def __init__(
        self,
        num_classes: int = 21,
        *,
        width: int = 64,
        stages: int = 5,
        pool_size: int = 7,
        batch_norm: bool = False,
        sides: tuple[int, int] | None = (600, 1000),
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes - 1, width=width, stages=stages, pool_size=pool_size)
        self.num_classes, self.pool_size, self.sides = num_classes, pool_size, sides
        self.frozen = 0  # stages that do not train
        full = vgg_stages(width=width, batch_norm=batch_norm)
        if stages > len(full):
            raise ValueError(f"VGG16 has {len(full)} stages, got stages={stages}")
        state = None if weights is None else load_vgg16(full, weights)
        self.stages = full[:stages]
        use_channels_last(self.stages)
        self.scale = 0.5 ** (len(self.stages) - 1)  # 1/16 for five stages
        maps = [m for m in self.stages.modules() if isinstance(m, nn.Conv2d)][-1].out_channels
        hidden = scaled(4096, width)
        self.fc6: nn.Module = nn.Linear(maps * pool_size**2, hidden)
        self.fc7: nn.Module = nn.Linear(hidden, hidden)
        self.class_head = nn.Linear(hidden, num_classes)
        self.box_head = nn.Linear(hidden, 4 * num_classes)
        for head, std in ((self.class_head, 0.01), (self.box_head, 0.001)):
            nn.init.normal_(head.weight, std=std)
            nn.init.zeros_(head.bias)
        if state is not None:
            load_vgg16_classifier(self.fc6, self.fc7, state)
        # Before `fit_targets`: the statistics that the authors' later code takes for every class.
        spread = torch.tensor([0.1, 0.1, 0.2, 0.2])
        self.register_buffer("target_mean", torch.zeros(num_classes, 4))
        self.register_buffer("target_std", spread.repeat(num_classes, 1))

    @classmethod
    def miniature(cls, num_classes: int = 4, *, width: int = 8) -> "FastRCNN":
        """Build a small Fast R-CNN for a CPU: three stages (stride 4), 4 x 4 cells a region.

        >>> sum(p.numel() for p in FastRCNN.miniature().parameters())
        563292
        """
        return cls(num_classes, width=width, stages=3, pool_size=4, batch_norm=True, sides=None)

    def forward(self, images: Tensor, regions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        check_images(images, 3, "Fast R-CNN", net=self)
        check_proposals(images, regions)
        features = images
        for i, stage in enumerate(self.stages):
            features = stage(F.max_pool2d(features, 2) if i else features)  # (N, C, H/2^i, W/2^i)
        # The published rule counts the last pixel in, our boxes end after it.
        corners = [(boxes - boxes.new_tensor([0, 0, 1, 1])).to(images.device) for boxes in regions]
        pooled = roi_max_pool(features, corners, self.pool_size, self.scale)  # (R, C, 7, 7)
        x = F.dropout(F.relu(self.fc6(pooled.flatten(1))), training=self.training)
        x = F.dropout(F.relu(self.fc7(x)), training=self.training)  # (R, 4096)
        return self.class_head(x), self.box_head(x).unflatten(1, (self.num_classes, 4))

    def loss(
        self,
        images: Tensor,
        targets: Sequence[Target],
        proposals: Sequence[Tensor],
        *,
        regions: int = 64,
        lam: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Compute both terms on at most `regions` sampled regions of each image.

        A quarter of them at most are foreground (IoU with a true box >= 0.5), the rest background
        with 0.1 <= IoU < 0.5. `targets` and `proposals` hold one entry for each image, in its
        pixels. Raises ValueError for malformed arguments.

        Source: section 2.3; the paper takes two images at a time.
        """
        check_images(images, 3, "Fast R-CNN", net=self)
        check_targets(images, targets, self.num_classes - 1)
        check_proposals(images, proposals)
        samples = [
            sample_regions(boxes, target, regions, lowest=0.1, generator=generator)
            for boxes, target in zip(proposals, targets)
        ]
        boxes, labels, objects = (torch.cat(rows).to(images.device) for rows in zip(*samples))
        wanted = (encode(objects, boxes) - self.target_mean[labels]) / self.target_std[labels]
        images, factors = self._rescale(images)
        logits, corrections = self(images, [s.boxes.to(images.device) * factors for s in samples])
        return fast_rcnn_loss(logits, corrections, labels, wanted, lam=lam)._asdict()

    @torch.no_grad()
    def detect(
        self,
        images: Tensor,
        proposals: Sequence[Tensor],
        *,
        score_threshold: float = 0.05,
        nms_threshold: float = 0.3,
        max_detections: int = 100,
    ) -> list[Detections]:
        """Score and correct the proposals of images (N, 3, H, W), in evaluation mode.

        `proposals` holds (M, 4) boxes for each image, M may be 0. Raises ValueError for malformed
        arguments.

        Source: section 2.2; thresholds of the released code.
        """
        check_images(images, 3, "Fast R-CNN", net=self)
        check_proposals(images, proposals)
        size = (images.shape[-2], images.shape[-1])
        # Boxes and corrections stay in float32: half precision has too few digits for pixels.
        proposals = [boxes.to(images.device, torch.float32) for boxes in proposals]
        images, factors = self._rescale(images)
        with evaluation_mode(self):
            logits, corrections = self(images, [boxes * factors for boxes in proposals])
        scores = logits.float().softmax(1)[:, 1:]  # (R, K-1)
        spread, centre = self.target_std.float(), self.target_mean.float()
        corrections = (corrections.float() * spread + centre)[:, 1:]  # (R, K-1, 4)
        counts = [len(boxes) for boxes in proposals]
        return [
            select_detections(
                decode(one_corrections, boxes.unsqueeze(1)),
                one_scores,
                size,
                score_threshold=score_threshold,
                nms_threshold=nms_threshold,
                max_detections=max_detections,
            )
            for boxes, one_scores, one_corrections in zip(
                proposals, scores.split(counts), corrections.split(counts)
            )
        ]

    @torch.no_grad()
    def fit_targets(self, targets: Sequence[Target], proposals: Sequence[Tensor]) -> None:
        """Measure mean and deviation of the corrections of each class over a training set.

        Pairs with an IoU of at least 0.5 count. A class with fewer than two keeps what it had.

        Source: section 2.3, "we normalise the ground-truth regression targets".
        """
        for label in range(1, self.num_classes):
            rows = []
            for target, boxes in zip(targets, proposals, strict=True):
                sample = sample_regions(boxes, target, 4 * (len(boxes) + len(target["boxes"])))
                mine = sample.labels == label
                rows.append(encode(sample.objects[mine], sample.boxes[mine]))
            corrections = torch.cat(rows).to(self.target_mean)
            if len(corrections) > 1:
                self.target_mean[label] = corrections.mean(0)
                self.target_std[label] = corrections.std(0).clamp(min=1e-3)

    def compress(self, fc6: int = 1024, fc7: int = 256) -> None:
        """Replace fc6 and fc7 by their truncated decompositions of these ranks, for inference.

        The state dict of a compressed network loads into one that was compressed to the same ranks.
        Raises ValueError for ranks out of range and for a second call, and changes nothing then.

        Source: section 3.1: 30 % faster at 0.3 points of mean average precision.
        """
        smaller = {}
        for name, rank in (("fc6", fc6), ("fc7", fc7)):
            layer = getattr(self, name)
            if not isinstance(layer, nn.Linear):
                raise ValueError(f"{name} is compressed already: load the trained network again")
            smaller[name] = truncated_svd(layer, rank)
        self.fc6, self.fc7 = smaller["fc6"], smaller["fc7"]

    def parameter_groups(self, lr: float = 1e-3, weight_decay: float = 5e-4) -> list[dict]:
        """Group what is not frozen for an optimiser: biases learn twice as fast, without decay."""
        named = [(name, p) for name, p in self.named_parameters() if p.requires_grad]
        biases = [p for name, p in named if name.endswith("bias")]
        others = [p for name, p in named if not name.endswith("bias")]
        return [
            {"params": others, "lr": lr, "weight_decay": weight_decay},
            {"params": biases, "lr": 2 * lr, "weight_decay": 0.0},
        ]

    def freeze(self, stages: int = 2) -> None:
        """Stop training the first `stages` of VGG16, as the paper does with conv1 and conv2.

        Their batch normalisation stays in evaluation mode. Raises ValueError for more stages than
        there are.
        """
        if not 0 <= stages <= len(self.stages):
            raise ValueError(f"stages must lie in [0, {len(self.stages)}], got {stages}")
        self.frozen = max(self.frozen, stages)
        self.stages[: self.frozen].requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FastRCNN":
        super().train(mode)
        self.stages[: self.frozen].eval()
        return self

    def _rescale(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Scale images to `sides`; return them and the factors (4,) for boxes."""
        height, width = images.shape[-2:]
        if self.sides is None:
            return images, images.new_ones(4, dtype=torch.float32)
        factor = min(self.sides[0] / min(height, width), self.sides[1] / max(height, width))
        size = (max(1, round(height * factor)), max(1, round(width * factor)))
        factors = torch.tensor([size[1] / width, size[0] / height] * 2, device=images.device)
        return resize_images(images, size), factors
