# %% tags=["skip"]
import numpy as np
import torch
from skimage.segmentation import felzenszwalb, mark_boundaries
from torch import nn

from course import boxes, data, demos, geometry, lectures, plots, proposals, windows
from course.claims import claim
from course.lectures.blocks import Blocks
from course.lectures.flock import flock
from course.lectures.panels import frame, panel
from course.models import RCNN, FastRCNN
from course.models.rcnn import warp_regions
from course.models.vgg import vgg_stages

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, WINE = plots.PALETTE

scene = flock()
pixels = scene.image.permute(1, 2, 0)
height, width = scene.labels.shape
found = proposals.segment_proposals(scene.image)
overlaps = boxes.box_iou(found, scene.boxes)  # (proposals, sheep)

# %% [markdown] tags=["slide"]
# # Region proposals
#
# After this part you can say where boxes come from, bring any box to one size, and count what it
# saves to convolve an image once.

# %%
lectures.links(3)

# %% [markdown] tags=["notes"]
# One minute. Windows ask everywhere, two heads answer once. In between: find out first where it is
# worth asking. Ask: how do you know that something is an object before you know what it is?

# %% [markdown] tags=["slide"]
# ## Ask fewer, better questions

# %%
every = 0
for level in windows.image_pyramid(scene.image, 0.8, 24):
    h, w = level.image.shape[1:]
    every += len(windows.window_grid(h, w, 24, 2))
best = overlaps.argmax(0)
with plots.canvas(1, 2, width=10.8, height=4.0) as (figure, axes):
    axes[0].barh(["windows", "proposals"], [every, len(found)], color=[VERMILION, BLUE], hatch="//")
    for row, n in enumerate((every, len(found))):
        axes[0].text(n * 1.15, row, f"{n:,}", fontsize=18, va="center")
    axes[0].set(xscale="log", xlim=(10, 4e5), xlabel="boxes to classify")
    axes[0].tick_params(axis="y", labelsize=17)
    axes[0].invert_yaxis()
    panel(axes[1], "the best proposal for each sheep")
    for k, color in enumerate((BLUE, ORANGE, VERMILION)):
        box = found[best[k]]
        frame(axes[1], box, color)
        label = {"facecolor": "white", "edgecolor": color, "pad": 2}
        text = f"IoU {float(overlaps[best[k], k]):.2f}"
        axes[1].text(float(box[0]), float(box[1]) - 6, text, fontsize=14, va="bottom", bbox=label)
    plots.render(
        figure,
        f"{every:,} windows at step 2 and all scales against {len(found)} proposals; the best "
        "proposals overlap the three sheep by "
        + ", ".join(f"{float(overlaps[best[k], k]):.2f}" for k in range(3))
        + ".",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Proposals come from the picture itself, without learning: areas of one colour.
# Windows of one shape cannot even fit a lying box. Real photographs give about 2000 proposals.

# %% [markdown] tags=["slide"]
# ## Segments grow together, and every merge proposes a box

# %%
start = felzenszwalb(pixels.numpy(), scale=50.0, sigma=0.5, min_size=12)
with plots.canvas(1, 3, width=10.8, height=3.4) as (figure, axes):
    panel(axes[0], "the picture")
    marked = mark_boundaries(pixels.numpy(), start, color=(0.1, 0.1, 0.1), mode="thick")
    panel(axes[1], f"{start.max() + 1} areas of one colour", marked)
    panel(axes[2], f"{len(found)} boxes of areas and merges")
    for box in found:
        frame(axes[2], box, VERMILION, lw=0.8)
    plots.render(
        figure,
        f"The flock; its {start.max() + 1} starting segments; and the {len(found)} boxes of all "
        "segments and of all their merges.",
    ).show()

# %% [markdown] tags=["notes"]
# Four minutes. Start with many small areas, merge the two neighbours that are most alike, note the
# box, go on until one is left. Selective search, the proposer of both papers, merges by colour,
# texture, size and fill; ours by colour alone. A merge is never undone, so a sheep whose head
# joins the road is lost in this hierarchy: that is why there are several.

# %% [markdown] tags=["slide"]
# ## Noise is allowed, a miss is not

# %%
pictures = data.boxes(16, (96, 128), seed=7, count=(3, 6), radius=(6, 18))
assert pictures.boxes is not None
steps = (1, 3, 10, 30, 100, 300, 1000)
recall = {}
dice = torch.Generator().manual_seed(0)
for method in ("segments", "windows"):
    hits = torch.zeros(len(steps))
    total = 0
    for image, truth in zip(pictures.images, pictures.boxes, strict=True):
        rows = proposals.propose(image, method)
        rows = rows[torch.randperm(len(rows), generator=dice)]
        agree = boxes.box_iou(rows, truth) >= 0.5
        hits += torch.tensor([float(agree[:n].any(0).sum()) for n in steps])
        total += len(truth)
    recall[method] = (hits / total).tolist()
with plots.canvas(width=10.4, height=4.0) as (figure, (axis,)):
    looks = {"segments": (BLUE, "o", "-"), "windows": (VERMILION, "s", "--")}
    for method, values in recall.items():
        color, mark, dash = looks[method]
        axis.plot(steps, values, color=color, marker=mark, ls=dash, ms=10, lw=3, label=method)
    axis.set(xscale="log", ylim=(0, 1.05), xlabel="proposals for an image, in random order")
    axis.set_ylabel("objects met with IoU ≥ 0.5")
    axis.set_xticks(steps, [str(n) for n in steps])
    axis.minorticks_off()
    axis.legend(fontsize=17)
    plots.render(
        figure,
        f"Share of {total} objects that some proposal meets: "
        + "; ".join(
            f"{method} {', '.join(f'{v:.2f} with {n}' for n, v in zip(steps, values, strict=True))}"
            for method, values in recall.items()
        )
        + ".",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Most proposals hold nothing, and the classifier throws them out. What was not
# proposed can never be found: recall is the ceiling of all that follows. Clean synthetic shapes
# are easy for segments; on photographs the gap is smaller.

# %% [markdown] tags=["slide"]
# ## Warp every proposal to one square

# %%
chosen = torch.cat([scene.boxes, torch.tensor([[20.0, 60, 200, 100]])])
crops = warp_regions(scene.image, chosen, size=96, context=7, fill=scene.image.mean((1, 2)))
with plots.canvas(1, 5, width=10.8, height=2.9) as (figure, axes):
    panel(axes[0], "proposals")
    for k, (box, crop) in enumerate(zip(chosen, crops, strict=True)):
        color = (BLUE, ORANGE, VERMILION, WINE)[k]
        frame(axes[0], box, color)
        panel(axes[1 + k], f"{box[2] - box[0]:.0f} × {box[3] - box[1]:.0f}", crop.permute(1, 2, 0))
        for side in axes[1 + k].spines.values():
            side.set(visible=True, color=color, linewidth=4)
        axes[1 + k].set_axis_on()
        axes[1 + k].set(xticks=[], yticks=[])
        axes[1 + k].grid(False)
    plots.render(
        figure,
        "Four proposals of different sizes and shapes, each warped to a square of 96 pixels with a "
        "rim of 7 pixels; a flat one comes out stretched.",
    ).show()

# %% [markdown] tags=["fragment"]
# R-CNN: 227 × 227 pixels, 16 of them context on each side: the box grows by 227 / 195 = 1.164.

# %% [markdown] tags=["notes"]
# Three minutes. A network with fully connected layers wants one size; height and width are
# stretched independently. The context is 16 pixels in the warped frame, not in the image: the
# usual slip. Outside the image, the mean colour. Ask what stretching does to a tall person.

# %% [markdown] tags=["slide"]
# ## R-CNN: one pass of a network for every proposal

# %%
with torch.device("meta"):  # shapes without numbers: enough to count
    sizes = {net.__name__: sum(p.numel() for p in net().parameters()) for net in (RCNN, FastRCNN)}
plan = Blocks(1100, 400)
image = plan.box((10, 140, 150, 260), "image", color="muted")
many = plan.box((210, 140, 390, 260), "proposals", "about 2000", color="orange")
warp = plan.box((450, 140, 610, 260), "warp", "227 × 227", color="orange")
net = plan.box((670, 140, 850, 260), "CaffeNet", "2000 passes")
svm = plan.box((920, 40, 1090, 160), "SVM", "one a class", color="green")
fit = plan.box((920, 240, 1090, 360), "ridge", "moves boxes", color="vermilion")
for a, b in ((image, many), (many, warp), (warp, net), (net, svm), (net, fit)):
    plan.link(a, b)
plan.text((550, 375), f"{sizes['RCNN']:,} weights; trained in three stages")
plan.show(
    "An image gives about 2000 proposals; each is warped to 227 x 227 pixels and goes through "
    "CaffeNet alone; its features go to a linear SVM for every class, and to a ridge regression "
    f"that moves the box. The network has {sizes['RCNN']:,} weights."
)

# %% [markdown] tags=["notes"]
# Four minutes. Three trainings: fine-tune the network, fit the SVMs, fit the regression; features
# of 2000 boxes an image go through the disk. It won by far: VOC 2010 mean average precision 53.7.
# But 47 seconds for an image with VGG16. Ask where the time goes.

# %% [markdown] tags=["slide"]
# ## What is foreground? The overlap decides

# %%
label, _ = boxes.assign(found, scene.boxes, 0.5, 0.1)
groups = (
    ("foreground: 0.5 and more", label == 1, BLUE),
    ("background: 0.1 to 0.5", label == 0, VERMILION),
    ("neither: below 0.1", label == -1, "#444444"),
)
with plots.canvas(1, 3, width=10.8, height=3.4) as (figure, axes):
    told = []
    for axis, (name, members, color) in zip(axes, groups, strict=True):
        panel(axis, f"{name}\n{int(members.sum())} proposals")
        told.append(f"{name} {int(members.sum())}")
        for box in found[members]:
            frame(axis, box, color, lw=0.9)
    plots.render(figure, "Proposals by their best overlap: " + "; ".join(told) + ".").show()

# %% [markdown] tags=["notes"]
# Three minutes. These are Fast R-CNN's thresholds; the true meaning of labels below the lower one
# must be looked up in each paper. R-CNN's SVMs took only the true boxes as positives and
# everything under 0.3 as negative. Fast R-CNN draws 64 regions an image, a quarter of them
# foreground.

# %% [markdown] tags=["slide"]
# ## Four numbers move a proposal onto its object
#
# $$t_x = \frac{G_x - P_x}{P_w},\quad t_y = \frac{G_y - P_y}{P_h},\quad
# t_w = \ln\frac{G_w}{P_w},\quad t_h = \ln\frac{G_h}{P_h}$$

# %%
P, G = torch.tensor([[50.0, 50, 20, 40]]), torch.tensor([[55.0, 46, 30, 20]])
t = boxes.encode(boxes.to_xyxy(G), boxes.to_xyxy(P))[0].tolist()
with plots.canvas(1, 2, width=10.8, height=3.4) as (figure, axes):
    for box, color, name, at in ((P, ORANGE, "P", (36, 74)), (G, BLUE, "G", (72, 40))):
        frame(axes[0], boxes.to_xyxy(box)[0], color, ls="--" if name == "P" else "-")
        axes[0].plot(*box[0, :2].tolist(), "o", color=color, ms=11)
        axes[0].text(*at, name, fontsize=20, color=color, weight="bold")
    axes[0].set(xlim=(20, 90), ylim=(76, 24), aspect="equal")
    axes[0].set_axis_off()
    drawn = axes[1].bar(["tx", "ty", "tw", "th"], t, color=BLUE, hatch="//", ec="white")
    axes[1].bar_label(drawn, [f"{v:+.3f}" for v in t], padding=3, fontsize=16)
    axes[1].axhline(0, color="black", lw=1)
    axes[1].set(ylim=(-0.95, 0.6))
    axes[1].tick_params(axis="x", labelsize=17)
    plots.render(
        figure,
        "Proposal P with centre (50, 50), 20 x 40 pixels; object G with centre (55, 46), 30 x 20. "
        f"t = ({', '.join(f'{v:.3f}' for v in t)}).",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Compute tx on the board: 5 pixels to the right, a quarter of P's width. Shifts in
# parts of the proposal, sizes as logarithms: the same number means the same thing for a large and
# a small box. Divide by P, not by G. R-CNN uses only pairs with an overlap above 0.6.

# %% [markdown] tags=["slide"]
# ## The same pixels go through the network again and again

# %%
cover = torch.zeros(height, width)
for x0, y0, x1, y1 in found.int().tolist():
    cover[y0:y1, x0:x1] += 1
times = float(cover.sum()) / (height * width)
with plots.canvas(1, 2, width=10.8, height=3.9) as (figure, axes):
    panel(axes[0], "the picture")
    counted = axes[1].imshow(cover, cmap="cividis")
    axes[1].set_axis_off()
    axes[1].set_title(f"in how many proposals: {times:.0f} in the mean", fontsize=15)
    figure.colorbar(counted, ax=axes[1], label="proposals")
    plots.render(
        figure,
        f"For every pixel the number of the {len(found)} proposals that hold it: {times:.1f} in "
        f"the mean, {int(cover.max())} at most.",
    ).show()

# %% [markdown] tags=["notes"]
# Two minutes. Counted, not drawn by hand. Each proposal is convolved alone, so a pixel's work is
# done as often as this map says. With 2000 proposals it is hundreds of times. Ask what could be
# shared: the convolutions do not know which box they are in.

# %% [markdown] tags=["slide"]
# ## Fast R-CNN: convolve once, then cut the boxes out of the map

# %%
plan = Blocks(1100, 420)
image = plan.box((10, 60, 150, 180), "image", color="muted")
many = plan.box((10, 270, 150, 390), "proposals", "about 2000", color="orange", size=18)
trunk = plan.box((220, 60, 420, 180), "VGG16", "one pass")
shared = plan.box((490, 60, 660, 180), "map", "1/16 of the size", color="green")
pool = plan.box((490, 270, 660, 390), "RoI pooling", "7 × 7 each", color="orange")
dense = plan.box((730, 270, 880, 390), "2 layers", "4096 each")
what = plan.box((950, 190, 1090, 290), "softmax", "21", color="green")
where = plan.box((950, 320, 1090, 420), "boxes", "21 × 4", color="vermilion")
for a, b in ((image, trunk), (trunk, shared), (shared, pool), (many, pool), (pool, dense)):
    plan.link(a, b)
for head in (what, where):
    plan.link(dense, head)
plan.text((880, 110), f"{sizes['FastRCNN']:,} weights; one training")
plan.show(
    "The image goes through the convolutions of VGG16 once. RoI pooling cuts every proposal out of "
    "the map as 7 x 7 cells; two layers of 4096 and two heads follow: a softmax over 21 classes "
    f"and a box for each. {sizes['FastRCNN']:,} weights, trained at once."
)

# %% [markdown] tags=["notes"]
# Four minutes. The proposals are the same; they are laid on the map, not on the image. Everything
# before RoI pooling is done once, everything behind it for each box. All of it is trained
# together. Ask what a box of 15 × 15 pixels becomes on this map: one cell.

# %% [markdown] tags=["slide"]
# ## RoI pooling under the microscope

# %%
demos.show("roi_pooling")

# %% [markdown] tags=["notes"]
# Six minutes. Predict first. Drag the box by single pixels and watch the chart: flat, then a jump.
# Then RoIAlign: no rounding, no jumps; that is a later paper, He et al. 2017, and matters for
# masks. Three bins: they overlap where three does not divide the cells.

# %% [markdown] tags=["slide"]
# ## By hand: sixteen numbers, three boxes
#
# $$\text{bin } i = \text{cells } \lfloor i\,n/P \rfloor \ldots \lceil (i+1)\,n/P \rceil - 1$$

# %%
sixteen = torch.arange(16.0).view(1, 1, 4, 4)
examples = {
    "cells 0 to 3": ([0.0, 0, 3, 3], 1.0),
    "cells 0 to 2: bins overlap": ([0.0, 0, 2, 2], 1.0),
    "pixels 0 to 63, scale 1/16": ([0.0, 0, 63, 63], 1 / 16),
}
with plots.canvas(1, 4, width=10.8, height=2.9) as (figure, axes):
    told = []
    tables = [("the map", sixteen[0, 0])]
    for name, (box, scale) in examples.items():
        tables.append((name, boxes.roi_max_pool(sixteen, torch.tensor([box]), 2, scale)[0, 0]))
        told.append(f"{name}: {tables[-1][1].int().tolist()}")
    for axis, (name, values) in zip(axes, tables, strict=True):
        axis.imshow(values, cmap="Blues", vmin=-4, vmax=32)
        for (row, column), value in np.ndenumerate(values.numpy()):
            axis.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=19)
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
        axis.set_title(name.replace(": ", "\n").replace(", ", "\n"), fontsize=14)
    plots.render(figure, "The numbers 0 to 15 as a map, pooled to 2 x 2. " + "; ".join(told)).show()

# %% [markdown] tags=["notes"]
# Three minutes. Let the class do the second before you show it: three cells, two bins, so the
# middle cell is in both. The third: 63/16 is 3.94, rounded to cell 4, which does not exist; five
# cells are divided and what hangs over is cut. Corners are inclusive: that is the released layer,
# not a choice.

# %% [markdown] tags=["slide"]
# ## The bill, counted: 2000 regions through VGG16

# %%
layers = []
with torch.device("meta"):
    for stage in vgg_stages():
        layers += [stage, nn.MaxPool2d(2)]
    heads = FastRCNN()
once = geometry.count_macs(nn.Sequential(*layers[:-1]), (1, 3, 600, 800))  # ends at stride 16
crop = geometry.count_macs(nn.Sequential(*layers), (1, 3, 224, 224))
dense = sum(layer.weight.numel() for layer in heads.modules() if isinstance(layer, nn.Linear))
bill = {"R-CNN": (2000 * crop, 2000 * dense), "Fast R-CNN": (once, 2000 * dense)}
with plots.canvas(width=10.6, height=3.7) as (figure, (axis,)):
    for row, parts in enumerate(bill.values()):
        for k, (value, color, hatch) in enumerate(zip(parts, (BLUE, ORANGE), ("//", ".."))):
            y = row + (k - 0.5) * 0.38
            axis.barh(y, value / 1e9, 0.36, color=color, hatch=hatch, ec="white")
            axis.text(value / 1e9 * 1.1, y, f"{value / 1e9:,.0f}", fontsize=17, va="center")
    axis.set(xscale="log", xlim=(10, 2e5), xlabel="billion multiply-accumulates for an image")
    axis.set_yticks([0, 1], list(bill), fontsize=18)
    axis.invert_yaxis()
    axis.text(9e3, 1.2, "dotted: layers of each region", fontsize=15, color="#7A5000", ha="center")
    axis.text(9e3, 0.82, "hatched: convolutions", fontsize=15, color=BLUE, ha="center")
    ratio = sum(bill["R-CNN"]) / sum(bill["Fast R-CNN"])
    plots.render(
        figure,
        "Billion multiply-accumulates for 2000 regions of an image of 600 x 800 pixels: "
        + "; ".join(
            f"{name} {a / 1e9:,.0f} for convolutions and {b / 1e9:,.0f} for fully connected layers"
            for name, (a, b) in bill.items()
        )
        + f". Together {ratio:.0f} times less.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Same network on both sides, counted, no clock. The convolutions fall by a factor
# of about 200; now the fully connected layers of each region cost more than the whole image. Hence
# the truncated SVD in the paper: two thin layers for a thick one.

# %% [markdown] tags=["slide"]
# ## One loss for both heads, and the background has no box
#
# $$L = -\log p_u + \lambda\,[u \ge 1]\sum_{m \in \{x, y, w, h\}} \mathrm{smooth}_{L1}(t^u_m -
# v_m)$$

# %%
classes = 21
taught = {"a region of class 7": 7, "a region of background": 0}
with plots.canvas(2, 1, width=10.6, height=3.8) as (figure, axes):
    for axis, (name, true) in zip(axes, taught.items(), strict=True):
        pulled = np.zeros((4, classes))
        if true:
            pulled[:, true] = 1
        axis.imshow(pulled, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
        axis.set_xticks(range(classes))
        axis.set_yticks(range(4), ["x", "y", "w", "h"])
        axis.set_xticks(np.arange(classes) - 0.5, minor=True)
        axis.set_yticks(np.arange(4) - 0.5, minor=True)
        axis.grid(False)
        axis.grid(True, which="minor", axis="both", color="#AAAAAA")
        axis.tick_params(which="minor", length=0)
        axis.set_title(f"{name}: {int(pulled.sum())} of {pulled.size} outputs learn", fontsize=15)
    axes[1].set_xlabel("class of the output, 0 is background")
    plots.render(
        figure,
        "The 84 outputs of the box head, 4 for each of 21 classes. For a region of class 7 the 4 "
        "outputs of class 7 get a loss, for a region of background none.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. u is the true class, v are the four numbers of an earlier slide, brought to mean 0
# and deviation 1. Each class has a box of its own; only that of the true class learns. The sum is
# divided by the number of all regions, not of those with an object. Slips: smooth L1 without the −
# ½; a box loss for the background.

# %% [markdown] tags=["slide"]
# ## Published: as precise, and a hundred times as fast

# %%
published = {
    "R-CNN": (66.0, 47.0, 84.0),
    "Fast R-CNN": (66.9, 0.32, 9.5),
}
names = ("VOC 2007, mAP", "seconds an image", "hours of training")
with plots.canvas(1, 3, width=10.8, height=3.2) as (figure, axes):
    for k, (axis, name) in enumerate(zip(axes, names, strict=True)):
        values = [row[k] for row in published.values()]
        drawn = axis.bar(list(published), values, color=[VERMILION, BLUE], hatch="//", ec="white")
        axis.bar_label(drawn, [f"{v:g}" for v in values], padding=3, fontsize=17)
        axis.set(title=name, ylim=(0, max(values) * 1.2), yticks=[])
        axis.tick_params(axis="x", labelsize=14)
    plots.render(
        figure,
        "Published with VGG16: "
        + "; ".join(
            f"{name} {m} mAP on VOC 2007, {s} s an image, {t} h of training"
            for name, (m, s, t) in published.items()
        )
        + ". The time for proposals is not included.",
    ).show()

# %% [markdown] tags=["notes"]
# Two minutes. Numbers of the papers, with VGG16; seconds without the proposals, which take longer
# than the network now. The next step is to let the network propose (Faster R-CNN), or to do
# without proposals: part 4.

# %% [markdown] tags=["slide"]
# ## Measured in the lab: both claims hold in miniature

# %%
cards = [
    claim(
        3,
        "Sharing the convolutions saves most of their cost.",
        quantity="cost of the convolutions, crop by crop over one pass, 800 regions",
        paper="Girshick 2015, §1: timed, not counted",
        values=[48.2],
        at_least=15,
        counted=True,
    ),
    claim(
        3,
        "Box regression raises the overlap of proposals.",
        quantity="mean IoU, corrected less as proposed",
        paper="Girshick et al. 2014, Table 2: VOC 2007 54.2 to 58.5 mAP",
        values=[0.12, 0.126, 0.137],
        at_least=0.06,
    ),
]
units = ("times fewer multiply-accumulates", "higher mean IoU")
with plots.canvas(2, 1, width=10.6, height=3.8) as (figure, axes):
    for axis, card, unit in zip(axes, cards, units, strict=True):
        axis.plot(card.interval, [0, 0], color=BLUE, lw=8, alpha=0.4)
        axis.plot(card.values, [0] * len(card.values), "o", color=BLUE, ms=11)
        axis.axvline(card.at_least, color=VERMILION, lw=3, ls="--")
        axis.text(card.at_least * 0.97, 0.55, "expected", ha="right", color=VERMILION, fontsize=14)
        axis.set(xlim=(0, max(card.interval) * 1.25), ylim=(-1, 1), yticks=[], xlabel=unit)
        axis.set_title(f"{card.statement} {card.verdict.capitalize()}.", fontsize=15, loc="left")
    plots.render(
        figure,
        "Two claims. "
        + " ".join(
            f"{c.statement} {c.mean:.3g} {unit}, expected at least {c.at_least}: {c.verdict}."
            for c, unit in zip(cards, units, strict=True)
        ),
    ).show()

# %% [markdown] tags=["notes"]
# Two minutes. The first is counted, so it has no seeds. The second is the mean of three seeds; the
# whole 95 % interval, 0.106 to 0.149, lies above what was named beforehand.

# %% [markdown] tags=["slide"]
# ## Try it
#
# Lab 3: four numbers, foreground, a fair batch, RoI pooling, suppression by class, two heads and
# one
# loss; then count what sharing saves.

# %%
lectures.links(3)

# %% [markdown] tags=["notes"]
# One minute. The exercise on RoI pooling is the longest; the demo shows the same bins.

# %% [markdown] tags=["slide"]
# ## References
#
# - Girshick et al., *Rich Feature Hierarchies* (R-CNN), CVPR 2014, §2, appendices A and C,
#   arXiv:1311.2524
# - Girshick, *Fast R-CNN*, ICCV 2015, §2, arXiv:1504.08083
# - Uijlings et al., *Selective Search*, IJCV 2013, §3
# - Felzenszwalb, Huttenlocher, *Efficient Graph-Based Image Segmentation*, IJCV 2004
# - He et al., *Mask R-CNN*, ICCV 2017, §3: RoIAlign, arXiv:1703.06870

# %% [markdown] tags=["notes"]
# No time needed. §2 of Fast R-CNN is short and complete.
