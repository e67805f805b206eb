"""Operations of torch, blocked in its dispatcher: every Python name for one ends there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch

__all__ = ["block_operations"]

_SPACES = {"torch": "aten", "torchvision": "torchvision"}
_KEYS = ("CPU", "CompositeImplicitAutograd")
# One Python function, by its last or its whole name, and the operations that it is a choice of.
_FAMILIES = {
    name: tuple(operations.split())
    for name, operations in {
        "pad": "pad _pad_enum _pad_circular constant_pad_nd"
        " reflection_pad1d reflection_pad2d reflection_pad3d"
        " replication_pad1d replication_pad2d replication_pad3d",
        "interpolate": "upsample_nearest1d upsample_nearest2d upsample_nearest3d"
        " _upsample_nearest_exact1d _upsample_nearest_exact2d upsample_linear1d"
        " upsample_bilinear2d _upsample_bilinear2d_aa upsample_bicubic2d",
        "torch.nn.functional.unfold": "im2col",  # the method of tensors is another operation
        "torch.nn.functional.fold": "col2im",
        "cross_entropy": "cross_entropy_loss",
        "max_pool2d": "max_pool2d max_pool2d_with_indices",
    }.items()
}
_libraries: list[Any] = []


def block_operations(name: str, refuse: Callable[[], Any]) -> bool:
    """Override the operations behind a dotted name of torch or torchvision in this process.

    Args:
        name: such as "torch.nn.functional.pad".
        refuse: called in their place; raises.

    Returns:
        Whether there was any.
    """
    space = _SPACES.get(name.partition(".")[0])
    if space is None:
        return False
    last = name.rpartition(".")[2]
    found = False
    library = torch.library.Library(space, "IMPL")
    _libraries.append(library)  # an override ends with its library
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of every override
        for operation in _FAMILIES.get(name, _FAMILIES.get(last, (last,))):
            packet = getattr(getattr(torch.ops, space), operation, None)
            for overload in packet.overloads() if packet is not None else ():
                full = operation if overload == "default" else f"{operation}.{overload}"
                for key in _KEYS:
                    try:
                        library.impl(full, lambda *_, **__: refuse(), key)
                        found = True
                    except RuntimeError:
                        continue
    return found
