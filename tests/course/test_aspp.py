import re

import pytest
import torch
from model_checks import check_gradients, freeze_norms, parameters, randomise, uneven
from torch.nn import functional as F

from course.models.aspp import ASPP, ASPPv3


@pytest.mark.parametrize(
    ("rates", "count"), [((6, 12, 18, 24), 1_548_372), ((12,), 387_093), ((2, 4, 8, 12), 1_548_372)]
)
def test_published_parameters_of_v2(rates, count):
    assert parameters(lambda: ASPP(2048, 21, rates=rates)) == count


def test_published_parameters_of_v3():
    assert parameters(lambda: ASPPv3(2048)) == 15_535_104
    assert parameters(lambda: ASPPv3(2048)) + 21 * 257 == 15_540_501  # with its classifier


def _taps(x, weight, rate):
    """Convolve by shifting, one tap after the other: no dilation argument involved."""
    height, width = x.shape[-2:]
    padded = F.pad(x, (rate,) * 4)
    y = torch.zeros(1).to(x)
    for i in range(3):
        for j in range(3):
            part = padded[..., i * rate : i * rate + height, j * rate : j * rate + width]
            y = y + torch.einsum("bchw,kc->bkhw", part, weight[..., i, j])
    return y


def test_v2_sums_scores_of_dilated_branches():
    net = randomise(ASPP(3, 2, rates=(1, 4))).double().eval()
    x = torch.randn(2, 3, 9, 6, dtype=torch.float64)
    expected = 0
    state = net.state_dict()
    for i, rate in enumerate((1, 4)):
        weight, bias = state[f"branches.{i}.0.weight"], state[f"branches.{i}.0.bias"]
        expected = expected + _taps(x, weight, rate) + bias[:, None, None]
    torch.testing.assert_close(net(x), expected)


def test_v2_hidden_branches():
    net = randomise(ASPP(3, 2, rates=(2, 5), hidden=4)).double().eval()
    x = torch.randn(1, 3, 7, 11, dtype=torch.float64)
    expected = 0
    for i, rate in enumerate((2, 5)):
        state = {k: v for k, v in net.state_dict().items() if k.startswith(f"branches.{i}.")}
        w6, b6, w7, b7, w8, b8 = state.values()
        y = (_taps(x, w6, rate) + b6[:, None, None]).clamp(min=0)
        y = F.conv2d(y, w7, b7).clamp(min=0)
        expected = expected + F.conv2d(y, w8, b8)
    torch.testing.assert_close(net(x), expected)


def test_v3_equals_torchvision_with_the_same_weights():
    deeplabv3 = pytest.importorskip("torchvision.models.segmentation.deeplabv3")
    theirs = randomise(deeplabv3.ASPP(12, [6, 12, 18], 8)).double().eval()
    ours = ASPPv3(12, 8).double().eval()
    # Both order the parts 1 x 1, atrous, image pooling, projection.
    state = zip(ours.state_dict(), theirs.state_dict().values(), strict=True)
    ours.load_state_dict(dict(state))
    x = torch.randn(2, 12, 21, 34, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("net", [ASPP(4, 3), ASPP(4, 3, hidden=5), ASPPv3(4, 6)])
def test_gradients_reach_every_parameter(net):
    check_gradients(net.eval(), torch.randn(2, 4, 30, 41), uneven)


def test_share_of_positions_with_all_taps_inside():
    # Why v3 pools the image: ones in, ones out, count positions that see nine ones.
    for rate, percent in ((6, 66.5), (12, 39.8), (18, 19.9), (24, 6.8), (36, 0)):
        seen = _taps(torch.ones(1, 1, 65, 65), torch.ones(1, 1, 3, 3), rate)
        assert 100 * torch.eq(seen, 9).double().mean().item() == pytest.approx(percent, abs=0.05)


def test_one_image_cannot_be_normalised_in_training():
    with pytest.raises(ValueError, match=r"ASPPv3: the pooled image has one .*at least 2 images"):
        ASPPv3(4, 4).train()(torch.zeros(1, 4, 8, 8))
    assert ASPPv3(4, 4).eval()(torch.zeros(1, 4, 8, 8)).shape == (1, 4, 8, 8)
    frozen = freeze_norms(ASPPv3(4, 4).train())
    assert frozen(torch.zeros(1, 4, 8, 8)).shape == (1, 4, 8, 8)


@pytest.mark.parametrize("rates", [(0, 6), (), 12, (1.5,)])
@pytest.mark.parametrize(
    "head", [lambda rates: ASPP(4, 2, rates=rates), lambda r: ASPPv3(4, rates=r)]
)
def test_bad_rates(head, rates):
    message = re.escape(f"rates must be one or more whole numbers of at least 1, got {rates}")
    with pytest.raises(ValueError, match=message):
        head(rates)


def test_bad_options():
    with pytest.raises(ValueError, match="hidden must be at least 1, got -3"):
        ASPP(4, 2, hidden=-3)
