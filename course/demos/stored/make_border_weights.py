"""Train the small U-Nets of the demo `border_weights` and keep what they say about four images.

One network for every height w0 and width sigma of the border term, all alike in everything else:
first weights, images, order, steps. The file holds no network, only object maps and scores.

    uv run python -m course.demos.stored.make_border_weights      # minutes on one core

Source: Ronneberger, Fischer, Brox 2015, section 3; the experiment is that of lab 8, seed 0.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from course.data.synthetic import cells
from course.losses import border_weights, cross_entropy
from course.metrics import ConfusionMatrix, instance_labels, match_instances
from course.models import UNet
from course.tiling import mirror_pad
from course.training import fit, poly_lr

__all__ = ["FILE", "SHOWN", "SIGMAS", "W0S", "make", "networks", "predict", "score", "train"]

FILE = Path(__file__).with_name("border_weights.npz")
W0S = (0, 2, 4, 6, 8, 10, 12)
SIGMAS = (1, 3, 5, 7, 9)
SHOWN = 4  # test images whose object maps are kept
TRAINING, TEST, SIZE, STEPS = 200, 40, 64, 200


def train(w0: float, sigma: float, *, steps: int = STEPS) -> UNet:
    """A U-Net of depth 2 and width 8, trained on 200 images of 64 x 64 with these border weights.

    Example:
        >>> sum(p.numel() for p in train(10, 5, steps=1).parameters())
        29330
    """
    torch.manual_seed(0)
    net = UNet(in_channels=1, num_classes=2, width=8, depth=2)
    scenes = cells(TRAINING, SIZE, seed=0)
    samples = [
        {
            "image": mirror_pad(scene["image"], net.border),
            "mask": scene["mask"],
            "weights": border_weights(scene["instances"], w0, sigma, class_balance=False),
        }
        for scene in scenes
    ]
    fit(
        net,
        samples,
        lambda logits, batch: cross_entropy(logits, batch["mask"], weight_map=batch["weights"]),
        steps=steps,
        batch_size=4,
        lr=1e-2,
        schedule=poly_lr,
        seed=0,
        device="cpu",
        progress=False,
    )
    return net.eval()


@torch.no_grad()
def predict(net: nn.Module, images: Tensor) -> Tensor:
    """Class of every pixel, (B, H, W), of images (B, 1, H, W)."""
    return net(mirror_pad(images, net.border)).argmax(1)  # type: ignore[arg-type]


def score(masks: Tensor, instances: Tensor) -> tuple[float, float]:
    """Mean IoU of the pixels, and the share of cells that one object each covers at IoU 0.5."""
    confusion = ConfusionMatrix(2)
    confusion.update(masks, (instances > 0).long())
    found = sum(match_instances(a, b).found for a, b in zip(instance_labels(masks), instances))
    return float(confusion.mean_iou()), found / int(instances.amax((1, 2)).sum())


def networks() -> list[tuple[int, int]]:
    """The pairs (w0, sigma) in the order of the file; with w0 = 0 sigma has no meaning."""
    return [(w0, sigma) for w0 in W0S for sigma in (SIGMAS if w0 else SIGMAS[:1])]


def make() -> dict[str, NDArray[np.generic]]:
    """The content of the file.

    Returns:
        `images` (4, H, W) uint8, `instances` (4, H, W) uint8 true cells, `objects` (networks, 4,
        H, W) uint8 connected objects of each network in the order of `networks()`, `scores`
        (networks, 2) float32: mean IoU and share of cells found on all 40 test images.
    """
    test = cells(TEST, SIZE, seed=1)
    assert test.instances is not None  # cells always have them
    objects, scores = [], []
    for w0, sigma in networks():
        masks = predict(train(w0, sigma), test.images)
        objects.append(instance_labels(masks[:SHOWN]).numpy().astype(np.uint8))
        scores.append(score(masks, test.instances))
        print(f"w0 {w0} sigma {sigma}: mean IoU {scores[-1][0]:.3f}, found {scores[-1][1]:.3f}")
    return {
        "images": (test.images[:SHOWN, 0] * 255).round().to(torch.uint8).numpy(),
        "instances": test.instances[:SHOWN].numpy().astype(np.uint8),
        "objects": np.stack(objects),
        "scores": np.array(scores, np.float32),
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    np.savez_compressed(FILE, **make())  # pyright: ignore[reportArgumentType]
    print(f"{FILE}: {FILE.stat().st_size / 1000:.0f} kB")
