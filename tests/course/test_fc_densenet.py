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
from torch import nn
from torch.nn import functional as F

from course.geometry import count_macs
from course.models import FCDenseNet56, FCDenseNet67, FCDenseNet103
from course.models.fc_densenet import FCDenseNet, TransitionUp

PUBLISHED = [
    (FCDenseNet56, 1_376_795, 1_376_988, 21_168, 8.92e9, 538),
    (FCDenseNet67, 3_463_243, 3_463_532, 39_680, 20.90e9, 664),
    (FCDenseNet103, 9_322_091, 9_322_348, 103_072, 20.07e9, 1622),
]
published = pytest.mark.parametrize(
    ("model", "count", "with_12", "statistics", "macs", "field"), PUBLISHED
)


@published
def test_published_parameters_and_cost(model, count, with_12, statistics, macs, field):
    assert parameters(model) == count
    assert parameters(lambda: model(12)) == with_12
    with torch.device("meta"):
        net = model()
    running = [b.numel() for name, b in net.named_buffers() if "running" in name]
    assert sum(running) == statistics
    assert count_macs(net, (1, 3, 224, 224)) == pytest.approx(macs, abs=5.1e6)
    layers = sum(isinstance(m, nn.Conv2d | nn.ConvTranspose2d) for m in net.modules())
    assert f"FCDenseNet{layers}" == model.__name__


@published
def test_receptive_field_of_the_bottleneck(
    monkeypatch, model, count, with_12, statistics, macs, field
):
    net = model(1, growth=1, first_maps=1).eval()

    def encode(x):
        x = net.first(x.expand(-1, -1, -1, 32))  # poolings that round down need 32 columns
        for block, transition in zip(net.down, net.transitions_down):
            x = transition(block(x))
        return net.bottleneck(x)[:, -1:]  # the last layer's map has seen the most

    assert receptive_field(monkeypatch, net, 2400, encode)[0] == field


def test_concatenated_maps_of_table_2():
    with torch.device("meta"):
        net = FCDenseNet103()
    # The paper prints 880, 1072, 800, ...; its authors' correction is 16 more.
    assert net.maps == (112, 192, 304, 464, 656, 896, 1088, 816, 576, 384, 256)
    shapes = [p.shape[:2] for p in net.transitions_up.parameters() if p.ndim == 4]
    assert shapes == [(n, n) for n in (240, 192, 160, 112, 80)]


def test_camvid_size_comes_back_exactly():
    assert meta_shape(FCDenseNet56, 2, 3, 360, 480) == (2, 11, 360, 480)


@pytest.mark.parametrize("size", [(4, 4), (7, 30), (33, 18)])
def test_any_size_from_the_total_stride_on(size):
    net = FCDenseNet(2, blocks=(1, 1), bottleneck=1, growth=2, first_maps=4).eval()
    assert net(torch.rand(1, 3, *size)).shape == (1, 2, *size)


def test_logits_equal_a_recomputation_from_the_weights():
    net = FCDenseNet(3, blocks=(2, 1), bottleneck=2, growth=3, first_maps=5)
    randomise(net).double().eval()
    images = torch.rand(2, 3, 14, 19, dtype=torch.float64)
    state = net.state_dict()

    def layer(x, name):
        gamma, beta, mean, var = (
            state[f"{name}.0.{key}"] for key in ("weight", "bias", "running_mean", "running_var")
        )
        x = F.batch_norm(x, mean, var, gamma, beta).clamp(min=0)
        weight = state[f"{name}.2.weight"]
        return F.conv2d(x, weight, state[f"{name}.2.bias"], padding=weight.shape[-1] // 2)

    def block(stack, name, layers):
        new = []
        for i in range(layers):
            new.append(layer(torch.cat([stack, *new], 1), f"{name}.layers.{i}"))
        return stack, torch.cat(new, 1)  # input and new maps apart

    def up(new, skip, i):
        x = F.conv_transpose2d(
            new,
            state[f"transitions_up.{i}.deconv.weight"],
            state[f"transitions_up.{i}.deconv.bias"],
            stride=2,
        )
        h, w = skip.shape[-2:]  # the centre of 2 n + 1 rows starts at 0 for 2 n and 2 n + 1
        return torch.cat([x[..., :h, :w], skip], 1)

    x = F.conv2d(images, state["first.weight"], state["first.bias"], padding=1)
    skip1 = torch.cat(block(x, "down.0", 2), 1)
    skip2 = torch.cat(block(F.max_pool2d(layer(skip1, "transitions_down.0.0"), 2), "down.1", 1), 1)
    _, new = block(F.max_pool2d(layer(skip2, "transitions_down.1.0"), 2), "bottleneck", 2)
    _, new = block(up(new, skip2, 0), "up.0", 1)
    stack, new = block(up(new, skip1, 1), "up.1", 2)
    expected = F.conv2d(
        torch.cat([stack, new], 1), state["classifier.weight"], state["classifier.bias"]
    )
    torch.testing.assert_close(net(images), expected)


def test_transition_up_crops_the_centre():
    up = TransitionUp(1)
    nn.init.ones_(up.deconv.weight)
    nn.init.zeros_(up.deconv.bias)  # pyright: ignore[reportArgumentType]
    out = up(torch.eye(3)[None, None], torch.zeros(1, 2, 4, 5))  # 7 x 7, cropped from (1, 1)
    full = F.conv_transpose2d(torch.eye(3)[None, None], torch.ones(1, 1, 3, 3), stride=2)
    torch.testing.assert_close(out[:, :1], full[..., 1:5, 1:6])
    assert out.shape == (1, 3, 4, 5)


def test_dropout_after_every_convolution_of_blocks_and_transitions_down():
    net = FCDenseNet56(growth=1, first_maps=1)
    drops = [m.p for m in net.modules() if isinstance(m, nn.Dropout)]
    assert drops == [0.2] * (11 * 4 + 5)


def small(**options) -> FCDenseNet:
    options = {"blocks": (2, 2), "bottleneck": 2, "growth": 4, "first_maps": 8, **options}
    return FCDenseNet(3, **options)


def test_contract():
    check_contract(small(), torch.rand(2, 3, 21, 30), 3)


def test_one_image_needs_more_than_one_value_at_the_bottleneck_in_training():
    net = small().train()
    with pytest.raises(ValueError, match="FCDenseNet: the bottleneck has one value per channel"):
        net(torch.rand(1, 3, 4, 7))
    assert net(torch.rand(1, 3, 4, 8)).shape == (1, 3, 4, 8)
    assert net(torch.rand(2, 3, 4, 4)).shape == (2, 3, 4, 4)


def test_gradients_reach_every_parameter():
    check_gradients(small().eval(), torch.rand(2, 3, 21, 30), uneven)


def test_overfits_two_scenes():
    torch.manual_seed(0)
    assert overfit(small(), *two_scenes(), steps=25) > 0.95


def test_bad_images_and_options():
    with pytest.raises(ValueError, match=r"31 x 40 image is left at transition down 5.*least 32"):
        FCDenseNet56(growth=1, first_maps=1)(torch.zeros(1, 3, 31, 40))
    with pytest.raises(ValueError, match=r"got shape \(2, 4, 8, 8\)"):
        small()(torch.zeros(2, 4, 8, 8))
    with pytest.raises(ValueError, match=r"blocks\[1\] must be at least 1, got 0"):
        small(blocks=(1, 0))
