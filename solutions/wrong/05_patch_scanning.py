# The zoo of lab 5: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="5.1" name="a frame of zeros" caught="visible" hint="filled with zeros"
# Zero padding is the default of `F.pad` and of every layer.
def extract_patches(image, size, stride=1):
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(image[None], (before, after, before, after))[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).flatten(0, 1)


# %% exercise="5.1" name="repeats the edge pixel" caught="visible" hint="edge pixel is repeated"
# `replicate` is the neighbour of `reflect` in the manual.
def extract_patches(image, size, stride=1):
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(image[None], (before, after, before, after), mode="replicate")[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).flatten(0, 1)


# %% exercise="5.1" name="wraps around" caught="visible" hint="goes round"
# `circular` sounds like going on.
def extract_patches(image, size, stride=1):
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(image[None], (before, after, before, after), mode="circular")[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).flatten(0, 1)


# %% exercise="5.1" name="centre of an even patch off by one" caught="visible" hint="centre is off by one"
# The margins are on the wrong sides; odd sizes do not show it.
def extract_patches(image, size, stride=1):
    before, after = (size - 1) // 2, size // 2
    padded = F.pad(image[None], (before, after, before, after), mode="reflect")[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).flatten(0, 1)


# %% exercise="5.1" name="the same margin on all sides" caught="visible" hint="one pixel fewer after"
# Right for odd sizes; an even patch gets a row and a column of patches too many.
def extract_patches(image, size, stride=1):
    padded = F.pad(image[None], [size // 2] * 4, mode="reflect")[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).flatten(0, 1)


# %% exercise="5.1" name="down the columns" caught="visible" hint="x changes first"
# The two `unfold` axes are joined in the wrong order.
def extract_patches(image, size, stride=1):
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(image[None], (before, after, before, after), mode="reflect")[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(2, 1, 0, 3, 4).flatten(0, 1)


# %% exercise="5.1" name="forgets the stride" caught="visible" hint="stride is not used"
# The argument is read and not used.
def extract_patches(image, size, stride=1):
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(image[None], (before, after, before, after), mode="reflect")[0]
    cut = padded.unfold(1, size, 1).unfold(2, size, 1)
    return cut.permute(1, 2, 0, 3, 4).flatten(0, 1)


# %% exercise="5.1" name="channels first" caught="visible" hint="Put the number of the patch first"
# The result of `unfold` is flattened as it comes.
def extract_patches(image, size, stride=1):
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(image[None], (before, after, before, after), mode="reflect")[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    return cut.flatten(1, 2)


# %% exercise="5.1" name="rows and columns of a patch swapped" caught="visible" hint="Rows and columns are swapped"
# A permutation with the last two axes exchanged: symmetric examples hide it.
def extract_patches(image, size, stride=1):
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(image[None], (before, after, before, after), mode="reflect")[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 4, 3).flatten(0, 1)


# %% exercise="5.1" name="always odd patches" caught="visible" hint="even patch"
# An even size is rounded up to get a true centre.
def extract_patches(image, size, stride=1):
    size += 1 - size % 2
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(image[None], (before, after, before, after), mode="reflect")[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    return cut.permute(1, 2, 0, 3, 4).flatten(0, 1)


# %% exercise="5.1" name="float32 only" caught="hidden"
# The patches are copied into an array made with the default dtype.
def extract_patches(image, size, stride=1):
    before, after = size // 2, (size - 1) // 2
    padded = F.pad(image[None], (before, after, before, after), mode="reflect")[0]
    cut = padded.unfold(1, size, stride).unfold(2, size, stride)
    patches = torch.zeros(cut.shape[1] * cut.shape[2], len(image), size, size)
    patches[:] = cut.permute(1, 2, 0, 3, 4).flatten(0, 1)
    return patches


# %% exercise="5.1" name="a loop over the pixels" right=True
# Index by index, as the formula reads.
def extract_patches(image, size, stride=1):
    _, h, w = image.shape

    def mirrored(start, length):
        i = torch.arange(start - size // 2, start - size // 2 + size).abs()
        return torch.minimum(i, 2 * (length - 1) - i)

    return torch.stack(
        [
            image[:, mirrored(y, h)[:, None], mirrored(x, w)]
            for y in range(0, h, stride)
            for x in range(0, w, stride)
        ]
    )


# %% exercise="5.2" name="majority of the neighbourhood" caught="visible" hint="that of most neighbours"
# The patch is shown, so the patch is labelled.
def pixel_classifier_labels(mask, centers):
    labels = []
    for y, x in centers.tolist():
        around = mask[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].flatten()
        labels.append(around.mode().values)
    return torch.stack(labels)


def balanced_centers(mask, per_class, seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for k in mask[mask != 255].unique():
        places = torch.nonzero(mask == k)
        chosen.append(places[torch.randint(len(places), (per_class,), generator=generator)])
    return torch.cat(chosen)


# %% exercise="5.2" name="centers as (x, y)" caught="visible" hint="it is (y, x)"
# Boxes and points are (x, y) elsewhere.
def pixel_classifier_labels(mask, centers):
    x, y = centers.T
    return mask[y, x]


def balanced_centers(mask, per_class, seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for k in mask[mask != 255].unique():
        places = torch.nonzero(mask == k)
        chosen.append(places[torch.randint(len(places), (per_class,), generator=generator)])
    return torch.cat(chosen)


# %% exercise="5.2" name="ignored pixels are a class" caught="visible" hint="255) are no class"
# 255 comes out of `unique` like any other number.
def pixel_classifier_labels(mask, centers):
    y, x = centers.T
    return mask[y, x]


def balanced_centers(mask, per_class, seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for k in mask.unique():
        places = torch.nonzero(mask == k)
        chosen.append(places[torch.randint(len(places), (per_class,), generator=generator)])
    return torch.cat(chosen)


# %% exercise="5.2" name="drawn over all pixels" caught="visible" hint="classes are not balanced"
# Random pixels, as many as asked for: frequent classes win.
def pixel_classifier_labels(mask, centers):
    y, x = centers.T
    return mask[y, x]


def balanced_centers(mask, per_class, seed):
    generator = torch.Generator().manual_seed(seed)
    places = torch.nonzero(mask != 255)
    classes = len(mask[mask != 255].unique())
    return places[torch.randint(len(places), (classes * per_class,), generator=generator)]


# %% exercise="5.2" name="without replacement" caught="visible" hint="drawn with replacement"
# `randperm` cut to length: a rare class stays rare.
def pixel_classifier_labels(mask, centers):
    y, x = centers.T
    return mask[y, x]


def balanced_centers(mask, per_class, seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for k in mask[mask != 255].unique():
        places = torch.nonzero(mask == k)
        chosen.append(places[torch.randperm(len(places), generator=generator)[:per_class]])
    return torch.cat(chosen)


# %% exercise="5.2" name="always the first pixels" caught="visible" hint="Two seeds give the same"
# The list of a class is cut to length, so the top left corner is learned.
def pixel_classifier_labels(mask, centers):
    y, x = centers.T
    return mask[y, x]


def balanced_centers(mask, per_class, seed):
    chosen = []
    for k in mask[mask != 255].unique():
        places = torch.nonzero(mask == k)
        chosen.append(places[torch.arange(per_class) % len(places)])
    return torch.cat(chosen)


# %% exercise="5.2" name="the seed is not used" caught="visible" hint="Two calls with one seed differ"
# `torch.randint` without the generator takes the global one.
def pixel_classifier_labels(mask, centers):
    y, x = centers.T
    return mask[y, x]


def balanced_centers(mask, per_class, seed):
    chosen = []
    for k in mask[mask != 255].unique():
        places = torch.nonzero(mask == k)
        chosen.append(places[torch.randint(len(places), (per_class,))])
    return torch.cat(chosen)


# %% exercise="5.2" name="per_class pixels in all" caught="visible" hint="of EVERY class"
# The number is divided among the classes.
def pixel_classifier_labels(mask, centers):
    y, x = centers.T
    return mask[y, x]


def balanced_centers(mask, per_class, seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for k in mask[mask != 255].unique():
        places = torch.nonzero(mask == k)
        chosen.append(places[torch.randint(len(places), (per_class // 3,), generator=generator)])
    return torch.cat(chosen)


# %% exercise="5.2" name="the last pixel is never drawn" caught="hidden"
# The upper end of `randint` is already exclusive.
def pixel_classifier_labels(mask, centers):
    y, x = centers.T
    return mask[y, x]


def balanced_centers(mask, per_class, seed):
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    for k in mask[mask != 255].unique():
        places = torch.nonzero(mask == k)
        chosen.append(
            places[torch.randint(max(len(places) - 1, 1), (per_class,), generator=generator)]
        )
    return torch.cat(chosen)


# %% exercise="5.2" name="index arithmetic" right=True
# Flat indices and `multinomial`, one row of weights for each class.
def pixel_classifier_labels(mask, centers):
    flat = centers[:, 0] * mask.shape[1] + centers[:, 1]
    return mask.flatten()[flat]


def balanced_centers(mask, per_class, seed):
    generator = torch.Generator().manual_seed(seed)
    flat = mask.flatten()
    classes = [int(k) for k in flat.unique() if k != 255]
    weights = torch.stack([(flat == k).double() for k in classes])
    index = weights.multinomial(per_class, replacement=True, generator=generator).flatten()
    return torch.stack([index // mask.shape[1], index % mask.shape[1]], dim=1)


# %% exercise="5.3" name="reshapes without moving the classes" caught="visible" hint="Classes and places are mixed up"
# `reshape` makes the shape right and mixes classes and places.
def scan(image, net, size, stride=1, batch=256):
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part).flatten(1) for part in patches.split(batch)])
    rows = -(-image.shape[1] // stride)
    return scores.reshape(scores.shape[1], rows, -1)


# %% exercise="5.3" name="classes last" caught="visible" hint="classes come first"
# Images are (H, W, K) in many libraries.
def scan(image, net, size, stride=1, batch=256):
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part).flatten(1) for part in patches.split(batch)])
    rows = -(-image.shape[1] // stride)
    return scores.reshape(rows, -1, scores.shape[1])


# %% exercise="5.3" name="rows and columns exchanged" caught="visible" hint="Rows and columns are exchanged"
# x is thought of as the first index.
def scan(image, net, size, stride=1, batch=256):
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part).flatten(1) for part in patches.split(batch)])
    rows = -(-image.shape[1] // stride)
    return scores.T.reshape(scores.shape[1], rows, -1).transpose(1, 2)


# %% exercise="5.3" name="folds into columns" caught="visible" hint="4 rows of 3"
# The number of columns is put where the rows belong.
def scan(image, net, size, stride=1, batch=256):
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part).flatten(1) for part in patches.split(batch)])
    rows = -(-image.shape[2] // stride)
    return scores.T.reshape(scores.shape[1], rows, -1)


# %% exercise="5.3" name="all patches at once" caught="visible" hint="into pieces of `batch`"
# The argument `batch` is not used; large images run out of memory.
def scan(image, net, size, stride=1, batch=256):
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part).flatten(1) for part in [patches]])
    rows = -(-image.shape[1] // stride)
    return scores.T.reshape(scores.shape[1], rows, -1)


# %% exercise="5.3" name="one patch at a time" caught="visible" hint="are 3 calls"
# The loop of the textbooks.
def scan(image, net, size, stride=1, batch=256):
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part).flatten(1) for part in patches.split(1)])
    rows = -(-image.shape[1] // stride)
    return scores.T.reshape(scores.shape[1], rows, -1)


# %% exercise="5.3" name="a probe call for the number of classes" caught="visible" hint="Twelve patches in calls of 5"
# The first patch is run twice.
def scan(image, net, size, stride=1, batch=256):
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part).flatten(1) for part in patches.split(batch)])
    net(patches[:1])
    rows = -(-image.shape[1] // stride)
    return scores.T.reshape(scores.shape[1], rows, -1)


# %% exercise="5.3" name="expects (N, K) only" caught="visible" hint="answers (N, K, 1, 1)"
# The network of the example has no trailing axes.
def scan(image, net, size, stride=1, batch=256):
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part) for part in patches.split(batch)])
    rows = -(-image.shape[1] // stride)
    count, classes = scores.shape
    return scores.T.reshape(classes, rows, count // rows)


# %% exercise="5.3" name="rows rounded down" caught="visible" hint="two maps of 3 × 4"
# Whole strides only: right where the stride divides the height, or where rows come out alike.
def scan(image, net, size, stride=1, batch=256):
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part).flatten(1) for part in patches.split(batch)])
    rows = max(image.shape[1] // stride, 1)
    return scores.T.reshape(scores.shape[1], rows, -1)


# %% exercise="5.3" name="squeezes the answer" caught="hidden"
# `squeeze` removes the class axis of a net with one class.
def scan(image, net, size, stride=1, batch=256):
    patches = extract_patches(image, size, stride)
    scores = torch.cat([net(part).squeeze() for part in patches.split(batch)])
    rows = -(-image.shape[1] // stride)
    return scores.T.reshape(scores.shape[1], rows, -1)


# %% exercise="5.3" name="writes into a map" right=True
# Index by index into an empty map.
def scan(image, net, size, stride=1, batch=256):
    h, w = image.shape[1:]
    places = [
        (i, j) for i in range(len(range(0, h, stride))) for j in range(len(range(0, w, stride)))
    ]
    patches = extract_patches(image, size, stride)
    result = None
    for start in range(0, len(patches), batch):
        answers = net(patches[start : start + batch])
        if result is None:
            result = answers.new_zeros(answers.shape[1], places[-1][0] + 1, places[-1][1] + 1)
        for (i, j), answer in zip(places[start : start + batch], answers):
            result[:, i, j] = answer.reshape(-1)
    return result


# %% exercise="5.4" name="pooling keeps its stride" caught="visible" hint="still moves by 2"
# Only the linear layer is converted, as in FCN: a coarse grid of results.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def dense_equivalent(layers):
    chain, rate, channels = [], 1, 1
    for kind, *parts in layers:
        if kind == "relu":
            chain.append(nn.ReLU())
        elif kind == "pool":
            chain.append(nn.MaxPool2d(parts[0], stride=parts[0]))
        else:
            side = round((parts[0][0].numel() / channels) ** 0.5)
            weight = parts[0] if kind == "conv" else parts[0].view(-1, channels, side, side)
            chain.append(convolution(weight, parts[1], rate))
            channels = len(weight)
    return nn.Sequential(*chain)


# %% exercise="5.4" name="no dilation behind the pooling" caught="visible" hint="must move apart"
# Stride 1 alone seems to be enough: all shapes go through.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def dense_equivalent(layers):
    chain, rate, channels = [], 1, 1
    for kind, *parts in layers:
        if kind == "relu":
            chain.append(nn.ReLU())
        elif kind == "pool":
            chain.append(nn.MaxPool2d(parts[0], stride=1, dilation=rate))
        else:
            side = round((parts[0][0].numel() / channels) ** 0.5)
            weight = parts[0] if kind == "conv" else parts[0].view(-1, channels, side, side)
            chain.append(convolution(weight, parts[1], rate))
            channels = len(weight)
    return nn.Sequential(*chain)


# %% exercise="5.4" name="padded convolutions" caught="visible" hint="3 × 5 results"
# Same size in, same size out, wrong numbers at every border.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def dense_equivalent(layers):
    chain, rate, channels = [], 1, 1
    for kind, *parts in layers:
        if kind == "relu":
            chain.append(nn.ReLU())
        elif kind == "pool":
            chain.append(nn.MaxPool2d(parts[0], stride=1, dilation=rate))
            rate *= parts[0]
        else:
            side = round((parts[0][0].numel() / channels) ** 0.5)
            weight = parts[0] if kind == "conv" else parts[0].view(-1, channels, side, side)
            layer = convolution(weight, parts[1], rate)
            layer.padding = (rate * (weight.shape[2] // 2),) * 2
            layer._reversed_padding_repeated_twice = [layer.padding[0]] * 4
            chain.append(layer)
            channels = len(weight)
    return nn.Sequential(*chain)


# %% exercise="5.4" name="the linear weight as (h, w, C)" caught="visible" hint="flattening has channels first"
# Keras flattens in that order.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def dense_equivalent(layers):
    chain, rate, channels = [], 1, 1
    for kind, *parts in layers:
        if kind == "relu":
            chain.append(nn.ReLU())
        elif kind == "pool":
            chain.append(nn.MaxPool2d(parts[0], stride=1, dilation=rate))
            rate *= parts[0]
        else:
            side = round((parts[0][0].numel() / channels) ** 0.5)
            weight = (
                parts[0]
                if kind == "conv"
                else (parts[0].view(-1, side, side, channels).permute(0, 3, 1, 2))
            )
            chain.append(convolution(weight, parts[1], rate))
            channels = len(weight)
    return nn.Sequential(*chain)


# %% exercise="5.4" name="ReLU behind the linear layer lost" caught="visible" hint="converted linear layer is missing"
# The converted layer replaces the pair.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def dense_equivalent(layers):
    chain, rate, channels = [], 1, 1
    for kind, *parts in layers:
        if kind == "relu":
            if not (chain and getattr(chain[-1], "was_linear", False)):
                chain.append(nn.ReLU())
        elif kind == "pool":
            chain.append(nn.MaxPool2d(parts[0], stride=1, dilation=rate))
            rate *= parts[0]
        else:
            side = round((parts[0][0].numel() / channels) ** 0.5)
            weight = parts[0] if kind == "conv" else parts[0].view(-1, channels, side, side)
            chain.append(convolution(weight, parts[1], rate))
            chain[-1].was_linear = kind == "linear"
            channels = len(weight)
    return nn.Sequential(*chain)


# %% exercise="5.4" name="only the last pooling counts" caught="visible" hint="multiply them all"
# `rate = ` where `rate *= ` is meant; one pooling does not show it.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def dense_equivalent(layers):
    chain, rate, channels = [], 1, 1
    for kind, *parts in layers:
        if kind == "relu":
            chain.append(nn.ReLU())
        elif kind == "pool":
            chain.append(nn.MaxPool2d(parts[0], stride=1, dilation=rate))
            rate = parts[0]
        else:
            side = round((parts[0][0].numel() / channels) ** 0.5)
            weight = parts[0] if kind == "conv" else parts[0].view(-1, channels, side, side)
            chain.append(convolution(weight, parts[1], rate))
            channels = len(weight)
    return nn.Sequential(*chain)


# %% exercise="5.4" name="later poolings are not dilated" caught="visible" hint="second pooling itself needs"
# Dilation is known from convolutions only.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def dense_equivalent(layers):
    chain, rate, channels = [], 1, 1
    for kind, *parts in layers:
        if kind == "relu":
            chain.append(nn.ReLU())
        elif kind == "pool":
            chain.append(nn.MaxPool2d(parts[0], stride=1))
            rate *= parts[0]
        else:
            side = round((parts[0][0].numel() / channels) ** 0.5)
            weight = parts[0] if kind == "conv" else parts[0].view(-1, channels, side, side)
            chain.append(convolution(weight, parts[1], rate))
            channels = len(weight)
    return nn.Sequential(*chain)


# %% exercise="5.4" name="the pooling is dilated by itself" caught="visible" hint="not by itself"
# The rate is raised one line too early.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def dense_equivalent(layers):
    chain, rate, channels = [], 1, 1
    for kind, *parts in layers:
        if kind == "relu":
            chain.append(nn.ReLU())
        elif kind == "pool":
            rate *= parts[0]
            chain.append(nn.MaxPool2d(parts[0], stride=1, dilation=rate))
        else:
            side = round((parts[0][0].numel() / channels) ** 0.5)
            weight = parts[0] if kind == "conv" else parts[0].view(-1, channels, side, side)
            chain.append(convolution(weight, parts[1], rate))
            channels = len(weight)
    return nn.Sequential(*chain)


# %% exercise="5.4" name="strides are added" caught="hidden"
# 2 + 2 = 2 × 2: wrong only for three poolings, or for a pooling of 3.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


def dense_equivalent(layers):
    chain, rate, channels = [], 1, 1
    for kind, *parts in layers:
        if kind == "relu":
            chain.append(nn.ReLU())
        elif kind == "pool":
            chain.append(nn.MaxPool2d(parts[0], stride=1, dilation=rate))
            rate = parts[0] + (rate if rate > 1 else 0)
        else:
            side = round((parts[0][0].numel() / channels) ** 0.5)
            weight = parts[0] if kind == "conv" else parts[0].view(-1, channels, side, side)
            chain.append(convolution(weight, parts[1], rate))
            channels = len(weight)
    return nn.Sequential(*chain)


# %% exercise="5.4" name="the layers kept as data" right=True
# A module without parameters; the functional layers read the list at every call.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


class Replay(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        rate = 1
        for kind, *parts in self.layers:
            if kind == "relu":
                x = F.relu(x)
            elif kind == "pool":
                x = F.max_pool2d(x, parts[0], 1, dilation=rate)
                rate *= parts[0]
            else:
                side = round((parts[0][0].numel() / x.shape[1]) ** 0.5)
                kernel = parts[0].reshape(-1, x.shape[1], side, side)
                x = F.conv2d(x, kernel, parts[1], dilation=rate)
        return x


def dense_equivalent(layers):
    return Replay(layers)


# %% exercise="5.4" name="recursion in a module" right=True
# A module that runs the functional layers and keeps their weights as buffers of a list.
def convolution(weight, bias, dilation):
    layer = nn.Conv2d(weight.shape[1], weight.shape[0], weight.shape[2], dilation=dilation)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)
    return layer


class Dense(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.plan = [(kind, parts[0] if kind == "pool" else 0) for kind, *parts in layers]
        self.parts = nn.ParameterList()
        for kind, *parts in layers:
            if kind in ("conv", "linear"):
                self.parts.extend(nn.Parameter(p.clone()) for p in parts)

    def forward(self, x):
        rate, used = 1, 0
        for kind, k in self.plan:
            if kind == "relu":
                x = x.clamp(min=0)
            elif kind == "pool":
                x = F.max_pool2d(x, k, 1, dilation=rate)
                rate *= k
            else:
                weight, bias = self.parts[used], self.parts[used + 1]
                used += 2
                if kind == "linear":
                    weight = weight.unflatten(1, (x.shape[1], -1))
                    side = int(weight.shape[2] ** 0.5 + 0.5)
                    weight = weight.unflatten(2, (side, side))
                x = F.conv2d(x, weight, bias, dilation=rate)
        return x


def dense_equivalent(layers):
    return Dense(layers)


# %% exercise="5.5" name="counts at the input size" caught="visible" hint="once per OUTPUT"
# The kernel is thought of as touching every input pixel.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        span = dilation * (k - 1) + 1
        if min(h, w) < span:
            raise ValueError("does not fit")
        before = h * w
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += before * k * k * (numbers[0] // numbers[5]) * numbers[1]
    return total


# %% exercise="5.5" name="counts FLOPs" caught="visible" hint="one MAC is one pair"
# Tables of papers mix the two.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        span = dilation * (k - 1) + 1
        if min(h, w) < span:
            raise ValueError("does not fit")
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += 2 * h * w * k * k * (numbers[0] // numbers[5]) * numbers[1]
    return total


# %% exercise="5.5" name="ignores the input channels" caught="visible" hint="input channels are missing"
# A kernel is pictured as flat.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        span = dilation * (k - 1) + 1
        if min(h, w) < span:
            raise ValueError("does not fit")
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += h * w * k * k * numbers[1]
    return total


# %% exercise="5.5" name="ignores the output channels" caught="visible" hint="output channels are missing"
# One filter is counted.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        span = dilation * (k - 1) + 1
        if min(h, w) < span:
            raise ValueError("does not fit")
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += h * w * k * k * (numbers[0] // numbers[5])
    return total


# %% exercise="5.5" name="k instead of k times k" caught="visible" hint="k * k taps"
# The kernel size is one number.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        span = dilation * (k - 1) + 1
        if min(h, w) < span:
            raise ValueError("does not fit")
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += h * w * k * (numbers[0] // numbers[5]) * numbers[1]
    return total


# %% exercise="5.5" name="counts biases" caught="visible" hint="Biases are not counted"
# Parameters are counted that way.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        span = dilation * (k - 1) + 1
        if min(h, w) < span:
            raise ValueError("does not fit")
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += h * w * numbers[1]
            total += h * w * k * k * (numbers[0] // numbers[5]) * numbers[1]
    return total


# %% exercise="5.5" name="ignores the groups" caught="visible" hint="groups are not used"
# They are the last number of the tuple.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        span = dilation * (k - 1) + 1
        if min(h, w) < span:
            raise ValueError("does not fit")
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += h * w * k * k * numbers[0] * numbers[1]
    return total


# %% exercise="5.5" name="ignores the stride" caught="visible" hint="stride is not used"
# The size is taken as n - k + 1.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        span = dilation * (k - 1) + 1
        if min(h, w) < span:
            raise ValueError("does not fit")
        h, w = (h - span) + 1, (w - span) + 1
        if kind == "pool":
            h, w = (h - 1) // stride + 1, (w - 1) // stride + 1
        if kind == "conv":
            total += h * w * k * k * (numbers[0] // numbers[5]) * numbers[1]
    return total


# %% exercise="5.5" name="ignores the dilation" caught="visible" hint="dilation is not used"
# Dilation adds no taps, so it seems not to matter.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride = numbers[2:4] if kind == "conv" else numbers[:2]
        span = k
        if min(h, w) < span:
            raise ValueError("does not fit")
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += h * w * k * k * (numbers[0] // numbers[5]) * numbers[1]
    return total


# %% exercise="5.5" name="goes on with what does not fit" caught="visible" hint="does not fit"
# A negative size multiplied by a negative size is positive.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        span = dilation * (k - 1) + 1
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += h * w * k * k * (numbers[0] // numbers[5]) * numbers[1]
    return total


# %% exercise="5.5" name="a pooling is never dilated" caught="hidden"
# Only convolutions are thought of as dilated.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        k, stride, dilation = numbers[2:5] if kind == "conv" else numbers
        dilation = dilation if kind == "conv" else 1
        span = dilation * (k - 1) + 1
        if min(h, w) < span:
            raise ValueError("does not fit")
        h, w = (h - span) // stride + 1, (w - span) // stride + 1
        if kind == "conv":
            total += h * w * k * k * (numbers[0] // numbers[5]) * numbers[1]
    return total


# %% exercise="5.5" name="counts window positions with range" right=True
# Positions are counted, not computed.
def count_macs(layers, h, w):
    total = 0
    for kind, *numbers in layers:
        if kind == "conv":
            c_in, c_out, k, stride, dilation, groups = numbers
        else:
            k, stride, dilation = numbers
            c_in = c_out = groups = 0
        rows = len(range(0, h - dilation * (k - 1), stride))
        cols = len(range(0, w - dilation * (k - 1), stride))
        if rows == 0 or cols == 0:
            raise ValueError(f"a kernel of {k} with dilation {dilation} does not fit {h} x {w}")
        h, w = rows, cols
        if groups:
            total += rows * cols * c_out * c_in // groups * k**2
    return total
