"""The networks of the lecture that take images alone, small enough for a test."""

from course import models
from course.models.fc_densenet import FCDenseNet
from course.models.pspnet import PSPNet

TINY = {"layers": (1, 1, 1, 1), "width": 4}

# name → (network without dropout, 3 classes and 3 channels; height and width)
SEGMENTATION = {
    "PixelClassifier": (lambda: models.PixelClassifier(3, in_channels=3, width=4), (111, 143)),
    "OverFeat": (lambda: models.OverFeat("fast", 3, width=6, dropout=0.0), (231, 263)),
    "FCN32s": (
        lambda: models.FCN32s(3, width=4, padding=1, upsampling="fixed", dropout=0.0),
        (45, 70),
    ),
    "FCN16s": (lambda: models.FCN16s(3, width=4, padding=1, dropout=0.0), (45, 70)),
    "FCN8s": (lambda: models.FCN8s(3, width=4, dropout=0.0), (45, 70)),
    "DeconvNet": (lambda: models.DeconvNet(3, width=4, window=2), (64, 70)),
    "SegNet": (lambda: models.SegNet(3, width=4), (45, 70)),
    "SegNetBasic": (lambda: models.SegNetBasic(3, width=4), (45, 70)),
    "UNet": (lambda: models.UNet(3, 3, width=4, depth=2), (44, 60)),
    "FCDenseNet": (
        lambda: FCDenseNet(3, blocks=(2, 2), bottleneck=2, growth=4, first_maps=8, dropout=0.0),
        (45, 70),
    ),
    "DeepLabLargeFOV": (lambda: models.DeepLabLargeFOV(3, width=4, dropout=0.0), (45, 70)),
    "DeepLabV2": (lambda: models.DeepLabV2(3, **TINY), (45, 70)),
    "PSPNet": (lambda: PSPNet(num_classes=3, auxiliary=True, dropout=0.0, **TINY), (45, 70)),
    "FastFCN": (lambda: models.FastFCN(3, auxiliary=True, dropout=0.0, **TINY), (45, 70)),
    "ReverseAttentionNet": (lambda: models.ReverseAttentionNet(3, **TINY), (45, 70)),
}

# What their dropout drops depends on the seed alone.
DETECTION = {
    "RCNN": (lambda: models.RCNN.miniature(3), (99, 99)),
    "YOLO": (lambda: models.YOLO.miniature(), (48, 48)),
    "Localizer": (lambda: models.Localizer.miniature(), (48, 48)),
}
