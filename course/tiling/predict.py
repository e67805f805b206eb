"""Run a network over an image tile by tile, exactly as one pass over the mirrored image would.

`course.tiling.plan` says where the tiles lie and why they start at multiples of 2^d. Here each
tile is cut with its border, predicted, and written to its place; no prediction is averaged.

A network that pads with zeros spoils the outputs near the edge of its input. Cut that border off
(`border=`), and it too gives the same values for every tile size.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from course.modes import evaluation_mode
from course.tiling.plan import Box, TilePlan, mirrored_window, tile_plan

_SECONDS_WITHOUT_BAR = 5.0


@torch.no_grad()
def predict_tiled(
    net: Callable[[Tensor], Tensor],
    image: Tensor | np.ndarray,
    *,
    tile: int | tuple[int, int] | None = None,
    border: int | None = None,
    multiple: int | None = None,
    batch_size: int = 1,
    balance: bool = True,
    activation: Callable[[Tensor], Tensor] | None = None,
    out: Any = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    progress: bool = True,
) -> Any:
    """Segment an image of any size in tiles; equal to one pass over the mirrored image.

    `net` maps tiles `(B, C, h, w)` to `(B, K, h − 2·border, w − 2·border)`, or to `(B, K, h, w)`
    of which the border is then cut off. `image` is `(C, H, W)` or `(B, C, H, W)`: a tensor or an
    array, also a memory-mapped one, of floats, or of uint8, which are divided by 255. The result
    has the image's height and width: logits `(K, H, W)` or `(B, K, H, W)` on the image's device,
    float32 (float64 for a float64 network).

    * `tile`: largest input of the network in pixels, a legal size for it. `border`: context per
      side. `multiple`: period of the pooling grid, 2^d. A network that has attributes of these
      names, as `UNet` does, is asked where you give none; else 0, 1 and about 512 + 2·border.
    * `batch_size`: tiles per call. `balance`: see `tile_plan`; turn it off for a network that
      accepts one input size only.
    * `activation`: applied to each tile's logits, for example `lambda z: z.argmax(1)`, which
      gives labels `(H, W)` and saves the memory of K planes.
    * `out`: tensor or array to write into, for example a `numpy.memmap`; it is returned.
    * `device` runs the network (default: where its parameters are). `dtype` is the precision of
      autocast, for example `torch.bfloat16`. `progress` allows a bar once the work takes seconds.

    The network runs in evaluation mode and gets its own modes back. Memory holds one batch of
    tiles and the result, whatever the size of the image. Raises `TypeError` for other dtypes, a
    network that returns no tensor, and an integer `out` for floating results; `ValueError` for
    shapes that do not fit, a tile that the network refuses, or a wrong `border`.

    >>> net = nn.Conv2d(3, 2, 5)  # loses two pixels on each side
    >>> image = torch.rand(3, 50, 70)
    >>> predict_tiled(net, image, tile=20, border=2).shape
    torch.Size([2, 50, 70])
    """
    images = _as_batch(image)
    plan, border = _plan_for(net, images, tile, border, multiple, balance)
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}")
    where, kind = _device_and_dtype(net, images)
    where = torch.device(device or where)
    mode = evaluation_mode(net) if isinstance(net, nn.Module) else nullcontext()
    precision = torch.autocast(where.type, dtype) if dtype else nullcontext()
    jobs = list(product(range(len(images)), plan.boxes))
    target: Any = out if out is None or image.ndim == 4 else out[None]
    with mode, precision, _progress_bar(len(jobs), progress) as advance:
        for start in range(0, len(jobs), batch_size):
            batch = jobs[start : start + batch_size]
            tiles = _cut(images, batch, plan, border).to(where)
            tiles = tiles.to(kind) / 255 if tiles.dtype == torch.uint8 else tiles.to(kind)
            results = _run(net, tiles, border)
            if activation is not None:
                results = activation(results)
            if start == 0:
                target = _target(target, results, images)
            for (number, (x0, y0, x1, y1)), result in zip(batch, results):
                kept = result[..., : y1 - y0, : x1 - x0]
                _write(target[number, ..., y0:y1, x0:x1], kept)
            advance(len(batch))
    if out is not None:
        return out
    return target if image.ndim == 4 else target[0]


def _as_batch(image: Tensor | np.ndarray) -> Tensor | np.ndarray:
    if not isinstance(image, Tensor | np.ndarray):
        raise TypeError(f"image must be a tensor or an array, got {type(image).__name__}")
    if image.ndim not in (3, 4) or 0 in image.shape:
        raise ValueError(
            f"image must have shape (C, H, W) or (B, C, H, W), all at least 1: {tuple(image.shape)}"
        )
    if not _is_floating(image) and str(image.dtype) not in ("torch.uint8", "uint8"):
        raise TypeError(f"image must be float in [0, 1] or uint8, got {image.dtype}")
    return image if image.ndim == 4 else image[None]


def _is_floating(values: Any) -> bool:
    return values.is_floating_point() if isinstance(values, Tensor) else values.dtype.kind == "f"


def _plan_for(
    net: Any,
    images: Tensor | np.ndarray,
    tile: Any,
    border: Any,
    multiple: Any,
    balance: bool,
) -> tuple[TilePlan, int]:
    border = _setting(net, "border", border, 0)
    multiple = _setting(net, "multiple", multiple, 1)
    tile = _setting(net, "tile", tile, multiple * (511 // max(multiple, 1) + 1) + 2 * border)
    tile_h, tile_w = (tile, tile) if isinstance(tile, int) else tile
    if border < 0 or min(tile_h, tile_w) <= 2 * border:
        raise ValueError(
            f"tile must be larger than twice the border, and the border at least 0; got tile "
            f"{tile} and border {border}"
        )
    height, width = images.shape[-2:]
    size = (tile_h - 2 * border, tile_w - 2 * border)
    return tile_plan(height, width, size, multiple=multiple, balance=balance), border


def _setting(net: Any, name: str, given: Any, default: Any) -> Any:
    return getattr(net, name, default) if given is None else given


def _device_and_dtype(net: Any, images: Tensor | np.ndarray) -> tuple[torch.device, torch.dtype]:
    if isinstance(net, nn.Module):
        for parameter in net.parameters():
            if parameter.is_floating_point():
                return parameter.device, parameter.dtype
    if isinstance(images, Tensor):
        return images.device, images.dtype if images.is_floating_point() else torch.float32
    return torch.device("cpu"), torch.float32


def _cut(
    images: Tensor | np.ndarray, batch: Sequence[tuple[int, Box]], plan: TilePlan, border: int
) -> Tensor:
    height, width = plan.size
    tiles = []
    for number, (x0, y0, _, _) in batch:
        box = (x0 - border, y0 - border, x0 + width + border, y0 + height + border)
        tiles.append(mirrored_window(images[number], box))
    if isinstance(images, Tensor):
        return torch.stack(tiles)  # (B, C, h, w)
    return torch.from_numpy(np.stack(tiles))


def _run(net: Callable[[Tensor], Tensor], tiles: Tensor, border: int) -> Tensor:
    height, width = tiles.shape[-2:]
    try:
        results = net(tiles)
    except (ValueError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "size" not in str(error).lower():
            raise  # not torch's complaint about shapes, but about memory or the device
        raise ValueError(
            f"the network refuses tiles of {height}×{width} pixels: {error}"
        ) from error
    if not isinstance(results, Tensor) or results.ndim < 3:
        got = list(getattr(results, "shape", [])) or type(results).__name__
        raise TypeError(
            f"the network must return one tensor (B, K, h, w), got {got}: choose it, "
            'for example with lambda tiles: net(tiles)["out"]'
        )
    lost = height - results.shape[-2], width - results.shape[-1]
    if lost == (2 * border, 2 * border):
        return results
    if lost == (0, 0):
        return results[..., border : height - border, border : width - border]
    raise ValueError(
        f"the network lost {lost} pixels (height, width) of tiles of {height}×{width}; "
        f"border={border} allows 0 or {2 * border}: give the pixels lost per side as border="
    )


def _target(out: Any, results: Tensor, images: Tensor | np.ndarray) -> Any:
    shape = (len(images), *results.shape[1:-2], *images.shape[-2:])
    if out is None:
        kind = results.dtype
        if kind.is_floating_point and kind != torch.float64:
            kind = torch.float32
        return torch.empty(shape, dtype=kind, device=getattr(images, "device", "cpu"))
    if tuple(out.shape) != shape:
        raise ValueError(
            f"out must have the shape {shape} (without the first axis for a single image), "
            f"got {tuple(out.shape)}"
        )
    if results.is_floating_point() and not _is_floating(out):
        raise TypeError(
            f"the results are {results.dtype}, out of {out.dtype} would cut off their fractions: "
            "give a floating out, or an activation such as lambda z: z.argmax(1)"
        )
    return out


def _write(target: Any, result: Tensor) -> None:
    if isinstance(target, Tensor):
        target.copy_(result)
        return
    if result.dtype == torch.bfloat16:  # numpy has none
        result = result.float()
    target[...] = result.cpu().numpy()


@contextmanager
def _progress_bar(total: int, wanted: bool) -> Iterator[Callable[[int], None]]:
    """Show a bar only once the work has proved long, so short calls stay silent."""
    bar, done, started = None, 0, time.monotonic()

    def advance(count: int) -> None:
        nonlocal bar, done, wanted
        done += count
        if wanted and time.monotonic() - started > _SECONDS_WITHOUT_BAR and done < total:
            bar, wanted = _shown_bar(total), False
        if bar is not None:
            bar.update(bar.task_ids[0], completed=done)

    try:
        yield advance
    finally:
        if bar is not None:
            bar.stop()


def _shown_bar(total: int) -> Any:
    from rich import get_console
    from rich.progress import Progress

    console = get_console()
    if not (console.is_terminal or console.is_jupyter):
        return None  # a log file would only collect empty lines
    bar = Progress(console=console, transient=True)
    bar.add_task("tiles", total=total)
    bar.start()
    return bar
