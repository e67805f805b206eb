"""course.upsampling against torch, closed forms and the examples of the papers."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from course import upsampling as U


def random(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


SQUARE = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
ONE_TO_NINE = torch.arange(1.0, 10.0).view(3, 3)
both = pytest.mark.parametrize("function", [U.transposed_conv, U.transposed_conv_by_matrix])


class TestTransposedConvolution:
    @both
    def test_examples_by_hand(self, function):
        ones = [[1, 3, 3, 2], [4, 10, 10, 6], [4, 10, 10, 6], [3, 7, 7, 4]]
        assert function(SQUARE, torch.ones(3, 3)).tolist() == ones
        counting = [[1, 4, 7, 6], [7, 23, 33, 24], [19, 53, 63, 42], [21, 52, 59, 36]]
        assert function(SQUARE, ONE_TO_NINE).tolist() == counting

    @both
    @given(
        hw=st.tuples(st.integers(1, 5), st.integers(1, 6)),
        k=st.tuples(st.integers(1, 4), st.integers(1, 5)),
        stride=st.integers(1, 3),
        padding=st.integers(0, 2),
        extra=st.integers(0, 2),
    )
    @settings(deadline=None, max_examples=60)
    def test_equals_torch(self, function, hw, k, stride, padding, extra):
        extra %= stride
        sizes = [(n - 1) * stride - 2 * padding + m + extra for n, m in zip(hw, k)]
        x, kernel = random(2, 3, *hw), random(3, 2, *k, seed=1)
        if min(sizes) < 1:
            with pytest.raises(ValueError, match="no output"):
                function(x, kernel, stride, padding, output_padding=extra)
            return
        expected = F.conv_transpose2d(x, kernel, None, stride, padding, extra)
        torch.testing.assert_close(
            function(x, kernel, stride, padding, output_padding=extra), expected
        )

    @both
    def test_gradients_equal_torch(self, function):
        x, kernel = random(2, 3, 4, 5).requires_grad_(), random(3, 2, 3, 4, seed=1).requires_grad_()
        weight = random(2, 2, 7, 10, seed=2)
        ours = torch.autograd.grad((function(x, kernel, 2, 1) * weight).sum(), (x, kernel))
        expected = F.conv_transpose2d(x, kernel, None, 2, 1)
        assert expected.shape == weight.shape
        theirs = torch.autograd.grad((expected * weight).sum(), (x, kernel))
        torch.testing.assert_close(ours, theirs)

    @pytest.mark.parametrize(
        ("n", "k", "stride", "padding", "extra", "out"),
        [(7, 4, 2, 1, 0, 14), (16, 64, 32, 0, 0, 544), (7, 3, 2, 1, 1, 14), (1, 7, 1, 0, 0, 7)],
    )
    def test_sizes_of_the_papers(self, n, k, stride, padding, extra, out):
        x, kernel = torch.ones(n, n), torch.ones(k, k)
        up = U.transposed_conv(x, kernel, stride, padding, output_padding=extra)
        assert up.shape == (out, out)
        count = U.overlap_count(n, k, stride, padding)
        assert torch.equal(up[: len(count), : len(count)], (count[:, None] * count).float())

    @both
    def test_the_wider_type_counts(self, function):
        whole = SQUARE.long()
        assert torch.equal(function(whole, ONE_TO_NINE), function(SQUARE, ONE_TO_NINE))
        assert torch.equal(function(SQUARE, ONE_TO_NINE.long()), function(SQUARE, ONE_TO_NINE))
        assert function(whole, ONE_TO_NINE.long()).dtype == torch.int64
        assert function(SQUARE, ONE_TO_NINE.double()).dtype == torch.float64

    @both
    def test_bad_input(self, function):
        with pytest.raises(
            ValueError, match=r"both have 2 axes or both 4, got \(2, 2\) and \(1, 1, 3, 3\)"
        ):
            function(SQUARE, torch.ones(1, 1, 3, 3))
        with pytest.raises(ValueError, match=r"C = 2, the channels of x, got \(3, 2, 3, 3\)"):
            function(torch.ones(1, 2, 4, 4), torch.ones(3, 2, 3, 3))
        with pytest.raises(ValueError, match="stride >= 1"):
            function(SQUARE, ONE_TO_NINE, 0)
        with pytest.raises(ValueError, match=r"no output.*padding 2"):
            function(SQUARE, ONE_TO_NINE, 1, 2)
        with pytest.raises(ValueError, match=r"output_padding must be in \[0, stride\), got 2"):
            function(SQUARE, ONE_TO_NINE, 2, output_padding=2)
        with pytest.raises(ValueError, match=r"2 or 4 axes, got the shape \(2,\)"):
            function(torch.ones(2), torch.ones(2))


class TestMatrix:
    @pytest.mark.parametrize(("stride", "padding"), [(1, 0), (2, 0), (1, 2), (3, 1)])
    def test_is_the_convolution(self, stride, padding):
        x, kernel = random(3, 6, 8), random(2, 3, 3, 4, seed=1)
        matrix = U.conv_as_matrix(kernel, (6, 8), stride, padding)
        expected = F.conv2d(x[None], kernel, None, stride, padding)[0]
        assert matrix.shape == (expected.numel(), x.numel())
        torch.testing.assert_close(matrix @ x.flatten(), expected.flatten())

    def test_transpose_is_the_adjoint(self):
        x, y, kernel = random(6, 8), random(2, 4, seed=1), random(3, 2, seed=2)
        forward = F.conv2d(x[None, None], kernel[None, None], None, 2)[0, 0]
        assert forward.shape == y.shape
        back = U.transposed_conv(y, kernel, 2, output_padding=0)  # 5 x 8: the last row is not read
        torch.testing.assert_close((forward * y).sum(), (x[:5] * back).sum())

    def test_gradient_reaches_the_kernel(self):
        kernel = random(2, 3).requires_grad_()
        assert torch.autograd.gradcheck(lambda k: U.conv_as_matrix(k, (3, 5), 2, 1), (kernel,))

    def test_a_class_that_is_masked_out_stays_out(self):
        x = random(1, 3, 4, 5)
        x[:, 1] = -torch.inf
        up = U.bilinear_upsample(x, 4, border="replicate")
        assert up.isfinite().all()
        assert torch.equal(up.argmax(1) == 2, up[:, 2] > up[:, 0])

    def test_bad_input(self):
        with pytest.raises(ValueError, match="kernel of 3 x 3 does not fit an input of 2 x 9"):
            U.conv_as_matrix(ONE_TO_NINE, (2, 9))
        with pytest.raises(ValueError, match="padding >= 0, got 1 and -1"):
            U.conv_as_matrix(ONE_TO_NINE, (5, 5), 1, -1)


class TestOverlap:
    def test_examples(self):
        assert U.overlap_count(3, 3, 2).tolist() == [1, 1, 2, 1, 2, 1, 1]
        assert U.overlap_count(3, 4, 2, 1).tolist() == [1, 2, 2, 2, 2, 1]

    @given(st.integers(1, 9), st.integers(1, 7), st.integers(1, 4), st.integers(0, 3))
    @settings(deadline=None)
    def test_equals_a_transposed_convolution_of_ones(self, n, k, s, p):
        if (n - 1) * s - 2 * p + k < 1:
            with pytest.raises(ValueError, match="no output"):
                U.overlap_count(n, k, s, p)
            return
        expected = F.conv_transpose1d(torch.ones(1, 1, n), torch.ones(1, 1, k), None, s, p)
        assert U.overlap_count(n, k, s, p).tolist() == expected[0, 0].tolist()

    @given(st.integers(1, 8), st.integers(1, 4))
    @settings(deadline=None)
    def test_even_inside_exactly_if_the_stride_divides_the_kernel(self, k, s):
        inside = U.overlap_count(30, k, s)[k:-k]
        assert (inside.unique().numel() == 1) == (k % s == 0)


class TestBilinear:
    def test_kernels_of_the_paper(self):
        assert U.bilinear_kernel(2)[0].tolist() == [0.0625, 0.1875, 0.1875, 0.0625]
        line = U.bilinear_kernel(32).sum(0) / 32
        assert (len(line), line[0].item(), line.max().item()) == (64, 0.015625, 0.984375)
        assert [U.bilinear_kernel(f).sum().item() for f in (2, 8, 16, 32)] == [4, 64, 256, 1024]
        assert U.bilinear_kernel(3).shape == (5, 5)
        assert torch.equal(U.bilinear_kernel(3), U.bilinear_kernel(size=5))
        torch.testing.assert_close(U.bilinear_kernel(3)[2], torch.tensor([1, 2, 3, 2, 1]) / 3)
        assert U.bilinear_kernel(1).tolist() == [[1.0]]

    @pytest.mark.parametrize("factor", [1, 2, 3, 4, 5, 32])
    @pytest.mark.parametrize("crop", [None, 0, 1])
    def test_upsampling_is_the_transposed_convolution(self, factor, crop):
        x = random(2, 3, 4, 7).requires_grad_()
        weight = U.bilinear_weight(3, factor).double()
        cut = factor // 2 if crop is None else crop
        ours = U.bilinear_upsample(x, factor, crop)
        theirs = F.conv_transpose2d(x, weight, None, factor, cut)
        # The weight is single precision.
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-6)
        if crop is None:
            assert ours.shape == (2, 3, 4 * factor, 7 * factor)
        mix = random(*ours.shape, seed=3)
        (a,) = torch.autograd.grad((ours * mix).sum(), x)
        (b,) = torch.autograd.grad((theirs * mix).sum(), x)
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)

    @pytest.mark.parametrize("factor", [2, 3, 8])
    def test_border(self, factor):
        x = random(1, 2, 5, 6)
        expected = F.interpolate(x, scale_factor=factor, mode="bilinear")
        replicated = U.bilinear_upsample(x, factor, border="replicate")
        torch.testing.assert_close(replicated, expected)
        zeros = U.bilinear_upsample(x, factor)
        edge = slice(factor // 2, -(factor // 2))
        torch.testing.assert_close(zeros[..., edge, edge], expected[..., edge, edge])
        dimmed = U.bilinear_upsample(torch.ones(1, 1, 5, 6), factor)[0, 0]
        inside = torch.zeros_like(dimmed, dtype=torch.bool)
        inside[edge, edge] = True
        assert torch.equal(dimmed > 1 - 1e-6, inside)  # exactly the outer half step is darker

    @pytest.mark.parametrize(("factor", "crop"), [(1, None), (2, 0), (3, 2), (8, None), (32, 19)])
    @pytest.mark.parametrize("border", ["zeros", "replicate"])
    @pytest.mark.parametrize("numbers", [1, 300, 1 << 18])
    def test_labels_in_bands_are_the_labels(self, factor, crop, border, numbers, monkeypatch):
        monkeypatch.setattr("course.upsampling.bilinear._BAND", numbers)
        x = random(2, 5, 6, 3).float()
        whole = U.bilinear_upsample(x, factor, crop, border=border).argmax(1)
        assert torch.equal(U.upsampled_argmax(x, factor, crop, border=border), whole)

    def test_labels_of_equal_scores_and_of_no_image(self):
        labels = U.upsampled_argmax(torch.ones(1, 4, 2, 3), 5)
        assert torch.equal(labels, torch.zeros(1, 10, 15, dtype=torch.int64))
        assert U.upsampled_argmax(torch.ones(0, 4, 2, 3), 5).shape == (0, 10, 15)

    def test_fcn_32s(self):
        x = random(1, 21, 16, 16).float()
        weight = U.bilinear_weight(21, 32)
        raw = F.conv_transpose2d(x, weight, stride=32)
        assert U.bilinear_upsample(x, 32, 0).shape == raw.shape == (1, 21, 544, 544)
        ours = U.bilinear_upsample(x, 32, 19)
        torch.testing.assert_close(ours, raw[..., 19:-19, 19:-19], atol=1e-5, rtol=1e-5)
        assert ours.stride(1) == 1  # channels last

    def test_only_the_diagonal_is_filled(self):
        weight = U.bilinear_weight(3, 2)
        assert weight.shape == (3, 3, 4, 4)
        for i in range(3):
            for j in range(3):
                expected = U.bilinear_kernel(2) if i == j else torch.zeros(4, 4)
                assert torch.equal(weight[i, j], expected)

    def test_bfloat16(self):
        x = random(1, 2, 3, 4).bfloat16()
        up = U.bilinear_upsample(x, 4)
        assert up.dtype == torch.bfloat16
        torch.testing.assert_close(
            up.float(), U.bilinear_upsample(x.float(), 4), atol=0.02, rtol=0.02
        )

    def test_bad_input(self):
        with pytest.raises(ValueError, match="a factor or a size"):
            U.bilinear_kernel()
        with pytest.raises(ValueError, match="a factor or a size"):
            U.bilinear_kernel(2, size=4)
        with pytest.raises(ValueError, match=r"at least 1.*size=0"):
            U.bilinear_kernel(size=0)
        with pytest.raises(ValueError, match="channels must be at least 1"):
            U.bilinear_weight(0, 2)
        with pytest.raises(ValueError, match=r"\(B, C, H, W\), got \(3, 4\)"):
            U.bilinear_upsample(torch.ones(3, 4), 2)
        with pytest.raises(ValueError, match=r"crop 9 of \(3, 4\) times 2 leaves"):
            U.bilinear_upsample(torch.ones(1, 1, 3, 4), 2, 9)
        with pytest.raises(ValueError, match="leaves"):
            U.bilinear_upsample(torch.ones(1, 1, 3, 4), 2, -1)
        with pytest.raises(ValueError, match=r"zeros.*'mirror'"):
            U.bilinear_upsample(torch.ones(1, 1, 3, 4), 2, border="mirror")  # pyright: ignore
        with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
            U.bilinear_upsample(torch.ones(1, 1, 3, 4), 0)
        with pytest.raises(TypeError, match="int64"):
            U.bilinear_upsample(torch.ones(1, 1, 3, 4).long(), 2)
        with pytest.raises(ValueError, match=r"one class, got \(1, 0, 3, 4\)"):
            U.upsampled_argmax(torch.ones(1, 0, 3, 4), 2)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu(self):
        x, kernel = random(2, 3, 4, 5), random(3, 2, 3, 3, seed=1)
        torch.testing.assert_close(
            U.bilinear_upsample(x.cuda(), 8).cpu(), U.bilinear_upsample(x, 8)
        )
        for function in (U.transposed_conv, U.transposed_conv_by_matrix):
            torch.testing.assert_close(
                function(x.cuda(), kernel.cuda(), 2).cpu(), function(x, kernel, 2)
            )


class TestUnpooling:
    def test_examples(self):
        x = torch.tensor([[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]])
        y, idx = U.max_pool_with_switches(x[None, None])
        assert y[0, 0].tolist() == [[5, 6], [7, 8]]
        assert idx[0, 0].tolist() == [[5, 2], [12, 15]]
        up = U.unpool(SQUARE[None, None], idx, (4, 4))
        assert up[0, 0].tolist() == [[0, 0, 2, 0], [0, 1, 0, 0], [0, 0, 0, 0], [3, 0, 0, 4]]

    @pytest.mark.parametrize("ceil_mode", [False, True])
    @pytest.mark.parametrize(("size", "stride"), [(2, None), (3, 3), (3, 2), (1, None)])
    @pytest.mark.parametrize("hw", [(6, 8), (7, 9), (5, 10)])
    def test_round_trip(self, hw, size, stride, ceil_mode):
        x = random(2, 3, *hw)
        y, idx = U.max_pool_with_switches(x, size, stride, ceil_mode=ceil_mode)
        assert torch.equal(y, F.max_pool2d(x, size, stride, ceil_mode=ceil_mode))
        assert torch.equal(x.flatten(2).gather(2, idx.flatten(2)), y.flatten(2))
        up = U.unpool(y, idx, hw)
        assert up.shape == x.shape
        expected = torch.zeros_like(x)
        for b in range(2):
            for c in range(3):
                for place in idx[b, c].flatten().tolist():
                    row, col = divmod(place, hw[1])
                    expected[b, c, row, col] = x[b, c, row, col]
        assert torch.equal(up, expected)

    def test_equals_torch_where_torch_can(self):
        x = random(2, 3, 7, 9)
        y, idx = U.max_pool_with_switches(x)
        assert torch.equal(
            U.unpool(y, idx, (7, 9)), F.max_unpool2d(y, idx, [2, 2], output_size=[7, 9])
        )

    def test_ties_take_the_first_in_reading_order(self):
        _, idx = U.max_pool_with_switches(torch.zeros(1, 1, 4, 6))
        assert idx[0, 0].tolist() == [[0, 2, 4], [12, 14, 16]]

    def test_gradients(self):
        _, idx = U.max_pool_with_switches(random(2, 2, 5, 6), ceil_mode=True)
        y = random(2, 2, 3, 3, seed=1).requires_grad_()
        assert torch.autograd.gradcheck(lambda v: U.unpool(v, idx, (5, 6)), (y,))

    def test_gradient_of_overlapping_windows_goes_to_each(self):
        x = torch.zeros(1, 1, 5, 5)
        x[..., 2, 2] = 1.0  # the maximum of all four windows of 3 pixels
        y, idx = U.max_pool_with_switches(x, 3, 2)
        y.requires_grad_()
        up = U.unpool(y, idx, (5, 5))
        assert up.sum() == 1
        assert torch.autograd.grad(up.sum(), y)[0].eq(1).all()

    @pytest.mark.parametrize(("n", "size", "stride"), [(1, 3, 1), (2, 5, 3), (3, 5, 2), (2, 3, 1)])
    def test_a_window_may_hang_over_by_less_than_a_stride(self, n, size, stride):
        x = torch.rand(1, 1, n, n)
        if n > size - stride:
            y, _ = U.max_pool_with_switches(x, size, stride, ceil_mode=True)
            assert y.item() == x.max()
        else:
            with pytest.raises(ValueError, match=f"no window of {size} x {size} fits"):
                U.max_pool_with_switches(x, size, stride, ceil_mode=True)

    def test_without_switches(self):
        x = random(2, 3, 3, 4)
        assert torch.equal(U.nearest(x, 3), F.interpolate(x, scale_factor=3, mode="nearest"))
        nails = U.bed_of_nails(x, 3)
        assert nails.shape == (2, 3, 9, 12)
        assert torch.equal(nails[..., ::3, ::3], x)
        assert nails.count_nonzero() == x.count_nonzero()

    def test_memory(self):
        memory = U.switch_memory((1, 64, 360, 480))
        assert memory.switch_bits == 2 * 64 * 180 * 240
        assert memory.feature_bits == 32 * 64 * 360 * 480
        assert memory.ratio == 64
        assert U.switch_memory((3, 7, 9), 2).switch_bits == 2 * 3 * 3 * 4  # odd rows have no window
        assert U.switch_memory((1, 9, 9), 3, value_bits=16) == (4 * 9, 16 * 81)  # 9 places, 4 bits

    def test_bad_input(self):
        x = random(1, 2, 4, 6)
        y, idx = U.max_pool_with_switches(x)
        with pytest.raises(ValueError, match=r"idx must lie in \[0, 6\).*another level"):
            U.unpool(y, idx, (2, 3))
        with pytest.raises(TypeError, match=r"idx must be int64.*got torch\.float32"):
            U.unpool(y, idx.float(), (4, 6))
        with pytest.raises(ValueError, match=r"one shape, got \(1, 2, 2, 3\) and \(1, 2, 2, 2\)"):
            U.unpool(y, idx[..., :2], (4, 6))
        with pytest.raises(ValueError, match=r"y must have the shape \(B, C, H, W\), got \(2, 3\)"):
            U.unpool(y[0, 0], idx[0, 0], (4, 6))
        with pytest.raises(ValueError, match=r"no window of 7 x 7 fits into \(4, 6\)"):
            U.max_pool_with_switches(x, 7)
        with pytest.raises(ValueError, match="size and stride must be at least 1, got 2 and 0"):
            U.max_pool_with_switches(x, 2, 0)
        with pytest.raises(TypeError, match="int64"):
            U.max_pool_with_switches(x.long())
        with pytest.raises(ValueError, match="no window of 2 x 2 to remember"):
            U.switch_memory((3, 1, 8))
        for function in (U.nearest, U.bed_of_nails):
            with pytest.raises(ValueError, match="factor must be at least 1, got 0"):
                function(x, 0)
            with pytest.raises(ValueError, match=r"got \(4, 6\)"):
                function(x[0, 0], 2)

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    def test_on_a_gpu(self):
        x = random(2, 3, 7, 9)
        y, idx = U.max_pool_with_switches(x.cuda())
        assert torch.equal(
            U.unpool(y, idx, (7, 9)).cpu(), U.unpool(*U.max_pool_with_switches(x), (7, 9))
        )
