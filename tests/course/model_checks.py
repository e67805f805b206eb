"""What every segmentation system must satisfy, written once; the test modules call these."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

Net = TypeVar("Net", bound=nn.Module)


def parameters(build: Callable[[], nn.Module]) -> int:
    """Count weights, biases and batch-norm affines of a network that is never allocated."""
    with torch.device("meta"):
        return sum(p.numel() for p in build().parameters())


def meta_shape(build: Callable[[], nn.Module], *shape: int) -> tuple[int, ...]:
    """Return the output shape of the published network, computed without memory."""
    with torch.device("meta"):
        net = build().eval()
    return tuple(net(torch.empty(shape, device="meta")).shape)


def randomise(net: Net, seed: int = 0) -> Net:
    """Give every parameter and running statistic a value that an error would expose."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value)
        if name.endswith("running_var"):
            value.copy_(0.5 + noise.abs())
        elif value.ndim == 4:
            value.copy_(noise / value[0].numel() ** 0.5)
        else:
            value.copy_(0.3 * noise + (name.endswith("weight") or 0.1))
    return net


def check_contract(net: nn.Module, images: Tensor, num_classes: int, tolerance: float = 0.1):
    """Logits of the right shape, the same for any batch, memory format and (nearly) precision.

    Equality is checked in float64: rounding may turn a switch of a pooling, and with it a region.
    """
    randomise(net).double().eval()
    images = images.double()
    with torch.no_grad():
        logits = net(images)
        assert logits.shape == (images.shape[0], num_classes, *images.shape[-2:])
        assert logits.std() > 0
        torch.testing.assert_close(net(images), logits, rtol=0, atol=0)  # deterministic
        each = torch.cat([net(image[None]) for image in images])
        torch.testing.assert_close(each, logits)
        for form in (torch.contiguous_format, torch.channels_last):
            again = net.to(memory_format=form)(images.to(memory_format=form))
            torch.testing.assert_close(again, logits)
        low = net.to(torch.bfloat16)(images.to(torch.bfloat16))
        assert low.dtype == torch.bfloat16
        error = (low - logits).abs().mean() / logits.abs().mean()
        assert error < tolerance


def check_gradients(
    net: nn.Module, images: Tensor, loss: Callable[[Any], Tensor] = lambda output: output.sum()
) -> None:
    """A gradient that is finite and not zero reaches every parameter."""
    randomise(net)
    # A weighting that no normalisation and no symmetry cancels.
    loss(net(images)).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def freeze_norms(net: Net) -> Net:
    """Put the batch normalisations into evaluation mode, as for fine-tuning on single images."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return net


def uneven(output: Tensor) -> Tensor:
    """Sum logits with weights that differ everywhere."""
    generator = torch.Generator().manual_seed(1)
    return (output * torch.randn(output.shape, generator=generator)).sum()


def receptive_field(
    monkeypatch: pytest.MonkeyPatch, net: nn.Module, height: int, unit: Callable[[Tensor], Tensor]
) -> tuple[int, float]:
    """Return extent and centre, in input rows, of what the middle unit of `unit(image)` depends on.

    Brute force: poolings average, weights are positive and equal, so the gradient is positive
    exactly where the unit looks. The image is one column wide: fields are square.
    """
    monkeypatch.setattr(F, "max_pool2d", _average_pool)
    for name, value in net.double().state_dict().items():
        if not name.endswith("num_batches_tracked"):
            value.fill_(float(name.endswith(("weight", "running_var"))))
    image = torch.full((1, 3, height, 1), 1e-3, dtype=torch.float64, requires_grad=True)
    features = unit(image)
    row = features.shape[-2] // 2
    features[0, 0, row].sum().backward()
    assert image.grad is not None
    rows = (image.grad[0, 0, :, 0] > 0).nonzero()[:, 0]
    assert rows[0] > 0  # the field fits into the image
    assert rows[-1] < height - 1
    return len(range(rows[0], rows[-1] + 1)), (rows[0] + rows[-1]).item() / 2


def _average_pool(
    x: Tensor,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    assert dilation == 1
    y = F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode)
    return (y, torch.zeros_like(y, dtype=torch.int64)) if return_indices else y


def two_scenes(size: Sequence[int] = (32, 32), channels: int = 3) -> tuple[Tensor, Tensor]:
    """Return two scenes of a bright rectangle and a dark disc on noise, with labels 0, 1, 2."""
    generator = torch.Generator().manual_seed(7)
    height, width = size
    images = 0.5 + 0.05 * torch.randn((2, channels, height, width), generator=generator)
    labels = torch.zeros((2, height, width), dtype=torch.int64)
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    for b, (top, left, cy, cx) in enumerate(((0.1, 0.1, 0.7, 0.7), (0.5, 0.1, 0.3, 0.7))):
        box = (
            slice(int(top * height), int((top + 0.4) * height)),
            slice(int(left * width), int((left + 0.4) * width)),
        )
        labels[b][box] = 1
        labels[b][(y - cy * height) ** 2 + (x - cx * width) ** 2 < (0.2 * height) ** 2] = 2
    images[:, 0] += 0.4 * (labels == 1)
    images[:, -1] -= 0.4 * (labels == 2)
    return images, labels


def overfit(
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    steps: int,
    lr: float = 1e-2,
    loss: Callable[[Any, Tensor], Tensor] = F.cross_entropy,
) -> float:
    """Train on the scenes and return the pixel accuracy that the network reaches on them.

    Accuracy is measured with batch statistics, so a few steps are enough to judge.
    """
    optimizer = torch.optim.Adam(net.parameters(), lr=lr)
    net.train()
    for module in net.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net(images), labels).backward()
        optimizer.step()
    with torch.no_grad():
        output = net(images)
    logits = getattr(output, "combined", output if isinstance(output, Tensor) else output[0])
    return (logits.argmax(1) == labels).float().mean().item()
