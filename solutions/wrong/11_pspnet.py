# The zoo of lab 11: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="11.1" name="equal bins, the rest left out" caught="visible" hint="leaves the last position out"
# n // b is the first idea of "b equal bins".
def adaptive_bins(n, b):
    if n < 1 or b < 1:
        raise ValueError("at least 1")
    step = n // b
    return [(i * step, (i + 1) * step) for i in range(b)]


# %% exercise="11.1" name="the last bin takes the rest" caught="visible" hint="last bin takes the rest"
# The usual repair of n // b.
def adaptive_bins(n, b):
    if n < 1 or b < 1:
        raise ValueError("at least 1")
    step = n // b
    pairs = [(i * step, (i + 1) * step) for i in range(b)]
    pairs[-1] = (pairs[-1][0], n)
    return pairs


# %% exercise="11.1" name="starts rounded up" caught="visible" hint="starts are rounded up"
# Both ends get the same rounding, so that bins do not overlap.
def adaptive_bins(n, b):
    if n < 1 or b < 1:
        raise ValueError("at least 1")
    return [(-(-i * n // b), -(-(i + 1) * n // b)) for i in range(b)]


# %% exercise="11.1" name="start and length" caught="visible" hint="Start and length came"
# Slices of other libraries take a length.
def adaptive_bins(n, b):
    if n < 1 or b < 1:
        raise ValueError("at least 1")
    pairs = [(i * n // b, -(-(i + 1) * n // b)) for i in range(b)]
    return [(start, end - start) for start, end in pairs]


# %% exercise="11.1" name="rounds with floating point" caught="hidden"
# math.ceil of a quotient: right until the numbers are large.
def adaptive_bins(n, b):
    import math

    if n < 1 or b < 1:
        raise ValueError("at least 1")
    return [(math.floor(i * n / b), math.ceil((i + 1) * n / b)) for i in range(b)]


# %% exercise="11.1" name="accepts nothing to cut" caught="hidden"
# The contract's last line is overlooked.
def adaptive_bins(n, b):
    return [(i * n // b, -(-(i + 1) * n // b)) for i in range(b)]


# %% exercise="11.1" name="no more bins than positions" caught="visible" hint="adaptive_bins(2, 3)"
# More bins than positions looks like a mistake of the caller.
def adaptive_bins(n, b):
    if n < 1 or b < 1 or b > n:
        raise ValueError("adaptive_bins(2, 3) makes no sense: more bins than positions")
    return [(i * n // b, -(-(i + 1) * n // b)) for i in range(b)]


# %% exercise="11.1" name="a loop with divmod" right=True
# Rounded up is one more where there is a remainder.
def adaptive_bins(n, b):
    if min(n, b) < 1:
        raise ValueError(f"{n} positions in {b} bins")
    pairs = []
    for i in range(b):
        end, rest = divmod((i + 1) * n, b)
        pairs.append((i * n // b, end + (rest > 0)))
    return pairs


# %% exercise="11.2" name="takes the maximum" caught="visible" hint="largest values of the bins"
# Pooling means max pooling in every network so far.
def bin_averages(x, b):
    rows, columns = adaptive_bins(x.shape[-2], b), adaptive_bins(x.shape[-1], b)
    means = [[x[..., r:s, c:d].amax((-2, -1)) for c, d in columns] for r, s in rows]
    return torch.stack([torch.stack(row, -1) for row in means], -2)


class PyramidPooling(nn.Module):
    def __init__(self, channels, bins=(1, 2, 3, 6)):
        super().__init__()
        self.bins = bins
        self.levels = nn.ModuleList(conv_bn_relu(channels, channels // len(bins), 1) for _ in bins)

    def forward(self, x):
        stack = [x]
        for b, level in zip(self.bins, self.levels):
            pooled = level(bin_averages(x, b))
            stack.append(F.interpolate(pooled, x.shape[-2:], mode="bilinear", align_corners=True))
        return torch.cat(stack, dim=1)


# %% exercise="11.2" name="rows and columns exchanged" caught="visible" hint="Rows and columns of the bins"
# x before y.
def bin_averages(x, b):
    rows, columns = adaptive_bins(x.shape[-2], b), adaptive_bins(x.shape[-1], b)
    means = [[x[..., r:s, c:d].mean((-2, -1)) for r, s in rows] for c, d in columns]
    return torch.stack([torch.stack(row, -1) for row in means], -2)


class PyramidPooling(nn.Module):
    def __init__(self, channels, bins=(1, 2, 3, 6)):
        super().__init__()
        self.bins = bins
        self.levels = nn.ModuleList(conv_bn_relu(channels, channels // len(bins), 1) for _ in bins)

    def forward(self, x):
        stack = [x]
        for b, level in zip(self.bins, self.levels):
            pooled = level(bin_averages(x, b))
            stack.append(F.interpolate(pooled, x.shape[-2:], mode="bilinear", align_corners=True))
        return torch.cat(stack, dim=1)


# %% exercise="11.2" name="sums the bins" caught="visible" hint="The bins are summed"
# A sum pools too.
def bin_averages(x, b):
    rows, columns = adaptive_bins(x.shape[-2], b), adaptive_bins(x.shape[-1], b)
    means = [[x[..., r:s, c:d].sum((-2, -1)) for c, d in columns] for r, s in rows]
    return torch.stack([torch.stack(row, -1) for row in means], -2)


class PyramidPooling(nn.Module):
    def __init__(self, channels, bins=(1, 2, 3, 6)):
        super().__init__()
        self.bins = bins
        self.levels = nn.ModuleList(conv_bn_relu(channels, channels // len(bins), 1) for _ in bins)

    def forward(self, x):
        stack = [x]
        for b, level in zip(self.bins, self.levels):
            pooled = level(bin_averages(x, b))
            stack.append(F.interpolate(pooled, x.shape[-2:], mode="bilinear", align_corners=True))
        return torch.cat(stack, dim=1)


# %% exercise="11.2" name="forgets the features" caught="visible" hint="features themselves are missing"
# The pyramid is taken for a replacement of the features.
def bin_averages(x, b):
    rows, columns = adaptive_bins(x.shape[-2], b), adaptive_bins(x.shape[-1], b)
    means = [[x[..., r:s, c:d].mean((-2, -1)) for c, d in columns] for r, s in rows]
    return torch.stack([torch.stack(row, -1) for row in means], -2)


class PyramidPooling(nn.Module):
    def __init__(self, channels, bins=(1, 2, 3, 6)):
        super().__init__()
        self.bins = bins
        self.levels = nn.ModuleList(conv_bn_relu(channels, channels // len(bins), 1) for _ in bins)

    def forward(self, x):
        stack = []
        for b, level in zip(self.bins, self.levels):
            pooled = level(bin_averages(x, b))
            stack.append(F.interpolate(pooled, x.shape[-2:], mode="bilinear", align_corners=True))
        return torch.cat(stack, dim=1)


# %% exercise="11.2" name="corners not aligned" caught="visible" hint="align_corners=True"
# The default of interpolate.
def bin_averages(x, b):
    rows, columns = adaptive_bins(x.shape[-2], b), adaptive_bins(x.shape[-1], b)
    means = [[x[..., r:s, c:d].mean((-2, -1)) for c, d in columns] for r, s in rows]
    return torch.stack([torch.stack(row, -1) for row in means], -2)


class PyramidPooling(nn.Module):
    def __init__(self, channels, bins=(1, 2, 3, 6)):
        super().__init__()
        self.bins = bins
        self.levels = nn.ModuleList(conv_bn_relu(channels, channels // len(bins), 1) for _ in bins)

    def forward(self, x):
        stack = [x]
        for b, level in zip(self.bins, self.levels):
            pooled = level(bin_averages(x, b))
            stack.append(F.interpolate(pooled, size=x.shape[-2:], mode="bilinear"))
        return torch.cat(stack, dim=1)


# %% exercise="11.2" name="calls torch's adaptive pooling" caught="hidden"
# One line does it, but the contract forbids it.
def bin_averages(x, b):
    return F.adaptive_avg_pool2d(x, b)


class PyramidPooling(nn.Module):
    def __init__(self, channels, bins=(1, 2, 3, 6)):
        super().__init__()
        self.bins = bins
        self.levels = nn.ModuleList(conv_bn_relu(channels, channels // len(bins), 1) for _ in bins)

    def forward(self, x):
        stack = [x]
        for b, level in zip(self.bins, self.levels):
            pooled = level(F.adaptive_avg_pool2d(x, b))
            stack.append(F.interpolate(pooled, x.shape[-2:], mode="bilinear", align_corners=True))
        return torch.cat(stack, dim=1)


# %% exercise="11.2" name="uses the bins of the rows for the columns" caught="visible" hint="bins of their own"
# Maps are square in every figure of the paper.
def bin_averages(x, b):
    bins = adaptive_bins(x.shape[-2], b)
    means = [[x[..., r:s, c:d].mean((-2, -1)) for c, d in bins] for r, s in bins]
    return torch.stack([torch.stack(row, -1) for row in means], -2)


class PyramidPooling(nn.Module):
    def __init__(self, channels, bins=(1, 2, 3, 6)):
        super().__init__()
        self.bins = bins
        self.levels = nn.ModuleList(conv_bn_relu(channels, channels // len(bins), 1) for _ in bins)

    def forward(self, x):
        stack = [x]
        for b, level in zip(self.bins, self.levels):
            pooled = level(bin_averages(x, b))
            stack.append(F.interpolate(pooled, x.shape[-2:], mode="bilinear", align_corners=True))
        return torch.cat(stack, dim=1)


# %% exercise="11.2" name="fills a tensor" right=True
# Two loops and an assignment; ModuleList and bins by index.
def bin_averages(x, b):
    result = x.new_zeros(*x.shape[:2], b, b)
    for i, (top, bottom) in enumerate(adaptive_bins(x.shape[2], b)):
        for j, (left, right) in enumerate(adaptive_bins(x.shape[3], b)):
            cut = x[:, :, top:bottom, left:right]
            result[:, :, i, j] = cut.sum((2, 3)) / ((bottom - top) * (right - left))
    return result


class PyramidPooling(nn.Module):
    def __init__(self, channels, bins=(1, 2, 3, 6)):
        super().__init__()
        self.bins = bins
        self.levels = nn.ModuleList(conv_bn_relu(channels, channels // len(bins), 1) for _ in bins)

    def forward(self, x):
        up = nn.Upsample(size=x.shape[-2:], mode="bilinear", align_corners=True)
        levels = [up(self.levels[i](bin_averages(x, b))) for i, b in enumerate(self.bins)]
        return torch.cat([x, *levels], 1)


# %% exercise="11.3" name="both losses fully" caught="visible" hint="auxiliary one counts 0.4"
# The weight is forgotten.
def training_loss(main, auxiliary, labels, weight=0.4):
    loss = F.cross_entropy(main, labels, ignore_index=255)
    if auxiliary is not None:
        loss = loss + F.cross_entropy(auxiliary, labels, ignore_index=255)
    return loss


def poly(step, total, base, power=0.9):
    if not 0 <= step <= total or total < 1:
        raise ValueError("step outside the run")
    return base * (1 - step / total) ** power


# %% exercise="11.3" name="shares the weight out" caught="visible" hint="main loss counts fully"
# A weighted mean instead of a weighted sum.
def training_loss(main, auxiliary, labels, weight=0.4):
    loss = F.cross_entropy(main, labels, ignore_index=255)
    if auxiliary is None:
        return loss
    return (1 - weight) * loss + weight * F.cross_entropy(auxiliary, labels, ignore_index=255)


def poly(step, total, base, power=0.9):
    if not 0 <= step <= total or total < 1:
        raise ValueError("step outside the run")
    return base * (1 - step / total) ** power


# %% exercise="11.3" name="adds logits instead of losses" caught="visible" hint="logits are mixed before"
# One cross-entropy of the sum looks shorter.
def training_loss(main, auxiliary, labels, weight=0.4):
    if auxiliary is not None:
        main = main + weight * auxiliary
    return F.cross_entropy(main, labels, ignore_index=255)


def poly(step, total, base, power=0.9):
    if not 0 <= step <= total or total < 1:
        raise ValueError("step outside the run")
    return base * (1 - step / total) ** power


# %% exercise="11.3" name="divides by all pixels" caught="visible" hint="divides by all pixels"
# The ignored pixels add nothing to the sum but count in the mean.
def training_loss(main, auxiliary, labels, weight=0.4):
    def mean(logits):
        return F.cross_entropy(logits, labels, ignore_index=255, reduction="sum") / labels.numel()

    return mean(main) if auxiliary is None else mean(main) + weight * mean(auxiliary)


def poly(step, total, base, power=0.9):
    if not 0 <= step <= total or total < 1:
        raise ValueError("step outside the run")
    return base * (1 - step / total) ** power


# %% exercise="11.3" name="a straight line" caught="visible" hint="the power is missing"
# 0.9 looks like 1.
def training_loss(main, auxiliary, labels, weight=0.4):
    loss = F.cross_entropy(main, labels, ignore_index=255)
    if auxiliary is not None:
        loss = loss + weight * F.cross_entropy(auxiliary, labels, ignore_index=255)
    return loss


def poly(step, total, base, power=0.9):
    if not 0 <= step <= total or total < 1:
        raise ValueError("step outside the run")
    return base * (1 - step / total)


# %% exercise="11.3" name="power outside the bracket" caught="visible" hint="the power is an exponent"
# ** is read as *.
def training_loss(main, auxiliary, labels, weight=0.4):
    loss = F.cross_entropy(main, labels, ignore_index=255)
    if auxiliary is not None:
        loss = loss + weight * F.cross_entropy(auxiliary, labels, ignore_index=255)
    return loss


def poly(step, total, base, power=0.9):
    if not 0 <= step <= total or total < 1:
        raise ValueError("step outside the run")
    return base * (1 - step / total) * power


# %% exercise="11.3" name="the auxiliary head stops learning" caught="hidden"
# detach keeps the number and drops the gradient.
def training_loss(main, auxiliary, labels, weight=0.4):
    loss = F.cross_entropy(main, labels, ignore_index=255)
    if auxiliary is not None:
        loss = loss + weight * F.cross_entropy(auxiliary.detach(), labels, ignore_index=255)
    return loss


def poly(step, total, base, power=0.9):
    if not 0 <= step <= total or total < 1:
        raise ValueError("step outside the run")
    return base * (1 - step / total) ** power


# %% exercise="11.3" name="steps outside pass" caught="hidden"
# A complex learning rate behind the end of the run.
def training_loss(main, auxiliary, labels, weight=0.4):
    loss = F.cross_entropy(main, labels, ignore_index=255)
    if auxiliary is not None:
        loss = loss + weight * F.cross_entropy(auxiliary, labels, ignore_index=255)
    return loss


def poly(step, total, base, power=0.9):
    return base * max(0.0, 1 - step / max(total, 1)) ** power


# %% exercise="11.3" name="log-probabilities by hand" right=True
# Gather the log-probability of each label, mean over the valid pixels.
def training_loss(main, auxiliary, labels, weight=0.4):
    valid = labels != 255
    safe = labels.where(valid, torch.zeros_like(labels))[:, None]

    def mean(logits):
        picked = logits.log_softmax(1).gather(1, safe)[:, 0]
        return -picked[valid].mean()

    total = mean(main)
    return total if auxiliary is None else total + weight * mean(auxiliary)


def poly(step, total, base, power=0.9):
    if total < 1 or step < 0 or step > total:
        raise ValueError(f"{step} of {total}")
    left = (total - step) / total
    return base * left**power


# %% exercise="11.4" name="counts the whole image" caught="visible" hint="look inside the box only"
# The box is used for the test of equality, and then forgotten.
def context_probe(net, a, b, box):
    x0, y0, x1, y1 = box
    if not a[..., y0:y1, x0:x1].numel() or not torch.equal(
        a[..., y0:y1, x0:x1], b[..., y0:y1, x0:x1]
    ):
        raise ValueError("the images must agree in the box")
    labels = net(torch.stack([a, b])).argmax(1)
    return float((labels[0] != labels[1]).float().mean())


# %% exercise="11.4" name="a number instead of a share" caught="visible" hint="number of pixels"
# sum instead of mean.
def context_probe(net, a, b, box):
    x0, y0, x1, y1 = box
    if not a[..., y0:y1, x0:x1].numel() or not torch.equal(
        a[..., y0:y1, x0:x1], b[..., y0:y1, x0:x1]
    ):
        raise ValueError("the images must agree in the box")
    labels = net(torch.stack([a, b])).argmax(1)[:, y0:y1, x0:x1]
    return float((labels[0] != labels[1]).sum())


# %% exercise="11.4" name="share of the image" caught="visible" hint="share is of the whole image"
# Divided by the wrong area.
def context_probe(net, a, b, box):
    x0, y0, x1, y1 = box
    if not a[..., y0:y1, x0:x1].numel() or not torch.equal(
        a[..., y0:y1, x0:x1], b[..., y0:y1, x0:x1]
    ):
        raise ValueError("the images must agree in the box")
    labels = net(torch.stack([a, b])).argmax(1)
    different = labels[0] != labels[1]
    return float(different[y0:y1, x0:x1].sum()) / different.numel()


# %% exercise="11.4" name="x before y in the labels" caught="visible" hint="Rows are y"
# The box is written x first, so the labels are cut x first.
def context_probe(net, a, b, box):
    x0, y0, x1, y1 = box
    if not a[..., y0:y1, x0:x1].numel() or not torch.equal(
        a[..., y0:y1, x0:x1], b[..., y0:y1, x0:x1]
    ):
        raise ValueError("the images must agree in the box")
    labels = net(torch.stack([a, b])).argmax(1)[:, x0:x1, y0:y1]
    return float((labels[0] != labels[1]).float().mean())


# %% exercise="11.4" name="two calls" caught="visible" hint="call once"
# One image after the other.
def context_probe(net, a, b, box):
    x0, y0, x1, y1 = box
    if not a[..., y0:y1, x0:x1].numel() or not torch.equal(
        a[..., y0:y1, x0:x1], b[..., y0:y1, x0:x1]
    ):
        raise ValueError("the images must agree in the box")
    first, second = (net(image[None]).argmax(1)[0, y0:y1, x0:x1] for image in (a, b))
    return float((first != second).float().mean())


# %% exercise="11.4" name="cuts before the network" caught="visible" hint="one batch of shape (2, 1, 4, 6)"
# Only the box is shown to the network, so nothing outside can be seen.
def context_probe(net, a, b, box):
    x0, y0, x1, y1 = box
    inside = [image[..., y0:y1, x0:x1] for image in (a, b)]
    if not inside[0].numel() or not torch.equal(*inside):
        raise ValueError("the images must agree in the box")
    labels = net(torch.stack(inside)).argmax(1)
    return float((labels[0] != labels[1]).float().mean())


# %% exercise="11.4" name="compares logits" caught="hidden"
# Two nets with equal labels may have different logits; two classes hide it.
def context_probe(net, a, b, box):
    x0, y0, x1, y1 = box
    if not a[..., y0:y1, x0:x1].numel() or not torch.equal(
        a[..., y0:y1, x0:x1], b[..., y0:y1, x0:x1]
    ):
        raise ValueError("the images must agree in the box")
    logits = net(torch.stack([a, b]))[:, :, y0:y1, x0:x1]
    return float((logits[0] != logits[1]).any(0).float().mean())


# %% exercise="11.4" name="nearly equal is equal" caught="hidden"
# allclose forgives a difference inside the box.
def context_probe(net, a, b, box):
    x0, y0, x1, y1 = box
    inside = [image[..., y0:y1, x0:x1] for image in (a, b)]
    if not inside[0].numel() or not torch.allclose(*inside, atol=1e-2):
        raise ValueError("the images must agree in the box")
    labels = net(torch.stack([a, b])).argmax(1)[:, y0:y1, x0:x1]
    return float((labels[0] != labels[1]).float().mean())


# %% exercise="11.4" name="counts by indices" right=True
# max instead of argmax, and an explicit area.
def context_probe(net, a, b, box):
    left, top, right, bottom = box
    area = max(right - left, 0) * max(bottom - top, 0)
    same = (a == b)[:, top:bottom, left:right]
    if area == 0 or not bool(same.all()):
        raise ValueError(f"box {box}: empty, or the images differ there")
    _, labels = net(torch.stack((a, b))).max(dim=1)
    first, second = labels[0, top:bottom, left:right], labels[1, top:bottom, left:right]
    return int(first.ne(second).sum()) / area


# %% exercise="11.5" name="signs cancel" caught="visible" hint="do opposite signs cancel"
# The gradient is summed as it is.
def field_share(gradient, mass=0.95):
    if not 0 <= mass <= 1:
        raise ValueError("mass must lie between 0 and 1")
    size = gradient.sum(0).flatten().sort(descending=True).values
    if not size.sum():
        return 0.0
    return float((size.cumsum(0) < mass * size.sum()).sum() + 1) / size.numel()


# %% exercise="11.5" name="does not sort" caught="visible" hint="are not sorted"
# The cumulated sum runs in reading order.
def field_share(gradient, mass=0.95):
    if not 0 <= mass <= 1:
        raise ValueError("mass must lie between 0 and 1")
    size = gradient.abs().sum(0).flatten()
    if not size.sum():
        return 0.0
    return float((size.cumsum(0) < mass * size.sum()).sum() + 1) / size.numel()


# %% exercise="11.5" name="sorts from small to large" caught="visible" hint="Sorted the wrong way"
# sort is ascending by default.
def field_share(gradient, mass=0.95):
    if not 0 <= mass <= 1:
        raise ValueError("mass must lie between 0 and 1")
    size = gradient.abs().sum(0).flatten().sort().values
    if not size.sum():
        return 0.0
    return float((size.cumsum(0) < mass * size.sum()).sum() + 1) / size.numel()


# %% exercise="11.5" name="one pixel too few" caught="visible" hint="sum stop before the mass"
# The pixel that reaches the mass is not counted.
def field_share(gradient, mass=0.95):
    if not 0 <= mass <= 1:
        raise ValueError("mass must lie between 0 and 1")
    size = gradient.abs().sum(0).flatten().sort(descending=True).values
    if not size.sum():
        return 0.0
    return float((size.cumsum(0) < mass * size.sum()).sum()) / size.numel()


# %% exercise="11.5" name="a number of pixels" caught="visible" hint="number of pixels"
# The division is forgotten.
def field_share(gradient, mass=0.95):
    if not 0 <= mass <= 1:
        raise ValueError("mass must lie between 0 and 1")
    size = gradient.abs().sum(0).flatten().sort(descending=True).values
    if not size.sum():
        return 0.0
    return float((size.cumsum(0) < mass * size.sum()).sum() + 1)


# %% exercise="11.5" name="channels cancel" caught="visible" hint="absolute values of every channel"
# abs after the sum over channels.
def field_share(gradient, mass=0.95):
    if not 0 <= mass <= 1:
        raise ValueError("mass must lie between 0 and 1")
    size = gradient.sum(0).abs().flatten().sort(descending=True).values
    if not size.sum():
        return 0.0
    return float((size.cumsum(0) < mass * size.sum()).sum() + 1) / size.numel()


# %% exercise="11.5" name="every channel is a pixel" caught="hidden"
# The channels are flattened with the pixels; with two that agree nothing is seen.
def field_share(gradient, mass=0.95):
    if not 0 <= mass <= 1:
        raise ValueError("mass must lie between 0 and 1")
    size = gradient.double().abs().flatten().sort(descending=True).values
    if not size.sum():
        return 0.0
    needed = (size.cumsum(0) < mass * size.sum() * (1 - 1e-12)).sum() + 1
    return float(needed) / size.numel()


# %% exercise="11.5" name="zero gives a division by zero" caught="hidden"
# A gradient of zeros counts one pixel.
def field_share(gradient, mass=0.95):
    if not 0 <= mass <= 1:
        raise ValueError("mass must lie between 0 and 1")
    size = gradient.double().abs().sum(0).flatten().sort(descending=True).values
    needed = (size.cumsum(0) < mass * size.sum() * (1 - 1e-12)).sum() + 1
    return float(needed) / size.numel()


# %% exercise="11.5" name="a loop over sorted pixels" right=True
# Adds pixel by pixel until the mass is reached.
def field_share(gradient, mass=0.95):
    if mass < 0 or mass > 1:
        raise ValueError(f"mass {mass}")
    values = sorted(gradient.double().abs().sum(0).flatten().tolist(), reverse=True)
    total, reached = sum(values), 0.0
    if total == 0:
        return 0.0
    for count, value in enumerate(values, start=1):
        reached += value
        if reached >= mass * total * (1 - 1e-12):
            return count / len(values)
    return 1.0
