"""Run the corpus and print the table of verdicts; `--write` keeps it in VERDICTS.md.

python -m tests.hostile --level L3 --lab tiny "an endless loop"
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from .corpus import CASES, FAMILIES
from .harness import grade_cases, judge, secrets_of
from .labs import LAB8, TINY
from .levels import ENGINES, best


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="cases, by a part of the name; all if none")
    parser.add_argument("--level", default=best(), choices=list(ENGINES))
    parser.add_argument("--lab", default="tiny", choices=["tiny", "8"])
    parser.add_argument("--family", choices=FAMILIES)
    parser.add_argument("--tame", action="store_true", help="only what needs no sandbox")
    given = parser.parse_args()
    lab = TINY if given.lab == "tiny" else LAB8
    chosen = [
        case
        for case in CASES
        if (not given.names or any(name in case.name for name in given.names))
        and given.family in (None, case.family)
        and not (given.tame and case.lethal)
    ]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        found = grade_cases(lab, chosen, ENGINES[given.level], Path(folder) / "run")
        with tempfile.TemporaryDirectory() as other:
            secrets = secrets_of(lab.make_classroom(Path(other)), lab)
    bad = 0
    for case in chosen:
        verdict = judge(case, found.verdicts[case.name], secrets)
        bad += bool(verdict.wrong)
        mark = "WRONG" if verdict.wrong else "right"
        print(f"{mark} {case.family}: {case.name}: {'; '.join(verdict.wrong) or _brief(verdict)}")
    print(*found.damage, sep="\n")
    print(f"{len(chosen) - bad} of {len(chosen)} right, {found.cpu:.0f} s of processor time")
    return bool(bad or found.damage)


def _brief(verdict) -> str:
    if verdict.status != "graded":
        return verdict.reason[:90]
    return f"{verdict.guilty:.0%} {verdict.others:.0%} {' '.join(verdict.flags)} {verdict.limits}"


if __name__ == "__main__":
    raise SystemExit(main())
