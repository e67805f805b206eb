"""Mean-field inference in the fully connected CRF: soft labels move along the image's edges.

The energy of a labelling x charges every pixel for disagreeing with the network, and every pair of
similar pixels for having different labels (Potts):

    E(x) = sum_i theta_i(x_i) + sum_{i<j} [x_i != x_j] sum_m w_m k_m(i, j),    theta = -log P.

Mean field replaces the labelling by independent distributions Q_i. All pixels update at once: every
pixel hears the others' opinions through the kernels and weighs them against its own,

    Q_i(l) <- softmax_l( -theta_i(l) + sum_m w_m sum_j k_m(i, j) Q_j(l) ),

which is the paper's "minus the messages of all other labels" up to a constant. DeepLab runs ten of
these on a network's coarse scores. References: Kraehenbuehl and Koltun 2011, sections 2 and 3,
algorithm 1; Chen et al. 2015 (DeepLab), section 4.
"""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor

from course.crf.kernels import (
    appearance_features,
    colour_levels,
    normalize_symmetric,
    pairwise_kernel,
    smoothness_features,
)
from course.crf.lattice import PermutohedralLattice

__all__ = ["mean_field", "mean_field_step"]

Message = Callable[[Tensor], Tensor]  # (N, K) beliefs -> (N, K) sums over the other pixels


def mean_field_step(
    Q: Tensor, unary: Tensor, kernels: Tensor | Sequence[Tensor], w: Sequence[float]
) -> Tensor:
    """One parallel update of all pixels, with explicit kernels.

    Args:
        Q: `(N, K)` beliefs; rows sum to 1.
        unary: `(N, K)` energies theta = -log P, not probabilities.
        kernels: M matrices `(N, N)`, from `pairwise_kernel`; zero diagonals in the equation.
        w: M weights.

    Returns:
        `(N, K)` new beliefs; rows sum to 1. `Q` is left as it was.

    Raises:
        ValueError: shapes or numbers of kernels and weights that do not match.

    Source: Kraehenbuehl and Koltun 2011, algorithm 1.

    >>> p = torch.tensor([[0.8, 0.2], [0.4, 0.6]])
    >>> kernel = torch.tensor([[0.0, 0.60653], [0.60653, 0.0]])  # one pixel apart, theta = 1
    >>> mean_field_step(p, -p.log(), [kernel], [1.0])
    tensor([[0.7799, 0.2201],
            [0.4896, 0.5104]])
    """
    if Q.ndim != 2 or Q.shape != unary.shape:
        raise ValueError(
            f"Q and unary must both be (N, K), got {tuple(Q.shape)} and {tuple(unary.shape)}"
        )
    if len(kernels) != len(w):
        raise ValueError(f"need one weight per kernel, got {len(kernels)} and {len(w)}")
    exponent = -unary
    for kernel, weight in zip(kernels, w):
        if kernel.shape != (len(Q), len(Q)):
            raise ValueError(
                f"a kernel must be ({len(Q)}, {len(Q)}) for {len(Q)} pixels, got "
                f"{tuple(kernel.shape)}"
            )
        exponent = exponent + weight * (kernel @ Q)
    return exponent.softmax(dim=1)


@torch.no_grad()
def mean_field(
    logits: Tensor,
    image: Tensor,
    *,
    w1: float = 4.0,
    sigma_alpha: float = 67.0,
    sigma_beta: float = 3.0,
    w2: float = 3.0,
    sigma_gamma: float = 1.0,
    iterations: int = 10,
    convention: Literal["library", "equation"] = "library",
    method: Literal["lattice", "exact"] | None = None,
) -> Tensor:
    """Refine a network's scores with a fully connected CRF, without gradient.

    Args:
        logits: `(B, K, H, W)` float scores before the softmax. For probabilities p pass `p.log()`:
            -inf rules a class out, but every pixel needs one that is left.
        image: `(B, C, H, W)` of the same size, floats in [0, 1] or uint8, not normalised.
        w1: weight of the appearance kernel (pydensecrf: `compat` of addPairwiseBilateral).
        sigma_alpha: its reach in pixels (pydensecrf: `sxy` of addPairwiseBilateral).
        sigma_beta: its reach in colour levels of 255 (pydensecrf: `srgb`).
        w2: weight of the smoothness kernel (pydensecrf: `compat` of addPairwiseGaussian).
        sigma_gamma: its reach in pixels (pydensecrf: `sxy` of addPairwiseGaussian).
        iterations: parallel updates.
        convention: "library" is what the released code and pydensecrf compute: kernels include the
            pixel itself and are normalised to D^-1/2 K D^-1/2. "equation" is the paper's sum over
            the others, raw. Weights are not interchangeable between the two.
        method: "exact" sums over all pairs (to 8192 pixels), "lattice" approximates in time O(N).
            None takes the lattice for "library", exact for "equation", whose raw sums the lattice
            only knows up to a constant.

    Returns:
        `(B, K, H, W)` probabilities, float32 (float64 for float64 logits), channels last.

    Raises:
        TypeError: integer logits, an image that is neither floating nor uint8.
        ValueError: shapes that do not match, a pixel whose largest logit is not finite, an image on
            another scale, a sigma that is not positive, a weight that is negative or not finite,
            "equation" with the lattice.

    Source: Kraehenbuehl and Koltun 2011, algorithm 1; defaults of a public DeepLab v2 for VOC.

    >>> logits = torch.zeros(1, 2, 4, 6)
    >>> logits[:, 0, :, :2], logits[:, 1, :, 4:] = 3.0, 3.0  # undecided in the middle
    >>> image = torch.zeros(1, 3, 4, 6)
    >>> image[..., 3:] = 1.0  # the edge lies right of column 2
    >>> mean_field(logits, image).argmax(1)[0, 0]
    tensor([0, 0, 0, 1, 1, 1])
    """
    method = method or ("lattice" if convention == "library" else "exact")
    _check(logits, image, convention, method)
    if not (0 <= w1 < math.inf and 0 <= w2 < math.inf and iterations >= 0):
        raise ValueError(
            f"w1, w2, iterations must not be negative, and finite: {w1}, {w2}, {iterations}"
        )
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    beliefs = []
    shared = None  # positions are the same in every image, so is their lattice
    # Autocast would round positions and messages to 8 bits.
    with torch.autocast(logits.device.type, enabled=False):
        for scores, picture in zip(logits.to(dtype), image):
            colour_levels(picture)  # a badly scaled image is an error even where its weight is 0
            messages: list[tuple[float, Message]] = []
            if method == "exact":
                kernels = pairwise_kernel(picture, sigma_alpha, sigma_beta, sigma_gamma).to(dtype)
                if convention == "library":
                    kernels = normalize_symmetric(kernels)
                messages = [(w1, kernels[0].matmul), (w2, kernels[1].matmul)]
            else:
                if w1 > 0:
                    features = appearance_features(picture, sigma_alpha, sigma_beta).to(dtype)
                    messages.append((w1, _lattice(features).filter))
                if w2 > 0:
                    shared = shared or _lattice(smoothness_features(picture, sigma_gamma).to(dtype))
                    messages.append((w2, shared.filter))
            log_p = scores.flatten(1).t().log_softmax(dim=1)  # (N, K)
            beliefs.append(_iterate(log_p, messages, iterations))
    height, width = logits.shape[2:]
    return torch.stack(beliefs).view(len(logits), height, width, -1).permute(0, 3, 1, 2)


def _iterate(log_p: Tensor, messages: list[tuple[float, Message]], iterations: int) -> Tensor:
    """Mean-field updates of `(N, K)` beliefs, from the network's log-probabilities."""
    beliefs = log_p.exp()
    ones = torch.ones_like(log_p[:, :1])
    limit = sum((w * message(ones).max() for w, message in messages), torch.zeros(()))
    # No message is above the limit, and the network's own favourite is above 1 / K: the usual
    # subtraction of the maximum, the slowest part of a softmax, is then not needed.
    safe = bool(limit < 80)
    all_classes = log_p.new_ones(log_p.shape[1], 1)
    for _ in range(iterations):
        exponent = log_p.clone()
        for w, message in messages:
            exponent.add_(message(beliefs), alpha=w)
        if safe:
            odds = exponent.exp_()
            beliefs = odds.div_(odds @ all_classes)  # sums rows faster than sum()
        else:
            beliefs = exponent.softmax(dim=1)
    return beliefs


def _lattice(features: Tensor) -> PermutohedralLattice:
    lattice = PermutohedralLattice(features)
    lattice.normalize()
    return lattice


def _check(logits: Tensor, image: Tensor, convention: str, method: str) -> None:
    if logits.ndim != 4 or image.ndim != 4:
        raise ValueError(
            f"logits must be (B, K, H, W) and image (B, C, H, W), got {tuple(logits.shape)} and "
            f"{tuple(image.shape)}"
        )
    if logits.shape[0] != image.shape[0] or logits.shape[2:] != image.shape[2:]:
        raise ValueError(
            f"logits {tuple(logits.shape)} and image {tuple(image.shape)} differ in batch or size: "
            "upsample the logits to the image first"
        )
    if 0 in logits.shape or logits.shape[1] < 2:
        raise ValueError(f"need images and at least two classes, got {tuple(logits.shape)}")
    if logits.device != image.device:
        raise ValueError(f"logits are on {logits.device}, the image on {image.device}")
    if not logits.is_floating_point():
        raise TypeError(f"logits must be floating, got {logits.dtype}")
    lost = (~logits.amax(dim=1).isfinite()).nonzero()
    if len(lost):
        b, y, x = lost[0].tolist()
        raise ValueError(
            "the largest logit of every pixel must be finite: no NaN, no +inf, and not -inf for "
            f"all classes; image {b}, row {y}, column {x} has {logits[b, :, y, x].tolist()}. "
            "Clamp the scores, or add a small number to probabilities before the logarithm"
        )
    if convention not in ("library", "equation") or method not in ("lattice", "exact"):
        raise ValueError(
            f'convention must be "library" or "equation", method "lattice" or "exact", got '
            f"{convention!r} and {method!r}"
        )
    if convention == "equation" and method == "lattice":
        raise ValueError(
            'convention "equation" needs raw sums, which the lattice knows up to a constant only: '
            'use method="exact" on a small image'
        )
