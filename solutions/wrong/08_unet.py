# The zoo of lab 8: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="8.1" name="forgets the second convolution" caught="visible" hint="forget the second"
# One arrow of Figure 1 looks like one convolution.
def unet_sizes(n, depth=4):
    sizes = [n]
    for level in range(depth):
        sizes.append(sizes[-1] - 2)
        if sizes[-1] % 2 or sizes[-1] < 2:
            raise ValueError(f"level {level}: {sizes[-1]} is odd")
        sizes.append(sizes[-1] // 2)
    sizes.append(sizes[-1] - 2)
    for _ in range(depth):
        sizes.append(2 * sizes[-1])
        sizes.append(sizes[-1] - 2)
    return sizes


# %% exercise="8.1" name="floors odd maps" caught="visible" hint="283 at level 1"
# Integer division hides the odd row, as many published ports do.
def unet_sizes(n, depth=4):
    sizes = [n]
    for _ in range(depth):
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
        sizes.append(sizes[-1] // 2)
    sizes += [sizes[-1] - 2, sizes[-1] - 4]
    for _ in range(depth):
        sizes.append(2 * sizes[-1])
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
    return sizes


# %% exercise="8.1" name="pools before the convolutions" caught="visible" hint="come before the pooling"
# The order of the blocks is read from the wrong end of the arrow.
def unet_sizes(n, depth=4):
    sizes = [n]
    for level in range(depth):
        if sizes[-1] % 2:
            raise ValueError(f"level {level}: {sizes[-1]} is odd")
        sizes.append(sizes[-1] // 2)
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
    for _ in range(depth):
        sizes.append(2 * sizes[-1])
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
    return sizes


# %% exercise="8.1" name="forgets the bottom" caught="visible" hint="convolutions at the bottom"
# The two loops cover the levels; the block between them is overlooked.
def unet_sizes(n, depth=4):
    sizes = [n]
    for level in range(depth):
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
        if sizes[-1] % 2 or sizes[-1] < 2:
            raise ValueError(f"level {level}: {sizes[-1]} is odd")
        sizes.append(sizes[-1] // 2)
    for _ in range(depth):
        sizes.append(2 * sizes[-1])
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
    return sizes


# %% exercise="8.1" name="returns only input and output" caught="visible" hint="Return every size"
# The question is read as "what comes out".
def unet_sizes(n, depth=4):
    start = n
    for level in range(depth):
        n -= 4
        if n % 2 or n < 2:
            raise ValueError(f"level {level}: {n} is odd")
        n //= 2
    n -= 4
    for _ in range(depth):
        n = 2 * n - 4
    return [start, n]


# %% exercise="8.1" name="tests only the input for oddness" caught="visible" hint="283 at level 1"
# 570 is even, so it looks legal.
def unet_sizes(n, depth=4):
    if n % 2:
        raise ValueError(f"level 0: {n} is odd")
    sizes = [n]
    for _ in range(depth):
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
        sizes.append(sizes[-1] // 2)
    sizes += [sizes[-1] - 2, sizes[-1] - 4]
    for _ in range(depth):
        sizes.append(2 * sizes[-1])
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
    return sizes


# %% exercise="8.1" name="goes on below one pixel" caught="hidden"
# Oddness is tested, emptiness is not: 16 becomes 2 and then -2.
def unet_sizes(n, depth=4):
    sizes = [n]
    for level in range(depth):
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
        if sizes[-1] % 2:
            raise ValueError(f"level {level}: {sizes[-1]} is odd")
        sizes.append(sizes[-1] // 2)
    sizes += [sizes[-1] - 2, sizes[-1] - 4]
    for _ in range(depth):
        sizes.append(2 * sizes[-1])
        sizes += [sizes[-1] - 2, sizes[-1] - 4]
    return sizes


# %% exercise="8.1" name="recursion" right=True
# One level around the next one.
def unet_sizes(n, depth=4, level=0):
    block = [n, n - 2, n - 4]
    if depth == 0:
        if n < 5:
            raise ValueError(f"level {level}: nothing is left of a map of side {n}")
        return block
    if (n - 4) % 2 or n < 6:
        raise ValueError(f"level {level}: a map of side {n - 4} cannot be halved")
    inner = unet_sizes((n - 4) // 2, depth - 1, level + 1)
    up = 2 * inner[-1]
    if up < 5:
        raise ValueError(f"level {level}: nothing is left of a map of side {up}")
    return [*block, *inner, up, up - 2, up - 4]


# %% exercise="8.2" name="first legal, not smallest" caught="visible" hint="not the smallest one"
# Adds one step of the grid to be safe.
def valid_input_for(out, depth=4):
    if out < 1:
        raise ValueError("out must be at least 1")
    n = out + 12 * 2**depth - 8
    while (n + 4) % 2**depth:
        n += 1
    return n + 2**depth


# %% exercise="8.2" name="rounds down" caught="visible" hint="Round up to the next"
# Integer division rounds down.
def valid_input_for(out, depth=4):
    if out < 1:
        raise ValueError("out must be at least 1")
    step = 2**depth
    return (out + 12 * step - 8 + 4) // step * step - 4


# %% exercise="8.2" name="border of one side" caught="visible" hint="lost on both sides"
# 92 is the number everyone remembers.
def valid_input_for(out, depth=4):
    if out < 1:
        raise ValueError("out must be at least 1")
    n = out + 6 * 2**depth - 4
    while (n + 4) % 2**depth:
        n += 1
    return n


# %% exercise="8.2" name="out plus the loss, never aligned" caught="visible" hint="large enough, but"
# The output formula is turned round and the grid is forgotten.
def valid_input_for(out, depth=4):
    if out < 1:
        raise ValueError("out must be at least 1")
    return out + 12 * 2**depth - 8


# %% exercise="8.2" name="a grid of 16 at every depth" caught="visible" hint="16 apart at every depth"
# The number 16 of the paper is taken for a constant.
def valid_input_for(out, depth=4):
    if out < 1:
        raise ValueError("out must be at least 1")
    n = out + 12 * 2**depth - 8
    while n % 16 != 12:
        n += 1
    return n


# %% exercise="8.2" name="accepts an empty output" caught="hidden"
# The contract's last line is overlooked.
def valid_input_for(out, depth=4):
    n = out + 12 * 2**depth - 8
    while (n + 4) % 2**depth:
        n += 1
    return n


# %% exercise="8.2" name="asks unet_sizes" right=True
# Any size that the first exercise accepts is legal.
def valid_input_for(out, depth=4):
    if out < 1:
        raise ValueError(f"out must be at least 1, got {out}")
    n = out + 12 * 2**depth - 8
    while True:
        try:
            unet_sizes(n, depth)
            return n
        except ValueError:
            n += 1


# %% exercise="8.2" name="closed form" right=True
# Solve for the side at the bottom and round it up.
def valid_input_for(out, depth=4):
    if out < 1:
        raise ValueError(f"out must be at least 1, got {out}")
    bottom = -((4 - out) // 2**depth) + 4
    return 2**depth * (bottom + 8) - 4


# %% exercise="8.3" name="repeats the edge pixel" caught="visible" hint="edge pixel is repeated"
# This is numpy's "symmetric".
def tile_margin(depth=4):
    return 6 * 2**depth - 4


def mirror_pad(image, left, top, right, bottom):
    def mirrored(before, length, after):
        index = torch.arange(-before, length + after) % (2 * length)
        return torch.minimum(index, 2 * length - 1 - index)

    h, w = image.shape[-2:]
    return image[..., mirrored(top, h, bottom)[:, None], mirrored(left, w, right)]


def tile_plan(h, w, step):
    return [
        (x, y, min(x + step, w), min(y + step, h))
        for y in range(0, h, step)
        for x in range(0, w, step)
    ]


# %% exercise="8.3" name="a black frame" caught="visible" hint="filled with zeros"
# Zero padding is what every convolution layer does by default.
def tile_margin(depth=4):
    return 6 * 2**depth - 4


def mirror_pad(image, left, top, right, bottom):
    h, w = image.shape[-2:]
    out = image.new_zeros((*image.shape[:-2], top + h + bottom, left + w + right))
    out[..., top : top + h, left : left + w] = image
    return out


def tile_plan(h, w, step):
    return [
        (x, y, min(x + step, w), min(y + step, h))
        for y in range(0, h, step)
        for x in range(0, w, step)
    ]


# %% exercise="8.3" name="margin of both sides" caught="visible" hint="both sides lose together"
# 572 - 388 = 184.
def tile_margin(depth=4):
    return 12 * 2**depth - 8


def mirror_pad(image, left, top, right, bottom):
    def mirrored(before, length, after):
        period = max(2 * (length - 1), 1)
        index = torch.arange(-before, length + after) % period
        return torch.minimum(index, period - index)

    h, w = image.shape[-2:]
    return image[..., mirrored(top, h, bottom)[:, None], mirrored(left, w, right)]


def tile_plan(h, w, step):
    return [
        (x, y, min(x + step, w), min(y + step, h))
        for y in range(0, h, step)
        for x in range(0, w, step)
    ]


# %% exercise="8.3" name="margins on the wrong sides" caught="visible" hint="on the wrong sides"
# Top, bottom, left, right is the order of the dimensions.
def tile_margin(depth=4):
    return 6 * 2**depth - 4


def mirror_pad(image, left, top, right, bottom):
    def mirrored(before, length, after):
        period = max(2 * (length - 1), 1)
        index = torch.arange(-before, length + after) % period
        return torch.minimum(index, period - index)

    h, w = image.shape[-2:]
    return image[..., mirrored(left, h, top)[:, None], mirrored(right, w, bottom)]


def tile_plan(h, w, step):
    return [
        (x, y, min(x + step, w), min(y + step, h))
        for y in range(0, h, step)
        for x in range(0, w, step)
    ]


# %% exercise="8.3" name="drops the last tiles" caught="visible" hint="last row and column"
# Counts whole tiles only.
def tile_margin(depth=4):
    return 6 * 2**depth - 4


def mirror_pad(image, left, top, right, bottom):
    def mirrored(before, length, after):
        period = max(2 * (length - 1), 1)
        index = torch.arange(-before, length + after) % period
        return torch.minimum(index, period - index)

    h, w = image.shape[-2:]
    return image[..., mirrored(top, h, bottom)[:, None], mirrored(left, w, right)]


def tile_plan(h, w, step):
    return [
        (x * step, y * step, (x + 1) * step, (y + 1) * step)
        for y in range(h // step)
        for x in range(w // step)
    ]


# %% exercise="8.3" name="moves the last tiles back" caught="visible" hint="labelled twice"
# The usual sliding window keeps every tile whole.
def tile_margin(depth=4):
    return 6 * 2**depth - 4


def mirror_pad(image, left, top, right, bottom):
    def mirrored(before, length, after):
        period = max(2 * (length - 1), 1)
        index = torch.arange(-before, length + after) % period
        return torch.minimum(index, period - index)

    h, w = image.shape[-2:]
    return image[..., mirrored(top, h, bottom)[:, None], mirrored(left, w, right)]


def tile_plan(h, w, step):
    def starts(length):
        return sorted({max(min(s, length - step), 0) for s in range(0, length, step)})

    return [(x, y, min(x + step, w), min(y + step, h)) for y in starts(h) for x in starts(w)]


# %% exercise="8.3" name="mirrors once only" caught="hidden"
# Right until the margin is longer than the image: a small image, a deep network.
def tile_margin(depth=4):
    return 6 * 2**depth - 4


def mirror_pad(image, left, top, right, bottom):
    h, w = image.shape[-2:]
    rows = torch.arange(-top, h + bottom).abs()
    rows = torch.where(rows >= h, 2 * (h - 1) - rows, rows)
    columns = torch.arange(-left, w + right).abs()
    columns = torch.where(columns >= w, 2 * (w - 1) - columns, columns)
    return image[..., rows[:, None], columns]


def tile_plan(h, w, step):
    return [
        (x, y, min(x + step, w), min(y + step, h))
        for y in range(0, h, step)
        for x in range(0, w, step)
    ]


# %% exercise="8.3" name="flip and concatenate" right=True
# Mirror images laid side by side until the margin is covered.
def tile_margin(depth=4):
    return (572 - 388) // 2 if depth == 4 else 6 * 2**depth - 4


def mirror_pad(image, left, top, right, bottom):
    def along(x, dim, before, after):
        length = x.shape[dim]
        if length == 1:
            return x.repeat_interleave(before + 1 + after, dim)
        wave = torch.cat([x, x.flip(dim).narrow(dim, 1, length - 2)], dim)
        period = 2 * (length - 1)
        laps = (before + after + length) // period + 3
        start = -before % period
        tiled = torch.cat([wave] * laps, dim)
        return tiled.narrow(dim, start, before + length + after)

    return along(along(image, -2, top, bottom), -1, left, right)


def tile_plan(h, w, step):
    boxes = []
    y = 0
    while y < h:
        x = 0
        while x < w:
            boxes.append((x, y, min(w, x + step), min(h, y + step)))
            x += step
        y += step
    return boxes


# %% exercise="8.4" name="pads with zeros" caught="visible" hint="filled with zeros"
# What a padded convolution does, done by hand.
def predict_tiled(net, image, tile, border=92, multiple=16):
    h, w = image.shape[-2:]
    step = (tile - 2 * border) // multiple * multiple
    plan = tile_plan(h, w, step)
    right, bottom = plan[-1][0] + tile - border - w, plan[-1][1] + tile - border - h
    padded = F.pad(image, (border, right, border, bottom))
    result = None
    for x0, y0, x1, y1 in plan:
        logits = net(padded[None, :, y0 : y0 + tile, x0 : x0 + tile])[0]
        result = logits.new_empty(len(logits), h, w) if result is None else result
        result[:, y0:y1, x0:x1] = logits[:, : y1 - y0, : x1 - x0]
    return result


# %% exercise="8.4" name="repeats the edge instead of mirroring" caught="visible" hint="edge pixel is repeated"
# `mode="replicate"` is the neighbour of "reflect" in the manual.
def predict_tiled(net, image, tile, border=92, multiple=16):
    h, w = image.shape[-2:]
    step = (tile - 2 * border) // multiple * multiple
    plan = tile_plan(h, w, step)
    right, bottom = plan[-1][0] + tile - border - w, plan[-1][1] + tile - border - h
    padded = F.pad(image[None], (border, right, border, bottom), mode="replicate")[0]
    result = None
    for x0, y0, x1, y1 in plan:
        logits = net(padded[None, :, y0 : y0 + tile, x0 : x0 + tile])[0]
        result = logits.new_empty(len(logits), h, w) if result is None else result
        result[:, y0:y1, x0:x1] = logits[:, : y1 - y0, : x1 - x0]
    return result


# %% exercise="8.4" name="the published step" caught="visible" hint="the grid is 4 wide"
# 388 is what the paper prints.
def predict_tiled(net, image, tile, border=92, multiple=16):
    h, w = image.shape[-2:]
    step = tile - 2 * border
    plan = tile_plan(h, w, step)
    right, bottom = plan[-1][0] + tile - border - w, plan[-1][1] + tile - border - h
    padded = mirror_pad(image, border, border, right, bottom)
    result = None
    for x0, y0, x1, y1 in plan:
        logits = net(padded[None, :, y0 : y0 + tile, x0 : x0 + tile])[0]
        result = logits.new_empty(len(logits), h, w) if result is None else result
        result[:, y0:y1, x0:x1] = logits[:, : y1 - y0, : x1 - x0]
    return result


# %% exercise="8.4" name="averages overlapping tiles" caught="visible" hint="Do yours overlap"
# The usual remedy against seams, at four times the cost.
def predict_tiled(net, image, tile, border=92, multiple=16):
    h, w = image.shape[-2:]
    out = (tile - 2 * border) // multiple * multiple
    step = max(out // 2 // multiple * multiple, multiple)
    plan = [(y, x) for y in range(0, h, step) for x in range(0, w, step)]
    bottom, right = plan[-1][0] + tile - border - h, plan[-1][1] + tile - border - w
    padded = mirror_pad(image, border, border, max(right, 0), max(bottom, 0))
    total = count = None
    for y, x in plan:
        logits = net(padded[None, :, y : y + tile, x : x + tile])[0, :, : h - y, : w - x]
        logits = logits[:, :out, :out]
        if total is None:
            total, count = logits.new_zeros(len(logits), h, w), logits.new_zeros(h, w)
        total[:, y : y + logits.shape[1], x : x + logits.shape[2]] += logits
        count[y : y + logits.shape[1], x : x + logits.shape[2]] += 1
    return total / count


# %% exercise="8.4" name="one tile for everything" caught="visible" hint="tiles of side"
# One big pass has the right values; that it must fit into memory is forgotten.
def predict_tiled(net, image, tile, border=92, multiple=16):
    h, w = image.shape[-2:]
    step = (tile - 2 * border) // multiple * multiple
    plan = tile_plan(h, w, step)
    right, bottom = plan[-1][0] + tile - border - w, plan[-1][1] + tile - border - h
    padded = mirror_pad(image, border, border, right, bottom)
    return net(padded[None])[0][:, :h, :w]


# %% exercise="8.4" name="the padding counted twice" caught="hidden"
# The input corner lies `border` up and left of the output corner in the image; the padding has
# already moved it there, so subtracting once more shifts everything.
def predict_tiled(net, image, tile, border=92, multiple=16):
    h, w = image.shape[-2:]
    step = (tile - 2 * border) // multiple * multiple
    plan = tile_plan(h, w, step)
    right, bottom = plan[-1][0] + tile - border - w, plan[-1][1] + tile - border - h
    padded = mirror_pad(image, border + multiple, border + multiple, right, bottom)
    result = None
    for x0, y0, x1, y1 in plan:
        logits = net(padded[None, :, y0 : y0 + tile, x0 : x0 + tile])[0]
        result = logits.new_empty(len(logits), h, w) if result is None else result
        result[:, y0:y1, x0:x1] = logits[:, : y1 - y0, : x1 - x0]
    return result


# %% exercise="8.4" name="mirror too short for the last tile" caught="visible" hint="end? The mirror must"
# The border is added on all sides and the remainder of the last tile is forgotten.
def predict_tiled(net, image, tile, border=92, multiple=16):
    h, w = image.shape[-2:]
    step = (tile - 2 * border) // multiple * multiple
    padded = mirror_pad(image, border, border, border, border)
    result = None
    for x0, y0, x1, y1 in tile_plan(h, w, step):
        logits = net(padded[None, :, y0 : y0 + tile, x0 : x0 + tile])[0]
        result = logits.new_empty(len(logits), h, w) if result is None else result
        result[:, y0:y1, x0:x1] = logits[:, : y1 - y0, : x1 - x0]
    return result


# %% exercise="8.4" name="all tiles in one batch" right=True
# Faster, and needs the memory for all tiles.
def predict_tiled(net, image, tile, border=92, multiple=16):
    h, w = image.shape[-2:]
    step = (tile - 2 * border) // multiple * multiple
    plan = tile_plan(h, w, step)
    padded = mirror_pad(image, border, border, tile + step, tile + step)
    batch = torch.stack([padded[:, y : y + tile, x : x + tile] for x, y, _, _ in plan])
    logits = net(batch)
    result = torch.empty(logits.shape[1], h, w, dtype=logits.dtype)
    for part, (x0, y0, x1, y1) in zip(logits, plan):
        result[:, y0:y1, x0:x1] = part[:, : y1 - y0, : x1 - x0]
    return result


# %% exercise="8.5" name="adds the squares" caught="visible" hint="squares the sum"
# The formula is remembered with the square inside.
def border_weights(labels, w0=10.0, sigma=5.0):
    background = labels == 0
    share = background.float().mean()
    weights = torch.where(background, 0.5 / share, 0.5 / (1 - share))
    if share in (0, 1):
        weights = torch.ones(labels.shape)
    cells = [c for c in labels.unique().tolist() if c]
    if len(cells) > 1:
        far = torch.stack([torch.from_numpy(distance_transform_edt(labels != c)) for c in cells])
        d1, d2 = far.sort(0).values[:2]
        term = w0 * torch.exp(-(d1**2 + d2**2) / (2 * sigma**2))
        weights = weights + torch.where(background, term, 0.0)
    return weights.float()


# %% exercise="8.5" name="weighs inside the cells too" caught="visible" hint="not inside cells"
# The mask of the background is forgotten.
def border_weights(labels, w0=10.0, sigma=5.0):
    background = labels == 0
    share = background.float().mean()
    weights = torch.where(background, 0.5 / share, 0.5 / (1 - share))
    if share in (0, 1):
        weights = torch.ones(labels.shape)
    cells = [c for c in labels.unique().tolist() if c]
    if len(cells) > 1:
        far = torch.stack([torch.from_numpy(distance_transform_edt(labels != c)) for c in cells])
        d1, d2 = far.sort(0).values[:2]
        weights = weights + w0 * torch.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
    return weights.float()


# %% exercise="8.5" name="the nearest cell twice" caught="visible" hint="second nearest"
# One distance transform of the whole foreground gives only d1.
def border_weights(labels, w0=10.0, sigma=5.0):
    background = labels == 0
    share = background.float().mean()
    weights = torch.where(background, 0.5 / share, 0.5 / (1 - share))
    if share in (0, 1):
        weights = torch.ones(labels.shape)
    if len(labels.unique()) > 2:
        d = torch.from_numpy(distance_transform_edt(background))
        term = w0 * torch.exp(-((d + d) ** 2) / (2 * sigma**2))
        weights = weights + torch.where(background, term, 0.0)
    return weights.float()


# %% exercise="8.5" name="the background is a cell" caught="visible" hint="leave out label 0"
# unique() lists the background too, and every background pixel is 0 away from itself.
def border_weights(labels, w0=10.0, sigma=5.0):
    background = labels == 0
    share = background.float().mean()
    weights = torch.where(background, 0.5 / share, 0.5 / (1 - share))
    if share in (0, 1):
        weights = torch.ones(labels.shape)
    cells = labels.unique()
    if len(cells) > 1:
        distances = [torch.from_numpy(distance_transform_edt(labels != cell)) for cell in cells]
        d1, d2 = torch.stack(distances).sort(dim=0).values[:2]
        term = w0 * torch.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
        weights = weights + torch.where(background, term, 0.0)
    return weights.float()


# %% exercise="8.5" name="sigma squared without the 2" caught="visible" hint="the 2 is missing"
# The factor of the Gaussian is lost.
def border_weights(labels, w0=10.0, sigma=5.0):
    background = labels == 0
    share = background.float().mean()
    weights = torch.where(background, 0.5 / share, 0.5 / (1 - share))
    if share in (0, 1):
        weights = torch.ones(labels.shape)
    cells = [c for c in labels.unique().tolist() if c]
    if len(cells) > 1:
        far = torch.stack([torch.from_numpy(distance_transform_edt(labels != c)) for c in cells])
        d1, d2 = far.sort(0).values[:2]
        term = w0 * torch.exp(-((d1 + d2) ** 2) / sigma**2)
        weights = weights + torch.where(background, term, 0.0)
    return weights.float()


# %% exercise="8.5" name="no class weights" caught="visible" hint="w_c is 1 here"
# Only the second half of the formula.
def border_weights(labels, w0=10.0, sigma=5.0):
    background = labels == 0
    weights = torch.ones(labels.shape)
    cells = [c for c in labels.unique().tolist() if c]
    if len(cells) > 1:
        far = torch.stack([torch.from_numpy(distance_transform_edt(labels != c)) for c in cells])
        d1, d2 = far.sort(0).values[:2]
        term = w0 * torch.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
        weights = weights + torch.where(background, term, 0.0)
    return weights.float()


# %% exercise="8.5" name="class weights swapped" caught="visible" hint="on the wrong classes"
# The frequent class gets the large weight.
def border_weights(labels, w0=10.0, sigma=5.0):
    background = labels == 0
    share = background.float().mean()
    weights = torch.where(background, 0.5 / (1 - share), 0.5 / share)
    if share in (0, 1):
        weights = torch.ones(labels.shape)
    cells = [c for c in labels.unique().tolist() if c]
    if len(cells) > 1:
        far = torch.stack([torch.from_numpy(distance_transform_edt(labels != c)) for c in cells])
        d1, d2 = far.sort(0).values[:2]
        term = w0 * torch.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
        weights = weights + torch.where(background, term, 0.0)
    return weights.float()


# %% exercise="8.5" name="first two cells, not nearest two" caught="hidden"
# Right for two cells, which is what the visible example has.
def border_weights(labels, w0=10.0, sigma=5.0):
    background = labels == 0
    share = background.float().mean()
    weights = torch.where(background, 0.5 / share, 0.5 / (1 - share))
    if share in (0, 1):
        weights = torch.ones(labels.shape)
    cells = [c for c in labels.unique().tolist() if c]
    if len(cells) > 1:
        d1 = torch.from_numpy(distance_transform_edt(labels != cells[0]))
        d2 = torch.from_numpy(distance_transform_edt(labels != cells[1]))
        term = w0 * torch.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
        weights = weights + torch.where(background, term, 0.0)
    return weights.float()


# %% exercise="8.5" name="cells numbered 1 to max" caught="hidden"
# Numbers with gaps give a "cell" without pixels, whose distance is not defined.
def border_weights(labels, w0=10.0, sigma=5.0):
    background = labels == 0
    share = background.float().mean()
    weights = torch.where(background, 0.5 / share, 0.5 / (1 - share))
    if share in (0, 1):
        return torch.ones(labels.shape)
    cells = range(1, min(int(labels.max()), 50) + 1)
    far = [torch.from_numpy(distance_transform_edt(labels != c)) for c in cells]
    if len(labels.unique()) > 2:
        d1, d2 = torch.stack(far).sort(0).values[:2]
        term = w0 * torch.exp(-((d1 + d2) ** 2) / (2 * sigma**2))
        weights = weights + torch.where(background, term, 0.0)
    return weights.float()


# %% exercise="8.5" name="pairwise distances by hand" right=True
# Without scipy: distance of every pixel to every pixel of a cell.
def border_weights(labels, w0=10.0, sigma=5.0):
    h, w = labels.shape
    n = int((labels == 0).sum())
    weights = torch.ones(h, w)
    if 0 < n < h * w:
        weights[labels == 0] = h * w / (2 * n)
        weights[labels != 0] = h * w / (2 * (h * w - n))
    grid = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij"), -1)
    flat = grid.reshape(-1, 2).float()
    ids = [i for i in labels.unique().tolist() if i]
    if len(ids) < 2:
        return weights
    far = [torch.cdist(flat, grid[labels == i].float()).min(1).values for i in ids]
    pair = torch.stack(far).topk(2, dim=0, largest=False).values.sum(0).reshape(h, w)
    return weights + (labels == 0) * w0 * torch.exp(-(pair**2) / (2 * sigma**2))


# %% exercise="8.6" name="crops the top left corner" caught="visible" hint="top left corner"
# Slicing from zero is the shortest thing to write.
def crop_and_concat(skip, up):
    h, w = up.shape[-2:]
    if skip.shape[-2] < h or skip.shape[-1] < w:
        raise ValueError("skip is smaller than up")
    return torch.cat([skip[..., :h, :w], up], dim=1)


class UpStep(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.first = nn.Conv2d(2 * channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, skip, below):
        x = crop_and_concat(skip, self.up(below))
        return F.relu(self.second(F.relu(self.first(x))))


# %% exercise="8.6" name="resizes the skip" caught="visible" hint="skip is resized"
# Interpolation makes the shapes fit, and every pixel moves.
def crop_and_concat(skip, up):
    if skip.shape[-2] < up.shape[-2] or skip.shape[-1] < up.shape[-1]:
        raise ValueError("skip is smaller than up")
    small = F.interpolate(skip, size=up.shape[-2:], mode="bilinear")
    return torch.cat([small, up], dim=1)


class UpStep(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.first = nn.Conv2d(2 * channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, skip, below):
        x = crop_and_concat(skip, self.up(below))
        return F.relu(self.second(F.relu(self.first(x))))


# %% exercise="8.6" name="coarse map first" caught="visible" hint="order is wrong"
# The order in which the two appear in the code.
def crop_and_concat(skip, up):
    h, w = up.shape[-2:]
    top, left = (skip.shape[-2] - h) // 2, (skip.shape[-1] - w) // 2
    if top < 0 or left < 0:
        raise ValueError("skip is smaller than up")
    return torch.cat([up, skip[..., top : top + h, left : left + w]], dim=1)


class UpStep(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.first = nn.Conv2d(2 * channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, skip, below):
        x = crop_and_concat(skip, self.up(below))
        return F.relu(self.second(F.relu(self.first(x))))


# %% exercise="8.6" name="adds instead of concatenating" caught="visible" hint="adding is what FCN does"
# The skip of Lab 7.
def crop_and_concat(skip, up):
    h, w = up.shape[-2:]
    top, left = (skip.shape[-2] - h) // 2, (skip.shape[-1] - w) // 2
    if top < 0 or left < 0:
        raise ValueError("skip is smaller than up")
    return skip[..., top : top + h, left : left + w] + up


class UpStep(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.first = nn.Conv2d(2 * channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, skip, below):
        x = crop_and_concat(skip, self.up(below))
        return F.relu(self.second(F.relu(self.first(torch.cat([x, x], dim=1)))))


# %% exercise="8.6" name="one convolution" caught="visible" hint="forget the second convolution"
# The second convolution is defined and never called.
def crop_and_concat(skip, up):
    h, w = up.shape[-2:]
    top, left = (skip.shape[-2] - h) // 2, (skip.shape[-1] - w) // 2
    if top < 0 or left < 0:
        raise ValueError("skip is smaller than up")
    return torch.cat([skip[..., top : top + h, left : left + w], up], dim=1)


class UpStep(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.first = nn.Conv2d(2 * channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, skip, below):
        return F.relu(self.first(crop_and_concat(skip, self.up(below))))


# %% exercise="8.6" name="no ReLU after the last convolution" caught="hidden"
# Shapes are right; only values tell.
def crop_and_concat(skip, up):
    h, w = up.shape[-2:]
    top, left = (skip.shape[-2] - h) // 2, (skip.shape[-1] - w) // 2
    if top < 0 or left < 0:
        raise ValueError("skip is smaller than up")
    return torch.cat([skip[..., top : top + h, left : left + w], up], dim=1)


class UpStep(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.first = nn.Conv2d(2 * channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, skip, below):
        x = crop_and_concat(skip, self.up(below))
        return self.second(F.relu(self.first(x)))


# %% exercise="8.6" name="the skip is cut off from the gradient" caught="hidden"
# `.detach()` is copied from an evaluation loop: values are right, learning is not.
def crop_and_concat(skip, up):
    h, w = up.shape[-2:]
    top, left = (skip.shape[-2] - h) // 2, (skip.shape[-1] - w) // 2
    if top < 0 or left < 0:
        raise ValueError("skip is smaller than up")
    return torch.cat([skip[..., top : top + h, left : left + w].detach(), up], dim=1)


class UpStep(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.first = nn.Conv2d(2 * channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, skip, below):
        x = crop_and_concat(skip, self.up(below))
        return F.relu(self.second(F.relu(self.first(x))))


# %% exercise="8.6" name="negative padding" right=True
# A negative pad is a crop.
def crop_and_concat(skip, up):
    dy, dx = (skip.shape[i] - up.shape[i] for i in (-2, -1))
    if dy < 0 or dx < 0:
        raise ValueError(f"cannot crop {tuple(skip.shape)} to {tuple(up.shape)}")
    centre = F.pad(skip, (-(dx // 2), -(dx - dx // 2), -(dy // 2), -(dy - dy // 2)))
    return torch.cat((centre, up), 1)


class UpStep(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.up = nn.ConvTranspose2d(2 * channels, channels, 2, stride=2)
        self.first = nn.Conv2d(2 * channels, channels, 3)
        self.second = nn.Conv2d(channels, channels, 3)

    def forward(self, skip, below):
        both = crop_and_concat(skip, self.up(below))
        for layer in (self.first, self.second):
            both = layer(both).clamp(min=0)
        return both
