# %% [markdown]
# # Lab 11 · PSPNet: ask the whole scene before naming a pixel
#
# [[exercises]]
#
# **You will be able to**
# - cut any map into bins, also where the sides do not divide;
# - build a pyramid of averages and hand it to every pixel;
# - train with a second loss that disappears at test time;
# - measure what a network sees, and show that context decides a name.
#
# **Paper.** H. Zhao, J. Shi, X. Qi, X. Wang, J. Jia, *Pyramid Scene Parsing Network*, CVPR 2017,
# [arXiv:1612.01105](https://arxiv.org/abs/1612.01105). Read §3.1 (what fails without context), §3.2
# (the pyramid) and §3.3 (the auxiliary loss); Figure 3 is built here, by you.
#
# **From before.** Receptive fields (Lab 10), cross-entropy with ignored pixels (Lab 7). Run every cell
# from top to bottom. A check cell never stops the notebook: it says what it expected, what came, and
# the usual cause.

# %% tags=["parameters"]
dataset = "scenes"  # made on the spot; "camvid" and "voc2012" are read from COURSE_DATA
device = "cpu"  # "cuda" where there is one
steps = 150  # training steps per run; 5000 and more for the real sets
size = 64  # side of the images in pixels
seeds = [0, 1, 2]
# Tried: camvid, 40 steps, three seeds: mean IoU 0.10 to 0.12 without a pyramid, 0.13 to 0.15 with it.

# %% role="setup"
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course import data, ladder, metrics, plots, training
from course.checks import Exercise, attempt, build, gradients, spy
from course.claims import claim
from course.experiments.sets import load_set
from course.models.layers import conv_bn_relu
from course.models.pspnet import PyramidPooling as LibraryPyramid

# %% [markdown]
# ## The picture of this lab
#
# A boat and a car, seen through fog, are the same blob. What tells them apart is the ground, and the
# ground is far away: water means boat, road means car. Each image on the right is the *twin* of the
# one on its left. Blob, fog and noise are equal; only the ground is exchanged, and with it the name.

# %% role="setup"
drawn, twins = data.scenes(2, seed=3), data.scenes(2, seed=3, swap=True)
plots.show_masks(
    [drawn[0]["image"], twins[0]["image"], drawn[1]["image"], twins[1]["image"]],
    [drawn[0]["mask"], twins[0]["mask"], drawn[1]["mask"], twins[1]["mask"]],
    class_names=drawn.class_names,
    titles=["a scene", "its twin", "a scene", "its twin"],
    title="The same blob twice: the ground behind the fog decides its name",
)

# %% [markdown]
# ## See it move
#
# The lecture's moving picture of this lab: predict, then drag. `uv run course lectures open 11` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("pyramid_pooling")

# %% [markdown]
# ---
# ## 11.1 Bins for any size

# %% [markdown] exercise="11.1" role="idea"
# The pyramid averages a map over 1 × 1, 2 × 2, 3 × 3 and 6 × 6 bins. With 60 rows that is easy; with
# seven rows and three bins it is not. *Adaptive* bins cover everything and differ little in size:
# along an axis of $n$ positions, bin $i$ of $b$ reaches from
#
# $$\text{start}_i = \Big\lfloor \frac{i\,n}{b} \Big\rfloor \quad\text{to}\quad
# \text{end}_i = \Big\lceil \frac{(i+1)\,n}{b} \Big\rceil$$
#
# (without the end). Where $b$ does not divide $n$, neighbours share a row. Cutting with `n // b`
# leaves the last rows out: pixels that nobody asks.
# [Zhao et al. 2017, §3.2; layout of the authors' release]

# %% exercise="11.1" role="look"
overlap = torch.zeros(3, 7)
for k, (first, last) in enumerate([(0, 3), (2, 5), (4, 7)]):
    overlap[k, first:last] = 1
plots.heat(
    overlap,
    title="Seven positions in three bins: neighbours share positions 2 and 4",
    xlabel="position",
    ylabel="bin",
    label="1: covered",
)

# %% [markdown] exercise="11.1" role="contract" title="Start and end of every bin" minutes=10
# - `n`: positions along the axis; `b`: number of bins; both at least 1, of any size: compute in whole
#   numbers.
# - Result: `b` pairs `(start, end)`, half-open, in order. `b` may be larger than `n`.
# - `n` or `b` below 1 raises `ValueError`.

# %% [markdown] exercise="11.1" role="hints"
# 1. Place the bins with real numbers first: bin i covers from i·n/b to (i+1)·n/b.
# 2. The start moves down to a whole position, the end moves up.
# 3. `-(-a // c)` is the quotient rounded up.


# %% exercise="11.1" role="gap"
def adaptive_bins(n: int, b: int) -> list[tuple[int, int]]:
    """Half-open bins of an axis.

    Worked number: adaptive_bins(7, 3) is [(0, 3), (2, 5), (4, 7)].
    """
    ### BEGIN SOLUTION
    if n < 1 or b < 1:
        raise ValueError(f"positions and bins must be at least 1, got {n} and {b}")
    starts = [i * n // b for i in range(b)]
    ends = [-(-(i + 1) * n // b) for i in range(b)]
    return list(zip(starts, ends))
    ### END SOLUTION


# %% exercise="11.1" role="check"
check = Exercise("11.1", points=12)

with check("seven positions in three bins", points=2):
    check.equal(
        adaptive_bins(7, 3),
        [(0, 3), (2, 5), (4, 7)],
        mistakes={
            "7 // 3 = 2 leaves the last position out: round the end up.": [(0, 2), (2, 4), (4, 6)],
            "The last bin takes the rest: bins should differ by one position at most.": [
                (0, 2),
                (2, 4),
                (4, 7),
            ],
            "The starts are rounded up: round them down, so that neighbours share.": [
                (0, 3),
                (3, 5),
                (5, 7),
            ],
            "Start and length came: the second number is the end.": [(0, 3), (2, 3), (4, 3)],
        },
    )
with check("more bins than positions", points=1):
    check.equal(
        adaptive_bins(2, 3),
        [(0, 1), (0, 2), (1, 2)],
        mistakes={
            "No bin may be empty: the end is rounded up.": [(0, 0), (0, 1), (1, 2)],
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("every size to 40, bins 1 to 8", points=5):
    for n in range(1, 41):
        for b in range(1, 9):
            line = torch.arange(float(n))[None, None]
            means = F.adaptive_avg_pool1d(line, b)[0, 0]
            found = adaptive_bins(n, b)
            check.equal(torch.tensor([(s + e - 1) / 2 for s, e in found]), means)
            check.true(all(0 <= s < e <= n for s, e in found), "A bin is empty or leaves the axis.")
with check.hidden("the published map of 60", points=1):
    check.equal(adaptive_bins(60, 6)[4:], [(40, 50), (50, 60)])
with check.hidden("large numbers stay exact", points=1):
    n = 3 * 10**17 + 1
    check.equal(adaptive_bins(n, 3)[1], (10**17, 2 * 10**17 + 1))
with check.hidden("nothing to cut, or no bins", points=2):
    for n, b in ((0, 2), (3, 0), (-1, 1)):
        check.raises(ValueError, adaptive_bins, n, b)
### END HIDDEN TESTS
check.score()


# %% exercise="11.1" role="picture"
def covered(bins) -> list[int]:
    """How many bins cover each of 23 positions."""
    return [sum(s <= p < e for s, e in bins) for p in range(23)]


plots.compare_values(
    yours=lambda: covered(adaptive_bins(23, 6)),
    expected=covered([(i * 23 // 6, -(-(i + 1) * 23 // 6)) for i in range(6)]),
    title="23 positions in six bins: how many bins cover each position",
    xlabel="position",
    ylabel="bins",
)

# %% [markdown] exercise="11.1" role="see"
# Every position is covered once or twice, never not at all. The five positions that count twice are
# the borders at which 23/6 is not whole.

# %% [markdown] exercise="11.1" role="think"
# **Think.** PSPNet's inputs have 8k + 1 pixels (473), so that the map has 60 positions. Why is that
# kind to the pyramid?
#
# ### BEGIN SOLUTION
# 60 is divisible by 1, 2, 3 and 6: no bins overlap, every position counts once in every level, and
# all bins of a level average equally many positions.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 11.2 The pyramid

# %% [markdown] exercise="11.2" role="idea"
# Every bin is averaged, per map and image. A 1 × 1 convolution compresses each level to a share of the
# maps, so that all levels together weigh as much as the features, which they join enlarged:
#
# $$\text{out} = \big[\, x,\; \text{up}(f_1(\text{pool}_1 x)),\; \text{up}(f_2(\text{pool}_2 x)),\;
# \text{up}(f_3(\text{pool}_3 x)),\; \text{up}(f_6(\text{pool}_6 x)) \,\big] .$$
#
# The level with one bin gives every pixel the same numbers: a summary of the whole scene. The other
# levels say roughly where in the image things are. [Zhao et al. 2017, §3.2 and Figure 3c]

# %% exercise="11.2" role="look"
plots.show_images(
    [drawn[0]["image"], *(F.adaptive_avg_pool2d(drawn[0]["image"], b) for b in (1, 2, 3, 6))],
    titles=["the scene", "1 × 1", "2 × 2", "3 × 3", "6 × 6"],
    title="What each level of the pyramid keeps of a scene",
    columns=5,
)

# %% [markdown] exercise="11.2" role="contract" title="Average the bins, spread them out" minutes=25
# - `bin_averages(x, b)`: `(B, C, H, W)` → `(B, C, b, b)`, by your `adaptive_bins` along both axes.
# - `PyramidPooling.forward(x)`: `(B, C, H, W)` → `(B, 2C, H, W)`: `x` first, then the levels in the
#   order of `bins`; enlarge bilinearly with `align_corners=True`.
# - Not allowed here: `F.adaptive_avg_pool2d`, `nn.AdaptiveAvgPool2d`, `course.models.pspnet`.

# %% [markdown] exercise="11.2" role="hints"
# 1. Two loops over bins: rows outside, columns inside; each bin is a `mean` over two axes.
# 2. In `forward`: for each level average, convolve, enlarge; concatenate at the end.
# 3. `rows = adaptive_bins(x.shape[-2], b)` and `columns = adaptive_bins(x.shape[-1], b)`


# %% exercise="11.2" role="gap"
def bin_averages(x: Tensor, b: int) -> Tensor:
    """Averages (B, C, b, b) of a map (B, C, H, W) over b × b adaptive bins.

    Worked number: the rows 0 1 2 and 3 4 5 have the one average 2.5 for b=1.
    """
    ### BEGIN SOLUTION
    rows, columns = adaptive_bins(x.shape[-2], b), adaptive_bins(x.shape[-1], b)
    means = [[x[..., r:s, c:d].mean((-2, -1)) for c, d in columns] for r, s in rows]
    return torch.stack([torch.stack(row, -1) for row in means], -2)
    ### END SOLUTION


class PyramidPooling(nn.Module):
    """Features and the averages of a pyramid of bins: (B, C, H, W) to (B, 2C, H, W)."""

    def __init__(self, channels: int, bins: tuple[int, ...] = (1, 2, 3, 6)) -> None:
        super().__init__()
        self.bins = bins
        maps = channels // len(bins)
        self.levels = nn.ModuleList(conv_bn_relu(channels, maps, 1) for _ in bins)

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        stack = [x]
        for b, level in zip(self.bins, self.levels):
            pooled = level(bin_averages(x, b))
            up = F.interpolate(pooled, size=x.shape[-2:], mode="bilinear", align_corners=True)
            stack.append(up)
        return torch.cat(stack, dim=1)
        ### END SOLUTION


# %% exercise="11.2" role="check"
check = Exercise(
    "11.2",
    points=20,
    forbid=[
        "torch.nn.functional.adaptive_avg_pool2d",
        "torch.nn.AdaptiveAvgPool2d",
        "course.models.pspnet",
    ],
)


def reference_pyramid(seed, bins=(1, 2)):
    """The library's module for four maps, with weights of a seed, in evaluation."""
    net = LibraryPyramid(4, bins).eval()
    generator = torch.Generator().manual_seed(seed)
    net.load_state_dict(
        {
            k: torch.rand(v.shape, generator=generator) if v.is_floating_point() else v
            for k, v in net.state_dict().items()
        }
    )
    return net


def spread(net, x, pool=F.adaptive_avg_pool2d, keep=True, **how):
    """The pyramid with one thing done differently."""
    levels = [
        F.interpolate(level(pool(x, b)), size=x.shape[-2:], **how)
        for b, level in zip(net.bins, net.levels)
    ]
    return torch.cat([x, *levels] if keep else levels, 1)


with check("averages of 3 × 5 in two by two bins", points=2):
    x = torch.arange(15.0).reshape(1, 1, 3, 5) ** 2
    check.equal(
        bin_averages(x, 2),
        F.adaptive_avg_pool2d(x, 2),
        mistakes={
            "These are the largest values of the bins: average.": F.adaptive_max_pool2d(x, 2),
            "Rows and columns of the bins are exchanged.": F.adaptive_avg_pool2d(x, 2).mT,
            "The bins cut rows or columns off: use your adaptive_bins on both axes.": F.avg_pool2d(
                x, (1, 2)
            )[:, :, :2, :2],
            "The columns have bins of their own: there are five, not three.": (
                F.adaptive_avg_pool2d(x[..., :3], 2)
            ),
            "The bins are summed: divide by their size.": 6 * F.adaptive_avg_pool2d(x, 2),
        },
    )
with check("features and levels in their order, 5 × 7", points=3):
    net = reference_pyramid(0)
    x = torch.rand(1, 4, 5, 7, generator=torch.Generator().manual_seed(1))
    mine = build(PyramidPooling, 4, (1, 2))
    mine.load(net.state_dict())
    mine.train(False)
    bilinear = {"mode": "bilinear"}
    with torch.no_grad():
        check.equal(
            mine(x),
            net(x),
            mistakes={
                "The features themselves are missing: they come first.": spread(
                    net, x, keep=False, **bilinear, align_corners=True
                ),
                "Average the bins: yours takes their maximum.": spread(
                    net, x, F.adaptive_max_pool2d, **bilinear, align_corners=True
                ),
                "Enlarge with align_corners=True, as the released code does.": spread(
                    net, x, **bilinear, align_corners=False
                ),
                "Enlarge bilinearly: yours shows the bins as steps.": spread(
                    net, x, mode="nearest"
                ),
                "The features come first, then the levels.": torch.cat(
                    [net(x)[:, 4:], net(x)[:, :4]], 1
                ),
            },
        )
### BEGIN HIDDEN TESTS
with check.hidden("averages on other sizes, batches, bins", points=5):
    for b, h, w in ((1, 4, 9), (3, 7, 5), (6, 13, 8), (6, 4, 5), (2, 1, 3)):
        x = torch.randn(2, 3, h, w)
        check.equal(bin_averages(x, b), F.adaptive_avg_pool2d(x, b))
with check.hidden("the whole module, four levels", points=5):
    for seed, h, w, batch in ((1, 9, 6, 2), (2, 6, 12, 1), (3, 2, 3, 2)):
        net = reference_pyramid(seed, (1, 2, 3, 6))
        mine = build(PyramidPooling, 4, (1, 2, 3, 6))
        mine.load(net.state_dict())
        mine.train(False)
        x = torch.rand(batch, 4, h, w)
        with torch.no_grad():
            check.equal(mine(x), net(x))
with check.hidden("the published module has 4,198,400 parameters", points=1):
    mine = build(PyramidPooling, 2048)
    mine.train(False)
    check.equal(list(mine(torch.rand(1, 2048, 2, 3)).shape), [1, 4096, 2, 3])
    check.equal(mine.parameter_count(), 4_198_400)
with check.hidden("every pixel of a bin gets an equal share of the gradient", points=2):
    x = torch.rand(1, 2, 4, 6)
    check.equal(gradients(bin_averages, x, 1)[0], torch.full((1, 2, 4, 6), 1 / 24))
    check.unchanged(bin_averages, x, 2)
with check.hidden("gradients reach every level", points=2):
    mine = build(PyramidPooling, 4, (1, 2, 3, 6))
    mine.load(reference_pyramid(4, (1, 2, 3, 6)).state_dict())
    mine.train(False)
    found = mine.gradients(torch.rand(2, 4, 8, 7))
    for i in range(4):
        check.true(bool((found[f"levels.{i}.0.weight"] != 0).any()), f"Level {i} gets no gradient.")
### END HIDDEN TESTS
check.score()

# %% exercise="11.2" role="picture"
plots.compare(
    yours=lambda: bin_averages(drawn[0]["image"][None], 6)[0],
    expected=F.adaptive_avg_pool2d(drawn[0]["image"], 6),
    title="A scene in 6 × 6 averages",
)

# %% [markdown] exercise="11.2" role="see"
# Six by six tiles: the blob is gone, the colour of the ground at the rim is still there. The
# difference is below 0.0001.

# %% [markdown] exercise="11.2" role="think"
# **Think.** In training mode the level with one bin fails for a batch of one image. Why?
#
# ### BEGIN SOLUTION
# Its batch norm then sees a single value per map (one image, one position): mean equal to the value,
# variance zero, nothing to learn from. PyTorch refuses. The paper synchronises the statistics over
# 16 images.
# ### END SOLUTION

# %% [markdown]
# ### The other pyramid
#
# ASPP, *atrous spatial pyramid pooling* (DeepLab v2 and v3), runs parallel 3 × 3 convolutions of
# several rates (6, 12, 18 in v3, beside a 1 × 1) over the same map and concatenates them (v2 adds
# their scores). A rate reaches only as far as its taps; v3 therefore adds the average of the whole
# image. [Chen et al. 2017, §3.3]

# %% [markdown]
# ---
# ## 11.3 Two losses while training, one network at test time

# %% [markdown] exercise="11.3" role="idea"
# A ResNet of a hundred layers learns slowly from a loss at its far end. PSPNet puts a second, small
# classifier behind the third stage. Its loss pulls the early layers along and counts less:
#
# $$L = \text{CE}(\text{main}, y) + 0.4\,\text{CE}(\text{auxiliary}, y) .$$
#
# After training the second classifier is thrown away: it must not enter the prediction or the score.
# The learning rate falls with the "poly" rule, $\eta_t = \eta_0\,(1 - t/T)^{0.9}$: almost a straight
# line to zero. [Zhao et al. 2017, §3.3 and §5.1]

# %% exercise="11.3" role="look"
plots.curves(
    {
        "poly, power 0.9": [training.poly_lr(t, 100, base=0.01) for t in range(101)],
        "straight line": [0.01 * (1 - t / 100) for t in range(101)],
        "divided by ten twice": [0.01 * 0.1 ** (t // 34) for t in range(101)],
    },
    title="Three ways to let the learning rate fall",
    xlabel="percent of the run",
    ylabel="learning rate",
)

# %% [markdown] exercise="11.3" role="contract" title="Auxiliary loss and poly" minutes=15
# - `training_loss(main, auxiliary, labels, weight=0.4)`: logits `(B, K, H, W)`, labels `(B, H, W)` with
#   255 = ignore; `auxiliary` is `None` at test time. Means over labelled pixels only.
# - `poly(step, total, base, power=0.9)`: learning rate of the next step, `0 <= step <= total` and
#   `total >= 1`; anything else raises `ValueError`.
# - `course.losses`, `course.models` and `course.training` are not allowed here.

# %% [markdown] exercise="11.3" role="hints"
# 1. `F.cross_entropy` knows ignored labels.
# 2. At test time there is nothing to add.
# 3. `loss = F.cross_entropy(main, labels, ignore_index=255)`


# %% exercise="11.3" role="gap"
def training_loss(
    main: Tensor, auxiliary: Tensor | None, labels: Tensor, weight: float = 0.4
) -> Tensor:
    """Cross-entropy of the main logits plus `weight` times that of the auxiliary ones.

    Worked number: for two classes and zero logits everywhere it is 1.4 ln 2 = 0.9704.
    """
    ### BEGIN SOLUTION
    loss = F.cross_entropy(main, labels, ignore_index=255)
    if auxiliary is not None:
        loss = loss + weight * F.cross_entropy(auxiliary, labels, ignore_index=255)
    return loss
    ### END SOLUTION


def poly(step: int, total: int, base: float, power: float = 0.9) -> float:
    """Learning rate of the next step. Worked number: poly(0, 10, 0.01) is 0.01."""
    ### BEGIN SOLUTION
    if not 0 <= step <= total or total < 1:
        raise ValueError(f"step {step} is not within 0 … {total}")
    return base * (1 - step / total) ** power
    ### END SOLUTION


# %% exercise="11.3" role="check"
check = Exercise("11.3", points=16, forbid=["course.losses", "course.models", "course.training"])

torch.manual_seed(5)
main, auxiliary = torch.randn(1, 3, 2, 4), torch.randn(1, 3, 2, 4)
labels = torch.tensor([[[0, 1, 2, 255], [1, 1, 255, 0]]])
ce_main = F.cross_entropy(main, labels, ignore_index=255)
ce_auxiliary = F.cross_entropy(auxiliary, labels, ignore_index=255)
with check("two losses, two pixels ignored", points=2):
    check.equal(
        training_loss(main, auxiliary, labels),
        ce_main + 0.4 * ce_auxiliary,
        mistakes={
            "Both losses count fully: the auxiliary one counts 0.4.": ce_main + ce_auxiliary,
            "The weight shares the two losses out; the main loss counts fully.": (
                0.6 * ce_main + 0.4 * ce_auxiliary
            ),
            "The weight is on the main loss.": 0.4 * ce_main + ce_auxiliary,
            "The auxiliary loss is missing.": ce_main,
            "The mean divides by all pixels; the ignored ones are not labelled.": (
                (ce_main + 0.4 * ce_auxiliary) * 6 / 8
            ),
            "The logits are mixed before the loss: add the losses.": F.cross_entropy(
                main + 0.4 * auxiliary, labels, ignore_index=255
            ),
        },
    )
with check("at test time the auxiliary head is gone", points=1):
    check.equal(
        training_loss(main, None, labels),
        ce_main,
        mistakes={"Without auxiliary logits the main loss still counts fully.": 0.6 * ce_main},
    )
with check("poly: half way and at the end", points=1):
    check.equal(
        [poly(50, 100, 0.01), poly(100, 100, 0.01)],
        [0.01 * 0.5**0.9, 0.0],
        mistakes={
            "That is a straight line: the power is missing.": [0.005, 0.0],
            "That rises: 1 - step / total is what is left.": [0.01 * 0.5**0.9, 0.01],
            "Multiply by 0.9 is another rule: the power is an exponent.": [0.0045, 0.0],
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("other weights, batches, classes", points=3):
    for weight, k in ((0.0, 2), (1.0, 5), (0.25, 3)):
        main, auxiliary = torch.randn(2, k, 5, 3), torch.randn(2, k, 5, 3)
        labels = torch.randint(0, k, (2, 5, 3))
        labels[0, 0] = 255
        want = F.cross_entropy(main, labels, ignore_index=255)
        want = want + weight * F.cross_entropy(auxiliary, labels, ignore_index=255)
        check.equal(training_loss(main, auxiliary, labels, weight), want)
with check.hidden("the gradient of the auxiliary part is 0.4 of its own", points=3):
    found = gradients(training_loss, main, auxiliary, labels, wrt=(0, 1))
    ones = [m.clone().requires_grad_() for m in (main, auxiliary)]
    own = [torch.autograd.grad(F.cross_entropy(m, labels, ignore_index=255), m)[0] for m in ones]
    check.equal(found[0], own[0], tolerance=1e-6)
    check.equal(found[1], 0.4 * own[1], tolerance=1e-6)
with check.hidden("poly over a whole run", points=3):
    for power in (0.5, 0.9, 1.0, 2.0):
        want = [0.02 * (1 - t / 7) ** power for t in range(8)]
        check.equal([poly(t, 7, 0.02, power) for t in range(8)], want)
with check.hidden("steps outside the run are refused", points=2):
    for step, total in ((-1, 5), (6, 5), (0, 0)):
        check.raises(ValueError, poly, step, total, 0.1)
with check.hidden("nothing is modified", points=1):
    check.unchanged(training_loss, main, auxiliary, labels)
### END HIDDEN TESTS
check.score()

# %% exercise="11.3" role="picture"
plots.compare_values(
    yours=lambda: [poly(t, 60, 0.01) for t in range(61)],
    expected=[0.01 * (1 - t / 60) ** 0.9 for t in range(61)],
    title="The learning rate over a run of 60 steps",
    xlabel="step",
    ylabel="learning rate",
)

# %% [markdown] exercise="11.3" role="see"
# From 0.01 almost straight down; half way it stands at 0.0054, a little above the straight line, and
# ends at exactly 0.

# %% [markdown] exercise="11.3" role="think" points=10
# **Think (10 points).** A friend reports a better validation loss since he removed the auxiliary head
# at test time "by accident". His labels, images and weights are unchanged. Is his network better? How
# should the two numbers be compared? Two to four sentences.
#
# ### BEGIN SOLUTION
# No: the prediction is the same. The loss with the head adds 0.4 times a positive number, so the sum
# without it is smaller for the same network. Compare the main loss with the main loss, or better the
# mean IoU, which no auxiliary head enters. Full marks: same network and prediction, the extra
# positive term, and a fair comparison.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 11.4 The same blob on another ground

# %% [markdown] exercise="11.4" role="idea"
# How much of a prediction is context? Take an image and its twin: inside a box they are equal, far
# outside they are not. A network that looks only near by must give the same labels inside the box. If
# labels change there, something outside was seen:
#
# $$\text{context} = \frac{\#\{p \in \text{box}: \hat y_A(p) \ne \hat y_B(p)\}}{\#\,\text{box}} .$$
#
# No label of a person is needed for this probe, so it can be asked of any network and any picture
# into which something was pasted. The paper's §3.1 shows the failure that it measures: a boat
# called a car. [Zhao et al. 2017, §3.1 and Figure 2]

# %% exercise="11.4" role="look"
blob = drawn.masks[0] > 0
rows, columns = blob.nonzero().T
corner = [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]
shifted = [corner[0] + 64, corner[1], corner[2] + 64, corner[3]]
plots.show_boxes(
    torch.cat([drawn[0]["image"], twins[0]["image"]], -1),
    [corner, shifted],
    title="A and B side by side: equal inside the box, another ground outside",
)

# %% [markdown] exercise="11.4" role="contract" title="Probe for context" minutes=15
# - `net`: maps `(B, C, H, W)` to logits `(B, K, H, W)`; call it **once**, with both images in one batch.
# - `a`, `b`: images `(C, H, W)`; `box`: `(x0, y0, x1, y1)`, half-open, whole numbers.
# - Result: share of the pixels in the box whose *label* differs, a `float`.
# - Images that differ inside the box, or an empty box, raise `ValueError`.

# %% [markdown] exercise="11.4" role="hints"
# 1. Stack the images, call, take the label of every pixel, cut the box out.
# 2. Rows are y: the box is `[..., y0:y1, x0:x1]`.
# 3. `labels = net(torch.stack([a, b])).argmax(1)`


# %% exercise="11.4" role="gap"
def context_probe(
    net: Callable[[Tensor], Tensor], a: Tensor, b: Tensor, box: tuple[int, int, int, int]
) -> float:
    """Share of the pixels in a box whose label depends on what lies outside.

    Worked number: a net that labels every pixel by the mean of the whole image can give 1.0.
    """
    ### BEGIN SOLUTION
    x0, y0, x1, y1 = box
    inside = [image[..., y0:y1, x0:x1] for image in (a, b)]
    if not inside[0].numel() or not torch.equal(*inside):
        raise ValueError(f"the images must agree in the box {box}, and it must hold a pixel")
    labels = net(torch.stack([a, b])).argmax(1)[:, y0:y1, x0:x1]
    return float((labels[0] != labels[1]).float().mean())
    ### END SOLUTION


# %% exercise="11.4" role="check"
check = Exercise("11.4", points=18)


def by_scene(x):
    """Labels a pixel by its own value and by the mean of the whole image."""
    brighter = (x > x.mean((1, 2, 3), keepdim=True)).float()
    return torch.cat([1 - brighter, brighter], 1)


def near_by(x):
    """Looks at the pixel only."""
    return torch.cat([1 - x, x], 1)


a = torch.full((1, 4, 6), 0.9)
a[0, 1:3, 2:5] = torch.tensor([[0.5, 0.2, 0.2], [0.1, 0.6, 0.1]])
b = a.clone()
b[:, 0], b[:, 3] = 0.0, 0.0
with check("two of six pixels change their label", points=2):
    check.equal(
        context_probe(spy(by_scene), a, b, (2, 1, 5, 3)),
        2 / 6,
        mistakes={
            "The whole image is counted: look inside the box only.": 14 / 24,
            "That is a number of pixels: divide by the pixels of the box.": 2.0,
            "That share is of the whole image: divide by the pixels of the box.": 2 / 24,
            "Rows are y: the box is [..., y0:y1, x0:x1].": 0.5,
        },
    )
with check("a net that looks only near by sees no context", points=1):
    check.equal(context_probe(spy(near_by), a, b, (2, 1, 5, 3)), 0.0)
with check(
    "one call with both images",
    points=1,
    hint="Stack the two images into one batch of shape (2, 1, 4, 6) and call once.",
):
    net = spy(by_scene)
    context_probe(net, a, b, (2, 1, 5, 3))
    check.equal(list(net.shapes), [(2, 1, 4, 6)])
### BEGIN HIDDEN TESTS
with check.hidden("labels, not logits; three classes and three channels", points=4):

    def net(x):
        return F.conv2d(x, kernel) + x.mean((1, 2, 3))[:, None, None, None] * torch.tensor(
            [[[[3.0]], [[-2.0]], [[0.0]]]]
        )

    for seed in (5, 6, 19):  # some labels change in the box, and another share of all
        torch.manual_seed(seed)
        kernel = torch.randn(3, 3, 1, 1)
        a, b = torch.rand(3, 8, 5), torch.rand(3, 8, 5) + 3
        b[:, 2:7, 1:3] = a[:, 2:7, 1:3]
        labels = net(torch.stack([a, b])).argmax(1)[:, 2:7, 1:3]
        want = float((labels[0] != labels[1]).float().mean())
        check.equal(context_probe(spy(net), a, b, (1, 2, 3, 7)), want)
with check.hidden("images that differ inside the box are refused", points=3):
    a = torch.rand(1, 5, 5)
    for shift in (1.0, -1e-3):
        b = a.clone()
        b[0, 2, 3] += shift
        check.raises(ValueError, context_probe, spy(near_by), a, b, (1, 1, 4, 4))
with check.hidden("an empty box is refused", points=2):
    check.raises(ValueError, context_probe, spy(near_by), a, a, (2, 2, 2, 4))
with check.hidden("the border of the box counts", points=2):
    a = torch.full((1, 5, 6), 0.5)
    b = a.clone()
    b[:, 0], b[:, :, 0] = 5.0, 5.0

    def bright_scene(x):
        return torch.cat([x.mean((1, 2, 3), keepdim=True).expand_as(x), torch.ones_like(x)], 1)

    check.equal(context_probe(spy(near_by), a, b, (1, 1, 6, 5)), 0.0)
    check.equal(context_probe(spy(bright_scene), a, b, (1, 1, 6, 5)), 1.0)
with check.hidden("a plain float, and nothing is modified", points=3):
    a = torch.rand(1, 4, 4)
    check.equal(context_probe(spy(near_by), a, a, (0, 0, 4, 4)), 0.0)
    check.unchanged(context_probe, spy(near_by), a, a, (0, 0, 4, 4))
### END HIDDEN TESTS
check.score()


# %% exercise="11.4" role="picture"
def untrained(channels: int) -> nn.Module:
    """Two convolutions, with or without a summary of the scene added to them."""
    torch.manual_seed(channels)
    return nn.Conv2d(3, channels, 3, padding=1)


layer = untrained(3)


def with_summary(x: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(x) + 40 * x.mean((2, 3))[:, :, None, None]


def without(x: Tensor) -> Tensor:
    with torch.no_grad():
        return layer(x)


plots.compare_values(
    yours=lambda: [
        context_probe(net, drawn[0]["image"], twins[0]["image"], tuple(corner))
        for net in (without, with_summary)
    ],
    expected=[
        float((logits[0] != logits[1]).float().mean())
        for logits in (
            net(torch.stack([drawn[0]["image"], twins[0]["image"]])).argmax(1)[
                :, corner[1] : corner[3], corner[0] : corner[2]
            ]
            for net in (without, with_summary)
        )
    ],
    title="Context of two untrained nets: one that looks near by (0), one with a summary (1)",
    xlabel="net",
    ylabel="share of pixels",
)

# %% [markdown] exercise="11.4" role="see"
# The first net gives the same labels on both grounds: 0. The second changes all of them, since the
# mean colour of the scene enters every pixel: 1. Neither was trained, so seeing context is one thing,
# using it rightly another.

# %% [markdown] exercise="11.4" role="think" points=10
# **Think (10 points).** A trained PSPNet has context 0.9 on such pairs and names 99 % of the blobs
# right. On photographs it calls a boat on a trailer, on a road, a car. Is that a failure of the
# method, of the training data, or neither? What would you measure next? Three to five sentences.
#
# ### BEGIN SOLUTION
# In the training scenes the ground decides the name without exception, so the network learns that
# rule; it does what the data asked for. A boat on a trailer breaks the rule, and only its shape could
# correct it. The probe says how strongly context decides, not whether that is right: measure the
# accuracy on pairs in which context misleads, beside the one on pairs in which it helps. Full marks:
# the rule comes from the data, context can mislead, and a measurement that separates the two.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 11.5 How much of the image does a pixel use?

# %% [markdown] exercise="11.5" role="idea"
# The theoretical receptive field says what a pixel *could* see. What it does use shows in the gradient
# of its logits with respect to the image: large where a change would matter. Sort the pixels by the
# size of that gradient and take the fewest that hold 95 % of the sum:
#
# $$\text{share} = \frac1{HW}\,\min\Big\{ |S| : \sum_{p \in S} g(p) \ge 0.95 \sum_p g(p) \Big\},
# \qquad g(p) = \sum_c |\partial \ell / \partial x_c(p)| .$$
#
# A small share means a network that looks at a spot, however wide its receptive field is on paper.
# [Zhao et al. 2017, §3.1; Luo et al. 2016, §2]

# %% exercise="11.5" role="look"
y, x = torch.meshgrid(torch.arange(41.0) - 20, torch.arange(41.0) - 20, indexing="ij")
plots.heat(
    torch.exp(-(x**2 + y**2) / 50),
    title="A typical gradient: large at the centre, almost nothing at the rim",
    label="gradient",
)

# %% [markdown] exercise="11.5" role="contract" title="Share of the image in use" minutes=15
# - `gradient`: `(C, H, W)`, of either sign; `mass`: between 0 and 1.
# - Result: `float`, the share of the pixels; the channels of a pixel are added as absolute values
#   first. A gradient of zeros gives 0.0.
# - `mass` outside 0 … 1 raises `ValueError`.

# %% [markdown] exercise="11.5" role="hints"
# 1. One number per pixel first: which reduction keeps opposite signs from cancelling?
# 2. Sort from large to small and add up; count how many are needed.
# 3. `sums = gradient.abs().sum(0).flatten().sort(descending=True).values.cumsum(0)`


# %% exercise="11.5" role="gap"
def field_share(gradient: Tensor, mass: float = 0.95) -> float:
    """Smallest share of the pixels (H, W) that holds `mass` of the gradient (C, H, W).

    Worked number: for the pixels 6, 3, 1, 0 and mass 0.85 it is 0.5.
    """
    ### BEGIN SOLUTION
    if not 0 <= mass <= 1:
        raise ValueError(f"mass must lie between 0 and 1, got {mass}")
    size = gradient.double().abs().sum(0).flatten().sort(descending=True).values
    if not size.sum():
        return 0.0
    needed = (size.cumsum(0) < mass * size.sum() * (1 - 1e-12)).sum() + 1
    return float(needed) / size.numel()
    ### END SOLUTION


# %% exercise="11.5" role="check"
check = Exercise("11.5", points=14)

with check("one, six, three, nothing", points=2):
    check.equal(
        field_share(torch.tensor([[[1.0, 6.0], [-3.0, 0.0]]]), 0.85),
        0.5,
        mistakes={
            "Too few: do opposite signs cancel, or does the sum stop before the mass?": 0.25,
            "The pixels are not sorted: begin with the largest.": 0.75,
            "Sorted the wrong way: begin with the largest.": 1.0,
            "That is a number of pixels: divide by all of them.": 2.0,
            "That share is of the values that are not zero.": 2 / 3,
        },
    )
with check("channels of a pixel belong together", points=2):
    two = torch.tensor([[[4.0, 0.0, 0.0, 0.0]], [[-2.0, 1.0, 1.0, 0.0]]])
    check.equal(
        field_share(two, 0.7),
        0.25,
        mistakes={
            "Take absolute values of every channel first, then add them per pixel.": 0.5,
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("against a count, other masses", points=4):
    for seed, mass in ((0, 0.5), (1, 0.95), (2, 0.1), (3, 1.0)):
        g = torch.randn(3, 7, 5, generator=torch.Generator().manual_seed(seed)).double()
        sizes = sorted(g.abs().sum(0).flatten().tolist(), reverse=True)
        total, reached, needed = sum(sizes), 0.0, 0
        while reached < mass * total * (1 - 1e-12):
            reached, needed = reached + sizes[needed], needed + 1
        check.equal(field_share(g, mass), needed / 35)
with check.hidden("flat and single gradients", points=3):
    check.equal(field_share(torch.ones(1, 4, 5), 0.95), 0.95)
    point = torch.zeros(2, 6, 4)
    point[1, 3, 2] = -2.0
    check.equal(field_share(point, 0.95), 1 / 24)
with check.hidden("no gradient at all", points=1):
    check.equal(field_share(torch.zeros(1, 3, 3)), 0.0)
with check.hidden("a mass that is none is refused; nothing is modified", points=2):
    for mass in (-0.1, 1.5):
        check.raises(ValueError, field_share, torch.ones(1, 2, 2), mass)
    check.unchanged(field_share, torch.randn(2, 3, 4))
### END HIDDEN TESTS
check.score()

# %% exercise="11.5" role="picture"
plots.compare_values(
    yours=lambda: [field_share(torch.exp(-(x**2 + y**2) / (2 * s * s))[None]) for s in range(1, 9)],
    expected=[
        float(np.searchsorted(np.cumsum(g) / g.sum(), 0.95) + 1) / g.size
        for g in (
            np.sort(torch.exp(-(x**2 + y**2) / (2 * s * s)).double().numpy().ravel())[::-1]
            for s in range(1, 9)
        )
    ],
    title="Share that a Gaussian gradient of width 1 to 8 pixels uses of 41 × 41",
    xlabel="width in pixels, less one",
    ylabel="share of the pixels",
)

# %% [markdown] exercise="11.5" role="see"
# The share grows with the square of the width: 0.01 at one pixel, 0.64 at eight, where the
# picture begins to cut the bell off.

# %% [markdown] exercise="11.5" role="think"
# **Think.** A network contains a global average. What is its theoretical receptive field, and why can
# its share still be small?
#
# ### BEGIN SOLUTION
# The whole image. But the average divides by the number of pixels, so each far pixel carries only a
# tiny part of the gradient; if the direct path is strong, most of the sum lies near the centre.
# ### END SOLUTION

# %% [markdown]
# ---
# ## The experiment: with and without the scene
#
# Three small networks with the same convolutions, which see 12 pixels far: without a pyramid, with the
# single bin, and with bins 1, 2, 3 and 6, made by **your** `PyramidPooling`. Fog hides 14 pixels around
# each blob, so the first network cannot know the name. Learning rates follow **your** `poly`.

# %% role="setup"
if dataset == "scenes":
    train, test = data.scenes(200, size, seed=0), data.scenes(50, size, seed=1)
    twin, names, channels = data.scenes(50, size, seed=1, swap=True), train.class_names, 3
else:
    parts = load_set(dataset, task="segmentation", size=size)
    train, test, twin = parts.train, parts.test, None
    names, channels = parts.class_names, parts.channels


class SceneNet(nn.Module):
    """Three convolutions to 1/4 of the image, a pyramid or none, and a pointwise classifier."""

    def __init__(self, bins: tuple[int, ...]) -> None:
        super().__init__()
        self.features = nn.Sequential(
            conv_bn_relu(channels, 16, 3, stride=2),
            conv_bn_relu(16, 32, 3, stride=2),
            conv_bn_relu(32, 32, 3),
        )
        self.pyramid = PyramidPooling(32, bins) if bins else nn.Identity()
        self.head = nn.Sequential(
            conv_bn_relu(64 if bins else 32, 32, 1), nn.Conv2d(32, len(names), 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        scores = self.head(self.pyramid(self.features(images)))
        return F.interpolate(scores, size=images.shape[-2:], mode="bilinear", align_corners=False)


@torch.no_grad()
def evaluate(net: nn.Module) -> tuple[float, float]:
    """Mean IoU, and the share of blob pixels whose larger object score is the right one."""
    confusion, right, count = metrics.ConfusionMatrix(len(names)), 0, 0
    for i in range(len(test)):
        sample = test[i]
        logits = net.eval()(sample["image"][None].to(device)).cpu()
        confusion.update(logits.argmax(1), sample["mask"][None])
        if dataset == "scenes":
            blob = sample["mask"] > 0
            right += int((logits[0, 1:].argmax(0)[blob] + 1 == sample["mask"][blob]).sum())
            count += int(blob.sum())
    return float(confusion.mean_iou()), right / count if count else float("nan")


# %% role="experiment"
nets, results = {}, {}
with attempt("11.2 and 11.3"):
    SceneNet((1, 2)).eval()(torch.zeros(1, channels, size, size))  # before minutes of training
    poly(0, 1, 1.0)
    for label, bins in (("no pyramid", ()), ("one bin", (1,)), ("bins 1, 2, 3, 6", (1, 2, 3, 6))):
        for seed in seeds:
            torch.manual_seed(seed)
            net = SceneNet(bins).to(device)
            training.fit(
                net,
                train,
                lambda logits, batch: training_loss(logits, None, batch["mask"]),
                steps=steps,
                batch_size=8,
                lr=1e-2,
                schedule=lambda step, total: poly(step, total, 1.0),
                seed=seed,
                device=device,
                channels_last=True,
                progress=steps > 1000,
            )
            nets[label, seed], results[label, seed] = net, evaluate(net)
rows = [
    [label, seed, f"{iou:.3f}"] + ([f"{right:.0%}"] if dataset == "scenes" else [])
    for (label, seed), (iou, right) in results.items()
]
columns = ["network", "seed", "mean IoU"]
columns += ["boat or car, rightly"] if dataset == "scenes" else []
plots.table(columns, rows, title=f"{len(test)} test images")

# %% role="experiment"
context, share = {}, {}
with attempt("11.4 and 11.5"):
    for label in dict.fromkeys(label for label, _ in nets):
        net = nets[label, seeds[0]].eval()
        if twin is not None:
            values = []
            for i in range(len(test)):
                mask = test.masks[i] > 0
                ys, xs = mask.nonzero().T
                box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
                with torch.no_grad():
                    values.append(context_probe(net, test.images[i], twin.images[i], box))
            context[label] = sum(values) / len(values)
        image = test[0]["image"][None].to(device).requires_grad_()
        logits = net(image)
        middle = logits[0, :, size // 2, size // 2].abs().sum()
        share[label] = field_share(torch.autograd.grad(middle, image)[0][0].cpu())
if share:
    plots.table(
        ["network", "share of the image in use"]
        + (["context: labels that change with the ground"] if context else []),
        [
            [label, f"{share[label]:.0%}"] + ([f"{context[label]:.0%}"] if context else [])
            for label in share
        ],
        title=f"What the networks of seed {seeds[0]} look at",
    ).show()

# %% role="experiment"
if results:
    with torch.no_grad():
        second = test[1] if twin is None else twin[0]
        pair = torch.stack([test[0]["image"], second["image"]])
        labels_shown = [
            nets[label, seeds[-1]](pair.to(device)).argmax(1).cpu()
            for label in ("no pyramid", "bins 1, 2, 3, 6")
        ]
    plots.show_masks(
        [pair[0]] * 3 + [pair[1]] * 3,
        [
            label
            for i, sample in enumerate((test[0], second))
            for label in (sample["mask"], labels_shown[0][i], labels_shown[1][i])
        ],
        class_names=names,
        titles=["truth", "no pyramid", "pyramid"] * 2,
        title="Two test images" if twin is None else "The same blob on two grounds",
        columns=3,
    ).show()

# %% role="experiment"
if results and dataset == "scenes":
    gains = [results["bins 1, 2, 3, 6", seed][1] - results["no pyramid", seed][1] for seed in seeds]
    if steps >= 150 and len(seeds) >= 3:
        assert all(results["no pyramid", seed][1] < 0.65 for seed in seeds), "it cannot know"
        assert min(gains) > 0.25, "the pyramid should tell boat from car: check exercise 11.2"
        claim(
            11,
            "Pooling over the whole scene tells apart what looks alike.",
            quantity="share of blob pixels named rightly, with pyramid less without",
            paper="Zhao et al. 2017, §3.1 and Table 1: mean IoU 37.23 to 41.68 on ADE20K (bins 1236, "
            "average, dimension reduction)",
            values=gains,
            at_least=0.2,
        ).show()

# %% [markdown]
# **What you should see.** The last column asks only which of the *two object* scores is larger on the
# pixels of a blob. Without a pyramid that is a coin toss, and no label changes with the ground; one
# run may not even find the blobs (mean IoU 0.33: everything is background). With your pyramid nearly
# every name is right, and it is the ground that decides: many labels inside the box change when it is
# exchanged. The single global bin does as well, since here only *what* the scene is matters, not
# where. After 150 steps many blob pixels are still called background, so the mean IoU varies widely
# and may lie below that of a net without a pyramid; with `steps = 400` it stands near 0.9.
#
# | | paper | here |
# |---|---|---|
# | data | ADE20K, 20,210 photographs, 150 classes | 200 synthetic images of 64 × 64, 3 classes |
# | network | ResNet-50 or 101, dilated | three convolutions, 32 maps |
# | gain of the pyramid | mean IoU 37.23 → 41.68 | share of right names ½ → nearly 1, measured above |

# %% [markdown]
# ## The ladder
#
# One picture runs through the whole course: every system on the same images, scored on lines two
# pixels wide. PSPNet's rung is marked. Context does not help a thin line: what counts there is
# the map at 1/8, as for DeepLab.

# %% role="experiment"
ladder.picture(lab=11)

# %% [markdown]
# **Going on.** Set `dataset = "camvid"` in the parameter cell for street scenes, where sky is above and
# road below; point the environment variable `COURSE_DATA` at the folder that holds them. On a GPU set
# `device = "cuda"`, `size = 256`, `steps = 5000`, and train `course.models.PSPNet50` with its auxiliary
# head by your `training_loss`.
#
# **Reading.** Zhao et al. 2017, §3–4. Chen et al. 2017,
# [arXiv:1706.05587](https://arxiv.org/abs/1706.05587), §3.3, for ASPP with image pooling. Luo et al.
# 2016, [arXiv:1701.04128](https://arxiv.org/abs/1701.04128), for the effective receptive field.
# Liu et al. 2015, [arXiv:1506.04579](https://arxiv.org/abs/1506.04579), *ParseNet*, for the global bin
# alone.
