"""Metrics against brute force, closed forms, scikit-image and the slide's numbers."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from skimage import measure

from course.metrics import (
    ConfusionMatrix,
    boundary_f,
    confusion_matrix,
    count_error,
    dice,
    dice_from_iou,
    frequency_weighted_iou,
    instance_labels,
    iou,
    iou_from_dice,
    match_instances,
    mean_accuracy,
    mean_iou,
    pixel_accuracy,
    precision,
    recall,
    soft_dice,
)

SLIDE_TARGET = torch.tensor([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
SLIDE_PRED = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1]])


def exactly(value: float | list[float]) -> object:
    return pytest.approx(value, abs=1e-12, nan_ok=True)


class TestSlide:
    """The 3 x 3 pixels of road and sidewalk."""

    matrix = confusion_matrix(SLIDE_PRED, SLIDE_TARGET, 2)

    def test_rows_are_labels(self) -> None:
        assert self.matrix.tolist() == [[3, 2], [0, 4]]

    @pytest.mark.parametrize(
        ("score", "expected"),
        [
            (pixel_accuracy, 7 / 9),
            (recall, [3 / 5, 1]),
            (mean_accuracy, 0.8),
            (precision, [1, 4 / 6]),
            (iou, [3 / 5, 4 / 6]),
            (mean_iou, 19 / 30),
            (dice, [0.75, 0.8]),
            (frequency_weighted_iou, 17 / 27),
        ],
    )
    def test_scores(self, score, expected) -> None:
        assert score(self.matrix).tolist() == exactly(expected)
        streaming = ConfusionMatrix(2)
        streaming.update(SLIDE_PRED, SLIDE_TARGET)
        assert getattr(streaming, score.__name__)().tolist() == exactly(expected)


def count_by_loop(pred: torch.Tensor, target: torch.Tensor, k: int, ignore: int | None) -> list:
    matrix = [[0] * k for _ in range(k)]
    for p, t in zip(pred.flatten().tolist(), target.flatten().tolist()):
        if t != ignore:
            matrix[t][p] += 1
    return matrix


class TestConfusionMatrix:
    @given(
        k=st.integers(1, 9),
        shape=st.lists(st.integers(1, 7), min_size=1, max_size=3),
        ignore=st.sampled_from([255, -1, -100, 0, 9, 300, 70_000, None]),
        seed=st.integers(0, 2**31),
    )
    @settings(max_examples=60, deadline=None)
    def test_equals_a_loop_over_pixels(self, k, shape, ignore, seed) -> None:
        generator = torch.Generator().manual_seed(seed)
        pred = torch.randint(0, k, shape, generator=generator)
        target = torch.randint(0, k, shape, generator=generator)
        if ignore is not None:
            target[torch.rand(shape, generator=generator) < 0.3] = ignore
        expected = count_by_loop(pred, target, k, ignore)
        assert confusion_matrix(pred, target, k, ignore).tolist() == expected

    @pytest.mark.parametrize(
        "dtype", [torch.uint8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint64]
    )
    @pytest.mark.parametrize("k", [2, 21, 31, 32, 33, 128, 129, 150, 255])
    @pytest.mark.parametrize("ignored_rows", [0, 4])
    def test_every_type_and_width_of_the_counter(self, dtype, k: int, ignored_rows: int) -> None:
        generator = torch.Generator().manual_seed(k)
        pred = torch.randint(0, k, (3, 17, 23), generator=generator)
        target = torch.randint(0, k, (3, 17, 23), generator=generator)
        target[:, :ignored_rows] = 255
        pred[0, 10], target[0, 10] = k - 1, k - 1  # the largest cell
        expected = torch.zeros(k, k, dtype=torch.int64)
        valid = target != 255
        expected.index_put_((target[valid], pred[valid]), torch.tensor(1), accumulate=True)
        assert confusion_matrix(pred.to(dtype), target.to(dtype), k).equal(expected)
        assert confusion_matrix(pred.to(dtype), target, k).equal(expected)

    def test_more_classes_than_a_byte(self) -> None:
        pred, target = torch.tensor([999, 256, 255]), torch.tensor([256, 999, 256])
        matrix = confusion_matrix(pred, target, 1000, ignore_index=None)
        assert matrix.sum() == 3
        assert [matrix[256, 999], matrix[999, 256], matrix[256, 255]] == [1, 1, 1]

    def test_predictions_on_ignored_pixels_are_no_false_positives(self) -> None:
        target = torch.tensor([0, 1, 255, 255])
        matrix = confusion_matrix(torch.tensor([0, 1, 1, 1]), target, 2)
        assert matrix.tolist() == [[1, 0], [0, 1]]

    def test_bool_masks_and_views(self) -> None:
        pred, target = SLIDE_PRED.bool(), SLIDE_TARGET.bool()
        assert confusion_matrix(pred.T, target.T, 2).tolist() == [[3, 2], [0, 4]]

    def test_nothing_to_count(self) -> None:
        nothing = torch.zeros(0, 4, 4, dtype=torch.int64)
        assert confusion_matrix(nothing, nothing, 3).tolist() == [[0] * 3] * 3

    def test_inputs_are_left_alone(self) -> None:
        pred, target = SLIDE_PRED.clone(), SLIDE_TARGET.clone()
        confusion_matrix(pred, target, 2)
        assert pred.equal(SLIDE_PRED)
        assert target.equal(SLIDE_TARGET)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
    @pytest.mark.parametrize(
        ("pred", "target", "message"),
        [
            ([0, 5], [0, 1], "predictions 0 … 1, got 5"),
            ([0, 1], [0, 7], r"labels 0 … 1 or 255 \(ignored\), got 7"),
            ([0, 1], [255, 254], "got 254"),
        ],
    )
    def test_values_out_of_range_are_named(self, dtype, pred, target, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            confusion_matrix(torch.tensor(pred, dtype=dtype), torch.tensor(target, dtype=dtype), 2)

    @pytest.mark.parametrize(
        ("target", "ignore", "message"),
        [
            ([0, -1], 255, "got -1"),
            ([0, 256], 255, "got 256"),
            ([-100, 2], -100, r"labels 0 … 1 or -100 \(ignored\), got 2"),
            ([0, 255], None, "labels 0 … 1, got 255"),
            ([0, 2**40], 255, f"got {2**40}"),
        ],
    )
    def test_wide_labels_are_named(self, target, ignore, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            confusion_matrix(torch.tensor([0, 1]), torch.tensor(target), 2, ignore)

    def test_bad_input(self) -> None:
        with pytest.raises(TypeError, match=r"float32 of shape \(1, 2, 3, 3\).*argmax\(1\)"):
            confusion_matrix(torch.rand(1, 2, 3, 3), SLIDE_TARGET[None], 2)
        with pytest.raises(ValueError, match=r"\(3, 3\) and \(1, 3, 3\)"):
            confusion_matrix(SLIDE_PRED, SLIDE_TARGET[None], 2)
        with pytest.raises(TypeError, match="pred must be a tensor, got list"):
            confusion_matrix([0, 1], torch.tensor([0, 1]), 2)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="num_classes >= 1, got 0"):
            confusion_matrix(SLIDE_PRED, SLIDE_TARGET, 0)
        with pytest.raises(ValueError, match=r"confusion matrix \(K, K\), got \(2, 3\)"):
            iou(torch.zeros(2, 3))

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_stays_on_cuda(self) -> None:
        streaming = ConfusionMatrix(2)
        streaming.update(SLIDE_PRED.cuda(), SLIDE_TARGET.cuda())
        assert streaming.matrix.is_cuda
        assert streaming.matrix.tolist() == [[3, 2], [0, 4]]


class TestStreaming:
    @given(seed=st.integers(0, 2**31), cut=st.integers(1, 4))
    @settings(max_examples=20, deadline=None)
    def test_batches_and_merges_equal_one_count(self, seed: int, cut: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        pred, target = (torch.randint(0, 3, (5, 4, 6), generator=generator) for _ in range(2))
        one, two = ConfusionMatrix(3), ConfusionMatrix(3)
        one.update(pred[:cut], target[:cut])
        two.update(pred[cut:], target[cut:])
        one.merge(two)
        assert one.matrix.equal(confusion_matrix(pred, target, 3))

    def test_reset_forgets(self) -> None:
        seen = ConfusionMatrix(2)
        seen.update(SLIDE_PRED, SLIDE_TARGET)
        seen.reset()
        assert repr(seen) == "ConfusionMatrix(2 classes, 0 pixels)"
        assert math.isnan(seen.mean_iou())

    def test_merge_refuses_other_classes(self) -> None:
        with pytest.raises(ValueError, match="2 classes to merge, got one of 3"):
            ConfusionMatrix(2).merge(ConfusionMatrix(3))

    def test_the_data_set_is_not_the_mean_of_its_images(self) -> None:
        target = torch.tensor([[0, 0, 0, 1], [1, 1, 1, 1]])
        pred = torch.tensor([[0, 0, 0, 0], [1, 1, 1, 1]])
        seen, per_image = ConfusionMatrix(2), []
        for p, t in zip(pred, target):
            seen.update(p, t)
            per_image.append(mean_iou(confusion_matrix(p, t, 2)).item())
        assert seen.mean_iou().item() == exactly((3 / 4 + 4 / 5) / 2)
        assert np.mean(per_image) == exactly((3 / 8 + 1) / 2)


class TestAbsentClasses:
    # class 2 is a label nowhere but predicted once; class 3 occurs nowhere
    matrix = torch.tensor([[4, 0, 1, 0], [1, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])

    def test_absent_is_nan_and_left_out(self) -> None:
        assert iou(self.matrix).tolist() == exactly([4 / 6, 2 / 3, 0, math.nan])
        assert mean_iou(self.matrix).item() == exactly((4 / 6 + 2 / 3 + 0) / 3)
        assert dice(self.matrix).tolist() == exactly([8 / 10, 4 / 5, 0, math.nan])
        assert recall(self.matrix).tolist() == exactly([4 / 5, 2 / 3, math.nan, math.nan])
        assert mean_accuracy(self.matrix).item() == exactly((4 / 5 + 2 / 3) / 2)
        assert precision(self.matrix).tolist() == exactly([4 / 5, 1, 0, math.nan])
        assert frequency_weighted_iou(self.matrix).item() == exactly(5 / 8 * 4 / 6 + 3 / 8 * 2 / 3)

    def test_nothing_counted_is_nan(self) -> None:
        for score in (pixel_accuracy, mean_accuracy, mean_iou, frequency_weighted_iou):
            assert math.isnan(score(torch.zeros(2, 2, dtype=torch.int64)))

    def test_accuracy_hides_what_iou_shows(self) -> None:
        """95 % of the pixels right, the rare class never found."""
        matrix = torch.tensor([[95, 0], [5, 0]])
        assert pixel_accuracy(matrix).item() == exactly(0.95)
        assert iou(matrix)[1].item() == 0


class TestDiceAndIou:
    @given(st.floats(0, 1))
    @settings(deadline=None)
    def test_each_is_the_inverse_of_the_other_and_dice_is_larger(self, j: float) -> None:
        d = dice_from_iou(j)
        assert iou_from_dice(d) == pytest.approx(j)
        assert d >= j

    @given(st.lists(st.integers(0, 50), min_size=9, max_size=9))
    @settings(deadline=None)
    def test_identity_holds_per_class(self, counts: list[int]) -> None:
        matrix = torch.tensor(counts).view(3, 3)
        torch.testing.assert_close(dice_from_iou(iou(matrix)), dice(matrix), equal_nan=True)

    def test_soft_dice_of_hard_masks_is_dice(self) -> None:
        masks = torch.nn.functional.one_hot(SLIDE_PRED, 2).movedim(-1, 0)[None].float()
        assert soft_dice(masks, SLIDE_TARGET[None])[0].tolist() == pytest.approx([0.75, 0.8])


def boundary_by_transform(pred: np.ndarray, target: np.ndarray, tolerance: float) -> float:
    """F of two masks through distance transforms; both must have a boundary."""
    cross = ndimage.generate_binary_structure(2, 1)
    outlines = [m & ~ndimage.binary_erosion(m, cross, border_value=1) for m in (pred, target)]
    near = [ndimage.distance_transform_edt(~outline) <= tolerance for outline in outlines]
    p = (outlines[0] & near[1]).sum() / outlines[0].sum()
    r = (outlines[1] & near[0]).sum() / outlines[1].sum()
    return 2 * p * r / (p + r) if p + r else 0.0


class TestBoundaryF:
    @pytest.mark.parametrize("tolerance", [0, 1, 1.5, 2, 3.7, 12])
    @pytest.mark.parametrize("shape", [(23, 37), (40, 11)])
    def test_masks_equal_distance_transforms(self, tolerance: float, shape) -> None:
        rng = np.random.default_rng(int(tolerance * 10))
        masks = [ndimage.gaussian_filter(rng.normal(size=(4, *shape)), (0, 3, 3)) > 0 for _ in "pt"]
        ours = boundary_f(*(torch.from_numpy(m) for m in masks), tolerance)
        expected = [boundary_by_transform(p, t, tolerance) for p, t in zip(*masks)]
        assert ours.tolist() == exactly(expected)

    def test_classes_equal_their_masks(self) -> None:
        generator = torch.Generator().manual_seed(0)
        pred, target = (
            torch.randint(0, 3, (2, 1, 5, 7), generator=generator)
            .float()
            .repeat_interleave(4, 2)
            .repeat_interleave(4, 3)[:, 0]
            .long()
            for _ in range(2)
        )
        ours = boundary_f(pred, target, 2, num_classes=3)
        assert ours.shape == (2, 3)
        for c in range(3):
            torch.testing.assert_close(ours[:, c], boundary_f(pred == c, target == c, 2))
        torch.testing.assert_close(boundary_f(pred[1], target[1], 2, num_classes=3), ours[1])

    def test_the_tolerance_is_a_disc(self) -> None:
        """A lone pixel moved by (3, 4) is 5 away, although only 4 along either axis."""
        target = torch.zeros(15, 15, dtype=torch.bool)
        target[5, 5] = True
        pred = target.roll((3, 4), (0, 1))
        assert boundary_f(pred, target, 4.9).item() == 0
        assert boundary_f(pred, target, 5).item() == 1

    def test_each_side_counts_its_own_boundary(self) -> None:
        """P = 1 and R = 1/2 give F = 2/3; counting one boundary twice would give 1 or 1/2."""
        target = torch.zeros(9, 12, dtype=torch.bool)
        target[2, 2], target[6, 9] = True, True
        pred = torch.zeros_like(target)
        pred[2, 2] = True
        assert boundary_f(pred, target, 1).item() == exactly(2 / 3)
        assert boundary_f(target, pred, 1).item() == exactly(2 / 3)

    def test_empty_cases(self) -> None:
        empty = torch.zeros(4, 6, dtype=torch.bool)
        full, half = ~empty, empty.clone()
        half[:, :3] = True
        assert boundary_f(empty, half, 2).item() == 0
        assert boundary_f(half, empty, 2).item() == 0
        assert boundary_f(full, half, 2).item() == 0
        assert boundary_f(full, full, 2).item() == 1
        assert boundary_f(full, empty, 2).item() == 0
        assert boundary_f(empty, empty, 2).isnan()
        scores = boundary_f(half.long(), half.long(), 0, num_classes=3)
        assert scores.tolist() == exactly([1, 1, math.nan])

    def test_ignored_pixels_bound_nothing(self) -> None:
        target = torch.tensor([[0, 0, 0, 255, 1, 1, 0]])
        pred = torch.tensor([[0, 0, 1, 1, 1, 1, 0]])
        scores = boundary_f(pred, target, 0, num_classes=2)
        # left: boundary at columns 5|6 only; predicted: 1|2 and 5|6 (2|3 and 3|4 touch 255)
        assert scores.tolist() == exactly([2 / 3, 2 / 3])

    def test_bad_input(self) -> None:
        mask = torch.zeros(4, 4, dtype=torch.bool)
        with pytest.raises(TypeError, match="bool masks, or num_classes="):
            boundary_f(mask.long(), mask.long(), 1)
        with pytest.raises(ValueError, match=r"\(4, 4\) and \(2, 8\)"):
            boundary_f(mask, mask.view(2, 8), 1)
        with pytest.raises(ValueError, match="tolerance >= 0 pixels, got -1"):
            boundary_f(mask, mask, -1)
        with pytest.raises(ValueError, match="predictions 0 … 1, got 2"):
            boundary_f(mask.long() + 2, mask.long(), 1, num_classes=2)
        with pytest.raises(ValueError, match="labels 0 … 1, got 2"):
            boundary_f(mask.long(), mask.long() + 2, 1, num_classes=2)
        with pytest.raises(TypeError, match="integer classes, got torch"):
            boundary_f(mask.float(), mask.long(), 1, num_classes=2)


class TestInstances:
    @pytest.mark.parametrize(("connectivity", "theirs"), [(4, 1), (8, 2)])
    def test_components_equal_scikit_image(self, connectivity: int, theirs: int) -> None:
        masks = torch.rand(3, 19, 31, generator=torch.Generator().manual_seed(0)) > 0.55
        ours = instance_labels(masks, connectivity)
        assert ours.dtype == torch.int64
        for mask, labels in zip(masks, ours):
            expected = measure.label(mask.numpy(), connectivity=theirs)
            pairs = set(zip(labels.flatten().tolist(), expected.flatten().tolist()))
            assert len(pairs) == labels.max() + 1 == expected.max() + 1  # one name each
            assert instance_labels(mask, connectivity).equal(labels)

    def test_integer_masks_join_different_classes(self) -> None:
        assert instance_labels(torch.tensor([[1, 2, 0, 2]])).tolist() == [[1, 1, 0, 2]]

    def test_count_error(self) -> None:
        target = torch.tensor([[[1, 0, 7]], [[1, 1, 1]], [[0, 0, 0]]])
        pred = torch.tensor([[[3, 3, 3]], [[1, 2, 3]], [[0, 0, 0]]])
        assert count_error(pred, target).tolist() == [-1, 2, 0]
        assert count_error(pred[0], target[0]).item() == -1

    def test_a_bridge_costs_a_cell_and_no_iou(self) -> None:
        target = torch.zeros(40, 90, dtype=torch.bool)
        target[5:35, 5:44], target[5:35, 46:85] = True, True
        merged = target.clone()
        merged[20, 44:46] = True
        matrix = confusion_matrix(merged, target, 2)
        assert mean_iou(matrix) > 0.998
        labels, merged_labels = instance_labels(target), instance_labels(merged)
        assert count_error(merged_labels, labels).item() == -1
        assert match_instances(merged_labels, labels).found == 0

    def test_matches_by_hand(self) -> None:
        target = torch.tensor([[1, 1, 1, 1, 0, 4, 4, 0, 9]])
        pred = torch.tensor([[2, 2, 2, 0, 0, 8, 8, 8, 0]])
        matches = match_instances(pred, target)
        assert matches.pairs.tolist() == [[2, 1], [8, 4]]
        assert matches.ious.tolist() == exactly([3 / 4, 2 / 3])
        assert matches.missed.tolist() == [9]
        assert matches.spurious.tolist() == []
        assert (matches.found, matches.recall, matches.precision) == (2, 2 / 3, 1)
        assert matches.f1 == exactly(4 / 5)
        strict = match_instances(pred, target, iou=0.7)
        assert strict.pairs.tolist() == [[2, 1]]
        assert strict.spurious.tolist() == [8]

    def test_the_threshold_itself_matches(self) -> None:
        target, pred = torch.tensor([[1, 1, 0]]), torch.tensor([[0, 3, 0]])
        assert match_instances(pred, target, iou=0.5).found == 1

    def test_below_a_half_the_number_of_matches_goes_first(self) -> None:
        """4 with 1 alone has an IoU of 9/11, more than the sum of both matches that it prevents."""
        target = torch.tensor([[1] * 10 + [2] * 3])
        pred = torch.tensor([[3] + [4] * 10 + [0] * 2])
        matches = match_instances(pred, target, iou=0.08)
        assert matches.pairs.tolist() == [[3, 1], [4, 2]]
        assert matches.ious.tolist() == exactly([1 / 10, 1 / 12])
        assert match_instances(pred, target, iou=0.5).pairs.tolist() == [[4, 1]]

    @given(seed=st.integers(0, 2**31), threshold=st.sampled_from([0.3, 0.5, 0.8]))
    @settings(max_examples=25, deadline=None)
    def test_laws(self, seed: int, threshold: float) -> None:
        rng = np.random.default_rng(seed)
        smooth = ndimage.gaussian_filter(rng.normal(size=(2, 16, 25)), (0, 1, 1)) > 0.1
        pred, target = instance_labels(torch.from_numpy(smooth))
        matches = match_instances(pred, target, threshold)
        for (p, t), overlap in zip(matches.pairs.tolist(), matches.ious.tolist()):
            a, b = pred == p, target == t
            assert overlap == exactly((a & b).sum().item() / (a | b).sum().item())
            assert overlap >= threshold
        assert matches.found + len(matches.missed) == target.max()
        assert matches.found + len(matches.spurious) == pred.max()
        mirrored = match_instances(target, pred, threshold)
        assert mirrored.found == matches.found
        same = match_instances(pred, pred, threshold)
        assert same.found == pred.max()
        assert same.ious.eq(1).all()

    def test_no_objects(self) -> None:
        nothing, one = torch.zeros(3, 4, dtype=torch.int64), torch.eye(3, 4, dtype=torch.int64)
        assert match_instances(nothing, one).missed.tolist() == [1]
        assert match_instances(one, nothing).spurious.tolist() == [1]
        assert math.isnan(match_instances(nothing, nothing).f1)

    def test_bad_input(self) -> None:
        labels = torch.ones(3, 4, dtype=torch.int64)
        with pytest.raises(TypeError, match="compare with a threshold"):
            instance_labels(labels.float())
        with pytest.raises(ValueError, match="connectivity 4 or 8, got 6"):
            instance_labels(labels, 6)
        with pytest.raises(ValueError, match=r"\(H, W\) or \(B, H, W\), got \(3,\)"):
            instance_labels(labels[:, 0])
        with pytest.raises(ValueError, match=r"one instance map.*\(1, 3, 4\)"):
            match_instances(labels[None], labels[None])
        with pytest.raises(ValueError, match=r"\(0, 1\], got 0"):
            match_instances(labels, labels, iou=0)
        with pytest.raises(ValueError, match="labels >= 0"):
            count_error(-labels, labels)
        with pytest.raises(TypeError, match="pred must be an integer instance map"):
            count_error(labels.float(), labels)

    @pytest.mark.data
    @pytest.mark.skipif("COURSE_DATA" not in os.environ, reason="COURSE_DATA is not set")
    def test_real_nuclei_touch(self) -> None:
        """Joining the masks of an image loses the nuclei that touch: the U-Net's problem."""
        image_io = pytest.importorskip("skimage.io")
        folder = Path(os.environ["COURSE_DATA"]) / "dsb2018" / "stage1_train"
        if not folder.is_dir():
            pytest.skip(f"no nuclei under {folder}")
        errors = []
        for nuclei in sorted(folder.iterdir())[:10]:
            masks = [image_io.imread(p) > 0 for p in sorted((nuclei / "masks").glob("*.png"))]
            target = torch.zeros(masks[0].shape, dtype=torch.int64)
            for n, mask in enumerate(masks, 1):
                target[torch.from_numpy(mask)] = n
            assert match_instances(target, target).found == len(masks)
            errors.append(count_error(instance_labels(target > 0, 8), target).item())
        assert max(errors) <= 0
        assert min(errors) < 0


def test_metrics_load_neither_torchvision_nor_scipy() -> None:
    code = (
        "import sys, course.losses, course.metrics;"
        "print({'torchvision', 'matplotlib', 'scipy', 'skimage'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
