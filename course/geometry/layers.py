"""Output sizes and receptive fields of convolution and pooling layers, along one axis.

A layer slides a window of `d(k − 1) + 1` samples (kernel k, dilation d) over `n + 2p` samples in
steps of s. It fits `⌊(n + 2p − d(k − 1) − 1) / s⌋ + 1` times: that is the output size.

Stack layers and each output sample sees a window of the input, its *receptive field*. Walk from
the input to the output and keep three numbers: the size r of the window, the step j between the
windows of neighbouring outputs (the cumulative stride), and the place where the first one starts:

    r ← r + (k − 1)·d·j        start ← start − p·j        j ← j·s

Only the last line uses the stride, so a stride early in the chain widens everything after it.
Dilation buys the same width without the stride [Yu and Koltun 2016, §2]. The true influence
inside the window is far from uniform [Luo et al. 2016]: this is the theoretical bound.
"""

from collections.abc import Iterable
from operator import index
from typing import NamedTuple


class Layer(NamedTuple):
    """Window of a convolution or pooling layer along one axis, in samples of its own input."""

    kernel: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1
    ceil_mode: bool = False


LayerLike = Layer | tuple[int, ...]


class ReceptiveField(NamedTuple):
    """What one output sample sees: window size, cumulative stride, start of the first window.

    `start` is negative where padding moves the first window over the edge of the input.
    """

    size: int
    stride: int
    start: int

    def window(self, i: int) -> tuple[int, int]:
        """Half-open interval of input samples that output sample `i` sees.

        >>> receptive_field([(3, 2, 1), (3, 2, 1)]).window(5)
        (17, 24)
        """
        first = self.start + i * self.stride
        return first, first + self.size


def conv_output_size(
    n: int, kernel: int, *, stride: int = 1, padding: int = 0, dilation: int = 1
) -> int:
    """Size of a convolution's output along one axis.

    `n` is the input size, `padding` is added on both sides; all in samples. Raises `ValueError`
    where the dilated kernel does not fit into the padded input even once.

    >>> conv_output_size(231, 11, stride=4)  # the first layer of OverFeat
    56
    """
    return _windows(n, Layer(kernel, stride, padding, dilation))


def pool_output_size(
    n: int,
    kernel: int,
    *,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> int:
    """Size of a pooling layer's output along one axis; `stride` defaults to the kernel.

    `ceil_mode` keeps a last window that is cut off by the edge, as Caffe does, unless that window
    would start in the padding; it may be the only one. Raises `ValueError` where no window is left.

    >>> pool_output_size(7, 2), pool_output_size(7, 2, ceil_mode=True)
    (3, 4)
    >>> pool_output_size(1, 2, ceil_mode=True)
    1
    """
    step = kernel if stride is None else stride
    return _windows(n, Layer(kernel, step, padding, dilation, ceil_mode))


def conv_transpose_output_size(
    n: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    output_padding: int = 0,
    dilation: int = 1,
) -> int:
    """Size of a transposed convolution's output along one axis: `s(n − 1) + d(k − 1) + 1 − 2p + o`.

    Several input sizes of a strided convolution share one output size; `output_padding` (smaller
    than the stride or the dilation) says which of them to go back to. Raises `ValueError` where
    it is not, or where nothing is left after the padding is cut off.

    >>> conv_transpose_output_size(16, 64, stride=32)  # FCN-32s, before its crop
    544
    """
    n, layer = _checked(n, Layer(kernel, stride, padding, dilation))
    if not 0 <= index(output_padding) < max(layer.stride, layer.dilation):
        raise ValueError(
            f"output_padding must be at least 0 and smaller than the stride ({layer.stride}) or "
            f"the dilation ({layer.dilation}), got {output_padding}"
        )
    size = layer.stride * (n - 1) + _reach(layer) - 2 * layer.padding + output_padding
    if size < 1:
        raise ValueError(
            f"a transposed convolution of {n} samples with kernel {kernel} and stride {stride} "
            f"has nothing left after padding {padding} is cut off both sides: use less padding"
        )
    return size


def output_sizes(n: int, layers: Iterable[LayerLike]) -> list[int]:
    """Sizes along a chain of layers, from the input `n` to the output.

    Raises `ValueError` at the first layer that does not fit, and names it.

    >>> output_sizes(95, [(4,), (2, 2), (5,), (2, 2), (4,), (2, 2), (4,), (2, 2), (3,)])
    [95, 92, 46, 42, 21, 18, 9, 6, 3, 1]
    """
    sizes = [index(n)]
    for number, layer in enumerate(layers):
        try:
            sizes.append(_windows(sizes[-1], _layer(layer)))
        except ValueError as error:
            raise ValueError(f"layer {number}, after sizes {sizes}: {error}") from None
    return sizes


def receptive_field(layers: Iterable[LayerLike]) -> ReceptiveField:
    """Receptive field of the last layer of a chain, in samples of the chain's input.

    Each layer is a `Layer` or a tuple `(kernel, stride, padding, dilation)` cut anywhere after
    the kernel. `layers_of` reads them from a module. Raises `ValueError` for sizes below 1 or
    negative padding.

    >>> receptive_field([(3,), (3,), (2, 2), (3, 1, 0, 2)])
    ReceptiveField(size=14, stride=2, start=0)
    """
    size, jump, start = 1, 1, 0
    for layer in layers:
        _, window = _checked(1, _layer(layer))
        size += (_reach(window) - 1) * jump
        start -= window.padding * jump
        jump *= window.stride
    return ReceptiveField(size, jump, start)


def _layer(values: LayerLike) -> Layer:
    return values if isinstance(values, Layer) else Layer(*values)  # pyright: ignore


def _reach(layer: Layer) -> int:
    return layer.dilation * (layer.kernel - 1) + 1


def _windows(n: int, layer: Layer) -> int:
    n, layer = _checked(n, layer)
    spare = n + 2 * layer.padding - _reach(layer)
    if layer.ceil_mode:
        count = -(-spare // layer.stride) + 1
        count -= (count - 1) * layer.stride >= n + layer.padding  # it would start in the padding
    else:
        count = spare // layer.stride + 1
    if count < 1:
        raise ValueError(
            f"a window of {_reach(layer)} samples (kernel {layer.kernel}, dilation "
            f"{layer.dilation}) does not fit into {n} samples with padding {layer.padding}: "
            "enlarge the input or the padding"
        )
    return count


def _checked(n: int, layer: Layer) -> tuple[int, Layer]:
    named = {"n": n, **layer._asdict()}
    for name, value in named.items():
        least = 0 if name in ("padding", "ceil_mode") else 1
        try:
            named[name] = index(value)
        except TypeError:
            raise TypeError(f"{name} must be an integer, got {value!r}") from None
        if named[name] < least:
            raise ValueError(f"{name} must be at least {least}, got {value}")
    return named.pop("n"), Layer(**named)  # pyright: ignore
