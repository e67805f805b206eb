# %% [markdown]
# # Lab 3 · Region proposals: from R-CNN to Fast R-CNN
#
# [[exercises]]
#
# **You will be able to**
# - move a proposal onto its object by four numbers, and learn these numbers;
# - choose which proposals a detector learns from;
# - cut any box out of a feature map and bring it to one size;
# - count what it saves to run the convolutions once per image instead of once per box.
#
# **Papers.** R. Girshick, J. Donahue, T. Darrell, J. Malik, *Rich Feature Hierarchies for Accurate
# Object Detection and Semantic Segmentation*, CVPR 2014,
# [arXiv:1311.2524](https://arxiv.org/abs/1311.2524): read §2 and appendix C. R. Girshick, *Fast
# R-CNN*, ICCV 2015, [arXiv:1504.08083](https://arxiv.org/abs/1504.08083): read §2.
#
# **From before.** Sliding windows and non-maximum suppression (Lab 1), intersection over union and
# a network with two heads (Lab 2). Run every cell from top to bottom. A check cell never stops the
# notebook: it says what it expected, what came, and the usual cause.

# %% tags=["parameters"]
dataset = "boxes"  # made on the spot; "bccd" and "pennfudan" are read from COURSE_DATA
method = "windows"  # "segments" follows the colours of the image
device = "cpu"  # "cuda" where there is one
steps = 150  # training steps per run; 2000 and more for the real sets
frame = (48, 64)  # height and width of the images, pixels; (144, 192) for the real sets
maps = 12  # maps of the first convolution; 64 in Fast R-CNN
seeds = [0, 1, 2]

# %% role="setup"
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course import boxes as reference
from course import data, geometry, ladder, plots, proposals, training
from course.boxes import batched_nms, box_iou, mean_average_precision, nms
from course.checks import Exercise, attempt, gradients, spy
from course.claims import claim
from course.models.fast_rcnn import fast_rcnn_loss as reference_loss

# %% [markdown]
# ## The picture of this lab
#
# How many objects are in an image? Unknown, so a network with a fixed output cannot list them.
# R-CNN's answer: let somebody else **propose** boxes, far too many and without knowing any class,
# and ask the network about each of them. Proposals come from a fixed grid of windows, or from
# segments of similar colour that are merged step by step, as selective search does. Most are wrong;
# what counts is that every object is covered by *one*.


# %% role="setup"
def load(name, train, test):
    """Two lists of samples whose images have the size `frame`; boxes in pixels of that size."""
    if name == "boxes":
        return list(data.boxes(train, frame, seed=1)), list(data.boxes(test, frame, seed=2))
    reader = {"bccd": data.BCCD, "pennfudan": data.PennFudan}[name]
    return tuple([shrink(sample) for sample in reader(split=part)] for part in ("train", "test"))


def shrink(sample):
    """Bring an image to the size `frame`, and its boxes with it."""
    image = sample["image"]
    small = F.interpolate(image[None], frame, mode="bilinear", antialias=True)[0]
    factors = torch.tensor([frame[1] / image.shape[-1], frame[0] / image.shape[-2]]).repeat(2)
    return {"image": small, "boxes": sample["boxes"] * factors, "labels": sample["labels"]}


def propose(image, how=method):
    """Boxes (N, 4) that may hold an object."""
    if how == "windows":
        return proposals.window_proposals(frame, scales=(0.25, 0.4))
    return proposals.segment_proposals(image)[:300]


def painted(image, boxes, zoom=2):
    """The image, darker and enlarged, with the outlines of boxes painted into it."""
    big = 0.6 * image.repeat_interleave(zoom, 1).repeat_interleave(zoom, 2)
    limit = torch.tensor([big.shape[2], big.shape[1]]).repeat(2) - 1
    for x0, y0, x1, y1 in (zoom * boxes).long().clamp(min=0).minimum(limit).tolist():
        big[:, y0 : y1 + 1, [x0, x1]] = 1.0
        big[:, [y0, y1], x0 : x1 + 1] = 1.0
    return big


train, test = load(dataset, 160, 60)
classes = 1 + max(int(s["labels"].max()) for s in train)  # 0 is background
scene = train[3]
ways = {how: propose(scene["image"], how) for how in ("windows", "segments")}
closest = {
    f"best of {len(rows)} {how}": rows[box_iou(rows, scene["boxes"]).argmax(0)]
    for how, rows in ways.items()
}
plots.show_boxes(
    scene["image"],
    {"object": scene["boxes"], **closest},
    title="Two ways to propose boxes without knowing what an object is",
)

# %% [markdown]
# ## See it move
#
# The lecture's moving picture of this lab: predict, then drag. `uv run course lectures open 3` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("roi_pooling")

# %% [markdown]
# ---
# ## 3.1 Four numbers that move a box

# %% [markdown] exercise="3.1" role="idea"
# A proposal is only roughly right. R-CNN learns to correct it, and the correction must not depend
# on the scale of the image or on the place of the box. With centre and size of the proposal $(P_x,
# P_y, P_w, P_h)$ and of the object $(G_x, G_y, G_w, G_h)$ the network learns
#
# $$t = \Big(\frac{G_x - P_x}{P_w},\; \frac{G_y - P_y}{P_h},\; \ln\frac{G_w}{P_w},\;
# \ln\frac{G_h}{P_h}\Big).$$
#
# Shifts are measured in sizes of the *proposal*, which is known at test time; the object is not. A
# logarithm makes "twice as wide" and "half as wide" equally far, and its inverse can never give a
# negative width. [Girshick et al. 2014, appendix C, equations 6–9]

# %% exercise="3.1" role="look"
plots.show_boxes(
    torch.full((3, 80, 100), 0.92),
    {"object": torch.tensor([[40.0, 36, 70, 56]]), "proposal": torch.tensor([[40.0, 30, 60, 70]])},
    title="A quarter of its width to the right, a tenth of its height up, wider, flatter",
)

# %% [markdown] exercise="3.1" role="contract" title="Encode and decode" minutes=20
# - `boxes`, `anchors`: `(N, 4)` corners of objects and of their proposals, row by row; `t`: `(N,
#   4)`.
# - `encode(boxes, anchors)` gives t; `decode(t, anchors)` gives corners, and undoes `encode`.
# - Widths are `x1 - x0`, without `+ 1`. Gradients must flow through both.

# %% [markdown] exercise="3.1" role="hints"
# 1. Write both boxes as centre and size first; in the end go back to corners.
# 2. Decoding solves the four equations for G: shift the centre by `t * size` of the *anchor*,
#    multiply its size by `exp(t)`.
# 3. `size = anchors[:, 2:] - anchors[:, :2]`


# %% exercise="3.1" role="gap"
def encode(boxes: Tensor, anchors: Tensor) -> Tensor:
    """Corrections t (N, 4) that move `anchors` onto `boxes`.

    Worked number: (40, 30, 60, 70) onto (40, 36, 70, 56) is (0.25, -0.1, ln 1.5, ln 0.5).
    """
    ### BEGIN SOLUTION
    size, goal = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:]) / 2 - (anchors[:, :2] + anchors[:, 2:]) / 2
    return torch.cat([shift / size, (goal / size).log()], 1)
    ### END SOLUTION


def decode(t: Tensor, anchors: Tensor) -> Tensor:
    """Corners (N, 4) of the boxes that corrections t make of `anchors`.

    Worked number: (0.5, 0, 0, 0) moves (40, 30, 60, 70) to (50, 30, 70, 70).
    """
    ### BEGIN SOLUTION
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + t[:, :2] * size
    half = size * t[:, 2:].exp() / 2
    return torch.cat([centre - half, centre + half], 1)
    ### END SOLUTION


# %% exercise="3.1" role="check"
check = Exercise("3.1", points=14, forbid=["course.boxes", "course.models"])

start, goal = torch.tensor([[40.0, 30, 60, 70]]), torch.tensor([[40.0, 36, 70, 56]])
wider, flatter = math.log(1.5), math.log(0.5)
with check("the box of the picture", points=1):
    check.equal(
        encode(goal, start),
        torch.tensor([[0.25, -0.1, wider, flatter]]),
        mistakes={
            "Divide by the size of the proposal, not of the object.": torch.tensor(
                [[5 / 30, -4 / 20, wider, flatter]]
            ),
            "Sizes need the logarithm of their ratio.": torch.tensor([[0.25, -0.1, 1.5, 0.5]]),
            "Shifts are between centres, not between corners.": torch.tensor(
                [[0, 0.15, wider, flatter]]
            ),
            "Width and height are swapped: x is divided by the width.": torch.tensor(
                [[5 / 40, -4 / 20, wider, flatter]]
            ),
            "The roles are swapped: t moves the anchors onto the boxes.": torch.tensor(
                [[-5 / 30, 4 / 20, -wider, -flatter]]
            ),
            "Shifts are in pixels: divide by the size of the proposal.": torch.tensor(
                [[5, -4, wider, flatter]]
            ),
        },
    )
with check("and back", points=2):
    t = torch.tensor([[0.1, -0.2, wider, flatter]])
    check.equal(
        decode(t, start),
        torch.tensor([[37.0, 32, 67, 52]]),
        mistakes={
            "Shift by sizes of the proposal; you use the new size.": torch.tensor(
                [[38.0, 36, 68, 56]]
            ),
            "The inverse of the logarithm is missing: multiply the size by exp(t).": torch.tensor(
                [[52 - 10 * wider, 42 - 20 * flatter, 52 + 10 * wider, 42 + 20 * flatter]]
            ),
            "Return corners (x0, y0, x1, y1), not centre and size.": torch.tensor(
                [[52.0, 42, 30, 20]]
            ),
            "Shifts move the centre, not the corner.": torch.tensor([[42.0, 22, 72, 42]]),
            "The new size is taken on both sides of the centre: half of it belongs there.": (
                torch.tensor([[22.0, 22, 82, 62]])
            ),
        },
    )
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(31)


def random_boxes(n, span=60.0, least=4.0):
    """`n` boxes of different shapes."""
    corner = torch.rand(n, 2, generator=generator) * span
    return torch.cat([corner, corner + least + torch.rand(n, 2, generator=generator) * 30], 1)


with check.hidden("random boxes, encoded", points=4):
    for n in (1, 7, 40):
        some, other = random_boxes(n), random_boxes(n)
        check.equal(encode(some, other), reference.encode(some, other))
with check.hidden("random corrections, decoded", points=4):
    for n in (1, 7, 40):
        some, t = random_boxes(n), torch.randn(n, 4, generator=generator) * 0.5
        check.equal(decode(t, some), reference.decode(t, some), tolerance=1e-4)
with check.hidden("one undoes the other", points=1):
    some, other = random_boxes(20), random_boxes(20)
    check.equal(decode(encode(some, other), other), some, tolerance=1e-4)
with check.hidden("no boxes, and the boxes are left alone", points=1):
    none = torch.zeros(0, 4)
    check.equal(encode(none, none), none)
    check.equal(decode(none, none), none)
    check.unchanged(encode, goal, start)
    check.unchanged(decode, t, start)
with check.hidden("gradients", points=1):
    leaf = t.clone().requires_grad_(True)
    reference.decode(leaf, start).sum().backward()
    check.equal(gradients(decode, t, start)[0], leaf.grad, tolerance=1e-4)
### END HIDDEN TESTS
check.score()

# %% exercise="3.1" role="picture"
path = torch.linspace(0, 1, 6)[:, None] * torch.tensor([[0.25, -0.1, wider, flatter]])
plots.compare(
    yours=lambda: painted(torch.zeros(3, 80, 100), decode(path, start.repeat(6, 1))),
    expected=painted(torch.zeros(3, 80, 100), reference.decode(path, start.repeat(6, 1))),
    title="From the proposal to the object, a fifth of the correction at a time",
)

# %% [markdown] exercise="3.1" role="see"
# Six boxes: the tall proposal, the flat object, and four between them, evenly spread. The
# correction is a path, and half of it is half of the way. The difference is 0.

# %% [markdown] exercise="3.1" role="think"
# **Think.** R-CNN learns corrections only from proposals whose overlap with the object exceeds 0.6.
# Why not from all?
#
# ### BEGIN SOLUTION
# A proposal far from the object shows little of it, so its picture does not tell where the object
# is, and the target is arbitrary. Close to 0 the mapping from picture to correction is also nearly
# linear, which a ridge regression can learn.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 3.2 What is foreground?

# %% [markdown] exercise="3.2" role="idea"
# A detector learns from labelled boxes, but nobody labels proposals. So the overlap decides, with
# two thresholds: a proposal is
#
# $$\text{foreground if } \max_j \text{IoU} \ge hi,\quad \text{background if } \max_j \text{IoU} < lo,
# \quad \text{else ignored.}$$
#
# Between the thresholds lie boxes that show half an object; calling them either way would teach
# contradictions. One more rule saves small objects: if no proposal reaches *hi* for an object, its
# best one counts as foreground all the same, or the object would never be learnt. [Girshick 2015,
# §2.3; Ren et al. 2015, §3.1.2 for the last rule]

# %% exercise="3.2" role="look"
best = torch.cat([box_iou(propose(s["image"]), s["boxes"]).amax(1) for s in train[:20]])
edges = torch.arange(0, 1.01, 0.1)
plots.bars(
    [f"{a:.1f}" for a in edges[:-1]],
    [int(((best >= a) & (best < b)).sum()) for a, b in zip(edges, edges[1:])],
    title="Best overlap of the proposals of 20 images: nearly all are background",
    xlabel="IoU from",
    ylabel="proposals",
)

# %% [markdown] exercise="3.2" role="contract" title="Label the proposals" minutes=25
# - `proposals`: `(N, 4)`; `gt`: `(M, 4)`, M may be 0: then everything is background.
# - Result: `labels` `(N,)` int64: 1 foreground, 0 background, −1 ignored; `matches` `(N,)` int64:
#   the object with the highest overlap, −1 where not foreground.
# - The best proposals of an object are foreground (all, if several are equally good), unless they
#   do not touch it. `box_iou` is there for you; `torchvision.models` is forbidden.

# %% [markdown] exercise="3.2" role="hints"
# 1. One matrix of overlaps `(N, M)`; its maximum along one axis is "best object of each proposal",
#    along the other "best proposal of each object".
# 2. Start with −1 everywhere, then write 0, then 1, then the rescued ones. An object that nobody
#    touches has its "best" everywhere, at 0.
# 3. `best, matches = overlaps.max(dim=1)`


# %% exercise="3.2" role="gap"
def assign(proposals: Tensor, gt: Tensor, hi: float, lo: float) -> tuple[Tensor, Tensor]:
    """Labels (N,) and matched objects (N,) of the proposals.

    Worked number: overlaps 0.9, 0.6 and 0 with one object, hi = 0.7, lo = 0.3 give [1, -1, 0].
    """
    ### BEGIN SOLUTION
    labels = torch.full((len(proposals),), -1)
    if not len(gt) or not len(proposals):
        return torch.zeros_like(labels), labels
    overlaps = box_iou(proposals, gt)
    best, matches = overlaps.max(dim=1)
    labels[best < lo] = 0
    labels[best >= hi] = 1
    top = overlaps.max(dim=0).values
    labels[((overlaps == top) & (top > 0)).any(1)] = 1
    return labels, torch.where(labels == 1, matches, -1)
    ### END SOLUTION


# %% exercise="3.2" role="check"
check = Exercise(
    "3.2", points=14, forbid=["course.models", "course.boxes.assign", "torchvision.models"]
)

gt = torch.tensor([[0.0, 0, 10, 8], [20, 0, 30, 10]])
rows = torch.tensor(
    [
        [50.0, 50, 60, 70],  # touches nothing
        [0, 0, 10, 4],  # 0.5 with object 0
        [0, 0, 10, 3],  # 0.375
        [0, 0, 10, 7],  # 0.875
        [20, 0, 30, 4],  # 0.4 with object 1, the best it has
        [20, 5, 30, 7.5],  # 0.25
    ]
)
with check("six proposals, hi = 0.5, lo = 0.25", points=2):
    check.equal(
        assign(rows, gt, 0.5, 0.25)[0],
        torch.tensor([0, 1, -1, 1, 1, -1]),
        mistakes={
            "Object 1 has no foreground: its best proposal counts, whatever its overlap.": (
                torch.tensor([0, 1, -1, 1, -1, -1])
            ),
            "Boxes between the thresholds are ignored (-1), not background.": torch.tensor(
                [0, 1, 0, 1, 1, 0]
            ),
            "Every proposal with an overlap of at least hi counts, of exactly hi too, not only the "
            "best one of each object.": torch.tensor([0, -1, -1, 1, 1, -1]),
            "An overlap of exactly lo is not below lo: compare with <.": torch.tensor(
                [0, 1, -1, 1, 1, 0]
            ),
            "Boxes between the thresholds are ignored, not foreground.": torch.tensor(
                [0, 1, 1, 1, 1, 1]
            ),
        },
    )
with check("which object", points=1):
    check.equal(
        assign(rows, gt, 0.5, 0.25)[1],
        torch.tensor([-1, 0, -1, 0, 1, -1]),
        mistakes={
            "Only foreground has an object: the others get -1.": torch.tensor([0, 0, 0, 0, 1, 1]),
            "Only foreground has an object: the ignored ones get -1 too.": torch.tensor(
                [-1, 0, 0, 0, 1, 1]
            ),
            "Background gets -1, not 0, which is an object.": torch.tensor([0, 0, 0, 0, 1, 0]),
        },
    )
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(32)


def scattered(n):
    """`n` boxes, many of which overlap."""
    corner = torch.rand(n, 2, generator=generator) * 30
    return torch.cat([corner, corner + 5 + torch.rand(n, 2, generator=generator) * 12], 1)


with check.hidden("random scenes: labels", points=4):
    for n, m, hi, lo in ((30, 3, 0.5, 0.5), (80, 6, 0.7, 0.3), (5, 1, 0.9, 0.1)):
        some, objects = scattered(n), scattered(m)
        found, wanted = assign(some, objects, hi, lo), reference.assign(some, objects, hi, lo)
        check.equal(found[0], wanted[0])
with check.hidden("random scenes: objects", points=2):
    for n, m, hi, lo in ((30, 3, 0.5, 0.5), (80, 6, 0.7, 0.3), (5, 1, 0.9, 0.1)):
        some, objects = scattered(n), scattered(m)
        found, wanted = assign(some, objects, hi, lo), reference.assign(some, objects, hi, lo)
        check.equal(found[1], wanted[1])
with check.hidden("an object that nobody touches claims nobody", points=2):
    far = torch.cat([gt, torch.tensor([[90.0, 90, 99, 99]])])
    check.equal(assign(rows, far, 0.5, 0.25)[0], torch.tensor([0, 1, -1, 1, 1, -1]))
with check.hidden("several equally good proposals", points=1):
    twins = torch.tensor([[0.0, 0, 10, 2], [0, 2, 10, 4], [40, 0, 50, 1]])
    check.equal(assign(twins, gt[:1], 0.5, 0.3)[0], torch.tensor([1, 1, 0]))
with check.hidden("no objects, no proposals", points=1):
    none = torch.zeros(0, 4)
    labels, matches = assign(rows, none, 0.5, 0.25)
    check.equal(labels, torch.zeros(6, dtype=torch.int64), dtype=True)
    check.equal(matches, torch.full((6,), -1), dtype=True)
    check.equal(assign(none, gt, 0.5, 0.25)[0].shape, (0,))
with check.hidden("the boxes are left alone", points=1):
    check.unchanged(assign, rows, gt, 0.5, 0.25)
### END HIDDEN TESTS
check.score()

# %% exercise="3.2" role="picture"
offered = propose(scene["image"])
plots.compare_values(
    yours=lambda: assign(offered, scene["boxes"], 0.5, 0.3)[0],
    expected=reference.assign(offered, scene["boxes"], 0.5, 0.3)[0],
    title="Labels of the proposals of the image above (hi = 0.5, lo = 0.3)",
    xlabel="proposal",
    ylabel="label",
)

# %% [markdown] exercise="3.2" role="see"
# A line at 0 with teeth: of 301 proposals 12 are foreground, 38 are ignored, and 251 are
# background. The next exercise deals with this.

# %% [markdown] exercise="3.2" role="think"
# **Think.** Fast R-CNN sets $hi = 0.5$ and takes as background only $0.1 \le \text{IoU} < 0.5$. Why
# leave out the boxes that touch nothing at all, which are surely background?
#
# ### BEGIN SOLUTION
# They are easy and plentiful: sky, grass. Boxes that cut an object are the negatives that the
# classifier confuses with it; the lower bound 0.1 is a cheap way of mining hard ones (the paper
# says so in §2.3). The risk: background of a kind that is never near an object stays unseen.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 3.3 A fair batch

# %% [markdown] exercise="3.3" role="idea"
# Of two thousand proposals perhaps ten show an object. Trained on all, a network learns to say
# "background" and is right in 99 cases of 100. Fast R-CNN therefore draws a small batch from each
# image with a fixed share of foreground:
#
# $$n_{fg} = \min\big(\text{share} \cdot n,\; \text{available}\big), \qquad n_{bg} = n - n_{fg},$$
#
# with $n = 64$ and a share of one quarter. Where foreground is short, background fills up; no
# proposal is drawn twice. A draw must be repeatable: the seed is an argument. [Girshick 2015, §2.3,
# "Mini-batch sampling"]

# %% exercise="3.3" role="look"
available = [
    int((reference.assign(propose(s["image"]), s["boxes"], 0.5, 0.5)[0] == 1).sum())
    for s in train[:12]
]
plots.bars(
    [str(i) for i in range(12)],
    available,
    title="Foreground proposals in twelve images; a quarter of a batch of 64 would be 16",
    xlabel="image",
    ylabel="foreground",
)

# %% [markdown] exercise="3.3" role="contract" title="Sample regions" minutes=15
# - `labels`: `(N,)` of 1, 0 and −1; ignored ones are never drawn.
# - Result: `(n,)` or fewer indices into `labels`, foreground first, nothing twice. The wanted
#   number of foreground is `round(n * fg_fraction)`; background fills the rest.
# - The same `seed` gives the same draw. Make a `torch.Generator` of your own from it.

# %% [markdown] exercise="3.3" role="hints"
# 1. Two lists of indices; from each draw the right number without replacement.
# 2. The first k entries of a random permutation are k different random entries.
# 3. `generator = torch.Generator().manual_seed(seed)`


# %% exercise="3.3" role="gap"
def sample_rois(labels: Tensor, n: int, fg_fraction: float, seed: int) -> Tensor:
    """Indices (n,) of a batch with a fixed share of foreground, foreground first.

    Worked number: 3 foreground and 100 background, n = 64, share 0.25: 3 and 61 are drawn.
    """
    ### BEGIN SOLUTION
    generator = torch.Generator().manual_seed(seed)
    foreground, background = (labels == 1).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
    n_foreground = min(round(n * fg_fraction), len(foreground))
    order = torch.randperm(len(foreground), generator=generator)[:n_foreground]
    other = torch.randperm(len(background), generator=generator)[: n - n_foreground]
    return torch.cat([foreground[order], background[other]])
    ### END SOLUTION


# %% exercise="3.3" role="check"
check = Exercise("3.3", points=10, forbid=["course.boxes", "course.models"])

plenty = torch.tensor([1, 0, -1, 0, 0] * 60)  # 60 foreground, 180 background, 60 ignored
scarce = torch.tensor([1] * 3 + [-1] * 20 + [0] * 100)


def drawn(labels, index):
    """How many foreground, background and ignored ones were drawn, and how many different ones."""
    kinds = labels[index.long()]
    return [int((kinds == k).sum()) for k in (1, 0, -1)] + [len(set(index.tolist()))]


with check("a quarter of 64", points=1):
    check.equal(
        drawn(plenty, sample_rois(plenty, 64, 0.25, 7)),
        [16, 48, 0, 64],
        mistakes={
            "The share counts in the batch, not in what is available.": [15, 49, 0, 64],
            "The share is of the whole batch: 16 of 64.": [16, 64, 0, 80],
            "Foreground is not limited to its share.": [60, 4, 0, 64],
        },
    )
with check(
    "three foreground: 61 background fill up",
    points=1,
    hint="Nothing may be drawn twice, and nothing that is ignored; background fills the batch.",
):
    check.equal(
        drawn(scarce, sample_rois(scarce, 64, 0.25, 7)),
        [3, 61, 0, 64],
        mistakes={
            "Background must fill the batch when foreground is short.": [3, 48, 0, 51],
            "Foreground is drawn more than once.": [16, 48, 0, 51],
            "The share counts in the batch, not in what is available.": [1, 63, 0, 64],
            "The share counts in the batch, not in what is available. ": [0, 64, 0, 64],
        },
    )
with check("the seed decides, and only the seed", points=1):
    once, again, other = (sample_rois(plenty, 64, 0.25, s).tolist() for s in (7, 7, 8))
    check.true(
        once == again,
        "The same seed must give the same draw: use a torch.Generator made from it.",
    )
    check.true(sorted(once) != sorted(other), "Another seed must give another draw: is it random?")
### BEGIN HIDDEN TESTS
with check.hidden("shares and sizes", points=3):
    for n, share, want in (
        (10, 0.5, [5, 5, 0, 10]),
        (10, 0.0, [0, 10, 0, 10]),
        (10, 1.0, [10, 0, 0, 10]),
        (0, 0.25, [0, 0, 0, 0]),
        (1000, 0.25, [60, 180, 0, 240]),
        (100, 0.9, [60, 40, 0, 100]),
    ):
        check.equal(drawn(plenty, sample_rois(plenty, n, share, 3)), want)
with check.hidden("foreground first", points=1):
    kinds = plenty[sample_rois(plenty, 20, 0.5, 4)]
    check.equal(kinds, torch.tensor([1] * 10 + [0] * 10))
with check.hidden("every proposal has its turn", points=2):
    seen = torch.zeros(len(plenty))
    for s in range(60):
        seen[sample_rois(plenty, 64, 0.25, s).long()] += 1
    check.true(bool((seen[plenty == 1] > 2).all()), "Some foreground is hardly ever drawn.")
    check.true(bool((seen[plenty == 0] > 2).all()), "Some background is hardly ever drawn.")
with check.hidden("only one kind, and the labels are left alone", points=1):
    check.equal(
        drawn(plenty.clamp(max=0), sample_rois(plenty.clamp(max=0), 8, 0.5, 1)), [0, 8, 0, 8]
    )
    lone = torch.ones(5, dtype=torch.int64)
    check.equal(drawn(lone, sample_rois(lone, 8, 0.5, 1)), [4, 0, 0, 4])
    check.unchanged(sample_rois, plenty, 64, 0.25, 7)
### END HIDDEN TESTS
check.score()

# %% exercise="3.3" role="picture"
plots.compare_values(
    yours=lambda: [
        int(sample_rois(torch.tensor([1] * k + [0] * 90), 64, 0.25, k).lt(k).sum())
        for k in range(31)
    ],
    expected=[min(16, k) for k in range(31)],
    title="Foreground in a batch of 64 when there are 0 to 30",
    xlabel="foreground available",
    ylabel="foreground drawn",
)

# %% [markdown] exercise="3.3" role="see"
# The line rises one by one and stops at 16, a quarter of 64.

# %% [markdown] exercise="3.3" role="think"
# **Think.** The trained network has seen one foreground in four boxes; at test time it is one in
# two hundred. What does that do to its scores?
#
# ### BEGIN SOLUTION
# They are too high: the network has learnt a prior of one quarter, and its probabilities are
# calibrated for that. The order of the scores hardly changes, so average precision does not mind,
# but a fixed threshold such as 0.5 lets more false positives through than its value suggests.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 3.4 One map, many regions

# %% [markdown] exercise="3.4" role="idea"
# R-CNN warps every proposal to one square and runs the whole network on each. Fast R-CNN runs the
# convolutions **once** and lays the proposals on the feature map. Each becomes a grid of fixed size
# by **RoI max pooling**: scale the corners, round them to cells (half goes up), both ends included;
# of $n$ cells along an axis bin $i$ of $P$ takes
#
# $$\Big\lfloor \frac{i\,n}{P} \Big\rfloor \;\dots\; \Big\lceil \frac{(i+1)\,n}{P} \Big\rceil - 1 ,$$
#
# so that neighbouring bins overlap where $P$ does not divide $n$. The maximum of the bin is the
# output. [Girshick 2015, §2.1; the rounding is that of the released layer]

# %% exercise="3.4" role="look"
warped = [
    F.interpolate(
        scene["image"][None, :, int(y0) : int(y1), int(x0) : int(x1)], (32, 32), mode="bilinear"
    )[0]
    for x0, y0, x1, y1 in [*scene["boxes"].tolist(), *offered[5:230:45].tolist()][:6]
]
plots.show_images(
    warped,
    title="What R-CNN's network sees: every box warped to one square (objects first)",
    columns=3,
)

# %% [markdown] exercise="3.4" role="contract" title="RoI max pooling" minutes=35
# - `feature`: `(C, H, W)`; `boxes`: `(N, 4)` in image pixels, not negative, first and last pixel
#   included; `size`: bins (rows, columns); `scale`: cells per pixel. Result: `(N, C, *size)`.
# - A box covers at least one cell per axis. $n$ counts all cells from its first to its last corner,
#   **also those beyond the map**. Only then are cells outside the map left out of the maximum; a bin
#   with none left gives 0.
# - `pool_regions(net, image, boxes, …)`: `net` maps `(1, 3, H, W)` to `(1, C, h, w)` and is called
#   **once**.
# - Gradients flow; `adaptive_max_pool2d`, `torchvision.ops` and `course.boxes` are not allowed.

# %% [markdown] exercise="3.4" role="hints"
# 1. Rows and columns obey the same rule. Work out one axis with pencil and paper: n = 3, P = 2.
# 2. `(boxes * scale + 0.5).long()` rounds half up. `-(-a // b)` is a division that rounds up.
#    Collect the bins in a list and stack them at the end: writing into a ready tensor makes
#    gradients slow.
# 3. `for x0, y0, x1, y1 in (boxes * scale + 0.5).long().tolist():`


# %% exercise="3.4" role="gap"
def roi_max_pool(
    feature: Tensor, boxes: Tensor, size: tuple[int, int], scale: float = 1.0
) -> Tensor:
    """Maximum of every bin of every box, (N, C, rows, columns).

    Worked number: on the 4 × 4 map 0 … 15 the box (0, 0, 2, 2) and 2 × 2 bins give
    [[5, 6], [9, 10]]: three cells, bins of two that overlap.
    """
    ### BEGIN SOLUTION
    (rows, columns), C = size, len(feature)
    bins = [feature.new_zeros(0, C)]
    for x0, y0, x1, y1 in (boxes * scale + 0.5).long().tolist():
        h, w = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 - (-(i + 1) * h // rows)]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 - (-(j + 1) * w // columns)]
                value = cell.amax((1, 2)) if cell.numel() else feature.new_zeros(C)
                bins.append(value[None])
    return torch.cat(bins).reshape(-1, rows, columns, C).permute(0, 3, 1, 2)
    ### END SOLUTION


def pool_regions(
    net: Callable[[Tensor], Tensor],
    image: Tensor,
    boxes: Tensor,
    size: tuple[int, int],
    scale: float,
) -> Tensor:
    """Features (N, C, rows, columns) of all boxes of an image (3, H, W), by one pass of `net`."""
    ### BEGIN SOLUTION
    return roi_max_pool(net(image[None])[0], boxes, size, scale)
    ### END SOLUTION


# %% exercise="3.4" role="check"
check = Exercise(
    "3.4",
    points=18,
    forbid=[
        "course.boxes",
        "course.models",
        "torchvision.ops",
        "torch.nn.functional.adaptive_max_pool2d",
    ],
)

ramp = torch.arange(16.0).reshape(1, 4, 4)
with check("three cells in two bins", points=1):
    check.equal(
        roi_max_pool(ramp, torch.tensor([[0.0, 0, 2, 2]]), (2, 2)),
        torch.tensor([[[[5.0, 6], [9, 10]]]]),
        mistakes={
            "Bins overlap: the end of a bin is rounded up.": torch.tensor([[[[0.0, 2], [8, 10]]]]),
            "Cells are missing: both ends of a box are included, and a bin has all cells between "
            "its ends.": torch.tensor([[[[0.0, 1], [4, 5]]]]),
            "Take the maximum of a bin, not the mean.": torch.tensor([[[[2.5, 3.5], [6.5, 7.5]]]]),
        },
    )
long = torch.arange(24.0).reshape(1, 3, 8)
with check("a stride of 16, a map of 3 × 8, one row of two bins", points=1):
    check.equal(
        roi_max_pool(long, torch.tensor([[8.0, 0, 47, 31]]), (1, 2), 1 / 16),
        torch.tensor([[[[18.0, 19]]]]),
        mistakes={
            "8 / 16 = 0.5 is rounded to 0: torch.round takes the even neighbour; half goes up.": (
                torch.tensor([[[[17.0, 19]]]])
            ),
            "Corners are cut off instead of rounded.": torch.tensor([[[[9.0, 10]]]]),
            "size is (rows, columns): they are swapped.": torch.tensor([[[[11.0], [19.0]]]]),
            "The scale is missing: boxes are in pixels of the image.": torch.tensor([[[[0.0, 0]]]]),
            "x and y are swapped: columns are the last axis of the map.": torch.tensor(
                [[[[17.0, 18]]]]
            ),
        },
    )
with check("a box that leaves the map", points=1):
    check.equal(
        roi_max_pool(ramp, torch.tensor([[0.0, 0, 63, 63]]), (2, 2), 1 / 16),
        torch.tensor([[[[10.0, 11], [14, 15]]]]),
        mistakes={
            "Count n before you clip: 63 / 16 is cell 4, so n = 5; then drop the cells that are "
            "not there.": torch.tensor([[[[5.0, 7], [13, 15]]]]),
        },
    )


def stem(x):
    """A network in miniature: three maps at half the resolution."""
    return F.max_pool2d(x, 2)


with check("the lecture's shared map: one pass, then the regions", points=1):
    net = spy(stem)
    photo = torch.rand(3, 10, 14, generator=torch.Generator().manual_seed(3))
    some = torch.tensor([[0.0, 0, 7, 5], [2, 4, 13, 9], [6, 0, 9, 9]])
    got = pool_regions(net, photo, some, (2, 3), 0.5)
    check.true(
        net.count == 1,
        "Run the network once on the whole image; then lay the boxes on its map.",
        f"the network was called {net.count} times",
    )
    check.equal(net.shapes, [(1, 3, 10, 14)])
    check.equal(got, reference.roi_max_pool(stem(photo[None]), some, (2, 3), 0.5))
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(34)


def some_boxes(n, h, w):
    """`n` boxes of all sizes inside an image, first and last pixel."""
    a, b = torch.rand(2, n, 2, generator=generator) * torch.tensor([w - 1.0, h - 1.0])
    return torch.cat([torch.minimum(a, b), torch.maximum(a, b)], 1)


with check.hidden("random maps and boxes, against the library", points=6):
    for C, h, w, size, scale in (
        (2, 9, 13, (3, 3), 0.25),
        (1, 5, 7, (2, 5), 0.5),
        (4, 12, 6, (7, 7), 1 / 16),
    ):
        feature = torch.randn(C, h, w, generator=generator)
        some = some_boxes(12, h / scale, w / scale)
        check.equal(
            roi_max_pool(feature, some, size, scale),
            reference.roi_max_pool(feature[None], some, size, scale),
        )
with check.hidden("boxes that leave the map, and empty bins", points=3):
    feature = -1 - torch.rand(2, 4, 6, generator=generator)
    over = torch.tensor([[3.0, 2, 9, 7], [20, 0, 25, 3], [0, 0, 63, 63], [5, 3, 5, 3]])
    check.equal(
        roi_max_pool(feature, over, (3, 2)), reference.roi_max_pool(feature[None], over, (3, 2))
    )
with check.hidden("no boxes", points=1):
    check.equal(roi_max_pool(ramp, torch.zeros(0, 4), (2, 3)).shape, (0, 1, 2, 3))
with check.hidden("gradients go to the maxima", points=3):
    feature = torch.randn(2, 7, 9, generator=generator)
    some = some_boxes(6, 28, 36)
    leaf = feature.clone().requires_grad_(True)
    reference.roi_max_pool(leaf[None], some, (2, 3), 0.25).sum().backward()
    check.equal(gradients(roi_max_pool, feature, some, (2, 3), 0.25)[0], leaf.grad)
with check.hidden("one pass for many regions", points=1):
    net = spy(stem)
    pool_regions(net, torch.rand(3, 20, 12), some_boxes(50, 20, 12), (2, 2), 0.5)
    check.equal((net.count, net.shapes[0]), (1, (1, 3, 20, 12)))
### END HIDDEN TESTS
check.score()

# %% exercise="3.4" role="picture"
first = scene["boxes"][:1] - torch.tensor([0.0, 0, 1, 1])
plots.compare(
    yours=lambda: roi_max_pool(scene["image"], first, (7, 7))[0],
    expected=reference.roi_max_pool(scene["image"][None], first, 7)[0],
    title="The first object of the image, pooled to 7 × 7",
)

# %% [markdown] exercise="3.4" role="see"
# The object, coarse and a little too bright, because each bin keeps its brightest pixel per
# channel. The difference is 0.

# %% [markdown] exercise="3.4" role="think" points=10
# **Think (10 points).** Answer after the experiment at the end. With stride 16 a corner is rounded
# to a cell. By how many pixels of the image can a pooled region be off, what does that mean for an
# object of 24 pixels, and why does it hurt a segmentation of the object more than its
# classification? Three to five sentences.
#
# ### BEGIN SOLUTION
# Rounding moves a corner by up to half a cell, 8 pixels; the bins inside are rounded again. An
# object of 24 pixels is one and a half cells wide, so the region may lose or gain a third of it on
# either side. A class is still recognisable from a shifted view, and box regression repairs part of
# the place, but a mask asks for every pixel at its place and a shift of 8 pixels is an error along
# the whole outline. (Mask R-CNN replaced the rounding by interpolation, RoIAlign, for this reason.)
# Full marks: 8 pixels, one third of the object, class tolerant, mask not.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 3.5 Suppress, but within a class

# %% [markdown] exercise="3.5" role="idea"
# Every proposal near an object scores high, so each object is reported many times. Non-maximum
# suppression keeps the best box and drops what overlaps it by more than a threshold, but a rider
# does not remove a horse: two objects of *different* classes may share most of their pixels.
# Suppression therefore runs separately within each class $k$,
#
# $$\text{keep} = \bigcup_k \text{nms}\big(\{\, i : \text{label}_i = k \,\}\big),$$
#
# and the survivors of all classes are ranked together by score.
# [Girshick et al. 2014, §2.2, last sentence of the first paragraph]

# %% exercise="3.5" role="look"
plots.show_boxes(
    torch.full((3, 40, 70), 0.92),
    torch.tensor([[8.0, 4, 30, 36], [11, 10, 33, 36], [9, 17, 34, 38], [44, 10, 64, 30]]),
    labels=torch.tensor([1, 2, 1, 1]),
    scores=torch.tensor([0.6, 0.9, 0.8, 0.7]),
    class_names=("background", "rider", "horse"),
    title="Which of these should be left?",
)

# %% [markdown] exercise="3.5" role="contract" title="Suppression per class" minutes=15
# - `boxes`: `(N, 4)`, `scores`: `(N,)`, `labels`: `(N,)`, N may be 0; `iou`: threshold of Lab 1's
#   `nms`, which is there for you.
# - Result: indices of the survivors into `boxes`, int64, best score first, whatever their class.
# - `batched_nms` is not allowed.

# %% [markdown] exercise="3.5" role="hints"
# 1. For each class: which rows are its own? Suppress among them.
# 2. `nms` answers in positions of what you gave it; translate back with the list of rows.
# 3. `mine = (labels == label).nonzero()[:, 0]`


# %% exercise="3.5" role="gap"
def per_class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou: float) -> Tensor:
    """Indices of the boxes that survive suppression within their class, best score first.

    Worked number: two equal boxes of classes 1 and 2 both survive.
    """
    ### BEGIN SOLUTION
    kept = [labels.new_zeros(0)]
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        kept.append(mine[nms(boxes[mine], scores[mine], iou)])
    keep = torch.cat(kept)
    return keep[scores[keep].argsort(descending=True, stable=True)]
    ### END SOLUTION


# %% exercise="3.5" role="check"
check = Exercise(
    "3.5",
    points=10,
    forbid=["course.models", "course.boxes.batched_nms", "torchvision.ops.batched_nms"],
)

rows = torch.tensor([[30.0, 0, 50, 10], [0, 0, 10, 20], [1, 0, 11, 20], [0, 1, 10, 21]])
sure, kinds = torch.tensor([0.7, 0.6, 0.9, 0.8]), torch.tensor([1, 1, 2, 1])
with check("a rider on a horse", points=2):
    check.equal(
        per_class_nms(rows, sure, kinds, 0.5),
        torch.tensor([2, 3, 0]),
        mistakes={
            "A class removes another: suppress within each class.": torch.tensor([2, 0]),
            "Rank all classes together: best score first.": torch.tensor([3, 0, 2]),
            "Rank by score, not by place in the list.": torch.tensor([0, 2, 3]),
            "Nothing is suppressed: box 1 overlaps box 3 of its class.": torch.tensor([2, 3, 0, 1]),
            "nms answers in positions within the class: translate them back.": torch.tensor(
                [0, 2, 1]
            ),
            "nms answers in positions within the class: translate them back. ": torch.tensor(
                [0, 1, 2]
            ),
            "nms answers in positions within the class: translate them back.  ": torch.tensor(
                [2, 0, 0]
            ),
            "One box per class is too few: only overlapping ones go.": torch.tensor([2, 3]),
        },
    )
with check("no boxes, no survivors", points=1):
    nothing = torch.zeros(0, dtype=torch.int64)
    check.equal(per_class_nms(torch.zeros(0, 4), torch.zeros(0), nothing, 0.5), nothing)
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(35)
with check.hidden("random detections, against the library", points=5):
    for n, K, iou in ((1, 1, 0.5), (30, 2, 0.3), (120, 5, 0.5), (60, 30, 0.1)):
        corner = torch.rand(n, 2, generator=generator) * 25
        some = torch.cat([corner, corner + 6 + torch.rand(n, 2, generator=generator) * 14], 1)
        points = torch.randperm(n, generator=generator) / n
        label = torch.randint(1, K + 1, (n,), generator=generator)
        check.equal(per_class_nms(some, points, label, iou), batched_nms(some, points, label, iou))
with check.hidden("far coordinates do not mix classes", points=1):
    big = torch.tensor([[0.0, 0, 4000, 4000], [0, 0, 4000, 3990], [10, 10, 20, 20]])
    check.equal(
        per_class_nms(big, torch.tensor([0.5, 0.6, 0.7]), torch.tensor([3, 4, 3]), 0.5),
        torch.tensor([2, 1, 0]),
    )
with check.hidden("the detections are left alone", points=1):
    check.unchanged(per_class_nms, rows, sure, kinds, 0.5)
### END HIDDEN TESTS
check.score()

# %% exercise="3.5" role="picture"
crowd = scene["boxes"].repeat(6, 1) + 1.5 * torch.randn(
    6 * len(scene["boxes"]), 4, generator=torch.Generator().manual_seed(1)
)
marks = torch.rand(len(crowd), generator=torch.Generator().manual_seed(2))
names = scene["labels"].repeat(6)
plots.compare(
    yours=lambda: painted(scene["image"], crowd[per_class_nms(crowd, marks, names, 0.3)]),
    expected=painted(scene["image"], crowd[batched_nms(crowd, marks, names, 0.3)]),
    title=f"What is left of {len(crowd)} reports of {len(scene['boxes'])} objects",
)

# %% [markdown] exercise="3.5" role="see"
# One box is left on each object: the one with the highest score, which need not be the one that
# fits best.

# %% [markdown] exercise="3.5" role="think"
# **Think.** A common trick adds a large offset to the boxes of each class, `boxes + label * 10000`,
# and calls suppression once. Why does that work, and when does it not?
#
# ### BEGIN SOLUTION
# Boxes of different classes then lie far apart and cannot overlap, so one call treats them
# separately. It fails where coordinates are larger than the offset, and loses digits: with float32
# and an offset of 10,000 times 80 classes the place is only known to 1/16 of a pixel, and overlaps
# change.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 3.6 Two heads, one loss

# %% [markdown] exercise="3.6" role="idea"
# Fast R-CNN trains both heads at once. For a region of class $u$ (0 is background) with wanted
# correction $v$, with logits for the classes and one correction $t^k$ per class:
#
# $$L = -\log p_u + [u \ge 1] \sum_{i} s(t^u_i - v_i), \qquad
# s(x) = \begin{cases} x^2/2 & |x| < 1\\ |x| - \tfrac12 & \text{else.}\end{cases}$$
#
# Background has no box to learn. Only the correction of the *true* class counts; the others are
# left in peace. The smooth L1 loss grows linearly, so that one badly placed proposal does not
# outweigh all others. [Girshick 2015, §2.3, equations 1–3]

# %% exercise="3.6" role="look"
x = torch.linspace(-3, 3, 61)
plots.curves(
    {
        "x² / 2": (x, x**2 / 2),
        "|x|": (x, x.abs()),
        "smooth L1": (x, torch.where(x.abs() < 1, x**2 / 2, x.abs() - 0.5)),
    },
    title="A parabola at the bottom, straight lines outside",
    xlabel="error of a correction",
    ylabel="loss",
)

# %% [markdown] exercise="3.6" role="contract" title="The multi-task loss" minutes=20
# - `logits`: `(R, K)`; `corrections`: `(R, K, 4)`; `labels`: `(R,)` int64; `wanted`: `(R, 4)`.
# - Result: `(2,)`: cross-entropy, mean over all regions; box loss, summed over coordinates and
#   divided by the number of **all** regions R.
# - Without foreground the box loss is 0. `F.cross_entropy` is yours to use; `smooth_l1_loss` and
#   `huber_loss` are not.

# %% [markdown] exercise="3.6" role="hints"
# 1. Pick the rows that are foreground, then in each row the correction of its class.
# 2. Indexing with two lists picks one entry per pair: `corrections[rows, labels[rows]]` is `(F,
#    4)`.
# 3. `rows = labels.nonzero()[:, 0]`


# %% exercise="3.6" role="gap"
def detection_loss(logits: Tensor, corrections: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Class loss and box loss of R regions, (2,).

    Worked number: one foreground region with errors (0.5, 0, 0, 3) beside one background region:
    the box loss is (0.125 + 2.5) / 2 = 1.3125.
    """
    ### BEGIN SOLUTION
    rows = labels.nonzero()[:, 0]
    error = (corrections[rows, labels[rows]] - wanted[rows]).abs()
    smooth = torch.where(error < 1, error**2 / 2, error - 0.5)
    return torch.stack([F.cross_entropy(logits, labels), smooth.sum() / len(labels)])
    ### END SOLUTION


# %% exercise="3.6" role="check"
check = Exercise(
    "3.6",
    points=14,
    forbid=[
        "course.models",
        "torch.nn.functional.smooth_l1_loss",
        "torch.nn.functional.huber_loss",
    ],
)

flat, still = torch.zeros(2, 3), torch.zeros(2, 3, 4)
labels, wanted = torch.tensor([2, 0]), torch.tensor([[0.5, 0.0, 0.0, 3.0], [9.0, 9.0, 9.0, 9.0]])
with check("one object, one background", points=2):
    check.equal(
        detection_loss(flat, still, labels, wanted),
        torch.tensor([math.log(3), 1.3125]),
        mistakes={
            "Outside, smooth L1 is |x| - 1/2: the half is missing.": torch.tensor(
                [math.log(3), 1.5625]
            ),
            "Inside, smooth L1 is x² / 2: the half is missing.": torch.tensor([math.log(3), 1.375]),
            "Divide by all regions, not only by foreground.": torch.tensor([math.log(3), 2.625]),
            "Background has no box: leave it out.": torch.tensor([math.log(3), 18.3125]),
            "That is the square: outside 1 the loss is linear.": torch.tensor(
                [math.log(3), 9.25 / 2]
            ),
            "That is half the square: outside 1 the loss is linear.": torch.tensor(
                [math.log(3), 9.25 / 4]
            ),
            "That is |x|: inside 1 the loss is a parabola.": torch.tensor([math.log(3), 1.75]),
            "Sum over the four coordinates; you take their mean.": torch.tensor(
                [math.log(3), 1.3125 / 4]
            ),
            "Only the correction of the true class counts.": torch.tensor(
                [math.log(3), 3 * 1.3125]
            ),
            "Class loss: take the mean over the regions.": torch.tensor([2 * math.log(3), 1.3125]),
            "Return the two terms, not their sum.": torch.tensor(math.log(3) + 1.3125),
        },
    )
with check(
    "only the true class is corrected",
    points=2,
    hint="Pick one correction per region: that of its own class.",
):
    slope = gradients(detection_loss, flat, still, labels, wanted, wrt=(1,))[0]
    want = torch.zeros(2, 3, 4)
    want[0, 2] = torch.tensor([-0.25, 0, 0, -0.5])
    check.equal(slope, want)
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(36)


def random_regions(R, K, share):
    """Logits, corrections, labels and wanted corrections of R regions."""
    label = torch.randint(1, K, (R,), generator=generator)
    label[torch.rand(R, generator=generator) > share] = 0
    parts = [torch.randn(*shape, generator=generator) for shape in ((R, K), (R, K, 4), (R, 4))]
    return parts[0], 2 * parts[1], label, parts[2]


with check.hidden("random regions: classes", points=2):
    for R, K, share in ((1, 2, 1.0), (9, 4, 0.5), (40, 21, 0.25)):
        case = random_regions(R, K, share)
        check.equal(detection_loss(*case)[0], reference_loss(*case).classes)
with check.hidden("random regions: boxes", points=4):
    for R, K, share in ((1, 2, 1.0), (9, 4, 0.5), (40, 21, 0.25)):
        case = random_regions(R, K, share)
        check.equal(detection_loss(*case)[1], reference_loss(*case).boxes)
with check.hidden("background alone", points=2):
    case = random_regions(5, 3, 0.0)
    check.equal(detection_loss(*case)[1], 0.0)
    check.equal(gradients(detection_loss, *case, wrt=(1,))[0], torch.zeros(5, 3, 4))
with check.hidden("gradients of both heads", points=2):
    logits, corrections, label, goal_t = random_regions(12, 4, 0.6)
    a, b = logits.clone().requires_grad_(True), corrections.clone().requires_grad_(True)
    torch.stack(list(reference_loss(a, b, label, goal_t))).sum().backward()
    found = gradients(detection_loss, logits, corrections, label, goal_t, wrt=(0, 1))
    check.equal(found[0], a.grad)
    check.equal(found[1], b.grad)
### END HIDDEN TESTS
check.score()

# %% exercise="3.6" role="picture"
slide = torch.linspace(-3, 3, 41)
moved = torch.zeros(41, 1, 2, 4)
moved[:, 0, 1, 0] = slide
one, zero = torch.tensor([1]), torch.zeros(1, 4)
plots.compare_values(
    yours=lambda: [detection_loss(torch.zeros(1, 2), m, one, zero)[1].item() for m in moved],
    expected=[reference_loss(torch.zeros(1, 2), m, one, zero).boxes.item() for m in moved],
    title="Box loss while one correction goes from -3 to 3 (wanted: 0)",
    xlabel="step of the correction",
    ylabel="box loss",
)

# %% [markdown] exercise="3.6" role="see"
# A parabola around step 20 and straight sides: at the ends the loss is 2.5, where half the square
# would be 4.5.

# %% [markdown] exercise="3.6" role="think" points=10
# **Think (10 points).** Answer after the first part of the experiment. A colleague reports:
# "sharing makes the detector 48 times cheaper". Use your table: what does sharing save at 800
# regions if the heads are counted, and what would it save at 2000? Where does the remaining cost
# lie, what does the paper do about it, and what do multiply-accumulates not count? Three to five
# sentences.
#
# ### BEGIN SOLUTION
# With the heads it is 24 at 800 regions: (1060.6 + 23.1) / (22.0 + 23.1). At 2000 the crops cost
# 2651, the heads 58, so the saving is about 34 (120 for the convolutions alone). What remains lies
# in the heads, which run per region: nearly three quarters at 2000. Fast R-CNN compresses its fully
# connected layers by a truncated singular value decomposition (§3.1). Not counted are the search
# for proposals, the pooling, and the time to move memory. Full marks: 24, about 34, heads,
# compression, one thing that is not counted.
# ### END SOLUTION

# %% [markdown]
# ---
# ## The experiment, first part: what sharing saves
#
# The features of a region do not depend on what is far away. So a crop of the image that holds the
# region and the border that the convolutions eat gives **exactly** the cells that the shared map
# holds there. Now compute both: crop by crop, and once for all.


# %% role="setup"
class Detector(nn.Module):
    """Three convolutions at stride 4, your RoI pooling, one hidden layer, two heads.

    The image is padded once by 7 pixels; the convolutions do not pad. A cell then sees 18 x 18
    pixels around its own 4 x 4, and a crop that starts on a cell gives the same numbers.
    """

    border, stride, bins = 7, 4, (3, 3)

    def __init__(self, channels: int = maps) -> None:
        super().__init__()

        def layer(a, b):
            return [nn.Conv2d(a, b, 3, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

        c = channels
        self.convolutions = nn.Sequential(
            *layer(3, c),
            nn.MaxPool2d(2),
            *layer(c, 2 * c),
            nn.MaxPool2d(2),
            *layer(2 * c, 4 * c),
        )
        self.hidden = nn.Linear(4 * c * 9, 64)
        self.class_head, self.box_head = nn.Linear(64, classes), nn.Linear(64, 4 * classes)

    def features(self, images: Tensor) -> Tensor:
        return self.convolutions(F.pad(images, [self.border] * 4))

    def heads(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        x = F.relu(self.hidden(pooled.flatten(1)))
        return self.class_head(x), self.box_head(x).unflatten(1, (-1, 4))

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)


LAST_PIXEL = torch.tensor([0.0, 0, 1, 1])  # our boxes end after it, RoI pooling includes it


@torch.no_grad()
def crop_by_crop(net, image, boxes):
    """Pooled features of the boxes, the convolutions run on a crop of its own for each; the crops."""
    padded, pooled, sizes = F.pad(image, [net.border] * 4), [], []
    h, w = image.shape[1] // net.stride, image.shape[2] // net.stride
    for x0, y0, x1, y1 in (boxes / net.stride + 0.5).long().tolist():
        x2, y2 = min(x1, w - 1), min(y1, h - 1)  # n counts cells beyond the map, the crop has none
        top, left = net.stride * y0, net.stride * x0
        bottom, right = net.stride * y2 + 18, net.stride * x2 + 18
        cut = padded[None, :, top:bottom, left:right]
        cells = torch.tensor([[0.0, 0, x1 - x0, y1 - y0]])
        pooled.append(roi_max_pool(net.convolutions(cut)[0], cells, net.bins, 1.0))
        sizes.append(tuple(cut.shape))
    return torch.cat(pooled), sizes


# %% role="experiment"
dice = torch.Generator().manual_seed(0)
wide_scene = data.boxes(1, (96, 128), seed=5, count=(6, 8))[0]
spots = torch.rand(800, 2, generator=dice) * torch.tensor([110.0, 80.0])
spots = torch.cat([spots, spots + 8 + 24 * torch.rand(800, 2, generator=dice)], 1)
spots = torch.minimum(spots, torch.tensor([128.0, 96, 128, 96])) - LAST_PIXEL
ratio, gap = {}, None
with attempt("3.4"):
    torch.manual_seed(0)
    net = Detector().eval()
    with torch.no_grad():
        shared = pool_regions(net.features, wide_scene["image"], spots, net.bins, 1 / net.stride)
    alone, sizes = crop_by_crop(net, wide_scene["image"], spots)
    gap = float((shared - alone).abs().max())
    once = geometry.count_macs(net, (1, 3, 96, 128))
    cost = {size: geometry.count_macs(net.convolutions, size) for size in set(sizes)}
    warp = geometry.count_macs(net, (1, 3, 48, 48))
    dense = sum(p.numel() for p in (net.hidden.weight, net.class_head.weight, net.box_head.weight))
    rows = []
    for n in (50, 200, 800):
        crops = sum(cost[size] for size in sizes[:n])
        ratio[n] = crops / once
        total = (crops + n * dense) / (once + n * dense)
        numbers = [n * warp, crops, once, n * dense]
        rows.append([n, *(f"{v / 1e6:.1f}" for v in numbers), f"{ratio[n]:.1f}", f"{total:.1f}"])
    plots.table(
        [
            "regions",
            "R-CNN: each warped to 48 × 48",
            "each crop with its border",
            "one pass",
            "heads",
            "saved, convolutions",
            "saved, all",
        ],
        rows,
        title="Million multiply-accumulates for one image of 96 × 128 pixels",
    ).show()
    print(f"Largest difference between the features of both ways: {gap:.1e}")

# %% role="experiment"
if ratio:
    plots.bars(
        [str(n) for n in ratio],
        list(ratio.values()),
        title="Convolutions crop by crop, measured in passes over the whole image",
        xlabel="regions per image",
        ylabel="times the cost of one pass",
    ).show()
    assert gap < 1e-4, "both ways must give the same features: check exercise 3.4"
    assert ratio[800] > 15, "sharing should save more than a factor of 15 at 800 regions"
    assert ratio[50] > 1, "sharing should save already at 50 regions"
    claim(
        3,
        "Sharing the convolutions saves most of their cost.",
        quantity="multiply-accumulates of the convolutions, crop by crop over one pass, 800 regions",
        paper="Girshick 2015, §1: timed, not counted",
        values=[ratio[800]],
        at_least=15,
        counted=True,
    ).show()

# %% [markdown]
# ## The experiment, second part: what the correction is worth
#
# Now train the detector with your functions: labels from `assign`, batches from `sample_rois`,
# targets from `encode`, features from `roi_max_pool`, the loss from `detection_loss`. Corrections
# are divided by their usual size (0.1, 0.1, 0.2, 0.2) before they are learnt: most lie within ±0.2,
# and beside a cross-entropy of about 1 such small errors would hardly train the box head. At test
# time every proposal is scored and corrected, `decode` draws the box, `per_class_nms` thins. The
# same network is judged twice: with its corrections, and with the proposals as they came.

# %% role="setup"
SPREAD = torch.tensor([0.1, 0.1, 0.2, 0.2])  # usual size of a correction


def region_loss(net, feature_maps, batch, step):
    """Mean loss of a batch of images, 16 sampled regions each."""
    parts = []
    for i, feature in enumerate(feature_maps):
        objects, kinds = batch["boxes"][i], batch["labels"][i]
        candidates = torch.cat([objects, batch["proposals"][i]])
        label, match = assign(candidates, objects, 0.5, 0.5)
        chosen = sample_rois(label, 16, 0.25, 1000 * step + i)
        regions, match = candidates[chosen], match[chosen].clamp(min=0)
        label = torch.where(label[chosen] == 1, kinds[match], 0)
        target = encode(objects[match], regions) / SPREAD.to(regions)
        pooled = roi_max_pool(feature, regions - LAST_PIXEL.to(regions), net.bins, 1 / net.stride)
        parts.append((*net.heads(pooled), label, target))
    return detection_loss(*(torch.cat(part) for part in zip(*parts))).sum()


@torch.no_grad()
def detect(net, image):
    """Proposals, their corrected boxes, and the detections of one image made from either."""
    offered = propose(image)
    pooled = pool_regions(net.features, image, offered - LAST_PIXEL, net.bins, 1 / net.stride)
    logits, corrections = net.heads(pooled)
    scores, labels = logits.softmax(1)[:, 1:].max(1)
    labels = labels + 1
    moved = decode(corrections[torch.arange(len(labels)), labels] * SPREAD, offered)
    found = []
    for boxes in (offered, moved):
        keep = (scores > 0.05).nonzero()[:, 0]
        keep = keep[per_class_nms(boxes[keep], scores[keep], labels[keep], 0.3)]
        found.append({"boxes": boxes[keep], "scores": scores[keep], "labels": labels[keep]})
    return offered, moved, *found


# %% role="experiment"
detectors, results = {}, {}
with attempt("3.1 to 3.6"):
    offers = [propose(s["image"]) for s in train]
    most = max(map(len, offers))  # a batch needs one number for all images: some come twice
    samples = [
        {**s, "proposals": rows[torch.arange(most) % len(rows)]} for s, rows in zip(train, offers)
    ]
    for seed in seeds:
        torch.manual_seed(seed)
        net, clock = Detector().to(device), iter(range(10**9))

        def loss(feature_maps, batch, net=net, clock=clock):
            return region_loss(net, feature_maps, batch, next(clock))

        training.fit(
            net,
            samples,
            loss,
            steps=steps,
            batch_size=4,
            lr=5e-3,
            schedule=training.poly_lr,
            seed=seed,
            device=device,
            progress=steps > 1000,
        )
        net = detectors[seed] = net.cpu().eval()
        before, after, plain, corrected = [], [], [], []
        for s in test:
            offered, moved, *found = detect(net, s["image"])
            overlap, match = box_iou(offered, s["boxes"]).max(1)
            near = overlap >= 0.5
            before.append(overlap[near])
            after.append(box_iou(moved, s["boxes"])[torch.arange(len(match)), match][near])
            plain.append(found[0])
            corrected.append(found[1])
        truth = [{"boxes": s["boxes"], "labels": s["labels"]} for s in test]
        precision = [mean_average_precision(found, truth).mean for found in (plain, corrected)]
        results[seed] = float(torch.cat(before).mean()), float(torch.cat(after).mean()), *precision
rows = [[seed, *(f"{value:.3f}" for value in values)] for seed, values in results.items()]
head = ["seed", "IoU of proposals", "IoU corrected", "mean AP of proposals", "mean AP corrected"]
plots.table(head, rows, title=f"{len(test)} test images, proposals with an overlap of at least 0.5")

# %% role="experiment"
if results:
    sample = max(test, key=lambda s: len(s["boxes"]))
    plain, moved = detect(detectors[seeds[0]], sample["image"])[2:]
    for found, what in ((plain, "as proposed"), (moved, "corrected")):
        sure = found["scores"] > 0.5
        plots.show_boxes(
            sample["image"],
            {"object": sample["boxes"], what: found["boxes"][sure]},
            title=f"Detections above 0.5, {what}",
        ).show()

# %% role="experiment"
if results:
    pairs = {"as proposed": (0, 2), "corrected": (1, 3)}
    columns = {k: [[results[s][i] for s in seeds] for i in both] for k, both in pairs.items()}
    plots.bars(
        ["mean IoU", "mean average precision"],
        {k: [sum(v) / len(v) for v in both] for k, both in columns.items()},
        {k: [(max(v) - min(v)) / 2 for v in both] for k, both in columns.items()},
        title=f"The same detections with and without correction; {len(seeds)} seeds",
        ylabel="IoU, average precision",
        limits=(0, 1.1),
    ).show()
    gain = min(after - before for before, after, *_ in results.values())
    lift = min(after - before for *_, before, after in results.values())
    print(f"Correction raises the mean IoU by at least {gain:.3f}, mean AP by at least {lift:.3f}.")
    if dataset == "boxes" and method == "windows" and steps >= 150 and len(seeds) >= 3:
        assert gain > 0.06, "corrected boxes should overlap better: check exercises 3.1 and 3.6"
        assert lift > 0.1, "corrected boxes should be found more often: check exercise 3.1"
        claim(
            3,
            "Box regression raises the overlap of proposals.",
            quantity="mean IoU corrected less as proposed, same seed",
            paper="Girshick et al. 2014, Table 2: VOC 2007 54.2 to 58.5 mAP",
            values=[after - before for before, after, *_ in results.values()],
            at_least=0.06,
        ).show()

# %% [markdown]
# **What you should see.** The features are the same to seven digits, whichever way they are
# computed. Crop by crop the convolutions cost 3 passes over the image for 50 regions and 48 for
# 800: the cost grows with the number of regions, that of the shared map does not. R-CNN, which also
# enlarges every region to one square, pays 171 passes for 800. Once the convolutions are shared the
# heads, which still run per region, cost as much as they do (23 against 22 million at 800): that is
# why the paper goes on to compress the fully connected layers.
#
# The windows overlap their objects by 0.56 on average, the corrected boxes by about 0.69, in every
# run. At a threshold of 0.5 such a gain decides about being found: mean average precision rises by
# more than 0.2 in every run, though both values differ between seeds.
#
# | | paper | here |
# |---|---|---|
# | proposals | selective search, about 2000 | 301 windows of 6 shapes |
# | network | VGG16, stride 16, 134,690,729 parameters | 3 convolutions, stride 4, 42,464 parameters |
# | sharing | training 9 times, test some 200 times faster than R-CNN, timed | 48 times fewer multiply-accumulates in the convolutions, 24 in all, counted at 800 regions |
# | correction | VOC 2007: 54.2 → 58.5 mAP (R-CNN) | measured above, 3 seeds |

# %% [markdown]
# ## The ladder
#
# One picture runs through the whole course: every system on the same images, scored on lines two
# pixels wide. The rung of Fast R-CNN is marked: a corrected box fits its object more tightly, but
# it stays a box, and most of a box around a slanted line is not line.

# %% role="experiment"
ladder.picture(lab=3)

# %% [markdown]
# **Going on.** Set `dataset = "bccd"` (blood cells) or `"pennfudan"` (pedestrians) in the parameter
# cell, and point the environment variable `COURSE_DATA` at the folder that holds the data. Does
# correction help as much when the proposals follow the outlines already? Blood cells with
# `method = "segments"`, `frame = (96, 128)`, `steps = 300` and one seed gave a mean IoU of 0.64
# before and 0.69 after correction, mean average precision 0.39 and 0.47: it helps, but less.
# `course.models.FastRCNN` is the published network.
#
# **Reading.** Girshick et al. 2014, §2 and appendix A, on how to warp a region with context.
# Girshick 2015, §2.1 to 2.4, and §3.1 for the compressed layers. Uijlings et al. 2013, *Selective
# Search for Object Recognition*, IJCV, §3. Ren et al. 2015, *Faster R-CNN*,
# [arXiv:1506.01497](https://arxiv.org/abs/1506.01497), §3, where the network proposes as well. He
# et al. 2017, *Mask R-CNN*, [arXiv:1703.06870](https://arxiv.org/abs/1703.06870), §3, for pooling
# without rounding.
