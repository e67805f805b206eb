"""The skips demo: stored scores of a real network, summed as the library sums them."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course import demos
from course.demos import fcn_skips as demo
from course.demos.stored import make_fcn_skips as maker
from course.metrics import ConfusionMatrix
from course.upsampling import bilinear_upsample

NAMES = ("A", "B")
NETS = list(demo._NETS.values())


@pytest.mark.parametrize("name", NAMES)
def test_what_is_stored_is_a_scene_of_the_test_set(name):
    shown, test = demo.scene(name), maker.scenes(12, 999)
    index = maker.SHOWN[name]
    np.testing.assert_array_equal(shown.truth, test.masks[index])
    np.testing.assert_allclose(shown.image, test.images[index, 0], atol=0.5 / 255 + 1e-6)
    assert [s.shape for s in shown.scores] == [(3, 4, 6), (3, 8, 12), (3, 16, 24)]
    assert demo.STORED.stat().st_size < 100_000


@pytest.mark.parametrize("factor", [2, 8])
def test_enlarging_is_that_of_the_library(factor):
    scores = np.random.default_rng(0).standard_normal((3, 4, 7))
    wanted = bilinear_upsample(torch.from_numpy(scores)[None], factor)[0]
    np.testing.assert_allclose(demo.enlarge(scores, factor), wanted, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", [*NETS, (0.0, 0.0, 1.0), (0.5, 2.0, 0.25)])
def test_the_segmentation_is_the_sum_on_the_way_up(name, weights):
    s32, s16, s8 = (torch.from_numpy(s)[None] for s in demo.scene(name).scores)
    a, b, c = weights
    at16 = bilinear_upsample(a * s32, 2) + b * s16
    logits = bilinear_upsample(bilinear_upsample(at16, 2) + c * s8, 8)
    np.testing.assert_array_equal(demo.segment(name, weights), logits.argmax(1)[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", NETS)
def test_quality_is_that_of_the_library(name, weights):
    shown, found = demo.scene(name), demo.segment(name, weights)
    result = demo.judge(found, shown.truth, shown.band)
    confusion = ConfusionMatrix(3)
    confusion.update(torch.from_numpy(found), torch.from_numpy(shown.truth))
    assert result.mean_iou == pytest.approx(float(confusion.mean_iou()))
    share = shown.band.mean()
    wrong = share * result.near + (1 - share) * result.far
    assert wrong == pytest.approx(1 - float(confusion.pixel_accuracy()))


def test_the_band_is_that_of_lab_7():
    truth = torch.from_numpy(demo.scene("A").truth).float()[None, None]
    reach = demo.REACH
    high = F.max_pool2d(truth, 2 * reach + 1, 1, reach)
    low = -F.max_pool2d(-truth, 2 * reach + 1, 1, reach)
    np.testing.assert_array_equal(demo.scene("A").band, (high != low)[0, 0])
    assert not demo.border_band(np.zeros((9, 5), int)).any()


@pytest.mark.parametrize("name", NAMES)
def test_every_skip_sharpens_and_no_map_is_enough_alone(name):
    shown = demo.scene(name)

    def result(*weights):
        return demo.judge(demo.segment(name, weights), shown.truth, shown.band)

    first, second, third = (result(*w) for w in NETS)
    assert third.mean_iou > second.mean_iou + 0.1 > first.mean_iou + 0.2
    assert first.near > second.near > third.near
    assert first.near > 5 * first.far  # errors gather at borders
    for alone in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        assert result(*alone).mean_iou < third.mean_iou - 0.05


def test_caption_has_the_numbers_of_the_state():
    shown = demo.scene("A")
    result = demo.judge(demo.segment("A", (1.0, 1.0, 1.0)), shown.truth, shown.band)
    caption = demos.frame("fcn_skips", w16=1.0, w8=1.0).caption
    assert "(FCN-8s)" in caption
    assert f"mean IoU {result.mean_iou:.2f}" in caption
    assert f"{100 * result.near:.0f} % of the pixels within 4" in caption
    assert "(FCN" not in demos.frame("fcn_skips", w8=0.5).caption


def test_without_weights_everything_is_ground():
    assert not demo.segment("A", (0.0, 0.0, 0.0)).any()
    # Nothing of disc and bar is found: a third of the IoU of the ground is left.
    ground = (demo.scene("A").truth == 0).mean()
    assert f"mean IoU {ground / 3:.2f}" in demos.frame("fcn_skips", w32=0.0).caption


@pytest.mark.parametrize(
    "changes", [{"w32": 2.5}, {"w16": -0.25}, {"w8": "much"}, {"scene": "C"}, {"skips": 2}]
)
def test_impossible_states_are_refused(changes):
    with pytest.raises(ValueError, match=next(iter(changes))):
        demos.frame("fcn_skips", **changes)


def test_the_sums_are_those_of_the_network():
    torch.manual_seed(3)
    sums = maker.train(steps=2, images=8, width=4)
    for p in sums.parameters():  # the scores of the skips start at zero
        torch.nn.init.normal_(p, std=0.3)
    images = torch.rand(2, 1, 64, 96)
    with torch.no_grad():
        three = sums(images)
        torch.testing.assert_close(three[2], sums.net(images))
        assert not torch.allclose(three[0], three[1])
        sums.net.score3.weight.zero_()
        sums.net.score3.bias.zero_()
        torch.testing.assert_close(sums.net(images), three[1])


def test_the_file_can_be_written_again(tmp_path):
    file = tmp_path / "again.npz"
    maker.store(maker.train(steps=1, images=8, width=4).eval(), file)
    with np.load(file) as again, np.load(demo.STORED) as stored:
        assert set(again) == set(stored)
        for key in stored:
            assert again[key].shape == stored[key].shape
            assert again[key].dtype == stored[key].dtype
        np.testing.assert_array_equal(again["A_truth"], stored["A_truth"])


@pytest.mark.slow
def test_the_whole_training_gives_networks_as_good_as_the_stored_one(tmp_path):
    """Rounding differs between machines and grows over 600 steps: compare quality, not bits."""
    file = tmp_path / "again.npz"
    maker.store(maker.train(), file)
    with np.load(file) as again:
        for name in NAMES:
            shown = demo.scene(name)
            s32, s16, s8 = (again[f"{name}_{s}"].astype(float) for s in demo.STRIDES)
            at16 = [demo.enlarge(s32, 2), demo.enlarge(s32, 2) + s16]
            coarse, middle = (demo.enlarge(demo.enlarge(s, 2), 8) for s in at16)
            fine = demo.enlarge(demo.enlarge(at16[1], 2) + s8, 8)
            for weights, scores in zip(NETS, (coarse, middle, fine)):
                stored = demo.judge(demo.segment(name, weights), shown.truth, shown.band)
                remade = demo.judge(scores.argmax(0), shown.truth, shown.band)
                assert remade.mean_iou == pytest.approx(stored.mean_iou, abs=0.15)
