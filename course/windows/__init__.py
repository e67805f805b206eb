"""Sliding windows and patches: grids, pyramids, scanning patch by patch, and all at once."""

from course.windows.dense import dense_equivalent
from course.windows.grid import hard_negatives, score_map, window_grid
from course.windows.patches import extract_patches, mirror_border, scan
from course.windows.pyramid import PyramidLevel, image_pyramid, to_image_coords

__all__ = [
    "PyramidLevel",
    "dense_equivalent",
    "extract_patches",
    "hard_negatives",
    "image_pyramid",
    "mirror_border",
    "scan",
    "score_map",
    "to_image_coords",
    "window_grid",
]
