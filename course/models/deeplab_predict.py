"""DeepLab's published predictions: the largest logits over several scales, then a dense CRF.

One scale and the CRF are v1; the maximum over images at half, three quarters and full size, and the
CRF, are v2. Both functions take any segmentation network:

    logits(x) = max over s of up(network(scaled(x, s))),   Q = mean_field(logits, colours).

References: Chen et al., ICLR 2015, arXiv:1412.7062, section 4 (v1); PAMI 2018, arXiv:1606.00915,
section 4.1 (v2). The CRF itself is `course.crf`.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.modes import evaluation_mode

__all__ = ["multi_scale_max", "predict_with_crf"]


def multi_scale_max(
    network: Callable[[Tensor], Tensor],
    images: Tensor,
    *,
    scales: Sequence[float] = (0.5, 0.75, 1.0),
) -> Tensor:
    """Run `network` on scaled images (B, C, H, W) and keep the largest logits (B, K, H, W).

    Scaling keeps the corner pixels in place, so 32 k + 1 pixels (321, 513) become 8 k' + 1 at the
    paper's scales, where features and pixels align. Other sizes (473, 713) work too. The network
    runs in the mode that it has; most want `.eval()` first. Raises ValueError for images without a
    batch axis and scales that are not positive, TypeError if the network returns anything but
    logits, such as the outputs of several heads in training mode.

    >>> multi_scale_max(lambda x: x, torch.ones(1, 2, 9, 17)).shape
    torch.Size([1, 2, 9, 17])

    Source: v2, section 4.1 (element-wise maximum over the scales).
    """
    if images.ndim != 4:
        raise ValueError(
            f"expected images (B, C, H, W), got shape {tuple(images.shape)}: add a missing batch "
            "axis with images[None]"
        )
    if not scales or not all(0 < scale < math.inf for scale in scales):
        raise ValueError(f"scales must be positive, (0.5, 0.75, 1.0) in the paper; got {scales}")
    size = images.shape[-2:]

    def scores(scale: float) -> Tensor:
        small = [round((n - 1) * scale) + 1 for n in size]
        logits = network(_resize(images, small))
        if not isinstance(logits, Tensor):
            raise TypeError(
                f"the network returned {type(logits).__name__}, expected logits (B, K, H, W): put "
                "it into evaluation mode with .eval()"
            )
        return _resize(logits, size)

    best = scores(scales[0])
    for scale in scales[1:]:
        best = torch.maximum(best, scores(scale))
    return best


def predict_with_crf(
    network: nn.Module,
    images: Tensor,
    *,
    scales: Sequence[float] = (1.0,),
    normalise: Callable[[Tensor], Tensor] | None = None,
    **crf: Any,
) -> Tensor:
    """Run the whole published system: logits at full size, then the dense CRF.

    `scales` are those of `multi_scale_max`: one for v1, (0.5, 0.75, 1.0) for v2.
    `images` is (B, 3, H, W) in [0, 1]: the CRF compares their colours, so a network that wants
    standardised images gets them through `normalise`. `crf` holds options of
    `course.crf.mean_field`, such as `iterations`. Returns beliefs (B, K, H, W) that sum to 1 over
    the classes; `argmax(1)` labels the pixels. No gradient; the network keeps its mode.

    >>> from course.models import DeepLabLargeFOV
    >>> net = DeepLabLargeFOV(3, width=2)
    >>> predict_with_crf(net, torch.rand(1, 3, 17, 25), iterations=2).shape
    torch.Size([1, 3, 17, 25])

    Source: v1, section 4 and figure 3; v2, section 4.1.
    """
    from course.crf import mean_field  # only this function needs it

    with torch.no_grad(), evaluation_mode(network):
        given = images if normalise is None else normalise(images)
        logits = multi_scale_max(network, given, scales=scales)
        return mean_field(logits, images, **crf)


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=True)
