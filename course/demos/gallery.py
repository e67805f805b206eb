"""All demos on one page: a notebook with thumbnails on top and every demo below, ready to run."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

from course.demos import get, names
from course.demos.demo import Demo
from course.demos.still import waiting

__all__ = ["notebook", "thumbnail", "write"]

_WELCOME = """# Demos of the segmentation course

Choose **Run ▸ Run All Cells** to bring all pictures to life, or run the cell of one demo
(Shift+Enter). Then drag, paint and slide; Tab and the arrow keys do the same. A click on a picture
below goes to its demo.
"""
_THUMBNAIL = 240  # pixels of width


def notebook(only: Sequence[str] | None = None) -> Any:
    """The gallery as a notebook (nbformat 4); its stored outputs show every demo at rest.

    Args:
        only: names of demos; default: all of them.

    Raises:
        ValueError: no demo has such a name.

    Example:
        >>> [cell.source for cell in notebook(["iou"]).cells[1:]]
        ['from course import demos', '## Lab 2: IoU and GIoU', 'demos.show("iou")']
    """
    from nbformat import v4

    demos = [get(name) for name in only or names()]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [
        v4.new_markdown_cell(_WELCOME + "\n" + _thumbnails(demos)),
        _code("from course import demos", []),
    ]
    for demo in demos:
        still = v4.new_output("display_data", {"text/html": waiting(demo, {}, f"rest-{demo.name}")})
        cells.append(v4.new_markdown_cell(f"## Lab {demo.lab}: {demo.title}"))
        cells.append(_code(f'demos.show("{demo.name}")', [still]))
    for number, cell in enumerate(cells):
        cell.id = f"gallery-{number}"
    return v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})


def write(folder: Path, only: Sequence[str] | None = None) -> Path:
    """Write the gallery into a folder and return the path of the notebook, trusted on this machine.

    Raises:
        OSError: the folder cannot be written.
        ValueError: no demo has such a name.
    """
    import nbformat
    from nbformat.sign import NotebookNotary

    gallery = notebook(only)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "demos.ipynb"
    nbformat.write(gallery, path)
    NotebookNotary().sign(gallery)
    return path


def thumbnail(demo: Demo) -> bytes:
    """The demo's first frame, small: the bytes of a PNG file, twice as sharp as it is shown.

    Example:
        >>> thumbnail(get("iou"))[1:4]
        b'PNG'
    """
    from PIL import Image

    width, height = demo.size
    image = Image.fromarray(demo.frame().image)
    image = image.resize((2 * _THUMBNAIL, 2 * _THUMBNAIL * height // width))
    file = io.BytesIO()
    image.quantize(128, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()


def _code(source: str, outputs: list[Any]) -> Any:
    from nbformat import v4

    return v4.new_code_cell(source, outputs=outputs)


def _thumbnails(demos: list[Demo]) -> str:
    """A list of small pictures, each a link to the heading of its demo."""
    rows = []
    for demo in demos:
        anchor = f"Lab {demo.lab}: {demo.title}".replace(" ", "-")
        data = base64.b64encode(thumbnail(demo)).decode()
        picture = f'<img src="data:image/png;base64,{data}" alt="" width="{_THUMBNAIL}">'
        words = f"{demo.lab} · {escape(demo.title)}"
        rows.append(f'<a href="#{escape(anchor)}">{picture}<br>{words}</a>')
    lines = [rows[i : i + 3] for i in range(0, len(rows), 3)]
    table = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in lines)
    return f'<table role="presentation">{table}</table>\n'
