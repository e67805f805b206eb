# The zoo of lab 4: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="4.1" name="cell of the corner" caught="visible" hint="cell of the corner"
# The first two numbers of a box look like its place.
def make_targets(boxes, labels, image_size, S, C):
    height, width = image_size
    grid = torch.zeros(S, S, 5 + C)
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels.tolist()):
        x, y = x0 / width * S, y0 / height * S
        column, row = min(int(x), S - 1), min(int(y), S - 1)
        if grid[row, column, 4] == 0:
            size = ((x1 - x0) / width) ** 0.5, ((y1 - y0) / height) ** 0.5
            grid[row, column, :5] = torch.tensor([x - column, y - row, *size, 1])
            grid[row, column, 4 + label] = 1
    return grid


# %% exercise="4.1" name="column before row" caught="visible" hint="Rows and columns are swapped"
# x comes first in a box, so it comes first in the index.
def make_targets(boxes, labels, image_size, S, C):
    height, width = image_size
    grid = torch.zeros(S, S, 5 + C)
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels.tolist()):
        x, y = (x0 + x1) / 2 / width * S, (y0 + y1) / 2 / height * S
        column, row = min(int(x), S - 1), min(int(y), S - 1)
        if grid[column, row, 4] == 0:
            size = ((x1 - x0) / width) ** 0.5, ((y1 - y0) / height) ** 0.5
            grid[column, row, :5] = torch.tensor([x - column, y - row, *size, 1])
            grid[column, row, 4 + label] = 1
    return grid


# %% exercise="4.1" name="width before height" caught="visible" hint="image_size is (height, width)"
# Sizes of images are (width, height) in many image libraries.
def make_targets(boxes, labels, image_size, S, C):
    width, height = image_size
    grid = torch.zeros(S, S, 5 + C)
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels.tolist()):
        x, y = (x0 + x1) / 2 / width * S, (y0 + y1) / 2 / height * S
        column, row = min(int(x), S - 1), min(int(y), S - 1)
        if grid[row, column, 4] == 0:
            size = ((x1 - x0) / width) ** 0.5, ((y1 - y0) / height) ** 0.5
            grid[row, column, :5] = torch.tensor([x - column, y - row, *size, 1])
            grid[row, column, 4 + label] = 1
    return grid


# %% exercise="4.1" name="offset in the image" caught="visible" hint="offset inside the cell"
# The centre is normalised once, and that number is stored.
def make_targets(boxes, labels, image_size, S, C):
    height, width = image_size
    grid = torch.zeros(S, S, 5 + C)
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels.tolist()):
        x, y = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height
        column, row = min(int(x * S), S - 1), min(int(y * S), S - 1)
        if grid[row, column, 4] == 0:
            size = ((x1 - x0) / width) ** 0.5, ((y1 - y0) / height) ** 0.5
            grid[row, column, :5] = torch.tensor([x, y, *size, 1])
            grid[row, column, 4 + label] = 1
    return grid


# %% exercise="4.1" name="sizes without roots" caught="visible" hint="take their square roots"
# The root is thought to belong to the loss, as in the paper's formula.
def make_targets(boxes, labels, image_size, S, C):
    height, width = image_size
    grid = torch.zeros(S, S, 5 + C)
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels.tolist()):
        x, y = (x0 + x1) / 2 / width * S, (y0 + y1) / 2 / height * S
        column, row = min(int(x), S - 1), min(int(y), S - 1)
        if grid[row, column, 4] == 0:
            size = (x1 - x0) / width, (y1 - y0) / height
            grid[row, column, :5] = torch.tensor([x - column, y - row, *size, 1])
            grid[row, column, 4 + label] = 1
    return grid


# %% exercise="4.1" name="sizes in cells" caught="visible" hint="divide by the whole image"
# Offsets count in cells, so sizes are made to.
def make_targets(boxes, labels, image_size, S, C):
    height, width = image_size
    grid = torch.zeros(S, S, 5 + C)
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels.tolist()):
        x, y = (x0 + x1) / 2 / width * S, (y0 + y1) / 2 / height * S
        column, row = min(int(x), S - 1), min(int(y), S - 1)
        if grid[row, column, 4] == 0:
            size = ((x1 - x0) / width * S) ** 0.5, ((y1 - y0) / height * S) ** 0.5
            grid[row, column, :5] = torch.tensor([x - column, y - row, *size, 1])
            grid[row, column, 4 + label] = 1
    return grid


# %% exercise="4.1" name="class one entry too far" caught="visible" hint="labels count from 1"
# Entry 5 plus the label, forgetting that labels start at 1; the last class falls off the grid.
def make_targets(boxes, labels, image_size, S, C):
    height, width = image_size
    grid = torch.zeros(S, S, 6 + C)
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels.tolist()):
        x, y = (x0 + x1) / 2 / width * S, (y0 + y1) / 2 / height * S
        column, row = min(int(x), S - 1), min(int(y), S - 1)
        if grid[row, column, 4] == 0:
            size = ((x1 - x0) / width) ** 0.5, ((y1 - y0) / height) ** 0.5
            grid[row, column, :5] = torch.tensor([x - column, y - row, *size, 1])
            grid[row, column, 5 + label] = 1
    return grid[..., : 5 + C]


# %% exercise="4.1" name="the last object wins" caught="hidden"
# An assignment overwrites; with the class of both objects left in the cell.
def make_targets(boxes, labels, image_size, S, C):
    height, width = image_size
    grid = torch.zeros(S, S, 5 + C)
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels.tolist()):
        x, y = (x0 + x1) / 2 / width * S, (y0 + y1) / 2 / height * S
        column, row = min(int(x), S - 1), min(int(y), S - 1)
        size = ((x1 - x0) / width) ** 0.5, ((y1 - y0) / height) ** 0.5
        grid[row, column, :5] = torch.tensor([x - column, y - row, *size, 1])
        grid[row, column, 4 + label] = 1
    return grid


# %% exercise="4.1" name="a centre on the edge falls out" caught="hidden"
# int(x) of a centre at the far edge is S, and the index is out of range.
def make_targets(boxes, labels, image_size, S, C):
    height, width = image_size
    grid = torch.zeros(S, S, 5 + C)
    for (x0, y0, x1, y1), label in zip(boxes.tolist(), labels.tolist()):
        x, y = (x0 + x1) / 2 / width * S, (y0 + y1) / 2 / height * S
        column, row = int(x), int(y)
        if grid[row, column, 4] == 0:
            size = ((x1 - x0) / width) ** 0.5, ((y1 - y0) / height) ** 0.5
            grid[row, column, :5] = torch.tensor([x - column, y - row, *size, 1])
            grid[row, column, 4 + label] = 1
    return grid


# %% exercise="4.1" name="from the last to the first" right=True
# Written in reverse order without a test, so that the first object is written last.
def make_targets(boxes, labels, image_size, S, C):
    scale = torch.tensor([image_size[1], image_size[0]]).repeat(2)
    relative = boxes / scale
    centre = (relative[:, :2] + relative[:, 2:]) / 2 * S
    cell = centre.floor().clamp(max=S - 1)
    grid = torch.zeros(S, S, 5 + C)
    for i in reversed(range(len(boxes))):
        column, row = cell[i].long().tolist()
        grid[row, column] = 0
        grid[row, column, :2] = centre[i] - cell[i]
        grid[row, column, 2:4] = (relative[i, 2:] - relative[i, :2]).sqrt()
        grid[row, column, 4] = grid[row, column, 4 + labels[i]] = 1
    return grid


# %% exercise="4.2" name="always the first box" caught="visible" hint="Always the first box"
# The choice is forgotten; it works as long as B is 1.
def responsible(boxes, target):
    S, _ = boxes.shape[-3:-1]
    a, b = boxes, target[..., None, :4]
    low = torch.maximum(a[..., :2] / S - a[..., 2:] ** 2 / 2, b[..., :2] / S - b[..., 2:] ** 2 / 2)
    high = torch.minimum(a[..., :2] / S + a[..., 2:] ** 2 / 2, b[..., :2] / S + b[..., 2:] ** 2 / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    union = (a[..., 2:] ** 2).prod(-1) + (b[..., 2:] ** 2).prod(-1) - shared
    iou = shared / union.clamp(min=1e-12)
    chosen = torch.zeros_like(iou, dtype=torch.bool)
    chosen[..., 0] = target[..., 4] > 0
    return chosen, iou * chosen


# %% exercise="4.2" name="every cell has a responsible box" caught="visible" hint="Cells without an object"
# The argmax exists in every cell, also in empty ones.
def responsible(boxes, target):
    S, B = boxes.shape[-3:-1]
    a, b = boxes, target[..., None, :4]
    low = torch.maximum(a[..., :2] / S - a[..., 2:] ** 2 / 2, b[..., :2] / S - b[..., 2:] ** 2 / 2)
    high = torch.minimum(a[..., :2] / S + a[..., 2:] ** 2 / 2, b[..., :2] / S + b[..., 2:] ** 2 / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    union = (a[..., 2:] ** 2).prod(-1) + (b[..., 2:] ** 2).prod(-1) - shared
    iou = shared / union.clamp(min=1e-12)
    chosen = F.one_hot(iou.argmax(-1), B).bool()
    return chosen, iou * chosen


# %% exercise="4.2" name="confidence one" caught="visible" hint="1 is not the IoU"
# What most ports of YOLO train.
def responsible(boxes, target):
    S, B = boxes.shape[-3:-1]
    a, b = boxes, target[..., None, :4]
    low = torch.maximum(a[..., :2] / S - a[..., 2:] ** 2 / 2, b[..., :2] / S - b[..., 2:] ** 2 / 2)
    high = torch.minimum(a[..., :2] / S + a[..., 2:] ** 2 / 2, b[..., :2] / S + b[..., 2:] ** 2 / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    union = (a[..., 2:] ** 2).prod(-1) + (b[..., 2:] ** 2).prod(-1) - shared
    iou = shared / union.clamp(min=1e-12)
    chosen = F.one_hot(iou.argmax(-1), B).bool() & (target[..., 4:5] > 0)
    return chosen, chosen.float()


# %% exercise="4.2" name="all boxes sure of their overlap" caught="visible" hint="other box of its cell gets 0"
# The IoU is there for all boxes, so all get it.
def responsible(boxes, target):
    S, B = boxes.shape[-3:-1]
    a, b = boxes, target[..., None, :4]
    low = torch.maximum(a[..., :2] / S - a[..., 2:] ** 2 / 2, b[..., :2] / S - b[..., 2:] ** 2 / 2)
    high = torch.minimum(a[..., :2] / S + a[..., 2:] ** 2 / 2, b[..., :2] / S + b[..., 2:] ** 2 / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    union = (a[..., 2:] ** 2).prod(-1) + (b[..., 2:] ** 2).prod(-1) - shared
    iou = shared / union.clamp(min=1e-12)
    chosen = F.one_hot(iou.argmax(-1), B).bool() & (target[..., 4:5] > 0)
    return chosen, iou * (target[..., 4:5] > 0)


# %% exercise="4.2" name="offsets in images" caught="visible" hint="0.4 of a cell"
# x and y are compared with widths as they are.
def responsible(boxes, target):
    B = boxes.shape[-2]
    a, b = boxes, target[..., None, :4]
    low = torch.maximum(a[..., :2] - a[..., 2:] ** 2 / 2, b[..., :2] - b[..., 2:] ** 2 / 2)
    high = torch.minimum(a[..., :2] + a[..., 2:] ** 2 / 2, b[..., :2] + b[..., 2:] ** 2 / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    union = (a[..., 2:] ** 2).prod(-1) + (b[..., 2:] ** 2).prod(-1) - shared
    iou = shared / union.clamp(min=1e-12)
    chosen = F.one_hot(iou.argmax(-1), B).bool() & (target[..., 4:5] > 0)
    return chosen, iou * chosen


# %% exercise="4.2" name="forgets to square" caught="visible" hint="square them before"
# The entries are called w and h in the head, and roots in the grid.
def responsible(boxes, target):
    S, B = boxes.shape[-3:-1]
    a, b = boxes, target[..., None, :4]
    low = torch.maximum(a[..., :2] / S - a[..., 2:] / 2, b[..., :2] / S - b[..., 2:] / 2)
    high = torch.minimum(a[..., :2] / S + a[..., 2:] / 2, b[..., :2] / S + b[..., 2:] / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    union = a[..., 2:].prod(-1) + b[..., 2:].prod(-1) - shared
    iou = shared / union.clamp(min=1e-12)
    chosen = F.one_hot(iou.argmax(-1), B).bool() & (target[..., 4:5] > 0)
    return chosen, iou * chosen


# %% exercise="4.2" name="zero by zero" caught="hidden"
# A box without area over an object without area gives NaN.
def responsible(boxes, target):
    S, B = boxes.shape[-3:-1]
    a, b = boxes, target[..., None, :4]
    low = torch.maximum(a[..., :2] / S - a[..., 2:] ** 2 / 2, b[..., :2] / S - b[..., 2:] ** 2 / 2)
    high = torch.minimum(a[..., :2] / S + a[..., 2:] ** 2 / 2, b[..., :2] / S + b[..., 2:] ** 2 / 2)
    shared = (high - low).clamp(min=0).prod(-1)
    iou = shared / ((a[..., 2:] ** 2).prod(-1) + (b[..., 2:] ** 2).prod(-1) - shared)
    chosen = F.one_hot(iou.argmax(-1), B).bool() & (target[..., 4:5] > 0)
    return chosen, iou * chosen


# %% exercise="4.2" name="overlap of boxes far apart" caught="hidden"
# Without a clamp, two negative sides multiply to a positive area.
def responsible(boxes, target):
    S, B = boxes.shape[-3:-1]
    a, b = boxes, target[..., None, :4]
    low = torch.maximum(a[..., :2] / S - a[..., 2:] ** 2 / 2, b[..., :2] / S - b[..., 2:] ** 2 / 2)
    high = torch.minimum(a[..., :2] / S + a[..., 2:] ** 2 / 2, b[..., :2] / S + b[..., 2:] ** 2 / 2)
    shared = (high - low).prod(-1)
    union = (a[..., 2:] ** 2).prod(-1) + (b[..., 2:] ** 2).prod(-1) - shared
    iou = shared / union.clamp(min=1e-12)
    chosen = F.one_hot(iou.argmax(-1), B).bool() & (target[..., 4:5] > 0)
    return chosen, iou * chosen


# %% exercise="4.2" name="one axis at a time" right=True
# The overlap of intervals, multiplied.
def responsible(boxes, target):
    S = boxes.shape[-3]
    truth = target.unsqueeze(-2)
    shared = 1.0
    for i in (0, 1):
        p, q = boxes[..., i] / S, truth[..., i] / S
        v, w = boxes[..., 2 + i].square(), truth[..., 2 + i].square()
        inside = torch.minimum(p + v / 2, q + w / 2) - torch.maximum(p - v / 2, q - w / 2)
        shared = shared * inside.clamp(min=0)
    area = (boxes[..., 2] * boxes[..., 3]) ** 2 + (truth[..., 2] * truth[..., 3]) ** 2
    iou = torch.nan_to_num(shared / (area - shared), nan=0.0)
    place = torch.arange(boxes.shape[-2])
    chosen = (place == iou.argmax(-1, keepdim=True)) & (target[..., 4] > 0).unsqueeze(-1)
    return chosen, torch.where(chosen, iou, 0.0)


# %% exercise="4.3" name="confidence one in the loss" caught="visible" hint="7.55 is what many ports get"
# "Object: yes" is trained as 1.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    boxes = prediction[..., : 5 * B].unflatten(-1, (B, 5))
    with torch.no_grad():
        chosen, _ = responsible(boxes[..., :4], target)
    error = ((boxes[..., :4] - target[..., None, :4]) ** 2)[chosen]
    doubt = (boxes[..., 4] - chosen.float()) ** 2
    wrong = (prediction[..., 5 * B :] - target[..., 5:]) ** 2 * target[..., 4:5]
    terms = [coord * error[:, :2].sum(), coord * error[:, 2:].sum(), doubt[chosen].sum()]
    terms += [no_object * doubt[~chosen].sum(), wrong.sum()]
    return torch.stack(terms) / len(prediction)


# %% exercise="4.3" name="no weight on the coordinates" caught="visible" hint="weight of the coordinates"
# The argument is there and never used.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    boxes = prediction[..., : 5 * B].unflatten(-1, (B, 5))
    with torch.no_grad():
        chosen, goal = responsible(boxes[..., :4], target)
    error = ((boxes[..., :4] - target[..., None, :4]) ** 2)[chosen]
    doubt = (boxes[..., 4] - goal) ** 2
    wrong = (prediction[..., 5 * B :] - target[..., 5:]) ** 2 * target[..., 4:5]
    terms = [error[:, :2].sum(), error[:, 2:].sum(), doubt[chosen].sum()]
    terms += [no_object * doubt[~chosen].sum(), wrong.sum()]
    return torch.stack(terms) / len(prediction)


# %% exercise="4.3" name="silence only in empty cells" caught="visible" hint="second box of a cell"
# The mask of empty cells is used instead of the mask of silent boxes.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    boxes = prediction[..., : 5 * B].unflatten(-1, (B, 5))
    with torch.no_grad():
        chosen, goal = responsible(boxes[..., :4], target)
    error = ((boxes[..., :4] - target[..., None, :4]) ** 2)[chosen]
    doubt = (boxes[..., 4] - goal) ** 2
    wrong = (prediction[..., 5 * B :] - target[..., 5:]) ** 2 * target[..., 4:5]
    terms = [coord * error[:, :2].sum(), coord * error[:, 2:].sum(), doubt[chosen].sum()]
    terms += [no_object * doubt[target[..., 4] == 0].sum(), wrong.sum()]
    return torch.stack(terms) / len(prediction)


# %% exercise="4.3" name="silence for all boxes" caught="visible" hint="ask all boxes for silence"
# The fourth sum is taken over everything.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    boxes = prediction[..., : 5 * B].unflatten(-1, (B, 5))
    with torch.no_grad():
        chosen, goal = responsible(boxes[..., :4], target)
    error = ((boxes[..., :4] - target[..., None, :4]) ** 2)[chosen]
    doubt = (boxes[..., 4] - goal) ** 2
    wrong = (prediction[..., 5 * B :] - target[..., 5:]) ** 2 * target[..., 4:5]
    terms = [coord * error[:, :2].sum(), coord * error[:, 2:].sum(), doubt[chosen].sum()]
    terms += [no_object * (boxes[..., 4] ** 2).sum(), wrong.sum()]
    return torch.stack(terms) / len(prediction)


# %% exercise="4.3" name="classes of empty cells" caught="visible" hint="Empty cells have no class"
# The class term is summed over all cells.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    boxes = prediction[..., : 5 * B].unflatten(-1, (B, 5))
    with torch.no_grad():
        chosen, goal = responsible(boxes[..., :4], target)
    error = ((boxes[..., :4] - target[..., None, :4]) ** 2)[chosen]
    doubt = (boxes[..., 4] - goal) ** 2
    wrong = (prediction[..., 5 * B :] - target[..., 5:]) ** 2
    terms = [coord * error[:, :2].sum(), coord * error[:, 2:].sum(), doubt[chosen].sum()]
    terms += [no_object * doubt[~chosen].sum(), wrong.sum()]
    return torch.stack(terms) / len(prediction)


# %% exercise="4.3" name="roots of roots" caught="visible" hint="do not take roots again"
# The paper's formula is copied although the grid holds roots already.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    boxes = prediction[..., : 5 * B].unflatten(-1, (B, 5))
    with torch.no_grad():
        chosen, goal = responsible(boxes[..., :4], target)
    place = ((boxes[..., :2] - target[..., None, :2]) ** 2)[chosen]
    size = ((boxes[..., 2:4].sqrt() - target[..., None, 2:4].sqrt()) ** 2)[chosen]
    doubt = (boxes[..., 4] - goal) ** 2
    wrong = (prediction[..., 5 * B :] - target[..., 5:]) ** 2 * target[..., 4:5]
    terms = [coord * place.sum(), coord * size.sum(), doubt[chosen].sum()]
    terms += [no_object * doubt[~chosen].sum(), wrong.sum()]
    return torch.stack(terms) / len(prediction)


# %% exercise="4.3" name="gradient through the goal" caught="visible" hint="constant"
# The network may then also lower its error by fitting its box to its confidence.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    boxes = prediction[..., : 5 * B].unflatten(-1, (B, 5))
    chosen, goal = responsible(boxes[..., :4], target)
    error = ((boxes[..., :4] - target[..., None, :4]) ** 2)[chosen]
    doubt = (boxes[..., 4] - goal) ** 2
    wrong = (prediction[..., 5 * B :] - target[..., 5:]) ** 2 * target[..., 4:5]
    terms = [coord * error[:, :2].sum(), coord * error[:, 2:].sum(), doubt[chosen].sum()]
    terms += [no_object * doubt[~chosen].sum(), wrong.sum()]
    return torch.stack(terms) / len(prediction)


# %% exercise="4.3" name="sum over images" caught="visible" hint="Divide by the number of images"
# The batch is forgotten, so that the learning rate depends on its size.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    boxes = prediction[..., : 5 * B].unflatten(-1, (B, 5))
    with torch.no_grad():
        chosen, goal = responsible(boxes[..., :4], target)
    error = ((boxes[..., :4] - target[..., None, :4]) ** 2)[chosen]
    doubt = (boxes[..., 4] - goal) ** 2
    wrong = (prediction[..., 5 * B :] - target[..., 5:]) ** 2 * target[..., 4:5]
    terms = [coord * error[:, :2].sum(), coord * error[:, 2:].sum(), doubt[chosen].sum()]
    terms += [no_object * doubt[~chosen].sum(), wrong.sum()]
    return torch.stack(terms)


# %% exercise="4.3" name="two boxes for ever" caught="hidden"
# The published B is written into the slices.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    boxes = prediction[..., :10].unflatten(-1, (2, 5))
    with torch.no_grad():
        chosen, goal = responsible(boxes[..., :4], target)
    error = ((boxes[..., :4] - target[..., None, :4]) ** 2)[chosen]
    doubt = (boxes[..., 4] - goal) ** 2
    wrong = (prediction[..., 10:] - target[..., 5:]) ** 2 * target[..., 4:5]
    terms = [coord * error[:, :2].sum(), coord * error[:, 2:].sum(), doubt[chosen].sum()]
    terms += [no_object * doubt[~chosen].sum(), wrong.sum()]
    return torch.stack(terms) / len(prediction)


# %% exercise="4.3" name="masks as factors" right=True
# Everything is multiplied by zeros and ones.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    *front, _ = prediction.shape
    boxes = prediction[..., : 5 * B].reshape(*front, B, 5)
    classes = prediction[..., 5 * B :]
    chosen, goal = responsible(boxes.detach()[..., :4], target)
    mine = chosen.to(prediction)
    square = (boxes[..., :4] - target[..., :4].unsqueeze(-2)).square() * mine.unsqueeze(-1)
    doubt = (boxes[..., 4] - goal).square()
    wrong = (classes - target[..., 5:]).square().sum(-1) * target[..., 4]
    weights = prediction.new_tensor([coord, coord, 1, no_object, 1])
    sums = [square[..., :2], square[..., 2:], doubt * mine, doubt * (1 - mine), wrong]
    return weights * torch.stack([part.sum() for part in sums]) / front[0]


# %% exercise="4.3" name="torch's squared error, term by term" right=True
# `mse_loss` sums what a mask has picked.
def yolo_loss(prediction, target, B=2, coord=5.0, no_object=0.5):
    boxes = prediction[..., : 5 * B].unflatten(-1, (B, 5))
    with torch.no_grad():
        chosen, goal = responsible(boxes[..., :4], target)
    truth = target[..., None, :4].expand(*boxes.shape[:-1], 4)
    mine, there = boxes[chosen], target[..., 4] > 0
    pairs = [
        (coord, mine[:, :2], truth[chosen][:, :2]),
        (coord, mine[:, 2:4], truth[chosen][:, 2:]),
        (1, mine[:, 4], goal[chosen]),
        (no_object, boxes[~chosen][:, 4], goal[~chosen]),
        (1, prediction[there][:, 5 * B :], target[there][:, 5:]),
    ]
    terms = [weight * F.mse_loss(a, b, reduction="sum") for weight, a, b in pairs]
    return torch.stack(terms) / len(prediction)


# %% exercise="4.4" name="forgets the cell" caught="visible" hint="forget to add the cell"
# The offset is taken for a place in the image.
def decode_grid(prediction, image_size, threshold, B=2):
    S = len(prediction)
    boxes, classes = prediction[..., : 5 * B].unflatten(-1, (B, 5)), prediction[..., 5 * B :]
    size = torch.tensor([image_size[1], image_size[0]])
    centre, half = boxes[..., :2] / S * size, boxes[..., 2:4] ** 2 * size / 2
    scores, labels = (boxes[..., 4:].clamp(min=0) * classes[:, :, None].clamp(min=0)).max(-1)
    keep = scores > threshold
    return torch.cat([centre - half, centre + half], -1)[keep], scores[keep], labels[keep] + 1


# %% exercise="4.4" name="row for column" caught="visible" hint="x grows with the column"
# meshgrid's two ways of indexing are confused.
def decode_grid(prediction, image_size, threshold, B=2):
    S = len(prediction)
    boxes, classes = prediction[..., : 5 * B].unflatten(-1, (B, 5)), prediction[..., 5 * B :]
    row, column = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="xy")
    cell = torch.stack([column, row], -1)[:, :, None]
    size = torch.tensor([image_size[1], image_size[0]])
    centre, half = (boxes[..., :2] + cell) / S * size, boxes[..., 2:4] ** 2 * size / 2
    scores, labels = (boxes[..., 4:].clamp(min=0) * classes[:, :, None].clamp(min=0)).max(-1)
    keep = scores > threshold
    return torch.cat([centre - half, centre + half], -1)[keep], scores[keep], labels[keep] + 1


# %% exercise="4.4" name="height for width" caught="visible" hint="image_size is (height, width)"
# The size is used in the order in which it is given.
def decode_grid(prediction, image_size, threshold, B=2):
    S = len(prediction)
    boxes, classes = prediction[..., : 5 * B].unflatten(-1, (B, 5)), prediction[..., 5 * B :]
    column, row = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="xy")
    cell = torch.stack([column, row], -1)[:, :, None]
    size = torch.tensor(image_size)
    centre, half = (boxes[..., :2] + cell) / S * size, boxes[..., 2:4] ** 2 * size / 2
    scores, labels = (boxes[..., 4:].clamp(min=0) * classes[:, :, None].clamp(min=0)).max(-1)
    keep = scores > threshold
    return torch.cat([centre - half, centre + half], -1)[keep], scores[keep], labels[keep] + 1


# %% exercise="4.4" name="roots left as they are" caught="visible" hint="square them"
# The root of the size is taken for the size.
def decode_grid(prediction, image_size, threshold, B=2):
    S = len(prediction)
    boxes, classes = prediction[..., : 5 * B].unflatten(-1, (B, 5)), prediction[..., 5 * B :]
    column, row = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="xy")
    cell = torch.stack([column, row], -1)[:, :, None]
    size = torch.tensor([image_size[1], image_size[0]])
    centre, half = (boxes[..., :2] + cell) / S * size, boxes[..., 2:4] * size / 2
    scores, labels = (boxes[..., 4:].clamp(min=0) * classes[:, :, None].clamp(min=0)).max(-1)
    keep = scores > threshold
    return torch.cat([centre - half, centre + half], -1)[keep], scores[keep], labels[keep] + 1


# %% exercise="4.4" name="confidence without class" caught="visible" hint="multiply it by the class number"
# "Score" and "confidence" are taken for the same word.
def decode_grid(prediction, image_size, threshold, B=2):
    S = len(prediction)
    boxes, classes = prediction[..., : 5 * B].unflatten(-1, (B, 5)), prediction[..., 5 * B :]
    column, row = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="xy")
    cell = torch.stack([column, row], -1)[:, :, None]
    size = torch.tensor([image_size[1], image_size[0]])
    centre, half = (boxes[..., :2] + cell) / S * size, boxes[..., 2:4] ** 2 * size / 2
    labels = classes.argmax(-1)[:, :, None].expand(S, S, B)
    keep = boxes[..., 4] > threshold
    corners = torch.cat([centre - half, centre + half], -1)
    return corners[keep], boxes[..., 4][keep], labels[keep] + 1


# %% exercise="4.4" name="softmax on the classes" caught="visible" hint="without a softmax"
# Class numbers are read as logits, as in every other network.
def decode_grid(prediction, image_size, threshold, B=2):
    S = len(prediction)
    boxes, classes = prediction[..., : 5 * B].unflatten(-1, (B, 5)), prediction[..., 5 * B :]
    column, row = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="xy")
    cell = torch.stack([column, row], -1)[:, :, None]
    size = torch.tensor([image_size[1], image_size[0]])
    centre, half = (boxes[..., :2] + cell) / S * size, boxes[..., 2:4] ** 2 * size / 2
    scores, labels = (boxes[..., 4:].clamp(min=0) * classes.softmax(-1)[:, :, None]).max(-1)
    keep = scores > threshold
    return torch.cat([centre - half, centre + half], -1)[keep], scores[keep], labels[keep] + 1


# %% exercise="4.4" name="labels from zero" caught="visible" hint="add one to the argmax"
# The argmax is returned as it is.
def decode_grid(prediction, image_size, threshold, B=2):
    S = len(prediction)
    boxes, classes = prediction[..., : 5 * B].unflatten(-1, (B, 5)), prediction[..., 5 * B :]
    column, row = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="xy")
    cell = torch.stack([column, row], -1)[:, :, None]
    size = torch.tensor([image_size[1], image_size[0]])
    centre, half = (boxes[..., :2] + cell) / S * size, boxes[..., 2:4] ** 2 * size / 2
    scores, labels = (boxes[..., 4:].clamp(min=0) * classes[:, :, None].clamp(min=0)).max(-1)
    keep = scores > threshold
    return torch.cat([centre - half, centre + half], -1)[keep], scores[keep], labels[keep]


# %% exercise="4.4" name="minus times minus" caught="hidden"
# Two negative outputs make a confident detection.
def decode_grid(prediction, image_size, threshold, B=2):
    S = len(prediction)
    boxes, classes = prediction[..., : 5 * B].unflatten(-1, (B, 5)), prediction[..., 5 * B :]
    column, row = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="xy")
    cell = torch.stack([column, row], -1)[:, :, None]
    size = torch.tensor([image_size[1], image_size[0]])
    centre, half = (boxes[..., :2] + cell) / S * size, boxes[..., 2:4] ** 2 * size / 2
    scores, labels = (boxes[..., 4:] * classes[:, :, None]).max(-1)
    keep = scores > threshold
    return torch.cat([centre - half, centre + half], -1)[keep], scores[keep], labels[keep] + 1


# %% exercise="4.4" name="keeps the threshold itself" caught="hidden"
# >= for >.
def decode_grid(prediction, image_size, threshold, B=2):
    S = len(prediction)
    boxes, classes = prediction[..., : 5 * B].unflatten(-1, (B, 5)), prediction[..., 5 * B :]
    column, row = torch.meshgrid(torch.arange(S), torch.arange(S), indexing="xy")
    cell = torch.stack([column, row], -1)[:, :, None]
    size = torch.tensor([image_size[1], image_size[0]])
    centre, half = (boxes[..., :2] + cell) / S * size, boxes[..., 2:4] ** 2 * size / 2
    scores, labels = (boxes[..., 4:].clamp(min=0) * classes[:, :, None].clamp(min=0)).max(-1)
    keep = scores >= threshold
    return torch.cat([centre - half, centre + half], -1)[keep], scores[keep], labels[keep] + 1


# %% exercise="4.4" name="cell by cell" right=True
# Three loops.
def decode_grid(prediction, image_size, threshold, B=2):
    S, (height, width) = len(prediction), image_size
    boxes, scores, labels = [], [], []
    for row in range(S):
        for column in range(S):
            p = prediction[row, column].tolist()
            kinds = p[5 * B :]
            label = max(range(len(kinds)), key=kinds.__getitem__)
            for j in range(B):
                x, y, w, h, sure = p[5 * j : 5 * j + 5]
                score = max(sure, 0) * max(kinds[label], 0)
                if score > threshold:
                    x, y = (column + x) / S * width, (row + y) / S * height
                    w, h = w * w * width, h * h * height
                    boxes.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
                    scores.append(score)
                    labels.append(label + 1)
    return torch.tensor(boxes).reshape(-1, 4), torch.tensor(scores), torch.tensor(labels).long()


# %% exercise="4.5" name="duplicates are hits" caught="visible" hint="second detection of an object"
# Only the overlap is asked for.
def match_detections(boxes, scores, truth, iou=0.5):
    if not len(truth) or not len(boxes):
        return torch.zeros(len(boxes), dtype=torch.bool)
    return (box_iou(boxes, truth) >= iou).any(1)


# %% exercise="4.5" name="first in the list first" caught="visible" hint="Judge the surest first"
# The loop runs over the boxes as they come.
def match_detections(boxes, scores, truth, iou=0.5):
    hits, taken = torch.zeros(len(boxes), dtype=torch.bool), set()
    for i in range(len(boxes) if len(truth) else 0):
        overlaps = box_iou(boxes[i : i + 1], truth)[0]
        best = int(overlaps.argmax())
        if overlaps[best] >= iou and best not in taken:
            taken.add(best)
            hits[i] = True
    return hits


# %% exercise="4.5" name="everything is a hit" caught="visible" hint="compare the overlap"
# The best object exists for every detection, whatever the overlap.
def match_detections(boxes, scores, truth, iou=0.5):
    return torch.full((len(boxes),), len(truth) > 0)


# %% exercise="4.5" name="above the threshold" caught="visible" hint="compare with >="
# > for >=.
def match_detections(boxes, scores, truth, iou=0.5):
    hits, taken = torch.zeros(len(boxes), dtype=torch.bool), set()
    if len(truth):
        for i in scores.argsort(descending=True, stable=True).tolist():
            overlaps = box_iou(boxes[i : i + 1], truth)[0]
            best = int(overlaps.argmax())
            if overlaps[best] > iou and best not in taken:
                taken.add(best)
                hits[i] = True
    return hits


# %% exercise="4.5" name="stops after one hit" caught="visible" hint="each object may have one"
# One flag for the whole image instead of one per object.
def match_detections(boxes, scores, truth, iou=0.5):
    hits = torch.zeros(len(boxes), dtype=torch.bool)
    if len(truth):
        for i in scores.argsort(descending=True, stable=True).tolist():
            if box_iou(boxes[i : i + 1], truth).max() >= iou:
                hits[i] = True
                break
    return hits


# %% exercise="4.5" name="second choice" caught="hidden"
# Taken objects are removed, so a duplicate looks for the next best one.
def match_detections(boxes, scores, truth, iou=0.5):
    hits, taken = torch.zeros(len(boxes), dtype=torch.bool), []
    if len(truth):
        for i in scores.argsort(descending=True, stable=True).tolist():
            overlaps = box_iou(boxes[i : i + 1], truth)[0].clone()
            overlaps[taken] = -1
            best = int(overlaps.argmax())
            if overlaps[best] >= iou:
                taken.append(best)
                hits[i] = True
    return hits


# %% exercise="4.5" name="an image without objects" caught="hidden"
# The maximum of nothing raises.
def match_detections(boxes, scores, truth, iou=0.5):
    hits, taken = torch.zeros(len(boxes), dtype=torch.bool), set()
    for i in scores.argsort(descending=True, stable=True).tolist():
        overlaps = box_iou(boxes[i : i + 1], truth)[0]
        best = int(overlaps.argmax())
        if overlaps[best] >= iou and best not in taken:
            taken.add(best)
            hits[i] = True
    return hits


# %% exercise="4.5" name="all overlaps at once" right=True
# One matrix, then a loop over ranks.
def match_detections(boxes, scores, truth, iou=0.5):
    hits = torch.zeros(len(boxes), dtype=torch.bool)
    if len(boxes) == 0 or len(truth) == 0:
        return hits
    best, which = box_iou(boxes, truth).max(dim=1)
    free = torch.ones(len(truth), dtype=torch.bool)
    for i in torch.argsort(-scores, stable=True):
        hits[i] = free[which[i]] & (best[i] >= iou)
        free[which[i]] &= ~hits[i]
    return hits


# %% exercise="4.6" name="sorts ascending" caught="visible" hint="surest detection comes first"
# argsort sorts upwards.
def average_precision(scores, is_tp, n_gt):
    if not len(scores):
        return 0.0
    hits = is_tp[scores.argsort()]
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return float(envelope[hits].sum() / n_gt)


# %% exercise="4.6" name="does not sort" caught="visible" hint="Sort first"
# The list looks sorted in every example.
def average_precision(scores, is_tp, n_gt):
    if not len(scores):
        return 0.0
    precision = is_tp.cumsum(0) / torch.arange(1, len(is_tp) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return float(envelope[is_tp].sum() / n_gt)


# %% exercise="4.6" name="divides by what was found" caught="visible" hint="not only by those"
# The number of objects is taken from the detections.
def average_precision(scores, is_tp, n_gt):
    if not is_tp.any():
        return 0.0
    hits = is_tp[scores.argsort(descending=True, stable=True)]
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return float(envelope[hits].sum() / hits.sum())


# %% exercise="4.6" name="no envelope" caught="visible" hint="run the maximum from the end"
# The mean of the precision at hits, as information retrieval has it.
def average_precision(scores, is_tp, n_gt):
    if not len(scores):
        return 0.0
    hits = is_tp[scores.argsort(descending=True, stable=True)]
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    return float(precision[hits].sum() / n_gt)


# %% exercise="4.6" name="mean over all ranks" caught="visible" hint="add only at hits"
# The mean of the precision column.
def average_precision(scores, is_tp, n_gt):
    if not len(scores):
        return 0.0
    hits = is_tp[scores.argsort(descending=True, stable=True)]
    return float((hits.cumsum(0) / torch.arange(1, len(hits) + 1)).mean())


# %% exercise="4.6" name="no detections, no number" caught="hidden"
# The mean of nothing is NaN.
def average_precision(scores, is_tp, n_gt):
    hits = is_tp[scores.argsort(descending=True, stable=True)]
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return float(envelope[hits].mean() * hits.sum() / n_gt)


# %% exercise="4.6" name="ties from behind" caught="hidden"
# Sorting upwards and turning round also turns equal scores round.
def average_precision(scores, is_tp, n_gt):
    if not len(scores):
        return 0.0
    hits = is_tp[scores.argsort(stable=True).flip(0)]
    precision = hits.cumsum(0) / torch.arange(1, len(hits) + 1)
    envelope = precision.flip(0).cummax(0).values.flip(0)
    return float(envelope[hits].sum() / n_gt)


# %% exercise="4.6" name="recall by recall" right=True
# The area as a sum of rectangles over recall.
def average_precision(scores, is_tp, n_gt):
    rank = sorted(range(len(scores)), key=lambda i: -float(scores[i]))
    found, points = 0, []
    for seen, i in enumerate(rank, 1):
        found += bool(is_tp[i])
        points.append((found / n_gt, found / seen))
    area, before = 0.0, 0.0
    for k, (recall, _) in enumerate(points):
        area += (recall - before) * max(precision for _, precision in points[k:])
        before = recall
    return area
