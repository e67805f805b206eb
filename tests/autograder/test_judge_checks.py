"""A check runs outside the student's process and cannot be told from one that runs inside."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch

from autograder.judge.bench import Bench
from autograder.judge.block import Block
from autograder.judge.job import Job
from autograder.judge.remote import Snapshot
from autograder.judge.wire import Channel, ChannelClosed

MIME = "application/vnd.segmentation-course.check+json"
HEAD = """
import torch, random, numpy as np
from torch import nn
from course.checks import Exercise, build, gradients, observe, spy
"""


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    bench = Bench(cache=tmp_path_factory.mktemp("cache"))
    yield bench
    bench.close()


class Answered:
    """What a check said about an answer."""

    def __init__(self, verdict: dict[str, Any]) -> None:
        self.outputs, self.flags = verdict["outputs"], verdict["flags"]
        reports = [o["data"][MIME] for o in self.outputs if MIME in o.get("data", {})]
        self.report = reports[0] if reports else {}
        self.lines = self.report.get("checks", [])
        errors = [o for o in self.outputs if o["output_type"] == "error"]
        self.error = (errors[-1]["ename"], errors[-1]["evalue"]) if errors else None

    @property
    def detail(self) -> str:
        return self.lines[0]["detail"]

    @property
    def passed(self) -> list[bool]:
        return [line["passed"] for line in self.lines]


def student(
    answer: str, here: socket.socket, stream: socket.socket, block: tuple[str, ...] = ()
) -> int:
    """A process with the student's names, as the worker forks one for each check."""
    pid = os.fork()
    if pid:
        stream.close()
        return pid
    try:
        here.close()
        torch.set_num_threads(1)
        import linecache

        names: dict[str, Any] = {"__name__": "__main__"}
        linecache.cache["<cell>"] = (0, None, answer.splitlines(True), "<cell>")
        exec(HEAD, names)
        guard = Block(names)
        guard.add(block)
        torch.manual_seed(0)
        exec(compile(answer, "<cell>", "exec"), names)
        Snapshot(Channel(stream), names, guard, 20).serve()
    finally:
        os._exit(0)


@pytest.fixture
def judge(bench) -> Callable[..., Answered]:
    """Run the body of one named check against an answer."""

    def run(answer: str, body: str, *, forbid: tuple[str, ...] = (), **more: Any) -> Answered:
        text = body
        if "Exercise(" not in body:
            inside = "\n    ".join(body.strip().splitlines())
            text = f'check = Exercise("1.1", points=2, forbid={list(forbid)})\n'
            text += f'with check("one", points=2):\n    {inside}\ncheck.score()'
        here, there = socket.socketpair()
        pid = student(answer, here, there, forbid)
        job = Job(text=text, before=(HEAD,), theirs=("f", "Net"), forbid=forbid, seconds=20)
        with here, bench.session() as session:
            verdict = session.run(Job(**{**vars(job), **more}), here)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        assert verdict is not None
        return Answered(verdict)

    return run


CROSSING = {
    "plain data": ("f = lambda a, b=2: [a, (b, None)]", "check.equal(f(1, b=3), [1, (3, None)])"),
    "tensors": ("f = lambda x: x.T", "check.equal(f(torch.ones(2, 3)), torch.ones(3, 2))"),
    "arrays": ("f = lambda x: x[::-1]", "check.equal(f(np.arange(3)), np.arange(3)[::-1])"),
    "a name like Python's": ("sum = 3", "check.equal(sum([1, 2]), 3)"),
    "a value": ("answer = {'a': [1.5]}", "check.equal(answer, {'a': [1.5]})"),
    "raises": (
        "def f(n):\n    raise ValueError('at least 1')",
        "check.raises(ValueError, f, 0, says='least')",
    ),
    "an own exception": (
        "class Odd(ValueError): pass\ndef f(n):\n    raise Odd('no')",
        "check.raises(ValueError, f, 0)",
    ),
    "unchanged": ("f = lambda x: x + 1", "check.unchanged(f, torch.ones(2))"),
    "gradients": (
        "f = lambda x, y: x * y",
        "check.equal(gradients(f, torch.ones(2), torch.ones(2), wrt=(0, 1))[1], torch.ones(2))",
    ),
    "a module": (
        "class Net(nn.Module):\n"
        "    def __init__(self, n):\n"
        "        super().__init__()\n"
        "        self.a = nn.Linear(n, 1)\n"
        "    def forward(self, x):\n"
        "        return self.a(x)",
        "net = build(Net, 3)\n"
        "net.fill(seed=4)\n"
        "s, x = net.state(), torch.ones(2, 3)\n"
        "check.equal(net(x), x @ s['a.weight'].T + s['a.bias'])\n"
        "check.equal((net.parameter_count(), net.shapes()['a.bias']), (4, (1,)))\n"
        "check.equal(net.gradients(x)['a.bias'], torch.tensor([2.0]))\n"
        "net.load({k: v * 0 for k, v in s.items()}); net.train(False)\n"
        "check.equal(net(x), torch.zeros(2, 1))",
    ),
    "a spy": (
        "f = lambda g, x: g(x) + g(x)",
        "g = spy(lambda x: 2 * x)\n"
        "check.equal(f(g, torch.ones(2, 3)), torch.full((2, 3), 4.0))\n"
        "check.equal((g.count, g.shapes), (2, [(2, 3), (2, 3)]))",
    ),
    "a spy that calls the student": (
        "f = lambda g, n: n if n < 1 else g(n - 1) + 1",
        "g = spy(lambda n: f(g, n))\ncheck.equal(f(g, 5), 5)",
    ),
    "a spy that refuses": (
        "def f(g):\n    try:\n        g(1)\n    except ValueError as e:\n        return str(e)",
        "def bad(x):\n    raise ValueError('odd')\ncheck.equal(f(spy(bad)), 'odd')",
    ),
    "no gradients wanted": (
        "f = lambda: torch.is_grad_enabled()",
        "check.true(f(), 'on')\nwith torch.no_grad():\n    check.true(not f(), 'off')",
    ),
    "a seed of the check": (
        "f = lambda: [float(torch.rand(())), random.random(), float(np.random.rand())]",
        "def seed():\n    torch.manual_seed(3); random.seed(3); np.random.seed(3)\n"
        "seed(); a, b = f(), f(); seed(); check.equal(f(), a); check.equal(f(), b)\n"
        "check.true(a != b, 'drawn twice')",
    ),
    "what would not be contiguous": (
        "f = lambda x: x.is_contiguous()",
        "check.equal([f(torch.ones(2, 3)), f(torch.ones(2, 3).T)], [True, False])",
    ),
}


@pytest.mark.parametrize("name", CROSSING)
def test_what_a_check_may_do_crosses(judge, name):
    said = judge(*CROSSING[name])
    assert said.passed == [True], said.detail
    assert not said.flags
    assert said.outputs[-1]["output_type"] == "execute_result"
    assert said.outputs[-1]["data"]["text/plain"] == "2"


FAILING = {
    "the line of an error": (
        "def f(n):\n    x = n\n    return x / 0",
        "f(1)",
        "your code raised ZeroDivisionError: division by zero "
        "(line 3 of your cell: `return x / 0`)",
    ),
    "a key": (
        "def f():\n    return {}['a']",
        "f()",
        "your code raised KeyError: 'a' (line 2 of your cell: `return {}['a']`)",
    ),
    "a missing name inside": (
        "def f():\n    return zzz",
        "f()",
        "`zzz` is not defined: run the cell above this one first",
    ),
    "a missing answer": (
        "pass",
        "f(1)",
        "`f` is not defined: run the cell above this one first",
    ),
    "an equal-to-everything object": (
        "class E:\n    def __eq__(self, o): return True\nf = lambda: E()",
        "check.equal(f(), 3)",
        "expected 3, got an object of type E",
    ),
    "an equal-to-everything number": (
        "class E(float):\n    def __eq__(self, o): return True\nf = lambda: E(2)",
        "check.equal(f(), 3.0)",
        "expected 3.0, got an object of type E",
    ),
    "a sly tensor": (
        "class T(torch.Tensor):\n    pass\nf = lambda: torch.ones(1).as_subclass(T)",
        "check.equal(f(), torch.ones(1))",
        "expected a tensor of shape (1,), got an object of type T",
    ),
    "a truth that only looks like one": (
        "class T:\n    def __bool__(self): return True\nf = lambda: T()",
        "check.true(f(), 'm', 'no truth')",
        "no truth",
    ),
    "an argument changed": (
        "def f(x):\n    x += 1",
        "check.unchanged(f, torch.ones(2))",
        "changed argument: 0",
    ),
    "a function where a module is due": (
        "def Net():\n    return 3",
        "build(Net)",
        "your code raised TypeError: an nn.Module was expected, got int",
    ),
    "no gradient": (
        "f = lambda x: x.detach()",
        "gradients(f, torch.ones(2))",
        "your code raised TypeError: the result carries no gradient: "
        "was it detached or made from numbers?",
    ),
    "an exit": (
        "import sys\ndef f():\n    sys.exit(3)",
        "f()",
        "your code raised SystemExit: 3 (line 3 of your cell: `sys.exit(3)`)",
    ),
    "too much": (
        "f = lambda: torch.zeros(1).expand(2**30)",
        "f()",
        "your code raised WireError: a value of more than 256 MB cannot leave its process",
    ),
}


@pytest.mark.parametrize("name", FAILING)
def test_failures_read_as_in_the_notebook(judge, name):
    answer, body, words = FAILING[name]
    said = judge(answer, body)
    assert said.passed == [False]
    assert said.detail == words


def test_an_untouched_gap_is_not_an_error(judge):
    said = judge("def f():\n    raise NotImplementedError()", "check.raises(ValueError, f)")
    assert said.lines[0]["status"] == "todo"
    assert said.report["earned"] == 0


def test_what_the_student_prints_is_shown_and_costs_nothing(judge):
    said = judge("def f():\n    print('hi'); import warnings; warnings.warn('x')", "f()")
    assert said.passed == [True]
    assert said.lines[0]["printed"] == "hi"


def test_lies_about_changed_arguments_are_seen_through(judge):
    answer = (
        "import course.checks.student as s\n"
        "s._same = lambda a, b: True\ntorch.equal = lambda *a: True\n"
        "def f(x):\n    x += 1"
    )
    assert judge(answer, "check.unchanged(f, torch.ones(2))").passed == [False]


@pytest.mark.parametrize(
    "trick",
    [
        "from course.geometry import unet_sizes as f",
        "import functools\nfrom course import geometry\nf = functools.partial(geometry.unet_sizes)",
        "import sys\nf = lambda *a: sys.modules['course.geometry'].unet_sizes(*a)",
        "import importlib, course.geometry as g\nf = lambda *a: importlib.reload(g).unet_sizes(*a)",
        "import types, course.geometry as g\nf = types.FunctionType(g.unet_sizes.__code__, {})",
        "import course.geometry as g\nf = lambda *a: exec(open(g.__file__).read())",
        "import sys, course.geometry as g\n"
        "def f(*a):\n    sys.setprofile(None)\n    return g.unet_sizes(*a)",
        "import gc\ndef f(*a):\n    return [o for o in gc.get_objects()][0]",
        "import subprocess\ndef f(*a):\n    return subprocess.run(['true'])",
    ],
)
def test_what_is_forbidden_cannot_be_reached_by_another_name(judge, trick):
    said = judge(trick, "check.equal(f(18, 1)[:2], [18, 16])", forbid=("course.geometry",))
    assert said.report["earned"] == 0
    assert "Forbidden" in said.detail


def test_a_forbidden_call_is_named_and_voids_even_a_right_answer(judge):
    answer = (
        "from course import geometry\ndef f(n):\n    try:\n        geometry.unet_sizes(n, 1)\n"
        "    except Exception:\n        pass\n    return n"
    )
    said = judge(answer, "check.equal(f(18), 18)", forbid=("course.geometry",))
    assert said.passed == [True]
    assert said.report["earned"] == 0
    assert said.report["forbidden"] == [
        "This exercise asks you to write it yourself: `course.geometry.unet_sizes` may not be used "
        "(line 4: `geometry.unet_sizes(n, 1)`)."
    ]
    assert said.flags[0][0] == "forbidden-call"


PAD = ["F.pad(x, (1, 1))", "torch.constant_pad_nd(x, (1, 1))", "nn.ReflectionPad1d(1)(x)"]
PAD += ["torch._C._nn.pad(x, (1, 1))", "torch.ops.aten.pad(x, (1, 1))"]
PAD += ["torch.ops.aten.reflection_pad1d(x, (1, 1))", "np.pad(x.numpy(), 1)"]


@pytest.mark.parametrize("call", PAD)
def test_an_operation_is_blocked_below_all_its_names(judge, call):
    answer = f"from torch.nn import functional as F\ndef f(x):\n    return {call}"
    forbid = ("torch.nn.functional.pad", "numpy.pad")
    said = judge(answer, "f(torch.ones(1, 1, 4))", forbid=forbid)
    assert said.report["earned"] == 0
    assert len(said.report["forbidden"]) == 1


def test_other_operations_go_on(judge):
    answer = "conv = nn.Conv2d(1, 1, 3, padding=1)\nf = lambda x: conv(x).detach()"
    body = "check.equal(list(f(torch.ones(1, 1, 4, 4)).shape), [1, 1, 4, 4])"
    assert judge(answer, body, forbid=("torch.nn.functional.pad",)).report["earned"] == 2


def test_a_method_of_the_same_name_as_what_is_forbidden_is_another_thing(judge):
    """`Tensor.unfold` cuts views along one axis; `F.unfold` makes columns."""
    names = ("torch.nn.functional.unfold",)
    body = "check.equal(f(torch.arange(4.0)), torch.tensor([[0.0, 1], [1, 2], [2, 3]]))"
    said = judge("f = lambda x: x.unfold(0, 2, 1)", body, forbid=names)
    assert said.report["earned"] == 2
    columns = "f = lambda x: torch.nn.functional.unfold(x[None, None, None], (1, 2))[0].T"
    assert judge(columns, body).report["earned"] == 2
    assert judge(columns, body, forbid=names).report["earned"] == 0


def test_the_check_itself_may_use_what_it_forbids(judge):
    body = "from course import geometry\ncheck.equal(f(18), geometry.unet_sizes(18, 1)[0])"
    assert judge("f = lambda n: n", body, forbid=("course.geometry",)).report["earned"] == 2


def test_a_forbidden_list_that_the_grader_could_not_read_is_our_error(judge):
    text = 'names = ["os"]\ncheck = Exercise("1.1", points=2, forbid=names)\n'
    text += 'with check("one", points=2):\n    f()\ncheck.score()'
    said = judge("f = lambda: 1", text)
    assert said.error is not None
    assert "forbid=" in said.error[1]


ENDINGS = {
    "exit": ("import os\ndef f():\n    os._exit(0)", "KernelDied"),
    "killed": ("import os\ndef f():\n    os.kill(os.getpid(), 9)", "KernelDied"),
    "interrupt": ("def f():\n    raise KeyboardInterrupt", "KeyboardInterrupt"),
    "sleep": ("import time\ndef f():\n    time.sleep(60)", "TimeLimit"),
}


@pytest.mark.parametrize("name", ENDINGS)
def test_the_end_of_the_process_ends_the_check(judge, name):
    answer, error = ENDINGS[name]
    said = judge(answer, "f()", seconds=1.0)
    assert said.error is not None
    assert said.error[0] == error


def test_a_check_that_only_asserts_needs_no_report(judge):
    for answer, error in (("f = lambda x: 2 * x", None), ("f = lambda x: x", "AssertionError")):
        said = judge(answer, "assert f(2) == 4  # Exercise(")
        assert said.outputs == [] if error is None else said.error[0] == error
        assert all(not o.get("traceback") for o in said.outputs), "a traceback quotes the test"


def test_our_cells_that_the_check_stands_on_run_beside_it(judge):
    said = judge("f = lambda: 5", "check.equal(f(), five)", before=(HEAD, "five = 5"))
    assert said.passed == [True]


def liar(stream: socket.socket, answers: list[bytes]) -> None:
    """Says what it likes, whatever it is asked."""
    channel = Channel(stream)
    with stream:
        for answer in answers:
            try:
                channel.receive(5)
                stream.sendall(answer)
            except (OSError, ChannelClosed, TimeoutError):
                return


def said_by_liar(bench, *answers: Any, seconds: float = 5) -> Answered:
    import json
    import struct

    def framed(answer: Any) -> bytes:
        if isinstance(answer, bytes):
            return answer
        header = json.dumps([answer, []]).encode()
        return struct.pack("!IQ", len(header), 0) + header

    here, there = socket.socketpair()
    replies = [framed(answer) for answer in answers]
    threading.Thread(target=liar, args=(there, replies), daemon=True).start()
    text = 'check = Exercise("1.1", points=2)\nwith check("one", points=2):\n'
    text += "    check.equal(f(spy(lambda x: x)), 1)\ncheck.score()"
    job = Job(text=text, before=(HEAD,), theirs=("f",), seconds=seconds)
    with here, bench.session() as session:
        verdict = session.run(job, here)
    assert verdict is not None
    return Answered(verdict)


OK = ["callable"]
LIES: list[Any] = [
    ["value", ["v", 1]],
    ["value", ["v", 1], []],
    ["value", ["v", [1]], {}],
    ["value", ["tensor", "float32", [10**9], 0, None, 0], {}],
    ["value", ["eval", "1"], {}],
    ["error", {}, {}],
    ["error", {"name": "X", "kind": "Y", "text": 3, "bases": [], "line": [0, ""]}, {}],
    ["error", "boom", {}],
    ["callback", 7, ["list", []], ["dict", []]],
    ["callback", 0, ["v", 1], ["dict", []]],
    ["callback", 0, ["list", []], ["dict", [[["v", 1], ["v", 1]]]]],
    ["callback"],
    ["points", 100],
    "value",
    None,
    {},
    [],
    [[]],
    b"\xff" * 12,
    b"\0\0\0\2\0\0\0\0\0\0\0\0{}",
]


@pytest.mark.parametrize("number", range(len(LIES)))
def test_answers_of_wrong_form_end_the_check_with_a_flag(bench, number):
    said = said_by_liar(bench, OK, LIES[number])
    assert said.error is not None
    assert said.error[0] == "BadReply"
    assert said.flags[0][0] == "protocol-broken"


def test_an_answer_to_the_first_question_of_wrong_form_too(bench):
    for lie in (["value"], ["value", 3], ["points"], 5):
        assert said_by_liar(bench, lie).flags[0][0] == "protocol-broken"


def test_silence_ends_the_check_in_time(bench):
    said = said_by_liar(bench, OK, b"\0\0\0\5", seconds=1)
    assert said.error is not None
    assert said.error[0] in ("TimeLimit", "KernelDied")


def test_an_exception_class_of_ours_cannot_be_faked(bench):
    error = {"name": "CheckFailed", "kind": "open", "text": "t", "bases": ["CheckFailed"]}
    said = said_by_liar(bench, OK, ["error", {**error, "line": [10**9, "x"]}, {}])
    assert said.passed == [False]
    assert "CheckFailed" in said.detail


def test_a_dead_process_for_checks_is_noticed(bench):
    here, _there = socket.socketpair()
    with here, bench.session() as session:
        assert session.run(Job(text="import os; os._exit(1)"), here) is None


NO_STUDENT_ERRORS = {
    "a value that is no data": (
        "class Odd(torch.Tensor): pass\nf = lambda n: torch.ones(2).as_subclass(Odd)",
        "Exception",
    ),
    "a value that is too large": ("f = lambda n: torch.zeros(80_000_000)", "Exception"),
    "a value without end": ("f = lambda n: (lambda a: a.append(a) or a)([])", "Exception"),
    "a value that fails when it is read": (
        "f = lambda n: torch.ones(2).to_sparse().to('meta')",
        "RuntimeError",
    ),
    "the process ends": ("import os\nf = lambda n: os._exit(1)", "Exception"),
    "the pipe breaks": ("import os\nf = lambda n: os.closerange(3, 200)", "OSError"),
    "what is forbidden": ("f = lambda n: np.pad([1], n)", "RuntimeError"),
    "it is not written": ("def f(n):\n    raise NotImplementedError", "Exception"),
    "another error": ("def f(n):\n    raise RuntimeError(n)", "ValueError"),
    "an error that is called so": (
        "class ValueError(Exception): pass\ndef f(n):\n    raise ValueError",
        "LookupError",
    ),
}


@pytest.mark.parametrize("name", NO_STUDENT_ERRORS)
def test_no_failure_of_ours_passes_for_the_error_that_is_asked_for(judge, name):
    answer, wanted = NO_STUDENT_ERRORS[name]
    if wanted == "Exception":  # what each of ours could be
        for kind in ("ValueError", "TypeError", "RuntimeError", "OSError", "MemoryError"):
            got = judge(answer, f"check.raises({kind}, f, 3)", forbid=("numpy.pad",))
            assert not any(got.passed)
            assert got.report.get("earned", 0) == 0
        return
    got = judge(answer, f"check.raises({wanted}, f, 3)", forbid=("numpy.pad",))
    assert got.report.get("earned", 0) == 0


def test_time_that_runs_out_passes_for_no_error(judge):
    """Neither the limit of the box nor that of the check."""
    endless = "def f(n):\n    while True:\n        pass"
    got = judge(endless, "check.raises(Exception, f, 3)", seconds=2)
    assert got.error is not None
    assert not any(got.passed)


OTHER_PROGRAMS = {
    "exec in a fork": "if os.fork() == 0: os.execv(line[0], line)",
    "posix_spawn": "os.posix_spawn(line[0], line, dict(os.environ))",
    "subprocess": "import subprocess; subprocess.run(line, pass_fds=(w,))",
    "multiprocessing's own way": "import multiprocessing.util as u; u.spawnv_passfds("
    "os.fsencode(line[0]), [os.fsencode(x) for x in line], (w,))",
    "the C function behind subprocess": "import _posixsubprocess as p; e, f = os.pipe(); "
    "p.fork_exec([os.fsencode(x) for x in line], [os.fsencode(line[0])], True,"
    " tuple(sorted((w, f))), None, None, -1, -1, -1, -1, -1, -1, e, f, False, False, 0,"
    " None, None, None, -1, None, False)",
    "a C call": "if os.fork() == 0: ctypes.CDLL(None).execv(os.fsencode(line[0]), words)",
}


@pytest.mark.parametrize("way", OTHER_PROGRAMS)
@pytest.mark.parametrize("forbidden", [False, True])
def test_no_other_program_can_be_asked_for_what_is_forbidden(judge, way, forbidden):
    """Each way works as long as nothing is forbidden, so it is the block that stops it."""
    answer = f"""
import ctypes, os, sys
def f(n):
    r, w = os.pipe()
    os.set_inheritable(w, True)
    code = f"import os, numpy; os.write({{w}}, repr(numpy.pad([7], {{n}}).tolist()).encode())"
    line = [sys.executable, "-c", code]
    words = (ctypes.c_char_p * 4)(*map(os.fsencode, line), None)
    {OTHER_PROGRAMS[way]}
    os.close(w)
    return eval(os.read(r, 999).decode())
"""
    if sys.version_info[:2] != (3, 11) and "C function" in way:
        pytest.skip("its arguments differ from version to version")
    names = ("numpy.pad",) if forbidden else ()
    got = judge(answer, "check.equal(f(1), [0, 7, 0])", forbid=names)
    assert got.passed == [not forbidden]
