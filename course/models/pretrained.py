"""Weights that somebody else trained: where they come from, and whether they fit.

Three things can be wrong with them. The *source*: a misspelt name, or the member of another
network's enumeration; that is refused before anything is downloaded. The *form*: a checkpoint
around the state dict, or keys with the prefix of `DataParallel`. The *fit*: a tensor is missing,
left over, or has another shape. Each ends in one ValueError that says what to do.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["Weights", "load_fitting", "pretrained_state"]

Weights = str | Mapping[str, Tensor] | Any  # name, state dict, or a torchvision weights member


def pretrained_state(architecture: str, weights: Weights) -> Mapping[str, Tensor]:
    """Return the torchvision state dict that `weights` stands for.

    `weights` is a state dict (used as it is), the name of a torchvision weights entry such as
    `"IMAGENET1K_V1"` or `"DEFAULT"`, or a member of its enumeration; the last two download on first
    use. Such weights expect images normalised with torchvision's ImageNet mean and deviation.
    Raises ValueError for an unknown name, another architecture's member, and a mapping that is not
    a bare state dict.

    >>> import torch
    >>> list(pretrained_state("resnet50", {"conv1.weight": torch.zeros(1)}))
    ['conv1.weight']
    >>> pretrained_state("resnet50", {"module.conv1.weight": torch.zeros(1)})
    Traceback (most recent call last):
    ...
    ValueError: the keys of these resnet50 weights begin with 'module.'...removeprefix('module.')...
    """
    if isinstance(weights, Mapping):
        return _bare(architecture, weights)
    from torchvision.models import get_model_weights  # slow import, only for pretrained weights

    members = get_model_weights(architecture).__members__
    entry: Any = members.get(weights) if isinstance(weights, str) else weights
    if not any(entry is member for member in members.values()):
        raise ValueError(
            f"{architecture} has weights {list(members)}, got {weights!r}: give one of these "
            "names, a member of their enumeration, or a state dict"
        )
    return entry.get_state_dict(progress=True, check_hash=True)


def load_fitting(module: nn.Module, state: Mapping[str, Tensor], name: str) -> None:
    """Copy a state dict into `module`; raise one ValueError if its tensors do not fit.

    `name` says whose weights these should be. Counters of batches may be missing, as in old files.

    >>> import torch
    >>> load_fitting(nn.Conv2d(3, 8, 1), {"weight": torch.zeros(8, 1, 1, 1)}, "the stem")
    Traceback (most recent call last):
    ...
    ValueError: weights do not fit the stem: 1 missing (bias); 1 of another shape (weight is
    (8, 1, 1, 1), expected (8, 3, 1, 1)); give the state dict of that very network
    """
    own = module.state_dict()
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    shapes = ((key, tuple(state[key].shape), tuple(own[key].shape)) for key in own if key in state)
    other = [
        f"{key} is {came}, expected {wanted}" for key, came, wanted in shapes if came != wanted
    ]
    found = {"missing": missing, "unknown": unknown, "of another shape": other}
    faults = [f"{len(keys)} {kind} ({_first(keys)})" for kind, keys in found.items() if keys]
    if faults:
        raise ValueError(
            f"weights do not fit {name}: {'; '.join(faults)}; "
            "give the state dict of that very network"
        )
    module.load_state_dict(dict(state))


def _bare(architecture: str, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    strange = [key for key, value in weights.items() if not isinstance(value, Tensor)]
    if strange or not weights:
        came = f"it holds {_first(strange)}" if strange else "it is empty"
        raise ValueError(
            f"weights of {architecture} must be a state dict, tensors by name, but {came}: of a "
            "checkpoint give the entry with the weights, such as checkpoint['state_dict']"
        )
    if all(key.startswith("module.") for key in weights):
        raise ValueError(
            f"the keys of these {architecture} weights begin with 'module.', as DataParallel saves "
            "them; strip it: {k.removeprefix('module.'): v for k, v in weights.items()}"
        )
    return weights


def _first(keys: Iterable[str], most: int = 3) -> str:
    keys = list(keys)
    return ", ".join(keys[:most]) + (", ..." if len(keys) > most else "")
