"""The sheet, the charts and the controls that all demos are made of."""

from __future__ import annotations

import numpy as np
import pytest

from course.demos.charts import Axes, bars
from course.demos.controls import Area, Boxes, Choice, Paint, Point, Slider, Toggle
from course.demos.picture import Picture, colors_of

AREA = Area(left=10, top=20, width=8, height=4, scale=5)


def test_pixels_of_an_array_are_not_smoothed() -> None:
    sheet = Picture(40, 20)
    sheet.image((0, 0, 40, 20), np.array([[0.0, 1.0]]))
    image = sheet.pixels()
    assert (image[:, :20] == 0).all()
    assert (image[:, 20:] == 255).all()


def test_a_signed_map_is_neutral_in_the_middle() -> None:
    low, middle, high = colors_of(np.array([0.0, 0.5, 1.0]), "signed").astype(int)
    assert np.ptp(middle) <= 2
    assert low[0] > low[2]
    assert high[2] > high[0]


def test_an_overlay_is_as_strong_as_its_mask() -> None:
    sheet = Picture(30, 10)
    sheet.overlay((0, 0, 30, 10), [[0.0, 0.5, 1.0]], "ink", alpha=1.0)
    left, middle, right = sheet.pixels()[5, [5, 15, 25], 0].astype(int)
    assert left == 255
    assert right == 24
    assert abs(middle - (255 + 24) / 2) < 3


@pytest.mark.parametrize("hatch", ["/", "\\", "-", "|", "x"])
def test_hatching_leaves_ground_between_its_lines(hatch: str) -> None:
    sheet = Picture(60, 60)
    sheet.rect((0, 0, 60, 60), hatch=hatch)
    inside = sheet.pixels()[10:50, 10:50, 0]
    assert 0.05 < (inside < 200).mean() < 0.7


def test_dashes_keep_their_length_on_a_curve_of_short_pieces() -> None:
    plain, dashed = Picture(400, 20), Picture(400, 20)
    points = [(x, 10) for x in range(401)]
    plain.line(points, width=4)
    dashed.line(points, width=4, dash=20)
    drawn = (dashed.pixels()[10, :, 0] < 100).mean()
    assert (plain.pixels()[10, :, 0] < 100).all()
    assert 0.45 < drawn < 0.6


def test_an_arrow_of_no_length_draws_nothing() -> None:
    sheet = Picture(20, 20)
    sheet.arrow((10, 10), (10, 10))
    assert (sheet.pixels() == 255).all()


def test_an_unknown_colour_or_map_names_those_that_exist() -> None:
    with pytest.raises(ValueError, match="no colour 'red'; there are paper"):
        Picture(5, 5).color("red")
    with pytest.raises(ValueError, match="no colour map 'jet'; there are gray"):
        Picture(5, 5).image((0, 0, 5, 5), [[1.0]], map="jet")


def test_axes_put_the_low_end_at_the_bottom_left() -> None:
    axes = Axes(Picture(200, 100), (20, 10, 180, 90), (0, 4), (-1, 1), ("x", "y"))
    assert axes.place(0, -1) == (20, 90)
    assert axes.place(4, 1) == (180, 10)
    axes.draw((2, 2))
    axes.curve([0, 4], [0, 1])
    axes.dot(2, 0)
    assert (axes.sheet.pixels() < 100).any()


def test_bars_end_where_their_numbers_say() -> None:
    sheet = Picture(390, 40)
    bars(sheet, (0, 0, 390, 40), ["a"], [0.5], name_width=120)
    row = sheet.pixels()[20].astype(int)
    blue = np.flatnonzero((row[:, 2] > 150) & (row[:, 0] < 30))
    assert (blue.min(), blue.max()) == (120, 219)


def test_an_area_places_units_on_the_picture() -> None:
    assert AREA.box == (10, 20, 50, 40)
    assert AREA.place(8, 4) == (50, 40)
    assert AREA.place_box((1, 1, 2, 2)) == (15, 25, 20, 30)


@pytest.mark.parametrize(
    ("control", "good", "bad"),
    [
        (Slider("s", "S", 1, 0, 5), (0, 5, 2.4), (-1, 6, "2", None, True, float("nan"))),
        (Slider("s", "S", 0.5, 0, 1, 0.25), (0, 1, 0.3), (1.01, "x")),
        (Choice("c", "C", "a", ("a", "b")), ("a", "b"), ("c", 1, None)),
        (Toggle("t", "T", False), (True, False), (1, "yes", None)),
        (Point("p", "P", (0, 0), AREA), ((0, 0), [7, 3]), ((8, 0), (0, 4), (1,), 3, (0, -1))),
        (
            Paint("m", "M", ((0,) * 8,) * 4, AREA, levels=3),
            (((2,) * 8,) * 4,),
            (((3,) * 8,) * 4, ((0,) * 7,) * 4, 5, [["a"] * 8] * 4),
        ),
        (
            Boxes("b", "B", ((0, 0, 2, 2),), AREA, ("A",)),
            (((0, 0, 8, 4),), [[1.2, 1, 3, 3]]),
            (((0, 0, 9, 4),), ((2, 2, 1, 3),), ((0, 0, 2),), (), 7, [["a", 0, 1, 1]]),
        ),
    ],
)
def test_a_control_takes_what_it_says_and_nothing_else(control, good, bad) -> None:
    for value in good:
        control.accept(value)
    for value in bad:
        with pytest.raises(ValueError, match=f"{control.name}: expected .*, got "):
            control.accept(value)


def test_values_fall_on_the_steps_of_their_control() -> None:
    assert Slider("s", "S", 1, 0, 5).accept(2.4) == 2
    assert Slider("s", "S", 0.5, 0, 1, 0.25).accept(0.3) == 0.25
    boxes = Boxes("b", "B", ((0, 0, 2, 2),), AREA, ("A",), snap=0.5)
    assert boxes.accept([[0.3, 0, 2.2, 2]]) == ((0.5, 0.0, 2.0, 2.0),)
