# %% tags=["skip"]
import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch.nn import functional as F

from course import data, demos, geometry, ladder, lectures, losses, metrics, models, plots, tiling
from course.models.unet import center_crop

BLUE, ORANGE, GREEN = plots.PALETTE[0], plots.PALETTE[1], plots.PALETTE[2]


def box(axis, corners, **style):
    """A rectangle (x0, y0, x1, y1) on an axis."""
    x0, y0, x1, y1 = corners
    axis.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, **{"fill": False, "lw": 2.5, **style}))


# %% [markdown] tags=["slide"]
# # U-Net
#
# You will be able to say why 572 pixels become 388, how an image of any size is labelled in tiles,
# and how cells that touch are kept apart.

# %%
lectures.links(8)

# %% [markdown] tags=["notes"]
# 1 minute. The FCN added skips to a classifier. U-Net is drawn as a letter because the way up is
# as rich as the way down. It was made for microscopy: 30 images to learn from, cells that touch.
# Both facts shaped it, and both come back today.

# %% [markdown] tags=["slide"]
# ## Down it learns *what*, up it recovers *where*

# %%
down, up = np.split(np.array(geometry.unet_sizes(572)).reshape(-1, 3), [5])
maps = [64, 128, 256, 512, 1024]
with plots.canvas(width=11, height=4.6) as (figure, (axis,)):
    for level in range(5):
        y, wide = -level * 1.25, 2.5
        for x, sizes, color in (
            (level * 0.75, down[level], BLUE),
            (11.5 - level * 0.75, None, ORANGE),
        ):
            if sizes is None:
                if level == 4:
                    continue
                sizes = up[3 - level]
            if level == 4:
                x = 5.75
            hatch = "//" if color == ORANGE else None
            box(
                axis,
                (x - wide / 2, y - 0.3, x + wide / 2, y + 0.3),
                fill=True,
                fc=color,
                alpha=0.25,
            )
            box(
                axis,
                (x - wide / 2, y - 0.3, x + wide / 2, y + 0.3),
                ec=color,
                hatch=hatch,
                alpha=0.5,
            )
            words = f"{sizes[0]} → {sizes[2]}"
            note = {"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.85}
            axis.text(x, y, words, ha="center", va="center", fontsize=14, bbox=note)
        if level < 4:
            left, right = level * 0.75 + wide / 2 + 0.1, 11.5 - level * 0.75 - wide / 2 - 0.1
            arrow = {"arrowstyle": "-|>", "color": GREEN, "lw": 2.5}
            axis.annotate("", (right, y), (left, y), arrowprops=arrow)
            label = f"copy {maps[level]} maps, cropped"
            axis.text(5.75, y + 0.08, label, ha="center", va="bottom", fontsize=12, color=GREEN)
            axis.text(-2.6, y, f"{maps[level]} maps", ha="left", va="center", fontsize=13)
            below = level * 0.75 + 0.55
            stop = 5.0 if level == 3 else below
            for a, b in (
                ((below, y - 0.34), (stop, y - 0.92)),
                ((11.5 - stop, y - 0.92), (11.5 - below, y - 0.34)),
            ):
                axis.annotate(
                    "", b, a, arrowprops={"arrowstyle": "-|>", "color": "#555555", "lw": 1.8}
                )
    axis.text(-2.6, -5, "1024 maps", ha="left", va="center", fontsize=13)
    axis.set(xlim=(-2.7, 13), ylim=(-5.5, 0.6))
    axis.set_axis_off()
    picture = plots.render(
        figure,
        "U-Net as a letter. Way down: "
        + ", ".join(f"{a} to {b} with {m} maps" for (a, _, b), m in zip(down.tolist(), maps))
        + ". Way up: "
        + ", ".join(f"{a} to {b}" for a, _, b in up.tolist())
        + ".",
    )
picture

# %% [markdown] tags=["notes"]
# 2 minutes. Each box is two 3 × 3 convolutions with ReLU. Left: a 2 × 2 pooling between levels,
# the maps double. Right: an up-convolution between levels, the maps halve. Green: what the FCN's
# skips became. 31,030,658 weights; 23 convolutions. Ask: why are the two numbers in a box
# different?

# %% [markdown] tags=["slide"]
# ## Way down: a convolution without padding loses two pixels

# %%
side = 8
lost = geometry.conv_output_size(side, 3)
with plots.canvas(1, 2, width=10, height=4.2) as (figure, axes):
    for axis, n, title in zip(
        axes, (side, lost), (f"in: {side} × {side}", f"out: {lost} × {lost}")
    ):
        offset = (side - n) / 2
        for row in range(n):
            for column in range(n):
                corner = (offset + column, offset + row)
                box(axis, (*corner, corner[0] + 1, corner[1] + 1), ec="#888888", lw=1)
        axis.set(xlim=(-0.2, side + 0.2), ylim=(side + 0.2, -0.2), aspect="equal", title=title)
        axis.set_axis_off()
    for corner, color, hatch in (((0, 0), BLUE, "//"), ((5, 4), ORANGE, "\\\\")):
        x, y = corner
        box(axes[0], (x, y, x + 3, y + 3), fill=True, fc=color, alpha=0.35, hatch=hatch)
        box(axes[0], (x, y, x + 3, y + 3), ec=color, lw=4)
        box(axes[1], (x + 1, y + 1, x + 2, y + 2), fill=True, fc=color, alpha=0.6, hatch=hatch)
    picture = plots.render(
        figure,
        f"A window of 3 × 3 fits on {side} × {side} pixels in {lost} × {lost} places. The outer "
        "ring of pixels is never in its middle.",
    )
picture

# %% [markdown] tags=["notes"]
# 2 minutes. Pixel by pixel ReLU changes no size. Count aloud: on a row of 8, a window of 3 has 6
# places. One pixel lost on each side, two per axis, four per pair of convolutions. Ask: and a 5 ×
# 5 window? (Four.) That is all that the number 388 is made of.

# %% [markdown] tags=["slide"]
# ## Padding would keep the size and invent the border

# %%
flat = torch.ones(1, 1, 6, 10)
mean = torch.full((1, 1, 3, 3), 1 / 9)
padded, valid = F.conv2d(flat, mean, padding=1)[0, 0], F.conv2d(flat, mean)[0, 0]
with plots.canvas(1, 2, width=11, height=3.9) as (figure, axes):
    titles = ("padded with zeros", "without padding")
    for axis, values, title, ring in zip(axes, (padded, valid), titles, (0, 1)):
        h, w = values.shape
        extent = (ring - 0.5, ring + w - 0.5, ring + h - 0.5, ring - 0.5)
        axis.imshow(values, cmap="Blues", vmin=0, vmax=1.6, extent=extent)
        for (i, j), value in np.ndenumerate(values.numpy()):
            bold = "bold" if value < 0.99 else "normal"
            place = (j + ring, i + ring)
            axis.text(*place, f"{value:.2f}", ha="center", va="center", fontsize=12, weight=bold)
        axis.set(title=title, xlim=(-0.5, 9.5), ylim=(5.5, -0.5))
        axis.set_axis_off()
    picture = plots.render(
        figure,
        f"The mean of 3 × 3 pixels of a white image: padded, {padded[2, 4]:.2f} inside, "
        f"{padded[0, 4]:.2f} at an edge, {padded[0, 0]:.2f} in a corner; without padding, "
        f"{valid.min():.2f} everywhere.",
    )
picture

# %% [markdown] tags=["notes"]
# 2 minutes. A white image, averaged: it should be white. Zeros outside make a dark frame that is
# not there, and eighteen convolutions carry it inwards. U-Net only returns pixels whose whole
# context was seen. Many ports of U-Net pad, since it is convenient; it is then another network,
# and its tiles have seams. Ask: what would mirroring instead of zeros give here? (1 everywhere.)

# %% [markdown] tags=["slide"]
# ## Pooling halves, and the stairs go down to 28

# %%
sizes = geometry.unet_sizes(572)
with plots.canvas(width=10.5, height=4.3) as (figure, (axis,)):
    steps = np.arange(len(sizes))
    axis.plot(steps, sizes, "o-", color=BLUE, lw=2.5, ms=6)
    for k in (0, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 18, 21, 24, 26):
        offset = (-16, -16) if k in (3, 6, 9, 12) else (0, 12)
        axis.annotate(
            f"{sizes[k]}", (k, sizes[k]), offset, textcoords="offset points",
            ha="center", fontsize=12,
        )  # fmt: skip
    axis.axvspan(-0.6, 14.5, color=BLUE, alpha=0.06)
    axis.axvspan(14.5, 26.6, color=ORANGE, alpha=0.08)
    axis.text(9, 560, "way down", ha="center", fontsize=14)
    axis.text(20, 560, "way up", ha="center", fontsize=14)
    axis.set(xlim=(-0.6, 26.6), ylim=(0, 640), xlabel="layer", ylabel="size, pixels", xticks=[])
    picture = plots.render(figure, f"Sizes along the path: {', '.join(map(str, sizes))}.")
picture

# %% [markdown] tags=["notes"]
# 1 minute. 572, 570, 568, halved to 284, ... at the bottom 32, 30, 28. Then up: doubled to 56, 54,
# 52 and so on to 388. Let the room compute one stair. The picture is `geometry.unet_sizes(572)`;
# lab 8.1 writes this function.

# %% [markdown] tags=["slide"]
# ## Way up: double, crop the skip, put both on one stack

# %%
with plots.canvas(width=11, height=4.0) as (figure, (axis,)):
    box(axis, (0, 0, 64, 64), fill=True, fc=BLUE, alpha=0.25)
    box(axis, (0, 0, 64, 64), ec=BLUE)
    box(axis, (4, 4, 60, 60), ec=GREEN, lw=4, ls="--")
    box(axis, (104, 36, 132, 64), fill=True, fc=ORANGE, alpha=0.35, hatch="//")
    box(axis, (172, 4, 228, 60), fill=True, fc=BLUE, alpha=0.3)
    box(axis, (176, 8, 232, 64), fill=True, fc=ORANGE, alpha=0.55, hatch="//")
    arrow = {"arrowstyle": "-|>", "lw": 2.5, "color": "black"}
    axis.annotate("", (168, 20), (70, 20), arrowprops=arrow)
    axis.annotate("", (170, 50), (138, 50), arrowprops=arrow)
    axis.text(119, 15, "crop 4 on each side", ha="center", fontsize=13)
    axis.text(154, 44, "× 2", ha="center", fontsize=13)
    below = {"ha": "center", "va": "top", "fontsize": 13}
    axis.text(32, 68, "skip: 512 maps, 64 × 64", **below)
    axis.text(118, 68, "bottom: 1024 maps, 28 × 28", **below)
    axis.text(204, 68, "512 + 512 maps, 56 × 56", **below)
    axis.set(xlim=(-6, 250), ylim=(80, -4), aspect="equal")
    axis.set_axis_off()
    picture = plots.render(
        figure,
        "The skip of 512 maps of 64 × 64 loses 4 pixels a side. The 1024 maps of 28 × 28 become "
        "512 of 56 × 56. Stacked they are 1024 maps, from which two convolutions make 512.",
    )
picture

# %% [markdown] tags=["fragment"]
# Crops from the bottom up: **4, 16, 40, 88** pixels on each side.

# %% [markdown] tags=["notes"]
# 3 minutes. The coarse map knows what, the fine one where; two convolutions learn to combine them.
# The crop is needed because every convolution lost its border. Crop at the *centre*: cropping top
# left shifts the fine map by 4 to 88 pixels, and nothing crashes. Contrast with the FCN: it adds
# scores of K classes; here hundreds of features are concatenated, and nobody decides beforehand
# what counts. Concatenation order matters only once weights are loaded.

# %% [markdown] tags=["slide"]
# ## 572 → 388, and only one size in sixteen is legal

# %%
demos.show("unet_tiles")

# %% [markdown] tags=["notes"]
# 4 minutes. Ask first: does a tile of 570 label 386? Then move the tile by 2: level 1 stops. Legal
# for four poolings: 188, 204, ..., 572, 588: n = 16 (b + 8) − 4 for a bottom of b. Plan a margin
# of 60: strips without any label. Make tiles small: the margin of 92 does not shrink, the cost
# explodes. For experts: steps of 388 are 4 modulo 16, so neighbouring tiles pool on shifted grids,
# and the result is *not* exactly that of one pass; steps of 384 are exact. The paper does not say
# so.

# %% [markdown] tags=["slide"]
# ## Beyond the edge, the image is mirrored

# %%
boxes = tiling.tile_plan(512, 512, 388, balance=False).boxes
windows = [(x0 - 92, y0 - 92, x0 + 480, y0 + 480) for x0, y0, _, _ in boxes]
tiles = plots.draw_tiles((512, 512), boxes, windows=windows)
assert tiles.figure is not None
tiles.figure.set_size_inches(8.5, 4.6)
tiles.figure.legends[0].remove()
tiles.figure.legend(loc="outside right center")
plots.render(tiles.figure, tiles.alt)

# %% [markdown] tags=["notes"]
# 2 minutes. The paper's overlap-tile strategy, for its images of 512 × 512. 388 does not divide
# 512, so the right tiles are mostly margin: 4 tiles compute 4.99 times the pixels, one pass of 700
# × 700 would compute 1.87 times. Mirror, not zeros: a membrane that leaves the image comes back,
# and the texture stays that of tissue. `tiling.predict_tiled` does all this for any network.

# %% [markdown] tags=["slide"]
# ## The loss compares with the middle of the target

# %%
scene = data.cells(1, 192, seed=5)
with plots.canvas(1, 3, width=11, height=4.2) as (figure, axes):
    n = 572
    image = scene.images[0, 0].numpy()
    scale = n / image.shape[0]
    inner = (92, 92, 480, 480)
    target = scene.masks[0].numpy()
    for axis, array, title in (
        (axes[0], image, "input: 572 × 572"),
        (axes[1], target, "target of the same 572"),
        (axes[2], target, "compared: 388 × 388"),
    ):
        axis.imshow(array, extent=(0, n, n, 0), cmap="gray", vmin=0, vmax=1)
        axis.set_title(title)
        axis.set_axis_off()
        box(axis, inner, ec=ORANGE, lw=4)
    for corners in ((0, 0, n, 92), (0, 480, n, n), (0, 92, 92, 480), (480, 92, n, 480)):
        box(axes[2], corners, fill=True, fc="white", ec="none", alpha=0.85)
    share = (388 / 572) ** 2
    picture = plots.render(
        figure,
        f"An input of 572 × 572, its target, and the central 388 × 388 of it, {share:.0%} of the "
        "pixels, with which the output is compared.",
    )
picture

# %% tags=["code"]
net = models.UNet(num_classes=2, width=4).eval()
images, target = torch.rand(1, 1, 572, 572), torch.randint(0, 2, (1, 572, 572))
logits = net(images)
loss = F.cross_entropy(logits, center_crop(target, *logits.shape[-2:]))
tuple(logits.shape), tuple(center_crop(target, 388, 388).shape)

# %% [markdown] tags=["notes"]
# 2 minutes. Output and target must lie on the same pixels, so the target is cut at its centre: 92
# pixels on each side. The code is all it takes. 46 percent of the pixels count; the rest is
# context. A frequent mistake: to resize the 572 target to 388. Every label then moves.

# %% [markdown] tags=["slide"]
# ## One image of 1024 holds many tiles of 572

# %%
rng = np.random.default_rng(2)
big = data.cells(1, 256, seed=7).images[0, 0].numpy()
corners = rng.integers(0, 1024 - 572 + 1, (4, 2))
with plots.canvas(1, 2, width=11, height=4.5) as (figure, axes):
    axes[0].imshow(big, extent=(0, 1024, 1024, 0), cmap="gray", vmin=0, vmax=1.3)
    styles = ("-", "--", "-.", ":")
    for i, ((x, y), style) in enumerate(zip(corners, styles)):
        color = plots.PALETTE[(1, 4, 2, 3)[i]]
        box(axes[0], (x, y, x + 572, y + 572), ec=color, ls=style, lw=3)
    x, y = corners[0]
    axes[0].set(xlim=(0, 1024), ylim=(1024, 0), title="1024 × 1024, four of its tiles")
    axes[1].imshow(big, extent=(0, 1024, 1024, 0), cmap="gray", vmin=0, vmax=1.3)
    box(axes[1], (x + 92, y + 92, x + 480, y + 480), ec=plots.PALETTE[1], lw=3, ls="--")
    axes[1].set(xlim=(x, x + 572), ylim=(y + 572, y), title="one tile; dashed: its 388 of target")
    for axis in axes:
        axis.set_axis_off()
    count = (1024 - 572 + 1) ** 2
    picture = plots.render(
        figure,
        f"An image of 1024 × 1024 with four of its {count:,} tiles of 572 × 572, and one tile with "
        "the central 388 × 388 that its target is.",
    )
picture

# %% [markdown] tags=["fragment"]
# (1024 − 572 + 1)² = 205,209 places: many *views*, but not that many *images*.

# %% [markdown] tags=["notes"]
# 2 minutes. Random crops turn few annotated images into a stream of training tiles. Be precise:
# they overlap, so they are far from independent; what they teach is that the place in the tile
# does not matter. New *shapes* come from deformation: the paper shifts a 3 × 3 grid of points at
# random (10 pixels standard deviation) and bends the image smoothly. Ask: which deformations would
# be wrong for road scenes? With 30 annotated images of 512 × 512, U-Net won the ISBI challenge.

# %% [markdown] tags=["slide"]
# ## Cells that touch: the line between them hardly counts

# %%
scene = data.cells(1, 64, seed=3)
assert scene.instances is not None
truth = scene.instances[0]
mask = (truth > 0).long()
closed = -F.max_pool2d(-F.max_pool2d(mask[None].float(), 3, 1, 1), 3, 1, 1)[0].long()
merged = metrics.instance_labels(closed)
confusion = metrics.ConfusionMatrix(2)
confusion.update(closed[None], mask[None])
iou = float(confusion.iou()[1])
plots.outlines(
    torch.stack([truth, merged]),
    scene.images.expand(2, 3, 64, 64),
    titles=[f"truth: {int(truth.max())} cells", f"gaps filled: {int(merged.max())} objects"],
    title=f"IoU of the right mask with the left: {iou:.3f}",
)

# %% [markdown] tags=["notes"]
# 2 minutes. Right: the true mask with its one-pixel gaps filled, nothing else. The IoU stays high,
# the count is ruined. Plain cross-entropy sees it as the IoU does: a few pixels among thousands.
# Ask: how would you tell the network that these pixels matter? (Pay more for them.)

# %% [markdown] tags=["slide"]
# ## So those pixels cost up to eleven times as much
#
# $$w(x) = w_c(x) + w_0\,\exp\!\Big(-\frac{(d_1(x)+d_2(x))^2}{2\sigma^2}\Big)$$

# %%
reach = np.linspace(0, 26, 200)
with plots.canvas(width=9.5, height=3.6) as (figure, (axis,)):
    for sigma, style, color in ((5, "-", BLUE), (2, "--", ORANGE)):
        axis.plot(reach, 10 * np.exp(-(reach**2) / (2 * sigma**2)), style, color=color, lw=3,
                  label=f"σ = {sigma}")  # fmt: skip
    gap = (
        losses.border_weights(torch.tensor([[1, 0, 2]]), 10, 5, class_balance=False)[0, 1].item()
        - 1
    )
    axis.plot(2, gap, "o", color=BLUE, ms=10)
    axis.annotate(f"gap of one pixel: {gap:.2f}", (2, gap), (3.2, 9.3), fontsize=13)
    axis.set(xlabel="d1 + d2, pixels", ylabel="border term", ylim=(0, 10.8), xlim=(0, 26))
    axis.legend(fontsize=13)
    picture = plots.render(
        figure,
        f"The border term for w0 = 10 falls with d1 + d2: 10 at 0, {gap:.2f} at 2, "
        f"{10 * np.exp(-0.5):.2f} at 5, {10 * np.exp(-2):.2f} at 10 for sigma = 5.",
    )
picture

# %% [markdown] tags=["notes"]
# 2 minutes. d1 and d2: distances to the nearest two cells. The *sum* is squared, not each:
# squaring each is the mistake that lab 8.5 catches most often. A gap of one pixel has d1 = d2 = 1.
# The paper leaves the class balance w_c open. Note the missing minus sign in the paper's loss,
# too.

# %% [markdown] tags=["slide"]
# ## Raise w0, and the cells come apart

# %%
demos.show("border_weights")

# %% [markdown] tags=["notes"]
# 4 minutes. Ask the prediction first: nearly five times as many cells found; how much does the IoU
# rise? Every state is a network really trained with these values (31 of them, one seed each, 200
# images). σ = 1 is too narrow to reach across a gap: little happens. σ = 9 with w0 = 12: the cells
# shrink, IoU pays. Point at both curves: one metric sees the effect, the other does not.

# %% [markdown] tags=["slide"]
# ## What the paper reports, and what we measured
#
# | | the paper | our miniature |
# |:--|:--|:--|
# | Membranes, ISBI 2012 | warping error 0.00035, best then | |
# | Cells, PhC-U373 and DIC-HeLa | IoU 92.0 % and 77.5 % | |
# | Border weights: cells found | shown, no ablation | **+0.76** (0.74 to 0.78): reproduced |
# | Border weights: mean IoU | | **−0.03** (−0.06 to −0.01): does not see it |

# %% [markdown] tags=["notes"]
# 2 minutes. Our lines are claims of labs 8 and 14, three seeds each, 95 % intervals, in
# `docs/claims.md`. The paper's figures come from other data and cannot be compared. The paper's
# second number for DIC-HeLa was 46 % for the runner-up: few images, touching cells, its home
# ground.

# %% [markdown] tags=["slide"]
# ## On the ladder, concatenation keeps thin lines

# %%
_, scores = ladder.load_scores()
systems = ["DeconvNet", "SegNet", "FCN-8s", "U-Net"]
ious = {name: scores[name].iou for name in systems}
plots.bars(
    systems,
    [sum(ious[name]) / len(ious[name]) for name in systems],
    [(max(ious[name]) - min(ious[name])) / 2 for name in systems],
    title="IoU of lines two pixels wide, mean of 3 seeds and half their range",
    ylabel="IoU",
    limits=(0, 1.05),
)

# %% [markdown] tags=["notes"]
# 1 minute. Four rungs of the course's ladder, on the same images; IoU of lines two pixels wide.
# The fine map goes past the poolings, so a thin line survives them. Fewer weights than SegNet
# here, more multiply-accumulates: say both.

# %% [markdown] tags=["slide"]
# ## Try it
#
# Lab 8: compute the sizes, plan tiles that repeat one pass exactly, weigh the borders, crop and
# concatenate, and train with and without weights.

# %%
lectures.links(8)

# %% [markdown] tags=["notes"]
# 1 minute. About two hours. Most common mistakes: (d1² + d2²) for (d1 + d2)², a margin of 184
# instead of 92, resizing instead of cropping. The checks name each of them.

# %% [markdown] tags=["slide"]
# ## References
#
# - Ronneberger, Fischer, Brox, *U-Net: Convolutional Networks for Biomedical Image Segmentation*,
#   MICCAI 2015, arXiv:1505.04597: §2 and Figures 1, 2 (sizes, tiles), §3 and Figure 3 (weights),
#   §3.1 (augmentation)
# - Long, Shelhamer, Darrell, *Fully Convolutional Networks*, CVPR 2015, §4.2, arXiv:1411.4038
# - Cireşan et al., *Deep Neural Networks Segment Neuronal Membranes*, NIPS 2012, §2

# %% [markdown] tags=["notes"]
# Leave this slide up during questions. The paper has eight pages; Figure 1 is worth an evening.
