"""Code that eats the machine: only the guilty question loses points, and nothing is left behind."""

from __future__ import annotations

from typing import Any

from nbformat import v4

from .case import Work, abuse, case

TIME = r"stopped after|time|came to no end|did not come"
MEMORY = r".*"  # where Python raises MemoryError first, there is no limit to report
DEAD = r"ended|died|killed|signal"
ANY = r".*"

abuse("an endless loop", TIME, body="while True: pass", real=True)
abuse("an endless loop in the cell", TIME, cell="while True: pass", real=True)
abuse(
    "a loop that swallows interrupts",
    TIME,
    body="""
    while True:
        try:
            while True: pass
        except BaseException:
            pass
    """,
    real=True,
)
abuse(
    "a loop that blocks every signal",
    TIME,
    body="""
    import signal
    for number in signal.valid_signals():
        try:
            signal.signal(number, signal.SIG_IGN)
        except OSError:
            pass
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    while True: pass
    """,
)
abuse("sleep", TIME, body="import time; time.sleep(3600)")
abuse("sleep in the cell", TIME, cell="import time; time.sleep(3600)")
abuse(
    "waiting for a lock",
    TIME,
    body="import threading; l = threading.Lock(); l.acquire(); l.acquire()",
)
abuse(
    "a C call that holds the interpreter",
    TIME,
    body="import re; re.match('(a+)+$', 'a' * 40 + 'b')",
)
abuse("a power that never ends", TIME, body="9 ** 9 ** 9")
abuse("a generator without end", TIME, body="return list(iter(int, 1))", lethal=True)
abuse(
    "one huge allocation", MEMORY, body="x = bytearray(64 << 30); x[::4096] = bytes(len(x) // 4096)"
)
abuse("one huge tensor", MEMORY, body="import torch; torch.ones(1 << 34)", lethal=True)
abuse(
    "a slow leak",
    MEMORY,
    body="""
    kept = []
    while True:
        kept.append(bytearray(b'x') * 2**24)
    """,
    lethal=True,
)
abuse(
    "memory spread over children",
    ANY,
    body="""
    import os, time
    for _ in range(24):
        if os.fork() == 0:
            kept = bytearray(b'x') * (400 * 2**20)
            time.sleep(600)
    time.sleep(600)
    """,
    lethal=True,
)
abuse(
    "a fork bomb",
    ANY,
    body="""
    import os, time
    for _ in range(4000):
        try:
            if os.fork() == 0:
                time.sleep(600)
        except OSError:
            break
    while True: pass
    """,
    lethal=True,
)
abuse(
    "a thread bomb",
    ANY,
    body="""
    import threading, time
    while True:
        threading.Thread(target=time.sleep, args=(600,)).start()
    """,
    lethal=True,
)
abuse(
    "a 10 GB file",
    ANY,
    body="""
    with open('big', 'wb') as file:
        for _ in range(10_000):
            file.write(bytes(2**20))
    """,
    lethal=True,
)
abuse(
    "10 GB in many files",
    ANY,
    body="""
    import os, tempfile
    for number in range(2_000):
        for folder in ('.', tempfile.gettempdir(), '/dev/shm'):
            with open(os.path.join(folder, f'@TOKEN@-{number}'), 'wb') as file:
                file.write(bytes(5 * 2**20))
    """,
    lethal=True,
)
abuse(
    "a million files",
    ANY,
    body="""
    for number in range(1_000_000):
        open(f'@TOKEN@-{number}', 'w').close()
    """,
    lethal=True,
)
abuse("a 20 MB line", ANY, body="print('y' * 20_000_000)", guilty=None)
abuse("a 20 MB line in the cell", ANY, cell="print('y' * 20_000_000)", guilty=1.0)
abuse("a million lines", ANY, cell="for n in range(1_000_000): print(n)", guilty=None)
abuse(
    "a flood from C",
    ANY,
    cell="import os\nfor _ in range(3000): os.write(1, b'z' * 10_000)",
    guilty=None,
)
abuse(
    "a flood of pictures",
    ANY,
    guilty=None,
    cell="""
from IPython.display import HTML, display
for _ in range(2000): display(HTML('<b>' + 'w' * 10_000))
""",
)
abuse("os._exit", DEAD, body="import os; os._exit(0)", real=True)
abuse("os._exit in the cell", DEAD, cell="import os; os._exit(0)", real=True)
abuse("a segfault", DEAD, body="import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", real=True)
abuse("a read from address 0", ANY, body="import ctypes; ctypes.string_at(0)")
abuse("abort", DEAD, body="import os; os.abort()")
abuse("SIGKILL to itself", DEAD, body="import os; os.kill(os.getpid(), 9)")
abuse("SIGSTOP to itself", ANY, body="import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
abuse("sys.exit", "", body="import sys; sys.exit(0)")
abuse("sys.exit in the cell", ANY, cell="import sys; sys.exit(0)", guilty=None)
abuse("KeyboardInterrupt", ANY, body="raise KeyboardInterrupt")
abuse("a BaseException of one's own", ANY, body="raise type('Mine', (BaseException,), {})()")
abuse("recursion", ANY, body="import sys; sys.setrecursionlimit(10**9)\ndef f(): return f()\nf()")
abuse("recursion in the cell", ANY, cell="def f(): return f()\nf()", guilty=0.0)
abuse("a list that holds itself", ANY, body="x = []; x.append(x); return x")
abuse("a result nested without end", ANY, body="x = []\nfor _ in range(100_000): x = [x]\nreturn x")
abuse("a result of a gigabyte", ANY, body="return bytearray(2**30)", lethal=True)
abuse(
    "a tensor that only looks small", ANY, body="import torch; return torch.zeros(1).expand(2**40)"
)
abuse("an integer of a million digits", ANY, body="return 10 ** 1_000_000")
abuse("a sparse tensor", ANY, body="import torch; return torch.zeros(9, 9).to_sparse()")
abuse("a tensor on the meta device", ANY, body="import torch; return torch.zeros(9, device='meta')")
abuse("text that is no text", ANY, body="return '\\ud83d'")
abuse("all descriptors closed", ANY, body="import os; os.closerange(0, 4096)")
abuse(
    "all descriptors closed in the cell", ANY, cell="import os; os.closerange(0, 4096)", guilty=None
)
abuse("more threads of torch", ANY, cell="import torch; torch.set_num_threads(64)", guilty=1.0)
abuse(
    "an alarm for later",
    ANY,
    cell="import signal; signal.alarm(1); signal.setitimer(0, 0.1)",
    guilty=None,
)
abuse(
    "a daemon that stays",
    ANY,
    cell="""
    import os, subprocess, sys
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.environ.clear()
            os.execv(sys.executable, ['python', '-c', 'import time; time.sleep(600) # @TOKEN@'])
        os._exit(0)
    """,
    guilty=None,
)
abuse(
    "a child that stays",
    ANY,
    cell="""
    import subprocess, sys
    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600) # @TOKEN@'],
                     start_new_session=True)
    """,
    guilty=None,
)
abuse(
    "a thread that goes on",
    ANY,
    cell="""
    import threading
    def spin():
        while True: pass
    threading.Thread(target=spin, daemon=True).start()
    """,
    guilty=None,
)
abuse(
    "an exit handler without end",
    ANY,
    cell="""
    import atexit, time
    atexit.register(time.sleep, 3600)
    """,
    guilty=1.0,
)


@case("resources", "an endless loop behind the last test", limits="")
def _(work: Work) -> None:
    work.add("while True: pass")


@case("resources", "an endless loop above everything", limits=TIME, more_flags=True)
def _(work: Work) -> None:
    work.nb.cells.insert(0, work.nb.cells.pop(work.nb.cells.index(work.add("while True: pass"))))


def reader(name: str, *codes: str, **verdict: Any) -> None:
    """Text that is hard on whoever reads it: the grader itself, outside of every box."""

    def make(work: Work) -> None:
        for code in codes:
            work.add(code, before=work.answer)

    case("resources", name, **{"more_flags": True, "limits": ".*", **verdict})(make)


reader("an install command behind 60,000 blanks", "%" + " " * 60_000 + "!pip" + "\t" * 60_000)
reader("200,000 blank lines", "\n" * 200_000 + "x")
reader("a line of 200,000 blanks", "x" + " " * 200_000 + "y")
reader("brackets nested without end", "(" * 100_000, "[" * 90 + "]" * 90)
reader("signs nested without end", "-" * 100_000 + "1", "x = " + "-" * 2000 + "1")
reader("lambdas nested without end", "x = " + "lambda: " * 900 + "1")
reader("a sum of 5,000 terms", "x = " + "+".join(["1"] * 5000))
reader("a megabyte of code", *["x = 1\n" * 20_000] * 8)


@case("resources", "30 MB of text", status="rejected", reason="MB of text")
def _(work: Work) -> None:
    for number in range(150):
        work.add(f"# {number}\n" + "# abcdefgh\n" * 20_000)


@case("resources", "1,500 similar cells for the matcher", more_flags=True)
def _(work: Work) -> None:
    for cell in work.nb.cells:
        cell.metadata, cell["id"] = {}, ""
    work.nb.cells += [
        v4.new_code_cell(f"def helper(image, by):\n    return image\n# {n}") for n in range(1500)
    ]
