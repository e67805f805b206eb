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
from torch.nn import functional as F

from course.geometry import count_macs
from course.models import FCN8s, FCN16s, FCN32s
from course.models.fcn import Upsample
from course.models.vgg import load_vgg16_classifier

models = pytest.mark.parametrize("model", [FCN32s, FCN16s, FCN8s])
paddings = pytest.mark.parametrize("padding", [1, 100])


@pytest.mark.parametrize(
    ("model", "dense", "channelwise", "fixed"),
    [
        (FCN32s, 136_152_917, 134_432_597, 134_346_581),
        (FCN16s, 134_815_994, 134_379_194, 134_357_354),
        (FCN8s, 134_489_759, 134_368_799, 134_362_751),
    ],
)
def test_published_parameters(model, dense, channelwise, fixed):
    assert parameters(model) == dense
    assert parameters(lambda: model(upsampling="channelwise")) == channelwise
    assert parameters(lambda: model(upsampling="fixed")) == fixed
    assert parameters(lambda: model(padding=1)) == dense


@pytest.mark.parametrize(
    ("model", "macs"), [(FCN32s, 181.37e9), (FCN16s, 181.45e9), (FCN8s, 181.53e9)]
)
def test_published_size_and_cost(model, macs):
    assert meta_shape(model, 1, 3, 500, 500) == (1, 21, 500, 500)
    with torch.device("meta"):
        net = model()
    assert count_macs(net, (1, 3, 500, 500)) == pytest.approx(macs, abs=5.1e6)
    if model is FCN32s:
        assert count_macs(net, (1, 3, 500, 500)) == 181_365_854_976


def test_published_intermediate_sizes():
    with torch.device("meta"):
        net = FCN8s().eval()
        sizes = []
        parts = (*net.stages, net.fc6, net.up7, net.up4, net.upscore)
        for part in parts:
            part.register_forward_hook(lambda _, __, y: sizes.append(y.shape[-1]))
        net(torch.empty(1, 3, 500, 500))
    # Stage outputs before pooling; the last deconvolution gives 568 less its crop of 31 per side.
    assert sizes == [698, 349, 175, 88, 44, 16, 34, 70, 568 - 62]


def test_receptive_field_of_the_scores(monkeypatch):
    net = FCN32s(1, width=1, padding=1).eval()

    def scores(x):
        for stage in net.stages:
            x = F.max_pool2d(stage(x), 2, ceil_mode=True)
        return net.fc7(F.relu(net.fc6(x)))

    extent, centre = receptive_field(monkeypatch, net, 1024, scores)
    assert extent == 404
    assert centre == 15.5 + 32 * 16  # the docstring's derivation for padding 1


@models
@paddings
def test_every_path_through_the_skips_is_aligned(monkeypatch, model, padding):
    """What 32 rows of input change, one period of the network, is centred on these rows."""
    pool = lambda x, *_, ceil_mode: F.avg_pool2d(x, 2, None, 0, ceil_mode)  # noqa: E731
    monkeypatch.setattr(F, "max_pool2d", pool)  # makes the network linear for positive input
    net = model(1, in_channels=1, width=1, padding=padding, dropout=0.0).double().eval()
    scores = [layer for layer in ("score7", "score4", "score3") if hasattr(net, layer)]
    for value in net.parameters():
        if value.ndim == 4 and value.shape[-1] in (1, 3, 7):
            value.data.fill_(1 / value[0].numel())
        elif value.ndim == 1:
            value.data.zero_()
    size = 640
    images = torch.zeros(1, 1, size, 1, dtype=torch.float64)
    images[:, :, 291:323] = 1.0
    for path in scores:
        for layer in scores:
            getattr(net, layer).weight.data.fill_(float(layer == path))
        with torch.no_grad():
            response = net(images)[0, 0, :, 0]  # (640,)
        assert response[0] == response[-1] == 0  # nothing of it is cut off
        centroid = (response * torch.arange(size)).sum() / response.sum()
        assert centroid.item() == pytest.approx((291 + 322) / 2, abs=1e-6), path


@pytest.mark.parametrize(
    ("factor", "crop"),
    [(2, 0), (2, 1), (8, 3), (8, 4), (8, 8), (8, 31), (16, 8), (16, 27), (32, 16), (32, 19)],
)
def test_fixed_upsampling_equals_the_bilinear_deconvolution(factor, crop):
    x = torch.randn(2, 3, 8, 9, dtype=torch.float64, requires_grad=True)
    fixed, dense, channelwise = (
        Upsample(3, factor, crop, kind).double()(x) for kind in ("fixed", "dense", "channelwise")
    )
    assert fixed.shape[-2:] == (9 * factor - 2 * crop, 10 * factor - 2 * crop)
    (expected,) = torch.autograd.grad(uneven(fixed), x)
    for output in (dense, channelwise):
        torch.testing.assert_close(output, fixed)
        torch.testing.assert_close(torch.autograd.grad(uneven(output), x)[0], expected)


def test_kernels_start_bilinear():
    (weight,) = Upsample(3, 2).parameters()
    row = torch.tensor([0.25, 0.75, 0.75, 0.25])
    for i in range(3):
        for j in range(3):
            torch.testing.assert_close(weight[i, j], torch.outer(row, row) * (i == j))
    large = next(Upsample(1, 32).parameters())[0, 0]
    assert large[0, 31].item() == pytest.approx(0.015625 * 0.984375)
    assert large.sum().item() == pytest.approx(1024)


@models
@paddings
def test_fixed_dense_and_channelwise_networks_start_equal(model, padding):
    images = torch.rand(1, 3, 45, 70, dtype=torch.float64)
    fixed = randomise(model(3, width=2, padding=padding, upsampling="fixed")).double().eval()
    for kind in ("dense", "channelwise"):
        net = model(3, width=2, padding=padding, upsampling=kind).double().eval()
        net.load_state_dict(fixed.state_dict(), strict=False)  # all but the kernels
        torch.testing.assert_close(net(images), fixed(images))


@paddings
def test_fcn8s_equals_a_recomputation_from_the_weights(padding):
    net = randomise(FCN8s(3, width=2, padding=padding, at_once=True)).double().eval()
    images = torch.rand(2, 3, 70, 45, dtype=torch.float64)
    state, x, pools = net.state_dict(), images, []
    layers = iter([k[:-7] for k in state if k.startswith("stages") and k.endswith("weight")])

    def conv(x, name, pad=0):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], padding=pad)

    for stage, convolutions in enumerate((2, 2, 3, 3, 3)):
        for i in range(convolutions):
            x = conv(x, next(layers), padding if stage == i == 0 else 1).clamp(min=0)
        x = F.max_pool2d(x, 2, ceil_mode=True)
        pools.append(x)
    x = conv(x, "fc6", 0 if padding == 100 else 3).clamp(min=0)
    x = conv(conv(x, "fc7").clamp(min=0), "score7")
    crops = (5, 9, 31) if padding == 100 else (0, 0, 4)
    skips = (("up7", "score4", pools[3] * 0.01), ("up4", "score3", pools[2] * 0.0001))
    for (up, score, pool), crop in zip(skips, crops):
        x = F.conv_transpose2d(x, state[f"{up}.deconv.weight"], stride=2)
        if padding == 1:
            x = x[..., 1:-1, 1:-1]
        skip = conv(pool, score)[..., crop:, crop:]
        h, w = min(x.shape[-2], skip.shape[-2]), min(x.shape[-1], skip.shape[-1])
        x = x[..., :h, :w] + skip[..., :h, :w]
    x = F.conv_transpose2d(x, state["upscore.deconv.weight"], stride=8)
    expected = x[..., crops[2] : crops[2] + 70, crops[2] : crops[2] + 45]
    torch.testing.assert_close(net(images), expected)


@models
@paddings
@pytest.mark.parametrize("size", [(1, 1), (31, 33), (64, 97)])
def test_any_size_works(model, padding, size):
    net = model(2, width=1, padding=padding).eval()
    assert net(torch.rand(1, 3, *size)).shape == (1, 2, *size)


@models
def test_all_scores_start_at_zero(model):
    net = model(3, width=2, padding=1).eval()
    images = torch.rand(1, 3, 64, 64)
    assert not net(images).any()
    torch.nn.init.normal_(net.score7.weight)
    assert net(images).any()


@paddings
@pytest.mark.parametrize("kind", ["dense", "channelwise", "fixed"])
def test_each_stage_starts_with_the_scores_of_the_coarser_net(padding, kind):
    options = {"width": 2, "padding": padding, "upsampling": kind}
    torch.manual_seed(0)
    coarse, *finer = (model(3, **options).eval() for model in (FCN32s, FCN16s, FCN8s))
    torch.nn.init.normal_(coarse.score7.weight)
    images = torch.rand(1, 3, 200, 264)
    with torch.no_grad():
        for fine in finer:
            before = coarse(images)
            fine.start_from(coarse)
            after = fine(images)
            # Two steps of bilinear interpolation are not quite one step.
            assert (after - before).norm() < 0.15 * (before - before.mean()).norm()
            assert (after.argmax(1) == before.argmax(1)).float().mean() > 0.95
            for name, value in coarse.named_parameters():
                assert name.startswith("upscore") or value.equal(fine.get_parameter(name)), name
            torch.nn.init.normal_(fine.score4.weight, std=0.1)  # it trains, and 8s must keep it
            coarse = fine


def test_a_net_that_is_not_coarser_or_is_built_otherwise_gives_no_start():
    net = FCN16s(3, width=2)
    for other in (net, FCN8s(3, width=2), torch.nn.Identity()):
        with pytest.raises(ValueError, match=r"starts from a coarser FCN, got .*train FCN32s"):
            net.start_from(other)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"options of the FCN32s .* got others: .*score7.weight"):
        net.start_from(FCN32s(4, width=2))
    with pytest.raises(ValueError, match="got others: padding"):
        net.start_from(FCN32s(3, width=2, padding=1))
    with pytest.raises(ValueError, match=r"got others: up7\.deconv\.weight"):
        FCN8s(3, width=2, upsampling="fixed").start_from(net)


def test_pretrained_weights_convolutionalise_the_classifier(monkeypatch):
    monkeypatch.setattr("course.models.fcn.load_vgg16", lambda stages, weights: weights)
    fc6, fc7 = torch.nn.Linear(16 * 7 * 7, 128), torch.nn.Linear(128, 128)
    state = {f"classifier.0.{k}": v for k, v in fc6.state_dict().items()}
    state |= {f"classifier.3.{k}": v for k, v in fc7.state_dict().items()}
    net = FCN32s(2, width=2, weights=state)
    features = torch.randn(2, 16, 7, 8)
    fields = net.fc7(net.fc6(features))
    assert fields.shape == (2, 128, 1, 2)
    for j in range(2):
        expected = fc7(fc6(features[..., j : j + 7].flatten(1)))
        torch.testing.assert_close(fields[..., 0, j], expected)


def test_weights_of_another_size_are_refused():
    fc6, fc7 = torch.nn.Conv2d(4, 6, 7), torch.nn.Conv2d(6, 6, 1)
    state = {"classifier.0.weight": torch.zeros(6, 4 * 9), "classifier.0.bias": torch.zeros(6)}
    with pytest.raises(ValueError, match=r"fc6: .*\(6, 36\), expected \(6, 4, 7, 7\)"):
        load_vgg16_classifier(fc6, fc7, state)
    state["classifier.0.weight"] = torch.zeros(6, 4 * 49)
    with pytest.raises(ValueError, match="VGG16's fc7: 2 missing"):
        load_vgg16_classifier(fc6, fc7, state)


@models
@paddings
def test_contract(model, padding):
    net = model(3, width=2, padding=padding, upsampling="channelwise")
    check_contract(net, torch.rand(2, 3, 45, 34), 3)


@models
def test_gradients_reach_every_parameter(model):
    check_gradients(model(3, width=2, padding=1).eval(), torch.rand(2, 3, 45, 34), uneven)


def test_overfits_two_scenes():
    images, labels = two_scenes((64, 48))
    net = FCN8s(3, width=4, padding=1, upsampling="fixed")
    assert overfit(net, images * 4 - 2, labels, steps=80, lr=1e-3) > 0.9


def test_bad_input():
    with pytest.raises(ValueError, match=r"padding must be 100 \(published\) or 1.*got 0"):
        FCN8s(padding=0)
    with pytest.raises(ValueError, match="'dense', 'channelwise' or 'fixed', got 'linear'"):
        FCN32s(width=1, upsampling="linear")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"FCN expects images \(B, 3, H, W\), got .*\(3, 9, 9\)"):
        FCN16s(width=1)(torch.zeros(3, 9, 9))
    with pytest.raises(TypeError, match="expects float images"):
        FCN16s(width=1)(torch.zeros(1, 3, 9, 9, dtype=torch.uint8))
