"""One run: a system, a data set and a seed in; a folder with everything that came out.

The folder holds `config.json` (what was asked, and the versions that answered), `run.ckpt` (from
which a killed run goes on, to the same end), `weights.pt`, `history.csv`, `metrics.csv`, and
`curves.png` with its description in `curves.txt`.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from course.experiments.folder import (
    check_folder,
    clear,
    draw,
    fixed,
    is_first_process,
    versions,
    write_config,
    write_metrics,
)
from course.experiments.systems import find_system

__all__ = ["Config", "Result", "check_device", "run"]


@dataclass(frozen=True)
class Config:
    """What defines a run; None lets the system or the data set choose.

    >>> Config("UNet", "cells", steps=5).batch_size
    8
    """

    system: str
    data: str
    steps: int
    seed: int = 0
    batch_size: int = 8
    lr: float | None = None
    width: int | None = None
    size: int = 64
    train: int | None = None
    test: int | None = None
    evaluate_every: int | None = None
    checkpoint_every: int = 50
    device: str = "auto"
    devices: int = 1
    precision: str = "32-true"
    workers: int = 0


@dataclass(frozen=True)
class Result:
    """Where a run lies, and what it reached at its end (told to torchrun's first process only)."""

    folder: Path
    metrics: Mapping[str, float]


def run(
    config: Config,
    folder: str | os.PathLike[str],
    *,
    resume: bool = True,
    announce: Callable[[Mapping[str, Any]], None] = lambda described: None,
) -> Result:
    """Train and measure, or go on with a run that was killed, or report a finished one.

    `announce` gets what `config.json` will hold before training starts. `resume=False` removes what
    another run left in the folder, once names and numbers are known to fit.

    Raises:
        ValueError: a name or number that does not fit, or a folder that holds something else.
        FileNotFoundError: a real data set is not there.
        FloatingPointError: the loss becomes infinite or nan.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tiny = Config("SegNetBasic", "lines", steps=2, width=2, size=32, train=4, test=2)
    ...     result = run(tiny, folder)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['config.json', 'curves.png', 'curves.txt', 'history.csv', 'metrics.csv', 'run.ckpt',
     'weights.pt']
    """
    system = find_system(config.system)
    folder = Path(folder)
    described = _described(config)
    check_folder(folder, described, resume=resume)
    import torch

    from course.experiments.sets import load_set
    from course.experiments.tasks import make_task
    from course.training import fit, poly_lr
    from course.training.job import check_numbers

    check_numbers(
        steps=config.steps,
        batch_size=config.batch_size,
        lr=described["lr"],
        seed=config.seed,
        devices=config.devices,
        workers=config.workers,
        evaluate_every=config.evaluate_every,
        checkpoint_every=config.checkpoint_every,
    )
    check_device(config.device, config.devices, config.precision)
    parts = load_set(
        config.data,
        task=system.task,
        size=config.size,
        train=config.train,
        test=config.test,
        seed=config.seed,
    )
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        net = system.build(len(parts.class_names), parts.channels, config.size, width=config.width)
    described["parameters"] = sum(p.numel() for p in net.parameters())
    if is_first_process():
        announce(described)
        if not resume:
            clear(folder)
        write_config(folder, described)
    task = make_task(system, parts.train, parts.test, parts.class_names)
    model, every = task.wrap(net), config.evaluate_every
    history = fit(
        model,
        parts.train,
        task.loss,
        steps=config.steps,
        batch_size=config.batch_size,
        lr=described["lr"],
        optimizer=partial(torch.optim.AdamW, weight_decay=1e-4),
        schedule=poly_lr,
        seed=config.seed,
        device=config.device,
        devices=config.devices,
        precision=config.precision,
        workers=config.workers,
        evaluate=task.evaluate,
        evaluate_every=every if every is not None else max(1, config.steps // 5),
        checkpoint=folder / "run.ckpt",
        checkpoint_every=config.checkpoint_every,
        resume=resume,
        settings=fixed(described),
    )
    if not is_first_process():
        return Result(folder, {})  # the first one measures and writes
    metrics = {k: v for k, v in history.metrics[-1].items() if k != "step"}
    metrics |= task.finish(model)
    torch.save(net.state_dict(), folder / "weights.pt")
    history.save(folder / "history.csv")
    write_metrics(folder, metrics)
    draw(folder, history, task.main_metric, title=f"{system.name} on {config.data}")
    return Result(folder, metrics)


def _described(config: Config) -> dict[str, Any]:
    system = find_system(config.system)
    values = asdict(config) | {"system": system.name, "paper": system.paper}
    values["lr"] = system.lr if config.lr is None else config.lr
    return values | {"versions": versions()}


def check_device(device: str, devices: int = 1, precision: str = "32-true") -> None:
    """Refuse a device that this machine has not, or an unknown precision.

    Raises:
        ValueError: an unknown name, or fewer devices than asked for.
    """
    import torch
    from lightning_fabric import Fabric

    from course.training.devices import quiet_fabric

    there = {"cpu": devices, "auto": devices, "cuda": torch.cuda.device_count()}
    there["mps"] = int(torch.backends.mps.is_available())
    if device not in there:
        raise ValueError(f"expected the device auto, cpu, cuda or mps, got {device!r}")
    if there[device] < devices:
        raise ValueError(f"expected {devices} {device} devices, this machine has {there[device]}")
    with quiet_fabric():
        Fabric(accelerator=device, devices=1, precision=precision)  # type: ignore[arg-type]
