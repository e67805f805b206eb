# %% tags=["skip"]
import torch
from torch import nn
from torch.nn import functional as F

from course import boxes, data, demos, lectures, plots, windows
from course.claims import claim
from course.lectures.blocks import Blocks
from course.lectures.flock import flock
from course.lectures.panels import frame, panel
from course.models import localizer

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, WINE = plots.PALETTE

scene = flock()
pixels = scene.image.permute(1, 2, 0)
height, width = scene.labels.shape

# %% [markdown] tags=["slide"]
# # Classification and localization
#
# After this part you can give one network two heads and two losses, judge its boxes, and say why
# it cannot find two things.

# %%
lectures.links(2)

# %% [markdown] tags=["notes"]
# One minute. Windows asked thousands of times "is it here?". Now one pass, and the network says
# itself where. Ask: what would you have to change in a network for ImageNet?

# %% [markdown] tags=["slide"]
# ## A label says what; four numbers say where

# %%
box = scene.boxes[2]
x0, y0, x1, y1 = box.tolist()
cx, cy, w, h = boxes.to_cxcywh(box[None])[0].tolist()
with plots.canvas(1, 2, width=10.8, height=4.1) as (figure, axes):
    panel(axes[0], f"corners: {x0:.0f}, {y0:.0f}, {x1:.0f}, {y1:.0f}")
    frame(axes[0], box, VERMILION)
    axes[0].plot([x0, x1], [y0, y1], "s", color=VERMILION, ms=13, mec="white", mew=2)
    panel(axes[1], f"centre and size: {cx:.0f}, {cy:.1f}, {w:.0f}, {h:.0f}")
    frame(axes[1], box, BLUE)
    axes[1].plot(cx, cy, "o", color=BLUE, ms=13, mec="white", mew=2)
    for start, end in (((x0, cy), (x1, cy)), ((cx, y0), (cx, y1))):
        arrow = {"arrowstyle": "<|-|>", "color": BLUE, "lw": 2.5}
        axes[1].annotate("", end, start, arrowprops=arrow)
    plots.render(
        figure,
        f"A box around the front sheep, in two forms: corners ({x0:.0f}, {y0:.0f}) and ({x1:.0f}, "
        f"{y1:.0f}); centre ({cx:.0f}, {cy:.1f}), width {w:.0f}, height {h:.0f} pixels.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. The lecture uses the centre form; we store corners and convert at the door. Boxes
# are half-open: the width is x1 − x0, with no + 1. What goes wrong: a box in one form is read as
# the other and nothing crashes. Ask which form has more symmetric errors.

# %% [markdown] tags=["slide"]
# ## How well do two boxes agree?
#
# $$\mathrm{IoU} = \frac{|A \cap B|}{|A \cup B|}\qquad \mathrm{GIoU} = \mathrm{IoU} -
# \frac{|\text{hull}| - |A \cup B|}{|\text{hull}|}$$

# %%
truth = torch.tensor([[30.0, 20, 70, 60]])
guesses = {
    "4 pixels off": [34.0, 24, 74, 64],
    "half is shared": [50.0, 20, 90, 60],
    "twice the size": [30.0, 20, 110, 60],
    "apart": [76.0, 52, 116, 92],
}
with plots.canvas(1, 4, width=10.8, height=3.2) as (figure, axes):
    told = []
    for axis, (name, guess) in zip(axes, guesses.items(), strict=True):
        other = torch.tensor([guess])
        score = float(boxes.box_iou(truth, other)), float(boxes.giou(truth, other))
        told.append(f"{name} {score[0]:.2f} and {score[1]:.2f}")
        axis.set(xlim=(20, 122), ylim=(98, 10), aspect="equal")
        axis.set_axis_off()
        for (a, b, c, d), color, hatch in ((truth[0], BLUE, "//"), (other[0], VERMILION, "\\\\")):
            axis.fill_between([a, c], b, d, facecolor=color, alpha=0.35, hatch=hatch, ec=color)
        axis.set_title(f"{name}\nIoU {score[0]:.2f}, GIoU {score[1]:.2f}", fontsize=15)
    plots.render(figure, "Two boxes, IoU and GIoU: " + "; ".join(told) + ".").show()

# %% [markdown] tags=["notes"]
# Three minutes. Guess before you read: half of each box is shared, is the IoU one half? One third.
# 4 pixels off a box of 40 pixels cost a third of the score. Apart, IoU is 0 however far; GIoU
# still tells the distance.

# %% [markdown] tags=["slide"]
# ## Drag the boxes

# %%
demos.show("iou")

# %% [markdown] tags=["notes"]
# Five minutes. Let somebody drag box B to an IoU of exactly one half. Then apart, arrows on: which
# way would a gradient pull? IoU has no arrow there: as a loss it would not learn from a miss.

# %% [markdown] tags=["slide"]
# ## One network, two heads

# %%
class_head, box_head = nn.Linear(4096, 1000), nn.Linear(4096, 4)
counts = [sum(p.numel() for p in head.parameters()) for head in (class_head, box_head)]
plan = Blocks(1100, 400)
image = plan.box((10, 130, 170, 270), "image", "224 × 224", color="muted")
trunk = plan.box((250, 130, 460, 270), "trunk", "convolutions", "and poolings")
vector = plan.box((540, 130, 680, 270), "features", "4096", color="green")
what = plan.box((770, 30, 1090, 170), "class head", "1000 scores", f"{counts[0]:,} weights")
where = plan.box(
    (770, 230, 1090, 370), "box head", "4 numbers", f"{counts[1]:,} weights", color="vermilion"
)
for a, b in ((image, trunk), (trunk, vector), (vector, what), (vector, where)):
    plan.link(a, b)
plan.show(
    "An image of 224 x 224 pixels goes through a trunk of convolutions and poolings to 4096 "
    f"features. Two heads read them: 1000 class scores from {counts[0]:,} weights, and the 4 "
    f"numbers of a box from {counts[1]:,} weights."
)

# %% [markdown] tags=["notes"]
# Four minutes. The trunk is any network for ImageNet. The second fully connected layer costs
# 16,388 weights, next to nothing. With one box per class it would be a thousand times as many.
# Ask: must both heads read the same layer? They may not want the same; keep the thought.

# %% [markdown] tags=["slide"]
# ## Two losses in one sum; without an object there is no box to miss
#
# $$L = \underbrace{-\log p_\text{class}}_{\text{what}} \;+\; \lambda\,[\text{object}]
# \underbrace{\textstyle\sum_{m} d(b_m - \hat b_m)}_{\text{where}}$$

# %%
error = torch.linspace(-2.5, 2.5, 201)
zero = torch.zeros_like(error)
distances = {
    "L1": error.abs(),
    "L2": error.square(),
    "smooth L1": F.smooth_l1_loss(error, zero, reduction="none"),
}
with plots.canvas(width=10.4, height=3.3) as (figure, (axis,)):
    looks = ((BLUE, "--"), (ORANGE, ":"), (VERMILION, "-"))
    for (name, values), (color, dash) in zip(distances.items(), looks, strict=True):
        axis.plot(error, values, color=color, ls=dash, lw=3.5, label=name)
    axis.set(ylim=(0, 4), xlabel="error of one coordinate", ylabel="loss d")
    axis.legend(fontsize=16)
    plots.render(
        figure,
        "Three distances: at an error of 2, L1 is 2, L2 is 4 and smooth L1 is "
        f"{float(F.smooth_l1_loss(torch.tensor(2.0), torch.tensor(0.0))):.1f}; near 0 smooth L1 "
        "is a parabola.",
    ).show()

# %% [markdown] tags=["notes"]
# Four minutes. Cross-entropy for the label, a distance for the box. L2 shouts at outliers, L1 has
# a kink at 0; smooth L1, from Fast R-CNN, is quadratic inside and linear outside. The bracket: an
# image without an object has no box, so it must not pull. The usual slip is to average over those,
# too.

# %% [markdown] tags=["slide"]
# ## Measure boxes in parts of the image, or pixels drown the label

# %%
side, off = 224, 20.0
logits, label = torch.zeros(1, 1000), torch.tensor([3])
target = torch.tensor([[60.0, 60, 160, 160]])
losses = {}
for name, scale in (("pixels", 1.0), ("parts of the image", 1 / side)):
    terms = localizer.localization_loss(
        logits, (target + off) * scale, label, target * scale, distance="l2"
    )
    losses[name] = [float(v) for v in terms]
with plots.canvas(width=10.4, height=3.6) as (figure, (axis,)):
    names = ["what: a blind guess of 1000", *(f"where, in {name}" for name in losses)]
    values = [losses["pixels"][0], *(v[1] for v in losses.values())]
    bars = axis.barh(names, values, color=[BLUE, VERMILION, VERMILION], hatch="//", ec="white")
    axis.bar_label(
        bars, [f"{v:,.0f}" if v > 10 else f"{v:.2g}" for v in values], padding=6, fontsize=16
    )
    axis.set(xscale="log", xlim=(0.005, 3e4), xlabel="loss, logarithmic")
    axis.invert_yaxis()
    axis.tick_params(axis="y", labelsize=15)
    plots.render(
        figure,
        f"A box {off:.0f} pixels off in an image of {side}: squared error {values[1]:,.0f} in "
        f"pixels, {values[2]:.3f} in parts of the image; the label of a blind guess costs "
        f"{values[0]:.1f}.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. The same box, 20 pixels off, in two units. In pixels the box term is 230 times the
# label's and the network forgets to classify. In parts of the image λ may stay near 1. Corners are
# divided by width and height of the image, in this order: the other slip.

# %% [markdown] tags=["slide"]
# ## Right means: the right label, and an IoU of one half or more

# %%
cases = [
    ("sheep", box + torch.tensor([6.0, 4, 8, 2])),
    ("sheep", box + torch.tensor([30.0, 8, 34, 10])),
    ("dog", box + torch.tensor([2.0, 0, 2, 0])),
]
with plots.canvas(1, 3, width=10.8, height=3.4) as (figure, axes):
    told = []
    for axis, (name, guess) in zip(axes, cases, strict=True):
        scores = torch.tensor([[1.0, 0.0] if name == "sheep" else [0.0, 1.0]])
        right = localizer.localization_accuracy(scores, guess[None], torch.tensor([0]), box[None])
        overlap = float(boxes.box_iou(guess[None], box[None]))
        verdict = "right" if right else "wrong"
        told.append(f"{name}, IoU {overlap:.2f}: {verdict}")
        panel(axis, told[-1])
        frame(axis, box, GREEN, ls="--")
        frame(axis, guess, VERMILION, name)
    plots.render(figure, "Three guesses for the front sheep. " + "; ".join(told) + ".").show()

# %% [markdown] tags=["notes"]
# Two minutes. Dashed is the truth. Both must hold. Exactly one half counts, hence ≥. The ImageNet
# challenge allowed five guesses per image, each a label with its box: OverFeat won the
# localization task of 2013 with an error of 29.9 %.

# %% [markdown] tags=["slide"]
# ## Averages of maps know what, not where, if all places are alike


# %%
def features(images, border):
    """Maps (N, 32, 3, 4) of a random network of three convolutions and poolings."""
    dice = torch.Generator().manual_seed(0)
    x = images
    for a, b in ((3, 16), (16, 32), (32, 32)):
        kernel = torch.randn(b, a, 3, 3, generator=dice) / (3 * a**0.5) * 2**0.5
        mode = "circular" if border == "circular" else "constant"
        x = F.max_pool2d(F.conv2d(F.pad(x, [1] * 4, mode=mode), kernel).relu(), 2)
    return x


def read_off(inputs, wanted):
    """Ridge regression on the first 1500 rows, tried on the others."""
    x = torch.cat([inputs, torch.ones(len(inputs), 1)], 1).double()
    seen, new = x[:1500], x[1500:]
    gram = seen.T @ seen + 0.1 * torch.eye(x.shape[1])
    return (new @ torch.linalg.solve(gram, seen.T @ wanted[:1500].double())).float()


things = data.boxes(1900, (24, 32), seed=1, count=(1, 1), radius=(4, 7))
assert things.boxes is not None
middle = torch.stack([boxes.to_cxcywh(b)[0, 0] for b in things.boxes])
readings = {}
with torch.no_grad():
    for border in ("circular", "zeros"):
        maps = features(things.images, border)
        readings["whole map", border] = read_off(maps.flatten(1), middle)
        readings["averages", border] = read_off(maps.mean((2, 3)), middle)
shown = (("whole map", "circular"), ("averages", "circular"), ("averages", "zeros"))
with plots.canvas(1, 3, width=10.8, height=3.9) as (figure, axes):
    told = []
    for axis, key in zip(axes, shown, strict=True):
        miss = float((readings[key] - middle[1500:]).abs().mean())
        told.append(
            f"{key[0]}, border of {key[1].replace('circular', 'the other side')}: {miss:.1f}"
        )
        axis.plot(middle[1500:], readings[key], ".", color=BLUE, alpha=0.5)
        axis.plot([4, 28], [4, 28], color=VERMILION, lw=2.5, ls="--")
        axis.set(xlim=(2, 30), ylim=(2, 30), aspect="equal", xlabel="true x, pixels")
        name = "the other side" if key[1] == "circular" else "zeros"
        axis.set_title(f"{key[0]}, border: {name}\nmean error {miss:.1f}", fontsize=14)
    axes[0].set_ylabel("x read off")
    plots.render(
        figure,
        "The column of an object, read off the features of a random network by a linear head. Mean "
        "error in pixels: " + "; ".join(told) + ".",
    ).show()

# %% [markdown] tags=["notes"]
# Five minutes. Nothing is trained but the last line. Left, the whole map: the place can be read.
# Middle, the averages of the same maps: nothing but the mean place. Ask why before you explain.
# Right, the honest part: with zeros around the image averages know something, because objects near
# the border meet zeros. "Averages forget the place" is true only where all places are alike.

# %% [markdown] tags=["slide"]
# ## Measured in the lab: it holds without a border, not with one

# %%
PAPER = "the lecture; no figure printed"
cards = [
    claim(
        2,
        "Global averages before the box head destroy the position.",
        quantity="mean IoU, whole map less averages, circular border",
        paper=PAPER,
        values=[0.33, 0.377, 0.429],
        at_least=0.2,
    ),
    claim(
        2,
        "They do so in an ordinary network too, whose convolutions pad with zeros.",
        quantity="mean IoU, whole map less averages, zero padding",
        paper=PAPER,
        values=[-0.158, -0.0794, -0.0334],
        at_least=0.2,
    ),
]
with plots.canvas(width=10.4, height=3.7) as (figure, (axis,)):
    for row, card in enumerate(cards):
        axis.plot(card.interval, [row, row], color=BLUE, lw=7, alpha=0.4)
        axis.plot(card.values, [row] * 3, "o", color=BLUE, ms=11)
        axis.text(0.62, row, card.verdict, fontsize=17, va="center", weight="bold")
    axis.axvline(0.2, color=VERMILION, lw=3, ls="--")
    axis.text(0.21, -0.42, "effect named beforehand", color=VERMILION, fontsize=14)
    axis.set(xlim=(-0.35, 1.0), ylim=(1.5, -0.6), xlabel="IoU of the whole map less the averages")
    axis.set_yticks([0, 1], ["no border", "zeros"], fontsize=16)
    plots.render(
        figure,
        "Two claims with three seeds each. "
        + " ".join(
            f"{c.statement} {c.mean:.2f}, 95 % interval {c.interval[0]:.2f} to "
            f"{c.interval[1]:.2f}: {c.verdict}."
            for c in cards
        ),
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Points are seeds, the bar is the 95 % interval of their mean. A rule of thumb,
# true in one setting and false in the usual one. Students meet both in lab 2.

# %% [markdown] tags=["slide"]
# ## Two heads give one box, however many sheep there are

# %%
best = scene.boxes.mean(0)
overlaps = boxes.box_iou(best[None], scene.boxes)[0]
with plots.canvas(1, 2, width=10.8, height=4.1) as (figure, axes):
    panel(axes[0], "localization: the box with the least squared error")
    frame(axes[0], best, VERMILION, f"best IoU {float(overlaps.max()):.2f}")
    panel(axes[1], "detection: a list, as long as it must be")
    for row, color in zip(scene.boxes, (BLUE, ORANGE, VERMILION), strict=True):
        frame(axes[1], row, color, "sheep")
    plots.render(
        figure,
        "Left: the one box with the least squared error to three sheep lies between them; its "
        f"overlaps are {', '.join(f'{float(v):.2f}' for v in overlaps)}. Right: one box for each.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Say it precisely, because it is often said the wrong way round: localization knows
# that there is one object and finds it; detection does not know how many there are, of which of
# the known categories, and lists them all. With L2 and three right answers the best single box is
# their mean, and right for none.

# %% [markdown] tags=["slide"]
# ## Three ways to a list of unknown length

# %%
with plots.canvas(1, 3, width=10.8, height=3.4) as (figure, axes):
    panel(axes[0], "ask every window (part 1)")
    for row in windows.window_grid(height, width, 60, 15):
        frame(axes[0], row, "#222222", lw=0.7)
    panel(axes[1], "ask proposals (part 3)")
    dice = torch.Generator().manual_seed(2)
    for row in scene.boxes.repeat(5, 1) + 14 * torch.randn(15, 4, generator=dice):
        frame(axes[1], boxes.clip_boxes(row, (height, width)), VERMILION, lw=1)
    panel(axes[2], "let each cell answer (part 4)")
    for k in range(1, 7):
        axes[2].axvline(k * width / 7, color="white", lw=2)
        axes[2].axhline(k * height / 7, color="white", lw=2)
    for row in scene.boxes:
        x, y = ((row[:2] + row[2:]) / 2).tolist()
        axes[2].plot(x, y, "o", color=VERMILION, ms=12, mec="white", mew=2)
    plots.render(
        figure,
        "The flock under sliding windows, under proposed boxes, and under a grid of 7 x 7 cells "
        "with the middle of each sheep marked.",
    ).show()

# %% [markdown] tags=["notes"]
# Two minutes. The rest of this block on one slide: many questions, fewer but better questions, or
# one pass whose output has room for many answers. Ask which is cheapest, and what each can miss.

# %% [markdown] tags=["slide"]
# ## Try it
#
# Lab 2: overlap and its gradient, both forms of a box, smooth L1, two heads, two losses, the
# measure; then
# the experiment with averages.

# %%
lectures.links(2)

# %% [markdown] tags=["notes"]
# One minute. Tell them to predict the result of the last experiment before they run it.

# %% [markdown] tags=["slide"]
# ## References
#
# - Sermanet et al., *OverFeat*, ICLR 2014, §4: regression of boxes, arXiv:1312.6229
# - Girshick, *Fast R-CNN*, ICCV 2015, §2.3: smooth L1, two losses, arXiv:1504.08083
# - Russakovsky et al., *ImageNet Challenge*, IJCV 2015, §4.2: the measure, arXiv:1409.0575
# - Everingham et al., *PASCAL VOC*, IJCV 2010, §4.2: overlap
# - Rezatofighi et al., *Generalized IoU*, CVPR 2019, §3, arXiv:1902.09630

# %% [markdown] tags=["notes"]
# No time needed.
