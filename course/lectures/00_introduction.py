# %% tags=["skip"]
import numpy as np
import torch
from skimage.measure import label as components
from torch.nn import functional as F

from course import ladder, lectures, metrics, plots
from course.claims import claim
from course.lectures.flock import CLASSES, flock
from course.plots.panels import paint, trace

BLUE, ORANGE, GREEN, PINK, SKY, VERMILION, YELLOW, WINE = plots.PALETTE
GRASS, SHEEP = CLASSES.index("grass"), CLASSES.index("sheep")

scene = flock()
pixels = scene.image.permute(1, 2, 0)
height, width = scene.labels.shape


def panel(axis, title, picture=pixels):
    """The picture on an axis without ticks."""
    axis.imshow(picture)
    axis.set_axis_off()
    axis.set_title(title, fontsize=15)


def tinted(axis, labels):
    """Every class in its own colour, hatching and outline."""
    for k in range(len(CLASSES)):
        paint(axis, (labels == k).numpy(), k)


def frame(axis, box, color, text=""):
    """A box (x0, y0, x1, y1) and a word above it."""
    x0, y0, x1, y1 = (float(v) for v in box)
    axis.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color="white", lw=5)
    axis.plot([x0, x1, x1, x0, x0], [y0, y0, y1, y1, y0], color=color, lw=3)
    if text:
        label = {"facecolor": "white", "edgecolor": color, "pad": 2}
        axis.text(x0, y0 - 6, text, fontsize=13, va="bottom", bbox=label)


# %% [markdown] tags=["slide"]
# # Image segmentation
#
# After this part you can tell five tasks apart, and say what a network must keep to answer the
# hardest of them.

# %%
lectures.links(0)

# %% [markdown] tags=["notes"]
# Two minutes. Fourteen parts follow, each with a lab. Everything that is projected runs: every
# picture comes out of the cell behind it, with the library that the labs use. Ask who has trained
# a classifier, and who has drawn a mask by hand.

# %% [markdown] tags=["slide"]
# ## Five tasks: the question grows from one word to every pixel

# %%
with plots.canvas(2, 3, width=10.6, height=4.9) as (figure, axes):
    panel(axes[0], "the picture")
    panel(axes[1], "classification: one word")
    word = {"facecolor": "white", "edgecolor": VERMILION, "lw": 3, "pad": 8}
    axes[1].text(120, 32, "sheep", fontsize=22, ha="center", va="center", bbox=word)
    panel(axes[2], "and localization: one box")
    frame(axes[2], scene.boxes[2], VERMILION, "sheep")
    panel(axes[3], "detection: a box for each object")
    for box, color in zip(scene.boxes, (BLUE, ORANGE, VERMILION), strict=True):
        frame(axes[3], box, color, "sheep")
    panel(axes[4], "semantic segmentation")
    tinted(axes[4], scene.labels)
    panel(axes[5], "instance segmentation")
    for number, color in ((1, 0), (2, 1), (3, 5)):
        paint(axes[5], (scene.instances == number).numpy(), color)
    plots.render(
        figure,
        "One picture of three sheep on grass beside a road, six times: alone; with the word sheep; "
        "with one box around one sheep; with three boxes; with every pixel in the colour of sky, "
        "grass, road or sheep; and with each sheep in a colour of its own.",
    ).show()

# %% [markdown] tags=["notes"]
# Five minutes, the most important slide of the day. Go through the panels and ask each time: what
# exactly is the answer, as data? A number. A number and four numbers. A list of unknown length. A
# map. A map that tells equal things apart. What goes wrong: students say "segmentation" for a box.

# %% [markdown] tags=["slide"]
# ## The answer grows from four numbers to one per pixel

# %%
K, N = len(CLASSES), len(scene.boxes)
answers = {
    "classification": K,
    "localization": K + 4,
    f"detection, {N} boxes": N * (K + 4),
    "semantic": K * height * width,
    "instance": N * height * width,
}
with plots.canvas(width=10.4, height=4.3) as (figure, (axis,)):
    drawn = axis.barh(list(answers), list(answers.values()), color=BLUE, hatch="//", ec="white")
    axis.bar_label(drawn, [f"{n:,}" for n in answers.values()], padding=6, fontsize=16)
    axis.set(xscale="log", xlim=(1, 3e6), xlabel="numbers in the answer, logarithmic")
    axis.invert_yaxis()
    axis.tick_params(axis="y", labelsize=16)
    plots.render(
        figure,
        f"Numbers in the answer for a picture of {height} x {width} pixels and {K} classes: "
        + ", ".join(f"{name} {n:,}" for name, n in answers.items())
        + ".",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Scores are counted, not labels: a classifier gives one score a class. Detection is
# counted for the three boxes that are right; a detector says many more. Semantic segmentation is K
# scores for each pixel. Ask: does the length of the answer depend on what is in the picture? For
# detection and instances it does, and that is their difficulty.

# %% [markdown] tags=["slide"]
# ## Semantic segmentation: a class for every pixel
#
# $$\hat y_{ij} = \arg\max_k\; z_{k,i,j}\qquad z: K \times H \times W$$

# %%
top, left, side = 116, 158, 14
zoom = scene.labels[top : top + side, left : left + side]
with plots.canvas(1, 2, width=10.6, height=4.0) as (figure, axes):
    panel(axes[0], "the edge of a head")
    frame(axes[0], (left, top, left + side, top + side), VERMILION)
    panel(axes[1], "labels: 1 grass, 3 sheep", pixels[top : top + side, left : left + side])
    for row, column in np.ndindex(side, side):
        value = int(zoom[row, column])
        color = "white" if value == SHEEP else "black"
        axes[1].text(column, row, str(value), ha="center", va="center", fontsize=13, color=color)
    trace(axes[1], zoom.numpy(), VERMILION, 2.5)
    plots.render(
        figure,
        f"A square of {side} x {side} pixels of the picture, enlarged, with a number in every "
        f"pixel: {int((zoom == SHEEP).sum())} pixels are sheep (3), "
        f"{int((zoom == GRASS).sum())} grass (1); a line follows the border between them.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Not "find the sheep" but "say for this very pixel what it is". Grass and road have
# no number and no box, they are stuff; sheep are things. Semantic segmentation treats both alike.
# The formula: scores first, the class is the largest. Pixels on a border are mixtures; labels are
# not.

# %% [markdown] tags=["slide"]
# ## The same class is not the same object

# %%
islands = torch.from_numpy(components((scene.labels == SHEEP).numpy(), connectivity=2))
with plots.canvas(1, 2, width=10.6, height=4.1) as (figure, axes):
    for axis, numbers, title in (
        (axes[0], islands, f"connected areas of the class: {int(islands.max())}"),
        (axes[1], scene.instances, f"objects: {N}"),
    ):
        panel(axis, title)
        for number in range(1, int(numbers.max()) + 1):
            paint(axis, (numbers == number).numpy(), (0, 1, 5)[number - 1])
    plots.render(
        figure,
        f"Left: the pixels of class sheep form {int(islands.max())} connected areas, because two "
        f"sheep touch. Right: the {N} sheep, each in its own colour.",
    ).show()

# %% [markdown] tags=["notes"]
# Two minutes. A perfect semantic map cannot count the sheep. Ask: what could? (Borders: part 8,
# the weights of U-Net. Boxes: parts 3 and 4.) The course measures both: mean IoU, and cells found.

# %% [markdown] tags=["slide"]
# ## Three steps: what is there, where it is, which pixel

# %%
cell = 12
share = F.one_hot(scene.labels, K).permute(2, 0, 1).float()
rough = F.avg_pool2d(share[None], cell)[0].argmax(0)
rough = rough.repeat_interleave(cell, 0).repeat_interleave(cell, 1)
with plots.canvas(1, 3, width=10.8, height=3.5) as (figure, axes):
    panel(axes[0], "1 · name the classes")
    present = [CLASSES[k] for k in scene.labels.unique()]
    for k, name in enumerate(present):
        at = {"facecolor": "white", "edgecolor": plots.PALETTE[k], "lw": 3, "pad": 5}
        axes[0].text(120, 26 + 42 * k, name, fontsize=17, ha="center", va="center", bbox=at)
    panel(axes[1], "2 · say roughly where")
    tinted(axes[1], rough)
    panel(axes[2], "3 · label every pixel")
    tinted(axes[2], scene.labels)
    plots.render(
        figure,
        f"Three times the picture: with the words {', '.join(present)}; with a coarse map of "
        f"{height // cell} x {width // cell} cells; with the map of all {height} x {width} pixels.",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. The lecture's three steps. Networks that classify stop after the first; a detector
# or a coarse map has the second; only the third is segmentation. Most of the papers ahead start
# from a network for step 1 and ask what it takes to reach step 3.

# %% [markdown] tags=["slide"]
# ## A classifier is built to know the content and to forget the position

# %%
means = torch.stack([scene.image[:, scene.labels == k].mean(1) for k in range(K)])
means = torch.cat([means, torch.tensor([[0.95, 0.93, 0.88]])])  # wool alone, without the heads


def wool(picture):
    """How much each pixel looks like wool (H, W): a 1 x 1 convolution and a softmax."""
    far = (picture.image[None] - means[:, :, None, None]).square().sum(1)
    return (-60 * far).softmax(0)[-1]


moved = flock(shift=0.27)
with plots.canvas(2, 2, width=9.4, height=5.0) as (figure, axes):
    where, content = [], []
    for row, picture in enumerate((scene, moved)):
        panel(
            axes[2 * row], ("the picture", "the flock moves")[row], picture.image.permute(1, 2, 0)
        )
        found = wool(picture)
        content.append(float(found.mean()))
        columns = torch.arange(width, dtype=torch.float32)
        where.append(float((found.sum(0) * columns).sum() / found.sum()))
        axes[2 * row + 1].imshow(found, cmap="cividis", vmin=0, vmax=1)
        axes[2 * row + 1].set_axis_off()
        axes[2 * row + 1].axvline(where[-1], color="white", lw=2.5, ls="--")
        said = f"wool: mean {content[-1]:.3f}, at x = {where[-1]:.0f}"
        axes[2 * row + 1].set_title(said, fontsize=15)
    plots.render(
        figure,
        "A feature map that answers to wool, before and after the flock moves to the right: its "
        f"mean goes from {content[0]:.3f} to {content[1]:.3f}, its middle from column "
        f"{where[0]:.0f} to {where[1]:.0f}.",
    ).show()

# %% [markdown] tags=["fragment"]
# Averages keep the *what*; segmentation also needs the *where*.

# %% [markdown] tags=["notes"]
# Four minutes. The map of one feature: bright where it sees wool. A classifier averages it, and
# the average hardly notices that the flock has moved: a strength, for a label must not depend on
# the place. The map itself knows. Ask: at which layer of your favourite network is the map lost?
# One honest word: with zero padding even averages betray some position; lab 2 measures it.

# %% [markdown] tags=["slide"]
# ## What strides throw away, no classifier behind them can know

# %%
scores, maps = {}, {}
for stride in (1, 2, 4, 8, 16, 32):
    coarse = F.adaptive_avg_pool2d(share[None], (-(-height // stride), -(-width // stride)))[0]
    back = F.interpolate(coarse[None], (height, width))[0].argmax(0)
    matrix = metrics.confusion_matrix(back, scene.labels, K)
    scores[stride], maps[stride] = float(metrics.iou(matrix)[SHEEP]), back
with plots.canvas(1, 3, width=10.8, height=3.3) as (figure, axes):
    for axis, stride in zip(axes, (4, 16, 32), strict=True):
        panel(axis, f"stride {stride}: IoU of sheep {scores[stride]:.2f}")
        tinted(axis, maps[stride])
    plots.render(
        figure,
        "The true labels, kept once per cell and enlarged again. IoU of sheep: "
        + ", ".join(f"{score:.2f} at stride {stride}" for stride, score in scores.items())
        + ".",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. No network here: the true map, stored once for each cell, painted back. That is
# the ceiling of a coarse network whose result is only enlarged. VGG16 ends at stride 32. First the
# legs go, then the third sheep. Ask: how would you get the legs back? Three answers make the
# course: decoders, skips, holes instead of strides.

# %% [markdown] tags=["slide"]
# ## A score can look good and be useless

# %%
guesses = {
    "all grass": torch.full_like(scene.labels, GRASS),
    "no sheep at all": torch.where(scene.labels == SHEEP, GRASS, scene.labels),
    "stride 16": maps[16],
    "stride 4": maps[4],
}
tables = [metrics.confusion_matrix(guess, scene.labels, K) for guess in guesses.values()]
plots.bars(
    list(guesses),
    {
        "pixel accuracy": [round(float(metrics.pixel_accuracy(m)), 2) for m in tables],
        "IoU of sheep": [round(float(metrics.iou(m)[SHEEP]), 2) for m in tables],
    },
    ylabel="score",
    limits=(0, 1.1),
)

# %% [markdown] tags=["notes"]
# Two minutes. Four answers to our picture. Whoever overlooks every sheep still has four pixels in
# five right. So: never report one number, and know what it counts. Part 14 takes the scores apart.

# %% [markdown] tags=["slide"]
# ## The map: from boxes to pixels, and what each step mends

# %%
PARTS = (
    ("Ask a classifier\neverywhere", ("1 windows", "2 two heads", "3 R-CNN", "4 YOLO"), BLUE),
    ("One pass,\nall pixels", ("5 patch scan", "7 FCN"), GREEN),
    ("The way\nback up", ("6 DeconvNet,\nSegNet", "8 U-Net", "9 FC-DenseNet"), VERMILION),
    ("See more,\nkeep the grid", ("10 DeepLab", "11 PSPNet", "12 FastFCN", "13 RAN"), WINE),
    ("Judge", ("14 metrics",), "#444444"),
)
with plots.canvas(width=11, height=4.5) as (figure, (axis,)):
    axis.set(xlim=(0, 11), ylim=(4.5, 0))
    axis.set_axis_off()
    for k, (name, sections, color) in enumerate(PARTS):
        x = 0.05 + 2.2 * k
        axis.fill_between([x, x + 1.95], 0.1, 1.0, color=color)
        axis.text(x + 0.97, 0.55, name, color="white", fontsize=14, ha="center", va="center")
        if k:
            axis.annotate(
                "", (x, 0.55), (x - 0.25, 0.55), arrowprops={"arrowstyle": "-|>", "lw": 2}
            )
        for row, section in enumerate(sections):
            y = 1.2 + 0.83 * row
            axis.plot(
                [x, x + 1.95, x + 1.95, x, x],
                [y, y, y + 0.68, y + 0.68, y],
                color=color,
                lw=2,
            )
            axis.text(x + 0.97, y + 0.34, section, fontsize=14, ha="center", va="center")
    plots.render(
        figure,
        "The parts of the course in five groups: "
        + "; ".join(f"{name} ({', '.join(s)})".replace("\n", " ") for name, s, _ in PARTS)
        + ".",
    ).show()

# %% [markdown] tags=["notes"]
# Three minutes. Read it from left to right as a list of complaints. Windows cost too much: share
# the convolutions. Sharing leaves a coarse grid: climb up again, or never go down. A pixel sees
# too little: look further. Numbers refer to parts and labs alike.

# %% [markdown] tags=["slide"]
# ## The ladder: all systems on the same thin lines

# %%
rungs = ladder.picture()
assert rungs.figure is not None
rungs.figure.set_size_inches(10.6, 5.2)
plots.render(rungs.figure, rungs.alt)

# %% [markdown] tags=["notes"]
# Three minutes. One task that punishes a coarse grid: lines two pixels wide, 64 × 64 images, 300
# steps of training, three seeds. It says nothing about street scenes; it shows who carries the
# position through. Every lab adds its bar. Ask which bars surprise. The networks are small
# versions; the published numbers are in each part.

# %% [markdown] tags=["slide"]
# ## Every claim is put to the test, and some fail
#
# A claim names its effect before the run, at least three seeds, a 95 % interval of the mean:
# *reproduced*, *not reproduced* or *cannot tell*. All of them: `docs/claims.md`.

# %%
claim(
    8,
    "Border weights let touching cells come apart.",
    quantity="share of cells found, with border weights less without",
    paper="Ronneberger et al. 2015, §3 and Figure 3: shown, no ablation printed",
    values=[0.76, 0.749, 0.765],
    at_least=0.3,
)

# %% [markdown] tags=["notes"]
# Two minutes. This card is the one that lab 8 prints, with its three seeds. A miniature says
# nothing about the paper's own data; it says whether the effect shows where it should. Tell the
# class now that reverse attention will not be reproduced, so that a negative result surprises
# nobody.

# %% [markdown] tags=["slide"]
# ## Try it
#
# Begin with lab 1: turn a classifier of small windows into a detector, and count what it costs.

# %%
lectures.links(1)

# %% [markdown] tags=["notes"]
# One minute. Show how to open the lab, where the checks are, and that hints unfold.

# %% [markdown] tags=["slide"]
# ## References
#
# - Everingham et al., *The PASCAL Visual Object Classes Challenge*, IJCV 2010, §2 and §4: the tasks
#   and
#   how they are judged
# - Long, Shelhamer, Darrell, *Fully Convolutional Networks*, CVPR 2015, §1: what and where,
#   arXiv:1411.4038
# - Lin et al., *Microsoft COCO*, ECCV 2014, §1: classification to instances, arXiv:1405.0312
# - Kirillov et al., *Panoptic Segmentation*, CVPR 2019, §1: stuff and things, arXiv:1801.00868

# %% [markdown] tags=["notes"]
# No time needed. For the next part: read §1 of the FCN paper; two pages.
