"""The counts of the demo: against course.models.DenseBlock and a residual layer made of torch."""

import pytest
import torch
from torch import nn

from course.demos import frame, get
from course.demos.dense_block import block_weights, layer_weights, makes, reads
from course.models.fc_densenet import DenseBlock


@pytest.mark.parametrize(("maps", "growth", "layers"), [(48, 12, 4), (8, 4, 1), (20, 48, 8)])
def test_concatenation_has_the_maps_and_weights_of_the_library(maps, growth, layers):
    block = DenseBlock(maps, growth=growth, layers=layers)
    each = [sum(p.numel() for p in layer.parameters()) for layer in block.layers]
    read, made = (f(maps, growth, layers, "concatenate") for f in (reads, makes))
    assert [layer_weights(*pair) for pair in zip(read, made)] == each
    assert block_weights(maps, growth, layers, "concatenate") == sum(each)
    seen = []
    for layer in block.layers:
        layer.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    assert block(torch.zeros(1, maps, 3, 5)).shape[1] == read[-1] + growth
    assert seen == read


@pytest.mark.parametrize(("maps", "layers"), [(48, 4), (8, 1), (96, 8)])
def test_summation_has_the_weights_of_a_residual_layer(maps, layers):
    layer = nn.Sequential(nn.BatchNorm2d(maps), nn.ReLU(), nn.Conv2d(maps, maps, 3, padding=1))
    x = torch.zeros(1, maps, 3, 5)
    assert (x + layer(x)).shape == x.shape  # so each layer must make as many maps as it reads
    want = layers * sum(p.numel() for p in layer.parameters())
    assert block_weights(maps, 12, layers, "sum") == want
    assert reads(maps, 12, layers, "sum") == makes(maps, 12, layers, "sum") == [maps] * layers


def test_the_words_carry_the_numbers():
    caption = frame("dense_block", chosen=4).caption
    for words in ("Layer 4 reads 84 maps", "9,252 weights", "96 maps for 29,088", "take 83,520"):
        assert words in caption
    assert "48 maps for 83,520" in frame("dense_block", joining="sum").caption
    assert "Layer 2 reads" in frame("dense_block", layers=2, chosen=8).caption


def test_many_layers_and_a_large_growth_pass_the_sum():
    assert block_weights(48, 12, 4, "concatenate") < block_weights(48, 12, 4, "sum")
    assert block_weights(48, 48, 8, "concatenate") > block_weights(48, 48, 8, "sum")


def test_every_control_moves_the_picture():
    start = frame("dense_block").image
    for change in ({"growth": 14}, {"layers": 5}, {"maps": 52}, {"chosen": 2}, {"joining": "sum"}):
        assert (frame("dense_block", **change).image != start).any(), change


@pytest.mark.parametrize("bad", [{"growth": 2}, {"layers": 9}, {"maps": None}, {"joining": "add"}])
def test_impossible_states_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        get("dense_block").frame(bad)
