# %% tags=["skip"]
import numpy as np
import torch
from torch import nn

from course import demos, geometry, lectures, metrics, plots, windows
from course.claims import claim
from course.demos import nms as stepper
from course.demos import sliding_window as scanner
from course.lectures.flock import CLASSES, flock
from course.lectures.panels import frame, panel
from course.models import OverFeat
from course.plots.panels import paint

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, WINE = plots.PALETTE
SHEEP = CLASSES.index("sheep")

scene = flock()
pixels = scene.image.permute(1, 2, 0)
height, width = scene.labels.shape

# %% [markdown] tags=["slide"]
# # Sliding windows
#
# After this part you can turn a classifier into a detector, count what that costs before you run
# it, and name three ways to pay less.

# %%
lectures.links(1)

# %% [markdown] tags=["notes"]
# One minute. The oldest idea of the course, and the yardstick for the others: nothing is shared,
# everything is asked. Ask: you own a classifier of small pictures and need to know where things
# are. What do you do first?

# %% [markdown] tags=["slide"]
# ## Cut the image, classify each piece, write the answer in its place

# %%
piece = 30
rows, columns = height // piece, width // piece
centres = scene.labels[piece // 2 :: piece, piece // 2 :: piece]
apart = torch.ones(rows * (piece + 6), columns * (piece + 6), 3)
for r, c in np.ndindex(rows, columns):
    top, left = r * (piece + 6), c * (piece + 6)
    cut = pixels[r * piece : (r + 1) * piece, c * piece : (c + 1) * piece]
    apart[top : top + piece, left : left + piece] = cut
coarse = centres.repeat_interleave(piece, 0).repeat_interleave(piece, 1)
with plots.canvas(1, 2, width=10.8, height=4.1) as (figure, axes):
    panel(axes[0], f"{rows} × {columns} pieces, {rows * columns} calls", apart)
    panel(axes[1], "one class for each piece")
    for k in range(len(CLASSES)):
        paint(axes[1], (coarse == k).numpy(), k)
    plots.render(
        figure,
        f"The picture of the flock in {rows} x {columns} pieces of {piece} pixels, and the same "
        "picture with one class a piece: sheep have become squares.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. The classifier is perfect here: it knows the class of the middle pixel of its
# piece. Yet the answer has corners, because one answer covers 900 pixels. Ask: make the pieces
# smaller? Then the classifier sees too little to know anything.

# %% [markdown] tags=["slide"]
# ## Let the pieces overlap: a finer map, paid for in calls

# %%
with plots.canvas(1, 3, width=10.8, height=3.4) as (figure, axes):
    told = []
    for axis, step in zip(axes, (20, 6, 1), strict=True):
        answers = scene.labels[step // 2 :: step, step // 2 :: step]
        fine = answers.repeat_interleave(step, 0).repeat_interleave(step, 1)[:height, :width]
        table = metrics.confusion_matrix(fine, scene.labels, len(CLASSES))
        told.append((step, answers.numel(), float(metrics.iou(table)[SHEEP])))
        panel(axis, f"step {step}: {answers.numel():,} calls\nIoU of sheep {told[-1][2]:.2f}")
        paint(axis, (fine == SHEEP).numpy(), SHEEP)
    plots.render(
        figure,
        "The class sheep from a perfect classifier of the middle pixel of a window: "
        + "; ".join(f"step {s} pixels, {n:,} calls, IoU {v:.2f}" for s, n, v in told)
        + ".",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. The window keeps its size, only its step shrinks. Step 1 is a window around every
# pixel: that is semantic segmentation already, and part 5 takes it seriously. The bill: 43,200
# calls for a picture smaller than a stamp.

# %% [markdown] tags=["slide"]
# ## The bill: windows of $k$ pixels, a step of $s$, a length of $L$
#
# $$n = \left\lfloor \frac{L-k}{s} \right\rfloor + 1 \quad\text{along each axis, none if } L < k$$

# %%
steps = [1, 2, 4, 8, 16, 24]
photo = torch.zeros(1, 480, 640)
levels = [level.image.shape[1:] for level in windows.image_pyramid(photo, 0.8, 24)]
bill = {
    "one scale": [len(windows.window_grid(480, 640, 24, s)) for s in steps],
    f"{len(levels)} scales": [
        sum(len(windows.window_grid(h, w, 24, s)) for h, w in levels) for s in steps
    ],
}
with plots.canvas(width=10.4, height=3.6) as (figure, (axis,)):
    for (name, counts), color, mark in zip(
        bill.items(), (BLUE, VERMILION), ("o", "s"), strict=True
    ):
        axis.plot(steps, counts, color=color, marker=mark, ms=9, lw=3)
        axis.annotate(
            f"{name}: {counts[0]:,}",
            (1, counts[0]),
            xytext=(16, 4) if color == VERMILION else (-4, -64),
            textcoords="offset points",
            color=color,
            fontsize=16,
        )
    axis.set(xscale="log", yscale="log", ylim=(300, 2e6), xlabel="step, pixels", ylabel="calls")
    axis.set_xticks(steps, [str(s) for s in steps])
    axis.minorticks_off()
    plots.render(
        figure,
        "Calls for a photograph of 480 x 640 pixels and windows of 24: "
        + "; ".join(
            f"{name} {', '.join(f'{n:,} at step {s}' for s, n in zip(steps, counts, strict=True))}"
            for name, counts in bill.items()
        )
        + ".",
    ).show()

# %% [markdown] tags=["notes"]
# Four minutes. Do one axis on the board: where may the last window start? Half the step, four
# times the calls. Typical slips: rounding up, forgetting the + 1, one window more that hangs over
# the border. With s = k the windows are the pieces of the first picture.

# %% [markdown] tags=["slide"]
# ## Scan the scene

# %%
demos.show("sliding_window")

# %% [markdown] tags=["notes"]
# Six minutes. Ask the question first and collect guesses. Then: move "Scanned" slowly, one cell a
# window. One size finds only the small discs: why? Switch the pyramid on; squares are taken for
# discs, keep them for later. Then step 1, and read the bill aloud. At last "after suppression".

# %% [markdown] tags=["slide"]
# ## The window keeps its size; the image shrinks

# %%
pyramid = windows.image_pyramid(scene.image, 0.75, 64)
with plots.canvas(width=10.8, height=3.5) as (figure, (axis,)):
    edge = 0.0
    for i, level in enumerate(pyramid):
        h, w = level.image.shape[1:]
        axis.imshow(level.image.permute(1, 2, 0), extent=(edge, edge + w, h, 0))
        axis.text(edge + w / 2, -4, f"{h} × {w}", fontsize=16, ha="center", va="bottom")
        if i < 2:  # here one of the sheep fits the window
            down, right = level.factors
            x0, y0, x1, y1 = scene.boxes[(0, 2)[i]].tolist()
            x, y = edge + (x0 + x1) / 2 / right - 32, (y0 + y1) / 2 / down - 32
            frame(axis, (x, y, x + 64, y + 64), VERMILION)
        edge += w + 12
    axis.set(xlim=(0, edge), ylim=(height + 1, -26), aspect="equal")
    axis.set_axis_off()
    plots.render(
        figure,
        f"The picture at {len(pyramid)} sizes, each 0.75 of the one before, all drawn to one "
        "scale. The window always has 64 pixels: on the first it fits the small sheep, on the "
        "second a large one.",
    ).show()

# %% [markdown] tags=["fragment"]
# $x_\text{image} = x_\text{level} \cdot L_\text{image} / L_\text{level}$: divide by the sizes that
# were
# really used, not by powers of the scale.

# %% [markdown] tags=["notes"]
# Three minutes. One classifier, trained at one size, serves all sizes. Costs: the sum of a
# geometric series, 1 / (1 − 0.75²) = 2.3 times the first level. What goes wrong: boxes are mapped
# back with scale to the i, although each level was rounded to whole pixels.

# %% [markdown] tags=["slide"]
# ## Each window is normalised on its own
#
# $$\hat w = \frac{w - \operatorname{mean}(w)}{\max(\operatorname{std}(w),\, 10^{-6})}$$

# %%
dim = torch.linspace(1.0, 0.25, scanner.WIDTH) * torch.from_numpy(scanner.scene())
places = {"in the light": (6, 7), "in the shade": (67, 6)}
with plots.canvas(1, 5, width=10.8, height=2.9) as (figure, axes):
    panel(axes[0], "uneven light", dim, cmap="gray", vmin=0, vmax=1)
    ranges = []
    for k, (name, (x, y)) in enumerate(places.items()):
        window = dim[y : y + 12, x : x + 12]
        frame(axes[0], (x, y, x + 12, y + 12), VERMILION)
        ranges.append(f"{name} {float(window.min()):.2f} to {float(window.max()):.2f}")
        panel(axes[1 + 2 * k], name, window, cmap="gray", vmin=0, vmax=1)
        same = (window - window.mean()) / window.std(correction=0)
        panel(axes[2 + 2 * k], "normalised", same, cmap="gray", vmin=-2, vmax=2)
    plots.render(
        figure,
        "A scene that is bright on the left and dark on the right, and two windows with a disc: "
        f"{'; '.join(ranges)}. After normalisation both look alike.",
    ).show()

# %% [markdown] tags=["notes"]
# Two minutes. Otherwise the classifier learns the lamp. Statistics of the whole image would not
# do: the shade stays dark. All windows go to the classifier as one batch; thousands of single
# calls would mostly wait.

# %% [markdown] tags=["slide"]
# ## One object answers many windows: keep the best, drop its copies
#
# $$\text{keep } i \iff \text{no kept } j \text{ before it has } \mathrm{IoU}(i, j) > t$$

# %%
found, sure = scanner.detect(12, 1, 0.7, 10**9)
fates = stepper.suppress(found, sure, scanner.OVERLAP)
kept = [i for i, fate in fates.items() if fate.kept]
with plots.canvas(1, 2, width=10.8, height=4.0) as (figure, axes):
    for axis, chosen in zip(axes, (list(fates), kept), strict=True):
        panel(axis, f"{len(chosen)} boxes", scanner.scene(), cmap="gray", vmin=0, vmax=1)
        for i in chosen:
            frame(axis, found[i], ORANGE)
    plots.render(
        figure,
        f"Windows above {scanner.THRESHOLD} at step 1 on six scales: {len(found)} boxes, and "
        f"{len(kept)} after suppression with a threshold of {scanner.OVERLAP}.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Go down the scores. A removed box removes nothing, so the order matters. Three
# slips that run without an error: the lowest score first; comparing with removed boxes as well;
# "≥" instead of ">". Two boxes are squares; suppression cannot know that.

# %% [markdown] tags=["slide"]
# ## Who removes whom?

# %%
demos.show("nms")

# %% [markdown] tags=["notes"]
# Five minutes. Step through the boxes. Then push the sheep together until one is lost, and let the
# class look for a threshold that saves it: there is none at 24 pixels. That is a limit of the
# rule, not of the classifier.

# %% [markdown] tags=["slide"]
# ## Learn from the worst mistakes: hard negatives

# %%
scores, crops, overlaps = [], [], []
truth = np.array([(x - r, y - r, x + r, y + r) for x, y, r in scanner.DISCS])
for level, scored in enumerate(scanner.scan(12, 3, 0.7)):
    for place in range(scored.size):
        box = scanner.window(12, 3, 0.7, level, place)
        scores.append(scored.ravel()[place])
        crops.append(box)
        overlaps.append(stepper.overlaps([box, *truth.tolist()])[0, 1:].max())
disc = torch.tensor(overlaps) >= 0.4
hardest = windows.hard_negatives(torch.tensor(scores), disc.long(), 6).tolist()
with plots.canvas(2, 4, width=10.8, height=4.4) as (figure, axes):
    panel(axes[0], "the scene", scanner.scene(), cmap="gray", vmin=0, vmax=1)
    axes[4].set_axis_off()
    for k, i in enumerate(hardest):
        x0, y0, x1, y1 = (round(v) for v in crops[i])
        frame(axes[0], crops[i], VERMILION, lw=2)
        crop = scanner.scene()[y0:y1, x0:x1]
        panel(axes[1 + k + (k > 2)], f"score {scores[i]:.2f}", crop, cmap="gray", vmin=0, vmax=1)
    plots.render(
        figure,
        f"Of {int((~disc).sum())} windows without a disc the six with the highest scores: "
        + ", ".join(f"{scores[i]:.2f}" for i in hardest)
        + ". Squares, and discs in windows of the wrong size.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. The winners: squares, and discs in windows of the wrong size. Nearly all
# background is dull; random samples of it teach nothing. So train, scan, collect the background
# windows with the highest scores, train again. They are negatives, not the positives with the
# lowest scores: the usual slip in the lab.

# %% [markdown] tags=["slide"]
# ## A cascade: a glance at every window, a second look at few
#
# $$N\,(c_1 + p\,c_2) \quad\text{instead of}\quad N\,c_2$$

# %%
cells = torch.from_numpy(scanner.scene())[None]
inner = windows.score_map(cells, lambda w: w[..., 3:9, 3:9].mean((1, 2, 3)), 12, 1)
outer = windows.score_map(cells, lambda w: w.mean((1, 2, 3)), 12, 1)
glance = (inner - outer).numpy() * 144 / 108  # the middle less the rim
costly = scanner.score_map(scanner.scene(), 12, 1)
bar = glance[costly > scanner.THRESHOLD].min()
passed = glance >= bar
with plots.canvas(1, 3, width=10.8, height=3.3) as (figure, axes):
    panel(axes[0], "the scene", scanner.scene(), cmap="gray", vmin=0, vmax=1)
    panel(axes[1], "glance: middle less rim", glance, cmap="cividis")
    panel(axes[2], f"{passed.mean():.0%} get a second look", passed, cmap="cividis")
    plots.render(
        figure,
        f"A scene with {passed.size:,} windows of 12 pixels, the difference between the middle and "
        f"the rim of each, and the windows that pass: {passed.sum():,}, or {passed.mean():.0%}. No "
        "window that the classifier would have accepted is lost.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. N windows, costs c₁ of the glance and c₂ of the network, a share p passes. The
# threshold of the glance is set so low that nothing is lost that the network would take; here it
# is read off this very scene, in the lab off training windows. The famous face detector has 38
# stages.

# %% [markdown] tags=["slide"]
# ## Measured in the lab: about six times fewer calls

# %%
claim(
    1,
    "A cheap first stage saves most calls of the classifier at equal recall.",
    quantity="calls without cascade over calls with it, same seed",
    paper="Viola and Jones 2001, §4: about 10 of more than 6000 features per window",
    values=[6.33, 6.04, 5.56],
    at_least=4,
)

# %% [markdown] tags=["notes"]
# Two minutes. Read the card from top to bottom: the claim, what the paper says, three seeds, the
# effect that was named beforehand, the verdict. Ask why recall must be equal on both sides.

# %% [markdown] tags=["slide"]
# ## Neighbouring windows repeat each other: let them share

# %%
torch.manual_seed(0)
toy = nn.Sequential(
    *(nn.Conv2d(3, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
    *(nn.Conv2d(16, 400, 5), nn.ReLU(), nn.Conv2d(400, 400, 1), nn.ReLU(), nn.Conv2d(400, 4, 1)),
)
one = geometry.count_macs(toy, (1, 3, 14, 14))
rows, sizes = [], (14, 16, 28)
for size in sizes:
    calls = len(windows.window_grid(size, size, 14, 2))
    rows.append((size, calls, calls * one, geometry.count_macs(toy, (1, 3, size, size))))
with plots.canvas(width=10.4, height=3.9) as (figure, (axis,)):
    places = np.arange(len(rows))
    for shift, k, name, color, hatch in (
        (-0.2, 2, "window by window", VERMILION, "//"),
        (0.2, 3, "one pass", BLUE, ".."),
    ):
        values = [row[k] / 1e6 for row in rows]
        drawn = axis.bar(places + shift, values, 0.38, color=color, hatch=hatch, label=name)
        axis.bar_label(drawn, [f"{v:.2f}" for v in values], padding=3, fontsize=15)
    axis.set_xticks(places, [f"{s} × {s}: {n} window{'s' * (n > 1)}" for s, n, _, _ in rows])
    axis.tick_params(axis="x", labelsize=15)
    axis.set(yscale="log", ylabel="million multiply-accumulates", ylim=(0.2, 80))
    axis.legend(fontsize=15)
    plots.render(
        figure,
        "Multiply-accumulates of the small network, window by window and in one pass: "
        + "; ".join(f"{s} x {s} pixels, {n} windows, {a:,} against {b:,}" for s, n, a, b in rows)
        + ".",
    ).show()

# %% [markdown] tags=["notes"]
# Four minutes. The standard example: a network for 14 × 14 pixels, convolutions of 5, a pooling of
# 2. Feed it 16 × 16 pixels and it gives 2 × 2 answers, with 28 × 28 pixels 8 × 8. The numbers are
# those of the windows, exactly, because nothing inside pads with zeros. With padding they would
# differ.

# %% [markdown] tags=["slide"]
# ## The same numbers, as long as nothing pads inside

# %%
image = torch.rand(1, 3, 28, 28)
padded = nn.Sequential(nn.Conv2d(3, 16, 5, padding=2), *list(toy)[1:])
gaps = {}
with torch.no_grad():
    for name, net, side in (("no padding", toy, 14), ("zeros in each", padded, 10)):
        whole = net(image)[0]
        boxes = windows.window_grid(28, 28, side, 2).int().tolist()
        single = torch.cat([net(image[..., y0:y1, x0:x1]) for x0, y0, x1, y1 in boxes])
        n = round(len(boxes) ** 0.5)
        single = single[:, :, 0, 0].T.reshape(4, n, n)
        gaps[name] = (whole[:, :n, :n] - single).abs().amax(0)
with plots.canvas(1, 2, width=10.4, height=3.9) as (figure, axes):
    for axis, (name, gap) in zip(axes, gaps.items(), strict=True):
        gaps_drawn = axis.imshow(
            gap, cmap="cividis", vmin=0, vmax=float(gaps["zeros in each"].max())
        )
        axis.set_title(f"{name}: at most {float(gap.max()):.1g}", fontsize=15)
        axis.set_axis_off()
    figure.colorbar(gaps_drawn, ax=axes, label="largest difference of a score")
    plots.render(
        figure,
        "Differences between the scores of one pass and those window by window: without padding "
        f"at most {float(gaps['no padding'].max()):.1g} in a map of 8 x 8, with zeros around each "
        f"window up to {float(gaps['zeros in each'].max()):.1g} in a map of 10 x 10.",
    ).show()

# %% [markdown] tags=["notes"]
# Two minutes. Left, about one millionth: rounding. Right, the same network with padding in its
# first layer: a window sees zeros where the image goes on. VGG and OverFeat pad, so their dense
# pass is another function than their windows; it works because they are trained to it.

# %% [markdown] tags=["slide"]
# ## OverFeat slides inside the network, and shifts the last pooling

# %%
net = OverFeat("accurate", 10, width=6).eval()
with torch.no_grad():
    size = torch.zeros(1, 3, 281, 317)
    plain, shifted = (tuple(f(size).shape[2:]) for f in (net.forward, net.forward_offsets))
with plots.canvas(1, 2, width=10.4, height=4.0) as (figure, axes):
    for axis, grid, step in ((axes[0], plain, 36), (axes[1], shifted, 12)):
        y, x = np.mgrid[: grid[0], : grid[1]]
        axis.plot((110 + x * step).ravel(), (110 + y * step).ravel(), "o", color=BLUE, ms=9)
        axis.fill_between([0, 317], 0, 281, color="#E8ECF0")
        frame(axis, (0, 0, 221, 221), VERMILION)
        axis.set(xlim=(-5, 322), ylim=(286, -5), aspect="equal")
        axis.set_title(f"{grid[0]} × {grid[1]} answers, {step} pixels apart", fontsize=15)
        axis.grid(False)
    plots.render(
        figure,
        "An image of 281 x 317 pixels with the first window of 221. The network gives "
        f"{plain[0]} x {plain[1]} answers, 36 pixels apart; with the last pooling at 3 x 3 offsets "
        f"{shifted[0]} x {shifted[1]}, 12 pixels apart.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Sermanet et al. 2014: classification, localization and detection by one network
# that slides. Strides multiply to 36 pixels, too coarse to hit an object; pooling at nine offsets
# gives back a factor of three for the price of the classifier only. Six scales on top.

# %% [markdown] tags=["slide"]
# ## Try it
#
# Lab 1: the grid, the map of scores, the pyramid, suppression, hard negatives, the cascade; then a
# detector out of your own functions.

# %%
lectures.links(1)

# %% [markdown] tags=["notes"]
# One minute. About two hours. The exercise on the pyramid trips most: rounding twice.

# %% [markdown] tags=["slide"]
# ## References
#
# - Rowley, Baluja, Kanade, *Neural Network-Based Face Detection*, PAMI 1998, §2.1
# - Viola, Jones, *Rapid Object Detection using a Boosted Cascade*, CVPR 2001, §4 and §5
# - Dalal, Triggs, *Histograms of Oriented Gradients*, CVPR 2005, §4: hard negatives
# - Felzenszwalb et al., *Discriminatively Trained Part-Based Models*, PAMI 2010, §7: suppression
# - Sermanet et al., *OverFeat*, ICLR 2014, §3.3 and §3.5, arXiv:1312.6229

# %% [markdown] tags=["notes"]
# No time needed. Rowley et al. still reads well, and has the whole pipeline.
