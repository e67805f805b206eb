"""A short run of every segmentation system on CamVid's street scenes, beside the majority class.

    OMP_NUM_THREADS=1 uv run pytest -m slow -n 0 -s tests/benchmarks/test_real_runs.py

Each puts its row into REAL_RUNS.md. The runs are short and small, so the figures say that each
system learns from real photographs, not how good it can become.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from course.experiments.run import Config, run
from course.experiments.sets import load_set
from course.experiments.systems import SYSTEMS
from course.metrics import ConfusionMatrix

pytestmark = [
    pytest.mark.slow,
    pytest.mark.data,
    pytest.mark.skipif(
        not (Path(os.environ.get("COURSE_DATA", "/nowhere")) / "CamVid").is_dir(),
        reason="CamVid is not under COURSE_DATA",
    ),
]
STEPS, SIZE = 200, 64
NAMES = [system.name for system in SYSTEMS if system.task == "segmentation"]
TABLE = Path(__file__).with_name("REAL_RUNS.md")


@pytest.fixture(scope="module")
def majority() -> tuple[float, float]:
    """Mean IoU and pixel accuracy of the class that is most frequent in training, everywhere."""
    parts = load_set("camvid", task="segmentation", size=SIZE)
    counts = torch.zeros(256, dtype=torch.int64)
    for i in range(len(parts.train)):
        counts += torch.bincount(parts.train[i]["mask"].flatten(), minlength=256)
    label = int(counts[:255].argmax())
    matrix = ConfusionMatrix(len(parts.class_names))
    for i in range(len(parts.test)):
        mask = parts.test[i]["mask"]
        matrix.update(torch.full_like(mask, label)[None], mask[None])
    return matrix.mean_iou().item(), matrix.pixel_accuracy().item()


@pytest.mark.parametrize("name", NAMES)
def test_it_beats_the_majority_class(name: str, majority, tmp_path: Path) -> None:
    began = time.process_time()
    result = run(Config(name, "camvid", steps=STEPS, size=SIZE, device="cpu"), tmp_path / "run")
    seconds = time.process_time() - began
    iou, accuracy = result.metrics["mean IoU"], result.metrics["pixel accuracy"]
    row = f"| {name} | {iou:.3f} | {accuracy:.3f} | {seconds:.0f} |"
    print(f"\n{row}")
    assert iou > 1.2 * majority[0]
    assert accuracy > majority[1]
    record(name, row, majority)


def record(name: str, row: str, majority: tuple[float, float]) -> None:
    """Put the row of a system into the table, and say which are missing."""
    old = TABLE.read_text("utf-8").splitlines() if TABLE.is_file() else []
    rows = {line.split("|")[1].strip(): line for line in old if line.startswith("| ")}
    rows[name] = row
    missing = [system for system in NAMES if system not in rows]
    lines = [
        "# Short runs on real street scenes",
        "",
        "CamVid (60 training and 20 validation frames of the test data), "
        f"{SIZE} × {SIZE} pixels, {STEPS} steps",
        "of 8 images, the small version of each system, one seed, one core. A system passes if its",
        "mean IoU is 1.2 times that of the majority class, and its accuracy higher. Written by",
        "",
        "    OMP_NUM_THREADS=1 uv run pytest -m slow -n 0 -s tests/benchmarks/test_real_runs.py",
        "",
        "| System | mean IoU | pixel accuracy | processor seconds |",
        "|:--|--:|--:|--:|",
        f"| the majority class | {majority[0]:.3f} | {majority[1]:.3f} | |",
        *(rows[system] for system in NAMES if system in rows),
    ]
    if missing:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    TABLE.write_text("\n".join(lines) + "\n", encoding="utf-8")
