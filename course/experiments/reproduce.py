"""A recipe, run: the published network and training on the data of the paper.

The folder holds what that of `course.experiments.run` holds, with a checkpoint for every stage.
"""

import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from course import models
from course.experiments.folder import (
    check_folder,
    clear,
    draw,
    fixed,
    versions,
    write_config,
    write_metrics,
)
from course.experiments.recipes import Recipe, find_recipe
from course.experiments.run import Result, check_device
from course.experiments.tasks.papers import Membranes, Streets
from course.training import History, fit
from course.training.job import check_numbers

__all__ = ["reproduce"]

_MEASURED = 5  # times during a stage


def reproduce(
    name: str,
    folder: str | os.PathLike[str],
    *,
    steps: int | None = None,
    width: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: str = "32-true",
    workers: int = 0,
    resume: bool = True,
    announce: Callable[[Mapping[str, Any]], None] = lambda described: None,
) -> Result:
    """Train as a paper did and measure on what it was not trained on.

    Args:
        name: of `course.experiments.recipes.RECIPES`.
        folder: where everything goes; a killed run goes on there.
        steps: updates in all, in place of the published number.
        width: of the network (`growth` of an FC-DenseNet), in place of the published one.
        seed, device, precision, workers, resume: as in `course.training.fit`.
        announce: gets what `config.json` will hold before training starts.

    Raises:
        ValueError: an unknown recipe, a number out of range, or a folder with something else.
        FileNotFoundError: the data set is not in the folder that `COURSE_DATA` names.
        FloatingPointError: the loss becomes infinite or nan.
    """
    recipe, folder = find_recipe(name), Path(folder)
    stages = recipe.scaled(steps)
    described: dict[str, Any] = {
        "recipe": recipe.name,
        "system": recipe.system,
        "source": recipe.source,
    }
    described |= {"steps": sum(stage.steps for stage in stages), "width": width, "seed": seed}
    described |= {"device": device, "precision": precision, "workers": workers}
    described["versions"] = versions()
    check_folder(folder, described, resume=resume)
    for number, stage in enumerate(stages):
        check_numbers(
            steps=stage.steps,
            batch_size=stage.batch_size,
            lr=stage.lr,
            seed=seed + number,
            workers=workers,
        )
    check_device(device, precision=precision)
    membranes = recipe.data == "isbi2012"
    task = Membranes() if membranes else Streets(balanced=recipe.balanced)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = _published(recipe, width)
    described["parameters"] = sum(p.numel() for p in net.parameters())
    announce(described)
    if not resume:
        clear(folder)
    write_config(folder, described)
    history = History()
    for number, stage in enumerate(stages, start=1):
        part = fit(
            net,
            task.training_set(stage),
            task.loss,
            steps=stage.steps,
            batch_size=stage.batch_size,
            lr=stage.lr,
            optimizer=partial(getattr(torch.optim, recipe.optimizer), **recipe.options),
            schedule=partial(_decay, rest=recipe.decay),
            seed=seed + number - 1,
            device=device,
            precision=precision,
            channels_last=True,
            workers=workers,
            evaluate=task.validate,
            evaluate_every=max(1, stage.steps // _MEASURED),
            checkpoint=folder / f"stage{number}.ckpt",
            checkpoint_every=max(1, stage.steps // _MEASURED),
            resume=resume,
            settings=fixed(described),
        )
        history = history.followed_by(part)
    where = "cuda" if device in ("auto", "cuda") and torch.cuda.is_available() else "cpu"
    metrics = task.measure(net.to(where))
    net.cpu()
    torch.save(net.state_dict(), folder / "weights.pt")
    history.save(folder / "history.csv")
    write_metrics(folder, metrics)
    draw(folder, history, task.main_metric, title=f"{recipe.system} on {recipe.data}")
    return Result(folder, metrics)


def _published(recipe: Recipe, width: int | None) -> nn.Module:
    options = dict(recipe.arguments)
    if width is not None:
        options["growth" if recipe.system.startswith("FCDenseNet") else "width"] = width
    return getattr(models, recipe.system)(**options)


def _decay(step: int, steps: int, *, rest: float) -> float:
    """Exponential decay from 1 to `rest` at the end, however long the run."""
    return rest ** (step / steps)
