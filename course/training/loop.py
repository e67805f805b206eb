"""`fit`: a training loop on Lightning Fabric that fits on one screen.

Fabric moves the model, chooses the arithmetic (`precision`) and joins several devices; the rest is
the loop that every paper's training section describes: take a batch, compute the loss, follow the
gradient. Before each step all generators are seeded from (seed, step), and the schedule is a
function of the step. So a checkpoint needs weights, optimizer and step only, and a run goes on from
it bit for bit on a CPU. (CUDA kernels that add in no fixed order may differ in the last bits.)
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from course.training.batches import Samples, callers_generators, load_batches, seed_generators
from course.training.devices import launch, left_as_found, quiet_fabric
from course.training.history import History
from course.training.job import Job
from course.training.progress import Progress
from course.training.run import Run

if TYPE_CHECKING:
    from lightning_fabric import Fabric

__all__ = ["fit"]

_STEP = 2  # names a stream of random numbers, next to those of `batches`


def fit(
    model: nn.Module,
    data: Samples,
    loss: Callable[[Any, dict[str, Any]], Tensor],
    *,
    steps: int,
    batch_size: int = 8,
    lr: float = 1e-3,
    optimizer: Callable[..., Optimizer] = Adam,
    schedule: Callable[[int, int], float] | None = None,
    seed: int = 0,
    device: str = "auto",
    devices: int = 1,
    precision: str = "32-true",
    channels_last: bool = False,
    workers: int = 0,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    evaluate_every: int | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int = 100,
    resume: bool = True,
    settings: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> History:
    """Train `model` in place for `steps` updates.

    Args:
        model: gets `batch["image"]` (B, C, H, W); its modes and its device are left as found.
        data: a sized data set of dictionaries with an `image`, such as `course.data` makes; they
            are shuffled every epoch and batched with `course.data.collate`.
        loss: `loss(model(batch["image"]), batch)`, a scalar.
        steps: number of updates.
        batch_size: images per update, shared out over the devices.
        lr: learning rate at step 0.
        optimizer: called as `optimizer(parameters, lr=lr)` with the parameters that need gradients;
            `functools.partial(torch.optim.SGD, momentum=0.9)` sets more.
        schedule: `schedule(step, steps)` times `lr` is the learning rate of a step, such as
            `poly_lr`; it scales every parameter group alike.
        seed: >= 0; order of the data, augmentation, dropout. The initial weights are the model's.
        device: "auto", "cpu", "cuda" or "mps".
        devices: how many, on this machine. More than one start processes, so `loss`, `data` and the
            hooks must be importable, and a script needs `if __name__ == "__main__":`; under
            `torchrun --nproc-per-node N` they join the processes that exist.
        precision: Fabric's names: "32-true", "bf16-mixed", "16-mixed", "bf16-true", …
        channels_last: keep images and weights in that memory format; often faster, but a model that
            calls `view` on its activations fails.
        workers: processes that read the data; 0 reads in this one.
        evaluate: called as `evaluate(model)` in evaluation mode without gradients, on the first
            device, after the last step and every `evaluate_every` steps; returns named numbers.
        evaluate_every: steps between evaluations, `None` = only the last.
        checkpoint: file to write every `checkpoint_every` steps and at the end, and to go on from
            if it exists. A finished run comes back at once.
        resume: False starts again and replaces the checkpoint.
        settings: numbers, strings or None by name, of what else decides the result, such as the
            size of the images: a checkpoint that was written under others is refused.
        progress: show a bar in a terminal, a line in a notebook (on stdout, never on stderr).

    Returns:
        The loss of every step, the clock, and what `evaluate` returned.

    Raises:
        TypeError: samples are no dictionaries, or a loss that cannot be sent to other processes.
        ValueError: numbers out of range, a loss that is no scalar with a gradient, or a checkpoint
            of another model or other settings.
        FloatingPointError: the loss becomes infinite or nan; names the step.

    Example:
        >>> from course.data import cells
        >>> from course.losses import cross_entropy
        >>> net = nn.Conv2d(1, 2, 3, padding=1)
        >>> history = fit(net, cells(8, size=32), lambda logits, batch:
        ...               cross_entropy(logits, batch["mask"]), steps=3, progress=False)
        >>> len(history.loss), history.loss[2] < history.loss[0]
        (3, True)
    """
    job = Job(
        model=model,
        data=data,
        loss=loss,
        steps=steps,
        batch_size=batch_size,
        lr=lr,
        optimizer=optimizer,
        schedule=schedule,
        seed=seed,
        precision=precision,
        channels_last=channels_last,
        workers=workers,
        evaluate=evaluate,
        evaluate_every=evaluate_every,
        checkpoint=None if checkpoint is None else Path(checkpoint),
        checkpoint_every=checkpoint_every,
        resume=resume,
        progress=progress,
        further=dict(settings or {}),
    )
    with callers_generators():
        job.check(devices)
        with quiet_fabric(), left_as_found(model):
            return launch(_train, job, device=device, devices=devices)


def _train(job: Job, fabric: "Fabric") -> History:
    """The loop, in every process."""
    model = job.model.train()
    if job.channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = job.optimizer(trained, lr=job.lr)
    rates = [group["lr"] for group in optimizer.param_groups]
    forward, stepper = fabric.setup(model, optimizer)
    run = Run(fabric, job, model, optimizer)
    start = run.restore()

    batches = load_batches(
        job.data,
        steps=range(start, job.steps),
        batch_size=job.batch_size,
        seed=job.seed,
        rank=fabric.global_rank,
        world=fabric.world_size,
        workers=job.workers,
        pin_memory=fabric.device.type == "cuda" and not job.data[0]["image"].is_cuda,
    )
    show = job.progress and fabric.is_global_zero
    with Progress(job.steps, start, show=show) as progress:
        for step, batch in enumerate(batches, start + 1):
            seed_generators(job.seed, _STEP, step, fabric.global_rank)
            if job.schedule is not None:
                for group, rate in zip(optimizer.param_groups, rates):
                    group["lr"] = rate * job.schedule(step - 1, job.steps)
            batch = fabric.to_device(batch)
            image = batch["image"]
            if job.channels_last:
                image = image.contiguous(memory_format=torch.channels_last)
            value = _checked_loss(job.loss(forward(image), batch))
            stepper.zero_grad()
            fabric.backward(value)
            stepper.step()
            if run.after(step, value.detach()):
                progress.update(step, run.history.loss[-1])
    return run.history


def _checked_loss(value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.ndim or not value.requires_grad:
        what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(
            f"expected a loss that is a scalar with a gradient, got {what}: reduce it with "
            ".mean(), and compute it from the model's output without .detach(), .item() or argmax"
        )
    return value
