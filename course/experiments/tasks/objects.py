"""Objects: a box and a class for each, for the largest, or the class of the largest alone."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.boxes import mean_average_precision
from course.experiments.sets import Prepared
from course.experiments.tasks.base import Task
from course.models.localizer import localization_accuracy, localization_loss, relative_boxes
from course.models.rcnn import RCNN
from course.models.rcnn_stages import fit_stages
from course.proposals import propose

__all__ = ["Classification", "Detection", "Localization"]

_SOLVED = 200  # images from which R-CNN's last stages are solved


class Detection(Task):
    """Every object gets a box and a class; measured by mean average precision at IoU 0.5."""

    main_metric = "mAP50"

    def __init__(self, train: Prepared, test: Prepared, class_names: Sequence[str]) -> None:
        super().__init__(train, test, class_names)
        self._proposals: dict[tuple[str, int], Tensor] = {}

    def wrap(self, net: nn.Module) -> nn.Module:
        return Detector(net)

    def loss(self, output: "Pending", batch: dict[str, Any]) -> Tensor:
        targets = [{"boxes": b, "labels": k} for b, k in zip(batch["boxes"], batch["labels"])]
        # Fabric hands every output back in float32, images on their way included.
        images = output.images.to(next(output.net.parameters()).dtype)
        arguments: list[Any] = [images, targets]
        if _takes_proposals(output.net):
            indices = batch["index"].tolist()
            arguments.append([self.proposals("train", i).to(images.device) for i in indices])
        mixed = output.autocast
        with torch.autocast(images.device.type, dtype=mixed, enabled=mixed is not None):
            terms = output.net.loss(*arguments)  # type: ignore[operator]
        return torch.stack([term.float() for term in terms.values()]).sum()

    def evaluate(self, model: nn.Module, **options: Any) -> Mapping[str, float]:
        net: Any = model.net
        found, truth = [], []
        for images, samples in self.batches(model):
            arguments: list[Any] = [images]
            if _takes_proposals(net):
                indices = [int(s["index"]) for s in samples]
                arguments.append([self.proposals("test", i).to(images.device) for i in indices])
            found += net.detect(*arguments, **{"score_threshold": 0.01, **options})
            truth += [{"boxes": s["boxes"], "labels": s["labels"]} for s in samples]
        found = [{name: value.cpu() for name, value in one.items()} for one in found]
        result = mean_average_precision(found, truth)
        per_class = {f"AP50 {self.class_names[k]}": v for k, v in result.per_class.items()}
        return {"mAP50": result.mean, **per_class}

    def finish(self, model: nn.Module) -> Mapping[str, float]:
        """R-CNN has two more stages: solve its SVMs and box regressions, and score with them."""
        net: Any = model.net
        if not isinstance(net, RCNN):
            return {}
        like = next(net.parameters())
        samples = [self.train[i] for i in range(min(len(self.train), _SOLVED))]
        fit_stages(
            net,
            [s["image"].to(like) for s in samples],
            [{"boxes": s["boxes"], "labels": s["labels"]} for s in samples],
            [self.proposals("train", i) for i in range(len(samples))],
            C=0.1,
            ridge=10.0,
        )
        result = self.evaluate(model, scorer="svm", score_threshold=-1.0)
        return {"mAP50 with SVMs": result["mAP50"]}

    def proposals(self, part: str, index: int) -> Tensor:
        """Segment proposals of an image, made once."""
        if (part, index) not in self._proposals:
            samples = self.train if part == "train" else self.test
            self._proposals[part, index] = propose(samples[index]["image"])
        return self._proposals[part, index]


class Pending(NamedTuple):
    """Images on their way to a detector, whose loss needs the targets as well."""

    net: nn.Module
    images: Tensor
    autocast: torch.dtype | None


class Detector(nn.Module):
    """Lets `fit`, which calls a network with images only, train one whose loss sees the targets.

    The forward pass hands over the network and the precision that it was called with; the work
    happens in `Detection.loss`.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Pending:
        kind = images.device.type
        mixed = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None
        return Pending(self.net, images, mixed)


class Localization(Task):
    """The largest object gets a class and a box; measured by both being right (IoU 0.5)."""

    main_metric = "label and box"

    def loss(self, output: tuple[Tensor, Tensor], batch: dict[str, Any]) -> Tensor:
        logits, boxes = output
        labels, truth = _largest(batch["boxes"], batch["labels"])
        size = (self.train.size, self.train.size)
        terms = localization_loss(
            logits, boxes, labels, relative_boxes(truth, size), labels > 0, lam=5.0
        )
        return terms.classes + terms.boxes

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        rows = []
        for images, samples in self.batches(model):
            labels, truth = _largest([s["boxes"] for s in samples], [s["labels"] for s in samples])
            truth = relative_boxes(truth, (self.test.size, self.test.size))
            rows.append([t.cpu().float() for t in model(images)] + [labels, truth])
        logits, boxes, labels, truth = (torch.cat(column) for column in zip(*rows))
        seen = labels > 0  # where there is no object, there is no box to be right about
        arguments = logits[seen], boxes[seen], labels[seen], truth[seen]
        return {
            "label and box": localization_accuracy(*arguments),
            "accuracy": (logits.argmax(1) == labels).float().mean().item(),
        }


class Classification(Task):
    """The image gets the class of its largest object, 0 where it has none."""

    main_metric = "accuracy"

    def wrap(self, net: nn.Module) -> nn.Module:
        return Window(net)

    def loss(self, output: Tensor, batch: dict[str, Any]) -> Tensor:
        return F.cross_entropy(output, _largest(batch["boxes"], batch["labels"])[0])

    def evaluate(self, model: nn.Module) -> Mapping[str, float]:
        right = []
        for images, samples in self.batches(model):
            labels, _ = _largest([s["boxes"] for s in samples], [s["labels"] for s in samples])
            right.append(model(images).argmax(1).cpu() == labels)
        return {"accuracy": torch.cat(right).float().mean().item()}


class Window(nn.Module):
    """OverFeat (fast) that sees the whole image as one window of 231 pixels: (B, K) logits."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(F.interpolate(images, (231, 231), mode="bilinear")).flatten(1)


def _largest(boxes: Sequence[Tensor], labels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Label (B,) and box (B, 4) of the largest object of each image, 0 where there is none."""
    chosen, places = [], []
    for box, label in zip(boxes, labels):
        if len(box):
            largest = (box[:, 2:] - box[:, :2]).prod(1).argmax()
            chosen.append(label[largest])
            places.append(box[largest])
        else:
            chosen.append(torch.zeros((), dtype=torch.int64, device=box.device))
            places.append(box.new_zeros(4))
    return torch.stack(chosen), torch.stack(places)


def _takes_proposals(net: nn.Module) -> bool:
    return type(net).__name__ != "YOLO"
