"""A small call of every public function that takes tensors, for `test_functions_on_gpu.py`.

Each entry builds a function, its arguments and its options anew, always on the CPU.
"""

import torch
from model_checks import two_scenes
from torch import nn

import course.models
from course import (
    boxes,
    crf,
    data,
    geometry,
    losses,
    metrics,
    plots,
    proposals,
    tiling,
    upsampling,
    windows,
)
from course.models import (
    deeplab,
    detection,
    encnet,
    fast_rcnn,
    layers,
    localization,
    localizer,
    pspnet,
    rcnn,
    rcnn_stages,
    reverse_attention,
    unet,
    yolo_grid,
)
from course.models.fast_rcnn import FastRCNN
from course.models.rcnn import RCNN
from course.models.yolo import YOLO


def given(function, *args, **kwargs):
    return function, args, kwargs


def graded(function):
    """The function's value and the gradient of its first argument."""

    def both(x, *args, **kwargs):
        x = x.clone().requires_grad_()
        y = function(x, *args, **kwargs)
        return y.detach(), *torch.autograd.grad((y * y.detach()).sum(), x)

    return both


def corners(n, span=40.0):
    corner = span / 2 * torch.rand(n, 2)
    return torch.cat([corner, corner + 2 + span / 2 * torch.rand(n, 2)], 1)


def classes(*shape, high=3, ignored=True):
    labels = torch.randint(0, high, shape)
    return torch.where(torch.rand(shape) < 0.1, 255, labels) if ignored else labels


def probabilities(*shape):
    return torch.randn(*shape).softmax(1)


def objects(n=2, high=3):
    return {"boxes": corners(n), "labels": torch.randint(1, high + 1, (n,))}


def found(n=6):
    return {**objects(n), "scores": torch.rand(n)}


def net(module):
    """In double precision, so that rounding decides nothing."""
    return module.double().eval()


def seeing(localizer):
    """With a box well inside the image, of a class that is not background."""
    nn.init.constant_(localizer.class_head.bias[1:], 9.0)
    localizer.box_head.bias.data.copy_(torch.tensor([0.2, 0.3, 0.7, 0.8]))
    return net(localizer)


def images(n=2, h=40, w=48, channels=3):
    return torch.rand(n, channels, h, w, dtype=torch.float64)


def text(plot):
    return lambda *args, **kwargs: plot(*args, **kwargs).alt


def counted(pred, target):
    seen, same = metrics.ConfusionMatrix(3), metrics.ConfusionMatrix(3)
    for one in (seen, same):
        one.update(pred, target)
    seen.merge(same)
    return seen.matrix, seen.mean_iou()


def filtered(features, values):
    lattice = crf.PermutohedralLattice(features)
    lattice.normalize()
    return lattice.filter(values)


def fitted(model, *args, fit):
    fit(model, *args)
    return dict(model.named_buffers())


def patch_net():
    return net(nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
                             nn.Linear(16, 2)))  # fmt: skip


def loss_terms(shape=(2, 3, 5, 7)):
    return torch.randn(shape), classes(shape[0], *shape[2:])


CALLS = {
    "boxes.assign": lambda: given(boxes.assign, corners(30), corners(4), 0.5, 0.3),
    "boxes.average_precision": lambda: given(
        boxes.average_precision, torch.rand(20), torch.rand(20) < 0.5, 20, method="11-point"
    ),
    "boxes.batched_nms": lambda: given(
        boxes.batched_nms, corners(50), torch.rand(50), torch.randint(0, 3, (50,)), 0.3
    ),
    "boxes.box_area": lambda: given(boxes.box_area, corners(9)),
    "boxes.box_iou": lambda: given(graded(boxes.box_iou), corners(9), corners(7)),
    "boxes.clip_boxes": lambda: given(boxes.clip_boxes, corners(9), (20, 25)),
    "boxes.decode": lambda: given(
        boxes.decode, torch.randn(9, 3, 4), corners(9)[:, None], stds=(0.1, 0.1, 0.2, 0.2)
    ),
    "boxes.encode": lambda: given(boxes.encode, corners(9), corners(9), means=(0.0, 1.0, 2.0, 3.0)),
    "boxes.giou": lambda: given(graded(boxes.giou), corners(9), corners(7)),
    "boxes.greedy_nms": lambda: given(boxes.greedy_nms, corners(700), torch.rand(700), 0.3),
    "boxes.mean_average_precision": lambda: given(
        boxes.mean_average_precision, [found(), found()], [objects(), objects()], 0.1
    ),
    "boxes.nms": lambda: given(boxes.nms, corners(50), torch.rand(50), 0.3),
    "boxes.roi_max_pool": lambda: given(
        graded(boxes.roi_max_pool), torch.randn(2, 3, 9, 11), [corners(5), corners(4) - 4], 3, 0.25
    ),
    "boxes.sample_rois": lambda: given(
        boxes.sample_rois, torch.randint(-1, 2, (40,)), 12, 0.25, torch.Generator().manual_seed(0)
    ),
    "boxes.to_cxcywh": lambda: given(boxes.to_cxcywh, corners(9)),
    "boxes.to_xyxy": lambda: given(boxes.to_xyxy, corners(9)),
    "windows.dense_equivalent": lambda: given(
        lambda chain, x: windows.dense_equivalent(chain)(x), patch_net(), images(1, 11, 14, 1)
    ),
    "windows.extract_patches": lambda: given(
        windows.extract_patches, torch.rand(2, 5, 6), 4, stride=2
    ),
    "windows.hard_negatives": lambda: given(
        windows.hard_negatives, torch.rand(20), classes(20, ignored=False), 4
    ),
    "windows.image_pyramid": lambda: given(windows.image_pyramid, torch.rand(3, 40, 51), 0.7, 12),
    "windows.mirror_border": lambda: given(windows.mirror_border, torch.rand(3, 5, 4), 12),
    "windows.scan": lambda: given(windows.scan, images(1, 5, 7, 1)[0], patch_net(), 6, batch=4),
    "windows.score_map": lambda: given(
        windows.score_map, torch.rand(2, 9, 8), lambda v: v.amax((1, 2, 3)), 4, 2, normalize=True
    ),
    "windows.to_image_coords": lambda: given(
        windows.to_image_coords, corners(4), windows.PyramidLevel(torch.rand(3, 20, 31), (40, 61))
    ),
    "geometry.count_macs": lambda: given(geometry.count_macs, patch_net().float(), (1, 1, 6, 6)),
    "geometry.layers_of": lambda: given(geometry.layers_of, nn.Conv2d(1, 2, 3)),
    "geometry.macs_by_layer": lambda: given(
        geometry.macs_by_layer, patch_net().float(), (1, 1, 6, 6)
    ),
    "upsampling.bed_of_nails": lambda: given(upsampling.bed_of_nails, torch.rand(2, 3, 4, 5), 3),
    "upsampling.bilinear_upsample": lambda: given(
        graded(upsampling.bilinear_upsample), torch.rand(2, 3, 4, 5), 4
    ),
    "upsampling.upsampled_argmax": lambda: given(
        upsampling.upsampled_argmax, torch.rand(2, 3, 4, 5), 4
    ),
    "upsampling.conv_as_matrix": lambda: given(
        upsampling.conv_as_matrix, torch.rand(2, 3, 3, 2), (5, 4), 2, 1
    ),
    # Whole numbers, so that maxima are shared: the first in reading order wins everywhere.
    "upsampling.max_pool_with_switches": lambda: given(
        upsampling.max_pool_with_switches, (3 * torch.rand(2, 3, 7, 9)).floor(), 3, 2
    ),
    "upsampling.nearest": lambda: given(upsampling.nearest, torch.rand(2, 3, 4, 5), 3),
    "upsampling.transposed_conv": lambda: given(
        upsampling.transposed_conv, torch.rand(2, 3, 4, 5), torch.rand(3, 2, 3, 3), 2, 1
    ),
    "upsampling.transposed_conv_by_matrix": lambda: given(
        upsampling.transposed_conv_by_matrix, torch.rand(2, 3, 4, 5), torch.rand(3, 2, 3, 3), 2, 1
    ),
    "upsampling.unpool": lambda: given(
        upsampling.unpool, torch.rand(2, 3, 2, 2), torch.randperm(24).view(2, 3, 2, 2), (4, 6)
    ),
    "crf.PermutohedralLattice.filter": lambda: given(filtered, images(1, 1, 60)[0, 0].view(30, 2),
                                                     images(1, 1, 60)[0, 0].view(30, 2)),
    # At 1.3 pixels no pixel lies on a lattice point, where rounding would choose its simplex.
    "crf.mean_field": lambda: given(
        crf.mean_field, images(channels=4), images(), sigma_gamma=1.3
    ),
    "crf.mean_field exact": lambda: given(
        crf.mean_field, torch.randn(2, 3, 9, 8), torch.rand(2, 3, 9, 8), method="exact"
    ),
    "crf.mean_field_step": lambda: given(
        crf.mean_field_step, probabilities(6, 3), torch.rand(6, 3), torch.rand(2, 6, 6), (1.0, 2.0)
    ),
    "crf.normalize_symmetric": lambda: given(crf.normalize_symmetric, torch.rand(2, 6, 6)),
    "crf.pairwise_kernel": lambda: given(crf.pairwise_kernel, torch.rand(3, 6, 5), 4.0, 9.0, 2.0),
    "metrics.ConfusionMatrix.update": lambda: given(
        counted, classes(2, 9, 8, ignored=False), classes(2, 9, 8)
    ),
    "metrics.boundary_f": lambda: given(
        metrics.boundary_f, classes(2, 9, 8, ignored=False), classes(2, 9, 8), 1.5, num_classes=3
    ),
    "metrics.confusion_matrix": lambda: given(
        metrics.confusion_matrix, classes(2, 9, 8, ignored=False), classes(2, 9, 8).byte(), 3
    ),
    "metrics.count_error": lambda: given(
        metrics.count_error, classes(2, 9, 8, ignored=False), classes(2, 9, 8)
    ),
    **{
        f"metrics.{score}": lambda score=score: given(
            getattr(metrics, score), torch.tensor([[9, 2, 0], [1, 7, 0], [0, 0, 0]])
        )
        for score in ("dice", "frequency_weighted_iou", "iou", "mean_accuracy", "mean_iou",
                      "pixel_accuracy", "precision", "recall")
    },
    "metrics.dice_from_iou": lambda: given(metrics.dice_from_iou, torch.rand(4)),
    "metrics.instance_labels": lambda: given(metrics.instance_labels, torch.rand(2, 9, 8) < 0.4, 8),
    "metrics.iou_from_dice": lambda: given(metrics.iou_from_dice, torch.rand(4)),
    "metrics.match_instances": lambda: given(
        metrics.match_instances, classes(9, 8, ignored=False), classes(9, 8), 0.2
    ),
    "metrics.soft_dice": lambda: given(metrics.soft_dice, probabilities(2, 3, 5, 7),
                                       classes(2, 5, 7)),
    "losses.border_weights": lambda: given(
        losses.border_weights, classes(2, 20, 30, high=9, ignored=False) * (torch.rand(30) < 0.3)
    ),
    "losses.class_frequencies": lambda: given(losses.class_frequencies, classes(2, 5, 7), 3),
    "losses.cross_entropy": lambda: given(
        graded(losses.cross_entropy), *loss_terms(), weight_map=torch.rand(2, 5, 7),
        class_weights=torch.rand(3),
    ),
    "losses.median_frequency_weights": lambda: given(
        losses.median_frequency_weights, torch.tensor([0.6, 0.3, 0.1, 0.0])
    ),
    "losses.soft_dice": lambda: given(
        losses.soft_dice, probabilities(2, 3, 5, 7), probabilities(2, 3, 5, 7), over_batch=True
    ),
    "losses.soft_dice_loss": lambda: given(
        graded(losses.soft_dice_loss), probabilities(2, 3, 5, 7), classes(2, 5, 7)
    ),
    "tiling.mirror_pad": lambda: given(tiling.mirror_pad, torch.rand(3, 4, 5), (9, 0, 2, 5)),
    "tiling.mirrored_window": lambda: given(
        tiling.mirrored_window, torch.rand(3, 4, 5), (-3, 1, 9, 6)
    ),
    "tiling.predict_tiled": lambda: given(
        tiling.predict_tiled, net(unet.UNet(width=4, depth=2)), images(2, 61, 50, 1)
    ),
    "proposals.propose": lambda: given(proposals.propose, two_scenes()[0][0].clamp(0, 1)),
    "proposals.segment_proposals": lambda: given(
        proposals.segment_proposals, two_scenes()[0][1].clamp(0, 1)
    ),
    "data.Scenes.to": lambda: given(lambda one: one[[1, 0]][0], data.boxes(3, 32)),
    "data.elastic": lambda: given(
        data.elastic, data.cells(1, 32)[0], data.displacements((32, 32), sigma=2.0)
    ),
    "data.collate": lambda: given(data.collate, list(data.boxes(3, 32))),
    "data.crops": lambda: given(data.crops, list(data.cells(2)), 3, 40, seed=0),
    "plots.bars": lambda: given(text(plots.bars), ["a", "b"], torch.rand(2), title="Bars"),
    "plots.compare": lambda: given(
        text(plots.compare), torch.rand(4, 5), torch.rand(4, 5), title="Maps"
    ),
    "plots.compare_values": lambda: given(
        text(plots.compare_values), torch.rand(4), torch.rand(4), title="Numbers"
    ),
    "plots.curves": lambda: given(text(plots.curves), {"loss": torch.rand(9)}, title="Curves"),
    "plots.heat": lambda: given(text(plots.heat), torch.rand(4, 5), title="Map"),
    "plots.outlines": lambda: given(text(plots.outlines), classes(9, 8, ignored=False)),
    "plots.show_boxes": lambda: given(
        text(plots.show_boxes), torch.rand(3, 40, 40), corners(2), scores=torch.rand(2)
    ),
    "plots.show_images": lambda: given(text(plots.show_images), torch.rand(2, 3, 4, 5)),
    "plots.show_instances": lambda: given(text(plots.show_instances), data.cells(2)),
    "plots.show_masks": lambda: given(
        text(plots.show_masks), torch.rand(2, 3, 9, 8), classes(2, 9, 8)
    ),
    "models.deeplab.DeepLabLargeFOV.scores": lambda: given(
        deeplab.DeepLabLargeFOV.scores, net(deeplab.DeepLabLargeFOV(3, width=4)), images()
    ),
    "models.deeplab.DeepLabV2.scores": lambda: given(
        deeplab.DeepLabV2.scores, net(deeplab.DeepLabV2(3, layers=(1, 1, 1, 1), width=4)), images()
    ),
    "models.multi_scale.multi_scale_max": lambda: given(
        deeplab.multi_scale_max, torch.tanh, images()
    ),
    "models.deeplab.predict_with_crf": lambda: given(
        deeplab.predict_with_crf,
        net(deeplab.DeepLabLargeFOV(3, width=2)),
        images(),
        sigma_gamma=1.3,
    ),
    "models.detection.check_boxes": lambda: given(detection.check_boxes, corners(3)),
    "models.detection.check_labels": lambda: given(
        detection.check_labels, torch.tensor([1, 3]), 3
    ),
    "models.detection.check_proposals": lambda: given(
        detection.check_proposals, images(), [corners(3), corners(0)]
    ),
    "models.detection.check_targets": lambda: given(
        detection.check_targets, images(), [objects(), objects()], 3
    ),
    "models.detection.check_side": lambda: given(detection.check_side, images(w=40), 40, "YOLO"),
    "models.detection.has_area": lambda: given(detection.has_area, torch.rand(9, 4)),
    "models.detection.resize_images": lambda: given(
        graded(detection.resize_images), images(), (33, 60)
    ),
    "models.detection.sample_regions": lambda: given(
        detection.sample_regions, corners(30), objects(4), 12, foreground=5,
        generator=torch.Generator().manual_seed(0),
    ),
    "models.detection.select_detections": lambda: given(
        detection.select_detections, corners(20), torch.rand(20, 3), (30, 35),
        score_threshold=0.2, nms_threshold=0.3, max_detections=9,
    ),
    "models.fast_rcnn.FastRCNN.detect": lambda: given(
        FastRCNN.detect, net(FastRCNN.miniature()), images(), [corners(9), corners(0)]
    ),
    "models.fast_rcnn.FastRCNN.fit_targets": lambda: given(
        fitted, net(FastRCNN.miniature()), [objects(9), objects(9)], [corners(99), corners(99)],
        fit=FastRCNN.fit_targets,
    ),
    "models.fast_rcnn.FastRCNN.loss": lambda: given(
        FastRCNN.loss, net(FastRCNN(4, width=8, stages=3, sides=(60, 100))), images(),
        [objects(), objects()], [corners(30), corners(30)],
        generator=torch.Generator().manual_seed(0),
    ),
    "models.fast_rcnn_parts.fast_rcnn_loss": lambda: given(
        fast_rcnn.fast_rcnn_loss, torch.randn(9, 4), torch.randn(9, 4, 4),
        classes(9, high=4, ignored=False), torch.randn(9, 4),
    ),
    "models.fast_rcnn_parts.truncated_svd": lambda: given(
        lambda layer, x: fast_rcnn.truncated_svd(layer, 4)(x), net(nn.Linear(9, 7)),
        images(1, 1, 9)[0, 0],
    ),
    "models.layers.check_images": lambda: given(
        layers.check_images, images(), 3, "Net"
    ),
    "models.layers.check_levels": lambda: given(
        layers.check_levels, images(), [("conv1", 3, 1, 0)], 2, "Net"
    ),
    "models.layers.check_normalised": lambda: given(
        layers.check_normalised, nn.BatchNorm2d(3), 2, "Net: its features"
    ),
    "models.layers.upsample_aligned": lambda: given(
        layers.upsample_aligned, images(2, 3, 4), (22, 25)
    ),
    "models.localizer.Localizer.detect": lambda: given(
        localizer.Localizer.detect, seeing(localizer.Localizer.miniature()), images(2, 40, 50)
    ),
    "models.localizer.Localizer.loss": lambda: given(
        localizer.Localizer.loss, net(localizer.Localizer.miniature(class_specific=True)),
        images(2, 48, 48), torch.tensor([0, 2]), corners(2), torch.tensor([False, True]),
    ),
    "models.localization.boxes_of": lambda: given(
        localization.boxes_of, torch.rand(9, 3, 4), torch.randint(0, 3, (9, 2))
    ),
    "models.localization.localization_accuracy": lambda: given(
        localization.localization_accuracy, torch.randn(99, 3), corners(99),
        torch.randint(0, 3, (99,)), corners(99), guesses=2, threshold=0.1,
    ),
    "models.localization.localization_loss": lambda: given(
        localization.localization_loss, torch.randn(9, 3), corners(9), torch.randint(0, 3, (9,)),
        corners(9),
    ),
    "models.localization.relative_boxes": lambda: given(
        localization.relative_boxes, corners(9), (40, 50)
    ),
    "models.overfeat.OverFeat.forward_offsets": lambda: given(
        course.models.OverFeat.forward_offsets, net(course.models.OverFeat("fast", 3, width=6)),
        images(1, 231, 263),
    ),
    "models.pixel_classifier.PixelClassifier.forward_dense": lambda: given(
        course.models.PixelClassifier.forward_dense, net(course.models.PixelClassifier(width=4)),
        images(1, 50, 61, 1),
    ),
    "models.encnet.context_loss": lambda: given(
        encnet.context_loss,
        encnet.WithContext(
            torch.randn(2, 3, 5, 7), torch.randn(2, 3, 5, 7), torch.randn(2, 3)
        ),
        classes(2, 5, 7),
    ),
    "models.pspnet.auxiliary_loss": lambda: given(
        pspnet.auxiliary_loss,
        pspnet.WithAuxiliary(torch.randn(2, 3, 5, 7), torch.randn(2, 3, 5, 7)), classes(2, 5, 7),
    ),
    "models.rcnn.RCNN.describe": lambda: given(
        RCNN.describe, net(RCNN.miniature()), images(2, 99, 99)
    ),
    "models.rcnn.RCNN.detect": lambda: given(
        RCNN.detect, net(RCNN.miniature()), images(), [corners(9).double(), corners(0).double()]
    ),
    "models.rcnn.RCNN.loss": lambda: given(
        RCNN.loss, net(RCNN.miniature()), images(), [objects(), objects()],
        [corners(30), corners(30)], regions=16, generator=torch.Generator().manual_seed(0),
    ),
    "models.rcnn.RCNN.warp": lambda: given(
        RCNN.warp, net(RCNN.miniature()), images()[0], corners(3)
    ),
    "models.rcnn_warping.warp_regions": lambda: given(
        rcnn.warp_regions, torch.rand(3, 40, 48), corners(3), size=30, context=4
    ),
    "models.rcnn_stages.fit_ridge": lambda: given(
        rcnn_stages.fit_ridge, torch.rand(20, 30), torch.rand(20, 4), 1.0
    ),
    "models.rcnn_stages.fit_stages": lambda: given(
        fitted, net(RCNN.miniature()), images(), [objects(), objects()],
        [corners(9), corners(9)], fit=rcnn_stages.fit_stages,
    ),
    "models.rcnn_stages.fit_svm": lambda: given(
        rcnn_stages.fit_svm, torch.rand(20, 5), 2 * torch.randint(0, 2, (20,)) - 1, C=1.0
    ),
    "models.rcnn_stages.regression_targets": lambda: given(
        rcnn_stages.regression_targets, corners(99), objects(9)
    ),
    "models.rcnn_stages.svm_targets": lambda: given(
        rcnn_stages.svm_targets, corners(30), objects(4), 3
    ),
    "models.reverse_attention.ReverseAttentionNet.branches": lambda: given(
        course.models.ReverseAttentionNet.branches,
        net(course.models.ReverseAttentionNet(3, layers=(1, 1, 1, 1), width=4)), images(),
    ),
    "models.reverse_attention.reverse_attention": lambda: given(
        reverse_attention.reverse_attention, torch.randn(9), torch.randn(9)
    ),
    "models.reverse_attention.reverse_attention_loss": lambda: given(
        reverse_attention.reverse_attention_loss,
        reverse_attention.ReverseAttentionOutput(*torch.randn(3, 2, 3, 5, 7)), classes(2, 5, 7),
    ),
    "models.reverse_attention.reverse_attention_mask": lambda: given(
        reverse_attention.reverse_attention_mask, torch.randn(9)
    ),
    "models.unet.center_crop": lambda: given(unet.center_crop, images(2, 8, 12), 4, 6),
    "models.yolo.YOLO.detect": lambda: given(
        YOLO.detect, net(YOLO.miniature()), images(), score_threshold=0.0
    ),
    "models.yolo.YOLO.loss": lambda: given(
        YOLO.loss, net(YOLO.miniature()), images(), [objects(), objects()]
    ),
    "models.yolo_grid.decode_grid": lambda: given(
        yolo_grid.decode_grid, torch.randn(2, 7, 7, 13), (40, 50)
    ),
    "models.yolo_grid.make_targets": lambda: given(
        yolo_grid.make_targets, corners(6), torch.randint(1, 4, (6,)), (40, 40), num_classes=3
    ),
    "models.yolo_grid.responsible": lambda: given(
        yolo_grid.responsible, torch.rand(9, 2, 4), torch.rand(9, 4)
    ),
    "models.yolo_grid.split_prediction": lambda: given(
        yolo_grid.split_prediction, torch.randn(2, 7, 7, 13), 2
    ),
    "models.yolo_grid.yolo_loss": lambda: given(
        yolo_grid.yolo_loss, torch.randn(2, 7, 7, 13),
        torch.stack([yolo_grid.make_targets(corners(3), torch.tensor([1, 2, 3]), (40, 40),
                                            num_classes=3) for _ in range(2)]),
    ),
}  # fmt: skip

NOT_CALLED = {
    "plots.canvas": "draws nothing itself",
    "plots.draw_tiles": "takes whole numbers",
    "plots.render": "takes a matplotlib figure",
    "plots.table": "takes text and numbers",
    "proposals.selective_search": "needs OpenCV; moves its boxes as segment_proposals does",
    "models.deeplab.atrous_vgg16": "builds a network",
    "models.layers.he_init": "draws random weights where they are",
    "models.layers.use_channels_last": "changes no value",
    "models.pretrained.load_fitting": "copies what it is given",
    "models.pretrained.pretrained_state": "returns the state dict that it is given",
    "models.vgg.load_vgg16": "copies pretrained weights of the full size",
    "models.vgg.load_vgg16_classifier": "copies what it is given",
}

NO_TENSOR = {
    "boxes.average_precision": "one float",
    "boxes.mean_average_precision": "floats by class",
    "geometry.count_macs": "a whole number",
    "geometry.layers_of": "whole numbers",
    "geometry.macs_by_layer": "whole numbers",
    "models.localization.localization_accuracy": "one float",
    **{name: "the description of a picture" for name in CALLS if name.startswith("plots.")},
    **{name: "nothing, or an error" for name in CALLS if ".check_" in name},
}
