import math

import pytest
import torch
from model_checks import (
    check_contract,
    check_gradients,
    freeze_norms,
    meta_shape,
    overfit,
    parameters,
    randomise,
    two_scenes,
    uneven,
)

from course.models import PSPNet50, PSPNet101
from course.models.encnet import WithContext
from course.models.pspnet import PSPNet, PyramidPooling, WithAuxiliary, auxiliary_loss, scoring_head


def small(**options) -> PSPNet:
    return PSPNet((1, 1, 2, 1), 3, **{"width": 4, **options})


@pytest.mark.parametrize(
    ("model", "options", "count"),
    [
        (PSPNet50, {}, 46_716_373),
        (PSPNet50, {"auxiliary": True}, 49_081_578),
        (PSPNet50, {"stem": "7x7"}, 46_592_597),
        (PSPNet101, {}, 65_708_501),
        (PSPNet101, {"auxiliary": True}, 68_073_706),
        (PSPNet101, {"stem": "7x7"}, 65_584_725),
    ],
)
def test_published_parameters(model, options, count):
    assert parameters(lambda: model(**options)) == count


def test_published_parts():
    assert parameters(lambda: PyramidPooling(2048)) == 4_198_400
    head = parameters(lambda: scoring_head(4096, 512, 21, 0.1))
    assert head + 4_198_400 == 23_084_565


def test_dropout_takes_whole_maps_as_released():
    found = [m for m in small(auxiliary=True).modules() if "Dropout" in type(m).__name__]
    assert [type(m) for m in found] == [torch.nn.Dropout2d] * 2
    assert [m.p for m in found] == [0.1, 0.1]


def test_published_size_gives_60_by_60_features():
    with torch.device("meta"):
        net, images = PSPNet50().eval(), torch.empty(1, 3, 473, 473)
    assert net.backbone(images)[-1].shape == (1, 2048, 60, 60)
    assert meta_shape(PSPNet50, 1, 3, 473, 713) == (1, 21, 473, 713)


def test_rates_of_the_dilated_stages():
    net = PSPNet50(width=4)
    rates = [[b.conv2.dilation[0] for b in s] for s in (net.backbone.layer3, net.backbone.layer4)]
    assert rates == [[2] * 6, [4] * 3]


@pytest.mark.parametrize("bins", [(1, 2, 3, 6), (2, 5)])
def test_pyramid_equals_averages_bin_by_bin(bins):
    net = randomise(PyramidPooling(20, bins)).double().eval()
    x = torch.randn(2, 20, 7, 11, dtype=torch.float64)
    out = net(x)
    assert out.shape == (2, 40, 7, 11)
    torch.testing.assert_close(out[:, :20], x)
    maps = 20 // len(bins)
    for k, (n, level) in enumerate(zip(bins, net.levels)):
        pooled = torch.empty(2, 20, n, n, dtype=torch.float64)
        for i in range(n):
            for j in range(n):
                rows = slice(i * 7 // n, math.ceil((i + 1) * 7 / n))
                columns = slice(j * 11 // n, math.ceil((j + 1) * 11 / n))
                pooled[..., i, j] = x[..., rows, columns].mean((-1, -2))
        pooled = level(pooled)
        part = out[:, 20 + k * maps : 20 + (k + 1) * maps]
        torch.testing.assert_close(part, _aligned(pooled, 7, 11))


def _aligned(x, height, width):
    """Bilinear interpolation with aligned corners as two matrices of hat functions."""

    def hats(n, size):
        at = torch.arange(size, dtype=torch.float64)[:, None] * (n - 1) / (size - 1)
        return (1 - (at - torch.arange(n)).abs()).clamp(min=0)

    return hats(x.shape[-2], height) @ x @ hats(x.shape[-1], width).T


def test_logits_of_the_parts():
    net = randomise(small()).double().eval()
    images = torch.rand(2, 3, 41, 33, dtype=torch.float64)
    c5 = net.backbone(images)[-1]
    scores = net.head(torch.cat([net.pyramid(c5)], 1))
    torch.testing.assert_close(net(images), _aligned(scores, 41, 33))


def test_auxiliary_head_works_in_training_only():
    net = randomise(small(auxiliary=True, dropout=0.0)).double()
    images = torch.rand(2, 3, 41, 33, dtype=torch.float64)
    output = net(images)
    assert isinstance(output, WithAuxiliary)
    c4 = net.backbone(images)[2]
    assert net.auxiliary is not None
    torch.testing.assert_close(output.auxiliary, _aligned(net.auxiliary(c4), 41, 33))
    assert isinstance(net.eval()(images), torch.Tensor)
    assert isinstance(small().train()(images.float()), torch.Tensor)


def test_auxiliary_loss_values_and_gradients():
    torch.manual_seed(0)
    logits = [torch.randn(2, 4, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    labels = torch.randint(0, 4, (2, 5, 3))
    labels[0, 0] = 255
    terms = [
        -x.log_softmax(1)
        .movedim(1, -1)[labels != 255]
        .gather(1, labels[labels != 255][:, None])
        .mean()
        for x in logits
    ]
    loss = auxiliary_loss(WithAuxiliary(*logits), labels, weight=0.3)
    torch.testing.assert_close(loss, terms[0] + 0.3 * terms[1])
    ours = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(ours, torch.autograd.grad(terms[0] + 0.3 * terms[1], logits))
    torch.testing.assert_close(auxiliary_loss(logits[0], labels), terms[0])
    published = auxiliary_loss(WithAuxiliary(*logits), labels)
    torch.testing.assert_close(published, terms[0] + 0.4 * terms[1])


def test_the_loss_refuses_other_heads():
    logits, labels = torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)
    output = WithContext(logits, logits, logits[..., 0, 0])
    with pytest.raises(
        TypeError, match=r"auxiliary_loss does not take WithCon.*encnet.context_loss"
    ):
        auxiliary_loss(output, labels)  # pyright: ignore


def test_context_reaches_every_pixel():
    net = randomise(small()).double().eval()
    images = torch.rand(1, 3, 257, 65, dtype=torch.float64, requires_grad=True)
    local = net.backbone(images)[-1][..., 0, 0].sum()
    with_context = net(images)[..., 0, 0].sum()
    seen = [
        (torch.autograd.grad(y, images, retain_graph=True)[0][0, :, -1] != 0).any()
        for y in (local, with_context)
    ]
    assert seen == [False, True]


def test_frozen_norms_train_on_one_image():
    net = freeze_norms(small(auxiliary=True).train())
    assert isinstance(net(torch.rand(1, 3, 33, 41)), WithAuxiliary)


def test_contract():
    check_contract(small(), torch.rand(2, 3, 41, 30), 3)


def test_gradients_reach_every_parameter():
    net = small(auxiliary=True, dropout=0.0)
    check_gradients(net, torch.rand(2, 3, 41, 33), lambda y: uneven(y.logits) + uneven(y.auxiliary))


def test_overfits_two_scenes():
    torch.manual_seed(0)
    net = small(width=8, auxiliary=True)
    assert overfit(net, *two_scenes((57, 49)), steps=25, loss=auxiliary_loss) > 0.93


def test_bad_input():
    with pytest.raises(ValueError, match="PyramidPooling: level 1 x 1 has one value per channel"):
        small().train()(torch.zeros(1, 3, 33, 33))
    with pytest.raises(ValueError, match="3 pyramid levels cannot share 8 channels"):
        PyramidPooling(8, (1, 2, 3))
    with pytest.raises(ValueError, match=r"PSPNet expects images \(B, 3, H, W\)"):
        small()(torch.zeros(2, 1, 33, 33))
    with pytest.raises(ValueError, match=r"bins must be one or more whole numbers .* got \(\)"):
        PyramidPooling(8, ())
    with pytest.raises(ValueError, match="num_classes must be at least 1"):
        PSPNet50(0)
