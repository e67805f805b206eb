"""Data: seeded synthetic scenes that need no file, and readers for real sets.

Everything hands out dictionaries of tensors under the same names (`course.data.container`).
"""

from course.data.cell_images import cell_images, crops
from course.data.container import IGNORE, Sample, Scenes, collate
from course.data.elastic import displacements, elastic
from course.data.readers import (
    BCCD,
    DSB2018,
    ISBI2012,
    VOC,
    CamVid,
    CocoFolder,
    DamagedFileError,
    PennFudan,
    Pets,
    download,
    photographs,
)
from course.data.synthetic import boxes, cells, lines, scenes, textures

__all__ = [
    "BCCD",
    "DSB2018",
    "IGNORE",
    "ISBI2012",
    "VOC",
    "CamVid",
    "CocoFolder",
    "DamagedFileError",
    "PennFudan",
    "Pets",
    "Sample",
    "Scenes",
    "boxes",
    "cell_images",
    "cells",
    "collate",
    "crops",
    "displacements",
    "download",
    "elastic",
    "lines",
    "photographs",
    "scenes",
    "textures",
]
