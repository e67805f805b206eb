"""What is executed for a lab, and when an earlier execution is good enough.

An execution may be reused when its key is the same: a hash of the expanded notebook, the files
beside it, the parameters, the whole library `course` and the versions of what computes and draws.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from autograder.errors import AutograderError
from autograder.expand import expand
from autograder.layout import Layout
from autograder.source import Lab, read_lab

_COMPUTES = ("torch", "torchvision", "numpy", "scipy", "scikit-image", "matplotlib", "ipykernel")
_UNSAFE = re.compile(r"[^\w.=-]")


@dataclass(frozen=True)
class Plan:
    """A notebook to execute.

    Attributes:
        lab: the lab it was made from.
        text: the notebook, with solutions and hidden tests.
        cells: how many cells it has.
        files: the folder of files that lie beside it.
        target: where the executed notebook goes.
        parameters: values for the cell tagged `parameters`.
        key: the same for two plans that give the same execution.
    """

    lab: Lab
    text: str
    cells: int
    files: Path
    target: Path
    parameters: dict[str, Any]
    key: str

    def earlier(self) -> tuple[Path, float] | None:
        """An executed notebook with the same key and the seconds that it took."""
        try:
            stamp = json.loads(self.target.read_text(encoding="utf-8"))["metadata"]["autograder"]
        except (OSError, ValueError, KeyError):
            return None
        return (self.target, stamp["seconds"]) if stamp.get("key") == self.key else None


def make_plan(
    layout: Layout,
    name: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    experiments: bool = True,
) -> Plan:
    """Decide what runs for a lab.

    Args:
        parameters: values for the cell tagged `parameters`.
        experiments: run the lab's own experiments too. Without them, and with a complete run at
            hand, the plan is that complete run.

    Raises:
        AutograderError: the lab has no such parameter.
    """
    lab, values = read_lab(layout.source(name)), dict(parameters or {})
    known = parameter_names(lab)
    for unknown in [key for key in values if key not in known]:
        raise AutograderError(
            f"{name} has no parameter {unknown!r}; it has {', '.join(known) or 'none'}", code=2
        )
    suffix = "".join(f"-{key}={value}" for key, value in sorted(values.items()))
    stem = name + re.sub(_UNSAFE, "_", suffix)
    notebook = expand(lab)

    def plan(notebook: NotebookNode, stem: str) -> Plan:
        text, files = nbformat.writes(notebook) + "\n", layout.files(name)
        target, key = layout.executed / f"{stem}.ipynb", _key(text, files, values)
        return Plan(lab, text, len(notebook.cells), files, target, values, key)

    complete = plan(notebook, stem)
    own = [cell for cell in notebook.cells if _is_lab_experiment(cell)]
    if experiments or not own or complete.earlier():
        return complete
    notebook.cells = [cell for cell in notebook.cells if not _is_lab_experiment(cell)]
    return plan(notebook, f"{stem}-exercises")


def _is_lab_experiment(cell: NotebookNode) -> bool:
    return cell.metadata.get("course") == {"role": "experiment"}


def parameter_names(lab: Lab) -> list[str]:
    """Names assigned in the cells tagged `parameters`."""
    cells = [cell for cell in lab.cells if "parameters" in cell.metadata.get("tags", [])]
    nodes = [node for cell in cells for node in ast.parse(cell.source).body]
    targets = []
    for node in nodes:
        if isinstance(node, ast.Assign):
            targets += node.targets
        elif isinstance(node, ast.AnnAssign):
            targets.append(node.target)
    return [target.id for target in targets if isinstance(target, ast.Name)]


def library_folder() -> Path:
    """Where `course` is installed; a change there makes every execution stale."""
    spec = find_spec("course")
    return Path((spec.submodule_search_locations or [""])[0]) if spec else Path()


def _key(text: str, files: Path, parameters: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(text.encode())
    digest.update(json.dumps(parameters, sort_keys=True, default=repr).encode())
    digest.update(f"{sys.version_info[:2]}".encode())
    for package in _COMPUTES:
        try:
            digest.update(f"{package} {version(package)}".encode())
        except PackageNotFoundError:
            digest.update(f"no {package}".encode())
    for folder, pattern in ((library_folder(), "*.py"), (files, "*")):
        for path in sorted(p for p in folder.rglob(pattern) if p.is_file()):
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
