"""The thirteen convolutions of VGG16, the encoder of five papers of this course.

Five stages of 3 x 3 convolutions with padding 1: 2 x 64, 2 x 128, 3 x 256, 3 x 512, 3 x 512 maps,
14,714,688 parameters. Two stacked 3 x 3 convolutions see 5 x 5 pixels and three see 7 x 7, with
fewer weights and more non-linearities than one large kernel. The stages come *without* their
poolings, because those are where the papers differ: 2 x 2 with switches (DeconvNet, SegNet), 2 x 2
(FCN), 3 x 3 with stride 1 at the end (DeepLab).

Reference: Simonyan, Zisserman, *Very Deep Convolutional Networks for Large-Scale Image
Recognition*, ICLR 2015, arXiv:1409.1556, table 1, configuration D.
"""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from course.models.layers import Weights, he_init, pretrained_state, scaled

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

    >>> import torch
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

    Stages with batch normalisation take the weights of `vgg16_bn`. Raises ValueError unless the
    stages have 3 input channels and the published width. See `pretrained_state` for `weights`.

    >>> import torch
    >>> load_vgg16(vgg_stages(width=8), weights={})
    Traceback (most recent call last):
    ...
    ValueError: pretrained VGG16 weights need in_channels=3 and width=64, got 3 and 8
    """
    layers = [m for m in stages.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)]
    maps, channels = layers[0].weight.shape[:2]
    if (maps, channels) != (64, 3):
        raise ValueError(
            f"pretrained VGG16 weights need in_channels=3 and width=64, got {channels} and {maps}"
        )
    normalised = isinstance(layers[1], nn.BatchNorm2d)
    state = pretrained_state("vgg16_bn" if normalised else "vgg16", weights)
    groups: dict[int, dict[str, Tensor]] = {}  # one per layer, in torchvision's numbering
    for key, value in state.items():
        part, index, name = key.split(".")
        if part == "features":
            groups.setdefault(int(index), {})[name] = value
    for layer, index in zip(layers, sorted(groups), strict=True):
        layer.load_state_dict(groups[index])
    return state
