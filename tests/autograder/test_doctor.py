"""The doctor: every illness is recognised, has a cure, and only serious ones fail the command."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autograder import diagnosis
from autograder.cli import app
from autograder.diagnosis import BROKEN, OK, WEAK, Finding
from autograder.sandbox.probes import PROBES, Probe, Report

Answer = Callable[..., subprocess.CompletedProcess]


def answers(code: int, stdout: str = "", stderr: str = "") -> Answer:
    return lambda command, **_: subprocess.CompletedProcess(command, code, stdout, stderr)


def programs(monkeypatch: pytest.MonkeyPatch, **there: str) -> None:
    """Only these programs are on PATH."""
    monkeypatch.setattr(shutil, "which", lambda name: there.get(name))


def test_this_python_is_new_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    assert diagnosis.python().state == OK
    monkeypatch.setattr(diagnosis, "_PYTHON", (9, 0))
    finding = diagnosis.python()
    assert (finding.state, finding.cure) == (BROKEN, "uv python install 9.0")


class TestTorch:
    def test_versions_and_devices(self, monkeypatch: pytest.MonkeyPatch) -> None:
        out = 'a line of noise\n["2.5.0", "0.20.0", ["H200", "H200"]]\n'
        monkeypatch.setattr(diagnosis, "_output", answers(0, out))
        both, cuda = diagnosis.torch()
        assert (both.state, both.found) == (OK, "2.5.0 + 0.20.0")
        assert cuda.found == "H200, H200"

    def test_builds_that_do_not_match(self, monkeypatch: pytest.MonkeyPatch) -> None:
        said = "Traceback\nRuntimeError: operator torchvision::nms does not exist\n"
        monkeypatch.setattr(diagnosis, "_output", answers(1, "", said))
        (finding,) = diagnosis.torch()
        assert finding.state == BROKEN
        assert finding.found == "RuntimeError: operator torchvision::nms does not exist"
        assert "torch torchvision" in finding.cure


class TestNbgrader:
    @pytest.mark.parametrize(
        ("version", "state"), [("0.9.6", OK), ("0.8.1", BROKEN), ("0.10.0", BROKEN)]
    )
    def test_series(self, version: str, state: str, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(diagnosis, "version", lambda name: version)
        programs(monkeypatch, alembic="/bin/alembic")
        assert diagnosis.nbgrader().state == state

    def test_alembic_may_lie_beside_this_python(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        programs(monkeypatch)
        monkeypatch.setattr(diagnosis.sysconfig, "get_path", lambda name: str(tmp_path))
        assert "no program alembic" in diagnosis.nbgrader().found
        assert diagnosis.nbgrader().state == BROKEN
        (tmp_path / "alembic").touch()
        assert diagnosis.nbgrader().state == OK


class TestKernel:
    @pytest.mark.parametrize(
        ("command", "state"),
        [
            ("python3", OK),
            (sys.executable, OK),
            ("/opt/an/older/environment/bin/python", BROKEN),
        ],
    )
    def test_it_must_start_this_python(
        self, command: str, state: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from jupyter_client.kernelspec import KernelSpec, KernelSpecManager

        spec = KernelSpec(argv=[command, "-m", "ipykernel_launcher"])
        monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", lambda self, name: spec)
        finding = diagnosis.kernel()
        assert finding.state == state
        assert ("ipykernel install" in finding.cure) == (state == BROKEN)

    def test_no_kernel(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

        def refuse(self: KernelSpecManager, name: str) -> None:
            raise NoSuchKernel(name)

        monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", refuse)
        assert (diagnosis.kernel().state, diagnosis.kernel().found) == (BROKEN, "not found")


def held(level: int, builder: str = "") -> Report:
    return Report(level, builder, "", tuple(Probe(what, True) for what in PROBES.values()))


def broken(level: int, builder: str = "") -> Report:
    probes = [Probe(what, what != PROBES["connect"], "got out") for what in PROBES.values()]
    return Report(level, builder, "", tuple(probes))


class TestSandbox:
    @pytest.mark.parametrize(
        ("reports", "state", "found"),
        [
            ((held(3, "bwrap"), held(3, "unshare"), held(2), broken(1)), OK, "level 3 .* by bwrap"),
            ((broken(3, "bwrap"), held(3, "unshare"), held(2)), OK, "level 3 .* by unshare"),
            ((Report(3, "unshare", "no rights"), held(2), broken(1)), WEAK, "level 2.*no rights"),
            ((Report(3, "unshare", "no rights"), broken(2), broken(1)), BROKEN, "no rights"),
            ((broken(3, "unshare"), broken(2), broken(1)), BROKEN, "connect: got out"),
            ((broken(3, "unshare"), broken(2), held(1)), BROKEN, "no level holds"),
            ((), WEAK, "grading needs Linux"),
        ],
    )
    def test_levels(
        self,
        reports: tuple[Report, ...],
        state: str,
        found: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(diagnosis, "boxes", lambda: reports)
        finding = diagnosis.sandbox()
        assert finding.state == state
        assert re.search(found, finding.found)
        assert bool(finding.cure) == (state != OK)

    def test_the_table_of_attacks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reports = (held(3, "bwrap"), Report(3, "unshare", "no rights"), held(2), broken(1))
        monkeypatch.setattr("autograder.commands.doctor.boxes", lambda: reports)
        monkeypatch.setattr("autograder.commands.doctor.diagnose", lambda course: iter([]))
        output = CliRunner().invoke(app, ["doctor"], env={"COLUMNS": "120"}).output
        rows = {line.split("│")[1].strip(): line.split("│")[2:] for line in output.splitlines()
                if line.startswith("│")}  # fmt: skip
        assert [cell.strip() for cell in rows["connect"][:4]] == ["stopped", "–", "stopped", "DONE"]
        assert [cell.strip() for cell in rows["write outside"][:4]] == [
            "stopped",
            "–",
            "stopped",
            "stopped",
        ]
        assert set(PROBES.values()) <= set(rows)


def test_a_browser_and_its_fonts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    programs(monkeypatch)
    assert diagnosis.chromium().state == WEAK
    (tmp_path / ".cache/ms-playwright/chromium-1200").mkdir(parents=True)
    assert diagnosis.chromium().state == OK
    programs(monkeypatch, **{"fc-list": "/bin/fc-list"})
    monkeypatch.setattr(diagnosis, "_output", answers(0, ""))
    assert diagnosis.fonts().state == WEAK
    monkeypatch.setattr(diagnosis, "_output", answers(0, "DejaVu Sans\nDejaVu Sans\nNoto\n"))
    assert diagnosis.fonts().found == "2 families"


def test_bytecode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Spec:
        origin = str(tmp_path / "torch" / "__init__.py")

    monkeypatch.setattr(diagnosis.importlib.util, "find_spec", lambda name: Spec)
    finding = diagnosis.bytecode()
    assert finding.state == WEAK
    assert finding.cure.endswith(f"compileall -q -j 0 {tmp_path}")
    compiled = Path(diagnosis.importlib.util.cache_from_source(Spec.origin))
    compiled.parent.mkdir(parents=True)
    compiled.touch()
    assert diagnosis.bytecode().state == OK


class TestFolders:
    def test_writable_with_room(self, tmp_path: Path) -> None:
        (tmp_path / "solutions").mkdir()
        states = {f.what: f for f in diagnosis.folders(tmp_path)}
        assert states["course folder"].state == OK
        assert states["course folder"].found == str(tmp_path)

    @pytest.mark.parametrize(("free", "state"), [(0.1e9, BROKEN), (2e9, WEAK), (50e9, OK)])
    def test_free_disk(
        self, free: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "solutions").mkdir()
        usage = shutil.disk_usage(tmp_path)._replace(free=int(free))
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
        disk = next(f for f in diagnosis.folders(tmp_path) if f.what == "free disk")
        assert disk.state == state
        assert bool(disk.cure) == (state != OK)

    def test_a_folder_that_refuses(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(dir: Path) -> None:
            raise OSError(30, "Read-only file system")

        (tmp_path / "solutions").mkdir()
        monkeypatch.setattr(diagnosis.tempfile, "TemporaryFile", refuse)
        found = {f.what: f for f in diagnosis.folders(tmp_path)}
        assert found["course folder"].state == BROKEN
        assert found["course folder"].found.endswith("Read-only file system")
        assert found["temporary folder"].cure == "set TMPDIR"

    def test_no_course(self) -> None:
        (finding,) = diagnosis.folders(Path("/"))
        assert finding.state == BROKEN


def test_course_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COURSE_DATA", raising=False)
    assert diagnosis.data().state == OK
    monkeypatch.setenv("COURSE_DATA", str(tmp_path / "nowhere"))
    assert diagnosis.data().state == WEAK
    (tmp_path / "VOCdevkit").mkdir()
    monkeypatch.setenv("COURSE_DATA", str(tmp_path))
    assert diagnosis.data().found == f"{tmp_path}: 1 entries"


def test_a_program_that_hangs_or_is_missing_is_a_failure_with_a_reason() -> None:
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    assert "timed out" in diagnosis._output(sleeper, timeout=0.2).stderr
    assert "No such file" in diagnosis._output(["/no/such/program"], timeout=5).stderr


@pytest.mark.parametrize(("state", "code"), [(OK, 0), (WEAK, 0), (BROKEN, 1)])
def test_only_what_breaks_a_command_fails(
    state: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    finding = Finding("thing", state, "found [this]", "" if state == OK else "mend it")
    monkeypatch.setattr("autograder.commands.doctor.diagnose", lambda course: iter([finding]))
    monkeypatch.setattr("autograder.commands.doctor.boxes", lambda: ())
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == code
    assert "found [this]" in result.output
    assert ("mend it" in result.output) == (state != OK)


def test_every_check_of_this_machine_answers() -> None:
    findings = list(diagnosis.diagnose())
    assert {"Python", "torch + torchvision", "nbgrader", "kernel python3", "sandbox"} <= {
        finding.what for finding in findings
    }
    assert all(finding.cure for finding in findings if finding.state != OK)
    # The tests themselves run here, so nothing of this can be broken.
    sound = {"Python", "nbgrader", "torch + torchvision", "temporary folder"}
    assert all(finding.state != BROKEN for finding in findings if finding.what in sound)
