"""The sections of the lecture: the lab of each, and the names of the library that it explains."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["TOPICS", "Topic", "topic"]


@dataclass(frozen=True)
class Topic:
    """One section of the lecture.

    Attributes:
        number: number of the section and of its lab; 0 is the introduction, which has no lab.
        name: name of the lab's folder and notebook, and of the lecture's file.
        title: what it is about, a few words.
        library: modules of the library and the public names in each that the section explains.
    """

    number: int
    name: str
    title: str
    library: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def notebook(self) -> str:
        """Where the lab's notebook lies in the course's folder."""
        return f"labs/{self.name}/{self.name}.ipynb"


TOPICS = (
    Topic(0, "00_introduction", "Image segmentation"),
    Topic(
        1,
        "01_sliding_window",
        "Sliding windows",
        {
            "course.windows.patches": ("scan",),
            "course.windows.pyramid": ("image_pyramid",),
            "course.windows.dense": ("dense_equivalent",),
            "course.windows.grid": ("hard_negatives",),
            "course.boxes.suppression": ("nms",),
            "course.models.overfeat": ("OverFeat",),
        },
    ),
    Topic(
        2,
        "02_localization",
        "Classification and localization",
        {
            "course.models.localizer": ("Localizer",),
            "course.models.localization": ("localization_loss", "relative_boxes"),
            "course.boxes.overlap": ("box_iou", "giou", "to_cxcywh"),
        },
    ),
    Topic(
        3,
        "03_region_proposals",
        "Region proposals",
        {
            "course.proposals": ("selective_search",),
            "course.boxes.targets": ("assign", "encode"),
            "course.boxes.roi_pooling": ("roi_max_pool",),
            "course.models.rcnn": ("RCNN",),
            "course.models.fast_rcnn": ("FastRCNN",),
            "course.models.fast_rcnn_parts": ("fast_rcnn_loss",),
        },
    ),
    Topic(
        4,
        "04_yolo",
        "YOLO",
        {
            "course.models.yolo": ("YOLO",),
            "course.models.yolo_grid": ("make_targets", "yolo_loss", "decode_grid"),
            "course.boxes.evaluation": ("average_precision", "mean_average_precision"),
        },
    ),
    Topic(
        5,
        "05_patch_scanning",
        "Patch by patch",
        {
            "course.windows.patches": ("extract_patches", "mirror_border"),
            "course.geometry.layers": ("receptive_field",),
            "course.geometry.cost": ("count_macs",),
            "course.models.pixel_classifier": ("PixelClassifier",),
        },
    ),
    Topic(
        6,
        "06_upsampling",
        "Going up again",
        {
            "course.upsampling.unpooling": ("max_pool_with_switches", "unpool"),
            "course.upsampling.transposed": ("transposed_conv", "overlap_count"),
            "course.upsampling.bilinear": ("bilinear_kernel",),
            "course.models.deconvnet": ("DeconvNet",),
            "course.models.segnet": ("SegNet",),
        },
    ),
    Topic(
        7,
        "07_fcn",
        "Fully convolutional networks",
        {
            "course.models.fcn": ("FCN32s", "FCN16s", "FCN8s"),
            "course.upsampling.bilinear": ("bilinear_weight",),
            "course.metrics.scores": ("mean_iou",),
        },
    ),
    Topic(
        8,
        "08_unet",
        "U-Net",
        {
            "course.models.unet": ("UNet", "center_crop"),
            "course.geometry.unet_path": ("unet_output", "unet_sizes"),
            "course.tiling.predict": ("predict_tiled",),
            "course.losses.border": ("border_weights",),
        },
    ),
    Topic(
        9,
        "09_fc_densenet",
        "FC-DenseNet",
        {"course.models.fc_densenet": ("DenseBlock", "TransitionUp", "FCDenseNet103")},
    ),
    Topic(
        10,
        "10_deeplab",
        "DeepLab and the dense CRF",
        {
            "course.models.deeplab": ("DeepLabLargeFOV", "DeepLabV2", "predict_with_crf"),
            "course.models.aspp": ("ASPP",),
            "course.crf.inference": ("mean_field",),
            "course.crf.lattice": ("PermutohedralLattice",),
        },
    ),
    Topic(
        11,
        "11_pspnet",
        "PSPNet",
        {
            "course.models.pspnet": ("PyramidPooling", "PSPNet50", "auxiliary_loss"),
            "course.training.schedules": ("poly_lr",),
        },
    ),
    Topic(
        12,
        "12_fastfcn",
        "FastFCN",
        {
            "course.models.fastfcn": ("JPU", "FastFCN"),
            "course.models.resnet": ("ResNet",),
            "course.geometry.cost": ("macs_by_layer",),
        },
    ),
    Topic(
        13,
        "13_reverse_attention",
        "Reverse attention",
        {
            "course.models.reverse_attention": (
                "reverse_attention_mask",
                "ReverseAttentionNet",
                "reverse_attention_loss",
            )
        },
    ),
    Topic(
        14,
        "14_metrics",
        "Metrics and the ladder",
        {
            "course.metrics.confusion": ("ConfusionMatrix",),
            "course.metrics.scores": ("mean_iou", "dice"),
            "course.metrics.boundary": ("boundary_f",),
            "course.metrics.instances": ("match_instances",),
            "course.ladder.chart": ("score_table",),
        },
    ),
)


def topic(number: int) -> Topic:
    """The section of that number.

    Raises:
        ValueError: there is none.

    Example:
        >>> topic(8).notebook
        'labs/08_unet/08_unet.ipynb'
    """
    if number not in range(len(TOPICS)):
        raise ValueError(f"expected the number of a section, 0 to {len(TOPICS) - 1}; got {number}")
    return TOPICS[number]
