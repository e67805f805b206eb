"""The second and third training stage of R-CNN: linear SVMs and box regressions, both solved.

After fine-tuning, the features of every region are frozen, and each class c gets two linear models
of its own, found without gradient steps on the network:

    SVM on fc7:            min ||w||^2 / 2 + C sum max(0, 1 - y w.x)^2
    regression on pool5:   min sum (t - w.phi)^2 + lambda ||w||^2,   lambda = 1000.

The two stages see other examples than fine-tuning does. The SVM takes the *true boxes only* as
positive and IoU < 0.3 as negative; the regression learns from pairs with IoU > 0.6, since a box
that is far away says nothing about where its object is.

Reference: Girshick et al. 2014, arXiv:1311.2524, sections 2.3 and 3.5, appendices B and C. The
released code solves the SVM with the unsquared hinge and hard negatives mined round by round, and
whitens the regression targets; here all negatives fit in memory, and the bias is not penalised.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from course.boxes import box_iou, encode
from course.models.detection import Target, check_proposals, check_targets
from course.models.rcnn import RCNN
from course.modes import evaluation_mode


def fit_stages(
    net: RCNN,
    images: Sequence[Tensor] | Tensor,
    targets: Sequence[Target],
    proposals: Sequence[Tensor],
    *,
    C: float = 1e-3,
    ridge: float = 1000.0,
) -> None:
    """Solve the SVMs and box regressions of `net` on a training set and store them in it.

    `images` are (3, H, W) each, `targets` and `proposals` hold one entry for each image. `C` and
    `ridge` weigh the data and the penalty; the published values belong to CaffeNet's features and
    VOC's size. A class without examples keeps its zeros. Afterwards `detect` moves its boxes, and
    `detect(scorer="svm")` scores with the SVMs.

    Source: sections 2.3 and 3.5.
    """
    check_targets(images, targets, net.num_classes - 1)
    check_proposals(images, proposals)
    pooled, tops, svm_labels, owners, corrections = [], [], [], [], []
    for image, target, boxes in zip(images, targets, proposals):
        regions = torch.cat([target["boxes"], boxes]).to(image.device, torch.float32)
        with evaluation_mode(net), torch.no_grad():
            low, high = net.describe(net.warp(image, regions))
        pooled.append(low)
        tops.append(high)
        svm_labels.append(svm_targets(boxes, target, net.num_classes - 1).to(image.device))
        owner, wanted = regression_targets(regions, target)
        owners.append(owner)
        corrections.append(wanted)
    low, high, labels, owner, wanted = (
        torch.cat(rows) for rows in (pooled, tops, svm_labels, owners, corrections)
    )
    for c in range(net.num_classes - 1):  # buffers have no row for background
        used, near = labels[:, c] != 0, owner == c + 1
        if (labels[:, c] > 0).any():
            net.svm_weight[c], net.svm_bias[c] = fit_svm(high[used], labels[used, c], C=C)
        if near.any():
            net.box_weight[c], net.box_bias[c] = fit_ridge(low[near], wanted[near], ridge)


def svm_targets(proposals: Tensor, target: Target, num_classes: int) -> Tensor:
    """Label the true boxes and then the proposals of an image for the SVM of every class.

    Returns (G + M, C) int64, column c for label c + 1: +1 for a true box of the class, -1 for a
    proposal whose IoU with every object of the class is below 0.3, 0 for what that SVM does not
    see. True boxes of other classes are judged like proposals.

    >>> target = Target(boxes=torch.tensor([[0., 0., 10., 10.]]), labels=torch.tensor([2]))
    >>> svm_targets(torch.tensor([[0., 0., 10., 4.], [0., 0., 10., 2.]]), target, 2).tolist()
    [[-1, 1], [-1, 0], [-1, -1]]

    Source: section 2.3 and appendix B.
    """
    objects = target["boxes"].to(proposals)
    regions = torch.cat([objects, proposals])
    labels = torch.full((len(regions), num_classes), -1, device=regions.device)
    for c in range(num_classes):
        mine = (target["labels"] == c + 1).to(regions.device)
        if mine.any():
            near = box_iou(regions, objects[mine]).amax(1) >= 0.3
            labels[near, c] = 0
            labels[: len(objects)][mine, c] = 1
    return labels


def regression_targets(regions: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """Give each region the class of the object it overlaps by more than 0.6, and its correction.

    Returns (R,) int64, 0 where no object is near enough, and (R, 4), zero there too.

    >>> target = Target(boxes=torch.tensor([[40., 36., 70., 56.]]), labels=torch.tensor([2]))
    >>> owner, wanted = regression_targets(torch.tensor([[40., 36., 70., 50.]]), target)
    >>> owner.item(), [round(t, 4) for t in wanted[0].tolist()]
    (2, [0.0, 0.2143, 0.0, 0.3567])

    Source: appendix C.
    """
    objects = target["boxes"].to(regions)
    owner = torch.zeros(len(regions), dtype=torch.int64, device=regions.device)
    wanted = torch.zeros_like(regions)
    if len(objects):
        overlap, match = box_iou(regions, objects).max(1)
        near = overlap > 0.6
        owner[near] = target["labels"].to(match)[match[near]]
        wanted[near] = encode(objects[match[near]], regions[near])
    return owner, wanted


def fit_ridge(features: Tensor, wanted: Tensor, ridge: float) -> tuple[Tensor, Tensor]:
    """Solve ridge regression from features (N, F) to `wanted` (N, 4): weight (4, F), bias (4,).

    The bias is not penalised. The system solved has size min(N, F). Raises ValueError unless there
    are examples and `ridge` > 0.

    >>> x = torch.tensor([[0.0], [1.0], [2.0]])
    >>> weight, bias = fit_ridge(x, torch.cat([2 * x + 1] * 4, 1), ridge=1e-6)
    >>> round(weight[0].item(), 3), round(bias[0].item(), 3)
    (2.0, 1.0)

    Source: appendix C, equation 5.
    """
    if not len(features) or ridge <= 0:
        raise ValueError(f"need examples and ridge > 0, got {len(features)} and {ridge}")
    x, t = features.double(), wanted.double()  # the normal equations square the condition
    mean, offset = x.mean(0), t.mean(0)
    x, t = x - mean, t - offset
    n, f = x.shape
    if n < f:  # the same solution from the smaller system
        dual = torch.linalg.solve(x @ x.T + ridge * torch.eye(n).to(x), t)  # (N, 4)
        weight = dual.T @ x  # (4, F)
    else:
        weight = torch.linalg.solve(x.T @ x + ridge * torch.eye(f).to(x), x.T @ t).T
    return weight.to(features), (offset - weight @ mean).to(features)


def fit_svm(
    features: Tensor, labels: Tensor, *, C: float = 1e-3, positive_weight: float = 2.0
) -> tuple[Tensor, Tensor]:
    """Solve a linear SVM with squared hinge on features (N, F), labels +1 or -1: (F,) and ().

    A positive counts `positive_weight` times. The problem is convex and smooth; L-BFGS finds its
    minimum. Raises ValueError without positives.

    >>> x = torch.tensor([[-2.0], [-1.0], [1.0], [3.0]])
    >>> weight, bias = fit_svm(x, torch.tensor([-1, -1, 1, 1]), C=10.0)
    >>> (x @ weight + bias).sign().tolist()
    [-1.0, -1.0, 1.0, 1.0]

    Source: section 2.3; C and the weight of positives as in the released code.
    """
    if not (labels > 0).any():
        raise ValueError(f"an SVM needs positive examples, got {len(labels)} negative ones")
    x, y = features.double(), labels.double()
    cost = torch.where(y > 0, C * positive_weight, C)
    solution = x.new_zeros(x.shape[1] + 1, requires_grad=True)  # weight and bias
    optimizer = torch.optim.LBFGS(
        [solution],
        max_iter=500,
        tolerance_grad=1e-9,
        tolerance_change=1e-14,
        line_search_fn="strong_wolfe",
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        margin = y * (x @ solution[:-1] + solution[-1])
        value = solution[:-1].square().sum() / 2 + (cost * F.relu(1 - margin).square()).sum()
        value.backward()
        return value

    optimizer.step(objective)
    found = solution.detach().to(features)
    return found[:-1], found[-1]
