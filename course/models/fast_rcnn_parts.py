"""The loss of Fast R-CNN's two heads, and the truncated decomposition of a linear layer.

With class u (0 = background), its probability p_u, the corrections t_u and the true ones v:

    L = -log p_u + lambda [u >= 1] sum smooth_L1(t_u - v),   W ~ U S V^T of rank t.

Reference: Girshick 2015, arXiv:1504.08083, sections 2.3 and 3.1.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FastRCNNLoss(NamedTuple):
    """Cross-entropy of all regions, and the weighted box term."""

    classes: Tensor
    boxes: Tensor


def fast_rcnn_loss(
    logits: Tensor, corrections: Tensor, labels: Tensor, wanted: Tensor, *, lam: float = 1.0
) -> FastRCNNLoss:
    """Compute the multi-task loss of R regions.

    `logits` (R, K), `corrections` (R, K, 4), `labels` (R,) with 0 = background, `wanted` (R, 4).
    Only the four numbers of the true class receive a box loss, background receives none, and the
    sum is divided by R, not by the number of foreground regions. Raises ValueError where shapes do
    not belong together, or for no region at all.

    >>> logits, corrections = torch.zeros(2, 3), torch.zeros(2, 3, 4)
    >>> wanted = torch.tensor([[0.5, 0.0, 0.0, 3.0], [9.0, 9.0, 9.0, 9.0]])
    >>> terms = fast_rcnn_loss(logits, corrections, torch.tensor([2, 0]), wanted)
    >>> terms.boxes.item()  # (0.125 + 2.5) / 2
    1.3125

    Source: section 2.3, equations 1 to 3.
    """
    n = len(logits)
    if not n or labels.shape != (n,) or wanted.shape != (n, 4) or corrections.shape[::2] != (n, 4):
        raise ValueError(
            "need R >= 1 regions with corrections (R, K, 4), labels (R,) and wanted (R, 4), got "
            f"{tuple(corrections.shape)}, {tuple(labels.shape)} and {tuple(wanted.shape)}"
        )
    rows = labels.nonzero().flatten()  # foreground
    chosen = corrections[rows, labels[rows]]  # (F, 4)
    error = F.smooth_l1_loss(chosen, wanted[rows].to(chosen), reduction="sum", beta=1.0)
    return FastRCNNLoss(F.cross_entropy(logits, labels), lam * error / n)


@torch.no_grad()
def truncated_svd(layer: nn.Linear, rank: int) -> nn.Sequential:
    """Replace a linear layer by the best two of the given rank: first S V^T, then U and the bias.

    >>> small = truncated_svd(nn.Linear(30, 20), 4)
    >>> [tuple(part.weight.shape) for part in small]
    [(4, 30), (20, 4)]

    Raises ValueError unless 1 <= rank <= min(inputs, outputs). Source: section 3.1.
    """
    most = min(layer.weight.shape)
    if not 1 <= rank <= most:
        raise ValueError(f"rank must lie in [1, {most}] for a layer {layer}, got {rank}")
    u, s, v = torch.linalg.svd(layer.weight.float(), full_matrices=False)
    first = nn.Linear(layer.in_features, rank, bias=False)
    second = nn.Linear(rank, layer.out_features, bias=layer.bias is not None)
    first.weight.copy_(s[:rank, None] * v[:rank])
    second.weight.copy_(u[:, :rank])
    if layer.bias is not None:
        second.bias.copy_(layer.bias)
    return nn.Sequential(first, second).to(layer.weight)
