"""The scanner: windows, scores and bill against `course.windows`, detections against the truth."""

import numpy as np
import pytest
import torch

from course import boxes as library
from course import demos, windows
from course.demos import sliding_window as demo

DEMO = demos.get("sliding_window")
GRIDS = [(8, 1, None), (12, 2, 0.7), (12, 5, 0.5), (24, 12, 0.5), (24, 1, None), (10, 3, 0.7)]


@pytest.mark.parametrize(("size", "stride", "scale"), GRIDS)
def test_levels_and_windows_are_those_of_the_library(
    size: int, stride: int, scale: float | None
) -> None:
    image = torch.from_numpy(demo.scene())[None]
    levels = [windows.PyramidLevel(image, (72, 96))]
    if scale is not None:
        levels = windows.image_pyramid(image, scale, size)
    sizes = [tuple(level.image.shape[1:]) for level in levels]
    assert demo.level_sizes(72, 96, size, scale) == sizes
    total = 0
    for number, level in enumerate(levels):
        height, width = level.image.shape[1:]
        boxes = windows.window_grid(height, width, size, stride)
        expected = windows.to_image_coords(boxes, level).numpy()
        found = [demo.window(size, stride, scale, number, cell) for cell in range(len(boxes))]
        assert np.allclose(found, expected, atol=1e-4)
        total += len(boxes)
    assert demo.calls(72, 96, size, stride, scale) == total


@pytest.mark.parametrize(("size", "stride", "scale"), GRIDS)
def test_scores_are_those_of_the_library(size: int, stride: int, scale: float | None) -> None:
    pattern = torch.from_numpy(demo.disc_pattern(size))
    image = torch.from_numpy(demo.scene())[None]
    levels = [image]
    if scale is not None:
        levels = [level.image for level in windows.image_pyramid(image, scale, size)]

    def likeness(batch: torch.Tensor) -> torch.Tensor:
        return (batch * pattern).mean((1, 2, 3))

    maps = demo.scan(size, stride, scale)
    assert len(maps) == len(levels)
    for scores, level in zip(maps, levels, strict=True):
        expected = windows.score_map(level.double(), likeness, size, stride, normalize=True)
        assert np.allclose(scores, expected.numpy(), atol=2e-5)


def test_a_flat_window_scores_nothing_and_the_disc_itself_everything() -> None:
    assert demo.score_map(np.full((9, 11), 0.3), 8, 1) == pytest.approx(0, abs=1e-6)
    disc = 0.2 + 0.1 * demo.disc_pattern(12)
    assert demo.score_map(disc, 12, 1)[0, 0] == pytest.approx(1)
    assert demo.score_map(-disc, 12, 1)[0, 0] == pytest.approx(-1)


def test_suppression_is_the_library_s() -> None:
    boxes, scores = demo.detect(12, 1, 0.7, 10**9)
    assert len(boxes) == 40
    kept = library.nms(torch.tensor(boxes), torch.tensor(scores), demo.OVERLAP)
    assert demo.judge(boxes[kept.numpy()]) == (5, 2)
    assert "40 windows above 0.7, 7 after suppression: 5 of 5 discs, 2 false alarms" in (
        DEMO.frame({"progress": 100, "stride": 1, "scale": "0.7"}).caption
    )


def test_one_size_finds_only_discs_of_its_size() -> None:
    alone = demo.detect(12, 1, None, 10**9)[0]
    truth = np.array([(x - r, y - r, x + r, y + r) for x, y, r in demo.DISCS], float)
    met = library.box_iou(torch.tensor(truth), torch.tensor(alone)).amax(1) >= 0.5
    assert met.tolist() == [True, True, False, False, False]
    assert demo.judge(np.zeros((0, 4))) == (0, 0)
    assert demo.judge(truth) == (5, 0)


def test_the_scan_grows_call_by_call() -> None:
    """What was found never goes away again, and the last state has it all."""
    total = demo.calls(72, 96, 12, 2, 0.7)
    counts = [len(demo.detect(12, 2, 0.7, done)[0]) for done in range(0, total + 1, 50)]
    assert counts == sorted(counts)
    assert counts[0] == 0
    above = sum(int((scores > demo.THRESHOLD).sum()) for scores in demo.scan(12, 2, 0.7))
    assert len(demo.detect(12, 2, 0.7, total)[0]) == above == 13


def test_half_the_step_is_about_four_times_the_calls() -> None:
    ratio = demo.calls(768, 1024, 12, 1, 0.7) / demo.calls(768, 1024, 12, 2, 0.7)
    assert ratio == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"progress": 0}, "1 of 1,333 classifier calls"),
        ({"progress": 100}, "1,333 of 1,333 classifier calls"),
        ({"progress": 100, "scale": "0.7"}, "2,207 of 2,207"),
        (
            {"size": 24, "stride": 12},
            "35 classifier calls: windows of 24 pixels, 12 apart, on 1 sc",
        ),
        ({"stride": 1, "scale": "0.7"}, "would need 1,478,276 calls"),
        ({"size": 8, "stride": 1}, "of 5,785 classifier calls"),
    ],
)
def test_the_caption_counts(changes: dict, words: str) -> None:
    assert words in DEMO.frame(changes).caption


def test_every_control_changes_the_picture() -> None:
    whole = {"progress": 100, "scale": "0.7"}
    start = DEMO.frame(whole).image
    for change in (
        {"progress": 99},
        {"size": 14},
        {"stride": 3},
        {"scale": "0.5"},
        {"boxes": "after suppression"},
    ):
        assert (DEMO.frame({**whole, **change}).image != start).any(), change


@pytest.mark.parametrize("state", [{"stride": 0}, {"size": 40}, {"scale": "0.9"}, {"boxes": "no"}])
def test_impossible_states_are_refused(state: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(state))):
        DEMO.frame(state)
