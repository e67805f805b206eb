"""Context encoding: the definition by loops, invariances, the loss, and bad input."""

import pytest
import torch
from model_checks import check_gradients, randomise, uneven
from torch.nn import functional as F

from course.models.encnet import (
    ContextEncoding,
    Encoding,
    EncodingHead,
    WithContext,
    context_loss,
)
from course.models.pspnet import WithAuxiliary


def test_encoding_is_the_sum_of_shared_residuals():
    layer = Encoding(5, codes=3).double()
    layer.smoothing.data.uniform_(0.1, 2)
    features = torch.randn(2, 5, 4, 3, dtype=torch.float64)
    expected = torch.zeros(2, 3, 5, dtype=torch.float64)
    for b in range(2):
        for place in range(12):
            x = features[b].flatten(1)[:, place]
            residuals = x - layer.codewords  # (3, 5)
            shares = (-layer.smoothing * residuals.square().sum(1)).softmax(0)
            expected[b] += shares[:, None] * residuals
    torch.testing.assert_close(layer(features), expected)


def test_the_order_of_positions_does_not_matter_and_twice_the_map_is_twice_the_sum():
    layer, features = Encoding(6, codes=4).double(), torch.randn(1, 6, 3, 5).double()
    shuffled = features.flatten(2)[..., torch.randperm(15)].view(1, 6, 5, 3)
    torch.testing.assert_close(layer(shuffled), layer(features))
    torch.testing.assert_close(layer(torch.cat([features, features], 3)), 2 * layer(features))


def test_channels_are_weighed_by_the_scene():
    module = randomise(ContextEncoding(4, codes=3)).double().eval()
    features = torch.randn(2, 4, 5, 6, dtype=torch.float64)
    weighed, scene = module(features)
    codes = module.encoding(module.before(features))
    normed = F.batch_norm(
        codes,
        module.norm.running_mean,
        module.norm.running_var,
        module.norm.weight,
        module.norm.bias,
    )
    torch.testing.assert_close(scene, normed.clamp(min=0).mean(1))
    gamma = torch.sigmoid(scene @ module.weigh.weight.T + module.weigh.bias)
    for b in range(2):
        for c in range(4):
            expected = (features[b, c] * (1 + gamma[b, c])).clamp(min=0)
            torch.testing.assert_close(weighed[b, c], expected)


def test_one_image_trains_and_gradients_reach_every_parameter():
    head = EncodingHead(6, 4, 3, codes=3, dropout=0.0)
    head(torch.rand(1, 6, 5, 7))
    check_gradients(head, torch.rand(2, 6, 5, 7), lambda y: uneven(y[0]) + uneven(y[1]))


def test_the_loss_asks_which_classes_are_there():
    target = torch.tensor([[[0, 255, 2]], [[1, 1, 1]]])
    logits = torch.randn(2, 3, 1, 3)
    presence = torch.tensor([[9.0, -9, 9], [-9, 9, -9]])
    right = context_loss(WithContext(logits, logits, presence), target)
    wrong = context_loss(WithContext(logits, logits, -presence), target)
    assert (wrong - right).item() == pytest.approx(0.2 * 9, rel=1e-3)
    plain = F.cross_entropy(logits, target, ignore_index=255)
    torch.testing.assert_close(
        context_loss(WithContext(logits, 0 * logits, presence), target, presence=0.0),
        plain + 0.2 * torch.tensor(3.0).log(),
    )


def presence_by_loops(logits, target):
    """Binary cross-entropy by image and class; images without a label are skipped."""
    losses = []
    for row, labels in zip(logits, target):
        if (labels == 255).all():
            continue
        for k, logit in enumerate(row):
            p = torch.sigmoid(logit if ((labels == k) & (labels != 255)).any() else -logit)
            losses.append(-p.log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("classes", [3, 260])  # beyond 255 one class has the number of the ignored
def test_presence_equals_a_count_by_loops(classes):
    target = torch.randint(0, min(classes, 255), (3, 4, 5))
    target[0, :2], target[1] = 255, 255
    logits, presence = torch.zeros(3, classes, 4, 5), torch.randn(3, classes)
    loss = context_loss(WithContext(logits, None, presence), target, presence=1.0)
    expected = torch.tensor(float(classes)).log() + presence_by_loops(presence, target)
    torch.testing.assert_close(loss, expected)


def test_a_batch_without_labels_has_no_gradient():
    parts = [torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5), torch.randn(2, 3)]
    output = WithContext(*(part.requires_grad_() for part in parts))
    loss = context_loss(output, torch.full((2, 4, 5), 255))
    loss.backward()
    assert loss.item() == 0
    assert all(part.grad is not None and not part.grad.any() for part in parts)


def test_plain_logits_count_alone_and_other_heads_are_refused():
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(0, 3, (2, 4, 5))
    torch.testing.assert_close(context_loss(logits, target), F.cross_entropy(logits, target))
    with pytest.raises(
        TypeError, match=r"context_loss does not take WithAux.*pspnet.auxiliary_loss"
    ):
        context_loss(WithAuxiliary(logits, logits), target)  # pyright: ignore


@pytest.mark.parametrize("options", [{"channels": 0}, {"channels": 4, "codes": 0}])
def test_wrong_sizes_are_refused(options):
    with pytest.raises(ValueError, match="must be"):
        Encoding(**options)
