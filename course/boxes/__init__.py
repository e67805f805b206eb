"""Boxes: forms and overlap, suppression, regression targets, RoI pooling, average precision."""

from course.boxes.evaluation import MeanAveragePrecision, average_precision, mean_average_precision
from course.boxes.overlap import box_area, box_iou, clip_boxes, giou, to_cxcywh, to_xyxy
from course.boxes.roi_pooling import roi_max_pool
from course.boxes.suppression import batched_nms, greedy_nms, nms
from course.boxes.targets import assign, decode, encode, sample_rois

__all__ = [
    "MeanAveragePrecision",
    "assign",
    "average_precision",
    "batched_nms",
    "box_area",
    "box_iou",
    "clip_boxes",
    "decode",
    "encode",
    "giou",
    "greedy_nms",
    "mean_average_precision",
    "nms",
    "roi_max_pool",
    "sample_rois",
    "to_cxcywh",
    "to_xyxy",
]
