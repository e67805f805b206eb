from itertools import pairwise

import pytest
import torch
from model_checks import (
    check_contract,
    check_gradients,
    meta_shape,
    overfit,
    parameters,
    randomise,
    receptive_field,
    two_scenes,
    uneven,
)
from torch import Tensor, nn
from torch.nn import functional as F

from course.geometry import count_macs
from course.models import SegNet, SegNetBasic

both = pytest.mark.parametrize("model", [SegNet, SegNetBasic])


@pytest.mark.parametrize(
    ("classes", "bias", "count"),
    [
        (11, True, 29_449_355),
        (12, True, 29_449_932),
        (21, True, 29_455_125),
        (37, True, 29_464_357),
        (11, False, 29_441_408),
    ],
)
def test_published_parameters(classes, bias, count):
    assert parameters(lambda: SegNet(classes, bias=bias)) == count


def test_published_parameters_of_basic():
    assert parameters(SegNetBasic) == 1_416_587


def test_published_sizes_and_cost(monkeypatch):
    levels, unpool = [], F.max_unpool2d

    def spy(x, indices, *args, **options):
        y = unpool(x, indices, *args, **options)
        levels.append((tuple(x.shape[-2:]), tuple(y.shape[-2:])))
        return y

    monkeypatch.setattr(F, "max_unpool2d", spy)
    assert meta_shape(SegNet, 2, 3, 360, 480) == (2, 11, 360, 480)
    sizes = [(12, 15), (23, 30), (45, 60), (90, 120), (180, 240), (360, 480)]
    assert levels == list(pairwise(sizes))
    monkeypatch.undo()
    assert count_macs(SegNet(), (1, 3, 360, 480)) == pytest.approx(106.71e9, abs=5e6)


@both
@pytest.mark.parametrize("size", [(1, 1), (33, 45), (17, 62)])
def test_any_size_works(model, size):
    assert model(4, width=2).eval()(torch.rand(2, 3, *size)).shape == (2, 4, *size)


def _unpool(values: Tensor, index: Tensor, size: torch.Size) -> Tensor:
    """Put values back one by one: independent of torch's unpooling."""
    out = torch.zeros(*values.shape[:2], *size, dtype=values.dtype)
    for b in range(values.shape[0]):
        for c in range(values.shape[1]):
            out[b, c].view(-1)[index[b, c].flatten()] = values[b, c].flatten()
    return out


@both
def test_logits_equal_a_recomputation_from_the_weights(model):
    net = randomise(model(3, width=3)).double().eval()
    images = torch.rand(2, 3, 43, 37, dtype=torch.float64)
    state = list(net.state_dict().values())
    blocks = [state[i : i + 7] for i in range(0, len(state) - 2, 7)]  # weight, bias, 5 of BN
    deep = model is SegNet

    def block(x, relu):
        weight, bias, gamma, beta, mean, var, _ = blocks.pop(0)
        x = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
        x = gamma[:, None, None] * (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        x = x + beta[:, None, None]
        return x.clamp(min=0) if relu else x

    x, switches = images, []
    if not deep:
        x = 255 * x  # the released constants belong to these; a window of 5 sees all 3 channels
        x = x / (1 + 1e-4 / 5 * (x**2).sum(1, keepdim=True)) ** 0.75 / 255
    for convolutions in (2, 2, 3, 3, 3) if deep else (1, 1, 1, 1):
        for _ in range(convolutions):
            x = block(x, relu=True)
        switches.append(x.shape[-2:])
        x, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        switches.append(index)
    for convolutions in (3, 3, 3, 2, 1) if deep else (1, 1, 1, 1):
        index, size = switches.pop(), switches.pop()
        x = _unpool(x, index, size)
        for _ in range(convolutions):
            x = block(x, relu=deep)
    assert not blocks
    assert not switches
    weight, bias = state[-2:]
    expected = F.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)
    torch.testing.assert_close(net(images), expected)
    assert (expected < 0).any()  # no ReLU on the logits


@both
def test_the_classifier_starts_as_all_other_convolutions_do(model):
    torch.manual_seed(0)
    net = model(16, width=32)
    inputs = net.classifier.weight[0].numel()
    assert net.classifier.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=0.1)
    assert not net.classifier.bias.any()


def test_decoder_has_weights_of_its_own():
    net = SegNet(3, width=2)
    pointers = [p.data_ptr() for p in net.parameters()]
    assert len(set(pointers)) == len(pointers)
    order = [type(layer) for layer in net.decoder[0].children()]
    assert order == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU] * 3


@pytest.mark.parametrize(("model", "extent"), [(SegNet, 212), (SegNetBasic, 106)])
def test_receptive_field_of_the_encoder(monkeypatch, model, extent):
    net = model(1, width=1).eval()

    def encode(x):
        for stage in net.encoder:
            x = F.max_pool2d(stage(x), 2, ceil_mode=True)
        return x

    assert receptive_field(monkeypatch, net, 640, encode)[0] == extent


@both
def test_contract(model):
    check_contract(model(4, width=4), torch.rand(2, 3, 45, 34), 4, tolerance=0.5)


@both
def test_gradients_reach_every_parameter(model):
    check_gradients(model(3, width=4).eval(), torch.rand(2, 3, 45, 34), uneven)


@both
def test_overfits_two_scenes(model):
    torch.manual_seed(0)
    net = model(3, width=8)
    assert overfit(net, *two_scenes((64, 48)), steps=25, lr=3e-2) > 0.95


@both
@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (torch.zeros(1, 1, 32, 32), ValueError, r"\(B, 3, H, W\), got shape \(1, 1, 32, 32\)"),
        (torch.zeros(1, 3, 0, 32), ValueError, "without pixels"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.int64), TypeError, "expects float images"),
    ],
)
def test_bad_images(model, images, error, message):
    with pytest.raises(error, match=message):
        model(2, width=2)(images)
