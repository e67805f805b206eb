"""Notebooks and zips as accidents and other programs leave them, from a source of chance."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

__all__ = ["mutated_notebook", "mutated_zip"]

_JUNK: tuple[Any, ...] = (
    *(None, True, -1, 0, 1e308, 2**70, "", " ", "x", "\x00", "\ud83d", "é\u202e", [], {}, [[]]),
    *("def f(:", "%%bash\nls", "!pip install x", "raise SystemExit", "{", "\r\n" * 9, "a" * 5000),
    *({"nbgrader": {"grade_id": 7}}, {"source": {}}, ["a", 1, None], "image/png", "code", "raw"),
)
_NAMES = (
    *("a.ipynb", "../x.ipynb", "/x.ipynb", "C:\\x.ipynb", "x" * 300 + ".ipynb", "\x00.ipynb"),
    *("a/b/c/d/e/f/g.ipynb", "__MACOSX/._a", ".DS_Store", "a.zip", "Ä ö.ipynb", "x.ipynb/", "."),
    *("Ann_1_assignsubmission_file_/x.ipynb", "con", "~$x.docx", "-rf.ipynb", "*.ipynb"),
)


def mutated_notebook(rng: Random, notebook: Any) -> bytes:
    """A notebook after some accidents to its structure, and sometimes to its bytes."""
    found = json.loads(json.dumps(notebook))
    for _ in range(rng.randint(1, 8)):
        found = _accident(rng, found)
    data = json.dumps(found).encode()
    if rng.random() < 0.25:
        data = _damaged(rng, data)
    return data


def mutated_zip(rng: Random, name: str, data: bytes) -> bytes:
    """A zip that holds the data under some name, among others, perhaps damaged."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")  # a name that stands twice is what happens out there
        for _ in range(rng.randint(0, 4)):
            info = zipfile.ZipInfo(rng.choice(_NAMES))
            info.external_attr = rng.choice((0, 0o120777, 0o010644, 0o100644)) << 16
            archive.writestr(info, rng.choice((b"", b"x", b"{}", data, data[: len(data) // 2])))
        if rng.random() < 0.7:
            archive.writestr(zipfile.ZipInfo(name), data)  # no time of day: the same each time
    found = buffer.getvalue()
    return _damaged(rng, found) if rng.random() < 0.6 else found


def _accident(rng: Random, root: Any) -> Any:
    place, key = _anywhere(rng, root)
    if place is None:
        return rng.choice(_JUNK)
    action: Callable[[Random, Any, Any], None] = rng.choice((_delete, _junk, _copy, _swap, _lines))
    action(rng, place, key)
    return root


def _anywhere(rng: Random, root: Any) -> tuple[Any, Any]:
    """A container in the tree and a key of it, deep ones as likely as high ones."""
    places = [(root, key) for key in _keys(root)]
    for container, key in places:
        if len(places) > 4000:
            break
        places += [(container[key], inner) for inner in _keys(container[key])]
    return rng.choice(places) if places else (None, None)


def _keys(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return list(value)
    return list(range(len(value))) if isinstance(value, list) else []


def _delete(rng: Random, place: Any, key: Any) -> None:
    del place[key]


def _junk(rng: Random, place: Any, key: Any) -> None:
    place[key] = rng.choice(_JUNK)


def _copy(rng: Random, place: Any, key: Any) -> None:
    if isinstance(place, list):
        again = json.loads(json.dumps(place[key]))
        place.insert(rng.randint(0, len(place)), again)
    else:
        place[str(rng.choice(_JUNK))] = place[key]


def _swap(rng: Random, place: Any, key: Any) -> None:
    other = rng.choice(_keys(place))
    place[key], place[other] = place[other], place[key]


def _lines(rng: Random, place: Any, key: Any) -> None:
    if isinstance(place[key], str):
        lines = place[key].splitlines(keepends=True)
        rng.shuffle(lines)
        place[key] = lines if rng.random() < 0.5 else "".join(lines[: rng.randint(0, len(lines))])


def _damaged(rng: Random, data: bytes) -> bytes:
    found = bytearray(data)
    for _ in range(rng.randint(1, 6)):
        at = rng.randint(0, len(found))
        match rng.randint(0, 3):
            case 0:
                del found[at:]
            case 1:
                del found[at : at + rng.randint(1, 50)]
            case 2:
                found[at:at] = bytes(rng.randint(0, 255) for _ in range(rng.randint(1, 9)))
            case _:
                found[at : at + 1] = bytes([rng.randint(0, 255)])
    return bytes(found)
