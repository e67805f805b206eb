"""Every limit holds, at every level, and nothing survives its overrun."""

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from autograder.limits import Limits
from autograder.sandbox import ForkServer, Worker
from tests.autograder.sandboxes import BOXES, QUICK, name, open_box, run, start, told

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
_MB = 2**20
_DEAD_WITHIN = 1.0


@pytest.fixture(scope="module", params=[box for box in BOXES if box[1] != "unshare"], ids=name)
def server(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[ForkServer]:
    with open_box(request.param, tmp_path_factory.mktemp("cache")) as server:
        yield server


def named(mark: str) -> int:
    """How many living processes of this machine carry a name."""
    found = 0
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            text = file.read()
            found += f"({mark})" in text and text.rpartition(")")[2].split()[0] not in "ZX"
    return found


def naming(mark: str) -> str:
    return f"ctypes.CDLL(None).prctl(15, b{mark!r}, 0, 0, 0)"


@pytest.fixture
def mark() -> str:
    return f"lab-{secrets.token_hex(4)}"


def seconds_to_die(worker: Worker) -> tuple[float, str]:
    start = time.monotonic()
    ended = worker.wait(10)
    assert ended is not None, "it lives"
    worker.channel.close()
    return time.monotonic() - start, ended.limit


@pytest.mark.parametrize("field", Limits.__dataclass_fields__)
def test_no_limit_may_be_zero(field: str) -> None:
    with pytest.raises(ValueError, match=f"{field} must be positive, got 0"):
        Limits(**{field: 0})


class TestTime:
    def test_processor_time_of_a_cell(self, server: ForkServer) -> None:
        worker = start(server, "tell(1)\nwhile True: pass")
        told(worker)
        began = worker.usage().processor_seconds
        with worker.within("cell 3", processor_seconds=0.5, seconds=30):
            ended = worker.wait(20)
        assert ended is not None
        assert ended.limit == "time: cell 3 took too much processor time"
        assert began < 0.4

    def test_it_is_the_familys_processor_time(self, server: ForkServer) -> None:
        """Work done in children counts, also when they are dead and buried."""
        text = """
        tell(1)
        while True:
            pid = os.fork()
            if pid == 0:
                end = time.process_time() + 0.05
                while time.process_time() < end: pass
                os._exit(0)
            os.waitpid(pid, 0)
        """
        worker = start(server, text)
        told(worker)
        with worker.within("cell 1", processor_seconds=0.5, seconds=30):
            assert seconds_to_die(worker)[1] == "time: cell 1 took too much processor time"

    def test_the_clock_of_a_check(self, server: ForkServer) -> None:
        worker = start(server, "tell(1)\ntime.sleep(60)")
        told(worker)
        with worker.within("check 'shape'", seconds=0.3):
            seconds, limit = seconds_to_die(worker)
        assert limit == "time: check 'shape' took too long by the clock"
        assert 0.25 < seconds < 0.3 + _DEAD_WITHIN

    def test_what_ends_in_time_goes_on(self, server: ForkServer) -> None:
        worker = start(server, "tell(1)\ntime.sleep(0.6)\ntell(2)")
        told(worker)
        with worker.within("cell 1", processor_seconds=5, seconds=0.4):
            pass
        assert told(worker) == 2
        assert worker.wait(5).limit == ""

    @pytest.mark.parametrize(
        "text",
        [
            "time.sleep(60)",
            "while True:\n    try: time.sleep(60)\n    except BaseException: pass",
            "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()); time.sleep(60)",
            "os.kill(os.getpid(), signal.SIGSTOP)",
            "sum(range(10**12))",  # one call that holds the interpreter
            "import re; re.match('(a*)*b', 'a' * 40)",
            "channel.close(); time.sleep(60)",
            "os.setsid() if os.fork() == 0 else None; time.sleep(60)",
        ],
    )
    def test_the_whole(self, server: ForkServer, text: str) -> None:
        seconds, limit = seconds_to_die(start(server, text, total_seconds=0.3))
        assert limit == "time: the whole took over 0.3 s"
        assert seconds < 0.3 + _DEAD_WITHIN


class TestMemory:
    def test_one_process_gets_a_clean_error_and_goes_on(self, server: ForkServer) -> None:
        text = f"""
        try: bytearray({200 * _MB})
        except MemoryError as error: tell("MemoryError")
        small = bytearray({20 * _MB})
        tell("went on")
        """
        worker = start(server, text)
        assert [told(worker), told(worker)] == ["MemoryError", "went on"]
        assert worker.wait(5).limit == ""

    def test_several_together(self, server: ForkServer) -> None:
        text = f"""
        for _ in range(4):
            if os.fork() == 0: break
        hoard = b"x" * {60 * _MB}
        time.sleep(60)
        """
        _, limit = seconds_to_die(start(server, text))
        assert limit == "memory: over 128 MB in all processes"

    def test_shared_memory(self, server: ForkServer) -> None:
        """`RLIMIT_DATA` does not count it."""
        text = f"""
        import mmap
        page = mmap.mmap(-1, {256 * _MB})
        for at in range(0, len(page), 4096): page[at] = 1
        time.sleep(60)
        """
        assert seconds_to_die(start(server, text))[1] == "memory: over 128 MB in all processes"

    def test_tables_of_pages(self, server: ForkServer) -> None:
        """Reading one byte in every 2 MB of nothing costs 4 kB that no other count shows."""
        text = """
        import mmap
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_NORESERVE", 0x4000)
        kept = [mmap.mmap(-1, 16 << 30, flags=flags, prot=mmap.PROT_READ) for _ in range(16)]
        for page in kept:
            page.madvise(15)  # no large pages
            for at in range(0, len(page), 2 << 20): page[at]
        time.sleep(60)
        """
        assert seconds_to_die(start(server, text))[1] == "memory: over 128 MB in all processes"

    def test_pages_that_a_snapshot_shares_count_once(self, server: ForkServer) -> None:
        text = f"""
        data = b"x" * {60 * _MB}
        children = []
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                time.sleep(0.6)
                os._exit(0)
            children.append(pid)
        tell([os.waitpid(pid, 0)[1] for pid in children])
        """
        answer, ended, _ = run(server, text)
        assert answer == [0] * 5
        assert ended.limit == ""

    def test_memory_that_belongs_to_no_process(self, server: ForkServer) -> None:
        if server.level == 1:
            pytest.skip("level 1 filters no calls")
        text = """
        libc = ctypes.CDLL(None, use_errno=True)
        tell([tried(os.memfd_create, "x"), libc.shmget(0, 1 << 20, 0o1600), libc.prctl(4, 0)])
        """
        assert run(server, text)[0] == [38, -1, -1]


class TestProcesses:
    def test_fork_bomb(self, server: ForkServer, mark: str) -> None:
        bystander = start(server, "tell(1); channel.recv(1); tell(2)")
        told(bystander)
        text = f"""
        {naming(mark)}
        while True:
            with contextlib.suppress(OSError): os.fork()
        """
        worker = start(server, text, total_seconds=1)
        ended = worker.wait(15)
        assert ended is not None
        assert ended.limit.startswith(("processes: over 16", "time: the whole"))
        assert named(mark) == 0
        bystander.channel.sendall(b"x")
        assert told(bystander) == 2

    def test_never_more_than_allowed(self, server: ForkServer) -> None:
        """Where the worker has a count of its own; else the watch ends what is over."""
        text = """
        born = 0
        with contextlib.suppress(OSError):
            while born < 100:
                if os.fork() == 0: time.sleep(60)
                born += 1
        time.sleep(2)  # where only the watch counts, give it time to look
        tell(born)
        """
        # What else this user runs does not count against a submission.
        others = [subprocess.Popen(["sleep", "60"]) for _ in range(QUICK.processes)]
        answer, ended, _ = run(server, text)
        for other in others:
            other.kill()
            other.wait()
        if os.geteuid() == 0 or server.level == 3:
            assert answer == QUICK.processes - 1
        else:
            assert answer is None or answer < QUICK.processes or ended.limit

    def test_thread_bomb(self, server: ForkServer) -> None:
        text = """
        count = 0
        try:
            while count < 200:
                threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
                count += 1
        except RuntimeError: pass
        tell(count)
        time.sleep(0.5)
        """
        answer, ended, _ = run(server, text)
        assert (answer is not None and answer < QUICK.processes) or ended.limit.startswith("proc")

    @pytest.mark.parametrize("daemon", ["", "os.setsid()", "signal.signal(signal.SIGCHLD, 1)"])
    def test_what_is_left_behind_is_counted_and_killed(
        self, server: ForkServer, mark: str, daemon: str
    ) -> None:
        text = f"""
        if os.fork() == 0:
            {daemon or "pass"}
            if os.fork() == 0:
                {naming(mark)}
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                tell("up")
                time.sleep(60)
            os._exit(0)
        os.wait()
        channel.recv(1)
        """
        worker = start(server, text)
        assert told(worker) == "up"
        assert named(mark) == 1
        worker.channel.sendall(b"x")
        ended = worker.wait(10)
        assert ended is not None
        assert (ended.code, ended.left_behind, ended.limit) == (0, 1, "")
        assert named(mark) == 0

    def test_kill_takes_all_of_it(self, server: ForkServer, mark: str) -> None:
        text = f"""
        {naming(mark)}
        for _ in range(3): os.fork() or os.setsid()
        tell("up")
        time.sleep(60)
        """
        worker = start(server, text)
        told(worker)
        deadline = time.monotonic() + 5
        while named(mark) < 8 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert worker.usage().processes == 8
        worker.kill()
        assert named(mark) == 0
        assert worker.wait(0).code is None
        worker.kill()  # twice is once


class TestFiles:
    def test_size_of_one(self, server: ForkServer) -> None:
        text = f"""
        def write():
            with open("big", "wb") as file: file.write(bytes({2 * _MB}))
        tell([tried(write), os.path.getsize("big")])
        """
        assert run(server, text)[0] == [27, QUICK.file_bytes]

    def test_bytes_of_all(self, server: ForkServer) -> None:
        text = f"""
        def write():
            for number in range(50):
                with open(str(number), "wb") as file: file.write(bytes({_MB}))
        tell(tried(write))
        time.sleep(3 if {server.level} < 3 else 0)
        """
        answer, ended, _ = run(server, text)
        assert ended.limit in ("files: over 4 MB", "files: /tmp is full, over 4 MB")
        if server.level == 3:
            assert answer == 28  # no space left: an error that Python can catch

    def test_number_of_all(self, server: ForkServer, mark: str) -> None:
        text = f"""
        def write():
            for number in range(100_000): os.mkdir(str(number))
        tell(tried(write))
        time.sleep(3 if {server.level} < 3 else 0)
        """
        answer, ended, _ = run(server, text)
        assert ended.limit.startswith("files: over 100")
        if server.level == 3:
            assert answer == 28

    def test_other_places(self, server: ForkServer) -> None:
        if server.level != 3:
            pytest.skip("only level 3 lends them")
        text = f"""
        def write(path):
            with open(path, "wb") as file:
                for _ in range(20): file.write(bytes({_MB // 2}))
        tell([tried(write, path) for path in ("/dev/shm/x", "/dev/x", "/x", "/proc/x")])
        """
        shared, device, root, proc = run(server, text, file_bytes=50 * _MB)[0]
        assert shared == 28
        assert 0 not in (device, root, proc)

    def test_a_closed_folder_does_not_hide_files(self, server: ForkServer) -> None:
        text = f"""
        os.mkdir("shut")
        for number in range(10):
            with open(f"shut/{{number}}", "wb") as file: file.write(bytes({_MB}))
        os.chmod("shut", 0)
        time.sleep(3)
        """
        _, ended, output = run(server, text)
        if server.level == 3:
            assert b"No space left on device" in output
        else:
            assert ended.limit in ("files: over 4 MB", "files: it closed a folder to the grader")


class TestOutput:
    def test_it_is_kept_up_to_the_limit(self, server: ForkServer) -> None:
        answer, ended, output = run(server, "print('y' * 50_000); tell('went on')")
        assert (answer, ended.limit) == ("went on", "")
        assert output == b"y" * QUICK.output_bytes

    def test_a_flood_is_ended(self, server: ForkServer) -> None:
        worker = start(server, "while True: os.write(1, b'spam' * 1000)")
        ended = worker.wait(10)
        assert ended is not None
        assert ended.limit.startswith("output: over")
        assert len(worker.output) == QUICK.output_bytes

    def test_a_flood_never_comes_to_its_end(self, server: ForkServer) -> None:
        """Or what the process does next would be blamed for it."""
        text = "for _ in range(300): os.write(1, b'z' * 10_000)\ntell('through')"
        answer, ended, _ = run(server, text)
        assert answer is None
        assert ended.limit.startswith("output: over")

    def test_what_was_said_last_is_kept(self, server: ForkServer) -> None:
        _, ended, output = run(server, "print('before'); 1 / 0")
        assert ended.code == 1
        assert output.startswith(b"before\nTraceback")
        assert output.endswith(b"ZeroDivisionError: division by zero\n")


def test_files_at_their_limit_are_cleaned_up(tmp_path: Path) -> None:
    """A server's folder is gone with it, whatever its workers made of theirs."""
    with open_box((1, None), tmp_path) as server:
        folder = server._folder
        run(server, "os.makedirs('a/b/c'); os.chmod('a/b', 0); os.symlink('/', 'a/root')")
        assert folder.exists()
    assert not folder.exists()
