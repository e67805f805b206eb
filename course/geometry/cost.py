"""What a network costs, counted in multiply-accumulates (MACs), never timed.

A count is the same on every machine and needs no warm-up. Per output sample, a convolution with
kernel k×k, `C` input and `K` output channels in g groups costs `k·k·(C/g)·K` MACs; a transposed
convolution the same per *input* sample; a linear layer `C·K` per row, a bilinear one `C·C'·K`.
Dilation changes nothing: it moves the taps apart and adds none. FLOPs are about twice the MACs.
Biases, activations, norms, pooling and interpolation are left out, as the papers do.

The count runs the network on PyTorch's `meta` device: shapes flow, numbers do not, so a network
of 270 million parameters takes no memory and a few milliseconds.
"""

import math
from typing import TYPE_CHECKING, Any

from course.modes import evaluation_mode

if TYPE_CHECKING:
    from torch import nn


def count_macs(module: "nn.Module", *input_shapes: tuple[int, ...]) -> int:
    """Multiply-accumulates of one forward pass in evaluation mode.

    Give one full shape, batch first, for each input of `module`: `(B, C, H, W)` for images. The
    count covers convolutions, transposed convolutions, linear and bilinear layers, attention, and
    products of matrices and vectors, also where `forward` calls them as functions; not sums of
    elementwise products (`(a * b).sum()`, `torch.linalg.vecdot`). The module is left as it was.

    Raises `TypeError` if a shape is not a tuple of integers, `ValueError` if the module does not
    accept inputs of these shapes or reads values (data-dependent control flow has no fixed cost).

    >>> from torch import nn
    >>> count_macs(nn.Conv2d(16, 32, 3, padding=1, groups=4), (1, 16, 10, 20))
    230400
    """
    return sum(macs_by_layer(module, *input_shapes).values())


def macs_by_layer(module: "nn.Module", *input_shapes: tuple[int, ...]) -> dict[str, int]:
    """Multiply-accumulates of each part of `module` that computes some, by its qualified name.

    Parts come in the order in which they first run. A part that calls others is charged only for
    what it computes itself; the module itself is `""`. The values add up to `count_macs`. Inputs
    and errors are those of `count_macs`.

    >>> from torch import nn
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 2, 1))
    >>> macs_by_layer(net, (1, 3, 9, 9))
    {'0': 15000, '2': 400}
    """
    import torch
    from torch.func import functional_call
    from torch.utils.flop_counter import FlopCounterMode

    floating = (p.dtype for p in module.parameters() if p.is_floating_point())
    dtype = next(floating, torch.get_default_dtype())
    inputs = [torch.empty(_checked(s), dtype=dtype, device="meta") for s in input_shapes]
    state = {
        name: value.to("meta")
        for name, value in [*module.named_parameters(), *module.named_buffers()]
    }
    counter = FlopCounterMode(display=False, custom_mapping=_uncounted_products())
    running: list[str] = [""]
    macs: dict[str, int] = {}
    seen = 0

    def charge() -> None:  # whoever runs now did all that was counted since the last call
        nonlocal seen
        total = counter.get_total_flops()
        if total > seen:
            macs[running[-1]] = macs.get(running[-1], 0) + (total - seen) // 2
        seen = total

    def enter(name: str) -> Any:
        def hook(*_: Any) -> None:
            charge()
            running.append(name)

        return hook

    def leave(*_: Any) -> None:
        charge()
        running.pop()

    hooks = []
    for name, part in module.named_modules():
        if part is not module:
            hooks += [
                part.register_forward_pre_hook(enter(name)),
                part.register_forward_hook(leave),
            ]
    try:
        with evaluation_mode(module), torch.no_grad(), counter:
            functional_call(module, state, tuple(inputs))
            charge()
    except (RuntimeError, NotImplementedError) as error:
        raise ValueError(
            f"{type(module).__name__} cannot be counted on inputs of shape {list(input_shapes)}: "
            f"{error}"
        ) from error
    finally:
        for hook in hooks:
            hook.remove()
    return macs


def _uncounted_products() -> dict[Any, Any]:
    """FLOPs of products that torch's counter leaves out, from the shapes of their arguments."""
    from torch import ops

    def of_vectors(a: tuple[int], *_: Any, **__: Any) -> int:
        return 2 * a[0]

    def of_matrix(matrix: tuple[int, int], *_: Any, **__: Any) -> int:
        return 2 * matrix[0] * matrix[1]

    def bilinear(x: tuple[int, int], weight: tuple[int, int, int], *_: Any, **__: Any) -> int:
        return 2 * x[0] * math.prod(weight)

    return {
        ops.aten.dot: of_vectors,
        ops.aten.vdot: of_vectors,
        ops.aten.mv: of_matrix,
        ops.aten.addmv: lambda _, *args, **kwargs: of_matrix(*args, **kwargs),
        ops.aten._trilinear: bilinear,
    }


def _checked(shape: tuple[int, ...]) -> tuple[int, ...]:
    if isinstance(shape, int) or not all(isinstance(size, int) for size in shape):
        raise TypeError(
            f"an input shape is a tuple of integers such as (1, 3, 224, 224): {shape!r}"
        )
    return tuple(shape)
