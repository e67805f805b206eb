"""The ground floor beside what users would pick instead: ratios of minima, one thread each.

The two sides take turns, so that a busy machine slows both. Times are processor times, which do not
count what other programs take.
"""

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

from course.boxes import box_iou, greedy_nms, nms, roi_max_pool
from course.crf import mean_field
from course.geometry import count_macs
from course.upsampling import bilinear_upsample, bilinear_weight, upsampled_argmax
from course.windows import dense_equivalent, mirror_border, scan

pytestmark = pytest.mark.bench


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def ratio(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int = 9,
    clock: Callable[[], float] = time.process_time,
) -> float:
    """Shortest time of ours over shortest time of theirs, in alternating runs after one warm-up."""
    best = [float("inf"), float("inf")]
    for number in range(rounds + 1):
        for i, work in enumerate((ours, theirs)):
            start = clock()
            work()
            if number:
                best[i] = min(best[i], clock() - start)
    print(f"\nours {1e3 * best[0]:.2f} ms, theirs {1e3 * best[1]:.2f} ms, {best[0] / best[1]:.3f}")
    return best[0] / best[1]


def corner_boxes(n: int, span: float, size: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(n, 2, generator=generator) * span
    return torch.cat([corner, corner + 1 + torch.rand(n, 2, generator=generator) * size], 1)


def test_pairwise_iou() -> None:
    a, b = corner_boxes(1000, 100, 100), corner_boxes(1000, 100, 100, seed=1)
    torch.testing.assert_close(box_iou(a, b), torchvision.ops.box_iou(a, b))
    assert ratio(lambda: box_iou(a, b), lambda: torchvision.ops.box_iou(a, b), 30) <= 0.30


def clustered(n: int, objects: int) -> tuple[Tensor, Tensor]:
    """Detections scattered around few objects."""
    generator = torch.Generator().manual_seed(0)
    corner = (torch.rand(objects, 2, generator=generator) * 800)[
        torch.randint(objects, (n,), generator=generator)
    ]
    corner = corner + 8 * torch.randn(n, 2, generator=generator)
    size = 60 + 8 * torch.randn(n, 2, generator=generator)
    return torch.cat([corner, corner + size], 1), torch.rand(n, generator=generator)


def separate(n: int) -> tuple[Tensor, Tensor]:
    """Detections that do not overlap: the worst case, everything is kept."""
    place = torch.arange(n)
    corner = 10.0 * torch.stack([place % 100, place // 100], 1)
    scores = torch.rand(n, generator=torch.Generator().manual_seed(0))
    return torch.cat([corner, corner + 9], 1), scores


@pytest.mark.parametrize(
    ("detections", "bound", "rounds"),
    [
        (clustered(1000, 100), 2.0, 40),
        (clustered(10_000, 200), 1.3, 9),
        (separate(10_000), 1.5, 5),
    ],
    ids=["1k", "10k-clustered", "10k-kept"],
)
def test_teaching_suppression_against_the_compiled_one(detections, bound, rounds) -> None:
    boxes, scores = detections
    assert torch.equal(greedy_nms(boxes, scores, 0.5), nms(boxes, scores, 0.5))
    theirs = lambda: torchvision.ops.nms(boxes, scores, 0.5)  # noqa: E731
    assert ratio(lambda: greedy_nms(boxes, scores, 0.5), theirs, rounds) <= bound


def textbook_nms(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Take the best, drop what overlaps it, repeat."""
    order, kept = scores.argsort(descending=True), []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(best)
        overlaps = torchvision.ops.box_iou(boxes[best][None], boxes[order])[0]
        order = order[overlaps <= iou]
    return torch.stack(kept)


@pytest.mark.parametrize("n", [1000, 10_000])
def test_teaching_suppression_against_the_textbook(n: int) -> None:
    boxes, scores = clustered(n, n // 50)
    assert torch.equal(greedy_nms(boxes, scores, 0.5), textbook_nms(boxes, scores, 0.5))
    theirs = lambda: textbook_nms(boxes, scores, 0.5)  # noqa: E731
    assert ratio(lambda: greedy_nms(boxes, scores, 0.5), theirs, 5) <= 0.3


@pytest.fixture(scope="module")
def regions() -> tuple[Tensor, Tensor]:
    """conv5 of VGG16 for an 800 x 608 image, and 128 proposals."""
    feature = torch.randn(1, 512, 38, 50, generator=torch.Generator().manual_seed(0)).relu()
    boxes = corner_boxes(128, 450, 300)
    return feature, torch.minimum(boxes, torch.tensor([800.0, 608, 800, 608]))


def test_roi_pooling(regions) -> None:
    feature, boxes = regions
    theirs = lambda: torchvision.ops.roi_pool(feature, [boxes], 7, 1 / 16)  # noqa: E731
    assert torch.equal(roi_max_pool(feature, boxes, 7, 1 / 16), theirs())
    assert ratio(lambda: roi_max_pool(feature, boxes, 7, 1 / 16), theirs) <= 0.6


def test_roi_pooling_with_its_gradient(regions) -> None:
    feature, boxes = regions
    feature = feature.clone().requires_grad_()
    theirs = lambda: torchvision.ops.roi_pool(feature, [boxes], 7, 1 / 16).sum().backward()  # noqa: E731
    assert ratio(lambda: roi_max_pool(feature, boxes, 7, 1 / 16).sum().backward(), theirs) <= 1.0


def patch_net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 32, 5), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 25, 64), nn.ReLU(), nn.Linear(64, 2),
    ).eval()  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("side", "stride"), [(64, 1), (256, 8)])
def test_dense_labels_against_batches_of_patches(side: int, stride: int) -> None:
    net = patch_net()
    dense = dense_equivalent(net)
    image = torch.rand(1, side, side, generator=torch.Generator().manual_seed(0))
    ours = lambda: dense(mirror_border(image, 32)[None])[0]  # noqa: E731
    theirs = lambda: scan(image, net, 32, stride)  # noqa: E731
    # Of the large image the patches label only every stride-th pixel, to end within a second.
    torch.testing.assert_close(ours()[:, ::stride, ::stride], theirs(), atol=1e-6, rtol=0)
    assert ratio(ours, theirs, 3) <= 0.02 * stride**2


@torch.no_grad()
@pytest.mark.parametrize("side", [64, 256])
def test_dense_labels_against_the_speed_of_a_matrix_product(side: int) -> None:
    dense = dense_equivalent(patch_net())
    image = mirror_border(torch.rand(1, side, side), 32)[None]
    a = torch.rand(512, 512)
    products = count_macs(dense, tuple(image.shape)) / 512**3
    assert ratio(lambda: dense(image), lambda: a @ a, 20) / products <= 2


@torch.no_grad()
def test_fixed_bilinear_upsampling() -> None:
    x = torch.randn(1, 21, 16, 16, generator=torch.Generator().manual_seed(0))
    weight = bilinear_weight(21, 32)
    theirs = lambda: F.conv_transpose2d(x, weight, stride=32, padding=16)  # noqa: E731
    ours = lambda: bilinear_upsample(x, 32)  # noqa: E731
    assert ours().shape == (1, 21, 512, 512)
    torch.testing.assert_close(ours(), theirs(), atol=1e-6, rtol=1e-5)
    assert ratio(ours, theirs) <= 0.1


def test_labels_from_coarse_scores() -> None:
    """From the scores at stride 8 to a label for every pixel: 65 to 513 pixels, 21 classes."""
    scores = torch.randn(1, 21, 65, 65, generator=torch.Generator().manual_seed(0))

    def theirs() -> Tensor:
        wide = F.interpolate(scores, (520, 520), mode="bilinear", align_corners=False)
        return wide.argmax(1)

    def ours() -> Tensor:
        return upsampled_argmax(scores, 8)

    assert (ours() == theirs()).float().mean() >= 0.9999
    assert ratio(ours, theirs) <= 0.3


def street(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Scores (1, 21, H, W) and an image in bytes: soft blobs with sensor noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = 3 * torch.randn(1, 21, 14, 20, generator=generator)
    logits = F.interpolate(coarse, size, mode="bilinear")
    palette = 255 * torch.rand(21, 3, generator=generator)
    clean = palette[logits.argmax(1)].permute(0, 3, 1, 2)
    image = clean + 6 * torch.randn(clean.shape, generator=generator)
    return logits, image.clamp(0, 255).byte()


@pytest.mark.parametrize(
    ("size", "threads", "bound"),
    [((213, 320), 1, 0.85), ((213, 320), 2, 0.6), ((375, 500), 2, 0.5)],
)
def test_dense_crf(size: tuple[int, int], threads: int, bound: float) -> None:
    """With two threads the clock counts, not the processor: it needs two idle cores."""
    peer = pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf is not installed")
    logits, image = street(size)
    unary = np.ascontiguousarray(-logits[0].flatten(1).log_softmax(0).numpy())
    pixels = np.ascontiguousarray(image[0].permute(1, 2, 0).numpy())

    def theirs() -> np.ndarray:
        field = peer.DenseCRF2D(size[1], size[0], 21)
        field.setUnaryEnergy(unary)
        field.addPairwiseGaussian(sxy=3, compat=3)
        field.addPairwiseBilateral(sxy=80, srgb=13, rgbim=pixels, compat=10)
        return np.array(field.inference(10))

    def ours() -> Tensor:
        return mean_field(
            logits, image, w1=10, sigma_alpha=80, sigma_beta=13, w2=3, sigma_gamma=3, iterations=10
        )

    torch.set_num_threads(threads)
    labels = torch.from_numpy(theirs()).argmax(0).view(size)
    assert (ours().argmax(1)[0] == labels).float().mean() >= 0.9999
    clock = time.process_time if threads == 1 else time.perf_counter
    assert ratio(ours, theirs, 5, clock) <= bound


def test_start_up() -> None:
    """Importing the ground floor, models and checks adds little to torch, and no torchvision."""
    rooms = [
        "boxes",
        "windows",
        "geometry",
        "metrics",
        "losses",
        "upsampling",
        "tiling",
        "crf",
        "models",
        "checks",
    ]
    names = ", ".join(f"course.{room}" for room in rooms)
    code = f"import torch, {names}, sys; assert 'torchvision' not in sys.modules"

    def seconds(code: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime - before.ru_utime

    runs = [(seconds("import torch"), seconds(code)) for _ in range(5)]
    alone, both = (min(column) for column in zip(*runs))
    print(f"\ntorch {alone:.2f} s, with the course {both:.2f} s")
    assert both - alone <= 0.1
