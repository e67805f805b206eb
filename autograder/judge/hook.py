"""Close the ways round a block that lead through the interpreter, the disk or another program."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path
from types import CodeType
from typing import Any

from autograder.sandbox import kernel, seccomp

__all__ = ["Forbidden", "close_ways"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_REFUSED_EVENTS = _words("""
    gc.get_objects gc.get_referrers gc.get_referents sys.setprofile subprocess.Popen os.system
    os.exec os.spawn os.posix_spawn os.forkpty ctypes.dlsym ctypes.call_function
    ctypes.string_at
""")


class Forbidden(RuntimeError):
    """What an exercise asks students to write was called instead."""


def close_ways(files: tuple[str, ...]) -> None:
    """Install the audit hook and the kernel's filter; they live as long as the process.

    Args:
        files: real paths of forbidden modules: a file each, or the folder of a package.
    """
    real, under = os.path.realpath, tuple(f"{file}{os.sep}" for file in files)
    caches = tuple(str(Path(f).parent / "__pycache__" / f"{Path(f).stem}.") for f in files)
    names = {p.name for f in files for p in Path(f).rglob("*.py") if p.name != "__init__.py"}
    refused = _REFUSED_EVENTS

    def inside(path: Any) -> bool:
        if isinstance(path, bytes):
            path = os.fsdecode(path)
        if not isinstance(path, str):
            return False
        place = real(path)
        return (
            place in files
            or place.startswith(under)
            or place.startswith(caches)
            or (not path.startswith(os.sep) and path.rpartition(os.sep)[2] in names)
        )

    def hook(event: str, args: tuple[Any, ...]) -> None:
        if event in refused:
            raise Forbidden(f"{event} is not available while this exercise is checked")
        if event == "open" and files:
            if inside(args[0]):
                raise Forbidden(f"{args[0]} may not be read in this exercise")
        elif event == "exec" and files:
            if inside(getattr(args[0], "co_filename", "")):
                raise Forbidden("forbidden code may not be run in this exercise")
        elif event == "object.__setattr__" and args[1] == "__code__" and not _renamed(*args):
            raise Forbidden("functions keep their code in this exercise")

    # A fresh Python would know of no block. The kernel sees to it, whatever starts the program: not
    # all ways to (`_posixsubprocess`, a C call) raise an event. Levels 3 and 2 have such filters.
    with contextlib.suppress(OSError):
        kernel.gain_no_privileges()
        seccomp.no_programs()
    sys.addaudithook(hook)


def _renamed(function: Any, _: str, code: Any) -> bool:
    """Whether it is the function's own code under another name, as `torch.no_grad()` wants it."""
    old = getattr(function, "__code__", None)
    if not (isinstance(old, CodeType) and isinstance(code, CodeType)):
        return False
    return code.replace(co_name=old.co_name, co_qualname=old.co_qualname) == old
