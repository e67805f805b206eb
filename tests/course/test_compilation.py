"""torch.compile takes each network as one graph; Fast R-CNN says why it cannot be one."""

import re

import pytest
import torch
from model_checks import randomise
from tiny_models import DETECTION, SEGMENTATION, TINY
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from course import models
from course.models.fastfcn import FastFCN
from course.models.resnet import ResNet
from course.models.yolo_grid import decode_grid
from course.windows import dense_equivalent

NETS = {
    **SEGMENTATION,
    **DETECTION,
    "PixelClassifier dense": (
        lambda: dense_equivalent(
            nn.Sequential(
                nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 2)
            )
        ),
        (30, 29),
    ),
    "JPU": (lambda: Pyramid(), (32, 32)),
    "ResNet": (lambda: ResNet((1, 1, 1, 1), width=4, output_stride=8), (33, 41)),
    "FCN32s published": (lambda: models.FCN32s(3, width=2, dropout=0.0), (45, 34)),
    "FCN16s fixed": (
        lambda: models.FCN16s(3, width=2, upsampling="fixed", dropout=0.0),
        (45, 34),
    ),
    **{
        f"FastFCN {head}": (
            lambda head=head: FastFCN(3, head=head, dropout=0.0, **TINY),
            (45, 34),
        )
        for head in ("psp", "aspp", "encnet")
    },
    "ReverseAttentionNet simple": (
        lambda: models.ReverseAttentionNet(3, mask="simple", **TINY),
        (33, 41),
    ),
}


class Pyramid(nn.Module):
    """Three maps, as a backbone gives them, and the pyramid that joins them."""

    def __init__(self) -> None:
        super().__init__()
        self.maps = nn.ModuleList(nn.Conv2d(3, 4, 3, stride, 1) for stride in (1, 2, 4))
        self.join = models.JPU((4, 4, 4), width=8)

    def forward(self, images: Tensor) -> Tensor:
        return self.join(*[one(images) for one in self.maps])


def test_every_network_is_here():
    public = {name: getattr(models, name) for name in models.__all__}
    networks = {n for n, c in public.items() if isinstance(c, type) and issubclass(c, nn.Module)}
    sizes = {n for n in networks if re.fullmatch(r"(FCDenseNet|PSPNet)\d+", n)}  # of one class
    here = {name.split()[0] for name in NETS}
    assert networks - sizes == here - {"ResNet"} | {"FastRCNN"}


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
@pytest.mark.parametrize("name", NETS)
def test_one_graph_with_the_same_values_and_gradients(name, training):
    build, size = NETS[name]
    images = torch.rand(2, 3, *size)
    results = []
    for compiled in (False, True):
        torch.compiler.reset()
        net = randomise(build()).train(training)
        run = torch.compile(net, fullgraph=True, backend="eager") if compiled else net
        torch.manual_seed(0)
        outputs = [x for x in pytree.tree_leaves(run(images)) if isinstance(x, Tensor)]
        sum(x.square().mean() for x in outputs).backward()
        results.append((outputs, [p.grad for p in net.parameters()]))
    torch.testing.assert_close(*results)


def test_boxes_of_a_grid_are_decoded_in_one_graph():
    grid = models.YOLO.miniature().eval()(torch.rand(2, 3, 48, 48))
    decode = torch.compile(decode_grid, fullgraph=True, backend="eager")
    torch.testing.assert_close(decode(grid, (48, 48)), decode_grid(grid, (48, 48)))


def test_fast_rcnn_compiles_around_its_pooling():
    """The host reads the boxes: all convolutions are one graph, all linear layers another."""
    net = randomise(models.FastRCNN.miniature(4)).eval()
    images = torch.rand(2, 3, 48, 64)
    regions = [torch.tensor([[0.0, 0, 20, 12], [8, 8, 40, 30]]), torch.zeros(0, 4)]
    torch.compiler.reset()
    graphs = []

    def keep(module, _inputs):
        graphs.append(" ".join(str(node.target) for node in module.graph.nodes))
        return module.forward

    compiled = torch.compile(net, backend=keep)
    torch.testing.assert_close(compiled(images, regions), net(images, regions))
    for layer, count in (("conv2d", 7), ("linear", 4)):
        assert [g.count(f" {layer}") for g in graphs if layer in g] == [count], layer
