"""Every segmentation system on CUDA: the CPU's logits, and a training step in mixed precision."""

import pytest
import torch
from model_checks import randomise

from course import models
from course.models.fc_densenet import FCDenseNet
from course.models.pspnet import PSPNet, auxiliary_loss
from course.models.reverse_attention import reverse_attention_loss

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

TINY = {"layers": (1, 1, 1, 1), "width": 4}
SYSTEMS = {
    "PixelClassifier": (lambda: models.PixelClassifier(3, in_channels=3, width=4), (111, 143)),
    "OverFeat": (lambda: models.OverFeat("fast", 3, width=6, dropout=0.0), (231, 263)),
    "FCN8s": (lambda: models.FCN8s(3, width=4, dropout=0.0), (45, 70)),
    "FCN32s fixed": (
        lambda: models.FCN32s(3, width=4, padding=1, upsampling="fixed", dropout=0.0),
        (45, 70),
    ),
    "DeconvNet": (lambda: models.DeconvNet(3, width=4, window=2), (64, 70)),
    "SegNet": (lambda: models.SegNet(3, width=4), (45, 70)),
    "SegNetBasic": (lambda: models.SegNetBasic(3, width=4), (45, 70)),
    "FCDenseNet": (
        lambda: FCDenseNet(3, blocks=(2, 2), bottleneck=2, growth=4, first_maps=8, dropout=0.0),
        (45, 70),
    ),
    "DeepLabLargeFOV": (lambda: models.DeepLabLargeFOV(3, width=4, dropout=0.0), (45, 70)),
    "DeepLabV2": (lambda: models.DeepLabV2(3, **TINY), (45, 70)),
    "PSPNet": (lambda: PSPNet(num_classes=3, auxiliary=True, dropout=0.0, **TINY), (45, 70)),
    "FastFCN": (lambda: models.FastFCN(3, auxiliary=True, dropout=0.0, **TINY), (45, 70)),
    "ReverseAttentionNet": (lambda: models.ReverseAttentionNet(3, **TINY), (45, 70)),
}
systems = pytest.mark.parametrize("name", SYSTEMS)


@systems
def test_logits_equal_those_of_the_cpu(name):
    build, size = SYSTEMS[name]
    net, images = randomise(build()).double().eval(), torch.rand(2, 3, *size).double()
    expected = net(images)
    logits = net.cuda()(images.cuda())
    assert logits.is_cuda
    torch.testing.assert_close(logits.cpu(), expected)


@systems
def test_training_step_in_mixed_precision(name):
    build, size = SYSTEMS[name]
    net, images = build().cuda().train(), torch.rand(2, 3, *size, device="cuda")
    loss = reverse_attention_loss if name == "ReverseAttentionNet" else auxiliary_loss
    with torch.autocast("cuda", dtype=torch.bfloat16):
        output = net(images)
    first = output if isinstance(output, torch.Tensor) else output[0]
    labels = torch.randint(0, 3, (2, *first.shape[-2:]), device="cuda")
    loss(output, labels).backward()
    for parameter_name, parameter in net.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
