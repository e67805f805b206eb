"""The CRF of the demo is that of course.crf, summed exactly, in the library's convention."""

import numpy as np
import pytest
import torch

from course import crf
from course.demos import frame, get
from course.demos.boat_scene import HEIGHT, WIDTH, scene
from course.demos.dense_crf import THETA_GAMMA, beliefs, message_weights, right_pixels


def library(theta_a, theta_b, w1, w2, iterations):
    image, _, p = scene()
    logits = torch.from_numpy(p).log().t().reshape(1, 3, HEIGHT, WIDTH)
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    result = crf.mean_field(
        logits, pixels, w1=w1, sigma_alpha=theta_a, sigma_beta=theta_b, w2=w2,
        sigma_gamma=THETA_GAMMA, iterations=iterations, method="exact",
    )  # fmt: skip
    return result[0].flatten(1).t().numpy()


@pytest.mark.parametrize(
    "settings",
    [
        (12, 20, 4.0, 1.0),
        (1, 2, 10.0, 6.0),
        (30, 80, 10.0, 0.0),
        (5, 40, 0.0, 6.0),
        (30, 2, 3.5, 2),
    ],
)
def test_every_round_equals_the_library(settings):
    rounds, _ = beliefs(*settings)
    assert rounds.shape == (11, HEIGHT * WIDTH, 3)
    assert np.allclose(rounds.sum(-1), 1, atol=1e-5)
    for iterations in (0, 1, 2, 10):
        assert np.abs(rounds[iterations] - library(*settings, iterations)).max() < 2e-4


@pytest.mark.parametrize(("x", "y"), [(0, 0), (39, 31), (19, 3), (27, 12)])
def test_message_weights_are_a_row_of_the_normalised_kernels(x, y):
    image = torch.from_numpy(scene()[0]).permute(2, 0, 1)
    kernels = crf.normalize_symmetric(crf.pairwise_kernel(image, 12, 20, THETA_GAMMA))
    row = kernels[:, y * WIDTH + x].reshape(2, HEIGHT, WIDTH).numpy()
    heard = message_weights(x, y, 12, 20, 4.0, 1.5)
    assert np.abs(heard - (4 * row[0] + 1.5 * row[1])).max() < 1e-5


def test_one_round_is_what_the_message_weights_say():
    _, _, p = scene()
    heard = message_weights(27, 12, 12, 20, 4.0, 1.0).ravel()
    exponent = np.log(p[12 * WIDTH + 27]) + heard @ p
    want = np.exp(exponent) / np.exp(exponent).sum()
    assert beliefs(12, 20, 4.0, 1.0)[0][1, 12 * WIDTH + 27] == pytest.approx(want, abs=1e-5)


def test_colours_find_the_edges_and_smoothness_alone_does_not():
    start, *_, end = right_pixels(beliefs(12, 20, 4.0, 1.0)[0])
    assert start < 0.9
    assert end > 0.99
    assert right_pixels(beliefs(12, 20, 0.0, 4.0)[0])[-1] < start
    truth, tip = scene()[1], (slice(1, 3), slice(19, 21))
    assert (truth[tip] == 2).all()
    labels = [q.argmax(1).reshape(HEIGHT, WIDTH)[tip] for q in beliefs(12, 20, 4.0, 1.0)[0]]
    assert (labels[0] == 0).all()  # the question of the demo: the tip is not seen ...
    assert (labels[10] == 2).all()  # ... and found
    # and its answer: a short reach leaves the tip out
    assert (beliefs(5, 20, 4.0, 1.0)[0][10].argmax(1).reshape(HEIGHT, WIDTH)[tip] == 0).all()


def test_every_control_moves_the_picture_and_its_words():
    start = frame("dense_crf", iteration=1)
    changes = ({"iteration": 2}, {"theta_a": 6}, {"theta_b": 80}, {"w1": 2.0}, {"w2": 3.0})
    for change in (*changes, {"pixel": (19, 1)}):
        now = frame("dense_crf", **{"iteration": 1, **change})
        assert (now.image != start.image).any(), change
        assert now.caption != start.caption, change
    assert "is boat" in start.caption
    assert (
        "100.0% of the pixels are right, of the network alone 89.3%" in frame("dense_crf").caption
    )


def test_silent_pixels_change_nothing():
    caption = frame("dense_crf", w1=0.0, w2=0.0).caption
    assert "from 0.55 to 0.55; 0% of what it hears" in caption


@pytest.mark.parametrize(
    "bad", [{"pixel": (40, 0)}, {"theta_a": 0}, {"theta_b": 1}, {"iteration": 11}, {"w1": -1.0}]
)
def test_impossible_states_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        get("dense_crf").frame(bad)
