"""Fully convolutional networks: a classifier becomes a segmenter, and skips sharpen it.

VGG16's fully connected layers are convolutions (fc6: 7 x 7, fc7: 1 x 1), so the network accepts
any size and returns class scores at stride 32. A transposed convolution that starts as bilinear
interpolation upsamples them to pixels (FCN-32s). Scores from pool4 (16s) and pool3 (8s) are
*summed* in on the way, so that where comes from shallow layers and what from deep ones:

    8s = up8( crop(score3) + up2( crop(score4) + up2(score7) ) ).

**Alignment.** With padding 100 in the first convolution, pixel 0 is column 100 of the padded image.
Unit i of fc7 is centred on input pixel -99 + 15.5 + 32 * 3 + 32 i = 12.5 + 32 i: padding 100
instead of 1 moves the first unit by -99, five 2 x 2 poolings add (1 + 2 + 4 + 8 + 16) / 2 = 15.5,
and the unpadded 7 x 7 kernel adds 3 units of 32 pixels. Its deconvolution (k64, s32) is centred on
output 31.5 + 32 i. So output u shows pixel u - 19, and the crop starts at **19**. The same way
score4 is cropped at 5, score3 at 9, and the final outputs of 16s and 8s at **27** and **31**.
With padding 1, and 3 in fc6, unit i is centred on 15.5 + 32 i; a deconvolution with padding s / 2
is then aligned without any crop (`padding=1` below).

Reference: Long, Shelhamer, Darrell, *Fully Convolutional Networks for Semantic Segmentation*, CVPR
2015, arXiv:1411.4038, sections 3 and 4, figure 3; layout of the authors' released Caffe nets.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.models.layers import (
    Weights,
    check_images,
    check_positive,
    he_init,
    scaled,
    use_channels_last,
)
from course.models.vgg import load_vgg16, load_vgg16_classifier, vgg_stages
from course.upsampling import bilinear_kernel, bilinear_upsample

Upsampling = Literal["dense", "channelwise", "fixed"]


class Upsample(nn.Module):
    """Upsample scores (B, K, H, W) `factor` times, cropping `crop` pixels on each side.

    `"dense"` is a (K, K, k, k) deconvolution, k = 2 `factor`, as released; `"channelwise"` has one
    kernel per class; `"fixed"` interpolates, without parameters and many times faster. All start as
    bilinear interpolation, and a dense deconvolution only on its diagonal, because off-diagonal
    kernels would sum the classes.

    >>> Upsample(21, 32, 19)(torch.zeros(1, 21, 16, 16)).shape
    torch.Size([1, 21, 506, 506])

    Source: section 3.3.
    """

    def __init__(
        self, channels: int, factor: int, crop: int = 0, kind: Upsampling = "dense"
    ) -> None:
        super().__init__()
        if kind not in ("dense", "channelwise", "fixed"):
            raise ValueError(f"upsampling must be 'dense', 'channelwise' or 'fixed', got {kind!r}")
        self.factor, self.crop, self.deconv = factor, crop, None
        if kind != "fixed":
            groups = channels if kind == "channelwise" else 1
            # Padding of a transposed convolution *is* a crop of its output.
            self.deconv = nn.ConvTranspose2d(
                channels, channels, 2 * factor, factor, crop, groups=groups, bias=False
            )
            with torch.no_grad():
                self.deconv.weight.zero_()
                diagonal = range(channels)
                other = diagonal if groups == 1 else 0
                self.deconv.weight[diagonal, other] = bilinear_kernel(factor)

    def forward(self, scores: Tensor) -> Tensor:
        if self.deconv is None:
            return bilinear_upsample(scores, self.factor, self.crop)
        return self.deconv(scores)


class FCN32s(nn.Module):
    """Map images (B, C, H, W) of any size to logits (B, K, H, W), upsampled 32 times at once.

    `width` scales all maps (64 in the first stage, 4096 in fc6). `padding` is 100 (published: crop
    as derived above) or 1 (aligned without crop, and far less computation on small images).
    `upsampling` is "dense", "channelwise" or "fixed", see `Upsample`. `weights=` loads
    torchvision's VGG16, its fully connected layers as convolutions: normalise images with
    torchvision's ImageNet mean and deviation then.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in FCN32s().parameters())
    136152917
    >>> FCN32s(3, width=4, padding=1)(torch.zeros(2, 3, 45, 33)).shape
    torch.Size([2, 3, 45, 33])

    Source: sections 3.1 and 4.1.
    """

    factor = 32  # of the last upsampling
    final_crop = 19

    def __init__(
        self,
        num_classes: int = 21,
        *,
        in_channels: int = 3,
        width: int = 64,
        padding: Literal[1, 100] = 100,
        upsampling: Upsampling = "dense",
        dropout: float = 0.5,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        if padding not in (1, 100):
            raise ValueError(f"padding must be 100 (published) or 1 (no crop), got {padding}")
        self.in_channels, self.padded = in_channels, padding == 100
        self.stages = vgg_stages(in_channels, width=width, first_padding=padding)
        maps, hidden = scaled(512, width), scaled(4096, width)
        self.fc6 = nn.Conv2d(maps, hidden, 7, padding=0 if self.padded else 3)
        self.fc7 = nn.Conv2d(hidden, hidden, 1)
        self.score7 = _zero_scores(hidden, num_classes)
        self.dropout = nn.Dropout(dropout)
        he_init(self.fc6)
        he_init(self.fc7)
        crop = self.final_crop if self.padded else self.factor // 2
        self.upscore = Upsample(num_classes, self.factor, crop, upsampling)
        use_channels_last(self)
        if weights is not None:
            load_vgg16_classifier(self.fc6, self.fc7, load_vgg16(self.stages, weights))

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, self.in_channels, "FCN", net=self)
        x, pools = images, []
        for stage in self.stages:
            x = F.max_pool2d(stage(x), 2, ceil_mode=True)
            pools.append(x)  # (B, C, H / 2, W / 2), ... (B, C, H / 32, W / 32)
        scores = self.upscore(self._fuse(*pools[2:]))
        return scores[..., : images.shape[-2], : images.shape[-1]]

    def _fuse(self, pool3: Tensor, pool4: Tensor, pool5: Tensor) -> Tensor:
        x = self.dropout(F.relu(self.fc6(pool5), inplace=True))
        x = self.dropout(F.relu(self.fc7(x), inplace=True))
        return self.score7(x)  # (B, K, h, w) at stride 32


class FCN16s(FCN32s):
    """FCN-32s with the scores of pool4 summed in at stride 16; options as in `FCN32s`.

    The scores of a skip start at zero, so `start_from` continues the training of the coarser net.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in FCN16s().parameters())
    134815994

    Source: section 4.2.
    """

    factor = 16
    final_crop = 27
    pool4_scale = 1.0

    def __init__(self, num_classes: int = 21, **options: Any) -> None:
        super().__init__(num_classes, **options)
        upsampling = options.get("upsampling", "dense")
        self.score4 = _zero_scores(scaled(512, options.get("width", 64)), num_classes)
        self.up7 = Upsample(num_classes, 2, 0 if self.padded else 1, upsampling)

    def start_from(self, coarser: FCN32s) -> None:
        """Copy the parameters of a trained coarser net, in stages: 32s, then 16s, then 8s.

        All but the last upsampling is copied, because its factor differs. New scores are zero and
        new upsampling is bilinear, so this net starts with the scores of the coarser one,
        interpolated in one more step. The paper then trains on with a hundredth of the learning
        rate. Raises ValueError for a net that is not coarser or has other options.

        >>> fine = FCN16s(3, width=4)
        >>> fine.start_from(FCN32s(3, width=4))

        Source: section 4.2.
        """
        if not isinstance(coarser, FCN32s) or coarser.factor <= self.factor:
            raise ValueError(
                f"{type(self).__name__} starts from a coarser FCN, got {type(coarser).__name__}: "
                "train FCN32s, then FCN16s, then FCN8s"
            )
        own, state = self.state_dict(), coarser.state_dict()
        state = {key: value for key, value in state.items() if not key.startswith("upscore.")}
        wrong = [k for k, v in state.items() if k not in own or own[k].shape != v.shape]
        if wrong or coarser.padded != self.padded:
            raise ValueError(
                f"{type(self).__name__} needs the options of the {type(coarser).__name__} that it "
                f"starts from, got others: {', '.join(wrong) or 'padding'}"
            )
        self.load_state_dict(state, strict=False)

    def _fuse(self, pool3: Tensor, pool4: Tensor, pool5: Tensor) -> Tensor:
        coarse = self.up7(super()._fuse(pool3, pool4, pool5))
        return self._add(coarse, self.score4(pool4 * self.pool4_scale), 5)  # stride 16

    def _add(self, upsampled: Tensor, skip: Tensor, crop: int) -> Tensor:
        if self.padded:
            skip = skip[..., crop:, crop:]
        height, width = map(min, upsampled.shape[-2:], skip.shape[-2:])
        return upsampled[..., :height, :width] + skip[..., :height, :width]


class FCN8s(FCN16s):
    """FCN-16s with the scores of pool3 summed in at stride 8; options as in `FCN32s`.

    `at_once=True` trains all skips from the start and scales pool4 by 0.01 and pool3 by 0.0001, as
    the authors' later release does.

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in FCN8s().parameters())
    134489759

    Source: section 4.2; PAMI version for `at_once`.
    """

    factor = 8
    final_crop = 31
    pool3_scale = 1.0

    def __init__(self, num_classes: int = 21, *, at_once: bool = False, **options: Any) -> None:
        super().__init__(num_classes, **options)
        upsampling = options.get("upsampling", "dense")
        self.score3 = _zero_scores(scaled(256, options.get("width", 64)), num_classes)
        self.up4 = Upsample(num_classes, 2, 0 if self.padded else 1, upsampling)
        if at_once:
            self.pool4_scale, self.pool3_scale = 0.01, 0.0001

    def _fuse(self, pool3: Tensor, pool4: Tensor, pool5: Tensor) -> Tensor:
        coarse = self.up4(super()._fuse(pool3, pool4, pool5))
        return self._add(coarse, self.score3(pool3 * self.pool3_scale), 9)  # stride 8


def _zero_scores(channels: int, num_classes: int) -> nn.Conv2d:
    """Scores that start at zero: sections 4.2 (skips) and 4.3 (a random start trains no faster)."""
    layer = nn.Conv2d(channels, num_classes, 1)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
    return layer
