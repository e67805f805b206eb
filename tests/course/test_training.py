"""Training: against a loop written by hand, through kills and resumes, and quiet on stderr."""

import csv
import io
import json
import os
import random
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from course.data import cells
from course.losses import cross_entropy
from course.training import History, fit, poly_lr
from course.training import progress as progress_module
from course.training.batches import load_batches, positions_of_step
from course.training.checkpoint import read_checkpoint, write_checkpoint
from course.training.progress import Progress


class Noisy(Dataset):
    """Eleven small samples with random augmentation from all three generators."""

    def __init__(self) -> None:
        self.scenes = cells(11, size=32)

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        sample = self.scenes[index]
        noise = torch.rand(1, 32, 32) * random.random() + float(np.random.rand())  # noqa: NPY002
        return {"image": sample["image"] + 0.1 * noise, "mask": sample["mask"]}


def make_net(seed: int = 0, width: int = 4, *, dropout: float = 0.3) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Conv2d(width, 2, 3, padding=1),
    )


def pixel_loss(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return cross_entropy(logits, batch["mask"])


def nan_loss(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    return pixel_loss(logits, batch) * float("nan")


fit_quickly = partial(fit, loss=pixel_loss, batch_size=4, lr=0.01, device="cpu", progress=False)


def weights_of(net: nn.Module) -> list[Tensor]:
    return [value.clone() for value in net.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(x.equal(y) for x, y in zip(a, b, strict=True))


class TestLoop:
    def test_equals_a_loop_written_by_hand(self) -> None:
        scenes, net = cells(7, size=32), make_net(dropout=0)
        by_hand = make_net(dropout=0)
        history = fit_quickly(
            net,
            scenes,
            steps=6,
            optimizer=partial(torch.optim.SGD, momentum=0.9),
            schedule=poly_lr,
            seed=3,
        )
        optimizer = torch.optim.SGD(by_hand.parameters(), lr=0.01, momentum=0.9)
        scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=6, power=0.9)
        losses = []
        for batch in load_batches(scenes, steps=range(6), batch_size=4, seed=3):
            loss = pixel_loss(by_hand(batch["image"]), batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
        for ours, theirs in zip(net.parameters(), by_hand.parameters()):
            torch.testing.assert_close(ours, theirs)
        assert history.loss == pytest.approx(losses)
        assert history.step == [1, 2, 3, 4, 5, 6]
        assert history.seconds == sorted(history.seconds)

    def test_same_seed_same_weights_other_seed_other_weights(self) -> None:
        nets = []
        for seed in (0, 0, 1):
            net = make_net()
            fit_quickly(net, Noisy(), steps=4, seed=seed)
            nets.append(weights_of(net))
        assert same(nets[0], nets[1])
        assert not same(nets[0], nets[2])

    def test_workers_change_nothing(self) -> None:
        """Dropout included: without workers, reading a sample leaves its seed in the generators."""
        nets = []
        for workers in (0, 1):
            net = make_net()
            fit_quickly(net, Noisy(), steps=3, workers=workers)
            nets.append(weights_of(net))
        assert same(*nets)

    def test_leaves_the_callers_random_numbers_alone(self) -> None:
        def draw() -> tuple[float, float, float]:
            return torch.rand(1).item(), float(np.random.rand()), random.random()  # noqa: NPY002

        torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
        expected = draw()
        net = make_net()
        torch.manual_seed(5), np.random.seed(5), random.seed(5)  # noqa: NPY002
        fit_quickly(net, Noisy(), steps=2)
        assert draw() == expected

    def test_modes_frozen_weights_and_device_are_left_as_found(self) -> None:
        net = make_net()
        net[0].requires_grad_(False)
        net[1].eval()
        before = weights_of(net)
        fit_quickly(net, cells(4, size=32), steps=2)
        assert [part.training for part in net] == [True, False, True, True, True]
        assert same(weights_of(net)[:2], before[:2])
        assert not same(weights_of(net)[-2:], before[-2:])
        assert next(net.parameters()).device.type == "cpu"

    def test_schedule_scales_every_group(self) -> None:
        rates = []

        class Spy(torch.optim.SGD):
            def step(self, closure=None):  # type: ignore[override]
                rates.append([group["lr"] for group in self.param_groups])
                return super().step(closure)

        net = make_net()

        def optimizer(parameters, lr):
            head = list(net[4].parameters())
            body = [p for p in parameters if not any(p is h for h in head)]
            return Spy([{"params": body}, {"params": head, "lr": 10 * lr}], lr=lr)

        fit_quickly(net, cells(4, size=32), steps=4, optimizer=optimizer, schedule=poly_lr)
        expected = [[0.01 * (1 - s / 4) ** 0.9, 0.1 * (1 - s / 4) ** 0.9] for s in range(4)]
        assert rates == [pytest.approx(row) for row in expected]

    def test_evaluates_when_asked_in_evaluation_mode(self) -> None:
        calls = []

        def evaluate(net: nn.Module) -> dict[str, float]:
            calls.append((net.training, torch.is_grad_enabled()))
            torch.rand(7)  # must not disturb the training
            return {"score": float(len(calls))}

        nets = []
        for hook in (None, evaluate):
            net = make_net()
            history = fit_quickly(net, Noisy(), steps=5, evaluate=hook, evaluate_every=2)
            nets.append(weights_of(net))
        assert same(*nets)
        assert calls == [(False, False)] * 3
        assert history.metrics == [
            {"step": 2, "score": 1},
            {"step": 4, "score": 2},
            {"step": 5, "score": 3},
        ]

    def test_bfloat16_keeps_float32_weights_and_says_nothing(self, capfd, caplog) -> None:
        # SGD, because Adam blows up rounding where a gradient is nearly 0 (a bias before a norm)
        run = partial(fit_quickly, data=cells(8, size=32), steps=3, optimizer=torch.optim.SGD)
        net, exact = make_net(), make_net()
        run(net, precision="bf16-mixed")
        run(exact)
        assert {p.dtype for p in net.parameters()} == {torch.float32}
        for a, b in zip(net.parameters(), exact.parameters()):
            torch.testing.assert_close(a, b, atol=2e-3, rtol=0.02)
        assert not same(weights_of(net), weights_of(exact))
        assert capfd.readouterr() == ("", "")
        assert caplog.records == []

    def test_channels_last_is_another_order_of_the_same_numbers(self) -> None:
        run = partial(fit_quickly, steps=3, optimizer=torch.optim.SGD)
        nets, formats = [], []

        class Look(nn.Module):
            def forward(self, x: Tensor) -> Tensor:
                formats.append(x.is_contiguous(memory_format=torch.channels_last))
                return x

        for channels_last in (False, True):
            net = nn.Sequential(*make_net(dropout=0), Look())
            scenes = cells(8, size=32)
            run(net, scenes, channels_last=channels_last)
            nets.append(net)
        for a, b in zip(nets[0].parameters(), nets[1].parameters()):
            torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        assert formats == [False] * 3 + [True] * 3

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
    @pytest.mark.parametrize("precision", ["32-true", "16-mixed", "bf16-mixed"])
    def test_cuda_learns_and_brings_the_model_back(self, precision: str) -> None:
        net = make_net()
        history = fit_quickly(net, cells(8, size=32), steps=30, device="cuda", precision=precision)
        assert next(net.parameters()).device.type == "cpu"
        assert history.loss[-1] < history.loss[0]

    @pytest.mark.slow
    def test_two_devices_equal_one(self) -> None:
        nets = []
        for devices in (1, 2):
            net = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 2, 1))
            for p in net.parameters():
                nn.init.constant_(p, 0.1) if p.ndim == 1 else nn.init.eye_(p.flatten(1))
            history = fit_quickly(net, Noisy(), steps=5, devices=devices)
            assert len(history.loss) == 5
            nets.append(net)
        for a, b in zip(nets[0].parameters(), nets[1].parameters()):
            torch.testing.assert_close(a, b)

    @pytest.mark.slow
    def test_errors_of_two_devices_are_those_of_one(self, capfd) -> None:
        with pytest.raises(FloatingPointError, match=r"the loss is nan at step 1: lower lr"):
            fit_quickly(make_net(), cells(4, size=32), loss=nan_loss, steps=2, devices=2)
        assert capfd.readouterr() == ("", "")

    def test_several_devices_need_functions_that_can_be_sent(self) -> None:
        with pytest.raises(TypeError, match="loss cannot be sent there"):
            fit_quickly(
                make_net(),
                cells(4, size=32),
                loss=lambda logits, batch: pixel_loss(logits, batch),
                steps=1,
                devices=2,
            )


class TestErrors:
    @pytest.mark.parametrize("kind", [float("nan"), float("inf")])
    def test_a_loss_that_is_no_number_names_its_step(self, tmp_path: Path, kind: float) -> None:
        calls = iter(range(100))

        def loss(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
            return pixel_loss(logits, batch) + (kind if next(calls) == 2 else 0)

        path = tmp_path / "run.ckpt"
        with pytest.raises(FloatingPointError, match=rf"loss is {kind} at step 3 after 0\.\d+:"):
            fit_quickly(
                make_net(),
                cells(4, size=32),
                loss=loss,
                steps=9,
                checkpoint=path,
                checkpoint_every=1,
            )
        saved = read_checkpoint(path)
        assert saved["step"] == 2
        assert all(weight.isfinite().all() for weight in saved["model"].values())

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            ({"steps": 0}, ValueError, "steps to be a whole number >= 1, got 0"),
            ({"steps": 2.5}, ValueError, r"steps to be a whole number >= 1, got 2\.5"),
            ({"batch_size": 0}, ValueError, "batch_size to be a whole number >= 1"),
            ({"seed": -1}, ValueError, "seed to be a whole number >= 0, got -1"),
            ({"seed": 10**19}, ValueError, "seed of at most 9223372036854775807"),
            ({"evaluate_every": 0}, ValueError, "evaluate_every to be a whole number >= 1, got 0"),
            ({"lr": float("nan")}, ValueError, "lr to be a finite number >= 0, got nan"),
            ({"batch_size": 3, "devices": 2}, ValueError, "batch_size that 2 devices can share"),
            ({"data": []}, ValueError, "length of at least 1"),
            ({"data": [(1, 2)]}, TypeError, "dictionaries with an 'image', got tuple"),
            ({"data": [{"mask": 1}]}, TypeError, r"with an 'image', got \['mask'\]"),
            ({"model": nn.ReLU()}, ValueError, "parameters that need gradients"),
            (
                {"loss": lambda logits, batch: logits},
                ValueError,
                r"scalar with a gradient, got shape \(4, 2, 32, 32\)",
            ),
            ({"loss": lambda logits, batch: 0.5}, ValueError, "got float"),
            (
                {"loss": lambda logits, batch: logits.detach().mean()},
                ValueError,
                r"scalar with a gradient, got shape \(\)",
            ),
            ({"device": "toaster"}, ValueError, "toaster"),
            ({"precision": "7-bit"}, ValueError, "7-bit"),
        ],
    )
    def test_bad_input(self, arguments: dict, error: type[Exception], message: str) -> None:
        defaults = {"model": make_net(), "data": cells(4, size=32), "steps": 1}
        with pytest.raises(error, match=message):
            fit_quickly(**(defaults | arguments))


class TestBatches:
    def test_every_epoch_is_another_permutation(self) -> None:
        data = [{"image": torch.tensor([float(i)])} for i in range(10)]
        batches = load_batches(data, steps=range(10), batch_size=4, seed=0)
        stream = torch.cat([batch["image"] for batch in batches]).flatten().tolist()
        epochs = [stream[i : i + 10] for i in range(0, 40, 10)]
        assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
        assert len({tuple(epoch) for epoch in epochs}) == 4

    def test_a_long_run_is_not_planned_ahead(self) -> None:
        data = [{"image": torch.tensor([float(i)])} for i in range(3)]
        batches = load_batches(data, steps=range(10**15), batch_size=4, seed=0)
        assert next(batches)["image"].shape == (4, 1)

    def test_devices_share_a_batch_without_overlap(self) -> None:
        shares = [positions_of_step(5, 6, rank, 3) for rank in range(3)]
        assert sorted(p for share in shares for p in share) == list(range(30, 36))
        assert {len(share) for share in shares} == {2}

    @pytest.mark.parametrize("workers", [0, 2])
    def test_a_step_has_its_batch_wherever_the_run_begins(self, workers: int) -> None:
        load = partial(load_batches, Noisy(), batch_size=4, seed=2)
        whole = [batch["image"] for batch in load(steps=range(6))]
        part = [batch["image"] for batch in load(steps=range(3, 6), workers=workers)]
        assert same(whole[3:], part)
        assert not same(whole[:3], part)


SCRIPT = """
import sys, torch
from course.training import fit, poly_lr
sys.path.insert(0, {folder!r})
from test_training import Noisy, make_net, pixel_loss

torch.set_num_threads({threads})
done = 0

def loss(logits, batch):
    global done
    done += 1
    print("batch", done, flush=True)
    return pixel_loss(logits, batch)

fit(make_net(), Noisy(), loss, steps=60, batch_size=4, lr=0.01, schedule=poly_lr, device="cpu",
    checkpoint={path!r}, checkpoint_every=4)
"""


class TestResume:
    def test_a_killed_run_ends_with_the_weights_of_one_that_was_not(self, tmp_path: Path) -> None:
        path = tmp_path / "run.ckpt"
        script = SCRIPT.format(
            folder=str(Path(__file__).parent), threads=torch.get_num_threads(), path=str(path)
        )
        process = subprocess.Popen(
            [sys.executable, "-W", "default", "-c", script],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            if line.strip() == "batch 23":
                process.send_signal(signal.SIGKILL)
                break
        _, stderr = process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert stderr == ""
        killed_at = read_checkpoint(path)["step"]
        assert killed_at % 4 == 0
        assert 20 <= killed_at < 60

        run = partial(fit_quickly, data=Noisy(), steps=60, schedule=poly_lr)
        resumed, whole = make_net(seed=9), make_net()
        history = run(resumed, checkpoint=path, checkpoint_every=4)
        expected = run(whole)
        assert same(weights_of(resumed), weights_of(whole))
        assert history.loss == expected.loss
        assert history.step == expected.step
        assert history.seconds == sorted(history.seconds)

    @pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
    def test_parts_of_any_length_equal_the_whole(self, tmp_path: Path, optimizer) -> None:
        run = partial(fit_quickly, data=Noisy(), optimizer=partial(optimizer, weight_decay=0.1))
        whole = make_net()
        run(whole, steps=7)
        for n, end in enumerate((1, 4, 7)):
            part = make_net(seed=n)  # the checkpoint's weights count, not these
            history = run(part, steps=end, checkpoint=tmp_path / "run.ckpt")
            assert len(history.loss) == end
        assert same(weights_of(part), weights_of(whole))

    def test_a_finished_run_comes_back_without_a_step(self, tmp_path: Path) -> None:
        path = tmp_path / "folder" / "run.ckpt"
        scenes = cells(4, size=32)
        run = partial(fit_quickly, data=scenes, steps=3, checkpoint=path)
        first, again = make_net(), make_net(seed=1)
        history = run(first, evaluate=lambda net: {"score": 0.5})
        assert run(again, loss=lambda logits, batch: 1 / 0).loss == history.loss
        assert run(again).metrics == [{"step": 3, "score": 0.5}]
        assert same(weights_of(first), weights_of(again))

    def test_resume_false_starts_again(self, tmp_path: Path) -> None:
        path = tmp_path / "run.ckpt"
        fit_quickly(make_net(), Noisy(), steps=2, seed=5, checkpoint=path)
        net, fresh = make_net(), make_net()
        fit_quickly(net, Noisy(), steps=2, checkpoint=path, resume=False)
        fit_quickly(fresh, Noisy(), steps=2)
        assert same(weights_of(net), weights_of(fresh))
        assert read_checkpoint(path)["settings"]["seed"] == 0

    @pytest.mark.parametrize(
        ("net", "change", "message"),
        [
            (partial(make_net, width=5), {}, r"'0.weight' is of shape \(4, 1, 3, 3\).*\(5, 1, 3"),
            (lambda: make_net()[:3].append(nn.Conv2d(4, 2, 1)), {}, "'3.weight' is absent"),
            (lambda: make_net().append(nn.Identity())[:4], {}, r"'4.weight' is of shape"),
            (make_net, {"seed": 1}, "a run with seed = 0; this one has 1"),
            (make_net, {"batch_size": 2}, "batch_size = 4; this one has 2"),
            (make_net, {"lr": 0.1}, r"lr = 0\.01; this one has 0\.1"),
            (make_net, {"optimizer": torch.optim.SGD}, "optimizer = 'Adam'; this one has 'SGD'"),
            (make_net, {"schedule": poly_lr}, "schedule = None; this one has 'poly_lr'"),
            (make_net, {"data": cells(5, size=32)}, "samples = 4; this one has 5"),
            (make_net, {"steps": 1}, "3 steps behind it already, this run wants 1"),
        ],
    )
    def test_refuses_a_checkpoint_of_another_run(
        self, tmp_path: Path, net, change: dict, message: str
    ) -> None:
        path = tmp_path / "run.ckpt"
        arguments = {"data": cells(4, size=32), "steps": 3, "checkpoint": path}
        fit_quickly(make_net(), **arguments)
        other = net()
        before = weights_of(other)
        with pytest.raises(ValueError, match=message):
            fit_quickly(other, **(arguments | change))
        assert same(before, weights_of(other))

    def test_refuses_a_checkpoint_with_other_settings_of_the_caller(self, tmp_path: Path) -> None:
        run = partial(fit_quickly, data=cells(4, size=32), checkpoint=tmp_path / "run.ckpt")
        run(make_net(), steps=1, settings={"size": 32, "width": None})
        run(make_net(), steps=2, settings={"size": 32, "width": None})
        with pytest.raises(ValueError, match=r"size = 32; this one has 48: .*\(--no-resume\)"):
            run(make_net(), steps=2, settings={"size": 48, "width": None})

    def test_with_a_schedule_the_length_is_part_of_the_run(self, tmp_path: Path) -> None:
        run = partial(fit_quickly, data=cells(4, size=32), schedule=poly_lr)
        run(make_net(), steps=2, checkpoint=tmp_path / "run.ckpt")
        with pytest.raises(ValueError, match="steps = 2; this one has 3"):
            run(make_net(), steps=3, checkpoint=tmp_path / "run.ckpt")

    @pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 half a zip"])
    def test_refuses_other_files(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "run.ckpt"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"run\.ckpt is no checkpoint of course\.training"):
            fit_quickly(make_net(), cells(4, size=32), steps=1, checkpoint=path)

    def test_refuses_to_execute_anything(self, tmp_path: Path) -> None:
        class Trap:
            def __reduce__(self) -> tuple:
                return os.mkdir, (str(tmp_path / "sprung"),)

        path = tmp_path / "run.ckpt"
        torch.save({"format": 1, "model": Trap()}, path)
        with pytest.raises(ValueError, match="is no checkpoint"):
            read_checkpoint(path)
        assert not (tmp_path / "sprung").exists()

    def test_a_kill_while_writing_leaves_the_old_file(self, tmp_path: Path, monkeypatch) -> None:
        path = tmp_path / "run.ckpt"
        write_checkpoint(path, {"step": 1})

        def die_half_way(state: object, file: io.BufferedWriter) -> None:
            file.write(b"half")
            raise KeyboardInterrupt

        monkeypatch.setattr(torch, "save", die_half_way)
        with pytest.raises(KeyboardInterrupt):
            write_checkpoint(path, {"step": 2})
        assert read_checkpoint(path)["step"] == 1


class TestHistory:
    history = History([1, 2, 3], [0.5, 0.25, 0.125], [0.1, 0.2, 0.3], [{"step": 2, "iou": 0.75}])

    def test_csv(self, tmp_path: Path) -> None:
        self.history.save(tmp_path / "run.csv")
        with (tmp_path / "run.csv").open() as file:
            rows = list(csv.reader(file))
        assert rows == [
            ["step", "loss", "seconds", "iou"],
            ["1", "0.5", "0.1", ""],
            ["2", "0.25", "0.2", "0.75"],
            ["3", "0.125", "0.3", ""],
        ]

    def test_json_gives_the_history_back(self, tmp_path: Path) -> None:
        self.history.save(tmp_path / "run.json")
        assert History(**json.loads((tmp_path / "run.json").read_text())) == self.history

    def test_other_names_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=r"\.csv or \.json, got 'run\.txt'"):
            self.history.save(tmp_path / "run.txt")


class TestPolyLr:
    @pytest.mark.parametrize("power", [0.5, 0.9, 2.0])
    def test_equals_torch(self, power: float) -> None:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.25)
        scheduler = torch.optim.lr_scheduler.PolynomialLR(optimizer, total_iters=9, power=power)
        for step in range(10):
            expected = scheduler.get_last_lr()[0]
            assert poly_lr(step, 9, base=0.25, power=power) == pytest.approx(expected, abs=1e-12)
            optimizer.step()
            scheduler.step()

    def test_bad_input(self) -> None:
        with pytest.raises(ValueError, match="got 5 of 4"):
            poly_lr(5, 4)
        with pytest.raises(ValueError, match="got -1 of 4"):
            poly_lr(-1, 4)


class TestProgress:
    def test_a_short_run_in_a_log_says_nothing(self, capsys) -> None:
        fit_quickly(make_net(), cells(4, size=32), steps=2, progress=True)
        assert capsys.readouterr() == ("", "")

    def test_a_long_run_in_a_log_writes_lines_on_stdout(self, capsys, monkeypatch) -> None:
        now = iter(range(0, 1000, 25))
        monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: next(now)))
        with Progress(9) as progress:
            for step in range(1, 10):
                progress.update(step, 1 / step)
        out, err = capsys.readouterr()
        assert out.splitlines()[0] == "3 of 9 steps, loss 0.3333"
        assert 1 < len(out.splitlines()) < 9
        assert err == ""

    def test_a_terminal_gets_a_bar_on_stdout(self, capsys, monkeypatch) -> None:
        class Terminal(io.StringIO):
            def isatty(self) -> bool:
                return True

        terminal = Terminal()
        monkeypatch.setattr(sys, "stdout", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with Progress(4, 1) as progress:
            progress.update(4, 0.25)
        assert "4 of 4 steps, loss 0.2500" in terminal.getvalue()
        assert capsys.readouterr().err == ""

    @pytest.mark.slow
    def test_a_notebook_gets_one_line_and_nothing_on_stderr(self) -> None:
        nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
        cell = nbformat.v4.new_code_cell(
            "import torch\n"
            "from course.data import cells\n"
            "from course.losses import cross_entropy\n"
            "from course.training import fit\n"
            "net = torch.nn.Conv2d(1, 2, 3, padding=1)\n"
            "history = fit(net, cells(4, size=32),\n"
            "              lambda logits, batch: cross_entropy(logits, batch['mask']),\n"
            "              steps=20, precision='bf16-mixed', device='cpu')"
        )
        notebook = nbformat.v4.new_notebook(cells=[cell])
        nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
        outputs = notebook.cells[0].outputs
        assert [output.output_type for output in outputs] == ["display_data"]
        assert outputs[0].data["text/plain"].startswith("20 of 20 steps, loss 0.")


def test_training_loads_neither_fabric_nor_torchvision() -> None:
    code = (
        "import sys, course.training;"
        "print({'lightning_fabric', 'torchvision', 'matplotlib', 'rich'} & set(sys.modules))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"
