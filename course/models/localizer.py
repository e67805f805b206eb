"""Classification with localisation: one backbone, a class head and a box head.

An image with one object needs two answers, what and where. Both heads read the same feature vector
f (4096 numbers after fc7 of VGG16): K logits, and 4 numbers that are the box. Training minimises

    L = cross-entropy(logits, label) + lambda [object present] distance(box, true box).

Boxes are predicted in corner form **relative to the image**: (x0 / W, y0 / H, x1 / W, y1 / H), so
both terms have the same order of magnitude and the image may be resized freely. A localisation
counts only if the label is right *and* the IoU is at least 0.5.

References: Sermanet et al., *OverFeat*, ICLR 2014, arXiv:1312.6229, section 4 (regression on the
features of a classifier); Russakovsky et al., *ImageNet Large Scale Visual Recognition Challenge*,
IJCV 2015, arXiv:1409.0575, section 4.2 (the measure).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.boxes import clip_boxes
from course.models.detection import Detections, check_boxes
from course.models.layers import (
    Weights,
    check_images,
    check_positive,
    conv_bn_relu,
    scaled,
    use_channels_last,
)
from course.models.vgg import load_vgg16, vgg_stages
from course.modes import evaluation_mode

Distance = Literal["smooth_l1", "l2"]


class LocalizationLoss(NamedTuple):
    """Cross-entropy, and the weighted box distance."""

    classes: Tensor
    boxes: Tensor


class Localizer(nn.Module):
    """Map images (N, 3, H, W) to logits (N, K) and relative boxes (N, 4), or (N, K, 4).

    `backbone` maps images to `features` numbers each, in any shape; None takes VGG16 up to fc7 with
    `width` maps in its first stage and images of `image_size` pixels, for which `weights=` loads
    torchvision's VGG16. `class_specific` predicts one box for every class. On 4096 features the box
    head has 16,388 parameters, or 16,388,000 for 1000 classes. Labels number the K logits; where
    images may be empty, make 0 the class of those. Raises ValueError for sizes below 1.

    >>> net = Localizer.miniature(3, image_size=32)
    >>> logits, boxes = net(torch.zeros(2, 3, 32, 32))
    >>> logits.shape, boxes.shape
    (torch.Size([2, 3]), torch.Size([2, 4]))

    Source: OverFeat, section 4.2.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        backbone: nn.Module | None = None,
        features: int = 4096,
        class_specific: bool = False,
        width: int = 64,
        image_size: int = 224,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, features=features, width=width)
        if backbone is None:
            backbone = VGGTrunk(width, image_size, weights)
            features = backbone.features
        elif weights is not None:
            raise ValueError("weights= is for the default backbone: load your own backbone's first")
        self.num_classes, self.class_specific = num_classes, class_specific
        self.backbone = backbone
        self.class_head = nn.Linear(features, num_classes)
        self.box_head = nn.Linear(features, 4 * num_classes if class_specific else 4)

    @classmethod
    def miniature(
        cls,
        num_classes: int = 3,
        *,
        width: int = 16,
        image_size: int = 48,
        class_specific: bool = False,
    ) -> "Localizer":
        """Build a small localizer for a CPU: four convolutions, `width` maps at stride 8.

        The last map is flattened, not averaged: the box head reads the position off it.

        >>> sum(p.numel() for p in Localizer.miniature().parameters())
        65767
        """
        trunk = nn.Sequential(
            *(conv_bn_relu(3, width, 3), nn.MaxPool2d(2)),
            *(conv_bn_relu(width, 2 * width, 3), nn.MaxPool2d(2)),
            *(conv_bn_relu(2 * width, 4 * width, 3), nn.MaxPool2d(2)),
            conv_bn_relu(4 * width, 4 * width, 3),
            *(nn.Conv2d(4 * width, width, 1), nn.ReLU(), nn.Flatten()),
        )
        use_channels_last(trunk)
        features = width * (image_size // 8) ** 2
        return cls(num_classes, backbone=trunk, features=features, class_specific=class_specific)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        check_images(images, 3, "Localizer")
        features = self.backbone(images).flatten(1)  # (N, F)
        boxes = self.box_head(features)  # (N, 4) or (N, 4K)
        if self.class_specific:
            boxes = boxes.unflatten(1, (self.num_classes, 4))  # (N, K, 4)
        return self.class_head(features), boxes

    def loss(
        self,
        images: Tensor,
        labels: Tensor,
        boxes: Tensor,
        has_object: Tensor | None = None,
        *,
        lam: float = 1.0,
        distance: Distance = "smooth_l1",
    ) -> LocalizationLoss:
        """Compute both terms for images (N, 3, H, W), labels (N,) and boxes (N, 4) in pixels.

        `has_object` (N,) bool says which images have a box at all; the rows of the others may hold
        anything. See `localization_loss`.
        """
        check_images(images, 3, "Localizer")
        logits, predicted = self(images)
        truth = relative_boxes(boxes, (images.shape[-2], images.shape[-1]))
        return localization_loss(
            logits, predicted, labels, truth, has_object, lam=lam, distance=distance
        )

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        """Return the most probable class of each image with its box in pixels, clipped."""
        with evaluation_mode(self):
            logits, boxes = self(images)
        height, width = images.shape[-2:]
        scores, labels = logits.float().softmax(1).max(1, keepdim=True)  # (N, 1)
        boxes = boxes_of(boxes.float(), labels)  # (N, 1, 4)
        pixels = boxes * boxes.new_tensor([width, height, width, height])
        pixels = clip_boxes(pixels, (height, width))
        return [Detections(boxes=b, scores=s, labels=k) for b, s, k in zip(pixels, scores, labels)]


class VGGTrunk(nn.Module):
    """Map square images (N, 3, H, H) to the 4096 features of VGG16's fc7, scaled by `width`.

    >>> VGGTrunk(4, 64)(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 256])
    """

    def __init__(self, width: int = 64, image_size: int = 224, weights: Weights | None = None):
        super().__init__()
        check_positive(width=width, image_size=image_size // 32)
        self.image_size, self.features = image_size, scaled(4096, width)
        self.stages = vgg_stages(width=width)
        use_channels_last(self.stages)
        cells = (image_size // 32) ** 2
        self.fc6 = nn.Linear(scaled(512, width) * cells, self.features)
        self.fc7 = nn.Linear(self.features, self.features)
        if weights is not None:
            state = load_vgg16(self.stages, weights)
            for layer, key in ((self.fc6, "classifier.0"), (self.fc7, "classifier.3")):
                layer.load_state_dict({n: state[f"{key}.{n}"] for n in ("weight", "bias")})

    def forward(self, images: Tensor) -> Tensor:
        if tuple(images.shape[-2:]) != (self.image_size, self.image_size):
            raise ValueError(
                f"this VGG16 needs images of {self.image_size} x {self.image_size} pixels, "
                f"got {images.shape[-2]} x {images.shape[-1]}: resize images and boxes together"
            )
        x = images
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2)  # (N, C, H/2, W/2)
        x = F.dropout(F.relu(self.fc6(x.flatten(1))), training=self.training)
        return F.dropout(F.relu(self.fc7(x)), training=self.training)  # (N, 4096)


def relative_boxes(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Divide boxes (N, 4) in pixels by the image's width and height: corners in [0, 1].

    >>> relative_boxes(torch.tensor([[10.0, 10.0, 30.0, 40.0]]), (40, 100))
    tensor([[0.1000, 0.2500, 0.3000, 1.0000]])
    """
    height, width = image_size
    return boxes / boxes.new_tensor([width, height, width, height])


def boxes_of(boxes: Tensor, labels: Tensor) -> Tensor:
    """Pick the boxes of `labels` (N, G): (N, G, 4) from agnostic (N, 4) or specific (N, K, 4)."""
    if boxes.ndim == 2:
        return boxes.unsqueeze(1).expand(-1, labels.shape[1], -1)
    return boxes.gather(1, labels.unsqueeze(2).expand(-1, -1, 4))


def localization_loss(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    truth: Tensor,
    has_object: Tensor | None = None,
    *,
    lam: float = 1.0,
    distance: Distance = "smooth_l1",
    beta: float = 0.1,
) -> LocalizationLoss:
    """Cross-entropy of all images, and `lam` times the box distance of those with an object.

    `logits` (N, K), `boxes` (N, 4) or (N, K, 4), `labels` (N,), `truth` (N, 4) in the units of
    `boxes`, `has_object` (N,) bool (default: all). The distance of an image is the sum over its 4
    coordinates of d^2, or of smooth L1 with `beta`; it is averaged over the images with an object,
    and 0 where there is none. Relative errors stay below 1, so `beta=1` would make both distances
    the same but for a factor. Raises ValueError where shapes do not belong together.

    >>> logits, boxes = torch.zeros(2, 2), torch.zeros(2, 4)
    >>> truth = torch.tensor([[0.0, 0.0, 0.5, 0.5], [9.0, 9.0, 9.0, 9.0]])
    >>> has_object = torch.tensor([True, False])
    >>> terms = localization_loss(logits, boxes, torch.tensor([0, 1]), truth, has_object,
    ...                           distance="l2")
    >>> [round(term.item(), 4) for term in terms]
    [0.6931, 0.5]
    """
    n = len(logits)
    if labels.shape != (n,) or truth.shape != (n, 4) or len(boxes) != n:
        raise ValueError(
            f"{n} rows of logits need labels ({n},), truth ({n}, 4) and {n} boxes, got "
            f"{tuple(labels.shape)}, {tuple(truth.shape)} and {tuple(boxes.shape)}"
        )
    if distance not in ("smooth_l1", "l2"):
        raise ValueError(f"distance must be 'smooth_l1' or 'l2', got {distance!r}")
    present = torch.ones_like(labels, dtype=torch.bool) if has_object is None else has_object
    chosen = boxes_of(boxes, labels.clamp(min=0).unsqueeze(1)).squeeze(1)[present]  # (P, 4)
    wanted = truth[present].to(chosen)
    check_boxes(wanted, name="truth")
    if distance == "l2":
        error = F.mse_loss(chosen, wanted, reduction="sum")
    else:
        error = F.smooth_l1_loss(chosen, wanted, reduction="sum", beta=beta)
    return LocalizationLoss(F.cross_entropy(logits, labels), lam * error / max(len(chosen), 1))


def localization_accuracy(
    logits: Tensor,
    boxes: Tensor,
    labels: Tensor,
    truth: Tensor,
    *,
    guesses: int = 1,
    threshold: float = 0.5,
) -> float:
    """Share of images with one guess among the best `guesses` that has the right label and box.

    A box is right if its IoU with `truth` is at least `threshold`. Shapes and units as in
    `localization_loss`; 1 guess is the everyday measure, the ImageNet challenge allows 5. An empty
    batch gives nan.

    >>> logits = torch.tensor([[2.0, 1.0], [2.0, 1.0]])  # class 0 twice
    >>> boxes = torch.tensor([[0.0, 0.0, 1.0, 0.5], [0.0, 0.0, 1.0, 1.0]])
    >>> truth = torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]])
    >>> localization_accuracy(logits, boxes, torch.tensor([0, 1]), truth)  # IoU 0.5 is enough
    0.5

    Source: Russakovsky et al. 2015, section 4.2.
    """
    best = logits.topk(min(guesses, logits.shape[1]), dim=1).indices  # (N, G)
    chosen = boxes_of(boxes, best)  # (N, G, 4)
    wanted = truth.unsqueeze(1).to(chosen)
    low = torch.maximum(chosen[..., :2], wanted[..., :2])
    high = torch.minimum(chosen[..., 2:], wanted[..., 2:])
    shared = (high - low).clamp(min=0).prod(-1)  # (N, G)
    areas = [(b[..., 2:] - b[..., :2]).clamp(min=0).prod(-1) for b in (chosen, wanted)]
    # Divided, not compared with threshold * union: 0.5 must count as 0.5.
    iou = shared / (areas[0] + areas[1] - shared)
    right = (best == labels.unsqueeze(1)) & (iou >= threshold)
    return right.any(1).float().mean().item()
