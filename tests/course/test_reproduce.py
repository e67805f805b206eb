"""Recipes: the table is the papers', tiles and labels fit, runs fill a folder and go on."""

import csv
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from course import models
from course.cli import main
from course.data.readers.street import CamVid
from course.experiments.recipes import RECIPES, find_recipe
from course.experiments.reproduce import reproduce
from course.experiments.systems import find_system
from course.experiments.tasks.papers import Membranes, Streets
from course.losses import class_frequencies, median_frequency_weights


def course(*arguments):
    """Run the command here and return its exit code."""
    with pytest.raises(SystemExit) as leaving:
        main([str(a) for a in arguments])
    return leaving.value.code


@pytest.fixture
def stack(tmp_path, monkeypatch):
    """Six slices of 400 x 400 whose image is the label: cells of 40 pixels between membranes."""
    import tifffile

    rows = np.arange(400) % 40 >= 5
    inside = (rows[:, None] & rows[None]).astype(np.uint8) * 255
    volume = np.stack([np.roll(inside, 7 * n, axis=1) for n in range(6)])
    folder = tmp_path / "sets" / "isbi2012"
    folder.mkdir(parents=True)
    for name in ("train-volume.tif", "train-labels.tif"):
        tifffile.imwrite(folder / name, volume)
    monkeypatch.setenv("COURSE_DATA", str(folder.parent))


@pytest.fixture
def streets(tmp_path, monkeypatch):
    """Scenes of 224 x 256, two to train on: class 2 on the left, 5 on the right, a void row."""
    folder = tmp_path / "sets" / "CamVid"
    ids = np.full((224, 256), 2, np.uint8)
    ids[:, 200:], ids[0] = 5, 11
    for split in ("train", "val", "test"):
        (folder / split).mkdir(parents=True)
        (folder / f"{split}annot").mkdir()
        names = [f"{split}{n}.png" for n in range(2 if split == "train" else 1)]
        for name in names:
            colours = np.repeat(ids[..., None] * 20, 3, axis=2)
            Image.fromarray(colours).save(folder / split / name)
            Image.fromarray(ids).save(folder / f"{split}annot" / name)
        lines = [f"/SegNet/CamVid/{split}/{n} /SegNet/CamVid/{split}annot/{n}" for n in names]
        (folder / f"{split}.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("COURSE_DATA", str(folder.parent))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_the_network_is_the_published_one(recipe):
    with torch.device("meta"):
        net = getattr(models, recipe.system)(**recipe.arguments)
    assert sum(p.numel() for p in net.parameters()) == find_system(recipe.system).parameters
    assert hasattr(torch.optim, recipe.optimizer)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.name)
def test_stages_share_the_steps(recipe):
    assert recipe.scaled(None) == recipe.stages
    for steps in (len(recipe.stages), 7, 1001):
        assert sum(stage.steps for stage in recipe.scaled(steps)) == steps
        assert all(stage.steps >= 1 for stage in recipe.scaled(steps))
    with pytest.raises(ValueError, match="expected at least"):
        recipe.scaled(0)


def test_tiles_and_their_labels_lie_on_one_another(stack):
    tiles = Membranes().training_set(None)
    assert len(tiles) == 5
    seen = set()
    for index in range(5):
        tile = tiles[index]
        assert tile["image"].shape == (1, 572, 572)
        assert tile["mask"].shape == tile["weights"].shape == (388, 388)
        centre = tile["image"][0, 92:-92, 92:-92]
        assert ((centre > 0.5) == (tile["mask"] > 0)).float().mean() > 0.99
        membranes, insides = tile["mask"] == 0, tile["mask"] == 1
        assert tile["weights"][membranes].mean() > 3 * tile["weights"][insides].mean()
        seen.add(tile["mask"].sum().item())
    assert len(seen) == 5  # no two alike


class ReadsTheImage(nn.Module):
    """Answers with the image itself; it may overlook the membranes of one row of cells."""

    def __init__(self, blind: bool = False) -> None:
        super().__init__()
        self.blind, self.weight = blind, nn.Parameter(torch.zeros(1))

    def forward(self, tiles):
        centre = tiles[..., 92:-92, 92:-92] * 20 - 10 + 0 * self.weight
        if self.blind:
            centre = centre.clone()
            centre[..., :100, :] = 10
        return torch.cat([-centre, centre], 1)


def test_membranes_are_measured_by_pixels_and_by_what_they_part(stack):
    task = Membranes()
    assert task.measure(ReadsTheImage()) == {"pixel error": 0.0, "Rand error": 0.0}
    worse = task.measure(ReadsTheImage(blind=True))
    assert 0.1 < worse["pixel error"] < 0.15
    assert worse["Rand error"] > worse["pixel error"]  # a few pixels join many cells
    assert task.validate(ReadsTheImage()) == {"pixel error": 0.0}


def test_streets_are_cropped_mirrored_and_balanced(streets):
    segnet, dense = Streets(balanced=True), Streets(balanced=False)
    masks = [sample["mask"] for sample in CamVid()]
    expected = median_frequency_weights(class_frequencies(masks, 11))
    assert torch.equal(segnet.weights, expected)
    assert segnet.weights[5] > 1 > segnet.weights[2]
    assert dense.weights is None
    crop, whole = find_recipe("fc-densenet103-camvid").stages
    torch.manual_seed(0)
    cut = [dense.training_set(crop)[n % 2] for n in range(8)]
    assert all(sample["image"].shape == (3, 224, 224) for sample in cut)
    full = [dense.training_set(whole)[n % 2] for n in range(12)]
    lefts = {int(sample["mask"][5, 0]) for sample in full}
    assert lefts == {2, 5}  # as it is, and mirrored
    for sample in cut + full:  # the image shows the class: both went the same way
        inside = sample["mask"] < 11
        assert torch.equal(
            (sample["image"][0] * 255 / 20).round().long()[inside], sample["mask"][inside]
        )


def test_a_run_fills_its_folder_and_goes_on(streets, tmp_path, capsys, monkeypatch):
    out = tmp_path / "run"
    tiny = ["reproduce", "fc-densenet103-camvid", "--steps", 3, "--width", 1, "--device", "cpu"]
    assert course(*tiny, "--out", out) == 0
    printed = capsys.readouterr().out
    assert "0.6690" in printed
    assert "From scratch, as here." in printed
    names = {path.name for path in out.iterdir()}
    assert names == {
        *("config.json", "stage1.ckpt", "stage2.ckpt", "weights.pt"),
        *("history.csv", "metrics.csv", "curves.png", "curves.txt"),
    }
    with (out / "history.csv").open(newline="") as file:
        assert [int(row["step"]) for row in csv.DictReader(file)] == [1, 2, 3]
    with (out / "metrics.csv").open(newline="") as file:
        assert [row["metric"] for row in csv.DictReader(file)] == [
            *("mean IoU", "pixel accuracy", "mean accuracy")
        ]
    config = json.loads((out / "config.json").read_text())
    assert config["recipe"] == "fc-densenet103-camvid"
    before = torch.load(out / "weights.pt", weights_only=True)

    (out / "stage2.ckpt").unlink()  # as if killed between the stages
    assert course(*tiny, "--out", out) == 0
    after = torch.load(out / "weights.pt", weights_only=True)
    assert all(torch.equal(before[name], after[name]) for name in before)

    capsys.readouterr()
    assert course(*tiny, "--seed", 1, "--out", out) == 2
    assert "seed = 0" in capsys.readouterr().err

    def die(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("course.experiments.reproduce.fit", die)
    with pytest.raises(KeyboardInterrupt):  # killed at once: nothing of the old run may be left
        reproduce("fc-densenet103-camvid", out, steps=3, width=1, seed=1, resume=False)
    assert [path.name for path in out.iterdir()] == ["config.json"]


def test_u_net_runs_from_tiles_to_figures(stack, tmp_path):
    result = reproduce("unet-isbi2012", tmp_path / "run", steps=2, width=2, device="cpu")
    assert result.metrics.keys() == {"pixel error", "Rand error"}
    assert 0 < result.metrics["pixel error"] < 1


def test_published_figures_are_measured_here(streets, stack):
    names = {"camvid": {"mean IoU", "pixel accuracy", "mean accuracy"}}
    names["isbi2012"] = {"pixel error", "Rand error"}
    for recipe in RECIPES:
        assert recipe.published.keys() <= names[recipe.data]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["unet", "--out", "x"], "did you mean unet-isbi2012?"),
        (["unet-isbi2012"], "--out FOLDER"),
        (["unet-isbi2012", "--out", "x", "--steps", 0], "expected at least 1 steps, got 0"),
        (["unet-isbi2012", "--out", "x", "--device", "tpu"], "auto, cpu, cuda or mps"),
    ],
)
def test_bad_input_gets_one_line(arguments, message, stack, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert course("reproduce", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_set_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert course("reproduce", "segnet-camvid", "--out", tmp_path / "run", "--device", "cpu") == 2
    assert "CamVid" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_without_a_name_all_are_listed(capsys):
    assert course("reproduce") == 0
    printed = capsys.readouterr().out
    assert all(recipe.name in printed for recipe in RECIPES)
