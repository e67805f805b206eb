# %% [markdown]
# # Lab 9 · FC-DenseNet: every layer receives all maps before it
#
# [[exercises]]
#
# **You will be able to**
# - build a dense block, and say what concatenation does that addition does not;
# - connect blocks down and up again without letting the maps explode;
# - count the weights of a network of 103 layers by hand, and find the paper's figures;
# - count what those few weights cost in memory and multiply-accumulates, and judge the bargain.
#
# **Paper.** S. Jégou, M. Drozdzal, D. Vázquez, A. Romero, Y. Bengio, *The One Hundred Layers
# Tiramisu*, CVPRW 2017, [arXiv:1611.09326](https://arxiv.org/abs/1611.09326). Read §3 and Tables 1
# and 2. The block is from G. Huang et al., *Densely Connected Convolutional Networks*, CVPR 2017,
# [arXiv:1608.06993](https://arxiv.org/abs/1608.06993), §3.
#
# **From before.** Transposed convolution and SegNet (Lab 6), skips that add (Lab 7) and skips that
# concatenate (Lab 8). Run every cell from top to bottom. A check cell never stops the notebook: it
# says what it expected, what came, and the usual cause.

# %% tags=["parameters"]
dataset = "lines"  # made on the spot; "camvid" and "voc2012" are read from COURSE_DATA
device = "cpu"  # "cuda" where there is one
steps = 80  # training steps per run; 3000 and more for photographs
size = 32  # side of the images in pixels, a multiple of 4
growth = 3  # maps that one layer adds; 12 or 16 in the paper
seeds = [0, 1, 2, 3]  # with three the interval of the first claim is too wide to judge
# Tried: camvid, 40 steps, three seeds: mean IoU 0.18 to 0.20 dense, 0.18 to 0.19 chain, 0.13 to 0.16
# without skips, 0.10 to 0.17 SegNet; poles need far more steps.

# %% role="setup"
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course import geometry, ladder, losses, metrics, models, plots, training
from course.checks import Exercise, attempt, build
from course.claims import claim
from course.experiments.sets import load_set

# %% [markdown]
# ## The picture of this lab
#
# Discs, and lines two pixels wide. In the published network of 103 layers most layers make only 16
# maps, yet read up to a thousand. Watch the thin lines: do few weights suffice, and who pays?

# %% role="setup"
train, test, names, channels = load_set(
    dataset, task="segmentation", size=size, train=160 if dataset == "lines" else None, test=60
)
thin = names.index("pole") if "pole" in names else len(names) - 1  # the class to watch
plots.show_masks(
    [train[i]["image"] for i in range(4)],
    [train[i]["mask"] for i in range(4)],
    class_names=names,
    title="Four training images and the class of every pixel",
)

# %% [markdown]
# ## See it move
#
# The lecture's moving picture of this lab: predict, then drag. `uv run course lectures open 9` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("dense_block")

# %% [markdown]
# ---
# ## 9.1 The dense block

# %% [markdown] exercise="9.1" role="idea"
# ResNet carries old knowledge on by *adding*: $x_l = x_{l-1} + H(x_{l-1})$. What was added can never
# be told apart again. A dense block *concatenates*:
#
# $$x_l = H_l([x_0, x_1, \dots, x_{l-1}]),$$
#
# so every layer receives the maps of all layers before it, untouched. Nobody has to learn twice what
# is there already, and $H_l$ may be tiny: it makes only $k$ new maps, the *growth rate*. The price is
# that layer $l$ reads $c + (l-1)k$ maps. $H$ is batch normalisation, ReLU, 3 × 3 convolution,
# dropout. [Jégou et al. 2017, §3.1 and Figure 2; Huang et al. 2017, §3]

# %% exercise="9.1" role="look"
plots.bars(
    ["layer 1", "layer 2", "layer 3", "layer 4", "block's end"],
    {
        "dense block: concatenates": [48, 60, 72, 84, 96],
        "residual block: adds": [48, 48, 48, 48, 48],
    },
    title="Maps that each layer reads: 48 to begin with, growth rate 12",
    ylabel="maps",
)

# %% [markdown] exercise="9.1" role="contract" title="Channels and forward pass" minutes=25
# - `dense_block_channels(c, growth, n)`: maps that layer 1, …, n reads, then those of the whole stack:
#   n + 1 numbers. Below 1 any argument raises `ValueError`.
# - `DenseBlock.forward(x)`: `(B, c, H, W)` → `(B, c + n * growth, H, W)`: input first, then the new
#   maps in the order in which they were made.
# - With `keep_input=False` only the `n * growth` new maps come out; the layers still read the input.

# %% [markdown] exercise="9.1" role="hints"
# 1. Draw the stack as a pile of cards: each layer looks at the whole pile and puts `growth` cards on it.
# 2. Keep the pile as a list of tensors and concatenate it along dimension 1 for each layer. At the
#    end, does the first card stay?
# 3. `stack = [x]`


# %% exercise="9.1" role="gap"
def dense_block_channels(c: int, growth: int, n: int) -> list[int]:
    """Maps that each of the n layers reads, then the maps of the whole stack.

    Worked number: dense_block_channels(10, 4, 2) is [10, 14, 18].
    """
    ### BEGIN SOLUTION
    if min(c, growth, n) < 1:
        raise ValueError(f"expected c, growth and n of at least 1, got {c}, {growth} and {n}")
    return [c + i * growth for i in range(n + 1)]
    ### END SOLUTION


class DenseLayer(nn.Module):
    """H of the paper: normalise, ReLU, 3 × 3 convolution to `maps` maps, dropout."""

    def __init__(self, c: int, maps: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    """n layers, each of which reads all maps before it: (B, c, H, W) → (B, c + n·growth, H, W).

    Worked number: 10 maps, growth 4, two layers give 18 maps, without the input 8.
    """

    def __init__(
        self, c: int, growth: int, n: int, keep_input: bool = True, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        stack = [x]
        for layer in self.layers:
            stack.append(layer(torch.cat(stack, dim=1)))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)
        ### END SOLUTION


# %% exercise="9.1" role="check"
check = Exercise("9.1", points=22, forbid=["course.models"])

with check("48 maps, growth 12, four layers", points=1):
    check.equal(
        dense_block_channels(48, 12, 4),
        [48, 60, 72, 84, 96],
        mistakes={
            "The last number is missing: the maps of the whole stack.": [48, 60, 72, 84],
            "The first layer reads the block's input only: start at c.": [60, 72, 84, 96, 108],
            "The stack grows; only ResNet, which adds, keeps its maps.": [48, 48, 48, 48, 48],
            "Each layer reads the whole stack, not only the layer before.": [48, 12, 12, 12, 12],
            "Each layer adds `growth` maps; it does not double the stack.": [48, 96, 192, 384, 768],
            "The input belongs to the stack: add c.": [0, 12, 24, 36, 48],
        },
    )
with check(
    "concatenation where ResNet adds: every layer receives all maps before it",
    points=2,
    hint="Layer i reads c + i * growth maps: the input and all maps made before it, concatenated. "
    "ResNet would add them, and a chain would hand on the last ones only.",
):
    block = build(DenseBlock, 1, 1, 3)
    block.train(False)
    state = {name: torch.zeros_like(value) for name, value in block.state().items()}
    for name, value in state.items():  # no shift, and every layer sums up what it reads
        if name.endswith(("norm.weight", "running_var")):
            value.fill_(1.0)
        if name.endswith("conv.weight"):
            value[:, :, 1, 1] = 1.0
    block.load(state)
    x = torch.tensor([[[[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]]]])
    r = x.clamp(min=0)
    check.equal(
        block(x),
        torch.cat([x, r, 2 * r, 4 * r], 1),
        tolerance=1e-3,
        mistakes={
            "The input comes first, then the maps in the order they were made.": torch.cat(
                [4 * r, 2 * r, r, x], 1
            ),
            "The input is missing: it is the bottom of the stack.": torch.cat([r, 2 * r, 4 * r], 1),
            "That is the last layer alone: return the whole stack.": 4 * r,
            "Each layer must read the whole stack, not only the maps before it.": torch.cat(
                [x, r, r, r], 1
            ),
            "New maps come last; the input comes first.": torch.cat([r, 2 * r, 4 * r, x], 1),
        },
    )
with check("a block on the way up passes on its new maps only", points=1):
    block = build(DenseBlock, 5, 3, 2, keep_input=False)
    block.train(False)
    check.equal(
        list(block(torch.ones(2, 5, 4, 7)).shape),
        [2, 6, 4, 7],
        mistakes={
            "With keep_input=False the input must not come out again.": [2, 11, 4, 7],
            "Return all new maps, not only those of the last layer.": [2, 3, 4, 7],
            "Only the input is left out, not the first layer too.": [2, 8, 4, 7],
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("channels of other blocks", points=2):
    check.equal(dense_block_channels(656, 16, 15)[-2:], [880, 896])
    check.equal(dense_block_channels(1, 2, 1), [1, 3])
    check.equal(dense_block_channels(7, 5, 3), [7, 12, 17, 22])
with check.hidden("no maps, no layers: refused", points=1):
    for bad in ((0, 4, 2), (4, 0, 2), (4, 4, 0), (-1, 2, 2)):
        check.raises(ValueError, dense_block_channels, *bad)
with check.hidden("the weights of a block", points=2):
    block = build(DenseBlock, 48, 12, 4)
    check.equal(block.parameter_count(), sum(2 * m + 9 * m * 12 + 12 for m in (48, 60, 72, 84)))
for keep in (True, False):
    with check.hidden(f"values against the functional form, keep_input={keep}", points=4):
        block = build(DenseBlock, 3, 2, 3, keep_input=keep)
        block.train(False)
        block.fill(seed=4)
        s = block.state()
        image = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(1)) - 0.3
        want, given = image, image.clone()
        for i in range(3):
            at = f"layers.{i}."
            new = F.batch_norm(
                want,
                s[at + "norm.running_mean"],
                s[at + "norm.running_var"],
                s[at + "norm.weight"],
                s[at + "norm.bias"],
            )
            new = F.conv2d(F.relu(new), s[at + "conv.weight"], s[at + "conv.bias"], padding=1)
            want = torch.cat([want, new], 1)
        check.equal(block(given), want if keep else want[:, 3:], tolerance=1e-5)
        check.equal(given, image, what="the input after the call")
with check.hidden("gradients reach every layer", points=1):
    block = build(DenseBlock, 2, 2, 3)
    block.train(False)
    block.fill(seed=2)
    found = block.gradients(torch.rand(1, 2, 5, 4))
    for name, value in found.items():
        check.true(bool((value != 0).any()), f"No gradient reaches {name}.")
with check.hidden("one layer, one pixel", points=1):
    block = build(DenseBlock, 2, 3, 1, keep_input=False)
    block.train(False)
    check.equal(list(block(torch.rand(1, 2, 1, 1)).shape), [1, 3, 1, 1])
with check.hidden(
    "the block trains: dropout and batch statistics are left to the layers", points=3
):
    block = build(DenseBlock, 2, 2, 2, dropout=1.0)
    x = torch.rand(2, 2, 4, 3, generator=torch.Generator().manual_seed(3))
    check.equal(block(x), torch.cat([x, torch.zeros(2, 4, 4, 3)], 1))
    check.true(
        bool((block.state()["layers.0.norm.running_mean"] != 0).all()),
        "The normalisation of the first layer has not seen the input.",
    )
### END HIDDEN TESTS
check.score()

# %% exercise="9.1" role="picture"
plots.compare_values(
    yours=lambda: dense_block_channels(656, 16, 15),
    expected=[656 + 16 * i for i in range(16)],
    title="Maps read by the 15 layers at the bottom of FC-DenseNet103, and the stack they leave",
    xlabel="layer",
    ylabel="maps",
)

# %% [markdown] exercise="9.1" role="see"
# A straight line from 656 to 896 maps: each layer adds 16, however many it reads. In the check the
# values double, 1, 1, 2, 4, since every layer sums up all before it; a chain would repeat the 1.

# %% [markdown] exercise="9.1" role="think"
# **Think.** A residual network could *learn* to keep old maps apart, by writing each new one into
# channels that are still empty. What is then the difference to a dense block?
#
# ### BEGIN SOLUTION
# In what each layer has to spend. The residual layer must make as many maps as the sum has channels,
# zeros included: c · c weights times nine. The dense layer makes k maps from c + ik, and keeping the
# old ones apart is built in, not learnt.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 9.2 Down and up again

# %% [markdown] exercise="9.2" role="idea"
# Between blocks the resolution changes. *Down*: BN, ReLU, 1 × 1 convolution, dropout, and only then
# 2 × 2 max pooling. *Up*: a 3 × 3 transposed convolution with stride 2 makes $2n+1$ rows of $n$; they
# are cropped to the skip's $2n$ or $2n+1$, and the skip is put behind them:
#
# $$[\,\text{crop}(\text{up}(x_{\text{new}}))\;\|\;s\,].$$
#
# Here the maps would explode: the stack of the bottom of the 103-layer network has 896. So only the
# block's *new* maps, 240, are upsampled. Their input is not lost: all that it knew in finer
# resolution comes through the skip. [Jégou et al. 2017, §3.2 and Table 1]

# %% exercise="9.2" role="look"
plots.bars(
    ["up 1", "up 2", "up 3", "up 4", "up 5"],
    {
        "upsampled: new maps only": [240, 192, 160, 112, 80],
        "the block's whole stack": [896, 1088, 816, 576, 384],
    },
    title="FC-DenseNet103: maps that each step up takes along, and could have taken",
    ylabel="maps",
)

# %% [markdown] exercise="9.2" role="contract" title="Two transitions" minutes=20
# - `TransitionDown.forward(x)`: `(B, c, H, W)` → `(B, c, H // 2, W // 2)`; the layers are there, the
#   order is yours.
# - `TransitionUp.forward(new_maps, skip)`: `(B, c, h, w)` and `(B, s, H, W)` → `(B, c + s, H, W)`:
#   upsampled maps **first**, cropped to the skip's centre; an odd surplus leaves one more row at the
#   bottom and one more column on the right to be cut.
# - A skip larger than the upsampled maps raises `ValueError`. `torchvision.transforms` is not allowed
#   here.

# %% [markdown] exercise="9.2" role="hints"
# 1. Down: which operation should see all pixels, and which throws most away?
# 2. Up: `self.deconv` first. The surplus of rows is the difference of two heights; half of it, rounded
#    down, comes off at the top. With a surplus of 1 nothing does.
# 3. `x = self.deconv(new_maps)`


# %% exercise="9.2" role="gap"
class TransitionDown(nn.Module):
    """Mix the maps and halve the resolution: (B, c, H, W) → (B, c, H // 2, W // 2).

    Worked number: 16 maps of 9 × 6 become 16 maps of 4 × 3.
    """

    def __init__(self, c: int, dropout: float = 0.2) -> None:
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        x = self.conv(F.relu(self.norm(x)))
        return F.max_pool2d(self.drop(x), 2)
        ### END SOLUTION


class TransitionUp(nn.Module):
    """Double the new maps, crop them to the skip, and put the skip behind them.

    Worked number: 8 new maps of 4 × 3 and a skip of 16 × (9 × 6) become 24 maps of 9 × 6.
    """

    def __init__(self, c: int) -> None:
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps: Tensor, skip: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        x, (h, w) = self.deconv(new_maps), skip.shape[-2:]
        top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
        if top < 0 or left < 0:
            raise ValueError(f"the skip {tuple(skip.shape)} is larger than {tuple(x.shape)}")
        return torch.cat([x[..., top : top + h, left : left + w], skip], dim=1)
        ### END SOLUTION


# %% exercise="9.2" role="check"
check = Exercise("9.2", points=14, forbid=["course.models", "torchvision.transforms"])

with check("down: one map of 2 × 4, the 1 × 1 convolution changes the sign", points=2):
    down = build(TransitionDown, 1)
    down.train(False)
    state = down.state()
    state["conv.weight"].fill_(-1.0)
    state["conv.bias"].zero_()
    down.load(state)
    check.equal(
        down(torch.tensor([[[[1.0, 2.0, -5.0, 0.0], [3.0, 4.0, -1.0, 6.0]]]])),
        torch.tensor([[[[-1.0, 0.0]]]]),
        tolerance=1e-3,
        mistakes={
            "Pooling comes last, after the convolution.": torch.tensor([[[[-4.0, -6.0]]]]),
            "Normalisation and ReLU come before the convolution.": torch.tensor([[[[0.0, 5.0]]]]),
            "The ReLU before the convolution is missing.": torch.tensor([[[[-1.0, 5.0]]]]),
            "Max pooling, not the mean.": torch.tensor([[[[-2.5, -1.5]]]]),
            "The convolution is missing.": torch.tensor([[[[4.0, 6.0]]]]),
            "Halve the map: the pooling is missing.": torch.tensor(
                [[[[-1.0, -2.0, 0.0, 0.0], [-3.0, -4.0, 0.0, -6.0]]]]
            ),
        },
    )
with check("up: 1 × 2 new maps meet a skip of 2 × 4", points=2):
    up = build(TransitionUp, 1)
    up.load(
        {
            "deconv.weight": torch.arange(1.0, 10.0).reshape(1, 1, 3, 3),
            "deconv.bias": torch.zeros(1),
        }
    )
    new = torch.tensor([[[[1.0, 10.0]]]])
    skip = torch.full((1, 1, 2, 4), -1.0)
    grown = torch.tensor([[[[1.0, 2.0, 13.0, 20.0], [4.0, 5.0, 46.0, 50.0]]]])
    late = torch.tensor([[[[5.0, 46.0, 50.0, 60.0], [8.0, 79.0, 80.0, 90.0]]]])
    check.equal(
        up(new, skip),
        torch.cat([grown, skip], 1),
        mistakes={
            "The upsampled maps come first, the skip behind them.": torch.cat([skip, grown], 1),
            "A surplus of one row is cut at the bottom and on the right.": torch.cat(
                [late, skip], 1
            ),
            "You add; the Tiramisu concatenates.": grown + skip,
            "The skip is missing.": grown,
            "Crop, do not resize: every value keeps its place.": torch.cat(
                [
                    F.interpolate(
                        F.conv_transpose2d(
                            new, torch.arange(1.0, 10.0).reshape(1, 1, 3, 3), stride=2
                        ),
                        size=(2, 4),
                        mode="bilinear",
                    ),
                    skip,
                ],
                1,
            ),
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("down: values, odd sizes, statistics that are not trivial", points=3):
    down = build(TransitionDown, 3)
    down.fill(seed=5)
    s = down.state()
    s["norm.running_mean"] = torch.tensor([0.4, -0.2, 0.1])
    s["norm.running_var"] = torch.tensor([2.0, 0.5, 1.5])
    down.load(s)
    down.train(False)
    x = torch.rand(2, 3, 7, 5, generator=torch.Generator().manual_seed(2)) - 0.5
    want = F.batch_norm(
        x, s["norm.running_mean"], s["norm.running_var"], s["norm.weight"], s["norm.bias"]
    )
    want = F.max_pool2d(F.conv2d(F.relu(want), s["conv.weight"], s["conv.bias"]), 2)
    check.equal(down(x), want, tolerance=1e-5)
with check.hidden("down: dropout is part of it", points=1):
    down = build(TransitionDown, 2, dropout=1.0)
    check.equal(down(torch.rand(1, 2, 4, 6)), torch.zeros(1, 2, 2, 3))
with check.hidden("up: odd and even skips, batches", points=2):
    up = build(TransitionUp, 4)
    up.fill(seed=7)
    s = up.state()
    new = torch.rand(2, 4, 3, 5, generator=torch.Generator().manual_seed(8))
    full = F.conv_transpose2d(new, s["deconv.weight"], s["deconv.bias"], stride=2)
    for h, w in ((6, 10), (7, 11), (7, 10), (6, 11)):
        other = torch.rand(2, 3, h, w)
        check.equal(up(new, other), torch.cat([full[..., :h, :w], other], 1), tolerance=1e-5)
with check.hidden("up: the centre of a larger surplus", points=1):
    other = torch.rand(2, 1, 5, 8)
    check.equal(up(new, other), torch.cat([full[..., 1:6, 1:9], other], 1), tolerance=1e-5)
with check.hidden("up: a skip that is too large is refused", points=1):
    for h, w in ((8, 10), (6, 12)):
        check.raises(ValueError, up, new, torch.rand(2, 3, h, w))
with check.hidden("gradients reach the weights of both", points=2):
    found = up.gradients(new, torch.rand(2, 3, 7, 11))
    check.true(bool((found["deconv.weight"] != 0).all()), "No gradient reaches the weights.")
    down = build(TransitionDown, 2)
    down.train(False)
    down.fill(seed=1)
    found = down.gradients(torch.rand(1, 2, 6, 4))
    check.true(bool((found["conv.weight"] != 0).any()), "No gradient reaches the convolution.")
### END HIDDEN TESTS
check.score()


# %% exercise="9.2" role="picture"
def halved(image: Tensor) -> Tensor:
    """An image through a transition down whose convolution only hands on."""
    down = TransitionDown(1).eval()
    nn.init.ones_(down.conv.weight)
    nn.init.zeros_(down.conv.bias)
    return down(image[None, None])[0, 0].detach()


sample = test[1]["image"].mean(0)
plots.compare(
    yours=lambda: halved(sample),
    expected=F.max_pool2d(sample.clamp(min=0)[None, None], 2)[0, 0],
    title="A test image after your transition down, with a convolution that only hands on",
)

# %% [markdown] exercise="9.2" role="see"
# Half as many rows and columns, brightest value of each window: the line has become thicker in
# proportion, and where in its window it ran is gone. The difference is below 0.0001. The skip keeps
# what is lost here.

# %% [markdown] exercise="9.2" role="think"
# **Think.** The last block of the network keeps its input (`keep_input=True`), although it lies on the
# way up. Why is that no danger?
#
# ### BEGIN SOLUTION
# Nothing is upsampled after it: its stack is read once, by the 1 × 1 convolution that makes the
# scores, and 256 maps cost 256 weights a class. The rule is there to stop growth that the next
# transposed convolution would pay for with 9 c² weights.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 9.3 Count the weights of 103 layers

# %% [markdown] exercise="9.3" role="idea"
# The paper's selling point is a number: 9.4 million weights where SegNet has 29.5 and DeconvNet 252.
# Do not believe it, count. Every weight of this network belongs to a convolution with $a$ maps in
# and $b$ out, kernel $q \times q$, a bias per output map, and, in dense layers and transitions down, a
# scale and a shift per *input* map for the normalisation:
#
# $$q^2 a b + b + 2a\,[\text{dense or down}].$$
#
# So you need a list of all convolutions with their $a$ and $b$. The way down is written; the way up,
# where input and new maps part, is yours. [Jégou et al. 2017, Table 2 and §4.2]

# %% exercise="9.3" role="look"
published = {
    "DeconvNet": models.DeconvNet,
    "SegNet": models.SegNet,
    "FC-DenseNet103": models.FCDenseNet103,
}
with torch.device("meta"):  # shapes only, no memory
    millions = [sum(p.numel() for p in make().parameters()) / 1e6 for make in published.values()]
plots.bars(
    list(published),
    millions,
    title="Published networks, weights counted",
    ylabel="million weights",
)

# %% [markdown] exercise="9.3" role="contract" title="Plan and count" minutes=25
# - `layer_plan(config)`: one `(kind, level, maps in, maps out)` for every convolution in the order of
#   the forward pass; kinds `"first"`, `"dense"`, `"down"`, `"up"`, `"last"`.
# - `"up"` has the level it arrives at; `level` 0 is the full resolution.
# - `count_parameters(plan)`: trainable weights; 3 × 3 in `"first"`, `"dense"`, `"up"`; 1 × 1 in `"down"`
#   and `"last"`. Running statistics are no weights.

# %% [markdown] exercise="9.3" role="hints"
# 1. On the way up two numbers travel: `c`, the maps of the stack, and `new`, those the last block made.
# 2. A step up has `new` maps in and out. The block after it starts with `new` plus the skip's maps;
#    then `new` becomes `n * k`.
# 3. `plan.append(("up", level, new, new))`


# %% exercise="9.3" role="gap"
def layer_plan(config: dict) -> list[tuple[str, int, int, int]]:
    """(kind, level, maps in, maps out) of every convolution, in order.

    `config`: "channels" of the image, maps of the "first" convolution, "growth", layers of the
    "blocks" on the way down (the way up mirrors them), of the "bottleneck", and "classes".

    Worked number: channels 1, first 8, growth 4, blocks (2,), bottleneck 2, 3 classes: the way up is
    ("up", 0, 8, 8), ("dense", 0, 24, 4), ("dense", 0, 28, 4), ("last", 0, 32, 3).
    """
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        ### BEGIN SOLUTION
        plan.append(("up", level, new, new))
        c = new + skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
        ### END SOLUTION
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan: list[tuple[str, int, int, int]]) -> int:
    """Trainable weights of a network. Worked number: [("down", 0, 10, 10)] has 130."""
    ### BEGIN SOLUTION
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b
        if kind in ("dense", "down"):
            total += 2 * a
    return total
    ### END SOLUTION


# %% exercise="9.3" role="check"
check = Exercise("9.3", points=16, forbid=["course.models", "course.geometry"])

tiny = {"channels": 1, "first": 8, "growth": 4, "blocks": (2, 2), "bottleneck": 2, "classes": 3}
with check("the way up of a small network: only new maps are upsampled", points=2):
    check.equal(
        layer_plan(tiny)[9:],
        [
            ("up", 1, 8, 8),
            ("dense", 1, 32, 4),
            ("dense", 1, 36, 4),
            ("up", 0, 8, 8),
            ("dense", 0, 24, 4),
            ("dense", 0, 28, 4),
            ("last", 0, 32, 3),
        ],
        mistakes={
            "The whole stack is upsampled: only the block's new maps go up.": [
                ("up", 1, 32, 32),
                ("dense", 1, 56, 4),
                ("dense", 1, 60, 4),
                ("up", 0, 64, 64),
                ("dense", 0, 80, 4),
                ("dense", 0, 84, 4),
                ("last", 0, 88, 3),
            ],
            "The skip is forgotten: it is concatenated before the block.": [
                ("up", 1, 8, 8),
                ("dense", 1, 8, 4),
                ("dense", 1, 12, 4),
                ("up", 0, 8, 8),
                ("dense", 0, 8, 4),
                ("dense", 0, 12, 4),
                ("last", 0, 16, 3),
            ],
            "The last convolution reads the whole last stack, its input included.": [
                ("up", 1, 8, 8),
                ("dense", 1, 32, 4),
                ("dense", 1, 36, 4),
                ("up", 0, 8, 8),
                ("dense", 0, 24, 4),
                ("dense", 0, 28, 4),
                ("last", 0, 8, 3),
            ],
            "The skips come in the wrong order: the last one is used first.": [
                ("up", 1, 8, 8),
                ("dense", 1, 24, 4),
                ("dense", 1, 28, 4),
                ("up", 0, 8, 8),
                ("dense", 0, 32, 4),
                ("dense", 0, 36, 4),
                ("last", 0, 40, 3),
            ],
        },
    )
with check("one layer of each kind", points=1):
    one = [
        ("first", 0, 2, 3),
        ("dense", 0, 5, 4),
        ("down", 0, 9, 9),
        ("up", 0, 4, 4),
        ("last", 0, 11, 2),
    ]
    check.equal(
        count_parameters(one),
        57 + 194 + 108 + 148 + 24,
        mistakes={
            "The biases are missing: one for each map that comes out.": 509,
            "The normalisation is missing: scale and shift for each map that goes in.": 503,
            "Normalisation has a scale and a shift: two weights for each map in.": 517,
            "Running statistics are not trained: leave them out.": 559,
            "The normalisation stands before the convolution: 2 for each map *in*.": 529,
            "Only dense layers and transitions down are normalised.": 565,
            "A transition down has a 1 × 1 convolution.": 1179,
            "The transposed convolution is 3 × 3, not 2 × 2.": 451,
            "The last convolution is 1 × 1.": 707,
            "Transition down and last convolution are 1 × 1.": 1355,
        },
    )
with check("FC-DenseNet103 has 9,322,091 weights", points=1):
    big = {
        "channels": 3,
        "first": 48,
        "growth": 16,
        "blocks": (4, 5, 7, 10, 12),
        "bottleneck": 15,
        "classes": 11,
    }
    check.equal(
        count_parameters(layer_plan(big)),
        9322091,
        mistakes={
            "Running statistics are not trained: leave them out.": 9425163,
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("FC-DenseNet56 and 67, 11 and 12 classes", points=4):
    for k, n, kinds, want in (
        (12, 4, 11, 1376795),
        (16, 5, 11, 3463243),
        (12, 4, 12, 1376988),
        (16, 5, 12, 3463532),
    ):
        other = {**big, "growth": k, "blocks": (n,) * 5, "bottleneck": n, "classes": kinds}
        check.equal(count_parameters(layer_plan(other)), want)
with check.hidden("maps of every block of the 103, as the authors correct Table 2", points=3):
    stacks = [row[2] for row in layer_plan(big) if row[0] == "down"]
    check.equal(stacks, [112, 192, 304, 464, 656])
    ups = [row[1:] for row in layer_plan(big) if row[0] == "up"]
    check.equal(ups, [(4, 240, 240), (3, 192, 192), (2, 160, 160), (1, 112, 112), (0, 80, 80)])
    check.equal(layer_plan(big)[-1], ("last", 0, 256, 11))
with check.hidden("uneven blocks, against the library's module", points=3):
    from course.models.fc_densenet import FCDenseNet

    for blocks, bottom, k, first, colours in (
        ((1, 3), 2, 5, 7, 1),
        ((2,), 4, 3, 6, 3),
        ((3, 1, 2), 1, 2, 5, 4),
    ):
        net = FCDenseNet(
            4, blocks=blocks, bottleneck=bottom, growth=k, in_channels=colours, first_maps=first
        )
        made = layer_plan(
            {
                "channels": colours,
                "first": first,
                "growth": k,
                "blocks": blocks,
                "bottleneck": bottom,
                "classes": 4,
            }
        )
        check.equal(len(made), 2 + 2 * sum(blocks) + bottom + 2 * len(blocks))
        check.equal(count_parameters(made), sum(p.numel() for p in net.parameters()))
with check.hidden("the count reads every row", points=2):
    check.equal(count_parameters([]), 0)
    check.equal(count_parameters([("down", 3, 10, 10), ("down", 0, 10, 10)]), 260)
    check.equal(count_parameters([("dense", 2, 5, 7)]), 5 * 7 * 9 + 7 + 10)
### END HIDDEN TESTS
check.score()

# %% exercise="9.3" role="picture"
tiramisu103 = {
    "channels": 3,
    "first": 48,
    "growth": 16,
    "blocks": (4, 5, 7, 10, 12),
    "bottleneck": 15,
    "classes": 11,
}
stacks103 = (112, 192, 304, 464, 656, 896, 1088, 816, 576, 384, 256)
plots.compare_values(
    yours=lambda: [
        maps_in + maps_out
        for (kind, level, maps_in, maps_out), after in zip(
            layer_plan(tiramisu103), layer_plan(tiramisu103)[1:]
        )
        if kind == "dense" and after[0] != "dense"
    ],
    expected=stacks103,
    title="FC-DenseNet103: maps of the whole stack at the end of each of the 11 blocks",
    xlabel="block",
    ylabel="maps",
)

# %% [markdown] exercise="9.3" role="see"
# The stack climbs to 896 at the bottom and reaches its peak of 1088 one step later, where 240 upsampled maps meet
# a skip of 656; then it falls to 256. The paper's own Table 2 prints numbers 16 smaller for most of the way up;
# the authors' code makes yours. Its 9.4 million are these 9,322,091 and 103,072 running statistics.

# %% [markdown] exercise="9.3" role="think"
# **Think.** For the 56-layer network the paper prints 1.5 million, and you count 1,376,795. Which
# differences of counting can you rule out?
#
# ### BEGIN SOLUTION
# Running statistics: they add 21,168 and give 1.40 million, which explains the other two networks but
# not this one. A twelfth class adds 193. Neither reaches 1.45 million, so the printed value remains
# unexplained. It does not change the argument of the paper.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 9.4 What the few weights cost

# %% [markdown] exercise="9.4" role="idea"
# Weights are not what fills the memory in training. For the backward pass the network keeps its
# *activations*: every convolution at level $l$ hands on
#
# $$b \cdot \lfloor H/2^l \rfloor \lfloor W/2^l \rfloor$$
#
# values of four bytes. And a plain implementation *copies*: `torch.cat` writes the whole stack again
# for every dense layer, so a block of $n$ layers stores $nc + \tfrac{n(n-1)}{2}k$ maps more: it grows
# with the square of $n$. Multiply-accumulates follow the same list: kernel times maps in times maps
# out per position, for a transposed convolution per position of its *input*. [Jégou et al. 2017,
# Table 2; Pleiss et al. 2017, §3]

# %% exercise="9.4" role="look"
numbers = list(range(1, 16))
plots.curves(
    {
        "made by the layers: n · k": (numbers, [16 * n for n in numbers]),
        "copied by torch.cat: n · c + n(n-1)/2 · k": (
            numbers,
            [48 * n + 8 * n * (n - 1) for n in numbers],
        ),
    },
    title="Maps in memory for a block of n layers; c = 48, k = 16",
    xlabel="number of layers",
    ylabel="maps",
)

# %% [markdown] exercise="9.4" role="contract" title="Memory and multiply-accumulates" minutes=25
# - `plan`: as in 9.3; `h`, `w`: size of the image. A pooling rounds down.
# - `activation_memory(plan, h, w, copies=False)`: **bytes** of what all convolutions hand on, float32;
#   `copies=True` adds the stack that every `"dense"` layer reads.
# - An `"up"` layer from level l + 1 hands on `2n + 1` rows and columns of n, before they are cropped.
# - `count_macs(plan, h, w)`: multiply-accumulates of all convolutions; biases and normalisation are
#   not counted.

# %% [markdown] exercise="9.4" role="hints"
# 1. One loop over the plan, and the size of the map at each level.
# 2. Level l has `h >> l` rows. For `"up"` look at level l + 1 first.
# 3. `rows, columns = h >> level, w >> level`


# %% exercise="9.4" role="gap"
def activation_memory(
    plan: list[tuple[str, int, int, int]], h: int, w: int, copies: bool = False
) -> int:
    """Bytes that the convolutions hand on, and with `copies` those of the stacks that are read.

    Worked number: one dense layer from 2 to 3 maps on 6 × 4 pixels: 288 bytes, with copies 480.
    """
    ### BEGIN SOLUTION
    values = 0
    for kind, level, a, b in plan:
        pixels = (h >> level) * (w >> level)
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + (a * pixels if copies and kind == "dense" else 0)
    return 4 * values
    ### END SOLUTION


def count_macs(plan: list[tuple[str, int, int, int]], h: int, w: int) -> int:
    """Multiply-accumulates of one image. Worked number: that dense layer has 1296."""
    ### BEGIN SOLUTION
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total
    ### END SOLUTION


# %% exercise="9.4" role="check"
check = Exercise("9.4", points=16, forbid=["course.models", "course.geometry"])

steps_of_six = [
    ("first", 0, 1, 2),
    ("dense", 0, 2, 3),
    ("down", 0, 5, 5),
    ("dense", 1, 5, 3),
    ("up", 0, 3, 3),
    ("last", 0, 8, 2),
]
with check("six layers on 6 × 4 pixels: 411 values are 1644 bytes", points=2):
    check.equal(
        activation_memory(steps_of_six, 6, 4),
        1644,
        mistakes={
            "Those are values: a float32 has 4 bytes.": 411,
            "Bytes, not bits.": 13152,
            "A step up makes 2n + 1 rows of n; the crop comes afterwards.": 1512,
            "Each level halves both sides: level 1 has 3 × 2 pixels.": 1860,
            "That counts the maps that go in; count those that come out.": 2076,
            "Those are the weights, not the activations.": 1484,
        },
    )
with check("with the copies that torch.cat makes: 312 bytes more", points=1):
    check.equal(
        activation_memory(steps_of_six, 6, 4, copies=True),
        1956,
        mistakes={
            "Only dense layers copy their stack; the others read what is there.": 3720,
            "You left the copies out.": 1644,
            "Those are the copies alone: add what the layers hand on.": 312,
            "The copies too have 4 bytes a value.": 1722,
        },
    )
with check("4,008 multiply-accumulates", points=1):
    check.equal(
        count_macs(steps_of_six, 6, 4),
        4008,
        mistakes={
            "A transposed convolution costs 9 · a · b for each of its *input* pixels.": 6357,
            "A transposed convolution costs 9 · a · b for each pixel of its input, which is coarser.": 5466,
            "The 1 × 1 convolutions have one weight a pair of maps, not nine.": 11880,
            "A multiplication and its addition count as one.": 8016,
            "The kernel is missing: 9 for 3 × 3.": 1320,
        },
    )
### BEGIN HIDDEN TESTS
from course.models.fc_densenet import FCDenseNet

with check.hidden("activations of a real module, by hooks", points=5):
    for blocks, bottom, k, first, h, w in (((2, 3), 2, 3, 5, 12, 20), ((1, 2, 1), 3, 2, 4, 17, 26)):
        net = FCDenseNet(
            3, blocks=blocks, bottleneck=bottom, growth=k, in_channels=2, first_maps=first
        )
        net.train(False)
        made, read, rows = [], [], []
        for part in net.modules():
            if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
                part.register_forward_hook(lambda _, x, y, to=made: to.append(y.numel()))
            if isinstance(part, nn.Conv2d) and part.kernel_size == (3, 3) and part is not net.first:
                part.register_forward_hook(lambda _, x, y, to=read: to.append(x[0].numel()))
        with torch.no_grad():
            net(torch.zeros(1, 2, h, w))
        c, skips = first, []
        rows.append(("first", 0, 2, first))
        for i, n in enumerate((*blocks, bottom)):
            rows += [("dense", i, c + j * k, k) for j in range(n)]
            c += n * k
            if i < len(blocks):
                skips.append(c)
                rows.append(("down", i, c, c))
        fresh = bottom * k
        for i in range(len(blocks) - 1, -1, -1):
            rows.append(("up", i, fresh, fresh))
            c = fresh + skips[i]
            rows += [("dense", i, c + j * k, k) for j in range(blocks[i])]
            c, fresh = c + blocks[i] * k, blocks[i] * k
        rows.append(("last", 0, c, 3))
        check.equal(activation_memory(rows, h, w), 4 * sum(made))
        check.equal(activation_memory(rows, h, w, copies=True), 4 * (sum(made) + sum(read)))
with check.hidden("multiply-accumulates of that module, odd sizes", points=3):
    check.equal(count_macs(rows, 17, 26), geometry.count_macs(net, (1, 2, 17, 26)))
    check.equal(count_macs(rows, 40, 24), geometry.count_macs(net, (1, 2, 40, 24)))
with check.hidden("each kind alone on 6 × 9 pixels, level 1", points=3):
    for kind, values, read_maps, cost_of_it in (
        ("dense", 5 * 12, 7 * 12, 9 * 35 * 12),
        ("down", 5 * 12, 0, 35 * 12),
        ("last", 5 * 12, 0, 35 * 12),
        ("up", 5 * 3 * 5, 0, 9 * 35 * 1 * 2),
    ):
        row = [(kind, 1, 7, 5)]
        check.equal(activation_memory(row, 6, 9), 4 * values)
        check.equal(activation_memory(row, 6, 9, copies=True), 4 * (values + read_maps))
        check.equal(count_macs(row, 6, 9), cost_of_it)
with check.hidden("nothing in, nothing out", points=1):
    check.equal([activation_memory([], 8, 8, copies=True), count_macs([], 8, 8)], [0, 0])
### END HIDDEN TESTS
check.score()

# %% exercise="9.4" role="picture"
costs = [("dense", 0, 48 + 16 * i, 16) for i in range(15)]
plots.compare_values(
    yours=lambda: [
        activation_memory(costs[:n], 224, 224, copies=True) / 2**20 for n in range(1, 16)
    ],
    expected=[4 * 224 * 224 * (16 * n + 48 * n + 8 * n * (n - 1)) / 2**20 for n in range(1, 16)],
    title="Memory of one dense block with its copies: 224 × 224 pixels, 48 maps, growth 16",
    xlabel="number of layers less one",
    ylabel="MiB",
)

# %% [markdown] exercise="9.4" role="see"
# The curve bends upwards: 12.2 MiB for the first layer, 505 MiB for fifteen. Without copies it would be
# a straight line to 45.9 MiB. Frameworks that share the memory of the stacks come close to the line
# and pay with computing it again.

# %% [markdown] exercise="9.4" role="think"
# **Think.** You may only store a fifth of these bytes. Name two ways, and what each costs.
#
# ### BEGIN SOLUTION
# Recompute: keep only what the convolutions hand on, and build concatenation and normalisation again
# in the backward pass (Pleiss et al. 2017); the price is time, about a fifth more there. Or smaller crops or
# batches: the price is context, or noisier statistics in the batch normalisation.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 9.5 Take it away: what is the reuse worth?

# %% [markdown] exercise="9.5" role="idea"
# A claim about a part is tested by taking the part away. Without *feature reuse* a block is a chain:
# each layer reads only what the layer right before it made,
#
# $$x_l = H_l(x_{l-1}), \qquad \text{out} = [x_0, x_1, \dots, x_n],$$
#
# and has fewer weights, which a larger growth rate gives back. Then compare. A network with fewer
# weights, a better IoU *and* fewer activations needs no discussion; usually each wins somewhere. Those
# that no other beats everywhere form the *Pareto front*; who lies off it is out. The papers print
# two of the three axes. [Huang et al. 2017, §5 and Figure 3; Jégou et al. 2017, Table 3]

# %% exercise="9.5" role="look"
plots.bars(
    ["layer 1", "layer 2", "layer 3", "layer 4"],
    {"dense block": [48, 60, 72, 84], "chain": [48, 12, 12, 12]},
    title="Maps that each layer reads, with and without reuse: 48 to begin with, growth rate 12",
    ylabel="maps",
)

# %% [markdown] exercise="9.5" role="contract" title="A chain, and a front" minutes=25
# - `ChainBlock.forward(x)`: `(B, c, H, W)` → `(B, c + n * growth, H, W)`, stacked as in 9.1
#   (`keep_input` too), but layer i reads the maps of layer i − 1 only, the first one `x`.
# - `pareto(rows)`: `rows` maps a name to `(parameters, iou, activations)`. Result: the names that no
#   other row dominates, in the order of `rows`.
# - A row dominates another if it is **no worse in all three** and better in at least one; equal rows
#   both stay. Fewer parameters, fewer activations, more IoU are better.

# %% [markdown] exercise="9.5" role="hints"
# 1. Chain: reading and stacking are two things. What does the next layer read, what do you keep?
# 2. Front: make all three "less is better" by turning the sign of the IoU. Then "no worse" is `<=`
#    three times, and "better in one" means that the two rows are not equal.
# 3. `key = {name: (p, -iou, a) for name, (p, iou, a) in rows.items()}`


# %% exercise="9.5" role="gap"
class ChainBlock(nn.Module):
    """A block without reuse: each layer reads the maps of the layer right before it.

    Worked number: 10 maps, growth 4, three layers read 10, 4 and 4 maps and leave a stack of 22.
    """

    def __init__(
        self, c: int, growth: int, n: int, keep_input: bool = True, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)
        ### END SOLUTION


def pareto(rows: dict[str, tuple[float, float, float]]) -> list[str]:
    """Names of (parameters, iou, activations) that no other row dominates, in their order.

    Worked number: {"a": (10, 0.8, 5), "b": (20, 0.7, 9), "c": (5, 0.6, 9)} gives ["a", "c"].
    """
    ### BEGIN SOLUTION
    key = {name: (p, -iou, a) for name, (p, iou, a) in rows.items()}

    def dominated(mine: tuple) -> bool:
        return any(o != mine and all(x <= y for x, y in zip(o, mine)) for o in key.values())

    return [name for name, mine in key.items() if not dominated(mine)]
    ### END SOLUTION


# %% exercise="9.5" role="check"
check = Exercise("9.5", points=14, forbid=["course.models"])

with check("the same picture as in 9.1, without reuse: the values no longer double", points=2):
    chain = build(ChainBlock, 1, 1, 3)
    chain.train(False)
    state = {name: torch.zeros_like(value) for name, value in chain.state().items()}
    for name, value in state.items():
        if name.endswith(("norm.weight", "running_var")):
            value.fill_(1.0)
        if name.endswith("conv.weight"):
            value[:, :, 1, 1] = 2.0
    chain.load(state)
    x = torch.tensor([[[[1.0, 2.0, 0.0], [0.0, -1.0, 3.0]]]])
    r = x.clamp(min=0)
    check.equal(
        chain(x),
        torch.cat([x, 2 * r, 4 * r, 8 * r], 1),
        tolerance=1e-3,
        mistakes={
            "That is the last layer alone: stack the input and all new maps.": 8 * r,
            "The input is missing: it is the bottom of the stack.": torch.cat(
                [2 * r, 4 * r, 8 * r], 1
            ),
            "Every layer reads x; it should read the maps of the layer before.": torch.cat(
                [x, 2 * r, 2 * r, 2 * r], 1
            ),
            "The input comes first, then the maps in the order they were made.": torch.cat(
                [8 * r, 4 * r, 2 * r, x], 1
            ),
        },
    )
with check("a front of three", points=2):
    check.equal(
        pareto(
            {
                "large": (90, 0.9, 70),
                "small": (10, 0.6, 20),
                "worse": (95, 0.8, 80),
                "quick": (95, 0.85, 10),
                "twin": (10, 0.6, 20),
                "near": (10, 0.6, 21),
            }
        ),
        ["large", "small", "quick", "twin"],
        mistakes={
            "`near` ties with `small` in two and loses in one: it is dominated.": [
                "large",
                "small",
                "quick",
                "twin",
                "near",
            ],
            "Equal rows do not dominate each other: `twin` stays.": ["large", "quick"],
            "Equal rows do not dominate each other: both `small` and `twin` stay.": [
                "large",
                "small",
                "quick",
            ],
            "The activations count too: `quick` has the fewest.": [
                "large",
                "small",
                "twin",
                "near",
            ],
            "More IoU is better: its sign is the other way round.": ["small", "quick", "twin"],
            "Keep the order of `rows`.": ["small", "twin", "large", "quick"],
            "Keep the order of `rows`, do not sort by name.": ["large", "quick", "small", "twin"],
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("the chain: values against the functional form", points=4):
    for keep in (True, False):
        chain = build(ChainBlock, 4, 2, 3, keep_input=keep)
        chain.train(False)
        chain.fill(seed=9)
        s = chain.state()
        image = torch.rand(2, 4, 5, 3, generator=torch.Generator().manual_seed(4)) - 0.4
        found = [image]
        for i in range(3):
            at = f"layers.{i}."
            new = F.batch_norm(
                found[-1],
                s[at + "norm.running_mean"],
                s[at + "norm.running_var"],
                s[at + "norm.weight"],
                s[at + "norm.bias"],
            )
            new = F.conv2d(F.relu(new), s[at + "conv.weight"], s[at + "conv.bias"], padding=1)
            found.append(new)
        check.equal(chain(image), torch.cat(found if keep else found[1:], 1), tolerance=1e-5)
with check.hidden("fronts drawn at random, against the definition", points=3):
    draw = torch.Generator().manual_seed(6)
    for n in (1, 2, 5, 12, 30):
        values = torch.randint(1, 6, (n, 3), generator=draw).tolist()
        rows = {f"net {i}": (p, iou / 10, a) for i, (p, iou, a) in enumerate(values)}
        want = []
        for mine in rows:
            p, iou, a = rows[mine]
            beaten = False
            for q, other, b in rows.values():
                no_worse = q <= p and other >= iou and b <= a
                beaten = beaten or (no_worse and (q < p or other > iou or b < a))
            if not beaten:
                want.append(mine)
        check.equal(pareto(rows), want)
with check.hidden("the front of nothing, of one, of equals", points=1):
    check.equal(pareto({}), [])
    check.equal(pareto({"only": (1, 0.0, 1)}), ["only"])
    check.equal(pareto({"b": (1, 0.5, 1), "a": (1, 0.5, 1)}), ["b", "a"])
with check.hidden("one axis decides", points=1):
    check.equal(pareto({"a": (2, 0.5, 1), "b": (1, 0.5, 1)}), ["b"])
    check.equal(pareto({"a": (1, 0.5, 1), "b": (1, 0.6, 1)}), ["b"])
    check.equal(pareto({"a": (1, 0.5, 2), "b": (1, 0.5, 1)}), ["b"])
with check.hidden("the rows are left as they were", points=1):
    check.unchanged(pareto, {"a": (1, 0.5, 2), "b": (1, 0.6, 1)})
### END HIDDEN TESTS
check.score()

# %% exercise="9.5" role="picture"
paper_rows = {  # million weights and IoU as printed in Table 3 of the paper; activations not printed
    "SegNet": (29.5, 0.464, 0),
    "DeconvNet": (252.0, 0.489, 0),
    "FCN-8s": (134.5, 0.570, 0),
    "FC-DenseNet56": (1.5, 0.589, 0),
    "FC-DenseNet67": (3.5, 0.658, 0),
    "FC-DenseNet103": (9.4, 0.669, 0),
}
plots.compare_values(
    yours=lambda: [float(name in pareto(paper_rows)) for name in paper_rows],
    expected=[float("FC-DenseNet" in name) for name in paper_rows],
    title="On the front of the paper's Table 3? SegNet, DeconvNet, FCN-8s, FC-DenseNet56, 67, 103",
    xlabel="row",
    ylabel="on the front: 1",
)

# %% [markdown] exercise="9.5" role="see"
# By weights and IoU alone only the three dense networks are on the front: that is the claim of the
# paper, from its own numbers. The third axis is set to 0, because the paper does not print it. The
# experiment below fills it in.

# %% [markdown] exercise="9.5" role="think" points=18
# **Think (18 points).** Answer after the experiment at the end. (a) What does the experiment say about
# weights and IoU, and by how much in the worst run? (b) What do the dense networks pay, in activations
# and multiply-accumulates? (c) Which of the two things that were taken away, reuse inside the block
# or the skips, carries the advantage *here*, and what follows for the sentence "feature reuse makes
# the network efficient"? (d) Name one reason why a small experiment may hide what a large one shows.
# Six to ten sentences with numbers.
#
# ### BEGIN SOLUTION
# (a) With fewer weights the dense network finds the lines better in every run, by the margin printed
# under the table. (b) It hands on more values and, with the copies of `torch.cat`, several times as
# many bytes as the baseline; the ratios are in the table. (c) Without
# skips, at equal weights, most of the lines are lost. The chain with a few more weights lies now above,
# now below: the spread of the seeds is as large as the difference. So here the skips, which also reuse
# features, but across the poolings, carry the advantage; about the reuse *inside* a block this evidence
# says nothing, and the sentence is too general for it. (d) Blocks of two layers leave
# little to reuse: the second layer of a chain misses only the block's input; with 12 layers it would
# miss eleven layers. Also: synthetic images are easy, and the ceiling is near. Full marks: a margin
# with its number (5), a cost with its ratio (5), the ablation read with its spread (5), a reason (3).
# ### END SOLUTION

# %% [markdown]
# ---
# ## The experiment: few weights, and who pays
#
# Now your parts become networks: two blocks down, one at the bottom, two up, two layers each.
#
# - *dense*: your `DenseBlock`, `TransitionDown`, `TransitionUp`;
# - *chain*: your `ChainBlock` in its place, one map more per layer, so that it has more weights;
# - *no skips*: as *dense*, but zeros arrive where the skips should: exactly as many weights;
# - *SegNet*: Lab 6's idea, two levels with two convolutions each and unpooling with switches, with
#   nearly twice the weights of *dense*.
#
# The same data, steps and rates for all; the seeds change weights and order.


# %% role="setup"
class SmallTiramisu(nn.Module):
    """FC-DenseNet with two levels, made of your parts; no dropout, the training is short."""

    def __init__(self, config: dict, block: type = DenseBlock, skips: bool = True) -> None:
        super().__init__()
        self.skips, k = skips, config["growth"]
        c, n = config["first"], config["blocks"][0]
        self.first = nn.Conv2d(config["channels"], c, 3, padding=1)
        one, two = c + n * k, c + 2 * n * k
        self.down = nn.ModuleList([block(c, k, n, dropout=0.0), block(one, k, n, dropout=0.0)])
        self.halve = nn.ModuleList([TransitionDown(one, 0.0), TransitionDown(two, 0.0)])
        self.bottom = block(two, k, n, keep_input=False, dropout=0.0)
        self.enlarge = nn.ModuleList([TransitionUp(n * k), TransitionUp(n * k)])
        self.up = nn.ModuleList(
            [
                block(n * k + two, k, n, keep_input=False, dropout=0.0),
                block(n * k + one, k, n, dropout=0.0),
            ]
        )
        self.last = nn.Conv2d(2 * n * k + one, config["classes"], 1)

    def forward(self, x: Tensor) -> Tensor:
        fine = self.down[0](self.first(x))
        coarse = self.down[1](self.halve[0](fine))
        x = self.bottom(self.halve[1](coarse))
        if not self.skips:
            fine, coarse = torch.zeros_like(fine), torch.zeros_like(coarse)
        x = self.up[0](self.enlarge[0](x, coarse))
        return self.last(self.up[1](self.enlarge[1](x, fine)))


class SmallSegNet(nn.Module):
    """Two levels of two convolutions, unpooled by switches; `width` maps, then twice as many."""

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        sizes = ((channels, width), (width, 2 * width), (2 * width, width), (width, width))
        self.encoder = nn.ModuleList(self.pair(a, b) for a, b in sizes[:2])
        self.decoder = nn.ModuleList(self.pair(a, b) for a, b in sizes[2:])
        self.last = nn.Conv2d(width, classes, 1)

    @staticmethod
    def pair(a: int, b: int) -> nn.Sequential:
        def conv(a: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU()]

        return nn.Sequential(*conv(a), *conv(b))

    def forward(self, x: Tensor) -> Tensor:
        switches = []
        for stage in self.encoder:
            x, index = F.max_pool2d(stage(x), 2, return_indices=True)
            switches.append(index)
        for stage in self.decoder:
            x = stage(F.max_unpool2d(x, switches.pop(), 2))
        return self.last(x)


config = {
    "channels": channels,
    "first": 2 * growth,
    "growth": growth,
    "blocks": (2, 2),
    "bottleneck": 2,
    "classes": len(names),
}
kinds = ("dense", "chain", "no skips", "SegNet")


def make(kind: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    if kind == "SegNet":
        net = SmallSegNet(channels, round(10 * growth / 3), len(names))
    elif kind == "chain":
        net = SmallTiramisu({**config, "growth": growth + 1, "first": 2 * growth + 2}, ChainBlock)
    else:
        net = SmallTiramisu(config, skips=kind == "dense")
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):  # §4.1: He's initialisation
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            nn.init.zeros_(part.bias)
    return net.to(device)


def cost(net: nn.Module) -> tuple[int, int, int, int]:
    """Weights, multiply-accumulates, values handed on, and those with the copies, by hooks."""
    made, copied, hooks = [], [], []
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            hooks.append(part.register_forward_hook(lambda _, x, y: made.append(y.numel())))
        if isinstance(part, DenseBlock):
            for layer in part.layers:
                hooks.append(
                    layer.register_forward_hook(lambda _, x, y: copied.append(x[0].numel()))
                )
    with torch.no_grad():
        net.eval()(torch.zeros(1, channels, size, size, device=device))
    for hook in hooks:
        hook.remove()
    weights = sum(p.numel() for p in net.parameters())
    macs = geometry.count_macs(net, (1, channels, size, size))
    return weights, macs, sum(made), sum(made) + sum(copied)


def pixel_loss(logits, batch):
    return losses.cross_entropy(logits, batch["mask"])


@torch.no_grad()
def predict(net, image):
    return net.eval()(image[None].to(device)).argmax(1)[0].cpu()


def score(net):
    """IoU of the thin class and mean IoU on the test images."""
    confusion = metrics.ConfusionMatrix(len(names))
    for sample in (test[i] for i in range(len(test))):
        confusion.update(predict(net, sample["image"])[None], sample["mask"][None])
    return float(confusion.iou()[thin]), float(confusion.mean_iou())


# %% role="experiment"
nets, results, costs_of = {}, {}, {}
with attempt("9.1, 9.2 and 9.5"):
    for seed in seeds:
        for kind in kinds:
            nets[kind, seed] = net = make(kind, seed)
            training.fit(
                net,
                train,
                pixel_loss,
                steps=steps,
                batch_size=8,
                lr=1e-2,
                schedule=training.poly_lr,
                seed=seed,
                device=device,
                progress=steps > 1000,
            )
            results[kind, seed], costs_of[kind] = score(net), cost(net)
rows = [
    [kind, seed, f"{costs_of[kind][0]:,}", *(f"{value:.3f}" for value in results[kind, seed])]
    for kind, seed in results
]
head = ["network", "seed", "weights", f"IoU of {names[thin]}", "mean IoU"]
plots.table(head, rows, title=f"{len(test)} test images")

# %% role="experiment"
if results:
    plots.show_masks(
        [test[1]["image"]] * 5,
        [test[1]["mask"], *(predict(nets[kind, seeds[0]], test[1]["image"]) for kind in kinds)],
        class_names=names,
        titles=["truth", *kinds],
        title="One test image, four networks",
        columns=5,
    ).show()

# %% role="experiment"
if results:
    which = 0 if dataset == "lines" else 1  # photographs: too few steps for a thin class
    watched = (f"IoU of {names[thin]}", "mean IoU")[which]
    ious = {kind: [results[kind, seed][which] for seed in seeds] for kind in kinds}
    plots.bars(
        list(kinds),
        [round(sum(ious[kind]) / len(seeds), 3) for kind in kinds],
        [(max(ious[kind]) - min(ious[kind])) / 2 for kind in kinds],
        title=f"{watched[0].upper()}{watched[1:]}; {len(seeds)} seeds, half their range as error",
        ylabel="IoU",
        limits=(0, 1.05),
    ).show()
    lead = [a - b for a, b in zip(ious["dense"], ious["SegNet"])]
    skip_gain = [a - b for a, b in zip(ious["dense"], ious["no skips"])]
    reuse_gain = [a - b for a, b in zip(ious["dense"], ious["chain"])]
    fewer = costs_of["dense"][0] / costs_of["SegNet"][0]
    print(
        f"dense has {fewer:.2f} times the weights of SegNet and leads by {min(lead):+.3f} or more."
    )
    print(f"Without skips it loses {min(skip_gain):.3f} or more.")
    print(f"Reuse inside the block: between {min(reuse_gain):+.3f} and {max(reuse_gain):+.3f}.")
    if dataset == "lines" and steps >= 80 and len(seeds) >= 3:
        assert fewer < 0.6, "the dense network must be the smaller one: check exercise 9.1"
        assert min(lead) > 0.03, "dense should find more of the lines: check 9.1 and 9.2"
        assert min(skip_gain) > 0.15, "the skips should bring the lines back: check exercise 9.2"

# %% [markdown]
# Few weights: yes. Now the other side of the bill. Each number is counted on the network itself, by
# hooks, and for the dense one your formulas of 9.3 and 9.4 must give the same.

# %% role="experiment"
with attempt("9.3, 9.4 and 9.5"):
    if results:
        rows = [
            [
                kind,
                *(f"{number:,}" for number in costs_of[kind]),
                f"{sum(ious[kind]) / len(seeds):.3f}",
            ]
            for kind in kinds
        ]
        head = ["network", "weights", "MACs", "values handed on", "with copies", "mean of the IoUs"]
        plots.table(head, rows, title=f"One image of {size} × {size} pixels").show()
        plan = layer_plan(config)
        yours = (
            count_parameters(plan),
            count_macs(plan, size, size),
            activation_memory(plan, size, size) // 4,
            activation_memory(plan, size, size, copies=True) // 4,
        )
        agree = "agree" if yours == costs_of["dense"] else f"differ: {yours}"
        print(f"Your formulas and the hooks {agree}.")
        table = {
            kind: (costs_of[kind][0], sum(ious[kind]) / len(seeds), costs_of[kind][3])
            for kind in kinds
        }
        print(
            "On the Pareto front of (weights, IoU, values with copies):", ", ".join(pareto(table))
        )

# %% [markdown]
# And the published networks, on the 360 × 480 pixels of CamVid. They run on the `meta` device, which
# knows shapes and no numbers.


# %% role="experiment"
def published_cost(net: nn.Module, h: int = 360, w: int = 480) -> tuple[int, int, int]:
    """Weights, multiply-accumulates and values that all convolutions hand on."""
    made = []
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.register_forward_hook(lambda _, x, y: made.append(y.numel()))
    with torch.no_grad():
        net.eval()(torch.zeros(1, 3, h, w, device="meta"))
    values = sum(made)
    return sum(p.numel() for p in net.parameters()), geometry.count_macs(net, (1, 3, h, w)), values


with attempt("9.3 and 9.4"):
    with torch.device("meta"):
        segnet_cost = published_cost(models.SegNet())
    plan103 = layer_plan(tiramisu103)
    dense_cost = (count_parameters(plan103), count_macs(plan103, 360, 480))
    handed = activation_memory(plan103, 360, 480)
    copied = activation_memory(plan103, 360, 480, copies=True)
    rows = [
        [
            "SegNet",
            f"{segnet_cost[0] / 1e6:.2f}",
            f"{segnet_cost[1] / 1e9:.1f}",
            f"{4 * segnet_cost[2] / 2**20:.0f}",
            f"{4 * segnet_cost[2] / 2**20:.0f}",
        ],
        [
            "FC-DenseNet103",
            f"{dense_cost[0] / 1e6:.2f}",
            f"{dense_cost[1] / 1e9:.1f}",
            f"{handed / 2**20:.0f}",
            f"{copied / 2**20:.0f}",
        ],
    ]
    head = ["network", "million weights", "GMACs", "MiB handed on", "MiB with copies"]
    plots.table(head, rows, title="One image of 360 × 480 pixels, float32").show()
    plots.bars(
        ["weights", "multiply-accumulates", "values handed on", "with copies"],
        [
            dense_cost[0] / segnet_cost[0],
            dense_cost[1] / segnet_cost[1],
            handed / (4 * segnet_cost[2]),
            copied / (4 * segnet_cost[2]),
        ],
        title="FC-DenseNet103 over SegNet, counted; below 1 the dense network is cheaper",
        ylabel="ratio",
    ).show()

# %% role="experiment"
if results and dataset == "lines" and steps >= 80 and len(seeds) >= 3:
    claim(
        9,
        "With fewer weights a dense network segments better than SegNet's design.",
        quantity=f"IoU of thin lines, dense less SegNet, at {fewer:.2f} times the weights",
        paper="Jégou et al. 2017, Table 3: 66.9 against 46.4 mean IoU, 9.4 against 29.5 M weights",
        values=lead,
        at_least=0.03,
    ).show()
    claim(
        9,
        "Skips that concatenate across the poolings carry the thin lines.",
        quantity="IoU of thin lines, with skips less without, equal weights",
        paper="Jégou et al. 2017, §3.2: argued, no ablation printed",
        values=skip_gain,
        at_least=0.15,
    ).show()
    claim(
        9,
        "Reuse inside a block helps: reading all maps beats reading the last ones.",
        quantity="IoU of thin lines, dense block less chain; the chain has more weights",
        paper="Jégou et al. 2017, §1 and §5: argued; Huang et al. 2017, §5: shown on classification",
        values=reuse_gain,
        at_least=0.02,
    ).show()
    claim(
        9,
        "The few weights are paid for in activations.",
        quantity="bytes with copies, FC-DenseNet103 over SegNet, 360 × 480 pixels",
        paper="not printed",
        values=[copied / (4 * segnet_cost[2])],
        at_least=1.0,
        counted=True,
    ).show()

# %% [markdown]
# **What you should see.** With 0.57 times SegNet's weights, and about half of its multiply-accumulates,
# the dense network finds more of the lines in *every* run: at least 0.03 more IoU is asserted, and
# 0.10 to 0.17 more we saw in six seeds. Then the bill: it hands on a sixth fewer values than SegNet,
# but with the copies of `torch.cat` more than twice as many. The published pair shows it more
# clearly: weights divided by 3.2, multiply-accumulates only by 1.5, values handed on *times* 1.2, and
# with the copies times 6.3.
#
# Now the ablation. Take the skips away and half of the IoU of lines goes. Take the reuse inside the
# block away, give the chain a few more weights, and you cannot tell the difference: in six seeds dense
# less chain lay between −0.04 and +0.04, with a mean of 0.00. The card says so. Blocks of two layers
# leave little to reuse; the copies are paid all the same.
#
# | | paper | here |
# |---|---|---|
# | data | CamVid, 367 training images of 360 × 480, 11 classes | 160 synthetic images of 32 × 32, 3 classes |
# | networks | FC-DenseNet103, 9.3 million weights; SegNet, 29.4 million | 6,342 and 11,223 weights, no dropout |
# | training | up to 750 epochs, then fine-tuned on full images | 80 steps of 8 images |
# | claim | mean IoU 66.9 against 46.4, without pretraining (Table 3) | measured above, with the spread over seeds |
# | cost | weights printed | weights, multiply-accumulates and activations counted |

# %% [markdown]
# ## The ladder
#
# Every system of the course on the same images, scored on lines two pixels wide, with its cost.
# FC-DenseNet's rung is marked: look at its weights, and then at its activations.

# %% role="experiment"
ladder.picture(lab=9)

# %% [markdown]
# **Going on.** Set `dataset = "camvid"` in the parameter cell for streets (the thin class is the pole),
# or `"voc2012"`; point the environment variable `COURSE_DATA` at the folder that holds them. On a GPU
# set `device = "cuda"`, `size = 224`, `growth = 12`, `steps = 5000`; `course.models.FCDenseNet103` is
# the published network. Do not expect poles from 80 steps: at `size = 64` one
# seed gave IoU 0.00 for them with all four networks, and a mean IoU of 0.19 (dense), 0.20 (chain), 0.18
# (no skips) and 0.17 (SegNet). The authors test with *batch* statistics, that is with the normalisation in
# training mode: try both.
#
# **Reading.** Jégou et al. 2017, §3 and Tables 1–3. Huang et al. 2017, §3 and §5. He et al. 2016,
# [arXiv:1512.03385](https://arxiv.org/abs/1512.03385), §3, for layers that add. Pleiss et al. 2017,
# *Memory-Efficient Implementation of DenseNets*,
# [arXiv:1707.06990](https://arxiv.org/abs/1707.06990), §3, for the copies. Radosavovic et al. 2020,
# [arXiv:2003.13678](https://arxiv.org/abs/2003.13678), §3.1, for activations as a measure of cost.
