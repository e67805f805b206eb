"""Train the small FCN whose score maps the demo `fcn_skips` weighs, and store them.

    python -m course.demos.stored.make_fcn_skips

The network is `course.models.FCN8s` at an eighth of its width. It is trained on the sum of three
losses: of its scores at stride 32 alone, with those of stride 16, and with those of stride 8, so
that the three stored maps are at once those of an FCN-32s, an FCN-16s and an FCN-8s. (The paper
trains one after the other.) Takes some four minutes of one processor. Reference: Long, Shelhamer,
Darrell, CVPR 2015, arXiv:1411.4038, section 4.2.
"""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from course.data import lines
from course.data.container import Scenes
from course.losses import cross_entropy
from course.models import FCN8s
from course.training import fit, poly_lr
from course.upsampling import bilinear_upsample

SIZE = (128, 192)
FILE = Path(__file__).with_name("fcn_skips.npz")
SHOWN = {"A": 3, "B": 6}  # which test scenes the demo shows
HEADS = ("score7", "score4", "score3")  # strides 32, 16, 8


def scenes(n: int, seed: int) -> Scenes:
    """Bars and discs of the same brightness, the bars 10 pixels wide: a third of stride 32."""
    return lines(n, SIZE, seed=seed, thickness=10.0, count=(2, 3), discs=(2, 3))


class Sums(nn.Module):
    """The scores of a network with no, one and two skips, each enlarged to pixels."""

    def __init__(self, net: FCN8s) -> None:
        super().__init__()
        self.net = net

    def maps(self, images: Tensor) -> list[Tensor]:
        """Scores (B, K, h, w) at strides 32, 16 and 8."""
        found: dict[str, Tensor] = {}

        def keep(name: str):
            return lambda _module, _inputs, scores: found.update({name: scores})

        hooks = [getattr(self.net, n).register_forward_hook(keep(n)) for n in HEADS]
        self.net(images)
        for hook in hooks:
            hook.remove()
        return [found[name] for name in HEADS]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Logits (B, K, H, W) of FCN-32s, FCN-16s and FCN-8s."""
        sums = accumulate(
            self.maps(images), lambda coarse, fine: bilinear_upsample(coarse, 2) + fine
        )
        pixels = []
        for k, scores in enumerate(sums):
            for _ in range(2 - k):
                scores = bilinear_upsample(scores, 2)
            pixels.append(bilinear_upsample(scores, 8))
        return pixels


def train(steps: int = 600, *, images: int = 200, width: int = 12, seed: int = 0) -> Sums:
    """The network after `steps` updates on `images` scenes."""
    torch.manual_seed(seed)
    net = FCN8s(3, in_channels=1, width=width, padding=1, upsampling="fixed", dropout=0.0)
    sums = Sums(net)

    def loss(logits: list[Tensor], batch: dict[str, Tensor]) -> Tensor:
        return torch.stack([cross_entropy(one, batch["mask"]) for one in logits]).sum()

    data = scenes(images, seed + 1)
    fit(sums, data, loss, steps=steps, lr=2e-3, schedule=poly_lr, seed=seed, device="cpu")
    return sums.eval()


def store(sums: Sums, file: Path = FILE) -> None:
    """Write the shown scenes, their labels and their score maps."""
    test = scenes(12, 999)
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, index in SHOWN.items():
        image, mask = test.images[index], test.masks[index]
        arrays[f"{name}_image"] = (255 * image[0]).round().byte().numpy()
        arrays[f"{name}_truth"] = mask.byte().numpy()
        with torch.no_grad():
            for stride, scores in zip((32, 16, 8), sums.maps(image[None])):
                arrays[f"{name}_{stride}"] = scores[0].numpy().astype(np.float16)
    np.savez_compressed(file, allow_pickle=False, **arrays)


if __name__ == "__main__":
    store(train())
