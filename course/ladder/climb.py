"""Train one rung under the protocol that all share, and count what an answer costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from course.experiments.sets import TrainAndTest, load_set
from course.experiments.systems import find_system
from course.experiments.tasks import make_task
from course.experiments.tasks.objects import Detection
from course.ladder.rungs import Rung, Scores
from course.metrics import ConfusionMatrix
from course.modes import evaluation_mode
from course.training import fit, poly_lr

__all__ = ["Protocol", "climb"]

_LINE = 2  # class of the lines in `course.data.lines`
_KEPT = 0.3  # score from which a box is filled


@dataclass(frozen=True)
class Protocol:
    """What all rungs have in common.

    Attributes:
        size: side of the images in pixels.
        train, test: number of images, drawn anew for each seed.
        steps: updates with AdamW, at the system's own learning rate, falling as a power.
        batch_size: images per update.
    """

    data: str = "lines"
    size: int = 64
    train: int = 400
    test: int = 100
    steps: int = 300
    batch_size: int = 8


def climb(rung: Rung, seeds: Sequence[int], protocol: Protocol | None = None) -> Scores:
    """Train and measure a rung once a seed.

    Args:
        rung: one of `RUNGS`.
        seeds: of the images, the weights and the order; at least one.
        protocol: what all rungs share.

    Raises:
        ValueError: no seed.

    >>> from course.ladder import RUNGS
    >>> scores = climb(RUNGS[6], [0], Protocol(train=8, test=4, steps=2))
    >>> scores.parameters, len(scores.iou)
    (462915, 1)
    """
    if not seeds:
        raise ValueError("expected at least one seed; got none")
    protocol = protocol or Protocol()
    runs = [_run(rung, seed, protocol) for seed in seeds]
    _, parameters, macs, activations = runs[0]
    return Scores(tuple(run[0] for run in runs), parameters, macs, activations)


def _run(rung: Rung, seed: int, protocol: Protocol) -> tuple[float, int, int, int]:
    model, task, parameters = _trained(rung.system, seed, protocol)
    truth = _load(protocol, seed, "segmentation").test
    label = _labeller(rung, model, task)
    matrix = ConfusionMatrix(len(task.class_names))
    with evaluation_mode(model), torch.no_grad():
        for i in range(len(task.test)):
            matrix.update(label(task.test[i])[None], truth[i]["mask"][None])
        macs, activations = _cost(label, task.test[0])
    return float(matrix.iou()[_LINE]), parameters, macs, activations


def _load(protocol: Protocol, seed: int, task: str) -> TrainAndTest:
    return load_set(
        protocol.data,
        task=task,
        size=protocol.size,
        train=protocol.train,
        test=protocol.test,
        seed=seed,
    )


@lru_cache(maxsize=4)  # two rungs read the same classifier in two ways
def _trained(name: str, seed: int, protocol: Protocol) -> tuple[nn.Module, Any, int]:
    """A trained system with its task and its number of parameters."""
    system = find_system(name)
    parts = _load(protocol, seed, system.task)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = system.build(len(parts.class_names), parts.channels, protocol.size)
    task = make_task(system, parts.train, parts.test, parts.class_names)
    model = task.wrap(net)
    fit(
        model,
        parts.train,
        task.loss,
        steps=protocol.steps,
        batch_size=protocol.batch_size,
        lr=system.lr,
        optimizer=partial(torch.optim.AdamW, weight_decay=1e-4),
        schedule=poly_lr,
        seed=seed,
        device="cpu",
        progress=False,
    )
    return model, task, sum(p.numel() for p in net.parameters())


def _labeller(rung: Rung, model: nn.Module, task: Any) -> Callable[[Any], Tensor]:
    """From a sample to the label (H, W) of every pixel, as the rung reads its network."""
    if rung.labels == "windows":
        return lambda sample: _from_windows(model.net, sample["image"])
    if rung.labels == "pixels":
        return lambda sample: model(sample["image"][None])[0].argmax(0)
    if isinstance(task, Detection):

        def find(sample: Any) -> dict[str, Tensor]:
            rest = [] if rung.system == "YOLO" else [[task.proposals("test", int(sample["index"]))]]
            net: Any = model.net
            return net.detect(sample["image"][None], *rest, score_threshold=_KEPT)[0]
    else:

        def find(sample: Any) -> dict[str, Tensor]:
            net: Any = model
            return net.detect(sample["image"][None])[0]

    return lambda sample: fill_boxes(find(sample), sample["image"].shape[-2:])


def _from_windows(net: Any, image: Tensor) -> Tensor:
    """Classify a window every 16 pixels; its label fills the 16 x 16 pixels around its centre."""
    height, width = image.shape[-2:]
    margin, step = net.window // 2, net.stride
    # The first centre lies half a step inside, so that its block starts at the corner.
    left = margin - step // 2
    reach = [left, margin + step // 2]
    padded = F.pad(image[None], [*reach, *reach], mode="reflect")
    labels = net(padded)[0].argmax(0)  # (rows, columns)
    return labels.repeat_interleave(step, 0).repeat_interleave(step, 1)[:height, :width]


def fill_boxes(found: dict[str, Tensor], size: Sequence[int]) -> Tensor:
    """Label (H, W) of every pixel: the class of the surest box over it, 0 where there is none.

    >>> found = {
    ...     "boxes": torch.tensor([[0.0, 0.0, 2.0, 1.0], [1.0, 0.0, 3.0, 2.0]]),
    ...     "labels": torch.tensor([1, 2]),
    ...     "scores": torch.tensor([0.9, 0.5]),
    ... }
    >>> fill_boxes(found, (2, 4)).tolist()
    [[1, 1, 2, 0], [0, 2, 2, 0]]
    """
    labels = torch.zeros(tuple(size), dtype=torch.int64)
    for i in found["scores"].argsort().tolist():
        x0, y0, x1, y1 = found["boxes"][i].round().int().tolist()
        labels[max(y0, 0) : y1, max(x0, 0) : x1] = found["labels"][i]
    return labels


class _Activations(TorchDispatchMode):
    """Counts the values that convolutions and matrix products hand on."""

    _COUNTED = frozenset(("convolution", "addmm", "mm", "bmm", "baddbmm"))

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func.overloadpacket.__name__ in self._COUNTED:
            self.count += result.numel()
        return result


def _cost(label: Callable[[Any], Tensor], sample: Any) -> tuple[int, int]:
    """Multiply-accumulates and activations of one answer, whatever it is made of."""
    flops = FlopCounterMode(display=False)
    with flops:
        label(sample)
    with _Activations() as activations:
        label(sample)
    return flops.get_total_flops() // 2, activations.count
