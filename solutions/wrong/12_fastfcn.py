# The zoo of lab 12: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="12.1" name="exchanges rows and columns" caught="visible" hint="yours are exchanged"
# x comes first in most programs that draw.
def split_grids(x, r):
    if x.shape[-2] % r or x.shape[-1] % r:
        raise ValueError("the sides must be multiples of r")
    return torch.stack([torch.stack([x[..., i::r, j::r] for i in range(r)]) for j in range(r)])


def merge_grids(parts):
    r, _, b, c, h, w = parts.shape
    x = parts.new_empty(b, c, h * r, w * r)
    for i in range(r):
        for j in range(r):
            x[..., i::r, j::r] = parts[j, i]
    return x


# %% exercise="12.1" name="cuts blocks of neighbours" caught="visible" hint="takes every r-th pixel"
# "Split" is read as cutting into tiles; the merge undoes it, so a round trip sees nothing.
def split_grids(x, r):
    b, c, h, w = x.shape
    if h % r or w % r:
        raise ValueError("the sides must be multiples of r")
    return x.reshape(b, c, r, h // r, r, w // r).permute(2, 4, 0, 1, 3, 5)


def merge_grids(parts):
    r, _, b, c, h, w = parts.shape
    return parts.permute(2, 3, 0, 4, 1, 5).reshape(b, c, r * h, r * w)


# %% exercise="12.1" name="one axis of subgrids" caught="visible" hint="use two axes"
# The double loop makes a flat list.
def split_grids(x, r):
    if x.shape[-2] % r or x.shape[-1] % r:
        raise ValueError("the sides must be multiples of r")
    return torch.stack([x[..., i::r, j::r] for i in range(r) for j in range(r)])


def merge_grids(parts):
    r, _, b, c, h, w = parts.shape
    x = parts.new_empty(b, c, h * r, w * r)
    for i in range(r):
        for j in range(r):
            x[..., i::r, j::r] = parts[i, j]
    return x


# %% exercise="12.1" name="merges side by side" caught="visible" hint="must be interleaved"
# Concatenation is the first thing that comes to mind for "put together".
def split_grids(x, r):
    if x.shape[-2] % r or x.shape[-1] % r:
        raise ValueError("the sides must be multiples of r")
    return torch.stack([torch.stack([x[..., i::r, j::r] for j in range(r)]) for i in range(r)])


def merge_grids(parts):
    return torch.cat([torch.cat(list(row), dim=-1) for row in parts], dim=-2)


# %% exercise="12.1" name="drops what does not fit" caught="visible" hint="no two subgrids of equal size"
# Cutting the last column makes the shapes agree.
def split_grids(x, r):
    h, w = x.shape[-2] // r * r, x.shape[-1] // r * r
    x = x[..., :h, :w]
    return torch.stack([torch.stack([x[..., i::r, j::r] for j in range(r)]) for i in range(r)])


def merge_grids(parts):
    r, _, b, c, h, w = parts.shape
    x = parts.new_empty(b, c, h * r, w * r)
    for i in range(r):
        for j in range(r):
            x[..., i::r, j::r] = parts[i, j]
    return x


# %% exercise="12.1" name="tests the columns only" caught="hidden"
# The visible example has seven columns.
def split_grids(x, r):
    if x.shape[-1] % r:
        raise ValueError("the width must be a multiple of r")
    h = x.shape[-2] // r * r
    x = x[..., :h, :]
    return torch.stack([torch.stack([x[..., i::r, j::r] for j in range(r)]) for i in range(r)])


def merge_grids(parts):
    r, _, b, c, h, w = parts.shape
    x = parts.new_empty(b, c, h * r, w * r)
    for i in range(r):
        for j in range(r):
            x[..., i::r, j::r] = parts[i, j]
    return x


# %% exercise="12.1" name="a single image only" caught="hidden"
# Written for the picture on the screen: the batch is lost.
def split_grids(x, r):
    if x.shape[-2] % r or x.shape[-1] % r:
        raise ValueError("the sides must be multiples of r")
    x = x[:1]
    return torch.stack([torch.stack([x[..., i::r, j::r] for j in range(r)]) for i in range(r)])


def merge_grids(parts):
    r, _, b, c, h, w = parts.shape
    x = parts.new_zeros(b, c, h * r, w * r)
    for i in range(r):
        for j in range(r):
            x[:1, ..., i::r, j::r] = parts[i, j, :1]
    return x


# %% exercise="12.1" name="reshape and permute" right=True
# Rows are (h, r) and columns (w, r): the rate is the fast index.
def split_grids(x, r):
    b, c, h, w = x.shape
    if h % r or w % r:
        raise ValueError(f"{h} x {w} is not divisible by {r}")
    return x.reshape(b, c, h // r, r, w // r, r).permute(3, 5, 0, 1, 2, 4)


def merge_grids(parts):
    r, _, b, c, h, w = parts.shape
    return parts.permute(2, 3, 4, 0, 5, 1).reshape(b, c, h * r, w * r)


# %% exercise="12.2" name="does not split" caught="visible" hint="split first"
# The function is called, the shapes are right.
def dilated_as_split_conv(x, conv, r):
    return conv(x)


# %% exercise="12.2" name="one call for each subgrid" caught="visible" hint="conv must be called once"
# The formula is written as r² convolutions.
def dilated_as_split_conv(x, conv, r):
    _b, _c, h, w = x.shape
    parts = split_grids(F.pad(x, (0, -w % r, 0, -h % r)), r)
    rows = [torch.stack([conv(part) for part in row]) for row in parts]
    return merge_grids(torch.stack(rows))[..., :h, :w]


# %% exercise="12.2" name="forgets to cut" caught="visible" hint="Cut the result back"
# The padded result looks finished.
def dilated_as_split_conv(x, conv, r):
    b, _c, h, w = x.shape
    parts = split_grids(F.pad(x, (0, -w % r, 0, -h % r)), r)
    return merge_grids(conv(parts.flatten(0, 2)).unflatten(0, (r, r, b)))


# %% exercise="12.2" name="pads at the top left" caught="visible" hint="at the top and on the left"
# F.pad's order begins with left and top.
def dilated_as_split_conv(x, conv, r):
    b, _c, h, w = x.shape
    parts = split_grids(F.pad(x, (-w % r, 0, -h % r, 0)), r)
    return merge_grids(conv(parts.flatten(0, 2)).unflatten(0, (r, r, b)))[..., :h, :w]


# %% exercise="12.2" name="cuts what does not fit" caught="visible" hint="are cut off"
# The remainder is dropped before splitting.
def dilated_as_split_conv(x, conv, r):
    b, _c, h, w = x.shape
    parts = split_grids(x[..., : h // r * r, : w // r * r], r)
    return merge_grids(conv(parts.flatten(0, 2)).unflatten(0, (r, r, b)))


# %% exercise="12.2" name="continues with the edge" caught="visible" hint="zeros are what a padded kernel sees"
# Replicating looks smoother than zeros.
def dilated_as_split_conv(x, conv, r):
    b, _c, h, w = x.shape
    parts = split_grids(F.pad(x, (0, -w % r, 0, -h % r), mode="replicate"), r)
    return merge_grids(conv(parts.flatten(0, 2)).unflatten(0, (r, r, b)))[..., :h, :w]


# %% exercise="12.2" name="mixes batch and subgrids" caught="hidden"
# flatten and unflatten do not mirror each other; with one image nothing is seen.
def dilated_as_split_conv(x, conv, r):
    b, _c, h, w = x.shape
    parts = split_grids(F.pad(x, (0, -w % r, 0, -h % r)), r)
    batch = parts.permute(2, 0, 1, 3, 4, 5).flatten(0, 2)
    return merge_grids(conv(batch).unflatten(0, (r, r, b)))[..., :h, :w]


# %% exercise="12.2" name="expects as many maps as before" caught="hidden"
# The result is written into a copy of the input.
def dilated_as_split_conv(x, conv, r):
    b, c, h, w = x.shape
    padded = F.pad(x, (0, -w % r, 0, -h % r))
    parts = split_grids(padded, r)
    result = conv(parts.flatten(0, 2)).unflatten(0, (r, r, b))
    return merge_grids(result[:, :, :, :c])[..., :h, :w]


# %% exercise="12.2" name="reshapes instead of flatten" right=True
# The same batch, written with view and explicit sizes.
def dilated_as_split_conv(x, conv, r):
    b, c, h, w = x.shape
    high, wide = -(-h // r) * r, -(-w // r) * r
    padded = x.new_zeros(b, c, high, wide)
    padded[..., :h, :w] = x
    batch = split_grids(padded, r).reshape(r * r * b, c, high // r, wide // r)
    out = conv(batch)
    return merge_grids(out.reshape(r, r, b, *out.shape[1:]))[..., :h, :w]


# %% exercise="12.3" name="full convolutions" caught="visible" hint="as many groups as maps"
# groups is left at its default.
def separable(channels, maps, rate):
    wide = nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, bias=False)
    return nn.Sequential(wide, nn.BatchNorm2d(channels), conv_bn_relu(channels, maps, 1))


class JPU(nn.Module):
    def __init__(self, channels, maps):
        super().__init__()
        c3, c4, c5 = channels
        self.conv3 = conv_bn_relu(c3, maps, 3)
        self.conv4 = conv_bn_relu(c4, maps, 3)
        self.conv5 = conv_bn_relu(c5, maps, 3)
        self.branches = nn.ModuleList(separable(3 * maps, maps, rate) for rate in (1, 2, 4, 8))

    def forward(self, c3, c4, c5):
        def up(m):
            return F.interpolate(m, size=c3.shape[-2:], mode="bilinear", align_corners=True)

        y = torch.cat([up(self.conv5(c5)), up(self.conv4(c4)), self.conv3(c3)], 1)
        return torch.cat([branch(y) for branch in self.branches], 1)


# %% exercise="12.3" name="forgets the batch norm between" caught="visible" hint="between the two convolutions"
# A separable convolution is remembered as two convolutions.
def separable(channels, maps, rate):
    depthwise = nn.Conv2d(
        channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False
    )
    return nn.Sequential(depthwise, conv_bn_relu(channels, maps, 1))


class JPU(nn.Module):
    def __init__(self, channels, maps):
        super().__init__()
        c3, c4, c5 = channels
        self.conv3 = conv_bn_relu(c3, maps, 3)
        self.conv4 = conv_bn_relu(c4, maps, 3)
        self.conv5 = conv_bn_relu(c5, maps, 3)
        self.branches = nn.ModuleList(separable(3 * maps, maps, rate) for rate in (1, 2, 4, 8))

    def forward(self, c3, c4, c5):
        def up(m):
            return F.interpolate(m, size=c3.shape[-2:], mode="bilinear", align_corners=True)

        y = torch.cat([up(self.conv5(c5)), up(self.conv4(c4)), self.conv3(c3)], 1)
        return torch.cat([branch(y) for branch in self.branches], 1)


# %% exercise="12.3" name="padding of one at every rate" caught="visible" hint="padding must grow"
# padding=1 keeps the size of an ordinary 3 × 3.
def separable(channels, maps, rate):
    depthwise = nn.Conv2d(
        channels, channels, 3, padding=1, dilation=rate, groups=channels, bias=False
    )
    return nn.Sequential(depthwise, nn.BatchNorm2d(channels), conv_bn_relu(channels, maps, 1))


class JPU(nn.Module):
    def __init__(self, channels, maps):
        super().__init__()
        c3, c4, c5 = channels
        self.conv3 = conv_bn_relu(c3, maps, 3)
        self.conv4 = conv_bn_relu(c4, maps, 3)
        self.conv5 = conv_bn_relu(c5, maps, 3)
        self.branches = nn.ModuleList(separable(3 * maps, maps, rate) for rate in (1, 2, 4, 8))

    def forward(self, c3, c4, c5):
        def up(m):
            return F.interpolate(m, size=c3.shape[-2:], mode="bilinear", align_corners=True)

        y = torch.cat([up(self.conv5(c5)), up(self.conv4(c4)), self.conv3(c3)], 1)
        return torch.cat([branch(y) for branch in self.branches], 1)


# %% exercise="12.3" name="c3 first" caught="visible" hint="yours begins with c3"
# Fine to coarse is the order of the arguments.
def separable(channels, maps, rate):
    depthwise = nn.Conv2d(
        channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False
    )
    return nn.Sequential(depthwise, nn.BatchNorm2d(channels), conv_bn_relu(channels, maps, 1))


class JPU(nn.Module):
    def __init__(self, channels, maps):
        super().__init__()
        c3, c4, c5 = channels
        self.conv3 = conv_bn_relu(c3, maps, 3)
        self.conv4 = conv_bn_relu(c4, maps, 3)
        self.conv5 = conv_bn_relu(c5, maps, 3)
        self.branches = nn.ModuleList(separable(3 * maps, maps, rate) for rate in (1, 2, 4, 8))

    def forward(self, c3, c4, c5):
        def up(m):
            return F.interpolate(m, size=c3.shape[-2:], mode="bilinear", align_corners=True)

        y = torch.cat([self.conv3(c3), up(self.conv4(c4)), up(self.conv5(c5))], 1)
        return torch.cat([branch(y) for branch in self.branches], 1)


# %% exercise="12.3" name="corners not aligned" caught="visible" hint="align_corners=True, as the released"
# The default of interpolate.
def separable(channels, maps, rate):
    depthwise = nn.Conv2d(
        channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False
    )
    return nn.Sequential(depthwise, nn.BatchNorm2d(channels), conv_bn_relu(channels, maps, 1))


class JPU(nn.Module):
    def __init__(self, channels, maps):
        super().__init__()
        c3, c4, c5 = channels
        self.conv3 = conv_bn_relu(c3, maps, 3)
        self.conv4 = conv_bn_relu(c4, maps, 3)
        self.conv5 = conv_bn_relu(c5, maps, 3)
        self.branches = nn.ModuleList(separable(3 * maps, maps, rate) for rate in (1, 2, 4, 8))

    def forward(self, c3, c4, c5):
        def up(m):
            return F.interpolate(m, size=c3.shape[-2:], mode="bilinear", align_corners=False)

        y = torch.cat([up(self.conv5(c5)), up(self.conv4(c4)), self.conv3(c3)], 1)
        return torch.cat([branch(y) for branch in self.branches], 1)


# %% exercise="12.3" name="adds the branches" caught="visible" hint="branches are added"
# ASPP of DeepLab v2 sums its branches.
def separable(channels, maps, rate):
    depthwise = nn.Conv2d(
        channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False
    )
    return nn.Sequential(depthwise, nn.BatchNorm2d(channels), conv_bn_relu(channels, maps, 1))


class JPU(nn.Module):
    def __init__(self, channels, maps):
        super().__init__()
        c3, c4, c5 = channels
        self.conv3 = conv_bn_relu(c3, maps, 3)
        self.conv4 = conv_bn_relu(c4, maps, 3)
        self.conv5 = conv_bn_relu(c5, maps, 3)
        self.branches = nn.ModuleList(separable(3 * maps, maps, rate) for rate in (1, 2, 4, 8))

    def forward(self, c3, c4, c5):
        def up(m):
            return F.interpolate(m, size=c3.shape[-2:], mode="bilinear", align_corners=True)

        y = torch.cat([up(self.conv5(c5)), up(self.conv4(c4)), self.conv3(c3)], 1)
        return sum(branch(y) for branch in self.branches)


# %% exercise="12.3" name="rate fixed at two" caught="hidden"
# The first branch that was tried, and the only one that the small check counts.
def separable(channels, maps, rate):
    depthwise = nn.Conv2d(channels, channels, 3, padding=2, dilation=2, groups=channels, bias=False)
    return nn.Sequential(depthwise, nn.BatchNorm2d(channels), conv_bn_relu(channels, maps, 1))


class JPU(nn.Module):
    def __init__(self, channels, maps):
        super().__init__()
        c3, c4, c5 = channels
        self.conv3 = conv_bn_relu(c3, maps, 3)
        self.conv4 = conv_bn_relu(c4, maps, 3)
        self.conv5 = conv_bn_relu(c5, maps, 3)
        self.branches = nn.ModuleList(separable(3 * maps, maps, rate) for rate in (1, 2, 4, 8))

    def forward(self, c3, c4, c5):
        def up(m):
            return F.interpolate(m, size=c3.shape[-2:], mode="bilinear", align_corners=True)

        y = torch.cat([up(self.conv5(c5)), up(self.conv4(c4)), self.conv3(c3)], 1)
        return torch.cat([branch(y) for branch in self.branches], 1)


# %% exercise="12.3" name="a loop instead of comprehensions" right=True
# The same steps, one by one.
def separable(channels, maps, rate):
    layers = [
        nn.Conv2d(channels, channels, 3, 1, rate, rate, channels, False),
        nn.BatchNorm2d(channels),
        conv_bn_relu(channels, maps, 1),
    ]
    return nn.Sequential(*layers)


class JPU(nn.Module):
    def __init__(self, channels, maps):
        super().__init__()
        c3, c4, c5 = channels
        self.conv3 = conv_bn_relu(c3, maps, 3)
        self.conv4 = conv_bn_relu(c4, maps, 3)
        self.conv5 = conv_bn_relu(c5, maps, 3)
        self.branches = nn.ModuleList(separable(3 * maps, maps, rate) for rate in (1, 2, 4, 8))

    def forward(self, c3, c4, c5):
        pyramid = []
        for conv, m in ((self.conv5, c5), (self.conv4, c4), (self.conv3, c3)):
            m = conv(m)
            if m.shape[-2:] != c3.shape[-2:]:
                m = F.interpolate(m, c3.shape[-2:], mode="bilinear", align_corners=True)
            pyramid.append(m)
        y = torch.cat(pyramid, dim=1)
        results = []
        for branch in self.branches:
            results.append(branch(y))
        return torch.cat(results, dim=1)


# %% exercise="12.4" name="stride in the first convolution" caught="visible" hint="still runs on the large map"
# The layout of the original paper.
def stage_macs(side, channels, maps, blocks, stride):
    out = ceil(side / stride)
    first = out**2 * (channels * maps + 13 * maps**2 + 4 * channels * maps)
    return first + (blocks - 1) * out**2 * 17 * maps**2


def encoder_macs(layers, output_stride, side, width=64):
    total = 49 * 3 * width * ceil(side / 2) ** 2
    side, channels, so_far = ceil(ceil(side / 2) / 2), width, 4
    for i, blocks in enumerate(layers):
        stride = 1 if i == 0 or so_far == output_stride else 2
        total += stage_macs(side, channels, width * 2**i, blocks, stride)
        side, channels, so_far = ceil(side / stride), 4 * width * 2**i, so_far * stride
    return total


# %% exercise="12.4" name="forgets the shortcut" caught="visible" hint="of the shortcut is missing"
# The picture of a block shows the shortcut as a line.
def stage_macs(side, channels, maps, blocks, stride):
    out = ceil(side / stride)
    first = side**2 * channels * maps + out**2 * 13 * maps**2
    return first + (blocks - 1) * out**2 * 17 * maps**2


def encoder_macs(layers, output_stride, side, width=64):
    total = 49 * 3 * width * ceil(side / 2) ** 2
    side, channels, so_far = ceil(ceil(side / 2) / 2), width, 4
    for i, blocks in enumerate(layers):
        stride = 1 if i == 0 or so_far == output_stride else 2
        total += stage_macs(side, channels, width * 2**i, blocks, stride)
        side, channels, so_far = ceil(side / stride), 4 * width * 2**i, so_far * stride
    return total


# %% exercise="12.4" name="counts floating-point operations" caught="visible" hint="Twice too many"
# FLOPs and multiply-accumulates are mixed up.
def stage_macs(side, channels, maps, blocks, stride):
    out = ceil(side / stride)
    first = side**2 * channels * maps + out**2 * (13 * maps**2 + 4 * channels * maps)
    return 2 * (first + (blocks - 1) * out**2 * 17 * maps**2)


def encoder_macs(layers, output_stride, side, width=64):
    total = 2 * 49 * 3 * width * ceil(side / 2) ** 2
    side, channels, so_far = ceil(ceil(side / 2) / 2), width, 4
    for i, blocks in enumerate(layers):
        stride = 1 if i == 0 or so_far == output_stride else 2
        total += stage_macs(side, channels, width * 2**i, blocks, stride)
        side, channels, so_far = ceil(side / stride), 4 * width * 2**i, so_far * stride
    return total


# %% exercise="12.4" name="rounds down" caught="visible" hint="round up"
# Integer division.
def stage_macs(side, channels, maps, blocks, stride):
    out = side // stride
    first = side**2 * channels * maps + out**2 * (13 * maps**2 + 4 * channels * maps)
    return first + (blocks - 1) * out**2 * 17 * maps**2


def encoder_macs(layers, output_stride, side, width=64):
    total = 49 * 3 * width * (side // 2) ** 2
    side, channels, so_far = side // 4, width, 4
    for i, blocks in enumerate(layers):
        stride = 1 if i == 0 or so_far == output_stride else 2
        total += stage_macs(side, channels, width * 2**i, blocks, stride)
        side, channels, so_far = side // stride, 4 * width * 2**i, so_far * stride
    return total


# %% exercise="12.4" name="strides never stop" caught="visible" hint="Strides go on below"
# The output stride is read as a name, not as a limit.
def stage_macs(side, channels, maps, blocks, stride):
    out = ceil(side / stride)
    first = side**2 * channels * maps + out**2 * (13 * maps**2 + 4 * channels * maps)
    return first + (blocks - 1) * out**2 * 17 * maps**2


def encoder_macs(layers, output_stride, side, width=64):
    total = 49 * 3 * width * ceil(side / 2) ** 2
    side, channels = ceil(ceil(side / 2) / 2), width
    for i, blocks in enumerate(layers):
        stride = 1 if i == 0 else 2
        total += stage_macs(side, channels, width * 2**i, blocks, stride)
        side, channels = ceil(side / stride), 4 * width * 2**i
    return total


# %% exercise="12.4" name="forgets the stem" caught="visible" hint="The stem is missing"
# The four stages are the network in most drawings.
def stage_macs(side, channels, maps, blocks, stride):
    out = ceil(side / stride)
    first = side**2 * channels * maps + out**2 * (13 * maps**2 + 4 * channels * maps)
    return first + (blocks - 1) * out**2 * 17 * maps**2


def encoder_macs(layers, output_stride, side, width=64):
    total = 0
    side, channels, so_far = ceil(ceil(side / 2) / 2), width, 4
    for i, blocks in enumerate(layers):
        stride = 1 if i == 0 or so_far == output_stride else 2
        total += stage_macs(side, channels, width * 2**i, blocks, stride)
        side, channels, so_far = ceil(side / stride), 4 * width * 2**i, so_far * stride
    return total


# %% exercise="12.4" name="only even sides in the stem" caught="hidden"
# 50 and 512 are even, so the missing rounding stays unseen.
def stage_macs(side, channels, maps, blocks, stride):
    out = ceil(side / stride)
    first = side**2 * channels * maps + out**2 * (13 * maps**2 + 4 * channels * maps)
    return first + (blocks - 1) * out**2 * 17 * maps**2


def encoder_macs(layers, output_stride, side, width=64):
    total = 49 * 3 * width * (side // 2) ** 2
    side, channels, so_far = ceil((side // 2) / 2), width, 4
    for i, blocks in enumerate(layers):
        stride = 1 if i == 0 or so_far == output_stride else 2
        total += stage_macs(side, channels, width * 2**i, blocks, stride)
        side, channels, so_far = ceil(side / stride), 4 * width * 2**i, so_far * stride
    return total


# %% exercise="12.4" name="a list of convolutions" right=True
# Every convolution as (side, inputs, outputs, kernel), then one sum.
def stage_macs(side, channels, maps, blocks, stride):
    out = -(-side // stride)
    convs = [(side, channels, maps, 1), (out, maps, maps, 3), (out, maps, 4 * maps, 1)]
    convs.append((out, channels, 4 * maps, 1))
    for _ in range(blocks - 1):
        convs += [(out, 4 * maps, maps, 1), (out, maps, maps, 3), (out, maps, 4 * maps, 1)]
    return sum(n * n * a * b * k * k for n, a, b, k in convs)


def encoder_macs(layers, output_stride, side, width=64):
    half = -(-side // 2)
    total = half * half * 7 * 7 * 3 * width
    n, channels, stride_so_far = -(-half // 2), width, 4
    for i in range(4):
        stride = 2 if i > 0 and stride_so_far < output_stride else 1
        total += stage_macs(n, channels, width << i, layers[i], stride)
        n, channels, stride_so_far = -(-n // stride), width << (i + 2), stride_so_far * stride
    return total


# %% exercise="12.5" name="full branches" caught="visible" hint="9 per map, not 9 per pair"
# The 3 × 3 is charged like any other.
def jpu_macs(side, channels=(512, 1024, 2048), maps=512):
    sides = [side, ceil(side / 2), ceil(ceil(side / 2) / 2)]
    first = sum(n**2 * 9 * c * maps for n, c in zip(sides, channels))
    return first + 4 * side**2 * (9 * (3 * maps) ** 2 + 3 * maps * maps)


def speed_up(layers, side):
    dilated, plain = (encoder_macs(layers, stride, side) for stride in (8, 32))
    return dilated / plain, dilated / (plain + jpu_macs(ceil(side / 8)))


# %% exercise="12.5" name="convolves after enlarging" caught="visible" hint="before they are enlarged"
# All three first convolutions on the side of c3.
def jpu_macs(side, channels=(512, 1024, 2048), maps=512):
    first = side**2 * 9 * sum(channels) * maps
    return first + 4 * side**2 * (9 * 3 * maps + 3 * maps * maps)


def speed_up(layers, side):
    dilated, plain = (encoder_macs(layers, stride, side) for stride in (8, 32))
    return dilated / plain, dilated / (plain + jpu_macs(ceil(side / 8)))


# %% exercise="12.5" name="one branch" caught="visible" hint="Four branches"
# The sum of one branch is not multiplied.
def jpu_macs(side, channels=(512, 1024, 2048), maps=512):
    sides = [side, ceil(side / 2), ceil(ceil(side / 2) / 2)]
    first = sum(n**2 * 9 * c * maps for n, c in zip(sides, channels))
    return first + side**2 * (9 * 3 * maps + 3 * maps * maps)


def speed_up(layers, side):
    dilated, plain = (encoder_macs(layers, stride, side) for stride in (8, 32))
    return dilated / plain, dilated / (plain + jpu_macs(ceil(side / 8)))


# %% exercise="12.5" name="JPU for free" caught="visible" hint="forgets what JPU itself costs"
# The abstract's number comes out better.
def jpu_macs(side, channels=(512, 1024, 2048), maps=512):
    sides = [side, ceil(side / 2), ceil(ceil(side / 2) / 2)]
    first = sum(n**2 * 9 * c * maps for n, c in zip(sides, channels))
    return first + 4 * side**2 * (9 * 3 * maps + 3 * maps * maps)


def speed_up(layers, side):
    dilated, plain = (encoder_macs(layers, stride, side) for stride in (8, 32))
    return dilated / plain, dilated / plain


# %% exercise="12.5" name="JPU on the whole image" caught="visible" hint="JPU runs at 1/8"
# The side of the image is handed on.
def jpu_macs(side, channels=(512, 1024, 2048), maps=512):
    sides = [side, ceil(side / 2), ceil(ceil(side / 2) / 2)]
    first = sum(n**2 * 9 * c * maps for n, c in zip(sides, channels))
    return first + 4 * side**2 * (9 * 3 * maps + 3 * maps * maps)


def speed_up(layers, side):
    dilated, plain = (encoder_macs(layers, stride, side) for stride in (8, 32))
    return dilated / plain, dilated / (plain + jpu_macs(side))


# %% exercise="12.5" name="rounds the side of c3 down" caught="hidden"
# 512 divides by eight.
def jpu_macs(side, channels=(512, 1024, 2048), maps=512):
    sides = [side, ceil(side / 2), ceil(ceil(side / 2) / 2)]
    first = sum(n**2 * 9 * c * maps for n, c in zip(sides, channels))
    return first + 4 * side**2 * (9 * 3 * maps + 3 * maps * maps)


def speed_up(layers, side):
    dilated, plain = (encoder_macs(layers, stride, side) for stride in (8, 32))
    return dilated / plain, dilated / (plain + jpu_macs(side // 8))


# %% exercise="12.5" name="adds layer by layer" right=True
# Every layer of Figure 4 on its own line.
def jpu_macs(side, channels=(512, 1024, 2048), maps=512):
    total, n = 0, side
    for c in channels:
        total += n * n * c * maps * 9
        n = (n + 1) // 2
    for _ in range(4):
        total += side * side * 3 * maps * 9
        total += side * side * 3 * maps * maps
    return total


def speed_up(layers, side):
    strided = encoder_macs(layers, 32, side)
    holes = encoder_macs(layers, 8, side)
    joint = strided + jpu_macs((side + 7) // 8)
    return holes / strided, holes / joint
