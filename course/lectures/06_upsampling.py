# %% tags=["skip"]
import numpy as np
import torch
from matplotlib.patches import ConnectionPatch, Rectangle
from torch.nn import functional as F

from course import data, demos, geometry, lectures, models, plots, upsampling


def numbers(arrays, titles, title="", *, frames=(), height=3.4, form="{:g}"):
    """Small maps side by side with their numbers; frames: {map: [(row, column, h, w, colour)]}."""
    arrays = [np.asarray(a, float) for a in arrays]
    frames = dict(frames)
    most = max(max(a.shape) for a in arrays)
    width = min(11.0, (height - 0.5) * len(arrays) + 0.4)
    with plots.canvas(1, len(arrays), width=width, height=height, title=title) as (figure, axes):
        for k, (axis, array, name) in enumerate(zip(axes, arrays, titles)):
            w = array.shape[1]
            axis.imshow(array, cmap="Blues", vmin=0, vmax=2 * max(np.abs(array).max(), 1e-9))
            axis.set_title(name)
            axis.set_axis_off()
            axis.set_xlim((w - most) / 2 - 0.55, (w + most) / 2 - 0.45)  # cells of one size
            axis.set_ylim(most - 0.45, -0.55)
            for (i, j), value in np.ndenumerate(array):
                axis.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, ec="#999999", lw=1))
                shade = "#767676" if value == 0 else "black"
                axis.text(j, i, form.format(value), ha="center", va="center", color=shade, size=15)
            for i, j, high, wide, color in frames.get(k, ()):
                box = Rectangle((j - 0.45, i - 0.45), wide - 0.1, high - 0.1, fill=False, lw=3)
                box.set_edgecolor(color)
                axis.add_patch(box)
        said = "; ".join(f"{n}: {a.tolist()}" for n, a in zip(titles, arrays))
        return plots.render(figure, f"{title}. {said}." if title else f"{said}.")


def grey(name, side):
    """A photograph as (1, 1, side, side): the middle square of its grey values."""
    image = data.photographs(name)[name].mean(0)
    h, w = image.shape
    cut = min(h, w)
    square = image[(h - cut) // 2 :, (w - cut) // 2 :][:cut, :cut]
    return F.interpolate(square[None, None], size=(side, side), mode="area")


# %% [markdown] tags=["slide"]
# # Going up again: DeconvNet and SegNet
#
# You will be able to say how a network gets from 7 × 7 numbers back to 224 × 224 pixels, what
# unpooling and transposed convolution do to each number, and what it costs to remember places.

# %%
lectures.links(6)

# %% [markdown] tags=["notes"]
# 1 minute. Last time: one dense pass replaces the scan of patches, but its output is small. Today
# is about the way back. Ask: who has used `ConvTranspose2d`? Who could compute one by hand? By the
# end everybody can.

# %% [markdown] tags=["slide"]
# ## An encoder for classification keeps *what* and gives up *where*

# %%
photo = grey("chelsea", 224)
levels = [photo] + [F.max_pool2d(photo, 2**k) for k in (2, 3, 4, 5)]
plots.show_images(
    [level[0] for level in levels],
    [f"{level.shape[-1]} × {level.shape[-1]}" for level in levels],
    title="Five poolings of a photograph: after the last one, 49 places are left of 50 176",
    columns=5,
)

# %% [markdown] tags=["notes"]
# 2 minutes. Pooling and strides compress the image; channels grow meanwhile, so *content* is kept.
# A classifier wants this: a cat is a cat wherever it sits. Only the pooling is shown here; the
# learnt convolutions in between decide what is worth keeping. Ask: what is the smallest shift of
# the cat that the 7 × 7 map can notice? (Up to 32 pixels may pass unseen.)

# %% [markdown] tags=["slide"]
# ## Segmentation wants the place of every pixel back
#
# **Which** classes are there? **Where** is each? **Every pixel:** to which does it belong?

# %%
classes = data.lines(1, 64, seed=3)
mask = classes.masks[0].numpy()
with plots.canvas(1, 3, width=10, height=3.9) as (figure, axes):
    image = classes.images[0, 0].numpy()
    names = classes.class_names
    for axis, title in zip(axes, ("1 which classes", "2 where, roughly", "3 every pixel")):
        axis.imshow(image, vmin=0, vmax=1)
        axis.set_title(title)
        axis.set_axis_off()
    axes[0].text(
        3, 8, "disc\nline", color="white", fontsize=18, weight="bold", va="top",
        bbox={"facecolor": "black", "alpha": 0.6},
    )  # fmt: skip
    for k, style in ((1, "-"), (2, "--")):
        rows, columns = np.nonzero(mask == k)
        size = (columns.max() - columns.min() + 1, rows.max() - rows.min() + 1)
        corner = (columns.min() - 0.5, rows.min() - 0.5)
        edge = plots.PALETTE[k - 1]
        axes[1].add_patch(Rectangle(corner, *size, fill=False, ec=edge, lw=3, ls=style))
        axes[2].contourf(
            mask == k, [0.5, 1.5], colors=[edge], alpha=0.6, hatches=["//", ".."][k - 1 :]
        )
    shares = [f"{n} {100 * (mask == k).mean():.0f} %" for k, n in enumerate(names)]
    picture = plots.render(
        figure,
        "One image three times: the words disc and line; a frame around all pixels of each class; "
        f"the class of every pixel ({', '.join(shares)}).",
    )
picture.show()

# %% [markdown] tags=["notes"]
# 2 minutes. Three steps of semantic segmentation: name the classes; add where they lie; label every
# pixel. An encoder alone answers the first and half of the second. The third needs an output as
# large as the image: a mask of full resolution. Point at the line: two pixels wide, and an encoder
# that halves three times has one value for eight pixels.

# %% [markdown] tags=["slide"]
# ## DeconvNet unfolds VGG16: down to one vector and up again

# %%
with torch.device("meta"):
    net = models.DeconvNet().eval()
    sizes = []

    def note(_module, _inputs, out):
        sizes.append(tuple(out.shape[1:3]))

    parts = [*net.encoder, net.fc6, net.fc7, net.fc6_deconv, *net.decoder]
    for part in parts:
        part.register_forward_hook(note)
    net(torch.zeros(1, 3, 224, 224))
million = sum(p.numel() for p in net.parameters()) / 1e6

with plots.canvas(width=11, height=4.3) as (figure, (axis,)):
    for k, (channels, side) in enumerate(sizes):
        tall = 0.6 + np.log2(side)
        kind = k in (5, 6)
        color = plots.PALETTE[0] if k < 5 else plots.PALETTE[7] if kind else plots.PALETTE[1]
        hatch = None if k < 5 else "xx" if kind else "//"
        axis.add_patch(
            Rectangle(
                (k - 0.36, -tall / 2), 0.72, tall, fc=color, ec="white", hatch=hatch, alpha=0.8
            )
        )
        axis.text(
            k, tall / 2 + 0.15, f"{side}", ha="center", va="bottom", fontsize=14, weight="bold"
        )
        axis.text(k, -tall / 2 - 0.15, f"{channels}", ha="center", va="top", fontsize=12)
    axis.set_xlim(-0.7, len(sizes) - 0.3)
    axis.set_ylim(-5.6, 5.6)
    axis.set_axis_off()
    axis.text(2, 5.3, "encoder: VGG16", ha="center", fontsize=14)
    axis.text(5.5, 5.3, "fc6, fc7", ha="center", fontsize=14)
    axis.text(10, 5.3, "decoder: its mirror image", ha="center", fontsize=14)
    axis.text(
        6.5, -5.5, "above: side of the map in pixels, below: channels", ha="center", fontsize=13
    )
    picture = plots.render(
        figure,
        f"DeconvNet, {million:.1f} million parameters. Side of the map and channels of all stages: "
        + ", ".join(f"{s} × {s} × {c}" for c, s in sizes)
        + ".",
    )
picture.show()

# %% [markdown] tags=["fragment"]
# 252 million parameters, nearly nine tenths of them in the three layers around the vector.

# %% [markdown] tags=["notes"]
# 2 minutes. Sizes come from the library's `DeconvNet`, run without memory on torch's meta device
# (before each pooling the maps are twice as large). Encoder: 13 convolutions of VGG16. In the
# middle fc6 is a 7 × 7 convolution: one vector of 4096 for the whole image. fc6, fc7 and the first
# deconvolution hold 222 of the 252 million parameters, more than 8 in 10 — say "most", and let them
# compute: 7 · 7 · 512 · 4096 = 102.8 million, twice, and 4096² = 16.8 million.

# %% [markdown] tags=["slide"]
# ## Two verbs lead up: *unpool* makes room, *deconvolve* fills it

# %%
patch = (data.lines(1, 48, seed=3, noise=0.0).images - 0.3).relu()  # as a layer would leave it
pooled, switches = upsampling.max_pool_with_switches(patch)
sparse = upsampling.unpool(pooled, switches, (48, 48))
spread = upsampling.bilinear_weight(1, size=3)  # a triangle: 1 in the middle, 1/4 in the corners
filled = F.conv_transpose2d(sparse, spread, padding=1)
plots.show_images(
    [patch[0], pooled[0], sparse[0], filled[0].clamp(0, 1)],
    ["48 × 48", "pooled: 24 × 24", "unpooled: 48 × 48", "deconvolved: 48 × 48"],
    title=f"Unpooled: {100 * (sparse == 0).float().mean():.0f} % zeros; a 3 × 3 stamp fills them",
)

# %% [markdown] tags=["notes"]
# 2 minutes. Pooling ↔ unpooling, convolution ↔ deconvolution: the decoder answers every layer of
# the encoder. Unpooling gives a large and sparse map, deconvolution makes it dense. The stamp in
# the picture is fixed (a triangle); in the network it is learnt, and there are hundreds.

# %% [markdown] tags=["slide"]
# ## Unpooling: remember where each maximum was, and put it back there

# %%
x = torch.tensor([[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]])[None, None]
y, idx = upsampling.max_pool_with_switches(x)
new = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
back = upsampling.unpool(new, idx, (4, 4))
where = [(int(i) // 4, int(i) % 4, 1, 1, c) for i, c in zip(idx.flatten(), plots.PALETTE)]
numbers(
    [x[0, 0], y[0, 0], idx[0, 0], new[0, 0], back[0, 0]],
    ["input", "max pool", "switches", "from the decoder", "unpooled"],
    frames={0: where, 4: where},
    height=3.0,
)

# %% [markdown] tags=["fragment"]
# $$y_i = x[s_i], \qquad \text{unpool}(y, s)[s_i] = y_i,\quad 0 \text{ elsewhere}$$

# %% [markdown] tags=["notes"]
# 3 minutes. The lecture's example. A switch is the place in the flat 4 × 4 plane: 5 is row 1,
# column
# 1. The decoder's own values (1 2 3 4) go to the remembered places. Unpooling is no inverse: twelve
# values stay lost. Ask: what if two maxima are equal? (The first in reading order.) What if windows
# overlap and two switches are the same? (The value is set, not added.) Odd sizes: two sizes pool to
# the same, so the size must be remembered too.

# %% [markdown] tags=["slide"]
# ## Only a switch knows where a value belongs

# %%
demos.show("unpooling")

# %% [markdown] tags=["notes"]
# 4 minutes. Ask the "predict first" question before you touch anything. Then: move a maximum inside
# its window; raise a pooled value (second still); paint a flat corner, where nearest is right and
# switches leave holes (the convolutions behind must fill them). The transposed kernel is the best
# one for this image, and still shared by all windows.

# %% [markdown] tags=["slide"]
# ## Convolution: many inputs, one output. Deconvolution: one input, many outputs

# %%
with plots.canvas(1, 2, width=10, height=4.2) as (figure, axes):
    for axis, title, left, right in (
        (axes[0], "convolution gathers", 4, 2),
        (axes[1], "transposed convolution spreads", 2, 4),
    ):
        axis.set_title(title, fontsize=15)
        axis.set_xlim(-0.5, 10.5)
        axis.set_ylim(4.6, -0.6)
        axis.set_aspect("equal")
        axis.set_axis_off()
        for x0, n in ((0, left), (6, right)):
            down = 1 if n == 2 else 0
            for i in range(n):
                for j in range(n):
                    few = (n == 4 and i < 3 and j < 3) or (n == 2 and i == j == 0)
                    color = plots.PALETTE[0] if few else "white"
                    axis.add_patch(
                        Rectangle(
                            (x0 + j, i + down),
                            1,
                            1,
                            fc=color,
                            ec="#555555",
                            alpha=0.75 if few else 1,
                        )
                    )
        for i in range(3):
            for j in range(3):
                big, small = ((j + 0.5, i + 0.5), (6.5, 1.5))
                if left == 2:
                    big, small = ((6.5 + j, i + 0.5), (0.5, 1.5))
                a, b = (big, small) if left == 4 else (small, big)
                arrow = ConnectionPatch(
                    a, b, "data", "data", arrowstyle="->", color=plots.PALETTE[5], lw=1.6,
                    shrinkA=3, shrinkB=3,
                )  # fmt: skip
                axis.add_artist(arrow)
    picture = plots.render(
        figure,
        "Left, convolution: nine of 4 × 4 inputs lead to one of 2 × 2 outputs. Right, transposed "
        "convolution: one of 2 × 2 inputs leads to nine of 4 × 4 outputs.",
    )
picture.show()

# %% [markdown] tags=["notes"]
# 2 minutes. The same nine arrows, turned round. A convolution multiplies the window with the kernel
# and adds: nine numbers in, one out. The transposed one takes one number, multiplies the *whole*
# kernel with it and prints the result: one in, nine out. "Deconvolution" is the paper's word; it is
# not the inverse of a convolution. Say "transposed convolution" when you mean the layer.

# %% [markdown] tags=["slide"]
# ## Three steps: weigh the kernel, place it a stride further, add the stamps

# %%
value = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
kernel = torch.arange(1.0, 10).view(3, 3)
one = [
    upsampling.transposed_conv(value * F.one_hot(torch.tensor(k), 4).view(2, 2), kernel)
    for k in range(4)
]
frame = [[(k // 2, k % 2, 3, 3, plots.PALETTE[k])] for k in range(4)]
numbers(
    [value, kernel, *one[:2]],
    ["input", "kernel", "1 × kernel", "2 × kernel, 1 further"],
    frames={2: frame[0], 3: frame[1]},
    height=2.7,
)

# %% tags=["fragment"]
numbers(
    [*one[2:], sum(one)],
    ["3 × kernel", "4 × kernel", "sum of the four: 4 × 4"],
    frames={0: frame[2], 1: frame[3]},
    height=2.7,
)

# %% [markdown] tags=["notes"]
# 4 minutes, at the board if possible. The lecture's case: a 3 × 3 kernel on a 2 × 2 input gives 4 ×
# 4. Step 1: the first input times the kernel goes to the upper left corner. Step 2: neighbours are
# printed one stride further, along rows and along columns. Step 3: where stamps overlap, add. Check
# one number aloud: row 1, column 1 is 5·1 + 4·2 + 2·3 + 1·4 = 23. The kernel is *not* flipped.

# %% [markdown] tags=["slide"]
# ## The stride is the gap between the stamps

# %%
outs = [upsampling.transposed_conv(value, torch.ones(3, 3), stride) for stride in (1, 2, 3)]
lengths = [geometry.conv_transpose_output_size(2, 3, stride=s) for s in (1, 2, 3)]
numbers(
    outs,
    [f"stride {s}: {n} × {n}" for s, n in zip((1, 2, 3), lengths)],
    frames={
        k: [
            (s * (m // 2), s * (m % 2), 3, 3, plots.PALETTE[m])
            for m in range(4)
        ]
        for k, s in enumerate((1, 2, 3))
    },
    height=3.6,
)  # fmt: skip

# %% [markdown]
# $$n' = (n - 1)\,s - 2p + k$$

# %% [markdown] tags=["notes"]
# 2 minutes. Input 1 2 / 3 4, kernel of ones. In a convolution a larger stride gives a smaller
# output; here a larger one. Padding is a *crop*: p pixels are cut off on every side. Check: k = 4,
# s =
# 2, p = 1 doubles exactly: (n − 1)·2 − 2 + 4 = 2n.

# %% [markdown] tags=["slide"]
# ## A stamp is a column of Wᵀ

# %%
w = upsampling.conv_as_matrix(kernel, (4, 4))
up = (w.T @ value.flatten()).view(4, 4)
with plots.canvas(1, 2, width=10.5, height=4.3) as (figure, axes):
    for axis, matrix, title in (
        (axes[0], w, "W: 16 pixels → 4, a convolution"),
        (axes[1], w.T, "Wᵀ: 4 → 16, its transpose"),
    ):
        axis.imshow(matrix, cmap="Blues", vmax=14)
        axis.set_title(title)
        axis.grid(False)
        axis.set_xticks([])
        axis.set_yticks([])
        for (i, j), v in np.ndenumerate(matrix.numpy()):
            if v:
                axis.text(j, i, f"{v:g}", ha="center", va="center", fontsize=11)
    picture = plots.render(
        figure,
        "The matrix W of the 3 × 3 convolution of 4 × 4 pixels, 4 × 16, and its transpose. That "
        f"times (1, 2, 3, 4) is {up.tolist()}.",
    )
picture.show()

# %% [markdown]
# $y = Wx,\quad$ up $= W^\top y.\quad$ It brings back the size, **not** the values: $W^\top W \neq
# I$.

# %% [markdown] tags=["notes"]
# 3 minutes. A row of W holds the kernel where it lies on the image; the four columns of Wᵀ are the
# four stamps of the last slides. This is why the layer is called *transposed*, and why its forward
# pass is the backward pass of a convolution with the same weights. With stride 1 and padding 1 it
# is an ordinary convolution with the kernel turned by 180°: DeconvNet's 3 × 3 deconvolutions are
# that.

# %% [markdown] tags=["slide"]
# ## Stamp it yourself

# %%
demos.show("transposed_convolution")

# %% [markdown] tags=["notes"]
# 5 minutes. Move "inputs stamped" from 0 to 4: the columns of Wᵀ light up one by one. Then stride
# 2: ask the "predict first" question; switch the kernel to ones. Then kernel size 4: even. Padding:
# hatched pixels are cut off. With stride 3 and kernel size 2 some pixels get no stamp at all.

# %% [markdown] tags=["slide"]
# ## If the stride does not divide the kernel, a checkerboard shows

# %%
cases = ((3, 2), (2, 2), (4, 2), (5, 3))
with plots.canvas(1, 4, width=11, height=3.5) as (figure, axes):
    texts = []
    for axis, (k, s) in zip(axes, cases):
        count = upsampling.overlap_count(7, k, s)
        axis.imshow(torch.outer(count, count), cmap="cividis")
        row = " ".join(str(int(c)) for c in count[:9])
        axis.set_title(f"k = {k}, s = {s}")
        axis.set_xlabel(row + " …", fontsize=12)
        axis.grid(False)
        axis.set_xticks([])
        axis.set_yticks([])
        texts.append(f"kernel {k}, stride {s}: {row} ...")
    picture = plots.render(
        figure, "Stamps on every output pixel, along a row: " + "; ".join(texts) + "."
    )
picture.show()

# %% [markdown] tags=["fragment"]
# Even inside exactly if $s$ divides $k$. Or enlarge first (nearest, unpooling), then convolve.

# %% [markdown] tags=["notes"]
# 2 minutes. Odena, Dumoulin and Olah, 2016. Brightness is the number of stamps on a pixel. A
# trained network can weaken the pattern but starts with it. k = 2, s = 2 (U-Net) has no overlap at
# all; k = 4, s = 2 (FCN) overlaps evenly. Unpooling followed by convolutions of stride 1 has no
# pattern of this kind.

# %% [markdown] tags=["slide"]
# ## DeconvNet alternates: unpool to twice the size, deconvolve, and again

# %%
shapes = data.lines(1, 224, seed=3, noise=0.0, thickness=6.0).images
feature = (shapes - 0.3).relu()
stack, level = [], feature
for _ in range(4):
    size = tuple(level.shape[-2:])
    level, places = upsampling.max_pool_with_switches(level)
    stack.append((places, size))
shown, titles = [level], ["14 × 14"]
while stack:
    places, size = stack.pop()
    level = upsampling.unpool(level, places, size)
    shown.append(level)
    titles.append(f"unpool: {size[0]} × {size[0]}")
    level = F.conv_transpose2d(level, spread, padding=1)
    if len(stack) in (3, 2, 0):
        shown.append(level)
        titles.append(f"deconv: {size[0]} × {size[0]}")
bright = [(m / m.flatten().quantile(0.99)).clamp(0, 1)[0] for m in (feature, *shown)]
plots.show_images(
    [bright[i] for i in (0, 1, 2, 3, 4, 5, 7, 8)],
    ["a map: 224 × 224", *(titles[i - 1] for i in (1, 2, 3, 4, 5, 7, 8))],
    columns=4,
)

# %% [markdown] tags=["notes"]
# 3 minutes. One map (what is brighter than the ground), pooled four times to 14 × 14, then up by
# the library's functions: unpool to 28, fill with a 3 × 3 stamp, unpool to 56, ... The stamps are
# fixed here; in DeconvNet they are learnt, layer by layer, in 512 to 64 channels. Coarse layers
# draw the overall shape of the object, fine ones its detail. The outline comes back sharp because
# the switches of *this* image lead it: a decoder without them would have to guess.

# %% [markdown] tags=["slide"]
# ## SegNet: the same mirror without the vector in the middle

# %%
with torch.device("meta"):
    counts = {
        "DeconvNet": models.DeconvNet(),
        "SegNet": models.SegNet(),
        "SegNet-Basic": models.SegNetBasic(),
    }
    counts = {k: sum(p.numel() for p in m.parameters()) / 1e6 for k, m in counts.items()}
plots.bars(
    list(counts),
    [round(v, 1) for v in counts.values()],
    title="Parameters in millions (21 classes, 11 classes, 11 classes)",
    ylabel="millions",
)

# %% [markdown] tags=["fragment"]
# Encoder: VGG16's convolutions. Decoder: its mirror. Then a classifier at every pixel.

# %% [markdown] tags=["notes"]
# 2 minutes. SegNet drops fc6 and fc7 and with them nine tenths of the weights: 29.4 instead of
# 251.8 million. Each decoder level: unpool with the switches of the mirrored pooling, then the same
# number of 3 × 3 convolutions. The last convolution gives one score per class; no ReLU there.
# SegNet's paper prints 1.425 million for the basic net; the released file has 1,416,587.

# %% [markdown] tags=["slide"]
# ## Its key element: the decoder reuses the indices of the encoder's max pooling

# %%
net = models.SegNet(3, in_channels=1, width=8).eval()
with torch.no_grad():
    x = grey("chelsea", 96)
    stages, level = [], x
    for stage in net.encoder:
        features = stage(level)
        size = tuple(features.shape[-2:])
        level, places = F.max_pool2d(features, 2, ceil_mode=True, return_indices=True)
        stages.append((size, places))
with plots.canvas(width=11, height=4.3) as (figure, (axis,)):
    n = len(stages)
    for k, (size, _) in enumerate(stages):
        tall = np.log2(size[0]) * 0.55
        for x0, color, hatch in (
            (k, plots.PALETTE[0], None),
            (2 * n - k, plots.PALETTE[1], "//"),
        ):
            axis.add_patch(
                Rectangle((x0 - 0.3, 0), 0.6, tall, fc=color, ec="white", alpha=0.8, hatch=hatch)
            )
        axis.text(k, -0.15, f"{size[0]}", ha="center", va="top", fontsize=13)
        axis.text(2 * n - k, -0.15, f"{size[0]}", ha="center", va="top", fontsize=13)
        high = 4.4 + 0.62 * (n - k)
        axis.plot([k, k, 2 * n - k], [tall, high, high], color=plots.PALETTE[5], lw=2)
        axis.annotate(
            "", (2 * n - k, tall + 0.05), (2 * n - k, high),
            arrowprops={"arrowstyle": "->", "color": plots.PALETTE[5], "lw": 2},
        )  # fmt: skip
    axis.text(n, 4.55 + 0.62 * n, "switches, 2 bits a window", ha="center", fontsize=14)
    axis.text(2, -1.0, "encoder: convolve, pool, remember", ha="center", fontsize=14)
    axis.text(2 * n - 2, -1.0, "decoder: unpool, convolve", ha="center", fontsize=14)
    axis.text(n, 0.5, f"{level.shape[-2]}", ha="center", fontsize=13)
    axis.add_patch(Rectangle((n - 0.3, 0), 0.6, 0.35, fc="#888888"))
    axis.set_xlim(-0.8, 2 * n + 0.8)
    axis.set_ylim(-1.6, 8.4)
    axis.set_axis_off()
    picture = plots.render(
        figure,
        "Encoder maps of sides "
        + ", ".join(str(s[0]) for s, _ in stages)
        + ", and the decoder's in "
        "the reverse order; an arrow leads the switches of each pooling to its unpooling.",
    )
picture.show()

# %% [markdown] tags=["notes"]
# 2 minutes. The switches are remembered for every map of every pooling. They are used in reverse
# order: the last pooling is the first to be undone, a stack. Mixing the levels up often gives no
# error, because mirrored shapes agree; lab 6 has that mistake in its collection. Because the places
# are given, nothing has to be learnt for enlarging; the convolutions behind are learnt.

# %% [markdown] tags=["slide"]
# ## Places are cheap to remember: 2 bits instead of 4 floats

# %%
shapes = [(64, 360, 480), (128, 180, 240), (256, 90, 120), (512, 45, 60), (512, 23, 30)]
costs = [upsampling.switch_memory((c, h + h % 2, w + w % 2)) for c, h, w in shapes]
plots.bars(
    [f"pool {k + 1}" for k in range(5)],
    {
        "features, MB": [round(c.feature_bits / 8e6, 1) for c in costs],
        "switches, MB": [round(c.switch_bits / 8e6, 2) for c in costs],
    },
    title="What a decoder needs from the encoder at 360 × 480, single precision",
    ylabel="megabytes",
)

# %% [markdown]
# $$\frac{4 \times 32\ \text{bits}}{\log_2 4\ \text{bits}} = 64$$

# %% [markdown] tags=["notes"]
# 2 minutes. The alternative is to hand over the feature maps themselves, as U-Net will. SegNet
# gives up their values and keeps only the places: a factor of 64 in single precision if the two
# bits are packed. Frameworks do not pack them: torch keeps an int64 per window, 64 bits, and the
# factor is 2. Ask: what does a map lose that keeps places only?

# %% [markdown] tags=["slide"]
# ## The network is trained as a whole: the gradient takes the same way back

# %%
picture_in = torch.tensor([[1.0, 2, 6, 3], [3, 5, 2, 1], [1, 2, 2, 1], [7, 3, 4, 8]])
leaf = picture_in[None, None].clone().requires_grad_()
small, idx = upsampling.max_pool_with_switches(leaf)
weights = torch.arange(1.0, 17).view(1, 1, 4, 4)  # the gradient that arrives at the output
(gradient,) = torch.autograd.grad((upsampling.unpool(small, idx, (4, 4)) * weights).sum(), leaf)
numbers(
    [picture_in, weights[0, 0], gradient[0, 0]],
    ["input of the pooling", "gradient at the unpooled map", "gradient at the input"],
    frames={0: where, 1: where, 2: where},
    height=3.4,
)

# %% [markdown] tags=["notes"]
# 2 minutes. Loss: cross-entropy of every pixel, rare classes weighted up (median frequency). One
# gradient descent through decoder and encoder together. Through unpooling and pooling the gradient
# passes at the switches only: four of sixteen numbers. DeconvNet trains in two stages (crops around
# single objects, then object proposals) and pastes the results together; SegNet takes whole images.

# %% [markdown] tags=["slide"]
# ## What the papers report, and what we measured
#
# DeconvNet: 69.6 mean IoU on VOC 2012, 70.5 with a CRF. SegNet: 60.1 on CamVid.

# %%
plots.bars(
    ["seed 0", "seed 1", "seed 2"],
    [0.323, 0.302, 0.314],  # docs/claims.md, lab 6
    title="Lab 6, equal weights: IoU of thin lines, switches less the better other decoder",
    ylabel="gain in IoU",
    limits=(0, 0.4),
)

# %% [markdown] tags=["notes"]
# 2 minutes. Our line is the claim of lab 6: switches less the better of nearest and transposed
# convolution, equal weights, three seeds, 95 % interval 0.29 to 0.34; the page `docs/claims.md` is
# written from executed notebooks. The published numbers are those of the papers, on other data and
# far more training; a miniature says nothing about them. Be honest about the flat areas of the
# demo: thin structure is where switches shine.

# %% [markdown] tags=["slide"]
# ## Try it
#
# Lab 6: pool and unpool, stamp and multiply with Wᵀ, predict checkerboards, build a small SegNet.

# %%
lectures.links(6)

# %% [markdown] tags=["notes"]
# 1 minute. About two hours. The exercise that most people get wrong first: the stride puts zeros
# *between* inputs, not after the last. The check names the mistake.

# %% [markdown] tags=["slide"]
# ## References
#
# - Noh, Hong, Han, *Learning Deconvolution Network for Semantic Segmentation*, ICCV 2015, §3,
#   arXiv:1505.04366
# - Badrinarayanan, Kendall, Cipolla, *SegNet*, PAMI 2017, §3 and §4.1, arXiv:1511.00561
# - Zeiler, Fergus, *Visualizing and Understanding Convolutional Networks*, ECCV 2014, §2.1,
#   arXiv:1311.2901
# - Dumoulin, Visin, *A guide to convolution arithmetic for deep learning*, 2016, §4,
#   arXiv:1603.07285
# - Odena, Dumoulin, Olah, *Deconvolution and Checkerboard Artifacts*, Distill 2016

# %% [markdown] tags=["notes"]
# Leave this slide up during questions. For those who want one paper: SegNet, sections 3 and 3.1.
