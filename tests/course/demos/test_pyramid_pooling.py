"""Bins and readings against torch and the library's own module; what the scene says about them."""

from typing import cast

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course import demos
from course.demos import pyramid_pooling as demo
from course.models.pspnet import PyramidPooling


@pytest.mark.parametrize("shape", [(24, 36), (7, 5), (11, 13), (6, 6)])
@pytest.mark.parametrize("bins", demo.LEVELS)
def test_pool_and_spread_are_those_of_torch(shape, bins):
    values = torch.randn(1, 1, *shape, dtype=torch.float64)
    pooled = F.adaptive_avg_pool2d(values, bins)
    back = F.interpolate(pooled, size=shape, mode="bilinear", align_corners=True)
    ours = demo.pool(values[0, 0].numpy(), bins)
    np.testing.assert_allclose(ours, pooled[0, 0].numpy(), atol=1e-12)
    np.testing.assert_allclose(demo.spread(ours, shape), back[0, 0].numpy(), atol=1e-12)


def test_levels_are_those_of_the_module_in_course_models():
    """With 1 x 1 convolutions that copy, PSPNet's module returns what the demo reads."""
    box, values = (8, 11, 14, 15), demo.features("lake", (8, 11, 14, 15), 2)
    net = PyramidPooling(4).double().eval()
    for level in net.levels:
        convolution, norm, _ = cast(nn.Sequential, level)
        cast(nn.Conv2d, convolution).weight.data.fill_(0.25)  # the mean of the four equal maps
        cast(nn.BatchNorm2d, norm).eps = 0.0  # with untrained statistics: the identity
    x = torch.from_numpy(values).abs().expand(1, 4, -1, -1)  # no negative values for ReLU to cut
    levels = net(x)[0, 4:, 11:15, 8:14].mean((1, 2))
    expected = demo.readings(np.abs(values), box)
    np.testing.assert_allclose(levels.detach().numpy(), list(expected.values()), atol=1e-12)


def test_every_average_keeps_the_sum_where_bins_divide_the_map():
    values = demo.features("shore", (25, 8, 31, 12), 3)
    for bins in demo.LEVELS:
        assert demo.pool(values, bins).mean() == pytest.approx(values.mean())


def test_fog_hides_exactly_the_cells_near_the_object():
    box = (10, 6, 16, 10)
    clear = demo.features("shore", box, 0)
    assert np.count_nonzero(clear == 0) == 6 * 4  # the object itself
    for fog in range(2, 7):
        hidden = demo.features("shore", box, fog) == 0
        assert hidden[6:10, 16 : 16 + fog].all()
        assert not hidden[6:10, 16 + fog].any()
        assert not hidden[6 - fog, 10 - fog]  # the corner is further away than the side


def test_the_global_bin_names_the_scene_and_not_the_place():
    sea, pier = demo.features("sea and pier", (8, 12, 14, 16), 2), (27, 2, 33, 6)
    assert demo.readings(sea, (8, 12, 14, 16))[1] > 0.5
    assert demo.readings(demo.features("sea and pier", pier, 2), pier)[1] > 0.5  # though on road
    lake = (8, 11, 14, 15)
    found = demo.readings(demo.features("lake", lake, 2), lake)
    assert found[1] < -0.3
    assert found[6] > 0.2


def test_captions_name_the_answer():
    assert (
        "cannot tell"
        in demos.frame("pyramid_pooling", **{f"bin{b}": False for b in (1, 2, 3, 6)})[1]
    )
    assert "Answer car, right" in demos.frame("pyramid_pooling").caption
    moved = demos.frame("pyramid_pooling", object=((6, 8, 12, 12),))
    assert "Answer boat, right" in moved.caption
    alone = demos.frame(
        "pyramid_pooling",
        scene="lake",
        object=((8, 11, 14, 15),),
        bin2=False,
        bin3=False,
        bin6=False,
    )
    assert "Answer car, wrong. It is a boat." in alone.caption


def test_thick_fog_blinds_the_finest_bins():
    box = (8, 12, 14, 16)
    found = demo.readings(demo.features("sea and pier", box, 6), box)
    assert abs(found[6]) < 0.01 < 0.3 < min(found[1], found[2], found[3])


def test_evidence_of_almost_nothing_is_drawn():
    """A bar narrower than a pixel: thick fog in the corner of the shore."""
    for x in (0, 14, 30):
        for fog in (0, 6):
            image, _ = demos.frame("pyramid_pooling", object=((x, 0, x + 6, 4),), fog=fog)
            assert image.shape == (480, 960, 3)


@pytest.mark.parametrize(
    "wrong", [{"fog": 7}, {"scene": "desert"}, {"object": ((33, 0, 39, 4),)}, {"bin1": 1}]
)
def test_refuses_what_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        demos.frame("pyramid_pooling", **wrong)
