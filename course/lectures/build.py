"""Build decks: run the lectures, several at once, and put each finished page in its place whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from course.lectures.assets import copy_assets, require
from course.lectures.catalogue import Lecture, LectureError, lectures
from course.lectures.export import deck_html, thumbnail
from course.lectures.kept import executed
from course.lectures.link_list import DEMOS_AT, LABS_AT, SOURCE_AT
from course.lectures.pages import index_page, shown_sources, source_html
from course.lectures.pdf import find_chromium, print_pdf

if TYPE_CHECKING:
    from nbformat import NotebookNode

__all__ = ["Built", "Site", "build"]


@dataclass(frozen=True)
class Site:
    """Where things lie, as seen from a deck, when the decks are part of a site.

    Attributes:
        labs: address of a lab's page with `{name}` in it, such as `../labs/{name}.html`.
        demos: address of a demo's page with `{name}` in it.
    """

    labs: str | None = None
    demos: str | None = None

    def variables(self) -> dict[str, str]:
        """What the kernels of the lectures are told."""
        for pattern in filter(None, (self.labs, self.demos)):
            try:
                pattern.format(name="x")
            except (KeyError, IndexError, ValueError):
                message = f"expected an address with {{name}} in it, got {pattern!r}"
                raise LectureError(message) from None
        pairs = {SOURCE_AT: "source", LABS_AT: self.labs, DEMOS_AT: self.demos}
        return {name: value for name, value in pairs.items() if value}


@dataclass(frozen=True)
class Built:
    """What came of one lecture.

    Attributes:
        lecture: which one.
        deck: its page, or None if it failed; an older page then stays as it was.
        problem: why it failed.
        seconds: of processor time that its kernel used.
    """

    lecture: Lecture
    deck: Path | None
    problem: str = ""
    seconds: float = 0.0


def build(
    chosen: list[Lecture],
    out: Path,
    *,
    jobs: int = 1,
    site: Site | None = None,
    pdf: bool = False,
    catalogue: list[Lecture] | None = None,
    begun: Callable[[Lecture, int, int], None] | None = None,
    done: Callable[[Built], None] | None = None,
    ran: Callable[[Lecture, NotebookNode], None] | None = None,
) -> list[Built]:
    """Run lectures and write their decks, with all that these load, into a folder.

    A lecture that has run since its text or the library last changed is not run again, see
    `course.lectures.kept`. A deck is replaced in one step and only by a finished one. The folder
    works from anywhere, also without a server; `index.html` in it lists all sections.

    Args:
        chosen: which lectures.
        out: the folder; made where it is missing.
        jobs: how many run at once.
        site: where labs and demos lie if the folder becomes part of a site.
        pdf: also print each deck with Chromium.
        catalogue: lectures that the index lists; default: all of the course.
        begun: called with lecture, cells done and cells of it, from several threads.
        done: called with each result, in the order in which they come.
        ran: called with each executed notebook, from several threads.

    Returns:
        One result per lecture, in the order of `chosen`.

    Raises:
        LectureError: a package, Chromium or an address is missing or wrong; nothing has run then.
    """
    require()
    variables = (site or Site()).variables()
    chromium = find_chromium() if pdf else None
    out.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // max(1, jobs))
    with TemporaryDirectory(prefix=".building-", dir=out) as folder:
        workplace = Path(folder)
        _shared(workplace, out)

        def one(lecture: Lecture) -> Built:
            try:
                return _deck(lecture, workplace, out, variables, threads, chromium, begun, ran)
            except LectureError as error:
                return Built(lecture, None, str(error))
            except Exception as error:  # of a template, a disk: the other lectures go on
                return Built(lecture, None, f"{lecture.where()}: {type(error).__name__}: {error}")

        with ThreadPoolExecutor(max(1, jobs)) as pool:
            waiting = {pool.submit(one, lecture): lecture.name for lecture in chosen}
            results: dict[str, Built] = {}
            for future in as_completed(waiting):
                result = results[waiting[future]] = future.result()
                if done:
                    done(result)
        _index(catalogue or lectures(), workplace, out)
    return [results[lecture.name] for lecture in chosen]


def _deck(
    lecture: Lecture,
    workplace: Path,
    out: Path,
    variables: Mapping[str, str],
    threads: int,
    chromium: str | None,
    begun: Callable[[Lecture, int, int], None] | None,
    ran: Callable[[Lecture, NotebookNode], None] | None,
) -> Built:
    def progress(cell: int, cells: int) -> None:
        if begun:
            begun(lecture, cell, cells)

    notebook = executed(lecture, variables, threads=threads, progress=progress)
    if ran:
        ran(lecture, notebook)
    page = workplace / f"{lecture.name}.html"
    page.write_text(deck_html(lecture, notebook), encoding="utf-8")
    picture = thumbnail(notebook)
    if picture:
        (workplace / "thumbnails").mkdir(exist_ok=True)
        (workplace / "thumbnails" / f"{lecture.name}.png").write_bytes(picture)
        _move(workplace, f"thumbnails/{lecture.name}.png", out)
    if chromium:
        print_pdf(page, workplace / f"{lecture.name}.pdf", chromium, lecture.slides)
        _move(workplace, f"{lecture.name}.pdf", out)
    deck = _move(workplace, page.name, out)
    return Built(lecture, deck, seconds=float(notebook.metadata["processor_seconds"]))


def _shared(workplace: Path, out: Path) -> None:
    copy_assets(workplace / "assets")
    for path in shown_sources():
        name, page = source_html(path)
        target = workplace / "source" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(page, encoding="utf-8")
    for folder in ("assets", "source"):
        for path in sorted((workplace / folder).rglob("*")):
            if path.is_file():
                name = path.relative_to(workplace).as_posix()
                _place(shutil.copyfile, path, out / name)  # a PDF is printed from the workplace


def _index(catalogue: list[Lecture], workplace: Path, out: Path) -> None:
    def rows() -> Iterator[tuple[Lecture, bool, bool, bool]]:
        for lecture in catalogue:
            names = ("{}.html", "thumbnails/{}.png", "{}.pdf")
            deck, picture, pdf = ((out / name.format(lecture.name)).is_file() for name in names)
            yield lecture, deck, picture, pdf

    (workplace / "index.html").write_text(index_page(rows()), encoding="utf-8")
    _move(workplace, "index.html", out)


def _move(workplace: Path, name: str, out: Path) -> Path:
    return _place(os.replace, workplace / name, out / name)


def _place(bring: Callable[[Path, Path], object], source: Path, target: Path) -> Path:
    """Bring a file to its place in one step, so that nobody ever reads half of it."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    bring(source, part)
    os.replace(part, target)
    return target
