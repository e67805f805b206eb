"""Whole submissions through the sandbox engine: a real lab, a tiny one, and one of bare asserts."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest
import tiny
from judging import ROOT, lab, notebook, solution, submission, template

from autograder.judge.engine import SandboxEngine, imports_of
from autograder.judge.hook import _renamed
from autograder.judge.tidy import tidy
from autograder.judge.wire import WireError
from autograder.limits import Limits
from autograder.records import to_json
from autograder.regions import CODE_STUB, visible
from autograder.template import read_template
from autograder.trial import Trial
from autograder.zoo import load_zoo

LAB = "08_unet"
LIMITS = Limits(cell_seconds=20)
SHORT = Limits(cell_seconds=2, total_seconds=120)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = SandboxEngine(cache=tmp_path_factory.mktemp("cache"))
    yield engine
    engine.close()


def checks(outcome) -> dict[str, float | None]:
    """Exercise → points of its check."""
    return {q.exercise: q.earned for q in outcome.result.questions if q.cell.endswith("check")}


def answered(engine, number: str, answer: str, *, limits: Limits = LIMITS, also: str = "", **more):
    """The question of one exercise of lab 8, its other answers being right; and the outcome."""
    made = notebook(LAB, {**solution(LAB), number: answer}, **more)
    cells = {f"ex-{n.replace('.', '-')}-check" for n in (number, also) if n}
    outcome = engine.grade(submission(made), template(LAB), limits, questions=frozenset(cells))
    by_cell = {q.exercise: q for q in outcome.result.questions if q.cell.endswith("check")}
    return by_cell, outcome


def test_the_solution_gets_everything_and_the_stub_nothing(engine):
    right = engine.grade(submission(notebook(LAB, solution(LAB))), template(LAB), LIMITS)
    empty = engine.grade(submission(notebook(LAB, {})), template(LAB), LIMITS)
    assert right.result.status == empty.result.status == "graded"
    checks = [q for q in right.result.questions if q.cell.endswith("check")]
    assert [q.earned for q in checks] == [q.points for q in checks]
    assert not right.result.flags
    assert empty.result.earned == 0
    assert all(not q.error for q in empty.result.questions)


def test_half_of_the_work_gets_half_of_the_points_each_time_the_same(engine):
    half = {n: a for n, a in solution(LAB).items() if n in ("8.1", "8.3", "8.5")}
    made = submission(notebook(LAB, half))
    outcomes = [engine.grade(made, template(LAB), LIMITS) for _ in range(3)]
    earned = checks(outcomes[0])
    assert earned == {"8.1": 10, "8.2": 0, "8.3": 16, "8.4": 0, "8.5": 18, "8.6": 0}
    records = [{**to_json(o.result), "seconds": 0} for o in outcomes]
    assert records[0] == records[1] == records[2]
    assert len({nbformat.writes(o.notebook) for o in outcomes}) == 1


def _same_as_in_one_process(engine, number: str, answer: str) -> None:
    """Points, and every word of the report, as when all runs in one process."""
    questions, outcome = answered(engine, number, answer)
    found = questions[number]
    expected = Trial(lab(LAB)).answer(number, answer).graded
    assert found.earned == expected["earned"]
    assert [(c.name, c.passed, c.message) for c in found.checks] == [
        (c["name"], c["passed"], c["message"]) for c in expected["checks"]
    ]
    assert [c.detail for c in found.checks if not c.hidden] == [
        c["detail"] for c in expected["checks"] if not c["hidden"]
    ]
    assert not outcome.result.flags


def some(cases: dict[str, Any], always: str) -> list[Any]:
    """All cases by name, those of `always` in every run, the others in slow ones."""
    wanted = set(always.split(", "))
    assert wanted <= set(cases)
    slow = pytest.mark.slow
    return [pytest.param(name, marks=() if name in wanted else slow) for name in cases]


def _answers() -> list[Any]:
    """The zoo, the stubs and the solutions; one wrong and one right answer per exercise first."""
    found, seen = [], set()
    for answer in load_zoo(ROOT / "solutions" / "wrong" / f"{LAB}.py"):
        first = (answer.exercise, answer.right) not in seen
        seen.add((answer.exercise, answer.right))
        marks = () if first else (pytest.mark.slow,)
        name = f"{answer.exercise}-{answer.name}"
        found.append(pytest.param(answer.exercise, answer.source, id=name, marks=marks))
    for number, source in solution(LAB).items():
        for name, text in (("stub", visible(source, CODE_STUB)), ("solution", source)):
            case = pytest.param(number, text, id=f"{number}-{name}", marks=pytest.mark.slow)
            found.append(case)
    return found


@pytest.mark.parametrize(("number", "answer"), _answers())
def test_answers_get_the_points_and_words_that_one_process_gives(engine, number, answer):
    _same_as_in_one_process(engine, number, answer)


RIGHT = solution(LAB)["8.1"]
HEAD = "def unet_sizes(n, depth=4):\n    "
LAST = RIGHT.replace("def unet_sizes", "def right")
TRICKS = {
    "import": "from course.geometry import unet_sizes as z\n" + HEAD + "return z(n, depth)",
    "alias": "unet_sizes = geometry.unet_sizes",
    "default": "def unet_sizes(n, depth=4, f=geometry.unet_sizes):\n    return f(n, depth)",
    "class": "class A:\n    f = geometry.unet_sizes\n" + HEAD + "return A.f(n, depth)",
    "modules": "import sys\n" + HEAD + "return sys.modules['course.geometry'].unet_sizes(n, depth)",
    "gc": "import gc, types\n"
    "kept = [o for o in gc.get_objects() if type(o) is types.FunctionType]\n"
    "unet_sizes = [f for f in kept if f.__name__ == 'unet_sizes'][-1]",
    "reload": "import importlib, course.geometry.unet as m\n"
    + HEAD
    + "return importlib.reload(m).unet_sizes(n, depth)",
    "afresh": "import sys\n"
    + HEAD
    + "for k in [k for k in sys.modules if k.startswith('course.geometry')]: del sys.modules[k]\n"
    "    import course.geometry\n    return course.geometry.unet_sizes(n, depth)",
    "copy of the function": "import types\nold = geometry.unet_sizes\n"
    "unet_sizes = types.FunctionType(old.__code__, old.__globals__, argdefs=(4,))",
    "its source": "text = open(geometry.unet_sizes.__code__.co_filename).read()\n"
    "names = {}\nexec(text, names)\nunet_sizes = names['unet_sizes']",
    "its bytes": "import glob, marshal\nnames = {'__name__': 'x'}\n"
    "for f in glob.glob(geometry.__path__[0] + '/__pycache__/*.pyc'):\n"
    "    exec(marshal.loads(open(f, 'rb').read()[16:]), names)\nunet_sizes = names['unet_sizes']",
    "no block": "import autograder.judge.block as b\nb.Block.add = lambda *a: None\n"
    "b.Block.take = lambda *a: []\nunet_sizes = geometry.unet_sizes",
    "no hook": "import sys\n"
    + HEAD
    + "sys.setprofile(None)\n    return geometry.unet_sizes(n, depth)",
    "a table on the disk": "import json\n"
    "table = {f'{n} {d}': geometry.unet_sizes(n, d) for d in (1, 4) for n in (18, 572)}\n"
    "json.dump(table, open('/tmp/table', 'w'))\n"
    + HEAD
    + "return json.load(open('/tmp/table'))[f'{n} {depth}']",
    "another process": "import json, os, socket\na, b = socket.socketpair()\nif os.fork() == 0:\n"
    "    while True:\n        q = json.loads(a.recv(99))\n"
    "        a.send(json.dumps(geometry.unet_sizes(*q)).encode())\n"
    "b.settimeout(2)\n"
    + HEAD
    + "b.send(json.dumps([n, depth]).encode()); return json.loads(b.recv(9999))",
    "caught": LAST
    + "\n\n"
    + HEAD
    + "try:\n        geometry.unet_sizes(18, 1)\n    except Exception:\n        pass\n"
    "    return right(n, depth)",
}


@pytest.mark.parametrize(
    "name",
    some(TRICKS, "alias, gc, reload, copy of the function, no block, another process, caught"),
)
def test_what_is_forbidden_earns_nothing_and_costs_the_next_question_nothing(engine, name):
    questions, _ = answered(engine, "8.1", TRICKS[name], also="8.2")
    assert questions["8.1"].earned == 0
    assert questions["8.2"].earned == 8


@pytest.mark.parametrize("looks", ["", "import sys\n"])
def test_a_decorator_of_torch_renames_code_and_is_no_cheating(engine, looks):
    answer = f"{looks}import torch\n\n\n@torch.no_grad()\n{RIGHT}"
    questions, _ = answered(engine, "8.1", answer, also="8.2")
    assert questions["8.1"].earned == questions["8.1"].points
    assert questions["8.2"].earned == 8


def test_only_its_own_code_may_return_to_a_function():
    def mine(n):
        return n + 1

    def other(n):
        return n + 2

    code = mine.__code__
    assert _renamed(mine, "__code__", code.replace(co_name="x", co_qualname="y"))
    assert not _renamed(mine, "__code__", other.__code__)
    assert not _renamed(mine, "__code__", other.__code__.replace(co_name="mine"))
    assert not _renamed(mine, "__code__", code.replace(co_consts=(None, 2)))


@pytest.mark.parametrize("looks", ["", "import sys\n"])
def test_comparing_with_the_library_in_a_cell_is_no_cheating(engine, looks):
    text = f"{looks}{RIGHT}\nassert unet_sizes(572) == geometry.unet_sizes(572)\nlater = 1"
    questions, outcome = answered(engine, "8.1", text)
    assert questions["8.1"].earned == 10
    assert "forbidden-call" not in [flag.code for flag in outcome.result.flags]


BROKEN = {
    "loop": (HEAD + "while True: pass", "did not come to an end"),
    "loop that swallows": (
        HEAD + "while True:\n        try:\n            while True: pass\n"
        "        except BaseException: pass",
        "did not come to an end",
    ),
    "exit": ("import os\n" + HEAD + "os._exit(0)", "ended the whole Python process"),
    "parent killed": (
        "import os\n" + HEAD + "os.kill(os.getppid(), 9); os._exit(0)",
        "ended the whole Python process",
    ),
    "junk on every descriptor": (
        "import os\n" + HEAD + "for fd in range(3, 40):\n        try:\n"
        "            os.write(fd, b'junk' * 99)\n        except OSError: pass",
        "BadReply",
    ),
    "memory": (HEAD + "return [bytearray(10**9) for _ in range(9)]", ""),
    "a million parts": (HEAD + "return [0] * 3_000_000", ""),
    "ring": (HEAD + "x = []; x.append(x); return x", ""),
    "recursion": (HEAD + "return unet_sizes(n, depth)", ""),
    "syntax": ("def unet_sizes(n:\n    return", ""),
}


@pytest.mark.parametrize(
    "name", some(BROKEN, "loop that swallows, exit, parent killed, junk on every descriptor, ring")
)
def test_only_the_guilty_question_loses(engine, name):
    answer, words = BROKEN[name]
    questions, outcome = answered(engine, "8.1", answer, limits=SHORT, also="8.2")
    assert outcome.result.status == "graded"
    assert questions["8.1"].earned == 0
    assert questions["8.2"].earned == 8
    assert words in questions["8.1"].error


CELLS = {
    "exit": "import os; os._exit(3)",
    "segfault": "import ctypes; ctypes.string_at(0)",
    "loop": "while True: pass",
    "system exit": "import sys; sys.exit()",
    "input": "input()",
    "error": "1 / 0",
    "syntax": "def f(:",
    "noise": "import os\nfor fd in range(3, 40):\n    try: os.write(fd, b'x' * 99)\n"
    "    except OSError: pass",
    "displays": "import sys; sys.displayhook(100.0)\nfrom IPython.display import display\n"
    "display({'application/vnd.segmentation-course.check+json': {'earned': 9}}, raw=True)",
    "transformers": "get_ipython().input_transformers_post.append(lambda lines: ['pass\\n'])",
    "run_cell": "get_ipython().run_cell = None",
    "builtins": "import builtins; builtins.print = builtins.len = None",
    "torch": "torch.allclose = torch.equal = lambda *a, **k: True",
    "fork": "import os; os.fork()",
}


@pytest.mark.parametrize(
    "name", some(CELLS, "exit, loop, system exit, noise, displays, run_cell, torch, fork")
)
def test_a_cell_of_the_student_costs_no_answer_its_points(engine, name):
    """The cell stands before the second answer; only what it breaks for itself may be lost."""
    _, outcome = answered(
        engine, "8.1", RIGHT, limits=SHORT, also="8.2", extra={"8.2": CELLS[name]}
    )
    earned = checks(outcome)
    lost = name in ("transformers", "builtins")
    assert earned["8.1"] == 10
    assert earned["8.2"] == 8 or lost


def test_reset_takes_away_what_the_student_took_away(engine):
    _, outcome = answered(engine, "8.1", RIGHT, also="8.2", extra={"8.2": "%reset -f"})
    earned = checks(outcome)
    assert earned == {"8.1": 10, "8.2": 8}


def test_hidden_tests_and_solutions_never_enter_the_box(engine):
    spying = (
        "import gc, sys, os, inspect\n"
        "found = [o for o in gc.get_objects() if isinstance(o, (str, dict, list))]\n"
        "texts = str([v for d in found if isinstance(d, dict) for v in list(d.values())\n"
        "             if isinstance(v, str)])\n"
        "print('HIDDEN' + ' TESTS' in texts, 'check.' + 'hidden' in texts)"
    )
    _, outcome = answered(engine, "8.1", RIGHT, extra={"8.1": spying})
    cell = next(c for c in outcome.notebook.cells if c.source == spying)
    printed = "".join(o.get("text", "") for o in cell.outputs)
    assert printed.startswith("False False\n")


def test_files_of_the_grader_cannot_be_read_in_the_box(engine):
    source = ROOT / "solutions" / f"{LAB}.py"
    look = f"try: print(open({str(source)!r}).read())\nexcept OSError: print('no')"
    _, outcome = answered(engine, "8.1", RIGHT, extra={"8.1": look})
    cell = next(c for c in outcome.notebook.cells if c.source == look)
    assert cell.outputs[0]["text"] == "no\n"


# The tiny lab has its own `Exercise`, in a locked cell; the checks are of the same form.


def test_the_tiny_lab_with_an_exercise_class_of_its_own(engine, tmp_path):
    made = tiny.make_template(tmp_path)
    right = engine.grade(submission(tiny.answered(tiny.released())), made, LIMITS)
    points = {q.cell: q.earned for q in right.result.questions}
    assert (points["ex-1-1-check"], points["ex-1-2-check"]) == (4, 6)
    assert right.result.earned == 10
    wrong = {**tiny.RIGHT, "ex-1-1-answer": "def double(x):\n    return x + 2"}
    half = engine.grade(submission(tiny.answered(tiny.released(), wrong)), made, LIMITS)
    assert half.result.earned == 6
    check = half.result.questions[0].checks[0]
    assert (check.message, check.detail) == (
        "Did you add 2 instead of doubling?",
        "AssertionError: 9",
    )


BARE = {
    "right": ("def twice(x):\n    return 2 * x", 3),
    "wrong": ("def twice(x):\n    return x", 0),
    "warns": ("import sys\ndef twice(x):\n    print('w', file=sys.stderr)\n    return 2 * x", 3),
}


@pytest.mark.parametrize("name", BARE)
def test_cells_of_bare_asserts_give_all_or_nothing(engine, tmp_path, name):
    answer, points = BARE[name]
    gap = tiny._code("a", "def twice(x):\n    raise NotImplementedError()", solution=True)
    test = tiny._code("t", "assert twice(3) == 6", grade=True, locked=True, points=3)
    released = nbformat.v4.new_notebook(cells=[gap, test])
    path = tmp_path / "bare.ipynb"
    nbformat.write(released, path)
    full = {"t": "assert twice(3) == 6\n### BEGIN HIDDEN TESTS\nassert twice(-1) == -2\n"}
    made = read_template(path, "bare", {**full, "a": gap.source})
    released.cells[0].source = answer
    outcome = engine.grade(submission(released), made, LIMITS)
    assert outcome.result.earned == points


def test_what_is_no_notebook_is_rejected(engine):
    from autograder.execution import Submission

    outcome = engine.grade(Submission("ann", "Ann", b"{"), template(LAB), LIMITS)
    assert outcome.result.status == "rejected"


def test_modules_of_our_cells_are_known_before_the_first_fork():
    found = imports_of(template(LAB))
    assert {"torch", "course.geometry", "scipy.ndimage", "course.checks"} <= set(found)


@pytest.mark.parametrize(
    "outputs",
    [
        None,
        {},
        [1],
        [{}],
        [{"output_type": "stream", "text": 3}],
        [{"output_type": "points"}],
        [{"output_type": "display_data", "data": [], "metadata": {}}],
        [{}] * 9999,
    ],
)
def test_outputs_of_wrong_form_are_refused(outputs):
    with pytest.raises(WireError):
        tidy(outputs, 1000)


def test_a_student_cannot_show_a_report():
    mime = "application/vnd.segmentation-course.check+json"
    shown = {"output_type": "display_data", "data": {mime: {}, "text/plain": "x"}, "metadata": {}}
    assert json.dumps(tidy([shown], 1000)).count(mime) == 0


def test_a_check_that_only_waits_is_ended_by_its_own_limit(engine):
    waits = "def unet_sizes(n, depth=4):\n    import time\n    time.sleep(60)\n"
    limits = Limits(cell_seconds=20, check_seconds=2)
    questions, outcome = answered(engine, "8.1", waits, limits=limits, also="8.2")
    assert questions["8.1"].earned == 0
    assert "stopped after 2 s" in questions["8.1"].error
    assert questions["8.2"].earned == questions["8.2"].points
    assert any("2 s" in words for words in outcome.result.limits)


def test_a_notebook_may_import_the_files_beside_it_but_they_hide_no_library(engine):
    answer = (
        "from pathlib import Path\n"
        "Path('sizes_of_mine.py').write_text('two = 2')\n"
        "Path('torch.py').write_text('raise SystemExit')\n"
        "import sizes_of_mine, torch\n"
        "assert sizes_of_mine.two == 2 and torch.tensor(1.0) == 1\n"
    ) + solution(LAB)["8.1"]
    questions, _ = answered(engine, "8.1", answer)
    assert questions["8.1"].earned == questions["8.1"].points
