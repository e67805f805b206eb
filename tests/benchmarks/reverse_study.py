"""Does reverse attention help anywhere? Settings named beforehand, equal rivals, paired seeds.

Striped textures as in `course.data.textures`, with any number of slants and borders that may blend;
a network of three convolutions with three ways to its logits:

* plain: one head; its last features are widened until it has as many parameters as the others;
* two heads: Y = O + R and the losses of O, R and Y, so all of the method but the turned sign and
  the mask;
* reverse attention: Y = O - A * R and the losses of O, -R and Y.

Within a seed all three see the same training images in the same order, the same test images, and
take equally many steps. Reference: Huang et al. 2017, arXiv:1707.06426, section 3.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn
from torch.nn import functional as F

from course import losses, metrics, training
from course.data import Scenes
from course.models.layers import conv_bn_relu
from course.models.reverse_attention import Mask, reverse_attention

__all__ = ["RIVALS", "SETTINGS", "Branches", "Setting", "images", "run"]

RIVALS = ("plain", "two heads", "reverse attention")
TRAIN, TEST, SIZE, LR = 200, 60, 48, 1e-2


@dataclass(frozen=True)
class Setting:
    """What may matter: the images, the network, the training, the form of the method."""

    name: str
    slants: tuple[float, ...] = (90.0, 0.0, 35.0, 50.0)  # of the stripes, degrees
    noise: float = 0.12
    blend: float = 0.0  # width of the zone in which two textures mix, pixels
    width: int = 16
    steps: int = 120
    weights: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of the losses of O, -R, Y
    mask: Mask = "simple"
    finished: bool = False  # features learnt before, on slants far apart, and then frozen


TWELVE = tuple(15.0 * k for k in range(12))
# Fixed before the first run: each changes one thing of the lab's setting, the last one comes as
# near to the paper's as this size allows (many classes, mixed regions, finished features).
SETTINGS = (
    Setting("as in the lab: two of four slants 15° apart"),
    Setting("6° apart", slants=(90.0, 0.0, 35.0, 41.0)),
    Setting("more noise: 0.3", noise=0.3),
    Setting("blended borders", blend=4.0),
    Setting("twelve slants, neighbours 15° apart", slants=TWELVE),
    Setting("reverse loss weighs 0.3", weights=(1.0, 0.3, 1.0)),
    Setting("four times as long", steps=480),
    Setting(
        "twelve slants, blended, features finished, stretched mask",
        slants=TWELVE,
        blend=4.0,
        mask="normalised",
        finished=True,
    ),
)


@lru_cache(maxsize=8)
def images(n: int, seed: int, slants: tuple[float, ...], noise: float, blend: float) -> Scenes:
    """Grey images (n, 1, SIZE, SIZE) cut into six striped regions, and which stripes where."""
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    masks = np.zeros((n, SIZE, SIZE), np.int64)
    pictures = np.zeros((n, SIZE, SIZE))
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        many = max(6, len(slants))
        kinds = rng.permutation((np.arange(many) + rng.integers(many)) % len(slants))[:6]
        cy, cx = rng.uniform(0, SIZE, (2, 6, 1, 1))
        far = np.hypot(y - cy, x - cx)
        angle = np.deg2rad(np.array(slants))[kinds] + rng.normal(0, 0.03, 6)
        period, phase = 6 * rng.uniform(0.85, 1.15, 6), rng.uniform(0, 2 * np.pi, 6)
        a, p, q = (value[:, None, None] for value in (angle, period, phase))
        stripes = np.sin(2 * np.pi * (x * np.cos(a) + y * np.sin(a)) / p + q)
        masks[i] = kinds[far.argmin(0)]
        share = np.exp(-(far - far.min(0)) / blend) if blend else far == far.min(0)
        mixed = (share * stripes).sum(0) / share.sum(0)
        pictures[i] = gaussian_filter(0.5 + 0.25 * mixed, 0.5) + noise * rng.standard_normal(
            x.shape
        )
    return Scenes(
        images=torch.from_numpy(pictures.clip(0, 1).astype(np.float32))[:, None],
        masks=torch.from_numpy(masks),
        class_names=tuple(f"{slant:g}°" for slant in slants),
    )


class Branches(nn.Module):
    """Three convolutions and one or two heads; training mode returns what the losses need."""

    def __init__(self, rival: str, setting: Setting, classes: int) -> None:
        super().__init__()
        w, c = setting.width, 3 * setting.width // 2
        self.rival, last = rival, c
        self.mask: Mask = setting.mask
        if rival == "plain":  # as many parameters as two heads: 9 w c + 2 c + heads
            aim = 9 * c * c + 2 * c + 2 * (9 * c * classes + classes)
            last = -((classes - aim) // (9 * c + 2 + 9 * classes))
        self.features = nn.Sequential(
            conv_bn_relu(1, w, 3),
            conv_bn_relu(w, c, 3, stride=2),
            conv_bn_relu(c, last, 3, dilation=2),
        )
        self.original = nn.Conv2d(last, classes, 3, padding=1)
        self.reverse = None if rival == "plain" else nn.Conv2d(last, classes, 3, padding=1)

    def forward(self, batch: Tensor) -> Tensor | tuple[Tensor, Tensor, Tensor]:
        def up(logits: Tensor) -> Tensor:
            return F.interpolate(logits, size=batch.shape[-2:], mode="bilinear")

        features = self.features(batch)
        o = self.original(features)
        if self.reverse is None:
            return up(o)
        r = self.reverse(features)
        y = o + r if self.rival == "two heads" else reverse_attention(o, r, self.mask)
        return (up(o), up(r), up(y)) if self.training else up(y)


def _train(net: Branches, setting: Setting, scenes: Scenes, seed: int) -> None:
    sign = -1 if net.rival == "reverse attention" else 1

    def loss(output: Any, batch: dict[str, Tensor]) -> Tensor:
        if isinstance(output, Tensor):
            return losses.cross_entropy(output, batch["mask"])
        o, r, y = output
        terms = [losses.cross_entropy(logits, batch["mask"]) for logits in (o, sign * r, y)]
        return (torch.stack(terms) * torch.tensor(setting.weights)).sum()

    training.fit(
        net, scenes, loss, steps=setting.steps, batch_size=8, lr=LR, schedule=training.poly_lr,
        seed=seed, device="cpu", channels_last=True, progress=False,
    )  # fmt: skip


def run(setting: Setting, rival: str, seed: int) -> tuple[float, float, float]:
    """Train one network, on one thread.

    Returns its mean IoU, the rate at which its worst pair is confused, processor seconds.
    """
    torch.set_num_threads(1)
    start = time.process_time()
    classes = len(setting.slants)
    look = (setting.slants, setting.noise, setting.blend)
    torch.manual_seed(seed)
    net = Branches(rival, setting, classes)
    if setting.finished:
        apart = (90.0, 0.0, 45.0, 135.0)
        before = Branches("plain", setting, len(apart))
        before.features, before.original = net.features, nn.Conv2d(
            net.original.in_channels, len(apart), 3, padding=1
        )  # fmt: skip
        _train(before, setting, images(TRAIN, 20_000 + seed, apart, *look[1:]), seed)
        net.features.requires_grad_(False)
    _train(net, setting, images(TRAIN, seed, *look), seed)
    confusion = metrics.ConfusionMatrix(classes)
    test = images(TEST, 10_000 + seed, *look)
    with torch.no_grad():
        logits = net.eval()(test.images)
    assert isinstance(logits, Tensor)
    confusion.update(logits.argmax(1), test.masks)
    rates = confusion.matrix.double() / confusion.matrix.sum(1, keepdim=True).clamp(min=1)
    both = ((rates + rates.T) / 2).fill_diagonal_(0)
    return float(confusion.mean_iou()), float(both.max()), time.process_time() - start
