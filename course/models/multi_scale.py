"""Look at several scales, and at each pixel believe the largest score.

An object that is too large or too small for the field of view of a network fits at another scale:

    logits(x) = max over s of up(network(scaled(x, s))),   s = 0.5, 0.75, 1.

The function takes any segmentation network. DeepLab v2 hands the result to a dense CRF, see
`course.models.deeplab.predict_with_crf`.

Reference: Chen et al., PAMI 2018, arXiv:1606.00915, section 4.1.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

__all__ = ["multi_scale_max"]


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

    Source: section 4.1 (element-wise maximum over the scales).
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


def _resize(x: Tensor, size: Sequence[int]) -> Tensor:
    if tuple(x.shape[-2:]) == tuple(size):
        return x
    return F.interpolate(x, size=list(size), mode="bilinear", align_corners=True)
