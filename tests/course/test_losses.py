"""Losses against torch, scipy, the slide's numbers and finite differences."""

import math
import os
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch.nn import functional as F

from course.losses import (
    border_weights,
    class_frequencies,
    cross_entropy,
    median_frequency_weights,
    soft_dice,
    soft_dice_loss,
)
from course.models.pspnet import WithAuxiliary

SLIDE_P = torch.tensor(
    [
        [0.01, 0.03, 0.02, 0.02],
        [0.05, 0.12, 0.09, 0.07],
        [0.89, 0.85, 0.88, 0.91],
        [0.99, 0.97, 0.95, 0.97],
    ]
)
SLIDE_T = torch.tensor([[0.0], [0.0], [1.0], [1.0]]).expand(4, 4)


def random_cells(shape: tuple[int, int], cells: int, seed: int) -> torch.Tensor:
    """Touching discs with the labels 1 … `cells`, in no order of position."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    labels = np.zeros(shape, dtype=np.int64)
    for cell in rng.permutation(cells) + 1:
        cy, cx, r = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(1, 7)
        labels[((y - cy) ** 2 + (x - cx) ** 2 < r * r) & (labels == 0)] = cell
    return torch.from_numpy(labels)


def border_by_transform(labels: torch.Tensor, w0: float, sigma: float) -> torch.Tensor:
    """The textbook way: one distance transform of the whole image per cell, then a sort."""
    cells = [cell for cell in labels.unique().tolist() if cell]
    if len(cells) < 2:
        return torch.zeros(labels.shape)
    distances = [ndimage.distance_transform_edt(labels.numpy() != cell) for cell in cells]
    d1, d2 = np.sort(np.stack(distances), axis=0)[:2]
    border = w0 * np.exp(-((d1 + d2) ** 2) / (2 * sigma**2)) * (labels.numpy() == 0)
    return torch.from_numpy(border).float()


class TestBorderWeights:
    @pytest.mark.parametrize(
        ("gap", "expected"), [(2, 9.231163), (3, 8.352702), (5, 6.065307), (10, 1.353353)]
    )
    def test_published_curve(self, gap: int, expected: float) -> None:
        row = torch.zeros(1, gap + 1, dtype=torch.int64)  # d1 + d2 = gap at every pixel between
        row[0, 0], row[0, -1] = 1, 2
        weights = border_weights(row, class_balance=False)
        assert weights[0, 1:-1].tolist() == pytest.approx([1 + expected] * (gap - 1), abs=1e-5)
        assert weights[0, [0, -1]].tolist() == [1, 1]

    @pytest.mark.parametrize("shape", [(61, 83), (40, 7), (1, 50), (50, 1)])
    @pytest.mark.parametrize(("w0", "sigma"), [(10.0, 5.0), (3.0, 1.0), (10.0, 12.5), (0.5, 0.3)])
    def test_equals_one_transform_per_cell(self, shape, w0: float, sigma: float) -> None:
        for seed in range(3):
            labels = random_cells(shape, 2 + 7 * seed, seed)
            ours = border_weights(labels, w0, sigma, class_balance=False) - 1
            torch.testing.assert_close(
                ours, border_by_transform(labels, w0, sigma), atol=1.1e-5, rtol=1e-5
            )

    @given(seed=st.integers(0, 2**31), cells=st.integers(0, 6), w=st.integers(1, 30))
    @settings(max_examples=25, deadline=None)
    def test_flips_turns_and_renaming_change_nothing(self, seed: int, cells: int, w: int) -> None:
        labels = random_cells((17, w), cells, seed)
        weights = border_weights(labels)
        torch.testing.assert_close(border_weights(labels.flip(1)), weights.flip(1))
        torch.testing.assert_close(border_weights(labels.T), weights.T)
        renamed = torch.where(labels > 0, 1000 - labels, 0)
        torch.testing.assert_close(border_weights(renamed), weights)

    def test_a_batch_is_its_maps_one_by_one(self) -> None:
        maps = torch.stack([random_cells((33, 21), n, n) for n in (0, 1, 5)])
        together = border_weights(maps)
        assert together.shape == maps.shape
        for labels, weights in zip(maps, together):
            torch.testing.assert_close(border_weights(labels), weights)

    def test_fewer_than_two_cells_leave_only_the_class_balance(self) -> None:
        empty = torch.zeros(4, 6, dtype=torch.uint8)
        assert border_weights(empty).eq(1).all()
        assert border_weights(torch.ones_like(empty)).eq(1).all()
        one = empty.clone()
        one[:2, :3] = 7  # 6 of 24 pixels
        weights = border_weights(one)
        assert weights[0, 0].item() == pytest.approx(24 / (2 * 6))
        assert weights[3, 5].item() == pytest.approx(24 / (2 * 18))
        assert weights.mean().item() == pytest.approx(1)

    def test_not_the_sum_of_squares(self) -> None:
        weights = border_weights(torch.tensor([[1, 0, 0, 2]]), class_balance=False)  # d1=1, d2=2
        assert weights[0, 1].item() == pytest.approx(1 + 10 * math.exp(-9 / 50))
        assert weights[0, 1].item() != pytest.approx(1 + 10 * math.exp(-5 / 50), abs=0.1)

    def test_huge_labels_use_wider_integers(self) -> None:
        labels = random_cells((30, 40), 6, 1)
        wide = torch.where(labels > 0, labels + 2**40, 0)
        torch.testing.assert_close(border_weights(wide), border_weights(labels))
        with pytest.raises(ValueError, match="renumber the cells"):
            border_weights(torch.where(labels > 0, labels + 2**60, 0))

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.uint16, torch.uint64])
    def test_every_type_of_integers(self, dtype: torch.dtype) -> None:
        labels = random_cells((20, 30), 5, 2)
        torch.testing.assert_close(border_weights(labels.to(dtype)), border_weights(labels))

    def test_zero_height_switches_the_border_off(self) -> None:
        assert border_weights(random_cells((20, 20), 4, 0), 0.0, class_balance=False).eq(1).all()

    @pytest.mark.parametrize(
        ("labels", "kwargs", "error", "message"),
        [
            (torch.zeros(4, 4), {}, TypeError, "integer tensor.*float32"),
            (np.zeros((4, 4), int), {}, TypeError, "integer tensor.*ndarray"),
            (torch.zeros(4, dtype=torch.long), {}, ValueError, r"\(H, W\) or \(B, H, W\).*\(4,\)"),
            (torch.zeros(0, 4, dtype=torch.long), {}, ValueError, "not empty"),
            (torch.tensor([[0, -3]]), {}, ValueError, "positive for cells, got -3"),
            (torch.tensor([[0, 3]]), {"sigma": 0}, ValueError, "sigma > 0 pixels.*sigma=0"),
            (torch.tensor([[0, 3]]), {"w0": math.nan}, ValueError, "w0=nan"),
        ],
    )
    def test_bad_input(self, labels, kwargs, error, message: str) -> None:
        with pytest.raises(error, match=message):
            border_weights(labels, **kwargs)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_stays_on_cuda(self) -> None:
        labels = random_cells((61, 83), 12, 0)
        weights = border_weights(labels.cuda())
        assert weights.is_cuda
        torch.testing.assert_close(weights.cpu(), border_weights(labels))

    @pytest.mark.data
    @pytest.mark.skipif("COURSE_DATA" not in os.environ, reason="COURSE_DATA is not set")
    def test_real_nuclei_equal_one_transform_per_cell(self) -> None:
        image_io = pytest.importorskip("skimage.io")
        folder = Path(os.environ["COURSE_DATA"]) / "dsb2018" / "stage1_train"
        if not folder.is_dir():
            pytest.skip(f"no nuclei under {folder}")
        nuclei = sorted(folder.iterdir())[0]
        masks = [image_io.imread(path) > 0 for path in sorted((nuclei / "masks").glob("*.png"))]
        numbered = sum(mask.astype(np.int64) * n for n, mask in enumerate(masks, 1))
        labels = torch.from_numpy(numbered)
        ours = border_weights(labels, class_balance=False) - 1
        torch.testing.assert_close(
            ours, border_by_transform(labels, 10.0, 5.0), atol=1.1e-5, rtol=1e-5
        )


class TestCrossEntropy:
    @pytest.fixture
    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(2, 5, 7, 11, dtype=torch.float64, generator=generator)
        target = torch.randint(0, 5, (2, 7, 11), generator=generator)
        target[0, :3] = 255
        return logits.requires_grad_(), target

    def test_value_and_gradient_equal_torch(self, batch) -> None:
        logits, target = batch
        ours, theirs = (
            cross_entropy(logits, target),
            F.cross_entropy(logits, target, ignore_index=255),
        )
        torch.testing.assert_close(ours, theirs)
        torch.testing.assert_close(
            *(torch.autograd.grad(loss, logits)[0] for loss in (ours, theirs))
        )

    def test_weights_multiply_and_the_mean_counts_pixels(self, batch) -> None:
        logits, target = batch
        class_weights = torch.tensor([0.5, 2.0, 1.0, 0.0, 3.0])
        weight_map = torch.rand(2, 7, 11, generator=torch.Generator().manual_seed(1)) * 10
        expected, valid = 0.0, 0
        log_p = logits.log_softmax(1)
        for b, y, x in np.ndindex(2, 7, 11):
            label = target[b, y, x].item()
            if label != 255:
                scale = class_weights[label].double() * weight_map[b, y, x].double()
                expected, valid = expected - scale * log_p[b, label, y, x], valid + 1
        ours = cross_entropy(logits, target, weight_map=weight_map, class_weights=class_weights)
        torch.testing.assert_close(ours, expected / valid)
        torch.testing.assert_close(
            torch.autograd.grad(ours, logits)[0], torch.autograd.grad(expected / valid, logits)[0]
        )

    def test_doubling_the_weights_doubles_the_loss(self, batch) -> None:
        logits, target = batch
        plain = cross_entropy(logits, target)
        torch.testing.assert_close(
            cross_entropy(logits, target, class_weights=torch.full((5,), 2.0)), 2 * plain
        )
        torch.testing.assert_close(
            cross_entropy(logits, target, weight_map=torch.full((2, 7, 11), 2.0)), 2 * plain
        )

    def test_all_ignored_is_zero_with_zero_gradient(self, batch) -> None:
        logits, target = batch
        loss = cross_entropy(logits, torch.full_like(target, 255))
        assert loss.item() == 0
        assert torch.autograd.grad(loss, logits)[0].eq(0).all()

    def test_ignored_logits_get_no_gradient(self, batch) -> None:
        logits, target = batch
        gradient = torch.autograd.grad(cross_entropy(logits, target), logits)[0]
        assert gradient[0, :, :3].eq(0).all()
        assert gradient[0, :, 3:].ne(0).all()

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_half_precision_is_summed_in_float32(self, dtype: torch.dtype) -> None:
        logits = torch.zeros(1, 2, 300, 300, dtype=dtype, requires_grad=True)
        loss = cross_entropy(logits, torch.zeros(1, 300, 300, dtype=torch.uint8))
        assert loss.dtype == torch.float32
        assert loss.item() == pytest.approx(math.log(2), rel=1e-5)
        loss.backward()
        assert logits.grad is not None
        assert logits.grad.dtype == dtype

    @pytest.mark.parametrize(
        ("logits", "target", "kwargs", "error", "message"),
        [
            (torch.zeros(1, 2, 3, 4), torch.zeros(1, 4, 3).long(), {}, ValueError, r"\(1, 4, 3\)"),
            (torch.zeros(1, 2, 3, 4), torch.zeros(1, 3, 4), {}, TypeError, "integer classes"),
            (
                torch.zeros(1, 2, 3, 4),
                np.zeros((1, 3, 4)),
                {},
                TypeError,
                "got ndarray: .*as_tensor",
            ),
            ((None, None), torch.zeros(1, 3, 4).long(), {}, TypeError, "not take tuple: give the"),
            (
                WithAuxiliary(torch.zeros(1, 2, 3, 4), torch.zeros(1, 2, 3, 4)),
                torch.zeros(1, 3, 4).long(),
                {},
                TypeError,
                r"cross_entropy does not take WithAuxiliary: train with .*pspnet\.auxiliary_loss",
            ),
            (
                torch.zeros(1, 2, 3, 4).long(),
                torch.zeros(1, 3, 4).long(),
                {},
                TypeError,
                "floating",
            ),
            (torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 2]]]), {}, ValueError, "target holds 2$"),
            (torch.zeros(1, 2, 1, 2), torch.tensor([[[0, -1]]]), {}, ValueError, "holds -1$"),
            (
                torch.zeros(1, 2, 1, 2),
                torch.tensor([[[0, 1]]]),
                {"weight_map": torch.ones(1, 1, 1, 2)},
                ValueError,
                r"weight_map of shape \(1, 1, 2\), got \(1, 1, 1, 2\)",
            ),
            (
                torch.zeros(1, 2, 1, 2),
                torch.tensor([[[0, 1]]]),
                {"class_weights": torch.ones(3)},
                ValueError,
                r"class_weights of shape \(2,\), got \(3,\)",
            ),
        ],
    )
    def test_bad_input(self, logits, target, kwargs, error, message: str) -> None:
        with pytest.raises(error, match=message):
            cross_entropy(logits, target, **kwargs)


class TestMedianFrequency:
    MAPS = torch.tensor([[[0, 0, 0, 1]], [[0, 0, 255, 0]], [[1, 1, 2, 255]]])

    def test_frequencies_over_images_that_hold_the_class(self) -> None:
        expected = torch.tensor([6 / 7, 3 / 7, 1 / 3, 0], dtype=torch.float64)
        torch.testing.assert_close(class_frequencies(self.MAPS, 4), expected)

    def test_frequencies_over_the_whole_set(self) -> None:
        expected = torch.tensor([6, 3, 1, 0], dtype=torch.float64) / 10
        torch.testing.assert_close(class_frequencies(self.MAPS, 4, where_present=False), expected)

    def test_maps_may_stream_in_batches_of_any_size(self) -> None:
        stream = (part for part in (self.MAPS[:0], self.MAPS[:2], self.MAPS[2].to(torch.uint8)))
        torch.testing.assert_close(class_frequencies(stream, 4), class_frequencies(self.MAPS, 4))

    def test_weights(self) -> None:
        weights = median_frequency_weights(torch.tensor([6 / 7, 3 / 7, 1 / 3, 0.0]))
        torch.testing.assert_close(weights, torch.tensor([0.5, 1, 9 / 7, 1]))
        even = median_frequency_weights(torch.tensor([0.1, 0.2, 0.4, 0.8]))
        torch.testing.assert_close(even, 0.3 / torch.tensor([0.1, 0.2, 0.4, 0.8]))

    @pytest.mark.data
    @pytest.mark.skipif("COURSE_DATA" not in os.environ, reason="COURSE_DATA is not set")
    def test_camvid_gives_the_order_of_the_released_weights(self) -> None:
        image = pytest.importorskip("PIL.Image")
        folder = Path(os.environ["COURSE_DATA"]) / "CamVid" / "trainannot"
        if not folder.is_dir():
            pytest.skip(f"no CamVid labels under {folder}")
        maps = (torch.from_numpy(np.array(image.open(p))) for p in sorted(folder.glob("*.png")))
        weights = median_frequency_weights(class_frequencies(maps, 11, ignore_index=11))
        released = [
            0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614,
        ]  # fmt: skip
        assert weights.median().item() == pytest.approx(1)
        # Sixty of 367 frames: the order holds, the figures only roughly.
        correlation = np.corrcoef(weights.log().numpy(), np.log(released))[0, 1]
        assert correlation > 0.9

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match=r"labels 0 … 1 or 255 \(ignored\), got 2"):
            class_frequencies(self.MAPS, 2)
        with pytest.raises(ValueError, match="at least one label map"):
            class_frequencies([], 2)
        with pytest.raises(ValueError, match="at least one label map"):
            class_frequencies([self.MAPS[:0]], 4)
        with pytest.raises(ValueError, match=r"integer label maps.*float32"):
            class_frequencies([torch.zeros(3, 3)], 2)
        with pytest.raises(ValueError, match="only zeros"):
            median_frequency_weights(torch.zeros(3))
        with pytest.raises(ValueError, match="frequencies >= 0"):
            median_frequency_weights(torch.tensor([0.2, math.nan]))


class TestSoftDice:
    def test_numbers_of_the_slide(self) -> None:
        assert (SLIDE_P * SLIDE_T).sum().item() == pytest.approx(7.41)
        assert soft_dice(SLIDE_P, SLIDE_T).item() == pytest.approx(0.936789, abs=5e-7)
        assert soft_dice(SLIDE_P, SLIDE_T, squared=True).item() == pytest.approx(0.993751, abs=5e-7)
        assert soft_dice_loss(SLIDE_P, SLIDE_T).item() == pytest.approx(0.063211, abs=5e-7)
        assert soft_dice_loss(SLIDE_P, SLIDE_T, squared=True).item() == pytest.approx(
            0.006249, abs=5e-7
        )
        hard = (SLIDE_P > 0.5).float()
        assert soft_dice(hard, SLIDE_T).item() == 1

    def test_slide_as_two_channels_with_a_label_map(self) -> None:
        probabilities = torch.stack([1 - SLIDE_P, SLIDE_P])[None]
        dice = soft_dice(probabilities, SLIDE_T.long()[None])
        assert dice.tolist() == [pytest.approx([0.938195, 0.936789], abs=1e-6)]
        assert dice.mean().item() == pytest.approx(0.937492, abs=1e-6)

    @pytest.fixture
    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(3, 4, 5, 9, dtype=torch.float64, generator=generator)
        target = torch.randint(0, 4, (3, 5, 9), generator=generator)
        target[0, 2:] = 255
        target[2][target[2] == 3] = 0  # class 3 is absent from the last image
        return logits.softmax(1).requires_grad_(), target

    @pytest.mark.parametrize("squared", [False, True])
    @pytest.mark.parametrize("over_batch", [False, True])
    @pytest.mark.parametrize("ignored", [False, True])
    def test_labels_equal_written_out_masks(self, batch, squared, over_batch, ignored) -> None:
        p, target = batch
        if not ignored:
            target = target.masked_fill(target == 255, 1)
        valid = (target != 255).double()[:, None]
        t = F.one_hot(target.masked_fill(target == 255, 0), 4).movedim(-1, 1).double() * valid
        axes = (0, 2, 3) if over_batch else (2, 3)
        q = p * valid
        below = (q**2 + t**2 if squared else q + t).sum(axes)
        expected = (2 * (q * t).sum(axes) + 0.5) / (below + 0.5)
        ours = soft_dice(p, target, squared=squared, over_batch=over_batch, eps=0.5)
        torch.testing.assert_close(ours, expected)
        seed = torch.linspace(-1, 2, ours.numel(), dtype=torch.float64).view_as(ours)
        torch.testing.assert_close(
            torch.autograd.grad(ours, p, seed)[0], torch.autograd.grad(expected, p, seed)[0]
        )
        masks = soft_dice(q, t, squared=squared, over_batch=over_batch, eps=0.5)
        torch.testing.assert_close(masks, expected)

    def test_gradient_points_to_the_target(self, batch) -> None:
        p, target = batch
        gradient = torch.autograd.grad(soft_dice_loss(p, target), p)[0]
        right = F.one_hot(target.masked_fill(target == 255, 0), 4).movedim(-1, 1).bool()
        valid = (target != 255)[:, None].expand_as(p)
        assert (gradient[right & valid] < 0).all()
        assert (gradient[~right & valid] >= 0).all()
        assert gradient[~valid].eq(0).all()

    def test_finite_differences(self, batch) -> None:
        p, target = batch
        small = (p.detach()[1:, :, :2, :3].clone().requires_grad_(), target[1:, :2, :3])
        assert torch.autograd.gradcheck(lambda x: soft_dice_loss(x, small[1]), (small[0],))

    def test_empty_against_empty_is_one(self) -> None:
        empty = torch.zeros(4, 4)
        assert soft_dice(empty, empty).item() == 1
        assert soft_dice(empty, empty, squared=True).item() == 1
        assert soft_dice(torch.ones(4, 4), empty).item() == pytest.approx(0, abs=1e-6)
        ignored = torch.full((1, 4, 4), 255)
        assert soft_dice(torch.rand(1, 2, 4, 4), ignored).tolist() == [[1, 1]]

    def test_over_the_batch_differs_from_the_mean_over_images(self, batch) -> None:
        p, target = batch
        assert soft_dice(p, target).shape == (3, 4)
        together = soft_dice(p, target, over_batch=True)
        assert together.shape == (4,)
        assert not torch.allclose(together, soft_dice(p, target).mean(0), atol=1e-3)

    def test_a_batch_without_images_costs_nothing(self) -> None:
        p = torch.zeros(0, 2, 4, 5, requires_grad=True)
        for squared, over_batch in product((False, True), repeat=2):
            for target in (torch.zeros(0, 4, 5, dtype=torch.long), torch.zeros(0, 2, 4, 5)):
                loss = soft_dice_loss(p, target, squared=squared, over_batch=over_batch)
                assert loss.item() == 0
                loss.backward()

    @pytest.mark.parametrize("squared", [False, True])
    def test_masks_outside_0_and_1_are_refused(self, squared: bool) -> None:
        p = torch.full((1, 6, 6), 0.9)
        void = torch.zeros(1, 6, 6, dtype=torch.long)
        void[0, 0, 0] = 255
        with pytest.raises(ValueError, match=r"from 0 to 255.*ignore pixels, give integer labels"):
            soft_dice(p, void, squared=squared)
        with pytest.raises(ValueError, match="divide masks of bytes by 255"):
            soft_dice(p, void.byte(), squared=squared)
        with pytest.raises(ValueError, match="from -1 to 0"):
            soft_dice(p, (void > 0).float() - 1, squared=squared)
        with pytest.raises(ValueError, match="nan"):
            soft_dice(p, torch.full((1, 6, 6), math.nan), squared=squared)
        assert soft_dice(p, void > 0) == soft_dice(p, (void > 0).byte())

    def test_bfloat16(self, batch) -> None:
        p, target = batch
        half = soft_dice(p.detach().bfloat16(), target)
        assert half.dtype == torch.float32
        torch.testing.assert_close(half.double(), soft_dice(p, target).detach(), atol=5e-3, rtol=0)

    def test_bad_input(self, batch) -> None:
        p, target = batch
        with pytest.raises(ValueError, match="apply softmax or sigmoid"):
            soft_dice(20 * p - 10, target)
        with pytest.raises(ValueError, match="apply softmax or sigmoid"):
            soft_dice(SLIDE_P * 3, SLIDE_T)
        with pytest.raises(ValueError, match="apply softmax or sigmoid"):
            soft_dice(20 * p - 10, target, squared=True)
        with pytest.raises(ValueError, match=r"\(3, 4, 5, 9\) and \(3, 9, 5\)"):
            soft_dice(p, target.mT)
        with pytest.raises(ValueError, match=r"labels 0 … 3 for 4 classes.*got 200"):
            soft_dice(p, target.masked_fill(target == 1, 200))
        with pytest.raises(ValueError, match=r"labels 0 … 3 for 4 classes.*got 255"):
            soft_dice(p, target, ignore_index=None)
        with pytest.raises(TypeError, match=r"floating, got torch\.int64"):
            soft_dice(target, target)
