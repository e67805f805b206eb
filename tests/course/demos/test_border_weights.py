"""Weights against course.losses, the stored networks against their scores and their remaking."""

import numpy as np
import pytest
import torch

from course.demos import frame, get
from course.demos.border_weights import (
    SIGMAS,
    W0S,
    found,
    network,
    stored,
    two_distances,
    weights,
)
from course.demos.stored import make_border_weights as maker
from course.losses import border_weights
from course.metrics import match_instances


@pytest.mark.parametrize("image", range(4))
@pytest.mark.parametrize(("w0", "sigma"), [(10, 5), (2, 1), (12, 9), (0, 5)])
def test_weights_are_those_of_the_loss(image, w0, sigma):
    cells = torch.from_numpy(stored().instances[image].astype(np.int64))
    want = border_weights(cells, w0, sigma, class_balance=False).numpy()
    assert np.abs(weights(two_distances(cells), w0, sigma) - want).max() < 1e-4


def test_one_cell_has_no_border_and_odd_shapes_work():
    assert weights(two_distances(np.eye(3, 5)), 10, 5).max() == 1  # one cell only
    labels = torch.tensor([[1, 0, 0, 0, 2, 0, 3]] * 2)
    want = border_weights(labels, 10, 5, class_balance=False).numpy()
    assert np.allclose(weights(two_distances(labels), 10, 5), want, atol=1e-5)


def test_found_cells_are_those_of_the_metric():
    data = stored()
    for objects in data.objects[:: len(SIGMAS)]:
        for one, truth in zip(objects, data.instances):
            pairs = [torch.from_numpy(a.astype(np.int64)) for a in (one, truth)]
            matches = match_instances(*pairs)
            assert found(one, truth) == sorted(matches.pairs[:, 0].tolist())


def test_the_file_is_small_and_in_the_order_of_its_maker():
    assert maker.FILE.stat().st_size < 100_000
    assert (maker.W0S, maker.SIGMAS) == (W0S, SIGMAS)
    assert [network(*pair) for pair in maker.networks()] == list(range(len(stored().objects)))
    assert network(0, 9) == network(0, 1)
    test = maker.cells(maker.TEST, maker.SIZE, seed=1)
    assert (test.instances[: maker.SHOWN].numpy() == stored().instances).all()
    assert np.abs(test.images[: maker.SHOWN, 0].numpy() * 255 - stored().images).max() <= 0.51


def test_the_weights_separate_cells_and_iou_does_not_see_it():
    scores = stored().scores
    without, paper = scores[network(0, 5)], scores[network(10, 5)]
    assert paper[1] > 4.5 * without[1]  # "nearly five times as many" in the demo's question
    assert -0.05 < paper[0] - without[0] < 0
    assert scores[network(10, 1), 1] < 0.5  # too narrow


def test_the_words_carry_the_numbers():
    caption = frame("border_weights", w0=10).caption
    assert "sees 10 objects where there are 9 cells and finds 9" in caption
    assert "finds 96% of the cells at a mean IoU of 0.947" in caption
    assert "largest weight of this map is 10.2" in caption  # 1 + 10 exp(-4 / 50): a gap of 1
    assert "finds 0" in frame("border_weights").caption


def test_every_control_moves_the_picture():
    start = frame("border_weights", w0=4).image
    for change in ({"w0": 6}, {"sigma": 7}, {"image": 1}):
        assert (frame("border_weights", **{"w0": 4, **change}).image != start).any(), change


@pytest.mark.parametrize("bad", [{"w0": 13}, {"sigma": 0}, {"image": 5}, {"w0": True}])
def test_impossible_states_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        get("border_weights").frame(bad)


@pytest.mark.slow
@pytest.mark.parametrize(("w0", "sigma"), [(0, 1), (10, 5)])
def test_the_stored_predictions_can_be_remade(w0, sigma):
    """Other processors round otherwise, so a retrained network agrees but for a few pixels."""
    place = network(w0, sigma)
    test = maker.cells(maker.TEST, maker.SIZE, seed=1)
    masks = maker.predict(maker.train(w0, sigma), test.images)
    assert ((masks[: maker.SHOWN].numpy() > 0) == (stored().objects[place] > 0)).mean() > 0.97
    mean_iou, share = maker.score(masks, test.instances)
    assert mean_iou == pytest.approx(float(stored().scores[place, 0]), abs=0.02)
    assert share == pytest.approx(float(stored().scores[place, 1]), abs=0.15)
