"""Context encoding: what kind of scene is this, and which channels matter in it?

A dictionary of K codewords d_k is learnt. Every position x_i of the features is shared out softly
over the codewords, and what is summed is its residual to each:

    e_k = sum over i of a_ik (x_i - d_k),   a_ik = softmax over k of -s_k |x_i - d_k|^2.

Neither the size of the map nor the order of its positions is left in e, a description of the whole
scene. It weighs the channels, x (1 + sigmoid(W e)), and has to say which classes are in the image
at all: the semantic encoding loss, in which a small object counts as much as a large one.

References: Zhang, Dana, Shi, Zhang, Wang, Tyagi, Agrawal, *Context Encoding for Semantic
Segmentation* (EncNet), CVPR 2018, arXiv:1803.08904, sections 3 and 3.1. FastFCN's best figures are
with this head on JPU (Wu et al. 2019, arXiv:1903.11816, section 4).
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.losses import cross_entropy
from course.losses.pixelwise import wrong_output
from course.models.layers import check_positive, conv_bn_relu

__all__ = ["ContextEncoding", "Encoding", "EncodingHead", "WithContext", "context_loss"]


class Encoding(nn.Module):
    """Describe features (B, C, H, W) by their residuals to K codewords, (B, K, C).

    The residuals (B, H W, K, C) are never built: their square is `x.x - 2 x.d + d.d`, and the sum
    of `a (x - d)` is that of `a x` less d times that of a.

    >>> Encoding(8, codes=4)(torch.zeros(2, 8, 5, 7)).shape
    torch.Size([2, 4, 8])

    Source: section 3, equation 1.
    """

    def __init__(self, channels: int, *, codes: int = 32) -> None:
        super().__init__()
        check_positive(channels=channels, codes=codes)
        spread = (codes * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codes, channels).uniform_(-spread, spread))
        self.smoothing = nn.Parameter(torch.empty(codes).uniform_(0, 1))  # s_k

    def forward(self, features: Tensor) -> Tensor:
        x = features.flatten(2).transpose(1, 2)  # (B, N, C)
        squares = x.square().sum(2, keepdim=True) + self.codewords.square().sum(1)  # (B, N, K)
        distances = squares - 2 * x @ self.codewords.T  # (B, N, K)
        shares = (-self.smoothing * distances).softmax(2)
        summed = shares.transpose(1, 2) @ x  # (B, K, C)
        return summed - shares.sum(1)[..., None] * self.codewords


class ContextEncoding(nn.Module):
    """Weigh the channels of (B, C, H, W) by the scene; also return its description, (B, C).

    >>> weighed, scene = ContextEncoding(8, codes=4)(torch.zeros(2, 8, 5, 7))
    >>> weighed.shape, scene.shape
    (torch.Size([2, 8, 5, 7]), torch.Size([2, 8]))

    Source: section 3, figure 2.
    """

    def __init__(self, channels: int, *, codes: int = 32) -> None:
        super().__init__()
        self.before = conv_bn_relu(channels, channels, 1)
        self.encoding = Encoding(channels, codes=codes)
        self.norm = nn.BatchNorm1d(codes)
        self.weigh = nn.Linear(channels, channels)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        codes = self.encoding(self.before(features))  # (B, K, C)
        scene = self.norm(codes).relu().mean(1)  # (B, C); the paper prints the sum
        gamma = self.weigh(scene).sigmoid()[..., None, None]
        return F.relu(features + features * gamma), scene


class EncodingHead(nn.Module):
    """Score features (B, C, H, W) with the scene in mind: logits (B, K, H, W), presence (B, K).

    >>> logits, presence = EncodingHead(16, 8, 3)(torch.zeros(2, 16, 5, 7))
    >>> logits.shape, presence.shape
    (torch.Size([2, 3, 5, 7]), torch.Size([2, 3]))

    Source: figure 2; the semantic encoding branch in section 3.1.
    """

    def __init__(
        self,
        in_channels: int,
        maps: int,
        num_classes: int,
        *,
        codes: int = 32,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.reduce = conv_bn_relu(in_channels, maps, 1)
        self.context = ContextEncoding(maps, codes=codes)
        self.score = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(maps, num_classes, 1))
        self.presence = nn.Linear(maps, num_classes)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        weighed, scene = self.context(self.reduce(features))
        return self.score(weighed), self.presence(scene)


class WithContext(NamedTuple):
    """What a network with this head returns in training mode.

    Two logits (B, K, H, W), the second None without an auxiliary head, and, for every image, one
    logit per class for its presence (B, K).
    """

    logits: Tensor
    auxiliary: Tensor | None
    presence: Tensor

    trained_by = "course.models.encnet.context_loss"


def context_loss(
    output: Tensor | WithContext,
    target: Tensor,
    *,
    auxiliary: float = 0.2,
    presence: float = 0.2,
) -> Tensor:
    """Cross-entropy of both logits and the semantic encoding loss, weighted as published.

    Args:
        output: of a network in training mode; plain logits (evaluation mode) count alone.
        target: (B, H, W) integer classes 0 … K-1, or 255 = ignore.
        auxiliary: weight of the auxiliary cross-entropy.
        presence: weight of the binary cross-entropy over "class k is somewhere in the image", a
            mean over the classes and over the images with at least one labelled pixel.

    Returns:
        A scalar; 0 with a zero gradient if no pixel has a label.

    Raises:
        TypeError: the output of other heads, or as `course.losses.cross_entropy`.
        ValueError: as `course.losses.cross_entropy`.

    Source: section 3.1 and section 4.1 (0.2).

    >>> zeros = torch.zeros(1, 2, 1, 1)  # log 2 for each of the three terms
    >>> context_loss(WithContext(zeros, zeros, zeros[..., 0, 0]), torch.tensor([[[1]]]))
    tensor(0.9704)
    """
    if isinstance(output, Tensor):
        return cross_entropy(output, target)
    if not isinstance(output, WithContext):
        raise wrong_output("context_loss", output)
    loss = cross_entropy(output.logits, target)
    if output.auxiliary is not None:
        loss = loss + auxiliary * cross_entropy(output.auxiliary, target)
    batch, classes = output.presence.shape
    ignored = target.flatten(1) == 255
    labels = target.flatten(1).long().masked_fill(ignored, classes)  # one column that is cut off
    there = output.presence.new_zeros(batch, classes + 1, dtype=torch.float32)
    there = there.scatter_(1, labels, 1.0)[:, :classes]  # (B, K)
    scene = F.binary_cross_entropy_with_logits(
        output.presence.float(), there, reduction="none"
    ).mean(1)  # (B,)
    known = ~ignored.all(1)
    return loss + presence * (scene * known).sum() / known.sum().clamp(min=1)
