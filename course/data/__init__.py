"""Data: seeded synthetic scenes that need no file, and readers for real sets."""

from course.data.cell_images import cell_images
from course.data.container import IGNORE, Sample, Scenes, collate
from course.data.synthetic import boxes, cells, lines, scenes, textures

__all__ = [
    "IGNORE",
    "Sample",
    "Scenes",
    "boxes",
    "cell_images",
    "cells",
    "collate",
    "lines",
    "scenes",
    "textures",
]
