"""Average precision: one number for a ranked list of detections.

Down the list by falling score, precision = TP / (TP + FP) and recall = TP / objects trace a curve.
AP is the area under it, and mAP the mean over classes. Precision first becomes the best value at
this recall or a higher one, which removes the saw teeth:

    AP = sum over the true positives of  (max precision at this recall or above) / objects.

A detection is a true positive if its best overlap reaches the threshold and nobody took that object
before; a second detection of one object is a false positive. Reference: Everingham et al. 2010
(PASCAL VOC), section 4.2, and the challenge's development kit.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from course.boxes.overlap import box_iou, check_boxes

__all__ = ["MeanAveragePrecision", "average_precision", "mean_average_precision"]

Method = Literal["all-point", "11-point"]


class MeanAveragePrecision(NamedTuple):
    """Mean over classes, and the average precision of every class that occurs.

    >>> MeanAveragePrecision(0.5, {1: 0.25, 7: 0.75}).per_class[7]
    0.75
    """

    mean: float
    per_class: dict[int, float]


def average_precision(
    scores: Tensor, is_tp: Tensor, n_gt: int, *, method: Method = "all-point"
) -> float:
    """Area under the precision-recall curve of one class.

    Args:
        scores: `(N,)` float scores in any order; equal scores keep their order.
        is_tp: `(N,)` bool, True for true positives, in the order of `scores`.
        n_gt: number of objects that could be found, detected or not.
        method: "all-point" is the exact area (VOC 2010 and later), "11-point" the mean of the
            precision at recalls 0, 0.1, ..., 1 (VOC 2007).

    Returns:
        AP in [0, 1]; 0 without detections.

    Raises:
        TypeError: `is_tp` is not bool.
        ValueError: shapes that do not match, NaN scores, `n_gt` below 1 or the true positives.

    >>> average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([True, False, True]), 2)
    0.8333...
    """
    _check_ranking(scores, is_tp, n_gt, method)
    order = scores.argsort(descending=True, stable=True)
    found = is_tp[order].cumsum(0)  # true positives down to each rank
    rank = torch.arange(1, len(order) + 1, device=found.device)
    precision = found.double() / rank
    envelope = precision.flip(0).cummax(0).values.flip(0)
    if method == "all-point":
        return (envelope[is_tp[order]].sum() / n_gt).item()
    # In whole numbers: 0.1 * 3 is not 0.3, and recalls of exactly 0.3 are common.
    levels = torch.arange(11, device=found.device)
    first = torch.searchsorted(found * 10, levels * n_gt)  # first rank that reaches each recall
    reached = envelope[first[first < len(found)]]
    return (reached.sum() / 11).item()


def mean_average_precision(
    detections: Sequence[Mapping[str, Tensor]],
    ground_truth: Sequence[Mapping[str, Tensor]],
    iou: float = 0.5,
    *,
    method: Method = "all-point",
) -> MeanAveragePrecision:
    """Mean average precision over the classes of a data set.

    Each detection looks for the object of its class with the highest IoU in its image. If that IoU
    is at least `iou`, the first detection of the object is a true positive and the others are false
    positives; detections of difficult objects count neither way.

    Args:
        detections: per image a mapping with boxes `(N, 4)` float corners, scores `(N,)` float and
            labels `(N,)` int64.
        ground_truth: per image, in the same order, a mapping with boxes `(M, 4)`, labels `(M,)` and
            optionally difficult `(M,)` bool.
        iou: threshold in (0, 1].
        method: see `average_precision`.

    Returns:
        `MeanAveragePrecision(mean, per_class)`. Classes without an object that counts are left
        out, also if they were predicted; the mean over no class at all is NaN.

    Raises:
        TypeError: integer boxes.
        ValueError: lists of different length, missing entries, shapes that do not match.

    Source: Everingham et al. 2010, section 4.2. VOC files hold inclusive integer corners: add 1 to
    x1 and y1 to make them half-open.

    >>> box, label = torch.tensor([[0.0, 0, 10, 10]]), torch.tensor([3])
    >>> found = {"boxes": box + 1, "scores": torch.tensor([0.9]), "labels": label}
    >>> mean_average_precision([found], [{"boxes": box, "labels": label}])
    MeanAveragePrecision(mean=1.0, per_class={3: 1.0})
    """
    _check_data_set(detections, ground_truth, iou)
    objects: dict[int, int] = {}
    for truth in ground_truth:
        for label in truth["labels"][~_difficult(truth)].tolist():
            objects[label] = objects.get(label, 0) + 1
    per_class = {}
    for label in sorted(objects):
        scores, is_tp = _judge_class(detections, ground_truth, label, iou)
        per_class[label] = average_precision(scores, is_tp, objects[label], method=method)
    mean = sum(per_class.values()) / len(per_class) if per_class else float("nan")
    return MeanAveragePrecision(mean, per_class)


def _judge_class(
    detections: Sequence[Mapping[str, Tensor]],
    ground_truth: Sequence[Mapping[str, Tensor]],
    label: int,
    iou: float,
) -> tuple[Tensor, Tensor]:
    """Scores and verdicts of all detections of one class, without those of difficult objects."""
    scores, verdicts = [torch.zeros(0).double()], [torch.zeros(0, dtype=torch.bool)]
    for found, truth in zip(detections, ground_truth):
        mine, theirs = found["labels"] == label, truth["labels"] == label
        if not mine.any():
            continue
        # Images do not share objects, so each may be judged down its own ranking.
        order = found["scores"][mine].argsort(descending=True, stable=True)
        score, boxes = found["scores"][mine][order], found["boxes"][mine][order]
        # Double precision, so that 7 / 10 is at least 0.7.
        overlaps = box_iou(boxes.double(), truth["boxes"][theirs].to(boxes.device).double())
        is_tp, counts = _judge_image(overlaps.cpu(), _difficult(truth)[theirs].tolist(), iou)
        scores.append(score.detach().cpu()[counts].double())
        verdicts.append(is_tp[counts])
    return torch.cat(scores), torch.cat(verdicts)


def _judge_image(overlaps: Tensor, difficult: list[bool], iou: float) -> tuple[Tensor, Tensor]:
    """Which of N ranked detections are true positives, and which count at all: bool `(N,)` each."""
    is_tp = torch.zeros(len(overlaps), dtype=torch.bool)
    counts = torch.ones_like(is_tp)
    if not difficult:
        return is_tp, counts
    best, match = overlaps.max(dim=1)
    taken = set()
    for n, (overlap, m) in enumerate(zip(best.tolist(), match.tolist())):
        if not overlap >= iou:  # NaN boxes find nothing
            continue
        if difficult[m]:
            counts[n] = False
        elif m not in taken:
            is_tp[n] = True
            taken.add(m)
    return is_tp, counts


def _difficult(truth: Mapping[str, Tensor]) -> Tensor:
    return truth.get("difficult", torch.zeros_like(truth["labels"])).bool()


def _check_ranking(scores: Tensor, is_tp: Tensor, n_gt: int, method: str) -> None:
    if method not in ("all-point", "11-point"):
        raise ValueError(f'method must be "all-point" or "11-point", got {method!r}')
    if is_tp.dtype != torch.bool:
        raise TypeError(f"is_tp must be bool, got {is_tp.dtype}: compare or call .bool()")
    if scores.ndim != 1 or scores.shape != is_tp.shape:
        raise ValueError(
            f"scores and is_tp must both be (N,), got {tuple(scores.shape)} and "
            f"{tuple(is_tp.shape)}"
        )
    if scores.isnan().any():
        raise ValueError("scores must not hold NaN: it has no rank")
    if n_gt < 1:
        raise ValueError(f"n_gt must be at least 1, got {n_gt}: leave absent classes out")
    if is_tp.sum() > n_gt:
        raise ValueError(
            f"{int(is_tp.sum())} true positives for n_gt={n_gt} objects: n_gt counts the ground "
            "truth, and a second detection of an object is a false positive"
        )


def _check_data_set(
    detections: Sequence[Mapping[str, Tensor]],
    ground_truth: Sequence[Mapping[str, Tensor]],
    iou: float,
) -> None:
    if len(detections) != len(ground_truth):
        raise ValueError(
            f"detections and ground_truth must list the same images, got {len(detections)} and "
            f"{len(ground_truth)}"
        )
    if not 0 < iou <= 1:
        raise ValueError(f"iou must be a threshold in (0, 1], got {iou}")
    for kind, images, required in (
        ("detections", detections, ("boxes", "scores", "labels")),
        ("ground_truth", ground_truth, ("boxes", "labels")),
    ):
        for i, entry in enumerate(images):
            missing = [key for key in required if key not in entry]
            if missing:
                raise ValueError(f"{kind}[{i}] has no {missing}, got the keys {sorted(entry)}")
            check_boxes(entry["boxes"], f"{kind}[{i}]['boxes']")
            for key in [*required[1:], *(["difficult"] if "difficult" in entry else [])]:
                if entry[key].shape != entry["boxes"].shape[:1]:
                    raise ValueError(
                        f"{kind}[{i}][{key!r}] must have one entry per box, "
                        f"({len(entry['boxes'])},), got {tuple(entry[key].shape)}"
                    )
