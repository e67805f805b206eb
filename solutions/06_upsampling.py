# %% [markdown]
# # Lab 6 · Going up again: unpooling, transposed convolution, SegNet
#
# [[exercises]]
#
# **You will be able to**
# - pool so that you know afterwards where every maximum was, and put it back there;
# - compute a transposed convolution by hand, as stamps and as a transposed matrix;
# - predict the size of its output and say which kernels leave a checkerboard;
# - build an encoder and its mirror image, and say what the memory of the pooling is worth.
#
# **Papers.** H. Noh, S. Hong, B. Han, *Learning Deconvolution Network for Semantic Segmentation*,
# ICCV 2015, [arXiv:1505.04366](https://arxiv.org/abs/1505.04366), §3. V. Badrinarayanan, A.
# Kendall, R. Cipolla, *SegNet*, PAMI 2017, [arXiv:1511.00561](https://arxiv.org/abs/1511.00561),
# §3.
#
# **From before.** Convolution and output sizes (Lab 5). Run every cell from top to bottom. A check
# cell never stops the notebook: it says what it expected, what came, and the usual cause.

# %% tags=["parameters"]
dataset = "lines"  # made on the spot; "camvid" and "voc2012" are read from COURSE_DATA
device = "cpu"  # "cuda" where there is one
steps = 200  # training steps per run; 3000 and more for the real sets
size = 40  # side of the images in pixels, a multiple of 8
widths = (8, 16, 16)  # channels of the three levels; SegNet has five: 64, 128, 256, 512, 512
seeds = [0, 1, 2]

# %% role="setup"
from itertools import pairwise, product

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course import ladder, losses, metrics, models, plots, training, upsampling
from course.checks import Exercise, attempt, build, gradients
from course.claims import claim
from course.experiments.sets import load_set

# %% [markdown]
# ## The picture of this lab
#
# Discs and lines two pixels wide, of the same brightness. An encoder halves the image three times,
# and one value of the smallest map stands for 8 × 8 pixels, four times as wide as a line. How does
# a decoder get the line back to the pixel?

# %% role="setup"
train, test, names, channels = load_set(dataset, task="segmentation", size=size, train=120, test=40)
plots.show_masks(
    [train[i]["image"] for i in range(4)],
    [train[i]["mask"] for i in range(4)],
    class_names=names,
    title="Four training images and their classes",
)

# %% [markdown]
# ## See it move
#
# The lecture's moving pictures of this lab: predict, then drag. `uv run course lectures open 6` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("transposed_convolution")

# %% role="experiment"
demos.show("unpooling")

# %% [markdown]
# ---
# ## 6.1 Unpooling with switches

# %% [markdown] exercise="6.1" role="idea"
# Max pooling keeps the largest value of every window and forgets where it was. If it remembers the
# place, the *switch*, then unpooling can put every value back where it came from:
#
# $$y_i = x[s_i], \qquad \text{unpool}(y, s)[s_i] = y_i, \quad 0 \text{ elsewhere}.$$
#
# The result is as large as the input and three quarters of it are zeros; the convolutions that
# follow fill them in. The switch is the index in the flat $H \times W$ plane of its channel.
# SegNet's pooling rounds up: in a map of 45 rows the last row gets a window of its own, so nothing
# is lost. [Noh et al. 2015, §3.2.1 and Figure 3]

# %% exercise="6.1" role="look"
plots.heat(
    [[1, 2, 6, 3, 0, 4], [3, 5, 2, 1, 9, 2], [1, 2, 2, 1, 5, 5], [7, 3, 4, 8, 5, 0]],
    title="Find the six maxima of the 2 × 2 windows, and count in which place each stands",
    label="value",
)

# %% [markdown] exercise="6.1" role="contract" title="Pool, remember, unpool" minutes=30
# - `max_pool_with_switches(x, size)`: `(B, C, H, W)` float → values and int64 switches, both
#   `(B, C, ⌈H/size⌉, ⌈W/size⌉)`. Windows do not overlap; the last may hang over the border.
# - A switch is `row * W + column` in its own plane; of equal maxima the first in reading order.
#   Values have the dtype of `x`.
# - `unpool(y, idx, hw)`: → `(B, C, *hw)`, zeros elsewhere. A place named twice is set, not added
#   to. The result has the dtype of `y`.
# - Forbidden: torch's `max_pool2d` and `max_unpool2d`, also as `nn` modules; `course.upsampling`.

# %% [markdown] exercise="6.1" role="hints"
# 1. Fill up the last windows with $-\infty$, then cut the map into windows with `view`. The maximum
#    along a window comes with its place *inside* the window.
# 2. From the place `i` inside a window: row `i // size` and column `i % size`, counted from the
#    window's corner. For unpooling: `scatter` writes values into a flat plane of zeros.
# 3. `rows, cols = -(-x.shape[2] // size), -(-x.shape[3] // size)`


# %% exercise="6.1" role="gap"
def max_pool_with_switches(x: Tensor, size: int = 2) -> tuple[Tensor, Tensor]:
    """Maxima (B, C, H', W') of x (B, C, H, W), and the flat index (int64) of each in its plane.

    Worked number: in 5 × 6 the maximum in row 3, column 4 has the switch 3 * 6 + 4 = 22.
    """
    ### BEGIN SOLUTION
    b, c, h, w = x.shape
    rows, cols = -(-h // size), -(-w // size)
    full = F.pad(x, (0, cols * size - w, 0, rows * size - h), value=-torch.inf)
    windows = full.view(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2)
    y, place = windows.max(dim=-1)
    row = size * torch.arange(rows, device=x.device)[:, None] + place // size
    return y, row * w + size * torch.arange(cols, device=x.device) + place % size
    ### END SOLUTION


def unpool(y: Tensor, idx: Tensor, hw: tuple[int, int]) -> Tensor:
    """Values y (B, C, H', W') back at the places idx of planes of hw pixels, zeros elsewhere.

    Worked number: the value 9 with the switch 22 goes to row 3, column 4 of a map of 5 × 6.
    """
    ### BEGIN SOLUTION
    plane = y.new_zeros(*y.shape[:2], hw[0] * hw[1])
    return plane.scatter(2, idx.flatten(2), y.flatten(2)).view(*y.shape[:2], *hw)
    ### END SOLUTION


# %% exercise="6.1" role="check"
check = Exercise(
    "6.1",
    points=20,
    forbid=[
        "torch.nn.functional.max_pool2d",
        "torch.nn.functional.max_unpool2d",
        "torch.max_pool2d",
        "course.upsampling",
    ],
)


def maps(rows):
    """One image of one channel."""
    return torch.tensor([[rows]])


x = maps([[1.0, 2, 6, 3, 0, 4], [3, 5, 2, 1, 9, 2], [1, 2, 2, 1, 5, 5], [7, 3, 4, 8, 5, 0]])
y = maps([[5.0, 6, 9], [7, 8, 5]])
idx = maps([[7, 2, 10], [18, 21, 16]])
with check("six windows of a 4 × 6 map", points=1):
    check.equal(
        max_pool_with_switches(x),
        (y, idx),
        mistakes={
            "That is the place inside the window: count in the whole plane.": (
                y,
                maps([[3, 0, 2], [2, 3, 0]]),
            ),
            "A row of the plane is W values long, not H.": (y, maps([[5, 2, 8], [12, 15, 12]])),
            "You count down the columns: a flat index runs along the rows.": (
                y,
                maps([[5, 8, 17], [3, 15, 18]]),
            ),
            "Of equal values take the first in reading order, not the last.": (
                y,
                maps([[7, 2, 10], [18, 21, 22]]),
            ),
            "That numbers the windows: say where in its window the maximum was.": (
                y,
                maps([[0, 1, 2], [3, 4, 5]]),
            ),
        },
    )
with check("an odd last row and column are kept", points=1):
    odd = torch.arange(1.0, 16.0).view(1, 1, 3, 5)
    check.equal(
        max_pool_with_switches(odd),
        (maps([[7.0, 9, 10], [12, 14, 15]]), maps([[6, 8, 9], [11, 13, 14]])),
        mistakes={
            "The last row and column are lost: round up, as SegNet does.": (
                maps([[7.0, 9]]),
                maps([[6, 8]]),
            ),
            "The index counts the filled-up columns: a row is W = 5 long.": (
                maps([[7.0, 9, 10], [12, 14, 15]]),
                maps([[7, 9, 10], [13, 15, 16]]),
            ),
        },
    )
nails = torch.zeros(1, 1, 4, 6)
nails[..., ::2, ::2] = y
with check("the six values go back to their places", points=1):
    check.equal(
        unpool(y, idx, (4, 6)),
        torch.where(torch.isin(torch.arange(24).view(1, 1, 4, 6), idx), x, 0.0),
        mistakes={
            "You fill the whole window (nearest): only the place of the maximum gets it.": (
                y.repeat_interleave(2, 2).repeat_interleave(2, 3)
            ),
            "You use the first pixel of the window: use the switch.": nails,
        },
    )
with check("a place that is named twice gets its value once", points=1):
    check.equal(
        unpool(maps([[5.0, 5.0, 3.0]]), maps([[2, 2, 0]]), (1, 4)),
        maps([[3.0, 0, 5, 0]]),
        mistakes={"You add: two windows saw the same maximum, set it.": maps([[3.0, 0, 10, 0]])},
    )
with check("the lecture's example: 14 × 14 comes back as 28 × 28", points=1):
    image = torch.rand(1, 2, 28, 28, generator=torch.Generator().manual_seed(6)) + 1
    small, where = max_pool_with_switches(image)
    large = unpool(small, where, (28, 28))
    check.equal([list(small.shape), list(large.shape)], [[1, 2, 14, 14], [1, 2, 28, 28]])
    check.equal(int((large != 0).sum()), 2 * 14 * 14, what="values that are not zero")
    check.equal(large[large != 0], image[large != 0])
### BEGIN HIDDEN TESTS
source = torch.Generator().manual_seed(61)
with check.hidden("odd, non-square, several channels and images", points=4):
    for shape in ((2, 3, 8, 6), (1, 2, 7, 5), (3, 1, 1, 9), (2, 2, 13, 4), (1, 1, 1, 1)):
        x = torch.rand(shape, generator=source)
        want = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        check.equal(max_pool_with_switches(x), tuple(want))
with check.hidden("negative values beside the border", points=2):
    x = -1 - torch.rand(1, 2, 5, 7, generator=source)
    want = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    check.equal(max_pool_with_switches(x), tuple(want))
with check.hidden("equal maxima", points=1):
    x = torch.randint(0, 2, (2, 2, 6, 10), generator=source).float()
    want = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
    check.equal(max_pool_with_switches(x), tuple(want))
with check.hidden("windows of 3 and 4", points=2):
    for k in (3, 4):
        x = torch.rand(2, 2, 10, 7, generator=source)
        want = F.max_pool2d(x, k, ceil_mode=True, return_indices=True)
        check.equal(max_pool_with_switches(x, k), tuple(want))
with check.hidden("unpooling, against torch", points=3):
    for h, w in ((8, 6), (7, 5), (5, 12), (1, 3)):
        x = torch.rand(2, 3, h, w, generator=source)
        y, idx = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        y = y - 0.5
        check.equal(unpool(y, idx, (h, w)), F.max_unpool2d(y, idx, 2, output_size=(h, w)))
with check.hidden("the gradient goes back through every switch once", points=1):
    x = torch.rand(1, 2, 6, 4, generator=source)
    y, idx = F.max_pool2d(x, 2, return_indices=True)
    check.equal(gradients(unpool, y, idx, (6, 4))[0], torch.ones_like(y))
with check.hidden("dtypes: values as given, switches int64", points=1):
    x = torch.rand(1, 1, 4, 6, generator=source, dtype=torch.float64)
    y, idx = max_pool_with_switches(x)
    check.equal(y, F.max_pool2d(x, 2), dtype=True)
    check.true(idx.dtype == torch.int64, "Switches are int64, as torch's are.")
    check.equal(unpool(y, idx, (4, 6)).dtype == torch.float64, True)
with check.hidden("the arguments are left alone", points=1):
    check.unchanged(max_pool_with_switches, torch.rand(1, 1, 5, 4, generator=source))
    check.unchanged(unpool, torch.rand(1, 1, 1, 2), torch.tensor([[[[0, 2]]]]), (2, 4))
### END HIDDEN TESTS
check.score()

# %% exercise="6.1" role="picture"
photo = test[0]["image"][:1]
plots.compare(
    yours=lambda: unpool(*max_pool_with_switches(photo[None], 4), (size, size))[0, 0],
    expected=upsampling.unpool(
        *upsampling.max_pool_with_switches(photo[None], 4, ceil_mode=True), (size, size)
    )[0, 0],
    title="A test image, pooled 4 × 4 and unpooled with its switches",
    exercise="6.1",
)

# %% [markdown] exercise="6.1" role="see"
# One pixel in sixteen is left (100 of 1,600), every one in its true place: discs and lines are
# thinned out but stand where they stood. No pixel differs.

# %% [markdown] exercise="6.1" role="think"
# **Think.** Pool twice and unpool twice: which switches must the *first* unpooling use, and what
# would happen to the picture if you took the other ones?
#
# ### BEGIN SOLUTION
# Those of the second pooling: the last pooling is undone first, so switches form a stack. The other
# ones belong to a plane of four times the size; most of them point outside the small plane (an
# error at best, and a scrambled picture where they happen to fit).
# ### END SOLUTION

# %% [markdown]
# ---
# ## 6.2 Transposed convolution: a kernel as a stamp

# %% [markdown] exercise="6.2" role="idea"
# A convolution joins many inputs to one output. Its transpose gives one input to many outputs:
# every value stamps the whole kernel, multiplied by the value, onto the output, $s$ pixels beside
# the stamp of its neighbour, and overlapping stamps add up. The padding $p$ cuts $p$ pixels off
# every side. As a convolution is a matrix, $y = Wx$, this is really a transpose:
#
# $$\text{up} = W^{\mathsf T} y, \qquad \langle Wx,\, y\rangle = \langle x,\, W^{\mathsf T} y\rangle
# .$$
#
# It undoes the *size* of a convolution, not its values; "deconvolution" is a misnomer.
# [Noh et al. 2015, §3.2.2; Dumoulin and Visin 2016, §4.1–4.2]

# %% exercise="6.2" role="look"
ramp = torch.arange(1.0, 10.0).view(3, 3)
plots.show_images(
    [
        F.pad(value * ramp, (column, 1 - column, row, 1 - row))
        for value, row, column in ((1, 0, 0), (2, 0, 1), (3, 1, 0), (4, 1, 1))
    ],
    ["1 × kernel", "2 × kernel", "3 × kernel", "4 × kernel"],
    title="The lecture's example: four stamps of a 3 × 3 kernel on 4 × 4 pixels; now add them",
)

# %% [markdown] exercise="6.2" role="contract" title="Stamps and the matrix" minutes=30
# - `transposed_conv(x, kernel, stride, padding)`: `x` `(H, W)`, `kernel` `(kh, kw)`, not flipped →
#   `((H-1)·stride + kh - 2·padding, …)`, with the dtype of `x`. Loops are welcome.
# - `conv_as_matrix(kernel, hw, stride)`: the matrix of a convolution without padding over an image
#   of `hw` pixels; row `r` holds the kernel where output `r` sees it, both in the order of
#   `flatten()`.
# - Forbidden: `conv_transpose2d`, `fold`, `course.upsampling`.

# %% [markdown] exercise="6.2" role="hints"
# 1. Make an output of zeros as large as all stamps together, without looking at the padding yet.
# 2. The stamp of `x[i, j]` covers rows `i * stride` to `i * stride + kh - 1`. For the matrix: put
#    the kernel into an image of zeros and flatten it, once for every output.
# 3. `out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)`


# %% exercise="6.2" role="gap"
def transposed_conv(x: Tensor, kernel: Tensor, stride: int = 1, padding: int = 0) -> Tensor:
    """Transposed convolution of x (H, W) with a kernel (kh, kw), by stamping.

    Worked number: the row 1 2 with the kernel 1 5 and stride 2 gives 1 5 2 10.
    """
    ### BEGIN SOLUTION
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for i, j in product(range(h), range(w)):
        out[i * stride : i * stride + kh, j * stride : j * stride + kw] += x[i, j] * kernel
    return out[padding : out.shape[0] - padding, padding : out.shape[1] - padding]
    ### END SOLUTION


def conv_as_matrix(kernel: Tensor, hw: tuple[int, int], stride: int = 1) -> Tensor:
    """Matrix (outputs, h * w) of the convolution of hw pixels with a kernel (kh, kw).

    Worked number: the kernel 1 2 on a row of three pixels gives the rows 1 2 0 and 0 1 2.
    """
    ### BEGIN SOLUTION
    (h, w), (kh, kw) = hw, kernel.shape
    places = product(range(0, h - kh + 1, stride), range(0, w - kw + 1, stride))
    rows = [F.pad(kernel, (j, w - kw - j, i, h - kh - i)).flatten() for i, j in places]
    return torch.stack(rows)
    ### END SOLUTION


# %% exercise="6.2" role="check"
check = Exercise(
    "6.2",
    points=18,
    forbid=[
        "torch.nn.functional.conv_transpose2d",
        "torch.conv_transpose2d",
        "torch.nn.functional.fold",
        "course.upsampling",
    ],
)


def torch_says(x, kernel, stride=1, padding=0):
    return F.conv_transpose2d(x[None, None], kernel[None, None], stride=stride, padding=padding)[
        0, 0
    ]


two = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
nine = torch.arange(1.0, 10.0).view(3, 3)
with check("the lecture's example: 3 × 3 on 2 × 2 gives 4 × 4", points=2):
    check.equal(
        transposed_conv(two, nine),
        torch.tensor([[1.0, 4, 7, 6], [7, 23, 33, 24], [19, 53, 63, 42], [21, 52, 59, 36]]),
        mistakes={
            "The kernel is turned round: stamp it as it is, do not slide it over a padded map.": (
                torch_says(two, nine.flip((0, 1)))
            ),
            "Stamps overwrite each other: where they overlap they add up.": torch.tensor(
                [[1.0, 2, 4, 6], [3, 4, 8, 12], [12, 16, 20, 24], [21, 28, 32, 36]]
            ),
            "The stamps are not multiplied by the values of x.": torch_says(torch.ones(2, 2), nine),
        },
    )
row, flat = torch.tensor([[1.0, 2.0, 3.0]]), torch.arange(1.0, 7.0).view(2, 3)
with check("stride 2, a kernel of 2 × 3 on a row of three", points=1):
    want = torch.tensor([[1.0, 2, 5, 4, 9, 6, 9], [4, 5, 14, 10, 24, 15, 18]])
    check.equal(
        transposed_conv(row, flat, 2),
        want,
        mistakes={
            "There are no zeros after the last value: n values are (n - 1) * stride + 1 wide.": (
                F.pad(want, (0, 1, 0, 1))
            ),
            "The stride is not used: stamps lie `stride` pixels apart.": torch_says(row, flat),
            "The kernel is turned round: stamp it as it is.": torch_says(row, flat.flip((0, 1)), 2),
        },
    )
with check("padding cuts off every side", points=1):
    wide = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    full = torch_says(wide, nine, 2)
    check.equal(
        transposed_conv(wide, nine, 2, 1),
        full[1:-1, 1:-1],
        mistakes={
            "The padding is cut at the top and the left only: half belongs to the far side.": (
                full[2:, 2:]
            ),
            "The padding is cut at the bottom and the right only.": full[:-2, :-2],
            "Only one side of each axis is cut: cut `padding` off both.": full[1:, 1:],
            "Only the far side of each axis is cut: cut `padding` off both.": full[:-1, :-1],
            "Padding is added: in the transpose it is cut off.": F.pad(full, (1, 1, 1, 1)),
            "The padding is not used.": full,
        },
    )
with check("the matrix of a 2 × 2 kernel on 2 × 3 pixels", points=1):
    check.equal(
        conv_as_matrix(two, (2, 3)),
        torch.tensor([[1.0, 2, 0, 3, 4, 0], [0, 1, 2, 0, 3, 4]]),
        mistakes={
            "The kernel is turned round: networks do not flip it.": torch.tensor(
                [[4.0, 3, 0, 2, 1, 0], [0, 4, 3, 0, 2, 1]]
            ),
            "The second row of the kernel lies a whole row of the image (3 pixels) further.": (
                torch.tensor([[1.0, 2, 3, 4, 0, 0], [0, 1, 2, 3, 4, 0]])
            ),
        },
    )
### BEGIN HIDDEN TESTS
source = torch.Generator().manual_seed(62)
with check.hidden("random maps and kernels, non-square, against torch", points=4):
    for hw, kk, s in (
        ((3, 5), (2, 4), 1),
        ((4, 2), (3, 3), 2),
        ((5, 6), (5, 2), 3),
        ((1, 1), (7, 7), 1),
    ):
        x, k = torch.randn(hw, generator=source), torch.randn(kk, generator=source)
        check.equal(transposed_conv(x, k, s), torch_says(x, k, s), tolerance=1e-5)
with check.hidden("a stride larger than the kernel leaves gaps", points=1):
    x, k = torch.randn(3, 4, generator=source), torch.randn(2, 1, generator=source)
    check.equal(transposed_conv(x, k, 3), torch_says(x, k, 3))
with check.hidden("padding", points=2):
    for kk, s, p in (((4, 4), 2, 1), ((3, 5), 1, 1), ((6, 5), 2, 2)):
        x, k = torch.randn(4, 6, generator=source), torch.randn(kk, generator=source)
        check.equal(transposed_conv(x, k, s, p), torch_says(x, k, s, p), tolerance=1e-5)
with check.hidden("the matrix is the convolution", points=2):
    for hw, kk in (((4, 5), (2, 3)), ((6, 3), (3, 1)), ((2, 2), (2, 2))):
        x, k = torch.randn(hw, generator=source), torch.randn(kk, generator=source)
        want = F.conv2d(x[None, None], k[None, None])[0, 0].flatten()
        check.equal(conv_as_matrix(k, hw) @ x.flatten(), want, tolerance=1e-5)
with check.hidden("the matrix with a stride", points=1):
    x, k = torch.randn(7, 6, generator=source), torch.randn(3, 2, generator=source)
    want = F.conv2d(x[None, None], k[None, None], stride=2)[0, 0].flatten()
    check.equal(conv_as_matrix(k, (7, 6), 2) @ x.flatten(), want, tolerance=1e-5)
with check.hidden("stamps are the transposed matrix", points=2):
    for s in (1, 2):
        y, k = torch.randn(3, 2, generator=source), torch.randn(3, 4, generator=source)
        hw = ((3 - 1) * s + 3, (2 - 1) * s + 4)
        up = conv_as_matrix(k, hw, s).T @ y.flatten()
        check.equal(transposed_conv(y, k, s), up.view(hw), tolerance=1e-5)
with check.hidden("float64 in, float64 out; the arguments are left alone", points=1):
    x, k = torch.randn(2, 3, generator=source).double(), torch.ones(2, 2).double()
    check.equal(transposed_conv(x, k), torch_says(x, k), dtype=True)
    check.unchanged(transposed_conv, two, nine, 2, 1)
    check.unchanged(conv_as_matrix, two, (3, 4))
### END HIDDEN TESTS
check.score()

# %% exercise="6.2" role="picture"
coarse = F.avg_pool2d(photo[None], 4)[0, 0]
triangle = upsampling.bilinear_kernel(4)
plots.compare(
    yours=lambda: transposed_conv(coarse, triangle, 4, 2),
    expected=upsampling.transposed_conv(coarse, triangle, 4, 2),
    title="A test image at a quarter of its size, brought back with a bilinear stamp of 8 × 8",
    exercise="6.2",
)

# %% [markdown] exercise="6.2" role="see"
# A smooth, blurred copy, with a dim rim where stamps from outside the image are missing. Compare it
# with the picture of 6.1: there everything is sharp and most of it is missing.

# %% [markdown] exercise="6.2" role="think"
# **Think.** For stride 1 and a 3 × 3 kernel with padding 1, DeconvNet's "deconvolution" could be
# replaced by an ordinary convolution. Which one?
#
# ### BEGIN SOLUTION
# The one with the kernel turned by 180 degrees (and input and output channels swapped), padding 1.
# Since the kernel is learned, nothing is gained or lost: between its unpoolings DeconvNet has plain
# convolutions under another name.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 6.3 Sizes, and where checkerboards come from

# %% [markdown] exercise="6.3" role="idea"
# Turn the formula of the convolution round and you get the size of the transposed one,
#
# $$n' = (n-1)\,s - 2p + k + p_{\text{out}} .$$
#
# A convolution with stride $s$ maps $s$ different sizes to the same one, so its transpose has to be
# told which is meant: that is the *output padding* $p_{\text{out}} < s$, pixels not cut off at the
# far side. Where $s$ does not divide $k$, neighbouring outputs get different numbers of stamps: a
# checkerboard that training has to unlearn, and often does not. [Dumoulin and Visin 2016, §4.6;
# Odena et al. 2016, *Deconvolution and Checkerboard Artifacts*]

# %% exercise="6.3" role="look"
plots.show_images(
    [upsampling.transposed_conv(torch.ones(6, 8), torch.ones(k, k), 2) for k in (3, 4)],
    ["kernel 3, stride 2", "kernel 4, stride 2"],
    title="A constant map after a constant kernel: how many stamps reach each pixel",
)

# %% [markdown] exercise="6.3" role="contract" title="Size and overlap" minutes=15
# - `tconv_size(n, k, s, p, op)`: output length; `ValueError` where `op` is not in `[0, s)`, or
#   where nothing is left.
# - `overlap_count(n, k, s, p)`: `(length,)` int64, how many of `n` stamps reach every output
#   (output padding 0).
# - Forbidden: `course.upsampling`, `course.geometry`.

# %% [markdown] exercise="6.3" role="hints"
# 1. Where does the last stamp begin? Where does it end? What does the padding cut off?
# 2. Count by stamping ones along a line.
# 3. `count = torch.zeros((n - 1) * s + k, dtype=torch.int64)`


# %% exercise="6.3" role="gap"
def tconv_size(n: int, k: int, s: int = 1, p: int = 0, op: int = 0) -> int:
    """Output length of a transposed convolution. Worked number: tconv_size(7, 4, 2, 1) is 14."""
    ### BEGIN SOLUTION
    length = (n - 1) * s - 2 * p + k + op
    if not 0 <= op < s:
        raise ValueError(f"output padding {op} must be at least 0 and below the stride {s}")
    if length < 1:
        raise ValueError(f"nothing is left of {n} stamps of {k}, stride {s}, padding {p}")
    return length
    ### END SOLUTION


def overlap_count(n: int, k: int, s: int = 1, p: int = 0) -> Tensor:
    """Stamps that reach every output (length,), int64. Worked number: n=2, k=3, s=2: 1 1 2 1 1."""
    ### BEGIN SOLUTION
    count = torch.zeros((n - 1) * s + k, dtype=torch.int64)
    for i in range(n):
        count[i * s : i * s + k] += 1
    return count[p : len(count) - p]
    ### END SOLUTION


# %% exercise="6.3" role="check"
check = Exercise("6.3", points=12, forbid=["course.upsampling", "course.geometry"])

with check("7 comes out as 14 in two ways; FCN-32s and DeconvNet", points=1):
    check.equal(
        tconv_size(7, 4, 2, 1),
        14,
        mistakes={
            "That is the formula of the forward convolution.": 3,
            "The padding is cut off both sides: 2 p.": 15,
            "Padding is cut off, not added.": 18,
            "n stamps have n - 1 steps between them.": 16,
            "The kernel reaches k pixels, not k - 1.": 13,
        },
    )
    check.equal(tconv_size(7, 3, 2, 1, 1), 14, mistakes={"The output padding is missing.": 13})
    check.equal([tconv_size(16, 64, 32), tconv_size(1, 7)], [544, 7])
with check("kernel 3, stride 2: a checkerboard", points=1):
    check.equal(
        overlap_count(3, 3, 2),
        torch.tensor([1, 1, 2, 1, 2, 1, 1]),
        mistakes={
            "The stamps lie 1 pixel apart: use the stride.": torch.tensor([1, 2, 3, 2, 1]),
            "Mark overlaps with their number: how many stamps, not whether there is one.": (
                torch.ones(7, dtype=torch.int64)
            ),
        },
    )
with check("kernel 4, stride 2, padding 1: even inside", points=1):
    check.equal(
        overlap_count(3, 4, 2, 1),
        torch.tensor([1, 2, 2, 2, 2, 1]),
        mistakes={
            "The padding is not cut off.": torch.tensor([1, 1, 2, 2, 2, 2, 1, 1]),
            "The padding is cut off at one end only.": torch.tensor([1, 2, 2, 2, 2, 1, 1]),
        },
    )
### BEGIN HIDDEN TESTS
grid = [
    (n, k, s, p)
    for n in (1, 2, 5)
    for k in (1, 2, 3, 4, 7)
    for s in (1, 2, 3)
    for p in (0, 1, 2)
    if (n - 1) * s - 2 * p + k > 0
]
with check.hidden("every small case, against torch", points=2):
    for n, k, s, p in grid:
        line = torch.ones(1, 1, n)
        want = F.conv_transpose1d(line, torch.ones(1, 1, k), stride=s, padding=p).shape[-1]
        check.equal(tconv_size(n, k, s, p), want)
with check.hidden("with output padding", points=1):
    for op in (0, 1, 2):
        want = F.conv_transpose1d(torch.ones(1, 1, 4), torch.ones(1, 1, 5), None, 3, 1, op).shape[
            -1
        ]
        check.equal(tconv_size(4, 5, 3, 1, op), want)
with check.hidden("output padding out of range, and empty outputs, are refused", points=2):
    check.raises(ValueError, tconv_size, 7, 3, 2, 1, 2)
    check.raises(ValueError, tconv_size, 7, 3, 2, 1, -1)
    check.raises(ValueError, tconv_size, 1, 2, 1, 1)
    check.raises(ValueError, tconv_size, 2, 1, 1, 3)
with check.hidden("counts, every small case", points=3):
    for n, k, s, p in grid:
        line = torch.ones(1, 1, n)
        want = F.conv_transpose1d(line, torch.ones(1, 1, k), stride=s, padding=p)[0, 0]
        check.equal(overlap_count(n, k, s, p), want.long(), dtype=True)
with check.hidden("even inside exactly where the stride divides the kernel", points=1):
    for k in range(1, 9):
        for s in range(1, k + 1):
            inside = overlap_count(20, k, s)[k:-k]
            check.equal(bool(inside.min() == inside.max()), k % s == 0)
### END HIDDEN TESTS
check.score()

# %% exercise="6.3" role="picture"
plots.compare_values(
    yours=lambda: overlap_count(8, 5, 2, 2),
    expected=upsampling.overlap_count(8, 5, 2, 2),
    title="Stamps per output: kernel 5, stride 2, padding 2",
    xlabel="output, pixels",
    ylabel="stamps",
    exercise="6.3",
)

# %% [markdown] exercise="6.3" role="see"
# A comb of 2 and 3: every second output gets half as much again as its neighbour. With kernel 4 or
# 6 the line would be flat between its ends.

# %% [markdown] exercise="6.3" role="think" points=10
# **Think (10 points).** A colleague upsamples with kernel 5, stride 2, sees a checkerboard, and
# says: "training will find weights that cancel it". Is she right that such weights exist? What do
# they have to satisfy? Name two changes that avoid the problem. Three to five sentences.
#
# ### BEGIN SOLUTION
# Such weights exist. For a constant input, even outputs receive the sum of the taps 0, 2, 4 and odd
# outputs that of the taps 1, 3; the board vanishes exactly if these sums are equal (per channel, in
# both axes). Nothing in the initialisation or the loss asks for it, so the network starts with a
# board and keeps some of it. Ways out: a kernel that is a multiple of the stride (4 or 6),
# upsampling by nearest or bilinear and then a convolution, or unpooling and then a convolution.
# Full marks: exist, the two sums, two remedies.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 6.4 An encoder and its mirror image

# %% [markdown] exercise="6.4" role="idea"
# DeconvNet folds VGG16 open: a whole image shrinks to one vector of 4096 numbers, and a mirror
# image of the encoder draws the objects from it. SegNet leaves the fully connected layers out,
# which are nine tenths of the weights, and keeps the mirror. A decoder level is
#
# $$x \leftarrow \text{ReLU}\big(\text{BN}(\text{conv}_{3\times3}(\text{unpool}(x, s_i)))\big),$$
#
# sparse in, dense out. Unpooling learns nothing: it reads the switches of the pooling at the same
# level. So the switches form a stack, the last ones stored are the first ones used.
# [Badrinarayanan et al. 2017, §3 and Figures 2, 3; Noh et al. 2015, §3.1]

# %% exercise="6.4" role="look"
with torch.device("meta"):  # shapes and counts only, no memory
    counts = {
        name: sum(p.numel() for p in net.parameters()) / 1e6
        for name, net in (("DeconvNet", models.DeconvNet()), ("SegNet", models.SegNet(21)))
    }
plots.bars(
    list(counts),
    list(counts.values()),
    title="Two mirrors of VGG16, with and without its fully connected layers",
    ylabel="parameters, millions",
)

# %% [markdown] exercise="6.4" role="contract" title="A small SegNet" minutes=25
# - `SegNetDecoderBlock(a, b).forward(x, idx, hw)`: `(B, a, h, w)` → `(B, b, *hw)`: unpool,
#   convolution, batch normalisation, ReLU.
# - `MiniSegNet(channels, widths, classes).forward(x)`: `(B, channels, H, W)` → logits
#   `(B, classes, H, W)`, for odd H and W too. After every encoder stage pool 2 × 2; then the
#   decoder blocks; then the classifier, without anything behind it.
# - Use your functions of 6.1. Forbidden: `course.models`, `course.upsampling`.

# %% [markdown] exercise="6.4" role="hints"
# 1. Two things about a pooling must be kept for the way up: its switches, and the size of the map
#    before it. Where do you keep them, and in which order do you take them out?
# 2. A list is a stack: `append` on the way down, `pop` on the way up.
# 3. The first lines are `kept = []` and `for stage in self.encoder:`.


# %% exercise="6.4" role="gap"
class SegNetDecoderBlock(nn.Module):
    """One level of the way up. Worked number: (1, 16, 6, 6), hw = (11, 12): (1, b, 11, 12)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor, idx: Tensor, hw: tuple[int, int]) -> Tensor:
        ### BEGIN SOLUTION
        return F.relu(self.norm(self.conv(unpool(x, idx, hw))))
        ### END SOLUTION


class MiniSegNet(nn.Module):
    """Encoder, decoder and classifier. Worked number: widths (8, 16, 16) have 7,803 parameters."""

    def __init__(self, channels: int, widths: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        switches = []
        for stage in self.encoder:
            x = stage(x)
            hw = (x.shape[-2], x.shape[-1])
            x, idx = max_pool_with_switches(x)
            switches.append((idx, hw))
        for block in self.decoder:
            x = block(x, *switches.pop())
        return self.classifier(x)
        ### END SOLUTION


# %% exercise="6.4" role="check"
check = Exercise("6.4", points=18, forbid=["course.models", "course.upsampling"])


def layer(x, s, conv, norm):
    """3 × 3 convolution and batch normalisation in evaluation mode, from a state dictionary."""
    x = F.conv2d(x, s[f"{conv}.weight"], s[f"{conv}.bias"], padding=1)
    mean, variance = s[f"{norm}.running_mean"], s[f"{norm}.running_var"]
    return F.batch_norm(x, mean, variance, s[f"{norm}.weight"], s[f"{norm}.bias"])


def lively(net, seed):
    """Fill a module with weights so large that every level leaves its mark; returns its state."""
    net.fill(seed=seed)
    state = net.state()
    for name, value in state.items():
        if name.endswith("weight"):
            state[name] = 5 * value if value.ndim == 4 else 1 + value
    net.load(state)
    net.train(False)
    return state


small = torch.tensor([[[[1.0, 2.0], [3.0, -4.0]], [[0.5, 1.0], [2.0, 3.0]]]])
places = torch.tensor([[[[0, 2], [10, 13]], [[6, 4], [11, 14]]]])
with check("one level: unpool, convolution, normalisation, ReLU", points=2):
    block = build(SegNetDecoderBlock, 2, 3)
    s = lively(block, 4)
    sparse = F.max_unpool2d(small, places, 2, output_size=(3, 5))
    dense = layer(sparse, s, "conv", "norm")
    wide = small.repeat_interleave(2, 2).repeat_interleave(2, 3)[..., :3, :5]
    plain = F.conv2d(sparse, s["conv.weight"], s["conv.bias"], padding=1)
    check.equal(
        block(small, places, (3, 5)),
        F.relu(dense),
        mistakes={
            "The ReLU is missing.": dense,
            "The batch normalisation is missing.": F.relu(plain),
            "The ReLU comes before the normalisation: convolution, normalisation, ReLU.": (
                F.batch_norm(
                    F.relu(plain),
                    s["norm.running_mean"],
                    s["norm.running_var"],
                    s["norm.weight"],
                    s["norm.bias"],
                )
            ),
            "That is nearest upsampling: use the switches.": F.relu(
                layer(F.interpolate(small, size=(3, 5)), s, "conv", "norm")
            ),
            "That is nearest upsampling, cut to size: use the switches.": F.relu(
                layer(F.pad(wide, (0, 5 - wide.shape[-1])), s, "conv", "norm")
            ),
        },
        tolerance=1e-5,
    )
stack = "Switches form a stack: the last pooling is undone first, with its own size."
image = torch.rand(1, 1, 10, 13, generator=torch.Generator().manual_seed(64))
with check("10 × 13 pixels come back as 10 × 13 pixels", points=1, hint=stack):
    net = build(MiniSegNet, 1, (2, 3), 4)
    check.equal(
        list(net(image).shape),
        [1, 4, 10, 13],
        mistakes={
            "Did you forget the classifier?": [1, 2, 10, 13],
            "The size comes back too large: keep the size before each pooling.": [1, 4, 12, 16],
            "The map comes back too small: hw is the size before the pooling.": [1, 4, 3, 4],
        },
    )
with check("two levels, value by value", points=1, hint=stack):
    s = lively(net, 2)
    first = F.relu(layer(image, s, "encoder.0.0", "encoder.0.1"))
    x, one = F.max_pool2d(first, 2, ceil_mode=True, return_indices=True)
    second = F.relu(layer(x, s, "encoder.1.0", "encoder.1.1"))
    x, other = F.max_pool2d(second, 2, ceil_mode=True, return_indices=True)
    x = F.max_unpool2d(x, other, 2, output_size=(5, 7))
    x = F.relu(layer(x, s, "decoder.0.conv", "decoder.0.norm"))
    x = F.max_unpool2d(x, one, 2, output_size=(10, 13))
    x = F.relu(layer(x, s, "decoder.1.conv", "decoder.1.norm"))
    logits = F.conv2d(x, s["classifier.weight"], s["classifier.bias"])
    check.equal(
        net(image),
        logits,
        mistakes={
            "No ReLU behind the classifier: logits may be negative.": F.relu(logits),
            "No softmax behind the classifier: the loss wants logits.": logits.softmax(1),
        },
        tolerance=1e-5,
    )


### BEGIN HIDDEN TESTS
def mirrored(x, s, depth):
    """MiniSegNet of any depth from its state dictionary."""
    kept = []
    for i in range(depth):
        x = F.relu(layer(x, s, f"encoder.{i}.0", f"encoder.{i}.1"))
        hw = x.shape[-2:]
        x, idx = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        kept.append((idx, hw))
    for i in range(depth):
        idx, hw = kept[depth - 1 - i]
        x = F.max_unpool2d(x, idx, 2, output_size=list(hw))
        x = F.relu(layer(x, s, f"decoder.{i}.conv", f"decoder.{i}.norm"))
    return F.conv2d(x, s["classifier.weight"], s["classifier.bias"])


with check.hidden("three levels, odd and non-square, values", points=5):
    for hw in ((24, 16), (21, 35), (9, 50)):
        net = build(MiniSegNet, 3, (4, 5, 6), 3)
        s = lively(net, hw[0])
        x = torch.rand(2, 3, *hw, generator=torch.Generator().manual_seed(hw[1]))
        check.equal(net(x), mirrored(x, s, 3), tolerance=1e-4)
with check.hidden("equal widths, so that a wrong order fits", points=3):
    net = build(MiniSegNet, 1, (3, 3, 3, 3), 2)
    s = lively(net, 9)
    x = torch.rand(1, 1, 32, 48, generator=torch.Generator().manual_seed(3))
    check.equal(net(x), mirrored(x, s, 4), tolerance=1e-4)
with check.hidden("the block: batches and several sizes", points=2):
    for hw in ((8, 6), (7, 5), (7, 6)):
        block = build(SegNetDecoderBlock, 4, 2)
        s = lively(block, 1)
        x = torch.randn(3, 4, *hw, generator=torch.Generator().manual_seed(hw[1]))
        y, idx = F.max_pool2d(x, 2, ceil_mode=True, return_indices=True)
        want = F.max_unpool2d(y, idx, 2, output_size=hw)
        want = F.relu(layer(want, s, "conv", "norm"))
        check.equal(block(y, idx, hw), want, tolerance=1e-5)
with check.hidden("gradients reach every weight of the network", points=2):
    net = build(MiniSegNet, 1, (3, 4), 2)
    net.fill(seed=5)
    found = net.gradients(torch.rand(2, 1, 12, 16, generator=torch.Generator().manual_seed(5)))
    for name in ("encoder.0.0.weight", "encoder.1.0.weight", "decoder.1.conv.weight"):
        check.true(bool((found[name] != 0).any()), f"No gradient reaches {name}.")
with check.hidden("colour images: 7,947 parameters and no more", points=1):
    net = build(MiniSegNet, 3, (8, 16, 16), 3)
    check.equal(list(net(torch.ones(1, 3, 8, 16)).shape), [1, 3, 8, 16])
    check.equal(net.parameter_count(), 7947)
with check.hidden("one level only", points=1):
    net = build(MiniSegNet, 2, (3,), 2)
    s = lively(net, 8)
    x = torch.rand(1, 2, 7, 4, generator=torch.Generator().manual_seed(8))
    check.equal(net(x), mirrored(x, s, 1), tolerance=1e-5)
### END HIDDEN TESTS
check.score()

# %% exercise="6.4" role="picture"
sparse_maps: list[Tensor] = []
with attempt("6.1 and 6.4"):
    torch.manual_seed(0)
    untrained = MiniSegNet(channels, widths, len(names))
    for block in untrained.decoder:
        block.conv.register_forward_pre_hook(lambda _, given: sparse_maps.append(given[0][0]))
    with torch.no_grad():
        untrained(test[0]["image"][None])
    filled = [(m != 0).float().mean(0) for m in sparse_maps]
    plots.show_images(
        filled,
        [f"{m.shape[-1]} pixels, {m.mean():.0%} filled" for m in filled],
        title="What the convolutions of your decoder see: share of channels that are not zero",
    ).show()

# %% [markdown] exercise="6.4" role="see"
# The unpooled maps are sparse: every channel holds at most one value in four, and fewer where ReLU
# has made it 0: here 21, 13 and 12 percent. With nearest upsampling every place would be filled,
# and no convolution could tell where in its window a maximum was.

# %% [markdown] exercise="6.4" role="think"
# **Think.** DeconvNet reads proposals of single objects, each resized to 224 × 224 pixels; SegNet
# reads the whole image once. What does that do for objects of very different sizes, and what does
# it cost?
#
# ### BEGIN SOLUTION
# Resizing brings every object to about the same size, so that large objects are not cut into pieces
# and small ones are not lost; that was DeconvNet's point against FCN. It costs one pass per
# proposal (50 per image in the paper) of a network with 252 million parameters.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 6.5 What the memory costs

# %% [markdown] exercise="6.5" role="idea"
# U-Net and FCN keep whole feature maps for the way up. SegNet was made for the phone and the car,
# and keeps the switches only. A switch names one of $k^2$ places, so it takes
#
# $$\lceil \log_2 k^2 \rceil \text{ bits per window} \qquad\text{instead of}\qquad 32\,k^2
# \text{ bits of features}:$$
#
# 2 bits against 4 × 32 for a 2 × 2 window. That is what *can* be stored; libraries that know
# nothing of the window store an integer of 64 bits. [Badrinarayanan et al. 2017, §3 and §3.1]

# %% exercise="6.5" role="look"
plots.bars(
    ["four features", "index as int64", "a switch"],
    [128, 64, 2],
    title="Memory of one 2 × 2 window",
    ylabel="bits",
)

# %% [markdown] exercise="6.5" role="contract" title="Bits of switches and of features" minutes=15
# - `switch_memory(channels, h, w, size, value_bits)`: `(switch bits, feature bits)` of the pooling
#   of one `(channels, h, w)` map, windows counted as in 6.1 (rounded up).
# - `encoder_memory(h, w, widths)`: both sums over an encoder that pools 2 × 2 after every stage;
#   stage `i` has `widths[i]` channels; floats of 32 bits.
# - Results are whole numbers of **bits**.

# %% [markdown] exercise="6.5" role="hints"
# 1. Count windows, not pixels, for the switches; pixels, not windows, for the features.
# 2. For the whole encoder: add the bits of a stage, then halve h and w, rounding up.
# 3. `bits = (size * size - 1).bit_length()` is the smallest number of bits for `size * size`
#    places.


# %% exercise="6.5" role="gap"
def switch_memory(
    channels: int, h: int, w: int, size: int = 2, value_bits: int = 32
) -> tuple[int, int]:
    """Bits of the switches and of the features of one pooling.

    Worked number: 64 channels of 360 × 480 give (5529600, 353894400).
    """
    ### BEGIN SOLUTION
    windows = channels * -(-h // size) * -(-w // size)
    return windows * (size * size - 1).bit_length(), channels * h * w * value_bits
    ### END SOLUTION


def encoder_memory(h: int, w: int, widths: tuple[int, ...]) -> tuple[int, int]:
    """Bits of all switches and of all features before a pooling, in a whole encoder.

    Worked number: encoder_memory(2, 4, (1, 3)) is (4 + 6, 256 + 192), that is (10, 448).
    """
    ### BEGIN SOLUTION
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = -(-h // 2), -(-w // 2)
    return switches, features
    ### END SOLUTION


# %% exercise="6.5" role="check"
check = Exercise("6.5", points=12, forbid=["course.upsampling"])

windows = 64 * 180 * 240
with check("the first pooling of SegNet on CamVid: 64 to 1", points=1):
    check.equal(
        switch_memory(64, 360, 480),
        (2 * windows, 32 * 4 * windows),
        mistakes={
            "These are bytes: the answer is in bits.": (windows // 4, 16 * windows),
            "One switch per window, not per pixel.": (8 * windows, 128 * windows),
            "Four places need 2 bits: the logarithm of 4, not 4.": (4 * windows, 128 * windows),
            "An int64 index needs no 64 bits if you know the window.": (
                64 * windows,
                128 * windows,
            ),
            "A switch for every channel.": (2 * 180 * 240, 128 * windows),
            "Features are counted before the pooling.": (2 * windows, 32 * windows),
        },
    )
with check("windows of 3 × 3 on 7 × 13 pixels", points=1):
    check.equal(
        switch_memory(1, 7, 13, 3),
        (15 * 4, 91 * 32),
        mistakes={
            "Nine places need 4 bits: round the logarithm up.": (15 * 3, 91 * 32),
            "The last windows hang over the border: round their number up.": (8 * 4, 91 * 32),
            "Nine places need 4 bits, however large the image is.": (15 * 2, 91 * 32),
        },
    )
with check("two levels: 5 × 6 pixels, then 3 × 3", points=1):
    check.equal(
        encoder_memory(5, 6, (2, 4)),
        (2 * 9 * 2 + 4 * 4 * 2, (2 * 30 + 4 * 9) * 32),
        mistakes={
            "Halve the size before the next level.": (2 * 9 * 2 + 4 * 9 * 2, 6 * 30 * 32),
            "Odd sizes are rounded up on the way down: 5 becomes 3.": (
                2 * 9 * 2 + 4 * 2 * 2,
                (2 * 30 + 4 * 6) * 32,
            ),
            "That is the last level only: add them up.": (4 * 4 * 2, 4 * 9 * 32),
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("even sizes, against the library", points=2):
    for c, h, w in ((1, 2, 2), (3, 8, 6), (7, 32, 48)):
        check.equal(switch_memory(c, h, w), tuple(upsampling.switch_memory((c, h, w))))
with check.hidden("odd sizes", points=2):
    for c, h, w in ((2, 1, 1), (3, 5, 8), (1, 45, 60), (5, 7, 3)):
        count = c * ((h + 1) // 2) * ((w + 1) // 2)
        check.equal(switch_memory(c, h, w), (2 * count, 32 * c * h * w))
with check.hidden("windows of 1 to 8, values of 16 bits", points=2):
    need = {1: 0, 2: 2, 3: 4, 4: 4, 5: 5, 6: 6, 7: 6, 8: 6}
    for k, bits in need.items():
        check.equal(switch_memory(2, 8 * k, 3 * k, k, 16), (48 * bits, 2 * 24 * k * k * 16))
with check.hidden("the whole of SegNet on 360 × 480 pixels", points=2):
    sides, vgg = [(360, 480), (180, 240), (90, 120), (45, 60), (23, 30)], (64, 128, 256, 512, 512)
    bits = sum(2 * c * ((h + 1) // 2) * ((w + 1) // 2) for (h, w), c in zip(sides, vgg))
    check.equal(
        encoder_memory(360, 480, vgg), (bits, sum(32 * c * h * w for (h, w), c in zip(sides, vgg)))
    )
with check.hidden("one level, and none", points=1):
    check.equal(encoder_memory(9, 4, (3,)), (2 * 3 * 5 * 2, 32 * 3 * 36))
    check.equal(encoder_memory(9, 4, ()), (0, 0))
### END HIDDEN TESTS
check.score()

# %% exercise="6.5" role="picture"
vgg_levels = [(64, 360, 480), (128, 180, 240), (256, 90, 120), (512, 45, 60), (512, 23, 30)]
plots.compare_values(
    yours=lambda: [switch_memory(*level)[0] / 8e3 for level in vgg_levels],
    expected=[691.2, 345.6, 172.8, 88.32, 23.04],
    title="Switches of SegNet's five poolings on an image of 360 × 480",
    xlabel="pooling (0 = first)",
    ylabel="kilobytes",
    exercise="6.5",
)

# %% [markdown] exercise="6.5" role="see"
# The first pooling needs 691 kilobytes, all five together 1.3 megabytes; the feature maps that they
# stand for take 84 megabytes. At odd sizes the ratio is a little below 64, because the last windows
# are not full.

# %% [markdown] exercise="6.5" role="think" points=10
# **Think (10 points).** Answer after the experiment at the end. In PyTorch `max_pool2d(…,
# return_indices=True)` gives int64. By how much does SegNet then save memory over keeping the
# features of a 2 × 2 window, in single and in half precision? What does the experiment say the
# switches are worth, and what can they *not* carry that a skip connection carries? Three to five
# sentences.
#
# ### BEGIN SOLUTION
# 64 bits against 128: a factor of 2 instead of 64, and in half precision (4 × 16 bits) nothing at
# all; the saving is real only where the implementation packs the switches. In the experiment they
# raise the IoU of thin lines far above both other decoders with exactly as many weights, because
# they say where in its window something was. They carry places only: the values that were not the
# maximum, and how strong they were, are gone, while a skip connection brings all features of the
# fine level. Full marks: factor 2, factor 1, a number from the experiment, places without values.
# ### END SOLUTION

# %% [markdown]
# ---
# ## The experiment: what the switches are worth
#
# Three networks with the same encoder and with **exactly** the same number of weights. They differ
# in one thing: how a decoder level doubles the map before (or while) it convolves it.
#
# - *switches*: your `MiniSegNet`;
# - *nearest*: every value on all four pixels, then the 3 × 3 convolution;
# - *transposed*: a 3 × 3 transposed convolution with stride 2, padding 1, and the output padding
#   that your `tconv_size` asks for.


# %% role="setup"
class Plain(MiniSegNet):
    """The same layers as `MiniSegNet`, but the decoder knows nothing of the poolings."""

    def __init__(self, channels: int, widths: tuple[int, ...], classes: int, up: str) -> None:
        super().__init__(channels, widths, classes)
        self.up = up
        for level in self.decoder:
            old = level.conv
            if up == "transposed":
                short = 2 * 6 - tconv_size(6, 3, 2, 1)  # what is missing to 12 from 6 pixels
                level.conv = nn.ConvTranspose2d(
                    old.in_channels, old.out_channels, 3, 2, padding=1, output_padding=short
                )

    def forward(self, x: Tensor) -> Tensor:
        for level in self.encoder:
            x, _ = max_pool_with_switches(level(x))
        for up in self.decoder:
            x = F.interpolate(x, scale_factor=2) if self.up == "nearest" else x
            x = F.relu(up.norm(up.conv(x)))
        return self.classifier.forward(x)


def make(kind: str, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    arguments = (channels, widths, len(names))
    net = MiniSegNet(*arguments) if kind == "switches" else Plain(*arguments, kind)
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    return net.to(device)


# SegNet's balance of rare and frequent classes (§3.2): the median frequency over each class's own.
frequencies = losses.class_frequencies((train[i]["mask"] for i in range(len(train))), len(names))
balance = losses.median_frequency_weights(frequencies).float().to(device)


def pixel_loss(logits, batch):
    return losses.cross_entropy(logits, batch["mask"], class_weights=balance)


@torch.no_grad()
def predict(net, image):
    return net.eval()(image[None].to(device)).argmax(1)[0].cpu()


def score(net):
    """IoU of every class on the test images."""
    confusion = metrics.ConfusionMatrix(len(names))
    for sample in (test[i] for i in range(len(test))):
        confusion.update(predict(net, sample["image"])[None], sample["mask"][None])
    return confusion.iou()


# %% role="experiment"
kinds = ("switches", "nearest", "transposed")
thin = {"lines": 2, "camvid": 2}.get(dataset, 1)  # a line, a pole
nets, found = {}, {}
with attempt("6.1, 6.3 and 6.4"):
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
            found[kind, seed] = score(net)
rows = [
    [
        kind,
        seed,
        f"{sum(p.numel() for p in nets[kind, seed].parameters()):,}",
        f"{iou[thin]:.3f}",
        f"{iou.nanmean():.3f}",
    ]
    for (kind, seed), iou in found.items()
]
plots.table(
    ["decoder", "seed", "parameters", f"IoU of {names[thin]}", "mean IoU"],
    rows,
    title=f"{len(test)} test images",
)

# %% role="experiment"
if found:
    sample = test[1]
    plots.show_masks(
        [sample["image"]] * 4,
        [sample["mask"], *(predict(nets[kind, seeds[0]], sample["image"]) for kind in kinds)],
        class_names=names,
        titles=["truth", *kinds],
        title="One test image: where is the line?",
    ).show()

# %% role="experiment"
if found:
    scores = {kind: [float(found[kind, seed][thin]) for seed in seeds] for kind in kinds}
    plots.bars(
        list(kinds),
        [sum(scores[kind]) / len(seeds) for kind in kinds],
        [(max(scores[kind]) - min(scores[kind])) / 2 for kind in kinds],
        title=f"IoU of {names[thin]}, {len(seeds)} seeds, half their range as error",
        ylabel="IoU",
        limits=(0, 1),
    ).show()
    lead = min(scores["switches"]) - max(scores["nearest"] + scores["transposed"])
    print(f"The worst run with switches lies {lead:+.2f} from the best run without.")
    sizes_of = {sum(p.numel() for p in net.parameters()) for net in nets.values()}
    assert len(sizes_of) == 1, "the three networks must have the same number of weights"
    if dataset == "lines" and steps >= 200 and len(seeds) >= 3:
        assert lead > 0.12, "switches should find the lines far better: check exercises 6.1 and 6.4"
        claim(
            6,
            "Unpooling with switches finds thin structures that other decoders lose.",
            quantity="IoU of thin lines, switches less the better of nearest and transposed, same seed",
            paper="Badrinarayanan et al. 2017, §4.1: boundaries delineated better, no such ablation",
            values=[
                with_switches - max(others)
                for with_switches, *others in zip(
                    scores["switches"], scores["nearest"], scores["transposed"]
                )
            ],
            at_least=0.12,
        ).show()

# %% [markdown]
# Is the trained layer what you wrote in 6.2? Take one input and one output channel of it, and
# stamp.

# %% role="experiment"
with attempt("6.2"):
    if found:
        trained = nets["transposed", seeds[0]].decoder[0].conv.weight[0, 0].detach().cpu()
        given = torch.rand(6, 6, generator=torch.Generator().manual_seed(0))
        layer_says = F.conv_transpose2d(given[None, None], trained[None, None], stride=2, padding=1)
        gap = (transposed_conv(given, trained, 2, 1) - layer_says[0, 0]).abs().max()
        print(
            "Your stamps and the trained layer agree." if gap < 1e-5 else f"They differ: {gap:.3f}."
        )

# %% [markdown]
# One more bar on the ladder that all labs climb: thin lines, the same data, one architecture after
# the other. Yours is the mirror with switches.

# %% role="experiment"
ladder.picture(lab=6)

# %% [markdown]
# **What you should see.** With switches most of the lines are found to the pixel; without them they
# come out too wide and grow together, with the same encoder and exactly the same number of weights.
# Discs hardly differ: what is larger than a window does not need the memory. In every run the IoU
# of lines is about 0.7 with switches and about 0.4 without, whichever of the other two decoders you
# take; the worst run with switches is at least 0.12 above the best run without (usually more than
# 0.2).
#
# | | papers | here |
# |---|---|---|
# | data | CamVid, 367 images; VOC 2012 | 120 synthetic images of 40 × 40 |
# | network | DeconvNet 251,805,653 and SegNet 29,449,355 parameters, five levels | 7,803 parameters, three levels |
# | claim | SegNet §3.1 and Table 1: decoders that use the encoder's places beat fixed bilinear upsampling | measured above, at equal weights, with the spread over seeds |
#
# **Going on.** Set `dataset = "camvid"` in the parameter cell for streets, where the poles are the
# lines, or `"voc2012"`; point the environment variable `COURSE_DATA` at the folder that holds them.
# Thin classes need time: one run of 120 steps at `size = 96` finds no poles with any of the three
# decoders (IoU below 0.01, mean IoU 0.17 to 0.20). Give it `size = 160`, `widths = (32, 64, 64)`,
# `steps = 3000` and a GPU.
#
# **Reading.** Noh et al. 2015, §3 (network, unpooling, two-stage training). Badrinarayanan et
# al. 2017, §3.1 and Table 1 (decoders compared at equal encoders). Zeiler and Fergus 2014, §2.1,
# where switches come from. Dumoulin and Visin 2016,
# [arXiv:1603.07285](https://arxiv.org/abs/1603.07285), §4. Odena, Dumoulin, Olah 2016,
# [Distill](https://distill.pub/2016/deconv-checkerboard/).
