"""The kinds of box that the corpus is run in, the best first, and how to become nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from autograder.classroom import Classroom
from autograder.errors import AutograderError
from autograder.execution import Engine
from autograder.judge.engine import SandboxEngine
from autograder.sandbox.launch import readable_by_all

from .harness import EngineOf

__all__ = ["LEVELS", "OPEN", "as_nobody", "missing", "python_for_all"]

_SETPRIV = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def _box(level: int) -> EngineOf:
    def engine(classroom: Classroom, lab: str) -> Engine:
        files, cache = classroom.release(lab).parent, classroom.root / ".autograder" / "cache"
        return SandboxEngine(level=level, files=files, cache=cache, jobs=2)

    return engine


LEVELS: dict[str, EngineOf] = {"L3": _box(3), "L2": _box(2)}
OPEN: dict[str, EngineOf] = {"L1": _box(1)}
"""What hides nothing: only for cases that do no harm there, and some of these succeed."""


def missing(level: str) -> str:
    """Why this machine does not have a level, "" where it has."""
    from autograder.sandbox import ForkServer, SandboxError

    with tempfile.TemporaryDirectory() as cache:
        try:
            ForkServer(level=int(level[1]), cache=Path(cache), preload=()).close()
        except (SandboxError, AutograderError, FileNotFoundError) as error:
            return str(error)
    return ""


def python_for_all() -> str:
    """A Python like this one that nobody, the user without rights, may run; "" if none."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for path in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        if os.geteuid() == 0 and os.path.exists(path) and readable_by_all(path):
            try:
                if (
                    subprocess.run([*_SETPRIV, path, "-c", "1"], capture_output=True).returncode
                    == 0
                ):
                    return path
            except FileNotFoundError:
                return ""
    return ""


def _environment_for_all(folder: Path) -> Path:
    """This virtual environment as one that everybody may use: the same files under other names."""
    place = folder / "environment"
    shutil.copytree(sys.prefix, place, symlinks=True, copy_function=os.link)
    folder.chmod(0o755)
    config = place / "pyvenv.cfg"
    lines = [line for line in config.read_text().splitlines() if not line.startswith("home")]
    config.unlink()
    base = Path(python_for_all())
    config.write_text("\n".join([f"home = {base.parent}", *lines]) + "\n")
    for name in ("python", "python3", base.name):
        (place / "bin" / name).unlink(missing_ok=True)
        (place / "bin" / name).symlink_to(base)
    return place / "bin" / "python"


def as_nobody(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """Run `python -m tests.hostile` as a user without any rights."""
    root = Path(__file__).parents[2]
    with (
        tempfile.TemporaryDirectory(
            prefix=".hostile-", dir=root, ignore_cleanup_errors=True
        ) as shared,
        tempfile.TemporaryDirectory(prefix="home-", ignore_cleanup_errors=True) as home,
    ):
        python = _environment_for_all(Path(shared))
        os.chown(home, 65534, 65534)
        environment = {
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "HOME": home,
            "TMPDIR": home,
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(
            [*_SETPRIV, str(python), "-m", "tests.hostile", *arguments],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
