"""Readers of real data sets, which users download; `COURSE_DATA` names the folder of all sets."""

from course.data.readers.base import DamagedFileError, Reader
from course.data.readers.coco import CocoFolder
from course.data.readers.download import download
from course.data.readers.microscopy import DSB2018, ISBI2012
from course.data.readers.pets import Pets
from course.data.readers.photographs import PHOTOGRAPHS, photographs
from course.data.readers.sources import SOURCES
from course.data.readers.street import CamVid, PennFudan
from course.data.readers.voc import BCCD, VOC

__all__ = [
    "BCCD",
    "DSB2018",
    "ISBI2012",
    "PHOTOGRAPHS",
    "SOURCES",
    "VOC",
    "CamVid",
    "CocoFolder",
    "DamagedFileError",
    "PennFudan",
    "Pets",
    "Reader",
    "download",
    "photographs",
]
