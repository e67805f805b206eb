"""Transposed convolution: the transpose of a convolution's matrix, or a kernel used as a stamp.

A convolution is linear, so it is a matrix W that maps the flat input to the flat output. Its
transpose maps back to the larger size:

    y = W x,    up = W^T y,    <W x, y> = <x, W^T y>.

Written out, every input value stamps the whole kernel, unflipped and multiplied by the value, at
`stride` times its own place, and overlapping stamps add up. It undoes the size, not the values.
Where the stride does not divide the kernel size, neighbouring outputs get different numbers of
stamps: a checkerboard. References: Dumoulin and Visin 2016, chapter 4; Odena et al. 2016; Long et
al. 2015, section 3.3.
"""

import torch
from torch import Tensor

__all__ = ["conv_as_matrix", "overlap_count", "transposed_conv", "transposed_conv_by_matrix"]


def conv_as_matrix(
    kernel: Tensor, hw: tuple[int, int], stride: int = 1, padding: int = 0
) -> Tensor:
    """Matrix W of a convolution: `W @ x.flatten()` is the flat output.

    Args:
        kernel: `(kh, kw)`, or `(O, C, kh, kw)` as in `torch.nn.functional.conv2d`; not flipped.
        hw: height and width of the input.
        stride: step of the kernel.
        padding: zeros around the input.

    Returns:
        `(oh * ow, h * w)`, or `(O * oh * ow, C * h * w)`; rows and columns in the order of
        `flatten()`. One row holds the kernel where it lies over the input.

    Raises:
        ValueError: wrong shape, stride below 1, negative padding, a kernel larger than the input.

    Source: Dumoulin and Visin 2016, section 4.1.

    >>> conv_as_matrix(torch.tensor([[1.0, 2.0]]), (2, 3))
    tensor([[1., 2., 0., 0., 0., 0.],
            [0., 1., 2., 0., 0., 0.],
            [0., 0., 0., 1., 2., 0.],
            [0., 0., 0., 0., 1., 2.]])
    """
    weight = _as_4d("kernel", kernel)
    _check_step(stride, padding)
    out_channels, in_channels, kh, kw = weight.shape
    h, w = hw
    oh, ow = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    if min(h, w) < 1 or h + 2 * padding < kh or w + 2 * padding < kw:
        raise ValueError(
            f"a kernel of {kh} x {kw} does not fit an input of {h} x {w} with padding {padding}"
        )
    matrix = weight.new_zeros(out_channels, oh, ow, in_channels, h, w)
    for i in range(kh):
        rows, ys = _rows_that_meet(oh, h, i - padding, stride, weight.device)
        for j in range(kw):
            cols, xs = _rows_that_meet(ow, w, j - padding, stride, weight.device)
            matrix[:, rows[:, None], cols, :, ys[:, None], xs] = weight[:, :, i, j]
    return matrix.view(out_channels * oh * ow, in_channels * h * w)


def transposed_conv(
    x: Tensor, kernel: Tensor, stride: int = 1, padding: int = 0, *, output_padding: int = 0
) -> Tensor:
    """Transposed convolution by stamping the kernel.

    Args:
        x: `(H, W)`, or `(B, C, H, W)`.
        kernel: `(kh, kw)`, or `(C, O, kh, kw)` as in `torch.nn.functional.conv_transpose2d`. Of two
            types the wider one counts: integers and floats give floats.
        stride: distance of the stamps.
        padding: pixels cut off on every side.
        output_padding: pixels less cut off at the bottom and the right, below `stride`.

    Returns:
        `(H', W')`, or `(B, O, H', W')`; H' = (H - 1) stride - 2 padding + kh + output_padding.

    Raises:
        ValueError: shapes that do not match, stride below 1, negative padding, an output without
            pixels.

    Source: Dumoulin and Visin 2016, section 4.2; Long et al. 2015, section 3.3.

    >>> transposed_conv(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.ones(3, 3))
    tensor([[ 1.,  3.,  3.,  2.],
            [ 4., 10., 10.,  6.],
            [ 4., 10., 10.,  6.],
            [ 3.,  7.,  7.,  4.]])
    """
    maps, weight = _as_pair(x, kernel)
    h, w = _output_size(maps, weight, stride, padding, output_padding)
    canvas = maps.new_zeros(len(maps), weight.shape[1], h + 2 * padding, w + 2 * padding)
    high, wide = (maps.shape[2] - 1) * stride + 1, (maps.shape[3] - 1) * stride + 1
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            # One kernel entry of all stamps at once: a grid of every stride-th pixel.
            stamp = torch.einsum("bchw,co->bohw", maps, weight[:, :, i, j])
            canvas[:, :, i : i + high : stride, j : j + wide : stride] += stamp
    result = canvas[:, :, padding : padding + h, padding : padding + w]
    return result[0, 0] if x.ndim == 2 else result


def transposed_conv_by_matrix(
    x: Tensor, kernel: Tensor, stride: int = 1, padding: int = 0, *, output_padding: int = 0
) -> Tensor:
    """The same as `transposed_conv`, as W^T x with the matrix of the convolution.

    The matrix has (all outputs) x (all inputs) entries: for understanding, not for images.

    Args:
        x: `(H, W)`, or `(B, C, H, W)`.
        kernel: `(kh, kw)`, or `(C, O, kh, kw)`: the weight of the convolution from O to C channels
            that is transposed.
        stride: step of that convolution.
        padding: padding of that convolution.
        output_padding: which of the input sizes with the same output size is meant, below `stride`.

    Returns:
        `(H', W')`, or `(B, O, H', W')`.

    Raises:
        ValueError: as `transposed_conv`.

    Source: Dumoulin and Visin 2016, section 4.1.

    >>> transposed_conv_by_matrix(torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 5.0]]), stride=2)
    tensor([[ 1.,  5.,  2., 10.]])
    """
    maps, weight = _as_pair(x, kernel)
    h, w = _output_size(maps, weight, stride, padding, output_padding)
    matrix = conv_as_matrix(weight, (h, w), stride, padding)  # (C H W, O H' W')
    result = (maps.flatten(1) @ matrix).view(len(maps), weight.shape[1], h, w)
    return result[0, 0] if x.ndim == 2 else result


def overlap_count(n: int, k: int, s: int, p: int = 0) -> Tensor:
    """How many stamps reach every output of a transposed convolution, along one axis.

    Args:
        n: input length.
        k: kernel size.
        s: stride.
        p: padding.

    Returns:
        `((n - 1) s - 2 p + k,)` int64. It is even inside, free of a checkerboard, exactly if s
        divides k. In two dimensions the counts are the outer product.

    Raises:
        ValueError: a size or stride below 1, a negative padding, an output without pixels.

    Source: Odena et al. 2016, *Deconvolution and checkerboard artifacts*.

    >>> overlap_count(3, 3, 2).tolist(), overlap_count(3, 4, 2, 1).tolist()
    ([1, 1, 2, 1, 2, 1, 1], [1, 2, 2, 2, 2, 1])
    """
    _check_step(s, p)
    length = (n - 1) * s - 2 * p + k
    if n < 1 or k < 1 or length < 1:
        raise ValueError(f"no output for n={n}, k={k}, s={s}, p={p}: its length is {length}")
    place = torch.arange(length)[:, None] + p  # (length, 1)
    start = torch.arange(n) * s
    return ((place >= start) & (place < start + k)).sum(dim=1)


def _rows_that_meet(
    n_out: int, n_in: int, offset: int, stride: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Outputs whose kernel entry at `offset` lies on an input, and those inputs."""
    outputs = torch.arange(n_out, device=device)
    inputs = outputs * stride + offset
    inside = (inputs >= 0) & (inputs < n_in)
    return outputs[inside], inputs[inside]


def _as_4d(name: str, value: Tensor) -> Tensor:
    if value.ndim == 2:
        return value[None, None]
    if value.ndim != 4:
        raise ValueError(f"{name} must have 2 or 4 axes, got the shape {tuple(value.shape)}")
    return value


def _as_pair(x: Tensor, kernel: Tensor) -> tuple[Tensor, Tensor]:
    """Both with four axes and in one type, after checking that they belong together."""
    if x.ndim != kernel.ndim:
        raise ValueError(
            f"x and kernel must both have 2 axes or both 4, got {tuple(x.shape)} and "
            f"{tuple(kernel.shape)}"
        )
    maps, weight = _as_4d("x", x), _as_4d("kernel", kernel)
    if maps.shape[1] != weight.shape[0]:
        raise ValueError(
            f"kernel must be (C, O, kh, kw) with C = {maps.shape[1]}, the channels of x, got "
            f"{tuple(kernel.shape)}"
        )
    dtype = torch.promote_types(maps.dtype, weight.dtype)
    return maps.to(dtype), weight.to(dtype)


def _output_size(
    maps: Tensor, weight: Tensor, stride: int, padding: int, output_padding: int
) -> tuple[int, int]:
    _check_step(stride, padding)
    if not 0 <= output_padding < stride:
        raise ValueError(f"output_padding must be in [0, stride), got {output_padding}")
    fixed = output_padding - 2 * padding
    h = (maps.shape[2] - 1) * stride + weight.shape[2] + fixed
    w = (maps.shape[3] - 1) * stride + weight.shape[3] + fixed
    if min(h, w, *maps.shape[2:], *weight.shape[2:]) < 1:
        raise ValueError(
            f"no output: {tuple(maps.shape[2:])} with a kernel of {tuple(weight.shape[2:])}, "
            f"stride {stride} and padding {padding} gives {(h, w)}"
        )
    return h, w


def _check_step(stride: int, padding: int) -> None:
    if stride < 1 or padding < 0:
        raise ValueError(f"need stride >= 1 and padding >= 0, got {stride} and {padding}")
