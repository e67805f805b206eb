"""The claims page: what every lab's executed solution says about its paper's claim."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from nbformat import NotebookNode

from course.claims import MIME, Claim

__all__ = ["claims_in", "claims_page", "without_numbers"]

_HEAD = """# Claims

Every lab puts a claim of its paper to the test in miniature, over several seeds. The rule that gives
the last column was fixed beforehand: *reproduced* where the whole 95 % interval of the mean lies
above the effect that the lab names, *not reproduced* where it lies below, *cannot tell* otherwise.
A miniature says nothing about the paper's own setting; it says what happens on images that a
laptop trains on in a minute. Data, sizes and thresholds were settled on pilot runs, so that the
effect has room to show; where it did not show on other data, the lab says so.

This page is written by the test suite from the executed solutions:

    uv run pytest tests/labs/test_released.py -k claims --write-docs

| Lab | Claim | The paper | Measured here | Expected | Verdict |
|--:|:--|:--|:--|:--|:--|
"""


def claims_in(notebook: NotebookNode) -> list[Claim]:
    """The claim cards that an executed notebook shows, in order."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            data: Any = output.get("data", {}).get(MIME)
            if data is not None:
                fields = {k: v for k, v in data.items() if k != "verdict"}
                found.append(Claim(**fields | {"values": tuple(fields["values"])}))
    return found


def claims_page(executed: Mapping[str, NotebookNode]) -> str:
    """The page as Markdown, labs in their order."""
    cards = [card for lab in sorted(executed) for card in claims_in(executed[lab])]
    return _HEAD + "".join(_row(card) for card in cards)


def _row(card: Claim) -> str:
    cells: Iterable[str] = (
        str(card.lab),
        card.statement,
        card.paper,
        f"{card.quantity}: {card.measured}",
        f"at least {card.at_least:g}",
        f"**{card.verdict}**",
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def without_numbers(page: str) -> str:
    """The page with every measured number replaced: another machine rounds differently."""
    return re.sub(r"-?\d[\d,]*(\.\d+)?(e[+-]?\d+)?", "0", page)
