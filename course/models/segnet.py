"""SegNet: a decoder that upsamples by the encoder's own pooling switches.

Max pooling throws away *where* each maximum was, which blurs borders. SegNet stores only that: the
argmax positions (2 bits for each 2 x 2 window instead of a float feature map). Each decoder level
puts the values back to their positions, leaves zeros elsewhere, and densifies the sparse map with
trainable convolutions:

    decode(y, switches) = convs(unpool(y, switches)).

The encoder is VGG16 without its fully connected layers, the decoder its mirror image: 29.4 million
parameters where DeconvNet has 251.8. Poolings round up (Caffe), so 360 x 480 pixels shrink to
12 x 15 and come back exactly; any size works.

Reference: Badrinarayanan, Kendall, Cipolla, *SegNet: A Deep Convolutional Encoder-Decoder
Architecture for Image Segmentation*, PAMI 2017, arXiv:1511.00561, sections 3 and 3.1, figures 2, 3.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course.models.layers import (
    Weights,
    check_images,
    check_positive,
    he_init,
    scaled,
    use_channels_last,
)
from course.models.vgg import load_vgg16, vgg_stages

DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))  # figure 2

# Caffe's 1e-4 is made for pixels in 0 ... 255. With ours in [0, 1] it would change nothing (4e-5);
# scaled, the result is the released one divided by 255: norm(255 x) / 255.
LRN_ALPHA = 1e-4 * 255**2


class SegNet(nn.Module):
    """Map images (B, C, H, W) of any size to logits (B, K, H, W); VGG16 encoder and its mirror.

    `width` is the number of maps of the first stage, `bias=False` drops the biases of the
    convolutions as the paper's text describes (the released model has them), `weights=` loads
    torchvision's `vgg16_bn` into the encoder: normalise images with torchvision's ImageNet mean and
    deviation then.

    >>> import torch
    >>> with torch.device("meta"):
    ...     sum(p.numel() for p in SegNet().parameters())
    29449355
    >>> SegNet(3, width=4)(torch.zeros(2, 3, 45, 33)).shape
    torch.Size([2, 3, 45, 33])

    Source: section 3, figure 2.
    """

    def __init__(
        self,
        num_classes: int = 11,
        *,
        in_channels: int = 3,
        width: int = 64,
        bias: bool = True,
        weights: Weights | None = None,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        self.in_channels = in_channels
        self.encoder = vgg_stages(in_channels, width=width, batch_norm=True, bias=bias)
        self.decoder = nn.ModuleList()
        channels = scaled(512, width)
        for stage in DECODER:
            layers: list[nn.Module] = []
            for maps in (scaled(published, width) for published in stage):
                layers += [
                    nn.Conv2d(channels, maps, 3, padding=1, bias=bias),
                    nn.BatchNorm2d(maps),
                    nn.ReLU(inplace=True),
                ]
                channels = maps
            self.decoder.append(nn.Sequential(*layers))
        # The last decoder convolution is the classifier: no normalisation, no ReLU on logits.
        self.classifier = nn.Conv2d(channels, num_classes, 3, padding=1, bias=bias)
        he_init(self.decoder)
        he_init(self.classifier)
        use_channels_last(self)
        if weights is not None:
            load_vgg16(self.encoder, weights)

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, self.in_channels, "SegNet", net=self)
        return self.classifier(_encode_decode(images, self.encoder, self.decoder))


class SegNetBasic(nn.Module):
    """Map images (B, C, H, W) of any size to logits (B, K, H, W) with 4 + 4 layers of 7 x 7.

    Every layer has `width` maps. The decoder has no ReLU, and the input passes a local response
    normalisation, as in the released model; its deepest unit sees 106 x 106 pixels.

    >>> import torch
    >>> sum(p.numel() for p in SegNetBasic().parameters())
    1416587
    >>> SegNetBasic(3, width=4)(torch.zeros(2, 3, 45, 33)).shape
    torch.Size([2, 3, 45, 33])

    Source: section 3.1. The paper prints 1.425 M parameters and says that there are no biases; the
    released model has biases and these 1,416,587.
    """

    def __init__(
        self,
        num_classes: int = 11,
        *,
        in_channels: int = 3,
        width: int = 64,
        bias: bool = True,
    ) -> None:
        super().__init__()
        check_positive(num_classes=num_classes, in_channels=in_channels, width=width)
        self.in_channels = in_channels

        def layer(channels: int) -> list[nn.Module]:
            return [nn.Conv2d(channels, width, 7, padding=3, bias=bias), nn.BatchNorm2d(width)]

        self.encoder = nn.ModuleList(
            nn.Sequential(*layer(channels), nn.ReLU(inplace=True))
            for channels in (in_channels, width, width, width)
        )
        self.decoder = nn.ModuleList(nn.Sequential(*layer(width)) for _ in range(4))
        self.classifier = nn.Conv2d(width, num_classes, 1)
        he_init(self)
        use_channels_last(self)

    def forward(self, images: Tensor) -> Tensor:
        check_images(images, self.in_channels, "SegNetBasic", net=self)
        wide = torch.promote_types(images.dtype, torch.float32)  # no bfloat16 kernel on a CPU
        x = F.local_response_norm(images.to(wide), size=5, alpha=LRN_ALPHA, beta=0.75)
        return self.classifier(_encode_decode(x.to(images.dtype), self.encoder, self.decoder))


def _encode_decode(x: Tensor, encoder: nn.ModuleList, decoder: nn.ModuleList) -> Tensor:
    switches = []  # a stack: the last pooling is the first to be undone
    for stage in encoder:
        x = stage(x)
        size = x.shape[-2:]
        x, index = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)  # (B, C, H/2, W/2)
        switches.append((index, size))
    for stage in decoder:
        index, size = switches.pop()
        x = F.max_unpool2d(x, index, (2, 2), output_size=list(size))  # (B, C, 2H, 2W), mostly zeros
        x = stage(x)
    return x
