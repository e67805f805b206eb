"""`autograder zoo`: what the checks of a lab catch, and what they let through."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from autograder.commands.options import Course, Labs
from autograder.errors import AutograderError
from autograder.layout import find_layout
from autograder.trial import Outcome, Trial


def zoo(labs: Labs = None, course: Course = None) -> None:
    """Try every known wrong answer on a lab's checks and print what catches it.

    The reference answer must get full points and the untouched gap none; each wrong answer must
    lose points, by a visible check with its own hint where its author says so.
    """
    from autograder.source import read_lab
    from autograder.trial import judge
    from autograder.zoo import load_zoo

    layout = find_layout(course)
    console = Console()
    bad = 0
    for name in layout.select(labs or []):
        lab = read_lab(layout.source(name))
        answers = load_zoo(layout.solutions / "wrong" / f"{name}.py")
        trial = Trial(lab)
        table = Table(title=f"{name}: wrong answers and what catches them")
        for column in ("exercise", "answer", "visible check", "points", ""):
            table.add_column(column, justify="right" if column == "points" else "left")
        visible = wrong = 0
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task(name, total=len(answers))
            for exercise in lab.exercises:
                full = exercise.test_points
                mine = [answer for answer in answers if answer.exercise == exercise.number]
                for answer in mine:
                    outcome = trial.answer(answer.exercise, answer.source)
                    verdict = judge(answer, outcome, full)
                    bad += bool(verdict)
                    wrong += not answer.right
                    visible += not answer.right and not outcome.passes_visible
                    table.add_row(
                        answer.exercise,
                        escape(answer.name) + (" [dim](right)[/]" if answer.right else ""),
                        _caught(outcome, answer.hint),
                        f"{outcome.points:g}/{full:g}",
                        f"[red]✗ {escape(verdict)}[/]" if verdict else "[green]✓[/]",
                        end_section=answer is mine[-1],
                    )
                    progress.advance(task)
                bad += _judge_ends(console, trial, exercise.number, full)
        console.print(table)
        share = f"{visible / wrong:.0%}" if wrong else "none"
        console.print(f"{wrong} wrong answers, {share} caught by a visible check\n")
    if bad:
        raise AutograderError(f"{bad} verdicts are not as they should be")


def _caught(outcome: Outcome, hint: str) -> str:
    if outcome.passes_visible:
        return "passes"
    return "says why" if hint and outcome.says(hint) else "fails"


def _judge_ends(console: Console, trial: Trial, number: str, full: float) -> int:
    """The reference gets everything, the stub nothing; the number of faults."""
    faults = 0
    for word, outcome, want in (
        ("reference answer", trial.reference(number), full),
        ("untouched gap", trial.stub(number), 0),
    ):
        if outcome.points != want:
            text = f"exercise {number}: the {word} gets {outcome.points:g}, not {want:g}"
            console.print(f"[red]✗[/] {text}\n{escape(outcome.text)}")
            faults += 1
    return faults
