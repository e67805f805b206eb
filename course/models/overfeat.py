"""OverFeat: a classifier that slides over the whole image at the cost of one pass.

Write the fully connected layers as convolutions (6 x 6 or 5 x 5, then 1 x 1) and the classifier
accepts any larger image: the output becomes a map with one class vector per window, and all
windows share their computation. The map is coarse, one vector per 36 pixels. *Offset pooling* makes
it finer without new weights: apply the last s x s pooling at all s x s offsets, classify each
pooled map, and interleave,

    output[s i + dy, s j + dx] = classify(pool(features[dy:, dx:]))[i, j],

which divides the stride by s: 12 pixels for the accurate network (figure 3 and table 5).

Reference: Sermanet, Eigen, Zhang, Mathieu, Fergus, LeCun, *OverFeat: Integrated Recognition,
Localization and Detection using Convolutional Networks*, ICLR 2014, arXiv:1312.6229, tables 1 and
3 (layouts), section 3.3 (offset pooling). Layer 2 of the fast network gives 24 x 24 after, not
before, its convolution; the table prints 24 as its input.
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from course.models.layers import (
    Level,
    check_images,
    check_levels,
    check_positive,
    he_init,
    scaled,
    use_channels_last,
)

# Convolutions (maps, kernel, stride, padding) and pooling windows up to the last pooling ...
FEATURES = {
    "fast": ((96, 11, 4, 0), 2, (256, 5, 1, 0), 2, (512, 3, 1, 1), *[(1024, 3, 1, 1)] * 2),
    "accurate": (
        *((96, 7, 2, 0), 3, (256, 7, 1, 0), 2),
        *((512, 3, 1, 1), (512, 3, 1, 1), (1024, 3, 1, 1), (1024, 3, 1, 1)),
    ),
}
# ... which is the one with offsets, then the classifier's first kernel and hidden layers.
LAST_POOL = {"fast": 2, "accurate": 3}
CLASSIFIER = {"fast": (6, 3072, 4096), "accurate": (5, 4096, 4096)}


class OverFeat(nn.Module):
    """Map images (B, C, H, W) to class logits (B, K, H', W'), one vector per window.

    `variant` is `"fast"` (window 231, stride 32) or `"accurate"` (window 221, stride 36); `width`
    is the number of maps of the first convolution (96), all others scale with it.
    Raises ValueError for images below the window and for an unknown variant.

    >>> import torch
    >>> net = OverFeat("accurate", 10, width=6).eval()
    >>> images = torch.zeros(1, 3, 281, 317)
    >>> net(images).shape, net.forward_offsets(images).shape
    (torch.Size([1, 10, 2, 3]), torch.Size([1, 10, 6, 9]))

    Source: tables 1 and 3; ReLU, no contrast normalisation, non-overlapping pooling.
    """

    def __init__(
        self,
        variant: Literal["fast", "accurate"] = "accurate",
        num_classes: int = 1000,
        *,
        in_channels: int = 3,
        width: int = 96,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        if variant not in FEATURES:
            raise ValueError(f"variant must be 'fast' or 'accurate', got {variant!r}")
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        self.in_channels, self.pool = in_channels, LAST_POOL[variant]
        self.levels: list[Level] = []
        layers: list[nn.Module] = []
        channels, self.stride = in_channels, self.pool
        for step in FEATURES[variant]:
            if isinstance(step, int):
                layers.append(nn.MaxPool2d(step))
                self.levels.append((f"pool{len(self.levels)}", step, step, 0))
                self.stride *= step
            else:
                maps, kernel, stride, padding = step
                maps = scaled(maps, width, base=96)
                layers += [nn.Conv2d(channels, maps, kernel, stride, padding), nn.ReLU(True)]
                self.levels.append((f"conv{len(self.levels) + 1}", kernel, stride, padding))
                channels, self.stride = maps, self.stride * stride
        self.features = nn.Sequential(*layers)
        kernel, *hidden = CLASSIFIER[variant]
        first, second = (scaled(maps, width, base=96) for maps in hidden)
        self.classifier = nn.Sequential(
            nn.Conv2d(channels, first, kernel),  # the first fully connected layer
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(first, second, 1),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Conv2d(second, num_classes, 1),
        )
        self.kernel = kernel
        self.levels += [("last pool", self.pool, self.pool, 0), ("full1", kernel, 1, 0)]
        he_init(self)
        use_channels_last(self)

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(F.max_pool2d(self._features(images), self.pool))

    def forward_offsets(self, images: Tensor) -> Tensor:
        """Classify with the last pooling at all offsets: logits (B, K, rows, columns).

        Every whole window of the feature map at stride 1 gets a vector: with n rows of features,
        an s x s pooling and a k x k kernel, n - s k + 1 rows. Where `forward` gives H' rows, these
        are s H' - s + 1 ... s H', depending on the rest of n / s.

        >>> import torch
        >>> net = OverFeat("accurate", 5, width=6).eval()
        >>> for height in (221, 233, 245):  # 15, 16 and 17 features; H' is 1
        ...     print(net.forward_offsets(torch.zeros(1, 3, height, 221)).shape[2:])
        torch.Size([1, 1])
        torch.Size([2, 1])
        torch.Size([3, 1])

        Source: section 3.3, figure 3.
        """
        features = self._features(images)
        s, span = self.pool, self.pool * self.kernel
        rows, columns = (n - span + 1 for n in features.shape[-2:])
        offsets = [(dy, dx) for dy in range(min(s, rows)) for dx in range(min(s, columns))]
        output = None
        for dy, dx in offsets:
            logits = self.classifier(F.max_pool2d(features[..., dy:, dx:], s))
            if output is None:
                output = logits.new_empty(*logits.shape[:2], rows, columns)
            output[..., dy::s, dx::s] = logits
        assert output is not None  # `_features` refused images below one window
        return output

    def _features(self, images: Tensor) -> Tensor:
        check_images(images, self.in_channels, "OverFeat", net=self)
        check_levels(images, self.levels, self.stride, "OverFeat")
        return self.features(images)  # (B, 1024, 15, 15) for 221, or 12 x 12 for 231
