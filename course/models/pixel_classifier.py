"""Label every pixel by classifying the window around it (N4, winner of ISBI 2012).

A small network looks at a 95 x 95 window and says what its *centre* pixel is, membrane or not. To
label an image, mirror its border by 47 pixels and slide the window over all pixels: simple, and
wasteful, because neighbouring windows share almost all of their convolutions. The same weights give
the same answers in one dense pass. Nothing is padded inside, so a convolution of the whole image
contains every window's convolution; a pooling with stride 2 would skip every second window, so the
dense pass keeps stride 1 and spreads all later taps by the factor that was not skipped:

    rate of a layer = product of the pooling strides before it   (475 times fewer operations).

Reference: Ciresan, Giusti, Gambardella, Schmidhuber, *Deep Neural Networks Segment Neuronal
Membranes in Electron Microscopy Images*, NIPS 2012, section 2 and table 1 (N4). The dense pass:
Masci et al., *A Fast Learning Algorithm for Image Segmentation with Max-Pooling Convolutional
Networks*, ICIP 2013, arXiv:1302.1690 (there in fragments, here with dilation).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.models.layers import (
    check_images,
    check_levels,
    check_positive,
    scaled,
    use_channels_last,
)


class ScaledTanh(nn.Module):
    """Apply 1.7159 tanh(2 x / 3), the activation of the authors' networks (LeCun et al. 1998)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class PixelClassifier(nn.Module):
    """Map windows (B, C, 95, 95) to logits (B, K, 1, 1) of their centre pixels.

    A larger image (B, C, H, W) gives logits (B, K, H', W') at stride 16, H' = (H - 95) // 16 + 1:
    position (i, j) belongs to pixel (47 + 16 i, 47 + 16 j). `forward_dense` labels all pixels.
    `width` is the number of maps of each convolution (48). Raises ValueError below 95 pixels.

    >>> net = PixelClassifier()
    >>> sum(p.numel() for p in net.parameters())
    219290
    >>> net(torch.zeros(2, 1, 95, 127)).shape
    torch.Size([2, 2, 1, 3])

    Source: table 1, network N4.
    """

    window = 95  # receptive field; odd, so the centre is a pixel
    stride = 16

    def __init__(self, num_classes: int = 2, *, in_channels: int = 1, width: int = 48) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        self.in_channels = in_channels
        hidden = scaled(200, width, base=48)
        self.layers = nn.Sequential(
            nn.Conv2d(in_channels, width, 4),  # (B, 48, 92, 92)
            ScaledTanh(),
            nn.MaxPool2d(2),  # 46
            nn.Conv2d(width, width, 5),  # 42
            ScaledTanh(),
            nn.MaxPool2d(2),  # 21
            nn.Conv2d(width, width, 4),  # 18
            ScaledTanh(),
            nn.MaxPool2d(2),  # 9
            nn.Conv2d(width, width, 4),  # 6
            ScaledTanh(),
            nn.MaxPool2d(2),  # 3
            nn.Conv2d(width, hidden, 3),  # (B, 200, 1, 1): the fully connected layer
            ScaledTanh(),
            nn.Conv2d(hidden, num_classes, 1),
        )
        for layer in self.layers:
            if isinstance(layer, nn.Conv2d):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]
        use_channels_last(self)

    def forward(self, images: Tensor) -> Tensor:
        self._check(images)
        return self.layers(images)

    def forward_dense(self, images: Tensor, *, mirror: bool = True) -> Tensor:
        """Classify the window around every pixel in one pass: logits (B, K, H, W).

        With `mirror=False` the border is not mirrored and only whole windows count: logits
        (B, K, H - 94, W - 94). Pixel for pixel equal to `forward` on the cut-out window. Raises
        ValueError if mirroring reaches past the image (48 pixels or more are needed) or, without
        it, below 95 pixels.

        >>> PixelClassifier(width=4).forward_dense(torch.zeros(1, 1, 50, 61)).shape
        torch.Size([1, 2, 50, 61])
        """
        check_images(images, self.in_channels, "PixelClassifier", net=self)
        x = images
        if mirror:
            margin = self.window // 2
            if min(images.shape[-2:]) <= margin:
                raise ValueError(
                    f"PixelClassifier mirrors {margin} pixels, so height and width must be at "
                    f"least {margin + 1}, got {images.shape[-2]} x {images.shape[-1]}"
                )
            x = F.pad(images, (margin,) * 4, mode="reflect")  # (B, C, H + 94, W + 94)
        self._check(x)
        rate = 1
        for layer in self.layers:
            if isinstance(layer, nn.MaxPool2d):
                x = F.max_pool2d(x, 2, stride=1, dilation=rate)
                rate *= 2
            elif isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, layer.weight, layer.bias, dilation=rate)
            else:
                x = layer(x)
        return x

    def _check(self, images: Tensor) -> None:
        check_images(images, self.in_channels, "PixelClassifier", net=self)
        levels, kernels = [], (4, 5, 4, 4)
        for i, kernel in enumerate(kernels, 1):
            levels += [(f"conv{i}", kernel, 1, 0), (f"pool{i}", 2, 2, 0)]
        check_levels(images, [*levels, ("full1", 3, 1, 0)], self.stride, "PixelClassifier")
