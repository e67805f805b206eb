import pytest
import torch
from model_checks import (
    check_contract,
    check_gradients,
    meta_shape,
    overfit,
    parameters,
    randomise,
    two_scenes,
    uneven,
)
from torch.nn import functional as F

from course.geometry import count_macs
from course.models import DeconvNet


def test_published_parameters_and_cost():
    assert parameters(DeconvNet) == 251_805_653
    with torch.device("meta"):
        net = DeconvNet()
    assert count_macs(net, (1, 3, 224, 224)) == pytest.approx(32.75e9, abs=5e6)


def test_published_sizes():
    with torch.device("meta"):
        net = DeconvNet().eval()
        sizes = []
        for stage in (net.fc6, net.fc7, net.fc6_deconv, *net.decoder):
            stage.register_forward_hook(lambda _, __, y: sizes.append(tuple(y.shape[1:])))
        assert net(torch.empty(2, 3, 224, 224)).shape == (2, 21, 224, 224)
    maps = ((4096, 1), (4096, 1), (512, 7), (512, 14), (256, 28), (128, 56), (64, 112), (64, 224))
    assert sizes == [(c, n, n) for c, n in maps]


@pytest.mark.parametrize("size", [(193, 224), (225, 260)])
def test_larger_and_odd_sizes_come_back(size):
    assert meta_shape(DeconvNet, 1, 3, *size) == (1, 21, *size)


def test_logits_equal_a_recomputation_from_the_weights():
    net = randomise(DeconvNet(3, width=2, window=2)).double().eval()
    images = torch.rand(2, 3, 43, 70, dtype=torch.float64)
    state = list(net.state_dict().values())
    blocks = [state[i : i + 7] for i in range(0, len(state) - 2, 7)]

    def block(x, padding, transposed=False):
        weight, bias, gamma, beta, mean, var, _ = blocks.pop(0)
        if transposed:  # a convolution with the kernel turned round and its axes exchanged
            weight = weight.flip(2, 3).transpose(0, 1)
        x = F.conv2d(x, weight, bias, padding=padding)
        x = F.batch_norm(x, mean, var, gamma, beta)
        return x.clamp(min=0)

    x, switches = images, []
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            x = block(x, 1)
        size = x.shape[-2:]
        x, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        switches.append((index, size))
    x = block(x, 0)
    x = block(x, 0)
    x = block(x, 1, transposed=True)
    for convolutions, (index, size) in zip((3, 3, 3, 2, 2), reversed(switches)):
        flat = torch.zeros(*x.shape[:2], size[0] * size[1], dtype=x.dtype)
        x = flat.scatter(2, index.flatten(2), x.flatten(2)).unflatten(2, size)
        for _ in range(convolutions):
            x = block(x, 1, transposed=True)
    assert not blocks
    expected = F.conv2d(x, *state[-2:])
    torch.testing.assert_close(net(images), expected)


def test_contract():
    check_contract(DeconvNet(4, width=4, window=2), torch.rand(2, 3, 50, 64), 4, tolerance=0.5)


def test_gradients_reach_every_parameter():
    net = DeconvNet(3, width=4, window=1).eval()
    check_gradients(net, torch.rand(2, 3, 45, 34), uneven)


def test_overfits_two_scenes():
    torch.manual_seed(0)
    net = DeconvNet(3, width=4, window=1)
    assert overfit(net, *two_scenes((64, 48)), steps=30, lr=3e-2) > 0.95


def test_pretrained_weights_fill_both_layers_with_the_published_window(monkeypatch):
    monkeypatch.setattr("course.models.deconvnet.load_vgg16", lambda stages, weights: weights)
    fc6, fc7 = torch.nn.Linear(16 * 7 * 7, 128), torch.nn.Linear(128, 128)
    state = {f"classifier.0.{k}": v for k, v in fc6.state_dict().items()}
    state |= {f"classifier.3.{k}": v for k, v in fc7.state_dict().items()}
    net = DeconvNet(2, width=2, weights=state)
    features = torch.randn(2, 16, 7, 7)
    torch.testing.assert_close(net.fc6[0](features).flatten(1), fc6(features.flatten(1)))
    torch.testing.assert_close(net.fc7[0].weight[..., 0, 0], fc7.weight)
    small = DeconvNet(2, width=2, window=2, weights=state)  # the window does not fit: He's draw
    assert small.fc6[0].weight.std().item() == pytest.approx((2 / 64) ** 0.5, rel=0.1)


def test_a_single_image_that_ends_as_one_vector_does_not_train():
    net = DeconvNet(2, width=1, window=2)
    with pytest.raises(ValueError, match=r"fc6 .*with at least 2 images"):
        net(torch.rand(1, 3, 64, 64))
    assert net(torch.rand(1, 3, 64, 65)).shape == (1, 2, 64, 65)
    assert net.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 2, 64, 64)


def test_small_images_are_refused_with_the_level():
    with pytest.raises(ValueError, match=r"192 x 224 image is left at fc6.*least 193 \(193, 225"):
        DeconvNet(2, width=2)(torch.zeros(1, 3, 192, 224))
    with pytest.raises(ValueError, match="window must be at least 1"):
        DeconvNet(window=0)
