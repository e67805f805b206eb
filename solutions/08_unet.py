# %% [markdown]
# # Lab 8 · U-Net: a network that loses its border, and what that is good for
#
# [[exercises]]
#
# **You will be able to**
# - follow a size through a network without padding and choose inputs that fit;
# - segment an image of any size in tiles, with exactly the result of one big pass;
# - weigh a loss so that touching cells come apart;
# - say what intersection over union does not see.
#
# **Paper.** O. Ronneberger, P. Fischer, T. Brox, *U-Net: Convolutional Networks for Biomedical Image
# Segmentation*, MICCAI 2015, [arXiv:1505.04597](https://arxiv.org/abs/1505.04597). Read §2
# (architecture) and §3 (training); Figures 1 and 2 are drawn again here, by you.
#
# **From before.** Convolution arithmetic (Lab 5), transposed convolution (Lab 6), skip connections
# (Lab 7). Run every cell from top to bottom. A check cell never stops the notebook: it says what it
# expected, what came, and the usual cause.

# %% tags=["parameters"]
dataset = "cells"  # "cells" is made on the spot; "dsb2018" and "isbi2012" are read from COURSE_DATA
device = "cpu"  # "cuda" where there is one
steps = 200  # training steps per run; 3000 and more for the real sets
crop = 64  # side of the training images in pixels
width = 8  # channels of the first level; 64 in the paper
seeds = [0, 1, 2]

# %% role="setup"
from collections.abc import Callable

import torch
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn
from torch.nn import functional as F

from course import data, geometry, ladder, losses, metrics, models, plots, tiling, training
from course.checks import Exercise, attempt, build, gradients, spy
from course.claims import claim

# %% [markdown]
# ## The picture of this lab
#
# Cells that touch. To count them you must find the dark line between them, one or two pixels wide.
# It covers about one pixel in fifty, so a network that ignores it still looks very good in most
# metrics. The outlines show where one cell ends and the next begins.

# %% role="setup"
train, test = data.cell_images(dataset, train=200, test=40, size=crop)
plots.outlines(
    train.instances[:4],
    train.images[:4],
    title="Four training images and the outlines of their cells",
)

# %% [markdown]
# ## See it move
#
# The lecture's moving pictures of this lab: predict, then drag. `uv run course lectures open 8` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("unet_tiles")

# %% role="experiment"
demos.show("border_weights")

# %% [markdown]
# ---
# ## 8.1 Sizes on the way down and up

# %% [markdown] exercise="8.1" role="idea"
# A 3×3 convolution without padding looks only at pixels that exist, so the map loses one pixel on
# each side: two per axis. U-Net makes two such convolutions per level, halves the map with a 2×2
# pooling, and on the way up doubles it with a 2×2 transposed convolution before two more
# convolutions. With four poolings an image of side 572 comes out with side 388:
#
# $$n \;\to\; n-4 \;\to\; \frac{n-4}{2} \;\to\; \dots \;\to\; n - (12\cdot 2^{d} - 8)$$
#
# for depth $d$. A pooling needs an even map, so most sizes do not fit: 572 does, 570 does not.
# [Ronneberger et al. 2015, §2 and Figure 1]

# %% exercise="8.1" role="look"
plots.bars(
    [str(n) for n in (572, 284, 140, 68, 32)],
    [n - 4 for n in (572, 284, 140, 68, 32)],
    title="Each level of the way down: side in, side after two convolutions",
    ylabel="side of the map, pixels",
    xlabel="side of the map that enters the level, pixels",
)

# %% [markdown] exercise="8.1" role="contract" title="Every size of the path" minutes=15
# - `n`: side of the square input, pixels; `depth`: number of poolings.
# - Result: `list[int]`, the side after **every** operation, starting with `n`: two convolutions, then
#   pooling, per level; two convolutions at the bottom; then doubling and two convolutions per level.
# - A pooling that meets an odd map, or a map that is used up, raises `ValueError` naming the level
#   (the top is level 0).

# %% [markdown] exercise="8.1" role="hints"
# 1. Keep one list and always continue from its last entry. What does one level append?
# 2. Way down: two sizes for the convolutions, look at the last one, append half of it. Way up: append
#    the double, then two sizes for the convolutions.
# 3. The first line is `sizes = [n]`; the first line of the loop is
#    `sizes += [sizes[-1] - 2, sizes[-1] - 4]`.


# %% exercise="8.1" role="gap"
def unet_sizes(n: int, depth: int = 4) -> list[int]:
    """Side of the map after every operation of a U-Net without padding.

    Worked number: unet_sizes(18, 1) is [18, 16, 14, 7, 5, 3, 6, 4, 2].
    """
    ### BEGIN SOLUTION
    sizes = [n]
    for level in range(depth):
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
        if sizes[-1] % 2 or sizes[-1] < 2:
            raise ValueError(f"level {level}: a map of side {sizes[-1]} cannot be pooled 2 x 2")
        sizes.append(sizes[-1] // 2)
    sizes += [sizes[-1] - 2, sizes[-1] - 4]
    for _ in range(depth):
        sizes += [2 * sizes[-1], 2 * sizes[-1] - 2, 2 * sizes[-1] - 4]
    if min(sizes) < 1:
        raise ValueError(f"level {depth}: nothing is left of a map of side {n}")
    return sizes
    ### END SOLUTION


# %% exercise="8.1" role="check"
check = Exercise("8.1", points=10, forbid=["course.geometry", "course.models"])

with check("the small network of the docstring", points=1):
    check.equal(
        unet_sizes(18, 1),
        [18, 16, 14, 7, 5, 3, 6, 4, 2],
        mistakes={
            "Each level has two convolutions: did you forget the second?": [18, 16, 8, 6, 12, 10],
            "Did you forget the two convolutions at the bottom?": [18, 16, 14, 7, 14, 12, 10],
            "The convolutions come before the pooling, not after it.": [18, 9, 7, 5, 10, 8, 6],
            "The way up has two convolutions per level too.": [18, 16, 14, 7, 5, 3, 6],
            "Return every size on the way, not only the last.": 2,
            "Return every size on the way, not only input and output.": [18, 2],
        },
    )
with check("the published network: 572 comes out as 388", points=1):
    sizes = unet_sizes(572, 4)
    check.equal((sizes[0], len(sizes), sizes[14], sizes[-1]), (572, 27, 28, 388))
with check("odd maps are refused, with their level", points=1):
    check.raises(
        ValueError,
        unet_sizes,
        570,
        4,
        says="1",
        message="570 becomes 566, then 283 at level 1: pooling would drop a row. Test each map "
        "before its pooling and say the level.",
    )
### BEGIN HIDDEN TESTS
with check.hidden("every legal size, depth 1 to 5", points=3):
    for d in range(1, 6):
        for b in range(5, 12):
            n = 2**d * (b + 8) - 4
            check.equal(unet_sizes(n, d), geometry.unet_sizes(n, d))
            check.equal(unet_sizes(n, d)[-1], n - (12 * 2**d - 8))
with check.hidden("every illegal size below 200 is refused", points=2):
    for d in (1, 2, 3):
        for n in range(1, 200):
            legal = (n + 4) % 2**d == 0 and n >= 12 * 2**d - 6
            if not legal:
                check.raises(ValueError, unet_sizes, n, d)
with check.hidden("the error names the right level", points=1):
    for n, level in ((573, 0), (570, 1), (576, 2), (580, 3)):
        check.raises(ValueError, unet_sizes, n, 4, says=str(level))
with check.hidden("a map that is used up is refused", points=1):
    check.raises(ValueError, unet_sizes, 60, 4)
    check.raises(ValueError, unet_sizes, 16, 1)
### END HIDDEN TESTS
check.score()

# %% exercise="8.1" role="picture"
plots.compare_values(
    yours=lambda: unet_sizes(572, 4),
    expected=geometry.unet_sizes(572, 4),
    title="Side of the map along the path of the published network",
    xlabel="operation",
    ylabel="side, pixels",
)

# %% [markdown] exercise="8.1" role="see"
# The curve falls from 572 to 28 in four stairs and climbs back to 388. The steps inside a stair are
# the two convolutions. It does not come back to 572: 184 pixels per axis are gone for good, 92 on
# each side.

# %% [markdown] exercise="8.1" role="think"
# **Think.** Most U-Nets in use pad every convolution by one, so that 572 stays 572. What do the
# predictions at the border of the image then rest on?
#
# ### BEGIN SOLUTION
# On zeros that stand for tissue nobody saw. The network has to learn that zeros at the rim mean
# "unknown", and its output there has another distribution than inside. For whole photographs that is
# a small loss; where images are cut into tiles every tile gets such a rim.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 8.2 Which input do I need?

# %% [markdown] exercise="8.2" role="idea"
# Usually the question runs backwards: you want to label a region of a given side and need the
# smallest input for which the network can do it. Every pooling halves, so legal inputs lie $2^{d}$
# apart: 188, 204, 220, … for depth 4. With $b$ the side of the map at the very bottom,
#
# $$n = 2^{d}(b+8) - 4, \qquad \text{output} = 2^{d}(b-4)+4 .$$
#
# Taking the next legal size *below* loses pixels that you promised to label; taking just *any* legal
# size wastes time, since the cost grows with the square of the side. A network that is handed a
# wrong size should not pad in silence. [Ronneberger et al. 2015, §2, last paragraph]

# %% exercise="8.2" role="look"
plots.bars(
    ["188", "204", "220", "236"],
    [4, 20, 36, 52],
    title="Depth 4: legal inputs are 16 pixels apart, and so are their outputs",
    xlabel="side of the input, pixels",
    ylabel="side of the output, pixels",
)

# %% [markdown] exercise="8.2" role="contract" title="The smallest input that fits" minutes=10
# - `out`: side that must be labelled, at least 1; `depth`: number of poolings.
# - Result: the smallest legal `n` whose output is at least `out`.
# - `out` below 1 raises `ValueError`.

# %% [markdown] exercise="8.2" role="hints"
# 1. The border that a network loses does not depend on the size of the input.
# 2. Start at `out` plus that loss and go up to the next legal size: by the formula above, `n + 4`
#    must be a multiple of $2^d$. (Or ask your `unet_sizes` whether it accepts the size.)
# 3. `n = out + 12 * 2**depth - 8`


# %% exercise="8.2" role="gap"
def valid_input_for(out: int, depth: int = 4) -> int:
    """Smallest legal input side whose output has at least side `out`.

    Worked number: valid_input_for(388, 4) is 572.
    """
    ### BEGIN SOLUTION
    if out < 1:
        raise ValueError(f"the output must have at least one pixel, got {out}")
    n = out + 12 * 2**depth - 8
    while (n + 4) % 2**depth:
        n += 1
    return n
    ### END SOLUTION


# %% exercise="8.2" role="check"
check = Exercise("8.2", points=8, forbid=["course.geometry", "course.models"])

with check("388 needs 572", points=1):
    check.equal(
        valid_input_for(388, 4),
        572,
        mistakes={
            "That is a legal size, but not the smallest one that is large enough.": 588,
            "The border is lost on both sides: 184 pixels per axis, not 92.": 492,
            "Too small: that input gives 372. Round up, not down.": 556,
        },
    )
with check("101 at depth 2 needs 144", points=1):
    check.equal(
        valid_input_for(101, 2),
        144,
        mistakes={
            "Round up to the next legal size, not down: 140 gives only 100.": 140,
            "141 = 101 + 40 is large enough, but 141 - 4 is odd.": 141,
            "That is a legal size, but not the smallest one that is large enough.": 148,
            "Your sizes are 16 apart at every depth; they are 2**depth apart.": 156,
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("every output from 1 to 400, depth 1 to 5", points=3):
    for d in range(1, 6):
        for out in range(1, 401, 7):
            check.equal(valid_input_for(out, d), geometry.valid_input_for(out, d))
with check.hidden("tiny outputs", points=1):
    check.equal([valid_input_for(out, 4) for out in (1, 3, 4, 5)], [188, 188, 188, 204])
with check.hidden("never smaller than asked for", points=1):
    for out in (2, 99, 100, 101, 389):
        check.true(
            geometry.unet_sizes(valid_input_for(out, 3), 3)[-1] >= out, "The output is too small."
        )
with check.hidden("an empty output is refused", points=1):
    check.raises(ValueError, valid_input_for, 0, 4)
    check.raises(ValueError, valid_input_for, -3, 2)
### END HIDDEN TESTS
check.score()

# %% exercise="8.2" role="picture"
plots.compare_values(
    yours=lambda: [valid_input_for(out, 4) for out in range(1, 101)],
    expected=[geometry.valid_input_for(out, 4) for out in range(1, 101)],
    title="Smallest input for an output of side 1 to 100, depth 4",
    xlabel="side wanted, pixels",
    ylabel="side of the input, pixels",
)

# %% [markdown] exercise="8.2" role="see"
# A staircase whose steps are 16 wide and 16 high. It never lies below the line `out + 184`, and
# touches it where that sum is legal: at 4, 20, 36, …

# %% [markdown] exercise="8.2" role="think"
# **Think.** You may choose the depth of a U-Net for images of 256 × 256 that must be labelled whole.
# What does one more level cost you at the input?
#
# ### BEGIN SOLUTION
# The border roughly doubles: 20 pixels per side at depth 2, 44 at depth 3, 92 at depth 4, 188 at
# depth 5. At depth 5 the input has side 636, more than six times the pixels that are wanted.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 8.3 A border made of mirrors, and a plan of tiles

# %% [markdown] exercise="8.3" role="idea"
# Two problems remain. Pixels at the rim of the image lack the 92 pixels of context that the network
# eats; and a large image does not fit into memory at once. The paper's *overlap-tile strategy*
# answers both: continue the image by mirroring at its edge, then cut the output into tiles and give
# each tile an input that is larger by the margin
#
# $$m = \tfrac12\,(12\cdot 2^{d}-8) = 6\cdot 2^{d}-4$$
#
# on every side, so that neighbouring inputs overlap by $2m$. The mirror stands *on* the edge pixel,
# which is not repeated. [Ronneberger et al. 2015, §2 and Figure 2]

# %% exercise="8.3" role="look"
plots.draw_tiles(
    (700, 1000),
    tiling.tile_plan(700, 1000, 388, multiple=16, balance=False).boxes,
    margin=92,
    title="An image of 700 × 1000 pixels in tiles; each sees 92 pixels more than it labels",
)

# %% [markdown] exercise="8.3" role="contract" title="Mirror and plan" minutes=25
# - `tile_margin(depth)`: pixels lost on **one** side.
# - `mirror_pad(image, left, top, right, bottom)`: `image` is `(..., H, W)`; the result has
#   `H + top + bottom` rows, and is mirrored again where a margin is longer than the image. The dtype
#   of the input is kept.
# - `tile_plan(h, w, step)`: half-open output boxes `(x0, y0, x1, y1)` in reading order, `step`
#   apart, cut at the edge of the image.
# - `pad` of torch and numpy are not allowed here.

# %% [markdown] exercise="8.3" role="hints"
# 1. Think of indices, not of pixels: which row does row −1 show? And row H?
# 2. Going on, the rows read 0, 1, …, H−1, H−2, …, 1, 0, 1, …: a triangle wave with period 2(H−1).
# 3. `index = torch.arange(-before, length + after) % period`


# %% exercise="8.3" role="gap"
def tile_margin(depth: int = 4) -> int:
    """Pixels that a U-Net without padding loses on one side. Worked number: tile_margin(4) is 92."""
    ### BEGIN SOLUTION
    return 6 * 2**depth - 4
    ### END SOLUTION


def mirror_pad(image: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Continue an image (..., H, W) by mirroring; the edge pixel is not repeated.

    Worked number: the row 1 2 3 with left=2 and right=1 becomes 3 2 1 2 3 2.
    """

    ### BEGIN SOLUTION
    def mirrored(before: int, length: int, after: int) -> Tensor:
        period = max(2 * (length - 1), 1)
        index = torch.arange(-before, length + after, device=image.device) % period
        return torch.minimum(index, period - index)

    h, w = image.shape[-2:]
    return image[..., mirrored(top, h, bottom)[:, None], mirrored(left, w, right)]
    ### END SOLUTION


def tile_plan(h: int, w: int, step: int) -> list[tuple[int, int, int, int]]:
    """Output boxes (x0, y0, x1, y1) that cover an h × w image once, in reading order.

    Worked number: tile_plan(1, 7, 4) is [(0, 0, 4, 1), (4, 0, 7, 1)].
    """
    ### BEGIN SOLUTION
    return [
        (x, y, min(x + step, w), min(y + step, h))
        for y in range(0, h, step)
        for x in range(0, w, step)
    ]
    ### END SOLUTION


# %% exercise="8.3" role="check"
check = Exercise("8.3", points=16, forbid=["torch.nn.functional.pad", "numpy.pad", "course.tiling"])

with check("the margin of the published network", points=1):
    check.equal(
        tile_margin(4),
        92,
        mistakes={"184 is what both sides lose together.": 184},
    )
with check("a mirror on the edge pixel", points=2):
    image = torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    above, below = [3, 2, 1, 2, 3, 4, 3, 2, 1], [7, 6, 5, 6, 7, 8, 7, 6, 5]
    check.equal(
        mirror_pad(image, 2, 1, 3, 0),
        torch.tensor([below, above, below]),
        mistakes={
            "The edge pixel is repeated: mirror on it, not beside it.": torch.tensor(
                [[2, 1, 1, 2, 3, 4, 4, 3, 2]] * 2 + [[6, 5, 5, 6, 7, 8, 8, 7, 6]]
            ),
            "You repeat the edge pixel instead of mirroring.": torch.tensor(
                [[1, 1, 1, 2, 3, 4, 4, 4, 4]] * 2 + [[5, 5, 5, 6, 7, 8, 8, 8, 8]]
            ),
            "The margin is filled with zeros: the network would see a black frame.": torch.tensor(
                [[0] * 9, [0, 0, 1, 2, 3, 4, 0, 0, 0], [0, 0, 5, 6, 7, 8, 0, 0, 0]]
            ),
            "The margins are on the wrong sides: left, top, right, bottom is the order.": (
                torch.tensor([[4, 3, 2, 1, 2, 3, 4], [8, 7, 6, 5, 6, 7, 8]] * 3)[:5]
            ),
            "The margins are on the wrong sides: torch's order is not the order here.": (
                torch.tensor([below[:7], above[:7]] * 3)[:5]
            ),
            "The image goes round (wraps) instead of being mirrored.": torch.tensor(
                [[7, 8, 5, 6, 7, 8, 5, 6, 7], [3, 4, 1, 2, 3, 4, 1, 2, 3]] * 2
            )[:3],
        },
    )
with check("every pixel once, in reading order", points=1):
    check.equal(
        tile_plan(5, 7, 4),
        [(0, 0, 4, 4), (4, 0, 7, 4), (0, 4, 4, 5), (4, 4, 7, 5)],
        mistakes={
            "Boxes are (x0, y0, x1, y1): x comes first.": [
                (0, 0, 4, 4),
                (0, 4, 4, 7),
                (4, 0, 5, 4),
                (4, 4, 5, 7),
            ],
            "Row by row, as you read: x changes first.": [
                (0, 0, 4, 4),
                (0, 4, 4, 5),
                (4, 0, 7, 4),
                (4, 4, 7, 5),
            ],
            "The last row and column of tiles are missing.": [(0, 0, 4, 4)],
            "The last tiles reach outside the image: cut them at its edge.": [
                (0, 0, 4, 4),
                (4, 0, 8, 4),
                (0, 4, 4, 8),
                (4, 4, 8, 8),
            ],
            "The last tiles are moved back: their pixels are labelled twice.": [
                (0, 0, 4, 4),
                (3, 0, 7, 4),
                (0, 1, 4, 5),
                (3, 1, 7, 5),
            ],
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("margins for every depth", points=2):
    check.equal([tile_margin(d) for d in range(1, 6)], [8, 20, 44, 92, 188])
with check.hidden("a margin longer than the image", points=2):
    row = torch.arange(4.0)[None]
    wave = torch.tensor([float(min(i % 6, 6 - i % 6)) for i in range(-7, 12)])
    check.equal(mirror_pad(row, 7, 0, 8, 0)[0], wave)
    for h, w, p in ((3, 5, 9), (2, 7, 12), (6, 2, 31)):
        image = torch.arange(float(h * w)).reshape(1, h, w)
        check.equal(mirror_pad(image, p, p, p, p), tiling.mirror_pad(image, p))
with check.hidden("one pixel high or wide", points=1):
    check.equal(mirror_pad(torch.tensor([[7.0]]), 2, 0, 1, 3), torch.full((4, 4), 7.0))
with check.hidden("leading dimensions and dtypes", points=2):
    for dtype in (torch.uint8, torch.float64):
        image = (torch.arange(60) % 50).reshape(2, 2, 3, 5).to(dtype)
        result = mirror_pad(image, 0, 1, 4, 2)
        want = torch.stack([F.pad(i.double(), (0, 4, 1, 2), mode="reflect") for i in image])
        check.equal(result, want.to(dtype), dtype=True)
with check.hidden("no margin, and the image is left alone", points=1):
    image = torch.rand(1, 3, 4)
    check.equal(mirror_pad(image, 0, 0, 0, 0), image)
    check.unchanged(mirror_pad, image, 1, 1, 1, 1)
with check.hidden("plans cover every pixel exactly once", points=3):
    for h, w, step in ((1, 1, 4), (8, 8, 4), (9, 17, 4), (30, 11, 7), (5, 40, 16)):
        seen = torch.zeros(h, w)
        for x0, y0, x1, y1 in tile_plan(h, w, step):
            check.true(0 <= y0 < y1 <= h and 0 <= x0 < x1 <= w, "A tile lies outside the image.")
            check.true(y1 - y0 <= step and x1 - x0 <= step, "A tile is larger than the step.")
            seen[y0:y1, x0:x1] += 1
        check.equal(seen, torch.ones(h, w))
with check.hidden("an image smaller than one tile", points=1):
    check.equal(tile_plan(3, 2, 388), [(0, 0, 2, 3)])
### END HIDDEN TESTS
check.score()

# %% exercise="8.3" role="picture"
photo = test[0]["image"]
plots.compare(
    yours=lambda: mirror_pad(photo, 20, 20, 20, 20)[0],
    expected=tiling.mirror_pad(photo, 20)[0],
    title="A test image with 20 pixels of mirror on each side (depth 2)",
)

# %% [markdown] exercise="8.3" role="see"
# The frame continues the cells without a seam: a cell at the edge becomes a symmetric double cell.
# The difference is 0 everywhere.

# %% [markdown] exercise="8.3" role="think"
# **Think.** `numpy.pad` knows "reflect" and "symmetric", and the paper says only "mirroring". Which
# of the two repeats the edge pixel, and where would you see it?
#
# ### BEGIN SOLUTION
# "symmetric" repeats it. A line of one pixel along the edge becomes two pixels wide, and gradients
# at the edge are halved; away from the edge nothing changes.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 8.4 Tiles that equal one big pass

# %% [markdown] exercise="8.4" role="idea"
# With margins of true context every tile should get exactly the values of one pass over the whole
# mirrored image. It does, under one condition that the paper does not mention: pooling puts a grid
# of $2^{d}$ pixels over the image, and a tile that starts between two grid lines pools other
# pixels together. So the tiles must start at multiples of $2^{d}$:
#
# $$\text{step} = \left\lfloor \frac{\text{tile} - 2m}{2^{d}} \right\rfloor 2^{d} .$$
#
# For the published network that is 384, not 388: with 388 every tile but the first sees a shifted
# grid, and with random weights up to one label in five changes (in some nets hardly any).
# [Ronneberger et al. 2015, §2; the phase condition is ours]


# %% exercise="8.4" role="look"
def pooled(x: Tensor) -> Tensor:
    """A network in miniature: mean of 4 × 4 pixels, drawn large again."""
    return F.interpolate(F.avg_pool2d(x, 4), scale_factor=4)


ramp = torch.arange(16.0).expand(1, 1, 4, 16)
print("from column 0:", pooled(ramp)[0, 0, 0, 4:12].tolist())
print("from column 2:", pooled(ramp[..., 2:14])[0, 0, 0, 2:10].tolist(), "the same pixels")

# %% [markdown] exercise="8.4" role="contract" title="Predict in tiles" minutes=30
# - `net`: maps `(B, C, T, T)` to `(B, K, T - 2*border, T - 2*border)`; call it, nothing else.
# - `image`: `(C, H, W)`, any H and W; `tile`: side T; `multiple`: the pooling grid.
# - Result: `(K, H, W)`, equal to one pass over the mirrored image.
# - Each tile once; use your `mirror_pad` and `tile_plan`.

# %% [markdown] exercise="8.4" role="hints"
# 1. Draw one row of tiles. Where does the input of the last tile end? That fixes the mirror on the
#    right.
# 2. Input of the tile with output corner `(x0, y0)`, in the padded image: from `(x0, y0)`, side
#    `tile`. Why is there no `- border`?
# 3. `step = (tile - 2 * border) // multiple * multiple`


# %% exercise="8.4" role="gap"
def predict_tiled(
    net: Callable[[Tensor], Tensor], image: Tensor, tile: int, border: int = 92, multiple: int = 16
) -> Tensor:
    """Logits (K, H, W) of an image (C, H, W) of any size, tile by tile.

    Worked number: tile=572, border=92, multiple=16 label 384 × 384 pixels per tile.
    """
    ### BEGIN SOLUTION
    h, w = image.shape[-2:]
    step = (tile - 2 * border) // multiple * multiple
    plan = tile_plan(h, w, step)
    right, bottom = plan[-1][0] + tile - border - w, plan[-1][1] + tile - border - h
    padded = mirror_pad(image, border, border, right, bottom)
    result = None
    for x0, y0, x1, y1 in plan:
        logits = net(padded[None, :, y0 : y0 + tile, x0 : x0 + tile])[0]
        result = logits.new_empty(len(logits), h, w) if result is None else result
        result[:, y0:y1, x0:x1] = logits[:, : y1 - y0, : x1 - x0]
    return result
    ### END SOLUTION


# %% exercise="8.4" role="check"
check = Exercise("8.4", points=16, forbid=["course.tiling"])


def toy(crop):
    """3 × 3 mean, then a grid of 4, then a crop: loses 1 + crop per side, accepts 4k + 2."""

    def run(x):
        x = F.avg_pool2d(F.avg_pool2d(x, 3, stride=1), 4)
        return F.interpolate(x, scale_factor=4)[..., crop:-crop, crop:-crop]

    return run


def one_pass(net, image, margin, mode="reflect"):
    """The whole image at once, mirrored to the next side that fits."""
    h, w = image.shape[-2:]
    down, right = (margin + (2 - n - 2 * margin) % 4 for n in (h, w))
    return net(F.pad(image[None], (margin, right, margin, down), mode=mode))[0][:, :h, :w]


image = torch.rand(1, 9, 21, generator=torch.Generator().manual_seed(8))
with check(
    "tiles of 8 give what one pass gives",
    points=2,
    hint="Where does the input of the last tile end? The mirror must reach as far as that.",
):
    net = spy(toy(2))
    check.equal(
        predict_tiled(net, image, tile=14, border=3, multiple=4),
        one_pass(toy(2), image, 3),
        mistakes={
            "The rim is filled with zeros, not mirrored.": one_pass(toy(2), image, 3, "constant"),
            "The edge pixel is repeated, not mirrored.": one_pass(toy(2), image, 3, "replicate"),
        },
    )
with check(
    "tiles start on the pooling grid",
    points=1,
    hint="Each tile labels 10 pixels, but the grid is 4 wide: tiles may start at 0, 8, 16, … only.",
):
    check.equal(
        predict_tiled(spy(toy(1)), image, tile=14, border=2, multiple=4), one_pass(toy(1), image, 2)
    )
with check("each tile is computed once", points=1):
    net = spy(toy(2))
    predict_tiled(net, image, tile=14, border=3, multiple=4)
    tiles = sum(shape[0] for shape in net.shapes)
    sides = {shape[-2:] for shape in net.shapes}
    check.true(
        sides == {(14, 14)},
        "Hand the network tiles of side `tile`.",
        f"expected inputs of 14 × 14, the network was given {sorted(sides)}",
    )
    check.true(
        tiles == 6,
        "Six tiles of 8 cover 9 × 21 pixels. Do yours overlap in the output?",
        f"expected 6 tiles, the network was given {tiles}",
    )
### BEGIN HIDDEN TESTS
deep = models.UNet(in_channels=1, num_classes=2, width=2, depth=3).eval()
small = models.UNet(in_channels=1, num_classes=2, width=3, depth=2).eval()
with check.hidden("a real U-Net on odd, non-square images", points=5):
    with torch.no_grad():
        for h, w, tile in ((37, 61, 132), (70, 33, 108), (24, 24, 124)):
            image = torch.rand(1, h, w, generator=torch.Generator().manual_seed(h))
            down, right = (geometry.valid_input_for(n, 3) - n - 44 for n in (h, w))
            want = deep(tiling.mirror_pad(image, (44, 44, right, down))[None])[0][:, :h, :w]
            got = predict_tiled(spy(deep), image, tile=tile, border=44, multiple=8)
            check.equal(got, want, tolerance=1e-4)
with check.hidden("several channels and classes", points=2):
    colour = models.UNet(in_channels=3, num_classes=5, width=2, depth=1).eval()
    with torch.no_grad():
        image = torch.rand(3, 19, 30, generator=torch.Generator().manual_seed(3))
        got = predict_tiled(spy(colour), image, tile=28, border=8, multiple=2)
        want = tiling.predict_tiled(colour, image, tile=44, progress=False)
        check.equal(got, want, tolerance=1e-4)
with check.hidden("an image smaller than its margin", points=2):
    image = torch.rand(1, 3, 5, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        whole = tiling.mirror_pad(image, (20, 20, 23, 21))
        check.equal(
            predict_tiled(spy(small), image, tile=44, border=20, multiple=4),
            small(whole[None])[0][:, :3, :5],
            tolerance=1e-4,
        )
with check.hidden("the image is left alone", points=1):
    check.unchanged(predict_tiled, spy(toy(2)), torch.rand(1, 9, 9), 14, 3, 4)
with check.hidden("no tile is computed twice, none is too large", points=2):
    net = spy(toy(1))
    predict_tiled(net, torch.rand(2, 33, 50), tile=22, border=2, multiple=4)
    check.equal(sum(shape[0] for shape in net.shapes), 3 * 4)
    check.true(all(s[-2:] == (22, 22) for s in net.shapes), "A tile had another side.")
### END HIDDEN TESTS
check.score()

# %% exercise="8.4" role="picture"
torch.manual_seed(0)
untrained = models.UNet(in_channels=photo.shape[0], num_classes=2, width=8, depth=3).eval()
multiple = 8  # try 1
plots.compare(
    yours=lambda: predict_tiled(untrained, photo, 132, 44, multiple)[1].detach(),
    expected=tiling.predict_tiled(untrained, photo, tile=geometry.valid_input_for(crop, 3))[1],
    title="Logits of an untrained U-Net of depth 3: tiles of 40 × 40 against one pass",
)

# %% [markdown] exercise="8.4" role="see"
# No seam: the largest difference is below 0.00001, which is rounding. Set `multiple = 1` in the
# picture cell: tiles then start 44 apart, off the grid of 8, and everything right of and below the
# first tile differs. (At depth 1 and 2 every legal tile happens to fit the grid.)

# %% [markdown] exercise="8.4" role="think" points=10
# **Think (10 points).** A colleague tiles with the published step of 388 and averages tiles that
# overlap by half "to get rid of the seams". Explain where her seams come from, what the averaging
# costs, and what you would change. Three to five sentences.
#
# ### BEGIN SOLUTION
# 388 is not a multiple of 16, so every tile but the first pools on a shifted grid and its values
# differ from those of one pass, by about half a standard deviation, several at worst: that is the
# seam. Averaging over overlaps of one half needs about four times as many tiles and blends two wrong
# answers instead of giving the right one. A step of 384 (one percent smaller) makes all tiles agree
# with one pass, so that there is nothing to blend. Full marks name the grid, the cost, and the step.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 8.5 Weights that pull cells apart

# %% [markdown] exercise="8.5" role="idea"
# The line between two touching cells is so thin that a network pays almost nothing for painting over
# it. So make it pay: weigh the loss at every pixel $x$ with
#
# $$w(x) = w_c(x) + w_0 \exp\!\Big(-\frac{(d_1(x)+d_2(x))^2}{2\sigma^2}\Big),$$
#
# where $d_1$ and $d_2$ are the distances to the nearest and to the second nearest cell. The sum is
# small only where *two* cells are near, which is the line between them. $w_c$ balances the two
# classes. The paper uses $w_0 = 10$ and $\sigma \approx 5$ pixels.
# [Ronneberger et al. 2015, §3, equation 2]

# %% exercise="8.5" role="look"
sums = [0, 2, 3, 5, 7, 10, 15]
plots.bars(
    [str(s) for s in sums],
    [10 * 2.718281828 ** (-(s**2) / 50) for s in sums],
    title="The border term for w0 = 10 and sigma = 5",
    xlabel="d1 + d2, pixels",
    ylabel="extra weight",
)

# %% [markdown] exercise="8.5" role="contract" title="The border weight map" minutes=25
# - `labels`: `(H, W)` int64, 0 = background, every other value one cell; numbers may have gaps.
# - Result: `(H, W)` float32. Background: $w_c$ plus the border term; cells: $w_c$ only.
# - $w_c$ of a class with $n$ of all $N$ pixels is $N/(2n)$; with one class only it is 1.
# - Distance to a cell: to its nearest pixel (`distance_transform_edt`). Fewer than two cells: no term.

# %% [markdown] exercise="8.5" role="hints"
# 1. Stack one distance map per cell; then the order of the cells no longer matters.
# 2. `distance_transform_edt(mask)` measures the distance of every True pixel to the nearest False
#    pixel. For the distance to cell 3 you want False exactly on cell 3.
# 3. `d1, d2 = distances.sort(dim=0).values[:2]`


# %% exercise="8.5" role="gap"
def border_weights(labels: Tensor, w0: float = 10.0, sigma: float = 5.0) -> Tensor:
    """U-Net's loss weights (H, W) float32 for a map of cells (H, W) int64.

    Worked number: a background pixel with d1 = 1 and d2 = 2 gets w_c + 10 * exp(-9 / 50).
    """
    ### BEGIN SOLUTION
    background = labels == 0
    share = background.float().mean()
    weights = torch.where(background, 0.5 / share, 0.5 / (1 - share))
    if share in (0, 1):
        weights = torch.ones(labels.shape)
    cells = labels[~background].unique()
    if len(cells) > 1:
        distances = [torch.from_numpy(distance_transform_edt(labels != cell)) for cell in cells]
        d1, d2 = torch.stack(distances).sort(dim=0).values[:2]
        term = w0 * torch.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
        weights = weights + torch.where(background, term, 0.0)
    return weights.float()
    ### END SOLUTION


# %% exercise="8.5" role="check"
check = Exercise("8.5", points=18, forbid=["course.losses"])

labels = torch.zeros(5, 9, dtype=torch.int64)
labels[1:4, 0:3] = 1
labels[1:4, 5:8] = 4
balance = torch.where(labels == 0, 45 / (2 * 27), 45 / (2 * 18))
near = torch.tensor([0, 0, 0, 8.3527, 8.3527, 0, 0, 0, 3.7531])

with check("the row through both cells", points=2):
    row = border_weights(labels)[2]
    check.equal(
        row,
        balance[2] + near,
        tolerance=1e-4,
        mistakes={
            "You add the squares; the formula squares the sum: (d1 + d2)**2.": balance[2]
            + torch.tensor([0, 0, 0, 9.0484, 9.0484, 0, 0, 0, 4.7711]),
            "The border term belongs on the background only, not inside cells.": balance[2]
            + torch.tensor(
                [6.0653, 7.2615, 8.3527, 8.3527, 8.3527, 8.3527, 7.2615, 6.0653, 3.7531]
            ),
            "Both distances are to the nearest cell: d2 is to the second nearest.": balance[2]
            + torch.tensor([0, 0, 0, 9.2312, 9.2312, 0, 0, 0, 9.2312]),
            "The background is no cell: leave out label 0.": balance[2]
            + torch.tensor([0, 0, 0, 9.8020, 9.8020, 0, 0, 0, 9.8020]),
            "Divide by 2 * sigma**2: the 2 is missing.": balance[2]
            + torch.tensor([0, 0, 0, 6.9768, 6.9768, 0, 0, 0, 1.4086]),
            "The class weights are missing.": near,
            "w_c is 1 here: weigh each class by N / (2 n).": near + 1,
            "The class weights are on the wrong classes.": near
            + torch.where(labels[2] == 0, 45 / (2 * 18), 45 / (2 * 27)),
        },
    )
with check("one cell alone, or none: class balance only", points=1):
    alone = torch.where(labels == 4, 4, 0)
    check.equal(
        border_weights(alone),
        torch.where(alone == 0, 45 / (2 * 36), 45 / (2 * 9)),
        tolerance=1e-4,
    )
    check.equal(border_weights(torch.zeros(2, 3, dtype=torch.int64)), torch.ones(2, 3))
with check("float32, and the labels are left alone", points=1):
    check.equal(border_weights(labels), border_weights(labels.clone()).float(), dtype=True)
    check.unchanged(border_weights, labels)
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(5)


def definition(labels, w0, sigma):
    """The formula read aloud, pixel by pixel."""
    h, w = labels.shape
    ids = [i for i in labels.unique().tolist() if i]
    n = int((labels == 0).sum())
    out = torch.ones(h, w)
    for y in range(h):
        for x in range(w):
            inside = labels[y, x] != 0
            if 0 < n < h * w:
                out[y, x] = h * w / (2 * (h * w - n if inside else n))
            if inside or len(ids) < 2:
                continue
            far = []
            for i in ids:
                ys, xs = torch.nonzero(labels == i, as_tuple=True)
                far.append(float((((ys - y) ** 2 + (xs - x) ** 2).double() ** 0.5).min()))
            d1, d2 = sorted(far)[:2]
            out[y, x] += w0 * 2.718281828459045 ** (-((d1 + d2) ** 2) / (2 * sigma**2))
    return out


def random_cells(h, w, n):
    labels = torch.zeros(h, w, dtype=torch.int64)
    for i in range(n):
        y = int(torch.randint(0, h - 2, (), generator=generator))
        x = int(torch.randint(0, w - 3, (), generator=generator))
        labels[y : y + 2, x : x + 3] = 3 * i + 2
    return labels


with check.hidden("random maps against the definition", points=5):
    for h, w, n in ((9, 14, 2), (13, 8, 3), (11, 16, 4)):
        labels = random_cells(h, w, n)
        check.equal(border_weights(labels), definition(labels, 10, 5), tolerance=1e-3)
with check.hidden("the two nearest of many cells", points=2):
    labels = torch.zeros(3, 30, dtype=torch.int64)
    for i, x in enumerate((0, 6, 12, 26)):
        labels[:, x : x + 2] = i + 1
    check.equal(border_weights(labels), definition(labels, 10, 5), tolerance=1e-3)
with check.hidden("other w0 and sigma", points=2):
    labels = random_cells(10, 12, 3)
    check.equal(border_weights(labels, 4, 2.5), definition(labels, 4, 2.5), tolerance=1e-3)
with check.hidden("w0 = 0 leaves the class balance", points=1):
    labels = random_cells(8, 15, 3)
    check.equal(border_weights(labels, w0=0), definition(labels, 0, 5), tolerance=1e-3)
with check.hidden("cell numbers with gaps", points=1):
    labels = torch.zeros(9, 12, dtype=torch.int64)
    labels[1:3, 1:4], labels[5:8, 6:9] = 7, 1000
    check.equal(border_weights(labels), definition(labels, 10, 5), tolerance=1e-3)
with check.hidden("a map full of one cell", points=1):
    check.equal(border_weights(torch.full((4, 3), 2)), torch.ones(4, 3))
with check.hidden("touching cells: weight on the line, none inside", points=2):
    labels = torch.zeros(7, 9, dtype=torch.int64)
    labels[:, :4], labels[:, 5:] = 1, 2
    weights = border_weights(labels)
    check.equal(weights[:, 4], definition(labels, 10, 5)[:, 4], tolerance=1e-3)
    check.equal(weights[:, :4], torch.full((7, 4), 63 / (2 * 56)), tolerance=1e-4)
### END HIDDEN TESTS
check.score()

# %% exercise="8.5" role="picture"
instances = test[0]["instances"]
plots.compare(
    yours=lambda: border_weights(instances),
    expected=losses.border_weights(instances),
    title="Border weights of a test image (bright = an error is expensive)",
)

# %% [markdown] exercise="8.5" role="see"
# Bright lines between neighbours, up to about ten times the weight of the background, and nothing
# around a cell that stands alone. The difference is below 0.001.

# %% [markdown] exercise="8.5" role="think" points=10
# **Think (10 points).** Answer after the experiment at the end. An image of 64 × 64 pixels shows two
# cells of 400 pixels each; the line between them is 1 pixel wide and 15 pixels long. A network
# paints the line over and makes no other error. Compute the IoU of the class "cell" and the number
# of objects that are found. Then say what the weights change, and why the mean IoU hardly notices.
# Three to five sentences.
#
# ### BEGIN SOLUTION
# Intersection 800, union 815: IoU 0.982. One object is found instead of two, and with a threshold of
# 0.5 on the overlap of objects it matches neither cell well: 400 of 815 pixels. The weights multiply the cost of the
# 15 pixels by about ten, so that painting over the line costs as much as 150 ordinary errors. IoU
# weighs all pixels alike, and 15 of 815 are 2 percent. Full marks: 0.98, one object, the cost of the
# line, and that IoU counts pixels, not objects.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 8.6 Crop and concatenate

# %% [markdown] exercise="8.6" role="idea"
# On the way up a level gets two maps: the coarse one from below, doubled by a transposed
# convolution, and the fine one from the way down at the same level. The fine one is larger, because
# fewer convolutions have eaten from it: 64 against 56 pixels at the lowest level, 568 against 392 at
# the top. U-Net cuts out its centre and puts both behind each other along the channels:
#
# $$\text{input of level } i = [\,\text{centre}(s_i)\;\|\;\text{up}(x_{i+1})\,].$$
#
# Resizing instead of cropping would move every pixel to a wrong place.
# [Ronneberger et al. 2015, §2 and Figure 1, grey arrows]

# %% exercise="8.6" role="look"
plots.bars(
    ["level 3", "level 2", "level 1", "level 0"],
    [4, 16, 40, 88],
    title="Pixels cut from each side of the skip: 64 → 56, 136 → 104, 280 → 200, 568 → 392",
    xlabel="level of the way up",
    ylabel="pixels per side",
)

# %% [markdown] exercise="8.6" role="contract" title="One step up" minutes=20
# - `crop_and_concat(skip, up)`: `(B, C1, H1, W1)` and `(B, C2, H2, W2)` with H1 ≥ H2, W1 ≥ W2 →
#   `(B, C1 + C2, H2, W2)`: centre of the skip **first**; an odd surplus leaves one more pixel at the
#   bottom and on the right.
# - `UpStep(c).forward(skip, below)`: `(B, c, …)` and `(B, 2c, h, w)` → `(B, c, 2h - 4, 2w - 4)`.
# - A skip smaller than `up` raises `ValueError`. `torchvision.transforms` is not allowed here.

# %% [markdown] exercise="8.6" role="hints"
# 1. The surplus is the difference of the sides; half of it comes off at the top and at the left.
# 2. Slice the last two dimensions only, and concatenate along dimension 1.
# 3. `top = (skip.shape[-2] - up.shape[-2]) // 2`


# %% exercise="8.6" role="gap"
def crop_and_concat(skip: Tensor, up: Tensor) -> Tensor:
    """Centre of `skip` (B, C1, H1, W1) and `up` (B, C2, H2, W2) along the channels.

    Worked number: 64 × 64 beside 56 × 56 loses 4 rows at the top and 4 at the bottom.
    """
    ### BEGIN SOLUTION
    h, w = up.shape[-2:]
    top, left = (skip.shape[-2] - h) // 2, (skip.shape[-1] - w) // 2
    if top < 0 or left < 0:
        raise ValueError(f"skip {tuple(skip.shape)} is smaller than up {tuple(up.shape)}")
    return torch.cat([skip[..., top : top + h, left : left + w], up], dim=1)
    ### END SOLUTION


class UpStep(nn.Module):
    """One level of the way up: double, crop and concatenate, two 3 × 3 convolutions with ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.first = nn.Conv2d(2 * channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, skip: Tensor, below: Tensor) -> Tensor:
        ### BEGIN SOLUTION
        x = crop_and_concat(skip, self.up(below))
        x = F.relu(self.first(x))
        return F.relu(self.second(x))
        ### END SOLUTION


# %% exercise="8.6" role="check"
check = Exercise("8.6", points=12, forbid=["course.models", "torchvision.transforms"])

skip = torch.arange(24.0).reshape(1, 1, 4, 6)
up = torch.tensor([[[[-1.0, -2.0], [-3.0, -4.0]]]])
with check("the centre of a 4 × 6 map beside a 2 × 2 map", points=2):
    check.equal(
        crop_and_concat(skip, up),
        torch.tensor([[[[8.0, 9.0], [14.0, 15.0]], [[-1.0, -2.0], [-3.0, -4.0]]]]),
        mistakes={
            "That is the top left corner: cut out the centre.": torch.cat(
                [skip[..., :2, :2], up], 1
            ),
            "The skip is resized: crop it, so that every pixel keeps its place.": torch.cat(
                [F.interpolate(skip, size=(2, 2), mode="bilinear"), up], 1
            ),
            "The skip is resized (nearest): crop it, every pixel keeps its place.": torch.cat(
                [F.interpolate(skip, size=(2, 2)), up], 1
            ),
            "The order is wrong: the skip's channels come first.": torch.cat(
                [up, skip[..., 1:3, 2:4]], 1
            ),
            "You add; U-Net concatenates (adding is what FCN does).": skip[..., 1:3, 2:4] + up,
            "The coarse map is enlarged: crop the skip instead.": torch.cat(
                [skip, F.interpolate(up, size=(4, 6))], 1
            ),
        },
    )
with check("one step up: 5 × 4 below a skip of 12 × 9", points=1):
    step = build(UpStep, 3)
    check.equal(
        list(step(torch.ones(2, 3, 12, 9), torch.ones(2, 6, 5, 4)).shape),
        [2, 3, 6, 4],
        mistakes={
            "Did you forget the second convolution?": [2, 3, 8, 6],
            "Crop after doubling the lower map, not before.": [2, 3, 8, 5],
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("odd surplus, batches, non-square", points=2):
    skip, up = torch.rand(3, 2, 9, 7), torch.rand(3, 4, 4, 6)
    check.equal(crop_and_concat(skip, up), torch.cat([skip[:, :, 2:6, 0:6], up], 1))
    check.equal(crop_and_concat(skip, skip), torch.cat([skip, skip], 1))
with check.hidden("a skip that is too small is refused", points=1):
    check.raises(ValueError, crop_and_concat, torch.rand(1, 1, 3, 8), torch.rand(1, 1, 4, 4))
    check.raises(ValueError, crop_and_concat, torch.rand(1, 1, 8, 3), torch.rand(1, 1, 4, 4))
with check.hidden("values of a step, against the functional form", points=5):
    step = build(UpStep, 4)
    check.equal(step.parameter_count(), 4 * 8 * 4 + 4 + 4 * 8 * 9 + 4 + 4 * 4 * 9 + 4)
    step.fill(seed=6)
    s = step.state()
    skip, below = torch.rand(2, 4, 15, 13), torch.rand(2, 8, 6, 5)
    want = F.conv_transpose2d(below, s["up.weight"], s["up.bias"], stride=2)
    want = torch.cat([skip[:, :, 1:13, 1:11], want], 1)
    want = F.relu(F.conv2d(want, s["first.weight"], s["first.bias"]))
    want = F.relu(F.conv2d(want, s["second.weight"], s["second.bias"]))
    check.equal(step(skip, below), want, tolerance=1e-5)
with check.hidden("gradients reach every part", points=1):
    step = build(UpStep, 2)
    step.fill(seed=3)
    found = step.gradients(torch.rand(1, 2, 12, 12), torch.rand(1, 4, 5, 5))
    for name in ("up.weight", "first.weight", "second.weight"):
        check.true(bool((found[name] != 0).any()), f"No gradient reaches {name}.")
    for part in gradients(
        crop_and_concat, torch.rand(1, 1, 6, 6), torch.rand(1, 1, 4, 4), wrt=(0, 1)
    ):
        check.equal(float(part.sum()), 16.0)
### END HIDDEN TESTS
check.score()

# %% exercise="8.6" role="picture"
fine = test[0]["image"][None]
plots.compare(
    yours=lambda: crop_and_concat(fine, torch.zeros(1, 1, 24, 40))[0, 0],
    expected=fine[0, 0, (crop - 24) // 2 : (crop + 24) // 2, (crop - 40) // 2 : (crop + 40) // 2],
    title="The centre of 24 × 40 pixels that a coarse map of that size meets",
)

# %% [markdown] exercise="8.6" role="see"
# The middle of the test image, at full sharpness and in its place. The difference is 0.

# %% [markdown] exercise="8.6" role="think"
# **Think.** The order of concatenation does not matter for an untrained network. When does it?
#
# ### BEGIN SOLUTION
# As soon as weights are loaded that were trained with the other order: the convolution would apply
# the filters of the skip to the coarse map. Shapes agree, so nothing complains.
# ### END SOLUTION

# %% [markdown]
# ---
# ## The experiment: what the weights are worth
#
# Now your functions train a network. It is a U-Net of depth 2 whose way up is made of your
# `UpStep`; images are continued by your `mirror_pad`; the loss uses your `border_weights`, once with
# $w_0 = 0$ and once with $w_0 = 10$. Three seeds each, so that one lucky start does not decide.


# %% role="setup"
class SmallUNet(nn.Module):
    """U-Net of depth 2 without padding, its way up made of `UpStep`."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.down = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3), nn.ReLU(), nn.Conv2d(b, b, 3), nn.ReLU())
            for a, b in zip(sizes, sizes[1:])
        )
        self.up = nn.ModuleList([UpStep(2 * width), UpStep(width)])
        self.head = nn.Conv2d(width, 2, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):  # the paper's initialisation, §3: sqrt(2 / N)
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        top = self.down[0](x)
        middle = self.down[1](F.max_pool2d(top, 2))
        bottom = self.down[2](F.max_pool2d(middle, 2))
        return self.head(self.up[1](top, self.up[0](middle, bottom)))


def prepare(scenes, w0):
    """Training samples: mirrored image, class of every pixel, weight of every pixel."""
    margin = tile_margin(2)
    return [
        {
            "image": mirror_pad(scene["image"], margin, margin, margin, margin),
            "mask": (scene["instances"] > 0).long(),
            "weights": border_weights(scene["instances"], w0),
        }
        for scene in scenes
    ]


def loss(logits, batch):
    return losses.cross_entropy(logits, batch["mask"], weight_map=batch["weights"])


@torch.no_grad()
def predict(net, image):
    """Class of every pixel, by your tiles; a tile labels as much as one training image."""
    margin = tile_margin(2)
    logits = predict_tiled(net.eval(), image.to(device), crop + 2 * margin, margin, 4)
    return logits.argmax(0).cpu()


def score(net, scenes):
    """Mean IoU, share of images with the exact number of cells, share of cells found."""
    confusion, exact, found, cells = metrics.ConfusionMatrix(2), 0, 0, 0
    for scene in scenes:
        mask = predict(net, scene["image"])
        confusion.update(mask[None], (scene["instances"] > 0).long()[None])
        objects = metrics.instance_labels(mask)
        exact += int(metrics.count_error(objects, scene["instances"]) == 0)
        matches = metrics.match_instances(objects, scene["instances"])
        found += matches.found
        cells += matches.found + len(matches.missed)
    return float(confusion.mean_iou()), exact / len(scenes), found / cells


# %% role="experiment"
nets, results = {}, {}
with attempt("8.3 to 8.6"):
    for w0 in (0, 10):
        samples = prepare(train, w0)
        for seed in seeds:
            torch.manual_seed(seed)
            net = SmallUNet(train.images.shape[1], width).to(device)
            training.fit(
                net,
                samples,
                loss,
                steps=steps,
                batch_size=4,
                lr=1e-2,
                schedule=training.poly_lr,
                seed=seed,
                device=device,
                channels_last=True,
                progress=steps > 1000,
            )
            nets[w0, seed], results[w0, seed] = net, score(net, test)
rows = [
    [w0, seed, f"{iou:.3f}", f"{exact:.0%}", f"{found:.0%}"]
    for (w0, seed), (iou, exact, found) in results.items()
]
head = ["w0", "seed", "mean IoU", "images with the exact count", "cells found"]
plots.table(head, rows, title=f"{len(test)} test images")

# %% role="experiment"
if results:
    sample = test[0]
    masks = [predict(nets[w0, seeds[0]], sample["image"]) for w0 in (0, 10)]
    plots.outlines(
        torch.stack([sample["instances"], *map(metrics.instance_labels, masks)]),
        sample["image"].expand(3, *sample["image"].shape),
        titles=["truth", "without border weights", "with border weights"],
        title="One outline per object: what is joined counts as one",
    ).show()

# %% role="experiment"
if results:
    share = {w0: [results[w0, seed][2] for seed in seeds] for w0 in (0, 10)}
    overlap = {w0: [results[w0, seed][0] for seed in seeds] for w0 in (0, 10)}
    plots.bars(
        ["without border weights", "with border weights"],
        {
            "mean IoU": [sum(overlap[w0]) / len(seeds) for w0 in (0, 10)],
            "share of cells found": [sum(share[w0]) / len(seeds) for w0 in (0, 10)],
        },
        {
            "mean IoU": [(max(overlap[w0]) - min(overlap[w0])) / 2 for w0 in (0, 10)],
            "share of cells found": [(max(share[w0]) - min(share[w0])) / 2 for w0 in (0, 10)],
        },
        title=f"What IoU sees and what a count sees; {len(seeds)} seeds, half their range as error",
        ylabel="share",
        limits=(0, 1.1),
    ).show()
    gain, loss_of_iou = min(share[10]) - max(share[0]), sum(overlap[0]) - sum(overlap[10])
    print(f"The worst run with weights finds {100 * gain:.0f} percent of the cells more")
    print("than the best run without.", end=" ")
    print(f"The mean IoU changes by {-loss_of_iou / len(seeds):+.3f}.")
    if dataset == "cells" and steps >= 200 and len(seeds) >= 3:
        assert gain > 0.3, "with these weights the cells should come apart: check exercise 8.5"
        assert abs(loss_of_iou / len(seeds)) < 0.04, "the overlap should stay almost the same"
        claim(
            8,
            "Border weights let touching cells come apart.",
            quantity="share of cells found, with border weights less without",
            paper="Ronneberger et al. 2015, §3 and Figure 3: shown, no ablation printed",
            values=[with_weights - without for without, with_weights in zip(share[0], share[10])],
            at_least=0.3,
        ).show()

# %% [markdown]
# **What you should see.** Without border weights the masks cover the cells almost perfectly, and about
# one cell in five at most is found, because most of them hang together. With the weights at least
# 30 % more of all cells are found in *every* run (about 75 % here), while the mean IoU moves by less
# than 0.04, downwards: dark lines are drawn a little too wide, and IoU charges for that. Which net is
# better? The one that answers your question.
#
# | | paper | here |
# |---|---|---|
# | data | 30 electron micrographs of 512 × 512 | 200 synthetic images of 64 × 64 |
# | network | depth 4, 31,030,658 parameters | depth 2, 29,330 parameters |
# | claim | separates touching cells (Figure 3 and §3), no ablation printed | measured above, with the spread over seeds |

# %% [markdown]
# ## The ladder
#
# One picture runs through the whole course: every system on the same images, scored on lines two
# pixels wide. U-Net's rung is marked. Concatenation carries the fine map past the poolings, so a
# thin line survives them.

# %% role="experiment"
ladder.picture(lab=8)

# %% [markdown]
# **Going on.** Set `dataset = "dsb2018"` in the parameter cell for nuclei from real microscopes, or
# `"isbi2012"` for the membranes of the paper; point the environment variable `COURSE_DATA` at the
# folder that holds them. On a GPU set `device = "cuda"`, `width = 64`, `crop = 256`, `steps = 3000`.
#
# **Reading.** Ronneberger et al. 2015, §2–3. Long et al. 2015, §3 and §4.2, for skips that add.
# Çiçek et al. 2016, [arXiv:1606.06650](https://arxiv.org/abs/1606.06650), the same network in three
# dimensions. Isensee et al. 2021, *nnU-Net*, for what is left to choose once the network is fixed.
