"""What the recipes train on, minimise and measure: street scenes and membranes.

Street scenes are cropped and mirrored, and every pixel's class is learnt. Membranes are warped
elastically and cut into U-Net's tiles, and the gaps between cells weigh more.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from course import data
from course.data.elastic import displacements, elastic
from course.experiments.recipes import Stage
from course.losses import (
    border_weights,
    class_frequencies,
    cross_entropy,
    median_frequency_weights,
)
from course.metrics import ConfusionMatrix
from course.tiling import mirror_pad, predict_tiled
from course.training.batches import Samples

__all__ = ["Membranes", "Streets"]

_THRESHOLDS = [n / 10 for n in range(1, 10)]  # of the probability of cell


class Streets:
    """CamVid: 11 classes at 360 x 480, whole or in random crops, mirrored at random."""

    main_metric = "mean IoU"

    def __init__(self, *, balanced: bool) -> None:
        self.classes = len(data.CamVid.class_names)
        self.weights = None
        if balanced:
            masks = (sample["mask"] for sample in data.CamVid())
            self.weights = median_frequency_weights(class_frequencies(masks, self.classes))

    def training_set(self, stage: Stage) -> Samples:
        from torchvision.transforms import v2

        steps: list[nn.Module] = [v2.RandomHorizontalFlip()]
        if stage.crop is not None:
            steps.insert(0, v2.RandomCrop(stage.crop))
        return data.CamVid(transform=v2.Compose(steps))

    def loss(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return cross_entropy(logits, batch["mask"], class_weights=self.weights)

    def validate(self, net: nn.Module) -> dict[str, float]:
        return self._score(net, data.CamVid(split="val"))

    @torch.no_grad()
    def measure(self, net: nn.Module) -> dict[str, float]:
        net.eval()
        return self._score(net, data.CamVid(split="test"))

    def _score(self, net: nn.Module, samples: data.CamVid) -> dict[str, float]:
        matrix, like = ConfusionMatrix(self.classes), next(net.parameters())
        for sample in samples:
            labels = net(sample["image"][None].to(like)).argmax(1)
            matrix.update(labels, sample["mask"][None].to(labels.device))
        return {
            "mean IoU": matrix.mean_iou().item(),
            "pixel accuracy": matrix.pixel_accuracy().item(),
            "mean accuracy": matrix.mean_accuracy().item(),
        }


class Membranes:
    """ISBI 2012: cell or membrane, in tiles of 572 pixels of which 388 are predicted."""

    main_metric = "pixel error"

    def training_set(self, stage: Stage) -> Samples:  # every stage has the same tiles
        return _Tiles(list(data.ISBI2012()))

    def loss(self, logits: Tensor, batch: dict[str, Any]) -> Tensor:
        return cross_entropy(logits, batch["mask"], weight_map=batch["weights"])

    def validate(self, net: nn.Module) -> dict[str, float]:
        return {"pixel error": min(_pixel_errors(self._predicted(net)))}

    @torch.no_grad()
    def measure(self, net: nn.Module) -> dict[str, float]:
        """Pixel and Rand error, each at the best of nine thresholds, as the challenge has them.

        Source: Arganda-Carreras et al. 2015: 1 - F-score of the Rand index over pixels that are
        cell in the annotation. The membranes are not thinned here.
        """
        slices = self._predicted(net)
        return {"pixel error": min(_pixel_errors(slices)), "Rand error": min(_rand_errors(slices))}

    def _predicted(self, net: nn.Module) -> list[tuple[Tensor, Tensor]]:
        """Probability of cell and true mask of the held-out slices, on the CPU."""
        where = next(net.parameters()).device
        out = []
        for sample in data.ISBI2012(split="val"):
            image = sample["image"].to(where)
            probabilities = predict_tiled(
                net, image, tile=572, border=92, activation=lambda z: z.float().softmax(1)
            )
            out.append((probabilities[1].cpu(), sample["mask"]))
        return out


def _pixel_errors(slices: list[tuple[Tensor, Tensor]]) -> list[float]:
    """Share of wrong pixels at every threshold."""
    cells, truth = (torch.stack(maps) for maps in zip(*slices))
    return [((cells > t) != (truth > 0)).float().mean().item() for t in _THRESHOLDS]


def _rand_errors(slices: list[tuple[Tensor, Tensor]]) -> list[float]:
    """Mean Rand error of the slices at every threshold."""
    from skimage.measure import label
    from skimage.metrics import adapted_rand_error

    def error(cells: Tensor, truth: Tensor) -> float:
        parts = label(truth.numpy(), connectivity=1), label(cells.numpy(), connectivity=1)
        return float(adapted_rand_error(*parts, ignore_labels=(0,))[0])

    return [
        sum(error(cells > t, truth) for cells, truth in slices) / len(slices) for t in _THRESHOLDS
    ]


class _Tiles(Dataset):
    """U-Net's training tiles: warped, turned, mirrored, cut at a random place."""

    def __init__(self, slices: list[dict[str, Tensor]], *, size: int = 388, border: int = 92):
        self.size, self.border = size, border
        self.slices = [
            {"image": s["image"], "mask": s["mask"], "weights": border_weights(s["instances"])}
            for s in slices
        ]

    def __len__(self) -> int:
        return len(self.slices)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self.slices[index]
        height, width = sample["image"].shape[-2:]
        sample = elastic(sample, displacements((height, width)))
        turns, mirrored = int(torch.randint(4, ())), bool(torch.randint(2, ()))
        top = int(torch.randint(height - self.size + 1, ()))
        left = int(torch.randint(width - self.size + 1, ()))
        out = {}
        for name, value in sample.items():
            value = value.rot90(turns, (-2, -1))
            value = value.flip(-1) if mirrored else value
            if name == "image":  # with its context of 92 pixels per side: (1, 572, 572)
                value = mirror_pad(value[None], self.border)[0]
                side = self.size + 2 * self.border
            else:
                side = self.size  # (388, 388)
            out[name] = value[..., top : top + side, left : left + side].contiguous()
        return out
