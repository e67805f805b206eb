# The zoo of lab 9: wrong answers that students really write, and right ones written another way.
#
# Each cell is the full text of one gap. `caught` says who must notice it: the visible check with its
# own `hint`, or only the hidden tests. `right=True` marks an alternative right answer.

# %% exercise="9.1" name="adds instead of concatenating" caught="visible" hint="ResNet would add them"
# ResNet's plus sign is what hands remember.
def dense_block_channels(c, growth, n):
    if min(c, growth, n) < 1:
        raise ValueError(f"expected at least 1, got {c}, {growth}, {n}")
    return [c + i * growth for i in range(n + 1)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        first = x.shape[1]
        for layer in self.layers:
            x = x + layer(x)
        return x if self.keep_input else x[:, first:]


# %% exercise="9.1" name="a chain" caught="visible" hint="a chain would hand on the last ones only"
# Each layer reads what the last one made, as in every network before.
def dense_block_channels(c, growth, n):
    if min(c, growth, n) < 1:
        raise ValueError(f"expected at least 1, got {c}, {growth}, {n}")
    return [c + i * growth for i in range(n + 1)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


# %% exercise="9.1" name="new maps first" caught="visible" hint="in the order they were made"
# The order of concatenation looks free; it is not once weights are loaded.
def dense_block_channels(c, growth, n):
    if min(c, growth, n) < 1:
        raise ValueError(f"expected at least 1, got {c}, {growth}, {n}")
    return [c + i * growth for i in range(n + 1)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        first = x.shape[1]
        for layer in self.layers:
            x = torch.cat([layer(x), x], dim=1)
        return x if self.keep_input else x[:, :-first]


# %% exercise="9.1" name="forgets the input" caught="visible" hint="it is the bottom of the stack"
# The block seems to return what its layers made.
def dense_block_channels(c, growth, n):
    if min(c, growth, n) < 1:
        raise ValueError(f"expected at least 1, got {c}, {growth}, {n}")
    return [c + i * growth for i in range(n + 1)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(torch.cat(stack, dim=1)))
        return torch.cat(stack[1:], dim=1)


# %% exercise="9.1" name="returns the last layer" caught="visible" hint="return the whole stack"
# As the last layer of a chain would.
def dense_block_channels(c, growth, n):
    if min(c, growth, n) < 1:
        raise ValueError(f"expected at least 1, got {c}, {growth}, {n}")
    return [c + i * growth for i in range(n + 1)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(torch.cat(stack, dim=1)))
        return stack[-1]


# %% exercise="9.1" name="keeps the input on the way up" caught="visible" hint="must not come out again"
# The flag is not read.
def dense_block_channels(c, growth, n):
    if min(c, growth, n) < 1:
        raise ValueError(f"expected at least 1, got {c}, {growth}, {n}")
    return [c + i * growth for i in range(n + 1)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x


# %% exercise="9.1" name="channels without the end" caught="visible" hint="maps of the whole stack"
# n layers, n numbers.
def dense_block_channels(c, growth, n):
    if min(c, growth, n) < 1:
        raise ValueError(f"expected at least 1, got {c}, {growth}, {n}")
    return [c + i * growth for i in range(n)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(torch.cat(stack, dim=1)))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


# %% exercise="9.1" name="channels one layer late" caught="visible" hint="start at c"
# Counts the maps after each layer.
def dense_block_channels(c, growth, n):
    if min(c, growth, n) < 1:
        raise ValueError(f"expected at least 1, got {c}, {growth}, {n}")
    return [c + i * growth for i in range(1, n + 2)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(torch.cat(stack, dim=1)))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


# %% exercise="9.1" name="cuts growth maps instead of the input" caught="visible" hint="Only the input is left out"
# The number that is at hand in the loop is cut off.
def dense_block_channels(c, growth, n):
    if min(c, growth, n) < 1:
        raise ValueError(f"expected at least 1, got {c}, {growth}, {n}")
    return [c + i * growth for i in range(n + 1)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        for layer in self.layers:
            x = torch.cat([x, layer(x)], dim=1)
        return x if self.keep_input else x[:, layer.conv.out_channels :]


# %% exercise="9.1" name="accepts no layers" caught="hidden"
# Nothing is checked.
def dense_block_channels(c, growth, n):
    return [c + i * growth for i in range(n + 1)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(torch.cat(stack, dim=1)))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


# %% exercise="9.1" name="no gradient through the old maps" caught="hidden"
# Detaching saves memory, and the deep layers no longer teach the early ones.
def dense_block_channels(c, growth, n):
    if min(c, growth, n) < 1:
        raise ValueError(f"expected at least 1, got {c}, {growth}, {n}")
    return [c + i * growth for i in range(n + 1)]


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(torch.cat([s.detach() for s in stack], dim=1)))
        stack = stack if self.keep_input else stack[1:]
        return torch.cat([s.detach() for s in stack[:-1]] + stack[-1:], dim=1)


# %% exercise="9.1" name="grows one tensor" right=True
# Concatenates step by step and cuts the input off at the end.
def dense_block_channels(c, growth, n):
    for value in (c, growth, n):
        if value <= 0:
            raise ValueError(f"a block needs maps and layers, got {value}")
    return list(range(c, c + n * growth + 1, growth))


class DenseLayer(nn.Module):
    def __init__(self, c, maps, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, maps, 3, padding=1)

    def forward(self, x):
        return self.drop(self.conv(F.relu(self.norm(x))))


class DenseBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        reads = dense_block_channels(c, growth, n)[:n]
        self.layers = nn.ModuleList(DenseLayer(maps, growth, dropout) for maps in reads)

    def forward(self, x):
        first = x.shape[1]
        for layer in self.layers:
            x = torch.cat((x, layer(x)), 1)
        return x if self.keep_input else x[:, first:]


# %% exercise="9.2" name="pools before the convolution" caught="visible" hint="Pooling comes last"
# Cheaper, and the shapes agree.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(x)), 2)
        return self.drop(self.conv(x))


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x, (h, w) = self.deconv(new_maps), skip.shape[-2:]
        top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
        if top < 0 or left < 0:
            raise ValueError(f"the skip {tuple(skip.shape)} is larger than {tuple(x.shape)}")
        return torch.cat([x[..., top : top + h, left : left + w], skip], dim=1)


# %% exercise="9.2" name="convolution before normalisation" caught="visible" hint="come before the convolution"
# The order of most other networks.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = F.relu(self.norm(self.conv(x)))
        return F.max_pool2d(self.drop(x), 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x, (h, w) = self.deconv(new_maps), skip.shape[-2:]
        top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
        if top < 0 or left < 0:
            raise ValueError(f"the skip {tuple(skip.shape)} is larger than {tuple(x.shape)}")
        return torch.cat([x[..., top : top + h, left : left + w], skip], dim=1)


# %% exercise="9.2" name="forgets the ReLU" caught="visible" hint="ReLU before the convolution is missing"
# Normalise, convolve, pool.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        return F.max_pool2d(self.drop(self.conv(self.norm(x))), 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x, (h, w) = self.deconv(new_maps), skip.shape[-2:]
        top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
        if top < 0 or left < 0:
            raise ValueError(f"the skip {tuple(skip.shape)} is larger than {tuple(x.shape)}")
        return torch.cat([x[..., top : top + h, left : left + w], skip], dim=1)


# %% exercise="9.2" name="pools the mean" caught="visible" hint="Max pooling, not the mean"
# DenseNet for classification pools the mean in its transitions.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = self.drop(self.conv(F.relu(self.norm(x))))
        return F.avg_pool2d(x, 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x, (h, w) = self.deconv(new_maps), skip.shape[-2:]
        top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
        if top < 0 or left < 0:
            raise ValueError(f"the skip {tuple(skip.shape)} is larger than {tuple(x.shape)}")
        return torch.cat([x[..., top : top + h, left : left + w], skip], dim=1)


# %% exercise="9.2" name="skip first" caught="visible" hint="the skip behind them"
# U-Net's order.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = self.drop(self.conv(F.relu(self.norm(x))))
        return F.max_pool2d(x, 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x, (h, w) = self.deconv(new_maps), skip.shape[-2:]
        top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
        if top < 0 or left < 0:
            raise ValueError(f"the skip {tuple(skip.shape)} is larger than {tuple(x.shape)}")
        return torch.cat([skip, x[..., top : top + h, left : left + w]], dim=1)


# %% exercise="9.2" name="crops at the top" caught="visible" hint="cut at the bottom and on the right"
# Half the surplus is rounded up.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = self.drop(self.conv(F.relu(self.norm(x))))
        return F.max_pool2d(x, 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x, (h, w) = self.deconv(new_maps), skip.shape[-2:]
        top, left = (x.shape[-2] - h + 1) // 2, (x.shape[-1] - w + 1) // 2
        if top < 0 or left < 0:
            raise ValueError(f"the skip {tuple(skip.shape)} is larger than {tuple(x.shape)}")
        return torch.cat([x[..., top : top + h, left : left + w], skip], dim=1)


# %% exercise="9.2" name="resizes instead of cropping" caught="visible" hint="Crop, do not resize"
# interpolate makes every shape fit.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = self.drop(self.conv(F.relu(self.norm(x))))
        return F.max_pool2d(x, 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x = F.interpolate(self.deconv(new_maps), size=skip.shape[-2:], mode="bilinear")
        return torch.cat([x, skip], dim=1)


# %% exercise="9.2" name="resizes to the nearest" caught="hidden"
# For a surplus of one the nearest neighbour happens to be the crop.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = self.drop(self.conv(F.relu(self.norm(x))))
        return F.max_pool2d(x, 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x = F.interpolate(self.deconv(new_maps), size=skip.shape[-2:])
        return torch.cat([x, skip], dim=1)


# %% exercise="9.2" name="adds the skip" caught="visible" hint="the Tiramisu concatenates"
# FCN's plus sign.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = self.drop(self.conv(F.relu(self.norm(x))))
        return F.max_pool2d(x, 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x, (h, w) = self.deconv(new_maps), skip.shape[-2:]
        top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
        if top < 0 or left < 0:
            raise ValueError(f"the skip {tuple(skip.shape)} is larger than {tuple(x.shape)}")
        return x[..., top : top + h, left : left + w] + skip


# %% exercise="9.2" name="forgets dropout" caught="hidden"
# It does nothing in evaluation, so nothing seems to be missing.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        return F.max_pool2d(self.conv(F.relu(self.norm(x))), 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x, (h, w) = self.deconv(new_maps), skip.shape[-2:]
        top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
        if top < 0 or left < 0:
            raise ValueError(f"the skip {tuple(skip.shape)} is larger than {tuple(x.shape)}")
        return torch.cat([x[..., top : top + h, left : left + w], skip], dim=1)


# %% exercise="9.2" name="crops the top left corner" caught="hidden"
# Right for a surplus of one, wrong for more; and a large skip passes.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = self.drop(self.conv(F.relu(self.norm(x))))
        return F.max_pool2d(x, 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        h, w = skip.shape[-2:]
        return torch.cat([self.deconv(new_maps)[..., :h, :w], skip], dim=1)


# %% exercise="9.2" name="ReLU before normalisation" caught="hidden"
# Looks the same while the statistics are still 0 and 1.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        x = self.drop(self.conv(self.norm(F.relu(x))))
        return F.max_pool2d(x, 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x, (h, w) = self.deconv(new_maps), skip.shape[-2:]
        top, left = (x.shape[-2] - h) // 2, (x.shape[-1] - w) // 2
        if top < 0 or left < 0:
            raise ValueError(f"the skip {tuple(skip.shape)} is larger than {tuple(x.shape)}")
        return torch.cat([x[..., top : top + h, left : left + w], skip], dim=1)


# %% exercise="9.2" name="negative padding" right=True
# Pads by the negative surplus, which is a crop.
class TransitionDown(nn.Module):
    def __init__(self, c, dropout=0.2):
        super().__init__()
        self.norm, self.drop = nn.BatchNorm2d(c), nn.Dropout(dropout)
        self.conv = nn.Conv2d(c, c, 1)

    def forward(self, x):
        y = self.norm(x).clamp(min=0)
        return F.max_pool2d(self.drop(self.conv(y)), 2, 2)


class TransitionUp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.deconv = nn.ConvTranspose2d(c, c, 3, stride=2)

    def forward(self, new_maps, skip):
        x = self.deconv(new_maps)
        rows, columns = x.shape[-2] - skip.shape[-2], x.shape[-1] - skip.shape[-1]
        if min(rows, columns) < 0:
            raise ValueError("the skip is larger than the upsampled maps")
        left, top = columns // 2, rows // 2
        x = F.pad(x, (-left, left - columns, -top, top - rows))
        return torch.cat((x, skip), 1)


# %% exercise="9.3" name="upsamples the whole stack" caught="visible" hint="only the block's new maps go up"
# The rule that keeps the network small is one sentence of the paper.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        if level == len(blocks) - 1:
            c += config["bottleneck"] * k
        plan.append(("up", level, c, c))
        c += skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b
        if kind in ("dense", "down"):
            total += 2 * a
    return total


# %% exercise="9.3" name="forgets the skip" caught="visible" hint="The skip is forgotten"
# The maps that arrive from below are taken for all.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        plan.append(("up", level, new, new))
        c = new
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b
        if kind in ("dense", "down"):
            total += 2 * a
    return total


# %% exercise="9.3" name="last layer reads the new maps" caught="visible" hint="reads the whole last stack"
# On the way up only new maps go on, so here too.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        plan.append(("up", level, new, new))
        c = new + skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c = new = n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b
        if kind in ("dense", "down"):
            total += 2 * a
    return total


# %% exercise="9.3" name="skips in the wrong order" caught="visible" hint="the last one is used first"
# A queue where a stack is needed.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        plan.append(("up", level, new, new))
        c = new + skips.pop(0)
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b
        if kind in ("dense", "down"):
            total += 2 * a
    return total


# %% exercise="9.3" name="forgets the biases" caught="visible" hint="biases are missing"
# Many networks with batch normalisation have none.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        plan.append(("up", level, new, new))
        c = new + skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b
        if kind in ("dense", "down"):
            total += 2 * a
    return total


# %% exercise="9.3" name="forgets the normalisation" caught="visible" hint="normalisation is missing"
# Only convolutions seem to have weights.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        plan.append(("up", level, new, new))
        c = new + skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b
    return total


# %% exercise="9.3" name="counts running statistics" caught="visible" hint="Running statistics are not trained"
# All stored arrays are summed, as the paper's own counter does.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        plan.append(("up", level, new, new))
        c = new + skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b
        if kind in ("dense", "down"):
            total += 4 * a
    return total


# %% exercise="9.3" name="normalises the output maps" caught="visible" hint="2 for each map *in*"
# In most networks the normalisation follows the convolution.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        plan.append(("up", level, new, new))
        c = new + skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b
        if kind in ("dense", "down"):
            total += 2 * b
    return total


# %% exercise="9.3" name="3 × 3 everywhere" caught="visible" hint="one layer of each kind"
# One kernel size for all.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        plan.append(("up", level, new, new))
        c = new + skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 9
        total += kernel * a * b + b
        if kind in ("dense", "down"):
            total += 2 * a
    return total


# %% exercise="9.3" name="one block size for all levels" caught="hidden"
# Right for the 56 and the 67, where all blocks are alike, and for the small case.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        n = blocks[0]
        plan.append(("up", level, new, new))
        c = new + skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b
        if kind in ("dense", "down"):
            total += 2 * a
    return total


# %% exercise="9.3" name="one normalisation weight a map" caught="visible" hint="a scale and a shift"
# Scale only.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        plan.append(("up", level, new, new))
        c = new + skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b
        if kind in ("dense", "down"):
            total += a
    return total


# %% exercise="9.3" name="counts each kind of row once" caught="hidden"
# A dictionary by kind and level looks tidy, and drops rows.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        plan.append(("up", level, new, new))
        c = new + skips[level]
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c, new = c + n * k, n * k
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    rows = {(kind, a, b) for kind, _, a, b in plan}
    total = 0
    for kind, a, b in rows:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b + (2 * a if kind in ("dense", "down") else 0)
    return total


# %% exercise="9.3" name="sums of a table" right=True
# A table of kernels, and a sum over the rows.
def layer_plan(config):
    c, k, blocks = config["first"], config["growth"], config["blocks"]
    plan, skips = [("first", 0, config["channels"], c)], []
    for level, n in enumerate(blocks):
        plan += [("dense", level, c + i * k, k) for i in range(n)]
        c += n * k
        skips.append(c)
        plan.append(("down", level, c, c))
    plan += [("dense", len(blocks), c + i * k, k) for i in range(config["bottleneck"])]
    new = config["bottleneck"] * k
    for level in reversed(range(len(blocks))):
        n = blocks[level]
        stack = new + skips[level]
        plan.append(("up", level, new, new))
        for _ in range(n):
            plan.append(("dense", level, stack, k))
            stack += k
        new, c = n * k, stack
    return [*plan, ("last", 0, c, config["classes"])]


def count_parameters(plan):
    kernels = {"first": 9, "dense": 9, "down": 1, "up": 9, "last": 1}
    normalised = {"dense": 2, "down": 2}
    return sum(b * (kernels[kind] * a + 1) + normalised.get(kind, 0) * a for kind, _, a, b in plan)


# %% exercise="9.4" name="counts parameters" caught="visible" hint="Those are the weights"
# Memory is taken for the size of the file with the weights.
def activation_memory(plan, h, w, copies=False):
    total = 0
    for kind, _, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b + b + (2 * a if kind in ("dense", "down") else 0)
    return 4 * total


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="values, not bytes" caught="visible" hint="a float32 has 4 bytes"
# The unit is skipped.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = (h >> level) * (w >> level)
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + (a * pixels if copies and kind == "dense" else 0)
    return values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="bits" caught="visible" hint="Bytes, not bits"
# Eight and four are mixed up.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = (h >> level) * (w >> level)
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + (a * pixels if copies and kind == "dense" else 0)
    return 32 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="counts the cropped maps" caught="visible" hint="2n + 1 rows of n; the crop comes afterwards"
# What is used afterwards is counted, not what is made.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = (h >> level) * (w >> level)
        values += b * pixels + (a * pixels if copies and kind == "dense" else 0)
    return 4 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="maps that go in" caught="visible" hint="count those that come out"
# In and out are swapped.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = (h >> level) * (w >> level)
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += a * pixels + (a * pixels if copies and kind == "dense" else 0)
    return 4 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="full resolution everywhere" caught="visible" hint="Each level halves both sides"
# The level is ignored.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = h * w
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + (a * pixels if copies and kind == "dense" else 0)
    return 4 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="every layer copies" caught="visible" hint="Only dense layers copy"
# The copies are counted for all layers.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = (h >> level) * (w >> level)
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + (a * pixels if copies else 0)
    return 4 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="copies ignored" caught="visible" hint="left the copies out"
# The option is not read.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = (h >> level) * (w >> level)
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + 0
    return 4 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="transposed convolution per output pixel" caught="visible" hint="which is coarser"
# The rule of the forward convolution.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = (h >> level) * (w >> level)
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + (a * pixels if copies and kind == "dense" else 0)
    return 4 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="kernel of nine for all" caught="visible" hint="not nine"
# 1 × 1 is overlooked.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = (h >> level) * (w >> level)
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + (a * pixels if copies and kind == "dense" else 0)
    return 4 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="multiplications and additions" caught="visible" hint="count as one"
# FLOPs for MACs.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = (h >> level) * (w >> level)
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + (a * pixels if copies and kind == "dense" else 0)
    return 4 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return 2 * total


# %% exercise="9.4" name="rounds sides up" caught="hidden"
# Division that rounds up, as Caffe pools; 6 × 4 does not show it.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = (-(-h // 2**level)) * (-(-w // 2**level))
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + (a * pixels if copies and kind == "dense" else 0)
    return 4 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h >> level) * (w >> level)
    return total


# %% exercise="9.4" name="halves the area instead of the sides" caught="hidden"
# h · w / 4 to the level is the same number while the sides are even.
def activation_memory(plan, h, w, copies=False):
    values = 0
    for kind, level, a, b in plan:
        pixels = h * w // 4**level
        if kind == "up":
            pixels = (2 * (h >> level + 1) + 1) * (2 * (w >> level + 1) + 1)
        values += b * pixels + (a * pixels if copies and kind == "dense" else 0)
    return 4 * values


def count_macs(plan, h, w):
    total = 0
    for kind, level, a, b in plan:
        if kind == "up":
            level += 1
        kernel = 1 if kind in ("down", "last") else 9
        total += kernel * a * b * (h * w // 4**level)
    return total


# %% exercise="9.4" name="division" right=True
# Integer division instead of shifts, and one sum each.
def activation_memory(plan, h, w, copies=False):
    total = 0
    for kind, level, maps_in, maps_out in plan:
        if kind == "up":
            rows, columns = h // 2 ** (level + 1), w // 2 ** (level + 1)
            total += maps_out * (2 * rows + 1) * (2 * columns + 1)
            continue
        rows, columns = h // 2**level, w // 2**level
        read = maps_in if copies and kind == "dense" else 0
        total += (maps_out + read) * rows * columns
    return total * 4


def count_macs(plan, h, w):
    kernels = {"first": 9, "dense": 9, "down": 1, "up": 9, "last": 1}
    deeper = {"up": 1}
    return sum(
        kernels[kind]
        * a
        * b
        * (h // 2 ** (level + deeper.get(kind, 0)))
        * (w // 2 ** (level + deeper.get(kind, 0)))
        for kind, level, a, b in plan
    )


# %% exercise="9.5" name="returns the last layer" caught="visible" hint="stack the input and all new maps"
# A chain usually hands on its end only.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def pareto(rows):
    key = {name: (p, -iou, a) for name, (p, iou, a) in rows.items()}

    def dominated(mine):
        return any(o != mine and all(x <= y for x, y in zip(o, mine)) for o in key.values())

    return [name for name, mine in key.items() if not dominated(mine)]


# %% exercise="9.5" name="every layer reads the input" caught="visible" hint="Every layer reads x"
# Layers side by side instead of one after the other.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        stack = [x] + [layer(x) for layer in self.layers]
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


def pareto(rows):
    key = {name: (p, -iou, a) for name, (p, iou, a) in rows.items()}

    def dominated(mine):
        return any(o != mine and all(x <= y for x, y in zip(o, mine)) for o in key.values())

    return [name for name, mine in key.items() if not dominated(mine)]


# %% exercise="9.5" name="forgets the input in the chain" caught="visible" hint="bottom of the stack"
# What went in seems done with.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        return torch.cat(stack[1:], dim=1)


def pareto(rows):
    key = {name: (p, -iou, a) for name, (p, iou, a) in rows.items()}

    def dominated(mine):
        return any(o != mine and all(x <= y for x, y in zip(o, mine)) for o in key.values())

    return [name for name, mine in key.items() if not dominated(mine)]


# %% exercise="9.5" name="stacks backwards" caught="visible" hint="in the order they were made"
# The newest first.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        stack = stack if self.keep_input else stack[1:]
        return torch.cat(stack[::-1], dim=1)


def pareto(rows):
    key = {name: (p, -iou, a) for name, (p, iou, a) in rows.items()}

    def dominated(mine):
        return any(o != mine and all(x <= y for x, y in zip(o, mine)) for o in key.values())

    return [name for name, mine in key.items() if not dominated(mine)]


# %% exercise="9.5" name="strictly better in all three" caught="visible" hint="it is dominated"
# Read as: dominated only if beaten everywhere.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


def pareto(rows):
    key = {name: (p, -iou, a) for name, (p, iou, a) in rows.items()}

    def dominated(mine):
        return any(all(x < y for x, y in zip(o, mine)) for o in key.values())

    return [name for name, mine in key.items() if not dominated(mine)]


# %% exercise="9.5" name="equal rows kill each other" caught="visible" hint="Equal rows do not dominate"
# No worse in all three, and nothing more.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


def pareto(rows):
    def no_worse(o, mine):
        return o[0] <= mine[0] and o[1] >= mine[1] and o[2] <= mine[2]

    return [
        name
        for name, mine in rows.items()
        if not any(no_worse(o, mine) for other, o in rows.items() if other != name)
    ]


# %% exercise="9.5" name="two axes" caught="visible" hint="activations count too"
# Parameters and IoU, as in the paper's table.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


def pareto(rows):
    key = {name: (p, -iou) for name, (p, iou, a) in rows.items()}

    def dominated(mine):
        return any(o != mine and all(x <= y for x, y in zip(o, mine)) for o in key.values())

    return [name for name, mine in key.items() if not dominated(mine)]


# %% exercise="9.5" name="less IoU is better" caught="visible" hint="More IoU is better"
# The sign is not turned.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


def pareto(rows):
    key = {name: (p, iou, a) for name, (p, iou, a) in rows.items()}

    def dominated(mine):
        return any(o != mine and all(x <= y for x, y in zip(o, mine)) for o in key.values())

    return [name for name, mine in key.items() if not dominated(mine)]


# %% exercise="9.5" name="sorted by name" caught="visible" hint="do not sort by name"
# A set, sorted so that the order is fixed.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


def pareto(rows):
    key = {name: (p, -iou, a) for name, (p, iou, a) in rows.items()}

    def dominated(mine):
        return any(o != mine and all(x <= y for x, y in zip(o, mine)) for o in key.values())

    return sorted(name for name, mine in key.items() if not dominated(mine))


# %% exercise="9.5" name="keep_input ignored" caught="hidden"
# Only the common case is written.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        return torch.cat(stack, dim=1)


def pareto(rows):
    key = {name: (p, -iou, a) for name, (p, iou, a) in rows.items()}

    def dominated(mine):
        return any(o != mine and all(x <= y for x, y in zip(o, mine)) for o in key.values())

    return [name for name, mine in key.items() if not dominated(mine)]


# %% exercise="9.5" name="spoils the table" caught="hidden"
# Dominated rows are taken out of the student's own argument.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        stack = [x]
        for layer in self.layers:
            stack.append(layer(stack[-1]))
        return torch.cat(stack if self.keep_input else stack[1:], dim=1)


def pareto(rows):
    key = {name: (p, -iou, a) for name, (p, iou, a) in rows.items()}
    for name, mine in key.items():
        if any(o != mine and all(x <= y for x, y in zip(o, mine)) for o in key.values()):
            del rows[name]
    return list(rows)


# %% exercise="9.5" name="slices and a double loop" right=True
# Carries one tensor along, and compares without turning signs.
class ChainBlock(nn.Module):
    def __init__(self, c, growth, n, keep_input=True, dropout=0.2):
        super().__init__()
        self.keep_input = keep_input
        self.layers = nn.ModuleList(
            DenseLayer(growth if i else c, growth, dropout) for i in range(n)
        )

    def forward(self, x):
        made = []
        last = x
        for layer in self.layers:
            last = layer(last)
            made.append(last)
        return torch.cat([x, *made] if self.keep_input else made, 1)


def pareto(rows):
    front = []
    for name, (p, iou, a) in rows.items():
        for q, other, b in rows.values():
            better = q < p or other > iou or b < a
            if better and q <= p and other >= iou and b <= a:
                break
        else:
            front.append(name)
    return front
