"""Where a name of the library is written, found without importing it: no torch is loaded for it."""

from __future__ import annotations

import ast
import os
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

__all__ = ["LIBRARY", "Place", "find", "reach"]

LIBRARY = Path(__file__).parents[1]  # the package `course`


class Place(NamedTuple):
    """Where something is defined.

    Attributes:
        module: dotted name of the module.
        name: name of the class or function.
        path: the file.
        line: number of its line, from 1.
    """

    module: str
    name: str
    path: Path
    line: int

    @property
    def short(self) -> str:
        """Path as people write it: `course/models/unet.py`."""
        return self.path.relative_to(LIBRARY.parent).as_posix()


def find(module: str, name: str) -> Place:
    """The place of a top-level class, function or assignment in a module of `course`.

    Raises:
        ValueError: there is no such module, or no such name in it.

    Example:
        >>> place = find("course.models.unet", "UNet")
        >>> place.short, place.path.read_text().splitlines()[place.line - 1]
        ('course/models/unet.py', 'class UNet(nn.Module):')
    """
    path = LIBRARY.parent.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        raise ValueError(f"expected a module of the course; {module} has no file {path}")
    lines = _definitions(path)
    if name not in lines:
        raise ValueError(f"{module} defines no {name!r}; it defines {', '.join(sorted(lines))}")
    return Place(module, name, path, lines[name])


@lru_cache
def _definitions(path: Path) -> dict[str, int]:
    lines: dict[str, int] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef)):
            lines[node.name] = node.lineno
        elif isinstance(node, ast.Assign):
            lines.update({t.id: node.lineno for t in node.targets if isinstance(t, ast.Name)})
    return lines


def reach(path: Path) -> str | None:
    """The address of a file from the current folder, where a notebook can follow it.

    JupyterLab shows no hidden files, and nothing above the folder that it serves: a file counts
    as within reach if at most three folders up hold both it and the notebook.
    """
    here, path = Path.cwd(), path.resolve()
    for folder in (here, *here.parents[:3]):
        if path.is_relative_to(folder) and path.exists():
            hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
            return None if hidden else Path(os.path.relpath(path, here)).as_posix()
    return None
