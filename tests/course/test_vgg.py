import pytest
import torch
from model_checks import parameters, receptive_field
from torch import nn
from torch.nn import functional as F

from course.models.vgg import load_vgg16, load_vgg16_classifier, vgg_stages


def _forward(stages: nn.ModuleList, x: torch.Tensor) -> torch.Tensor:
    for stage in stages:
        x = F.max_pool2d(stage(x), 2)
    return x


def test_published_parameters():
    assert parameters(vgg_stages) == 14_714_688
    convolutions = [m for m in vgg_stages(width=2).modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convolutions] == [2] * 2 + [4] * 2 + [8] * 3 + [16] * 6


@pytest.mark.parametrize(("pools", "field", "stride"), [(3, 44, 8), (4, 100, 16), (5, 212, 32)])
def test_receptive_fields(monkeypatch, pools, field, stride):
    stages = vgg_stages(width=1)[:pools]
    extent, _ = receptive_field(monkeypatch, stages, 640, lambda x: _forward(stages, _wide(x)))
    assert extent == field
    image = torch.zeros(1, 3, 320, 64, dtype=torch.float64)
    assert _forward(stages, image).shape[-2] == 320 // stride


def _wide(column: torch.Tensor) -> torch.Tensor:
    return column.expand(-1, -1, -1, 32)  # five floor poolings need 32 columns


@pytest.mark.parametrize("batch_norm", [False, True])
def test_equals_torchvision_with_its_weights(batch_norm):
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):  # the classifier's 124 million parameters stay away
        theirs = (models.vgg16_bn if batch_norm else models.vgg16)().features
    theirs = theirs.to_empty(device="cpu").eval()
    for value in theirs.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) / value[0].numel() ** 0.5)
    stages = vgg_stages(batch_norm=batch_norm).eval()
    load_vgg16(stages, {f"features.{k}": v for k, v in theirs.state_dict().items()})
    images = torch.rand(1, 3, 32, 64)
    with torch.no_grad():
        torch.testing.assert_close(_forward(stages, images), theirs(images))


def test_a_dropped_bias_moves_into_the_running_mean():
    torch.manual_seed(0)
    source, plain = vgg_stages(batch_norm=True), vgg_stages(batch_norm=True, bias=False)
    layers = [m for m in source.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    state = {}
    for i, layer in enumerate(layers):
        if layer.bias is not None:
            nn.init.normal_(layer.bias)
        state |= {f"features.{i}.{key}": value for key, value in layer.state_dict().items()}
    before = {key: value.clone() for key, value in state.items()}
    load_vgg16(plain, state)
    assert all(torch.equal(state[key], value) for key, value in before.items())
    images = torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(_forward(plain.eval(), images), _forward(source.eval(), images))


@pytest.mark.parametrize(
    ("given", "batch_norm", "message"),
    [
        ("vgg16_bn", False, "do not fit vgg16: expected 13 layers .* got 26"),
        ("vgg16", True, "do not fit vgg16_bn: expected 26 layers .* got 13"),
        ("vgg19", False, "do not fit vgg16: expected 13 layers .* got 16"),
        ("resnet18", False, "got 0; give the state dict of torchvision's vgg16"),
    ],
)
def test_weights_of_other_networks_are_refused(given, batch_norm, message):
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        load_vgg16(vgg_stages(batch_norm=batch_norm), getattr(models, given)().state_dict())


def test_the_classifier_loads_into_linear_layers_and_convolutions():
    fc6, fc7 = nn.Linear(2 * 7 * 7, 6), nn.Linear(6, 5)
    state = {f"classifier.0.{key}": value for key, value in fc6.state_dict().items()}
    state |= {f"classifier.3.{key}": value for key, value in fc7.state_dict().items()}
    features = torch.randn(3, 2, 7, 7)
    expected = fc7(fc6(features.flatten(1)))
    linear = nn.Linear(2 * 7 * 7, 6), nn.Linear(6, 5)
    load_vgg16_classifier(*linear, state)
    torch.testing.assert_close(linear[1](linear[0](features.flatten(1))), expected)
    kernels = nn.Conv2d(2, 6, 7), nn.Conv2d(6, 5, 1)
    load_vgg16_classifier(*kernels, state)
    torch.testing.assert_close(kernels[1](kernels[0](features)).flatten(1), expected)
    small = nn.Linear(2 * 4 * 4, 6), nn.Linear(6, 5)
    with pytest.raises(ValueError, match=r"VGG16's fc6: .*is \(6, 98\), expected \(6, 32\)"):
        load_vgg16_classifier(*small, state)
    with pytest.raises(ValueError, match="VGG16's fc7: 2 missing"):
        load_vgg16_classifier(*linear, {k: v for k, v in state.items() if ".0." in k})


def test_he_initialisation_keeps_the_signal_alive():
    torch.manual_seed(0)
    stages = vgg_stages(width=16)
    x = torch.randn(2, 3, 64, 64)
    assert 0.1 < _forward(stages, x).square().mean() < 100
    biases = [p for name, p in stages.named_parameters() if name.endswith("bias")]
    assert all((b == 0).all() for b in biases)


def test_dilations_and_first_padding():
    stages = vgg_stages(width=1, dilations=(1, 1, 1, 1, 2), first_padding=100)
    convolutions = [m for m in stages.modules() if isinstance(m, nn.Conv2d)]
    assert [m.padding[0] for m in convolutions] == [100] + [1] * 9 + [2] * 3
    assert [m.dilation[0] for m in convolutions] == [1] * 10 + [2] * 3
    assert stages[4](torch.zeros(1, 8, 5, 6)).shape[-2:] == (5, 6)


def test_weights_need_the_published_width():
    with pytest.raises(ValueError, match="in_channels=3 and width=64, got 1 and 64"):
        load_vgg16(vgg_stages(1), {})
