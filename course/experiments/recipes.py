"""How three papers trained, as a table: what `course reproduce` runs in full size.

`course train` makes small versions learn on a CPU. A recipe takes the published network, optimiser,
batch, crops and schedule, trains from scratch on the data of the paper, and puts the published
figures beside what came out. Reading this table loads no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

__all__ = ["RECIPES", "Recipe", "Stage", "find_recipe"]


@dataclass(frozen=True)
class Stage:
    """A part of the training with settings of its own; `crop` None takes whole images."""

    steps: int
    batch_size: int
    lr: float
    crop: int | None = None


@dataclass(frozen=True)
class Recipe:
    """One system, as its paper trained it.

    `optimizer` names a class of `torch.optim` and `options` its arguments. `decay` is what is left
    of the learning rate at the end of a stage, approached exponentially. `published` holds the
    paper's figures, `remarks` what makes them and ours differ in kind.
    """

    name: str
    system: str
    data: str
    source: str
    stages: tuple[Stage, ...]
    optimizer: str
    options: Mapping[str, Any]
    published: Mapping[str, float]
    remarks: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    decay: float = 1.0
    balanced: bool = False

    def scaled(self, steps: int | None) -> tuple[Stage, ...]:
        """The stages with `steps` updates in all, shared out as published; None keeps them.

        >>> [stage.steps for stage in find_recipe("fc-densenet103-camvid").scaled(1000)]
        [900, 100]
        """
        if steps is None:
            return self.stages
        if steps < len(self.stages):
            raise ValueError(f"expected at least {len(self.stages)} steps, got {steps}")
        total = sum(stage.steps for stage in self.stages)
        counts = [max(1, steps * stage.steps // total) for stage in self.stages]
        counts[0] = steps - sum(counts[1:])
        return tuple(
            Stage(count, stage.batch_size, stage.lr, stage.crop)
            for count, stage in zip(counts, self.stages)
        )


RECIPES = (
    Recipe(
        "segnet-camvid",
        "SegNet",
        "camvid",
        "Badrinarayanan, Kendall, Cipolla 2017, arXiv:1511.00561, sections 3.2, 4.1, table 3",
        stages=(Stage(40_000, 12, 0.1),),
        optimizer="SGD",
        options={"momentum": 0.9, "weight_decay": 5e-4},
        balanced=True,
        published={"pixel accuracy": 0.904, "mean accuracy": 0.712, "mean IoU": 0.601},
        remarks="The paper's figures are from an encoder with ImageNet weights, trained for "
        "140,000 steps on 3,433 images of which most are not public; here it starts from scratch.",
    ),
    Recipe(
        "fc-densenet103-camvid",
        "FCDenseNet103",
        "camvid",
        "Jégou et al. 2017, arXiv:1611.09326, section 4.1, table 3",
        stages=(Stage(90_000, 3, 1e-3, crop=224), Stage(10_000, 3, 1e-4)),
        optimizer="RMSprop",
        options={"alpha": 0.9, "eps": 1e-6, "weight_decay": 1e-4},
        decay=0.995**750,
        published={"pixel accuracy": 0.915, "mean IoU": 0.669},
        remarks="From scratch, as here. The authors stop when validation no longer gains (at most "
        "750 epochs); the number of steps, and of those on whole images, is ours. Their code "
        "evaluates with the statistics of the batch, this one with running averages.",
    ),
    Recipe(
        "unet-isbi2012",
        "UNet",
        "isbi2012",
        "Ronneberger, Fischer, Brox 2015, arXiv:1505.04597, section 3, table 1",
        stages=(Stage(30_000, 1, 1e-3),),
        optimizer="SGD",
        options={"momentum": 0.99},
        arguments={"dropout": 0.5},
        decay=0.01,
        published={"pixel error": 0.0611, "Rand error": 0.0382},
        remarks="The paper trains on all 30 slices and is scored on 30 others whose labels are "
        "secret, seven rotations averaged; here the last fifth of the stack is held out. Learning "
        "rate and its decay, dropout, number of steps and class weights are not in the paper.",
    ),
)


def find_recipe(name: str) -> Recipe:
    """Find a recipe by name; raises ValueError with the names there are.

    >>> find_recipe("unet-isbi")
    Traceback (most recent call last):
    ValueError: no recipe 'unet-isbi'; did you mean unet-isbi2012? `course reproduce` lists all
    """
    by_name = {recipe.name: recipe for recipe in RECIPES}
    if name.lower() in by_name:
        return by_name[name.lower()]
    near = get_close_matches(name.lower(), by_name, 1, 0.4)
    hint = f"did you mean {near[0]}? " if near else ""
    raise ValueError(f"no recipe {name!r}; {hint}`course reproduce` lists all")
