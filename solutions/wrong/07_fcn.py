# The zoo of lab 7: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="7.1" name="channels last" caught="visible" hint="flatten puts the channel first"
# Other frameworks flatten rows, columns, channels.
def linear_to_conv(weight, bias, channels, height, width):
    conv = nn.Conv2d(channels, len(weight), (height, width))
    with torch.no_grad():
        cut = weight.reshape(len(weight), height, width, channels)
        conv.weight.copy_(cut.permute(0, 3, 1, 2))
        conv.bias.copy_(bias)
    return conv


# %% exercise="7.1" name="rows and columns swapped" caught="visible" hint="swapped"
# Width before height, as in the size of a picture.
def linear_to_conv(weight, bias, channels, height, width):
    conv = nn.Conv2d(channels, len(weight), (height, width))
    with torch.no_grad():
        conv.weight.copy_(weight.reshape(len(weight), channels, width, height).mT)
        conv.bias.copy_(bias)
    return conv


# %% exercise="7.1" name="bias left random" caught="visible" hint="random bias"
# The kernel is copied, the bias keeps its initial values: right up to a small offset.
def linear_to_conv(weight, bias, channels, height, width):
    conv = nn.Conv2d(channels, len(weight), (height, width))
    with torch.no_grad():
        conv.weight.copy_(weight.reshape(conv.weight.shape))
    return conv


# %% exercise="7.1" name="without the bias" caught="visible" hint="forget the bias"
# `bias=False` is how most convolutions are written today.
def linear_to_conv(weight, bias, channels, height, width):
    conv = nn.Conv2d(channels, len(weight), (height, width), bias=False)
    with torch.no_grad():
        conv.weight.copy_(weight.reshape(conv.weight.shape))
    return conv


# %% exercise="7.1" name="transposes the matrix" caught="visible" hint="matrix is transposed"
# In the books a layer is x W, in torch it is x Wᵀ.
def linear_to_conv(weight, bias, channels, height, width):
    conv = nn.Conv2d(channels, len(weight), (height, width))
    with torch.no_grad():
        conv.weight.copy_(weight.T.reshape(conv.weight.shape))
        conv.bias.copy_(bias)
    return conv


# %% exercise="7.1" name="flips the kernel" caught="visible" hint="turned round"
# A convolution in mathematics flips its kernel.
def linear_to_conv(weight, bias, channels, height, width):
    conv = nn.Conv2d(channels, len(weight), (height, width))
    with torch.no_grad():
        conv.weight.copy_(weight.reshape(conv.weight.shape).flip(-1, -2))
        conv.bias.copy_(bias)
    return conv


# %% exercise="7.1" name="padding that keeps the size" caught="visible" hint="hang over the edge"
# Every 3 × 3 convolution of VGG pads, so this one should too.
def linear_to_conv(weight, bias, channels, height, width):
    conv = nn.Conv2d(channels, len(weight), (height, width), padding="same")
    with torch.no_grad():
        conv.weight.copy_(weight.reshape(conv.weight.shape))
        conv.bias.copy_(bias)
    return conv


# %% exercise="7.1" name="strides of a whole kernel" caught="visible" hint="skips places"
# One window beside the other, as a patchwork.
def linear_to_conv(weight, bias, channels, height, width):
    size = (height, width)
    conv = nn.Conv2d(channels, len(weight), size, stride=size)
    with torch.no_grad():
        conv.weight.copy_(weight.reshape(conv.weight.shape))
        conv.bias.copy_(bias)
    return conv


# %% exercise="7.1" name="parameters made from copies" right=True
# Build the parameters first and put them in.
def linear_to_conv(weight, bias, channels, height, width):
    conv = nn.Conv2d(channels, weight.shape[0], kernel_size=(height, width))
    kernel = weight.detach().clone().unflatten(1, (channels, height, width))
    conv.weight, conv.bias = nn.Parameter(kernel), nn.Parameter(bias.detach().clone())
    return conv


# %% exercise="7.2" name="normalised to one" caught="visible" hint="Do not divide"
# A blur kernel sums to 1.
def bilinear_kernel(factor):
    if factor < 1:
        raise ValueError("factor")
    k = 2 * factor - factor % 2
    taps = 1 - (torch.arange(k) - (k - 1) / 2).abs() / factor
    kernel = taps[:, None] * taps
    return kernel / kernel.sum()


def upsample(scores, factor):
    kernel, classes = bilinear_kernel(factor).to(scores), scores.shape[1]
    weight = kernel.expand(classes, 1, *kernel.shape)
    return F.conv_transpose2d(scores, weight, stride=factor, groups=classes)


# %% exercise="7.2" name="centre of an odd kernel" caught="visible" hint="middle of four taps"
# The formula for odd sizes, used for all.
def bilinear_kernel(factor):
    if factor < 1:
        raise ValueError("factor")
    k = 2 * factor - factor % 2
    taps = 1 - (torch.arange(k) - (factor - 1)).abs() / factor
    return taps[:, None] * taps


def upsample(scores, factor):
    kernel, classes = bilinear_kernel(factor).to(scores), scores.shape[1]
    weight = kernel.expand(classes, 1, *kernel.shape)
    return F.conv_transpose2d(scores, weight, stride=factor, groups=classes)


# %% exercise="7.2" name="three taps for factor two" caught="visible" hint="Three taps"
# The triangle whose peak sits on a pixel: interpolation that keeps the corners.
def bilinear_kernel(factor):
    if factor < 1:
        raise ValueError("factor")
    k = 2 * factor - 1
    taps = 1 - (torch.arange(k) - (k - 1) / 2).abs() / factor
    return taps[:, None] * taps


def upsample(scores, factor):
    kernel, classes = bilinear_kernel(factor).to(scores), scores.shape[1]
    weight = kernel.expand(classes, 1, *kernel.shape)
    return F.conv_transpose2d(scores, weight, stride=factor, groups=classes)


# %% exercise="7.2" name="nearest neighbour" caught="visible" hint="nearest neighbour"
# Ones repeat every score.
def bilinear_kernel(factor):
    if factor < 1:
        raise ValueError("factor")
    return torch.ones(factor, factor)


def upsample(scores, factor):
    kernel, classes = bilinear_kernel(factor).to(scores), scores.shape[1]
    weight = kernel.expand(classes, 1, *kernel.shape)
    return F.conv_transpose2d(scores, weight, stride=factor, groups=classes)


# %% exercise="7.2" name="divides by the size" caught="visible" hint="by the factor, not by k"
# The triangle should reach 0 at the end of the kernel.
def bilinear_kernel(factor):
    if factor < 1:
        raise ValueError("factor")
    k = 2 * factor - factor % 2
    taps = 1 - (torch.arange(k) - (k - 1) / 2).abs() / k
    return taps[:, None] * taps


def upsample(scores, factor):
    kernel, classes = bilinear_kernel(factor).to(scores), scores.shape[1]
    weight = kernel.expand(classes, 1, *kernel.shape)
    return F.conv_transpose2d(scores, weight, stride=factor, groups=classes)


# %% exercise="7.2" name="sums the classes" caught="visible" hint="sum of all classes"
# Every pair of classes gets the kernel, not only the diagonal: a bug of real ports.
def bilinear_kernel(factor):
    if factor < 1:
        raise ValueError("factor")
    k = 2 * factor - factor % 2
    taps = 1 - (torch.arange(k) - (k - 1) / 2).abs() / factor
    return taps[:, None] * taps


def upsample(scores, factor):
    kernel, classes = bilinear_kernel(factor).to(scores), scores.shape[1]
    weight = kernel.expand(classes, classes, *kernel.shape)
    return F.conv_transpose2d(scores, weight, stride=factor)


# %% exercise="7.2" name="crops the rim" caught="visible" hint="Crop nothing here"
# `padding` makes the result exactly `factor` times as large.
def bilinear_kernel(factor):
    if factor < 1:
        raise ValueError("factor")
    k = 2 * factor - factor % 2
    taps = 1 - (torch.arange(k) - (k - 1) / 2).abs() / factor
    return taps[:, None] * taps


def upsample(scores, factor):
    kernel, classes = bilinear_kernel(factor).to(scores), scores.shape[1]
    weight = kernel.expand(classes, 1, *kernel.shape)
    return F.conv_transpose2d(scores, weight, stride=factor, padding=factor // 2, groups=classes)


# %% exercise="7.2" name="accepts factor 0" caught="hidden"
# The third line of the contract is overlooked.
def bilinear_kernel(factor):
    k = max(2 * factor - factor % 2, 1)
    taps = 1 - (torch.arange(k) - (k - 1) / 2).abs() / (factor or 1)
    return taps[:, None] * taps


def upsample(scores, factor):
    kernel, classes = bilinear_kernel(factor).to(scores), scores.shape[1]
    weight = kernel.expand(classes, 1, *kernel.shape)
    return F.conv_transpose2d(scores, weight, stride=factor, groups=classes)


# %% exercise="7.2" name="classes as images of a batch" right=True
# Fold the classes into the batch: then there is only one channel.
def bilinear_kernel(factor):
    if factor < 1:
        raise ValueError(f"factor {factor} is below 1")
    half = torch.arange(1, factor + 1) if factor % 2 else torch.arange(factor) + 0.5
    rise = half / factor
    taps = torch.cat([rise, rise.flip(0)[factor % 2 :]])
    return torch.outer(taps, taps)


def upsample(scores, factor):
    b, k, h, w = scores.shape
    kernel = bilinear_kernel(factor)[None, None].to(scores)
    big = F.conv_transpose2d(scores.reshape(b * k, 1, h, w), kernel, stride=factor)
    return big.reshape(b, k, *big.shape[-2:])


# %% exercise="7.3" name="forgets half the kernel" caught="visible" hint="half the kernel missing"
# Output 0 is taken for the place of unit 0.
def crop_offset(coarse, fine, kernel):
    return int((coarse[0] - fine[0]) / fine[1])


def fuse(coarse, skip, offset):
    up = upsample(coarse, 2)
    if offset < 0:
        up = up[..., -offset:, -offset:]
    else:
        skip = skip[..., offset:, offset:]
    h, w = min(up.shape[-2], skip.shape[-2]), min(up.shape[-1], skip.shape[-1])
    return up[..., :h, :w] + skip[..., :h, :w]


# %% exercise="7.3" name="half of k" caught="visible" hint="not k / 2"
# Off by half a unit.
def crop_offset(coarse, fine, kernel):
    return int((coarse[0] - fine[1] * kernel / 2 - fine[0]) / fine[1])


def fuse(coarse, skip, offset):
    up = upsample(coarse, 2)
    if offset < 0:
        up = up[..., -offset:, -offset:]
    else:
        skip = skip[..., offset:, offset:]
    h, w = min(up.shape[-2], skip.shape[-2]), min(up.shape[-1], skip.shape[-1])
    return up[..., :h, :w] + skip[..., :h, :w]


# %% exercise="7.3" name="taps of the coarse map" caught="visible" hint="taps are s / f apart"
# Half the kernel is measured in units of the coarse map.
def crop_offset(coarse, fine, kernel):
    return round((coarse[0] - coarse[1] * (kernel - 1) / 2 - fine[0]) / fine[1])


def fuse(coarse, skip, offset):
    up = upsample(coarse, 2)
    if offset < 0:
        up = up[..., -offset:, -offset:]
    else:
        skip = skip[..., offset:, offset:]
    h, w = min(up.shape[-2], skip.shape[-2]), min(up.shape[-1], skip.shape[-1])
    return up[..., :h, :w] + skip[..., :h, :w]


# %% exercise="7.3" name="offset in pixels" caught="visible" hint="in pixels"
# Units and pixels are the same only at stride 1.
def crop_offset(coarse, fine, kernel):
    return round(coarse[0] - fine[1] * (kernel - 1) / 2 - fine[0])


def fuse(coarse, skip, offset):
    up = upsample(coarse, 2)
    if offset < 0:
        up = up[..., -offset:, -offset:]
    else:
        skip = skip[..., offset:, offset:]
    h, w = min(up.shape[-2], skip.shape[-2]), min(up.shape[-1], skip.shape[-1])
    return up[..., :h, :w] + skip[..., :h, :w]


# %% exercise="7.3" name="fine minus coarse" caught="visible" hint="sign is wrong"
# The difference the other way round.
def crop_offset(coarse, fine, kernel):
    return round((fine[0] - coarse[0]) / fine[1] + (kernel - 1) / 2)


def fuse(coarse, skip, offset):
    up = upsample(coarse, 2)
    if offset < 0:
        up = up[..., -offset:, -offset:]
    else:
        skip = skip[..., offset:, offset:]
    h, w = min(up.shape[-2], skip.shape[-2]), min(up.shape[-1], skip.shape[-1])
    return up[..., :h, :w] + skip[..., :h, :w]


# %% exercise="7.3" name="no crop in front" caught="visible" hint="one unit too low"
# Cut to the common size, and the shift goes unnoticed.
def crop_offset(coarse, fine, kernel):
    offset = (coarse[0] - fine[0]) / fine[1] - (kernel - 1) / 2
    if offset % 1:
        raise ValueError("the grids do not meet")
    return int(offset)


def fuse(coarse, skip, offset):
    up, skip = upsample(coarse, 2), skip[..., max(offset, 0) :, max(offset, 0) :]
    h, w = min(up.shape[-2], skip.shape[-2]), min(up.shape[-1], skip.shape[-1])
    return up[..., :h, :w] + skip[..., :h, :w]


# %% exercise="7.3" name="adds before enlarging" caught="visible" hint="Enlarge first"
# Brings the skip down to the coarse map, where both have one size.
def crop_offset(coarse, fine, kernel):
    offset = (coarse[0] - fine[0]) / fine[1] - (kernel - 1) / 2
    if offset % 1:
        raise ValueError("the grids do not meet")
    return int(offset)


def fuse(coarse, skip, offset):
    low = F.max_pool2d(skip, 2)
    h, w = min(coarse.shape[-2], low.shape[-2]), min(coarse.shape[-1], low.shape[-1])
    up = upsample(coarse[..., :h, :w] + low[..., :h, :w], 2)
    return up[..., max(-offset, 0) :, max(-offset, 0) :]


# %% exercise="7.3" name="concatenates" caught="visible" hint="behind each other"
# That is U-Net.
def crop_offset(coarse, fine, kernel):
    offset = (coarse[0] - fine[0]) / fine[1] - (kernel - 1) / 2
    if offset % 1:
        raise ValueError("the grids do not meet")
    return int(offset)


def fuse(coarse, skip, offset):
    up = upsample(coarse, 2)
    if offset < 0:
        up = up[..., -offset:, -offset:]
    else:
        skip = skip[..., offset:, offset:]
    h, w = min(up.shape[-2], skip.shape[-2]), min(up.shape[-1], skip.shape[-1])
    return torch.cat([up[..., :h, :w], skip[..., :h, :w]], 1)


# %% exercise="7.3" name="rounds grids that never meet" caught="hidden"
# Half a unit off is rounded away in silence.
def crop_offset(coarse, fine, kernel):
    return round((coarse[0] - fine[0]) / fine[1] - (kernel - 1) / 2)


def fuse(coarse, skip, offset):
    up = upsample(coarse, 2)
    if offset < 0:
        up = up[..., -offset:, -offset:]
    else:
        skip = skip[..., offset:, offset:]
    h, w = min(up.shape[-2], skip.shape[-2]), min(up.shape[-1], skip.shape[-1])
    return up[..., :h, :w] + skip[..., :h, :w]


# %% exercise="7.3" name="negative offsets only" caught="hidden"
# Right for the padded network of this lab, wrong for the published one.
def crop_offset(coarse, fine, kernel):
    offset = (coarse[0] - fine[0]) / fine[1] - (kernel - 1) / 2
    if offset % 1:
        raise ValueError("the grids do not meet")
    return int(offset)


def fuse(coarse, skip, offset):
    up = upsample(coarse, 2)[..., abs(offset) :, abs(offset) :]
    h, w = min(up.shape[-2], skip.shape[-2]), min(up.shape[-1], skip.shape[-1])
    return up[..., :h, :w] + skip[..., :h, :w]


# %% exercise="7.3" name="exact fractions" right=True
# Where both maps begin is decided once, by two non-negative starts.
def crop_offset(coarse, fine, kernel):
    twice = 2 * (coarse[0] - fine[0]) / fine[1] - (kernel - 1)
    if twice % 2 != 0:
        raise ValueError(f"the grids are {twice / 2} units apart")
    return int(twice // 2)


def fuse(coarse, skip, offset):
    up, first, second = upsample(coarse, 2), max(0, -offset), max(0, offset)
    h = min(up.shape[2] - first, skip.shape[2] - second)
    w = min(up.shape[3] - first, skip.shape[3] - second)
    up = up[:, :, first : first + h, first : first + w]
    return up.add(skip[:, :, second : second + h, second : second + w])


# %% exercise="7.4" name="divides by all pixels" caught="visible" hint="not by all 6"
# `.mean()` over the map with zeros in it.
def pixel_cross_entropy(logits, target, ignore=255):
    counted = target != ignore
    index = target.where(counted, 0)
    picked = torch.log_softmax(logits, 1).gather(1, index[:, None])[:, 0]
    return -(picked * counted).mean()


# %% exercise="7.4" name="sums" caught="visible" hint="take the mean"
# As the released network does, with a learning rate of 1e-10.
def pixel_cross_entropy(logits, target, ignore=255):
    counted = target != ignore
    index = target.where(counted, 0)
    picked = torch.log_softmax(logits, 1).gather(1, index[:, None])[:, 0]
    return -(picked * counted).sum()


# %% exercise="7.4" name="ignored pixels as the last class" caught="visible" hint="as the last class"
# `clamp` makes 255 a legal index.
def pixel_cross_entropy(logits, target, ignore=255):
    index = target.clamp(max=logits.shape[1] - 1)
    return -torch.log_softmax(logits, 1).gather(1, index[:, None]).mean()


# %% exercise="7.4" name="ignored pixels as background" caught="visible" hint="as class 0"
# Unlabelled is read as background.
def pixel_cross_entropy(logits, target, ignore=255):
    index = target.where(target != ignore, 0)
    return -torch.log_softmax(logits, 1).gather(1, index[:, None]).mean()


# %% exercise="7.4" name="nan where nothing counts" caught="visible" hint="ruins the network"
# The mean of no numbers.
def pixel_cross_entropy(logits, target, ignore=255):
    counted = target != ignore
    index = target.where(counted, 0)
    picked = torch.log_softmax(logits, 1).gather(1, index[:, None])[:, 0]
    return -picked[counted].mean()


# %% exercise="7.4" name="mean of the images' means" caught="visible" hint="mean of two means"
# A loop over the batch, averaged at the end.
def pixel_cross_entropy(logits, target, ignore=255):
    counted = target != ignore
    index = target.where(counted, 0)
    picked = torch.log_softmax(logits, 1).gather(1, index[:, None])[:, 0] * counted
    return -(picked.sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)).mean()


# %% exercise="7.4" name="log of a softmax" caught="hidden"
# Underflows: log 0 is minus infinity, and infinity times 0 is nan.
def pixel_cross_entropy(logits, target, ignore=255):
    counted = target != ignore
    index = target.where(counted, 0)
    picked = logits.softmax(1).log().gather(1, index[:, None])[:, 0]
    return -(picked * counted).sum() / counted.sum().clamp(min=1)


# %% exercise="7.4" name="255 written into the code" caught="hidden"
# The argument is there, and not used.
def pixel_cross_entropy(logits, target, ignore=255):
    counted = target != 255
    index = target.where(counted, 0)
    picked = torch.log_softmax(logits, 1).gather(1, index[:, None])[:, 0]
    return -(picked * counted).sum() / counted.sum().clamp(min=1)


# %% exercise="7.4" name="one-hot and logsumexp" right=True
# The normaliser minus the logit of the right class.
def pixel_cross_entropy(logits, target, ignore=255):
    counted = target != ignore
    hot = F.one_hot(target.masked_fill(~counted, 0), logits.shape[1]).movedim(-1, 1)
    right = (logits * hot).sum(1)
    cost = (logits.logsumexp(1) - right)[counted]
    return cost.sum() / max(len(cost), 1)


# %% exercise="7.5" name="forgets the ReLU" caught="visible" hint="ReLU between"
# Two linear layers in a row are one.
class SkipFCN(nn.Module):
    def __init__(self, classes, channels, width, skips):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:]))
        self.fc = nn.Conv2d(4 * width, 4 * width, 1)
        self.score = nn.Conv2d(4 * width, classes, 1)
        inputs = (2 * width, width)[:skips]
        self.skip_scores = nn.ModuleList(nn.Conv2d(n, classes, 1) for n in inputs)
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def maps(self, image):
        found = [image]
        for stage in self.stages:
            found.append(F.max_pool2d(F.relu(stage(found[-1])), 2, ceil_mode=True))
        return found[1:]

    def forward(self, image):
        fine, middle, deep = self.maps(image)
        scores, stride = self.score(self.fc(deep)), 8
        for layer, features in zip(self.skip_scores, (middle, fine)):
            scores, stride = fuse(scores, layer(features), -1), stride // 2
        h, w = image.shape[-2:]
        cut = stride // 2
        return upsample(scores, stride)[..., cut : cut + h, cut : cut + w]


# %% exercise="7.5" name="keeps the rim in front" caught="visible" hint="too low"
# Cut to the size of the image, from the first pixel on.
class SkipFCN(nn.Module):
    def __init__(self, classes, channels, width, skips):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:]))
        self.fc = nn.Conv2d(4 * width, 4 * width, 1)
        self.score = nn.Conv2d(4 * width, classes, 1)
        inputs = (2 * width, width)[:skips]
        self.skip_scores = nn.ModuleList(nn.Conv2d(n, classes, 1) for n in inputs)
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def maps(self, image):
        found = [image]
        for stage in self.stages:
            found.append(F.max_pool2d(F.relu(stage(found[-1])), 2, ceil_mode=True))
        return found[1:]

    def forward(self, image):
        fine, middle, deep = self.maps(image)
        scores, stride = self.score(F.relu(self.fc(deep))), 8
        for layer, features in zip(self.skip_scores, (middle, fine)):
            scores, stride = fuse(scores, layer(features), -1), stride // 2
        h, w = image.shape[-2:]
        return upsample(scores, stride)[..., :h, :w]


# %% exercise="7.5" name="does not use the skips" caught="visible" hint="skips are not used"
# The layers are there, nothing complains.
class SkipFCN(nn.Module):
    def __init__(self, classes, channels, width, skips):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:]))
        self.fc = nn.Conv2d(4 * width, 4 * width, 1)
        self.score = nn.Conv2d(4 * width, classes, 1)
        inputs = (2 * width, width)[:skips]
        self.skip_scores = nn.ModuleList(nn.Conv2d(n, classes, 1) for n in inputs)
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def maps(self, image):
        found = [image]
        for stage in self.stages:
            found.append(F.max_pool2d(F.relu(stage(found[-1])), 2, ceil_mode=True))
        return found[1:]

    def forward(self, image):
        _fine, _middle, deep = self.maps(image)
        scores, stride = self.score(F.relu(self.fc(deep))), 8
        h, w = image.shape[-2:]
        cut = stride // 2
        return upsample(scores, stride)[..., cut : cut + h, cut : cut + w]


# %% exercise="7.5" name="first skip only" caught="visible" hint="Only the first skip"
# FCN-16s, whatever was asked for.
class SkipFCN(nn.Module):
    def __init__(self, classes, channels, width, skips):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:]))
        self.fc = nn.Conv2d(4 * width, 4 * width, 1)
        self.score = nn.Conv2d(4 * width, classes, 1)
        inputs = (2 * width, width)[:skips]
        self.skip_scores = nn.ModuleList(nn.Conv2d(n, classes, 1) for n in inputs)
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def maps(self, image):
        found = [image]
        for stage in self.stages:
            found.append(F.max_pool2d(F.relu(stage(found[-1])), 2, ceil_mode=True))
        return found[1:]

    def forward(self, image):
        _fine, middle, deep = self.maps(image)
        scores, stride = self.score(F.relu(self.fc(deep))), 8
        if len(self.skip_scores) > 0:
            scores, stride = fuse(scores, self.skip_scores[0](middle), -1), 4
        h, w = image.shape[-2:]
        cut = stride // 2
        return upsample(scores, stride)[..., cut : cut + h, cut : cut + w]


# %% exercise="7.5" name="skips from shallow to deep" caught="visible" hint="from deep to shallow"
# `self.maps` returns the fine map first.
class SkipFCN(nn.Module):
    def __init__(self, classes, channels, width, skips):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:]))
        self.fc = nn.Conv2d(4 * width, 4 * width, 1)
        self.score = nn.Conv2d(4 * width, classes, 1)
        inputs = (2 * width, width)[:skips]
        self.skip_scores = nn.ModuleList(nn.Conv2d(n, classes, 1) for n in inputs)
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def maps(self, image):
        found = [image]
        for stage in self.stages:
            found.append(F.max_pool2d(F.relu(stage(found[-1])), 2, ceil_mode=True))
        return found[1:]

    def forward(self, image):
        fine, middle, deep = self.maps(image)
        scores, stride = self.score(F.relu(self.fc(deep))), 8
        for layer, features in zip(self.skip_scores, (fine, middle)):
            scores, stride = fuse(scores, layer(features), -1), stride // 2
        h, w = image.shape[-2:]
        cut = stride // 2
        return upsample(scores, stride)[..., cut : cut + h, cut : cut + w]


# %% exercise="7.5" name="always enlarges eight times" caught="visible" hint="enlarge them by that number"
# The factor of the network without skips, written into the last line.
class SkipFCN(nn.Module):
    def __init__(self, classes, channels, width, skips):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:]))
        self.fc = nn.Conv2d(4 * width, 4 * width, 1)
        self.score = nn.Conv2d(4 * width, classes, 1)
        inputs = (2 * width, width)[:skips]
        self.skip_scores = nn.ModuleList(nn.Conv2d(n, classes, 1) for n in inputs)
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def maps(self, image):
        found = [image]
        for stage in self.stages:
            found.append(F.max_pool2d(F.relu(stage(found[-1])), 2, ceil_mode=True))
        return found[1:]

    def forward(self, image):
        fine, middle, deep = self.maps(image)
        scores, stride = self.score(F.relu(self.fc(deep))), 8
        for layer, features in zip(self.skip_scores, (middle, fine)):
            scores, stride = fuse(scores, layer(features), -1), stride // 2
        h, w = image.shape[-2:]
        return upsample(scores, 8)[..., 4 : 4 + h, 4 : 4 + w]


# %% exercise="7.5" name="centres the cut" caught="hidden"
# Half the surplus on each side is right only where the sides are multiples of 8.
class SkipFCN(nn.Module):
    def __init__(self, classes, channels, width, skips):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:]))
        self.fc = nn.Conv2d(4 * width, 4 * width, 1)
        self.score = nn.Conv2d(4 * width, classes, 1)
        inputs = (2 * width, width)[:skips]
        self.skip_scores = nn.ModuleList(nn.Conv2d(n, classes, 1) for n in inputs)
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def maps(self, image):
        found = [image]
        for stage in self.stages:
            found.append(F.max_pool2d(F.relu(stage(found[-1])), 2, ceil_mode=True))
        return found[1:]

    def forward(self, image):
        fine, middle, deep = self.maps(image)
        scores, stride = self.score(F.relu(self.fc(deep))), 8
        for layer, features in zip(self.skip_scores, (middle, fine)):
            scores, stride = fuse(scores, layer(features), -1), stride // 2
        raw = upsample(scores, stride)
        top, left = ((raw.shape[i] - image.shape[i]) // 2 for i in (2, 3))
        return raw[..., top : top + image.shape[2], left : left + image.shape[3]]


# %% exercise="7.5" name="case by case" right=True
# One branch for each network of the paper.
class SkipFCN(nn.Module):
    def __init__(self, classes, channels, width, skips):
        super().__init__()
        sizes = (channels, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in zip(sizes, sizes[1:]))
        self.fc = nn.Conv2d(4 * width, 4 * width, 1)
        self.score = nn.Conv2d(4 * width, classes, 1)
        inputs = (2 * width, width)[:skips]
        self.skip_scores = nn.ModuleList(nn.Conv2d(n, classes, 1) for n in inputs)
        for layer in self.skip_scores:
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def maps(self, image):
        found = [image]
        for stage in self.stages:
            found.append(F.max_pool2d(F.relu(stage(found[-1])), 2, ceil_mode=True))
        return found[1:]

    def forward(self, image):
        fine, middle, deep = self.maps(image)
        y = self.score(torch.clamp(self.fc(deep), min=0))
        if len(self.skip_scores) > 0:
            y = fuse(y, self.skip_scores[0](middle), crop_offset((3.5, 8), (1.5, 4), 4))
        if len(self.skip_scores) > 1:
            y = fuse(y, self.skip_scores[1](fine), crop_offset((1.5, 4), (0.5, 2), 4))
        factor = (8, 4, 2)[len(self.skip_scores)]
        big = upsample(y, factor)[:, :, factor // 2 :, factor // 2 :]
        return big[:, :, : image.shape[2], : image.shape[3]]
