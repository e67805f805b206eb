"""Attacks on the box, at every level that this machine has: each of them once worked somewhere."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.sandbox import ForkServer, attacks, landlock, launch
from autograder.sandbox.probes import PROBES, try_level
from tests.autograder.sandboxes import SAFE, name, open_box, run, start, told

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

_NOT_THE_USERS = "not TestTime and not TestOutput"  # the same for every user


@pytest.fixture(scope="module", params=SAFE, ids=name)
def server(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[ForkServer]:
    with open_box(request.param, tmp_path_factory.mktemp("cache")) as server:
        yield server


@pytest.mark.parametrize("box", SAFE, ids=name)
def test_every_probe_holds(box: tuple[int, str | None], tmp_path: Path) -> None:
    with open_box(box, tmp_path):
        pass
    report = try_level(*box)
    assert [probe.name for probe in report.probes] == list(PROBES.values())
    assert [(probe.name, probe.found) for probe in report.probes if not probe.held] == []


def test_probes_notice_a_box_that_does_not_hold() -> None:
    """At level 1 nothing is hidden; a probe that held there would prove nothing at level 3."""
    report = try_level(1)
    failed = {probe.name for probe in report.probes if not probe.held}
    assert {PROBES["read"], PROBES["connect"], PROBES["look"]} <= failed
    assert not report.held


def test_nothing_is_left_of_the_servers_own_lines(server: ForkServer) -> None:
    """The channel and the three standard streams: no control line, no other worker's files."""
    text = """
    import stat
    found = []
    for fd in range(3, 256):
        with contextlib.suppress(OSError):
            os.fstat(fd)
            found.append(fd)
    tell([found == [channel.fileno()], os.readlink("/proc/self/fd/0"), sys.stdin.read()])
    """
    assert run(server, text)[0] == [True, "/dev/null", ""]


def test_nobody_and_without_rights(server: ForkServer) -> None:
    text = """
    with open("/proc/self/status") as file:
        rows = dict(row.split(":", 1) for row in file)
    tell([int(rows["CapEff"], 16), int(rows["CapBnd"], 16), rows["NoNewPrivs"].strip(),
          rows["Seccomp"].strip(), os.getuid(), rows["Groups"].split()])
    """
    effective, bounding, no_new, filtered, uid, groups = run(server, text)[0]
    # Below level 3, a worker of root may keep the right to read a Python that only root can read.
    assert effective in ((0,) if server.level == 3 else (0, 1 << 2))
    assert bounding in (0, 1 << 2) or os.geteuid() != 0
    assert (no_new, filtered) == ("1", "2")
    assert uid != 0
    assert groups == [] or os.geteuid() != 0


def test_two_workers_of_root_are_two_users(server: ForkServer) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become others")
    users = {run(server, "tell(os.getuid())")[0] for _ in range(3)}
    assert len(users) == 3
    assert 0 not in users


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("ptrace", "16, 1, 0, 0"),
        ("process_vm_readv", "1, 0, 0, 0, 0, 0"),
        ("process_vm_writev", "1, 0, 0, 0, 0, 0"),
        ("bpf", "0, 0, 0"),
        ("keyctl", "0, -3, 0"),
        ("add_key", "0, 0, 0, 0, -3"),
        ("mount", "0, 0, 0, 0, 0"),
        ("umount2", "0, 0"),
        ("pivot_root", "0, 0"),
        ("chroot", "b'/'"),
        ("unshare", "0x10000000"),
        ("setns", "0, 0"),
        ("open_tree", "-100, b'/', 1"),
        ("fsopen", "b'tmpfs', 0"),
        ("kexec_load", "0, 0, 0, 0"),
        ("init_module", "0, 0, b''"),
        ("perf_event_open", "0, 0, -1, -1, 0"),
        ("userfaultfd", "1"),
        ("io_uring_setup", "1, 0"),
        ("name_to_handle_at", "-100, b'/', 0, 0, 0"),
        ("open_by_handle_at", "-100, 0, 0"),
        ("shmget", "0, 4096, 0o1600"),
        ("mq_open", "b'q', 0o102, 0o600, 0"),
        ("memfd_secret", "0"),
        ("pidfd_getfd", "0, 0, 0"),
        ("mknod", "b'x', 0o20600, 259"),
        ("personality", "0x40000"),
    ],
)
def test_calls_that_are_refused(server: ForkServer, call: str, arguments: str) -> None:
    text = f"""
    from autograder.sandbox.seccomp import number
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    code = number({call!r})
    tell([libc.syscall(ctypes.c_long(code), {arguments}), ctypes.get_errno()])
    """
    assert run(server, text)[0] == [-1, 1]


def test_no_new_namespace_by_any_door(server: ForkServer) -> None:
    text = """
    libc = ctypes.CDLL(None, use_errno=True)
    got = []
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        got.append((libc.syscall(56, ctypes.c_long(flag | 17), 0, 0, 0, 0), ctypes.get_errno()))
    got.append((libc.syscall(435, 0, 0), ctypes.get_errno()))
    tell(got)
    """
    if os.uname().machine != "x86_64":
        pytest.skip("the text holds the numbers of x86_64")
    *clones, clone3 = run(server, text)[0]
    assert clones == [[-1, 1]] * 7
    assert clone3 == [-1, 38]


def test_the_old_32_bit_door_is_closed(server: ForkServer) -> None:
    """`int 0x80` uses other numbers, which a filter of 64-bit numbers would let through."""
    if os.uname().machine != "x86_64":
        pytest.skip("x86_64 only")
    text = """
    import mmap
    code = bytes.fromhex("b814000000cd80c3")  # mov eax, 20 (getpid); int 0x80; ret
    page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    page.write(code)
    address = ctypes.addressof(ctypes.c_char.from_buffer(page))
    tell(ctypes.CFUNCTYPE(ctypes.c_int)(address)())
    """
    answer, ended, _ = run(server, text)
    assert answer is None
    assert ended.code is None  # a kernel without the old door ends it with SIGSEGV


@pytest.mark.parametrize("family", ["AF_INET", "AF_INET6", "AF_NETLINK", "AF_VSOCK", "AF_PACKET"])
def test_no_socket_but_local_ones(server: ForkServer, family: str) -> None:
    text = f"tell([tried(socket.socket, socket.{family}, kind) for kind in (1, 2, 3)])"
    assert 0 not in run(server, text)[0]


def test_python_processes_may_still_talk_to_each_other(server: ForkServer) -> None:
    text = """
    import multiprocessing
    one, two = multiprocessing.get_context("fork").Pipe()
    child = multiprocessing.get_context("fork").Process(target=two.send, args=("hello",))
    child.start()
    tell([one.recv(), child.join(), child.exitcode])
    """
    assert run(server, text)[0] == ["hello", None, 0]


def test_a_datagram_cannot_be_sent_out(server: ForkServer, tmp_path: Path) -> None:
    """A connected pair of datagram sockets can be turned to any address: systemd listens there."""
    path = Path("/tmp") / f"autograder-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        path.chmod(0o777)
        listener.setblocking(False)
        text = f"""
        def send():
            one, two = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
            one.sendto(b"x", {str(path)!r})
        tell(tried(send))
        """
        assert run(server, text)[0] != 0
        with pytest.raises(BlockingIOError):
            listener.recv(1)
    path.unlink()


def test_the_warden_and_the_server_cannot_be_reached(server: ForkServer) -> None:
    text = """
    warden = os.getppid()
    got = {}
    for what in ("mem", "environ", "maps", "cwd", "root", "fd/0", "fd/3", "fd/4"):
        path = f"/proc/{warden}/{what}"
        for how in (os.O_RDONLY, os.O_RDWR):
            with contextlib.suppress(OSError):
                os.close(os.open(path, how))
                got[what] = how
        with contextlib.suppress(OSError):
            got[what] = os.readlink(path)
    tell([got, [tried(os.kill, warden, 0) for _ in range(1)][0] == 0 and warden != 1,
          tried(os.setpgid, 0, warden)])
    """
    got, signalled, joined = run(server, text)[0]
    assert got == {}
    assert not signalled
    assert joined != 0


def test_killing_all_kills_only_itself(server: ForkServer) -> None:
    """`kill(-1)` reaches all that one may signal: with a box, that is the submission itself."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(30)"]) as bystander:
        other = start(server, "tell(1); channel.recv(1); tell(2)")
        assert told(other) == 1
        text = """
        for target in (-1, 0, -os.getpgid(0)):
            for number in (signal.SIGTERM, signal.SIGKILL):
                with contextlib.suppress(OSError):
                    os.kill(target, number)
        """
        _, ended, _ = run(server, text)
        other.channel.sendall(b"x")
        assert told(other) == 2
        assert other.wait(5).code == 0
        assert bystander.poll() is None
        bystander.kill()
    assert ended is not None
    assert run(server, "tell('alive')")[0] == "alive"


def test_other_workers_are_out_of_sight(server: ForkServer) -> None:
    text = """
    with open("answer.txt", "w") as file:
        file.write("42")
    tell([os.getpid(), os.getcwd()])
    channel.recv(1)
    """
    victim = start(server, text)
    pid, folder = told(victim)
    text = f"""
    outside, inside, folder = {victim.pid}, {pid}, {folder!r}
    got = []
    for path in (f"/proc/{{outside}}/cwd/answer.txt", f"/proc/{{inside}}/cwd/answer.txt",
                 folder + "/answer.txt", f"/proc/{{outside}}/mem", f"/proc/{{outside}}/environ"):
        with contextlib.suppress(OSError):
            with open(path, "rb") as file:
                got.append([path, file.read(2).decode()])
    tell([got, os.listdir(".")])
    """
    if server.level == 3:  # inside, both have the same number: that is itself
        text = text.replace('f"/proc/{inside}/cwd/answer.txt",', "")
    got, files = run(server, text)[0]
    victim.kill()
    assert got == []
    assert files == []


def test_terminals_are_private(server: ForkServer) -> None:
    """The terminal that one worker opens is not another one's."""
    text = """
    import pty
    opened = tried(pty.openpty)
    names = []
    with contextlib.suppress(OSError): names = sorted(os.listdir("/dev/pts"))
    tell([opened, names])
    channel.recv(1)
    """
    first, second = start(server, text), start(server, text)
    for worker in (first, second):
        opened, names = told(worker)
        if server.level == 3:
            assert (opened, names) == (0, ["0", "ptmx"])
        else:
            assert opened != 0
            assert names == []
        assert os.path.exists(f"/proc/{worker.pid}")
    first.kill()
    second.kill()


def test_nothing_is_left_for_the_next_student(server: ForkServer) -> None:
    text = """
    left = []
    for place in (".", "..", "/tmp", "/dev/shm", "/var/tmp", os.path.expanduser("~"), sys.prefix,
                  os.environ["MPLCONFIGDIR"]):
        with contextlib.suppress(OSError):
            with open(place + "/left-behind", "x") as file:
                left.append(place)
    seen = [place for place in left if 0]
    tell(left)
    """
    first = run(server, text)[0]
    assert "." in first
    assert run(server, text)[0] == first  # "x" fails where a file is there already
    assert not Path("/var/tmp/left-behind").exists()
    assert not Path("/tmp/left-behind").exists()
    assert not Path(sys.prefix, "left-behind").exists()


def test_the_course_folder_is_not_there(server: ForkServer) -> None:
    """The packages are visible, not the folder that holds them: solutions lie beside them."""
    root = Path(attacks.__file__).parents[2]
    beside = root / f"secret-{secrets.token_hex(4)}"
    try:
        beside.write_text("the answer")
    except PermissionError:
        pytest.skip("this user cannot write beside the package")
    try:
        text = f"""
        import autograder
        root = os.path.dirname(os.path.dirname(autograder.__file__))
        got = sorted(os.listdir(root)) if os.access(root, os.R_OK) and {server.level} == 3 else []
        tell([tried(open, {str(beside)!r}), got])
        """
        refused, seen = run(server, text)[0]
    finally:
        beside.unlink()
    assert refused in (2, 13)
    assert set(seen) <= {"autograder", "course", ".venv"}


def test_code_of_the_environment_cannot_be_changed(server: ForkServer) -> None:
    text = """
    import json as module
    got = []
    for path in (module.__file__, sys.executable, os.__file__, "/usr/bin/env", "/etc/passwd"):
        for action in (lambda p: open(p, "a").close(), lambda p: os.truncate(p, 1),
                       lambda p: os.rename(p, p + "x"), lambda p: os.unlink(p)):
            with contextlib.suppress(OSError):
                action(path)
                got.append(path)
    tell(got)
    """
    assert run(server, text)[0] == []


def test_modes_and_times_outside_stay(server: ForkServer, tmp_path: Path) -> None:
    """Landlock does not guard them: below level 3 the calls do nothing and say they did."""
    victim = tmp_path / "gradebook.db"
    victim.write_text("grades")
    os.utime(victim, (1, 1))
    before = victim.stat()
    text = f"""
    path = {str(victim)!r}
    for action in (lambda: os.chmod(path, 0), lambda: os.chown(path, 1, 1),
                   lambda: os.utime(path, (9, 9)), lambda: os.setxattr(path, "user.x", b"y")):
        tried(action)
    tell(1)
    """
    assert run(server, text)[0] == 1
    after = victim.stat()
    assert (before.st_mode, before.st_uid, before.st_mtime) == (
        after.st_mode,
        after.st_uid,
        after.st_mtime,
    )
    assert os.listxattr(victim) == []


def test_links_do_not_lead_out(server: ForkServer, tmp_path: Path) -> None:
    """Neither the submission nor the grader's own cleaning follows a link to somewhere else."""
    treasure = tmp_path / "treasure"
    treasure.mkdir()
    (treasure / "gold").write_text("gold")
    treasure.chmod(0o755)
    text = f"""
    os.symlink({str(treasure)!r}, "door")
    os.mkdir("shut")
    os.symlink({str(treasure)!r}, "shut/door")
    os.chmod("shut", 0)
    tell(tried(open, "door/gold"))
    """
    assert run(server, text)[0] != 0
    assert (treasure / "gold").read_text() == "gold"
    assert treasure.stat().st_mode & 0o777 == 0o755


def test_no_file_handle_tricks_with_the_grader_environment(server: ForkServer) -> None:
    """What the teacher's shell exports (a token, a password) does not come along."""
    text = "tell([key for key in os.environ if 'SECRET' in key])"
    assert run(server, text)[0] == []
    assert "SECRET_OF_THE_TEST" not in run(server, "tell(dict(os.environ))")[0]


def test_old_landlock_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from autograder.sandbox import SandboxError, ladder

    monkeypatch.setattr(landlock, "version", lambda: 2)
    with pytest.raises(SandboxError, match=r"Linux 6\.2"):
        ladder.require_landlock()
    monkeypatch.setattr(landlock, "version", lambda: 5)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SandboxError, match=r"6\.12, or root"):
        ladder.require_landlock()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    ladder.require_landlock()


def test_all_of_this_as_an_ordinary_user(tmp_path: Path) -> None:
    """Root runs this file and that of the limits as nobody, who has no rights to give up."""
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("only root can become nobody")
    python = _python_for_all()
    if not python:
        pytest.skip("no Python of this version that everybody can read")
    home = Path("/tmp") / f"autograder-nobody-{secrets.token_hex(4)}"
    home.mkdir()
    os.chown(home, 65534, 65534)
    root = Path(attacks.__file__).parents[2]
    words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-m", "pytest"]
    words += ["-n", "0", "-q", "-p", "no:cacheprovider", "--basetemp", f"{home}/t", "-W", "ignore"]
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": f"{root}:{sysconfig.get_path('purelib')}",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    files = [__file__, str(Path(__file__).with_name("test_sandbox_limits.py"))]
    started = time.monotonic()
    done = subprocess.run(
        [*words, "-k", _NOT_THE_USERS, *files],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    shutil.rmtree(home, ignore_errors=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    if "has no level" in done.stdout:
        pytest.skip(done.stdout.partition("has no level")[2].splitlines()[0])
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 100
    assert time.monotonic() - started < 300


def _python_for_all() -> str:
    """A Python like this one that nobody may run."""
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for path in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        words = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", path, "-c", "1"]
        if not os.path.exists(path) or not launch.readable_by_all(path):
            continue
        if subprocess.run(words, capture_output=True).returncode == 0:
            return path
    return ""


def test_the_attacks_are_known_by_name() -> None:
    assert set(attacks.ATTACKS) == set(PROBES)
    assert json.loads(json.dumps(list(attacks.ATTACKS))) == list(PROBES)
