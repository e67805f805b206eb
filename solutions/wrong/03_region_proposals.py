# The zoo of lab 3: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="3.1" name="divides by the object" caught="visible" hint="not of the object"
# The size of the goal is as near at hand as that of the start.
def encode(boxes, anchors):
    size, goal = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:]) / 2 - (anchors[:, :2] + anchors[:, 2:]) / 2
    return torch.cat([shift / goal, (goal / size).log()], 1)


def decode(t, anchors):
    size = anchors[:, 2:] - anchors[:, :2]
    goal = size * t[:, 2:].exp()
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + t[:, :2] * goal
    return torch.cat([centre - goal / 2, centre + goal / 2], 1)


# %% exercise="3.1" name="no logarithm" caught="visible" hint="need the logarithm"
# A ratio looks scale-free enough.
def encode(boxes, anchors):
    size, goal = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:]) / 2 - (anchors[:, :2] + anchors[:, 2:]) / 2
    return torch.cat([shift / size, goal / size], 1)


def decode(t, anchors):
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + t[:, :2] * size
    half = size * t[:, 2:] / 2
    return torch.cat([centre - half, centre + half], 1)


# %% exercise="3.1" name="from corner to corner" caught="visible" hint="not between corners"
# Boxes come as corners, so corners are compared.
def encode(boxes, anchors):
    size, goal = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    return torch.cat([(boxes[:, :2] - anchors[:, :2]) / size, (goal / size).log()], 1)


def decode(t, anchors):
    size = anchors[:, 2:] - anchors[:, :2]
    corner = anchors[:, :2] + t[:, :2] * size
    return torch.cat([corner, corner + size * t[:, 2:].exp()], 1)


# %% exercise="3.1" name="roles swapped" caught="visible" hint="roles are swapped"
# Which box moves onto which?
def encode(boxes, anchors):
    size, goal = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    shift = (anchors[:, :2] + anchors[:, 2:]) / 2 - (boxes[:, :2] + boxes[:, 2:]) / 2
    return torch.cat([shift / size, (goal / size).log()], 1)


def decode(t, anchors):
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + t[:, :2] * size
    half = size * t[:, 2:].exp() / 2
    return torch.cat([centre - half, centre + half], 1)


# %% exercise="3.1" name="height under x" caught="visible" hint="x is divided by the width"
# Sizes are kept as (height, width), as images are.
def encode(boxes, anchors):
    size, goal = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:]) / 2 - (anchors[:, :2] + anchors[:, 2:]) / 2
    return torch.cat([shift / size.flip(1), (goal / size).log()], 1)


def decode(t, anchors):
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + t[:, :2] * size.flip(1)
    half = size * t[:, 2:].exp() / 2
    return torch.cat([centre - half, centre + half], 1)


# %% exercise="3.1" name="shifts by the new size" caught="visible" hint="you use the new size"
# The size is overwritten before the centre is moved.
def encode(boxes, anchors):
    size, goal = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:]) / 2 - (anchors[:, :2] + anchors[:, 2:]) / 2
    return torch.cat([shift / size, (goal / size).log()], 1)


def decode(t, anchors):
    size = (anchors[:, 2:] - anchors[:, :2]) * t[:, 2:].exp()
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + t[:, :2] * size
    return torch.cat([centre - size / 2, centre + size / 2], 1)


# %% exercise="3.1" name="returns centre and size" caught="visible" hint="not centre and size"
# The last conversion is forgotten.
def encode(boxes, anchors):
    size, goal = anchors[:, 2:] - anchors[:, :2], boxes[:, 2:] - boxes[:, :2]
    shift = (boxes[:, :2] + boxes[:, 2:]) / 2 - (anchors[:, :2] + anchors[:, 2:]) / 2
    return torch.cat([shift / size, (goal / size).log()], 1)


def decode(t, anchors):
    size = anchors[:, 2:] - anchors[:, :2]
    centre = (anchors[:, :2] + anchors[:, 2:]) / 2 + t[:, :2] * size
    return torch.cat([centre, size * t[:, 2:].exp()], 1)


# %% exercise="3.1" name="without gradient" caught="hidden"
# Lists of numbers do the arithmetic, and the gradient is cut.
def encode(boxes, anchors):
    rows = []
    for (a, b, c, d), (p, q, r, s) in zip(boxes.tolist(), anchors.tolist()):
        w, h = r - p, s - q
        x, y = ((a + c) - (p + r)) / 2 / w, ((b + d) - (q + s)) / 2 / h
        rows.append([x, y, math.log((c - a) / w), math.log((d - b) / h)])
    return torch.tensor(rows).reshape(-1, 4)


def decode(t, anchors):
    rows = []
    for (x, y, v, u), (p, q, r, s) in zip(t.tolist(), anchors.tolist()):
        w, h = (r - p) * math.exp(v), (s - q) * math.exp(u)
        cx, cy = (p + r) / 2 + x * (r - p), (q + s) / 2 + y * (s - q)
        rows.append([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2])
    return torch.tensor(rows).reshape(-1, 4)


# %% exercise="3.1" name="column by column" right=True
# The equations of the paper, one by one.
def encode(boxes, anchors):
    def centre_form(b):
        x0, y0, x1, y1 = b.unbind(1)
        return (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0

    (gx, gy, gw, gh), (px, py, pw, ph) = centre_form(boxes), centre_form(anchors)
    t = [(gx - px) / pw, (gy - py) / ph, gw.log() - pw.log(), gh.log() - ph.log()]
    return torch.stack(t, dim=1)


def decode(t, anchors):
    x0, y0, x1, y1 = anchors.unbind(1)
    w, h = x1 - x0, y1 - y0
    gx, gy = t[:, 0] * w + x0 + w / 2, t[:, 1] * h + y0 + h / 2
    gw, gh = torch.exp(t[:, 2]) * w, torch.exp(t[:, 3]) * h
    return torch.stack([gx - gw / 2, gy - gh / 2, gx + gw / 2, gy + gh / 2], dim=1)


# %% exercise="3.2" name="nobody is rescued" caught="visible" hint="its best proposal counts"
# The last rule is overlooked, and small objects are never learnt.
def assign(proposals, gt, hi, lo):
    labels = torch.full((len(proposals),), -1)
    if not len(gt) or not len(proposals):
        return torch.zeros_like(labels), labels
    best, matches = box_iou(proposals, gt).max(dim=1)
    labels[best < lo] = 0
    labels[best >= hi] = 1
    return labels, torch.where(labels == 1, matches, -1)


# %% exercise="3.2" name="ignored is background" caught="visible" hint="not background"
# Two labels instead of three.
def assign(proposals, gt, hi, lo):
    labels = torch.zeros(len(proposals), dtype=torch.int64)
    if not len(gt) or not len(proposals):
        return labels, labels - 1
    overlaps = box_iou(proposals, gt)
    best, matches = overlaps.max(dim=1)
    labels[best >= hi] = 1
    top = overlaps.max(dim=0).values
    labels[((overlaps == top) & (top > 0)).any(1)] = 1
    return labels, torch.where(labels == 1, matches, -1)


# %% exercise="3.2" name="above hi" caught="visible" hint="of exactly hi too"
# > for >=.
def assign(proposals, gt, hi, lo):
    labels = torch.full((len(proposals),), -1)
    if not len(gt) or not len(proposals):
        return torch.zeros_like(labels), labels
    overlaps = box_iou(proposals, gt)
    best, matches = overlaps.max(dim=1)
    labels[best < lo] = 0
    labels[best > hi] = 1
    top = overlaps.max(dim=0).values
    labels[((overlaps == top) & (top > 0)).any(1)] = 1
    return labels, torch.where(labels == 1, matches, -1)


# %% exercise="3.2" name="up to lo" caught="visible" hint="exactly lo is not below"
# <= for <.
def assign(proposals, gt, hi, lo):
    labels = torch.full((len(proposals),), -1)
    if not len(gt) or not len(proposals):
        return torch.zeros_like(labels), labels
    overlaps = box_iou(proposals, gt)
    best, matches = overlaps.max(dim=1)
    labels[best <= lo] = 0
    labels[best >= hi] = 1
    top = overlaps.max(dim=0).values
    labels[((overlaps == top) & (top > 0)).any(1)] = 1
    return labels, torch.where(labels == 1, matches, -1)


# %% exercise="3.2" name="everything has an object" caught="visible" hint="Only foreground has an object"
# The argmax exists for every proposal.
def assign(proposals, gt, hi, lo):
    labels = torch.full((len(proposals),), -1)
    if not len(gt) or not len(proposals):
        return torch.zeros_like(labels), labels
    overlaps = box_iou(proposals, gt)
    best, matches = overlaps.max(dim=1)
    labels[best < lo] = 0
    labels[best >= hi] = 1
    top = overlaps.max(dim=0).values
    labels[((overlaps == top) & (top > 0)).any(1)] = 1
    return labels, matches


# %% exercise="3.2" name="a far object claims all" caught="hidden"
# Its best overlap is 0, and 0 equals 0.
def assign(proposals, gt, hi, lo):
    labels = torch.full((len(proposals),), -1)
    if not len(gt) or not len(proposals):
        return torch.zeros_like(labels), labels
    overlaps = box_iou(proposals, gt)
    best, matches = overlaps.max(dim=1)
    labels[best < lo] = 0
    labels[best >= hi] = 1
    labels[(overlaps == overlaps.max(dim=0).values).any(1)] = 1
    return labels, torch.where(labels == 1, matches, -1)


# %% exercise="3.2" name="one rescue only" caught="hidden"
# argmax names the first of several equally good proposals.
def assign(proposals, gt, hi, lo):
    labels = torch.full((len(proposals),), -1)
    if not len(gt) or not len(proposals):
        return torch.zeros_like(labels), labels
    overlaps = box_iou(proposals, gt)
    best, matches = overlaps.max(dim=1)
    labels[best < lo] = 0
    labels[best >= hi] = 1
    top, who = overlaps.max(dim=0)
    labels[who[top > 0]] = 1
    return labels, torch.where(labels == 1, matches, -1)


# %% exercise="3.2" name="object by object" right=True
# Loops over objects.
def assign(proposals, gt, hi, lo):
    n = len(proposals)
    best, matches = torch.zeros(n), torch.full((n,), -1)
    rescued = torch.zeros(n, dtype=torch.bool)
    for j in range(len(gt)):
        overlap = box_iou(proposals, gt[j : j + 1])[:, 0]
        better = overlap > best
        best, matches = torch.where(better, overlap, best), torch.where(better, j, matches)
        if n and overlap.max() > 0:
            rescued |= overlap == overlap.max()
    foreground = (best >= hi) & (matches >= 0) | rescued
    background = ~foreground & ((best < lo) | (len(gt) == 0))
    return foreground.long() - (~foreground & ~background).long(), matches.where(foreground, -1)


# %% exercise="3.3" name="share of what is there" caught="visible" hint="not in what is available"
# A quarter of the foreground instead of a quarter of the batch.
def sample_rois(labels, n, fg_fraction, seed):
    generator = torch.Generator().manual_seed(seed)
    foreground, background = (labels == 1).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
    k = round(len(foreground) * fg_fraction)
    order = torch.randperm(len(foreground), generator=generator)[:k]
    other = torch.randperm(len(background), generator=generator)[: n - k]
    return torch.cat([foreground[order], background[other]])


# %% exercise="3.3" name="does not fill up" caught="visible" hint="Background must fill the batch"
# Three quarters of background, always.
def sample_rois(labels, n, fg_fraction, seed):
    generator = torch.Generator().manual_seed(seed)
    foreground, background = (labels == 1).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
    k = round(n * fg_fraction)
    order = torch.randperm(len(foreground), generator=generator)[:k]
    other = torch.randperm(len(background), generator=generator)[: n - k]
    return torch.cat([foreground[order], background[other]])


# %% exercise="3.3" name="with replacement" caught="visible" hint="drawn twice"
# Random integers are the first idea for a draw.
def sample_rois(labels, n, fg_fraction, seed):
    generator = torch.Generator().manual_seed(seed)
    foreground, background = (labels == 1).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
    k = round(n * fg_fraction)
    order = torch.randint(len(foreground), (k,), generator=generator)
    other = torch.randint(len(background), (n - k,), generator=generator)
    return torch.cat([foreground[order], background[other]])


# %% exercise="3.3" name="the first ones" caught="visible" hint="is it random"
# A slice is a draw that always comes out the same.
def sample_rois(labels, n, fg_fraction, seed):
    foreground, background = (labels == 1).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
    k = min(round(n * fg_fraction), len(foreground))
    return torch.cat([foreground[:k], background[: n - k]])


# %% exercise="3.3" name="the global generator" caught="visible" hint="made from it"
# The seed is an argument that nobody uses.
def sample_rois(labels, n, fg_fraction, seed):
    foreground, background = (labels == 1).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
    k = min(round(n * fg_fraction), len(foreground))
    order = torch.randperm(len(foreground))[:k]
    other = torch.randperm(len(background))[: n - k]
    return torch.cat([foreground[order], background[other]])


# %% exercise="3.3" name="all foreground" caught="visible" hint="not limited to its share"
# Foreground is precious, so all of it is taken.
def sample_rois(labels, n, fg_fraction, seed):
    generator = torch.Generator().manual_seed(seed)
    foreground, background = (labels == 1).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
    k = min(n, len(foreground))
    order = torch.randperm(len(foreground), generator=generator)[:k]
    other = torch.randperm(len(background), generator=generator)[: n - k]
    return torch.cat([foreground[order], background[other]])


# %% exercise="3.3" name="shuffled in the end" caught="hidden"
# A batch should be mixed; the contract says foreground first.
def sample_rois(labels, n, fg_fraction, seed):
    generator = torch.Generator().manual_seed(seed)
    foreground, background = (labels == 1).nonzero()[:, 0], (labels == 0).nonzero()[:, 0]
    k = min(round(n * fg_fraction), len(foreground))
    order = torch.randperm(len(foreground), generator=generator)[:k]
    other = torch.randperm(len(background), generator=generator)[: n - k]
    drawn = torch.cat([foreground[order], background[other]])
    return drawn[torch.randperm(len(drawn), generator=generator)]


# %% exercise="3.3" name="one permutation of all" right=True
# The order of a single permutation serves both kinds.
def sample_rois(labels, n, fg_fraction, seed):
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    kinds = labels[order]
    foreground = order[kinds == 1][: round(n * fg_fraction)]
    return torch.cat([foreground, order[kinds == 0][: n - len(foreground)]])


# %% exercise="3.4" name="bins that do not overlap" caught="visible" hint="end of a bin is rounded up"
# Floor at both ends, as in an ordinary partition.
def roi_max_pool(feature, boxes, size, scale=1.0):
    (rows, columns), C = size, len(feature)
    bins = [feature.new_zeros(0, C)]
    for x0, y0, x1, y1 in (boxes * scale + 0.5).long().tolist():
        h, w = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 + (i + 1) * h // rows]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 + (j + 1) * w // columns]
                value = cell.amax((1, 2)) if cell.numel() else feature.new_zeros(C)
                bins.append(value[None])
    return torch.cat(bins).reshape(-1, rows, columns, C).permute(0, 3, 1, 2)


def pool_regions(net, image, boxes, size, scale):
    return roi_max_pool(net(image[None])[0], boxes, size, scale)


# %% exercise="3.4" name="last cell missing" caught="visible" hint="both ends of a box are included"
# Half-open boxes are the habit of this course.
def roi_max_pool(feature, boxes, size, scale=1.0):
    (rows, columns), C = size, len(feature)
    bins = [feature.new_zeros(0, C)]
    for x0, y0, x1, y1 in (boxes * scale + 0.5).long().tolist():
        h, w = max(y1 - y0, 1), max(x1 - x0, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 - (-(i + 1) * h // rows)]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 - (-(j + 1) * w // columns)]
                value = cell.amax((1, 2)) if cell.numel() else feature.new_zeros(C)
                bins.append(value[None])
    return torch.cat(bins).reshape(-1, rows, columns, C).permute(0, 3, 1, 2)


def pool_regions(net, image, boxes, size, scale):
    return roi_max_pool(net(image[None])[0], boxes, size, scale)


# %% exercise="3.4" name="average" caught="visible" hint="not the mean"
# Pooling is averaging in many networks.
def roi_max_pool(feature, boxes, size, scale=1.0):
    (rows, columns), C = size, len(feature)
    bins = [feature.new_zeros(0, C)]
    for x0, y0, x1, y1 in (boxes * scale + 0.5).long().tolist():
        h, w = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 - (-(i + 1) * h // rows)]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 - (-(j + 1) * w // columns)]
                value = cell.mean((1, 2)) if cell.numel() else feature.new_zeros(C)
                bins.append(value[None])
    return torch.cat(bins).reshape(-1, rows, columns, C).permute(0, 3, 1, 2)


def pool_regions(net, image, boxes, size, scale):
    return roi_max_pool(net(image[None])[0], boxes, size, scale)


# %% exercise="3.4" name="rounds to even" caught="visible" hint="takes the even neighbour"
# torch.round and Python's round send 0.5 to 0 and 2.5 to 2.
def roi_max_pool(feature, boxes, size, scale=1.0):
    (rows, columns), C = size, len(feature)
    bins = [feature.new_zeros(0, C)]
    for x0, y0, x1, y1 in (boxes * scale).round().long().tolist():
        h, w = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 - (-(i + 1) * h // rows)]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 - (-(j + 1) * w // columns)]
                value = cell.amax((1, 2)) if cell.numel() else feature.new_zeros(C)
                bins.append(value[None])
    return torch.cat(bins).reshape(-1, rows, columns, C).permute(0, 3, 1, 2)


def pool_regions(net, image, boxes, size, scale):
    return roi_max_pool(net(image[None])[0], boxes, size, scale)


# %% exercise="3.4" name="cuts off instead of rounding" caught="visible" hint="cut off instead of rounded"
# int() is the nearest conversion.
def roi_max_pool(feature, boxes, size, scale=1.0):
    (rows, columns), C = size, len(feature)
    bins = [feature.new_zeros(0, C)]
    for x0, y0, x1, y1 in (boxes * scale).long().tolist():
        h, w = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 - (-(i + 1) * h // rows)]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 - (-(j + 1) * w // columns)]
                value = cell.amax((1, 2)) if cell.numel() else feature.new_zeros(C)
                bins.append(value[None])
    return torch.cat(bins).reshape(-1, rows, columns, C).permute(0, 3, 1, 2)


def pool_regions(net, image, boxes, size, scale):
    return roi_max_pool(net(image[None])[0], boxes, size, scale)


# %% exercise="3.4" name="columns before rows" caught="visible" hint="they are swapped"
# (width, height) is the order of boxes.
def roi_max_pool(feature, boxes, size, scale=1.0):
    (columns, rows), C = size, len(feature)
    bins = [feature.new_zeros(0, C)]
    for x0, y0, x1, y1 in (boxes * scale + 0.5).long().tolist():
        h, w = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 - (-(i + 1) * h // rows)]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 - (-(j + 1) * w // columns)]
                value = cell.amax((1, 2)) if cell.numel() else feature.new_zeros(C)
                bins.append(value[None])
    return torch.cat(bins).reshape(-1, rows, columns, C).permute(0, 3, 1, 2)


def pool_regions(net, image, boxes, size, scale):
    return roi_max_pool(net(image[None])[0], boxes, size, scale)


# %% exercise="3.4" name="forgets the scale" caught="visible" hint="boxes are in pixels of the image"
# Boxes are used on the map as they are.
def roi_max_pool(feature, boxes, size, scale=1.0):
    (rows, columns), C = size, len(feature)
    bins = [feature.new_zeros(0, C)]
    for x0, y0, x1, y1 in (boxes + 0.5).long().tolist():
        h, w = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 - (-(i + 1) * h // rows)]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 - (-(j + 1) * w // columns)]
                value = cell.amax((1, 2)) if cell.numel() else feature.new_zeros(C)
                bins.append(value[None])
    return torch.cat(bins).reshape(-1, rows, columns, C).permute(0, 3, 1, 2)


def pool_regions(net, image, boxes, size, scale):
    return roi_max_pool(net(image[None])[0], boxes, size, scale)


# %% exercise="3.4" name="one pass per region" caught="visible" hint="Run the network once"
# R-CNN, in the clothes of Fast R-CNN: the map is made anew for every box.
def roi_max_pool(feature, boxes, size, scale=1.0):
    (rows, columns), C = size, len(feature)
    bins = [feature.new_zeros(0, C)]
    for x0, y0, x1, y1 in (boxes * scale + 0.5).long().tolist():
        h, w = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 - (-(i + 1) * h // rows)]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 - (-(j + 1) * w // columns)]
                value = cell.amax((1, 2)) if cell.numel() else feature.new_zeros(C)
                bins.append(value[None])
    return torch.cat(bins).reshape(-1, rows, columns, C).permute(0, 3, 1, 2)


def pool_regions(net, image, boxes, size, scale):
    return torch.cat([roi_max_pool(net(image[None])[0], b[None], size, scale) for b in boxes])


# %% exercise="3.4" name="detached map" caught="hidden"
# The map is copied into an array, and no gradient comes back.
def roi_max_pool(feature, boxes, size, scale=1.0):
    (rows, columns), C = size, len(feature)
    out = torch.zeros(len(boxes), C, rows, columns)
    for n, (x0, y0, x1, y1) in enumerate((boxes * scale + 0.5).long().tolist()):
        h, w = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 - (-(i + 1) * h // rows)]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 - (-(j + 1) * w // columns)]
                if cell.numel():
                    out[n, :, i, j] = cell.detach().amax((1, 2))
    return out


def pool_regions(net, image, boxes, size, scale):
    return roi_max_pool(net(image[None])[0], boxes, size, scale)


# %% exercise="3.4" name="bins of the cut box" caught="visible" hint="Count n before you clip"
# The box is cut at the map before it is divided, so its bins change.
def roi_max_pool(feature, boxes, size, scale=1.0):
    (rows, columns), (C, H, W) = size, feature.shape
    bins = [feature.new_zeros(0, C)]
    for x0, y0, x1, y1 in (boxes * scale + 0.5).long().tolist():
        x1, y1 = min(x1, W - 1), min(y1, H - 1)
        h, w = max(y1 - y0 + 1, 1), max(x1 - x0 + 1, 1)
        for i in range(rows):
            strip = feature[:, y0 + i * h // rows : y0 - (-(i + 1) * h // rows)]
            for j in range(columns):
                cell = strip[..., x0 + j * w // columns : x0 - (-(j + 1) * w // columns)]
                value = cell.amax((1, 2)) if cell.numel() else feature.new_zeros(C)
                bins.append(value[None])
    return torch.cat(bins).reshape(-1, rows, columns, C).permute(0, 3, 1, 2)


def pool_regions(net, image, boxes, size, scale):
    return roi_max_pool(net(image[None])[0], boxes, size, scale)


# %% exercise="3.4" name="rows, then columns" right=True
# The maximum over a rectangle is the maximum over columns of the maximum over rows.
def roi_max_pool(feature, boxes, size, scale=1.0):
    def ends(start, stop, parts, limit):
        n = max(stop - start + 1, 1)
        for i in range(parts):
            a = start + math.floor(i * n / parts)
            b = start + math.ceil((i + 1) * n / parts)
            yield min(a, limit), min(b, limit)

    C, H, W = feature.shape
    found = []
    for box in boxes * scale:
        x0, y0, x1, y1 = (math.floor(v + 0.5) for v in box.tolist())
        lines = []
        for a, b in ends(y0, y1, size[0], H):
            line = []
            for c, d in ends(x0, x1, size[1], W):
                if a < b and c < d:
                    line.append(feature[:, a:b, c:d].flatten(1).max(1).values)
                else:
                    line.append(torch.zeros(C))
            lines.append(torch.stack(line, -1))
        found.append(torch.stack(lines, 1))
    return torch.stack(found) if found else torch.zeros(0, C, *size)


def pool_regions(net, image, boxes, size, scale):
    (feature,) = net(image.unsqueeze(0))
    return roi_max_pool(feature, boxes, size, scale)


# %% exercise="3.5" name="across classes" caught="visible" hint="suppress within each class"
# One call for all.
def per_class_nms(boxes, scores, labels, iou):
    return nms(boxes, scores, iou)


# %% exercise="3.5" name="class after class" caught="visible" hint="Rank all classes together"
# The lists of the classes are joined and left in that order.
def per_class_nms(boxes, scores, labels, iou):
    kept = [labels.new_zeros(0)]
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        kept.append(mine[nms(boxes[mine], scores[mine], iou)])
    return torch.cat(kept)


# %% exercise="3.5" name="in the order of the list" caught="visible" hint="not by place in the list"
# A mask forgets the ranking.
def per_class_nms(boxes, scores, labels, iou):
    keep = torch.zeros(len(boxes), dtype=torch.bool)
    for label in labels.unique():
        mine = (labels == label).nonzero()[:, 0]
        keep[mine[nms(boxes[mine], scores[mine], iou)]] = True
    return keep.nonzero()[:, 0]


# %% exercise="3.5" name="positions within the class" caught="visible" hint="translate them back"
# What nms returns is taken for indices of the whole list.
def per_class_nms(boxes, scores, labels, iou):
    kept = [labels.new_zeros(0)]
    for label in labels.unique():
        mine = labels == label
        kept.append(nms(boxes[mine], scores[mine], iou))
    keep = torch.cat(kept)
    return keep[scores[keep].argsort(descending=True, stable=True)]


# %% exercise="3.5" name="best of each class" caught="visible" hint="only overlapping ones go"
# One object per class, as in the lab before.
def per_class_nms(boxes, scores, labels, iou):
    kept = [
        (labels == label).nonzero()[:, 0][scores[labels == label].argmax()][None]
        for label in labels.unique()
    ]
    keep = torch.cat([labels.new_zeros(0), *kept])
    return keep[scores[keep].argsort(descending=True)]


# %% exercise="3.5" name="offsets that are too small" caught="hidden"
# The trick with shifted boxes, with a shift smaller than the boxes.
def per_class_nms(boxes, scores, labels, iou):
    return nms(boxes + labels[:, None] * 300.0, scores, iou)


# %% exercise="3.5" name="the first three classes" caught="hidden"
# The number of classes is written into the loop.
def per_class_nms(boxes, scores, labels, iou):
    kept = [labels.new_zeros(0)]
    for label in range(1, 4):
        mine = (labels == label).nonzero()[:, 0]
        kept.append(mine[nms(boxes[mine], scores[mine], iou)])
    keep = torch.cat(kept)
    return keep[scores[keep].argsort(descending=True, stable=True)]


# %% exercise="3.5" name="greedy with a condition" right=True
# One loop over all boxes; a box goes only for a better one of its class.
def per_class_nms(boxes, scores, labels, iou):
    overlaps, keep = box_iou(boxes, boxes), []
    for i in scores.argsort(descending=True, stable=True).tolist():
        if all(labels[i] != labels[j] or overlaps[i, j] <= iou for j in keep):
            keep.append(i)
    return torch.tensor(keep, dtype=torch.int64)


# %% exercise="3.6" name="no half outside" caught="visible" hint="the half is missing"
# Two pieces that do not meet at 1.
def detection_loss(logits, corrections, labels, wanted):
    rows = labels.nonzero()[:, 0]
    error = (corrections[rows, labels[rows]] - wanted[rows]).abs()
    smooth = torch.where(error < 1, error**2 / 2, error)
    return torch.stack([F.cross_entropy(logits, labels), smooth.sum() / len(labels)])


# %% exercise="3.6" name="divides by the foreground" caught="visible" hint="not only by foreground"
# The box loss is averaged over the boxes that have one.
def detection_loss(logits, corrections, labels, wanted):
    rows = labels.nonzero()[:, 0]
    error = (corrections[rows, labels[rows]] - wanted[rows]).abs()
    smooth = torch.where(error < 1, error**2 / 2, error - 0.5)
    return torch.stack([F.cross_entropy(logits, labels), smooth.sum() / max(len(rows), 1)])


# %% exercise="3.6" name="background has a box" caught="visible" hint="Background has no box"
# The Iverson bracket is overlooked.
def detection_loss(logits, corrections, labels, wanted):
    error = (corrections[torch.arange(len(labels)), labels] - wanted).abs()
    smooth = torch.where(error < 1, error**2 / 2, error - 0.5)
    return torch.stack([F.cross_entropy(logits, labels), smooth.sum() / len(labels)])


# %% exercise="3.6" name="squares" caught="visible" hint="outside 1 the loss is linear"
# L2, as in the localizer of Lab 2.
def detection_loss(logits, corrections, labels, wanted):
    rows = labels.nonzero()[:, 0]
    error = corrections[rows, labels[rows]] - wanted[rows]
    return torch.stack([F.cross_entropy(logits, labels), (error**2).sum() / len(labels)])


# %% exercise="3.6" name="all classes corrected" caught="visible" hint="Only the correction of the true class"
# The wanted correction is broadcast over the classes.
def detection_loss(logits, corrections, labels, wanted):
    rows = labels.nonzero()[:, 0]
    error = (corrections[rows] - wanted[rows, None]).abs()
    smooth = torch.where(error < 1, error**2 / 2, error - 0.5)
    return torch.stack([F.cross_entropy(logits, labels), smooth.sum() / len(labels)])


# %% exercise="3.6" name="mean of the coordinates" caught="visible" hint="Sum over the four"
# mean() instead of sum() on the last axis.
def detection_loss(logits, corrections, labels, wanted):
    rows = labels.nonzero()[:, 0]
    error = (corrections[rows, labels[rows]] - wanted[rows]).abs()
    smooth = torch.where(error < 1, error**2 / 2, error - 0.5)
    return torch.stack([F.cross_entropy(logits, labels), smooth.mean(1).sum() / len(labels)])


# %% exercise="3.6" name="one class only" caught="hidden"
# The column of class u is confused with the second column where there are two classes.
def detection_loss(logits, corrections, labels, wanted):
    rows = labels.nonzero()[:, 0]
    error = (corrections[rows, -1] - wanted[rows]).abs()
    smooth = torch.where(error < 1, error**2 / 2, error - 0.5)
    return torch.stack([F.cross_entropy(logits, labels), smooth.sum() / len(labels)])


# %% exercise="3.6" name="nothing to average" caught="hidden"
# Without foreground the mean of nothing is NaN.
def detection_loss(logits, corrections, labels, wanted):
    rows = labels.nonzero()[:, 0]
    error = (corrections[rows, labels[rows]] - wanted[rows]).abs()
    smooth = torch.where(error < 1, error**2 / 2, error - 0.5)
    box = smooth.sum(1).mean() * (len(rows) / len(labels))
    return torch.stack([F.cross_entropy(logits, labels), box])


# %% exercise="3.6" name="masks and one-hot" right=True
# No indexing, only products with zeros and ones.
def detection_loss(logits, corrections, labels, wanted):
    one_hot = F.one_hot(labels, logits.shape[1]).to(logits)
    mine = (corrections * one_hot[..., None]).sum(1)
    error = (mine - wanted).abs()
    small = error.clamp(max=1)
    smooth = (small * (error - small / 2)).sum(1) * (labels > 0)
    entropy = -(logits.log_softmax(1) * one_hot).sum(1)
    return torch.stack([entropy.mean(), smooth.mean()])
