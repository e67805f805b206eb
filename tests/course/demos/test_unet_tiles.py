"""The tiles of the demo: against course.geometry, course.tiling and a network that really runs."""

import numpy as np
import pytest
import torch

from course import geometry, tiling
from course.demos import frame, get
from course.demos.unet_sizes import border, legal_tiles, mirrored, path, plan
from course.models import UNet


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_sizes_and_warnings_are_those_of_course_geometry(depth):
    for tile in range(92, 960, 2):
        route = path(tile, depth)
        numbers = [n for level in route.down + route.up for n in level]
        if route.stop is None:
            assert numbers == geometry.unet_sizes(tile, depth)
            assert route.up[-1][-1] == tile - 2 * border(depth)
            continue
        assert not route.up
        size = numbers[-1]
        odd = f"level {route.stop} would pool the odd size {size}"
        small = tile < geometry.valid_input_for(1, depth)
        with pytest.raises(ValueError, match="too small" if small else odd):
            geometry.unet_sizes(tile, depth)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_legal_neighbours_are_legal_and_nearest(depth):
    legal = [n for n in range(8, 1200) if path(n, depth).stop is None]
    assert legal[0] == geometry.valid_input_for(1, depth)
    for near in range(92, 960, 2):
        below, above = legal_tiles(near, depth)
        assert below in legal
        assert above in legal
        if near > legal[0]:
            assert below < near <= above
            assert not [n for n in legal if below < n < above]


def test_the_published_numbers():
    route = path(572, 4)
    crops = [(down[-1] - up[0]) // 2 for down, up in zip(route.down, reversed(route.up))]
    assert crops == [88, 40, 16, 4]
    assert "4.99 times" in frame("unet_tiles").caption
    assert "388 = 4 modulo 16" in frame("unet_tiles").caption
    assert path(570, 4).stop == 1
    assert "556 and 572" in frame("unet_tiles", tile=570).caption


@pytest.mark.parametrize(("image", "tile", "depth"), [(512, 572, 4), (1000, 572, 4), (300, 92, 3)])
def test_tiles_are_those_of_course_tiling(image, tile, depth):
    tiles = plan(image, tile, depth, border(depth))
    boxes = tiling.tile_plan(image, image, tile - 2 * border(depth), balance=False).boxes
    rows = sorted({(box[0], box[2]) for box in boxes})
    assert [(a, min(b, image)) for a, b in tiles.labelled] == rows
    assert tiles.missing == 0


def test_a_running_network_labels_what_the_plan_says_it_labels():
    """Mark what each tile of a real U-Net returns, with a margin that is too small by 4."""
    net = UNet(width=1, depth=2).eval()
    image, tile, margin = 61, 60, 16
    tiles = plan(image, tile, 2, margin)
    padded = tiling.mirror_pad(torch.rand(1, 1, image, image), (margin, margin, 60, 60))
    hits = np.zeros(image + 60, int)
    for start, _ in tiles.windows:
        window = padded[..., start + margin : start + margin + tile, :tile]
        rows = net(window).shape[-2]
        first = start + (tile - rows) // 2
        hits[first : first + rows] += 1
    assert int((hits[:image] == 0).sum()) == tiles.missing == 4 + 8 + 8
    assert hits.max() == 1


def test_margins_too_large_label_twice_and_miss_nothing():
    tiles = plan(512, 572, 4, 100)
    assert tiles.missing == 0
    overlaps = [a[1] - b[0] for a, b in zip(tiles.labelled, tiles.labelled[1:])]
    assert set(overlaps) == {2 * (100 - 92)}
    assert "twice" in frame("unet_tiles", margin=100).caption


def test_mirror_is_that_of_course_tiling():
    row = torch.arange(9)[None]
    want = tiling.mirrored_window(row, (-25, 0, 31, 1))[0]
    assert mirrored(-25, 31, 9, 56).tolist() == want.tolist()


def test_every_control_moves_the_picture_and_words_say_the_seams():
    start = frame("unet_tiles").image
    for change in ({"image": 516}, {"tile": 588}, {"margin": 88}, {"depth": 3}, {"fill": "zeros"}):
        assert (frame("unet_tiles", **change).image != start).any(), change
    # rows 32 to 420 and 484 to 512: 416 of 512 on each axis, 1 - 0.8125^2
    assert "34% of the image without" in frame("unet_tiles", margin=60, image=512).caption
    assert "no step left" in frame("unet_tiles", tile=188, margin=120).caption
    assert "nothing is left" in frame("unet_tiles", tile=92).caption


@pytest.mark.parametrize(
    "bad", [{"tile": 90}, {"image": "512"}, {"depth": 5}, {"fill": "wrap"}, {"margin": -4}]
)
def test_impossible_states_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        get("unet_tiles").frame(bad)
