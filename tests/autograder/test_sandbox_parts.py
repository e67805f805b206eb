"""The sandbox's parts: the filter's program, what a box may read, what a family uses, cures."""

import ctypes
import errno
import os
import re
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from autograder.errors import AutograderError
from autograder.sandbox import ladder, landlock, launch, outer, seccomp, tree, visible, wire
from autograder.sandbox.seccomp import _NUMBERS, program
from autograder.sandbox.watch import Watch
from tests.autograder.sandboxes import open_box

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}


def verdict(text: bytes, architecture: int, number: int, *arguments: int) -> int | str:
    """What a filter answers: an interpreter of the five instructions that it uses."""
    rows = list(struct.iter_unpack("=HBBI", text))
    words = [number, architecture, 0, 0]
    for argument in (*arguments, *(0,) * (6 - len(arguments))):
        words += [argument & 0xFFFFFFFF, argument >> 32 & 0xFFFFFFFF]
    at = accumulator = 0
    for _ in range(len(rows) + 1):
        code, yes, no, value = rows[at]
        at += 1
        if code == 0x20:
            accumulator = words[value // 4]
        elif code == 0x54:
            accumulator &= value
        elif code == 0x06:
            if value >> 16 == 5:
                return errno.errorcode.get(value & 0xFFFF, "pretended")
            return value
        else:
            truth = {
                0x15: accumulator == value,
                0x35: accumulator >= value,
                0x45: bool(accumulator & value),
            }[code]
            at += yes if truth else no
    raise AssertionError("the program does not end")


class TestFilter:
    @pytest.fixture(params=["x86_64", "aarch64"])
    def machine(self, request: pytest.FixtureRequest) -> str:
        return request.param

    def ask(self, machine: str, name: str, *arguments: int, namespaces: bool = True) -> int | str:
        number = _NUMBERS[name][list(_ARCH).index(machine)]
        assert number is not None
        text = program(machine, namespaces=namespaces)
        return verdict(text, _ARCH[machine], number, *arguments)

    def test_every_call_by_its_number(self, machine: str) -> None:
        """What is in the table is refused, whatever comes before it in the list."""
        special = set(seccomp._SPECIAL) | seccomp._HIDDEN_BY_NAMESPACES
        for name, numbers in _NUMBERS.items():
            if name not in special and numbers[list(_ARCH).index(machine)] is not None:
                assert self.ask(machine, name) == "EPERM", name

    def test_what_a_notebook_needs(self, machine: str) -> None:
        usual = {
            "x86_64": {"read": 0, "write": 1, "mmap": 9, "openat": 257, "execve": 59, "kill": 62,
                       "futex": 202, "exit_group": 231, "getrandom": 318, "wait4": 61, "fork": 57},
            "aarch64": {"read": 63, "write": 64, "mmap": 222, "openat": 56, "execve": 221,
                        "kill": 129, "futex": 98, "exit_group": 94, "getrandom": 278, "wait4": 260},
        }  # fmt: skip
        for namespaces in (True, False):
            text = program(machine, namespaces=namespaces)
            for name, number in usual[machine].items():
                assert verdict(text, _ARCH[machine], number) == _ALLOW, name

    @pytest.mark.parametrize("family", [2, 10, 16, 17, 38, 40, 44])
    def test_sockets_of_the_network(self, machine: str, family: int) -> None:
        assert self.ask(machine, "socket", family, 1) == "ENETUNREACH"
        assert self.ask(machine, "socket", family | 1 << 32, 1) == "ENETUNREACH"

    def test_local_sockets(self, machine: str) -> None:
        assert self.ask(machine, "socket", 1, 1) == _ALLOW
        assert self.ask(machine, "socket", 1, 1, namespaces=False) == "ENETUNREACH"
        assert self.ask(machine, "connect", 3, namespaces=False) == "EPERM"
        assert self.ask(machine, "socketpair", 1, 1, namespaces=False) == _ALLOW
        stream, datagram = 1 | 0o2000000, 2 | 0o2000000
        assert self.ask(machine, "socketpair", 1, stream, namespaces=False) == _ALLOW
        assert self.ask(machine, "socketpair", 1, datagram, namespaces=False) == "EPERM"

    def test_forks_but_no_namespaces(self, machine: str) -> None:
        assert self.ask(machine, "clone", 17) == _ALLOW
        assert self.ask(machine, "clone", 0x3D0F00) == _ALLOW  # a thread
        for flag in (0x20000, 0x2000000, 0x10000000, 0x40000000):
            assert self.ask(machine, "clone", flag | 17) == "EPERM"
        assert self.ask(machine, "clone3") == "ENOSYS"

    def test_arguments(self, machine: str) -> None:
        assert self.ask(machine, "prlimit64", 0) == _ALLOW
        assert self.ask(machine, "prlimit64", 4711) == "EPERM"
        assert self.ask(machine, "ioctl", 0, 0x5413) == _ALLOW
        assert self.ask(machine, "ioctl", 0, 0x5412) == "EPERM"
        assert self.ask(machine, "ioctl", 0, 0x541C) == "EPERM"
        assert self.ask(machine, "prctl", 15) == _ALLOW
        assert self.ask(machine, "prctl", 4) == "EPERM"
        for command, answer in ((1, _ALLOW), (8, "EPERM"), (10, "EPERM"), (15, "EPERM")):
            assert self.ask(machine, "fcntl", 0, command, namespaces=False) == answer

    def test_modes_are_left_alone_without_namespaces(self, machine: str) -> None:
        assert self.ask(machine, "fchmodat") == _ALLOW
        assert self.ask(machine, "fchmodat", namespaces=False) == "pretended"
        assert self.ask(machine, "sched_setaffinity", namespaces=False) == "EPERM"

    def test_other_sets_of_numbers(self, machine: str) -> None:
        text = program(machine, namespaces=True)
        assert verdict(text, 0x40000003, 1) == _KILL  # the 32-bit calls of x86
        if machine == "x86_64":
            assert verdict(text, _ARCH[machine], 0x40000000 | 41) == "ENOSYS"

    def test_an_architecture_that_it_does_not_know(self) -> None:
        with pytest.raises(ValueError, match="no table of system calls for riscv64"):
            program("riscv64", namespaces=True)

    @pytest.mark.parametrize(
        ("column", "header"),
        [
            (0, "/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
            (1, "/usr/include/asm-generic/unistd.h"),
        ],
    )
    def test_numbers_are_the_kernels(self, column: int, header: str) -> None:
        if not os.path.exists(header):
            pytest.skip(f"no {header}")
        text = Path(header).read_text()
        known = {name: int(n) for name, n in re.findall(r"#define __NR3?264?_?_?(\w+) (\d+)", text)}
        known |= {name: int(n) for name, n in re.findall(r"#define __NR_(\w+)\s+(\d+)", text)}
        known |= {n: int(v) for n, v in re.findall(r"#define __NR3264_(\w+)\s+(\d+)", text)}
        compared = 0
        for name, numbers in _NUMBERS.items():
            if name in known:
                assert numbers[column] == known[name], name
                compared += 1
        assert compared > 70


class TestVisible:
    def test_packages_but_not_what_holds_them(self) -> None:
        seen = visible.folders()
        root = Path(seccomp.__file__).parents[2]
        assert str(root / "autograder") in seen or any(
            str(root).startswith(path) for path in (sys.prefix, sys.base_prefix)
        )
        assert str(root) not in seen
        assert "/" not in seen
        assert "/etc" not in seen
        assert not {"/home", "/root", "/tmp", "/var", "/etc/ssl", str(Path.home())} & set(seen)

    def test_sys_path_is_not_taken(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        assert str(tmp_path) not in visible.folders()
        assert str(tmp_path) not in visible.search_path()

    @pytest.mark.parametrize("path", ["/", Path.home(), tempfile.gettempdir()])
    def test_everybodys_folders_are_refused(self, path: str | Path) -> None:
        with pytest.raises(AutograderError, match="submissions would be able to read"):
            visible.folders([Path(path)])

    def test_a_home_inside_the_environment_is_refused(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setattr(sys, "prefix", str(tmp_path))
        monkeypatch.setattr(Path, "home", lambda: tmp_path / "me")
        with pytest.raises(AutograderError, match=f"read {tmp_path}, which holds"):
            visible.folders()

    def test_what_lies_inside_another_is_named_once(self, tmp_path: Path) -> None:
        inner = tmp_path / "a" / "b"
        inner.mkdir(parents=True)
        seen = visible.folders([tmp_path / "a", inner])
        assert str(tmp_path / "a") in seen
        assert str(inner) not in seen

    def test_links_on_the_way(self, tmp_path: Path) -> None:
        real = tmp_path / "python-3.11.7"
        (real / "bin").mkdir(parents=True)
        (real / "bin" / "python3").touch()
        (tmp_path / "python-3.11").symlink_to(real.name)
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "python").symlink_to("../python-3.11/bin/python3")
        (tmp_path / "loop").symlink_to("loop")
        here = [
            path for path in visible.links(tmp_path / "bin" / "python") if tmp_path in path.parents
        ]
        assert here == [tmp_path / "bin" / "python", tmp_path / "python-3.11"]
        assert len(list(visible.links(tmp_path / "loop"))) < 1000

    def test_a_link_opens_nothing_by_itself(self, tmp_path: Path) -> None:
        """The interpreter's link in ~/.local/bin must not show ~/.local."""
        (tmp_path / "secret").mkdir()
        (tmp_path / "link").symlink_to("secret")
        seen = visible.folders([tmp_path / "link"])
        assert str(tmp_path / "secret") in seen  # asked for by name
        assert str(tmp_path / "link") in seen
        assert str(tmp_path) not in seen

    @pytest.mark.parametrize("box", [(3, "bwrap"), (3, "unshare"), (2, None)], ids=str)
    def test_an_environment_behind_links(self, box: tuple[int, str | None], tmp_path: Path) -> None:
        with open_box(box, tmp_path / "cache"):
            pass
        (tmp_path / "alias").symlink_to(os.path.realpath(sys.base_prefix))
        python = tmp_path / "alias" / "bin" / f"python3.{sys.version_info[1]}"
        made = [str(python), "-m", "venv", "--without-pip", "--symlinks", str(tmp_path / "venv")]
        subprocess.run(made, check=True)
        text = (
            "import sys; from autograder.sandbox.probes import try_level\n"
            f"report = try_level(*{box!r})\n"
            "print(report.held, sys.prefix, report)"
        )
        done = subprocess.run(
            [str(tmp_path / "venv" / "bin" / "python"), "-c", text],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(seccomp.__file__).parents[2])},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.startswith(f"True {tmp_path / 'venv'}"), done.stdout

    def test_parents_come_outermost_first(self) -> None:
        assert outer.parents(["/a/b/c", "/a/d"]) == ["/a", "/a/b"]


class TestTree:
    def test_a_family(self) -> None:
        text = "import os, time; os.fork(); os.fork(); print(flush=True); time.sleep(60)"
        with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(4):
                process.stdout.readline()
            family = tree.children(process.pid)
            assert len(family) == 3
            assert all(map(tree.alive, family))
            use = tree.measure(process.pid, 0)
            assert use.processes == 3
            exact = tree.measure(process.pid, 0, exact=True)
            assert 0 < exact.resident_bytes < use.resident_bytes
            for pid in (*family, process.pid):
                os.kill(pid, 9)
        deadline = time.monotonic() + 5
        while any(map(tree.alive, family)) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert tree.children(process.pid) == []
        assert tree.measure(process.pid, 0).processes == 0

    def test_stored(self, tmp_path: Path) -> None:
        (tmp_path / "a" / "b").mkdir(parents=True)
        (tmp_path / "a" / "big").write_bytes(bytes(10_000))
        (tmp_path / "hole").touch()
        os.truncate(tmp_path / "hole", 1 << 30)  # takes no room
        (tmp_path / "out").symlink_to("/")
        size, count = tree.stored(str(tmp_path), 100)
        assert count == 5
        assert 10_000 <= size < 100_000
        assert tree.stored(str(tmp_path), 2)[1] == 3
        assert tree.stored(str(tmp_path / "gone"), 2) == (0, 0)


class TestWire:
    def test_messages_and_files(self) -> None:
        ours, theirs = wire.pair()
        with ours, theirs, tempfile.TemporaryFile() as file:
            file.write(b"text")
            file.flush()
            assert wire.send(theirs, {"a": 1}, [file.fileno()])
            message = wire.receive(ours)
            assert message is not None
            assert message.data == {"a": 1}
            assert message.pid == os.getpid()
            (fd,) = message.files
            assert not os.get_inheritable(fd)
            assert os.pread(fd, 10, 0) == b"text"
            os.close(fd)
            theirs.close()
            assert wire.receive(ours) is None
            assert not wire.send(ours, {})

    def test_nothing_there_yet(self) -> None:
        ours, theirs = wire.pair()
        with ours, theirs:
            ours.setblocking(False)
            with pytest.raises(BlockingIOError):
                wire.receive(ours)


class TestLadder:
    @pytest.mark.parametrize(
        ("settings", "command"),
        [
            (
                {"kernel/unprivileged_userns_clone": 0},
                "sysctl -w kernel.unprivileged_userns_clone=1",
            ),
            ({"user/max_user_namespaces": 0}, "sysctl -w user.max_user_namespaces=15000"),
            (
                {"kernel/apparmor_restrict_unprivileged_userns": 1},
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            ),
        ],
    )
    def test_cures(
        self,
        settings: dict[str, int],
        command: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        for key, value in settings.items():
            (tmp_path / key).parent.mkdir(parents=True)
            (tmp_path / key).write_text(f"{value}\n")
        monkeypatch.setattr(ladder, "_SYSCTL", tmp_path)
        assert ladder.cure(3) == command

    def test_cure_in_a_container_or_without_bubblewrap(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ladder, "_SYSCTL", tmp_path)
        monkeypatch.setattr(os.path, "exists", lambda path: path == "/.dockerenv")
        assert "--cap-add SYS_ADMIN" in ladder.cure(3)
        monkeypatch.setattr(os.path, "exists", lambda path: False)
        monkeypatch.setattr(ladder.shutil, "which", lambda name: None)
        assert ladder.cure(3) == "apt-get install bubblewrap"
        assert "landlock" in ladder.cure(2)

    def test_the_way_that_was_proved_comes_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(outer, "builders", lambda: ["bwrap", "unshare"])
        monkeypatch.setattr(ladder, "_proved", {})
        assert ladder.builders(3) == ["bwrap", "unshare"]
        monkeypatch.setattr(ladder, "_proved", {3: "unshare"})
        assert ladder.builders(3) == ["unshare", "bwrap"]
        assert ladder.builders(2) == [""]


class TestLandlock:
    @pytest.mark.parametrize("version", range(1, 8))
    def test_every_version_of_the_interface(self, version: int, tmp_path: Path) -> None:
        """An older kernel's rights are a subset: asking this one for them is the same request."""
        if landlock.version() < version:
            pytest.skip(f"this kernel has Landlock {landlock.version()}")
        for name in ("open", "shut"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "file").write_text("text")
        text = f"""
from autograder.sandbox import landlock
landlock.version = lambda: {version}
landlock.confine(["{tmp_path}/shut/file", "/nowhere"], ["{tmp_path}/open"])
def tried(path, mode):
    try: open("{tmp_path}/" + path, mode).close()
    except OSError as error: return error.errno
    return 0
import os
def cut():
    try: os.truncate("{tmp_path}/shut/file", 0)
    except OSError as error: return error.errno
    return 0
print(tried("open/new", "w"), tried("open/file", "a"), tried("shut/file", "r"),
      tried("shut/file", "a"), tried("shut/new", "w"), cut())
"""
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        *tries, cut = map(int, done.stdout.split())
        assert tries == [0, 0, 0, 13, 13]
        assert cut == (0 if version < landlock.TRUNCATE else 13)  # why version 3 is demanded


class TestUsers:
    def test_only_root_lends_users(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert launch.worker_user() is None
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        users = [launch.worker_user() for _ in range(100)]
        assert len(set(users)) == 100
        assert all(user is not None and user >= 61_184 for user in users)

    def test_readable_by_all(self) -> None:
        with tempfile.TemporaryDirectory() as folder:  # pytest's own folders are for nobody else
            outer = Path(folder)
            inner = outer / "inner"
            inner.mkdir(mode=0o755)
            outer.chmod(0o755)
            assert launch.readable_by_all(str(inner))
            outer.chmod(0o700)
            assert not launch.readable_by_all(str(inner))


def test_the_filter_of_this_machine_loads() -> None:
    """In a child, for it cannot be taken off again."""
    text = (
        "import socket; from autograder.sandbox import kernel, seccomp\n"
        "kernel.gain_no_privileges(); seccomp.install(namespaces=True)\n"
        "try: socket.socket()\nexcept OSError as error: print(error.errno)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert int(done.stdout) == errno.ENETUNREACH
    assert ctypes.sizeof(ctypes.c_long) == 8


def test_memory_in_large_pages_keeps_its_contents() -> None:
    """Forty forks of a process with 100 MB: contents the same in every child, pages collapsed."""
    text = (
        "import os\n"
        "from autograder.sandbox.hugepages import LargePages\n"
        "blocks = [bytes([n % 251]) * 1000 for n in range(100_000)]\n"
        "pages, want = LargePages(), hash(tuple(blocks[::97]))\n"
        "for n in range(20):\n"
        "    pages.step()\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        os._exit(hash(tuple(blocks[::97])) != want)\n"
        "    assert os.waitpid(pid, 0)[1] == 0\n"
        "    assert n > 7 or pages.collapsed == 0\n"
        "print(pages.collapsed)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    version = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    assert version < (6, 1) or int(done.stdout) > 50 * 2**20


class Heard:
    """In place of a worker: counts how often it is told that nothing of it is left."""

    ends = 0

    def _heard(self, message: object) -> None:
        self.ends += message is None

    def _check(self) -> None:
        """It is over no limit."""


def test_a_watch_that_closes_reports_each_worker_once() -> None:
    """Also one that ended in this moment, and those after it."""
    watched, lines = Watch(), []
    watched._stopping = True  # as if all of them ended while it was being closed
    workers, given_back = [Heard(), Heard(), Heard()], []
    for number, worker in enumerate(workers):
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        here.setblocking(False)
        if number != 1:
            there.close()
        lines += [here, there]
        output, printing = os.pipe()
        os.close(printing)
        watched._new.append((worker, here, output, lambda n=number: given_back.append(n)))
    watched.close()
    for line in lines:
        line.close()
    assert given_back == [0, 1, 2]
    assert [worker.ends for worker in workers] == [1, 1, 1]
