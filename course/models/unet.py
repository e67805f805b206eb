"""U-Net: precise localisation and wide context from few annotated images.

Ronneberger, Fischer, Brox, *U-Net: Convolutional Networks for Biomedical Image Segmentation*,
MICCAI 2015, arXiv:1505.04597. Figure 1 is this module.

A contracting path halves the map and doubles the channels four times: it learns *what*. An
expanding path doubles the map back. At each level it concatenates the map of the same level of
the contracting path, which still knows *where*, and two convolutions combine both.

No convolution pads, so every output pixel has seen only true pixels. The price is a border of
`m = 6·2^d − 4` pixels per side: 572→388 for d = 4, and skip maps must be cropped at the centre
(by 4, 16, 40 and 88 pixels) before they fit. `course.geometry.unet_sizes` lists all the sizes;
`course.tiling` cuts large images into tiles that give exactly the prediction of one pass.

The last layer is a 1×1 convolution to K classes. The paper trains with a softmax cross-entropy
weighted towards the narrow gaps between touching cells: see `course.losses`.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from course.geometry import unet_border, unet_sizes, valid_input_for
from course.models.layers import check_images, check_positive, he_init, use_channels_last


class UNet(nn.Module):
    """U-Net as published: valid convolutions, crop and concatenate, 31,030,658 parameters.

    Maps images `(B, in_channels, H, W)` to logits `(B, num_classes, H − 2m, W − 2m)`, m = 92 for
    depth 4. Legal H and W are 188, 204, …, 572, … (see `course.geometry.valid_input_for`).

    `width` is the number of channels at full resolution, `depth` the number of poolings;
    `width=16` has 1.9 million parameters and trains on a CPU. `dropout` is the probability of the
    dropout at the end of the contracting path (§3.1, which gives no value).

    Two options leave the paper, for comparison with popular ports: `padding="same"` pads every
    3×3 convolution with zeros, so H and W (multiples of 2^depth) come out unchanged but the
    border is predicted from invented pixels; `batch_norm=True` normalises after each of them.

    `border`, `multiple` and `tile` tell `course.tiling.predict_tiled` how to cut large images.
    Raises `ValueError` for a setting out of range and, in `forward`, for an illegal image size.

    >>> net = UNet(in_channels=1, num_classes=2, width=8, depth=2)
    >>> net(torch.rand(1, 1, 44, 60)).shape
    torch.Size([1, 2, 4, 20])
    """

    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 2,
        *,
        width: int = 64,
        depth: int = 4,
        padding: Literal["valid", "same"] = "valid",
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check_positive(in_channels=in_channels, num_classes=num_classes, width=width, depth=depth)
        if padding not in ("valid", "same"):
            raise ValueError(f"padding must be 'valid' (the paper) or 'same', got {padding!r}")
        self.in_channels, self.depth, self.padding = in_channels, depth, padding

        maps = [width * 2**level for level in range(depth + 1)]  # 64, 128, 256, 512, 1024
        shape = {"padding": padding, "batch_norm": batch_norm}
        self.contracting = nn.ModuleList(
            double_conv(before, after, **shape)
            for before, after in zip([in_channels, *maps[:-1]], maps)
        )
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(maps[level + 1], maps[level], 2, stride=2)
            for level in reversed(range(depth))
        )
        self.expanding = nn.ModuleList(
            double_conv(2 * maps[level], maps[level], **shape) for level in reversed(range(depth))
        )
        self.head = nn.Conv2d(width, num_classes, 1)
        he_init(self)  # §3: standard deviation √(2/N), 0.0589 for a 3×3 convolution of 64 maps
        # On a CPU, inference takes 0.55–0.8 of the time on NCHW; training gains up to width 16.
        use_channels_last(self)

    def forward(self, images: Tensor) -> Tensor:
        self._check(images)
        x, skips = images, []
        for level, convs in enumerate(self.contracting):
            x = convs(x if level == 0 else self.pool(x))  # (B, w·2^level, h − 4, w − 4)
            skips.append(x)
        x = self.dropout(skips.pop())  # (B, 1024, 28, 28) for 572
        for up, convs in zip(self.up, self.expanding):
            x = up(x)  # (B, C/2, 2h, 2w)
            x = torch.cat([center_crop(skips.pop(), x.shape[-2], x.shape[-1]), x], dim=1)
            x = convs(x)  # (B, C/2, 2h − 4, 2w − 4)
        return self.head(x)  # (B, K, H − 2m, W − 2m)

    @property
    def multiple(self) -> int:
        """Period of the pooling grid: tiles must start at multiples of it to repeat one pass."""
        return 2**self.depth

    @property
    def border(self) -> int:
        """Context in pixels that a tile needs on each side of the output that is kept.

        With valid convolutions the network cuts it off itself. With `padding="same"` the padded
        zeros reach less than 6·2^depth pixels into the output; whoever tiles cuts that off.
        """
        return unet_border(self.depth) if self.padding == "valid" else 6 * self.multiple

    @property
    def tile(self) -> int:
        """Input size of a tile that keeps about 512 pixels of output, a legal size."""
        if self.padding == "valid":
            return valid_input_for(516, self.depth)
        return -(-512 // self.multiple) * self.multiple + 2 * self.border

    def _check(self, images: Tensor) -> None:
        check_images(images, self.in_channels, "UNet", net=self)
        for axis, size in (("height", images.shape[2]), ("width", images.shape[3])):
            if self.padding == "valid":
                try:
                    unet_sizes(size, self.depth)
                except ValueError as error:
                    raise ValueError(f"{axis} of the images: {error}") from None
            elif size % self.multiple:
                raise ValueError(
                    f"{axis} of the images: {size} is not a multiple of {self.multiple}, "
                    f"so one of the {self.depth} poolings would meet an odd size"
                )


def double_conv(
    in_channels: int, channels: int, *, padding: Literal["valid", "same"], batch_norm: bool
) -> nn.Sequential:
    """Two 3×3 convolutions, each with a ReLU: `(B, C, H, W)` to `(B, channels, H − 4, W − 4)`.

    >>> double_conv(1, 8, padding="valid", batch_norm=False)(torch.rand(1, 1, 9, 9)).shape
    torch.Size([1, 8, 5, 5])
    """
    layers: list[nn.Module] = []
    for before in (in_channels, channels):
        layers.append(
            nn.Conv2d(before, channels, 3, padding=int(padding == "same"), bias=not batch_norm)
        )
        if batch_norm:
            layers.append(nn.BatchNorm2d(channels))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)


def center_crop(maps: Tensor, height: int, width: int) -> Tensor:
    """Middle `height`×`width` part of maps `(B, C, H, W)`, a view; the paper's crop of the skips.

    Raises `ValueError` where the part is larger than the map or the border is not the same on
    both sides (the maps then lie half a pixel apart).

    >>> center_crop(torch.arange(16.).view(1, 1, 4, 4), 2, 2)
    tensor([[[[ 5.,  6.],
              [ 9., 10.]]]])
    """
    top, left = maps.shape[-2] - height, maps.shape[-1] - width
    if top < 0 or left < 0 or top % 2 or left % 2:
        raise ValueError(
            f"cannot crop {height}×{width} from the centre of maps {tuple(maps.shape)}: the border "
            "must be even and not negative"
        )
    return maps[..., top // 2 : top // 2 + height, left // 2 : left // 2 + width]
