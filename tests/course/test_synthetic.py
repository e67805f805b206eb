"""Seeded scenes: the same bytes, honest labels, and the property that each family exists for."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.utils.data import DataLoader, Dataset

from course.data import Scenes, boxes, cells, collate, lines, scenes, textures

FAMILIES = [cells, lines, scenes, textures, boxes]
EIGHT = np.ones((3, 3))


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_gives_the_same_bytes_and_another_seed_does_not(family):
    one, two, other = family(3, (44, 60)), family(3, (44, 60)), family(3, (44, 60), seed=1)
    for name in ("images", "masks", "instances"):
        if getattr(one, name) is not None:
            first, second = getattr(one, name), getattr(two, name)
            assert first.numpy().tobytes() == second.numpy().tobytes()
    assert not torch.equal(one.images, other.images)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scene_does_not_depend_on_how_many_are_drawn(family):
    few, many = family(2, 48, seed=5), family(5, 48, seed=5)
    assert torch.equal(few.images, many.images[:2])
    assert torch.equal(few.masks, many.masks[:2])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", [48, (41, 75), (90, 43)])
def test_shapes_dtypes_and_ranges(family, size):
    height, width = (size, size) if isinstance(size, int) else size
    some = family(4, size)
    assert some.images.shape[0] == 4
    assert some.images.shape[2:] == some.masks.shape[1:] == (height, width)
    assert some.images.dtype == torch.float32
    assert some.images.min() >= 0
    assert some.images.max() <= 1
    assert some.images.std() > 0.03
    assert some.masks.dtype == torch.int64
    assert set(some.masks.unique().tolist()) <= set(range(len(some.class_names)))
    if some.instances is not None:
        assert some.instances.dtype == torch.int64
        assert torch.equal(some.instances > 0, some.masks > 0)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_class_turns_up(family):
    some = family(40)
    assert some.masks.unique().tolist() == list(range(len(some.class_names)))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    size=st.tuples(st.integers(30, 70), st.integers(30, 70)),
    gap=st.sampled_from([0.5, 1.0, 2.0]),
)
def test_every_cell_is_one_piece_and_touches_no_other(seed, size, gap):
    for labels in cells(2, size, seed=seed, gap=gap).instances.numpy():
        count = labels.max()
        assert sorted(np.unique(labels[labels > 0])) == list(range(1, count + 1))
        assert ndimage.label(labels > 0)[1] == count
        assert ndimage.label(labels > 0, EIGHT)[1] == count


def test_cells_lie_in_clusters_whose_gaps_are_one_or_two_pixels_wide():
    near = 0
    for labels in cells(20).instances.numpy():
        distances = [
            ndimage.distance_transform_edt(labels != k) for k in range(1, labels.max() + 1)
        ]
        for i, distance in enumerate(distances):
            others = (labels > 0) & (labels != i + 1)
            near += distance[others].min() <= 3.0  # centre to centre over at most two pixels
    total = int(cells(20).instances.amax((1, 2)).sum())
    assert near >= 0.8 * total
    assert 160 <= total <= 200  # about nine an image


def test_without_a_gap_cells_share_a_border():
    labels = cells(8, gap=0.0).instances
    left, right = labels[..., :-1], labels[..., 1:]
    assert ((left != right) & (left > 0) & (right > 0)).any()


def test_the_gap_is_darker_than_the_cells_and_brighter_than_the_ground():
    dim, dark = cells(30, seam=0.25, noise=0.0), cells(30, seam=1.0, noise=0.0)
    for some, low, high in ((dim, 0.6, 0.98), (dark, 0.2, 0.6)):
        light = some.images[:, 0].numpy()
        inside = np.stack([ndimage.binary_erosion(m > 0) for m in some.masks.numpy()])
        closed = np.stack([ndimage.binary_closing(m > 0, EIGHT) for m in some.masks.numpy()])
        gap = closed & (some.masks.numpy() == 0)
        assert gap.sum() > 500
        assert low < light[gap].mean() / light[inside].mean() < high


def test_lines_are_as_bright_as_discs_and_as_thin_as_asked():
    some = lines(60, noise=0.0, thickness=2.0)
    light, masks = some.images[:, 0], some.masks
    middle = torch.from_numpy(np.stack([ndimage.binary_erosion(m == 1) for m in masks.numpy()]))
    assert abs(light[middle].mean() - light[masks == 2].mean()) < 0.15
    for mask in masks.numpy():
        assert not ndimage.binary_erosion(mask == 2, np.ones((5, 5))).any()
    thick = lines(60, thickness=4.0).masks
    assert 1.5 < (thick == 2).sum() / (masks == 2).sum() < 2.5


@pytest.mark.parametrize("distance", [6.0, 14.0])
def test_a_scene_and_its_twin_differ_only_far_from_the_blob(distance):
    drawn, twin = (
        scenes(6, seed=3, distance=distance),
        scenes(6, seed=3, distance=distance, swap=True),
    )
    same = (drawn.images == twin.images).all(1).numpy()
    for i in range(6):
        far = ndimage.distance_transform_edt(drawn.masks[i].numpy() == 0)
        assert same[i][far <= distance].all()
        assert not same[i][far > distance + 6].all()
    assert torch.equal(drawn.masks > 0, twin.masks > 0)
    assert torch.equal(drawn.masks[drawn.masks > 0], 3 - twin.masks[drawn.masks > 0])


def test_there_are_as_many_boats_as_cars():
    assert scenes(10).masks.amax((1, 2)).tolist() == [1, 2] * 5


def test_the_two_slants_come_apart_as_their_difference_grows():
    def orientation(images, region):
        """Share of the vertical gradient in a region, which tells a slant's angle."""
        dy, dx = np.gradient(images, axis=(1, 2))
        return (dy[region] ** 2).sum() / (dy[region] ** 2 + dx[region] ** 2).sum()

    gaps = []
    for difference in (5.0, 15.0, 40.0):
        some = textures(30, difference=difference, noise=0.0)
        light, masks = some.images[:, 0].numpy(), some.masks.numpy()
        inside = [np.stack([ndimage.binary_erosion(m == k) for m in masks]) for k in (2, 3)]
        gaps.append(orientation(light, inside[1]) - orientation(light, inside[0]))
    assert 0.02 < gaps[0] < gaps[1] < gaps[2]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.tuples(st.integers(24, 60), st.integers(24, 60)))
def test_boxes_hold_their_objects_tightly(seed, size):
    some = boxes(2, size, seed=seed)
    for sample in some:
        assert sample["boxes"].shape == (len(sample["labels"]), 4)
        assert sample["boxes"].dtype == torch.float32
        assert sample["instances"].max() == len(sample["boxes"])
        for k, (box, label) in enumerate(zip(sample["boxes"], sample["labels"], strict=True)):
            x0, y0, x1, y1 = box.int().tolist()
            inside = sample["instances"][y0:y1, x0:x1] == k + 1
            assert inside.sum() == (sample["instances"] == k + 1).sum() > 0
            assert all(side.any() for side in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
            assert sample["mask"][sample["instances"] == k + 1].unique().tolist() == [label]


def test_an_image_without_objects_has_empty_boxes():
    sample = boxes(1, count=(0, 0))[0]
    assert sample["boxes"].shape == (0, 4)
    assert sample["labels"].shape == (0,)
    assert sample["labels"].dtype == torch.int64


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cells(0), "n of at least 1 scene; got 0"),
        (lambda: cells(2, 16), "at least 24 pixels a side.*got 16"),
        (lambda: scenes(2, (64, 30)), r"at least 40 pixels a side.*got \(64, 30\)"),
        (lambda: cells(2, seed=-1), "seed of at least 0; got -1"),
        (lambda: cells(2, noise=1.5), r"noise in \[0, 1\]; got 1.5"),
        (lambda: cells(2, seam=float("nan")), r"seam in \[0, 1\]; got nan"),
        (lambda: cells(2, radius=(9.0, 5.0)), r"radius.*got \(9.0, 5.0\)"),
        (lambda: cells(2, gap=-1.0), "gap of at least 0 pixels; got -1.0"),
        (lambda: lines(2, thickness=0.0), "thickness between 1 and a quarter image; got 0.0"),
        (lambda: lines(2, discs=(3, 1)), r"discs \(least, greatest\).*got \(3, 1\)"),
        (lambda: scenes(2, distance=40.0), "distance between 0 and 19.2.*got 40.0"),
        (lambda: textures(2, difference=0.0), r"difference in \(0, 45\] degrees; got 0.0"),
        (lambda: textures(2, regions=0), "regions of at least 1; got 0"),
        (lambda: boxes(2, radius=(1.0, 9.0)), r"radius.*got \(1.0, 9.0\)"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_scenes_are_a_dataset_that_slices_and_splits():
    some = boxes(7)
    assert isinstance(some, Dataset)
    assert len(some) == 7
    assert set(some[0]) == {"image", "mask", "instances", "boxes", "labels"}
    assert len(list(some)) == 7
    for index in (slice(1, 6, 2), [1, 3, 5], torch.tensor([1, 3, 5]), np.array([1, 3, 5])):
        part = some[index]
        assert isinstance(part, Scenes)
        assert torch.equal(part.images, some.images[[1, 3, 5]])
        assert torch.equal(part.boxes[1], some.boxes[3])
        assert part.class_names == some.class_names
    odd = torch.arange(7) % 2 == 1
    for mask in (odd, odd.numpy(), odd.tolist()):
        assert torch.equal(some[mask].masks, some.masks[odd])
    assert len(some[[]]) == 0
    assert torch.equal(some[np.int64(2)]["image"], some[torch.tensor(2)]["image"])
    train, rest = some.split(4, 2)
    assert torch.equal(train.images, some.images[:4])
    assert torch.equal(rest.images, some.images[4:6])
    assert torch.equal(some[-1]["image"], some.images[6])
    for index in (7, [0, 7]):
        with pytest.raises(IndexError, match="expected -7 to 6; got 7"):
            some[index]
    with pytest.raises(IndexError, match="mask of 7 truth values, one a scene; got 2"):
        some[[True, False]]
    for index in (1.7, [0.5], torch.tensor([1.0]), np.array([[0, 1]]), None, "a"):
        with pytest.raises(TypeError, match="expected a whole number, a slice"):
            some[index]
    with pytest.raises(ValueError, match="at most 7; got"):
        some.split(5, 3)


def test_batches_through_a_loader():
    batch = next(iter(DataLoader(boxes(5), batch_size=3, collate_fn=collate)))
    assert batch["image"].shape == (3, 3, 48, 48)
    assert [len(b) for b in batch["boxes"]] == [len(b) for b in batch["labels"]]
    plain = next(iter(DataLoader(cells(5, 32), batch_size=3)))  # no boxes: torch's own rule works
    assert plain["instances"].shape == (3, 32, 32)
    mixed = [cells(1, 32)[0], cells(1, 40)[0]]
    with pytest.raises(ValueError, match="one size of image in a batch"):
        collate(mixed)


def test_scenes_check_what_they_are_made_of():
    images, masks = torch.rand(2, 3, 8, 9), torch.zeros(2, 8, 9, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"\(2, 3, 8, 9\) and \(2, 9, 8\)"):
        Scenes(images, masks.transpose(1, 2))
    with pytest.raises(ValueError, match=r"instances of shape \(2, 8, 9\)"):
        Scenes(images, masks, instances=masks[:1])
    with pytest.raises(ValueError, match="expected boxes for 2 images, one tensor each; got 1"):
        Scenes(images, masks, boxes=(torch.zeros(0, 4),))
    with pytest.raises(ValueError, match=r"images \(N, C, H, W\)"):
        Scenes(images[0], masks)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_scenes_move_to_a_device():
    moved = boxes(2).to("cuda")
    assert moved.images.is_cuda
    assert moved.boxes[0].is_cuda
    assert moved[:1].masks.is_cuda
