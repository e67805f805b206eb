# %% tags=["skip"]
import numpy as np
import torch
from torch.nn import functional as F

from course import data, demos, geometry, ladder, lectures, models, plots, training
from course.demos.pyramid_pooling import bin_edges
from course.lectures.blocks import Blocks


def tiles(photo, bins):
    """A photograph (3, H, W) averaged in bins × bins and spread back without smoothing."""
    pooled = F.adaptive_avg_pool2d(photo[None], bins)
    return F.interpolate(pooled, size=photo.shape[-2:], mode="nearest")[0]


# %% [markdown] tags=["slide"]
# # PSPNet: ask the whole scene before naming a pixel
#
# You will be able to say what context a network lacks, how a pyramid of averages supplies it, and
# when ASPP does the same job in another way.

# %%
lectures.links(11)

# %% [markdown] tags=["notes"]
# 1 minute. DeepLab kept the resolution; it still named pixels by what lies near them. Today: the
# scene. Ask: how do you know, at night, whether two lights are a boat or a car?

# %% [markdown] tags=["slide"]
# ## The same blob is a boat or a car: the ground decides

# %%
drawn, twins = data.scenes(2, 96, seed=3), data.scenes(2, 96, seed=3, swap=True)
plots.show_masks(
    [drawn[0]["image"], twins[0]["image"], drawn[1]["image"], twins[1]["image"]],
    [drawn[0]["mask"], twins[0]["mask"], drawn[1]["mask"], twins[1]["mask"]],
    class_names=drawn.class_names,
    titles=["a scene", "its twin", "another scene", "its twin"],
    title="Blob, fog and noise are equal in each pair; only the far ground is exchanged",
)

# %% [markdown] tags=["notes"]
# 2 minutes. These are the images of lab 11. Inside the fog a pair is equal to the last bit, so no
# network that looks only there can be right more often than half the time. Ask for the evidence
# that *you* used: everybody looked at the rim of the image.

# %% [markdown] tags=["slide"]
# ## Three failures with one cause

# %%
plots.table(
    ["what goes wrong", "for example", "what would help"],
    [
        ["objects in the wrong place", "a car on a lake", "which scene is it?"],
        ["names that mean nearly the same", "half a tower 'building'", "one name for one region"],
        ["things of unusual size", "a cushion like its sofa", "looking at parts and at the whole"],
    ],
    title="What PSPNet's authors saw in the mistakes of an FCN",
)

# %% [markdown] tags=["notes"]
# 2 minutes. Zhao et al. §3.1 sort mistakes on ADE20K (150 classes) into mismatched relationship,
# confusion categories and inconspicuous classes. All three are decided outside the object. Typical
# misunderstanding: "a deeper network sees everything anyway". The next slide answers it.

# %% [markdown] tags=["slide"]
# ## The receptive field is wide on paper and narrow in use
#
# After $n$ convolutions of 3 the field is $2n+1$ pixels wide, but influence gathers in about
# $\pm 2\sqrt{2n/3}$ of them.

# %%
with plots.canvas(width=10, height=4.2) as (figure, (axis,)):
    told = []
    for k, n in enumerate((5, 20, 80)):
        weights = np.ones(1)
        for _ in range(n):
            weights = np.convolve(weights, np.ones(3) / 3)
        size = geometry.receptive_field([(3,)] * n).size
        inner = int((np.cumsum(np.sort(weights)[::-1]) < 0.95).sum()) + 1
        told.append(f"{n} layers: 95 % of the influence in {inner} of {size} px")
        style = {"ls": ("-", "--", "-.")[k], "color": plots.PALETTE[k], "lw": 3}
        axis.plot(np.linspace(-1, 1, size), weights / weights.max(), label=told[-1], **style)
    axis.set_xlabel("place in the theoretical receptive field, from edge to edge")
    axis.set_ylabel("influence, share of its peak")
    axis.set_xlim(-1, 1)
    axis.set_ylim(0, 1.05)
    figure.legend(loc="outside upper center", ncols=1, fontsize=14)
    picture = plots.render(figure, "Influence inside of the field. " + "; ".join(told) + ".")
picture

# %% [markdown] tags=["notes"]
# 3 minutes. Luo et al. 2016 show this for random and for trained nets: the influence is a bell
# whose width grows like the root of the depth, the field like the depth. So the used share
# *shrinks* with depth. The curves use equal weights of 1/3; trained nets are wider, but bells too.
# Draw the conclusion: to see the whole image, do not stack, ask for the whole image.

# %% [markdown] tags=["slide"]
# ## Average the map in 1, 4, 9 and 36 bins

# %%
photo = data.photographs("coffee")["coffee"]
plots.show_images(
    [photo, *(tiles(photo, bins) for bins in (1, 2, 3, 6))],
    ["features", "1 × 1", "2 × 2", "3 × 3", "6 × 6"],
    title="A photograph stands for the 2048 maps: from the whole scene to its sub-regions",
    columns=3,
)

# %% [markdown] tags=["notes"]
# 2 minutes. Colours stand for features. One bin: what kind of scene. Six by six: what is where,
# roughly. ParseNet had used the single bin before; the pyramid adds places. Ask: which levels
# still know that the cup stands in the middle?

# %% [markdown] tags=["slide"]
# ## Adaptive bins fit any size, and may share a row
#
# $$\text{bin } i:\quad \Big\lfloor \frac{i\,n}{b} \Big\rfloor \;\text{ to }\;
# \Big\lceil \frac{(i+1)\,n}{b} \Big\rceil$$

# %%
sizes = ((60, 6), (7, 3), (7, 6))
with plots.canvas(len(sizes), 1, width=10.5, height=3.6) as (figure, axes):
    told = []
    for axis, (n, b) in zip(axes, sizes):
        spans = bin_edges(n, b)
        for i, (first, last) in enumerate(spans):
            axis.barh(
                i % 2,
                last - first,
                left=first,
                height=0.8,
                color=plots.PALETTE[i % 2],
                edgecolor="black",
                hatch=("//", "")[i % 2],
                alpha=0.75,
            )
            middle = ((first + last) / 2, i % 2)
            patch = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
            axis.text(*middle, f"{first}–{last}", ha="center", va="center", fontsize=13, bbox=patch)
        axis.set_xlim(0, n)
        axis.set_yticks([])
        axis.set_ylabel(f"{n} into {b}", rotation=0, ha="right", va="center")
        told.append(f"{n} positions into {b} bins: {spans}")
    picture = plots.render(figure, "; ".join(told) + ".")
picture

# %% [markdown] tags=["notes"]
# 2 minutes. At 60 (input 473) all four levels divide: nothing overlaps. At 7, three bins share a
# row each way and six bins share five. Wrong in many re-implementations: `n // b` as window size,
# which leaves the last rows out. Do 7 into 3 at the board: 0–3, 2–5, 4–7.

# %% [markdown] tags=["slide"]
# ## The pyramid pooling module doubles the maps

# %%
plan = Blocks(1120, 420)
inside = plan.box((10, 140, 190, 260), "features", "2048 maps", "60 × 60")
outside = plan.box((800, 60, 950, 340), "concat", "4096 maps", "60 × 60")
for k, bins in enumerate((1, 2, 3, 6)):
    y = 10 + 84 * k
    pooled = plan.box((300, y, 440, y + 66), f"{bins} × {bins}", "average", color="orange")
    slim = plan.box((480, y, 620, y + 66), "1 × 1 conv", "512 maps", color="green")
    up = plan.box((660, y, 750, y + 66), "up", color="orange")
    plan.link(inside, pooled)
    plan.link(pooled, slim)
    plan.link(slim, up)
    y += 33
    plan.sheet.arrow((750, y), (797, min(max(y, 80), 320)), "muted", 2.5, head=13)
plan.sheet.line([(100, 262), (100, 390), (875, 390)], "muted", 2.5)
plan.sheet.arrow((875, 390), (875, 343), "muted", 2.5, head=13)
plan.text((430, 374), "the features themselves, 2048 maps")
head = plan.box((1000, 110, 1110, 290), "3 × 3", "512 maps", "1 × 1", "classes")
plan.link(outside, head)
plan.show(
    "Pyramid pooling: 2048 feature maps of 60 by 60 are averaged to 1, 2, 3, 6 bins a side, each "
    "level is compressed to 512 maps and upsampled, and all are concatenated with the features "
    "themselves to 4096 maps; a 3 by 3 and a 1 by 1 convolution give the classes."
)

# %% [markdown] tags=["notes"]
# 3 minutes. Walk one path: average, compress to a quarter of the maps divided by four levels
# (2048/4 = 512), spread back bilinearly, concatenate. The features themselves must be in the
# stack: averages alone cannot draw an edge. Training trap: with a batch of one image the 1 × 1
# level gives batch norm a single value, which PyTorch refuses.

# %% [markdown] tags=["slide"]
# ## Demo: which bin names the blob?

# %%
demos.show("pyramid_pooling")

# %% [markdown] tags=["notes"]
# 5 minutes. Ask the question first. Shore: switch all bins off (a coin toss), then only 1 × 1, drag
# the object from road to water: the answer does not follow. Add 2 × 2, 3 × 3. Then the lake: the
# global bin is sure and wrong. Last, raise the fog to 6: the fine bins read nothing but fog. This
# classifier has equal weights; a trained one learns which level to trust.

# %% [markdown] tags=["slide"]
# ## The pyramid is cheap; the head behind it is not

# %%
with torch.device("meta"):
    net = models.PSPNet50()


def millions(part):
    return sum(p.numel() for p in part.parameters()) / 1e6


macs = geometry.macs_by_layer(net, (1, 3, 473, 473))
parts = ("backbone", "pyramid", "head")
cost = {part: sum(v for name, v in macs.items() if name.startswith(part)) / 1e9 for part in parts}
plots.bars(
    [f"{part}" for part in parts],
    {
        "million parameters": [round(millions(getattr(net, part)), 2) for part in parts],
        "billion multiply-accumulates": [round(cost[part], 2) for part in parts],
    },
    title=f"PSPNet50 on 473 × 473: {millions(net):.1f} M parameters",
)

# %% [markdown] tags=["notes"]
# 2 minutes. The module itself: 4.2 M parameters and almost no arithmetic, since it convolves 1 + 4
# + 9 + 36 positions. The 3 × 3 convolution from 4096 maps is what costs. The backbone is dilated
# (stride 8), which is the bill that the next lecture wants to reduce.

# %% [markdown] tags=["slide"]
# ## Two losses while training, one network afterwards
#
# $$L = L_{main} + 0.4\,L_{aux} \qquad\qquad \eta_t = \eta_0\,(1 - t/T)^{0.9}$$

# %%
steps = 200
rates = {"straight line": 0.01 * (1 - np.arange(steps) / steps)}
rates["poly, power 0.9"] = [training.poly_lr(t, steps, base=0.01) for t in range(steps)]
plots.curves(
    rates,
    title="The poly schedule: nearly straight to zero",
    xlabel="step",
    ylabel="learning rate",
)

# %% [markdown] tags=["notes"]
# 2 minutes. A second classifier on the last but one stage of the backbone gets its own loss; in
# the paper's ablation the weight 0.4 did best. It is thrown away after training: adding it at test
# time is a classic mistake and one of lab 11's wrong answers. The poly rule comes from ParseNet
# and DeepLab.

# %% [markdown] tags=["slide"]
# ## ASPP samples at four distances, PSP averages over four grids

# %%
with plots.canvas(1, 2, width=10, height=4.4) as (figure, (left, right)):
    for axis, name in ((left, "ASPP: 9 taps for each rate"), (right, "PSP: bins of 1, 2, 3, 6")):
        axis.set_xlim(-0.5, 64.5)
        axis.set_ylim(64.5, -0.5)
        axis.set_aspect("equal")
        axis.set_title(name)
        axis.grid(False)
        axis.set_xticks([0, 32, 64])
        axis.set_yticks([0, 32, 64])
    for k, rate in enumerate((6, 12, 18, 24)):
        at = np.array([-rate, 0, rate])
        x, y = np.meshgrid(32 + at, 32 + at)
        left.plot(
            x.ravel(), y.ravel(), "os^D"[k], ms=8, color=plots.PALETTE[k], label=f"rate {rate}"
        )
    left.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=12)
    for k, bins in enumerate((1, 2, 3, 6)):
        for edge in np.linspace(-0.5, 64.5, bins + 1):
            style = {"color": plots.PALETTE[k], "lw": 5 - k, "ls": ("-", "--", "-.", ":")[k]}
            right.axvline(edge, label=f"{bins} × {bins}" if edge < 0 else None, **style)
            right.axhline(edge, **style)
    right.plot(32, 32, "o", color="black", ms=8)
    right.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), fontsize=12)
    picture = plots.render(
        figure,
        "On a 65 by 65 map: left the nine taps of ASPP at rates 6, 12, 18, 24 around the middle; "
        "right the grids of pyramid pooling with 1, 2, 3 and 6 bins a side.",
    )
picture

# %% [markdown] tags=["notes"]
# 3 minutes. Both look at several scales in parallel and concatenate (ASPP of DeepLab v2 sums
# scores; v3 concatenates). ASPP moves with the pixel and skips most of what it passes over; PSP's
# bins are fixed to the image and leave nothing out. FastFCN in the next lecture runs either as its
# head.

# %% [markdown] tags=["slide"]
# ## At large rates an atrous kernel falls off the map

# %%
side = 65
rates = (6, 12, 18, 24, 32)
shares = []
for rate in rates:
    ones = F.conv2d(
        torch.ones(1, 1, side, side), torch.ones(1, 1, 3, 3), padding=rate, dilation=rate
    )
    shares.append(100 * float((ones == 9).float().mean()))
plots.bars(
    [f"rate {rate}" for rate in rates],
    [round(share, 1) for share in shares],
    title="Positions of a 65 × 65 map whose nine taps all lie inside",
    ylabel="% of the positions",
)

# %% [markdown] tags=["notes"]
# 2 minutes. Counted by convolving ones. At rate 24 one position in fifteen keeps its nine taps;
# the others see zeros of the padding, and the 3 × 3 kernel decays to 1 × 1. That is why DeepLab v3
# drops the largest rate and adds image pooling: a 1 × 1 bin, PSPNet's first level.

# %% [markdown] tags=["slide"]
# ## DeepLab v3 borrows the global bin

# %%
plan = Blocks(1120, 420)
inside = plan.box((10, 150, 190, 270), "features", "2048 maps", "stride 16")
outside = plan.box((790, 60, 950, 360), "concat", "1280 maps")
names = ("1 × 1 conv", "3 × 3, rate 6", "3 × 3, rate 12", "3 × 3, rate 18")
for k, name in enumerate((*names, "image pooling")):
    y = 8 + 82 * k
    last = k == 4
    branch = plan.box(
        (320, y, 530, y + 64),
        name,
        "1 × 1 bin, 1 × 1 conv" if last else "256 maps",
        color="orange" if last else "blue",
        size=19,
    )
    plan.link(inside, branch)
    end = branch
    if last:
        end = plan.box((600, y, 690, y + 64), "up", color="orange")
        plan.link(branch, end)
    plan.sheet.arrow((end.x1, y + 32), (787, min(max(y + 32, 80), 345)), "muted", 2.5, head=13)
head = plan.box((1000, 130, 1110, 290), "1 × 1", "256 maps", "1 × 1", "classes")
plan.link(outside, head)
plan.show(
    "ASPP of DeepLab v3: a 1 by 1 convolution, three 3 by 3 convolutions of rates 6, 12, 18 and "
    "a pooling of the whole image, 256 maps each, are concatenated to 1280 maps and classified."
)

# %% [markdown] tags=["notes"]
# 2 minutes. Five branches of 256 maps. Rates belong to output stride 16; at stride 8 they double
# (torchvision: 12, 24, 36). Using 6, 12, 18 at stride 8 is the most frequent mistake. Padding
# equals the rate.

# %% [markdown] tags=["slide"]
# ## What the paper claims, and what we measured

# %%
plots.table(
    ["", "measured", "gain by the pyramid"],
    [
        ["paper", "mean IoU, ADE20K, ResNet-50", "37.23 → 41.68: + 4.45 points"],
        ["here", "right names of the blob, 3 seeds", "+ 46.9 points, interval 39.3 to 54.4"],
    ],
    title="Zhao et al. 2017, Table 1, and our claims page, lab 11: reproduced",
)

# %% [markdown]
# In our scenes the single global bin does almost as well: only *what* the scene is matters there,
# not where.

# %% [markdown] tags=["notes"]
# 2 minutes. Verdict on the claims page: reproduced. Say what is not comparable: ours is one task
# built so that context is all there is; the paper's gain is on 150 classes of real photographs.
# Also in the paper: average beats max pooling, bins 1236 beat 1, and the auxiliary loss helps.

# %% [markdown] tags=["slide"]
# ## On the ladder, context does not draw thin lines

# %%
ladder.picture(lab=11)

# %% [markdown] tags=["notes"]
# 1 minute. The same thin lines as in every lecture. PSPNet stands where its stride of 8 puts it. A
# method is good *for something*: ask what it was for.

# %% [markdown] tags=["slide"]
# ## Try it
#
# Lab 11: adaptive bins, the pyramid, the poly rule and the auxiliary loss; then a probe that swaps
# the ground behind a blob and counts the labels that change.

# %%
lectures.links(11)

# %% [markdown] tags=["notes"]
# 1 minute. The probe of 11.4 needs no labels and works on any network: suggest it for their own.

# %% [markdown] tags=["slide"]
# ## References
#
# - Zhao, Shi, Qi, Wang, Jia 2017, *Pyramid Scene Parsing Network*, §3–4, arXiv:1612.01105
# - Chen et al. 2017, *Rethinking Atrous Convolution*, §3.3, arXiv:1706.05587
# - Chen et al. 2018, *DeepLab*, §3.2 (ASPP), arXiv:1606.00915
# - Luo et al. 2016, *Effective Receptive Field*, §2–3, arXiv:1701.04128
# - Liu et al. 2015, *ParseNet*, §3, arXiv:1506.04579

# %% [markdown] tags=["notes"]
# Read §3.1 of Zhao et al. with the figures: it is the best short argument for context in print.
