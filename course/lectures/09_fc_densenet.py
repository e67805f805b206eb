# %% tags=["skip"]
import numpy as np
import torch
from matplotlib.patches import Arc, Rectangle
from torch import nn

from course import data, demos, geometry, ladder, lectures, models, plots

BLUE, ORANGE, GREEN = plots.PALETTE[0], plots.PALETTE[1], plots.PALETTE[2]


def count(make, **options):
    """Weights of a model, built without memory."""
    with torch.device("meta"):
        return sum(p.numel() for p in make(**options).parameters())


# %% [markdown] tags=["slide"]
# # FC-DenseNet: a hundred layers, nine million weights
#
# You will be able to say what concatenation does that summation does not, to follow the maps
# through a network of 103 layers, and to name the price of so few weights.

# %%
lectures.links(9)

# %% [markdown] tags=["notes"]
# 1 minute. U-Net concatenated once per level. Today every layer does. The paper's own name is the
# One Hundred Layers Tiramisu: layers on layers, each soaked in all before it.

# %% [markdown] tags=["slide"]
# ## In a dense block, each layer hands its maps to all later ones

# %%
with plots.canvas(width=11, height=4.2) as (figure, (axis,)):
    names = ["input", "layer 1", "layer 2", "layer 3", "layer 4", "out"]
    colors = [plots.PALETTE[k] for k in (0, 1, 2, 3, 4)]
    for k, name in enumerate(names):
        fc = colors[k] if k < 5 else "white"
        axis.add_patch(Rectangle((2 * k - 0.55, -0.35), 1.1, 0.7, fc=fc, alpha=0.35, ec="black"))
        axis.text(2 * k, 0, name, ha="center", va="center", fontsize=14)
        for later in range(k + 1, 6) if k < 5 else ():
            middle, wide = k + later, 2 * (later - k)
            tall = 0.9 * (later - k)
            size, style = (wide - 0.05 * k, 1.6 * tall), ("-", "--", "-.", ":", "-")[k]
            arc = Arc((middle, 0.38), *size, theta1=0, theta2=180, ec=colors[k], lw=2.6, ls=style)
            axis.add_patch(arc)
    axis.set(xlim=(-0.8, 10.8), ylim=(-0.5, 4.2))
    axis.set_axis_off()
    picture = plots.render(
        figure,
        "Input, four layers and the output in a row. An arc leads from each to every later one: "
        "15 connections, where a chain would have 5.",
    )
picture

# %% [markdown] tags=["notes"]
# 2 minutes. Six things, 15 arcs: each later one reads all earlier ones. A layer gets the collected
# knowledge of the block, untouched, and needs to add only what is new. Gradients take the same
# bridges back, so a hundred layers train without pretraining. Ask: how many arcs for n layers? ((n
# + 1)(n + 2) / 2.)

# %% [markdown] tags=["slide"]
# ## A sum forgets who said what; a stack does not

# %%
scene = data.lines(2, 48, seed=6)
first, second = scene.images[0], scene.images[1]
half = torch.arange(48) < 24
mixed = torch.where(half, first, second), torch.where(half, second, first)
total, same = first + second, sum(mixed)
gap = float((total - same).abs().max())
plots.show_images(
    [first, second, total / 2, mixed[0], mixed[1], same / 2],
    ["map a", "map b", "a + b", "map c", "map d", "c + d"],
    title=f"Largest difference of the two sums: {gap:.0f}",
    columns=3,
)

# %% [markdown] tags=["notes"]
# 2 minutes. ResNet: x + H(x). DenseNet: [x, H(x)]. Left and right are different maps whose sum is
# the same picture: no later layer can tell which it was. From a stack, both can be read, and their
# sum too (a 1 × 1 convolution does it): concatenation can do all that summation can. Ask: so why
# does anybody sum? (A stack grows.)

# %% [markdown] tags=["slide"]
# ## The stack grows by k maps a layer, and k may be small

# %%
demos.show("dense_block")

# %% [markdown] tags=["notes"]
# 4 minutes. Ask first: each layer reads more than the one before; has it more weights than a layer
# that sums? Step through "look at layer". Switch to sum: all layers make 48 maps. Then growth 48
# and 8 layers: now the dense block is the heavier one. Dense is cheap *because* k is small: 12 or
# 16.

# %% [markdown] tags=["slide"]
# ## The block is four lines


# %% tags=["code"]
class Dense(nn.Module):
    def __init__(self, maps, k, n):
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv2d(maps + i * k, k, 3, padding=1) for i in range(n))

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x.relu())], dim=1)
        return x


tuple(Dense(48, 12, 4)(torch.zeros(1, 48, 30, 40)).shape)

# %% [markdown] tags=["notes"]
# 2 minutes. The real layer is batch normalisation, ReLU, 3 × 3 convolution, dropout 0.2; two of
# the four are left out here. 48 + 4 · 12 = 96 maps. Ask where the memory goes: `torch.cat` copies
# the whole stack in every layer. That is the price, and it comes back at the end.

# %% [markdown] tags=["slide"]
# ## Down and up again: the shape of U-Net, made of dense blocks

# %%
with torch.device("meta"):
    net = models.FCDenseNet103()
layers = [4, 5, 7, 10, 12, 15, 12, 10, 7, 5, 4]
new = [16 * n for n in layers]
stacks = list(net.maps)
sides = [224 // 2 ** min(k, 10 - k) for k in range(11)]
with plots.canvas(width=11, height=4.4) as (figure, (axis,)):
    at = np.arange(11)
    old = np.array(stacks) - new
    axis.bar(at, old, color=BLUE, alpha=0.45, ec=BLUE, label="read by the block")
    axis.bar(
        at, new, bottom=old, color=ORANGE, alpha=0.6, ec=ORANGE, hatch="//", label="made by it"
    )
    for k in range(11):
        axis.text(k, stacks[k] + 15, f"{stacks[k]}", ha="center", fontsize=13)
    axis.set(ylabel="maps", ylim=(0, 1230), xlabel="layers of the block, and size for 224 × 224")
    axis.set_xticks(at, [f"{n}\n{s}" for n, s in zip(layers, sides)], fontsize=13)
    axis.legend(fontsize=13, loc="upper left")
    picture = plots.render(
        figure,
        f"FC-DenseNet103: maps after each of 11 blocks: {', '.join(map(str, stacks))}; made by the "
        f"block itself: {', '.join(map(str, new))}.",
    )
picture

# %% [markdown] tags=["notes"]
# 3 minutes. From the library's own network. Down: the block returns input *and* new maps; then a
# transition down: BN, ReLU, 1 × 1 convolution, dropout, pooling, in this order. The bottom has 15
# layers: 240 new maps, 896 in the stack. Let them count to 103: 1 first convolution, 91 layers in
# blocks, 5 transitions down, 5 up, 1 last. Table 2 of the paper prints the way up 16 too small;
# the authors say so.

# %% [markdown] tags=["slide"]
# ## On the way up only *new* maps travel, or the stack would explode

# %%
skips = stacks[:5][::-1]
everything = [stacks[5]]
for skip, made in zip(skips, new[6:]):
    everything.append(everything[-1] + skip + made)
plots.bars(
    [f"up {k}" for k in range(1, 6)],
    {"new maps only": stacks[6:], "whole stack": everything[1:]},
    title="Maps in the stack after each block on the way up",
    ylabel="maps",
)

# %% [markdown] tags=["notes"]
# 2 minutes. Passing everything, the last block, at full resolution, would end with ten times as
# many maps. What is dropped is not lost: the input of the block came from a skip of the same
# level, and the skip of the next level brings finer knowledge of it. This is the paper's one new
# idea against DenseNet, and the mistake to look for in ports: the whole stack upsampled.

# %% [markdown] tags=["slide"]
# ## A transition up makes one row too many, so odd sizes fit too

# %%
pairs = [(11, 22), (22, 45), (45, 90), (90, 180), (180, 360)]
with plots.canvas(width=10, height=3.8) as (figure, (axis,)):
    grown = [geometry.conv_transpose_output_size(a, 3, stride=2) for a, _ in pairs]
    for k, ((a, b), g) in enumerate(zip(pairs, grown)):
        axis.text(0, -k, f"{a}", ha="center", va="center", fontsize=18)
        axis.annotate("", (1.4, -k), (0.4, -k), arrowprops={"arrowstyle": "-|>", "lw": 2})
        axis.text(
            1.9, -k, f"{g}", ha="center", va="center", fontsize=18, color=ORANGE, weight="bold"
        )
        axis.annotate("", (3.4, -k), (2.4, -k), arrowprops={"arrowstyle": "-|>", "lw": 2})
        axis.text(
            3.9, -k, f"{b}", ha="center", va="center", fontsize=18, color=GREEN, weight="bold"
        )
        words = "fits" if g == b else f"crop {g - b}"
        axis.text(5.0, -k, words, ha="left", va="center", fontsize=16)
    for x, words in ((0, "rows"), (1.9, "stride 2, 3 × 3"), (3.9, "skip")):
        axis.text(x, 0.75, words, ha="center", fontsize=14)
    axis.set(xlim=(-0.6, 6.2), ylim=(-4.5, 1.1))
    axis.set_axis_off()
    picture = plots.render(
        figure,
        "CamVid's 360 rows: "
        + "; ".join(f"{a} become {g}, the skip has {b}" for (a, b), g in zip(pairs, grown))
        + ".",
    )
picture

# %% [markdown] tags=["notes"]
# 1 minute. 360 rows go down to 180, 90, 45, 22 (a half is lost), 11. A transposed convolution of 3
# × 3 with stride 2 makes 2 n + 1, one row too many or exactly right. Kernel 4 with padding 1 would
# make 44 of 22 and never fit 45.

# %% [markdown] tags=["slide"]
# ## Few weights ...

# %%
systems = {
    "DeconvNet": models.DeconvNet,
    "FCN-8s": models.FCN8s,
    "U-Net": models.UNet,
    "SegNet": models.SegNet,
    "FC-DenseNet103": models.FCDenseNet103,
}
millions = [count(make) / 1e6 for make in systems.values()]
plots.bars(list(systems), [round(v, 1) for v in millions], ylabel="weights, millions")

# %% [markdown] tags=["notes"]
# 1 minute. Each in its published configuration, counted by building it. 9.3 million; the paper
# says 9.4, since it counts the running statistics of batch normalisation as well. For 56 layers it
# says 1.5 million, and we find 1.38: with statistics 1.40. Say such things; papers have slips.

# %% [markdown] tags=["slide"]
# ## ... and a bill for memory

# %%
reads = [[s - m + 16 * i for i in range(n)] for s, m, n in zip(stacks, new, layers)]
pixels = [(360 >> min(k, 10 - k)) * (480 >> min(k, 10 - k)) for k in range(11)]
made = sum(p * 16 * n for p, n in zip(pixels, layers)) / 2**20
copies = sum(p * (sum(r[1:]) + r[-1] + 16) for p, r in zip(pixels, reads)) / 2**20
plots.bars(
    ["new maps", "stacks, copied layer by layer"],
    [round(4 * made), round(4 * copies)],
    title="Dense blocks of FC-DenseNet103, one image of 360 × 480, float32",
    ylabel="MiB",
)

# %% [markdown] tags=["notes"]
# 2 minutes. Left: what the layers make. Right: what a plain `torch.cat` in each layer writes: each
# layer copies the whole stack, so a block of n layers on c maps writes n c + n (n + 1) / 2 · k.
# All that backpropagation keeps, copies included, is 6.3 times what SegNet keeps, counted in lab
# 9. Recomputing saves memory and costs time (Pleiss et al. 2017). Ask: which of weights, memory
# and time matters on a phone? On a cluster?

# %% [markdown] tags=["slide"]
# ## What the papers report, and what we measured
#
# | | the paper | our miniature, IoU of lines |
# |:--|:--|:--|
# | Beats SegNet, fewer weights | CamVid 66.9 : 46.4 mIoU | **+0.13** (0.08 to 0.18): reproduced |
# | Skips across the poolings | argued | **+0.51** (0.38 to 0.64): reproduced |
# | Reuse inside a block | argued | **−0.01** (−0.07 to 0.05): cannot tell |
# | Price in activations | not printed | 6.3 × SegNet, counted |

# %% [markdown] tags=["notes"]
# 2 minutes. Claims of lab 9, four seeds, 95 % intervals, in `docs/claims.md`. The third line is
# the honest one: a chain with the same number of weights is as good here. Miniature blocks of
# three maps a layer may be too small for reuse to matter; the paper did not test it either.

# %% [markdown] tags=["slide"]
# ## On the ladder: close to U-Net for half its computation

# %%
_, scores = ladder.load_scores()
rungs = ["SegNet", "U-Net", "FC-DenseNet"]
with plots.canvas(1, 3, width=11, height=4.2) as (figure, axes):
    panels = (
        ("IoU of thin lines", [sum(scores[r].iou) / len(scores[r].iou) for r in rungs], "{:.2f}"),
        ("weights, thousands", [scores[r].parameters / 1e3 for r in rungs], "{:.0f}"),
        ("MACs, millions", [scores[r].macs / 1e6 for r in rungs], "{:.0f}"),
    )
    for axis, (title, values, form) in zip(axes, panels):
        bars = axis.bar(rungs, values, color=[BLUE, BLUE, ORANGE], alpha=0.7)
        bars[2].set_hatch("//")
        axis.bar_label(bars, [form.format(v) for v in values], fontsize=13)
        axis.set_title(title)
        axis.margins(y=0.15)
        axis.tick_params(axis="x", labelsize=12)
    said = "; ".join(
        f"{title}: " + ", ".join(f"{r} {form.format(v)}" for r, v in zip(rungs, values))
        for title, values, form in panels
    )
    picture = plots.render(figure, f"{said}.")
picture

# %% [markdown] tags=["notes"]
# 1 minute. Small versions on 64 × 64 images, three seeds. SegNet's mean hides one run in three
# that failed. Ask: where is FC-DenseNet better than U-Net here? (Computation, not IoU and not
# weights.)

# %% [markdown] tags=["slide"]
# ## Try it
#
# Lab 9: build the block and both transitions, count the weights of 103 layers in closed form,
# count the memory, and take the parts away one by one.

# %%
lectures.links(9)

# %% [markdown] tags=["notes"]
# 1 minute. About two hours. Most common mistakes: pooling before the 1 × 1 convolution, upsampling
# the whole stack, forgetting the biases.

# %% [markdown] tags=["slide"]
# ## References
#
# - Jégou, Drozdzal, Vázquez, Romero, Bengio, *The One Hundred Layers Tiramisu*, CVPRW 2017,
#   arXiv:1611.09326: §3 and Tables 1, 2 (network), Table 3 (CamVid)
# - Huang, Liu, van der Maaten, Weinberger, *Densely Connected Convolutional Networks*, CVPR 2017,
#   §3, arXiv:1608.06993
# - He et al., *Deep Residual Learning*, CVPR 2016, §3, arXiv:1512.03385
# - Pleiss et al., *Memory-Efficient Implementation of DenseNets*, 2017, §3, arXiv:1707.06990

# %% [markdown] tags=["notes"]
# Leave this slide up during questions. Read DenseNet's section 3 first, it has two pages.
