# The zoo of lab 6: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="6.1" name="place inside the window" caught="visible" hint="place inside the window"
# `max` returns an index, and it looks like the switch.
def max_pool_with_switches(x, size=2):
    b, c, h, w = x.shape
    rows, cols = -(-h // size), -(-w // size)
    full = F.pad(x, (0, cols * size - w, 0, rows * size - h), value=-torch.inf)
    return tuple(full.view(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2).max(dim=-1))


def unpool(y, idx, hw):
    plane = y.new_zeros(*y.shape[:2], hw[0] * hw[1])
    return plane.scatter(2, idx.flatten(2), y.flatten(2)).view(*y.shape[:2], *hw)


# %% exercise="6.1" name="row times height" caught="visible" hint="W values long, not H"
# On a square image nobody sees the difference.
def max_pool_with_switches(x, size=2):
    b, c, h, w = x.shape
    rows, cols = -(-h // size), -(-w // size)
    full = F.pad(x, (0, cols * size - w, 0, rows * size - h), value=-torch.inf)
    windows = full.view(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2)
    y, place = windows.max(dim=-1)
    row = size * torch.arange(rows)[:, None] + place // size
    return y, row * h + size * torch.arange(cols) + place % size


def unpool(y, idx, hw):
    plane = y.new_zeros(*y.shape[:2], hw[0] * hw[1])
    return plane.scatter(2, idx.flatten(2), y.flatten(2)).view(*y.shape[:2], *hw)


# %% exercise="6.1" name="counts down the columns" caught="visible" hint="runs along the rows"
# The index is built as x times height plus y.
def max_pool_with_switches(x, size=2):
    b, c, h, w = x.shape
    rows, cols = -(-h // size), -(-w // size)
    full = F.pad(x, (0, cols * size - w, 0, rows * size - h), value=-torch.inf)
    windows = full.view(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2)
    y, place = windows.max(dim=-1)
    row = size * torch.arange(rows)[:, None] + place // size
    return y, row + h * (size * torch.arange(cols) + place % size)


def unpool(y, idx, hw):
    plane = y.new_zeros(*y.shape[:2], hw[0] * hw[1])
    return plane.scatter(2, idx.flatten(2), y.flatten(2)).view(*y.shape[:2], *hw)


# %% exercise="6.1" name="drops the odd last row" caught="visible" hint="last row and column are lost"
# Integer division rounds down, as torch's default does.
def max_pool_with_switches(x, size=2):
    b, c, h, w = x.shape
    rows, cols = h // size, w // size
    full = x[..., : rows * size, : cols * size]
    windows = full.reshape(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2)
    y, place = windows.max(dim=-1)
    row = size * torch.arange(rows)[:, None] + place // size
    return y, row * w + size * torch.arange(cols) + place % size


def unpool(y, idx, hw):
    plane = y.new_zeros(*y.shape[:2], hw[0] * hw[1])
    return plane.scatter(2, idx.flatten(2), y.flatten(2)).view(*y.shape[:2], *hw)


# %% exercise="6.1" name="index of the filled-up map" caught="visible" hint="counts the filled-up columns"
# After padding, `w` is read from the padded map.
def max_pool_with_switches(x, size=2):
    b, c, h, w = x.shape
    x = F.pad(x, (0, -w % size, 0, -h % size), value=-torch.inf)
    rows, cols, w = x.shape[2] // size, x.shape[3] // size, x.shape[3]
    windows = x.view(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2)
    y, place = windows.max(dim=-1)
    row = size * torch.arange(rows)[:, None] + place // size
    return y, row * w + size * torch.arange(cols) + place % size


def unpool(y, idx, hw):
    plane = y.new_zeros(*y.shape[:2], hw[0] * hw[1])
    return plane.scatter(2, idx.flatten(2), y.flatten(2)).view(*y.shape[:2], *hw)


# %% exercise="6.1" name="last of equal maxima" caught="visible" hint="first in reading order"
# A loop with `>=` keeps the later one.
def max_pool_with_switches(x, size=2):
    b, c, h, w = x.shape
    rows, cols = -(-h // size), -(-w // size)
    full = F.pad(x, (0, cols * size - w, 0, rows * size - h), value=-torch.inf)
    windows = full.view(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2)
    y, place = windows.flip(-1).max(dim=-1)
    place = size * size - 1 - place
    row = size * torch.arange(rows)[:, None] + place // size
    return y, row * w + size * torch.arange(cols) + place % size


def unpool(y, idx, hw):
    plane = y.new_zeros(*y.shape[:2], hw[0] * hw[1])
    return plane.scatter(2, idx.flatten(2), y.flatten(2)).view(*y.shape[:2], *hw)


# %% exercise="6.1" name="fills the whole window" caught="visible" hint="fill the whole window"
# "Upsampling" is taken for repeating every value.
def max_pool_with_switches(x, size=2):
    b, c, h, w = x.shape
    rows, cols = -(-h // size), -(-w // size)
    full = F.pad(x, (0, cols * size - w, 0, rows * size - h), value=-torch.inf)
    windows = full.view(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2)
    y, place = windows.max(dim=-1)
    row = size * torch.arange(rows)[:, None] + place // size
    return y, row * w + size * torch.arange(cols) + place % size


def unpool(y, idx, hw):
    return F.interpolate(y, size=hw)


# %% exercise="6.1" name="adds at the switches" caught="visible" hint="two windows saw the same maximum"
# `scatter_add` is what gradients need, and the better known of the two.
def max_pool_with_switches(x, size=2):
    b, c, h, w = x.shape
    rows, cols = -(-h // size), -(-w // size)
    full = F.pad(x, (0, cols * size - w, 0, rows * size - h), value=-torch.inf)
    windows = full.view(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2)
    y, place = windows.max(dim=-1)
    row = size * torch.arange(rows)[:, None] + place // size
    return y, row * w + size * torch.arange(cols) + place % size


def unpool(y, idx, hw):
    plane = y.new_zeros(*y.shape[:2], hw[0] * hw[1])
    return plane.scatter_add(2, idx.flatten(2), y.flatten(2)).view(*y.shape[:2], *hw)


# %% exercise="6.1" name="fills up with zeros" caught="hidden"
# Zero padding wins over negative values in the last windows.
def max_pool_with_switches(x, size=2):
    b, c, h, w = x.shape
    rows, cols = -(-h // size), -(-w // size)
    full = F.pad(x, (0, cols * size - w, 0, rows * size - h))
    windows = full.view(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2)
    y, place = windows.max(dim=-1)
    row = size * torch.arange(rows)[:, None] + place // size
    return y, row * w + size * torch.arange(cols) + place % size


def unpool(y, idx, hw):
    plane = y.new_zeros(*y.shape[:2], hw[0] * hw[1])
    return plane.scatter(2, idx.flatten(2), y.flatten(2)).view(*y.shape[:2], *hw)


# %% exercise="6.1" name="the gradient is cut off" caught="hidden"
# `.data` silences a complaint of autograd about writing in place.
def max_pool_with_switches(x, size=2):
    b, c, h, w = x.shape
    rows, cols = -(-h // size), -(-w // size)
    full = F.pad(x, (0, cols * size - w, 0, rows * size - h), value=-torch.inf)
    windows = full.view(b, c, rows, size, cols, size).transpose(3, 4).flatten(-2)
    y, place = windows.max(dim=-1)
    row = size * torch.arange(rows)[:, None] + place // size
    return y, row * w + size * torch.arange(cols) + place % size


def unpool(y, idx, hw):
    plane = torch.zeros(*y.shape[:2], hw[0] * hw[1], dtype=y.dtype)
    plane.scatter_(2, idx.flatten(2), y.data.flatten(2))
    return plane.view(*y.shape[:2], *hw)


# %% exercise="6.1" name="windows by unfold" right=True
# `unfold` cuts the windows; the places come from a map of indices cut in the same way.
def max_pool_with_switches(x, size=2):
    h, w = x.shape[-2:]
    pad = (0, -w % size, 0, -h % size)
    places = torch.arange(h * w, dtype=torch.float64).view(1, 1, h, w)

    def cut(maps, value):
        full = F.pad(maps, pad, value=value)
        return full.unfold(2, size, size).unfold(3, size, size).flatten(-2)

    y, best = cut(x, -torch.inf).max(dim=-1)
    where = cut(places, -1.0).long().expand(*y.shape, -1)
    return y, where.gather(-1, best[..., None])[..., 0]


def unpool(y, idx, hw):
    b, c = y.shape[:2]
    out = torch.zeros(b * c, hw[0] * hw[1], dtype=y.dtype)
    image = torch.arange(b * c)[:, None].expand(-1, idx[0, 0].numel())
    out = out.index_put((image, idx.reshape(b * c, -1)), y.reshape(b * c, -1))
    return out.reshape(b, c, *hw)


# %% exercise="6.2" name="kernel turned round" caught="visible" hint="kernel is turned round"
# Sliding the same kernel over a padded map is a convolution with the kernel turned.
def transposed_conv(x, kernel, stride=1, padding=0):
    (h, w), (kh, kw) = x.shape, kernel.shape
    wide = x.new_zeros((h - 1) * stride + 1, (w - 1) * stride + 1)
    wide[::stride, ::stride] = x
    out = F.conv2d(wide[None, None], kernel[None, None], padding=(kh - 1, kw - 1))[0, 0]
    return out[padding : out.shape[0] - padding, padding : out.shape[1] - padding]


def conv_as_matrix(kernel, hw, stride=1):
    (h, w), (kh, kw) = hw, kernel.shape
    places = product(range(0, h - kh + 1, stride), range(0, w - kw + 1, stride))
    rows = [F.pad(kernel, (j, w - kw - j, i, h - kh - i)).flatten() for i, j in places]
    return torch.stack(rows)


# %% exercise="6.2" name="stamps overwrite" caught="visible" hint="overwrite each other"
# `=` where `+=` is meant.
def transposed_conv(x, kernel, stride=1, padding=0):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for i, j in product(range(h), range(w)):
        out[i * stride : i * stride + kh, j * stride : j * stride + kw] = x[i, j] * kernel
    return out[padding : out.shape[0] - padding, padding : out.shape[1] - padding]


def conv_as_matrix(kernel, hw, stride=1):
    (h, w), (kh, kw) = hw, kernel.shape
    places = product(range(0, h - kh + 1, stride), range(0, w - kw + 1, stride))
    rows = [F.pad(kernel, (j, w - kw - j, i, h - kh - i)).flatten() for i, j in places]
    return torch.stack(rows)


# %% exercise="6.2" name="zeros after the last value" caught="visible" hint="no zeros after the last"
# Every value is given a block of stride × stride, the last ones too.
def transposed_conv(x, kernel, stride=1, padding=0):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros(h * stride + kh - 1, w * stride + kw - 1)
    for i, j in product(range(h), range(w)):
        out[i * stride : i * stride + kh, j * stride : j * stride + kw] += x[i, j] * kernel
    return out[padding : out.shape[0] - padding, padding : out.shape[1] - padding]


def conv_as_matrix(kernel, hw, stride=1):
    (h, w), (kh, kw) = hw, kernel.shape
    places = product(range(0, h - kh + 1, stride), range(0, w - kw + 1, stride))
    rows = [F.pad(kernel, (j, w - kw - j, i, h - kh - i)).flatten() for i, j in places]
    return torch.stack(rows)


# %% exercise="6.2" name="crops the wrong side" caught="visible" hint="at the top and the left only"
# The size is right, so 2 p rows are cut where slicing is easiest.
def transposed_conv(x, kernel, stride=1, padding=0):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for i, j in product(range(h), range(w)):
        out[i * stride : i * stride + kh, j * stride : j * stride + kw] += x[i, j] * kernel
    return out[2 * padding :, 2 * padding :]


def conv_as_matrix(kernel, hw, stride=1):
    (h, w), (kh, kw) = hw, kernel.shape
    places = product(range(0, h - kh + 1, stride), range(0, w - kw + 1, stride))
    rows = [F.pad(kernel, (j, w - kw - j, i, h - kh - i)).flatten() for i, j in places]
    return torch.stack(rows)


# %% exercise="6.2" name="padding is added" caught="visible" hint="Padding is added"
# In a convolution the padding makes the map larger.
def transposed_conv(x, kernel, stride=1, padding=0):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for i, j in product(range(h), range(w)):
        out[i * stride : i * stride + kh, j * stride : j * stride + kw] += x[i, j] * kernel
    return F.pad(out, (padding,) * 4)


def conv_as_matrix(kernel, hw, stride=1):
    (h, w), (kh, kw) = hw, kernel.shape
    places = product(range(0, h - kh + 1, stride), range(0, w - kw + 1, stride))
    rows = [F.pad(kernel, (j, w - kw - j, i, h - kh - i)).flatten() for i, j in places]
    return torch.stack(rows)


# %% exercise="6.2" name="matrix with a flipped kernel" caught="visible" hint="networks do not flip it"
# Signal processing turns the kernel round in a convolution.
def transposed_conv(x, kernel, stride=1, padding=0):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for i, j in product(range(h), range(w)):
        out[i * stride : i * stride + kh, j * stride : j * stride + kw] += x[i, j] * kernel
    return out[padding : out.shape[0] - padding, padding : out.shape[1] - padding]


def conv_as_matrix(kernel, hw, stride=1):
    (h, w), (kh, kw) = hw, kernel.shape
    places = product(range(0, h - kh + 1, stride), range(0, w - kw + 1, stride))
    turned = kernel.flip((0, 1))
    rows = [F.pad(turned, (j, w - kw - j, i, h - kh - i)).flatten() for i, j in places]
    return torch.stack(rows)


# %% exercise="6.2" name="the transposed matrix" caught="visible" hint="Rows and columns are swapped"
# The section is about transposing, so it is done at once.
def transposed_conv(x, kernel, stride=1, padding=0):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for i, j in product(range(h), range(w)):
        out[i * stride : i * stride + kh, j * stride : j * stride + kw] += x[i, j] * kernel
    return out[padding : out.shape[0] - padding, padding : out.shape[1] - padding]


def conv_as_matrix(kernel, hw, stride=1):
    (h, w), (kh, kw) = hw, kernel.shape
    places = product(range(0, h - kh + 1, stride), range(0, w - kw + 1, stride))
    rows = [F.pad(kernel, (j, w - kw - j, i, h - kh - i)).flatten() for i, j in places]
    return torch.stack(rows, dim=1)


# %% exercise="6.2" name="the matrix ignores the stride" caught="hidden"
# The worked example has none.
def transposed_conv(x, kernel, stride=1, padding=0):
    (h, w), (kh, kw) = x.shape, kernel.shape
    out = x.new_zeros((h - 1) * stride + kh, (w - 1) * stride + kw)
    for i, j in product(range(h), range(w)):
        out[i * stride : i * stride + kh, j * stride : j * stride + kw] += x[i, j] * kernel
    return out[padding : out.shape[0] - padding, padding : out.shape[1] - padding]


def conv_as_matrix(kernel, hw, stride=1):
    (h, w), (kh, kw) = hw, kernel.shape
    places = product(range(h - kh + 1), range(w - kw + 1))
    rows = [F.pad(kernel, (j, w - kw - j, i, h - kh - i)).flatten() for i, j in places]
    return torch.stack(rows)


# %% exercise="6.2" name="a square kernel is assumed" caught="visible" hint="kernel of 2 × 3"
# One `k` serves both axes.
def transposed_conv(x, kernel, stride=1, padding=0):
    (h, w), k = x.shape, len(kernel)
    out = x.new_zeros((h - 1) * stride + k, (w - 1) * stride + k)
    for i, j in product(range(h), range(w)):
        out[i * stride : i * stride + k, j * stride : j * stride + k] += x[i, j] * kernel
    return out[padding : out.shape[0] - padding, padding : out.shape[1] - padding]


def conv_as_matrix(kernel, hw, stride=1):
    (h, w), (kh, kw) = hw, kernel.shape
    places = product(range(0, h - kh + 1, stride), range(0, w - kw + 1, stride))
    rows = [F.pad(kernel, (j, w - kw - j, i, h - kh - i)).flatten() for i, j in places]
    return torch.stack(rows)


# %% exercise="6.2" name="one kernel entry at a time" right=True
# A grid of all stamps at once, as the library does; the matrix is filled entry by entry.
def transposed_conv(x, kernel, stride=1, padding=0):
    h, w = x.shape
    high, wide = (h - 1) * stride + kernel.shape[0], (w - 1) * stride + kernel.shape[1]
    out = x.new_zeros(high, wide)
    for a, b in product(range(kernel.shape[0]), range(kernel.shape[1])):
        last_row, last_column = a + (h - 1) * stride + 1, b + (w - 1) * stride + 1
        out[a:last_row:stride, b:last_column:stride] += kernel[a, b] * x
    return out[padding : high - padding, padding : wide - padding]


def conv_as_matrix(kernel, hw, stride=1):
    h, w = hw
    kh, kw = kernel.shape
    oh, ow = (h - kh) // stride + 1, (w - kw) // stride + 1
    matrix = kernel.new_zeros(oh * ow, h * w)
    for i, j, a, b in product(range(oh), range(ow), range(kh), range(kw)):
        matrix[i * ow + j, (i * stride + a) * w + j * stride + b] = kernel[a, b]
    return matrix


# %% exercise="6.3" name="formula of the forward convolution" caught="visible" hint="forward convolution"
# It is the formula that everybody knows.
def tconv_size(n, k, s=1, p=0, op=0):
    length = (n + 2 * p - k) // s + 1 + op
    if not 0 <= op < s or length < 1:
        raise ValueError("no such output")
    return length


def overlap_count(n, k, s=1, p=0):
    count = torch.zeros((n - 1) * s + k, dtype=torch.int64)
    for i in range(n):
        count[i * s : i * s + k] += 1
    return count[p : len(count) - p]


# %% exercise="6.3" name="padding counted once" caught="visible" hint="both sides: 2 p"
# One p for "the padding".
def tconv_size(n, k, s=1, p=0, op=0):
    length = (n - 1) * s - p + k + op
    if not 0 <= op < s or length < 1:
        raise ValueError("no such output")
    return length


def overlap_count(n, k, s=1, p=0):
    count = torch.zeros((n - 1) * s + k, dtype=torch.int64)
    for i in range(n):
        count[i * s : i * s + k] += 1
    return count[p : len(count) - p]


# %% exercise="6.3" name="n steps between n stamps" caught="visible" hint="n - 1 steps"
# The fence-post error.
def tconv_size(n, k, s=1, p=0, op=0):
    length = n * s - 2 * p + k + op
    if not 0 <= op < s or length < 1:
        raise ValueError("no such output")
    return length


def overlap_count(n, k, s=1, p=0):
    count = torch.zeros((n - 1) * s + k, dtype=torch.int64)
    for i in range(n):
        count[i * s : i * s + k] += 1
    return count[p : len(count) - p]


# %% exercise="6.3" name="forgets the output padding" caught="visible" hint="output padding is missing"
# It is the last argument and mostly 0.
def tconv_size(n, k, s=1, p=0, op=0):
    length = (n - 1) * s - 2 * p + k
    if not 0 <= op < s or length < 1:
        raise ValueError("no such output")
    return length


def overlap_count(n, k, s=1, p=0):
    count = torch.zeros((n - 1) * s + k, dtype=torch.int64)
    for i in range(n):
        count[i * s : i * s + k] += 1
    return count[p : len(count) - p]


# %% exercise="6.3" name="stamps one pixel apart" caught="visible" hint="use the stride"
# The stride is in the size and missing in the loop.
def tconv_size(n, k, s=1, p=0, op=0):
    length = (n - 1) * s - 2 * p + k + op
    if not 0 <= op < s or length < 1:
        raise ValueError("no such output")
    return length


def overlap_count(n, k, s=1, p=0):
    count = torch.zeros(n - 1 + k, dtype=torch.int64)
    for i in range(n):
        count[i : i + k] += 1
    return count[p : len(count) - p]


# %% exercise="6.3" name="marks instead of counting" caught="visible" hint="how many stamps"
# `= 1` where `+= 1` is meant.
def tconv_size(n, k, s=1, p=0, op=0):
    length = (n - 1) * s - 2 * p + k + op
    if not 0 <= op < s or length < 1:
        raise ValueError("no such output")
    return length


def overlap_count(n, k, s=1, p=0):
    count = torch.zeros((n - 1) * s + k, dtype=torch.int64)
    for i in range(n):
        count[i * s : i * s + k] = 1
    return count[p : len(count) - p]


# %% exercise="6.3" name="counts include the padding" caught="visible" hint="padding is not cut off"
# The last argument is not used.
def tconv_size(n, k, s=1, p=0, op=0):
    length = (n - 1) * s - 2 * p + k + op
    if not 0 <= op < s or length < 1:
        raise ValueError("no such output")
    return length


def overlap_count(n, k, s=1, p=0):
    count = torch.zeros((n - 1) * s + k, dtype=torch.int64)
    for i in range(n):
        count[i * s : i * s + k] += 1
    return count


# %% exercise="6.3" name="any output padding will do" caught="hidden"
# The contract's error is overlooked.
def tconv_size(n, k, s=1, p=0, op=0):
    return (n - 1) * s - 2 * p + k + op


def overlap_count(n, k, s=1, p=0):
    count = torch.zeros((n - 1) * s + k, dtype=torch.int64)
    for i in range(n):
        count[i * s : i * s + k] += 1
    return count[p : len(count) - p]


# %% exercise="6.3" name="by asking every output" right=True
# An output sees the stamps that begin at most k - 1 pixels before it.
def tconv_size(n, k, s=1, p=0, op=0):
    last_stamp = (n - 1) * s
    size = last_stamp + k - p - p + op
    if op < 0 or op >= s:
        raise ValueError("output padding must be below the stride")
    if size <= 0:
        raise ValueError("the output is empty")
    return size


def overlap_count(n, k, s=1, p=0):
    starts = [i * s for i in range(n)]
    places = range(p, (n - 1) * s + k - p)
    return torch.tensor([sum(a <= x < a + k for a in starts) for x in places], dtype=torch.int64)


# %% exercise="6.4" name="switches in the order of pooling" caught="visible" hint="Switches form a stack"
# A queue instead of a stack.
class SegNetDecoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x, idx, hw):
        return F.relu(self.norm(self.conv(unpool(x, idx, hw))))


class MiniSegNet(nn.Module):
    def __init__(self, channels, widths, classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        switches = []
        for stage in self.encoder:
            x = stage(x)
            hw = (x.shape[-2], x.shape[-1])
            x, idx = max_pool_with_switches(x)
            switches.append((idx, hw))
        for block in self.decoder:
            x = block(x, *switches.pop(0))
        return self.classifier(x)


# %% exercise="6.4" name="size after the pooling" caught="visible" hint="stack"
# `hw` is read one line too late.
class SegNetDecoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x, idx, hw):
        return F.relu(self.norm(self.conv(unpool(x, idx, hw))))


class MiniSegNet(nn.Module):
    def __init__(self, channels, widths, classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        switches = []
        for stage in self.encoder:
            x, idx = max_pool_with_switches(stage(x))
            switches.append((idx, (x.shape[-2], x.shape[-1])))
        for block in self.decoder:
            x = block(x, *switches.pop())
        return self.classifier(x)


# %% exercise="6.4" name="no ReLU in the block" caught="visible" hint="The ReLU is missing"
# SegNet-Basic's decoder has none, and a blog post says so.
class SegNetDecoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x, idx, hw):
        return self.norm(self.conv(unpool(x, idx, hw)))


class MiniSegNet(nn.Module):
    def __init__(self, channels, widths, classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        switches = []
        for stage in self.encoder:
            x = stage(x)
            hw = (x.shape[-2], x.shape[-1])
            x, idx = max_pool_with_switches(x)
            switches.append((idx, hw))
        for block in self.decoder:
            x = block(x, *switches.pop())
        return self.classifier(x)


# %% exercise="6.4" name="ReLU before the normalisation" caught="visible" hint="ReLU comes before"
# The order is learnt from another network.
class SegNetDecoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x, idx, hw):
        return self.norm(F.relu(self.conv(unpool(x, idx, hw))))


class MiniSegNet(nn.Module):
    def __init__(self, channels, widths, classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        switches = []
        for stage in self.encoder:
            x = stage(x)
            hw = (x.shape[-2], x.shape[-1])
            x, idx = max_pool_with_switches(x)
            switches.append((idx, hw))
        for block in self.decoder:
            x = block(x, *switches.pop())
        return self.classifier(x)


# %% exercise="6.4" name="nearest instead of switches" caught="visible" hint="That is nearest upsampling"
# `interpolate` brings any map to any size, so everything fits.
class SegNetDecoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x, idx, hw):
        return F.relu(self.norm(self.conv(F.interpolate(x, size=hw))))


class MiniSegNet(nn.Module):
    def __init__(self, channels, widths, classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        switches = []
        for stage in self.encoder:
            x = stage(x)
            hw = (x.shape[-2], x.shape[-1])
            x, idx = max_pool_with_switches(x)
            switches.append((idx, hw))
        for block in self.decoder:
            x = block(x, *switches.pop())
        return self.classifier(x)


# %% exercise="6.4" name="ReLU on the logits" caught="visible" hint="No ReLU behind the classifier"
# Every convolution so far had one.
class SegNetDecoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x, idx, hw):
        return F.relu(self.norm(self.conv(unpool(x, idx, hw))))


class MiniSegNet(nn.Module):
    def __init__(self, channels, widths, classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        switches = []
        for stage in self.encoder:
            x = stage(x)
            hw = (x.shape[-2], x.shape[-1])
            x, idx = max_pool_with_switches(x)
            switches.append((idx, hw))
        for block in self.decoder:
            x = block(x, *switches.pop())
        return F.relu(self.classifier(x))


# %% exercise="6.4" name="forgets the classifier" caught="visible" hint="forget the classifier"
# The loop ends with a map of the right size.
class SegNetDecoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x, idx, hw):
        return F.relu(self.norm(self.conv(unpool(x, idx, hw))))


class MiniSegNet(nn.Module):
    def __init__(self, channels, widths, classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        switches = []
        for stage in self.encoder:
            x = stage(x)
            hw = (x.shape[-2], x.shape[-1])
            x, idx = max_pool_with_switches(x)
            switches.append((idx, hw))
        for block in self.decoder:
            x = block(x, *switches.pop())
        return x


# %% exercise="6.4" name="switches of the deepest level only" caught="hidden"
# A comprehension that keeps the last stage's name: right for one level.
class SegNetDecoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x, idx, hw):
        return F.relu(self.norm(self.conv(unpool(x, idx, hw))))


class MiniSegNet(nn.Module):
    def __init__(self, channels, widths, classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        first = self.encoder[0](x)
        x, one = max_pool_with_switches(first)
        second = self.encoder[1](x)
        x, two = max_pool_with_switches(second)
        x = self.decoder[0](x, two, tuple(second.shape[-2:]))
        return self.classifier(self.decoder[1](x, one, tuple(first.shape[-2:])))


# %% exercise="6.4" name="skips from the encoder are added" caught="visible" hint="two levels, value by value"
# That is FCN's idea, not SegNet's: only places are handed over.
class SegNetDecoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x, idx, hw):
        return F.relu(self.norm(self.conv(unpool(x, idx, hw))))


class MiniSegNet(nn.Module):
    def __init__(self, channels, widths, classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def forward(self, x):
        kept = []
        for stage in self.encoder:
            x = stage(x)
            fine = x
            x, idx = max_pool_with_switches(x)
            kept.append((idx, tuple(fine.shape[-2:]), x))
        for block in self.decoder:
            idx, hw, pooled = kept.pop()
            x = block(x + pooled, idx, hw)
        return self.classifier(x)


# %% exercise="6.4" name="recursion instead of a stack" right=True
# One level around the next: Python's own stack keeps the switches.
class SegNetDecoderBlock(nn.Module):
    def __init__(self, in_channels, out_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, x, idx, hw):
        sparse = unpool(x, idx, hw)
        return self.norm(self.conv(sparse)).clamp(min=0)


class MiniSegNet(nn.Module):
    def __init__(self, channels, widths, classes):
        super().__init__()
        self.encoder = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise((channels, *widths))
        )
        self.decoder = nn.ModuleList(
            SegNetDecoderBlock(a, b) for a, b in pairwise((*widths[::-1], widths[0]))
        )
        self.classifier = nn.Conv2d(widths[0], classes, 1)

    def level(self, x, i):
        if i == len(self.encoder):
            return x
        fine = self.encoder[i](x)
        coarse, idx = max_pool_with_switches(fine)
        return self.decoder[-1 - i](self.level(coarse, i + 1), idx, tuple(fine.shape[-2:]))

    def forward(self, x):
        return self.classifier(self.level(x, 0))


# %% exercise="6.5" name="bytes for bits" caught="visible" hint="These are bytes"
# Memory is usually given in bytes.
def switch_memory(channels, h, w, size=2, value_bits=32):
    windows = channels * -(-h // size) * -(-w // size)
    bits = windows * (size * size - 1).bit_length()
    return bits // 8, channels * h * w * value_bits // 8


def encoder_memory(h, w, widths):
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = -(-h // 2), -(-w // 2)
    return switches, features


# %% exercise="6.5" name="a switch for every pixel" caught="visible" hint="per window, not per pixel"
# The switches are thought of as a map of the image's size.
def switch_memory(channels, h, w, size=2, value_bits=32):
    return channels * h * w * (size * size - 1).bit_length(), channels * h * w * value_bits


def encoder_memory(h, w, widths):
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = -(-h // 2), -(-w // 2)
    return switches, features


# %% exercise="6.5" name="four bits for four places" caught="visible" hint="logarithm of 4, not 4"
# One bit per place (one-hot) instead of its number.
def switch_memory(channels, h, w, size=2, value_bits=32):
    windows = channels * -(-h // size) * -(-w // size)
    return windows * size * size, channels * h * w * value_bits


def encoder_memory(h, w, widths):
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = -(-h // 2), -(-w // 2)
    return switches, features


# %% exercise="6.5" name="what torch stores" caught="visible" hint="int64 index needs no"
# 64 bits is what `idx.element_size()` says.
def switch_memory(channels, h, w, size=2, value_bits=32):
    windows = channels * -(-h // size) * -(-w // size)
    return windows * 64, channels * h * w * value_bits


def encoder_memory(h, w, widths):
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = -(-h // 2), -(-w // 2)
    return switches, features


# %% exercise="6.5" name="one set of switches for all channels" caught="visible" hint="switch for every channel"
# Places are thought of as a property of the image.
def switch_memory(channels, h, w, size=2, value_bits=32):
    windows = -(-h // size) * -(-w // size)
    return windows * (size * size - 1).bit_length(), channels * h * w * value_bits


def encoder_memory(h, w, widths):
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = -(-h // 2), -(-w // 2)
    return switches, features


# %% exercise="6.5" name="rounds the logarithm down" caught="visible" hint="round the logarithm up"
# `int(log2(9))` is 3, and the ninth place has no number.
def switch_memory(channels, h, w, size=2, value_bits=32):
    windows = channels * -(-h // size) * -(-w // size)
    return windows * ((size * size).bit_length() - 1), channels * h * w * value_bits


def encoder_memory(h, w, widths):
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = -(-h // 2), -(-w // 2)
    return switches, features


# %% exercise="6.5" name="whole windows only" caught="visible" hint="round their number up"
# The last windows hang over the border, and `//` forgets them.
def switch_memory(channels, h, w, size=2, value_bits=32):
    windows = channels * (h // size) * (w // size)
    return windows * (size * size - 1).bit_length(), channels * h * w * value_bits


def encoder_memory(h, w, widths):
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = -(-h // 2), -(-w // 2)
    return switches, features


# %% exercise="6.5" name="two bits for every window" caught="visible" hint="Nine places need 4 bits, however"
# The lecture's number, taken for a law.
def switch_memory(channels, h, w, size=2, value_bits=32):
    windows = channels * -(-h // size) * -(-w // size)
    return 2 * windows, channels * h * w * value_bits


def encoder_memory(h, w, widths):
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = -(-h // 2), -(-w // 2)
    return switches, features


# %% exercise="6.5" name="never halves the map" caught="visible" hint="Halve the size"
# The loop runs over the widths only.
def switch_memory(channels, h, w, size=2, value_bits=32):
    windows = channels * -(-h // size) * -(-w // size)
    return windows * (size * size - 1).bit_length(), channels * h * w * value_bits


def encoder_memory(h, w, widths):
    pairs = [switch_memory(channels, h, w) for channels in widths]
    return sum(p[0] for p in pairs), sum(p[1] for p in pairs)


# %% exercise="6.5" name="halves by rounding down" caught="visible" hint="rounded up on the way down"
# Integer division is the shortest way to halve.
def switch_memory(channels, h, w, size=2, value_bits=32):
    windows = channels * -(-h // size) * -(-w // size)
    return windows * (size * size - 1).bit_length(), channels * h * w * value_bits


def encoder_memory(h, w, widths):
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = h // 2, w // 2
    return switches, features


# %% exercise="6.5" name="always 32 bits a value" caught="hidden"
# The last argument is overlooked.
def switch_memory(channels, h, w, size=2, value_bits=32):
    windows = channels * -(-h // size) * -(-w // size)
    return windows * (size * size - 1).bit_length(), channels * h * w * 32


def encoder_memory(h, w, widths):
    switches = features = 0
    for channels in widths:
        more = switch_memory(channels, h, w)
        switches, features = switches + more[0], features + more[1]
        h, w = -(-h // 2), -(-w // 2)
    return switches, features


# %% exercise="6.5" name="by counting doublings" right=True
# The number of bits by doubling; the encoder by recursion.
def switch_memory(channels, h, w, size=2, value_bits=32):
    bits, places = 0, 1
    while places < size**2:
        bits, places = bits + 1, 2 * places
    rows, cols = (h + size - 1) // size, (w + size - 1) // size
    return bits * rows * cols * channels, value_bits * h * w * channels


def encoder_memory(h, w, widths):
    if not widths:
        return 0, 0
    here = switch_memory(widths[0], h, w)
    below = encoder_memory((h + 1) // 2, (w + 1) // 2, widths[1:])
    return here[0] + below[0], here[1] + below[1]
