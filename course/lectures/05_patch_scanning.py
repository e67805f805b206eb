# %% tags=["skip"]
from itertools import pairwise

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from course import data, demos, geometry, lectures, metrics, plots, windows
from course.models import PixelClassifier

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, WINE = plots.PALETTE
scene = data.lines(50, 64, seed=0, thickness=5.0)
names = scene.class_names
photo, mask = scene[0]["image"], scene[0]["mask"]


def frame(axis, box, color, **style):
    """The outline of a box (x0, y0, x1, y1)."""
    x0, y0, x1, y1 = box
    axis.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=color, **{"lw": 3, **style})


def bare(axis, width, height):
    """An axis as an image area without numbers."""
    axis.set(xlim=(0, width), ylim=(height, 0), aspect="equal", xticks=[], yticks=[])
    axis.grid(False)
    axis.spines[:].set_visible(True)


# %% [markdown] tags=["slide"]
# # Patch by patch
#
# You will turn a classifier into a segmentation, do it in one pass, and say what an output sees.

# %%
lectures.links(5)

# %% [markdown] tags=["notes"]
# One minute. Boxes are behind us; from here on every pixel gets a label. We start with the oldest
# way, because everything that follows removes one of its faults.

# %% [markdown] tags=["slide"]
# ## Segmentation: which classes, where, and one label for every pixel

# %%
plots.show_masks(scene.images[:3], scene.masks[:3], class_names=names, columns=3)

# %% [markdown] tags=["notes"]
# Two minutes. Three questions in rising order: which classes are in the image (classification);
# roughly where (localisation); exactly which pixels (segmentation). Discs and lines have the same
# grey. Ask: could a rule on the grey value of one pixel tell them apart? (No.)

# %% [markdown] tags=["slide"]
# ## One pixel says nothing; its window does

# %%
padded = windows.mirror_border(photo, 39)[0]
sides = (1, 9, 19, 39)
one_hot = F.one_hot(scene.masks.long(), len(names)).permute(0, 3, 1, 2).float()
pure = F.avg_pool2d(F.pad(one_hot[0], [6] * 4), 13, stride=1)  # share of each class around a pixel


def typical(label):
    """The pixel (y, x) of a class whose surroundings are as much of it as possible."""
    rivals = 0 if label == 0 else pure[3 - label]
    score = torch.where(mask == label, pure[label] - rivals, -torch.ones(64, 64))
    score[:12], score[-12:], score[:, :12], score[:, -12:] = -1, -1, -1, -1
    return divmod(int(score.argmax()), 64)


spots = [typical(label) for label in (1, 2)]
with plots.canvas(2, 4, width=10, height=4.6) as (figure, axes):
    for i, (y, x) in enumerate(spots):
        for j, side in enumerate(sides):
            axis, start = axes[4 * i + j], 19 - side // 2
            cut = padded[y + start : y + start + side, x + start : x + start + side]
            axis.imshow(cut, vmin=0, vmax=1)
            axis.set(xticks=[], yticks=[])
            axis.grid(False)
            if i == 0:
                axis.set_title(f"{side} × {side}", fontsize=17)
            if j == 0:
                axis.set_ylabel(names[i + 1], fontsize=17)
    picture = plots.render(
        figure,
        f"The windows of two pixels, one of a {names[1]} and one of a {names[2]}, with sides of "
        f"{', '.join(map(str, sides))} pixels: nearly the same grey, different shapes around.",
    )
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. Reveal from left to right and let the audience vote: disc or line? With one pixel
# nobody knows; with 9 some guess; with 19 all are sure. So context decides. With 39 other objects
# come into sight: context, but less and less about the pixel itself.

# %% [markdown] tags=["slide"]
# ## Patch by patch: one window, one run, one label
#
# Cut the $k \times k$ window centred on a pixel, run a network, write its class **at the centre**.

# %%
patches = windows.extract_patches(photo, 19)  # 4096 of them, row by row
spots = [typical(label) for label in (0, 1, 2)]
with plots.canvas(1, 4, width=11, height=3.2) as (figure, axes):
    bare(axes[0], 64, 64)
    axes[0].imshow(photo[0], extent=(0, 64, 64, 0))
    axes[0].set_title(f"{len(patches)} windows", fontsize=17)
    for label, (y, x) in enumerate(spots):
        color, axis = (SKY, ORANGE, GREEN)[label], axes[label + 1]
        frame(axes[0], (x - 9, y - 9, x + 10, y + 10), color, ls=("-", "--", "-.")[label])
        bare(axis, 19, 19)
        axis.imshow(patches[64 * y + x][0], extent=(0, 19, 19, 0), vmin=0, vmax=1)
        frame(axis, (0.1, 0.1, 18.9, 18.9), color, lw=6)
        frame(axis, (9, 9, 10, 10), color)
        axis.set_title(f"→ {names[label]}", fontsize=17)
    said = ", ".join(f"({y}, {x}) → {name}" for (y, x), name in zip(spots, names))
    picture = plots.render(figure, f"An image and the 19 × 19 windows of three pixels: {said}.")
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. Training: choose pixels, cut their windows, classify; balance the classes, because
# most pixels are background. Testing: a 512 × 512 image means 262,144 runs. This won the ISBI 2012
# challenge on neuron membranes. Mistake to name: labelling the window by its majority instead of
# by its centre pixel.

# %% [markdown] tags=["slide"]
# ## At the border the image goes on in a mirror

# %%
cat = data.photographs("chelsea")["chelsea"].mean(0)[40:232, 120:312][None]
wide = windows.mirror_border(cat, 95)[0]
with plots.canvas(1, 2, width=9.5, height=4.4) as (figure, axes):
    for axis, image, edge, words in (
        (axes[0], cat[0], 47, f"image: {cat.shape[-2]} × {cat.shape[-1]}"),
        (axes[1], wide, 0, f"mirrored by 47: {wide.shape[-2]} × {wide.shape[-1]}"),
    ):
        bare(axis, wide.shape[-1], wide.shape[-2])
        axis.imshow(image, extent=(edge, edge + image.shape[1], edge + image.shape[0], edge))
        axis.set(xlim=(0, wide.shape[-1]), ylim=(wide.shape[-2], 0))
        axis.set_title(words, fontsize=17)
    frame(axes[1], (47, 47, 239, 239), ORANGE)
    frame(axes[1], (0, 0, 95, 95), VERMILION, ls="--")
    axes[1].plot(47.5, 47.5, "o", color=VERMILION, ms=8)
    picture = plots.render(
        figure,
        "A photograph of 192 × 192 pixels and the same mirrored by 47 pixels to "
        f"{wide.shape[-2]} × {wide.shape[-1]}; the 95 × 95 window of the first pixel is full.",
    )
picture.show()

# %% [markdown] tags=["notes"]
# One minute. An odd window of 95 leaves 47 pixels on every side; 512 becomes 606. Mirror on the
# edge pixel without repeating it. Zeros instead would show the network a black frame that it never
# saw in training.

# %% [markdown] tags=["slide"]
# ## Cireşan's network: a window of 95 pixels shrinks to one answer

# %%
with torch.device("meta"):
    n4 = PixelClassifier()
chain = [layer for layer in geometry.layers_of(n4.layers) if layer.kernel > 1]
along = geometry.output_sizes(95, chain)
field = geometry.receptive_field(chain)
kinds = [f"{'pool' if layer.stride > 1 else 'conv'} {layer.kernel}" for layer in chain]
plots.bars(
    ["input", *kinds],
    along,
    ylabel="side of the map, pixels",
    title=f"{sum(p.numel() for p in n4.parameters()):,} weights, window {field.size}, "
    f"stride {field.stride}, no padding",
)

# %% [markdown] tags=["notes"]
# Two minutes. Four times convolution and pooling, then a full layer of 200 units, written as a
# convolution 3 × 3. Read the sizes aloud: 95, 92, 46, 42, 21, 18, 9, 6, 3, 1. Nothing pads: that
# will matter. All numbers come from `PixelClassifier` and `course.geometry`.

# %% [markdown] tags=["slide"]
# ## A larger window sees more and places worse

# %%
reach = np.array([1, 5, 9, 15, 19, 25, 31, 39, 47])
objects = scene.masks[:12] > 0


def share_of_own(k):
    """Mean share of the window's pixels that have the class of the centre, over object pixels."""
    same = F.avg_pool2d(F.pad(one_hot[:12], [int(k) // 2] * 4, mode="reflect"), int(k), stride=1)
    own = (same * one_hot[:12]).sum(1)
    return own[objects].mean().item()


plots.curves(
    {
        "share of the pixel's own class": (
            reach,
            np.array([100 * share_of_own(k) for k in reach]),
        ),
        "share that is new, one pixel on": (reach, 100 / reach),
    },
    xlabel="side of the window, pixels",
    ylabel="share, %",
)

# %% [markdown] tags=["notes"]
# Three minutes. Solid: counted on twelve images with discs and lines. Dashed: exactly $1/k$, the
# only part in which neighbouring windows differ. The textbook line "accuracy rises with the
# window" is half the truth: context rises, and what tells a pixel from its neighbour fades.
# Measured in lab 5: 39 × 39 names 0.13 more of the objects rightly than 9 × 9, and places them
# 0.18 worse.

# %% [markdown] tags=["slide"]
# ## Neighbours share $1 - 1/k$ of their windows: each pixel is read $k^2$ times

# %%
sides = [9, 19, 39, 65, 95]
plots.bars(
    [f"{k} × {k}" for k in sides],
    [k * k for k in sides],
    ylabel="times that a pixel is read",
    xlabel="window",
    title="; ".join(f"{k} × {k}: {1 - 1 / k:.1%} shared" for k in (9, 95)),
)

# %% [markdown] tags=["notes"]
# One minute. The main fault of scanning. With the published window of 95 pixels every pixel of the
# image is read 9025 times, and the first convolution is computed anew each time, with the same
# result. Ask: what of it really depends on the window? (Only where it lies: nothing else, as long
# as nothing pads.)

# %% [markdown] tags=["slide"]
# ## Scan it yourself: what is repeated?

# %%
demos.show("patch_scan")

# %% [markdown] tags=["notes"]
# Four minutes. Predict first: after how many windows of 15 × 15 has the scan cost as much as one
# pass over everything? (16 of 576.) Click along the rows and watch the map fill. Widen the window:
# both bills grow, the scan's much faster. Set n to 6: hardly any overlap, and the single pass is
# the dearer way, although it labels all pixels.

# %% [markdown] tags=["slide"]
# ## One pass over the image gives the same numbers

# %%
torch.manual_seed(5)
small = nn.Sequential(
    nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2),
    nn.Conv2d(6, 12, 5), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Linear(12 * 4 * 4, 2),
).eval()  # fmt: skip
image = photo[:, 10:50, 10:50]
scanned = windows.scan(image, small, 28)[0]
with torch.no_grad():
    passed = windows.dense_equivalent(small)(windows.mirror_border(image, 28)[None])[0, 0]
gap = (scanned - passed).abs().max().item()
low, high = scanned.min(), scanned.max()
with plots.canvas(1, 4, width=11, height=3.2) as (figure, axes):
    for axis, values, words in (
        (axes[0], None, "image"),
        (axes[1], scanned, f"scan: {scanned.numel()} runs"),
        (axes[2], passed, "one pass: 1 run"),
        (axes[3], low + (scanned - passed).abs(), f"difference ≤ {gap:.0e}"),
    ):
        bare(axis, 40, 40)
        shown = image[0] if values is None else values
        look = {} if values is None else {"vmin": low, "vmax": high, "cmap": "cividis"}
        axis.imshow(shown, extent=(0, 40, 40, 0), **look)
        axis.set_title(words, fontsize=16)
    picture = plots.render(
        figure,
        f"An image, the outputs of {scanned.numel()} runs, of one pass, and their difference: "
        f"values from {low:.3f} to {high:.3f}, difference at most {gap:.0e}.",
    )
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. Untrained weights on purpose: the identity holds for any weights. 1600 runs of a
# window of 28 pixels against one run. The difference is rounding in single precision. Long et al.
# call it the view that turned classifiers into segmenters; OverFeat used it for detection.

# %% [markdown] tags=["slide"]
# ## Three changes make the pass exact
#
# 1. A full layer on $C \times h \times w$ features becomes an $h \times w$ convolution.
# 2. Every stride becomes 1.
# 3. Later taps move apart: dilation = product of the strides before.

# %%
dense = windows.dense_equivalent(n4.layers, pointwise=(type(n4.layers[1]),))
rates, stride = [], 1
for layer in chain:
    rates.append(stride)
    stride *= layer.stride
plots.table(
    ["N4", *kinds],
    [
        ["stride, windows", *(layer.stride for layer in chain)],
        ["stride, one pass", *[1] * len(chain)],
        ["dilation, one pass", *rates],
    ],
)

# %% [markdown] tags=["notes"]
# Three minutes. Why move taps apart: a pooling with stride 2 keeps every second position, so the
# next layer's neighbours lie two pixels apart in the full map. This "algorithme à trous" comes
# back as atrous convolution in DeepLab (lecture 10). Older and equal: Giusti et al. and Masci et
# al. keep fragments, one for each offset. Mistake that runs: stride 1 in the pooling, no dilation
# after it.

# %% [markdown] tags=["slide"]
# ## The same network in one pass: 475 times less work

# %%
per_window = geometry.count_macs(n4, (1, 1, 95, 95))
one_pass = geometry.count_macs(dense, (1, 1, 606, 606))
strided = geometry.count_macs(n4, (1, 1, 606, 606))
work = {
    "scan of all pixels": per_window * 512**2,
    "one pass, all pixels": one_pass,
    "scan, every 16th": per_window * 32**2,
    "one strided pass": strided,
}
with plots.canvas(width=10, height=3.8) as (figure, (axis,)):
    colors, hatches = (VERMILION, BLUE, VERMILION, BLUE), ("//", "", "//", "")
    for i, (value, color, hatch) in enumerate(zip(work.values(), colors, hatches)):
        axis.barh(i, value, color=color, hatch=hatch, ec="white")
        axis.text(value * 1.25, i, f"{value / 1e9:,.1f} billion", va="center", fontsize=15)
    axis.set_yticks(range(4), list(work), fontsize=15)
    axis.set(xscale="log", xlim=(1e9, 1e15), xlabel="multiply-accumulates")
    axis.invert_yaxis()
    axis.grid(False)
    for i, (a, b) in enumerate(pairwise(work.values())):
        if i % 2 == 0:
            axis.text(9e14, i + 0.5, f"{a / b:.3g} times", ha="right", va="center", fontsize=19,
                      weight="bold")  # fmt: skip
    said = ", ".join(f"{name} {value / 1e9:,.1f} billion" for name, value in work.items())
    picture = plots.render(figure, f"Multiply-accumulates of N4 on 512 × 512 pixels: {said}.")
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. Counted by `geometry.count_macs`, not timed. Labelling only every 16th pixel saves
# 19 times: the fewer results, the less is shared. On real machines the gain is larger still, since
# one large convolution runs better than many small ones: Masci et al. report training 1500 times
# faster.

# %% [markdown] tags=["slide"]
# ## Worked example: 14 → 1, 16 → 2 × 2, 28 → 8 × 8
#
# conv 5 (3→16) · pool 2 · conv 5 (16→400) · conv 1 (400) · conv 1 (4)

# %%
toy = nn.Sequential(
    nn.Conv2d(3, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 400, 5), nn.ReLU(),
    nn.Conv2d(400, 400, 1), nn.ReLU(), nn.Conv2d(400, 4, 1),
)  # fmt: skip
toy_chain = geometry.layers_of(toy)
answers = [geometry.output_sizes(n, toy_chain)[-1] for n in (14, 16, 28)]
alone = geometry.count_macs(toy, (1, 3, 14, 14))
together = [geometry.count_macs(toy, (1, 3, n, n)) for n in (14, 16, 28)]
plots.bars(
    [f"{n} × {n} → {out} × {out}" for n, out in zip((14, 16, 28), answers)],
    {
        "window by window": [out**2 * alone / 1e6 for out in answers],
        "one pass": [macs / 1e6 for macs in together],
    },
    ylabel="million multiply-accumulates",
    title="Ratios: "
    + ", ".join(f"{out**2 * alone / macs:.2f}" for out, macs in zip(answers, together)),
)

# %% [markdown] tags=["notes"]
# Two minutes. The toy of the OverFeat paper (figure 5). The gain is small here, 1.21 for four
# windows: the layers after the flattening cost the same either way, once per answer. Only what
# overlaps can be shared; in the first convolution alone the ratio is 2.78.

# %% [markdown] tags=["slide"]
# ## Padding inside the network breaks the equality

# %%
torch.manual_seed(0)
drawn, gaps = [], {}
for padding in (0, 2):
    net = nn.Sequential(
        nn.Conv2d(1, 16, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 1, 5 + padding), nn.Flatten(2),
    )  # fmt: skip
    with torch.no_grad():
        whole = net[:-1](photo[None])[0, 0]  # one answer every 2 pixels
        apart = windows.score_map(photo, lambda w, net=net: net(w)[:, 0, 0], 14, 2)
    gaps[padding] = (whole - apart).abs().max().item()
    drawn += [apart, whole, (whole - apart).abs()]
words = ("windows", "one pass", "difference")
with plots.canvas(2, 3, width=9, height=4.6) as (figure, axes):
    for i, (axis, values) in enumerate(zip(axes, drawn)):
        side, (low, high) = values.shape[0], (drawn[i // 3 * 3].min(), drawn[i // 3 * 3].max())
        bare(axis, side, side)
        shift = low if i % 3 == 2 else 0
        axis.imshow(values + shift, extent=(0, side, side, 0), cmap="cividis", vmin=low, vmax=high)
        padding = (0, 2)[i // 3]
        name = words[i % 3] if i % 3 < 2 else f"difference: {gaps[padding]:.1g} at most"
        axis.set_title(name, fontsize=16)
        if i % 3 == 0:
            axis.set_ylabel("no padding" if padding == 0 else "padding 2", fontsize=16)
    picture = plots.render(
        figure,
        f"Answers window by window and in one pass. Without padding they differ by {gaps[0]:.1g} "
        f"at most, with padding 2 in the first convolution by {gaps[2]:.1g}.",
    )
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. A window that is cut out sees zeros where the image goes on; the pass sees the
# image. So networks that pad (VGG, FCN, the padded layers of OverFeat) do **not** repeat their
# crop-wise answers exactly. U-Net drops all padding for this reason and tiles without seams
# (lecture 8). `dense_equivalent` refuses a padded layer.

# %% [markdown] tags=["slide"]
# ## Output sizes: how often does the window fit?
#
# $$n' = \left\lfloor \frac{n + 2p - d(k-1) - 1}{s} \right\rfloor + 1$$

# %%
cases = (
    ("OverFeat, first layer", 231, {"kernel": 11, "stride": 4}),
    ("VGG convolution", 224, {"kernel": 3, "padding": 1}),
    ("pooling of an odd size", 7, {"kernel": 2, "stride": 2}),
    ("dilated by 2", 41, {"kernel": 3, "padding": 2, "dilation": 2}),
)
plots.table(
    ["", "n", "k", "s", "p", "d", "n′"],
    [
        [
            name, n, case["kernel"], case.get("stride", 1), case.get("padding", 0),
            case.get("dilation", 1), geometry.conv_output_size(n, **case),
        ]
        for name, n, case in cases
    ],
)  # fmt: skip

# %% [markdown] tags=["notes"]
# Two minutes. A dilated kernel reaches over $d(k-1) + 1$ samples. The floor loses the last column
# of an odd map: that is where decoders go wrong later. Ask for the third row before showing it.

# %% [markdown] tags=["slide"]
# ## Receptive field: two numbers per layer
#
# $$r \leftarrow r + (k-1)\,d\,j \qquad j \leftarrow j \cdot s$$

# %%
fields = [geometry.receptive_field(chain[: i + 1]) for i in range(len(chain))]
plots.bars(
    kinds,
    {
        "receptive field r, pixels": [field.size for field in fields],
        "step j, pixels": [field.stride for field in fields],
    },
    title="The window of 95 pixels, layer by layer",
)

# %% [markdown] tags=["notes"]
# Two minutes. $r$ is the window of one sample, $j$ the step between neighbouring windows: both
# start at 1. A stride early in the chain widens everything after it; a dilation widens its own
# layer only. Compute the first four with the audience: 4, 5, 13, 15.

# %% [markdown] tags=["slide"]
# ## Click a pixel: what is it made of?

# %%
demos.show("receptive_field")

# %% [markdown] tags=["notes"]
# Four minutes. Add layers: each adds two pixels. Stride 2: the later layers add four, eight.
# Dilation 2 everywhere: predict how many of the 289 pixels are used (81); hatched ones are never
# read, and the neighbouring output reads those instead. With 1, 2, 4, 8 there are no holes. Paths
# pile up in the middle: the effective field is smaller than the window (Luo et al.).

# %% [markdown] tags=["slide"]
# ## An encoder is a hierarchy: each stage sees more, on a coarser grid

# %%
stages = (2, 2, 3, 3, 3)
vgg, ends = [], []
for convolutions in stages:
    vgg += [(3, 1, 1)] * convolutions + [(2, 2)]
    ends.append(geometry.receptive_field(vgg))
coffee = data.photographs("coffee")["coffee"].permute(1, 2, 0)[80:304, 150:374]
with plots.canvas(1, 2, width=10, height=4.5) as (figure, (left, right)):
    bare(left, 224, 224)
    left.imshow(coffee, extent=(0, 224, 224, 0))
    for level, (end, color) in enumerate(zip(ends, (WINE, VERMILION, YELLOW, SKY, "white")), 1):
        half = end.size / 2
        frame(left, (112 - half, 112 - half, 112 + half, 112 + half), color)
        if level > 2:
            box = {"fc": "black", "alpha": 0.55, "pad": 1.5}
            left.text(
                *(112 - half, 110 - half if level < 5 else 124 - half, f" pool{level}"),
                color=color,
                fontsize=15,
                weight="bold",
                va="bottom" if level < 5 else "center",
                bbox=box,
            )
    at = np.arange(5)
    maps = [224 // end.stride for end in ends]
    for offset, values, color, hatch, label in (
        (-0.2, [end.size for end in ends], BLUE, "//", "receptive field, pixels"),
        (0.2, maps, ORANGE, "..", "side of the map, samples"),
    ):
        drawn = right.bar(at + offset, values, 0.38, color=color, hatch=hatch, ec="w", label=label)
        right.bar_label(drawn, fontsize=14)
    right.set_xticks(at, [f"pool{i + 1}" for i in at], fontsize=14)
    right.set_ylim(0, 275)
    right.legend(loc="upper center", fontsize=14)
    said = ", ".join(
        f"pool{i + 1} sees {e.size} on a grid of {m}" for i, (e, m) in enumerate(zip(ends, maps))
    )
    picture = plots.render(figure, f"VGG16 on 224 × 224 pixels: {said}.")
picture.show()

# %% [markdown] tags=["notes"]
# Two minutes. From edges over textures to parts: a compact description of what is there. The five
# squares are the windows of one sample after each pooling of VGG16, 6, 16, 44, 100, 212 pixels.
# The price stands beside it: 7 × 7 samples are left of 224 × 224 pixels.

# %% [markdown] tags=["slide"]
# ## A classifier's encoder forgets where


# %%
def at_stride(masks, s):
    """The best that labels on a grid of step `s` can say: majority in each block, enlarged."""
    votes = F.avg_pool2d(F.one_hot(masks.long(), len(names)).permute(0, 3, 1, 2).float(), s)
    return votes.argmax(1).repeat_interleave(s, 1).repeat_interleave(s, 2)


coarse, titles = [], []
for s in (1, 4, 8, 16):
    labels = at_stride(scene.masks, s)
    matrix = metrics.confusion_matrix(labels, scene.masks, len(names))
    coarse.append(labels[0])
    titles.append(f"stride {s}: mean IoU {metrics.mean_iou(matrix):.2f}")
plots.show_masks([photo] * 4, coarse, class_names=names, titles=titles)

# %% [markdown] tags=["notes"]
# Two minutes. No network here: the true labels, kept on a coarser grid, scored on 50 images. With
# stride 16 even a perfect classifier of cells cannot draw a line. Classification cares about
# content, segmentation needs the place as well: the next lectures bring it back, by remembering it
# (SegNet), by skips (FCN, U-Net), or by never losing it (DeepLab).

# %% [markdown] tags=["slide"]
# ## What the papers claim, and what we measured
#
# | | claim | result |
# |---|---|---|
# | Masci et al. 2013, abstract | whole images instead of patches | training 1500 times faster |
# | Long et al. 2015, §3.1 | one pass against windows | more than 5 times faster, timed |
# | **lab 5** | one pass costs a tenth | **11.5 times** less, counted: reproduced |
# | **lab 5** | small windows place better | **+0.18** (0.09 to 0.26): reproduced |
# | **lab 5** | large windows know the context | **+0.13** (0.08 to 0.18): reproduced |

# %% [markdown] tags=["notes"]
# Two minutes. The trade-off of windows is named in the introduction of the U-Net paper, without a
# figure; ours is 9 × 9 against 39 × 39, three seeds, 95 % intervals (`docs/claims.md`). Be honest:
# the thickness of the lines was chosen among three so that the effect has room, and on textures
# large windows lost hardly any place.

# %% [markdown] tags=["slide"]
# ## Try it: lab 5
#
# Cut mirrored patches · label them · scan an image · rewrite the net as one pass, equal to 1e-5 ·
# count multiply-accumulates. Then train three window sizes.

# %%
lectures.links(5)

# %% [markdown] tags=["notes"]
# One minute. Two hours, 100 points. 5.4 is the heart: the check compares every pixel with the scan
# and recognises padding, a forgotten ReLU and a missing dilation.

# %% [markdown] tags=["slide"]
# ## References
#
# - D. Cireşan et al., *Deep Neural Networks Segment Neuronal Membranes in Electron Microscopy
#   Images*, NIPS 2012, §2.
# - A. Giusti et al., *Fast Image Scanning with Deep Max-Pooling CNNs*, ICIP 2013, arXiv:1302.1700,
#   §2. J. Masci et al., ICIP 2013, arXiv:1302.1690.
# - P. Sermanet et al., *OverFeat*, ICLR 2014, arXiv:1312.6229, §3.5 and figure 5.
# - J. Long et al., *Fully Convolutional Networks*, CVPR 2015, arXiv:1411.4038, §3.1.
# - W. Luo et al., *Understanding the Effective Receptive Field*, NIPS 2016, arXiv:1701.04128, §2.
# - F. Yu, V. Koltun, *Dilated Convolutions*, ICLR 2016, arXiv:1511.07122, §2. P. Wang et al.,
#   arXiv:1702.08502, §3.2: gridding.

# %% [markdown] tags=["notes"]
# Leave this slide up during questions.
