"""Gather what the site shows of the rest of the course: labs, lectures with their slides, and demos.

Everything here is generated into folders that git ignores. Labs are the student's notebooks as they
are committed; lectures are executed, so their pictures come from the current library; demos are
their still pictures.
"""

from __future__ import annotations

import base64
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat

from course import demos
from course.demos.gallery import thumbnail
from course.demos.still import pages

__all__ = ["collect"]

ROOT = Path(__file__).resolve().parents[1]


def collect(docs: Path) -> None:
    """Write the pages of labs and demos below `docs`."""
    labs = _labs(_fresh(docs / "labs"))
    _demos(_fresh(docs / "demos"), labs)


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def _labs(folder: Path) -> dict[int, tuple[str, str]]:
    """The labs as pages. Returns the page's name and the title of each by its number."""
    found = {}
    for path in sorted((ROOT / "labs").glob("*/*.ipynb")):
        lab = nbformat.read(path, as_version=4)
        for cell in lab.cells:
            _files_instead_of_attachments(cell, folder / "files" / path.stem)
        number = int(path.stem[:2])
        title = lab.cells[0].source.splitlines()[0].removeprefix("# ")
        found[number] = (path.stem, title)
        lab.cells.insert(1, nbformat.v4.new_markdown_cell(_beside(path, number)))
        lab.cells[1].id = "beside-this-lab"
        nbformat.write(lab, folder / path.name)
    rows = [f"| [{title}]({name}.ipynb) |" for name, title in found.values()]
    tree = "\n".join(name for name, _ in found.values())
    page = f"""# Labs

The notebooks as students get them: with gaps, checks and hints. Work on one in JupyterLab with
`uv run jupyter lab labs/08_unet/08_unet.ipynb`.

| Lab |
|:--|
{chr(10).join(rows)}

```{{toctree}}
:hidden:

{tree}
```
"""
    (folder / "index.md").write_text(page, encoding="utf-8")
    return found


def _beside(path: Path, number: int) -> str:
    """What stands under the title of a lab: how to work on it and what belongs to it."""
    moving = ", ".join(f"[{demos.get(n).title}](../demos/{n}.md)" for n in demos.names(number))
    return (
        f"> To work on this lab: `uv run jupyter lab {path.relative_to(ROOT).as_posix()}`. "
        f"See it move: {moving}."
    )


def _files_instead_of_attachments(cell: Any, folder: Path) -> None:
    """Pictures that a cell carries inside become files, which every page can show."""
    for name, bundle in cell.pop("attachments", {}).items():
        folder.mkdir(parents=True, exist_ok=True)
        (data,) = bundle.values()
        (folder / name).write_bytes(base64.b64decode(data))
        place = f"files/{folder.name}/{name}"
        cell.source = re.sub(rf"attachment:{re.escape(name)}(?=[\s)\"])", place, cell.source)


def _demos(folder: Path, labs: dict[int, tuple[str, str]]) -> None:
    """A page for each demo and one with a small picture of each."""
    cards = []
    for name in demos.names():
        demo = demos.get(name)
        (folder / f"{name}.md").write_text(_demo_page(demo, labs), encoding="utf-8")
        (folder / f"{name}.png").write_bytes(thumbnail(demo))
        cards.append(f"[![]({name}.png)<br>{demo.lab} · {demo.title}]({name}.md)")
    lines = [cards[i : i + 3] + [""] * (3 - len(cards[i : i + 3])) for i in range(0, len(cards), 3)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    page = f"""# Demos

Pictures that move: `uv run course demos` opens all of them in JupyterLab, where everything can be
dragged, painted and slid. Here they stand still, a few states each.

| | | |
|:--|:--|:--|
{table}

```{{toctree}}
:hidden:

{chr(10).join(demos.names())}
```
"""
    (folder / "index.md").write_text(page, encoding="utf-8")


def _demo_page(demo: Any, labs: dict[int, tuple[str, str]]) -> str:
    lab, title = labs[demo.lab]
    predict = ""
    if demo.predict:
        question, answer = demo.predict
        predict = f"<details><summary><b>Predict first.</b> {question}</summary>{answer}</details>"
    html = "\n".join(line for line in pages(demo).splitlines() if line.strip())
    return f"""# {demo.title}

{demo.idea}

{predict}

```{{raw}} html
{html}
```

To move it yourself: `uv run course demos {demo.name}`. Belongs to [{title}](../labs/{lab}.ipynb).

{demo.source}
"""
