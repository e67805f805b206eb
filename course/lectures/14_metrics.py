# %% tags=["skip"]
import numpy as np
import torch

from course import data, demos, ladder, lectures, metrics, plots
from course.demos import metric_duel
from course.losses import soft_dice

ROAD, SIDEWALK = 0, 1
target = torch.tensor([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
pred = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1]])
h = metrics.confusion_matrix(pred, target, 2)


def cells(axis, labels, title, letters=("R", "S"), frames=None):
    """A small label map with its letters; `frames` marks cells with a word below the letter."""
    array = np.asarray(labels)
    colors = np.array([[0.55, 0.76, 0.9], [0.96, 0.83, 0.6]])[array]
    axis.imshow(colors)
    axis.set_title(title)
    axis.set_xticks(np.arange(-0.5, array.shape[1]), [])
    axis.set_yticks(np.arange(-0.5, array.shape[0]), [])
    axis.tick_params(length=0)
    axis.grid(True, axis="both", color="black", lw=1.2)
    for (i, j), k in np.ndenumerate(array):
        word = "" if frames is None else frames[i][j]
        shift = 0.14 if word else 0
        axis.text(j, i - shift, letters[k], ha="center", va="center", fontsize=24, weight="bold")
        if word:
            axis.text(j, i + 0.25, word, ha="center", va="center", fontsize=16)


def masks_of(scene):
    """Truth and the five faulty predictions of the demo's scene, as bool tensors (15, 15)."""
    faults = [fault for fault in metric_duel.FAULTS if fault != "none"]
    truth = torch.from_numpy(metric_duel.truth(scene))
    return truth, {f: torch.from_numpy(metric_duel.with_fault(scene, f)) for f in faults}


def scores(guess, truth, tolerance=1):
    """Accuracy, mean IoU, IoU, Dice and boundary F of the object of two bool masks."""
    matrix = metrics.confusion_matrix(guess, truth.long(), 2)
    return [
        metrics.pixel_accuracy(matrix).item(),
        metrics.mean_iou(matrix).item(),
        metrics.iou(matrix)[1].item(),
        metrics.dice(matrix)[1].item(),
        metrics.boundary_f(guess, truth, tolerance).item(),
    ]


NAMES = ("accuracy", "mean IoU", "IoU", "Dice", "boundary F")

# %% [markdown] tags=["slide"]
# # Metrics: what a score sees, and what it does not
#
# You will be able to compute accuracy, IoU, Dice and boundary F from one table, and to choose the
# one that sees the fault you care about.

# %%
lectures.links(14)

# %% [markdown] tags=["notes"]
# 1 minute. Everything so far was compared by numbers. Today we judge the judges. Ask: 96 % of the
# pixels are right. Would you sit in the car?

# %% [markdown] tags=["slide"]
# ## A map without a single object can be over 90 % right

# %%
few = data.lines(3, 64, seed=4)
truth = (few.masks == 2).long()
nothing = torch.zeros_like(truth)
seen = metrics.confusion_matrix(nothing, truth, 2)
share, overlap = metrics.pixel_accuracy(seen), metrics.iou(seen)
plots.show_masks(
    [*few.images, few.images[0]],
    [*truth, nothing[0]],
    class_names=("background", "line"),
    titles=["truth", "truth", "truth", "prediction for all three"],
    title=f"“No line anywhere”: accuracy {share:.1%}, IoU of line {overlap[1]:.0f}",
)

# %% [markdown] tags=["notes"]
# 2 minutes. The rarer the object, the better the empty answer scores. Any score that counts the
# background has this problem; medical images are the extreme case.

# %% [markdown] tags=["slide"]
# ## Every pixel is one of four, seen from one class

# %%
words = [["FN", "TP", "FN"], ["TP", "TP", "TN"], ["TN", "TN", "TN"]]
kinds = {"TP": (0, 0), "FN": (0, 1), "FP": (1, 0), "TN": (1, 1)}  # label, prediction
for i, row in enumerate(words):
    for j, word in enumerate(row):
        assert kinds[word] == (int(target[i, j]), int(pred[i, j]))
with plots.canvas(1, 3, width=10.5, height=4.0) as (figure, axes):
    cells(axes[0], target, "truth")
    cells(axes[1], pred, "prediction")
    cells(axes[2], pred, "seen from class R (road)", frames=words)
    tp, fn, fp, tn = (sum(row.count(word) for row in words) for word in kinds)
    picture = plots.render(
        figure,
        f"Three rows of three pixels, road R and sidewalk S. Truth RRR, RRS, SSS; prediction SRS, "
        f"RRS, SSS. For road: TP {tp}, FN {fn}, FP {fp}, TN {tn}.",
    )
picture

# %% [markdown] tags=["notes"]
# 3 minutes. TP: rightly called road. FP: wrongly called road. TN: rightly not road. FN: road that
# was called something else. Let the room fill in the third map before you show it. Then ask for
# the same from the sidewalk: TP 4, FP 2, FN 0, TN 3.

# %% [markdown] tags=["slide"]
# ## Pixel accuracy: seven of nine
#
# $$\text{accuracy} = \frac{TP + TN}{TP + TN + FP + FN}
# = \frac{3 + 4}{3 + 4 + 0 + 2} = \frac{7}{9}$$

# %% tags=["code"]
target = torch.tensor([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
pred = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1]])
h = metrics.confusion_matrix(pred, target, num_classes=2)
print(h.tolist(), " accuracy:", round(metrics.pixel_accuracy(h).item(), 4))

# %% [markdown] tags=["notes"]
# 2 minutes. With two classes the accuracy of either class equals that of the whole image: what is
# TP for one is TN for the other. With more classes the two differ; "class accuracy" in papers is
# usually the recall, 3/5 for road, not this.

# %% [markdown] tags=["slide"]
# ## One table holds them all

# %%
with plots.canvas(width=7, height=3.1) as (figure, (axis,)):
    axis.imshow(h, cmap="Blues", vmin=0, vmax=9)
    for (i, j), count in np.ndenumerate(h.numpy()):
        axis.text(j, i, f"{count}", ha="center", va="center", fontsize=24)
    for k in range(2):
        axis.text(1.65, k, f"Σ {int(h[k].sum())}", va="center", fontsize=16)
        axis.text(k, 1.8, f"Σ {int(h[:, k].sum())}", ha="center", fontsize=16)
    axis.set_xticks(range(2), ["road", "sidewalk"], fontsize=16)
    axis.set_yticks(range(2), ["road", "sidewalk"], fontsize=16)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.set_ylabel("truth", fontsize=16)
    axis.set_title("prediction", fontsize=16)
    axis.grid(False)
    picture = plots.render(
        figure, f"Confusion matrix, rows truth, columns prediction: {h.tolist()}."
    )
picture

# %%
rows = []
per_class = {
    "recall": metrics.recall(h),
    "precision": metrics.precision(h),
    "IoU": metrics.iou(h),
    "Dice": metrics.dice(h),
}
for name, values in per_class.items():
    rows.append([name, *(f"{v:.3f}" for v in values), f"{values.mean():.3f}"])
plots.table(["", "road", "sidewalk", "mean"], rows)

# %% [markdown] tags=["notes"]
# 3 minutes. Count every pixel once, in the row of its truth and the column of its prediction.
# Recall divides by the row, precision by the column, IoU by row + column − hit, Dice by the mean
# of row and column. A transposed matrix leaves IoU and Dice alone and swaps recall with precision:
# a mistake nobody notices for years.

# %% [markdown] tags=["slide"]
# ## IoU: what both share, of what either covers
#
# $$\text{IoU} = \frac{|\,\text{target} \cap \text{prediction}\,|}
# {|\,\text{target} \cup \text{prediction}\,|} = \frac{TP}{TP + FP + FN}$$

# %%
truth, guesses = masks_of("large object")
guess = torch.roll(truth, (2, 2), (0, 1))
both, either = truth & guess, truth | guess
with plots.canvas(1, 4, width=11, height=3.3) as (figure, axes):
    for axis, mask, name in zip(
        axes, (truth, guess, both, either), ("target", "prediction", "shared", "covered")
    ):
        axis.imshow(np.pad(np.where(mask, 1.0, 0.0), 1), cmap="Blues", vmin=0, vmax=1.6)
        axis.set_title(f"{name}: {int(mask.sum())} pixels")
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
    ratio = int(both.sum()) / int(either.sum())
    figure.suptitle(f"IoU = {int(both.sum())} / {int(either.sum())} = {ratio:.2f}")
    picture = plots.render(
        figure,
        f"A disc of {int(truth.sum())} pixels and the same two pixels off: {int(both.sum())} "
        f"shared, {int(either.sum())} covered, IoU {ratio:.2f}.",
    )
picture

# %% [markdown] tags=["notes"]
# 2 minutes. Also called Jaccard index. True negatives do not appear: background cannot lift it. The
# same ratio as for boxes in lecture 2, with pixels in place of areas.

# %% [markdown] tags=["slide"]
# ## Mean IoU: add up first, divide at the end

# %% tags=["code"]
first = torch.tensor([[40, 10], [10, 40]])
second = torch.tensor([[98, 1], [1, 0]])
each = [metrics.iou(matrix)[1] for matrix in (first, second)]
print(f"class 1 in each image:   {each[0]:.3f} and {each[1]:.3f}")
print(f"mean over the images:    {sum(each) / 2:.3f}")
print(f"over the data set:       {metrics.iou(first + second)[1]:.3f}")

absent = metrics.iou(torch.tensor([[9, 0, 0], [1, 5, 0], [0, 0, 0]]))
print("class 2 occurs nowhere: ", absent.numpy().round(3))
print(f"mean of those that occur: {absent.nanmean():.3f}")

# %% [markdown] tags=["notes"]
# 3 minutes. One pixel in the second image halves the first number. Papers accumulate the confusion
# matrix over the data set. A class that occurs neither in truth nor in predictions has no IoU and
# is left out (FCN's rule); other public codes count it as 0. Four codes, four rules: say yours.

# %% [markdown] tags=["slide"]
# ## Dice is IoU with a kinder scale
#
# $$\text{Dice} = \frac{2\,|A \cap B|}{|A| + |B|} = \frac{2\,TP}{2\,TP + FP + FN}
# = \frac{2\,\text{IoU}}{1 + \text{IoU}}$$

# %%
j = torch.linspace(0, 1, 101)
plots.curves(
    {"Dice": (j, metrics.dice_from_iou(j)), "IoU itself": (j, j)},
    title="Dice never lies below IoU; the gap is widest, 0.17, at IoU 0.41",
    xlabel="IoU",
    ylabel="score",
)

# %% [markdown] tags=["notes"]
# 2 minutes. For one class, both order all predictions alike: report one of them. Dice is the F1 of
# the pixels. For *means* over classes the formula does not hold, and the order may change.

# %% [markdown] tags=["slide"]
# ## Soft Dice multiplies probabilities by the target

# %%
p = torch.tensor(
    [
        [0.01, 0.03, 0.02, 0.02],
        [0.05, 0.12, 0.09, 0.07],
        [0.89, 0.85, 0.88, 0.91],
        [0.99, 0.97, 0.95, 0.97],
    ]
)
t = torch.tensor([[0.0], [0.0], [1.0], [1.0]]).expand(4, 4)
with plots.canvas(1, 3, width=11, height=4.2) as (figure, axes):
    parts = ((p, f"prediction p, sum {p.sum():.2f}"), (t, f"target t, sum {t.sum():.0f}"))
    for axis, (values, name) in zip(axes, (*parts, (p * t, f"p · t, sum {(p * t).sum():.2f}"))):
        axis.imshow(values, cmap="Blues", vmin=0, vmax=2)
        axis.set_title(name)
        axis.set_xticks([])
        axis.set_yticks([])
        axis.grid(False)
        for (i, j), value in np.ndenumerate(values.numpy()):
            axis.text(j, i, f"{value:g}", ha="center", va="center", fontsize=16)
    picture = plots.render(
        figure,
        f"Soft overlap of a 4 by 4 map: probabilities sum to {p.sum():.2f}, target to "
        f"{t.sum():.0f}, their product to {(p * t).sum():.2f}.",
    )
picture

# %% [markdown] tags=["notes"]
# 2 minutes. Sum of the products: 7.41. Nothing is thresholded, so the overlap has a gradient and
# can be trained: the loss is one minus Dice. Ask what the hard Dice of this map is (1: every pixel
# is on the right side of one half).

# %% [markdown] tags=["slide"]
# ## Two denominators, two values

# %% tags=["code"]
both, areas, squares = (p * t).sum(), p.sum() + t.sum(), (p * p).sum() + t.sum()
print(f"linear:  2 · {both:.2f} / {areas:.2f}   = {soft_dice(p, t):.6f}")
v_net = soft_dice(p, t, squared=True)
print(f"squared: 2 · {both:.2f} / {squares:.4f} = {v_net:.6f}")
print(f"hard, above one half:   = {soft_dice((p > 0.5).float(), t):.6f}")

# %% [markdown] tags=["notes"]
# 2 minutes. Linear sums are common in medical code, squares come from V-Net. As a score the two
# are not comparable; as a loss, squares forgive small errors. Over the batch or per image gives
# different numbers again. Smoothing belongs above *and* below the line: below alone it turns
# "nothing there, nothing found" from 1 into 0.

# %% [markdown] tags=["slide"]
# ## Boundary F asks only where the outline is

# %%
sizes, shifts = {"disc of 41 px": 20, "disc of 9 px": 4}, range(7)
series = {}
for name, radius in sizes.items():
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    disc = (x - 28) ** 2 + (y - 32) ** 2 <= radius**2
    moved = [torch.roll(disc, s, 1) for s in shifts]
    series[f"IoU, {name}"] = [scores(m, disc)[2] for m in moved]
    series[f"boundary F (2 px), {name}"] = [scores(m, disc, 2)[4] for m in moved]
plots.curves(series, title="A disc slides away", xlabel="shift in pixels", ylabel="score")

# %% [markdown] tags=["notes"]
# 3 minutes. Three pixels off: the large disc keeps an IoU above 0.8, the small one loses more than
# half. Boundary F compares outlines within a tolerance of two pixels: nothing is lost up to there,
# and then much, for any size. Precision and recall of boundary pixels, harmonic mean (Martin 2004;
# Csurka 2013 per image and class). Trap: a box instead of a disc as tolerance, or counting true
# boundary twice.

# %% [markdown] tags=["slide"]
# ## Which score sees which fault?

# %%
faults, table = [], []
for scene in ("small object", "large object", "thin line"):
    truth, guesses = masks_of(scene)
    for fault in ("all missing", "part missing", "one pixel right", "too fat"):
        if (scene, fault) in {("large object", "all missing"), ("thin line", "all missing")}:
            continue
        faults.append(f"{scene}, {fault}")
        table.append(scores(guesses[fault], truth))
values = np.array(table)
with plots.canvas(width=11, height=4.6) as (figure, (axis,)):
    axis.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for (i, j), value in np.ndenumerate(values):
        shade = "black" if value > 0.55 else "white"
        axis.text(j, i, f"{value:.2f}", ha="center", va="center", fontsize=15, color=shade)
    axis.set_xticks(range(5), NAMES)
    axis.set_yticks(range(len(faults)), faults)
    axis.xaxis.tick_top()
    axis.tick_params(length=0, labelsize=14)
    axis.grid(False)
    told = "; ".join(
        f"{fault}: " + ", ".join(f"{name} {v:.2f}" for name, v in zip(NAMES, row))
        for fault, row in zip(faults, table)
    )
    picture = plots.render(figure, f"Scores of ten faults. {told}.")
picture

# %% [markdown] tags=["notes"]
# 3 minutes. Read by columns. Accuracy hardly moves. IoU and Dice fall to 0 for a thin line one
# pixel off, which a person would call perfect; boundary F (tolerance 1) says 1. "Too fat" doubles
# a line and costs a large disc little. No column is right everywhere.

# %% [markdown] tags=["slide"]
# ## Demo: paint a fault, watch the judges

# %%
demos.show("metric_duel")

# %% [markdown] tags=["notes"]
# 5 minutes. Start with the lecture's example: every label is a block of 5 × 5 pixels, so the
# scores are those of the nine pixels, and boundary F has an outline to look at. Then the small
# object, all missing. Let someone paint: challenge the room to find a prediction with IoU below
# 0.5 and boundary F above 0.9 (shift the line), and the other way round (large object, speckle,
# tolerance 0).

# %% [markdown] tags=["slide"]
# ## The same predictions, another winner

# %%
truth, guesses = masks_of("thin line")
rank = {fault: scores(guess, truth) for fault, guess in guesses.items()}
order = [sorted(rank, key=lambda f: -rank[f][k]) for k in (0, 2, 4)]
plots.table(
    ["place", "by accuracy", "by IoU", "by boundary F"],
    [
        [place + 1, *(f"{o[place]}  {rank[o[place]][k]:.2f}" for o, k in zip(order, (0, 2, 4)))]
        for place in range(5)
    ],
    title="Five predictions of a thin line",
)

# %% [markdown] tags=["notes"]
# 2 minutes. Somebody who picks the score after the results can let anybody win. Fix the score
# before the experiment, report more than one, and look at pictures.

# %% [markdown] tags=["slide"]
# ## What IoU did not see: cells that touch

# %%
gains = {"cells found": (0.700, 0.115), "mean IoU": (-0.0341, 0.0215)}
with plots.canvas(width=10, height=3.4) as (figure, (axis,)):
    for k, (mean, half) in enumerate(gains.values()):
        axis.barh(k, mean, xerr=half, capsize=7, color=plots.PALETTE[(2, 5)[k]], height=0.6)
        axis.text(max(mean + half, 0) + 0.02, k, f"{mean:+.2f}", va="center", fontsize=20)
    axis.set_yticks(range(2), list(gains), fontsize=16)
    axis.invert_yaxis()
    axis.axvline(0, color="black", lw=1.5)
    axis.set_xlim(-0.15, 1)
    axis.grid(False)
    axis.set_xlabel("gain by U-Net's border weights, mean of 3 seeds, 95 % interval")
    told = ", ".join(f"{name} {mean:+.3f} ± {half:.3f}" for name, (mean, half) in gains.items())
    picture = plots.render(figure, f"Gain by border weights, 3 seeds, 95 % interval: {told}.")
picture

# %% [markdown] tags=["notes"]
# 3 minutes. From the claims page, lab 14: with border weights 70 % more of the cells are found one
# by one, and the mean IoU falls a little. Whoever tuned by mean IoU would have thrown the weights
# away. If you count objects, score objects: `course.metrics.match_instances`.

# %% [markdown] tags=["slide"]
# ## The ladder: fourteen lectures on one axis

# %%
ladder.picture(lab=14)

# %% [markdown] tags=["notes"]
# 3 minutes. The same images, lines of two pixels, every system of the course. Go through it from
# top to bottom and ask at each step what changed: boxes cannot say "line"; poolings lose it;
# switches and skips bring it back. And now the warning of this lecture: this is *one* class and
# *one* score.

# %% [markdown] tags=["slide"]
# ## What each rung costs

# %%
ladder.cost_picture()

# %% [markdown] tags=["notes"]
# 2 minutes. Parameters, multiply-accumulates and activations, all counted, never timed. The number
# is that of the lab. Ask: which of the three axes would stop you first on your own machine?

# %% [markdown] tags=["slide"]
# ## Try it
#
# Lab 14: the confusion matrix in one `bincount`, the scores, soft Dice, boundary F, and the ladder
# of your own networks, ranked by four judges.

# %%
lectures.links(14)

# %% [markdown] tags=["notes"]
# 1 minute. Exercise 14.5 reads all predictions of the earlier labs again: keep them.

# %% [markdown] tags=["slide"]
# ## References
#
# - Long, Shelhamer, Darrell 2015, *FCN*, §5 (four scores), arXiv:1411.4038
# - Csurka, Larlus, Perronnin 2013, *What is a good evaluation measure …?*, BMVC
# - Martin, Fowlkes, Malik 2004, boundaries, PAMI 26(5)
# - Milletari, Navab, Ahmadi 2016, *V-Net*, §3 (soft Dice), arXiv:1606.04797
# - Jordan 2018, *Evaluating image segmentation models*, jeremyjordan.me, the worked Dice table

# %% [markdown] tags=["notes"]
# Csurka et al. is short, and its conclusion is the sentence of this lecture: no measure is good for
# every purpose.

# %% [markdown] tags=["slide"]
# ## Questions
#
# - Which of the fourteen systems would you build first, and for which picture?
# - Which claim did you not believe? Its lab measures it: change the seed.
# - Which fault would hurt *your* user, and which score sees it?

# %% [markdown] tags=["notes"]
# The end of the course. Leave this slide on during the discussion. If nobody asks: put up the
# ladder again and let the room guess which rung a vision transformer would reach, and what it
# would cost.
