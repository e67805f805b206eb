"""Reverse attention: also learn what each class is *not*.

A segmentation network confuses classes where its responses to both are high. RAN adds a second
branch R on the same features that is trained on the opposite question, by the ordinary loss with
flipped sign, and subtracts it where the first branch O is not sure:

    Y = O - A * R,   A = sigmoid(-O)                                  (simple)
                     A = sigmoid(1 / (relu(O) + 0.125) - 4)           (normalised).

A has no weights. It is near 1 where O does not respond and near 0 where O is confident; the
constants of the normalised form map responses 0 ... infinity to the range 4 ... -4 of the sigmoid.
Three losses are summed: cross-entropy of O, of -R and of Y, all with the same labels; the test uses
Y only.

Reference: Huang, Xia, Wu, Li, Wang, Song, Kuo, *Semantic Segmentation with Reverse Attention*, BMVC
2017, arXiv:1707.06426, section 3. No official code is known. Choices made here that the paper does
not settle: equal loss weights, and gradient flows through A into O.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.losses import cross_entropy
from course.losses.pixelwise import wrong_output
from course.models.aspp import ASPP
from course.models.layers import (
    check_images,
    check_positive,
    upsample_aligned,
    use_channels_last,
)
from course.models.pretrained import Weights
from course.models.resnet import RESNET101, ResNet

Mask = Literal["normalised", "simple"]


class ReverseAttentionOutput(NamedTuple):
    """Three logits (B, K, H, W) of a `ReverseAttentionNet`: what it returns in training mode."""

    original: Tensor
    reverse: Tensor
    combined: Tensor

    trained_by = "course.models.reverse_attention.reverse_attention_loss"


def reverse_attention_mask(original: Tensor, mask: Mask = "normalised") -> Tensor:
    """Return A in (0, 1), same shape as the logits: large where `original` does not respond.

    >>> reverse_attention_mask(torch.tensor([-3.0, 0.0, 0.125, 1.0]))
    tensor([0.9820, 0.9820, 0.5000, 0.0427])
    >>> reverse_attention_mask(torch.tensor([0.0, 1.0]), "simple")
    tensor([0.5000, 0.2689])

    Source: section 3.3; raises ValueError for another `mask`.
    """
    if mask == "simple":
        return torch.sigmoid(-original)
    if mask == "normalised":
        return torch.sigmoid(1 / (F.relu(original) + 0.125) - 4)
    raise ValueError(f"mask must be 'normalised' or 'simple', got {mask!r}")


def reverse_attention(original: Tensor, reverse: Tensor, mask: Mask = "normalised") -> Tensor:
    """Combine two branches (B, K, H, W) to Y = O - A(O) * R, element by element.

    >>> o, r = torch.tensor([1.0, 1.2]), torch.tensor([-2.0, 2.0])
    >>> reverse_attention(o, r, "simple")  # class 1 led, class 0 wins
    tensor([1.5379, 0.7370])
    """
    return original - reverse_attention_mask(original, mask) * reverse


class ReverseAttentionNet(nn.Module):
    """Map images (B, C, H, W) of any size to logits Y (B, K, H, W); DeepLab-LargeFOV on ResNet-101.

    In training mode the result is `ReverseAttentionOutput(original, reverse, combined)`; give it to
    `reverse_attention_loss`. Branches are combined at stride 8 and upsampled afterwards; `branches`
    returns all three at stride 8 in any mode, to look at what R learns. `width` is
    the number of maps of the stem, `layers` the blocks of the ResNet, `rate` that of both heads. To
    train on a single image it must have more than 8 pixels in height or width.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in ReverseAttentionNet().parameters())
    43274346
    >>> net = ReverseAttentionNet(3, layers=(1, 1, 1, 1), width=4).eval()
    >>> net(torch.zeros(2, 3, 41, 33)).shape
    torch.Size([2, 3, 41, 33])

    Source: section 3, figure 3.
    """

    def __init__(
        self,
        num_classes: int = 21,
        *,
        mask: Mask = "normalised",
        rate: int = 12,
        layers: Sequence[int] = RESNET101,
        in_channels: int = 3,
        width: int = 64,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes)
        reverse_attention_mask(
            torch.zeros(()), mask
        )  # refuse an unknown form here, not in training
        self.in_channels = in_channels
        self.mask: Mask = mask
        self.backbone = ResNet(
            layers,
            in_channels=in_channels,
            width=width,
            output_stride=8,
            first_block="stage",
            weights=weights,
        )
        self.original = ASPP(32 * width, num_classes, rates=(rate,))
        self.reverse = ASPP(32 * width, num_classes, rates=(rate,))
        use_channels_last(self)

    def branches(self, images: Tensor) -> ReverseAttentionOutput:
        """Return O, R and Y at stride 8, each (B, K, ceil(H / 8), ceil(W / 8)), in any mode.

        >>> net = ReverseAttentionNet(3, layers=(1, 1, 1, 1), width=4).eval()
        >>> [tuple(logits.shape) for logits in net.branches(torch.zeros(2, 3, 41, 33))]
        [(2, 3, 6, 5), (2, 3, 6, 5), (2, 3, 6, 5)]
        """
        check_images(images, self.in_channels, "ReverseAttentionNet", net=self)
        features = self.backbone(images)[-1]  # (B, 2048, H/8, W/8)
        original, reverse = self.original(features), self.reverse(features)  # (B, K, H/8, W/8)
        combined = reverse_attention(original, reverse, self.mask)
        return ReverseAttentionOutput(original, reverse, combined)

    def forward(self, images: Tensor) -> Tensor | ReverseAttentionOutput:
        output, size = self.branches(images), images.shape[-2:]
        if not self.training:
            return upsample_aligned(output.combined, size)
        return ReverseAttentionOutput(*(upsample_aligned(logits, size) for logits in output))


def reverse_attention_loss(
    output: Tensor | ReverseAttentionOutput,
    labels: Tensor,
    weights: Sequence[float] = (1.0, 1.0, 1.0),
) -> Tensor:
    """Sum the cross-entropies of O, -R and Y against `labels` (B, H, W) int64, 255 = ignore.

    `weights` are those of the three terms; ValueError unless there are three. Plain logits
    (evaluation mode) count alone. Raises TypeError for the output of other heads.

    >>> labels = torch.zeros(1, 1, 1, dtype=torch.int64)
    >>> o, r = torch.zeros(1, 2, 1, 1), torch.tensor([-9.0, 9.0]).view(1, 2, 1, 1)
    >>> terms = ReverseAttentionOutput(o, r, o)
    >>> round(reverse_attention_loss(terms, labels).item(), 4)  # 2 ln 2: -R is right and sure
    1.3863

    Source: section 3.2 (sign flip) and section 3.4.
    """
    if isinstance(output, Tensor):
        return cross_entropy(output, labels)
    if not isinstance(output, ReverseAttentionOutput):
        raise wrong_output("reverse_attention_loss", output)
    if len(weights) != 3:
        raise ValueError(
            f"weights are those of the terms O, -R and Y, three numbers; got {weights}"
        )
    terms = (output.original, -output.reverse, output.combined)
    losses = [cross_entropy(logits, labels) for logits in terms]
    return sum(w * loss for w, loss in zip(weights, losses, strict=True))  # pyright: ignore
