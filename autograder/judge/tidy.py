"""Outputs that came out of the box: what has the form of a notebook's output is kept."""

from __future__ import annotations

import json
from typing import Any

from autograder.judge.frames import WireError

__all__ = ["tidy"]

_MOST = 2000
_ROOM = 4
_CHECK = "application/vnd.segmentation-course.check+json"


def tidy(outputs: Any, most_bytes: int) -> list[dict[str, Any]]:
    """Rebuild the outputs of a student's cell from exact types.

    A student's cell never shows a check's report: only checks have one.

    Raises:
        WireError: they are no outputs, or larger than the box allows.

    >>> tidy([{"output_type": "stream", "name": "stdout", "text": "hi", "evil": 1}], 100)
    [{'output_type': 'stream', 'name': 'stdout', 'text': 'hi'}]
    """
    if type(outputs) is not list or len(outputs) > _MOST:
        raise WireError("outputs of wrong form came")
    kept = [_tidy(output) for output in outputs]
    if len(json.dumps(kept)) > _ROOM * most_bytes + 1_000_000:
        raise WireError("outputs larger than allowed came")
    return kept


def _tidy(output: Any) -> dict[str, Any]:
    if type(output) is not dict:
        raise WireError("an output of wrong form came")
    kind = output.get("output_type")
    if kind == "stream":
        name = "stderr" if output.get("name") == "stderr" else "stdout"
        return {"output_type": kind, "name": name, "text": _text(output.get("text"))}
    if kind == "error":
        lines = output.get("traceback")
        return {
            "output_type": kind,
            "ename": _text(output.get("ename")),
            "evalue": _text(output.get("evalue")),
            "traceback": [_text(line) for line in lines] if type(lines) is list else [],
        }
    if kind in ("display_data", "execute_result"):
        data, metadata = output.get("data"), output.get("metadata")
        if type(data) is not dict or type(metadata) is not dict:
            raise WireError("an output of wrong form came")
        data = {
            _text(key): _text(value) if type(value) is str else value
            for key, value in data.items()
            if key != _CHECK and (type(value) is str or key.endswith("json"))
        }
        return {"output_type": kind, "data": data, "metadata": metadata}
    raise WireError("an output of unknown kind came")


def _text(value: Any) -> str:
    if type(value) is not str:
        raise WireError("an output without text came")
    return value.encode("utf-8", "replace").decode()
