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

__all__ = ["PACKAGES", "folders", "package_folders", "search_path"]

PACKAGES = ("autograder", "course")
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
    wished += [os.path.abspath(path) for path in readable]
    there = [path for path in dict.fromkeys(wished) if os.path.lexists(path)]
    for path in there:
        for private in (Path.home(), Path(tempfile.gettempdir())):
            if path not in _SYSTEM and private.resolve().is_relative_to(Path(path).resolve()):
                raise AutograderError(
                    f"submissions would be able to read {path}, which holds {private}: "
                    "install Python (or point the lab's data) somewhere of its own"
                )
    return [
        path
        for path in there
        if not any(path != other and path.startswith(f"{other}/") for other in there)
        or os.path.islink(path)
    ]


def _python() -> Iterator[Path]:
    """The interpreter, its environment, and the user's own packages if they are in use."""
    yield Path(sys.base_prefix).resolve()
    yield Path(sys.base_exec_prefix).resolve()
    yield Path(sys.prefix)
    if site.ENABLE_USER_SITE:
        yield Path(site.getusersitepackages())
    # uv and pyenv name versions by links: each link on the way must resolve inside the box too.
    link = Path(sys.executable)
    while link.is_symlink():
        target = Path(os.path.normpath(link.parent / link.readlink()))
        yield target.parent.parent
        link = target
