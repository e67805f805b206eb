# %% tags=["skip"]
import math

import numpy as np
import torch

from course import boxes, data, demos, geometry, lectures, plots, windows
from course.models import YOLO, yolo

S, B, C = 7, 2, 20  # cells a side, boxes a cell, classes: the paper's numbers
BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, WINE = plots.PALETTE


def grid_axes(axis, width, height, cells):
    """Turn an axis into an image area of `width` × `height` pixels under cells × cells cells."""
    axis.set(xlim=(0, width), ylim=(height, 0), aspect="equal")
    axis.set_xticks(np.linspace(0, width, cells + 1), [])
    axis.set_yticks(np.linspace(0, height, cells + 1), [])
    axis.tick_params(length=0)
    axis.spines[:].set_visible(True)
    axis.grid(True, axis="both", color="#888888", lw=1)


def frame(axis, box, color, **style):
    """The outline of a box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    axis.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=color, **{"lw": 3, **style})


def tint(axis, cell, side, color):
    """Colour and hatching over the cell (row, column) of `side` = (width, height) pixels."""
    (row, column), (w, h) = cell, side
    span, low, high = [column * w, (column + 1) * w], row * h, (row + 1) * h
    axis.fill_between(span, low, high, color=color, alpha=0.5, hatch="//", ec="white")


photo = data.photographs("astronaut")["astronaut"].permute(1, 2, 0)
things = torch.tensor([[152.0, 14, 302, 190], [354, 0, 474, 288], [278, 344, 512, 512]])
thing_names = ("head", "shuttle", "helmet")
target = yolo.make_targets(things, torch.tensor([1, 2, 3]), (512, 512), S=S, num_classes=3)
cells = [tuple((box[[1, 0]] + box[[3, 2]]).div(2 * 512 / S).int().tolist()) for box in things]

# %% [markdown] tags=["slide"]
# # YOLO: look once
#
# You will write objects into a grid, name the five terms of the loss, and know what a grid loses.

# %%
lectures.links(4)

# %% [markdown] tags=["notes"]
# One minute. Until now a detector was a classifier that is asked many times. Today the question
# itself changes. Ask: how many times did R-CNN run its network on one image? (About 2000 times.)

# %% [markdown] tags=["slide"]
# ## Proposals ask many small questions; YOLO asks one big one

# %%
sweep = sum(
    len(windows.window_grid(round(448 * z), round(448 * z), 64, 8)) for z in (1, 0.71, 0.5, 0.35)
)
systems = ("sliding window", "R-CNN", "Fast R-CNN", "YOLO")
passes, decisions = (sweep, 2000, 1, 1), (sweep, 2000, 2000, S * S * B)
with plots.canvas(width=10, height=4.2) as (figure, (axis,)):
    for offset, numbers, color, hatch, label in (
        (-0.2, passes, BLUE, "//", "passes of the convolutions"),
        (0.2, decisions, ORANGE, "..", "boxes judged"),
    ):
        at = np.arange(4) + offset
        drawn = axis.barh(at, numbers, 0.38, color=color, hatch=hatch, ec="white", label=label)
        axis.bar_label(drawn, [f"{n:,}" for n in numbers], padding=5)
    axis.set(xscale="log", xlim=(0.7, 4e4), xlabel="for one image of 448 × 448 pixels")
    axis.set_yticks(range(4), systems)
    axis.invert_yaxis()
    axis.grid(False)
    axis.legend(loc="lower right")
    said = ", ".join(f"{s} {p} and {d}" for s, p, d in zip(systems, passes, decisions))
    picture = plots.render(figure, f"Passes of the convolutions and boxes judged: {said}.")
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. The sliding window: 64 × 64 pixels, steps of 8, four scales, counted here by
# `windows.window_grid`. R-CNN and Fast R-CNN: the 2000 proposals of their papers. YOLO has no
# proposals: detection is **one regression** from pixels to the coordinates and classes of 98
# boxes. Fast R-CNN also has one pass of convolutions, but it still waits for proposals from
# outside.

# %% [markdown] tags=["slide"]
# ## The cell under the centre answers for the object
#
# Cut the image into $S \times S$ cells. An object belongs to the cell that holds its **centre**.


# %%
with plots.canvas(width=6, height=4.4) as (figure, (axis,)):
    axis.imshow(photo, extent=(0, 512, 512, 0))
    grid_axes(axis, 512, 512, S)
    for box, cell, color in zip(things.tolist(), cells, (SKY, YELLOW, GREEN)):
        tint(axis, cell, (512 / S, 512 / S), color)
        frame(axis, box, color)
        axis.plot((box[0] + box[2]) / 2, (box[1] + box[3]) / 2, "o", ms=8, color="white", mec="k")
    said = "; ".join(f"{n} in row {r}, column {c}" for n, (r, c) in zip(thing_names, cells))
    picture = plots.render(figure, f"A photograph under 7 × 7 cells. Centres: {said}.")
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. Three objects, three tinted cells; the other 46 cells answer "nothing here". The
# cell sees far more than its 64 pixels: the receptive field of the convolutions is 749 pixels,
# more than the whole image. Ask: which cell answers for an object whose centre lies on a grid
# line? (The one to the right or below: offsets run from 0 to just below 1.) Photograph: NASA,
# public domain.

# %% [markdown] tags=["slide"]
# ## A cell says $5B + C$ numbers, the image $7 \cdot 7 \cdot 30 = 1470$

# %%
parts = [*["x", "y", "√w", "√h", "conf."] * B, *(f"{k}" for k in range(1, C + 1))]
with plots.canvas(width=11, height=3.6) as (figure, (axis,)):
    for i, part in enumerate(parts):
        color = (SKY, ORANGE)[i // 5] if i < 5 * B else GREEN
        axis.bar(i, 1, 0.94, color=color, alpha=0.55, hatch=("//", "..", "")[min(i // 5, 2)])
        axis.text(i, 0.5, part, ha="center", va="center", rotation=90, fontsize=15)
    for middle, words in ((2, "box 1"), (7, "box 2"), (19.5, "Pr(class | object), C = 20")):
        axis.text(middle, 1.1, words, ha="center", va="bottom", fontsize=17)
    axis.set(xlim=(-0.6, 29.6), ylim=(0, 1.45))
    axis.axis("off")
    picture = plots.render(
        figure,
        f"The {5 * B + C} numbers of a cell: two boxes of x, y, root of w, root of h and "
        f"confidence, then one probability for each of {C} classes. "
        f"{S} × {S} cells hold {S * S * (5 * B + C)} numbers.",
    )
picture.show()

# %% [markdown] tags=["notes"]
# One minute. $S = 7$, $B = 2$, $C = 20$ are the paper's numbers for PASCAL VOC: 98 boxes in all.
# What goes wrong in ports: rows and columns exchanged. The library writes `[row, column]`.

# %% [markdown] tags=["slide"]
# ## Place in cells, size in images
#
# $x, y \in [0, 1)$: the centre inside its cell. $w, h$: shares of the **whole image**.

# %%
one = torch.tensor([[10.0, 20, 30, 70]])
written = yolo.make_targets(one, torch.tensor([2]), (90, 60), S=3, num_classes=2)
row, column = written[..., 4].nonzero()[0].tolist()
x, y, root_w, root_h = written[row, column, :4].tolist()
with plots.canvas(1, 2, width=9, height=4.0) as (figure, (axis, words)):
    grid_axes(axis, 60, 90, 3)
    tint(axis, (row, column), (20, 30), SKY)
    frame(axis, one[0].tolist(), VERMILION)
    axis.plot(20, 45, "o", ms=10, color=VERMILION)
    words.axis("off")
    lines = (
        "image 60 wide, 90 high, S = 3",
        "box (10, 20, 30, 70)",
        f"cell: row {row}, column {column}",
        f"x = {x:.3f},  y = {y:.3f}",
        f"√w = √(20/60) = {root_w:.3f}",
        f"√h = √(50/90) = {root_h:.3f}",
    )
    for i, line in enumerate(lines):
        words.text(0, 0.92 - 0.155 * i, line, fontsize=18, weight="bold" if i > 1 else None)
    picture = plots.render(figure, f"Writing a box into the grid. {'; '.join(lines)}.")
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. The centre (20, 45) lies on the left edge of the middle cell, so $x = 0$ exactly.
# Typical mistakes: the cell of the corner instead of the centre; sizes relative to the cell;
# offsets in pixels. Computed by `yolo.make_targets`, the function that students write in 4.1.

# %% [markdown] tags=["slide"]
# ## Drag the objects: who answers?

# %%
demos.show("yolo_grid")

# %% [markdown] tags=["notes"]
# Five minutes. Let the audience predict first: two centres in one cell, two boxes per cell, are
# both found? Then drag B into the cell of A. B turns grey, and the loss **falls**: nobody asks for
# B any more. Set S to 2. Then lengthen the boxes: the centre term grows fastest, because it counts
# in cells. Last, raise "all others are sure by": 95 small mistakes outweigh three large ones.

# %% [markdown] tags=["slide"]
# ## One class for each cell, however many boxes
#
# $\Pr(\text{class} \mid \text{object})$ belongs to the cell; its $B$ boxes share it.

# %%
per_cell, per_box = S * S * (5 * B + C), S * S * B * (5 + C)
plots.bars(
    ["one class per cell (YOLO)", "one class per box"],
    [per_cell, per_box],
    ylabel="outputs of the network",
    title="Sharing the classes keeps the last layer small, and a cell to one object",
)

# %% [markdown] tags=["notes"]
# One minute. Saving outputs matters: each of them is fed by 4096 hidden units. The price: two
# objects of different classes in one cell cannot both be named. Conditional means: a cell without
# an object is never told what its class scores should be.

# %% [markdown] tags=["slide"]
# ## Confidence says how well the box fits
#
# $$\text{confidence} = \Pr(\text{object}) \cdot \text{IoU}$$
#
# No object: 0. Responsible box: its own overlap with the truth.

# %%
shift = torch.arange(0, 97, 4.0)


def shifted(side):
    """IoU of a square of `side` pixels with itself, moved to the right by every shift."""
    still = torch.tensor([[0.0, 0, side, side]])
    return boxes.box_iou(still + shift[:, None] * torch.tensor([1.0, 0, 1, 0]), still)[:, 0]


plots.curves(
    {f"object of {side} pixels": (shift, shifted(side)) for side in (32, 96, 224)},
    xlabel="box is off by, pixels",
    ylabel="wanted confidence",
)

# %% [markdown] tags=["notes"]
# Two minutes. The same shift of 16 pixels costs the small object two thirds of its confidence and
# the large one a seventh. The target moves while the network learns: it is the overlap of the
# *current* prediction. Many ports use the constant 1 instead: say which. The paper and the
# authors' code use the IoU.

# %% [markdown] tags=["slide"]
# ## Of $B$ boxes, the one that fits best is responsible

# %%
truth = torch.tensor([0.5, 0.5, math.sqrt(0.5), math.sqrt(0.3)])
guesses = torch.tensor(
    [[0.62, 0.5, math.sqrt(0.42), math.sqrt(0.34)], [0.46, 0.5, math.sqrt(0.2), math.sqrt(0.6)]]
)
chosen, overlap = yolo.responsible(guesses, truth)


def corners(values):
    """Box in an image of 100 × 100 pixels from x, y and the roots of the sizes."""
    x, y, w, h = (100 * v for v in (*values[:2].tolist(), *values[2:].square().tolist()))
    return (x - w / 2, y - h / 2, x + w / 2, y + h / 2)


with plots.canvas(1, 2, width=9, height=4.0) as (figure, (axis, words)):
    grid_axes(axis, 100, 100, 1)
    words.axis("off")
    words.text(0, 0.75, "solid: the object", fontsize=18)
    frame(axis, corners(truth), "black")
    for i, (color, dashes, name) in enumerate(((BLUE, "--", "dashed"), (VERMILION, ":", "dotted"))):
        role = "responsible" if i == chosen else "confidence 0 wanted"
        frame(axis, corners(guesses[i]), color, ls=dashes, lw=4)
        lines = f"{name}: IoU {overlap[i]:.2f}\n{role}"
        words.text(0, 0.47 - 0.3 * i, lines, fontsize=18, color=color, weight="bold")
    picture = plots.render(
        figure,
        f"An object and two boxes of its cell with IoU {overlap[0]:.2f} and {overlap[1]:.2f}; "
        f"box {int(chosen) + 1} is responsible.",
    )
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. Only the responsible box is pulled towards the object; the other one is told to be
# silent although the cell holds an object. So boxes specialise, in wide and tall shapes for
# instance. What the paper leaves open: all IoUs are zero at the start. Then the authors' code
# takes the nearest box, and so does `yolo.responsible`.

# %% [markdown] tags=["slide"]
# ## The loss: five sums of squares
#
# $$
# \begin{aligned}
# L ={}& 5 \underbrace{\sum_{\text{resp.}} (x - \hat x)^2 + (y - \hat y)^2}_{\text{centre}}
#  + 5 \underbrace{\sum_{\text{resp.}} (\sqrt w - \sqrt{\hat w})^2
#  + (\sqrt h - \sqrt{\hat h})^2}_{\text{size}} \\[1ex]
# &+ \underbrace{\sum_{\text{resp.}} (C - \hat C)^2}_{\text{object}}
#  + \tfrac12 \underbrace{\sum_{\text{others}} (C - \hat C)^2}_{\text{no object}}
#  + \underbrace{\sum_{\text{cells with object}} \sum_c (p_c - \hat p_c)^2}_{\text{class}}
# \end{aligned}
# $$
#
# "Resp." is the responsible box of each object. "Others" are all the rest, also the second box of a
# cell **with** an object.

# %% [markdown] tags=["notes"]
# Three minutes, term by term: where is the centre, how large, how sure where something is, how
# sure where nothing is, and which class. Two mistakes that run without an error: the silence term
# over empty cells only, and the class term once per box instead of once per cell.

# %% [markdown] tags=["slide"]
# ## Worked example: a network that says nothing pays 6.55
#
# One object in the middle of its cell, $w = 0.25$, $h = 0.36$; all outputs zero.

# %%
silent = torch.zeros(1, 1, 1, 5 * B + C)
wanted = torch.zeros(1, 1, 1, 5 + C)
wanted[..., :6] = torch.tensor([0.5, 0.5, 0.5, 0.6, 1, 1])
terms = yolo.yolo_loss(silent, wanted)
plots.bars(
    ["centre × 5", "size × 5", "object", "no object × ½", "class", "sum"],
    [round(v.item(), 4) for v in (*terms, terms.total)],
    ylabel="loss",
)

# %% [markdown] tags=["notes"]
# Two minutes. Let the audience compute: 5 (0.25 + 0.25) = 2.5; 5 (0.25 + 0.36) = 3.05; the overlap
# of an empty box is 0, so silence is right: 0; class 1. With the constant 1 as the wanted
# confidence the sum is 7.55. Computed by `yolo.yolo_loss`.

# %% [markdown] tags=["slide"]
# ## Why × 5 and × ½: three objects against 95 empty boxes

# %%
early = torch.full((1, S, S, 5 * B + 3), 0.3)
weights = {"all weights 1": (1.0, 1.0), "weights 5 and ½": (5.0, 0.5)}
weighted = {
    name: [t.item() for t in yolo.yolo_loss(early, target[None], coord=c, no_object=n)]
    for name, (c, n) in weights.items()
}
plots.bars(
    ["centre", "size", "object", "no object", "class"],
    {name: [round(v, 2) for v in values] for name, values in weighted.items()},
    ylabel="loss",
    title="Early in training: every output is 0.3",
)

# %% [markdown] tags=["notes"]
# Two minutes. Without weights the empty boxes make most of the gradient: the easy way out is to
# push all confidences to zero, also those of the three objects. Our measurement is sober: in the
# miniature of lab 4 the effect of the weights on the result is within the noise; they matter more
# where training is long and objects are rare.

# %% [markdown] tags=["slide"]
# ## Roots make small boxes count
#
# The same error of 0.02 in width, squared, before and after the root:

# %%
widths = np.linspace(0.02, 0.9, 45)
plots.curves(
    {
        "width itself": (widths, np.full_like(widths, 0.02**2)),
        "root of the width": (widths, (np.sqrt(widths + 0.02) - np.sqrt(widths)) ** 2),
    },
    xlabel="true width, share of the image",
    ylabel="squared error",
    log=True,
)

# %% [markdown] tags=["notes"]
# One minute. Nine pixels too many hardly matter for a bus and ruin a bird. Roots go part of the
# way: an IoU loss would go all the way (lecture 2). Predict the root itself, as the authors' code
# does: the root of a negative output is not a number, and its slope at zero is infinite.

# %% [markdown] tags=["slide"]
# ## Two full layers hold most weights; the convolutions do most work

# %%
with torch.device("meta"):
    net = YOLO()
macs = geometry.macs_by_layer(net, (1, 3, 448, 448))
full = {n: m for n, m in net.named_modules() if isinstance(m, torch.nn.Linear)}
total = sum(p.numel() for p in net.parameters())
in_full = sum(p.numel() for m in full.values() for p in m.parameters())
work, full_work = sum(macs.values()), sum(macs[n] for n in full)
plots.bars(
    ["24 convolutions", "2 full layers"],
    {
        f"of {total / 1e6:.1f} million weights": [
            round(100 * (1 - in_full / total), 1),
            round(100 * in_full / total, 1),
        ],
        f"of {work / 1e9:.1f} billion multiply-accumulates": [
            round(100 * (1 - full_work / work), 1),
            round(100 * full_work / work, 1),
        ],
    },
    ylabel="share, %",
)

# %% [markdown] tags=["notes"]
# One minute. Counted on the library's `YOLO()` without running it. The full layers let every cell
# see the whole image, and tie the network to one input size. The last layer is linear: nothing
# keeps a confidence in [0, 1], so the decoder clamps at zero.

# %% [markdown] tags=["slide"]
# ## At test time every box gets a score for every class
#
# $$\Pr(\text{class} \mid \text{object}) \cdot \Pr(\text{object}) \cdot \text{IoU}
#   = \Pr(\text{class}) \cdot \text{IoU}$$

# %%
generator = torch.Generator().manual_seed(3)
seen = target.clone()
for row, column in cells:  # the cells beside a responsible one see its object, too
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        beside = row + down, column + right
        if max(beside) < S and not target[beside][4]:
            seen[beside] = target[row, column]
            seen[beside][:2] -= torch.tensor([right, down])
            seen[beside][4] = 0.6
said = torch.cat([seen[..., :5], seen[..., :5], seen[..., 5:]], -1)
said = (said + 0.035 * torch.randn(said.shape, generator=generator)).clamp(max=1)
said[..., 2:4] = said[..., 2:4].clamp(min=0.1)
said[..., 7:9] = said[..., 7:9].clamp(min=0.1)
said[..., 9] *= 0.5  # the second box of a cell has learnt to be silent
found, scores = yolo.decode_grid(said, (512, 512))
best, labels = scores.max(-1)
sure = best > 0.3
keep = sure.nonzero()[:, 0][boxes.batched_nms(found[sure], best[sure], labels[sure], 0.4)]
with plots.canvas(1, 2, width=10, height=4.6) as (figure, (before, after)):
    for axis, chosen_boxes, words in (
        (before, range(len(found)), f"{len(found)} boxes, as thick as they are sure"),
        (after, keep.tolist(), f"score above 0.3, then NMS: {len(keep)} boxes"),
    ):
        axis.imshow(photo, extent=(0, 512, 512, 0))
        grid_axes(axis, 512, 512, 1)
        axis.set_title(words, fontsize=17)
        for i in chosen_boxes:
            color = (SKY, YELLOW, GREEN)[int(labels[i])]
            frame(axis, found[i].tolist(), color, lw=0.4 + 4 * best[i].item())
            if axis is after:
                name = f"{thing_names[int(labels[i])]} {best[i]:.2f}"
                left, top = found[i, :2].clamp(min=0).tolist()
                axis.text(left + 8, top + 34, name, fontsize=14, color="white", weight="bold",
                          bbox={"fc": "black", "alpha": 0.6, "ec": "none", "pad": 2})  # fmt: skip
    names = ", ".join(f"{thing_names[int(labels[i])]} {best[i]:.2f}" for i in keep)
    picture = plots.render(
        figure, f"{len(found)} decoded boxes; after threshold and suppression: {names}."
    )
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. Left: all 98 boxes from `yolo.decode_grid`; right: those above 0.3 after NMS per
# class. Honest label: no network was trained for this picture. The predictions are the truth plus
# seeded noise and echoes in the cells beside, as trained networks show them. Training and test
# speak the same language: the score estimates class probability times overlap.

# %% [markdown] tags=["slide"]
# ## From a ranked list to one number

# %%
demos.show("precision_recall")

# %% [markdown] tags=["notes"]
# Five minutes. Lower the threshold step by step and let the audience say where the dot goes next:
# a right box moves it to the right, a wrong one down. Detection 3 covers its object well, and is
# wrong: the object was taken. Detection 7 fits better than 4, but comes later; raise the IoU to
# 0.65 and they change places. NMS removes 3 and 10, but not 7: it overlaps 4 by only 0.41.

# %% [markdown] tags=["slide"]
# ## A grid must lose neighbours

# %%
crowd, few = np.arange(1, 61), np.arange(10, 61, 10)
dice = torch.Generator().manual_seed(0)


def expected(S):
    """Share of n objects at random places that find a cell of their own: cells hit over objects."""
    return S**2 * (1 - (1 - 1 / S**2) ** crowd) / crowd


def measured(S, n, images=40):
    """The same, counted in the grids that the library writes."""
    kept = 0.0
    for _ in range(images):
        corner = torch.rand(n, 2, generator=dice) * 438
        things, labels = torch.cat([corner, corner + 10], 1), torch.ones(n).long()
        kept += yolo.make_targets(things, labels, (448, 448), S=S, num_classes=1)[..., 4].sum()
    return float(kept) / n / images


plots.curves(
    {
        **{f"S = {s}: {s * s} cells": (crowd, expected(s)) for s in (28, 14, 7)},
        "S = 7, counted in 40 images": (few, np.array([measured(7, int(n)) for n in few])),
    },
    xlabel="objects in the image",
    ylabel="share that gets a cell",
    title="Small objects at random places: the best recall that a grid allows",
)

# %% [markdown] tags=["notes"]
# Two minutes. Counted with `yolo.make_targets`; the expectation is $S^2 (1 - (1 - 1/S^2)^n) / n$.
# With 20 objects at random, a 7 × 7 grid loses every sixth before any training. Flocks are worse
# than random: they stand close together. Later detectors answer with finer grids, several scales
# and one class per box.

# %% [markdown] tags=["slide"]
# ## What the paper claims, and what we measured
#
# | | claim | result |
# |---|---|---|
# | Redmon et al., Table 1 | real time: 45 images a second | 63.4 mAP on VOC 2007 |
# | same, Table 1 | Fast YOLO: 155 images a second | 52.7 mAP |
# | same, §2.4 | small objects in groups are hard | no figure printed |
# | **lab 4** | two centres in one cell cost recall | **0.53 less** (0.42 to 0.64): reproduced |

# %% [markdown] tags=["notes"]
# Two minutes. Speeds are those of the paper's graphics card. Ours: mean over three seeds with the
# 95 % interval, recall of objects alone in a cell of 16 pixels less that of objects that share one
# (`docs/claims.md`). The paper's error analysis (§4.2) names localisation as YOLO's main mistake,
# and background as that of Fast R-CNN: YOLO sees the whole image and mistakes background less.

# %% [markdown] tags=["slide"]
# ## Try it: lab 4
#
# Write the grid · choose the responsible box · the five terms · decode · average precision.
# Then train a small YOLO and measure what sharing a cell costs.

# %%
lectures.links(4)

# %% [markdown] tags=["notes"]
# One minute. Two hours of work, 100 points. Exercise 4.3 is where most mistakes happen: each term
# is tested alone, so a message names the term that is wrong.

# %% [markdown] tags=["slide"]
# ## References
#
# - J. Redmon, S. Divvala, R. Girshick, A. Farhadi, *You Only Look Once: Unified, Real-Time Object
#   Detection*, CVPR 2016, arXiv:1506.02640: §2 grid, §2.1 network, §2.2 loss, §2.3 scores, §2.4
#   limits, §4.2 errors.
# - M. Everingham et al., *The PASCAL Visual Object Classes Challenge*, IJCV 2010, §4.2: average
#   precision.
# - R. Girshick, *Fast R-CNN*, ICCV 2015, arXiv:1504.08083: what it was compared with.

# %% [markdown] tags=["notes"]
# Leave this slide up during questions.
