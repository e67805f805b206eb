"""Run the corpus, print the verdicts, and keep them in VERDICTS.md with `--write`.

uv run python -m tests.hostile "an endless loop"         the cases with these words, at level 3
uv run python -m tests.hostile --write                   all cases, in every kind of box, both labs
uv run python -m tests.hostile --level L2 --nobody       at level 2, as a user without rights
uv run python -m tests.hostile --level L1 --write        what harms no machine, without a box
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from .corpus import CASES, FAMILIES
from .harness import Verdict, run_corpus
from .labs import LAB8, TINY
from .levels import LEVELS, OPEN, as_nobody, missing, python_for_all
from .stock import STOCK, run_stock
from .table import write_column

_LABS = {"tiny": TINY, "lab 8": LAB8}


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("words", nargs="*", help="parts of the names of cases; all if none")
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--level", choices=[*LEVELS, *OPEN])
    parser.add_argument("--lab", choices=list(_LABS))
    parser.add_argument("--real", action="store_true", help="the selection for real labs")
    parser.add_argument("--nobody", action="store_true", help="as a user without rights")
    parser.add_argument("--stock", action="store_true", help="nbgrader, on its selection")
    parser.add_argument("--write", action="store_true", help="keep the verdicts")
    parser.add_argument("--json", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    everything = given.write and not (given.level or given.lab or given.nobody or given.stock)
    if everything:
        runs = [("tiny", "L3", False), ("tiny", "L2", False), ("tiny", "L3", True)]
        runs += [("tiny", "L2", True), ("tiny", "L1", False)]
        runs += [("lab 8", "L3", False), ("lab 8", "L2", True)]
    else:
        runs = [(given.lab or "tiny", given.level or "L3", given.nobody)]
    bad = 0
    for lab, level, nobody in [] if given.stock else runs:
        bad += _one(given, lab, level, nobody)
    if given.stock or everything:
        chosen = [case for case in CASES if case.name in STOCK and _wanted(case, given)]
        found = run_stock(chosen)
        bad += _show("nbgrader", found, given.write)
    return bool(bad)


def _one(given: argparse.Namespace, lab: str, level: str, nobody: bool) -> int:
    column = f"{lab} {level}{' nobody' * nobody}"
    if nobody:
        if not python_for_all():
            print(f"{column}: left out, no Python that nobody may run")
            return 0
        more = ["--family", given.family] if given.family else []
        more += ["--real"] if given.real else []
        done = as_nobody([*given.words, *more, "--lab", lab, "--level", level, "--json"])
        if not done.stdout.startswith("{"):
            print(f"{column}: {done.stderr[-2000:]}")
            return 1
        return _show(column, json.loads(done.stdout), given.write)
    if reason := missing(level):
        print(f"{column}: left out, {reason}")
        return 0
    chosen = [
        case for case in CASES if _wanted(case, given) and not (level in OPEN and case.lethal)
    ]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        verdicts, damage, cpu = run_corpus(
            _LABS[lab], chosen, (LEVELS | OPEN)[level], Path(folder), compare=not given.words
        )
    found = {name: "; ".join(verdict.wrong) for name, verdict in verdicts.items()}
    found |= {"(the class)": "; ".join(damage)} if damage else {}
    if given.json:
        print(json.dumps(found))
        return 0
    for name, verdict in verdicts.items():
        print(f"{name}: {_brief(verdict)}")
    print(f"{cpu:.0f} s of processor time")
    return _show(column, found, given.write)


def _wanted(case, given: argparse.Namespace) -> bool:
    named = not given.words or any(word in case.name for word in given.words)
    chosen = case.real or not given.real
    return named and chosen and given.family in (None, case.family)


def _show(column: str, found: dict[str, str], write: bool) -> int:
    wrong = {name: words for name, words in found.items() if words}
    for name, words in wrong.items():
        print(f"WRONG {name}: {words}")
    print(f"{column}: {len(found) - len(wrong)} of {len(found)} verdicts are right")
    if write:
        write_column(column, found, CASES)
    return len(wrong)


def _brief(verdict: Verdict) -> str:
    if verdict.status != "graded":
        return verdict.reason[:90]
    shares = f"{100 * (verdict.guilty or 0):g} % / {100 * (verdict.others or 0):g} %"
    return " ".join([shares, *verdict.flags, *verdict.limits])


if __name__ == "__main__":
    raise SystemExit(main())
