"""Every segmentation system on CUDA: the CPU's logits, and a training step in mixed precision."""

import pytest
import torch
from model_checks import randomise
from tiny_models import SEGMENTATION

from course.models.pspnet import auxiliary_loss
from course.models.reverse_attention import reverse_attention_loss

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]

systems = pytest.mark.parametrize("name", SEGMENTATION)


@systems
def test_logits_equal_those_of_the_cpu(name):
    build, size = SEGMENTATION[name]
    net, images = randomise(build()).double().eval(), torch.rand(2, 3, *size).double()
    expected = net(images)
    logits = net.cuda()(images.cuda())
    assert logits.is_cuda
    torch.testing.assert_close(logits.cpu(), expected)


@systems
def test_training_step_in_mixed_precision(name):
    build, size = SEGMENTATION[name]
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
