"""course.windows against loops, closed forms and the counts of the papers."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from course import windows as W
from course.geometry import count_macs


def image_of(channels: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(channels, height, width, generator=torch.Generator().manual_seed(seed))


class TestGrid:
    def test_rows_first_and_half_open(self):
        assert W.window_grid(5, 9, (2, 4), (3, 2)).tolist() == [
            [0, 0, 4, 2], [2, 0, 6, 2], [4, 0, 8, 2],
            [0, 3, 4, 5], [2, 3, 6, 5], [4, 3, 8, 5],
        ]  # fmt: skip

    @given(*[st.integers(0, 40)] * 2, *[st.integers(1, 12)] * 4)
    @settings(deadline=None)
    def test_count_and_coverage(self, h, w, kh, kw, sh, sw):
        boxes = W.window_grid(h, w, (kh, kw), (sh, sw))
        rows = (h - kh) // sh + 1 if h >= kh else 0
        cols = (w - kw) // sw + 1 if w >= kw else 0
        assert boxes.shape == (rows * cols, 4)
        covered = W.window_grid(h, w, (kh, kw), (sh, sw), cover_border=True)
        if rows and cols:
            assert boxes[-1].tolist() == [(cols - 1) * sw, (rows - 1) * sh, *boxes[-1, 2:].tolist()]
            assert boxes[:, 2].max() <= w
            assert boxes[:, 3].max() <= h
            assert covered[-1, 2:].tolist() == [w, h]  # flush with the border
            assert len(covered) == math.ceil((h - kh) / sh + 1) * math.ceil((w - kw) / sw + 1)

    def test_integers_of_numpy(self):
        three, two = np.int64(3), np.int32(2)
        expected = W.window_grid(4, 5, (3, 2), 2)
        assert torch.equal(W.window_grid(4, 5, (three, two), two), expected)  # pyright: ignore
        assert torch.equal(W.window_grid(4, 5, three, two), W.window_grid(4, 5, 3, 2))  # pyright: ignore

    def test_bad_input(self):
        with pytest.raises(TypeError, match="float"):
            W.window_grid(5, 5, 2.5, 1)  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValueError, match=r"stride must be .* at least 1, got 0"):
            W.window_grid(5, 5, 3, 0)
        with pytest.raises(ValueError, match=r"size must be .*\(3, -1\)"):
            W.window_grid(5, 5, (3, -1), 1)
        with pytest.raises(ValueError, match="at least 0, got -2 and 5"):
            W.window_grid(-2, 5, 3, 1)


class TestScoreMap:
    @pytest.mark.parametrize("normalize", [False, True])
    def test_equals_the_loop_in_one_call(self, normalize):
        image = image_of(3, 14, 23)
        weight = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(1))
        calls = []

        def classify(windows: Tensor) -> Tensor:
            calls.append(windows.shape)
            return (windows * weight).sum((1, 2, 3))[:, None]

        scores = W.score_map(image, classify, (5, 4), (3, 2), normalize=normalize)
        assert calls == [(4 * 10, 3, 5, 4)]
        expected = torch.empty(4, 10)
        for i in range(4):
            for j in range(10):
                window = image[:, 3 * i : 3 * i + 5, 2 * j : 2 * j + 4]
                if normalize:
                    window = (window - window.mean()) / window.std(correction=0)
                expected[i, j] = (window * weight).sum()
        torch.testing.assert_close(scores, expected, atol=1e-5, rtol=1e-5)

    def test_order_is_that_of_the_grid(self):
        image = image_of(1, 9, 12)
        scores = W.score_map(image, lambda v: v[:, 0, 0, 0], 4, (2, 3)).flatten()
        corners = W.window_grid(9, 12, 4, (2, 3))[:, :2].long()
        assert torch.equal(scores, image[0, corners[:, 1], corners[:, 0]])

    def test_a_constant_window_normalizes_to_zero(self):
        scores = W.score_map(
            torch.full((1, 6, 6), 0.7), lambda v: v.amax((1, 2, 3)), 3, 3, normalize=True
        )
        assert scores.abs().max() < 1e-3

    def test_bad_input(self):
        def classify(v: Tensor) -> Tensor:
            return v[:, 0, 0]

        with pytest.raises(ValueError, match=r"\(C, H, W\), got \(1, 3, 8, 8\): pass one image"):
            W.score_map(torch.zeros(1, 3, 8, 8), classify, 3, 1)
        with pytest.raises(ValueError, match="no window of 9 x 9 fits into an image of 8 x 20"):
            W.score_map(torch.zeros(3, 8, 20), classify, 9, 1)
        with pytest.raises(ValueError, match=r"one score per window, 4, got the shape \(4, 3\)"):
            W.score_map(torch.zeros(3, 4, 4), classify, 3, 1)


class TestHardNegatives:
    def test_highest_background_first(self):
        scores = torch.tensor([0.9, 0.1, 0.8, 0.8, 0.95, 0.3])
        labels = torch.tensor([1, 0, 0, 0, 0, 2])
        assert W.hard_negatives(scores, labels, 3).tolist() == [4, 2, 3]
        assert W.hard_negatives(scores, labels, 99).tolist() == [4, 2, 3, 1]
        assert W.hard_negatives(scores, labels, 0).tolist() == []
        assert W.hard_negatives(scores, torch.ones(6), 3).tolist() == []

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"\(N,\), got \(3,\) and \(2,\)"):
            W.hard_negatives(torch.rand(3), torch.zeros(2), 1)
        with pytest.raises(ValueError, match="NaN"):
            W.hard_negatives(torch.full((2,), math.nan), torch.zeros(2), 1)
        with pytest.raises(ValueError, match="k must be at least 0, got -1"):
            W.hard_negatives(torch.rand(2), torch.zeros(2), -1)


class TestPyramid:
    def test_sizes_do_not_drift(self):
        image = image_of(3, 101, 67)
        levels = W.image_pyramid(image, 0.8, 20)
        expected = [(round(101 * 0.8**i), round(67 * 0.8**i)) for i in range(6)]
        assert [tuple(level.image.shape[1:]) for level in levels] == expected
        assert round(67 * 0.8**6) < 20
        assert levels[0].image is image

    def test_levels_resample_the_image_itself(self):
        image = image_of(2, 40, 31)
        level = W.image_pyramid(image, 0.5, 8)[2]
        expected = F.interpolate(image[None], (10, 8), mode="bilinear", antialias=True)[0]
        assert torch.equal(level.image, expected)

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    def test_16_bit_floats_are_resampled_in_single_precision(self, dtype):
        image = image_of(3, 40, 60).to(dtype)
        levels = W.image_pyramid(image, 0.5, 10)
        for level, full in zip(levels, W.image_pyramid(image.float(), 0.5, 10), strict=True):
            assert torch.equal(level.image, full.image.to(dtype))

    def test_coordinates_go_back_by_the_true_sizes(self):
        level = W.image_pyramid(image_of(1, 50, 77), 0.5, 12)[2]  # 12 x 19
        box = torch.tensor([[1.0, 3.0, 19.0, 12.0]])
        expected = torch.tensor([[77 / 19, 12.5, 77.0, 50.0]])
        torch.testing.assert_close(W.to_image_coords(box, level), expected)

    def test_a_bright_square_is_found_again(self):
        image = torch.zeros(1, 60, 90)
        image[0, 20:40, 48:72] = 1
        for level in W.image_pyramid(image, 0.7, 15):
            inside = (level.image[0] > 0.5).nonzero()
            (y0, x0), (y1, x1) = inside.amin(0), inside.amax(0) + 1
            box = torch.stack([x0, y0, x1, y1]).float()
            error = W.to_image_coords(box, level) - torch.tensor([48.0, 20, 72, 40])
            assert error.abs().max() <= 0.5 * max(level.factors)

    def test_too_small_an_image_has_no_level(self):
        assert W.image_pyramid(image_of(1, 11, 30), 0.5, 12) == []

    def test_bad_input(self):
        with pytest.raises(ValueError, match=r"between 0 and 1.*got 1.5"):
            W.image_pyramid(image_of(1, 9, 9), 1.5, 3)
        with pytest.raises(ValueError, match=r"\(C, H, W\), got \(9, 9\)"):
            W.image_pyramid(torch.rand(9, 9), 0.5, 3)
        with pytest.raises(ValueError, match="min_size must be at least 1"):
            W.image_pyramid(image_of(1, 9, 9), 0.5, 0)
        with pytest.raises(TypeError, match=r"uint8.*divide by 255"):
            W.image_pyramid(torch.zeros(3, 9, 9, dtype=torch.uint8), 0.5, 3)


class TestPatches:
    @pytest.mark.parametrize("size", [1, 2, 5, 6, 25])  # 25 mirrors more than once
    def test_centre_and_mirror(self, size):
        image = image_of(2, 5, 8)
        patches = W.extract_patches(image, size)
        assert patches.shape == (40, 2, size, size)
        assert torch.equal(patches[:, :, size // 2, size // 2].T, image.flatten(1))
        before, after = size // 2, (size - 1) // 2
        padded = torch.from_numpy(
            np.pad(image.numpy(), ((0, 0), (before, after), (before, after)), "reflect")
        )
        assert torch.equal(W.mirror_border(image, size), padded)
        expected = padded.unfold(1, size, 1).unfold(2, size, 1).permute(1, 2, 0, 3, 4)
        assert torch.equal(patches, expected.reshape(40, 2, size, size))

    def test_stride(self):
        image = image_of(1, 7, 10)
        every = W.extract_patches(image, 3).view(7, 10, 1, 3, 3)
        assert torch.equal(W.extract_patches(image, 3, stride=3), every[::3, ::3].flatten(0, 1))

    @pytest.mark.parametrize("batch", [1, 4, 1000])
    def test_scan_equals_the_loop(self, batch):
        image, conv = image_of(2, 6, 9), nn.Conv2d(2, 3, 4)
        scores = W.scan(image, conv, 4, 2, batch=batch)
        expected = torch.empty(3, 3, 5)
        padded = W.mirror_border(image, 4)
        for i in range(3):
            for j in range(5):
                patch = padded[:, 2 * i : 2 * i + 4, 2 * j : 2 * j + 4]
                expected[:, i, j] = conv(patch[None]).detach().flatten()
        torch.testing.assert_close(scores, expected)
        assert not scores.requires_grad

    def test_scan_runs_a_module_in_evaluation_mode(self):
        norm = nn.BatchNorm2d(4)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), norm, nn.Flatten(), nn.Linear(36, 2), nn.Dropout())
        image = image_of(1, 8, 9)
        scores = W.scan(image, net, 5)
        dense = W.dense_equivalent(net)(W.mirror_border(image, 5)[None])[0]
        torch.testing.assert_close(scores, dense, atol=1e-6, rtol=0)
        torch.testing.assert_close(W.scan(image, net, 5, batch=2), scores)
        assert norm.num_batches_tracked == 0
        assert net.training
        assert norm.training

    def test_bad_input(self):
        image = image_of(1, 6, 6)
        with pytest.raises(ValueError, match="size must be at least 1 pixel, got 0"):
            W.extract_patches(image, 0)
        with pytest.raises(ValueError, match="stride must be at least 1"):
            W.extract_patches(image, 3, stride=0)
        with pytest.raises(ValueError, match=r"\(C, H, W\), got \(6, 6\)"):
            W.scan(image[0], nn.Flatten(), 3)
        with pytest.raises(ValueError, match="batch must be at least 1"):
            W.scan(image, nn.Flatten(), 3, batch=0)
        with pytest.raises(ValueError, match=r"patches of another size"):
            W.scan(image, nn.Conv2d(1, 2, 3), 5)


def small_net() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Sequential(nn.Conv2d(6, 8, 3, groups=2), nn.Tanh(), nn.AvgPool2d(2)),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(8 * 3 * 3, 10),
        nn.BatchNorm1d(10),
        nn.ReLU(),
        nn.Linear(10, 4),
        nn.LogSoftmax(dim=-1),
    )


def shake_norms(net: nn.Module) -> None:
    generator = torch.Generator().manual_seed(5)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for value in (module.running_mean, module.running_var, module.weight, module.bias):
                assert value is not None
                value.data.copy_(0.5 + torch.rand(value.shape, generator=generator))


def windows_of(net: nn.Module, image: Tensor, size: tuple[int, int]) -> Tensor:
    """The net on every window of one image, the slow way: (K, rows, cols)."""
    rows, cols = image.shape[1] - size[0] + 1, image.shape[2] - size[1] + 1
    outputs = [
        net(image[None, :, i : i + size[0], j : j + size[1]]).flatten()
        for i in range(rows)
        for j in range(cols)
    ]
    return torch.stack(outputs, 1).view(-1, rows, cols)


class TestDenseEquivalent:
    @torch.no_grad()
    def test_same_numbers_at_every_pixel(self):
        torch.manual_seed(0)
        net = small_net().double()
        shake_norms(net)
        net.eval()  # windows of 18 pixels: 16, 8, 6, 3, full
        image = torch.rand(2, 2, 23, 31, dtype=torch.float64)
        dense = W.dense_equivalent(net)(image)
        assert dense.shape == (2, 4, 6, 14)
        for b in range(2):
            torch.testing.assert_close(dense[b], windows_of(net, image[b], (18, 18)))

    @torch.no_grad()
    def test_scan_of_an_image_in_single_precision(self):
        torch.manual_seed(1)
        net = nn.Sequential(
            nn.Conv2d(1, 8, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 5), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 25, 16), nn.ReLU(), nn.Linear(16, 2),
        )  # fmt: skip
        image = image_of(1, 17, 26)
        dense = W.dense_equivalent(net)(W.mirror_border(image, 32)[None])[0]
        torch.testing.assert_close(dense, W.scan(image, net, 32), atol=1e-6, rtol=0)

    @given(st.data())
    @settings(max_examples=25, deadline=None)
    def test_random_chains(self, data):
        torch.manual_seed(data.draw(st.integers(0, 99)))
        side, channels, layers = (14, 17), 1, []
        for _ in range(data.draw(st.integers(1, 3))):
            kernel = (data.draw(st.integers(1, 3)), data.draw(st.integers(1, 3)))
            stride = (data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)))
            kind = data.draw(st.sampled_from(["conv", "max", "avg"]))
            dilation = 1 if kind == "avg" else data.draw(st.integers(1, 2))
            reach = [(k - 1) * dilation + 1 for k in kernel]
            side = tuple((n - r) // s + 1 for n, r, s in zip(side, reach, stride))
            assume(min(side) >= 1)
            if kind == "conv":
                layers += [nn.Conv2d(channels, 3, kernel, stride, dilation=dilation), nn.ReLU()]
                channels = 3
            elif kind == "max":
                layers.append(nn.MaxPool2d(kernel, stride, dilation=dilation))
            else:
                layers.append(nn.AvgPool2d(kernel, stride))
        net = nn.Sequential(*layers, nn.Conv2d(channels, 2, side)).double().eval()
        image = torch.rand(1, 1, 18, 20, dtype=torch.float64)
        with torch.no_grad():
            windows, dense = windows_of(net, image[0], (14, 17)), W.dense_equivalent(net)(image)
        # Strides may leave the last pixels of a window unread; the dense pass then fits once more.
        torch.testing.assert_close(dense[0, :, :5, :4], windows)

    def test_gradient_of_the_image_equals_the_windows(self):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.Tanh(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(27, 1)
        )
        net.double()
        image = torch.rand(1, 11, 13, dtype=torch.float64, requires_grad=True)
        (windows,) = torch.autograd.grad(windows_of(net, image, (8, 8)).square().sum(), image)
        (dense,) = torch.autograd.grad(W.dense_equivalent(net)(image[None]).square().sum(), image)
        torch.testing.assert_close(dense, windows)

    def test_weights_are_a_copy(self):
        conv, full = nn.Conv2d(1, 2, 3), nn.Linear(2, 2)
        net = nn.Sequential(conv, nn.Flatten(), full)
        dense = W.dense_equivalent(net)
        before = dense(torch.ones(1, 1, 3, 3))
        with torch.no_grad():
            conv.weight.zero_()
            full.weight.zero_()
        assert torch.equal(dense(torch.ones(1, 1, 3, 3)), before)
        assert not dense.training

    def test_a_linear_classifier_on_pixels(self):
        net = nn.Sequential(nn.Flatten(), nn.Linear(2 * 9, 3))
        image = torch.rand(1, 2, 5, 6)
        dense = W.dense_equivalent(net, in_channels=2)(image)
        torch.testing.assert_close(dense[0], windows_of(net, image[0], (3, 3)))

    def test_own_pointwise_layers_must_be_named(self):
        class Square(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                return x * x

        net = nn.Sequential(nn.Conv2d(1, 2, 3), Square())
        with pytest.raises(TypeError, match=r"Square has no dense form.*pointwise"):
            W.dense_equivalent(net)
        image = torch.rand(1, 1, 5, 6)
        assert torch.equal(W.dense_equivalent(net, pointwise=(Square,))(image), net(image))

    @pytest.mark.parametrize(
        ("layers", "error", "words"),
        [
            ([nn.Conv2d(1, 2, 3, padding=1)], ValueError, "pads: a window would see zeros"),
            ([nn.Conv2d(1, 2, 3, padding="same")], ValueError, "pads"),
            ([nn.MaxPool2d(3, padding=1)], ValueError, "pads"),
            ([nn.MaxPool2d(3, ceil_mode=True)], ValueError, "rounds up"),
            ([nn.AvgPool2d(2, divisor_override=1)], ValueError, "own area"),
            (
                [nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(10, 2)],
                ValueError,
                "no square map of 2",
            ),
            ([nn.Flatten(), nn.Linear(9, 2)], ValueError, "in_channels"),
            ([nn.Conv2d(1, 2, 3), nn.Linear(9, 2)], ValueError, "Flatten before it"),
            ([nn.AdaptiveAvgPool2d(1)], TypeError, "AdaptiveAvgPool2d has no dense form"),
            ([nn.Conv2d(1, 4, 2), nn.Flatten()], TypeError, "last Flatten has no Linear"),
            ([nn.Conv2d(1, 4, 2), nn.Flatten(2)], TypeError, "vectors of whole maps"),
            (
                [nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(36, 2), nn.Conv2d(2, 2, 1)],
                TypeError,
                "follows a Flatten",
            ),
            (
                [nn.BatchNorm2d(1, track_running_stats=False)],
                TypeError,
                "no running statistics.*over all windows",
            ),
            (
                [nn.Conv2d(1, 4, 3), nn.Flatten(), nn.BatchNorm1d(36), nn.Linear(36, 2)],
                TypeError,
                "before the Linear",
            ),
            (
                [nn.Conv2d(1, 4, 3), nn.Flatten(), nn.PReLU(36), nn.Linear(36, 2)],
                TypeError,
                "a slope of its own",
            ),
            (
                [nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Softmax(1), nn.Linear(36, 2)],
                TypeError,
                "not over the classes",
            ),
            ([nn.Conv2d(1, 4, 3), nn.Softmax(-1)], TypeError, "not over the classes"),
            ([nn.Conv2d(1, 4, 3), nn.LogSoftmax(2)], TypeError, "not over the classes"),
        ],
    )
    def test_layers_without_a_dense_form(self, layers, error, words):
        with pytest.raises(error, match=words):
            W.dense_equivalent(nn.Sequential(*layers))

    def test_not_a_chain(self):
        with pytest.raises(TypeError, match=r"nn\.Sequential, got Conv2d"):
            W.dense_equivalent(nn.Conv2d(1, 2, 3))  # pyright: ignore[reportArgumentType]

    @pytest.mark.parametrize(
        "layers", [[nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 2)], [nn.Conv2d(1, 2, 2), nn.MaxPool2d(3)]]
    )
    def test_image_smaller_than_the_window(self, layers):
        dense = W.dense_equivalent(nn.Sequential(*layers))
        assert dense(torch.zeros(1, 1, 4, 9)).shape == (1, 2, 1, 6)
        with pytest.raises(ValueError, match=r"3 x 9 pixels is smaller.*window.*, 4 x 4: pad it"):
            dense(torch.zeros(1, 1, 3, 9))

    def test_softmax_over_classes_before_a_linear(self):
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.Softmax(-3), nn.Flatten(), nn.ReLU(), nn.Linear(16, 5),
            nn.Softmax(-1), nn.Flatten(), nn.Linear(5, 2),
        )  # fmt: skip
        image = torch.rand(1, 1, 6, 7)
        torch.testing.assert_close(
            W.dense_equivalent(net)(image)[0], windows_of(net, image[0], (4, 4))
        )

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    @torch.no_grad()
    def test_on_a_gpu(self):
        net = small_net().eval().cuda().double()
        image = image_of(2, 20, 25).cuda().double()
        dense = W.dense_equivalent(net)(W.mirror_border(image, 18)[None])[0]
        torch.testing.assert_close(dense, W.scan(image, net, 18))


class TestCountsOfThePapers:
    """How much the dense pass saves (counted, not timed)."""

    def toy(self) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(3, 16, 5), nn.MaxPool2d(2), nn.Conv2d(16, 400, 5), nn.Conv2d(400, 400, 1),
            nn.Conv2d(400, 4, 1),
        )  # fmt: skip

    def test_toy_net_of_the_lecture(self):
        net = self.toy()
        for size, maps in ((14, 1), (16, 2), (28, 8)):
            assert net(torch.zeros(1, 3, size, size)).shape == (1, 4, maps, maps)
        window = count_macs(net, (1, 3, 14, 14))
        whole = count_macs(net, (1, 3, 16, 16))
        windows = len(W.window_grid(16, 16, 14, 2)) * window
        assert (window, windows, whole) == (441_600, 1_766_400, 1_459_200)
        assert windows / whole == pytest.approx(1.21, abs=0.005)
        first = nn.Sequential(net[0])
        ratio = 4 * count_macs(first, (1, 3, 14, 14)) / count_macs(first, (1, 3, 16, 16))
        assert ratio == pytest.approx(2.78, abs=0.005)

    @torch.no_grad()
    def test_toy_net_gives_the_windows_answers(self):
        torch.manual_seed(0)
        net, image = self.toy(), torch.rand(1, 3, 16, 16)
        windows = [
            net(image[..., y : y + 14, x : x + 14]).flatten() for y in (0, 2) for x in (0, 2)
        ]
        torch.testing.assert_close(
            net(image)[0].flatten(1).T, torch.stack(windows), atol=1e-6, rtol=0
        )
        dense = W.dense_equivalent(net)(image)  # its windows move by one pixel
        torch.testing.assert_close(dense[..., ::2, ::2], net(image), atol=1e-6, rtol=0)

    def test_n4_saves_475_times(self):
        net = nn.Sequential(
            nn.Conv2d(1, 48, 4), nn.Tanh(), nn.MaxPool2d(2),
            nn.Conv2d(48, 48, 5), nn.Tanh(), nn.MaxPool2d(2),
            nn.Conv2d(48, 48, 4), nn.Tanh(), nn.MaxPool2d(2),
            nn.Conv2d(48, 48, 4), nn.Tanh(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(48 * 9, 200), nn.Tanh(), nn.Linear(200, 2),
        )  # fmt: skip
        assert sum(p.numel() for p in net.parameters()) == 219_290
        window = count_macs(net, (1, 1, 95, 95))
        assert window == 121_464_592
        dense = W.dense_equivalent(net)
        side = W.mirror_border(torch.zeros(1, 512, 512), 95).shape[1]
        assert side == 606
        whole = count_macs(dense, (1, 1, side, side))
        assert whole == pytest.approx(6.699e10, rel=1e-4)
        assert window * 512**2 / whole == pytest.approx(475, abs=0.5)
