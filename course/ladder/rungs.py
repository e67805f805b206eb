"""Which system stands for which lab, and the scores that the last climb has left.

Reading the table loads no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

__all__ = ["RUNGS", "Rung", "Scores", "load_scores", "save_scores", "stored_scores"]


@dataclass(frozen=True)
class Rung:
    """One system on the ladder.

    Attributes:
        name: as the figure shows it.
        lab: number of the lab that teaches it.
        system: its name in `course systems`.
        labels: how its answer becomes a label for every pixel. "pixels": it is one. "windows": the
            label of a window fills the 16 x 16 pixels around its centre. "boxes": each box is
            filled with its class, the surest last.
    """

    name: str
    lab: int
    system: str
    labels: Literal["pixels", "windows", "boxes"] = "pixels"


RUNGS = (
    Rung("sliding window", 1, "PixelClassifier", "windows"),
    Rung("one box", 2, "Localizer", "boxes"),
    Rung("Fast R-CNN", 3, "FastRCNN", "boxes"),
    Rung("YOLO", 4, "YOLO", "boxes"),
    Rung("patch scan", 5, "PixelClassifier"),
    Rung("DeconvNet", 6, "DeconvNet"),
    Rung("SegNet", 6, "SegNet"),
    Rung("FCN-32s", 7, "FCN32s"),
    Rung("FCN-16s", 7, "FCN16s"),
    Rung("FCN-8s", 7, "FCN8s"),
    Rung("U-Net", 8, "UNet"),
    Rung("FC-DenseNet", 9, "FCDenseNet56"),
    Rung("DeepLab", 10, "DeepLabLargeFOV"),
    Rung("PSPNet", 11, "PSPNet50"),
    Rung("FastFCN", 12, "FastFCN"),
    Rung("RAN", 13, "ReverseAttentionNet"),
)


@dataclass(frozen=True)
class Scores:
    """What one rung reached, and at which cost.

    Attributes:
        iou: IoU of the class "line" for each seed, in [0, 1].
        parameters: trainable values of the small version.
        macs: multiply-accumulates to label one test image.
        activations: values that its convolutions and linear layers hand on for that image
            (Radosavovic et al. 2020, §3.1).
    """

    iou: tuple[float, ...]
    parameters: int
    macs: int
    activations: int

    @property
    def mean(self) -> float:
        """Mean IoU over the seeds.

        >>> Scores((0.25, 0.75), 1, 1, 1).mean
        0.5
        """
        return sum(self.iou) / len(self.iou)

    @property
    def half_range(self) -> float:
        """Half the distance between the best and the worst seed."""
        return (max(self.iou) - min(self.iou)) / 2


def stored_scores() -> Path:
    """The file of the package from which the pictures are drawn."""
    return Path(__file__).with_name("scores.json")


def load_scores(path: Path | None = None) -> tuple[dict[str, Any], dict[str, Scores]]:
    """The protocol of the last climb, and the scores by name of the rung.

    Args:
        path: the package's own file if not given.

    Raises:
        ValueError: the file holds no scores.

    >>> protocol, scores = load_scores()
    >>> protocol["data"], set(scores) <= {rung.name for rung in RUNGS}
    ('lines', True)
    """
    path = path or stored_scores()
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        rows = {name: Scores(tuple(row.pop("iou")), **row) for name, row in stored["rungs"].items()}
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} holds no scores of `course ladder`: {error!r}") from error
    return stored["protocol"], rows


def save_scores(
    protocol: Mapping[str, Any], scores: Mapping[str, Scores], path: Path | None = None
) -> None:
    """Write the scores in the order of the ladder, rounded to what a reader can use."""
    order: Sequence[str] = [rung.name for rung in RUNGS if rung.name in scores]
    rows = {name: asdict(scores[name]) for name in order}
    for row in rows.values():
        row["iou"] = [round(value, 4) for value in row["iou"]]
    text = json.dumps({"protocol": dict(protocol), "rungs": rows}, indent=1)
    (path or stored_scores()).write_text(text + "\n", encoding="utf-8")
