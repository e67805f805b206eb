# %% [markdown]
# # Lab 14 · Metrics under the microscope, and the ladder
#
# [[exercises]]
#
# **You will be able to**
# - count every pixel once and read all usual scores off that one table;
# - say what a score does with rare classes, absent classes and pixels that nobody labelled;
# - tell Dice from IoU, and a soft Dice that trains from a hard one that judges;
# - measure outlines instead of areas;
# - show that the order of the same predictions depends on the score you choose.
#
# **Papers.** Long et al. 2015, [arXiv:1411.4038](https://arxiv.org/abs/1411.4038), §5, defines the
# four scores of the field. Milletari et al. 2016, [arXiv:1606.04797](https://arxiv.org/abs/1606.04797),
# §3: the soft Dice. Csurka et al., BMVC 2013: what is a good evaluation measure, and the boundary F.
#
# **From before.** Average precision (Lab 4), U-Net and its border weights (Lab 8). Run every cell from
# top to bottom. A check cell never stops the notebook: it says what it expected, what came, and the
# usual cause.

# %% tags=["parameters"]
detections = "synthetic"  # "map_eval" is read from COURSE_DATA
device = "cpu"  # "cuda" where there is one
steps = 180  # training steps per U-Net
seeds = [0, 1, 2]

# %% role="setup"
import os
from pathlib import Path

import torch
from scipy.ndimage import binary_erosion, distance_transform_edt
from torch import Tensor
from torch.nn import functional as F

from course import boxes, data, losses, metrics, models, plots, tiling, training
from course import ladder as course_ladder
from course.checks import Exercise, attempt, gradients
from course.claims import claim

# %% [markdown]
# ## The pictures of this lab
#
# One truth, five predictions. Nobody trained them: each has *one* fault that real networks have, so
# that you know what a good score should say about it. Which of them is best?


# %% role="setup"
def with_faults(truth, seed):
    """Predictions (N, H, W) with one fault each, for label maps of lines (2) and discs (1)."""
    line = truth == 2
    wide = F.max_pool2d(line.float()[:, None], 3, 1, 1)[:, 0].bool() & (truth == 0)
    chance = torch.Generator().manual_seed(seed)
    hit = torch.rand(truth.shape, generator=chance) < 0.04
    return {
        "no lines": torch.where(line, 0, truth),
        "lines too wide": torch.where(wide, 2, truth),
        "one pixel right": torch.cat([truth[..., :1], truth[..., :-1]], -1),
        "speckle": torch.where(hit, torch.randint(3, truth.shape, generator=chance), truth),
        "stride 4": truth[:, 1::4, 1::4].repeat_interleave(4, 1).repeat_interleave(4, 2),
    }


scenes = data.lines(40, (48, 64), seed=0, count=(1, 2), discs=(1, 2))
faulty = with_faults(scenes.masks, seed=0)
plots.show_masks(
    [scenes.images[3]] * 6,
    [scenes.masks[3], *(masks[3] for masks in faulty.values())],
    class_names=scenes.class_names,
    titles=["truth", *faulty],
    title="Five predictions for one image",
    columns=3,
)

# %% [markdown]
# ## See it move
#
# The lecture's moving picture of this lab: predict, then drag. `uv run course lectures open 14` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("metric_duel")

# %% [markdown]
# ---
# ## 14.1 Count every pixel once

# %% [markdown] exercise="14.1" role="idea"
# Every pixel has a label $t$ and a prediction $p$. Count the pairs:
#
# $$h[t, p] = \text{number of pixels with label } t \text{ and prediction } p .$$
#
# That table, the *confusion matrix*, holds everything that the scores of the next exercise know. Add
# it up over the whole data set and divide at the very end: the mean of the scores of single images is
# another number. A pixel without a label (255) is dropped from both sides. Dropped from the labels
# alone, it would count against the class that was predicted there. One `bincount` does it all, if
# each pair gets a number of its own. [Long et al. 2015, §5]

# %% exercise="14.1" role="look"
road = torch.tensor([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
walk = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1]])
grid = torch.ones(48, 48)  # each of the nine pixels drawn 16 wide, in its frame
grid[::16], grid[:, ::16] = 0, 0
plots.show_masks(
    [grid] * 2,
    [m.repeat_interleave(16, 0).repeat_interleave(16, 1) for m in (road, walk)],
    class_names=("road", "sidewalk"),
    titles=["truth", "prediction"],
    title="The lecture's example: two of nine pixels are wrong",
)

# %% [markdown] exercise="14.1" role="contract" title="The confusion matrix" minutes=15
# - `pred`, `target`: integer tensors of one shape, any number of axes; `target` may hold `ignore`.
# - Result: `(K, K)` int64, rows = label, columns = prediction.
# - What is predicted on an ignored pixel does not matter. A counted label or prediction that is no
#   class raises `ValueError`.
# - No loop over classes or pixels: one `torch.bincount`.

# %% [markdown] exercise="14.1" role="hints"
# 1. With K = 3 there are nine kinds of pixels. How would you number them from 0 to 8?
# 2. Row times K plus column. Drop the ignored pixels before you number them, and give `bincount` its
#    `minlength`.
# 3. `counted = target != ignore`


# %% exercise="14.1" role="gap"
def confusion_matrix(pred: Tensor, target: Tensor, num_classes: int, ignore: int = 255) -> Tensor:
    """Pixels by label (row) and prediction (column), (K, K) int64.

    Worked number: labels 0 0 1 and predictions 0 1 1 give [[1, 1], [0, 1]].
    """
    ### BEGIN SOLUTION
    counted = target != ignore
    rows, columns = target[counted].long(), pred[counted].long()
    for name, values in (("label", rows), ("prediction", columns)):
        if ((values < 0) | (values >= num_classes)).any():
            raise ValueError(f"a {name} lies outside the classes 0 to {num_classes - 1}")
    pairs = torch.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)
    ### END SOLUTION


# %% exercise="14.1" role="check"
check = Exercise("14.1", points=14, forbid=["course.metrics"])

road = torch.tensor([[0, 0, 0], [0, 0, 1], [1, 1, 1]])
walk = torch.tensor([[1, 0, 1], [0, 0, 1], [1, 1, 1]])
with check("the lecture's 3 × 3 pixels of road and sidewalk", points=2):
    check.equal(
        confusion_matrix(walk, road, 2),
        torch.tensor([[3, 2], [0, 4]]),
        dtype=True,
        mistakes={
            "Rows are labels, columns are predictions: yours is transposed.": torch.tensor(
                [[3, 0], [2, 4]]
            ),
            "Counts, please, not shares.": torch.tensor([[3, 2], [0, 4]]) / 9,
            "Counts, please; you divided each row by its sum.": torch.tensor([[0.6, 0.4], [0, 1]]),
        },
    )
pred, target = (
    torch.tensor([[0, 1, 2, 2], [1, 1, 0, 2]]),
    torch.tensor([[0, 1, 1, 255], [0, 1, 255, 2]]),
)
counts = torch.tensor([[1, 1, 0], [0, 2, 1], [0, 0, 1]])
with check(
    "2 × 4 pixels, two of them without a label",
    points=2,
    hint="Drop the pixels whose target is 255 from both sides before you number the pairs.",
):
    check.equal(
        confusion_matrix(pred, target, 3),
        counts,
        mistakes={
            "Ignored pixels are counted as class 0: drop them.": counts
            + torch.tensor([[1, 0, 1], [0, 0, 0], [0, 0, 0]]),
            "Ignored pixels are counted as the last class: drop them.": counts
            + torch.tensor([[0, 0, 0], [0, 0, 0], [1, 0, 1]]),
            "The whole last class is dropped with the ignored pixels.": torch.tensor(
                [[1, 1, 0], [0, 2, 1], [0, 0, 0]]
            ),
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("random maps against the library", points=4):
    for k, shape in ((2, (5, 9)), (3, (2, 4, 7)), (21, (3, 8, 5)), (1, (4, 1)), (150, (6, 6))):
        torch.manual_seed(k)
        pred, target = torch.randint(k, shape), torch.randint(k, shape)
        target[torch.rand(shape) < 0.2] = 255
        got = confusion_matrix(pred, target, k)
        check.equal(got, metrics.confusion_matrix(pred, target, k), dtype=True)
with check.hidden("other numbers for ignore, and none", points=2):
    pred, target = torch.randint(4, (6, 5)), torch.randint(4, (6, 5))
    for ignore in (0, 3, -100):
        shown = torch.where(target == 1, ignore, target)
        got = confusion_matrix(pred, shown, 4, ignore)
        check.equal(got, metrics.confusion_matrix(pred, shown, 4, ignore))
with check.hidden("wild predictions on ignored pixels", points=1):
    pred, target = torch.tensor([0, 77, -3, 1]), torch.tensor([0, 255, 255, 0])
    check.equal(confusion_matrix(pred, target, 2), torch.tensor([[1, 1], [0, 0]]))
with check.hidden("what is no class is refused", points=1):
    zero = torch.zeros(2, 3, dtype=torch.int64)
    check.raises(ValueError, confusion_matrix, zero, zero + 3, 3)
    check.raises(ValueError, confusion_matrix, zero + 3, zero, 3)
    check.raises(ValueError, confusion_matrix, zero - 1, zero + 1, 3)
with check.hidden("bytes, nothing counted, and maps left alone", points=2):
    pred, target = torch.tensor([[200, 3]]).to(torch.uint8), torch.tensor([[199, 200]]).byte()
    big = confusion_matrix(pred, target, 201)
    check.equal((int(big[199, 200]), int(big[200, 3]), int(big.sum())), (1, 1, 2))
    nothing = torch.full((2, 2), 255)
    check.equal(confusion_matrix(nothing, nothing, 2), torch.zeros(2, 2, dtype=torch.int64))
    check.unchanged(confusion_matrix, torch.tensor([0, 1, 1]), torch.tensor([255, 1, 0]), 2)
### END HIDDEN TESTS
check.score()

# %% exercise="14.1" role="picture"
right = metrics.confusion_matrix(faulty["stride 4"], scenes.masks, 3)
plots.compare(
    yours=lambda: (
        confusion_matrix(faulty["stride 4"], scenes.masks, 3) / right.sum(1, keepdim=True)
    ),
    expected=right / right.sum(1, keepdim=True),
    title="Stride 4: where the pixels of each label (row) went (column), as shares",
)

# %% [markdown] exercise="14.1" role="see"
# Each row sums to 1. The background's is nearly all on the diagonal, 0.97; of the line's pixels, row 2,
# about half have gone to the background. The difference is 0.

# %% [markdown] exercise="14.1" role="think"
# **Think.** Someone hands you a confusion matrix without saying what its rows are. Which of accuracy,
# recall and IoU come out right all the same?
#
# ### BEGIN SOLUTION
# Pixel accuracy (the diagonal and the total) and IoU (row and column sums enter alike). Recall becomes
# precision and the other way round.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 14.2 Five scores from one table

# %% [markdown] exercise="14.2" role="idea"
# With $n_{tp}$ the table, $r_c$ its row sums (pixels labelled $c$), $k_c$ its column sums (pixels
# predicted $c$) and $N$ the total:
#
# $$\frac{\sum_c n_{cc}}{N}, \quad \text{mean}_c\frac{n_{cc}}{r_c}, \quad
#   \text{IoU}_c = \frac{n_{cc}}{r_c + k_c - n_{cc}}, \quad \text{mean IoU}, \quad
#   \sum_c \frac{r_c}{N}\,\text{IoU}_c .$$
#
# The first is the lecture's accuracy: $(3+4)/9$ in its example. It counts pixels, so a class of few
# pixels hardly matters; the means count classes. A class in neither labels nor predictions has no
# IoU, and leaves the mean: codes that put 0 or 1 there publish other numbers. [Long et al. 2015, §5]

# %% exercise="14.2" role="look"
shares = [0.2, 0.1, 0.05, 0.02, 0.01]
plots.bars(
    [f"{100 * s:.0f} %" for s in shares],
    {"pixel accuracy": [1 - s for s in shares], "mean IoU": [(1 - s) / 2 for s in shares]},
    title="A network that never finds the rare one of two classes",
    xlabel="share of the rare class",
    ylabel="score",
    limits=(0, 1.1),
)

# %% [markdown] exercise="14.2" role="contract" title="The scores of the field" minutes=25
# - `matrix`: `(K, K)` int64 counts, rows = label. Results: float64, scalars or `(K,)`.
# - `iou`: nan for a class that is neither labelled nor predicted; 0 if only predicted or only labelled.
# - `mean_iou` averages over all classes but the nan ones; `mean_accuracy` over the labelled classes.
# - `frequency_weighted_iou`: absent classes add nothing.

# %% [markdown] exercise="14.2" role="hints"
# 1. Three vectors are enough: the diagonal, the row sums, the column sums. Take them in float64.
# 2. 0 / 0 is nan in torch, and `nanmean` leaves nan out. The union counts the hits once, not twice.
# 3. `hits, rows, columns = counts.diagonal(), counts.sum(1), counts.sum(0)`


# %% exercise="14.2" role="gap"
def pixel_accuracy(matrix: Tensor) -> Tensor:
    """Share of the pixels with the right class. Worked number: [[3, 2], [0, 4]] gives 7/9."""
    ### BEGIN SOLUTION
    counts = matrix.double()
    return counts.diagonal().sum() / counts.sum()
    ### END SOLUTION


def mean_accuracy(matrix: Tensor) -> Tensor:
    """Mean over the labelled classes of the share found. Worked number: (3/5 + 4/4) / 2 = 0.8."""
    ### BEGIN SOLUTION
    counts = matrix.double()
    return (counts.diagonal() / counts.sum(1)).nanmean()
    ### END SOLUTION


def iou(matrix: Tensor) -> Tensor:
    """Intersection over union of every class (K,). Worked number: 3/5 for the road."""
    ### BEGIN SOLUTION
    counts = matrix.double()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)
    ### END SOLUTION


def mean_iou(matrix: Tensor) -> Tensor:
    """Mean IoU over the classes that occur. Worked number: (3/5 + 4/6) / 2 = 19/30."""
    ### BEGIN SOLUTION
    return iou(matrix).nanmean()
    ### END SOLUTION


def frequency_weighted_iou(matrix: Tensor) -> Tensor:
    """IoU weighed by the share of each label. Worked number: 5/9 · 3/5 + 4/9 · 4/6 = 17/27."""
    ### BEGIN SOLUTION
    rows = matrix.double().sum(1)
    return (rows / rows.sum() * iou(matrix)).nansum()
    ### END SOLUTION


# %% exercise="14.2" role="check"
check = Exercise("14.2", points=18, forbid=["course.metrics"])

lecture = torch.tensor([[3, 2], [0, 4]])
with check("the lecture's accuracy: 7 of 9 pixels", points=1):
    check.equal(
        pixel_accuracy(lecture),
        7 / 9,
        mistakes={
            "That is the mean over classes; here every pixel weighs the same.": 0.8,
            "Hits are the diagonal only.": 1.0,
            "Divide by all pixels, not by those of one class.": 7 / 5,
            "That is the number of right pixels: divide by all of them.": 7.0,
        },
    )
with check("the other scores of the same pixels", points=2):
    found = [mean_accuracy(lecture), iou(lecture), mean_iou(lecture)]
    check.equal(
        found[0],
        0.8,
        what="mean accuracy",
        mistakes={
            "That is precision: divide by the row sums, the labels.": 5 / 6,
            "That is the pixel accuracy: divide class by class, then average.": 7 / 9,
        },
    )
    check.equal(
        found[1],
        torch.tensor([0.6, 2 / 3], dtype=torch.float64),
        what="IoU",
        mistakes={
            "That is Dice: the union counts the hits once, so subtract them once.": torch.tensor(
                [0.75, 0.8]
            ),
            "The hits are counted twice in your union: subtract them once.": torch.tensor(
                [3 / 8, 4 / 10]
            ),
            "That is recall: pixels predicted but not labelled belong to the union too.": (
                torch.tensor([0.6, 1.0])
            ),
            "That is precision: pixels labelled but not predicted belong to the union too.": (
                torch.tensor([1.0, 2 / 3])
            ),
        },
    )
    check.equal(found[2], 19 / 30, what="mean IoU")
    check.equal(
        frequency_weighted_iou(lecture),
        17 / 27,
        what="frequency weighted IoU",
        mistakes={
            "The weights are the shares of the labels, not of the predictions.": 3 / 9 * 0.6
            + 6 / 9 * 2 / 3,
            "The weights must sum to 1.": 17 / 3,
        },
    )
with check("a class that does not occur", points=1):
    third = torch.tensor([[3, 2, 0], [0, 4, 0], [0, 0, 0]])
    check.equal(
        mean_iou(third),
        19 / 30,
        mistakes={
            "The absent class counts as 0: it has no IoU and leaves the mean.": 19 / 45,
            "The absent class counts as 1: it has no IoU and leaves the mean.": 34 / 45,
            "nan goes into the mean: leave it out.": float("nan"),
        },
    )
### BEGIN HIDDEN TESTS
names = ("pixel_accuracy", "mean_accuracy", "mean_iou", "frequency_weighted_iou")
with check.hidden("random tables against the library", points=5):
    for k in (2, 3, 7, 21):
        torch.manual_seed(k)
        h = torch.randint(0, 50, (k, k))
        got = (pixel_accuracy(h), mean_accuracy(h), mean_iou(h), frequency_weighted_iou(h))
        check.equal(tuple(map(float, got)), tuple(float(getattr(metrics, n)(h)) for n in names))
        check.equal(iou(h), metrics.iou(h), dtype=True)
with check.hidden("absent, only predicted, only labelled", points=4):
    h = torch.tensor([[5, 0, 2, 0], [0, 0, 0, 0], [0, 0, 0, 0], [3, 0, 0, 0]])
    check.equal(iou(h), torch.tensor([0.5, float("nan"), 0.0, 0.0], dtype=torch.float64))
    check.equal(mean_iou(h), 1 / 6)
    check.equal(mean_accuracy(h), 5 / 14)
    check.equal(frequency_weighted_iou(h), 0.35)
with check.hidden("95 of 100 pixels right, and nothing found", points=2):
    h = torch.tensor([[95, 0], [5, 0]])
    check.equal((float(pixel_accuracy(h)), float(iou(h)[1])), (0.95, 0.0))
    check.equal(mean_accuracy(h), 0.5)
with check.hidden("a transposed table: same IoU, other recall", points=1):
    h = torch.tensor([[6, 1, 0], [4, 2, 2], [0, 3, 9]])
    check.equal(iou(h.T.contiguous()), metrics.iou(h))
    check.equal(mean_accuracy(h.T.contiguous()), float(metrics.precision(h).mean()))
with check.hidden("counts beyond 2^24 stay exact, the table is left alone", points=2):
    h = torch.tensor([[2**40, 1], [1, 2**40]])
    check.equal(pixel_accuracy(h), 2**41 / (2**41 + 2), tolerance=1e-15)
    check.equal(mean_iou(h), 2**40 / (2**40 + 2), tolerance=1e-15)
    check.unchanged(iou, h)
    check.unchanged(frequency_weighted_iou, h)
### END HIDDEN TESTS
check.score()

# %% exercise="14.2" role="picture"
tables = [metrics.confusion_matrix(masks, scenes.masks, 3) for masks in faulty.values()]
plots.compare_values(
    yours=lambda: [float(s(h)) for s in (pixel_accuracy, mean_iou) for h in tables],
    expected=[float(s(h)) for s in (metrics.pixel_accuracy, metrics.mean_iou) for h in tables],
    title="Pixel accuracy (0 to 4) and mean IoU (5 to 9) of the five predictions",
    xlabel="prediction, in the order of the picture above",
    ylabel="score",
)

# %% [markdown] exercise="14.2" role="see"
# Left, five accuracies between 0.94 and 0.97, hard to tell apart. Right, mean IoU from 0.65 to 0.84
# for the same predictions, and in another order.

# %% [markdown] exercise="14.2" role="think" points=10
# **Think (10 points).** A network labels tumours that cover 0.5 % of the pixels. Its author reports a
# pixel accuracy of 99.4 % and a mean IoU of 0.70 over background and tumour. Work out what the IoU of
# the tumour is, to about one digit. Then say which of the two figures she should put first, and
# what a network that finds nothing would get in both. Three to five sentences.
#
# ### BEGIN SOLUTION
# If the tumour's hits are a share t of all pixels, the background's IoU is (0.994 - t) / (1 - t): at
# most 0.994, and hardly less, since t is at most 0.005. So the tumour's is about
# 2 · 0.70 - 0.994 = 0.41. A network that finds nothing gets an accuracy of 99.5 %, more than hers,
# and a mean IoU of (0.995 + 0) / 2, about 0.50. The accuracy says nothing here; even the mean IoU
# hides half of the matter behind an easy class, so the IoU of the tumour should come first. Full
# marks: about 0.4, 99.5 % and 0.50, and the class's own IoU.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 14.3 Dice, hard and soft

# %% [markdown] exercise="14.3" role="idea"
# Dice is twice the overlap over the sum of both areas. For one class it is IoU in other clothes:
#
# $$D = \frac{2|A\cap B|}{|A|+|B|} = \frac{2J}{1+J} \;\ge\; J .$$
#
# So Dice ranks predictions of one class as IoU does, with a friendlier number; for *means* over
# classes or images neither holds. Put probabilities $p$ in the place of a mask and Dice has a gradient:
# $D = (2\sum p\,t + \varepsilon)/(\sum p + \sum t + \varepsilon)$. The lecture's table gives
# $\sum p\,t = 7.41$. Epsilon stands above *and* below, so that two empty masks agree.
# [Milletari et al. 2016, §3]

# %% exercise="14.3" role="look"
share = [i / 20 for i in range(21)]
plots.curves(
    {"Dice": (share, [2 * j / (1 + j) for j in share]), "IoU": (share, share)},
    title="The same overlap, told by IoU and by Dice",
    xlabel="IoU",
    ylabel="score",
)

# %% [markdown] exercise="14.3" role="contract" title="Dice from IoU, and from probabilities" minutes=15
# - `dice_from_iou(iou)`: a tensor of any shape, element by element.
# - `soft_dice(probabilities, target, eps)`: `(..., H, W)` in [0, 1] both → `(...)`, one Dice per map,
#   the linear form (no squares below the line), differentiable.
# - Both empty: 1. The sums run over the last two axes only.

# %% [markdown] exercise="14.3" role="hints"
# 1. Lecture's table: the overlap is 7.41. Which two sums are still missing?
# 2. $\sum p = 7.82$ and $\sum t = 8$ there. No comparison with 0.5 anywhere: that would have no
#    gradient.
# 3. `overlap = (probabilities * target).sum((-2, -1))`


# %% exercise="14.3" role="gap"
def dice_from_iou(iou: Tensor) -> Tensor:
    """Dice of a class from its IoU. Worked number: 0.6 becomes 0.75."""
    ### BEGIN SOLUTION
    return 2 * iou / (1 + iou)
    ### END SOLUTION


def soft_dice(probabilities: Tensor, target: Tensor, eps: float = 1e-6) -> Tensor:
    """Dice between probabilities and masks (..., H, W), one number per map.

    Worked number: overlap 7.41, areas 7.82 and 8 give 14.82 / 15.82 = 0.936789.
    """
    ### BEGIN SOLUTION
    overlap = (probabilities * target).sum((-2, -1))
    areas = probabilities.sum((-2, -1)) + target.sum((-2, -1))
    return (2 * overlap + eps) / (areas + eps)
    ### END SOLUTION


# %% exercise="14.3" role="check"
check = Exercise("14.3", points=16, forbid=["course.metrics", "course.losses"])

with check("Dice from IoU", points=1):
    j = torch.tensor([0.6, 2 / 3, 0.0, 1.0])
    check.equal(
        dice_from_iou(j),
        torch.tensor([0.75, 0.8, 0.0, 1.0]),
        mistakes={
            "That is the way back, from Dice to IoU: Dice is never below IoU.": j / (2 - j),
            "The 2 is missing above the line.": j / (1 + j),
            "Twice the IoU exceeds 1: divide by 1 + J.": 2 * j,
        },
    )
p = torch.tensor(
    [
        [0.01, 0.03, 0.02, 0.02],
        [0.05, 0.12, 0.09, 0.07],
        [0.89, 0.85, 0.88, 0.91],
        [0.99, 0.97, 0.95, 0.97],
    ]
)
t = torch.tensor([0.0, 0, 1, 1])[:, None].expand(4, 4).contiguous()
with check("the lecture's table, with its sum of 7.41", points=2):
    check.equal(
        soft_dice(p, t),
        0.936789,
        mistakes={
            "7.41 is the overlap; twice that stands over the sum of both areas.": 7.41,
            "Below the line stand sums, not sums of squares: that is V-Net's form.": 0.993751,
            "The 2 is missing above the line.": 7.41 / 15.82,
            "That is the soft IoU: do not subtract the overlap below the line.": 7.41 / 8.41,
            "With a threshold there is no gradient: use the probabilities themselves.": 1.0,
            "Every pixel is averaged on its own: sum first, divide then.": float(
                (2 * p * t / (p + t)).mean()
            ),
            "That is the mean over rows: sum over both axes of the image.": float(
                ((2 * (p * t).sum(-1) + 1e-6) / (p.sum(-1) + t.sum(-1) + 1e-6)).mean()
            ),
        },
    )
with check(
    "two empty masks agree",
    points=1,
    hint="Put eps above and below the line: 0 / 0 is nan, and with eps below only it is 0.",
):
    empty = torch.zeros(2, 3, 5)
    check.equal(
        soft_dice(empty, empty),
        torch.ones(2),
        mistakes={
            "Put eps above and below the line: below only, empty against empty is 0.": torch.zeros(
                2
            )
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("random maps against the library, odd and non-square", points=4):
    for shape in ((5, 7), (2, 3, 4), (2, 3, 1, 6)):
        torch.manual_seed(len(shape))
        p, t = torch.rand(shape), (torch.rand(shape) < 0.4).float()
        check.equal(soft_dice(p, t), losses.soft_dice(p, t))
        check.equal(soft_dice(p, t, 1.0), losses.soft_dice(p, t, eps=1.0))
with check.hidden("hard masks: what IoU says, by Dice", points=2):
    torch.manual_seed(2)
    a, b = torch.rand(6, 5, 9) < 0.5, torch.rand(6, 5, 9) < 0.3
    j = (a & b).sum((1, 2)) / (a | b).sum((1, 2))
    check.equal(soft_dice(a.float(), b.float()), dice_from_iou(j))
with check.hidden("never below IoU, and equal only at 0 and 1", points=1):
    j = torch.linspace(0, 1, 101)
    d = dice_from_iou(j)
    check.true(bool((d >= j - 1e-7).all()), "Dice fell below IoU.")
    check.true(bool((d[1:-1] > j[1:-1]).all()), "Dice should lie above IoU between 0 and 1.")
with check.hidden("gradients pull up inside the mask and down outside", points=3):
    torch.manual_seed(5)
    p, t = torch.rand(4, 6), torch.zeros(4, 6)
    t[1:3, 2:5] = 1
    g = gradients(soft_dice, p, t)[0]
    total, overlap = float(p.sum() + t.sum()), float((p * t).sum())
    check.equal(g, 2 * t / total - 2 * overlap / total**2)
    check.true(bool((g[t > 0] > 0).all()) and bool((g[t == 0] < 0).all()), "A sign is wrong.")
with check.hidden("nothing is changed", points=2):
    check.unchanged(soft_dice, torch.rand(3, 4), torch.ones(3, 4))
    check.unchanged(dice_from_iou, torch.rand(3))
    check.equal(soft_dice(torch.zeros(3, 4), torch.ones(3, 4)), 0.0)
### END HIDDEN TESTS
check.score()

# %% exercise="14.3" role="picture"
levels = torch.linspace(0, 1, 21)
disc = (scenes.masks[3] == 1).float()
plots.compare_values(
    yours=lambda: torch.stack([soft_dice(v * disc, disc) for v in levels]),
    expected=torch.stack([losses.soft_dice(v * disc, disc) for v in levels]),
    title="Soft Dice while the network grows sure of the discs: p from 0 to 1 on them",
    xlabel="probability on the disc, in steps of 0.05",
    ylabel="soft Dice",
)

# %% [markdown] exercise="14.3" role="see"
# A curve that rises fast and flattens: at p = 0.5 it stands at 0.67 already. Its slope is the gradient
# that training feels, steepest where nothing is found yet.

# %% [markdown] exercise="14.3" role="think"
# **Think.** Class A has IoU 0.2 in one prediction and 0.9 in another, class B has 0.9 and 0.3. Which
# prediction wins by mean IoU, which by mean Dice?
#
# ### BEGIN SOLUTION
# Mean IoU: 0.55 against 0.60. Dice: 0.333 and 0.947, mean 0.640; 0.947 and 0.462, mean 0.704. Here
# both agree. With 0.05 and 0.95 against 0.33 and 0.66 they do not: IoU 0.500 against 0.495, Dice
# 0.535 against 0.646. For one class they always agree, for means they need not.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 14.4 Is the outline in its place?

# %% [markdown] exercise="14.4" role="idea"
# An outline three pixels off costs a large object almost nothing in IoU, a thin one everything.
# Boundary F looks at outlines only: with $\partial A$ the boundary of the prediction, $\partial B$
# that of the label and a tolerance $\tau$,
#
# $$P = \frac{|\{x\in\partial A : d(x,\partial B)\le\tau\}|}{|\partial A|}, \quad
#   R = \frac{|\{x\in\partial B : d(x,\partial A)\le\tau\}|}{|\partial B|}, \quad
#   F = \frac{2PR}{P+R} .$$
#
# Distances are Euclidean: the tolerance is a disc. The frame of the picture is no boundary; nobody
# knows what lies behind it. [Csurka et al. 2013; Martin et al. 2004]

# %% exercise="14.4" role="look"
plots.bars(
    ["square of 40", "square of 10", "line of 2"],
    {
        "IoU": [0.9, 0.67, 0],
        "boundary F, tolerance 2": [1, 1, 1],
    },
    title="The same shift of two pixels, for three widths",
    ylabel="score",
    limits=(0, 1.1),
)

# %% [markdown] exercise="14.4" role="contract" title="Boundary F" minutes=25
# - `boundary(mask)`: `(H, W)` bool → `(H, W)` bool: pixels of the mask with a 4-neighbour **in the
#   image** outside the mask.
# - `boundary_f(pred, target, tolerance)`: bool masks → a number; a distance equal to the tolerance is
#   near enough.
# - No boundary on one side: 0. None on both: 1 if both masks are full, 0 if one is, nan if both are
#   empty.

# %% [markdown] exercise="14.4" role="hints"
# 1. A mask minus its erosion is its boundary. What must the erosion believe about the pixels outside
#    the image?
# 2. `binary_erosion(mask, border_value=1)` keeps the frame. `distance_transform_edt(~edge)` is the
#    distance of every pixel to the nearest pixel of `edge`.
# 3. `a, b = boundary(pred), boundary(target)`


# %% exercise="14.4" role="gap"
def boundary(mask: Tensor) -> Tensor:
    """Pixels of a mask (H, W) that touch another pixel of the image outside it, by a side.

    Worked number: a 3 × 3 square inside an image has 8 boundary pixels, its centre is none.
    """
    ### BEGIN SOLUTION
    return mask & ~torch.from_numpy(binary_erosion(mask.numpy(), border_value=1))
    ### END SOLUTION


def boundary_f(pred: Tensor, target: Tensor, tolerance: float) -> float:
    """Harmonic mean of boundary precision and recall of two masks (H, W).

    Worked number: half of the label's outline found, nothing else drawn: P = 1, R = 0.5, F = 2/3.
    """
    ### BEGIN SOLUTION
    a, b = boundary(pred), boundary(target)
    if not a.any() and not b.any():
        return (float("nan"), 0.0, 1.0)[int(pred.any()) + int(target.any())]
    to_a, to_b = (torch.from_numpy(distance_transform_edt(~edge.numpy())) for edge in (a, b))
    p, r = (float((d <= tolerance).double().mean()) for d in (to_b[a], to_a[b]))
    return 2 * p * r / (p + r) if p > 0 and r > 0 else 0.0
    ### END SOLUTION


# %% exercise="14.4" role="check"
check = Exercise("14.4", points=16, forbid=["course.metrics"])


def drawn(*rows):
    return torch.tensor([[c == "#" for c in row] for row in rows])


mask = drawn(".......", "###....", "####...", "####...", "####...")
want = drawn(".......", "###....", "...#...", "...#...", "...#...")
outside = drawn("###....", "...#...", "....#..", "....#..", "....#..")
with check("the boundary of a block at the edge, one corner bitten off", points=1):
    check.equal(
        boundary(mask),
        want,
        mistakes={
            "The frame of the image is no boundary: nobody knows what lies behind it.": (
                want | drawn(".......", "#......", "#......", "#......", "####...")
            ),
            "Those pixels lie outside the mask: take the mask's own.": outside,
            "Neighbours share a side; you count those that share a corner too.": (
                want | drawn(".......", ".......", "..#....", ".......", ".......")
            ),
            "Both sides of the edge are marked: take the mask's own pixels only.": want | outside,
        },
    )
left, right = torch.zeros(6, 8, dtype=torch.bool), torch.zeros(6, 8, dtype=torch.bool)
left[2, 2], right[3, 3] = True, True
with check("two pixels, one step apart along the diagonal", points=2):
    got = [boundary_f(left, right, tolerance) for tolerance in (0, 1, 1.5)]
    check.equal(
        got,
        [0.0, 0.0, 1.0],
        mistakes={
            "The tolerance is a disc, not a square: this distance is 1.41, above 1.": [0, 1, 1],
            "City-block distance says 2; take the straight line, 1.41.": [0.0, 0.0, 0.0],
        },
    )
both, half = torch.zeros(3, 9, dtype=torch.bool), torch.zeros(3, 9, dtype=torch.bool)
both[1, 1], both[1, 7], half[1, 1] = True, True, True
with check("half of the outline found, nothing else drawn", points=1):
    check.equal(
        (float(boundary_f(half, both, 1)), float(boundary_f(both, half, 1))),
        (2 / 3, 2 / 3),
        mistakes={
            "That is precision alone: recall belongs to it.": (1.0, 0.5),
            "That is recall alone: precision belongs to it.": (0.5, 1.0),
            "Take the harmonic mean, 2PR / (P + R), not the plain one.": (0.75, 0.75),
            "The 2 is missing: F = 2PR / (P + R).": (1 / 3, 1 / 3),
        },
    )
### BEGIN HIDDEN TESTS
with check.hidden("random blobs against the library", points=5):
    for i, (h, w) in enumerate(((9, 14), (17, 6), (12, 12), (1, 9), (8, 1))):
        torch.manual_seed(i)
        a, b = (F.avg_pool2d(torch.rand(1, 1, h + 2, w + 2), 3, 1)[0, 0] > 0.5 for _ in range(2))
        for tolerance in (0, 1, 1.5, 2.3, 4):
            want = float(metrics.boundary_f(a, b, tolerance))
            check.equal(float(boundary_f(a, b, tolerance)), want)
with check.hidden("nothing, everything, or one of the two", points=3):
    none, full = torch.zeros(3, 5, dtype=torch.bool), torch.ones(3, 5, dtype=torch.bool)
    part = none.clone()
    part[1, 2] = True
    pairs = [(none, none), (full, full), (none, full), (full, none), (none, part), (part, full)]
    got = [float(boundary_f(a, b, 9)) for a, b in pairs]
    check.equal(got, [float("nan"), 1.0, 0.0, 0.0, 0.0, 0.0])
with check.hidden("a distance equal to the tolerance is near enough", points=1):
    a, b = torch.zeros(9, 9, dtype=torch.bool), torch.zeros(9, 9, dtype=torch.bool)
    a[1, 1], b[4, 5] = True, True
    check.equal([float(boundary_f(a, b, x)) for x in (4.9, 5)], [0.0, 1.0])
with check.hidden("boundaries of random masks", points=2):
    for h, w in ((7, 11), (10, 4)):
        torch.manual_seed(h)
        m = torch.rand(h, w) < 0.7
        padded = F.pad(m[None, None].float(), (1, 1, 1, 1), mode="replicate")[0, 0].bool()
        inner = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
        check.equal(boundary(m), m & ~inner)
with check.hidden("masks are left alone", points=1):
    check.unchanged(boundary_f, torch.rand(5, 6) < 0.5, torch.rand(5, 6) < 0.5, 1)
### END HIDDEN TESTS
check.score()

# %% exercise="14.4" role="picture"
shown = scenes.masks[3] > 0
steps_of = [0, 0.5, 1, 1.5, 2, 3, 4, 6]
coarse = faulty["stride 4"][3] > 0
plots.compare_values(
    yours=lambda: [boundary_f(coarse, shown, d) for d in steps_of],
    expected=[float(metrics.boundary_f(coarse, shown, d)) for d in steps_of],
    title="Boundary F of the prediction of stride 4 at tolerances 0, 0.5, 1, 1.5, 2, 3, 4, 6",
    xlabel="number of the tolerance",
    ylabel="boundary F",
)

# %% [markdown] exercise="14.4" role="see"
# F climbs from 0.29 to 1 as the tolerance grows: say the tolerance with the score, or it means
# nothing. From 0 to 0.5 nothing changes, since no two pixels are half a pixel apart.

# %% [markdown] exercise="14.4" role="think"
# **Think.** Csurka et al. take 0.75 % of the image diagonal as tolerance. What is that at 48 × 64
# pixels and at 1024 × 2048, and what follows for scores of networks that shrink their images?
#
# ### BEGIN SOLUTION
# 0.6 pixels and 17 pixels. At 0.6 only exact hits count. A score computed on shrunken images and
# labels is another score: the tolerance shrinks with them, but the labels' own errors do not.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 14.5 The ladder: one table for all

# %% [markdown] exercise="14.5" role="idea"
# A paper's table shows other papers' rows, each scored by other code. Safer is to keep the
# *predictions* and score them again, by one code. One choice must be stated:
#
# $$\text{IoU}_c = \frac{\sum_i n^{(i)}_{cc}}{\sum_i r^{(i)}_c + k^{(i)}_c - n^{(i)}_{cc}}
#   \;\neq\; \frac1N \sum_i \text{IoU}^{(i)}_c .$$
#
# PASCAL VOC adds the counts of all images and divides once. Csurka et al. argue for the mean over
# images, which says how often all goes well, but lets three pixels weigh as much as a thousand. Here
# IoU comes from added counts, boundary F from images, as in its definition.
# [Everingham et al. 2010, §4; Csurka et al. 2013]

# %% exercise="14.5" role="look"
plots.bars(
    ["image with 3 pixels", "image with 900", "mean of both", "counts added"],
    [0.0, 0.9, 0.45, 810 / 903],
    title="IoU of one class in two images: 0 of 3 pixels, 810 of 900",
    ylabel="IoU",
    limits=(0, 1.1),
)

# %% [markdown] exercise="14.5" role="contract" title="Score everything again" minutes=20
# - `ladder(models, target, num_classes)`: `models` maps a name to predictions `(N, H, W)`; `target`
#   is `(N, H, W)`, 255 = ignore. Result: name → {score: float}, in the order of `models`.
# - Scores: `"pixel accuracy"`, `"mean accuracy"`, `"mean IoU"` over all images at once; `"boundary F"`:
#   foreground (class > 0 and not ignored), tolerance 1, mean over the images where it is not nan.
# - `ranking(table, score)`: names, best first; equal scores keep the table's order, nan comes last.

# %% [markdown] exercise="14.5" role="hints"
# 1. One confusion matrix per model is enough for the first three scores.
# 2. `pred > 0` and `target > 0` are the masks of boundary F; 255 is greater than 0 too.
# 3. For the ranking: `sorted` is stable, and its `key` may return a pair.


# %% exercise="14.5" role="gap"
def ladder(
    models: dict[str, Tensor], target: Tensor, num_classes: int
) -> dict[str, dict[str, float]]:
    """All stored predictions (N, H, W), scored again: name → score → number.

    Worked number: perfect predictions get 1.0 in every score.
    """
    ### BEGIN SOLUTION
    table, known = {}, target != 255
    for name, pred in models.items():
        matrix = confusion_matrix(pred, target, num_classes)
        pairs = zip((pred > 0) & known, (target > 0) & known)
        outlines = torch.tensor([boundary_f(a, b, 1.0) for a, b in pairs])
        table[name] = {
            "pixel accuracy": float(pixel_accuracy(matrix)),
            "mean accuracy": float(mean_accuracy(matrix)),
            "mean IoU": float(mean_iou(matrix)),
            "boundary F": float(outlines.nanmean()),
        }
    return table
    ### END SOLUTION


def ranking(table: dict[str, dict[str, float]], score: str) -> list[str]:
    """Names by falling score. Worked number: scores 0.2, 0.9, 0.2 of a, b, c give b, a, c."""
    ### BEGIN SOLUTION
    values = {name: row[score] for name, row in table.items()}
    return sorted(values, key=lambda name: (values[name] != values[name], -values[name]))
    ### END SOLUTION


# %% exercise="14.5" role="check"
check = Exercise("14.5", points=16, forbid=["course.metrics"])

truth = torch.zeros(2, 4, 6, dtype=torch.int64)
truth[0, 1:3, 1:5], truth[1, 2, 2] = 1, 1
half = truth.clone()
half[0, 1:3, 3:5] = 0
none = torch.zeros_like(truth)
both = [(metrics.confusion_matrix(half[i], truth[i], 2)) for i in (0, 1)]
with check("two models on two images, counts added", points=2):
    table = ladder({"half": half, "nothing": none}, truth, 2)
    check.equal(list(table), ["half", "nothing"])
    got = {name: row["mean IoU"] for name, row in table.items()}
    check.equal(
        got,
        {"half": (39 / 43 + 5 / 9) / 2, "nothing": 39 / 48 / 2},
        mistakes={
            "That is the mean of the images' scores: add the counts of all images, divide once.": {
                "half": sum(float(metrics.mean_iou(h)) for h in both) / 2,
                "nothing": (16 / 24 / 2 + 23 / 24 / 2) / 2,
            },
            "That is the foreground's IoU alone: the mean runs over all classes.": {
                "half": 5 / 9,
                "nothing": 0.0,
            },
            "Predictions and labels have changed places somewhere, or a score is misnamed.": {
                "half": 44 / 48,
                "nothing": 39 / 48,
            },
        },
    )
    outline = float(metrics.boundary_f(half > 0, truth > 0, 1.0).nanmean())
    check.equal(
        table["half"]["boundary F"],
        outline,
        what="boundary F",
        mistakes={
            "That tolerance is 0; it is 1 pixel.": float(
                metrics.boundary_f(half > 0, truth > 0, 0).nanmean()
            ),
            "That tolerance is 2; it is 1 pixel.": float(
                metrics.boundary_f(half > 0, truth > 0, 2).nanmean()
            ),
        },
    )
with check("best first", points=2):
    scored = {"a": 0.2, "b": 0.9, "c": float("nan"), "d": 0.2, "e": 0.5}
    table = {name: {"x": value, "y": -value} for name, value in scored.items()}
    check.equal(
        ranking(table, "x"),
        ["b", "e", "a", "d", "c"],
        mistakes={
            "The worst comes first: turn the order round.": ["a", "d", "e", "b", "c"],
            "Equal scores keep the order of the table: a stands before d.": [
                "b",
                "e",
                "d",
                "a",
                "c",
            ],
            "nan belongs to the end; comparing with nan, or -nan, is never true.": sorted(
                scored, key=lambda n: scored[n], reverse=True
            ),
            "nan belongs to the end, not to the top.": ["c", "b", "e", "a", "d"],
            "Return the names, not the scores.": [0.9, 0.5, 0.2, 0.2, float("nan")],
        },
    )
### BEGIN HIDDEN TESTS
scores = ("pixel accuracy", "mean accuracy", "mean IoU", "boundary F")


def again(pred, target, k):
    h, known = metrics.confusion_matrix(pred, target, k), target != 255
    f = metrics.boundary_f((pred > 0) & known, (target > 0) & known, 1.0).nanmean()
    return {
        n: float(v)
        for n, v in zip(
            scores, (metrics.pixel_accuracy(h), metrics.mean_accuracy(h), metrics.mean_iou(h), f)
        )
    }


with check.hidden("random predictions of several classes", points=5):
    torch.manual_seed(1)
    target = torch.randint(4, (3, 7, 9))
    stored = {f"model {i}": torch.where(torch.rand(3, 7, 9) < i / 4, target, 0) for i in range(4)}
    got = ladder(stored, target, 4)
    check.equal(list(got), list(stored))
    for name, pred in stored.items():
        check.equal(got[name], again(pred, target, 4))
with check.hidden("ignored pixels", points=2):
    torch.manual_seed(2)
    target, pred = torch.randint(3, (2, 6, 8)), torch.randint(3, (2, 6, 8))
    target[torch.rand(2, 6, 8) < 0.3] = 255
    check.equal(ladder({"m": pred}, target, 3)["m"], again(pred, target, 3))
with check.hidden("images without foreground leave the mean of boundary F", points=2):
    target = torch.zeros(3, 5, 6, dtype=torch.int64)
    target[0, 1:4, 2:4] = 1
    pred = target.clone()
    pred[2, 0, 0] = 1
    check.equal(ladder({"m": pred}, target, 2)["m"]["boundary F"], 0.5)
with check.hidden("rankings of random tables, the table left alone", points=3):
    torch.manual_seed(3)
    table = {str(i): {"s": round(float(torch.rand(())), 1)} for i in range(12)}
    want = sorted(table, key=lambda name: -table[name]["s"])
    check.equal(ranking(table, "s"), want)
    check.unchanged(ranking, table, "s")
    check.equal(ranking({"only": {"s": float("nan")}}, "s"), ["only"])
### END HIDDEN TESTS
check.score()


# %% exercise="14.5" role="picture"
def expected_scores():
    whole = [metrics.confusion_matrix(masks, scenes.masks, 3) for masks in faulty.values()]
    return [float(metrics.mean_accuracy(h)) for h in whole]


plots.compare_values(
    yours=lambda: [row["mean accuracy"] for row in ladder(faulty, scenes.masks, 3).values()],
    expected=expected_scores,
    title="Mean accuracy of the five predictions",
    xlabel="prediction, in the order of the picture at the top",
    ylabel="mean accuracy",
)

# %% [markdown] exercise="14.5" role="see"
# The lines that are too wide win with 0.98: mean accuracy is a recall, and too much of a rare class
# costs it next to nothing.

# %% [markdown] exercise="14.5" role="think" points=10
# **Think (10 points).** Answer after the experiments at the end. You choose the score for (a) counting
# cells under a microscope, (b) the drivable road in front of a car, (c) the width of cracks in
# concrete. Name a score for each, the fault of a prediction that it must not forgive, and one that it
# may. Three to six sentences.
#
# ### BEGIN SOLUTION
# (a) A score of objects: exact counts, or the share of cells found at an IoU of 0.5 with the false
# ones; it must not forgive joined cells, it may forgive a rim one pixel too wide. (b) IoU of the
# road, with precision reported beside it: predicting road where there is none is dangerous, a ragged
# far edge is not; pixel accuracy would do little harm, since road is no rare class. (c) Boundary F
# with a tolerance below the width that matters, or the measured width itself: IoU of thin objects
# punishes a shift of one pixel as much as a false width, which here may be forgiven. Full marks: a
# defensible score each, and a fault each that it sees or forgives, in line with the experiments.
# ### END SOLUTION

# %% [markdown]
# ---
# ## Experiment 1: who is best?
#
# Your `ladder` scores the five predictions, on three sets of scenes with seeds of their own. Watch two
# things: what the prediction without any line gets, and who stands on top of each column.


# %% role="setup"
def rank_chart(table, scores):
    """One line per prediction, through its rank in every score."""
    places = {score: ranking(table, score) for score in scores}
    with plots.canvas(width=9, height=4.4, title="One set of predictions, four rankings") as (
        figure,
        (axis,),
    ):
        for k, name in enumerate(table):
            ranks = [places[score].index(name) + 1 for score in scores]
            axis.plot(
                range(len(scores)), ranks, color=plots.PALETTE[k], marker="osD^v"[k], lw=2.5, ms=9,
                ls=["-", "--", "-.", ":", (0, (5, 1))][k],
            )  # fmt: skip
            axis.text(len(scores) - 0.9, ranks[-1], name, va="center")
        axis.set_xticks(range(len(scores)), scores)
        axis.set_yticks(range(1, len(table) + 1))
        axis.set_ylabel("rank, 1 = best")
        axis.invert_yaxis()
        axis.set_xlim(-0.2, len(scores) - 0.1)
        said = "; ".join(f"{score}: {', '.join(places[score])}" for score in scores)
        return plots.render(figure, f"Rankings of the same predictions, best first. {said}.")


# %% role="experiment"
runs = {}
with attempt("14.1 to 14.5"):
    for seed in seeds:
        drawn = data.lines(40, (48, 64), seed=seed, count=(1, 2), discs=(1, 2)).masks
        stored = with_faults(drawn, seed)
        rare = {name: float(iou(confusion_matrix(p, drawn, 3))[2]) for name, p in stored.items()}
        runs[seed] = ladder(stored, drawn, 3), rare
if runs:
    scores = list(next(iter(runs[seeds[0]][0].values())))
    rows = [
        [name, seed, *(f"{value:.3f}" for value in row.values()), f"{rare[name]:.3f}"]
        for name in faulty
        for seed, (table, rare) in runs.items()
        for row in [table[name]]
    ]
    head = ["prediction", "seed", *scores, "IoU of line"]
    plots.table(head, rows, title="The same predictions by four scores").show()

# %% role="experiment"
if runs:
    rank_chart(runs[seeds[0]][0], scores).show()
    best = {
        seed: [ranking(table, score)[0] for score in scores] for seed, (table, _) in runs.items()
    }
    for score, *winners in zip(scores, *best.values()):
        print(f"best by {score}: {', '.join(dict.fromkeys(winners))}")
    blind = [
        (table["no lines"]["pixel accuracy"], rare["no lines"]) for table, rare in runs.values()
    ]
    print(f"no lines at all: pixel accuracy at least {min(a for a, _ in blind):.3f}, "
          f"IoU of the lines {max(b for _, b in blind):.3f}")  # fmt: skip
    assert all(a > 0.95 and b == 0 for a, b in blind), "accuracy should miss the missing lines"
    assert all(len(set(winners)) >= 3 for winners in best.values()), "the winner should change"

# %% [markdown]
# **What you should see.** Pixel accuracy puts *speckle* first, mean accuracy the *lines too wide*,
# boundary F the shift of *one pixel*: three winners among four scores, in every run. The prediction
# that knows no line at all gets a pixel accuracy above 0.95, third of five, and an IoU of exactly 0
# for the lines. No score is wrong; each answers a question of its own.

# %% [markdown]
# ---
# ## Experiment 2: what IoU does not see
#
# Lab 8 trained U-Nets with and without border weights. Here are both again, their predictions stored
# and scored by your `ladder`, with one more column: the share of the cells that a count would find.


# %% role="setup"
def cell_predictions(w0, seed, train, test):
    """Masks (N, H, W) that a small U-Net predicts after training with border weights w0."""
    margin = 20  # of a U-Net of depth 2
    samples = [
        {
            "image": tiling.mirror_pad(scene["image"], margin),
            "mask": (scene["instances"] > 0).long(),
            "weights": losses.border_weights(scene["instances"], w0),
        }
        for scene in train
    ]
    torch.manual_seed(seed)
    net = models.UNet(in_channels=1, num_classes=2, width=8, depth=2).to(device)
    training.fit(
        net,
        samples,
        lambda logits, b: losses.cross_entropy(logits, b["mask"], weight_map=b["weights"]),
        steps=steps,
        batch_size=4,
        lr=5e-3,  # at 1e-2 one of eight runs with weights collapsed to a single class
        schedule=training.poly_lr,
        seed=seed,
        device=device,
        channels_last=True,
        progress=steps > 1000,
    )
    images = torch.stack([tiling.mirror_pad(scene["image"], margin) for scene in test])
    with torch.no_grad():
        return net.eval()(images.to(device)).argmax(1).cpu()


def share_found(masks, instances):
    """Share of all cells that a connected region of the mask matches."""
    matches = [
        metrics.match_instances(metrics.instance_labels(mask), cells)
        for mask, cells in zip(masks, instances)
    ]
    return sum(m.found for m in matches) / sum(m.found + len(m.missed) for m in matches)


# %% role="experiment"
cells = {}
if runs:
    train, test = data.cells(200, 48, seed=0).split(160, 40)
    truth = (test.instances > 0).long()
    stored = {
        (name, seed): cell_predictions(w0, seed, train, test)
        for name, w0 in (("without weights", 0), ("with weights", 10))
        for seed in seeds
    }
    for seed in seeds:
        pair = {name: stored[name, seed] for name in ("without weights", "with weights")}
        cells[seed] = ladder(pair, truth, 2)
        for name, masks in pair.items():
            cells[seed][name]["cells found"] = share_found(masks, test.instances)
    rows = [
        [name, seed, *(f"{value:.3f}" for value in row.values())]
        for seed, table in cells.items()
        for name, row in table.items()
    ]
    columns = list(cells[seeds[0]]["with weights"])
    plots.table(["U-Net", "seed", *columns], rows, title="40 test images of touching cells").show()

# %% role="experiment"
if cells:

    def spread(name, score):
        """Mean and half the range over the seeds."""
        values = [table[name][score] for table in cells.values()]
        return round(sum(values) / len(values), 3), round((max(values) - min(values)) / 2, 3)

    columns = ["pixel accuracy", "mean IoU", "boundary F", "cells found"]
    kinds = ("without weights", "with weights")
    plots.bars(
        columns,
        {name: [spread(name, score)[0] for score in columns] for name in kinds},
        {name: [spread(name, score)[1] for score in columns] for name in kinds},
        title=f"Border weights by four scores; {len(seeds)} seeds, half their range as error",
        ylabel="score",
        limits=(0, 1.15),
    ).show()
    found = [table["with weights"]["cells found"] - table["without weights"]["cells found"]
             for table in cells.values()]  # fmt: skip
    moved = [table["with weights"]["mean IoU"] - table["without weights"]["mean IoU"]
             for table in cells.values()]  # fmt: skip
    print(
        f"With weights {100 * min(found):.0f} to {100 * max(found):.0f} percent more of the cells"
    )
    print(f"are found; the mean IoU changes by {min(moved):+.3f} to {max(moved):+.3f}.")
    if steps >= 180 and len(seeds) >= 3:
        assert min(found) > 0.3, "the weights should pull the cells apart"
        assert min(moved) > -0.1 and max(moved) < 0.01, "the mean IoU should hardly notice"
        claim(
            14,
            "Border weights pull cells apart.",
            quantity="share of cells found, with border weights less without, same seed",
            paper="Ronneberger et al. 2015, §3: shown, no ablation printed",
            values=found,
            at_least=0.3,
        ).show()
        claim(
            14,
            "The mean IoU sees what they do.",
            quantity="mean IoU with border weights less without, same seed",
            paper="none",
            values=moved,
            at_least=0.01,
        ).show()

# %% [markdown]
# **What you should see.** By pixel accuracy and mean IoU the network *without* weights is the better
# one, by 0.01 to 0.05. It finds about one cell in five at most, because its cells hang together; the
# other finds three of four and more. (Over eight seeds: 42 to 78 percent more of all cells, at a mean
# IoU lower by 0.03 to 0.06.) Lab 8's gain is invisible to IoU, and boundary F does not see it either:
# the lines between cells are few. Count what you want to count.

# %% [markdown]
# ---
# ## Experiment 3: detectors too
#
# Average precision (Lab 4) has a knob of its own: the IoU from which a box counts as right. Two
# detectors: one finds every object, loosely; the other finds two of three, tightly.


# %% role="setup"
def two_detectors(seed):
    """Objects of 60 images, and the boxes of two detectors with known habits."""
    drawn = data.boxes(60, seed=seed)
    objects = [{"boxes": b, "labels": k} for b, k in zip(drawn.boxes, drawn.labels)]
    chance = torch.Generator().manual_seed(seed)
    habits = {"finds all, loosely": (1.0, 0.08), "finds two of three, tightly": (0.67, 0.02)}
    found = {name: [] for name in habits}
    for name, (share, blur) in habits.items():
        for truth in objects:
            kept = torch.rand(len(truth["boxes"]), generator=chance) < share
            box, label = truth["boxes"][kept], truth["labels"][kept]
            side = (box[:, 2:] - box[:, :2]).repeat(1, 2)
            box = box + blur * side * torch.randn(box.shape, generator=chance)
            score = torch.rand(len(box), generator=chance)
            found[name].append({"boxes": box, "labels": label, "scores": score})
    return objects, found


def stored_detections(least):
    """Objects and detections of the folder map_eval, once all, once the sure ones only."""
    root, names, objects, all_of_them = Path(os.environ["COURSE_DATA"]) / "map_eval", {}, [], []
    for path in sorted((root / "ground-truth").glob("*.txt")):
        lines = [line.split() for line in path.read_text().splitlines() if line]
        guesses = (root / "predicted" / path.name).read_text().splitlines()
        guesses = [line.split() for line in guesses if line]
        for rows, first, kept in ((lines, 1, objects), (guesses, 2, all_of_them)):
            box = torch.tensor([[float(v) for v in r[first : first + 4]] for r in rows])
            box = box.reshape(-1, 4) + torch.tensor([0.0, 0, 1, 1])  # inclusive to half-open
            label = torch.tensor([names.setdefault(r[0], len(names)) for r in rows]).long()
            kept.append({"boxes": box, "labels": label})
        all_of_them[-1]["scores"] = torch.tensor([float(r[1]) for r in guesses])
        objects[-1]["difficult"] = torch.tensor(["difficult" in r for r in lines]).bool()
    sure = [{key: v[d["scores"] >= least] for key, v in d.items()} for d in all_of_them]
    return objects, {"all detections": all_of_them, f"score {least} and more": sure}


# %% role="experiment"
judged = {}
for seed in seeds if detections == "synthetic" else [0]:
    objects, found = two_detectors(seed) if detections == "synthetic" else stored_detections(0.5)
    judged[seed] = {
        name: {
            f"AP at {least}": boxes.mean_average_precision(boxes_of, objects, iou=least).mean
            for least in (0.5, 0.6, 0.7, 0.8)
        }
        for name, boxes_of in found.items()
    }
first = judged[min(judged)]
plots.bars(
    list(next(iter(first.values()))),
    {name: [round(v, 3) for v in row.values()] for name, row in first.items()},
    title="Mean average precision of the same boxes, by the overlap that counts as right",
    ylabel="mAP",
    limits=(0, 1.1),
)

# %% role="experiment"
with attempt("14.5"):
    for seed, table in judged.items():
        best = {score: ranking(table, score)[0] for score in ("AP at 0.5", "AP at 0.8")}
        print(f"seed {seed}:", "; ".join(f"{score}: {name}" for score, name in best.items()))
        if detections == "synthetic":
            assert len(set(best.values())) == 2, "the winner should change with the threshold"

# %% [markdown]
# **What you should see.** At an overlap of 0.5 the loose detector wins, at 0.8 the tight one, in every
# run; somewhere between, they cross. A figure like "mAP 0.65" without its threshold says little.
# With `detections = "map_eval"` you score real detections: 494 boxes in 85 images, mAP 0.310 at 0.5.
#
# | | papers | here |
# |---|---|---|
# | rare classes | accuracy beside three other scores (Long et al. 2015, §5) | accuracy above 0.95 with IoU 0 |
# | Dice and IoU | $D = 2J/(1+J)$ | Dice above IoU at 99 of 99 values between 0 and 1 (14.3) |
# | choice of score | the usual ones have limits; look at contours too (Csurka et al. 2013, abstract) | three winners under four scores |
# | U-Net's weights | "separates touching cells", no ablation printed | cells found against mean IoU, above |

# %% [markdown]
# **The ladder.** Every architecture of the course, scored again by one code on the same lines, with
# its cost. You have built each of its bars.

# %% role="experiment"
course_ladder.picture(lab=14)

# %% role="experiment"
course_ladder.cost_picture()

# %% role="experiment"
course_ladder.score_table()

# %% [markdown]
# **Going on.** Point the environment variable `COURSE_DATA` at the folder that holds `map_eval` and
# set `detections = "map_eval"` in the parameter cell. Store the predictions of your own networks from
# earlier labs and hand them to `ladder`: the table is yours.
#
# **Reading.** Long et al. 2015, §5. Milletari et al. 2016, §3. Csurka, Larlus, Perronnin, *What is a
# good evaluation measure for semantic segmentation?*, BMVC 2013. Everingham et al. 2010,
# *The PASCAL Visual Object Classes Challenge*, §4.2. Maier-Hein, Reinke et al. 2024, *Metrics
# reloaded*, [arXiv:2206.01653](https://arxiv.org/abs/2206.01653), a guide through all the others.
