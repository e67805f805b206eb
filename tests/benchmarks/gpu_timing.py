"""Time on a GPU by its own events, and write what was found as tables in Markdown.

`GPU_BENCH_DEVICE=cpu` runs every line on a CPU, on sizes that mean nothing: to find mistakes before
a GPU is there. `GPU_BENCH_OUT` names a file to which the tables are appended.
"""

import functools
import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

DEVICE = os.environ.get("GPU_BENCH_DEVICE", "cuda")
CUDA = DEVICE == "cuda"


def size(real: int, small: int) -> int:
    """The size to measure on a GPU, the other where only the code is tried."""
    return real if CUDA else small


def milliseconds(work: Callable[[], object], *, budget: float = 0.5, least: int = 3) -> float:
    """Median time of one call after two calls to warm up, in about `budget` seconds of calls."""
    for _ in range(2):
        taken = _once(work)
    rounds = min(max(least, int(1e3 * budget / max(taken, 1e-3))), 50)
    return statistics.median(_once(work) for _ in range(rounds if CUDA else 1))


def _once(work: Callable[[], object]) -> float:
    if not CUDA:
        start = time.perf_counter()
        work()
        return 1e3 * (time.perf_counter() - start)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    start.record()
    work()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def measured(work: Callable[[], object], **options: float) -> tuple[float, float]:
    """Milliseconds and the peak of memory, in GiB, over what was there before."""
    if not CUDA:
        return milliseconds(work, **options), 0.0
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    time_taken = milliseconds(work, **options)
    return time_taken, (torch.cuda.max_memory_allocated() - before) / 2**30


def flops(work: Callable[[], object]) -> int:
    """Floating-point operations of convolutions and matrix products, two for each multiply-add."""
    with FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


@functools.cache
def product_ceiling(dtype: torch.dtype) -> float:
    """TFLOP/s of a large square matrix product, float32 without TF32."""
    n = size(8192, 256)
    a, b = (torch.randn(n, n, device=DEVICE, dtype=dtype) for _ in range(2))
    before, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    taken = milliseconds(lambda: a @ b)
    torch.backends.cuda.matmul.allow_tf32 = before
    return 2 * n**3 / taken / 1e9


@functools.cache
def copy_ceiling() -> float:
    """TB/s of a copy on the device, bytes read plus bytes written."""
    source = torch.empty(size(2**31, 2**22), device=DEVICE, dtype=torch.uint8)
    target = torch.empty_like(source)
    return 2 * source.numel() / milliseconds(lambda: target.copy_(source)) / 1e9


def show(title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, and append it to the file of the environment's choice."""
    cells = [[f"{x:.4g}" if isinstance(x, float) else str(x) for x in row] for row in rows]
    lines = [heads, ["---"] * len(heads), *cells]
    name = torch.cuda.get_device_name() if CUDA else "tried on a CPU: no measurement"
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    text = f"\n### {title}\n\n{name}, torch {torch.__version__}\n\n{table}\n"
    print(text, flush=True)
    if "GPU_BENCH_OUT" in os.environ:
        with Path(os.environ["GPU_BENCH_OUT"]).open("a") as file:
            file.write(text)
