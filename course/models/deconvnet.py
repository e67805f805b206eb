"""DeconvNet: VGG16 folded open, 252 million parameters to draw an object from one vector.

The encoder is all of VGG16, fully connected layers included, so that the whole image ends as one
4096-vector. The decoder is its mirror image: *unpooling* puts values back at the positions of the
maxima and brings back the structure of the object, *deconvolution* (a transposed 3 x 3 convolution
with stride 1) fills the sparse map. Coarse layers draw the overall shape, fine layers the details:

    7 x 7 -> 14 -> 28 -> 56 -> 112 -> 224, by x <- deconv(unpool(x, switches)).

Every convolution has batch normalisation; without it this depth does not train. The published
system runs on object proposals, resized to 224 x 224 and pasted back.

Reference: Noh, Hong, Han, *Learning Deconvolution Network for Semantic Segmentation*, ICCV 2015,
arXiv:1505.04366, sections 3.1-3.3, figure 2, table 3 (layout).
"""

from torch import Tensor, nn
from torch.nn import functional as F

from course.models.layers import (
    Weights,
    check_images,
    check_levels,
    check_normalised,
    check_positive,
    he_init,
    scaled,
    use_channels_last,
)
from course.models.vgg import load_vgg16, load_vgg16_classifier, vgg_stages

DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64, 64))


class DeconvNet(nn.Module):
    """Map images (B, C, H, W) to logits (B, K, H, W); 224 x 224 pixels in the paper.

    `width` scales all maps (64 in the first stage, 4096 in fc6). `window` is the kernel of fc6 and
    of its deconvolution: with the published 7 the image must be at least 193 pixels high and wide;
    a lab takes `window=2` for 64-pixel scenes. Poolings round up (Caffe) and unpooling restores the
    recorded sizes, so any larger size works. `weights=` loads torchvision's `vgg16_bn`:
    all convolutions, and with the published window fc6 and fc7 as convolutions, whose batch
    normalisation starts anew. Normalise images with torchvision's ImageNet mean and deviation then.
    Raises ValueError for smaller images, and in training for a single image that ends as one
    vector.

    >>> import torch
    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in DeconvNet().parameters())
    251805653
    >>> DeconvNet(3, width=4, window=2)(torch.zeros(2, 3, 64, 48)).shape
    torch.Size([2, 3, 64, 48])

    Source: section 3.3, table 3.
    """

    def __init__(
        self,
        num_classes: int = 21,
        *,
        in_channels: int = 3,
        width: int = 64,
        window: int = 7,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width, window=window)
        self.in_channels, self.window = in_channels, window
        self.encoder = vgg_stages(in_channels, width=width, batch_norm=True)
        channels, vector = scaled(512, width), scaled(4096, width)
        self.fc6 = _block(nn.Conv2d(channels, vector, window))
        self.fc7 = _block(nn.Conv2d(vector, vector, 1))
        self.fc6_deconv = _block(nn.ConvTranspose2d(vector, channels, window))
        self.decoder = nn.ModuleList()
        for stage in DECODER:
            blocks = []
            for maps in (scaled(published, width) for published in stage):
                blocks.append(_block(nn.ConvTranspose2d(channels, maps, 3, padding=1)))
                channels = maps
            self.decoder.append(nn.Sequential(*blocks))
        self.classifier = nn.Conv2d(channels, num_classes, 1)
        he_init(self)
        use_channels_last(self)
        if weights is not None:
            state = load_vgg16(self.encoder, weights)
            if window == 7:
                load_vgg16_classifier(self.fc6[0], self.fc7[0], state)

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, self.in_channels, "DeconvNet", net=self)
        # One 2 x 2 pooling that rounds up keeps ceil(n / 2) of n pixels: a 1-pixel overhang.
        pools = [(f"pool{i + 1}", 1, 2, 0) for i in range(5)]
        check_levels(images, [*pools, ("fc6", self.window, 1, 0)], 32, "DeconvNet")
        x, switches = images, []
        for stage in self.encoder:
            x = stage(x)
            size = x.shape[-2:]
            x, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)  # (B, C, H/2, W/2)
            switches.append((index, size))
        rows, columns = (n - self.window + 1 for n in x.shape[-2:])  # that fc6 leaves
        check_normalised(
            self.fc6[1], len(x) * rows * columns, "DeconvNet: fc6 of an image as small as this"
        )
        x = self.fc7(self.fc6(x))  # (B, 4096, H/32 - 6, W/32 - 6): 1 x 1 for 224
        x = self.fc6_deconv(x)  # (B, 512, H/32, W/32)
        for stage in self.decoder:
            index, size = switches.pop()
            x = F.max_unpool2d(x, index, (2, 2), output_size=list(size))  # (B, C, 2H, 2W)
            x = stage(x)
        return self.classifier(x)


def _block(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    norm = nn.BatchNorm2d(convolution.out_channels)
    return nn.Sequential(convolution, norm, nn.ReLU(inplace=True))
