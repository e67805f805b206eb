"""Where does reverse attention help? A search over settings, and a second look on fresh seeds.

    uv run pytest -m slow -n 0 tests/benchmarks/test_reverse_attention.py --write-docs

writes docs/reverse_attention.md. The rules were fixed before the first run, and are on the page.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from reverse_study import RIVALS, SETTINGS, TEST, TRAIN, Branches, Setting, images, run

from course.claims import Claim

PAGE = Path(__file__).parents[2] / "docs" / "reverse_attention.md"
SEARCH, FRESH = range(6), range(100, 110)
EFFECT, WORTH = 0.01, 0.005  # gain that counts; mean gain that earns a second look


@dataclass(frozen=True)
class Found:
    """Scores of the three rivals in one setting: rival → (mean IoU, worst confusion) of a seed."""

    setting: Setting
    scores: dict[str, list[tuple[float, float]]]

    def gain(self, over: str) -> Claim:
        """Mean IoU of reverse attention less that of a rival, paired by seed."""
        pairs = zip(self.scores[over], self.scores["reverse attention"])
        values = tuple(ours[0] - theirs[0] for theirs, ours in pairs)
        return Claim(13, "", f"gain over {over}", "", values, EFFECT)

    @property
    def worth_it(self) -> bool:
        return all(self.gain(over).mean >= WORTH for over in RIVALS[:2])

    def row(self) -> str:
        means = [
            f"{sum(iou for iou, _ in self.scores[rival]) / len(self.scores[rival]):.3f}"
            for rival in RIVALS
        ]
        gains = [_words(self.gain(over)) for over in RIVALS[:2]]
        worst = [
            f"{sum(rate for _, rate in self.scores[rival]) / len(self.scores[rival]):.1%}"
            for rival in (RIVALS[0], RIVALS[2])
        ]
        return f"| {self.setting.name} | {' | '.join([*means, *gains, ' → '.join(worst)])} |"


def _words(gain: Claim) -> str:
    low, high = gain.interval
    return f"{gain.mean:+.3f} ({low:+.3f} to {high:+.3f}), {gain.verdict}"


def measure(setting: Setting, seeds: range) -> Found:
    images.cache_clear()
    scores = {rival: [run(setting, rival, seed) for seed in seeds] for rival in RIVALS}
    return Found(setting, scores)


_HEAD = f"""---
orphan: true
---

# Where does reverse attention help?

Lab 13 measures no gain of reverse attention (Huang et al. 2017) over a plain head. This page looks
for a setting in which there is one. The rules were fixed before the first run:

- Eight settings, named beforehand: the lab's own, six that change one thing of it, and one that
  comes as near to the paper's as three convolutions can.
- Three rivals with equally many parameters (the plain one up to 2 % more) and steps. *Plain* has
  one head on wider features. *Two heads* adds the answers of two heads and trains with three
  losses as well, so it lacks only the turned sign and the mask: a gain over *plain* alone may be
  owed to the extra losses.
- Each seed has its own {TRAIN} training and {TEST} test images, the same for all rivals.
- Search: {len(SEARCH)} seeds. A gain of {EFFECT:g} in mean IoU counts as an effect. A setting in
  which the mean gain over *both* rivals is {WORTH:g} or more is measured again on {len(FRESH)}
  seeds that took no part in the search, for among eight settings one looks good by luck. Only
  that second look counts.

Gains are those of reverse attention, with the 95 % interval of the mean over the seeds. The last
column is how often the most confused pair of textures is taken for one another. Written by

    uv run pytest -m slow -n 0 tests/benchmarks/test_reverse_attention.py --write-docs

"""
_COLUMNS = ("setting", *RIVALS, *(f"gain over {rival}" for rival in RIVALS[:2]), "worst pair")
_TABLE = f"| {' | '.join(_COLUMNS)} |\n|:--|--:|--:|--:|:--|:--|:--|\n"


def page(search: list[Found], again: list[Found], seconds: float) -> str:
    """The page as Markdown, the answer included."""
    text = _HEAD + "## The search\n\n" + _TABLE + "".join(f"{f.row()}\n" for f in search)
    text += "\n## The second look, on fresh seeds\n\n"
    if again:
        text += _TABLE + "".join(f"{found.row()}\n" for found in again) + "\n"
    else:
        text += "No setting earned one.\n\n"
    helped = [
        found.setting.name
        for found in again
        if all(found.gain(over).verdict == "reproduced" for over in RIVALS[:2])
    ]
    answer = (
        f"Reverse attention helps, by {EFFECT:g} or more over both rivals: {'; '.join(helped)}."
        if helped
        else f"In none of these settings does reverse attention show a gain of {EFFECT:g} over "
        "both rivals that a second look confirms."
    )
    cost = f"{seconds / 60:.0f} minutes of one processor in all."
    return text + f"## The answer\n\n{answer}\n\n{cost}\n"


def without_numbers(text: str) -> str:
    return re.sub(r"[-+]?\d[\d.]*", "0", text)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_rivals_have_the_same_budget(setting: Setting) -> None:
    count = {
        rival: sum(p.numel() for p in Branches(rival, setting, len(setting.slants)).parameters())
        for rival in RIVALS
    }
    assert count["two heads"] == count["reverse attention"]
    assert 1 <= count["plain"] / count["reverse attention"] < 1.02


def test_the_page_reports_every_setting_once_in_the_search() -> None:
    search = PAGE.read_text("utf-8").split("## The search")[1].split("## ")[0]
    rows = [line for line in search.splitlines() if line.startswith("| ")][1:]
    assert [row.split("|")[1].strip() for row in rows] == [setting.name for setting in SETTINGS]


@pytest.mark.slow
def test_the_page_is_what_comes_out(request: pytest.FixtureRequest) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        start = time.process_time()
        search = [measure(setting, SEARCH) for setting in SETTINGS]
        again = [measure(found.setting, FRESH) for found in search if found.worth_it]
        text = page(search, again, time.process_time() - start)
    finally:
        torch.set_num_threads(threads)
    if request.config.getoption("--write-docs"):
        PAGE.write_text(text, encoding="utf-8")
    assert without_numbers(PAGE.read_text(encoding="utf-8")) == without_numbers(text)
