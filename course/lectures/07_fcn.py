# %% tags=["skip"]
import numpy as np
import torch
from matplotlib.patches import Rectangle
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg16

from course import data, demos, geometry, lectures, models, plots, upsampling
from course.demos import fcn_skips

NETS = {"FCN-32s": (1.0, 0.0, 0.0), "FCN-16s": (1.0, 1.0, 0.0), "FCN-8s": (1.0, 1.0, 1.0)}
shown = fcn_skips.scene("A")  # a test image, its labels, and the scores of a small trained FCN
found = {name: fcn_skips.segment("A", weights) for name, weights in NETS.items()}
quality = {n: fcn_skips.judge(f, shown.truth, shown.band) for n, f in found.items()}
CLASSES = ("background", "disc", "bar")

# %% [markdown] tags=["slide"]
# # FCN: the whole image in one pass
#
# You will be able to turn a classifier into a segmenter without changing a weight, to say what it
# saves against patches, why its mask is coarse, and what skips do about it.

# %%
lectures.links(7)

# %% [markdown] tags=["notes"]
# 1 minute. Patch-by-patch scanning was slow; DeconvNet was large. Long, Shelhamer and Darrell ask
# for less: keep the classifier, change how its last layers are read. Ask: what exactly stops VGG16
# from taking an image of 500 × 375?

# %% [markdown] tags=["slide"]
# ## A fully connected layer is a convolution as large as its input

# %% tags=["code"]
linear = nn.Linear(4 * 2 * 3, 5)  # takes maps of exactly 4 × 2 × 3
conv = nn.Conv2d(4, 5, kernel_size=(2, 3))
conv.weight.data = linear.weight.view(5, 4, 2, 3)
conv.bias = linear.bias

maps, larger = torch.rand(1, 4, 2, 3), torch.rand(1, 4, 6, 8)
difference = (linear(maps.flatten(1)) - conv(maps).flatten(1)).abs().max()
print(f"largest difference {difference:.1e}")
print("on a larger map:", tuple(conv(larger).shape))

# %% [markdown] tags=["fragment"]
# The weights do not change, only how we read them. A larger map gives a **map of answers**.

# %% [markdown] tags=["notes"]
# 3 minutes. The linear layer flattens (C, h, w) and multiplies; a kernel of h × w over C channels
# does the same sum. Mistake that runs without an error: view the weights as (h, w, C). On a larger
# map the convolution slides, and every position answers for its own window.

# %% [markdown] tags=["slide"]
# ## In VGG16 the first becomes 7 × 7, all that follow 1 × 1

# %%
with torch.device("meta"):
    net = models.FCN32s(padding=1)
layers = ((net.fc6, "fc6"), (net.fc7, "fc7"), (net.score7, "score"))
with plots.canvas(2, 1, width=11, height=4.6) as (figure, axes):
    told = []
    for axis, side in zip(axes, (224, 320)):
        start = side // 32
        end = start - 6  # fc6 without padding, as in the classifier
        axis.text(-1.3, 5, f"{side} px", ha="right", va="center", fontsize=16, weight="bold")
        for k, n in enumerate((start, end, end, end)):
            x, y = 12.5 * k + (10 - n) / 2, 5 - n / 2
            for i in range(n):
                for j in range(n):
                    lit = (k == 0 and i < 7 and j < 7) or (k > 0 and i == j == 0)
                    color = plots.PALETTE[0] if lit else "white"
                    axis.add_patch(
                        Rectangle((x + j, y + i), 1, 1, fc=color, ec="#555555", alpha=0.8)
                    )
            axis.text(12.5 * k + 5, -0.4, f"{n} × {n}", ha="center", va="bottom", fontsize=14)
            if k:
                part, name = layers[k - 1]
                size = " × ".join(map(str, part.kernel_size))
                style = {"arrowstyle": "->", "lw": 2, "color": plots.PALETTE[5]}
                axis.annotate("", (12.5 * k + 2, 5), (12.5 * k - 2, 5), arrowprops=style)
                axis.text(12.5 * k, 3.9, name, ha="center", va="bottom", fontsize=14)
                axis.text(12.5 * k, 6.1, size, ha="center", va="top", fontsize=14)
        told.append(f"{side} pixels: {start} × {start} → {end} × {end} → {end} × {end}")
        axis.set_xlim(-6, 48)
        axis.set_ylim(10.4, -2.2)
        axis.set_aspect("equal")
        axis.set_axis_off()
    weights = [part.weight.numel() for part, _ in layers]
    picture = plots.render(
        figure,
        "Maps after pool5, fc6, fc7, score: "
        + "; ".join(told)
        + ". Weights: "
        + ", ".join(f"{name} {count:,}" for (_, name), count in zip(layers, weights))
        + ".",
    )
picture.show()

# %% [markdown] tags=["notes"]
# 2 minutes. One often reads "FCN replaces fully connected layers by 1 × 1 convolutions". Precisely:
# the first one covers the whole 7 × 7 map, so it is a 7 × 7 convolution; from then on maps of 1 × 1
# remain, and 1 × 1 kernels do. 21 classes of PASCAL VOC replace the 1000 of ImageNet, so only the
# scores are new. All other weights come from the classifier: this is where the name *fully
# convolutional* comes from.

# %% [markdown] tags=["slide"]
# ## Any size goes in; the same windows come out, computed together

# %%
torch.manual_seed(0)
toy = nn.Sequential(
    nn.Conv2d(3, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 400, 5), nn.ReLU(),
    nn.Conv2d(400, 400, 1), nn.ReLU(), nn.Conv2d(400, 4, 1),
)  # fmt: skip
one_window = geometry.count_macs(toy, (1, 3, 14, 14))
sides, grids, apart, together = (14, 16, 20, 28), [], [], []
for side in sides:
    image = torch.rand(1, 3, side, side)
    answers = toy(image)
    grids.append(answers.shape[-1])
    windows = F.unfold(image, 14, stride=2).transpose(1, 2).reshape(-1, 3, 14, 14)
    by_window = toy(windows).flatten(1).T.view_as(answers)
    assert torch.allclose(answers, by_window, atol=1e-5)
    apart.append(len(windows) * one_window / 1e6)
    together.append(geometry.count_macs(toy, (1, 3, side, side)) / 1e6)
plots.bars(
    [f"{s} → {g} × {g}" for s, g in zip(sides, grids)],
    {
        "window by window": [round(v, 1) for v in apart],
        "one pass": [round(v, 1) for v in together],
    },
    title="Side of the input → answers for windows of 14 × 14; their numbers are equal",
    ylabel="million multiply-accumulates",
)

# %% [markdown] tags=["notes"]
# 3 minutes. OverFeat's small example: 14 × 14 gives one answer, 16 × 16 gives 2 × 2, 28 × 28 gives
# 8 × 8. The cell compares every answer with that of its window cut out: equal to rounding. For 16 ×
# 16 the four windows cost 1,766,400 multiply-accumulates, one pass 1,459,200; the more windows, the
# more is shared. Equality needs layers without zero padding; VGG16 pads, so its dense answers
# differ a little from those of crops, and are no worse.

# %% [markdown] tags=["slide"]
# ## One pass of FCN costs as much as a dozen crops, not 250 000

# %%
with torch.device("meta"):
    crop = geometry.count_macs(vgg16(), (1, 3, 224, 224))
    dense = geometry.count_macs(models.FCN32s(upsampling="fixed"), (1, 3, 500, 500))
costs = {
    "one crop": crop,
    "one pass": dense,
    "16 × 16 crops": 256 * crop,
    "a crop a pixel": 250_000 * crop,
}
with plots.canvas(width=9, height=4.0) as (figure, (axis,)):
    values = [v / 1e9 for v in costs.values()]
    drawn = axis.barh(list(costs), values, color=plots.PALETTE[:4], hatch="/", edgecolor="white")
    axis.bar_label(drawn, [f"{v:,.0f} G" for v in values], padding=5, fontsize=14)
    axis.set_xscale("log")
    axis.set_xlim(5, 3e8)
    axis.invert_yaxis()
    axis.grid(False)
    axis.tick_params(axis="y", labelsize=15)
    axis.set_xlabel("multiply-accumulates in billions, VGG16, 500 × 500 pixels")
    told = ", ".join(f"{k} {v / 1e9:,.0f} billion" for k, v in costs.items())
    picture = plots.render(figure, f"Multiply-accumulates: {told}.")
picture.show()

# %% [markdown] tags=["notes"]
# 2 minutes. Logarithmic axis. One pass over 500 × 500 pixels (padded by 100) costs what 11.7 crops
# cost; the grid of 16 × 16 answers would cost 22 times as much crop by crop, a crop for every pixel
# 21 thousand times. All counted, nothing timed. The paper timed AlexNet: 22 ms for a 10 × 10 grid
# of answers, against 1.2 ms for a single one: more than five times faster.

# %% [markdown] tags=["slide"]
# ## What comes out is a coarse heat map for every class

# %%
logits = torch.from_numpy(shown.scores[0])
chance = logits.softmax(0).numpy()
with plots.canvas(1, 3, width=11, height=3.3) as (figure, axes):
    axes[0].imshow(shown.image)
    axes[0].set_title("image, 128 × 192")
    for k, axis in ((1, axes[1]), (2, axes[2])):
        axis.imshow(chance[k], cmap="cividis", vmin=0, vmax=1)
        axis.set_title(f"{CLASSES[k]}: 4 × 6 probabilities")
        for (i, j), v in np.ndenumerate(chance[k]):
            ink = "white" if v < 0.5 else "black"
            axis.text(j, i, f"{v:.1f}", ha="center", va="center", color=ink, fontsize=13)
    for axis in axes:
        axis.set_axis_off()
    told = "; ".join(f"{CLASSES[k]} {chance[k].round(1).tolist()}" for k in (1, 2))
    picture = plots.render(figure, f"An image and its probabilities at stride 32: {told}.")
picture.show()

# %% [markdown] tags=["notes"]
# 2 minutes. Real numbers: a small FCN-8s of the library, trained on such scenes (600 steps); here
# only its deepest scores, one per 32 × 32 pixels. Bars are 10 pixels wide. Ask: find the bars. You
# cannot: they are narrower than a cell, and the network hardly dares to say "bar".

# %% [markdown] tags=["slide"]
# ## A unit stands for a place, through its receptive field

# %%
layers, fields = [], {}
for k, convolutions in enumerate((2, 2, 3, 3, 3), 1):
    layers += [(3, 1, 1)] * convolutions + [(2, 2)]
    fields[f"pool{k}"] = geometry.receptive_field(layers)
fields["fc7"] = geometry.receptive_field([*layers, (7, 1, 3), (1,)])
fields = {name: fields[name] for name in ("pool3", "pool4", "pool5", "fc7")}
photo = data.photographs("astronaut")["astronaut"].permute(1, 2, 0)
with plots.canvas(1, 2, width=10.5, height=4.5) as (figure, axes):
    axes[0].imshow(photo)
    axes[0].set_axis_off()
    told, styles = [], ("-", "--", "-.", ":")
    for k, (name, field) in enumerate(fields.items()):
        middle = (100, 220)  # row, column of the image that we ask for
        spans = [
            field.window(round((m - field.start - field.size / 2 + 0.5) / field.stride))
            for m in middle
        ]
        (y0, _), (x0, _) = spans
        color = plots.PALETTE[(6, 1, 5, 4)[k]]
        for width, ink in ((6, "black"), (3, color)):
            axes[0].add_patch(
                Rectangle((x0, y0), field.size, field.size, fill=False, ec=ink, lw=width,
                          ls="-" if ink == "black" else styles[k])
            )  # fmt: skip
        told.append(f"{name} {field.size} pixels, one unit every {field.stride}")
    axes[0].set_xlim(-0.5, 511.5)
    axes[0].set_ylim(511.5, -0.5)
    drawn = axes[1].barh(list(fields), [f.size for f in fields.values()], color="#BBBBBB")
    labels = [f"{f.size} px, a unit every {f.stride}" for f in fields.values()]
    axes[1].bar_label(drawn, labels, padding=5, fontsize=14)
    axes[1].set_xlim(0, 900)
    axes[1].invert_yaxis()
    axes[1].grid(False)
    axes[1].tick_params(axis="y", labelsize=15)
    axes[1].set_axis_on()
    axes[1].spines["bottom"].set_visible(False)
    axes[1].set_xticks([])
    picture = plots.render(
        figure, "Receptive fields in VGG16 around one place: " + "; ".join(told) + "."
    )
picture.show()

# %% [markdown] tags=["notes"]
# 3 minutes. Positions of a deep layer correspond to positions of the image by the path of windows
# between them. pool3: 44 pixels, every 8. fc7: 404 pixels, every 32. So deep units see the whole
# person and can say *what*, but two neighbours are 32 pixels apart: they cannot say *where* to the
# pixel. The frames are the largest that can matter; the effective field is smaller and bell-shaped.

# %% [markdown] tags=["slide"]
# ## Back to pixels: interpolation is a transposed convolution

# %%
samples = torch.tensor([0.0, 1.0, 3.0, 2.0, 2.5, 0.5])
factor = 8
taps = upsampling.bilinear_kernel(factor).diagonal().sqrt()  # v, as the kernel is v vᵀ
with plots.canvas(width=10.5, height=4.2) as (figure, (axis,)):
    places = torch.arange((len(samples) - 1) * factor + len(taps)) - (len(taps) - factor) / 2
    total = torch.zeros(len(places))
    for i, v in enumerate(samples):
        stamp = slice(i * factor, i * factor + len(taps))
        total[stamp] += v * taps
        axis.plot(places[stamp], v * taps, "--", color=plots.PALETTE[i], lw=1.8)
        axis.plot(i * factor + (factor - 1) / 2, v, "o", color=plots.PALETTE[i], ms=10)
    axis.plot(places, total, color="black", lw=3)
    inside = F.interpolate(samples[None, None], scale_factor=factor, mode="linear")[0, 0]
    gap = (total[factor // 2 : -(factor // 2)] - inside)[factor // 2 : -(factor // 2)].abs().max()
    axis.set_xlabel("output pixel")
    axis.set_ylabel("score")
    picture = plots.render(
        figure,
        f"Six scores, each stamping a triangle {len(taps)} pixels wide, 8 apart; the sum of the "
        f"stamps is linear interpolation inside (largest difference {float(gap):.1g}).",
    )
picture.show()

# %% [markdown] tags=["notes"]
# 3 minutes. Dashed: what each score stamps. Black: their sum, the straight lines from point to
# point. Kernel size 2f, stride f: even overlap, no checkerboard. Entries sum to f per axis, not to
# 1. In torch's (C, C, k, k) only the diagonal is filled, or every class gets the sum of all. FCN
# starts from this and may learn it further; the released nets keep it fixed.

# %% [markdown] tags=["slide"]
# ## A coarse map, enlarged 32 times, is a coarse mask

# %%
plots.show_masks(
    [shown.image[None]] * 2,
    [shown.truth, found["FCN-32s"]],
    class_names=CLASSES,
    titles=["truth", f"stride 32 alone: mean IoU {quality['FCN-32s'].mean_iou:.2f}"],
    columns=2,
)

# %% [markdown] tags=["notes"]
# 2 minutes. Smooth blobs in about the right places. The encoder squeezed the image to low
# resolution; no interpolation brings back what is not there. Ask: better upsampling, or better
# information?

# %% [markdown] tags=["slide"]
# ## Skips: deep layers say *what*, shallow layers say *where*; add their scores

# %%
with plots.canvas(width=11, height=4.4) as (figure, (axis,)):

    def box(x, y, words, color, *, wide):
        axis.add_patch(
            Rectangle((x - wide / 2, y - 0.34), wide, 0.68, fc=color, ec="#333333", alpha=0.9)
        )
        ink = "white" if color in plots.PALETTE[:1] else "black"
        axis.text(x, y, words, ha="center", va="center", fontsize=14, color=ink)

    def arrow(a, b):
        style = {"arrowstyle": "->", "lw": 2, "color": "#333333"}
        axis.annotate("", b, a, arrowprops=style)

    for y, words in ((5, "pool3, stride 8"), (3, "pool4, stride 16"), (1, "fc7, stride 32")):
        box(0.9, y, words, plots.PALETTE[0], wide=2.3)
        box(3.5, y, "1 × 1 score", "#DDDDDD", wide=1.6)
        arrow((2.05, y), (2.7, y))
    arrow((0.9, 4.68), (0.9, 3.32))
    arrow((0.9, 2.68), (0.9, 1.32))
    for x, y in ((5.6, 3), (7.6, 5)):  # where scores are added
        axis.add_patch(Rectangle((x - 0.3, y - 0.3), 0.6, 0.6, fc="white", ec="#333333", lw=2))
        axis.text(x, y, "+", ha="center", va="center", fontsize=20)
        box(x, y - 1, "up × 2", plots.PALETTE[1], wide=1.2)
        arrow((4.3, y), (x - 0.3, y))
        arrow((x, y - 0.68), (x, y - 0.3))
    arrow((5.6, 1), (5.6, 1.68))
    arrow((7.6, 3), (7.6, 3.68))
    for start, y, words in (
        (7.9, 5, "FCN-8s: up × 8"),
        (5.9, 3, "FCN-16s: up × 16"),
        (4.3, 1, "FCN-32s: up × 32"),
    ):
        box(10.3, y, words, plots.PALETTE[4], wide=2.4)
        arrow((start, y), (9.1, y))
    axis.set_xlim(-0.5, 11.7)
    axis.set_ylim(0.4, 5.6)
    axis.set_axis_off()
    picture = plots.render(
        figure,
        "pool3 at stride 8, pool4 at stride 16 and fc7 at stride 32 are each scored by a 1 × 1 "
        "convolution. fc7's scores enlarged 32 times are FCN-32s. Enlarged twice and added to "
        "pool4's, then 16 times, they are FCN-16s. That sum enlarged twice and added to pool3's, "
        "then 8 times, is FCN-8s.",
    )
picture.show()

# %% [markdown]
# $$\text{8s} = u_8\big(s_3 + u_2\,(s_4 + u_2\, s_7)\big)$$

# %% [markdown] tags=["notes"]
# 3 minutes. Scores are *added*, class by class; nothing is concatenated (that will be U-Net).
# Enlarge first, then add: the finer grid must not be lost. Scores of a skip start at zero, so
# FCN-16s begins as FCN-32s and can only learn what the skip adds. The new weights are few: 512 · 21
# and 256 · 21.

# %% [markdown] tags=["slide"]
# ## Mix the three maps yourself

# %%
demos.show("fcn_skips")

# %% [markdown] tags=["notes"]
# 5 minutes. Start at FCN-32s, raise stride 16, then stride 8, and follow the error band. Then the
# question: is the finest map enough? Set stride 32 to 0: borders stay, but discs turn into bars.
# Weight 2 on stride 32 drowns the fine maps again. Say that both scenes were picked by eye from
# twelve, because they show it clearly: the gain on an average scene is smaller.

# %% [markdown] tags=["slide"]
# ## Skips mend the borders: that is where the errors are

# %%
plots.bars(
    list(NETS),
    {
        f"wrong within {fcn_skips.REACH} pixels of a border, %": [
            round(100 * q.near, 1) for q in quality.values()
        ],
        "wrong elsewhere, %": [round(100 * q.far, 1) for q in quality.values()],
    },
    title="Share of wrong pixels of one test image; mean IoU "
    + ", ".join(f"{q.mean_iou:.2f}" for q in quality.values()),
    ylabel="percent",
)

# %% [markdown] tags=["notes"]
# 2 minutes. The same image as before; the numbers come from the demo's functions. Lab 7 repeats it
# over seeds. A measure of areas hides this for large objects: their borders are few of their
# pixels.

# %% [markdown] tags=["slide"]
# ## Alignment: which pixel does a unit stand on?


# %%
def score_side(net, side):
    """Side of the last score map before it is enlarged to pixels."""
    sides = []
    net.eval().upscore.register_forward_pre_hook(lambda _, maps: sides.append(maps[0].shape[-1]))
    net(torch.zeros(1, 3, side, side))
    return sides[0]


rows = []
with torch.device("meta"):
    for net in (models.FCN32s(), models.FCN16s(), models.FCN8s()):
        n, f, crop = score_side(net, 500), net.factor, net.final_crop
        raw = geometry.conv_transpose_output_size(n, 2 * f, stride=f)
        rows.append([type(net).__name__, f"{n} × {n}", f, raw, crop, f"{crop} … {crop + 499}"])
plots.table(["net", "scores", "enlarged ×", "raw side", "crop", "rows kept for 500 pixels"], rows)

# %% [markdown]
# Unit $i$ of fc7 is centred on pixel $-99 + 15.5 + 3 \cdot 32 + 32\,i = 12.5 + 32\,i$. Its stamp is
# centred on output $31.5 + 32\,i$. So output $u$ shows pixel $u - 19$: crop **19**.

# %% [markdown] tags=["notes"]
# 3 minutes; skip it if time is short. The published net pads the image by 100 in its first
# convolution so that small images survive the 7 × 7 kernel. −99: padding 100 instead of 1. 15.5:
# five poolings, (1 + 2 + 4 + 8 + 16) / 2. 3 · 32: half of the 7 × 7 kernel, unpadded. Crop 0
# instead of 19 shifts the whole mask; training hides part of it. With padding 1, and 3 in fc6, no
# crop is needed.

# %% [markdown] tags=["slide"]
# ## Every labelled pixel is a training example

# %%
torch_scores = [torch.from_numpy(s)[None] for s in shown.scores]
fused = upsampling.bilinear_upsample(torch_scores[0], 2) + torch_scores[1]
fused = upsampling.bilinear_upsample(fused, 2) + torch_scores[2]
pixels = upsampling.bilinear_upsample(fused, 8)
losses = F.cross_entropy(pixels, torch.from_numpy(shown.truth)[None], reduction="none")[0]
share = float(losses[torch.from_numpy(shown.band)].sum() / losses.sum())
with plots.canvas(1, 2, width=11, height=4.0) as (figure, axes):
    axes[0].imshow(shown.image)
    axes[0].set_title("image")
    drawn = axes[1].imshow(losses, cmap="cividis", vmax=3)
    axes[1].set_title(f"loss of every pixel, FCN-8s: {100 * share:.1f} % near borders")
    figure.colorbar(drawn, ax=axes[1], label="−log p of the true class", shrink=0.8)
    for axis in axes:
        axis.set_axis_off()
    picture = plots.render(
        figure,
        f"The loss of every pixel of one image, mean {losses.mean():.3f}. {100 * share:.1f} % of "
        f"it lie within {fcn_skips.REACH} pixels of a border; these are "
        f"{100 * shown.band.mean():.0f} % of the pixels.",
    )
picture.show()

# %% [markdown]
# $$L = -\frac{1}{|V|}\sum_{x \in V} \log p_{y(x)}(x), \qquad V = \{x : y(x) \neq 255\}$$

# %% [markdown] tags=["notes"]
# 2 minutes. Cross-entropy of every pixel; 255 means "do not count" (VOC draws such a band around
# objects). Trained from whole images, no sampling of patches: a whole image *is* a batch of
# overlapping patches. The authors' release sums instead of averaging, hence its learning rate of
# 1e-10; change both together or nothing trains.

# %% [markdown] tags=["slide"]
# ## What the paper reports, and what we measured

# %%
plots.bars(
    ["32s-fixed", "FCN-32s", "FCN-16s", "FCN-8s"],
    [45.4, 59.4, 62.4, 62.7],
    title="Long et al. 2015, Table 2: PASCAL VOC 2011, mean IU in percent",
    ylabel="mean IU, %",
    limits=(0, 75),
)

# %% [markdown] tags=["fragment"]
# Our miniature (lab 7, IoU of thin lines): first skip **+0.31**, second **+0.26**. Both reproduced.

# %% [markdown] tags=["notes"]
# 2 minutes. 32s-fixed: only the scores are trained, the rest stays the classifier. The second skip
# adds 0.3 points: returns diminish, and the authors stop there. In our miniature structure is thin,
# so both skips matter: 95 % intervals 0.16 to 0.46 and 0.19 to 0.33, three seeds each
# (`docs/claims.md`). VOC 2012 test: 62.2, some 175 ms an image. Ask: which
# data would make a third skip worth it?

# %% [markdown] tags=["slide"]
# ## Try it
#
# Lab 7: turn fully connected layers into convolutions, write the bilinear kernel, align and fuse
# two score maps to the pixel, write the loss with ignored pixels, and train FCN with 0, 1 and 2
# skips.

# %%
lectures.links(7)

# %% [markdown] tags=["notes"]
# 1 minute. About two hours. The alignment exercise is the one that people remember: an impulse test
# shows a shift of half a unit at once, a trained net hides it.

# %% [markdown] tags=["slide"]
# ## References
#
# - Long, Shelhamer, Darrell, *Fully Convolutional Networks for Semantic Segmentation*, CVPR 2015,
#   §3, §4, Table 2, arXiv:1411.4038; PAMI version arXiv:1605.06211
# - Sermanet et al., *OverFeat*, ICLR 2014, §3.5, arXiv:1312.6229
# - Simonyan, Zisserman, *Very Deep Convolutional Networks*, ICLR 2015, arXiv:1409.1556
# - Luo et al., *Understanding the Effective Receptive Field*, NIPS 2016, arXiv:1701.04128

# %% [markdown] tags=["notes"]
# Leave this slide up during questions. One paper to read: Long et al., sections 3.1 to 4.2.
