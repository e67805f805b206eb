# ruff: noqa: E501  attack code keeps its own lines
"""Attacks on the points, on the tests' secrecy, on the machine and on other students.

The guilty answer is wrong unless the case says `right`: whatever it earns is undeserved.
"""

from __future__ import annotations

import base64
import functools
import textwrap
from typing import Any

from nbformat import v4

from .case import Work, case, cheat, zipped

attack = functools.partial(case, "cheating", more_flags=True, guilty=0.0)
steal = functools.partial(cheat, never=("check.hidden", "BEGIN HIDDEN"))


# --- the notebook's own metadata ------------------------------------------------------------------


@attack("tags that skip the test", flags="tags-ignored", real=True)
def _(work: Work) -> None:
    work.write(work.lab.wrong)
    for cell in work.nb.cells:
        cell.metadata["tags"] = ["skip-execution", "raises-exception", "remove-cell"]


@attack("flipped flags and a hundred points", flags="metadata-edited", real=True)
def _(work: Work) -> None:
    work.write(work.lab.wrong)
    work.check.metadata["nbgrader"] |= {"points": 100, "solution": True, "locked": False}


@attack("the test made a manual question", flags="metadata-edited")
def _(work: Work) -> None:
    work.write(work.lab.wrong)
    work.check.metadata["nbgrader"] |= {"grade": True, "solution": True, "task": True}
    work.answer.metadata["nbgrader"] |= {"grade": True, "solution": False, "points": 100}


@attack("a forged result in the file")
def _(work: Work) -> None:
    work.write(work.lab.wrong)
    output = v4.new_output("execute_result", {"text/plain": "100.0"}, execution_count=1)
    work.check.outputs, work.check.execution_count = [output], 1


@attack("the test cell rewritten", flags="locked-edited", real=True)
def _(work: Work) -> None:
    work.write(work.lab.wrong)
    work.check.source = "100.0"


@attack("the test cell emptied", flags="locked-edited")
def _(work: Work) -> None:
    work.write(work.lab.wrong)
    work.check.source = ""


@attack("a test of one's own behind the real one", flags="cell-duplicated")
def _(work: Work) -> None:
    work.write(work.lab.wrong)
    work.paste(work.check, "100.0")


@attack("the answer's id given to the test", flags="")
def _(work: Work) -> None:
    work.write(work.lab.wrong)
    work.check.metadata["nbgrader"]["grade_id"] = work.lab.answer


@attack("the imports replaced by fakes", flags="locked-edited")
def _(work: Work) -> None:
    work.write(work.lab.wrong)
    work.cell("setup").source = (
        "class Exercise:\n    def __getattr__(self, name): return lambda *a, **k: 100.0\n"
        "    __init__ = __call__ = lambda *a, **k: None"
    )


@attack("the test copied into the answer")
def _(work: Work) -> None:
    work.write(work.lab.wrong)
    work.answer.source += "\n" + work.check.source.replace("check = ", "check = done = ") + "\n4.0"


@attack("a zip in another student's name", guilty=1.0)
def _(work: Work) -> dict[str, Any]:
    """If it worked, this student would vanish from the list."""
    name = f"000 Anna_900_assignsubmission_file_/{work.lab.name}.ipynb"
    return {"work.zip": zipped({name: work.bytes()})}


# --- the kernel that runs it ----------------------------------------------------------------------

cheat(
    "an input transformer that drops the checks",
    cell="""
    ip = get_ipython()
    ip.input_transformers_cleanup.append(lambda lines: ['100.0'] if 'Exercise' in ''.join(lines) else lines)
    """,
    real=True,
)
cheat(
    "an AST transformer that drops assert",
    cell="""
    import ast
    class Drop(ast.NodeTransformer):
        def visit_Assert(self, node): return ast.Pass()
        def visit_With(self, node): return ast.parse('4.0').body[0]
    get_ipython().ast_transformers.append(Drop())
    """,
)
cheat(
    "a patched run_cell",
    cell="""
    ip = get_ipython()
    ip.run_cell = ip.run_cell_async = lambda *a, **k: None
    type(ip).run_cell = lambda *a, **k: None
    """,
    others=None,
)
cheat("points through the display hook", body="import sys\nsys.displayhook(100.0)", real=True)
cheat(
    "an event before every cell",
    cell="get_ipython().events.register('pre_run_cell', lambda info: __import__('sys').displayhook(4.0))",
)
cheat(
    "a forged report",
    body="""
    from IPython.display import display
    mime = 'application/vnd.segmentation-course.check+json'
    display({mime: {'exercise': '1.1', 'points': 100, 'earned': 100, 'checks': []}, 'text/plain': '100'}, raw=True)
    """,
    real=True,
)
cheat(
    "messages forged on the kernel's socket",
    cell="""
    ip = get_ipython()
    ip.display_pub.publish({'text/plain': '100.0'})
    ip.displayhook(100.0)
    session = ip.kernel.session
    session.send(ip.kernel.iopub_socket, 'execute_result', {'data': {'text/plain': '100.0'}, 'metadata': {}, 'execution_count': 1})
    """,
)

# --- the language and the libraries ---------------------------------------------------------------

cheat(
    "torch.allclose always agrees",
    cell="import torch\ntorch.allclose = torch.equal = torch.isclose = lambda *a, **k: True",
    real=True,
)
cheat(
    "numpy always agrees",
    cell="import numpy\nnumpy.allclose = numpy.array_equal = numpy.isclose = lambda *a, **k: True",
)
cheat(
    "patched builtins",
    cell="""
    import builtins
    builtins.bool = lambda *a: True
    builtins.abs = lambda x: 0
    builtins.AssertionError = type('Never', (BaseException,), {})
    builtins.isinstance = lambda *a: True
    """,
    others=None,
)
cheat(
    "patched checks",
    cell="""
    import course.checks, course.checks.exercise, course.checks.compare
    course.checks.compare.difference = course.checks.exercise.difference = lambda *a, **k: None
    course.checks.Exercise.equal = course.checks.Exercise.true = lambda *a, **k: None
    course.checks.Exercise.raises = course.checks.Exercise.unchanged = lambda *a, **k: None
    """,
    real=True,
)
cheat(
    "a patched report",
    cell="""
    from course.checks import report
    report.Report.earned = property(lambda self: self.points)
    report.Line.earned = property(lambda self: self.points)
    """,
)
cheat(
    "an exercise of one's own",
    cell="""
    class Exercise:
        def __init__(self, *a, **k): pass
        def __call__(self, *a, **k):
            import contextlib
            return contextlib.nullcontext()
        hidden = __call__
        def equal(self, *a, **k): pass
        raises = true = unchanged = equal
        def score(self): return 100.0
    """,
    others=1.0,
)
cheat(
    "a patched contextlib",
    cell="import contextlib\ncontextlib._GeneratorContextManager.__exit__ = lambda *a: True",
    others=None,
)
cheat(
    "a shadowed torch",
    cell="""
    import sys, types
    fake = types.ModuleType('torch')
    fake.__getattr__ = lambda name: lambda *a, **k: True
    sys.modules['torch'] = torch = fake
    """,
    others=None,
)
cheat(
    "a shadowed course",
    cell="""
    import sys, types
    fake = types.ModuleType('course.checks')
    fake.__getattr__ = lambda name: (lambda *a, **k: 100.0)
    sys.modules['course.checks'] = sys.modules['course'] = fake
    """,
    others=None,
)
cheat(
    "an import hook",
    cell="""
    import sys
    class Hook:
        def find_spec(self, name, path=None, target=None): return None
    sys.meta_path.insert(0, Hook())
    sys.path.insert(0, '.')
    """,
    others=None,
)


@attack("files that shadow torch and course", flags="extra-files")
def _(work: Work) -> dict[str, Any]:
    work.write(work.lab.wrong)
    fake = b"raise RuntimeError('LEAK' + 'ED')"
    names = ("torch.py", "course.py", "sitecustomize.py", "numpy.py", "conftest.py", "random.py")
    return {f"{work.lab.name}.ipynb": work.bytes(), **dict.fromkeys(names, fake)}


# --- objects that lie -----------------------------------------------------------------------------

EQUAL = """
class Equal{base}:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __hash__(self): return 0
    def __bool__(self): return True
    def __sub__(self, other): return self
    __rsub__ = __add__ = __radd__ = __sub__
    def __abs__(self): return self
    def __float__(self): return 0.0
    def __getattr__(self, name): return self
    def __call__(self, *a, **k): return self
"""
cheat("an object equal to everything", cell=EQUAL.format(base=""), body="return Equal()", real=True)
cheat("an int equal to everything", cell=EQUAL.format(base="(int)"), body="return Equal(5)")
cheat("a float equal to everything", cell=EQUAL.format(base="(float)"), body="return Equal(5)")
cheat("a list equal to everything", cell=EQUAL.format(base="(list)"), body="return Equal([5])")
cheat("a text equal to everything", cell=EQUAL.format(base="(str)"), body="return Equal('5')")
cheat("a tuple whose items lie", cell=EQUAL.format(base=""), body="return (Equal(), Equal())")
cheat("not a number", body="return float('nan')", flags="")
cheat("a tensor of nan", body="import torch\nreturn torch.full((2,), float('nan'))", flags="")
cheat(
    "a tensor subclass with __torch_function__",
    cell="""
    import torch
    class Sly(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            return True
    """,
    body="import torch\nreturn torch.zeros(2).as_subclass(Sly)",
    real=True,
)
cheat(
    "an array subclass that answers for numpy",
    cell="""
    import numpy
    class Sly(numpy.ndarray):
        def __array_function__(self, *a, **k): return True
        def __array_ufunc__(self, *a, **k): return True
    """,
    body="import numpy\nreturn numpy.zeros(2).view(Sly)",
)
cheat(
    "an object that claims another class",
    cell="""
    import torch
    class Spoof:
        @property
        def __class__(self): return torch.Tensor
        def __getattr__(self, name): return lambda *a, **k: True
    """,
    body="return Spoof()",
)
cheat(
    "an object that runs when it is unpickled",
    cell="""
    import os
    class Bomb:
        def __reduce__(self): return (os.system, ('touch /tmp/@TOKEN@; touch @ROOT@/@TOKEN@',))
    """,
    body="return [Bomb(), {'a': Bomb()}]",
)
cheat(
    "an error that says it is right",
    body="raise type('CheckFailed', (Exception,), {'__bool__': lambda s: False})('ok')",
    flags="",
)
cheat(
    "it raises every error at once",
    body="raise ValueError(' '.join(map(str, range(2000))))",
    flags="",
    guilty=None,
)

# --- reading the tests ----------------------------------------------------------------------------

steal(
    "hidden tests from the gradebook",
    body="""
    for place in ('@ROOT@/gradebook.db', '@ROOT@/source/@LAB@/@LAB@.ipynb'):
        try:
            data = open(place, 'rb').read()
        except OSError:
            continue
        tell(len(data))
    """,
    real=True,
)
steal(
    "solutions from the course's own folder",
    body="""
    import pathlib, course
    for folder in pathlib.Path(course.__file__).parents:
        for path in (folder / 'solutions').glob('*.py'):
            tell(path.read_text()[:50])
    """,
    real=True,
)
steal(
    "solutions from anywhere on the disk",
    body="""
    import os, time
    end = time.monotonic() + 1
    for top in ('/work', '/home', '/root', '/srv', '/tmp', '/mnt', '/opt', '/'):
        for folder, folders, files in os.walk(top):
            if time.monotonic() > end or 'site-packages' in folder: break
            for name in files:
                if name in ('gradebook.db', '@LAB@.ipynb', '08_unet.py'):
                    text = open(os.path.join(folder, name), errors='replace').read()
                    if 'HIDDEN' + ' TESTS' in text or 'END' + ' SOLUTION' in text: tell(folder)
    """,
)
steal(
    "tests from the frames",
    body="""
    import sys
    frame = sys._getframe(1)
    while frame is not None:
        for name, value in [*frame.f_locals.items(), *frame.f_globals.items()]:
            if name in ('expected', 'want', 'mistakes') or type(value).__name__ == 'Exercise':
                tell(name)
        frame = frame.f_back
    """,
    real=True,
)
steal(
    "tests from the garbage collector",
    body="""
    import gc
    for thing in gc.get_objects():
        if type(thing).__name__ in ('Exercise', 'Report', 'Template', 'TemplateCell', 'Rebuilt'):
            tell(type(thing))
        if type(thing) is dict and any('HIDDEN' + ' TESTS' in v for v in thing.values() if type(v) is str):
            tell('text')
    """,
)
steal(
    "tests from the history",
    body="""
    import linecache
    ip = get_ipython()
    texts = [*ip.user_ns.get('In', []), *(''.join(v[2]) for v in linecache.cache.values() if len(v) > 2)]
    for text in texts:
        if 'check.hid' + 'den' in text: tell(text)
    """,
)
steal(
    "tests from a tracing function",
    cell="""
    import sys
    seen = []
    def trace(frame, event, arg):
        if 'check' in frame.f_globals: seen.append(frame.f_lineno)
        return trace
    sys.settrace(trace); sys.setprofile(trace)
    """,
    body="if seen: tell(seen)",
    others=None,
)
steal(
    "tests from the memory of the grader",
    body="""
    import os, pathlib
    for process in pathlib.Path('/proc').iterdir():
        try:
            line = (process / 'cmdline').read_bytes()
            if any(word in line for word in (b'sleep(3000)', b'pytest', b'tests.hostile')):
                with open(process / 'mem', 'rb'):
                    tell('opened')
        except OSError:
            pass
    """,
)
steal(
    "secrets from the environment and open files",
    body="""
    import os
    for number in range(3, 256):
        try:
            path = os.readlink(f'/proc/self/fd/{number}')
        except OSError:
            continue
        if any(word in path for word in ('gradebook', 'solutions', 'source', 'submitted')): tell(path)
    for name, value in os.environ.items():
        if '.db' in value or '/source' in value or '/submitted' in value: tell(name + value)
    """,
)


@attack("answers for the visible inputs only", guilty=0.25, real=True)
def _(work: Work) -> None:
    work.write(work.lab.seen)


# --- what an exercise forbids ---------------------------------------------------------------------


def forbidden(name: str, body: str, **more: Any) -> None:
    """The library's own answer to the exercise, reached in some way."""

    def make(work: Work) -> None:
        module, attribute, arguments = work.lab.forbidden
        text = body.replace("MODULE", module).replace("NAME", attribute).replace("ARGS", arguments)
        text = text.replace("HALF", attribute[:2]).replace("REST", attribute[2:])
        lines = textwrap.indent(text, "    ")
        work.cell(f"{work.lab.ruled}-answer").source = f"{work.lab.ruled_signature}\n{lines}\n"

    attack(name, ruled=True, **more)(make)


forbidden("the forbidden call", "import MODULE as m\nreturn m.NAMEARGS", real=True)
forbidden("the forbidden call by another name", "from MODULE import NAME as mine\nreturn mineARGS")
forbidden(
    "the forbidden call through sys.modules",
    "import sys, MODULE\nreturn getattr(sys.modules['MODULE'], 'HALF' + 'REST')ARGS",
)
forbidden(
    "the forbidden call through gc",
    "import gc, MODULE\n"
    "for f in gc.get_objects():\n"
    "    if getattr(f, '__name__', '') == 'NAME' and getattr(f, '__module__', '') == 'MODULE':\n"
    "        return fARGS\n"
    "import MODULE as m\nreturn vars(m)['NAME']ARGS",
)
forbidden(
    "the forbidden call in a thread",
    "import threading, MODULE as m\nbox = []\n"
    "t = threading.Thread(target=lambda: box.append(m.NAMEARGS))\n"
    "t.start(); t.join()\nreturn box[0]",
)
forbidden(
    "the forbidden call through functools",
    "import functools, MODULE as m\nreturn functools.partial(m.NAME)ARGS",
)
forbidden(
    "the forbidden call without a profile hook",
    "import sys, MODULE as m\nsys.setprofile(None)\nreturn m.NAMEARGS",
)
forbidden(
    "the forbidden call in a process",
    "import multiprocessing.pool, MODULE as m\n"
    "from concurrent.futures import ThreadPoolExecutor\n"
    "with ThreadPoolExecutor(1) as pool:\n    return pool.submit(lambda: m.NAMEARGS).result()",
)
forbidden(
    "the forbidden call through eval",
    'return eval(\'__import__("MODULE", fromlist=["x"]).NAMEARGS\')',
)
forbidden(
    "a copy of the forbidden function",
    "import types, MODULE as m\nf = m.NAME\n"
    "if hasattr(f, '__code__'):\n"
    "    f = types.FunctionType(f.__code__.replace(co_name='mine'), f.__globals__, 'mine', f.__defaults__)\n"
    "return fARGS",
)

forbidden(
    "the forbidden call in a program of its own",
    '''\
import multiprocessing.util, os, sys, torch
given = ARGS
given = given if isinstance(given, tuple) else (given,)
given = [value.tolist() if hasattr(value, "tolist") else value for value in given]
r, w = os.pipe()
code = f"""import os, torch, MODULE as m
given = [torch.tensor(v) if type(v) is list else v for v in {given!r}]
result = m.NAME(*given)
os.write({w}, repr(result.tolist() if hasattr(result, 'tolist') else result).encode())
"""
line = [sys.executable, "-c", code]
multiprocessing.util.spawnv_passfds(os.fsencode(line[0]), [os.fsencode(a) for a in line], (w,))
os.close(w)
result = eval(os.read(r, 99999).decode())
return torch.tensor(result) if type(result) is list else result
''',
)

_RESULT = """\
import pickle, os, sys, torch
given = ARGS
given = given if isinstance(given, tuple) else (given,)
given = [value.tolist() if hasattr(value, "tolist") else value for value in given]
r, w = os.pipe()
os.set_inheritable(w, True)
code = f'''import os, torch, MODULE as m
given = [torch.tensor(v) if type(v) is list else v for v in {given!r}]
result = m.NAME(*given)
os.write({w}, repr(result.tolist() if hasattr(result, 'tolist') else result).encode())
'''
line = [sys.executable, "-c", code]
START
os.close(w)
result = eval(os.read(r, 99999).decode())
return torch.tensor(result) if type(result) is list else result
"""
for how, start in {
    "a fork": "if os.fork() == 0:\n    try:\n        exec(code)\n    finally:\n        os._exit(0)",
    "a fork that starts a program": "if os.fork() == 0: os.execv(line[0], line)",
    "multiprocessing's fork": "import multiprocessing as mp\n"
    "p = mp.get_context('fork').Process(target=exec, args=(code,)); p.start(); p.join()",
    "multiprocessing's spawn": "import multiprocessing as mp\n"
    "p = mp.get_context('spawn').Process(target=exec, args=(code,)); p.start(); p.join()",
    "multiprocessing's fork server": "import multiprocessing as mp\n"
    "p = mp.get_context('forkserver').Process(target=exec, args=(code,)); p.start(); p.join()",
    "posix_spawn": "os.waitpid(os.posix_spawn(line[0], line, dict(os.environ)), 0)",
    "subprocess": "import subprocess\nsubprocess.run(line, pass_fds=(w,))",
    "os.system": "import shlex\nos.system(shlex.join(line))",
    "a terminal of its own": "import pty\npty.spawn(line)",
    "the C function behind subprocess": "import _posixsubprocess\n"
    "e, f = os.pipe()\n"
    "words = [os.fsencode(word) for word in line]\n"
    "_posixsubprocess.fork_exec(words, [words[0]], True, tuple(sorted((w, f))), None, None, -1, -1,"
    " -1, -1, -1, -1, e, f, False, False, 0, None, None, None, -1, None, False)",
    "a C call": "import ctypes\n"
    "words = (ctypes.c_char_p * 4)(*map(os.fsencode, line), None)\n"
    "if os.fork() == 0:\n    ctypes.CDLL(None).execv(os.fsencode(line[0]), words)\n    os._exit(0)",
    "a C call by its address": "import ctypes, _ctypes\n"
    "libc = _ctypes.dlopen(None, 2)\n"
    "run = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(_ctypes.dlsym(libc, 'execv'))\n"
    "words = (ctypes.c_char_p * 4)(*map(os.fsencode, line), None)\n"
    "if os.fork() == 0:\n    run(os.fsencode(line[0]), ctypes.addressof(words))\n    os._exit(0)",
}.items():
    forbidden(f"the forbidden call by {how}", _RESULT.replace("START", start), limits=".*")

# --- the machine and the other students -----------------------------------------------------------

cheat(
    "the gradebook rewritten",
    right=True,
    cell="""
    import sqlite3
    try:
        book = sqlite3.connect('@ROOT@/gradebook.db', timeout=0.2)
        book.execute('UPDATE grade SET auto_score = 99, manual_score = 99')
        book.commit()
    except sqlite3.Error:
        pass
    """,
    lethal=True,
    real=True,
)
cheat(
    "results of others rewritten",
    right=True,
    cell="""
    import glob, os
    for path in glob.glob('@ROOT@/**/*', recursive=True) + glob.glob('@ROOT@/.autograder/**/*', recursive=True):
        try:
            open(path, 'w').write('@TOKEN@')
        except OSError:
            pass
    """,
    lethal=True,
)
cheat(
    "files dropped everywhere",
    right=True,
    cell="""
    import os, pathlib, site, sys, tempfile
    home = os.path.expanduser('~')
    places = ['/tmp', '/var/tmp', '/dev/shm', '@ROOT@', '@ROOT@/submitted', home, home + '/.ipython',
              '/root', os.environ.get('MPLCONFIGDIR', '/tmp'), os.environ.get('TMPDIR', '/tmp'),
              tempfile.gettempdir(), *site.getsitepackages(), *sys.path, '/etc', '/usr/local/bin', '.']
    for place in places:
        try:
            pathlib.Path(place or '.', '@TOKEN@.py').write_text('import os')
        except OSError:
            pass
    """,
    lethal=True,
    real=True,
)
cheat(
    "a start-up file for the next student",
    right=True,
    cell="""
    import os, pathlib
    for place in ('~/.ipython/profile_default/startup', '~/.config/matplotlib', '~/.local/lib/python3.11/site-packages'):
        try:
            folder = pathlib.Path(place).expanduser(); folder.mkdir(parents=True, exist_ok=True)
            (folder / '@TOKEN@.py').write_text('raise SystemExit')
        except OSError:
            pass
    """,
    lethal=True,
)
cheat(
    "results left for the next student",
    right=True,
    flags="",
    cell="""
    for place in ('/tmp/note-@TOKEN@', '/dev/shm/note-@TOKEN@', '/var/tmp/note-@TOKEN@', 'note-@TOKEN@'):
        try:
            open(place, 'w').write('the answer')
        except OSError:
            pass
    """,
)
cheat(
    "results of the student before",
    flags="",
    body="""
    import os
    for place in ('/tmp', '/dev/shm', '/var/tmp', '.'):
        for name in os.listdir(place):
            if '@TOKEN@' in name: tell(name)
    """,
)
cheat(
    "shared memory and abstract sockets",
    right=True,
    cell="""
    import mmap, socket
    from multiprocessing import shared_memory
    try:
        kept = shared_memory.SharedMemory('@TOKEN@', create=True, size=64)
    except OSError:
        pass
    """,
)
cheat(
    "the grader killed",
    right=True,
    cell="""
    import os, signal
    for pid in (os.getppid(), @VICTIM@):
        try:
            if pid > 1: os.kill(pid, signal.SIGKILL)
        except OSError:
            pass
    """,
    guilty=None,
    others=None,
    limits=".*",
    lethal=True,
    real=True,
)
cheat(
    "the grader traced",
    right=True,
    cell="""
    import ctypes
    if ctypes.CDLL(None).ptrace(16, @VICTIM@, 0, 0) == 0:
        tell('attached')
    """,
)
cheat(
    "the network",
    body="""
import socket
for family, address in ((socket.AF_INET, ('127.0.0.1', @PORT@)), (socket.AF_INET6, ('::1', @PORT@))):
    try:
        s = socket.socket(family); s.settimeout(0.5); s.connect(address)
    except OSError:
        continue
    tell('connected')
""",
    real=True,
)
cheat(
    "a name looked up",
    body="""
import socket
try:
    socket.getaddrinfo('example.com', 80)
except OSError:
    pass
else:
    tell('resolved')
""",
)
cheat(
    "the class deleted",
    right=True,
    cell="import shutil; shutil.rmtree('@ROOT@', ignore_errors=True)",
    lethal=True,
)
cheat(
    "nice and priorities",
    right=True,
    flags="",
    cell="""
import os
try:
    os.setpriority(os.PRIO_PROCESS, @VICTIM@, 19)
    tell('changed')
except OSError:
    pass
""",
    lethal=True,
)
cheat(
    "back to root",
    right=True,
    cell="""
import os
try:
    os.setuid(0); os.setgid(0)
    open('@ROOT@/@TOKEN@', 'w').close()
except OSError:
    pass
""",
    lethal=True,
)
cheat(
    "a mount and a namespace",
    right=True,
    cell="""
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
libc.unshare(0x10000000 | 0x00020000)
if libc.mount(b'none', b'/tmp', b'tmpfs', 0, b'') == 0 and libc.mount(b'/', b'/mnt', b'', 4096, b'') == 0:
    open('/mnt@ROOT@/@TOKEN@', 'w').close()
""",
    lethal=True,
)

# --- the protocol between student and tests -------------------------------------------------------

cheat(
    "replies that fake the protocol",
    body="""
    import os, json, struct
    text = json.dumps([["r", ["v", 1]], []]).encode()
    for number in range(3, 64):
        for data in (text, struct.pack('<I', len(text)) + text, b'\\x00' * 64, b'\\xff' * 64):
            try:
                os.write(number, data)
            except OSError:
                pass
    """,
    flags="suspicious-code",
    others=None,
    limits=".*",
    real=True,
)
cheat(
    "requests swallowed by another reader",
    cell="""
    import os, threading
    def drain(number):
        try:
            while os.read(number, 65536): pass
        except OSError:
            pass
    for number in range(3, 64):
        threading.Thread(target=drain, args=(number,), daemon=True).start()
    """,
    flags="suspicious-code",
    others=None,
    limits=".*",
)
cheat(
    "patched json and struct",
    cell="""
    import json, struct
    json.dumps = lambda *a, **k: '[]'
    json.loads = lambda *a, **k: ['r', ['v', 572]]
    struct.unpack = lambda *a, **k: (0,)
    """,
    others=None,
    limits=".*",
)
cheat(
    "the worker's own code patched",
    cell="""
    import sys
    for name, module in list(sys.modules.items()):
        if name.startswith('autograder'):
            for key, value in list(vars(module).items()):
                if callable(value) and not key.startswith('__'):
                    setattr(module, key, lambda *a, **k: 100.0)
    """,
    others=None,
    limits=".*",
)
cheat(
    "the function replaced after it was looked at",
    cell="calls = []",
    body="""
    calls.append(1)
    globals()['@FUNCTION@'] = lambda *a, **k: True
    """,
    flags="",
)
cheat(
    "arguments changed to what is expected",
    body="""
    try:
        image.fill_(0.5)
    except Exception:
        pass
    """,
    flags="",
)
cheat(
    "answers that know how often they are called",
    cell="calls = []",
    body="calls.append(1)\nif len(calls) > 1: return WRONG",
    flags="",
)

# --- what students and instructors read -----------------------------------------------------------

MARKUP = "<script>alert('@TOKEN@')</script><img src=x onerror=alert(1)>"
markup = ("<script>alert(", "<img src=x")
cheat(
    "scripts in an error", body=f"raise RuntimeError({MARKUP!r})", flags="", never=markup, real=True
)
cheat("scripts in what is printed", body=f"print({MARKUP!r})", flags="", never=markup)
cheat(
    "scripts shown as HTML",
    cell=f"from IPython.display import HTML, display\ndisplay(HTML({MARKUP!r}))",
    flags="",
    never=markup,
)
cheat(
    "terminal codes in an error",
    body="raise RuntimeError('\\x1b]0;owned\\x07\\x1b[31m[bold]red[/]')",
    flags="",
    never=("\x1b", "\x07"),
)


@case("cheating", "scripts in a written answer", never=markup)
def _(work: Work) -> None:
    work.written.source += f"\n\n{MARKUP}\n\n[link](javascript:alert(1))"


@case("cheating", "a picture that is a script", never=("image/svg",))
def _(work: Work) -> None:
    script = base64.b64encode(b"<svg onload='alert(1)'/>").decode()
    work.written["attachments"] = {"a.svg": {"image/svg+xml": script, "text/html": "<script>"}}


@case("cheating", "markup in the file's name", flags="renamed", never=markup)
def _(work: Work) -> dict[str, Any]:
    return {"<img src=x onerror=alert(1)>.ipynb": work.bytes()}


@case("cheating", "a formula as a name", student="=HYPERLINK(1;2)", never=())
@case("cheating", "a formula with a blank", student="@SUM(1+1)*cmd|' calc'!A0", flags="id-changed")
@case("cheating", "a plus as a name", student="+1+2")
def _(work: Work) -> None:
    pass


@case("cheating", "a name that climbs", student=".. .. etc", flags="id-changed")
@case("cheating", "the reference's name", student="reference")
def _(work: Work) -> None:
    work.write(work.lab.right)
