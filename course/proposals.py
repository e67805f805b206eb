"""Region proposals: boxes that may hold an object, found without learning.

R-CNN and Fast R-CNN classify boxes but do not search for them. Three proposers serve here:

- `window_proposals`: a fixed grid of windows in several sizes and shapes. It never looks.
- `segment_proposals`: graph-based segments of similar colour, merged step by step; each merge gives
  one box. Merging takes the two neighbouring segments a and b with the smallest
  `cost(a, b) = n_a n_b / (n_a + n_b) |colour_a - colour_b|^2`, n in pixels,
  which is the growth of the squared colour error, so that small and similar parts join first.
- `selective_search`: the proposer of both papers, from OpenCV's contributed modules.

References: Felzenszwalb, Huttenlocher, *Efficient Graph-Based Image Segmentation*, IJCV 2004;
Uijlings et al., *Selective Search for Object Recognition*, IJCV 2013, section 3 (hierarchical
grouping); Ward 1963 (the cost).
"""

import heapq
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

Method = Literal["segments", "windows", "selective_search"]

_SMALLEST = 4  # pixels a side: nothing below can be recognised
_INSTALL = "pip install opencv-contrib-python-headless"


def propose(image: Tensor, method: Method = "segments", *, limit: int = 2000) -> Tensor:
    """Propose at most `limit` boxes (N, 4) for an image (C, H, W) in [0, 1], on its device.

    The limit keeps the first boxes: the largest segments, the best of selective search. Windows
    have no rank, only an order from left to right, so of too many a fixed random choice stays.

    Raises ValueError for another shape or an unknown method, and what the method raises.

    >>> image = torch.zeros(3, 32, 48)
    >>> image[:, 8:20, 10:40] = 0.8
    >>> boxes = propose(image)
    >>> [10.0, 8.0, 40.0, 20.0] in boxes.tolist()
    True
    """
    if method == "windows":
        _check(image)
        boxes = window_proposals((image.shape[-2], image.shape[-1]))
        if len(boxes) > limit:
            order = torch.randperm(len(boxes), generator=torch.Generator().manual_seed(0))
            boxes = boxes[order[:limit].sort().values]
    elif method == "segments":
        boxes = segment_proposals(image)
    elif method == "selective_search":
        boxes = selective_search(image)
    else:
        raise ValueError(
            f"method must be 'segments', 'windows' or 'selective_search', got {method!r}"
        )
    return boxes[:limit].to(image.device)


def window_proposals(
    image_size: tuple[int, int],
    *,
    scales: Sequence[float] = (0.25, 0.4, 0.65, 1.0),
    aspects: Sequence[float] = (0.5, 1.0, 2.0),
    overlap: float = 0.5,
) -> Tensor:
    """Lay a grid of windows over an image of (height, width) and return them as boxes (N, 4).

    A window has the area (scale * shorter side)^2 and the given aspect, width over height, cut to
    the image. Neighbours overlap by at least `overlap` of their side, and the grid ends flush with
    the border. Raises ValueError for an overlap outside [0, 1) or sizes that are not positive.

    >>> window_proposals((20, 40), scales=(1.0,), aspects=(1.0,))[:, [0, 2]]
    tensor([[ 0., 20.],
            [10., 30.],
            [20., 40.]])
    """
    height, width = image_size
    if min(height, width) < 1 or not 0 <= overlap < 1 or min(*scales, *aspects) <= 0:
        raise ValueError(
            "sizes, scales and aspects must be positive and overlap in [0, 1), got "
            f"{image_size}, {scales}, {aspects} and {overlap}"
        )
    boxes = []
    for scale in scales:
        for aspect in aspects:
            side = scale * min(height, width)
            w, h = min(side * aspect**0.5, width), min(side / aspect**0.5, height)
            xs, ys = (
                torch.linspace(0, total - part, 1 + -int(-(total - part) // (part * (1 - overlap))))
                for total, part in ((width, w), (height, h))
            )
            y, x = torch.meshgrid(ys, xs, indexing="ij")
            boxes.append(torch.stack([x, y, x + w, y + h], -1).flatten(0, 1))
    return torch.cat(boxes).unique(dim=0)


def segment_proposals(
    image: Tensor,
    *,
    scales: Sequence[float] = (50.0, 200.0),
    sigma: float = 0.5,
    min_size: int = 12,
) -> Tensor:
    """Propose the boxes (N, 4) of colour segments and of all their merges, largest first.

    `scales` are the sizes of segments that scikit-image's graph-based segmentation prefers, each a
    separate hierarchy; `sigma` smooths first, and segments below `min_size` pixels join a
    neighbour. The image (C, H, W) with 1 or 3 channels in [0, 1] is read on the host; the boxes are
    on its device. Raises ValueError for another shape.
    """
    from skimage.segmentation import felzenszwalb  # here, because it is slow to import

    pixels = _pixels(image)
    found: set[tuple[int, int, int, int]] = set()
    for scale in scales:
        segments = felzenszwalb(
            pixels, scale=scale, sigma=sigma, min_size=min_size, channel_axis=-1
        )
        found.update(_merge_all(segments, pixels))
    kept = [b for b in found if min(b[2] - b[0], b[3] - b[1]) >= _SMALLEST]
    kept.sort(key=lambda b: (-(b[2] - b[0]) * (b[3] - b[1]), b))
    return torch.tensor(kept, dtype=torch.float32, device=image.device).reshape(-1, 4)


def selective_search(image: Tensor, *, mode: Literal["fast", "quality"] = "fast") -> Tensor:
    """Propose boxes (N, 4) by selective search, best first, for an image (3, H, W) in [0, 1].

    Needs OpenCV with its contributed modules; raises ImportError that says how to install it, and
    ValueError for another shape or mode. R-CNN uses the `"fast"` mode, some 2000 boxes a photo.

    Source: Uijlings et al. 2013.
    """
    if mode not in ("fast", "quality"):
        raise ValueError(f"mode must be 'fast' or 'quality', got {mode!r}")
    pixels = _pixels(image)
    try:
        import cv2  # pyright: ignore[reportMissingImports]

        search: Any = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
    except (ImportError, AttributeError) as error:  # plain OpenCV has no ximgproc
        raise ImportError(
            f"selective search needs OpenCV's contributed modules: {_INSTALL}"
        ) from error
    colours = np.broadcast_to(pixels, (*pixels.shape[:2], 3))[..., ::-1]  # OpenCV reads BGR
    search.setBaseImage(np.ascontiguousarray((colours * 255).round().astype(np.uint8)))
    if mode == "fast":
        search.switchToSelectiveSearchFast()
    else:
        search.switchToSelectiveSearchQuality()
    corner_and_size = torch.as_tensor(np.asarray(search.process()), dtype=torch.float32)
    corner, size = corner_and_size.reshape(-1, 4).split(2, 1)
    return torch.cat([corner, corner + size], 1).to(image.device)


def _merge_all(segments: np.ndarray, pixels: np.ndarray) -> set[tuple[int, int, int, int]]:
    """Merge neighbouring segments until one is left; return the box of every one that existed."""
    from skimage.measure import regionprops

    size: dict[int, int] = {}
    colour: dict[int, np.ndarray] = {}
    box: dict[int, tuple[int, int, int, int]] = {}
    for region in regionprops(segments + 1):  # label 0 would be skipped
        y0, x0, y1, x1 = region.bbox
        box[region.label] = (x0, y0, x1, y1)
        size[region.label] = int(region.area)
        colour[region.label] = pixels[tuple(region.coords.T)].mean(0)
    near: dict[int, set[int]] = {label: set() for label in box}
    for a, b in ((segments[:, 1:], segments[:, :-1]), (segments[1:], segments[:-1])):
        for i, j in np.unique(np.stack([a[a != b], b[a != b]], 1) + 1, axis=0).tolist():
            near[i].add(j)
            near[j].add(i)

    def cost(i: int, j: int) -> float:
        weight = size[i] * size[j] / (size[i] + size[j])
        return weight * float(((colour[i] - colour[j]) ** 2).sum())

    queue = [(cost(i, j), i, j) for i in near for j in near[i] if i < j]
    heapq.heapify(queue)
    new = max(box, default=0)
    while queue:
        _, i, j = heapq.heappop(queue)
        if i not in near or j not in near:
            continue  # one of the two has merged since
        new += 1
        size[new] = size[i] + size[j]
        colour[new] = (size[i] * colour[i] + size[j] * colour[j]) / size[new]
        a, b = box[i], box[j]
        box[new] = (min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
        near[new] = (near.pop(i) | near.pop(j)) - {i, j}
        for k in near[new]:
            near[k] = near[k] - {i, j} | {new}
            heapq.heappush(queue, (cost(k, new), k, new))
    return set(box.values())


def _pixels(image: Tensor) -> np.ndarray:
    """The image as (H, W, C) float64 on the host."""
    _check(image)
    return image.detach().permute(1, 2, 0).cpu().double().numpy()


def _check(image: Tensor) -> None:
    if image.ndim != 3 or image.shape[0] not in (1, 3) or 0 in image.shape:
        raise ValueError(f"image must be (C, H, W) with 1 or 3 channels, got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise TypeError(f"image must be floats in [0, 1], got {image.dtype}; divide by 255")
