# %% tags=["skip"]
import numpy as np
import torch
from torch.nn import functional as F

from course import data, demos, ladder, lectures, losses, metrics, models, plots
from course.lectures.blocks import Blocks
from course.models.reverse_attention import reverse_attention_mask


def responses(images, difference=15.0):
    """How well the stripes around each pixel fit the four textures: (N, 1, H, W) to (N, 4, H, W).

    No training: the direction of the grey-value gradient, averaged over 13 × 13 pixels, against the
    direction of each texture; 1 is a perfect fit, -1 stripes at right angles.
    """
    smooth = F.avg_pool2d(images, 3, 1, 1, count_include_pad=False)
    dx = F.pad(smooth, (1, 1, 0, 0), "replicate").diff(n=1, dim=-1)
    dy = F.pad(smooth, (0, 0, 1, 1), "replicate").diff(n=1, dim=-2)
    dx, dy = (dx[..., 1:] + dx[..., :-1]) / 2, (dy[..., 1:, :] + dy[..., :-1, :]) / 2
    xx, xy, yy = (F.avg_pool2d(v, 13, 1, 6) for v in (dx * dx, dx * dy, dy * dy))
    angle = torch.atan2(2 * xy, xx - yy) / 2
    textures = torch.tensor([90.0, 0.0, 35.0, 35.0 + difference]).deg2rad()
    return torch.cos(2 * (angle - textures[:, None, None]))


# %% [markdown] tags=["slide"]
# # Reverse attention: learn what a pixel is not
#
# You will be able to explain the three branches of RAN, compute one pixel by hand, and say what a
# careful replication found.

# %%
lectures.links(13)

# %% [markdown] tags=["notes"]
# 1 minute. Announce that this lecture is different: a method, and then a check of its claim that
# comes out negative. Ask: when did you last read a paper in which the method did not help?

# %% [markdown] tags=["slide"]
# ## Classes that look alike share their features

# %%
shown = data.textures(3, 96, seed=2)
plots.show_masks(
    shown.images,
    shown.masks,
    class_names=shown.class_names,
    title="Four textures; the two slants differ by 15 degrees",
)

# %% [markdown] tags=["notes"]
# 2 minutes. The paper's examples: cat and dog, sofa and chair, and an object that melts into its
# ground. High-level features are shared, so activations for both classes are strong where they
# meet. Our textures are the smallest such case. Ask the room to find the border between the two
# slants.

# %% [markdown] tags=["slide"]
# ## Two detectors, nearly the same answer

# %%
score = responses(shown.images[:1])
plots.show_images(
    [shown.images[0], *score[0, 2:, None], (score[0, 3] - score[0, 2])[None]],
    ["image", "fits “slant”", "fits “steeper slant”", "difference"],
    title="Direction of the stripes around each pixel against two textures: 1 fits, -1 does not",
)

# %% [markdown] tags=["notes"]
# 2 minutes. No network here: a gradient direction averaged over 13 × 13 pixels. On the slants both
# maps are bright; what decides is a difference of a few per cent, and noise is as large. A network
# with learnt filters is in the same position.

# %% [markdown] tags=["slide"]
# ## Mistakes gather where classes look alike

# %%
many = data.textures(40, 96, seed=7, difference=6.0)
matrix = metrics.confusion_matrix(responses(many.images, 6.0).argmax(1), many.masks, 4)
rates = (100 * matrix / matrix.sum(1, keepdim=True)).numpy()
with plots.canvas(width=7.6, height=4.5) as (figure, (axis,)):
    axis.imshow(rates, cmap="Blues", vmin=0, vmax=100)
    for (i, j), rate in np.ndenumerate(rates):
        shade = "white" if rate > 60 else "black"
        axis.text(j, i, f"{rate:.0f}", ha="center", va="center", fontsize=20, color=shade)
    axis.set_xticks(range(4), many.class_names)
    axis.set_yticks(range(4), many.class_names)
    axis.set_xlabel("predicted")
    axis.set_ylabel("true, 100 % a row")
    axis.grid(False)
    told = f"{rates[2, 3]:.0f} % of the slant and {rates[3, 2]:.0f} % of the steeper one"
    picture = plots.render(figure, f"Confusion in % of each row: {told} go to the other.")
picture

# %% [markdown] tags=["notes"]
# 2 minutes. The same detectors on 40 images, with slants only 6 degrees apart. Read the last two
# rows: they lose most to each other; what rows and columns lose lies at the borders. Lab 13.3
# finds such pairs with rates, not counts: a frequent class would win by number alone.

# %% [markdown] tags=["slide"]
# ## RAN asks three questions of the same features

# %%
plan = Blocks(1130, 420)
features = plan.box((5, 160, 170, 260), "features", "ResNet-101", "or VGG16")
original = plan.box((240, 20, 400, 90), "conv org", "O", color="blue")
reverse = plan.box((240, 320, 400, 390), "conv rev", "R", color="vermilion")
plan.link(features, original)
plan.link(features, reverse)
minus = plan.sign((985, 55), "−")
times = plan.sign((760, 355), "×")
attention = plan.box((500, 160, 700, 240), "NEG, sigmoid", "A = σ(−O)", color="green")
neg = plan.box((480, 330, 590, 380), "NEG", "−R", color="vermilion", size=17)
plan.link(original, minus)
plan.sheet.line([(440, 55), (440, 200)], "muted", 2.5)
plan.sheet.arrow((440, 200), (497, 200), "muted", 2.5, head=13)
plan.sheet.line([(700, 200), (760, 200)], "muted", 2.5)
plan.sheet.arrow((760, 200), (760, 331), "muted", 2.5, head=13)
plan.sheet.line([(400, 355), (440, 355), (440, 300), (690, 300), (690, 355)], "muted", 2.5)
plan.sheet.arrow((690, 355), (736, 355), "muted", 2.5, head=13)
plan.sheet.arrow((440, 355), (477, 355), "muted", 2.5, head=13)
plan.sheet.line([(781, 355), (985, 355)], "muted", 2.5)
plan.sheet.arrow((985, 355), (985, 79), "muted", 2.5, head=13)
out = plan.box((1040, 20, 1125, 90), "Y", color="wine", size=26)
plan.link(minus, out)
plan.text((600, 30), "what is it?", size=18)
plan.text((600, 140), "where is O unsure?", size=18)
plan.text((320, 408), "what is it not?", size=18)
plan.text((865, 335), "A × R", size=18)
plan.text((535, 402), "its own loss", size=16)
plan.show(
    "RAN: features go into two convolutions, giving O and R. The mask A is the sigmoid of minus O. "
    "A times R is subtracted from O and gives Y. For its own loss R passes a change of sign."
)

# %% [markdown] tags=["notes"]
# 3 minutes. Original branch: an ordinary segmentation head. Reverse branch: responds to what is
# *not* the class. Reverse attention branch: a mask without weights. Then one product, one
# difference. Only Y is used at test time. The extra cost: one 3 × 3 convolution, 387,093
# parameters for 21 classes.

# %% [markdown] tags=["slide"]
# ## The reverse branch uses the same labels, with the sign turned
#
# $$L_{rev} = \text{CE}(-R,\; y)$$

# %% tags=["code"]
r = torch.tensor([[-2.0, 2.0]])  # "it is not class 1"
label = torch.tensor([0])
print("softmax of -R:", (-r).softmax(1).numpy().round(3))
print("loss if the label is 0:", round(F.cross_entropy(-r, label).item(), 3))
print("the same without NEG: ", round(F.cross_entropy(r, label).item(), 3))

# %% [markdown] tags=["notes"]
# 3 minutes. One could invert the labels, but a softmax wants one right class, not "all but one".
# NEG keeps softmax and labels: to lower CE(−R, y) the branch must push R of the true class down
# and all others up. Ask what happens if NEG is forgotten: R becomes a second O, and Y = O − A O.

# %% [markdown] tags=["slide"]
# ## The mask opens where the first answer is weak
#
# $$A = \sigma(-O) \qquad\text{or}\qquad A = \sigma\Big(\frac{1}{\max(O,0)+0.125}-4\Big)$$

# %%
o = torch.linspace(-4, 6, 201)
plots.curves(
    {
        "σ(−O)": (o, reverse_attention_mask(o, "simple")),
        "normalised": (o, reverse_attention_mask(o, "normalised")),
    },
    title="Reverse attention mask",
    xlabel="response O of the original branch",
    ylabel="mask A",
)

# %% [markdown] tags=["notes"]
# 2 minutes. Small or negative response: highlighted. Confident response: suppressed. The normalised
# form maps responses from 0 to infinity to the range 4 to −4 of the sigmoid; at 0.125 it is one
# half, at 1 it is closed (0.043). Both are in the library: mask="simple" and mask="normalised".

# %% [markdown] tags=["slide"]
# ## One pixel by hand: the winner changes

# %% tags=["code"]
o = torch.tensor([1.0, 1.2])
r = torch.tensor([-2.0, 2.0])
a = reverse_attention_mask(o, "simple")
y = o - a * r
print("A =", a.numpy().round(4), "  A R =", (a * r).numpy().round(4))
print("Y =", y.numpy().round(4), f"  class {y.argmax()} wins, not {o.argmax()}")

# %% [markdown] tags=["notes"]
# 3 minutes. Do it at the board. O prefers class 1 by 0.2 and is weak; R says firmly "not 1". The
# mask passes about a quarter of R. Let them repeat it with O = (4, 4.2): Y = (4.036, 4.170),
# nothing changes. That is the next slide's question.

# %% [markdown] tags=["slide"]
# ## Demo: doubt is mended, confidence is not

# %%
demos.show("reverse_attention")

# %% [markdown] tags=["notes"]
# 5 minutes. Without R: seven wrong pixels where the animals blend. With R: none. Mask "none": R's
# own mistake inside of the dog comes through, which is why plain subtraction does worse in the
# paper. Then raise the response of O in the blend: from 3 on nothing helps. The normalised
# mask closes at 1 already. Keep this in mind for the last slides.

# %% [markdown] tags=["slide"]
# ## Three losses are trained at once
#
# $$L = \text{CE}(O, y) + \text{CE}(-R, y) + \text{CE}(Y, y)$$

# %%
torch.manual_seed(0)
net = models.ReverseAttentionNet(4, layers=(1, 1, 1, 1), in_channels=1, width=8).train()
output = net(shown.images[:2])
terms = {"CE(O, y)": output.original, "CE(−R, y)": -output.reverse, "CE(Y, y)": output.combined}
parts = {"features": net.backbone, "conv org": net.original, "conv rev": net.reverse}
rows = []
for name, logits in terms.items():
    net.zero_grad()
    losses.cross_entropy(logits, shown.masks[:2]).backward(retain_graph=True)
    reached = [
        any((p.grad is not None and p.grad.any()) for p in m.parameters()) for m in parts.values()
    ]
    rows.append([name, *("learns" if hit else "–" for hit in reached)])
plots.table(
    ["loss", *parts], rows, title="Which part learns from which loss (measured on gradients)"
)

# %% [markdown] tags=["notes"]
# 3 minutes. The first two losses teach the two convolutions in parallel, each its own question. The
# third teaches them to work together, and lets the mask matter. All three use softmax and the same
# labels. The table is made by running each loss backwards alone.

# %% [markdown] tags=["slide"]
# ## What the paper leaves open

# %%
plots.table(
    ["choice", "the paper", "here"],
    [
        ["weights of the three losses", "not stated", "1 : 1 : 1"],
        ["does the gradient pass through A?", "not stated", "yes"],
        ["code of the authors", "none known", "course.models.reverse_attention"],
        ["number of runs", "not stated", "5 seeds, paired"],
    ],
    title="Every replication has to fill such gaps, and to say how",
)

# %% [markdown] tags=["notes"]
# 2 minutes. Nothing unusual for its time. Two other methods carry the name: Chen et al. 2018 and
# PraNet erase features with 1 − σ; do not mix them up when you search for code.

# %% [markdown] tags=["slide"]
# ## The paper reports a gain of 2.4 points

# %%
plots.bars(
    ["DeepLab v2", "RAN"],
    [45.7, 48.1],
    title="Pascal Context, 60 classes, ResNet-101: mean IoU in %, as published",
    ylabel="mean IoU in %",
    limits=(0, 60),
)

# %% [markdown] tags=["notes"]
# 1 minute. The axis starts at 0 on purpose: ask how large the gain looks now, and how large it
# would look from 44. Also reported: NYUDv2 41.2, Person-Part 66.6, ADE20K 35.3. One run each, as
# far as one can tell.

# %% [markdown] tags=["slide"]
# ## Our replication: the gain is 0.1 points, not reproduced

# %%
gains = 100 * np.array([-0.000185, 0.00308, 0.00163, 0.00106, -0.000538])
half = 2.776 * gains.std(ddof=1) / np.sqrt(len(gains))  # Student's t, 4 degrees of freedom, 95 %
low, high = gains.mean() - half, gains.mean() + half
with plots.canvas(width=10, height=3.6) as (figure, (axis,)):
    axis.plot(gains, np.zeros(5), "o", ms=12, color=plots.PALETTE[0], label="one seed", alpha=0.8)
    axis.errorbar(
        gains.mean(), 0.5, xerr=half, fmt="s", ms=11, capsize=8, lw=3, color=plots.PALETTE[5]
    )
    axis.axvline(0, color="black", lw=1.5)
    axis.axvline(1, color=plots.PALETTE[2], lw=3, ls="--")
    axis.axvline(2.4, color=plots.PALETTE[7], lw=3, ls=":")
    axis.text(1.04, 0.78, "effect fixed\nbeforehand: 1", fontsize=13)
    axis.text(2.36, 0.78, "paper: 2.4", fontsize=13, ha="right")
    axis.text(high + 0.06, 0.5, "mean, 95 %", fontsize=13, va="center")
    axis.set_ylim(-0.4, 1.2)
    axis.set_yticks([0, 0.5], ["5 seeds", "interval"])
    axis.set_xlim(-0.5, 2.6)
    axis.grid(False)
    axis.set_xlabel("gain in mean IoU over the plain network, points")
    picture = plots.render(
        figure,
        f"Gains of five seeds in points: {', '.join(f'{g:.2f}' for g in gains)}; mean "
        f"{gains.mean():.2f}, 95 % interval {low:.2f} to {high:.2f}; fixed effect 1; paper 2.4.",
    )
picture

# %% [markdown] tags=["notes"]
# 4 minutes. Claims page, lab 13: 200 images of textures, a small network from scratch, five seeds,
# paired. The whole interval lies below the effect we had fixed before looking. Say what it does
# *not* mean: RAN may help on Pascal Context. It means: on classes that look alike, in a setting
# made for it, the mechanism alone gave nothing. A possible reason you have seen: confident
# mistakes pass.

# %% [markdown] tags=["slide"]
# ## Three words are enough for a verdict

# %%
plots.table(
    ["the 95 % interval of the gain …", "word"],
    [
        ["lies above the effect", "reproduced"],
        ["lies below it", "not reproduced"],
        ["holds it", "cannot tell"],
    ],
    title="Effect, number of seeds and measure are fixed before the first run",
)

# %% [markdown] tags=["notes"]
# 2 minutes. Paired: same seed for both networks, differences first, interval afterwards. Unpaired,
# the spread between seeds hides any gain. Reporting the best seed is the wrong answer that lab 13
# catches.

# %% [markdown] tags=["slide"]
# ## On the ladder it stands where its backbone puts it

# %%
ladder.picture(lab=13)

# %% [markdown] tags=["notes"]
# 1 minute. Lines of two pixels; the map at 1/8 decides, with or without reverse attention.

# %% [markdown] tags=["slide"]
# ## Try it
#
# Lab 13: the reverse loss, the combination and its mask, confusable pairs, a paired interval, and a
# claim card that must agree with it.

# %%
lectures.links(13)

# %% [markdown] tags=["notes"]
# 1 minute. Challenge: find a setting in which it helps, and report every setting that was tried.

# %% [markdown] tags=["slide"]
# ## References
#
# - Huang, Xia, Wu, Li, Wang, Song, Kuo 2017, *Semantic Segmentation with Reverse Attention*, BMVC,
#   §3–4, arXiv:1707.06426
# - Chen et al. 2018, *Reverse Attention for Salient Object Detection*, arXiv:1807.09940: another
#   method of that name
# - Bouthillier et al. 2021, *Accounting for Variance in Machine Learning Benchmarks*, §3–4,
#   arXiv:2103.03098
# - Efron and Tibshirani 1993, *An Introduction to the Bootstrap*, chapter 13

# %% [markdown] tags=["notes"]
# Bouthillier et al. is the reading for everyone who will ever print a table with bold numbers.
