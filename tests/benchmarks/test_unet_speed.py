"""U-Net against the machine's own limit, tiles against MONAI: ratios of minima, side by side."""

import time

import pytest
import torch

from course.geometry import count_macs, valid_input_for
from course.models import UNet
from course.tiling import mirror_pad, predict_tiled

pytestmark = pytest.mark.bench
ROUNDS = 5


def minima(*works):
    """Shortest seconds of each piece of work; they take turns, so noise meets all alike."""
    seconds = [[] for _ in works]
    with torch.no_grad():
        for number in range(ROUNDS + 1):
            for work, taken in zip(works, seconds):
                start = time.perf_counter()
                work()
                if number:  # the first round warms up
                    taken.append(time.perf_counter() - start)
    return [min(taken) for taken in seconds]


def product(dtype, n=2048):
    matrix = torch.rand(n, n).to(dtype)
    return lambda: matrix @ matrix


def test_forward_is_near_the_limit_of_the_machine():
    net, image = UNet().eval(), torch.rand(1, 1, 572, 572)
    forward, square = minima(lambda: net(image), product(torch.float32))
    limit = count_macs(net, image.shape) / 2048**3 * square
    print(f"\nforward {forward:.3f} s, limit {limit:.3f} s, ratio {forward / limit:.3f}")
    assert forward <= 1.12 * limit


def test_bfloat16_takes_half():
    square, low = minima(product(torch.float32, 1024), product(torch.bfloat16, 1024))
    if low > 0.7 * square:
        pytest.skip(f"this CPU has no fast bfloat16: {low / square:.2f} of the time of float32")
    net, image = UNet().eval().bfloat16(), torch.rand(1, 1, 572, 572).bfloat16()
    forward, square = minima(lambda: net(image), product(torch.float32))
    limit = count_macs(net.float(), image.shape) / 2048**3 * square
    print(f"\nbfloat16 {forward:.3f} s, float32 limit {limit:.3f} s, ratio {forward / limit:.3f}")
    assert forward <= 0.55 * limit


def width_16():
    """The same weights twice: as published for us, padded for peers that expect equal sizes."""
    torch.manual_seed(0)
    ours, padded = UNet(width=16).eval(), UNet(width=16, padding="same").eval()
    padded.load_state_dict(ours.state_dict())
    return ours, padded, torch.rand(1, 1, 1024, 1024)


def test_tiles_are_one_pass_bit_for_bit():
    net, _, image = width_16()
    rest = valid_input_for(1024) - 1024 - net.border
    with torch.no_grad():
        whole = net(mirror_pad(image, (net.border, net.border, rest, rest)))[..., :1024, :1024]
    assert torch.equal(predict_tiled(net, image), whole)
    assert torch.equal(predict_tiled(net, image, tile=572, batch_size=2), whole)


@pytest.mark.parametrize(
    ("dtype", "memory_format", "bound"),
    [
        (None, torch.channels_last, 0.50),
        (None, torch.contiguous_format, 0.40),  # as usually picked
        (torch.bfloat16, torch.contiguous_format, 0.20),  # ours in bfloat16, theirs as picked
    ],
)
def test_tiles_against_monai(dtype, memory_format, bound):
    inferers = pytest.importorskip("monai.inferers", reason="MONAI is not installed")
    if dtype and minima(product(dtype))[0] > 0.7 * minima(product(torch.float32))[0]:
        pytest.skip("this CPU has no fast bfloat16")
    net, padded, image = width_16()
    padded.to(memory_format=memory_format)

    def monai():
        return inferers.sliding_window_inference(image, (256, 256), 4, padded, overlap=0.5)

    ours, theirs = minima(lambda: predict_tiled(net, image, dtype=dtype), monai)
    print(f"\nours {ours:.3f} s, MONAI {theirs:.3f} s, ratio {ours / theirs:.3f}")
    assert ours <= bound * theirs
