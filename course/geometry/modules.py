"""Windows of the layers of a network, read from its modules.

torch says the window of a layer in attributes: `kernel_size`, `stride`, `padding`, `dilation`. The
others either work sample by sample, which leaves the geometry as it is, or have no fixed window.
"""

from typing import TYPE_CHECKING, Any

from course.geometry.layers import Layer

if TYPE_CHECKING:
    from torch import nn

_NO_WINDOW = (  # words in the class name of a module
    "Transpose", "Adaptive", "Fractional", "Upsampl", "Unpool", "PixelShuffle", "PixelUnshuffle",
    "Fold", "Unfold", "Linear",
)  # fmt: skip
_PADS = ("Pad1d", "Pad2d", "Pad3d")  # their ends, where all that they do is pad


def layers_of(module: "nn.Module", *, axis: int = -1) -> list[Layer]:
    """Convolution and pooling layers of a chain such as `nn.Sequential`, in registration order.

    `axis` picks the axis of kernels that are not square: −1 width, −2 height. A layer that only
    pads becomes a kernel of 1 with padding. Layers that work sample by sample (activations, norms,
    dropout) are skipped. Raises `ValueError` for a layer whose window is not a fixed number of
    samples (transposed, adaptive, fractional, upsampling, pixel shuffle, linear), or that pads
    one side more than the other.

    >>> from torch import nn
    >>> layers_of(nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2)))
    [Layer(kernel=5, stride=1, padding=2, dilation=1, ceil_mode=False),
     Layer(kernel=2, stride=2, padding=0, dilation=1, ceil_mode=False)]
    """
    layers = []
    for name, part in module.named_modules():
        kind = type(part).__name__
        if any(word in kind for word in _NO_WINDOW):
            raise ValueError(
                f"layer {name!r} ({kind}) has no fixed window over its input: "
                "pass the part of the network before it"
            )
        if kind.endswith(_PADS):
            layers.append(Layer(1, padding=_both_sides(f"layer {name!r} ({kind})", part, axis)))
        elif hasattr(part, "kernel_size"):
            kernel = _along(part.kernel_size, axis)
            stride = _along(part.stride or kernel, axis)  # LPPool keeps a stride of None
            dilation = _along(getattr(part, "dilation", 1), axis)
            padding = _padding(getattr(part, "padding", 0), kernel, dilation, axis)
            layers.append(
                Layer(kernel, stride, padding, dilation, getattr(part, "ceil_mode", False))
            )
    return layers


def _along(value: Any, axis: int) -> int:
    return value[axis] if isinstance(value, tuple | list) else value


def _both_sides(layer: str, part: Any, axis: int) -> int:
    """Padding of a padding layer along an axis; torch lists the last axis first."""
    before, after = part.padding[-2 * axis - 2 :][:2]
    if before != after:
        raise ValueError(
            f"{layer} pads {before} samples before and {after} after: a window that is not centred "
            "has no single padding"
        )
    return before


def _padding(padding: Any, kernel: int, dilation: int, axis: int) -> int:
    if padding == "valid":
        return 0
    if padding == "same":
        if dilation * (kernel - 1) % 2:
            raise ValueError(
                f"padding='same' with kernel {kernel} and dilation {dilation} pads one side more "
                "than the other: give the padding as a number"
            )
        return dilation * (kernel - 1) // 2
    return _along(padding, axis)
