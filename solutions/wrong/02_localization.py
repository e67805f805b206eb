# The zoo of lab 2: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="2.1" name="no clamp" caught="visible" hint="Two negative sides"
# Two boxes apart in x and in y: minus times minus is plus.
def box_iou(a, b):
    low = torch.maximum(a[:, None, :2], b[:, :2])
    high = torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).prod(dim=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).prod(dim=1) for x in (a, b))
    union = area_a[:, None] + area_b - shared
    return shared / torch.where(union > 0, union, 1.0)


# %% exercise="2.1" name="widths with + 1" caught="visible" hint="No + 1"
# The convention of Pascal VOC's development kit.
def box_iou(a, b):
    low = torch.maximum(a[:, None, :2], b[:, :2])
    high = torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low + 1).clamp(min=0).prod(dim=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2] + 1).prod(dim=1) for x in (a, b))
    return shared / (area_a[:, None] + area_b - shared)


# %% exercise="2.1" name="shared part counted twice" caught="visible" hint="subtract it"
# The union is taken for the sum of the areas.
def box_iou(a, b):
    low = torch.maximum(a[:, None, :2], b[:, :2])
    high = torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(dim=1) for x in (a, b))
    return shared / (area_a[:, None] + area_b).clamp(min=1e-9)


# %% exercise="2.1" name="over the smaller box" caught="visible" hint="not by the smaller box"
# "How much of the object is covered" is another measure.
def box_iou(a, b):
    low = torch.maximum(a[:, None, :2], b[:, :2])
    high = torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(dim=1) for x in (a, b))
    return shared / torch.minimum(area_a[:, None], area_b).clamp(min=1e-9)


# %% exercise="2.1" name="rows and columns exchanged" caught="visible" hint="Rows are the boxes of `a`"
# (M, N): with as many boxes on both sides nobody would see it.
def box_iou(a, b):
    low = torch.maximum(b[:, None, :2], a[:, :2])
    high = torch.minimum(b[:, None, 2:], a[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(dim=1) for x in (a, b))
    union = area_b[:, None] + area_a - shared
    return shared / torch.where(union > 0, union, 1.0)


# %% exercise="2.1" name="box by box" caught="visible"
# Pairs box i with box i: the two lists must then be equally long.
def box_iou(a, b):
    low = torch.maximum(a[:, :2], b[:, :2])
    high = torch.minimum(a[:, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=1)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(dim=1) for x in (a, b))
    return shared / (area_a + area_b - shared)


# %% exercise="2.1" name="empty boxes give nan" caught="visible" hint="0 / 0 is nan"
# The union of two empty boxes is 0.
def box_iou(a, b):
    low = torch.maximum(a[:, None, :2], b[:, :2])
    high = torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(dim=1) for x in (a, b))
    return shared / (area_a[:, None] + area_b - shared)


# %% exercise="2.1" name="nan removed after the division" caught="visible" hint="before dividing"
# The value is right, the gradient is nan.
def box_iou(a, b):
    ax0, ay0, ax1, ay1 = a.unbind(1)
    bx0, by0, bx1, by1 = b.unbind(1)
    w = (torch.minimum(ax1[:, None], bx1) - torch.maximum(ax0[:, None], bx0)).clamp(min=0)
    h = (torch.minimum(ay1[:, None], by1) - torch.maximum(ay0[:, None], by0)).clamp(min=0)
    area, other = (ax1 - ax0) * (ay1 - ay0), (bx1 - bx0) * (by1 - by0)
    union = area[:, None] + other - w * h
    return torch.where(union > 0, w * h / union, 0.0)


# %% exercise="2.1" name="inside-out boxes have area" caught="hidden"
# Both sides negative: the area of an empty box comes out positive.
def box_iou(a, b):
    low = torch.maximum(a[:, None, :2], b[:, :2])
    high = torch.minimum(a[:, None, 2:], b[:, 2:])
    shared = (high - low).clamp(min=0).prod(dim=2)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).abs().prod(dim=1) for x in (a, b))
    union = area_a[:, None] + area_b - shared
    return (shared / torch.where(union > 0, union, 1.0)).detach()


# %% exercise="2.1" name="by columns" right=True
# Widths and heights one after the other.
def box_iou(a, b):
    ax0, ay0, ax1, ay1 = a.unbind(1)
    bx0, by0, bx1, by1 = b.unbind(1)
    w = torch.relu(torch.minimum(ax1[:, None], bx1) - torch.maximum(ax0[:, None], bx0))
    h = torch.relu(torch.minimum(ay1[:, None], by1) - torch.maximum(ay0[:, None], by0))
    shared = w * h
    area = torch.relu(ax1 - ax0) * torch.relu(ay1 - ay0)
    other = torch.relu(bx1 - bx0) * torch.relu(by1 - by0)
    union = area[:, None] + other - shared
    return shared / union.clamp(min=1e-9)


# %% exercise="2.2" name="far corner left in" caught="visible" hint="Third and fourth"
# Only the first pair is converted.
def to_cxcywh(corners):
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(low + high) / 2, high], dim=-1)


def to_xyxy(centres):
    middle, high = centres[..., :2], centres[..., 2:]
    return torch.cat([2 * middle - high, high], dim=-1)


# %% exercise="2.2" name="corner and size, there and back" caught="visible" hint="centre, not the corner"
# Both functions use COCO's form, so that a round trip is right.
def to_cxcywh(corners):
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([low, high - low], dim=-1)


def to_xyxy(centres):
    low, size = centres[..., :2], centres[..., 2:]
    return torch.cat([low, low + size], dim=-1)


# %% exercise="2.2" name="half sizes, there and back" caught="visible" hint="whole, not half"
# Half the width both ways: the round trip is right again.
def to_cxcywh(corners):
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(low + high) / 2, (high - low) / 2], dim=-1)


def to_xyxy(centres):
    middle, size = centres[..., :2], centres[..., 2:]
    return torch.cat([middle - size, middle + size], dim=-1)


# %% exercise="2.2" name="half the width for the centre" caught="visible" hint="add x0"
# (x1 - x0) / 2 is the middle of a box at the origin.
def to_cxcywh(corners):
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(high - low) / 2, high - low], dim=-1)


def to_xyxy(centres):
    middle, size = centres[..., :2], centres[..., 2:]
    return torch.cat([middle - size / 2, middle + size / 2], dim=-1)


# %% exercise="2.2" name="whole size to each side" caught="visible" hint="half the size to each side"
# The way back forgets the half.
def to_cxcywh(corners):
    low, high = corners[..., :2], corners[..., 2:]
    return torch.cat([(low + high) / 2, high - low], dim=-1)


def to_xyxy(centres):
    middle, size = centres[..., :2], centres[..., 2:]
    return torch.cat([middle - size, middle + size], dim=-1)


# %% exercise="2.2" name="y before x" caught="visible" hint="x comes before y"
# Image coordinates are written as (row, column).
def to_cxcywh(corners):
    x0, y0, x1, y1 = corners.unbind(-1)
    return torch.stack([(y0 + y1) / 2, (x0 + x1) / 2, y1 - y0, x1 - x0], dim=-1)


def to_xyxy(centres):
    cy, cx, h, w = centres.unbind(-1)
    return torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2], dim=-1)


# %% exercise="2.2" name="second axis instead of last" caught="visible" hint="last axis"
# boxes[:, :2] needs exactly one leading axis.
def to_cxcywh(corners):
    low, high = corners[:, :2], corners[:, 2:]
    return torch.cat([(low + high) / 2, high - low], dim=1)


def to_xyxy(centres):
    middle, size = centres[:, :2], centres[:, 2:]
    return torch.cat([middle - size / 2, middle + size / 2], dim=1)


# %% exercise="2.2" name="in place" caught="hidden"
# The caller's boxes are overwritten.
def to_cxcywh(corners):
    corners[..., 2:] -= corners[..., :2]
    corners[..., :2] += corners[..., 2:] / 2
    return corners


def to_xyxy(centres):
    centres[..., :2] -= centres[..., 2:] / 2
    centres[..., 2:] += centres[..., :2]
    return centres


# %% exercise="2.2" name="matrices" right=True
# Both conversions are linear.
def to_cxcywh(corners):
    m = [[0.5, 0, 0.5, 0], [0, 0.5, 0, 0.5], [-1, 0, 1, 0], [0, -1, 0, 1]]
    return corners @ torch.tensor(m, dtype=corners.dtype).T


def to_xyxy(centres):
    m = [[1, 0, -0.5, 0], [0, 1, 0, -0.5], [1, 0, 0.5, 0], [0, 1, 0, 0.5]]
    return centres @ torch.tensor(m, dtype=centres.dtype).T


# %% exercise="2.3" name="a step at beta" caught="visible" hint="do not meet at beta"
# |d| outside, without - beta / 2.
def smooth_l1(pred, target, beta=0.1):
    distance = (pred - target).abs()
    if beta == 0:
        return distance
    return torch.where(distance < beta, distance**2 / (2 * beta), distance)


# %% exercise="2.3" name="half the square, undivided" caught="visible" hint="Divide the square by beta"
# The formula for beta = 1 is used for all.
def smooth_l1(pred, target, beta=0.1):
    distance = (pred - target).abs()
    if beta == 0:
        return distance
    return torch.where(distance < beta, distance**2 / 2, distance - beta / 2)


# %% exercise="2.3" name="Huber" caught="visible" hint="Huber loss"
# Another loss under the same picture: beta times smaller.
def smooth_l1(pred, target, beta=0.1):
    distance = (pred - target).abs()
    if beta == 0:
        return distance
    return torch.where(distance < beta, distance**2 / 2, beta * (distance - beta / 2))


# %% exercise="2.3" name="sign kept in the test" caught="visible" hint="before you compare with beta"
# A large negative error is smaller than beta.
def smooth_l1(pred, target, beta=0.1):
    d = pred - target
    if beta == 0:
        return d.abs()
    return torch.where(d < beta, d**2 / (2 * beta), d.abs() - beta / 2)


# %% exercise="2.3" name="branches exchanged" caught="visible" hint="square belongs to small errors"
# > for <.
def smooth_l1(pred, target, beta=0.1):
    distance = (pred - target).abs()
    if beta == 0:
        return distance
    return torch.where(distance > beta, distance**2 / (2 * beta), distance - beta / 2)


# %% exercise="2.3" name="mean" caught="visible" hint="loss of every entry"
# Losses usually return one number.
def smooth_l1(pred, target, beta=0.1):
    distance = (pred - target).abs()
    if beta == 0:
        return distance.mean()
    return torch.where(distance < beta, distance**2 / (2 * beta), distance - beta / 2).mean()


# %% exercise="2.3" name="the 2 forgotten" caught="visible" hint="The 2 is missing"
# The slope at beta is then 2, and jumps to 1.
def smooth_l1(pred, target, beta=0.1):
    distance = (pred - target).abs()
    if beta == 0:
        return distance
    return torch.where(distance < beta, distance**2 / beta, distance - beta / 2)


# %% exercise="2.3" name="beta 0 not treated" caught="hidden"
# where() computes the branch that divides by zero, and its gradient is nan.
def smooth_l1(pred, target, beta=0.1):
    distance = (pred - target).abs()
    return torch.where(distance < beta, distance**2 / (2 * beta), distance - beta / 2)


# %% exercise="2.3" name="a slope of one half at the seam" right=True
# The part up to beta and the rest; `minimum` halves a gradient where its arguments tie.
def smooth_l1(pred, target, beta=0.1):
    distance = (pred - target).abs()
    if beta == 0:
        return distance
    near = torch.minimum(distance, torch.full_like(distance, beta))
    return near**2 / (2 * beta) + F.relu(distance - beta)


# %% exercise="2.3" name="one formula" right=True
# With m = min(|d|, beta): m² / (2 beta) + |d| - m.
def smooth_l1(pred, target, beta=0.1):
    distance = torch.abs(pred - target)
    if not beta:
        return distance
    inner = distance.clamp(max=beta)
    return inner**2 / (2 * beta) + distance - inner


# %% exercise="2.4" name="both heads read averages" caught="visible" hint="reads all cells"
# The way of classification networks, taken over for the box.
class TwoHeads(nn.Module):
    def __init__(self, channels, hw, classes, pooled=False):
        super().__init__()
        self.class_head = nn.Linear(channels, classes)
        self.box_head = nn.Linear(channels, 4)

    def forward(self, features):
        average = features.mean(dim=(2, 3))
        return self.class_head(average), self.box_head(average)


# %% exercise="2.4" name="both heads read the whole map" caught="visible" hint="class head reads averages"
# The way of AlexNet.
class TwoHeads(nn.Module):
    def __init__(self, channels, hw, classes, pooled=False):
        super().__init__()
        self.pooled = pooled
        cells = hw[0] * hw[1]
        self.class_head = nn.Linear(channels * cells, classes)
        self.box_head = nn.Linear(channels if pooled else channels * cells, 4)

    def forward(self, features):
        flat = features.flatten(1)
        where = features.mean(dim=(2, 3)) if self.pooled else flat
        return self.class_head(flat), self.box_head(where)


# %% exercise="2.4" name="pooled ignored" caught="visible" hint="With `pooled`"
# The switch is stored and never read.
class TwoHeads(nn.Module):
    def __init__(self, channels, hw, classes, pooled=False):
        super().__init__()
        self.pooled = pooled
        self.class_head = nn.Linear(channels, classes)
        self.box_head = nn.Linear(channels * hw[0] * hw[1], 4)

    def forward(self, features):
        return self.class_head(features.mean(dim=(2, 3))), self.box_head(features.flatten(1))


# %% exercise="2.4" name="pooled the wrong way round" caught="visible" hint="reads all cells"
# The condition is inverted.
class TwoHeads(nn.Module):
    def __init__(self, channels, hw, classes, pooled=False):
        super().__init__()
        self.pooled = pooled
        cells = hw[0] * hw[1] if pooled else 1
        self.class_head = nn.Linear(channels, classes)
        self.box_head = nn.Linear(channels * cells, 4)

    def forward(self, features):
        average = features.mean(dim=(2, 3))
        where = features.flatten(1) if self.pooled else average
        return self.class_head(average), self.box_head(where)


# %% exercise="2.4" name="four boxes per class" caught="visible"
# One box for each class is another design, of OverFeat and Fast R-CNN.
class TwoHeads(nn.Module):
    def __init__(self, channels, hw, classes, pooled=False):
        super().__init__()
        self.pooled = pooled
        cells = 1 if pooled else hw[0] * hw[1]
        self.class_head = nn.Linear(channels, classes)
        self.box_head = nn.Linear(channels * cells, 4 * classes)

    def forward(self, features):
        average = features.mean(dim=(2, 3))
        where = average if self.pooled else features.flatten(1)
        return self.class_head(average), self.box_head(where)


# %% exercise="2.4" name="right sizes, place thrown away" caught="visible" hint="flatten, do not average"
# The average is spread over all cells again to fit the weights.
class TwoHeads(nn.Module):
    def __init__(self, channels, hw, classes, pooled=False):
        super().__init__()
        self.pooled = pooled
        cells = 1 if pooled else hw[0] * hw[1]
        self.class_head = nn.Linear(channels, classes)
        self.box_head = nn.Linear(channels * cells, 4)

    def forward(self, features):
        average = features.mean(dim=(2, 3), keepdim=True)
        spread = average if self.pooled else average.expand_as(features)
        return self.class_head(average.flatten(1)), self.box_head(spread.flatten(1))


# %% exercise="2.4" name="boxes through a sigmoid" caught="hidden"
# Relative boxes lie between 0 and 1, so it seems natural.
class TwoHeads(nn.Module):
    def __init__(self, channels, hw, classes, pooled=False):
        super().__init__()
        self.pooled = pooled
        cells = 1 if pooled else hw[0] * hw[1]
        self.class_head = nn.Linear(channels, classes)
        self.box_head = nn.Linear(channels * cells, 4)

    def forward(self, features):
        average = features.mean(dim=(2, 3))
        where = average if self.pooled else features.flatten(1)
        return self.class_head(average), self.box_head(where).sigmoid()


# %% exercise="2.4" name="largest value instead of the average" caught="hidden"
# Max pooling does not depend on the place either.
class TwoHeads(nn.Module):
    def __init__(self, channels, hw, classes, pooled=False):
        super().__init__()
        self.pooled = pooled
        cells = 1 if pooled else hw[0] * hw[1]
        self.class_head = nn.Linear(channels, classes)
        self.box_head = nn.Linear(channels * cells, 4)

    def forward(self, features):
        largest = features.amax(dim=(2, 3))
        where = largest if self.pooled else features.flatten(1)
        return self.class_head(largest), self.box_head(where)


# %% exercise="2.4" name="adaptive pooling" right=True
# nn.AdaptiveAvgPool2d and nn.Flatten as modules.
class TwoHeads(nn.Module):
    def __init__(self, channels, hw, classes, pooled=False):
        super().__init__()
        self.average = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.where = self.average if pooled else nn.Flatten()
        h, w = (1, 1) if pooled else hw
        self.class_head = nn.Linear(channels, classes)
        self.box_head = nn.Linear(channels * h * w, 4)

    def forward(self, features):
        return self.class_head(self.average(features)), self.box_head(self.where(features))


# %% exercise="2.5" name="background boxes count" caught="visible" hint="choose the rows first"
# has_object is not used.
def multitask_loss(logits, found, labels, truth, has_object, lam=1.0, beta=0.1):
    distance = smooth_l1(found, truth, beta).sum(dim=1).mean()
    return F.cross_entropy(logits, labels) + lam * distance


# %% exercise="2.5" name="mean over all images" caught="visible" hint="images with an object, not by all"
# The denominator still counts the background.
def multitask_loss(logits, found, labels, truth, has_object, lam=1.0, beta=0.1):
    distance = smooth_l1(found[has_object], truth[has_object], beta).sum()
    return F.cross_entropy(logits, labels) + lam * distance / len(labels)


# %% exercise="2.5" name="mean over coordinates" caught="visible" hint="Sum over the four coordinates"
# .mean() takes all four numbers and all images.
def multitask_loss(logits, found, labels, truth, has_object, lam=1.0, beta=0.1):
    loss = F.cross_entropy(logits, labels)
    if has_object.any():
        loss = loss + lam * smooth_l1(found[has_object], truth[has_object], beta).mean()
    return loss


# %% exercise="2.5" name="sum over the images" caught="visible" hint="that is the sum"
# .sum() and no division.
def multitask_loss(logits, found, labels, truth, has_object, lam=1.0, beta=0.1):
    distance = smooth_l1(found[has_object], truth[has_object], beta).sum()
    return F.cross_entropy(logits, labels) + lam * distance


# %% exercise="2.5" name="multiplies with the mask" caught="visible" hint="0 times nan is nan"
# Zero times nan is nan, and so is the loss.
def multitask_loss(logits, found, labels, truth, has_object, lam=1.0, beta=0.1):
    mask = has_object.float()[:, None]
    distance = (smooth_l1(found, truth, beta) * mask).sum() / mask.sum().clamp(min=1)
    return F.cross_entropy(logits, labels) + lam * distance


# %% exercise="2.5" name="nan without objects" caught="visible" hint="mean of nothing is nan"
# The mean over an empty list.
def multitask_loss(logits, found, labels, truth, has_object, lam=1.0, beta=0.1):
    distance = smooth_l1(found[has_object], truth[has_object], beta).sum(dim=1).mean()
    return F.cross_entropy(logits, labels) + lam * distance


# %% exercise="2.5" name="classes of objects only, divided by them" caught="visible" hint="is missing"
# The class term is forgotten where the box term is written.
def multitask_loss(logits, found, labels, truth, has_object, lam=1.0, beta=0.1):
    distance = smooth_l1(found[has_object], truth[has_object], beta).sum()
    return lam * distance / has_object.sum().clamp(min=1)


# %% exercise="2.5" name="lambda on both terms" caught="hidden"
# With the default of 1 nobody sees it.
def multitask_loss(logits, found, labels, truth, has_object, lam=1.0, beta=0.1):
    distance = smooth_l1(found[has_object], truth[has_object], beta).sum()
    distance = distance / has_object.sum().clamp(min=1)
    return lam * (F.cross_entropy(logits, labels) + distance)


# %% exercise="2.5" name="classes of the objects only" caught="hidden"
# "No object" is a class too, and it must be learned.
def multitask_loss(logits, found, labels, truth, has_object, lam=1.0, beta=0.1):
    if not has_object.any():
        return F.cross_entropy(logits, labels)
    distance = smooth_l1(found[has_object], truth[has_object], beta).sum(dim=1).mean()
    return F.cross_entropy(logits[has_object], labels[has_object]) + lam * distance


# %% exercise="2.5" name="where before the distance" right=True
# Puts the prediction itself where there is no truth.
def multitask_loss(logits, found, labels, truth, has_object, lam=1.0, beta=0.1):
    goal = torch.where(has_object[:, None], truth, found.detach())
    distance = smooth_l1(found, goal, beta).sum() / max(int(has_object.sum()), 1)
    scores = logits.log_softmax(dim=1)
    return -scores[torch.arange(len(labels)), labels].mean() + lam * distance


# %% exercise="2.6" name="class or box" caught="visible" hint="not one of them"
# | for &.
def localization_accuracy(logits, found, labels, truth, threshold=0.5):
    right = logits.argmax(dim=1) == labels
    overlap = box_iou(to_xyxy(found), to_xyxy(truth)).diagonal()
    return float((right | (overlap >= threshold)).float().mean())


# %% exercise="2.6" name="more than the threshold" caught="visible" hint="exactly 0.5 is enough"
# > for >=.
def localization_accuracy(logits, found, labels, truth, threshold=0.5):
    right = logits.argmax(dim=1) == labels
    overlap = box_iou(to_xyxy(found), to_xyxy(truth)).diagonal()
    return float((right & (overlap > threshold)).float().mean())


# %% exercise="2.6" name="box only" caught="visible" hint="class must be right too"
# The class is forgotten.
def localization_accuracy(logits, found, labels, truth, threshold=0.5):
    overlap = box_iou(to_xyxy(found), to_xyxy(truth)).diagonal()
    return float((overlap >= threshold).float().mean())


# %% exercise="2.6" name="class only" caught="visible" hint="box must be right too"
# The usual accuracy.
def localization_accuracy(logits, found, labels, truth, threshold=0.5):
    return float((logits.argmax(dim=1) == labels).float().mean())


# %% exercise="2.6" name="product of two accuracies" caught="visible" hint="product of two accuracies"
# As if the two errors did not depend on each other.
def localization_accuracy(logits, found, labels, truth, threshold=0.5):
    right = (logits.argmax(dim=1) == labels).float().mean()
    overlap = box_iou(to_xyxy(found), to_xyxy(truth)).diagonal()
    return float(right * (overlap >= threshold).float().mean())


# %% exercise="2.6" name="any truth will do" caught="visible" hint="image i has truth i"
# The best overlap with any box of the batch.
def localization_accuracy(logits, found, labels, truth, threshold=0.5):
    right = logits.argmax(dim=1) == labels
    overlap = box_iou(to_xyxy(found), to_xyxy(truth)).amax(dim=1)
    return float((right & (overlap >= threshold)).float().mean())


# %% exercise="2.6" name="centre form taken for corners" caught="visible" hint="centre form"
# The boxes go into box_iou as they come.
def localization_accuracy(logits, found, labels, truth, threshold=0.5):
    right = logits.argmax(dim=1) == labels
    overlap = box_iou(found, truth).diagonal()
    return float((right & (overlap >= threshold)).float().mean())


# %% exercise="2.6" name="threshold ignored" caught="hidden"
# 0.5 is written into the code.
def localization_accuracy(logits, found, labels, truth, threshold=0.5):
    right = logits.argmax(dim=1) == labels
    overlap = box_iou(to_xyxy(found), to_xyxy(truth)).diagonal()
    return float((right & (overlap >= 0.5)).float().mean())


# %% exercise="2.6" name="image by image" right=True
# A plain loop.
def localization_accuracy(logits, found, labels, truth, threshold=0.5):
    right = 0
    for i in range(len(labels)):
        overlap = box_iou(to_xyxy(found[i : i + 1]), to_xyxy(truth[i : i + 1]))
        right += int(logits[i].argmax() == labels[i] and overlap.item() >= threshold)
    return right / len(labels)
