# The zoo of lab 14: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="14.1" name="rows and columns swapped" caught="visible" hint="yours is transposed"
# scikit-learn's argument order, not ours.
def confusion_matrix(pred, target, num_classes, ignore=255):
    counted = target != ignore
    rows, columns = pred[counted].long(), target[counted].long()
    for values in (rows, columns):
        if ((values < 0) | (values >= num_classes)).any():
            raise ValueError("no class")
    pairs = torch.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


# %% exercise="14.1" name="shares instead of counts" caught="visible" hint="not shares"
# Normalised tables look nicer.
def confusion_matrix(pred, target, num_classes, ignore=255):
    counted = target != ignore
    pairs = target[counted].long() * num_classes + pred[counted].long()
    table = torch.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    return table / table.sum()


# %% exercise="14.1" name="ignored pixels as class 0" caught="visible" hint="counted as class 0"
# Unlabelled is read as background.
def confusion_matrix(pred, target, num_classes, ignore=255):
    rows, columns = target.where(target != ignore, 0).flatten().long(), pred.flatten().long()
    for values in (rows, columns):
        if ((values < 0) | (values >= num_classes)).any():
            raise ValueError("no class")
    pairs = torch.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


# %% exercise="14.1" name="ignored pixels as the last class" caught="visible" hint="the last class"
# `clamp` silences the error of bincount.
def confusion_matrix(pred, target, num_classes, ignore=255):
    rows = target.flatten().long().clamp(0, num_classes - 1)
    columns = pred.flatten().long().clamp(0, num_classes - 1)
    pairs = torch.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


# %% exercise="14.1" name="overflows with 255" caught="visible" hint="before you number the pairs"
# Row 255 makes bincount longer than K², and the reshape fails.
def confusion_matrix(pred, target, num_classes, ignore=255):
    pairs = target.flatten().long() * num_classes + pred.flatten().long()
    table = torch.bincount(pairs, minlength=num_classes**2)
    return table.reshape(num_classes, num_classes)


# %% exercise="14.1" name="drops everything that is no class" caught="hidden"
# Wrong labels vanish in silence, and nobody hears of them.
def confusion_matrix(pred, target, num_classes, ignore=255):
    rows, columns = target.long(), pred.long()
    good = (rows != ignore) & (rows >= 0) & (rows < num_classes)
    good &= (columns >= 0) & (columns < num_classes)
    pairs = torch.bincount(rows[good] * num_classes + columns[good], minlength=num_classes**2)
    return pairs.reshape(num_classes, num_classes)


# %% exercise="14.1" name="numbers pairs in bytes" caught="hidden"
# uint8 maps overflow as soon as K² exceeds 256.
def confusion_matrix(pred, target, num_classes, ignore=255):
    counted = target != ignore
    rows, columns = target[counted], pred[counted]
    if rows.numel() and not (rows.min() >= 0 and rows.max() < num_classes):
        raise ValueError("no class among the labels")
    if rows.numel() and not (columns.min() >= 0 and columns.max() < num_classes):
        raise ValueError("no class among the predictions")
    pairs = torch.bincount(rows * num_classes + columns, minlength=num_classes**2)
    return pairs[: num_classes**2].reshape(num_classes, num_classes)


# %% exercise="14.1" name="one-hot product" right=True
# A matrix product of one-hot rows counts pairs too.
def confusion_matrix(pred, target, num_classes, ignore=255):
    counted = target != ignore
    rows, columns = target[counted].long(), pred[counted].long()
    for values in (rows, columns):
        if values.numel() and (values.min() < 0 or values.max() >= num_classes):
            raise ValueError(f"a value is no class of 0 to {num_classes - 1}")
    hot = [F.one_hot(values, num_classes).double() for values in (rows, columns)]
    return (hot[0].T @ hot[1]).round().long()


# %% exercise="14.2" name="precision for recall" caught="visible" hint="divide by the row sums"
# Columns and rows are easily mixed up.
def pixel_accuracy(matrix):
    counts = matrix.double()
    return counts.diagonal().sum() / counts.sum()


def mean_accuracy(matrix):
    counts = matrix.double()
    return (counts.diagonal() / counts.sum(0)).nanmean()


def iou(matrix):
    counts = matrix.double()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def mean_iou(matrix):
    return iou(matrix).nanmean()


def frequency_weighted_iou(matrix):
    rows = matrix.double().sum(1)
    return (rows / rows.sum() * iou(matrix)).nansum()


# %% exercise="14.2" name="counts the hits twice" caught="visible" hint="counted twice in your union"
# Rows plus columns, and nothing subtracted.
def pixel_accuracy(matrix):
    counts = matrix.double()
    return counts.diagonal().sum() / counts.sum()


def mean_accuracy(matrix):
    counts = matrix.double()
    return (counts.diagonal() / counts.sum(1)).nanmean()


def iou(matrix):
    counts = matrix.double()
    return counts.diagonal() / (counts.sum(0) + counts.sum(1))


def mean_iou(matrix):
    return iou(matrix).nanmean()


def frequency_weighted_iou(matrix):
    rows = matrix.double().sum(1)
    return (rows / rows.sum() * iou(matrix)).nansum()


# %% exercise="14.2" name="absent classes count as 0" caught="visible" hint="counts as 0"
# An epsilon below the line, as in well-known codes.
def pixel_accuracy(matrix):
    counts = matrix.double()
    return counts.diagonal().sum() / counts.sum()


def mean_accuracy(matrix):
    counts = matrix.double()
    return (counts.diagonal() / (counts.sum(1) + 1e-10)).mean()


def iou(matrix):
    counts = matrix.double()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits + 1e-10)


def mean_iou(matrix):
    return iou(matrix).mean()


def frequency_weighted_iou(matrix):
    rows = matrix.double().sum(1)
    return (rows / rows.sum() * iou(matrix)).sum()


# %% exercise="14.2" name="absent classes count as 1" caught="visible" hint="counts as 1"
# An epsilon above and below the line: nothing against nothing is perfect.
def pixel_accuracy(matrix):
    counts = matrix.double()
    return counts.diagonal().sum() / counts.sum()


def mean_accuracy(matrix):
    counts = matrix.double()
    return (counts.diagonal() / counts.sum(1)).nanmean()


def iou(matrix):
    counts = matrix.double()
    hits = counts.diagonal()
    return (hits + 1e-10) / (counts.sum(0) + counts.sum(1) - hits + 1e-10)


def mean_iou(matrix):
    return iou(matrix).mean()


def frequency_weighted_iou(matrix):
    rows = matrix.double().sum(1)
    return (rows / rows.sum() * iou(matrix)).sum()


# %% exercise="14.2" name="Dice for IoU" caught="visible" hint="That is Dice"
# Twice the hits over both areas.
def pixel_accuracy(matrix):
    counts = matrix.double()
    return counts.diagonal().sum() / counts.sum()


def mean_accuracy(matrix):
    counts = matrix.double()
    return (counts.diagonal() / counts.sum(1)).nanmean()


def iou(matrix):
    counts = matrix.double()
    return 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))


def mean_iou(matrix):
    return iou(matrix).nanmean()


def frequency_weighted_iou(matrix):
    rows = matrix.double().sum(1)
    return (rows / rows.sum() * iou(matrix)).nansum()


# %% exercise="14.2" name="weighs by predictions" caught="visible" hint="shares of the labels"
# The frequency of a class is what the truth says, not the network.
def pixel_accuracy(matrix):
    counts = matrix.double()
    return counts.diagonal().sum() / counts.sum()


def mean_accuracy(matrix):
    counts = matrix.double()
    return (counts.diagonal() / counts.sum(1)).nanmean()


def iou(matrix):
    counts = matrix.double()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def mean_iou(matrix):
    return iou(matrix).nanmean()


def frequency_weighted_iou(matrix):
    columns = matrix.double().sum(0)
    return (columns / columns.sum() * iou(matrix)).nansum()


# %% exercise="14.2" name="mean over labelled classes only" caught="hidden"
# A class that is only predicted drops out of the mean, and its false pixels are forgiven.
def pixel_accuracy(matrix):
    counts = matrix.double()
    return counts.diagonal().sum() / counts.sum()


def mean_accuracy(matrix):
    counts = matrix.double()
    return (counts.diagonal() / counts.sum(1)).nanmean()


def iou(matrix):
    counts = matrix.double()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def mean_iou(matrix):
    return iou(matrix)[matrix.sum(1) > 0].mean()


def frequency_weighted_iou(matrix):
    rows = matrix.double().sum(1)
    return (rows / rows.sum() * iou(matrix)).nansum()


# %% exercise="14.2" name="single precision" caught="hidden"
# float32 forgets single pixels beyond 16 million.
def pixel_accuracy(matrix):
    counts = matrix.float()
    return counts.diagonal().sum() / counts.sum()


def mean_accuracy(matrix):
    counts = matrix.float()
    return (counts.diagonal() / counts.sum(1)).nanmean()


def iou(matrix):
    counts = matrix.float()
    hits = counts.diagonal()
    return hits / (counts.sum(0) + counts.sum(1) - hits)


def mean_iou(matrix):
    return iou(matrix).nanmean()


def frequency_weighted_iou(matrix):
    rows = matrix.float().sum(1)
    return (rows / rows.sum() * iou(matrix)).nansum()


# %% exercise="14.2" name="class by class" right=True
# Written out with hits, misses and false alarms, as the lecture does.
def pixel_accuracy(matrix):
    return matrix.double().trace() / matrix.double().sum()


def mean_accuracy(matrix):
    parts = [row[c] / row.sum() for c, row in enumerate(matrix.double()) if row.sum() > 0]
    return torch.stack(parts).mean()


def iou(matrix):
    counts, values = matrix.double(), []
    for c in range(len(counts)):
        tp = counts[c, c]
        fn, fp = counts[c].sum() - tp, counts[:, c].sum() - tp
        values.append(tp / (tp + fn + fp))
    return torch.stack(values)


def mean_iou(matrix):
    values = iou(matrix)
    return values[~values.isnan()].mean()


def frequency_weighted_iou(matrix):
    rows, values = matrix.double().sum(1), iou(matrix)
    there = ~values.isnan()
    return (rows[there] * values[there]).sum() / rows.sum()


# %% exercise="14.3" name="the way back" caught="visible" hint="the way back"
# J = D / (2 - D), turned round.
def dice_from_iou(iou):
    return iou / (2 - iou)


def soft_dice(probabilities, target, eps=1e-6):
    overlap = (probabilities * target).sum((-2, -1))
    areas = probabilities.sum((-2, -1)) + target.sum((-2, -1))
    return (2 * overlap + eps) / (areas + eps)


# %% exercise="14.3" name="squares below the line" caught="visible" hint="V-Net"
# The other form in use.
def dice_from_iou(iou):
    return 2 * iou / (1 + iou)


def soft_dice(probabilities, target, eps=1e-6):
    overlap = (probabilities * target).sum((-2, -1))
    areas = (probabilities**2).sum((-2, -1)) + (target**2).sum((-2, -1))
    return (2 * overlap + eps) / (areas + eps)


# %% exercise="14.3" name="forgets the 2" caught="visible" hint="2 is missing"
# Overlap over both areas.
def dice_from_iou(iou):
    return 2 * iou / (1 + iou)


def soft_dice(probabilities, target, eps=1e-6):
    overlap = (probabilities * target).sum((-2, -1))
    return (overlap + eps) / (probabilities.sum((-2, -1)) + target.sum((-2, -1)) + eps)


# %% exercise="14.3" name="soft IoU" caught="visible" hint="soft IoU"
# The union below the line.
def dice_from_iou(iou):
    return 2 * iou / (1 + iou)


def soft_dice(probabilities, target, eps=1e-6):
    overlap = (probabilities * target).sum((-2, -1))
    areas = probabilities.sum((-2, -1)) + target.sum((-2, -1))
    return (overlap + eps) / (areas - overlap + eps)


# %% exercise="14.3" name="threshold" caught="visible" hint="no gradient"
# A mask is made first: right for judging, useless for training.
def dice_from_iou(iou):
    return 2 * iou / (1 + iou)


def soft_dice(probabilities, target, eps=1e-6):
    hard = (probabilities > 0.5).float()
    overlap = (hard * target).sum((-2, -1))
    return (2 * overlap + eps) / (hard.sum((-2, -1)) + target.sum((-2, -1)) + eps)


# %% exercise="14.3" name="eps below only" caught="visible" hint="below only"
# Guards the division, and calls two empty masks a total failure.
def dice_from_iou(iou):
    return 2 * iou / (1 + iou)


def soft_dice(probabilities, target, eps=1e-6):
    overlap = (probabilities * target).sum((-2, -1))
    areas = probabilities.sum((-2, -1)) + target.sum((-2, -1))
    return 2 * overlap / (areas + eps)


# %% exercise="14.3" name="eps outside the fraction" caught="visible" hint="eps above and below"
# Added to the result: nan where both are empty.
def dice_from_iou(iou):
    return 2 * iou / (1 + iou)


def soft_dice(probabilities, target, eps=1e-6):
    overlap = (probabilities * target).sum((-2, -1))
    return 2 * overlap / (probabilities.sum((-2, -1)) + target.sum((-2, -1))) + eps


# %% exercise="14.3" name="detached" caught="hidden"
# The value is right; training with it stands still.
def dice_from_iou(iou):
    return 2 * iou / (1 + iou)


def soft_dice(probabilities, target, eps=1e-6):
    p = probabilities.detach()
    overlap = (p * target).sum((-2, -1))
    return (2 * overlap + eps) / (p.sum((-2, -1)) + target.sum((-2, -1)) + eps)


# %% exercise="14.3" name="flattened and multiplied" right=True
# Two steps over flat maps; Dice as one minus a distance.
def dice_from_iou(iou):
    return 1 - (1 - iou) / (1 + iou)


def soft_dice(probabilities, target, eps=1e-6):
    p, t = probabilities.flatten(-2), target.flatten(-2).to(probabilities)
    return (2 * torch.einsum("...n,...n->...", p, t) + eps) / ((p + t).sum(-1) + eps)


# %% exercise="14.4" name="the frame is a boundary" caught="visible" hint="frame of the image"
# The erosion takes what lies outside for background.
def boundary(mask):
    return mask & ~torch.from_numpy(binary_erosion(mask.numpy()))


def boundary_f(pred, target, tolerance):
    a, b = boundary(pred), boundary(target)
    if not a.any() and not b.any():
        return (float("nan"), 0.0, 1.0)[int(pred.any()) + int(target.any())]
    to_a, to_b = (torch.from_numpy(distance_transform_edt(~e.numpy())) for e in (a, b))
    p, r = (float((d <= tolerance).double().mean()) for d in (to_b[a], to_a[b]))
    return 2 * p * r / (p + r) if p > 0 and r > 0 else 0.0


# %% exercise="14.4" name="eight neighbours" caught="visible" hint="share a corner"
# A 3 × 3 structuring element.
def boundary(mask):
    return mask & ~torch.from_numpy(
        binary_erosion(mask.numpy(), structure=torch.ones(3, 3).numpy(), border_value=1)
    )


def boundary_f(pred, target, tolerance):
    a, b = boundary(pred), boundary(target)
    if not a.any() and not b.any():
        return (float("nan"), 0.0, 1.0)[int(pred.any()) + int(target.any())]
    to_a, to_b = (torch.from_numpy(distance_transform_edt(~e.numpy())) for e in (a, b))
    p, r = (float((d <= tolerance).double().mean()) for d in (to_b[a], to_a[b]))
    return 2 * p * r / (p + r) if p > 0 and r > 0 else 0.0


# %% exercise="14.4" name="both sides of the edge" caught="visible" hint="Both sides"
# The true boundary is counted twice, once inside and once outside.
def boundary(mask):
    eroded = torch.from_numpy(binary_erosion(mask.numpy(), border_value=1))
    grown = ~torch.from_numpy(binary_erosion((~mask).numpy(), border_value=1))
    return grown & ~eroded


def boundary_f(pred, target, tolerance):
    a, b = boundary(pred), boundary(target)
    if not a.any() and not b.any():
        return (float("nan"), 0.0, 1.0)[int(pred.any()) + int(target.any())]
    to_a, to_b = (torch.from_numpy(distance_transform_edt(~e.numpy())) for e in (a, b))
    p, r = (float((d <= tolerance).double().mean()) for d in (to_b[a], to_a[b]))
    return 2 * p * r / (p + r) if p > 0 and r > 0 else 0.0


# %% exercise="14.4" name="a square tolerance" caught="visible" hint="not a square"
# Dilating by a square window is one line, and reaches too far along the diagonals.
def boundary(mask):
    return mask & ~torch.from_numpy(binary_erosion(mask.numpy(), border_value=1))


def boundary_f(pred, target, tolerance):
    a, b = boundary(pred), boundary(target)
    if not a.any() and not b.any():
        return (float("nan"), 0.0, 1.0)[int(pred.any()) + int(target.any())]
    if not a.any() or not b.any():
        return 0.0
    r = int(tolerance)

    def grown(e):
        return F.max_pool2d(e[None, None].float(), 2 * r + 1, 1, r)[0, 0].bool()

    p, r = float(grown(b)[a].double().mean()), float(grown(a)[b].double().mean())
    return 2 * p * r / (p + r) if p > 0 and r > 0 else 0.0


# %% exercise="14.4" name="precision only" caught="visible" hint="precision alone"
# What is drawn is in its place; what is missing goes unseen.
def boundary(mask):
    return mask & ~torch.from_numpy(binary_erosion(mask.numpy(), border_value=1))


def boundary_f(pred, target, tolerance):
    a, b = boundary(pred), boundary(target)
    if not a.any() or not b.any():
        return 0.0
    to_b = torch.from_numpy(distance_transform_edt(~b.numpy()))
    return float((to_b[a] <= tolerance).double().mean())


# %% exercise="14.4" name="plain mean" caught="visible" hint="harmonic mean"
# Half of P plus half of R.
def boundary(mask):
    return mask & ~torch.from_numpy(binary_erosion(mask.numpy(), border_value=1))


def boundary_f(pred, target, tolerance):
    a, b = boundary(pred), boundary(target)
    if not a.any() and not b.any():
        return (float("nan"), 0.0, 1.0)[int(pred.any()) + int(target.any())]
    if not a.any() or not b.any():
        return 0.0
    to_a, to_b = (torch.from_numpy(distance_transform_edt(~e.numpy())) for e in (a, b))
    p, r = (float((d <= tolerance).double().mean()) for d in (to_b[a], to_a[b]))
    return (p + r) / 2


# %% exercise="14.4" name="nan for everything empty" caught="hidden"
# 0 / 0 wherever a boundary is missing.
def boundary(mask):
    return mask & ~torch.from_numpy(binary_erosion(mask.numpy(), border_value=1))


def boundary_f(pred, target, tolerance):
    a, b = boundary(pred), boundary(target)
    if not a.any() or not b.any():
        return float("nan")
    to_a, to_b = (torch.from_numpy(distance_transform_edt(~e.numpy())) for e in (a, b))
    p, r = (float((d <= tolerance).double().mean()) for d in (to_b[a], to_a[b]))
    return 2 * p * r / (p + r) if p > 0 and r > 0 else 0.0


# %% exercise="14.4" name="less than the tolerance" caught="hidden"
# A strict comparison: at a tolerance of 0 nothing ever matches.
def boundary(mask):
    return mask & ~torch.from_numpy(binary_erosion(mask.numpy(), border_value=1))


def boundary_f(pred, target, tolerance):
    a, b = boundary(pred), boundary(target)
    if not a.any() and not b.any():
        return (float("nan"), 0.0, 1.0)[int(pred.any()) + int(target.any())]
    to_a, to_b = (torch.from_numpy(distance_transform_edt(~e.numpy())) for e in (a, b))
    p, r = (float((d < tolerance).double().mean()) for d in (to_b[a], to_a[b]))
    return 2 * p * r / (p + r) if p > 0 and r > 0 else 0.0


# %% exercise="14.4" name="all pairs of boundary pixels" right=True
# No transform: the distance of every pixel of one outline to every pixel of the other.
def boundary(mask):
    wide = F.pad(mask[None, None].float(), (1, 1, 1, 1), mode="replicate")[0, 0] > 0
    inside = wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inside


def boundary_f(pred, target, tolerance):
    a, b = boundary(pred).nonzero().double(), boundary(target).nonzero().double()
    if len(a) == 0 and len(b) == 0:
        if not pred.any() and not target.any():
            return float("nan")
        return float(bool(pred.any()) and bool(target.any()))
    if len(a) == 0 or len(b) == 0:
        return 0.0
    near = torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist") <= tolerance
    found, covered = float(near.any(1).sum()), float(near.any(0).sum())
    p, r = found / len(a), covered / len(b)
    return 0.0 if p + r == 0 else 2 / (1 / p + 1 / r)


# %% exercise="14.5" name="mean of the images' scores" caught="visible" hint="mean of the images"
# A loop over images, averaged at the end.
def ladder(models, target, num_classes):
    table, known = {}, target != 255
    for name, pred in models.items():
        ones = [confusion_matrix(a, b, num_classes) for a, b in zip(pred, target)]
        pairs = zip((pred > 0) & known, (target > 0) & known)
        outlines = torch.tensor([boundary_f(a, b, 1.0) for a, b in pairs])
        table[name] = {
            "pixel accuracy": float(torch.stack([pixel_accuracy(h) for h in ones]).nanmean()),
            "mean accuracy": float(torch.stack([mean_accuracy(h) for h in ones]).nanmean()),
            "mean IoU": float(torch.stack([mean_iou(h) for h in ones]).nanmean()),
            "boundary F": float(outlines.nanmean()),
        }
    return table


def ranking(table, score):
    values = {name: row[score] for name, row in table.items()}
    return sorted(values, key=lambda name: (values[name] != values[name], -values[name]))


# %% exercise="14.5" name="IoU of the foreground" caught="visible" hint="foreground's IoU alone"
# Reports class 1 as if it were the mean.
def ladder(models, target, num_classes):
    table, known = {}, target != 255
    for name, pred in models.items():
        matrix = confusion_matrix(pred, target, num_classes)
        pairs = zip((pred > 0) & known, (target > 0) & known)
        outlines = torch.tensor([boundary_f(a, b, 1.0) for a, b in pairs])
        table[name] = {
            "pixel accuracy": float(pixel_accuracy(matrix)),
            "mean accuracy": float(mean_accuracy(matrix)),
            "mean IoU": float(iou(matrix)[1:].nanmean()),
            "boundary F": float(outlines.nanmean()),
        }
    return table


def ranking(table, score):
    values = {name: row[score] for name, row in table.items()}
    return sorted(values, key=lambda name: (values[name] != values[name], -values[name]))


# %% exercise="14.5" name="tolerance of two" caught="visible" hint="tolerance is 2"
# The tolerance of another paper.
def ladder(models, target, num_classes):
    table, known = {}, target != 255
    for name, pred in models.items():
        matrix = confusion_matrix(pred, target, num_classes)
        pairs = zip((pred > 0) & known, (target > 0) & known)
        outlines = torch.tensor([boundary_f(a, b, 2.0) for a, b in pairs])
        table[name] = {
            "pixel accuracy": float(pixel_accuracy(matrix)),
            "mean accuracy": float(mean_accuracy(matrix)),
            "mean IoU": float(mean_iou(matrix)),
            "boundary F": float(outlines.nanmean()),
        }
    return table


def ranking(table, score):
    values = {name: row[score] for name, row in table.items()}
    return sorted(values, key=lambda name: (values[name] != values[name], -values[name]))


# %% exercise="14.5" name="worst first" caught="visible" hint="worst comes first"
# `sorted` rises.
def ladder(models, target, num_classes):
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


def ranking(table, score):
    values = {name: row[score] for name, row in table.items()}
    return sorted(values, key=lambda name: (values[name] != values[name], values[name]))


# %% exercise="14.5" name="compares with nan" caught="visible" hint="nan belongs to the end"
# Every comparison with nan is false, so the list is sorted in pieces.
def ladder(models, target, num_classes):
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


def ranking(table, score):
    return sorted(table, key=lambda name: table[name][score], reverse=True)


# %% exercise="14.5" name="255 is foreground" caught="hidden"
# 255 is greater than 0.
def ladder(models, target, num_classes):
    table = {}
    for name, pred in models.items():
        matrix = confusion_matrix(pred, target, num_classes)
        outlines = torch.tensor([boundary_f(a, b, 1.0) for a, b in zip(pred > 0, target > 0)])
        table[name] = {
            "pixel accuracy": float(pixel_accuracy(matrix)),
            "mean accuracy": float(mean_accuracy(matrix)),
            "mean IoU": float(mean_iou(matrix)),
            "boundary F": float(outlines.nanmean()),
        }
    return table


def ranking(table, score):
    values = {name: row[score] for name, row in table.items()}
    return sorted(values, key=lambda name: (values[name] != values[name], -values[name]))


# %% exercise="14.5" name="nan spoils the mean" caught="hidden"
# One image without foreground, and boundary F is nan for the whole set.
def ladder(models, target, num_classes):
    table, known = {}, target != 255
    for name, pred in models.items():
        matrix = confusion_matrix(pred, target, num_classes)
        pairs = zip((pred > 0) & known, (target > 0) & known)
        outlines = [boundary_f(a, b, 1.0) for a, b in pairs]
        table[name] = {
            "pixel accuracy": float(pixel_accuracy(matrix)),
            "mean accuracy": float(mean_accuracy(matrix)),
            "mean IoU": float(mean_iou(matrix)),
            "boundary F": sum(outlines) / len(outlines),
        }
    return table


def ranking(table, score):
    values = {name: row[score] for name, row in table.items()}
    return sorted(values, key=lambda name: (values[name] != values[name], -values[name]))


# %% exercise="14.5" name="counts added image by image" right=True
# One table per model grows over the images; the ranking picks the best again and again.
def ladder(models, target, num_classes):
    table = {}
    for name, pred in models.items():
        matrix, outlines = torch.zeros(num_classes, num_classes, dtype=torch.int64), []
        for a, b in zip(pred, target):
            matrix = matrix + confusion_matrix(a, b, num_classes)
            known = b != 255
            f = boundary_f((a > 0) & known, (b > 0) & known, 1)
            if f == f:
                outlines.append(f)
        functions = (pixel_accuracy, mean_accuracy, mean_iou)
        names = ("pixel accuracy", "mean accuracy", "mean IoU")
        table[name] = {n: float(f(matrix)) for n, f in zip(names, functions)}
        table[name]["boundary F"] = sum(outlines) / len(outlines) if outlines else float("nan")
    return table


def ranking(table, score):
    sound = [name for name in table if table[name][score] == table[name][score]]
    broken = [name for name in table if name not in sound]
    order = []
    while sound:
        best = max(sound, key=lambda name: table[name][score])
        order.append(best)
        sound.remove(best)
    return order + broken
