"""VGG16's fully connected layers fc6 and fc7, as linear layers or as convolutions.

A linear layer on C maps of h x w cells is a convolution with an h x w kernel that fits once: torch
flattens (C, H, W) in this order, so the published matrix (4096, 512 * 7 * 7), viewed as
(4096, 512, 7, 7), is the kernel. FCN and DeconvNet read it that way, Fast R-CNN and the localizer
as it is.

Reference: Simonyan, Zisserman, ICLR 2015, arXiv:1409.1556, table 1 (the layers) and section 3.2
(the layers as convolutions).
"""

from collections.abc import Mapping

from torch import Tensor, nn

LAYERS = {"fc6": "classifier.0", "fc7": "classifier.3"}  # in torchvision's numbering


def load_classifier(state: Mapping[str, Tensor], fc6: nn.Module, fc7: nn.Module) -> None:
    """Copy fc6 and fc7 of torchvision's VGG16 into two linear layers or convolutions.

    `state` is what `load_vgg16` returns, of `vgg16` or `vgg16_bn`. Raises ValueError for a state
    without these layers, and for layers of another size than the published.

    >>> load_classifier({}, nn.Linear(98, 16), nn.Linear(16, 16))
    Traceback (most recent call last):
    ValueError: weights hold no classifier.0.weight, ... VGG16's fc6: pass the state of the whole...
    """
    for (name, key), layer in zip(LAYERS.items(), (fc6, fc7)):
        own = layer.state_dict()
        if f"{key}.weight" not in state:
            raise ValueError(
                f"weights hold no {key}.weight, which is VGG16's {name}: pass the state of the "
                "whole network, not of its features alone"
            )
        weight = state[f"{key}.weight"]
        if weight.numel() != own["weight"].numel():
            raise ValueError(
                f"VGG16's {name} has weights {tuple(weight.shape)}, this network's "
                f"{tuple(own['weight'].shape)}: weights= needs the published size of 7 x 7 cells"
            )
        reshaped = weight.reshape(own["weight"].shape)
        layer.load_state_dict({"weight": reshaped, "bias": state[f"{key}.bias"]})
