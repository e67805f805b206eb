"""The fork server: what a worker is given, what comes back, and what happens when things end."""

import os
import random
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from autograder.limits import Limits
from autograder.sandbox import (
    DEFAULT_PRELOAD,
    ForkServer,
    SandboxError,
    Worker,
    ladder,
    launch,
    tree,
)
from autograder.sandbox.probes import Probe, Report
from tests.autograder.sandboxes import BOXES, QUICK, name, open_box, run, start, told

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lab") / "files"
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "cells.txt").write_text("1 2 3")
    return folder


@pytest.mark.parametrize("box", BOXES, ids=name)
def test_files_that_are_closed_to_writing(box: tuple[int, str | None], tmp_path: Path) -> None:
    """Its own copy may be added to and cleared away, whatever the modes of the original."""
    files = tmp_path / "files"
    (files / "data").mkdir(parents=True)
    (files / "data" / "cells.txt").write_text("1")
    for path in (files / "data" / "cells.txt", files / "data", files):
        path.chmod(0o555)
    with open_box(box, tmp_path / "cache", files=files) as server:
        text = """
        open("new", "w").close()
        tell([sorted(os.listdir(".")), open("data/cells.txt").read()])
        """
        assert run(server, text)[0] == [["data", "new"], "1"]
        folder = server._folder
        assert folder.exists()
    assert not folder.exists()
    for path in (files, files / "data"):
        path.chmod(0o755)


@pytest.fixture(scope="module", params=BOXES, ids=name)
def server(
    request: pytest.FixtureRequest, files: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ForkServer]:
    with open_box(request.param, tmp_path_factory.mktemp("cache"), files=files) as server:
        yield server


@pytest.fixture(scope="module")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForkServer]:
    with ForkServer(cache=tmp_path_factory.mktemp("cache"), slots=2) as server:
        yield server


class TestWorker:
    def test_its_folder_is_its_own_copy(self, server: ForkServer, files: Path) -> None:
        text = """
        with open("data/cells.txt") as file: before = file.read()
        with open("data/cells.txt", "w") as file: file.write("changed")
        with open("new.txt", "w") as file: file.write("new")
        tell([before, sorted(os.listdir(".")), os.getcwd() == os.path.realpath(".")])
        """
        for _ in range(2):  # the second one does not see what the first one wrote
            answer, ended, output = run(server, text)
            assert answer == ["1 2 3", ["data", "new.txt"], True]
            assert (ended.code, output) == (0, b"")
        assert (files / "data" / "cells.txt").read_text() == "1 2 3"
        assert sorted(os.listdir(files)) == ["data"]

    def test_home_and_temporary_files_are_its_own(self, server: ForkServer) -> None:
        text = """
        import getpass, tempfile
        from pathlib import Path
        (Path.home() / "settings").write_text("x")
        with tempfile.NamedTemporaryFile() as file: place = os.path.dirname(file.name)
        tell([getpass.getuser(), place, os.getcwd()])
        """
        (user, place, folder), ended, output = run(server, text)
        assert (user, ended.code, output) == ("student", 0, b"")
        assert place == ("/tmp" if server.level == 3 else folder)
        assert not Path("/tmp/settings").exists()

    @pytest.mark.parametrize(
        ("text", "code", "number"),
        [
            ("code = 7", 7, 0),
            ("sys.exit(3)", 3, 0),
            ("sys.exit('bad')", 1, 0),
            ("1 / 0", 1, 0),
            ("os._exit(9)", 9, 0),
            ("os.kill(os.getpid(), signal.SIGKILL)", None, signal.SIGKILL),
            ("os.abort()", None, signal.SIGABRT),
            ("ctypes.string_at(0)", None, signal.SIGSEGV),
            ("raise KeyboardInterrupt", 1, 0),
        ],
    )
    def test_how_it_ended(self, server: ForkServer, text: str, code: int, number: int) -> None:
        _, ended, _ = run(server, text)
        assert (ended.code, ended.signal) == (code, number)
        assert (ended.limit, ended.left_behind) == ("", 0)

    def test_it_is_told_long_arguments(self, server: ForkServer) -> None:
        text = "tell(len(__text__))" + " " * 5_000_000
        worker = start(server, text.replace("__text__", "'five million'"))
        assert told(worker) == len("five million")

    def test_its_number_and_its_use(self, server: ForkServer) -> None:
        text = """
        tell(os.getpid())
        channel.recv(1)
        hoard = bytearray(b"x") * (30 << 20)
        end = time.process_time() + 0.2
        while time.process_time() < end: pass
        tell(2)
        channel.recv(1)
        """
        worker = start(server, text)
        inside = told(worker)
        assert server.level == 3 or inside == worker.pid
        assert os.path.exists(f"/proc/{worker.pid}/stat")
        before = worker.usage()
        worker.channel.sendall(b"x")
        told(worker)
        after = worker.usage()
        assert after.processes == before.processes == 1
        assert 0.15 < after.processor_seconds - before.processor_seconds < 0.6
        assert 29 << 20 < after.resident_bytes - before.resident_bytes < 40 << 20
        assert worker.wait(0) is None
        worker.kill()
        assert worker.wait(0).code is None
        assert worker.usage().processes == 0

    def test_one_that_is_gone_at_once_was_started_all_the_same(
        self, server: ForkServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A crash in the first line is the submission's, not the grader's."""
        slow = Worker._until_ready

        def later(worker: Worker, timeout: float) -> str:
            worker.wait(10)
            return slow(worker, timeout)

        monkeypatch.setattr(Worker, "_until_ready", later)
        _, ended, _ = run(server, "os._exit(9)")
        assert ended.code == 9

    def test_signals_and_streams_are_as_in_a_fresh_python(self, server: ForkServer) -> None:
        text = """
        default = [signal.getsignal(number) == signal.SIG_DFL for number in (15, 17, 1)]
        print("to the streams")
        os.write(2, b"and past them")
        tell([default, signal.getsignal(2) is signal.default_int_handler,
              list(signal.pthread_sigmask(0, ()))])
        """
        answer, _, output = run(server, text)
        assert answer == [[True] * 3, True, []]
        assert output == b"to the streams\nand past them"

    def test_same_arguments_same_numbers(self, server: ForkServer) -> None:
        text = "import random; tell([random.random(), hash('text')])"
        one, two, other = (run(server, text + tail)[0] for tail in ("", "", " "))
        assert one == two
        assert one[0] != other[0]
        assert one[0] != random.random()


class TestServer:
    def test_several_threads_at_once(self, server: ForkServer) -> None:
        def square(number: int) -> int:
            return run(server, f"tell({number} ** 2)")[0]

        with ThreadPoolExecutor(3) as pool:
            assert list(pool.map(square, range(12))) == [n * n for n in range(12)]

    def test_no_more_than_its_slots(self, tmp_path: Path) -> None:
        with open_box((1, None), tmp_path, slots=1) as server:
            worker = start(server, "time.sleep(60)")
            with pytest.raises(SandboxError, match="all 1 slots are busy: wait"):
                start(server, "")
            worker.kill()
            assert run(server, "tell(1)")[0] == 1

    @pytest.mark.parametrize("box", BOXES, ids=name)
    def test_closing_it_ends_its_workers(self, box: tuple[int, str | None], tmp_path: Path) -> None:
        with open_box(box, tmp_path) as server:
            worker = start(server, "os.fork() or os.setsid(); tell(1); time.sleep(60)")
            told(worker)
        ended = worker.wait(0)
        assert ended is not None
        assert ended.code is None
        assert not os.path.exists(f"/proc/{worker.pid}")
        with pytest.raises(SandboxError, match="closed"):
            start(server, "")
        server.close()

    @pytest.mark.parametrize("box", BOXES, ids=name)
    def test_nothing_outlives_a_killed_grader(
        self, box: tuple[int, str | None], tmp_path: Path
    ) -> None:
        with open_box(box, tmp_path):
            pass
        grader = f"""
            import sys, time
            from pathlib import Path
            from tests.autograder.sandboxes import open_box, start, told
            with open_box({box!r}, Path({str(tmp_path)!r})) as server:
                worker = start(server, "os.fork(); os.fork(); tell(1); time.sleep(60)")
                told(worker)
                print(worker.pid, server.pid, flush=True)
                time.sleep(60)
        """
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(grader)],
            stdout=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
        ) as process:
            assert process.stdout is not None
            pids = [int(word) for word in process.stdout.readline().split()]
            assert len(pids) == 2
            pids += tree.children(pids[1])
            process.kill()
        assert len(pids) >= 6
        deadline = time.monotonic() + 5
        while any(map(tree.alive, pids)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert not any(map(tree.alive, pids))

    def test_a_dead_server_is_noticed(self, tmp_path: Path) -> None:
        with open_box((1, None), tmp_path) as server:
            worker = start(server, "time.sleep(60)")
            os.kill(server.pid, signal.SIGKILL)
            ended = worker.wait(10)
            assert ended is not None
            assert ended.code is None
            with pytest.raises(SandboxError, match="has ended"):
                start(server, "")

    def test_a_warden_that_is_killed_takes_its_family_along(self, server: ForkServer) -> None:
        """The system may choose it when memory is short."""
        worker = start(server, "os.fork() or os.setsid(); os.fork(); tell(1); time.sleep(60)")
        told(worker)
        family = tree.children(worker._warden)
        os.kill(worker._warden, signal.SIGKILL)
        ended = worker.wait(10)
        assert ended is not None
        assert ended.code is None
        assert len(family) >= 3
        assert not any(map(tree.alive, family))
        assert run(server, "tell(1)")[0] == 1

    def test_a_target_that_is_none(self, server: ForkServer) -> None:
        worker = server.start("no.such.module:main", limits=QUICK)
        ended = worker.wait(10)
        assert ended is not None
        assert ended.code == 1
        assert worker.output.endswith(b"ModuleNotFoundError: No module named 'no'\n")

    def test_a_module_that_cannot_be_imported(self, tmp_path: Path) -> None:
        with pytest.raises(SandboxError, match=r"cannot import nosuch: ModuleNotFoundError"):
            ForkServer(level=1, cache=tmp_path, preload=("nosuch",))

    def test_leftovers_of_a_killed_grader_are_cleared(self, tmp_path: Path) -> None:
        with subprocess.Popen(["true"]) as process:
            pass
        folder = Path(tempfile.gettempdir())
        dead = folder / f"autograder-box-{process.pid}-gone"
        alive = folder / f"autograder-box-{os.getpid()}-here"
        for path in (dead, alive):
            (path / "0-1").mkdir(parents=True)
        with open_box((1, None), tmp_path):
            pass
        assert not dead.exists()
        assert alive.exists()
        (alive / "0-1").rmdir()
        alive.rmdir()

    def test_memory_that_forks_would_share_is_noticed(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A module that maps shared memory on import would let one student write to the next."""
        (tmp_path / "sharing.py").write_text("import mmap; kept = mmap.mmap(-1, 4096)")
        plain = launch.environment
        path = str(tmp_path)
        monkeypatch.setattr(
            "autograder.sandbox.forkserver.environment",
            lambda fonts: plain(fonts) | {"PYTHONPATH": f"{plain(fonts)['PYTHONPATH']}:{path}"},
        )
        with open_box((1, None), tmp_path / "cache", preload=("sharing",)) as server:
            assert not server.forks

    @pytest.mark.parametrize("box", BOXES, ids=name)
    def test_a_server_with_threads_starts_fresh_interpreters(
        self, box: tuple[int, str | None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A fork has none of its parent's threads, but all the locks that they held."""
        (tmp_path / "threaded.py").write_text(
            "import threading, time\n"
            "threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\n"
        )
        for folder in (tmp_path, *list(tmp_path.parents)[:2]):
            folder.chmod(0o755)
        plain = launch.environment
        path = str(tmp_path)
        monkeypatch.setattr(
            "autograder.sandbox.forkserver.environment",
            lambda fonts: plain(fonts) | {"PYTHONPATH": f"{plain(fonts)['PYTHONPATH']}:{path}"},
        )
        options = {"preload": ("threaded",), "readable": [tmp_path]}
        with open_box(box, tmp_path / "cache", **options) as server:
            assert not server.forks
            text = "tell([threading.active_count(), 'threaded' in sys.modules, os.getcwd()])"
            answer, _, output = run(server, text)
            assert answer, output.decode()
            threads, imported, folder = answer
            assert (threads, imported) == (2, True)
            assert folder != "/"
            assert run(server, "sys.exit(3)")[1].code == 3


class TestLevels:
    def test_the_best_one_is_tried_and_taken(self, tmp_path: Path) -> None:
        best = ladder.best()
        assert best.held
        with ForkServer(cache=tmp_path, preload=()) as server:
            assert server.level == best.level >= 2

    def test_level_1_only_by_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(level: int, builder: str | None = None) -> Report:
            return Report(level, builder or "", "", (Probe("connect", False, "got out"),))

        monkeypatch.setattr(ladder, "try_level", fails)
        ladder._best.cache_clear()
        try:
            with pytest.raises(SandboxError) as caught:
                ForkServer(cache=tmp_path, preload=())
        finally:
            ladder._best.cache_clear()
        assert "level 3" in str(caught.value)
        assert "connect: got out" in str(caught.value)
        assert "to mend it: " in str(caught.value)
        assert "sandbox level 1" in str(caught.value)
        with ForkServer(level=1, cache=tmp_path, preload=()) as server:
            assert server.level == 1

    def test_no_such_level(self, tmp_path: Path) -> None:
        with pytest.raises(SandboxError, match="no sandbox level 4"):
            ForkServer(level=4, cache=tmp_path)

    def test_other_systems(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "platform", "win32")
        with pytest.raises(SandboxError, match="grading needs Linux, this is win32: use WSL 2"):
            ForkServer(cache=tmp_path)


class TestWithTorch:
    """What a class is graded with: everything imported, at the best level."""

    def test_it_can_be_forked(self, warm: ForkServer) -> None:
        assert warm.forks
        assert "torch" in DEFAULT_PRELOAD

    def test_arithmetic_and_figures_work(self, warm: ForkServer) -> None:
        text = """
        import matplotlib.pyplot as plt, numpy, torch
        x = torch.randn(64, 64, requires_grad=True)
        torch.nn.functional.conv2d(x[None, None], torch.ones(1, 1, 3, 3)).sum().backward()
        plt.plot([1, 2]); plt.savefig("figure.png")
        tell([x.grad.shape[0], os.path.getsize("figure.png") > 1000, torch.get_num_threads(),
              float(numpy.random.rand()), float(torch.rand(1))])
        """
        limits = {"memory_bytes": 2**30, "total_seconds": 60}
        one, two, other = (run(warm, text + tail, **limits)[0] for tail in ("", "", "1"))
        assert one[:3] == [64, True, 1]
        assert one == two
        assert one[3] != other[3]
        assert one[4] != other[4]

    def test_a_worker_adds_little_memory(self, warm: ForkServer) -> None:
        """Pages that only this worker holds, before the first line of a submission."""
        worker = start(warm, "tell(1); channel.recv(1)", memory_bytes=2**30)
        told(worker)
        private = 0
        for pid in (worker.pid, worker._warden):
            for row in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if row.startswith(("Private_Dirty", "Private_Clean")):
                    private += int(row.split()[1]) << 10
        worker.kill()
        assert private < 150 * 2**20

    def test_no_memory_is_shared_with_the_next_student(self, warm: ForkServer) -> None:
        text = """
        with open("/proc/self/maps") as file:
            tell([row for row in file if row.split()[1][1] == "w" and row.split()[1][3] == "s"])
        """
        assert run(warm, text, memory_bytes=2**30)[0] == []

    def test_too_large_a_tensor_is_an_error_of_python(self, warm: ForkServer) -> None:
        text = """
        import torch
        try: torch.zeros(300_000_000)
        except RuntimeError as error: tell(str(error)[-60:])
        tell(float(torch.ones(1000, 1000).sum()))
        """
        worker = start(warm, text, memory_bytes=2**30)
        assert "memory" in told(worker)
        assert told(worker) == 1e6

    def test_loaders_with_processes_work(self, warm: ForkServer) -> None:
        text = """
        import torch
        data = torch.utils.data.TensorDataset(torch.arange(8.0))
        loader = torch.utils.data.DataLoader(data, batch_size=2, num_workers=2)
        tell(float(sum(batch[0].sum() for batch in loader)))
        """
        if warm.level < 3:
            pytest.skip("local sockets are closed below level 3")
        limits = {"memory_bytes": 2**30, "total_seconds": 60, "processes": 32}
        assert run(warm, text, **limits)[0] == 28.0


def test_the_grader_may_have_threads_and_a_small_stack(tmp_path: Path) -> None:
    """Servers are started from a thread that ends before its workers do."""
    with ThreadPoolExecutor(1) as pool:
        server = pool.submit(ForkServer, level=1, cache=tmp_path, preload=(), slots=2).result()
    with server:
        starter: list = []
        thread = threading.Thread(target=lambda: starter.append(start(server, "tell(1)")))
        thread.start()
        thread.join()
        assert told(starter[0]) == 1


@pytest.mark.parametrize("name", Limits.__dataclass_fields__)
def test_limits_are_written_down(name: str) -> None:
    """In the docstring, and with their defaults on the page about security."""
    assert f"{name}:" in (Limits.__doc__ or "")
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    rows = [row.split("|") for row in page.splitlines() if row.startswith(f"| `{name}` |")]
    assert len(rows) == 1
    written = rows[0][2].strip().replace(",", "")
    default = getattr(Limits(), name)
    assert written in (
        f"{default:g}",
        f"{default}",
        f"{default / 2**20:g}M",
        f"{default / 2**30:g}G",
    )


def test_a_cell_may_take_three_times_as_long_by_the_clock() -> None:
    assert Limits(cell_seconds=2).longest_cell == 6
