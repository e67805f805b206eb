"""The parts of a deck that come from packages: reveal.js, MathJax, the letters of matplotlib."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from course.lectures.catalogue import LectureError

__all__ = ["DECK", "copy_assets", "require"]

DECK = Path(__file__).parent / "deck"
_INSTALL = "pip install 'segmentation-course[lectures]'"
_PACKAGES = {  # package → folder inside it, and the files a deck needs of it with their new names
    "sphinx_revealjs": (
        "_static/revealjs",
        {
            "dist/reveal.js": "reveal/reveal.js",
            "dist/reveal.css": "reveal/reveal.css",
            "plugin/notes/notes.js": "reveal/notes.js",
            "LICENSE": "reveal/LICENSE",
        },
    ),
    "sphinx-mathjax-offline": ("static/mathjax", {"tex-svg.js": "mathjax/tex-svg.js"}),
    "matplotlib": (
        "mpl-data/fonts/ttf",
        {
            name: f"fonts/{name}"
            for name in (
                "DejaVuSans.ttf",
                "DejaVuSans-Bold.ttf",
                "DejaVuSansMono.ttf",
                "LICENSE_DEJAVU",
            )
        },
    ),
}


def require() -> dict[Path, str]:
    """All files that come from packages, and their names among the assets of a build.

    Raises:
        LectureError: a package is missing, or lies about what it holds; says what to install.
    """
    files: dict[Path, str] = {}
    for package, (folder, wanted) in _PACKAGES.items():
        spec = find_spec(package)  # does not import it: these packages belong to Sphinx
        if spec is None or spec.origin is None:
            name = package.replace("_", "-")
            raise LectureError(f"decks need the package {name}: {_INSTALL}")
        root = Path(spec.origin).parent / folder
        for old, new in wanted.items():
            if not (root / old).is_file():
                raise LectureError(
                    f"{package} holds no {folder}/{old}; install it again: {_INSTALL}"
                )
            files[root / old] = new
    return files


def copy_assets(out: Path) -> None:
    """Write `out` with everything that decks load: scripts, styles, letters."""
    for path, name in require().items():
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for path in DECK.glob("*.css"):
        shutil.copyfile(path, out / path.name)
    for name in ("deck.js", "theme.js"):
        shutil.copyfile(DECK / name, out / name)
