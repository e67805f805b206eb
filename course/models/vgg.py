"""The thirteen convolutions of VGG16, the encoder of five papers of this course.

Five stages of 3 x 3 convolutions with padding 1: 2 x 64, 2 x 128, 3 x 256, 3 x 512, 3 x 512 maps,
14,714,688 parameters. Two stacked 3 x 3 convolutions see 5 x 5 pixels and three see 7 x 7, with
fewer weights and more non-linearities than one large kernel. The stages come *without* their
poolings, because those are where the papers differ: 2 x 2 with switches (DeconvNet, SegNet), 2 x 2
(FCN), 3 x 3 with stride 1 at the end (DeepLab).

Reference: Simonyan, Zisserman, *Very Deep Convolutional Networks for Large-Scale Image
Recognition*, ICLR 2015, arXiv:1409.1556, table 1, configuration D.
"""

import re
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from course.models.layers import he_init, scaled
from course.models.pretrained import Weights, load_fitting, pretrained_state

STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # maps, number of convolutions


def vgg_stages(
    in_channels: int = 3,
    *,
    width: int = 64,
    batch_norm: bool = False,
    bias: bool = True,
    dilations: Sequence[int] = (1, 1, 1, 1, 1),
    first_padding: int = 1,
) -> nn.ModuleList:
    """Build the five stages of VGG16; each maps (B, C, H, W) to (B, C', H, W), He-initialised.

    `width` is the number of maps of the first stage, all others scale with it. `batch_norm` puts
    batch normalisation between convolution and ReLU, `dilations` gives each stage its rate
    (padding follows), and `first_padding` is the padding of the very first convolution (100 in the
    published FCN).

    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in vgg_stages().parameters())
    14714688

    Source: table 1, configuration D.
    """
    stages = nn.ModuleList()
    channels = in_channels
    for (published, convolutions), dilation in zip(STAGES, dilations, strict=True):
        maps = scaled(published, width)
        layers: list[nn.Module] = []
        for _ in range(convolutions):
            padding = dilation if stages or layers else first_padding
            layers.append(nn.Conv2d(channels, maps, 3, 1, padding, dilation, bias=bias))
            if batch_norm:
                layers.append(nn.BatchNorm2d(maps))
            layers.append(nn.ReLU(inplace=True))
            channels = maps
        stages.append(nn.Sequential(*layers))
    he_init(stages)
    return stages


def load_vgg16(stages: nn.ModuleList, weights: Weights) -> Mapping[str, Tensor]:
    """Copy torchvision's VGG16 convolutions into `stages` and return the whole state dict.

    Stages with batch normalisation take the weights of `vgg16_bn`. Without biases (SegNet as
    published), the bias that is dropped goes into the running mean, so nothing changes in
    evaluation mode. Raises ValueError unless the stages have 3 input channels and the published
    width, and for weights of another network. See `pretrained_state` for `weights`.

    >>> load_vgg16(vgg_stages(width=8), weights={})
    Traceback (most recent call last):
    ...
    ValueError: pretrained VGG16 weights need in_channels=3 and width=64, got 3 and 8
    """
    layers = {n: m for n, m in stages.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)}
    first, second = list(layers.values())[:2]
    maps, channels = first.weight.shape[:2]
    if (maps, channels) != (64, 3):
        raise ValueError(
            f"pretrained VGG16 weights need in_channels=3 and width=64, got {channels} and {maps}"
        )
    architecture = "vgg16_bn" if isinstance(second, nn.BatchNorm2d) else "vgg16"
    state = pretrained_state(architecture, weights)
    groups: dict[int, dict[str, Tensor]] = {}  # one per layer, in torchvision's numbering
    for key, value in state.items():
        if match := re.fullmatch(r"features\.(\d+)\.(\w+)", key):
            groups.setdefault(int(match[1]), {})[match[2]] = value
    if len(groups) != len(layers):
        raise ValueError(
            f"weights do not fit {architecture}: expected {len(layers)} layers 'features.N' with "
            f"weights, got {len(groups)}; give the state dict of torchvision's {architecture}"
        )
    found = [groups[index] for index in sorted(groups)]
    for layer, values, following in zip(layers.values(), found, found[1:]):
        if isinstance(layer, nn.Conv2d) and layer.bias is None and "running_mean" in following:
            bias = values.pop("bias", torch.zeros(()))
            following["running_mean"] = following["running_mean"] - bias
    named = zip(layers, found)
    own = {f"{name}.{key}": value for name, values in named for key, value in values.items()}
    load_fitting(stages, own, architecture)
    return state


def load_vgg16_classifier(fc6: nn.Module, fc7: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Copy VGG16's fc6 and fc7 from `state`, as `load_vgg16` returns it.

    The layers may be linear, or convolutions that do the same (FCN): torch flattens features as
    (C, H, W), so the matrix has the kernel's order. Raises ValueError if `state` holds convolutions
    only, or if the layers have other sizes, such as those of other than 7 x 7 features.

    >>> fc6, fc7 = nn.Conv2d(2, 8, 7), nn.Conv2d(8, 8, 1)
    >>> load_vgg16_classifier(fc6, fc7, {"features.0.weight": torch.zeros(1)})
    Traceback (most recent call last):
    ...
    ValueError: weights do not fit VGG16's fc6: 2 missing (weight, bias); give the state dict ...

    Source: section 2.1; Long et al., CVPR 2015, section 3.1 (as convolutions).
    """
    for layer, name, key in ((fc6, "fc6", "classifier.0."), (fc7, "fc7", "classifier.3.")):
        own = {k.removeprefix(key): value for k, value in state.items() if k.startswith(key)}
        kernel = layer.state_dict()["weight"].shape
        if "weight" in own and own["weight"].numel() == kernel.numel():
            own["weight"] = own["weight"].reshape(kernel)
        load_fitting(layer, own, f"VGG16's {name}")
