"""The course command: runs that repeat, survive a kill, fill a folder, and explain refusals."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch.utils.data import DataLoader

from course import data, models
from course.cli import main
from course.data import DamagedFileError
from course.experiments.drawing import picture_of
from course.experiments.sets import NAMES, REAL, load_set, objects_of, resized
from course.experiments.systems import SYSTEMS
from course.experiments.tasks.pixels import Mirrored, Segmentation
from course.models.encnet import WithContext
from course.models.pspnet import WithAuxiliary
from course.models.reverse_attention import ReverseAttentionOutput
from course.training import History

TINY = ["--size", "32", "--train", "6", "--test", "3", "--batch-size", "4", "--device", "cpu"]
SEGNET = ["train", "SegNetBasic", "--data", "lines", "--width", "2", *TINY]


def course(*arguments):
    """Run the command here and return its exit code."""
    with pytest.raises(SystemExit) as leaving:
        main([str(a) for a in arguments])
    return leaving.value.code


def weights(folder):
    return torch.load(folder / "weights.pt", weights_only=True)


def same(a, b):
    a, b = weights(a), weights(b)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def losses(folder):
    with (folder / "history.csv").open(newline="") as file:
        return [row["loss"] for row in csv.DictReader(file)]


# --- systems -------------------------------------------------------------------------------------


def test_systems_lists_every_system_with_its_published_size(capsys):
    assert course("systems") == 0
    lines = capsys.readouterr().out.splitlines()
    for system in SYSTEMS:
        line = next(line for line in lines if line.split()[:1] == [system.name])
        assert f"{system.parameters:,}" in line
        assert system.paper.split()[-1] in line
    without_size = {"JPU", "PSPNet", "FCDenseNet"}  # a part; what others fix the layers of
    assert {system.name for system in SYSTEMS} == set(models.__all__) - without_size


def test_help_and_systems_load_no_torch():
    code = (
        "import sys\nfrom course.cli import main\n"
        "try: main([sys.argv[1]])\nexcept SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    for argument in ("systems", "--help"):
        subprocess.run(
            [sys.executable, "-c", code, argument], check=True, stdout=subprocess.DEVNULL
        )


@pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: s.name)
def test_published_sizes_are_those_of_the_classes(system):
    with torch.device("meta"):
        net = getattr(models, system.name)()
        assert sum(p.numel() for p in net.parameters()) == system.parameters


# --- a run ---------------------------------------------------------------------------------------


def test_a_run_leaves_a_full_folder_and_prints_what_it_did(tmp_path, capsys):
    out = tmp_path / "run"
    assert course(*SEGNET, "--steps", 6, "--seed", 3, "--out", out) == 0
    printed = capsys.readouterr().out
    assert {p.name for p in out.iterdir()} == {
        *("config.json", "run.ckpt", "weights.pt", "history.csv", "metrics.csv"),
        *("curves.png", "curves.txt"),
    }
    config = json.loads((out / "config.json").read_text())
    assert (config["system"], config["data"], config["steps"]) == ("SegNetBasic", "lines", 6)
    assert config["seed"] == 3
    assert config["parameters"] == sum(
        v.numel() for k, v in weights(out).items() if "running" not in k and "num_batches" not in k
    )
    for name in ("SegNetBasic", "Badrinarayanan 2017", "lines", "32-true", "mean IoU"):
        assert name in printed
    with (out / "metrics.csv").open(newline="") as file:
        metrics = {row["metric"]: float(row["value"]) for row in csv.DictReader(file)}
    assert list(metrics)[:2] == ["mean IoU", "pixel accuracy"]
    assert {"IoU background", "IoU disc", "IoU line"} <= set(metrics)
    assert all(0 <= value <= 1 for value in metrics.values())
    assert len(losses(out)) == 6
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert "SegNetBasic on lines" in (out / "curves.txt").read_text()


@pytest.mark.parametrize(("last", "scale"), [(0.4, "linear"), (0.01, "log"), (-1.0, "linear")])
def test_loss_and_metric_have_axes_of_their_own(last, scale):
    rows = [{"step": 2, "mean IoU": 0.25}, {"step": 3, "mean IoU": 0.75}]
    history = History([1, 2, 3], [2.0, 1.0, last], [0.1, 0.2, 0.3], rows)
    picture = picture_of(history, "mean IoU", title="UNet on cells")
    loss, metric = picture.figure.axes
    assert (loss.get_yscale(), metric.get_yscale()) == (scale, "linear")
    assert loss.get_xlim() == metric.get_xlim()
    assert metric.get_ylim() == pytest.approx((0, 1), abs=0.05)
    assert [axis.get_ylabel() for axis in (loss, metric)] == ["loss", "mean IoU"]
    assert metric.get_lines()[0].get_ydata() == pytest.approx([0.25, 0.75])
    assert ("logarithmic" in picture.alt) == (scale == "log")
    assert "mean IoU: 2 points, from 0.25 to 0.75, least 0.25 at step 2." in picture.alt
    assert len(picture_of(history, "mAP50", title="x").figure.axes) == 1


def test_equal_commands_give_equal_weights_and_the_seed_matters(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert course(*SEGNET, "--steps", 3, "--seed", seed, "--out", tmp_path / name) == 0
    assert same(tmp_path / "a", tmp_path / "b")
    assert not same(tmp_path / "a", tmp_path / "c")


def test_a_finished_run_is_reported_and_no_resume_starts_again(tmp_path, capsys):
    command = [*SEGNET, "--steps", 4, "--out", tmp_path]
    assert course(*command) == 0
    first = weights(tmp_path)
    table = capsys.readouterr().out
    stamp = (tmp_path / "run.ckpt").stat().st_mtime_ns
    assert course(*command) == 0
    assert capsys.readouterr().out == table
    assert (tmp_path / "run.ckpt").stat().st_mtime_ns == stamp
    assert course(*command, "--no-resume") == 0
    assert (tmp_path / "run.ckpt").stat().st_mtime_ns > stamp
    assert all(torch.equal(first[k], v) for k, v in weights(tmp_path).items())


def test_a_folder_with_another_run_is_refused_until_it_may_be_replaced(tmp_path, capsys):
    assert course(*SEGNET, "--steps", 2, "--out", tmp_path) == 0
    capsys.readouterr()
    assert course(*SEGNET, "--steps", 3, "--out", tmp_path) == 2
    error = capsys.readouterr().err
    assert "holds a run with steps = 2, this one has 3" in error
    assert "--no-resume" in error
    assert course(*SEGNET, "--steps", 3, "--out", tmp_path, "--no-resume") == 0
    assert len(losses(tmp_path)) == 3


def test_a_replaced_run_leaves_nothing_that_the_new_one_could_take_for_its_own(
    tmp_path, capsys, monkeypatch
):
    assert course(*SEGNET, "--steps", 2, "--out", tmp_path) == 0
    old = (tmp_path / "run.ckpt").read_bytes()

    def die(*_, **__):
        raise KeyboardInterrupt

    other = [*SEGNET, "--steps", 2, "--seed", 1, "--out"]
    with monkeypatch.context() as patched:
        patched.setattr("course.training.fit", die)  # as if killed right after config.json
        assert course(*other, tmp_path, "--no-resume") == 130
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]
    assert course(*other, tmp_path) == 0
    assert course(*other, tmp_path / "fresh") == 0
    assert same(tmp_path, tmp_path / "fresh")

    config = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(config.replace('"size": 32', '"size": 48'))
    (tmp_path / "run.ckpt").write_bytes(old)
    capsys.readouterr()
    assert course(*other, tmp_path, "--size", 48) == 2
    assert "run.ckpt belongs to a run with " in capsys.readouterr().err


def test_only_the_first_process_of_torchrun_writes_and_speaks(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr("course.training.fit", lambda *_, **__: History([1], [0.5], [0.1]))
    assert course(*SEGNET, "--steps", 1, "--out", tmp_path) == 0
    assert capsys.readouterr().out == ""
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("wrong", [["--steps", 0], ["--precision", 7], ["--lr", "nan"]])
def test_nothing_is_replaced_before_names_and_numbers_fit(wrong, tmp_path):
    assert course(*SEGNET, "--steps", 1, "--out", tmp_path) == 0
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert course(*SEGNET, "--steps", 1, *wrong, "--no-resume", "--out", tmp_path) == 2
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("config", [None, "{}", "[]", "no JSON"])
def test_files_of_something_else_are_refused_until_they_may_be_replaced(config, tmp_path, capsys):
    (tmp_path / "metrics.csv").write_text("mine")
    (tmp_path / "notes.txt").write_text("mine")
    if config is not None:
        (tmp_path / "config.json").write_text(config)
    command = [*SEGNET, "--steps", 1, "--out", tmp_path]
    assert course(*command) == 2
    error = capsys.readouterr().err
    names = "metrics.csv" if config is None else "config.json, metrics.csv"
    assert f"already holds {names} of something else: choose another --out, or" in error
    assert (tmp_path / "metrics.csv").read_text() == "mine"
    assert course(*command, "--no-resume") == 0
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "metrics.csv").read_text() != "mine"


@pytest.mark.parametrize(
    "command",
    [
        [*SEGNET],
        pytest.param(["train", "FastRCNN", "--data", "boxes", *TINY], marks=pytest.mark.slow),
    ],
    ids=["SegNetBasic", "FastRCNN"],
)
def test_a_run_killed_in_the_middle_goes_on_to_the_same_end(command, tmp_path):
    command = [*command, "--steps", "60", "--checkpoint-every", "3", "--seed", "5", "--out"]
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    # Sums over threads depend on their number: the other process must use as many.
    environment = {**os.environ, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    process = subprocess.Popen(
        [sys.executable, "-m", "course.cli", *command, str(killed)],
        env=environment,
        stdout=subprocess.DEVNULL,
    )
    limit = time.monotonic() + 120
    while not (killed / "run.ckpt").exists() and time.monotonic() < limit:
        assert process.poll() is None
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = torch.load(killed / "run.ckpt", weights_only=True)["step"]
    assert 0 < done < 60
    assert not (killed / "weights.pt").exists()
    assert course(*command, killed) == 0
    assert course(*command, whole) == 0
    assert same(killed, whole)
    assert losses(killed) == losses(whole)
    assert (killed / "metrics.csv").read_text() == (whole / "metrics.csv").read_text()


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "unett", "--data", "cells"], "no system 'unett'; did you mean UNet"),
        (["train", "UNet", "--data", "cels"], "no data set 'cels'; did you mean cells"),
        (["train", "UNet", "--data", "cells", "--steps", "0"], "expected steps"),
        (["train", "UNet", "--data", "cells", "--steps", "x"], "Invalid value for '--steps'"),
        (["train", "UNet", "--data", "cells", "--device", "tpu"], "auto, cpu, cuda or mps, got"),
        (["train", "UNet", "--data", "cells", "--precision", "7"], "Precision '7' is invalid"),
        (["train", "UNet", "--data", "cells", "--size", "8"], "at least 24 pixels"),
        (["train", "UNet", "--data", "cells", "--width", "0"], "width must be at least 1"),
        (["train", "UNet", "--data", "cells", "--train", "0"], "at least 1 image to train"),
        (["train", "UNet", "--data", "cells", "--seed", "-1"], "seed"),
        (["train", "UNet", "--data", "cells", "--seed", "9" * 20], "seed of at most"),
        (["train", "UNet", "--data", "cells", "--evaluate-every", "0"], "evaluate_every to be a"),
        (["train", "UNet", "--data", "camvid", "--size", "-3"], "at least 1 pixel, got -3"),
        (["train", "UNet", "--data", "coco:images"], "coco:IMAGES:ANNOTATIONS"),
        (["train", "YOLO", "--data", "boxes", "--size", "50"], "multiple of 8 pixels, got 50"),
        (["train", "UNet"], "Missing option '--data'"),
        (["trane"], "No such command 'trane'"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments, message, tmp_path, capsys):
    if arguments[0] == "train" and "--data" in arguments:
        small = [] if "--train" in arguments else ["--train", "2"]
        arguments = [*arguments, "--out", str(tmp_path / "x"), *small, "--test", "1"]
    assert course(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_a_missing_gpu_is_named(tmp_path, capsys):
    count = torch.cuda.device_count()
    command = ["--device", "cuda", "--devices", count + 1, "--batch-size", count + 1]
    assert course("train", "UNet", "--data", "cells", "--out", tmp_path, *command) == 2
    assert f"this machine has {count}" in capsys.readouterr().err


def test_a_missing_real_set_is_named(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert course("train", "UNet", "--data", "camvid", "--out", tmp_path / "x") == 2
    error = capsys.readouterr().err
    assert "CamVid" in error
    assert error.count("\n") == 1


def test_a_diverging_run_ends_with_exit_code_1(tmp_path, capsys):
    assert course(*SEGNET, "--steps", 5, "--lr", "1e30", "--out", tmp_path) == 1
    assert "lower lr (1e+30)" in capsys.readouterr().err


@pytest.mark.parametrize("resume", ["--resume", "--no-resume"])
@pytest.mark.parametrize("name", ["file", "file/run"])
def test_a_file_in_place_of_the_folder_is_refused(name, resume, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert course(*SEGNET, "--steps", 1, "--out", tmp_path / name, resume) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert f"{tmp_path / 'file'} is a file: choose another --out" in printed.err
    assert printed.err.count("\n") == 1


class Broken(list):
    def __getitem__(self, index):
        try:
            raise KeyError(index)
        except KeyError as error:
            raise DamagedFileError("expected: a whole file\n  from there") from error


def test_what_a_reading_process_says_is_one_sentence(tmp_path, capsys, monkeypatch):
    def read(*_, **__):
        next(iter(DataLoader(Broken([1]), num_workers=1)))

    monkeypatch.setattr("course.experiments.run.run", read)
    assert course("train", "UNet", "--data", "cells", "--out", tmp_path) == 2
    assert capsys.readouterr().err == "error: expected: a whole file from there\n"


@pytest.mark.parametrize(("value", "color"), [("1", False), ("", None)])
def test_no_color_is_obeyed(value, color, monkeypatch):
    said = []
    monkeypatch.setenv("NO_COLOR", value)
    monkeypatch.setattr("typer.secho", lambda *_, **options: said.append(options["color"]))
    assert course("train", "unett", "--data", "cells", "--out", "x") == 2
    assert said == [color]


# --- sets and tasks ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lines", "cells", "scenes", "textures", "boxes"])
@pytest.mark.parametrize("task", ["segmentation", "detection"])
def test_every_synthetic_set_serves_its_tasks(name, task):
    if name == "textures" and task != "segmentation":
        with pytest.raises(ValueError, match="labels stuff, not objects: choose a segmentation"):
            load_set(name, task=task, size=40, train=3, test=2)
        return
    train, test, names, channels = load_set(name, task=task, size=40, train=3, test=2)
    assert (len(train), len(test)) == (3, 2)
    for part in (train, test):
        for i in range(len(part)):
            sample = part[i]
            assert sample["image"].shape == (channels, 40, 40)
            assert sample["index"].item() == i
            if task == "segmentation":
                assert sample["mask"].shape == (40, 40)
                assert sample["mask"][sample["mask"] != 255].max() < len(names)
            else:
                assert channels == 3
                assert (sample["boxes"][:, 2:] > sample["boxes"][:, :2]).all()
                assert sample["labels"].shape == sample["boxes"].shape[:1]
                assert ((sample["labels"] >= 1) & (sample["labels"] < len(names))).all()


def test_training_and_test_images_differ_and_depend_on_the_seed():
    first = load_set("cells", task="segmentation", size=32, train=2, test=2, seed=0)
    other = load_set("cells", task="segmentation", size=32, train=2, test=2, seed=1)
    images = [first.train[0], first.train[1], first.test[0], first.test[1], other.train[0]]
    for i, a in enumerate(images):
        for b in images[:i]:
            assert not torch.equal(a["image"], b["image"])


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("COURSE_DATA"), reason="COURSE_DATA names no folder")
@pytest.mark.parametrize("name", REAL)
@pytest.mark.parametrize("task", ["segmentation", "detection"])
@pytest.mark.filterwarnings("ignore:BloodImage")
def test_every_reader_serves_its_tasks(name, task):
    try:
        refusals = {
            "bccd, segmentation": "boxes but no masks",
            "camvid, detection": "stuff, not ob",
        }
        if f"{name}, {task}" in refusals:
            with pytest.raises(ValueError, match=refusals[f"{name}, {task}"]):
                load_set(name, task=task, size=48, train=2, test=2)
            return
        train, test, names, channels = load_set(name, task=task, size=48, train=2, test=2)
    except FileNotFoundError:
        pytest.skip(f"{name} is not under COURSE_DATA")
    for sample in (train[0], test[0]):
        assert sample["image"].shape == (channels, 48, 48)
        assert sample["image"].min() >= 0
        assert sample["image"].max() <= 1.001
        if task == "segmentation":
            assert set(sample["mask"].unique().tolist()) <= {*range(len(names)), 255}
        elif len(sample["boxes"]):
            assert sample["boxes"].max() <= 48
            assert sample["labels"].max() < len(names)
    if task == "detection":
        for part in (train, test):
            assert any(len(part[i]["boxes"]) for i in range(len(part)))


def test_a_part_without_objects_is_refused(monkeypatch):
    made = data.cells(4, 32)
    made.instances[2:] = made.masks[2:] = 0
    monkeypatch.setattr(data, "cells", lambda *_, **__: made)
    with pytest.raises(ValueError, match="the test part of cells has no object in 2 images"):
        load_set("cells", task="detection", size=32, train=2, test=2)
    assert len(load_set("cells", task="segmentation", size=32, train=2, test=2).test) == 2


def test_names_are_complete():
    assert set(NAMES) >= {"lines", "cells", "scenes", "textures", "boxes", "voc2012", "camvid"}


def test_resizing_keeps_labels_whole_and_boxes_on_their_objects():
    mask = torch.zeros(20, 40, dtype=torch.int64)
    mask[5:10, 10:30] = 3
    mask[0] = 255
    sample = {
        "image": (mask == 3).float().expand(3, 20, 40),
        "mask": mask,
        "boxes": torch.tensor([[10.0, 5.0, 30.0, 10.0]]),
    }
    out = resized(sample, 60)
    assert set(out["mask"].unique().tolist()) == {0, 3, 255}
    assert out["boxes"].tolist() == [[15, 15, 45, 30]]
    assert (out["mask"][15:30, 15:45] == 3).all()
    assert (out["mask"] == 3).sum() == 15 * 30
    assert out["image"][0, 22, 30] == 1


def test_objects_come_from_instances_where_there_are_some():
    instances = torch.tensor([[1, 1, 2, 2], [0, 0, 0, 3]])
    mask = torch.tensor([[2, 2, 1, 1], [0, 0, 0, 255]])
    boxes, labels = objects_of({"instances": instances, "mask": mask}, 3)
    assert boxes.tolist() == [[0, 0, 2, 1], [2, 0, 4, 1]]  # the third one is ignored pixels
    assert labels.tolist() == [2, 1]
    boxes, labels = objects_of({"mask": torch.zeros(4, 4, dtype=torch.int64)}, 3)
    assert boxes.shape == (0, 4)
    assert labels.dtype == torch.int64


LOGITS, PRESENCE = torch.zeros(1, 2, 1, 1), torch.zeros(1, 2)


@pytest.mark.parametrize(
    ("output", "terms"),  # in units of ln 2, with the published weights
    [
        (LOGITS, 1.0),
        (WithAuxiliary(LOGITS, LOGITS), 1.4),
        (WithContext(LOGITS, LOGITS, PRESENCE), 1.4),
        (WithContext(LOGITS, None, PRESENCE), 1.2),
        (ReverseAttentionOutput(LOGITS, LOGITS, LOGITS), 3.0),
    ],
)
def test_the_loss_of_segmentation_follows_the_output(output, terms):
    batch = {"mask": torch.zeros(1, 1, 1, dtype=torch.int64)}
    loss = Segmentation([], [], ("a", "b")).loss(output, batch)  # pyright: ignore
    assert loss.item() == pytest.approx(terms * math.log(2))


def test_a_mirrored_u_net_keeps_every_pixel_in_place():
    net = models.UNet(1, 2, width=2, depth=2).double()
    image = torch.rand(1, 1, 33, 46, dtype=torch.float64)
    whole = Mirrored(net)(image)
    assert whole.shape == (1, 2, 33, 46)
    # A larger image, mirrored by hand, shows the same picture to the same pixels.
    padded = torch.nn.functional.pad(image, (28, 28, 28, 28), mode="reflect")
    crop = Mirrored(net)(padded)[..., 28:-28, 28:-28]
    # Poolings must fall on the same grid: 28 is a multiple of 4 on both sides of this one.
    if (whole - crop).abs().max() > 1e-9:
        pytest.fail("output is shifted against the image")


# --- long ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("system", SYSTEMS, ids=lambda s: s.name)
@pytest.mark.parametrize("data", ["lines", "boxes"])
def test_every_small_system_trains_on_grey_and_colour(system, data, tmp_path):
    command = ["--size", 48, "--train", 4, "--test", 2, "--batch-size", 2, "--device", "cpu"]
    code = course("train", system.name, "--data", data, "--steps", 2, "--out", tmp_path, *command)
    assert code == 0
    assert len(losses(tmp_path)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
@pytest.mark.parametrize("system", ["UNet", "YOLO", "RCNN", "FastRCNN", "Localizer", "OverFeat"])
def test_half_precision_trains(system, precision, tmp_path):
    command = [*TINY, "--precision", precision, "--steps", 2]
    assert course("train", system, "--data", "boxes", "--out", tmp_path, *command) == 0


@pytest.mark.slow
@pytest.mark.parametrize("system", ["SegNetBasic", "YOLO", "RCNN", "FastRCNN", "Localizer"])
def test_two_processes_share_a_batch(system, tmp_path):
    command = ["train", system, "--data", "boxes", *TINY, "--steps", "3", "--devices", "2"]
    subprocess.run(
        [sys.executable, "-m", "course.cli", *command, "--out", str(tmp_path)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    assert len(losses(tmp_path)) == 3
