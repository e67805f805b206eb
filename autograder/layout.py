"""Where a course keeps its things: solutions/ is the source, labs/ and executed/ are made of it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from autograder.errors import AutograderError

Files = dict[str, bytes]
"""The files of one folder: name relative to the folder → content."""

_IGNORED = {".ipynb_checkpoints", "__pycache__", ".DS_Store"}
_LAB_FILE = re.compile(r"(\d{2})_[a-z0-9_]+\.py")


@dataclass(frozen=True)
class Layout:
    """The folders of one course.

    Attributes:
        root: the folder that holds the others.
    """

    root: Path

    @property
    def solutions(self) -> Path:
        """The lab sources `NN_name.py`; `wrong/` and `files/NN_name/` lie beside them."""
        return self.root / "solutions"

    @property
    def labs(self) -> Path:
        """The generated student notebooks, `NN_name/NN_name.ipynb`."""
        return self.root / "labs"

    @property
    def executed(self) -> Path:
        """Executed solutions, kept so that they run once per change."""
        return self.root / "executed"

    def source(self, lab: str) -> Path:
        """The source file of a lab."""
        return self.solutions / f"{lab}.py"

    def notebook(self, lab: str) -> Path:
        """The student notebook of a lab."""
        return self.labs / lab / f"{lab}.ipynb"

    def files(self, lab: str) -> Path:
        """The folder whose files go to students beside the notebook; it need not exist."""
        return self.solutions / "files" / lab

    def lab_names(self) -> list[str]:
        """Every lab that has a source, in order of number."""
        found = self.solutions.glob("*.py")
        return sorted(path.stem for path in found if _LAB_FILE.fullmatch(path.name))

    def select(self, wanted: Iterable[str] = ()) -> list[str]:
        """The labs meant by names such as "8", "08", "08_unet", "unet" or a path; all if none.

        Raises:
            AutograderError: a name fits no lab, or there are no labs.
        """
        names = self.lab_names()
        if not names:
            raise AutograderError(f"no labs in {self.solutions}: a lab is a file NN_name.py there")
        chosen = []
        for text in wanted:
            stem = Path(text).name.removesuffix(".py").removesuffix(".ipynb")
            fits = [
                name
                for name in names
                if stem in (name, name[3:]) or (stem.isdecimal() and int(stem) == int(name[:2]))
            ]
            if not fits:
                raise AutograderError(f"no such lab: {text}. There are {', '.join(names)}", code=2)
            chosen += fits
        return sorted(set(chosen)) if chosen else names


def find_layout(start: Path | None = None) -> Layout:
    """The course around a folder: the nearest parent with solutions/, else the one of this package.

    Args:
        start: where to look; by default the current folder and then the package's own checkout.

    Raises:
        AutograderError: there is no such folder.
    """
    here = (start or Path.cwd()).resolve()
    places = [here, *here.parents]
    if start is None:
        places.append(Path(__file__).resolve().parents[1])
    for folder in places:
        if (folder / "solutions").is_dir():
            return Layout(folder)
    raise AutograderError(
        f"no course at {here}: expected a folder that holds solutions/ and labs/; "
        "change to it or name it with --course"
    )


def read_folder(folder: Path) -> Files:
    """The files below a folder by relative name, those of editors aside; {} if there is none."""
    if not folder.is_dir():
        return {}
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in paths
        if not _IGNORED & set(path.relative_to(folder).parts)
    }
