"""The receptive field demo: windows as in course.geometry, paths as gradients of torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course import demos, geometry
from course.demos.receptive_field import RATES, SIDE, additions, chain, paths, sizes

configurations = st.tuples(
    st.sampled_from([1, 3, 5, 7]),
    st.sampled_from([1, 2]),
    st.sampled_from(RATES),
    st.integers(1, 4),
)


def network(layers) -> nn.Sequential:
    """The same chain in torch, all weights one."""
    net = nn.Sequential(
        *(
            nn.Conv2d(1, 1, k, s, padding=d * (k - 1) // 2, dilation=d, bias=False)
            for k, s, d in layers
        )
    ).double()
    for weight in net.parameters():
        nn.init.ones_(weight)
    return net


@settings(max_examples=60, deadline=None)
@given(configurations)
def test_window_and_sizes_are_the_librarys(configuration):
    layers = chain(*configuration)
    known = geometry.layers_of(network(layers))
    field = geometry.receptive_field(known)
    assert 1 + sum(additions(layers)) == field.size
    assert sizes(layers) == geometry.output_sizes(SIDE, known)
    step = configuration[1] ** len(layers)
    assert field.stride == step
    assert field.start == -(field.size // 2)  # sample i is centred on pixel i * step


@settings(max_examples=30, deadline=None)
@given(configurations, st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))
def test_the_footprint_is_the_gradient(configuration, x, y):
    layers = chain(*configuration)
    across, down = paths(layers, x), paths(layers, y)
    image = torch.zeros(1, 1, SIDE, SIDE, dtype=torch.float64, requires_grad=True)
    output = network(layers)(image)[0, 0]
    assert output.shape == (len(down[-1]), len(across[-1]))
    output[int(down[-1].argmax()), int(across[-1].argmax())].backward()
    assert image.grad is not None
    np.testing.assert_array_equal(np.outer(down[0], across[0]), image.grad[0, 0].numpy())


@settings(max_examples=40, deadline=None)
@given(configurations, st.integers(0, SIDE - 1))
def test_the_output_sample_is_the_nearest(configuration, at):
    layers = chain(*configuration)
    step, top = configuration[1] ** len(layers), paths(layers, at)[-1]
    away = np.abs(np.arange(len(top)) * step - at)
    assert away[top.argmax()] == away.min()
    assert top.sum() == 1


def test_inside_the_image_no_path_is_lost():
    levels = paths(chain(3, 1, "1, 2, 4, 8", 4), 19)
    assert [level.sum() for level in levels] == [81, 27, 9, 3, 1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "sees a window of 7 × 7 pixels around pixel (19, 19) and uses 49 of 49 (100%)."),
        ({"rates": RATES[1], "depth": 4}, "a window of 17 × 17 pixels around pixel (19, 19) and"),
        ({"rates": RATES[1], "depth": 4}, "uses 81 of 289 (28%)"),
        ({"rates": RATES[3], "depth": 4}, "a window of 31 × 31 pixels"),
        ({"stride": 2}, "a window of 15 × 15 pixels around pixel (16, 16)"),
        ({"stride": 2}, "lie 8 pixels apart"),
        ({"kernel": 1}, "a window of 1 × 1 pixels"),
        ({"pixel": (0, 19)}, "which reaches over the edge, and uses 28 of 49"),
    ],
)
def test_the_caption_tells_the_window(changes, said):
    assert said in demos.frame("receptive_field", **changes).caption


@pytest.mark.parametrize("rates", RATES)
def test_only_equal_dilation_leaves_holes(rates):
    levels = paths(chain(3, 1, rates, 4), 19)
    seen = np.flatnonzero(levels[0])
    holes = (levels[0][seen[0] : seen[-1] + 1] == 0).any()
    assert holes == (rates == "2, 2, 2, 2")


@pytest.mark.parametrize(
    "change", [{"pixel": (2, 3)}, {"kernel": 5}, {"stride": 2}, {"rates": RATES[2]}, {"depth": 1}]
)
def test_every_control_changes_picture_and_caption(change):
    before, after = demos.frame("receptive_field"), demos.frame("receptive_field", **change)
    assert (before.image != after.image).any()
    assert before.caption != after.caption


@pytest.mark.parametrize(
    "change", [{"pixel": (39, 0)}, {"kernel": 9}, {"stride": 3}, {"rates": "3"}, {"depth": 0}]
)
def test_impossible_states_are_refused(change):
    with pytest.raises(ValueError, match="expected"):
        demos.frame("receptive_field", **change)
