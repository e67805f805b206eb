"""FC-DenseNet, the One Hundred Layers Tiramisu: dense blocks down and up again.

In a dense block each layer reads *all* maps before it and adds k new ones (growth rate k):

    x_l = [x_(l-1), H(x_(l-1))],   H = BN, ReLU, 3 x 3 convolution, dropout.

On the way down a block passes on its input together with its new maps. On the way up that would
explode, so a transition up carries *only the new maps* of the last block; the input they grew from
comes back through the skip connection. 103 layers need 9.3 million parameters and no pretraining.

References: Jegou, Drozdzal, Vazquez, Romero, Bengio, *The One Hundred Layers Tiramisu*, CVPRW 2017,
arXiv:1611.09326, section 3, tables 1 and 2 (the map counts of the up path in table 2 are 16 too
small, as the authors say); Huang et al., DenseNet, CVPR 2017, arXiv:1608.06993. The paper's 9.4 M
counts the running statistics of batch normalisation; its 1.5 M for 56 layers is 1.38 M here.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from course.models.layers import check_images, check_levels, check_normalised, check_positive


class DenseBlock(nn.Module):
    """Map (B, C, H, W) to (B, C + `layers` * `growth`, H, W): the input first, then the new maps.

    >>> DenseBlock(48, growth=12, layers=4)(torch.zeros(1, 48, 5, 7)).shape
    torch.Size([1, 96, 5, 7])

    Source: section 3.1, figure 2.
    """

    def __init__(self, in_channels: int, *, growth: int, layers: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.out_channels = in_channels + layers * growth
        self.layers = nn.ModuleList(
            _bn_relu_conv(in_channels + i * growth, growth, 3, dropout) for i in range(layers)
        )

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)  # (B, C + growth, H, W)
        return x


class TransitionUp(nn.Module):
    """Double the new maps (B, C, H, W), crop them to the skip's centre and stack the skip on them.

    The transposed 3 x 3 convolution with stride 2 gives 2 H + 1 rows, so odd skips fit as well.

    >>> up = TransitionUp(240)
    >>> up(torch.zeros(1, 240, 22, 30), torch.zeros(1, 656, 45, 60)).shape
    torch.Size([1, 896, 45, 60])

    Source: table 1, right.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(channels, channels, 3, stride=2)

    def forward(self, new_maps: Tensor, skip: Tensor) -> Tensor:
        x = self.deconv(new_maps)  # (B, C, 2H + 1, 2W + 1)
        height, width = skip.shape[-2:]
        top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
        x = x[..., top : top + height, left : left + width]
        return torch.cat([x, skip], dim=1)


class FCDenseNet(nn.Module):
    """Map images (B, C, H, W) to logits (B, K, H, W) through dense blocks and skips.

    `blocks` counts the layers of the blocks on the way down (reversed on the way up), `bottleneck`
    those at the bottom, `growth` the new maps of each layer, `first_maps` the maps of the first
    convolution; small `growth` and `first_maps` make a CPU-sized net. Any height and width of at
    least 2 ** len(blocks) works, ValueError below; in training mode the bottleneck must keep more
    than one value per channel, so a single image needs twice that in height or width. The authors
    evaluate with batch statistics, that is with the batch normalisation in training mode. `maps`
    lists the concatenated maps of every block in order.

    >>> net = FCDenseNet(3, blocks=(2, 2), bottleneck=2, growth=4, first_maps=8)
    >>> net(torch.zeros(2, 3, 21, 30)).shape, net.maps
    (torch.Size([2, 3, 21, 30]), (16, 24, 32, 40, 32))

    Source: section 3.2, tables 1 and 2.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        blocks: Sequence[int],
        bottleneck: int,
        growth: int,
        in_channels: int = 3,
        first_maps: int = 48,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        check_positive(
            num_classes=num_classes,
            in_channels=in_channels,
            growth=growth,
            first_maps=first_maps,
            bottleneck=bottleneck,
            **{f"blocks[{i}]": layers for i, layers in enumerate(blocks)},
        )
        self.in_channels = in_channels

        def block(channels: int, layers: int) -> DenseBlock:
            return DenseBlock(channels, growth=growth, layers=layers, dropout=dropout)

        self.first = nn.Conv2d(in_channels, first_maps, 3, padding=1)
        channels, skips = first_maps, []
        self.down, self.transitions_down = nn.ModuleList(), nn.ModuleList()
        for layers in blocks:
            self.down.append(block(channels, layers))
            channels += layers * growth
            skips.append(channels)
            self.transitions_down.append(
                nn.Sequential(_bn_relu_conv(channels, channels, 1, dropout), nn.MaxPool2d(2))
            )
        self.bottleneck = block(channels, bottleneck)
        maps = [*skips, self.bottleneck.out_channels]
        self.up, self.transitions_up = nn.ModuleList(), nn.ModuleList()
        new = bottleneck * growth
        for layers, skip in zip(reversed(blocks), reversed(skips)):
            self.transitions_up.append(TransitionUp(new))
            self.up.append(block(new + skip, layers))
            new = layers * growth
            maps.append(self.up[-1].out_channels)
        self.maps = tuple(maps)
        self.classifier = nn.Conv2d(maps[-1], num_classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")  # section 4.1
                nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, self.in_channels, "FCDenseNet", net=self)
        pools = [(f"transition down {i + 1}", 2, 2, 0) for i in range(len(self.down))]
        check_levels(images, pools, 2 ** len(pools), "FCDenseNet")
        height, width = (n // 2 ** len(pools) for n in images.shape[-2:])
        values = images.shape[0] * height * width
        norm = self.bottleneck.layers[0][0]  # pyright: ignore[reportIndexIssue]
        check_normalised(norm, values, "FCDenseNet: the bottleneck")
        x, skips = self.first(images), []
        for block, transition in zip(self.down, self.transitions_down):
            x = block(x)
            skips.append(x)
            x = transition(x)  # (B, C, H/2, W/2)
        before = x.shape[1]
        x = self.bottleneck(x)
        for transition, block in zip(self.transitions_up, self.up):
            x = transition(x[:, before:], skips.pop())  # only what the last block added
            before = x.shape[1]
            x = block(x)
        return self.classifier(x)  # the whole last stack, its input included


class FCDenseNet56(FCDenseNet):
    """FC-DenseNet with 56 layers: growth 12, 4 layers in each of the 11 blocks.

    Options as in `FCDenseNet`. Source: section 4.2.

    >>> sum(p.numel() for p in FCDenseNet56().parameters())
    1376795
    """

    def __init__(self, num_classes: int = 11, *, growth: int = 12, **options: Any) -> None:
        super().__init__(num_classes, blocks=(4,) * 5, bottleneck=4, growth=growth, **options)


class FCDenseNet67(FCDenseNet):
    """FC-DenseNet with 67 layers: growth 16, 5 layers in each of the 11 blocks.

    Options as in `FCDenseNet`. Source: section 4.2.

    >>> sum(p.numel() for p in FCDenseNet67().parameters())
    3463243
    """

    def __init__(self, num_classes: int = 11, *, growth: int = 16, **options: Any) -> None:
        super().__init__(num_classes, blocks=(5,) * 5, bottleneck=5, growth=growth, **options)


class FCDenseNet103(FCDenseNet):
    """FC-DenseNet with 103 layers: growth 16, blocks of 4, 5, 7, 10, 12 layers around 15.

    Options as in `FCDenseNet`. Source: table 2.

    >>> sum(p.numel() for p in FCDenseNet103().parameters())
    9322091
    """

    def __init__(self, num_classes: int = 11, *, growth: int = 16, **options: Any) -> None:
        blocks = (4, 5, 7, 10, 12)
        super().__init__(num_classes, blocks=blocks, bottleneck=15, growth=growth, **options)


def _bn_relu_conv(in_channels: int, maps: int, kernel: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(in_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(in_channels, maps, kernel, padding=kernel // 2),
        nn.Dropout(dropout),
    )
