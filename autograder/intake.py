"""Take in a class: from a learning platform's zip or any folder, to one notebook per student.

Every student gets one entry in the manifest, with the file that was taken or the reason why none
was. One bad file never stops the others, and nothing is written until all files have been read.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

from autograder.errors import AutograderError
from autograder.naming import Owner, is_copy_of, owner_of, safe_id
from autograder.notebooks import StudentCell, StudentNotebook, read_cells, read_notebook
from autograder.records import Flag, write_whole
from autograder.unpack import Caps, Found, look_inside

__all__ = ["Entry", "collect", "kin_of", "read_manifest"]

_NEVER = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Entry:
    """One student's line in the manifest.

    Attributes:
        student: the id that nbgrader's folders and gradebook use.
        name: as the platform shows it.
        original: path of the file in what was collected.
        digest: SHA-256 of the notebook taken, or "".
        handed_in: when, "YYYY-MM-DD HH:MM:SS" in UTC, or "".
        rejected: why there is nothing to grade, or "".
    """

    student: str
    name: str
    original: str
    digest: str = ""
    handed_in: str = ""
    flags: tuple[Flag, ...] = ()
    rejected: str = ""


def kin_of(notebook: bytes) -> frozenset[str]:
    """What a copy of this notebook is recognised by: its grade ids and the text of its cells."""
    return _marks(read_cells(notebook))


def _marks(cells: list[StudentCell]) -> frozenset[str]:
    marks = {cell.grade_id for cell in cells} | {cell.source.strip() for cell in cells}
    return frozenset(mark for mark in marks if mark)


def collect(
    source: Path, lab: str, kin: frozenset[str], caps: Caps | None = None
) -> tuple[list[Entry], dict[str, bytes]]:
    """Read a class from a folder or zip.

    Args:
        source: what the platform gave, or a folder in one of the usual layouts.
        lab: name of the lab, which is the name of its notebook.
        kin: see `kin_of`, of the notebook that students received.

    Returns:
        The entries, sorted by student, and the notebook bytes of those that were not rejected.

    Raises:
        AutograderError: the source cannot be read, or holds nothing at all.
    """
    files: dict[tuple[str, str], list[tuple[Found, Owner]]] = defaultdict(list)
    try:
        found = look_inside(source, caps)
    except ValueError as error:
        raise AutograderError(f"{source} {error}") from error
    in_folders = any(len(file.parts) > 1 for file in found)
    for file, parts in _without_wrapper(found, lab):
        owner = owner_of(_trusted(file, parts, found), lab)
        if in_folders and len(file.parts) == 1 and not owner.file.endswith(".ipynb"):
            continue  # a list of grades or a read-me beside the students' folders
        files[owner.name, owner.number].append((file, owner))
    if not files:
        raise AutograderError(f"nothing to collect: {source} holds no files")
    entries, taken = [], {}
    for (name, _), student, flags in _identify(files):
        entry, data = _choose(student, name, files[name, _], lab, kin)
        entries.append(replace(entry, flags=(*flags, *entry.flags)))
        if data:
            taken[student] = data
    return sorted(entries, key=lambda e: e.student), taken


def _trusted(file: Found, parts: tuple[str, ...], found: list[Found]) -> tuple[str, ...]:
    """The part of a path that the platform wrote.

    Folders in a student's own archive have names that the student chose, perhaps somebody else's.
    """
    if not file.inside or (len(file.inside) == 1 and all(f.inside == file.inside for f in found)):
        return parts  # a class in one archive
    kept = len(file.inside) - (len(file.parts) - len(parts))
    return (*parts[:kept], file.name) if kept > 0 else parts


def _without_wrapper(found: list[Found], lab: str) -> Iterable[tuple[Found, tuple[str, ...]]]:
    """Drop outer folders that hold everything, such as the name of the zip itself."""
    paths = [file.parts for file in found]
    while paths and all(len(p) > 2 for p in paths) and len({p[0] for p in paths}) == 1:
        if len({p[1] for p in paths}) == 1 or owner_of(paths[0], lab).number:
            break
        if all(p[-2] == lab for p in paths) and all(len(p) == 3 for p in paths):
            break
        paths = [p[1:] for p in paths]
    return zip(found, paths, strict=True)


def _identify(
    files: dict[tuple[str, str], list[tuple[Found, Owner]]],
) -> Iterable[tuple[tuple[str, str], str, list[Flag]]]:
    """Give each person an id: the name, and the platform's number only where names clash."""
    wanted: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for key in files:
        # Case is folded: on many disks "Anna" and "anna" are the same folder.
        wanted[safe_id(key[0]).casefold()].append(key)
    for keys in wanted.values():
        for position, key in enumerate(sorted(keys)):
            name, number = key
            student, flags = safe_id(name), []
            if len(keys) > 1:
                student = safe_id(f"{name[:80]} {number or position + 1}")
                flags.append(Flag("name-clash", f"another student is called {name} too"))
            elif student != name:
                flags.append(Flag("id-changed", f"the id differs from the name {name!r}"))
            yield key, student, flags


def _choose(
    student: str, name: str, files: list[tuple[Found, Owner]], lab: str, kin: frozenset[str]
) -> tuple[Entry, bytes]:
    """The notebook to grade: named like the lab, else related to it; readable; the newest."""
    notebooks = [(f, o) for f, o in files if o.file.lower().endswith(".ipynb")]
    named = [(f, o) for f, o in notebooks if is_copy_of(o.file, lab) is not None]
    flags, problems = [], []
    newest = sorted(named or notebooks, key=lambda pair: _age(pair, lab), reverse=True)
    for found, owner in newest:
        try:
            if found.problem:
                raise ValueError(found.problem)
            data = found.read()
            notebook = read_notebook(data)
            related = len(kin & _marks(notebook.cells))
        except (ValueError, OSError) as error:
            problems.append(f"{owner.file} {error}")
            continue
        if not named and not related:
            problems.append(f"{owner.file} is another notebook: expected {lab}.ipynb")
            continue
        if len(newest) > 1:
            others = ", ".join(o.file for f, o in newest if f is not found)
            flags.append(Flag("several-files", f"took {owner.file}; there was also {others}"))
        if problems:
            flags.append(Flag("file-skipped", f"could not read: {'; '.join(problems)}"))
        if owner.file != f"{lab}.ipynb":
            flags.append(Flag("renamed", f"the file was called {owner.file}"))
        if not related:
            flags.append(Flag("stranger", "no cell of the lab is in this notebook"))
        flags += _odd_format(notebook)
        if extra := [o.file for f, o in files if not o.file.lower().endswith(".ipynb")]:
            extra = [file for file in extra if file != "timestamp.txt"]
            if extra:
                flags.append(Flag("extra-files", f"not used: {', '.join(sorted(extra)[:10])}"))
        digest = hashlib.sha256(data).hexdigest()
        when = _handed_in(found, files, flags)
        return Entry(student, name, found.shown, digest, when, tuple(flags)), data
    if not problems:
        handed = ", ".join(sorted({o.file for _, o in files})[:10])
        problems = [f"no notebook was handed in, only {handed}"]
        problems += [f"{o.file} {f.problem}" for f, o in files if f.problem][:3]
    return Entry(student, name, files[0][0].shown, rejected="; ".join(problems)), b""


def _odd_format(notebook: StudentNotebook) -> list[Flag]:
    flags = []
    if 0 < notebook.version < 4:
        flags.append(Flag("old-format", f"the notebook has the old format {notebook.version}"))
    if notebook.language and "py" not in notebook.language:
        detail = f"the notebook asked for a kernel of {notebook.language}; Python runs it"
        flags.append(Flag("kernel-changed", detail))
    return flags


def _age(pair: tuple[Found, Owner], lab: str) -> tuple[datetime, int]:
    found, owner = pair
    return found.modified or _NEVER, is_copy_of(owner.file, lab) or 0


def _handed_in(found: Found, files: list[tuple[Found, Owner]], flags: list[Flag]) -> str:
    """The time of submission: nbgrader's timestamp.txt, else the time in the archive."""
    for file, owner in files:
        if owner.file == "timestamp.txt" and file.parts[:-1] == found.parts[:-1]:
            try:
                return _utc(_parse_time(file.read().decode("utf-8").strip()))
            except (ValueError, OverflowError, OSError, UnicodeDecodeError):
                flags.append(Flag("bad-timestamp", "timestamp.txt holds no time; ignored"))
                return ""
    # A file in a folder carries the time of the copy, which says nothing.
    return _utc(found.modified) if found.modified and "assignsubmission" in found.shown else ""


def _parse_time(text: str) -> datetime:
    from nbgrader.utils import parse_utc

    return parse_utc(text).replace(tzinfo=UTC)


def _utc(when: datetime) -> str:
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def write_manifest(path: Path, lab: str, entries: Iterable[Entry]) -> None:
    """Write the manifest, whole or not at all."""
    record = {"lab": lab, "entries": [asdict(e) for e in entries]}
    write_whole(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def read_manifest(path: Path) -> list[Entry]:
    """Read a manifest.

    Raises:
        AutograderError: it is missing or damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        return [
            Entry(**{**entry, "flags": tuple(Flag(**flag) for flag in entry["flags"])})
            for entry in record["entries"]
        ]
    except FileNotFoundError:
        raise AutograderError("nothing was collected yet: run `autograder collect` first") from None
    except (ValueError, KeyError, TypeError) as error:
        raise AutograderError(f"{path} is damaged ({error}): collect again") from error


def student_folder(submitted: Path, student: str, lab: str) -> Path:
    """nbgrader's place for one submission."""
    return submitted / PurePosixPath(student) / lab
