"""Subgrids, taps and joint upsampling against torch; costs against the counted networks."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course import demos, geometry
from course.demos import joint_upsampling as demo
from course.models import JPU
from course.models.resnet import RESNET50, RESNET101, ResNet

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("shape", [(5, 9), (16, 16), (7, 4)])
@pytest.mark.parametrize("rate", [1, 2, 4])
def test_convolution_is_that_of_torch(shape, rate):
    x, kernel = RNG.normal(size=shape), RNG.normal(size=(3, 3))
    expected = F.conv2d(
        torch.from_numpy(x)[None, None],
        torch.from_numpy(kernel)[None, None],
        padding=rate,
        dilation=rate,
    )
    np.testing.assert_allclose(demo.convolve(x, kernel, rate), expected[0, 0].numpy(), atol=1e-12)


@pytest.mark.parametrize("rate", [2, 4])
@pytest.mark.parametrize("layers", [1, 2])
def test_a_dilated_stage_is_an_ordinary_one_on_each_subgrid(rate, layers):
    x, kernels = RNG.normal(size=(12, 16)), RNG.normal(size=(layers, 3, 3))
    whole = demo.stage(x, kernels, rate)
    for i in range(rate):
        for j in range(rate):
            alone = demo.stage(x[i::rate, j::rate], kernels, 1)
            np.testing.assert_allclose(whole[i::rate, j::rate], alone, atol=1e-12)


def test_joint_upsampling_finds_one_convolution_exactly_and_two_not():
    for rate in (2, 4):
        one, two = demo.maps(rate, 1), demo.maps(rate, 2)
        assert one.error(one.joint) < 1e-9 < 0.3 < one.error(one.interpolated)
        assert two.error(two.joint) > 0.3


def test_interpolation_keeps_the_computed_positions():
    for rate in (2, 4):
        found = demo.maps(rate, 2)
        np.testing.assert_allclose(
            found.interpolated[::rate, ::rate], found.dilated[::rate, ::rate], atol=1e-12
        )
    small = RNG.normal(size=(3, 5))
    expected = F.interpolate(
        torch.from_numpy(small)[None, None], size=(5, 9), mode="bilinear", align_corners=True
    )
    got = demo.interpolate(small, 2)
    np.testing.assert_allclose(got[:5, :9], expected[0, 0].numpy(), atol=1e-12)
    np.testing.assert_array_equal(got[5], got[4])  # constant past the last computed row


@pytest.mark.parametrize("stride", [8, 16, 32])
@pytest.mark.parametrize(("name", "layers"), [("ResNet-50", RESNET50), ("ResNet-101", RESNET101)])
def test_costs_are_those_counted_on_the_networks(name, layers, stride):
    assert demo.DEPTHS[name] == tuple(layers)
    counted = geometry.count_macs(ResNet(layers, output_stride=stride), (1, 3, 512, 512))
    assert demo.backbone_macs(demo.DEPTHS[name], stride) == counted


def test_cost_of_jpu_is_that_of_the_module():
    shapes = ((1, 512, 64, 64), (1, 1024, 32, 32), (1, 2048, 16, 16))
    assert demo.jpu_macs() == geometry.count_macs(JPU(), *shapes)
    assert demo.jpu_macs(256) * 4 == demo.jpu_macs(512)


def test_taps_and_neighbours_of_the_pixel():
    assert demo._sources(demo.DILATED, 2, (7, 6))[0] == (5, 4)
    assert len(demo._sources(demo.DILATED, 4, (0, 0))) == 4  # the rest lies in the padding
    assert demo._sources(demo.STRIDE, 4, (5, 8)) == [(4, 8), (8, 8)]
    assert demo._sources(demo.STRIDE, 2, (15, 15)) == [(14, 14)]
    assert len(demo._sources(demo.STRIDE, 2, (4, 4))) == 9  # computed itself


def test_captions_count():
    assert "256 of 256 positions" in demos.frame("joint_upsampling", rate="4").caption
    stride = demos.frame("joint_upsampling", mode=demo.STRIDE, rate="4", layers=2).caption
    assert "16 of 256 positions computed, 288 multiply" in stride
    joint = demos.frame("joint_upsampling", mode=demo.JOINT).caption
    assert "off by 0.00" in joint
    assert "64 known values" in joint


@pytest.mark.parametrize(
    "wrong", [{"rate": "3"}, {"pixel": (16, 0)}, {"layers": 3}, {"net": "VGG"}]
)
def test_refuses_what_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        demos.frame("joint_upsampling", **wrong)
