"""On one GPU: every system, tiles, CRF, metrics and boxes, beside peers and the machine's limits.

Nothing here is a gate on speed: absolute times belong to one card. Networks run in bfloat16 and
channels_last. `gpu_timing` says how to try the module without a GPU.
"""

import gc
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
import torch
import torchvision
from gpu_systems import System, peers, systems
from gpu_timing import (
    CUDA,
    DEVICE,
    copy_ceiling,
    flops,
    measured,
    milliseconds,
    product_ceiling,
    show,
    size,
)
from test_ground_speed import clustered, corner_boxes, street
from torch import Tensor

from course import models
from course.boxes import box_iou, greedy_nms, nms, roi_max_pool
from course.crf import mean_field
from course.geometry import count_macs
from course.metrics import ConfusionMatrix
from course.tiling import predict_tiled, tile_plan

pytestmark = [
    pytest.mark.bench,
    pytest.mark.gpu,
    pytest.mark.skipif(CUDA and not torch.cuda.is_available(), reason="no CUDA device"),
]


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    torch.manual_seed(0)
    yield
    gc.collect()
    if CUDA:
        torch.cuda.empty_cache()


def test_ceilings() -> None:
    rows = [
        ["matrix product bfloat16, TFLOP/s", product_ceiling(torch.bfloat16)],
        ["matrix product float32, TFLOP/s", product_ceiling(torch.float32)],
        ["copy, read and written, TB/s", copy_ceiling()],
    ]
    show("Ceilings of the machine", ["what", "reached"], rows)
    assert all(row[1] > 0 for row in rows)


def speed(system: System) -> list[list[object]]:
    """Two rows of numbers: the forward pass in evaluation mode, and a training step.

    A step counts as three forward passes: every layer also finds the gradients of its input and of
    its weights.
    """
    with torch.device(DEVICE):
        net = system.build().to(memory_format=torch.channels_last)
        images = torch.rand(system.shape).to(memory_format=torch.channels_last)

    def forward() -> Any:
        with torch.no_grad(), torch.autocast(DEVICE, torch.bfloat16):
            return net(images)

    def step() -> None:
        net.zero_grad()
        with torch.autocast(DEVICE, torch.bfloat16):
            loss = system.loss(net(images))
        loss.backward()

    rows = []
    for name, training, work in (("forward", False, forward), ("training step", True, step)):
        net.train(training)
        operations = 3 * flops(forward) if training else flops(forward)
        taken, memory = measured(work)
        reached = operations / taken / 1e9
        share = reached / product_ceiling(torch.bfloat16)
        shape = "x".join(map(str, system.shape))
        speeds = [taken, 1e3 * len(images) / taken, operations / 1e9, reached, share, memory]
        rows.append([shape, name, *speeds])
    assert all(p.grad is None or p.grad.isfinite().all() for p in net.parameters())
    return rows


def compared(title: str, candidates: dict[str, System]) -> None:
    heads = ["system", "input", "what", "ms", "inputs/s", "GFLOP", "TFLOP/s", "of the ceiling"]
    rows, failures = [], []
    for name, system in candidates.items():
        try:
            rows += [[name, *row] for row in speed(system)]
        except Exception as error:  # one system must not cost the table of all others
            failures.append(name)
            rows.append([name, *first_line(error)])
        gc.collect()
        if CUDA:
            torch.cuda.empty_cache()
    show(title, [*heads, "GiB beside the weights"], rows)
    assert not failures


def first_line(error: Exception) -> list[str]:
    return [f"{type(error).__name__}: {str(error).splitlines()[0][:150] if str(error) else ''}"]


def test_systems() -> None:
    compared("Systems, published configurations", systems())
    net = models.UNet(**({} if CUDA else {"width": 4}))
    shape = (1, 1, size(572, 188), size(572, 188))
    assert flops(lambda: net.to("meta")(torch.empty(shape, device="meta"))) == 2 * count_macs(
        net, shape
    )


def test_peers() -> None:
    compared("Systems of torchvision and segmentation_models_pytorch", peers())


def test_tiles() -> None:
    """A U-Net of the paper on one large grey image."""
    side, width = size(8192, 700), size(64, 4)
    with torch.device(DEVICE):
        net, image = models.UNet(width=width), torch.rand(1, side, side)
    plan = tile_plan(side, side, net.tile - 2 * net.border, multiple=net.multiple)
    tile = [edge + 2 * net.border for edge in plan.size]
    operations = 2 * count_macs(net, (1, 1, *tile)) * len(plan.boxes)
    options = {"dtype": torch.bfloat16, "progress": False}
    rows = []
    for batch in (1, 4, 16):
        work = partial(predict_tiled, net, image, batch_size=batch, **options)
        taken, memory = measured(work, least=2)
        share = operations / taken / 1e9 / product_ceiling(torch.bfloat16)
        numbers = [taken / 1e3, side**2 / taken / 1e3, operations / 1e12, share, memory]
        rows.append([f"{side}x{side}", "x".join(map(str, tile)), batch, *numbers])
    heads = ["image", "tile", "tiles a call", "s", "Mpixel/s", "TFLOP", "of the ceiling"]
    show("Tiles of a U-Net", [*heads, "GiB beside the input"], rows)
    scores = predict_tiled(net, image, batch_size=4, **options)
    assert scores.shape == (2, side, side)
    assert scores.isfinite().all()
    assert scores.device.type == DEVICE


def test_dense_crf() -> None:
    options = {"w1": 10, "sigma_alpha": 80, "sigma_beta": 13, "w2": 3, "sigma_gamma": 3}
    rows, small = [], (size(213, 32), size(320, 48))
    for shape in (small, (size(1024, 64), size(1024, 64))):
        logits, image = (part.to(DEVICE) for part in street(shape))
        work = partial(mean_field, logits, image, **options)
        rows.append([f"{shape[0]}x{shape[1]}x21", DEVICE, *measured(work)])
    logits, image = street(small)
    start = time.perf_counter()
    expected = mean_field(logits, image, **options).argmax(1)
    taken = 1e3 * (time.perf_counter() - start)
    where = f"CPU, {torch.get_num_threads()} threads"
    rows.append([f"{small[0]}x{small[1]}x21", where, taken, ""])
    labels = mean_field(logits.to(DEVICE), image.to(DEVICE), **options).argmax(1).cpu()
    equal = (labels == expected).double().mean().item()
    rows.append(["labels of the CPU", DEVICE, f"{equal:.6f} equal", ""])
    show("Dense CRF, 10 iterations", ["image", "where", "ms", "GiB beside the input"], rows)
    assert equal >= 0.999


def test_confusion_matrix() -> None:
    peer = pytest.importorskip("torchmetrics.classification", reason="torchmetrics is missing")
    shape = (size(64, 2), size(1024, 64), size(1024, 64))
    rows, tables = [], []
    for dtype in (torch.uint8, torch.int64):
        pred = torch.randint(0, 21, shape, device=DEVICE, dtype=dtype)
        target = torch.randint(0, 21, shape, device=DEVICE, dtype=dtype)
        target[torch.rand(shape, device=DEVICE) < 0.1] = 255
        ours = ConfusionMatrix(21)
        theirs = peer.MulticlassConfusionMatrix(21, ignore_index=255, validate_args=False)
        theirs = theirs.to(DEVICE)
        read = 2 * pred.numel() * pred.element_size()
        for name, tally in (("course", ours), ("torchmetrics", theirs)):
            tally.update(pred, target)
            tables.append(tally.matrix if tally is ours else tally.compute())
            taken, memory = measured(partial(tally.update, pred, target))
            share = read / taken / 1e9 / copy_ceiling()
            rows.append([name, str(dtype)[6:], taken, read / taken / 1e9, share, memory])
        assert torch.equal(tables[-1], tables[-2])
    heads = ["who", "labels", "ms", "TB/s read", "of the copy", "GiB beside the input"]
    show(f"Confusion matrix of {'x'.join(map(str, shape))} labels, 21 classes", heads, rows)


def test_boxes() -> None:
    ops, rows = torchvision.ops, []

    def against(name: str, ours: Callable[[], Tensor], theirs: Callable[[], Tensor]) -> None:
        result, expected = ours(), theirs()
        same = torch.isclose if result.is_floating_point() else torch.isin
        assert same(result, expected).double().mean() >= 0.999
        (a, memory_a), (b, memory_b) = measured(ours), measured(theirs)
        rows.append([name, a, b, a / b, memory_a, memory_b])

    n = size(4000, 40)
    a, b = (corner_boxes(n, 400, 100, seed=seed).to(DEVICE) for seed in (0, 1))
    against(f"box_iou {n}x{n}", lambda: box_iou(a, b), lambda: ops.box_iou(a, b))
    boxes, scores = (part.to(DEVICE) for part in clustered(size(10_000, 100), size(200, 5)))
    theirs = lambda: ops.nms(boxes, scores, 0.5)  # noqa: E731
    against(f"nms {len(boxes)}", lambda: nms(boxes, scores, 0.5), theirs)
    against(f"greedy_nms {len(boxes)}", lambda: greedy_nms(boxes, scores, 0.5), theirs)

    feature = torch.randn(2, size(512, 8), 38, 50, device=DEVICE).relu().requires_grad_()
    edge = torch.tensor([800.0, 608, 800, 608])
    regions = [corner_boxes(size(128, 4), 450, 300, seed).minimum(edge) for seed in (0, 1)]
    regions = [rows_of_image.to(DEVICE) for rows_of_image in regions]
    pool = lambda: roi_max_pool(feature, regions, 7, 1 / 16)  # noqa: E731
    peer = lambda: ops.roi_pool(feature, regions, 7, 1 / 16)  # noqa: E731
    gradient = lambda y: torch.autograd.grad((y * y.detach()).sum(), feature)[0]  # noqa: E731
    against(f"roi_max_pool {2 * len(regions[0])}", pool, peer)
    against("  and its gradient", lambda: gradient(pool()), lambda: gradient(peer()))
    heads = ["what", "course ms", "torchvision ms", "ratio", "course GiB", "torchvision GiB"]
    show("Boxes", heads, rows)


def test_compiled() -> None:
    """One graph each, in bfloat16; the last test, because compiling takes longest."""
    rows, failures = [], []
    for name in ("SegNet", "UNet", "PSPNet50"):
        system = systems()[name]
        with torch.device(DEVICE):
            net = system.build().eval().to(torch.bfloat16, memory_format=torch.channels_last)
            images = torch.rand(system.shape, dtype=torch.bfloat16)
        images = images.to(memory_format=torch.channels_last)
        try:
            with torch.no_grad():
                eager = milliseconds(partial(net, images))
                torch.compiler.reset()
                compiled = torch.compile(net, fullgraph=True)
                start = time.perf_counter()
                result = compiled(images).float()
                if CUDA:
                    torch.cuda.synchronize()
                taken = time.perf_counter() - start
                error = (result - net(images).float()).abs().mean() / result.abs().mean()
                after = milliseconds(partial(compiled, images))
            rows.append([name, taken, eager, after, after / eager, error.item()])
        except Exception as error:  # no compiler on this machine, for example
            failures.append(name)
            rows.append([name, *first_line(error)])
    heads = ["system", "compiling, s", "eager ms", "compiled ms", "ratio", "relative difference"]
    show("torch.compile, forward in bfloat16", heads, rows)
    assert not failures
