"""Look into what was handed in, without ever writing to a path that somebody else chose.

Nothing is extracted. A folder or zip is listed as `Found` files; a file's bytes are read on demand,
at most so many of them. What is dangerous or unreadable is listed too, with its `problem`, so that
one bad file never hides the others. Listed and refused: paths with `..` or a root, links, pipes and
devices, encrypted members, compression bombs, archives inside archives inside archives.
"""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import IO

from autograder.errors import AutograderError

__all__ = ["Caps", "Found", "look_inside"]

_JUNK = ("__MACOSX", ".ipynb_checkpoints", "__pycache__", "Thumbs.db", "desktop.ini")
_ARCHIVES = (".rar", ".7z", ".tar", ".gz", ".tgz", ".bz2", ".xz")
_HIDDEN = "holds only hidden files"
_UTF8_NAME = 0x800
_ENCRYPTED = 0x1


@dataclass
class Caps:
    """How much of a class one look may cost.

    Attributes:
        file_bytes: the largest file that is read.
        files: the most files that are listed.
        total_bytes: the most bytes that are read in all.
        ratio: the largest honest compression; notebooks with pictures stay below 20.
        nesting: archives inside archives that are opened.
        own_files, own_bytes: the same for one student's own archive, and all that is in it.
    """

    file_bytes: int = 50 * 2**20
    files: int = 20_000
    total_bytes: int = 4 * 2**30
    ratio: int = 200
    nesting: int = 2
    own_files: int = 2_000
    own_bytes: int = 256 * 2**20
    _seen: int = field(default=0, repr=False)
    _read: int = field(default=0, repr=False)

    def of_one(self) -> Caps:
        """Caps for one student's archive, so that it cannot use up those of the class."""
        files, total = min(self.own_files, self.files), min(self.own_bytes, self.total_bytes)
        return replace(self, files=files, total_bytes=total, _seen=0, _read=0)

    def count(self) -> None:
        """Note one more file.

        Raises:
            AutograderError: there are too many.
        """
        self._seen += 1
        if self._seen > self.files:
            raise AutograderError(f"more than {self.files} files: is this the right folder?")

    def spend(self, size: int) -> None:
        """Note bytes that were read.

        Raises:
            AutograderError: too many in all.
        """
        self._read += size
        if self._read > self.total_bytes:
            raise AutograderError(f"more than {self.total_bytes // 2**20} MB to read: refused")


@dataclass(frozen=True)
class Found:
    """One file that was handed in.

    Attributes:
        parts: its path below the source, harmless even where the given one was not.
        shown: the path as it was given, for messages.
        modified: when it was last changed, as far as known.
        problem: why it cannot be read, or "".
        read: gives its bytes.
        inside: path of the outermost archive that it was found in, without the suffix.
    """

    parts: tuple[str, ...]
    shown: str
    modified: datetime | None
    problem: str
    read: Callable[[], bytes]
    inside: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.parts[-1]


def look_inside(source: Path, caps: Caps | None = None) -> list[Found]:
    """List every file of a folder or zip archive, archives inside it included.

    Raises:
        AutograderError: no such source, not a zip, or more than the caps allow.
    """
    caps = caps or Caps()
    if source.is_dir():
        return list(_expand(_folder(source, caps), caps, caps.nesting))
    if not source.exists():
        raise AutograderError(f"nothing to collect: {source} does not exist")
    if source.suffix.lower() in _ARCHIVES:
        raise AutograderError(f"{source.name} cannot be opened: unpack it, or make it a .zip")
    if not source.is_file() or not zipfile.is_zipfile(source):
        raise AutograderError(f"{source} is neither a folder nor a zip archive")
    return list(_expand(_archive(source, (), caps), caps, caps.nesting))


def _expand(found: Iterator[Found], caps: Caps, nesting: int) -> Iterator[Found]:
    for file in found:
        suffix = PurePosixPath(file.name).suffix.lower()
        if file.problem or suffix not in (".zip", *_ARCHIVES):
            yield file
        elif suffix != ".zip":
            yield _broken(file, f"is a {suffix} archive: hand in the .ipynb itself, or a .zip")
        elif not nesting:
            yield _broken(file, "is an archive inside an archive inside an archive")
        else:
            yield from _nested(file, caps, nesting)


def _nested(file: Found, caps: Caps, nesting: int) -> Iterator[Found]:
    folder = (*file.parts[:-1], PurePosixPath(file.name).stem)
    own = caps.of_one() if nesting == caps.nesting else caps
    try:
        data = file.read()
        # The list of members alone can take a gigabyte; each begins with this mark.
        if (members := data.count(b"PK\x01\x02")) > own.files:
            raise ValueError(f"holds {members} files, at most {own.files} are looked at")
        inner = list(_expand(_archive(io.BytesIO(data), folder, own), own, nesting - 1))
    except (ValueError, OSError, AutograderError) as error:
        yield _broken(file, str(error))
        return
    outermost = nesting == caps.nesting
    found = inner or [_broken(file, "is empty")]
    yield from (replace(f, inside=folder) for f in found) if outermost else found


def _folder(root: Path, caps: Caps) -> Iterator[Found]:
    for place, folders, names in os.walk(root):
        here = Path(place).relative_to(root).parts
        left_out = [f for f in folders if _is_junk(f)]
        keep = sorted(set(folders) - set(left_out))
        folders[:] = [f for f in keep if not f.lower().endswith(".ipynb")]
        if here and not keep and (names or left_out) and all(map(_is_junk, names)):
            # Somebody's folder: who handed in nothing else must still be in the list.
            yield Found((*here, ".hidden"), str(PurePosixPath(*here)), None, _HIDDEN, bytes)
        for name in sorted(set(names) | (set(keep) - set(folders))):
            if _is_junk(name):
                continue
            caps.count()
            path = Path(place, name)
            info = path.lstat()
            problem = _mode_problem(info.st_mode) or _size_problem(info.st_size, caps)
            when = datetime.fromtimestamp(info.st_mtime, UTC)
            shown = str(PurePosixPath(*here, name))
            yield Found((*here, name), shown, when, problem, _file_reader(path, caps))


def _archive(source: Path | io.BytesIO, prefix: tuple[str, ...], caps: Caps) -> Iterator[Found]:
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(f"is not a readable zip archive ({error})") from error
    for info in archive.infolist():
        name = _name(info)
        given = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
        parts = tuple(part for part in given if part != ".." and not part.endswith(":"))
        if not parts or any(_is_junk(part) for part in parts):
            continue
        if info.is_dir() and not parts[-1].lower().endswith(".ipynb"):
            continue
        caps.count()
        unsafe = tuple(given) != parts or name.startswith(("/", "\\"))
        problem = "has a path that leads outside the archive" if unsafe else ""
        problem = problem or _member_problem(info, caps)
        shown = "/".join((*prefix, name))
        reader = _member_reader(archive, info, caps)
        yield Found((*prefix, *parts), shown, _modified(info), problem, reader)


def _name(info: zipfile.ZipInfo) -> str:
    """The member's name; without the UTF-8 flag it is often UTF-8 all the same."""
    if info.flag_bits & _UTF8_NAME:
        return info.filename
    try:
        return info.filename.encode("cp437").decode("utf-8")
    except UnicodeError:
        return info.filename


def _modified(info: zipfile.ZipInfo) -> datetime | None:
    try:
        return datetime(*info.date_time).astimezone()
    except (ValueError, OverflowError):
        return None


def _member_problem(info: zipfile.ZipInfo, caps: Caps) -> str:
    mode = info.external_attr >> 16
    if info.is_dir():
        return "is a folder, not a file"
    if mode and stat.S_IFMT(mode) and (problem := _mode_problem(mode)):
        return problem
    if info.flag_bits & _ENCRYPTED:
        return "is protected by a password"
    if info.file_size > 2**20 and info.file_size > caps.ratio * max(info.compress_size, 1):
        return f"unpacks to {info.file_size // 2**20} MB from almost nothing: refused"
    return _size_problem(info.file_size, caps)


def _mode_problem(mode: int) -> str:
    if stat.S_ISREG(mode):
        return ""
    if stat.S_ISLNK(mode):
        return "is a link to another file, not the file itself"
    if stat.S_ISDIR(mode):
        return "is a folder, not a file"
    return "is a pipe or a device, not a file"


def _size_problem(size: int, caps: Caps) -> str:
    if size <= caps.file_bytes:
        return ""
    return f"is too large: {size / 2**20:.0f} MB, at most {caps.file_bytes // 2**20} MB are read"


def _file_reader(path: Path, caps: Caps) -> Callable[[], bytes]:
    def read() -> bytes:
        # The file may have become a link since it was listed.
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
        with os.fdopen(handle, "rb") as file:
            return _bounded(file, caps)

    return read


def _member_reader(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, caps: Caps
) -> Callable[[], bytes]:
    def read() -> bytes:
        try:
            with archive.open(info) as member:
                return _bounded(member, caps)
        except (zipfile.BadZipFile, EOFError, RuntimeError, NotImplementedError) as error:
            raise ValueError(f"is damaged in the archive ({error})") from error
        except Exception as error:  # zlib.error and friends share no base class
            if isinstance(error, ValueError | AutograderError):
                raise
            raise ValueError(f"is damaged in the archive ({error})") from error

    return read


def _bounded(file: IO[bytes], caps: Caps) -> bytes:
    data = file.read(caps.file_bytes + 1)
    if len(data) > caps.file_bytes:
        raise ValueError(f"is larger than {caps.file_bytes // 2**20} MB")
    caps.spend(len(data))
    return data


def _is_junk(name: str) -> bool:
    hidden = name.startswith((".", "~$")) and "_assignsubmission_" not in name
    return hidden or name in _JUNK


def _broken(file: Found, problem: str) -> Found:
    return Found(file.parts, file.shown, file.modified, problem, file.read)
