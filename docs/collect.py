"""Gather what the site shows of the rest of the course: labs, lectures with slides, and demos.

Everything here is generated into folders that git ignores. Labs are the student's notebooks as they
are committed; lectures are executed, so their pictures come from the current library; demos are
their still pictures.
"""

from __future__ import annotations

import base64
import copy
import os
import re
import shutil
from pathlib import Path
from typing import Any

import nbformat

from course import demos
from course.demos.gallery import thumbnail
from course.demos.still import pages
from course.lectures.build import Site, build
from course.lectures.catalogue import Lecture, lectures

__all__ = ["collect"]

ROOT = Path(__file__).resolve().parents[1]
_SOURCES = 'href="../slides/source/'


def collect(docs: Path) -> None:
    """Write the pages of labs, lectures and demos below `docs`, and the decks of slides.

    Raises:
        RuntimeError: a lecture failed; names its cell and line.
    """
    labs = _labs(_fresh(docs / "labs"))
    _demos(_fresh(docs / "demos"), labs)
    _lectures(_fresh(docs / "lectures"), docs / "extra" / "slides")


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
        f"See it move: {moving}. The lecture: [to read](../lectures/{path.name}), "
        f'<a href="../slides/{path.stem}.html">as slides</a>.'
    )


def _files_instead_of_attachments(cell: Any, folder: Path) -> None:
    """Pictures that a cell carries inside become files, which every page can show."""
    for name, bundle in cell.pop("attachments", {}).items():
        folder.mkdir(parents=True, exist_ok=True)
        (data,) = bundle.values()
        (folder / name).write_bytes(base64.b64decode(data))
        place = f"files/{folder.name}/{name}"
        cell.source = re.sub(rf"attachment:{re.escape(name)}(?=[\s)\"])", place, cell.source)


def _lectures(folder: Path, slides: Path) -> None:
    """Each lecture as a page to read, with the speaker's notes, and as a deck of slides."""
    shutil.rmtree(slides, ignore_errors=True)
    sections = lectures()
    built = build(
        sections,
        slides,
        jobs=os.cpu_count() or 1,
        site=Site(labs="../labs/{name}.html", demos="../demos/{name}.html"),
        ran=lambda lecture, ran: nbformat.write(
            _read(lecture, ran), folder / f"{lecture.name}.ipynb"
        ),
    )
    problems = [result.problem for result in built if result.problem]
    if problems:
        raise RuntimeError("; ".join(problems))
    rows = [
        f"| {each.number} | [{each.title}]({each.name}.ipynb) | {_slides(each)} |"
        for each in sections
    ]
    page = f"""# Lectures

The lecture in {len(sections)} sections, to read with the speaker's notes or to show as slides:
arrow keys turn them, S opens the speaker's view. `uv run course lectures open 8` opens a section in
JupyterLab, where its demos can be moved.

| | Section | |
|--:|:--|:--|
{chr(10).join(rows)}

```{{toctree}}
:hidden:

{chr(10).join(each.name for each in sections)}
```
"""
    (folder / "index.md").write_text(page, encoding="utf-8")


def _slides(lecture: Lecture) -> str:
    """A link to a deck, in HTML, since the deck is no page that Sphinx knows of."""
    return f'<a href="../slides/{lecture.name}.html">slides</a>'


def _read(lecture: Lecture, ran: Any) -> Any:
    """A lecture that has run as a page: notes stand as quotes under what they speak of."""
    page = copy.deepcopy(ran)
    page.metadata.pop("widgets", None)
    cells = []
    for cell in page.cells:
        kind = cell.metadata.get("slideshow", {}).get("slide_type")
        if kind == "skip":
            continue
        if kind == "notes":
            cell.source = "\n".join(f"> {line}".rstrip() for line in cell.source.splitlines())
        for output in cell.get("outputs", ()):
            for kind in [k for k in output.get("data", {}) if k.startswith("application/vnd.")]:
                del output["data"][kind]  # what programs read; the page has the same as HTML
            if "text/html" in output.get("data", {}):  # source pages lie beside the decks
                html = output["data"]["text/html"].replace('href="source/', _SOURCES)
                output["data"]["text/html"] = html
        hidden = cell.cell_type == "code" and "code" not in cell.metadata.get("tags", ())
        cell.metadata = {"tags": ["remove-input"]} if hidden else {}
        cells.append(cell)
    link = f"This page as {_slides(lecture)}."
    cells.insert(1, nbformat.v4.new_markdown_cell(link))
    page.cells = cells
    return page


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
