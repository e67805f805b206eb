"""The report of one exercise: as plain text, as HTML that follows the notebook's theme, as JSON."""

from __future__ import annotations

import base64
import html
import io
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

__all__ = ["MIME", "Line", "Report"]

MIME = "application/vnd.segmentation-course.check+json"
_SYMBOL = {"passed": "✓", "failed": "✗", "todo": "○"}
_COLOUR = {"passed": "#1a7f37", "failed": "#c0392b", "todo": "#6e7781"}
_TABLE_LIMIT = 14


@dataclass
class Line:
    """The outcome of one named check.

    Attributes:
        name: as the exercise states it.
        points: what it is worth.
        status: "passed", "failed" or "todo" (the answer is not written yet).
        hidden: whether it belongs to the hidden tests.
        message: the usual cause, or "".
        detail: what was expected and what came, or "".
        printed: what the student's code printed meanwhile.
        expected, actual: the two values where a picture of them helps.
    """

    name: str
    points: float
    status: str
    hidden: bool = False
    message: str = ""
    detail: str = ""
    printed: str = ""
    expected: Any = field(default=None, repr=False)
    actual: Any = field(default=None, repr=False)

    @property
    def earned(self) -> float:
        return self.points if self.status == "passed" else 0.0


@dataclass
class Report:
    """All checks of one exercise so far.

    Attributes:
        exercise: its number, such as "8.1".
        points: what the whole exercise is worth.
        lines: one per named check.
        forbidden: sentences about forbidden calls; any of them voids the exercise.
    """

    exercise: str
    points: float
    lines: list[Line] = field(default_factory=list)
    forbidden: list[str] = field(default_factory=list)

    @property
    def earned(self) -> float:
        """Points: the share of the checks that are present, 0 after a forbidden call."""
        present = sum(line.points for line in self.lines)
        if not present or self.forbidden:
            return 0.0
        return round(self.points * sum(line.earned for line in self.lines) / present, 2)

    @property
    def headline(self) -> str:
        """One line: checks that pass, and what the hidden ones or a forbidden call decide."""
        visible = [line for line in self.lines if not line.hidden]
        passed = sum(line.status == "passed" for line in visible)
        if self.lines and all(line.status == "todo" for line in self.lines):
            return f"Exercise {self.exercise}: not written yet"
        head = f"Exercise {self.exercise}: {passed} of {len(visible)} visible checks pass"
        if self.forbidden:
            return f"{head}, but 0 of {self.points:g} points while a forbidden call is in the code"
        if hidden := [line for line in self.lines if line.hidden]:
            good = sum(line.status == "passed" for line in hidden)
            return (
                f"{head}, {good} of {len(hidden)} hidden; {self.earned:g} of {self.points:g} points"
            )
        rest = self.points - sum(line.points for line in visible)
        return f"{head}; hidden checks decide {rest:g} of {self.points:g} points" if rest else head

    def text(self) -> str:
        """The report for a terminal."""
        rows = [self.headline, *(f"  ! {sentence}" for sentence in self.forbidden)]
        for line in self.lines:
            rows.append(f"  {_SYMBOL[line.status]} {line.name} ({line.points:g})")
            if line.hidden:
                rows += [f"      → {line.message}"] if line.message else []
                continue
            rows += [f"      → {line.message}"] if line.message else []
            rows += [f"      {part}" for part in line.detail.splitlines()]
            rows += [f"      printed: {line.printed}"] if line.printed else []
        return "\n".join(rows)

    def html(self) -> str:
        """The report for a notebook, readable in light and dark themes."""
        rows = "".join(_html_row(line) for line in self.lines)
        warn = "".join(
            f'<p style="margin:2px 0;color:#c0392b"><b>✗ {html.escape(s)}</b></p>'
            for s in self.forbidden
        )
        return (
            '<section style="border-left:4px solid #8c959f;padding:2px 12px;margin:4px 0">'
            f'<p style="margin:2px 0"><b>{html.escape(self.headline)}</b></p>{warn}{rows}</section>'
        )

    def record(self) -> dict[str, Any]:
        """The report as plain data, for graders and class reports."""
        lines = []
        for line in self.lines:
            entry = asdict(line)
            del entry["expected"], entry["actual"]
            lines.append({**entry, "earned": line.earned, "passed": line.status == "passed"})
        return {
            "exercise": self.exercise,
            "points": self.points,
            "earned": self.earned,
            "forbidden": list(self.forbidden),
            "checks": lines,
        }

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        return {"text/plain": self.text(), "text/html": self.html(), MIME: self.record()}


def _html_row(line: Line) -> str:
    worth = f"{line.points:g} point" + ("" if line.points == 1 else "s")
    name = f"{html.escape(line.name)} <small>({worth}{', hidden' if line.hidden else ''})</small>"
    mark = (
        f'<span style="color:{_COLOUR[line.status]};font-weight:bold">{_SYMBOL[line.status]}</span>'
    )
    said = f'<span style="position:absolute;left:-9999px">{line.status}: </span>'
    out = f'<div style="margin:3px 0">{mark} {said}{name}'
    if line.message:
        out += f'<div style="margin-left:1.4em">→ <b>{html.escape(line.message)}</b></div>'
    if not line.hidden:
        if line.detail:
            detail = html.escape(line.detail).replace("\n", "<br>")
            out += f'<div style="margin-left:1.4em;font-family:monospace">{detail}</div>'
        out += _pair(line.expected, line.actual)
        if line.printed:
            out += (
                '<div style="margin-left:1.4em"><small>your code printed: '
                f"<code>{html.escape(line.printed)}</code></small></div>"
            )
    return out + "</div>"


def _pair(expected: Any, actual: Any) -> str:
    """Expected and actual side by side: tables of numbers when small, pictures when large."""
    if not (isinstance(expected, np.ndarray) and isinstance(actual, np.ndarray)):
        return ""
    e, a = np.squeeze(expected), np.squeeze(actual)
    if e.ndim == 1 and a.ndim == 1:
        e, a = e[None], a[None]
    if e.ndim != 2 or a.ndim != 2 or not e.size or not a.size:
        return ""
    if max(*e.shape, *a.shape) <= _TABLE_LIMIT:
        wrong = (
            ~np.isclose(a.astype(float), e.astype(float), rtol=1e-5, atol=1e-5, equal_nan=True)
            if a.shape == e.shape
            else np.zeros(a.shape, bool)
        )
        panels = [("expected", _table(e, None)), ("yours", _table(a, wrong))]
    else:
        low = float(np.nanmin(e)) if np.isfinite(e).any() else 0.0
        high = float(np.nanmax(e)) if np.isfinite(e).any() else 1.0
        panels = [("expected", _picture(e, low, high, "expected"))]
        panels.append(("yours", _picture(a, low, high, "yours")))
        if a.shape == e.shape:
            gap = np.abs(a.astype(float) - e.astype(float))
            top = float(np.nanmax(gap)) if np.isfinite(gap).any() else 1.0
            words = f"absolute difference, largest {top:.3g}"
            panels.append((words, _picture(gap, 0.0, top or 1.0, words)))
    cells = "".join(
        f'<figure style="margin:4px 12px 4px 0"><figcaption><small>{html.escape(title)}</small>'
        f"</figcaption>{body}</figure>"
        for title, body in panels
    )
    return f'<div style="margin-left:1.4em;display:flex;flex-wrap:wrap">{cells}</div>'


def _table(values: np.ndarray, wrong: np.ndarray | None) -> str:
    rows = []
    for i, row in enumerate(values):
        cells = []
        for j, value in enumerate(row):
            bad = wrong is not None and wrong[i, j]
            style = "padding:1px 6px;text-align:right;font-family:monospace"
            style += ";outline:2px solid #c0392b;font-weight:bold" if bad else ""
            shown = f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)
            cells.append(f'<td style="{style}">{shown}{" ✗" if bad else ""}</td>')
        rows.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table>{''.join(rows)}</table>"


def _picture(values: np.ndarray, low: float, high: float, alt: str) -> str:
    from PIL import Image

    scaled = (np.nan_to_num(values.astype(float), nan=low) - low) / ((high - low) or 1.0)
    grey = (np.clip(scaled, 0, 1) * 255).astype(np.uint8)
    zoom = max(1, 160 // max(grey.shape))
    image = Image.fromarray(np.kron(grey, np.ones((zoom, zoom), np.uint8)))
    if max(image.size) > 240:
        image.thumbnail((240, 240))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(alt)}" src="data:image/png;base64,{data}">'
