"""The mask and the combination against the library, and what the drawn example is meant to show."""

import numpy as np
import pytest
import torch

from course import demos
from course.demos import reverse_attention as demo
from course.models.reverse_attention import Mask, reverse_attention, reverse_attention_mask

KINDS: dict[str, Mask] = {demo.SIMPLE: "simple", demo.NORMALISED: "normalised"}
TRUTH = (np.arange(demo.PIXELS) >= demo.BORDER).astype(int)


@pytest.mark.parametrize("kind", KINDS)
def test_mask_and_combination_are_those_of_the_library(kind):
    o, r = torch.randn(2, 3, 7, 5, dtype=torch.float64) * 6
    mask = reverse_attention_mask(o, KINDS[kind])
    np.testing.assert_allclose(demo.mask(o.numpy(), kind), mask.numpy(), atol=1e-12)
    both = reverse_attention(o, r, KINDS[kind])
    np.testing.assert_allclose(demo.combine(o.numpy(), r.numpy(), kind), both.numpy(), atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_falls_as_the_response_grows_and_stays_between_0_and_1(kind):
    values = demo.mask(np.linspace(-30, 30, 601), kind)
    assert (np.diff(values) <= 0).all()
    assert values[0] > 0.98
    assert 0 < values[-1] < 0.02


def wrong(kind, confidence=1.0, strength=2.0):
    o, r = demo.branches(confidence, strength)
    return np.flatnonzero(demo.labels(demo.combine(o, r, kind)) != TRUTH).tolist()


def test_each_branch_has_one_fault():
    o, r = demo.branches(1.0, 2.0)
    assert np.flatnonzero(demo.labels(o) != TRUTH).tolist() == list(range(13, 20))
    assert np.flatnonzero(demo.labels(-r) != TRUTH).tolist() == list(range(28, 33))


def test_without_a_mask_the_fault_of_the_reverse_branch_comes_through():
    assert wrong(demo.NONE) == list(range(28, 33))


def test_with_the_mask_doubt_is_mended_and_confidence_is_not():
    assert wrong(demo.SIMPLE) == []
    assert wrong(demo.NORMALISED, confidence=0.0) == []
    for kind in KINDS:
        assert wrong(kind, confidence=4.0) == list(range(13, 20))
    assert wrong(demo.NORMALISED) == list(range(13, 20))  # closes at a response of 1 already


def test_a_silent_reverse_branch_changes_nothing():
    o, r = demo.branches(1.0, 0.0)
    for kind in demo.MASKS:
        np.testing.assert_array_equal(demo.combine(o, r, kind), o)


def test_caption_tells_the_pixel():
    caption = demos.frame("reverse_attention").caption
    assert "7 of 40 before, 0 after" in caption
    assert "Y = (1.54, 0.74) says cat" in caption
    spoiled = demos.frame("reverse_attention", mask=demo.NONE, pixel=30).caption
    assert "7 of 40 before, 5 after" in spoiled
    assert "a dog: O = (-2.00, 4.00) says dog, Y = (2.00, 0.00) says cat" in spoiled


@pytest.mark.parametrize(
    "bad", [{"mask": "softmax"}, {"confidence": 9}, {"strength": -1}, {"pixel": 40}]
)
def test_refuses_what_cannot_be(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        demos.frame("reverse_attention", **bad)
