import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import course.tiling.predict
from course.geometry import valid_input_for
from course.models import UNet
from course.tiling import mirror_pad, mirrored_window, predict_tiled, tile_plan

# Mirroring ------------------------------------------------------------------------------------

sides = st.tuples(*[st.integers(0, 20)] * 4)


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.0.0",
    reason="numpy 1 mirrors wrongly where a margin needs more than one reflection",
)
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 7), st.integers(1, 7), sides)
def test_mirror_is_numpys_for_every_margin(height, width, margin):
    left, top, right, bottom = margin
    array = np.arange(2 * height * width).reshape(2, height, width)
    expected = np.pad(array, ((0, 0), (top, bottom), (left, right)), mode="reflect")
    np.testing.assert_array_equal(mirror_pad(array, margin), expected)
    np.testing.assert_array_equal(mirror_pad(torch.from_numpy(array), margin).numpy(), expected)


def test_mirror_values_and_gradients_are_torchs():
    image = torch.rand(2, 3, 6, 9, requires_grad=True)
    weight = torch.rand(2, 3, 6 + 8, 9 + 8)
    ours, theirs = mirror_pad(image, 4), F.pad(image, (4, 4, 4, 4), mode="reflect")
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    (mine,) = torch.autograd.grad((ours * weight).sum(), image)
    (other,) = torch.autograd.grad((theirs * weight).sum(), image)
    torch.testing.assert_close(mine, other)


def test_mirror_does_not_repeat_the_edge():
    assert mirror_pad(torch.tensor([[1, 2, 3]]), (2, 0, 2, 0)).tolist() == [[3, 2, 1, 2, 3, 2, 1]]


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.bfloat16])
def test_mirror_keeps_the_dtype(dtype):
    image = torch.tensor([[0, 1, 1], [1, 0, 0]]).to(dtype)
    padded = mirror_pad(image, 1)
    assert padded.dtype == dtype
    assert padded.shape == (4, 5)
    assert torch.equal(padded[1:-1, 1:-1], image)


@settings(max_examples=40, deadline=None)
@given(st.integers(-30, 30), st.integers(-30, 30), st.integers(1, 12), st.integers(1, 12))
def test_windows_are_parts_of_the_padded_image(x, y, width, height):
    image = torch.arange(35).view(5, 7)
    whole = mirror_pad(image, 50)
    window = mirrored_window(image, (x, y, x + width, y + height))
    assert torch.equal(window, whole[y + 50 : y + 50 + height, x + 50 : x + 50 + width])


def test_a_window_inside_is_a_view():
    image = torch.zeros(3, 8, 8)
    mirrored_window(image, (2, 3, 5, 6)).fill_(1)
    assert image.sum() == 27


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mirror_pad(torch.zeros(3, 3), -1), "margins must be at least 0 pixels, got -1"),
        (lambda: mirror_pad(torch.zeros(3, 3), (0, 0, 0, -2)), "at least 0"),
        (lambda: mirror_pad(torch.zeros(3, 0), 1), r"at least one pixel, got shape \(3, 0\)"),
        (lambda: mirror_pad(torch.zeros(4), 1), r"got shape \(4,\)"),
        (lambda: mirrored_window(torch.zeros(3, 3), (2, 0, 2, 3)), r"\(2, 0, 2, 3\) is empty"),
    ],
)
def test_impossible_windows_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Plans ----------------------------------------------------------------------------------------


@settings(max_examples=150, deadline=None)
@given(
    st.integers(1, 150),
    st.integers(1, 150),
    st.integers(1, 8),
    st.integers(0, 7),
    st.sampled_from([1, 2, 4, 8]),
    st.booleans(),
)
def test_plans_cover_each_pixel_once(height, width, steps, rest, multiple, balance):
    tile = steps * multiple + rest % multiple
    plan = tile_plan(height, width, tile, multiple=multiple, balance=balance)
    count = np.zeros((height, width), int)
    for x0, y0, x1, y1 in plan.boxes:
        assert x0 % multiple == y0 % multiple == 0
        assert 0 < x1 - x0 <= plan.size[1]
        assert 0 < y1 - y0 <= plan.size[0]
        count[y0:y1, x0:x1] += 1
    assert (count == 1).all()
    starts = {box[1] for box in plan.boxes}, {box[0] for box in plan.boxes}
    for length, size, stride, places in zip((height, width), plan.size, plan.stride, starts):
        assert size % multiple == tile % multiple  # a legal size stays legal
        assert size <= tile if balance else size == tile
        smallest = next(n for n in range(1, 200) if (n - 1) * steps * multiple + tile >= length)
        assert len(places) == smallest
        if balance and size > multiple:  # one multiple less would not cover
            assert (smallest - 1) * (stride - multiple) + size - multiple < length


def test_plan_of_the_paper():
    plan = tile_plan(512, 512, 388, balance=False)
    assert plan.boxes == [
        (0, 0, 388, 388),
        (388, 0, 512, 388),
        (0, 388, 388, 512),
        (388, 388, 512, 512),
    ]
    assert len(tile_plan(1000, 1000, 388, balance=False).boxes) == 9
    assert len(tile_plan(388, 388, 388, multiple=16).boxes) == 1


def test_plan_of_a_rectangle():
    plan = tile_plan(90, 200, (40, 70), multiple=4)
    assert plan.size == (32, 70)
    assert [box[:2] for box in plan.boxes[:4]] == [(0, 0), (68, 0), (136, 0), (0, 32)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5, 3, 1), "at least 1 pixel, got 0, 5, 3 and 1"),
        ((5, 5, 0, 1), "at least 1 pixel"),
        ((5, 5, 3, 0), "at least 1 pixel"),
        ((5, 5, 3, 8), "cannot cover 5 pixels at multiples of 8: use tiles of at least 8"),
    ],
)
def test_impossible_plans_are_refused(arguments, message):
    *sizes, multiple = arguments
    with pytest.raises(ValueError, match=message):
        tile_plan(*sizes, multiple=multiple)


# Equality with one pass -----------------------------------------------------------------------


def one_pass(net, image):
    """Logits of a U-Net for the whole image at once, mirrored as far as its size asks for."""
    height, width = image.shape[-2:]
    lost = net.border
    if net.padding == "valid":
        rows, columns = valid_input_for(height, net.depth), valid_input_for(width, net.depth)
    else:
        rows, columns = (-(-n // net.multiple) * net.multiple + 2 * lost for n in (height, width))
    margin = (lost, lost, columns - width - lost, rows - height - lost)
    with torch.no_grad():
        logits = net(mirror_pad(image, margin))
    start = 0 if net.padding == "valid" else lost
    return logits[..., start : start + height, start : start + width]


@pytest.fixture
def net():
    torch.manual_seed(0)
    return UNet(3, 2, width=4, depth=2).double().eval()


@pytest.fixture
def image():
    return torch.rand(2, 3, 61, 90, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"tile": 48},
        {"tile": 64, "batch_size": 3},
        {"tile": (48, 92)},
        {"tile": 64, "balance": False},
    ],
)
def test_tiles_equal_one_pass(net, image, options):
    tiled = predict_tiled(net, image, **options)
    torch.testing.assert_close(tiled, one_pass(net, image), rtol=0, atol=1e-13)


@pytest.mark.parametrize(("depth", "tile"), [(1, 24), (3, 108), (4, 204)])
def test_tiles_equal_one_pass_at_every_depth(depth, tile):
    torch.manual_seed(0)
    net = UNet(1, 2, width=2, depth=depth).double()
    image = torch.rand(1, 45, 38).double()
    whole = one_pass(net, image[None])[0]
    torch.testing.assert_close(predict_tiled(net, image, tile=tile), whole, rtol=0, atol=1e-13)


def test_tiles_of_float32_equal_one_pass_to_rounding():
    torch.manual_seed(0)
    net, image = UNet(1, 2, width=8, depth=3), torch.rand(1, 1, 130, 170)
    whole = one_pass(net, image)
    tiled = predict_tiled(net, image, tile=156, batch_size=2)
    assert tiled.dtype == torch.float32
    assert (tiled - whole).abs().max() < 1e-5 * whole.abs().max()


def test_images_smaller_than_the_border_are_mirrored_again(net):
    for shape in ((3, 1, 1), (3, 2, 30), (3, 7, 3)):
        image = torch.rand(shape).double()
        whole = one_pass(net, image[None])[0]
        torch.testing.assert_close(predict_tiled(net, image), whole, rtol=0, atol=1e-13)


def test_the_published_stride_shifts_the_pooling_grid():
    torch.manual_seed(0)
    net = UNet(1, 2, width=4, depth=3).double()  # 108→20, and 20 mod 8 = 4, like 388 mod 16
    image = torch.rand(1, 60, 60).double()
    whole = one_pass(net, image[None])[0]
    shifted = predict_tiled(net, image, tile=108, multiple=1, balance=False)
    assert torch.allclose(shifted[:, :20, :20], whole[:, :20, :20])  # the first tile is in phase
    assert (shifted - whole).abs().max() > 0.1 * whole.std()


@pytest.mark.parametrize("depth", [2, 3])
def test_zero_padding_needs_its_border(depth):
    torch.manual_seed(0)
    net = UNet(1, 2, width=4, depth=depth, padding="same").double()
    step = net.multiple
    image = torch.rand(1, 3 * step, 4 * step + 1).double()
    whole = one_pass(net, image[None])[0]
    tile = 2 * net.border + 2 * step
    torch.testing.assert_close(predict_tiled(net, image, tile=tile), whole, rtol=0, atol=1e-13)
    less = predict_tiled(net, image, tile=tile - 2 * step, border=net.border - step)
    assert (less - whole).abs().max() > 1e-3 * whole.std()


def test_any_network_with_a_border():
    torch.manual_seed(0)
    image = torch.rand(2, 50, 33)
    convs = nn.Sequential(nn.Conv2d(2, 4, 5), nn.ReLU(), nn.Conv2d(4, 3, 3, dilation=2))
    whole = convs(mirror_pad(image, 4)[None])[0]
    for tile in (9, 20, 100, None):
        tiled = predict_tiled(convs, image, tile=tile, border=4)
        torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)
    function = predict_tiled(lambda x: convs(x), image, tile=20, border=4)
    torch.testing.assert_close(function, whole, rtol=0, atol=1e-6)


# Inputs, outputs, cost ------------------------------------------------------------------------


def test_arrays_and_bytes(net):
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 52), dtype=np.uint8)
    expected = predict_tiled(net, torch.from_numpy(pixels).double() / 255, tile=60)
    for image in (pixels, torch.from_numpy(pixels), pixels / 255, torch.from_numpy(pixels) / 255.0):
        tiled = predict_tiled(net, image, tile=60)
        torch.testing.assert_close(tiled, expected, rtol=0, atol=1e-6)


def test_memory_maps(net, image, tmp_path):
    np.save(tmp_path / "image.npy", image[0].numpy())
    source = np.load(tmp_path / "image.npy", mmap_mode="r")
    target = np.lib.format.open_memmap(
        tmp_path / "labels.npy", mode="w+", dtype=np.uint8, shape=(61, 90)
    )
    result = predict_tiled(net, source, tile=64, activation=lambda z: z.argmax(1), out=target)
    assert result is target
    target.flush()
    expected = one_pass(net, image[:1])[0].argmax(0)
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), expected.numpy())
    assert set(np.unique(target)) == {0, 1}


def test_out_may_be_a_tensor(net, image):
    out = torch.full((2, 2, 61, 90), torch.nan)
    assert predict_tiled(net, image, tile=64, out=out) is out
    torch.testing.assert_close(out, one_pass(net, image).float())


def test_activation_shapes_the_result(net, image):
    labels = predict_tiled(net, image, tile=64, activation=lambda z: z.argmax(1))
    assert labels.shape == (2, 61, 90)
    assert torch.equal(labels, one_pass(net, image).argmax(1))
    shares = predict_tiled(net, image[0], tile=64, activation=lambda z: z.softmax(1))
    torch.testing.assert_close(shares.sum(0), torch.ones(61, 90).double())


def test_autocast_runs_in_bfloat16():
    torch.manual_seed(0)
    net, image = UNet(1, 2, width=8, depth=2), torch.rand(1, 60, 60)
    dtypes = []
    net.head.register_forward_hook(lambda *args: dtypes.append(args[2].dtype))
    exact, low = predict_tiled(net, image), predict_tiled(net, image, dtype=torch.bfloat16)
    assert dtypes == [torch.float32, torch.bfloat16]
    assert low.dtype == torch.float32
    assert (low - exact).abs().mean() < 0.03 * exact.abs().mean()
    out = predict_tiled(net, image, dtype=torch.bfloat16, out=np.empty((2, 60, 60), np.float32))
    np.testing.assert_array_equal(out, low.numpy())


def test_modes_come_back_and_nothing_is_recorded(image):
    net = UNet(3, 2, width=4, depth=2, dropout=0.5).double()
    net.contracting[0].eval()
    tiled = predict_tiled(net, image)
    assert not tiled.requires_grad
    torch.testing.assert_close(tiled, one_pass(net.eval(), image), rtol=0, atol=1e-13)
    net.train()
    net.contracting[0].eval()
    with pytest.raises(ValueError, match="refuses"):
        predict_tiled(net, image, tile=46)
    assert net.training
    assert net.dropout.training
    assert not net.contracting[0].training


def test_calls_are_few_and_equal(net):
    shapes = []
    net.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape)))
    predict_tiled(net, torch.rand(3, 100, 200).double(), tile=100, batch_size=4)
    # 100→60: two rows of 50 and four columns of 50, rounded up to multiples of 4
    assert shapes == [(4, 3, 92, 92), (4, 3, 92, 92)]


class Allocations(TorchDispatchMode):
    """Records the most numbers that any operation allocated; views allocate none."""

    largest = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            known = [x.untyped_storage().data_ptr() for x in args if isinstance(x, torch.Tensor)]
            if result.untyped_storage().data_ptr() not in known:
                self.largest = max(self.largest, result.numel())
        return result


def test_memory_does_not_grow_with_the_image():
    net, largest = UNet(1, 2, width=2, depth=1), []
    for side in (40, 400):
        image, out = torch.rand(1, side, side), torch.empty(2, side, side)
        with Allocations() as allocations:
            predict_tiled(net, image, tile=36, out=out, balance=False)
        largest.append(allocations.largest)
    assert largest[0] == largest[1] < 10_000  # 4 channels of a 34×34 map are 4,624 numbers


def test_the_bar_shows_only_long_work_on_a_terminal(net, image, monkeypatch, capsys):
    from rich.console import Console

    monkeypatch.setattr("rich.get_console", lambda: Console(force_terminal=True))
    predict_tiled(net, image, tile=48)
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(course.tiling.predict, "_SECONDS_WITHOUT_BAR", 0.0)
    predict_tiled(net, image, tile=48, progress=False)
    assert capsys.readouterr().out == ""
    predict_tiled(net, image, tile=48)
    assert "tiles" in capsys.readouterr().out
    monkeypatch.setattr("rich.get_console", lambda: Console(force_terminal=False))
    predict_tiled(net, image, tile=48)
    assert capsys.readouterr().out == ""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_runs_where_the_network_is(net, image):
    expected = one_pass(net, image)
    net.cuda()
    from_cpu = predict_tiled(net, image, tile=64, batch_size=2)
    from_gpu = predict_tiled(net, image.cuda(), tile=64, batch_size=2)
    assert not from_cpu.is_cuda
    assert from_gpu.is_cuda
    torch.testing.assert_close(from_cpu, expected)
    torch.testing.assert_close(from_gpu.cpu(), expected)


# Doors ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((60, 60), {}, r"\(C, H, W\) or \(B, C, H, W\), all at least 1: \(60, 60\)"),
        ((3, 0, 60), {}, r"all at least 1: \(3, 0, 60\)"),
        ((1, 60, 60), {}, r"refuses tiles .* expects images \(B, 3, H, W\)"),
        ((3, 60, 60), {"tile": 46}, "refuses tiles of 46×46 pixels: height .* level 1"),
        ((3, 60, 60), {"tile": 40}, "larger than twice the border, .* tile 40 and border 20"),
        ((3, 60, 60), {"border": -1}, "border at least 0"),
        ((3, 60, 60), {"border": 16, "tile": 44}, r"lost \(40, 40\) pixels .* allows 0 or 32"),
        ((3, 60, 60), {"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ((3, 60, 60), {"multiple": 0}, "multiple must be at least 1"),
        ((3, 60, 60), {"out": torch.empty(2, 60, 61)}, r"out must have the shape .*2, 60, 60"),
    ],
)
def test_impossible_work_is_refused(net, shape, options, message):
    with pytest.raises(ValueError, match=message):
        predict_tiled(net, torch.rand(shape).double(), **options)


def test_what_a_network_must_return():
    image = torch.rand(3, 20, 20)
    with pytest.raises(TypeError, match=r"one tensor \(B, K, h, w\), got dict: .*\[\"out\"\]"):
        predict_tiled(lambda tiles: {"out": tiles}, image)  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match=r"got \[1, 3\]"):
        predict_tiled(lambda tiles: tiles.mean((2, 3)), image)


def test_tiles_smaller_than_the_kernel_are_refused():
    with pytest.raises(ValueError, match=r"refuses tiles of 6×6 pixels: .*9 x 9"):
        predict_tiled(nn.Conv2d(3, 2, 9), torch.rand(3, 20, 20), tile=6, border=2)


def test_errors_of_other_kinds_stay_what_they_are():
    def out_of_memory(_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")

    with pytest.raises(torch.OutOfMemoryError):
        predict_tiled(out_of_memory, torch.rand(3, 20, 20))


@pytest.mark.parametrize("kind", [torch.uint8, np.uint8])
def test_fractions_are_not_cut_off(kind):
    zeros = torch.zeros if isinstance(kind, torch.dtype) else np.zeros
    image, conv = torch.rand(3, 20, 20), nn.Conv2d(3, 2, 1)
    with pytest.raises(TypeError, match=r"float32, out of .*uint8 would cut off.*argmax"):
        predict_tiled(conv, image, out=zeros((2, 20, 20), dtype=kind))  # pyright: ignore
    labels = zeros((20, 20), dtype=kind)  # pyright: ignore
    predict_tiled(conv, image, out=labels, activation=lambda z: z.argmax(1))
    assert labels.max() == 1


def test_images_of_other_types_are_refused(net):
    with pytest.raises(TypeError, match=r"float in \[0, 1\] or uint8, got torch.int64"):
        predict_tiled(net, torch.zeros(3, 60, 60, dtype=torch.int64))
    with pytest.raises(TypeError, match="a tensor or an array, got list"):
        predict_tiled(net, [[0.0]])  # pyright: ignore[reportArgumentType]


def test_import_loads_neither_torchvision_nor_matplotlib():
    code = (
        "import sys, course.tiling, course.models.unet; "
        "assert not {'torchvision', 'matplotlib', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
