"""What `course ladder` does: climb rung by rung, and keep every rung that is done."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path

import torch

from course.ladder.chart import score_table
from course.ladder.climb import Protocol, climb
from course.ladder.rungs import RUNGS, Rung, Scores, load_scores, save_scores, stored_scores

__all__ = ["climb_all"]


def climb_all(
    names: Sequence[str],
    *,
    seeds: int,
    steps: int,
    out: Path | None = None,
    say: Callable[[str], object] = print,
    replace: bool = False,
    protocol: Protocol | None = None,
) -> str:
    """Climb the rungs of the given names, all if none, and write each as it is done.

    A ladder compares like with like: where scores of another protocol are stored, it stops.
    One thread computes, so that a machine gives the same numbers on every climb.

    Args:
        seeds: runs of each rung, with seeds 0, 1, 2, …
        steps: updates of each run.
        out: file of the scores; the package's own if not given.
        say: told one line for each rung.
        replace: drop stored scores of another protocol.

    Returns:
        The table of all scores.

    Raises:
        ValueError: a name that no rung has, no folder for the file, or scores in it that were
            reached under another protocol.
    """
    rungs = [_find(name) for name in names] or list(RUNGS)
    rungs.sort(key=lambda rung: [r.system for r in RUNGS].index(rung.system))  # share a training
    common = protocol or Protocol(steps=steps)
    path = out or stored_scores()
    asked = asdict(common) | {"seeds": list(range(seeds))}
    if not path.parent.is_dir():
        raise ValueError(f"expected an existing folder for the scores, {path.parent} is none")
    scores = _earlier(path, asked, replace=replace)
    versions = {"python": platform.python_version(), "torch": version("torch")}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for rung in rungs:
            began = time.perf_counter()
            scores[rung.name] = climb(rung, range(seeds), common)
            save_scores(asked | {"versions": versions}, scores, path)
            reached = scores[rung.name]
            say(
                f"{rung.name}: IoU {reached.mean:.3f} ± {reached.half_range:.3f} "
                f"({time.perf_counter() - began:.0f} s)"
            )
    finally:
        torch.set_num_threads(threads)
    return score_table(scores).alt


def _earlier(path: Path, asked: Mapping[str, object], *, replace: bool) -> dict[str, Scores]:
    if not path.exists():
        return {}
    protocol, scores = load_scores(path)
    for name in {**asked, **protocol}:
        if name == "versions" or protocol.get(name) == asked.get(name):
            continue
        if replace:
            return {}
        raise ValueError(
            f"{path} holds {len(scores)} scores with {name} = {protocol.get(name)!r}, this climb "
            f"has {asked.get(name)!r}: choose another --out, or --replace to drop them"
        )
    return scores


def _find(name: str) -> Rung:
    known = {rung.name.lower(): rung for rung in RUNGS}
    if name.lower() in known:
        return known[name.lower()]
    near = get_close_matches(name.lower(), known, 3, 0.5)
    hint = f"; did you mean {' or '.join(known[n].name for n in near)}?" if near else ""
    names = ", ".join(rung.name for rung in RUNGS)
    raise ValueError(f"no rung {name!r}{hint} The rungs: {names}")
