# The zoo of lab 1: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="1.1" name="last window dropped" caught="visible" hint="last window missing"
# The end of a range is excluded, and L - k looks like the right end.
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")
    rows = [
        (x, y, x + size, y + size)
        for y in range(0, h - size, stride)
        for x in range(0, w - size, stride)
    ]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


# %% exercise="1.1" name="windows hang over the border" caught="visible" hint="may not leave the image"
# Every start inside the image is taken.
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")
    rows = [(x, y, x + size, y + size) for y in range(0, h, stride) for x in range(0, w, stride)]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


# %% exercise="1.1" name="rounds the count up" caught="visible" hint="Round down"
# The ceiling is used so that the whole image is covered.
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")
    n_rows = max(0, math.ceil((h - size) / stride) + 1)
    n_cols = max(0, math.ceil((w - size) / stride) + 1)
    rows = [
        (j * stride, i * stride, j * stride + size, i * stride + size)
        for i in range(n_rows)
        for j in range(n_cols)
    ]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


# %% exercise="1.1" name="stride ignored" caught="visible" hint="move by `stride`"
# The grid is made with step 1 and the stride forgotten.
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")
    rows = [(x, y, x + size, y + size) for y in range(h - size + 1) for x in range(w - size + 1)]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


# %% exercise="1.1" name="size and stride swapped" caught="visible" hint="Size and stride are swapped"
# Two numbers of the same kind; with size = stride nobody would see it.
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")
    size, stride = stride, size
    rows = [
        (x, y, x + size, y + size)
        for y in range(0, h - size + 1, stride)
        for x in range(0, w - size + 1, stride)
    ]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


# %% exercise="1.1" name="row before column" caught="visible" hint="x, the column, comes first"
# Arrays are indexed [row, column], so the box is written the same way.
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")
    rows = [
        (y, x, y + size, x + size)
        for x in range(0, w - size + 1, stride)
        for y in range(0, h - size + 1, stride)
    ]
    return torch.tensor(sorted(rows), dtype=torch.float32).reshape(-1, 4)


# %% exercise="1.1" name="column by column" caught="visible" hint="Row by row"
# The loops are nested the other way round.
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")
    rows = [
        (x, y, x + size, y + size)
        for x in range(0, w - size + 1, stride)
        for y in range(0, h - size + 1, stride)
    ]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


# %% exercise="1.1" name="last pixel instead of end" caught="visible" hint="half-open"
# Pascal VOC's convention: x1 is the last pixel inside.
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")
    rows = [
        (x, y, x + size - 1, y + size - 1)
        for y in range(0, h - size + 1, stride)
        for x in range(0, w - size + 1, stride)
    ]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


# %% exercise="1.1" name="height along x" caught="visible" hint="y runs along"
# h and w change places, which no square image shows.
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")
    rows = [
        (x, y, x + size, y + size)
        for y in range(0, w - size + 1, stride)
        for x in range(0, h - size + 1, stride)
    ]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


# %% exercise="1.1" name="no window, no shape" caught="hidden"
# torch.tensor([]) has the shape (0,), not (0, 4).
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")
    rows = [
        (x, y, x + size, y + size)
        for y in range(0, h - size + 1, stride)
        for x in range(0, w - size + 1, stride)
    ]
    return torch.tensor(rows, dtype=torch.float32)


# %% exercise="1.1" name="last window pushed inside" caught="visible" hint="pushed back inside"
# The border is to be covered at any price, so the grid is no longer regular.
def window_grid(h, w, size, stride):
    if size < 1 or stride < 1:
        raise ValueError("size and stride must be at least 1")

    def starts(length):
        found = list(range(0, length - size + 1, stride))
        if found and found[-1] + size < length:
            found.append(length - size)
        return found

    rows = [(x, y, x + size, y + size) for y in starts(h) for x in starts(w)]
    return torch.tensor(rows, dtype=torch.float32).reshape(-1, 4)


# %% exercise="1.1" name="meshgrid" right=True
# Tensors instead of loops.
def window_grid(h, w, size, stride):
    if size < 1:
        raise ValueError(f"size {size} is below 1")
    if stride < 1:
        raise ValueError(f"stride {stride} is below 1")
    n_rows = max((h - size) // stride + 1, 0) if h >= size else 0
    n_cols = max((w - size) // stride + 1, 0) if w >= size else 0
    y, x = torch.meshgrid(
        torch.arange(n_rows) * stride, torch.arange(n_cols) * stride, indexing="ij"
    )
    corner = torch.stack([x.flatten(), y.flatten()], dim=1)
    return torch.cat([corner, corner + size], dim=1).float()


# %% exercise="1.2" name="windows column by column" caught="visible" hint="Column by column"
# The axes after two unfolds are permuted with columns first.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(2, 1, 0, 3, 4).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)
    return (batch - mean) / deviation.clamp(min=1e-6)


def score_map(image, classify, size, stride):
    scores = classify(normalize_windows(cut_windows(image, size, stride)))
    return scores.reshape((image.shape[1] - size) // stride + 1, -1)


# %% exercise="1.2" name="every window transposed" caught="visible" hint="inside each window are swapped"
# The last two axes are swapped as well; no symmetric template shows it.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 4, 3).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)
    return (batch - mean) / deviation.clamp(min=1e-6)


def score_map(image, classify, size, stride):
    scores = classify(normalize_windows(cut_windows(image, size, stride)))
    return scores.reshape((image.shape[1] - size) // stride + 1, -1)


# %% exercise="1.2" name="one mean for the batch" caught="visible" hint="One mean for all windows"
# mean() and std() without dimensions take everything together.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    return (batch - batch.mean()) / batch.std(correction=0).clamp(min=1e-6)


def score_map(image, classify, size, stride):
    scores = classify(normalize_windows(cut_windows(image, size, stride)))
    return scores.reshape((image.shape[1] - size) // stride + 1, -1)


# %% exercise="1.2" name="normalises the whole image" caught="visible" hint="whole image was normalised"
# One line before the loop is less work than one per window.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)
    return (batch - mean) / deviation.clamp(min=1e-6)


def score_map(image, classify, size, stride):
    scores = classify(cut_windows(normalize_windows(image[None])[0], size, stride))
    return scores.reshape((image.shape[1] - size) // stride + 1, -1)


# %% exercise="1.2" name="torch's default correction" caught="visible" hint="correction=0"
# std() divides by n - 1 unless told otherwise.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    mean = batch.mean(dim=(1, 2, 3), keepdim=True)
    return (batch - mean) / batch.std(dim=(1, 2, 3), keepdim=True).clamp(min=1e-6)


def score_map(image, classify, size, stride):
    scores = classify(normalize_windows(cut_windows(image, size, stride)))
    return scores.reshape((image.shape[1] - size) // stride + 1, -1)


# %% exercise="1.2" name="flat windows become nan" caught="visible" hint="without contrast"
# Division by a deviation of zero.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)
    return (batch - mean) / deviation


def score_map(image, classify, size, stride):
    scores = classify(normalize_windows(cut_windows(image, size, stride)))
    return scores.reshape((image.shape[1] - size) // stride + 1, -1)


# %% exercise="1.2" name="one call per window" caught="visible" hint="one batch"
# The loop of the textbook.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)
    return (batch - mean) / deviation.clamp(min=1e-6)


def score_map(image, classify, size, stride):
    batch = normalize_windows(cut_windows(image, size, stride))
    scores = torch.cat([classify(one[None]).reshape(1) for one in batch])
    return scores.reshape((image.shape[1] - size) // stride + 1, -1)


# %% exercise="1.2" name="map with rows and columns exchanged" caught="visible" hint="one row per row"
# The number of columns is put where the rows belong.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)
    return (batch - mean) / deviation.clamp(min=1e-6)


def score_map(image, classify, size, stride):
    scores = classify(normalize_windows(cut_windows(image, size, stride)))
    return scores.reshape((image.shape[2] - size) // stride + 1, -1)


# %% exercise="1.2" name="raw windows to the classifier" caught="visible" hint="got raw windows"
# The second function is written and never used.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)
    return (batch - mean) / deviation.clamp(min=1e-6)


def score_map(image, classify, size, stride):
    scores = classify(cut_windows(image, size, stride))
    return scores.reshape((image.shape[1] - size) // stride + 1, -1)


# %% exercise="1.2" name="one mean per channel" caught="hidden"
# As batch statistics do it: with grey images the difference cannot be seen.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    deviation, mean = torch.std_mean(batch, dim=(2, 3), correction=0, keepdim=True)
    return (batch - mean) / deviation.clamp(min=1e-6)


def score_map(image, classify, size, stride):
    scores = classify(normalize_windows(cut_windows(image, size, stride)))
    return scores.reshape((image.shape[1] - size) // stride + 1, -1)


# %% exercise="1.2" name="normalises in place" caught="hidden"
# -= saves a copy and spoils the caller's windows.
def cut_windows(image, size, stride):
    cut = image.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).reshape(-1, len(image), size, size)


def normalize_windows(batch):
    deviation, mean = torch.std_mean(batch, dim=(1, 2, 3), correction=0, keepdim=True)
    batch -= mean
    batch /= deviation.clamp(min=1e-6)
    return batch


def score_map(image, classify, size, stride):
    scores = classify(normalize_windows(cut_windows(image, size, stride)))
    return scores.reshape((image.shape[1] - size) // stride + 1, -1)


# %% exercise="1.2" name="slices and a stack" right=True
# Cut along the boxes of the first exercise.
def cut_windows(image, size, stride):
    grid = window_grid(image.shape[1], image.shape[2], size, stride).int().tolist()
    return torch.stack([image[:, y0:y1, x0:x1] for x0, y0, x1, y1 in grid])


def normalize_windows(batch):
    flat = batch.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    deviation = (flat**2).mean(1, keepdim=True).sqrt()
    return (flat / torch.where(deviation < 1e-6, 1e-6, deviation)).view(batch.shape)


def score_map(image, classify, size, stride):
    batch = normalize_windows(cut_windows(image, size, stride))
    columns = len(range(0, image.shape[2] - size + 1, stride))
    return classify(batch).flatten().view(-1, columns)


# %% exercise="1.3" name="rounds a rounded size" caught="visible" hint="Rounding adds up"
# Each level is made from the one before.
def image_pyramid(image, scale, min_size):
    levels = []
    while min(image.shape[1:]) >= min_size:
        levels.append(image)
        h, w = image.shape[1:]
        size = (round(h * scale), round(w * scale))
        image = F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]
    return levels


def to_image_coords(found, level, image):
    down, right = image[0] / level[0], image[1] / level[1]
    return found * torch.tensor([right, down, right, down])


# %% exercise="1.3" name="cuts the decimals off" caught="visible" hint="do not cut off"
# int() instead of round().
def image_pyramid(image, scale, min_size):
    h, w = image.shape[1:]
    levels, size = [], (h, w)
    while min(size) >= min_size:
        levels.append(F.interpolate(image[None], size, mode="bilinear", antialias=True)[0])
        size = (int(h * scale ** len(levels)), int(w * scale ** len(levels)))
    return levels


def to_image_coords(found, level, image):
    down, right = image[0] / level[0], image[1] / level[1]
    return found * torch.tensor([right, down, right, down])


# %% exercise="1.3" name="stops one level early" caught="visible" hint="exactly min_size belongs in"
# > instead of >=.
def image_pyramid(image, scale, min_size):
    h, w = image.shape[1:]
    levels, size = [], (h, w)
    while min(size) > min_size:
        levels.append(F.interpolate(image[None], size, mode="bilinear", antialias=True)[0])
        size = (round(h * scale ** len(levels)), round(w * scale ** len(levels)))
    return levels


def to_image_coords(found, level, image):
    down, right = image[0] / level[0], image[1] / level[1]
    return found * torch.tensor([right, down, right, down])


# %% exercise="1.3" name="the longer side decides" caught="visible" hint="*shorter* side"
# max for min: square images never show it.
def image_pyramid(image, scale, min_size):
    h, w = image.shape[1:]
    levels, size = [], (h, w)
    while max(size) >= min_size:
        levels.append(F.interpolate(image[None], size, mode="bilinear", antialias=True)[0])
        size = (round(h * scale ** len(levels)), round(w * scale ** len(levels)))
    return levels


def to_image_coords(found, level, image):
    down, right = image[0] / level[0], image[1] / level[1]
    return found * torch.tensor([right, down, right, down])


# %% exercise="1.3" name="the image itself is missing" caught="visible" hint="first level is the image itself"
# The counter starts at one.
def image_pyramid(image, scale, min_size):
    h, w = image.shape[1:]
    levels, i = [], 1
    while min(round(h * scale**i), round(w * scale**i)) >= min_size:
        size = (round(h * scale**i), round(w * scale**i))
        levels.append(F.interpolate(image[None], size, mode="bilinear", antialias=True)[0])
        i += 1
    return levels


def to_image_coords(found, level, image):
    down, right = image[0] / level[0], image[1] / level[1]
    return found * torch.tensor([right, down, right, down])


# %% exercise="1.3" name="divides instead of multiplying" caught="visible" hint="you divide"
# The way down and the way back are mixed up.
def image_pyramid(image, scale, min_size):
    h, w = image.shape[1:]
    levels, size = [], (h, w)
    while min(size) >= min_size:
        levels.append(F.interpolate(image[None], size, mode="bilinear", antialias=True)[0])
        size = (round(h * scale ** len(levels)), round(w * scale ** len(levels)))
    return levels


def to_image_coords(found, level, image):
    down, right = image[0] / level[0], image[1] / level[1]
    return found / torch.tensor([right, down, right, down])


# %% exercise="1.3" name="x scaled with the height" caught="visible" hint="they are swapped"
# (H, W) is read as (x, y).
def image_pyramid(image, scale, min_size):
    h, w = image.shape[1:]
    levels, size = [], (h, w)
    while min(size) >= min_size:
        levels.append(F.interpolate(image[None], size, mode="bilinear", antialias=True)[0])
        size = (round(h * scale ** len(levels)), round(w * scale ** len(levels)))
    return levels


def to_image_coords(found, level, image):
    x, y = image[0] / level[0], image[1] / level[1]
    return found * torch.tensor([x, y, x, y])


# %% exercise="1.3" name="one factor for both axes" caught="visible" hint="One factor for both axes"
# The scale is taken from the height alone.
def image_pyramid(image, scale, min_size):
    h, w = image.shape[1:]
    levels, size = [], (h, w)
    while min(size) >= min_size:
        levels.append(F.interpolate(image[None], size, mode="bilinear", antialias=True)[0])
        size = (round(h * scale ** len(levels)), round(w * scale ** len(levels)))
    return levels


def to_image_coords(found, level, image):
    return found * (image[0] / level[0])


# %% exercise="1.3" name="samples without averaging" caught="hidden"
# antialias is off unless asked for.
def image_pyramid(image, scale, min_size):
    h, w = image.shape[1:]
    levels, size = [], (h, w)
    while min(size) >= min_size:
        levels.append(F.interpolate(image[None], size, mode="bilinear")[0])
        size = (round(h * scale ** len(levels)), round(w * scale ** len(levels)))
    return levels


def to_image_coords(found, level, image):
    down, right = image[0] / level[0], image[1] / level[1]
    return found * torch.tensor([right, down, right, down])


# %% exercise="1.3" name="right sizes, blurred twice" caught="hidden"
# The sizes come from the image, the pixels from the level before.
def image_pyramid(image, scale, min_size):
    h, w = image.shape[1:]
    levels, size, last = [], (h, w), image
    while min(size) >= min_size:
        last = F.interpolate(last[None], size, mode="bilinear", antialias=True)[0]
        levels.append(last)
        size = (round(h * scale ** len(levels)), round(w * scale ** len(levels)))
    return levels


def to_image_coords(found, level, image):
    down, right = image[0] / level[0], image[1] / level[1]
    return found * torch.tensor([right, down, right, down])


# %% exercise="1.3" name="enumerated sizes" right=True
# All sizes first, then all images; columns of the boxes one by one.
def image_pyramid(image, scale, min_size):
    sizes, i = [], 0
    while True:
        size = tuple(round(n * scale**i) for n in image.shape[1:])
        if min(size) < min_size:
            break
        sizes.append(size)
        i += 1
    return [
        F.interpolate(image[None], size=s, mode="bilinear", antialias=True).squeeze(0)
        for s in sizes
    ]


def to_image_coords(found, level, image):
    result = found.clone()
    result[:, 0::2] *= image[1] / level[1]
    result[:, 1::2] *= image[0] / level[0]
    return result


# %% exercise="1.4" name="removed boxes remove others" caught="visible" hint="A removed box removes nothing"
# Every pair is compared once, whether the better box still stands or not.
def nms(candidates, scores, threshold):
    order = scores.argsort(descending=True, stable=True)
    overlap = box_iou(candidates[order], candidates[order]).triu(diagonal=1)
    return order[~(overlap > threshold).any(0)]


# %% exercise="1.4" name="lowest score first" caught="visible" hint="lowest score"
# argsort goes up unless told otherwise.
def nms(candidates, scores, threshold):
    order = scores.argsort(stable=True)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[box_iou(candidates[best][None], candidates[order])[0] <= threshold]
    return torch.tensor(kept, dtype=torch.int64)


# %% exercise="1.4" name="places in the sorted list" caught="visible" hint="places in the sorted list"
# The boxes are sorted first and the way back is forgotten.
def nms(candidates, scores, threshold):
    found = candidates[scores.argsort(descending=True, stable=True)]
    waiting = torch.arange(len(found))
    kept = []
    while len(waiting):
        best, waiting = waiting[0], waiting[1:]
        kept.append(int(best))
        waiting = waiting[box_iou(found[best][None], found[waiting])[0] <= threshold]
    return torch.tensor(kept, dtype=torch.int64)


# %% exercise="1.4" name="at the threshold removed" caught="visible" hint="only *more* than"
# < instead of <=.
def nms(candidates, scores, threshold):
    order = scores.argsort(descending=True, stable=True)
    kept = []
    while len(order):
        best, order = order[0], order[1:]
        kept.append(int(best))
        order = order[box_iou(candidates[best][None], candidates[order])[0] < threshold]
    return torch.tensor(kept, dtype=torch.int64)


# %% exercise="1.4" name="areas with + 1" caught="visible" hint="add 1 to widths"
# The old convention: the last pixel belongs to the box.
def nms(candidates, scores, threshold):
    x0, y0, x1, y1 = candidates.unbind(1)
    areas = (x1 - x0 + 1) * (y1 - y0 + 1)
    order = scores.argsort(descending=True, stable=True)
    kept = []
    while len(order):
        i, order = order[0], order[1:]
        kept.append(int(i))
        w = (torch.minimum(x1[i], x1[order]) - torch.maximum(x0[i], x0[order]) + 1).clamp(min=0)
        h = (torch.minimum(y1[i], y1[order]) - torch.maximum(y0[i], y0[order]) + 1).clamp(min=0)
        order = order[w * h / (areas[i] + areas[order] - w * h) <= threshold]
    return torch.tensor(kept, dtype=torch.int64)


# %% exercise="1.4" name="only the best box removes" caught="visible" hint="Only the very best"
# One step of the loop, without the loop.
def nms(candidates, scores, threshold):
    order = scores.argsort(descending=True, stable=True)
    if not len(order):
        return order
    overlap = box_iou(candidates[order[:1]], candidates[order])[0]
    overlap[0] = 0
    return order[overlap <= threshold]


# %% exercise="1.4" name="a mask" caught="visible" hint="not a mask"
# True where a box is kept.
def nms(candidates, scores, threshold):
    order = scores.argsort(descending=True, stable=True)
    mask = torch.zeros(len(scores), dtype=torch.bool)
    while len(order):
        best, order = order[0], order[1:]
        mask[best] = True
        order = order[box_iou(candidates[best][None], candidates[order])[0] <= threshold]
    return mask


# %% exercise="1.4" name="in the order of the boxes" caught="visible" hint="best score first"
# The mask is turned into indices, and the order of the scores is lost.
def nms(candidates, scores, threshold):
    order = scores.argsort(descending=True, stable=True)
    mask = torch.zeros(len(scores), dtype=torch.bool)
    while len(order):
        best, order = order[0], order[1:]
        mask[best] = True
        order = order[box_iou(candidates[best][None], candidates[order])[0] <= threshold]
    return mask.nonzero().flatten()


# %% exercise="1.4" name="marks the scores" caught="hidden"
# Used scores are set to -inf in the caller's tensor.
def nms(candidates, scores, threshold):
    kept = []
    while len(scores) and scores.max() > -math.inf:
        best = int(scores.argmax())
        kept.append(best)
        overlap = box_iou(candidates[best][None], candidates)[0]
        scores[overlap > threshold] = -math.inf
        scores[best] = -math.inf
    return torch.tensor(kept, dtype=torch.int64)


# %% exercise="1.4" name="scores below zero are ignored" caught="hidden"
# The loop takes it that scores are probabilities.
def nms(candidates, scores, threshold):
    left, kept = scores.clone(), []
    while len(left) and left.max() > 0:
        best = int(left.argmax())
        kept.append(best)
        left[box_iou(candidates[best][None], candidates)[0] > threshold] = 0
        left[best] = 0
    return torch.tensor(kept, dtype=torch.int64)


# %% exercise="1.4" name="a matrix and a loop over rows" right=True
# All overlaps once, then plain Python.
def nms(candidates, scores, threshold):
    overlap = box_iou(candidates, candidates)
    removed, kept = set(), []
    for i in sorted(range(len(scores)), key=lambda i: (-float(scores[i]), i)):
        if i in removed:
            continue
        kept.append(i)
        removed |= set((overlap[i] > threshold).nonzero().flatten().tolist())
    return torch.tensor(kept, dtype=torch.int64)


# %% exercise="1.5" name="hardest objects" caught="visible" hint="objects that the classifier misses"
# Hard is read as "object with a low score".
def hard_negatives(scores, labels, k):
    objects = (labels > 0).nonzero().flatten()
    return objects[scores[objects].argsort(stable=True)[:k]]


# %% exercise="1.5" name="labels ignored" caught="visible" hint="Labels are not used"
# The best-scored windows, objects included.
def hard_negatives(scores, labels, k):
    return scores.argsort(descending=True, stable=True)[:k]


# %% exercise="1.5" name="easiest background" caught="visible" hint="easy ones"
# argsort goes up.
def hard_negatives(scores, labels, k):
    background = (labels == 0).nonzero().flatten()
    return background[scores[background].argsort(stable=True)[:k]]


# %% exercise="1.5" name="index into the subset" caught="visible" hint="list of background windows"
# The order of the filtered scores is returned as it is.
def hard_negatives(scores, labels, k):
    return scores[labels == 0].argsort(descending=True, stable=True)[:k]


# %% exercise="1.5" name="everything but class one" caught="visible" hint="do not use"
# -1 and 2 are not 1, so they count as background.
def hard_negatives(scores, labels, k):
    background = (labels <= 0).nonzero().flatten()
    return background[scores[background].argsort(descending=True, stable=True)[:k]]


# %% exercise="1.5" name="scores instead of indices" caught="visible" hint="indices, not scores"
# sort instead of argsort.
def hard_negatives(scores, labels, k):
    return scores[labels == 0].sort(descending=True).values[:k]


# %% exercise="1.5" name="objects set to -inf" caught="visible" hint="fewer than k"
# Masks by value and forgets that the list may run out.
def hard_negatives(scores, labels, k):
    masked = torch.where(labels == 0, scores, -math.inf)
    return masked.argsort(descending=True, stable=True)[:k]


# %% exercise="1.5" name="masks in place" caught="hidden"
# The caller's scores are overwritten.
def hard_negatives(scores, labels, k):
    scores[labels != 0] = -math.inf
    order = scores.argsort(descending=True, stable=True)
    return order[: min(k, int((labels == 0).sum()))]


# %% exercise="1.5" name="topk" right=True
# Sort all, then drop what is no background.
def hard_negatives(scores, labels, k):
    order = scores.argsort(descending=True, stable=True)
    return order[labels[order] == 0][:k]


# %% exercise="1.6" name="rounds the number down" caught="visible" hint="round up"
# int() lets too few pass.
def stage_threshold(scores, keep):
    wanted = max(int(keep * len(scores)), 1)
    return float(scores.sort(descending=True).values[wanted - 1])


def cascade(batch, cheap, costly, threshold):
    passed = cheap(batch) >= threshold
    scores = torch.full((len(batch),), -math.inf)
    if passed.any():
        scores[passed] = costly(batch[passed])
    return scores


# %% exercise="1.6" name="one score too far" caught="visible" hint="lets all five pass"
# Counting from zero.
def stage_threshold(scores, keep):
    wanted = min(math.ceil(keep * len(scores)), len(scores) - 1)
    return float(scores.sort(descending=True).values[wanted])


def cascade(batch, cheap, costly, threshold):
    passed = cheap(batch) >= threshold
    scores = torch.full((len(batch),), -math.inf)
    if passed.any():
        scores[passed] = costly(batch[passed])
    return scores


# %% exercise="1.6" name="interpolated quantile" caught="visible" hint="between two scores"
# The usual quantile lies between two of the values.
def stage_threshold(scores, keep):
    ordered = scores.sort().values
    place = (1 - keep) * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))


def cascade(batch, cheap, costly, threshold):
    passed = cheap(batch) >= threshold
    scores = torch.full((len(batch),), -math.inf)
    if passed.any():
        scores[passed] = costly(batch[passed])
    return scores


# %% exercise="1.6" name="sorted the wrong way" caught="visible" hint="high to low"
# The share is counted from below.
def stage_threshold(scores, keep):
    ordered = scores.sort().values
    return float(ordered[min(int(keep * len(ordered)), len(ordered) - 1)])


def cascade(batch, cheap, costly, threshold):
    passed = cheap(batch) >= threshold
    scores = torch.full((len(batch),), -math.inf)
    if passed.any():
        scores[passed] = costly(batch[passed])
    return scores


# %% exercise="1.6" name="asks everyone, then masks" caught="visible" hint="must save calls"
# The result is right and nothing is saved.
def stage_threshold(scores, keep):
    return float(scores.sort(descending=True).values[math.ceil(keep * len(scores)) - 1])


def cascade(batch, cheap, costly, threshold):
    return torch.where(cheap(batch) >= threshold, costly(batch), -math.inf)


# %% exercise="1.6" name="above the threshold only" caught="visible" hint="exactly at the threshold passes"
# > instead of >=: the threshold itself is the score of an object.
def stage_threshold(scores, keep):
    return float(scores.sort(descending=True).values[math.ceil(keep * len(scores)) - 1])


def cascade(batch, cheap, costly, threshold):
    passed = cheap(batch) > threshold
    scores = torch.full((len(batch),), -math.inf)
    if passed.any():
        scores[passed] = costly(batch[passed])
    return scores


# %% exercise="1.6" name="zeros for the rejected" caught="visible" hint="0 could still be"
# zeros is the first tensor that comes to mind; a logit of 0 is a coin toss.
def stage_threshold(scores, keep):
    return float(scores.sort(descending=True).values[math.ceil(keep * len(scores)) - 1])


def cascade(batch, cheap, costly, threshold):
    passed = cheap(batch) >= threshold
    scores = torch.zeros(len(batch))
    if passed.any():
        scores[passed] = costly(batch[passed])
    return scores


# %% exercise="1.6" name="survivors only" caught="visible" hint="keep the places"
# The places of the windows are lost.
def stage_threshold(scores, keep):
    return float(scores.sort(descending=True).values[math.ceil(keep * len(scores)) - 1])


def cascade(batch, cheap, costly, threshold):
    return costly(batch[cheap(batch) >= threshold])


# %% exercise="1.6" name="scores of the cheap test" caught="visible" hint="not the score of the cheap test"
# The cheap scores are kept where they were.
def stage_threshold(scores, keep):
    return float(scores.sort(descending=True).values[math.ceil(keep * len(scores)) - 1])


def cascade(batch, cheap, costly, threshold):
    scores = cheap(batch).clone()
    passed = scores >= threshold
    if passed.any():
        scores[passed] = costly(batch[passed])
    return scores


# %% exercise="1.6" name="calls with an empty batch" caught="hidden"
# Works with most networks, and fails with those that need at least one image.
def stage_threshold(scores, keep):
    return float(scores.sort(descending=True).values[math.ceil(keep * len(scores)) - 1])


def cascade(batch, cheap, costly, threshold):
    passed = cheap(batch) >= threshold
    scores = torch.full((len(batch),), -math.inf)
    scores[passed] = costly(batch[passed])
    return scores


# %% exercise="1.6" name="indices and scatter" right=True
# Counts who reaches each score; fills by index.
def stage_threshold(scores, keep):
    reached = (scores[None] >= scores[:, None]).float().mean(1)
    return max(float(s) for s, share in zip(scores, reached) if float(share) >= keep - 1e-6)


def cascade(batch, cheap, costly, threshold):
    result = torch.full((batch.shape[0],), float("-inf"))
    survivors = torch.nonzero(cheap(batch) >= threshold).flatten()
    return (
        result if not len(survivors) else result.index_put((survivors,), costly(batch[survivors]))
    )


# %% exercise="1.6" name="torch's own order statistic" right=True
# The k-th smallest is the right one if k is.
def stage_threshold(scores, keep):
    return scores.kthvalue(len(scores) - math.ceil(keep * len(scores)) + 1).values.item()


def cascade(batch, cheap, costly, threshold):
    passed = cheap(batch) >= threshold
    scores = torch.full((len(batch),), -math.inf)
    if passed.any():
        scores[passed] = costly(batch[passed])
    return scores


# %% exercise="1.6" name="the definition read aloud" right=True
# Every score in turn; the share is a float32, a hair off some fractions.
def stage_threshold(scores, keep):
    return max(s for s in scores.tolist() if float((scores >= s).float().mean()) >= keep)


def cascade(batch, cheap, costly, threshold):
    passed = cheap(batch) >= threshold
    scores = torch.full((len(batch),), -math.inf)
    if passed.any():
        scores[passed] = costly(batch[passed])
    return scores
