# %% [markdown]
# # Lab 5 · Patch by patch: label every pixel by the window around it
#
# [[exercises]]
#
# **You will be able to**
# - cut the window around every pixel, also at the border, and train a classifier on such windows;
# - label an image window by window, and prove that one dense pass gives the same numbers;
# - count what a network costs without a clock;
# - say what a larger window buys and what it costs.
#
# **Papers.** D. Cireşan, A. Giusti, L. Gambardella, J. Schmidhuber, *Deep Neural Networks Segment
# Neuronal Membranes in Electron Microscopy Images*, NIPS 2012, §2. J. Masci et al., *A Fast
# Learning Algorithm for Image Segmentation with Max-Pooling Convolutional Networks*, ICIP 2013,
# [arXiv:1302.1690](https://arxiv.org/abs/1302.1690). P. Sermanet et al., *OverFeat*, ICLR 2014,
# [arXiv:1312.6229](https://arxiv.org/abs/1312.6229), §3.5.
#
# **From before.** Sliding windows (Lab 1). Run every cell from top to bottom. A check cell never
# stops the notebook: it says what it expected, what came, and the usual cause.

# %% tags=["parameters"]
dataset = "lines"  # made on the spot; "isbi2012" (membranes) is read from COURSE_DATA
device = "cpu"  # "cuda" where there is one
steps = 300  # training steps per run; 5000 and more for the real set
per_class = 15  # windows of every class from each training image
width = 8  # channels of the first layer; 48 in the paper
seeds = [0, 1, 2]

# %% role="setup"
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course import data, geometry, ladder, metrics, plots, training, windows
from course.checks import Exercise, attempt, build, spy
from course.claims import claim

# %% [markdown]
# ## The picture of this lab
#
# Discs and lines of the same brightness. One pixel does not say whether it belongs to a disc or to
# a line; the pixels around it do, if they are many enough. But the more of them a window holds, the
# more of them belong to something else.

# %% role="setup"
if dataset == "lines":
    train, test = data.lines(50, 64, seed=0, thickness=5.0).split(40, 10)
else:
    train, test = data.cell_images(dataset, train=40, test=10, size=64)
names = train.class_names
photo = test[0]["image"]
plots.show_masks(
    train.images[:4],
    train.masks[:4],
    class_names=names,
    title="Four training images and the class of every pixel",
)

# %% [markdown]
# ## See it move
#
# The lecture's moving pictures of this lab: predict, then drag. `uv run course lectures open 5` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("patch_scan")

# %% role="experiment"
demos.show("receptive_field")

# %% [markdown]
# ---
# ## 5.1 The window around a pixel

# %% [markdown] exercise="5.1" role="idea"
# Segmentation becomes classification if every pixel is shown with its surroundings: a *patch* of
# side $k$ whose middle is the pixel in question. For odd $k$ there are $k//2$ pixels on every side.
# An even patch has no middle; the convention here puts the pixel at index $k//2$, so that
#
# $$\text{patch}_{y,x}[i, j] = \text{image}\big[\,y - k//2 + i,\; x - k//2 + j\,\big].$$
#
# At the rim the image is continued by mirroring, without repeating the edge pixel, so that every
# pixel gets a whole patch and every patch looks like image. For the published 95 × 95 window that
# is a frame of 47 pixels. [Cireşan et al. 2012, §2]

# %% exercise="5.1" role="look"
plots.show_boxes(
    photo,
    {
        "95 in the paper, here 39": [[5, 9, 44, 48]],
        "19": [[15, 19, 34, 38]],
        "9": [[20, 24, 29, 33]],
    },
    title="Three windows around the pixel in row 28, column 24",
)

# %% [markdown] exercise="5.1" role="contract" title="Patches with a mirrored border" minutes=20
# - `image`: `(C, H, W)`, both sides longer than `size // 2`; `size`: side of a patch.
# - `stride`: take every stride-th pixel down and to the right, from pixel (0, 0).
# - Result: `(N, C, size, size)`, row by row, `N = ⌈H / stride⌉ · ⌈W / stride⌉`, dtype of the image.
# - `F.pad` is allowed; forbidden: `course.windows`, `course.tiling`.

# %% [markdown] exercise="5.1" role="hints"
# 1. Mirror first, then cut. How many pixels are needed before the first row, and how many after the
#    last?
# 2. `F.pad(..., mode="reflect")` wants a batch axis; `tensor.unfold(dimension, size, step)` cuts
#    windows along one axis and puts the window's own axis last.
# 3. `before, after = size // 2, (size - 1) // 2`


# %% exercise="5.1" role="gap"
def extract_patches(image: Tensor, size: int, stride: int = 1) -> Tensor:
    """Patches (N, C, size, size) around the pixels of an image (C, H, W), mirrored at the border.

    Worked number: in the row 0 1 2 the patch of pixel 0 with size 3 reads 1 0 1.
    """
    ### BEGIN SOLUTION
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(image[None], (before, after, before, after), mode="reflect")[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).flatten(0, 1)
    ### END SOLUTION


# %% exercise="5.1" role="check"
check = Exercise("5.1", points=16, forbid=["course.windows", "course.tiling"])

six = torch.arange(6.0).view(1, 2, 3)
with check("the first patch of a 2 × 3 image, side 3", points=1):
    check.equal(
        extract_patches(six, 3)[0, 0],
        torch.tensor([[4.0, 3, 4], [1, 0, 1], [4, 3, 4]]),
        mistakes={
            "The border is filled with zeros: the network would see a black frame.": torch.tensor(
                [[0.0, 0, 0], [0, 0, 1], [0, 3, 4]]
            ),
            "The edge pixel is repeated: mirror on it, not beside it.": torch.tensor(
                [[0.0, 0, 1], [0, 0, 1], [3, 3, 4]]
            ),
            "The image goes round (wraps) instead of being mirrored.": torch.tensor(
                [[5.0, 3, 4], [2, 0, 1], [5, 3, 4]]
            ),
        },
    )
twenty = torch.arange(20.0).view(1, 4, 5)
with check("an even patch: the pixel stands at [size // 2, size // 2]", points=1):
    found = extract_patches(twenty, 4)
    check.equal(
        len(found),
        20,
        mistakes={
            "An even patch needs one pixel fewer after than before: (size - 1) // 2.": 30,
            "An even patch needs one pixel more before than after: size // 2.": 12,
        },
    )
    check.equal(
        found[7, 0],
        torch.tensor([[5.0, 6, 7, 8], [0, 1, 2, 3], [5, 6, 7, 8], [10, 11, 12, 13]]),
        mistakes={
            "The centre is off by one: an even patch has size // 2 pixels before its pixel.": (
                torch.tensor([[1.0, 2, 3, 4], [6, 7, 8, 9], [11, 12, 13, 14], [16, 17, 18, 19]])
            ),
        },
    )
with check("every second pixel of a 4 × 5 image, row by row", points=1):
    check.equal(
        extract_patches(twenty, 3, 2)[:, 0, 1, 1],
        torch.tensor([0.0, 2, 4, 10, 12, 14]),
        mistakes={
            "Row by row, as you read: x changes first.": torch.tensor([0.0, 10, 2, 12, 4, 14]),
            "The stride is not used.": torch.arange(20.0),
            "The last column is missing: the pixels are 0, 2 and 4.": torch.tensor(
                [0.0, 2, 10, 12]
            ),
        },
    )
with check("all channels, and the image is left alone", points=1):
    colour = torch.rand(3, 5, 6, generator=torch.Generator().manual_seed(5))
    check.equal(
        list(extract_patches(colour, 5).shape),
        [30, 3, 5, 5],
        mistakes={
            "Put the number of the patch first, then the channels.": [3, 30, 5, 5],
            "Join rows and columns to one axis of patches.": [5, 6, 3, 5, 5],
        },
    )
    check.unchanged(extract_patches, colour, 3, 1)
### BEGIN HIDDEN TESTS
source = torch.Generator().manual_seed(51)
with check.hidden("odd and even sizes, non-square images, against the library", points=4):
    for hw, size in (((7, 5), 3), ((6, 9), 4), ((5, 8), 7), ((10, 4), 2)):
        image = torch.rand(1, *hw, generator=source)
        check.equal(extract_patches(image, size), windows.extract_patches(image, size))
with check.hidden("strides", points=3):
    for hw, size, stride in (((7, 10), 3, 3), ((9, 6), 4, 2), ((5, 5), 5, 4), ((6, 8), 3, 9)):
        image = torch.rand(2, *hw, generator=source)
        want = windows.extract_patches(image, size, stride=stride)
        check.equal(extract_patches(image, size, stride), want)
with check.hidden("channels and dtype", points=2):
    image = torch.rand(3, 6, 5, generator=source, dtype=torch.float64)
    check.equal(extract_patches(image, 5), windows.extract_patches(image, 5), dtype=True)
with check.hidden("patches of one pixel", points=1):
    image = torch.rand(2, 3, 4, generator=source)
    check.equal(extract_patches(image, 1), image.flatten(1).T[..., None, None])
with check.hidden("patches almost twice as large as the image", points=2):
    image = torch.rand(1, 6, 7, generator=source)
    check.equal(extract_patches(image, 11), windows.extract_patches(image, 11))
### END HIDDEN TESTS
check.score()


# %% exercise="5.1" role="picture"
def mosaic(patches: Tensor, columns: int) -> Tensor:
    """Patches (N, 1, k, k) side by side, one dark pixel between them."""
    framed = F.pad(patches[:, 0], (0, 1, 0, 1))
    rows = framed.unflatten(0, (-1, columns))
    return rows.transpose(1, 2).flatten(2).flatten(0, 1)


plots.compare(
    yours=lambda: mosaic(extract_patches(photo, 19, 16), 4),
    expected=mosaic(windows.extract_patches(photo, 19, stride=16), 4),
    title="Sixteen patches of 19 × 19 around every sixteenth pixel",
    exercise="5.1",
)

# %% [markdown] exercise="5.1" role="see"
# The patches of the first row and column are symmetric: that is the mirror. All others are plain
# pieces of the image. No pixel differs.

# %% [markdown] exercise="5.1" role="think"
# **Think.** What would a classifier learn about the rim of the image if the border were filled with
# zeros instead?
#
# ### BEGIN SOLUTION
# That a black band means "border of the image", with whatever classes happen to be frequent there.
# It would have to learn every shape twice, with and without a band, and a dark object inside the
# image could be taken for the border.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 5.2 Which patches, and what are they called?

# %% [markdown] exercise="5.2" role="idea"
# A patch carries the label of its **centre pixel**, even if the rest of it belongs to another
# class: the question is about the pixel, the surroundings are only evidence. Images hold far more
# patches than training needs, and classes are of unequal size: in the membrane images of the paper
# four pixels of five are not membrane. So the training set is drawn with the same number of pixels
# from each class,
#
# $$P(\text{class } c) = \tfrac1K \quad\text{instead of}\quad n_c / N ,$$
#
# and the classifier then believes in too many membranes, which the paper corrects afterwards.
# [Cireşan et al. 2012, §2]

# %% exercise="5.2" role="look"
plots.bars(
    list(names),
    [float((train.masks == k).float().mean()) for k in range(len(names))],
    title="Share of the pixels of every class in the training images",
    ylabel="share",
)

# %% [markdown] exercise="5.2" role="contract" title="Labels and a balanced choice" minutes=20
# - `mask`: `(H, W)` int64, 255 = ignore. `centers`: `(N, 2)` int64, a row is **(y, x)**.
# - `pixel_classifier_labels(mask, centers)`: `(N,)` int64, the class of every centre.
# - `balanced_centers(mask, per_class, seed)`: `(M, 2)`, for every class that occurs `per_class`
#   pixels drawn at random with replacement; never an ignored pixel.
# - The same seed gives the same centres: use a `torch.Generator` of your own, never
#   `numpy.random.seed`.

# %% [markdown] exercise="5.2" role="hints"
# 1. `torch.nonzero(mask == k)` lists the pixels of class k as rows (y, x).
# 2. Draw row numbers with `torch.randint(…, generator=generator)`, for one class after the other.
# 3. `generator = torch.Generator().manual_seed(seed)`


# %% exercise="5.2" role="gap"
def pixel_classifier_labels(mask: Tensor, centers: Tensor) -> Tensor:
    """Class (N,) of the centre pixels (N, 2) in a mask (H, W).

    Worked number: in the mask [[0, 1, 2]] the centre (0, 2) has the class 2.
    """
    ### BEGIN SOLUTION
    y, x = centers.T
    return mask[y, x]
    ### END SOLUTION


def balanced_centers(mask: Tensor, per_class: int, seed: int) -> Tensor:
    """Pixels (M, 2) of a mask (H, W), the same number from every class that occurs.

    Worked number: in [[0, 0, 0, 1]] with per_class=2 three rows of four pixels are class 0, but two
    of the four centres are (0, 3).
    """
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for k in mask[mask != 255].unique():
        places = torch.nonzero(mask == k)
        chosen.append(places[torch.randint(len(places), (per_class,), generator=generator)])
    return torch.cat(chosen)
    ### END SOLUTION


# %% exercise="5.2" role="check"
check = Exercise("5.2", points=14, forbid=["course.data", "numpy.random.seed"])

mask = torch.tensor([[0, 0, 0, 0, 1], [0, 0, 0, 1, 2], [0, 255, 0, 0, 1]])
with check("labels of four centres in a 3 × 5 mask", points=1):
    check.equal(
        pixel_classifier_labels(mask, torch.tensor([[1, 2], [1, 4], [0, 4], [1, 3]])),
        torch.tensor([0, 2, 1, 1]),
        mistakes={
            "Your label is that of most neighbours: take the centre pixel's own.": torch.tensor(
                [0, 1, 1, 0]
            ),
        },
        dtype=True,
    )
with check(
    "a row of centers is (y, x)",
    points=1,
    hint="The first number of a row is the row of the image: (y, x), not (x, y).",
):
    check.equal(
        pixel_classifier_labels(torch.arange(9).view(3, 3), torch.tensor([[0, 1], [2, 0]])),
        torch.tensor([1, 6]),
        mistakes={"You read a row of centers as (x, y); it is (y, x).": torch.tensor([3, 2])},
    )
with check("as many pixels of every class", points=1):
    drawn = balanced_centers(mask, 6, 1)
    check.equal(
        list(drawn.shape),
        [18, 2],
        mistakes={
            "Ignored pixels (255) are no class: leave them out.": [24, 2],
            "per_class pixels of EVERY class, not in all.": [6, 2],
            "A class with few pixels is drawn with replacement: 6 times 1 pixel too.": [10, 2],
        },
    )
    at = mask[drawn[:, 0], drawn[:, 1]]
    check.true(
        [int((at == k).sum()) for k in (0, 1, 2)] == [6, 6, 6],
        "The classes are not balanced: draw per_class pixels from each class on its own.",
        f"expected 6 pixels of each class, got {[int((at == k).sum()) for k in (0, 1, 2)]}",
    )
with check("the same seed gives the same centres, another seed others", points=1):
    large = torch.arange(4).repeat_interleave(50).view(10, 20)
    first = balanced_centers(large, 9, 3)
    check.true(
        bool((balanced_centers(large, 9, 3) == first).all()),
        "Two calls with one seed differ: make a generator from the seed and hand it to randint.",
    )
    check.true(
        bool((balanced_centers(large, 9, 4) != first).any()),
        "Two seeds give the same centres: draw at random, do not take the first pixels.",
    )
### BEGIN HIDDEN TESTS
source = torch.Generator().manual_seed(52)
with check.hidden("labels on random masks", points=3):
    for h, w in ((7, 12), (15, 4), (1, 6)):
        some = torch.randint(0, 5, (h, w), generator=source)
        y = torch.randint(h, (20,), generator=source)
        x = torch.randint(w, (20,), generator=source)
        check.equal(pixel_classifier_labels(some, torch.stack([y, x], 1)), some[y, x], dtype=True)
with check.hidden("balanced on random masks, class numbers with gaps", points=2):
    some = torch.tensor([0, 3, 7])[torch.randint(0, 3, (8, 13), generator=source)]
    drawn = balanced_centers(some, 11, 2)
    at = some[drawn[:, 0], drawn[:, 1]]
    check.equal([int((at == k).sum()) for k in (0, 3, 7)], [11, 11, 11])
with check.hidden("ignored pixels are never drawn", points=1):
    some = torch.where(torch.rand(9, 9, generator=source) < 0.7, 255, 1)
    some[0, 0] = 0
    drawn = balanced_centers(some, 50, 5)
    check.equal(len(drawn), 100)
    check.true(bool((some[drawn[:, 0], drawn[:, 1]] != 255).all()), "An ignored pixel was drawn.")
with check.hidden("every pixel of a class can be drawn", points=2):
    drawn = balanced_centers(mask, 600, 8)
    check.equal(len({(int(y), int(x)) for y, x in drawn}), 14)
with check.hidden("a class of one pixel; int64; the mask is left alone", points=1):
    drawn = balanced_centers(mask, 3, 0)
    check.true(drawn.dtype == torch.int64, "Centres are int64, they are indices.")
    check.equal(int((mask[drawn[:, 0], drawn[:, 1]] == 2).sum()), 3)
    check.unchanged(balanced_centers, mask, 3, 0)
with check.hidden("a mask of one class", points=1):
    check.equal(list(balanced_centers(torch.zeros(3, 4, dtype=torch.int64), 5, 1).shape), [5, 2])
### END HIDDEN TESTS
check.score()

# %% exercise="5.2" role="picture"
plots.compare_values(
    yours=lambda: pixel_classifier_labels(
        train.masks[0], balanced_centers(train.masks[0], 25, 0)
    ).bincount(),
    expected=[
        25 if (train.masks[0] == k).any() else 0 for k in range(int(train.masks[0].max()) + 1)
    ],
    title="Patches of every class, drawn from the first training image",
    xlabel="class",
    ylabel="patches",
    exercise="5.2",
)

# %% [markdown] exercise="5.2" role="see"
# A level line: 25 patches from every class that occurs in the image, however much of it the class
# covers.

# %% [markdown] exercise="5.2" role="think"
# **Think.** The classifier was trained with every class equally often, but the image has four
# background pixels for one membrane pixel. How do you correct its probabilities?
#
# ### BEGIN SOLUTION
# Multiply the probability of each class by (its share in images) / (its share in training), then
# divide by the sum: Bayes' rule with the true prior. The paper fits a polynomial to the same
# effect.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 5.3 Scan: one run of the network per pixel

# %% [markdown] exercise="5.3" role="idea"
# Now ask the classifier everywhere: cut the patch of every pixel, run the network, write its $K$
# scores into a map at the pixel's place,
#
# $$S[:, i, j] = \text{net}\big(\text{patch}_{i s,\; j s}\big).$$
#
# With stride 1 an image of 512 × 512 needs 262,144 runs. Running many patches at once (a batch) is
# faster than a loop but does not save a single multiplication, and neighbouring patches of side $k$
# share all but one of their $k$ columns. That waste is the main drawback of the method. [Cireşan et
# al. 2012, §2; the lecture's slide "patch-by-patch scanning"]

# %% exercise="5.3" role="look"
reach = F.conv2d(F.pad(torch.ones(1, 1, 12, 20), (8, 8, 8, 8)), torch.ones(1, 1, 9, 9))[0, 0]
plots.heat(
    reach[4:16, 4:24],
    title="How many of the 9 × 9 patches of a 12 × 20 image hold each pixel: up to 81",
    label="patches",
)

# %% [markdown] exercise="5.3" role="contract" title="A map of scores" minutes=20
# - `image`: `(C, H, W)`; `net`: maps `(N, C, size, size)` to `(N, K)` or `(N, K, 1, 1)`; call it,
#   nothing else.
# - Result: `(K, ⌈H / stride⌉, ⌈W / stride⌉)`.
# - ⌈N / batch⌉ calls: `batch` patches each, the rest in the last one; no patch twice. Use your
#   `extract_patches`.

# %% [markdown] exercise="5.3" role="hints"
# 1. All patches are one tensor; a list of its pieces is `patches.split(batch)`.
# 2. The results, one below the other, are `(N, K)` with N in reading order. Which axis must become
#    the first before you fold N into rows and columns?
# 3. `patches = extract_patches(image, size, stride)`


# %% exercise="5.3" role="gap"
def scan(
    image: Tensor, net: Callable[[Tensor], Tensor], size: int, stride: int = 1, batch: int = 256
) -> Tensor:
    """Scores (K, rows, cols) of a patch classifier around every stride-th pixel of (C, H, W).

    Worked number: 5 × 7 pixels with stride 2 give 3 rows and 4 columns; batch=5 needs 3 calls.
    """
    ### BEGIN SOLUTION
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part).flatten(1) for part in patches.split(batch)])
    rows = -(-image.shape[1] // stride)
    return scores.T.reshape(scores.shape[1], rows, -1)
    ### END SOLUTION


# %% exercise="5.3" role="check"
check = Exercise("5.3", points=16, forbid=["course.windows"])


def middle(patches):
    """Two scores of a 3 × 3 patch: its centre pixel, and 100 more."""
    return torch.stack([patches[:, 0, 1, 1], patches[:, 0, 1, 1] + 100], dim=1)


image = torch.arange(35.0).view(1, 5, 7)
want = torch.tensor([[0.0, 2, 4, 6], [14, 16, 18, 20], [28, 30, 32, 34]])
with check("every second pixel of 5 × 7: two maps of 3 × 4", points=2):
    flat = torch.stack([want.flatten(), want.flatten() + 100], 1)
    check.equal(
        scan(image, spy(middle), 3, 2),
        torch.stack([want, want + 100]),
        mistakes={
            "Classes and places are mixed up: bring K to the front before you reshape.": (
                flat.reshape(2, 3, 4)
            ),
            "The classes come first: (K, rows, cols).": flat.reshape(3, 4, 2),
            "Rows and columns are exchanged: there are 3 rows of 4.": torch.stack(
                [want, want + 100]
            ).transpose(1, 2),
            "You folded into 4 rows of 3: reading order runs along the rows.": torch.stack(
                [want.reshape(4, 3), want.reshape(4, 3) + 100]
            ),
        },
    )
with check("never more than `batch` patches at once, none twice", points=1):
    net = spy(middle)
    scan(image, net, 3, 2, 5)
    sizes = [shape[0] for shape in net.shapes]
    check.true(
        max(sizes, default=0) <= 5,
        "Cut the patches into pieces of `batch`.",
        f"a call got {max(sizes, default=0)} patches, batch is 5",
    )
    check.true(
        len(sizes) == 3 and sum(sizes) == 12,
        "Twelve patches in calls of 5 are 3 calls: 5, 5 and 2.",
        f"{len(sizes)} calls with {sizes} patches",
    )
with check("a network that answers (N, K, 1, 1)", points=1):
    net = spy(lambda patches: middle(patches)[..., None, None])
    check.equal(scan(image, net, 3, 2), torch.stack([want, want + 100]))
### BEGIN HIDDEN TESTS
source = torch.Generator().manual_seed(53)
weight = torch.randn(3, 2, 4, 4, generator=source)


def linear_net(patches):
    return F.conv2d(patches, weight[..., : patches.shape[2], : patches.shape[3]]).flatten(1)


with check.hidden("a linear network on odd, non-square images, against the library", points=4):
    for hw, size in (((6, 9), 3), ((11, 5), 4), ((4, 7), 2)):
        image = torch.rand(2, *hw, generator=source)
        got = scan(image, spy(linear_net), size)
        check.equal(got, windows.scan(image, linear_net, size), tolerance=1e-5)
with check.hidden("strides", points=3):
    for hw, stride in (((7, 10), 3), ((8, 5), 2), ((5, 6), 7)):
        image = torch.rand(2, *hw, generator=source)
        got = scan(image, spy(linear_net), 4, stride)
        check.equal(got, windows.scan(image, linear_net, 4, stride), tolerance=1e-5)
with check.hidden("batches of 1, of all, and one that leaves a rest", points=2):
    image = torch.rand(2, 5, 6, generator=source)
    for batch in (1, 7, 30, 1000):
        got = scan(image, spy(linear_net), 3, 1, batch)
        check.equal(got, windows.scan(image, linear_net, 3), tolerance=1e-5)
with check.hidden("one class only", points=1):
    image = torch.rand(1, 4, 6, generator=source)
    check.equal(scan(image, spy(lambda p: p.amax((1, 2, 3))[:, None]), 1), image)
with check.hidden("every pixel is asked exactly once", points=1):
    net = spy(linear_net)
    scan(torch.rand(2, 9, 8, generator=source), net, 3, 1, 10)
    check.equal([net.count, sum(shape[0] for shape in net.shapes)], [8, 72])
with check.hidden("the image is left alone", points=1):
    check.unchanged(scan, torch.rand(2, 4, 5, generator=source), spy(linear_net), 3)
### END HIDDEN TESTS
check.score()

# %% exercise="5.3" role="picture"
plots.compare(
    yours=lambda: scan(photo, lambda p: p.std((1, 2, 3))[:, None], 9)[0],
    expected=windows.scan(photo, lambda p: p.std((1, 2, 3))[:, None], 9)[0],
    title="A classifier of one number, scanned over a test image: the contrast of each 9 × 9 patch",
    exercise="5.3",
)

# %% [markdown] exercise="5.3" role="see"
# A map of 64 × 64 values from 4,096 patches; no pixel differs. It is bright in a broad band along
# every edge and dark inside the discs and on the ground.

# %% [markdown] exercise="5.3" role="think" points=10
# **Think (10 points).** Two neighbouring pixels have patches of 95 × 95. Which share of their
# pixels do the patches have in common? In the first layer (4 × 4 kernels, no padding, 92 × 92
# outputs), how many outputs of the second patch were already computed for the first? Does a batch
# of 256 patches avoid any of that work? Three to five sentences.
#
# ### BEGIN SOLUTION
# They share 94 of 95 columns, 98.9 percent of the pixels. The first layer of the second patch has
# 92 × 92 outputs, of which all but one column, 91 × 92 (98.9 percent), are the same numbers as in
# the first patch, shifted by one; every inner output is computed for up to 92 × 92 patches. A batch
# computes all of them again: it uses the hardware better, but the number of multiplications is
# exactly that of the loop. Full marks: 94/95, 91 columns of 92, and that a batch saves no
# multiplication.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 5.4 The same numbers in one pass

# %% [markdown] exercise="5.4" role="idea"
# Without padding inside, a convolution of the whole image contains the convolutions of all patches,
# and a fully connected layer on $C\times h\times w$ features is a convolution with an $h \times w$
# kernel. Only pooling is in the way: with stride 2 it keeps one patch position in two. So let every
# pooling move by 1, and put what it skipped into the layers behind it, whose taps move apart:
#
# $$\text{dilation of a layer} = \prod \text{strides of all poolings before it}.$$
#
# No weight changes, and every number stays the same. One padded layer would spoil it: a patch would
# see zeros where the image goes on. [Masci et al. 2013; Sermanet et al. 2014, §3.5]

# %% exercise="5.4" role="look"
rows_seen = torch.zeros(3, 9)
rows_seen[0, [0, 1]] = 1.0  # a pooling of 2
rows_seen[1, [0, 2]] = 1.0  # a layer of two taps behind it
rows_seen[2, [0, 4]] = 1.0  # and behind two poolings
plots.heat(
    rows_seen,
    title="Two taps of a layer: before, behind one, behind two poolings of 2 (dilation 1, 2, 4)",
    xlabel="pixel",
    ylabel="poolings before it",
    label="tap",
)

# %% [markdown] exercise="5.4" role="contract" title="From patch net to dense net" minutes=30
# - `layers`: the patch network as data, in order: `("conv", weight, bias)` with weight `(O, C, k,
#   k)`, no padding, stride 1; `("relu",)`; `("pool", k)`, max pooling with stride k; `("linear",
#   weight, bias)` with weight `(O, C·h·w)` on flattened features, h = w.
# - Result: a module that maps `(B, C, H, W)` to `(B, K, H - p + 1, W - p + 1)` for patches of side
#   p; entry (i, j) is the patch network on the window with the corner (i, j).
# - Forbidden: `course.windows`.

# %% [markdown] exercise="5.4" role="hints"
# 1. Walk through the layers and carry two numbers with you: the dilation so far, and the channels.
# 2. `nn.MaxPool2d` takes a dilation too. A linear weight becomes a kernel by `view`, channels
#    first, since that is the order of flattening; a linear layer behind another one is a 1 × 1
#    convolution.
# 3. `chain, rate, channels = [], 1, 1`, then `for kind, *parts in layers:`


# %% exercise="5.4" role="gap"
def convolution(weight: Tensor, bias: Tensor, dilation: int) -> nn.Conv2d:
    """A convolution (given) with this weight (O, C, k, k) and bias (O,). Worked number: k = 3 with
    dilation 2 reads pixels 0, 2 and 4."""
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)  # pyright: ignore[reportOptionalMemberAccess]
    return layer


def dense_equivalent(layers: list[tuple[Any, ...]]) -> nn.Module:
    """Dense network with the numbers of a patch network.

    Worked number: conv 3, pool 2, linear on 3 × 3: patches of 8; 10 × 12 pixels give 3 × 5 results.
    """
    ### BEGIN SOLUTION
    chain, rate, channels = [], 1, 1
    for kind, *parts in layers:
        if kind == "relu":
            chain.append(nn.ReLU())
        elif kind == "pool":
            chain.append(nn.MaxPool2d(parts[0], stride=1, dilation=rate))
            rate *= parts[0]
        else:
            side = round((parts[0][0].numel() / channels) ** 0.5)
            weight = parts[0] if kind == "conv" else parts[0].view(-1, channels, side, side)
            chain.append(convolution(weight, parts[1], rate))
            channels = len(weight)
    return nn.Sequential(*chain)
    ### END SOLUTION


# %% exercise="5.4" role="check"
check = Exercise("5.4", points=20, forbid=["course.windows"])


def patch_net(layers, x):
    """The patch network itself: (N, C, p, p) → (N, K)."""
    for name, *given in layers:
        if name == "conv":
            x = F.conv2d(x, *given)
        elif name == "relu":
            x = F.relu(x)
        elif name == "pool":
            x = F.max_pool2d(x, given[0])
        else:
            x = F.linear(x.flatten(1), *given)
    return x


def everywhere(layers, image, p):
    """The patch network on every p × p window of (1, C, H, W), one after the other."""
    h, w = image.shape[2] - p + 1, image.shape[3] - p + 1
    one = [
        patch_net(layers, image[..., i : i + p, j : j + p])[0] for i in range(h) for j in range(w)
    ]
    return torch.stack(one, 1).view(1, -1, h, w)


def example(*plan, channels=1, seed=4):
    """Random layers: ("conv", out, k), ("pool", k), ("relu",), ("linear", out, side)."""
    source, layers = torch.Generator().manual_seed(seed), []
    for kind, *numbers in plan:
        if kind in ("relu", "pool"):
            layers.append((kind, *numbers))
            continue
        out, k = numbers
        shape = (out, channels, k, k) if kind == "conv" else (out, channels * k * k)
        scale = (channels * k * k) ** -0.5
        weight, bias = torch.randn(shape, generator=source), torch.randn(out, generator=source)
        layers.append((kind, weight * scale, bias * 0.3))
        channels = out
    return layers


image = torch.randn(1, 1, 10, 12, generator=torch.Generator().manual_seed(54))
one_pool = example(
    ("conv", 4, 3), ("relu",), ("pool", 2), ("linear", 3, 3), ("relu",), ("linear", 2, 1)
)
with check("conv 3, pool 2, linear on 3 × 3: 10 × 12 pixels give 3 × 5 results", points=1):
    dense = build(dense_equivalent, one_pool)
    check.equal(
        list(dense(image).shape),
        [1, 2, 3, 5],
        mistakes={
            "The pooling still moves by 2: only every second patch is there.": [1, 2, 2, 3],
            "The taps of the layer behind a pooling must move apart: dilation 2.": [1, 2, 5, 7],
            "Something pads: a patch would see zeros where the image goes on.": [1, 2, 10, 12],
            "A pooling is dilated by the poolings before it, not by itself.": [1, 2, 2, 4],
        },
    )
with check("every number equals that of the patch", points=2):
    dense = build(dense_equivalent, one_pool)
    turned = [
        (kind, parts[0].view(-1, 3, 3, 4).permute(0, 3, 1, 2).flatten(1), parts[1])
        if kind == "linear" and parts[0].shape[1] == 36
        else (kind, *parts)
        for kind, *parts in one_pool
    ]
    bare = [layer for i, layer in enumerate(one_pool) if i != 4]
    blind = [layer for i, layer in enumerate(one_pool) if i != 1]
    check.equal(
        dense(image),
        everywhere(one_pool, image, 8),
        tolerance=1e-5,
        mistakes={
            "The linear weight is read as (h, w, C): flattening has channels first.": everywhere(
                turned, image, 8
            ),
            "The ReLU behind the converted linear layer is missing.": everywhere(bare, image, 8),
            "The ReLU behind the convolution is missing.": everywhere(blind, image, 8),
        },
    )
wide = torch.randn(1, 1, 21, 24, generator=torch.Generator().manual_seed(55))
two_pools = example(
    ("conv", 3, 4), ("relu",), ("pool", 2), ("conv", 4, 3), ("relu",), ("pool", 2), ("linear", 2, 3)
)
with check(
    "two poolings: the dilations multiply, 1, 2, 4",
    points=2,
    hint="Behind two poolings of 2 the taps are 4 apart, those of the second pooling 2 apart.",
):
    dense = build(dense_equivalent, two_pools)
    check.equal(
        list(dense(wide).shape),
        [1, 2, 3, 6],
        mistakes={
            "Only the last pooling counts in your dilation: multiply them all.": [1, 2, 7, 10],
            "The second pooling itself needs the dilation of the first.": [1, 2, 4, 7],
            "The dilation grows by adding: 1, 2, 3; strides multiply.": [1, 2, 5, 8],
        },
    )
    check.equal(dense(wide), everywhere(two_pools, wide, 19), tolerance=1e-5)
### BEGIN HIDDEN TESTS
with check.hidden("three poolings, as deep as the network of the experiment", points=4):
    deep = example(
        ("conv", 2, 4), ("relu",), ("pool", 2), ("conv", 3, 3), ("relu",), ("pool", 2),
        ("conv", 3, 3), ("relu",), ("pool", 2), ("linear", 4, 3), ("relu",), ("linear", 2, 1),
    )  # fmt: skip
    image = torch.randn(1, 1, 41, 44, generator=torch.Generator().manual_seed(1))
    check.equal(build(dense_equivalent, deep)(image), everywhere(deep, image, 39), tolerance=1e-5)
with check.hidden("several channels, non-square images", points=3):
    for seed, hw in ((1, (13, 9)), (2, (8, 20))):
        net = example(
            ("conv", 5, 3), ("relu",), ("pool", 2), ("linear", 3, 3), channels=3, seed=seed
        )
        image = torch.randn(1, 3, *hw, generator=torch.Generator().manual_seed(seed))
        check.equal(build(dense_equivalent, net)(image), everywhere(net, image, 8), tolerance=1e-5)
with check.hidden("a pooling of 3", points=2):
    net = example(("conv", 3, 3), ("pool", 3), ("conv", 3, 2), ("relu",), ("linear", 2, 2), seed=3)
    image = torch.randn(1, 1, 14, 17, generator=torch.Generator().manual_seed(3))
    check.equal(build(dense_equivalent, net)(image), everywhere(net, image, 11), tolerance=1e-5)
with check.hidden("no pooling, no linear layer, and pooling first", points=2):
    image = torch.randn(1, 1, 9, 11, generator=torch.Generator().manual_seed(6))
    for net, p in (
        (example(("conv", 3, 3), ("relu",), ("conv", 2, 3)), 5),
        (example(("pool", 2), ("linear", 2, 2)), 4),
    ):
        want = everywhere([*net[:-1], ("linear", net[-1][1].flatten(1), net[-1][2])], image, p)
        check.equal(build(dense_equivalent, net)(image), want, tolerance=1e-5)
with check.hidden("a batch of images", points=1):
    batch = torch.randn(3, 1, 9, 10, generator=torch.Generator().manual_seed(7))
    want = torch.cat([everywhere(one_pool, image[None], 8) for image in batch])
    check.equal(build(dense_equivalent, one_pool)(batch), want, tolerance=1e-5)
with check.hidden("an image of one patch", points=1):
    image = torch.randn(1, 1, 8, 8, generator=torch.Generator().manual_seed(8))
    check.equal(build(dense_equivalent, one_pool)(image)[..., 0, 0], patch_net(one_pool, image))
with check.hidden("no parameter more than the patch network", points=2):
    dense = build(dense_equivalent, two_pools)
    most = sum(p.numel() for _, *ps in two_pools for p in ps if not isinstance(p, int))
    check.true(dense.parameter_count() <= most, "The dense network has the same numbers, no more.")
    check.equal(list(dense(wide).shape), [1, 2, 3, 6])
### END HIDDEN TESTS
check.score()


# %% role="setup"
def make_patch_net(depth: int, classes: int, width: int = 8) -> nn.Sequential:
    """Patch classifier with `depth` poolings: patches of side 9, 19 or 39 (depth 1, 2, 3)."""
    channels = [photo.shape[0], width, 2 * width, 2 * width][: depth + 1]
    parts: list[nn.Module] = []
    for i, (a, b) in enumerate(zip(channels, channels[1:])):
        parts += [nn.Conv2d(a, b, 3 if i else 4), nn.ReLU(), nn.MaxPool2d(2)]
    parts += [nn.Flatten(), nn.Linear(9 * channels[-1], 32), nn.ReLU(), nn.Linear(32, classes)]
    return nn.Sequential(*parts)


def describe(net: nn.Sequential) -> list[tuple[Any, ...]]:
    """A patch classifier as the data that `dense_equivalent` takes."""
    rows: list[tuple[Any, ...]] = []
    for part in net:
        if isinstance(part, nn.Conv2d):
            rows.append(("conv", part.weight.detach(), part.bias.detach()))
        elif isinstance(part, nn.Linear):
            rows.append(("linear", part.weight.detach(), part.bias.detach()))
        elif isinstance(part, nn.MaxPool2d):
            rows.append(("pool", part.kernel_size))
        elif isinstance(part, nn.ReLU):
            rows.append(("relu",))
    return rows


SIDES = {1: 9, 2: 19, 3: 39}

# %% exercise="5.4" role="picture"
torch.manual_seed(0)
untrained = make_patch_net(2, len(names), width)
with torch.no_grad():
    known = windows.dense_equivalent(untrained)(photo[None])[0, 0]
plots.compare(
    yours=lambda: dense_equivalent(describe(untrained))(photo[None])[0, 0].detach(),
    expected=known,
    title="First score of an untrained network with patches of 19 × 19, in one pass",
    exercise="5.4",
)

# %% [markdown] exercise="5.4" role="see"
# A map of 46 × 46 values: the 64 pixels less the 18 that a patch is larger than a pixel. It shows
# discs and lines pixel by pixel although the network pools twice. No value differs by more than
# 0.0001.

# %% [markdown] exercise="5.4" role="think"
# **Think.** VGG16 pads every convolution by one. What breaks in the equality of patch scan and
# dense pass, and is a network with padding therefore useless for dense prediction?
#
# ### BEGIN SOLUTION
# In a patch the padding is zeros; in the dense pass the same place holds the pixels of the
# neighbourhood. The numbers differ, most near the rim of the patch. The dense network is a good
# network, only not the same one: it has to be fine-tuned as it is used, which is what FCN does (Lab
# 7).
# ### END SOLUTION

# %% [markdown]
# ---
# ## 5.5 Count, do not time

# %% [markdown] exercise="5.5" role="idea"
# A clock measures the machine, its load and its first call. Multiply-accumulates (MACs) measure the
# algorithm. One output of a convolution with $g$ groups takes $k^2\,C_{\text{in}}/g$ of them, so a
# layer takes
#
# $$h_{\text{out}}\, w_{\text{out}}\; k^2\, \frac{C_{\text{in}}}{g}\, C_{\text{out}} .$$
#
# Pooling, ReLU and biases are not counted. The size that counts is that of the **output**. For the
# published network one 95 × 95 window takes 121 million MACs, and the 262,144 windows of an image
# 3.2 · 10¹³; the dense pass needs 475 times less.
# [Masci et al. 2013; Sermanet et al. 2014, §3.5]

# %% exercise="5.5" role="look"
plots.bars(
    ["4 windows of 14 × 14", "one pass, 16 × 16"],
    [1_766_400, 1_459_200],
    title="OverFeat's toy network: even for four windows one pass is cheaper",
    ylabel="multiply-accumulates",
)

# %% [markdown] exercise="5.5" role="contract" title="Multiply-accumulates of a chain" minutes=15
# - `layers`: `("conv", c_in, c_out, k, stride, dilation, groups)` and `("pool", k, stride,
#   dilation)`; no padding.
# - `h`, `w`: size of the input, pixels. Result: `int`, the MACs of one pass.
# - A layer that does not fit (its taps reach further than the map) raises `ValueError`.
# - Forbidden: `course.geometry`.

# %% [markdown] exercise="5.5" role="hints"
# 1. Carry h and w through the chain; count a convolution after its size is known.
# 2. A kernel of k taps with dilation d reaches over `d * (k - 1) + 1` pixels.
# 3. `total = 0`, then `for kind, *numbers in layers:`


# %% exercise="5.5" role="gap"
def count_macs(layers: list[tuple[Any, ...]], h: int, w: int) -> int:
    """Multiply-accumulates of a chain of convolutions and poolings on h × w pixels.

    Worked number: 5 × 5, 3 to 16 channels, on 14 × 14: 10 * 10 * 25 * 3 * 16 = 120000.
    """
    ### BEGIN SOLUTION
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        span = dilation * (k - 1) + 1
        if min(h, w) < span:
            raise ValueError(f"{kind} over {span} pixels does not fit {h} × {w}")
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += h * w * k * k * (numbers[0] // numbers[5]) * numbers[1]
    return total
    ### END SOLUTION


# %% exercise="5.5" role="check"
check = Exercise("5.5", points=14, forbid=["course.geometry"])

toy = [
    ("conv", 3, 16, 5, 1, 1, 1),
    ("pool", 2, 2, 1),
    ("conv", 16, 400, 5, 1, 1, 1),
    ("conv", 400, 400, 1, 1, 1, 1),
    ("conv", 400, 4, 1, 1, 1, 1),
]
with check("the convolutional sliding window: 14 × 14 and 16 × 16", points=1):
    check.equal(
        [count_macs(toy, 14, 14), count_macs(toy, 16, 16)],
        [441_600, 1_459_200],
        mistakes={
            "You count at the size of the input: a convolution works once per OUTPUT.": [
                4_396_800,
                6_713_600,
            ],
            "These are additions and multiplications: one MAC is one pair.": [883_200, 2_918_400],
            "The input channels are missing.": [50_404, 99_216],
            "The output channels are missing.": [8_700, 15_600],
            "A kernel has k * k taps, not k.": [217_600, 808_960],
            "Biases are not counted.": [444_004, 1_464_720],
        },
    )
with check("groups, stride and dilation on 9 × 12 pixels", points=1):
    check.equal(
        count_macs([("conv", 8, 6, 3, 2, 2, 2)], 9, 12),
        3 * 4 * 9 * 4 * 6,
        mistakes={
            "The groups are not used: each output sees c_in / groups channels.": 3 * 4 * 9 * 8 * 6,
            "Groups divide the work once, not twice.": 3 * 4 * 9 * 4 * 3,
            "The stride is not used.": 5 * 8 * 9 * 4 * 6,
            "The dilation is not used: 3 taps with dilation 2 reach over 5 pixels.": (
                4 * 5 * 9 * 4 * 6
            ),
        },
    )
with check("a layer that does not fit is refused", points=1):
    check.raises(
        ValueError,
        count_macs,
        toy,
        14,
        13,
        message="13 columns become 9, then 4, and a kernel of 5 does not fit: raise ValueError.",
    )
### BEGIN HIDDEN TESTS
n4 = [
    ("conv", 1, 48, 4, 1, 1, 1), ("pool", 2, 2, 1), ("conv", 48, 48, 5, 1, 1, 1), ("pool", 2, 2, 1),
    ("conv", 48, 48, 4, 1, 1, 1), ("pool", 2, 2, 1), ("conv", 48, 48, 4, 1, 1, 1), ("pool", 2, 2, 1),
    ("conv", 48, 200, 3, 1, 1, 1), ("conv", 200, 2, 1, 1, 1, 1),
]  # fmt: skip
rates = [1, 1, 2, 2, 4, 4, 8, 8, 16, 16]
n4_dense = [
    (kind, *numbers[:3], 1, rate, 1) if kind == "conv" else (kind, numbers[0], 1, rate)
    for (kind, *numbers), rate in zip(n4, rates)
]
with check.hidden("the published network: one window, and a dense pass", points=4):
    check.equal(count_macs(n4, 95, 95), 121_464_592)
    ratio = 262_144 * 121_464_592 / count_macs(n4_dense, 606, 606)
    check.equal(round(ratio), 475)
with check.hidden("random chains, non-square, against the library", points=4):
    for h, w, c, out, k, s, d, g in ((17, 23, 6, 4, 3, 2, 1, 2), (20, 11, 4, 8, 2, 1, 3, 4)):
        chain = [("conv", c, out, k, s, d, g), ("pool", 2, 2, 1), ("conv", out, 5, 3, 1, 1, 1)]
        net = nn.Sequential(
            nn.Conv2d(c, out, k, s, dilation=d, groups=g), nn.MaxPool2d(2), nn.Conv2d(out, 5, 3)
        )
        check.equal(count_macs(chain, h, w), geometry.count_macs(net, (1, c, h, w)))
with check.hidden("a dilated pooling", points=1):
    chain = [("pool", 2, 1, 4), ("conv", 1, 1, 1, 1, 1, 1)]
    check.equal(count_macs(chain, 9, 12), 5 * 8)
with check.hidden("the toy network on 28 × 36", points=1):
    want = 24 * 32 * 1200 + 8 * 12 * (160_000 + 160_000 + 1600)
    check.equal(count_macs(toy, 28, 36), want)
with check.hidden("no convolution costs nothing, and too small a map is refused", points=1):
    check.equal(count_macs([("pool", 3, 3, 1)], 9, 9), 0)
    check.raises(ValueError, count_macs, [("pool", 2, 1, 8)], 8, 20)
### END HIDDEN TESTS
check.score()

# %% exercise="5.5" role="picture"
modules = nn.Sequential(
    nn.Conv2d(3, 16, 5), nn.MaxPool2d(2), nn.Conv2d(16, 400, 5), nn.Conv2d(400, 400, 1),
    nn.Conv2d(400, 4, 1),
)  # fmt: skip
sides = list(range(14, 44, 2))
plots.compare_values(
    yours=lambda: [count_macs(toy, n, n) / 1e6 for n in sides],
    expected=[geometry.count_macs(modules, (1, 3, n, n)) / 1e6 for n in sides],
    title="One pass of the toy network over a larger and larger image",
    xlabel="(side - 14) / 2",
    ylabel="millions of MACs",
    exercise="5.5",
)

# %% [markdown] exercise="5.5" role="see"
# The cost grows with the area, from 0.44 million MACs for one window of 14 × 14 to 74 million for
# the 15 × 15 = 225 windows of a 42 × 42 image. As 225 separate windows they would be 99 million;
# with real networks, whose early layers are the expensive ones, the gain is far larger.

# %% [markdown] exercise="5.5" role="think" points=10
# **Think (10 points).** Answer after the experiment at the end. Which patch size would you choose
# for membranes two pixels wide, and which for telling large discs from lines? What did the larger
# window win, what did it lose, with numbers, and why? How do the encoder-decoder networks of the
# next labs get around it? Three to five sentences.
#
# ### BEGIN SOLUTION
# Membranes: small (9 or 19), since the position matters and a few pixels show what it is; discs:
# 39, since a window must be wider than the disc to see its round edge. The large window gives more
# of the found pixels the right name and loses much of the overlap with the shapes, because it needs
# more poolings, which forget places, and because most of its pixels belong to the neighbourhood, so
# that every shape is painted too thick. One window has one size and one resolution, so context is
# paid for with place. Networks with a way up keep both: context from the deep, coarse maps, places
# from the fine ones (switches, skips). Full marks: a choice with its reason, two numbers, the
# trade-off, a way around it.
# ### END SOLUTION

# %% [markdown]
# ---
# ## The experiment, first part: the same numbers, at which price?
#
# A network like LeNet: conv 5 (1 → 6), pool 2, conv 5 (6 → 16), pool 2, conv 4 (16 → 32), conv 1
# (32 → 4). Its patches are 28 × 28; the image has 284 × 284 pixels. First on the grid of every
# fourth pixel, which the ordinary strided network computes in one pass, then for every pixel, with
# dilation.

# %% role="experiment"
lenet = [
    ("conv", 1, 6, 5, 1, 1, 1), ("pool", 2, 2, 1), ("conv", 6, 16, 5, 1, 1, 1), ("pool", 2, 2, 1),
    ("conv", 16, 32, 4, 1, 1, 1), ("conv", 32, 4, 1, 1, 1, 1),
]  # fmt: skip
lenet_dense = [
    ("conv", 1, 6, 5, 1, 1, 1), ("pool", 2, 1, 1), ("conv", 6, 16, 5, 1, 2, 1), ("pool", 2, 1, 2),
    ("conv", 16, 32, 4, 1, 4, 1), ("conv", 32, 4, 1, 1, 4, 1),
]  # fmt: skip
with attempt("5.5"):
    one = count_macs(lenet, 28, 28)
    prices = {
        "every 4th pixel": (65 * 65 * one, count_macs(lenet, 284, 284)),
        "every pixel": (257 * 257 * one, count_macs(lenet_dense, 284, 284)),
    }
    plots.bars(
        list(prices),
        {
            "patch by patch": [scan_price / 1e9 for scan_price, _ in prices.values()],
            "one pass": [pass_price / 1e9 for _, pass_price in prices.values()],
        },
        title="Cost of labelling 284 × 284 pixels",
        ylabel="billions of MACs",
    ).show()
    for where, (scan_price, pass_price) in prices.items():
        print(
            f"{where}: {scan_price:,} against {pass_price:,} MACs, "
            f"a factor {scan_price / pass_price:.1f}"
        )
    factor = prices["every 4th pixel"][0] / prices["every 4th pixel"][1]
    assert 10 < factor < 13, "one pass should cost about a tenth: check exercise 5.5"
    claim(
        5,
        "One dense pass costs a tenth of scanning patches.",
        quantity="multiply-accumulates of the scan of every 4th pixel over those of one pass",
        paper="Long et al. 2015, §3.1: more than five times faster, timed",
        values=[factor],
        at_least=10,
        counted=True,
    ).show()

# %% [markdown]
# And are they the same numbers? Your `scan` around every pixel of a test image, 4,096 runs of the
# network, against your `dense_equivalent` on the mirrored image, one run.

# %% role="experiment"
with attempt("5.3 and 5.4"):
    with torch.no_grad():
        by_patch = scan(photo, untrained, 19)
        mirrored = windows.mirror_border(photo, 19)
        at_once = dense_equivalent(describe(untrained))(mirrored[None])[0]
    apart = float((by_patch - at_once).abs().max())
    print(f"{by_patch[0].numel():,} pixels, largest difference {apart:.1e}.")
    assert apart < 1e-4, "scan and dense pass must agree: check exercises 5.3 and 5.4"

# %% [markdown]
# ## The experiment, second part: how large should the window be?
#
# Three classifiers with one, two and three poolings see 9 × 9, 19 × 19 and 39 × 39 pixels. They are
# trained on your balanced patches and then label the test images in one pass of your dense network.
# Two numbers judge them:
#
# - **localisation**: intersection over union of "something" (disc or line) against the background:
#   is the shape in its place?
# - **context**: of the pixels that are rightly called something, the share with the right name.


# %% role="setup"
def training_patches(size: int, seed: int) -> list[dict[str, Tensor]]:
    """Balanced patches of all training images."""
    samples = []
    for i, scene in enumerate(train):
        centers = balanced_centers(scene["mask"], per_class, 1000 * seed + i)
        labels = pixel_classifier_labels(scene["mask"], centers)
        patches = extract_patches(scene["image"], size)
        chosen = patches[centers[:, 0] * scene["mask"].shape[1] + centers[:, 1]]
        samples += [{"image": p, "label": k} for p, k in zip(chosen, labels)]
    return samples


def patch_loss(logits, batch):
    return F.cross_entropy(logits, batch["label"])


@torch.no_grad()
def predict(net: nn.Sequential, size: int, image: Tensor) -> Tensor:
    """Class of every pixel, in one pass of your dense network over the mirrored image."""
    dense = dense_equivalent(describe(net.cpu().eval()))
    return dense(windows.mirror_border(image, size)[None])[0].argmax(0)


def judge(net: nn.Sequential, size: int) -> tuple[float, float, float]:
    """Localisation, context, and mean IoU on the test images."""
    guess = torch.stack([predict(net, size, scene["image"]) for scene in test])
    found, there = guess > 0, test.masks > 0
    both = found & there
    confusion = metrics.ConfusionMatrix(len(names))
    confusion.update(guess, test.masks)
    return (
        float(both.sum() / (found | there).sum()),
        float((guess == test.masks)[both].float().mean()),
        float(confusion.mean_iou()),
    )


# %% role="experiment"
nets, results = {}, {}
with attempt("5.1, 5.2 and 5.4"):
    for seed in seeds:
        for depth, size in SIDES.items():
            torch.manual_seed(seed)
            nets[size, seed] = net = make_patch_net(depth, len(names), width)
            for part in net:
                if isinstance(part, nn.Conv2d | nn.Linear):
                    nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
            training.fit(
                net,
                training_patches(size, seed),
                patch_loss,
                steps=steps,
                batch_size=32,
                lr=5e-3,
                schedule=training.poly_lr,
                seed=seed,
                device=device,
                progress=steps > 1000,
            )
            results[size, seed] = judge(net, size)
rows = [
    [f"{size} × {size}", seed, *(f"{value:.3f}" for value in found)]
    for (size, seed), found in results.items()
]
plots.table(
    ["patch", "seed", "localisation", "context", "mean IoU"],
    rows,
    title=f"{len(test)} test images",
)

# %% role="experiment"
if results:
    table = {size: torch.tensor([results[size, seed] for seed in seeds]) for size in SIDES.values()}
    plots.bars(
        [f"patch {size}" for size in table],
        {
            name: [float(values[:, i].mean()) for values in table.values()]
            for i, name in enumerate(("localisation", "context"))
        },
        {
            name: [float(values[:, i].max() - values[:, i].min()) / 2 for values in table.values()]
            for i, name in enumerate(("localisation", "context"))
        },
        title=f"What a larger window wins and loses; {len(seeds)} seeds, half their range as error",
        ylabel="share",
        limits=(0, 1.1),
    ).show()

# %% role="experiment"
if results:
    plots.show_masks(
        [photo] * 4,
        [test[0]["mask"], *(predict(nets[n, seeds[0]], n, photo) for n in SIDES.values())],
        class_names=names,
        titles=["truth", *(f"patches of {n}" for n in SIDES.values())],
        title="One test image, three sizes of window",
    ).show()

# %% role="experiment"
if results:
    place = float(table[9][:, 0].min() - table[39][:, 0].max())
    context = float((table[39] - table[9])[:, 1].min())
    print(f"Localisation: the worst 9 × 9 run lies {place:+.3f} from the best 39 × 39 run.")
    print(f"Context: 39 × 39 lies at least {context:+.3f} from 9 × 9 with the same seed.")
    if dataset == "lines" and steps >= 300 and len(seeds) >= 3:
        assert place > 0.08, "small windows should find the places: check exercises 5.1 to 5.4"
        assert context > 0.05, "large windows should find the names: check exercises 5.1 to 5.4"
        words = {0: "Small windows localise better.", 1: "Large windows see more context."}
        scores = {0: "localisation, 9 × 9 less 39 × 39", 1: "context, 39 × 39 less 9 × 9"}
        for i, sign in ((0, 1), (1, -1)):
            claim(
                5,
                words[i],
                quantity=f"{scores[i]}, same seed; thickness of the lines chosen among three",
                paper="Ronneberger et al. 2015, §1: a trade-off, no figure printed",
                values=(sign * (table[9] - table[39])[:, i]).tolist(),
                at_least=0.05,
            ).show()

# %% [markdown]
# One more bar on the ladder that all labs climb: thin lines, the same data, one architecture after
# the other. Yours is the patch classifier.

# %% role="experiment"
ladder.picture(lab=5)

# %% [markdown]
# **What you should see.** One pass gives the numbers of 4,096 runs, to rounding, and costs 11.5
# times less on every fourth pixel and 22 times less for every pixel. (The factor depends on the
# network: what the last layers do, they do once per result in either way.) A larger window gives
# more pixels the right name, about 0.76, 0.87 and 0.89 for patches of 9, 19 and 39, and draws the
# shapes less well, about 0.93, 0.86 and 0.75: with 39 × 39 everything is too thick. In every run 39
# × 39 is at least 0.05 better at names than 9 × 9, and the best 39 × 39 is at least 0.08 worse at
# places than the worst 9 × 9. The middle size has the best mean IoU. (No law says so: on
# `data.textures`, with more steps, large windows lost hardly any place. A network can learn to look
# at its middle, but it has to learn it.)
#
# | | papers | here |
# |---|---|---|
# | data | 30 electron micrographs of 512 × 512 | 40 synthetic images of 64 × 64, 15 patches of each class from each |
# | network | N4: 95 × 95 window, four poolings, 219,290 parameters | 9, 19 and 39 pixels, one to three poolings |
# | cost of one pass | 475 times less than 262,144 windows (counted) | 11.5 times less on every fourth pixel, 22 times for every pixel (counted) |
# | size of the window | U-Net, §1: large patches need more poolings, which cost places; small ones see little context | measured above, with three seeds |
#
# **Going on.** Set `dataset = "isbi2012"` in the parameter cell for the membranes of the paper;
# point the environment variable `COURSE_DATA` at the folder that holds them. There are two classes
# then, so only the column "localisation" says something. `course.models.PixelClassifier` is N4
# itself.
#
# **Reading.** Cireşan et al. 2012, §2 (windows, sampling, foveation) and Table 1. Masci et al.
# 2013. Sermanet et al. 2014, §3.5. Farabet et al. 2013, §3, for scanning at three scales.
# Ronneberger et al. 2015, §1, for the criticism that led to U-Net (Lab 8).
