import math

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

from course.models import ReverseAttentionNet
from course.models.layers import upsample_aligned
from course.models.pspnet import WithAuxiliary
from course.models.reverse_attention import (
    ReverseAttentionOutput,
    reverse_attention,
    reverse_attention_loss,
    reverse_attention_mask,
)

masks = pytest.mark.parametrize("mask", ["normalised", "simple"])


def small(**options) -> ReverseAttentionNet:
    return ReverseAttentionNet(3, **{"layers": (1, 1, 1, 1), "width": 4, "rate": 2, **options})


def test_published_parameters_and_shape():
    assert parameters(ReverseAttentionNet) == 43_274_346
    assert meta_shape(ReverseAttentionNet, 1, 3, 65, 97) == (1, 21, 65, 97)


def test_values_of_the_normalised_mask():
    o = torch.tensor([-7.0, 0.0, 0.125, 1.0, 1e30], dtype=torch.float64)
    expected = torch.tensor([0.982014, 0.982014, 0.5, 0.042651, 0.017986], dtype=torch.float64)
    torch.testing.assert_close(reverse_attention_mask(o), expected, rtol=0, atol=1e-6)


def test_worked_pixel_flips_its_class():
    o, r = torch.tensor([1, 1.2], dtype=torch.float64), torch.tensor([-2, 2], dtype=torch.float64)
    y = reverse_attention(o, r, "simple")
    expected = torch.tensor([1.537883, 0.737050], dtype=torch.float64)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-6)
    assert o.argmax() == 1
    assert y.argmax() == 0


@masks
def test_gradient_flows_through_the_mask_and_large_responses_stay_finite(mask):
    o = torch.tensor([-300.0, -1, 0.3, 2, 300], dtype=torch.float64, requires_grad=True)
    r = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda o, r: reverse_attention(o, r, mask), (o, r))
    (by_o,) = torch.autograd.grad(reverse_attention(o, r, mask)[2], o)
    assert abs(by_o[2].item() - 1) > 1e-3  # 1 would be a detached mask


def test_loss_is_three_cross_entropies_one_of_them_flipped():
    torch.manual_seed(0)
    logits = [torch.randn(2, 4, 5, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    labels = torch.randint(0, 4, (2, 5, 3))
    labels[1, 2:] = 255
    expected = torch.zeros((), dtype=torch.float64)
    for x, sign, weight in zip(logits, (1, -1, 1), (1.0, 0.5, 2.0)):
        values = []
        for b in range(2):
            for i in range(5):
                for j in range(3):
                    if labels[b, i, j] != 255:
                        scores = sign * x[b, :, i, j]
                        values.append(scores.exp().sum().log() - scores[labels[b, i, j]])
        expected = expected + weight * torch.stack(values).mean()
    output = ReverseAttentionOutput(*logits)
    loss = reverse_attention_loss(output, labels, (1.0, 0.5, 2.0))
    torch.testing.assert_close(loss, expected)
    ours = torch.autograd.grad(loss, logits)
    torch.testing.assert_close(ours, torch.autograd.grad(expected, logits))
    plain = reverse_attention_loss(logits[0], labels)
    torch.testing.assert_close(plain, F.cross_entropy(logits[0], labels, ignore_index=255))


def test_untrained_loss_is_three_times_ln_k():
    zeros = torch.zeros(1, 5, 2, 2)
    loss = reverse_attention_loss(
        ReverseAttentionOutput(zeros, zeros, zeros), torch.zeros(1, 2, 2, dtype=torch.int64)
    )
    assert loss.item() == pytest.approx(3 * math.log(5))


@masks
def test_network_combines_at_stride_8_and_upsamples_afterwards(mask):
    net = randomise(small(mask=mask)).double().train()
    images = torch.rand(2, 3, 41, 30, dtype=torch.float64)
    output = net(images)
    features = net.backbone(images)[-1]
    o, r = net.original(features), net.reverse(features)
    assert o.shape == (2, 3, 6, 4)
    a = 1 / (1 + torch.exp(o if mask == "simple" else 4 - 1 / (o.clamp(min=0) + 0.125)))
    for ours, logits in zip(output, (o, r, o - a * r)):
        torch.testing.assert_close(ours, upsample_aligned(logits, (41, 30)))


@masks
def test_branches_can_be_looked_at_in_evaluation_mode(mask):
    net, images = randomise(small(mask=mask)).double().eval(), torch.rand(2, 3, 41, 30).double()
    output = net.branches(images)
    assert [part.shape for part in output] == [(2, 3, 6, 4)] * 3
    assert not net.training
    torch.testing.assert_close(
        output.combined, reverse_attention(output.original, output.reverse, mask)
    )
    torch.testing.assert_close(upsample_aligned(output.combined, (41, 30)), net(images))


def test_the_loss_refuses_other_heads_and_other_numbers_of_weights():
    logits, labels = torch.zeros(1, 2, 1, 1), torch.zeros(1, 1, 1, dtype=torch.int64)
    with pytest.raises(TypeError, match=r"does not take WithAux.*pspnet\.auxiliary_loss"):
        reverse_attention_loss(WithAuxiliary(logits, logits), labels)  # pyright: ignore
    output = ReverseAttentionOutput(logits, logits, logits)
    with pytest.raises(ValueError, match=r"three numbers; got \(1\.0, 1\.0\)"):
        reverse_attention_loss(output, labels, (1.0, 1.0))


@masks
def test_contract(mask):
    check_contract(small(mask=mask), torch.rand(2, 3, 41, 30), 3)


def test_gradients_reach_every_parameter():
    labels = torch.randint(0, 3, (2, 33, 41))
    net = small()
    check_gradients(net, torch.rand(2, 3, 33, 41), lambda y: reverse_attention_loss(y, labels))
    check_gradients(small().eval(), torch.rand(2, 3, 33, 41), uneven)


def test_overfits_two_scenes():
    torch.manual_seed(0)
    net = small(width=8)
    assert overfit(net, *two_scenes((57, 49)), steps=25, loss=reverse_attention_loss) > 0.93


def test_bad_input():
    with pytest.raises(ValueError, match="'normalised' or 'simple', got 'sigmoid'"):
        small(mask="sigmoid")
    with pytest.raises(ValueError, match=r"ReverseAttentionNet expects images \(B, 3, H, W\)"):
        small()(torch.zeros(2, 33, 33))
