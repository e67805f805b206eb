# %% [markdown]
# # Lab 1 · Sliding windows: ask a classifier everywhere
#
# [[exercises]]
#
# **You will be able to**
# - turn a classifier of small pictures into a detector that finds objects of any size anywhere;
# - count what that costs, before you run it;
# - clean up after it: one box per object, and fewer false alarms;
# - save most of the cost with a cascade, and show that nothing was lost.
#
# **Papers.** H. Rowley, S. Baluja, T. Kanade, *Neural Network-Based Face Detection*, PAMI 1998: a
# network on windows of 20 × 20 pixels, at every position and scale. P. Viola, M. Jones, *Rapid Object
# Detection using a Boosted Cascade of Simple Features*, CVPR 2001. N. Dalal, B. Triggs, *Histograms
# of Oriented Gradients for Human Detection*, CVPR 2005.
#
# **From before.** Slicing tensors, `torch.std_mean`, a small convolutional classifier. Run every cell
# from top to bottom. A check cell never stops the notebook: it says what it expected, what came, and
# the usual cause.

# %% tags=["parameters"]
height = 72  # of the images, pixels
width = 96  # the same
window = 12  # side of the window that the classifier sees, pixels
stride = 2  # step of the window, pixels
scale = 0.8  # size of one level of the pyramid relative to the one before
images = 30  # images to train on, and as many to test on
steps = 250  # training steps per network
seeds = [0, 1, 2]

# %% role="setup"
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course import boxes, data, geometry, ladder, plots, training, windows
from course.boxes import box_iou
from course.checks import Exercise, attempt, spy
from course.claims import claim

# %% [markdown]
# ## The picture of this lab
#
# The lecture begins with the oldest way to say *what is where*: cut the image into windows of one
# size, hand each to a classifier, write its answer where the window was. Here the question is "where
# are the discs?". Squares and triangles are there to be confused with them, and discs come in many
# sizes while the classifier knows one.


# %% role="setup"
def scenes(n: int, seed: int) -> data.Scenes:
    """Images of 2 to 5 shapes; class 1 is the disc."""
    return data.boxes(n, (height, width), seed=seed, count=(2, 5), radius=(6, 14))


def grey(sample: data.Sample) -> Tensor:
    """The image in grey (1, H, W): old detectors, and this one, do without colour."""
    return sample["image"].mean(0, keepdim=True)


def discs(sample: data.Sample) -> Tensor:
    """The true boxes (M, 4) of the discs."""
    return sample["boxes"][sample["labels"] == 1]


example = scenes(4, seed=20)[3]
plots.show_boxes(
    grey(example),
    example["boxes"],
    labels=example["labels"],
    class_names=("background", "disc", "square", "triangle"),
    title="Where are the discs?",
)

# %% [markdown]
# ## See it move
#
# The lecture's moving pictures of this lab: predict, then drag. `uv run course lectures open 1` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("sliding_window")

# %% role="experiment"
demos.show("nms")

# %% [markdown]
# ---
# ## 1.1 A grid of windows

# %% [markdown] exercise="1.1" role="idea"
# A window of $k$ pixels that moves by $s$ pixels along a line of $L$ pixels fits
#
# $$n = \left\lfloor \frac{L-k}{s} \right\rfloor + 1$$
#
# times, and not at all if $L < k$. The last window ends at the border or before it, never beyond:
# half a window would show the classifier something it was not trained on. In two dimensions rows
# and columns multiply, so halving the step costs four times as much. With $s = k$ the windows become
# the disjoint fragments of the lecture's first slide; with $s = 1$ there is one for nearly every
# pixel. Everything in this lab starts from this list of boxes.
# [Rowley et al. 1998, §2.1; Sermanet et al. 2014, §3.5]

# %% exercise="1.1" role="look"
plots.show_boxes(
    grey(example),
    {
        "first": [[0, 0, 24, 24]],
        "second": [[16, 0, 40, 24]],
        "last of the row": [[64, 0, 88, 24]],
        "first of row two": [[0, 16, 24, 40]],
    },
    title="Windows of 24 pixels, 16 apart: 4 rows of 5; a strip of 8 stays uncovered on the right",
)

# %% [markdown] exercise="1.1" role="contract" title="The grid" minutes=12
# - `h`, `w`: size of the image; `size`, `stride`: side and step of a square window, all in pixels.
# - Result: `(N, 4)` float32 boxes `(x0, y0, x1, y1)`, half-open, in reading order: row by row, in a row
#   from left to right. No window leaves the image; `(0, 4)` where none fits.
# - A size or stride below 1 raises `ValueError`.

# %% [markdown] exercise="1.1" role="hints"
# 1. Do one axis first: at which coordinates may a window start? The formula above counts them.
# 2. `range(0, last + 1, stride)` gives the starts, if `last` is the last legal start. Loop over rows
#    outside, over columns inside.
# 3. The first line after the test of the arguments is `tops = range(0, h - size + 1, stride)`.


# %% exercise="1.1" role="gap"
def window_grid(h: int, w: int, size: int, stride: int) -> Tensor:
    """Boxes (N, 4) of all windows of an h × w image, row by row.

    Worked number: window_grid(4, 5, 3, 2) is [[0, 0, 3, 3], [2, 0, 5, 3]].
    """
    ### BEGIN SOLUTION
    if size < 1 or stride < 1:
        raise ValueError(f"size and stride must be at least 1, got {size} and {stride}")
    tops = range(0, h - size + 1, stride)
    lefts = range(0, w - size + 1, stride)
    rows = [(x, y, x + size, y + size) for y in tops for x in lefts]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)
    ### END SOLUTION


# %% exercise="1.1" role="check"
check = Exercise("1.1", points=13, forbid=["course.windows"])

with check("how many: 4 × 4 windows, 2 apart, in 6 × 9 pixels", points=1):
    check.equal(
        len(window_grid(6, 9, 4, 2)),
        6,
        mistakes={
            "Is the last window missing? One that ends exactly at the border is allowed.": 3,
            "Round down: a window that hangs over, or is pushed back inside, is not in it.": 8,
            "Windows may not leave the image: the last start is h - size or w - size.": 15,
            "You take every position: move by `stride` pixels.": 18,
            "Size and stride are swapped.": 4,
            "n has a + 1: the window at 0 counts too.": 2,
        },
    )
with check("the boxes, in reading order", points=1):
    check.equal(
        window_grid(5, 7, 3, 2),
        torch.tensor(
            [[0, 0, 3, 3], [2, 0, 5, 3], [4, 0, 7, 3], [0, 2, 3, 5], [2, 2, 5, 5], [4, 2, 7, 5.0]]
        ),
        dtype=True,
        mistakes={
            "A box is (x0, y0, x1, y1): x, the column, comes first.": torch.tensor(
                [[0, 0, 3, 3], [0, 2, 3, 5], [0, 4, 3, 7], [2, 0, 5, 3], [2, 2, 5, 5], [2, 4, 5, 7]]
            ),
            "Row by row, as you read: x changes first.": torch.tensor(
                [[0, 0, 3, 3], [0, 2, 3, 5], [2, 0, 5, 3], [2, 2, 5, 5], [4, 0, 7, 3], [4, 2, 7, 5]]
            ),
            "Boxes are half-open: x1 = x0 + size, without - 1.": torch.tensor(
                [[0, 0, 2, 2], [2, 0, 4, 2], [4, 0, 6, 2], [0, 2, 2, 4], [2, 2, 4, 4], [4, 2, 6, 4]]
            ),
            "That is (x, y, width, height): return both corners.": torch.tensor(
                [[0, 0, 3, 3], [2, 0, 3, 3], [4, 0, 3, 3], [0, 2, 3, 3], [2, 2, 3, 3], [4, 2, 3, 3]]
            ),
            "h is the number of rows: y runs along it, x along w.": torch.tensor(
                [[0, 0, 3, 3], [2, 0, 5, 3], [0, 2, 3, 5], [2, 2, 5, 5], [0, 4, 3, 7], [2, 4, 5, 7]]
            ),
        },
    )
with check("the lecture's network: windows of 14 pixels, 2 apart", points=1):
    check.equal(
        [len(window_grid(n, n, 14, 2)) for n in (14, 16, 28)],
        [1, 4, 64],
        mistakes={
            "An image as large as the window holds one window.": [0, 1, 49],
            "Windows may not leave the image.": [49, 64, 196],
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("many sizes against the library", points=4):
    for h, w, k, s in ((5, 9, 2, 3), (17, 8, 5, 1), (8, 23, 8, 4), (31, 13, 4, 7), (10, 11, 3, 2)):
        check.equal(window_grid(h, w, k, s), windows.window_grid(h, w, k, s), dtype=True)
with check.hidden("the fragments of the lecture cover every pixel once", points=2):
    seen = torch.zeros(6, 15)
    for x0, y0, x1, y1 in window_grid(6, 15, 3, 3).int().tolist():
        seen[y0:y1, x0:x1] += 1
    check.equal(seen, torch.ones(6, 15))
with check.hidden("no window fits: shape (0, 4)", points=2):
    for h, w in ((4, 9), (9, 4), (0, 0)):
        check.equal(window_grid(h, w, 5, 2), torch.zeros(0, 4), dtype=True)
with check.hidden("one window, one pixel", points=1):
    check.equal(window_grid(1, 1, 1, 3), torch.tensor([[0.0, 0.0, 1.0, 1.0]]))
with check.hidden("sizes and strides below 1 are refused", points=1):
    check.raises(ValueError, window_grid, 9, 9, 0, 1)
    check.raises(ValueError, window_grid, 9, 9, 3, 0)
    check.raises(ValueError, window_grid, 9, 9, 3, -2)
### END HIDDEN TESTS
check.score()

# %% exercise="1.1" role="picture"
plots.compare_values(
    yours=lambda: [len(window_grid(48, 64, 12, s)) for s in range(1, 13)],
    expected=[len(windows.window_grid(48, 64, 12, s)) for s in range(1, 13)],
    exercise="1.1",
    title="Windows of 12 pixels in an image of 48 × 64, for strides of 1, 2, … 12",
    xlabel="stride − 1, pixels",
    ylabel="windows",
)

# %% [markdown] exercise="1.1" role="see"
# The curve falls like $1/s^2$: 1961 windows at stride 1, 513 at stride 2, 20 disjoint fragments at
# stride 12. A stride is the cheapest knob there is, and each pixel of it costs precision.

# %% [markdown] exercise="1.1" role="think"
# **Think.** The lower and the right border may stay uncovered by up to `stride - 1` pixels. What would
# you do if objects there mattered?
#
# ### BEGIN SOLUTION
# Add one more row and column of windows that end flush with the border: the grid is no longer
# regular, so scores no longer form a map. Or enlarge the image by mirroring, which Lab 5 does.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 1.2 A map of scores

# %% role="setup"
middle = torch.arange(12.0) - 5.5
pattern = (torch.hypot(middle[:, None], middle) < 5).float()
pattern = (pattern - pattern.mean()) / pattern.std(correction=0)


def disc_likeness(batch: Tensor) -> Tensor:
    """Correlation (N,) of normalised windows with a bright disc of 10 pixels.

    A toy classifier for the pictures; a network takes its place at the end.
    """
    return (batch * pattern).mean((1, 2, 3))


# %% [markdown] exercise="1.2" role="idea"
# Now the classifier looks at every window and its answers form a map: one number per window. With
# several classes it is already a coarse segmentation, the lecture's first one.
#
# A window in the shade and one in the sun should look alike, so each is first brought to mean 0 and
# standard deviation 1 *over its own values*:
#
# $$\hat w = \frac{w - \operatorname{mean}(w)}{\max(\operatorname{std}(w),\, 10^{-6})} .$$
#
# Statistics of the whole image would not do that. The classifier gets all windows as one batch:
# thousands of calls with one window each would mostly wait.
# [Rowley et al. 1998, §2.1; Viola and Jones 2001, §5]

# %% exercise="1.2" role="look"
shade = torch.linspace(0.2, 1.0, width) * grey(example)
plots.show_images(
    [shade[:, :12, 2:14], shade[:, :12, 80:92]],
    ["in the shade", "in the sun"],
    title="One scene in uneven light: two windows of the same plain background",
)

# %% [markdown] exercise="1.2" role="contract" title="Cut, normalise, classify" minutes=25
# - `cut_windows`: image `(C, H, W)` → `(N, C, size, size)`, in the order of `window_grid`.
# - `normalize_windows`: `(N, C, size, size)` → same shape; one mean and one standard deviation per
#   window, over channels and pixels, divided by their number (`correction=0`).
# - `score_map`: normalised windows go to `classify` in **one** call, which gives `(N,)` or `(N, 1)`;
#   the result is `(rows, cols)`.

# %% [markdown] exercise="1.2" role="hints"
# 1. Each of the three is short if it uses the one before. How many rows of windows are there?
# 2. `image.unfold(1, size, stride)` cuts along one axis and puts the pixels of a window last; after the
#    second `unfold` the axes are C, rows, cols, size, size. Bring them into the right order before
#    `reshape`. (Or slice with the boxes of your `window_grid` and `torch.stack`.)
# 3. `deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)`


# %% exercise="1.2" role="gap"
def cut_windows(image: Tensor, size: int, stride: int) -> Tensor:
    """All windows (N, C, size, size) of an image (C, H, W), in reading order.

    Worked number: an image (3, 10, 8), size 4 and stride 3 give (3 · 2, 3, 4, 4).
    """
    ### BEGIN SOLUTION
    cut = image.unfold(1, size, stride).unfold(2, size, stride)  # (C, rows, cols, size, size)
    return cut.permute(1, 2, 0, 3, 4).reshape(-1, len(image), size, size)
    ### END SOLUTION


def normalize_windows(batch: Tensor) -> Tensor:
    """Every window of (N, C, h, w) with mean 0 and standard deviation 1; a flat one becomes 0.

    Worked number: the window 0 2 / 4 2 has mean 2 and deviation √2, and becomes
    -1.41 0 / 1.41 0.
    """
    ### BEGIN SOLUTION
    deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)
    return (batch - mean) / deviation.clamp(min=1e-6)
    ### END SOLUTION


def score_map(
    image: Tensor, classify: Callable[[Tensor], Tensor], size: int, stride: int
) -> Tensor:
    """Scores (rows, cols) of a classifier at every normalised window of an image (C, H, W).

    Worked number: 10 × 8 pixels, size 4, stride 3: a map of 3 × 2.
    """
    ### BEGIN SOLUTION
    scores = classify(normalize_windows(cut_windows(image, size, stride)))
    rows = (image.shape[1] - size) // stride + 1
    return scores.reshape(rows, -1)
    ### END SOLUTION


# %% exercise="1.2" role="check"
check = Exercise("1.2", points=16, forbid=["course.windows"])

image = torch.tensor([[[0.0, 2, 6, 6], [4, 2, 6, 6], [0, 0, 4, 8]]])
with check("windows of 2 × 3 positions, in reading order", points=1):
    check.equal(
        cut_windows(image, 2, 1)[:, 0].flatten(1),
        torch.tensor(
            [[0, 2, 4, 2], [2, 6, 2, 6], [6, 6, 6, 6], [4, 2, 0, 0], [2, 6, 0, 4], [6, 6, 4, 8.0]]
        ),
        mistakes={
            "Column by column: go through a row of windows first.": torch.tensor(
                [[0, 2, 4, 2], [4, 2, 0, 0], [2, 6, 2, 6], [2, 6, 0, 4], [6, 6, 6, 6], [6, 6, 4, 8]]
            ),
            "Rows and columns inside each window are swapped.": torch.tensor(
                [[0, 4, 2, 2], [2, 2, 6, 6], [6, 6, 6, 6], [4, 0, 2, 0], [2, 0, 6, 4], [6, 4, 6, 8]]
            ),
            "Pixels of different windows are mixed: `permute` before you `reshape`.": torch.tensor(
                [[0, 2, 6, 2], [6, 6, 4, 2], [6, 2, 6, 6], [4, 2, 6, 2], [6, 6, 0, 0], [4, 0, 4, 8]]
            ),
        },
    )
with check("each window is normalised on its own", points=1):
    check.equal(
        normalize_windows(cut_windows(image, 2, 1))[:, 0, 0, 0],
        torch.tensor([-1.4142, -1.0, 0.0, 1.5076, -0.4472, 0.0]),
        tolerance=1e-3,
        mistakes={
            "One mean for all windows: take it over each window's own values.": torch.tensor(
                [-1.5610, -0.7285, 0.9366, 0.1041, -0.7285, 0.9366]
            ),
            "Divide the squares by their number, not by one less: correction=0.": torch.tensor(
                [-1.2247, -0.8660, 0.0, 1.3056, -0.3873, 0.0]
            ),
            "Only the mean is removed: divide by the standard deviation too.": torch.tensor(
                [-2.0, -2.0, 0.0, 2.5, -1.0, 0.0]
            ),
            "A window without contrast has deviation 0: divide by at least 1e-6.": torch.tensor(
                [-1.4142, -1.0, float("nan"), 1.5076, -0.4472, 0.0]
            ),
            "You scale to 0 … 1; mean 0 and deviation 1 are wanted.": torch.tensor(
                [0.0, 0.0, 0.0, 1.0, 0.3333, 0.5]
            ),
            "You divide by the variance: take its square root.": torch.tensor(
                [-1.0, -0.5, 0.0, 0.9091, -0.2, 0.0]
            ),
        },
    )
with check("a map of scores from one call", points=1):
    corner = spy(lambda batch: batch[:, 0, 0, 0])
    found = score_map(image, corner, 2, 1)
    check.true(
        corner.count == 1,
        "Hand over all windows in one batch.",
        f"expected 1 call of the classifier, it was called {corner.count} times",
    )
    check.equal(
        found,
        torch.tensor([[-1.4142, -1.0, 0.0], [1.5076, -0.4472, 0.0]]),
        tolerance=1e-3,
        mistakes={
            "The map needs one row per row of windows: 2 × 3 here.": torch.tensor(
                [[-1.4142, -1.0], [0.0, 1.5076], [-0.4472, 0.0]]
            ),
            "The whole image was normalised: do it window by window.": torch.tensor(
                [[-1.3644, -0.6202, 0.8682], [0.1240, -0.6202, 0.8682]]
            ),
            "The classifier got raw windows: normalise them first.": torch.tensor(
                [[0.0, 2.0, 6.0], [4.0, 2.0, 6.0]]
            ),
        },
    )
with check("the lecture's fragments: one class for each", points=1):
    upright, level = [[0.0, 1.0], [0.0, 1.0]], [[0.0, 0.0], [1.0, 1.0]]
    rows = [[upright, level, upright], [level, level, upright]]
    picture = torch.cat([torch.cat([torch.tensor(f) for f in row], 1) for row in rows])[None]
    stripes = spy(lambda batch: (batch[:, 0, 0, 1] > 0).float())
    check.equal(score_map(picture, stripes, 2, 2), torch.tensor([[1.0, 0, 1], [0, 0, 1]]))
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(12)
with check.hidden("windows of colour images, odd sizes", points=3):
    for c, h, w, k, s in ((3, 9, 14, 4, 3), (2, 13, 7, 5, 1), (1, 6, 11, 6, 2), (3, 5, 5, 5, 9)):
        image = torch.rand(c, h, w, generator=generator)
        want = [
            image[:, y0:y1, x0:x1]
            for x0, y0, x1, y1 in windows.window_grid(h, w, k, s).int().tolist()
        ]
        check.equal(cut_windows(image, k, s), torch.stack(want))
with check.hidden("one mean and deviation over all channels", points=2):
    batch = torch.rand(5, 3, 4, 6, generator=generator)
    flat = batch.flatten(1).double()
    want = (flat - flat.mean(1, keepdim=True)) / flat.std(1, correction=0, keepdim=True)
    check.equal(normalize_windows(batch), want.float().view_as(batch), tolerance=1e-4)
    check.equal(normalize_windows(torch.full((2, 1, 3, 3), 0.5)), torch.zeros(2, 1, 3, 3))


def template(weights):
    """A classifier that multiplies every window with the same weights."""
    return lambda batch: (batch * weights).sum((1, 2, 3))


with check.hidden("scores against the library", points=3):
    for c, h, w, k, s in ((1, 20, 31, 6, 5), (3, 17, 9, 4, 2), (2, 8, 30, 8, 3)):
        image = torch.rand(c, h, w, generator=generator)
        classify = template(torch.randn(c, k, k, generator=generator))
        net = spy(classify)
        want = windows.score_map(image, classify, k, s, normalize=True)
        check.equal(score_map(image, net, k, s), want, tolerance=1e-3)
        check.equal(net.shapes, [(want.numel(), c, k, k)])
with check.hidden("a classifier that returns a column", points=1):
    image = torch.rand(1, 9, 12, generator=generator)
    column = spy(lambda batch: batch[:, 0, :1, 0])
    check.equal(list(score_map(image, column, 3, 2).shape), [4, 5])
with check.hidden("brighter light changes nothing", points=2):
    image = torch.rand(1, 12, 15, generator=generator)
    first = spy(lambda batch: batch[:, 0, 1, 2])
    check.equal(
        score_map(3 * image + 2, first, 4, 3), score_map(image, first, 4, 3), tolerance=1e-3
    )
with check.hidden("image and windows are left alone", points=1):
    check.unchanged(cut_windows, torch.rand(1, 6, 7), 3, 2)
    check.unchanged(normalize_windows, torch.rand(4, 1, 3, 3))
    check.unchanged(score_map, torch.rand(1, 6, 7), spy(lambda b: b.sum((1, 2, 3))), 3, 2)
### END HIDDEN TESTS
check.score()

# %% exercise="1.2" role="picture"
plots.compare(
    yours=lambda: score_map(grey(example), disc_likeness, 12, 2),
    expected=windows.score_map(grey(example), disc_likeness, 12, 2, normalize=True),
    exercise="1.2",
    title="Correlation of every window with a small bright disc",
)

# %% [markdown] exercise="1.2" role="see"
# One bright spot for each shape that is about as large as the window, and rings around larger ones:
# a classifier of one size is blind to all others. The difference stays below 0.0001.

# %% [markdown] exercise="1.2" role="think" points=10
# **Think.** The lecture's first route to a class for *every pixel* puts a window around
# each. Take an image of 480 × 640 pixels and windows of 24 × 24. How many classifier calls are that
# with a step of 1, and how many with disjoint fragments? What does each choice do to the border
# between sheep and grass? And what do two windows that are one pixel apart compute twice? Three to
# five sentences with numbers.
#
# ### BEGIN SOLUTION
# Step 1: 457 × 617 = 281,969 calls (307,200 if the border is mirrored). Fragments: 20 × 26 = 520.
# With fragments all 576 pixels of one get the same label, so the border is a staircase with steps of
# 24 pixels; with step 1 every pixel gets its own label, and near the border it depends on which side
# fills more of the window. Neighbouring windows share 23 of 24 columns, 96 percent of their pixels,
# and nearly all their convolutions, which are computed anew each time. That waste is what Labs 3, 5
# and 7 remove. Full marks: both counts, the staircase, the shared 96 percent.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 1.3 One window, all sizes

# %% [markdown] exercise="1.3" role="idea"
# The classifier knows objects of one size. So shrink the image: an object of 24 pixels becomes one of
# 12 on some level. Level $i$ of an image of $L$ pixels has
#
# $$L_i = \operatorname{round}(L \cdot c^{\,i}), \qquad x_{\text{image}} = x_{\text{level}} \cdot \frac{L}{L_i},$$
#
# with $c$ about 0.8. Each level is made from the *image*, not from the level before, or rounding and
# blur add up. Boxes go back by the sizes that were really used, one factor for x, another for y. All
# levels together cost about $1/(1-c^2)$ times the first.
# [Rowley et al. 1998, §2.1, where c = 1/1.2; Dalal and Triggs 2005, §6]

# %% exercise="1.3" role="look"
levels = windows.image_pyramid(grey(example), 0.7, 12)
wall = torch.ones(height, sum(level.image.shape[2] + 4 for level in levels))
left = 0
for level in levels:
    h, w = level.image.shape[1:]
    wall[:h, left : left + w] = level.image[0]
    left += w + 4
plots.show_images(
    [wall], [" → ".join(f"{lv.image.shape[1]}×{lv.image.shape[2]}" for lv in levels)],
    title="A pyramid with c = 0.7: the window of 12 pixels fits another shape on each level",
)  # fmt: skip

# %% [markdown] exercise="1.3" role="contract" title="Down the pyramid and back" minutes=25
# - `image_pyramid`: image `(C, H, W)` → list of levels `(C, H_i, W_i)`, the image itself first, as long
#   as the *shorter* side has at least `min_size` pixels.
# - Every level from the image: `F.interpolate(…, mode="bilinear", antialias=True)`;
#   `torchvision.transforms` is forbidden.
# - `to_image_coords`: boxes `(N, 4)` in pixels of a level, and the `(H, W)` of level and image → boxes in
#   pixels of the image. The whole level becomes the whole image.

# %% [markdown] exercise="1.3" role="hints"
# 1. Write the sizes of the levels on paper for 25 × 30 pixels and c = 0.7. Which is the last one?
# 2. Compute both sides from the image and `scale**i`, test them, then resample. `F.interpolate` wants
#    a batch axis: `image[None]`. For the boxes: does x belong to the height or to the width?
# 3. `size = (round(h * scale**i), round(w * scale**i))`, starting with i = 0


# %% exercise="1.3" role="gap"
def image_pyramid(image: Tensor, scale: float, min_size: int) -> list[Tensor]:
    """Levels (C, H_i, W_i) of an image (C, H, W), from large to small.

    Worked number: 50 × 77 pixels, scale 0.5, min_size 12: 50 × 77, 25 × 38, 12 × 19.
    """
    ### BEGIN SOLUTION
    h, w = image.shape[1:]
    levels: list[Tensor] = []
    size = (h, w)
    while min(size) >= min_size:
        resized = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
        levels.append(resized if levels else image)
        size = (round(h * scale ** len(levels)), round(w * scale ** len(levels)))
    return levels
    ### END SOLUTION


def to_image_coords(found: Tensor, level: tuple[int, int], image: tuple[int, int]) -> Tensor:
    """Boxes (N, 4) on a level of size (H_i, W_i), in pixels of the image of size (H, W).

    Worked number: (0, 5, 38, 25) on a level of 25 × 38 is (0, 10, 77, 50) in 50 × 77 pixels.
    """
    ### BEGIN SOLUTION
    down, right = image[0] / level[0], image[1] / level[1]
    return found * torch.tensor([right, down, right, down])
    ### END SOLUTION


# %% exercise="1.3" role="check"
check = Exercise("1.3", points=15, forbid=["course.windows", "torchvision.transforms"])

image = torch.rand(1, 25, 30, generator=torch.Generator().manual_seed(3))
with check("25 × 30 pixels, c = 0.7, down to 12", points=1):
    check.equal(
        [tuple(level.shape[1:]) for level in image_pyramid(image, 0.7, 12)],
        [(25, 30), (18, 21), (12, 15)],
        mistakes={
            "Rounding adds up: compute every size from the image.": [(25, 30), (18, 21), (13, 15)],
            "Round to the nearest number of pixels, do not cut off.": [(25, 30), (17, 21), (12, 14)],
            "A level whose shorter side is exactly min_size belongs in.": [(25, 30), (18, 21)],
            "The first level is the image itself.": [(18, 21), (12, 15)],
            "One level too many: stop before a side falls below min_size.": [
                (25, 30), (18, 21), (12, 15), (9, 10),
            ],
            "`interpolate` takes (height, width), in this order.": [(25, 30), (21, 18), (15, 12)],
        },
    )  # fmt: skip
with check("the shorter side decides", points=1):
    check.equal(
        [tuple(level.shape) for level in image_pyramid(torch.ones(2, 24, 60), 0.5, 12)],
        [(2, 24, 60), (2, 12, 30)],
        mistakes={
            "Stop when the *shorter* side is too small for the window.": [
                (2, 24, 60), (2, 12, 30), (2, 6, 15),
            ],
        },
    )  # fmt: skip
with check("from 25 × 38 back to 50 × 77 pixels", points=2):
    check.equal(
        to_image_coords(torch.tensor([[0.0, 5, 38, 25], [19, 0, 20, 1]]), (25, 38), (50, 77)),
        torch.tensor([[0, 10, 77, 50], [38.5, 0, 40.5263, 2]]),
        tolerance=1e-4,
        mistakes={
            "Going back to the larger image multiplies; you divide.": torch.tensor(
                [[0, 2.5, 18.7532, 12.5], [9.3766, 0, 9.8701, 0.5]]
            ),
            "x goes with the width, y with the height: they are swapped.": torch.tensor(
                [[0, 10.1316, 76, 50.6579], [38, 0, 40, 2.0263]]
            ),
            "One factor for both axes is not enough: sizes were rounded.": torch.tensor(
                [[0, 10, 76, 50], [38.0, 0, 40, 2]]
            ),
        },
    )
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(13)
with check.hidden("levels against the library", points=4):
    for c, h, w, factor, least in ((1, 48, 53, 0.7, 12), (3, 61, 40, 0.83, 9), (2, 33, 97, 0.6, 5)):
        image = torch.rand(c, h, w, generator=generator)
        want = [level.image for level in windows.image_pyramid(image, factor, least)]
        check.equal(image_pyramid(image, factor, least), want, tolerance=1e-4)
with check.hidden("an image that is too small has no level", points=1):
    check.equal(image_pyramid(torch.rand(1, 11, 40), 0.8, 12), [])
    check.equal(len(image_pyramid(torch.rand(1, 12, 40), 0.8, 12)), 1)
with check.hidden("fine stripes are averaged, not sampled", points=1):
    stripes = (torch.arange(60) % 2).float().expand(1, 45, 60)
    half = image_pyramid(stripes, 0.34, 10)[-1]
    check.true(float((half - 0.5).abs().max()) < 0.2, "A level shows aliasing: antialias=True.")
with check.hidden("corners of levels become corners of the image", points=2):
    for h, w in ((31, 57), (80, 24)):
        image = torch.rand(1, h, w, generator=generator)
        for i in range(1, 4):
            small = (round(h * 0.8**i), round(w * 0.8**i))
            whole = torch.tensor([[0.0, 0.0, small[1], small[0]]])
            check.equal(to_image_coords(whole, small, (h, w)), torch.tensor([[0.0, 0.0, w, h]]))
with check.hidden("random boxes, none, and the argument left alone", points=2):
    found = 20 * torch.rand(7, 4, generator=generator)
    factors = torch.tensor([91 / 33, 40 / 15, 91 / 33, 40 / 15])
    check.equal(to_image_coords(found, (15, 33), (40, 91)), found * factors, tolerance=1e-4)
    check.equal(to_image_coords(torch.zeros(0, 4), (15, 33), (40, 91)), torch.zeros(0, 4))
    check.unchanged(to_image_coords, found, (15, 33), (40, 91))
    check.unchanged(image_pyramid, torch.rand(1, 20, 24), 0.7, 6)
with check.hidden("large to small, in both directions", points=1):
    check.equal(
        to_image_coords(torch.tensor([[10.0, 20, 30, 40]]), (50, 60), (5, 30)),
        torch.tensor([[5.0, 2, 15, 4]]),
    )
### END HIDDEN TESTS
check.score()

# %% exercise="1.3" role="picture"
plots.compare(
    yours=lambda: image_pyramid(grey(example), 0.6, 12)[2],
    expected=windows.image_pyramid(grey(example), 0.6, 12)[2].image,
    exercise="1.3",
    title="Level 2 of the pyramid with c = 0.6: 26 × 35 of 72 × 96 pixels",
)

# %% [markdown] exercise="1.3" role="see"
# The scene at 36 percent of its size, smooth because the filter averages about three pixels into
# one. The difference stays below 0.0001.

# %% [markdown] exercise="1.3" role="think"
# **Think.** With $c = 0.8$ and a window that must overlap the object with an IoU of at least 0.5, which
# object sizes could fall between two levels?
#
# ### BEGIN SOLUTION
# None by scale alone: the worst size lies between two levels, where the window is larger or smaller
# by √0.8, and the IoU of two centred squares is then 0.8. The position adds its share: half a stride
# of 1 pixel on 12 in x and y leaves an IoU of about 0.7. Both together stay above 0.5. With c = 0.5
# the scale alone costs half of it.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 1.4 One box per object

# %% [markdown] exercise="1.4" role="idea"
# A good classifier likes not one window on an object but all that cover it well, on several levels.
# *Greedy non-maximum suppression* keeps the best-scored box, removes everything that overlaps it too
# much, and repeats with what is left:
#
# $$\text{keep } i \iff \text{no kept } j \text{ with a higher score has } \operatorname{IoU}(i,j) > t .$$
#
# Overlap is measured as intersection over union,
# $\operatorname{IoU} = |a\cap b| \,/\, |a\cup b|$, which you will write in Lab 2; here `box_iou` is
# given. Note the word *kept*: a removed box removes nothing.
# [Rowley et al. 1998, §2.2; Felzenszwalb et al. 2010, §7]

# %% exercise="1.4" role="look"
pile = torch.tensor([[29.0, 12, 52, 35], [35, 13, 58, 36], [44, 14, 67, 37], [12, 43, 24, 56]])
belief = torch.tensor([0.9, 0.8, 0.7, 0.6])
plots.show_boxes(
    grey(example),
    pile,
    scores=belief,
    title="Which boxes stay at a threshold of 0.3? The IoU of 0.9 and 0.8 is 0.55, "
    "of 0.8 and 0.7 0.41,\nof 0.9 and 0.7 0.19",
)

# %% [markdown] exercise="1.4" role="contract" title="Non-maximum suppression" minutes=25
# - `candidates`: `(N, 4)` boxes; `scores`: `(N,)`; `threshold`: a box goes if it overlaps a kept one by
#   **more** than this.
# - Result: int64 **indices into `candidates`**, best score first; among equal scores the earlier box
#   comes first. No boxes, no indices.
# - Arguments stay as they are. `box_iou(a, b)` gives `(N, M)`. Ready-made suppression
#   (`torchvision.ops`) is forbidden.

# %% [markdown] exercise="1.4" role="hints"
# 1. Sort once. Then the first of the list is always kept. What may stay in the list after that?
# 2. Loop while the list of waiting indices is not empty: take its head, compare it with all others
#    at once, keep those whose overlap is not above the threshold.
# 3. `order = scores.argsort(descending=True, stable=True)`


# %% exercise="1.4" role="gap"
def nms(candidates: Tensor, scores: Tensor, threshold: float) -> Tensor:
    """Indices of the boxes (N, 4) that greedy suppression keeps, best score (N,) first.

    Worked number: two boxes with IoU 0.6 and scores 0.7, 0.9 give [1] at 0.5 and [1, 0] at 0.6.
    """
    ### BEGIN SOLUTION
    order = scores.argsort(descending=True, stable=True)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        overlap = box_iou(candidates[best][None], candidates[order])[0]
        order = order[overlap <= threshold]
    return torch.tensor(kept, dtype=torch.int64)
    ### END SOLUTION


# %% exercise="1.4" role="check"
check = Exercise("1.4", points=16, forbid=["course.boxes.suppression", "torchvision.ops"])

chain = torch.tensor(
    [[0.0, 0, 10, 8], [6, 0, 16, 8], [12, 0, 22, 8], [30, 2, 40, 6], [31, 2, 40, 6]]
)
with check("a chain of three boxes and a pair apart", points=2):
    check.equal(
        nms(chain, torch.tensor([0.7, 0.8, 0.9, 0.5, 0.6]), 0.2),
        torch.tensor([2, 0, 4]),
        mistakes={
            "A removed box removes nothing: box 0 only overlaps box 1, which is gone.": (
                torch.tensor([2, 4])
            ),
            "You start with the lowest score: sort from high to low.": torch.tensor([3, 0, 2]),
            "Those are places in the sorted list: return indices into `candidates`.": torch.tensor(
                [0, 2, 3]
            ),
            "Right boxes, wrong order: best score first.": torch.tensor([0, 2, 4]),
            "Return indices, not a mask.": torch.tensor([True, False, True, False, True]),
            "Only the very best box removes others: repeat with what is left.": torch.tensor(
                [2, 0, 4, 3]
            ),
            "Return the indices of the boxes, not the boxes.": chain[[2, 0, 4]],
        },
    )
with check("a box exactly at the threshold stays", points=1):
    check.equal(
        nms(torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5]]), torch.tensor([0.9, 0.8]), 0.5),
        torch.tensor([0, 1]),
        mistakes={
            "IoU is exactly 0.5 here: only *more* than the threshold goes.": torch.tensor([0])
        },
        dtype=True,
    )
with check("no + 1 in areas, and no boxes at all", points=1):
    check.equal(
        nms(torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2]]), torch.tensor([0.9, 0.8]), 0.4),
        torch.tensor([0, 1]),
        mistakes={
            "The IoU is 1/3, below 0.4. Do you add 1 to widths and heights?": torch.tensor([0]),
        },
    )
    check.equal(nms(torch.zeros(0, 4), torch.zeros(0), 0.5), torch.zeros(0).long())
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(14)


def random_boxes(n):
    low = torch.rand(n, 2, generator=generator) * torch.tensor([40.0, 25.0])
    return torch.cat([low, low + 2 + 14 * torch.rand(n, 2, generator=generator)], dim=1)


with check.hidden("crowds of boxes against the library", points=5):
    for n, t in ((30, 0.5), (60, 0.25), (90, 0.125), (40, 0.75)):
        crowd, scores = random_boxes(n), torch.rand(n, generator=generator)
        check.equal(nms(crowd.clone(), scores.clone(), t), boxes.nms(crowd, scores, t))
with check.hidden("equal scores: the earlier box", points=2):
    check.equal(
        nms(torch.tensor([[3.0, 1, 9, 4]] * 4), torch.full((4,), 0.5), 0.5), torch.tensor([0])
    )
    apart = torch.tensor([[9.0, 0, 12, 3], [0, 0, 3, 3], [4, 0, 7, 3]])
    check.equal(nms(apart, torch.tensor([0.5, 0.7, 0.5]), 0.5), torch.tensor([1, 0, 2]))
with check.hidden("thresholds 0 and 1", points=1):
    crowd, scores = random_boxes(25), torch.rand(25, generator=generator)
    check.equal(nms(crowd.clone(), scores.clone(), 1.0), scores.argsort(descending=True))
    check.equal(nms(crowd.clone(), scores.clone(), 0.0), boxes.nms(crowd, scores, 0.0))
with check.hidden("scores of any size and sign", points=2):
    crowd, scores = random_boxes(40), 30 * torch.randn(40, generator=generator) - 20
    check.equal(nms(crowd.clone(), scores.clone(), 0.25), boxes.nms(crowd, scores, 0.25))
with check.hidden("boxes and scores are left alone; int64", points=2):
    crowd, scores = random_boxes(12), torch.rand(12, generator=generator)
    check.unchanged(nms, crowd, scores, 0.25)
    check.equal(
        nms(crowd.clone(), scores.clone(), 0.25), boxes.nms(crowd, scores, 0.25), dtype=True
    )
    check.equal(nms(torch.zeros(0, 4), torch.zeros(0), 0.5), torch.zeros(0).long(), dtype=True)
### END HIDDEN TESTS
check.score()


# %% exercise="1.4" role="picture"
def coverage(found: Tensor) -> Tensor:
    """How many boxes (N, 4) cover each pixel of the image: (H, W)."""
    count = torch.zeros(height, width)
    for x0, y0, x1, y1 in found.int().tolist():
        count[y0:y1, x0:x1] += 1
    return count


plots.compare(
    yours=lambda: coverage(pile[nms(pile, belief, 0.3)]),
    expected=coverage(pile[boxes.nms(pile, belief, 0.3)]),
    exercise="1.4",
    title="How many of the boxes that stay cover each pixel",
)

# %% [markdown] exercise="1.4" role="see"
# Three boxes stay. The one with 0.8 goes, because it overlaps the best by 0.55. The one with 0.7
# stays: it overlaps the best by only 0.19, and its rival with 0.8 is gone. The difference is 0.

# %% [markdown] exercise="1.4" role="think"
# **Think.** Two discs stand so close that their boxes overlap by 0.45. What happens to them at a
# threshold of 0.3, what at 0.6, and what else changes at 0.6?
#
# ### BEGIN SOLUTION
# At 0.3 the better one removes the other: one disc is lost. At 0.6 both stay, but so do second boxes
# on single discs that overlap the best one by 0.3 to 0.6. One threshold cannot be right for both.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 1.5 Learn from the worst mistakes

# %% [markdown] exercise="1.5" role="idea"
# An image holds thousands of windows and a handful of objects. Which of the others should the
# classifier train on? Random ones are mostly plain background, which it knows after a minute. So
# train once on random windows, run over the training images, and collect the background windows that
# it likes most, the *hard negatives*:
#
# $$H = \operatorname{top}_k \{\, s_i : y_i = 0 \,\},$$
#
# where $s$ are scores and $y$ labels. Add them and train again. Windows that cover an object only in
# part are neither object nor background; they carry the label $-1$ and teach nothing.
# [Dalal and Triggs 2005, §4; Felzenszwalb et al. 2010, §4.4]

# %% exercise="1.5" role="look"
small = windows.image_pyramid(grey(example), 0.8, 12)[3].image
likeness = windows.score_map(small, disc_likeness, 12, 2, normalize=True).flatten()
everything = small.unfold(1, 12, 2).unfold(2, 12, 2).reshape(-1, 1, 12, 12)
some = torch.cat([torch.arange(40, 200, 40), likeness.argsort(descending=True)[:12:3]])
plots.show_images(
    everything[some],
    [f"{value:.2f}" for value in likeness[some].tolist()],
    title="Correlation with a disc: four windows at random, four of the best",
)

# %% [markdown] exercise="1.5" role="contract" title="Hard negatives" minutes=10
# - `scores`: `(N,)`, high where the classifier sees an object.
# - `labels`: `(N,)` int64; 0 is background, everything else (1, 2, …, and −1 for "do not use") is not.
# - Result: int64 indices into `scores` of the `k` best-scored background windows, best first, equal
#   scores in order; all of them if there are fewer than `k`.

# %% [markdown] exercise="1.5" role="hints"
# 1. Two steps: who is background, and in which order? The result must point into the full list.
# 2. Get the indices of the background first, sort *their* scores, and use the order to pick from these
#    indices.
# 3. `background = (labels == 0).nonzero().flatten()`


# %% exercise="1.5" role="gap"
def hard_negatives(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """Indices of the k background windows (label 0) with the highest scores (N,).

    Worked number: scores 0.9 0.2 0.7 0.4, labels 1 0 0 0, k = 2 give [2, 3].
    """
    ### BEGIN SOLUTION
    background = (labels == 0).nonzero().flatten()
    order = scores[background].argsort(descending=True, stable=True)
    return background[order[:k]]
    ### END SOLUTION


# %% exercise="1.5" role="check"
check = Exercise("1.5", points=8, forbid=["course.windows"])

with check("two of six windows", points=1):
    check.equal(
        hard_negatives(
            torch.tensor([0.9, 0.4, 0.2, 0.7, 0.3, 0.5]), torch.tensor([1, 0, 0, 0, 2, 0]), 2
        ),
        torch.tensor([3, 5]),
        mistakes={
            "Those are objects that the classifier misses: take background windows.": torch.tensor(
                [4, 0]
            ),
            "Labels are not used: objects are no negatives.": torch.tensor([0, 3]),
            "Those are the easy ones: the hard ones have the highest scores.": torch.tensor([2, 1]),
            "Those point into the list of background windows, not into all.": torch.tensor([2, 3]),
            "Right windows, wrong order: best score first.": torch.tensor([5, 3]),
            "Return indices, not scores.": torch.tensor([0.7, 0.5]),
        },
    )
with check("windows with label −1 are left out", points=1):
    check.equal(
        hard_negatives(torch.tensor([0.8, 0.6, 0.4, 0.9]), torch.tensor([-1, 0, 0, 1]), 5),
        torch.tensor([1, 2]),
        mistakes={
            "Label −1 means 'do not use': only 0 is background.": torch.tensor([0, 1, 2]),
            "There are only two background windows: return fewer than k.": torch.tensor(
                [1, 2, 0, 3]
            ),
        },
    )
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(15)
with check.hidden("many windows against the library", points=3):
    for n, k in ((50, 7), (200, 40), (33, 33)):
        scores = torch.randn(n, generator=generator)
        labels = torch.randint(-1, 3, (n,), generator=generator)
        check.equal(hard_negatives(scores, labels, k), windows.hard_negatives(scores, labels, k))
with check.hidden("equal scores in order", points=1):
    scores = torch.tensor([0.5, 0.1, 0.5, 0.5, 0.9])
    check.equal(hard_negatives(scores, torch.tensor([0, 0, 1, 0, 0]), 3), torch.tensor([4, 0, 3]))
with check.hidden("no background, or none wanted", points=1):
    check.equal(hard_negatives(torch.rand(3), torch.tensor([1, -1, 2]), 4), torch.zeros(0).long())
    check.equal(hard_negatives(torch.rand(3), torch.tensor([0, 0, 0]), 0), torch.zeros(0).long())
with check.hidden("scores are left alone; int64", points=1):
    scores, labels = torch.randn(9, generator=generator), torch.tensor([0, 1, 0] * 3)
    check.unchanged(hard_negatives, scores, labels, 3)
    check.equal(
        hard_negatives(scores, labels, 3), windows.hard_negatives(scores, labels, 3), dtype=True
    )
### END HIDDEN TESTS
check.score()

# %% exercise="1.5" role="picture"
plots.compare_values(
    yours=lambda: likeness[hard_negatives(likeness, (likeness > 0.6).long(), 40)],
    expected=likeness[windows.hard_negatives(likeness, (likeness > 0.6).long(), 40)],
    exercise="1.5",
    title="The 40 hardest windows among those with a correlation up to 0.6",
    xlabel="rank",
    ylabel="correlation with a disc",
)

# %% [markdown] exercise="1.5" role="see"
# A falling curve that starts at 0.57: the four windows above 0.6 count as objects and are left out.
# The look above shows what stands at the top of such a list: a square that looks more like a disc
# (0.74) than the disc itself (0.55), and a disc that is too large for the window.

# %% [markdown] exercise="1.5" role="think"
# **Think.** What would happen if windows that cover a disc by half counted as background?
#
# ### BEGIN SOLUTION
# They would be the hardest negatives of all: they show most of a disc. Training on them pulls the
# scores of true discs down, and the classifier becomes timid. Hence the label −1.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 1.6 A cascade: think twice only where it pays


# %% role="setup"
def contrast(batch: Tensor) -> Tensor:
    """The cheap test (N,): mean of the middle 6 × 6 of each 12 × 12 window less that of its rim."""
    inner = batch[:, :, window // 4 : -(window // 4), window // 4 : -(window // 4)]
    total, count = batch.sum((1, 2, 3)), batch[0].numel()
    return inner.mean((1, 2, 3)) - (total - inner.sum((1, 2, 3))) / (count - inner[0].numel())


# %% [markdown] exercise="1.6" role="idea"
# Nearly all windows are boring, and a glance is enough to see it. So a *cheap* test looks at every
# window, and the network only at those that pass. The threshold of the cheap test is chosen on
# training windows so that nearly all objects pass; that many windows without an object pass too is
# no harm. With $N$ windows, costs $c_1 \ll c_2$ and a share $p$ that passes, the cost falls from $N c_2$ to
#
# $$N\,(c_1 + p\,c_2) .$$
#
# The famous face detector has 38 such stages, and computes about 10 of more than 6000
# features for an average window. [Viola and Jones 2001, §4 and §5]


# %% exercise="1.6" role="look"
glance = windows.score_map(grey(example), contrast, window, 1)
plots.heat(
    glance, title="Contrast of every window of the first level: most of the image is out at once"
)

# %% [markdown] exercise="1.6" role="contract" title="Two stages" minutes=20
# - `stage_threshold(scores, keep)`: the **greatest of the scores** such that at least ⌈keep · N⌉ of the N
#   scores are not below it.
# - `cascade(batch, cheap, costly, threshold)`: `(N, C, h, w)` → `(N,)` scores: `costly`'s where `cheap` is at
#   least `threshold`, `-inf` elsewhere.
# - `cheap` is called once with all windows, `costly` at most once, with the survivors only, and not at
#   all if there are none.

# %% [markdown] exercise="1.6" role="hints"
# 1. Sort the scores from high to low: how many must pass, and which is the last of them?
# 2. Start with a result full of `-inf` and fill in the places of the survivors: a boolean mask on the
#    left of `=` does that.
# 3. `wanted = math.ceil(keep * len(scores))`, and `passed = cheap(batch) >= threshold`


# %% exercise="1.6" role="gap"
def stage_threshold(scores: Tensor, keep: float) -> float:
    """The greatest score that at least the share `keep` of all scores (N,) reaches.

    Worked number: of 0.1 0.9 0.4 0.6, keep = 0.75 gives 0.4.
    """
    ### BEGIN SOLUTION
    wanted = math.ceil(keep * len(scores) - 1e-6)  # 0.55 * 100 is a hair above 55
    return float(scores.sort(descending=True).values[wanted - 1])
    ### END SOLUTION


def cascade(
    batch: Tensor,
    cheap: Callable[[Tensor], Tensor],
    costly: Callable[[Tensor], Tensor],
    threshold: float,
) -> Tensor:
    """Scores (N,) of windows (N, C, h, w): `costly`'s where `cheap` reaches the threshold, or -inf.

    Worked number: cheap 1 5 2 4, threshold 4: costly sees windows 1 and 3 only.
    """
    ### BEGIN SOLUTION
    passed = cheap(batch) >= threshold
    scores = torch.full((len(batch),), -math.inf)
    if passed.any():
        scores[passed] = costly(batch[passed])
    return scores
    ### END SOLUTION


# %% exercise="1.6" role="check"
check = Exercise("1.6", points=12)

never = -math.inf
stack = torch.tensor([1.0, 5, 2, 4, 3, 6]).reshape(6, 1, 1, 1).expand(6, 1, 2, 3).clone()
with check("four of five must pass", points=1):
    check.equal(
        stage_threshold(torch.tensor([0.5, 1.0, 0.25, 0.625, 0.75]), 0.8),
        0.5,
        mistakes={
            "That lets all five pass: the fourth from the top is enough.": 0.25,
            "Only three of five reach that.": 0.625,
            "Sort from high to low: nearly all must *reach* the threshold.": 1.0,
            "That is a number between two scores: return one of the scores.": 0.45,
            "That is the share keep of the range of scores, not of their number.": 0.85,
        },
    )
    check.equal(
        stage_threshold(torch.tensor([3.0, 1.0, 2.0]), 0.5),
        2.0,
        mistakes={"Half of three is 1.5: round up, or too few pass.": 3.0},
    )
with check("scores where the cheap test passes, -inf elsewhere", points=1):
    glance, look = spy(lambda b: b.amax((1, 2, 3))), spy(lambda b: 10 * b[:, 0, 0, 0])
    check.equal(
        cascade(stack, glance, look, 4),
        torch.tensor([never, 50, never, 40, never, 60]),
        mistakes={
            "A window exactly at the threshold passes.": torch.tensor(
                [never, 50, never, never, never, 60]
            ),
            "Rejected windows get -inf: 0 could still be a good score.": torch.tensor(
                [0.0, 50, 0, 40, 0, 60]
            ),
            "One score for every window: keep the places.": torch.tensor([50.0, 40, 60]),
            "Rejected windows get -inf, not the score of the cheap test.": torch.tensor(
                [1.0, 50, 2, 40, 3, 60]
            ),
            "The test is the wrong way round: the high ones pass.": torch.tensor(
                [10.0, never, 20, 40, 30, never]
            ),
            "The scores are in the wrong places.": torch.tensor(
                [50.0, 40, 60, never, never, never]
            ),
            "Return the costly classifier's scores, not the cheap ones.": torch.tensor(
                [never, 5, never, 4, never, 6]
            ),
        },
    )
with check("the costly classifier sees the survivors only", points=1):
    glance, look = spy(lambda b: b.amax((1, 2, 3))), spy(lambda b: 10 * b[:, 0, 0, 0])
    cascade(stack, glance, look, 4)
    check.true(
        look.shapes == [(3, 1, 2, 3)],
        "The cascade must save calls: cut out the survivors before you call `costly`, once.",
        f"expected one call with 3 windows, the calls had the shapes {look.shapes}",
    )
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(16)
with check.hidden("thresholds against the definition", points=3):
    for n, keep in ((40, 0.875), (64, 0.5), (16, 0.9375), (7, 0.3), (20, 1.0)):
        scores = torch.randn(n, generator=generator)
        got = stage_threshold(scores, keep)
        shares = [float((scores >= s).float().mean()) for s in scores]
        right = max(float(s) for s, share in zip(scores, shares) if share >= keep - 1e-6)
        check.equal(got, right)
with check.hidden("one score, equal scores", points=1):
    check.equal(stage_threshold(torch.tensor([2.5]), 0.9), 2.5)
    check.equal(stage_threshold(torch.tensor([1.0, 1.0, 3.0, 1.0]), 0.75), 1.0)
with check.hidden("no survivors: no call", points=2):
    glance, look = spy(lambda b: b.amax((1, 2, 3))), spy(lambda b: b[:, 0, 0, 0])
    check.equal(cascade(stack, glance, look, 99), torch.full((6,), never))
    check.equal((glance.count, look.count), (1, 0))
with check.hidden("random windows: scores and calls", points=2):
    for n, t in ((30, 0.3), (50, -0.4), (20, 9.0), (10, -9.0)):
        batch = torch.randn(n, 2, 3, 4, generator=generator)
        glance, look = spy(lambda b: b[:, 0, 1, 1]), spy(lambda b: b.sum((1, 2, 3)))
        want = torch.where(batch[:, 0, 1, 1] >= t, batch.sum((1, 2, 3)), never)
        check.equal(cascade(batch, glance, look, t), want)
        check.equal(sum(shape[0] for shape in look.shapes), int((want > never).sum()))
with check.hidden("windows are left alone", points=1):
    half = spy(lambda b: b[:, 0, 0, 0])
    check.unchanged(cascade, stack, half, half, 3)
### END HIDDEN TESTS
check.score()

# %% exercise="1.6" role="picture"
cut = grey(example).unfold(1, 12, 2).unfold(2, 12, 2)[0]  # (rows, cols, 12, 12)
level = cut.reshape(-1, 1, 12, 12)


def toy(batch: Tensor) -> Tensor:
    """The disc pattern again, with the normalisation inside."""
    return disc_likeness(F.layer_norm(batch, batch.shape[1:]))


plots.compare(
    yours=lambda: cascade(level, contrast, toy, 0.05).reshape(cut.shape[:2]),
    expected=torch.where(contrast(level) < 0.05, never, toy(level)).reshape(cut.shape[:2]),
    exercise="1.6",
    title="Scores after the cascade; windows in red were never shown to the classifier",
)

# %% [markdown] exercise="1.6" role="see"
# Of 31 × 43 windows 1112 are rejected: the classifier sees 221, one in six. The middle of the large disc
# is rejected as well, since a window inside it has no contrast; a smaller level will find that disc.

# %% [markdown] exercise="1.6" role="think" points=10
# **Think.** Answer after the experiment at the end. Let $c_1 = 144$ additions, $c_2 = 51{,}984$
# multiply-accumulates, and $p$ the share of windows that you measured. By how much does the cascade cut
# the *calls*, and by how much the whole arithmetic? Why is the factor not larger here, and for which
# images would it vanish? Say what you would do if one disc in twenty were darker than its
# surroundings. Three to five sentences.
#
# ### BEGIN SOLUTION
# With p about 1/6 the calls fall by a factor of 6, the arithmetic by 51,984 / (144 + 51,984 / 6), about 5.9:
# the glance is almost free. The factor is not larger because everything that has contrast passes:
# the rim of every square and triangle, on every level. In an image full of objects or texture p goes
# to 1, and the cascade costs a little more than it saves. A dark disc has negative contrast, so the
# glance would reject it and no network could bring it back: one disc in twenty would be lost. Use
# |contrast|, or a second cheap test, and choose its threshold on windows that include dark discs.
# Full marks: both factors, what passes, when it vanishes, and that a cascade cannot repair its own
# first stage.
# ### END SOLUTION

# %% [markdown]
# ---
# ## The experiment: a detector out of your functions
#
# First the bill. Your `image_pyramid` and your `window_grid` say how many windows a photograph of
# 480 × 640 pixels has, for a window of 24.

# %% role="experiment"
with attempt("1.1 and 1.3"):
    photo = torch.zeros(1, 480, 640)
    one, all_scales = [], []
    for s in (4, 2, 1):
        counts = [len(window_grid(*lv.shape[1:], 24, s)) for lv in image_pyramid(photo, 0.8, 24)]
        one.append(counts[0])
        all_scales.append(sum(counts))
    plots.bars(
        ["stride 4", "stride 2", "stride 1"],
        {"one scale": one, f"all {len(counts)} scales": all_scales},
        title="Calls of the classifier for one image of 480 × 640 pixels",
        ylabel="windows",
    ).show()

# %% [markdown]
# Now the detector. A small network learns to tell discs from everything else, first from random
# background windows, then also from the hard negatives that your function finds. Then it scans new
# images, with and without the cascade in front. Each seed has its own images and its own weights.


# %% role="setup"
class WindowNet(nn.Module):
    """Disc or not: one logit (N,) for normalised windows (N, 1, 12, 12)."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(16 * (window // 4) ** 2, 1)),
        )

    def forward(self, batch: Tensor) -> Tensor:
        return self.body(batch).squeeze(1)


def all_windows(image):
    """Windows (N, 1, 12, 12) of all levels of an image, and their boxes (N, 4) in the image."""
    cut, found = [], []
    for level in image_pyramid(image, scale, window):
        here = tuple(level.shape[1:])
        cut.append(cut_windows(level, window, stride))
        grid = window_grid(*here, window, stride)
        found.append(to_image_coords(grid, here, tuple(image.shape[1:])))
    return torch.cat(cut), torch.cat(found)


def window_labels(found, truth):
    """1 where a window fits a disc (IoU 0.6 and more), 0 below 0.4, -1 between."""
    best = box_iou(found, truth).amax(1) if len(truth) else torch.zeros(len(found))
    return torch.where(best >= 0.6, 1, torch.where(best < 0.4, 0, -1))


def train(cut, labels, seed):
    """A network trained on these windows."""
    samples = [
        {"image": image, "disc": (label == 1).float()}
        for image, label in zip(normalize_windows(cut), labels)
    ]
    torch.manual_seed(seed)
    net = WindowNet()
    training.fit(
        net,
        samples,
        lambda logits, batch: F.binary_cross_entropy_with_logits(logits, batch["disc"]),
        steps=steps,
        batch_size=64,
        lr=1e-2,
        schedule=training.poly_lr,
        seed=seed,
        device="cpu",
        progress=False,
    )
    return net.eval()


def plain(net):
    """The network on every window."""
    return lambda batch: net(normalize_windows(batch))


def with_cascade(net, threshold):
    """The network on the windows with enough contrast."""
    return lambda batch: cascade(batch, contrast, plain(net), threshold)


def detect(cut, found, score):
    """Boxes after suppression, best first."""
    scores = score(cut)
    sure = scores > 0  # more likely a disc than not
    return found[sure][nms(found[sure], scores[sure], 0.3)]


@torch.no_grad()
def evaluate(test, score):
    """Discs found, discs in all, false alarms per image."""
    hits, total, alarms = 0, 0, 0
    for (cut, found), truth in test:
        overlap = box_iou(detect(cut, found, score), truth)
        total += len(truth)
        hits += int((overlap >= 0.5).any(0).sum())
        alarms += int((overlap < 0.5).all(1).sum())
    return hits, total, alarms / len(test)


def scan(seed):
    """Windows and their boxes for new images, with the true boxes of the discs."""
    return [(all_windows(grey(sample)), discs(sample)) for sample in scenes(images, seed)]


# %% role="experiment"
names = ["random background", "and hard negatives", "and the cascade"]
results, rows = {}, []
with attempt("1.1 to 1.6"):
    for seed in seeds:
        train_set, test_set = scan(1000 + seed), scan(2000 + seed)
        cut = torch.cat([part for (part, _), _ in train_set])
        labels = torch.cat([window_labels(found, truth) for (_, found), truth in train_set])

        dice = torch.rand(len(cut), generator=torch.Generator().manual_seed(seed))
        any_background = hard_negatives(dice, labels, 1000)  # scores that mean nothing
        chosen = torch.cat([(labels == 1).nonzero().flatten(), any_background])
        first = train(cut[chosen], labels[chosen], seed)
        with torch.no_grad():
            suspicion = plain(first)(cut)
        chosen = torch.cat([chosen, hard_negatives(suspicion, labels, 1000)])
        second = train(cut[chosen], labels[chosen], seed)

        threshold = stage_threshold(contrast(cut[labels == 1]), 0.98)
        for name, net in zip(names, (spy(first), spy(second), spy(second))):
            score = with_cascade(net, threshold) if name == names[2] else plain(net)
            hits, total, alarms = evaluate(test_set, score)
            calls = sum(shape[0] for shape in net.shapes)
            results[seed, name] = {"hits": hits, "alarms": alarms, "calls": calls}
            rows.append([seed, name, f"{hits} of {total}", f"{alarms:.2f}", f"{calls:,}"])
head = ["seed", "trained on", "discs found", "false alarms per image", "windows the network saw"]
plots.table(head, rows, title=f"{images} test images per seed")

# %% role="experiment"
if results:
    sample = max(scenes(images, 2000 + seeds[-1]), key=lambda sample: len(discs(sample)))
    with torch.no_grad():
        level = image_pyramid(grey(sample), scale, window)[1]
        belief = torch.sigmoid(score_map(level, second, window, stride))
        cut, found = all_windows(grey(sample))
        before = found[plain(second)(cut) > 0]
        after = detect(cut, found, plain(second))
    plots.heat(belief, title="How sure the network is of a disc, at each window of level 1").show()
    plots.show_boxes(
        grey(sample),
        {"candidate": before},
        title=f"Before suppression: {len(before)} windows with a score above 0",
    ).show()
    plots.show_boxes(
        grey(sample),
        {"found": after, "truth": discs(sample)},
        title=f"After suppression: {len(after)} boxes for {len(discs(sample))} discs",
    ).show()

# %% role="experiment"
if results:
    calls = {n: [results[seed, n]["calls"] / images for seed in seeds] for n in names[1:]}
    plots.bars(
        ["without cascade", "with cascade"],
        [sum(c) / len(seeds) for c in calls.values()],
        [(max(c) - min(c)) / 2 for c in calls.values()],
        title=f"Windows per image that the network looks at; {len(seeds)} seeds, half their range",
        ylabel="windows",
    ).show()
    saved = [a / b for a, b in zip(calls[names[1]], calls[names[2]])]
    lost = [results[s, names[1]]["hits"] - results[s, names[2]]["hits"] for s in seeds]
    left = [results[s, names[1]]["alarms"] / (results[s, names[0]]["alarms"] or 1) for s in seeds]
    cost = geometry.count_macs(WindowNet(), (1, 1, window, window))
    print(f"One look costs {cost:,} multiply-accumulates, one glance {window**2} additions.")
    print(f"Calls saved by the cascade: {', '.join(f'÷ {r:.1f}' for r in saved)};", end=" ")
    print(f"discs lost: {', '.join(map(str, lost))}.")
    print(f"False alarms left after hard negatives: {', '.join(f'{m:.0%}' for m in left)}.")
    if steps >= 250 and len(seeds) >= 3 and (images, window, stride, scale) == (30, 12, 2, 0.8):
        assert min(saved) > 4, "the cascade should save three calls of four and more: see 1.6"
        assert max(lost) <= 1, "and it should lose no disc worth mentioning: see 1.6"
        assert max(left) < 0.5, "hard negatives should remove half of the false alarms: see 1.5"
        claim(
            1,
            "A cheap first stage saves most calls of the classifier at equal recall.",
            quantity="calls without cascade over calls with it, same seed",
            paper="Viola and Jones 2001, §4: about 10 of more than 6000 features per window",
            values=saved,
            at_least=4,
        ).show()

# %% [markdown]
# **What you should see.** The network that was trained on random background finds every disc, and
# about seven other things per image: corners of squares, halves of discs. Hard negatives remove more
# than half of these false alarms in every run (here 80 % and more) and no disc is lost. The cascade
# then shows the network 484 to 550 of 3,059 windows per image, about six times fewer, and finds the
# same discs. The grid itself has no such trick: at stride 1 and 14 scales one photograph of
# 480 × 640 pixels asks for 736,269 calls. Labs 3, 5 and 7 share the work between windows instead.
#
# | | papers | here |
# |---|---|---|
# | windows | 20 × 20 pixels (Rowley), 24 × 24 (Viola and Jones) | 12 × 12 pixels |
# | pyramid | factor 1.2 per level | factor 1.25 |
# | cascade | 38 stages of boosted features, trained one after the other | one contrast feature before a network |
# | effect | about 10 of more than 6000 features for an average window | one window in six reaches the network |
# | training on mistakes | one round, on images without people (Dalal and Triggs) | one round, 1000 windows |

# %% [markdown]
# **The ladder.** Every lab of the course adds one bar to the same figure, measured on the same images of thin lines
# and discs. This is the rung of a classifier of windows; the labs that follow climb from here.

# %% role="experiment"
ladder.picture(lab=1)

# %% [markdown]
# **Going on.** Set `stride = 4` in the parameter cell: a quarter of the windows, and discs get lost, most of them
# by the training on hard negatives. Count the windows with label 1 to see why, and mend it. Replace the
# contrast by the two-rectangle feature of Viola and Jones, Figure 1A. Give the network four classes and
# write the winner of each window into an image: the lecture's first segmentation.
#
# **Reading.** Rowley, Baluja, Kanade 1998, §2, for the whole pipeline of this
# lab in 1998. Viola and Jones 2001, §2 (features and the integral image) and §4 (the cascade). Dalal and
# Triggs 2005, §4 and §6, on hard negatives and the choice of stride and scale. Sermanet et al. 2014,
# *OverFeat*, [arXiv:1312.6229](https://arxiv.org/abs/1312.6229), §3.5, for windows that share their
# convolutions: Lab 5 builds it. Bodla et al. 2017, *Soft-NMS*,
# [arXiv:1704.04503](https://arxiv.org/abs/1704.04503), §3, for suppression that lowers scores instead
# of removing boxes.
