"""Classification with localisation: one backbone, a class head and a box head.

An image with one object needs two answers, what and where. Both heads read the same feature vector
f (4096 numbers after fc7 of VGG16): K logits, and 4 numbers that are the box. Training minimises

    L = cross-entropy(logits, label) + lambda [object present] distance(box, true box).

Boxes are predicted in corner form **relative to the image**: (x0 / W, y0 / H, x1 / W, y1 / H), so
both terms have the same order of magnitude and the image may be resized freely. A localisation
counts only if the label is right *and* the IoU is at least 0.5; this measure and the loss are in
`course.models.localization`.

Reference: Sermanet et al., *OverFeat*, ICLR 2014, arXiv:1312.6229, section 4 (regression on the
features of a classifier).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.boxes import clip_boxes
from course.models.detection import Detections, check_side, has_area, resize_images
from course.models.layers import (
    Weights,
    check_images,
    check_positive,
    conv_bn_relu,
    scaled,
    use_channels_last,
)
from course.models.localization import (
    Distance,
    LocalizationLoss,
    boxes_of,
    localization_accuracy,
    localization_loss,
    relative_boxes,
)
from course.models.vgg import load_vgg16, load_vgg16_classifier, vgg_stages
from course.modes import evaluation_mode

__all__ = [
    "LocalizationLoss",
    "Localizer",
    "VGGTrunk",
    "boxes_of",
    "localization_accuracy",
    "localization_loss",
    "relative_boxes",
]


class Localizer(nn.Module):
    """Map images (N, 3, H, W) to logits (N, K) and relative boxes (N, 4), or (N, K, 4).

    `backbone` maps images to `features` numbers each, in any shape; None takes VGG16 up to fc7 with
    `width` maps in its first stage and images of `image_size` pixels, for which `weights=` loads
    torchvision's VGG16: normalise images with torchvision's ImageNet mean and deviation then.
    `class_specific` predicts one box for every class. On 4096 features the box head has 16,388
    parameters, or 16,388,000 for 1000 classes.

    Labels number the K logits. As in the course's other detectors, 0 is background: an image
    without object, for which `detect` returns no box. `background=False` makes 0 a class like the
    others, as in ImageNet, where each image has an object. Raises ValueError for sizes below 1 and,
    in `forward`, for images of another size.

    >>> net = Localizer.miniature(4, image_size=32)
    >>> logits, boxes = net(torch.zeros(2, 3, 32, 32))
    >>> logits.shape, boxes.shape
    (torch.Size([2, 4]), torch.Size([2, 4]))
    >>> sorted(net.detect(torch.zeros(1, 3, 30, 50))[0])  # any size: stretched inside
    ['boxes', 'labels', 'scores']

    Source: OverFeat, section 4.2.
    """

    def __init__(
        self,
        num_classes: int = 1000,
        *,
        backbone: nn.Module | None = None,
        features: int = 4096,
        class_specific: bool = False,
        background: bool = True,
        width: int = 64,
        image_size: int = 224,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, features=features, width=width)
        self.side: int | None = None  # of the images; a backbone of your own takes what it takes
        if backbone is None:
            backbone = VGGTrunk(width, image_size, weights)
            features, self.side = backbone.features, image_size
        elif weights is not None:
            raise ValueError("weights= is for the default backbone: load your own backbone's first")
        self.num_classes, self.class_specific = num_classes, class_specific
        self.background = background
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
        background: bool = True,
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
        net = cls(
            num_classes,
            backbone=trunk,
            features=width * (image_size // 8) ** 2,
            class_specific=class_specific,
            background=background,
        )
        net.side = image_size
        return net

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        check_images(images, 3, "Localizer", net=self)
        if self.side is not None:
            check_side(images, self.side, "Localizer")
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
        anything. None takes those whose label is not background. See `localization_loss`.
        """
        logits, predicted = self(images)
        if has_object is None and self.background:
            has_object = labels > 0
        truth = relative_boxes(boxes, (images.shape[-2], images.shape[-1]))
        return localization_loss(
            logits, predicted, labels, truth, has_object, lam=lam, distance=distance
        )

    @torch.no_grad()
    def detect(self, images: Tensor) -> list[Detections]:
        """Return the most probable class of each image (N, 3, H, W) with its box in pixels.

        Images of any size are stretched to the square that the network needs, and boxes come back
        in pixels of the images given, their corners in order, clipped. Nothing is found where the
        class is background, and where clipping leaves no area.
        """
        check_images(images, 3, "Localizer", net=self)
        height, width = images.shape[-2:]
        with evaluation_mode(self):
            square = images if self.side is None else resize_images(images, (self.side, self.side))
            logits, boxes = self(square)
        scores, labels = logits.float().softmax(1).max(1, keepdim=True)  # (N, 1)
        boxes = boxes_of(boxes.float(), labels)  # (N, 1, 4)
        # Nothing keeps a regression from exchanging two corners.
        low, high = (
            pick(boxes[..., :2], boxes[..., 2:]) for pick in (torch.minimum, torch.maximum)
        )
        pixels = torch.cat([low, high], -1) * boxes.new_tensor([width, height, width, height])
        pixels = clip_boxes(pixels, (height, width))
        found = has_area(pixels)  # (N, 1)
        if self.background:
            found &= labels > 0
        return [
            Detections(boxes=b[kept], scores=p[kept], labels=k[kept])
            for b, p, k, kept in zip(pixels, scores, labels, found)
        ]


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
            load_vgg16_classifier(self.fc6, self.fc7, load_vgg16(self.stages, weights))

    def forward(self, images: Tensor) -> Tensor:
        check_side(images, self.image_size, "VGG16")
        x = images
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2)  # (N, C, H/2, W/2)
        x = F.dropout(F.relu(self.fc6(x.flatten(1))), training=self.training)
        return F.dropout(F.relu(self.fc7(x)), training=self.training)  # (N, 4096)
