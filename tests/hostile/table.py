"""The table of verdicts: VERDICTS.md is made of verdicts.json, and that of runs of the corpus."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from .case import Case

__all__ = ["COMMAND", "TABLE", "deserves", "read_columns", "render", "write_column"]

TABLE = Path(__file__).with_name("VERDICTS.md")
_RECORD = Path(__file__).with_name("verdicts.json")
COMMAND = "uv run python -m tests.hostile --write"
_ORDER = (
    *("tiny L3", "tiny L2", "tiny L3 nobody", "tiny L2 nobody", "tiny L1"),
    *("lab 8 L3", "lab 8 L2 nobody", "nbgrader"),
)
_WORDS = {
    "honest": "Honest but damaged: the points they deserve, and a flag for every repair",
    "broken": "Broken files and traps: refused in one sentence, and the class goes on",
    "resources": "Code that eats the machine: only the guilty question loses points",
    "cheating": "Attacks on points, secrets, the machine and other students",
}


def deserves(case: Case) -> str:
    """The verdict record of a case in short."""
    if case.status == "rejected":
        return "refused"
    parts = [_share(case.guilty), _share(case.others)]
    text = " / ".join(parts)
    return f"{text}, {', '.join(sorted(case.flags))}" if case.flags else text


def _share(share: float | None) -> str:
    return "any" if share is None else f"{100 * share:g} %"


def read_columns() -> dict[str, dict[str, str]]:
    """Column → case → "" where the verdict was right, else what was wrong."""
    return json.loads(_RECORD.read_text("utf-8")) if _RECORD.is_file() else {}


def write_column(column: str, verdicts: dict[str, str], cases: Iterable[Case]) -> None:
    """Keep the verdicts of one run, and make the table again."""
    known = [case.name for case in cases]
    columns = read_columns()
    kept = columns.get(column, {}) | verdicts
    columns[column] = {name: kept[name] for name in known if name in kept}
    text = json.dumps(columns, indent=1, ensure_ascii=False)
    _RECORD.write_text(text + "\n", encoding="utf-8")
    TABLE.write_text(render(cases, columns), encoding="utf-8")


def render(cases: Iterable[Case], columns: dict[str, dict[str, str]]) -> str:
    """The page."""
    cases = list(cases)
    names = [name for name in _ORDER if name in columns]
    lines = [
        "# Verdicts",
        "",
        f"{len(cases)} hand-ins and what became of them. Made by `{COMMAND}`,",
        "never by hand.",
        "A verdict is right when status, points, flags, limits and secrecy are as the case wants",
        "them; see `case.py`. *Deserves* gives the shares of the points of the exercise that the",
        'case is about and of all others. "nobody" is the same run by a user without any rights.',
        "Level 1 hides nothing, and is not run with what would do harm there: read its column as",
        "the reason why no one should grade strangers' code so.",
        "The last column is stock `nbgrader autograde` on a selection: what it did with points.",
        "",
        "| | " + " | ".join(names) + " |",
        "|:--|" + "--:|" * len(names),
    ]
    for family in (*_WORDS, "all"):
        mine = [case for case in cases if family in ("all", case.family)]
        counts = []
        for name in names:
            done = [columns[name][case.name] for case in mine if case.name in columns[name]]
            counts.append(f"{done.count('')} of {len(done)}" if done else "")
        lines.append(f"| {family} | " + " | ".join(counts) + " |")
    for family, words in _WORDS.items():
        lines += ["", f"## {words}", "", f"| case | deserves | {' | '.join(names)} |"]
        lines.append("|:--|:--|" + ":--|" * len(names))
        for case in cases:
            if case.family == family:
                cells = [_mark(columns[name].get(case.name)) for name in names]
                lines.append(f"| {case.name} | {deserves(case)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _mark(wrong: str | None) -> str:
    if wrong is None:
        return ""
    return f"✗ {wrong.replace('|', '/')[:120]}" if wrong else "✓"
