"""Decoding a YOLO grid at once beside the loop over cells that most ports write."""

import time

import pytest
import torch

from course.models.yolo import decode_grid

pytestmark = pytest.mark.bench


def loop(prediction: torch.Tensor, size: tuple[int, int], B: int = 2):
    boxes, scores = [], []
    for row in range(len(prediction)):
        for column in range(len(prediction)):
            cell = prediction[row, column]
            for b in range(B):
                x, y, w, h, confidence = cell[5 * b : 5 * b + 5]
                cx, cy = (column + x) / 7 * size[1], (row + y) / 7 * size[0]
                w, h = w * w * size[1], h * h * size[0]
                boxes.append(torch.stack([cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]))
                scores.append(cell[5 * B :].clamp(min=0) * confidence.clamp(min=0))
    return torch.stack(boxes), torch.stack(scores)


@torch.no_grad()
def test_decoding_against_the_loop() -> None:
    prediction = torch.randn(7, 7, 30, generator=torch.Generator().manual_seed(0))
    for ours, theirs in zip(decode_grid(prediction, (375, 500)), loop(prediction, (375, 500))):
        torch.testing.assert_close(ours, theirs, atol=1e-3, rtol=1e-4)
    seconds = ([], [])
    for _ in range(15):
        for work, taken in zip((decode_grid, loop), seconds):
            start = time.perf_counter()
            work(prediction, (375, 500))
            taken.append(time.perf_counter() - start)
    ours, theirs = (min(taken) for taken in seconds)
    print(f"\nours {ours * 1e3:.3f} ms, theirs {theirs * 1e3:.3f} ms, ratio {ours / theirs:.3f}")
    assert ours / theirs <= 0.1
