"""The regions of R-CNN: any box becomes a picture of one size, with a little context around it.

A box is stretched to size - 2 context pixels a side, whatever its shape; the frame of `context`
pixels around it shows what surrounds the box in the image. A centre c and half a side h become

    c + h size / (size - 2 context) (2 i + 1 - size) / size,   i = 0 ... size - 1.

Reference: Girshick et al. 2014, arXiv:1311.2524, section 2.1 and appendix A.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from course.models.detection import check_boxes

IMAGENET_MEAN = (0.485, 0.456, 0.406)
CONTEXT = 16  # pixels around the proposal, in the warped frame (section 2.1)


def warp_regions(
    image: Tensor,
    boxes: Tensor,
    *,
    size: int = 227,
    context: int = CONTEXT,
    fill: Tensor | Sequence[float] = IMAGENET_MEAN,
) -> Tensor:
    """Cut boxes (R, 4) out of an image (3, H, W) and warp each to (R, 3, `size`, `size`).

    Each side keeps `context` pixels around the box, counted in the *warped* frame: the box grows by
    size / (size - 2 context) about its centre, 1.1641 for 227 and 16. Height and width stretch
    independently. Samples are bilinear; those outside the image take the colour `fill`, one number
    or one for each channel. Raises ValueError for malformed boxes, a colour of another length or a
    context that leaves no room.

    >>> image = torch.arange(48.0).reshape(3, 4, 4)
    >>> warp_regions(image, torch.tensor([[1.0, 0.0, 3.0, 4.0]]), size=2, context=0)[0, 0]
    tensor([[ 3.,  4.],
            [11., 12.]])

    Source: section 2.1 and appendix A.
    """
    check_boxes(boxes)
    if image.ndim != 3 or not image.is_floating_point():
        raise ValueError(
            f"image must be floats (C, H, W), got {image.dtype} of shape {tuple(image.shape)}"
        )
    if not 0 <= 2 * context < size:
        raise ValueError(f"context must lie in [0, size / 2), got {context} for size {size}")
    channels, height, width = image.shape
    if len(fill) not in (1, channels):
        raise ValueError(
            f"fill must hold one number for each of the image's {channels} channels, got "
            f"{len(fill)}: pass fill=[...], or a colour image (3, H, W)"
        )
    if not len(boxes):
        return image.new_zeros(0, channels, size, size)
    # Half precision has too few digits for positions: sample in float32.
    dtype = image.dtype
    image = image.to(torch.promote_types(dtype, torch.float32))
    boxes = boxes.to(image)
    centre, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    half = half * (size / (size - 2 * context))
    steps = (2 * torch.arange(size, dtype=image.dtype, device=image.device) + 1) / size - 1
    x = centre[:, :1] + half[:, :1] * steps  # (R, size), sample positions in pixels
    y = centre[:, 1:] + half[:, 1:] * steps  # (R, size)
    grid = torch.stack(
        [
            (2 * x / width - 1).unsqueeze(1).expand(-1, size, -1),
            (2 * y / height - 1).unsqueeze(2).expand(-1, -1, size),
        ],
        dim=-1,
    )  # (R, size, size, 2)
    # One tall picture instead of R copies of the image; the border is repeated up to its edge, and
    # what lies beyond the edge is filled below.
    tall = grid.reshape(1, -1, size, 2)
    sampled = F.grid_sample(image[None], tall, padding_mode="border", align_corners=False)
    crops = sampled.reshape(channels, -1, size, size).transpose(0, 1)  # (R, C, size, size)
    inside = (grid >= -1).all(-1) & (grid <= 1).all(-1)  # (R, size, size)
    colour = torch.as_tensor(fill, dtype=image.dtype, device=image.device).view(-1, 1, 1)
    return torch.where(inside.unsqueeze(1), crops, colour).to(dtype)
