"""From the outputs of test cells to points, named checks and flags.

nbgrader reads the first result of a cell as its points, takes silence for full marks and any text
on the error stream for none. Here an error always means none, warnings mean nothing, and where a
test cell ends in `check.score()` there must be exactly one number. The outputs are then made to
say the same to nbgrader, so that its gradebook and ours cannot differ.
"""

from __future__ import annotations

import ast
import math
import re
from dataclasses import dataclass, field
from typing import Any

from autograder.rebuild import Rebuilt
from autograder.records import Check, Flag, Question
from autograder.syntax import parse
from autograder.template import TemplateCell

__all__ = ["MIME", "hidden_names", "score"]

MIME = "application/vnd.segmentation-course.check+json"
_HIDDEN = re.compile(r"BEGIN HIDDEN TESTS(.*?)END HIDDEN TESTS", re.S)
_CHECK_NAME = re.compile(r"""\bcheck(?:\.hidden)?\(\s*(["'])(.*?)\1""")
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")  # no place in a page
_LONGEST = 1000
_OURS = {
    "TimeLimit": "Your code did not come to an end: is there a loop that never stops?",
    "KernelDied": "Your code ended the whole Python process.",
}


@dataclass
class _Reading:
    earned: float
    error: str = ""
    checks: tuple[Check, ...] = ()
    flags: list[Flag] = field(default_factory=list)


def score(rebuilt: Rebuilt, notebook: Any) -> tuple[list[Question], list[Flag]]:
    """Read the points of an executed notebook, and make its outputs say them to nbgrader.

    Args:
        rebuilt: what was run.
        notebook: `rebuilt.notebook()` with outputs; outputs of test cells are changed in place.
    """
    questions, flags = [], []
    for cell, node in zip(rebuilt.cells, notebook.cells, strict=True):
        ours = cell.ours
        if ours is None or not ours.is_graded:
            continue
        answered = rebuilt.answered(ours)
        exercise = rebuilt.template.exercise_of(ours)
        if ours.is_check:
            found = _read(ours, node)
            _say_to_nbgrader(node, found, ours)
            flags += found.flags
            earned, checks, error = found.earned, found.checks, found.error
        else:
            # As nbgrader: an untouched written answer earns nothing, any other waits for a person.
            earned, checks, error = (None if answered else 0.0), (), ""
        questions.append(
            Question(ours.grade_id, exercise, ours.points, earned, answered, checks, error)
        )
    return questions, flags


def _read(ours: TemplateCell, node: Any) -> _Reading:
    errors = [o for o in node.outputs if o.output_type == "error"]
    checks, claimed = _report(ours, node)
    if errors:
        return _Reading(0.0, _error_text(errors[-1]))
    if node.execution_count is None:
        return _Reading(0.0, "the check did not run")
    results = [o for o in node.outputs if o.output_type == "execute_result"]
    if not _ends_in_score(ours.source):
        return _plain_result(ours, results, checks)
    if len(results) != 1:
        flag = Flag("score-odd", f"{len(results)} results where one is due", ours.grade_id)
        return _Reading(0.0, "the check gave no valid score", checks, [flag])
    value = _number(results[0])
    if value is None or not 0 <= value <= ours.points + 1e-9:
        flag = Flag("score-odd", f"the result is no number of points: {value}", ours.grade_id)
        return _Reading(0.0, "the check gave no valid score", checks, [flag])
    flags = []
    if claimed is not None and abs(claimed - value) > 0.011:
        detail = f"the report says {claimed:g}, the result {value:g}; the smaller one counts"
        flags.append(Flag("score-mismatch", detail, ours.grade_id))
        value = max(0.0, min(value, claimed))
    return _Reading(min(value, ours.points), checks=checks, flags=flags)


def _plain_result(ours: TemplateCell, results: list[Any], checks: tuple[Check, ...]) -> _Reading:
    """A cell of bare asserts, as nbgrader documents it: silence is full marks."""
    value = _number(results[0]) if results else None
    if value is None:
        return _Reading(ours.points, checks=checks)
    return _Reading(min(max(value, 0.0), ours.points), checks=checks)


def _number(output: Any) -> float | None:
    text = output.get("data", {}).get("text/plain", "")
    try:
        value = float("".join(text) if isinstance(text, list) else text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _ends_in_score(source: str) -> bool:
    tree = parse(source)
    last = tree.body[-1] if tree and tree.body else None
    call = last.value if isinstance(last, ast.Expr) else None
    function = call.func if isinstance(call, ast.Call) else None
    return isinstance(function, ast.Attribute) and function.attr == "score"


def hidden_names(source: str) -> set[str]:
    """Names of the checks that stand between the markers of hidden tests.

    >>> sorted(hidden_names('''
    ... with check("a", points=1): ...
    ... ### BEGIN HIDDEN TESTS
    ... with check.hidden("b", points=1): ...
    ... ### END HIDDEN TESTS'''))
    ['b']
    """
    return {m[2] for region in _HIDDEN.findall(source) for m in _CHECK_NAME.finditer(region)}


def _report(ours: TemplateCell, node: Any) -> tuple[tuple[Check, ...], float | None]:
    """The named checks that the cell showed, and the sum that it claims."""
    shown = [o.data[MIME] for o in node.outputs if MIME in o.get("data", {})]
    record = shown[-1] if shown and isinstance(shown[-1], dict) else {}
    lines = record.get("checks")
    hidden = hidden_names(ours.source)
    checks = tuple(
        _check(line, hidden)
        for line in (lines if isinstance(lines, list) else [])[:200]
        if isinstance(line, dict)
    )
    claimed = record.get("earned")
    if not isinstance(claimed, int | float) or not math.isfinite(claimed):
        return checks, None
    return checks, float(claimed)


def _check(line: dict[str, Any], hidden_by_text: set[str]) -> Check:
    name = _text(line.get("name"))
    hidden = line.get("hidden") is True or name in hidden_by_text
    return Check(
        name,
        _points(line.get("points")),
        _points(line.get("earned")),
        line.get("passed") is True,
        hidden,
        _text(line.get("message")) or _text(line.get("hint")),
        "" if hidden else _text(line.get("detail")),
    )


def _points(value: Any) -> float:
    good = isinstance(value, int | float) and math.isfinite(value) and value > 0
    return float(value) if good else 0.0


def _text(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    value = _CONTROL.sub("", _ANSI.sub("", value))
    return value if len(value) <= _LONGEST else value[:_LONGEST] + " …"


def _error_text(output: Any) -> str:
    name, value = str(output.get("ename", "")), str(output.get("evalue", ""))
    if name in _OURS:
        return f"{_OURS[name]} ({value})"
    return _text(_ANSI.sub("", f"{name}: {value}".rstrip(": ")))


def _say_to_nbgrader(node: Any, found: _Reading, ours: TemplateCell) -> None:
    """Rewrite the outputs so that nbgrader's rules give the same points."""
    kept = []
    for output in node.outputs:
        if output.output_type == "stream" and output.name == "stderr":
            output.name = "stdout"
        if output.output_type == "execute_result":
            if found.error:
                continue
            output.data["text/plain"] = repr(found.earned)
        kept.append(output)
    if found.error and not any(o.output_type == "error" for o in kept):
        import nbformat

        kept.append(nbformat.v4.new_output("error", ename="NoScore", evalue=found.error))
    node.outputs = kept
