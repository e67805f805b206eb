"""The exercise contract: helpful failures, no escaping exception, nothing that fools a check."""

from __future__ import annotations

import json
import linecache
import time
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from course.checks import Exercise, attempt, build, gradients, observe, spy
from course.checks.compare import difference
from course.checks.report import MIME


def notebook(source: str, **names: object) -> dict[str, object]:
    """Run text as a notebook cell would: own file name, findable source, shared globals."""
    namespace: dict[str, object] = {"__name__": "__main__", "torch": torch, **names}
    run(source, namespace)
    return namespace


def run(source: str, namespace: dict[str, object]) -> None:
    file = f"<cell {len(linecache.cache)}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    exec(compile(source, file, "exec"), namespace)


def line(actual: object, expected: object, **options: object):
    """The report line of one comparison."""
    check = Exercise("0.1", points=1)
    with check("name", points=1):
        check.equal(actual, expected, **options)
    return check.report.lines[0]


# --- comparison -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        (3, 3),
        (3.0, 3),
        (3.0000001, 3.0),
        (True, True),
        ([1, (2, 3)], [1, (2, 3)]),
        ((1, 2), [1, 2]),
        (np.int64(4), 4),
        (torch.tensor(4), 4),
        (torch.tensor([1.0, float("nan")]), torch.tensor([1.0, float("nan")])),
        ({"a": 1}, {"a": 1}),
        (torch.Size([2, 3]), [2, 3]),
        (None, None),
    ],
)
def test_equal_values_pass(actual, expected):
    assert line(actual, expected).status == "passed"


@pytest.mark.parametrize(
    ("actual", "expected", "words"),
    [
        (4, 3, "expected 3, got 4"),
        (1, True, "expected True"),
        (True, 1, "expected 1, got True"),
        (2.5, 2, "expected 2, got 2.5"),
        ([1, 2], [1, 2, 3], "expected 3 values, got 2"),
        ([1, 9, 3], [1, 2, 3], "expected 2 at position 1, got 9"),
        (None, 3, "got None"),
        ("3", 3, "expected 3"),
        (np.zeros(2), torch.zeros(2), "expected a tensor"),
        (torch.zeros(2, 3), torch.zeros(3, 2), "expected shape (3, 2), got shape (2, 3)"),
        ([0.0, 0.0], torch.zeros(2), "expected a tensor of shape (2,), got a list"),
        (torch.tensor([1.0, float("nan")]), torch.ones(2), "first at [1]: expected 1, got nan"),
        (torch.tensor([0, 7]), torch.tensor([0, 8]), "1 of 2 values differ; first at [1]"),
        ({"a": 1}, {"b": 1}, "keys"),
    ],
)
def test_different_values_fail_with_the_place(actual, expected, words):
    result = line(actual, expected)
    assert result.status == "failed"
    assert words in result.detail


def test_dtype_counts_only_on_request():
    assert line(torch.ones(2).double(), torch.ones(2)).status == "passed"
    result = line(torch.ones(2).double(), torch.ones(2), dtype=True)
    assert "expected dtype torch.float32, got torch.float64" in result.detail


@pytest.mark.parametrize("expected", [torch.ones(2, 3), [torch.ones(2, 3), torch.ones(2)]])
def test_a_dtype_alone_is_no_other_mistake(expected):
    actual = [x.double() for x in expected] if isinstance(expected, list) else expected.double()
    found = difference(actual, expected, dtype=True, mistakes={"all ones": expected})
    assert found is not None
    assert found.mistake == "Right values; only the dtype is another."
    wrong = difference(torch.eye(2, 3).double(), torch.eye(3, 2).T * 2, dtype=True)
    assert wrong is not None
    assert "0.5 times the expected" in wrong.mistake


class Friend:
    """Claims to equal everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __bool__(self) -> bool:
        return True


class FakeTensor(torch.Tensor):
    """Answers every torch function with agreement."""

    @classmethod
    def __torch_function__(cls, *args, **kwargs):
        return True


class FakeInt(int):
    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


@pytest.mark.parametrize("impostor", [Friend(), FakeTensor(), FakeInt(1), np.ma.masked])
@pytest.mark.parametrize("expected", [3, 2.5, "x", [1, 2], None, torch.ones(2), np.ones(2)])
def test_objects_that_equal_everything_equal_nothing(impostor, expected):
    assert line(impostor, expected).status == "failed"
    assert line([impostor], [expected]).status == "failed"


def test_a_truthy_object_is_no_truth():
    check = Exercise("0.1", points=1)
    with check("name", points=1):
        check.true(Friend(), "must hold")
    assert check.report.lines[0].status == "failed"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: x.T.contiguous(), "transpose"),
        (lambda x: x.flip(1), "columns are mirrored"),
        (lambda x: x.flip(0), "rows are mirrored"),
        (lambda x: x.flip(0, 1), "180 degrees"),
        (lambda x: x.roll(1, 1), "shifted by one along the columns"),
        (lambda x: -x, "sign is wrong"),
        (lambda x: 2 * x, "2 times the expected"),
        (lambda x: x + 0.5, "off by +0.5"),
    ],
)
def test_general_patterns_are_named(change, words):
    expected = torch.tensor([[1.0, 2.0, 5.0], [3.0, 9.0, 4.0]])
    assert words in line(change(expected), expected).message


def test_a_known_mistake_comes_before_a_general_pattern():
    found = difference([2, 1], [1, 2], mistakes={"swapped": [2, 1]})
    assert found is not None
    assert found.mistake == "swapped"


# --- one exercise -----------------------------------------------------------------------------


def test_a_failing_check_does_not_stop_the_next_and_points_are_shared_out():
    check = Exercise("0.1", points=10)
    with check("wrong", points=1):
        check.equal(1, 2)
    with check("crash", points=1):
        raise KeyError("x")
    with check("right", points=2):
        check.equal(2, 2)
    assert [entry.status for entry in check.report.lines] == ["failed", "failed", "passed"]
    assert check.score(show=False) == 5.0


def test_the_score_is_a_number_for_nbgrader_and_a_sentence_for_people():
    check = Exercise("0.1", points=3)
    with check("right", points=1):
        check.equal(2, 2)
    bundle = check.score(show=False)._repr_mimebundle_()
    assert float(bundle["text/plain"]) == 3.0
    assert "hidden checks follow" in bundle["text/html"]


def test_an_untouched_stub_is_no_failure():
    def stub():
        raise NotImplementedError

    check = Exercise("0.1", points=3)
    with check("value", points=1):
        check.equal(stub(), 2)
    with check("refusal", points=1):
        check.raises(ValueError, stub)
    assert [entry.status for entry in check.report.lines] == ["todo", "todo"]
    assert check.report.headline == "Exercise 0.1: not written yet"
    assert check.score(show=False) == 0.0


def test_a_missing_function_says_which_cell_to_run():
    names = notebook(
        "check = Exercise('0.1', points=1)\n"
        "with check('value', points=1):\n    check.equal(unet_sizes(3), 2)\n",
        Exercise=Exercise,
    )
    detail = names["check"].report.lines[0].detail
    assert detail == "`unet_sizes` is not defined: run the cell above this one first"


def test_an_exception_names_the_students_line():
    names = notebook("def half(x):\n    y = x / 0\n    return y\n", Exercise=Exercise)
    run(
        "check = Exercise('0.1', points=1)\n"
        "with check('value', points=1):\n    check.equal(half(3), 2)\n",
        names,
    )
    detail = names["check"].report.lines[0].detail
    assert "ZeroDivisionError" in detail
    assert "(line 2 of your cell: `y = x / 0`)" in detail


def test_output_warnings_and_exits_of_student_code_are_caught(capsys):
    def noisy():
        print("hello")
        warnings.warn("careful", stacklevel=1)
        raise SystemExit

    check = Exercise("0.1", points=1)
    with check("value", points=1):
        noisy()
    assert check.report.lines[0].status == "failed"
    assert check.report.lines[0].printed == "hello"
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


def test_keyboard_interrupt_is_not_swallowed():
    check = Exercise("0.1", points=1)
    with pytest.raises(KeyboardInterrupt), check("value", points=1):
        raise KeyboardInterrupt


def test_refusals_are_checked_by_class_and_words():
    def refuse(n):
        raise ValueError(f"odd at level {n}")

    check = Exercise("0.1", points=4)
    with check("right", points=1):
        check.raises(ValueError, refuse, 3, says="level 3")
    with check("wrong words", points=1):
        check.raises(ValueError, refuse, 3, says="level 4")
    with check("wrong class", points=1):
        check.raises(TypeError, refuse, 3)
    with check("no refusal", points=1):
        check.raises(ValueError, len, [1], message="say no")
    right, words, kind, silent = check.report.lines
    assert right.status == "passed"
    assert "should mention 'level 4'" in words.detail
    assert "must raise TypeError, it raised ValueError" in kind.detail
    assert (silent.message, silent.status) == ("say no", "failed")


def test_hidden_details_are_not_shown_to_students():
    check = Exercise("0.1", points=4)
    with check("seen", points=1):
        check.equal(1, 1)
    with check.hidden("secret sizes", points=3, hint="Think of odd sizes."):
        check.equal(1, 987654)
    report = check.report
    assert "987654" not in report.text()
    assert "987654" not in report.html()
    assert "Think of odd sizes." in report.text()
    assert "987654" in json.dumps(report.record())  # the instructor's copy
    assert check.score(show=False) == 1.0


def test_the_report_escapes_what_students_print():
    check = Exercise("0.1", points=1)
    with check("value", points=1):
        print("<script>alert(1)</script>")
        check.equal("<b>", "x")
    page = check.report.html()
    assert "<script>" not in page
    assert "<b>'" not in page


def test_the_report_shows_numbers_when_small_and_pictures_when_large():
    small = Exercise("0.1", points=1)
    with small("value", points=1):
        small.equal(torch.zeros(2, 3), torch.ones(2, 3) + torch.eye(3)[:2])
    assert small.report.html().count("<table>") == 2
    large = Exercise("0.1", points=1)
    with large("value", points=1):
        large.equal(torch.rand(40, 30), torch.rand(40, 30))
    page = large.report.html()
    assert page.count("data:image/png") == 3
    assert 'alt="absolute difference, largest' in page


def test_the_report_is_one_bundle_with_text_html_and_data():
    check = Exercise("8.1", points=2)
    with check("value", points=1):
        check.equal(1, 2)
    bundle = check.report._repr_mimebundle_()
    assert set(bundle) == {"text/plain", "text/html", MIME}
    assert bundle[MIME]["checks"][0]["passed"] is False
    assert json.loads(json.dumps(bundle[MIME])) == bundle[MIME]


def test_a_check_costs_less_than_a_tenth_of_a_second():
    def measure() -> float:
        start = time.perf_counter()
        check = Exercise("0.1", points=1, forbid=["course.geometry", "torch.nn.functional.pad"])
        for _ in range(5):
            with check("value", points=1):
                check.equal(torch.zeros(3, 4), torch.ones(3, 4))
        check.report.html()
        return time.perf_counter() - start

    assert min(measure() for _ in range(3)) < 0.1


# --- what an exercise forbids -----------------------------------------------------------------

CHECK = (
    "check = Exercise('0.1', points=2, forbid=forbidden)\n"
    "with check('value', points=1):\n"
    "    check.equal(answer(), expected)\n"
)


def forbidden_calls(answer: str, forbidden: list[str], expected: object) -> list[str]:
    names = notebook(answer, Exercise=Exercise, forbidden=forbidden, expected=expected, spy=spy)
    run(CHECK, names)
    report = names["check"].report
    assert report.earned == (0.0 if report.forbidden else 2.0)
    assert ("0 of 2 points while" in report.headline) is bool(report.forbidden)
    return report.forbidden


@pytest.mark.parametrize(
    "answer",
    [
        "from course.geometry import unet_sizes\ndef answer(): return unet_sizes(18, 1)",
        "from course.geometry import unet_sizes as mine\ndef answer(): return mine(18, 1)",
        "import course.geometry as g\ndef answer(): return [*map(g.unet_sizes, [18], [1])][0]",
        "import sys, course.geometry\n"
        "def answer(): return sys.modules['course.geometry'].unet_sizes(18, 1)",
        "from functools import partial\nfrom course import geometry\n"
        "def helper(): return partial(geometry.unet_sizes, 18)(1)\n"
        "def answer(): return helper()",
    ],
)
def test_a_forbidden_module_is_found_round_corners(answer):
    expected = [18, 16, 14, 7, 5, 3, 6, 4, 2]
    said = forbidden_calls(answer, ["course.geometry"], expected)
    assert len(said) == 1
    assert "unet_sizes` may not be used" in said[0]
    assert "line" in said[0]


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        ("def answer(): return torch.conv_transpose2d(x, k)", "conv_transpose2d"),
        (
            "import torch.nn as nn\n"
            "def answer():\n"
            "    m = nn.ConvTranspose2d(1, 1, 2, bias=False)\n"
            "    m.weight.data = k\n"
            "    return m(x).detach()",
            "conv_transpose2d",
        ),
    ],
)
def test_a_forbidden_builtin_is_found_inside_modules_too(answer, name):
    x, k = torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 2)
    names = notebook(answer, Exercise=Exercise, x=x, k=k, expected=None)
    names["expected"] = nn.functional.conv_transpose2d(x, k)
    names["forbidden"] = ["torch.nn.functional.conv_transpose2d"]
    run(CHECK, names)
    said = names["check"].report.forbidden
    assert len(said) == 1
    assert name in said[0]
    assert names["check"].score(show=False) == 0.0


def test_honest_answers_and_our_own_calls_do_not_count():
    answer = "def answer(): return [18, 16, 14, 7, 5, 3, 6, 4, 2]"
    expected = [18, 16, 14, 7, 5, 3, 6, 4, 2]
    assert forbidden_calls(answer, ["course.geometry"], expected) == []
    names = notebook(
        "def answer(net): return net(18)",
        Exercise=Exercise,
        spy=spy,
        reference=lambda n: __import__("course.geometry").geometry.unet_sizes(n, 1),
    )
    run(
        "from course import geometry\n"
        "check = Exercise('0.1', points=2, forbid=['course.geometry'])\n"
        "with check('value', points=1):\n"
        "    check.equal(answer(spy(lambda n: geometry.unet_sizes(n, 1))),"
        " geometry.unet_sizes(18, 1))\n",
        names,
    )
    assert names["check"].report.forbidden == []
    assert names["check"].report.earned == 2.0


def test_a_forbidden_name_that_does_not_exist_is_the_authors_error():
    check = Exercise("0.1", points=1, forbid="course.no_such_thing")
    with pytest.raises(ValueError, match="no such module, function or class"), check("x", points=1):
        pass


# --- helpers ----------------------------------------------------------------------------------


def test_observe_reports_value_error_and_mutation_but_lets_stubs_through():
    seen = observe(lambda x, k: x.mul_(k).sum().item(), torch.ones(3), k=2)
    assert (seen.value, seen.changed, seen.error) == (6.0, (0,), "")
    failed = observe(int, "x")
    assert "ValueError" in failed.error_bases
    with pytest.raises(NotImplementedError):
        observe(lambda: (_ for _ in ()).throw(NotImplementedError()))


def test_gradients_match_autograd_and_name_detached_results():
    a, b = torch.rand(2, 3), torch.rand(3)
    da, db = gradients(lambda x, y: x * y, a, b, wrt=(0, 1))
    torch.testing.assert_close(da, b.expand(2, 3))
    torch.testing.assert_close(db, a.sum(0))
    assert gradients(lambda x, y: y * 2, a, b, wrt=(0, 1))[0].eq(0).all()
    with pytest.raises(TypeError, match="detached"):
        gradients(lambda x: x.detach(), a)


def test_a_handle_gives_data_and_never_the_module():
    net = build(nn.Linear, 2, 3)
    net.fill(seed=1)
    state = net.state()
    other = build(nn.Linear, 2, 3)
    other.load(state)
    x = torch.rand(4, 2)
    torch.testing.assert_close(net(x), other(x))
    assert not net(x).requires_grad
    assert net.gradients(x)["bias"].tolist() == [4.0, 4.0, 4.0]
    with pytest.raises(TypeError, match=r"nn\.Module was expected, got int"):
        build(int, 3)


def test_a_spy_counts_and_limits():
    net = spy(lambda x: x, limit=2)
    net(torch.zeros(2, 1, 5, 5))
    net(torch.zeros(1, 1, 5, 5))
    assert net.shapes == [(2, 1, 5, 5), (1, 1, 5, 5)]
    with pytest.raises(RuntimeError, match="endless loop"):
        net(torch.zeros(1))


def test_helpers_hand_over_to_a_stand_in():
    """A stand-in for a function in another process decides itself how to run a helper."""

    class StandIn:
        def __remote__(self, helper, args, kwargs):
            asked.append((helper, args))
            return (5, "", (), "", (), 0.0) if helper == "observe" else [torch.ones(1)]

        def __call__(self, x):
            return x + 1

    asked: list = []
    function = StandIn()
    assert observe(function, 4).value == 5
    assert gradients(function, torch.ones(1)) == [torch.ones(1)]
    assert [helper for helper, _ in asked] == ["observe", "gradients"]


def test_experiments_wait_for_their_exercises(capsys):
    with attempt("8.3 to 8.6"):
        raise NotImplementedError
    assert capsys.readouterr().out == "This cell runs when exercises 8.3 to 8.6 are written.\n"
    with pytest.raises(ZeroDivisionError), attempt("8.3"):
        1 / 0
