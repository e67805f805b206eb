"""Confusion matrix, Dice and border weights beside what users would pick: ratios of minima."""

import time

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from course.losses import border_weights, soft_dice_loss
from course.metrics import confusion_matrix, mean_iou

pytestmark = pytest.mark.bench
CLASSES = 21


def ratio(ours, theirs, rounds: int = 7) -> float:
    """Shortest time of `ours` over the shortest of `theirs`; they take turns: noise meets both."""
    seconds = ([], [])
    for number in range(rounds + 1):
        for work, taken in zip((ours, theirs), seconds):
            start = time.perf_counter()
            work()
            if number:  # the first round warms up
                taken.append(time.perf_counter() - start)
    a, b = (min(taken) for taken in seconds)
    print(f"\nours {a * 1e3:.2f} ms, theirs {b * 1e3:.2f} ms, ratio {a / b:.3f}")
    return a / b


def allocated(work) -> int:
    """Bytes of all tensors that `work` makes."""

    class Count(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor) and not out._is_view():
                self.total += out.nbytes
            return out

    with torch.no_grad(), Count() as count:
        work()
    return count.total


@pytest.fixture(scope="module", params=[torch.uint8, torch.int64], ids=["uint8", "int64"])
def labels(request) -> tuple[torch.Tensor, torch.Tensor]:
    """8 x 512 x 512 predictions and labels in blocks, a tenth wrong, a band ignored."""
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(0, CLASSES, (8, 32, 32), generator=generator)
    target = blocks.repeat_interleave(16, 1).repeat_interleave(16, 2)
    noise = torch.randint(0, CLASSES, target.shape, generator=generator)
    pred = torch.where(torch.rand(target.shape, generator=generator) < 0.1, noise, target)
    target[:, :20] = 255
    return pred.to(request.param), target.to(request.param)


def fast_hist(pred: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """The count of most reference codes: select, multiply, bincount."""
    valid = (target >= 0) & (target < CLASSES)
    cells = CLASSES * target[valid].long() + pred[valid]
    return torch.bincount(cells, minlength=CLASSES**2).view(CLASSES, CLASSES)


def test_confusion_matrix_against_the_reference_count(labels) -> None:
    pred, target = labels
    assert confusion_matrix(pred, target, CLASSES).equal(fast_hist(pred, target))
    theirs = lambda: fast_hist(pred, target)  # noqa: E731
    assert ratio(lambda: confusion_matrix(pred, target, CLASSES), theirs) <= 0.25


@pytest.mark.parametrize(("validate", "bound"), [(True, 0.10), (False, 0.20)])
def test_confusion_matrix_against_torchmetrics(labels, validate: bool, bound: float) -> None:
    peer = pytest.importorskip(
        "torchmetrics.functional.classification", reason="torchmetrics is not installed"
    )
    pred, target = labels

    def theirs() -> torch.Tensor:
        return peer.multiclass_confusion_matrix(
            pred, target, CLASSES, ignore_index=255, validate_args=validate
        )

    assert confusion_matrix(pred, target, CLASSES).equal(theirs())
    assert ratio(lambda: confusion_matrix(pred, target, CLASSES), theirs) <= bound


def test_mean_iou_against_torchmetrics(labels) -> None:
    peer = pytest.importorskip(
        "torchmetrics.functional.segmentation", reason="torchmetrics is not installed"
    )
    pred, target = labels
    target = target.where(target != 255, 0).long()  # it cannot ignore
    pred = pred.long()

    def ours() -> torch.Tensor:
        return mean_iou(confusion_matrix(pred, target, CLASSES))

    def theirs() -> torch.Tensor:
        return peer.mean_iou(pred, target, CLASSES, input_format="index")

    assert ratio(ours, theirs, rounds=3) <= 0.03
    memory = allocated(ours) / allocated(theirs)
    print(f"memory {memory:.4f}")
    assert memory <= 0.05


@pytest.fixture(scope="module")
def dice_input() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(4, CLASSES, 256, 256, generator=generator)
    target = torch.randint(0, CLASSES, (4, 256, 256), generator=generator)
    return logits.softmax(1).requires_grad_(), target


def backward(loss, probabilities: torch.Tensor, target: torch.Tensor):
    def work() -> torch.Tensor:
        probabilities.grad = None
        value = loss(probabilities, target)
        value.backward()
        return value.detach()

    return work


def textbook_dice(probabilities: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    masks = F.one_hot(target, CLASSES).permute(0, 3, 1, 2).float()
    shared = (probabilities * masks).sum((2, 3))
    areas = probabilities.sum((2, 3)) + masks.sum((2, 3))
    return 1 - ((2 * shared + 1e-6) / (areas + 1e-6)).mean()


def test_soft_dice_against_the_textbook(dice_input) -> None:
    ours, theirs = (backward(loss, *dice_input) for loss in (soft_dice_loss, textbook_dice))
    torch.testing.assert_close(ours(), theirs())
    assert ratio(ours, theirs) <= 0.6


def test_soft_dice_against_segmentation_models(dice_input) -> None:
    peer = pytest.importorskip(
        "segmentation_models_pytorch.losses", reason="segmentation_models is not installed"
    )
    theirs = peer.DiceLoss("multiclass", from_logits=False, ignore_index=255)
    ours, theirs = (backward(loss, *dice_input) for loss in (soft_dice_loss, theirs))
    assert ratio(ours, theirs) <= 0.4


def test_soft_dice_against_monai(dice_input) -> None:
    peer = pytest.importorskip("monai.losses", reason="MONAI is not installed")
    loss = peer.DiceLoss(to_onehot_y=True, smooth_nr=1e-6, smooth_dr=1e-6)
    ours = backward(soft_dice_loss, *dice_input)
    theirs = backward(lambda p, t: loss(p, t[:, None]), *dice_input)
    torch.testing.assert_close(ours(), theirs())
    assert ratio(ours, theirs) <= 1.05


def discs(size: int, cells: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:size, :size]
    labels, cell = np.zeros((size, size), dtype=np.int64), 0
    while cell < cells:
        cy, cx, r = rng.uniform(0, size), rng.uniform(0, size), rng.uniform(5, 9)
        disc = (y - cy) ** 2 + (x - cx) ** 2 < r * r
        if (labels[disc] > 0).mean() < 0.05:
            cell += 1
            labels[disc & (labels == 0)] = cell
    return torch.from_numpy(labels)


def usual_border_weights(labels: np.ndarray) -> np.ndarray:
    """The snippet of blogs and forums: a distance transform of the image per cell, then a sort."""
    cells = [cell for cell in np.unique(labels) if cell]
    distances = np.zeros((*labels.shape, len(cells)))
    for i, cell in enumerate(cells):
        distances[..., i] = ndimage.distance_transform_edt(labels != cell)
    distances.sort(-1)
    return 10 * np.exp(-(distances[..., :2].sum(-1) ** 2) / 50) * (labels == 0)


# Ours costs the same for any number of cells; on a small image their transforms are cheap.
@pytest.mark.parametrize(("size", "bound"), [(512, 0.03), (256, 0.05)])
def test_border_weights_against_the_usual_snippet(size: int, bound: float) -> None:
    labels = discs(size, 148)
    as_array = labels.numpy()
    expected = torch.from_numpy(usual_border_weights(as_array)).float()
    ours = border_weights(labels, class_balance=False) - 1
    torch.testing.assert_close(ours, expected, atol=1.1e-5, rtol=1e-5)
    theirs = lambda: usual_border_weights(as_array)  # noqa: E731
    assert ratio(lambda: border_weights(labels), theirs, rounds=5) <= bound
