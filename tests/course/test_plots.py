"""Pictures: their description tells the numbers, they stay small, and a comparison never raises."""

import base64
import io
import json
import re

import nbformat
import numpy as np
import pytest
import torch
from bs4 import BeautifulSoup
from nbconvert import HTMLExporter
from PIL import Image

from course import plots
from course.data import boxes, cells, lines, textures
from course.plots.panels import edges
from course.plots.style import HATCHES, PALETTE


def pictures():
    """One picture of every function."""
    some, found, drawn = cells(3), boxes(3, seed=1), lines(2)
    halves = [(0, 0, 50, 80), (50, 0, 100, 80)]
    return {
        "bars": plots.bars(["a", "b"], {"x": [1, 2], "y": [3, 4]}, title="Bars"),
        "compare": plots.compare(some.images[0], some.images[1], title="Two images"),
        "compare_values": plots.compare_values([1, 2, 3], [1, 2, 4], title="Values"),
        "curves": plots.curves({"train": [3, 2, 1], "test": ([0, 2], [3, 2])}, title="Loss"),
        "draw_tiles": plots.draw_tiles((80, 100), halves, margin=20, title="Tiles"),
        "heat": plots.heat(np.eye(4), title="Identity"),
        "outlines": plots.outlines(some.instances, title="Cells"),
        "show_boxes": plots.show_boxes(found.images[0], found.boxes[0], title="Boxes"),
        "show_images": plots.show_images(some.images, title="Images"),
        "show_instances": plots.show_instances(some, title="Instances"),
        "show_masks": plots.show_masks(drawn.images, drawn.masks, title="Masks"),
    }


def pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGB"))


@pytest.fixture(scope="module")
def drawn():
    return pictures()


def test_every_picture_is_a_small_png_with_numbers_in_its_description(drawn):
    for name, picture in drawn.items():
        assert isinstance(picture, plots.Picture), name
        height, width, _ = pixels(picture).shape
        assert 200 < width < 1100, name
        assert 100 < height < 1000, name
        assert 3_000 < len(picture.png) < 100_000, name
        assert re.search(r"\d", picture.alt), name
        assert picture.alt.endswith("."), name


def test_the_same_drawing_gives_the_same_bytes(drawn):
    for name, again in pictures().items():
        assert again.png == drawn[name].png, name


def test_settings_of_the_reader_change_nothing_and_stay_as_they_are(drawn):
    import matplotlib

    with matplotlib.rc_context({"font.size": 30, "lines.linewidth": 9, "axes.facecolor": "red"}):
        again = plots.bars(["a", "b"], {"x": [1, 2], "y": [3, 4]}, title="Bars")
        assert matplotlib.rcParams["font.size"] == 30
    assert again.png == drawn["bars"].png


def test_a_photograph_is_squeezed_below_100_kb_and_shown_at_its_full_width():
    rough = torch.from_numpy(np.random.default_rng(0).random((2, 3, 150, 400)))
    picture = plots.show_images(rough, title="Noise")
    assert len(picture.png) < 100_000
    assert f'width="{picture.width}"' in picture._repr_mimebundle_()["text/html"]
    assert picture.width > pixels(picture).shape[1]


def test_few_colours_keep_the_legend():
    some = textures(2, 256)
    rough = (some.images + 0.3 * torch.randn(some.images.shape)).clamp(0, 1)
    picture = plots.show_masks(rough, some.masks, class_names=some.class_names)
    image = pixels(picture).astype(int)
    for color in PALETTE[:4]:
        wanted = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)])
        wanted = 0.6 * wanted + 0.4 * 255  # the swatches are half transparent, on white
        bottom = image[-60:]
        assert np.abs(bottom - wanted).sum(-1).min() < 40, color


def test_a_notebook_carries_the_description_in_its_html():
    picture = plots.bars(['"quoted" & <odd>', "b"], [1, 2], title="Bars")
    bundle = picture._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    assert bundle["text/plain"] == picture.alt == repr(picture)
    output = nbformat.v4.new_output("display_data", data=json.loads(json.dumps(bundle)))
    cell = nbformat.v4.new_code_cell("picture", outputs=[output])
    html, _ = HTMLExporter().from_notebook_node(nbformat.v4.new_notebook(cells=[cell]))
    assert "No description has been provided" not in html
    shown = BeautifulSoup(html, "html.parser").find("img", alt=picture.alt)
    assert shown is not None
    assert base64.b64decode(shown["src"].removeprefix("data:image/png;base64,")) == picture.png


def test_show_displays_where_a_bare_line_would_not(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    table = plots.table(["a"], [[1]])
    table.show()
    assert shown == [table]
    assert repr(table).startswith("a\n1")


def test_save_writes_the_png(tmp_path, drawn):
    path = drawn["heat"].save(tmp_path / "heat.png")
    assert path.read_bytes() == drawn["heat"].png


def test_compare_says_where_and_how_much():
    expected = torch.arange(12.0).reshape(3, 4)
    yours = expected.clone()
    yours[2, 1] += 0.5
    yours[0, 3] -= 0.25
    alt = plots.compare(yours, expected, title="Map").alt
    assert "Largest difference 0.5 at row 2, column 1; 2 of 12 pixels differ" in alt
    assert "Yours: 0 to 11. Expected: 0 to 11." in alt
    assert "No difference above 0.0001" in plots.compare(expected, expected, title="Map").alt
    small = plots.compare(expected + 5e-5, expected, title="Map").alt
    assert "No difference above 0.0001." in small


def test_compare_marks_the_largest_difference_in_the_third_panel():
    expected, yours = np.zeros((10, 20)), np.zeros((10, 20))
    yours[7, 15] = 1.0
    figure = plots.compare(yours, expected, title="Map").figure
    difference = figure.axes[2]
    assert "max 1" in difference.get_title()
    ((x,), (y,)) = difference.lines[0].get_data()
    assert (x, y) == (15, 7)
    np.testing.assert_array_equal(difference.images[0].get_array(), yours)


def test_compare_counts_what_is_not_a_number_as_wrong():
    expected = np.zeros((2, 3))
    yours = np.array([[0, np.nan, 0], [0, 0, np.inf]])
    alt = plots.compare(yours, expected, title="Map").alt
    assert "not a finite number at row 0, column 1; 2 of 6 pixels differ" in alt
    assert "2 not finite" in alt
    both = plots.compare(yours, yours, title="Map").alt
    assert "No difference above" in both


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((5, 7), torch.bfloat16),
        ((1, 5, 7), torch.int64),
        ((1, 1, 5, 7), torch.bool),
        ((1, 3, 5, 7), torch.float32),
        ((6,), torch.int32),
        ((1, 1), torch.uint8),
        ((1, 9), torch.float64),
    ],
)
def test_compare_takes_any_map(shape, dtype):
    values = torch.zeros(shape).to(dtype)
    result = plots.compare(lambda: values, values.clone(), title="Map")
    assert isinstance(result, plots.Picture), result


def test_compare_asks_for_an_unwritten_exercise():
    def unwritten():
        raise NotImplementedError

    for compare in (plots.compare, plots.compare_values):
        note = compare(unwritten, [1.0], title="Map", exercise="8.5")
        assert repr(note) == "Write exercise 8.5 first, then run this cell again."
        assert "the exercise above" in repr(compare(unwritten, [1.0], title="Map"))
    assert note._repr_mimebundle_()["text/html"].startswith("<p><em>Write")


@pytest.mark.parametrize(
    ("yours", "expected", "message"),
    [
        (lambda: 1 / 0, [[1]], "ZeroDivisionError: division by zero"),
        (lambda: None, [[1]], "TypeError"),
        (lambda: "no", [[1]], "TypeError"),
        (lambda: [[1, 2]], [[1], [2]], r"shape \(1, 2\), expected \(2, 1\)"),
        (lambda: torch.zeros(2, 5, 7), torch.zeros(2, 5, 7), "expected an image"),
        (lambda: torch.zeros(0, 5), torch.zeros(0, 5), "expected an image"),
        (lambda: [[1]], lambda: 1 / 0, "ZeroDivisionError"),
        (lambda: {}["<b>"], [[1]], "KeyError: '<b>'"),
    ],
)
def test_compare_never_raises(yours, expected, message):
    note = plots.compare(yours, expected, title="Map")
    assert isinstance(note, plots.Note)
    assert re.search(message, note.alt)
    assert "<b>" not in note._repr_mimebundle_()["text/html"]


def test_compare_values_finds_the_first_difference():
    assert (
        "at index 2: 9 instead of 3"
        in plots.compare_values([1, 2, 9, 9], [1, 2, 3, 4], title="").alt
    )
    assert (
        "Yours has 2 numbers, expected 3." in plots.compare_values([1, 2], [1, 2, 3], title="").alt
    )
    assert "No difference" in plots.compare_values(lambda: [1, 2], [1, 2], title="").alt
    assert "empty" in plots.compare_values([], [1], title="").alt


def test_edges_are_the_sides_between_unequal_pixels():
    labels = np.random.default_rng(1).integers(0, 3, (7, 9))
    drawn = {tuple(map(tuple, side)) for side in edges(labels).tolist()}
    expected = set()
    for y in range(7):
        for x in range(9):
            if x < 8 and labels[y, x] != labels[y, x + 1]:
                expected.add(((x + 0.5, y - 0.5), (x + 0.5, y + 0.5)))
            if y < 6 and labels[y, x] != labels[y + 1, x]:
                expected.add(((x - 0.5, y + 0.5), (x + 0.5, y + 0.5)))
    assert drawn == expected


def test_masks_tell_classes_by_colour_and_by_hatching():
    mask = torch.arange(16).repeat_interleave(8).reshape(8, 16)
    picture = plots.show_masks(
        torch.zeros(1, 8, 16), mask, class_names=[f"c{i}" for i in range(16)]
    )
    looks = {(p.get_facecolor(), p.get_hatch()) for p in picture.figure.legends[0].get_patches()}
    assert len(looks) == 16
    assert len(set(HATCHES)) == len(set(PALETTE)) == 8


def test_masks_name_what_is_ignored_and_leave_the_background_plain():
    mask = torch.tensor([[0, 0, 1, 255], [0, 0, 0, 0]])
    picture = plots.show_masks(torch.rand(3, 2, 4), mask, class_names=("background", "pet"))
    assert "background 75 %, pet 12 %, ignored 12 %" in picture.alt
    names = [text.get_text() for text in picture.figure.legends[0].get_texts()]
    assert names == ["pet 12 %", "ignored 12 %"]


def test_outlines_count_the_instances_of_each_image():
    some = cells(3)
    counts = some.instances.amax((1, 2)).tolist()
    alt = plots.show_instances(some).alt
    assert alt.endswith(f"{counts[0]}, {counts[1]}, {counts[2]}.")
    named = plots.outlines(some.instances[:2], some.images[:2], titles=["true", "found"]).alt
    assert f"true: {counts[0]}, found: {counts[1]}" in named


def test_a_box_is_drawn_around_exactly_its_pixels():
    figure = plots.show_boxes(
        torch.zeros(8, 9), [[2, 3, 5, 7]], labels=[1], class_names="ab"
    ).figure
    (patch,) = figure.axes[0].patches
    assert (patch.get_x(), patch.get_y()) == (1.5, 2.5)
    assert (patch.get_width(), patch.get_height()) == (3, 4)
    assert [t.get_text() for t in figure.axes[0].texts] == ["b"]
    empty = plots.show_boxes(torch.zeros(8, 9), torch.zeros(0, 4), title="None").alt
    assert empty == "None. Image of 8 x 9 pixels with 0 boxes."
    both = plots.show_boxes(torch.zeros(8, 9), {"truth": [[0, 0, 2, 2]], "found": [[1, 1, 3, 3]]})
    assert "truth (0, 0, 2, 2); found (1, 1, 3, 3)" in both.alt
    styles = {patch.get_linestyle() for patch in both.figure.axes[0].patches}
    assert len(styles) == 2


def test_bars_carry_their_numbers_and_errors():
    picture = plots.bars(
        ["a", "b"],
        {"plain": [0.5, 1], "weighted": [2, 3]},
        {"plain": [0.1, 0.1], "weighted": [0.2, 0.3]},
        title="Bars",
    )
    assert "4 values: plain: a 0.5 ± 0.1, b 1 ± 0.1; weighted: a 2 ± 0.2, b 3 ± 0.3" in picture.alt
    axis = picture.figure.axes[0]
    assert [t.get_text() for t in axis.texts] == ["0.5", "1", "2", "3"]
    assert [p.get_height() for p in axis.patches] == [0.5, 1, 2, 3]
    hatches = {p.get_hatch() for p in axis.patches}
    assert len(hatches) == 2


def test_curves_take_values_or_positions_and_values():
    picture = plots.curves({"a": torch.tensor([3.0, 1.0, 2.0]), "b": ([10, 20], [5, 4])})
    assert "a: 3 points, from 3 to 2, least 1 at step 1" in picture.alt
    assert "b: 2 points, from 5 to 4, least 4 at step 20" in picture.alt
    dashes = {line.get_linestyle() for line in picture.figure.axes[0].lines}
    assert len(dashes) == 2


def test_heat_names_the_largest_value_and_writes_small_maps_out():
    values = np.zeros((3, 5))
    values[2, 4] = 7
    picture = plots.heat(values, title="Map")
    assert "3 x 5 values, 0 to 7, largest at row 2, column 4" in picture.alt
    assert len(picture.figure.axes[0].texts) == 15
    assert not plots.heat(np.zeros((3, 50))).figure.axes[0].texts


def test_tiles_tell_how_far_windows_reach_over_each_edge():
    windows = [(-1, -2, 60, 80), (40, 0, 103, 84)]
    picture = plots.draw_tiles((80, 100), [(0, 0, 50, 80), (50, 0, 100, 80)], windows=windows)
    assert (
        "1 pixels over the left, 2 over the top, 3 over the right and 4 over the bottom"
        in picture.alt
    )
    inside = plots.draw_tiles((80, 100), [(0, 0, 100, 80)])
    assert "0 pixels over the left" in inside.alt
    assert "mirrored" not in [t.get_text() for t in inside.figure.legends[0].get_texts()]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.bars(["a"], [1, 2]), r"values for 1 bars.*got \(2,\)"),
        (lambda: plots.bars([], []), r"at least 1; got \(0,\)"),
        (lambda: plots.bars(["a"], [1], {"x": [1]}), "errors for"),
        (lambda: plots.curves({}), "at least one curve"),
        (lambda: plots.curves({"a": ([1], [1, 2])}), "as many positions as values.*got 1 and 2"),
        (lambda: plots.heat(np.zeros((3, 4, 5))), r"got shape \(3, 4, 5\)"),
        (lambda: plots.draw_tiles((8, 8), []), "at least one tile"),
        (lambda: plots.draw_tiles((8, 8), [(0, 0, 8, 8)], windows=[]), "one window a tile"),
        (lambda: plots.show_images([]), "at least one image"),
        (lambda: plots.show_images(torch.zeros(2, 1, 4, 4), ["a"]), "expected 2 titles.*got 1"),
        (lambda: plots.show_images(torch.zeros(2, 1, 4, 4), columns=0), "at least 1 column; got 0"),
        (
            lambda: plots.show_masks(torch.zeros(1, 4, 5), torch.zeros(5, 4).long()),
            r"\(4, 5\).*\(5, 4\)",
        ),
        (
            lambda: plots.outlines(torch.zeros(2, 4, 4).long(), torch.zeros(1, 1, 4, 4)),
            "1 instance maps",
        ),
        (lambda: plots.show_instances(lines(1)), "expected a set with instance maps"),
        (
            lambda: plots.show_boxes(torch.zeros(4, 4), [[0, 0, 1, 1]], labels=[1, 2]),
            "1 labels.*got 2",
        ),
        (lambda: plots.render(plots.bars(["a"], [1]).figure, " "), "description with the numbers"),
        (lambda: plots.table(["a"], [[1, 2]]), "expected 1 entries in every row; got 2"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_label_map_of_floats_is_refused():
    with pytest.raises(TypeError, match="whole numbers; got dtype float32"):
        plots.outlines(torch.zeros(4, 4))


def test_a_table_reads_as_text_and_as_html():
    table = plots.table(["w0", "found"], [[0, "<b>"], [10, 279]], title="Counting & more")
    assert table.alt.splitlines() == ["Counting & more", "w0 | found", "0  | <b>", "10 | 279"]
    html = table._repr_mimebundle_()["text/html"]
    assert "<caption>Counting &amp; more</caption>" in html
    assert "<td>&lt;b&gt;</td>" in html
    assert '<th scope="col">w0</th>' in html


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tensors_on_a_device_are_drawn_too():
    image = torch.rand(1, 8, 8, device="cuda")
    assert "No difference" in plots.compare(image, image, title="Map").alt
