"""Data: seeded synthetic scenes that need no file, and readers for real sets."""

from course.data.container import IGNORE, Sample, Scenes, collate
from course.data.synthetic import boxes, cells, lines, scenes, textures

__all__ = [
    "IGNORE",
    "Sample",
    "Scenes",
    "boxes",
    "cells",
    "collate",
    "lines",
    "scenes",
    "textures",
]
