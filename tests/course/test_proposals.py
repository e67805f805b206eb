"""Proposers find what is there, cover what they promise, and say what they need."""

import builtins
import importlib.util
import subprocess
import sys

import pytest
import torch

from course.boxes import box_iou
from course.data import boxes as box_scenes
from course.proposals import propose, segment_proposals, selective_search, window_proposals

WITH_OPENCV = importlib.util.find_spec("cv2") is not None


def recall(scenes, method, iou):
    best = [
        box_iou(truth, propose(image, method)).amax(1)
        for image, truth in zip(scenes.images, scenes.boxes)
    ]
    return (torch.cat(best) >= iou).float().mean().item()


def test_segments_find_nearly_every_shape():
    assert recall(box_scenes(20, (48, 70), seed=0), "segments", 0.7) > 0.95


def test_windows_find_what_a_grid_can():
    assert recall(box_scenes(20, (48, 70), seed=0), "windows", 0.5) > 0.6


def test_segments_are_tight_on_a_clean_picture():
    image = torch.zeros(3, 40, 64)
    image[0, 5:15, 8:30] = 0.9
    image[1, 20:38, 40:60] = 0.9
    best = box_iou(
        torch.tensor([[8.0, 5.0, 30.0, 15.0], [40.0, 20.0, 60.0, 38.0], [8.0, 5.0, 60.0, 38.0]]),
        segment_proposals(image, sigma=0.0),
    ).amax(1)
    torch.testing.assert_close(best[:2], torch.ones(2))  # half-open: no pixel more, none less
    assert best[2] > 0.5  # both together are a merge, or the whole picture


def test_two_halves_of_one_object_are_proposed_apart_and_together():
    image = torch.full((3, 48, 48), 0.1)
    image[:, 10:30, 10:25] = torch.tensor([0.9, 0.1, 0.1])[:, None, None]
    image[:, 10:30, 25:40] = torch.tensor([0.9, 0.3, 0.1])[:, None, None]
    found = segment_proposals(image, scales=(20.0,), sigma=0.0).tolist()
    for box in ([10, 10, 25, 30], [25, 10, 40, 30], [10, 10, 40, 30]):
        assert [float(v) for v in box] in found


@pytest.mark.parametrize("size", [(20, 40), (47, 31), (8, 8), (5, 100)])
def test_windows_tile_the_image_flush(size):
    boxes = window_proposals(size)
    height, width = size
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2] <= width + 1e-4).all()
    assert (boxes[:, 3] <= height + 1e-4).all()
    assert (boxes[:, 2:] > boxes[:, :2]).all()
    assert boxes[:, 2].max() == pytest.approx(width)
    assert boxes[:, 3].max() == pytest.approx(height)
    covered = torch.zeros(size, dtype=torch.bool)
    for x0, y0, x1, y1 in boxes.round().int().tolist():
        covered[y0:y1, x0:x1] = True
    assert covered.all()


def test_window_shapes_and_overlap_are_the_ones_asked_for():
    boxes = window_proposals((100, 400), scales=(0.5,), aspects=(4.0,), overlap=0.75)
    sides = boxes[:, 2:] - boxes[:, :2]
    torch.testing.assert_close(sides, torch.tensor([100.0, 25.0]).expand_as(sides))
    for axis in (0, 1):
        starts = boxes[:, axis].unique()
        assert starts.diff().max() <= sides[0, axis] * 0.25 + 1e-4


def test_an_aspect_is_width_over_height():
    wide = window_proposals((90, 90), scales=(0.5,), aspects=(2.0,))
    assert (wide[:, 2] - wide[:, 0] > wide[:, 3] - wide[:, 1]).all()


@pytest.mark.parametrize("method", ["segments", "windows"])
def test_proposals_are_repeatable_limited_and_keep_the_image(method):
    image = box_scenes(1, (40, 56), seed=3).images[0]
    before = image.clone()
    first = propose(image, method)
    assert torch.equal(image, before)
    assert torch.equal(first, propose(image, method))
    assert first.dtype == torch.float32
    assert len(first.unique(dim=0)) == len(first)
    few = propose(image, method, limit=3)
    assert torch.equal(few, propose(image, method, limit=3))
    if method == "segments":
        assert torch.equal(few, first[:3])
    assert len({tuple(box) for box in few.tolist()} & {tuple(box) for box in first.tolist()}) == 3


def test_a_limit_thins_windows_all_over_the_image():
    # Cut in their order, from left to right, 100 of 338 windows would end at x0 = 119.
    boxes = propose(torch.zeros(3, 480, 640), "windows", limit=100)
    assert len(boxes) == 100
    everywhere = window_proposals((480, 640))
    for axis, length in ((0, 640), (1, 480)):
        share, expected = (
            torch.histc(rows[:, axis], 4, 0, length) / len(rows) for rows in (boxes, everywhere)
        )  # of windows that start in each quarter
        torch.testing.assert_close(share, expected, atol=0.1, rtol=0)


def test_grey_and_plain_images():
    assert segment_proposals(torch.zeros(1, 20, 30)).tolist() == [[0, 0, 30, 20]]
    assert segment_proposals(torch.zeros(3, 3, 3)).shape == (0, 4)


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        (torch.zeros(1, 3, 8, 8), ValueError, r"\(C, H, W\)"),
        (torch.zeros(2, 8, 8), ValueError, "1 or 3 channels"),
        (torch.zeros(3, 0, 8), ValueError, r"got \(3, 0, 8\)"),
        (torch.zeros(3, 8, 8, dtype=torch.uint8), TypeError, "divide by 255"),
    ],
)
@pytest.mark.parametrize("method", ["segments", "windows", "selective_search"])
def test_wrong_images_are_refused(image, error, message, method):
    with pytest.raises(error, match=message):
        propose(image, method)


def test_wrong_choices_are_refused():
    with pytest.raises(ValueError, match="'segments', 'windows' or 'selective_search', got 'rpn'"):
        propose(torch.zeros(3, 8, 8), "rpn")
    with pytest.raises(ValueError, match=r"overlap in \[0, 1\)"):
        window_proposals((8, 8), overlap=1.0)
    with pytest.raises(ValueError, match="'fast' or 'quality', got 'slow'"):
        selective_search(torch.zeros(3, 8, 8), mode="slow")


def test_missing_opencv_is_named_with_its_cure(monkeypatch):
    real = builtins.__import__

    def without_cv2(name, *args, **kwargs):
        if name == "cv2":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_cv2)
    with pytest.raises(ImportError, match="pip install opencv-contrib-python-headless"):
        selective_search(torch.zeros(3, 8, 8))


def test_plain_opencv_without_contributed_modules_is_named_too(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", type(sys)("cv2"))
    with pytest.raises(ImportError, match="contributed modules"):
        selective_search(torch.zeros(3, 8, 8))


@pytest.mark.skipif(not WITH_OPENCV, reason="needs opencv-contrib-python-headless")
def test_selective_search_finds_nearly_every_shape():
    scenes = box_scenes(5, (64, 96), seed=0)
    assert recall(scenes, "selective_search", 0.5) > 0.8
    assert len(selective_search(scenes.images[0][:1])) > 0


def test_import_loads_neither_scikit_image_nor_opencv():
    code = (
        "import sys, course.proposals;"
        "assert not {'skimage', 'cv2', 'torchvision', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("method", ["segments", "windows"])
def test_proposals_are_on_the_device_of_the_image(method):
    assert propose(torch.rand(3, 32, 32, device="cuda"), method).is_cuda
