"""A changed test judged from what was said before: as from the box, or the box is asked."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import Any

import pytest
from judging import ROOT, notebook, solution, submission, template

from autograder.execution import Outcome
from autograder.judge.engine import SandboxEngine
from autograder.judge.frames import Channel
from autograder.judge.talk import Diverged, Recorded, Replayed
from autograder.limits import Limits
from autograder.records import Question
from autograder.template import Template
from autograder.zoo import load_zoo

LABS = ("08_unet", "01_sliding_window")
LIMITS = Limits(cell_seconds=30)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = SandboxEngine(cache=tmp_path_factory.mktemp("cache"))
    yield engine
    engine.close()


def conversation(*answers: tuple[Any, list[bytes]]) -> Recorded:
    """One that has asked 0, 1, 2 … and got these answers."""
    here, there = socket.socketpair()
    other, recorded = Channel(there), Recorded(here, ahead=True)

    def answer() -> None:
        for message, buffers in answers:
            other.receive()
            other.send(message, buffers)

    thread = threading.Thread(target=answer)
    thread.start()
    for number, (message, buffers) in enumerate(answers):
        recorded.send(["call", number], [b"raw"])
        assert recorded.receive() == (message, buffers)
    thread.join()
    other.close()
    recorded.close()
    return recorded


def test_the_same_questions_get_the_same_answers():
    answers = [(["value", 1], [b"", b"abc"]), (["error", "\ud800"], []), (["value", None], [b"x"])]
    data = conversation(*answers).in_bytes(["numpy.pad"])
    replayed = Replayed(data, ["numpy.pad"])
    for number, answer in enumerate(answers):
        replayed.send(["call", number], [b"raw"])
        assert replayed.receive() == answer
    with pytest.raises(Diverged):
        replayed.send(["call", 3])
    assert replayed.diverged


@pytest.mark.parametrize(
    ("message", "buffers", "block"),
    [
        (["call", 1], [b"raw"], ()),
        (["call", 0], [b"row"], ()),
        (["call", 0], [b"ra", b"w"], ()),
        (["call", 0], [], ()),
        (["call", 0], [b"raw"], ("os",)),
    ],
)
def test_another_question_gets_no_answer_ever_after(message, buffers, block):
    replayed = Replayed(conversation((["value", 1], [])).in_bytes(()), block)
    with pytest.raises(Diverged):
        replayed.send(message, buffers)
    with pytest.raises(Diverged):  # also where the check has caught the first one
        replayed.send(["call", 0], [b"raw"])


def test_a_long_conversation_is_not_kept():
    noise = [(["value", 1], [bytes(1 << 20)]) for _ in range(3)]
    assert conversation(*noise).in_bytes(()) == b""
    assert conversation(*noise[:1]).in_bytes(()) != b""


def classes(name: str) -> list[Any]:
    """The solution, notebooks that together hold the whole zoo of a lab, and the stub."""
    zoo: dict[str, list[str]] = {}
    for animal in load_zoo(ROOT / "solutions" / "wrong" / f"{name}.py"):
        zoo.setdefault(animal.exercise, []).append(animal.source)
    made = [notebook(name, solution(name))]
    for row in range(max(map(len, zoo.values()))):
        answers = {number: found[row % len(found)] for number, found in zoo.items()}
        made.append(notebook(name, {**solution(name), **answers}))
    return [*made, notebook(name, {})]


def comment(text: str) -> str:
    return text.replace("check.score()", "check.score()  # mended")


def stricter(text: str) -> str:
    """A change of what is expected: where it fails now, the rest of a check is not asked."""
    return text.replace("check.raises(ValueError", "check.raises(KeyError")


def shorter(text: str) -> str:
    """Without its last hidden test."""
    start = text.rindex("with check.hidden(")
    return text[:start] + text[text.index("### END HIDDEN", start) :]


def asks_more(text: str) -> str:
    """Asks for one name that it did not ask for, before anything else."""
    first = text.index("\n\n", text.index("check = Exercise("))
    new = '\n\nwith check("new", points=0):\n    check.true(nobody_has_this is None, "")'
    return text[:first] + new + text[first:]


def changed(made: Template, change: Any) -> Template:
    cells = (replace(c, source=change(c.source)) if c.is_check else c for c in made.cells)
    return replace(made, cells=tuple(cells))


def judged(outcome: Outcome) -> list[Question]:
    return [q for q in outcome.result.questions if q.cell.endswith("check")]


def shown(outcome: Outcome, cells: frozenset[str]) -> list[Any]:
    nodes = [n for n in outcome.notebook.cells if n.metadata.get("nbgrader")]
    nodes = [n for n in nodes if n.metadata.nbgrader.grade_id in cells]
    return [(n.execution_count, n.outputs) for n in nodes]


class Counting(SandboxEngine):
    """Counts the processes in the box."""

    boxes = 0

    def _box_for(self, template: Template) -> Any:
        self.boxes += 1
        return super()._box_for(template)


@pytest.mark.parametrize("name", LABS)
@pytest.mark.parametrize(
    "rows", [pytest.param(2, id="few"), pytest.param(99, id="zoo", marks=pytest.mark.slow)]
)
def test_judged_again_as_if_everything_had_run(name, rows, tmp_path):
    """Points, words and pictures of every check are those of a full run with the changed test."""
    engine, made = Counting(cache=tmp_path), template(name)
    try:
        for row in classes(name)[:rows]:
            first = engine.grade(submission(row), made, LIMITS)
            cells = frozenset(q.cell for q in judged(first))
            assert len(first.talks) > len(cells) / 2
            for change in (comment, shorter, stricter, asks_more):
                mended = changed(made, change)
                full = engine.grade(submission(row), mended, LIMITS)
                before = engine.boxes
                asked = {"questions": cells, "talks": first.talks}
                part = engine.grade(submission(row), mended, LIMITS, **asked)
                assert judged(part) == judged(full)
                assert shown(part, cells) == shown(full, cells)
                if change is comment and set(first.talks) == cells:
                    assert engine.boxes == before
                if change is asks_more:
                    assert engine.boxes > before
    finally:
        engine.close()


def test_what_is_forbidden_now_and_was_not_is_asked_in_the_box(tmp_path):
    engine, made = Counting(cache=tmp_path), template("08_unet")
    uses = solution("08_unet")["8.2"] + "\n    # and\n"
    row = submission(notebook("08_unet", {**solution("08_unet"), "8.2": uses}))
    try:
        first = engine.grade(row, made, LIMITS)
        banned = changed(made, lambda text: text.replace("forbid=[", 'forbid=["torch.relu", ', 1))
        cells = frozenset({"ex-8-2-check"})
        before = engine.boxes
        engine.grade(row, banned, LIMITS, questions=cells, talks=first.talks)
        assert engine.boxes > before
    finally:
        engine.close()


def test_a_check_that_was_stopped_is_not_judged_from_what_it_heard(tmp_path):
    engine, made = SandboxEngine(cache=tmp_path), template("08_unet")
    endless = "def valid_input_for(out, depth=4):\n    while True:\n        pass"
    row = submission(notebook("08_unet", {**solution("08_unet"), "8.2": endless}))
    try:
        outcome = engine.grade(row, made, Limits(cell_seconds=2), questions=frozenset(CELLS))
        assert set(outcome.talks) == {"ex-8-1-check"}
    finally:
        engine.close()


CELLS = ("ex-8-1-check", "ex-8-2-check")
