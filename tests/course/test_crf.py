"""course.crf against sums written out, another lattice, and the library convention."""

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from course import crf

README: dict[str, Any] = {
    "w1": 10,
    "sigma_alpha": 80,
    "sigma_beta": 13,
    "w2": 3,
    "sigma_gamma": 3,
    "iterations": 5,
}
ALL_WAYS: list[dict[str, Any]] = [{}, {"method": "exact"}, {"convention": "equation"}]
gpu = pytest.mark.gpu
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def scene(h: int, w: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Coarse noisy scores (1, 3, H, W), the image (1, 3, H, W) and the labels (H, W)."""
    generator = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.arange(h).float(), torch.arange(w).float(), indexing="ij")
    labels = ((x - 0.3 * w) ** 2 + (y - 0.5 * h) ** 2 < (0.35 * h) ** 2).long()
    labels[(x > 0.65 * w) & (y > 0.3 * h)] = 2
    colours = torch.tensor([[40, 60, 120], [200, 60, 50], [90, 180, 90]])[labels].permute(2, 0, 1)
    image = (colours + 12 * torch.randn(3, h, w, generator=generator)).clamp(0, 255) / 255
    classes = F.one_hot(labels, 3).permute(2, 0, 1).float()[None]
    coarse = F.interpolate(F.avg_pool2d(classes, 4, ceil_mode=True), size=(h, w), mode="bilinear")
    return 4 * coarse + 0.5 * torch.randn(1, 3, h, w, generator=generator), image[None], labels


class TestKernels:
    def test_values_pair_by_pair(self):
        image = torch.rand(3, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        appearance, smoothness = crf.pairwise_kernel(image, 5.0, 60.0, 1.5)
        for i in range(12):
            for j in range(12):
                (yi, xi), (yj, xj) = divmod(i, 4), divmod(j, 4)
                near = (yi - yj) ** 2 + (xi - xj) ** 2
                colour = ((255 * (image[:, yi, xi] - image[:, yj, xj])) ** 2).sum().item()
                expected = math.exp(-near / (2 * 5**2) - colour / (2 * 60**2)) if i != j else 0
                assert appearance[i, j].item() == pytest.approx(expected, abs=1e-12)
                expected = math.exp(-near / (2 * 1.5**2)) if i != j else 0
                assert smoothness[i, j].item() == pytest.approx(expected, abs=1e-12)

    def test_symmetric_with_zero_diagonal(self):
        kernels = crf.pairwise_kernel(scene(7, 9, 0)[1][0], 4.0, 20.0, 2.0)
        assert kernels.shape == (2, 63, 63)
        assert torch.equal(kernels, kernels.transpose(1, 2))
        assert (kernels.diagonal(dim1=1, dim2=2) == 0).all()

    def test_bytes_and_floats_are_one_image(self):
        image = (scene(6, 5, 0)[1][0] * 255).round().byte()
        floats = crf.pairwise_kernel(image / 255, 4.0, 20.0, 2.0)
        torch.testing.assert_close(crf.pairwise_kernel(image, 4.0, 20.0, 2.0), floats)

    def test_normalized_by_hand(self):
        bond = math.exp(-0.5)
        normalized = crf.normalize_symmetric(
            torch.tensor([[[0, bond, 0], [bond, 0, bond], [0, bond, 0]]])
        )
        ends, middle = 1 + bond, 1 + 2 * bond
        side = bond / math.sqrt(ends * middle)
        expected = [[1 / ends, side, 0], [side, 1 / middle, side], [0, side, 1 / ends]]
        torch.testing.assert_close(normalized[0], torch.tensor(expected))

    @pytest.mark.parametrize(
        ("image", "error", "words"),
        [
            (torch.full((3, 4, 5), 200.0), ValueError, r"in \[0, 1\], got .* 200 .*divide by 255"),
            (torch.full((3, 4, 5), -2.0), ValueError, r"got values from -2 .*undo the normal"),
            (torch.full((3, 4, 5), math.nan), ValueError, r"in \[0, 1\], got values from nan"),
            (torch.ones(3, 4, 5).byte(), ValueError, "only 0 and 1.*lost its fractions"),
            (
                torch.ones(3, 4, 5).long(),
                TypeError,
                r"floats in \[0, 1\] or uint8, got torch.int64",
            ),
            (torch.ones(4, 5), ValueError, r"\(C, H, W\), got \(4, 5\)"),
            (torch.ones(3, 100, 100), ValueError, r"10000 pixels have 100,000,000 pairs.*lattice"),
        ],
    )
    def test_bad_images(self, image, error, words):
        with pytest.raises(error, match=words):
            crf.pairwise_kernel(image, 4.0, 20.0, 2.0)

    def test_bad_reach(self):
        with pytest.raises(ValueError, match="theta_b must be positive, got 0"):
            crf.pairwise_kernel(torch.ones(3, 2, 2), 4.0, 0.0, 2.0)
        with pytest.raises(ValueError, match=r"\(M, N, N\), got \(3, 2\)"):
            crf.normalize_symmetric(torch.ones(3, 2))


HAND = torch.tensor([[0.8, 0.2], [0.4, 0.6]])


class TestStep:
    def test_hand_example(self):
        kernel = crf.pairwise_kernel(torch.zeros(1, 1, 2), 1.0, 1.0, 1.0)[1:]
        torch.testing.assert_close(kernel[0, 0, 1].item(), math.exp(-0.5))
        unary, beliefs = -HAND.log(), HAND
        for step in range(1, 11):
            beliefs = crf.mean_field_step(beliefs, unary, kernel, [1.0])
            if step == 1:
                expected = torch.tensor([[0.779884, 0.220116], [0.489615, 0.510385]])
                torch.testing.assert_close(beliefs, expected, atol=1e-6, rtol=0)
        torch.testing.assert_close(
            beliefs[:, 0], torch.tensor([0.797849, 0.488963]), atol=1e-6, rtol=0
        )
        library = crf.mean_field_step(HAND, unary, crf.normalize_symmetric(kernel), [1.0])
        torch.testing.assert_close(
            library[:, 0], torch.tensor([0.843468, 0.424719]), atol=1e-6, rtol=0
        )

    def test_potts_messages_of_three_pixels(self):
        generator = torch.Generator().manual_seed(0)
        beliefs = torch.rand(3, 4, generator=generator).softmax(1)
        unary = torch.rand(3, 4, generator=generator)
        kernels = crf.pairwise_kernel(torch.rand(3, 1, 3, generator=generator), 2.0, 90.0, 1.0)
        w = [1.3, 0.7]
        expected = torch.empty(3, 4)
        for i in range(3):
            for x in range(4):
                charge = unary[i, x].clone()  # the other labels of the other pixels cost
                for label in range(4):
                    for j in range(3):
                        for m in range(2):
                            if label != x and j != i:
                                charge += w[m] * kernels[m, i, j] * beliefs[j, label]
                expected[i, x] = torch.exp(-charge)
        expected /= expected.sum(1, keepdim=True)
        copy = beliefs.clone()
        torch.testing.assert_close(crf.mean_field_step(beliefs, unary, kernels, w), expected)
        assert torch.equal(beliefs, copy)

    def test_gradients(self):
        beliefs = torch.rand(6, 3, dtype=torch.float64).softmax(1).requires_grad_()
        unary = torch.rand(6, 3, dtype=torch.float64, requires_grad=True)
        kernels = crf.pairwise_kernel(torch.rand(3, 2, 3, dtype=torch.float64), 2.0, 90.0, 1.0)
        kernels.requires_grad_()
        assert torch.autograd.gradcheck(
            lambda q, u, k: crf.mean_field_step(q, u, k, [1.5, 0.5]), (beliefs, unary, kernels)
        )

    def test_bad_input(self):
        kernel = torch.zeros(1, 2, 2)
        with pytest.raises(ValueError, match=r"\(N, K\), got \(2, 2\) and \(2, 3\)"):
            crf.mean_field_step(HAND, torch.zeros(2, 3), kernel, [1.0])
        with pytest.raises(ValueError, match="one weight per kernel, got 1 and 2"):
            crf.mean_field_step(HAND, HAND, kernel, [1.0, 2.0])
        with pytest.raises(ValueError, match=r"\(2, 2\) for 2 pixels, got \(3, 3\)"):
            crf.mean_field_step(HAND, HAND, [torch.zeros(3, 3)], [1.0])


def lattice_by_dictionary(features: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The lattice of Adams et al. point by point, with integer tuples as keys."""
    n, d = features.shape
    table: dict[tuple[int, ...], np.ndarray] = {}
    corners: list[list[tuple[tuple[int, ...], float]]] = []
    for i in range(n):
        scaled = [
            features[i, k] * (d + 1) * math.sqrt(2 / 3 / ((k + 1) * (k + 2))) for k in range(d)
        ]
        position = [sum(scaled[j:]) - j * (scaled[j - 1] if j else 0) for j in range(d + 1)]
        origin = [(d + 1) * round(p / (d + 1)) for p in position]
        by_distance = sorted(range(d + 1), key=lambda j: origin[j] - position[j])
        excess = sum(origin) // (d + 1)
        for j in by_distance[d + 1 - excess :] if excess > 0 else []:
            origin[j] -= d + 1
        for j in by_distance[:-excess] if excess < 0 else []:
            origin[j] += d + 1
        assert sum(origin) == 0
        order = sorted(range(d + 1), key=lambda j: origin[j] - position[j])  # largest offset first
        offset = [(position[j] - origin[j]) / (d + 1) for j in order]
        found = []
        for k in range(d + 1):
            corner = [0] * (d + 1)
            for rank, j in enumerate(order):
                corner[j] = origin[j] + (k if rank <= d - k else k - d - 1)
            weight = offset[d - k] - offset[d + 1 - k] if k else 1 + offset[d] - offset[0]
            found.append((tuple(corner), weight))
            table[tuple(corner)] = table.get(tuple(corner), 0) + weight * values[i]
        corners.append(found)
    for axis in range(d + 1):
        step = [-1 + (d + 1) * (j == axis) for j in range(d + 1)]
        table = {
            key: value
            + 0.5 * table.get(tuple(a + b for a, b in zip(key, step)), 0)
            + 0.5 * table.get(tuple(a - b for a, b in zip(key, step)), 0)
            for key, value in table.items()
        }
    return np.stack([sum(weight * table[key] for key, weight in found) for found in corners])


class TestLattice:
    @given(st.integers(1, 40), st.integers(1, 6), st.floats(0.1, 300), st.integers(0, 999))
    @settings(deadline=None, max_examples=40)
    def test_equals_a_lattice_of_tuples(self, n, d, span, seed):
        generator = torch.Generator().manual_seed(seed)
        features = (torch.rand(n, d, generator=generator, dtype=torch.float64) - 0.3) * span
        values = torch.randn(n, 2, generator=generator, dtype=torch.float64)
        ours = crf.PermutohedralLattice(features).filter(values)
        theirs = lattice_by_dictionary(features.numpy(), values.numpy())
        torch.testing.assert_close(ours, torch.from_numpy(theirs), atol=1e-9, rtol=1e-9)

    @pytest.mark.parametrize(
        ("d", "span", "tolerance"), [(2, 10, 0.02), (3, 5, 0.03), (5, 3, 0.03)]
    )
    def test_approximates_the_gaussian(self, d, span, tolerance):
        generator = torch.Generator().manual_seed(0)
        features = torch.rand(2000, d, generator=generator) * span
        values = torch.rand(2000, 3, generator=generator)
        kernel = torch.exp(-0.5 * torch.cdist(features, features) ** 2)
        kernel.fill_diagonal_(0)
        exact = crf.normalize_symmetric(kernel[None])[0] @ values
        lattice = crf.PermutohedralLattice(features)
        lattice.normalize()
        error = (lattice.filter(values) - exact).norm() / exact.norm()
        assert error < tolerance

    def test_normalization_cancels_any_constant(self):
        features = torch.rand(300, 4, generator=torch.Generator().manual_seed(0)) * 4
        values = torch.rand(300, 2, generator=torch.Generator().manual_seed(1))
        plain, scaled = (crf.PermutohedralLattice(features) for _ in range(2))
        scaled._slice_weights = scaled._slice_weights * 7.0
        density = plain.filter(torch.ones(300, 1))
        for lattice in (plain, scaled):
            lattice.normalize()
        torch.testing.assert_close(plain.filter(values), scaled.filter(values))
        # D^-1/2 K D^-1/2 leaves sqrt(D) as it is.
        torch.testing.assert_close(
            plain.filter(density.sqrt()), density.sqrt(), rtol=1e-4, atol=1e-5
        )

    def test_order_of_the_points_does_not_matter(self):
        generator = torch.Generator().manual_seed(0)
        features = torch.rand(100, 5, generator=generator, dtype=torch.float64) * 3
        values = torch.rand(100, 2, generator=generator, dtype=torch.float64)
        shuffle = torch.randperm(100, generator=generator)
        straight = crf.PermutohedralLattice(features).filter(values)
        shuffled = crf.PermutohedralLattice(features[shuffle]).filter(values[shuffle])
        torch.testing.assert_close(shuffled, straight[shuffle])

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"\(N, d\), got \(3,\)"):
            crf.PermutohedralLattice(torch.rand(3))
        with pytest.raises(ValueError, match=r"\(N, d\), got \(0, 2\)"):
            crf.PermutohedralLattice(torch.rand(0, 2))
        with pytest.raises(TypeError, match="int64"):
            crf.PermutohedralLattice(torch.ones(3, 2).long())
        with pytest.raises(ValueError, match="finite"):
            crf.PermutohedralLattice(torch.full((3, 2), math.inf))
        with pytest.raises(ValueError, match="too far apart"):
            crf.PermutohedralLattice(torch.tensor([[0.0] * 5, [1e6] * 5]))
        with pytest.raises(ValueError, match=r"values must have the shape \(3, K\), got \(4, 2\)"):
            crf.PermutohedralLattice(torch.rand(3, 2)).filter(torch.rand(4, 2))
        with pytest.raises(TypeError, match=r"float32 like the features, got torch\.float64: call"):
            crf.PermutohedralLattice(torch.rand(3, 2)).filter(torch.rand(3, 2).double())

    def test_full_precision_under_autocast(self):
        features, values = torch.rand(40, 3) * 9, torch.rand(40, 2)
        expected = crf.PermutohedralLattice(features)
        expected.normalize()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            lattice = crf.PermutohedralLattice(features)
            lattice.normalize()
            assert torch.equal(lattice.filter(values), expected.filter(values))

    @gpu
    @needs_cuda
    def test_on_a_gpu(self):
        features = torch.rand(500, 5, generator=torch.Generator().manual_seed(0)) * 3
        values = torch.rand(500, 7, generator=torch.Generator().manual_seed(1))
        on_cpu, on_gpu = (
            crf.PermutohedralLattice(features),
            crf.PermutohedralLattice(features.cuda()),
        )
        filtered = on_gpu.filter(values.cuda())
        assert filtered.is_cuda
        torch.testing.assert_close(filtered.cpu(), on_cpu.filter(values), atol=1e-4, rtol=1e-4)


class TestMeanField:
    @pytest.mark.parametrize("options", ALL_WAYS)
    def test_distributions_on_odd_batches(self, options: dict[str, Any]):
        parts = [scene(13, 18, seed) for seed in range(3)]
        logits, image = torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])
        refined = crf.mean_field(logits, image, **options)
        assert refined.shape == (3, 3, 13, 18)
        assert refined.dtype == torch.float32
        torch.testing.assert_close(refined.sum(1), torch.ones(3, 13, 18))
        assert (refined >= 0).all()
        for i in range(3):
            alone = crf.mean_field(logits[i : i + 1], image[i : i + 1], **options)
            torch.testing.assert_close(refined[i : i + 1], alone)

    @pytest.mark.parametrize("options", ALL_WAYS)
    def test_zero_weights_change_nothing(self, options: dict[str, Any]):
        logits, image, _ = scene(9, 11, 0)
        refined = crf.mean_field(logits, image, w1=0, w2=0, **options)
        torch.testing.assert_close(refined, logits.softmax(1))
        torch.testing.assert_close(
            crf.mean_field(logits, image, iterations=0, **options), logits.softmax(1)
        )

    @pytest.mark.parametrize("options", ALL_WAYS)
    def test_full_precision_under_autocast(self, options: dict[str, Any]):
        logits, image, _ = scene(9, 11, 0)
        expected = crf.mean_field(logits, image, **options)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(crf.mean_field(logits, image, **options), expected)

    @pytest.mark.parametrize("iterations", [1, 10])
    def test_hand_example_of_the_equation(self, iterations):
        logits = HAND.log().t().view(1, 2, 1, 2)
        only: dict[str, Any] = {"w1": 0, "w2": 1, "sigma_gamma": 1, "iterations": iterations}
        refined = crf.mean_field(logits, torch.zeros(1, 1, 1, 2), convention="equation", **only)
        expected = {1: [0.779884, 0.489615], 10: [0.797849, 0.488963]}[iterations]
        torch.testing.assert_close(refined[0, 0, 0], torch.tensor(expected), atol=1e-6, rtol=0)

    def test_hand_example_of_the_library(self):
        logits = HAND.log().t().view(1, 2, 1, 2)
        only: dict[str, Any] = {"w1": 0, "w2": 1, "sigma_gamma": 1, "iterations": 1}
        exact = crf.mean_field(logits, torch.zeros(1, 1, 1, 2), method="exact", **only)
        expected = torch.tensor([0.843468, 0.424719])
        torch.testing.assert_close(exact[0, 0, 0], expected, atol=1e-6, rtol=0)
        lattice = crf.mean_field(logits, torch.zeros(1, 1, 1, 2), **only)
        torch.testing.assert_close(lattice[0, 0, 0], expected, atol=0.01, rtol=0)

    @pytest.mark.parametrize(
        ("method", "convention"), [("exact", "library"), ("exact", "equation")]
    )
    def test_equals_the_steps(self, method, convention):
        logits, image, _ = scene(8, 11, 2)
        kernels = crf.pairwise_kernel(image[0], 12.0, 20.0, 2.0)
        if convention == "library":
            kernels = crf.normalize_symmetric(kernels)
        unary = -logits[0].flatten(1).t().log_softmax(1)
        beliefs = (-unary).exp()
        for _ in range(4):
            beliefs = crf.mean_field_step(beliefs, unary, kernels, [5.0, 2.0])
        refined = crf.mean_field(
            logits, image, w1=5, sigma_alpha=12, sigma_beta=20, w2=2, sigma_gamma=2, iterations=4,
            convention=convention, method="exact",
        )  # fmt: skip
        torch.testing.assert_close(refined[0].flatten(1).t(), beliefs, atol=1e-5, rtol=1e-4)

    @pytest.mark.parametrize("seed", range(4))
    def test_lattice_agrees_with_all_pairs(self, seed):
        logits, image, labels = scene(24, 32, seed)
        exact = crf.mean_field(logits, image, method="exact", **README)
        lattice = crf.mean_field(logits, image, **README)
        assert (exact - lattice).abs().max() < 0.055
        assert (exact.argmax(1) == lattice.argmax(1)).float().mean() >= 0.99
        before = (logits.argmax(1)[0] == labels).float().mean()
        assert before < 0.96
        assert (lattice.argmax(1)[0] == labels).float().mean() > 0.995

    def test_the_conventions_differ(self):
        logits, image, _ = scene(24, 32, 0)
        faint: dict[str, Any] = {
            "w1": 0.01,
            "sigma_alpha": 80,
            "sigma_beta": 13,
            "w2": 0.01,
            "sigma_gamma": 3,
        }
        library = crf.mean_field(logits, image, method="exact", **faint)
        equation = crf.mean_field(logits, image, convention="equation", **faint)
        # Raw sums over hundreds of pixels against normalised ones, with the same small weights.
        assert (library - logits.softmax(1)).abs().max() < 0.01
        assert (equation - logits.softmax(1)).abs().max() > 0.3

    def test_classes_have_no_order(self):
        logits, image, _ = scene(15, 12, 1)
        turn = torch.tensor([2, 0, 1])
        straight, turned = crf.mean_field(logits, image), crf.mean_field(logits[:, turn], image)
        torch.testing.assert_close(turned, straight[:, turn], atol=1e-4, rtol=1e-3)

    def test_weights_too_large_for_a_bare_exponential(self):
        logits, image, _ = scene(10, 14, 0)
        for options in ALL_WAYS:
            refined = crf.mean_field(logits, image, w1=1000, w2=500, **options)
            assert refined.isfinite().all()
            torch.testing.assert_close(refined.sum(1), torch.ones(1, 10, 14))

    def test_impossible_classes_stay_impossible(self):
        logits, image, _ = scene(10, 14, 0)
        logits[:, 1, :5] = -math.inf
        refined = crf.mean_field(logits, image, **README)
        assert (refined[:, 1, :5] == 0).all()
        assert refined.isfinite().all()

    def test_precisions_and_bytes(self):
        logits, image, _ = scene(10, 14, 0)
        image = (image * 255).round().byte()
        single = crf.mean_field(logits, image, **README)
        torch.testing.assert_close(
            crf.mean_field(logits, image / 255, **README), single, atol=1e-4, rtol=1e-3
        )
        double = crf.mean_field(logits.double(), image, **README)
        assert double.dtype == torch.float64
        torch.testing.assert_close(double.float(), single, atol=1e-4, rtol=1e-3)
        half = crf.mean_field(logits.bfloat16(), image, **README)
        torch.testing.assert_close(half, crf.mean_field(logits.bfloat16().float(), image, **README))

    @pytest.mark.parametrize(
        ("change", "error", "words"),
        [
            ({"image": torch.full((1, 3, 6, 7), 90.0)}, ValueError, "divide by 255"),
            ({"image": torch.full((1, 3, 6, 7), 90.0), "w1": 0}, ValueError, "divide by 255"),
            ({"image": torch.rand(1, 3, 6, 8)}, ValueError, r"differ in batch or size: upsample"),
            ({"image": torch.rand(3, 6, 7)}, ValueError, r"image \(B, C, H, W\)"),
            ({"logits": torch.zeros(1, 1, 6, 7)}, ValueError, r"two classes, got \(1, 1, 6, 7\)"),
            ({"logits": torch.zeros(1, 2, 6, 7).long()}, TypeError, "logits must be floating"),
            (
                {"logits": torch.full((1, 2, 6, 7), math.nan)},
                ValueError,
                r"row 0, column 0 has \[nan, nan\]",
            ),
            (
                {"logits": torch.zeros(1, 2, 6, 7).index_fill(2, torch.tensor(4), math.inf)},
                ValueError,
                r"\+inf.* image 0, row 4, column 0 has \[inf, inf\]. Clamp",
            ),
            (
                {"logits": torch.zeros(1, 2, 6, 7).index_fill(3, torch.tensor(5), -math.inf)},
                ValueError,
                r"row 0, column 5 has \[-inf, -inf\]",
            ),
            ({"w1": -1}, ValueError, "must not be negative.*: -1, 3.0, 10"),
            ({"w1": math.nan}, ValueError, "finite: nan"),
            ({"w2": math.inf}, ValueError, "finite: 4.0, inf"),
            ({"iterations": -1}, ValueError, "must not be negative"),
            ({"sigma_beta": 0}, ValueError, "positive, got 0"),
            ({"convention": "paper"}, ValueError, "\"equation\".*'paper'"),
            ({"convention": "equation", "method": "lattice"}, ValueError, "exact.*small image"),
        ],
    )
    def test_bad_input(self, change, error, words):
        good = {"logits": torch.zeros(1, 2, 6, 7), "image": torch.rand(1, 3, 6, 7)} | change
        with pytest.raises(error, match=words):
            crf.mean_field(good.pop("logits"), good.pop("image"), **good)

    def test_matches_pydensecrf(self):
        peer = pytest.importorskip("pydensecrf.densecrf", reason="pydensecrf is not installed")
        logits, image, _ = scene(60, 90, 0)
        field = peer.DenseCRF2D(90, 60, 3)
        unary = -logits[0].flatten(1).log_softmax(0).numpy()
        field.setUnaryEnergy(np.ascontiguousarray(unary, dtype=np.float32))
        bytes_ = (image[0] * 255).round().byte()
        field.addPairwiseGaussian(sxy=3, compat=3)
        pixels = np.ascontiguousarray(bytes_.permute(1, 2, 0).numpy())
        field.addPairwiseBilateral(sxy=80, srgb=13, rgbim=pixels, compat=10)
        theirs = torch.tensor(np.array(field.inference(5))).view(1, 3, 60, 90)
        ours = crf.mean_field(logits, bytes_[None], **README)
        assert (ours.argmax(1) == theirs.argmax(1)).float().mean() >= 0.9999
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=0)

    @gpu
    @needs_cuda
    def test_on_a_gpu(self):
        logits, image, _ = scene(24, 32, 0)
        for options in ALL_WAYS:
            refined = crf.mean_field(logits.cuda(), image.cuda(), **options)
            assert refined.is_cuda
            expected = crf.mean_field(logits, image, **options)
            assert (refined.argmax(1).cpu() == expected.argmax(1)).float().mean() > 0.999
