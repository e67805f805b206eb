"""The systems of the lecture: one paper, one module, the published configuration by default.

Every segmentation model maps images `(B, C, H, W)` to logits `(B, K, H', W')`; every detector
returns boxes `(x0, y0, x1, y1)` with scores and labels. Names load on first use, so importing
`course.models` costs nothing and a lab pays only for the paper that it studies. `torch.compile`
takes each of them as one graph, in training and in evaluation; Fast R-CNN says why it cannot.

>>> from course.models import UNet
>>> UNet.__name__
'UNet'
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # lets editors and type checkers follow the lazy names
    from course.models.deconvnet import DeconvNet as DeconvNet
    from course.models.deeplab import DeepLabLargeFOV as DeepLabLargeFOV
    from course.models.deeplab import DeepLabV2 as DeepLabV2
    from course.models.fast_rcnn import FastRCNN as FastRCNN
    from course.models.fastfcn import JPU as JPU
    from course.models.fastfcn import FastFCN as FastFCN
    from course.models.fc_densenet import FCDenseNet as FCDenseNet
    from course.models.fc_densenet import FCDenseNet56 as FCDenseNet56
    from course.models.fc_densenet import FCDenseNet67 as FCDenseNet67
    from course.models.fc_densenet import FCDenseNet103 as FCDenseNet103
    from course.models.fcn import FCN8s as FCN8s
    from course.models.fcn import FCN16s as FCN16s
    from course.models.fcn import FCN32s as FCN32s
    from course.models.localizer import Localizer as Localizer
    from course.models.overfeat import OverFeat as OverFeat
    from course.models.pixel_classifier import PixelClassifier as PixelClassifier
    from course.models.pspnet import PSPNet as PSPNet
    from course.models.pspnet import PSPNet50 as PSPNet50
    from course.models.pspnet import PSPNet101 as PSPNet101
    from course.models.rcnn import RCNN as RCNN
    from course.models.reverse_attention import ReverseAttentionNet as ReverseAttentionNet
    from course.models.segnet import SegNet as SegNet
    from course.models.segnet import SegNetBasic as SegNetBasic
    from course.models.unet import UNet as UNet
    from course.models.yolo import YOLO as YOLO

_MODULES = {  # public name -> module of this package
    "DeconvNet": "deconvnet",
    "DeepLabLargeFOV": "deeplab",
    "DeepLabV2": "deeplab",
    "FCDenseNet": "fc_densenet",
    "FCDenseNet56": "fc_densenet",
    "FCDenseNet67": "fc_densenet",
    "FCDenseNet103": "fc_densenet",
    "FCN8s": "fcn",
    "FCN16s": "fcn",
    "FCN32s": "fcn",
    "FastFCN": "fastfcn",
    "FastRCNN": "fast_rcnn",
    "JPU": "fastfcn",
    "Localizer": "localizer",
    "OverFeat": "overfeat",
    "PSPNet": "pspnet",
    "PSPNet50": "pspnet",
    "PSPNet101": "pspnet",
    "PixelClassifier": "pixel_classifier",
    "RCNN": "rcnn",
    "ReverseAttentionNet": "reverse_attention",
    "SegNet": "segnet",
    "SegNetBasic": "segnet",
    "UNet": "unet",
    "YOLO": "yolo",
}

__all__ = list(_MODULES)  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; it has {__all__}")
    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
