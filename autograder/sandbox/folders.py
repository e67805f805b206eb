"""Folders of a fork server: made private, and cleared away whatever was left in them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

__all__ = ["clear_leftovers", "make_folder", "make_work", "remove"]

_PREFIX = "autograder-box-"


def make_folder() -> Path:
    """A folder for one server. Workers that are other users may pass through it, not look."""
    clear_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-"))
    folder.chmod(0o711)
    return folder


def make_work(folder: Path, slot: int, files: Path | None, uid: int | None) -> Path:
    """A folder for one worker that has no file system of its own: a copy of `files`.

    Args:
        folder: the server's.
        slot: the worker's place, for the name.
        files: what it gets a copy of.
        uid: the user that it will be, or None for ours.
    """
    work = folder / f"{slot}-{time.monotonic_ns()}"
    if files is not None:
        shutil.copytree(files, work, symlinks=True)
    else:
        work.mkdir()
    if uid is not None:
        for path in (work, *work.rglob("*")):
            os.chown(path, uid, uid, follow_symlinks=False)
    work.chmod(0o700)
    return work


def clear_leftovers() -> None:
    """Delete the folders of graders that were killed before they could."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}[0-9]*-*"):
        pid = folder.name.removeprefix(_PREFIX).partition("-")[0]
        if not pid.isdecimal():
            continue  # not one of ours
        with contextlib.suppress(OSError):
            if folder.lstat().st_uid == os.geteuid() and not os.path.exists(f"/proc/{pid}"):
                remove(folder)


def remove(folder: Path) -> None:
    """Delete a folder, also one in which a submission has closed folders to us."""
    for place, names, _ in os.walk(folder):
        for name in names:
            path = f"{place}/{name}"
            with contextlib.suppress(OSError):
                if not os.path.islink(path):  # a link would have us change what it points to
                    os.chmod(path, 0o700)
    shutil.rmtree(folder, ignore_errors=True)
