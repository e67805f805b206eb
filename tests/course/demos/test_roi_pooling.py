"""The RoI microscope: numbers against torchvision and the library, rounding against a count."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.ops import roi_align, roi_pool

from course import boxes as library
from course import demos
from course.demos import roi_pooling as demo

DEMO = demos.get("roi_pooling")
FEATURE = torch.from_numpy(demo.feature_map()).double()[None, None]

low = st.integers(0, demo.PIXELS - 8)
box = st.tuples(low, low, low, low).map(
    lambda v: (v[0], v[1], min(v[0] + 8 + v[2], demo.PIXELS), min(v[1] + 8 + v[3], demo.PIXELS))
)


@given(box, st.integers(1, 4))
def test_pooling_is_the_library_s_and_torchvision_s(roi: tuple, bins: int) -> None:
    values, _ = demo.roi_pool(roi, bins)
    row = torch.tensor([roi], dtype=torch.float64)
    assert np.allclose(values, library.roi_max_pool(FEATURE, row, bins, 1 / demo.STRIDE)[0, 0])
    assert np.allclose(values, roi_pool(FEATURE, [row], bins, 1 / demo.STRIDE)[0, 0])


@given(box, st.integers(1, 4))
def test_alignment_is_torchvision_s(roi: tuple, bins: int) -> None:
    row = torch.tensor([roi], dtype=torch.float64)
    expected = roi_align(FEATURE, [row], bins, 1 / demo.STRIDE, 2, aligned=True)[0, 0]
    assert np.allclose(demo.roi_align(roi, bins), expected)


@given(box, st.integers(1, 4))
def test_picked_cells_hold_the_maxima_and_bins_cover_the_box(roi: tuple, bins: int) -> None:
    values, picked = demo.roi_pool(roi, bins)
    edges = demo.bin_edges(roi[0], roi[2], bins)
    filled = np.array([[x1 > x0 and y1 > y0 for x0, x1 in edges]
                       for y0, y1 in demo.bin_edges(roi[1], roi[3], bins)])  # fmt: skip
    assert [demo.feature_map()[y, x] for x, y in picked] == values[filled].tolist()
    assert not values[~filled].any(), "an empty bin is 0, as in the released layer"
    cells = {cell for first, end in edges for cell in range(first, end)}
    first, last = demo.whole_cells(roi[0], roi[2])
    assert cells == set(range(first, min(last + 1, demo.CELLS)))


def test_halves_round_away_from_zero() -> None:
    """Python rounds 0.5 to 0 and 2.5 to 2; the released layer to 1 and 3."""
    assert [demo.whole_cells(v, v + 64)[0] for v in (7, 8, 40, 55, 56)] == [0, 1, 3, 3, 4]


def test_edges_move_by_whole_cells_less_the_box() -> None:
    assert demo.edge_shifts((26, 22, 87, 101)) == [6, -6, 9, 11]
    assert demo.edge_shifts((26, 22, 88, 101)) == [6, -6, 24, 11]
    assert demo.edge_shifts((0, 0, 128, 128)) == [0, 0, 0, 0]
    for first in range(96):
        shift = demo.edge_shifts((first, 0, first + 20, 20))
        assert -8 <= shift[0] <= 8  # a first cell is at most half a cell away
        assert 8 <= shift[2] <= 24 or first + 20 + shift[2] == 128  # the last one is included


def test_one_pixel_changes_nothing_or_jumps_where_alignment_moves() -> None:
    """The answer to the question that the demo asks."""
    moved = [(x, 22, x + 60, 101) for x in range(8, 60)]
    pooled = np.array([demo.roi_pool(b, 2)[0] for b in moved])
    aligned = np.array([demo.roi_align(b, 2) for b in moved])
    still = (np.diff(pooled, axis=0) == 0).all((1, 2))
    assert still.mean() > 0.8
    assert not still.all()
    assert np.abs(np.diff(aligned, axis=0)).max() < 5
    assert np.abs(np.diff(pooled, axis=0)).max() > 5


def test_the_caption_has_the_numbers() -> None:
    caption = DEMO.frame().caption
    assert "61 × 79 pixels to 2 × 2 bins: edges move by up to 11 pixels" in caption
    assert caption.endswith("the first bin is 93, the maximum of its cells.")
    caption = DEMO.frame({"align": True}).caption
    assert "no edge moves" in caption
    value = demo.roi_align((26, 22, 87, 101), 2)[0, 0]
    assert f"the first bin is {value:.3g}" in caption
    jump = DEMO.frame({"box": ((26, 22, 88, 101),)}).caption
    assert "edges move by up to 24 pixels" in jump


@pytest.mark.parametrize(
    "changes", [{"box": ((26, 22, 88, 101),)}, {"bins": 1}, {"bins": 4}, {"align": True}]
)
def test_every_control_changes_the_picture(changes: dict) -> None:
    assert (DEMO.frame(changes).image != DEMO.frame().image).any()


@pytest.mark.parametrize("align", [False, True])
@pytest.mark.parametrize("bins", [1, 4])
@pytest.mark.parametrize("corner", [(0, 0, 8, 8), (120, 120, 128, 128), (0, 0, 128, 128)])
def test_boxes_in_the_corners_can_be_drawn(corner: tuple, bins: int, align: bool) -> None:
    frame = DEMO.frame({"box": (corner,), "bins": bins, "align": align})
    assert "nan" not in frame.caption


@pytest.mark.parametrize(
    "state", [{"box": ((10, 10, 12, 40),)}, {"box": ((90, 90, 140, 120),)}, {"bins": 0}]
)
def test_impossible_states_are_refused(state: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(state))):
        DEMO.frame(state)
