"""Start JupyterLab on a notebook: what `course demos` and `course lectures open` have in common."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

__all__ = ["open_notebook"]


def open_notebook(notebook: Path, *, browser: bool = True) -> int:
    """Run JupyterLab in the notebook's folder until it is stopped (Ctrl-C twice).

    Args:
        notebook: an existing `.ipynb` file.
        browser: open a window; without it, Lab prints the address.

    Returns:
        Lab's exit code.

    Raises:
        FileNotFoundError: there is no such notebook.
        ModuleNotFoundError: JupyterLab is not installed here.
    """
    if not notebook.is_file():
        raise FileNotFoundError(f"there is no notebook {notebook}")
    if find_spec("jupyterlab") is None:
        raise ModuleNotFoundError("JupyterLab is not installed here: pip install jupyterlab")
    command = [sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={notebook.parent}"]
    command += [f"--LabApp.default_url=/lab/tree/{notebook.name}"]
    if not browser:
        command.append("--no-browser")
    try:
        return subprocess.run(command, check=False).returncode
    except KeyboardInterrupt:
        return 0
