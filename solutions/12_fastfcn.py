# %% [markdown]
# # Lab 12 · FastFCN: the resolution of a dilated network at the price of an ordinary one
#
# [[exercises]]
#
# **You will be able to**
# - take a dilated convolution apart into ordinary ones on subgrids, and put the result together;
# - join three maps of a pyramid into one of high resolution;
# - count what an encoder costs, and say which "three times faster" is meant.
#
# **Paper.** H. Wu, J. Zhang, K. Huang, K. Liang, Y. Yu, *FastFCN: Rethinking Dilated Convolution in
# the Backbone for Semantic Segmentation*, 2019, [arXiv:1903.11816](https://arxiv.org/abs/1903.11816).
# Read §3.2 (dilated convolution rewritten) and §3.3 (joint pyramid upsampling); Figures 3 and 4 are
# built here, by you.
#
# **From before.** Multiply-accumulates (Lab 5), atrous convolution (Lab 10), pyramid pooling and
# ASPP (Lab 11). Run every cell from top to bottom. A check cell never stops the notebook: it says
# what it expected, what came, and the usual cause.

# %% tags=["parameters"]
dataset = "lines"  # made on the spot; "camvid" and "voc2012" are read from COURSE_DATA
device = "cpu"  # "cuda" where there is one
steps = 120  # training steps per run; 5000 and more for the real sets
size = 64  # side of the images in pixels
width = 8  # maps of the stem; 64 in the paper
seeds = [0, 1, 2]
# Tried: camvid, 40 steps: mean IoU 0.17 ordinary, 0.24 to 0.26 dilated, 0.22 to 0.24 with JPU.

# %% role="setup"
from collections.abc import Callable
from math import ceil

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course import geometry, ladder, losses, metrics, models, plots, training
from course.checks import Exercise, attempt, build, spy
from course.claims import claim
from course.experiments.sets import load_set
from course.models.layers import conv_bn_relu
from course.models.resnet import ResNet

# %% [markdown]
# ## The picture of this lab
#
# A ResNet ends at 1/32 of the image. For segmentation that is too coarse, so DeepLab and PSPNet take
# the stride out of the last two stages and dilate instead: the map stays at 1/8. The bars show what
# that costs. The last two stages hold most of the blocks, and each of them now works on four and
# sixteen times the positions.

# %% role="setup"
stages = {}
for stride in (32, 8):
    layers = geometry.macs_by_layer(ResNet(output_stride=stride).eval(), (1, 3, 512, 512))
    stages[f"output stride {stride}"] = [
        sum(macs for name, macs in layers.items() if name.startswith(stage)) / 1e9
        for stage in ("layer1", "layer2", "layer3", "layer4")
    ]
plots.bars(
    ["stage 1", "stage 2", "stage 3", "stage 4"],
    stages,
    title="ResNet-50 on 512 × 512: what dilating the last two stages costs",
    ylabel="billion multiply-accumulates",
)

# %% [markdown]
# ## See it move
#
# The lecture's moving picture of this lab: predict, then drag. `uv run course lectures open 12` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("joint_upsampling")

# %% [markdown]
# ---
# ## 12.1 Every r-th pixel is an image

# %% [markdown] exercise="12.1" role="idea"
# Take every second pixel of every second row, starting at the corner: a small image. Start one pixel
# further right, further down, or both, and you get three more. These four *subgrids* hold every
# pixel once, and between two neighbours of a subgrid lie exactly the holes of a convolution with
# rate 2. For rate $r$ there are $r^2$ of them,
#
# $$g_{ij}[y, x] = f[\,i + r\,y,\; j + r\,x\,], \qquad 0 \le i, j < r .$$
#
# They are the reason why an atrous convolution can be had from ordinary ones. Splitting loses
# nothing: merging gives the map back. [Wu et al. 2019, §3.2 and Figure 3b]

# %% exercise="12.1" role="look"
numbers = torch.arange(24).reshape(4, 6)
plots.table(
    ["columns 0, 2, 4", "columns 1, 3, 5"],
    [[numbers[i::2, j::2].tolist() for j in range(2)] for i in range(2)],
    title="The subgrids of the numbers 0 to 23 in 4 rows of 6, rate 2",
)

# %% [markdown] exercise="12.1" role="contract" title="Split and merge" minutes=15
# - `split_grids(x, r)`: `x` is `(B, C, H, W)`, H and W multiples of `r`; the result is
#   `(r, r, B, C, H/r, W/r)`, where `[i, j]` starts at row `i` and column `j`. The dtype of the input
#   is kept.
# - `merge_grids(parts)`: the inverse.
# - A side that is no multiple of `r` raises `ValueError`.
# - `pixel_shuffle` and `pixel_unshuffle` are not allowed here.

# %% [markdown] exercise="12.1" role="hints"
# 1. A slice can have a step: `x[..., i::r, j::r]`.
# 2. Merging is the same slice on the left of the equals sign.
# 3. `rows = [x[..., i::r, :] for i in range(r)]`; then the same for the columns.


# %% exercise="12.1" role="gap"
def split_grids(x: Tensor, r: int) -> Tensor:
    """Subgrids (r, r, B, C, H/r, W/r) of a map (B, C, H, W).

    Worked number: the row 0 1 2 3 4 5 with r=3 has the subgrids 0 3, 1 4 and 2 5.
    """
    ### BEGIN SOLUTION
    if x.shape[-2] % r or x.shape[-1] % r:
        raise ValueError(f"a map of {tuple(x.shape[-2:])} has no subgrids of rate {r}")
    return torch.stack([torch.stack([x[..., i::r, j::r] for j in range(r)]) for i in range(r)])
    ### END SOLUTION


def merge_grids(parts: Tensor) -> Tensor:
    """The map (B, C, H, W) of subgrids (r, r, B, C, H/r, W/r)."""
    ### BEGIN SOLUTION
    r, _, b, c, h, w = parts.shape
    x = parts.new_empty(b, c, h * r, w * r)
    for i in range(r):
        for j in range(r):
            x[..., i::r, j::r] = parts[i, j]
    return x
    ### END SOLUTION


# %% exercise="12.1" role="check"
check = Exercise(
    "12.1",
    points=12,
    forbid=["torch.pixel_shuffle", "torch.pixel_unshuffle", "torch.nn.functional.pixel_shuffle"],
)

x = torch.arange(24.0).reshape(1, 1, 4, 6)
with check("four subgrids of 4 rows of 6", points=2):
    blocks = x.reshape(2, 2, 2, 3).permute(0, 2, 1, 3)[:, :, None, None]
    check.equal(
        split_grids(x, 2),
        torch.tensor(
            [
                [[[[[0.0, 2, 4], [12, 14, 16]]]], [[[[1.0, 3, 5], [13, 15, 17]]]]],
                [[[[[6.0, 8, 10], [18, 20, 22]]]], [[[[7.0, 9, 11], [19, 21, 23]]]]],
            ]
        ),
        mistakes={
            "The first index is the row i, the second the column j: yours are exchanged.": (
                torch.stack([torch.stack([x[..., i::2, j::2] for i in (0, 1)]) for j in (0, 1)])
            ),
            "These are blocks of neighbours. A subgrid takes every r-th pixel.": blocks,
            "One axis of r * r subgrids came: use two axes, (r, r, B, C, H/r, W/r).": (
                torch.stack([x[..., i::2, j::2] for i in (0, 1) for j in (0, 1)])
            ),
            "Batch and channels moved: the subgrid's place comes first, B and C stay behind it.": (
                torch.stack(
                    [torch.stack([x[..., i::2, j::2] for j in (0, 1)], 2) for i in (0, 1)], 2
                )
            ),
        },
    )
with check("merging gives every pixel its place back", points=1):
    parts = torch.arange(12.0).reshape(2, 2, 1, 1, 1, 3)
    check.equal(
        merge_grids(parts),
        torch.tensor([[[[0.0, 3, 1, 4, 2, 5], [6, 9, 7, 10, 8, 11]]]]),
        mistakes={
            "Rows and columns of the subgrids are exchanged.": torch.tensor(
                [[[[0.0, 6, 1, 7, 2, 8], [3, 9, 4, 10, 5, 11]]]]
            ),
            "The subgrids lie side by side: their pixels must be interleaved.": torch.tensor(
                [[[[0.0, 1, 2, 3, 4, 5], [6, 7, 8, 9, 10, 11]]]]
            ),
        },
    )
with check("a side that is no multiple is refused", points=1):
    check.raises(
        ValueError,
        split_grids,
        torch.zeros(1, 1, 4, 7),
        2,
        message="7 columns have no two subgrids of equal size: raise ValueError.",
    )
### BEGIN HIDDEN TESTS
with check.hidden("rates 1 to 4, batches and channels", points=4):
    for r in (1, 2, 3, 4):
        x = torch.rand(2, 3, 2 * r, 5 * r)
        parts = split_grids(x, r)
        check.equal(list(parts.shape), [r, r, 2, 3, 2, 5])
        for i in range(r):
            for j in range(r):
                check.equal(parts[i, j], x[:, :, i::r, j::r])
with check.hidden("merge inverts split, and split merge", points=2):
    x = torch.rand(2, 1, 6, 9)
    check.equal(merge_grids(split_grids(x, 3)), x)
    parts = torch.rand(3, 3, 2, 2, 1, 4)
    check.equal(split_grids(merge_grids(parts), 3), parts)
with check.hidden("integers stay integers; the argument is left alone", points=1):
    x = torch.arange(32).reshape(2, 1, 4, 4)
    check.equal(merge_grids(split_grids(x, 2)), x, dtype=True)
    check.unchanged(split_grids, x, 2)
    check.unchanged(merge_grids, torch.rand(2, 2, 1, 1, 2, 2))
with check.hidden("rows that do not fit are refused too", points=1):
    check.raises(ValueError, split_grids, torch.zeros(1, 1, 5, 6), 3)
### END HIDDEN TESTS
check.score()

# %% exercise="12.1" role="picture"
scene = load_set("lines", task="segmentation", size=48, train=1, test=1).train[0]["image"]
plots.compare(
    yours=lambda: torch.cat([torch.cat(list(row), -1) for row in split_grids(scene[None], 3)], -2)[
        0, 0
    ],
    expected=torch.cat(
        [torch.cat([scene[..., i::3, j::3] for j in range(3)], -1) for i in range(3)], -2
    )[0],
    title="The nine subgrids of rate 3 side by side: nine small versions of one image",
)

# %% [markdown] exercise="12.1" role="see"
# Nine small images that look alike, each shifted by a pixel against the next. Together they hold the
# 48 × 48 pixels once each.

# %% [markdown] exercise="12.1" role="think"
# **Think.** How do the subgrids of rate 3 differ from the image shrunk to a third with smoothing?
#
# ### BEGIN SOLUTION
# A smoothed small image has lost the fine detail. The subgrids have aliased it: each alone shows
# jagged edges, but all nine together still hold every pixel, so nothing is lost.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 12.2 A dilated convolution is an ordinary one on subgrids

# %% [markdown] exercise="12.2" role="idea"
# Output pixel $(y, x)$ of a convolution with rate $r$ reads the pixels $y + r\,u$, $x + r\,v$: all of
# one subgrid, the one that $(y, x)$ itself belongs to. So the subgrids never talk to each other, and
#
# $$\text{conv}_r(f) \;=\; \text{merge}\big(\text{conv}_1(g_{00}), \dots, \text{conv}_1(g_{r-1,r-1})\big)$$
#
# with the *same* kernel, not dilated. FastFCN starts from here: the two stages that a dilated
# backbone runs between split and merge could run on one subgrid alone, which is what an ordinary,
# strided backbone does; only the merge must then be learnt. [Wu et al. 2019, §3.2, Equations 1–4]

# %% exercise="12.2" role="look"
reads = torch.zeros(7, 9)
reads[1:6:2, 2:7:2] = 1
reads[3, 4] = 2
plots.heat(
    reads,
    title="A 3 × 3 kernel of rate 2 at row 3, column 4 reads nine pixels of one subgrid",
    label="1 read, 2 centre",
)

# %% [markdown] exercise="12.2" role="contract" title="Split, convolve, merge" minutes=20
# - `x`: `(B, C, H, W)`, any H and W; `r`: the rate.
# - `conv`: maps `(N, C, h, w)` to `(N, K, h, w)`, an ordinary 3 × 3 convolution that pads with zeros.
#   Call it **once**, with all subgrids as one batch.
# - Result: `(B, K, H, W)`, what the same kernel gives with `padding=r, dilation=r`.
# - Where `r` does not divide a side, continue with zeros at the bottom and on the right, and cut the
#   result.

# %% [markdown] exercise="12.2" role="hints"
# 1. Write it for sides that fit first: split, one call, merge.
# 2. `(r, r, B, …)` becomes a batch with `flatten(0, 2)`, and `unflatten(0, (r, r, B))` undoes it.
# 3. `x = F.pad(x, (0, -w % r, 0, -h % r))`


# %% exercise="12.2" role="gap"
def dilated_as_split_conv(x: Tensor, conv: Callable[[Tensor], Tensor], r: int) -> Tensor:
    """A convolution of rate r made of an ordinary one.

    Worked number: for x of (1, 2, 4, 6) and r=2, conv is called once, with (4, 2, 2, 3).
    """
    ### BEGIN SOLUTION
    b, _, h, w = x.shape
    parts = split_grids(F.pad(x, (0, -w % r, 0, -h % r)), r)
    merged = merge_grids(conv(parts.flatten(0, 2)).unflatten(0, (r, r, b)))
    return merged[..., :h, :w]
    ### END SOLUTION


# %% exercise="12.2" role="check"
check = Exercise("12.2", points=18)

kernel = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])[None, None]


def ordinary(part):
    return F.conv2d(part, kernel, padding=1)


x = torch.arange(24.0).reshape(1, 1, 4, 6)
with check("rate 2 on 4 rows of 6", points=2):
    check.equal(
        dilated_as_split_conv(x, spy(ordinary), 2),
        F.conv2d(x, kernel, padding=2, dilation=2),
        mistakes={
            "That is the ordinary convolution of the whole map: split first.": ordinary(x),
            "The subgrids come back in exchanged order: is your merge the inverse of your split?": (
                F.conv2d(x.mT.contiguous(), kernel, padding=2, dilation=2).mT
            ),
        },
    )
with check(
    "one call, all subgrids as one batch",
    points=2,
    hint="Put the four subgrids into one batch: conv must be called once, with (4, 1, 2, 3).",
):
    conv = spy(ordinary)
    dilated_as_split_conv(x, conv, 2)
    check.equal(list(conv.shapes), [(4, 1, 2, 3)])
with check(
    "5 rows of 7 and rate 3",
    points=2,
    hint="Zeros belong at the bottom and on the right, before splitting; cut the result to H × W.",
):
    x = torch.arange(35.0).reshape(1, 1, 5, 7)
    bottom_right, top_left = F.pad(x, (0, 2, 0, 1)), F.pad(x, (2, 0, 1, 0))
    check.equal(
        dilated_as_split_conv(x, spy(ordinary), 3),
        F.conv2d(x, kernel, padding=3, dilation=3),
        mistakes={
            "Cut the result back to the size of the image.": F.conv2d(
                bottom_right, kernel, padding=3, dilation=3
            ),
            "The zeros are at the top and on the left, but the result is cut below.": F.conv2d(
                top_left, kernel, padding=3, dilation=3
            )[..., :5, :7],
            "Rows and columns that do not fit are cut off: continue with zeros instead.": F.conv2d(
                x[..., :3, :6], kernel, padding=3, dilation=3
            ),
            "The image is continued by repeating its edge: zeros are what a padded kernel sees.": (
                F.conv2d(F.pad(x, (0, 2, 0, 1), mode="replicate"), kernel, padding=3, dilation=3)[
                    ..., :5, :7
                ]
            ),
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("rates, sizes, batches, channels", points=6):
    for r, b, h, w in ((1, 2, 3, 4), (2, 1, 7, 4), (3, 2, 6, 8), (4, 1, 5, 5), (5, 3, 3, 2)):
        weight = torch.rand(5, 3, 3, 3)
        x = torch.rand(b, 3, h, w)
        check.equal(
            dilated_as_split_conv(x, spy(lambda p, k=weight: F.conv2d(p, k, padding=1)), r),
            F.conv2d(x, weight, padding=r, dilation=r),
            tolerance=1e-5,
        )
with check.hidden("any convolution that keeps the size", points=3):
    weight = torch.rand(2, 2, 5, 5)
    x = torch.rand(1, 2, 9, 12)
    check.equal(
        dilated_as_split_conv(x, spy(lambda p: F.conv2d(p, weight, padding=2)), 2),
        F.conv2d(x, weight, padding=4, dilation=2),
        tolerance=1e-5,
    )
with check.hidden("one call of the right shape, whatever the size", points=2):
    conv = spy(ordinary)
    dilated_as_split_conv(torch.rand(2, 1, 8, 10), conv, 3)
    check.equal(list(conv.shapes), [(18, 1, 3, 4)])
with check.hidden("the image is left alone", points=1):
    check.unchanged(dilated_as_split_conv, torch.rand(1, 1, 5, 5), spy(ordinary), 2)
### END HIDDEN TESTS
check.score()

# %% exercise="12.2" role="picture"
edge = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None]
plots.compare(
    yours=lambda: dilated_as_split_conv(scene[None], lambda p: F.conv2d(p, edge, padding=1), 3)[
        0, 0
    ],
    expected=F.conv2d(scene[None], edge, padding=3, dilation=3)[0, 0],
    title="An edge filter of rate 3, made of the ordinary filter on nine subgrids",
)

# %% [markdown] exercise="12.2" role="see"
# Edges drawn twice, three pixels to either side: the holes of the kernel. Both ways give the same
# numbers; the largest difference stays below 0.0001.

# %% [markdown] exercise="12.2" role="think"
# **Think.** Two dilated convolutions of the same rate follow each other, and the rate divides both
# sides. How often must you split and merge?
#
# ### BEGIN SOLUTION
# Once: the merge of the first and the split of the second cancel. That is what the paper uses: all
# dilated layers of a stage can run between one split and one merge. Where the rate does not divide
# the sides, the continued rows and columns must be set to 0 again in between.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 12.3 Joint pyramid upsampling

# %% [markdown] exercise="12.3" role="idea"
# An ordinary backbone gives three maps: $c_3$ at 1/8 of the image, $c_4$ at 1/16, $c_5$ at 1/32.
# The last knows most, the first sees finest. JPU brings all to the same number of maps, enlarges the
# coarse ones to 1/8, concatenates, and lets four branches look with growing holes:
#
# $$\text{JPU} = \big[\, s_1(y),\, s_2(y),\, s_4(y),\, s_8(y) \,\big], \qquad
# y = [\,\text{up}(c_5'),\, \text{up}(c_4'),\, c_3'\,] .$$
#
# Each $s_r$ is *separable*: a 3 × 3 convolution of rate $r$ on every map alone, then a 1 × 1 that
# mixes them. ASPP (Lab 11) looks at the last map only. [Wu et al. 2019, §3.3 and Figure 4]

# %% exercise="12.3" role="look"
plots.bars(
    ["full 3 × 3", "separable"],
    [4 * 9 * 1536 * 512 / 1e6, 4 * (9 * 1536 + 1536 * 512) / 1e6],
    title="Weights of the four branches, 1536 maps in, 512 out",
    ylabel="million weights",
)

# %% [markdown] exercise="12.3" role="contract" title="JPU" minutes=25
# - `separable(channels, maps, rate)`: an `nn.Sequential` of a depthwise 3 × 3 convolution that keeps
#   the size (no bias), batch norm over `channels`, and `conv_bn_relu(channels, maps, 1)`.
# - `forward(c3, c4, c5)`: `(B, C3, H, W)`, `(B, C4, H/2, W/2)`, `(B, C5, H/4, W/4)` (halves rounded
#   up) → `(B, 4 * maps, H, W)`.
# - Enlarge bilinearly with `align_corners=True` to the size of `c3`; the order is c5, c4, c3.
# - `course.models.fastfcn` is not allowed here.

# %% [markdown] exercise="12.3" role="hints"
# 1. Depthwise means: as many groups as maps.
# 2. Three lines: the three convolved maps enlarged and concatenated, then the branches, then their
#    results concatenated.
# 3. `up = lambda m: F.interpolate(m, size=c3.shape[-2:], mode="bilinear", align_corners=True)`


# %% exercise="12.3" role="gap"
def separable(channels: int, maps: int, rate: int) -> nn.Sequential:
    """Depthwise 3 × 3 convolution of the given rate, batch norm, then conv_bn_relu of 1 × 1.

    Worked number: separable(1536, 512, 2) has 13,824 + 3,072 + 786,432 + 1,024 parameters.
    """
    ### BEGIN SOLUTION
    depthwise = nn.Conv2d(
        channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False
    )
    return nn.Sequential(depthwise, nn.BatchNorm2d(channels), conv_bn_relu(channels, maps, 1))
    ### END SOLUTION


class JPU(nn.Module):
    """Joins maps at strides 8, 16 and 32 into one of 4 * `maps` channels at stride 8."""

    def __init__(self, channels: tuple[int, int, int], maps: int) -> None:
        super().__init__()
        c3, c4, c5 = channels
        self.conv3 = conv_bn_relu(c3, maps, 3)
        self.conv4 = conv_bn_relu(c4, maps, 3)
        self.conv5 = conv_bn_relu(c5, maps, 3)
        self.branches = nn.ModuleList(separable(3 * maps, maps, rate) for rate in (1, 2, 4, 8))

    def forward(self, c3: Tensor, c4: Tensor, c5: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        def up(m: Tensor) -> Tensor:
            return F.interpolate(m, size=c3.shape[-2:], mode="bilinear", align_corners=True)

        y = torch.cat([up(self.conv5(c5)), up(self.conv4(c4)), self.conv3(c3)], dim=1)
        return torch.cat([branch(y) for branch in self.branches], dim=1)
        ### END SOLUTION


# %% exercise="12.3" role="check"
check = Exercise("12.3", points=22, forbid=["course.models.fastfcn"])


def reference(seed):
    """The library's JPU for maps of 2, 3 and 4 channels, with weights of a seed, in evaluation."""
    net = models.JPU((2, 3, 4), width=3).eval()
    generator = torch.Generator().manual_seed(seed)
    state = {
        k: torch.rand(v.shape, generator=generator) if v.is_floating_point() else v
        for k, v in net.state_dict().items()
    }
    net.load_state_dict(state)
    return net


def pyramid(h, w, batch=1, seed=0):
    """Maps of 2, 3 and 4 channels; each has half the sides of the one before, rounded up."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(h, w)]
    for _ in range(2):
        shapes.append((ceil(shapes[-1][0] / 2), ceil(shapes[-1][1] / 2)))
    return [
        torch.randn(batch, c, *shape, generator=generator) for c, shape in zip((2, 3, 4), shapes)
    ]


def variant(net, maps, order=(5, 4, 3), mode="bilinear", align=True):
    """JPU with one thing done differently."""
    c3, c4, c5 = maps
    how = {"mode": mode, "align_corners": align} if mode == "bilinear" else {"mode": mode}
    up = {
        5: F.interpolate(net.conv5(c5), size=c3.shape[-2:], **how),
        4: F.interpolate(net.conv4(c4), size=c3.shape[-2:], **how),
        3: net.conv3(c3),
    }
    y = torch.cat([up[k] for k in order], 1)
    return torch.cat([branch(y) for branch in net.branches], 1)


net, maps = reference(0), pyramid(5, 9)
with check("a separable branch: parts, size and weights", points=2):
    branch = build(separable, 6, 4, 2)
    check.equal(
        branch.parameter_count(),
        6 * 9 + 12 + 6 * 4 + 8,
        what="parameters of separable(6, 4, 2)",
        mistakes={
            "The 3 × 3 convolution mixes the maps: give it as many groups as maps.": (
                6 * 6 * 9 + 12 + 24 + 8
            ),
            "The depthwise convolution has a bias: the batch norm behind it makes that useless.": (
                6 * 9 + 6 + 12 + 24 + 8
            ),
            "The batch norm between the two convolutions is missing.": 6 * 9 + 24 + 8,
        },
    )
    check.equal(
        list(branch(torch.ones(2, 6, 7, 5)).shape),
        [2, 4, 7, 5],
        mistakes={"The padding must grow with the rate: it keeps the size.": [2, 4, 5, 3]},
    )
with check("a small pyramid: 5 × 9, 3 × 5, 2 × 3", points=4):
    mine = build(JPU, (2, 3, 4), 3)
    mine.load(net.state_dict())
    mine.train(False)
    with torch.no_grad():
        check.equal(
            mine(*maps),
            net(*maps),
            mistakes={
                "The order of the three maps is c5, c4, c3: yours begins with c3.": variant(
                    net, maps, order=(3, 4, 5)
                ),
                "Enlarge with align_corners=True, as the released code does.": variant(
                    net, maps, align=False
                ),
                "Enlarge bilinearly, not by the nearest neighbour.": variant(
                    net, maps, mode="nearest"
                ),
            },
        )
with check("the size is that of c3", points=1):
    mine = build(JPU, (2, 3, 4), 3)
    check.equal(
        list(mine(*pyramid(8, 6, batch=2)).shape),
        [2, 12, 8, 6],
        mistakes={
            "Enlarge to the size of c3: yours is that of c4.": [2, 12, 4, 3],
            "The four branches are added: put them behind each other.": [2, 3, 8, 6],
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("the published module has 19,735,552 parameters", points=3):
    check.equal(build(JPU, (512, 1024, 2048), 512).parameter_count(), 19_735_552)
with check.hidden("values on other sizes, batches and seeds", points=6):
    for seed, h, w, batch in ((1, 8, 6, 2), (2, 7, 4, 1), (3, 1, 2, 3), (4, 12, 17, 1)):
        net = reference(seed)
        mine = build(JPU, (2, 3, 4), 3)
        mine.load(net.state_dict())
        mine.train(False)
        with torch.no_grad():
            maps = pyramid(h, w, batch, seed)
            check.equal(mine(*maps), net(*maps), tolerance=1e-4)
with check.hidden("a branch for every rate", points=3):
    for rate in (1, 2, 4, 8):
        branch = build(separable, 3, 2, rate)
        branch.fill(seed=rate)
        branch.train(False)
        s = branch.state()
        x = torch.randn(1, 3, 9, 20)
        want = F.conv2d(x, s["0.weight"], padding=rate, dilation=rate, groups=3)
        want = want / (1 + 1e-5) ** 0.5 * s["1.weight"][:, None, None] + s["1.bias"][:, None, None]
        want = F.conv2d(want, s["2.0.weight"]) / (1 + 1e-5) ** 0.5
        want = want * s["2.1.weight"][:, None, None] + s["2.1.bias"][:, None, None]
        check.equal(branch(x), want.relu(), tolerance=1e-5)
with check.hidden("gradients reach every part", points=3):
    mine = build(JPU, (2, 3, 4), 3)
    mine.load(reference(6).state_dict())
    mine.train(False)
    found = mine.gradients(*[m.abs() for m in pyramid(9, 11, batch=2)])
    for name in ("conv3.0.weight", "conv4.0.weight", "conv5.0.weight"):
        check.true(bool((found[name] != 0).any()), f"No gradient reaches {name}.")
    for i in range(4):
        check.true(
            bool((found[f"branches.{i}.0.weight"] != 0).any()), f"Branch {i} gets no gradient."
        )
### END HIDDEN TESTS
check.score()

# %% exercise="12.3" role="picture"
torch.manual_seed(0)
shown = models.JPU((2, 3, 4), width=3).eval()
levels = [torch.rand(1, c, n, n) for c, n in ((2, 24), (3, 12), (4, 6))]


def joined() -> Tensor:
    mine = JPU((2, 3, 4), 3).eval()
    mine.load_state_dict(shown.state_dict())
    with torch.no_grad():
        return mine(*levels)[0, 0]


plots.compare(
    yours=joined,
    expected=shown(*levels)[0, 0].detach(),
    title="First map of an untrained JPU on a pyramid of noise, 24 × 24",
)

# %% [markdown] exercise="12.3" role="see"
# Broad clouds from the enlarged coarse maps and fine grain from $c_3$, in one map. The difference is
# below 0.0001 everywhere.

# %% [markdown] exercise="12.3" role="think" points=10
# **Think (10 points).** The abstract says that JPU cuts the computation "by more than three times".
# Exercises 12.4 and 12.5 let you count it. Come back then, and name two things that could be
# counted, the factor that each gives for ResNet-101 at 512 × 512, and which of them a user of the
# method would feel. Three to five sentences.
#
# ### BEGIN SOLUTION
# Backbone alone: 177.2 against 40.7 billion multiply-accumulates, a factor of 4.35. Backbone with
# JPU: 177.2 against 40.7 + 30.0, a factor of 2.50. With a head behind it the factor falls again,
# as both sides pay for the head. A user runs the whole network, so feels the last one; the paper's
# "three times" is the measured speed of one head (EncNet) on ResNet-101, where the map that the head
# sees is cheap. Full marks: two countings, both factors, and that the whole network is what one
# waits for.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 12.4 What an encoder costs

# %% [markdown] exercise="12.4" role="idea"
# A *bottleneck* block of a ResNet is three convolutions: 1 × 1 from $C$ to $m$ maps, 3 × 3 from $m$
# to $m$, 1 × 1 from $m$ to $4m$. In the first block of a stage the 3 × 3 carries the stride, and a
# strided 1 × 1 brings the shortcut from $C$ to $4m$. With side $n$ in and $o = \lceil n/s \rceil$ out,
#
# $$\text{first block} = n^2\,C\,m + o^2\,(9m^2 + 4m^2 + 4\,C\,m), \qquad
# \text{others} = o^2\,(4m^2 + 9m^2 + 4m^2).$$
#
# Dilation appears nowhere: it moves taps and adds none. What costs is that $o$ stays large.
# [He et al. 2016, Table 1; Wu et al. 2019, §3.1]

# %% exercise="12.4" role="look"
plots.bars(
    ["stage 1", "stage 2", "stage 3", "stage 4"],
    {"output stride 32": [128, 64, 32, 16], "output stride 8": [128, 64, 64, 64]},
    title="Side of the map that leaves each stage, image of 512 × 512",
    ylabel="side, positions",
)

# %% [markdown] exercise="12.4" role="contract" title="Count a stage, count an encoder" minutes=20
# - `stage_macs(side, channels, maps, blocks, stride)`: multiply-accumulates of one stage on a square
#   map, shortcut included; sides are rounded up.
# - `encoder_macs(layers, output_stride, side, width=64)`: stem (7 × 7 from 3 to `width` maps, stride
#   2; pooling is free and halves once more, rounding up) and four stages. `maps` of stage $i$ is
#   `width * 2**i`; strides are 1, 2, 2, 2, but never beyond `output_stride` (8, 16 or 32).
# - Multiply-accumulates, not twice their number; no batch norm, no bias.
# - `course.geometry` and `torch.utils.flop_counter` are not allowed here.

# %% [markdown] exercise="12.4" role="hints"
# 1. Write down the four convolutions of the first block with the side on which each *ends*.
# 2. In `encoder_macs` keep three numbers: the side, the channels, and the stride so far.
# 3. `side = ceil(ceil(side / 2) / 2)` after the stem has been charged at `ceil(side / 2)`.


# %% exercise="12.4" role="gap"
def stage_macs(side: int, channels: int, maps: int, blocks: int, stride: int) -> int:
    """Multiply-accumulates of one stage of bottleneck blocks.

    Worked number: stage_macs(8, 2, 1, 1, 2) is 8*8*2 + 4*4*(9 + 4 + 8) = 464.
    """
    ### BEGIN SOLUTION
    out = ceil(side / stride)
    first = side**2 * channels * maps + out**2 * (13 * maps**2 + 4 * channels * maps)
    return first + (blocks - 1) * out**2 * 17 * maps**2
    ### END SOLUTION


def encoder_macs(
    layers: tuple[int, int, int, int], output_stride: int, side: int, width: int = 64
) -> int:
    """Multiply-accumulates of a ResNet with bottleneck blocks on a square colour image."""
    ### BEGIN SOLUTION
    total = 49 * 3 * width * ceil(side / 2) ** 2
    side, channels, so_far = ceil(ceil(side / 2) / 2), width, 4
    for i, blocks in enumerate(layers):
        stride = 1 if i == 0 or so_far == output_stride else 2
        total += stage_macs(side, channels, width * 2**i, blocks, stride)
        side, channels, so_far = ceil(side / stride), 4 * width * 2**i, so_far * stride
    return total
    ### END SOLUTION


# %% exercise="12.4" role="check"
check = Exercise("12.4", points=16, forbid=["course.geometry", "torch.utils.flop_counter"])

with check("one small stage by hand", points=2):
    check.equal(
        stage_macs(7, 3, 2, 2, 2),
        49 * 6 + 16 * (36 + 16 + 24) + 16 * (16 + 36 + 16),
        mistakes={
            "The stride sits in the 3 × 3: the first 1 × 1 still runs on the large map.": (
                16 * 6 + 16 * (36 + 16 + 24) + 16 * (16 + 36 + 16)
            ),
            "The 1 × 1 of the shortcut is missing.": (
                49 * 6 + 16 * (36 + 16) + 16 * (16 + 36 + 16)
            ),
            "Twice too many: a multiply-accumulate is one multiplication and one addition.": (
                2 * (49 * 6 + 16 * (36 + 16 + 24) + 16 * (16 + 36 + 16))
            ),
            "7 halves to 4, not to 3: round up.": (
                49 * 6 + 9 * (36 + 16 + 24) + 9 * (16 + 36 + 16)
            ),
            "Every block is counted as a first block: only that one changes size and channels.": (
                2 * (49 * 6 + 16 * (36 + 16 + 24))
            ),
            "The 3 × 3 runs after the stride: charge it on the small map.": (
                49 * (6 + 36) + 16 * (16 + 24) + 16 * (16 + 36 + 16)
            ),
        },
    )
tiny = ResNet((1, 1, 2, 1), width=4, output_stride=16).eval()
with check("a small encoder, against a count of its layers", points=2):
    check.equal(
        encoder_macs((1, 1, 2, 1), 16, 50, width=4),
        geometry.count_macs(tiny, (1, 3, 50, 50)),
        mistakes={
            "The stem is missing.": geometry.count_macs(tiny, (1, 3, 50, 50)) - 147 * 4 * 25**2,
            "Strides go on below the output stride: stop at 16 here.": geometry.count_macs(
                ResNet((1, 1, 2, 1), width=4).eval(), (1, 3, 50, 50)
            ),
        },
    )
with check("ResNet-50 at 512, in billions", points=1):
    check.equal(
        [round(encoder_macs((3, 4, 6, 3), stride, 512) / 1e9, 1) for stride in (32, 8)],
        [21.4, 99.7],
    )
### BEGIN HIDDEN TESTS
with check.hidden("stages of other sizes", points=4):
    for side, channels, maps, blocks, stride in ((9, 4, 3, 3, 1), (5, 7, 2, 1, 2), (1, 2, 2, 2, 2)):
        out = ceil(side / stride)
        want = side**2 * channels * maps + out**2 * (
            13 * maps**2 + 4 * channels * maps + (blocks - 1) * 17 * maps**2
        )
        check.equal(stage_macs(side, channels, maps, blocks, stride), want)
with check.hidden("encoders, against a count of their layers", points=5):
    for blocks, stride, side, maps in (
        ((1, 1, 1, 1), 32, 64, 2),
        ((2, 1, 1, 3), 8, 61, 3),
        ((1, 2, 3, 1), 16, 75, 2),
    ):
        net = ResNet(blocks, width=maps, output_stride=stride).eval()
        want = geometry.count_macs(net, (1, 3, side, side))
        check.equal(encoder_macs(blocks, stride, side, maps), want)
with check.hidden("ResNet-101 at 512, in billions", points=2):
    check.equal(
        [round(encoder_macs((3, 4, 23, 3), s, 512) / 1e9, 1) for s in (32, 8)], [40.7, 177.2]
    )
### END HIDDEN TESTS
check.score()

# %% exercise="12.4" role="picture"
with torch.device("meta"):  # shapes without numbers: no weights to draw
    deep = ResNet((3, 4, 23, 3), output_stride=8)
    counted = [geometry.count_macs(deep, (1, 3, n, n)) / 1e9 for n in range(128, 769, 64)]
plots.compare_values(
    yours=lambda: [encoder_macs((3, 4, 23, 3), 8, n) / 1e9 for n in range(128, 769, 64)],
    expected=counted,
    title="Dilated ResNet-101 on images of side 128, 192, … 768",
    xlabel="index i; the side is 128 + 64 i pixels",
    ylabel="billion multiply-accumulates",
)

# %% [markdown] exercise="12.4" role="see"
# A parabola: twice the side costs four times as much. At 512 (index 6) it stands at 177 billion.

# %% [markdown] exercise="12.4" role="think"
# **Think.** The original ResNet put the stride into the first 1 × 1, torchvision puts it into the
# 3 × 3. Which costs more, and how would you know which one a printed number means?
#
# ### BEGIN SOLUTION
# The 3 × 3: the first 1 × 1 then runs on the larger map. Only by counting both and comparing, or by
# reading the code; the parameters are the same. This is why a count must come with its layout.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 12.5 Which "three times" is meant?

# %% [markdown] exercise="12.5" role="idea"
# Now both sides of the comparison. The dilated encoder costs $E_8$. FastFCN pays $E_{32}$ for the
# ordinary one and $J$ for JPU, which runs at 1/8 of the image: three 3 × 3 convolutions (each on its
# own map), then per branch a depthwise 3 × 3 over $3m$ maps and a 1 × 1 from $3m$ to $m$:
#
# $$\text{factor} = \frac{E_8}{E_{32}} \quad\text{(backbones)}, \qquad
# \text{factor} = \frac{E_8}{E_{32} + J} \quad\text{(features at 1/8)}.$$
#
# A factor without its denominator says nothing. [Wu et al. 2019, abstract and Table 4]

# %% exercise="12.5" role="look"
plots.table(
    ["head, backbone", "dilated", "FastFCN", "factor"],
    [
        ["EncNet, ResNet-50", "18.77", "37.56", "2.00"],
        ["EncNet, ResNet-101", "10.51", "32.02", "3.05"],
        ["PSP, ResNet-50", "18.08", "28.48", "1.58"],
        ["DeepLabV3, ResNet-50", "15.99", "20.67", "1.29"],
    ],
    title="Frames per second that the authors published",
)

# %% [markdown] exercise="12.5" role="contract" title="Two factors" minutes=15
# - `jpu_macs(side, channels, maps)`: `side` is that of $c_3$; `channels` of c3, c4, c5; coarser sides
#   are halves, rounded up.
# - `speed_up(layers, side)`: the pair (backbones, features at 1/8) for `width` 64: $c_3$, $c_4$, $c_5$
#   have 512, 1024, 2048 channels, JPU has 512 maps, and $c_3$ has the side `ceil(side / 8)`.
# - Interpolation is free. `course.geometry` and `torch.utils.flop_counter` are not allowed here.

# %% [markdown] exercise="12.5" role="hints"
# 1. The three first convolutions run on three different sides, the branches on the largest.
# 2. A depthwise 3 × 3 over 3m maps costs 9 · 3m per position, not 9 · (3m)².
# 3. `sides = [side, ceil(side / 2), ceil(ceil(side / 2) / 2)]`


# %% exercise="12.5" role="gap"
def jpu_macs(side: int, channels: tuple[int, int, int] = (512, 1024, 2048), maps: int = 512) -> int:
    """Multiply-accumulates of JPU on a square pyramid.

    Worked number: jpu_macs(64) is 30,022,828,032.
    """
    ### BEGIN SOLUTION
    sides = [side, ceil(side / 2), ceil(ceil(side / 2) / 2)]
    first = sum(n**2 * 9 * c * maps for n, c in zip(sides, channels))
    return first + 4 * side**2 * (9 * 3 * maps + 3 * maps * maps)
    ### END SOLUTION


def speed_up(layers: tuple[int, int, int, int], side: int) -> tuple[float, float]:
    """How many times less FastFCN costs: backbones alone, and with JPU."""
    ### BEGIN SOLUTION
    dilated, plain = (encoder_macs(layers, stride, side) for stride in (8, 32))
    return dilated / plain, dilated / (plain + jpu_macs(ceil(side / 8)))
    ### END SOLUTION


# %% exercise="12.5" role="check"
check = Exercise("12.5", points=12, forbid=["course.geometry", "torch.utils.flop_counter"])

with check("a small JPU by hand", points=2):
    first = 25 * 9 * 2 * 2 + 9 * 9 * 3 * 2 + 4 * 9 * 4 * 2
    check.equal(
        jpu_macs(5, (2, 3, 4), 2),
        first + 4 * 25 * (9 * 6 + 6 * 2),
        mistakes={
            "The 3 × 3 of a branch is depthwise: 9 per map, not 9 per pair of maps.": (
                first + 4 * 25 * (9 * 6 * 6 + 6 * 2)
            ),
            "The coarse maps are convolved before they are enlarged, on their own sides.": (
                25 * 9 * 2 * (2 + 3 + 4) + 4 * 25 * (9 * 6 + 6 * 2)
            ),
            "Four branches, not one.": first + 25 * (9 * 6 + 6 * 2),
            "5 halves to 3 and 3 to 2: round up.": (
                25 * 9 * 4 + 4 * 9 * 6 + 1 * 9 * 8 + 4 * 25 * (9 * 6 + 6 * 2)
            ),
        },
    )
with check("ResNet-101 on 512 × 512", points=2):
    check.equal(
        [round(factor, 2) for factor in speed_up((3, 4, 23, 3), 512)],
        [4.35, 2.5],
        mistakes={
            "The second factor forgets what JPU itself costs.": [4.35, 4.35],
            "JPU runs at 1/8 of the image: its side is 64, not 512.": [4.35, 0.09],
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("JPU of other sizes, against a count of its layers", points=3):
    for side, channels, maps in ((8, (2, 3, 4), 3), (9, (4, 4, 5), 2), (1, (1, 2, 3), 1)):
        net = models.JPU(channels, width=maps).eval()
        sides = [side, ceil(side / 2), ceil(ceil(side / 2) / 2)]
        want = geometry.count_macs(net, *[(1, c, n, n) for c, n in zip(channels, sides)])
        check.equal(jpu_macs(side, channels, maps), want)
with check.hidden("the published JPU", points=2):
    check.equal(jpu_macs(64), 30_022_828_032)
with check.hidden("ResNet-50, and other images", points=3):
    check.equal([round(f, 2) for f in speed_up((3, 4, 6, 3), 512)], [4.67, 1.94])
    for side in (473, 768):
        layers = (3, 4, 6, 3)
        e8, e32 = (
            geometry.count_macs(ResNet(layers, output_stride=s).eval(), (1, 3, side, side))
            for s in (8, 32)
        )
        n = ceil(side / 8)
        sides = [n, ceil(n / 2), ceil(ceil(n / 2) / 2)]
        jpu = geometry.count_macs(
            models.JPU().eval(), *[(1, c, m, m) for c, m in zip((512, 1024, 2048), sides)]
        )
        check.equal(list(speed_up(layers, side)), [e8 / e32, e8 / (e32 + jpu)])
### END HIDDEN TESTS
check.score()

# %% exercise="12.5" role="picture"
with torch.device("meta"):
    shapes = (1, 512, 64, 64), (1, 1024, 32, 32), (1, 2048, 16, 16)
    added = geometry.count_macs(models.JPU(), *shapes)
    factors = []
    for blocks in range(2, 37, 2):
        dilated, ordinary = (
            geometry.count_macs(ResNet((3, 4, blocks, 3), output_stride=s), (1, 3, 512, 512))
            for s in (8, 32)
        )
        factors.append(dilated / (ordinary + added))
plots.compare_values(
    yours=lambda: [speed_up((3, 4, blocks, 3), 512)[1] for blocks in range(2, 37, 2)],
    expected=factors,
    title="Factor with JPU for 2, 4, … 36 blocks in stage 3 (ResNet-50 has 6, ResNet-101 has 23)",
    xlabel="index i; stage 3 has 2 + 2 i blocks",
    ylabel="times less computation",
)

# %% [markdown] exercise="12.5" role="see"
# The factor grows with the depth of stage 3, since JPU costs the same for every backbone: 1.94 for
# ResNet-50, 2.50 for ResNet-101, and it reaches 2.8 at 36 blocks, which is ResNet-152.

# %% [markdown] exercise="12.5" role="think" points=10
# **Think (10 points).** The table above gives 3.05 for EncNet on ResNet-101 and 1.29 for DeepLabV3
# on ResNet-50. (Behind JPU, EncNet's head is mostly 1 × 1 convolutions; DeepLabV3's is ASPP, with
# three 3 × 3 convolutions over 2048 maps.) Explain the gap with what you counted: which part of the
# network does JPU make cheaper, and which part stays as it was? Two to four sentences.
#
# ### BEGIN SOLUTION
# JPU replaces the dilated stages 3 and 4 of the backbone. ResNet-101 has 23 blocks in stage 3 and
# ResNet-50 has six, so there is less to save in the latter. The head runs on the same map at 1/8 in
# both cases: EncNet's is a cheap 1 × 1 with an encoding (in the authors' release the dilated EncNet
# begins with a 3 × 3 instead, which adds to its gain), DeepLabV3's ASPP has three 3 × 3
# convolutions over 2048 maps, which cost as much as before and dilute the saving. Full marks: the
# depth of the backbone, the unchanged head, and that its cost is in both sides of the fraction.
# ### END SOLUTION

# %% [markdown]
# ---
# ## The experiment: equal training, three encoders
#
# Three networks with the same head, a 1 × 1 convolution: an ordinary backbone (1/32), the dilated one
# (1/8), and the ordinary one with **your** JPU. Same images, same order, same steps, three seeds.

# %% role="setup"
parts = load_set(
    dataset,
    task="segmentation",
    size=size,
    train=200 if dataset == "lines" else None,
    test=50 if dataset == "lines" else None,
)
classes = len(parts.class_names)
plots.show_masks(
    [parts.test[i]["image"] for i in range(3)],
    [parts.test[i]["mask"] for i in range(3)],
    class_names=parts.class_names,
    title="Three test images and their classes",
)


# %% role="setup"
class Encoder(nn.Module):
    """A small ResNet, dilated or not, with or without JPU, and a 1 × 1 head."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        stride = 8 if kind == "dilated" else 32
        self.backbone = ResNet(
            (1, 1, 1, 1), in_channels=parts.channels, width=width, output_stride=stride
        )
        _, c3, c4, c5 = self.backbone.channels
        self.jpu = JPU((c3, c4, c5), 8 * width) if kind == "with JPU" else None
        self.head = nn.Conv2d(c5, classes, 1)

    def forward(self, images: Tensor) -> Tensor:
        _, c3, c4, c5 = self.backbone(images)
        features = c5 if self.jpu is None else self.jpu(c3, c4, c5)
        return F.interpolate(self.head(features), size=images.shape[-2:], mode="bilinear")


def loss(logits, batch):
    return losses.cross_entropy(logits, batch["mask"])


@torch.no_grad()
def mean_iou(net) -> float:
    confusion = metrics.ConfusionMatrix(classes)
    for i in range(len(parts.test)):
        sample = parts.test[i]
        logits = net.eval()(sample["image"][None].to(device))
        confusion.update(logits.argmax(1).cpu(), sample["mask"][None])
    return float(confusion.mean_iou())


# %% role="experiment"
results, cost, example = {}, {}, {}
with attempt("12.3"):
    Encoder("with JPU")(torch.zeros(2, parts.channels, size, size))  # before minutes of training
    for kind in ("ordinary", "dilated", "with JPU"):
        for seed in seeds[:1] if kind == "ordinary" else seeds:
            torch.manual_seed(seed)
            net = Encoder(kind).to(device)
            training.fit(
                net,
                parts.train,
                loss,
                steps=steps,
                batch_size=8,
                lr=1e-2,
                schedule=training.poly_lr,
                seed=seed,
                device=device,
                channels_last=True,
                progress=steps > 1000,
            )
            results.setdefault(kind, []).append(mean_iou(net))
        cost[kind] = geometry.count_macs(net, (1, parts.channels, size, size))
        with torch.no_grad():
            example[kind] = net(parts.test[0]["image"][None].to(device)).argmax(1)[0].cpu()
rows = [
    [kind, f"{cost[kind] / 1e6:.1f}", ", ".join(f"{value:.3f}" for value in values)]
    for kind, values in results.items()
]
plots.table(
    ["encoder", "million multiply-accumulates", "mean IoU of each seed"],
    rows,
    title=f"{len(parts.test)} test images, {steps} steps",
)

# %% role="experiment"
if results:
    plots.show_masks(
        [parts.test[0]["image"]] * 4,
        [parts.test[0]["mask"], *example.values()],
        class_names=parts.class_names,
        titles=["truth", *example],
        title="One test image: what 1/32 loses, and what JPU brings back",
    ).show()

# %% role="experiment"
if results:
    gains = [a - b for a, b in zip(results["with JPU"], results["dilated"])]
    if dataset == "lines" and steps >= 120 and len(seeds) >= 3:
        assert min(results["with JPU"]) > results["ordinary"][0] + 0.2, (
            "JPU should bring the fine map back: check exercise 12.3"
        )
        claim(
            12,
            "JPU on an ordinary backbone labels as well as a dilated backbone.",
            quantity="mean IoU with JPU less mean IoU dilated, same seed",
            paper="Wu et al. 2019, §4.2: Pascal Context 51.05 (ResNet-50, EncNet), above dilated",
            values=gains,
            at_least=-0.05,
        ).show()

# %% role="experiment"
with attempt("12.4 and 12.5"):
    backbones, features = speed_up((3, 4, 23, 3), 512)
    claim(
        12,
        "FastFCN needs less than a third of the computation: counted on the backbones.",
        quantity="ResNet-101, 512 × 512: dilated over ordinary",
        paper="Wu et al. 2019, abstract: more than three times less",
        values=[backbones],
        at_least=3,
        counted=True,
    ).show()
    claim(
        12,
        "FastFCN needs less than a third of the computation: counted with JPU.",
        quantity="ResNet-101, 512 × 512: dilated over ordinary with JPU",
        paper="Wu et al. 2019, abstract: more than three times less",
        values=[features],
        at_least=3,
        counted=True,
    ).show()

# %% [markdown]
# **What you should see.** The ordinary encoder sees no line at all: at 1/32 an image of 64 pixels has
# four positions. Your JPU brings the fine map back, and the mean IoU comes within 0.05 of the dilated
# network's. In this miniature JPU is *not* cheaper: with one block per stage there is nothing to
# save, and JPU has a fixed price. The saving of the paper needs the 23 blocks of a ResNet-101, and
# even there the whole of it is 2.5 times, not three.
#
# | | paper | here |
# |---|---|---|
# | backbone | ResNet-50 and 101, pretrained | one block per stage, 8 maps, from scratch |
# | data | Pascal Context, ADE20K | 200 synthetic images of 64 × 64 |
# | accuracy | a little above dilated | within 0.05 of dilated |
# | computation | "more than three times" less | 4.35 (backbones), 2.50 (with JPU), counted for ResNet-101 |

# %% [markdown]
# ## The ladder
#
# One picture runs through the whole course: every system on the same images, scored on lines two
# pixels wide. FastFCN's rung is marked: the map of 1/8 that it recovers is fine enough for discs and
# too coarse for such lines.

# %% role="experiment"
ladder.picture(lab=12)

# %% [markdown]
# **Going on.** Set `dataset = "camvid"` in the parameter cell for street scenes, with `steps = 5000`
# on a GPU (`device = "cuda"`, `width = 64`, `size = 256`); point the environment variable
# `COURSE_DATA` at the folder that holds them.
#
# **Reading.** Wu et al. 2019, §3 and §4.2–4.3. Yu and Koltun 2016,
# [arXiv:1511.07122](https://arxiv.org/abs/1511.07122), §2, for dilated convolution. Chen et al. 2017,
# [arXiv:1706.05587](https://arxiv.org/abs/1706.05587), §3, for ASPP in its later form. He et al. 2016,
# [arXiv:1512.03385](https://arxiv.org/abs/1512.03385), Table 1, for the blocks you counted.
