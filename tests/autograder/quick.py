"""An engine without a kernel, for tests of what stands around the door: milliseconds, no torch.

It really runs the rebuilt notebook of the tiny lab, but in this process: for trusted cells only.
"""

from __future__ import annotations

import ast
import os
import threading
from pathlib import Path
from typing import Any

from nbformat import v4

from autograder.execution import Outcome, Submission, ungraded
from autograder.limits import Limits
from autograder.notebooks import read_cells
from autograder.rebuild import rebuild
from autograder.records import Result
from autograder.schedule import engines
from autograder.scoring import score
from autograder.syntax import tree_of
from autograder.template import Template

SECONDS = "AUTOGRADER_TEST_SECONDS"
"""Environment variable: seconds that each submission takes."""


class QuickEngine:
    """Runs cells with `exec`.

    Attributes:
        calls: (student, questions asked for) in the order of grading.
    """

    name = "quick"

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds
        self.calls: list[tuple[str, frozenset[str] | None]] = []
        self.closed = threading.Event()

    def grade(
        self,
        submission: Submission,
        template: Template,
        limits: Limits,
        *,
        questions: frozenset[str] | None = None,
    ) -> Outcome:
        """See `Engine.grade`."""
        self.calls.append((submission.student, questions))
        try:
            rebuilt = rebuild(template, read_cells(submission.data))
        except ValueError as error:
            return ungraded(submission, template, self.name, "rejected", f"the notebook {error}")
        self.closed.wait(self.seconds)
        notebook, names, count = rebuilt.notebook(), dict[str, Any](), 0
        for cell, node in zip(rebuilt.cells, notebook.cells, strict=True):
            test = cell.ours.grade_id if cell.ours and cell.ours.is_check else ""
            if cell.runs and (not test or questions is None or test in questions):
                count += 1
                node.execution_count, node.outputs = count, _run(cell.source, names, count)
        judged, odd = score(rebuilt, notebook)
        result = Result(
            submission.student,
            submission.name,
            template.lab,
            "graded",
            tuple(judged),
            (*submission.flags, *rebuilt.flags, *odd),
            engine=self.name,
            seconds=0.01,
        )
        return Outcome(result, rebuilt, notebook)

    def close(self) -> None:
        """See `Engine.close`."""
        self.closed.set()


def _run(source: str, names: dict[str, Any], count: int) -> list[Any]:
    outputs: list[Any] = []

    def display(data: dict[str, Any], raw: bool) -> None:
        outputs.append(v4.new_output("display_data", data=data))

    try:
        tree = tree_of(source)
        last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
        names["display"] = display
        exec(compile(tree, "cell", "exec"), names)
        names["display"] = display
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
            if value is not None:
                data = {"text/plain": repr(value)}
                outputs.append(v4.new_output("execute_result", data=data, execution_count=count))
    except Exception as error:
        name, text = type(error).__name__, str(error)
        outputs.append(v4.new_output("error", ename=name, evalue=text, traceback=[text]))
    return outputs


def register() -> None:
    """Make the engine known to `--engine quick`."""
    engines.ENGINES["quick"] = lambda recipe, files, cache: QuickEngine(
        float(os.environ.get(SECONDS, "0"))
    )


def beside(**settings: str) -> dict[str, str]:
    """The environment for a process that imports this module, with some settings more."""
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path, **settings}
