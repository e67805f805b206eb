"""Files that are no notebook, or a trap: refused in one clear sentence, and the class goes on."""

from __future__ import annotations

import functools
import json
import os
import stat
import zipfile
from pathlib import Path
from typing import Any

from .case import Work, broken, case, zipped

lab_file = "{lab}.ipynb"

broken("empty", b"", "is empty")
broken("white space", b" \n\t\n", "is empty")
broken("not JSON", b"my answers are 1, 2 and 3", "starts with 'my answers")
broken("binary", b"\x89PNG\r\n\x1a\n\xff\xfe\x00", "not text")
broken("UTF-16", '{"cells": []}'.encode("utf-16"), "not text")
broken("a saved web page", b"<!DOCTYPE html><html><body>", "saved web page")
broken("a list", b"[1, 2, 3]", "holds a list")
broken("a number", b"42", "not a notebook")
broken("no cells", b'{"nbformat": 4, "metadata": {}}', "no list of cells")
broken("cells that are text", b'{"cells": "none"}', "no list of cells")
broken("brackets without end", b"[" * 200_000, "not a notebook")
broken("objects without end", b'{"a":' * 200_000, "not a notebook|cut off|damaged")
broken("a number of a million digits", b'{"cells": [' + b"9" * 1_000_000 + b"]}", "damaged|not a")
broken("100,000 cells", b'{"cells": [' + b"{}," * 99_999 + b"{}]}", "100000 cells")
broken("an unfinished merge", b'{"cells": [\n<<<<<<< HEAD\n1\n=======\n>>>>>>> x\n]}', "git merge")
broken("saved as Latin-1", b'{"cells": [{"source": "caf\xe9"}]}', "not text")
broken("only hidden files", {".DS_Store": b"x"}, "hidden files")
broken("truncated", lambda work: work.bytes()[: len(work.bytes()) // 2], "cut off", real=True)
broken("null bytes", lambda work: work.bytes()[:900] + bytes(900), "cut off|damaged|not a notebook")
broken("another course's notebook", {"week3.ipynb": b'{"cells": [{"source": "1"}]}'}, "another")


def _big(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(200 * 2**20)  # a hole: it takes no room on the disk


broken("200 MB", {lab_file: _big}, "too large")
broken("a folder by that name", {lab_file: Path.mkdir}, "is a folder")
broken("a pipe by that name", {lab_file: os.mkfifo}, "pipe")
broken("a link to the gradebook", {lab_file: lambda p: p.symlink_to("../../gradebook.db")}, "link")
broken("a link that goes round", {lab_file: lambda p: p.symlink_to(p)}, "link")
broken("a link to /dev/zero", {lab_file: lambda p: p.symlink_to("/dev/zero")}, "link")
broken("only a web page and .DS_Store", {"lab.html": b"<html>", ".DS_Store": b"x"}, "only lab.html")
broken("only a report", {"report.pdf": b"%PDF-1.4", "essay.docx": b"PK"}, "no notebook")
broken("a .rar", {"work.rar": b"Rar!\x1a\x07\x00"}, "rar archive")
broken("a zip that is none", {"work.zip": b"PK\x03\x04 and then nothing"}, "zip")
broken("an empty zip", {"work.zip": b"PK\x05\x06" + bytes(18)}, "is empty")


def deep(work: Work) -> dict[str, Any]:
    """Zips in zips in zips."""
    data = zipped({f"{work.lab.name}.ipynb": work.bytes()})
    for _ in range(5):
        data = zipped({"more.zip": data})
    return {"work.zip": data}


def crowd(work: Work) -> dict[str, Any]:
    """A zip with more files than a class."""
    return {"work.zip": zipped({f"{number}.txt": b"" for number in range(25_000)})}


def bomb(work: Work) -> dict[str, Any]:
    """A notebook that unpacks to 300 MB of blanks."""
    return {"work.zip": zipped({f"{work.lab.name}.ipynb": b" " * 300_000_000})}


def layered_bomb(work: Work) -> dict[str, Any]:
    """A zip whose inner zips all unpack to 60 MB: each harmless, together many."""
    inner = zipped({"filler.bin": bytes(40_000_000)})
    return {"work.zip": zipped({f"{number}.zip": inner for number in range(100)})}


def locked(work: Work) -> dict[str, Any]:
    """A zip that claims to be encrypted."""
    data = bytearray(zipped({f"{work.lab.name}.ipynb": b"{}"}))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + at] |= 1
    return {"work.zip": bytes(data)}


def unknown_packing(work: Work) -> dict[str, Any]:
    """A zip with a compression nobody has."""
    data = bytearray(zipped({f"{work.lab.name}.ipynb": b"{}"}))
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        data[data.index(mark) + at] = 99
    return {"work.zip": bytes(data)}


def zip_link(work: Work) -> dict[str, Any]:
    """A link inside the student's own zip."""
    info = zipfile.ZipInfo(f"{work.lab.name}.ipynb")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return {"work.zip": zipped({info: b"/etc/passwd"})}  # type: ignore[dict-item]


broken("zips in zips in zips", deep, "archive inside an archive")
broken("a zip with 25,000 files", crowd, "holds 25000 files")
broken("a zip bomb", bomb, "from almost nothing")
broken("a layered zip bomb", layered_bomb, "no notebook|too large|more than|almost nothing")
broken("an encrypted zip", locked, "password")
broken("a zip with an unknown packing", unknown_packing, "damaged in the archive")
broken("a zip with a link", zip_link, "link")


def _class_zip(member: str, **options: Any) -> Any:
    """A class's zip in which one student's file has a dangerous path."""

    def source(folder: Path, student: str, data: bytes) -> Path:
        path = folder / "class.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            owner = f"{student}_77_assignsubmission_file_"
            archive.writestr(member.format(owner=owner), data)
        return path

    return source


def _up(work: Work) -> None:
    """The notebook itself is honest."""


outside = functools.partial(broken, data=_up, reason="outside the archive")
outside("a class zip with ..", source=_class_zip("{owner}/../../../../escaped/01_tiny.ipynb"))
outside("a class zip with a root", source=_class_zip("/{owner}/01_tiny.ipynb"))
outside("a class zip with a drive", source=_class_zip("C:\\{owner}\\01_tiny.ipynb"))


@case("broken", "stray files beside the notebook", flags="extra-files")
def _(work: Work) -> dict[str, Any]:
    strays = {".DS_Store": b"x", "Thumbs.db": b"x", "export.html": b"<script>1</script>"}
    return {f"{work.lab.name}.ipynb": work.bytes(), **strays}


@case("broken", "an honest zip with a bad neighbour", flags="extra-files")
def _(work: Work) -> dict[str, Any]:
    files = {f"{work.lab.name}.ipynb": work.bytes(), "../../../@TOKEN@.txt": b"x"}
    return {"work.zip": zipped(files)}


@case("broken", "cells of every wrong type", guilty=0.0, others=0.0, more_flags=True)
def _(work: Work) -> bytes:
    odd = [None, 1, "x", [], {}, {"source": 5}, {"cell_type": "code", "source": [1, None, "x"]}]
    odd += [{"cell_type": 7, "metadata": [], "id": {}, "source": {"a": 1}, "attachments": []}]
    named = {"cell_type": "code", "metadata": {"nbgrader": {"grade_id": [1]}}, "source": "1"}
    return json.dumps({"cells": [*odd, named], "nbformat": "four"}).encode()


@case("broken", "half of an emoji in the text", more_flags=True)
def _(work: Work) -> bytes:
    work.add("x = '\ud83d'", before=work.answer)
    return json.dumps(work.nb).encode()


@case("broken", "null bytes in the code", guilty=0.0)
def _(work: Work) -> None:
    work.answer.source += "\0"


@case("broken", "a notebook without cells", guilty=0.0, others=0.0, more_flags=True)
def _(work: Work) -> bytes:
    return b'{"cells": [], "nbformat": 4}'


@case("broken", "numbers that are none", more_flags=True)
def _(work: Work) -> bytes:
    return work.bytes().replace(b'"nbformat": 4', b'"nbformat": NaN, "x": 1e999')
