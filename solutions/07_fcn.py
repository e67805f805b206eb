# %% [markdown]
# # Lab 7 · FCN: a classifier that looks everywhere, and skips that make it sharp
#
# [[exercises]]
#
# **You will be able to**
# - turn the fully connected layers of a classifier into convolutions, and know why nothing changes;
# - enlarge a coarse map with a transposed convolution that interpolates;
# - say which pixel a unit of any layer stands on, and line two layers up to the pixel;
# - write the loss of every pixel, with pixels that do not count;
# - measure what a skip connection is worth.
#
# **Paper.** J. Long, E. Shelhamer, T. Darrell, *Fully Convolutional Networks for Semantic
# Segmentation*, CVPR 2015, [arXiv:1411.4038](https://arxiv.org/abs/1411.4038). Read §3 (adapting
# classifiers, upsampling) and §4 (the skip architecture, training); you will write all of it.
#
# **From before.** Patch scanning and its cost (Lab 5), transposed convolution (Lab 6). Run every
# cell from top to bottom. A check cell never stops the notebook: it says what it expected, what
# came, and the usual cause.

# %% tags=["parameters"]
dataset = "lines"  # made on the spot; "camvid" and "voc2012" are read from COURSE_DATA
device = "cpu"  # "cuda" where there is one
steps = 300  # training steps per run; 3000 and more for photographs
size = 64  # side of the images in pixels
width = 8  # channels of the first stage; 64 in the paper
seeds = [0, 1, 2]

# %% role="setup"
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course import ladder, losses, metrics, plots, training, upsampling
from course.checks import Exercise, attempt, build, gradients
from course.claims import claim
from course.experiments.sets import load_set

# %% [markdown]
# ## The picture of this lab
#
# Discs and lines that are two pixels wide. A network that halves its map three times has one unit
# for 8 × 8 pixels: enough to say *that* a line is there, too few to say *where*. Watch the lines.

# %% role="setup"
train, test, names, channels = load_set(
    dataset, task="segmentation", size=size, train=200 if dataset == "lines" else None, test=60
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
# The lecture's moving picture of this lab: predict, then drag. `uv run course lectures open 7` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("fcn_skips")

# %% [markdown]
# ---
# ## 7.1 A fully connected layer is a convolution

# %% [markdown] exercise="7.1" role="idea"
# In Lab 5 you turned a patch network into one dense pass by removing its strides. FCN keeps the
# strides, so the pass is cheaper and the map of scores coarse. What has to be converted is the same:
# a fully connected layer behind a map of $c \times h \times w$ numbers, which multiplies every number
# by a weight and adds. A convolution whose kernel covers the whole map does exactly that; behind a
# 1 × 1 map the kernel is 1 × 1. In a larger image the kernel finds more than one place.
#
# $$y_k = b_k + \sum_{c,i,j} W_k[c,i,j]\; x[c,\,i,\,j]$$
#
# [Long et al. 2015, §3.1 and Figure 2]

# %% exercise="7.1" role="look"
sides = [224, 256, 320, 384, 512]
plots.bars(
    [str(n) for n in sides],
    [n // 32 - 6 for n in sides],
    title="A converted VGG16: its 7 × 7 kernel on the map of stride 32",
    xlabel="side of the image, pixels",
    ylabel="side of the score map",
)

# %% [markdown] exercise="7.1" role="contract" title="Convert a layer" minutes=15
# - `weight`: `(K, channels * height * width)`, `bias`: `(K,)`, as in `nn.Linear`; the inputs were
#   flattened by `x.flatten(1)` from `(B, channels, height, width)`.
# - Result: an `nn.Conv2d` without padding that gives the same K numbers on a map of that size.
# - On a larger map it gives those numbers for every place of the kernel, one unit apart.

# %% [markdown] exercise="7.1" role="hints"
# 1. Number the values of a tiny map 0, 1, 2, … and flatten it. Which axis runs fastest?
# 2. `flatten` keeps the order channel, row, column. So a row of the matrix, cut up in that order, is
#    a kernel already.
# 3. `conv = nn.Conv2d(channels, len(weight), (height, width))`


# %% exercise="7.1" role="gap"
def linear_to_conv(
    weight: Tensor, bias: Tensor, channels: int, height: int, width: int
) -> nn.Conv2d:
    """The convolution that equals a fully connected layer on a map (channels, height, width).

    Worked number: VGG16's fc6, weight (4096, 25088) on 512 × 7 × 7, becomes a kernel of
    (4096, 512, 7, 7).
    """
    ### BEGIN SOLUTION
    conv = nn.Conv2d(channels, len(weight), (height, width))
    with torch.no_grad():
        conv.weight.copy_(weight.reshape(conv.weight.shape))
        conv.bias.copy_(bias)
    return conv
    ### END SOLUTION


# %% exercise="7.1" role="check"
check = Exercise("7.1", points=12, forbid=["course.models"])

weight, bias = torch.arange(24.0).reshape(2, 12) / 10, torch.tensor([1.0, -2.0])
small = torch.tensor([[[[1.0, 2, 3], [4, 5, 6]], [[0, 1, 0], [2, 0, 3]]]])
kernels = weight.reshape(2, 2, 2, 3)
last = weight.reshape(2, 2, 3, 2).permute(0, 3, 1, 2)  # channels last, as in other frameworks
swapped = weight.reshape(2, 2, 3, 2).mT
with check(
    "two classes on a map of 2 × 2 × 3",
    points=2,
    hint="A new convolution comes with random weights and a random bias: copy both.",
):
    conv = build(linear_to_conv, weight, bias, 2, 2, 3)
    check.equal(
        conv(small),
        torch.tensor([13.8, 43.2]).reshape(1, 2, 1, 1),
        mistakes={
            "The weights are cut up as (height, width, channels); flatten puts the channel first.": (
                F.conv2d(small, last, bias)
            ),
            "Rows and columns of the kernel are swapped.": F.conv2d(small, swapped, bias),
            "Did you forget the bias?": F.conv2d(small, kernels),
            "The matrix is transposed: row k holds the weights of class k already.": F.conv2d(
                small, weight.T.reshape(2, 2, 2, 3), bias
            ),
            "The kernel is turned round. `Conv2d` does not flip, so you need not either.": F.conv2d(
                small, kernels.flip(-1, -2), bias
            ),
        },
    )
with check("a map of 3 × 5 has two by three places", points=1):
    conv = build(linear_to_conv, weight, bias, 2, 2, 3)
    check.equal(
        list(conv(torch.ones(1, 2, 3, 5)).shape),
        [1, 2, 2, 3],
        mistakes={
            "Padding adds places that hang over the edge: use none.": [1, 2, 3, 5],
            "Padding adds places that hang over the edge.": [1, 2, 4, 5],
            "The kernel is lying on its side: (height, width) is the order.": [1, 2, 1, 4],
            "A stride of the kernel's size skips places: the stride is 1.": [1, 2, 1, 1],
        },
    )
with check("the lecture's case: behind 1 × 1 the kernel is 1 × 1", points=1):
    conv = build(linear_to_conv, torch.tensor([[2.0, 1.0, 0.0]]), torch.zeros(1), 3, 1, 1)
    maps = torch.arange(12.0).reshape(1, 3, 2, 2)
    check.equal(conv(maps), torch.tensor([[[[4.0, 7.0], [10.0, 13.0]]]]))
### BEGIN HIDDEN TESTS
with check.hidden("random layers at every place of a larger map", points=4):
    for c, h, w, k in ((3, 2, 4, 5), (1, 3, 3, 2), (4, 5, 1, 3)):
        torch.manual_seed(c)
        weight, bias, x = torch.randn(k, c * h * w), torch.randn(k), torch.randn(2, c, h + 2, w + 3)
        got = build(linear_to_conv, weight, bias, c, h, w)(x)
        want = torch.stack(
            [
                F.linear(x[:, :, i : i + h, j : j + w].flatten(1), weight, bias)
                for i in range(3)
                for j in range(4)
            ],
            -1,
        ).reshape(2, k, 3, 4)
        check.equal(got, want, tolerance=1e-4)
with check.hidden("two layers, one after the other", points=2):
    torch.manual_seed(7)
    w6, b6, w7, b7 = torch.randn(6, 24), torch.randn(6), torch.randn(4, 6), torch.randn(4)
    x = torch.randn(1, 2, 5, 6)
    six, seven = build(linear_to_conv, w6, b6, 2, 3, 4), build(linear_to_conv, w7, b7, 6, 1, 1)
    want = F.linear(F.relu(F.linear(x[:, :, 2:5, 1:5].flatten(1), w6, b6)), w7, b7)
    check.equal(seven(F.relu(six(x)))[:, :, 2, 1], want, tolerance=1e-4)
with check.hidden("a layer of two parameters that can be trained on", points=1):
    conv = build(linear_to_conv, torch.randn(3, 8), torch.randn(3), 2, 2, 2)
    check.equal(conv.parameter_count(), 3 * 8 + 3)
    found = conv.gradients(torch.ones(1, 2, 2, 2))
    check.equal(found["bias"], torch.ones(3))
with check.hidden("one class and seven, on one channel", points=1):
    for k in (1, 7):
        weight, bias = torch.randn(k, 6), torch.randn(k)
        got = build(linear_to_conv, weight, bias, 1, 3, 2)(torch.ones(1, 1, 3, 2))
        check.equal(got[0, :, 0, 0], weight.sum(1) + bias, tolerance=1e-4)
### END HIDDEN TESTS
check.score()

# %% exercise="7.1" role="picture"
picture, mask = test[0]["image"], test[0]["mask"]
side = 9
windows = torch.cat(
    [F.unfold(train[i]["image"][None], side)[0].T for i in range(20)]
)  # every window of 20 images, flattened
centres = torch.cat([F.unfold(train[i]["mask"][None, None].float(), side)[0].T for i in range(20)])
of_thin = centres[:, side * side // 2] == thin
template = windows[of_thin].mean(0) - windows[~of_thin].mean(0)  # a classifier in one line
wide = windows.shape[1] // side**2
plots.compare(
    yours=lambda: linear_to_conv(template[None], torch.zeros(1), wide, side, side)(picture)[
        0
    ].detach(),
    expected=F.conv2d(picture[None], template.reshape(1, wide, side, side))[0, 0],
    title=f"One linear layer on windows of {side} × {side}, at every place of a test image",
)

# %% [markdown] exercise="7.1" role="see"
# The difference is 0, and the map is 8 pixels smaller than the image: a window of 9 finds 56 × 56
# places in 64 × 64 pixels. The lines light up, and the discs even more: one linear layer can weigh
# brightness, but it cannot say "thin".

# %% [markdown] exercise="7.1" role="think"
# **Think.** The converted VGG16 accepts an image of any size from 224 on. Which number in the network
# says how far apart the scores are, and how many windows would a scan with that step need at 512?
#
# ### BEGIN SOLUTION
# The product of the strides, 32. At 512 the score map has side 10, so a scan would classify 100
# windows and compute most convolutions many times over.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 7.2 Interpolation as a layer

# %% [markdown] exercise="7.2" role="idea"
# The score map is 32 times too small. A transposed convolution (Lab 6) enlarges it; which kernel
# makes it *interpolate*? A triangle: every unit hands its score on with a weight that falls linearly
# to 0 at its neighbour, $f$ pixels away. With $k = 2f - (f \bmod 2)$ taps around the centre
# $c = (k-1)/2$,
#
# $$v(i) = 1 - \frac{|i-c|}{f}, \qquad \text{kernel} = v\,v^{\top} .$$
#
# Its sum is $f^2$, not 1: an output pixel lies under several stamps. Each class is enlarged on its
# own. FCN starts its deconvolution layers like this, and may train them on. [Long et al. 2015, §3.3]

# %% exercise="7.2" role="look"
plots.curves(
    {
        "stamp of unit 0": [0.25, 0.75, 0.75, 0.25, 0, 0, 0, 0],
        "stamp of unit 1": [0, 0, 0.25, 0.75, 0.75, 0.25, 0, 0],
        "their sum": [0.25, 0.75, 1, 1, 0.75, 0.25, 0, 0],
    },
    title="Factor 2: two neighbouring units with score 1",
    xlabel="pixel of the raw result",
    ylabel="share of the score",
)

# %% [markdown] exercise="7.2" role="contract" title="A kernel that interpolates" minutes=20
# - `bilinear_kernel(factor)`: `(k, k)` float32.
# - `upsample(scores, factor)`: `(B, K, H, W)` → `(B, K, (H - 1) * factor + k, (W - 1) * factor + k)`,
#   the **whole** transposed convolution with stride `factor`, every class on its own. `scores` may be
#   float64; the result is too.
# - A factor below 1 raises `ValueError`.
# - `interpolate` and `nn.Upsample` are not allowed here; `F.conv_transpose2d` is.

# %% [markdown] exercise="7.2" role="hints"
# 1. Write the taps of factor 2 and factor 3 on paper. Where is the middle of 4 taps? Of 5?
# 2. One kernel per class, and no class may see another: that is what `groups` is for.
# 3. `taps = 1 - (torch.arange(k) - (k - 1) / 2).abs() / factor`


# %% exercise="7.2" role="gap"
def bilinear_kernel(factor: int) -> Tensor:
    """Kernel (k, k) with which a transposed convolution of stride `factor` interpolates.

    Worked number: the taps of factor 2 are 0.25, 0.75, 0.75, 0.25.
    """
    ### BEGIN SOLUTION
    if factor < 1:
        raise ValueError(f"the factor must be at least 1, got {factor}")
    k = 2 * factor - factor % 2
    taps = 1 - (torch.arange(k) - (k - 1) / 2).abs() / factor
    return taps[:, None] * taps
    ### END SOLUTION


def upsample(scores: Tensor, factor: int) -> Tensor:
    """All of the transposed convolution of scores (B, K, H, W), class by class, nothing cropped.

    Worked number: 16 × 16 scores become 544 × 544 with factor 32.
    """
    ### BEGIN SOLUTION
    kernel, classes = bilinear_kernel(factor).to(scores), scores.shape[1]
    return F.conv_transpose2d(
        scores, kernel.expand(classes, 1, *kernel.shape), stride=factor, groups=classes
    )
    ### END SOLUTION


# %% exercise="7.2" role="check"
check = Exercise(
    "7.2",
    points=16,
    forbid=["course.upsampling", "torch.nn.functional.interpolate", "torch.nn.Upsample"],
)


def outer(*taps):
    return torch.tensor(taps)[:, None] * torch.tensor(taps)


with check("the kernel of factor 2", points=1):
    check.equal(
        bilinear_kernel(2),
        outer(0.25, 0.75, 0.75, 0.25),
        mistakes={
            "The entries sum to 4 = factor². Do not divide them down to 1.": outer(
                0.125, 0.375, 0.375, 0.125
            ),
            "The middle of four taps is 1.5, between two of them: (k - 1) / 2.": outer(
                0.5, 1.0, 0.5, 0.0
            ),
            "That centre is k / 2; tap numbers start at 0.": outer(0.0, 0.5, 1.0, 0.5),
            "Three taps are factor 2 for a map that keeps its corners; here k = 2 f - f mod 2.": (
                outer(0.5, 1.0, 0.5)
            ),
            "That repeats each score (nearest neighbour); let the taps fall off.": torch.ones(2, 2),
            "Divide the distance by the factor, not by k.": outer(0.625, 0.875, 0.875, 0.625),
        },
    )
with check("the taps of factor 3", points=1):
    check.equal(
        bilinear_kernel(3)[2],
        torch.tensor([1 / 3, 2 / 3, 1.0, 2 / 3, 1 / 3]),
        mistakes={
            "An odd factor has 2 f - 1 taps, five here.": torch.tensor(
                [1 / 36, 3 / 36, 5 / 36, 5 / 36, 3 / 36, 1 / 36]
            )
            * 5,
            "The last row is not the middle one: is the centre off by one?": torch.tensor(
                [2 / 9, 4 / 9, 2 / 3, 4 / 9, 2 / 9]
            ),
        },
    )
with check("two classes, one row of scores, factor 2", points=2):
    scores = torch.tensor([[[[4.0, 8.0]], [[0.0, -4.0]]]])
    row = torch.tensor([[1.0, 3, 5, 7, 6, 2], [0, 0, -1, -3, -3, -1]])
    taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
    want = (row[:, None] * taps[:, None])[None]
    both = want.sum(1, keepdim=True).expand(1, 2, 4, 6)
    check.equal(
        upsample(scores, 2),
        want,
        mistakes={
            "Every class gets the sum of all classes: enlarge each on its own.": both,
            "Every class gets the mean of all classes: enlarge each on its own.": both / 2,
            "Crop nothing here: the rim is cut in exercise 7.3.": want[..., 1:-1, 1:-1],
            "That result is four times too dim: the kernel's sum is factor².": want / 4,
            "That repeats each score (nearest neighbour).": F.interpolate(scores, scale_factor=2),
            "That is the size of `interpolate`: a transposed convolution gives (H-1) f + k.": (
                F.interpolate(scores, scale_factor=2, mode="bilinear")
            ),
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("kernels of factor 1 to 9, 16 and 32", points=3):
    for f in (1, 2, 3, 4, 5, 6, 7, 8, 9, 16, 32):
        check.equal(bilinear_kernel(f), upsampling.bilinear_kernel(f), dtype=True)
with check.hidden("the sum is the square of the factor", points=1):
    for f in (2, 3, 8):
        check.equal(float(bilinear_kernel(f).sum()), float(f * f), tolerance=1e-4)
with check.hidden("a factor below 1 is refused", points=1):
    check.raises(ValueError, bilinear_kernel, 0)
    check.raises(ValueError, bilinear_kernel, -2)
with check.hidden("batches, odd sizes, odd factors", points=4):
    for f, shape in ((2, (2, 3, 4, 7)), (3, (1, 1, 5, 2)), (4, (3, 2, 1, 6)), (5, (1, 4, 3, 3))):
        torch.manual_seed(f)
        scores = torch.randn(shape)
        check.equal(upsample(scores, f), upsampling.bilinear_upsample(scores, f, 0), tolerance=1e-4)
with check.hidden("the inside equals interpolation", points=1):
    scores = torch.rand(1, 2, 5, 6)
    inside = upsample(scores, 4)[..., 4:-4, 4:-4]
    want = F.interpolate(scores, scale_factor=4, mode="bilinear")[..., 2:-2, 2:-2]
    check.equal(inside, want, tolerance=1e-4)
with check.hidden("gradients, doubles, and scores left alone", points=2):
    found = gradients(upsample, torch.rand(1, 2, 3, 4), 2)[0]
    check.equal(found, torch.full((1, 2, 3, 4), 4.0))
    check.unchanged(upsample, torch.rand(1, 2, 3, 4), 2)
    scores = torch.rand(1, 1, 2, 2, dtype=torch.float64)
    check.equal(upsample(scores, 2).dtype == torch.float64, True)
### END HIDDEN TESTS
check.score()

# %% exercise="7.2" role="picture"
coarse = F.avg_pool2d(picture.mean(0)[None, None], 8)
plots.compare(
    yours=lambda: upsample(coarse, 8)[0, 0],
    expected=upsampling.bilinear_upsample(coarse, 8, 0)[0, 0],
    title="A test image averaged over 8 × 8 pixels, and enlarged eight times again",
)

# %% [markdown] exercise="7.2" role="see"
# A blurred image of 72 × 72 pixels with a dim frame: 8 pixels more than the image, since the outer
# stamps hang over by 4 on each side. The discs are blobs, and of the lines a shade is left at best.
# No kernel brings them back: the coarse map does not hold them.

# %% [markdown] exercise="7.2" role="think"
# **Think.** The paper lets the network train these kernels, the authors' later release keeps them
# fixed, and the scores differ by little. What could a trained kernel do that a bilinear one cannot?
#
# ### BEGIN SOLUTION
# Sharpen: give a unit's neighbours negative weights, or mix classes (its weight is a kernel from
# every class to every class). It cannot add what the coarse map does not hold, and all places share
# one kernel, so the gain is small. The detail has to come from finer layers.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 7.3 Which pixel does a unit stand on?
#
# Every map of a network is a grid $(a, s)$: unit $i$ stands on pixel $a + s\,i$, the middle of its
# receptive field. The image is the grid $(0, 1)$. A layer with kernel $k$, stride $t$ and padding $p$
# turns the grid $(a, s)$ into
#
# $$\Big(a + s\,\big(\tfrac{k-1}{2} - p\big),\;\; s\,t\Big).$$
#
# FCN's VGG16 pads its first layer by 100 pixels. That puts pool3 on (−95.5, 8), pool4 on (−91.5, 16),
# pool5 on (−83.5, 32), and fc6, a kernel of 7 without padding, on (12.5, 32).

# %% [markdown] exercise="7.3" role="idea"
# Two maps may be added only where their units stand on the same pixels. Enlarge the grid $(a, s)$ by
# $f$: it becomes a grid of stride $s/f$, and its output 0 lies half a kernel before unit 0, which
# stamps its kernel's *middle*:
#
# $$a' = a - \frac{s}{f}\cdot\frac{k-1}{2}, \qquad
#   \text{offset} = \frac{a' - a_{\text{fine}}}{s_{\text{fine}}}, \qquad s_{\text{fine}} = \frac{s}{f} .$$
#
# In the released networks the offsets are 5 and 9 onto a skip, and −19, −27 and −31 onto the pixels
# (crops of 19, 27 and 31).
# [Long et al. 2015, §3 and §4.2; the crops are in the released code]

# %% exercise="7.3" role="look"
plots.curves(
    {
        "stride 2": ([0.5 + 2 * i for i in range(8)], [2.0] * 8),
        "stride 4": ([1.5 + 4 * i for i in range(4)], [4.0] * 4),
        "stride 8": ([3.5 + 8 * i for i in range(2)], [8.0] * 2),
    },
    title="Where units stand after one, two and three poolings of 2 × 2",
    xlabel="pixel",
    ylabel="stride of the map",
)

# %% [markdown] exercise="7.3" role="contract" title="Line up and add" minutes=30
# - `crop_offset(coarse, fine, kernel)`: grids as `(a, s)`; which unit of `fine` lies under output 0
#   of the raw enlarged `coarse`. Negative: the result begins before `fine`. `int`; grids that never
#   meet (no whole number) raise `ValueError`.
# - `fuse(coarse, skip, offset)`: `(B, K, h, w)` enlarged **twice** by your `upsample`, plus `skip`
#   `(B, K, H, W)`; what hangs over at the front is cut from `skip` (`offset` ≥ 0) or from the
#   enlarged map (below 0), then both are cut at the end to the common size.
# - Pixel shifts by resizing (`interpolate`) are not allowed.

# %% [markdown] exercise="7.3" role="hints"
# 1. Draw three units of stride 8 and below them the outputs of a factor-2 enlargement, 4 apart.
#    Unit 0 stands between outputs 1 and 2.
# 2. `fine[1]` is $s/f$ already, so you do not need $f$. For `fuse`: a negative offset of −1 means
#    that the first row and column of the enlarged map have no partner.
# 3. `begin = coarse[0] - fine[1] * (kernel - 1) / 2` and `up = upsample(coarse, 2)`


# %% exercise="7.3" role="gap"
def crop_offset(coarse: tuple[float, float], fine: tuple[float, float], kernel: int) -> int:
    """Unit of the grid `fine` on which output 0 of the enlarged grid `coarse` lies.

    Worked number: stride 8 at 3.5, enlarged with 4 taps onto stride 4 at 1.5: -1.
    """
    ### BEGIN SOLUTION
    begin = coarse[0] - fine[1] * (kernel - 1) / 2
    offset = (begin - fine[0]) / fine[1]
    if offset != round(offset):
        raise ValueError(f"output 0 stands {offset} units into the fine grid: they never meet")
    return round(offset)
    ### END SOLUTION


def fuse(coarse: Tensor, skip: Tensor, offset: int) -> Tensor:
    """Scores at stride s, enlarged twice, plus the scores of a finer layer.

    Worked number: 2 × 3 and 5 × 7 with offset -1: the raw 6 × 8 begins one unit early, 5 × 7 remain.
    """
    ### BEGIN SOLUTION
    up = upsample(coarse, 2)
    if offset < 0:
        up = up[..., -offset:, -offset:]
    else:
        skip = skip[..., offset:, offset:]
    h, w = (min(a, b) for a, b in zip(up.shape[-2:], skip.shape[-2:]))
    return up[..., :h, :w] + skip[..., :h, :w]
    ### END SOLUTION


# %% exercise="7.3" role="check"
check = Exercise(
    "7.3",
    points=20,
    forbid=["course.upsampling", "course.models", "torch.nn.functional.interpolate"],
)

with check("the published crop of pool4: 5 units", points=1):
    check.equal(
        crop_offset((12.5, 32), (-91.5, 16), 4),
        5,
        mistakes={
            "The middle of a kernel is tap (k - 1) / 2, not k / 2.": 4.5,
            "The middle of a kernel is tap (k - 1) / 2, not k / 2, and its taps are s / f apart, not "
            "s.": 4,
            "Is half the kernel missing? Output 0 lies before unit 0.": 6.5,
            "Is half the kernel missing? Output 0 lies before unit 0. ": 6,
            "The kernel's taps are s / f apart, as the outputs are, not s.": 3.5,
            "That is in pixels: divide by the stride of the fine grid.": 80,
            "Divide by the stride of the fine grid, not of the coarse one.": 2.5,
            "The sign is wrong: output 0 minus the start of the fine grid.": -5,
            "Output 0 lies before unit 0, not behind it: subtract half the kernel.": 8,
        },
    )
with check("onto pixels: the 19 of FCN-32s", points=1):
    check.equal(
        crop_offset((12.5, 32), (0, 1), 64),
        -19,
        mistakes={
            "The sign is wrong: the raw result begins 19 pixels before the image.": 19,
            "The result begins at pixel 12.5 - 31.5; is half the kernel missing?": 12.5,
        },
    )


def stamp(scores):
    """Factor 2, one class, by its taps."""
    taps = torch.tensor([0.25, 0.75, 0.75, 0.25])
    return F.conv_transpose2d(scores, taps.outer(taps)[None, None], stride=2)


coarse = torch.tensor([[[[0.0, 4, 0], [0, 0, 0]]]])
skip = torch.zeros(1, 1, 5, 7)
skip[..., 0, 5] = 100
raw = stamp(coarse)
with check("one score of 4 beside one of 100", points=2):
    check.equal(
        fuse(coarse, skip, -1),
        raw[..., 1:, 1:] + skip,
        mistakes={
            "The enlarged map is not cropped in front: everything lies one unit too low.": (
                raw[..., :5, :7] + skip
            ),
            "Only half of that: add, do not average.": (raw[..., 1:, 1:] + skip) / 2,
            "FCN adds the scores; it does not put them behind each other.": torch.cat(
                [raw[..., 1:, 1:], skip], 1
            ),
            "You crop the skip in front; with a negative offset it is the enlarged map.": (
                raw[..., :4, :6] + skip[..., 1:, 1:]
            ),
            "Enlarge first, then add; added before, the fine scores lose their place.": (
                stamp(coarse + F.max_pool2d(skip, 2))[..., 1:, 1:]
            ),
            "Enlarge first, then add; averaged before, the fine scores lose their place.": (
                stamp(coarse + F.avg_pool2d(skip, 2))[..., 1:, 1:]
            ),
            "The enlarged map is cropped on both sides and its end is lost.": (
                raw[..., 1:-1, 1:-1] + skip[..., :4, :6]
            ),
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("the other published crops: 9, 27, 31", points=2):
    check.equal(crop_offset((-11.5, 16), (-95.5, 8), 4), 9)
    check.equal(crop_offset((-11.5, 16), (0, 1), 32), -27)
    check.equal(crop_offset((-23.5, 8), (0, 1), 16), -31)
with check.hidden("padded networks: minus half the factor", points=2):
    for f in (2, 4, 8, 32):
        check.equal(crop_offset(((f - 1) / 2, f), (0, 1), 2 * f), -(f // 2))
    check.equal(crop_offset((1.0, 3.0), (0, 1), 5), -1)
    check.equal(crop_offset((7.5, 16), (3.5, 8), 4), -1)
with check.hidden("grids that never meet are refused", points=2):
    check.raises(ValueError, crop_offset, (12.5, 32), (0, 1), 63)
    check.raises(ValueError, crop_offset, (3.0, 8), (1.5, 4), 4)
with check.hidden("batches, classes, odd sizes, offset below 0", points=3):
    for n, (h, w), (a, b), offset in (
        (2, (3, 4), (6, 8), -1),
        (1, (4, 2), (7, 3), -1),
        (3, (2, 5), (3, 9), -2),
    ):
        torch.manual_seed(h)
        low, high = torch.randn(n, 3, h, w), torch.randn(n, 3, a, b)
        up = upsampling.bilinear_upsample(low, 2, 0)[..., -offset:, -offset:]
        a, b = min(a, up.shape[-2]), min(b, up.shape[-1])
        check.equal(fuse(low, high, offset), up[..., :a, :b] + high[..., :a, :b], tolerance=1e-4)
with check.hidden("offsets of 0 and above", points=3):
    for offset, (a, b) in ((0, (6, 8)), (5, (14, 11)), (2, (4, 20)), (9, (30, 12))):
        torch.manual_seed(offset)
        low, high = torch.randn(2, 2, 3, 4), torch.randn(2, 2, a, b)
        up, rest = upsampling.bilinear_upsample(low, 2, 0), high[..., offset:, offset:]
        h, w = min(8, rest.shape[-2]), min(10, rest.shape[-1])
        check.equal(fuse(low, high, offset), up[..., :h, :w] + rest[..., :h, :w], tolerance=1e-4)
with check.hidden("a ramp of pixel positions cancels to the pixel", points=2):
    columns = (3.5 + 8 * torch.arange(6.0)).expand(1, 1, 5, 6)
    pixels = (1.5 + 4 * torch.arange(12.0)).expand(1, 1, 10, 12)
    left = fuse(columns, -pixels, crop_offset((3.5, 8), (1.5, 4), 4))
    check.equal(left[..., 1:-1, 1:-1], torch.zeros(1, 1, 8, 10), tolerance=1e-4)
with check.hidden("gradients reach both, and both are left alone", points=2):
    low, high = torch.rand(1, 2, 3, 3), torch.rand(1, 2, 6, 6)
    to_low, to_high = gradients(fuse, low, high, -1, wrt=(0, 1))
    check.equal(to_high, torch.ones(1, 2, 6, 6))
    check.equal(to_low[..., 1, 1], torch.full((1, 2), 4.0))
    check.unchanged(fuse, low, high, -1)
### END HIDDEN TESTS
check.score()

# %% exercise="7.3" role="picture"
tall, broad = picture.shape[-2] // 8 * 8, picture.shape[-1] // 8 * 8
grey = picture.mean(0)[None, None, :tall, :broad]
eighth, quarter = F.avg_pool2d(grey, 8), F.avg_pool2d(grey, 4)
missing = quarter - upsampling.bilinear_upsample(eighth, 2)[..., : tall // 4, : broad // 4]
plots.compare(
    yours=lambda: fuse(eighth, missing, crop_offset((3.5, 8), (1.5, 4), 4))[0, 0],
    expected=quarter[0, 0],
    title="An image at stride 8, plus what it lacks, is the image at stride 4",
)

# %% [markdown] exercise="7.3" role="see"
# The image at stride 4, and no difference. Were the maps one unit apart, a ghost would show beside
# every edge: try offset 0 in the picture cell.

# %% [markdown] exercise="7.3" role="think" points=10
# **Think (10 points).** A port of FCN-32s to another framework forgets the crop: it keeps the *first*
# H × W pixels of the raw result instead of those from 19 on. It is trained like that, and the loss
# falls. Say how the prediction lies relative to the image before any training, whether training can
# mend it, and which classes would suffer most. Three to five sentences.
#
# ### BEGIN SOLUTION
# Pixel u of the raw result shows image pixel u - 19, so the mask lies 19 pixels too far down and to
# the right. Training can mend part of it: fc7's receptive field of 404 pixels contains the place 19
# pixels away, and the network may learn to predict for a shifted place; a deconvolution that is
# trained can shift its kernel. But weights that came from a classifier are centred, the last rows
# and columns are cut off, and what is learnt is a wrong habit that has to be bought with capacity.
# Small and thin objects suffer most: an object narrower than 19 pixels has no overlap with its
# shifted mask at all, a large one keeps most of it. Full marks: direction and 19 pixels, partly
# learnable and why, small objects.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 7.4 The loss of every pixel

# %% [markdown] exercise="7.4" role="idea"
# Segmentation is classification at every pixel, so the loss is the cross-entropy of every pixel. One
# thing is new: pixels that nobody labelled. PASCAL VOC draws a band five pixels wide around every
# object and writes 255 into it: *do not count*. Such a pixel adds nothing to the sum, and is not
# counted in the mean:
#
# $$L = -\frac{1}{|V|}\sum_{x\in V} \log p_{y(x)}(x), \qquad V = \{x : y(x) \neq 255\} .$$
#
# The authors' release sums instead of averaging, which is why its learning rate is as small as
# $10^{-10}$: the two must be changed together. [Long et al. 2015, §4]

# %% exercise="7.4" role="look"
odds = [0.99, 0.9, 0.5, 0.1, 0.01]
plots.bars(
    [str(p) for p in odds],
    [-torch.tensor(p).log().item() for p in odds],
    title="What one pixel costs: -log p",
    xlabel="probability given to the right class",
    ylabel="loss of the pixel",
)

# %% [markdown] exercise="7.4" role="contract" title="Cross-entropy with ignored pixels" minutes=20
# - `logits`: `(B, K, H, W)` before softmax; `target`: `(B, H, W)` int64, classes or `ignore`.
# - Result: a scalar with a gradient, the mean over all counted pixels of the batch.
# - No counted pixel: 0, with a gradient of 0. Large logits (10⁴) give finite numbers.
# - Forbidden: torch's `cross_entropy` and `nll_loss`, `CrossEntropyLoss` and `NLLLoss`, and
#   `course.losses`. `torch.log_softmax` is allowed.

# %% [markdown] exercise="7.4" role="hints"
# 1. First a loss for every pixel, (B, H, W); then a mean over some of them.
# 2. `gather` along the class axis picks the right class, but 255 is no class: look up some class
#    there, and drop the pixel afterwards.
# 3. `counted = target != ignore`


# %% exercise="7.4" role="gap"
def pixel_cross_entropy(logits: Tensor, target: Tensor, ignore: int = 255) -> Tensor:
    """Mean cross-entropy over the pixels whose target is not `ignore`; 0 if there are none.

    Worked number: two classes with equal logits cost log 2 = 0.6931 at every counted pixel.
    """
    ### BEGIN SOLUTION
    counted = target != ignore
    index = target.where(counted, 0)
    picked = torch.log_softmax(logits, 1).gather(1, index[:, None])[:, 0]
    return -(picked * counted).sum() / counted.sum().clamp(min=1)
    ### END SOLUTION


# %% exercise="7.4" role="check"
check = Exercise(
    "7.4",
    points=16,
    forbid=[
        "course.losses",
        "torch.nn.functional.cross_entropy",
        "torch.nn.functional.nll_loss",
        "torch.nn.CrossEntropyLoss",
        "torch.nn.NLLLoss",
    ],
)

logits = torch.tensor([[[[2.0, 0, 1], [0, 3, 0]], [[0, 1, 0], [4, 0, 2]], [[1, 1, 0], [0, 1, 5]]]])
target = torch.tensor([[[0, 255, 1], [1, 2, 255]]])
logs = logits.log_softmax(1)[0]
four = -torch.stack([logs[0, 0, 0], logs[1, 0, 2], logs[1, 1, 0], logs[2, 1, 1]])
as_last = four.sum() - logs[2, 0, 1] - logs[2, 1, 2]
as_first = four.sum() - logs[0, 0, 1] - logs[0, 1, 2]
with check("2 × 3 pixels, two of them ignored", points=2):
    check.equal(
        pixel_cross_entropy(logits, target),
        four.mean(),
        mistakes={
            "Divide by the number of counted pixels, 4, not by all 6.": four.sum() / 6,
            "That is the sum (as in the paper's release); take the mean.": four.sum(),
            "Ignored pixels are counted as the last class.": as_last / 6,
            "Ignored pixels are counted as class 0: drop them from the sum.": as_first / 6,
            "Ignored pixels are dropped from the mean, but still in the sum.": as_first / 4,
            "The sign is wrong: -log p is positive.": -four.mean(),
            "Logits are no probabilities: softmax comes first.": -(
                torch.stack(
                    [logits[0, 0, 0, 0], logits[0, 1, 0, 2], logits[0, 1, 1, 0], logits[0, 2, 1, 1]]
                ).mean()
            ),
            "The softmax runs over the wrong axis: the classes are axis 1.": -(
                torch.stack(
                    [(s := logits.log_softmax(-1)[0])[0, 0, 0], s[1, 0, 2], s[1, 1, 0], s[2, 1, 1]]
                ).mean()
            ),
        },
    )
with check("two images, one of them hardly labelled", points=1):
    pair = torch.cat([logits, logits])
    labels = torch.cat([target, torch.tensor([[[255, 255, 255], [255, 1, 255]]])])
    one = -logs[1, 1, 1]
    check.equal(
        pixel_cross_entropy(pair, labels),
        (four.sum() + one) / 5,
        mistakes={
            "That is the mean of two means: every counted pixel of the batch weighs the same.": (
                four.mean() + one
            )
            / 2,
        },
    )
with check(
    "nothing labelled: 0, not nan",
    points=1,
    hint="The mean of no numbers is nan, and one such batch ruins the network: divide by at least 1.",
):
    nothing = torch.full((1, 2, 3), 255)
    check.equal(pixel_cross_entropy(logits, nothing), 0.0)
### BEGIN HIDDEN TESTS
with check.hidden("random batches against the library", points=4):
    for shape in ((2, 4, 5, 7), (1, 2, 9, 3), (3, 21, 4, 4), (1, 3, 1, 1)):
        torch.manual_seed(shape[1])
        logits = 3 * torch.randn(shape)
        labels = torch.randint(0, shape[1], (shape[0], *shape[2:]))
        labels[torch.rand(labels.shape) < 0.2] = 255
        check.equal(pixel_cross_entropy(logits, labels), losses.cross_entropy(logits, labels))
with check.hidden("another number for ignore", points=2):
    logits = torch.randn(1, 3, 4, 5)
    labels = torch.randint(0, 3, (1, 4, 5))
    for ignore in (0, 2, -100):
        shown = torch.where(labels == 1, ignore, labels)
        want = F.cross_entropy(logits, shown, ignore_index=ignore)
        check.equal(pixel_cross_entropy(logits, shown, ignore), want)
with check.hidden("huge logits stay finite", points=2):
    logits = torch.tensor([1e4, -1e4]).reshape(1, 2, 1, 1)
    check.equal(pixel_cross_entropy(logits, torch.tensor([[[0]]])), 0.0)
    check.equal(pixel_cross_entropy(logits, torch.tensor([[[1]]])), 2e4)
with check.hidden("gradients: none at ignored pixels, softmax minus one-hot elsewhere", points=3):
    torch.manual_seed(4)
    logits, labels = torch.randn(1, 3, 2, 4), torch.tensor([[[0, 255, 1, 2], [2, 1, 255, 0]]])
    got = gradients(pixel_cross_entropy, logits, labels)[0]
    counted = labels != 255
    hot = F.one_hot(labels.where(counted, 0), 3).permute(0, 3, 1, 2)
    check.equal(got, (logits.softmax(1) - hot) * counted[:, None] / 6)
    none = gradients(pixel_cross_entropy, logits, torch.full((1, 2, 4), 255))[0]
    check.equal(none, torch.zeros(1, 3, 2, 4))
with check.hidden("logits and labels are left alone", points=1):
    check.unchanged(
        pixel_cross_entropy, torch.randn(1, 2, 2, 2), torch.tensor([[[0, 255], [1, 0]]])
    )
### END HIDDEN TESTS
check.score()

# %% exercise="7.4" role="picture"
torch.manual_seed(0)
guess = torch.randn(1, len(names), *mask.shape)
rows = range(0, mask.shape[0] + 1, 4)
hidden_rows = [mask.clone().index_fill_(0, torch.arange(n), 255)[None] for n in rows]
plots.compare_values(
    yours=lambda: [float(pixel_cross_entropy(guess, labels)) for labels in hidden_rows],
    expected=[float(losses.cross_entropy(guess, labels)) for labels in hidden_rows],
    title="Random logits: the loss while more and more rows are ignored",
    xlabel="rows ignored, in steps of 4",
    ylabel="loss",
)

# %% [markdown] exercise="7.4" role="see"
# Almost a level line around 1.4: ignoring rows neither lowers nor raises the mean, it only rests on
# fewer and fewer pixels. Divided by all pixels it would fall in a straight line. With no row left it
# is 0.

# %% [markdown] exercise="7.4" role="think"
# **Think.** The mean over all counted pixels of a *batch* is not the mean over images. Which images
# weigh more, and when would you mind?
#
# ### BEGIN SOLUTION
# Images with many labelled pixels. You would mind if those differ from the others, for instance if
# crowded scenes are labelled sparsely: they then hardly train the network.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 7.5 The network, with 0, 1 or 2 skips

# %% [markdown] exercise="7.5" role="idea"
# FCN-32s scores the deepest map alone. FCN-16s scores pool4 as well, adds the two, and enlarges the
# sum; FCN-8s goes on to pool3. Deep layers know *what*, shallow ones know *where*; with $u_f$ for
# enlarging and $\oplus$ for your `fuse`,
#
# $$\text{8s} = u_8\big(\,(\text{score}_7 \oplus \text{score}_4) \oplus \text{score}_3\,\big).$$
#
# Your network is small: maps at stride 2, 4 and 8, so 0, 1 and 2 skips end at stride 8, 4 and 2.
# Scores of a skip start at zero: the network begins as the coarser one and learns what the skip
# adds. [Long et al. 2015, §4.2 and Figure 3]

# %% exercise="7.5" role="look"
plots.bars(
    ["FCN-32s", "FCN-16s", "FCN-8s"],
    {"mean IU": [59.4, 62.4, 62.7], "pixel accuracy": [89.1, 90.0, 90.3]},
    title="The paper's Table 2, PASCAL VOC 2011: percent",
    ylabel="percent",
    limits=(0, 100),
)

# %% [markdown] exercise="7.5" role="contract" title="The way back to pixels" minutes=25
# - `SkipFCN(classes, channels, width, skips)` and its encoder `maps` are given; write `forward`.
# - `image`: `(B, C, H, W)`, any H and W from 8 on. Result: logits `(B, K, H, W)`.
# - Score the deepest map: ReLU between `fc` and `score`. Then `fuse` once per layer of
#   `skip_scores`, from deep to shallow: stride 4, then stride 2.
# - At last `upsample` to pixels, and cut the rim in front by the offset of `crop_offset`.
#   `interpolate` is not allowed.

# %% [markdown] exercise="7.5" role="hints"
# 1. How far are you from pixels after 0, 1, 2 skips? 8, 4, 2. The grid of stride s begins at
#    (s − 1) / 2.
# 2. Every fusion has offset −1, the last enlargement by f has −f / 2. Cut to H × W at the end.
# 3. `fine, middle, deep = self.maps(image)`


# %% exercise="7.5" role="gap"
class SkipFCN(nn.Module):
    """FCN in miniature: three poolings, a 1 × 1 "fully connected" layer, 0 to 2 skips.

    Worked number: an image of 21 × 30 has maps of 11 × 15, 6 × 8 and 3 × 4 units.
    """

    def __init__(self, classes: int, channels: int, width: int, skips: int) -> None:
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:]))
        self.fc = nn.Conv2d(4 * width, 4 * width, 1)
        self.score = nn.Conv2d(4 * width, classes, 1)
        inputs = (2 * width, width)[:skips]  # the maps of stride 4, then of stride 2
        self.skip_scores = nn.ModuleList(nn.Conv2d(n, classes, 1) for n in inputs)
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def maps(self, image: Tensor) -> list[Tensor]:
        """Maps of stride 2, 4 and 8; an odd row or column gets a pooling window of its own."""
        found = [image]
        for stage in self.stages:
            found.append(F.max_pool2d(F.relu(stage(found[-1])), 2, ceil_mode=True))
        return found[1:]

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K, H, W) of images (B, C, H, W)."""
        ### BEGIN SOLUTION
        fine, middle, deep = self.maps(image)
        scores, stride = self.score(F.relu(self.fc(deep))), 8
        for layer, features in zip(self.skip_scores, (middle, fine)):
            scores, stride = fuse(scores, layer(features), -1), stride // 2
        h, w = image.shape[-2:]
        cut = -crop_offset(((stride - 1) / 2, stride), (0, 1), 2 * stride)
        return upsample(scores, stride)[..., cut : cut + h, cut : cut + w]
        ### END SOLUTION


# %% exercise="7.5" role="check"
check = Exercise("7.5", points=16, forbid=["course.models", "torch.nn.functional.interpolate"])


def by_hand(state, image, skips, relu=F.relu, order=(1, 0), crop=True):
    """The same network from its weights, with the library's enlargement."""
    found = [image]
    for i in range(3):
        x = F.conv2d(found[-1], state[f"stages.{i}.weight"], state[f"stages.{i}.bias"], padding=1)
        found.append(F.max_pool2d(F.relu(x), 2, ceil_mode=True))
    maps, h, w = found[1:], *image.shape[-2:]
    y = relu(F.conv2d(maps[2], state["fc.weight"], state["fc.bias"]))
    y, stride = F.conv2d(y, state["score.weight"], state["score.bias"]), 8
    for i in range(skips):
        at = maps[order[i]]
        s = F.conv2d(at, state[f"skip_scores.{i}.weight"], state[f"skip_scores.{i}.bias"])
        up = upsampling.bilinear_upsample(y, 2, 0)[..., 1:, 1:]
        y, stride = up[..., : s.shape[-2], : s.shape[-1]] + s, stride // 2
    cut = stride // 2 if crop else 0
    return upsampling.bilinear_upsample(y, stride, 0)[..., cut : cut + h, cut : cut + w]


image = torch.rand(1, 1, 16, 24, generator=torch.Generator().manual_seed(7))
with check("no skip: stride 8 to pixels", points=2):
    net = build(SkipFCN, 2, 1, 3, 0)
    net.fill(seed=3)
    s = net.state()
    check.equal(
        net(image),
        by_hand(s, image, 0),
        mistakes={
            "The ReLU between `fc` and `score` is missing.": by_hand(s, image, 0, relu=lambda x: x),
            "The rim in front is not cut: everything lies 4 pixels too low.": by_hand(
                s, image, 0, crop=False
            ),
            "Cut the raw result to the size of the image.": upsampling.bilinear_upsample(
                by_hand(s, image, 0)[..., 4::8, 4::8], 8, 0
            ),
        },
    )
with check(
    "two skips: from deep to shallow",
    points=2,
    hint="After 0, 1, 2 skips the scores stand at stride 8, 4, 2: enlarge them by that number.",
):
    net = build(SkipFCN, 2, 1, 3, 2)
    net.fill(seed=4)
    s = net.state()
    summed = by_hand(s, image, 2)
    check.equal(
        net(image),
        summed,
        mistakes={
            "The skips are not used: fuse once per layer of `skip_scores`.": by_hand(s, image, 0),
            "Only the first skip is used.": by_hand(s, image, 1),
            "The ReLU between `fc` and `score` is missing.": by_hand(s, image, 2, relu=lambda x: x),
            "The rim in front is not cut: everything lies 1 pixel too low.": by_hand(
                s, image, 2, crop=False
            ),
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("one skip, several classes and channels", points=3):
    net = build(SkipFCN, 4, 3, 2, 1)
    net.fill(seed=5)
    x = torch.rand(2, 3, 24, 16, generator=torch.Generator().manual_seed(1))
    check.equal(net(x), by_hand(net.state(), x, 1), tolerance=1e-4)
with check.hidden("odd, non-square images with every number of skips", points=5):
    for skips in (0, 1, 2):
        for h, w in ((21, 30), (9, 17), (8, 13), (33, 10)):
            net = build(SkipFCN, 3, 1, 2, skips)
            net.fill(seed=h)
            x = torch.rand(1, 1, h, w, generator=torch.Generator().manual_seed(w))
            check.equal(net(x), by_hand(net.state(), x, skips), tolerance=1e-4)
with check.hidden("fresh skips add nothing: all three nets start as the coarse one", points=1):
    net = build(SkipFCN, 3, 1, 4, 2)
    x = torch.rand(1, 1, 16, 24, generator=torch.Generator().manual_seed(2))
    check.equal(net(x), by_hand(net.state(), x, 2), tolerance=1e-4)
    flat = {key: v for key, v in net.state().items() if key.startswith("skip_scores")}
    check.true(all(not bool(v.any()) for v in flat.values()), "Scores of a skip start at zero.")
with check.hidden("gradients reach every layer", points=3):
    net = build(SkipFCN, 2, 1, 5, 2)
    net.fill(seed=2)
    found = net.gradients(torch.rand(1, 1, 16, 16, generator=torch.Generator().manual_seed(0)))
    for name in (
        "stages.0.weight",
        "fc.weight",
        "score.weight",
        "skip_scores.0.weight",
        "skip_scores.1.weight",
    ):
        check.true(bool((found[name] != 0).any()), f"No gradient reaches {name}.")
### END HIDDEN TESTS
check.score()

# %% exercise="7.5" role="picture"
torch.manual_seed(1)
untrained = SkipFCN(len(names), channels, width, 2)
for layer in untrained.skip_scores:
    nn.init.normal_(layer.weight)


def expected_logits():
    x, y = picture[None], None
    fine, middle, deep = untrained.maps(x)
    y = untrained.score(F.relu(untrained.fc(deep)))
    for layer, features in zip(untrained.skip_scores, (middle, fine)):
        s = layer(features)
        up = upsampling.bilinear_upsample(y, 2)
        y = up[..., : s.shape[-2], : s.shape[-1]] + s
    x = upsampling.bilinear_upsample(y, 2)
    return x[0, thin, : picture.shape[-2], : picture.shape[-1]].detach()


plots.compare(
    yours=lambda: untrained(picture[None])[0, thin].detach(),
    expected=expected_logits,
    title="Logits of one class, untrained network with two skips",
)

# %% [markdown] exercise="7.5" role="see"
# Random weights, and still the lines of the image can be seen: they came over the skips. The
# difference is below 0.0001.

# %% [markdown] exercise="7.5" role="think" points=10
# **Think (10 points).** Answer after the experiment at the end. The paper's mean IU goes from 59.4 to
# 62.4 to 62.7 with one and two skips; the IoU of your thin class gains far more, from both. Why? Say
# what a line two pixels wide becomes at stride 8, 4 and 2, why the mean over the classes of VOC
# hardly moves, and what you would expect from a third skip at stride 1. Three to five sentences.
#
# ### BEGIN SOLUTION
# At stride 8 a unit covers 64 pixels of which a line fills at most a quarter, so bilinear scores can
# draw only a band about 8 pixels wide, or nothing; at stride 4 half of each unit is line, and at
# stride 2 the line is as wide as a unit. VOC's objects are tens to hundreds of pixels wide, so a
# finer stride changes only their rims, a small share of their area: 3 points, then 0.3. A third skip
# would score the first feature map at full resolution: the borders get sharper still, but its features see a few pixels only, so it adds
# noise too, and it costs a score layer on the largest map. Full marks: width against stride, share
# of the rim in large objects, a sensible trade for the third.
# ### END SOLUTION

# %% [markdown]
# ---
# ## The experiment: what a skip is worth
#
# Now your functions train a network: `SkipFCN` with 0, 1 and 2 skips, on your `pixel_cross_entropy`.
# Same data, same steps, same seeds; the three differ by 51 and 27 weights. All of them are scored
# with the IoU of the thin class, and by how many pixels are wrong near a border and away from it.


# %% role="setup"
def border_band(masks, reach=2):
    """Pixels (N, H, W) within `reach` of another class."""
    x = masks.float()[:, None]
    high = F.max_pool2d(x, 2 * reach + 1, 1, reach)
    low = -F.max_pool2d(-x, 2 * reach + 1, 1, reach)
    return (high != low)[:, 0]


def loss(logits, batch):
    return pixel_cross_entropy(logits, batch["mask"])


@torch.no_grad()
def predict(net, samples):
    """Class of every pixel of all samples, and the truth, (N, H, W)."""
    net.eval()
    found = [net(s["image"][None].to(device)).argmax(1)[0].cpu() for s in samples]
    return torch.stack(found), torch.stack([s["mask"] for s in samples])


def score(net, samples):
    """IoU of the thin class, mean IoU, share of wrong pixels near a border and elsewhere."""
    found, truth = predict(net, samples)
    confusion = metrics.ConfusionMatrix(len(names))
    confusion.update(found, truth)
    wrong, counted, band = found != truth, truth != 255, border_band(truth)
    near, far = (float(wrong[part & counted].float().mean()) for part in (band, ~band))
    return float(confusion.iou()[thin]), float(confusion.mean_iou()), near, far


# %% role="experiment"
nets, results = {}, {}
with attempt("7.2 to 7.5"):
    for skips in (0, 1, 2):
        for seed in seeds:
            torch.manual_seed(seed)
            net = SkipFCN(len(names), channels, width, skips).to(device)
            training.fit(
                net,
                train,
                loss,
                steps=steps,
                batch_size=8,
                lr=2e-2,
                schedule=training.poly_lr,
                seed=seed,
                device=device,
                channels_last=True,
                progress=steps > 1000,
            )
            nets[skips, seed], results[skips, seed] = net, score(net, test)
rows = [
    [skips, 8 >> skips, seed, *(f"{value:.3f}" for value in values)]
    for (skips, seed), values in results.items()
]
head = ["skips", "stride", "seed", f"IoU of {names[thin]}", "mean IoU", "wrong near", "wrong far"]
plots.table(head, rows, title=f"{len(test)} test images; near = within 2 pixels of another class")

# %% role="experiment"
if results:
    shown = [predict(nets[skips, seeds[0]], [test[1]])[0][0] for skips in (0, 1, 2)]
    plots.show_masks(
        [test[1]["image"]] * 4,
        [test[1]["mask"], *shown],
        class_names=names,
        titles=["truth", "no skip, stride 8", "one skip, stride 4", "two skips, stride 2"],
        title="One test image, three networks",
    ).show()

# %% role="experiment"
if results:

    def over_seeds(k):
        """Mean and half the range over the seeds of one score, for 0, 1 and 2 skips."""
        runs = [[results[skips, seed][k] for seed in seeds] for skips in (0, 1, 2)]
        return [sum(r) / len(r) for r in runs], [(max(r) - min(r)) / 2 for r in runs]

    labels = ["no skip", "one skip", "two skips"]
    kinds = {f"IoU of {names[thin]}": 0, "mean IoU": 1, "share wrong near a border": 2}
    plots.bars(
        labels,
        {name: [round(v, 2) for v in over_seeds(k)[0]] for name, k in kinds.items()},
        {name: [round(v, 3) for v in over_seeds(k)[1]] for name, k in kinds.items()},
        title=f"What the skips are worth; {len(seeds)} seeds, half their range as error",
        ylabel="share",
        limits=(0, 1),
    ).show()
    ious = over_seeds(0)[0]
    first = min(results[1, seed][0] - results[0, seed][0] for seed in seeds)
    second = min(results[2, seed][0] - results[1, seed][0] for seed in seeds)
    print(f"IoU of {names[thin]}: {ious[0]:.2f}, {ious[1]:.2f}, {ious[2]:.2f} with 0, 1, 2 skips.")
    print(f"Least gain of any seed: {first:.2f} for the first skip, {second:.2f} for the second.")
    if dataset == "lines" and steps >= 300 and len(seeds) >= 3:
        assert first > 0.1, "the first skip should find the lines: check exercises 7.3 and 7.5"
        assert second > 0.1, "the second skip should sharpen them: check exercise 7.5"
        for more, word in ((1, "first"), (2, "second")):
            claim(
                7,
                f"The {word} skip sharpens the result.",
                quantity=f"IoU of thin lines with {more} less {more - 1} skips, same seed",
                paper="Long et al. 2015, Table 2: mean IoU 59.4, 62.4, 62.7 with 0, 1, 2 skips",
                values=[results[more, seed][0] - results[more - 1, seed][0] for seed in seeds],
                at_least=0.1,
            ).show()

# %% [markdown]
# **What you should see.** Without a skip the discs are round blobs and the lines all but vanish. One
# skip brings them back, the second makes them whole and thin. In *every* run each of the two gains
# more than 0.1 in the IoU of the lines (0.24 to 0.35 here). The mean IoU moves less, since the
# background is easy. Away from borders hardly one pixel in a thousand is wrong in any of the three: the
# skips are about *where*, not about *what*.
#
# | | paper | here |
# |---|---|---|
# | data | PASCAL VOC 2011, photographs, 21 classes | 200 synthetic images of 64 × 64, 3 classes |
# | network | VGG16, 134 million parameters, strides 32, 16, 8 | 7,043 to 7,121 parameters, strides 8, 4, 2 |
# | training | one skip after the other, each from the coarser net | each net from scratch |
# | claim | mean IU 59.4, 62.4, 62.7 (Table 2) | measured above, with the spread over seeds |
#
# The order is the paper's. The gains are larger, since our thin class is thinner than any of VOC's.

# %% [markdown]
# **The ladder.** Every architecture of the course on the same lines, two pixels wide. The published
# FCN-8s stops at 1/8 of the image, where such lines drown; your network skips on to 1/2.

# %% role="experiment"
ladder.picture(lab=7)

# %% [markdown]
# **Going on.** Set `dataset = "camvid"` in the parameter cell for street scenes (the thin class is
# the pole), or `"voc2012"`; point the environment variable `COURSE_DATA` at the folder that holds
# them. Do not expect much of three layers trained from nothing: with `size = 96`, `width = 16` and
# 300 steps on 60 frames of CamVid we measured a mean IoU of 0.18, 0.23 and 0.22, and not one pole.
# The paper's networks begin as a classifier of a million photographs; `course.models.FCN8s` takes
# such weights by `weights=`, and `device = "cuda"` helps.
#
# **Reading.** Long et al. 2015, §3 and §4, and Table 2. Shelhamer, Long, Darrell 2017,
# [arXiv:1605.06211](https://arxiv.org/abs/1605.06211), §4: all skips at once. Sermanet et al. 2014,
# [arXiv:1312.6229](https://arxiv.org/abs/1312.6229), §3.5: a classifier slid over the image in one pass.
# Ronneberger et al. 2015, §2: skips that concatenate; that is Lab 8.
