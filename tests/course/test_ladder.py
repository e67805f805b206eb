"""The ladder: what its rungs measure, what a climb stores, and that the stored one is complete."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from autograder.figures import picture_difference
from course.cli import main
from course.experiments.systems import find_system
from course.geometry import count_macs
from course.ladder import RUNGS, Scores, load_scores, picture, save_scores
from course.ladder.climb import Protocol, _Activations, _from_windows, climb, fill_boxes
from course.ladder.command import climb_all
from course.models import PixelClassifier

SHOWN = Path(__file__).resolve().parents[2] / "docs" / "ladder.png"
TINY = Protocol(train=6, test=3, steps=1)


def rung(name):
    return next(rung for rung in RUNGS if rung.name == name)


@pytest.mark.parametrize("name", ["one box", "Fast R-CNN", "YOLO", "SegNet", "U-Net"])
def test_each_kind_of_answer_becomes_labels_and_a_cost(name):
    scores = climb(rung(name), [0, 1], TINY)
    assert len(scores.iou) == 2
    assert all(0 <= value <= 1 for value in scores.iou)
    assert scores.macs > scores.activations > 0


def test_the_cost_is_that_of_the_network():
    scores = climb(rung("SegNet"), [0], TINY)
    net = find_system("SegNet").build(3, 1, 64)
    assert scores.parameters == sum(p.numel() for p in net.parameters())
    assert scores.macs == count_macs(net, (1, 1, 64, 64))


def test_activations_are_what_convolutions_hand_on():
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 6, 5)
    )
    with torch.no_grad(), _Activations() as counted:
        net(torch.zeros(2, 1, 4, 5))
    assert counted.count == 2 * (4 * 2 * 3 + 5)


def test_the_label_of_a_window_fills_the_block_around_its_centre():
    net, image = PixelClassifier(3, in_channels=1, width=4).eval(), torch.rand(1, 64, 80)
    with torch.no_grad():
        dense = net.forward_dense(image[None])[0].argmax(0)
        labels = _from_windows(net, image)
    assert labels.shape == (64, 80)
    for y in range(0, 64, 16):
        for x in range(0, 80, 16):
            block = labels[y : y + 16, x : x + 16]
            assert (block == dense[y + 8, x + 8]).all()


def test_the_surest_box_is_painted_last_and_boxes_are_clipped():
    found = {
        "boxes": torch.tensor([[-3.0, -1.0, 2.0, 9.0], [1.0, 0.0, 9.0, 1.0]]),
        "labels": torch.tensor([1, 2]),
        "scores": torch.tensor([0.2, 0.8]),
    }
    assert fill_boxes(found, (2, 3)).tolist() == [[1, 2, 2], [1, 1, 0]]


def test_a_climb_keeps_what_is_done_and_goes_on(tmp_path):
    path, said = tmp_path / "scores.json", []
    climb_all(["yolo"], seeds=1, steps=1, out=path, say=said.append, protocol=TINY)
    climb_all(["SegNet"], seeds=1, steps=1, out=path, say=said.append, protocol=TINY)
    protocol, scores = load_scores(path)
    assert list(scores) == ["YOLO", "SegNet"]
    assert protocol["seeds"] == [0]
    assert [line.split(":")[0] for line in said] == ["YOLO", "SegNet"]


def test_scores_of_another_protocol_are_kept_until_they_may_be_replaced(tmp_path, capsys):
    path = tmp_path / "scores.json"
    row = Scores((0.25,), 10, 20, 30)
    save_scores(asdict(TINY) | {"seeds": [0], "versions": {}}, {"U-Net": row, "SegNet": row}, path)
    before = path.read_bytes()
    with pytest.raises(
        ValueError, match=r"holds 2 scores with seeds = \[0\], this climb has \[0, 1"
    ):
        climb_all(["yolo"], seeds=2, steps=1, out=path, say=len, protocol=TINY)
    with pytest.raises(SystemExit) as leaving:
        main(["ladder", "--only", "YOLO", "--steps", "1", "--seeds", "1", "--out", str(path)])
    assert leaving.value.code == 2
    assert "--replace to drop them" in capsys.readouterr().err
    assert path.read_bytes() == before
    climb_all(["yolo"], seeds=2, steps=1, out=path, say=len, protocol=TINY, replace=True)
    assert list(load_scores(path)[1]) == ["YOLO"]


def test_the_folder_of_the_scores_must_be_there(tmp_path):
    with pytest.raises(ValueError, match=r"existing folder for the scores, .*nowhere is none"):
        climb_all(["yolo"], seeds=1, steps=1, out=tmp_path / "nowhere" / "x", protocol=TINY)


def test_it_gives_the_same_scores_twice(tmp_path):
    for name in ("a", "b"):
        climb_all(["U-Net"], seeds=1, steps=2, out=tmp_path / name, say=len, protocol=TINY)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("name", "says"), [("unet", "did you mean U-Net"), ("zzz", "The rungs: sliding window")]
)
def test_an_unknown_rung(name, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        climb_all([name], seeds=1, steps=1, out=tmp_path / "x")


@pytest.mark.parametrize("text", ["", "{}", '{"rungs": {"U-Net": 3}, "protocol": {}}', "[]"])
def test_a_file_that_holds_no_scores(text, tmp_path):
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(ValueError, match="no scores of `course ladder`"):
        load_scores(path)


def test_scores_survive_a_round_trip(tmp_path):
    scores = {"U-Net": Scores((0.25, 0.5), 10, 20, 30)}
    save_scores({"data": "lines"}, scores, tmp_path / "s")
    assert load_scores(tmp_path / "s") == ({"data": "lines"}, scores)
    assert json.loads((tmp_path / "s").read_text())["rungs"]["U-Net"]["iou"] == [0.25, 0.5]


def test_the_stored_ladder_is_complete_and_tells_the_story():
    protocol, scores = load_scores()
    assert list(scores) == [rung.name for rung in RUNGS]
    assert {len(row.iou) for row in scores.values()} == {len(protocol["seeds"])}
    assert scores["FCN-32s"].mean < scores["FCN-16s"].mean < scores["FCN-8s"].mean
    boxes = max(scores[rung.name].mean for rung in RUNGS if rung.labels == "boxes")
    assert boxes < scores["U-Net"].mean / 2


@pytest.mark.parametrize("lab", [None, *range(1, 15)])
def test_every_lab_has_its_picture(lab):
    words = picture(lab).alt
    marked = sum(rung.lab == lab for rung in RUNGS)
    assert words.count("this lab: ") == marked
    assert lab in (None, 14) or marked


def test_a_lab_that_is_none():
    with pytest.raises(ValueError, match="from 1 to 14, got 15"):
        picture(15)


def test_the_picture_of_the_readme_is_current(request):
    png = picture().png
    if request.config.getoption("--write-docs"):
        SHOWN.write_bytes(png)
    assert not picture_difference(png, SHOWN.read_bytes())
