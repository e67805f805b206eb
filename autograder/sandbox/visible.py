"""What a box may read: a list of what Python needs, not of what must be hidden.

`sys.path` is never taken as it is: an entry of it once was the folder of the gradebook. What an
editable installation needs is its package folders alone, not the folder that holds them.
"""

from __future__ import annotations

import importlib.util
import os
import site
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from autograder.errors import AutograderError

__all__ = ["PACKAGES", "folders", "links", "package_folders", "search_path"]

PACKAGES = ("autograder", "course")
_MOST_STEPS = 400
_SYSTEM = (
    "/usr",
    "/bin",
    "/sbin",
    "/lib",
    "/lib64",
    "/etc/alternatives",
    "/etc/fonts",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",
    "/etc/ssl/certs",
    "/nix/store",
    "/sys/devices/system/cpu",
)


def package_folders(names: Iterable[str] = PACKAGES) -> list[Path]:
    """Where packages lie that may be outside this environment (an editable installation)."""
    found = []
    for name in names:
        spec = importlib.util.find_spec(name)
        for place in (spec and spec.submodule_search_locations) or ():
            found.append(Path(place).resolve())
    return found


def search_path() -> list[str]:
    """Folders that hold the packages: inside a box they exist, with nothing but the packages."""
    return list(dict.fromkeys(str(folder.parent) for folder in package_folders()))


def folders(readable: Iterable[Path] = ()) -> list[str]:
    """Absolute paths that a box may read, each at its own place, outermost only.

    Raises:
        AutograderError: one of them holds a home folder or the folder for temporary files, so
            that a submission could read other people's work.
    """
    wished = [*_SYSTEM, *map(str, _python()), *map(str, package_folders())]
    for path in map(os.path.abspath, readable):
        wished += [os.path.realpath(path), *map(str, links(Path(path)))]
    there = [path for path in dict.fromkeys(wished) if os.path.lexists(path)]
    real = [path for path in there if not os.path.islink(path)]
    for path in real:
        for private in (Path.home(), Path(tempfile.gettempdir())):
            if path not in _SYSTEM and private.resolve().is_relative_to(Path(path).resolve()):
                raise AutograderError(
                    f"submissions would be able to read {path}, which holds {private}: "
                    "install Python (or point the lab's data) somewhere of its own"
                )
    return [
        path
        for path in there
        if not any(path != other and path.startswith(f"{other}/") for other in real)
    ]


def links(path: Path) -> Iterator[Path]:
    """The links on the way to a path, which must lead there inside a box, too.

    uv and pyenv name versions by links, and a virtual environment links to its interpreter. A link
    shows nothing by itself: what it leads to is bound by its real name or not at all.
    """
    place, parts = Path("/"), list(path.parts[1:])
    for _ in range(_MOST_STEPS):
        if not parts:
            return
        place /= parts.pop(0)
        try:
            linked = place.is_symlink()
        except OSError:
            return  # this user cannot go there, so no box can
        if linked:
            yield place
            target = os.path.normpath(place.parent / place.readlink())
            place, parts = Path("/"), [*Path(target).parts[1:], *parts]


def _python() -> Iterator[Path]:
    """The interpreter, its environment, and the user's own packages if they are in use."""
    used = [Path(sys.base_prefix), Path(sys.base_exec_prefix), Path(sys.prefix)]
    if site.ENABLE_USER_SITE:
        used.append(Path(site.getusersitepackages()))
    for path in used:
        yield path.resolve()
    for path in (*used, Path(sys.executable)):
        yield from links(path)
