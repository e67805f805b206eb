# The zoo of lab 10: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="10.1" name="rate holes instead of rate less one" caught="visible" hint="one hole between"
# Rate 2 sounds like two zeros between weights.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], (kh - 1) * (rate + 1) + 1, (kw - 1) * (rate + 1) + 1)
    out[..., :: rate + 1, :: rate + 1] = weight
    return out


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    top, left = rate * (kh // 2), rate * (kw // 2)
    padded = F.pad(x, (left, left, top, top))
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i * rate : i * rate + h, j * rate : j * rate + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., i, j])
    return out


# %% exercise="10.1" name="a hole behind the last weight" caught="visible" hint="ends with a weight"
# k times r is the size that comes to mind first.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], kh * rate, kw * rate)
    out[..., ::rate, ::rate] = weight
    return out


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    top, left = rate * (kh // 2), rate * (kw // 2)
    padded = F.pad(x, (left, left, top, top))
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i * rate : i * rate + h, j * rate : j * rate + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., i, j])
    return out


# %% exercise="10.1" name="repeats the weights" caught="visible" hint="Holes are zeros"
# Enlarging an array usually means repeating it.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    return weight.repeat_interleave(rate, -2).repeat_interleave(rate, -1)


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    top, left = rate * (kh // 2), rate * (kw // 2)
    padded = F.pad(x, (left, left, top, top))
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i * rate : i * rate + h, j * rate : j * rate + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., i, j])
    return out


# %% exercise="10.1" name="holes in one direction" caught="visible" hint="columns have holes"
# The second axis is forgotten.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], kh, (kw - 1) * rate + 1)
    out[..., ::rate] = weight
    return out


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    top, left = rate * (kh // 2), rate * (kw // 2)
    padded = F.pad(x, (left, left, top, top))
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i * rate : i * rate + h, j * rate : j * rate + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., i, j])
    return out


# %% exercise="10.1" name="padding without the rate" caught="visible" hint="pad by rate"
# Padding 1 is what every 3 x 3 convolution takes.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], (kh - 1) * rate + 1, (kw - 1) * rate + 1)
    out[..., ::rate, ::rate] = weight
    return out


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    top, left = kh // 2, kw // 2
    padded = F.pad(x, (left, left, top, top))
    h, w = padded.shape[-2] - (kh - 1) * rate, padded.shape[-1] - (kw - 1) * rate
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i * rate : i * rate + h, j * rate : j * rate + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., i, j])
    return out


# %% exercise="10.1" name="no padding" caught="visible" hint="pad it first"
# The valid form, as in Lab 8.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], (kh - 1) * rate + 1, (kw - 1) * rate + 1)
    out[..., ::rate, ::rate] = weight
    return out


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    padded = x
    h, w = h - (kh - 1) * rate, w - (kw - 1) * rate
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i * rate : i * rate + h, j * rate : j * rate + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., i, j])
    return out


# %% exercise="10.1" name="flips the kernel" caught="visible" hint="turned around"
# The convolution of mathematics turns its kernel around.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], (kh - 1) * rate + 1, (kw - 1) * rate + 1)
    out[..., ::rate, ::rate] = weight
    return out


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    top, left = rate * (kh // 2), rate * (kw // 2)
    padded = F.pad(x, (left, left, top, top))
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i * rate : i * rate + h, j * rate : j * rate + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., kh - 1 - i, kw - 1 - j])
    return out


# %% exercise="10.1" name="exchanges rows and columns of the kernel" caught="visible" hint="Rows and columns of the kernel"
# i and j are exchanged in the weight; a symmetric kernel would hide it.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], (kh - 1) * rate + 1, (kw - 1) * rate + 1)
    out[..., ::rate, ::rate] = weight
    return out


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    top, left = rate * (kh // 2), rate * (kw // 2)
    padded = F.pad(x, (left, left, top, top))
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i * rate : i * rate + h, j * rate : j * rate + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., j, i])
    return out


# %% exercise="10.1" name="the rate is ignored" caught="visible" hint="the rate does nothing"
# The slices move by one.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], (kh - 1) * rate + 1, (kw - 1) * rate + 1)
    out[..., ::rate, ::rate] = weight
    return out


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    top, left = kh // 2, kw // 2
    padded = F.pad(x, (left, left, top, top))
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i : i + h, j : j + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., i, j])
    return out


# %% exercise="10.1" name="rolls the image" caught="visible" hint="does not wrap"
# torch.roll shifts without slicing, and wraps.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], (kh - 1) * rate + 1, (kw - 1) * rate + 1)
    out[..., ::rate, ::rate] = weight
    return out


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    padded = x
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded.roll((-(i - kh // 2) * rate, -(j - kw // 2) * rate), (-2, -1))
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., i, j])
    return out


# %% exercise="10.1" name="one margin for both axes" caught="hidden"
# A square kernel does not tell its two sides apart.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], (kh - 1) * rate + 1, (kw - 1) * rate + 1)
    out[..., ::rate, ::rate] = weight
    return out


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    margin = rate * (kh // 2)
    padded = F.pad(x, (margin, margin, margin, margin))
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i * rate : i * rate + h, j * rate : j * rate + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., i, j])
    return out


# %% exercise="10.1" name="accepts rate 0" caught="hidden"
# Nothing looks at the rate.
def atrous_kernel(weight, rate):
    kh, kw = weight.shape[-2:]
    out = weight.new_zeros(*weight.shape[:-2], (kh - 1) * rate + 1, (kw - 1) * rate + 1)
    out[..., ::rate, ::rate] = weight
    return out


def atrous_conv(x, weight, rate=1):
    (kh, kw), (h, w) = weight.shape[-2:], x.shape[-2:]
    top, left = rate * (kh // 2), rate * (kw // 2)
    padded = F.pad(x, (left, left, top, top))
    out = 0
    for i in range(kh):
        for j in range(kw):
            taps = padded[..., i * rate : i * rate + h, j * rate : j * rate + w]
            out = out + torch.einsum("bchw,kc->bkhw", taps, weight[..., i, j])
    return out


# %% exercise="10.1" name="collects windows with unfold of tensors" right=True
# Views of every window, every rate-th place, one einsum.
def atrous_kernel(weight, rate):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    spread = torch.zeros(*weight.shape, rate, rate, dtype=weight.dtype)
    spread[..., 0, 0] = weight
    spread = spread.transpose(-3, -2).reshape(*weight.shape[:-2], kh * rate, kw * rate)
    return spread[..., : kh * rate - rate + 1, : kw * rate - rate + 1]


def atrous_conv(x, weight, rate=1):
    if rate < 1:
        raise ValueError("the rate must be at least 1")
    kh, kw = weight.shape[-2:]
    a, b = rate * (kh // 2), rate * (kw // 2)
    padded = F.pad(x, (b, b, a, a))
    windows = padded.unfold(2, 2 * a + 1, 1).unfold(3, 2 * b + 1, 1)[..., ::rate, ::rate]
    return torch.einsum("bchwij,kcij->bkhw", windows, weight)


# %% exercise="10.2" name="updates the step first" caught="visible" hint="update the step last"
# The two lines stand in the other order.
def receptive_field(layers):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        if min(kernel, stride, rate) < 1:
            raise ValueError("numbers below 1")
        step *= stride
        field += (kernel - 1) * rate * step
    return field, step


# %% exercise="10.2" name="counts samples instead of gaps" caught="visible" hint="count kernel - 1"
# A kernel of three seems to add three.
def receptive_field(layers):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        if min(kernel, stride, rate) < 1:
            raise ValueError("numbers below 1")
        field += kernel * rate * step
        step *= stride
    return field, step


# %% exercise="10.2" name="forgets the step" caught="visible" hint="grow by the step"
# The rule for stride 1 is taken for the rule.
def receptive_field(layers):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        if min(kernel, stride, rate) < 1:
            raise ValueError("numbers below 1")
        field += (kernel - 1) * rate
        step *= stride
    return field, step


# %% exercise="10.2" name="adds the strides" caught="visible" hint="Strides multiply"
# Fields add, so steps seem to add too.
def receptive_field(layers):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        if min(kernel, stride, rate) < 1:
            raise ValueError("numbers below 1")
        field += (kernel - 1) * rate * step
        step += stride - 1
    return field, step


# %% exercise="10.2" name="ignores the rate" caught="visible" hint="rate is ignored"
# The field of an ordinary convolution.
def receptive_field(layers):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        if min(kernel, stride, rate) < 1:
            raise ValueError("numbers below 1")
        field += (kernel - 1) * step
        step *= stride
    return field, step


# %% exercise="10.2" name="adds the rate" caught="visible" hint="yours adds it"
# The rate is taken as extra pixels.
def receptive_field(layers):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        if min(kernel, stride, rate) < 1:
            raise ValueError("numbers below 1")
        field += (kernel - 1 + rate - 1) * step
        step *= stride
    return field, step


# %% exercise="10.2" name="the rate coarsens the step" caught="visible" hint="only strides do"
# Rates are treated like strides.
def receptive_field(layers):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        if min(kernel, stride, rate) < 1:
            raise ValueError("numbers below 1")
        field += (kernel - 1) * rate * step
        step *= stride * rate
    return field, step


# %% exercise="10.2" name="step before field" caught="visible" hint="exchange them"
# The pair is returned in the other order.
def receptive_field(layers):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        if min(kernel, stride, rate) < 1:
            raise ValueError("numbers below 1")
        field += (kernel - 1) * rate * step
        step *= stride
    return step, field


# %% exercise="10.2" name="accepts anything" caught="hidden"
# Nothing looks at the numbers.
def receptive_field(layers):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        field += (kernel - 1) * rate * step
        step *= stride
    return field, step


# %% exercise="10.2" name="the rate multiplies the kernel" caught="visible" hint="not the kernel"
# k times r for the size of a kernel with holes.
def receptive_field(layers):
    field, step = 1, 1
    for kernel, stride, rate in layers:
        if min(kernel, stride, rate) < 1:
            raise ValueError("numbers below 1")
        field += (kernel * rate - 1) * step
        step *= stride
    return field, step


# %% exercise="10.2" name="from the output to the input" right=True
# The inverse recursion: what f samples of an output see of the input.
def receptive_field(layers):
    if any(number < 1 for layer in layers for number in layer):
        raise ValueError("numbers below 1")
    field, step = 1, 1
    for kernel, stride, rate in reversed(layers):
        field = (field - 1) * stride + (kernel - 1) * rate + 1
        step *= stride
    return field, step


# %% exercise="10.3" name="dilates the layer that loses its stride" caught="visible" hint="keeps its rate"
# Stride and rate are exchanged in one and the same layer.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        if rate == 1 and step * stride <= output_stride:
            result.append((kernel, stride, own))
            step *= stride
        else:
            rate *= stride
            result.append((kernel, 1, own * rate))
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    parts = [[net(image[:, y:, x:]) for x in range(stride)] for y in range(stride)]
    height = sum(row[0].shape[1] for row in parts)
    columns = sum(part.shape[2] for part in parts[0])
    dense = parts[0][0].new_zeros(len(parts[0][0]), height, columns)
    for y in range(stride):
        for x in range(stride):
            dense[:, y::stride, x::stride] = parts[y][x]
    return dense


# %% exercise="10.3" name="removes strides only" caught="visible" hint="without a rate"
# The later layers are forgotten.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        if rate == 1 and step * stride <= output_stride:
            result.append((kernel, stride, own))
            step *= stride
        else:
            rate = 2
            result.append((kernel, 1, own))
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    parts = [[net(image[:, y:, x:]) for x in range(stride)] for y in range(stride)]
    height = sum(row[0].shape[1] for row in parts)
    columns = sum(part.shape[2] for part in parts[0])
    dense = parts[0][0].new_zeros(len(parts[0][0]), height, columns)
    for y in range(stride):
        for x in range(stride):
            dense[:, y::stride, x::stride] = parts[y][x]
    return dense


# %% exercise="10.3" name="dilates after strides that stay" caught="visible" hint="needs no holes"
# Every stride is turned into a rate, kept or not.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        keep = step * stride <= output_stride
        result.append((kernel, stride if keep else 1, own * rate))
        step *= stride if keep else 1
        rate *= stride
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    parts = [[net(image[:, y:, x:]) for x in range(stride)] for y in range(stride)]
    height = sum(row[0].shape[1] for row in parts)
    columns = sum(part.shape[2] for part in parts[0])
    dense = parts[0][0].new_zeros(len(parts[0][0]), height, columns)
    for y in range(stride):
        for x in range(stride):
            dense[:, y::stride, x::stride] = parts[y][x]
    return dense


# %% exercise="10.3" name="only the next layer" caught="visible" hint="all later layers need it"
# The rate is set anew after each layer.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        keep = step * stride <= output_stride
        result.append((kernel, stride if keep else 1, own * rate))
        step *= stride if keep else 1
        rate = rate if keep else stride if stride > 1 else rate
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    parts = [[net(image[:, y:, x:]) for x in range(stride)] for y in range(stride)]
    height = sum(row[0].shape[1] for row in parts)
    columns = sum(part.shape[2] for part in parts[0])
    dense = parts[0][0].new_zeros(len(parts[0][0]), height, columns)
    for y in range(stride):
        for x in range(stride):
            dense[:, y::stride, x::stride] = parts[y][x]
    return dense


# %% exercise="10.3" name="rates add up" caught="visible" hint="Yours add up"
# 2 and 2 are 4 either way; three halvings tell.
def hold_stride(layers, output_stride):
    step, lost, result = 1, 0, []
    for kernel, stride, own in layers:
        keep = lost == 0 and step * stride <= output_stride
        result.append((kernel, stride if keep else 1, own * max(1, lost)))
        step *= stride if keep else 1
        lost += 0 if keep or stride == 1 else stride
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    parts = [[net(image[:, y:, x:]) for x in range(stride)] for y in range(stride)]
    height = sum(row[0].shape[1] for row in parts)
    columns = sum(part.shape[2] for part in parts[0])
    dense = parts[0][0].new_zeros(len(parts[0][0]), height, columns)
    for y in range(stride):
        for x in range(stride):
            dense[:, y::stride, x::stride] = parts[y][x]
    return dense


# %% exercise="10.3" name="shifts of rows and columns exchanged" caught="visible" hint="exchanged: rows first"
# x and y change places on the way back.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        if rate == 1 and step * stride <= output_stride:
            result.append((kernel, stride, own))
            step *= stride
        else:
            result.append((kernel, 1, own * rate))
            rate *= stride
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    parts = [[net(image[:, y:, x:]) for x in range(stride)] for y in range(stride)]
    height = sum(row[0].shape[1] for row in parts)
    columns = sum(part.shape[2] for part in parts[0])
    dense = parts[0][0].new_zeros(len(parts[0][0]), height, columns)
    for y in range(stride):
        for x in range(stride):
            dense[:, y::stride, x::stride] = parts[x][y]
    return dense


# %% exercise="10.3" name="phases backwards" caught="visible" hint="wrong order"
# The shift is undone in the wrong direction.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        if rate == 1 and step * stride <= output_stride:
            result.append((kernel, stride, own))
            step *= stride
        else:
            result.append((kernel, 1, own * rate))
            rate *= stride
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    parts = [[net(image[:, y:, x:]) for x in range(stride)] for y in range(stride)]
    height = sum(row[0].shape[1] for row in parts)
    columns = sum(part.shape[2] for part in parts[0])
    dense = parts[0][0].new_zeros(len(parts[0][0]), height, columns)
    for y in range(stride):
        for x in range(stride):
            dense[:, y::stride, x::stride] = parts[stride - 1 - y][stride - 1 - x]
    return dense


# %% exercise="10.3" name="maps side by side" caught="visible" hint="side by side"
# Concatenation is what stitching sounds like.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        if rate == 1 and step * stride <= output_stride:
            result.append((kernel, stride, own))
            step *= stride
        else:
            result.append((kernel, 1, own * rate))
            rate *= stride
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    rows = []
    for y in range(stride):
        rows.append(torch.cat([net(image[:, y:, x:]) for x in range(stride)], 2))
    return torch.cat(rows, 1)


# %% exercise="10.3" name="never shifts the image" caught="visible" hint="shift the image"
# The place is shifted, the image is not.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        if rate == 1 and step * stride <= output_stride:
            result.append((kernel, stride, own))
            step *= stride
        else:
            result.append((kernel, 1, own * rate))
            rate *= stride
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    parts = [[net(image) for x in range(stride)] for y in range(stride)]
    height = sum(row[0].shape[1] for row in parts)
    columns = sum(part.shape[2] for part in parts[0])
    dense = parts[0][0].new_zeros(len(parts[0][0]), height, columns)
    for y in range(stride):
        for x in range(stride):
            dense[:, y::stride, x::stride] = parts[y][x]
    return dense


# %% exercise="10.3" name="replaces the rate a layer had" caught="hidden"
# own = 1 in most networks.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        if rate == 1 and step * stride <= output_stride:
            result.append((kernel, stride, own))
            step *= stride
        else:
            result.append((kernel, 1, rate))
            rate *= stride
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    parts = [[net(image[:, y:, x:]) for x in range(stride)] for y in range(stride)]
    height = sum(row[0].shape[1] for row in parts)
    columns = sum(part.shape[2] for part in parts[0])
    dense = parts[0][0].new_zeros(len(parts[0][0]), height, columns)
    for y in range(stride):
        for x in range(stride):
            dense[:, y::stride, x::stride] = parts[y][x]
    return dense


# %% exercise="10.3" name="stops where it can" caught="hidden"
# A step that no product gives is passed over in silence.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        if rate == 1 and step * stride <= output_stride:
            result.append((kernel, stride, own))
            step *= stride
        else:
            result.append((kernel, 1, own * rate))
            rate *= stride
    return result


def shift_and_stitch(net, image, stride):
    parts = [[net(image[:, y:, x:]) for x in range(stride)] for y in range(stride)]
    height = sum(row[0].shape[1] for row in parts)
    columns = sum(part.shape[2] for part in parts[0])
    dense = parts[0][0].new_zeros(len(parts[0][0]), height, columns)
    for y in range(stride):
        for x in range(stride):
            dense[:, y::stride, x::stride] = parts[y][x]
    return dense


# %% exercise="10.3" name="pixel shuffle of equal maps" caught="hidden"
# Right where all shifts give maps of one size, and only there.
def hold_stride(layers, output_stride):
    step, rate, result = 1, 1, []
    for kernel, stride, own in layers:
        if rate == 1 and step * stride <= output_stride:
            result.append((kernel, stride, own))
            step *= stride
        else:
            result.append((kernel, 1, own * rate))
            rate *= stride
    if step != output_stride:
        raise ValueError("cannot stop there")
    return result


def shift_and_stitch(net, image, stride):
    parts = [net(image[:, y:, x:]) for y in range(stride) for x in range(stride)]
    h, w = parts[-1].shape[1:]
    parts = [part[:, :h, :w] for part in parts]
    return F.pixel_shuffle(torch.stack(parts, 1).flatten(0, 1)[None], stride)[0]


# %% exercise="10.3" name="cumulative products and a stack" right=True
# Products first, then the list; maps padded to one size, woven and cut.
def hold_stride(layers, output_stride):
    kept = 0
    step = 1
    while kept < len(layers) and step * layers[kept][1] <= output_stride:
        step *= layers[kept][1]
        kept += 1
    if step != output_stride:
        raise ValueError(f"no such step: {output_stride}")
    out = list(layers[:kept])
    rate = 1
    for kernel, stride, own in layers[kept:]:
        out.append((kernel, 1, own * rate))
        rate *= stride
    return out


def shift_and_stitch(net, image, stride):
    runs = {(y, x): net(image[:, y:, x:]) for y in range(stride) for x in range(stride)}
    k, h, w = runs[0, 0].shape
    rows = sum(runs[y, 0].shape[1] for y in range(stride))
    columns = sum(runs[0, x].shape[2] for x in range(stride))
    woven = torch.zeros(k, h, stride, w, stride, dtype=image.dtype)
    for (y, x), run in runs.items():
        woven[:, : run.shape[1], y, : run.shape[2], x] = run
    return woven.reshape(k, h * stride, w * stride)[:, :rows, :columns]


# %% exercise="10.4" name="no factor one half" caught="visible" hint="2 of 2"
# exp(-d2 / theta2) looks Gaussian enough.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).reshape(-1, 2).to(image)
    c = 255 * image.flatten(1).T
    apart = ((p[:, None] - p[None]) ** 2).sum(-1)
    unlike = ((c[:, None] - c[None]) ** 2).sum(-1)
    appearance = torch.exp(-apart / (theta_a**2) - unlike / (theta_b**2))
    smoothness = torch.exp(-apart / (theta_g**2))
    return torch.stack([appearance, smoothness]) - torch.eye(h * w).to(image)


# %% exercise="10.4" name="colours between 0 and 1" caught="visible" hint="levels of 255"
# Images are floats in [0, 1] everywhere else in the course.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).reshape(-1, 2).to(image)
    c = image.flatten(1).T
    apart = ((p[:, None] - p[None]) ** 2).sum(-1)
    unlike = ((c[:, None] - c[None]) ** 2).sum(-1)
    appearance = torch.exp(-apart / (2 * theta_a**2) - unlike / (2 * theta_b**2))
    smoothness = torch.exp(-apart / (2 * theta_g**2))
    return torch.stack([appearance, smoothness]) - torch.eye(h * w).to(image)


# %% exercise="10.4" name="tied to itself" caught="visible" hint="no bond with itself"
# exp(0) = 1 on the diagonal is left where it is.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).reshape(-1, 2).to(image)
    c = 255 * image.flatten(1).T
    apart = ((p[:, None] - p[None]) ** 2).sum(-1)
    unlike = ((c[:, None] - c[None]) ** 2).sum(-1)
    appearance = torch.exp(-apart / (2 * theta_a**2) - unlike / (2 * theta_b**2))
    smoothness = torch.exp(-apart / (2 * theta_g**2))
    return torch.stack([appearance, smoothness])


# %% exercise="10.4" name="the square is missing" caught="visible" hint="Squares are missing"
# Distances instead of squared distances.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).reshape(-1, 2).to(image)
    c = 255 * image.flatten(1).T
    apart = ((p[:, None] - p[None]) ** 2).sum(-1).sqrt()
    unlike = ((c[:, None] - c[None]) ** 2).sum(-1).sqrt()
    appearance = torch.exp(-apart / (2 * theta_a) - unlike / (2 * theta_b))
    smoothness = torch.exp(-apart / (2 * theta_g))
    return torch.stack([appearance, smoothness]) - torch.eye(h * w).to(image)


# %% exercise="10.4" name="reaches exchanged" caught="visible" hint="exchanged"
# alpha and beta change places.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).reshape(-1, 2).to(image)
    c = 255 * image.flatten(1).T
    apart = ((p[:, None] - p[None]) ** 2).sum(-1)
    unlike = ((c[:, None] - c[None]) ** 2).sum(-1)
    appearance = torch.exp(-apart / (2 * theta_b**2) - unlike / (2 * theta_a**2))
    smoothness = torch.exp(-apart / (2 * theta_g**2))
    return torch.stack([appearance, smoothness]) - torch.eye(h * w).to(image)


# %% exercise="10.4" name="smoothness first" caught="visible" hint="appearance first"
# The order of the stack.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).reshape(-1, 2).to(image)
    c = 255 * image.flatten(1).T
    apart = ((p[:, None] - p[None]) ** 2).sum(-1)
    unlike = ((c[:, None] - c[None]) ** 2).sum(-1)
    appearance = torch.exp(-apart / (2 * theta_a**2) - unlike / (2 * theta_b**2))
    smoothness = torch.exp(-apart / (2 * theta_g**2))
    return torch.stack([smoothness, appearance]) - torch.eye(h * w).to(image)


# %% exercise="10.4" name="places down the columns" caught="visible" hint="Reading order"
# meshgrid with indexing xy; a single row hides it.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).transpose(0, 1).reshape(-1, 2).to(image)
    c = 255 * image.flatten(1).T
    apart = ((p[:, None] - p[None]) ** 2).sum(-1)
    unlike = ((c[:, None] - c[None]) ** 2).sum(-1)
    appearance = torch.exp(-apart / (2 * theta_a**2) - unlike / (2 * theta_b**2))
    smoothness = torch.exp(-apart / (2 * theta_g**2))
    return torch.stack([appearance, smoothness]) - torch.eye(h * w).to(image)


# %% exercise="10.4" name="mean over the channels" caught="visible" hint="takes their mean"
# A mean squared difference, as in a loss.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).reshape(-1, 2).to(image)
    c = 255 * image.flatten(1).T
    apart = ((p[:, None] - p[None]) ** 2).sum(-1)
    unlike = ((c[:, None] - c[None]) ** 2).mean(-1)
    appearance = torch.exp(-apart / (2 * theta_a**2) - unlike / (2 * theta_b**2))
    smoothness = torch.exp(-apart / (2 * theta_g**2))
    return torch.stack([appearance, smoothness]) - torch.eye(h * w).to(image)


# %% exercise="10.4" name="no colour in the appearance" caught="visible" hint="colour must weaken"
# The second term of the exponent is forgotten.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).reshape(-1, 2).to(image)
    apart = ((p[:, None] - p[None]) ** 2).sum(-1)
    appearance = torch.exp(-apart / (2 * theta_a**2))
    smoothness = torch.exp(-apart / (2 * theta_g**2))
    return torch.stack([appearance, smoothness]) - torch.eye(h * w).to(image)


# %% exercise="10.4" name="accepts a reach of nothing" caught="hidden"
# Nothing looks at the thetas.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).reshape(-1, 2).to(image)
    c = 255 * image.flatten(1).T
    apart = ((p[:, None] - p[None]) ** 2).sum(-1)
    unlike = ((c[:, None] - c[None]) ** 2).sum(-1)
    appearance = torch.exp(-apart / (2 * theta_a**2) - unlike / (2 * theta_b**2))
    smoothness = torch.exp(-apart / (2 * theta_g**2))
    return torch.stack([appearance, smoothness]) - torch.eye(h * w).to(image)


# %% exercise="10.4" name="binomial formula in single precision" caught="hidden"
# a2 + b2 - 2ab is fast and rounds near colours away.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    p = torch.stack([y, x], -1).reshape(-1, 2).to(image)
    c = 255 * image.flatten(1).T.contiguous()
    apart = ((p[:, None] - p[None]) ** 2).sum(-1)
    unlike = (c**2).sum(1)[:, None] + (c**2).sum(1)[None] - 2 * c @ c.T
    appearance = torch.exp(-apart / (2 * theta_a**2) - unlike / (2 * theta_b**2))
    smoothness = torch.exp(-apart / (2 * theta_g**2))
    return torch.stack([appearance, smoothness]) - torch.eye(h * w).to(image)


# %% exercise="10.4" name="features in units of their reach" right=True
# Scale first, then one Gaussian of unit width.
def pairwise_kernel(image, theta_a, theta_b, theta_g):
    if min(theta_a, theta_b, theta_g) <= 0:
        raise ValueError("reaches must be positive")
    c, h, w = image.shape
    n = torch.arange(h * w)
    place = torch.stack([n // w, n % w], 1).double()
    colour = 255 * image.reshape(c, -1).T.double()
    both = []
    for f in (torch.cat([place / theta_a, colour / theta_b], 1), place / theta_g):
        k = torch.exp(-0.5 * (f[:, None] - f[None]).square().sum(-1))
        both.append(k.fill_diagonal_(0))
    return torch.stack(both).to(image.dtype)


# %% exercise="10.5" name="hears itself" caught="visible" hint="hears itself"
# The identity is added, as in the released code, without its normalisation.
def mean_field_step(Q, unary, kernels, w):
    exponent = -unary
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q + Q)
    return exponent.softmax(dim=1)


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="forgets the unary" caught="visible" hint="energies are missing"
# Only the messages are left.
def mean_field_step(Q, unary, kernels, w):
    exponent = torch.zeros_like(unary)
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q)
    return exponent.softmax(dim=1)


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="Potts with the wrong sign" caught="visible" hint="Agreement is rewarded"
# An energy enters with a minus, so the message seems to.
def mean_field_step(Q, unary, kernels, w):
    exponent = -unary
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent - weight * (kernel @ Q)
    return exponent.softmax(dim=1)


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="energy with a plus" caught="visible" hint="enters with a minus"
# unary is taken for scores.
def mean_field_step(Q, unary, kernels, w):
    exponent = unary
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q)
    return exponent.softmax(dim=1)


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="logarithm twice" caught="visible" hint="no second logarithm"
# unary is taken for probabilities.
def mean_field_step(Q, unary, kernels, w):
    exponent = -unary.log()
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q)
    return exponent.softmax(dim=1)


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="softmax over the pixels" caught="visible" hint="labels of a pixel"
# dim=0 by habit.
def mean_field_step(Q, unary, kernels, w):
    exponent = -unary
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q)
    return exponent.softmax(dim=0)


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="one pixel after the other" caught="visible" hint="all change at once"
# New beliefs are written into Q while others still read it.
def mean_field_step(Q, unary, kernels, w):
    Q = Q.clone()
    for i in range(len(Q)):
        message = sum(weight * (kernel[i] @ Q) for kernel, weight in zip(kernels, w, strict=True))
        Q[i] = (message - unary[i]).softmax(0)
    return Q


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="averages the messages" caught="visible" hint="do not divide"
# A weighted mean looks more natural than a sum.
def mean_field_step(Q, unary, kernels, w):
    exponent = -unary
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q / kernel.sum(1, keepdim=True))
    return exponent.softmax(dim=1)


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="no softmax" caught="visible" hint="sums to 1"
# exp without its sum.
def mean_field_step(Q, unary, kernels, w):
    exponent = -unary
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q)
    return exponent.exp()


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="the network is forgotten after round one" caught="visible" hint="network is forgotten"
# unary is replaced by the logarithm of the latest beliefs.
def mean_field_step(Q, unary, kernels, w):
    exponent = -unary
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q)
    return exponent.softmax(dim=1)


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, -Q.log(), kernels, w)
    return Q


# %% exercise="10.5" name="one round only" caught="visible" hint="That is one round"
# The result is not fed to the next round.
def mean_field_step(Q, unary, kernels, w):
    exponent = -unary
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q)
    return exponent.softmax(dim=1)


def dense_crf(unary, kernels, w, iterations):
    start = (-unary).softmax(dim=1)
    Q = start
    for _ in range(iterations):
        Q = mean_field_step(start, unary, kernels, w)
    return Q


# %% exercise="10.5" name="starts from equal beliefs" caught="hidden"
# After ten rounds the start is hardly felt; after none it is.
def mean_field_step(Q, unary, kernels, w):
    exponent = -unary
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q)
    return exponent.softmax(dim=1)


def dense_crf(unary, kernels, w, iterations):
    Q = torch.full_like(unary, 1 / unary.shape[1])
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="writes into its argument" caught="hidden"
# In-place addition to the energies.
def mean_field_step(Q, unary, kernels, w):
    exponent = unary.neg_()
    for kernel, weight in zip(kernels, w, strict=True):
        exponent += weight * (kernel @ Q)
    result = exponent.softmax(dim=1)
    unary.neg_()
    return result


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary.clone(), kernels, w)
    return Q


# %% exercise="10.5" name="only the first kernel" caught="hidden"
# One kernel in the hand example, so one in the code.
def mean_field_step(Q, unary, kernels, w):
    if len(kernels) != len(w):
        raise ValueError("a weight for each kernel")
    return (w[0] * (kernels[0] @ Q) - unary).softmax(dim=1)


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="odds without a maximum taken off" caught="hidden"
# exp and a division overflow where bonds are strong.
def mean_field_step(Q, unary, kernels, w):
    exponent = -unary
    for kernel, weight in zip(kernels, w, strict=True):
        exponent = exponent + weight * (kernel @ Q)
    return exponent.exp() / exponent.exp().sum(1, keepdim=True)


def dense_crf(unary, kernels, w, iterations):
    Q = (-unary).softmax(dim=1)
    for _ in range(iterations):
        Q = mean_field_step(Q, unary, kernels, w)
    return Q


# %% exercise="10.5" name="the paper's compatibility matrix" right=True
# Charges all other labels instead of rewarding the own one.
def mean_field_step(Q, unary, kernels, w):
    if len(kernels) != len(w):
        raise ValueError("a weight for each kernel")
    potts = 1 - torch.eye(Q.shape[1])
    message = torch.einsum("m,mij,jk->ik", torch.tensor(w), kernels, Q)
    logits = -unary - message @ potts
    logits = logits - logits.max(dim=1, keepdim=True).values
    return logits.exp() / logits.exp().sum(dim=1, keepdim=True)


def dense_crf(unary, kernels, w, iterations):
    if iterations == 0:
        return torch.softmax(-unary, 1)
    return mean_field_step(dense_crf(unary, kernels, w, iterations - 1), unary, kernels, w)
