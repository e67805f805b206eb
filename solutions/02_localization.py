# %% [markdown]
# # Lab 2 · Classification and localization: one network, two heads
#
# [[exercises]]
#
# **You will be able to**
# - compare boxes, and change between their two forms without mixing them up;
# - train one network with two losses that do not get in each other's way;
# - count a localization as right or wrong as the ImageNet challenge did;
# - say why the average over a feature map knows *what* there is and not *where*.
#
# **Papers.** P. Sermanet et al., *OverFeat: Integrated Recognition, Localization and Detection using
# Convolutional Networks*, ICLR 2014, [arXiv:1312.6229](https://arxiv.org/abs/1312.6229): read §4.
# R. Girshick, *Fast R-CNN*, ICCV 2015, [arXiv:1504.08083](https://arxiv.org/abs/1504.08083): read §2.3
# for the two losses.
#
# **From before.** Boxes as `(x0, y0, x1, y1)` and non-maximum suppression (Lab 1), where `box_iou` was
# given: now you write it. Run every cell from top to bottom. A check cell never stops the notebook:
# it says what it expected, what came, and the usual cause.

# %% tags=["parameters"]
dataset = (
    "shapes"  # made on the spot; "pets" reads Oxford-IIIT Pet from COURSE_DATA: boxes of heads
)
device = "cpu"  # "cuda" where there is one
height = 24  # of the images that the network sees, pixels, a multiple of 8
width = 32  # the same
images = 600  # training images per seed (shapes only)
steps = 250  # training steps per run; 2000 and more for pets
maps = 32  # feature maps of the last layer
lam = 0.3  # weight of the box in the loss
seeds = [0, 1, 2]

# %% role="setup"
from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from course import boxes, data, ladder, plots, training
from course.checks import Exercise, attempt, build, gradients
from course.claims import claim
from course.models import localizer

# %% [markdown]
# ## The picture of this lab
#
# A label says what is in the image; now we also want to know where. The lecture's answer is short: take
# the network that classifies, and give it a second fully connected layer, which puts out four numbers
# instead of class scores: the centre, the width and the height of one box. Every image here shows one
# object or none.


# %% role="setup"
def shapes(n: int, seed: int) -> list[data.Sample]:
    """Images with one disc, square or triangle (classes 1 to 3), or with nothing (class 0)."""
    made = data.boxes(n, (height, width), seed=seed, count=(0, 1), radius=(4, 8))
    return [one_object(s["image"], s["boxes"], s["labels"]) for s in made]


CATS = (
    "Abyssinian Bengal Birman Bombay British Egyptian Maine Persian Ragdoll Russian Siamese Sphynx"
)


def pets() -> list[data.Sample]:
    """Cats (class 1) and dogs (class 2) with the box of their head."""
    reader, samples = data.Pets(split="trainval"), []
    for sample in reader:
        h, w = sample["image"].shape[1:]
        small = F.interpolate(
            sample["image"][None], (height, width), mode="bilinear", antialias=True
        )[0]
        shrink = torch.tensor([width / w, height / h]).repeat(2)
        label = 1 if reader.breeds[int(sample["breed"])].split()[0] in CATS else 2
        samples.append(one_object(small, sample["boxes"] * shrink, sample["labels"] * label))
    return samples


def one_object(image: Tensor, found: Tensor, labels: Tensor) -> data.Sample:
    """A sample with one label and one box, in pixels; a box of nan where there is no object."""
    present = len(found) > 0
    return {
        "image": image,
        "label": labels[0] if present else torch.tensor(0),
        "box": found[0] if present else torch.full((4,), float("nan")),
        "has_object": torch.tensor(present),
    }


@cache
def sets(seed: int) -> tuple[list[data.Sample], list[data.Sample]]:
    """Training and test images of one seed; a fourth of the pets are test images."""
    if dataset == "shapes":
        return shapes(images, 1000 + seed), shapes(200, 2000 + seed)
    samples = pets()
    order = torch.randperm(len(samples), generator=torch.Generator().manual_seed(seed)).tolist()
    cut = len(samples) // 4
    return [samples[i] for i in order[cut:]], [samples[i] for i in order[:cut]]


names = (
    ("nothing", "cat", "dog") if dataset == "pets" else ("nothing", "disc", "square", "triangle")
)
few = [s for s in sets(0)[0] if s["has_object"]][:3]
example = few[0]
plots.show_boxes(
    example["image"],
    example["box"][None],
    labels=example["label"][None],
    class_names=names,
    title="What is it, and where?",
)

# %% [markdown]
# ## See it move
#
# The lecture's moving picture of this lab: predict, then drag. `uv run course lectures open 2` opens the
# slides, `uv run course demos` all demos.

# %% role="experiment"
from course import demos

demos.show("iou")

# %% [markdown]
# ---
# ## 2.1 How well do two boxes agree?

# %% [markdown] exercise="2.1" role="idea"
# A box is never exactly right: *how* right is it? Intersection over union divides the area that two
# boxes share by the area that they cover together:
#
# $$\operatorname{IoU}(a,b) = \frac{|a \cap b|}{|a| + |b| - |a \cap b|} .$$
#
# It is 1 for equal boxes, 0 for boxes that do not meet, and does not change when the image is resized.
# Boxes are half-open, so the width is $x_1 - x_0$ without any + 1. The shared part is again a box: it
# starts at the larger of the two starts and ends at the smaller of the two ends. If it would end before
# it starts, there is none. [Everingham et al. 2010, §4.2]

# %% exercise="2.1" role="look"
square = torch.tensor([[4.0, 4, 20, 20]])
shifts = range(17)
plots.curves(
    {
        "one axis": [
            float(boxes.box_iou(square, square + torch.tensor([s, 0, s, 0]))) for s in shifts
        ],
        "both axes": [float(boxes.box_iou(square, square + s)) for s in shifts],
    },
    title="IoU of a box of 16 × 16 pixels with itself, moved",
    xlabel="shift, pixels",
    ylabel="IoU",
)

# %% [markdown] exercise="2.1" role="contract" title="Intersection over union" minutes=20
# - `a`: `(N, 4)`, `b`: `(M, 4)` float corners `(x0, y0, x1, y1)` → `(N, M)`, every box with every box.
# - Boxes that do not meet, or only touch, give 0; so does every pair with an empty box (no `nan`).
# - Gradients flow to both arguments and are finite everywhere.
# - Forbidden: `course.boxes` with its `box_iou`, and `torchvision.ops`.

# %% [markdown] exercise="2.1" role="hints"
# 1. Draw two boxes that overlap and write down the four coordinates of the shared part.
# 2. `a[:, None]` is `(N, 1, 4)` and meets `b` `(M, 4)` as `(N, M, 4)`. What must happen to a negative
#    width before widths and heights are multiplied? What to a union of 0 before you divide?
# 3. `low = torch.maximum(a[:, None, :2], b[:, :2])`


# %% exercise="2.1" role="gap"
def box_iou(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (N, M) of boxes (N, 4) and (M, 4), corners, half-open.

    Worked number: (0, 0, 4, 2) and (2, 0, 6, 2) share 4 of 12 pixels: 1/3.
    """
    ### BEGIN SOLUTION
    low = torch.maximum(a[:, None, :2], b[:, :2])  # (N, M, 2)
    high = torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    area_a = (a[:, 2:] - a[:, :2]).clamp(min=0).prod(dim=1)
    area_b = (b[:, 2:] - b[:, :2]).clamp(min=0).prod(dim=1)
    union = area_a[:, None] + area_b - shared
    return shared / torch.where(union > 0, union, 1.0)
    ### END SOLUTION


# %% exercise="2.1" role="check"
check = Exercise("2.1", points=16, forbid=["course.boxes", "torchvision.ops"])

a = torch.tensor([[0.0, 0, 4, 2], [1, 1, 3, 5]])
b = torch.tensor([[2.0, 0, 6, 2], [5, 6, 7, 9], [0, 0, 4, 2]])
with check("two boxes with three", points=2):
    check.equal(
        box_iou(a, b),
        torch.tensor([[0.3333, 0, 1], [0.0667, 0, 0.1429]]),
        tolerance=1e-3,
        mistakes={
            "Two negative sides make a positive area: clamp at 0 first.": torch.tensor(
                [[0.3333, 0.4, 1], [0.0667, 0.1667, 0.1429]]
            ),
            "No + 1: boxes are half-open.": torch.tensor([[0.4286, 0, 1], [0.1538, 0, 0.25]]),
            "The union counts the shared part once: subtract it.": torch.tensor(
                [[0.25, 0, 0.5], [0.0625, 0, 0.125]]
            ),
            "Divide by the union, not by the smaller box.": torch.tensor(
                [[0.5, 0, 1], [0.125, 0, 0.25]]
            ),
            "That is the shared area: divide it by the union.": torch.tensor(
                [[4.0, 0, 8], [1, 0, 2]]
            ),
            "Rows are the boxes of `a`, columns those of `b`.": torch.tensor(
                [[0.3333, 0.0667], [0, 0], [1, 0.1429]]
            ),
        },
    )
with check(
    "an empty box agrees with nothing, itself included",
    points=1,
    hint="0 / 0 is nan: give the union another value where it is 0.",
):
    point = torch.tensor([[3.0, 3, 3, 3], [1, 1, 2, 4]])
    check.equal(box_iou(point, point), torch.tensor([[0.0, 0], [0, 1]]))
with check(
    "finite gradients for boxes that do not meet",
    points=1,
    hint="Set the union to another value before dividing, not the result after it.",
):
    for part in gradients(box_iou, point, point + torch.tensor([9.0, 0, 9, 0]), wrt=(0, 1)):
        check.true(bool(part.isfinite().all()), "")
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(21)


def random_boxes(n, h=30.0, w=50.0):
    low = torch.rand(n, 2, generator=generator) * torch.tensor([w, h])
    return torch.cat([low, low + 1 + 20 * torch.rand(n, 2, generator=generator)], dim=1)


with check.hidden("crowds against the library", points=4):
    for n, m in ((7, 12), (30, 5), (1, 9)):
        first, second = random_boxes(n), random_boxes(m)
        check.equal(box_iou(first, second), boxes.box_iou(first, second))
with check.hidden("nested, touching, inside out", points=2):
    one = torch.tensor([[0.0, 0, 8, 4]])
    others = torch.tensor(
        [[2.0, 1, 4, 3], [8, 0, 12, 4], [0, 4, 8, 9], [6, 3, 2, 1], [-9, -9, -1, -1]]
    )
    check.equal(box_iou(one, others), torch.tensor([[0.125, 0, 0, 0, 0]]))
with check.hidden("no boxes", points=1):
    check.equal(box_iou(torch.zeros(0, 4), random_boxes(3)), torch.zeros(0, 3))
    check.equal(box_iou(random_boxes(2), torch.zeros(0, 4)), torch.zeros(2, 0))
with check.hidden("gradients against the library", points=3):
    first, second = random_boxes(4), random_boxes(6)
    ours = [first.clone().requires_grad_(True), second.clone().requires_grad_(True)]
    want = torch.autograd.grad(boxes.box_iou(*ours).sum(), ours)
    check.equal(gradients(box_iou, first, second, wrt=(0, 1)), list(want), tolerance=1e-4)
with check.hidden("resizing the image changes nothing", points=1):
    first, second = random_boxes(5), random_boxes(5)
    wide = torch.tensor([3.0, 0.5, 3.0, 0.5])
    check.equal(box_iou(first * wide, second * wide), box_iou(first, second), tolerance=1e-4)
with check.hidden("boxes are left alone", points=1):
    check.unchanged(box_iou, random_boxes(3), random_boxes(4))
### END HIDDEN TESTS
check.score()

# %% exercise="2.1" role="picture"
left, top = torch.meshgrid(torch.arange(-6.0, 35), torch.arange(-8.0, 25), indexing="xy")
corner = torch.stack([left, top], dim=-1).flatten(0, 1)  # of every place, row by row
places = torch.cat([corner, corner + torch.tensor([16.0, 12])], dim=1)
plots.compare(
    yours=lambda: box_iou(torch.tensor([[14.0, 8, 30, 20]]), places).reshape(left.shape),
    expected=boxes.box_iou(torch.tensor([[14.0, 8, 30, 20]]), places).reshape(left.shape),
    exercise="2.1",
    title="IoU of a box of 16 × 12 pixels with its copy, for every place of the copy",
)

# %% [markdown] exercise="2.1" role="see"
# A peak of 1 where the copy lies on the box, in row 16 and column 20, and slopes down to 0 on the flat plain
# around it. On the plain the gradient is 0: a box that does not meet its target is told nothing by IoU.

# %% [markdown] exercise="2.1" role="think"
# **Think.** A box of 16 × 16 is predicted one pixel too far right and one too low. Is its IoU nearer to
# 0.9 or to 0.8? And for a box of 4 × 4?
#
# ### BEGIN SOLUTION
# 15 · 15 / (2 · 256 − 225) = 225 / 287 = 0.78, nearer to 0.8 although it looks almost perfect. For 4 × 4:
# 9 / (32 − 9) = 0.39, a miss at the usual threshold of 0.5. The same error in pixels weighs more for
# small objects.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 2.2 Two ways to write a box

# %% [markdown] exercise="2.2" role="idea"
# Corners are good for areas; a network finds it easier to say *where the middle is* and *how large the
# thing is*, since these can be right or wrong one by one. The lecture's second head puts out the centre
# $(c_x, c_y)$ with width and height:
#
# $$c_x = \tfrac12 (x_0 + x_1), \quad w = x_1 - x_0, \qquad x_0 = c_x - \tfrac12 w, \quad x_1 = c_x + \tfrac12 w,$$
#
# and the same for y. Nothing in four numbers says which form they are in, and a wrong conversion there
# and back gives the box you started with: two errors that cancel. So look at values, not at round
# trips. [Redmon et al. 2016, §2; Girshick 2015, §2.3]

# %% exercise="2.2" role="look"
plots.table(
    ["form", "first", "second", "third", "fourth"],
    [
        ["corners, as in this course", "x0 = 10", "y0 = 20", "x1 = 30", "y1 = 60"],
        ["centre, as in YOLO", "cx = 20", "cy = 40", "w = 20", "h = 40"],
        ["corner and size, as in COCO", "x0 = 10", "y0 = 20", "w = 20", "h = 40"],
    ],
    title="One box in three forms",
)

# %% [markdown] exercise="2.2" role="contract" title="Corners and centres" minutes=10
# - `to_cxcywh`: `(..., 4)` corners `(x0, y0, x1, y1)` → `(cx, cy, w, h)` of the same shape.
# - `to_xyxy`: the way back. Results have the dtype of the argument.
# - Any number of leading axes; arguments stay as they are; gradients flow.
# - Forbidden: `torchvision.ops`, `course.boxes`.

# %% [markdown] exercise="2.2" role="hints"
# 1. Take a box of 4 × 8 pixels with its corner at (1, 2) and do both ways on paper.
# 2. Work on pairs: `boxes[..., :2]` and `boxes[..., 2:]` are both x and y at once.
# 3. `low, high = corners[..., :2], corners[..., 2:]`


# %% exercise="2.2" role="gap"
def to_cxcywh(corners: Tensor) -> Tensor:
    """Corners (..., 4) to centre and size. Worked number: 10 20 30 60 becomes 20 40 20 40."""
    ### BEGIN SOLUTION
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)
    ### END SOLUTION


def to_xyxy(centres: Tensor) -> Tensor:
    """Centre and size (..., 4) to corners. Worked number: 20 40 20 40 becomes 10 20 30 60."""
    ### BEGIN SOLUTION
    middle, size = centres[..., :2], centres[..., 2:]
    return torch.cat([middle - size / 2, middle + size / 2], dim=-1)
    ### END SOLUTION


# %% exercise="2.2" role="check"
check = Exercise("2.2", points=10, forbid=["course.boxes", "torchvision.ops"])

with check("from corners to the centre", points=1):
    check.equal(
        to_cxcywh(torch.tensor([[1.0, 2, 5, 10], [0, 3, 7, 4]])),
        torch.tensor([[3, 6, 4, 8], [3.5, 3.5, 7, 1]]),
        mistakes={
            "Third and fourth are width and height, not the far corner.": torch.tensor(
                [[3, 6, 5, 10], [3.5, 3.5, 7, 4]]
            ),
            "First and second are the centre, not the corner.": torch.tensor(
                [[1.0, 2, 4, 8], [0, 3, 7, 1]]
            ),
            "Width and height are whole, not half.": torch.tensor(
                [[3, 6, 2, 4], [3.5, 3.5, 3.5, 0.5]]
            ),
            "Half the width is not the centre: add x0.": torch.tensor(
                [[2, 4, 4, 8], [3.5, 0.5, 7, 1]]
            ),
            "x comes before y.": torch.tensor([[6, 3, 8, 4], [3.5, 3.5, 1, 7]]),
        },
    )
with check("from the centre to corners", points=1):
    check.equal(
        to_xyxy(torch.tensor([[3.0, 6, 4, 8], [3.5, 3.5, 7, 1]])),
        torch.tensor([[1.0, 2, 5, 10], [0, 3, 7, 4]]),
        mistakes={
            "Go half the size to each side of the centre, not the whole.": torch.tensor(
                [[-1.0, -2, 7, 14], [-3.5, 2.5, 10.5, 4.5]]
            ),
            "The first two are the centre, not the corner.": torch.tensor(
                [[3.0, 6, 7, 14], [3.5, 3.5, 10.5, 4.5]]
            ),
            "The far corner is missing its half size.": torch.tensor(
                [[1.0, 2, 3, 6], [0, 3, 3.5, 3.5]]
            ),
            "x comes before y.": torch.tensor([[2.0, 1, 10, 5], [3, 0, 4, 7]]),
            "The third and fourth are still width and height.": torch.tensor(
                [[1.0, 2, 4, 8], [0, 3, 7, 1]]
            ),
        },
    )
with check(
    "one box without a batch", points=1, hint="Index the last axis, `[..., :2]`, not the second."
):
    check.equal(to_cxcywh(torch.tensor([1.0, 2, 5, 10])), torch.tensor([3.0, 6, 4, 8]))
    check.equal(to_xyxy(torch.tensor([3.0, 6, 4, 8])), torch.tensor([1.0, 2, 5, 10]))
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(22)
with check.hidden("values against the library", points=3):
    for shape in ((9, 4), (2, 5, 4), (0, 4)):
        given = 40 * torch.rand(*shape, generator=generator)
        check.equal(to_cxcywh(given.clone()), boxes.to_cxcywh(given))
        check.equal(to_xyxy(given.clone()), boxes.to_xyxy(given))
with check.hidden("relative boxes, and there and back", points=1):
    given = torch.rand(6, 4, generator=generator).double()
    check.equal(to_xyxy(to_cxcywh(given.clone())), given, dtype=True)
with check.hidden("gradients", points=2):
    given = torch.rand(3, 4, generator=generator)
    check.equal(gradients(to_cxcywh, given)[0], torch.tensor([-0.5, -0.5, 1.5, 1.5]).expand(3, 4))
    check.equal(gradients(to_xyxy, given)[0], torch.tensor([2.0, 2, 0, 0]).expand(3, 4))
with check.hidden("boxes are left alone", points=1):
    check.unchanged(to_cxcywh, torch.rand(4, 4))
    check.unchanged(to_xyxy, torch.rand(4, 4))
### END HIDDEN TESTS
check.score()

# %% exercise="2.2" role="picture"
many = torch.stack([s["box"] for s in few])
plots.compare_values(
    yours=lambda: to_cxcywh(many).flatten(),
    expected=boxes.to_cxcywh(many).flatten(),
    exercise="2.2",
    title="Three boxes of the data in centre form, one after the other",
    xlabel="number in the list: cx, cy, w, h, cx, …",
    ylabel="pixels",
)

# %% [markdown] exercise="2.2" role="see"
# Three groups of four numbers, all between 12 and 23: the centre is near the middle of an image of 32 × 24
# pixels, the sizes are around 14. The curves lie on each other.

# %% [markdown] exercise="2.2" role="think"
# **Think.** A colleague's tests check only that `to_xyxy(to_cxcywh(b))` is `b`. Write a wrong pair of
# functions that passes them.
#
# ### BEGIN SOLUTION
# Two functions that return their argument. Less blunt: the first gives (x0, y0, w, h), the second adds
# w and h to x0 and y0. Both are wrong and undo each other.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 2.3 A distance for boxes

# %% [markdown] exercise="2.3" role="idea"
# For the four numbers the lecture names two losses. L2, $\tfrac12 d^2$, is smooth, but one box that is far
# off outweighs a hundred that are nearly right. L1, $|d|$, bears that, but its slope jumps at 0, so that
# training never comes to rest. *Smooth L1* takes L2 near 0 and L1 far away, joined at $|d| = \beta$
# without step or kink:
#
# $$\ell(d) = \begin{cases} d^2 / (2\beta) & |d| < \beta \\ |d| - \beta/2 & \text{otherwise.}\end{cases}$$
#
# With $\beta = 0$ it is L1. Relative boxes have errors below 1, so $\beta$ must be small, or all that is
# left is L2. [Girshick 2015, §2.3, equation 3, with β = 1]

# %% exercise="2.3" role="look"
line = torch.arange(-20, 21) / 20
plots.curves(
    {
        "L1": (line, line.abs()),
        "L2": (line, line**2 / 2),
        "smooth L1, beta = 0.4": (
            line,
            F.smooth_l1_loss(line, 0 * line, beta=0.4, reduction="none"),
        ),
    },
    title="Three distances",
    xlabel="error d, in units of the image size",
    ylabel="loss",
)

# %% [markdown] exercise="2.3" role="contract" title="Smooth L1" minutes=15
# - `pred`, `target`: tensors of the same shape; `beta`: at least 0.
# - Result: the loss of every entry, same shape, neither averaged nor summed.
# - `beta = 0` gives L1, and every gradient is finite there too, also at d = 0.
# - Forbidden: torch's `smooth_l1_loss` and `huber_loss`, `SmoothL1Loss` and `HuberLoss`.

# %% [markdown] exercise="2.3" role="hints"
# 1. Put d = β into both branches: do they meet? What are the slopes there?
# 2. `torch.where` computes both branches everywhere, so with `beta = 0` one of them divides by zero, and
#    its gradient spoils the other. Treat that case before.
# 3. `distance = (pred - target).abs()`


# %% exercise="2.3" role="gap"
def smooth_l1(pred: Tensor, target: Tensor, beta: float = 0.1) -> Tensor:
    """Smooth L1 of every entry, any shape.

    Worked number: beta = 0.5 and d = 0.25 give 0.0625; d = -1 gives 0.75.
    """
    ### BEGIN SOLUTION
    distance = (pred - target).abs()
    if beta == 0:
        return distance
    return torch.where(distance < beta, distance**2 / (2 * beta), distance - beta / 2)
    ### END SOLUTION


# %% exercise="2.3" role="check"
check = Exercise(
    "2.3",
    points=12,
    forbid=[
        "torch.nn.functional.smooth_l1_loss",
        "torch.nn.functional.huber_loss",
        "torch.nn.SmoothL1Loss",
        "torch.nn.HuberLoss",
    ],
)

target = torch.tensor([1.0, 1.0, 1.0, 1.0, 1.0])
pred = target + torch.tensor([0.0, 0.25, -0.5, 1.0, -2.0])
with check("values for beta = 0.5", points=2):
    check.equal(
        smooth_l1(pred, target, 0.5),
        torch.tensor([0.0, 0.0625, 0.25, 0.75, 1.75]),
        mistakes={
            "The branches do not meet at beta: the outer one is |d| - beta / 2.": torch.tensor(
                [0.0, 0.0625, 0.5, 1, 2]
            ),
            "Divide the square by beta: d**2 / (2 * beta).": torch.tensor(
                [0.0, 0.03125, 0.25, 0.75, 1.75]
            ),
            "That is the Huber loss, beta times smaller.": torch.tensor(
                [0.0, 0.03125, 0.125, 0.375, 0.875]
            ),
            "Take |d| before you compare with beta: -2 is far away.": torch.tensor(
                [0.0, 0.0625, 0.25, 0.75, 4.0]
            ),
            "Inside and outside are exchanged: the square belongs to small errors.": torch.tensor(
                [-0.25, 0.0, 0.25, 1, 4]
            ),
            "One number came back: return the loss of every entry.": torch.tensor(0.5625),
            "The 2 is missing: d**2 / (2 * beta).": torch.tensor([0.0, 0.125, 0.25, 0.75, 1.75]),
        },
    )
with check("slopes on both sides of beta", points=1):
    error = torch.tensor([0.0, 0.25, -0.45, 0.55, -2.0])
    check.equal(
        gradients(smooth_l1, error, torch.zeros(5), 0.5)[0],
        torch.tensor([0.0, 0.5, -0.9, 1, -1]),
        mistakes={
            "The slope jumps at beta: inside it is d / beta.": torch.tensor(
                [0.0, 0.25, -0.45, 1, -1]
            ),
        },
    )
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(23)
with check.hidden("random tensors against torch", points=3):
    for shape, beta in (((40,), 1.0), ((5, 4), 0.1), ((2, 3, 4), 2.5)):
        p, t = (2 * torch.randn(*shape, generator=generator) for _ in range(2))
        check.equal(smooth_l1(p, t, beta), F.smooth_l1_loss(p, t, beta=beta, reduction="none"))
with check.hidden("gradients against torch, both arguments", points=2):
    p, t = (torch.randn(30, generator=generator) for _ in range(2))
    q, s = p.clone().requires_grad_(True), t.clone().requires_grad_(True)
    want = torch.autograd.grad(F.smooth_l1_loss(q, s, beta=0.3, reduction="sum"), (q, s))
    check.equal(gradients(smooth_l1, p, t, 0.3, wrt=(0, 1)), list(want))
with check.hidden("no step and no kink at beta", points=1):
    for beta in (0.25, 2.0):
        near = torch.tensor([beta - 1e-3, beta + 1e-3])
        values = smooth_l1(near, torch.zeros(2), beta)
        check.equal(float(values[1] - values[0]), 2e-3, tolerance=2e-5)
with check.hidden("beta = 0 is L1, with finite slopes", points=2):
    d = torch.tensor([0.0, 0.5, -3.0])
    check.equal(smooth_l1(d, torch.zeros(3), 0.0), d.abs())
    slope = gradients(smooth_l1, d, torch.zeros(3), 0.0)[0]
    check.true(bool(slope.isfinite().all()), "A gradient is not finite.")
    check.equal(slope[1:], torch.tensor([1.0, -1.0]))
with check.hidden("arguments are left alone", points=1):
    check.unchanged(smooth_l1, torch.randn(6), torch.randn(6), 0.5)
### END HIDDEN TESTS
check.score()

# %% exercise="2.3" role="picture"
plots.compare_values(
    yours=lambda: gradients(smooth_l1, line, 0 * line, 0.4)[0],
    expected=(line / 0.4).clamp(-1, 1),
    exercise="2.3",
    title="Slope of smooth L1 with beta = 0.4, for d from -1 to 1",
    xlabel="number of the point; d = 0 in the middle",
    ylabel="slope",
)

# %% [markdown] exercise="2.3" role="see"
# A ramp from −1 to 1 between d = −0.4 and d = 0.4, flat outside: far errors pull with a force that does
# not grow, small ones with one that fades.

# %% [markdown] exercise="2.3" role="think"
# **Think.** Why does training with pure L1 tremble around the best value?
#
# ### BEGIN SOLUTION
# The slope is +1 or −1 however small the error is, so every step has the full length, and the
# parameters jump over the best value and back until the learning rate falls.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 2.4 Two heads on one map

# %% [markdown] exercise="2.4" role="idea"
# The trunk of the network, all layers up to the last map, is shared: what helps to recognise a cat also
# helps to find it. Two linear layers follow. The *class head* reads the average of every feature map,
# because a cat is a cat wherever it sits. The *box head* reads the map as a whole, flattened, since a
# number's place in that list says where it was seen:
#
# $$\text{scores} = W_c\,\bar f + b_c, \qquad \text{box} = W_b \operatorname{vec}(f) + b_b, \qquad
# \bar f = \tfrac{1}{hw}\textstyle\sum_{ij} f_{ij} .$$
#
# What the box head loses if it reads $\bar f$ too, you will measure.
# [Sermanet et al. 2014, §4.1 and §4.2]

# %% exercise="2.4" role="look"
spot = torch.zeros(3, 4, 6)
spot[0, 1, 1] = spot[1, 2, 4] = spot[2, 1:3, 3:5] = 1
plots.show_images(
    list(spot),
    [f"average {m:.3f}" for m in spot.mean((1, 2)).tolist()],
    title="Three maps of 4 × 6 cells: the averages of the first two are equal, their places are not",
)

# %% [markdown] exercise="2.4" role="contract" title="Two heads" minutes=20
# - `TwoHeads(channels, hw, classes, pooled)`: maps `(B, C, h, w)` → scores `(B, classes)` and boxes `(B, 4)`.
# - `class_head` and `box_head` are one `nn.Linear` each. The class head reads the averages over h × w.
# - The box head reads the map flattened, or, with `pooled=True`, the averages as well.
# - No activation at the end: scores are logits, boxes any numbers.

# %% [markdown] exercise="2.4" role="hints"
# 1. How many numbers does each head read? For the box head it depends on `pooled`.
# 2. `mean(dim=(2, 3))` gives the averages, `flatten(1)` the list; C · h · w numbers for the latter.
# 3. In `__init__`: `h, w = hw`; in `forward`: `average = features.mean(dim=(2, 3))`


# %% exercise="2.4" role="gap"
class TwoHeads(nn.Module):
    """Scores and a box from the last map (B, C, h, w) of a network.

    Worked number: TwoHeads(32, (4, 6), 4): class head 132, box head 3076 parameters.
    """

    def __init__(
        self, channels: int, hw: tuple[int, int], classes: int, pooled: bool = False
    ) -> None:
        super().__init__()
        self.pooled = pooled
        ### BEGIN SOLUTION
        cells = 1 if pooled else hw[0] * hw[1]
        self.class_head = nn.Linear(channels, classes)
        self.box_head = nn.Linear(channels * cells, 4)
        ### END SOLUTION

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        ### BEGIN SOLUTION
        average = features.mean(dim=(2, 3))  # (B, C): what, wherever it is
        where = average if self.pooled else features.flatten(1)  # (B, C h w)
        return self.class_head(average), self.box_head(where)
        ### END SOLUTION


# %% exercise="2.4" role="check"
check = Exercise("2.4", points=14, forbid=["course.models"])

with check("the lecture's two layers on 4096 features", points=1):
    found = {k: list(v) for k, v in build(TwoHeads, 4096, (1, 1), 1000).shapes().items()}
    check.equal(
        found,
        {
            "class_head.weight": [1000, 4096],
            "class_head.bias": [1000],
            "box_head.weight": [4, 4096],
            "box_head.bias": [4],
        },
    )
with check("sizes of the heads on a map of 3 × 5 cells", points=1):
    for pooled, reads in ((False, 30), (True, 2)):
        found = build(TwoHeads, 2, (3, 5), 7, pooled).shapes()
        check.equal(
            (list(found["class_head.weight"]), list(found["box_head.weight"])),
            ([7, 2], [4, reads]),
            mistakes={
                "The class head reads averages: one number per feature map.": ([7, 30], [4, reads]),
                "Without `pooled` the box head reads all cells: C · h · w numbers.": (
                    [7, 2],
                    [4, 2],
                ),
                "With `pooled` the box head reads averages, C numbers.": ([7, 2], [4, 30]),
            },
        )
with check("what depends on the place, and what does not", points=1):
    maps_ = torch.zeros(2, 2, 3, 5)
    maps_[0, 0, 0, 1] = maps_[1, 0, 2, 4] = 15.0
    net = build(TwoHeads, 2, (3, 5), 3)
    net.fill(seed=4)
    scores, found = net(maps_)
    check.true(
        bool(torch.allclose(scores[0], scores[1], atol=1e-5)),
        "The same feature in another cell changes the class: average before the class head.",
    )
    check.true(
        not torch.allclose(found[0], found[1], atol=1e-5),
        "The box does not notice that the feature moved: flatten, do not average.",
    )
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(24)
with check.hidden("values against the functional form", points=5):
    for c, h, w, k, pooled in ((5, 3, 4, 6, False), (5, 3, 4, 6, True), (2, 1, 7, 3, False)):
        net = build(TwoHeads, c, (h, w), k, pooled)
        net.fill(seed=c + k)
        s = net.state()
        f = torch.randn(4, c, h, w, generator=generator)
        average = f.sum((2, 3)) / (h * w)
        source = average if pooled else f.reshape(4, -1)
        scores, found = net(f)
        check.equal(scores, average @ s["class_head.weight"].T + s["class_head.bias"])
        check.equal(found, source @ s["box_head.weight"].T + s["box_head.bias"])
with check.hidden("logits, not probabilities; boxes of any sign", points=2):
    net = build(TwoHeads, 3, (2, 4), 5)
    net.fill(seed=8)
    scores, found = net(30 * torch.randn(6, 3, 2, 4, generator=generator))
    check.true(bool((scores < 0).any()) and bool((scores > 1).any()), "The scores are squashed.")
    check.true(bool((found < 0).any()) and bool((found > 1).any()), "The boxes are squashed.")
with check.hidden("pooled: no cell can be told from another", points=2):
    net = build(TwoHeads, 4, (3, 5), 3, True)
    net.fill(seed=5)
    f = torch.randn(2, 4, 3, 5, generator=generator)
    order = torch.randperm(15, generator=generator)
    mixed = f.flatten(2)[..., order].reshape(f.shape)
    check.equal(list(net(mixed)), list(net(f)))
with check.hidden("parameters of the published size", points=2):
    net = build(TwoHeads, 512, (7, 7), 20)
    check.equal(net.parameter_count(), 512 * 20 + 20 + 512 * 49 * 4 + 4)
    check.equal(build(TwoHeads, 4096, (1, 1), 1000).parameter_count(), 4_097_000 + 16_388)
### END HIDDEN TESTS
check.score()

# %% exercise="2.4" role="picture"
plots.compare_values(
    yours=lambda: [build(TwoHeads, 32, (n, n), 20).parameter_count() for n in range(1, 15)],
    expected=[32 * 20 + 20 + 32 * n * n * 4 + 4 for n in range(1, 15)],
    exercise="2.4",
    title="Parameters of both heads for 32 maps of 1 × 1 to 14 × 14 cells, 20 classes",
    xlabel="side of the map − 1, cells",
    ylabel="parameters",
)

# %% [markdown] exercise="2.4" role="see"
# From 792 to 25,752 parameters: the box head grows with the number of cells, the class head does not.
# A box head on averages would stay at 132.

# %% [markdown] exercise="2.4" role="think"
# **Think.** AlexNet and VGG flatten their last map before the class head too. What does that allow, and
# what does it cost?
#
# ### BEGIN SOLUTION
# The class may depend on the place (sky is above), and most of the network's parameters sit there:
# 103 of 138 million in VGG16's first fully connected layer alone. And the image must have one fixed size.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 2.5 Two losses in one

# %% [markdown] exercise="2.5" role="idea"
# Both heads are trained at once, with the sum of the lecture's two losses: cross-entropy for the class,
# a distance for the box.
#
# $$L = \frac1B \sum_{i} \operatorname{CE}(s_i, y_i) \;+\; \frac{\lambda}{P} \sum_{i:\,\text{object}} \sum_{j=1}^{4}
# \ell\big(b_{ij} - t_{ij}\big),$$
#
# where $P$ counts the images that show an object. An image without one has no box to be wrong about, so it
# must not enter the second sum, and not its denominator either, or the box would learn more slowly in a
# batch with many empty images. $\lambda$ weighs the tasks. [Girshick 2015, §2.3, equation 1]

# %% exercise="2.5" role="look"
plots.bars(
    ["relative, smooth L1", "relative, L2", "pixels, L2"],
    [0.2 * 2 - 0.05 * 2, 2 * 0.2**2 / 2, 2 * (0.2 * 500) ** 2 / 2],
    title="Loss of a box that is off by a fifth of a 500-pixel image in x and y",
    ylabel="loss of the box",
    xlabel="units and distance; for comparison, a class among 20 costs ln 20 = 3.0",
)

# %% [markdown] exercise="2.5" role="contract" title="The multitask loss" minutes=25
# - `logits` `(B, K)`, `labels` `(B,)` int64; `found`, `truth` `(B, 4)` in the same form and units; `has_object`
#   `(B,)` bool.
# - Result: one number. Cross-entropy is the mean over **all** images (`F.cross_entropy` is allowed); the
#   box term sums your `smooth_l1` over 4 coordinates and is the mean over images **with** an object.
# - Rows of `truth` without an object may hold anything, even `nan`. No object at all: the box term is 0.

# %% [markdown] exercise="2.5" role="hints"
# 1. Which rows take part in which of the two sums? Two different denominators follow.
# 2. `nan * 0` is `nan`, so a mask that multiplies is too late: choose the rows first. The mean of no
#    rows is `nan` too.
# 3. `boxes_off = smooth_l1(found[has_object], truth[has_object], beta).sum()`


# %% exercise="2.5" role="gap"
def multitask_loss(
    logits: Tensor,
    found: Tensor,
    labels: Tensor,
    truth: Tensor,
    has_object: Tensor,
    lam: float = 1.0,
    beta: float = 0.1,
) -> Tensor:
    """Cross-entropy of all images plus `lam` times the box distance of those with an object.

    Worked number: equal logits for 2 classes cost ln 2; a box off by 0.5 in two coordinates costs
    2 · (0.5 - 0.05) = 0.9: together 1.593.
    """
    ### BEGIN SOLUTION
    distance = smooth_l1(found[has_object], truth[has_object], beta).sum()
    objects = has_object.sum().clamp(min=1)
    return F.cross_entropy(logits, labels) + lam * distance / objects
    ### END SOLUTION


# %% exercise="2.5" role="check"
check = Exercise("2.5", points=16, forbid=["course.models"])

logits = torch.tensor([[0.0, 0], [0, 0], [0, 0]])
found = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.5, 0.5], [0.9, 0.9, 0.9, 0.9]])
truth = torch.tensor([[0.5, 0.5, 0.0, 1.0], [0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1]])
labels, present = torch.tensor([1, 1, 0]), torch.tensor([True, True, False])
with check("the lecture's two losses: three images, two with an object", points=2):
    check.equal(
        multitask_loss(logits, found, labels, truth, present),
        0.6931 + 0.55,
        tolerance=1e-3,
        mistakes={
            "The image without an object has no box: leave its row out.": 0.6931
            + (0.9 + 0.2 + 3) / 2,
            "Background takes part in the box term: choose the rows first.": 0.6931
            + (0.9 + 0.2 + 3) / 3,
            "Divide the box term by the images with an object, not by all.": 0.6931 + 1.1 / 3,
            "Sum over the four coordinates; do not average them.": 0.6931 + 0.55 / 4,
            "Average over the images with an object: that is the sum.": 0.6931 + 1.1,
            "Every image has a class: the mean of the cross-entropy is over all of them.": 1.3863
            + 0.55,
            "The cross-entropy is a mean, not a sum.": 3 * 0.6931 + 0.55,
            "The cross-entropy is missing.": 0.55,
            "The box term is missing.": 0.6931,
        },
    )
with check(
    "rows without an object may hold nan",
    points=1,
    hint="0 times nan is nan: index with the mask instead of multiplying by it.",
):
    unknown = torch.where(present[:, None], truth, float("nan"))
    check.equal(
        multitask_loss(logits, found, labels, unknown, present), 0.6931 + 0.55, tolerance=1e-3
    )
with check(
    "a batch without any object", points=1, hint="The mean of nothing is nan; here it is 0."
):
    check.equal(
        multitask_loss(logits, found, labels, unknown, torch.zeros(3, dtype=torch.bool)),
        0.6931,
        tolerance=1e-3,
    )
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(25)


def batch(n, k):
    has = torch.rand(n, generator=generator) < 0.6
    has[0], has[1] = True, False
    logits, found = torch.randn(n, k, generator=generator), torch.randn(n, 4, generator=generator)
    labels = torch.randint(0, k, (n,), generator=generator)
    corner, size = torch.rand(2, n, 2, generator=generator) / 2
    return logits, found, labels, torch.cat([corner, corner + size], dim=1), has


with check.hidden("random batches against the library", points=4):
    for n, k, weight, beta in ((7, 3, 1.0, 0.1), (12, 5, 4.0, 0.5), (3, 2, 0.25, 1.0)):
        logits, found, labels, truth, has = batch(n, k)
        want = localizer.localization_loss(logits, found, labels, truth, has, lam=weight, beta=beta)
        check.equal(multitask_loss(logits, found, labels, truth, has, weight, beta), sum(want))
with check.hidden("no gradient from background boxes", points=3):
    logits, found, labels, truth, has = batch(9, 4)
    hidden_truth = torch.where(has[:, None], truth, float("nan"))
    _, slope = gradients(multitask_loss, logits, found, labels, hidden_truth, has, wrt=(0, 1))
    check.true(bool(slope.isfinite().all()), "A gradient is not finite.")
    check.true(bool((slope[~has] == 0).all()), "Boxes of empty images get a gradient.")
    check.true(bool((slope[has] != 0).all()), "A box of an object gets no gradient.")
with check.hidden("gradients of the scores reach every image", points=1):
    slope = gradients(multitask_loss, logits, found, labels, truth, has)[0]
    want = (logits.softmax(1) - F.one_hot(labels, 4)) / 9
    check.equal(slope, want)
with check.hidden("lam weighs the boxes only", points=2):
    base = float(F.cross_entropy(logits, labels))
    once = float(multitask_loss(logits, found, labels, truth, has, 1.0))
    check.equal(
        float(multitask_loss(logits, found, labels, truth, has, 3.0)) - base, 3 * (once - base)
    )
    check.equal(float(multitask_loss(logits, found, labels, truth, has, 0.0)), base)
with check.hidden("no object at all; arguments left alone", points=2):
    nothing = torch.zeros(9, dtype=torch.bool)
    slope = gradients(multitask_loss, logits, found, labels, truth * float("nan"), nothing)[0]
    check.true(bool(slope.isfinite().all()), "A gradient is not finite.")
    check.unchanged(multitask_loss, logits, found, labels, truth, has)
### END HIDDEN TESTS
check.score()

# %% exercise="2.5" role="picture"
offs = torch.arange(51) / 100
nobody = torch.zeros(8, 2), torch.ones(8, dtype=torch.int64), torch.zeros(8, 4)
plots.compare_values(
    yours=lambda: [
        multitask_loss(nobody[0], torch.full((8, 4), d), *nobody[1:], torch.arange(8) < 3)
        for d in offs.tolist()
    ],
    expected=0.6931 + 4 * torch.where(offs < 0.1, offs**2 / 0.2, offs - 0.05),
    exercise="2.5",
    title="The loss of a batch with 3 objects in 8 images, each number off by 0 to 0.5",
    xlabel="error of each of the four numbers, hundredths",
    ylabel="loss",
    tolerance=1e-3,
)

# %% [markdown] exercise="2.5" role="see"
# The curve starts at ln 2 = 0.693, where the boxes are right and the class is a coin toss. After a short
# parabola it climbs with a slope of 4 to 0.693 + 4 · 0.45 = 2.493. The five empty images do not flatten it.

# %% [markdown] exercise="2.5" role="think" points=10
# **Think.** A colleague trains with boxes in *pixels* of 500 × 500 images, L2 for the box,
# $\lambda = 1$ and 20 classes. At the start a typical box is off by 100 pixels in each of its four
# numbers. Compare the two terms of the loss with numbers, say what the network will learn and what not, and
# name two ways to mend it. What would change with smooth L1 and β = 1 on these pixels? Three to five
# sentences.
#
# ### BEGIN SOLUTION
# The class term is about ln 20 = 3.0; the box term 4 · 100² / 2 = 20,000 (40,000 without the half), nearly
# seven thousand times larger. The shared trunk follows the boxes only, and classes are not learned
# until the boxes are within a pixel or so. Mend: divide boxes by the image size, so that errors are about
# 0.2 and the box term about 0.1; or a small λ; or normalise the targets to mean 0 and deviation 1, as Fast R-CNN does.
# Smooth L1 with β = 1 gives 4 · 99.5 = 398: the gradient per coordinate is 1 instead of 100, much better,
# but still 130 times the class term. Full marks: both magnitudes, which head starves, two remedies, the 398.
# ### END SOLUTION

# %% [markdown]
# ---
# ## 2.6 Right, or not right?

# %% [markdown] exercise="2.6" role="idea"
# The ImageNet challenge counted a localization as right only if *both* answers were: the class, and a box
# with an overlap of at least one half.
#
# $$\text{accuracy} = \frac1N \sum_i \big[\, \hat y_i = y_i \;\text{and}\; \operatorname{IoU}(b_i, t_i) \ge \tfrac12 \,\big].$$
#
# A wrong class with a perfect box counts nothing, and the product of the two separate accuracies is
# something else, since images that are hard for one head are often hard for the other. (The challenge
# allowed five guesses; we allow one.) IoU does not depend on the units, so relative boxes will do.
# [Russakovsky et al. 2015, §4.2; Sermanet et al. 2014, §4]

# %% exercise="2.6" role="look"
plots.show_boxes(
    example["image"],
    {
        "truth": example["box"][None],
        "IoU 0.5 and more?": example["box"][None] + torch.tensor([4.0, 3, 4, 3]),
    },
    title="Would this box count?",
)

# %% [markdown] exercise="2.6" role="contract" title="Localization accuracy" minutes=15
# - `logits` `(N, K)`, `labels` `(N,)`; `found`, `truth` `(N, 4)` in **centre form**, the same units, sizes positive.
# - Result: a float, the share of the N images whose best class is right *and* whose box has an IoU of at
#   least `threshold` with its own truth.
# - Use your `to_xyxy` and `box_iou`. Forbidden: `torchvision.ops`, `course.boxes`.

# %% [markdown] exercise="2.6" role="hints"
# 1. Two lists of N yes-or-no answers. Which of the N × N overlaps belong to an image and its own truth?
# 2. The diagonal of `box_iou(...)` holds them. Join the two lists with `&`.
# 3. `right_class = logits.argmax(dim=1) == labels`


# %% exercise="2.6" role="gap"
def localization_accuracy(
    logits: Tensor, found: Tensor, labels: Tensor, truth: Tensor, threshold: float = 0.5
) -> float:
    """Share of images with the right class and a box that is good enough (IoU >= threshold).

    Worked number: 3 of 4 classes right, 2 of these 3 with a good box: 0.5.
    """
    ### BEGIN SOLUTION
    right_class = logits.argmax(dim=1) == labels
    overlap = box_iou(to_xyxy(found), to_xyxy(truth)).diagonal()
    return float((right_class & (overlap >= threshold)).float().mean())
    ### END SOLUTION


# %% exercise="2.6" role="check"
check = Exercise("2.6", points=12, forbid=["course.boxes", "course.models", "torchvision.ops"])

logits = torch.tensor([[2.0, 1, 0], [0, 3, 1], [1, 0, 4], [0, 2, 1], [5, 0, 0]])
labels = torch.tensor([0, 1, 2, 2, 0])
truth = torch.tensor([[0.5, 0.5, 0.5, 0.5]]).repeat(5, 1)
found = torch.tensor(
    [
        [0.5, 0.5, 0.5, 0.5],
        [0.5, 0.375, 0.5, 0.25],
        [0.9, 0.9, 0.1, 0.1],
        [0.5, 0.5, 0.5, 0.5],
        [0.5, 0.5, 0.5, 0.125],
    ]
)
with check("five images", points=2):
    check.equal(
        localization_accuracy(logits, found, labels, truth),
        0.4,
        mistakes={
            "Class *and* box must be right, not one of them.": 1.0,
            "An IoU of exactly 0.5 is enough.": 0.2,
            "Only the box counts in yours: the class must be right too.": 0.6,
            "Only the class counts in yours: the box must be right too.": 0.8,
            "The product of two accuracies is not the share of images with both.": 0.48,
            "Compare each box with its own truth: the diagonal.": 0.52,
            "These boxes are in centre form: convert them first.": 0.0,
        },
    )
with check("each box with its own truth", points=1):
    places = torch.tensor(
        [[0.25, 0.25, 0.25, 0.5], [0.75, 0.5, 0.25, 0.25], [0.5, 0.75, 0.5, 0.25]]
    )
    check.equal(
        localization_accuracy(logits[:3], places[[0, 2, 1]], labels[:3], places),
        1 / 3,
        mistakes={"Any truth is taken: image i has truth i.": 1.0},
    )
### BEGIN HIDDEN TESTS
generator = torch.Generator().manual_seed(26)
with check.hidden("random predictions against the library", points=4):
    for n, k, t in ((60, 3, 0.5), (45, 2, 0.25), (80, 4, 0.75)):
        truth = 0.3 + 0.4 * torch.rand(n, 4, generator=generator)
        found = truth + 0.1 * torch.randn(n, 4, generator=generator)
        labels = torch.randint(0, k, (n,), generator=generator)
        logits = torch.randn(n, k, generator=generator) + 2 * F.one_hot(labels, k)
        corners = boxes.to_xyxy(found), boxes.to_xyxy(truth)
        want = localizer.localization_accuracy(logits, corners[0], labels, corners[1], threshold=t)
        check.equal(localization_accuracy(logits, found, labels, truth, t), want)
with check.hidden("all right, all wrong", points=2):
    check.equal(localization_accuracy(logits, truth, logits.argmax(1), truth), 1.0)
    check.equal(localization_accuracy(logits, truth + 9, logits.argmax(1), truth), 0.0)
    check.equal(localization_accuracy(logits, truth, (logits.argmax(1) + 1) % 4, truth), 0.0)
with check.hidden("pixels or relative: the same", points=1):
    pixels = torch.tensor([640.0, 480, 640, 480])
    relative = localization_accuracy(logits, found, labels, truth, 0.25)
    check.equal(
        localization_accuracy(logits, found * pixels, labels, truth * pixels, 0.25), relative
    )
with check.hidden("one image; a float; arguments left alone", points=2):
    check.equal(localization_accuracy(logits[:1], truth[:1], logits[:1].argmax(1), truth[:1]), 1.0)
    check.unchanged(localization_accuracy, logits, found, labels, truth)
### END HIDDEN TESTS
check.score()

# %% exercise="2.6" role="picture"
scene = torch.tensor([[0.5, 0.5, 0.4, 0.5]])
drift = torch.linspace(0, 0.4, 21)
plots.compare_values(
    yours=lambda: [
        localization_accuracy(
            torch.tensor([[0.0, 1.0]]), scene + d * torch.eye(4)[:1], torch.tensor([1]), scene
        )
        for d in drift
    ],
    expected=[float((0.4 - d) / (0.4 + d) >= 0.5) for d in drift.tolist()],
    exercise="2.6",
    title="Right class, box moved to the right: does it count?",
    xlabel="shift, in fiftieths of the image width",
    ylabel="1 = counts",
)

# %% [markdown] exercise="2.6" role="see"
# A step: a box of 0.4 image widths may be off by up to 0.13, a third of its width, and counts fully; a
# hair more and it counts nothing. (The box in the look above has an IoU of 0.39.) That is why a detector's
# report names several thresholds.

# %% [markdown] exercise="2.6" role="think" points=10
# **Think.** Answer after the experiment at the end. Explain with the formula of 2.4 why a box head on
# averages cannot find anything if the trunk treats all places alike, and what box it learns instead. Then
# explain why the same head, with the same 132 parameters, finds the object when the convolutions pad
# with zeros. What would you expect of zero padding in an image that is ten times as large? Three to five
# sentences with numbers from your table.
#
# ### BEGIN SOLUTION
# If the object moves by one cell, a trunk that treats all places alike moves its map by one cell, and
# the average does not change: W_b f̄ + b_b is the same box for every place. The best it can do is the mean
# box in the middle of the image, whose overlap is chance: 0.25 to 0.29, as good as the mean box (0.23 to
# 0.29), against 0.58 to 0.68 with the whole map. Zeros at the border are a landmark: cells near it respond
# differently, and the last map sees 19 pixels to each side, which is most of a 24 × 32 image. So the
# *amount* of each feature tells where the object was, and an average keeps amounts (0.70 and more). In an
# image ten times as large most cells never see the border, and the trick should fail except near it. Full
# marks: the shift argument, the constant box, the border as a landmark, its limited reach.
# ### END SOLUTION

# %% [markdown]
# ---
# ## The experiment: what, and where
#
# Three networks with the same trunk and the same class head. They differ in what the box head reads
# (your `TwoHeads` with `pooled` off and on), and in what the convolutions put around the image: the
# opposite side, so that no place differs from any other (`circular`), or zeros, as usual. They train with
# your `multitask_loss` on boxes in the centre form of your `to_cxcywh`, divided by the size of the image, and
# are judged by your `box_iou` and `localization_accuracy`.


# %% role="setup"
def trunk(border):
    """Four convolutions, three poolings: images (B, 3, H, W) to maps (B, maps, H / 8, W / 8)."""
    sizes = (3, maps // 4, maps // 2, maps, maps)
    layers = []
    for i, (a, b) in enumerate(zip(sizes, sizes[1:])):
        layers += [nn.MaxPool2d(2)] if i else []
        layers += [
            nn.Conv2d(a, b, 3, padding=1, padding_mode=border, bias=False),
            nn.BatchNorm2d(b),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers)


def network(pooled, border, seed):
    """The trunk with your two heads."""
    torch.manual_seed(seed)
    cells = (height // 8, width // 8)
    net = nn.Sequential(trunk(border), TwoHeads(maps, cells, len(names), pooled))
    for layer in net[0]:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    return net.to(device)


side = torch.tensor([width, height, width, height])


def with_targets(samples):
    """Samples with the box as the network shall say it: centre form, relative to the image."""
    return [{**s, "target": to_cxcywh(s["box"]) / side} for s in samples]


def loss(output, batch):
    logits, found = output
    return multitask_loss(
        logits, found, batch["label"], batch["target"], batch["has_object"], lam, 0.1
    )


def farthest(samples):
    """The sample whose object lies farthest from the middle of the image."""
    there = [s for s in samples if s["has_object"]]
    return max(there, key=lambda s: float((to_cxcywh(s["box"])[:2] - side[:2] / 2).abs().max()))


def constant(samples, train_set):
    """Mean IoU of the mean training box: what can be had without looking at the image."""
    mean = torch.stack([s["target"] for s in train_set if s["has_object"]]).mean(0, keepdim=True)
    target = torch.stack([s["target"] for s in samples if s["has_object"]])
    return float(box_iou(to_xyxy(mean), to_xyxy(target)).mean())


@torch.no_grad()
def predict(net, samples):
    """Logits and relative boxes of all samples."""
    logits, found = net.eval()(torch.stack([s["image"] for s in samples]).to(device))
    return logits.cpu(), found.cpu()


def score(net, samples):
    """Class accuracy of all images; mean IoU and localization accuracy of those with an object."""
    logits, found = predict(net, samples)
    labels = torch.stack([s["label"] for s in samples])
    target = torch.stack([s["target"] for s in samples])
    there = torch.stack([s["has_object"] for s in samples])
    overlap = box_iou(to_xyxy(found[there]), to_xyxy(target[there])).diagonal()
    right = localization_accuracy(logits[there], found[there], labels[there], target[there])
    return float((logits.argmax(1) == labels).float().mean()), float(overlap.mean()), right


# %% role="experiment"
variants = {
    "whole map": (False, "circular"),
    "averages": (True, "circular"),
    "averages, zeros": (True, "zeros"),
}
results, blind, history, nets = {}, [], [], {}
with attempt("2.1 to 2.6"):
    for seed in seeds:
        train_set, test_set = map(with_targets, sets(seed))
        blind.append(constant(test_set, train_set))
        shown = [farthest(test_set)]
        for name, (pooled, border) in variants.items():
            net = network(pooled, border, seed)

            def watch(model, keep=name == "whole map" and seed == seeds[0], shown=shown):
                if keep:
                    history.append(to_xyxy(predict(model, shown)[1][0]) * side)
                return {}

            training.fit(
                net,
                train_set,
                loss,
                steps=steps,
                batch_size=32,
                lr=1e-2,
                schedule=training.poly_lr,
                seed=seed,
                device=device,
                channels_last=True,
                evaluate=watch,
                evaluate_every=max(steps // 5, 1),
                progress=steps > 1000,
            )
            nets[name, seed], results[name, seed] = net, score(net, test_set)
rows = [
    [name, seed, f"{classes:.0%}", f"{overlap:.3f}", f"{right:.0%}"]
    for (name, seed), (classes, overlap, right) in results.items()
]
rows += [["nothing: mean box", seed, "", f"{b:.3f}", ""] for seed, b in zip(seeds, blind)]
head = ["the box head reads", "seed", "class right", "mean IoU", "class and box right"]
plots.table(head, rows, title="Test images of each seed")

# %% role="experiment"
if results:
    sample = farthest(sets(seeds[0])[1])
    steps_shown = [max(steps // 5, 1) * k for k in (1, 2, 5)]
    boxes_shown = [history[0], history[1], history[-1]]
    plots.show_boxes(
        sample["image"],
        {
            "truth": sample["box"][None],
            **{f"step {k}": b[None] for k, b in zip(steps_shown, boxes_shown)},
        },
        title="The box of one test image while the network on the whole map trains",
    ).show()
    final = {name: to_xyxy(predict(nets[name, seeds[0]], [sample])[1]) * side for name in variants}
    plots.show_boxes(
        sample["image"],
        {"truth": sample["box"][None], **final},
        title="After training: who found it?",
    ).show()

# %% role="experiment"
if results:
    overlap = {name: [results[name, seed][1] for seed in seeds] for name in variants}
    overlap["mean box"] = blind
    plots.bars(
        list(overlap),
        [sum(v) / len(seeds) for v in overlap.values()],
        [(max(v) - min(v)) / 2 for v in overlap.values()],
        title=f"Mean IoU by what the box head reads; {len(seeds)} seeds, half their range",
        ylabel="mean IoU",
        limits=(0, 1),
    ).show()
    gap = min(a - b for a, b in zip(overlap["whole map"], overlap["averages"]))
    leak = min(a - b for a, b in zip(overlap["averages, zeros"], overlap["averages"]))
    more = max(abs(a - b) for a, b in zip(overlap["averages"], blind))
    print(
        f"The whole map is worth {gap:.2f} of mean IoU or more over the averages; these lie within"
    )
    print(
        f"{more:.2f} of a box that never looks; zeros at the border give them {leak:.2f} or more."
    )
    if (dataset, height, width, maps, lam) == ("shapes", 24, 32, 32, 0.3) and steps >= 250:
        assert gap > 0.2, "averages should lose the position: check exercises 2.4 and 2.5"
        assert more < 0.08, "averages should do no better than the mean box: check exercise 2.4"
        assert leak > 0.2, "zeros at the border should give the position back in an image so small"
        claim(
            2,
            "Global averages before the box head destroy the position.",
            quantity="mean IoU of the whole map less that of the averages, circular border",
            paper="the lecture; no figure printed",
            values=[a - b for a, b in zip(overlap["whole map"], overlap["averages"])],
            at_least=0.2,
        ).show()
        claim(
            2,
            "They do so in an ordinary network too, whose convolutions pad with zeros.",
            quantity="mean IoU of the whole map less that of the averages with zero padding",
            paper="the lecture; no figure printed",
            values=[a - b for a, b in zip(overlap["whole map"], overlap["averages, zeros"])],
            at_least=0.2,
        ).show()

# %% [markdown]
# **What you should see.** The class is right for 99 % of the images and more where the box head reads averages,
# and for 81 to 100 % where it reads the whole map: one trunk serves two masters, and there the box pulls harder.
# The box is the other way round. From the whole map its mean IoU is 0.58 to 0.68; from the averages 0.25 to
# 0.29, no better than the mean box of the training set, which is right about the size and blind to the
# place. So the lecture is right to let a fully connected layer on the map say where.
#
# The third network is a warning. It reads averages too, and finds the object best of all (0.70 and more):
# zeros around the image leak the place into the *amount* of each feature, and perhaps 132 numbers are simply
# learned sooner than the 1540 of the head on the whole map. This works in an image of 24 × 32 pixels, where the
# border is never more than 12 pixels away. So "averages cannot know" is a statement about the trunk as well.
#
# | | papers | here |
# |---|---|---|
# | trunk | OverFeat's five convolutions (Sermanet), VGG16 (Girshick) | four convolutions |
# | box head | two hidden layers of 4096 and 1024, one box per class | one linear layer, one box |
# | box loss | L2 (Sermanet), smooth L1 with β = 1 on normalised boxes (Girshick) | smooth L1, β = 0.1, relative boxes |
# | test | ImageNet 2013: 29.9 % error with five guesses | one object, one guess |

# %% [markdown]
# **The ladder.** Every lab of the course adds one bar to the same figure, measured on the same images of thin lines
# and discs. This is the rung of a single box; the labs that follow climb from here.

# %% role="experiment"
ladder.picture(lab=2)

# %% [markdown]
# **Going on.** Set `lam = 1` in the parameter cell: boxes get better, classes worse. Set `dataset = "pets"` with `height = 64` and `width = 64` for the heads of real cats and dogs; point
# the environment variable `COURSE_DATA` at the folder that holds Oxford-IIIT Pet. That needs the whole set: with
# a sample of 90 images and 200 steps no head beats the mean box (0.34 to 0.37 against 0.40). Give the averaged
# head a hidden layer with as many parameters as the other head has: does it help?
#
# **Reading.** Sermanet et al. 2014, §4, for box heads at every place and scale. Girshick 2015, §2.3, for the two
# losses. Russakovsky et al. 2015, [arXiv:1409.0575](https://arxiv.org/abs/1409.0575), §4.2, for the measure.
# Lin, Chen, Yan 2014, *Network in Network*, [arXiv:1312.4400](https://arxiv.org/abs/1312.4400), §3.2, where
# global averages come from. Islam, Jia, Bruce 2020, *How Much Position Information Do Convolutional Neural
# Networks Encode?*, [arXiv:2001.08248](https://arxiv.org/abs/2001.08248), on what zeros around the image give away.
