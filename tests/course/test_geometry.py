import subprocess
import sys
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from course.geometry import (
    Layer,
    conv_output_size,
    conv_transpose_output_size,
    count_macs,
    layers_of,
    macs_by_layer,
    output_sizes,
    pool_output_size,
    receptive_field,
    unet_border,
    unet_output,
    unet_receptive_field,
    unet_sizes,
    valid_input_for,
)
from course.models import UNet

WINDOWS = list(product((1, 4, 7, 12), (1, 2, 3), (0, 1, 2), (1, 2)))


def torch_size(layer, n):
    """Output size that torch gives, or None where it refuses (torch 2.5: gives an empty map)."""
    try:
        return layer(torch.empty(1, 1, n, device="meta")).shape[-1] or None
    except RuntimeError:
        return None


def our_size(function, *args, **options):
    try:
        return function(*args, **options)
    except ValueError:
        return None


# Sizes of one layer ---------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_conv_and_pool_sizes_are_torchs(kernel):
    for n, stride, padding, dilation in WINDOWS:
        window = {"stride": stride, "padding": padding, "dilation": dilation}
        conv = nn.Conv1d(1, 1, kernel, **window, device="meta")
        assert our_size(conv_output_size, n, kernel, **window) == torch_size(conv, n)
        for ceil_mode in (False, True):
            if padding > kernel // 2:
                continue  # torch refuses to pool windows that may lie in the padding alone
            pool = nn.MaxPool1d(kernel, **window, ceil_mode=ceil_mode)
            ours = our_size(pool_output_size, n, kernel, **window, ceil_mode=ceil_mode)
            assert ours == torch_size(pool, n)


def test_poolings_in_ceil_mode_go_down_to_one_sample():
    x, sizes = torch.zeros(1, 1, 9), [9]
    for _ in range(5):  # SegNet's, on images smaller than 32 pixels
        x = F.max_pool1d(x, 2, ceil_mode=True)
        sizes.append(x.shape[-1])
    assert output_sizes(9, [(2, 2, 0, 1, True)] * 5) == sizes == [9, 5, 3, 2, 1, 1]


@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
def test_transposed_sizes_are_torchs(kernel):
    for n, stride, padding, dilation in WINDOWS:
        for extra in range(max(stride, dilation)):
            window = {"stride": stride, "padding": padding, "dilation": dilation}
            window["output_padding"] = extra
            layer = nn.ConvTranspose1d(1, 1, kernel, **window, device="meta")
            expected = torch_size(layer, n) or None  # torch lets some through that leave nothing
            assert our_size(conv_transpose_output_size, n, kernel, **window) == expected


def test_transposed_convolution_undoes_the_size_of_a_convolution():
    for n, kernel, stride in product(range(5, 30), (2, 3, 5), (1, 2, 3)):
        out = conv_output_size(n, kernel, stride=stride)
        extra = (n - kernel) % stride
        assert n == conv_transpose_output_size(out, kernel, stride=stride, output_padding=extra)


def test_pool_stride_defaults_to_the_kernel():
    assert pool_output_size(12, 3) == pool_output_size(12, 3, stride=3) == 4


def test_sizes_along_overfeat():
    fast = [(11, 4), (2, 2), (5,), (2, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1), (2, 2), (6,)]
    assert output_sizes(231, fast) == [231, 56, 28, 24, 12, 12, 12, 12, 6, 1]
    accurate = [(7, 2), (3, 3), (7,), (2, 2), *[(3, 1, 1)] * 4, (3, 3), (5,)]
    assert output_sizes(221, accurate) == [221, 108, 36, 30, 15, 15, 15, 15, 15, 5, 1]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv_output_size(4, 5), "5 samples .* does not fit into 4 samples"),
        (lambda: conv_output_size(4, 3, dilation=2), "dilation 2"),
        (lambda: conv_output_size(0, 1), "n must be at least 1, got 0"),
        (lambda: conv_output_size(-3, 1), "n must be at least 1, got -3"),
        (lambda: conv_output_size(5, 3, stride=0), "stride must be at least 1"),
        (lambda: conv_output_size(5, 3, padding=-1), "padding must be at least 0"),
        (lambda: pool_output_size(5, 0), "kernel must be at least 1"),
        (lambda: conv_transpose_output_size(1, 2, padding=1), "nothing left"),
        (lambda: conv_transpose_output_size(4, 2, stride=2, output_padding=2), "smaller than"),
        (lambda: output_sizes(8, [(3,), (9,)]), r"layer 1, after sizes \[8, 6\]"),
        (lambda: receptive_field([(3, 0)]), "stride must be at least 1"),
    ],
)
def test_impossible_windows_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_fractional_sizes_are_refused():
    with pytest.raises(TypeError, match=r"kernel must be an integer, got 2\.5"):
        conv_output_size(8, 2.5)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="n must be an integer, got nan"):
        unet_sizes(float("nan"))  # pyright: ignore[reportArgumentType]


# Receptive fields -----------------------------------------------------------------------------

layer_strategy = st.tuples(
    st.integers(1, 4), st.integers(1, 3), st.integers(0, 1), st.integers(1, 3)
)


@settings(max_examples=30, deadline=None)
@given(st.lists(layer_strategy, min_size=1, max_size=4))
def test_receptive_field_is_where_the_gradient_is(layers):
    field = receptive_field(layers)
    n = 3 * field.size + 20 * field.stride
    x = torch.ones(1, 1, n, dtype=torch.float64, requires_grad=True)
    y = x
    for kernel, stride, padding, dilation in layers:
        weight = torch.ones(1, 1, kernel, dtype=torch.float64)
        y = F.conv1d(y, weight, stride=stride, padding=padding, dilation=dilation)
    assert y.shape[-1] == output_sizes(n, layers)[-1]
    middle = y.shape[-1] // 2  # far from the padding, which would hide part of the window
    y[0, 0, middle].backward()
    assert x.grad is not None
    touched = x.grad[0, 0].nonzero()[:, 0]
    assert (touched.min().item(), touched.max().item() + 1) == field.window(middle)


vgg = [
    layer for convs in (2, 2, 3, 3, 3) for layer in [*[Layer(3, padding=1)] * convs, Layer(2, 2)]
]
caffenet = [(11, 4), (3, 2), (5, 1, 2), (3, 2), *[(3, 1, 1)] * 3, (3, 2)]
large_fov = [
    *[layer for convs in (2, 2, 3) for layer in [*[(3, 1, 1)] * convs, (3, 2, 1)]],
    *[(3, 1, 1)] * 3, (3, 1, 1), *[(3, 1, 2, 2)] * 3, (3, 1, 1), (3, 1, 1), (3, 1, 12, 12),
]  # fmt: skip
yolo = [
    (7, 2, 3), (2, 2), (3, 1, 1), (2, 2), (1,), (3, 1, 1), (1,), (3, 1, 1), (2, 2),
    *[(1,), (3, 1, 1)] * 5, (2, 2), *[(1,), (3, 1, 1)] * 2, (3, 1, 1), (3, 2, 1), *[(3, 1, 1)] * 2,
]  # fmt: skip


def resnet(blocks, dilations):
    layers = [(7, 2, 3), (3, 2, 1)]
    for stage, (count, dilation) in enumerate(zip(blocks, dilations)):
        stride = 2 if stage and dilation == 1 else 1
        layers += [(3, stride, dilation, dilation), *[(3, 1, dilation, dilation)] * (count - 1)]
    return layers


@pytest.mark.parametrize(
    ("name", "layers", "size", "stride"),
    [
        ("N4", [(4,), (2, 2), (5,), (2, 2), (4,), (2, 2), (4,), (2, 2), (3,)], 95, 16),
        ("Farabet", [(7,), (2, 2), (7,), (2, 2), (7,)], 46, 4),
        ("CaffeNet pool5", caffenet, 195, 32),
        ("CaffeNet fc6", [*caffenet, (6,)], 355, 32),
        ("VGG16 pool3", vgg[:10], 44, 8),
        ("VGG16 pool4", vgg[:14], 100, 16),
        ("VGG16 conv5_3", vgg[:17], 196, 16),
        ("VGG16 pool5", vgg, 212, 32),
        ("FCN fc7", [*vgg, (7,), (1,)], 404, 32),
        ("SegNet-Basic encoder", [(7, 1, 3), (2, 2)] * 4, 106, 16),
        ("DeepLab LargeFOV", large_fov, 435, 8),
        ("YOLO", yolo, 749, 64),
        ("U-Net bottom", [*[(3,), (3,), (2, 2)] * 4, (3,), (3,)], 140, 16),
        ("ResNet50", resnet((3, 4, 6, 3), (1, 1, 1, 1)), 427, 32),
        ("ResNet50 OS8", resnet((3, 4, 6, 3), (1, 1, 2, 4)), 475, 8),
        ("ResNet101 OS16", resnet((3, 4, 23, 3), (1, 1, 1, 2)), 1003, 16),
    ],
)
def test_receptive_fields_of_the_lecture(name, layers, size, stride):
    field = receptive_field(layers)
    assert (field.size, field.stride) == (size, stride), name


def test_same_padding_centres_the_window_on_its_sample():
    field = receptive_field([(3, 1, 1), (5, 1, 4, 2), (7, 1, 3)])
    for i in (0, 9):
        first, last = field.window(i)
        assert first + last - 1 == 2 * i


def test_layers_of_reads_a_chain():
    net = nn.Sequential(
        nn.Conv2d(3, 8, (5, 3), stride=(2, 1), padding=(2, 1), dilation=(1, 3)),
        nn.Sequential(nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(3, 2, 1, ceil_mode=True)),
        nn.Dropout(),
        nn.Conv2d(8, 8, 3, padding="same", dilation=2),
        nn.AvgPool2d(2),
    )
    assert layers_of(net) == [
        Layer(3, 1, 1, 3),
        Layer(3, 2, 1, 1, ceil_mode=True),
        Layer(3, 1, 2, 2),
        Layer(2, 2),
    ]
    assert layers_of(net, axis=-2)[0] == Layer(5, 2, 2)
    assert output_sizes(33, layers_of(net))[-1] == net.eval()(torch.rand(1, 3, 40, 33)).shape[-1]


@pytest.mark.parametrize("axis", [-1, -2])
def test_layers_of_reads_padding_layers_and_rarer_poolings(axis):
    net = nn.Sequential(
        nn.ZeroPad2d((3, 3, 2, 2)),
        nn.Conv2d(1, 1, 7, stride=2),
        nn.ReflectionPad2d(1),
        nn.LPPool2d(2, 3, ceil_mode=True),
        nn.MaxPool2d([2, 1]),  # pyright: ignore[reportArgumentType]
        nn.LPPool2d(1, (3, 2), stride=1),
    )
    layers = layers_of(net, axis=axis)
    assert layers[0] == Layer(1, padding=3 if axis == -1 else 2)
    image = torch.rand(1, 1, 64, 47)
    assert output_sizes(image.shape[axis], layers)[-1] == net(image).shape[axis]


def test_lopsided_padding_layers_are_refused():
    pad = nn.Sequential(nn.ZeroPad2d((1, 1, 0, 1)))
    assert layers_of(pad) == [Layer(1, padding=1)]
    with pytest.raises(ValueError, match=r"layer '0' \(ZeroPad2d\) pads 0 samples .* 1 after"):
        layers_of(pad, axis=-2)


@pytest.mark.parametrize(
    "layer",
    [
        nn.ConvTranspose2d(1, 1, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.FractionalMaxPool2d(2, output_ratio=0.6),
        nn.Upsample(2),
        nn.PixelShuffle(2),
        nn.PixelUnshuffle(2),
        nn.Unfold(2),
        nn.Linear(3, 1),
    ],
)
def test_layers_without_a_window_are_refused(layer):
    with pytest.raises(ValueError, match=f"layer '1' .{type(layer).__name__}"):
        layers_of(nn.Sequential(nn.ReLU(), layer))


def test_lopsided_same_padding_is_refused():
    with pytest.raises(ValueError, match="kernel 2 and dilation 1"):
        layers_of(nn.Conv2d(1, 1, 2, padding="same"))


# U-Net path -----------------------------------------------------------------------------------


def path_by_hand(n, depth):
    """Sizes along the path by walking it, or None where the walk ends."""
    path = []

    def convolve(size):
        path.extend([size, size - 2, size - 4])
        return size - 4

    for _ in range(depth):
        n = convolve(n)
        if n < 2 or n % 2:
            return None
        n //= 2
    for _ in range(depth):
        n = convolve(n)
        if n < 1:
            return None
        n *= 2
    return path if convolve(n) >= 1 else None


@pytest.mark.parametrize("depth", range(1, 6))
def test_unet_path_is_the_walk_for_every_size(depth):
    legal = {}
    for n in range(1, 900):
        path = path_by_hand(n, depth)
        if path is None:
            with pytest.raises(ValueError, match="legal"):
                unet_sizes(n, depth)
        else:
            assert unet_sizes(n, depth) == path
            assert unet_output(n, depth) == path[-1] == n - 2 * unet_border(depth)
            legal[n] = path[-1]
    for out in range(1, 400):
        expected = min(n for n, given in legal.items() if given >= out)
        assert valid_input_for(out, depth) == expected


def test_published_path():
    contracting = [572, 570, 568, 284, 282, 280, 140, 138, 136, 68, 66, 64, 32, 30, 28]
    expanding = [56, 54, 52, 104, 102, 100, 200, 198, 196, 392, 390, 388]
    assert unet_sizes(572) == contracting + expanding


@pytest.mark.parametrize(
    ("n", "message"),
    [
        (570, "level 1 would pool the odd size 279; nearest legal: 556 and 572"),
        (512, "level 2 would pool the odd size 121; nearest legal: 508 and 524"),
        (573, "level 0 would pool the odd size 569; nearest legal: 572 and 588"),
        (190, "nearest legal: 188 and 204"),
        (187, "too small .* smallest legal size is 188"),
        (0, "n must be at least 1"),
    ],
)
def test_illegal_sizes_name_the_level_and_the_way_out(n, message):
    with pytest.raises(ValueError, match=message):
        unet_sizes(n)


def test_nearest_legal_sizes_are_legal_and_adjacent():
    for depth, n in product((1, 2, 3, 4), range(20, 300)):
        if n < valid_input_for(1, depth) or path_by_hand(n, depth):
            continue
        with pytest.raises(ValueError, match="nearest legal: ") as caught:
            unet_sizes(n, depth)
        below, above = map(int, str(caught.value).split("legal: ")[1].split(" and "))
        assert below < n < above == below + 2**depth
        assert path_by_hand(below, depth)
        assert path_by_hand(above, depth)


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_unet_receptive_field_is_where_the_gradient_is(depth):
    net = UNet(1, 1, width=1, depth=depth).double()
    net.pool = nn.AvgPool2d(2)  # the maximum would pass the gradient to one sample of four
    for parameter in net.parameters():
        nn.init.constant_(parameter, 0.1)
    out = 2**depth + 4
    n = valid_input_for(out, depth)
    for position in range(out):
        image = torch.ones(1, 1, n, n, dtype=torch.float64, requires_grad=True)
        net(image)[0, 0, position, 0].backward()
        assert image.grad is not None
        rows = image.grad[0, 0].sum(1).nonzero()[:, 0]
        window = unet_receptive_field(position, depth)
        assert (rows.min().item(), rows.max().item() + 1) == window


def test_unet_receptive_field_widths():
    widths = {}
    for depth in (1, 2, 3, 4):
        windows = [unet_receptive_field(position, depth) for position in range(32)]
        widths[depth] = {last - first for first, last in windows}
    assert widths == {1: {18}, 2: {44}, 3: {92, 100}, 4: {188, 204}}


# Cost -----------------------------------------------------------------------------------------


def conv_macs(out, channels_in, channels, kernel):
    return out * out * channels_in * channels * kernel * kernel


@pytest.mark.parametrize(
    ("layer", "shape", "macs"),
    [
        (nn.Conv2d(3, 8, 5), (2, 3, 9, 11), 2 * 5 * 7 * 25 * 3 * 8),
        (nn.Conv2d(8, 4, (3, 1), stride=2, bias=False), (1, 8, 9, 9), 4 * 5 * 3 * 8 * 4),
        (nn.Conv2d(8, 4, 3, groups=4, padding=1), (1, 8, 6, 6), 36 * 9 * 2 * 4),
        (nn.Conv2d(8, 8, 3, groups=8, padding=2, dilation=2), (1, 8, 6, 6), 36 * 9 * 8),
        (nn.ConvTranspose2d(8, 4, 4, stride=2), (3, 8, 5, 6), 3 * 30 * 16 * 8 * 4),
        (nn.ConvTranspose2d(8, 4, 4, stride=2, groups=2), (1, 8, 5, 6), 30 * 16 * 4 * 4),
        (nn.Conv1d(2, 3, 3), (1, 2, 10), 8 * 3 * 2 * 3),
        (nn.Linear(10, 7), (5, 10), 350),
        (nn.Linear(10, 7), (5, 2, 10), 700),
        (nn.MaxPool2d(2), (1, 1, 4, 4), 0),
    ],
)
def test_macs_of_one_layer(layer, shape, macs):
    assert count_macs(layer, shape) == macs


def toy():
    return nn.Sequential(
        nn.Conv2d(3, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 400, 5), nn.ReLU(),
        nn.Conv2d(400, 400, 1), nn.ReLU(), nn.Conv2d(400, 4, 1),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("function", "shapes", "macs"),
    [
        (torch.matmul, [(5, 7), (7,)], 35),
        (torch.matmul, [(7,), (7, 5)], 35),
        (torch.matmul, [(3, 5, 7), (7,)], 105),
        (torch.matmul, [(7,), (7,)], 7),
        (torch.vdot, [(7,), (7,)], 7),
        (torch.addmv, [(5,), (5, 7), (7,)], 35),
        (nn.Bilinear(3, 4, 5), [(2, 3), (2, 4)], 2 * 3 * 4 * 5),
        (nn.Bilinear(3, 4, 5), [(2, 6, 3), (2, 6, 4)], 12 * 3 * 4 * 5),
        (F.scaled_dot_product_attention, [(1, 2, 4, 8)] * 3, 2 * 2 * 4 * 8 * 4),
    ],
)
def test_macs_of_products_of_vectors_and_matrices(function, shapes, macs):
    class Product(nn.Module):
        def forward(self, *factors):
            return function(*factors)

    net = function if isinstance(function, nn.Module) else Product()
    assert count_macs(net, *shapes) == macs


def test_macs_of_the_sliding_window_slide():
    assert count_macs(toy(), (1, 3, 14, 14)) == 441_600
    assert count_macs(toy(), (4, 3, 14, 14)) == 1_766_400
    assert count_macs(toy(), (1, 3, 16, 16)) == 1_459_200


def test_macs_of_vgg16():
    maps, channels = [64, 128, 256, 512, 512], 3
    layers = []
    for width, convs in zip(maps, (2, 2, 3, 3, 3)):
        for _ in range(convs):
            layers += [nn.Conv2d(channels, width, 3, padding=1, device="meta"), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    head = [nn.Linear(a, b, device="meta") for a, b in ((25088, 4096), (4096, 4096), (4096, 1000))]
    net = nn.Sequential(*layers, nn.Flatten(), *head)
    assert count_macs(net, (1, 3, 224, 224)) == 15_470_264_320


def unet_macs(n):
    sizes, widths = unet_sizes(n), [64, 128, 256, 512, 1024]
    triples = [sizes[i : i + 3] for i in range(0, len(sizes), 3)]
    total = 0
    for (_, first, second), before, width in zip(triples, [1, *widths], widths):
        total += conv_macs(first, before, width, 3) + conv_macs(second, width, width, 3)
    bottom = triples[4][2]
    for (_, first, second), width in zip(triples[5:], widths[-2::-1]):
        total += conv_macs(bottom, 2 * width, width, 2)
        total += conv_macs(first, 2 * width, width, 3) + conv_macs(second, width, width, 3)
        bottom = second
    return total + conv_macs(bottom, 64, 2, 1)


def test_macs_of_the_unet():
    with torch.device("meta"):
        valid, same = UNet(), UNet(padding="same")
    for n in (188, 572, 700):
        assert count_macs(valid, (1, 1, n, n)) == unet_macs(n)
    assert round(unet_macs(572) / 1e9, 2) == 150.43
    assert round(unet_macs(700) / 1e9, 2) == 246.63
    assert round(count_macs(same, (1, 1, 512, 512)) / 1e9, 2) == 192.38


class Functional(nn.Module):
    """Convolves without a layer, around a layer that it calls twice."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.rand(4, 3, 3, 3))
        self.inner = nn.Sequential(nn.Conv2d(4, 4, 1))

    def forward(self, x, y):
        z = F.conv2d(x, self.weight, dilation=2)  # 4·4 outputs of 8×8
        return self.inner(self.inner(z)) @ y


def test_macs_are_charged_to_whoever_computes():
    net = Functional()
    parts = macs_by_layer(net, (1, 3, 8, 8), (4, 5))
    assert parts == {"": 16 * 27 * 4 + 4 * 16 * 5, "inner.0": 2 * 16 * 16}
    assert list(parts) == ["", "inner.0"]
    assert count_macs(net, (1, 3, 8, 8), (4, 5)) == sum(parts.values())


def test_macs_leave_the_module_as_it_was():
    frozen = nn.BatchNorm2d(4).eval()
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), frozen, nn.Dropout())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    assert count_macs(net, (1, 1, 3, 3)) == 36  # batch norm in training mode would refuse 1 value
    assert [part.training for part in net] == [True, True, False, True]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert all(parameter.device.type == "cpu" for parameter in net.parameters())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in net.modules())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_a_net_of_any_precision_is_counted(dtype):
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 2, 1))
    assert count_macs(net.to(dtype), (1, 1, 8, 8)) == count_macs(net.float(), (1, 1, 8, 8))


def test_macs_of_impossible_inputs_are_refused():
    with pytest.raises(ValueError, match=r"Conv2d cannot be counted .*\(1, 2, 8, 8\)"):
        count_macs(nn.Conv2d(3, 4, 3), (1, 2, 8, 8))
    with pytest.raises(TypeError, match="tuple of integers"):
        count_macs(nn.Conv2d(3, 4, 3), 224)  # pyright: ignore[reportArgumentType]


def test_sizes_need_no_torch():
    code = "import sys, course.geometry as g; g.unet_sizes(572); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
