import copy
import math
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from course.geometry import unet_border, unet_output, unet_sizes
from course.models import UNet
from course.models.unet import center_crop
from tests.course.model_checks import check_gradients, meta_shape, parameters, uneven


def closed_form(channels, classes, width, depth):
    """Parameters of a U-Net, counted layer by layer on paper."""
    maps = [channels, *[width * 2**level for level in range(depth + 1)]]
    down = sum(9 * a * b + b + 9 * b * b + b for a, b in pairwise(maps))
    up = sum(4 * c * b + b + 9 * c * b + b + 9 * b * b + b for b, c in pairwise(maps[1:]))
    return down + up + width * classes + classes


@pytest.mark.parametrize(
    ("channels", "classes", "options", "count"),
    [
        (1, 2, {}, 31_030_658),
        (1, 1, {}, 31_030_593),
        (3, 1, {}, 31_031_745),
        (3, 2, {}, 31_031_810),
        (3, 21, {}, 31_033_045),
        (1, 2, {"padding": "same"}, 31_030_658),
        (3, 2, {"padding": "same", "batch_norm": True}, 31_037_698),
        (1, 2, {"padding": "same", "batch_norm": True}, 31_036_546),
        (1, 2, {"width": 16}, 1_940_834),
        (1, 2, {"width": 8, "depth": 2}, 29_330),
    ],
)
def test_parameter_counts(channels, classes, options, count):
    assert parameters(lambda: UNet(channels, classes, **options)) == count
    if "batch_norm" not in options:
        size = options.get("width", 64), options.get("depth", 4)
        assert closed_form(channels, classes, *size) == count


def test_closed_form_for_other_shapes():
    for channels, classes, width, depth in ((2, 5, 3, 1), (4, 1, 7, 3), (1, 3, 2, 5)):
        with torch.device("meta"):
            net = UNet(channels, classes, width=width, depth=depth)
        built = sum(parameter.numel() for parameter in net.parameters())
        assert built == closed_form(channels, classes, width, depth)


def test_published_layers():
    with torch.device("meta"):
        layers = [type(part).__name__ for part in UNet().modules() if hasattr(part, "weight")]
    assert layers.count("Conv2d") == 18 + 1
    assert layers.count("ConvTranspose2d") == 4
    assert len(layers) == 23


# Sizes ----------------------------------------------------------------------------------------


def test_published_sizes_at_every_layer():
    with torch.device("meta"):
        net = UNet()
    sizes = [572]
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d | nn.MaxPool2d) and part is not net.head:
            part.register_forward_hook(lambda *args: sizes.append(args[2].shape[-1]))
    out = net(torch.empty(1, 1, 572, 572, device="meta"))
    assert tuple(out.shape) == (1, 2, 388, 388)
    assert sizes == unet_sizes(572)


@pytest.mark.parametrize(("depth", "height", "width"), [(1, 18, 22), (2, 44, 60), (3, 108, 92)])
def test_output_sizes_of_rectangles(depth, height, width):
    shape = meta_shape(lambda: UNet(3, 5, width=2, depth=depth), 2, 3, height, width)
    assert shape == (2, 5, unet_output(height, depth), unet_output(width, depth))


def test_same_padding_keeps_the_size():
    assert meta_shape(lambda: UNet(3, 5, width=2, padding="same"), 2, 3, 48, 80) == (2, 5, 48, 80)


def test_crops_of_figure_1(monkeypatch):
    margins = []

    def spy(maps, height, width):
        margins.append((maps.shape[-2] - height) // 2)
        return center_crop(maps, height, width)

    monkeypatch.setattr("course.models.unet.center_crop", spy)
    meta_shape(UNet, 1, 1, 572, 572)
    assert margins == [4, 16, 40, 88]


# Values ---------------------------------------------------------------------------------------


def forward_on_paper(net, images, depth, padding=0):
    """Figure 1 again, written with functions and explicit slices, from the state dict alone."""
    state = dict(net.named_parameters())

    def convs(x, name):
        for layer in (0, 2):
            weight, bias = state[f"{name}.{layer}.weight"], state[f"{name}.{layer}.bias"]
            x = F.conv2d(x, weight, bias, padding=padding).clamp(min=0)
        return x

    skips = []
    x = images
    for level in range(depth):
        x = convs(x, f"contracting.{level}")
        skips.append(x)
        x = x.unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).amax((3, 5))
    x = convs(x, f"contracting.{depth}")
    for level in range(depth):
        weight, bias = state[f"up.{level}.weight"], state[f"up.{level}.bias"]
        x = torch.einsum("bchw,ckij->bkhiwj", x, weight).flatten(4, 5).flatten(2, 3)
        x = x + bias[:, None, None]
        skip = skips[depth - 1 - level]
        top, left = ((skip.shape[axis] - x.shape[axis]) // 2 for axis in (2, 3))
        skip = skip[:, :, top : skip.shape[2] - top, left : skip.shape[3] - left]
        x = convs(torch.cat((skip, x), 1), f"expanding.{level}")
    return F.conv2d(x, state["head.weight"], state["head.bias"])


@pytest.mark.parametrize(
    ("depth", "padding", "shape"),
    [(1, "valid", (2, 3, 22, 26)), (3, "valid", (1, 3, 108, 92)), (2, "same", (2, 3, 12, 20))],
)
def test_values_and_gradients_of_figure_1(depth, padding, shape):
    torch.manual_seed(0)
    net = UNet(3, 4, width=3, depth=depth, padding=padding).double()
    for name, parameter in net.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter, std=0.1)
    images = torch.rand(shape, dtype=torch.float64, requires_grad=True)
    wanted = [images, *net.parameters()]
    ours = net(images)
    theirs = forward_on_paper(net, images, depth, int(padding == "same"))
    torch.testing.assert_close(ours, theirs)
    for mine, other in zip(
        torch.autograd.grad(uneven(ours.float()), wanted),
        torch.autograd.grad(uneven(theirs.float()), wanted),
    ):
        torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)


def test_shift_by_the_multiple_shifts_the_output():
    torch.manual_seed(0)
    net = UNet(width=4, depth=2).double()
    image = torch.rand(1, 1, 64, 68, dtype=torch.float64)
    whole, shifted = net(image), net(image[..., 4:, 8:])
    torch.testing.assert_close(shifted, whole[..., 4:, 8:])
    off_grid = net(image[..., 2:-2, :])
    assert (off_grid - whole[..., 2:-2, :]).abs().max() > 0.01 * whole.std()


def test_images_of_a_batch_do_not_meet():
    torch.manual_seed(0)
    net = UNet(3, 2, width=4, depth=2)
    images = torch.rand(3, 3, 44, 48)
    each = torch.cat([net(image[None]) for image in images])
    torch.testing.assert_close(net(images), each, rtol=1e-4, atol=1e-5)


def test_gradients_reach_every_parameter():
    torch.manual_seed(0)
    check_gradients(UNet(3, 4, width=4, depth=2), torch.rand(2, 3, 48, 44), uneven)


def test_he_initialisation():
    torch.manual_seed(0)
    net = UNet(3, 2, width=32, depth=2)
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            taps = math.prod(part.kernel_size) if isinstance(part, nn.Conv2d) else 1
            expected = math.sqrt(2 / (part.in_channels * taps))
            spread = 5 * expected / math.sqrt(2 * part.weight.numel())
            assert abs(part.weight.std().item() - expected) < spread
            assert part.bias is not None
            assert part.bias.abs().max() == 0
    paper = UNet(width=64, depth=1).contracting[0][2].weight  # N = 9·64 = 576
    assert paper.std().item() == pytest.approx(0.0589256, rel=0.02)


def test_dropout_acts_at_the_bottom_and_only_in_training():
    torch.manual_seed(0)
    net = UNet(width=4, depth=2, dropout=1.0)  # drops the whole bottom
    image = torch.rand(1, 1, 44, 44)
    net(image).square().sum().backward()
    bottom, skip = net.contracting[2][2].weight.grad, net.contracting[1][2].weight.grad
    assert bottom is not None
    assert bottom.abs().max() == 0
    assert skip is not None
    assert skip.abs().max() > 0
    plain = UNet(width=4, depth=2)
    plain.load_state_dict(net.state_dict())
    torch.testing.assert_close(net.eval()(image), plain(image), rtol=0, atol=0)


# Formats, precisions, compilation -------------------------------------------------------------


def test_maps_stay_channels_last():
    net, formats = UNet(1, 2, width=4, depth=2), []
    for part in net.modules():
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            part.register_forward_hook(lambda *args: formats.append(args[2]))
    with torch.no_grad():
        net(torch.rand(2, 1, 60, 44))
    assert len(formats) == 13
    for maps in formats:
        assert maps.is_contiguous(memory_format=torch.channels_last)


def test_memory_format_changes_no_value():
    torch.manual_seed(0)
    net = UNet(3, 2, width=4, depth=2).double()
    images = torch.rand(2, 3, 44, 48, dtype=torch.float64)
    other = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    torch.testing.assert_close(net(images), other(images))


@pytest.mark.parametrize("how", ["cast", "autocast"])
def test_bfloat16(how):
    torch.manual_seed(0)
    net = UNet(1, 2, width=8, depth=2).eval()
    images = torch.rand(2, 1, 60, 60)
    with torch.no_grad():
        exact = net(images)
        if how == "cast":
            low = net.bfloat16()(images.bfloat16())
        else:
            with torch.autocast("cpu", torch.bfloat16):
                low = net(images)
    assert low.dtype == torch.bfloat16
    assert (low.float() - exact).abs().mean() < 0.03 * exact.abs().mean()


@pytest.mark.slow
def test_compiled_code_gives_the_same_values():
    torch.manual_seed(0)
    net = UNet(1, 2, width=4, depth=2).eval()
    image = torch.rand(1, 1, 44, 60)
    compiled = torch.compile(net, fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(image), net(image), rtol=1e-4, atol=1e-5)


def test_state_survives_a_round_trip(tmp_path):
    torch.manual_seed(0)
    net, image = UNet(width=4, depth=1), torch.rand(1, 1, 18, 18)
    torch.save(net.state_dict(), tmp_path / "unet.pt")
    other = UNet(width=4, depth=1)
    other.load_state_dict(torch.load(tmp_path / "unet.pt", weights_only=True))
    torch.testing.assert_close(net(image), other(image), rtol=0, atol=0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_the_values_of_the_cpu():
    torch.manual_seed(0)
    net, images = UNet(1, 2, width=8).eval().double(), torch.rand(2, 1, 188, 204).double()
    with torch.no_grad():
        expected = net(images)
        logits = net.cuda()(images.cuda())
        assert logits.is_cuda
        torch.testing.assert_close(logits.cpu(), expected)
        low = net.bfloat16()(images.cuda().bfloat16())
    assert (low.cpu().double() - expected).abs().mean() < 0.05 * expected.abs().mean()


# Doors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 570, 572), "height of the images: .* level 1 .* nearest legal: 556 and 572"),
        ((1, 1, 572, 512), "width of the images: .* level 2 .* nearest legal: 508 and 524"),
        ((1, 1, 572, 100), "width of the images: .* too small .* 188"),
        ((1, 3, 572, 572), r"\(B, 1, H, W\), got shape \(1, 3, 572, 572\)"),
        ((1, 572, 572), r"images\[None\]"),
        ((1, 1, 0, 572), "without pixels"),
    ],
)
def test_illegal_images_are_refused(shape, message):
    with torch.device("meta"):
        net = UNet()
    with pytest.raises(ValueError, match=message):
        net(torch.empty(shape, device="meta"))


def test_same_padding_refuses_what_it_cannot_halve():
    with pytest.raises(ValueError, match="height of the images: 44 is not a multiple of 8"):
        UNet(width=2, depth=3, padding="same")(torch.rand(1, 1, 44, 48))


def test_integer_images_are_refused():
    with pytest.raises(TypeError, match="uint8"):
        UNet(width=2, depth=1)(torch.zeros(1, 1, 18, 18, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth": 0}, "depth must be at least 1"),
        ({"width": -8}, "width must be at least 1, got -8"),
        ({"num_classes": 0}, "num_classes must be at least 1"),
        ({"padding": "reflect"}, "padding must be 'valid' .* got 'reflect'"),
    ],
)
def test_impossible_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        UNet(**options)


@pytest.mark.parametrize("height", [3, 6])
def test_crop_refuses_what_has_no_centre(height):
    with pytest.raises(ValueError, match=f"cannot crop {height}×4 .*even and not negative"):
        center_crop(torch.zeros(1, 1, 4, 6), height, 4)


def test_tiling_attributes():
    for depth in range(1, 7):
        with torch.device("meta"):
            valid = UNet(width=1, depth=depth)
            same = UNet(width=1, depth=depth, padding="same")
        assert valid.border == unet_border(depth)
        assert valid.multiple == same.multiple == 2**depth
        for net in (valid, same):
            assert 512 <= net.tile - 2 * net.border <= 516
            assert meta_shape(lambda net=net: net, 1, 1, net.tile, net.tile)
