"""Right answers get full points, wrong ones are caught, most of them by a hint of their own."""

from __future__ import annotations

import pytest

from autograder.trial import Trial, judge

from .conftest import labs, zoo


def test_reference_stub_and_zoo(lab: str, exercise: str):
    trial = Trial(labs()[lab])
    full = next(e.test_points for e in labs()[lab].exercises if e.number == exercise)
    reference = trial.reference(exercise)
    assert reference.points == full, reference.text
    assert reference.passes_visible
    stub = trial.stub(exercise)
    assert stub.points == 0, [c["name"] for c in stub.graded["checks"] if c["passed"]]
    assert all(check["status"] == "todo" for check in stub.visible["checks"]), stub.text
    said = []
    for answer in zoo(lab):
        if answer.exercise == exercise and (
            verdict := judge(answer, trial.answer(exercise, answer.source), full)
        ):
            said.append(f"{answer.name}: {verdict}")
    assert not said, "\n".join(said)


def test_each_exercise_has_a_zoo(lab: str, exercise: str):
    answers = [answer for answer in zoo(lab) if answer.exercise == exercise]
    wrong = [answer for answer in answers if not answer.right]
    hinted = [answer for answer in wrong if answer.caught == "visible" and answer.hint]
    assert len(wrong) >= 5
    assert len(answers) > len(wrong), "at least one alternative right answer"
    assert len(hinted) >= 0.6 * len(wrong), "at least 60 % are caught by a hint of their own"
    assert all(answer.why for answer in answers)


def test_points_of_a_lab_add_up_to_a_hundred(lab: str):
    assert sum(e.points for e in labs()[lab].exercises) == pytest.approx(100)
