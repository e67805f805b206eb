"""Whose file is it, and is it the lab? Names that learning platforms and browsers make.

Moodle      Name Surname_123456_assignsubmission_file_/08_unet.ipynb, or all in the file name
Canvas      surnamename_LATE_123_456_08_unet-1.ipynb
nbgrader    submitted/STUDENT/08_unet/08_unet.ipynb
people      STUDENT/any.ipynb, STUDENT_08_unet.ipynb, 08_unet (1).ipynb, 08_unet-Copy1.ipynb
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import PurePosixPath

__all__ = ["Owner", "is_copy_of", "owner_of", "safe_id"]

_MOODLE = re.compile(r"(?P<name>.+)_(?P<number>\d+)_assignsubmission_[a-z]+_?(?P<file>.*)", re.S)
_CANVAS = re.compile(r"(?P<name>[^_]+)_(?:LATE_)?(?P<number>\d+)_\d+_(?P<file>.+)", re.I)
_COPY = re.compile(
    r"\s*(?:\((?P<a>\d+)\)|[-_ ]+(?:copy|копия|kopie|copie)[-_ ]?(?:\(?(?P<b>\d+)\)?)?)$", re.I
)
_COPY_OF = re.compile(r"^(?:copy of|копия|kopie von|copie de)\s+", re.I)
_CANVAS_AGAIN = re.compile(r"-(?P<a>\d+)$")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f/\\*?\[\]]")
_LONGEST_ID = 120  # bytes; a file system takes 255, and suffixes are still to come


@dataclass(frozen=True)
class Owner:
    """Who handed a file in.

    Attributes:
        name: as the platform wrote it; number: the platform's number, or "".
        file: the student's own name for the file.
    """

    name: str
    number: str
    file: str


def owner_of(parts: tuple[str, ...], lab: str) -> Owner:
    """The owner of a file, from its path below the source.

    >>> owner_of(("Иванова, Анна_00123_assignsubmission_file_", "08_unet.ipynb"), "08_unet")
    Owner(name='Иванова, Анна', number='00123', file='08_unet.ipynb')
    >>> owner_of(("submitted", "007", "08_unet", "08_unet.ipynb"), "08_unet").name
    '007'
    >>> owner_of(("petrov_08_unet (2).ipynb",), "08_unet")
    Owner(name='petrov', number='', file='08_unet (2).ipynb')
    """
    name = parts[-1]
    for part in parts:
        if match := _MOODLE.fullmatch(part):
            file = match["file"] if part == name and match["file"] else name
            return Owner(match["name"].strip(), match["number"], file)
    if len(parts) >= 3 and parts[-2] == lab:
        return Owner(parts[-3], "", name)
    if len(parts) >= 2:
        return Owner(parts[0], "", name)
    if match := _CANVAS.fullmatch(name):
        file = PurePosixPath(match["file"])
        return Owner(match["name"], match["number"], _CANVAS_AGAIN.sub("", file.stem) + file.suffix)
    return _flat(name, lab)


def _flat(name: str, lab: str) -> Owner:
    """`petrov_08_unet (2).ipynb`, `08_unet-petrov.ipynb`, `petrov.ipynb`."""
    path = PurePosixPath(name)
    stem = path.stem
    at = stem.casefold().find(lab.casefold())
    if at < 0:
        return Owner(stem, "", name)
    before, after = stem[:at], stem[at + len(lab) :]
    copy = _COPY.search(after)
    person = (before.strip("_- .") or after[: copy.start() if copy else None].strip("_- .")).strip()
    tail = copy[0] if copy else ""
    return Owner(person or stem, "", f"{lab}{tail}{path.suffix}")


def is_copy_of(file: str, lab: str) -> int | None:
    """The copy number when a file name is the lab's or a browser's copy of it, else None.

    >>> names = ["a.ipynb", "a (1).ipynb", "a-Copy2.ipynb", "Copy of A.ipynb", "b.ipynb"]
    >>> [is_copy_of(name, "a") for name in names]
    [0, 1, 2, 1, None]
    """
    path = PurePosixPath(unicodedata.normalize("NFC", file))
    if path.suffix.lower() != ".ipynb":
        return None
    stem, copies = path.stem.strip(), 0
    if _COPY_OF.match(stem):
        stem, copies = _COPY_OF.sub("", stem), 1
    while match := _COPY.search(stem):
        copies = max(copies, int(match["a"] or match["b"] or 1))
        stem = stem[: match.start()]
    return copies if stem.casefold() == lab.casefold() else None


def safe_id(name: str) -> str:
    """A student id that is a folder name and no pattern; nearly every name stays as it is.

    >>> safe_id("O'Brien, Пат"), safe_id("007"), safe_id("../a*b")
    ("O'Brien, Пат", '007', '_.._a_b')
    """
    text = _UNSAFE.sub("_", unicodedata.normalize("NFC", name)).strip()
    text = f"_{text}" if text.startswith((".", "-")) else text
    text = text.encode("utf-8")[:_LONGEST_ID].decode("utf-8", "ignore").strip()
    return text or "unnamed"
