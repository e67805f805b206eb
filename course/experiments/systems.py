"""The table of systems: which paper, how large as published, and the size that a CPU can train.

Reading this table loads no torch: `course systems` answers at once. The small version keeps the
paper's structure and scales its maps down by `width` (or `growth`); changes of structure that small
images need are listed in `small`.
"""

from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SYSTEMS", "System", "find_system"]

Task = Literal["segmentation", "detection", "localization", "classification"]


@dataclass(frozen=True)
class System:
    """One system of `course.models`.

    `parameters` belong to the published configuration, the default of its class; `small` holds the
    arguments of the version for a CPU, and `width` names the one that scales it. `builder` is a
    class method that builds the small version, "" for the class itself. `background` says whether
    the classes that it counts include background. `lr` suits Adam from scratch.
    """

    name: str
    paper: str
    task: Task
    parameters: int
    small: dict[str, Any] = field(default_factory=dict)
    width: str = "width"
    builder: str = ""
    background: bool = True
    lr: float = 1e-3

    def build(
        self, classes: int, channels: int, size: int, *, width: int | None = None
    ) -> "nn.Module":
        """Build the small version for `classes` classes, background included.

        Args:
            classes: of the data set; detectors are told as they count.
            channels: of its images; detectors always take 3.
            size: side of its images in pixels.
            width: overrides the small width.

        Raises:
            ValueError: the arguments do not fit the system.

        >>> find_system("unet").build(2, 1, 64, width=4).in_channels
        1
        """
        from course import models

        options = dict(self.small)
        if width is not None:
            options[self.width] = width
        maker = getattr(models, self.name)
        if self.builder:
            maker = getattr(maker, self.builder)
        if self.name == "YOLO":
            if size % 8:
                raise ValueError(f"YOLO needs images of a multiple of 8 pixels, got {size}")
            options["S"] = size // 8
        if self.name == "Localizer":
            options["image_size"] = size
        if self.task in ("segmentation", "classification"):
            options["in_channels"] = channels
        return maker(num_classes=classes if self.background else classes - 1, **options)


_TINY = {"layers": (1, 1, 1, 1), "width": 16}

SYSTEMS: tuple[System, ...] = (
    System("PixelClassifier", "Cireşan 2012", "segmentation", 219_290, {"width": 12}),
    System(
        "OverFeat",
        "Sermanet 2014",
        "classification",
        144_656_488,
        {"variant": "fast", "width": 12, "dropout": 0.1},
    ),
    System(
        *("Localizer", "Sermanet 2014", "localization", 138_373_932),
        builder="miniature",
        lr=3e-3,
    ),
    System("RCNN", "Girshick 2014", "detection", 56_954_261, builder="miniature"),
    System("FastRCNN", "Girshick 2015", "detection", 134_690_729, builder="miniature"),
    System(
        *("YOLO", "Redmon 2016", "detection", 271_703_550),
        builder="miniature",
        background=False,
        lr=5e-3,
    ),
    System(
        *("DeconvNet", "Noh 2015", "segmentation", 251_805_653, {"width": 8, "window": 2}),
        lr=5e-3,
    ),
    System("SegNet", "Badrinarayanan 2017", "segmentation", 29_449_355, {"width": 8}, lr=5e-3),
    System("SegNetBasic", "Badrinarayanan 2017", "segmentation", 1_416_587, {"width": 16}),
    System("FCN32s", "Long 2015", "segmentation", 136_152_917, {"width": 16, "padding": 1}),
    System("FCN16s", "Long 2015", "segmentation", 134_815_994, {"width": 16, "padding": 1}),
    System("FCN8s", "Long 2015", "segmentation", 134_489_759, {"width": 16, "padding": 1}),
    System("UNet", "Ronneberger 2015", "segmentation", 31_030_658, {"width": 16, "depth": 2}),
    System(
        "FCDenseNet56",
        "Jégou 2017",
        "segmentation",
        1_376_795,
        {"growth": 4, "first_maps": 12},
        width="growth",
    ),
    System(
        "FCDenseNet67",
        "Jégou 2017",
        "segmentation",
        3_463_243,
        {"growth": 4, "first_maps": 12},
        width="growth",
    ),
    System(
        "FCDenseNet103",
        "Jégou 2017",
        "segmentation",
        9_322_091,
        {"growth": 4, "first_maps": 12},
        width="growth",
    ),
    System("DeepLabLargeFOV", "Chen 2015", "segmentation", 20_505_429, {"width": 16}),
    System("DeepLabV2", "Chen 2017", "segmentation", 44_048_532, _TINY),
    System(
        *("PSPNet50", "Zhao 2017", "segmentation", 46_716_373, {"width": 8, "auxiliary": True}),
        lr=5e-3,
    ),
    System(
        *("PSPNet101", "Zhao 2017", "segmentation", 65_708_501, {"width": 8, "auxiliary": True}),
        lr=5e-3,
    ),
    System("FastFCN", "Wu 2019", "segmentation", 66_328_149, _TINY | {"auxiliary": True}),
    System("ReverseAttentionNet", "Huang 2017", "segmentation", 43_274_346, _TINY),
)


def find_system(name: str) -> System:
    """Find a system by name, in any case; raises ValueError with the nearest names.

    >>> find_system("fcn8s").paper
    'Long 2015'
    >>> find_system("unett")
    Traceback (most recent call last):
    ValueError: no system 'unett'; did you mean UNet or SegNet? `course systems` lists all
    """
    by_name = {system.name.lower(): system for system in SYSTEMS}
    if name.lower() in by_name:
        return by_name[name.lower()]
    near = [by_name[n].name for n in get_close_matches(name.lower(), by_name, 3, 0.5)]
    hint = f"; did you mean {' or '.join(near)}?" if near else ";"
    raise ValueError(f"no system {name!r}{hint} `course systems` lists all")
