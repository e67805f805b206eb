"""Permutohedral lattice: Gaussian filtering of N points in d dimensions in time O(N d^2).

A direct Gaussian sum over all pairs costs N^2. Instead, each point splats its value onto the d + 1
corners of its simplex in a lattice, the lattice is blurred along its d + 1 axes with (1/2, 1, 1/2),
and each point slices its value from the same corners:

    filter(v) = S B_d ... B_0 S^T v   ~   c * sum_j exp(-|f_i - f_j|^2 / 2) v_j.

The lattice is the set of integer points x of d + 1 coordinates with sum 0 that are all equal modulo
d + 1; its simplices have known corners, found by rounding and sorting. The constant c cancels under
normalisation. Only occupied corners are stored. All three steps are weighted sums of rows, one
`embedding_bag` each, so the filter runs wherever torch does. Reference: Adams, Baek and Davis 2010,
*Fast high-dimensional filtering using the permutohedral lattice*, sections 3.1 to 3.3.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["PermutohedralLattice"]


class PermutohedralLattice:
    """Gaussian filter over a fixed set of points.

    Args:
        features: `(N, d)` float points, divided by the standard deviation of each dimension.

    Raises:
        TypeError: integer features.
        ValueError: not `(N, d)`, no points, values that are not finite or too far apart.

    Source: Adams et al. 2010, section 3.

    >>> points = torch.tensor([[0.0], [1.0], [9.0]])
    >>> lattice = PermutohedralLattice(points)
    >>> lattice.normalize()
    >>> lattice.filter(torch.tensor([[1.0], [0.0], [0.0]])).flatten()  # exact: 0.62, 0.38, 0
    tensor([0.5858, 0.4037, 0.0000])
    """

    @torch.no_grad()
    def __init__(self, features: Tensor) -> None:
        _check(features)
        n, d = features.shape
        with torch.autocast(features.device.type, enabled=False):  # it would round to 8 bits
            corners, weights, steps = _simplices(features)  # (d + 1, N) each, steps (d + 1,)
        # Equal corners become neighbours by sorting; each run of them is one lattice point.
        sorted_corners, order = corners.flatten().sort()
        points, row, count = torch.unique_consecutive(
            sorted_corners, return_inverse=True, return_counts=True
        )
        self.n_points = len(points)
        # Splat: lattice point m sums its run, entries offsets[m] to offsets[m + 1].
        self._splat_rows = order.remainder(n)
        self._splat_offsets = count.cumsum(0) - count
        self._splat_weights = weights.flatten().index_select(0, order)
        # Slice: point i sums its d + 1 corners.
        rows = torch.empty_like(row).scatter_(0, order, row)
        self._slice_rows = rows.view(d + 1, n).t().contiguous()  # (N, d + 1)
        self._slice_weights = weights.t().contiguous()
        self._blurs = [_neighbours(points, step, weights.dtype) for step in steps.tolist()]

    def filter(self, values: Tensor) -> Tensor:
        """Gaussian sums of values at the points, up to a constant.

        Args:
            values: `(N, K)` float, in the precision of the features.

        Returns:
            `(N, K)`.

        Raises:
            TypeError: another precision than that of the features.
            ValueError: not one row per point.

        >>> lattice = PermutohedralLattice(torch.zeros(4, 2))
        >>> lattice.filter(torch.eye(4)).allclose(lattice.filter(torch.eye(4))[0, 0])
        True
        """
        n = len(self._slice_rows)
        if values.ndim != 2 or len(values) != n:
            raise ValueError(f"values must have the shape ({n}, K), got {tuple(values.shape)}")
        dtype = self._splat_weights.dtype
        if values.dtype != dtype:
            raise TypeError(
                f"values must be {dtype} like the features, got {values.dtype}: call .to({dtype})"
            )
        lattice = F.embedding_bag(
            self._splat_rows,
            values,
            self._splat_offsets,
            mode="sum",
            per_sample_weights=self._splat_weights,
        )  # (n_points, K)
        for rows, weights in self._blurs:
            lattice = F.embedding_bag(rows, lattice, mode="sum", per_sample_weights=weights)
        return F.embedding_bag(
            self._slice_rows, lattice, mode="sum", per_sample_weights=self._slice_weights
        )

    def normalize(self) -> None:
        """Make the filter K into D^-1/2 K D^-1/2, D the filter of ones; c cancels.

        The factors go into the splatting and slicing weights, so filtering costs what it did.

        >>> lattice = PermutohedralLattice(torch.rand(50, 3))
        >>> before = lattice.filter(torch.ones(50, 1))
        >>> lattice.normalize()
        >>> torch.allclose(lattice.filter(before.sqrt()), before.sqrt(), rtol=1e-4)
        True
        """
        ones = torch.ones_like(self._slice_weights[:, :1])
        scale = self.filter(ones).rsqrt()  # (N, 1)
        self._slice_weights = self._slice_weights * scale
        self._splat_weights = self._splat_weights * scale[:, 0].index_select(0, self._splat_rows)


def _simplices(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Corners of the simplex around every point.

    Returns:
        keys `(d + 1, N)` int32 or int64, one number per corner, equal for equal corners;
        barycentric weights `(d + 1, N)`;
        steps `(d + 1,)`, what to add to a key to go to the neighbour along each axis.
    """
    d = features.shape[1]
    position = _embed(features)  # (d + 1, N), in units of d + 1
    base = position.round()
    offset = position - base
    rank = _ranks(offset) + base.sum(dim=0)
    # Rounding may leave the plane of sum 0; the coordinates that were rounded furthest go back.
    back = (rank / (d + 1)).floor_()  # -1, 0 or 1
    base.sub_(back)
    offset.add_(back)
    rank = rank.sub_(back, alpha=d + 1).long()

    by_rank = torch.empty_like(offset).scatter_(0, rank, offset)  # falling
    weights = torch.cat([1 + by_rank[d:] - by_rank[:1], (by_rank[:-1] - by_rank[1:]).flip(0)])

    # A corner is d integers (the last one follows from sum 0), which become one: the sum of
    # coordinate times radix. Corner k has coordinates (d + 1) m + k, so its key is d + 1 times a
    # number whose mixed-radix digits are the m, plus k times `total`. The first span is a multiple
    # of d + 1, hence `total` = 1 modulo d + 1, and the remainder of a key tells k.
    low = base[:d].amin(dim=1) - 2  # room for the neighbours
    spans = [int(span) for span in (base[:d].amax(dim=1) + 3 - low).tolist()]
    spans[0] += -spans[0] % (d + 1)
    radices = [math.prod(spans[:i]) for i in range(d)] + [0]
    total = sum(radices)
    largest = (d + 1) * math.prod(spans) + d * total
    if largest >= 2**62:
        raise ValueError("features are too far apart for 64-bit keys: use a larger deviation")
    dtype = torch.int32 if largest < 2**31 else torch.int64  # half the bytes sort twice as fast
    period = (d + 1) * torch.tensor(radices, dtype=dtype, device=features.device)  # (d + 1,)
    # From corner k - 1 to k every coordinate grows by 1, and that with the next smallest offset
    # goes one period of d + 1 down.
    drop = torch.empty_like(rank, dtype=dtype).scatter_(0, rank, period[:, None].expand_as(rank))
    keys = torch.empty_like(drop)
    keys[0] = ((base[:d] - low[:, None]).to(dtype) * period[:d, None]).sum(dim=0)
    for k in range(1, d + 1):
        keys[k] = keys[k - 1] + total - drop[d + 1 - k]
    return keys, weights, period - total


def _embed(features: Tensor) -> Tensor:
    """Points in the plane of sum 0 of d + 1 dimensions, divided by d + 1: `(d + 1, N)`.

    The rows of the basis are orthogonal and scaled so that splatting, blurring and slicing together
    have the variance of the Gaussian (section 3.1: sqrt(2 / 3) (d + 1)).
    """
    d = features.shape[1]
    row, column = torch.arange(d + 1)[:, None], torch.arange(d)
    basis = (column >= row).double() - row * (column == row - 1)
    length = ((column + 1) * (column + 2)).double().sqrt()
    basis = math.sqrt(2 / 3) * basis / length
    return basis.to(features) @ features.t()


def _ranks(offset: Tensor) -> Tensor:
    """Place of each of the d + 1 entries among them, 0 for the largest; ties in order."""
    count = len(offset)
    rank = torch.arange(count).to(offset)[:, None].repeat(1, offset.shape[1])
    for i in range(count - 1):
        # Signs, because comparisons make bytes, which torch adds much more slowly.
        overtakes = (offset[i + 1 :] - offset[i]).sign_().relu_()
        rank[i] += overtakes.sum(dim=0)
        rank[i + 1 :] -= overtakes
    return rank


def _neighbours(points: Tensor, step: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Rows (itself, next, previous) and weights of the blur along one axis, `(n_points, 3)`."""
    count = len(points)
    itself = torch.arange(count, device=points.device)
    target = points + step
    found = torch.searchsorted(points, target).clamp_(max=count - 1)
    exists = points.index_select(0, found) == target
    following = torch.where(exists, found, itself)
    # Whom I follow precedes me; row `count` takes what follows nobody.
    previous = torch.arange(count + 1, device=points.device)
    previous.scatter_(0, torch.where(exists, found, count), itself)
    rows = torch.stack([itself, following, previous[:count]], dim=1)
    weights = (rows != itself[:, None]).to(dtype) * 0.5  # a missing neighbour counts as zero
    weights[:, 0] = 1
    return rows, weights


def _check(features: Tensor) -> None:
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"features must have the shape (N, d), got {tuple(features.shape)}")
    if not features.is_floating_point():
        raise TypeError(f"features must be floating, got {features.dtype}")
    if not features.isfinite().all():
        raise ValueError("features must be finite")
